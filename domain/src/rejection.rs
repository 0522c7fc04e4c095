//! Why a command was not carried out. The state is as it was.

use crate::consent::ConsentType;
use crate::id::ParticipantId;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The session is final.
    #[error("the session is over")]
    SessionOver,
    /// Who asks may not.
    #[error("this is not theirs to ask")]
    NotPermitted,
    /// Nobody of that identifier is in the session.
    #[error("no participant {0}")]
    NoSuchParticipant(ParticipantId),
    /// They were removed, and have to be invited again first.
    #[error("the participant was removed")]
    Removed,
    /// Consents of the patient are not on file.
    #[error("a consent is missing")]
    ConsentMissing {
        /// Which.
        missing: Vec<ConsentType>,
    },
    /// People are let in only while a provider is connected.
    #[error("no provider is connected")]
    ProviderAbsent,
    /// As many are in the session as may be.
    #[error("the session has its {max} participants")]
    SessionFull {
        /// How many.
        max: u16,
    },
    /// There is a patient already.
    #[error("the session has a patient already")]
    PatientExists,
    /// The identifier is somebody else's: invited twice at once, or in another role.
    #[error("the participant exists in another role, or is named twice")]
    ParticipantExists,
    /// They are in, on a device that may be somebody else's: another one is let in by [`Command::ReplaceDevice`].
    ///
    /// [`Command::ReplaceDevice`]: crate::Command::ReplaceDevice
    #[error("the participant is in already, on another device")]
    AlreadyIn,
    /// They do not wait.
    #[error("the participant does not wait")]
    NotWaiting,
    /// They do not wait any more: their line is gone.
    #[error("the participant is not connected")]
    NotConnected,
    /// They were not let in.
    #[error("the participant is not admitted")]
    NotAdmitted,
    /// They never came.
    #[error("the participant has not joined")]
    NotJoined,
    /// The session did not begin.
    #[error("the session is not active")]
    NotActive,
    /// The session has begun.
    #[error("the session is active")]
    SessionActive,
    /// The session is not over yet.
    #[error("the session is not over")]
    SessionNotOver,
    /// Another Encounter is on file.
    #[error("another encounter is on file")]
    EncounterExists,
    /// The times make no sense.
    #[error("invalid schedule: {0}")]
    InvalidSchedule(#[from] ScheduleFault),
    /// The tenant does not record.
    #[error("recording is not allowed")]
    RecordingNotAllowed,
    /// So late that no token for it could be used.
    #[error("the join window is closed")]
    JoinWindowClosed,
    /// A list of the session is as long as it may get.
    #[error("the session holds {max} {what}, and no more fit")]
    LimitReached {
        /// What there are too many of.
        what: &'static str,
        /// How many fit.
        max: usize,
    },
}

impl Rejection {
    /// The stable code, which becomes the problem's `type` in the API.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SessionOver => "session_over",
            Self::NotPermitted => "not_permitted",
            Self::NoSuchParticipant(_) => "no_such_participant",
            Self::Removed => "removed",
            Self::ConsentMissing { .. } => "consent_missing",
            Self::ProviderAbsent => "provider_absent",
            Self::SessionFull { .. } => "session_full",
            Self::PatientExists => "patient_exists",
            Self::ParticipantExists => "participant_exists",
            Self::AlreadyIn => "already_in",
            Self::NotWaiting => "not_waiting",
            Self::NotConnected => "not_connected",
            Self::NotAdmitted => "not_admitted",
            Self::NotJoined => "not_joined",
            Self::NotActive => "not_active",
            Self::SessionActive => "session_active",
            Self::SessionNotOver => "session_not_over",
            Self::EncounterExists => "encounter_exists",
            Self::InvalidSchedule(_) => "invalid_schedule",
            Self::RecordingNotAllowed => "recording_not_allowed",
            Self::JoinWindowClosed => "join_window_closed",
            Self::LimitReached { .. } => "limit_reached",
        }
    }
}

/// What is wrong with the times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleFault {
    /// An end and no start.
    #[error("an end needs a start")]
    EndWithoutStart,
    /// It ends when it starts, or before.
    #[error("the end is not after the start")]
    EndNotAfterStart,
    /// Longer than a day.
    #[error("longer than 24 hours")]
    TooLong,
    /// The start is so long ago that nobody could come any more.
    #[error("the start has passed, and so has the time to come")]
    StartPassed,
    /// The start is more than two years away.
    #[error("the start is more than two years away")]
    TooFarAhead,
}
