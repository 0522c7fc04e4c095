//! A slot: one m-line towards a subscriber, one SSRC for good, whoever is shown in it.
//!
//! The rewriter of the product: whatever layer of whatever source goes in, one continuous stream comes out (sequence
//! numbers, timestamps, picture ids and frame numbers), and a short list of segments is all it remembers to answer NACKs from the
//! source's ring.

mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use slotmap::SlotMap;

use crate::api::SeatWish;
use crate::bounds::{RTX_HISTORY, RTX_HOLD_OFF_MIN, SEAT_LINGER, SEGMENTS_PER_SLOT_MAX};
use crate::codec::{Descriptor, Numbers, Vp8Meta};
use crate::downlink::Egress;
use crate::history::{FORGOTTEN_AFTER, History, Number};
use crate::keys::SourceKey;
use crate::layers::{LayerFilter, LayerLimit};
use crate::red::{Body, Redundancy};
use crate::ring::{PacketMeta, PacketRing};
use crate::rtcp::SenderInfo;
use crate::sdp::{CodecName, MediaKind, Mid};
use crate::source::{Encoding, Formats, Layer, Source};
use crate::time::{Time, WallClock};
use crate::uplink::PublisherClock;
use segment::{Segment, Stamp, write_packet, write_padding};

/// What a slot is, as negotiated.
#[derive(Clone, Debug)]
pub(crate) struct SlotParameters {
    pub(crate) media: MediaKind,
    pub(crate) mid: Mid,
    pub(crate) ssrc: u32,
    /// What the subscriber decodes. There is one at least.
    pub(crate) formats: Formats,
    pub(crate) clock_rate: u32,
    /// The SSRC of retransmissions, where the subscriber asks for them.
    pub(crate) rtx_ssrc: Option<u32>,
    /// Payload type of redundant audio (RFC 2198), where the subscriber takes it.
    pub(crate) red: Option<u8>,
    /// Where the numbers of the stream begin (RFC 3550 section 5.1 wants them random).
    pub(crate) first_sequence: u16,
    pub(crate) first_rtx_sequence: u16,
    pub(crate) first_timestamp: u32,
}

/// Under what one packet is sent again.
#[derive(Clone, Copy, Debug)]
struct RtxParameters {
    ssrc: u32,
    payload_type: u8,
}

