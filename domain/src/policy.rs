//! The tenant's rules a session is created under. A session keeps its own copy for good.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::kind::ParticipantRole;
use crate::tier::FallbackThresholds;

/// The most participants of a session under a tenant that never chose; and of any tenant's, unless the operator allows more.
pub const PARTICIPANTS_USUAL: u16 = 20;
/// The most that any operator may allow a tenant.
pub const PARTICIPANTS_MAX: u16 = 1_000;
/// The fewest: a visit has two sides.
pub const PARTICIPANTS_LEAST: u16 = 2;

/// A field out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, and must be {min} to {max}")]
pub struct PolicyError {
    /// The field, by its name in [`PolicyValues`].
    pub field: &'static str,
    /// What it was.
    pub value: u32,
    /// The least allowed.
    pub min: u32,
    /// The most allowed.
    pub max: u32,
}

/// The values of a policy, checked or not. `Default` is what a tenant has that never chose.
///
/// A value absent from stored JSON is its default, so that a policy written before a field existed still loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyValues {
    /// The most participants that are not removed at one time. 2 to [`PARTICIPANTS_MAX`]; what is chosen is held against the
    /// operator's limit as well.
    pub max_participants: u16,
    /// How long before its start a session may be entered; and how long a token for an unscheduled one lives. 1 to 1440.
    pub session_grace_minutes_before: u16,
    /// How long after its end a session may be entered. 0 to 1440.
    pub session_grace_minutes_after: u16,
    /// How long after the start the patient and a provider may be missing. 1 to 240.
    pub no_show_minutes: u16,
    /// How long a session stays open with nobody there who matters. 1 to 240.
    pub abandon_minutes: u16,
    /// How long somebody lost may take to come back before the session fails. 5 to 600, and longer than `audio_hold_ms` of the
    /// fallback: after that they have gone on in writing.
    pub grace_reconnect_seconds: u16,
    /// How long somebody who went on as text, or composes offline, may be without contact before the session fails: they
    /// are reachable later by design. 1 to 240.
    pub text_grace_minutes: u16,
    /// Whether a provider who joins lets the waiting patient in by that.
    pub auto_admit_on_provider_join: bool,
    /// Whether interpreters come in with the provider, or wait like the patient.
    pub admit_interpreters_with_provider: bool,
    /// The same of observers.
    pub admit_observers_with_provider: bool,
    /// Whether anything may be recorded at all.
    pub recording_allowed: bool,
    /// When a line is reduced from video to audio to text, and back.
    pub fallback: FallbackThresholds,
}

impl Default for PolicyValues {
    fn default() -> Self {
        Self {
            max_participants: PARTICIPANTS_USUAL,
            session_grace_minutes_before: 15,
            session_grace_minutes_after: 30,
            no_show_minutes: 15,
            abandon_minutes: 30,
            grace_reconnect_seconds: 60,
            text_grace_minutes: 30,
            auto_admit_on_provider_join: false,
            admit_interpreters_with_provider: false,
            admit_observers_with_provider: false,
            recording_allowed: false,
            fallback: FallbackThresholds::default(),
        }
    }
}

impl PolicyValues {
    /// Whether those of a role come in with the provider, without being let in one by one. The patient's way in is their own.
    #[must_use]
    pub const fn comes_with_provider(&self, role: ParticipantRole) -> bool {
        match role {
            ParticipantRole::Interpreter => self.admit_interpreters_with_provider,
            ParticipantRole::Observer => self.admit_observers_with_provider,
            ParticipantRole::Patient | ParticipantRole::Provider => false,
        }
    }
}

/// A policy within its bounds. Read the values through it: `policy.no_show_minutes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PolicyValues", into = "PolicyValues")]
pub struct SessionPolicy(PolicyValues);

impl SessionPolicy {
    /// Checks `values`.
    ///
    /// # Errors
    /// The first field out of its bounds.
    pub fn new(values: PolicyValues) -> Result<Self, PolicyError> {
        let in_writing_after = u16::try_from(values.fallback.audio_hold_ms / 1_000).unwrap_or(u16::MAX);
        let bounds: [(&'static str, u16, u16, u16); 7] = [
            ("max_participants", values.max_participants, PARTICIPANTS_LEAST, PARTICIPANTS_MAX),
            ("session_grace_minutes_before", values.session_grace_minutes_before, 1, 1440),
            ("session_grace_minutes_after", values.session_grace_minutes_after, 0, 1440),
            ("no_show_minutes", values.no_show_minutes, 1, 240),
            ("abandon_minutes", values.abandon_minutes, 1, 240),
            ("grace_reconnect_seconds", values.grace_reconnect_seconds, 5.max(in_writing_after + 1), 600),
            ("text_grace_minutes", values.text_grace_minutes, 1, 240),
        ];
        for (field, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(PolicyError { field, value: value.into(), min: min.into(), max: max.into() });
            }
        }
        Ok(Self(values))
    }

    /// The same with no more participants than an operator allows, who may have lowered the limit since it was chosen.
    #[must_use]
    pub fn within(mut self, participants_limit: u16) -> Self {
        self.0.max_participants = self.0.max_participants.min(participants_limit).max(PARTICIPANTS_LEAST);
        self
    }

    /// The values, to change some and check again.
    #[must_use]
    pub fn into_values(self) -> PolicyValues {
        self.0
    }
}

impl Deref for SessionPolicy {
    type Target = PolicyValues;

    fn deref(&self) -> &PolicyValues {
        &self.0
    }
}

impl TryFrom<PolicyValues> for SessionPolicy {
    type Error = PolicyError;

    fn try_from(values: PolicyValues) -> Result<Self, PolicyError> {
        Self::new(values)
    }
}

impl From<SessionPolicy> for PolicyValues {
    fn from(policy: SessionPolicy) -> Self {
        policy.0
    }
}
