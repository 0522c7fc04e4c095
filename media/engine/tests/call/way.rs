//! How a client's packets get to the engine: in datagrams, or in a connection it opened.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use vestibule_media_core::TransportAddress;

/// How long a client waits for a packet before it looks at its timers.
const TICK: Duration = Duration::from_millis(20);

pub(crate) enum Way {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tcp { stream: TcpStream, received: Vec<u8> },
}

impl Way {
    pub(crate) fn to(server: TransportAddress) -> Self {
        match server {
            TransportAddress::Udp(server) => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                socket.set_read_timeout(Some(TICK)).unwrap();
                Self::Udp { socket, server }
            }
            TransportAddress::Tcp(server) => {
                let stream = TcpStream::connect(server).unwrap();
                stream.set_read_timeout(Some(TICK)).unwrap();
                Self::Tcp { stream, received: Vec::new() }
            }
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        match self {
            Self::Udp { socket, .. } => socket.local_addr().unwrap(),
            Self::Tcp { stream, .. } => stream.local_addr().unwrap(),
        }
    }

    pub(crate) fn send(&mut self, packet: &[u8]) {
        match self {
            Self::Udp { socket, server } => {
                socket.send_to(packet, *server).unwrap();
            }
            Self::Tcp { stream, .. } => {
                let length = (packet.len() as u16).to_be_bytes();
                stream.write_all(&[&length, packet].concat()).unwrap();
            }
        }
    }

    /// The next packet; `None` when none comes for a tick.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Udp { socket, .. } => {
                let mut buffer = [0; 2_048];
                let (len, _) = socket.recv_from(&mut buffer).ok()?;
                Some(buffer[..len].to_vec())
            }
            Self::Tcp { stream, received } => loop {
                if let Some((length, rest)) = received.split_first_chunk() {
                    let length = usize::from(u16::from_be_bytes(*length));
                    if rest.len() >= length {
                        let packet = rest[..length].to_vec();
                        received.drain(..2 + length);
                        return Some(packet);
                    }
                }
                let mut buffer = [0; 2_048];
                match stream.read(&mut buffer) {
                    Ok(0) => panic!("the server closed the connection"),
                    Ok(len) => received.extend_from_slice(&buffer[..len]),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        return None;
                    }
                    Err(error) => panic!("{error}"),
                }
            },
        }
    }
}
