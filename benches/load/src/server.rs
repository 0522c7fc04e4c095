//! Servers behind one trait: a run prepares rooms there, brings people in, and takes them out again.
//!
//! A server is its public protocol. What it does with it (one transport for a person or several, whose description
//! comes first) is its own; the run sees people who come and go, and times.

pub mod janus;
pub mod livekit;
mod net;
mod streams;
pub mod vestibule;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hyper::StatusCode;

use crate::client::{PlaneError, TransportError};
use crate::scenario::{Person, Room};

pub use net::{Net, Socket};

/// A server that is tried.
#[async_trait]
pub trait Server: Send + Sync {
    /// What it is.
    fn name(&self) -> String;

    /// Where it is, as people write it.
    fn url(&self) -> String;

    /// Makes these rooms, and whatever their people need to come; calls `made` after each. May be called again, with
    /// others.
    ///
    /// # Errors
    ///
    /// It cannot be tried: whoever started the run has to do something about it.
    async fn prepare(&self, rooms: &[Room], made: &(dyn Fn() + Sync)) -> Result<(), ServerError>;

    /// Brings somebody in: from their token to a connected transport and, unless they are let in by hand, to where
    /// media flows. A provider lets in who knocks unless `admission` says otherwise.
    ///
    /// # Errors
    ///
    /// They did not get in.
    async fn join(&self, person: &Person, admission: Admission) -> Result<Box<dyn Participant>, ServerError>;

    /// Ends these rooms, of which everybody has left. Those that were never made are not looked at.
    ///
    /// # Errors
    ///
    /// The server does not take it.
    async fn end(&self, rooms: &[Room]) -> Result<(), ServerError>;
}

/// How those who wait are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As soon as they knock.
    AtOnce,
    /// By [`Participant::admit`].
    ByHand,
}

/// Somebody who is in.
#[async_trait]
pub trait Participant: Send + Sync {
    /// How long it took from their token until their transports were connected.
    fn connected_after(&self) -> Duration;

    /// When they had their token in hand.
    fn started(&self) -> Instant;

    /// When their first packet from somebody else came; waits for it.
    ///
    /// # Errors
    ///
    /// The transport failed before.
    async fn first_packet(&self) -> Result<Instant, ServerError>;

    /// Whether their transports are as they should be, so far.
    fn failure(&self) -> Option<String>;

    /// Lets in one person who waits in this room.
    ///
    /// # Errors
    ///
    /// Nobody waits, or the server does not take it.
    async fn admit(&self) -> Result<(), ServerError>;

    /// Cuts the signaling connection without a word, as a lost line does. Media flows on.
    ///
    /// # Errors
    ///
    /// This server's signaling cannot be resumed.
    fn cut(&self) -> Result<(), ServerError>;

    /// Takes the signaling up again, after [`Self::cut`].
    ///
    /// # Errors
    ///
    /// The server does not take it.
    async fn resume(&self) -> Result<(), ServerError>;

    /// Leaves, and closes the transports. The provider ends the room with it.
    async fn leave(&self);
}

/// What can go wrong with a server.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServerError {
    /// No URL.
    #[error("{0:?} is no URL of a server, as http://127.0.0.1:8080")]
    Url(String),
    /// The certificate to trust.
    #[error("the certificate {} cannot be used: {why}", file.display())]
    Certificate {
        /// Where it was looked for.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Nobody is there.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// There was no key.
    #[error("an API key is needed (--key or VESTIBULE_LOAD_KEY); make one beside the server: {0}")]
    NoKey(String),
    /// The key is none of this server, or may not do what is needed.
    #[error("the server does not take the API key ({why}); make one beside the server: {how}")]
    KeyRefused {
        /// In the server's words.
        why: String,
        /// A command that makes one.
        how: String,
    },
    /// Too many for one room.
    #[error(
        "the server takes at most {allowed} people in a session and this takes {needed}: start it with --participants-limit {needed}"
    )]
    TooMany {
        /// People in the largest room.
        needed: usize,
        /// What the server said.
        allowed: String,
    },
    /// It cannot be tried here, or on this server.
    #[error("{0}")]
    Environment(String),
    /// The server said no.
    #[error("{what}: {code}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its code.
        code: String,
    },
    /// No WebSocket.
    #[error("the WebSocket was refused with status {0}")]
    Handshake(StatusCode),
    /// The line was closed.
    #[error("the signaling connection was closed: {0}")]
    Closed(String),
    /// The server says what it should not.
    #[error("the server said something out of turn: {0}")]
    Protocol(String),
    /// It took too long.
    #[error("{0} did not come in time")]
    Late(&'static str),
    /// The transport.
    #[error("{0}")]
    Transport(#[from] TransportError),
    /// Our own media thread.
    #[error("{0}")]
    Plane(String),
}

impl From<PlaneError> for ServerError {
    fn from(error: PlaneError) -> Self {
        Self::Plane(error.to_string())
    }
}
