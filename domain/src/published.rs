//! What the outside is told: some of what happened, in a form that stays.
//!
//! Identifiers, codes and times only. Not even a digest of what somebody wrote: of a short text it gives away the text.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::command::{Invitation, Schedule};
use crate::config::{ConfigEvent, ConfigField, TenantConfig};
use crate::event::Event;
use crate::id::{
    AsyncVisitId, EncounterId, ParticipantId, PatientId, ProviderRef, RecordingRef, SessionId, TenantId,
};
use crate::kind::{BandwidthProfile, Communication, ParticipantRole, UnknownWord, VideoBackend, as_str};
use crate::session::{EndReason, SessionStatus, Standing, VirtualSession};
use crate::visit::{AsyncVisit, Revision, VisitEvent};

/// The `type` of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum PublishedType {
    /// A session was made.
    SessionCreated,
    /// It became active.
    SessionStarted,
    /// Somebody came.
    ParticipantJoined,
    /// Somebody was let in.
    ParticipantAdmitted,
    /// Somebody was taken out.
    ParticipantRemoved,
    /// It ended.
    SessionEnded,
    /// It was cancelled.
    SessionCancelled,
    /// It failed.
    SessionFailed,
    /// It goes on as text.
    FallbackInitiated,
    /// The tenant's configuration changed.
    ConfigUpdated,
    /// A recording was stored.
    RecordingIngested,
    /// A session that ended has its Encounter.
    SessionChargeable,
    /// An asynchronous visit was submitted, or amended.
    AsyncVisitSubmitted,
}

as_str!(PublishedType {
    SessionCreated = "virtual_care.session.created.v1",
    SessionStarted = "virtual_care.session.started.v1",
    ParticipantJoined = "virtual_care.session.participant.joined.v1",
    ParticipantAdmitted = "virtual_care.session.participant.admitted.v1",
    ParticipantRemoved = "virtual_care.session.participant.removed.v1",
    SessionEnded = "virtual_care.session.ended.v1",
    SessionCancelled = "virtual_care.session.cancelled.v1",
    SessionFailed = "virtual_care.session.failed.v1",
    FallbackInitiated = "virtual_care.session.fallback.initiated.v1",
    ConfigUpdated = "virtual_care.config.updated.v1",
    RecordingIngested = "virtual_care.recording.ingested.v1",
    SessionChargeable = "virtual_care.billing.session_chargeable.v1",
    AsyncVisitSubmitted = "virtual_care.async_visit.submitted.v1",
});

impl TryFrom<String> for PublishedType {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        text.parse()
    }
}

impl From<PublishedType> for &'static str {
    fn from(event_type: PublishedType) -> Self {
        event_type.as_str()
    }
}

/// An event for the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its type.
    pub event_type: PublishedType,
    /// Its data.
    pub data: PublishedData,
}

impl Published {
    /// The identifier of what it is about, as text: a session's, a visit's, or of a configuration the tenant's.
    #[must_use]
    pub fn subject(&self) -> String {
        match self.data.aggregate {
            PublishedAggregate::Session { session_id, .. } => session_id.to_string(),
            PublishedAggregate::Config { .. } => self.data.tenant_id.to_string(),
            PublishedAggregate::Visit { visit_id, .. } => visit_id.to_string(),
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.data.tenant_id
    }
}

/// The data of a published event: identifiers, codes and times. Serialises in camelCase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedData {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What it is about.
    #[serde(flatten)]
    pub aggregate: PublishedAggregate,
    /// What belongs to this type.
    #[serde(flatten)]
    pub detail: PublishedDetail,
}

/// What a published event is about, with its version once this had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum PublishedAggregate {
    /// A virtual session.
    Session {
        /// Which.
        session_id: SessionId,
        /// Its version.
        session_version: u64,
    },
    /// The tenant's configuration: there is one, so it has no identifier of its own.
    Config {
        /// Its version.
        config_version: u64,
    },
    /// An asynchronous visit.
    Visit {
        /// Which.
        visit_id: AsyncVisitId,
        /// Its version.
        visit_version: u64,
    },
}

