//! Offers in, answers out: what each m-line is for, and the sources, slots and seats that follow from it.
//!
//! The first audio m-line the peer sends is its microphone, the first video one its camera, the second its screen. An
//! audio m-line it receives with the next video one it receives is a seat; a received video m-line with no audio
//! before it is a screen seat. Once there, a line keeps its meaning; later offers only add lines.

use rand::RngExt;

use crate::api::{AudioProfile, CommandError, Event, PeerId, SeatId, SourceKind};
use crate::bounds::{CONNECT_TIMEOUT, SEATS_PER_PEER_MAX, SOURCES_PER_PEER_MAX};
use crate::feedback::CNAME;
use crate::keys::PeerKey;
use crate::peer::{Line, Negotiated, Seat, SlotSsrc, Transport};
use crate::sdp::{
    AnswerContext, AnswerMedia, Candidate, MediaKind, Offer, OfferedMedia, Rid, SdpError, SendStream,
    write_answer,
};
use crate::sfu::Sfu;
use crate::slot::{Slot, SlotParameters};
use crate::source::{Encoding, Formats, Source};
use crate::time::Time;
use crate::timers::Timer;
use crate::uplink::Binding;

impl Sfu {
    pub(crate) fn handle_offer(
        &mut self,
        id: PeerId,
        negotiation: u32,
        offer: &Offer,
        now: Time,
    ) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        if self.peers.get(key).is_some_and(|peer| peer.transport == Transport::Gone) {
            return Err(CommandError::Disconnected);
        }
        match self.accept_offer(key, offer, now) {
            Ok(sdp) => {
                let seats = self.peers.get(key).map(|peer| peer.seat_infos()).unwrap_or_default();
                self.emit(Event::Answer { peer: id, negotiation, sdp, seats });
            }
            Err(error) => self.emit(Event::OfferRejected { peer: id, negotiation, error }),
        }
        Ok(())
    }

    fn accept_offer(&mut self, key: PeerKey, offer: &Offer, now: Time) -> Result<String, SdpError> {
        let previous = self.peers.get(key).and_then(|peer| peer.negotiated.as_ref());
        if let Some(previous) = previous {
            offer.extends(&previous.terms)?;
        }
        let restarts = previous.is_some_and(|previous| offer.restarts_ice(&previous.terms));
        self.begin_or_restart(key, offer, restarts, now);
        self.take_lines(key, offer, now);
        let answer = self.answer(key, offer);
        if let Some(negotiated) = self.peers.get_mut(key).and_then(|peer| peer.negotiated.as_mut()) {
            negotiated.terms = offer.terms();
        }
        self.fill_seats_of(key, now);
        if let Some(room) = self.peers.get(key).map(|peer| peer.room) {
            self.review_codecs(room);
        }
        self.schedule(key);
        Ok(answer)
    }

    fn begin_or_restart(&mut self, key: PeerKey, offer: &Offer, restarts: bool, now: Time) {
        let session_id = self.rng.random::<u64>() >> 1;
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.negotiated.is_none() {
            peer.ice.set_remote(&offer.ice);
            peer.transport = Transport::Connecting;
            peer.timers.set(Timer::Connect, Some(now + CONNECT_TIMEOUT));
            let lines = Vec::with_capacity(offer.media.len());
            peer.negotiated =
                Some(Box::new(Negotiated { terms: offer.terms(), session_id, version: 0, lines }));
        } else if restarts && peer.ice.remote_ufrag() != Some(offer.ice.ufrag.as_str()) {
            // A restart announced by its own message already has credentials; the offer that follows only repeats it.
            let _ = self.begin_restart(key, &offer.ice, now);
        }
        if let Some(peer) = self.peers.get_mut(key) {
            // BUNDLE: one mapping of ids for the transport, in both directions.
            peer.uplink.extensions = offer.extensions;
            peer.tx.extensions = offer.extensions;
            if !offer.receives_dependency {
                peer.tx.extensions.dependency = None;
            }
            let ids = peer.tx.extensions;
            let all = [
                ids.mid,
                ids.transport_cc,
                ids.abs_send_time,
                ids.audio_level,
                ids.video_orientation,
                ids.playout_delay,
                ids.dependency,
            ];
            let wide_id = all.into_iter().flatten().any(|id| id > 14);
            peer.tx.two_byte_extensions = wide_id && offer.extmap_allow_mixed;
            let codecs = || offer.media.iter().flat_map(|media| &media.codecs);
            peer.tx.negotiated(codecs().any(|codec| codec.transport_cc), codecs().any(|codec| codec.remb));
        }
    }

    /// Makes sources and slots for m-lines that are new, or that now go in a direction they did not.
    fn take_lines(&mut self, key: PeerKey, offer: &Offer, now: Time) {
        for (at, media) in offer.media.iter().enumerate() {
            let Some(negotiated) = self.peers.get_mut(key).and_then(|peer| peer.negotiated.as_mut()) else {
                return;
            };
            if negotiated.lines.len() <= at {
                negotiated.lines.push(Line::default());
            }
            let line = negotiated.lines[at];
            if media.is_rejected() {
                continue;
            }
            if media.direction.sends() && !line.source {
                let made = self.add_source(key, media, now);
                self.line_mut(key, at).source = made;
            }
            if media.direction.receives() && line.slot.is_none() {
                let slot = self.add_slot(key, media);
                self.line_mut(key, at).slot = slot;
            }
        }
    }

    fn line_mut(&mut self, key: PeerKey, at: usize) -> &mut Line {
        let negotiated = self.peers[key].negotiated.as_mut();
        // Only called for lines `take_lines` has just made.
        &mut negotiated.expect("the peer has negotiated").lines[at]
    }

    fn add_source(&mut self, key: PeerKey, media: &OfferedMedia, now: Time) -> bool {
        let (Some(first), Some(media_kind)) = (media.codecs.first(), media.kind) else { return false };
        let Some(codec) = self.first_codec(key, media) else { return false };
        let Some(peer) = self.peers.get(key) else { return false };
        let taken: Vec<_> = peer
            .uplink
            .sources
            .iter()
            .filter_map(|&source| self.sources.get(source))
            .map(|s| s.kind)
            .collect();
        let wanted: &[SourceKind] = match media_kind {
            MediaKind::Audio => &[SourceKind::Microphone],
            MediaKind::Video => &[SourceKind::Camera, SourceKind::Screen],
        };
        let free = wanted.iter().copied().find(|kind| !taken.contains(kind));
        let Some(kind) = free.filter(|_| taken.len() < SOURCES_PER_PEER_MAX) else { return false };
        let rids: Vec<Option<Rid>> =
            if media.rids.is_empty() { vec![None] } else { media.rids.iter().copied().map(Some).collect() };
        let source = self.sources.insert(Source {
            owner: key,
            kind,
            media: media_kind,
            mid: media.mid,
            clock_rate: first.clock_rate,
            formats: Formats::of(media),
            codec,
            nack: first.nack,
            pli: first.pli,
            encodings: rids.into_iter().map(|rid| Encoding::new(media_kind, codec, rid)).collect(),
            subscribers: Vec::new(),
            wanted: u8::MAX >> (8 - media.rids.len().clamp(1, 8)),
            wanted_at: None,
            profile: AudioProfile::default(),
            pressed: None,
            red_payload_type: first.red,
            began_at: None,
            flowing: false,
            last_packet_at: now,
        });
        self.peers[key].uplink.sources.push(source);
        // Lines of SSRCs bind where there is no simulcast; beside rids (Firefox) they say nothing of which is which.
        if let (true, Some(ssrc)) = (media.rids.is_empty(), media.ssrcs.first()) {
            self.bind(key, Binding { ssrc: ssrc.ssrc, source, encoding: 0, rtx: false }, now);
            if let Some(rtx) = ssrc.rtx {
                self.bind(key, Binding { ssrc: rtx, source, encoding: 0, rtx: true }, now);
            }
        }
        true
    }

    fn add_slot(&mut self, key: PeerKey, media: &OfferedMedia) -> Option<u16> {
        let (first, kind) = (media.codecs.first()?, media.kind?);
        let peer = self.peers.get(key)?;
        if peer.seats.len() >= SEATS_PER_PEER_MAX {
            return None;
        }
        let offered: Vec<u32> =
            media.ssrcs.iter().flat_map(|ssrc| [Some(ssrc.ssrc), ssrc.rtx]).flatten().collect();
        let used: Vec<u32> = peer.slot_of_ssrc.ssrcs().chain(offered).chain([peer.rtcp_ssrc]).collect();
        let ssrc = self.random_ssrc(&used);
        let rtx_ssrc = self.random_ssrc(&[used, vec![ssrc]].concat());
        // Without generic NACK nobody asks, so RTX would be an empty promise.
        let has_rtx = media.codecs.iter().any(|codec| codec.rtx.is_some() && codec.nack);
        let rtx_ssrc = has_rtx.then_some(rtx_ssrc);
        let parameters = SlotParameters {
            media: kind,
            mid: media.mid,
            ssrc,
            formats: Formats::of(media),
            clock_rate: first.clock_rate,
            rtx_ssrc,
            red: first.red,
            first_sequence: self.rng.random(),
            first_rtx_sequence: self.rng.random(),
            first_timestamp: self.rng.random(),
        };
        let peer = self.peers.get_mut(key)?;
        let slot = peer.slots.len() as u16;
        peer.slots.push(Slot::new(parameters));
        peer.slot_of_ssrc.insert(ssrc, SlotSsrc { slot, rtx: false });
        if let Some(rtx_ssrc) = rtx_ssrc {
            peer.slot_of_ssrc.insert(rtx_ssrc, SlotSsrc { slot, rtx: true });
        }
        // An audio line opens a seat, the next video line completes it.
        match (kind, peer.seats.last_mut()) {
            (MediaKind::Video, Some(seat)) if seat.video.is_none() => seat.video = Some(slot),
            (MediaKind::Video, _) => {
                peer.seats.push(Seat { audio: None, video: Some(slot), screen: true, occupant: None });
            }
            (MediaKind::Audio, _) => {
                peer.seats.push(Seat { audio: Some(slot), video: None, screen: false, occupant: None });
            }
        }
        Some(slot)
    }

    fn answer(&mut self, key: PeerKey, offer: &Offer) -> String {
        let peer = &mut self.peers[key];
        let ice = peer.ice.local();
        let seat_of = |slot: u16| {
            let seat =
                peer.seats.iter().position(|seat| seat.audio == Some(slot) || seat.video == Some(slot));
            SeatId(seat.unwrap_or(0) as u16)
        };
        let lines = peer.negotiated.as_ref().map(|negotiated| negotiated.lines.clone()).unwrap_or_default();
        let sources = &self.sources;
        let sent_codec = |offered: &OfferedMedia| {
            let mut sources = peer.uplink.sources.iter().filter_map(|source| sources.get(*source));
            sources.find(|source| source.mid == offered.mid).map(|source| source.codec)
        };
        let media: Vec<AnswerMedia> = lines
            .iter()
            .zip(&offer.media)
            .map(|(line, offered)| AnswerMedia {
                receive: line.source && offered.direction.sends(),
                preferred: sent_codec(offered),
                send: line.slot.filter(|_| offered.direction.receives()).map(|slot| {
                    let parameters = &peer.slots[slot as usize].parameters;
                    SendStream {
                        ssrc: parameters.ssrc,
                        rtx: parameters.rtx_ssrc,
                        // One stream id for a seat's two lines: the browser keeps them in step.
                        stream_id: format!("seat-{}", seat_of(slot).0),
                        track_id: format!("slot-{slot}"),
                        cname: CNAME.to_owned(),
                    }
                }),
            })
            .collect();
        let candidates: Vec<Candidate> =
            self.config.candidates.iter().copied().map(Candidate::from).collect();
        let (session_id, version) = peer.negotiated.as_mut().map_or((0, 0), |negotiated| {
            negotiated.version += 1;
            (negotiated.session_id, negotiated.version)
        });
        write_answer(
            offer,
            &AnswerContext {
                session_id,
                version,
                ice: &ice,
                fingerprint: &self.config.fingerprint,
                candidates: &candidates,
                media: &media,
            },
        )
    }

    /// A random SSRC that is none of `used`, nor 0, which some take for none.
    pub(crate) fn random_ssrc(&mut self, used: &[u32]) -> u32 {
        loop {
            let ssrc = self.rng.random();
            if ssrc != 0 && !used.contains(&ssrc) {
                return ssrc;
            }
        }
    }
}
