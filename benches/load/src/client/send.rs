//! The streams a transport sends: frames into packets, their stamps, reports, and retransmissions.

use std::net::UdpSocket;
use std::ops::RangeInclusive;

use vestibule_media_core::rtcp::SenderInfo;
use vestibule_media_core::rtp::HeaderWriter;
use vestibule_media_core::srtp::SrtpSealer;
use vestibule_media_core::time::NtpTime;

use super::socket::Burst;
use super::tally::Tally;
use super::wheel::spread;
use super::{Kind, SendStream, SourceId};
use crate::clock;
use crate::media::{Frame, Generator, MediaLibrary, Stamp};

/// Packets of a stream that tell its mid and rid; a browser stops when it was heard. Keyframes tell them always.
const IDENTIFIED_PACKETS: u64 = 50;
/// Packets kept for retransmission: more than two seconds of a camera's highest layer.
const HISTORY: usize = 512;
/// How far a stream may be behind its schedule and still make up for it.
const BEHIND_MICROS_MAX: u64 = 200_000;

/// What sending needs from around the stream.
pub(super) struct Wire<'a> {
    pub(super) sealer: &'a mut SrtpSealer,
    pub(super) socket: &'a UdpSocket,
    pub(super) burst: &'a mut Burst,
    pub(super) transport_sequence: &'a mut u16,
    pub(super) library: &'a MediaLibrary,
    pub(super) tally: &'a mut Tally,
}

/// One stream that is sent.
#[derive(Debug)]
pub(super) struct SendState {
    pub(super) stream: SendStream,
    generator: Generator,
    /// RTP packet index: rollover counter and sequence number.
    index: u64,
    rtx_index: u64,
    timestamp_base: u32,
    /// Counts packets for the stamps.
    counter: u64,
    /// The number of the window something was last sent in, and the counters of the first and the last there.
    window: (u32, u64, u64),
    bytes: u64,
    /// When the next frame is due, in µs.
    pub(super) due_at: u64,
    /// A timer of the plane is set for it.
    pub(super) scheduled: bool,
    keyframe_wanted: bool,
    history: Vec<SentPacket>,
}

/// What is needed to write a packet once more.
#[derive(Clone, Copy, Debug)]
struct SentPacket {
    index: u64,
    timestamp: u32,
    marker: bool,
    part: u16,
    frame: Frame,
    stamp: Stamp,
}

impl SendState {
    /// `None` if the stream's recording is not in the library.
    pub(super) fn new(stream: SendStream, library: &MediaLibrary) -> Option<Self> {
        let generator = Generator::new(&stream.model, stream.source, stream.encoding, library)?;
        let scrambled = stream.ssrc.wrapping_mul(2_654_435_761);
        Some(Self {
            generator,
            // Far from the end of the sequence space, so that nobody guesses the first rollover wrong.
            index: u64::from(scrambled & 0x3fff),
            rtx_index: u64::from((scrambled >> 16) & 0x3fff),
            timestamp_base: scrambled,
            counter: 0,
            window: (0, 0, 0),
            bytes: 0,
            due_at: 0,
            scheduled: false,
            keyframe_wanted: true,
            history: Vec::new(),
            stream,
        })
    }

    /// Puts the stream's next frame on the grid on which all sources are spread evenly, and its encodings together.
    pub(super) fn start(&mut self, now: u64) {
        let interval = match self.stream.kind {
            Kind::Audio => 20_000,
            Kind::Video => 33_333,
        };
        self.due_at = now.next_multiple_of(interval) + spread(self.stream.source.0, interval);
        self.keyframe_wanted = true;
    }

    /// The next frame is to be a keyframe.
    pub(super) const fn want_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    fn timestamp(&self, micros: u64) -> u32 {
        let per_milli = match self.stream.kind {
            Kind::Audio => 48,
            Kind::Video => 90,
        };
        self.timestamp_base.wrapping_add((micros * per_milli / 1_000) as u32)
    }

    /// Sends the frame that is due. Who is late makes up for it frame by frame, not at once.
    pub(super) fn send_due(&mut self, now: u64, wire: &mut Wire<'_>) {
        if self.due_at + BEHIND_MICROS_MAX < now {
            self.due_at = now;
        }
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        let frame = self.generator.next(keyframe, wire.library);
        let timestamp = self.timestamp(self.due_at);
        self.due_at += u64::from(frame.micros_to_next);
        if let Some(counts) = wire.tally.now().filter(|_| frame.keyframe && self.stream.kind == Kind::Video) {
            counts.keyframes_sent += 1;
        }
        self.send_frame(frame, timestamp, wire);
    }

