//! The live session at its seam, with a store that does what the test says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use vestibule_domain::{
    Communication, ConsentType, EndReason, ParticipantRole, PatientId, Schedule, SessionId, SessionPolicy,
    SessionStatus, TenantId, VideoBackend,
};

use super::thread::THREAD_BYTES_MAX;
use super::*;
use crate::media::SeatInfo;
use crate::wire::Numbered;

/// Words that nobody who waits may ever read.
const SECRET_NAMES: [&str; 3] = ["Provider Secretname", "Interpreter Secretname", "Second Secretname"];
const SECRET_LINE: &str = "a secret line";

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreMode {
    Works,
    Fails,
}

/// What was done, in order.
#[derive(Clone, Debug, PartialEq)]
enum Did {
    Send(u64, Value),
    Close(u64, CloseReason),
    Media(MediaCommand),
    Commit(u64),
    Answered(Result<u64, CallError>),
    Said(u64),
}

struct Harness {
    live: LiveSession,
    stored: Loaded,
    now: Timestamp,
    store: StoreMode,
    /// A change somebody else makes just before the next commit.
    rival: Option<(Command, Actor)>,
    did: Vec<Did>,
    ids: BTreeMap<&'static str, ParticipantId>,
    peers: BTreeMap<u64, PeerId>,
    last_connection: u64,
    commits: Vec<Commit>,
    /// What was to be kept of what was said.
    thread: Vec<ThreadLine>,
}

impl Harness {
    /// A session with a provider, a patient who has consented, an interpreter and a second provider.
    fn new() -> Self {
        Self::with_policy(SessionPolicy::default())
    }

    fn with_policy(policy: SessionPolicy) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (actor, presence) = (Actor::System, Presence::default());
        let context = Context { now, actor: &actor, presence: &presence };
        let (mut session, _) = VirtualSession::create(
            Schedule {
                id: SessionId::new(now, [201; 10]),
                tenant: TenantId::new(now, [202; 10]),
                patient_id: "p-1".parse::<PatientId>().unwrap(),
                provider_ref: "desk".parse().unwrap(),
                scheduled_start: Some(now),
                scheduled_end: None,
                communication: Communication::Speech,
                backend: VideoBackend::Embedded,
                room: "room".parse().unwrap(),
                policy,
                participants: Vec::new(),
            },
            &context,
        )
        .unwrap();
        let people = [
            ("provider", ParticipantRole::Provider, SECRET_NAMES[0]),
            ("patient", ParticipantRole::Patient, "Patient"),
            ("interpreter", ParticipantRole::Interpreter, SECRET_NAMES[1]),
            ("second", ParticipantRole::Provider, SECRET_NAMES[2]),
        ];
        let (mut ids, mut profiles) = (BTreeMap::new(), BTreeMap::new());
        for (number, (key, role, name)) in (1..).zip(people) {
            let participant = ParticipantId::new(now, [number; 10]);
            let events = session.decide(&Command::Invite { participant, role }, &context).unwrap();
            session.commit(&events);
            ids.insert(key, participant);
            profiles.insert(participant, Profile { display_name: name.into() });
        }
        let consent = Command::CaptureConsent {
            consent_type: ConsentType::Telehealth,
            granted: true,
            version: "1".parse().unwrap(),
        };
        let actor = Actor::Participant(ids["patient"]);
        let events = session.decide(&consent, &Context { now, actor: &actor, presence: &presence }).unwrap();
        session.commit(&events);
        let stored = Loaded { session, profiles };
        Self {
            live: LiveSession::new(now, stored.clone(), 7),
            stored,
            now,
            store: StoreMode::Works,
            rival: None,
            did: Vec::new(),
            ids,
            peers: BTreeMap::new(),
            last_connection: 0,
            commits: Vec::new(),
            thread: Vec::new(),
        }
    }

    fn input(&mut self, input: Input) {
        self.live.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.live.poll_output() {
            match output {
                Output::Send { connection, message } => {
                    let text = serde_json::to_value(Numbered { seq: 0, message: &message }).unwrap();
                    self.did.push(Did::Send(connection.0, text));
                }
                Output::Close { connection, reason } => self.did.push(Did::Close(connection.0, reason)),
                Output::Media(command) => self.did.push(Did::Media(command)),
                Output::Commit(commit) => {
                    self.did.push(Did::Commit(commit.before));
                    let result = self.write(&commit);
                    self.live.committed(self.now, result);
                }
                Output::Answered { result, .. } => self.did.push(Did::Answered(result)),
                Output::Queue(_) => {}
                Output::Said(line) => {
                    self.did.push(Did::Said(line.position));
                    self.thread.push(*line);
                }
            }
        }
    }

    fn write(&mut self, commit: &Commit) -> Result<(), CommitError> {
        if let Some((command, actor)) = self.rival.take() {
            let presence = Presence::default();
            let context = Context { now: self.now, actor: &actor, presence: &presence };
            let events = self.stored.session.decide(&command, &context).unwrap();
            self.stored.session.commit(&events);
        }
        if self.store == StoreMode::Fails {
            return Err(CommitError::Unavailable);
        }
        if commit.before != self.stored.session.version() {
            return Err(CommitError::Conflict(Box::new(self.stored.clone())));
        }
        assert_eq!(commit.after.version(), commit.before + 1);
        self.stored.session = commit.after.clone();
        self.commits.push(commit.clone());
        Ok(())
    }

    fn hello(&mut self, who: &str) -> u64 {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let participant = self.ids[who];
        let epoch = self.live.session().participant(participant).unwrap().epoch;
        let before = self.did.len();
        self.input(Input::Hello { connection, participant, epoch, request: Some(RequestId(1)) });
        let added = self.did[before..].iter().find_map(|did| match did {
            Did::Media(MediaCommand::AddPeer(peer)) => Some(*peer),
            _ => None,
        });
        if let Some(peer) = added {
            self.peers.insert(connection.0, peer);
        }
        connection.0
    }

    fn say(&mut self, connection: u64, message: Value) {
        let frame = Frame::parse(&message.to_string());
        self.input(Input::Frame { connection: ConnectionId(connection), frame });
    }

    /// Offers, and lets the engine answer with two seats for people and one for a screen.
    fn offer(&mut self, connection: u64) {
        self.say(connection, json!({"type": "offer", "sdp": "v=0", "negotiation": 1, "id": 9}));
        let peer = self.peers[&connection];
        let mid = |text: &str| Some(text.to_owned());
        let seats = vec![
            SeatInfo { seat: SeatId(0), audio: mid("3"), video: mid("4") },
            SeatInfo { seat: SeatId(1), audio: mid("5"), video: mid("6") },
            SeatInfo { seat: SeatId(2), audio: None, video: mid("7") },
        ];
        self.media(MediaEvent::Answer { peer, negotiation: 1, sdp: "v=0".into(), seats });
        self.media(MediaEvent::Connected { peer });
    }

    fn media(&mut self, event: MediaEvent) {
        self.input(Input::Media(event));
    }

    fn enter(&mut self, who: &str) -> u64 {
        let connection = self.hello(who);
        self.offer(connection);
        connection
    }

    fn admit(&mut self, by: u64, who: &str) {
        let id = self.ids[who];
        self.say(by, json!({"type": "admit", "participantId": id, "id": 2}));
    }

    fn advance(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        while self.live.poll_timeout().is_some_and(|due| due <= self.now) {
            self.input(Input::Timeout);
        }
    }

    fn sent(&self, connection: u64) -> Vec<&Value> {
        let to = |did| match did {
            &Did::Send(to, ref message) if to == connection => Some(message),
            _ => None,
        };
        self.did.iter().filter_map(to).collect()
    }

    fn types(&self, connection: u64) -> Vec<&str> {
        self.sent(connection).into_iter().map(|message| message["type"].as_str().unwrap()).collect()
    }

    fn errors(&self, connection: u64) -> Vec<&str> {
        let errors = self.sent(connection).into_iter().filter(|message| message["type"] == "error");
        errors.map(|message| message["code"].as_str().unwrap()).collect()
    }

    fn position(&self, what: impl Fn(&Did) -> bool) -> usize {
        self.did.iter().position(what).expect("it was done")
    }

    /// Whether a gate is open, as the engine was told last.
    fn gate(&self, peer: PeerId) -> Option<bool> {
        self.did.iter().rev().find_map(|did| match did {
            Did::Media(MediaCommand::OpenGate(gate)) if *gate == peer => Some(true),
            Did::Media(MediaCommand::CloseGate(gate)) if *gate == peer => Some(false),
            _ => None,
        })
    }

    /// Who sits in whose seats, as the engine was told.
    fn seated(&self, connection: u64) -> BTreeMap<u16, PeerId> {
        let viewer = self.peers[&connection];
        let mut seated = BTreeMap::new();
        for did in &self.did {
            if let Did::Media(MediaCommand::SetSeat { peer, seat, occupant }) = did
                && *peer == viewer
            {
                match occupant {
                    Some(occupant) => seated.insert(seat.0, *occupant),
                    None => seated.remove(&seat.0),
                };
            }
        }
        seated
    }

    fn seats_told(&self, connection: u64) -> Option<&Value> {
        self.sent(connection).into_iter().rfind(|message| message["type"] == "seats")
    }
}

