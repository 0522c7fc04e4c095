//! Whether the queue is somebody else's: one that stands though less is sent than got through when it began, and drains
//! by none of it. A flow that fills what it finds (TCP) makes such a queue; who made way for it would make way for ever.

use std::time::Duration;

use super::standing::{DRAINED, STANDS};
use crate::time::Time;

/// For how long less is sent before it is said whose the queue is.
const LOOK: Duration = Duration::from_secs(2);
/// What gets through is looked at for so long: in the beginning it may be what the line carried before.
const BEGINNING: Duration = Duration::from_millis(600);
/// So much less has to be sent that a queue of ours would drain by [`FALL`] in half of that time.
const LESS_SHARE: f64 = 0.85;
const FALL: Duration = Duration::from_millis(60);
/// Who was there so long ago or less is known sooner.
const KNOWN: Duration = Duration::from_secs(10);
const LOOK_KNOWN: Duration = Duration::from_secs(1);
/// No more than a voice is sent, all of which arrives: of the thriftiest, for a better one may be what fills the line.
const LEAST_BPS: f64 = 30_000.0;
const LEAST_KNOWN_BPS: f64 = 60_000.0;
const STAYS: Duration = Duration::from_millis(80);
/// All of what is sent gets through that does to this share: looks at either are not of the same moment.
pub(super) const THROUGH_SHARE: f64 = 0.85;
/// No less than this share of what got through is sent meanwhile, and for so long.
const ENOUGH_SHARE: f64 = 0.5;
/// Of what is sent so much still has to get through.
const SLOWER_SHARE: f64 = 0.5;
const LOOK_MAX: Duration = Duration::from_secs(5);
/// What waits beyond what waited then is ours.
const MORE: Duration = Duration::from_millis(200);
/// After so long it is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