    fn send_frame(&mut self, frame: Frame, timestamp: u32, wire: &mut Wire<'_>) {
        let identified = self.counter < IDENTIFIED_PACKETS || (frame.keyframe && self.stream.rid.is_some());
        let video = self.stream.kind == Kind::Video;
        let sent_at_ns = clock::wall_ns();
        if let Some(window) = wire.tally.window_of(sent_at_ns) {
            let first = if self.window.0 == window { self.window.1 } else { self.counter };
            self.window = (window, first, self.counter + u64::from(frame.parts) - 1);
        }
        for part in 0..frame.parts {
            let stamp = Stamp {
                source: self.stream.source,
                encoding: self.stream.encoding,
                keyframe: frame.keyframe && video,
                dtx: frame.dtx,
                part: part.min(255) as u8,
                counter: self.counter,
                sent_at_ns,
            };
            let marker = if video { part + 1 == frame.parts } else { frame.after_pause };
            let packet = SentPacket { index: self.index, timestamp, marker, part, frame, stamp };
            self.counter += 1;
            self.index += 1;
            let len = self.write(&packet, identified, None, wire);
            self.bytes += len as u64;
            if self.stream.rtx.is_some() {
                self.remember(packet);
            }
        }
        wire.burst.flush(wire.socket);
    }

    /// Whose packets, and which of them, were sent in a window.
    pub(super) fn sent_in(&self, window: u32) -> Option<((SourceId, u8), RangeInclusive<u64>)> {
        let (number, first, last) = self.window;
        (number == window).then_some(((self.stream.source, self.stream.encoding), first..=last))
    }

    fn remember(&mut self, packet: SentPacket) {
        // Packets are remembered without a gap, so that each has its place in the ring.
        match self.history.get_mut(packet.stamp.counter as usize % HISTORY) {
            Some(place) => *place = packet,
            None => self.history.push(packet),
        }
    }

    /// Writes one packet into the burst, as it is or as payload of a retransmission. Returns its payload's length.
    fn write(
        &self,
        packet: &SentPacket,
        identified: bool,
        retransmission: Option<u64>,
        wire: &mut Wire<'_>,
    ) -> usize {
        let stream = &self.stream;
        let (payload_type, ssrc, index) = match (retransmission, stream.rtx) {
            (Some(index), Some(rtx)) => (rtx.payload_type, rtx.ssrc, index),
            _ => (stream.payload_type, stream.ssrc, packet.index),
        };
        let out = wire.burst.room();
        let (marker, timestamp) = (packet.marker, packet.timestamp);
        let mut header = HeaderWriter::new(out, payload_type, marker, index as u16, timestamp, ssrc, false);
        let ids = &stream.extensions;
        if let Some(id) = ids.transport_cc {
            header.extension(id, &wire.transport_sequence.to_be_bytes());
            *wire.transport_sequence = wire.transport_sequence.wrapping_add(1);
        }
        if let (Kind::Audio, Some(id)) = (stream.kind, ids.audio_level) {
            let voice = if packet.frame.dtx { 0 } else { 0x80 };
            header.extension(id, &[voice | packet.frame.level]);
        }
        if identified {
            if let Some(id) = ids.mid {
                header.extension(id, stream.mid.as_bytes());
            }
            let rid_id = if retransmission.is_some() { ids.repaired_rid } else { ids.rid };
            if let (Some(id), Some(rid)) = (rid_id, &stream.rid) {
                header.extension(id, rid.as_bytes());
            }
        }
        let header_len = header.finish();
        let mut at = header_len;
        if retransmission.is_some() {
            out[at..at + 2].copy_from_slice(&(packet.index as u16).to_be_bytes());
            at += 2;
        }
        let len = packet.frame.write_part(packet.part, wire.library, &mut out[at..]);
        packet.stamp.write(&mut out[at..at + len]);
        match wire.sealer.seal_rtp(out, header_len, at + len, index) {
            Ok(sealed) => {
                wire.burst.push(sealed, wire.socket);
                wire.tally.sent(stream.kind, sealed);
            }
            // Only when a key has protected 2^48 packets.
            Err(_) => wire.burst.failures += 1,
        }
        len
    }

    /// Sends packet `sequence` once more, if it is still known.
    pub(super) fn retransmit(&mut self, sequence: u16, wire: &mut Wire<'_>) {
        let back = u64::from((self.index as u16).wrapping_sub(sequence));
        let Some(counter) = self.counter.checked_sub(back) else { return };
        let place = self.history.get(counter as usize % HISTORY).copied();
        let Some(packet) = place.filter(|packet| packet.stamp.counter == counter) else { return };
        let rtx_index = self.rtx_index;
        self.rtx_index += 1;
        self.write(&packet, true, Some(rtx_index), wire);
        wire.burst.flush(wire.socket);
        if let Some(counts) = wire.tally.now() {
            counts.retransmissions_sent += 1;
        }
    }

    /// What a sender report says now; `None` before the first packet.
    pub(super) fn report(&self, now: u64) -> Option<SenderInfo> {
        let wall = std::time::Duration::from_nanos(clock::wall_ns());
        (self.counter > 0).then(|| SenderInfo {
            ntp: NtpTime::from_unix(wall),
            rtp: self.timestamp(now),
            packets: self.counter as u32,
            bytes: self.bytes as u32,
        })
    }
}
