//! The live session at its seam, with a store that does what the test says.

mod text;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use vestibule_domain::{
    BandwidthProfile, Communication, Connection, ConsentType, ContentDigest, EndReason, ParticipantRole,
    PatientId, Schedule, SessionId, SessionPolicy, SessionStatus, TenantId, VideoBackend,
};

mod tiers;

use super::quality::{DEPARTED_MAX, STRETCHES_MAX};
use super::thread::THREAD_BYTES_MAX;
use super::*;
use crate::log::LOG_MESSAGES_MAX;
use crate::media::{AudioProfile, Quality, SeatId, SeatInfo, SourceKind};
use crate::member::REQUESTS_UNDER_WAY_MAX;
use crate::wire::{
    Attachment, CHAT_CHARACTERS_MAX, Numbered, QualityCode, QualityLevel, QualityReason, ThreadPage,
    VideoCodec,
};

/// Words that nobody who waits may ever read.
const SECRET_NAMES: [&str; 3] = ["Provider Secretname", "Interpreter Secretname", "Second Secretname"];
const SECRET_LINE: &str = "a secret line";
/// Lines the store reads at a time.
const PAGE: usize = 50;

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
    Kept(u64),
    Text(TextCall, Result<TextReply, TextError>),
    Measured(ParticipantId, Timestamp, QualityStep),
    TierChanged(ParticipantId, Tier),
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
    /// The secrets that were to be kept.
    resume: BTreeMap<ParticipantId, ResumeKeys>,
    secrets: u8,
    lives: u64,
    /// Asks over HTTPS.
    calls: u64,
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
            live: LiveSession::new(now, stored.clone(), 7, 1),
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
            resume: BTreeMap::new(),
            secrets: 0,
            lives: 1,
            calls: 0,
        }
    }

    /// The server stops at once, and another takes over what is stored.
    fn restart(&mut self) {
        self.lives += 1;
        let room = 6 + u32::try_from(self.lives).unwrap();
        self.live = LiveSession::new(self.now, self.stored.clone(), room, self.lives)
            .with_thread(self.thread.clone())
            .with_resume(self.resume.clone());
    }

    fn input(&mut self, input: Input) {
        self.live.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.live.poll_output() {
            match output {
                Output::Send { connection, seq, message } => {
                    let text = serde_json::to_value(Numbered { seq, message: &message }).unwrap();
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
                Output::Measured(participant, until, step) => {
                    self.did.push(Did::Measured(participant, until, *step));
                }
                Output::TierChanged(participant, tier) => self.did.push(Did::TierChanged(participant, tier)),
                Output::KeepResume(participant, keys) => {
                    if self.store == StoreMode::Works {
                        self.resume.insert(participant, keys);
                    }
                }
                Output::Keep(line) => {
                    let result = self.keep(*line);
                    self.live.kept(self.now, result);
                }
                Output::ReadThread { read, after } => {
                    let lines = self.thread.iter().filter(|line| line.position > after).cloned();
                    let lines = (self.store == StoreMode::Works).then(|| lines.take(PAGE).collect());
                    self.live.handle(self.now, Input::ThreadRead { read, lines });
                }
                Output::TextAnswered { call, result } => self.did.push(Did::Text(call, result)),
            }
        }
    }

    /// Keeps a line as a store does: once, and in the next place.
    fn keep(&mut self, line: NewLine) -> Result<Vec<ThreadLine>, KeepError> {
        if self.store == StoreMode::Fails {
            return Err(KeepError::Unavailable);
        }
        let NewLine { at, from, client_id, text, image, audience, .. } = line;
        if self.thread.iter().any(|kept| kept.from == from && kept.client_id == client_id) {
            return Ok(Vec::new());
        }
        let attachment = image.map(|digest| Attachment {
            digest,
            media_type: "image/png".into(),
            width: 7,
            height: 5,
            bytes: 9,
        });
        if image.is_some_and(|digest| digest != ContentDigest::of(b"sent")) {
            return Err(KeepError::UnknownImage);
        }
        let position = self.thread.last().map_or(1, |last| last.position + 1);
        self.did.push(Did::Kept(position));
        let line = ThreadLine { position, at, from, client_id, text, attachment, audience };
        self.thread.push(line.clone());
        Ok(vec![line])
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
        if commit.events.is_empty() {
            self.resume.extend(commit.resume.iter().copied());
            return Ok(());
        }
        if commit.before != self.stored.session.version() {
            return Err(CommitError::Conflict(Box::new(self.stored.clone())));
        }
        assert_eq!(commit.after.version(), commit.before + 1);
        self.stored.session = commit.after.clone();
        self.resume.extend(commit.resume.iter().copied());
        self.commits.push(commit.clone());
        Ok(())
    }

    fn hello(&mut self, who: &str) -> u64 {
        self.hello_by(who, false)
    }

    fn hello_by(&mut self, who: &str, vouched: bool) -> u64 {
        let epoch = self.live.session().participant(self.ids[who]).unwrap().epoch;
        self.come(who, Entry::Ticket { epoch, vouched })
    }

    /// Comes back with the secret of an earlier socket, and what was heard there up to `last_seq`.
    fn back(&mut self, who: &str, secret: &str, heard: Option<(&str, u64)>) -> u64 {
        let incarnation = heard.map(|(incarnation, _)| incarnation.to_owned());
        let last_seq = heard.map_or(0, |(_, last_seq)| last_seq);
        self.come(who, Entry::Resume { key: key(secret), incarnation, last_seq })
    }

    /// Comes back to where an earlier socket stopped.
    fn resume(&mut self, who: &str, lost: u64) -> u64 {
        let (secret, incarnation, last_seq) = self.kept(lost);
        let connection = self.back(who, &secret, Some((&incarnation, last_seq)));
        let peer = self.peers[&lost];
        self.peers.entry(connection).or_insert(peer);
        connection
    }

    /// What a page that stays open keeps of a socket: secret, incarnation, and the number of what it heard last.
    fn kept(&self, connection: u64) -> (String, String, u64) {
        let sent = self.sent(connection);
        let text =
            |field: &str| sent.iter().rev().find_map(|message| message[field].as_str()).unwrap().to_owned();
        (text("resume"), self.incarnation(connection), sent.last().unwrap()["seq"].as_u64().unwrap())
    }

    fn incarnation(&self, connection: u64) -> String {
        let welcomed = (1..=connection).rev().find_map(|connection| {
            let welcome = self.sent(connection).into_iter().find(|message| message["type"] == "welcome")?;
            welcome["incarnation"].as_str().map(str::to_owned)
        });
        welcomed.unwrap()
    }

    fn come(&mut self, who: &str, entry: Entry) -> u64 {
        self.last_connection += 1;
        self.secrets += 1;
        let connection = ConnectionId(self.last_connection);
        let participant = self.ids[who];
        let secret = format!("secret {}", self.secrets);
        let fresh = FreshSecret { key: key(&secret), secret };
        let before = self.did.len();
        self.input(Input::Hello { connection, participant, entry, fresh, request: Some(RequestId(1)) });
        let added = self.did[before..].iter().find_map(|did| match did {
            Did::Media(MediaCommand::AddPeer(peer)) => Some(*peer),
            _ => None,
        });
        if let Some(peer) = added {
            self.peers.insert(connection.0, peer);
        }
        connection.0
    }

    fn lose(&mut self, connection: u64) {
        self.input(Input::Closed { connection: ConnectionId(connection), hung_up: true });
    }

    /// Socket and transport, both.
    fn vanish(&mut self, connection: u64) {
        self.lose(connection);
        self.media(MediaEvent::Disconnected { peer: self.peers[&connection], why: "gone".into() });
    }

    /// The page is loaded anew: it keeps the secret alone.
    fn reload(&mut self, who: &str, lost: u64) -> u64 {
        let (secret, ..) = self.kept(lost);
        let connection = self.back(who, &secret, None);
        self.offer(connection);
        connection
    }

    fn chat(&mut self, connection: u64, client_id: &str, text: &str) {
        self.say(connection, json!({"type": "chat", "clientId": client_id, "text": text}));
    }

    /// What was said, as somebody was told it: by a welcome, an admission, or as it was said.
    fn heard(&self, connection: u64) -> Vec<&str> {
        let sent = self.sent(connection).into_iter();
        let lines = sent.flat_map(|message| match message["type"].as_str() {
            Some("chat") => vec![&message["text"]],
            Some("welcome" | "admitted") => {
                message["chat"].as_array().unwrap().iter().map(|line| &line["text"]).collect()
            }
            _ => Vec::new(),
        });
        lines.map(|text| text.as_str().unwrap()).collect()
    }

    /// How somebody was seen last.
    fn state_of(&self, seen_by: u64, who: &str) -> Value {
        let id = json!(self.ids[who]);
        let told = self.sent(seen_by).into_iter().rev();
        let mut told =
            told.filter(|message| message["type"] == "participant" && message["participantId"] == id);
        told.next().map_or(Value::Null, |message| message["participant"]["state"].clone())
    }

    fn say(&mut self, connection: u64, message: Value) {
        let frame = Frame::parse(&message.to_string());
        self.input(Input::Frame { connection: ConnectionId(connection), frame });
    }

    /// Offers, and lets the engine answer with two seats for people and one for a screen.
    fn offer(&mut self, connection: u64) {
        self.say(connection, json!({"type": "offer", "sdp": "v=0", "negotiation": 1}));
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

    /// Lets somebody in: on the device whose knock was heard, if there was one.
    fn admit(&mut self, by: u64, who: &str) {
        let id = self.ids[who];
        let heard =
            |message: &&&Value| message["type"] == "knock" && message["participant"]["id"] == json!(id);
        let device = self.sent(by).iter().rev().find(heard).map(|knock| knock["device"].clone());
        match device {
            Some(device) => self.say(by, json!({"type": "admit", "participantId": id, "device": device})),
            None => self.say(by, json!({"type": "admit", "participantId": id})),
        }
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

    /// All messages of a type, without their numbers.
    fn told(&self, connection: u64, kind: &str) -> Vec<Value> {
        let of_it = self.sent(connection).into_iter().filter(|message| message["type"] == kind);
        let without_number = |message: &Value| {
            let mut message = message.clone();
            message.as_object_mut().unwrap().remove("seq");
            message
        };
        of_it.map(without_number).collect()
    }

    /// What was wished of whose seats.
    fn wishes(&self, connection: u64) -> Vec<(u16, Option<u16>, u8)> {
        let viewer = self.peers[&connection];
        let wish = |did: &Did| match did {
            Did::Media(MediaCommand::SetSeatWish { peer, seat, wish }) if *peer == viewer => {
                Some((seat.0, wish.max_height, wish.priority))
            }
            _ => None,
        };
        self.did.iter().filter_map(wish).collect()
    }

    /// How often it was to be kept how somebody's connection was.
    fn steps(&self, id: ParticipantId) -> usize {
        self.did.iter().filter(|did| matches!(did, Did::Measured(who, ..) if *who == id)).count()
    }

    /// What was to be kept of how connections were.
    fn kept_steps(&self) -> Vec<EarlierStep> {
        let kept = |did: &Did| match *did {
            Did::Measured(participant, until, QualityStep { quality, .. }) => {
                Some(EarlierStep { until, participant, quality })
            }
            _ => None,
        };
        self.did.iter().filter_map(kept).collect()
    }

    fn last_peer(&self) -> PeerId {
        let added = self.did.iter().rev().find_map(|did| match did {
            Did::Media(MediaCommand::AddPeer(peer)) => Some(*peer),
            _ => None,
        });
        added.unwrap()
    }

    fn seats_told(&self, connection: u64) -> Option<&Value> {
        self.sent(connection).into_iter().rfind(|message| message["type"] == "seats")
    }
}

/// Stands for the hash of a secret.
fn key(secret: &str) -> ResumeKey {
    let mut key = [0; 32];
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    ResumeKey(key)
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
    assert!(harness.types(provider).contains(&"done"));
}

#[test]
fn what_was_said_while_somebody_was_out_is_never_for_them() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let patient = harness.enter("patient");
    harness.chat(provider, "1", SECRET_LINE);
    harness.admit(provider, "patient");
    harness.chat(provider, "2", "for all");
    harness.vanish(second);
    harness.say(patient, json!({"type": "leave"}));
    let patient = harness.enter("patient");
    harness.chat(provider, "3", SECRET_LINE);
    harness.admit(provider, "patient");
    assert_eq!(harness.heard(patient), ["for all"]);
    let second = harness.reload("second", second);
    assert_eq!(harness.heard(second).len(), 3, "who was lost was in all the time");
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
fn a_page_that_is_loaded_anew_takes_the_place_of_the_older_one() {
    let mut harness = Harness::new();
    let first = harness.enter("provider");
    let second = harness.reload("provider", first);
    assert_eq!(harness.types(first).last(), Some(&"superseded"));
    assert!(harness.did.contains(&Did::Close(first, CloseReason::Superseded)));
    assert!(harness.did.contains(&Did::Media(MediaCommand::RemovePeer(harness.peers[&first]))));
    harness.say(first, json!({"type": "ping", "id": 8}));
    harness.lose(first);
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
    harness.vanish(patient);
    assert_eq!(harness.state_of(provider, "patient"), "lost");
    let back = harness.enter("patient");
    assert_eq!(harness.sent(back)[0]["newDevice"], true);
    assert!(harness.types(back).contains(&"waiting"));
    assert!(harness.seated(back).is_empty());
    assert_eq!(harness.state_of(provider, "patient"), "lost", "a knock is not the one who is in");
    let knock = harness.sent(provider).into_iter().rfind(|message| message["type"] == "knock").unwrap();
    assert_eq!((&knock["newDevice"], &knock["participant"]["state"]), (&json!(true), &json!("waiting")));
    harness.advance(100);
    assert_eq!(harness.live.session().status(), SessionStatus::Active, "a patient at the door is not lost");
    harness.admit(provider, "patient");
    assert!(harness.types(back).contains(&"admitted"));
    assert!(harness.types(provider).contains(&"knockOver"));
}

#[test]
fn the_first_device_goes_on_until_the_second_is_let_in() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let first = harness.enter("patient");
    harness.admit(provider, "patient");
    let (peer, seen) = (harness.peers[&first], harness.sent(first).len());
    let second = harness.enter("patient");
    assert_eq!(harness.gate(peer), Some(true));
    assert_eq!(harness.gate(harness.peers[&second]), None);
    assert_eq!(harness.sent(first).len(), seen, "and hears nothing of it");
    for message in [
        json!({"type": "chat", "clientId": "c", "text": "let me in"}),
        json!({"type": "admit", "participantId": harness.ids["patient"]}),
        json!({"type": "end"}),
        json!({"type": "tier", "want": "async_text"}),
    ] {
        harness.say(second, message);
    }
    assert_eq!(harness.errors(second), ["not_admitted"; 4]);

    // Not now: it is turned away, and nothing else is different.
    let device =
        harness.sent(provider).into_iter().rfind(|message| message["type"] == "knock").unwrap()["device"]
            .clone();
    let deny =
        json!({"type": "deny", "participantId": harness.ids["patient"], "reason": "other", "device": device});
    harness.say(provider, deny);
    assert_eq!(harness.types(second).last(), Some(&"denied"));
    assert_eq!(harness.gate(peer), Some(true));
    assert!(harness.types(provider).contains(&"knockOver"));

    // Yes: it takes the place, and the secret of the first is void.
    let third = harness.enter("patient");
    harness.admit(provider, "patient");
    assert_eq!(harness.types(first).last(), Some(&"superseded"));
    assert!(harness.types(third).contains(&"admitted"));
    assert_eq!(harness.gate(harness.peers[&third]), Some(true));
    let (old, ..) = harness.kept(first);
    let old = harness.back("patient", &old, None);
    assert_eq!(harness.errors(old), ["resume_invalid"]);
    let again = harness.resume("patient", third);
    assert_eq!(harness.types(again), ["resumed"]);
}

#[test]
fn a_provider_says_yes_to_their_own_second_device_and_nobody_else_does() {
    let mut harness = Harness::new();
    let first = harness.enter("provider");
    let other = harness.enter("second");
    let second = harness.enter("provider");
    assert_eq!(harness.sent(second)[0]["you"]["state"], "waiting");
    assert!(harness.types(first).contains(&"knock") && !harness.types(other).contains(&"knock"));
    harness.say(second, json!({"type": "admit", "participantId": harness.ids["provider"]}));
    assert_eq!(harness.errors(second), ["not_admitted"], "not the one who knocks");
    let device =
        harness.sent(first).into_iter().rfind(|message| message["type"] == "knock").unwrap()["device"]
            .clone();
    harness.say(other, json!({"type": "admit", "participantId": harness.ids["provider"], "device": device}));
    assert_eq!(harness.errors(other).last(), Some(&"not_permitted"), "not a colleague either");
    harness.admit(first, "provider");
    assert_eq!(harness.types(first).last(), Some(&"superseded"));
    assert!(harness.types(second).contains(&"admitted"));
}

#[test]
fn who_is_signed_in_as_staff_needs_no_yes_for_a_providers_seat() {
    let mut harness = Harness::new();
    let first = harness.enter("provider");
    let second = harness.hello_by("provider", true);
    assert_eq!(harness.types(first).last(), Some(&"superseded"));
    assert_eq!(harness.sent(second)[0]["you"]["state"], "admitted");
    assert_eq!(harness.commits.last().unwrap().events.len(), 1, "and it is on record");
    // For a patient's seat it means nothing.
    harness.offer(second);
    let patient = harness.enter("patient");
    harness.admit(second, "patient");
    let newcomer = harness.hello_by("patient", true);
    assert_eq!(harness.sent(newcomer)[0]["you"]["state"], "waiting");
    assert_ne!(harness.types(patient).last(), Some(&"superseded"));
}

#[test]
fn a_second_provider_who_is_not_let_in_lets_nobody_in() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.vanish(provider);
    harness.enter("provider");
    let admit = Command::Admit { participant: harness.ids["patient"] };
    let staff = Actor::System;
    harness.input(Input::Command { call: CallId(1), command: admit, actor: staff, expected: None });
    assert_eq!(harness.did.last(), Some(&Did::Answered(Err(CallError::Rejected(Rejection::ProviderAbsent)))));
    let last = harness.sent(patient).into_iter().rfind(|message| message["type"] == "waiting").unwrap();
    assert_eq!(last["providerPresent"], false);
}

