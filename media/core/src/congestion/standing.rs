//! How much always waits on the way: the least one-way delay of late, beyond the least ever seen. A line that is a little
//! too full grows its queue too slowly for a slope to tell; and jitter has a least that is small (as RFC 8289 has it).

use std::collections::VecDeque;
use std::time::Duration;

/// A queue that always stands is too long above this; below the other it is none, and more may be sent.
pub(super) const STANDS: Duration = Duration::from_millis(45);
pub(super) const DRAINED: Duration = Duration::from_millis(25);
/// Over how long the least of late is taken.
const LATE_MICROS: i64 = 200_000;
/// Fewer packets have no least.
const LATE_PACKETS_MIN: u32 = 4;
/// Over how long the least ever is taken, in spans: clocks drift apart, and routes change.
const SPAN_MICROS: i64 = 5_000_000;
const SPANS: usize = 3;

#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Of each span that is over the least delay, the newest last.
    spans: VecDeque<i64>,
    /// When the span began that is open, and its least.
    span_began: i64,
    span_least: i64,
    began: bool,
    /// Of the time that is looked at now: when it began, the least, and how many.
    late_began: i64,
    late_least: i64,
    late_packets: u32,
    waits_micros: i64,
    /// Of the last packet.
    last: i64,
}

impl Standing {
    /// A packet travelled for so long, and arrived, both by clocks that agree on nothing but speed.
    #[inline]
    pub(super) fn arrived(&mut self, delay: i64, arrival: i64) {
        self.span_least = self.span_least.min(delay);
        self.late_least = self.late_least.min(delay);
        self.late_packets += 1;
        self.last = delay;
        if !self.began || !(-SPAN_MICROS..=LATE_MICROS).contains(&(arrival - self.late_began)) {
            self.look(delay, arrival);
        }
    }

    /// How long the last packet waited.
    pub(super) fn waits_now(&self) -> Duration {
        Duration::from_micros((self.last - self.least()).max(0).cast_unsigned())
    }

    /// The least delay that is remembered, in µs, by clocks that agree on nothing but speed.
    pub(super) fn least(&self) -> i64 {
        self.spans.iter().copied().fold(self.span_least, i64::min)
    }

    fn look(&mut self, delay: i64, arrival: i64) {
        if !self.began || arrival < self.late_began {
            *self = Self {
                began: true,
                span_began: arrival,
                span_least: delay,
                late_began: arrival,
                late_least: delay,
                late_packets: 1,
                last: delay,
                ..Self::default()
            };
        }
        if self.late_packets < LATE_PACKETS_MIN {
            return;
        }
        let ever = self.least();
        self.waits_micros = self.late_least - ever;
        (self.late_began, self.late_least, self.late_packets) = (arrival, i64::MAX, 0);
        if arrival - self.span_began > SPAN_MICROS {
            if self.spans.len() == SPANS {
                self.spans.pop_front();
            }
            self.spans.push_back(self.span_least);
            (self.span_began, self.span_least) = (arrival, i64::MAX);
        }
    }

    /// What waits.
    pub(super) fn waits(&self) -> Duration {
        Duration::from_micros(self.waits_micros.max(0).cast_unsigned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(standing: &mut Standing, from_ms: i64, to_ms: i64, delay_micros: impl Fn(i64) -> i64) {
        for at in (from_ms..to_ms).step_by(10) {
            standing.arrived(delay_micros(at), at * 1_000);
        }
    }

    #[test]
    fn what_always_waits_is_told_and_jitter_is_not() {
        let mut standing = Standing::default();
        packets(&mut standing, 0, 2_000, |at| 20_000 + at * 7_919 % 50_000);
        assert!(standing.waits() < Duration::from_millis(10), "{:?}", standing.waits());
        packets(&mut standing, 2_000, 3_000, |at| 100_000 + at * 7_919 % 50_000);
        assert!(standing.waits() > Duration::from_millis(70), "{:?}", standing.waits());
        packets(&mut standing, 3_000, 4_000, |_| 21_000);
        assert!(standing.waits() < Duration::from_millis(2));
    }

    #[test]
    fn what_the_last_packet_waited_is_known_from_the_first_on() {
        let mut standing = Standing::default();
        standing.arrived(-40_000_000, 1_000);
        assert_eq!(standing.waits_now(), Duration::ZERO);
        standing.arrived(-39_970_000, 2_000);
        assert_eq!(standing.waits_now(), Duration::from_millis(30));
    }

    #[test]
    fn a_longer_way_is_the_way_after_a_while() {
        let mut standing = Standing::default();
        packets(&mut standing, 0, 2_000, |_| 20_000);
        packets(&mut standing, 2_000, 4_000, |_| 120_000);
        assert_eq!(standing.waits(), Duration::from_millis(100));
        packets(&mut standing, 4_000, 30_000, |_| 120_000);
        assert_eq!(standing.waits(), Duration::ZERO);
    }
}
