//! The calls of the benchmark: who publishes, who is shown whom, what is sent in each millisecond.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::rtp::RtpHeader;
use vestibule_media_core::srtp::{self, SrtpOpener, SrtpRole, SrtpSealer};
use vestibule_media_core::{Counters, Output, PeerId, RoomId};
use vestibule_sim::offer::ClientLine;

use crate::driver::Server;
use crate::driver::client::Client;
use crate::driver::cpu::{spent, thread_nanos};
use crate::driver::reports::{REPORT_MS, Reports};

/// Milliseconds between two frames, and two packets of audio.
const FRAME_MS: usize = 33;
const SPEECH_MS: usize = 20;
/// Milliseconds between two checks of each client.
const CHECK_MS: usize = 5_000;
/// Milliseconds until rings have grown to the bit rate and were filled once; and until all that is published is seen to get
/// through to everybody: probes come first, then one picture after another, each with a keyframe.
const WARM_UP_MS: usize = 8_000;
const KEYFRAME_MS: usize = 990;
const KEYFRAMES_UNTIL_MS: usize = 20_000;
/// Without anything new everything that waits for a pacer has left by then.
const SETTLE_MS: usize = 60;
/// Datagrams taken in one turn, as the engine takes them from its socket.
const TURN_DATAGRAMS: usize = 64;
/// Bytes by which a packet leaves longer than its payload: header, extension block, tag.
const HEADER_BYTES: usize = 20;
const TAG_BYTES: usize = 16;

/// How large a call is, and what it carries.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) rooms: usize,
    /// Of each room; all others of the room are shown each of them.
    pub(crate) publishers: usize,
    /// Of each room, who only watch.
    pub(crate) observers: usize,
    pub(crate) audio: bool,
    pub(crate) video: bool,
}

impl Shape {
    /// How many each publisher is shown to.
    pub(crate) const fn fan_out(&self) -> usize {
        self.publishers - 1 + self.observers
    }
}

/// A datagram on its way in.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    publisher: usize,
}

/// Nanoseconds that something took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Packets on their way through, and timers.
    pub(crate) packets: u64,
    /// Of that, the taking of the outputs.
    pub(crate) drain: u64,
    /// What subscribers tell of what arrived, and what follows from it at once.
    pub(crate) feedback: u64,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.drain += other.drain;
        self.feedback += other.feedback;
    }
}

/// A server with its clients.
pub(crate) struct Call {
    pub(crate) server: Server,
    /// Everybody, in the order of their ids.
    all: Vec<Client>,
    reports: Reports,
    /// Who of all publishes.
    publishers: Vec<usize>,
    /// For each publisher, those who are shown it.
    viewers: Vec<Vec<PeerId>>,
    audio: bool,
    video: bool,
    tick: usize,
    played_ms: u64,
}

impl Call {
    /// Connects everybody and lets the first keyframes through; with `seated`, everybody is shown everybody.
    pub(crate) fn new(shape: &Shape, seated: bool) -> Self {
        let mut call = Self {
            server: Server::new(),
            all: Vec::new(),
            reports: Reports::default(),
            publishers: Vec::new(),
            viewers: Vec::new(),
            audio: shape.audio,
            video: shape.video,
            tick: 0,
            played_ms: 0,
        };
        for room in 0..shape.rooms {
            call.add_room(room, shape, seated);
        }
        let warm_up = if seated && shape.video { KEYFRAMES_UNTIL_MS + WARM_UP_MS } else { WARM_UP_MS };
        for ms in 0..warm_up {
            if ms.is_multiple_of(KEYFRAME_MS) && ms < KEYFRAMES_UNTIL_MS {
                call.all.iter_mut().for_each(|client| client.keyframe_due = true);
            }
            let sent = call.tick();
            call.play(&mut [sent]);
        }
        call.settle();
        call
    }

