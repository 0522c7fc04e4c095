//! The wall clock. Everything that decides takes the time as an argument; it comes from here.

use std::time::SystemTime;

use jiff::Timestamp;

/// Now, to the millisecond: what is kept has no finer part, and what is answered is what is kept.
///
/// # Panics
///
/// If the machine's clock is beyond the year 9999.
#[expect(clippy::disallowed_methods, reason = "the binary reads the clock for all it calls, here alone")]
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::try_from(SystemTime::now()).expect("the clock is within the years 0 to 9999");
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
