//! The rules: which events a command leads to, or why none.

use jiff::{SignedDuration, Timestamp};

use super::sides::Side;
use super::timers::final_event;
use super::{
    CONSENT_RECORDS_MAX, EndReason, Participant, RECORDINGS_MAX, SessionStatus, Standing, VirtualSession,
    records_max,
};
use crate::actor::Actor;
use crate::command::{Command, Context, DenyReason, Schedule};
use crate::consent::{ConsentRecord, ConsentType, latest};
use crate::event::Event;
use crate::id::{ConsentVersion, EncounterId, ParticipantId, RecordingRef};
use crate::kind::ParticipantRole;
use crate::policy::SessionPolicy;
use crate::rejection::{Rejection, ScheduleFault};
use crate::time::{after, minutes, whole_millisecond};

/// The longest a visit may be scheduled for.
const LENGTH_MAX: SignedDuration = SignedDuration::from_hours(24);
/// How far ahead one may be: two years, and the leap day.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(731 * 24);

type Decision = Result<Vec<Event>, Rejection>;

impl VirtualSession {
    /// Makes a session, at version 1. For staff and the system.
    ///
    /// # Errors
    /// Times that make no sense, two patients, more participants than the policy allows, one named twice.
    pub fn create(command: Schedule, ctx: &Context<'_>) -> Result<(Self, Vec<Event>), Rejection> {
        if !matches!(ctx.actor, Actor::Staff(_) | Actor::System) {
            return Err(Rejection::NotPermitted);
        }
        let mut schedule = command;
        schedule.scheduled_start = schedule.scheduled_start.map(whole_millisecond);
        schedule.scheduled_end = schedule.scheduled_end.map(whole_millisecond);
        check_schedule(schedule.scheduled_start, schedule.scheduled_end, &schedule.policy, ctx.now)?;
        check_invitations(&schedule)?;

        let event = Event::Created { schedule: Box::new(schedule), at: whole_millisecond(ctx.now) };
        let mut session = Self::from_created(&event).expect("the event is Created");
        let events = vec![event];
        session.commit(&events);
        Ok((session, events))
    }

    /// What `command` leads to: the events to fold and to keep, in order. None if what is asked for is so already.
    ///
    /// # Errors
    /// Why not. The state is not touched either way.
    pub fn decide(&self, command: &Command, ctx: &Context<'_>) -> Result<Vec<Event>, Rejection> {
        if self.is_so_already(command) && self.authorize(command, ctx.actor).is_ok() {
            return Ok(Vec::new());
        }
        if self.status().is_final() && !filed_after_the_end(command) {
            return Err(Rejection::SessionOver);
        }
        self.authorize(command, ctx.actor)?;
        let at = whole_millisecond(ctx.now);
        let mut events = match command {
            Command::Invite { participant, role } => self.invite(*participant, *role)?,
            Command::CaptureConsent { consent_type, granted, version } => {
                self.capture_consent(*consent_type, *granted, version, ctx.actor, at)?
            }
            Command::Join { participant } => self.join(*participant, ctx, at)?,
            Command::Admit { participant } => self.admit(*participant, ctx, at)?,
            Command::Deny { participant, reason } => self.deny(*participant, *reason, at)?,
            Command::SendBack { participant } => self.send_back(*participant)?,
            Command::Remove { participant } => self.remove(*participant, at)?,
            Command::ReplaceDevice { participant } => {
                self.is_in(*participant)?;
                vec![Event::DeviceReplaced { participant: *participant, at }]
            }
            Command::RefuseDevice { participant, reason } => {
                self.is_in(*participant)?;
                vec![Event::DeviceRefused { participant: *participant, reason: *reason, at }]
            }
            Command::Leave { participant } => self.leave(*participant, at)?,
            Command::SetRecording { enabled } => self.set_recording(*enabled)?,
            Command::End => self.end(at)?,
            Command::Cancel => self.cancel(at)?,
            Command::Reschedule { start, end } => self.reschedule(*start, *end, ctx.now)?,
            Command::RevokeTokens { participant } => self.revoke_tokens(*participant)?,
            Command::InitiateFallback { participant } => self.initiate_fallback(*participant, at)?,
            Command::EndFallback { participant } => self.end_fallback(*participant, at)?,
            Command::IngestRecording { recording } => self.ingest_recording(recording, at)?,
            Command::RecordEncounter { encounter } => self.record_encounter(encounter, at)?,
            Command::Tick => self.tick(ctx),
        };
        self.end_if_all_are_gone(&mut events, ctx, at);
        Ok(events)
    }

