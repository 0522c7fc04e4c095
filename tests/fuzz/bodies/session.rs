//! A live session under any inputs: it does not panic, what it holds is bounded, and no gate opens for who is not in.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, Command, Communication, ConsentType, Context, DenyReason, Invitation, ParticipantId,
    ParticipantRole, Presence, Schedule, SessionId, SessionPolicy, Standing, TenantId, VideoBackend,
    VirtualSession,
};
use vestibule_signaling::wire::{Frame, QualityCode, QualityLevel, QualityReason, ServerMessage};
use vestibule_signaling::{
    CallId, CommitError, ConnectionId, Entry, FreshSecret, Input, LOG_MESSAGES_MAX, LiveSession, Loaded,
    MediaCommand, MediaEvent, NewLine, Output, PeerId, Profile, Quality, ResumeKey, ResumeKeys, SeatId,
    SeatInfo, SourceKind, ThreadLine,
};

const ROLES: [ParticipantRole; 5] = [
    ParticipantRole::Provider,
    ParticipantRole::Patient,
    ParticipantRole::Interpreter,
    ParticipantRole::Observer,
    ParticipantRole::Provider,
];
/// More steps make a run slow, and no richer.
const STEPS_MAX: usize = 300;

pub(crate) fn run(data: &[u8]) {
    let mut world = World::new();
    let mut input = Bytes(data);
    for _ in 0..STEPS_MAX {
        let Some(step) = input.byte() else { break };
        world.step(step, &mut input);
        world.check();
    }
}

/// What is left of the input; at its end there are zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> usize {
        self.byte().unwrap_or(0).into()
    }

    fn text(&mut self) -> String {
        let length = self.number().min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}

