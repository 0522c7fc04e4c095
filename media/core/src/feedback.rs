//! RTCP in and out: reports, NACKs, keyframe requests, transport-wide feedback.

use std::time::Duration;

use crate::api::Event;
use crate::bounds::{
    NACKED_PACKETS_PER_SECOND, REPORT_GRID, REPORT_INTERVAL, RTCP_BYTES_MAX, RTT_MAX, TWCC_BYTES,
    TWCC_INTERVAL, TWCC_INTERVAL_MAX, TWCC_SHARE,
};
use crate::downlink::{Downlink, Egress};
use crate::keys::{PeerKey, SourceKey};
use crate::pacer::Repair;
use crate::peer::{Peer, Transport};
use crate::rtcp::{RembSources, ReportBlock, RtcpPacket, RtcpWriter, SenderInfo, packets};
use crate::sdp::MediaKind;
use crate::sfu::Sfu;
use crate::source::{Encoding, KeyframeRequest, SenderReport};
use crate::time::Time;
use crate::timers::{Timer, TimerHeap, Timers};
use crate::twcc::TwccView;
use crate::watch::ROUND_TRIP_AGE_MAX;

/// Our canonical name (RFC 7022 wants one that tells nothing of the host).
pub(crate) const CNAME: &str = "vestibule";
/// How old, in units of 1/65536 s, a sender report may be for a round trip to be measured by it.
const SENDER_REPORT_AGE_MAX: u32 = 65_536 * ROUND_TRIP_AGE_MAX.as_secs() as u32;
/// Report blocks in one receiver report (RFC 3550 section 6.4.2: a five-bit count).
const REPORT_BLOCKS_MAX: usize = 31;
/// Bytes of a sender report without blocks and its source description.
const SENDER_REPORT_BYTES_MAX: usize = 28 + 8 + 4 + CNAME.len() + 4;

// In

impl Sfu {
    pub(crate) fn handle_rtcp(&mut self, key: PeerKey, bytes: &mut [u8], now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(opener) = peer.opener.as_mut() else {
            self.counters.dropped_before_keys += 1;
            return;
        };
        let Ok(len) = opener.open_rtcp(bytes) else {
            self.counters.dropped_rtcp_auth += 1;
            return;
        };
        let is_open = peer.is_open();
        if peer.note_heard(now) {
            self.heard_again(key, now);
        }
        if !is_open {
            self.counters.dropped_gate_closed += 1;
            return;
        }
        self.counters.rtcp_in += 1;
        let told = (self.counters.twcc_in, self.counters.remb_in);
        for packet in packets(&bytes[..len]) {
            match packet {
                Ok(packet) => self.handle_rtcp_packet(key, &packet, now),
                Err(_) => self.counters.dropped_rtcp_malformed += 1,
            }
        }
        if told != (self.counters.twcc_in, self.counters.remb_in) {
            self.line_told(key, now);
        }
    }

    /// Something was told of a subscriber's line. A datagram may say it many times: what follows from it follows once.
    fn line_told(&mut self, key: PeerKey, now: Time) {
        let Some(control) = self.peers.get_mut(key).and_then(|peer| peer.tx.control.as_mut()) else { return };
        let waits = control.pacer.waiting() > 0;
        let is_tested = control.is_test_too_much();
        if control.take_reopened() {
            // It was silent about all that was on its way; what is shown began anew meanwhile.
            self.want_keyframes_for(key, now);
        }
        self.reallocate(key, now);
        self.probe(key, now);
        if waits {
            self.pace(key, now);
        }
        if is_tested {
            self.line_tested(key);
        }
    }

    fn handle_rtcp_packet(&mut self, key: PeerKey, packet: &RtcpPacket<'_>, now: Time) {
        match packet {
            RtcpPacket::SenderReport { ssrc, info, reports } => {
                self.handle_sender_report(key, *ssrc, info, now);
                reports.clone().for_each(|block| self.handle_report_block(key, &block, now));
            }
            RtcpPacket::ReceiverReport { reports, .. } => {
                reports.clone().for_each(|block| self.handle_report_block(key, &block, now));
            }
            RtcpPacket::Nack { media_ssrc, lost, .. } => {
                lost.clone().for_each(|sequence| self.handle_nack(key, *media_ssrc, sequence, now));
            }
            RtcpPacket::Pli { media_ssrc, .. } => self.handle_keyframe_request(key, *media_ssrc, now),
            RtcpPacket::Fir { entries, .. } => {
                entries.clone().for_each(|(ssrc, _)| self.handle_keyframe_request(key, ssrc, now));
            }
            RtcpPacket::TransportFeedback(view) => self.handle_transport_feedback(key, view, now),
            RtcpPacket::Remb { bitrate_bps, ssrcs, .. } => {
                self.handle_remb(key, *bitrate_bps, ssrcs, now);
            }
            RtcpPacket::Bye { ssrcs } => ssrcs.clone().for_each(|ssrc| self.handle_bye(key, ssrc, now)),
            RtcpPacket::SourceDescription | RtcpPacket::Other { .. } => {}
        }
    }

