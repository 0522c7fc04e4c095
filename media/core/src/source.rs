//! A source: one published track, its simulcast encodings, and what each encoding needs to be received well.
//!
//! It keeps the plaintext packets (one ring per encoding, shared by all subscribers), finds gaps, decides what to ask
//! for again and when to ask for a keyframe. It sends nothing itself and knows no subscriber's state.

use std::time::Duration;

use crate::api::{AudioProfile, SourceKind};
use crate::bounds::{
    AUDIO_RING_BYTES_MAX, AUDIO_RING_PACKETS, ENCODING_OUTPACED, ENCODING_OUTPACED_FRAMES, ENCODING_STOPPED,
    KEYFRAME_REQUEST_INTERVAL_MAX, KEYFRAME_REQUEST_INTERVAL_MIN, MISSING_AGE_MAX, MISSING_MAX, NACK_DELAY,
    NACK_RETRY_MIN, NACK_TRIES_MAX, SEQUENCE_GAP_MAX, SOURCE_STOPPED, VIDEO_RING_BYTES_MAX,
    VIDEO_RING_PACKETS,
};
use crate::codec::{Read, Reader, SPATIAL_MAX};
use crate::keys::PeerKey;
use crate::meter::Meter;
use crate::ring::{PacketMeta, PacketRing};
use crate::rtcp::{ReportBlock, SenderInfo};
use crate::sdp::{Codec, CodecName, MediaKind, Mid, OfferedMedia, Rid};
use crate::time::{NtpTime, Time};

/// Who shows a source: a slot of a peer. A recorder or a WHEP session becomes another kind of subscriber here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) peer: PeerKey,
    pub(crate) slot: u16,
}

pub(crate) struct Source {
    pub(crate) owner: PeerKey,
    pub(crate) kind: SourceKind,
    pub(crate) media: MediaKind,
    pub(crate) mid: Mid,
    pub(crate) clock_rate: u32,
    /// What its publisher may send.
    pub(crate) formats: Formats,
    /// What its publisher was last told to send.
    pub(crate) codec: CodecName,
    /// Generic NACK was negotiated (RFC 4585 section 6.2.1).
    pub(crate) nack: bool,
    /// Keyframes are asked for by PLI, else by FIR.
    pub(crate) pli: bool,
    /// Lowest first; one without a rid where there is no simulcast.
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Sizes its publisher was last told to send, one bit each: encodings, or as many spatial layers of one.
    pub(crate) wanted: u8,
    /// When that was.
    pub(crate) wanted_at: Option<Time>,
    /// How its publisher was last told to encode a voice.
    pub(crate) profile: AudioProfile,
    /// Since when, and when last, nobody's line who hears it carried a thrifty one.
    pub(crate) pressed: Option<(Time, Time)>,
    pub(crate) red_payload_type: Option<u8>,
    /// When the first packet came.
    pub(crate) began_at: Option<Time>,
    /// Packets are coming.
    pub(crate) flowing: bool,
    pub(crate) last_packet_at: Time,
}

/// What a payload takes on the way to a subscriber beyond itself: RTP header with extensions, descriptor, SRTP tag.
const FORWARDED_OVERHEAD_BYTES: usize = 44;
/// What was added for somebody is not paused sooner, so that nobody's wishes keep a publisher busy.
const PAUSE_INTERVAL: Duration = Duration::from_millis(250);
/// How long a source that begins may send all it likes.
const PAUSE_AFTER: Duration = Duration::from_secs(3);
/// Missing packets in a row that count for an encoding's rate: more are an outage.
const SKIPPED_COUNTED_MAX: u64 = 3;
/// Packets of a picture that may stand before its first slice: delimiters, parameter sets, and what else is told of it.
const SETS_PACKETS_MAX: u64 = 8;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It is in the ring.
    Accepted {
        /// It came after a gap.
        after_gap: bool,
        /// It is the first of its layer, or the first after a stop.
        began: bool,
        /// Which layer that is.
        spatial: u8,
    },
    Duplicate,
    TooOld,
    /// It is asked for again, when what it is to be read by may be there.
    TooEarly,
}

