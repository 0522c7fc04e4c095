//! Simulated browsers around the sans-I/O SFU, in virtual time, over a seeded bad network.
//!
//! A [`World`] holds one `Sfu`, its clients and their lines. Every packet the SFU sends passes an [`EgressChecker`]
//! before it meets the network: the first wrong one fails the test, with the seed. SRTP keys are fixed in place of
//! DTLS, whose randomness cannot be seeded; everything else is as on the wire.
#![forbid(unsafe_code)]

pub mod chart;
pub mod checker;
pub mod client;
pub mod coding;
pub mod cross;
mod estimate;
mod font;
pub mod offer;
pub mod page;
pub mod playout;
mod receive;
mod red;
pub mod scenario;
pub mod synthetic;
pub mod uplink;
pub mod world;

pub use checker::EgressChecker;
pub use client::{Client, ClientConfig};
pub use receive::Received;
pub use world::World;

/// A number a test reports, for a reader of the log. Past the test harness, which shows nothing of a test that passes.
#[macro_export]
macro_rules! report {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        // A log that cannot be written to is no fault of the test.
        let _ = writeln!(std::io::stderr(), "result: {}", format_args!($($text)*));
    }};
}
