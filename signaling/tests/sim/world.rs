//! A clinic in memory: the real machine with the real domain, and around it the store, the engine, the desk, the sockets
//! and the browsers. It does one step after the other, and has everything checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, BandwidthProfile, Command, Communication, ConsentType, Context, DenyReason, Invitation,
    ParticipantId, ParticipantRole, PatientId, PolicyValues, Presence, Schedule, SessionId, SessionPolicy,
    StaffId, Standing, TenantId, VideoBackend, VirtualSession,
};
use vestibule_signaling::wire::{
    Credentials, ErrorCode, Frame, QualityCode, QualityLevel, QualityReason, ServerMessage,
};
use vestibule_signaling::{
    AudioProfile, CallId, CloseReason, ConnectionId, Entry, FreshSecret, Input, KeepError, LiveSession,
    Loaded, MediaCommand, MediaEvent, NewLine, Output, PeerId, Profile, Quality, ResumeKey, ResumeKeys,
    SourceKind, ThreadLine, Waits,
};

use crate::check::{Cause, Check, Checked, Fault, Held, Member, PageId, Shown, fault};
use crate::clients::{Device, Page, Place, Reaction};
use crate::engine::Engine;
use crate::network::{Down, Network, Up, Way, Weather};
use crate::store::Store;
use crate::trace::{Act, Ask, Line, Nonsense, Order, Person, Setup, Step, Tab, Theft, Trace, Transition};

/// How long a ticket is good for.
const TICKET_LIFE: SignedDuration = SignedDuration::from_secs(60);
/// Rounds of delivering and coming back until all is quiet; more means that it never will be.
const ROUNDS_MAX: usize = 40;
/// Timers that may run until a session with nobody in it is over.
const LAST_TIMERS_MAX: usize = 200;

/// A fault of the world around the machine, put there on purpose: the checks must see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// The store does not keep what people come back with.
    StoreForgetsKeys,
    /// Of what is sent again to one who comes back, the first is lost.
    ReplayLosesOne,
    /// A message is delivered twice.
    MessageTwice,
    /// The engine opens the gate of each new peer.
    GateOpens,
    /// Who waits is sent what those read who are in.
    ChatLeaks,
    /// No timer ever runs.
    TimersSleep,
    /// The keeper of the chat loses each third line.
    LinesAreLost,
    /// When the server starts, everybody's first secret is good again.
    SecretsLiveOn,
    /// A reply is lost, and the numbers after it are as if it had never been.
    RepliesAreLost,
}

impl Sabotage {
    pub(crate) const ALL: [Self; 9] = [
        Self::StoreForgetsKeys,
        Self::ReplayLosesOne,
        Self::MessageTwice,
        Self::GateOpens,
        Self::ChatLeaks,
        Self::TimersSleep,
        Self::LinesAreLost,
        Self::SecretsLiveOn,
        Self::RepliesAreLost,
    ];
}

/// Lets one person in at one door, once.
#[derive(Clone, Debug)]
struct Ticket {
    person: Person,
    epoch: u32,
    vouched: bool,
    expires_at: Timestamp,
    used: bool,
}

pub(crate) struct World {
    now: Timestamp,
    live: LiveSession,
    store: Store,
    /// Who was heard since they were sent their first secret, as far as this life of the server knows.
    heard: BTreeSet<ParticipantId>,
    engine: Engine,
    network: Network,
    check: Check,
    devices: BTreeMap<Tab, Device>,
    /// Counts the pages of all devices.
    pages: u32,
    tickets: Vec<Ticket>,
    /// All secrets that were ever made, by the number in their text; whose, and whether a client read it.
    secrets: Vec<Option<Person>>,
    lives: u32,
    calls: u64,
    calls_open: BTreeSet<u64>,
    /// Lines that were kept, and said to be.
    lines_kept: u64,
    later: VecDeque<Input>,
    /// The patient on the desk, and what the desk said of that last.
    desk: Option<Waits>,
    desk_said: (Option<u32>, bool),
    sabotage: Sabotage,
    staff: StaffId,
    story: Story,
}

/// Runs a trace to its end.
pub(crate) fn run(trace: &Trace, sabotage: Sabotage, story: &mut Story) -> Checked {
    let mut world = World::new(trace.setup, sabotage, std::mem::take(story));
    let result = world.live_through(&trace.steps);
    *story = world.story;
    result
}

/// What went on between the machine and the world, for people to read; kept of the last run of a failure alone.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) is_told: bool,
    pub(crate) lines: Vec<String>,
}

impl Story {
    fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.is_told {
            self.lines.push(line());
        }
    }
}

// --- the clinic --------------------------------------------------------------------------------------------------

impl World {
    fn new(setup: Setup, sabotage: Sabotage, story: Story) -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("in 2027");
        let ids: BTreeMap<Person, ParticipantId> =
            (1..).zip(Person::ALL).map(|(n, person)| (person, ParticipantId::new(now, [n; 10]))).collect();
        let loaded = schedule(setup, now, &ids);
        let store = Store {
            loaded: loaded.clone(),
            resume: BTreeMap::new(),
            thread: Vec::new(),
            down: false,
            forgets_keys: sabotage == Sabotage::StoreForgetsKeys,
        };
        let tabs = Person::ALL.into_iter().flat_map(|person| [Tab(person, 0), Tab(person, 1)]);
        Self {
            now,
            live: LiveSession::new(now, loaded, 1, 1),
            store,
            heard: BTreeSet::new(),
            engine: Engine::default(),
            network: Network::default(),
            check: Check::new(ids),
            devices: tabs.map(|tab| (tab, Device::default())).collect(),
            pages: 0,
            tickets: Vec::new(),
            secrets: Vec::new(),
            lives: 1,
            calls: 0,
            calls_open: BTreeSet::new(),
            lines_kept: 0,
            later: VecDeque::new(),
            desk: None,
            desk_said: (None, false),
            sabotage,
            staff: "staff".parse().expect("visible ASCII"),
            story,
        }
    }

    fn live_through(&mut self, steps: &[Step]) -> Checked {
        for step in steps {
            self.step(step)?;
        }
        self.settle()?;
        self.everybody_goes()
    }

    fn id(&self, person: Person) -> ParticipantId {
        self.check.ids[&person]
    }

    fn device(&mut self, tab: Tab) -> &mut Device {
        self.devices.get_mut(&tab).expect("everybody has two")
    }

    fn page(&mut self, tab: Tab) -> Option<&mut Page> {
        self.device(tab).page.as_mut()
    }
}

