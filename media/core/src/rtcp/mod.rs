//! RTCP (RFC 3550 section 6) with its feedback messages (RFC 4585, RFC 5104, REMB): compound packets read in place and
//! written in place, reduced-size ones included (RFC 5506).
//!
//! It knows one decrypted datagram at a time and keeps no statistics.

mod read;
mod write;

pub use read::{ByeSources, FirEntries, NackList, Packets, RembSources, ReportBlocks, RtcpPacket, packets};
pub use write::RtcpWriter;

use crate::time::NtpTime;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
pub(crate) const TRANSPORT_LAYER_FEEDBACK: u8 = 205;
const PAYLOAD_SPECIFIC_FEEDBACK: u8 = 206;

const FEEDBACK_NACK: u8 = 1;
pub(crate) const FEEDBACK_TRANSPORT_CC: u8 = 15;
const FEEDBACK_PLI: u8 = 1;
const FEEDBACK_FIR: u8 = 4;
const FEEDBACK_APPLICATION: u8 = 15;

pub(crate) const HEADER_LEN: usize = 4;
const SENDER_INFO_LEN: usize = 20;
const REPORT_BLOCK_LEN: usize = 24;
/// The count field of a report has five bits.
const REPORTS_PER_PACKET_MAX: usize = 31;

/// Why a datagram is not RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// A packet ends before its length says, or before what its type needs.
    #[error("RTCP packet is cut off")]
    Truncated,
    /// The version is not 2.
    #[error("RTCP version is not 2")]
    Version,
    /// The padding count is zero or larger than the packet.
    #[error("RTCP padding count does not fit the packet")]
    Padding,
    /// A field has a value its type does not allow.
    #[error("RTCP packet of type {packet_type} is malformed")]
    Malformed {
        /// The packet's type.
        packet_type: u8,
    },
}

/// The datagram under construction has no room for one more packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for one more RTCP packet")]
pub struct RtcpFull;

/// What a sender tells about itself (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// The sender's wall clock when it wrote the report.
    pub ntp: NtpTime,
    /// The same moment in units of the media clock.
    pub rtp: u32,
    /// Packets sent since the start, modulo 2³².
    pub packets: u32,
    /// Payload bytes sent since the start, modulo 2³².
    pub bytes: u32,
}

/// What a receiver tells about one source (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source the block is about.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start, 24 bits signed; written saturated.
    pub cumulative_lost: i32,
    /// Highest sequence number received, extended by the number of wraps in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the media clock.
    pub jitter: u32,
    /// LSR: the middle 32 bits of the last sender report's NTP time, or zero.
    pub last_sender_report: u32,
    /// DLSR: time since that report in 1/65536 seconds, or zero.
    pub delay_since_last_sender_report: u32,
}

#[cfg(test)]
mod tests;
