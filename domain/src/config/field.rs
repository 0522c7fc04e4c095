//! The names of what can be configured, as the API spells them.

use serde::{Deserialize, Serialize};

use crate::kind::as_str;

/// One field of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the field of its name, and has its meaning there")]
pub enum ConfigField {
    VideoBackend,
    JitsiServerUrl,
    JitsiJwtSecret,
    MaxParticipants,
    SessionGraceMinutesBefore,
    SessionGraceMinutesAfter,
    NoShowMinutes,
    AbandonMinutes,
    GraceReconnectSeconds,
    TextGraceMinutes,
    AutoAdmitOnProviderJoin,
    AdmitInterpretersWithProvider,
    AdmitObserversWithProvider,
    RecordingAllowed,
    BrandingLogoUrl,
    BrandingPrimaryColor,
    FallbackThresholds,
    Webhooks,
    Retention,
}

as_str!(ConfigField {
    VideoBackend = "videoBackend",
    JitsiServerUrl = "jitsiServerUrl",
    JitsiJwtSecret = "jitsiJwtSecret",
    MaxParticipants = "maxParticipants",
    SessionGraceMinutesBefore = "sessionGraceMinutesBefore",
    SessionGraceMinutesAfter = "sessionGraceMinutesAfter",
    NoShowMinutes = "noShowMinutes",
    AbandonMinutes = "abandonMinutes",
    GraceReconnectSeconds = "graceReconnectSeconds",
    TextGraceMinutes = "textGraceMinutes",
    AutoAdmitOnProviderJoin = "autoAdmitOnProviderJoin",
    AdmitInterpretersWithProvider = "admitInterpretersWithProvider",
    AdmitObserversWithProvider = "admitObserversWithProvider",
    RecordingAllowed = "recordingAllowed",
    BrandingLogoUrl = "brandingLogoUrl",
    BrandingPrimaryColor = "brandingPrimaryColor",
    FallbackThresholds = "fallbackThresholds",
    Webhooks = "webhooks",
    Retention = "retention",
});

impl ConfigField {
    /// The field a policy calls `name`, as in [`PolicyError`](crate::PolicyError).
    #[must_use]
    pub fn of_policy(name: &str) -> Option<Self> {
        Some(match name {
            "max_participants" => Self::MaxParticipants,
            "session_grace_minutes_before" => Self::SessionGraceMinutesBefore,
            "session_grace_minutes_after" => Self::SessionGraceMinutesAfter,
            "no_show_minutes" => Self::NoShowMinutes,
            "abandon_minutes" => Self::AbandonMinutes,
            "grace_reconnect_seconds" => Self::GraceReconnectSeconds,
            "text_grace_minutes" => Self::TextGraceMinutes,
            "auto_admit_on_provider_join" => Self::AutoAdmitOnProviderJoin,
            "admit_interpreters_with_provider" => Self::AdmitInterpretersWithProvider,
            "admit_observers_with_provider" => Self::AdmitObserversWithProvider,
            "recording_allowed" => Self::RecordingAllowed,
            "fallback" => Self::FallbackThresholds,
            _ => return None,
        })
    }
}
