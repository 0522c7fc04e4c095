//! What the outside is told: some of what happened, in a form that stays.

use jiff::Timestamp;
use serde::Serialize;

use crate::command::{Invitation, Schedule};
use crate::event::Event;
use crate::id::{ParticipantId, PatientId, ProviderRef, SessionId, TenantId};
use crate::kind::{Communication, ParticipantRole, VideoBackend};
use crate::session::{EndReason, Standing, VirtualSession};

/// The `type` of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

impl PublishedType {
    /// The name, with its version.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionCreated => "virtual_care.session.created.v1",
            Self::SessionStarted => "virtual_care.session.started.v1",
            Self::ParticipantJoined => "virtual_care.session.participant.joined.v1",
            Self::ParticipantAdmitted => "virtual_care.session.participant.admitted.v1",
            Self::ParticipantRemoved => "virtual_care.session.participant.removed.v1",
            Self::SessionEnded => "virtual_care.session.ended.v1",
            Self::SessionCancelled => "virtual_care.session.cancelled.v1",
            Self::SessionFailed => "virtual_care.session.failed.v1",
        }
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

/// The data of a published event: identifiers, codes and times. Serialises in camelCase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedData {
    /// The session.
    pub session_id: SessionId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The session's version once this had happened.
    pub session_version: u64,
    /// What belongs to this type.
    #[serde(flatten)]
    pub detail: PublishedDetail,
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
        Event::Invited { .. }
        | Event::Reinstated { .. }
        | Event::ConsentCaptured { .. }
        | Event::RecordingEnabled
        | Event::RecordingDisabled
        | Event::Rescheduled { .. }
        | Event::Opened
        | Event::Denied { .. }
        | Event::SentBack { .. }
        | Event::Left { .. } => return None,
    };
    let data = PublishedData {
        session_id: session.id(),
        tenant_id: session.tenant(),
        session_version: session.version(),
        detail,
    };
    Some(Published { event_type, data })
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
