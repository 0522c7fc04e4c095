//! Somebody's device: what the web client's SDK does, as far as signaling, tiers and what is written are concerned, over a
//! simulated browser. Each rule and each time is the SDK's (`web-client/sdk/src`, `signal.ts` and `session.ts`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use vestibule_domain::{BandwidthProfile, ParticipantId};
use vestibule_media_core::api::{AudioProfile, PeerId, SourceKind};
use vestibule_media_core::sdp::Rid;
use vestibule_media_core::time::Time;
use vestibule_sim::client::{ClientConfig, Signal};
use vestibule_sim::uplink::Uplink;
use vestibule_sim::world::World;

use crate::line_watch::{ASK_MS_MAX, Deeds, LineLook, LineWatch, Moment, Use, VoiceLimits};
use crate::socket::{End, SocketId};

const OPEN_MAX: Duration = Duration::from_secs(12);
const OPEN_MAX_BRIEF: Duration = Duration::from_secs(6);
const HELLO_MAX: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(10);
const RETRY_MS: [u64; 6] = [0, 300, 1_000, 2_000, 4_000, 5_000];
const STALE: Duration = Duration::from_secs(1);
const STEADY: Duration = Duration::from_secs(5);
const RESTART_ICE: Duration = Duration::from_secs(2);
const CUT_OFF: Duration = Duration::from_secs(15);
/// Browsers take a path for broken on which nothing came for so long.
const ICE_DISCONNECTED: Duration = Duration::from_secs(5);
/// How often it looks whether something of that is due.
const LOOK: Duration = Duration::from_millis(100);

/// A line of the thread as it stands on somebody's screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The writer's id of it.
    pub client_id: String,
    /// Who wrote it.
    pub from: String,
    /// When it appeared.
    pub at: Time,
}

/// A person's device.
pub struct Device {
    /// Whose.
    pub participant: ParticipantId,
    /// The lines on its screen, by their places.
    pub thread: BTreeMap<u64, Told>,
    /// What was refused: nothing should be.
    pub errors: Vec<String>,
    /// What its line is used for, as it was told.
    pub tier: BandwidthProfile,
    /// It offers to write by its own rule: the server cannot be heard.
    pub cut_off: bool,
    config: ClientConfig,
    at: usize,
    sockets: u32,
    socket: Option<(SocketId, End)>,
    /// The one before, which is silent: if it answers before the one of now says hello, it goes on.
    doubted: Option<(SocketId, End)>,
    /// The last that was asked on it.
    doubted_id: u64,
    /// How far the socket of now is opened.
    opening: usize,
    opened_at: Option<Time>,
    is_open: bool,
    was_in: bool,
    since: Time,
    attempt: usize,
    dial_at: Option<Time>,
    heard_at: Time,
    /// What the server has not answered yet, and until when it may.
    asked: Option<(Time, Time)>,
    /// The first of what was asked that is not answered, and until when it may be: that something is heard says nothing of the
    /// way there.
    owed: Option<(u64, Time)>,
    beats_at: Time,
    secret: Option<String>,
    incarnation: String,
    last_seq: u64,
    last_id: u64,
    /// Requests whose reply is still to come, by their numbers.
    pending: BTreeMap<u64, Value>,
    rehearses: Option<BandwidthProfile>,
    /// Of the own voice at the most, in bits per second.
    voice_asked: Option<u64>,
    /// The transport it may make: its last one is gone.
    fresh_peer: Option<PeerId>,
    has_transport: bool,
    negotiation: u32,
    sends: Option<(bool, [bool; 3])>,
    broken_since: Option<Time>,
    restart_due: bool,
    unheard_since: Option<Time>,
    watch: LineWatch,
    line_look_at: Time,
    /// Checks of the path that were answered so far, and when the last was.
    answers: (u64, Option<Time>),
    looks_at: Time,
}

