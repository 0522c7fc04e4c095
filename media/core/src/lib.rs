//! The sans-I/O SFU: rooms, peers, sources, seats and packets.
//!
//! It opens no socket and reads no clock: time and randomness are arguments, every datagram comes in through
//! [`Sfu::handle_input`] and leaves through [`Sfu::poll_output`]. It knows nothing of HTTP, databases or patients.
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod av1;
pub mod bounds;
pub mod congestion;
pub mod counters;
pub mod demux;
pub mod dependency;
pub mod dtls_gate;
pub mod h264;
pub mod quality;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod srtp;
pub mod stats;
pub mod stun;
#[cfg(test)]
mod testing;
pub mod time;
pub mod twcc;
pub mod vp8;
pub mod vp9;

mod allocation;
mod allocator;
mod bytes;
mod codec;
mod codec_policy;
mod downlink;
mod egress;
mod feedback;
mod hash;
mod history;
mod ice;
mod keys;
mod layers;
mod limiter;
mod media;
mod meter;
mod negotiation;
mod pacer;
mod pacing;
mod peer;
mod ring;
mod rooms;
mod sfu;
mod slot;
mod source;
mod speakers;
mod timers;
mod transport;
mod uplink;
mod watch;

pub use address::TransportAddress;
pub use api::{
    AudioProfile, Command, CommandError, DisconnectReason, DtlsEvent, DtlsMessage, Event, Input, MediaGate,
    Output, PathChange, PeerId, RoomId, SeatId, SeatInfo, SeatWish, SfuConfig, SourceKind, Transmit,
    Transmits,
};
pub use counters::Counters;
pub use quality::{LineLook, Quality, QualityLevel, QualityReason, QualityStep};
pub use sfu::{Census, Sfu};
pub use stats::PeerStats;
pub use time::{NtpTime, Time, WallClock};
