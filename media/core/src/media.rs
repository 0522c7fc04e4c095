//! RTP on its way through: open, find its source, keep it, and offer it to every slot that shows the source.

use crate::api::{Event, MediaGate};
use crate::downlink::Egress;
use crate::feedback::{feedback_interval, media_left};
use crate::keys::{PeerKey, SourceKey};
use crate::pacer::Offer;
use crate::peer::Peer;
use crate::red;
use crate::rtp::{ExtensionIds, RtpHeader};
use crate::sdp::{MediaKind, Mid, Rid};
use crate::sfu::Sfu;
use crate::source::{Acceptance, Encoding, Incoming, Layer, Subscriber};
use crate::srtp::SrtpError;
use crate::time::Time;
use crate::timers::Timer;
use crate::uplink::Binding;

/// The header extensions of one packet that matter here.
#[derive(Clone, Copy, Default)]
struct Extensions<'a> {
    mid: Option<&'a [u8]>,
    rid: Option<&'a [u8]>,
    repaired_rid: Option<&'a [u8]>,
    transport_sequence: Option<u16>,
    audio_level: Option<u8>,
    video_orientation: Option<u8>,
    playout_delay: Option<[u8; 3]>,
    dependency: Option<&'a [u8]>,
}

impl Sfu {
    pub(crate) fn handle_rtp(&mut self, key: PeerKey, bytes: &mut [u8], now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(opener) = peer.opener.as_mut() else {
            self.counters.dropped_before_keys += 1;
            return;
        };
        let Ok(header) = RtpHeader::parse(bytes) else {
            self.counters.dropped_rtp_malformed += 1;
            return;
        };
        let opened = match opener.open_rtp(bytes, &header) {
            Ok(opened) => opened,
            Err(SrtpError::Replayed) => {
                self.counters.dropped_rtp_replay += 1;
                return;
            }
            Err(_) => {
                self.counters.dropped_rtp_auth += 1;
                return;
            }
        };
        let packet = &bytes[..opened.len];
        let extensions = Extensions::read(packet, &header, &peer.uplink.extensions);
        let known = peer.uplink.bindings.find(header.ssrc, now);
        if peer.note_heard(now) {
            self.heard_again(key, now);
        }
        let binding = match known {
            Some(binding) => binding,
            None => match self.bind_ssrc(key, header.ssrc, &extensions, now) {
                Some(binding) => binding,
                None => {
                    self.counters.dropped_unbound_ssrc += 1;
                    return;
                }
            },
        };
        let Some(peer) = self.peers.get_mut(key) else { return };
        // Opened and bound even behind a closed gate: the rollover counter has to follow the stream, and mid and rid
        // are on its first packets only. Nothing else is done with it.
        if peer.gate == MediaGate::Closed {
            self.counters.dropped_gate_closed += 1;
            return;
        }
        peer.uplink.repairs.came();
        if let Some(sequence) = extensions.transport_sequence {
            peer.uplink.twcc.record(sequence, now);
            if peer.timers.get(Timer::Feedback).is_none() {
                peer.timers.set(Timer::Feedback, Some(now + feedback_interval(&peer.tx)));
                self.timers.schedule(key, &mut peer.timers);
            }
        }
        let Ok(payload) = header.payload(packet) else {
            self.counters.dropped_rtp_malformed += 1;
            return;
        };
        self.handle_media(key, binding, &header, opened.index, &packet[payload], &extensions, now);
    }