impl Device {
    /// A page that is opened now by the member at this place of the world.
    #[must_use]
    pub(crate) fn new(participant: ParticipantId, at: usize, config: ClientConfig, now: Time) -> Self {
        Self {
            participant,
            thread: BTreeMap::new(),
            errors: Vec::new(),
            tier: BandwidthProfile::Video,
            cut_off: false,
            config,
            at,
            sockets: 0,
            socket: None,
            doubted: None,
            doubted_id: 0,
            opening: 0,
            opened_at: None,
            is_open: false,
            was_in: false,
            since: now,
            attempt: 0,
            dial_at: Some(now),
            heard_at: now,
            asked: None,
            owed: None,
            beats_at: now,
            secret: None,
            incarnation: String::new(),
            last_seq: 0,
            last_id: 0,
            pending: BTreeMap::new(),
            rehearses: None,
            voice_asked: None,
            fresh_peer: None,
            has_transport: false,
            negotiation: 0,
            sends: None,
            broken_since: None,
            restart_due: false,
            unheard_since: None,
            watch: LineWatch::default(),
            line_look_at: now,
            answers: (0, None),
            looks_at: now,
        }
    }

    /// The SFU has this peer for it.
    pub(crate) const fn has_peer(&mut self, peer: PeerId) {
        self.fresh_peer = Some(peer);
    }

    pub(crate) fn next_at(&self) -> Time {
        let sockets =
            [&self.socket, &self.doubted].map(|socket| socket.as_ref().and_then(|(_, end)| end.next_at()));
        sockets.into_iter().chain([self.dial_at]).flatten().fold(self.looks_at, Time::min)
    }

    /// Says something: kept until the server has it.
    pub fn write(&mut self, client_id: &str, now: Time) {
        self.request(json!({"type": "chat", "clientId": client_id, "text": format!("This is {client_id}.")}));
        if self.is_open {
            self.ask(now, SILENCE_MAX);
        }
    }

    // Signaling

    /// Does what is due, and gives what is to be put on the line.
    pub(crate) fn tick(&mut self, world: &mut World) -> Vec<Vec<u8>> {
        let now = world.now;
        if self.dial_at.is_some_and(|at| at <= now) {
            self.dial(now);
        }
        if self.looks_at <= now {
            self.looks_at = now + LOOK;
            self.look(world);
        }
        let sockets = [&mut self.socket, &mut self.doubted].into_iter().flatten();
        sockets.flat_map(|(_, end)| end.poll(now)).collect()
    }

    fn dial(&mut self, now: Time) {
        self.sockets += 1;
        self.since = now;
        self.is_open = false;
        self.dial_at = None;
        let id = SocketId(self.sockets << 8 | self.at as u32);
        let mut end = End::new(id);
        (self.opening, self.opened_at) = (0, None);
        end.open(self.opening);
        self.socket = Some((id, end));
    }

    /// The socket was opened a little further.
    fn opens(&mut self, now: Time) {
        self.opening += 1;
        let step = self.opening;
        if self.socket.as_mut().is_some_and(|(_, end)| end.open(step)) {
            return;
        }
        self.opened_at = Some(now);
        // A ticket is who it is for: nobody forges any here.
        let hello = match &self.secret {
            None => json!({"type": "hello", "ticket": self.participant}),
            Some(secret) if self.was_in => json!({
                "type": "hello", "resume": secret, "incarnation": self.incarnation, "lastSeq": self.last_seq,
            }),
            Some(secret) => json!({"type": "hello", "resume": secret}),
        };
        self.put(&hello);
    }

    /// The socket of now is silent: another is opened, and this one kept as long.
    fn doubt(&mut self, now: Time) {
        self.doubted = self.socket.take();
        self.doubted_id = self.last_id;
        self.lost(now);
    }

    fn lost(&mut self, now: Time) {
        if self.is_open && now.since(self.since) >= STEADY {
            self.attempt = 0;
        }
        (self.is_open, self.socket, self.asked, self.owed) = (false, None, None, None);
        let apart = Duration::from_millis(RETRY_MS[self.attempt.min(RETRY_MS.len() - 1)]);
        self.attempt += 1;
        self.dial_at = Some(now.max(self.since + apart));
    }

