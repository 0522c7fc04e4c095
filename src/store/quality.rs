//! How the connections of those in live sessions were, step by step. No name and no address is in it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{ParticipantId, SessionId};
use vestibule_signaling::wire::{QualityLevel, QualityReason};
use vestibule_signaling::{EarlierStep, Quality, QualityStep, kbps};

use super::{Page, Result};

/// How long before the newest step of a session others of it are kept: a visit has its end long before.
pub(crate) const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How connections were.
#[async_trait]
pub(crate) trait QualityStore {
    /// Keeps steps of one session, in one transaction. Those that are there already stay as they are.
    async fn keep_steps(&self, session: SessionId, steps: &[KeptStep]) -> Result<()>;

    /// The steps of a session, oldest first; of one participant, or of all.
    async fn steps(
        &self,
        session: SessionId,
        participant: Option<ParticipantId>,
        page: Page<StepKey>,
    ) -> Result<Vec<KeptStep>>;

    /// The last steps of a session, oldest first.
    async fn last_steps(&self, session: SessionId, limit: u32) -> Result<Vec<KeptStep>>;
}

/// What was measured of somebody's connection over a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptStep {
    /// Its end; whole milliseconds.
    pub(crate) at: Timestamp,
    pub(crate) participant: ParticipantId,
    pub(crate) level: QualityLevel,
    pub(crate) reason: Option<QualityReason>,
    pub(crate) uplink_loss_permille: Option<u16>,
    pub(crate) downlink_loss_permille: Option<u16>,
    pub(crate) uplink_jitter_ms: Option<u32>,
    pub(crate) rtt_ms: Option<u32>,
    pub(crate) uplink_kbps: u32,
    pub(crate) downlink_kbps: u32,
    pub(crate) downlink_estimate_kbps: Option<u32>,
    pub(crate) video_height: Option<u16>,
}

impl KeptStep {
    pub(crate) fn of(at: Timestamp, participant: ParticipantId, step: &QualityStep) -> Self {
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let Quality { level, reason } = step.quality;
        Self {
            at: Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at),
            participant,
            level,
            reason,
            uplink_loss_permille: step.uplink_loss.map(permille),
            downlink_loss_permille: step.downlink_loss.map(permille),
            uplink_jitter_ms: step.uplink_jitter.map(milliseconds),
            rtt_ms: step.rtt.map(milliseconds),
            uplink_kbps: kbps(step.uplink_bps),
            downlink_kbps: kbps(step.downlink_bps),
            downlink_estimate_kbps: step.downlink_estimate_bps.map(kbps),
            video_height: step.video_height,
        }
    }

    /// What a session that is live anew takes of it.
    pub(crate) const fn earlier(&self) -> EarlierStep {
        let quality = Quality { level: self.level, reason: self.reason };
        EarlierStep { until: self.at, participant: self.participant, quality }
    }

    /// Its place in the list.
    pub(crate) const fn key(&self) -> StepKey {
        StepKey { at: self.at, participant: self.participant }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1,000")]
fn permille(share: f32) -> u16 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as u16
}

/// What steps of a session are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepKey {
    pub(crate) at: Timestamp,
    pub(crate) participant: ParticipantId,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at.as_millisecond(), self.participant)
    }
}

/// What is no place in a list of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time and a participant")]
pub(crate) struct StepKeyError;

impl FromStr for StepKey {
    type Err = StepKeyError;

    fn from_str(text: &str) -> std::result::Result<Self, StepKeyError> {
        let (at, participant) = text.split_once(' ').ok_or(StepKeyError)?;
        let at = at.parse().ok().and_then(|at| Timestamp::from_millisecond(at).ok()).ok_or(StepKeyError)?;
        Ok(Self { at, participant: participant.parse().map_err(|_| StepKeyError)? })
    }
}
