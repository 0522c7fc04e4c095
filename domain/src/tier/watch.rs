//! Whether a line has been too poor for something, and for how long without a pause.

use jiff::{SignedDuration, Timestamp};

use super::TierReason;
use crate::time::after;

/// One good second in between is no pause: numbers waver.
const GOOD_LOOKS: u8 = 2;

#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    hold: SignedDuration,
    poor: Option<(Timestamp, TierReason)>,
    good_looks: u8,
    silent: bool,
}

impl Watch {
    pub(super) fn new(hold_ms: u32) -> Self {
        let hold = SignedDuration::from_millis(hold_ms.into());
        Self { hold, poor: None, good_looks: 0, silent: false }
    }

    /// When it will have been too poor for long enough, if nothing else is seen: while nothing is seen, nothing gets better.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        let (since, _) = self.poor.filter(|_| self.silent)?;
        Some(after(since, self.hold))
    }

    /// It is now, by what is seen of it: of a line that nothing is heard on nothing is seen.
    pub(super) fn is_seen_poor(&self) -> bool {
        self.poor.is_some_and(|(_, reason)| reason != TierReason::Silence)
    }

    /// It has been for long enough.
    pub(super) fn over(&self, now: Timestamp) -> Option<TierReason> {
        self.poor.filter(|(since, _)| after(*since, self.hold) <= now).map(|(_, reason)| reason)
    }

    pub(super) fn looked(&mut self, now: Timestamp, poor: Option<TierReason>) {
        match poor {
            Some(reason) => {
                self.good_looks = 0;
                self.poor = Some((self.poor.map_or(now, |(since, _)| since), reason));
            }
            None => {
                self.good_looks = self.good_looks.saturating_add(1);
                if self.good_looks >= GOOD_LOOKS {
                    self.poor = None;
                }
            }
        }
    }

    pub(super) fn silent(&mut self, since: Timestamp) {
        self.silent = true;
        self.good_looks = 0;
        let since = self.poor.map_or(since, |(before, _)| before.min(since));
        self.poor = Some((since, TierReason::Silence));
    }

    /// What it carries now is to be seen.
    pub(super) fn heard(&mut self) {
        self.silent = false;
    }

    pub(super) fn forget(&mut self) {
        self.poor = None;
    }
}
