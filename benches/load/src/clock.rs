//! The tester's clock.

use std::time::Instant;

/// Now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "what is measured here is time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Now, for people: RFC 3339 in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a session is due now, and a report says of when it is")]
pub fn wall() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| String::new(), |now| now.to_string())
}
