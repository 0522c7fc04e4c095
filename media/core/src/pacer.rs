//! The pacer of one subscriber: what leaves at once, what waits, and until when.
//!
//! A voice never waits; it only takes its share. Video leaves as fast as the line is thought to carry, and some, so that
//! a keyframe does not fill the line's queue; what the allowance lets through at once leaves as one run (GSO). What waits
//! is no packet but an offer of one in its source's ring: layers, numbers and seals are decided when it leaves.

use std::collections::VecDeque;
use std::time::Duration;

use crate::bounds::{PACED_OFFERS_MAX, PACED_REPAIRS_MAX};
use crate::keys::SourceKey;
use crate::time::Time;

/// How much faster than the estimate packets leave: a frame is to be over before the next one begins.
const RATE_FACTOR: u64 = 2;
/// What may leave at once: as much as so long at the pacer's rate, and two packets at the least.
const BURST: Duration = Duration::from_millis(20);
const BURST_BYTES_MIN: u64 = 2_400;
/// What voices and probes may take beyond the allowance, in bursts: no more is remembered.
const DEBT_BURSTS: i64 = 4;
/// The allowance, in millionths of a bit: a rate in bits per second times microseconds.
const PER_BYTE: i64 = 8_000_000;
/// Deadlines of all subscribers fall on its multiples, so that many leave in one turn.
const GRID: Duration = Duration::from_millis(2);

/// A packet in its source's ring that a slot is to be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) source: SourceKey,
    pub(crate) index: u64,
    pub(crate) slot: u16,
    pub(crate) encoding: u8,
    pub(crate) at: Time,
}

/// A packet that is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repair {
    pub(crate) slot: u16,
    pub(crate) sequence: u16,
}

/// What may leave next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Repair(Repair),
    Offer(Offer),
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Pacer {
    allowance: i64,
    allowed_at: Time,
    rate_bps: u64,
    offers: VecDeque<Offer>,
    repairs: VecDeque<Repair>,
}

impl Pacer {
    pub(crate) fn new(estimate_bps: u64) -> Self {
        let mut pacer = Self {
            allowance: 0,
            allowed_at: Time::ZERO,
            rate_bps: 0,
            offers: VecDeque::new(),
            repairs: VecDeque::new(),
        };
        pacer.set_estimate(estimate_bps);
        pacer
    }

    /// Packets go another way: what was spent was of the old one.
    pub(crate) const fn path_changed(&mut self) {
        self.allowance = 0;
    }

    pub(crate) const fn set_estimate(&mut self, estimate_bps: u64) {
        self.rate_bps = estimate_bps * RATE_FACTOR;
    }

    /// How many packets wait.
    pub(crate) fn waiting(&self) -> usize {
        self.offers.len() + self.repairs.len()
    }

    /// How long the first offer has waited.
    pub(crate) fn waited(&self, now: Time) -> Duration {
        self.offers.front().map_or(Duration::ZERO, |offer| now.since(offer.at))
    }

    /// Whether a packet that may wait may leave at once.
    #[inline]
    pub(crate) fn is_free(&mut self, now: Time) -> bool {
        if !self.offers.is_empty() || !self.repairs.is_empty() {
            return false;
        }
        self.refill(now);
        self.allowance > 0
    }