#[test]
fn who_waits_gets_nothing_of_anybody_and_nobody_gets_anything_of_them() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let interpreter = harness.enter("interpreter");
    harness.admit(provider, "interpreter");
    let patient = harness.enter("patient");
    for kind in [SourceKind::Microphone, SourceKind::Camera, SourceKind::Screen] {
        let peer = harness.peers[&provider];
        harness.media(MediaEvent::Source { peer, kind, flowing: true });
    }
    harness.say(provider, json!({"type": "chat", "clientId": "c", "text": SECRET_LINE}));
    harness.say(interpreter, json!({"type": "publish", "kind": "audio", "muted": true}));
    let others: Vec<Value> = ["provider", "interpreter"].map(|who| json!(harness.ids[who])).into();

    // They try.
    let before = harness.sent(provider).len();
    harness.say(patient, json!({"type": "chat", "clientId": "c", "text": "let me in"}));
    harness.say(patient, json!({"type": "subscribe", "slots": [{"seat": 0, "participant": others[0]}]}));
    harness.say(patient, json!({"type": "admit", "participantId": harness.ids["patient"]}));
    harness.say(
        patient,
        json!({"type": "deny", "participantId": harness.ids["interpreter"], "reason": "other"}),
    );
    harness.say(patient, json!({"type": "end"}));
    assert_eq!(
        harness.errors(patient),
        ["not_admitted", "not_admitted", "not_permitted", "not_permitted", "not_permitted"]
    );
    assert_eq!(harness.sent(provider).len(), before, "and nobody notices");

    let allowed = BTreeSet::from(["welcome", "waiting", "answer", "error", "session"]);
    assert!(
        harness.types(patient).into_iter().all(|kind| allowed.contains(kind)),
        "{:?}",
        harness.types(patient)
    );
    let read: String = harness.sent(patient).into_iter().map(Value::to_string).collect();
    for secret in SECRET_NAMES.into_iter().chain([SECRET_LINE]) {
        assert!(!read.contains(secret), "{secret} in {read}");
    }
    for id in others {
        assert!(!read.contains(id.as_str().unwrap()), "{id} in {read}");
    }
    let peer = harness.peers[&patient];
    assert!(!harness.did.contains(&Did::Media(MediaCommand::OpenGate(peer))));
    assert!(harness.seated(patient).is_empty());
    for viewer in [provider, interpreter] {
        assert!(harness.seated(viewer).values().all(|&occupant| occupant != peer));
    }
    let seen_by_interpreter: String = harness.sent(interpreter).into_iter().map(Value::to_string).collect();
    assert!(!seen_by_interpreter.contains("\"Patient\""), "only providers see who waits");
}