/// A packet on its way into an encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: &'a [u8],
    pub(crate) codec: CodecName,
    /// Its dependency descriptor, if it has one.
    pub(crate) dependency: Option<&'a [u8]>,
    pub(crate) audio_level: Option<u8>,
    pub(crate) video_orientation: Option<u8>,
    pub(crate) playout_delay: Option<[u8; 3]>,
    /// It came by RTX.
    pub(crate) recovered: bool,
}

pub(crate) struct Encoding {
    pub(crate) rid: Option<Rid>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) ring: PacketRing,
    /// Grows when the stream begins anew: another SSRC, or a jump no gap can explain.
    pub(crate) generation: u32,
    /// Highest index accepted.
    pub(crate) highest: Option<u64>,
    /// Its spatial layers, lowest first; all but the first are of VP9 and AV1.
    layers: [SpatialLayer; SPATIAL_MAX],
    pub(crate) sender_report: Option<SenderReport>,
    pub(crate) missing: Vec<Missing>,
    /// None for audio, where any packet will do to begin with.
    pub(crate) keyframe: Option<KeyframeRequest>,
    pub(crate) reception: Reception,
    keyframe_timestamp: Option<u32>,
    pub(crate) reader: Reader,
    /// More of it was asked for, and no keyframe has brought more layers since.
    resumes: bool,
}

/// What is known of a layer beside its packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpatialLayer {
    pub(crate) meter: Meter,
    /// Packets are coming.
    pub(crate) flowing: bool,
    last_packet_at: Time,
    /// Frames of the source's other layers that ended since the last packet of this one.
    outpaced_frames: u32,
}

/// A picture of a source that can be chosen: an encoding, and a spatial layer of it with those below. The higher, the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Layer {
    pub(crate) encoding: u8,
    pub(crate) spatial: u8,
}

/// The payload types of an m-line, by codec. In place: each packet that comes or goes is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Formats([Option<Format>; FORMATS_MAX]);

/// The codecs of one kind of media.
const FORMATS_MAX: usize = 4;

/// The payload types of one codec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) codec: CodecName,
    pub(crate) payload_type: u8,
    pub(crate) rtx: Option<u8>,
}

impl Formats {
    pub(crate) fn of(media: &OfferedMedia) -> Self {
        let format =
            |codec: &Codec| Format { codec: codec.name, payload_type: codec.payload_type, rtx: codec.rtx };
        let mut formats = media.codecs.iter().map(format);
        let all = std::array::from_fn(|_| formats.next());
        debug_assert!(formats.next().is_none(), "a kind of media has more codecs than there is room for");
        Self(all)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Format> {
        self.0.iter().flatten()
    }

    pub(crate) fn get(&self, codec: CodecName) -> Option<&Format> {
        self.iter().find(|format| format.codec == codec)
    }

    /// The codec of a payload type, or of a payload type of retransmissions.
    pub(crate) fn codec_of(&self, payload_type: u8, rtx: bool) -> Option<CodecName> {
        let is_it = |format: &&Format| {
            if rtx { format.rtx == Some(payload_type) } else { format.payload_type == payload_type }
        };
        self.iter().find(is_it).map(|format| format.codec)
    }
}

/// The publisher's own mapping of its RTP clock to its wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderReport {
    pub(crate) ntp: NtpTime,
    pub(crate) rtp: u32,
    pub(crate) received_at: Time,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub(crate) index: u64,
    since: Time,
    next_at: Time,
    tries: u8,
}

/// When keyframes were asked for, and whether somebody still waits for one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyframeRequest {
    wanted: bool,
    last_at: Option<Time>,
    /// Requests since the last keyframe.
    unanswered: u32,
}

/// What receiver reports tell (RFC 3550 section 6.4.1 and appendix A.3, A.8).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reception {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
    /// The index the stream would have begun at, had all its packets come in one unbroken row.
    base: i64,
    expected_before: u64,
    received_before: u64,
    transit: Option<i64>,
    /// In timestamp units, times 16.
    jitter_x16: u32,
    pub(crate) recovered: u64,
    pub(crate) duplicates: u64,
}

impl Source {
    pub(crate) fn encoding_of_rid(&self, rid: Rid) -> Option<u8> {
        (0_u8..).zip(&self.encodings).find(|(_, encoding)| encoding.rid == Some(rid)).map(|(i, _)| i)
    }