/// As much arrives as is sent, by and large.
pub(super) fn gets_through(through_bps: Option<f64>, sent_bps: f64) -> bool {
    through_bps.is_none_or(|bps| bps >= sent_bps * THROUGH_SHARE)
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contest {
    state: State,
    /// When somebody else was last there.
    contested_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// No queue stands.
    #[default]
    Idle,
    /// One stands, and it is to be seen whose.
    Looking {
        began: Time,
        /// It began, or drained by some of it.
        since: Time,
        /// What waited then, and the most that waited since.
        waited: Duration,
        waits: Duration,
        /// The least that got through in the beginning, in bits per second.
        through_bps: f64,
    },
    /// Somebody else fills it.
    Contested {
        since: Time,
        /// The least delay that was known then, in µs: it is forgotten meanwhile.
        least: i64,
        /// What waited then.
        waited: Duration,
    },
}

impl Contest {
    /// Somebody else fills the queue.
    pub(super) const fn is_contested(&self) -> bool {
        matches!(self.state, State::Contested { .. })
    }

    /// Somebody else was there a moment ago, and is still, more likely than not.
    fn is_known(&self, now: Time) -> bool {
        self.contested_at.is_some_and(|at| now.since(at) < KNOWN)
    }

    /// Hardly more than a voice is sent.
    pub(super) fn is_least(&self, sent_bps: f64, now: Time) -> bool {
        sent_bps < if self.is_known(now) { LEAST_KNOWN_BPS } else { LEAST_BPS }
    }

    /// While it is to be seen whose the queue is less than this need not be sent: a queue of ours drains soon. Unless much of
    /// what is sent does not get through: the line has become slower.
    pub(super) fn enough_bps(&self, through_share: f64, now: Time) -> f64 {
        match self.state {
            State::Looking { began, through_bps, .. } if now.since(began) < LOOK_MAX => {
                if through_share < SLOWER_SHARE { 0.0 } else { through_bps * ENOUGH_SHARE }
            }
            _ => 0.0,
        }
    }

    /// So much waits beyond the least delay (in µs), so much gets through, and so much is sent.
    pub(super) fn look(
        &mut self,
        waits: Duration,
        least: i64,
        through_bps: Option<f64>,
        sent_bps: f64,
        now: Time,
    ) {
        let is_known = self.is_known(now);
        let look = if is_known { LOOK_KNOWN } else { LOOK };
        let is_least = self.is_least(sent_bps, now);
        match &mut self.state {
            State::Contested { since, least: least_then, waited } => {
                self.contested_at = Some(now);
                let forgotten = (least - *least_then).max(0).cast_unsigned();
                let waits = waits + Duration::from_micros(forgotten);
                if waits < DRAINED || waits > *waited + MORE || now.since(*since) > AGAIN {
                    self.state = State::Idle;
                }
            }
            State::Looking { .. } if waits < DRAINED => self.state = State::Idle,
            // It drains: if it is ours it goes on to.
            State::Looking { since, waited, waits: most, .. } if waits + FALL < *most => {
                (*since, *waited, *most) = (now, waits, waits);
            }
            State::Looking { began, since, waited, waits: most, through_bps: through } => {
                *most = waits.max(*most);
                if now.since(*began) < BEGINNING {
                    *through = through_bps.map_or(*through, |bps| bps.min(*through));
                }
                // Of a voice alone nothing can be left out. On a line that carries it a queue of its own does not grow, and on
                // one that does not it grows steadily.
                let stays = is_known || waits < *waited + STAYS;
                let is_voice_through = is_least && stays && gets_through(through_bps, sent_bps);
                let is_less = sent_bps < *through * LESS_SHARE || is_voice_through;
                if waits > STANDS && is_less && now.since(*since) >= look {
                    self.state = State::Contested { since: now, least, waited: waits };
                }
            }
            State::Idle => {
                if let Some(through_bps) = through_bps.filter(|_| waits > STANDS) {
                    self.state = State::Looking { began: now, since: now, waited: waits, waits, through_bps };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BPS: f64 = 1_000_000.0;

    /// Looks each 100 ms for so long; what waits, in ms, and what is sent, by the time since the first, in ms.
    fn looks(contest: &mut Contest, millis: u64, waits: impl Fn(u64) -> u64, sent: impl Fn(u64) -> f64) {
        for at in (0..millis).step_by(100) {
            let now = Time::from_millis(1_000 + at);
            contest.look(Duration::from_millis(waits(at)), 0, Some(sent(at).min(BPS)), sent(at), now);
        }
    }

    fn less(at: u64) -> f64 {
        if at < 700 { BPS } else { BPS * 0.6 }
    }

    /// 200 ms stand for three seconds though less is sent.
    fn contested() -> Contest {
        let mut contest = Contest::default();
        looks(&mut contest, 3_000, |_| 200, less);
        contest
    }

    #[test]
    fn a_queue_that_drains_while_less_is_sent_is_ours() {
        for share in [0.5, 0.85] {
            let mut contest = Contest::default();
            let drained = |at: u64| (at as f64 * (1.0 - share)) as u64;
            looks(&mut contest, 10_000, |at| 400_u64.saturating_sub(drained(at)), |_| BPS * share);
            assert!(!contest.is_contested(), "{share}");
        }
    }

    #[test]
    fn a_queue_that_stands_as_long_as_as_much_is_sent_may_be_ours() {
        let mut contest = Contest::default();
        looks(&mut contest, 10_000, |_| 200, |_| BPS * 0.95);
        assert!(!contest.is_contested());
    }

    #[test]
    fn a_queue_that_stands_though_less_is_sent_is_somebody_elses_until_it_is_gone() {
        let mut contest = contested();
        assert!(contest.is_contested());
        // It goes up and down as TCP does.
        looks(&mut contest, 5_000, |at| 120 + at / 50, less);
        assert!(contest.is_contested());
        looks(&mut contest, 200, |_| 5, less);
        assert!(!contest.is_contested());
    }

    #[test]
    fn its_least_is_not_taken_for_an_empty_line_once_the_least_before_it_is_forgotten() {
        let mut contest = contested();
        let now = Time::from_millis(20_000);
        contest.look(Duration::from_millis(5), 100_000, Some(BPS), BPS, now);
        assert!(contest.is_contested());
        contest.look(Duration::from_millis(5), 10_000, Some(BPS), BPS, now);
        assert!(!contest.is_contested());
    }

    #[test]
    fn it_is_looked_at_again_after_a_while() {
        let mut contest = contested();
        let later = Time::from_millis(1_000) + AGAIN + LOOK + Duration::from_secs(2);
        contest.look(Duration::from_millis(200), 0, Some(BPS), BPS, later);
        assert!(!contest.is_contested());
    }

    #[test]
    fn a_voice_alone_finds_out_as_well_if_all_of_it_gets_through() {
        const VOICE: f64 = 24_000.0;
        let mut contest = Contest::default();
        looks(&mut contest, 1_900, |at| 150 + at / 50, |_| VOICE);
        assert!(!contest.is_contested(), "too soon to say");
        looks(&mut contest, 3_000, |at| 150 + at / 50, |_| VOICE);
        assert!(contest.is_contested());
        let mut narrow = Contest::default();
        for at in (0..10_000).step_by(100) {
            let now = Time::from_millis(1_000 + at);
            narrow.look(Duration::from_millis(300), 0, Some(VOICE * 0.8), VOICE, now);
        }
        assert!(!narrow.is_contested(), "a line that carries no voice");
        let mut slow = Contest::default();
        looks(&mut slow, 10_000, |at| 100 + at / 20, |_| VOICE);
        assert!(!slow.is_contested(), "nor nearly one: what waits is its own");
    }

    #[test]
    fn a_queue_that_falls_and_stands_all_the_same_is_looked_at_on() {
        // As of a TCP that halves its window after 1.5 s.
        let waits = |at| if at < 1_500 { 280 } else { 120 + at / 50 };
        let mut contest = Contest::default();
        looks(&mut contest, 3_300, waits, less);
        assert!(!contest.is_contested());
        let mut contest = Contest::default();
        looks(&mut contest, 4_000, waits, less);
        assert!(contest.is_contested(), "what got through before is not forgotten");
    }

    #[test]
    fn who_was_there_a_moment_ago_is_known_sooner() {
        let mut contest = contested();
        let at = |millis: u64| Time::from_millis(4_100 + millis);
        contest.look(Duration::ZERO, 0, Some(BPS * 0.6), BPS * 0.6, at(0));
        assert!(!contest.is_contested(), "gone");
        for millis in (100..1_300).step_by(100) {
            let sent = if millis < 800 { BPS * 0.6 } else { BPS * 0.3 };
            contest.look(Duration::from_millis(100), 0, Some(sent), sent, at(millis));
        }
        assert!(contest.is_contested(), "and back");
    }

    #[test]
    fn while_it_is_looked_at_half_of_what_got_through_is_enough() {
        let mut contest = Contest::default();
        looks(&mut contest, 1_000, |_| 200, |_| BPS);
        let now = Time::from_millis(2_000);
        assert!((contest.enough_bps(0.8, now) - BPS / 2.0).abs() < 1.0);
        assert!(contest.enough_bps(0.2, now) < 1.0, "the line fell again");
        assert!(contest.enough_bps(0.8, now + Duration::from_secs(10)) < 1.0, "and not for ever");
        assert!(Contest::default().enough_bps(1.0, now) < 1.0);
    }
}
