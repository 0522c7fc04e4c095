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
mod dtls;
mod ice;
mod ledger;
mod plane;
mod receive;
mod send;
mod socket;
mod srtp;
mod stream;
mod tally;
mod transport;
mod wheel;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use vestibule_media_core::sdp::{Fingerprint, IceParameters};
use vestibule_media_core::srtp::SrtpProfile;

use crate::clock::{self, Clock};
use crate::measure::process::thread_cpu;
use crate::media::MediaLibrary;
use dtls::DtlsConfig;
use plane::{Command, Plane, Slots};
use transport::Context;

pub(crate) use wheel::spread;

pub use config::{
    Connect, Keyed, Kind, ReceivedCodec, Receives, RemoteTransport, Rtx, SendStream, SourceId, TransportId,
};
pub use counts::{Delays, Histogram, Loss, PerKind, Sample, Traffic, WindowCounts};

/// How a plane is started.
#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// The core its thread stays on.
    pub pin: Option<usize>,
    /// The address its sockets are bound to; each gets a port of its own. Unspecified, each leaves by the address that leads
    /// to its remote.
    pub bind: IpAddr,
    /// The address its candidates tell.
    pub announce: IpAddr,
    /// The one SRTP profile its DTLS offers, so that all servers are measured with the same.
    pub profile: SrtpProfile,
    /// `SO_RCVBUF` of each socket, before the kernel doubles it.
    pub receive_buffer_bytes: usize,
    /// Recordings that may be sent; empty where all media is synthetic.
    pub media: Arc<MediaLibrary>,
    /// Whether receivers send transport-wide feedback, as browsers do; without it one sees what it costs.
    pub transport_feedback: bool,
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
        at: Instant,
    },
    /// The first media packet of a kind arrived.
    FirstPacket {
        /// The transport.
        id: TransportId,
        /// Of this kind.
        kind: Kind,
        /// When the kernel had it.
        at: Instant,
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
    /// A stream was to be sent from a recording that is not in the plane's library.
    #[error("there is no such recording")]
    Recording,
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
    /// The thread, as the kernel calls it.
    thread: Pid,
    bind: IpAddr,
    announce: IpAddr,
    receive_buffer_bytes: usize,
    slots: Arc<Mutex<Slots>>,
    rng: Mutex<StdRng>,
    commands: mpsc::Sender<Command>,
}

impl MediaPlane {
    /// Starts the thread. What it has to tell comes over the receiver.
    ///
    /// # Errors
    /// [`PlaneError::Start`] and [`PlaneError::Certificate`].
    pub fn start(options: PlaneOptions) -> Result<(Self, UnboundedReceiver<PlaneEvent>), PlaneError> {
        let dtls = Arc::new(DtlsConfig::new(options.profile)?);
        let fingerprint = dtls.fingerprint;
        let (commands, for_thread) = mpsc::channel();
        let (events, receiver) = unbounded_channel();
        let slots = Arc::new(Mutex::new(Slots::default()));
        let mut context = Context::new(Clock::start(), options.media, dtls, events);
        context.transport_feedback = options.transport_feedback;
        let thread_slots = Arc::clone(&slots);
        let (started, has_started) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("media".to_owned())
            .spawn(move || {
                let plane = settle(options.pin).and_then(|()| Plane::new(context, thread_slots, for_thread));
                let (plane, told) = match plane {
                    Ok(plane) => (Some(plane), Ok(gettid())),
                    Err(error) => (None, Err(error)),
                };
                if let (Ok(()), Some(plane)) = (started.send(told), plane) {
                    plane.run();
                }
            })
            .map_err(PlaneError::Start)?;
        let thread = has_started.recv().map_err(|_| PlaneError::Ended)?.map_err(PlaneError::Start)?;
        let seed = clock::wall_ns() ^ u64::from(std::process::id()).rotate_left(40);
        let shared = Shared {
            fingerprint,
            thread,
            bind: options.bind,
            announce: options.announce,
            receive_buffer_bytes: options.receive_buffer_bytes,
            slots,
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            commands,
        };
        Ok((Self { shared: Arc::new(shared) }, receiver))
    }

