//! What can go wrong between the engine and its caller.

use std::io;
use std::net::{IpAddr, SocketAddr};

use vestibule_media_core::RoomId;

use crate::dtls::DtlsError;

/// Why the engine did not start, or did not take a command.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The configuration asks for no shard, or for more than there are ports above the base.
    #[error("{shards} shards do not fit on UDP ports from {port} on")]
    Shards {
        /// Shards asked for.
        shards: usize,
        /// The base port.
        port: u16,
    },
    /// An announced address is none a peer could reach.
    #[error("cannot announce {ip}: not an address a peer can reach")]
    Announce {
        /// The address.
        ip: IpAddr,
    },
    /// Somebody else is bound to a shard's address.
    #[error("{transport} {address} is in use by another program")]
    AddressInUse {
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// A shard's socket could not be opened.
    #[error("cannot open {transport} {address}")]
    Socket {
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else the operating system would not give.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("cannot take random bytes")]
    Randomness,
    /// DTLS could not be set up.
    #[error("cannot set up DTLS")]
    Dtls(#[from] DtlsError),
    /// Too much waits for the room's shard; nothing was changed, try again soon.
    #[error("the media shard is busy")]
    Busy,
    /// The room was never created, or is closed.
    #[error("no such room")]
    UnknownRoom,
    /// The room exists already.
    #[error("the room exists already")]
    RoomExists,
    /// The command names another room than the one it was sent to.
    #[error("the command is for room {}, sent to room {}", named.0, sent.0)]
    RoomMismatch {
        /// The room in the command.
        named: RoomId,
        /// The room it was sent to.
        sent: RoomId,
    },
    /// Every shard holds as many rooms as it may.
    #[error("every media shard is full")]
    Full,
    /// A shard's thread has ended by a bug; its rooms are lost.
    #[error("media shard {shard} has failed")]
    ShardFailed {
        /// Which.
        shard: usize,
    },
}
