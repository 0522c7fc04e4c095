//! What a receiver tells of its line by an estimate of its own (draft-alvestrand-rmcat-remb-03), where it tells of no packet.
//!
//! Such an estimate is never much more than what arrives. Who wants more than it allows is sent as much as it does, with
//! packets that only take room; after that was too much, not for a while.

use std::time::Duration;

use super::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS, ESTIMATE_START_BPS, Probe};
use crate::bounds::REMB_ENTRIES_MAX;
use crate::time::Time;

/// A receiver may estimate each of its streams by itself: what it does not tell of any more it does not receive.
const TOLD_FOR: Duration = Duration::from_secs(3);
/// Below this share of what was told before the line was full.
const FALLEN: f64 = 0.95;
/// How long a line that was full is not filled again: twice as long each time it was filled before.
const HOLD_MIN: Duration = Duration::from_secs(5);
const HOLD_MAX: Duration = Duration::from_secs(60);
/// What was filled so long ago has not made it full.
const FILLED: Duration = Duration::from_secs(2);
/// What is filled for so long and is not told to carry so much more is left alone as well.
const VAIN: Duration = Duration::from_secs(10);
const RISEN: f64 = 1.02;
/// A line that is told to carry so much more is another one.
const ANOTHER_TIMES: f64 = 1.25;
/// For how long a line is filled at once: a little longer than the time from one message to the next.
const FILL: Duration = Duration::from_millis(1_200);
/// Where so much is lost nothing more is sent to show that it would get through.
const LOSS_HIGH: f64 = 0.1;
/// How much of the news counts for the share of loss that is told.
const LOSS_FOLLOWS: f64 = 0.3;
/// What fills a line is told from what does not, and from nothing else of its kind.
const FILL_NUMBER: u16 = 1;

/// What is known of a line whose receiver estimates it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remb {
    told: Vec<Told>,
    /// What goes beside all that is told of.
    beside_bps: u64,
    loss_share: f64,
    wanted_bps: u64,
    filled_at: Option<Time>,
    fell_at: Option<Time>,
    /// From when on it is not filled for a while.
    left_at: Option<Time>,
    fell_from_bps: u64,
    hold: Duration,
    /// What was allowed when it last rose, and when that was, while it is filled.
    risen: Option<(u64, Time)>,
}

/// What was told last of the streams of which this is the first.
#[derive(Clone, Copy, Debug)]
struct Told {
    ssrc: u32,
    bps: u64,
    at: Time,
}

impl Remb {
    /// What the line carries, in bits per second.
    pub(crate) fn estimate_bps(&self) -> u64 {
        let told = self.told.iter().fold(self.beside_bps, |sum, told| sum.saturating_add(told.bps));
        let bps = if self.told.is_empty() { ESTIMATE_START_BPS } else { told };
        bps.clamp(ESTIMATE_MIN_BPS, ESTIMATE_MAX_BPS)
    }

    /// The streams of which `ssrc` is the first may take this together, beside what nothing is told of.
    pub(crate) fn told(&mut self, ssrc: u32, bps: u64, beside_bps: u64, now: Time) {
        self.beside_bps = beside_bps;
        let before = self.estimate_bps();
        self.told.retain(|told| told.ssrc != ssrc && now.since(told.at) < TOLD_FOR);
        if self.told.len() == REMB_ENTRIES_MAX {
            self.told.remove(0);
        }
        self.told.push(Told { ssrc, bps, at: now });
        let estimate = self.estimate_bps();
        if (estimate as f64) < before as f64 * FALLEN {
            // What falls further is told of the same queue.
            let filled = self.filled_at.take().is_some_and(|at| now.since(at) < FILLED);
            if filled {
                self.leave_alone(now);
            } else if !self.is_left_alone(now) {
                self.hold = HOLD_MIN;
            }
            (self.fell_at, self.left_at, self.fell_from_bps) = (Some(now), Some(now), before);
            self.risen = None;
        } else if estimate as f64 > self.fell_from_bps as f64 * ANOTHER_TIMES {
            self.hold = Duration::ZERO;
        }
    }

    /// It was filled, and showed no more.
    fn leave_alone(&mut self, now: Time) {
        self.hold = (self.hold * 2).clamp(HOLD_MIN, HOLD_MAX);
        (self.left_at, self.risen) = (Some(now), None);
    }

    fn is_left_alone(&self, now: Time) -> bool {
        self.left_at.is_some_and(|at| now.since(at) < self.hold)
    }

    /// When it was last told that too much is sent.
    pub(crate) const fn fell_at(&self) -> Option<Time> {
        self.fell_at
    }

    /// This share of what one report tells of was lost.
    pub(crate) fn lost(&mut self, share: f64) {
        self.loss_share += LOSS_FOLLOWS * (share - self.loss_share);
    }

    /// The share of packets that got lost lately, 0.0..=1.0.
    pub(crate) const fn loss_share(&self) -> f64 {
        self.loss_share
    }

