//! One shard's UDP socket: batches in by `recvmmsg`, batches out by `sendmmsg` with GSO runs in them.
//!
//! It knows addresses and bytes, not packets. It never blocks (what the kernel does not take at once is dropped and
//! counted) and allocates nothing after it was opened. An IPv6 wildcard socket is dual stack: callers see IPv4 peers
//! as IPv4, the mapped form (RFC 4291 section 2.5.5.2) stays in here.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};

use socket2::{Domain, Protocol, Socket, Type};
use vestibule_media_core::bounds::DATAGRAM_BYTES_MAX;

/// Datagrams taken from the kernel by one call.
pub const RECEIVE_BATCH: usize = 64;
/// Messages given to the kernel by one call; each is a packet or a GSO run.
pub const SEND_BATCH: usize = 64;
/// Segments of one GSO run (`UDP_MAX_SEGMENTS` of the older kernels).
pub const GSO_SEGMENTS_MAX: usize = 64;
/// Bytes of one GSO run; a UDP datagram and its headers must stay below 65,536.
pub const GSO_BYTES_MAX: usize = 65_000;
/// Packets waiting for one `sendmmsg`.
const IOVECS_MAX: usize = 1_024;
/// Runs the kernel may refuse in a row before GSO is given up for good. One peer behind a small MTU is refused too,
/// and must not take GSO from all the others.
const GSO_REFUSALS_MAX: u32 = 16;
/// Room for any address a datagram may come from.
const NAME_BYTES: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
/// Pending socket errors (ICMP) swallowed by one receive call before it is left for the next turn.
const RECEIVE_ERRORS_MAX: usize = 8;

/// The UDP socket of one shard.
#[derive(Debug)]
pub struct ShardSocket {
    socket: Socket,
    local: SocketAddr,
    gso: Gso,
    outgoing: Box<Outgoing>,
    counters: SocketCounters,
}

/// What a socket asks of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// `SO_RCVBUF`, before the kernel doubles it.
    pub receive_buffer_bytes: usize,
    /// `SO_SNDBUF`, before the kernel doubles it.
    pub send_buffer_bytes: usize,
    /// Whether runs of equal packets to one address may leave as one GSO message.
    pub gso: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { receive_buffer_bytes: 4 * 1024 * 1024, send_buffer_bytes: 4 * 1024 * 1024, gso: true }
    }
}

/// What the kernel granted of [`SocketOptions`], in the same units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// `SO_RCVBUF` without the kernel's doubling.
    pub receive_bytes: usize,
    /// `SO_SNDBUF` without the kernel's doubling.
    pub send_bytes: usize,
}

/// What a socket has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Datagrams received, those dropped as too long included.
    pub received_datagrams: u64,
    /// Bytes of the datagrams received.
    pub received_bytes: u64,
    /// `recvmmsg` calls that returned at least one datagram.
    pub received_batches: u64,
    /// Datagrams dropped because they were longer than [`DATAGRAM_BYTES_MAX`].
    pub received_truncated: u64,
    /// Errors a receive call reported, nearly always ICMP messages of peers that have gone.
    pub receive_errors: u64,
    /// Datagrams the kernel took, every segment of a GSO run counted.
    pub sent_datagrams: u64,
    /// Bytes of the datagrams the kernel took.
    pub sent_bytes: u64,
    /// System calls that sent something or tried to.
    pub send_calls: u64,
    /// GSO runs the kernel took.
    pub gso_runs: u64,
    /// Datagrams that left in GSO runs.
    pub gso_datagrams: u64,
    /// GSO runs the kernel refused; their packets were sent one by one.
    pub gso_refused: u64,
    /// Datagrams dropped because the send buffer or the kernel's memory was full.
    pub dropped_buffer_full: u64,
    /// Datagrams dropped because the kernel refused their address or size.
    pub dropped_refused: u64,
}

