//! A seeded model of a bad network: delay, jitter, reordering, loss with and without bursts, duplicates, a rate limit
//! with a bounded queue.
//!
//! [`Link`] is one direction of a line. It does no I/O and reads no clock: the caller says what time it is, in
//! microseconds since any start it likes, and asks when to come back. The same seed, configuration and sends give the
//! same deliveries, however often the link is polled in between. The binary `vestibule-relay` puts two links between
//! real UDP sockets. No link knows what a datagram holds; [`LateStreams`] reads as much of it as tells who sends it.
//!
//! ```
//! use vestibule_testnet::{Link, LinkConfig};
//!
//! let mut link = Link::new(LinkConfig::default().delay_ms(20).loss(0.03), 7);
//! link.send(0, b"hello");
//! while let Some(now_us) = link.next_at() {
//!     while let Some(datagram) = link.poll(now_us) {
//!         assert_eq!(datagram, b"hello");
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

mod config;
mod late;
mod link;

pub use config::{BurstLoss, ConfigError, LinkConfig, QueueBound};
pub use late::{Held, LATE_MS_MAX, LATE_SSRCS_MAX, LateStreams};
pub use link::{IN_FLIGHT_MAX, Link, LinkStats};