    #[expect(clippy::too_many_arguments, reason = "one packet's parts, already taken apart")]
    fn handle_media(
        &mut self,
        key: PeerKey,
        binding: Binding,
        header: &RtpHeader,
        index: u64,
        payload: &[u8],
        extensions: &Extensions<'_>,
        now: Time,
    ) {
        let (Some(peer), Some(source)) = (self.peers.get_mut(key), self.sources.get_mut(binding.source))
        else {
            return;
        };
        let is_redundant = !binding.rtx && source.red_payload_type == Some(header.payload_type);
        let codec = match source.formats.codec_of(header.payload_type, binding.rtx) {
            Some(codec) => codec,
            None if is_redundant => source.codec,
            None => {
                self.counters.dropped_payload_type += 1;
                return;
            }
        };
        let mut incoming = Incoming {
            index,
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
            codec,
            dependency: extensions.dependency,
            audio_level: extensions.audio_level,
            video_orientation: extensions.video_orientation,
            playout_delay: extensions.playout_delay,
            recovered: binding.rtx,
        };
        let encoding = &mut source.encodings[binding.encoding as usize];
        if binding.rtx {
            let Some((original, rest)) = payload.split_first_chunk::<2>() else {
                self.counters.rtx_padding_in += 1;
                return;
            };
            let Some(index) = encoding.index_of_osn(u16::from_be_bytes(*original)) else {
                self.counters.rtx_padding_in += 1;
                return;
            };
            incoming.index = index;
            incoming.payload = rest;
        } else {
            peer.uplink.twcc_media_ssrc = header.ssrc;
        }
        if is_redundant {
            self.take_redundant(key, binding, &incoming, now);
        } else {
            self.take_in(key, binding, &incoming, now);
        }
    }

    /// Redundant audio (RFC 2198): the frames that are missing first, so that all come in order. What is sent on is built
    /// for each subscriber anew.
    fn take_redundant(&mut self, key: PeerKey, binding: Binding, packet: &Incoming<'_>, now: Time) {
        let Some((blocks, count)) = red::parse(packet.payload) else {
            self.counters.dropped_rtp_malformed += 1;
            return;
        };
        for (block, back) in blocks[..count].iter().zip((0..count as u64).rev()) {
            let Some(source) = self.sources.get(binding.source) else { return };
            let index = packet.index.saturating_sub(back);
            let encoding = &source.encodings[binding.encoding as usize];
            let codec = source.formats.codec_of(block.payload_type, false);
            if codec != Some(packet.codec) || (back > 0 && !encoding.lacks(index)) {
                continue;
            }
            let frame = Incoming {
                index,
                timestamp: packet.timestamp.wrapping_sub(block.offset),
                payload: block.payload,
                audio_level: packet.audio_level.filter(|_| back == 0),
                recovered: back > 0,
                ..*packet
            };
            self.take_in(key, binding, &frame, now);
        }
    }

    /// Puts a packet into its source's ring and offers it to everybody.
    fn take_in(&mut self, key: PeerKey, binding: Binding, incoming: &Incoming<'_>, now: Time) {
        let (Some(peer), Some(source)) = (self.peers.get_mut(key), self.sources.get_mut(binding.source))
        else {
            return;
        };
        let encoding = &mut source.encodings[binding.encoding as usize];
        let (after_gap, began, spatial) =
            match encoding.accept(source.media, source.clock_rate, incoming, now) {
                Acceptance::Accepted { after_gap, began, spatial } => (after_gap, began, spatial),
                Acceptance::Duplicate => {
                    self.counters.dropped_duplicate += 1;
                    return;
                }
                Acceptance::TooOld => {
                    self.counters.dropped_too_old += 1;
                    return;
                }
                Acceptance::TooEarly => {
                    self.counters.dropped_too_early += 1;
                    if let Some(at) = encoding.next_nack_at().filter(|_| source.nack) {
                        peer.timers.set_sooner(Timer::Repair, at);
                        self.timers.schedule(key, &mut peer.timers);
                    }
                    return;
                }
            };
        self.counters.rtp_in += 1;
        self.counters.rtp_payload_bytes_in += incoming.payload.len() as u64;
        self.counters.rtx_recovered_in += u64::from(binding.rtx);
        if after_gap
            && source.nack
            && let Some(at) = encoding.next_nack_at()
        {
            peer.timers.set_sooner(Timer::Repair, at);
            self.timers.schedule(key, &mut peer.timers);
        }
        let level = incoming.audio_level.filter(|_| source.media == MediaKind::Audio);
        source.began_at.get_or_insert(now);
        source.last_packet_at = now;
        let frame_ended = incoming.marker && !incoming.recovered && source.has_layers();
        let left_behind = frame_ended && source.outpace(Layer { encoding: binding.encoding, spatial }, now);
        if !source.flowing {
            source.flowing = true;
            let event = Event::SourceStarted { peer: peer.id, kind: source.kind };
            self.emit(event);
        }
        if began {
            self.report_later(key, now);
        }
        if began || left_behind {
            self.allocate_subscribers(binding.source, now);
        }
        if let Some(level) = level {
            self.note_voice(key, level, now);
        }
        self.fan_out(binding.source, binding.encoding, incoming.index, now);
    }

