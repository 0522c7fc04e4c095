//! The domain from outside: the life of a visit, its invariants, its door, and random lives.
//!
//! Time is virtual: nothing here reads a clock.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail by panicking, as the test does")]

mod invariants;
mod life;
mod random;
mod tokens;
mod values;
mod world;
