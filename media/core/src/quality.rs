//! How good a peer's connection is: four levels, a reason with its number, and what was measured, step by step.

use std::time::Duration;

/// How good a connection is; the worse the higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QualityLevel {
    /// Nobody notices the line.
    #[default]
    Good,
    /// Less than what was asked for, or now and then a flaw.
    Fair,
    /// A conversation with effort: the picture is small, still or gone.
    Poor,
    /// Hardly a word gets through.
    Bad,
}

/// What makes a connection worse than good: the one thing that counts most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QualityReason {
    /// The share of packets lost on the way from the peer, 0.0..=1.0, before they were sent again.
    UplinkLoss(f32),
    /// The share of packets lost on the way to the peer, 0.0..=1.0, before they were sent again.
    DownlinkLoss(f32),
    /// From the server to the peer and back.
    RoundTrip(Duration),
    /// How unevenly packets arrive from the peer (RFC 3550 section 6.4.1).
    UplinkJitter(Duration),
    /// What the way to the peer carries, in bits per second: less than what the peer wants to see.
    DownlinkRate(u64),
    /// What the way from the peer carries, as its own device thinks, in bits per second: less than what others want to see of it.
    UplinkRate(u64),
    /// Nothing is heard from the peer.
    Silence,
}

impl QualityReason {
    /// The number that is told with it, in a unit of its own.
    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Self::UplinkLoss(share) | Self::DownlinkLoss(share) => Some(f64::from(share)),
            Self::RoundTrip(time) | Self::UplinkJitter(time) => Some(time.as_secs_f64()),
            Self::DownlinkRate(bps) | Self::UplinkRate(bps) => Some(bps as f64),
            Self::Silence => None,
        }
    }
}

/// How good a connection is, and why it is no better.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// That.
    pub level: QualityLevel,
    /// Of every level but [`QualityLevel::Good`].
    pub reason: Option<QualityReason>,
}

/// What was seen of a peer's line in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LineLook {
    /// What the way to the peer is thought to carry, in bits per second of UDP payload; none where nobody tells.
    pub downlink_bps: Option<u64>,
    /// Share of packets lost on the way to the peer, before they were sent again, smoothed; none where nothing was sent.
    pub downlink_loss: Option<f32>,
    /// Share of packets lost on the way from the peer, before they were sent again, smoothed.
    pub uplink_loss: f32,
    /// Round trip, where it was measured.
    pub rtt: Option<Duration>,
    /// Payload of the peer's camera in that second, in bits per second; none where none came.
    pub camera_bps: Option<u64>,
    /// What the peer's device said lately that the way from it carries, in bits per second.
    pub uplink_bps: Option<u64>,
}

/// What was measured of a peer's connection over one step of [`crate::bounds::QUALITY_STEP`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QualityStep {
    /// The worst of the step.
    pub quality: Quality,
    /// Share of packets lost on the way from the peer, before they were sent again; none where nothing was sent.
    pub uplink_loss: Option<f32>,
    /// Share of packets lost on the way to the peer, before they were sent again; none where nothing was sent.
    pub downlink_loss: Option<f32>,
    /// The greatest jitter of what the peer sends.
    pub uplink_jitter: Option<Duration>,
    /// Round trip, where it was measured.
    pub rtt: Option<Duration>,
    /// Payload received from the peer, in bits per second.
    pub uplink_bps: u64,
    /// What was sent to the peer, in bits per second of UDP payload.
    pub downlink_bps: u64,
    /// What the way to the peer is thought to carry, in bits per second of UDP payload.
    pub downlink_estimate_bps: Option<u64>,
    /// Height in pixels of the largest picture the peer is shown; zero where all are held back.
    pub video_height: Option<u16>,
}
