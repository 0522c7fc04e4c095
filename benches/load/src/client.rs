//! The media plane: one thread that plays the media of many participants.
//!
//! It ticks every millisecond: it sends what is due, and drains all sockets that have something. Between two ticks it
//! sleeps instead of waiting on its sockets, so that a packet of the server never has to wake it up, and the server is
//! not charged for that. Delays do not suffer: the kernel notes when a packet came.
//!
//! Each transport has a UDP socket of its own, as a browser has. The plane knows ICE, DTLS, SRTP and RTP, and nothing of
//! how a participant got its transport: that is a server's own protocol.

mod config;
mod counts;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use vestibule_media_core::sdp::{Fingerprint, IceParameters};
use vestibule_media_core::srtp::SrtpProfile;

use crate::media::MediaLibrary;

pub use config::{
    Connect, Keyed, Kind, ReceivedCodec, Receives, RemoteTransport, Rtx, SendStream, SourceId, TransportId,
};
pub use counts::{Delays, Histogram, Loss, PerKind, Sample, Traffic, WindowCounts};

/// How a plane is started.
#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// The core its thread stays on.
    pub pin: Option<usize>,
    /// The address its sockets are bound to; each gets a port of its own.
    pub bind: IpAddr,
    /// The one SRTP profile its DTLS offers, so that all servers are measured with the same.
    pub profile: SrtpProfile,
    /// `SO_RCVBUF` of each socket, before the kernel doubles it.
    pub receive_buffer_bytes: usize,
    /// Recordings that may be sent; empty where all media is synthetic.
    pub media: Arc<MediaLibrary>,
}

/// A socket with ICE credentials: what an offer or an answer needs.
#[derive(Clone, Debug)]
pub struct LocalTransport {
    /// Its name in the plane.
    pub id: TransportId,
    /// Its credentials.
    pub ice: IceParameters,
    /// Its one host candidate.
    pub address: SocketAddr,
}

/// What a plane tells about its transports.
#[derive(Clone, Debug)]
pub enum PlaneEvent {
    /// DTLS is done: media may flow.
    Connected {
        /// The transport.
        id: TransportId,
        /// When.
        at: std::time::Instant,
    },
    /// The first media packet of a kind arrived.
    FirstPacket {
        /// The transport.
        id: TransportId,
        /// Of this kind.
        kind: Kind,
        /// When the kernel had it.
        at: std::time::Instant,
    },
    /// The transport is of no use any more; it is still to be closed.
    Failed {
        /// The transport.
        id: TransportId,
        /// Why.
        reason: TransportError,
    },
}

/// Why a transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No candidate answered a connectivity check in time.
    #[error("no connectivity check was answered")]
    Ice,
    /// The path was there, and nothing has come over it for too long (RFC 7675).
    #[error("the remote does not answer consent checks any more")]
    ConsentExpired,
    /// The handshake failed or took too long.
    #[error("the DTLS handshake failed")]
    Dtls,
    /// The certificate is not the one of the description.
    #[error("the remote shows another certificate than its description said")]
    Fingerprint,
    /// The remote chose another SRTP profile than the one that was offered, or none.
    #[error("the remote did not take the SRTP profile")]
    SrtpProfile,
    /// The remote closed the association.
    #[error("the remote closed the DTLS association")]
    Closed,
}

/// Why a plane could not do something.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// No socket, often because too few file descriptors are allowed.
    #[error("no socket for one more transport: {0}")]
    Socket(#[source] std::io::Error),
    /// The thread could not be started, pinned, or given an epoll instance.
    #[error("the media thread does not start: {0}")]
    Start(#[source] std::io::Error),
    /// The crypto library made no certificate, or took no configuration.
    #[error("no DTLS certificate: {0}")]
    Certificate(String),
    /// The thread is gone.
    #[error("the media thread has ended")]
    Ended,
}

/// A handle of a running plane. Its thread ends with the last handle.
#[derive(Clone, Debug)]
pub struct MediaPlane {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fingerprint: Fingerprint,
}

impl MediaPlane {
    /// Starts the thread. What it has to tell comes over the receiver.
    ///
    /// # Errors
    /// [`PlaneError::Start`] and [`PlaneError::Certificate`].
    pub fn start(options: PlaneOptions) -> Result<(Self, UnboundedReceiver<PlaneEvent>), PlaneError> {
        let _ = options;
        Err(PlaneError::Ended)
    }

    /// The SHA-256 of the one certificate all transports show.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.fingerprint
    }

    /// A transport that has a socket and credentials but knows no remote yet. It answers no check before
    /// [`Self::connect`].
    ///
    /// # Errors
    /// [`PlaneError::Socket`] and [`PlaneError::Ended`].
    pub fn open(&self) -> Result<LocalTransport, PlaneError> {
        Err(PlaneError::Ended)
    }

    /// Lets a transport find its remote by ICE, then shake hands as DTLS client. [`PlaneEvent::Connected`] or
    /// [`PlaneEvent::Failed`] follows.
    pub fn connect(&self, id: TransportId, connect: Connect) {
        let _ = (id, connect);
    }

    /// Gives a transport its remote and its keys at once, with neither ICE nor DTLS: for what is measured without a
    /// server. [`PlaneEvent::Connected`] follows.
    pub fn connect_keyed(&self, id: TransportId, keyed: Keyed) {
        let _ = (id, keyed);
    }

    /// Adds streams to what a transport sends and may receive, after a later negotiation.
    pub fn extend(&self, id: TransportId, receives: Receives) {
        let _ = (id, receives);
    }

    /// Turns a transport's media on or off; it is off at first. RTCP and feedback do not depend on it.
    pub fn set_sending(&self, id: TransportId, on: bool) {
        let _ = (id, on);
    }

    /// Closes a transport without a word to its remote, as a lost device does.
    pub fn close(&self, id: TransportId) {
        let _ = id;
    }

    /// Goes on with other credentials on both sides (RFC 8445 section 9); DTLS and media stay as they are.
    pub fn restart_ice(&self, id: TransportId, local: IceParameters, remote: IceParameters) {
        let _ = (id, local, remote);
    }

    /// Begins a window: what is sent from now on counts.
    pub fn begin_window(&self) {}

    /// Ends the window: what was sent until now counts, and is waited for for half a second more.
    ///
    /// Without a window that was begun, or when the thread has ended, the counts are all zero.
    pub async fn end_window(&self) -> WindowCounts {
        WindowCounts::default()
    }

    /// What happened since the last sample; for plots over time. Independent of windows.
    pub async fn sample(&self) -> Sample {
        Sample::default()
    }
}

/// Fresh ICE credentials, for an offer or a restart.
#[must_use]
pub fn fresh_ice(rng: &mut impl rand::Rng) -> IceParameters {
    use rand::RngExt;
    const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text =
        |len| -> String { (0..len).map(|_| char::from(CHARS[rng.random_range(0..CHARS.len())])).collect() };
    IceParameters { ufrag: text(8), pwd: text(24) }
}
