//! How a shard sleeps and how others wake it: `ppoll` over its socket, its connections and an eventfd.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes one shard. Waking one that is awake already, or is about to be, costs no system call.
#[derive(Debug)]
pub(crate) struct Waker {
    eventfd: File,
    pending: AtomicBool,
}

impl Waker {
    /// A waker nobody has used yet.
    ///
    /// # Errors
    ///
    /// Whatever the kernel said to `eventfd`.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: plain integers go in, a descriptor or -1 comes out.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened above and belongs to nobody else.
        let eventfd = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { eventfd, pending: AtomicBool::new(false) })
    }

    /// Makes the shard's next sleep end at once. What was queued before is seen then.
    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // The counter is far from full (one write per acknowledgement), so this cannot fail.
            let _ = (&self.eventfd).write(&1_u64.to_ne_bytes());
        }
    }

    /// Whether somebody has woken the shard since it last acknowledged.
    pub(crate) fn is_woken(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// The shard is awake and will look at its queues now.
    pub(crate) fn acknowledge(&self) {
        // In this order: a wake between the two finds `pending` set and leaves what it queued to us; the other way
        // round its write would be eaten here and `pending` stay set for ever.
        let _ = (&self.eventfd).read(&mut [0; 8]);
        self.pending.swap(false, Ordering::AcqRel);
    }
}

/// Why a sleep ended; neither: its time was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) socket: bool,
    pub(crate) connections: bool,
    pub(crate) waker: bool,
}

/// Sleeps until `socket` has something to read, one of `connections` is ready, `waker` was woken or `timeout` has passed.
pub(crate) fn sleep(
    socket: BorrowedFd<'_>,
    connections: Option<BorrowedFd<'_>>,
    waker: &Waker,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let entry = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let none = libc::pollfd { fd: -1, events: 0, revents: 0 };
    let mut entries = [entry(socket), entry(waker.eventfd.as_fd()), connections.map_or(none, entry)];
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the entries and the timeout live on this stack during the call; no signal mask is given.
    let result =
        unsafe { libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout, ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(Ready::default()) } else { Err(error) };
    }
    // An error condition of the socket (POLLERR) is read away by its next receive call.
    let [socket, waker, connections] = entries.map(|entry| entry.revents != 0);
    Ok(Ready { socket, connections, waker })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn now_ready(socket: &UdpSocket, waker: &Waker) -> Ready {
        sleep(socket.as_fd(), None, waker, Some(Duration::ZERO)).unwrap()
    }

    #[test]
    fn a_wake_lasts_until_it_is_acknowledged_and_then_works_again() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let waker = Waker::new().unwrap();
        assert_eq!(now_ready(&socket, &waker), Ready::default());
        for _ in 0..3 {
            waker.wake();
            waker.wake();
            assert_eq!(now_ready(&socket, &waker), Ready { waker: true, ..Ready::default() });
            waker.acknowledge();
            assert_eq!(now_ready(&socket, &waker), Ready::default());
        }
    }

    #[test]
    fn a_datagram_ends_the_sleep() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let waker = Waker::new().unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert_eq!(
            sleep(socket.as_fd(), None, &waker, None).unwrap(),
            Ready { socket: true, ..Ready::default() }
        );
    }
}
