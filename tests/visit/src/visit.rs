//! A visit: a provider, a patient, a live session and the SFU, and what is between them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, Command, Communication, ConsentType, Context, ParticipantId, ParticipantRole, PatientId, Presence,
    Schedule, SessionId, SessionPolicy, TenantId, Tier, VideoBackend, VirtualSession,
};
use vestibule_media_core::api::PeerId;
use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::time::Time;
use vestibule_signaling::wire::{ClientMessage, Credentials, Frame, Numbered, ServerMessage};
use vestibule_signaling::{
    ConnectionId, Entry, FreshSecret, Input, LiveSession, Loaded, MediaCommand, MediaEvent, NewLine, Output,
    Profile, ResumeKey, ThreadLine,
};
use vestibule_sim::client::ClientConfig;
use vestibule_sim::world::{Way, World};
use vestibule_testnet::LinkConfig;

use crate::device::Device;
use crate::socket::{End, SocketId};

/// The number of the session's room.
const ROOM: u32 = 2;
/// The server's times of a socket (`src/http/socket.rs`).
const HEARTBEAT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(15);
/// What waits on a line of a few kilobits, where a full queue is one packet of a picture.
const QUEUES: Duration = Duration::from_secs(6);
/// NetEq plays a voice as late as three quarters of its 200 packets, if need be.
const PLAYOUT_DELAY_MAX: Duration = Duration::from_secs(3);
/// Times a session may have something to do at one moment.
const TURNS_MAX: u32 = 1_000;
/// Lines the store reads at a time.
const PAGE: usize = 50;
/// Encodings of a camera: small ones, as the line is what matters.
const RATES_BPS: [u32; 3] = [150_000, 400_000, 900_000];

/// Somebody in a visit, by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// On a good line.
    Provider,
    /// On the line of the test.
    Patient,
}

impl Who {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Provider, Self::Patient];

    const fn at(self) -> usize {
        self as usize
    }
}

/// The server's end of a socket.
struct Socket {
    end: End,
    who: Who,
    said_hello: bool,
    heard_at: Time,
    beats_at: Time,
}

/// A visit that goes on.
pub struct Visit {
    /// The SFU, the browsers and the lines.
    pub world: World,
    /// By their places.
    pub devices: Vec<Device>,
    /// The session.
    pub live: LiveSession,
    /// What lines were used for from when on.
    pub tiers: Vec<(Time, Who, Tier)>,
    /// Lines of the thread as the store has them.
    pub kept: Vec<ThreadLine>,
    /// What the server did about lines, for who wants to see why something is as it is.
    pub log: Vec<(Time, String)>,
    people: [ParticipantId; 2],
    peers: BTreeMap<u64, Who>,
    sockets: BTreeMap<SocketId, Socket>,
    secrets: BTreeMap<String, Who>,
    started_at: Timestamp,
    /// Whom what is handled now is about.
    subject: Who,
}

impl Visit {
    /// A visit of two people who open their pages now, over this line of the patient.
    ///
    /// # Panics
    ///
    /// Never with what is made here.
    #[must_use]
    pub fn new(seed: u64, communication: Communication, line: LinkConfig) -> Self {
        let started_at = Timestamp::from_second(1_795_000_000).expect("in range");
        let (session, people) = session(started_at, communication);
        let profiles = people.iter().zip(["Provider", "Patient"]);
        let profiles = profiles.map(|(&id, name)| (id, Profile { display_name: name.to_owned() })).collect();
        let mut world = World::bare(seed, CodecName::Vp8);
        world.tells = false;
        world.capture_tolerance = Some(QUEUES);
        let config = ClientConfig {
            codecs: vec![CodecName::Vp8],
            rates_bps: RATES_BPS,
            temporal_layers: 2,
            sizes_seed: Some(seed),
            obeys: true,
            seats: 3,
            screen_seats: 1,
            playout_delay_max: PLAYOUT_DELAY_MAX,
            transport_feedback: Duration::from_millis(60),
            ..ClientConfig::default()
        };
        let good = LinkConfig::default().delay_ms(15);
        for (who, line) in Who::ALL.into_iter().zip([good, line]) {
            // Until the page has a peer: nothing is sent before.
            let nobody = PeerId(1_000 + who.at() as u64);
            world.place(nobody, ClientConfig { microphone: false, camera: 0, ..config.clone() }, line, line);
        }
        let now = world.now;
        let devices = Who::ALL.map(|who| Device::new(people[who.at()], who.at(), config.clone(), now));
        Self {
            world,
            devices: devices.into(),
            live: LiveSession::new(started_at, Loaded { session, profiles }, ROOM, 1),
            tiers: Vec::new(),
            kept: Vec::new(),
            log: Vec::new(),
            people,
            peers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            secrets: BTreeMap::new(),
            started_at,
            subject: Who::Provider,
        }
    }