#[test]
fn a_lost_socket_loses_neither_media_nor_messages() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.chat(provider, "1", "before");
    let lost = patient;
    let (_, incarnation, last) = harness.kept(lost);
    harness.say(lost, json!({"type": "publish", "kind": "audio", "muted": true, "id": 12}));
    harness.lose(lost);
    harness.chat(provider, "2", "meanwhile");
    assert_eq!(harness.gate(harness.peers[&lost]), Some(true));
    assert_eq!(harness.state_of(provider, "patient"), "active", "their media goes on");
    let (secret, ..) = harness.kept(lost);
    // The reply to the last request was lost with the socket.
    let back = harness.back("patient", &secret, Some((&incarnation, last)));
    assert_eq!(harness.types(back), ["resumed", "done", "chat"]);
    let sent = harness.sent(back);
    assert_eq!((&sent[0]["seq"], &sent[0]["heard"]), (&json!(last), &json!(12)));
    assert_eq!((&sent[1]["seq"], &sent[1]["replyTo"]), (&json!(last + 1), &json!(12)));
    assert_eq!(sent[2]["text"], "meanwhile");
    assert!(!harness.did.contains(&Did::Media(MediaCommand::RemovePeer(harness.peers[&lost]))));
    harness.advance(1_000);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
}

#[test]
fn of_two_sockets_the_newer_counts_though_the_older_is_missed_late() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let back = harness.resume("provider", provider);
    assert!(harness.did.contains(&Did::Close(provider, CloseReason::Superseded)));
    harness.say(provider, json!({"type": "ping", "id": 20}));
    harness.lose(provider);
    harness.say(back, json!({"type": "ping", "id": 21}));
    assert_eq!(harness.sent(back).last().unwrap()["replyTo"], 21);
    assert_eq!(harness.live.presence.get(harness.ids["provider"]), Connection::Connected);
}

