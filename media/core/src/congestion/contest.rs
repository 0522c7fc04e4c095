//! Whether the queue is somebody else's: one that stands though less is sent than got through when it began, and drains
//! by none of it. A flow that fills what it finds (TCP) makes such a queue; who made way for it would make way for ever.

use std::time::Duration;

use crate::time::Time;

/// A queue that stands, and that has drained: as the estimate has them.
const STANDS: Duration = Duration::from_millis(45);
const DRAINED: Duration = Duration::from_millis(25);
/// For how long less is sent before it is said whose the queue is.
const LOOK: Duration = Duration::from_secs(2);
/// What gets through is looked at for so long: in the beginning it may be what the line carried before.
const BEGINNING: Duration = Duration::from_millis(600);
/// So much less has to be sent that a queue of ours would drain by [`FALL`] in half of that time.
const LESS_SHARE: f64 = 0.85;
const FALL: Duration = Duration::from_millis(60);

/// What waits beyond what waited then is ours.
const MORE: Duration = Duration::from_millis(200);
/// After so long it is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contest {
    look: Option<Look>,
    contested: Option<Contested>,
}

/// Somebody else fills the queue.
#[derive(Clone, Copy, Debug)]
struct Contested {
    since: Time,
    /// The least delay that was known then, in µs: it is forgotten meanwhile.
    least: i64,
    /// What waited then.
    waits: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    since: Time,
    waits: Duration,
    /// What got through then, in bits per second.
    through_bps: f64,
}

impl Contest {
    /// Somebody else fills the queue.
    pub(super) const fn is_contested(&self) -> bool {
        self.contested.is_some()
    }

    /// So much waits beyond the least delay, so much gets through, and so much is sent.
    pub(super) fn look(
        &mut self,
        waits: Duration,
        least: i64,
        through_bps: Option<f64>,
        sent_bps: f64,
        now: Time,
    ) {
        if let Some(contested) = self.contested {
            let forgotten = (least - contested.least).max(0).cast_unsigned();
            let waits = waits + Duration::from_micros(forgotten);
            let is_ours = waits > contested.waits + MORE;
            if waits < DRAINED || is_ours || now.since(contested.since) > AGAIN {
                *self = Self::default();
            }
            return;
        }
        if waits < DRAINED {
            *self = Self::default();
        }
        let Some(through_bps) = through_bps else { return };
        let Some(look) = &mut self.look else {
            self.look = (waits > STANDS).then_some(Look { since: now, waits, through_bps });
            return;
        };
        if waits + FALL < look.waits {
            // It drains: it was ours, or is gone.
            *self = Self::default();
            return;
        }
        look.waits = look.waits.max(waits);
        let looked = now.since(look.since);
        if looked < BEGINNING {
            look.through_bps = look.through_bps.min(through_bps);
        }
        if looked >= LOOK && waits > STANDS && sent_bps < look.through_bps * LESS_SHARE {
            self.contested = Some(Contested { since: now, least, waits });
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
        let mut contest = Contest::default();
        let less = |at: u64| if at < 700 { BPS } else { BPS * 0.6 };
        looks(&mut contest, 3_000, |_| 200, less);
        assert!(contest.is_contested());
        // It goes up and down as TCP does.
        looks(&mut contest, 5_000, |at| 120 + at / 50, less);
        assert!(contest.is_contested());
        looks(&mut contest, 200, |_| 5, less);
        assert!(!contest.is_contested());
    }

    #[test]
    fn its_least_is_not_taken_for_an_empty_line_once_the_least_before_it_is_forgotten() {
        let mut contest = Contest::default();
        let less = |at: u64| if at < 700 { BPS } else { BPS * 0.6 };
        looks(&mut contest, 3_000, |_| 200, less);
        let now = Time::from_millis(20_000);
        contest.look(Duration::from_millis(5), 100_000, Some(BPS), BPS, now);
        assert!(contest.is_contested());
        contest.look(Duration::from_millis(5), 10_000, Some(BPS), BPS, now);
        assert!(!contest.is_contested());
    }

    #[test]
    fn it_is_looked_at_again_after_a_while() {
        let mut contest = Contest::default();
        let less = |at: u64| if at < 700 { BPS } else { BPS * 0.6 };
        looks(&mut contest, 3_000, |_| 200, less);
        let later = Time::from_millis(1_000) + AGAIN + LOOK + Duration::from_secs(2);
        contest.look(Duration::from_millis(200), 0, Some(BPS), BPS, later);
        assert!(!contest.is_contested());
    }
}