#[test]
fn an_admission_is_written_before_media_flows_and_then_everybody_is_seated() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    assert!(harness.types(provider).contains(&"knock"));
    let version = harness.live.session().version();
    harness.admit(provider, "patient");

    let gate = harness.position(|did| *did == Did::Media(MediaCommand::OpenGate(harness.peers[&patient])));
    let written = harness.position(|did| *did == Did::Commit(version));
    assert!(written < gate, "commit, then open");
    let admitted = harness.sent(patient).into_iter().find(|message| message["type"] == "admitted").unwrap();
    assert_eq!(admitted["participants"][0]["name"], SECRET_NAMES[0]);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
    assert_eq!(harness.seated(patient), BTreeMap::from([(0, harness.peers[&provider])]));
    assert_eq!(harness.seated(provider), BTreeMap::from([(0, harness.peers[&patient])]));
    let told = harness.seats_told(patient).unwrap();
    assert_eq!(told["seats"][0], json!({"seat": 0, "participant": harness.ids["provider"]}));
    let done = harness.sent(provider).into_iter().find(|message| message["replyTo"] == 2).unwrap();
    assert_eq!(done["type"], "done");
}

#[test]
fn what_was_said_while_somebody_was_out_is_never_for_them() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let patient = harness.enter("patient");
    let say = |harness: &mut Harness, text: &str| {
        harness.say(provider, json!({"type": "chat", "clientId": "c", "text": text}));
    };
    say(&mut harness, SECRET_LINE);
    harness.admit(provider, "patient");
    say(&mut harness, "for all");
    harness.input(Input::Closed { connection: ConnectionId(patient) });
    harness.input(Input::Closed { connection: ConnectionId(second) });
    let patient = harness.enter("patient");
    say(&mut harness, SECRET_LINE);
    harness.admit(provider, "patient");
    let read: String = harness.sent(patient).into_iter().map(Value::to_string).collect();
    assert!(read.contains("for all") && !read.contains(SECRET_LINE), "{read}");
    let second = harness.enter("second");
    assert_eq!(
        harness.sent(second)[0]["chat"].as_array().unwrap().len(),
        3,
        "who was in all the time has all"
    );
}

#[test]
fn an_end_is_done_before_it_is_written_and_written_until_it_is() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.store = StoreMode::Fails;
    let before = harness.live.session().version();
    harness.say(provider, json!({"type": "end", "id": 5}));
    let peer = harness.peers[&patient];
    let cut = harness.position(|did| *did == Did::Media(MediaCommand::CloseGate(peer)));
    assert!(cut < harness.position(|did| *did == Did::Commit(before)), "cut, then commit");
    assert!(!harness.types(patient).contains(&"ended"), "it is not so yet");
    harness.advance(3);
    assert!(!harness.live.is_over());
    harness.store = StoreMode::Works;
    harness.advance(2);
    assert!(harness.live.is_over());
    assert_eq!(harness.stored.session.end_reason(), Some(EndReason::ProviderEnded));
    for connection in [provider, patient] {
        let last = *harness.sent(connection).last().unwrap();
        assert_eq!((&last["type"], &last["reason"]), (&json!("ended"), &json!("provider_ended")));
        assert!(harness.did.contains(&Did::Close(connection, CloseReason::Over)));
    }
    assert!(
        harness
            .sent(provider)
            .into_iter()
            .any(|message| message["type"] == "done" && message["replyTo"] == 5)
    );
    assert!(harness.did.contains(&Did::Media(MediaCommand::CloseRoom)));
}

#[test]
fn without_the_store_nobody_is_let_in_and_it_can_be_tried_again() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.store = StoreMode::Fails;
    harness.admit(provider, "patient");
    let error = *harness.sent(provider).last().unwrap();
    assert_eq!((&error["code"], &error["retryable"]), (&json!("store_unavailable"), &json!(true)));
    assert!(!harness.did.contains(&Did::Media(MediaCommand::OpenGate(harness.peers[&patient]))));
    let late = harness.hello("interpreter");
    assert_eq!(harness.errors(late), ["store_unavailable"]);
    assert!(harness.did.contains(&Did::Close(late, CloseReason::TryAgain)));
    harness.store = StoreMode::Works;
    harness.admit(provider, "patient");
    assert!(harness.types(patient).contains(&"admitted"));
}

#[test]
fn a_change_by_somebody_else_is_taken_in_and_decided_on_anew() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    let observer = ParticipantId::new(harness.now, [77; 10]);
    let invite = Command::Invite { participant: observer, role: ParticipantRole::Observer };
    harness.rival = Some((invite, Actor::System));
    harness.admit(provider, "patient");
    assert!(harness.types(patient).contains(&"admitted"));
    assert!(harness.live.knows(observer));
}