#[test]
fn a_lost_welcome_locks_nobody_out() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let (secret, ..) = harness.kept(provider);
    // Three times the answer is lost on the way: the secret of before is all there is.
    for _ in 0..3 {
        let lost = harness.back("provider", &secret, None);
        assert_eq!(harness.types(lost)[0], "welcome");
        harness.lose(lost);
    }
    harness.restart();
    let back = harness.back("provider", &secret, None);
    let (next, ..) = harness.kept(back);
    let again = harness.back("provider", &next, None);
    assert_eq!(harness.types(again)[0], "welcome");
    let old = harness.back("provider", &secret, None);
    assert_eq!(harness.errors(old), ["resume_invalid"], "the next one was used");
}

#[test]
fn a_provider_whose_first_welcome_is_lost_comes_in_by_the_link_again() {
    let mut harness = Harness::new();
    let lost = harness.hello("provider");
    harness.lose(lost);
    harness.restart();
    let again = harness.enter("provider");
    assert_eq!(harness.sent(again)[0]["you"]["state"], "admitted", "there is no first device to ask");
    // This one was heard, and what it proved outlives the server.
    harness.restart();
    let another = harness.enter("provider");
    assert_eq!(harness.sent(another)[0]["you"]["state"], "waiting");
}

#[test]
fn to_let_in_twice_lets_in_nobody_else() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    let first_knock = harness.sent(provider).into_iter().find(|message| message["type"] == "knock").unwrap()
        ["device"]
        .clone();
    harness.enter("patient");
    let id = harness.ids["patient"];
    harness.say(provider, json!({"type": "admit", "participantId": id, "id": 40}));
    assert_eq!(harness.sent(provider).last().unwrap()["type"], "done", "they are in, and that is all");
    harness.say(provider, json!({"type": "admit", "participantId": id, "device": first_knock, "id": 41}));
    assert_eq!(harness.sent(provider).last().unwrap()["type"], "done");
    let call = Command::Admit { participant: id };
    harness.input(Input::Command { call: CallId(9), command: call, actor: Actor::System, expected: None });
    assert_ne!(harness.types(patient).last(), Some(&"superseded"));
}

