//! What a line to a subscriber carries: a send-side estimate from transport-wide feedback, one for each subscriber.
//!
//! Several things speak, and the least of them counts: how the one-way delay grows ([`trend`]), how much of it stands
//! ([`standing`]), what is lost ([`loss`]), and what was acknowledged ([`acknowledged`]), beyond which nothing has been seen to arrive. What a probe has shown to arrive
//! ([`probe`]) is believed at once. It sends nothing and reads no clock: who sends tells it what and when, and asks whether
//! a probe is due.
//!
//! Who tells of no packet, and estimates the line itself, is believed ([`remb`]).
//!
//! Shape and constants of the delay part are those of draft-ietf-rmcat-gcc-02, where this does not say otherwise.

mod acknowledged;
mod contest;
mod estimator;
mod history;
mod loss;
mod probe;
mod remb;
mod standing;
mod trend;

pub use estimator::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS, ESTIMATE_START_BPS, Estimator};
pub use probe::Probe;
pub(crate) use remb::Remb;
pub use trend::Usage;

/// A number of bytes in a time, in bits per second; zero in no time.
fn bits_per_second(bytes: u64, micros: u64) -> u64 {
    (bytes * 8_000_000).checked_div(micros).unwrap_or(0)
}