/// What belongs to one type of published event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum PublishedDetail {
    /// Of a session that was made.
    Created {
        /// Whom it is for.
        patient_id: PatientId,
        /// Whose desk it waits on.
        provider_ref: ProviderRef,
        /// When it is due.
        #[serde(skip_serializing_if = "Option::is_none")]
        scheduled_start: Option<Timestamp>,
        /// When it should be over.
        #[serde(skip_serializing_if = "Option::is_none")]
        scheduled_end: Option<Timestamp>,
        /// What the conversation is made of.
        communication: Communication,
        /// Where the media goes.
        video_backend: VideoBackend,
        /// Who is invited.
        participants: Vec<PublishedParticipant>,
    },
    /// Of somebody who came.
    Joined {
        /// Who, and as what.
        #[serde(flatten)]
        participant: PublishedParticipant,
        /// Where they are by that.
        standing: Standing,
        /// They had come before, and did not resume.
        new_device: bool,
    },
    /// Of somebody let in or taken out.
    Participant {
        /// Who, and as what.
        #[serde(flatten)]
        participant: PublishedParticipant,
    },
    /// Of a session that is over.
    Over {
        /// How.
        reason: EndReason,
        /// When it had become active.
        #[serde(skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// When it was over.
        ended_at: Timestamp,
    },
    /// Of a session that began.
    Started {
        /// When.
        started_at: Timestamp,
    },
    /// Of a session that goes on as text.
    Fallback {
        /// The first who does, and as what they are there.
        #[serde(flatten)]
        participant: PublishedParticipant,
        /// What is left of the line.
        profile: BandwidthProfile,
    },
    /// Of a recording that was stored.
    Recording {
        /// Where.
        recording_id: RecordingRef,
    },
    /// Of an ended session that has its Encounter.
    Chargeable {
        /// Which.
        encounter_id: EncounterId,
        /// When it had become active.
        started_at: Timestamp,
        /// When it was over.
        ended_at: Timestamp,
        /// The whole seconds between the two.
        duration_seconds: u64,
    },
    /// Of a configuration that changed.
    Config {
        /// The names of what changed; of a secret nothing but its name.
        changed_fields: Vec<ConfigField>,
    },
    /// Of an asynchronous visit that was submitted or amended.
    Submitted {
        /// Whom it is for.
        patient_id: PatientId,
        /// Whose desk it waits on.
        provider_ref: ProviderRef,
        /// The session it continues.
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<SessionId>,
        /// Which revision this is, from 1.
        revision: u32,
        /// The one it stands in for.
        #[serde(skip_serializing_if = "Option::is_none")]
        supersedes: Option<u32>,
        /// When.
        submitted_at: Timestamp,
    },
}

/// A participant as the outside knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedParticipant {
    /// Who.
    pub participant_id: ParticipantId,
    /// As what.
    pub role: ParticipantRole,
}

/// What the outside is told of `event`, if anything. `session` is the state after the command it belongs to.
#[must_use]
pub fn published(session: &VirtualSession, event: &Event) -> Option<Published> {
    let (event_type, detail) = match event {
        Event::Created { schedule, .. } => (PublishedType::SessionCreated, created(schedule)),
        Event::Started { at } => {
            (PublishedType::SessionStarted, PublishedDetail::Started { started_at: *at })
        }
        Event::Joined { participant, standing, new_device, .. } => {
            let participant = known(session, *participant)?;
            let detail =
                PublishedDetail::Joined { participant, standing: *standing, new_device: *new_device };
            (PublishedType::ParticipantJoined, detail)
        }
        Event::Admitted { participant, .. } => {
            let participant = known(session, *participant)?;
            (PublishedType::ParticipantAdmitted, PublishedDetail::Participant { participant })
        }
        Event::Removed { participant, .. } => {
            let participant = known(session, *participant)?;
            (PublishedType::ParticipantRemoved, PublishedDetail::Participant { participant })
        }
        Event::Ended { reason, at } => (PublishedType::SessionEnded, over(session, *reason, *at)),
        Event::Cancelled { reason, at } => (PublishedType::SessionCancelled, over(session, *reason, *at)),
        Event::Failed { reason, at } => (PublishedType::SessionFailed, over(session, *reason, *at)),
        Event::FallbackInitiated { participant, .. } => {
            let participant = known(session, *participant)?;
            let detail = PublishedDetail::Fallback { participant, profile: BandwidthProfile::AsyncText };
            (PublishedType::FallbackInitiated, detail)
        }
        Event::RecordingIngested { recording, .. } => {
            let detail = PublishedDetail::Recording { recording_id: recording.clone() };
            (PublishedType::RecordingIngested, detail)
        }
        Event::EncounterRecorded { encounter, .. } => {
            (PublishedType::SessionChargeable, chargeable(session, encounter)?)
        }
        Event::Invited { .. }
        | Event::Reinstated { .. }
        | Event::ConsentCaptured { .. }
        | Event::RecordingEnabled
        | Event::RecordingDisabled
        | Event::Rescheduled { .. }
        | Event::Opened
        | Event::Denied { .. }
        | Event::SentBack { .. }
        | Event::DeviceReplaced { .. }
        | Event::DeviceRefused { .. }
        | Event::TokensRevoked { .. }
        | Event::FallbackEnded { .. }
        | Event::Left { .. } => return None,
    };
    let aggregate =
        PublishedAggregate::Session { session_id: session.id(), session_version: session.version() };
    Some(Published { event_type, data: PublishedData { tenant_id: session.tenant(), aggregate, detail } })
}