#[test]
fn whoever_knocks_in_anothers_place_knocks_anew() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.enter("patient");
    harness.enter("patient");
    let before =
        harness.sent(provider).into_iter().rfind(|message| message["type"] == "knock").unwrap()["device"]
            .clone();
    harness.enter("patient");
    let knocks = harness.types(provider).into_iter().filter(|&kind| kind == "knock").count();
    assert_eq!(knocks, 3, "each of them is another device");
    harness
        .say(provider, json!({"type": "admit", "participantId": harness.ids["patient"], "device": before}));
    assert_eq!(harness.errors(provider), ["not_waiting"], "not the one they did not hear of");
}

#[test]
fn without_the_store_the_secret_that_was_used_stays_good() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.store = StoreMode::Fails;
    let (secret, incarnation, last) = harness.kept(provider);
    harness.lose(provider);
    let back = harness.back("provider", &secret, Some((&incarnation, last)));
    assert_eq!(harness.types(back), ["resumed"]);
    assert_eq!(harness.sent(back)[0]["resume"], Value::Null);
    harness.restart();
    harness.store = StoreMode::Works;
    let again = harness.back("provider", &secret, Some((&incarnation, last)));
    assert_eq!(harness.types(again)[0], "welcome");
}

#[test]
fn after_a_restart_there_is_a_snapshot_and_another_incarnation() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.chat(provider, "1", "before");
    let before = harness.kept(patient);
    harness.restart();
    let back = harness.resume("patient", patient);
    let welcome = harness.sent(back)[0].clone();
    assert_eq!(welcome["type"], "welcome");
    assert_ne!(welcome["incarnation"], json!(before.1));
    assert_eq!(
        (&welcome["you"]["state"], &welcome["participants"][0]["state"]),
        (&json!("admitted"), &json!("lost"))
    );
    assert_eq!(welcome["chat"][0]["text"], "before");
    assert!(welcome["participants"][0]["lostUntil"].is_string(), "others see how long they are waited for");
    assert_eq!(harness.gate(harness.peers[&back]), Some(true), "without asking anybody");
}

#[test]
fn who_missed_more_than_is_kept_begins_anew() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    harness.lose(second);
    for n in 0..=crate::log::LOG_MESSAGES_MAX {
        harness.chat(provider, &n.to_string(), "x");
    }
    assert!(harness.live.load().messages <= 2 * crate::log::LOG_MESSAGES_MAX);
    let back = harness.resume("second", second);
    assert_eq!(harness.types(back)[0], "welcome");
    assert_eq!(harness.heard(back).len(), THREAD_LINES_MAX);
}

#[test]
fn what_was_heard_is_not_kept() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    for n in 0..20 {
        harness.chat(provider, &n.to_string(), "x");
    }
    let last = harness.sent(provider).last().unwrap()["seq"].clone();
    harness.say(provider, json!({"type": "ping", "lastSeq": last}));
    assert_eq!(harness.live.load().messages, 1, "the answer to that");
}

#[test]
fn a_line_sent_again_is_said_once() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.chat(provider, "a", "once");
    harness.restart();
    let back = harness.resume("provider", provider);
    harness.say(back, json!({"type": "chat", "clientId": "a", "text": "once", "id": 30}));
    assert_eq!(harness.heard(back), ["once"]);
    assert_eq!(harness.sent(back).last().unwrap()["replyTo"], 30);
    assert_eq!(harness.thread.len(), 1);
}

#[test]
fn a_reload_keeps_the_place_in_front_of_the_door() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.lose(patient);
    assert_eq!(harness.state_of(provider, "patient"), "lost");
    assert!(harness.live.queued.as_ref().is_some_and(|waits| !waits.connected), "still in the queue");
    let since = harness.live.queued.as_ref().unwrap().since;
    harness.now = harness.now.checked_add(SignedDuration::from_secs(20)).unwrap();
    let back = harness.reload("patient", patient);
    let waits = harness.live.queued.clone().unwrap();
    assert_eq!((waits.connected, waits.since), (true, since));
    let knocks = harness.types(provider).into_iter().filter(|&kind| kind == "knock" || kind == "knockOver");
    assert_eq!(knocks.count(), 1, "nobody knocks twice");
    harness.admit(provider, "patient");
    assert!(harness.types(back).contains(&"admitted"));
}

#[test]
fn who_waits_and_stays_away_is_forgotten_and_may_come_back() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.lose(patient);
    harness.advance(61);
    assert!(harness.types(provider).contains(&"knockOver"));
    assert_eq!((harness.live.load().members, &harness.live.queued), (1, &None));
    let back = harness.reload("patient", patient);
    assert_eq!(harness.types(provider).into_iter().filter(|&kind| kind == "knock").count(), 2);
    harness.admit(provider, "patient");
    assert!(harness.types(back).contains(&"admitted"));
}

#[test]
fn a_line_that_is_quiet_and_has_no_socket_is_lost_and_one_that_is_heard_again_is_not() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    let peer = harness.peers[&patient];
    harness.media(MediaEvent::Quiet { peer });
    assert_eq!(harness.state_of(provider, "patient"), "active", "their socket is there");
    harness.lose(patient);
    assert_eq!(harness.state_of(provider, "patient"), "lost");
    harness.advance(30);
    harness.media(MediaEvent::Heard { peer });
    assert_eq!(harness.state_of(provider, "patient"), "active");
    harness.advance(100);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
}