    /// The server closed a socket.
    pub(crate) fn closed(&mut self, id: SocketId, now: Time) {
        if self.socket.as_ref().is_some_and(|(own, _)| *own == id) {
            self.lost(now);
        } else if self.doubted.as_ref().is_some_and(|(own, _)| *own == id) {
            self.doubted = None;
        }
    }

    fn look(&mut self, world: &mut World) {
        let now = world.now;
        if self.socket.is_some() && !self.is_open {
            let open = if self.attempt.is_multiple_of(2) { OPEN_MAX } else { OPEN_MAX_BRIEF };
            let is_opened = self.opened_at.is_some_and(|at| now.since(at) < HELLO_MAX);
            if now.since(self.since) >= open && !is_opened {
                self.lost(now);
            }
        }
        let is_silent = self.asked.is_some_and(|(at, until)| now >= until && self.heard_at <= at);
        if self.is_open && (is_silent || self.owed.is_some_and(|(_, until)| now >= until)) {
            self.doubt(now);
        }
        if self.is_open && now >= self.beats_at {
            self.beats_at = now + HEARTBEAT;
            self.ask(now, SILENCE_MAX);
        }
        self.look_at_line(world);
        self.look_at_path(world);
        let heard = self.is_open || self.is_connected(world);
        let last = self.heard_at.max(Time::from_millis(self.watch.came_at));
        self.unheard_since = if heard { None } else { self.unheard_since.or(Some(last)) };
        self.cut_off =
            self.watch.is_lost() || self.unheard_since.is_some_and(|since| now.since(since) >= CUT_OFF);
    }

    /// Asks for a sign of life. What was asked before is not given longer.
    fn ask(&mut self, now: Time, patience: Duration) {
        let unanswered = self.asked.filter(|(at, _)| self.heard_at <= *at);
        let (at, until) = unanswered.unwrap_or((now, now + patience));
        self.asked = Some((at, until.min(now + patience)));
        let last_seq = self.last_seq;
        self.last_id += 1;
        let id = self.last_id;
        self.owed.get_or_insert((id, now + SILENCE_MAX));
        self.put(&json!({"type": "ping", "lastSeq": last_seq, "id": id}));
    }

    fn look_at_line(&mut self, world: &mut World) {
        let now = world.now;
        if now < self.line_look_at || !self.has_transport {
            return;
        }
        let client = &world.members[self.at].client;
        if self.answers.1 != client.checked_at {
            self.answers = (self.answers.0 + 1, client.checked_at);
        }
        let (packets, lost) = client.counted();
        let look = LineLook {
            uplink_kbps: client.uplink.as_ref().map(|uplink| uplink.estimate_bps() / 1_000),
            packets,
            lost,
            voice_lost: Some(client.voice_lost()),
            answers: self.answers.0,
        };
        let moment = Moment {
            now: now.as_micros() / 1_000,
            used_for: match (self.tier, self.rehearses) {
                (BandwidthProfile::AsyncText, None) => Use::Writing,
                (BandwidthProfile::AsyncText, Some(_)) => Use::Rehearsal,
                _ => Use::Media,
            },
            sends_camera: self.sends.is_some_and(|(_, camera)| camera[0]),
            heard_at: self.heard_at.as_micros() / 1_000,
            owed_since: self
                .owed
                .map(|(_, until)| (until.as_micros() - SILENCE_MAX.as_micros() as u64) / 1_000),
        };
        let (held, rested) = (self.watch.holds(), self.watch.rests());
        let Deeds { say, ask } = self.watch.saw(look, moment);
        self.line_look_at = now + Duration::from_millis(self.watch.next_look_ms());
        if self.is_open {
            if let Some(kbps) = say {
                self.last_id += 1;
                let id = self.last_id;
                self.put(&json!({"type": "line", "uplinkKbps": kbps, "id": id}));
            }
            if let Some(patience) = ask {
                self.ask(now, Duration::from_millis(patience));
            }
        }
        if self.watch.holds() && !held && self.is_open {
            self.nudge(now);
        }
        self.settle_voice(world);
        if (self.watch.holds(), self.watch.rests()) != (held, rested) {
            self.apply(world);
        }
    }

