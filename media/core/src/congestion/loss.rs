//! What loss allows (draft-ietf-rmcat-gcc-02 section 6): a line with a short queue, or with a policer and none, shows that it is
//! full by loss alone.

use std::time::Duration;

use super::estimator::LIMITED_SHARE;
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

/// Where nothing waits loss is chance, or a policer's that lets no more than its rate pass: which of both, what is lost of less
/// shows. So much of what got through is sent then.
const TRIED_SHARE: f64 = 0.95;
/// It was the rate if so much of the loss is left at the most, and chance from the other share on; of so many packets.
const MENDED: f64 = 0.25;
const NOT_MENDED: f64 = 0.4;
const TRIED_PACKETS_MIN: u32 = 60;
/// They count once no more is sent than this share of what was, and hardly more than is to be; what is sent is known that late.
const TRIED_LESS: f64 = 0.9;
const TRIED_MORE: f64 = 1.1;
const TRIED_AFTER: Duration = Duration::from_millis(500);
/// How long it is tried at the most: who sends no less by then shows nothing.
const TRIED_FOR: Duration = Duration::from_secs(3);
/// Whoever loses more than this by chance is to send less all the same.
const CHANCE_MAX: f64 = 0.3;
/// What is lost of less than this share of a policer's rate is lost by chance.
const UNPOLICED_SHARE: f64 = 0.8;
/// For how long loss is that of a queue that was full, or of a cut.
const EXPLAINED: Duration = Duration::from_secs(1);
/// Far beyond a policer's rate it grows slowly, unless as much is sent.
const BEYOND_TIMES: f64 = 1.4;
const GROWTH_BEYOND: f64 = 0.01;
/// A policer is another one where so much more than its rate was sent and nothing was lost; and it may be, where for so long nothing
/// was lost: a moment's loss looks like one.
const ANOTHER_TIMES: f64 = 1.25;
const POLICED_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct LossLimit {
    limit_bps: f64,
    arrived: u32,
    missing: u32,
    since: Option<Time>,
    latest: f64,
    share: f64,
    lowered_at: Option<Time>,
    /// When something waited in the line last, or it was cut.
    explained_at: Option<Time>,
    /// Whether it is the rate that makes loss is being tried.
    trial: Option<Trial>,
    /// The share that is lost whatever is sent.
    chance: f64,
    /// What a policer lets pass.
    policed_bps: Option<f64>,
}

/// What was so before less was sent.
#[derive(Clone, Copy, Debug)]
struct Trial {
    at: Time,
    limit_bps: f64,
    sent_bps: f64,
    through_bps: f64,
    share: f64,
    /// What became of what was sent since.
    arrived: u32,
    missing: u32,
}

