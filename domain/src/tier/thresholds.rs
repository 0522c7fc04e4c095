//! When a line is reduced, and when not any more.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// What is wrong with thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdFault {
    /// One out of its bounds.
    #[error("{what} is {value}, and must be {min} to {max}")]
    OutOfBounds {
        /// Which, as the API spells it.
        what: &'static str,
        /// What it was.
        value: u32,
        /// The least allowed.
        min: u32,
        /// The most allowed.
        max: u32,
    },
    /// One that must be greater than another.
    #[error("{what} must be above {below}")]
    NotAbove {
        /// Which.
        what: &'static str,
        /// Than which.
        below: &'static str,
    },
}

/// When a line is reduced from video to audio to text, and back; checked or not. `Default` is what a tenant has that never
/// chose. A value absent from stored JSON is its default.
///
/// Rates are of UDP payload, headers of RTP included: what a
/// voice takes is half headers. Each way back takes more than the way down: a line that wavers about one number must not flap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThresholdValues {
    /// Below this there is no video. 50 to 5000 kbit/s, and above `audio_min_kbps`.
    pub video_min_kbps: u32,
    /// Bursts of this have to get through before there is again. Above `video_min_kbps`, to 10000 kbit/s.
    pub video_resume_kbps: u32,
    /// Where more is lost there is no video. 1 to 90 percent.
    pub video_loss_max_percent: u32,
    /// How long a line must be too poor for video. 500 to 60000 ms.
    pub video_hold_ms: u32,
    /// Below this there is no audio. 6 to 128 kbit/s.
    pub audio_min_kbps: u32,
    /// Bursts of this have to get through before there is again. Above `audio_min_kbps`, to 256 kbit/s.
    pub audio_resume_kbps: u32,
    /// Where more is lost there is no audio. Above `video_loss_max_percent`, to 95 percent.
    pub audio_loss_max_percent: u32,
    /// How long a line must be too poor for audio. 500 to 60000 ms.
    pub audio_hold_ms: u32,
    /// Where an answer takes longer there is no video. 100 to 10000 ms.
    pub rtt_max_ms: u32,
    /// Nothing is tried where more is lost. 0 to 50 percent.
    pub resume_loss_max_percent: u32,
    /// Between two of the three bursts that are sent before there is video again. 1000 to 300000 ms.
    pub probe_interval_ms: u32,
    /// Between two tries; twice as long after each that failed, to sixteen times. 1000 to 3600000 ms.
    pub retry_after_ms: u32,
}

impl Default for ThresholdValues {
    fn default() -> Self {
        Self {
            video_min_kbps: 150,
            video_resume_kbps: 330,
            video_loss_max_percent: 12,
            video_hold_ms: 10_000,
            audio_min_kbps: 32,
            audio_resume_kbps: 48,
            audio_loss_max_percent: 25,
            audio_hold_ms: 15_000,
            rtt_max_ms: 800,
            resume_loss_max_percent: 4,
            probe_interval_ms: 10_000,
            retry_after_ms: 60_000,
        }
    }
}

/// Thresholds within their bounds. Read the values through it: `thresholds.video_min_kbps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ThresholdValues", into = "ThresholdValues")]
pub struct FallbackThresholds(ThresholdValues);

impl FallbackThresholds {
    /// Checks `values`.
    ///
    /// # Errors
    /// The first field out of its bounds, or that does not lie above the one it must.
    pub fn new(values: ThresholdValues) -> Result<Self, ThresholdFault> {
        let bounds = [
            ("videoMinKbps", values.video_min_kbps, 50, 5_000),
            ("videoResumeKbps", values.video_resume_kbps, 50, 10_000),
            ("videoLossMaxPercent", values.video_loss_max_percent, 1, 90),
            ("videoHoldMs", values.video_hold_ms, 500, 60_000),
            ("audioMinKbps", values.audio_min_kbps, 6, 128),
            ("audioResumeKbps", values.audio_resume_kbps, 6, 256),
            ("audioLossMaxPercent", values.audio_loss_max_percent, 1, 95),
            ("audioHoldMs", values.audio_hold_ms, 500, 60_000),
            ("rttMaxMs", values.rtt_max_ms, 100, 10_000),
            ("resumeLossMaxPercent", values.resume_loss_max_percent, 0, 50),
            ("probeIntervalMs", values.probe_interval_ms, 1_000, 300_000),
            ("retryAfterMs", values.retry_after_ms, 1_000, 3_600_000),
        ];
        for (what, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(ThresholdFault::OutOfBounds { what, value, min, max });
            }
        }
        let pairs = [
            ("videoResumeKbps", values.video_resume_kbps, "videoMinKbps", values.video_min_kbps),
            ("audioResumeKbps", values.audio_resume_kbps, "audioMinKbps", values.audio_min_kbps),
            // A line on which there is no voice has no picture.
            ("videoMinKbps", values.video_min_kbps, "audioMinKbps", values.audio_min_kbps),
            (
                "audioLossMaxPercent",
                values.audio_loss_max_percent,
                "videoLossMaxPercent",
                values.video_loss_max_percent,
            ),
        ];
        for (what, value, below, least) in pairs {
            if value <= least {
                return Err(ThresholdFault::NotAbove { what, below });
            }
        }
        Ok(Self(values))
    }
}

impl Deref for FallbackThresholds {
    type Target = ThresholdValues;

    fn deref(&self) -> &ThresholdValues {
        &self.0
    }
}

impl TryFrom<ThresholdValues> for FallbackThresholds {
    type Error = ThresholdFault;

    fn try_from(values: ThresholdValues) -> Result<Self, ThresholdFault> {
        Self::new(values)
    }
}

impl From<FallbackThresholds> for ThresholdValues {
    fn from(thresholds: FallbackThresholds) -> Self {
        thresholds.0
    }
}