#[test]
fn a_removal_takes_every_device_and_every_secret() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let first = harness.enter("patient");
    harness.admit(provider, "patient");
    let second = harness.enter("patient");
    let remove = json!({"type": "remove", "participantId": harness.ids["patient"], "id": 5});
    harness.say(provider, remove);
    for device in [first, second] {
        assert_eq!(harness.types(device).last(), Some(&"removed"));
        assert!(harness.did.contains(&Did::Close(device, CloseReason::Over)));
        let (secret, ..) = harness.kept(device);
        let back = harness.back("patient", &secret, None);
        let heard = if device == first { "removed" } else { "error" };
        assert_eq!(harness.types(back), [heard], "the newcomer's was never good");
    }
    let gate = harness.position(|did| *did == Did::Media(MediaCommand::CloseGate(harness.peers[&first])));
    let commit = harness.did.iter().rposition(|did| matches!(did, Did::Commit(_))).unwrap();
    assert!(gate < commit, "media first");
}

#[test]
fn who_is_sent_back_waits_and_their_newcomer_comes_again() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let first = harness.enter("patient");
    harness.admit(provider, "patient");
    let newcomer = harness.enter("patient");
    let send_back = json!({"type": "sendBack", "participantId": harness.ids["patient"], "id": 5});
    harness.say(provider, send_back);
    assert_eq!(harness.gate(harness.peers[&first]), Some(false));
    assert!(harness.types(first).contains(&"waiting"));
    assert!(harness.did.contains(&Did::Close(newcomer, CloseReason::TryAgain)));
    harness.admit(provider, "patient");
    assert_eq!(harness.gate(harness.peers[&first]), Some(true));
}

#[test]
fn who_comes_back_to_a_session_that_is_over_hears_how_it_ended() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.lose(patient);
    harness.say(provider, json!({"type": "end"}));
    let back = harness.resume("patient", patient);
    assert_eq!(harness.sent(back)[0]["reason"], "provider_ended");
    assert!(harness.did.contains(&Did::Close(back, CloseReason::Over)));
}

#[test]
fn what_was_decided_while_somebody_was_away_is_what_they_hear_when_they_come_back() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    let interpreter = harness.enter("interpreter");
    harness.lose(patient);
    harness.lose(interpreter);
    harness
        .say(provider, json!({"type": "deny", "participantId": harness.ids["patient"], "reason": "not_now"}));
    harness.say(provider, json!({"type": "remove", "participantId": harness.ids["interpreter"]}));
    let back = harness.resume("patient", patient);
    assert_eq!(harness.sent(back)[0]["reason"], "not_now");
    let back = harness.resume("interpreter", interpreter);
    assert_eq!(harness.types(back), ["removed"]);
    assert!(harness.did.contains(&Did::Close(back, CloseReason::Over)));
}

#[test]
fn a_newcomer_whose_line_is_gone_does_not_knock_until_it_is_back() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    let newcomer = harness.enter("patient");
    harness.lose(newcomer);
    assert_eq!(harness.types(provider).last(), Some(&"knockOver"));
    harness.admit(provider, "patient");
    assert_ne!(harness.types(patient).last(), Some(&"superseded"));
    let back = harness.resume("patient", newcomer);
    assert_eq!(harness.types(back), ["resumed"]);
    assert_eq!(harness.types(provider).last(), Some(&"knock"));
    harness.admit(provider, "patient");
    assert!(harness.types(back).contains(&"admitted"));
}

#[test]
fn ten_violations_close_the_socket_and_the_device_may_come_back() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    for n in 0..VIOLATIONS_MAX {
        assert!(!harness.did.contains(&Did::Close(patient, CloseReason::Violations)), "{n}");
        harness.say(patient, json!({"type": "end"}));
    }
    assert!(harness.did.contains(&Did::Close(patient, CloseReason::Violations)));
    assert_eq!(harness.errors(patient).len(), 10);
    harness.say(patient, json!({"type": "end"}));
    assert_eq!(harness.errors(patient).len(), 10, "it is not heard any more");
    let back = harness.resume("patient", patient);
    assert_eq!(harness.types(back)[0], "resumed");
    // What may happen to anybody is none.
    for _ in 0..2 * VIOLATIONS_MAX {
        harness.say(provider, json!({"type": "deny", "participantId": harness.ids["second"]}));
    }
    assert!(!harness.did.contains(&Did::Close(provider, CloseReason::Violations)));
}

#[test]
fn in_writing_there_is_no_media_and_a_visit_waits_longer() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.say(patient, json!({"type": "tier", "want": "async_text", "id": 3}));
    assert_eq!(harness.gate(harness.peers[&patient]), Some(false));
    assert_eq!(
        harness.sent(patient).into_iter().rfind(|m| m["type"] == "tier").unwrap()["profile"],
        "async_text"
    );
    let seen = harness.sent(provider).into_iter().rfind(|m| m["type"] == "participant").unwrap();
    assert_eq!(seen["participant"]["tier"], "async_text");
    assert!(harness.live.session().fallback_since().is_some());
    harness.vanish(patient);
    harness.advance(29 * 60);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
    let back = harness.resume("patient", patient);
    harness.say(back, json!({"type": "tier", "want": "video", "id": 4}));
    assert!(harness.live.session().fallback_since().is_none());
    let open = harness.live.members.iter().filter(|member| member.gate_is_open).count();
    assert_eq!(open, 2);
    harness.vanish(back);
    harness.advance(61);
    assert_eq!(harness.stored.session.end_reason(), Some(EndReason::ReconnectExpired));
}

#[test]
fn a_patient_withdraws_their_consent_in_the_visit() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    let consent =
        |granted| json!({"type": "consent", "consentType": "telehealth", "version": "2", "granted": granted});
    harness.say(provider, consent(false));
    assert_eq!(harness.errors(provider), ["not_permitted"]);
    harness.say(patient, consent(false));
    assert!(!harness.live.session().has_consent(ConsentType::Telehealth));
    harness.admit(provider, "patient");
    assert_eq!(harness.errors(provider), ["not_permitted", "consent_missing"]);
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
    harness.input(Input::Queue { position: Some(2), attended: true });
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
    harness.say(
        provider,
        json!({"type": "subscribe", "slots": [{"seat": 0, "participant": id, "maxHeight": 180}]}),
    );
    assert_eq!(harness.seated(provider), BTreeMap::from([(0, interpreter_peer), (1, second_peer)]));
    let before = harness.did.iter().filter(|did| matches!(did, Did::Media(_))).count();
    let wishes = [
        json!({"seat": 9}),
        json!({"seat": 0, "participant": harness.ids["patient"]}),
        json!({"seat": 0, "participant": harness.ids["provider"]}),
        json!({"seat": 2, "participant": harness.ids["second"]}),
        json!({"seat": 2, "participant": harness.ids["interpreter"], "priority": 9}),
    ];
    for wish in &wishes {
        let first = json!({"seat": 1, "participant": null, "maxHeight": 0});
        harness.say(provider, json!({"type": "subscribe", "slots": [first, wish]}));
    }
    assert_eq!(harness.errors(provider), ["refused"; 5]);
    let after = harness.did.iter().filter(|did| matches!(did, Did::Media(_))).count();
    assert_eq!(after, before);
}