impl ShardSocket {
    /// Opens a non-blocking socket bound to `bind`; `[::]` also takes IPv4.
    ///
    /// # Errors
    ///
    /// Whatever the kernel said to `socket`, `bind` or `getsockname`; refused buffer sizes are no error.
    pub fn open(bind: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(bind), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if bind.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            socket.set_only_v6(false)?;
        }
        set_buffer(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, options.receive_buffer_bytes);
        set_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, options.send_buffer_bytes);
        socket.bind(&bind.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let gso =
            if options.gso && kernel_knows_gso(&socket) { Gso::On { refused_in_a_row: 0 } } else { Gso::Off };
        Ok(Self { socket, local, gso, outgoing: Outgoing::new(), counters: SocketCounters::default() })
    }

    /// The address it is bound to, with the port the kernel chose if none was asked for.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The buffer sizes the kernel granted.
    ///
    /// # Errors
    ///
    /// Whatever the kernel said to `getsockopt`.
    pub fn buffers(&self) -> io::Result<SocketBuffers> {
        // socket(7): the kernel doubles the value for its own bookkeeping and returns the doubled one.
        Ok(SocketBuffers {
            receive_bytes: self.socket.recv_buffer_size()? / 2,
            send_bytes: self.socket.send_buffer_size()? / 2,
        })
    }

    /// Whether runs still leave as GSO messages.
    #[must_use]
    pub fn uses_gso(&self) -> bool {
        matches!(self.gso, Gso::On { .. })
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> &SocketCounters {
        &self.counters
    }

    /// Takes what waits, up to [`RECEIVE_BATCH`] datagrams, into `batch`, whose previous content is gone.
    /// Returns how many the kernel gave: fewer than [`RECEIVE_BATCH`] means that none waits any more.
    pub fn receive(&mut self, batch: &mut ReceiveBatch) -> usize {
        batch.rearm();
        for _ in 0..RECEIVE_ERRORS_MAX {
            // SAFETY: every header of the batch points at its own buffer, name and iovec, which live as long as the
            // batch and are reached by nobody else while it is borrowed here.
            let taken = unsafe {
                libc::recvmmsg(
                    self.socket.as_raw_fd(),
                    batch.headers(),
                    RECEIVE_BATCH as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            if let Ok(taken) = usize::try_from(taken) {
                batch.filled = taken;
                self.count_received(batch);
                return taken;
            }
            match errno() {
                libc::EAGAIN => return 0,
                libc::EINTR => {}
                _ => self.counters.receive_errors += 1,
            }
        }
        0
    }

    fn count_received(&mut self, batch: &ReceiveBatch) {
        self.counters.received_batches += u64::from(batch.filled > 0);
        self.counters.received_datagrams += batch.filled as u64;
        for header in batch.filled_headers() {
            self.counters.received_bytes += u64::from(header.msg_len);
            self.counters.received_truncated += u64::from(is_truncated(header));
        }
    }

    /// Sends every packet of `transmits`, those of one address in their order, and never waits.
    ///
    /// Neighbours of one size to one address leave as one GSO message; what is left goes out in batches over all
    /// addresses. What the kernel does not take at once is dropped and counted.
    pub fn send<'a, P>(&mut self, transmits: impl IntoIterator<Item = (SocketAddr, P)>)
    where
        P: IntoIterator<Item = &'a [u8]>,
    {
        // Whatever a panic in the caller's iterator left behind points at packets that are gone.
        self.outgoing.clear();
        for (to, packets) in transmits {
            let name = Name::new(to, self.local.is_ipv6());
            let mut packets = packets.into_iter().peekable();
            while let Some(first) = packets.next() {
                let Some(name) = name else {
                    self.counters.dropped_refused += 1;
                    continue;
                };
                if self.outgoing.is_full() {
                    self.flush();
                }
                let mut run = self.outgoing.begin(name, first);
                // Segments are as long as the first; a shorter one ends the run.
                while self.uses_gso()
                    && let Some(next) = packets.next_if(|next| run.takes(next))
                {
                    self.outgoing.extend(&mut run, next);
                }
                self.outgoing.finish(&run);
            }
        }
        self.flush();
    }

    /// Gives the kernel what was gathered. The slices behind the iovecs are alive: `send` flushes before it returns,
    /// and its caller lends them for longer than that.
    fn flush(&mut self) {
        let mut at = 0;
        while at < self.outgoing.messages {
            self.counters.send_calls += 1;
            match self.outgoing.send_from(self.socket.as_raw_fd(), at) {
                Ok(sent) => {
                    for message in at..at + sent {
                        self.count_sent(message);
                    }
                    at += sent;
                }
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                    let lost = &self.outgoing.sizes[at..self.outgoing.messages];
                    self.counters.dropped_buffer_full +=
                        lost.iter().map(|size| size.segments as u64).sum::<u64>();
                    break;
                }
                Err(code) => {
                    self.send_refused(at, code);
                    at += 1;
                }
            }
        }
        self.outgoing.clear();
    }

    fn count_sent(&mut self, message: usize) {
        let size = self.outgoing.sizes[message];
        self.counters.sent_datagrams += size.segments as u64;
        self.counters.sent_bytes += size.bytes as u64;
        if size.segments > 1 {
            self.counters.gso_runs += 1;
            self.counters.gso_datagrams += size.segments as u64;
            self.gso.taken();
        }
    }

    /// One message was refused with `code`. A lone packet is lost; the packets of a run get one more chance each.
    fn send_refused(&mut self, message: usize, code: i32) {
        let size = self.outgoing.sizes[message];
        // EIO: the route cannot checksum for us; EINVAL, EMSGSIZE: a segment is over the route's MTU.
        let run_refused = size.segments > 1
            && matches!(code, libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT);
        // An ICMP error of an earlier packet is reported to the next call, which has sent nothing then.
        let not_about_this = code == libc::ECONNREFUSED;
        if !run_refused && !not_about_this {
            self.counters.dropped_refused += size.segments as u64;
            return;
        }
        let mut sent = 0;
        for segment in 0..size.segments {
            self.counters.send_calls += 1;
            match self.outgoing.send_one(self.socket.as_raw_fd(), message, segment) {
                Ok(bytes) => {
                    sent += 1;
                    self.counters.sent_bytes += bytes as u64;
                }
                Err(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => self.counters.dropped_buffer_full += 1,
                Err(_) => self.counters.dropped_refused += 1,
            }
        }
        self.counters.sent_datagrams += sent;
        self.counters.gso_refused += u64::from(run_refused);
        if run_refused && sent > 0 {
            self.gso.refused();
        }
    }
}

impl AsFd for ShardSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether GSO is used, and how close it is to being given up.
#[derive(Clone, Copy, Debug)]
enum Gso {
    On { refused_in_a_row: u32 },
    Off,
}

impl Gso {
    fn taken(&mut self) {
        if let Self::On { refused_in_a_row } = self {
            *refused_in_a_row = 0;
        }
    }

    fn refused(&mut self) {
        if let Self::On { refused_in_a_row } = self {
            *refused_in_a_row += 1;
            if *refused_in_a_row >= GSO_REFUSALS_MAX {
                *self = Self::Off;
            }
        }
    }
}

/// Room for one batch of received datagrams; made once, used for every receive call.
#[derive(Debug)]
pub struct ReceiveBatch {
    /// Owned. Not a `Box`: headers and iovecs hold addresses into it, which a `Box` may not share.
    slots: NonNull<ReceiveSlots>,
    filled: usize,
}

// SAFETY: the batch owns its slots alone, and the addresses in them lead only into the slots themselves.
unsafe impl Send for ReceiveBatch {}

struct ReceiveSlots {
    buffers: [[u8; DATAGRAM_BYTES_MAX]; RECEIVE_BATCH],
    names: [libc::sockaddr_storage; RECEIVE_BATCH],
    iovecs: [libc::iovec; RECEIVE_BATCH],
    headers: [libc::mmsghdr; RECEIVE_BATCH],
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: all-zero bytes are a value of every field: integers, null pointers, arrays of them.
        let slots = unsafe { Box::<ReceiveSlots>::new_zeroed().assume_init() };
        let slots = NonNull::from(Box::leak(slots));
        let at = slots.as_ptr();
        for i in 0..RECEIVE_BATCH {
            // SAFETY: `at` is the live allocation of above and `i` is inside its arrays; no reference is made.
            unsafe {
                (*at).iovecs[i].iov_base = (&raw mut (*at).buffers[i]).cast();
                (*at).iovecs[i].iov_len = DATAGRAM_BYTES_MAX;
                let header = &raw mut (*at).headers[i].msg_hdr;
                (*header).msg_name = (&raw mut (*at).names[i]).cast();
                (*header).msg_namelen = NAME_BYTES;
                (*header).msg_iov = &raw mut (*at).iovecs[i];
                (*header).msg_iovlen = 1;
            }
        }
        Self { slots, filled: 0 }
    }

    /// The datagrams of the last receive call and where they came from, without those that were cut.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        let filled = self.filled;
        // SAFETY: the slots are alive until drop, and `&mut self` keeps everybody else away from them.
        let slots = unsafe { self.slots.as_mut() };
        let (names, headers) = (&slots.names, &slots.headers);
        slots.buffers.iter_mut().zip(names.iter().zip(headers)).take(filled).filter_map(
            |(buffer, (name, header))| {
                if is_truncated(header) {
                    return None;
                }
                Some((address_of(name)?, buffer.get_mut(..header.msg_len as usize)?))
            },
        )
    }

    /// Makes the headers that the last call wrote to ready for the next.
    fn rearm(&mut self) {
        let filled = mem::take(&mut self.filled);
        // SAFETY: as in `datagrams`.
        let slots = unsafe { self.slots.as_mut() };
        for header in &mut slots.headers[..filled] {
            header.msg_hdr.msg_namelen = NAME_BYTES;
            header.msg_hdr.msg_flags = 0;
        }
    }

    fn headers(&mut self) -> *mut libc::mmsghdr {
        // SAFETY: the slots are alive; only an address is taken, no reference is made.
        unsafe { (&raw mut (*self.slots.as_ptr()).headers).cast() }
    }

    fn filled_headers(&self) -> &[libc::mmsghdr] {
        // SAFETY: the slots are alive until drop; `&self` keeps writers away.
        unsafe { &self.slots.as_ref().headers[..self.filled] }
    }
}

