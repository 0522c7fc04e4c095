//! `rights.md`, cell by cell, against the real live session.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use vestibule_domain::{
    Actor, Command, Communication, ConsentType, Context, Invitation, ParticipantId, ParticipantRole,
    PolicyValues, Presence, Schedule, SessionId, SessionPolicy, TenantId, VideoBackend, VirtualSession,
};
use vestibule_signaling::wire::{Frame, Numbered};
use vestibule_signaling::{
    CallId, Commit, ConnectionId, Entry, FreshSecret, Input, LiveSession, Load, Loaded, MediaCommand,
    MediaEvent, NewLine, Output, PeerId, Profile, ResumeKey, SeatId, SeatInfo, ThreadLine,
};

const STATES: [&str; 8] =
    ["door", "newcomer", "waiting", "in, not begun", "in, begun", "ended", "removed", "superseded"];

#[test]
fn every_cell_is_as_the_table_says() {
    let table = table();
    let mut wrong = Vec::new();
    for (role, message, state, cell) in &table {
        let told = answer(role, message, state);
        if told != *cell {
            wrong.push(format!("{role}, {message}, {state}: the table says {cell}, it is {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(table.len() > 600, "all of it was read: {}", table.len());
}

#[test]
fn every_message_has_its_row_and_every_row_its_message() {
    // What is refused names all there is.
    let error = Frame::parse(r#"{"type":"?"}"#).unwrap_err().to_string();
    let (_, listed) = error.split_once("expected one of ").expect("a list of the messages");
    let known: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
    for role in roles() {
        let rows = table().into_iter().filter(|(of, ..)| *of == role);
        let named: Vec<String> = rows.map(|(_, message, ..)| message).collect();
        let first_words: BTreeSet<&str> = named.iter().filter_map(|row| row.split(' ').next()).collect();
        assert_eq!(first_words, known, "{role}");
        let different: BTreeSet<&String> = named.iter().collect();
        assert_eq!(different.len() * STATES.len(), named.len(), "{role}: a row is there twice");
    }
}

// --- the table ---------------------------------------------------------------------------------------------------

fn roles() -> [String; 4] {
    ["provider", "patient", "interpreter", "observer"].map(str::to_owned)
}

/// Role, message, state, and what is said of them.
fn table() -> Vec<(String, String, &'static str, String)> {
    let mut cells = Vec::new();
    let mut role = String::new();
    for line in include_str!("../rights.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            assert!(roles().contains(&heading.to_owned()), "no role: {heading}");
            heading.clone_into(&mut role);
        }
        let Some(row) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
        let row: Vec<&str> = row.split(" | ").collect();
        if row[0] == "Message" {
            assert_eq!(row[1..], STATES, "{role}");
            continue;
        }
        assert_eq!(row.len(), STATES.len() + 1, "{role}: {row:?}");
        let message = row[0].trim_matches('`').to_owned();
        let of_the_row = STATES.into_iter().zip(&row[1..]);
        cells.extend(
            of_the_row.map(|(state, cell)| (role.clone(), message.clone(), state, (*cell).to_owned())),
        );
    }
    cells
}

// --- one cell ----------------------------------------------------------------------------------------------------

/// What comes of a message of somebody in a state, in the words of the table.
fn answer(role: &str, message: &str, state: &str) -> String {
    let Some((mut clinic, device)) = Clinic::with(role, message, state) else { return "-".into() };
    let (session, load) = (clinic.live.session().clone(), clinic.live.load());
    clinic.did.clear();
    if let Some(hello) = message
        .strip_prefix("hello ")
        .filter(|_| matches!(state, "door" | "ended" | "removed" | "superseded"))
    {
        let connection = clinic.hello_of(role, hello, device);
        return clinic.came_of_hello(connection, &session);
    }
    clinic.say(device.connection, &said(&clinic, role, message));
    if state == "door" {
        // The machine does not know the socket: what is refused on it, is by its owner.
        clinic.nothing_was_done(&session, load, 0);
        return "hello_expected".into();
    }
    if matches!(state, "ended" | "removed" | "superseded") {
        clinic.nothing_was_done(&session, load, 0);
        return "unheard".into();
    }
    clinic.engine_answers();
    let replies = clinic.replies(device.connection);
    let [reply] = replies.as_slice() else { panic!("{role}, {message}, {state}: {replies:?}") };
    if reply["type"] == "error" {
        clinic.nothing_was_done(&session, load, 1);
        return reply["code"].as_str().expect("a code").into();
    }
    clinic.took_effect(role, message, state);
    "yes".into()
}

/// The text of a message.
fn said(clinic: &Clinic, role: &str, message: &str) -> Value {
    let id = |who: &str| json!(clinic.ids[who]);
    // As whoever heard the knock would say it; others may have heard of it elsewhere.
    let about = |word: &str, who: &str| {
        let mut value = json!({"type": word, "participantId": id(who)});
        if let Some(device) = clinic.devices.get(&clinic.ids[who].to_string()) {
            value["device"] = device.clone();
        }
        value
    };
    let mut value = match message {
        "hello {ticket}" => json!({"type": "hello", "ticket": "t"}),
        "hello {resume}" => json!({"type": "hello", "resume": "s"}),
        "offer" => json!({"type": "offer", "sdp": "v=0", "negotiation": 2}),
        "restart" => json!({"type": "restart", "ufrag": "u", "pwd": "p"}),
        "subscribe" => {
            json!({"type": "subscribe", "slots": [{"seat": 0, "participant": null, "maxHeight": 180}]})
        }
        "publish" => json!({"type": "publish", "kind": "audio", "muted": true}),
        "admit" => json!({"type": "admit", "participantId": id("who waits")}),
        "admit {own newcomer}" => about("admit", role),
        "admit {another provider's newcomer}" => about("admit", "colleague"),
        "admit {the interpreter's newcomer}" => about("admit", "who is in"),
        "deny" => json!({"type": "deny", "participantId": id("who waits"), "reason": "not_now"}),
        "deny {own newcomer}" => about("deny", role),
        "sendBack" => json!({"type": "sendBack", "participantId": id("who is in")}),
        "remove" => json!({"type": "remove", "participantId": id("who is in")}),
        "consent" => json!({"type": "consent", "consentType": "recording", "version": "1", "granted": true}),
        "tier" => json!({"type": "tier", "want": "audio_only"}),
        "tier {async_text}" => json!({"type": "tier", "want": "async_text"}),
        "line" => json!({"type": "line", "uplinkKbps": 300}),
        "chat" => json!({"type": "chat", "clientId": "c", "text": "hello"}),
        "thread" => json!({"type": "thread", "after": 0}),
        "composing" => json!({"type": "composing", "on": true}),
        "end" => json!({"type": "end"}),
        "leave" => json!({"type": "leave"}),
        "stats" => json!({"type": "stats"}),
        "timeline" => json!({"type": "timeline", "participantId": id(role)}),
        "ping" => json!({"type": "ping", "lastSeq": 1}),
        other => panic!("{other} is in the table, and not in the test"),
    };
    value["id"] = json!(50);
    value
}

// --- a clinic ----------------------------------------------------------------------------------------------------

/// What was done.
#[derive(Debug)]
enum Did {
    Send(u64, Value),
    Close(u64),
    Media(MediaCommand),
    Commit(Box<Commit>),
    Said,
    Other,
}

/// A device that said hello.
#[derive(Clone, Copy, Debug)]
struct Device {
    connection: u64,
    peer: PeerId,
    key: ResumeKey,
}

struct Clinic {
    now: Timestamp,
    live: LiveSession,
    ids: BTreeMap<String, ParticipantId>,
    did: Vec<Did>,
    connections: u64,
    /// The device each of those knocked on last who did.
    devices: BTreeMap<String, Value>,
}

impl Clinic {
    /// Somebody of a role in a state, and all that their message needs. `None` if nobody is ever there.
    fn with(role: &str, message: &str, state: &str) -> Option<(Self, Device)> {
        let is_provider = role == "provider";
        if (is_provider && state == "waiting") || (role == "patient" && state == "in, not begun") {
            return None;
        }
        let mut clinic = Self::new();
        let nowhere = Device { connection: 99, peer: PeerId(99), key: ResumeKey([99; 32]) };
        clinic.enter("colleague");
        clinic.enter("who is in");
        clinic.order(Command::Admit { participant: clinic.ids["who is in"] });
        clinic.enter("who waits");
        let begun = !matches!(state, "in, not begun");
        if begun && role != "patient" {
            clinic.enter("patient");
            clinic.order(Command::Admit { participant: clinic.ids["patient"] });
        }
        if state == "door" {
            return Some((clinic, nowhere));
        }
        let first = clinic.enter(role);
        let participant = clinic.ids[role];
        if state == "waiting" {
            clinic.newcomers(message);
            return Some((clinic, first));
        }
        if !is_provider {
            clinic.order(Command::Admit { participant });
        }
        match state {
            "newcomer" => {
                clinic.newcomers(message);
                let newcomer = clinic.enter(role);
                return Some((clinic, newcomer));
            }
            "ended" => clinic.order(Command::End),
            "removed" => clinic.order(Command::Remove { participant }),
            "superseded" => {
                clinic.enter(role);
                clinic.order(Command::ReplaceDevice { participant });
            }
            _ => {
                if message.ends_with("{own newcomer}") {
                    clinic.enter(role);
                }
                clinic.newcomers(message);
            }
        }
        Some((clinic, first))
    }

    fn newcomers(&mut self, message: &str) {
        if message.contains("another provider's") {
            self.enter("colleague");
        }
        if message.contains("the interpreter's") {
            self.enter("who is in");
        }
    }

    fn new() -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("in 2027");
        let people = [
            ("provider", ParticipantRole::Provider),
            ("patient", ParticipantRole::Patient),
            ("interpreter", ParticipantRole::Interpreter),
            ("observer", ParticipantRole::Observer),
            ("colleague", ParticipantRole::Provider),
            ("who is in", ParticipantRole::Interpreter),
            ("who waits", ParticipantRole::Observer),
        ];
        let ids: BTreeMap<String, ParticipantId> = (1..)
            .zip(people)
            .map(|(n, (who, _))| (who.to_owned(), ParticipantId::new(now, [n; 10])))
            .collect();
        let policy = PolicyValues { recording_allowed: true, ..PolicyValues::default() };
        let schedule = Schedule {
            id: SessionId::new(now, [201; 10]),
            tenant: TenantId::new(now, [202; 10]),
            patient_id: "p-1".parse().expect("visible ASCII"),
            provider_ref: "desk".parse().expect("visible ASCII"),
            scheduled_start: None,
            scheduled_end: None,
            communication: Communication::Speech,
            backend: VideoBackend::Embedded,
            room: "room".parse().expect("visible ASCII"),
            policy: SessionPolicy::new(policy).expect("within bounds"),
            participants: people
                .iter()
                .map(|(who, role)| Invitation { participant: ids[*who], role: *role })
                .collect(),
        };
        let presence = Presence::new();
        let context = Context { now, actor: &Actor::System, presence: &presence };
        let (mut session, _) = VirtualSession::create(schedule, &context).expect("a good schedule");
        let patient = Actor::Participant(ids["patient"]);
        let consent = Command::CaptureConsent {
            consent_type: ConsentType::Telehealth,
            granted: true,
            version: "1".parse().expect("visible ASCII"),
        };
        let events = session
            .decide(&consent, &Context { now, actor: &patient, presence: &presence })
            .expect("the patient may");
        session.commit(&events);
        let profiles = ids.iter().map(|(who, &id)| (id, Profile { display_name: who.clone() })).collect();
        let live = LiveSession::new(now, Loaded { session, profiles }, 1, 1);
        Self { now, live, ids, did: Vec::new(), connections: 0, devices: BTreeMap::new() }
    }

    fn input(&mut self, input: Input) {
        self.live.handle(self.now, input);
        while let Some(output) = self.live.poll_output() {
            let did = match output {
                Output::Send { connection, seq, message } => {
                    let said = serde_json::to_value(Numbered { seq, message: &message }).expect("JSON");
                    if let Some(who) = said["participant"]["id"].as_str().filter(|_| said["type"] == "knock")
                    {
                        self.devices.insert(who.to_owned(), said["device"].clone());
                    }
                    Did::Send(connection.0, said)
                }
                Output::Close { connection, .. } => Did::Close(connection.0),
                Output::Media(command) => Did::Media(command),
                Output::Commit(commit) => {
                    self.live.committed(self.now, Ok(()));
                    Did::Commit(commit)
                }
                Output::Keep(line) => {
                    let NewLine { at, from, client_id, text, audience, .. } = *line;
                    let kept =
                        ThreadLine { position: 1, at, from, client_id, text, attachment: None, audience };
                    self.live.kept(self.now, Ok(vec![kept]));
                    Did::Said
                }
                Output::ReadThread { .. } | Output::TextAnswered { .. } => Did::Other,
                Output::Answered { .. } | Output::Queue(_) => Did::Other,
                // That somebody was heard at all.
                Output::KeepResume(..) | Output::Measured(..) | Output::TierChanged(..) => continue,
            };
            self.did.push(did);
        }
    }

    fn order(&mut self, command: Command) {
        // A provider's newcomer is for its own first device to let in, and for the staff.
        self.input(Input::Command { call: CallId(1), command, actor: Actor::System, expected: None });
    }

    fn hello(&mut self, who: &str, entry: Entry) -> Device {
        self.connections += 1;
        let key = ResumeKey([u8::try_from(self.connections).expect("few"); 32]);
        let connection = self.connections;
        let begun = self.did.len();
        self.input(Input::Hello {
            connection: ConnectionId(connection),
            participant: self.ids[who],
            entry,
            fresh: FreshSecret { secret: format!("secret-{connection}"), key },
            request: None,
        });
        let peer = self.did[begun..].iter().find_map(|did| match did {
            Did::Media(MediaCommand::AddPeer(peer)) => Some(*peer),
            _ => None,
        });
        Device { connection, peer: peer.unwrap_or(PeerId(0)), key }
    }

    /// By the link, with a transport that stands.
    fn enter(&mut self, who: &str) -> Device {
        let epoch = self.live.session().participant(self.ids[who]).expect("invited").epoch;
        let device = self.hello(who, Entry::Ticket { epoch, vouched: false });
        self.say(device.connection, &json!({"type": "offer", "sdp": "v=0", "negotiation": 1}));
        self.engine_answers();
        self.input(Input::Media(MediaEvent::Connected { peer: device.peer }));
        device
    }

    fn say(&mut self, connection: u64, message: &Value) {
        let frame = Frame::parse(&message.to_string());
        self.input(Input::Frame { connection: ConnectionId(connection), frame });
    }

    /// The engine does what it was asked last.
    fn engine_answers(&mut self) {
        let mid = |text: &str| Some(text.to_owned());
        let event = match self.did.iter().rev().find_map(|did| match did {
            Did::Media(command) if command.is_request() => Some(command.clone()),
            _ => None,
        }) {
            Some(MediaCommand::Offer { peer, negotiation, sdp }) => {
                let seats = vec![SeatInfo { seat: SeatId(0), audio: mid("3"), video: mid("4") }];
                MediaEvent::Answer { peer, negotiation, sdp, seats }
            }
            Some(MediaCommand::RestartIce { peer, ufrag, pwd }) => MediaEvent::Restarted { peer, ufrag, pwd },
            Some(MediaCommand::Stats(peer)) => MediaEvent::Stats { peer, stats: json!({}) },
            _ => return,
        };
        self.input(Input::Media(event));
    }
}

// --- what came of it ---------------------------------------------------------------------------------------------

impl Clinic {
    /// A `hello` of somebody who was at the door, or had been let go.
    fn hello_of(&mut self, role: &str, hello: &str, device: Device) -> u64 {
        // The ticket was taken before they were removed.
        let entry = match hello {
            "{ticket}" => Entry::Ticket { epoch: 0, vouched: false },
            _ => Entry::Resume { key: device.key, incarnation: None, last_seq: 0 },
        };
        self.hello(role, entry).connection
    }

    fn came_of_hello(&self, connection: u64, before: &VirtualSession) -> String {
        let told: Vec<&Value> = self.sent_to(connection).collect();
        let first = told.first().expect("an answer");
        let word = match first["type"].as_str().expect("text") {
            "welcome" | "resumed" => return "yes".into(),
            "error" => first["code"].as_str().expect("text"),
            other => other,
        };
        assert_eq!(told.len(), 1, "{told:?}");
        let only_them = self.did.iter().all(|did| match did {
            Did::Send(to, _) | Did::Close(to) => *to == connection,
            _ => false,
        });
        assert!(only_them && self.live.session() == before, "{:?}", self.did);
        word.to_owned()
    }

    fn sent_to(&self, connection: u64) -> impl Iterator<Item = &Value> {
        self.did.iter().filter_map(move |did| match did {
            Did::Send(to, message) if *to == connection => Some(message),
            _ => None,
        })
    }

    fn replies(&self, connection: u64) -> Vec<Value> {
        self.sent_to(connection).filter(|message| message["replyTo"] == 50).cloned().collect()
    }

    /// Nothing is different, and nobody was told anything, but for so many answers.
    fn nothing_was_done(&self, before: &VirtualSession, load: Load, answers: usize) {
        assert_eq!(self.live.session(), before);
        assert_eq!(self.did.len(), answers, "{:?}", self.did);
        let now = self.live.load();
        assert_eq!(Load { messages: now.messages - answers, ..now }, load);
    }

    /// What was allowed is done.
    fn took_effect(&self, role: &str, message: &str, state: &str) {
        let events: Vec<&str> = self
            .did
            .iter()
            .filter_map(|did| if let Did::Commit(commit) = did { Some(&commit.events) } else { None })
            .flatten()
            .map(vestibule_domain::Event::type_name)
            .collect();
        let asked = |fits: fn(&MediaCommand) -> bool| {
            self.did.iter().any(|did| matches!(did, Did::Media(command) if fits(command)))
        };
        let newcomer = state == "newcomer";
        let fits = match message {
            "offer" => asked(|command| matches!(command, MediaCommand::Offer { negotiation: 2, .. })),
            "restart" => asked(|command| matches!(command, MediaCommand::RestartIce { .. })),
            "stats" => asked(|command| matches!(command, MediaCommand::Stats(_))),
            "admit" => events == ["admitted"],
            "admit {own newcomer}" | "admit {the interpreter's newcomer}" => events == ["device_replaced"],
            "deny" => events == ["denied"],
            "deny {own newcomer}" => events == ["device_refused"],
            "sendBack" => events == ["sent_back"],
            "remove" => events == ["removed"],
            "consent" => events == ["consent_captured"],
            "tier {async_text}" => events == ["fallback_initiated"],
            "chat" => self.did.iter().any(|did| matches!(did, Did::Said)),
            "end" => events == ["ended"],
            "leave" if newcomer => {
                events.is_empty() && self.did.iter().any(|did| matches!(did, Did::Close(_)))
            }
            "leave" => events.first() == Some(&"left"),
            "subscribe" => asked(|command| matches!(command, MediaCommand::SetSeatWish { .. })),
            "publish" | "tier" | "line" | "ping" | "timeline" | "thread" | "composing" => events.is_empty(),
            other => panic!("{other}: what is its effect?"),
        };
        assert!(fits, "{role}, {message}, {state}: {events:?}, {:?}", self.did);
    }
}
