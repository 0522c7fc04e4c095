//! A slot: one m-line towards a subscriber, one SSRC for good, whoever is shown in it.
//!
//! The rewriter of the product: whatever layer of whatever source goes in, one continuous stream comes out (sequence
//! numbers, timestamps, VP8 picture ids), and a short list of segments is all it remembers to answer NACKs from the
//! source's ring.

use std::collections::VecDeque;
use std::time::Duration;

use slotmap::SlotMap;

use crate::api::SeatWish;
use crate::bounds::{
    DATAGRAM_BYTES_MAX, PACKET_BYTES_MAX, RTX_BUDGET_BYTES_MAX, RTX_HISTORY, RTX_HOLD_OFF_MIN, SEAT_LINGER,
    SEGMENTS_PER_SLOT_MAX,
};
use crate::counters::Counters;
use crate::egress::{TxQueue, TxSlab};
use crate::keys::SourceKey;
use crate::ring::{PacketMeta, Vp8Meta};
use crate::rtcp::SenderInfo;
use crate::rtp::{ExtensionIds, HeaderWriter};
use crate::sdp::{MediaKind, Mid};
use crate::source::Source;
use crate::srtp::SrtpSealer;
use crate::time::{Time, WallClock};
use crate::uplink::PublisherClock;
use crate::vp8::{CANONICAL_DESCRIPTOR_LEN, CanonicalDescriptor, write_canonical};

/// What a slot is, as negotiated.
#[derive(Clone, Debug)]
pub(crate) struct SlotParameters {
    pub(crate) media: MediaKind,
    pub(crate) mid: Mid,
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) clock_rate: u32,
    pub(crate) rtx: Option<RtxParameters>,
    /// Where the numbers of the stream begin (RFC 3550 section 5.1 wants them random).
    pub(crate) first_sequence: u16,
    pub(crate) first_rtx_sequence: u16,
    pub(crate) first_timestamp: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RtxParameters {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
}

pub(crate) struct Slot {
    pub(crate) parameters: SlotParameters,
    /// What is to be shown.
    pub(crate) bound: Option<SourceKey>,
    pub(crate) wish: SeatWish,
    /// The encoding of `bound` to show, once chosen.
    pub(crate) target: Option<u8>,
    /// What is being shown: for a moment still the source before `bound`.
    current: Option<Segment>,
    /// The source before, while the slot is its subscriber still.
    pub(crate) lingering: Option<SourceKey>,
    linger_until: Time,
    closed: VecDeque<(Segment, u64)>,
    out: OutState,
    rtx_next: u64,
    rtx_history: Vec<Retransmitted>,
    /// The subscriber has reported on this SSRC: it knows which m-line it belongs to.
    pub(crate) acknowledged: bool,
    pub(crate) rtx_acknowledged: bool,
    /// Of the subscriber's last report, in 1/256.
    pub(crate) fraction_lost: u8,
    pub(crate) sent: SlotSent,
}

/// What was sent under this slot's SSRC.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlotSent {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) retransmissions: u64,
    pub(crate) switches: u64,
    /// Packets at the last sender report.
    reported_packets: u64,
}

/// A stretch of the outgoing stream that maps to one encoding of one source by constant offsets.
#[derive(Clone, Copy, Debug)]
struct Segment {
    source: SourceKey,
    encoding: u8,
    generation: u32,
    first_in: u64,
    first_out: u64,
    timestamp_offset: u32,
    picture_id_offset: u16,
    tl0_offset: u8,
    key_index_offset: u8,
}

/// When a packet was last sent again. Short, for there are many, and enough: what it cuts off is days away.
#[derive(Clone, Copy, Debug)]
struct Retransmitted {
    index: u32,
    at_ms: u32,
}

impl Retransmitted {
    /// No packet is looked for at its place.
    const NEVER: Self = Self { index: u32::MAX, at_ms: 0 };

    const fn new(index: u64, at: Time) -> Self {
        Self { index: index as u32, at_ms: (at.as_micros() / 1_000) as u32 }
    }
}

