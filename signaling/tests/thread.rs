//! What is written arrives, whatever the line does: three people write to each other while their sockets are cut, their
//! requests over HTTPS are lost on the way there or back, the server is killed and the store gives way, in every order a
//! seed makes. At each reader every line arrives once, and each writer's in the order they wrote them.
//!
//! `VESTIBULE_THREAD_SEED=7` runs one seed alone; `VESTIBULE_THREAD_SEEDS=10000` is how many are tried.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use vestibule_domain::{
    Actor, Communication, Context, Invitation, ParticipantId, ParticipantRole, PolicyValues, Presence,
    Schedule, SessionId, SessionPolicy, TenantId, VideoBackend, VirtualSession,
};
use vestibule_signaling::wire::{ChatLine, Frame, RequestId, ServerMessage};
use vestibule_signaling::{
    CommitError, ConnectionId, Entry, FreshSecret, Input, KeepError, LiveSession, Loaded, NewLine, Output,
    Profile, ReadId, ResumeKey, ResumeKeys, TextAsk, TextCall, TextError, TextReply, ThreadLine, Words,
};

const SEEDS: u64 = 400;
const STEPS: usize = 300;
const PEOPLE: usize = 3;
/// Lines the store reads at a time: few, so that pages matter.
const PAGE: usize = 7;
/// Rounds in which all gets well, and everything must have arrived.
const ROUNDS: usize = 2_000;

#[test]
fn every_line_arrives_once_and_in_its_writers_order() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match number("VESTIBULE_THREAD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VESTIBULE_THREAD_SEEDS").unwrap_or(SEEDS),
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let mut world = World::new(seed, Fault::None);
        if let Err(why) = world.live_through() {
            panic!("seed {seed}: {why}\n{}again: VESTIBULE_THREAD_SEED={seed}", world.story);
        }
        seen.add(&world.seen);
    }
    // A world in which nothing goes wrong would show nothing.
    assert!(
        seen.cuts > 0 && seen.lost > 0 && seen.polled > 0 && seen.pages > 0 && seen.again > 0,
        "{seen:?}"
    );
}

