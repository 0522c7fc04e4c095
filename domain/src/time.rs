//! Arithmetic on points in time that cannot overflow.

use jiff::{SignedDuration, Timestamp};

/// `at + duration`, held at the end of time instead of a panic: a stored date far away is input, not a bug.
pub(crate) fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

pub(crate) fn minutes(count: u16) -> SignedDuration {
    SignedDuration::from_mins(i64::from(count))
}

pub(crate) fn seconds(count: u16) -> SignedDuration {
    SignedDuration::from_secs(i64::from(count))
}

/// The whole millisecond `at` lies in. What the state keeps has no finer part, so that a store with millisecond columns
/// gives back exactly what was decided.
pub(crate) fn whole_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
