//! Folding events into the state. No rule is here: what was decided is done.

use jiff::Timestamp;

use super::{EndReason, Participant, SessionStatus, Standing, StoredSession, VirtualSession};
use crate::command::{Invitation, Schedule};
use crate::event::Event;
use crate::id::ParticipantId;
use crate::kind::ParticipantRole;

impl VirtualSession {
    /// The session that [`Event::Created`] made, at version 0: [`Self::commit`] counts the command that made it.
    /// `None` of any other event.
    ///
    /// With [`Self::commit`] for the events of each later command, an audit trail gives the stored state again.
    #[must_use]
    pub fn from_created(event: &Event) -> Option<Self> {
        let Event::Created { schedule, at } = event else { return None };
        Some(Self::of(created(schedule, *at)))
    }

    /// Folds one event, and leaves the version.
    ///
    /// # Panics
    /// On an event that names somebody the session does not know: it was decided in view of another state.
    pub fn apply(&mut self, event: &Event) {
        match event {
            // What it brings is there since `from_created`; it still counts as part of the first command.
            Event::Created { schedule, .. } => {
                assert_eq!(schedule.id, self.row.id, "another session's event")
            }
            Event::Invited { participant, role } => {
                let invitation = Invitation { participant: *participant, role: *role };
                let (Ok(place) | Err(place)) = self.place_of(*participant);
                self.by_id.insert(place, u32::try_from(self.row.participants.len()).expect("far fewer"));
                self.row.participants.push(Participant::invited(invitation));
            }
            Event::Reinstated { participant } => self.record(*participant).standing = Standing::Invited,
            Event::ConsentCaptured { record } => self.row.consents.push(record.clone()),
            Event::RecordingEnabled => self.row.recording_enabled = true,
            Event::RecordingDisabled => self.row.recording_enabled = false,
            Event::Rescheduled { start, end } => {
                self.row.scheduled_start = *start;
                self.row.scheduled_end = *end;
            }
            Event::Opened => self.row.status = SessionStatus::Waiting,
            Event::Joined { participant, standing, at, .. } => self.joined(*participant, *standing, *at),
            Event::Admitted { participant, at } => {
                let record = self.record(*participant);
                record.standing = Standing::Admitted;
                record.admitted_at = Some(*at);
                record.denied = None;
            }
            Event::Started { at } => {
                self.row.status = SessionStatus::Active;
                self.row.started_at = Some(*at);
            }
            Event::Denied { participant, reason, at } => {
                let record = self.record(*participant);
                record.standing = Standing::Invited;
                record.denied = Some(*reason);
                record.left_at = record.left_at.or(Some(*at));
            }
            Event::SentBack { participant } => self.record(*participant).standing = Standing::Waiting,
            Event::Removed { participant, epoch, at } => {
                let record = self.record(*participant);
                record.standing = Standing::Removed;
                record.epoch = *epoch;
                record.denied = None;
                record.left_at = record.left_at.or(Some(*at));
            }
            Event::DeviceReplaced { participant, at } => self.record(*participant).joined_at = Some(*at),
            // A word for the record: nothing of the session is different.
            Event::DeviceRefused { participant, .. } => {
                assert!(self.participant(*participant).is_some(), "another session's event");
            }
            Event::TokensRevoked { participant, epoch } => self.record(*participant).epoch = *epoch,
            Event::FallbackInitiated { at, .. } => self.row.fallback_since = Some(*at),
            Event::FallbackEnded { .. } => self.row.fallback_since = None,
            Event::RecordingIngested { recording, .. } => self.row.recordings.push(recording.clone()),
            Event::EncounterRecorded { encounter, .. } => self.row.encounter = Some(encounter.clone()),
            Event::Left { participant, at } => self.record(*participant).left_at = Some(*at),
            Event::Ended { reason, at } | Event::Cancelled { reason, at } | Event::Failed { reason, at } => {
                self.finish(*reason, *at);
            }
        }
    }

    fn joined(&mut self, participant: ParticipantId, standing: Standing, at: Timestamp) {
        let record = self.record(participant);
        record.standing = standing;
        record.first_joined_at = record.first_joined_at.or(Some(at));
        record.joined_at = Some(at);
        record.left_at = None;
        if standing == Standing::Admitted {
            record.admitted_at = Some(at);
            record.denied = None;
        }
        if record.role == ParticipantRole::Provider {
            self.row.provider_first_joined_at = self.row.provider_first_joined_at.or(Some(at));
        }
    }

    fn finish(&mut self, reason: EndReason, at: Timestamp) {
        self.row.status = reason.status();
        self.row.end_reason = Some(reason);
        self.row.ended_at = Some(at);
    }

    fn record(&mut self, id: ParticipantId) -> &mut Participant {
        let place = self.place_of(id).expect("events name participants of the state they were decided on");
        &mut self.row.participants[self.by_id[place] as usize]
    }
}

fn created(schedule: &Schedule, at: Timestamp) -> StoredSession {
    StoredSession {
        id: schedule.id,
        tenant: schedule.tenant,
        patient_id: schedule.patient_id.clone(),
        provider_ref: schedule.provider_ref.clone(),
        scheduled_start: schedule.scheduled_start,
        scheduled_end: schedule.scheduled_end,
        created_at: at,
        communication: schedule.communication,
        backend: schedule.backend,
        room: schedule.room.clone(),
        recording_enabled: false,
        policy: schedule.policy.clone(),
        status: SessionStatus::Scheduled,
        end_reason: None,
        provider_first_joined_at: None,
        started_at: None,
        ended_at: None,
        participants: schedule.participants.iter().copied().map(Participant::invited).collect(),
        consents: Vec::new(),
        fallback_since: None,
        recordings: Vec::new(),
        encounter: None,
        version: 0,
    }
}