    /// What somebody's line is used for now, as the server has it.
    #[must_use]
    pub fn tier(&self, who: Who) -> Option<Tier> {
        self.tiers.iter().rev().find(|(_, whose, _)| *whose == who).map(|(.., tier)| *tier)
    }

    /// Somebody's device.
    #[must_use]
    pub fn device(&mut self, who: Who) -> &mut Device {
        &mut self.devices[who.at()]
    }

    /// How somebody's line is from now on.
    pub fn line(&mut self, whose: Who, up: LinkConfig, down: LinkConfig) {
        let now = self.world.now.as_micros();
        let member = &mut self.world.members[whose.at()];
        member.up.set_config(now, up);
        member.down.set_config(now, down);
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.world.now = self.world.now.max(at);
            self.turn();
        }
        self.world.now = end;
    }

    fn timestamp(&self) -> Timestamp {
        let micros = i64::try_from(self.world.now.as_micros()).expect("in range");
        self.started_at.checked_add(SignedDuration::from_micros(micros)).expect("in range")
    }

    fn next_at(&self) -> Option<Time> {
        let live = self.live.poll_timeout().map(|at| {
            // Not before it: it may be due between two microseconds.
            let nanos = at.duration_since(self.started_at).as_nanos();
            Time::from_micros(u64::try_from(nanos).unwrap_or(0).div_ceil(1_000))
        });
        let ends = self.sockets.values().flat_map(|socket| {
            [socket.end.next_at(), Some(socket.beats_at), Some(socket.heard_at + SILENCE)]
        });
        let devices = self.devices.iter().map(|device| Some(device.next_at()));
        [live, Some(self.world.next_at())].into_iter().chain(ends).chain(devices).flatten().min()
    }

    fn turn(&mut self) {
        self.world.turn();
        for (at, way, bytes) in std::mem::take(&mut self.world.aside) {
            match way {
                Way::Up => self.hears_datagram(Who::ALL[at], &bytes),
                Way::Down => self.devices[at].datagram(&bytes, &mut self.world),
            }
        }
        self.media_events();
        let now = self.timestamp();
        for turn in 0.. {
            if self.live.poll_timeout().is_none_or(|due| due > now) {
                break;
            }
            assert!(
                turn < TURNS_MAX,
                "the session asks to be woken for what is never done: {:?}",
                self.log.last()
            );
            self.input(Input::Timeout);
        }
        self.keep_sockets();
        self.media_events();
        for who in Who::ALL {
            for datagram in self.devices[who.at()].tick(&mut self.world) {
                self.world.members[who.at()].up.send(self.world.now.as_micros(), datagram);
            }
        }
        let now = self.world.now;
        for socket in self.sockets.values_mut() {
            for datagram in socket.end.poll(now) {
                self.world.members[socket.who.at()].down.send(now.as_micros(), datagram);
            }
        }
    }

    // Sockets

    fn hears_datagram(&mut self, who: Who, bytes: &[u8]) {
        let now = self.world.now;
        let Some(id) = End::socket_of(bytes) else { return };
        let is_first = bytes.get(9..13) == Some(&[0; 4]) && bytes.get(13) != Some(&0);
        if !self.sockets.contains_key(&id) && !is_first {
            // It is closed here, and says so: the other end hears of it at once, as by a reset.
            return self.devices[who.at()].closed(id, now);
        }
        let socket = self.sockets.entry(id).or_insert_with(|| Socket {
            end: End::server(id),
            who,
            said_hello: false,
            heard_at: now,
            beats_at: now + HEARTBEAT,
        });
        socket.heard_at = now;
        for message in socket.end.receive(bytes, now) {
            match self.sockets.get_mut(&id) {
                Some(socket) if End::opens(&message) => socket.end.answer(&message),
                _ => self.hears(id, who, &message),
            }
        }
    }

    fn hears(&mut self, id: SocketId, who: Who, message: &[u8]) {
        let text = std::str::from_utf8(message).expect("the client says text");
        let frame = Frame::parse(text);
        let connection = ConnectionId(id.0.into());
        self.subject = who;
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if std::mem::replace(&mut socket.said_hello, true) {
            return self.input(Input::Frame { connection, frame });
        }
        let Ok(Frame { id: request, message: hello @ ClientMessage::Hello { .. } }) = frame else {
            panic!("{text} is no hello")
        };
        let entry = match hello.credentials().expect("a good hello") {
            Credentials::Ticket(_) => {
                let epoch = self.live.session().participant(self.people[who.at()]).expect("invited").epoch;
                Entry::Ticket { epoch, vouched: false }
            }
            Credentials::Resume { secret, incarnation, last_seq } => {
                Entry::Resume { key: key(&secret), incarnation, last_seq }
            }
        };
        let secret = format!("secret {}", self.secrets.len());
        self.secrets.insert(secret.clone(), who);
        let fresh = FreshSecret { key: key(&secret), secret };
        let participant = self.people[who.at()];
        self.input(Input::Hello { connection, participant, entry, fresh, request });
    }

    /// Beats, and closes what is silent.
    fn keep_sockets(&mut self) {
        let now = self.world.now;
        for socket in self.sockets.values_mut().filter(|socket| socket.beats_at <= now) {
            socket.beats_at = now + HEARTBEAT;
            socket.end.send(&[]);
        }
        let silent = self.sockets.iter().filter(|(_, socket)| now.since(socket.heard_at) >= SILENCE);
        let silent: Vec<SocketId> = silent.map(|(id, _)| *id).collect();
        for id in silent {
            let socket = self.sockets.remove(&id).expect("it was there");
            self.subject = socket.who;
            self.input(Input::Closed { connection: ConnectionId(id.0.into()), hung_up: false });
        }
    }

    // The session

    fn input(&mut self, input: Input) {
        self.live.handle(self.timestamp(), input);
        self.drain();
    }

    fn media_events(&mut self) {
        while !self.world.events.is_empty() {
            for (_, event) in std::mem::take(&mut self.world.events) {
                let Some((room, event)) = vestibule_media_bridge::translate(event) else { continue };
                assert_eq!(room, ROOM, "{event:?}");
                if let Some(who) = peer_of(&event).and_then(|peer| self.peers.get(&peer.0)) {
                    self.subject = *who;
                }
                self.note(&event);
                self.input(Input::Media(event));
            }
        }
    }

    fn note(&mut self, what: &MediaEvent) {
        use MediaEvent::{Connected, Disconnected, Heard, Line, LineTested, Quiet, Refused, RestartFailed};
        let is_told = matches!(
            what,
            Connected { .. }
                | Disconnected { .. }
                | Heard { .. }
                | Line { .. }
                | LineTested { .. }
                | Quiet { .. }
                | Refused { .. }
                | RestartFailed { .. }
        );
        if is_told {
            self.log.push((self.world.now, format!("{:?}: {what:?}", self.subject)));
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.live.poll_output() {
            match output {
                Output::Send { connection, seq, message } => {
                    use ServerMessage::{Quality, Rehearse, Tier as Told};
                    if matches!(*message, Told { .. } | Quality { .. } | Rehearse { .. }) {
                        self.log.push((self.world.now, format!("{message:?}")));
                    }
                    let text = serde_json::to_vec(&Numbered { seq, message: &message }).expect("JSON");
                    if let Some(socket) = self.sockets.get_mut(&socket_of(connection)) {
                        socket.end.send(&text);
                    }
                }
                Output::Close { connection, .. } => {
                    let id = socket_of(connection);
                    self.sockets.remove(&id);
                }
                Output::Media(command) => self.media(command),
                Output::Commit(_) => self.live.committed(self.timestamp(), Ok(())),
                Output::Keep(line) => {
                    let lines = self.keep(*line);
                    self.live.kept(self.timestamp(), Ok(lines));
                }
                Output::ReadThread { read, after } => {
                    let lines = self.kept.iter().filter(|line| line.position > after).take(PAGE);
                    let lines = Some(lines.cloned().collect());
                    self.live.handle(self.timestamp(), Input::ThreadRead { read, lines });
                }
                Output::TierChanged(participant, tier) => {
                    let who = Who::ALL.into_iter().find(|who| self.people[who.at()] == participant);
                    self.tiers.push((self.world.now, who.expect("one of them"), tier));
                }
                Output::Answered { .. }
                | Output::Queue(_)
                | Output::KeepResume(..)
                | Output::TextAnswered { .. }
                | Output::Measured(..) => {}
            }
        }
    }

    fn media(&mut self, command: MediaCommand) {
        if let MediaCommand::AddPeer(peer) = command {
            self.peers.insert(peer.0, self.subject);
            self.devices[self.subject.at()].has_peer(PeerId(peer.0));
        }
        if matches!(command, MediaCommand::TestLine { .. } | MediaCommand::SeekRate { .. }) {
            self.log.push((self.world.now, format!("{command:?}")));
        }
        match vestibule_media_bridge::command(ROOM, command) {
            Ok(command) => self.world.command(command),
            Err(instead) => self.live.handle(self.timestamp(), Input::Media(instead)),
        }
    }

    /// Keeps a line as a store does: once, and in the next place.
    fn keep(&mut self, line: NewLine) -> Vec<ThreadLine> {
        let NewLine { at, from, client_id, text, audience, .. } = line;
        if self.kept.iter().any(|kept| kept.from == from && kept.client_id == client_id) {
            return Vec::new();
        }
        let position = self.kept.last().map_or(1, |last| last.position + 1);
        let line = ThreadLine { position, at, from, client_id, text, attachment: None, audience };
        self.kept.push(line.clone());
        vec![line]
    }
}

