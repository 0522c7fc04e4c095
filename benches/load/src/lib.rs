//! The load tester: thousands of simulated participants against a WebRTC media server, over its public protocol only.
//!
//! [`client`] plays the media of all participants on one thread, [`sdp`] speaks the offers and answers that bring them
//! in, [`media`] makes what they send, and [`floor`] is what the same packets cost without a server around them.
//!
//! A [`scenario`] becomes a plan; a [`run`] brings its people into a [`server`], [`measure`]s, and makes a [`report`].
#![forbid(unsafe_code)]

pub mod cast;
pub mod cli;
pub mod client;
mod clock;
pub mod compare;
pub mod floor;
pub mod measure;
pub mod media;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sdp;
pub mod server;
pub mod transports;