    /// To call off what was called off, or to end what was ended, is what somebody asks for who lost the first answer.
    fn is_so_already(&self, command: &Command) -> bool {
        match command {
            Command::Cancel => self.end_reason() == Some(EndReason::Cancelled),
            Command::End => self.end_reason() == Some(EndReason::ProviderEnded),
            _ => false,
        }
    }

    // Who may ask for what.

    fn authorize(&self, command: &Command, actor: &Actor) -> Result<(), Rejection> {
        let permitted = match command {
            Command::Join { participant } => *actor == Actor::Participant(*participant),
            Command::Leave { participant } => {
                *actor == Actor::Participant(*participant) || matches!(actor, Actor::Staff(_) | Actor::System)
            }
            Command::CaptureConsent { .. } => self.speaks_for_the_patient(actor),
            Command::ReplaceDevice { participant } | Command::RefuseDevice { participant, .. } => {
                self.speaks_for_the_seat(*participant, actor)
            }
            Command::InitiateFallback { participant } | Command::EndFallback { participant } => {
                *actor == Actor::Participant(*participant) || self.is_host(actor)
            }
            Command::IngestRecording { .. } | Command::RecordEncounter { .. } => *actor == Actor::System,
            Command::Tick => matches!(actor, Actor::Timer | Actor::System),
            _ => self.is_host(actor),
        };
        if permitted { Ok(()) } else { Err(Rejection::NotPermitted) }
    }

    fn is_host(&self, actor: &Actor) -> bool {
        match actor {
            Actor::Staff(_) | Actor::System => true,
            Actor::Participant(id) => self.providers().any(|provider| {
                provider.id == *id && provider.standing == Standing::Admitted && provider.left_at.is_none()
            }),
            Actor::Timer => false,
        }
    }

    /// Consent comes from the patient's own seat, or from staff as an attestation that names them. A provider in the
    /// session is neither.
    fn speaks_for_the_patient(&self, actor: &Actor) -> bool {
        match actor {
            Actor::Participant(id) => self.patient().is_some_and(|patient| patient.id == *id),
            Actor::Staff(_) => true,
            Actor::System | Actor::Timer => false,
        }
    }

    /// A provider's seat gives rights over the others: it is its owner's to say who sits there, and the staff's. Of all
    /// other seats the hosts say it.
    fn speaks_for_the_seat(&self, id: ParticipantId, actor: &Actor) -> bool {
        let is_provider = self.participant(id).is_some_and(|record| record.role == ParticipantRole::Provider);
        match actor {
            Actor::Participant(asking) if is_provider => *asking == id && self.is_host(actor),
            _ => self.is_host(actor),
        }
    }

    // The commands, in the order of `Command`.

    fn invite(&self, id: ParticipantId, role: ParticipantRole) -> Decision {
        let known = self.participant(id);
        if let Some(known) = known {
            if known.role != role {
                return Err(Rejection::ParticipantExists);
            }
            if known.standing != Standing::Removed {
                return Ok(Vec::new());
            }
        }
        if role == ParticipantRole::Patient && self.patient().is_some() {
            return Err(Rejection::PatientExists);
        }
        let max = self.policy().max_participants;
        if self.present_records().count() >= usize::from(max) {
            return Err(Rejection::SessionFull { max });
        }
        if known.is_some() {
            return Ok(vec![Event::Reinstated { participant: id }]);
        }
        let max = records_max(self.policy());
        if self.participants().len() >= max {
            return Err(Rejection::LimitReached { what: "participants", max });
        }
        Ok(vec![Event::Invited { participant: id, role }])
    }

