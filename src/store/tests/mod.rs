//! The store's story, told on both databases: what is true on one is true on the other. Time is virtual.

mod crash;
mod lists;
mod log;
mod place;
mod sqlite;

use std::sync::atomic::{AtomicU8, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use vestibule_domain::{
    Actor, BackendRoom, Command, Communication, ConfigContext, ConfigValues, Connection, ConsentType,
    ConsentVersion, Context, Event, Invitation, PARTICIPANTS_USUAL, ParticipantId, ParticipantRole,
    PatientId, PolicyValues, Presence, ProviderRef, Schedule, SessionId, SessionPolicy, SessionStatus,
    StaffId, TenantConfig, TenantId, VideoBackend, VirtualSession,
};

use super::profile::PersonTextError;
use super::{Beside, Commit, ConfigCommit, PersonText, Profile, Store, StoreError, Tenant};
use crate::ids::Ids;
use lists::*;
use log::*;
use place::Place;

/// Each of these is a test on each database.
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { super::$name(super::Place::file()).await; })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $name() { super::$name(super::Place::postgres().await).await; })*
        }
    };
}

// After the macro, which it uses.
mod accounts;
mod quality;
mod resume;
mod threads;
mod visits;

stories! {
    a_visit_is_the_same_after_each_step_of_its_life,
    what_was_kept_is_there_when_the_file_is_opened_again,
    the_events_in_the_store_give_the_session_again,
    what_others_are_told_is_cloud_events_in_order,
    no_name_is_in_any_event_or_message_to_others,
    of_two_writers_the_second_hears_of_the_first,
    of_many_writers_at_once_each_version_has_one,
    a_change_that_breaks_off_leaves_nothing,
    a_session_that_cannot_be_written_whole_is_not_there,
    what_is_taken_or_missing_is_said,
    a_profile_can_change_without_a_command,
    sessions_are_found_by_what_is_due_alive_or_last,
    consents_and_events_cannot_be_edited,
    a_row_nobody_here_wrote_is_called_damaged,
    several_processes_may_make_the_database_at_once,
    a_feed_has_every_event_once_in_order_and_without_gaps,
    a_clock_set_back_does_not_turn_a_feed_around,
    of_32_writers_none_is_lost_and_every_conflict_is_told,
    an_answer_is_kept_with_its_change_or_not_at_all,
    the_audit_has_events_and_notes_in_one_order,
    who_is_refused_among_many_harms_nobody,
    lists_are_filtered_and_read_page_by_page,
    a_room_is_somebodys_until_their_session_is_over,
    a_configuration_changes_with_its_secrets_or_not_at_all,
}

const NAME: &str = "Zebulon Quixworthy";
const RELATIONSHIP: &str = "grandmother-in-law";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_300_800 + seconds).unwrap()
}

fn participant(number: u8) -> ParticipantId {
    ParticipantId::new(at(0), [number; 10])
}

fn provider() -> ParticipantId {
    participant(1)
}

fn patient() -> ParticipantId {
    participant(2)
}

fn observer() -> ParticipantId {
    participant(3)
}

fn staff() -> Actor {
    Actor::Staff(StaffId::parse("desk-7").unwrap())
}

fn tenant() -> Tenant {
    Tenant { id: TenantId::new(at(0), [9; 10]), name: "Demo clinic".to_owned(), created_at: at(0) }
}

fn policy() -> SessionPolicy {
    SessionPolicy::new(PolicyValues { recording_allowed: true, ..PolicyValues::default() }).unwrap()
}

async fn insert(store: &Store, tenant: &Tenant) -> Result<TenantConfig, StoreError> {
    let values = ConfigValues { policy: policy(), ..ConfigValues::default() };
    let context = ConfigContext {
        now: at(0),
        actor: &staff(),
        participants_limit: PARTICIPANTS_USUAL,
        logo_hosts: &[],
    };
    let (config, events) = TenantConfig::create(tenant.id, values, &context).unwrap();
    let commit = ConfigCommit {
        before_version: 0,
        after: &config,
        events: &events,
        actor: &staff(),
        now: at(0),
        beside: &Beside::default(),
    };
    store.create_tenant(tenant, commit).await.map(|()| config)
}

fn profile(participant: ParticipantId) -> Profile {
    Profile {
        participant,
        display_name: PersonText::parse(NAME).unwrap(),
        relationship: (participant == observer()).then(|| PersonText::parse(RELATIONSHIP).unwrap()),
    }
}

