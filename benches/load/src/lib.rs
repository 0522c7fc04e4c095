//! The load tester: thousands of simulated participants against a WebRTC media server, over its public protocol only.
//!
//! [`client`] plays the media of all participants on one thread, [`sdp`] speaks the offers and answers that bring them
//! in, [`media`] makes what they send, and [`floor`] is what the same packets cost without a server around them.
#![forbid(unsafe_code)]

pub mod client;
mod clock;
pub mod floor;
pub mod media;
pub mod sdp;
