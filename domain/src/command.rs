//! What can be asked of a session, and what it is asked in view of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::consent::ConsentType;
use crate::id::{
    BackendRoom, ConsentVersion, EncounterId, ParticipantId, PatientId, ProviderRef, RecordingRef, SessionId,
    TenantId,
};
use crate::kind::{Communication, ParticipantRole, VideoBackend, as_str};
use crate::policy::SessionPolicy;
use crate::presence::Presence;

/// What a decision is made in view of, beside the state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time it is.
    pub now: Timestamp,
    /// Who asks. That they are who they say is checked before.
    pub actor: &'a Actor,
    /// Who is connected.
    pub presence: &'a Presence,
}

/// Makes a session, once its room was provisioned: there is no session without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its identifier.
    pub id: SessionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whom it is for.
    pub patient_id: PatientId,
    /// Whose desk it waits on.
    pub provider_ref: ProviderRef,
    /// When it is due; absent for a session that starts when people come.
    pub scheduled_start: Option<Timestamp>,
    /// When it should be over; needs a start.
    pub scheduled_end: Option<Timestamp>,
    /// What the conversation is made of.
    pub communication: Communication,
    /// Where the media goes.
    pub backend: VideoBackend,
    /// The room that was provisioned there.
    pub room: BackendRoom,
    /// The tenant's rules of this moment.
    pub policy: SessionPolicy,
    /// Who is invited from the start.
    pub participants: Vec<Invitation>,
}

/// Somebody to invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Who.
    pub participant: ParticipantId,
    /// As what.
    pub role: ParticipantRole,
}

/// What can be asked of a session.
///
/// *Hosts* below are the providers who are in the session, the staff, and the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Invites somebody, or takes back somebody removed. For hosts.
    Invite {
        /// Who.
        participant: ParticipantId,
        /// As what; of somebody known, what they are already.
        role: ParticipantRole,
    },
    /// Files a consent of the patient or its withdrawal. For the patient, or staff who attest to it.
    CaptureConsent {
        /// What to.
        consent_type: ConsentType,
        /// False to withdraw.
        granted: bool,
        /// Which text was shown.
        version: ConsentVersion,
    },
    /// Somebody said hello with a valid join token. For themselves.
    ///
    /// Whoever holds a resume secret does not join again: they were never away.
    Join {
        /// Who.
        participant: ParticipantId,
    },
    /// Lets somebody in who waits. For hosts.
    Admit {
        /// Who.
        participant: ParticipantId,
    },
    /// Does not let somebody in who waits. For hosts.
    Deny {
        /// Who.
        participant: ParticipantId,
        /// What they are told.
        reason: DenyReason,
    },
    /// Has somebody wait again who was let in. For hosts.
    SendBack {
        /// Who.
        participant: ParticipantId,
    },
    /// Takes somebody out, with every token issued to them so far. For hosts.
    Remove {
        /// Who.
        participant: ParticipantId,
    },
    /// Lets somebody who is in go on with another device of theirs, in place of the one they have. For hosts; of a
    /// provider, for themselves and the staff alone.
    ReplaceDevice {
        /// Who.
        participant: ParticipantId,
    },
    /// Does not let another device of somebody who is in take over. For whom may let it.
    RefuseDevice {
        /// Who.
        participant: ParticipantId,
        /// What that device is told.
        reason: DenyReason,
    },
    /// Somebody leaves on purpose. For themselves, or staff for them.
    Leave {
        /// Who.
        participant: ParticipantId,
    },
    /// Switches recording on or off. For hosts.
    SetRecording {
        /// Which.
        enabled: bool,
    },
    /// Ends an active session. For hosts.
    End,
    /// Calls off a session that is not active yet. For hosts.
    Cancel,
    /// Moves a session that is not active yet, or takes its times away. For hosts.
    Reschedule {
        /// The new start.
        start: Option<Timestamp>,
        /// The new end; needs a start.
        end: Option<Timestamp>,
    },
    /// Makes every token issued to somebody so far void, and takes them nowhere: a link was sent to the wrong address.
    /// For hosts.
    RevokeTokens {
        /// Whose.
        participant: ParticipantId,
    },
    /// Somebody goes on as text, in an active session. For themselves and hosts.
    InitiateFallback {
        /// Who.
        participant: ParticipantId,
    },
    /// Nobody goes on as text any more, somebody having come back from it. For themselves and hosts.
    EndFallback {
        /// Who.
        participant: ParticipantId,
    },
    /// Files where a recording of the session was stored. For the system; also when the session is over, since that is
    /// when recordings are stored.
    IngestRecording {
        /// Where.
        recording: RecordingRef,
    },
    /// Files the Encounter that was made of a session that is over. For the system.
    RecordEncounter {
        /// Which.
        encounter: EncounterId,
    },
    /// Time has passed: fires the timer that is due, if one is. For the timer and the system.
    Tick,
}

/// What somebody is told who was not let in: a code, which the client words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenyReason {
    /// Come back later.
    NotNow,
    /// They are in the wrong place.
    WrongVisit,
    /// Unsaid.
    Other,
}

as_str!(DenyReason { NotNow = "not_now", WrongVisit = "wrong_visit", Other = "other" });