fn schedule(setup: Setup, now: Timestamp, ids: &BTreeMap<Person, ParticipantId>) -> Loaded {
    let roles = |person| match person {
        Person::Doctor | Person::Colleague => ParticipantRole::Provider,
        Person::Patient => ParticipantRole::Patient,
        Person::Interpreter => ParticipantRole::Interpreter,
        Person::Observer => ParticipantRole::Observer,
    };
    let policy = PolicyValues {
        auto_admit_on_provider_join: setup.auto_admit,
        admit_interpreters_with_provider: setup.interpreters_with_provider,
        admit_observers_with_provider: setup.observers_with_provider,
        recording_allowed: true,
        ..PolicyValues::default()
    };
    let presence = Presence::new();
    let context = |actor| Context { now, actor, presence: &presence };
    let command = Schedule {
        id: SessionId::new(now, [201; 10]),
        tenant: TenantId::new(now, [202; 10]),
        patient_id: "p-1".parse::<PatientId>().expect("visible ASCII"),
        provider_ref: "desk".parse().expect("visible ASCII"),
        scheduled_start: setup.scheduled.then_some(now),
        scheduled_end: None,
        communication: Communication::Speech,
        backend: VideoBackend::Embedded,
        room: "room".parse().expect("visible ASCII"),
        policy: SessionPolicy::new(policy).expect("within bounds"),
        participants: ids
            .iter()
            .map(|(&person, &participant)| Invitation { participant, role: roles(person) })
            .collect(),
    };
    let (mut session, _) =
        VirtualSession::create(command, &context(&Actor::System)).expect("a good schedule");
    let consent = consent(ConsentType::Telehealth, true);
    let patient = Actor::Participant(ids[&Person::Patient]);
    let events = session.decide(&consent, &context(&patient)).expect("the patient may");
    session.commit(&events);
    let profiles = ids
        .iter()
        .map(|(person, &id)| (id, Profile { display_name: format!("{person:?} Secretname") }))
        .collect();
    Loaded { session, profiles }
}

fn consent(consent_type: ConsentType, granted: bool) -> Command {
    Command::CaptureConsent { consent_type, granted, version: "1".parse().expect("visible ASCII") }
}

/// What is kept of a secret: the simulation needs no hash.
/// As the engine would say it.
fn quality(level: u8) -> Quality {
    let reason = QualityReason { code: QualityCode::UplinkLoss, value: 10 * u32::from(level) };
    let level =
        [QualityLevel::Good, QualityLevel::Fair, QualityLevel::Poor, QualityLevel::Bad][usize::from(level)];
    Quality { level, reason: (level != QualityLevel::Good).then_some(reason) }
}

fn key_of(secret: &str) -> ResumeKey {
    let mut key = [0; 32];
    let bytes = secret.as_bytes();
    let length = bytes.len().min(32);
    key[..length].copy_from_slice(&bytes[..length]);
    ResumeKey(key)
}

// --- the server: what the owner of a live session does -----------------------------------------------------------

impl World {
    /// Gives the machine an input, does all it wants, and has it checked.
    fn input(&mut self, cause: Cause, input: Input) -> Checked {
        let lost = match &input {
            Input::Media(MediaEvent::Disconnected { peer, .. }) => Some(*peer),
            _ => None,
        };
        self.story.tell(|| format!("{} > {input:?}", self.now));
        self.check.begin(cause, self.live.session(), self.store.down);
        self.live.handle(self.now, input);
        self.drain(lost)?;
        self.settled()?;
        while let Some(later) = self.later.pop_front() {
            self.check.begin(Cause::Other, self.live.session(), self.store.down);
            self.live.handle(self.now, later);
            self.drain(None)?;
            self.settled()?;
        }
        Ok(())
    }

    fn settled(&mut self) -> Checked {
        self.check.end(self.now, self.live.session(), &self.engine, self.live.load())?;
        if !self.check.rival && self.live.session() != self.store.session() {
            return fault("store", "the live session and the store do not agree");
        }
        Ok(())
    }

