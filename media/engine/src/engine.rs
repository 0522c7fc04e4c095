//! The engine: shards, their sockets and threads, and the DTLS workers beside them.
//!
//! It places rooms and passes commands on; what they mean is the core's business.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::{io, mem};

use vestibule_media_core::sdp::{CodecName, Fingerprint};
use vestibule_media_core::{Command, Event, PeerId, RoomId, Sfu, SfuConfig, TransportAddress};

use crate::candidates::{Announce, candidates, host_addresses};
use crate::counters::ShardCounters;
use crate::dtls::{DtlsAcceptor, DtlsWorkerCounters, DtlsWorkers, RtcDtlsAcceptor, ServerCertificate};
use crate::error::EngineError;
use crate::memory;
use crate::placement::Placement;
use crate::shard::{DtlsOutlet, InboxError, Shard, ShardClock, ShardInbox, Ways, queues};
use crate::socket::{ShardSocket, SocketBuffers, SocketOptions};
use crate::tcp::TcpPaths;

/// How often the system is asked for a port that is free for both UDP and TCP.
const PORT_TRIES: usize = 16;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Threads that forward media, each with its own port.
    pub shards: usize,
    /// The address to bind; `[::]` takes IPv4 as well.
    pub bind: IpAddr,
    /// The port of shard 0; shard *i* is at this port + *i*. 0: the system chooses one for each.
    pub port: u16,
    /// What peers are told instead of the bound address, best first (1:1 NAT).
    pub announce: Vec<Announce>,
    /// Whether peers may also connect by TCP, at the same port numbers (RFC 6544): for networks that let no UDP through.
    pub tcp: bool,
    /// Whether each shard keeps to one core.
    pub pin_cores: bool,
    /// Threads for DTLS handshakes.
    pub dtls_workers: usize,
    /// What publishers are asked to send as long as everybody in their room decodes it.
    pub video_codec: CodecName,
    /// `SO_RCVBUF` of each socket.
    pub receive_buffer_bytes: usize,
    /// `SO_SNDBUF` of each socket.
    pub send_buffer_bytes: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let socket = SocketOptions::default();
        Self {
            shards: 1,
            bind: Ipv6Addr::UNSPECIFIED.into(),
            port: 0,
            announce: Vec::new(),
            tcp: true,
            pin_cores: false,
            dtls_workers: 1,
            video_codec: CodecName::Vp8,
            receive_buffer_bytes: socket.receive_buffer_bytes,
            send_buffer_bytes: socket.send_buffer_bytes,
        }
    }
}

/// Who is told what happens in the rooms.
pub trait EventSink: Send + Sync + 'static {
    /// Takes one event. Called on a shard's thread, in the order of the shard: it must not block.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync + 'static> EventSink for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Where a shard is and what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardAddresses {
    /// What its socket is bound to.
    pub bound: SocketAddr,
    /// What its peers are told, best first.
    pub announced: Vec<SocketAddr>,
    /// Whether they are told the same by TCP.
    pub tcp: bool,
    /// The buffers its socket was granted; a host that grants less than asked will lose packets at high load.
    pub buffers: SocketBuffers,
    /// Whether the kernel knows UDP GSO.
    pub gso: bool,
}

impl ShardAddresses {
    /// What answers tell: UDP before TCP.
    fn candidates(&self) -> Vec<TransportAddress> {
        let udp = self.announced.iter().map(|address| TransportAddress::Udp(*address));
        let tcp = self.announced.iter().map(|address| TransportAddress::Tcp(*address));
        udp.chain(tcp.filter(|_| self.tcp)).collect()
    }
}

/// A running SFU. Dropping it stops it.
pub struct Engine {
    placement: Mutex<Placement>,
    shards: Vec<ShardHandle>,
    /// There until it stops. The shards hold it too, each as long as it runs.
    workers: Option<Arc<DtlsWorkers>>,
    fingerprint: Fingerprint,
}

/// A shard seen from outside its thread.
struct ShardHandle {
    inbox: ShardInbox,
    addresses: ShardAddresses,
    counters: Arc<Mutex<ShardCounters>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// [`EngineError`] names what could not be had; nothing is left running then.
    pub fn start(config: &EngineConfig, sink: Arc<dyn EventSink>) -> Result<Self, EngineError> {
        check(config)?;
        memory::give_back_what_is_large();
        let ways = open_ways(config)?;
        let certificate = ServerCertificate::generate()?;
        let acceptor: Arc<dyn DtlsAcceptor> = Arc::new(RtcDtlsAcceptor::new(&certificate)?);
        let workers = DtlsWorkers::start(config.dtls_workers, &acceptor).map_err(system("start a thread"))?;
        let workers = Arc::new(workers);
        let surroundings =
            Surroundings { config, sink, workers: &workers, fingerprint: certificate.fingerprint() };
        let mut engine = Self {
            placement: Mutex::new(Placement::new(config.shards)),
            shards: Vec::with_capacity(config.shards),
            fingerprint: surroundings.fingerprint,
            workers: Some(Arc::clone(&workers)),
        };
        for (index, ways) in ways.into_iter().enumerate() {
            // What was started before an error is stopped by `drop`.
            engine.shards.push(ShardHandle::start(index, ways, &surroundings)?);
        }
        Ok(engine)
    }

