//! What one shard counted, as a snapshot that belongs together.

use vestibule_media_core::Counters;

use crate::socket::SocketCounters;
use crate::tcp::TcpCounters;

/// The counters of one shard after one of its turns; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// Its loop.
    pub turns: TurnCounters,
    /// Its socket.
    pub socket: SocketCounters,
    /// Connections that are open now.
    pub connections: u64,
    /// Connections of peers to its port.
    pub tcp: TcpCounters,
    /// Its SFU.
    pub core: Counters,
}

/// What the loop of one shard counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnCounters {
    /// Turns.
    pub turns: u64,
    /// Flushes before the end of a turn because much was waiting to leave.
    pub early_flushes: u64,
    /// Commands taken.
    pub commands: u64,
    /// Replies of DTLS workers taken.
    pub dtls_replies: u64,
    /// Messages for DTLS associations that were lost because the worker was busy.
    pub dtls_dropped: u64,
    /// Sleeps the kernel refused.
    pub sleep_errors: u64,
    /// 1 if the thread is pinned to a core.
    pub pinned: u64,
}