fn schedule(number: u8) -> Schedule {
    Schedule {
        id: SessionId::new(at(number.into()), [number; 10]),
        tenant: tenant().id,
        patient_id: PatientId::parse("mrn-1").unwrap(),
        provider_ref: ProviderRef::parse("Practitioner/12").unwrap(),
        scheduled_start: Some(at(3600)),
        scheduled_end: None,
        communication: Communication::Sign,
        backend: VideoBackend::Embedded,
        room: BackendRoom::parse(format!("room-{number}")).unwrap(),
        policy: policy(),
        participants: vec![
            Invitation { participant: provider(), role: ParticipantRole::Provider },
            Invitation { participant: patient(), role: ParticipantRole::Patient },
            Invitation { participant: observer(), role: ParticipantRole::Observer },
        ],
    }
}

/// Identifiers that are never the same twice in a test, nor in two stores of one.
fn ids() -> Ids {
    Ids::system()
}

async fn open(place: &Place) -> Store {
    Store::open(&place.location(), ids()).await.unwrap()
}

/// A session in a store, and what it is in memory.
struct Visit {
    store: Store,
    session: VirtualSession,
    presence: Presence,
    now: Timestamp,
}

impl Visit {
    async fn new(place: &Place) -> Self {
        let store = open(place).await;
        insert(&store, &tenant()).await.unwrap();
        Self::made(store, 7).await
    }

    async fn made(store: Store, number: u8) -> Self {
        let now = at(number.into());
        let presence = Presence::new();
        let ctx = Context { now, actor: &staff(), presence: &presence };
        let (session, events) = VirtualSession::create(schedule(number), &ctx).unwrap();
        let profiles = [profile(provider()), profile(patient()), profile(observer())];
        store.create_session(&session, &events, &profiles, &staff(), &Beside::default()).await.unwrap();
        let visit = Self { store, session, presence, now };
        visit.check().await;
        visit
    }

    /// What the store gives back is what is in memory.
    async fn check(&self) {
        let loaded = self.store.load_session(self.session.id()).await.unwrap().unwrap();
        assert_eq!(loaded.session, self.session);
        assert_eq!(loaded.profiles.len(), 3);
        assert_eq!(loaded.profiles[&observer()], profile(observer()));
    }

    fn decide(&self, actor: &Actor, command: &Command) -> (VirtualSession, Vec<Event>) {
        let ctx = Context { now: self.now, actor, presence: &self.presence };
        let events = self.session.decide(command, &ctx).unwrap();
        let mut after = self.session.clone();
        after.commit(&events);
        (after, events)
    }

    async fn try_commit(&self, actor: &Actor, command: &Command) -> Result<VirtualSession, StoreError> {
        let (after, events) = self.decide(actor, command);
        let commit = Commit {
            before_version: self.session.version(),
            after: &after,
            events: &events,
            actor,
            now: self.now,
            next_deadline: after.next_deadline(&self.presence),
            profiles: &[],
            resume: &[],
            hands_on: false,
            beside: &Beside::default(),
        };
        self.store.commit(commit).await.map(|()| after)
    }

    async fn does(&mut self, actor: &Actor, command: Command) {
        self.session = self.try_commit(actor, &command).await.unwrap();
        self.check().await;
    }

    async fn own(&mut self, who: ParticipantId, command: Command) {
        self.does(&Actor::Participant(who), command).await;
    }

    async fn comes(&mut self, who: ParticipantId) {
        self.own(who, Command::Join { participant: who }).await;
        self.presence.set(who, Connection::Connected);
    }

    async fn consents(&mut self, consent_type: ConsentType, granted: bool) {
        let version = ConsentVersion::parse("2026-01").unwrap();
        self.own(patient(), Command::CaptureConsent { consent_type, granted, version }).await;
    }

    /// A life in which about everything happens once.
    async fn lives(&mut self) {
        self.does(&staff(), Command::Reschedule { start: Some(at(4000)), end: Some(at(6000)) }).await;
        self.now = at(3900);
        self.consents(ConsentType::Telehealth, true).await;
        self.comes(patient()).await;
        self.comes(observer()).await;
        self.comes(provider()).await;
        let deny = Command::Deny { participant: observer(), reason: vestibule_domain::DenyReason::NotNow };
        self.own(provider(), deny).await;
        self.own(provider(), Command::Admit { participant: patient() }).await;
        self.consents(ConsentType::Recording, true).await;
        self.own(provider(), Command::SetRecording { enabled: true }).await;
        self.consents(ConsentType::Recording, false).await;
        let attested = Command::CaptureConsent {
            consent_type: ConsentType::Recording,
            granted: true,
            version: ConsentVersion::parse("2026-02").unwrap(),
        };
        self.does(&staff(), attested).await;
        self.own(provider(), Command::SendBack { participant: patient() }).await;
        self.own(provider(), Command::Admit { participant: patient() }).await;
        self.own(provider(), Command::Remove { participant: observer() }).await;
        let invite = Command::Invite { participant: observer(), role: ParticipantRole::Observer };
        self.does(&Actor::System, invite).await;
        self.own(patient(), Command::Leave { participant: patient() }).await;
        self.presence.set(provider(), Connection::Lost { since: self.now });
        self.now = at(3960);
        self.does(&Actor::Timer, Command::Tick).await;
        assert_eq!(self.session.status(), SessionStatus::Ended);
    }
}