    /// Passes a command on to the shard of `room`. `CreateRoom` places the room first. Ids of rooms and of peers are
    /// unique in the whole engine and not used again.
    ///
    /// # Errors
    ///
    /// [`EngineError::Busy`], [`EngineError::UnknownRoom`] and the other room errors; nothing was changed then.
    pub fn send(&self, room: RoomId, command: Command) -> Result<(), EngineError> {
        check_room(room, &command)?;
        // Placed and queued under one lock, so that the placement never says what no shard was told.
        let mut placement = lock(&self.placement);
        let opens = matches!(command, Command::CreateRoom { .. });
        let shard = match placement.shard_of(room) {
            Some(_) if opens => return Err(EngineError::RoomExists),
            None if opens => placement.choose().ok_or(EngineError::Full)?,
            placed => placed.ok_or(EngineError::UnknownRoom)?,
        };
        let change = PlacementChange::of(&command);
        let inbox = &self.shards[shard].inbox;
        inbox.queue(command).map_err(|error| match error {
            InboxError::Full => EngineError::Busy,
            InboxError::Gone => EngineError::ShardFailed { shard },
        })?;
        change.apply(&mut placement, room, shard);
        drop(placement);
        inbox.wake();
        Ok(())
    }

    /// Where every shard is.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = &ShardAddresses> {
        self.shards.iter().map(|shard| &shard.addresses)
    }

    /// What every shard has counted, up to a tenth of a second ago.
    #[must_use]
    pub fn counters(&self) -> Vec<ShardCounters> {
        self.shards.iter().map(|shard| *lock(&shard.counters)).collect()
    }

    /// What the DTLS workers have done.
    #[must_use]
    pub fn dtls_counters(&self) -> DtlsWorkerCounters {
        self.workers.as_ref().map(|workers| workers.counters()).unwrap_or_default()
    }

    /// SHA-256 of the certificate every peer sees.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The first shard whose thread has ended by a bug, if one has: its rooms are lost, the process should end.
    #[must_use]
    pub fn failed_shard(&self) -> Option<usize> {
        self.shards.iter().position(|shard| shard.thread.as_ref().is_none_or(JoinHandle::is_finished))
    }

    /// Does what is queued, stops every thread and waits for them.
    ///
    /// # Errors
    ///
    /// [`EngineError::ShardFailed`] if a shard had ended before; the others were stopped all the same.
    pub fn shutdown(mut self) -> Result<(), EngineError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), EngineError> {
        for shard in &self.shards {
            shard.inbox.stop();
        }
        let mut result = Ok(());
        for (index, shard) in mem::take(&mut self.shards).into_iter().enumerate() {
            if shard.thread.is_some_and(|thread| thread.join().is_err()) && result.is_ok() {
                result = Err(EngineError::ShardFailed { shard: index });
            }
        }
        // The shards have ended and let go of the workers; nothing can be asked of them any more.
        if let Some(workers) = self.workers.take().and_then(Arc::into_inner) {
            workers.shutdown();
        }
        result
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A shard that failed has said so to whoever sent to it.
        let _ = self.stop();
    }
}

/// What the shards of one engine share when they are started.
struct Surroundings<'a> {
    config: &'a EngineConfig,
    sink: Arc<dyn EventSink>,
    workers: &'a Arc<DtlsWorkers>,
    fingerprint: Fingerprint,
}

impl ShardHandle {
    fn start(index: usize, ways: Ways, surroundings: &Surroundings<'_>) -> Result<Self, EngineError> {
        let Surroundings { config, sink, workers, fingerprint } = surroundings;
        let addresses = addresses_of(index, &ways, config)?;
        let (clock, wall_clock) = ShardClock::start();
        let candidates = addresses.candidates();
        let video_codec = config.video_codec;
        let sfu_config = SfuConfig { candidates, fingerprint: *fingerprint, wall_clock, video_codec };
        let sfu = Sfu::new(sfu_config, random_seed()?);
        let (inbox, queues) = queues().map_err(system("make an eventfd"))?;
        let dtls = DtlsOutlet { workers: Arc::clone(workers), replies: Arc::new(inbox.clone()) };
        let counters = Arc::new(Mutex::new(ShardCounters::default()));
        let shard = Shard::new(sfu, ways, queues, clock, dtls, Arc::clone(sink), Arc::clone(&counters));
        let pin = config.pin_cores.then_some(index);
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || shard.run(pin))
            .map_err(system("start a thread"))?;
        Ok(Self { inbox, addresses, counters, thread: Some(thread) })
    }
}