#[test]
fn a_subscribe_that_names_a_seat_twice_is_refused_whole() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let seated = harness.seated(provider);
    assert_eq!(seated, BTreeMap::from([(0, harness.peers[&second])]));
    let flips =
        [json!({"seat": 0, "maxHeight": 0}), json!({"seat": 1}), json!({"seat": 0, "maxHeight": null})];
    harness.say(provider, json!({"type": "subscribe", "slots": flips, "id": 70}));
    let both = [json!({"seat": 0, "participant": null}), json!({"seat": 0, "participant": null})];
    harness.say(provider, json!({"type": "subscribe", "slots": both}));
    assert_eq!(harness.errors(provider), ["refused"; 2]);
    assert_eq!(harness.told(provider, "error")[0]["replyTo"], json!(70));
    assert_eq!((harness.wishes(provider).len(), harness.seated(provider)), (0, seated));
}

#[test]
fn of_a_wish_for_a_seat_what_is_left_out_stays_as_it_is() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let wish = |seat: Value| json!({"type": "subscribe", "slots": [seat]});
    harness.say(provider, wish(json!({"seat": 0, "maxHeight": 180})));
    harness.say(provider, wish(json!({"seat": 0, "priority": 200})));
    harness.say(provider, wish(json!({"seat": 0})));
    harness.say(provider, wish(json!({"seat": 0, "maxHeight": null})));
    harness.say(provider, wish(json!({"seat": 0, "maxHeight": null, "priority": 200})));
    harness.say(provider, wish(json!({"seat": 1, "priority": 1})));
    let (some, none) = (Some(180), None);
    let wishes = [(0, some, 0), (0, some, 200), (0, none, 200), (1, none, 1)];
    assert_eq!(harness.wishes(provider), wishes, "what is so already is not said again");

    harness.media(MediaEvent::Disconnected { peer: harness.peers[&provider], why: "gone".into() });
    assert_eq!(harness.wishes(provider).len(), 4);
}

const POOR: Quality = Quality {
    level: QualityLevel::Poor,
    reason: Some(QualityReason { code: QualityCode::UplinkLoss, value: 8 }),
};

fn measured(peer: PeerId) -> MediaEvent {
    MediaEvent::Measured { peer, step: Box::new(QualityStep { quality: POOR, ..QualityStep::default() }) }
}

#[test]
fn a_connection_is_known_to_whom_it_belongs_and_to_providers() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let interpreter = harness.enter("interpreter");
    harness.admit(provider, "interpreter");
    let patient = harness.enter("patient");
    let theirs = harness.peers[&patient];
    // Who waits hears of their own, and nobody of theirs.
    harness.media(MediaEvent::Quality { peer: theirs, quality: POOR });
    let id = harness.ids["patient"];
    let reason = json!({"code": "uplink_loss", "value": 8});
    let poor = json!({"type": "quality", "participantId": id, "level": "poor", "reason": reason});
    assert_eq!(harness.told(patient, "quality"), std::slice::from_ref(&poor));
    assert!(harness.told(provider, "quality").is_empty());

    harness.admit(provider, "patient");
    assert_eq!(harness.told(provider, "quality"), [poor]);
    harness.media(MediaEvent::Quality { peer: theirs, quality: POOR });
    harness.media(MediaEvent::Quality { peer: harness.peers[&provider], quality: POOR });
    harness.media(MediaEvent::Quality { peer: theirs, quality: Quality::default() });
    let good = json!({"type": "quality", "participantId": id, "level": "good", "reason": null});
    assert_eq!(harness.told(patient, "quality").len(), 2);
    assert_eq!(harness.told(provider, "quality").len(), 3);
    assert_eq!(harness.told(provider, "quality").last(), Some(&good));
    assert!(harness.told(interpreter, "quality").is_empty());
}

#[test]
fn who_speaks_is_told_to_all_who_are_in_and_to_nobody_else() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let patient = harness.enter("patient");
    harness.media(MediaEvent::Speaker(Some(harness.peers[&second])));
    let speaks = |who: Value| json!({"type": "speaker", "participantId": who});
    let id = json!(harness.ids["second"]);
    for viewer in [provider, second] {
        assert_eq!(harness.told(viewer, "speaker"), [speaks(id.clone())]);
    }
    assert!(harness.told(patient, "speaker").is_empty());
    harness.admit(provider, "patient");
    assert_eq!(harness.told(patient, "speaker"), [speaks(id)], "who comes in hears it");
    harness.say(second, json!({"type": "leave"}));
    assert_eq!(harness.told(patient, "speaker").last(), Some(&speaks(Value::Null)));
    // Who waits cannot be heard, whatever the engine says.
    harness.media(MediaEvent::Speaker(Some(PeerId(99))));
    assert_eq!(harness.told(patient, "speaker").len(), 2);
}

#[test]
fn a_publisher_hears_what_is_wanted_and_a_fresh_transport_is_wanted_whole() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let peer = harness.peers[&provider];
    let wanted = |peer, rids: &[&str]| MediaEvent::EncodingsWanted {
        peer,
        kind: SourceKind::Camera,
        rids: rids.iter().map(|&rid| rid.to_owned()).collect(),
    };
    harness.media(wanted(peer, &["q"]));
    harness.media(wanted(peer, &["q"]));
    harness.media(MediaEvent::AudioWanted { peer, profile: AudioProfile::Thrifty });
    let codec = |peer, codec| MediaEvent::CodecWanted { peer, kind: SourceKind::Screen, codec };
    harness.media(codec(peer, VideoCodec::H264));
    harness.media(codec(peer, VideoCodec::Vp8));
    harness.media(codec(peer, VideoCodec::Vp8));
    let video = |codec: &str| json!({"type": "videoCodec", "kind": "screen", "codec": codec});
    assert_eq!(harness.told(provider, "videoCodec"), [video("H264"), video("VP8")]);
    let encodings = |active: Value| json!({"type": "encodings", "kind": "camera", "active": active});
    assert_eq!(harness.told(provider, "encodings"), [encodings(json!(["q"]))]);
    let thrifty = json!({"type": "audioEncoding", "maxBitrateBps": 16_000, "frameMs": 60});
    assert_eq!(harness.told(provider, "audioEncoding"), [thrifty]);

    harness.media(MediaEvent::Disconnected { peer, why: "gone".into() });
    let fresh = harness.last_peer();
    harness.media(wanted(peer, &["h"]));
    assert_eq!(harness.told(provider, "encodings").len(), 1, "of the transport of before");
    harness.media(wanted(fresh, &["q"]));
    harness.media(MediaEvent::AudioWanted { peer: fresh, profile: AudioProfile::Full });
    assert_eq!(harness.told(provider, "encodings").len(), 2);
    assert_eq!(harness.told(provider, "audioEncoding").len(), 1, "it is so already");
}

#[test]
fn who_comes_back_hears_how_it_is_now_and_not_all_that_was() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    let (secret, incarnation, last_seq) = harness.kept(provider);
    harness.lose(provider);
    for _ in 0..LOG_MESSAGES_MAX {
        for who in [second, provider] {
            harness.media(MediaEvent::Speaker(Some(harness.peers[&who])));
        }
        for quality in [Quality::default(), POOR] {
            harness.media(MediaEvent::Quality { peer: harness.peers[&second], quality });
        }
    }
    let back = harness.back("provider", &secret, Some((&incarnation, last_seq)));
    assert_eq!(harness.types(back), ["resumed", "speaker", "quality"]);
}

