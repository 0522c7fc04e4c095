//! Killed in the middle of writes, again and again: no half state, no event without its change or the reverse, and what was
//! answered as written is there.
//!
//! A process of this same test program writes until it is killed, and says what it was told is written. `make test-crash`
//! does it 200 times on each database; the tests of every day a few times.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command as Process, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vestibule_domain::{Command, Presence, SessionId};

use super::{Place, Visit, at, ids, insert, replayed, staff, tenant};
use crate::store::{AuditEntry, Beside, Commit, IdempotencyRecord, Location, Store};
use crate::testing::TempDir;
use crate::testing::postgres::Server;

const LOCATION: &str = "VESTIBULE_TEST_CRASH_LOCATION";
const ROUNDS: &str = "VESTIBULE_TEST_CRASH_ROUNDS";
const ROUNDS_DEFAULT: u32 = 5;
/// One round in so many, the server of the database is killed, too.
const SERVER_EVERY: u32 = 8;
/// Writers at one time, so that some of them share a transaction.
const WRITERS: u8 = 6;
/// What is written before the kill, at most.
const LINES_MAX: u32 = 120;

#[tokio::test]
async fn a_process_killed_while_it_writes_to_a_file_leaves_whole_changes() {
    let place = Place::File(TempDir::new());
    let Place::File(folder) = &place else { panic!("it is a file") };
    let location = super::place::path(folder).to_str().unwrap().to_owned();
    rounds(&place, &location, |_| {}).await;
}

#[tokio::test]
async fn a_process_or_server_killed_while_it_writes_leaves_whole_changes() {
    // Its disk writes are waited for, and it is killed: not the server the other tests use.
    let mut server =
        tokio::task::spawn_blocking(|| Server::start(TempDir::new().keep(), true)).await.unwrap();
    let location = server.database();
    let place = Place::Postgres(location.parse().unwrap());
    rounds(&place, &location, |round| {
        if round % SERVER_EVERY == SERVER_EVERY - 1 {
            server.crash();
        }
    })
    .await;
}

async fn rounds(place: &Place, location: &str, mut kill_more: impl FnMut(u32)) {
    let rounds = std::env::var(ROUNDS).map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().unwrap());
    let store = super::open(place).await;
    insert(&store, &tenant()).await.unwrap();
    store.close().await;
    // Which moments are met is up to the machine; how far each process gets, to this.
    let mut random = StdRng::seed_from_u64(4);
    let mut told = BTreeMap::new();
    for round in 0..rounds {
        let lines = random.random_range(1..=LINES_MAX);
        let mut child = writer(location, round);
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        // The test program says a few words of its own.
        let mut ours =
            said.by_ref().map_while(Result::ok).filter(|line| line.ends_with('.') && line.contains('-'));
        for line in ours.by_ref().take(lines as usize) {
            note(&mut told, &line);
        }
        kill_more(round);
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said while it was being killed counts as well; a last line may be cut off.
        ours.for_each(|line| note(&mut told, &line));
        check(place, &told, round).await;
    }
    assert!(told.len() as u32 >= rounds, "each round wrote something");
}

/// Takes `session version.`.
fn note(told: &mut BTreeMap<SessionId, u64>, line: &str) {
    let (session, version) = line.trim_end_matches('.').split_once(' ').unwrap();
    told.insert(session.parse().unwrap(), version.parse().unwrap());
}