    fn capture_consent(
        &self,
        consent_type: ConsentType,
        granted: bool,
        version: &ConsentVersion,
        actor: &Actor,
        at: Timestamp,
    ) -> Decision {
        let so_already = match latest(self.consents(), consent_type) {
            Some(last) => last.granted == granted && (!granted || last.version == *version),
            None => !granted,
        };
        if so_already {
            return Ok(Vec::new());
        }
        if granted && consent_type == ConsentType::Recording && !self.policy().recording_allowed {
            return Err(Rejection::RecordingNotAllowed);
        }
        // The last place is kept for a withdrawal: that one must never be turned away.
        let limit = if granted { CONSENT_RECORDS_MAX - ConsentType::ALL.len() } else { CONSENT_RECORDS_MAX };
        if self.consents().len() >= limit {
            return Err(Rejection::LimitReached { what: "consents", max: CONSENT_RECORDS_MAX });
        }
        let record = ConsentRecord {
            consent_type,
            granted,
            version: version.clone(),
            captured_at: at,
            captured_by: actor.clone(),
        };
        let mut events = vec![Event::ConsentCaptured { record }];
        if consent_type == ConsentType::Recording && !granted && self.recording_enabled() {
            events.push(Event::RecordingDisabled);
        }
        Ok(events)
    }

    fn join(&self, id: ParticipantId, ctx: &Context<'_>, at: Timestamp) -> Decision {
        let record = self.not_removed(id)?;
        self.check_consents(id)?;
        // Whoever comes without the resume secret may be somebody else with the same link. Who is in stays in.
        if record.standing == Standing::Admitted && record.left_at.is_none() {
            return Err(Rejection::AlreadyIn);
        }

        let mut events = Vec::new();
        if self.status() == SessionStatus::Scheduled {
            events.push(Event::Opened);
        }
        let standing =
            if self.comes_straight_in(record, ctx) { Standing::Admitted } else { Standing::Waiting };
        // Whoever was denied or invited again starts anew. Of the others, one who comes once more may be somebody else.
        let new_device = matches!(record.standing, Standing::Waiting | Standing::Admitted);
        events.push(Event::Joined { participant: id, standing, new_device, at });
        if record.role == ParticipantRole::Provider {
            self.let_in_with_the_provider(&mut events, ctx, at);
        }
        Ok(events)
    }

    /// Providers have no waiting room. Interpreters and observers have none while a provider is there, if the tenant says
    /// so; but one who was let in before and comes by the bare link knocks like a patient, as does one who was sent back or
    /// denied.
    fn comes_straight_in(&self, record: &Participant, ctx: &Context<'_>) -> bool {
        record.role == ParticipantRole::Provider
            || (self.policy().comes_with_provider(record.role)
                && record.admitted_at.is_none()
                && record.denied.is_none()
                && self.provider_here(ctx.presence, None))
    }

    /// Those the tenant wants let in by a provider who joins, of those who wait and are connected; who was denied before
    /// takes somebody's word.
    fn let_in_with_the_provider(&self, events: &mut Vec<Event>, ctx: &Context<'_>, at: Timestamp) {
        let policy = self.policy();
        let waits = |record: &Participant| {
            record.standing == Standing::Waiting
                && record.inside()
                && record.denied.is_none()
                && ctx.presence.connected(record.id)
        };
        for record in self.participants() {
            let first_time = record.admitted_at.is_none();
            if policy.comes_with_provider(record.role) && waits(record) && first_time {
                events.push(Event::Admitted { participant: record.id, at });
            }
        }
        // Only to begin the visit: once it has begun, a patient who waits was sent back, or knocks from a new device.
        let not_begun = self.status() != SessionStatus::Active;
        if let Some(patient) = self.patient()
            && policy.auto_admit_on_provider_join
            && not_begun
            && waits(patient)
            && self.has_consent(ConsentType::Telehealth)
        {
            events.push(Event::Admitted { participant: patient.id, at });
            events.push(Event::Started { at });
        }
    }

    fn admit(&self, id: ParticipantId, ctx: &Context<'_>, at: Timestamp) -> Decision {
        let record = self.not_removed(id)?;
        if record.standing == Standing::Admitted {
            return Ok(Vec::new());
        }
        if record.standing != Standing::Waiting || record.left_at.is_some() {
            return Err(Rejection::NotWaiting);
        }
        self.check_consents(id)?;
        let patient = record.role == ParticipantRole::Patient;
        // Nobody is let in where nobody is who answers for the visit.
        if !self.provider_here(ctx.presence, None) {
            return Err(Rejection::ProviderAbsent);
        }
        // Nobody begins a visit with a patient whose line is gone: they come back to the door, and knock again.
        if !ctx.presence.connected(id) {
            return Err(Rejection::NotConnected);
        }
        let mut events = vec![Event::Admitted { participant: id, at }];
        if patient && self.status() != SessionStatus::Active {
            events.push(Event::Started { at });
        }
        Ok(events)
    }