    fn drain(&mut self, lost: Option<PeerId>) -> Checked {
        while let Some(output) = self.live.poll_output() {
            self.carry_out(output, lost)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, output: Output, lost: Option<PeerId>) -> Checked {
        self.story.tell(|| match &output {
            Output::Commit(commit) => {
                format!("    < Commit {:?} (store down: {})", commit.events, self.store.down)
            }
            other => format!("    < {other:?}"),
        });
        match output {
            Output::Send { connection, seq, message } => {
                self.check.sent(connection.0, seq, &message, self.live.session(), key_of)?;
                self.send(connection.0, seq, message);
            }
            Output::Close { connection, reason } => {
                self.check.closed(connection.0);
                self.network.close_by_server(connection.0, Some(reason));
            }
            Output::Media(command) => self.media(command, lost)?,
            Output::Commit(commit) => {
                let before = self.store.session().clone();
                self.check.taken_before_it_is_written(&commit, &self.engine)?;
                let result = self.store.write(&commit);
                match &result {
                    Ok(()) => {
                        for (participant, keys) in &commit.resume {
                            if keys.previous.is_some() {
                                self.heard.insert(*participant);
                            } else {
                                self.heard.remove(participant);
                            }
                        }
                        self.check.written(&before, &commit, &self.engine)?;
                        if !commit.events.is_empty() {
                            self.check.rival = false;
                        }
                    }
                    Err(vestibule_signaling::CommitError::Conflict(loaded)) => {
                        self.check.told_of_rivals(&loaded.session);
                    }
                    Err(vestibule_signaling::CommitError::Unavailable) => {}
                }
                self.live.committed(self.now, result);
            }
            Output::Answered { call, .. } => {
                if !self.calls_open.remove(&call.0) {
                    return fault("calls", format!("{call:?} is answered twice, or was never made"));
                }
            }
            Output::Queue(waits) => self.queue(waits)?,
            Output::KeepResume(participant, keys) => {
                self.heard.insert(participant);
                self.store.keep_resume(participant, keys);
            }
            // Nothing follows of it.
            Output::Measured(..) | Output::TierChanged(..) => {}
            Output::Keep(line) => {
                let kept = self.keep(*line)?;
                self.live.kept(self.now, kept);
            }
            // tests/thread.rs lives through what is asked over HTTPS.
            Output::ReadThread { .. } | Output::TextAnswered { .. } => {
                return fault("thread", "nobody asked for it");
            }
        }
        Ok(())
    }

    fn send(&mut self, socket: u64, seq: u64, message: std::sync::Arc<ServerMessage>) {
        match self.sabotage {
            Sabotage::ReplayLosesOne => {
                let after_resumed = self.network.sockets.get(&socket).and_then(|socket| socket.down.back());
                if let Some(Down::Message { message: last, .. }) = after_resumed
                    && matches!(**last, ServerMessage::Resumed { .. })
                {
                    return;
                }
            }
            Sabotage::MessageTwice if matches!(*message, ServerMessage::Session { .. }) => {
                self.network.send(socket, seq, message.clone());
            }
            Sabotage::ChatLeaks => {
                let others: Vec<u64> =
                    self.check.sockets.keys().copied().filter(|&other| other != socket).collect();
                if matches!(*message, ServerMessage::Chat { .. }) {
                    others.into_iter().for_each(|other| self.leak(other, &message));
                }
            }
            _ => {}
        }
        self.network.send(socket, seq, message);
    }

    /// Puts a message on a socket where it is not due, numbered as the next there.
    fn leak(&mut self, socket: u64, message: &std::sync::Arc<ServerMessage>) {
        let Some(page) =
            self.network.sockets.get(&socket).map(|socket| socket.tab).and_then(|tab| self.page(tab))
        else {
            return;
        };
        if page.view.place == Some(Place::Waiting) {
            let seq = page.last_seq + 1;
            self.network.send(socket, seq, message.clone());
        }
    }

    fn media(&mut self, command: MediaCommand, lost: Option<PeerId>) -> Checked {
        let mut tab = None;
        match command {
            MediaCommand::AddPeer(peer) => {
                tab = self.check.who_gets_a_peer(lost, &self.engine);
                self.check.added(peer);
                if let Some(lost) = lost {
                    // The one that was lost is out of the engine already.
                    tab = self.check.members.values().find(|member| member.peer == lost).map(|m| m.page.0);
                    self.check.renewed(lost, peer);
                }
            }
            MediaCommand::RemovePeer(peer) if Some(peer) != lost => {
                self.check.members.retain(|_, member| member.peer != peer);
            }
            MediaCommand::CloseRoom => self.check.members.clear(),
            _ => {}
        }
        let opens = match command {
            MediaCommand::AddPeer(peer) if self.sabotage == Sabotage::GateOpens => Some(peer),
            _ => None,
        };
        let (event, at_once) = self.engine.take(command, tab)?;
        self.network.engine.extend(event);
        self.later.extend(at_once.map(Input::Media));
        if let Some(peer) = opens.and_then(|peer| self.engine.peers.get_mut(&peer)) {
            peer.gate_is_open = true;
        }
        Ok(())
    }

    /// The desk hears of the patient, and says later where they stand.
    fn queue(&mut self, waits: Option<Waits>) -> Checked {
        let patient = self.live.session().participant(self.id(Person::Patient));
        let waiting = patient.is_some_and(|record| record.standing == Standing::Waiting && record.inside());
        if waits.is_some() && (!waiting || self.live.session().status().is_final()) {
            return fault("desk", format!("{waits:?}, and the record is {patient:?}"));
        }
        let others = self.pages % 3;
        let position = waits.is_some().then_some(others + 1);
        self.network.desk.push_back((position, others == 1));
        self.desk = waits;
        Ok(())
    }

    /// A socket's first message.
    fn hello(&mut self, socket: u64, text: &str) -> Checked {
        let tab = self.network.sockets[&socket].tab;
        let frame = Frame::parse(text);
        let request = frame.as_ref().map_or_else(|error| error.id, |frame| frame.id);
        let credentials = frame.ok().and_then(|frame| frame.message.credentials());
        let Some(credentials) = credentials else {
            return self.refuse_at_the_door(socket, ErrorCode::HelloExpected, request);
        };
        let (person, entry, shown) = match credentials {
            Credentials::Ticket(ticket) => {
                let Some(ticket) = self.redeem(&ticket) else {
                    return self.refuse_at_the_door(socket, ErrorCode::TicketInvalid, request);
                };
                let Ticket { person, epoch, vouched, .. } = ticket;
                // Of a provider who was never heard there is no first device: a ticket is as good as one vouched for.
                let replaces = vouched || !self.heard.contains(&self.id(person));
                (person, Entry::Ticket { epoch, vouched }, Shown::Ticket { epoch, vouched: replaces })
            }
            Credentials::Resume { secret, incarnation, last_seq } => {
                let key = key_of(&secret);
                let Some(person) = self.owner_of(&secret, &key) else {
                    let expected = self.holder_of(&secret);
                    if let Some(person) = expected {
                        return fault("holder", format!("{person:?}'s secret {secret} is not in the store"));
                    }
                    return self.refuse_at_the_door(socket, ErrorCode::ResumeInvalid, request);
                };
                let shown = Shown::Secret { key, incarnation: incarnation.clone() };
                (person, Entry::Resume { key, incarnation, last_seq }, shown)
            }
        };
        let fresh = self.fresh_secret(person);
        let page = PageId(tab, self.network.sockets[&socket].page);
        self.check.sockets.insert(socket, Held { page, incarnation: None });
        self.network.sockets.get_mut(&socket).expect("it said hello").said_hello = true;
        let participant = self.id(person);
        let connection = ConnectionId(socket);
        let cause = Cause::Hello { socket, person, shown };
        self.input(cause, Input::Hello { connection, participant, entry, fresh, request })
    }

    fn fresh_secret(&mut self, person: Person) -> FreshSecret {
        let secret = format!("secret-{}", self.secrets.len());
        self.secrets.push(Some(person));
        FreshSecret { key: key_of(&secret), secret }
    }

    /// Whose a secret is: by the store, or, of a newcomer, by the memory of this life of the server.
    fn owner_of(&self, secret: &str, key: &ResumeKey) -> Option<Person> {
        let stored = self.store.owner_of(key).and_then(|id| self.check.person(id));
        let made = || self.check.newcomer_of(key);
        let forever = || {
            let number: usize = secret.strip_prefix("secret-")?.parse().ok()?;
            self.secrets.get(number).copied().flatten()
        };
        stored.or_else(made).or_else(|| (self.sabotage == Sabotage::SecretsLiveOn).then(forever).flatten())
    }

    /// Who must be let in by a secret.
    fn holder_of(&self, secret: &str) -> Option<Person> {
        self.check.must_let_in(&key_of(secret), self.live.session())
    }

    fn redeem(&mut self, ticket: &str) -> Option<Ticket> {
        let number: usize = ticket.strip_prefix("ticket-")?.parse().ok()?;
        let now = self.now;
        let ticket = self.tickets.get_mut(number)?;
        (!std::mem::replace(&mut ticket.used, true) && ticket.expires_at > now).then(|| ticket.clone())
    }

    /// What the socket says itself.
    fn refuse_at_the_door(
        &mut self,
        socket: u64,
        code: ErrorCode,
        reply_to: Option<vestibule_signaling::wire::RequestId>,
    ) -> Checked {
        let message =
            ServerMessage::Error { code, message: "no".into(), retryable: code.is_retryable(), reply_to };
        self.network.send(socket, 0, message.into());
        self.network.close_by_server(socket, Some(CloseReason::NotLetIn));
        Ok(())
    }

    fn restart(&mut self, kept_of_down: usize) {
        self.lives += 1;
        self.later.clear();
        self.calls_open.clear();
        self.engine.restart();
        self.network.server_dies(kept_of_down);
        self.desk = None;
        self.desk_said = (None, false);
        self.live = LiveSession::new(self.now, self.store.loaded.clone(), self.lives, self.lives.into())
            .with_thread(self.store.thread.clone())
            .with_resume(self.keys_of_the_store());
        let keys = self.keys_of_the_store().into_iter();
        self.heard =
            keys.filter(|(_, keys)| keys.previous.is_some()).map(|(participant, _)| participant).collect();
        self.check.restart(self.now);
    }

    fn keys_of_the_store(&self) -> BTreeMap<ParticipantId, ResumeKeys> {
        let mut keys = self.store.resume.clone();
        if self.sabotage == Sabotage::SecretsLiveOn {
            for (&id, keys) in &mut keys {
                let first =
                    self.secrets.iter().position(|owner| owner.is_some_and(|owner| self.id(owner) == id));
                keys.previous = first.map(|number| key_of(&format!("secret-{number}")));
            }
        }
        keys
    }

    /// Keeps a line, unless its writer said it before.
    fn keep(&mut self, line: NewLine) -> Result<Result<Vec<ThreadLine>, KeepError>, Fault> {
        if self.store.down {
            return Ok(Err(KeepError::Unavailable));
        }
        let NewLine { at, from, client_id, text, audience, .. } = line;
        if self.store.thread.iter().any(|kept| kept.from == from && kept.client_id == client_id) {
            return Ok(Ok(Vec::new()));
        }
        self.lines_kept += 1;
        let position = self.lines_kept;
        let line = ThreadLine { position, at, from, client_id, text, attachment: None, audience };
        let cut = self.live.load().retries > 0;
        self.check.said(&line, self.live.session(), cut)?;
        if self.sabotage != Sabotage::LinesAreLost || !position.is_multiple_of(3) {
            self.store.thread.push(line.clone());
        }
        Ok(Ok(vec![line]))
    }
}

// --- the network -------------------------------------------------------------------------------------------------

impl World {
    fn deliver(&mut self, weather: &mut Weather) -> Checked {
        loop {
            let mut ways = self.network.busy_ways();
            let timers_run = self.sabotage != Sabotage::TimersSleep;
            if timers_run && self.live.poll_timeout().is_some_and(|due| due <= self.now) {
                ways.push(Way::Timer);
            }
            let Some(way) = weather.next(&ways) else { break };
            self.deliver_one(way)?;
        }
        self.network.sweep();
        Ok(())
    }

