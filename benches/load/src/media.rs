//! What participants send: synthetic VP8 and Opus that look real, or recordings, and the stamp in each packet.
//!
//! Nothing here reads a clock or opens a socket: a [`Generator`] is asked for its next frame, and says when the one after
//! it is due.

mod generator;
mod ivf;
mod library;
mod ogg;
mod opus;
mod stamp;
mod vp8;

use serde::{Deserialize, Serialize};

pub use generator::{Frame, Generator, PAYLOAD_BYTES_MAX};
pub use library::{MediaError, MediaLibrary};
pub use stamp::{STAMP_BYTES, Stamp};

/// What makes the frames of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// Synthetic VP8.
    Vp8(Vp8Model),
    /// Synthetic Opus.
    Opus(OpusModel),
    /// A recording of [`MediaLibrary`], from a place that depends on the source, over and over.
    Recording(RecordingId),
}

/// One encoding of synthetic VP8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vp8Model {
    /// Bits per second of RTP payload in the long run.
    pub rate_bps: u32,
    /// Frames per second.
    pub frames_per_second: u32,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
}

impl Vp8Model {
    /// The three encodings of a browser's camera, lowest first.
    pub const SIMULCAST: [Self; 3] = [
        Self { rate_bps: 150_000, frames_per_second: 30, width: 320, height: 180 },
        Self { rate_bps: 500_000, frames_per_second: 30, width: 640, height: 360 },
        Self { rate_bps: 1_500_000, frames_per_second: 30, width: 1280, height: 720 },
    ];
}

/// Synthetic Opus in frames of 20 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpusModel {
    /// Whether pauses of speech are sent as one frame every 400 ms. Without it the speaker never pauses.
    pub dtx: bool,
}

/// A recording in a [`MediaLibrary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordingId(pub u32);

#[cfg(test)]
mod tests;