#[test]
fn a_session_cancelled_by_somebody_else_lets_nobody_in_any_more() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.rival = Some((Command::Cancel, Actor::System));
    let late = harness.hello("interpreter");
    assert_eq!(harness.errors(late), ["session_over"]);
    assert!(harness.did.contains(&Did::Close(late, CloseReason::NotLetIn)));
    let last = *harness.sent(provider).last().unwrap();
    assert_eq!((&last["type"], &last["reason"]), (&json!("ended"), &json!("cancelled")));
    assert!(harness.live.is_over());
}

#[test]
fn a_newer_socket_takes_the_place_of_the_older_one() {
    let mut harness = Harness::new();
    let first = harness.enter("provider");
    let second = harness.enter("provider");
    assert_eq!(harness.types(first).last(), Some(&"superseded"));
    assert!(harness.did.contains(&Did::Close(first, CloseReason::Superseded)));
    assert!(harness.did.contains(&Did::Media(MediaCommand::RemovePeer(harness.peers[&first]))));
    harness.say(first, json!({"type": "ping", "id": 8}));
    harness.input(Input::Closed { connection: ConnectionId(first) });
    harness.say(second, json!({"type": "ping", "id": 8}));
    assert_eq!(harness.types(second).last(), Some(&"done"));
    assert_eq!(harness.types(first).last(), Some(&"superseded"), "the old one is not heard any more");
}

#[test]
fn a_patient_who_comes_back_by_the_bare_link_knocks_again() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.input(Input::Closed { connection: ConnectionId(patient) });
    let seen = *harness.sent(provider).last().unwrap();
    assert_eq!(
        harness.sent(provider).iter().rfind(|m| m["type"] == "participant").unwrap()["participant"]["state"],
        "lost",
        "{seen}"
    );
    let back = harness.enter("patient");
    assert!(harness.types(back).contains(&"waiting"));
    assert!(harness.seated(back).is_empty());
    let knock = harness.sent(provider).into_iter().rfind(|message| message["type"] == "knock").unwrap();
    assert_eq!(knock["newDevice"], true);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
    harness.admit(provider, "patient");
    assert!(harness.types(back).contains(&"admitted"));
}

#[test]
fn who_is_not_let_in_hears_why_and_may_knock_again() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    let id = harness.ids["patient"];
    harness.say(provider, json!({"type": "deny", "participantId": id, "reason": "not_now", "id": 3}));
    let last = *harness.sent(patient).last().unwrap();
    assert_eq!((&last["type"], &last["reason"]), (&json!("denied"), &json!("not_now")));
    assert!(harness.did.contains(&Did::Close(patient, CloseReason::Over)));
    let again = harness.hello("patient");
    assert!(harness.types(again).contains(&"waiting"));
}

#[test]
fn a_provider_who_comes_later_hears_who_waits() {
    let mut harness = Harness::new();
    let patient = harness.enter("patient");
    let waiting = harness.sent(patient).into_iter().rfind(|message| message["type"] == "waiting").unwrap();
    assert_eq!(waiting["providerPresent"], false);
    let provider = harness.enter("provider");
    assert!(harness.types(provider).contains(&"knock"));
    let waiting = harness.sent(patient).into_iter().rfind(|message| message["type"] == "waiting").unwrap();
    assert_eq!(waiting["providerPresent"], true);
    harness.input(Input::Position(Some(2)));
    let waiting = harness.sent(patient).into_iter().rfind(|message| message["type"] == "waiting").unwrap();
    assert_eq!(waiting["position"], 2);
}

#[test]
fn when_somebody_leaves_the_others_see_it_and_their_seats_are_free() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    assert_eq!(harness.seated(provider).len(), 1);
    harness.say(second, json!({"type": "leave", "id": 4}));
    assert!(
        harness.sent(second).into_iter().any(|message| message["type"] == "done" && message["replyTo"] == 4)
    );
    assert!(harness.did.contains(&Did::Close(second, CloseReason::Over)));
    let gone = harness.sent(provider).into_iter().rfind(|message| message["type"] == "participant").unwrap();
    assert_eq!((&gone["participantId"], &gone["participant"]), (&json!(harness.ids["second"]), &Value::Null));
    assert!(harness.seated(provider).is_empty());
}

#[test]
fn whoever_shares_sits_in_the_screen_seat_while_they_share() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let sharing = harness.peers[&second];
    harness.media(MediaEvent::Source { peer: sharing, kind: SourceKind::Screen, flowing: true });
    assert_eq!(harness.seated(provider), BTreeMap::from([(0, sharing), (2, sharing)]));
    harness.media(MediaEvent::Source { peer: sharing, kind: SourceKind::Screen, flowing: false });
    assert_eq!(harness.seated(provider), BTreeMap::from([(0, sharing)]));
}

#[test]
fn a_seat_asked_for_is_given_and_of_wishes_that_cannot_all_be_fulfilled_none_is() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let interpreter = harness.enter("interpreter");
    harness.admit(provider, "interpreter");
    let peer = |connection| harness.peers[&connection];
    let (second_peer, interpreter_peer) = (peer(second), peer(interpreter));
    assert_eq!(harness.seated(provider), BTreeMap::from([(0, second_peer), (1, interpreter_peer)]));
    let id = harness.ids["interpreter"];
    harness
        .say(provider, json!({"type": "subscribe", "slots": [{"seat": 0, "participant": id, "layer": "q"}]}));
    assert_eq!(harness.seated(provider), BTreeMap::from([(0, interpreter_peer), (1, second_peer)]));
    let before = harness.did.iter().filter(|did| matches!(did, Did::Media(_))).count();
    let wishes = [
        json!({"seat": 9}),
        json!({"seat": 0, "participant": harness.ids["patient"]}),
        json!({"seat": 0, "participant": harness.ids["provider"]}),
        json!({"seat": 2, "participant": harness.ids["second"]}),
        json!({"seat": 0, "layer": "no rid"}),
    ];
    for wish in &wishes {
        let first = json!({"seat": 1, "participant": null, "layer": "q"});
        harness.say(provider, json!({"type": "subscribe", "slots": [first, wish]}));
    }
    assert_eq!(harness.errors(provider), ["refused"; 5]);
    let after = harness.did.iter().filter(|did| matches!(did, Did::Media(_))).count();
    assert_eq!(after, before);
}