    /// Whether its publisher was told to send an encoding.
    pub(crate) fn wants(&self, encoding: &Encoding) -> bool {
        let at =
            self.encodings.iter().position(|other| other.ssrc == encoding.ssrc && other.rid == encoding.rid);
        at.is_none_or(|at| self.wanted & (1 << at) != 0)
    }

    /// From when on what nobody is shown may be paused; `None` before its first packet.
    pub(crate) fn may_pause_at(&self) -> Option<Time> {
        let began = self.began_at? + PAUSE_AFTER;
        Some(self.wanted_at.map_or(began, |at| began.max(at + PAUSE_INTERVAL)))
    }

    /// All its sizes, one bit each.
    fn all_sizes(&self) -> u8 {
        u8::MAX >> (8 - self.encodings.len().clamp(1, 8))
    }

    /// The sizes its publisher has to send for a layer, one bit each. Of spatial layers those below belong to it; and who is to
    /// send the highest there is may have higher ones yet.
    pub(crate) fn sizes_for(&self, layer: Layer) -> u8 {
        let stream = &self.encodings[layer.encoding as usize];
        match layer.spatial + 1 {
            _ if stream.reader.spatial_most == 1 => 1 << layer.encoding,
            count if count >= self.spatial_layers(stream) => self.all_sizes(),
            count => self.all_sizes() & !(u8::MAX << count),
        }
    }

    /// The spatial layers of one of its encodings: while some are paused, or asked for again, those there were.
    fn spatial_layers(&self, encoding: &Encoding) -> u8 {
        let is_whole = self.wanted == self.all_sizes() && !encoding.resumes;
        if is_whole { encoding.reader.spatial_layers } else { encoding.reader.spatial_most }
    }

    /// All its layers, lowest first. While an encoding carries several, or did before they were paused, those that do not flow
    /// are none that are to come: its publisher sends all sizes in one stream.
    pub(crate) fn layers(&self) -> impl DoubleEndedIterator<Item = Layer> {
        let is_layered = |encoding: &Encoding| encoding.reader.spatial_most > 1 && encoding.flowing();
        let in_one = self.encodings.iter().any(is_layered);
        (0_u8..self.encodings.len() as u8).flat_map(move |encoding| {
            let stream = &self.encodings[encoding as usize];
            let count = if in_one && !stream.flowing() { 0 } else { self.spatial_layers(stream) };
            (0..count).map(move |spatial| Layer { encoding, spatial })
        })
    }

    pub(crate) fn layer(&self, layer: Layer) -> &SpatialLayer {
        &self.encodings[layer.encoding as usize].layers[layer.spatial as usize]
    }

    /// Height of a layer's picture in pixels, of its last keyframe.
    pub(crate) fn height(&self, layer: Layer) -> Option<u16> {
        self.encodings.get(layer.encoding as usize)?.reader.heights.get(layer.spatial as usize).copied()?
    }

    /// The highest layer whose picture is not higher than `max_height` in pixels; none of it at 0. The lowest counts
    /// as low enough, and so does one whose height is not known: before its first keyframe nobody is shown it.
    pub(crate) fn highest_within(&self, max_height: Option<u16>) -> Option<Layer> {
        // Layers are in order of their quality: above one that is too high none is low enough.
        let is_low_enough =
            |layer: &Layer| max_height.zip(self.height(*layer)).is_none_or(|(max, height)| height <= max);
        match max_height {
            Some(0) => None,
            _ => self.layers().take_while(is_low_enough).last().or_else(|| self.layers().next()),
        }
    }

    /// The layer to show to somebody who wants `wanted`: that one if it flows, else the next lower
    /// that does, else the next higher; `None` while none flows.
    pub(crate) fn best_flowing(&self, wanted: Option<Layer>) -> Option<Layer> {
        let wanted = wanted?;
        let flows = |layer: &Layer| self.layer(*layer).flowing;
        let lower = self.layers().rev().filter(|layer| *layer <= wanted).find(flows);
        lower.or_else(|| self.layers().filter(|layer| *layer > wanted).find(flows))
    }