    /// How much would be sent at the most if the line carried it.
    pub(crate) const fn want(&mut self, bps: u64) {
        self.wanted_bps = bps;
    }

    /// What is to be sent from now on, with what only takes room, if more is wanted than is known to get through.
    pub(crate) fn fill_due(&mut self, now: Time) -> Option<Probe> {
        let rate_bps = self.estimate_bps();
        if rate_bps >= self.wanted_bps || self.is_left_alone(now) || self.loss_share > LOSS_HIGH {
            self.risen = None;
            return None;
        }
        let (from_bps, since) = *self.risen.get_or_insert((rate_bps, now));
        if rate_bps as f64 > from_bps as f64 * RISEN {
            self.risen = Some((rate_bps, now));
        } else if now.since(since) > VAIN {
            self.leave_alone(now);
            return None;
        }
        self.filled_at = Some(now);
        let bytes = rate_bps * FILL.as_millis() as u64 / 8_000;
        Some(Probe { number: FILL_NUMBER, rate_bps, bytes: bytes as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn wanting(bps: u64) -> Remb {
        Remb { wanted_bps: bps, ..Remb::default() }
    }

    #[test]
    fn who_wants_more_than_is_told_is_sent_as_much_as_is() {
        let mut remb = wanting(1_000_000);
        assert_eq!(remb.fill_due(at(0)).map(|fill| fill.rate_bps), Some(ESTIMATE_START_BPS));
        remb.told(7, 500_000, 0, at(500));
        let fill = remb.fill_due(at(500)).expect("more is wanted");
        assert_eq!((fill.rate_bps, fill.bytes), (500_000, 75_000));
        remb.told(7, 1_000_000, 0, at(1_000));
        assert_eq!(remb.fill_due(at(1_000)), None);
    }

    #[test]
    fn a_line_that_was_filled_and_full_is_left_alone_for_twice_as_long_each_time() {
        let mut remb = wanting(9_000_000);
        let mut now = 0;
        for hold in [5_000, 10_000, 20_000, 40_000, 60_000, 60_000] {
            remb.told(7, 600_000, 0, at(now));
            assert!(remb.fill_due(at(now)).is_some());
            remb.told(7, 500_000, 0, at(now + 500));
            assert_eq!(remb.fill_due(at(now + 500 + hold - 1)), None);
            now += 500 + hold;
            assert!(remb.fill_due(at(now)).is_some(), "after {hold} ms");
        }
        remb.told(7, 1_000_000, 0, at(now));
        remb.told(7, 500_000, 0, at(now + 10_000));
        assert!(remb.fill_due(at(now + 15_000)).is_some(), "it was another line, and not filled");
    }

    #[test]
    fn what_is_told_of_a_queue_again_and_again_is_one_fall() {
        let mut remb = wanting(9_000_000);
        remb.told(7, 1_000_000, 0, at(0));
        assert!(remb.fill_due(at(0)).is_some());
        for (ms, bps) in [(500, 850_000), (1_000, 720_000), (1_500, 610_000)] {
            remb.told(7, bps, 0, at(ms));
        }
        assert_eq!(remb.fill_due(at(6_499)), None);
        assert!(remb.fill_due(at(6_500)).is_some());
    }

    #[test]
    fn what_is_filled_in_vain_is_left_alone_for_longer_each_time() {
        let mut remb = wanting(9_000_000);
        let filled = (0..600).filter(|half| remb.fill_due(at(half * 500)).is_some()).count();
        assert!((60..200).contains(&filled), "of five minutes in which nothing is told: {filled}");
    }

    #[test]
    fn where_much_is_lost_nothing_is_sent_to_show_more() {
        let mut remb = wanting(9_000_000);
        (0..10).for_each(|_| remb.lost(0.2));
        assert_eq!(remb.fill_due(at(0)), None);
        (0..10).for_each(|_| remb.lost(0.0));
        assert!(remb.fill_due(at(0)).is_some());
    }

    #[test]
    fn streams_that_are_estimated_apart_take_what_is_told_of_all() {
        let mut remb = Remb::default();
        remb.told(7, 300_000, 0, at(0));
        remb.told(8, 200_000, 0, at(100));
        assert_eq!(remb.estimate_bps(), 500_000);
        remb.told(8, 200_000, 50_000, at(100));
        assert_eq!(remb.estimate_bps(), 550_000, "once, beside all of them");
        remb.told(8, 200_000, 0, at(100));
        remb.told(7, 400_000, 0, at(3_100));
        assert_eq!(remb.estimate_bps(), 400_000, "the other is not received any more");
        (0..100).for_each(|ssrc| remb.told(ssrc, u64::MAX, 0, at(3_200)));
        assert_eq!((remb.told.len(), remb.estimate_bps()), (REMB_ENTRIES_MAX, ESTIMATE_MAX_BPS));
    }
}