/// What a command changes about where things are, once it is queued.
enum PlacementChange {
    None,
    Open,
    Close,
    Join(PeerId),
    Leave(PeerId),
}

impl PlacementChange {
    const fn of(command: &Command) -> Self {
        match command {
            Command::CreateRoom { .. } => Self::Open,
            Command::CloseRoom { .. } => Self::Close,
            Command::AddPeer { peer, .. } => Self::Join(*peer),
            Command::RemovePeer { peer } => Self::Leave(*peer),
            _ => Self::None,
        }
    }

    fn apply(self, placement: &mut Placement, room: RoomId, shard: usize) {
        match self {
            Self::None => {}
            Self::Open => placement.open(room, shard),
            Self::Close => placement.close(room),
            Self::Join(peer) => placement.join(room, peer),
            Self::Leave(peer) => placement.leave(room, peer),
        }
    }
}

fn check(config: &EngineConfig) -> Result<(), EngineError> {
    let Some(offset_max) = config.shards.checked_sub(1).and_then(|last| u16::try_from(last).ok()) else {
        return Err(EngineError::Shards { shards: config.shards, port: config.port });
    };
    let announced_ports = config.announce.iter().filter_map(|announce| announce.port);
    for port in announced_ports.chain([config.port]) {
        if port.checked_add(offset_max).is_none() {
            return Err(EngineError::Shards { shards: config.shards, port });
        }
    }
    match config.announce.iter().find(|announce| announce.ip.is_unspecified() || announce.ip.is_multicast()) {
        Some(announce) => Err(EngineError::Announce { ip: announce.ip }),
        None => Ok(()),
    }
}

fn check_room(room: RoomId, command: &Command) -> Result<(), EngineError> {
    match *command {
        Command::CreateRoom { room: named }
        | Command::CloseRoom { room: named }
        | Command::AddPeer { room: named, .. }
            if named != room =>
        {
            Err(EngineError::RoomMismatch { named, sent: room })
        }
        _ => Ok(()),
    }
}

fn open_ways(config: &EngineConfig) -> Result<Vec<Ways>, EngineError> {
    (0..config.shards)
        .map(|shard| match config.port {
            0 => open_anywhere(config),
            port => open_at(port.saturating_add(shard as u16), config),
        })
        .collect()
}

/// Opens a shard at a port the system chooses. It chooses one that is free for UDP; whether it is for TCP shows.
fn open_anywhere(config: &EngineConfig) -> Result<Ways, EngineError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match open_at(0, config) {
            Err(EngineError::AddressInUse { .. }) if tries < PORT_TRIES => {}
            result => return result,
        }
    }
}

fn open_at(port: u16, config: &EngineConfig) -> Result<Ways, EngineError> {
    let options = SocketOptions {
        receive_buffer_bytes: config.receive_buffer_bytes,
        send_buffer_bytes: config.send_buffer_bytes,
        gso: true,
    };
    let refused = |transport: &'static str, address: SocketAddr| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => EngineError::AddressInUse { transport, address },
            _ => EngineError::Socket { transport, address, source },
        }
    };
    let address = SocketAddr::new(config.bind, port);
    let socket = ShardSocket::open(address, &options).map_err(refused("UDP", address))?;
    let address = socket.local_address();
    let tcp = config.tcp.then(|| TcpPaths::open(address)).transpose().map_err(refused("TCP", address))?;
    Ok(Ways { socket, tcp })
}

fn addresses_of(shard: usize, ways: &Ways, config: &EngineConfig) -> Result<ShardAddresses, EngineError> {
    let Ways { socket, tcp } = ways;
    let bound = socket.local_address();
    // `check` has seen to it that shards are fewer than ports.
    let announced = candidates(shard as u16, bound, &config.announce, host_addresses)
        .map_err(system("list the host's addresses"))?;
    let buffers = socket.buffers().map_err(system("read a socket's buffer sizes"))?;
    Ok(ShardAddresses { bound, announced, tcp: tcp.is_some(), buffers, gso: socket.uses_gso() })
}

fn random_seed() -> Result<[u8; 32], EngineError> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| EngineError::Randomness)?;
    Ok(seed)
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::System { what, source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain numbers and maps: a thread that panicked while holding the lock left nothing half done in them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