/// The end of the outgoing stream.
#[derive(Clone, Copy, Debug)]
struct OutState {
    /// Extended sequence number of the highest packet sent.
    highest: u64,
    started: bool,
    timestamp: u32,
    /// When the first packet with that timestamp left.
    timestamp_at: Time,
    /// The last packet was not the last of its frame.
    frame_open: bool,
    picture_id: u16,
    tl0: u8,
    key_index: u8,
}

/// The sending side of a peer's transport, shared by its slots.
#[derive(Default)]
pub(crate) struct PeerTx {
    pub(crate) queue: TxQueue,
    /// There once DTLS is done.
    pub(crate) sealer: Option<SrtpSealer>,
    pub(crate) extensions: ExtensionIds,
    pub(crate) two_byte_extensions: bool,
    pub(crate) transport_sequence: u16,
    pub(crate) rtx_budget_bytes: u32,
    /// Media was sent since the last report.
    pub(crate) sent_since_report: bool,
}

/// What a slot needs to send a packet.
pub(crate) struct Egress<'a> {
    pub(crate) slab: &'a mut TxSlab,
    pub(crate) tx: &'a mut PeerTx,
    pub(crate) counters: &'a mut Counters,
}

/// The identity under which a packet leaves.
#[derive(Clone, Copy)]
struct Stamp<'a> {
    payload_type: u8,
    ssrc: u32,
    index: u64,
    mid: Option<&'a Mid>,
    original_sequence: Option<u16>,
}

impl Slot {
    pub(crate) fn new(parameters: SlotParameters) -> Self {
        // Below the middle of the sequence space, so that the receiver guesses ROC 0 whichever packet it sees first.
        let rtx_next = u64::from(parameters.first_rtx_sequence & 0x7fff);
        Self {
            out: OutState {
                highest: u64::from(parameters.first_sequence & 0x7fff),
                started: false,
                timestamp: parameters.first_timestamp,
                timestamp_at: Time::ZERO,
                frame_open: false,
                picture_id: (parameters.first_timestamp & 0x7fff) as u16,
                tl0: (parameters.first_timestamp >> 16) as u8,
                key_index: 0,
            },
            parameters,
            bound: None,
            wish: SeatWish::DEFAULT,
            target: None,
            current: None,
            lingering: None,
            linger_until: Time::ZERO,
            closed: VecDeque::new(),
            rtx_next,
            rtx_history: Vec::new(),
            acknowledged: false,
            rtx_acknowledged: false,
            fraction_lost: 0,
            sent: SlotSent::default(),
        }
    }

    // Getters

    /// The source being shown.
    pub(crate) fn shown(&self) -> Option<SourceKey> {
        self.current.map(|segment| segment.source)
    }

    /// The encoding being shown, if it is one of `source`.
    pub(crate) fn shows(&self, source: SourceKey) -> Option<u8> {
        self.current.filter(|segment| segment.source == source).map(|segment| segment.encoding)
    }

    /// Whether the slot waits for a keyframe of this encoding.
    pub(crate) fn waits_for(&self, key: SourceKey, source: &Source, encoding: u8) -> bool {
        self.bound == Some(key) && self.target == Some(encoding) && !self.follows(key, source, encoding)
    }

    /// Whether packets of this encoding matter to the slot.
    pub(crate) fn uses(&self, key: SourceKey, encoding: u8) -> bool {
        self.bound == Some(key) && (self.target == Some(encoding) || self.shows(key) == Some(encoding))
    }

    // Commands

    /// Shows another source, or none. The stream goes on from where it is.
    ///
    /// What is shown goes on for at most [`SEAT_LINGER`] where `linger` is set, so that nothing freezes before the new
    /// source's first keyframe.
    pub(crate) fn bind(&mut self, source: Option<SourceKey>, linger: bool, now: Time) {
        self.bound = source;
        self.target = None;
        match self.current {
            Some(segment) if linger && Some(segment.source) != source => {
                // Whoever is swapped again and again does not stay for it.
                if self.lingering.is_none() {
                    self.linger_until = now + SEAT_LINGER;
                }
                self.lingering = Some(segment.source);
            }
            Some(segment) if Some(segment.source) == source => self.lingering = None,
            _ => {
                self.lingering = None;
                self.close_current();
            }
        }
    }