    /// Offers one packet of a source's ring to everybody who shows the source.
    #[inline]
    fn fan_out(&mut self, key: SourceKey, encoding: u8, index: u64, now: Time) {
        let Some(source) = self.sources.get(key) else { return };
        for subscriber in &source.subscribers {
            let Some(peer) = self.peers.get_mut(subscriber.peer) else { continue };
            if !peer.is_open() {
                continue;
            }
            let Peer { slots, tx, timers, .. } = peer;
            let slot = &mut slots[subscriber.slot as usize];
            if source.media == MediaKind::Audio && !tx.is_free_for_voice(now) {
                continue;
            }
            if source.media == MediaKind::Video && !tx.is_free(now) {
                let held = tx.held;
                let Some(control) = tx.control.as_mut().filter(|control| {
                    control.drains_until().is_none() && slot.cares_for(key, source, encoding)
                }) else {
                    continue;
                };
                let offer = Offer { source: key, index, slot: subscriber.slot, encoding, at: now };
                if !control.pacer.offer(offer) {
                    self.counters.dropped_paced += 1;
                } else if let Some(at) = control.due_at(now).filter(|_| !held)
                    && timers.get(Timer::Pace).is_none_or(|set| at < set)
                {
                    timers.set(Timer::Pace, Some(at));
                    self.timers.schedule(subscriber.peer, timers);
                }
                continue;
            }
            let was_empty = tx.queue.is_empty();
            let mut egress =
                Egress { slab: &mut self.slab, tx, counters: &mut self.counters, now, came_at: now };
            if slot.on_packet(key, source, encoding, index, &mut egress) {
                self.scratch.switched.push(key);
            }
            if was_empty && !tx.queue.is_empty() {
                self.dirty.push(subscriber.peer);
                media_left(subscriber.peer, tx, timers, &mut self.timers, now);
            }
        }
        // One source: what the others have switched to changes nothing more.
        if self.scratch.switched.pop().is_some() {
            self.scratch.switched.clear();
            self.update_wanted(key, now);
        }
    }

    /// Finds what an SSRC seen for the first time is, by the mid and rid it carries (RFC 8843 section 9.2, RFC 8852).
    fn bind_ssrc(
        &mut self,
        key: PeerKey,
        ssrc: u32,
        extensions: &Extensions<'_>,
        now: Time,
    ) -> Option<Binding> {
        let peer = self.peers.get_mut(key)?;
        let mid = Mid::new(extensions.mid?)?;
        let (source_key, source) = peer
            .uplink
            .sources
            .iter()
            .find_map(|&k| self.sources.get(k).filter(|s| s.mid == mid).map(|s| (k, s)))?;
        let rtx = extensions.repaired_rid.is_some();
        let binding = match extensions.repaired_rid.or(extensions.rid) {
            Some(rid) => {
                let encoding = source.encoding_of_rid(Rid::new(rid)?)?;
                Binding { ssrc, source: source_key, encoding, rtx }
            }
            // Without a rid only a source with one encoding is meant; its RTX is known by its SDP line alone.
            None if source.encodings.len() == 1 && source.encodings[0].rid.is_none() => {
                Binding { ssrc, source: source_key, encoding: 0, rtx: false }
            }
            None => return None,
        };
        self.bind(key, binding, now);
        Some(binding)
    }