    /// The line is another: is this socket still one, or is there one again?
    fn nudge(&mut self, now: Time) {
        if self.is_open {
            self.ask(now, Duration::from_millis(ASK_MS_MAX));
        } else if self.socket.is_none() || now.since(self.since) >= STALE {
            self.dial(now);
        }
    }

    fn is_connected(&self, world: &World) -> bool {
        let heard_at = world.members[self.at].client.heard_at;
        self.has_transport && heard_at.is_some_and(|at| world.now.since(at) < ICE_DISCONNECTED)
    }

    fn look_at_path(&mut self, world: &mut World) {
        if !self.has_transport || world.members[self.at].client.heard_at.is_none() {
            return;
        }
        let now = world.now;
        if self.is_connected(world) {
            if self.broken_since.take().is_some() && !self.is_open {
                self.nudge(now);
            }
            return;
        }
        let was_broken = self.broken_since.is_some();
        if !was_broken {
            self.nudge(now);
        }
        let since = *self.broken_since.get_or_insert(now);
        let is_due = now.since(since) >= RESTART_ICE && now.since(since) < RESTART_ICE + LOOK;
        if was_broken && is_due {
            self.restart(world);
        }
    }

    fn restart(&mut self, world: &mut World) {
        self.restart_due = !self.is_open;
        if self.is_open {
            let (ufrag, pwd) = world.members[self.at].client.new_credentials();
            self.request(json!({"type": "restart", "ufrag": ufrag, "pwd": pwd}));
        }
    }

    fn request(&mut self, message: Value) {
        self.last_id += 1;
        let id = self.last_id;
        let mut numbered = message;
        numbered["id"] = json!(id);
        if self.is_open {
            self.put(&numbered);
        }
        self.pending.insert(id, numbered);
    }

    fn put(&mut self, message: &Value) {
        if let Some((_, end)) = &mut self.socket {
            end.send(message.to_string().as_bytes());
        }
    }

    // What the server says

    /// Takes a datagram of a socket.
    pub(crate) fn datagram(&mut self, bytes: &[u8], world: &mut World) {
        let named = End::socket_of(bytes);
        let sockets = [&mut self.socket, &mut self.doubted].into_iter().flatten();
        let Some((id, end)) = sockets.into_iter().find(|(id, _)| named == Some(*id)) else { return };
        let id = *id;
        for message in end.receive(bytes, world.now) {
            // The server's own heartbeat is no message; that it came is acknowledged.
            if message.is_empty() {
                continue;
            }
            if End::opens(&message) {
                self.opens(world.now);
                continue;
            }
            let frame: Value = serde_json::from_slice(&message).expect("the server says JSON");
            if self.doubted.as_ref().is_some_and(|(doubted, _)| *doubted == id) {
                if self.opened_at.is_some() {
                    self.doubted = None;
                } else if frame["replyTo"].is_u64() {
                    self.goes_on(world);
                } else {
                    self.heard_at = world.now;
                    self.take(&frame, world);
                    continue;
                }
            }
            // What an earlier one had done may have closed the socket.
            if self.socket.as_ref().is_none_or(|(now, _)| *now != id) {
                break;
            }
            self.handle(&frame, world);
        }
    }

    fn handle(&mut self, frame: &Value, world: &mut World) {
        self.heard_at = world.now;
        if !self.is_open {
            let kind = frame["type"].as_str().expect("every message has a type");
            return self.answered(kind, frame, world);
        }
        self.take(frame, world);
    }