impl Drop for ReceiveBatch {
    fn drop(&mut self) {
        // SAFETY: the slots came out of a `Box` in `new` and are given back once.
        drop(unsafe { Box::from_raw(self.slots.as_ptr()) });
    }
}

/// Messages gathered for one `sendmmsg`. Between two calls of `send` it holds none, so no address in it outlives what
/// it points at.
struct Outgoing {
    names: [Name; SEND_BATCH],
    controls: [Control; SEND_BATCH],
    sizes: [MessageSize; SEND_BATCH],
    headers: [libc::mmsghdr; SEND_BATCH],
    iovecs: [libc::iovec; IOVECS_MAX],
    messages: usize,
    iovecs_used: usize,
}

// SAFETY: the addresses in it are only followed inside one call of `ShardSocket::send`, on one thread.
unsafe impl Send for Outgoing {}

/// A destination as the kernel reads it.
#[derive(Clone, Copy)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Room for one `UDP_SEGMENT` control message, aligned as `cmsghdr` must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

// SAFETY: CMSG_SPACE only computes.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<u16>() as libc::c_uint) } as usize;

#[derive(Clone, Copy, Debug)]
struct MessageSize {
    first_iovec: usize,
    segments: usize,
    segment_bytes: usize,
    bytes: usize,
}