/// What the outside is told of `event`, if anything. `config` is the state after the command it belongs to.
#[must_use]
pub fn published_config(config: &TenantConfig, event: &ConfigEvent) -> Option<Published> {
    match event {
        ConfigEvent::Created { .. } => None,
        ConfigEvent::Updated { changed, .. } => {
            let aggregate = PublishedAggregate::Config { config_version: config.version() };
            let detail = PublishedDetail::Config { changed_fields: changed.clone() };
            let data = PublishedData { tenant_id: config.tenant(), aggregate, detail };
            Some(Published { event_type: PublishedType::ConfigUpdated, data })
        }
    }
}

/// What the outside is told of `event`, if anything. `visit` is the state after the command it belongs to.
#[must_use]
pub fn published_visit(visit: &AsyncVisit, event: &VisitEvent) -> Option<Published> {
    let revision = match event {
        VisitEvent::Submitted { revision } | VisitEvent::Amended { revision } => revision,
        VisitEvent::Created { .. }
        | VisitEvent::DraftSaved { .. }
        | VisitEvent::ReviewStarted { .. }
        | VisitEvent::Responded { .. }
        | VisitEvent::Closed { .. }
        | VisitEvent::EncounterRecorded { .. } => return None,
    };
    let aggregate = PublishedAggregate::Visit { visit_id: visit.id(), visit_version: visit.version() };
    let data = PublishedData { tenant_id: visit.tenant(), aggregate, detail: submitted(visit, revision) };
    Some(Published { event_type: PublishedType::AsyncVisitSubmitted, data })
}

fn created(schedule: &Schedule) -> PublishedDetail {
    let participants = schedule.participants.iter();
    PublishedDetail::Created {
        patient_id: schedule.patient_id.clone(),
        provider_ref: schedule.provider_ref.clone(),
        scheduled_start: schedule.scheduled_start,
        scheduled_end: schedule.scheduled_end,
        communication: schedule.communication,
        video_backend: schedule.backend,
        participants: participants
            .map(|Invitation { participant, role }| PublishedParticipant {
                participant_id: *participant,
                role: *role,
            })
            .collect(),
    }
}

fn known(session: &VirtualSession, id: ParticipantId) -> Option<PublishedParticipant> {
    session.participant(id).map(|found| PublishedParticipant { participant_id: id, role: found.role })
}

fn over(session: &VirtualSession, reason: EndReason, ended_at: Timestamp) -> PublishedDetail {
    PublishedDetail::Over { reason, started_at: session.started_at(), ended_at }
}

/// An Encounter of a cancelled or failed session is on file, and nobody is charged for it by that.
fn chargeable(session: &VirtualSession, encounter: &EncounterId) -> Option<PublishedDetail> {
    if session.status() != SessionStatus::Ended {
        return None;
    }
    let (started_at, ended_at) = (session.started_at()?, session.ended_at()?);
    let duration: SignedDuration = ended_at.duration_since(started_at);
    Some(PublishedDetail::Chargeable {
        encounter_id: encounter.clone(),
        started_at,
        ended_at,
        // A clock set back during the visit makes it negative: then nothing is charged rather than a huge number.
        duration_seconds: u64::try_from(duration.as_secs()).unwrap_or(0),
    })
}

fn submitted(visit: &AsyncVisit, revision: &Revision) -> PublishedDetail {
    PublishedDetail::Submitted {
        patient_id: visit.patient_id().clone(),
        provider_ref: visit.provider_ref().clone(),
        session_id: visit.session(),
        revision: revision.number,
        supersedes: revision.supersedes,
        submitted_at: revision.submitted_at,
    }
}