async fn a_visit_is_the_same_after_each_step_of_its_life(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.lives().await;
}

async fn what_was_kept_is_there_when_the_file_is_opened_again(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.lives().await;
    visit.store.close().await;
    let refused = visit.store.live_sessions().await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");

    visit.store = open(&place).await;
    visit.check().await;
    assert_eq!(visit.store.tenant_by_name("Demo clinic").await.unwrap(), Some(tenant()));
    assert_eq!(visit.store.tenant_by_name("another").await.unwrap(), None);
}

async fn the_events_in_the_store_give_the_session_again(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.lives().await;
    assert_eq!(replayed(&place, visit.session.id()).await, visit.session);
}

/// What a session's events alone come to.
async fn replayed(place: &Place, session: SessionId) -> VirtualSession {
    let rows = place
        .texts(&format!(
            "SELECT version || ' ' || type || ' ' || payload FROM event WHERE aggregate_id = '{session}' \
             ORDER BY version, ordinal"
        ))
        .await;
    let mut commits: Vec<Vec<Event>> = Vec::new();
    for row in &rows {
        let [version, event_type, payload] = row.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let version: usize = version.parse().unwrap();
        commits.resize_with(version, Vec::new);
        let event: Event = serde_json::from_str(payload).unwrap();
        assert_eq!(event.type_name(), event_type);
        commits[version - 1].push(event);
    }
    let mut replayed = VirtualSession::from_created(&commits[0][0]).unwrap();
    for commit in &commits {
        replayed.commit(commit);
    }
    replayed
}

async fn what_others_are_told_is_cloud_events_in_order(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.lives().await;
    let rows = place
        .texts(
            "SELECT id || ' ' || type || ' ' || payload FROM outbox WHERE aggregate = 'session' \
             ORDER BY aggregate_id, version, ordinal",
        )
        .await;
    let rows: Vec<[&str; 3]> =
        rows.iter().map(|row| row.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap()).collect();
    let types: Vec<_> =
        rows.iter().map(|[_, event_type, _]| event_type.trim_start_matches("virtual_care.")).collect();
    let expected = [
        "session.created.v1",
        "session.participant.joined.v1",
        "session.participant.joined.v1",
        "session.participant.joined.v1",
        "session.participant.admitted.v1",
        "session.started.v1",
        "session.participant.admitted.v1",
        "session.participant.removed.v1",
        "session.ended.v1",
    ];
    assert_eq!(types, expected);
    for [id, event_type, payload] in &rows {
        let event: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], **id);
        assert_eq!(event["type"], **event_type);
        assert_eq!(event["source"], format!("urn:vestibule:tenant:{}", tenant().id));
        assert_eq!(event["subject"], visit.session.id().to_string());
        assert_eq!(event["datacontenttype"], "application/json");
        assert_eq!(event["data"]["sessionId"], visit.session.id().to_string());
    }
    let last: Value = serde_json::from_str(rows.last().unwrap()[2]).unwrap();
    assert_eq!(last["time"], at(3960).to_string());
    assert_eq!(last["data"]["reason"], "everyone_left");
}