#[test]
fn a_session_that_outgrows_its_seats_asks_for_more() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    assert_eq!(harness.sent(provider)[0]["seats"], json!({"people": 3, "screens": 1}));
    let mut members = Vec::new();
    for number in 100..104 {
        let participant = ParticipantId::new(harness.now, [number; 10]);
        let command = Command::Invite { participant, role: ParticipantRole::Provider };
        harness.input(Input::Command { call: CallId(1), command, actor: Actor::System, expected: None });
        harness.ids.insert(["a", "b", "c", "d"][usize::from(number) - 100], participant);
        members.push(participant);
    }
    for who in ["a", "b", "c", "d"] {
        harness.enter(who);
    }
    assert_eq!(harness.seats_told(provider).unwrap()["people"], 6);
}

#[test]
fn a_lost_transport_gets_a_fresh_one_on_the_same_socket() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let old = harness.peers[&second];
    harness.media(MediaEvent::Disconnected { peer: old, why: "gone".into() });
    assert_eq!(harness.types(second).last(), Some(&"disconnected"));
    let fresh = harness.did.iter().rev().find_map(|did| match did {
        Did::Media(MediaCommand::OpenGate(peer)) => Some(*peer),
        _ => None,
    });
    assert_ne!(fresh, Some(old));
    assert!(harness.did.contains(&Did::Media(MediaCommand::RemovePeer(old))));
    assert_eq!(harness.seated(provider), BTreeMap::from([(0, fresh.unwrap())]));
}

#[test]
fn the_answer_names_the_request_and_so_does_every_refusal() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let answer = harness.sent(provider).into_iter().find(|message| message["type"] == "answer").unwrap();
    assert_eq!(answer["replyTo"], 9);
    let peer = harness.peers[&provider];
    harness.say(provider, json!({"type": "offer", "sdp": "x", "negotiation": 2, "id": 11}));
    harness.say(provider, json!({"type": "offer", "sdp": "x", "negotiation": 2, "id": 12}));
    harness.media(MediaEvent::OfferRejected { peer, negotiation: 2, why: "no".into() });
    harness.say(provider, json!({"type": "restart", "ufrag": "u", "pwd": "p", "id": 13}));
    harness.media(MediaEvent::RestartRejected { peer, why: "no".into() });
    harness.say(provider, json!({"type": "stats", "id": 14}));
    harness.media(MediaEvent::Busy(MediaCommand::Stats(peer)));
    harness.say(provider, json!({"type": "hello", "ticket": "again", "id": 15}));
    harness.say(provider, json!({"type": "nonsense", "id": 16}));
    let refusals: Vec<(&str, u64)> = harness
        .sent(provider)
        .into_iter()
        .filter(|message| message["type"] == "error")
        .map(|message| (message["code"].as_str().unwrap(), message["replyTo"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("refused", 12),
        ("offer_rejected", 11),
        ("malformed", 13),
        ("busy", 14),
        ("hello_expected", 15),
        ("malformed", 16),
    ];
    assert_eq!(refusals, expected);
}

#[test]
fn a_restart_before_the_first_answer_is_refused_and_later_ones_are_answered_by_their_own_number() {
    let mut harness = Harness::new();
    let provider = harness.hello("provider");
    let restart = |id: u64| json!({"type": "restart", "ufrag": "u", "pwd": "p", "id": id});
    harness.say(provider, restart(7));
    assert_eq!(harness.errors(provider), ["refused"]);
    harness.offer(provider);
    let peer = harness.peers[&provider];
    harness.say(provider, restart(9));
    harness.say(provider, restart(10));
    harness.media(MediaEvent::RestartRejected { peer, why: "no".into() });
    harness.media(MediaEvent::Restarted { peer, ufrag: "u".into(), pwd: "p".into() });
    let replies: Vec<(&str, u64)> = harness
        .sent(provider)
        .into_iter()
        .filter_map(|message| Some((message["type"].as_str()?, message["replyTo"].as_u64()?)))
        .filter(|&(_, id)| id > 9)
        .collect();
    assert_eq!(replies, [("error", 10)]);
    assert!(
        harness
            .sent(provider)
            .into_iter()
            .any(|message| message["type"] == "restarted" && message["replyTo"] == 9)
    );
}

#[test]
fn what_the_engine_will_never_answer_is_refused() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let peer = harness.peers[&provider];
    harness.say(provider, json!({"type": "stats", "id": 5}));
    harness.media(MediaEvent::Refused { peer, why: "no such peer".into() });
    harness.say(provider, json!({"type": "stats", "id": 6}));
    harness.media(MediaEvent::Disconnected { peer, why: "lost".into() });
    assert_eq!(harness.errors(provider), ["refused", "busy"]);
}

