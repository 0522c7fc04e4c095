//! One visit with the people around it. Each command that is carried out is checked against what always holds.

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, BackendRoom, Command, Communication, Connection, ConsentType, ConsentVersion, Context,
    EncounterId, Event, Invitation, Participant, ParticipantId, ParticipantRole, PatientId, PolicyValues,
    Presence, ProviderRef, RecordingRef, Rejection, Schedule, SessionId, SessionPolicy, StaffId, TenantId,
    VideoBackend, VirtualSession,
};

/// When sessions are made in these tests: 2026-06-01, 08:00.
pub(crate) const MORNING: i64 = 1_780_300_800;

pub(crate) struct World {
    pub(crate) session: VirtualSession,
    pub(crate) presence: Presence,
    pub(crate) now: Timestamp,
    /// The events of each command that changed something.
    pub(crate) commits: Vec<Vec<Event>>,
}

pub(crate) fn id(number: u8) -> ParticipantId {
    ParticipantId::new(morning(), [number; 10])
}

pub(crate) fn provider() -> ParticipantId {
    id(1)
}

pub(crate) fn patient() -> ParticipantId {
    id(2)
}

pub(crate) fn interpreter() -> ParticipantId {
    id(3)
}

pub(crate) fn observer() -> ParticipantId {
    id(4)
}

pub(crate) fn second_provider() -> ParticipantId {
    id(5)
}

pub(crate) fn morning() -> Timestamp {
    Timestamp::from_second(MORNING).unwrap()
}

/// `count` minutes after sessions are made.
pub(crate) fn minute(count: i64) -> Timestamp {
    morning() + SignedDuration::from_mins(count)
}

pub(crate) fn staff() -> Actor {
    Actor::Staff(StaffId::parse("desk-7").unwrap())
}

pub(crate) fn version(text: &str) -> ConsentVersion {
    ConsentVersion::parse(text).unwrap()
}

pub(crate) fn encounter(number: u8) -> EncounterId {
    EncounterId::parse(format!("enc-{number}")).unwrap()
}

pub(crate) fn recording(number: u8) -> RecordingRef {
    RecordingRef::parse(format!("recordings/{number}")).unwrap()
}

pub(crate) fn policy(change: impl FnOnce(&mut PolicyValues)) -> SessionPolicy {
    let mut values = PolicyValues::default();
    change(&mut values);
    SessionPolicy::new(values).unwrap()
}

/// A visit at 09:00 until 09:30, with one of each role invited and a second provider.
pub(crate) fn schedule() -> Schedule {
    let invitations = [
        (provider(), ParticipantRole::Provider),
        (patient(), ParticipantRole::Patient),
        (interpreter(), ParticipantRole::Interpreter),
        (observer(), ParticipantRole::Observer),
        (second_provider(), ParticipantRole::Provider),
    ];
    Schedule {
        id: SessionId::new(morning(), [7; 10]),
        tenant: TenantId::new(morning(), [9; 10]),
        patient_id: PatientId::parse("mrn-1").unwrap(),
        provider_ref: ProviderRef::parse("Practitioner/12").unwrap(),
        scheduled_start: Some(minute(60)),
        scheduled_end: Some(minute(90)),
        communication: Communication::Speech,
        backend: VideoBackend::Embedded,
        room: BackendRoom::parse("room-1").unwrap(),
        policy: SessionPolicy::default(),
        participants: invitations.map(|(participant, role)| Invitation { participant, role }).to_vec(),
    }
}