#[test]
fn how_a_connection_was_is_kept_in_stretches_and_for_providers() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    let (peer, id) = (harness.peers[&patient], harness.ids["patient"]);
    let worse =
        |value| Quality { reason: Some(QualityReason { code: QualityCode::UplinkLoss, value }), ..POOR };
    let start = harness.now;
    let before = harness.sent(provider).len();
    for quality in [Quality::default(), Quality::default(), POOR, worse(12), worse(9), Quality::default()] {
        harness.advance(10);
        let step = Box::new(QualityStep { quality, ..QualityStep::default() });
        harness.media(MediaEvent::Measured { peer, step });
    }
    harness.advance(60);
    harness.media(MediaEvent::Measured { peer, step: Box::default() });
    assert_eq!(harness.sent(provider).len(), before, "nobody has to be told");
    assert_eq!(harness.steps(id), 7);

    harness.say(provider, json!({"type": "timeline", "participantId": id, "id": 77}));
    let at = |seconds| json!(start.checked_add(SignedDuration::from_secs(seconds)).unwrap());
    let stretch = |from, until, level, reason: Value| json!({"from": at(from), "until": at(until), "level": level, "reason": reason});
    let loss = json!({"code": "uplink_loss", "value": 12});
    let stretches = [
        stretch(0, 20, "good", Value::Null),
        stretch(20, 50, "poor", loss),
        stretch(50, 60, "good", Value::Null),
        stretch(110, 120, "good", Value::Null),
    ];
    let told = harness.told(provider, "timeline");
    assert_eq!((&told[0]["stretches"], &told[0]["replyTo"]), (&json!(stretches), &json!(77)));
    harness.say(patient, json!({"type": "timeline", "participantId": id}));
    assert_eq!(harness.errors(patient), ["not_permitted"]);
}

#[test]
fn a_timeline_since_a_time_has_what_ended_after_it_and_what_has_grown_again() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let peer = harness.peers[&provider];
    let id = harness.ids["provider"];
    let start = harness.now;
    let at = |seconds| json!(start.checked_add(SignedDuration::from_secs(seconds)).unwrap());
    let flows = |harness: &mut Harness, quality| {
        harness.advance(10);
        harness.media(MediaEvent::Measured {
            peer,
            step: Box::new(QualityStep { quality, ..QualityStep::default() }),
        });
    };
    let asked = |harness: &mut Harness, since: Value| {
        harness.say(provider, json!({"type": "timeline", "participantId": id, "since": since}));
        let told = harness.told(provider, "timeline").pop().unwrap();
        let stretches = told["stretches"].as_array().unwrap().clone();
        stretches.iter().map(|one| (one["from"].clone(), one["until"].clone())).collect::<Vec<_>>()
    };
    for quality in [Quality::default(), Quality::default(), POOR] {
        flows(&mut harness, quality);
    }
    assert_eq!(asked(&mut harness, Value::Null), [(at(0), at(20)), (at(20), at(30))]);
    assert_eq!(asked(&mut harness, at(0)), [(at(0), at(20)), (at(20), at(30))]);
    assert_eq!(asked(&mut harness, at(20)), [(at(20), at(30))], "what ends then is known");
    assert_eq!(asked(&mut harness, at(30)), []);
    flows(&mut harness, POOR);
    flows(&mut harness, Quality::default());
    assert_eq!(asked(&mut harness, at(30)), [(at(20), at(40)), (at(40), at(50))]);
    assert_eq!(asked(&mut harness, at(1_000)), []);
}

#[test]
fn after_a_restart_a_timeline_begins_with_what_was_kept_and_is_joined_to_none_of_it() {
    for read_late in [false, true] {
        let mut harness = Harness::new();
        let provider = harness.enter("provider");
        let (start, id) = (harness.now, harness.ids["provider"]);
        let flows = |harness: &mut Harness, seconds, connection| {
            harness.advance(seconds);
            harness.media(measured(harness.peers[&connection]));
        };
        // And a minute in which nothing flowed, as of a restart before this one.
        for seconds in [10, 10, 60] {
            flows(&mut harness, seconds, provider);
        }
        // Fast enough for the last step of before and the first one after it to pass for one stretch.
        harness.advance(1);
        harness.restart();
        let provider = harness.reload("provider", provider);
        let read = |harness: &mut Harness| {
            let before = harness.did.len();
            let kept = harness.kept_steps();
            harness.input(Input::Earlier(kept));
            assert_eq!(harness.did.len(), before, "nobody is told, and nothing is kept again");
        };
        if !read_late {
            read(&mut harness);
        }
        flows(&mut harness, 4, provider);
        flows(&mut harness, 10, provider);
        if read_late {
            // What was measured meanwhile is kept already, and read with the rest.
            read(&mut harness);
        }
        flows(&mut harness, 10, provider);

        harness.say(provider, json!({"type": "timeline", "participantId": id}));
        let told = harness.told(provider, "timeline").pop().unwrap();
        let at = |seconds| json!(start.checked_add(SignedDuration::from_secs(seconds)).unwrap());
        let told: Vec<_> = told["stretches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stretch| (stretch["from"].clone(), stretch["until"].clone()))
            .collect();
        assert_eq!(told, [(at(0), at(20)), (at(70), at(80)), (at(81), at(105))], "read late: {read_late}");
    }
}

#[test]
fn what_a_timeline_begins_with_is_within_its_bound() {
    let mut harness = Harness::new();
    let id = harness.ids["provider"];
    let now = harness.now;
    let before = |steps: usize| {
        let seconds = 10 * i64::try_from(steps).unwrap();
        now.checked_sub(SignedDuration::from_secs(seconds)).unwrap()
    };
    let kept = (0..STRETCHES_MAX + 7).rev().map(|steps| EarlierStep {
        until: before(steps),
        participant: id,
        quality: if steps % 2 == 0 { POOR } else { Quality::default() },
    });
    let kept: Vec<_> = kept.collect();
    let provider = harness.enter("provider");
    harness.advance(10);
    harness.media(measured(harness.peers[&provider]));
    harness.input(Input::Earlier(kept));
    harness.say(provider, json!({"type": "timeline", "participantId": id}));
    let stretches = harness.told(provider, "timeline")[0]["stretches"].clone();
    let stretches = stretches.as_array().unwrap();
    assert_eq!(
        (stretches.len(), &stretches[0]["until"], &stretches[STRETCHES_MAX - 1]["until"]),
        (STRETCHES_MAX, &json!(before(STRETCHES_MAX - 2)), &json!(harness.now))
    );
}

#[test]
fn the_last_seconds_of_who_leaves_or_loses_their_connection_are_kept() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    let id = harness.ids["patient"];
    // A transport is lost: the device gets another peer, and that is measured for itself.
    let lost = harness.peers[&patient];
    harness.advance(4);
    harness.media(MediaEvent::Disconnected { peer: lost, why: "gone".into() });
    harness.media(measured(lost));
    assert_eq!(harness.steps(id), 1);
    harness.media(measured(lost));
    assert_eq!(harness.steps(id), 1, "one is the last");

    let fresh = harness.last_peer();
    harness.media(MediaEvent::Connected { peer: fresh });
    harness.advance(3);
    harness.say(patient, json!({"type": "leave"}));
    assert!(harness.did.contains(&Did::Media(MediaCommand::RemovePeer(fresh))));
    assert!(harness.live.awaits_measures());
    harness.media(measured(fresh));
    assert_eq!((harness.steps(id), harness.live.awaits_measures()), (2, false));

    harness.say(provider, json!({"type": "timeline", "participantId": id}));
    let stretches = harness.told(provider, "timeline")[0]["stretches"].clone();
    assert_eq!((stretches.as_array().unwrap().len(), &stretches[0]["level"]), (1, &json!("poor")));
}

