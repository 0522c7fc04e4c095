//! What happened. Folding a session's events gives its state; they are also its audit trail.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::{DenyReason, Schedule};
use crate::consent::ConsentRecord;
use crate::id::{EncounterId, ParticipantId, RecordingRef};
use crate::kind::ParticipantRole;
use crate::session::{EndReason, Standing};

/// One thing that happened to a session. Identifiers, codes and times only: no name, no text of a person, no token.
///
/// Stored for good as JSON with its `type`: a variant or a field is added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// It exists, with those invited from the start.
    Created {
        /// All that was given. Boxed: it is many times the size of the others.
        schedule: Box<Schedule>,
        /// When.
        at: Timestamp,
    },
    /// Somebody new is invited.
    Invited {
        /// Who.
        participant: ParticipantId,
        /// As what.
        role: ParticipantRole,
    },
    /// Somebody removed is invited again.
    Reinstated {
        /// Who.
        participant: ParticipantId,
    },
    /// A consent, or its withdrawal, is on file.
    ConsentCaptured {
        /// As it was given.
        record: ConsentRecord,
    },
    /// The session may be recorded from now.
    RecordingEnabled,
    /// Not any more.
    RecordingDisabled,
    /// Its times changed.
    Rescheduled {
        /// The new start.
        start: Option<Timestamp>,
        /// The new end.
        end: Option<Timestamp>,
    },
    /// The first participant is there: scheduled became waiting.
    Opened,
    /// Somebody came through the door.
    Joined {
        /// Who.
        participant: ParticipantId,
        /// Where they are by that: waiting, or in.
        standing: Standing,
        /// They had come through it before, and did not resume: perhaps the same link on another device.
        new_device: bool,
        /// When.
        at: Timestamp,
    },
    /// Somebody who waited was let in.
    Admitted {
        /// Who.
        participant: ParticipantId,
        /// When.
        at: Timestamp,
    },
    /// The patient is in with a provider for the first time: waiting became active.
    Started {
        /// When.
        at: Timestamp,
    },
    /// Somebody who waited was not let in.
    Denied {
        /// Who.
        participant: ParticipantId,
        /// What they are told.
        reason: DenyReason,
        /// When.
        at: Timestamp,
    },
    /// Somebody who was in waits again.
    SentBack {
        /// Who.
        participant: ParticipantId,
    },
    /// Somebody was taken out.
    Removed {
        /// Who.
        participant: ParticipantId,
        /// The epoch their next token needs: tokens of earlier ones are void.
        epoch: u32,
        /// When.
        at: Timestamp,
    },
    /// Somebody who is in goes on with another device, and not with the one they had.
    DeviceReplaced {
        /// Who.
        participant: ParticipantId,
        /// When.
        at: Timestamp,
    },
    /// Another device of somebody who is in was not let in.
    DeviceRefused {
        /// Who.
        participant: ParticipantId,
        /// What it is told.
        reason: DenyReason,
        /// When.
        at: Timestamp,
    },
    /// Every token issued to somebody so far is void; they are where they were.
    TokensRevoked {
        /// Whose.
        participant: ParticipantId,
        /// The epoch their next token needs.
        epoch: u32,
    },
    /// The first participant goes on as text.
    FallbackInitiated {
        /// Who.
        participant: ParticipantId,
        /// When.
        at: Timestamp,
    },
    /// Nobody goes on as text any more.
    FallbackEnded {
        /// Who came back.
        participant: ParticipantId,
        /// When.
        at: Timestamp,
    },
    /// A recording was stored.
    RecordingIngested {
        /// Where.
        recording: RecordingRef,
        /// When it was filed here.
        at: Timestamp,
    },
    /// The Encounter was made.
    EncounterRecorded {
        /// Which.
        encounter: EncounterId,
        /// When it was filed here.
        at: Timestamp,
    },
    /// Somebody left on purpose.
    Left {
        /// Who.
        participant: ParticipantId,
        /// When.
        at: Timestamp,
    },
    /// It is over, as visits should be.
    Ended {
        /// How.
        reason: EndReason,
        /// When.
        at: Timestamp,
    },
    /// It is over before it began.
    Cancelled {
        /// Why.
        reason: EndReason,
        /// When.
        at: Timestamp,
    },
    /// It broke off.
    Failed {
        /// Why.
        reason: EndReason,
        /// When.
        at: Timestamp,
    },
}

impl Event {
    /// Whose record it changes, if it is somebody's.
    #[must_use]
    pub const fn participant(&self) -> Option<ParticipantId> {
        match self {
            Self::Invited { participant, .. }
            | Self::Reinstated { participant }
            | Self::Joined { participant, .. }
            | Self::Admitted { participant, .. }
            | Self::Denied { participant, .. }
            | Self::SentBack { participant }
            | Self::Removed { participant, .. }
            | Self::DeviceReplaced { participant, .. }
            | Self::DeviceRefused { participant, .. }
            | Self::TokensRevoked { participant, .. }
            | Self::Left { participant, .. } => Some(*participant),
            Self::Created { .. }
            | Self::ConsentCaptured { .. }
            | Self::RecordingEnabled
            | Self::RecordingDisabled
            | Self::Rescheduled { .. }
            | Self::Opened
            | Self::Started { .. }
            | Self::FallbackInitiated { .. }
            | Self::FallbackEnded { .. }
            | Self::RecordingIngested { .. }
            | Self::EncounterRecorded { .. }
            | Self::Ended { .. }
            | Self::Cancelled { .. }
            | Self::Failed { .. } => None,
        }
    }

    /// The `type` of its JSON.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Invited { .. } => "invited",
            Self::Reinstated { .. } => "reinstated",
            Self::ConsentCaptured { .. } => "consent_captured",
            Self::RecordingEnabled => "recording_enabled",
            Self::RecordingDisabled => "recording_disabled",
            Self::Rescheduled { .. } => "rescheduled",
            Self::Opened => "opened",
            Self::Joined { .. } => "joined",
            Self::Admitted { .. } => "admitted",
            Self::Started { .. } => "started",
            Self::Denied { .. } => "denied",
            Self::SentBack { .. } => "sent_back",
            Self::Removed { .. } => "removed",
            Self::DeviceReplaced { .. } => "device_replaced",
            Self::DeviceRefused { .. } => "device_refused",
            Self::TokensRevoked { .. } => "tokens_revoked",
            Self::FallbackInitiated { .. } => "fallback_initiated",
            Self::FallbackEnded { .. } => "fallback_ended",
            Self::RecordingIngested { .. } => "recording_ingested",
            Self::EncounterRecorded { .. } => "encounter_recorded",
            Self::Left { .. } => "left",
            Self::Ended { .. } => "ended",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }
}