    /// The source before is gone, or its time is up.
    pub(crate) fn end_lingering(&mut self) {
        if let Some(source) = self.lingering.take()
            && self.shows(source).is_some()
        {
            self.close_current();
        }
    }

    /// Whether the source before need not be subscribed any more.
    pub(crate) fn lingering_is_over(&self, now: Time) -> bool {
        self.lingering.is_some_and(|source| self.shows(source).is_none() || now >= self.linger_until)
    }

    /// Chooses the encoding again, after a change of what flows or of what is wanted. True if it is another one now.
    pub(crate) fn retarget(&mut self, source: &Source) -> bool {
        match source.best_flowing(source.highest_within(self.wish.max_height)) {
            Some(best) if self.target != Some(best) => {
                self.target = Some(best);
                true
            }
            _ => false,
        }
    }

    // The packet path

    /// A packet of the bound source is in its ring: sends it on if it belongs to what is shown.
    #[inline]
    pub(crate) fn on_packet(
        &mut self,
        key: SourceKey,
        source: &Source,
        encoding: u8,
        index: u64,
        now: Time,
        egress: &mut Egress<'_>,
    ) {
        let ring = &source.encodings[encoding as usize].ring;
        if self.follows(key, source, encoding) {
            if self.bound != Some(key) && now >= self.linger_until {
                self.close_current();
                return;
            }
            if let (Some(segment), Some((meta, payload))) = (self.current, ring.get(index)) {
                self.forward(&segment, meta, payload, now, egress);
            }
            return;
        }
        if self.bound != Some(key) || self.target != Some(encoding) {
            return;
        }
        let Some((meta, _)) = ring.get(index) else { return };
        if !meta.entry_point {
            egress.counters.switch_late += u64::from(self.current.is_some());
            return;
        }
        let segment = self.begin_segment(key, source, encoding, meta, now);
        egress.counters.switches += u64::from(self.sent.switches > 0);
        self.sent.switches += 1;
        // Packets of the keyframe that overtook its first one are in the ring already.
        let highest = source.encodings[encoding as usize].highest.unwrap_or(index);
        let last = if self.parameters.media == MediaKind::Video { highest } else { index };
        for index in index..=last {
            if let Some((meta, payload)) = ring.get(index) {
                self.forward(&segment, meta, payload, now, egress);
            }
        }
    }

    #[inline]
    fn follows(&self, key: SourceKey, source: &Source, encoding: u8) -> bool {
        self.current.is_some_and(|segment| {
            segment.source == key
                && segment.encoding == encoding
                && segment.generation == source.encodings[encoding as usize].generation
        })
    }

    #[inline]
    fn forward(
        &mut self,
        segment: &Segment,
        meta: &PacketMeta,
        payload: &[u8],
        now: Time,
        egress: &mut Egress<'_>,
    ) {
        if meta.index < segment.first_in {
            // Before the keyframe the stream was entered at: the receiver never saw its beginning.
            egress.counters.switch_late += 1;
            return;
        }
        let out = meta.index - segment.first_in + segment.first_out;
        let stamp = Stamp {
            payload_type: self.parameters.payload_type,
            ssrc: self.parameters.ssrc,
            index: out,
            mid: (!self.acknowledged).then_some(&self.parameters.mid),
            original_sequence: None,
        };
        let Some(len) = write_packet(segment, &stamp, meta, payload, egress) else { return };
        self.sent.packets += 1;
        self.sent.payload_bytes += payload.len() as u64;
        egress.counters.rtp_out += 1;
        egress.counters.rtp_payload_bytes_out += payload.len() as u64;
        egress.tx.rtx_budget_bytes = (egress.tx.rtx_budget_bytes + len as u32 / 2).min(RTX_BUDGET_BYTES_MAX);
        self.note_sent(segment, meta, payload, out, now);
    }