    fn add_room(&mut self, room: usize, shape: &Shape, seated: bool) {
        let id = RoomId(room as u64 + 1);
        self.server.open_room(id);
        let size = shape.publishers + shape.observers;
        let peer_of = |at: usize| PeerId((room * size + at + 1) as u64);
        let mut members = Vec::new();
        for at in 0..size {
            let peer = peer_of(at);
            let mut lines = Vec::new();
            if at < shape.publishers {
                lines.extend(shape.audio.then(|| Client::microphone(peer)));
                lines.extend(shape.video.then(|| Client::camera(peer)));
            }
            let seats = shape.publishers - usize::from(at < shape.publishers);
            for _ in 0..seats {
                lines.extend([ClientLine::AudioSeat, ClientLine::VideoSeat]);
            }
            let [a, b, c, d] = (peer.0 as u32).to_be_bytes();
            let address = SocketAddr::from(([10, b ^ a, c, d], 40_000 + (peer.0 * 7 % 20_000) as u16));
            members.push(Client::join(&mut self.server, id, peer, address, &lines));
        }
        for (at, member) in members.iter().enumerate().filter(|_| seated) {
            let shown = (0..shape.publishers).filter(|publisher| *publisher != at);
            for (seat, publisher) in (0..).zip(shown) {
                self.server.seat(member.peer, seat, peer_of(publisher));
            }
        }
        for member in &mut members {
            let mut report = member.report();
            self.server.datagram(member.address, &mut report);
            self.reports.add(member);
        }
        self.server.drop_outputs();
        for at in 0..shape.publishers {
            self.viewers.push((0..size).filter(|other| *other != at).map(peer_of).collect());
            self.publishers.push(self.all.len() + at);
        }
        self.all.extend(members);
    }

    /// Lets the datagrams of each millisecond in, a turn at a time, and everybody tell of what arrived when it is time.
    pub(crate) fn play(&mut self, stretch: &mut [Vec<Sent>]) -> Spent {
        let mut took = Spent::default();
        let mut start = thread_nanos();
        for sent in stretch {
            self.server.pass(Duration::from_millis(1));
            self.played_ms += 1;
            if self.played_ms.is_multiple_of(REPORT_MS) {
                took.packets += thread_nanos() - start;
                took.feedback += self.feedback();
                start = thread_nanos();
            }
            let fired = self.server.timers();
            if fired && sent.is_empty() {
                took.drain += self.drain();
            }
            for turn in sent.chunks_mut(TURN_DATAGRAMS) {
                for sent in turn {
                    self.server.datagram(sent.from, &mut sent.bytes);
                    if self.server.sfu.wants_flush() {
                        took.drain += self.drain();
                    }
                }
                took.drain += self.drain();
            }
        }
        took.packets += thread_nanos() - start;
        took
    }

    /// Lets everything leave that waits for a pacer.
    pub(crate) fn settle(&mut self) -> Spent {
        self.play(&mut vec![Vec::new(); SETTLE_MS])
    }

    /// Everybody tells of what arrived. Gives what it took the server.
    fn feedback(&mut self) -> u64 {
        let mut messages = self.reports.tell(&mut self.all);
        spent(|| {
            for turn in messages.chunks_mut(TURN_DATAGRAMS) {
                for (from, message) in turn {
                    self.server.datagram(*from, message);
                }
                self.drain();
            }
        })
    }