/// A world that does wrong is caught, or the checks are worth nothing.
#[test]
fn a_store_that_keeps_a_line_twice_or_loses_one_is_noticed() {
    for fault in [Fault::KeepsTwice, Fault::LosesLines] {
        let noticed = (0..100).any(|seed| World::new(seed, fault).live_through().is_err());
        assert!(noticed, "{fault:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    KeepsTwice,
    LosesLines,
}

/// What happened, over all seeds.
#[derive(Debug, Default)]
struct Seen {
    cuts: u32,
    lost: u32,
    polled: u32,
    pages: u32,
    again: u32,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.lost += other.lost;
        self.polled += other.polled;
        self.pages += other.pages;
        self.again += other.again;
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

// --- a device ----------------------------------------------------------------------------------------------------

/// A socket, as both its ends have it: what is on its way stays there when one of them has given it up.
#[derive(Default)]
struct Socket {
    up: VecDeque<String>,
    down: VecDeque<(u64, Arc<ServerMessage>)>,
    /// The device has given it up: what comes down is read by nobody.
    given_up: bool,
}

/// What somebody's device keeps, as docs/protocol.md says it should.
#[derive(Default)]
struct Device {
    secret: String,
    socket: Option<u64>,
    greeted: bool,
    incarnation: Option<String>,
    last_seq: u64,
    last_id: u64,
    /// Lines that are not confirmed, in order.
    outbox: VecDeque<String>,
    written: usize,
    /// The request under way on this socket that says the first of them.
    saying: Option<u64>,
    /// What is shown, by position.
    held: BTreeMap<u64, (ParticipantId, String)>,
    /// Nothing is missing up to here.
    up_to: u64,
    /// The request for older lines that is under way.
    reading: Option<u64>,
    /// The ask over HTTPS that is under way, and whether its answer arrives.
    asking: Option<(TextCall, Asked)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Say,
    Poll,
}

impl Device {
    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn take(&mut self, line: &ChatLine) -> Result<(), String> {
        let shown = (line.from, line.client_id.clone());
        match self.held.insert(line.position, shown.clone()) {
            Some(before) if before != shown => Err(format!("{} is {before:?} and {shown:?}", line.position)),
            _ => Ok(()),
        }
    }

    /// Lines that follow what was there up to a position.
    fn take_page(&mut self, lines: &[ChatLine], up_to: u64) -> Result<(), String> {
        for line in lines {
            self.take(line)?;
        }
        self.up_to = self.up_to.max(up_to);
        Ok(())
    }
}

// --- the world ---------------------------------------------------------------------------------------------------

struct World {
    rng: Rng,
    now: Timestamp,
    live: LiveSession,
    stored: Loaded,
    keys: BTreeMap<ParticipantId, ResumeKeys>,
    thread: Vec<ThreadLine>,
    store_down: bool,
    fault: Fault,
    lives: u32,
    people: Vec<ParticipantId>,
    devices: Vec<Device>,
    sockets: BTreeMap<u64, (usize, Socket)>,
    last_socket: u64,
    secrets: u64,
    last_call: u64,
    answers: BTreeMap<TextCall, Result<TextReply, TextError>>,
    reads: VecDeque<(ReadId, u64)>,
    seen: Seen,
    story: String,
}

type Checked = Result<(), String>;

impl World {
    fn new(seed: u64, fault: Fault) -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("in range");
        let people: Vec<ParticipantId> =
            (1..).take(PEOPLE).map(|number| ParticipantId::new(now, [number; 10])).collect();
        let role = |index| if index == 0 { ParticipantRole::Provider } else { ParticipantRole::Observer };
        let policy = PolicyValues {
            admit_observers_with_provider: true,
            grace_reconnect_seconds: 600,
            ..PolicyValues::default()
        };
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
            policy: SessionPolicy::new(policy).expect("within bounds"),
            participants: (people.iter().enumerate())
                .map(|(index, &participant)| Invitation { participant, role: role(index) })
                .collect(),
        };
        let (actor, presence) = (Actor::System, Presence::new());
        let context = Context { now, actor: &actor, presence: &presence };
        let (session, _) = VirtualSession::create(schedule, &context).expect("they fit");
        let profiles: BTreeMap<_, _> =
            people.iter().map(|&id| (id, Profile { display_name: "Somebody".into() })).collect();
        let stored = Loaded { session, profiles };
        Self {
            rng: Rng(seed),
            now,
            live: LiveSession::new(now, stored.clone(), 7, 1),
            stored,
            keys: BTreeMap::new(),
            thread: Vec::new(),
            store_down: false,
            fault,
            lives: 1,
            devices: people.iter().map(|_| Device::default()).collect(),
            people,
            sockets: BTreeMap::new(),
            last_socket: 0,
            secrets: 0,
            last_call: 0,
            answers: BTreeMap::new(),
            reads: VecDeque::new(),
            seen: Seen::default(),
            story: String::new(),
        }
    }

    fn live_through(&mut self) -> Checked {
        for who in 0..PEOPLE {
            self.dial(who);
            self.deliver_all()?;
        }
        for _ in 0..STEPS {
            self.step()?;
        }
        self.get_well()?;
        self.check()
    }

    fn step(&mut self) -> Checked {
        let who = self.rng.below(PEOPLE);
        match self.rng.below(20) {
            0..=3 => self.write(who),
            4..=5 => self.cut(who),
            6..=7 => self.dial(who),
            8..=9 => self.ask(who, Asked::Say),
            10 => self.ask(who, Asked::Poll),
            11 => self.answer_arrives(who)?,
            12 if self.rng.percent(10) => self.restart(),
            13 => self.store_down = self.rng.percent(30),
            14 => {
                self.now = self.now.checked_add(SignedDuration::from_secs(1)).expect("in range");
                self.timers()?;
            }
            _ => self.deliver_some()?,
        }
        self.say_on_sockets();
        Ok(())
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.story, "  {what}");
    }

    // --- what people and lines do ---

    fn write(&mut self, who: usize) {
        let device = &mut self.devices[who];
        device.written += 1;
        let line = format!("{who}-{}", device.written);
        device.outbox.push_back(line);
    }

    /// The device gives its socket up. What is on its way to the server may arrive there all the same, late.
    fn cut(&mut self, who: usize) {
        let device = &mut self.devices[who];
        let Some(number) = device.socket.take() else { return };
        (device.greeted, device.saying, device.reading) = (false, None, None);
        self.seen.cuts += 1;
        self.tell(format_args!("{who} gives socket {number} up"));
        let lost = self.rng.percent(50);
        if let Some((_, socket)) = self.sockets.get_mut(&number) {
            socket.given_up = true;
            socket.down.clear();
            if lost {
                socket.up.clear();
            }
        }
    }

    fn dial(&mut self, who: usize) {
        self.cut(who);
        self.last_socket += 1;
        let number = self.last_socket;
        self.sockets.insert(number, (who, Socket::default()));
        let device = &mut self.devices[who];
        device.socket = Some(number);
        let hello = if device.secret.is_empty() {
            json!({"type": "hello", "ticket": "t"})
        } else if let Some(incarnation) = &device.incarnation {
            json!({"type": "hello", "resume": device.secret, "incarnation": incarnation, "lastSeq": device.last_seq})
        } else {
            json!({"type": "hello", "resume": device.secret})
        };
        self.say(number, &hello);
    }

    fn say(&mut self, number: u64, message: &serde_json::Value) {
        if let Some((_, socket)) = self.sockets.get_mut(&number) {
            socket.up.push_back(message.to_string());
        }
    }

    /// Each device says the first line it has, one at a time, and asks for what it misses.
    fn say_on_sockets(&mut self) {
        for who in 0..PEOPLE {
            let device = &mut self.devices[who];
            let (Some(socket), true) = (device.socket, device.greeted) else { continue };
            if device.saying.is_none()
                && device.asking.is_none_or(|(_, asked)| asked != Asked::Say)
                && let Some(line) = device.outbox.front().cloned()
            {
                let id = device.id();
                device.saying = Some(id);
                self.say(socket, &json!({"type": "chat", "clientId": line, "text": "a line", "id": id}));
            }
        }
    }

    /// Something over HTTPS: the request may be lost, and so may its answer.
    fn ask(&mut self, who: usize, what: Asked) {
        let device = &mut self.devices[who];
        if device.secret.is_empty()
            || device.asking.is_some()
            || (what == Asked::Say && device.saying.is_some())
        {
            return;
        }
        let ask = match (what, device.outbox.front()) {
            (Asked::Poll, _) => TextAsk::Poll { after: device.up_to },
            (Asked::Say, Some(line)) => {
                let text = "a line".into();
                TextAsk::Say(Words { client_id: line.clone(), text, attachment: None })
            }
            (Asked::Say, None) => return,
        };
        let (participant, key) = (self.people[who], key_of(&device.secret));
        self.last_call += 1;
        let call = TextCall(self.last_call);
        device.asking = Some((call, what));
        if self.rng.percent(20) {
            self.seen.lost += 1;
            return;
        }
        let input = Input::Text { call, participant, key, ask };
        self.input(input);
    }

    fn answer_arrives(&mut self, who: usize) -> Checked {
        let Some((call, what)) = self.devices[who].asking else { return Ok(()) };
        let answer = self.answers.remove(&call);
        // It may be on its way, or lost: after a while nobody waits for it any more.
        let lost = self.rng.percent(20);
        let device = &mut self.devices[who];
        device.asking = None;
        match answer {
            Some(_) if lost => self.seen.lost += 1,
            Some(Ok(TextReply::Page(page))) => {
                self.seen.polled += 1;
                device.take_page(&page.lines, page.up_to)?;
            }
            Some(Ok(TextReply::Done)) if what == Asked::Say => {
                device.outbox.pop_front();
            }
            _ => {}
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.tell(format_args!("the server is killed"));
        self.lives += 1;
        self.sockets.values_mut().for_each(|(_, socket)| socket.up.clear());
        self.sockets.clear();
        self.answers.clear();
        self.reads.clear();
        for device in &mut self.devices {
            device.socket = None;
            (device.greeted, device.saying, device.reading, device.asking) = (false, None, None, None);
        }
        let last = self.thread.len().saturating_sub(PAGE);
        self.live = LiveSession::new(self.now, self.stored.clone(), 7 + self.lives, self.lives.into())
            .with_thread(self.thread[last..].to_vec())
            .with_resume(self.keys.clone());
    }

    fn timers(&mut self) -> Checked {
        for _ in 0..100 {
            if self.live.poll_timeout().is_none_or(|due| due > self.now) {
                return Ok(());
            }
            self.input(Input::Timeout);
        }
        Err("timers do not come to rest".into())
    }

    // --- what the line carries ---

    fn deliver_some(&mut self) -> Checked {
        if let Some((read, after)) = self.reads.pop_front() {
            let lines = self.thread.iter().filter(|line| line.position > after).take(PAGE).cloned();
            let lines = (!self.store_down).then(|| lines.collect());
            self.input(Input::ThreadRead { read, lines });
        }
        let busy: Vec<u64> = self
            .sockets
            .iter()
            .filter(|(_, (_, socket))| !socket.up.is_empty() || !socket.down.is_empty())
            .map(|(&number, _)| number)
            .collect();
        if busy.is_empty() {
            return Ok(());
        }
        let number = busy[self.rng.below(busy.len())];
        let (who, socket) = self.sockets.get_mut(&number).expect("busy");
        let who = *who;
        if socket.up.is_empty() || (!socket.down.is_empty() && self.rng.percent(50)) {
            let Some((seq, message)) = socket.down.pop_front() else { return Ok(()) };
            return self.hears(who, number, seq, &message);
        }
        let Some(text) = socket.up.pop_front() else { return Ok(()) };
        self.server_hears(who, number, &text);
        Ok(())
    }

    fn deliver_all(&mut self) -> Checked {
        for _ in 0..ROUNDS {
            let idle = self.reads.is_empty()
                && self.sockets.values().all(|(_, socket)| socket.up.is_empty() && socket.down.is_empty());
            if idle {
                return Ok(());
            }
            self.deliver_some()?;
            self.say_on_sockets();
        }
        Err("it never comes to rest".into())
    }

    fn server_hears(&mut self, who: usize, number: u64, text: &str) {
        let frame = Frame::parse(text).expect("devices keep to the protocol");
        let connection = ConnectionId(number);
        let Some(credentials) = frame.message.clone().credentials() else {
            return self.input(Input::Frame { connection, frame: Ok(frame) });
        };
        self.secrets += 1;
        let secret = format!("secret {}", self.secrets);
        let fresh = FreshSecret { key: key_of(&secret), secret };
        let entry = match credentials {
            vestibule_signaling::wire::Credentials::Ticket(_) => Entry::Ticket { epoch: 0, vouched: false },
            vestibule_signaling::wire::Credentials::Resume { secret, incarnation, last_seq } => {
                Entry::Resume { key: key_of(&secret), incarnation, last_seq }
            }
        };
        let participant = self.people[who];
        self.input(Input::Hello { connection, participant, entry, fresh, request: frame.id });
    }

    fn hears(&mut self, who: usize, number: u64, seq: u64, message: &ServerMessage) -> Checked {
        let device = &mut self.devices[who];
        if device.socket != Some(number) {
            return Ok(());
        }
        if !device.greeted {
            return self.greeted(who, seq, message);
        }
        if seq != device.last_seq + 1 {
            return Err(format!("{who}: {seq} after {}", device.last_seq));
        }
        device.last_seq = seq;
        match message {
            ServerMessage::Chat { line } => {
                device.take(line)?;
                if device.reading.is_none() {
                    device.up_to = device.up_to.max(line.position);
                }
            }
            ServerMessage::Thread { page, reply_to } => {
                self.seen.pages += 1;
                device.take_page(&page.lines, page.up_to)?;
                if reply_to.map(|RequestId(id)| id) == device.reading {
                    device.reading = None;
                    if page.more {
                        self.read_older(who);
                    } else if let Some(&last) = device.held.keys().next_back() {
                        // What came by the socket meanwhile follows without a gap.
                        device.up_to = device.up_to.max(last);
                    }
                }
            }
            ServerMessage::Done { reply_to }
                if device.saying.is_some() && reply_to.map(|RequestId(id)| id) == device.saying =>
            {
                device.saying = None;
                device.outbox.pop_front();
            }
            // Of a request on a socket that was given up nobody waits to hear.
            ServerMessage::Error { reply_to: Some(RequestId(id)), .. } => {
                if device.saying == Some(*id) {
                    device.saying = None;
                    self.seen.again += 1;
                } else if device.reading == Some(*id) {
                    self.read_older(who);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn greeted(&mut self, who: usize, seq: u64, message: &ServerMessage) -> Checked {
        let device = &mut self.devices[who];
        match message {
            ServerMessage::Welcome { resume, incarnation, chat, .. } => {
                device.greeted = true;
                device.incarnation = Some(incarnation.clone());
                (device.last_seq, device.last_id) = (seq, 0);
                if let Some(secret) = resume {
                    device.secret.clone_from(secret);
                }
                let first = chat.first().map_or(0, |line| line.position);
                for line in chat {
                    device.take(line)?;
                }
                if first <= device.up_to + 1 {
                    device.up_to = device.up_to.max(chat.last().map_or(0, |line| line.position));
                } else {
                    self.read_older(who);
                }
            }
            ServerMessage::Resumed { resume, .. } => {
                device.greeted = true;
                if seq != device.last_seq {
                    return Err(format!("{who}: resumed at {seq} after {}", device.last_seq));
                }
                if let Some(secret) = resume {
                    device.secret.clone_from(secret);
                }
                // A page that was asked for on the socket of before is asked for again.
                let last = device.held.keys().next_back().copied().unwrap_or(0);
                if last > device.up_to {
                    self.read_older(who);
                }
            }
            // The store does not answer: it is tried again.
            ServerMessage::Error { retryable: true, .. } => self.cut(who),
            other => return Err(format!("{who}: {other:?} instead of a welcome")),
        }
        Ok(())
    }

    fn read_older(&mut self, who: usize) {
        let device = &mut self.devices[who];
        let Some(socket) = device.socket else { return };
        let (id, after) = (device.id(), device.up_to);
        device.reading = Some(id);
        self.say(socket, &json!({"type": "thread", "after": after, "id": id}));
    }

    // --- the server's owner ---

    fn input(&mut self, input: Input) {
        self.live.handle(self.now, input);
        while let Some(output) = self.live.poll_output() {
            match output {
                Output::Send { connection, seq, message } => {
                    if let Some((_, socket)) =
                        self.sockets.get_mut(&connection.0).filter(|(_, s)| !s.given_up)
                    {
                        socket.down.push_back((seq, message));
                    }
                }
                Output::Commit(commit) => {
                    let result = if self.store_down {
                        Err(CommitError::Unavailable)
                    } else {
                        self.stored.session = commit.after.clone();
                        self.keys.extend(commit.resume.iter().copied());
                        Ok(())
                    };
                    self.live.committed(self.now, result);
                }
                Output::KeepResume(participant, keys) if !self.store_down => {
                    self.keys.insert(participant, keys);
                }
                Output::Keep(line) => {
                    let kept = self.keep(*line);
                    self.live.kept(self.now, kept);
                }
                Output::ReadThread { read, after } => self.reads.push_back((read, after)),
                Output::TextAnswered { call, result } => {
                    self.answers.insert(call, result);
                }
                _ => {}
            }
        }
    }

    fn keep(&mut self, line: NewLine) -> Result<Vec<ThreadLine>, KeepError> {
        if self.store_down {
            return Err(KeepError::Unavailable);
        }
        let NewLine { at, from, client_id, text, audience, .. } = line;
        let known = self.thread.iter().any(|kept| kept.from == from && kept.client_id == client_id);
        if known && self.fault != Fault::KeepsTwice {
            return Ok(Vec::new());
        }
        let position = self.thread.last().map_or(1, |last| last.position + 1);
        let line = ThreadLine { position, at, from, client_id, text, attachment: None, audience };
        if self.fault == Fault::LosesLines && position.is_multiple_of(5) {
            return Ok(Vec::new());
        }
        self.thread.push(line.clone());
        // Its answer is lost, and the line is there: it is told when it is sent again, or with the next one.
        Ok(vec![line])
    }

    // --- the end ---

    /// The line is good from now on, and everything arrives.
    fn get_well(&mut self) -> Checked {
        self.tell(format_args!("all is well"));
        self.store_down = false;
        for who in 0..PEOPLE {
            self.answer_arrives(who)?;
            self.devices[who].asking = None;
            self.dial(who);
        }
        for _ in 0..ROUNDS {
            self.deliver_all()?;
            self.say_on_sockets();
            let done = self.devices.iter().all(|device| device.outbox.is_empty() && device.reading.is_none());
            let quiet =
                self.sockets.values().all(|(_, socket)| socket.up.is_empty() && socket.down.is_empty());
            if done && quiet && self.reads.is_empty() {
                return Ok(());
            }
        }
        Err("not everything is sent".into())
    }

    fn check(&self) -> Checked {
        for (who, device) in self.devices.iter().enumerate() {
            let me = self.people[who];
            for (writer, from) in self.people.iter().enumerate() {
                let wrote = (1..=self.devices[writer].written).map(|number| format!("{writer}-{number}"));
                let read = device.held.values().filter(|(author, _)| author == from);
                let read: Vec<&String> = read.map(|(_, line)| line).collect();
                // Who was not in yet when a line was said never reads it.
                let theirs: BTreeSet<&str> = (self.thread.iter())
                    .filter(|line| line.audience.contains(&me))
                    .map(|line| line.client_id.as_str())
                    .collect();
                let expected: Vec<String> = wrote.filter(|line| theirs.contains(line.as_str())).collect();
                if read.iter().map(|line| line.as_str()).ne(expected.iter().map(String::as_str)) {
                    return Err(format!("{who} reads of {writer} {read:?}, and not {expected:?}"));
                }
                if theirs.len() < self.devices.iter().map(|device| device.written).sum() {
                    return Err("not everything that was written is kept for everybody".into());
                }
            }
        }
        Ok(())
    }
}

fn key_of(secret: &str) -> ResumeKey {
    let mut key = [0; 32];
    for (byte, letter) in key.iter_mut().zip(secret.bytes()) {
        *byte = letter;
    }
    ResumeKey(key)
}
