//! The domain from outside: the life of a visit, its invariants, its door, and random lives.
//!
//! Time is virtual: nothing here reads a clock.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail by panicking, as the test does")]

mod configs;
mod filed;
mod invariants;
mod life;
mod published;
mod random;
mod tables;
mod text;
mod tiers;
mod tokens;
mod values;
mod visits;
mod world;