    fn deny(&self, id: ParticipantId, reason: DenyReason, at: Timestamp) -> Decision {
        let record = self.not_removed(id)?;
        match record.standing {
            Standing::Waiting => Ok(vec![Event::Denied { participant: id, reason, at }]),
            Standing::Invited if record.denied == Some(reason) => Ok(Vec::new()),
            _ => Err(Rejection::NotWaiting),
        }
    }

    fn send_back(&self, id: ParticipantId) -> Decision {
        let record = self.not_removed(id)?;
        if record.role == ParticipantRole::Provider {
            return Err(Rejection::NotPermitted);
        }
        match record.standing {
            Standing::Admitted => Ok(vec![Event::SentBack { participant: id }]),
            Standing::Waiting => Ok(Vec::new()),
            Standing::Invited | Standing::Removed => Err(Rejection::NotAdmitted),
        }
    }

    fn remove(&self, id: ParticipantId, at: Timestamp) -> Decision {
        let record = self.known(id)?;
        if record.standing == Standing::Removed {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Removed { participant: id, epoch: record.epoch + 1, at }])
    }

    fn leave(&self, id: ParticipantId, at: Timestamp) -> Decision {
        let record = self.known(id)?;
        if record.left_at.is_some() {
            return Ok(Vec::new());
        }
        if !record.inside() {
            return Err(Rejection::NotJoined);
        }
        Ok(vec![Event::Left { participant: id, at }])
    }

    fn set_recording(&self, enabled: bool) -> Decision {
        if enabled == self.recording_enabled() {
            return Ok(Vec::new());
        }
        if !enabled {
            return Ok(vec![Event::RecordingDisabled]);
        }
        if !self.policy().recording_allowed {
            return Err(Rejection::RecordingNotAllowed);
        }
        if !self.has_consent(ConsentType::Recording) {
            return Err(Rejection::ConsentMissing { missing: vec![ConsentType::Recording] });
        }
        Ok(vec![Event::RecordingEnabled])
    }

    fn end(&self, at: Timestamp) -> Decision {
        if self.status() != SessionStatus::Active {
            return Err(Rejection::NotActive);
        }
        Ok(vec![final_event(EndReason::ProviderEnded, at)])
    }

    fn cancel(&self, at: Timestamp) -> Decision {
        if self.status() == SessionStatus::Active {
            return Err(Rejection::SessionActive);
        }
        Ok(vec![final_event(EndReason::Cancelled, at)])
    }

    fn reschedule(&self, start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> Decision {
        if self.status() == SessionStatus::Active {
            return Err(Rejection::SessionActive);
        }
        let (start, end) = (start.map(whole_millisecond), end.map(whole_millisecond));
        if (start, end) == (self.scheduled_start(), self.scheduled_end()) {
            return Ok(Vec::new());
        }
        check_schedule(start, end, self.policy(), now)?;
        Ok(vec![Event::Rescheduled { start, end }])
    }

    fn revoke_tokens(&self, id: ParticipantId) -> Decision {
        let record = self.not_removed(id)?;
        Ok(vec![Event::TokensRevoked { participant: id, epoch: record.epoch + 1 }])
    }

    fn initiate_fallback(&self, id: ParticipantId, at: Timestamp) -> Decision {
        self.in_an_active_visit(id)?;
        match self.fallback_since() {
            Some(_) => Ok(Vec::new()),
            None => Ok(vec![Event::FallbackInitiated { participant: id, at }]),
        }
    }

    fn end_fallback(&self, id: ParticipantId, at: Timestamp) -> Decision {
        self.in_an_active_visit(id)?;
        match self.fallback_since() {
            Some(_) => Ok(vec![Event::FallbackEnded { participant: id, at }]),
            None => Ok(Vec::new()),
        }
    }

    fn ingest_recording(&self, recording: &RecordingRef, at: Timestamp) -> Decision {
        if self.started_at().is_none() {
            return Err(Rejection::NotActive);
        }
        if self.recordings().contains(recording) {
            return Ok(Vec::new());
        }
        if self.recordings().len() >= RECORDINGS_MAX {
            return Err(Rejection::LimitReached { what: "recordings", max: RECORDINGS_MAX });
        }
        Ok(vec![Event::RecordingIngested { recording: recording.clone(), at }])
    }

    fn record_encounter(&self, encounter: &EncounterId, at: Timestamp) -> Decision {
        if !self.status().is_final() {
            return Err(Rejection::SessionNotOver);
        }
        match self.encounter() {
            Some(known) if known == encounter => Ok(Vec::new()),
            Some(_) => Err(Rejection::EncounterExists),
            None => Ok(vec![Event::EncounterRecorded { encounter: encounter.clone(), at }]),
        }
    }

    fn tick(&self, ctx: &Context<'_>) -> Vec<Event> {
        match self.next_timer(ctx.presence) {
            // When it is noticed, not when it was due: a server that was down ends a visit when it is up again, and
            // what others are told in order must not go back in time.
            Some(timer) if timer.due_at <= ctx.now => {
                vec![final_event(timer.outcome, whole_millisecond(ctx.now))]
            }
            _ => Vec::new(),
        }
    }

    // What several share.

    /// An active visit that the patient and every provider are out of ends with the command that took out the last.
    fn end_if_all_are_gone(&self, events: &mut Vec<Event>, ctx: &Context<'_>, at: Timestamp) {
        let somebody_went = events
            .iter()
            .any(|event| matches!(event, Event::Left { .. } | Event::Removed { .. } | Event::Denied { .. }));
        if self.status() != SessionStatus::Active || !somebody_went {
            return;
        }
        let mut next = self.clone();
        next.commit(events);
        let sides = (next.patient_side(ctx.presence), next.provider_side(ctx.presence));
        if matches!(sides, (Side::Gone { .. }, Side::Gone { .. })) {
            events.push(final_event(EndReason::EveryoneLeft, at));
        }
    }

    fn known(&self, id: ParticipantId) -> Result<&Participant, Rejection> {
        self.participant(id).ok_or(Rejection::NoSuchParticipant(id))
    }

    fn not_removed(&self, id: ParticipantId) -> Result<&Participant, Rejection> {
        let record = self.known(id)?;
        if record.standing == Standing::Removed { Err(Rejection::Removed) } else { Ok(record) }
    }

    fn in_an_active_visit(&self, id: ParticipantId) -> Result<(), Rejection> {
        if self.status() != SessionStatus::Active {
            return Err(Rejection::NotActive);
        }
        self.is_in(id)
    }

    fn is_in(&self, id: ParticipantId) -> Result<(), Rejection> {
        let record = self.not_removed(id)?;
        let admitted = record.standing == Standing::Admitted && record.left_at.is_none();
        if admitted { Ok(()) } else { Err(Rejection::NotAdmitted) }
    }

    fn check_consents(&self, id: ParticipantId) -> Result<(), Rejection> {
        let missing = self.consents_needed(id);
        if missing.is_empty() { Ok(()) } else { Err(Rejection::ConsentMissing { missing }) }
    }
}