/// What is sent where, in one seat. What each packet touches comes first: between two packets of one slot come those of all others.
#[repr(C)]
pub(crate) struct Slot {
    /// What is being shown: for a moment still the source before `bound`.
    current: Option<Segment>,
    /// What is to be shown.
    pub(crate) bound: Option<SourceKey>,
    /// The subscriber has reported on this SSRC: it knows which m-line it belongs to.
    pub(crate) acknowledged: bool,
    thinning: Thinning,
    out: OutState,
    pub(crate) sent: SlotSent,
    pub(crate) parameters: SlotParameters,
    pub(crate) wish: SeatWish,
    /// The layer of `bound` to show, once chosen.
    pub(crate) target: Option<Layer>,
    /// The layer the line would carry, if the publisher sent it.
    pub(crate) aspired: Option<Layer>,
    /// A higher one it would have carried a moment ago, and until when its publisher goes on with it.
    kept: Option<Layer>,
    kept_until: Time,
    filter: LayerFilter,
    /// The layer it fell past, for it was not sent, and when.
    landing: Option<(Layer, Time)>,
    /// The source before, while the slot is its subscriber still.
    pub(crate) lingering: Option<SourceKey>,
    linger_until: Time,
    closed: VecDeque<(Segment, u64)>,
    /// The low bits of the last numbers under which only an empty packet was sent. None is `u32::MAX` within a year.
    emptied: [u32; EMPTIED],
    emptied_next: u8,
    rtx_next: u64,
    rtx_history: Vec<Retransmitted>,
    pub(crate) rtx_acknowledged: bool,
    /// Of the subscriber's last report, in 1/256.
    pub(crate) fraction_lost: u8,
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

/// Which temporal layers are left out, so that a slow line has fewer pictures before it has smaller ones. What follows the
/// limits is VP8's alone (RFC 7741 section 4.2).
#[derive(Clone, Copy, Debug)]
struct Thinning {
    /// The highest temporal layer that is to be sent of the target.
    limit: u8,
    /// The same of what is shown while the target's keyframe is waited for.
    interim: u8,
    /// The highest that is sent: it rises only at a picture that refers to none of what was left out.
    applied: History<u8>,
    /// The newest picture, and the last frame that was left out, as the publisher numbers them.
    newest: Option<u16>,
    left_out: Option<u32>,
}

/// All temporal layers.
pub(crate) const TEMPORAL_ALL: u8 = u8::MAX;

impl Thinning {
    const NONE: Self = Self {
        limit: TEMPORAL_ALL,
        interim: TEMPORAL_ALL,
        applied: History::new(TEMPORAL_ALL),
        newest: None,
        left_out: None,
    };
}

/// Packets that were sent empty and are remembered, to be sent again empty.
const EMPTIED: usize = 16;
/// How long a publisher goes on with what a line no longer carries.
const ASPIRED_FOR: Duration = Duration::from_secs(6);
/// How long a slot that fell further than it had to, for what lies between was not sent, may rise to that.
const LANDING: Duration = Duration::from_secs(2);

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
    numbers: Numbers,
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
                numbers: Numbers {
                    picture_id: (parameters.first_timestamp & 0x7fff) as u16,
                    frame_number: (parameters.first_timestamp >> 8) as u16,
                    tl0: (parameters.first_timestamp >> 16) as u8,
                },
            },
            parameters,
            bound: None,
            wish: SeatWish::DEFAULT,
            target: None,
            aspired: None,
            kept: None,
            kept_until: Time::ZERO,
            thinning: Thinning::NONE,
            filter: LayerFilter::new(LayerLimit { spatial: 0, temporal: TEMPORAL_ALL }),
            landing: None,
            current: None,
            lingering: None,
            linger_until: Time::ZERO,
            closed: VecDeque::new(),
            emptied: [u32::MAX; EMPTIED],
            emptied_next: 0,
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

    /// The layer being shown, if it is one of `source`.
    pub(crate) fn shows(&self, source: SourceKey) -> Option<Layer> {
        let segment = self.current.filter(|segment| segment.source == source)?;
        Some(Layer { encoding: segment.encoding, spatial: segment.top })
    }

    /// What is being shown, and how it is coded.
    pub(crate) fn codec(&self) -> Option<CodecName> {
        self.current.map(|segment| segment.codec)
    }

    /// Whether the slot waits for a keyframe of this encoding.
    pub(crate) fn waits_for(&self, key: SourceKey, source: &Source, encoding: u8) -> bool {
        let target = self.target.filter(|target| self.bound == Some(key) && target.encoding == encoding);
        target.is_some_and(|target| {
            let in_stream = source.encodings[encoding as usize].reader.spatial_layers > 1;
            !self.follows(key, source, encoding)
                || (in_stream && self.filter.needs_keyframe_for(target.spatial))
        })
    }

    /// Whether packets of this encoding matter to the slot.
    pub(crate) fn uses(&self, key: SourceKey, encoding: u8) -> bool {
        let is_of = |layer: Layer| layer.encoding == encoding;
        self.bound == Some(key) && (self.goes_for(encoding) || self.shows(key).is_some_and(is_of))
    }

    /// Whether what is to be shown is of this encoding.
    #[inline]
    fn goes_for(&self, encoding: u8) -> bool {
        self.target.is_some_and(|target| target.encoding == encoding)
    }

    // Commands

    /// Shows another source, or none. The stream goes on from where it is.
    ///
    /// What is shown goes on for at most [`SEAT_LINGER`] where `linger` is set, so that nothing freezes before the new
    /// source's first keyframe.
    pub(crate) fn bind(&mut self, source: Option<SourceKey>, linger: bool, now: Time) {
        self.bound = source;
        self.target = None;
        (self.aspired, self.kept) = (None, None);
        self.landing = None;
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

    /// Goes for this layer, and no temporal layer of it above `temporal`. What is shown goes on until its keyframe,
    /// with its lowest temporal layer alone where `thin` is set.
    pub(crate) fn go_for(&mut self, layer: Layer, temporal: u8, thin: bool) {
        self.target = Some(layer);
        self.thinning.limit = temporal;
        self.thinning.interim = if thin { 0 } else { TEMPORAL_ALL };
    }

    /// The line would carry this layer, or does no more; `top` is the highest its viewer wishes for. A publisher is not
    /// told to stop and to begin again with each breath of a line.
    pub(crate) fn aspire(&mut self, layer: Option<Layer>, top: Option<Layer>, now: Time) {
        let kept = self.kept.max(self.aspired).filter(|kept| top.is_some_and(|top| *kept <= top));
        if layer >= kept {
            (self.kept, self.kept_until) = (layer, now + ASPIRED_FOR);
        } else {
            self.kept = kept.filter(|_| now < self.kept_until);
        }
        self.aspired = layer;
    }

    /// Layers of the bound source that are of use, or will be.
    pub(crate) fn needs(&self, key: SourceKey) -> impl Iterator<Item = Layer> {
        let of_bound =
            [self.target, self.aspired, self.kept].map(|at| at.filter(|_| self.bound == Some(key)));
        of_bound.into_iter().chain([self.shows(key)]).flatten()
    }

    /// What was about to be sent of a picture is not: it begins anew with a keyframe.
    pub(crate) fn begin_anew(&mut self) {
        if self.parameters.media == MediaKind::Video {
            self.close_current();
        }
    }

    /// The line carries nothing of it: what is shown ends here.
    pub(crate) fn hold_back(&mut self) {
        self.target = None;
        if self.lingering.is_none() {
            self.close_current();
        }
    }

    /// The highest temporal layer that is sent of the target.
    pub(crate) const fn temporal(&self) -> u8 {
        self.thinning.limit
    }

    /// Whether it can send what only takes room: under its own SSRC of retransmissions.
    pub(crate) const fn can_fill(&self) -> bool {
        self.parameters.rtx_ssrc.is_some()
    }

    /// It was lowered past layers that nobody sends now, up to this one.
    pub(crate) fn lands(&mut self, layer: Layer, now: Time) {
        self.landing = Some((layer, now));
    }

    /// The layer it may rise to though nothing is added otherwise.
    pub(crate) fn landing(&self, now: Time) -> Option<Layer> {
        self.landing.filter(|(_, at)| now.since(*at) < LANDING).map(|(layer, _)| layer)
    }

    /// Whether a packet of this encoding is worth keeping for the slot.
    #[inline]
    pub(crate) fn cares_for(&self, key: SourceKey, source: &Source, encoding: u8) -> bool {
        (self.bound == Some(key) && self.goes_for(encoding)) || self.follows(key, source, encoding)
    }

    // The packet path

    /// A packet of the bound source is in its ring: sends it on if it belongs to what is shown. True if something else
    /// is shown from it on.
    #[inline]
    pub(crate) fn on_packet(
        &mut self,
        key: SourceKey,
        source: &Source,
        encoding: u8,
        index: u64,
        egress: &mut Egress<'_>,
    ) -> bool {
        let stream = &source.encodings[encoding as usize];
        let ring = &stream.ring;
        if self.follows(key, source, encoding) {
            if self.bound != Some(key) && egress.now >= self.linger_until {
                self.close_current();
                return false;
            }
            let Some((meta, payload)) = ring.get(index) else { return false };
            // Another layer of the same stream, it may be.
            let before = self.shows(key);
            self.follow(stream, meta, payload, egress);
            return self.shows(key) != before;
        }
        if self.bound != Some(key) || !self.goes_for(encoding) || !self.decodes(stream) {
            return false;
        }
        let Some((meta, _)) = ring.get(index) else { return false };
        if !meta.entry_point {
            egress.counters.switch_late += u64::from(self.current.is_some());
            return false;
        }
        let arrived = meta.arrived;
        let Some((meta, _)) = ring.get(stream.entry_start(meta)) else { return false };
        let first = meta.index;
        self.begin_segment(key, source, encoding, meta, egress.came_at);
        egress.counters.switches += u64::from(self.sent.switches > 0);
        self.sent.switches += 1;
        // Packets of the keyframe that overtook its first one are in the ring already, and were offered before it.
        let highest = stream.highest.unwrap_or(index);
        let last = if self.parameters.media == MediaKind::Video { highest } else { index };
        for index in first..=last {
            if let Some((meta, payload)) = ring.get(index).filter(|(meta, _)| meta.arrived <= arrived) {
                self.follow(stream, meta, payload, egress);
            }
        }
        true
    }

    /// A packet of what is shown: sends it, or leaves it out.
    #[inline]
    fn follow(&mut self, stream: &Encoding, meta: &PacketMeta, payload: &[u8], egress: &mut Egress<'_>) {
        let Some(segment) = self.current else { return };
        if meta.index < segment.first_in {
            return self.follow_late(&segment, stream, meta, payload, egress);
        }
        let is_left_out = match &meta.descriptor {
            Descriptor::None => false,
            Descriptor::Vp8(vp8) => self.leaves_out(vp8, meta.entry_point),
            Descriptor::Vp9(_) | Descriptor::Av1(_) => !self.filter_sends(stream, meta),
        };
        if is_left_out {
            egress.counters.thinned += 1;
            if self.out.started && segment.out_of(meta.index) <= self.out.highest {
                // Later ones have left, so that its number is taken already.
                self.forward_empty(&segment, stream, meta, egress);
            } else {
                self.leave_out(segment, meta);
            }
        } else {
            let segment = match &meta.descriptor {
                Descriptor::None | Descriptor::Vp8(_) => segment,
                Descriptor::Vp9(_) | Descriptor::Av1(_) => self.with_top(segment, meta),
            };
            self.forward(&segment, &stream.ring, meta, payload, egress);
        }
    }

    /// Whether the layers that are shown have this packet's frame.
    fn filter_sends(&mut self, stream: &Encoding, meta: &PacketMeta) -> bool {
        let spatial = self.target_spatial();
        // What is to end with a keyframe goes on thinly until then.
        let temporal = if self.filter.needs_keyframe_for(spatial) {
            self.thinning_now().min(self.thinning.interim)
        } else {
            self.thinning_now()
        };
        let limit = LayerLimit { spatial, temporal };
        self.filter.sends(&meta.descriptor, meta.entry_point, limit, stream.reader.structure())
    }

    /// The highest spatial layer that is to be sent of what is shown.
    fn target_spatial(&self) -> u8 {
        let on_target = |target: &Layer| {
            self.current.is_some_and(|segment| {
                self.bound == Some(segment.source) && segment.encoding == target.encoding
            })
        };
        self.target.filter(on_target).map_or(self.filter.spatial(), |target| target.spatial)
    }

    /// The stretch a packet is sent in: one of its own from where another layer is the highest.
    #[inline]
    fn with_top(&mut self, segment: Segment, meta: &PacketMeta) -> Segment {
        let top = self.filter.spatial();
        if segment.top == top {
            return segment;
        }
        let out = segment.out_of(meta.index);
        let next = Segment { first_in: meta.index, first_out: out, top, ..segment };
        if out > segment.first_out {
            self.close(segment, out - 1);
        }
        self.current = Some(next);
        next
    }

    /// Whether the subscriber decodes what an encoding is coded with.
    fn decodes(&self, stream: &Encoding) -> bool {
        self.parameters.formats.get(stream.reader.codec()).is_some()
    }

    /// What was overtaken belongs to an earlier stretch, if it has a number there.
    #[cold]
    fn follow_late(
        &mut self,
        current: &Segment,
        stream: &Encoding,
        meta: &PacketMeta,
        payload: &[u8],
        egress: &mut Egress<'_>,
    ) {
        let holds = |(segment, last_out): &&(Segment, u64)| {
            segment.is_of(current)
                && (segment.first_in..=segment.first_in + (last_out - segment.first_out))
                    .contains(&meta.index)
        };
        let Some((segment, _)) = self.closed.iter().rev().find(holds).copied() else {
            // Before the keyframe the stream was entered at, or left out with its picture.
            egress.counters.switch_late += 1;
            return;
        };
        let is_left_out = match &meta.descriptor {
            Descriptor::None => false,
            Descriptor::Vp8(vp8) => vp8.temporal_id > self.thinning.applied.at(vp8_picture(vp8)),
            Descriptor::Vp9(_) | Descriptor::Av1(_) => !self.filter_sends(stream, meta),
        };
        if is_left_out {
            // Its number was kept for it; the rest of its picture is left out.
            self.forward_empty(&segment, stream, meta, egress);
        } else {
            self.forward(&segment, &stream.ring, meta, payload, egress);
        }
    }

    /// A packet whose number is taken, but whose picture is left out: nothing of it is sent, now or again.
    #[cold]
    fn forward_empty(
        &mut self,
        segment: &Segment,
        stream: &Encoding,
        meta: &PacketMeta,
        egress: &mut Egress<'_>,
    ) {
        self.emptied[usize::from(self.emptied_next)] = segment.out_of(meta.index) as u32;
        self.emptied_next = (self.emptied_next + 1) % EMPTIED as u8;
        self.forward(segment, &stream.ring, &meta.emptied(), &[], egress);
    }

    /// The highest temporal layer that is to be sent of what is shown.
    fn thinning_now(&self) -> u8 {
        let on_target = self
            .current
            .is_some_and(|segment| self.bound == Some(segment.source) && self.goes_for(segment.encoding));
        if on_target { self.thinning.limit } else { self.thinning.interim }
    }

    /// Whether a packet is of a picture that is not sent: decided with the first of its packets, and for one that is overtaken by
    /// the next as it would have been in time.
    #[inline]
    fn leaves_out(&mut self, vp8: &Vp8Meta, is_entry: bool) -> bool {
        let picture = vp8_picture(vp8);
        let behind = self.thinning.newest.map_or(i32::MIN, |newest| picture.behind(newest.into()));
        if behind < 0 || (behind == 0 && is_entry) {
            self.thin_from(vp8, is_entry);
        } else if behind >= FORGOTTEN_AFTER && is_entry {
            // Its publisher counts from somewhere else.
            self.thinning.applied = History::new(self.thinning_now());
            self.thinning.newest = Some(vp8.picture_id);
        }
        vp8.temporal_id > self.thinning.applied.at(picture)
    }

    /// A picture begins: what is sent from it on.
    fn thin_from(&mut self, vp8: &Vp8Meta, is_entry: bool) {
        let limit = self.thinning_now();
        let thinning = &mut self.thinning;
        let mut applied = thinning.applied.now().min(limit);
        if is_entry {
            applied = limit;
        } else if vp8.temporal_id == applied.saturating_add(1) && vp8.temporal_id <= limit && vp8.layer_sync {
            applied = vp8.temporal_id;
        }
        thinning.newest = Some(vp8.picture_id);
        thinning.applied.set(vp8_picture(vp8), applied);
    }

    /// The stream goes on without this packet: the next one takes its number, and the next picture that of its picture.
    fn leave_out(&mut self, segment: Segment, meta: &PacketMeta) {
        let is_again = self.thinning.left_out == meta.descriptor.frame();
        // What is missing between two packets of one frame is of that frame.
        let out = match is_again && self.out.highest < segment.first_out {
            true => segment.first_out,
            false => segment.out_of(meta.index),
        };
        // The highest layer may have become another with what is left out.
        let mut next =
            Segment { first_in: meta.index + 1, first_out: out, top: self.filter.spatial(), ..segment };
        // The numbers of VP9 and AV1 are what their references and groups count by: they stay.
        if matches!(meta.descriptor, Descriptor::Vp8(_)) && !is_again {
            next.offsets.picture = next.offsets.picture.wrapping_sub(1);
        }
        self.thinning.left_out = meta.descriptor.frame();
        if out > segment.first_out {
            self.close(segment, out - 1);
        }
        self.current = Some(next);
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
        ring: &PacketRing,
        meta: &PacketMeta,
        payload: &[u8],
        egress: &mut Egress<'_>,
    ) {
        let out = segment.out_of(meta.index);
        let Some(format) = self.parameters.formats.get(segment.codec) else { return };
        let primary = format.payload_type;
        let redundancy = match self.parameters.red {
            Some(_) => Redundancy::of(ring, segment.first_in, meta, payload.len(), egress.tx.redundancy()),
            None => Redundancy::default(),
        };
        let payload_type = match self.parameters.red {
            Some(red) if !redundancy.is_empty() => red,
            _ => primary,
        };
        let stamp = Stamp {
            payload_type,
            ssrc: self.parameters.ssrc,
            index: out,
            mid: (!self.acknowledged).then_some(&self.parameters.mid),
            original_sequence: None,
        };
        let body = Body { redundancy, primary, payload: meta.body(payload) };
        let prefix = &payload[..payload.len() - body.payload.len()];
        let Some(len) = write_packet(segment, &stamp, meta, prefix, &body, egress) else { return };
        self.sent.packets += 1;
        self.sent.payload_bytes += payload.len() as u64;
        egress.counters.rtp_out += 1;
        egress.counters.rtp_payload_bytes_out += payload.len() as u64;
        egress.tx.earn_retransmissions(len);
        if meta.entry_point && self.parameters.media == MediaKind::Video {
            egress.tx.keyframe(egress.now);
        }
        self.note_sent(segment, meta, payload, out, egress.came_at);
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
        meta.descriptor.note_sent(&segment.offsets, &mut state.numbers);
        if !payload.is_empty() {
            state.frame_open = !segment.marks(meta);
        }
    }

    /// Joins a new stretch to the end of the stream.
    fn begin_segment(&mut self, key: SourceKey, source: &Source, encoding: u8, meta: &PacketMeta, now: Time) {
        let timestamp_offset =
            self.switch_timestamp(key, source, encoding, meta, now).wrapping_sub(meta.timestamp);
        // Numbers may be kept for packets that are still on their way.
        let kept = self.current.map_or(0, |segment| segment.first_out);
        self.close_current();
        // A frame cut off by the switch must not be joined with the next one: a gap keeps them apart.
        let cut = self.out.frame_open && self.parameters.media == MediaKind::Video;
        let first_out =
            if self.out.started { kept.max(self.out.highest + 1 + u64::from(cut)) } else { self.out.highest };
        let stream = &source.encodings[encoding as usize];
        let spatial = self.target.map_or(0, |target| target.spatial);
        let segment = Segment {
            source: key,
            encoding,
            generation: stream.generation,
            first_in: meta.index,
            first_out,
            timestamp_offset,
            offsets: meta.descriptor.offsets_after(&self.out.numbers),
            codec: stream.reader.codec(),
            top: if stream.reader.spatial_layers > 1 { spatial } else { 0 },
        };
        self.filter = LayerFilter::new(LayerLimit { spatial: segment.top, temporal: self.thinning.limit });
        self.current = Some(segment);
        self.thinning.applied = History::new(self.thinning_now());
        (self.thinning.newest, self.thinning.left_out) = (None, None);
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
        if self.out.started && self.out.highest >= segment.first_out {
            self.close(segment, self.out.highest);
        }
    }

    fn close(&mut self, segment: Segment, last_out: u64) {
        if self.closed.len() == SEGMENTS_PER_SLOT_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back((segment, last_out));
    }

    // Retransmission

    /// Answers one lost packet from the source's ring (RFC 4588), within hold-off and budget.
    pub(crate) fn retransmit(
        &mut self,
        sequence: u16,
        sources: &SlotMap<SourceKey, Source>,
        rtt: Duration,
        egress: &mut Egress<'_>,
    ) {
        let found = self.find_sent(sequence, sources);
        let Some((rtx, found)) = found.and_then(|found| Some((self.rtx(found.segment.codec)?, found))) else {
            egress.counters.rtx_missing += 1;
            return;
        };
        if self.held_off(found.out, rtt, egress.now) {
            egress.counters.rtx_held_off += 1;
            return;
        }
        // Pictures of before the keyframe the stream went on with: nice to have, and nothing on a line that is full.
        let is_current = self.current.is_some_and(|segment| segment.is_of(&found.segment));
        if !is_current && (egress.tx.is_congested(egress.now) || !egress.tx.is_free(egress.now)) {
            egress.counters.rtx_obsolete += 1;
            return;
        }
        let cost = (found.payload.len() + 64) as u32;
        if egress.tx.rtx_budget_bytes < cost {
            egress.counters.rtx_over_budget += 1;
            return;
        }
        let Some(len) = self.send_again(rtx, &found, egress) else { return };
        egress.tx.rtx_budget_bytes -= cost;
        if let Some(control) = &mut egress.tx.control {
            control.retransmitted(len, egress.now);
        }
        self.sent.retransmissions += 1;
        egress.counters.rtx_out += 1;
    }

    /// Sends one packet that only takes room: what was sent `back` packets ago once more, or padding where that is not
    /// there. False if the slot cannot.
    pub(crate) fn send_filler(
        &mut self,
        back: u64,
        small: bool,
        sources: &SlotMap<SourceKey, Source>,
        egress: &mut Egress<'_>,
    ) -> bool {
        let Some(codec) = self.codec().or(self.parameters.formats.iter().next().map(|format| format.codec))
        else {
            return false;
        };
        let Some(rtx) = self.rtx(codec) else { return false };
        let sequence = (self.out.highest as u16).wrapping_sub(back as u16);
        // A packet that may still be lost is worth more than padding.
        let found = self.find_sent(sequence, sources).filter(|found| {
            found.payload.len() >= FILLER_BYTES_MIN && !small && found.segment.codec == codec
        });
        let sent = match found {
            Some(found) => self.send_again(rtx, &found, egress),
            None => {
                let stamp = self.rtx_stamp(rtx, None);
                let padding = if small { PADDING_BYTES_SMALL } else { PADDING_BYTES };
                write_padding(&stamp, self.out.timestamp, padding, egress)
            }
        };
        self.rtx_next += u64::from(sent.is_some() && found.is_none());
        egress.counters.probe_packets_out += u64::from(sent.is_some());
        sent.is_some()
    }

    fn send_again(
        &mut self,
        rtx: RtxParameters,
        found: &Found<'_>,
        egress: &mut Egress<'_>,
    ) -> Option<usize> {
        let stamp = self.rtx_stamp(rtx, Some(found.out as u16));
        let (prefix, payload) = found.payload.split_at(found.meta.descriptor.prefix_len());
        let len = write_packet(&found.segment, &stamp, &found.meta, prefix, &Body::plain(payload), egress)?;
        self.rtx_next += 1;
        if self.rtx_history.is_empty() {
            self.rtx_history = vec![Retransmitted::NEVER; RTX_HISTORY];
        }
        let at = (found.out as usize) & (RTX_HISTORY - 1);
        self.rtx_history[at] = Retransmitted::new(found.out, egress.now);
        Some(len)
    }

    /// Under what packets of this codec are sent again.
    fn rtx(&self, codec: CodecName) -> Option<RtxParameters> {
        let ssrc = self.parameters.rtx_ssrc?;
        let payload_type = self.parameters.formats.get(codec)?.rtx?;
        Some(RtxParameters { ssrc, payload_type })
    }

    fn rtx_stamp(&self, rtx: RtxParameters, original_sequence: Option<u16>) -> Stamp<'_> {
        Stamp {
            payload_type: rtx.payload_type,
            ssrc: rtx.ssrc,
            index: self.rtx_next,
            mid: (!self.rtx_acknowledged).then_some(&self.parameters.mid),
            original_sequence,
        }
    }

    fn find_sent<'a>(&self, sequence: u16, sources: &'a SlotMap<SourceKey, Source>) -> Option<Found<'a>> {
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
        // Of layers it is known which frames were left out; of VP8 the packets that still had a number are.
        let is_current = self.current.is_some_and(|current| segment.is_of(&current));
        if self.emptied.contains(&(out as u32)) || (is_current && self.filter.left_out(&meta.descriptor)) {
            return Some(Found { segment, out, meta: meta.emptied(), payload: &[] });
        }
        Some(Found { segment, out, meta: *meta, payload })
    }

    fn held_off(&self, out: u64, rtt: Duration, now: Time) -> bool {
        let Some(before) = self.rtx_history.get((out as usize) & (RTX_HISTORY - 1)) else { return false };
        let this = Retransmitted::new(out, now);
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

fn vp8_picture(vp8: &Vp8Meta) -> Number {
    Number { value: vp8.picture_id.into(), bits: 15 }
}

/// A packet that was sent.
#[derive(Clone, Copy)]
struct Found<'a> {
    segment: Segment,
    out: u64,
    meta: PacketMeta,
    payload: &'a [u8],
}

/// Bytes of a packet that is worth sending once more to fill a probe.
const FILLER_BYTES_MIN: usize = 200;
/// Bytes of padding in one packet (RFC 3550 section 5.1: the last byte counts them).
const PADDING_BYTES: u8 = 224;
/// On a line so slow that a probe is small it takes several to tell how fast they get through.
const PADDING_BYTES_SMALL: u8 = 96;
