//! The virtual session: its state, and what can be read from it.
//!
//! `decide` has the rules, `apply` the folding, `timers` what time alone brings about, `sides` who is there, and `stored`
//! what a state from outside must fulfil.

mod apply;
mod decide;
mod sides;
mod stored;
mod timers;
mod window;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use stored::InvariantError;
pub use window::JoinWindow;

use crate::command::{DenyReason, Invitation};
use crate::consent::{ConsentRecord, ConsentType, on_file};
use crate::event::Event;
use crate::id::{
    BackendRoom, EncounterId, ParticipantId, PatientId, ProviderRef, RecordingRef, SessionId, TenantId,
};
use crate::kind::{Communication, ParticipantRole, VideoBackend, as_str};
use crate::policy::{PARTICIPANTS_USUAL, SessionPolicy};

/// How many participants who were removed a session keeps on record, at least: beside as many as it may have, so many more.
pub const REMOVED_RECORDS_MAX: usize = 80;
/// How many consents and withdrawals a session keeps.
pub const CONSENT_RECORDS_MAX: usize = 100;
/// How many recordings a session keeps references of.
pub const RECORDINGS_MAX: usize = 100;

/// How many participants a session keeps on record under a policy, removed ones among them. Under a small policy as many as
/// under the usual one: sessions that were stored so stay readable.
fn records_max(policy: &SessionPolicy) -> usize {
    usize::from(policy.max_participants.max(PARTICIPANTS_USUAL)) + REMOVED_RECORDS_MAX
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Nobody came yet.
    Scheduled,
    /// Somebody came.
    Waiting,
    /// The patient was let in.
    Active,
    /// Over, as visits should be.
    Ended,
    /// Over before it began.
    Cancelled,
    /// Broken off.
    Failed,
}

as_str!(SessionStatus {
    Scheduled = "scheduled",
    Waiting = "waiting",
    Active = "active",
    Ended = "ended",
    Cancelled = "cancelled",
    Failed = "failed",
});

impl SessionStatus {
    /// Whether nothing of the visit changes any more. Only what is filed about it afterwards still comes: references of
    /// its recordings, and its Encounter.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Ended | Self::Cancelled | Self::Failed)
    }
}

/// How a session got to its final status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Ended: a host said so.
    ProviderEnded,
    /// Ended: the patient and every provider are out.
    EveryoneLeft,
    /// Ended: the patient stayed and no provider came back.
    ProviderLeft,
    /// Cancelled: a host said so.
    Cancelled,
    /// Cancelled: the patient never came.
    NoShowPatient,
    /// Cancelled: the patient came and no provider did.
    NoShowProvider,
    /// Cancelled: both came, and went before it began.
    Abandoned,
    /// Failed: one side was lost and did not come back.
    ReconnectExpired,
    /// Failed: the video backend was lost and did not come back.
    BackendLost,
}

as_str!(EndReason {
    ProviderEnded = "provider_ended",
    EveryoneLeft = "everyone_left",
    ProviderLeft = "provider_left",
    Cancelled = "cancelled",
    NoShowPatient = "no_show_patient",
    NoShowProvider = "no_show_provider",
    Abandoned = "abandoned",
    ReconnectExpired = "reconnect_expired",
    BackendLost = "backend_lost",
});

impl EndReason {
    /// The status it stands for.
    #[must_use]
    pub const fn status(self) -> SessionStatus {
        match self {
            Self::ProviderEnded | Self::EveryoneLeft | Self::ProviderLeft => SessionStatus::Ended,
            Self::Cancelled | Self::NoShowPatient | Self::NoShowProvider | Self::Abandoned => {
                SessionStatus::Cancelled
            }
            Self::ReconnectExpired | Self::BackendLost => SessionStatus::Failed,
        }
    }
}

/// Where a participant may be. Whether they are reached is presence, and not kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// May come; or came, and was not let in.
    Invited,
    /// Came, and waits: sees no one, seen by no one.
    Waiting,
    /// In.
    Admitted,
    /// Taken out.
    Removed,
}

as_str!(Standing {
    Invited = "invited",
    Waiting = "waiting",
    Admitted = "admitted",
    Removed = "removed",
});

