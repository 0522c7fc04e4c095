//! What loss allows (draft-ietf-rmcat-gcc-02 section 6): a line with a short queue shows that it is full by loss alone.

use std::time::Duration;

use super::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS};
use crate::time::Time;

/// Below this share more may be sent; above the other less.
const LOSS_LOW: f64 = 0.02;
const LOSS_HIGH: f64 = 0.12;
/// Of some dozen packets chance makes more of less than this: it has to be so for a while.
const LOSS_SURE: f64 = 0.25;
/// Loss that no voice bears. Below it loss alone lowers nothing under what a voice takes that has earlier frames along: to
/// take them away would make it worse, where chance loses packets and not a queue.
const LOSS_HOPELESS: f64 = 0.35;
const FLOOR_BPS: f64 = 150_000.0;
/// Over how many packets, and how long, a share is told.
const PACKETS_MIN: u32 = 30;
const SPAN: Duration = Duration::from_millis(250);
const GROWTH_PER_SECOND: f64 = 0.08;
/// How much of the news counts for the share that is told.
const SMOOTHED_FOLLOWS: f64 = 0.25;

#[derive(Clone, Debug)]
pub(super) struct LossLimit {
    limit_bps: f64,
    arrived: u32,
    missing: u32,
    since: Option<Time>,
    latest: f64,
    share: f64,
    lowered_at: Option<Time>,
}

impl LossLimit {
    pub(super) const fn new() -> Self {
        Self {
            limit_bps: ESTIMATE_MAX_BPS as f64,
            arrived: 0,
            missing: 0,
            since: None,
            latest: 0.0,
            share: 0.0,
            lowered_at: None,
        }
    }

    pub(super) const fn limit_bps(&self) -> u64 {
        self.limit_bps as u64
    }

    /// The share that got lost lately, 0.0..=1.0: of some seconds, for of few packets chance makes what it likes.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// So much is lost that less is to be sent.
    pub(super) const fn is_high(&self) -> bool {
        self.latest > LOSS_HIGH
    }

    /// A probe went through: the line carries this.
    pub(super) fn shown(&mut self, bps: u64) {
        self.limit_bps = self.limit_bps.max(bps as f64);
    }

    /// Much less is sent from now on: what was lost of what was sent before shows nothing of it.
    pub(super) const fn forget(&mut self) {
        (self.arrived, self.missing, self.since) = (0, 0, None);
        (self.latest, self.share) = (0.0, 0.0);
    }

    pub(super) const fn arrived(&mut self) {
        self.arrived += 1;
    }

    pub(super) const fn arrived_late(&mut self) {
        self.arrived += 1;
        self.missing = self.missing.saturating_sub(1);
    }

    pub(super) const fn missing(&mut self) {
        self.missing += 1;
    }

    /// Looks at what was told of since it was last looked at; `estimate_bps` is what was allowed meanwhile.
    pub(super) fn update(&mut self, estimate_bps: u64, rtt: Duration, now: Time) {
        let since = *self.since.get_or_insert(now);
        let packets = self.arrived + self.missing;
        if packets < PACKETS_MIN || now.since(since) < SPAN {
            return;
        }
        self.latest = f64::from(self.missing) / f64::from(packets);
        self.share += SMOOTHED_FOLLOWS * (self.latest - self.share);
        (self.arrived, self.missing, self.since) = (0, 0, Some(now));
        if self.latest > LOSS_HIGH && (self.latest > LOSS_SURE || self.share > LOSS_HIGH) {
            // Until the sender has slowed down and feedback has told of it, more loss is the same loss.
            let patience = SPAN + rtt;
            if self.lowered_at.is_none_or(|at| now.since(at) >= patience) {
                let least = if self.share < LOSS_HOPELESS { FLOOR_BPS } else { ESTIMATE_MIN_BPS as f64 };
                let lowered = self.limit_bps.min(estimate_bps as f64) * (1.0 - 0.5 * self.latest);
                self.limit_bps = lowered.max(least.min(self.limit_bps));
                self.lowered_at = Some(now);
            }
        } else if self.latest < LOSS_LOW {
            let grown = 1.0 + GROWTH_PER_SECOND * now.since(since).as_secs_f64();
            self.limit_bps = (self.limit_bps * grown).min(ESTIMATE_MAX_BPS as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(limit: &mut LossLimit, from: u64, lost_of_hundred: u32, estimate_bps: u64) {
        for step in 0..10 {
            (0..10).for_each(|packet| {
                if step * 10 + packet < lost_of_hundred { limit.missing() } else { limit.arrived() }
            });
            limit.update(
                estimate_bps,
                Duration::from_millis(50),
                Time::from_millis(from + u64::from(step) * 100),
            );
        }
    }

    #[test]
    fn much_loss_lowers_little_raises_and_between_them_it_stays() {
        let mut limit = LossLimit::new();
        second(&mut limit, 0, 0, 1_000_000);
        assert_eq!(limit.limit_bps(), ESTIMATE_MAX_BPS);
        second(&mut limit, 1_000, 100, 1_000_000);
        let lowered = limit.limit_bps();
        assert!(lowered < 400_000, "{lowered}");
        let mut limit = LossLimit { limit_bps: 1e6, ..LossLimit::new() };
        for step in 0..100_u64 {
            (0..19).for_each(|_| limit.arrived());
            limit.missing();
            limit.update(1_000_000, Duration::from_millis(50), Time::from_millis(step * 250));
        }
        assert_eq!(limit.limit_bps(), 1_000_000, "five percent");
        for step in 100..104_u64 {
            (0..20).for_each(|_| limit.arrived());
            limit.update(1_000_000, Duration::from_millis(50), Time::from_millis(step * 250));
        }
        assert!((1_060_000..1_090_000).contains(&limit.limit_bps()), "{}", limit.limit_bps());
    }

    #[test]
    fn what_came_late_was_not_lost() {
        let mut limit = LossLimit { limit_bps: 1e6, ..LossLimit::new() };
        limit.update(1_000_000, Duration::ZERO, Time::ZERO);
        (0..10).for_each(|_| limit.missing());
        (0..10).for_each(|_| limit.arrived());
        (0..10).for_each(|_| limit.arrived_late());
        limit.update(1_000_000, Duration::ZERO, Time::from_millis(300));
        assert!(limit.share() < 1e-9);
        assert!(limit.limit_bps() >= 1_000_000);
    }

    #[test]
    fn chance_among_some_dozen_packets_is_no_loss_to_slow_down_for() {
        let mut limit = LossLimit { limit_bps: 1e6, ..LossLimit::new() };
        let mut at = 0;
        let mut looks = |limit: &mut LossLimit, times: usize, lost: u32| {
            for _ in 0..times {
                (0..40 - lost).for_each(|_| limit.arrived());
                (0..lost).for_each(|_| limit.missing());
                at += 250;
                limit.update(1_000_000, Duration::from_millis(50), Time::from_millis(at));
            }
        };
        looks(&mut limit, 8, 3);
        looks(&mut limit, 1, 8);
        assert_eq!(limit.limit_bps(), 1_000_000, "a fifth once, where it is a thirteenth else");
        looks(&mut limit, 3, 8);
        assert!(limit.limit_bps() < 1_000_000, "for a while it is no chance");
        let mut limit = LossLimit { limit_bps: 1e6, ..LossLimit::new() };
        looks(&mut limit, 2, 12);
        assert!(limit.limit_bps() < 1_000_000, "as much as this never is");
    }
}
