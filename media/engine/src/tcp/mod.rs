//! The connections peers open to one shard: ICE-TCP, passive (RFC 6544), for networks that let no UDP through.
//!
//! It knows addresses, bytes and which connections are whose according to the core. It never waits. A reader that is slow
//! is told of to the core, which lets its video wait ([`PathChange::Full`]); one that is too slow for a voice is let go.

mod backlog;
mod epoll;
mod frames;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use vestibule_media_core::{PathChange, Time, TransportAddress};

use backlog::{Backlog, FREE_BYTES, FULL_BYTES};
use epoll::{Epoll, Interest, ReadyFd};
pub(crate) use frames::Frames;

/// Connections of one shard.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections of one IPv4 address, or of one /64 of IPv6; a clinic behind one NAT has to fit.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;
/// Connections that have not shown a good check yet; of the address with most of them the oldest gives way.
const STRANGERS_MAX: usize = 128;
/// How long a connection may take until it has shown a good check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// A reader for whom something waits as long as this is gone, or hears everything too late.
const WAITED_MAX: Duration = Duration::from_secs(8);
/// Connections taken in one turn.
const ACCEPTS_PER_TURN: usize = 16;
/// Connections the kernel keeps until they are taken.
const LISTEN_BACKLOG: i32 = 128;
/// How often connections are looked through for what their time is over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes the kernel keeps back unsent: what it holds no later decision reaches, and a voice waits behind.
const UNSENT_BYTES: libc::c_int = 16 * 1024;
const LISTENER: u64 = 0;

/// What the connections of a shard have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Connections taken.
    pub accepted: u64,
    /// Connections turned away because there were too many.
    pub refused: u64,
    /// Connections closed because they showed no good check in time, or younger ones took their place.
    pub closed_strangers: u64,
    /// Connections closed because they sent no frames, or one that is too long.
    pub closed_malformed: u64,
    /// Connections closed because they read too slowly.
    pub closed_slow: u64,
    /// Connections closed because they were no peer's way any more.
    pub closed_unused: u64,
    /// Connections the other side closed, or that failed.
    pub closed_by_peer: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes received, lengths included.
    pub received_bytes: u64,
    /// Packets given to a connection.
    pub sent_packets: u64,
    /// Their bytes, lengths included.
    pub sent_bytes: u64,
    /// Packets for which a connection had no room.
    pub dropped_buffer_full: u64,
    /// Packets for connections that are gone.
    pub dropped_closed: u64,
}

/// All connections of one shard, and the socket they come in by.
#[derive(Debug)]
pub(crate) struct TcpPaths {
    listener: Socket,
    /// The listener is left alone until the next sweep: the process has no descriptor left.
    is_exhausted: bool,
    epoll: Epoll,
    connections: HashMap<u64, Connection>,
    tokens: HashMap<SocketAddr, u64>,
    next_token: u64,
    ready: Vec<ReadyFd>,
    changes: VecDeque<(TransportAddress, PathChange)>,
    sweep_at: Option<Time>,
    counters: TcpCounters,
}

#[derive(Debug)]
struct Connection {
    stream: Socket,
    from: SocketAddr,
    opened_at: Time,
    /// A good check came by it.
    is_path: bool,
    /// The beginning of a packet whose end has not come yet.
    rest: Vec<u8>,
    backlog: Backlog,
    /// The core knows that it takes no more.
    is_full: bool,
    is_watched_for_write: bool,
}

/// A connection of which something was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    token: u64,
    from: SocketAddr,
}

impl Reading {
    pub(crate) const fn from(&self) -> TransportAddress {
        TransportAddress::Tcp(self.from)
    }
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Stranger,
    Malformed,
    Slow,
    Unused,
    ByPeer,
}

impl TcpPaths {
    /// Listens at `bind`; `[::]` also takes IPv4.
    pub(crate) fn open(bind: SocketAddr) -> io::Result<Self> {
        let listener =
            Socket::new(Domain::for_address(bind), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if bind.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            listener.set_only_v6(false)?;
        }
        // Connections of before a restart may linger on the port.
        listener.set_reuse_address(true)?;
        listener.bind(&bind.into())?;
        listener.listen(LISTEN_BACKLOG)?;
        let epoll = Epoll::new()?;
        epoll.add(listener.as_fd(), LISTENER)?;
        Ok(Self {
            listener,
            is_exhausted: false,
            epoll,
            connections: HashMap::new(),
            tokens: HashMap::new(),
            next_token: LISTENER + 1,
            ready: Vec::with_capacity(epoll::EVENTS_MAX),
            changes: VecDeque::new(),
            sweep_at: None,
            counters: TcpCounters::default(),
        })
    }

