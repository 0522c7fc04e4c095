//! Which connections are ready, in one descriptor that a shard's sleep can watch.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Readiness taken by one call.
pub(super) const EVENTS_MAX: usize = 64;

/// An epoll instance; level-triggered.
#[derive(Debug)]
pub(super) struct Epoll {
    fd: OwnedFd,
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Read,
    ReadWrite,
}

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadyFd {
    pub(super) token: u64,
    /// It can be read, or has failed, which the next read tells.
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: an integer goes in, a descriptor or -1 comes out.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened above and belongs to nobody else.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, Interest::Read)
    }

    pub(super) fn change(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// Nothing of it is told any more. A descriptor that is closed is forgotten by itself.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::Read)
    }

    fn control(
        &self,
        what: libc::c_int,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let write = if interest == Interest::ReadWrite { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | write) as u32, u64: token };
        // SAFETY: both descriptors are open, and the event lives on this stack during the call.
        let result = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Appends what is ready now, [`EVENTS_MAX`] at the most; never waits.
    pub(super) fn ready(&self, into: &mut Vec<ReadyFd>) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        // SAFETY: the kernel writes at most `EVENTS_MAX` events into the array, which lives during the call.
        let count = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), EVENTS_MAX as libc::c_int, 0)
        };
        // Interrupted: the next turn asks again.
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let flags = event.events as libc::c_int;
            let write = flags & libc::EPOLLOUT != 0;
            let read = flags & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP) != 0;
            into.push(ReadyFd { token: event.u64, read, write });
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