struct World {
    now: Timestamp,
    live: LiveSession,
    stored: Loaded,
    resume: BTreeMap<ParticipantId, ResumeKeys>,
    thread: Vec<ThreadLine>,
    store_is_down: bool,
    ids: Vec<ParticipantId>,
    connections: u64,
    secrets: u8,
    incarnations: Vec<String>,
    /// Whose each is, and whether its gate is open.
    peers: BTreeMap<PeerId, (ParticipantId, bool)>,
    lives: u32,
    /// Whose hello is handled, and whose peer was lost.
    greeted: Option<ParticipantId>,
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("in 2027");
        let ids: Vec<_> = (1..).take(ROLES.len()).map(|n| ParticipantId::new(now, [n; 10])).collect();
        let presence = Presence::new();
        let context = Context { now, actor: &Actor::System, presence: &presence };
        let invitations = ids.iter().zip(ROLES);
        let schedule = Schedule {
            id: SessionId::new(now, [201; 10]),
            tenant: TenantId::new(now, [202; 10]),
            patient_id: "p-1".parse().expect("visible ASCII"),
            provider_ref: "desk".parse().expect("visible ASCII"),
            scheduled_start: Some(now),
            scheduled_end: None,
            communication: Communication::Speech,
            backend: VideoBackend::Embedded,
            room: "room".parse().expect("visible ASCII"),
            policy: SessionPolicy::default(),
            participants: invitations.map(|(&participant, role)| Invitation { participant, role }).collect(),
        };
        let (mut session, _) = VirtualSession::create(schedule, &context).expect("a good schedule");
        let consent = Command::CaptureConsent {
            consent_type: ConsentType::Telehealth,
            granted: true,
            version: "1".parse().expect("visible ASCII"),
        };
        let patient = Actor::Participant(ids[1]);
        let context = Context { now, actor: &patient, presence: &presence };
        let events = session.decide(&consent, &context).expect("the patient may");
        session.commit(&events);
        let profiles = ids.iter().map(|&id| (id, Profile { display_name: "Name".into() })).collect();
        let stored = Loaded { session, profiles };
        Self {
            now,
            live: LiveSession::new(now, stored.clone(), 1, 1),
            stored,
            resume: BTreeMap::new(),
            thread: Vec::new(),
            store_is_down: false,
            ids,
            connections: 0,
            secrets: 0,
            incarnations: Vec::new(),
            peers: BTreeMap::new(),
            lives: 1,
            greeted: None,
        }
    }

    fn step(&mut self, step: u8, input: &mut Bytes<'_>) {
        match step % 16 {
            0 | 1 => self.hello(input),
            2..7 => {
                let frame = Frame::parse(&self.frame(input));
                let connection = self.connection(input);
                self.input(Input::Frame { connection, frame });
            }
            7 => {
                let connection = self.connection(input);
                self.input(Input::Closed { connection, hung_up: true });
            }
            8 | 9 => {
                if let Some(event) = self.media_event(input) {
                    self.input(Input::Media(event));
                }
            }
            10 => {
                let position = u32::try_from(input.number()).ok();
                self.input(Input::Queue { position, attended: step < 128 });
            }
            11 => self.order(input),
            12 => {
                let seconds = [1, 9, 61, 1_000][input.number() % 4];
                self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).expect("in time");
                for _ in 0..20 {
                    if self.live.poll_timeout().is_some_and(|due| due <= self.now) {
                        self.input(Input::Timeout);
                    }
                }
            }
            13 => self.store_is_down = step < 128,
            14 => self.restart(),
            _ => self.rival(input),
        }
    }

    fn person(&self, input: &mut Bytes<'_>) -> ParticipantId {
        self.ids[input.number() % self.ids.len()]
    }

    fn connection(&self, input: &mut Bytes<'_>) -> ConnectionId {
        // Mostly one of the last.
        ConnectionId(self.connections.saturating_sub(u64::try_from(input.number() % 8).expect("below 8")))
    }

    fn hello(&mut self, input: &mut Bytes<'_>) {
        let participant = self.person(input);
        let kind = input.number();
        self.connections += 1;
        self.secrets = self.secrets.wrapping_add(1);
        let entry = if kind.is_multiple_of(2) {
            Entry::Ticket { epoch: u32::try_from(kind / 64).expect("small"), vouched: kind.is_multiple_of(4) }
        } else {
            Entry::Resume {
                key: ResumeKey([u8::try_from(input.number()).expect("a byte"); 32]),
                incarnation: self.incarnations.get(input.number()).cloned(),
                last_seq: u64::try_from(input.number()).expect("a byte"),
            }
        };
        let fresh = FreshSecret { secret: "s".into(), key: ResumeKey([self.secrets; 32]) };
        self.greeted = Some(participant);
        self.input(Input::Hello {
            connection: ConnectionId(self.connections),
            participant,
            entry,
            fresh,
            request: None,
        });
        self.greeted = None;
    }

    fn frame(&self, input: &mut Bytes<'_>) -> String {
        let kind = input.number();
        let number = input.number();
        let id = self.person(input);
        let body = match kind % 20 {
            0 => return input.text(),
            1..4 => format!(r#""type":"admit","participantId":"{id}""#),
            4 => format!(r#""type":"deny","participantId":"{id}""#),
            5 => format!(r#""type":"sendBack","participantId":"{id}""#),
            6 => format!(r#""type":"remove","participantId":"{id}""#),
            7 => format!(r#""type":"offer","sdp":"v=0","negotiation":{}"#, number % 4),
            8 => r#""type":"restart","ufrag":"u","pwd":"p""#.into(),
            9 if number < 128 => {
                format!(r#""type":"subscribe","slots":[{{"seat":{},"participant":"{id}"}}]"#, number % 4)
            }
            9 => format!(r#""type":"subscribe","slots":[{{"seat":{},"maxHeight":{number}}}]"#, number % 4),
            10 => r#""type":"publish","kind":"camera","muted":true"#.into(),
            11 => r#""type":"consent","consentType":"telehealth","version":"1","granted":false"#.into(),
            12 | 13 => format!(r#""type":"chat","clientId":"{number}","text":"x""#),
            14 => r#""type":"tier","want":"async_text""#.into(),
            15 => r#""type":"tier","want":"video""#.into(),
            16 if number < 128 => r#""type":"stats""#.into(),
            16 => format!(r#""type":"timeline","participantId":"{id}""#),
            17 => format!(r#""type":"ping","lastSeq":{number}"#),
            18 => r#""type":"leave""#.into(),
            _ => r#""type":"end""#.into(),
        };
        if number.is_multiple_of(2) { format!("{{{body}}}") } else { format!(r#"{{"id":{number},{body}}}"#) }
    }

    fn media_event(&self, input: &mut Bytes<'_>) -> Option<MediaEvent> {
        let kind = input.number();
        let number = input.number();
        let peer = *self.peers.keys().nth(number.checked_rem(self.peers.len())?)?;
        let why = || "why".to_owned();
        let seat = |n, audio: Option<&str>| SeatInfo {
            seat: SeatId(n),
            audio: audio.map(str::to_owned),
            video: None,
        };
        Some(match kind % 12 {
            0 | 1 => MediaEvent::Connected { peer },
            2 => MediaEvent::Disconnected { peer, why: why() },
            3 => MediaEvent::Quiet { peer },
            4 if number < 128 => MediaEvent::Heard { peer },
            4 => MediaEvent::Speaker((number < 200).then_some(peer)),
            5 => MediaEvent::Source { peer, kind: SourceKind::Screen, flowing: kind < 128 },
            6 => MediaEvent::OfferRejected { peer, negotiation: 1, why: why() },
            7 if number < 128 => {
                let reason = QualityReason { code: QualityCode::RoundTrip, value: 7 };
                let quality = Quality { level: QualityLevel::Poor, reason: Some(reason) };
                MediaEvent::Quality { peer, quality }
            }
            7 => MediaEvent::RestartRejected { peer, why: why() },
            8 if number < 128 => MediaEvent::EncodingsWanted {
                peer,
                kind: SourceKind::Camera,
                rids: vec!["q".into(); number % 4],
            },
            8 => MediaEvent::Restarted { peer, ufrag: "u".into(), pwd: "p".into() },
            9 if number < 128 => MediaEvent::Measured { peer, step: Box::default() },
            9 => MediaEvent::Stats { peer, stats: serde_json::Value::Null },
            10 => MediaEvent::Refused { peer, why: why() },
            _ => {
                let seats = vec![seat(0, Some("a")), seat(1, None)];
                MediaEvent::Answer {
                    peer,
                    negotiation: u32::try_from(number % 4).ok()?,
                    sdp: "v=0".into(),
                    seats,
                }
            }
        })
    }

    fn command(&self, input: &mut Bytes<'_>) -> Command {
        let kind = input.number();
        let participant = self.person(input);
        match kind % 8 {
            0 => Command::Admit { participant },
            1 => Command::Deny { participant, reason: DenyReason::Other },
            2 => Command::SendBack { participant },
            3 => Command::Remove { participant },
            4 => Command::RevokeTokens { participant },
            5 => Command::Leave { participant },
            6 => Command::End,
            _ => {
                let index = self.ids.iter().position(|id| *id == participant).unwrap_or(0);
                Command::Invite { participant, role: ROLES[index] }
            }
        }
    }

    fn order(&mut self, input: &mut Bytes<'_>) {
        let command = self.command(input);
        self.input(Input::Command { call: CallId(1), command, actor: Actor::System, expected: None });
    }

    /// Another process writes.
    fn rival(&mut self, input: &mut Bytes<'_>) {
        let command = self.command(input);
        let presence = Presence::new();
        let context = Context { now: self.now, actor: &Actor::System, presence: &presence };
        if let Ok(events) = self.stored.session.decide(&command, &context) {
            self.stored.session.commit(&events);
        }
    }

    fn restart(&mut self) {
        self.lives += 1;
        self.peers.clear();
        self.live = LiveSession::new(self.now, self.stored.clone(), self.lives, self.lives.into())
            .with_thread(self.thread.clone())
            .with_resume(self.resume.clone());
    }

    fn input(&mut self, input: Input) {
        let lost = match &input {
            Input::Media(MediaEvent::Disconnected { peer, .. }) => {
                self.peers.get(peer).map(|(owner, _)| *owner)
            }
            _ => None,
        };
        self.live.handle(self.now, input);
        while let Some(output) = self.live.poll_output() {
            self.carry_out(output, lost);
        }
    }

    fn carry_out(&mut self, output: Output, lost: Option<ParticipantId>) {
        match output {
            Output::Media(MediaCommand::AddPeer(peer)) => {
                let owner = self.greeted.or(lost).expect("somebody's");
                assert!(self.peers.insert(peer, (owner, false)).is_none());
            }
            Output::Media(MediaCommand::RemovePeer(peer)) => assert!(self.peers.remove(&peer).is_some()),
            Output::Media(MediaCommand::OpenGate(peer)) => self.peers.get_mut(&peer).expect("one").1 = true,
            Output::Media(MediaCommand::CloseGate(peer)) => self.peers.get_mut(&peer).expect("one").1 = false,
            Output::Media(MediaCommand::CloseRoom) => self.peers.clear(),
            Output::Commit(commit) => {
                let result = if self.store_is_down {
                    Err(CommitError::Unavailable)
                } else if !commit.events.is_empty() && commit.before != self.stored.session.version() {
                    Err(CommitError::Conflict(Box::new(self.stored.clone())))
                } else {
                    if !commit.events.is_empty() {
                        self.stored.session = commit.after;
                    }
                    self.resume.extend(commit.resume);
                    Ok(())
                };
                self.live.committed(self.now, result);
            }
            Output::Send { message, .. } => {
                if let ServerMessage::Welcome { incarnation, .. } = &*message {
                    self.incarnations.push(incarnation.clone());
                }
            }
            Output::Keep(line) => {
                let NewLine { at, from, client_id, text, audience, .. } = *line;
                let position = self.thread.len() as u64 + 1;
                let line = ThreadLine { position, at, from, client_id, text, attachment: None, audience };
                let known =
                    self.thread.iter().any(|kept| kept.from == from && kept.client_id == line.client_id);
                let lines = if known { Vec::new() } else { vec![line] };
                self.thread.extend(lines.iter().cloned());
                self.live.kept(self.now, Ok(lines));
            }
            Output::ReadThread { .. } | Output::TextAnswered { .. } => {}
            Output::Media(_)
            | Output::Close { .. }
            | Output::Answered { .. }
            | Output::Queue(_)
            | Output::Measured(..)
            | Output::TierChanged(..) => {}
            Output::KeepResume(participant, keys) => drop(self.resume.insert(participant, keys)),
        }
    }

    fn check(&self) {
        let mut open = BTreeSet::new();
        for (owner, _) in self.peers.values().filter(|(_, is_open)| *is_open) {
            let record = self.live.session().participant(*owner).expect("invited");
            assert!(record.standing == Standing::Admitted && record.inside(), "an open gate of who is out");
            assert!(open.insert(*owner), "two open gates of one");
        }
        let load = self.live.load();
        assert!(load.members <= 2 * self.ids.len() && load.messages <= load.members * LOG_MESSAGES_MAX);
        assert!(load.requests <= 32 * load.members && load.retries <= 64, "{load:?}");
        assert!(self.peers.len() == load.members);
    }
}