/// A message while it is being gathered.
struct Run {
    size: MessageSize,
    closed: bool,
}

impl Run {
    fn takes(&self, next: &[u8]) -> bool {
        !self.closed
            && !next.is_empty()
            && next.len() <= self.size.segment_bytes
            && self.size.segments < GSO_SEGMENTS_MAX
            && self.size.bytes + next.len() <= GSO_BYTES_MAX
    }
}

impl Outgoing {
    fn new() -> Box<Self> {
        // SAFETY: all-zero bytes are a value of every field: integers, null pointers, arrays and unions of them.
        unsafe { Box::<Self>::new_zeroed().assume_init() }
    }

    fn is_full(&self) -> bool {
        self.messages == SEND_BATCH || self.iovecs_used + GSO_SEGMENTS_MAX > IOVECS_MAX
    }

    fn begin(&mut self, name: Name, first: &[u8]) -> Run {
        self.names[self.messages] = name;
        let size =
            MessageSize { first_iovec: self.iovecs_used, segments: 0, segment_bytes: first.len(), bytes: 0 };
        let mut run = Run { size, closed: false };
        self.extend(&mut run, first);
        run
    }

    fn extend(&mut self, run: &mut Run, packet: &[u8]) {
        self.iovecs[self.iovecs_used] =
            libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        self.iovecs_used += 1;
        run.size.segments += 1;
        run.size.bytes += packet.len();
        run.closed = packet.len() < run.size.segment_bytes;
    }