#[test]
fn what_is_taken_stays_taken_while_it_cannot_be_written() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    harness.store = StoreMode::Fails;
    harness.say(second, json!({"type": "leave"}));
    let before = harness.sent(second).len();
    harness.say(provider, json!({"type": "chat", "clientId": "c", "text": SECRET_LINE}));
    let peer = harness.peers[&second];
    harness.media(MediaEvent::Disconnected { peer, why: "lost".into() });
    assert!(harness.sent(second)[before..].iter().all(|message| message["type"] != "chat"));
    let opened =
        harness.did.iter().filter(|did| matches!(did, Did::Media(MediaCommand::OpenGate(_)))).count();
    assert_eq!(opened, 2, "the gates of their welcomes, and none since");
    assert!(harness.seated(provider).is_empty());
    // They come back before it is written: it is past then.
    harness.store = StoreMode::Works;
    let again = harness.hello("second");
    harness.advance(5);
    assert!(!harness.did.contains(&Did::Close(again, CloseReason::Over)), "they are not thrown out");
}

#[test]
fn a_change_of_who_is_in_by_somebody_else_moves_the_gates() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    let send_back = Command::SendBack { participant: harness.ids["patient"] };
    harness.rival = Some((send_back, Actor::System));
    harness.say(second, json!({"type": "leave"}));
    let peer = harness.peers[&patient];
    let last = harness.did.iter().rfind(|did| {
        matches!(did, Did::Media(MediaCommand::OpenGate(gate) | MediaCommand::CloseGate(gate)) if *gate == peer)
    });
    assert_eq!(last, Some(&Did::Media(MediaCommand::CloseGate(peer))));
    assert_eq!(harness.types(patient).last(), Some(&"waiting"));
    assert!(harness.seated(provider).is_empty() && harness.seated(patient).is_empty());
}

#[test]
fn who_waits_and_is_gone_cannot_be_let_in() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.input(Input::Closed { connection: ConnectionId(patient) });
    let gone = harness.sent(provider).into_iter().rfind(|message| message["type"] == "participant").unwrap();
    assert_eq!(gone["participant"], Value::Null, "and is not shown as waiting");
    harness.admit(provider, "patient");
    assert_eq!(harness.errors(provider), ["not_connected"]);
    assert_eq!(harness.live.session().status(), SessionStatus::Waiting);
}

#[test]
fn requests_that_the_engine_does_not_answer_are_bounded() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    for _ in 0..20 {
        harness.say(provider, json!({"type": "stats"}));
    }
    let asked = harness.did.iter().filter(|did| matches!(did, Did::Media(MediaCommand::Stats(_)))).count();
    assert_eq!(asked, REQUESTS_UNDER_WAY_MAX);
    assert_eq!(harness.errors(provider).len(), 20 - REQUESTS_UNDER_WAY_MAX);
}

#[test]
fn a_line_is_shown_at_once_and_then_kept_for_those_it_was_for() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    // Lines are no change of state: they are shown while the store takes none.
    harness.store = StoreMode::Fails;
    for text in ["first", SECRET_LINE] {
        harness.say(provider, json!({"type": "chat", "clientId": text, "text": text, "id": 5}));
    }
    assert_eq!(harness.types(second).into_iter().filter(|kind| *kind == "chat").count(), 2);
    let shown = harness
        .position(|did| matches!(did, Did::Send(to, message) if *to == second && message["type"] == "chat"));
    let kept = harness.position(|did| *did == Did::Said(1));
    assert!(shown < kept, "{:?}", harness.did);
    let (first, last) = (&harness.thread[0], &harness.thread[1]);
    assert_eq!((first.position, last.position), (1, 2));
    assert_eq!((last.text.as_str(), last.client_id.as_str()), (SECRET_LINE, SECRET_LINE));
    assert_eq!((last.from, last.at), (harness.ids["provider"], harness.now));
    assert_eq!(last.audience, BTreeSet::from([harness.ids["provider"], harness.ids["second"]]));
    assert!(!format!("{last:?}").contains(SECRET_LINE), "no log shows what was said");
}

#[test]
fn a_restart_loses_no_line_and_gives_none_to_anybody_else() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.say(provider, json!({"type": "chat", "clientId": "a", "text": SECRET_LINE}));
    let second = harness.enter("second");
    harness.say(second, json!({"type": "chat", "clientId": "b", "text": "for both"}));
    let chat = |harness: &Harness, connection| {
        let welcome = harness.sent(connection)[0];
        let lines = welcome["chat"].as_array().unwrap().iter();
        lines.map(|line| (line["text"].clone(), line["name"].clone())).collect::<Vec<_>>()
    };
    let before = harness.enter("provider");
    let before = chat(&harness, before);
    assert_eq!(before.len(), 2);

    let kept = harness.thread.clone();
    harness.live = LiveSession::new(harness.now, harness.stored.clone(), 8).with_thread(kept);
    let provider = harness.enter("provider");
    assert_eq!(chat(&harness, provider), before);
    let second = harness.enter("second");
    assert_eq!(chat(&harness, second), [(json!("for both"), json!(SECRET_NAMES[2]))]);
    harness.say(second, json!({"type": "chat", "clientId": "c", "text": "again"}));
    assert_eq!(harness.thread.last().unwrap().position, 3, "the thread goes on");
}

#[test]
fn a_line_of_chat_is_bounded() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    for (client_id, text) in
        [("c", ""), ("c", " \n"), ("c", &*"x".repeat(CHAT_CHARACTERS_MAX + 1)), ("", "x")]
    {
        harness.say(provider, json!({"type": "chat", "clientId": client_id, "text": text}));
    }
    assert_eq!(harness.errors(provider), ["malformed"; 4]);
    assert!(!harness.types(second).contains(&"chat"));
    harness.say(provider, json!({"type": "chat", "clientId": "c", "text": "ä".repeat(CHAT_CHARACTERS_MAX)}));
    assert!(harness.types(second).contains(&"chat"));
    for _ in 0..=THREAD_LINES_MAX {
        harness.say(provider, json!({"type": "chat", "clientId": "c", "text": "x"}));
    }
    let again = harness.enter("second");
    assert_eq!(harness.sent(again)[0]["chat"].as_array().unwrap().len(), THREAD_LINES_MAX);
}