async fn no_name_is_in_any_event_or_message_to_others(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.lives().await;
    let mut seen = 0;
    let everything = [
        ("event", "id || tenant || aggregate_id || coalesce(actor_id, '') || type || payload"),
        ("outbox", "id || tenant || aggregate_id || type || payload"),
    ];
    for (table, columns) in everything {
        for row in place.texts(&format!("SELECT {columns} FROM {table}")).await {
            for word in NAME.split(' ').chain([RELATIONSHIP]) {
                assert!(!row.contains(word), "{table}: {row}");
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
    assert_eq!(place.count("participant_profile").await, 3, "while the names are kept");
    assert!(!format!("{:?}", profile(observer())).contains("Zebulon"));
}

async fn of_two_writers_the_second_hears_of_the_first(place: Place) {
    let visit = Visit::new(&place).await;
    // Another process: its own connections to the same file.
    let other = Visit {
        store: open(&place).await,
        session: visit.session.clone(),
        presence: Presence::new(),
        now: visit.now,
    };
    let invite =
        |number| Command::Invite { participant: participant(number), role: ParticipantRole::Observer };
    visit.try_commit(&staff(), &invite(20)).await.unwrap();
    let events = place.count("event").await;

    let refused = other.try_commit(&staff(), &invite(21)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { current_version: 2 }), "{refused:?}");
    assert_eq!(place.count("event").await, events);
    let loaded = other.store.load_session(visit.session.id()).await.unwrap().unwrap().session;
    assert!(loaded.participant(participant(20)).is_some() && loaded.participant(participant(21)).is_none());
}

async fn of_many_writers_at_once_each_version_has_one(place: Place) {
    let visit = Visit::new(&place).await;
    let id = visit.session.id();
    let mut tasks = Vec::new();
    for number in 0..6 {
        let store = if number % 2 == 0 { visit.store.clone() } else { open(&place).await };
        tasks.push(tokio::spawn(async move {
            let mut conflicts = 0;
            loop {
                let session = store.load_session(id).await.unwrap().unwrap().session;
                let invite = Command::Invite {
                    participant: participant(30 + number),
                    role: ParticipantRole::Observer,
                };
                let visit = Visit { store: store.clone(), session, presence: Presence::new(), now: at(100) };
                match visit.try_commit(&staff(), &invite).await {
                    Ok(_) => return conflicts,
                    Err(StoreError::Conflict { .. }) => conflicts += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }));
    }
    for task in tasks {
        let conflicts: u32 = task.await.unwrap();
        assert!(conflicts < 6, "somebody gets through each time");
    }
    let session = visit.store.load_session(id).await.unwrap().unwrap().session;
    assert_eq!((session.version(), session.participants().len()), (7, 9));
}

async fn a_change_that_breaks_off_leaves_nothing(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.now = at(3700);
    visit.consents(ConsentType::Telehealth, true).await;
    place.break_inserts("outbox").await;
    let before = (place.count("event").await, place.count("outbox").await);

    let join = Command::Join { participant: patient() };
    let actor = Actor::Participant(patient());
    let refused = visit.try_commit(&actor, &join).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    visit.check().await;
    let after = (place.count("event").await, place.count("outbox").await);
    assert_eq!(after, before);

    // And the store goes on.
    place.mend_inserts("outbox").await;
    visit.does(&actor, join).await;
}

async fn a_session_that_cannot_be_written_whole_is_not_there(place: Place) {
    let store = open(&place).await;
    insert(&store, &tenant()).await.unwrap();
    let presence = Presence::new();
    let ctx = Context { now: at(7), actor: &staff(), presence: &presence };
    let (session, events) = VirtualSession::create(schedule(7), &ctx).unwrap();
    let stranger = [profile(participant(99))];
    let refused =
        store.create_session(&session, &events, &stranger, &staff(), &Beside::default()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { what: "the participant" }), "{refused:?}");
    assert_eq!(store.load_session(session.id()).await.unwrap(), None);
    for table in ["virtual_session", "participant", "event WHERE aggregate = 'session'", "outbox"] {
        assert_eq!(place.count(table).await, 0, "{table}");
    }
}

async fn what_is_taken_or_missing_is_said(place: Place) {
    let visit = Visit::new(&place).await;
    let store = &visit.store;
    let refused = insert(store, &tenant()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { what: "the tenant" }), "{refused:?}");

    let presence = Presence::new();
    let ctx = Context { now: at(7), actor: &staff(), presence: &presence };
    let create = |schedule| VirtualSession::create(schedule, &ctx).unwrap();
    let same_room = Schedule { room: schedule(7).room, ..schedule(8) };
    for taken in [schedule(7), same_room] {
        let (session, events) = create(taken);
        let refused =
            store.create_session(&session, &events, &[], &staff(), &Beside::default()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Exists { .. }), "{refused:?}");
    }
    let (session, events) = create(Schedule { tenant: TenantId::new(at(0), [3; 10]), ..schedule(9) });
    let refused =
        store.create_session(&session, &events, &[], &staff(), &Beside::default()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { what: "the tenant" }), "{refused:?}");

    let nowhere = Visit { session: create(schedule(9)).0, store: store.clone(), presence, now: at(9) };
    let refused = nowhere.try_commit(&staff(), &Command::Cancel).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { what: "the session" }), "{refused:?}");
    assert_eq!(store.load_session(nowhere.session.id()).await.unwrap(), None);
}