    /// Enters an SSRC into the table and, where it replaces another, begins the stream anew.
    pub(crate) fn bind(&mut self, key: PeerKey, binding: Binding, now: Time) {
        let (Some(peer), Some(source)) = (self.peers.get_mut(key), self.sources.get_mut(binding.source))
        else {
            return;
        };
        let encoding = &mut source.encodings[binding.encoding as usize];
        let before = if binding.rtx { encoding.rtx_ssrc } else { encoding.ssrc };
        let flowed = encoding.flowing();
        if let Some(before) = before.filter(|before| *before != binding.ssrc) {
            peer.uplink.bindings.remove(before);
        }
        if binding.rtx {
            encoding.rtx_ssrc = Some(binding.ssrc);
        } else if before != Some(binding.ssrc) {
            encoding.rebind(binding.ssrc);
        }
        let stopped = flowed && !encoding.flowing();
        peer.uplink.bindings.bind(binding, now);
        if stopped {
            self.allocate_subscribers(binding.source, now);
        }
    }

    /// Asks for keyframes of every encoding of a source that an open slot waits for.
    pub(crate) fn want_keyframes_of(&mut self, key: SourceKey, now: Time) {
        let Some(source) = self.sources.get(key) else { return };
        if source.media != MediaKind::Video {
            return;
        }
        let mut waited_for = [false; crate::bounds::ENCODINGS_MAX];
        for (encoding, waited) in (0_u8..).zip(&mut waited_for[..source.encodings.len()]) {
            *waited = source.subscribers.iter().any(|subscriber| {
                self.peers.get(subscriber.peer).is_some_and(|peer| {
                    peer.is_open()
                        && !peer.tx.is_stopped()
                        && peer.slots[subscriber.slot as usize].waits_for(key, source, encoding)
                })
            });
        }
        for (encoding, waited) in (0_u8..).zip(waited_for) {
            if waited {
                self.want_keyframe(key, encoding, now);
            }
        }
    }

    /// Asks for a keyframe of one encoding; requests under way and the throttle are heeded.
    pub(crate) fn want_keyframe(&mut self, key: SourceKey, encoding: u8, now: Time) {
        let Some(source) = self.sources.get_mut(key) else { return };
        let owner = source.owner;
        if !self.peers.get(owner).is_some_and(Peer::is_open) {
            // It may not answer; once it may, its first packet asks again for whoever waits.
            return;
        }
        let encoding = source.encodings.get_mut(encoding as usize);
        let Some(keyframe) = encoding.and_then(|encoding| encoding.keyframe.as_mut()) else { return };
        if !keyframe.want() {
            self.counters.keyframe_requests_coalesced += 1;
        }
        let (Some(at), Some(peer)) = (keyframe.due_at(), self.peers.get_mut(owner)) else { return };
        peer.timers.set_sooner(Timer::Repair, at.max(now));
        self.timers.schedule(owner, &mut peer.timers);
    }

    /// Asks for the keyframes a peer's slots wait for, once it can be sent to.
    pub(crate) fn want_keyframes_for(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get(key) else { return };
        let sources: Vec<_> = peer.slots.iter().filter_map(|slot| slot.bound).collect();
        for source in sources {
            self.want_keyframes_of(source, now);
        }
    }

    /// Media may flow to a peer now: its publishers are told what it is to be shown.
    pub(crate) fn opened(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get(key) else { return };
        let sources: Vec<_> = peer.slots.iter().filter_map(|slot| slot.bound).collect();
        for source in sources {
            self.update_wanted(source, now);
        }
        self.want_keyframes_for(key, now);
    }

    /// Marks everything a peer publishes as stopped, and says so.
    pub(crate) fn stop_sources(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get(key) else { return };
        let id = peer.id;
        for source_key in peer.uplink.sources.clone() {
            let Some(source) = self.sources.get_mut(source_key) else { continue };
            // Nothing of before is repeated to anybody, or asked for again, once media may flow again.
            source.encodings.iter_mut().for_each(Encoding::restart_stream);
            if std::mem::take(&mut source.flowing) {
                let kind = source.kind;
                self.emit(Event::SourceStopped { peer: id, kind });
            }
        }
    }
}