    /// The SHA-256 of the one certificate all transports show.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.fingerprint
    }

    /// CPU time of the thread so far; zero where `/proc` does not tell.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        thread_cpu(self.shared.thread).unwrap_or_default()
    }

    /// A transport that has a socket and credentials but knows no remote yet. It answers no check before
    /// [`Self::connect`]. Media of `expected` sources are to come through it: where that is not so for a whole window,
    /// they are counted as starved.
    ///
    /// # Errors
    /// [`PlaneError::Socket`] and [`PlaneError::Ended`].
    pub fn open(&self, expected: PerKind<u32>) -> Result<LocalTransport, PlaneError> {
        let Shared { bind, announce, receive_buffer_bytes, slots, rng, commands, .. } = &*self.shared;
        let socket = socket::open(*bind, *receive_buffer_bytes).map_err(PlaneError::Socket)?;
        let port = socket.local_addr().map_err(PlaneError::Socket)?.port();
        let address = SocketAddr::new(*announce, port);
        let ice = fresh_ice(&mut *rng.lock().unwrap_or_else(PoisonError::into_inner));
        let id = slots.lock().unwrap_or_else(PoisonError::into_inner).take();
        commands.send(Command::Open(id, socket, ice.clone(), expected)).map_err(|_| PlaneError::Ended)?;
        Ok(LocalTransport { id, ice, address })
    }

    /// Lets a transport find its remote by ICE, then shake hands as DTLS client. [`PlaneEvent::Connected`] or
    /// [`PlaneEvent::Failed`] follows.
    pub fn connect(&self, id: TransportId, connect: Connect) {
        self.tell(Command::Connect(id, Box::new(connect)));
    }

    /// Gives a transport its remote and its keys at once, with neither ICE nor DTLS: for what is measured without a
    /// server. [`PlaneEvent::Connected`] follows.
    pub fn connect_keyed(&self, id: TransportId, keyed: Keyed) {
        self.tell(Command::ConnectKeyed(id, Box::new(keyed)));
    }

    /// Adds to what a transport may receive, after a later negotiation.
    pub fn extend(&self, id: TransportId, receives: Receives) {
        self.tell(Command::Extend(id, receives));
    }

    /// Turns a transport's media on or off; it is off at first. RTCP and feedback do not depend on it.
    pub fn set_sending(&self, id: TransportId, on: bool) {
        self.tell(Command::SetSending(id, on));
    }

    /// Closes a transport without a word to its remote, as a lost device does.
    pub fn close(&self, id: TransportId) {
        self.tell(Command::Close(id));
    }

    /// Goes on with other credentials on both sides (RFC 8445 section 9); DTLS and media stay as they are.
    pub fn restart_ice(&self, id: TransportId, local: IceParameters, remote: IceParameters) {
        self.tell(Command::RestartIce(id, local, remote));
    }

    /// Begins a window: what is sent from now on counts.
    pub fn begin_window(&self) {
        self.tell(Command::BeginWindow);
    }

    /// Ends the window: what was sent until now counts, and is waited for until none of it has come for a second.
    ///
    /// Without a window that was begun, or when the thread has ended, the counts are all zero.
    pub async fn end_window(&self) -> WindowCounts {
        let (reply, counts) = oneshot::channel();
        self.tell(Command::EndWindow(reply));
        counts.await.unwrap_or_default()
    }

    /// What happened since the last sample; for plots over time. Independent of windows.
    pub async fn sample(&self) -> Sample {
        let (reply, sample) = oneshot::channel();
        self.tell(Command::Sample(reply));
        sample.await.unwrap_or_default()
    }

    /// A thread that has ended hears nothing; whoever waits for an answer gets an empty one.
    fn tell(&self, command: Command) {
        let _ = self.shared.commands.send(command);
    }
}

/// Puts the calling thread on its core, and lets it wake up when it asked to.
fn settle(pin: Option<usize>) -> std::io::Result<()> {
    if let Some(core) = pin {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        sched_setaffinity(Pid::from_raw(0), &cores)?;
    }
    // Timers may else be 50 µs late, so that wake-ups can be gathered.
    nix::sys::prctl::set_timerslack(1)?;
    Ok(())
}

/// Fresh ICE credentials, for an offer or a restart.
#[must_use]
pub fn fresh_ice(rng: &mut impl rand::Rng) -> IceParameters {
    const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text =
        |len| -> String { (0..len).map(|_| char::from(CHARS[rng.random_range(0..CHARS.len())])).collect() };
    IceParameters { ufrag: text(8), pwd: text(24) }
}