async fn a_profile_can_change_without_a_command(place: Place) {
    let visit = Visit::new(&place).await;
    let renamed = Profile { display_name: PersonText::parse("Ada").unwrap(), ..profile(provider()) };
    let commit = Commit {
        before_version: 1,
        after: &visit.session,
        events: &[],
        actor: &staff(),
        now: at(100),
        next_deadline: visit.session.next_deadline(&visit.presence),
        profiles: std::slice::from_ref(&renamed),
        resume: &[],
        hands_on: false,
        beside: &Beside::default(),
    };
    visit.store.commit(commit).await.unwrap();
    let loaded = visit.store.load_session(visit.session.id()).await.unwrap().unwrap();
    assert_eq!(loaded.session, visit.session);
    assert_eq!(loaded.profiles[&provider()], renamed);
}

async fn sessions_are_found_by_what_is_due_alive_or_last(place: Place) {
    let mut first = Visit::new(&place).await;
    let store = first.store.clone();
    let mut second = Visit::made(store.clone(), 8).await;
    assert_eq!(store.latest_session(tenant().id).await.unwrap(), Some(second.session.id()));
    assert_eq!(store.latest_session(TenantId::new(at(0), [3; 10])).await.unwrap(), None);
    assert_eq!(store.live_sessions().await.unwrap(), []);

    // 15 minutes after the start nobody will come any more.
    let due_at = at(3600 + 900);
    let both = [first.session.id(), second.session.id()];
    assert_eq!(store.due_sessions(due_at - SignedDuration::from_millis(1), 10).await.unwrap(), []);
    assert_eq!(store.due_sessions(due_at, 10).await.unwrap(), both);
    assert_eq!(store.due_sessions(due_at, 1).await.unwrap(), both[..1]);

    first.now = at(3600);
    first.comes(observer()).await;
    assert_eq!(store.live_sessions().await.unwrap(), [first.session.id()]);
    second.now = due_at;
    second.does(&Actor::Timer, Command::Tick).await;
    assert_eq!(store.due_sessions(due_at, 10).await.unwrap(), [first.session.id()]);
}

async fn consents_and_events_cannot_be_edited(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.consents(ConsentType::Telehealth, true).await;
    for statement in ["UPDATE consent SET granted = 0", "UPDATE event SET payload = '{}'"] {
        assert!(place.execute(statement).await.is_err(), "{statement}");
    }
    visit.check().await;
}

async fn a_row_nobody_here_wrote_is_called_damaged(place: Place) {
    let visit = Visit::new(&place).await;
    let damages = [
        ("UPDATE virtual_session SET status = 'asleep'", "status"),
        ("UPDATE virtual_session SET status = 'ended'", "the end do not fit"),
        ("UPDATE virtual_session SET status = 'scheduled', policy = '{\"no_show_minutes\": 0}'", "policy"),
    ];
    for (statement, said) in damages {
        place.execute(statement).await.unwrap();
        let refused = visit.store.load_session(visit.session.id()).await.unwrap_err();
        let StoreError::Corrupt { what } = &refused else { panic!("{refused:?}") };
        assert!(what.contains(said), "{what}");
    }
}

async fn several_processes_may_make_the_database_at_once(place: Place) {
    let opens = (0..8).map(|_| {
        let location = place.location();
        tokio::spawn(async move { Store::open(&location, ids()).await.map(drop) })
    });
    for open in opens.collect::<Vec<_>>() {
        open.await.unwrap().unwrap();
    }
}

#[test]
fn what_a_person_may_be_called() {
    assert_eq!(PersonText::parse("  Ada  ").unwrap().as_str(), "Ada");
    assert_eq!(PersonText::parse(" \n "), Err(PersonTextError::Empty));
    assert_eq!(PersonText::parse("a\u{0}b"), Err(PersonTextError::Control));
    assert!(PersonText::parse(&"ä".repeat(100)).is_ok());
    assert_eq!(PersonText::parse(&"ä".repeat(101)), Err(PersonTextError::TooLong));
}

#[test]
fn identifiers_follow_the_bytes_they_are_given() {
    let count = AtomicU8::new(0);
    let ids = Ids::from_fn(move || [count.fetch_add(1, Ordering::Relaxed); 10]);
    let (first, second) = (ids.event(at(0)), ids.event(at(0)));
    assert!(first < second);
    assert_ne!(Ids::system().event(at(0)), Ids::system().event(at(0)));
}