    /// A packet has left.
    #[inline]
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.allowance -= bytes as i64 * PER_BYTE;
    }

    /// An offer has to wait. False if there is no room for it.
    pub(crate) fn offer(&mut self, offer: Offer) -> bool {
        let room = self.offers.len() < PACED_OFFERS_MAX;
        if room {
            self.offers.push_back(offer);
        }
        room
    }

    /// A repair has to wait. False if there is no room for it.
    pub(crate) fn repair(&mut self, repair: Repair) -> bool {
        let room = self.repairs.len() < PACED_REPAIRS_MAX;
        if room && !self.repairs.contains(&repair) {
            self.repairs.push_back(repair);
        }
        room
    }

    /// What may leave now; it waits no longer.
    pub(crate) fn next(&mut self, now: Time) -> Option<Next> {
        self.refill(now);
        if self.allowance <= 0 {
            return None;
        }
        match self.repairs.pop_front() {
            Some(repair) => Some(Next::Repair(repair)),
            None => self.offers.pop_front().map(Next::Offer),
        }
    }

    /// When enough may leave that it is worth a turn; nothing while nothing waits.
    pub(crate) fn due_at(&self, now: Time) -> Option<Time> {
        if self.offers.is_empty() && self.repairs.is_empty() {
            return None;
        }
        let lacking = (self.burst() / 2 - self.allowance).max(0);
        let micros = lacking.cast_unsigned() / self.rate_bps.max(1);
        Some((self.allowed_at + Duration::from_micros(micros)).max(now).round_up(GRID))
    }

    /// Nothing of what waits is to leave.
    pub(crate) fn clear(&mut self) {
        self.offers.clear();
        self.repairs.clear();
    }

    fn burst(&self) -> i64 {
        let bytes = self.rate_bps * BURST.as_micros() as u64 / 8_000_000;
        bytes.max(BURST_BYTES_MIN).cast_signed() * PER_BYTE
    }

    #[inline]
    fn refill(&mut self, now: Time) {
        let micros = now.micros_since(self.allowed_at);
        if micros > 0 {
            // After a long time all there can be is there.
            let micros = micros.min(1_000_000);
            let allowed = (self.rate_bps * micros).cast_signed();
            // Voices that take more than there is are not to keep video waiting long after they have ended.
            let owed = self.allowance.max(-DEBT_BURSTS * self.burst());
            self.allowance = owed.saturating_add(allowed).min(self.burst());
            self.allowed_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::Key as _;

    use super::*;

    fn offer(index: u64, at: Time) -> Offer {
        Offer { source: SourceKey::null(), index, slot: 0, encoding: 0, at }
    }

    #[test]
    fn a_keyframe_is_spread_over_half_the_time_the_line_takes_for_it() {
        let mut pacer = Pacer::new(1_000_000);
        let mut now = Time::from_millis(1_000);
        let (mut at_once, mut left, mut ended) = (0, 0, now);
        for index in 0..40 {
            if pacer.is_free(now) {
                pacer.spend(1_000);
                at_once += 1;
            } else {
                assert!(pacer.offer(offer(index, now)));
            }
        }
        while let Some(at) = pacer.due_at(now) {
            assert!(at > now, "a turn in which nothing leaves");
            now = at;
            while let Some(next) = pacer.next(now) {
                assert_eq!(next, Next::Offer(offer(at_once + left, Time::from_millis(1_000))), "in order");
                pacer.spend(1_000);
                left += 1;
                ended = now;
            }
        }
        assert_eq!(at_once + left, 40);
        assert!((5..=6).contains(&at_once), "{at_once}");
        let took = ended.since(Time::from_millis(1_000)).as_millis();
        assert!((130..=160).contains(&took), "40 kB at 2 Mbit/s took {took} ms");
    }

    #[test]
    fn repairs_leave_first_and_once_and_a_voice_takes_its_share() {
        let mut pacer = Pacer::new(400_000);
        let now = Time::from_millis(500);
        assert!(pacer.is_free(now));
        pacer.spend(3_000);
        assert!(!pacer.is_free(now));
        assert!(pacer.offer(offer(1, now)) && pacer.repair(Repair { slot: 0, sequence: 7 }));
        assert!(pacer.repair(Repair { slot: 0, sequence: 7 }));
        assert_eq!(pacer.waiting(), 2);
        assert_eq!(pacer.next(now), None);
        let at = pacer.due_at(now).unwrap();
        assert!(matches!(pacer.next(at), Some(Next::Repair(_))));
        assert!(matches!(pacer.next(at), Some(Next::Offer(_))));
        assert_eq!(pacer.due_at(at), None);
    }

    #[test]
    fn what_waits_has_its_bound() {
        let mut pacer = Pacer::new(40_000);
        let taken = (0..5_000).filter(|index| pacer.offer(offer(*index, Time::ZERO))).count();
        assert_eq!(taken, PACED_OFFERS_MAX);
        let taken =
            (0..5_000).filter(|sequence| pacer.repair(Repair { slot: 0, sequence: *sequence })).count();
        assert_eq!(taken, PACED_REPAIRS_MAX);
        pacer.clear();
        assert_eq!(pacer.due_at(Time::ZERO), None);
    }
}