/// What else is known of a line when its loss is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// What is allowed.
    pub(super) estimate_bps: u64,
    /// What is sent, and what arrives of it.
    pub(super) sent_bps: f64,
    pub(super) through_bps: Option<f64>,
    /// Something waits in the line, or it was cut: what is lost is lost for that.
    pub(super) is_explained: bool,
    pub(super) rtt: Duration,
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
            explained_at: None,
            trial: None,
            chance: 0.0,
            policed_bps: None,
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
    pub(super) fn is_high(&self) -> bool {
        self.latest - self.chance > LOSS_HIGH
    }

    /// No more passes at length than is seen to, whatever a burst shows.
    pub(super) const fn is_policed(&self) -> bool {
        self.policed_bps.is_some()
    }

    /// A probe went through. Gives what of it is believed: a policer lets any burst pass that is short.
    pub(super) fn shown(&mut self, bps: u64) -> u64 {
        if self.policed_bps.is_some() || self.trial.is_some() {
            return bps.min(self.limit_bps());
        }
        self.limit_bps = self.limit_bps.max(bps as f64);
        bps
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

    /// Looks at what was told of since it was last looked at.
    pub(super) fn update(&mut self, seen: &Seen, now: Time) {
        if seen.is_explained {
            (self.explained_at, self.trial) = (Some(now), None);
        }
        let since = *self.since.get_or_insert(now);
        let packets = self.arrived + self.missing;
        if packets < PACKETS_MIN || now.since(since) < SPAN {
            return;
        }
        self.latest = f64::from(self.missing) / f64::from(packets);
        self.share += SMOOTHED_FOLLOWS * (self.latest - self.share);
        self.judge(seen, since, now);
        (self.arrived, self.missing, self.since) = (0, 0, Some(now));
        if self.policed_bps.is_some_and(|bps| seen.sent_bps < bps * UNPOLICED_SHARE) {
            self.chance += SMOOTHED_FOLLOWS * (self.latest.min(CHANCE_MAX) - self.chance);
        }
        self.chance = self.chance.min(self.share);
        let beyond = self.latest - self.chance;
        let lasts = self.latest > LOSS_SURE + self.chance || self.share - self.chance > LOSS_HIGH;
        if beyond > LOSS_HIGH && lasts {
            // Until the sender has slowed down and feedback has told of it, more loss is the same loss.
            let patience = SPAN + seen.rtt;
            if self.lowered_at.is_none_or(|at| now.since(at) >= patience) {
                self.lower(seen, now);
            }
        } else if beyond < LOSS_LOW {
            let is_filled = seen.sent_bps > self.limit_bps * LIMITED_SHARE;
            let beyond = self.policed_bps.is_some_and(|bps| self.limit_bps > bps * BEYOND_TIMES);
            let growth = if beyond && !is_filled { GROWTH_BEYOND } else { GROWTH_PER_SECOND };
            let grown = 1.0 + growth * now.since(since).as_secs_f64();
            self.limit_bps = (self.limit_bps * grown).min(ESTIMATE_MAX_BPS as f64);
            let is_recent = self.lowered_at.is_some_and(|at| now.since(at) < POLICED_FOR);
            let is_same = |bps: &f64| is_recent && seen.sent_bps < bps * ANOTHER_TIMES;
            self.policed_bps = self.policed_bps.filter(is_same);
        }
    }

    fn lower(&mut self, seen: &Seen, now: Time) {
        let is_hopeless = self.share >= LOSS_HOPELESS || self.policed_bps.is_some();
        let least = if is_hopeless { ESTIMATE_MIN_BPS as f64 } else { FLOOR_BPS };
        let before = self.limit_bps.min(seen.estimate_bps as f64);
        let is_explained = self.explained_at.is_some_and(|at| now.since(at) < EXPLAINED);
        // Who sends hardly more than the least of it cannot send less to try it.
        let can_try = seen.sent_bps * TRIED_SHARE > FLOOR_BPS;
        let through = seen.through_bps.filter(|_| can_try && !is_explained);
        if let (Some(through_bps), None) = (through, self.trial) {
            let (limit_bps, sent_bps, share) = (self.limit_bps, seen.sent_bps, self.latest);
            self.trial =
                Some(Trial { at: now, limit_bps, sent_bps, through_bps, share, arrived: 0, missing: 0 });
        }
        let lowered = match through {
            Some(bps) => before.min(bps * TRIED_SHARE),
            None => before * (1.0 - 0.5 * self.latest),
        };
        self.limit_bps = lowered.max(least.min(self.limit_bps));
        self.lowered_at = Some(now);
    }

    /// Less is sent since loss was high: is it lost still? What is told of now was told of after `since`.
    fn judge(&mut self, seen: &Seen, since: Time, now: Time) {
        let Some(trial) = &mut self.trial else { return };
        let is_less =
            seen.sent_bps <= trial.sent_bps * TRIED_LESS && seen.sent_bps <= self.limit_bps * TRIED_MORE;
        if since >= trial.at + seen.rtt + TRIED_AFTER && is_less {
            trial.arrived += self.arrived;
            trial.missing += self.missing;
        }
        let packets = trial.arrived + trial.missing;
        let lost = f64::from(trial.missing) / f64::from(packets.max(1));
        if packets < TRIED_PACKETS_MIN {
            self.trial = self.trial.filter(|trial| now.since(trial.at) < TRIED_FOR);
            return;
        }
        if lost <= trial.share * MENDED {
            self.policed_bps = Some(trial.through_bps);
        } else if lost >= trial.share * NOT_MENDED {
            (self.chance, self.share) = (lost.min(CHANCE_MAX), self.share.max(lost));
            self.limit_bps = self.limit_bps.max(trial.limit_bps);
        }
        self.trial = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something waits in the line.
    const fn queued(estimate_bps: u64) -> Seen {
        let sent_bps = estimate_bps as f64;
        let rtt = Duration::from_millis(50);
        Seen { estimate_bps, sent_bps, through_bps: None, is_explained: true, rtt }
    }

    /// What is allowed is sent for so many quarters of a second over a line without a queue that lets this share through, or
    /// so much.
    fn sends(limit: &mut LossLimit, at_ms: &mut u64, quarters: usize, through: impl Fn(f64) -> f64) {
        for _ in 0..quarters {
            let sent_bps = limit.limit_bps.min(3e6);
            let through_bps = through(sent_bps);
            let arrived = (through_bps / sent_bps * 100.0).round() as u32;
            (0..arrived).for_each(|_| limit.arrived());
            (arrived..100).for_each(|_| limit.missing());
            *at_ms += 250;
            let rtt = Duration::from_millis(100);
            let (estimate_bps, through_bps) = (sent_bps as u64, Some(through_bps));
            let seen = Seen { estimate_bps, sent_bps, through_bps, is_explained: false, rtt };
            limit.update(&seen, Time::from_millis(*at_ms));
        }
    }

    #[test]
    fn what_a_policer_lets_pass_is_found_and_no_burst_shows_more() {
        let (mut limit, mut at) = (LossLimit::new(), 0);
        sends(&mut limit, &mut at, 1, |sent| sent);
        let police = |sent: f64| sent.min(1_500_000.0);
        sends(&mut limit, &mut at, 4, police);
        assert!((1_300_000..1_600_000).contains(&limit.limit_bps()), "{}", limit.limit_bps());
        sends(&mut limit, &mut at, 6, police);
        assert!(limit.shown(9_000_000) < 2_000_000, "{limit:?}");
        assert!(limit.limit_bps() < 2_000_000);
        // It is another line by now.
        sends(&mut limit, &mut at, 40, |sent| sent);
        assert_eq!(limit.shown(9_000_000), 9_000_000);
    }

    #[test]
    fn what_chance_loses_of_less_as_of_more_lowers_nothing_for_long() {
        let (mut limit, mut at) = (LossLimit::new(), 0);
        sends(&mut limit, &mut at, 12, |sent| sent * 0.8);
        assert!(limit.limit_bps() >= 3_000_000, "{limit:?}");
        assert!(!limit.is_high() && limit.share() > 0.15);
        sends(&mut limit, &mut at, 40, |sent| sent * 0.8);
        assert!(limit.limit_bps() >= 3_000_000, "{limit:?}");
        // It ends, and begins again: then it is news.
        sends(&mut limit, &mut at, 40, |sent| sent);
        assert!(limit.chance < 0.02);
    }

    fn second(limit: &mut LossLimit, from: u64, lost_of_hundred: u32, estimate_bps: u64) {
        for step in 0..10 {
            (0..10).for_each(|packet| {
                if step * 10 + packet < lost_of_hundred { limit.missing() } else { limit.arrived() }
            });
            limit.update(&queued(estimate_bps), Time::from_millis(from + u64::from(step) * 100));
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
            limit.update(&queued(1_000_000), Time::from_millis(step * 250));
        }
        assert_eq!(limit.limit_bps(), 1_000_000, "five percent");
        for step in 100..104_u64 {
            (0..20).for_each(|_| limit.arrived());
            limit.update(&queued(1_000_000), Time::from_millis(step * 250));
        }
        assert!((1_060_000..1_090_000).contains(&limit.limit_bps()), "{}", limit.limit_bps());
    }

    #[test]
    fn what_came_late_was_not_lost() {
        let mut limit = LossLimit { limit_bps: 1e6, ..LossLimit::new() };
        limit.update(&queued(1_000_000), Time::ZERO);
        (0..10).for_each(|_| limit.missing());
        (0..10).for_each(|_| limit.arrived());
        (0..10).for_each(|_| limit.arrived_late());
        limit.update(&queued(1_000_000), Time::from_millis(300));
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
                limit.update(&queued(1_000_000), Time::from_millis(at));
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
