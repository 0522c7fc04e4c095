//! Feed, audit and answers that are given again: their part of the story.

use vestibule_domain::{Command, ParticipantRole, SessionId};

use super::{Place, Visit, at, insert, open, participant, staff, tenant};
use crate::store::{
    AuditEntry, AuditFilter, Beside, Commit, IdempotencyRecord, Page, Store, StoreError, Tenant,
};

/// All positions and types there are after `after`.
async fn feed(store: &Store, after: u64) -> Vec<(u64, String)> {
    let events = store.feed(tenant().id, after, &[], 100).await.unwrap();
    events.into_iter().map(|event| (event.position, event.event_type)).collect()
}

async fn sequence_all(store: &Store) {
    while store.sequence(3).await.unwrap() > 0 {}
}

pub(super) async fn a_feed_has_every_event_once_in_order_and_without_gaps(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.lives().await;
    let store = visit.store.clone();
    assert_eq!(feed(&store, 0).await, [], "nobody reads what has no position yet");
    sequence_all(&store).await;
    let events = feed(&store, 0).await;
    assert_eq!(
        events.iter().map(|(position, _)| *position).collect::<Vec<_>>(),
        (1..=9).collect::<Vec<u64>>()
    );
    assert_eq!(events[0].1, "virtual_care.session.created.v1");
    assert_eq!(events[8].1, "virtual_care.session.ended.v1");
    assert_eq!(feed(&store, 7).await, events[7..]);
    assert_eq!(store.feed_head(tenant().id).await.unwrap(), 9);
    let joined =
        store.feed(tenant().id, 0, &["virtual_care.session.participant.joined.v1"], 2).await.unwrap();
    assert_eq!(joined.iter().map(|event| event.position).collect::<Vec<_>>(), [2, 3]);

    // Another tenant's feed begins at 1, and has nothing of this one.
    let other = Tenant { id: super::TenantId::new(at(1), [4; 10]), name: "Other".into(), ..tenant() };
    insert(&store, &other).await.unwrap();
    assert_eq!(store.feed(other.id, 0, &[], 100).await.unwrap(), []);
    assert_eq!(store.feed_head(other.id).await.unwrap(), 0);
}

/// What happened in one session keeps its order, though a clock was set back between.
pub(super) async fn a_clock_set_back_does_not_turn_a_feed_around(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.now = at(3900);
    visit.consents(super::ConsentType::Telehealth, true).await;
    visit.comes(super::patient()).await;
    visit.now = at(3800);
    visit.comes(super::provider()).await;
    sequence_all(&visit.store).await;
    let payloads = visit.store.feed(tenant().id, 0, &[], 100).await.unwrap();
    let versions: Vec<u64> = payloads
        .iter()
        .map(|event| {
            serde_json::from_str::<serde_json::Value>(&event.payload).unwrap()["data"]["sessionVersion"]
                .as_u64()
        })
        .map(Option::unwrap)
        .collect();
    assert!(versions.is_sorted(), "{versions:?}");
}

/// On PostgreSQL a transaction that inserts first may commit last: its event is not skipped by who reads meanwhile.
#[tokio::test]
async fn a_transaction_held_open_across_a_read_is_not_skipped() {
    let place = Place::postgres().await;
    let visit = Visit::new(&place).await;
    let store = visit.store.clone();
    sequence_all(&store).await;
    let read = feed(&store, 0).await.last().unwrap().0;

    let Place::Postgres(url) = &place else { panic!("it is a server") };
    let mut held = <sqlx::PgConnection as sqlx::Connection>::connect(url.as_str()).await.unwrap();
    let mut transaction = sqlx::Connection::begin(&mut held).await.unwrap();
    sqlx::query(
        "INSERT INTO outbox (id, tenant, aggregate, aggregate_id, version, ordinal, type, payload, created_at) \
         VALUES ('early', $1, 'session', $2, 1, 0, 'virtual_care.session.created.v1', '{\"early\": true}', 0)",
    )
    .bind(tenant().id.to_string())
    .bind(SessionId::new(at(99), [99; 10]).to_string())
    .execute(&mut *transaction)
    .await
    .unwrap();

    // Meanwhile others write, get their positions, and are read.
    let later = Visit::made(store.clone(), 8).await;
    sequence_all(&store).await;
    let seen = feed(&store, read).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    let read = seen[0].0;

    transaction.commit().await.unwrap();
    sequence_all(&store).await;
    let after = store.feed(tenant().id, read, &[], 100).await;
    // The row of the test has no identifier of ours, so reading it is refused; its position is the point.
    assert!(matches!(after, Err(StoreError::Corrupt { .. })), "{after:?}");
    let positions = place.texts("SELECT CAST(position AS TEXT) FROM outbox WHERE id = 'early'").await;
    assert_eq!(positions, [(read + 1).to_string()]);
    drop(later);
}

