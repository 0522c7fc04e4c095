//! The numbers of one peer, for a page, a log or a metric.

use std::time::Duration;

use crate::api::{SeatId, SourceKind};
use crate::quality::Quality;
use crate::sdp::{CodecName, Mid, Rid};
use crate::srtp::SrtpProfile;

/// The numbers of one peer at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerStats {
    /// ICE and DTLS are done and consent has not expired.
    pub connected: bool,
    /// How media is protected.
    pub profile: Option<SrtpProfile>,
    /// Round trip between server and peer, from its receiver reports.
    pub rtt: Option<Duration>,
    /// Addresses the peer's checks have validated.
    pub validated_addresses: usize,
    /// What it publishes.
    pub sources: Vec<SourceStats>,
    /// What it is shown.
    pub slots: Vec<SlotStats>,
    /// The way to it.
    pub downlink: DownlinkStats,
    /// How good its connection is.
    pub quality: Quality,
}

/// The numbers of the way to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DownlinkStats {
    /// What the line is thought to carry, in bits per second of UDP payload; none where nobody tells of what arrives.
    pub estimate_bps: Option<u64>,
    /// What is seen to arrive, in bits per second.
    pub acknowledged_bps: Option<u64>,
    /// Share of packets lost lately, 0.0..=1.0, before they were sent again.
    pub loss_share: f64,
    /// What all that is shown now takes, in bits per second.
    pub allocated_bps: u64,
    /// What all that is wanted would take, in bits per second.
    pub wanted_bps: u64,
    /// Packets that wait for the pacer.
    pub paced_packets: usize,
    /// Probes sent so far.
    pub probes: u64,
    /// Earlier frames that go along with each of a voice (RFC 2198): 0, 1 or 2.
    pub audio_redundancy: u8,
}

/// The numbers of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStats {
    /// Which.
    pub kind: SourceKind,
    /// Packets are coming.
    pub flowing: bool,
    /// Slots that show it.
    pub subscribers: usize,
    /// Its encodings, lowest first.
    pub encodings: Vec<EncodingStats>,
}

/// The numbers of an encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncodingStats {
    /// Its rid, if it is simulcast.
    pub rid: Option<Rid>,
    /// The publisher's SSRC, once known.
    pub ssrc: Option<u32>,
    /// How it is coded.
    pub codec: CodecName,
    /// Spatial layers of it: more than one of VP9 and AV1 alone.
    pub spatial_layers: u8,
    /// Packets are coming.
    pub flowing: bool,
    /// Height of its picture in pixels, once known.
    pub height: Option<u16>,
    /// What it takes, in bits per second of UDP payload.
    pub rate_bps: u64,
    /// Somebody is to be shown it.
    pub wanted: bool,
    /// Packets received, recovered ones included.
    pub packets: u64,
    /// Payload bytes received.
    pub payload_bytes: u64,
    /// Packets that never came.
    pub packets_lost: i64,
    /// Packets that came by retransmission.
    pub packets_recovered: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Interarrival jitter in RTP timestamp units (RFC 3550 section 6.4.1).
    pub jitter_timestamp_units: u32,
    /// Memory of the packet ring.
    pub ring_bytes: usize,
}

/// The numbers of a slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotStats {
    /// The m-line.
    pub mid: Mid,
    /// The seat it is part of.
    pub seat: Option<SeatId>,
    /// The server's SSRC.
    pub ssrc: u32,
    /// How what is shown is coded.
    pub codec: Option<CodecName>,
    /// Position of the encoding shown.
    pub encoding: Option<u8>,
    /// The highest spatial layer of it that is shown.
    pub spatial_layer: Option<u8>,
    /// Height of the picture shown, in pixels, once known.
    pub height: Option<u16>,
    /// Position of the encoding the line is to carry; none while it does not carry any, or none is there.
    pub target: Option<u8>,
    /// Highest temporal layer that is sent on; none where all are.
    pub temporal_layer: Option<u8>,
    /// Packets sent, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes sent, retransmissions not counted.
    pub payload_bytes: u64,
    /// Retransmissions sent.
    pub retransmissions: u64,
    /// Layer and source switches, the first start included.
    pub switches: u64,
    /// Share of packets lost on the way, of the subscriber's last report.
    pub fraction_lost: f32,
}
