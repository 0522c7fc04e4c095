//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): what arrived is
//! recorded and reported to the sender; what the other side reports is read.
//!
//! It knows sequence numbers and times. What they mean for a bitrate is for the estimator to say.

mod recorder;
mod view;

pub use recorder::TwccRecorder;
pub use view::{Received, Statuses, TwccView};

/// Receive deltas count in units of 250 µs.
const TICK_MICROS: u64 = 250;
/// The reference time counts in units of 64 ms, each of 256 ticks.
const TICKS_PER_REFERENCE_SHIFT: u32 = 8;
/// Base sequence, status count, reference time, feedback count.
const FIXED_LEN: usize = 8;

/// Packet status symbols (section 3.1.1 of the draft).
mod symbol {
    pub(super) const NOT_RECEIVED: u8 = 0;
    pub(super) const SMALL_DELTA: u8 = 1;
    pub(super) const LARGE_DELTA: u8 = 2;
}

#[cfg(test)]
mod tests;