    fn handle_transport_feedback(&mut self, key: PeerKey, view: &TwccView<'_>, now: Time) {
        self.counters.twcc_in += 1;
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(control) = &mut peer.tx.control else { return };
        control.feedback(view, peer.rtt, now);
    }

    fn handle_remb(&mut self, key: PeerKey, bitrate_bps: u64, ssrcs: &RembSources<'_>, now: Time) {
        self.counters.remb_in += 1;
        let Some(Peer { tx, slots, slot_of_ssrc, .. }) = self.peers.get_mut(key) else { return };
        let Some(control) = &mut tx.control else { return };
        // Who names no stream means all of them.
        let is_voice = |ssrc| {
            let ours = slot_of_ssrc.get(ssrc);
            ours.is_some_and(|ours| slots[ours.slot as usize].parameters.media == MediaKind::Audio)
        };
        let first = ssrcs.clone().next();
        let has_voices = first.is_none() || ssrcs.clone().any(is_voice);
        control.remb(first.unwrap_or(0), bitrate_bps, has_voices, now);
    }

    fn handle_sender_report(&mut self, key: PeerKey, ssrc: u32, info: &SenderInfo, now: Time) {
        let arrived = self.config.wall_clock.ntp(now);
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(binding) = peer.uplink.bindings.get(ssrc).filter(|binding| !binding.rtx) else { return };
        let Some(source) = self.sources.get_mut(binding.source) else { return };
        let report = &mut source.encodings[binding.encoding as usize].sender_report;
        // A browser repeats an old NTP time while muted: that is no news, and no measure of its clock.
        let stalled = report.is_some_and(|before| info.ntp <= before.ntp);
        if !stalled && peer.uplink.clock.note(info.ntp, arrived, now) {
            *report = Some(SenderReport::from((info, now)));
        }
    }

    fn handle_report_block(&mut self, key: PeerKey, block: &ReportBlock, now: Time) {
        let now_middle = self.config.wall_clock.ntp(now).middle();
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(ours) = peer.slot_of_ssrc.get(block.ssrc) else { return };
        let slot = &mut peer.slots[ours.slot as usize];
        if ours.rtx {
            slot.rtx_acknowledged = true;
            return;
        }
        slot.acknowledged = true;
        slot.fraction_lost = block.fraction_lost;
        if let Some(control) = &mut peer.tx.control {
            control.reported_loss(block.fraction_lost);
        }
        // What a report waited for on its way belongs to the line of that time: after a silence it says nothing of now.
        let is_fresh = block.delay_since_last_sender_report < SENDER_REPORT_AGE_MAX;
        if block.last_sender_report == 0 || !is_fresh {
            return;
        }
        // RFC 3550 section 6.4.1: A - LSR - DLSR, in 1/65536 s.
        let rtt = now_middle
            .wrapping_sub(block.last_sender_report)
            .wrapping_sub(block.delay_since_last_sender_report);
        let rtt = Duration::from_micros(u64::from(rtt) * 1_000_000 / 65_536);
        if rtt <= RTT_MAX {
            // Smoothed as RFC 6298 does.
            let before = peer.round_trip(now);
            peer.rtt = Some(before.map_or(rtt, |before| (before * 7 + rtt) / 8));
            peer.rtt_at = now;
        }
    }

