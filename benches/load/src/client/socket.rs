//! UDP sockets: batches in with the kernel's time of arrival, bursts out.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

/// Datagrams taken by one call.
pub(super) const BATCH: usize = 64;
/// What is longer is cut, and fails its authentication.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Segments of one GSO message (`UDP_MAX_SEGMENTS` of the older kernels).
const SEGMENTS_MAX: usize = 64;
/// Bytes of one GSO message, with room for the packet after it.
const BURST_BYTES_MAX: usize = 63_000;

/// A non-blocking socket on a port of its own whose datagrams tell when they came and how many did not.
pub(super) fn open(bind: IpAddr, receive_buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(bind, 0))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    // Past the system's limit if we may, else up to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer_bytes).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &receive_buffer_bytes)?;
    }
    Ok(socket)
}

/// Room for one batch of datagrams.
pub(super) struct Batch {
    buffers: Box<[u8]>,
    headers: MultiHeaders<()>,
    /// Some socket has dropped something: then control messages differ in length, and as the library does not reset
    /// their room between calls, each call gets headers of its own.
    dropping: bool,
    arrivals: [Arrival; BATCH],
}

#[derive(Clone, Copy, Default)]
struct Arrival {
    bytes: usize,
    at_ns: u64,
}

/// What one call brought.
pub(super) struct Taken {
    /// How many datagrams.
    pub(super) datagrams: usize,
    /// How many this socket has dropped since it was opened, if it says.
    pub(super) dropped: Option<u32>,
}

fn headers() -> MultiHeaders<()> {
    MultiHeaders::preallocate(BATCH, Some(cmsg_space!(TimeSpec, u32)))
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            buffers: vec![0; BATCH * DATAGRAM_BYTES_MAX].into_boxed_slice(),
            headers: headers(),
            dropping: false,
            arrivals: [Arrival::default(); BATCH],
        }
    }

    /// Takes what waits; `now_ns` stands in where the kernel does not say when it came.
    pub(super) fn receive(&mut self, socket: &UdpSocket, now_ns: u64) -> Taken {
        if self.dropping {
            self.headers = headers();
        }
        let mut taken = Taken { datagrams: 0, dropped: None };
        let mut buffers = self.buffers.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let Ok(messages) = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)
        else {
            // Nothing waits, or an ICMP error did: its port is gone, and consent will find out.
            return taken;
        };
        for (message, arrival) in messages.zip(&mut self.arrivals) {
            *arrival = Arrival { bytes: message.bytes, at_ns: now_ns };
            taken.datagrams += 1;
            match message.cmsgs() {
                Ok(cmsgs) => cmsgs.for_each(|cmsg| match cmsg {
                    ControlMessageOwned::ScmTimestampns(at) => {
                        arrival.at_ns = Duration::from(at).as_nanos() as u64;
                    }
                    ControlMessageOwned::RxqOvfl(dropped) => taken.dropped = Some(dropped),
                    _ => {}
                }),
                Err(_) => self.dropping = true,
            }
        }
        taken
    }

    /// Datagram `at` of the last call, and when it came, in ns since the Unix epoch.
    #[inline]
    pub(super) fn datagram(&mut self, at: usize) -> (&mut [u8], u64) {
        let Arrival { bytes, at_ns } = self.arrivals[at];
        let start = at * DATAGRAM_BYTES_MAX;
        (&mut self.buffers[start..start + bytes.min(DATAGRAM_BYTES_MAX)], at_ns)
    }
}

/// Packets gathered for one socket; those of one size leave as one message (UDP GSO).
pub(super) struct Burst {
    bytes: Vec<u8>,
    len: usize,
    segment: usize,
    segments: usize,
    gso: bool,
    /// Datagrams the kernel did not take.
    pub(super) failures: u64,
}

impl Burst {
    pub(super) fn new() -> Self {
        let bytes = vec![0; BURST_BYTES_MAX + DATAGRAM_BYTES_MAX];
        Self { bytes, len: 0, segment: 0, segments: 0, gso: true, failures: 0 }
    }

    /// Where the next packet is written.
    #[inline]
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// Takes over the packet of `len` bytes that was written to [`Self::room`]; what does not go with it leaves first.
    #[inline]
    pub(super) fn push(&mut self, len: usize, socket: &UdpSocket) {
        let start = self.len;
        let closed = self.segments > 0 && start != self.segments * self.segment;
        let full = self.segments == SEGMENTS_MAX || start + len > BURST_BYTES_MAX || !self.gso;
        if self.segments > 0 && (closed || full || len > self.segment) {
            self.flush(socket);
            self.bytes.copy_within(start..start + len, 0);
        }
        if self.segments == 0 {
            self.segment = len;
        }
        self.segments += 1;
        self.len += len;
    }

    /// Gives the kernel what was gathered.
    pub(super) fn flush(&mut self, socket: &UdpSocket) {
        if self.segments > 1 {
            let control = [ControlMessage::UdpGsoSegments(&(self.segment as u16))];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let data = [IoSlice::new(&self.bytes[..self.len])];
            match sendmsg::<()>(socket.as_raw_fd(), &data, &control, flags, None) {
                Ok(_) => {}
                Err(Errno::EINVAL | Errno::EIO | Errno::ENOPROTOOPT | Errno::EMSGSIZE) => {
                    self.gso = false;
                    self.send_each(socket);
                }
                Err(_) => self.failures += self.segments as u64,
            }
        } else if self.segments == 1 {
            self.send_each(socket);
        }
        (self.len, self.segments) = (0, 0);
    }

    fn send_each(&mut self, socket: &UdpSocket) {
        for packet in self.bytes[..self.len].chunks(self.segment) {
            self.failures += u64::from(socket.send(packet).is_err());
        }
    }
}
