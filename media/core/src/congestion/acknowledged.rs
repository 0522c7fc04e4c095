//! How much gets through: bytes acknowledged, by the receiver's clock.

use std::collections::VecDeque;

use super::bits_per_second;

/// Over how long is looked.
const WINDOW_MICROS: i64 = 500_000;
/// Before so much of it is filled nothing is said.
const SPAN_MICROS_MIN: i64 = 150_000;
/// How long ago is recent.
const RECENT_MICROS: i64 = 250_000;
/// Arrivals within this are one entry.
const BUCKET_MICROS: i64 = 10_000;

/// When nothing arrives for so long, and for so many times longer than was usual, the line was cut.
const CUT_MICROS_MIN: i64 = 120_000;
const CUT_TIMES: i64 = 10;
/// How slowly what is usual follows.
const USUAL_FOLLOWS: i64 = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct Acknowledged {
    /// When the first of each bucket arrived, and bytes; in order.
    buckets: VecDeque<(i64, u64)>,
    bytes: u64,
    last_arrival: i64,
    /// The time between two that arrive, by and large.
    usual: i64,
}

impl Acknowledged {
    /// True if the line was cut before it: nothing arrived for much longer than was usual.
    #[inline]
    pub(super) fn arrived(&mut self, arrival: i64, bytes: u16) -> bool {
        let since = if self.buckets.is_empty() { 0 } else { (arrival - self.last_arrival).max(0) };
        let was_cut = since > CUT_MICROS_MIN && since > CUT_TIMES * self.usual;
        self.usual += (since - self.usual) / USUAL_FOLLOWS;
        match self.buckets.back_mut() {
            // Most are in the bucket that is open.
            Some((at, bucket)) if (0..BUCKET_MICROS).contains(&(arrival - *at)) => {
                *bucket += u64::from(bytes);
                self.bytes += u64::from(bytes);
                self.last_arrival = self.last_arrival.max(arrival);
            }
            _ => self.begin(arrival, bytes),
        }
        was_cut
    }

    fn begin(&mut self, arrival: i64, bytes: u16) {
        if self.buckets.back().is_some_and(|(at, _)| (arrival - at).abs() > 10 * WINDOW_MICROS) {
            // A long silence, or another clock.
            *self = Self::default();
        }
        self.last_arrival = if self.buckets.is_empty() { arrival } else { self.last_arrival.max(arrival) };
        self.bytes += u64::from(bytes);
        match self.buckets.back_mut() {
            // Overtaken by a bucket.
            Some((at, bucket)) if arrival < *at => *bucket += u64::from(bytes),
            _ => self.buckets.push_back((arrival, u64::from(bytes))),
        }
        while let Some((at, bucket)) =
            self.buckets.front().copied().filter(|(at, _)| self.last_arrival - at > WINDOW_MICROS)
        {
            debug_assert!(at <= self.last_arrival);
            self.bytes -= bucket;
            self.buckets.pop_front();
        }
    }

    /// The same of the last quarter of a second: what the line carries when it is full, soon after it was not.
    pub(super) fn recent_bps(&self) -> Option<u64> {
        let recent =
            || self.buckets.iter().rev().take_while(|(at, _)| self.last_arrival - at <= RECENT_MICROS);
        let (first, first_bytes) = *recent().last()?;
        let span = self.last_arrival - first;
        let bytes: u64 = recent().map(|(_, bytes)| bytes).sum();
        (span >= SPAN_MICROS_MIN).then(|| bits_per_second(bytes - first_bytes, span.cast_unsigned()))
    }

    /// In bits per second; nothing while there is too little to say.
    pub(super) fn rate_bps(&self) -> Option<u64> {
        let (first, first_bytes) = *self.buckets.front()?;
        let span = self.last_arrival - first;
        // The first opens the time: its bytes came before it.
        (span >= SPAN_MICROS_MIN).then(|| bits_per_second(self.bytes - first_bytes, span.cast_unsigned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_told_and_a_change_is_known_after_half_a_second() {
        let mut acknowledged = Acknowledged::default();
        for step in 0..100 {
            acknowledged.arrived(step * 10_000, 1_250);
        }
        assert_eq!(acknowledged.rate_bps(), Some(1_000_000));
        for step in 100..151 {
            acknowledged.arrived(step * 10_000, 250);
        }
        assert_eq!(acknowledged.rate_bps(), Some(200_000));
    }

    #[test]
    fn a_few_packets_say_nothing() {
        let mut acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.rate_bps(), None);
        for step in 0..10 {
            acknowledged.arrived(step * 10_000, 1_250);
        }
        assert_eq!(acknowledged.rate_bps(), None);
        acknowledged.arrived(60_000_000, 1_250);
        assert_eq!(acknowledged.rate_bps(), None, "what came a minute ago is no rate");
    }
}