    fn handle_nack(&mut self, key: PeerKey, media_ssrc: u32, sequence: u16, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(ours) = peer.slot_of_ssrc.get(media_ssrc).filter(|ours| !ours.rtx) else { return };
        if now.since(peer.nacked.0) >= Duration::from_secs(1) {
            peer.nacked = (now, 0);
        }
        peer.nacked.1 += 1;
        if peer.nacked.1 > NACKED_PACKETS_PER_SECOND {
            self.counters.dropped_nack_rate += 1;
            return;
        }
        let rtt = peer.rtt_or_default();
        let Peer { slots, tx, .. } = peer;
        if tx.drains() {
            self.counters.rtx_obsolete += 1;
            return;
        }
        if !tx.is_free(now) {
            let waits =
                tx.control.as_mut().is_some_and(|c| c.pacer.repair(Repair { slot: ours.slot, sequence }));
            self.counters.dropped_paced += u64::from(!waits);
            return self.pace_later(key, now);
        }
        let was_empty = tx.queue.is_empty();
        let mut egress = Egress { slab: &mut self.slab, tx, counters: &mut self.counters, now, came_at: now };
        slots[ours.slot as usize].retransmit(sequence, &self.sources, rtt, &mut egress);
        if was_empty && !tx.queue.is_empty() {
            self.dirty.push(key);
        }
    }

    fn handle_keyframe_request(&mut self, key: PeerKey, media_ssrc: u32, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(ours) = peer.slot_of_ssrc.get(media_ssrc) else { return };
        self.counters.keyframe_requests_in += 1;
        let is_stopped = peer.tx.is_stopped();
        let slot = &mut peer.slots[ours.slot as usize];
        if is_stopped {
            // It would be sent to everybody but the one who asks, who is to begin with one once they can be sent video.
            return slot.begin_anew();
        }
        let wanted =
            slot.bound.and_then(|source| Some((source, slot.target.or_else(|| slot.shows(source))?)));
        if let Some((source, layer)) = wanted {
            self.want_keyframe(source, layer.encoding, now);
        }
    }

    /// The stream of an SSRC pauses. Its binding stays: a sender that comes back may say mid and rid no more.
    fn handle_bye(&mut self, key: PeerKey, ssrc: u32, now: Time) {
        let Some(peer) = self.peers.get(key) else { return };
        let Some(binding) = peer.uplink.bindings.get(ssrc).filter(|binding| !binding.rtx) else { return };
        let Some(source) = self.sources.get_mut(binding.source) else { return };
        source.encodings[binding.encoding as usize].stop();
        self.allocate_subscribers(binding.source, now);
    }
}

// Out

impl Sfu {
    /// What a publisher is to be asked for now: packets again, and keyframes.
    pub(crate) fn repair(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get(key) else { return };
        let (rtt, rtcp_ssrc) = (peer.rtt_or_default(), peer.rtcp_ssrc);
        for at in 0..peer.uplink.sources.len() {
            let Some(source_key) = self.peers.get(key).and_then(|peer| peer.uplink.sources.get(at).copied())
            else {
                return;
            };
            let encodings = self.sources.get(source_key).map_or(0, |source| source.encodings.len());
            for encoding in 0..encodings {
                self.repair_encoding(key, source_key, encoding as u8, rtt, rtcp_ssrc, now);
            }
        }
        self.schedule_repair(key, now);
    }

    fn repair_encoding(
        &mut self,
        key: PeerKey,
        source_key: SourceKey,
        encoding: u8,
        rtt: Duration,
        rtcp_ssrc: u32,
        now: Time,
    ) {
        let Some(source) = self.sources.get(source_key) else { return };
        let watched = source.subscribers.iter().any(|subscriber| {
            self.peers.get(subscriber.peer).is_some_and(|peer| {
                peer.is_open() && peer.slots[subscriber.slot as usize].uses(source_key, encoding)
            })
        });
        let room = self.peers.get(key).map_or(0, |peer| peer.uplink.repairs.room());
        let Some(source) = self.sources.get_mut(source_key) else { return };
        let (nack, pli) = (source.nack, source.pli);
        let encoding = &mut source.encodings[encoding as usize];
        let Some(media_ssrc) = encoding.ssrc else { return };
        if !watched {
            // Nobody looks: nothing is worth the publisher's uplink. Whoever comes next waits for a keyframe anyway.
            encoding.missing.clear();
            encoding.keyframe.iter_mut().for_each(KeyframeRequest::forget);
            return;
        }
        self.scratch.sequences.clear();
        if nack {
            let given_up = encoding.due_nacks(rtt, room, now, &mut self.scratch.sequences);
            self.counters.packets_given_up += given_up as u64;
        }
        let ask_keyframe = encoding.keyframe.as_mut().is_some_and(|keyframe| keyframe.take_due(now));
        let fir_sequence = match self.peers.get_mut(key) {
            Some(peer) if ask_keyframe && !pli => {
                peer.fir_sequence = peer.fir_sequence.wrapping_add(1);
                peer.fir_sequence
            }
            _ => 0,
        };
        let mut writer = RtcpWriter::new(&mut self.scratch.rtcp);
        // Reduced size (RFC 5506), as negotiated. What does not fit is asked for at the next turn.
        if !self.scratch.sequences.is_empty()
            && writer.nack(rtcp_ssrc, media_ssrc, &self.scratch.sequences).is_ok()
        {
            self.counters.nack_out += 1;
            self.counters.nacked_packets_out += self.scratch.sequences.len() as u64;
            if let Some(peer) = self.peers.get_mut(key) {
                peer.uplink.repairs.asked(self.scratch.sequences.len());
            }
        }
        if ask_keyframe {
            let written = if pli {
                writer.pli(rtcp_ssrc, media_ssrc)
            } else {
                writer.fir(rtcp_ssrc, media_ssrc, fir_sequence)
            };
            self.counters.keyframe_requests_out += u64::from(written.is_ok());
        }
        let len = writer.len();
        if len > 0 {
            self.send_rtcp(key, len);
        }
    }