    /// A frame of one layer has ended: a layer the others have left behind was stopped by its publisher, as
    /// browsers do on a weak line. True if there is one; it no longer flows.
    pub(crate) fn outpace(&mut self, by: Layer, now: Time) -> bool {
        let mut changed = false;
        for (encoding, at) in self.encodings.iter_mut().zip(0_u8..) {
            for (layer, spatial) in encoding.layers.iter_mut().zip(0_u8..) {
                if !layer.flowing || by == (Layer { encoding: at, spatial }) {
                    continue;
                }
                layer.outpaced_frames += 1;
                if layer.outpaced_frames >= ENCODING_OUTPACED_FRAMES
                    && now.since(layer.last_packet_at) >= ENCODING_OUTPACED
                {
                    layer.flowing = false;
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether there is more than one layer, so that one may stop while others go on.
    pub(crate) fn has_layers(&self) -> bool {
        self.encodings.len() > 1 || self.encodings.iter().any(|encoding| encoding.reader.spatial_most > 1)
    }

    /// Marks what has stopped. True if a layer did.
    pub(crate) fn expire(&mut self, now: Time) -> bool {
        let mut changed = false;
        for encoding in &mut self.encodings {
            for layer in &mut encoding.layers {
                if layer.flowing && now.since(layer.last_packet_at) >= ENCODING_STOPPED {
                    layer.flowing = false;
                    changed = true;
                }
            }
            if !encoding.flowing() {
                encoding.missing.clear();
            }
        }
        changed
    }

    pub(crate) fn stopped(&self, now: Time) -> bool {
        self.flowing && now.since(self.last_packet_at) >= SOURCE_STOPPED
    }
}

impl Encoding {
    pub(crate) fn new(media: MediaKind, codec: CodecName, rid: Option<Rid>) -> Self {
        let (packets, bytes) = match media {
            MediaKind::Audio => (AUDIO_RING_PACKETS, AUDIO_RING_BYTES_MAX),
            MediaKind::Video => (VIDEO_RING_PACKETS, VIDEO_RING_BYTES_MAX),
        };
        Self {
            rid,
            ssrc: None,
            rtx_ssrc: None,
            ring: PacketRing::new(packets, bytes),
            generation: 0,
            highest: None,
            layers: [SpatialLayer::default(); SPATIAL_MAX],
            sender_report: None,
            missing: Vec::new(),
            keyframe: (media == MediaKind::Video).then(KeyframeRequest::default),
            reception: Reception::default(),
            keyframe_timestamp: None,
            reader: Reader::new(codec),
            resumes: false,
        }
    }

    /// The stream goes on under another SSRC: its numbers mean nothing to the old ones.
    pub(crate) fn rebind(&mut self, ssrc: u32) {
        self.ssrc = Some(ssrc);
        self.restart_stream();
        self.reception = Reception::default();
    }

    /// What comes next has nothing to do with what was there: a video slot that follows needs a keyframe.
    pub(crate) fn restart_stream(&mut self) {
        if self.highest.take().is_some() {
            self.generation += 1;
        }
        self.stop();
        if let Some(keyframe) = &mut self.keyframe {
            keyframe.answered();
        }
        self.ring.clear();
        self.missing.clear();
        self.sender_report = None;
    }

    /// Whether packets of any of its layers are coming.
    pub(crate) fn flowing(&self) -> bool {
        self.layers.iter().any(|layer| layer.flowing)
    }

    /// No packets are coming any more.
    pub(crate) fn stop(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.flowing = false);
    }

    /// Its publisher is told to send more of it.
    pub(crate) const fn resume(&mut self) {
        self.resumes = true;
    }

    /// A keyframe that brings layers which were asked for is entered with them: each one is known from its first packet on.
    fn begin_layers(&mut self, now: Time) -> bool {
        let layers = &mut self.layers[..usize::from(self.reader.spatial_layers)];
        let comes = self.resumes && layers.iter().skip(1).any(|layer| !layer.flowing);
        // It is over as well where all came without it.
        self.resumes &= !comes && self.reader.spatial_layers < self.reader.spatial_most;
        if comes {
            for layer in layers {
                (layer.flowing, layer.last_packet_at, layer.outpaced_frames) = (true, now, 0);
            }
        }
        comes
    }

    /// What all its layers take.
    pub(crate) fn total_bps(&self) -> Option<u64> {
        let known = self.layers.iter().filter_map(|layer| layer.meter.total_bps());
        known.reduce(|all, layer| all + layer)
    }

    /// The publisher sends another codec from here on: a stream of its own under the same numbers.
    #[cold]
    fn change_codec(&mut self, codec: CodecName) {
        // Its clock goes on.
        let report = self.sender_report;
        self.restart_stream();
        self.sender_report = report;
        self.reader = Reader::new(codec);
        self.layers = [SpatialLayer::default(); SPATIAL_MAX];
    }

    /// The index an RTX packet's original sequence number (RFC 4588 section 4) stands for.
    pub(crate) fn index_of_osn(&self, sequence: u16) -> Option<u64> {
        let highest = self.highest?;
        let delta = i64::from(sequence.wrapping_sub(highest as u16).cast_signed());
        highest.checked_add_signed(delta)
    }

    /// Whether a packet is missing that could still be put in its place.
    pub(crate) fn lacks(&self, index: u64) -> bool {
        let is_next = self.highest.is_some_and(|highest| index > highest);
        is_next || self.missing.binary_search_by_key(&index, |missing| missing.index).is_ok()
    }

    /// Puts a packet into the ring.
    pub(crate) fn accept(
        &mut self,
        media: MediaKind,
        clock_rate: u32,
        packet: &Incoming<'_>,
        now: Time,
    ) -> Acceptance {
        let mut after_gap = false;
        if packet.codec != self.reader.codec() {
            // What was sent before the change and comes after it is of no use any more.
            if packet.recovered || self.highest.is_some_and(|highest| packet.index <= highest) {
                return Acceptance::TooOld;
            }
            let expected = self.highest;
            self.change_codec(packet.codec);
            if let Some(expected) = expected {
                // Its first packets may have been overtaken.
                self.highest = Some(expected);
            }
        }
        let skipped = self.highest.map_or(0, |highest| packet.index.saturating_sub(highest + 1));
        match self.highest {
            None => {
                // All memory an encoding takes beside its ring, at its first packet.
                self.missing.reserve(MISSING_MAX);
                self.highest = Some(packet.index);
                self.reception.begin_at(packet.index);
            }
            Some(highest) if packet.index > highest => {
                if packet.index - highest > SEQUENCE_GAP_MAX {
                    self.restart_stream();
                    self.reception.begin_at(packet.index);
                } else if packet.index > highest + 1 {
                    self.note_gap(highest + 1..packet.index, now);
                    after_gap = true;
                }
                self.highest = Some(packet.index);
            }
            Some(highest) => {
                if self.ring.contains(packet.index) {
                    self.reception.duplicates += 1;
                    return Acceptance::Duplicate;
                }
                if !self.take_missing(packet.index) || highest - packet.index >= SEQUENCE_GAP_MAX {
                    // Neither in the ring nor missed: it was there and is gone, or it was given up.
                    return Acceptance::TooOld;
                }
            }
        }
        let (meta, read) = self.read(media, packet);
        if read.is_early && self.miss(packet.index, now) {
            return Acceptance::TooEarly;
        }
        if (meta.entry_point || read.holds_sets) && media == MediaKind::Video {
            self.keyframe_timestamp = Some(meta.timestamp);
        }
        // A keyframe is spread by the pacer, and gone before it would count. What is missing counts as much as what comes
        // next, not when it is repaired all at once.
        if self.keyframe_timestamp != Some(meta.timestamp) && !packet.recovered {
            let packets = 1 + skipped.min(SKIPPED_COUNTED_MAX) as usize;
            let bytes = packets * (read.prefix.len() + read.body.len() + FORWARDED_OVERHEAD_BYTES);
            self.layer_of(&meta).meter.note(meta.descriptor.temporal(), bytes, now);
        }
        if meta.entry_point
            && let Some(keyframe) = &mut self.keyframe
        {
            keyframe.answered();
            // What came before a keyframe no longer matters to anybody.
            let start = self.entry_start(&meta);
            self.missing.retain(|missing| missing.index > start);
        }
        self.ring.insert(meta, read.prefix, read.body, now);
        self.reception.note(packet, clock_rate, now);
        let layer = self.layer_of(&meta);
        (layer.last_packet_at, layer.outpaced_frames) = (now, 0);
        let mut began = !std::mem::replace(&mut layer.flowing, true);
        if meta.entry_point && media == MediaKind::Video {
            began |= self.begin_layers(now);
        }
        Acceptance::Accepted { after_gap, began, spatial: meta.descriptor.spatial() }
    }

    /// Where a stream is entered that can be at this packet: at the parameter sets of its picture.
    pub(crate) fn entry_start(&self, entry: &PacketMeta) -> u64 {
        // They may have been offered long after they came: there are newer ones by now.
        let of_picture =
            |index: &u64| self.ring.get(*index).is_some_and(|(meta, _)| meta.timestamp == entry.timestamp);
        let before = entry.index.saturating_sub(SETS_PACKETS_MAX)..entry.index;
        let sets = before.filter(|_| self.reader.codec() == CodecName::H264).find(of_picture);
        sets.unwrap_or(entry.index)
    }

    fn layer_of(&mut self, meta: &PacketMeta) -> &mut SpatialLayer {
        &mut self.layers[usize::from(meta.descriptor.spatial()).min(SPATIAL_MAX - 1)]
    }

    #[inline]
    fn read<'a>(&mut self, media: MediaKind, packet: &Incoming<'a>) -> (PacketMeta, Read<'a>) {
        let read = match packet.payload {
            [] => Read { entry_point: media == MediaKind::Audio, ..Read::opaque(&[]) },
            payload => self.reader.read(payload, packet.dependency, packet.timestamp),
        };
        let meta = PacketMeta {
            arrived: 0,
            index: packet.index,
            timestamp: packet.timestamp,
            marker: packet.marker,
            entry_point: read.entry_point,
            descriptor: read.descriptor,
            audio_level: packet.audio_level,
            video_orientation: packet.video_orientation,
            playout_delay: packet.playout_delay,
        };
        (meta, read)
    }

    fn note_gap(&mut self, gap: std::ops::Range<u64>, now: Time) {
        if (gap.end - gap.start) as usize + self.missing.len() > MISSING_MAX {
            // Too much to repair; what subscribers need next is a keyframe.
            self.missing.clear();
            self.want_keyframe();
        }
        let room = MISSING_MAX - self.missing.len();
        let start = gap.end - ((gap.end - gap.start).min(room as u64));
        self.missing.extend((start..gap.end).map(|index| Missing {
            index,
            since: now,
            next_at: now + NACK_DELAY,
            tries: 0,
        }));
    }

    /// Takes a packet that has come for one that is missing, as others before it are. False if it is not worth it.
    fn miss(&mut self, index: u64, now: Time) -> bool {
        let is_of_use = self.missing.first().is_some_and(|first| first.index < index);
        let Err(at) = self.missing.binary_search_by_key(&index, |missing| missing.index) else {
            return false;
        };
        if !is_of_use || self.missing.len() >= MISSING_MAX {
            return false;
        }
        self.missing.insert(at, Missing { index, since: now, next_at: now + NACK_DELAY, tries: 0 });
        true
    }

    fn take_missing(&mut self, index: u64) -> bool {
        let Ok(at) = self.missing.binary_search_by_key(&index, |missing| missing.index) else { return false };
        self.missing.remove(at);
        true
    }

    /// When the next NACK is due.
    pub(crate) fn next_nack_at(&self) -> Option<Time> {
        self.missing.iter().map(|missing| missing.next_at).min()
    }

    /// Collects the sequence numbers to ask for now into `out`, as many as there is `room` for; gives how many packets were given
    /// up.
    pub(crate) fn due_nacks(&mut self, rtt: Duration, room: usize, now: Time, out: &mut Vec<u16>) -> usize {
        let before = self.missing.len();
        self.missing.retain_mut(|missing| {
            if missing.next_at > now {
                return true;
            }
            if missing.tries >= NACK_TRIES_MAX || now.since(missing.since) >= MISSING_AGE_MAX {
                return false;
            }
            if out.len() >= room {
                missing.next_at = now + NACK_RETRY_MIN;
                return true;
            }
            missing.tries += 1;
            // The answer takes one round trip; each try without one waits a little longer.
            missing.next_at = now + rtt + NACK_RETRY_MIN * u32::from(missing.tries);
            out.push(missing.index as u16);
            true
        });
        let given_up = before - self.missing.len();
        if given_up > 0 {
            self.want_keyframe();
        }
        given_up
    }

    fn want_keyframe(&mut self) {
        if let Some(keyframe) = &mut self.keyframe {
            keyframe.want();
        }
    }
}

impl KeyframeRequest {
    /// Somebody needs a keyframe. True if no request for it was under way.
    pub(crate) fn want(&mut self) -> bool {
        !std::mem::replace(&mut self.wanted, true)
    }

    /// Nobody needs one any more.
    pub(crate) const fn forget(&mut self) {
        self.wanted = false;
    }

    fn answered(&mut self) {
        self.wanted = false;
        self.unanswered = 0;
    }

    /// When the next request may leave; at once for the first.
    pub(crate) fn due_at(&self) -> Option<Time> {
        if !self.wanted {
            return None;
        }
        let wait = KEYFRAME_REQUEST_INTERVAL_MIN
            .saturating_mul(1 << self.unanswered.saturating_sub(1).min(8))
            .min(KEYFRAME_REQUEST_INTERVAL_MAX);
        Some(self.last_at.map_or(Time::ZERO, |last| last + wait))
    }

    /// True if a request is to leave now; it counts as sent then.
    pub(crate) fn take_due(&mut self, now: Time) -> bool {
        let due = self.due_at().is_some_and(|at| now >= at);
        if due {
            self.last_at = Some(now);
            self.unanswered += 1;
        }
        due
    }
}

impl Reception {
    /// The stream begins, or goes on after a jump that is no loss.
    const fn begin_at(&mut self, index: u64) {
        self.base = index.cast_signed() - self.packets.cast_signed();
        self.expected_before = self.packets;
        self.received_before = self.packets;
    }

    pub(crate) fn expected(&self, highest: u64) -> u64 {
        (highest.cast_signed() - self.base + 1).max(0).cast_unsigned()
    }

    fn note(&mut self, packet: &Incoming<'_>, clock_rate: u32, now: Time) {
        self.packets += 1;
        self.payload_bytes += packet.payload.len() as u64;
        if packet.recovered {
            self.recovered += 1;
            return;
        }
        let arrival = (u128::from(now.as_micros()) * u128::from(clock_rate) / 1_000_000) as i64;
        // Modulo 2³², as the timestamp is.
        let transit = arrival.wrapping_sub(i64::from(packet.timestamp));
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            let jitter = self.jitter_x16;
            self.jitter_x16 = jitter.saturating_add(difference).saturating_sub((jitter + 8) >> 4);
        }
    }

    /// Jitter in timestamp units.
    pub(crate) const fn jitter(&self) -> u32 {
        self.jitter_x16 >> 4
    }

    /// Packets that never came.
    pub(crate) fn lost(&self, highest: u64) -> i64 {
        self.expected(highest).cast_signed() - self.packets.cast_signed()
    }

    /// The report block on an encoding, closing this report's interval.
    pub(crate) fn report(
        &mut self,
        ssrc: u32,
        highest: u64,
        sender_report: Option<SenderReport>,
        now: Time,
    ) -> ReportBlock {
        let expected = self.expected(highest);
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = self.packets.saturating_sub(self.received_before);
        self.expected_before = expected;
        self.received_before = self.packets;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now << 8).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let (last_sender_report, delay) = sender_report.map_or((0, 0), |report| {
            let delay = u128::from(now.micros_since(report.received_at)) * 65_536 / 1_000_000;
            (report.ntp.middle(), u32::try_from(delay).unwrap_or(u32::MAX))
        });
        ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: self.lost(highest).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: highest as u32,
            jitter: self.jitter(),
            last_sender_report,
            delay_since_last_sender_report: delay,
        }
    }
}

impl From<(&SenderInfo, Time)> for SenderReport {
    fn from((info, received_at): (&SenderInfo, Time)) -> Self {
        Self { ntp: info.ntp, rtp: info.rtp, received_at }
    }
}