    fn take(&mut self, frame: &Value, world: &mut World) {
        let kind = frame["type"].as_str().expect("every message has a type");
        let seq = frame["seq"].as_u64().expect("every message has a number");
        if seq <= self.last_seq {
            return;
        }
        assert_eq!(seq, self.last_seq + 1, "nothing is missing on a socket");
        self.last_seq = seq;
        let answered = frame["replyTo"].as_u64();
        self.owed = self.owed.filter(|(id, _)| answered.is_none_or(|answered| answered < *id));
        let asked = answered.and_then(|request| self.pending.remove(&request));
        if kind == "error" && asked.is_some_and(|asked| asked["type"] == "restart") {
            // Of a transport the server gave up meanwhile: that it did follows.
            return;
        }
        self.receive(kind, frame, world);
    }

    fn answered(&mut self, kind: &str, frame: &Value, world: &mut World) {
        let now = world.now;
        if kind == "error" {
            let code = frame["code"].as_str().unwrap_or_default().to_owned();
            if code == "resume_invalid" {
                self.secret = None;
            }
            self.errors.push(code);
            return self.lost(now);
        }
        if kind != "welcome" && kind != "resumed" {
            return self.errors.push(kind.to_owned());
        }
        if let Some(secret) = frame["resume"].as_str() {
            self.secret = Some(secret.to_owned());
        }
        self.doubted = None;
        (self.is_open, self.since, self.beats_at) = (true, now, now + HEARTBEAT);
        (self.asked, self.owed) = (None, None);
        let (words, pending): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(_, message)| message["type"] == "chat");
        if kind == "resumed" {
            let heard = frame["heard"].as_u64().unwrap_or_default();
            pending.iter().filter(|(id, _)| **id > heard).for_each(|(_, message)| self.put(message));
            self.pending = pending;
            self.say_again(words, now);
            let is_broken = self.has_transport && !self.is_connected(world);
            if self.restart_due || is_broken {
                self.restart(world);
            }
            return;
        }
        self.was_in = true;
        self.incarnation = frame["incarnation"].as_str().expect("a name").to_owned();
        self.last_seq = frame["seq"].as_u64().expect("a number");
        self.last_id = 0;
        self.rehearses = None;
        let limit = |name: &str| frame["policy"][name].as_u64().expect("a number");
        self.watch.limit(VoiceLimits {
            audio_min_kbps: limit("audioMinKbps"),
            audio_loss_max_percent: limit("audioLossMaxPercent"),
            audio_hold_ms: limit("audioHoldMs"),
        });
        self.is_told(&frame["chat"], now);
        self.tier = tier(&frame["you"]["tier"]).expect("a tier");
        self.say_again(words, now);
        self.connect(world);
    }

    /// The socket that was silent speaks before the one in its place said hello.
    fn goes_on(&mut self, world: &mut World) {
        let now = world.now;
        self.socket = self.doubted.take();
        (self.dial_at, self.opened_at) = (None, None);
        (self.is_open, self.since, self.beats_at) = (true, now, now + HEARTBEAT);
        (self.asked, self.owed) = (None, None);
        // Words are said again, as nobody waits for those of before; and what was asked since is said.
        let pending: BTreeMap<u64, Value> = std::mem::take(&mut self.pending);
        let (words, pending) = pending.into_iter().partition(|(_, message)| message["type"] == "chat");
        self.pending = pending;
        let unsaid: Vec<Value> =
            self.pending.range(self.doubted_id + 1..).map(|(_, it)| it.clone()).collect();
        unsaid.iter().for_each(|message| self.put(message));
        self.say_again(words, now);
        if self.restart_due {
            self.restart(world);
        }
    }

    /// What was written is kept on the device, and said on each socket until it is said.
    fn say_again(&mut self, words: BTreeMap<u64, Value>, now: Time) {
        for message in words.into_values() {
            self.request(message);
            self.ask(now, SILENCE_MAX);
        }
    }

    fn receive(&mut self, kind: &str, frame: &Value, world: &mut World) {
        let now = world.now;
        let at = self.at;
        let client = &mut world.members[at].client;
        match kind {
            "answer" => client.answered(frame["sdp"].as_str().expect("a description"), now),
            "restarted" => {
                let text = |field: &str| frame[field].as_str().expect("a credential").to_owned();
                client.restarted(text("ufrag"), text("pwd"), now);
            }
            "encodings" if frame["kind"] == "camera" => {
                let rids = frame["active"].as_array().expect("rids").iter();
                let rids = rids.map(|rid| rid.as_str().and_then(Rid::new).expect("a rid"));
                client.signalled(&Signal::Encodings(SourceKind::Camera, rids.collect()), now, now);
            }
            "audioEncoding" => {
                self.voice_asked = frame["maxBitrateBps"].as_u64();
                self.settle_voice(world);
            }
            "tier" => self.tier = tier(&frame["profile"]).expect("a tier"),
            "rehearse" => self.rehearses = tier(&frame["profile"]),
            "knock" => {
                let (participant, device) = (&frame["participant"]["id"], &frame["device"]);
                self.request(json!({"type": "admit", "participantId": participant, "device": device}));
            }
            "admitted" => self.is_told(&frame["chat"], now),
            "chat" => self.is_told(&json!([frame]), now),
            "disconnected" => self.connect(world),
            "error" => self.errors.push(frame["code"].as_str().unwrap_or_default().to_owned()),
            _ => {}
        }
        self.apply(world);
    }

    /// Sends as much of a voice as the server and its own rule allow.
    fn settle_voice(&mut self, world: &mut World) {
        let most = [self.voice_asked, self.watch.voice_bps()].into_iter().flatten().min();
        let profile = match most {
            None => AudioProfile::Full,
            Some(8_000) => AudioProfile::Least,
            Some(_) => AudioProfile::Thrifty,
        };
        world.members[self.at].client.signalled(&Signal::Audio(profile), world.now, world.now);
    }

    fn is_told(&mut self, lines: &Value, now: Time) {
        for line in lines.as_array().into_iter().flatten() {
            let text = |field: &str| line[field].as_str().expect("a word").to_owned();
            let position = line["position"].as_u64().expect("a place");
            let told = Told { client_id: text("clientId"), from: text("from"), at: now };
            self.thread.entry(position).or_insert(told);
        }
    }

    // Media

    /// A fresh transport, if the server has made room for one.
    fn connect(&mut self, world: &mut World) {
        let Some(peer) = self.fresh_peer.take() else { return };
        world.renew(self.at, peer, self.config.clone());
        let client = &mut world.members[self.at].client;
        client.uplink = Some(Uplink::default());
        (self.has_transport, self.broken_since, self.restart_due, self.sends) = (true, None, false, None);
        self.voice_asked = None;
        self.watch.begin();
        self.answers = (0, None);
        self.line_look_at = world.now + Duration::from_millis(self.watch.next_look_ms());
        self.negotiation += 1;
        let sdp = client.offer_sdp();
        self.apply(world);
        self.request(json!({"type": "offer", "sdp": sdp, "negotiation": self.negotiation}));
    }

    /// Sends what the line is used for, and what the server alone is to look at.
    fn apply(&mut self, world: &mut World) {
        let rests = self.watch.holds() || self.watch.rests();
        let voice = !rests && (self.tier != BandwidthProfile::AsyncText || self.rehearses.is_some());
        let all = !self.watch.holds() && self.tier == BandwidthProfile::Video;
        let lowest = all || !self.watch.holds() && self.rehearses == Some(BandwidthProfile::Video);
        let sends = (voice, [lowest, all, all]);
        if self.sends == Some(sends) || !self.has_transport {
            return;
        }
        let before = self.sends.replace(sends).map(|(_, camera)| camera);
        let client = &mut world.members[self.at].client;
        client.pause_voice(!voice);
        for (encoding, on) in (0..).zip(sends.1) {
            if before.is_none_or(|before| before[usize::from(encoding)] != on) {
                client.pause_encoding(encoding, !on);
            }
        }
    }
}

fn tier(value: &Value) -> Option<BandwidthProfile> {
    Some(match value.as_str()? {
        "video" => BandwidthProfile::Video,
        "audio_only" => BandwidthProfile::AudioOnly,
        "async_text" => BandwidthProfile::AsyncText,
        other => panic!("{other} is no tier"),
    })
}