    // Getters

    pub(crate) const fn counters(&self) -> &TcpCounters {
        &self.counters
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// When [`Self::sweep`] has something to do.
    pub(crate) const fn next_timeout(&self) -> Option<Time> {
        self.sweep_at
    }

    // In

    /// Looks what is ready: takes connections, gives the kernel what waits, and notes what is to be read.
    pub(crate) fn poll(&mut self, now: Time) {
        self.ready.clear();
        self.epoll.ready(&mut self.ready);
        for at in 0..self.ready.len() {
            let ready = self.ready[at];
            if ready.token == LISTENER {
                self.accept(now);
            } else if ready.write {
                self.flush(ready.token, now);
            }
        }
        self.ready.retain(|ready| ready.read && ready.token != LISTENER);
    }

    /// Reads the next connection that is ready; what it brought is in `frames` then.
    pub(crate) fn read_next(&mut self, frames: &mut Frames) -> Option<Reading> {
        loop {
            let token = self.ready.pop()?.token;
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            let from = connection.from;
            let room = frames.begin(&connection.rest);
            match connection.stream.read(room) {
                Ok(0) => self.close(token, Closing::ByPeer),
                Ok(bytes) => {
                    frames.read(bytes);
                    self.counters.received_bytes += bytes as u64;
                    return Some(Reading { token, from });
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => self.close(token, Closing::ByPeer),
            }
        }
    }

    /// Ends a reading: `packets` were in it, and the connection `is_path` for somebody.
    pub(crate) fn read_done(&mut self, reading: Reading, frames: &Frames, packets: u64, is_path: bool) {
        self.counters.received_packets += packets;
        let Some(connection) = self.connections.get_mut(&reading.token) else { return };
        connection.is_path |= is_path;
        connection.rest.clear();
        connection.rest.extend_from_slice(frames.rest());
    }

    /// Ends a reading in which no packet begins where one should.
    pub(crate) fn read_failed(&mut self, reading: Reading) {
        self.close(reading.token, Closing::Malformed);
    }

    fn accept(&mut self, now: Time) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    if let Some(from) = from.as_socket() {
                        self.take(stream, canonical(from), now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It was closed before it was taken.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                // Without a descriptor the listener stays ready, and the shard would turn for nothing else.
                Err(_) => {
                    self.is_exhausted = self.epoll.remove(self.listener.as_fd()).is_ok();
                    self.sweep_by(now);
                    return;
                }
            }
        }
    }

    fn take(&mut self, stream: Socket, from: SocketAddr, now: Time) {
        let of_address = self.connections.values().filter(|other| network(other.from) == network(from));
        if self.connections.len() >= CONNECTIONS_MAX || of_address.count() >= CONNECTIONS_PER_ADDRESS_MAX {
            self.counters.refused += 1;
            reset(&stream);
            return;
        }
        let strangers = self.connections.iter().filter(|(_, connection)| !connection.is_path);
        if strangers.clone().count() >= STRANGERS_MAX {
            // Of those who crowd most, so that nobody else has to give way.
            let mut crowds: HashMap<IpAddr, Vec<(Time, u64)>> = HashMap::new();
            for (token, connection) in strangers {
                crowds.entry(network(connection.from)).or_default().push((connection.opened_at, *token));
            }
            let largest = crowds.into_values().max_by_key(Vec::len);
            if let Some((_, oldest)) = largest.and_then(|crowd| crowd.into_iter().min()) {
                self.close(oldest, Closing::Stranger);
            }
        }
        let token = self.next_token;
        if set_up(&stream).and_then(|()| self.epoll.add(stream.as_fd(), token)).is_err() {
            self.counters.refused += 1;
            return;
        }
        self.next_token += 1;
        self.counters.accepted += 1;
        // Of two with one address the kernel says that the first is over.
        if let Some(before) = self.tokens.insert(from, token) {
            self.close(before, Closing::ByPeer);
            self.tokens.insert(from, token);
        }
        self.connections.insert(
            token,
            Connection {
                stream,
                from,
                opened_at: now,
                is_path: false,
                rest: Vec::new(),
                backlog: Backlog::new(now),
                is_full: false,
                is_watched_for_write: false,
            },
        );
        self.sweep_by(now);
    }

    // Out

    /// Sends packets into the connection of `to`, as many as it has room for.
    pub(crate) fn send<'a>(
        &mut self,
        to: SocketAddr,
        packets: impl IntoIterator<Item = &'a [u8]>,
        now: Time,
    ) {
        let token = self.tokens.get(&to).copied();
        let connection = token.and_then(|token| Some((token, self.connections.get_mut(&token)?)));
        let Some((token, connection)) = connection else {
            self.counters.dropped_closed += packets.into_iter().count() as u64;
            return;
        };
        for packet in packets {
            if connection.backlog.push(packet) {
                self.counters.sent_packets += 1;
                self.counters.sent_bytes += (packet.len() + frames::LENGTH_BYTES) as u64;
            } else {
                self.counters.dropped_buffer_full += 1;
            }
        }
        self.flush(token, now);
    }