impl<'a> Extensions<'a> {
    #[inline]
    fn read(packet: &'a [u8], header: &RtpHeader, ids: &ExtensionIds) -> Self {
        let mut found = Self::default();
        for (id, value) in header.extensions(packet) {
            let id = Some(id);
            if id == ids.transport_cc {
                found.transport_sequence = value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
            } else if id == ids.audio_level {
                found.audio_level = value.first().copied();
            } else if id == ids.mid {
                found.mid = Some(value);
            } else if id == ids.rid {
                found.rid = Some(value);
            } else if id == ids.repaired_rid {
                found.repaired_rid = Some(value);
            } else if id == ids.video_orientation {
                found.video_orientation = value.first().copied();
            } else if id == ids.playout_delay {
                found.playout_delay = value.first_chunk().copied();
            } else if id == ids.dependency {
                found.dependency = Some(value);
            }
        }
        found
    }
}

/// A subscription is a pair: the source knows the slot, the slot knows the source.
impl Sfu {
    /// Shows `source` (or nothing) in a slot.
    pub(crate) fn show(&mut self, peer_key: PeerKey, slot: u16, source: Option<SourceKey>, now: Time) {
        let subscriber = Subscriber { peer: peer_key, slot };
        let flowing = source.and_then(|key| self.sources.get(key)).is_some_and(|source| source.flowing);
        let Some(peer) = self.peers.get_mut(peer_key) else { return };
        let slot = &mut peer.slots[subscriber.slot as usize];
        if slot.bound == source {
            return;
        }
        let before = [slot.bound, slot.lingering];
        // Any packet of audio will do to begin with; video waits for a keyframe, which comes if it flows at all.
        slot.bind(source, flowing && slot.parameters.media == MediaKind::Video, now);
        let after = [slot.bound, slot.lingering];
        for key in before.into_iter().flatten().filter(|key| !after.contains(&Some(*key))) {
            self.unsubscribe(key, subscriber, now);
        }
        let Some(key) = source else { return };
        let (Some(peer), Some(source)) = (self.peers.get_mut(peer_key), self.sources.get_mut(key)) else {
            return;
        };
        if !before.contains(&Some(key)) {
            source.subscribers.push(subscriber);
        }
        if peer.slots[subscriber.slot as usize].lingering.is_some() {
            self.report_later(peer_key, now);
        }
        self.allocate(peer_key, now);
        self.want_keyframes_of(key, now);
        self.update_wanted(key, now);
    }

    /// Lets go of the sources a peer's slots no longer show.
    pub(crate) fn end_lingering(&mut self, key: PeerKey, now: Time) {
        let slots = self.peers.get(key).map_or(0, |peer| peer.slots.len());
        for at in 0..slots {
            let Some(slot) = self.peers.get_mut(key).map(|peer| &mut peer.slots[at]) else { return };
            if slot.lingering_is_over(now)
                && let Some(source) = slot.lingering
            {
                slot.end_lingering();
                self.unsubscribe(source, Subscriber { peer: key, slot: at as u16 }, now);
            }
        }
    }

    fn unsubscribe(&mut self, key: SourceKey, subscriber: Subscriber, now: Time) {
        if let Some(source) = self.sources.get_mut(key) {
            source.subscribers.retain(|other| *other != subscriber);
        }
        self.update_wanted(key, now);
    }

    /// Takes a source out of every slot and away.
    pub(crate) fn remove_source(&mut self, key: SourceKey, now: Time) {
        let Some(source) = self.sources.get_mut(key) else { return };
        for subscriber in std::mem::take(&mut source.subscribers) {
            let Some(peer) = self.peers.get_mut(subscriber.peer) else { continue };
            let slot = &mut peer.slots[subscriber.slot as usize];
            if slot.bound == Some(key) {
                self.show(subscriber.peer, subscriber.slot, None, now);
            } else {
                slot.end_lingering();
            }
        }
        self.sources.remove(key);
    }
}
