//! Where packets come from and go to.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// An IP address, a port, and how packets get there (RFC 8445 section 4, "transport address"); IPv4-mapped IPv6 addresses
/// as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportAddress {
    /// Each packet a datagram.
    Udp(SocketAddr),
    /// A connection the peer opened, packets framed in it (RFC 4571).
    Tcp(SocketAddr),
}

impl TransportAddress {
    /// Address and port alone.
    #[must_use]
    #[inline]
    pub const fn socket(&self) -> SocketAddr {
        match self {
            Self::Udp(address) | Self::Tcp(address) => *address,
        }
    }

    /// The address alone.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.socket().ip()
    }

    /// Whether packets go there in a connection.
    #[must_use]
    #[inline]
    pub const fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Whether this is another way through the network than `other`, not only another port of the same NAT.
    #[must_use]
    pub fn is_another_way(&self, other: &Self) -> bool {
        self.ip() != other.ip() || self.is_tcp() != other.is_tcp()
    }
}

impl From<SocketAddr> for TransportAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Udp(address)
    }
}

impl Hash for TransportAddress {
    /// Without the transport: both of one address and port are there rarely, and every datagram pays for what is hashed.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.socket().hash(state);
    }
}
