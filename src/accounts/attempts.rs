//! Wrong passwords in a row, and how long no other is looked at then: enough to make guessing hopeless, and never so long
//! that somebody could be kept from their work by another's guesses for a day.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::LoginName;

/// So many are looked at before the first lock.
const FAILURES_MAX: u32 = 5;
/// The first lock; each further wrong password doubles it.
const LOCK_FIRST: SignedDuration = SignedDuration::from_mins(1);
const LOCK_LONGEST: SignedDuration = SignedDuration::from_hours(1);
/// Names without an account that are remembered.
const UNKNOWN_MAX: usize = 10_000;

/// How often in a row a password was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub(crate) failures: u32,
    pub(crate) locked_until: Option<Timestamp>,
}

impl Attempts {
    /// Until when no password is looked at; none if one is.
    pub(crate) fn locked(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| *until > now)
    }

    /// After one more wrong password. While it is locked, none counts: it was not looked at.
    #[must_use]
    pub(crate) fn failed(self, now: Timestamp) -> Self {
        if self.locked(now).is_some() {
            return self;
        }
        let failures = self.failures.saturating_add(1);
        let locked_until = lock(failures).map(|lock| now.checked_add(lock).unwrap_or(Timestamp::MAX));
        Self { failures, locked_until }
    }
}

fn lock(failures: u32) -> Option<SignedDuration> {
    let doublings = failures.checked_sub(FAILURES_MAX)?;
    Some(LOCK_FIRST.saturating_mul(1 << doublings.min(16)).min(LOCK_LONGEST))
}

/// The same for names that have no account, so that nobody learns which do. By their hash, and in memory alone.
#[derive(Debug, Default)]
pub(crate) struct UnknownNames {
    by_hash: Mutex<HashMap<[u8; 32], (Attempts, Timestamp)>>,
}

impl UnknownNames {
    pub(crate) fn locked(&self, name: &LoginName, now: Timestamp) -> Option<Timestamp> {
        let names = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&hash(name)).and_then(|(attempts, _)| attempts.locked(now))
    }

    /// Counts a wrong password; until when the name is locked by it.
    pub(crate) fn failed(&self, name: &LoginName, now: Timestamp) -> Option<Timestamp> {
        let mut names = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hash(name);
        if names.len() >= UNKNOWN_MAX
            && !names.contains_key(&hash)
            && let Some(oldest) = names.iter().min_by_key(|(_, (_, at))| *at).map(|(hash, _)| *hash)
        {
            names.remove(&oldest);
        }
        let (attempts, at) = names.entry(hash).or_insert((Attempts::default(), now));
        (*attempts, *at) = (attempts.failed(now), now);
        attempts.locked(now)
    }
}

fn hash(name: &LoginName) -> [u8; 32] {
    Sha256::digest(name.as_str()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_780_300_800 + seconds).unwrap()
    }

    fn name(text: &str) -> LoginName {
        LoginName::parse(text).unwrap()
    }

    #[test]
    fn the_fifth_wrong_password_locks_for_a_minute_and_each_further_one_for_twice_as_long() {
        let mut now = at(0);
        let mut attempts = Attempts::default();
        let mut locks = Vec::new();
        for _ in 0..14 {
            attempts = attempts.failed(now);
            if let Some(until) = attempts.locked(now) {
                locks.push(until.duration_since(now).as_mins());
                now = until;
                assert_eq!(attempts.locked(now), None, "it ends");
            }
        }
        assert_eq!(locks, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn what_is_not_looked_at_does_not_count() {
        let locked = (0..5).fold(Attempts::default(), |attempts, _| attempts.failed(at(0)));
        assert_eq!(locked.locked_until, Some(at(60)));
        assert_eq!(locked.failed(at(59)), locked);
        assert_eq!(locked.failed(at(60)).failures, 6);
        assert_eq!(
            Attempts { failures: u32::MAX, locked_until: None }.failed(at(0)).locked_until,
            Some(at(3600))
        );
    }

    #[test]
    fn a_name_without_an_account_is_locked_like_one_that_has_it() {
        let names = UnknownNames::default();
        let told: Vec<_> = (0..5).map(|_| names.failed(&name("nobody"), at(0))).collect();
        assert_eq!(told, [None, None, None, None, Some(at(60))]);
        assert_eq!(names.locked(&name("NOBODY"), at(59)), Some(at(60)), "whatever the case of its letters");
        assert_eq!(names.locked(&name("somebody"), at(59)), None);
        assert_eq!(names.locked(&name("nobody"), at(60)), None);
    }

    #[test]
    fn names_that_were_made_up_fill_no_memory() {
        let names = UnknownNames::default();
        for number in 0..UNKNOWN_MAX + 10 {
            names.failed(&name(&format!("name-{number}")), at(i64::try_from(number).unwrap()));
        }
        assert_eq!(names.by_hash.lock().unwrap().len(), UNKNOWN_MAX);
    }
}