pub(crate) fn create(schedule: Schedule) -> Result<(VirtualSession, Vec<Event>), Rejection> {
    let presence = Presence::new();
    VirtualSession::create(schedule, &Context { now: morning(), actor: &staff(), presence: &presence })
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(schedule())
    }

    pub(crate) fn under(change: impl FnOnce(&mut PolicyValues)) -> Self {
        Self::of(Schedule { policy: policy(change), ..schedule() })
    }

    pub(crate) fn of(schedule: Schedule) -> Self {
        let (session, events) = create(schedule).unwrap();
        Self { session, presence: Presence::new(), now: morning(), commits: vec![events] }
    }

    /// A visit in which the provider let the patient in, at 09:01.
    pub(crate) fn active() -> Self {
        Self::new().begun()
    }

    pub(crate) fn begun(mut self) -> Self {
        self.at(minute(60)).consent().comes(patient()).comes(provider());
        self.at(minute(61)).must(provider(), Command::Admit { participant: patient() });
        self
    }

    pub(crate) fn at(&mut self, now: Timestamp) -> &mut Self {
        self.now = now;
        self
    }

    /// What `command` leads to, carried out. Everything that holds for every command is checked here.
    pub(crate) fn ask(&mut self, actor: &Actor, command: Command) -> Result<Vec<Event>, Rejection> {
        let before = self.session.clone();
        let ctx = Context { now: self.now, actor, presence: &self.presence };
        let decided = self.session.decide(&command, &ctx);
        assert_eq!(self.session, before, "decide does not change the state");
        let events = decided?;
        self.session.commit(&events);
        if events.is_empty() {
            assert_eq!(self.session, before, "no event, no change");
        } else {
            assert_eq!(self.session.version(), before.version() + 1, "one version a command");
            self.commits.push(events.clone());
        }
        self.check();
        Ok(events)
    }

    /// What holds after every command: the stored form is a session, and the events alone give it too.
    fn check(&self) {
        let stored = self.session.to_stored();
        let text = serde_json::to_string(&stored).unwrap();
        let read = serde_json::from_str(&text).unwrap();
        assert_eq!(VirtualSession::from_stored(read).as_ref(), Ok(&self.session), "the store gives it back");
        assert_eq!(self.replayed(), self.session, "the events give it back");
    }

    fn replayed(&self) -> VirtualSession {
        let text = serde_json::to_string(&self.commits).unwrap();
        let commits: Vec<Vec<Event>> = serde_json::from_str(&text).unwrap();
        let mut session = VirtualSession::from_created(&commits[0][0]).unwrap();
        for commit in &commits {
            session.commit(commit);
        }
        session
    }

    /// A command that somebody in the session gives, and that must change something.
    pub(crate) fn must(&mut self, who: ParticipantId, command: Command) -> Vec<Event> {
        let events = self.ask(&Actor::Participant(who), command.clone());
        let events = events.unwrap_or_else(|rejection| panic!("{command:?}: {rejection}"));
        assert_ne!(events, [], "{command:?} changed nothing");
        events
    }

    /// The code `who`'s command is refused with.
    pub(crate) fn refused(&mut self, who: ParticipantId, command: Command) -> &'static str {
        self.refused_to(&Actor::Participant(who), command)
    }

    pub(crate) fn refused_to(&mut self, actor: &Actor, command: Command) -> &'static str {
        self.ask(actor, command).expect_err("refused").code()
    }

    /// Time is up: what the timer does now.
    pub(crate) fn tick(&mut self) -> Vec<Event> {
        let deadline = self.session.next_deadline(&self.presence);
        let events = self.ask(&Actor::Timer, Command::Tick).unwrap();
        let due = deadline.is_some_and(|deadline| deadline <= self.now);
        assert_eq!(!events.is_empty(), due, "a tick does something exactly from the deadline on");
        events
    }

    pub(crate) fn consent(&mut self) -> &mut Self {
        self.consents_to(ConsentType::Telehealth)
    }

    pub(crate) fn consents_to(&mut self, consent_type: ConsentType) -> &mut Self {
        let command = Command::CaptureConsent { consent_type, granted: true, version: version("2026-01") };
        self.must(patient(), command);
        self
    }

    pub(crate) fn withdraws(&mut self, consent_type: ConsentType) -> Vec<Event> {
        let command = Command::CaptureConsent { consent_type, granted: false, version: version("2026-01") };
        self.must(patient(), command)
    }

    /// Joins, and is connected from then.
    pub(crate) fn comes(&mut self, who: ParticipantId) -> &mut Self {
        self.must(who, Command::Join { participant: who });
        self.presence.set(who, Connection::Connected);
        self
    }

    pub(crate) fn leaves(&mut self, who: ParticipantId) -> Vec<Event> {
        self.presence.set(who, Connection::Absent);
        self.must(who, Command::Leave { participant: who })
    }

    pub(crate) fn loses(&mut self, who: ParticipantId) -> &mut Self {
        self.presence.set(who, Connection::Lost { since: self.now });
        self
    }

    /// Goes without contact, having said so.
    pub(crate) fn goes_offline(&mut self, who: ParticipantId) -> &mut Self {
        self.presence.set(who, Connection::Offline { since: self.now });
        self
    }

    pub(crate) fn resumes(&mut self, who: ParticipantId) -> &mut Self {
        self.presence.set(who, Connection::Connected);
        self
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.session.next_deadline(&self.presence)
    }

    pub(crate) fn record(&self, who: ParticipantId) -> &Participant {
        self.session.participant(who).unwrap()
    }
}