pub(super) async fn of_32_writers_none_is_lost_and_every_conflict_is_told(place: Place) {
    const WRITERS: u8 = 32;
    const EACH: u8 = 2;
    let visit = Visit::new(&place).await;
    let id = visit.session.id();
    let others = [visit.store.clone(), open(&place).await];
    let tasks = (0..WRITERS).map(|writer| {
        let store = others[usize::from(writer) % 2].clone();
        tokio::spawn(async move {
            let (mut written, mut conflicts) = (0, 0);
            while written < EACH {
                // Each counts the observer's epoch on by one: a change that is lost would be missing there.
                let command = Command::RevokeTokens { participant: super::observer() };
                let session = store.load_session(id).await.unwrap().unwrap().session;
                let visit =
                    Visit { store: store.clone(), session, presence: Default::default(), now: at(100) };
                match visit.try_commit(&staff(), &command).await {
                    Ok(_) => written += 1,
                    Err(StoreError::Conflict { current_version }) => {
                        assert!(current_version > visit.session.version());
                        conflicts += 1;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            conflicts
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await.unwrap();
    }
    let session = visit.store.load_session(id).await.unwrap().unwrap().session;
    assert_eq!(session.version(), 1 + u64::from(WRITERS) * u64::from(EACH));
    let epoch = session.participant(super::observer()).unwrap().epoch;
    assert_eq!(epoch, u32::from(WRITERS) * u32::from(EACH), "none is lost");
    let versions = place
        .texts(&format!("SELECT DISTINCT CAST(version AS TEXT) FROM event WHERE aggregate_id = '{id}'"))
        .await;
    assert_eq!(versions.len() as u64, session.version(), "versions strictly by one");
    assert_eq!(super::replayed(&place, id).await, session, "and each has its events");
}

fn record(key: &str, request_hash: u8) -> IdempotencyRecord {
    IdempotencyRecord {
        tenant: tenant().id,
        caller: "key:1".into(),
        key: key.into(),
        request_hash: vec![request_hash; 32],
        status: 201,
        sealed_answer: vec![7; 10],
        created_at: at(5),
    }
}

pub(super) async fn an_answer_is_kept_with_its_change_or_not_at_all(place: Place) {
    let visit = Visit::new(&place).await;
    let store = &visit.store;
    let invite =
        |number: u8| Command::Invite { participant: participant(number), role: ParticipantRole::Observer };
    let with_key = |key: &str| Beside { idempotency: Some(record(key, 1)), ..Beside::default() };
    let commit = async |before: &super::VirtualSession, who: u8, beside: &Beside| {
        let visit = Visit {
            store: store.clone(),
            session: before.clone(),
            presence: Default::default(),
            now: at(50),
        };
        let (after, events) = visit.decide(&staff(), &invite(who));
        let commit = Commit {
            before_version: before.version(),
            after: &after,
            events: &events,
            actor: &staff(),
            now: at(50),
            next_deadline: None,
            profiles: &[],
            resume: &[],
            hands_on: false,
            beside,
        };
        store.commit(commit).await.map(|()| after)
    };
    let first = commit(&visit.session, 40, &with_key("a")).await.unwrap();
    let remembered = store.remembered(tenant().id, "key:1", "a").await.unwrap().unwrap();
    assert_eq!((remembered.status, remembered.sealed_answer), (201, vec![7; 10]));
    assert_eq!(store.remembered(tenant().id, "key:2", "a").await.unwrap(), None, "another caller's key");

    let refused = commit(&first, 41, &with_key("a")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { what: IdempotencyRecord::TAKEN }), "{refused:?}");
    let refused = commit(&visit.session, 42, &with_key("b")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { current_version: 2 }), "{refused:?}");
    assert_eq!(store.remembered(tenant().id, "key:1", "b").await.unwrap(), None);
    let loaded = store.load_session(visit.session.id()).await.unwrap().unwrap().session;
    assert_eq!(loaded, first);
}

pub(super) async fn the_audit_has_events_and_notes_in_one_order(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.lives().await;
    let store = &visit.store;
    let session = visit.session.id();
    let entry = AuditEntry {
        tenant: tenant().id,
        at: at(3950),
        actor: staff(),
        action: "token.issued".into(),
        subject_kind: "participant",
        subject: super::patient().to_string(),
        session: Some(session.to_string()),
    };
    store
        .note(Beside { audit: vec![entry], request: Some("r-1".into()), ..Beside::default() })
        .await
        .unwrap();

    let all = AuditFilter::default();
    let mut lines = Vec::new();
    let mut after = None;
    loop {
        let page = store.audit(tenant().id, &all, Page { after, limit: 5 }).await.unwrap();
        after = page.last().map(|line| line.id.clone());
        lines.extend(page);
        if lines.len() % 5 != 0 || after.is_none() {
            break;
        }
    }
    assert!(lines.is_sorted_by_key(|line| line.at), "oldest first");
    let actions: Vec<&str> = lines.iter().map(|line| line.action.as_str()).collect();
    for action in ["config.created", "session.created", "session.admitted", "session.ended", "token.issued"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    let issued = lines.iter().find(|line| line.action == "token.issued").unwrap();
    assert_eq!((issued.request.as_deref(), issued.actor.clone()), (Some("r-1"), staff()));

    let of_session = AuditFilter { session: Some(session), ..AuditFilter::default() };
    let found = store.audit(tenant().id, &of_session, Page { after: None, limit: 100 }).await.unwrap();
    assert_eq!(found.len(), lines.len() - 1, "all but the configuration's");
    let of_patient = AuditFilter { actor: Some(super::patient().to_string()), ..AuditFilter::default() };
    let found = store.audit(tenant().id, &of_patient, Page { after: None, limit: 100 }).await.unwrap();
    assert!(!found.is_empty() && found.len() < lines.len());
    let late = AuditFilter { from: Some(at(3950)), before: Some(at(3951)), ..AuditFilter::default() };
    let found = store.audit(tenant().id, &late, Page { after: None, limit: 100 }).await.unwrap();
    assert_eq!(found.iter().map(|line| line.action.as_str()).collect::<Vec<_>>(), ["token.issued"]);
    let nobody = super::TenantId::new(at(0), [3; 10]);
    assert_eq!(store.audit(nobody, &all, Page { after: None, limit: 100 }).await.unwrap(), []);
}

/// Group commit: writers that wait at one time share a transaction; who is refused in it leaves nothing, and the others
/// do not notice.
pub(super) async fn who_is_refused_among_many_harms_nobody(place: Place) {
    let visit = Visit::new(&place).await;
    let store = &visit.store;
    let tasks = (20..40).map(|number: u8| {
        let store = store.clone();
        tokio::spawn(async move {
            let presence = super::Presence::new();
            let ctx = super::Context { now: at(7), actor: &staff(), presence: &presence };
            let (session, events) = super::VirtualSession::create(super::schedule(number), &ctx).unwrap();
            // Every third has the name of a stranger, and is refused.
            let stranger = [super::profile(participant(99))];
            let profiles: &[super::Profile] = if number.is_multiple_of(3) { &stranger } else { &[] };
            let made = store.create_session(&session, &events, profiles, &staff(), &Beside::default()).await;
            (number, session.id(), made)
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        let (number, id, made) = task.await.unwrap();
        assert_eq!(made.is_err(), number.is_multiple_of(3), "{number}: {made:?}");
        assert_eq!(store.load_session(id).await.unwrap().is_some(), made.is_ok(), "{number}");
    }
    assert_eq!(
        place.count("event WHERE aggregate = 'session'").await,
        1 + 13,
        "each with its event, and no other"
    );
}