    fn schedule_repair(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let next = peer
            .uplink
            .sources
            .iter()
            .filter_map(|&source| self.sources.get(source))
            .flat_map(|source| {
                let nacks = source.nack;
                source.encodings.iter().flat_map(move |encoding| {
                    let nack = if nacks { encoding.next_nack_at() } else { None };
                    let keyframe = encoding.keyframe.as_ref().and_then(KeyframeRequest::due_at);
                    [nack, encoding.ssrc.and(keyframe)]
                })
            })
            .flatten()
            .min();
        if let Some(next) = next {
            // Never at once again: a request that could not be sent waits a moment.
            peer.timers.set_sooner(Timer::Repair, next.max(now + Duration::from_millis(1)));
        }
    }

    pub(crate) fn send_transport_feedback(&mut self, key: PeerKey) {
        while let Some(peer) = self.peers.get_mut(key) {
            let (rtcp_ssrc, media_ssrc) = (peer.rtcp_ssrc, peer.uplink.twcc_media_ssrc);
            let mut writer = RtcpWriter::new(&mut self.scratch.rtcp);
            if !matches!(peer.uplink.twcc.write_feedback(&mut writer, rtcp_ssrc, media_ssrc), Ok(true)) {
                break;
            }
            let len = writer.len();
            self.counters.twcc_out += 1;
            self.send_rtcp(key, len);
        }
    }

    /// The reports of this second, and a look at what stopped.
    pub(crate) fn report(&mut self, key: PeerKey, now: Time) {
        if self.peers.get(key).is_none_or(|peer| peer.opener.is_none()) {
            return;
        }
        self.send_sender_reports(key, now);
        self.send_receiver_reports(key, now);
        self.expire_sources(key, now);
        self.end_lingering(key, now);
        self.review_wanted(key, now);
        self.review_voices(key, now);
        self.allocate(key, now);
        self.watch(key, now);
        let Some(peer) = self.peers.get_mut(key) else { return };
        let sent = std::mem::take(&mut peer.tx.sent_since_report);
        let shows = peer.slots.iter().any(|slot| slot.lingering.is_some());
        let receives = |source: &SourceKey| {
            let source = self.sources.get(*source);
            source.is_some_and(|source| source.flowing || source.encodings.iter().any(Encoding::flowing))
        };
        // With nothing to tell the reports sleep, until the next packet either way.
        if sent || shows || peer.watch.is_settling() || peer.uplink.sources.iter().any(receives) {
            self.report_later(key, now);
        }
    }

    /// Sets the reports going, unless they are.
    pub(crate) fn report_later(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.timers.get(Timer::Report).is_none() && peer.transport == Transport::Connected {
            peer.timers.set(Timer::Report, Some((now + REPORT_INTERVAL).round_up(REPORT_GRID)));
            self.timers.schedule(key, &mut peer.timers);
        }
    }