/// Somebody's record in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Who.
    pub id: ParticipantId,
    /// As what.
    pub role: ParticipantRole,
    /// Where they may be.
    pub standing: Standing,
    /// Grows with each removal, and each time their tokens are revoked. A token of an earlier one is void.
    pub epoch: u32,
    /// When they first came.
    pub first_joined_at: Option<Timestamp>,
    /// When they last came.
    pub joined_at: Option<Timestamp>,
    /// When they were last let in.
    pub admitted_at: Option<Timestamp>,
    /// Since when they are out for a reason: left on purpose, denied, or removed. Joining again clears it; a lost
    /// connection does not set it.
    pub left_at: Option<Timestamp>,
    /// What they were told when they were last denied; until they are let in.
    pub denied: Option<DenyReason>,
}

impl Participant {
    /// The record of somebody who was just invited.
    #[must_use]
    pub fn invited(invitation: Invitation) -> Self {
        Self {
            id: invitation.participant,
            role: invitation.role,
            standing: Standing::Invited,
            epoch: 0,
            first_joined_at: None,
            joined_at: None,
            admitted_at: None,
            left_at: None,
            denied: None,
        }
    }

    /// Whether they came and were not taken out, denied, nor left.
    #[must_use]
    pub fn inside(&self) -> bool {
        matches!(self.standing, Standing::Waiting | Standing::Admitted) && self.left_at.is_none()
    }
}

/// The state of a session as plain data, for a store. Only [`VirtualSession::from_stored`] makes a session of it.
///
/// No point in time in it is finer than a millisecond, but for what [`VirtualSession::from_stored`] was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSession {
    /// Its identifier.
    pub id: SessionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whom it is for.
    pub patient_id: PatientId,
    /// Whose desk it waits on.
    pub provider_ref: ProviderRef,
    /// When it is due, if it has a time.
    pub scheduled_start: Option<Timestamp>,
    /// When it should be over, if that is set.
    pub scheduled_end: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What the conversation is made of.
    pub communication: Communication,
    /// Where the media goes.
    pub backend: VideoBackend,
    /// The room that was provisioned there.
    pub room: BackendRoom,
    /// Whether it may be recorded.
    pub recording_enabled: bool,
    /// The tenant's rules of the moment it was made.
    pub policy: SessionPolicy,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// How it got to its final status, once it has one.
    pub end_reason: Option<EndReason>,
    /// When the first provider came.
    pub provider_first_joined_at: Option<Timestamp>,
    /// When it became active.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub ended_at: Option<Timestamp>,
    /// Everybody who ever was invited, in that order.
    pub participants: Vec<Participant>,
    /// Every consent and withdrawal, in order.
    pub consents: Vec<ConsentRecord>,
    /// Since when somebody goes on as text; of a session that is over, whether and since when it did when it ended.
    #[serde(default)]
    pub fallback_since: Option<Timestamp>,
    /// Where its recordings were stored, in the order they were filed.
    #[serde(default)]
    pub recordings: Vec<RecordingRef>,
    /// The Encounter that was made of it, once it was.
    #[serde(default)]
    pub encounter: Option<EncounterId>,
    /// How many commands were committed, its making being the first.
    pub version: u64,
}

/// A virtual session. A value that exists fulfils the invariants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualSession {
    row: StoredSession,
    /// Where in the row each participant is, by identifier: people are looked up all the time, and there may be many.
    by_id: Vec<u32>,
}