fn writer(location: &str, round: u32) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::tests::crash::writes_until_it_is_killed",
            "--ignored",
            "--nocapture",
            "--quiet",
        ])
        .env(LOCATION, format!("{round} {location}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn check(place: &Place, told: &BTreeMap<SessionId, u64>, round: u32) {
    let none = [
        (
            "a session whose versions are not its events'",
            "virtual_session s WHERE s.version <> (SELECT count(DISTINCT e.version) FROM event e \
             WHERE e.aggregate = 'session' AND e.aggregate_id = s.id)",
        ),
        (
            "an event without its change",
            "event e WHERE e.aggregate = 'session' AND NOT EXISTS (SELECT 1 FROM virtual_session s \
             WHERE s.id = e.aggregate_id AND s.version >= e.version)",
        ),
        (
            "something told that did not happen",
            "outbox o WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.aggregate_id = o.aggregate_id \
             AND e.version = o.version AND e.ordinal = o.ordinal)",
        ),
        (
            "something that happened and is not told",
            "event e WHERE e.aggregate = 'session' AND e.type = 'created' AND NOT EXISTS (SELECT 1 FROM outbox o \
             WHERE o.aggregate_id = e.aggregate_id AND o.version = e.version)",
        ),
        (
            "a session without its participants",
            "virtual_session s WHERE 3 <> (SELECT count(*) FROM participant p WHERE p.session = s.id)",
        ),
        (
            "a session without its line in the audit",
            "virtual_session s WHERE 1 <> (SELECT count(*) FROM audit a WHERE a.subject = s.id)",
        ),
        (
            "a session without the answer that was kept",
            "virtual_session s WHERE 1 <> (SELECT count(*) FROM idempotency i WHERE i.idempotency_key = s.id)",
        ),
        (
            "an answer without its session",
            "idempotency i WHERE NOT EXISTS (SELECT 1 FROM virtual_session s WHERE s.id = i.idempotency_key)",
        ),
    ];
    let store = super::open(place).await;
    for (what, rows) in none {
        assert_eq!(place.count(rows).await, 0, "round {round}: {what}");
    }
    for (session, version) in told {
        let loaded = store.load_session(*session).await.unwrap();
        let loaded =
            loaded.unwrap_or_else(|| panic!("round {round}: {session} was said to be written")).session;
        assert!(loaded.version() >= *version, "round {round}: version {version} was said to be written");
    }
    if let Some(session) = told.keys().next_back() {
        let loaded = store.load_session(*session).await.unwrap().unwrap().session;
        assert_eq!(replayed(place, *session).await, loaded, "round {round}");
    }
    store.close().await;
}

/// Not a test: the process that is killed. It ends by itself when nobody kills it.
#[tokio::test]
#[ignore = "the crash tests start it"]
async fn writes_until_it_is_killed() {
    let Ok(told) = std::env::var(LOCATION) else { return };
    let (round, location) = told.split_once(' ').unwrap();
    let round: u8 = (round.parse::<u32>().unwrap() % 256).try_into().unwrap();
    let location = location.parse().map_or_else(|_| Location::File(location.into()), Location::Postgres);
    let store = Store::open(&location, ids()).await.unwrap();
    let writers = (0..WRITERS).map(|writer| tokio::spawn(writes(store.clone(), round, writer)));
    for writer in writers.collect::<Vec<_>>() {
        // A server that is gone ends it.
        let _ = writer.await;
    }
}

/// Makes a session, changes it a few times, makes the next.
async fn writes(store: Store, round: u8, writer: u8) {
    for number in 0..200_u8 {
        let presence = Presence::new();
        let ctx = super::Context { now: at(7), actor: &staff(), presence: &presence };
        let id = ids().session(at(7));
        let room = format!("room-{round}-{writer}-{id}").parse().unwrap();
        let schedule = super::Schedule { id, room, ..super::schedule(number) };
        let (session, events) = super::VirtualSession::create(schedule, &ctx).unwrap();
        let created = store.create_session(&session, &events, &[], &staff(), &beside(id)).await;
        if created.is_err() {
            return;
        }
        say(id, 1);
        let mut visit = Visit { store: store.clone(), session, presence: Presence::new(), now: at(50) };
        for _ in 0..3 {
            let (after, events) =
                visit.decide(&staff(), &Command::RevokeTokens { participant: super::observer() });
            let commit = Commit {
                before_version: visit.session.version(),
                after: &after,
                events: &events,
                actor: &staff(),
                now: at(50),
                next_deadline: None,
                profiles: &[],
                resume: &[],
                hands_on: false,
                beside: &Beside::default(),
            };
            if store.commit(commit).await.is_err() {
                return;
            }
            say(id, after.version());
            visit.session = after;
        }
    }
}

fn beside(session: SessionId) -> Beside {
    let answer = IdempotencyRecord {
        tenant: tenant().id,
        caller: "key:1".into(),
        key: session.to_string(),
        request_hash: vec![1; 32],
        status: 201,
        sealed_answer: vec![2; 64],
        created_at: at(7),
    };
    let entry = AuditEntry {
        tenant: tenant().id,
        at: at(7),
        actor: staff(),
        action: "session.tried".into(),
        subject_kind: "session",
        subject: session.to_string(),
        session: Some(session.to_string()),
    };
    Beside { audit: vec![entry], idempotency: Some(answer), ..Beside::default() }
}

/// Says what is written, in one piece.
fn say(session: SessionId, version: u64) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: the end is near.
    let _ = out.write_all(format!("{session} {version}.\n").as_bytes()).and_then(|()| out.flush());
}