    fn send_sender_reports(&mut self, key: PeerKey, now: Time) {
        self.scratch.reports.clear();
        let slots = self.peers.get(key).map_or(0, |peer| if peer.is_open() { peer.slots.len() } else { 0 });
        for at in 0..slots {
            // The publisher's clock is looked up before the subscriber is borrowed.
            let shown = self.peers.get(key).and_then(|peer| peer.slots[at].shown());
            let owner =
                shown.and_then(|source| self.sources.get(source)).and_then(|s| self.peers.get(s.owner));
            let clock = owner.map(|owner| owner.uplink.clock).unwrap_or_default();
            let Some(slot) = self.peers.get_mut(key).map(|peer| &mut peer.slots[at]) else { return };
            if let Some(info) = slot.sender_info(&self.sources, clock, &self.config.wall_clock, now) {
                self.scratch.reports.push((slot.parameters.ssrc, info));
            }
        }
        let mut written = 0;
        while written < self.scratch.reports.len() {
            let mut writer = RtcpWriter::new(&mut self.scratch.rtcp);
            for (ssrc, info) in &self.scratch.reports[written..] {
                if writer.len() + SENDER_REPORT_BYTES_MAX > RTCP_BYTES_MAX {
                    break;
                }
                let _ = writer.sender_report(*ssrc, info, &[]);
                let _ = writer.cname(*ssrc, CNAME);
                written += 1;
            }
            let len = writer.len();
            self.send_rtcp(key, len);
        }
    }

    fn send_receiver_reports(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get(key) else { return };
        let mut blocks = [ReportBlock::default(); REPORT_BLOCKS_MAX];
        let mut count = 0;
        for source in &peer.uplink.sources {
            let Some(source) = self.sources.get_mut(*source) else { continue };
            for encoding in &mut source.encodings {
                let (Some(ssrc), Some(highest)) = (encoding.ssrc, encoding.highest) else { continue };
                if count < REPORT_BLOCKS_MAX && encoding.flowing() {
                    blocks[count] = encoding.reception.report(ssrc, highest, encoding.sender_report, now);
                    count += 1;
                }
            }
        }
        if count == 0 {
            return;
        }
        let rtcp_ssrc = peer.rtcp_ssrc;
        let mut writer = RtcpWriter::new(&mut self.scratch.rtcp);
        let written =
            writer.receiver_report(rtcp_ssrc, &blocks[..count]).and_then(|()| writer.cname(rtcp_ssrc, CNAME));
        let len = writer.len();
        if written.is_ok() {
            self.send_rtcp(key, len);
        }
    }

    fn expire_sources(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get(key) else { return };
        let id = peer.id;
        for at in 0..peer.uplink.sources.len() {
            let Some(source_key) = self.peers.get(key).and_then(|peer| peer.uplink.sources.get(at).copied())
            else {
                return;
            };
            let Some(source) = self.sources.get_mut(source_key) else { continue };
            let changed = source.expire(now);
            if source.stopped(now) {
                source.flowing = false;
                let kind = source.kind;
                self.emit(Event::SourceStopped { peer: id, kind });
            }
            if changed {
                self.allocate_subscribers(source_key, now);
            }
        }
    }
}

/// Media has left for a subscriber: its reports go on. Once a flush is often enough: they are seconds apart.
#[inline]
pub(crate) fn media_left(
    key: PeerKey,
    tx: &mut Downlink,
    timers: &mut Timers,
    heap: &mut TimerHeap,
    now: Time,
) {
    if !std::mem::replace(&mut tx.sent_since_report, true) && timers.get(Timer::Report).is_none() {
        timers.set(Timer::Report, Some((now + REPORT_INTERVAL).round_up(REPORT_GRID)));
        heap.schedule(key, timers);
    }
}

/// Time from the first packet to the transport-wide feedback that reports it, for whom this is sent.
pub(crate) fn feedback_interval(tx: &Downlink) -> Duration {
    let Some(control) = &tx.control else { return TWCC_INTERVAL };
    let share_bps = control.estimate_bps() as f64 * TWCC_SHARE;
    let interval = Duration::from_secs_f64((TWCC_BYTES * 8) as f64 / share_bps.max(1.0));
    interval.clamp(TWCC_INTERVAL, TWCC_INTERVAL_MAX)
}

const _: () = assert!(
    TWCC_INTERVAL.as_millis() <= 100 && TWCC_INTERVAL_MAX.as_millis() <= 250,
    "publishers' estimators need feedback every 100 ms, and on lines that carry little at least every 250 ms"
);
