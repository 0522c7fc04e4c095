//! Threads, sockets and DTLS around the sans-I/O SFU of `vestibule-media-core`.
//!
//! The only crate of the project with `unsafe`: each block says why it is sound. It decides nothing about media and
//! knows nothing of HTTP, databases or patients.

pub mod dtls;
pub mod socket;

mod candidates;
mod cores;
mod counters;
mod engine;
mod error;
mod memory;
mod placement;
mod shard;
mod tcp;
mod wake;

pub use candidates::{Announce, CANDIDATES_MAX};
pub use counters::{ShardCounters, TurnCounters};
pub use engine::{Engine, EngineConfig, EventSink, ShardAddresses};
pub use error::EngineError;
pub use shard::{COMMAND_QUEUE_MAX, DTLS_REPLY_QUEUE_MAX, REVOCATION_QUEUE_MAX};
pub use tcp::TcpCounters;
