//! Synthetic Opus: talk spurts and pauses, 20 ms frames, comfort noise in between.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::generator::Body;
use super::{Frame, OpusModel, STAMP_BYTES};

const FRAME_MICROS: u32 = 20_000;
/// How often a pause is heard of (RFC 7587 section 3.1.3).
const COMFORT_NOISE_MICROS: u32 = 400_000;
/// Payload bytes of a frame of speech: 24 to 48 kbit/s.
const SPEECH_BYTES: std::ops::RangeInclusive<u16> = 60..=120;
/// A TOC byte and the stamp.
const COMFORT_NOISE_BYTES: u16 = 1 + STAMP_BYTES as u16;
/// Mean frames of a talk spurt and of the pause after it: somebody who speaks about half of the time.
const SPURT_FRAMES_MEAN: f64 = 90.0;
const PAUSE_FRAMES_MEAN: f64 = 75.0;

/// One speaker.
#[derive(Debug)]
pub(super) struct SyntheticOpus {
    model: OpusModel,
    rng: StdRng,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Speaks { frames_left: u32, after_pause: bool },
    Pauses { frames_left: u32 },
}

impl SyntheticOpus {
    pub(super) fn new(model: OpusModel, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let frames_left = exponential(&mut rng, SPURT_FRAMES_MEAN);
        let speaks = !model.dtx || rng.random_bool(0.5);
        let state = if speaks {
            State::Speaks { frames_left, after_pause: true }
        } else {
            State::Pauses { frames_left }
        };
        Self { model, rng, state }
    }

    pub(super) fn next(&mut self) -> Frame {
        match self.state {
            State::Speaks { frames_left, after_pause } => {
                self.state = match frames_left.saturating_sub(1) {
                    0 if self.model.dtx => {
                        State::Pauses { frames_left: exponential(&mut self.rng, PAUSE_FRAMES_MEAN) }
                    }
                    0 => State::Speaks { frames_left: u32::MAX, after_pause: false },
                    frames_left => State::Speaks { frames_left, after_pause: false },
                };
                let bytes = self.rng.random_range(SPEECH_BYTES);
                let mut frame = Frame::new(Body::Opus, 1, bytes, FRAME_MICROS);
                frame.after_pause = after_pause;
                frame.level = self.rng.random_range(18..48);
                frame
            }
            State::Pauses { frames_left } => {
                let quiet = frames_left.min(COMFORT_NOISE_MICROS / FRAME_MICROS);
                self.state = match frames_left - quiet {
                    0 => State::Speaks {
                        frames_left: exponential(&mut self.rng, SPURT_FRAMES_MEAN),
                        after_pause: true,
                    },
                    frames_left => State::Pauses { frames_left },
                };
                let mut frame = Frame::new(Body::Opus, 1, COMFORT_NOISE_BYTES, quiet * FRAME_MICROS);
                frame.dtx = true;
                frame.level = 127;
                frame
            }
        }
    }
}

/// How long a state lasts that ends with the same chance in every frame; at least one frame.
fn exponential(rng: &mut StdRng, mean: f64) -> u32 {
    let frames = -mean * (1.0 - rng.random::<f64>()).ln();
    (frames as u32).max(1)
}