    fn flush(&mut self, token: u64, now: Time) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.backlog.flush(&connection.stream, now).is_err() {
            self.close(token, Closing::ByPeer);
            return;
        }
        let waiting = connection.backlog.len();
        let is_full = if connection.is_full { waiting > FREE_BYTES } else { waiting > FULL_BYTES };
        if std::mem::replace(&mut connection.is_full, is_full) != is_full {
            let change = if is_full { PathChange::Full } else { PathChange::Free };
            self.changes.push_back((TransportAddress::Tcp(connection.from), change));
        }
        let watch = waiting > 0;
        if watch != connection.is_watched_for_write {
            let interest = if watch { Interest::ReadWrite } else { Interest::Read };
            if self.epoll.change(connection.stream.as_fd(), token, interest).is_err() {
                self.close(token, Closing::ByPeer);
                return;
            }
            connection.is_watched_for_write = watch;
        }
    }

    /// What the core is to be told of a connection.
    pub(crate) fn next_change(&mut self) -> Option<(TransportAddress, PathChange)> {
        self.changes.pop_front()
    }

    // Time

    /// Closes what its time is over for, or what is nobody's any more according to `is_path`.
    pub(crate) fn sweep(&mut self, now: Time, is_path: impl Fn(TransportAddress) -> bool) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        if std::mem::take(&mut self.is_exhausted) {
            self.is_exhausted = self.epoll.add(self.listener.as_fd(), LISTENER).is_err();
        }
        let over = |connection: &Connection| {
            if connection.backlog.waited(now) > WAITED_MAX {
                Some(Closing::Slow)
            } else if connection.is_path {
                (!is_path(TransportAddress::Tcp(connection.from))).then_some(Closing::Unused)
            } else {
                (now.since(connection.opened_at) > CHECK_TIMEOUT).then_some(Closing::Stranger)
            }
        };
        let over: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(token, connection)| Some((*token, over(connection)?)))
            .collect();
        for (token, why) in over {
            self.close(token, why);
        }
        self.sweep_at = (!self.connections.is_empty() || self.is_exhausted).then(|| now + SWEEP_INTERVAL);
    }

    fn sweep_by(&mut self, now: Time) {
        self.sweep_at.get_or_insert(now + SWEEP_INTERVAL);
    }

    fn close(&mut self, token: u64, why: Closing) {
        let Some(connection) = self.connections.remove(&token) else { return };
        let address = TransportAddress::Tcp(connection.from);
        self.tokens.remove(&connection.from);
        if connection.is_path {
            self.changes.push_back((address, PathChange::Closed));
        }
        if why != Closing::ByPeer {
            reset(&connection.stream);
        }
        *match why {
            Closing::Stranger => &mut self.counters.closed_strangers,
            Closing::Malformed => &mut self.counters.closed_malformed,
            Closing::Slow => &mut self.counters.closed_slow,
            Closing::Unused => &mut self.counters.closed_unused,
            Closing::ByPeer => &mut self.counters.closed_by_peer,
        } += 1;
    }
}

impl AsFd for TcpPaths {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn set_up(stream: &Socket) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    // A voice's packet is not to wait for the next.
    stream.set_tcp_nodelay(true)?;
    let bytes = UNSENT_BYTES;
    // SAFETY: the option's value is one `c_int`, alive during the call.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel forget what waits in a connection that is closed next.
fn reset(stream: &Socket) {
    // Refused, the kernel goes on trying for a while.
    let _ = stream.set_linger(Some(Duration::ZERO));
}

/// Whose a connection is, for the bound on how many.
fn network(from: SocketAddr) -> IpAddr {
    match from.ip() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

/// As the UDP socket tells addresses: IPv4-mapped ones as IPv4, no flow label.
fn canonical(from: SocketAddr) -> SocketAddr {
    match (from.ip().to_canonical(), from) {
        (IpAddr::V6(ip), SocketAddr::V6(from)) => {
            SocketAddrV6::new(ip, from.port(), 0, from.scope_id()).into()
        }
        (ip, _) => SocketAddr::new(ip, from.port()),
    }
}
