//! The plane's timers: one slot per millisecond, so that setting one costs nothing.

use super::TransportId;

/// Milliseconds the wheel reaches ahead; longer than any timer.
const SLOTS: u64 = 4_096;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A frame of this stream.
    Frame(u16),
    /// NACKs and PLIs.
    Feedback,
    /// Transport-wide feedback.
    TransportFeedback,
    /// Sender and receiver reports.
    Report,
    /// A connectivity or consent check.
    Check,
    /// A look at an unfinished handshake.
    Handshake,
}

/// Where in an interval somebody's turn is, so that not all have theirs at once. The golden ratio leaves the largest gaps
/// for whoever comes next.
pub(crate) const fn spread(number: u32, interval_micros: u64) -> u64 {
    (number.wrapping_mul(2_654_435_769) as u64 * interval_micros) >> 32
}

/// A timer and whose it is.
pub(super) type Entry = (TransportId, Timer);

/// All timers of a plane.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// The millisecond that is looked at next.
    next: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS as usize], next: 0 }
    }

    /// Sets a timer for this time in µs; not before the millisecond that comes next.
    #[inline]
    pub(super) fn set(&mut self, at_micros: u64, id: TransportId, timer: Timer) {
        let at = at_micros.div_ceil(1_000).clamp(self.next, self.next + SLOTS - 1);
        self.slots[(at % SLOTS) as usize].push((id, timer));
    }

    /// Takes the timers of one due millisecond, into the memory of `into`; false if none is due any more.
    pub(super) fn take(&mut self, now_micros: u64, into: &mut Vec<Entry>) -> bool {
        into.clear();
        if self.next > now_micros / 1_000 {
            return false;
        }
        std::mem::swap(&mut self.slots[(self.next % SLOTS) as usize], into);
        self.next += 1;
        true
    }
}