fn socket_of(connection: ConnectionId) -> SocketId {
    SocketId(u32::try_from(connection.0).expect("a number of ours"))
}

fn key(secret: &str) -> ResumeKey {
    let mut key = [0; 32];
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    ResumeKey(key)
}

/// Whom an event is about.
fn peer_of(event: &MediaEvent) -> Option<vestibule_signaling::PeerId> {
    use MediaEvent::{Connected, Disconnected, Heard, Line, LineTested, Quiet, RestartFailed};
    match event {
        Connected { peer }
        | Disconnected { peer, .. }
        | Heard { peer }
        | Quiet { peer }
        | Line { peer, .. }
        | LineTested { peer, .. }
        | RestartFailed { peer } => Some(*peer),
        _ => None,
    }
}

/// A session with a provider, and a patient who has consented.
fn session(now: Timestamp, communication: Communication) -> (VirtualSession, [ParticipantId; 2]) {
    let (actor, presence) = (Actor::System, Presence::default());
    let context = Context { now, actor: &actor, presence: &presence };
    let schedule = Schedule {
        id: SessionId::new(now, [201; 10]),
        tenant: TenantId::new(now, [202; 10]),
        patient_id: "p-1".parse::<PatientId>().expect("an id"),
        provider_ref: "desk".parse().expect("a name"),
        scheduled_start: Some(now),
        scheduled_end: None,
        communication,
        backend: VideoBackend::Embedded,
        room: "room".parse().expect("a name"),
        policy: SessionPolicy::default(),
        participants: Vec::new(),
    };
    let (mut session, _) = VirtualSession::create(schedule, &context).expect("a session");
    let people = [(1, ParticipantRole::Provider), (2, ParticipantRole::Patient)].map(|(number, role)| {
        let participant = ParticipantId::new(now, [number; 10]);
        let events = session.decide(&Command::Invite { participant, role }, &context).expect("invited");
        session.commit(&events);
        participant
    });
    let consent = Command::CaptureConsent {
        consent_type: ConsentType::Telehealth,
        granted: true,
        version: "1".parse().expect("a version"),
    };
    let actor = Actor::Participant(people[Who::Patient.at()]);
    let context = Context { now, actor: &actor, presence: &presence };
    let events = session.decide(&consent, &context).expect("they may");
    session.commit(&events);
    (session, people)
}