    fn finish(&mut self, run: &Run) {
        self.sizes[self.messages] = run.size;
        self.messages += 1;
    }

    fn clear(&mut self) {
        self.messages = 0;
        self.iovecs_used = 0;
    }

    /// Sends the messages from `at` on; how many the kernel took, or why it took none.
    fn send_from(&mut self, fd: RawFd, at: usize) -> Result<usize, i32> {
        match self.messages - at {
            // What a subscriber gets in most turns, and the cheapest call for it.
            1 if self.sizes[at].segments == 1 => self.send_one(fd, at, 0).map(|_| 1),
            _ => self.send_all(fd, at),
        }
    }

    fn send_all(&mut self, fd: RawFd, at: usize) -> Result<usize, i32> {
        let (iovecs, controls) = (self.iovecs.as_mut_ptr(), self.controls.as_mut_ptr());
        for message in at..self.messages {
            let size = self.sizes[message];
            let header = &mut self.headers[message].msg_hdr;
            (header.msg_name, header.msg_namelen) = self.names[message].as_raw();
            header.msg_iov = iovecs.wrapping_add(size.first_iovec);
            header.msg_iovlen = size.segments as _;
            (header.msg_control, header.msg_controllen) = (ptr::null_mut(), 0);
            if size.segments > 1 {
                header.msg_control = controls.wrapping_add(message).cast();
                header.msg_controllen = CONTROL_BYTES as _;
                write_segment_size(header, size.segment_bytes as u16);
            }
        }
        let waiting = &mut self.headers[at..self.messages];
        // SAFETY: each of the `waiting.len()` headers was pointed at its own live name, iovecs and control message;
        // the packets behind the iovecs are lent to `ShardSocket::send`, which called this. The kernel reads only.
        let sent = unsafe {
            libc::sendmmsg(fd, waiting.as_mut_ptr(), waiting.len() as libc::c_uint, SEND_FLAGS as _)
        };
        usize::try_from(sent).map_err(|_| errno())
    }

    /// Sends one segment of a message alone.
    fn send_one(&self, fd: RawFd, message: usize, segment: usize) -> Result<usize, i32> {
        let packet = self.iovecs[self.sizes[message].first_iovec + segment];
        let (name, name_len) = self.names[message].as_raw();
        // SAFETY: as in `send_all`, for one packet and one name.
        let sent =
            unsafe { libc::sendto(fd, packet.iov_base, packet.iov_len, SEND_FLAGS, name.cast(), name_len) };
        usize::try_from(sent).map_err(|_| errno())
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("messages", &self.messages).finish_non_exhaustive()
    }
}