    fn deliver_one(&mut self, way: Way) -> Checked {
        match way {
            Way::Up(socket) => self.arrives_at_the_server(socket),
            Way::Down(socket) => self.arrives_at_the_browser(socket),
            Way::Engine => {
                let Some(event) = self.network.engine.pop_front() else { return Ok(()) };
                self.engine.reports(&event);
                self.input(Cause::Other, Input::Media(event))
            }
            Way::Desk => {
                let Some((position, attended)) = self.network.desk.pop_front() else { return Ok(()) };
                self.desk_said = (position, attended);
                self.input(Cause::Other, Input::Queue { position, attended })
            }
            Way::Timer => self.input(Cause::Other, Input::Timeout),
        }
    }

    fn arrives_at_the_server(&mut self, number: u64) -> Checked {
        let Some(socket) = self.network.sockets.get_mut(&number) else { return Ok(()) };
        let Some(up) = socket.up.pop_front() else { return Ok(()) };
        let (said_hello, server_reads) = (socket.said_hello, socket.server_reads);
        match up {
            Up::Text(_) if !server_reads && !said_hello => Ok(()),
            Up::Text(text) if !said_hello => self.hello(number, &text),
            Up::Text(text) => {
                let frame = Frame::parse(&text);
                let id = frame.as_ref().map_or_else(|error| error.id, |frame| frame.id).map(|id| id.0);
                let connection = ConnectionId(number);
                self.input(Cause::Frame { socket: number, id }, Input::Frame { connection, frame })
            }
            Up::Closed => {
                socket.server_reads = false;
                self.check.closed(number);
                if said_hello {
                    self.input(
                        Cause::Other,
                        Input::Closed { connection: ConnectionId(number), hung_up: true },
                    )
                } else {
                    Ok(())
                }
            }
        }
    }

    fn arrives_at_the_browser(&mut self, number: u64) -> Checked {
        let Some(socket) = self.network.sockets.get_mut(&number) else { return Ok(()) };
        let Some(down) = socket.down.pop_front() else { return Ok(()) };
        let (tab, honest) = (socket.tab, socket.honest);
        let id = self.check.ids[&tab.0];
        let device = self.devices.get_mut(&tab).expect("everybody has two");
        let page = device.page.as_mut().filter(|page| honest && page.socket == Some(number));
        let Some(page) = page else {
            if let Down::Closed(_) = down {
                socket.client_reads = false;
            }
            return Ok(());
        };
        match down {
            Down::Message { seq, message } => {
                if self.sabotage == Sabotage::RepliesAreLost
                    && page.greeted
                    && matches!(*message, ServerMessage::Done { .. })
                {
                    page.last_seq = seq;
                    return Ok(());
                }
                let reaction = page.read(id, seq, &message, &mut device.secret)?;
                self.react(tab, number, reaction)
            }
            Down::Closed(reason) => {
                socket.client_reads = false;
                page.socket = None;
                self.closed_by_server(tab, number, reason)
            }
        }
    }

    fn react(&mut self, tab: Tab, number: u64, reaction: Reaction) -> Checked {
        match reaction {
            Reaction::Send(texts) => {
                for text in texts {
                    self.say(tab, text);
                }
                Ok(())
            }
            Reaction::Stop => self.stopped(tab, number),
            Reaction::Refused { for_good } => {
                if for_good {
                    *self.device(tab) =
                        Device { page: None, secret: None, ..std::mem::take(self.device(tab)) };
                    self.network.drop_by_client(number, 0);
                }
                Ok(())
            }
        }
    }