    #[inline]
    fn note_sent(&mut self, segment: &Segment, meta: &PacketMeta, payload: &[u8], out: u64, now: Time) {
        let state = &mut self.out;
        if state.started && out <= state.highest {
            return;
        }
        state.highest = out;
        let timestamp = meta.timestamp.wrapping_add(segment.timestamp_offset);
        if timestamp != state.timestamp || !state.started {
            state.timestamp = timestamp;
            state.timestamp_at = now;
        }
        state.started = true;
        if let Some(vp8) = &meta.vp8 {
            let vp8 = segment.rewrite_vp8(vp8);
            state.picture_id = vp8.picture_id;
            state.tl0 = vp8.tl0_picture_index;
            state.key_index = vp8.key_index.unwrap_or(state.key_index);
        }
        if !payload.is_empty() {
            state.frame_open = !meta.marker;
        }
    }

    /// Joins a new stretch to the end of the stream.
    fn begin_segment(
        &mut self,
        key: SourceKey,
        source: &Source,
        encoding: u8,
        meta: &PacketMeta,
        now: Time,
    ) -> Segment {
        let timestamp_offset =
            self.switch_timestamp(key, source, encoding, meta, now).wrapping_sub(meta.timestamp);
        self.close_current();
        // A frame cut off by the switch must not be joined with the next one: a gap keeps them apart.
        let cut = self.out.frame_open && self.parameters.media == MediaKind::Video;
        let first_out =
            if self.out.started { self.out.highest + 1 + u64::from(cut) } else { self.out.highest };
        let vp8 = meta.vp8.unwrap_or(Vp8Meta {
            picture_id: 0,
            tl0_picture_index: 0,
            temporal_id: 0,
            layer_sync: false,
            key_index: None,
            non_reference: false,
            start_of_partition: false,
            partition_index: 0,
        });
        let segment = Segment {
            source: key,
            encoding,
            generation: source.encodings[encoding as usize].generation,
            first_in: meta.index,
            first_out,
            timestamp_offset,
            picture_id_offset: self.out.picture_id.wrapping_add(1).wrapping_sub(vp8.picture_id),
            tl0_offset: self.out.tl0.wrapping_add(1).wrapping_sub(vp8.tl0_picture_index),
            key_index_offset: self.out.key_index.wrapping_add(1).wrapping_sub(vp8.key_index.unwrap_or(0)),
        };
        self.current = Some(segment);
        segment
    }

    /// The outgoing timestamp of the first packet of a new stretch.
    ///
    /// Between layers of one source the sender reports of both tell it exactly (RFC 3550 section 6.4.1); between
    /// sources, or before those reports, as much time has passed as did here.
    fn switch_timestamp(
        &self,
        key: SourceKey,
        source: &Source,
        encoding: u8,
        meta: &PacketMeta,
        now: Time,
    ) -> u32 {
        let out = &self.out;
        if !out.started {
            return out.timestamp;
        }
        // In 128 bits: the reports are the publisher's, and may be years apart.
        let rate = i128::from(self.parameters.clock_rate);
        let passed = (i128::from(now.micros_since(out.timestamp_at)) * rate / 1_000_000).max(1);
        let by_arrival = out.timestamp.wrapping_add(passed as u32);
        let by_reports = self.current.filter(|old| old.source == key).and_then(|old| {
            let new_report = source.encodings[encoding as usize].sender_report?;
            let old_report = source.encodings[old.encoding as usize].sender_report?;
            let since_new = i128::from(meta.timestamp.wrapping_sub(new_report.rtp).cast_signed());
            let between = i128::from(new_report.ntp.micros_since(old_report.ntp)) * rate / 1_000_000;
            let on_old = i128::from(old_report.rtp) + between + since_new;
            Some((on_old as u32).wrapping_add(old.timestamp_offset))
        });
        match by_reports {
            // Reports that disagree with the clock by more than a second are of no use.
            Some(timestamp) if i128::from(timestamp.wrapping_sub(by_arrival).cast_signed()).abs() < rate => {
                if timestamp.wrapping_sub(out.timestamp).cast_signed() > 0 {
                    timestamp
                } else {
                    out.timestamp.wrapping_add(1)
                }
            }
            _ => by_arrival,
        }
    }