#[test]
fn of_who_had_no_connection_or_was_never_let_in_no_last_seconds_are_awaited() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.hello("patient");
    harness.admit(provider, "patient");
    harness.say(patient, json!({"type": "leave"}));
    let newcomer = harness.enter("provider");
    let theirs = harness.peers[&newcomer];
    assert_eq!(harness.sent(newcomer)[0]["newDevice"], json!(true));
    harness.say(newcomer, json!({"type": "leave"}));
    assert!(!harness.live.awaits_measures());
    harness.media(measured(theirs));
    assert_eq!(harness.steps(harness.ids["provider"]), 0);
}

#[test]
fn a_session_that_is_over_or_let_go_of_awaits_how_the_last_seconds_were() {
    for ends in [true, false] {
        let mut harness = Harness::new();
        let provider = harness.enter("provider");
        let patient = harness.enter("patient");
        harness.admit(provider, "patient");
        if ends {
            harness.say(provider, json!({"type": "end"}));
            assert!(harness.live.is_over());
        } else {
            harness.live.close_room();
            harness.drain();
        }
        for (who, connection) in [("provider", provider), ("patient", patient)] {
            assert!(harness.live.awaits_measures());
            harness.media(measured(harness.peers[&connection]));
            assert_eq!(harness.steps(harness.ids[who]), 1);
        }
        assert!(!harness.live.awaits_measures());
    }
}

#[test]
fn those_whose_last_seconds_never_come_are_remembered_within_a_bound() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let first = harness.peers[&provider];
    for _ in 0..DEPARTED_MAX {
        let peer = harness.last_peer();
        harness.media(MediaEvent::Connected { peer });
        harness.media(MediaEvent::Disconnected { peer, why: "gone".into() });
    }
    let last = harness.last_peer();
    harness.media(MediaEvent::Connected { peer: last });
    harness.media(MediaEvent::Disconnected { peer: last, why: "gone".into() });
    harness.media(measured(first));
    assert_eq!(harness.steps(harness.ids["provider"]), 0, "the oldest goes");
    harness.media(measured(last));
    assert_eq!(harness.steps(harness.ids["provider"]), 1);
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
    let peer = harness.peers[&provider];
    harness.say(provider, json!({"type": "offer", "sdp": "x", "negotiation": 7, "id": 9}));
    harness.media(MediaEvent::Answer { peer, negotiation: 7, sdp: "x".into(), seats: Vec::new() });
    let answer = harness.sent(provider).into_iter().rfind(|message| message["type"] == "answer").unwrap();
    assert_eq!(answer["replyTo"], 9);
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
    harness.lose(patient);
    assert_eq!(harness.state_of(provider, "patient"), "lost", "though their transport stands");
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
    for text in ["first", SECRET_LINE] {
        harness.say(provider, json!({"type": "chat", "clientId": text, "text": text}));
    }
    assert_eq!(harness.types(second).into_iter().filter(|kind| *kind == "chat").count(), 2);
    let shown = harness
        .position(|did| matches!(did, Did::Send(to, message) if *to == second && message["type"] == "chat"));
    let kept = harness.position(|did| *did == Did::Kept(1));
    assert!(kept < shown, "{:?}", harness.did);
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
    let provider = harness.reload("provider", provider);
    let before = chat(&harness, provider);
    assert_eq!(before.len(), 2);

    harness.restart();
    let provider = harness.reload("provider", provider);
    assert_eq!(chat(&harness, provider), before);
    let second = harness.reload("second", second);
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
    for n in 0..=THREAD_LINES_MAX {
        harness.chat(provider, &n.to_string(), "x");
    }
    let again = harness.reload("second", second);
    assert_eq!(harness.sent(again)[0]["chat"].as_array().unwrap().len(), THREAD_LINES_MAX);
}

#[test]
fn what_somebody_who_comes_back_gets_of_the_chat_is_bounded_in_bytes() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    for n in 0..20 {
        harness.chat(provider, &n.to_string(), &"ä".repeat(CHAT_CHARACTERS_MAX));
    }
    let late = harness.reload("second", second);
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
    let fresh = FreshSecret { key: key("s"), secret: "s".into() };
    let entry = Entry::Ticket { epoch: old_epoch, vouched: false };
    harness.input(Input::Hello { connection, participant: id, entry, fresh, request: None });
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
    harness.vanish(patient);
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
    harness.vanish(patient);
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
    harness.vanish(patient);
    harness.store = StoreMode::Fails;
    harness.advance(61);
    harness.store = StoreMode::Works;
    harness.reload("patient", patient);
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
    let knocks = harness.sent(provider).into_iter().filter(|message| message["type"] == "knock");
    assert_eq!(knocks.count(), 1, "the patient's alone");
    assert_eq!(harness.seated(provider).len(), 1, "the patient alone");
}

#[test]
fn after_a_restart_those_who_were_in_are_lost_until_they_come_back() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let patient = harness.enter("patient");
    harness.admit(provider, "patient");
    harness.restart();
    assert!(harness.live.poll_timeout().is_some(), "their grace runs");
    let again = harness.reload("provider", provider);
    let welcome = harness.sent(again)[0];
    assert_eq!(welcome["participants"][0]["state"], "lost");
    harness.reload("patient", patient);
    harness.advance(120);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
}

#[test]
fn peers_of_two_sessions_have_other_numbers() {
    let numbers = |room, life| Numbers { room, life, peers: 0, members: 0 };
    assert_ne!(numbers(1, 1).peer(), numbers(2, 1).peer());
    let member = numbers(1, 1).member();
    assert_ne!(numbers(1, 1).incarnation(member), numbers(1, 2).incarnation(member));
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
                Step::Closed(n) => harness.input(Input::Closed { connection: ConnectionId(pick(n)), hung_up: n % 2 == 0 }),
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
                let writes = harness.live.tier_of(member.participant) == BandwidthProfile::AsyncText;
                let unheard = harness.live.rehearses(member.participant).is_none();
                let may_open = harness.live.is_inside(member) && !(writes && unheard);
                prop_assert_eq!(open, may_open, "a gate that is not as it should be");
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