/// Getters.
impl VirtualSession {
    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.row.id
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.row.tenant
    }

    /// Whom it is for.
    #[must_use]
    pub fn patient_id(&self) -> &PatientId {
        &self.row.patient_id
    }

    /// Whose desk it waits on.
    #[must_use]
    pub fn provider_ref(&self) -> &ProviderRef {
        &self.row.provider_ref
    }

    /// When it is due, if it has a time.
    #[must_use]
    pub fn scheduled_start(&self) -> Option<Timestamp> {
        self.row.scheduled_start
    }

    /// When it should be over, if that is set.
    #[must_use]
    pub fn scheduled_end(&self) -> Option<Timestamp> {
        self.row.scheduled_end
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.row.created_at
    }

    /// What the conversation is made of.
    #[must_use]
    pub fn communication(&self) -> Communication {
        self.row.communication
    }

    /// Where the media goes.
    #[must_use]
    pub fn backend(&self) -> VideoBackend {
        self.row.backend
    }

    /// The room that was provisioned there.
    #[must_use]
    pub fn room(&self) -> &BackendRoom {
        &self.row.room
    }

    /// Whether it may be recorded.
    #[must_use]
    pub fn recording_enabled(&self) -> bool {
        self.row.recording_enabled
    }

    /// The rules it was made under.
    #[must_use]
    pub fn policy(&self) -> &SessionPolicy {
        &self.row.policy
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        self.row.status
    }

    /// How it got to its final status, once it has one.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.row.end_reason
    }

    /// When the first provider came.
    #[must_use]
    pub fn provider_first_joined_at(&self) -> Option<Timestamp> {
        self.row.provider_first_joined_at
    }

    /// When it became active.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.row.started_at
    }

    /// When it became final.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.row.ended_at
    }

    /// How many commands were committed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.row.version
    }

    /// Everybody who ever was invited, removed or not, in that order.
    #[must_use]
    pub fn participants(&self) -> &[Participant] {
        &self.row.participants
    }

    /// Every consent and withdrawal, in order.
    #[must_use]
    pub fn consents(&self) -> &[ConsentRecord] {
        &self.row.consents
    }

    /// Since when somebody goes on as text.
    #[must_use]
    pub fn fallback_since(&self) -> Option<Timestamp> {
        self.row.fallback_since
    }

    /// Where its recordings were stored, in the order they were filed.
    #[must_use]
    pub fn recordings(&self) -> &[RecordingRef] {
        &self.row.recordings
    }

    /// The Encounter that was made of it, once it was.
    #[must_use]
    pub fn encounter(&self) -> Option<&EncounterId> {
        self.row.encounter.as_ref()
    }

    /// The participant of that identifier, removed or not.
    #[must_use]
    pub fn participant(&self, id: ParticipantId) -> Option<&Participant> {
        self.place_of(id).ok().map(|place| &self.row.participants[self.by_id[place] as usize])
    }

    /// The patient's record, if one is there that was not removed.
    #[must_use]
    pub fn patient(&self) -> Option<&Participant> {
        self.present_records().find(|participant| participant.role == ParticipantRole::Patient)
    }

    /// The providers who were not removed.
    pub fn providers(&self) -> impl Iterator<Item = &Participant> {
        self.present_records().filter(|participant| participant.role == ParticipantRole::Provider)
    }

    /// Whether the last word of the patient on `consent_type` is yes.
    #[must_use]
    pub fn has_consent(&self, consent_type: ConsentType) -> bool {
        on_file(&self.row.consents, consent_type)
    }

    /// The consents without which `participant` may not join: of the patient, telehealth while it is not on file.
    #[must_use]
    pub fn consents_needed(&self, participant: ParticipantId) -> Vec<ConsentType> {
        let patient =
            self.participant(participant).is_some_and(|found| found.role == ParticipantRole::Patient);
        if patient && !self.has_consent(ConsentType::Telehealth) {
            vec![ConsentType::Telehealth]
        } else {
            Vec::new()
        }
    }

    /// The place in `by_id` of that identifier, or the one it would have.
    fn place_of(&self, id: ParticipantId) -> Result<usize, usize> {
        self.by_id.binary_search_by_key(&id, |&index| self.row.participants[index as usize].id)
    }

    /// Records that were not removed.
    fn present_records(&self) -> impl Iterator<Item = &Participant> {
        self.row.participants.iter().filter(|participant| participant.standing != Standing::Removed)
    }
}

/// Changes: the events of one command, in one go.
impl VirtualSession {
    /// Folds the events of one command: the version grows by one, or stays if nothing happened.
    pub fn commit(&mut self, events: &[Event]) {
        for event in events {
            self.apply(event);
        }
        if !events.is_empty() {
            self.row.version += 1;
        }
    }
}

/// Between a store and here.
impl VirtualSession {
    /// The session a store kept.
    ///
    /// # Errors
    /// The first invariant the row breaks: it was not written by this crate, or damaged since.
    pub fn from_stored(row: StoredSession) -> Result<Self, InvariantError> {
        stored::check(&row)?;
        Ok(Self::of(row))
    }

    fn of(row: StoredSession) -> Self {
        let mut by_id: Vec<u32> = (0..).take(row.participants.len()).collect();
        by_id.sort_unstable_by_key(|&index| row.participants[index as usize].id);
        Self { row, by_id }
    }

    /// All of the state, for a store.
    #[must_use]
    pub fn to_stored(&self) -> StoredSession {
        self.row.clone()
    }
}
