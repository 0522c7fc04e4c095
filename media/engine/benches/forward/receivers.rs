//! The sockets that packets are sent to, and the thread that reads them where somebody does.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Room for a burst of one round.
const READ_BUFFER_BYTES: usize = 1024 * 1024;
const POLL_MS: i32 = 20;

pub(crate) struct Receivers {
    pub(crate) addresses: Vec<SocketAddr>,
    /// Bound as long as these live.
    sockets: Arc<Vec<UdpSocket>>,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Receivers {
    pub(crate) fn open(count: usize, are_read: bool) -> Self {
        let sockets: Vec<_> = (0..count)
            .map(|_| {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                // 0 is raised to the kernel's minimum.
                let bytes = if are_read { READ_BUFFER_BYTES } else { 0 };
                socket2::SockRef::from(&socket).set_recv_buffer_size(bytes).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let (sockets, is_over) = (Arc::new(sockets), Arc::new(AtomicBool::new(false)));
        let reader = are_read.then(|| {
            let (sockets, is_over) = (Arc::clone(&sockets), Arc::clone(&is_over));
            std::thread::spawn(move || read(&sockets, &is_over))
        });
        Self { addresses, sockets, is_over, reader }
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        debug_assert_eq!(self.sockets.len(), self.addresses.len());
    }
}

fn read(sockets: &[UdpSocket], is_over: &AtomicBool) {
    let entry =
        |socket: &UdpSocket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<_> = sockets.iter().map(entry).collect();
    let mut datagram = [0; 2_048];
    while !is_over.load(Ordering::Relaxed) {
        // SAFETY: the entries live during the call, and their number is that given.
        unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, POLL_MS) };
        for (socket, _) in sockets.iter().zip(&entries).filter(|(_, entry)| entry.revents != 0) {
            while socket.recv(&mut datagram).is_ok() {}
        }
    }
}