#[test]
fn what_somebody_who_comes_back_gets_of_the_chat_is_bounded_in_bytes() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.enter("second");
    for _ in 0..20 {
        harness
            .say(provider, json!({"type": "chat", "clientId": "c", "text": "ä".repeat(CHAT_CHARACTERS_MAX)}));
    }
    let late = harness.enter("second");
    let welcome = harness.sent(late)[0];
    assert_eq!(welcome["chat"].as_array().unwrap().len(), THREAD_BYTES_MAX / (2 * CHAT_CHARACTERS_MAX));
}

#[test]
fn an_old_ticket_does_not_let_in_who_was_removed() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let id = harness.ids["interpreter"];
    let old_epoch = harness.live.session().participant(id).unwrap().epoch;
    let by = Actor::Participant(harness.ids["provider"]);
    let remove = Command::Remove { participant: id };
    harness.input(Input::Command { call: CallId(1), command: remove, actor: by, expected: None });
    let connection = ConnectionId(50);
    harness.input(Input::Hello { connection, participant: id, epoch: old_epoch, request: None });
    assert_eq!(harness.errors(50), ["ticket_invalid"]);
    assert!(harness.did.contains(&Did::Close(50, CloseReason::NotLetIn)));
    assert_eq!(harness.errors(provider), [""; 0]);
}

#[test]
fn a_call_that_saw_another_version_changes_nothing_and_hears_of_the_one_there_is() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let id = harness.ids["interpreter"];
    let seen = harness.live.session().version();
    let call = |expected| Input::Command {
        call: CallId(7),
        command: Command::RevokeTokens { participant: id },
        actor: Actor::System,
        expected: Some(expected),
    };
    harness.input(call(seen - 1));
    assert_eq!(harness.did.last(), Some(&Did::Answered(Err(CallError::Stale { current: seen }))));
    assert_eq!(harness.live.session().version(), seen);
    harness.input(call(seen));
    assert!(harness.did.contains(&Did::Answered(Ok(seen + 1))));

    // Somebody else is faster by a moment: decided anew, it is stale.
    let rival = Command::Invite {
        participant: ParticipantId::new(harness.now, [88; 10]),
        role: ParticipantRole::Observer,
    };
    harness.rival = Some((rival, Actor::System));
    harness.input(call(seen + 1));
    assert!(harness.did.contains(&Did::Answered(Err(CallError::Stale { current: seen + 2 }))));
    assert_eq!(harness.live.session().participant(id).unwrap().epoch, 1);
    assert_eq!(harness.errors(provider), [""; 0]);
}

/// A removal cuts before it is written; when it comes to nothing, because its caller saw another version, what was cut is
/// open again.
#[test]
fn a_stale_removal_takes_nothing_away() {
    let mut harness = Harness::new();
    harness.enter("provider");
    let second = harness.enter("second");
    let id = harness.ids["second"];
    let seen = harness.live.session().version();
    let rival = Command::Invite {
        participant: ParticipantId::new(harness.now, [88; 10]),
        role: ParticipantRole::Observer,
    };
    harness.rival = Some((rival, Actor::System));
    let command = Command::Remove { participant: id };
    harness.input(Input::Command { call: CallId(7), command, actor: Actor::System, expected: Some(seen) });
    assert!(harness.did.contains(&Did::Answered(Err(CallError::Stale { current: seen + 1 }))));
    assert_eq!(harness.gate(harness.peers[&second]), Some(true));
    assert!(harness.live.has_members());
}

#[test]
fn who_stays_away_too_long_fails_the_session() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.input(Input::Closed { connection: ConnectionId(patient) });
    harness.advance(59);
    assert!(!harness.live.is_over());
    harness.advance(2);
    assert_eq!(harness.stored.session.end_reason(), Some(EndReason::ReconnectExpired));
    assert_eq!(harness.sent(provider).last().unwrap()["reason"], "reconnect_expired");
}

#[test]
fn a_timer_that_cannot_be_written_is_tried_again_and_does_not_spin() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.input(Input::Closed { connection: ConnectionId(patient) });
    harness.store = StoreMode::Fails;
    harness.advance(65);
    let tried = harness.did.iter().filter(|did| matches!(did, Did::Commit(_))).count();
    assert!(tried < 20, "{tried}");
    harness.store = StoreMode::Works;
    harness.advance(5);
    assert!(harness.live.is_over());
}

#[test]
fn who_comes_back_before_a_timer_is_written_finds_the_others_media_undisturbed() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.input(Input::Closed { connection: ConnectionId(patient) });
    harness.store = StoreMode::Fails;
    harness.advance(61);
    harness.store = StoreMode::Works;
    harness.enter("patient");
    harness.admit(provider, "patient");
    harness.advance(120);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
    let peer = harness.peers[&provider];
    assert!(!harness.did.contains(&Did::Media(MediaCommand::CloseGate(peer))));
}

#[test]
fn a_revocation_that_comes_to_nothing_gives_media_back() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    // While the second provider ends the visit, somebody else takes them out of it.
    let remove = Command::Remove { participant: harness.ids["second"] };
    harness.rival = Some((remove, Actor::System));
    harness.say(second, json!({"type": "end", "id": 4}));
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
    for connection in [provider, patient] {
        let peer = harness.peers[&connection];
        assert_eq!(harness.gate(peer), Some(true), "the visit goes on");
    }
    assert!(harness.did.contains(&Did::Close(second, CloseReason::Over)));
    assert!(harness.live.knocking.is_empty(), "who was taken out does not knock");
    assert_eq!(harness.seated(provider).len(), 1, "the patient alone");
}

