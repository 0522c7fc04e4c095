//! One stream's frames, one after the other, and their packets.

use super::opus::SyntheticOpus;
use super::vp8::{DESCRIPTOR_BYTES, SyntheticVp8, Vp8Numbers, write_descriptor, write_frame_header};
use super::{MediaLibrary, Model, RecordingId, STAMP_BYTES};
use crate::client::{Kind, SourceId};

/// RTP payload bytes of one packet, descriptor and stamp included: what leaves room for all headers below 1,200.
pub const PAYLOAD_BYTES_MAX: usize = 1_160;
/// Bytes of a recorded frame in one packet.
const RECORDED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - DESCRIPTOR_BYTES - STAMP_BYTES;

/// A frame, small enough to be kept so that its packets can be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Can be decoded alone.
    pub keyframe: bool,
    /// Comfort noise in a pause.
    pub dtx: bool,
    /// Begins after a pause.
    pub after_pause: bool,
    /// RFC 6464: how far below the loudest, in dB; audio only.
    pub level: u8,
    /// Packets it takes.
    pub parts: u16,
    /// RTP payload bytes of each of its packets, stamp included; the last may be shorter.
    pub part_bytes: u16,
    /// When the next frame is due, in µs after this one.
    pub micros_to_next: u32,
    body: Body,
}

/// What is in the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// VP8 headers before filler.
    Vp8 { numbers: Vp8Numbers, width: u16, height: u16 },
    /// A TOC byte before filler.
    Opus,
    /// A frame of a recording; video with its numbers.
    Recorded { recording: RecordingId, frame: u32, numbers: Option<Vp8Numbers> },
}

impl Frame {
    pub(super) fn new(body: Body, parts: u16, part_bytes: u16, micros_to_next: u32) -> Self {
        Self {
            keyframe: false,
            dtx: false,
            after_pause: false,
            level: 0,
            parts,
            part_bytes,
            micros_to_next,
            body,
        }
    }

    /// Writes the payload of packet `part` into `out` and returns its length. Its last [`STAMP_BYTES`] are the stamp's
    /// and left as they were. `out` must hold [`PAYLOAD_BYTES_MAX`].
    #[inline]
    pub fn write_part(&self, part: u16, library: &MediaLibrary, out: &mut [u8]) -> usize {
        let len = usize::from(self.part_bytes);
        match self.body {
            Body::Vp8 { numbers, width, height } => {
                write_descriptor(out, &numbers, part == 0);
                let mut at = DESCRIPTOR_BYTES;
                if part == 0 {
                    let bytes = u32::from(self.parts) * u32::from(self.part_bytes);
                    at += write_frame_header(&mut out[at..], self.keyframe, bytes, width, height);
                }
                out[at..len - STAMP_BYTES].fill(part as u8);
                len
            }
            Body::Opus => {
                // Hybrid full band, 20 ms, mono, one frame (RFC 6716 section 3.1).
                out[0] = 0x78;
                out[1..len - STAMP_BYTES].fill(0x55);
                len
            }
            Body::Recorded { recording, frame, numbers } => {
                let data = library.frame(recording, frame);
                let mut at = 0;
                if let Some(numbers) = numbers {
                    write_descriptor(out, &numbers, part == 0);
                    at = DESCRIPTOR_BYTES;
                }
                let room = len - at - STAMP_BYTES;
                let from = (usize::from(part) * room).min(data.len());
                let piece = &data[from..(from + room).min(data.len())];
                out[at..at + piece.len()].copy_from_slice(piece);
                at + piece.len() + STAMP_BYTES
            }
        }
    }
}

/// Makes the frames of one stream; the same for the same seed, source and encoding in every run.
#[derive(Debug)]
pub struct Generator {
    kind: Kind,
    maker: Maker,
}

#[derive(Debug)]
enum Maker {
    Vp8(SyntheticVp8),
    Opus(SyntheticOpus),
    Recording(Player),
}

/// Plays a recording over and over.
#[derive(Debug)]
struct Player {
    recording: RecordingId,
    next: u32,
    numbers: Vp8Numbers,
}

impl Generator {
    /// The stream of `source` in this encoding; `None` if the library has no such recording.
    #[must_use]
    pub fn new(model: &Model, source: SourceId, encoding: u8, library: &MediaLibrary) -> Option<Self> {
        // Streams lie 2⁸ apart, so those of neighbouring seeds are kept apart by a factor.
        let stream = (u64::from(source.0) << 8) | u64::from(encoding);
        let seed = stream ^ library.seed().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (kind, maker) = match model {
            Model::Vp8(model) => (Kind::Video, Maker::Vp8(SyntheticVp8::new(*model, seed))),
            Model::Opus(model) => (Kind::Audio, Maker::Opus(SyntheticOpus::new(*model, seed))),
            Model::Recording(recording) => {
                let kind = library.kind(*recording)?;
                // Who all talk in chorus are no crowd: each source begins somewhere else.
                let frames = library.frames(*recording);
                let next =
                    if kind == Kind::Audio { (seed as u32).wrapping_mul(2_654_435_761) % frames } else { 0 };
                let numbers = Vp8Numbers::starting_at(seed);
                (kind, Maker::Recording(Player { recording: *recording, next, numbers }))
            }
        };
        Some(Self { kind, maker })
    }

    /// What it makes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The next frame; a keyframe if one is wanted, and with synthetic video only then.
    pub fn next(&mut self, keyframe: bool, library: &MediaLibrary) -> Frame {
        match &mut self.maker {
            Maker::Vp8(maker) => maker.next(keyframe),
            Maker::Opus(maker) => maker.next(),
            Maker::Recording(player) => player.next(self.kind, keyframe, library),
        }
    }
}

impl Player {
    fn next(&mut self, kind: Kind, keyframe: bool, library: &MediaLibrary) -> Frame {
        if keyframe && kind == Kind::Video {
            self.next = library.keyframe_from(self.recording, self.next);
        }
        let at = self.next;
        self.next = (at + 1) % library.frames(self.recording);
        let (bytes, is_keyframe, micros_to_next) = library.frame_info(self.recording, at);
        let numbers = (kind == Kind::Video).then(|| self.numbers.next(is_keyframe));
        let head = if numbers.is_some() { DESCRIPTOR_BYTES } else { 0 };
        let parts = bytes.div_ceil(RECORDED_BYTES_MAX).max(1);
        let part_bytes = bytes.div_ceil(parts) + head + STAMP_BYTES;
        let body = Body::Recorded { recording: self.recording, frame: at, numbers };
        let mut frame = Frame::new(body, parts as u16, part_bytes as u16, micros_to_next);
        frame.keyframe = is_keyframe;
        frame.level = 30;
        frame
    }
}