    /// Ends the stretch. What follows begins anew, close behind what was sent.
    pub(crate) fn close_current(&mut self) {
        let Some(segment) = self.current.take() else { return };
        if !self.out.started || self.out.highest < segment.first_out {
            return;
        }
        if self.closed.len() == SEGMENTS_PER_SLOT_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back((segment, self.out.highest));
    }

    // Retransmission

    /// Answers one lost packet from the source's ring (RFC 4588), within hold-off and budget.
    pub(crate) fn retransmit(
        &mut self,
        sequence: u16,
        sources: &SlotMap<SourceKey, Source>,
        rtt: Duration,
        now: Time,
        egress: &mut Egress<'_>,
    ) {
        let found = self.parameters.rtx.zip(self.find_sent(sequence, sources));
        let Some((rtx, (segment, out, meta, payload))) = found else {
            egress.counters.rtx_missing += 1;
            return;
        };
        if self.held_off(out, rtt, now) {
            egress.counters.rtx_held_off += 1;
            return;
        }
        let cost = (payload.len() + 64) as u32;
        if egress.tx.rtx_budget_bytes < cost {
            egress.counters.rtx_over_budget += 1;
            return;
        }
        let stamp = Stamp {
            payload_type: rtx.payload_type,
            ssrc: rtx.ssrc,
            index: self.rtx_next,
            mid: (!self.rtx_acknowledged).then_some(&self.parameters.mid),
            original_sequence: Some(out as u16),
        };
        if write_packet(&segment, &stamp, meta, payload, egress).is_none() {
            return;
        }
        egress.tx.rtx_budget_bytes -= cost;
        self.rtx_next += 1;
        self.sent.retransmissions += 1;
        egress.counters.rtx_out += 1;
        let at = (out as usize) & (RTX_HISTORY - 1);
        self.rtx_history[at] = Retransmitted::new(out, now);
    }

    fn find_sent<'a>(
        &self,
        sequence: u16,
        sources: &'a SlotMap<SourceKey, Source>,
    ) -> Option<(Segment, u64, &'a PacketMeta, &'a [u8])> {
        if !self.out.started {
            return None;
        }
        let back = (self.out.highest as u16).wrapping_sub(sequence);
        let out = self.out.highest.checked_sub(u64::from(back))?;
        let segment = match self.current {
            Some(segment) if out >= segment.first_out => segment,
            _ => self.closed.iter().rev().find(|(s, last)| (s.first_out..=*last).contains(&out))?.0,
        };
        let encoding = sources.get(segment.source)?.encodings.get(segment.encoding as usize)?;
        if encoding.generation != segment.generation {
            return None;
        }
        let (meta, payload) = encoding.ring.get(out - segment.first_out + segment.first_in)?;
        Some((segment, out, meta, payload))
    }

    fn held_off(&mut self, out: u64, rtt: Duration, now: Time) -> bool {
        if self.rtx_history.is_empty() {
            self.rtx_history = vec![Retransmitted::NEVER; RTX_HISTORY];
        }
        let [before, this] =
            [self.rtx_history[(out as usize) & (RTX_HISTORY - 1)], Retransmitted::new(out, now)];
        let passed = Duration::from_millis(this.at_ms.wrapping_sub(before.at_ms).into());
        before.index == this.index && passed < rtt.max(RTX_HOLD_OFF_MIN)
    }

    // Reports

    /// What a sender report of this slot says now (RFC 3550 section 6.4.1): the publisher's own mapping of RTP to NTP,
    /// its clock translated to ours, so that audio and video of one person stay in step over every switch.
    pub(crate) fn sender_info(
        &mut self,
        sources: &SlotMap<SourceKey, Source>,
        clock: PublisherClock,
        wall_clock: &WallClock,
        now: Time,
    ) -> Option<SenderInfo> {
        if self.sent.packets == self.sent.reported_packets {
            return None;
        }
        let segment = self.current?;
        let source = sources.get(segment.source)?;
        let report = source.encodings[segment.encoding as usize].sender_report?;
        let reported_at = clock.to_ours(report.ntp)?;
        let now_ntp = wall_clock.ntp(now);
        let passed = i128::from(now_ntp.micros_since(reported_at)) * i128::from(self.parameters.clock_rate)
            / 1_000_000;
        let rtp = report.rtp.wrapping_add(segment.timestamp_offset).wrapping_add(passed as u32);
        self.sent.reported_packets = self.sent.packets;
        Some(SenderInfo {
            ntp: now_ntp,
            rtp,
            packets: self.sent.packets as u32,
            bytes: self.sent.payload_bytes as u32,
        })
    }
}