/// The two facts that arrive when a visit is over. They change nothing of it: neither its status, nor who was there, nor
/// when.
const fn filed_after_the_end(command: &Command) -> bool {
    matches!(command, Command::IngestRecording { .. } | Command::RecordEncounter { .. })
}

fn check_schedule(
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    policy: &SessionPolicy,
    now: Timestamp,
) -> Result<(), ScheduleFault> {
    let Some(start) = start else {
        return if end.is_some() { Err(ScheduleFault::EndWithoutStart) } else { Ok(()) };
    };
    if let Some(end) = end {
        if end <= start {
            return Err(ScheduleFault::EndNotAfterStart);
        }
        if end > after(start, LENGTH_MAX) {
            return Err(ScheduleFault::TooLong);
        }
    }
    // A start a little in the past is a clinic that runs late; one past the no-show time would be called off at once.
    if after(start, minutes(policy.no_show_minutes)) <= now {
        return Err(ScheduleFault::StartPassed);
    }
    if start > after(now, AHEAD_MAX) {
        return Err(ScheduleFault::TooFarAhead);
    }
    Ok(())
}

fn check_invitations(schedule: &Schedule) -> Result<(), Rejection> {
    let max = schedule.policy.max_participants;
    let invited = &schedule.participants;
    if invited.len() > usize::from(max) {
        return Err(Rejection::SessionFull { max });
    }
    for (index, invitation) in invited.iter().enumerate() {
        if invited[..index].iter().any(|earlier| earlier.participant == invitation.participant) {
            return Err(Rejection::ParticipantExists);
        }
    }
    if invited.iter().filter(|invitation| invitation.role == ParticipantRole::Patient).count() > 1 {
        return Err(Rejection::PatientExists);
    }
    Ok(())
}