    fn closed_by_server(&mut self, tab: Tab, number: u64, reason: Option<CloseReason>) -> Checked {
        match reason {
            // The close code says it too, for a page that did not get the message.
            Some(CloseReason::Superseded) => self.stopped(tab, number),
            Some(CloseReason::Over) => {
                self.give_up(tab);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A page is told to stop. If it is the one that is in, nobody would be left.
    fn stopped(&mut self, tab: Tab, number: u64) -> Checked {
        let page = self.network.sockets.get(&number).map_or(0, |socket| socket.page);
        let device = self.device(tab);
        let secret = device.secret.clone();
        self.give_up(tab);
        self.network.drop_by_client(number, 0);
        if let Some(secret) = secret
            && self.holder_of(&secret).is_some()
            && self.check.member(tab.0, false).is_some_and(|member| member.page == PageId(tab, page))
        {
            return fault("holder", format!("{tab:?} was told to stop, and is the device that is in"));
        }
        Ok(())
    }

    fn give_up(&mut self, tab: Tab) {
        let device = self.device(tab);
        device.page = None;
        device.secret = None;
    }

    fn say(&mut self, tab: Tab, text: String) {
        let Some(number) = self.page(tab).and_then(|page| page.socket) else { return };
        if let Some(socket) = self.network.sockets.get_mut(&number)
            && socket.client_reads
        {
            socket.up.push_back(Up::Text(text));
        }
    }
}

// --- the browsers ------------------------------------------------------------------------------------------------

impl World {
    /// The link, and *join*: a new page that knows nothing.
    fn join(&mut self, tab: Tab, vouched: bool) {
        let ticket = self.issue(tab.0, vouched);
        self.new_page(tab);
        self.device(tab).secret = None;
        self.connect(tab, &format!(r#""type":"hello","ticket":"{ticket}""#));
    }

    fn issue(&mut self, person: Person, vouched: bool) -> String {
        let record = self.store.session().participant(self.id(person)).expect("invited");
        let expires_at = self.now.checked_add(TICKET_LIFE).expect("no such time");
        self.tickets.push(Ticket { person, epoch: record.epoch, vouched, expires_at, used: false });
        format!("ticket-{}", self.tickets.len() - 1)
    }

    fn new_page(&mut self, tab: Tab) {
        self.leave_socket(tab, 0);
        self.pages += 1;
        self.device(tab).page = Some(Page { number: self.pages, ..Page::default() });
    }

    /// A browser closes or loses its socket.
    fn leave_socket(&mut self, tab: Tab, lost: usize) {
        if let Some(number) = self.page(tab).and_then(|page| page.socket.take()) {
            self.network.drop_by_client(number, lost);
        }
    }

    fn connect(&mut self, tab: Tab, hello: &str) {
        let Some(page) = self.page(tab) else { return };
        let number = page.number;
        let socket = self.network.open(tab, number, true);
        let page = self.page(tab).expect("as before");
        page.socket = Some(socket);
        page.greeted = false;
        let text = page.hello(hello);
        self.say(tab, text);
    }

    /// Comes back with what it kept; without a secret, by the link.
    fn retry(&mut self, tab: Tab) {
        let device = self.device(tab);
        let Some(secret) = device.secret.clone() else {
            // A page whose welcome was lost on the way has nothing to come back with.
            if device.page.is_some() {
                self.join(tab, false);
            }
            return;
        };
        if device.page.is_none() {
            self.new_page(tab);
        }
        self.leave_socket(tab, 0);
        let page = self.page(tab).expect("made");
        let hello = match page.incarnation.clone() {
            Some(incarnation) => format!(
                r#""type":"hello","resume":"{secret}","incarnation":"{incarnation}","lastSeq":{}"#,
                page.last_seq
            ),
            None => format!(r#""type":"hello","resume":"{secret}""#),
        };
        self.connect(tab, &hello);
    }

    fn ask(&mut self, tab: Tab, body: String, line: Option<String>) {
        let Some(page) = self.page(tab) else { return };
        // Before the first welcome there is nobody to ask.
        if page.incarnation.is_none() {
            return;
        }
        let greeted = page.greeted;
        let text = page.ask(body, line);
        // What is asked while the line is away goes when it is back.
        if greeted {
            self.say(tab, text);
        }
    }

    fn chat(&mut self, tab: Tab) {
        let Tab(person, number) = tab;
        let device = self.device(tab);
        if device.page.is_none() {
            return;
        }
        device.lines_said += 1;
        let line = format!("{person:?}-{number}-{}", device.lines_said);
        let body = format!(r#""type":"chat","clientId":"{line}","text":"secret line of {line}""#);
        self.ask(tab, body, Some(line));
    }

    fn chat_again(&mut self, tab: Tab) {
        let id = self.id(tab.0);
        let Some(page) = self.page(tab) else { return };
        let own = page.view.lines.iter().rev().find(|(from, _)| *from == id).map(|(_, line)| line.clone());
        let Some(line) = page.unanswered_line().or(own) else { return };
        let body = format!(r#""type":"chat","clientId":"{line}","text":"secret line of {line}""#);
        self.ask(tab, body, Some(line));
    }

    fn asks(&mut self, tab: Tab, ask: Ask) {
        let Tab(person, number) = tab;
        let device = self.device(tab);
        device.negotiations += 1;
        let negotiation = device.negotiations;
        let last_seq = device.page.as_ref().map_or(0, |page| page.last_seq);
        let tag = format!("{person:?}-{number}-{negotiation}");
        let body = match ask {
            Ask::Offer => {
                let bad = if negotiation.is_multiple_of(9) { "bad " } else { "" };
                format!(r#""type":"offer","sdp":"{bad}{tag}","negotiation":{negotiation}"#)
            }
            Ask::Restart => format!(r#""type":"restart","ufrag":"{tag}","pwd":"p""#),
            Ask::Subscribe(whom) => {
                let whom = self.id(whom);
                format!(r#""type":"subscribe","slots":[{{"seat":0,"participant":"{whom}"}}]"#)
            }
            Ask::Publish(muted) => format!(r#""type":"publish","kind":"audio","muted":{muted}"#),
            Ask::Stats => r#""type":"stats""#.into(),
            Ask::Ping => format!(r#""type":"ping","lastSeq":{last_seq}"#),
            Ask::Consent(granted) => {
                format!(r#""type":"consent","consentType":"telehealth","version":"1","granted":{granted}"#)
            }
            Ask::RecordingConsent(granted) => {
                format!(r#""type":"consent","consentType":"recording","version":"1","granted":{granted}"#)
            }
            Ask::Wish(height) => {
                let height = ["null", "0", "180", "720"][usize::from(height)];
                format!(r#""type":"subscribe","slots":[{{"seat":1,"maxHeight":{height},"priority":7}}]"#)
            }
            Ask::Timeline(whom) => format!(r#""type":"timeline","participantId":"{}""#, self.id(whom)),
            Ask::Tier(want) => {
                let want = ["video", "audio_only", "async_text"][usize::from(want)];
                format!(r#""type":"tier","want":"{want}""#)
            }
        };
        self.ask(tab, body, None);
    }

    fn acts(&mut self, by: Tab, act: Act, whom: Person) {
        let word = match act {
            Act::Admit => "admit",
            Act::Deny => "deny",
            Act::SendBack => "sendBack",
            Act::Remove => "remove",
        };
        let whom = self.id(whom);
        let knock = self.page(by).and_then(|page| page.view.knocks.get(&whom));
        let device = match (act, knock) {
            (Act::Admit | Act::Deny, Some(device)) => format!(r#","device":"{device}""#),
            _ => String::new(),
        };
        self.ask(by, format!(r#""type":"{word}","participantId":"{whom}"{device}"#), None);
    }

    /// The last request again, with the same number.
    fn say_twice(&mut self, tab: Tab) {
        let Some(page) = self.page(tab).filter(|page| page.greeted) else { return };
        let Some(text) = page.last_sent.clone() else { return };
        self.say(tab, text);
    }

    fn nonsense(&mut self, tab: Tab, nonsense: Nonsense) {
        let stranger = ParticipantId::new(self.now, [77; 10]);
        let Some(page) = self.page(tab).filter(|page| page.greeted) else { return };
        let Some(&old_id) = page.answered.last() else { return };
        let text = match nonsense {
            Nonsense::NoJson => "{".to_owned(),
            Nonsense::UnknownType => r#"{"type":"conquer"}"#.to_owned(),
            Nonsense::SecondHello => r#"{"type":"hello","ticket":"ticket-0"}"#.to_owned(),
            Nonsense::LongLine => {
                format!(r#"{{"type":"chat","clientId":"long","text":"{}"}}"#, "x".repeat(4_001))
            }
            Nonsense::Stranger => format!(r#"{{"type":"admit","participantId":"{stranger}"}}"#),
            Nonsense::FutureAck => r#"{"type":"ping","lastSeq":9007199254740991}"#.to_owned(),
            Nonsense::OldId => format!(r#"{{"id":{old_id},"type":"stats"}}"#),
            Nonsense::WrongSeat => {
                format!(r#"{{"type":"subscribe","slots":[{{"seat":9,"participant":"{stranger}"}}]}}"#)
            }
        };
        self.say(tab, text);
    }

    /// Somebody else shows what is not theirs, on a socket of their own.
    fn steal(&mut self, theft: Theft) {
        let (person, hello) = match theft {
            Theft::Guess => (Person::Patient, r#""type":"hello","resume":"secret-x""#.to_owned()),
            Theft::OldSecret(person) | Theft::OldSecretWithStory(person) => {
                let void = |number: &usize| {
                    let secret = format!("secret-{number}");
                    self.secrets[*number] == Some(person) && !self.check.may_let_in(&key_of(&secret))
                };
                let Some(number) = (0..self.secrets.len()).find(void) else { return };
                let story = match theft {
                    Theft::OldSecretWithStory(_) => {
                        let known = self.check.members.iter().find(|(_, member)| member.page.0.0 == person);
                        known.map_or(String::new(), |(name, _)| {
                            format!(r#","incarnation":"{name}","lastSeq":0"#)
                        })
                    }
                    _ => String::new(),
                };
                (person, format!(r#""type":"hello","resume":"secret-{number}"{story}"#))
            }
            Theft::UsedTicket(person) | Theft::KeptTicket(person) => {
                let used = matches!(theft, Theft::UsedTicket(_));
                let fits = |ticket: &Ticket| {
                    ticket.person == person && ticket.used == used && (used || ticket.expires_at <= self.now)
                };
                let Some(number) = self.tickets.iter().position(fits) else { return };
                (person, format!(r#""type":"hello","ticket":"ticket-{number}""#))
            }
        };
        let socket = self.network.open(Tab(person, 0), 0, false);
        if let Some(socket) = self.network.sockets.get_mut(&socket) {
            socket.up.push_back(Up::Text(format!("{{{hello}}}")));
        }
    }

    /// Two sockets, of which the page means the second.
    fn hello_twice(&mut self, tab: Tab) {
        if self.device(tab).secret.is_some() {
            self.retry(tab);
            self.retry(tab);
        }
    }

    fn line(&mut self, tab: Tab, line: Line) {
        let Some(peer) = self.engine.of(tab) else { return };
        let state = &self.engine.peers[&peer];
        let (offered, connected) = (state.offered, state.connected);
        let event = match line {
            Line::Up if offered => MediaEvent::Connected { peer },
            Line::Lost => MediaEvent::Disconnected { peer, why: "lost".into() },
            Line::Quiet if connected => MediaEvent::Quiet { peer },
            Line::Heard if connected => MediaEvent::Heard { peer },
            Line::Camera(flowing) if connected => {
                MediaEvent::Source { peer, kind: SourceKind::Camera, flowing }
            }
            Line::Screen(flowing) if connected => {
                MediaEvent::Source { peer, kind: SourceKind::Screen, flowing }
            }
            Line::RestartFailed if connected => MediaEvent::RestartFailed { peer },
            Line::Speaks if connected => MediaEvent::Speaker(Some(peer)),
            Line::Quality(level) if connected => MediaEvent::Quality { peer, quality: quality(level) },
            Line::Measured if connected => MediaEvent::Measured { peer, step: Box::default() },
            Line::Wanted(count) if connected => {
                let rids = ["q", "h", "f"][..usize::from(count)].iter().map(|&rid| rid.to_owned()).collect();
                MediaEvent::EncodingsWanted { peer, kind: SourceKind::Camera, rids }
            }
            Line::Thrifty(thrifty) if connected => {
                let profile = if thrifty { AudioProfile::Thrifty } else { AudioProfile::Full };
                MediaEvent::AudioWanted { peer, profile }
            }
            _ => return,
        };
        self.network.engine.push_back(event);
    }
}

// --- steps -------------------------------------------------------------------------------------------------------

impl World {
    fn step(&mut self, step: &Step) -> Checked {
        self.story.tell(|| format!("{step:?}"));
        self.transition(step.what)?;
        self.deliver(&mut Weather::of(step.network))?;
        Ok(())
    }

    fn transition(&mut self, what: Transition) -> Checked {
        match what {
            Transition::Join { tab, vouched } => self.join(tab, vouched),
            Transition::SecondDevice { person, vouched } => {
                let first_is_used = self.device(Tab(person, 0)).page.is_some();
                self.join(Tab(person, first_is_used.into()), vouched);
            }
            Transition::Retry(tab) => self.retry(tab),
            Transition::Drop { tab, lost } => self.leave_socket(tab, lost.into()),
            Transition::GiveUp(tab) => {
                if let Some(number) = self.page(tab).and_then(|page| page.socket) {
                    self.network.close_by_server(number, None);
                    self.check.closed(number);
                    let connection = ConnectionId(number);
                    if self.network.sockets.get(&number).is_some_and(|socket| socket.said_hello) {
                        self.input(Cause::Other, Input::Closed { connection, hung_up: true })?;
                    }
                }
            }
            Transition::Reload(tab) => {
                if self.device(tab).page.is_some() {
                    self.new_page(tab);
                    self.retry(tab);
                }
            }
            Transition::SayTwice(tab) => self.say_twice(tab),
            Transition::HelloTwice(tab) => self.hello_twice(tab),
            Transition::Delay(number) => self.network.freeze(number),
            Transition::Thaw => self.network.thaw(),
            Transition::Do { by, act, whom } => self.acts(by, act, whom),
            Transition::End(tab) => self.ask(tab, r#""type":"end""#.into(), None),
            Transition::Leave(tab) => self.ask(tab, r#""type":"leave""#.into(), None),
            Transition::Chat(tab) => self.chat(tab),
            Transition::ChatAgain(tab) => self.chat_again(tab),
            Transition::Ask(tab, ask) => self.asks(tab, ask),
            Transition::Nonsense(tab, nonsense) => self.nonsense(tab, nonsense),
            Transition::Theft(theft) => self.steal(theft),
            Transition::Line(tab, line) => self.line(tab, line),
            Transition::EngineBusy => self.engine.busy = true,
            Transition::Api { order, stale } => self.api(order, stale)?,
            Transition::Rival(order) => {
                let (command, actor) = self.order(order);
                if let Some(events) = self.store.rival(self.now, &command, &actor) {
                    self.check.written_by_a_rival(&events);
                }
            }
            Transition::StoreDown => self.store.down = true,
            Transition::StoreUp => self.store.down = false,
            Transition::RestartServer => self.restart(usize::try_from(self.pages % 4).expect("small")),
            Transition::Wait(seconds) => self.wait(seconds)?,
            Transition::ClockJump(seconds) => {
                self.now = self.now.checked_add(SignedDuration::from_secs(seconds.into())).expect("in time");
            }
            Transition::Settle => self.settle()?,
        }
        Ok(())
    }

    fn api(&mut self, order: Order, stale: bool) -> Checked {
        let (command, actor) = self.order(order);
        self.calls += 1;
        self.calls_open.insert(self.calls);
        let version = self.live.session().version();
        let expected = stale.then_some(version - 1);
        let call = CallId(self.calls);
        self.input(Cause::Other, Input::Command { call, command, actor, expected })
    }

    fn order(&self, order: Order) -> (Command, Actor) {
        let command = match order {
            Order::About(act, whom) => {
                let participant = self.id(whom);
                match act {
                    Act::Admit => Command::Admit { participant },
                    Act::Deny => Command::Deny { participant, reason: DenyReason::NotNow },
                    Act::SendBack => Command::SendBack { participant },
                    Act::Remove => Command::Remove { participant },
                }
            }
            Order::Invite(whom) => {
                let participant = self.id(whom);
                let role = self.store.session().participant(participant).expect("invited").role;
                Command::Invite { participant, role }
            }
            Order::RevokeTokens(whom) => Command::RevokeTokens { participant: self.id(whom) },
            Order::Leave(whom) => Command::Leave { participant: self.id(whom) },
            Order::Record(enabled) => Command::SetRecording { enabled },
            Order::Telehealth(granted) => consent(ConsentType::Telehealth, granted),
            Order::RecordingConsent(granted) => consent(ConsentType::Recording, granted),
            Order::End => Command::End,
            Order::Cancel => Command::Cancel,
            Order::Postpone => {
                let start = self.now.checked_add(SignedDuration::from_mins(20)).expect("in time");
                Command::Reschedule { start: Some(start), end: None }
            }
        };
        (command, Actor::Staff(self.staff.clone()))
    }

    /// Time passes, timer by timer.
    fn wait(&mut self, seconds: u16) -> Checked {
        let until = self.now.checked_add(SignedDuration::from_secs(seconds.into())).expect("in time");
        if self.sabotage != Sabotage::TimersSleep {
            let mut left = LAST_TIMERS_MAX;
            while let Some(due) = self.live.poll_timeout().filter(|due| *due <= until) {
                self.now = self.now.max(due);
                self.input(Cause::Other, Input::Timeout)?;
                left -= 1;
                // A store that is down is asked again each second.
                if left == 0 {
                    break;
                }
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// All that can get well does; then everybody must know the same.
    fn settle(&mut self) -> Checked {
        self.store.down = false;
        self.engine.busy = false;
        self.network.thaw();
        for _ in 0..ROUNDS_MAX {
            self.deliver(&mut Weather::of(0))?;
            if self.check.rival {
                self.learn_of_rivals()?;
            }
            let away: Vec<Tab> = self
                .devices
                .iter()
                .filter(|(_, device)| device.page.as_ref().is_some_and(|page| page.socket.is_none()))
                .map(|(&tab, _)| tab)
                .collect();
            let retries = self.live.load().retries > 0;
            if away.is_empty() && !retries && self.network.is_quiet() {
                self.everybody_agrees()?;
                return Ok(());
            }
            away.into_iter().for_each(|tab| self.retry(tab));
            if retries {
                // A clock that was set back lets it wait longer.
                self.wait(5)?;
            }
        }
        fault("quiet", format!("it never gets quiet: {:?}", self.live.load()))
    }

    fn learn_of_rivals(&mut self) -> Checked {
        let loaded = self.store.loaded.clone();
        self.check.begin(Cause::Other, self.live.session(), false);
        self.check.told_of_rivals(&loaded.session);
        self.live.reload(self.now, loaded);
        self.drain(None)?;
        // What is different is told with the next input.
        self.input(Cause::Other, Input::Timeout)
    }

    /// Everybody goes for good, and only timers are left: the session must come to its end by them.
    fn everybody_goes(&mut self) -> Checked {
        let tabs: Vec<Tab> = self.devices.keys().copied().collect();
        for tab in tabs {
            self.leave_socket(tab, 0);
            self.give_up(tab);
        }
        let peers: Vec<PeerId> = self.engine.peers.keys().copied().collect();
        let lost = peers.into_iter().map(|peer| MediaEvent::Disconnected { peer, why: "gone".into() });
        self.network.engine.extend(lost);
        self.deliver(&mut Weather::of(0))?;
        for _ in 0..LAST_TIMERS_MAX {
            if self.live.is_over() && !self.live.has_members() {
                return self.nothing_is_left();
            }
            let Some(due) = self.live.poll_timeout().filter(|_| self.sabotage != Sabotage::TimersSleep)
            else {
                break;
            };
            self.now = self.now.max(due);
            self.input(Cause::Other, Input::Timeout)?;
        }
        let session = self.live.session();
        fault(
            "final",
            format!("{:?}, nobody is there, and no timer ends it; {:?}", session.status(), self.live.load()),
        )
    }

    fn nothing_is_left(&self) -> Checked {
        let load = self.live.load();
        let clean = load.members == 0 && load.messages == 0 && load.requests == 0 && load.retries == 0;
        let quiet = self.engine.peers.is_empty() && !self.engine.room_is_open;
        let answered = self.calls_open.is_empty();
        if clean && quiet && answered && self.desk.is_none() {
            return Ok(());
        }
        fault(
            "left over",
            format!("{load:?}, {:?}, calls {:?}, {:?}", self.engine, self.calls_open, self.desk),
        )
    }
}

// --- when all is quiet -------------------------------------------------------------------------------------------

impl World {
    /// What each page shows is what is so.
    fn everybody_agrees(&self) -> Checked {
        if !self.calls_open.is_empty() {
            return fault("calls", format!("never answered: {:?}", self.calls_open));
        }
        for (&tab, device) in &self.devices {
            if let Some(page) = &device.page {
                self.page_agrees(tab, page)
                    .map_err(|fault| Fault { what: format!("{tab:?}: {}", fault.what), ..fault })?;
            }
        }
        self.gates_are_open()?;
        self.desk_agrees()
    }

    fn page_agrees(&self, tab: Tab, page: &Page) -> Checked {
        let session = self.live.session();
        let id = self.check.ids[&tab.0];
        let view = &page.view;
        let record = session.participant(id).expect("invited");
        if session.status().is_final() || !record.inside() {
            return fault("agree", format!("was not told that they are out: {record:?}"));
        }
        if !page.greeted {
            return fault("agree", "waits for a greeting for good");
        }
        if !page.waiting.is_empty() {
            return fault("replies", format!("never came: {:?}", page.waiting));
        }
        let newcomer = self.check.member_on(page.socket).is_some_and(|member| member.newcomer);
        let inside = record.standing == Standing::Admitted && !newcomer;
        let place = if inside { Place::In } else { Place::Waiting };
        if view.place != Some(place) || view.new_device != newcomer {
            return fault(
                "agree",
                format!("{:?} (new: {}) is shown, {place:?} is so", view.place, view.new_device),
            );
        }
        let version = if inside { session.version() } else { view.session.map_or(0, |(_, version)| version) };
        if view.session != Some((session.status(), version)) {
            return fault(
                "agree",
                format!("{:?} is shown, {:?} {version} is so", view.session, session.status()),
            );
        }
        if inside { self.inside_agrees(tab.0, page) } else { self.outside_agrees(tab.0, page) }
    }

    fn outside_agrees(&self, person: Person, page: &Page) -> Checked {
        let view = &page.view;
        if !view.people.is_empty() || !view.lines.is_empty() || !view.knocks.is_empty() {
            return fault("outside", format!("{view:?}"));
        }
        let Some((position, _, attended)) = view.queue else { return fault("agree", "was not told to wait") };
        let at = if person == Person::Patient { self.desk_said.0 } else { None };
        if (position, attended) != (at, self.desk_said.1) {
            return fault("agree", format!("{:?} is shown, the desk said {:?}", view.queue, self.desk_said));
        }
        Ok(())
    }

    fn inside_agrees(&self, person: Person, page: &Page) -> Checked {
        let session = self.live.session();
        let me = self.check.ids[&person];
        let view = &page.view;
        let lines = self.check.lines_for(me);
        if view.lines != lines {
            return fault("chat", format!("{:?} is shown, {lines:?} was said", view.lines));
        }
        if view.recording != session.recording_enabled() {
            return fault("agree", format!("recording: {} is shown", view.recording));
        }
        for other in Person::ALL.into_iter().filter(|&other| other != person) {
            let id = self.check.ids[&other];
            let record = session.participant(id).expect("invited");
            let shown = view.people.get(&id);
            let contact = self.check.first_has_contact(other, session, &self.engine);
            let may_be_seen =
                record.inside() && (record.standing == Standing::Admitted || person.is_provider());
            let there = may_be_seen && contact;
            match shown {
                None if there => return fault("agree", format!("{other:?} is not shown: {record:?}")),
                Some(shown) if !may_be_seen => {
                    return fault("agree", format!("{shown:?} is shown: {record:?}"));
                }
                Some(shown) if (shown.state.as_str() == "lost") == contact => {
                    return fault("agree", format!("{shown:?}, contact: {contact}"));
                }
                _ => {}
            }
            let knocks = self.knocks_for(person, other);
            if view.knocks.contains_key(&id) != knocks {
                return fault("knocks", format!("{:?} is shown; of {other:?} it is {knocks}", view.knocks));
            }
        }
        let own = person.is_provider() && self.check.newcomer_is_connected(person);
        if view.knocks.contains_key(&me) != own {
            return fault("knocks", format!("{:?} is shown; of oneself it is {own}", view.knocks));
        }
        self.connections_agree(person, page)?;
        self.seats_agree(page)
    }

    /// Who speaks, how good the connections are that are theirs to know, and what of what they send is wanted.
    fn connections_agree(&self, person: Person, page: &Page) -> Checked {
        let (view, me) = (&page.view, self.check.ids[&person]);
        let peer_of = |member: &Member| self.engine.peers.get(&member.peer);
        let inside = self.check.inside(self.live.session());
        let firsts = self.check.members.values().filter(|member| !member.newcomer);
        let firsts: Vec<&Member> = firsts.filter(|member| inside.contains(&member.page.0.0)).collect();
        let speaks = |member: &&&Member| Some(member.peer) == self.engine.speaker;
        let speaker = firsts.iter().find(speaks).map(|member| self.check.ids[&member.page.0.0]);
        if view.speaker != speaker {
            return fault("agree", format!("{:?} is shown to speak, {speaker:?} does", view.speaker));
        }
        for member in firsts {
            let Some(peer) = peer_of(member) else { return fault("agree", "a device without a peer") };
            let id = self.check.ids[&member.page.0.0];
            let shown = view.qualities.get(&id).copied().unwrap_or_default();
            let known = id == me || person.is_provider();
            let is_so = if known { peer.quality } else { Quality::default() };
            if shown != is_so {
                return fault("agree", format!("{shown:?} is shown of {id}, {is_so:?} is so"));
            }
            // A line that carries no picture carries little of a voice.
            let full = view.tier == BandwidthProfile::Video || view.place != Some(Place::In);
            let most = if full { peer.audio } else { peer.audio.max(AudioProfile::Thrifty) };
            let audio = if full { most } else { view.audio.max(most) };
            if id == me && (&view.wanted, view.audio) != (&peer.wanted, audio) {
                let (wanted, known) = ((&peer.wanted, audio), (&view.wanted, view.audio));
                return fault("agree", format!("wanted is {wanted:?}, and known {known:?}"));
            }
        }
        Ok(())
    }

    fn knocks_for(&self, viewer: Person, other: Person) -> bool {
        let session = self.live.session();
        let record = session.participant(self.check.ids[&other]).expect("invited");
        if !viewer.is_provider() || other.is_provider() || !record.inside() {
            return false;
        }
        match record.standing {
            // A short loss takes nobody's place from them.
            Standing::Waiting => self.check.member(other, false).is_some(),
            Standing::Admitted => self.check.newcomer_is_connected(other),
            _ => false,
        }
    }

    fn seats_agree(&self, page: &Page) -> Checked {
        let Some(member) = self.check.member_on(page.socket) else { return Ok(()) };
        let Some(peer) = self.engine.peers.get(&member.peer) else {
            return fault("agree", "a device without a peer");
        };
        let sits: BTreeMap<u16, ParticipantId> = peer
            .seats
            .iter()
            .filter_map(|(seat, occupant)| {
                let tab = self.engine.peers.get(occupant)?.tab;
                Some((seat.0, self.check.ids[&tab.0]))
            })
            .collect();
        let shown: BTreeMap<u16, ParticipantId> =
            page.view.seats.iter().filter_map(|(&seat, &who)| Some((seat, who?))).collect();
        // Who goes on in writing keeps their seat, and is neither heard in it nor hears anybody.
        let writes = |id: ParticipantId| {
            let person = self.check.ids.iter().find(|(_, known)| **known == id).map(|(person, _)| *person);
            person.is_some_and(|person| self.wants_text(person))
        };
        let shown: BTreeMap<u16, ParticipantId> =
            shown.into_iter().filter(|(_, who)| !writes(*who)).collect();
        let hears_nobody = self.wants_text(member.page.0.0) && sits.is_empty();
        if sits != shown && !hears_nobody {
            return fault("seats", format!("{shown:?} is shown, {sits:?} is so"));
        }
        Ok(())
    }

    /// Whoever is in has media, unless they want none.
    fn gates_are_open(&self) -> Checked {
        let session = self.live.session();
        let inside = self.check.inside(session);
        for member in self.check.members.values().filter(|member| !member.newcomer) {
            let person = member.page.0.0;
            let wants_media = !self.wants_text(person);
            let open = self.engine.peers.get(&member.peer).is_some_and(|peer| peer.gate_is_open);
            if inside.contains(&person) && wants_media && !open {
                return fault("gates", format!("closed for {:?}, who is in", member.page));
            }
        }
        Ok(())
    }

    fn wants_text(&self, person: Person) -> bool {
        let id = self.check.ids[&person];
        let pages = self.devices.values().filter_map(|device| device.page.as_ref());
        let seen = |page: &Page| page.view.people.get(&id).map(|shown| shown.tier.as_str() == "async_text");
        // Nobody else is there to see it: then it does not matter here.
        pages.filter_map(seen).next().unwrap_or(true)
    }

    fn desk_agrees(&self) -> Checked {
        let session = self.live.session();
        let patient = session.participant(self.check.ids[&Person::Patient]).expect("invited");
        let waits = patient.standing == Standing::Waiting && patient.inside() && !session.status().is_final();
        let connected = self.check.first_is_connected(Person::Patient);
        let shown = self.desk.as_ref().map(|desk| desk.connected);
        if waits && connected && shown != Some(true) || !waits && shown.is_some() {
            return fault("desk", format!("{:?} is on the desk, {patient:?} is so", self.desk));
        }
        Ok(())
    }
}