impl Segment {
    #[inline]
    fn rewrite_vp8(&self, meta: &Vp8Meta) -> CanonicalDescriptor {
        CanonicalDescriptor {
            non_reference: meta.non_reference,
            start_of_partition: meta.start_of_partition,
            partition_index: meta.partition_index,
            picture_id: meta.picture_id.wrapping_add(self.picture_id_offset) & 0x7fff,
            tl0_picture_index: meta.tl0_picture_index.wrapping_add(self.tl0_offset),
            temporal_id: meta.temporal_id,
            layer_sync: meta.layer_sync,
            key_index: meta.key_index.map(|key_index| key_index.wrapping_add(self.key_index_offset) & 0x1f),
        }
    }
}

/// Writes, seals and queues one packet. Gives its length, or `None` if it was dropped and counted.
#[inline]
fn write_packet(
    segment: &Segment,
    stamp: &Stamp<'_>,
    meta: &PacketMeta,
    payload: &[u8],
    egress: &mut Egress<'_>,
) -> Option<usize> {
    let Some(out) = egress.slab.begin(DATAGRAM_BYTES_MAX) else {
        egress.counters.dropped_tx_full += 1;
        return None;
    };
    let PeerTx { queue, sealer, extensions: ids, two_byte_extensions, transport_sequence, .. } =
        &mut *egress.tx;
    let sealer = sealer.as_mut()?;
    let mut header = HeaderWriter::new(
        out,
        stamp.payload_type,
        meta.marker,
        stamp.index as u16,
        meta.timestamp.wrapping_add(segment.timestamp_offset),
        stamp.ssrc,
        *two_byte_extensions,
    );
    if let Some(id) = ids.transport_cc {
        header.extension(id, &transport_sequence.to_be_bytes());
    }
    if let (Some(id), Some(mid)) = (ids.mid, stamp.mid) {
        header.extension(id, mid.as_bytes());
    }
    if let (Some(id), Some(level)) = (ids.audio_level, meta.audio_level) {
        header.extension(id, &[level]);
    }
    if let (Some(id), Some(orientation)) = (ids.video_orientation, meta.video_orientation) {
        header.extension(id, &[orientation]);
    }
    if let (Some(id), Some(delay)) = (ids.playout_delay, meta.playout_delay) {
        header.extension(id, &delay);
    }
    let header_len = header.finish();
    let mut len = header_len;
    if let Some(sequence) = stamp.original_sequence {
        out[len..len + 2].copy_from_slice(&sequence.to_be_bytes());
        len += 2;
    }
    if let Some(vp8) = &meta.vp8 {
        write_canonical(&mut out[len..], &segment.rewrite_vp8(vp8));
        len += CANONICAL_DESCRIPTOR_LEN;
    }
    if len + payload.len() + sealer.rtp_overhead() > PACKET_BYTES_MAX {
        egress.counters.dropped_oversized += 1;
        return None;
    }
    out[len..len + payload.len()].copy_from_slice(payload);
    len += payload.len();
    let Ok(sealed) = sealer.seal_rtp(out, header_len, len, stamp.index) else {
        egress.counters.dropped_seal += 1;
        return None;
    };
    egress.slab.commit(queue, sealed);
    if ids.transport_cc.is_some() {
        *transport_sequence = transport_sequence.wrapping_add(1);
    }
    Some(sealed)
}
