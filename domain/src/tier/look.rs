//! What is seen of a line.

use super::{FallbackThresholds, TierReason};

/// A picture that is rehearsed and takes less may have been held back by their device, where that does not say what it has room
/// for.
const PICTURE_KBPS_MIN: u32 = 50;

/// One second of somebody's line. What is not known says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineLook {
    /// What the way to them carries, in kilobits per second of UDP payload.
    pub downlink_kbps: Option<u32>,
    /// What the way from them carries, as their device thinks.
    pub uplink_kbps: Option<u32>,
    /// Of 1000 packets on the way to them so many were lost, before they were sent again.
    pub downlink_loss_permille: u16,
    /// The same on the way from them.
    pub uplink_loss_permille: u16,
    /// There and back.
    pub rtt_ms: Option<u32>,
    /// What came of their picture; none where none is meant to come, as of a camera that is off.
    pub camera_kbps: Option<u32>,
}

/// What became of a burst that was sent to somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineTest {
    /// Of 1000 of its packets so many did not arrive, or too late; none where nobody tells.
    pub lost_permille: Option<u16>,
}

impl LineLook {
    pub(super) fn too_poor_for_video(&self, thresholds: &FallbackThresholds) -> Option<TierReason> {
        let slow =
            || self.rtt_ms.is_some_and(|rtt| rtt > thresholds.rtt_max_ms).then_some(TierReason::RoundTrip);
        self.below(thresholds.video_min_kbps)
            .or_else(|| self.loses(thresholds.video_loss_max_percent))
            .or_else(slow)
    }

    pub(super) fn too_poor_for_audio(&self, thresholds: &FallbackThresholds) -> Option<TierReason> {
        self.below(thresholds.audio_min_kbps).or_else(|| self.loses(thresholds.audio_loss_max_percent))
    }

    /// Nothing stands against bursts of `kbps`, which would make a voice wait on a line that is far from carrying them.
    pub(super) fn is_calm(&self, kbps: u32, thresholds: &FallbackThresholds) -> bool {
        self.loses(thresholds.resume_loss_max_percent).is_none()
            && self.rtt_ms.is_none_or(|rtt| rtt <= thresholds.rtt_max_ms)
            && self.downlink_kbps.is_none_or(|carries| carries >= kbps - kbps / 4)
    }

    /// What is sent for a try gets through: a picture that is meant to come does, and the way it takes carries one. In the dark a
    /// camera sends next to nothing, whatever there is room for.
    pub(super) fn carries_picture(&self, thresholds: &FallbackThresholds) -> bool {
        let comes = |kbps_min: u32| self.camera_kbps.is_none_or(|kbps| kbps >= kbps_min);
        self.uplink_kbps
            .map_or_else(|| comes(PICTURE_KBPS_MIN), |kbps| kbps >= thresholds.video_min_kbps && comes(1))
    }

    fn below(&self, kbps: u32) -> Option<TierReason> {
        let is_below = |carries: Option<u32>| carries.is_some_and(|carries| carries < kbps);
        if is_below(self.downlink_kbps) {
            Some(TierReason::DownlinkRate)
        } else if is_below(self.uplink_kbps) {
            Some(TierReason::UplinkRate)
        } else {
            None
        }
    }

    fn loses(&self, percent: u32) -> Option<TierReason> {
        let loses = |permille: u16| u32::from(permille) > percent * 10;
        if loses(self.downlink_loss_permille) {
            Some(TierReason::DownlinkLoss)
        } else if loses(self.uplink_loss_permille) {
            Some(TierReason::UplinkLoss)
        } else {
            None
        }
    }
}

impl LineTest {
    pub(super) fn is_passed(&self, thresholds: &FallbackThresholds) -> bool {
        self.lost_permille.is_none_or(|lost| u32::from(lost) <= thresholds.resume_loss_max_percent * 10)
    }
}