#[test]
fn after_a_restart_those_who_were_in_are_lost_until_they_come_back() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.enter("patient");
    harness.admit(provider, "patient");
    harness.live = LiveSession::new(harness.now, harness.stored.clone(), 8);
    assert!(harness.live.poll_timeout().is_some(), "their grace runs");
    let again = harness.enter("provider");
    let welcome = harness.sent(again)[0];
    assert_eq!(welcome["participants"][0]["state"], "lost");
    harness.enter("patient");
    harness.admit(again, "patient");
    harness.advance(120);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
}

#[test]
fn peers_of_two_sessions_have_other_numbers() {
    let mut one = PeerNumbers { room: 1, given: 0 };
    let mut two = PeerNumbers { room: 2, given: 0 };
    assert_ne!(one.next(), two.next());
}

#[derive(Clone, Debug)]
enum Step {
    Hello(usize),
    Closed(usize),
    Say(usize, usize),
    Source(usize, bool),
    Lost(usize),
    Advance(u8),
    Store(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4usize).prop_map(Step::Hello),
        1 => (0..8usize).prop_map(Step::Closed),
        8 => (0..8usize, 0..12usize).prop_map(|(who, what)| Step::Say(who, what)),
        2 => (0..8usize, any::<bool>()).prop_map(|(who, on)| Step::Source(who, on)),
        1 => (0..8usize).prop_map(Step::Lost),
        1 => any::<u8>().prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Store),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens: nobody who is not in gets names, lines, seats or an open gate.
    #[test]
    fn nothing_reaches_who_is_not_in(steps in prop::collection::vec(step(), 1..60)) {
        const WHO: [&str; 4] = ["provider", "patient", "interpreter", "second"];
        let mut harness = Harness::new();
        for step in steps {
            let begun = harness.did.len();
            let connections = harness.last_connection;
            let pick = |n: usize| (n as u64 % connections.max(1)) + 1;
            let inside_before: BTreeSet<ParticipantId> = inside(&harness);
            match step {
                Step::Hello(who) => { harness.enter_if_let_in(WHO[who]); }
                Step::Closed(n) => harness.input(Input::Closed { connection: ConnectionId(pick(n)) }),
                Step::Say(n, what) => {
                    let message = harness.message(what);
                    harness.say(pick(n), message);
                }
                Step::Source(n, flowing) => {
                    if let Some(&peer) = harness.peers.get(&pick(n)) {
                        harness.media(MediaEvent::Source { peer, kind: SourceKind::Camera, flowing });
                    }
                }
                Step::Lost(n) => {
                    if let Some(&peer) = harness.peers.get(&pick(n)) {
                        harness.media(MediaEvent::Disconnected { peer, why: "lost".into() });
                    }
                }
                Step::Advance(seconds) => harness.advance(i64::from(seconds)),
                Step::Store(works) => harness.store = if works { StoreMode::Works } else { StoreMode::Fails },
            }
            let inside_now = inside(&harness);
            for member in &harness.live.members {
                let open = harness.gate(member.peer).unwrap_or(false);
                prop_assert_eq!(open, harness.live.is_in(member.participant), "a gate that is not as it should be");
            }
            for did in &harness.did[begun..] {
                if let Did::Send(to, message) = did {
                    let Some(who) = harness.who(*to) else { continue };
                    let may = inside_before.contains(&who) || inside_now.contains(&who);
                    let kind = message["type"].as_str().unwrap();
                    let tells = matches!(kind, "participant" | "seats" | "chat" | "knock" | "admitted")
                        || (kind == "welcome" && (message["participants"] != json!([]) || message["chat"] != json!([])));
                    prop_assert!(may || !tells, "{kind} to somebody outside");
                }
            }
        }
    }
}

fn inside(harness: &Harness) -> BTreeSet<ParticipantId> {
    let session = harness.live.session();
    session.participants().iter().filter(|p| p.standing == Standing::Admitted).map(|p| p.id).collect()
}

impl Harness {
    fn enter_if_let_in(&mut self, who: &str) {
        let connection = self.hello(who);
        if self.peers.contains_key(&connection) {
            self.offer(connection);
        }
    }

    /// Whose connection it was, from its welcome.
    fn who(&self, connection: u64) -> Option<ParticipantId> {
        let welcome = self.sent(connection).into_iter().find(|message| message["type"] == "welcome")?;
        welcome["you"]["id"].as_str()?.parse().ok()
    }

    fn message(&self, what: usize) -> Value {
        let id = |who| json!(self.ids[who]);
        match what {
            0 => json!({"type": "admit", "participantId": id("patient")}),
            1 => json!({"type": "admit", "participantId": id("interpreter")}),
            2 => json!({"type": "deny", "participantId": id("patient"), "reason": "other"}),
            3 => json!({"type": "chat", "clientId": "c", "text": SECRET_LINE}),
            4 => json!({"type": "leave"}),
            5 => json!({"type": "publish", "kind": "camera", "muted": true}),
            6 => json!({"type": "subscribe", "slots": [{"seat": 0, "participant": id("provider")}]}),
            7 => json!({"type": "restart", "ufrag": "u", "pwd": "p"}),
            8 => json!({"type": "stats"}),
            9 => json!({"type": "end"}),
            10 => json!({"type": "ping"}),
            _ => json!({"type": "nonsense"}),
        }
    }
}