const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

impl Name {
    /// `to` for a socket of one family; nothing if an IPv4 socket cannot reach it.
    fn new(to: SocketAddr, socket_is_ipv6: bool) -> Option<Self> {
        match (to.ip().to_canonical(), to) {
            (IpAddr::V4(ip), _) if !socket_is_ipv6 => Some(Self::v4(SocketAddrV4::new(ip, to.port()))),
            (IpAddr::V4(ip), _) => Some(Self::v6(&SocketAddrV6::new(ip.to_ipv6_mapped(), to.port(), 0, 0))),
            (IpAddr::V6(_), SocketAddr::V6(to)) if socket_is_ipv6 => Some(Self::v6(&to)),
            (IpAddr::V6(_), _) => None,
        }
    }

    fn v4(to: SocketAddrV4) -> Self {
        // A union starts as all zero, so that no byte the kernel reads is left undefined.
        let mut name = Self { v6: zeroed_v6() };
        name.v4 = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
            sin_zero: [0; 8],
        };
        name
    }

    fn v6(to: &SocketAddrV6) -> Self {
        let mut name = zeroed_v6();
        name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        name.sin6_port = to.port().to_be();
        name.sin6_addr.s6_addr = to.ip().octets();
        name.sin6_flowinfo = to.flowinfo();
        name.sin6_scope_id = to.scope_id();
        Self { v6: name }
    }

    fn as_raw(&self) -> (*mut libc::c_void, libc::socklen_t) {
        // SAFETY: both variants begin with the family, and both constructors fill it in.
        let family = unsafe { self.v4.sin_family };
        let len = if libc::c_int::from(family) == libc::AF_INET {
            size_of::<libc::sockaddr_in>()
        } else {
            size_of::<libc::sockaddr_in6>()
        };
        (ptr::from_ref(self).cast_mut().cast(), len as libc::socklen_t)
    }
}

fn zeroed_v6() -> libc::sockaddr_in6 {
    // SAFETY: `sockaddr_in6` is integers only; all-zero is a value of it.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Writes the `UDP_SEGMENT` control message that makes a message a GSO run.
fn write_segment_size(header: &mut libc::msghdr, segment_bytes: u16) {
    // SAFETY: `msg_control` and `msg_controllen` describe a live, aligned `Control`, which has room for exactly this
    // one control message.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        (*control).cmsg_level = libc::SOL_UDP;
        (*control).cmsg_type = libc::UDP_SEGMENT;
        (*control).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as libc::c_uint) as _;
        libc::CMSG_DATA(control).cast::<u16>().write_unaligned(segment_bytes);
    }
}

fn is_truncated(header: &libc::mmsghdr) -> bool {
    header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0
}

/// The address a datagram came from, an IPv4-mapped one as IPv4.
fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which variant the storage holds; it is larger and stricter aligned than any.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip.into(), u16::from_be(name.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let (ip, port) = (Ipv6Addr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port));
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddr::new(ip.into(), port),
                // The flow label is the sender's and not part of who it is.
                None => SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

/// Sets a buffer size past the system's limit if we may, else up to it. A kernel that grants less is no error: the
/// size that was got is reported by [`ShardSocket::buffers`].
fn set_buffer(socket: &Socket, force: libc::c_int, plain: libc::c_int, bytes: usize) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    for option in [force, plain] {
        // SAFETY: the option's value is one `c_int`, alive during the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 {
            break;
        }
    }
}

/// Kernels before 4.18 ignore the control message and would send a run as one giant datagram: ask first.
fn kernel_knows_gso(socket: &Socket) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is one `c_int` of length `len`, both alive during the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    result == 0
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
