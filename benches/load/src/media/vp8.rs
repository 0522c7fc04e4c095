//! Synthetic VP8: frame sizes, temporal layers and headers of a camera at a steady rate.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::generator::{Body, PAYLOAD_BYTES_MAX};
use super::{Frame, STAMP_BYTES, Vp8Model};

/// Bytes of the payload descriptor (RFC 7741 section 4.2) with a 15-bit picture id, TL0PICIDX and TID.
pub(super) const DESCRIPTOR_BYTES: usize = 6;
/// Frame tag, start code, width, height (RFC 6386 section 9.1).
const KEYFRAME_HEADER_BYTES: usize = 10;
const FRAME_TAG_BYTES: usize = 3;
const PART_BYTES_MIN: usize = DESCRIPTOR_BYTES + KEYFRAME_HEADER_BYTES + STAMP_BYTES;
/// How much larger a keyframe is than the frames between.
const KEYFRAME_FACTOR: f64 = 8.0;
/// How far frame sizes scatter: the standard deviation of their logarithm.
const SIZE_SIGMA: f64 = 0.3;
/// Frames over which a keyframe's size is made up for.
const REPAY_FRAMES: f64 = 30.0;
/// What is owed at most, in frames of the rate: what a browser's rate control looks back on, about a second.
const DEBT_FRAMES_MAX: f64 = 30.0;
/// Temporal layers of successive frames (L1T3).
const TEMPORAL_PATTERN: [u8; 4] = [0, 2, 1, 2];

/// The running numbers in payload descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vp8Numbers {
    picture_id: u16,
    tl0_picture_index: u8,
    temporal_id: u8,
    position: u8,
}

impl Vp8Numbers {
    pub(super) const fn starting_at(seed: u64) -> Self {
        let picture_id = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49) as u16;
        Self { picture_id, tl0_picture_index: picture_id as u8, temporal_id: 0, position: 0 }
    }

    /// The numbers of the next frame; a keyframe begins the pattern of temporal layers anew.
    pub(super) fn next(&mut self, keyframe: bool) -> Self {
        if keyframe {
            self.position = 0;
        }
        self.temporal_id = TEMPORAL_PATTERN[usize::from(self.position)];
        self.position = (self.position + 1) % TEMPORAL_PATTERN.len() as u8;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        if self.temporal_id == 0 {
            self.tl0_picture_index = self.tl0_picture_index.wrapping_add(1);
        }
        *self
    }
}

pub(super) fn write_descriptor(out: &mut [u8], numbers: &Vp8Numbers, start: bool) {
    let [high, low] = numbers.picture_id.to_be_bytes();
    let top = numbers.temporal_id == TEMPORAL_PATTERN[1];
    // X, N for frames nobody refers to, S; I, L and T; M; TID with Y, as each depends on the base layer alone.
    let first = 0x80 | if top { 0x20 } else { 0 } | if start { 0x10 } else { 0 };
    let descriptor = [
        first,
        0xe0,
        0x80 | high,
        low,
        numbers.tl0_picture_index,
        (numbers.temporal_id << 6) | if numbers.temporal_id > 0 { 0x20 } else { 0 },
    ];
    out[..DESCRIPTOR_BYTES].copy_from_slice(&descriptor);
}

/// Writes the first bytes of a frame and returns how many.
pub(super) fn write_frame_header(
    out: &mut [u8],
    keyframe: bool,
    bytes: u32,
    width: u16,
    height: u16,
) -> usize {
    // The first partition, modes and motion vectors, is taken to be an eighth of the frame; shown, version 0.
    let tag = ((bytes / 8) << 5) | 0x10 | u32::from(!keyframe);
    let [a, b, c, _] = tag.to_le_bytes();
    out[..FRAME_TAG_BYTES].copy_from_slice(&[a, b, c]);
    if !keyframe {
        return FRAME_TAG_BYTES;
    }
    let ([w0, w1], [h0, h1]) = (width.to_le_bytes(), height.to_le_bytes());
    out[FRAME_TAG_BYTES..KEYFRAME_HEADER_BYTES].copy_from_slice(&[0x9d, 0x01, 0x2a, w0, w1, h0, h1]);
    KEYFRAME_HEADER_BYTES
}

/// One encoding.
#[derive(Debug)]
pub(super) struct SyntheticVp8 {
    model: Vp8Model,
    rng: StdRng,
    numbers: Vp8Numbers,
    /// Bytes sent beyond the rate so far.
    debt_bytes: f64,
}

impl SyntheticVp8 {
    pub(super) fn new(model: Vp8Model, seed: u64) -> Self {
        let numbers = Vp8Numbers::starting_at(seed);
        Self { model, rng: StdRng::seed_from_u64(seed), numbers, debt_bytes: 0.0 }
    }

    pub(super) fn next(&mut self, keyframe: bool) -> Frame {
        let Vp8Model { rate_bps, frames_per_second, width, height } = self.model;
        let frames_per_second = frames_per_second.max(1);
        let mean = f64::from(rate_bps) / 8.0 / f64::from(frames_per_second);
        let repaid = (1.0 - self.debt_bytes / (mean * REPAY_FRAMES)).clamp(0.4, 1.6);
        let factor = if keyframe { KEYFRAME_FACTOR } else { repaid };
        let bytes = (mean * factor * self.scatter()) as usize;
        // Packets of one size, as libwebrtc cuts them; 255 would be a frame of 300 kB.
        let parts = bytes.div_ceil(PAYLOAD_BYTES_MAX).clamp(1, 255);
        let part_bytes = bytes.div_ceil(parts).clamp(PART_BYTES_MIN, PAYLOAD_BYTES_MAX);
        // Keyframes one after another, as many who come ask for them, are not owed for minutes.
        let debt_bytes_max = mean * DEBT_FRAMES_MAX;
        let debt_bytes = self.debt_bytes + (parts * part_bytes) as f64 - mean;
        self.debt_bytes = debt_bytes.clamp(-debt_bytes_max, debt_bytes_max);
        let body = Body::Vp8 { numbers: self.numbers.next(keyframe), width, height };
        let mut frame = Frame::new(body, parts as u16, part_bytes as u16, 1_000_000 / frames_per_second);
        frame.keyframe = keyframe;
        frame
    }

    /// Log-normal with a mean of one.
    fn scatter(&mut self) -> f64 {
        // Box and Muller; 1 − u is never zero.
        let (u, v): (f64, f64) = (1.0 - self.rng.random::<f64>(), self.rng.random());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        (SIZE_SIGMA * normal - SIZE_SIGMA * SIZE_SIGMA / 2.0).exp()
    }
}