    /// The reading of the monotonic clock costs a twentieth of that of a thread's.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn drain(&mut self) -> u64 {
        let start = std::time::Instant::now();
        let Self { server, reports, .. } = self;
        while let Some(output) = server.sfu.poll_output() {
            let Output::Transmits(transmits) = output else { continue };
            for transmit in transmits {
                let mut last: &[u8] = &[];
                let mut bytes = 0;
                for packet in transmit.packets() {
                    bytes += packet.len();
                    last = packet;
                }
                black_box(bytes);
                reports.note(transmit.to.socket(), last, server.now);
            }
        }
        start.elapsed().as_nanos() as u64
    }

    pub(crate) fn counters(&self) -> Counters {
        *self.server.sfu.counters()
    }

    /// What all publishers send in the next milliseconds, until there are `datagrams` of them.
    pub(crate) fn stretch(&mut self, datagrams: usize) -> Vec<Vec<Sent>> {
        let mut stretch = Vec::new();
        let mut count = 0;
        while count < datagrams {
            let sent = self.tick();
            count += sent.len();
            stretch.push(sent);
        }
        stretch
    }

    /// What all publishers send in the next millisecond; their frames are spread evenly.
    fn tick(&mut self) -> Vec<Sent> {
        self.tick += 1;
        if self.tick.is_multiple_of(CHECK_MS) {
            self.check();
        }
        let mut sent = Vec::new();
        for (publisher, at) in self.publishers.iter().enumerate() {
            let client = &mut self.all[*at];
            let from = client.address;
            let mut push = |bytes| sent.push(Sent { from, bytes, publisher });
            if self.audio && (self.tick + publisher).is_multiple_of(SPEECH_MS) {
                push(client.speech());
            }
            if self.video && (self.tick + publisher).is_multiple_of(FRAME_MS) {
                client.frame().into_iter().for_each(push);
            }
        }
        sent
    }

    /// Everybody's consent to go on.
    fn check(&mut self) {
        for member in &mut self.all {
            self.server.datagram(member.address, &mut member.check);
        }
        self.server.drop_outputs();
    }

    /// What the server opens each publisher's packets with.
    pub(crate) fn openers(&self) -> Openers {
        let opener = |at: &usize| srtp::session(&self.all[*at].keys, SrtpRole::Server).unwrap().1;
        Openers { openers: self.publishers.iter().map(opener).collect() }
    }

    /// What the server seals with for everybody.
    pub(crate) fn sealers(&self) -> Sealers {
        let sealer = |client: &Client| srtp::session(&client.keys, SrtpRole::Server).unwrap().0;
        Sealers {
            sealers: self.all.iter().map(sealer).collect(),
            viewers: self.viewers.clone(),
            slab: vec![0x5a; 4 * 1024 * 1024],
            sealed: 0,
        }
    }
}

/// The cipher alone, on the way in.
pub(crate) struct Openers {
    openers: Vec<SrtpOpener>,
}

impl Openers {
    pub(crate) fn open(&mut self, stretch: &mut [Vec<Sent>]) {
        for sent in stretch.iter_mut().flatten() {
            let header = RtpHeader::parse(&sent.bytes).unwrap();
            black_box(self.openers[sent.publisher].open_rtp(&mut sent.bytes, &header).unwrap());
        }
    }
}

/// The cipher alone, on the way out.
pub(crate) struct Sealers {
    /// By peer.
    sealers: Vec<SrtpSealer>,
    viewers: Vec<Vec<PeerId>>,
    slab: Vec<u8>,
    sealed: u64,
}

impl Sealers {
    /// Seals as many packets as are made of these, of the same sizes, one behind the other.
    pub(crate) fn seal(&mut self, stretch: &[Vec<Sent>]) {
        let mut at = 0;
        for sent in stretch.iter().flatten() {
            // What came had the header and the tag of what leaves, give or take an element.
            let len = sent.bytes.len() - TAG_BYTES;
            for viewer in &self.viewers[sent.publisher] {
                if at + len + TAG_BYTES > self.slab.len() {
                    at = 0;
                }
                let buffer = &mut self.slab[at..at + len + TAG_BYTES];
                buffer[2..4].fill(0);
                let sealer = &mut self.sealers[viewer.0 as usize - 1];
                at += sealer.seal_rtp(buffer, HEADER_BYTES, len, self.sealed << 16).unwrap();
                self.sealed += 1;
            }
        }
    }

    /// How many were sealed since this was last asked.
    pub(crate) fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.sealed)
    }
}
