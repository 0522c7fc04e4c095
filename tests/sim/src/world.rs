//! The world of one test: an SFU, its clients, the lines between, and the time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::api::{
    Command, DtlsEvent, Event, Input, MediaGate, Output, PeerId, RoomId, SeatId, SeatInfo, SfuConfig,
};
use vestibule_media_core::sdp::{CodecName, Fingerprint, IceParameters, Offer};
use vestibule_media_core::{
    NtpTime, PathChange, PeerStats, SeatWish, Sfu, Time, TransportAddress, WallClock,
};
use vestibule_testnet::{Link, LinkConfig};

use crate::checker::EgressChecker;
use crate::client::{Client, ClientConfig, Signal};
use crate::cross::CrossTraffic;
use crate::offer::{self, RIDS};
use crate::synthetic::HEIGHTS;

/// The wall clock's time at the start of every world: some day of 2026.
pub const WALL_CLOCK: NtpTime = NtpTime::from_unix(Duration::from_secs(1_795_000_000));
/// The one room of a world.
pub const ROOM: RoomId = RoomId(1);

/// A test's world. Same seed, same run.
pub struct World {
    /// The SFU.
    pub sfu: Sfu,
    /// Now.
    pub now: Time,
    /// Its clients.
    pub members: Vec<Member>,
    /// All events, with the time they came.
    pub events: Vec<(Time, Event)>,
    /// Datagrams the SFU sent to nobody known.
    pub stray: Vec<Vec<u8>>,
    /// Datagrams of something else than media that share a member's line, as they arrive: whose, which way, what.
    pub aside: Vec<(usize, Way, Vec<u8>)>,
    /// Answers and the server's word of encodings reach clients by themselves. If not, whoever runs the world takes them.
    pub tells: bool,
    /// As [`EgressChecker::capture_tolerance`], of all that join from now on.
    pub capture_tolerance: Option<Duration>,
    /// DTLS messages the SFU handed out.
    pub dtls: Vec<(PeerId, vestibule_media_core::DtlsMessage)>,
    /// What the server tells publishers over signaling: when it is there, when it was said, to whom, what.
    signals: VecDeque<(Time, Time, PeerId, Signal)>,
    seed: u64,
    next_peer: u64,
}

/// A client, its line, and the checker on it.
pub struct Member {
    /// The browser.
    pub client: Client,
    /// Towards the SFU.
    pub up: Link,
    /// From the SFU.
    pub down: Link,
    /// Reads what the SFU sends before the line does.
    pub checker: EgressChecker,
    /// The seats of the newest answer.
    pub seats: Vec<SeatInfo>,
    /// Where it was before it roamed; what is sent there is checked and lost.
    pub former_addresses: Vec<TransportAddress>,
    /// Other traffic on the line from the SFU.
    pub cross: Option<CrossTraffic>,
    /// What the SFU sent, and what of it arrived.
    pub carried: Carried,
}

/// Datagrams of the SFU to one client; bytes are those on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Datagrams put on the line.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams that arrived.
    pub arrived: u64,
    /// Their bytes.
    pub arrived_bytes: u64,
    /// Bytes of those that held a voice, before the line.
    pub audio_bytes: u64,
}

impl World {
    /// A world with an empty room.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::preferring(seed, CodecName::Vp8)
    }

    /// The same, where publishers are asked for another codec first.
    #[must_use]
    pub fn preferring(seed: u64, video_codec: CodecName) -> Self {
        let mut world = Self::bare(seed, video_codec);
        world.command(Command::CreateRoom { room: ROOM });
        world
    }

    /// A world without a room.
    #[must_use]
    pub fn bare(seed: u64, video_codec: CodecName) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let config = SfuConfig {
            candidates: vec![SocketAddr::from(([192, 0, 2, 1], 3_478)).into()],
            fingerprint: Fingerprint::from_sha256([7; 32]),
            wall_clock: WallClock::new(WALL_CLOCK),
            video_codec,
        };
        Self {
            sfu: Sfu::new(config, bytes),
            now: Time::from_millis(1),
            members: Vec::new(),
            events: Vec::new(),
            stray: Vec::new(),
            aside: Vec::new(),
            tells: true,
            capture_tolerance: None,
            dtls: Vec::new(),
            signals: VecDeque::new(),
            seed,
            next_peer: 1,
        }
    }

    /// Adds a client with its gate open, on perfect lines; it connects as time goes on.
    pub fn join(&mut self, config: ClientConfig) -> usize {
        self.join_over(config, LinkConfig::default().delay_ms(10), LinkConfig::default().delay_ms(10))
    }

    /// Adds a client over these lines.
    ///
    /// # Panics
    ///
    /// If its offer is refused.
    pub fn join_over(&mut self, config: ClientConfig, up: LinkConfig, down: LinkConfig) -> usize {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let at = self.place(peer, config, up, down);
        self.command(Command::AddPeer { room: ROOM, peer });
        self.command(Command::SetMediaGate { peer, gate: MediaGate::Open });
        self.offer(at);
        assert!(!self.members[at].client.answers.is_empty(), "no answer: {:?}", self.events.last());
        at
    }

    /// Puts a client of a peer into the world, of which the SFU is told by whoever runs the world.
    pub fn place(&mut self, peer: PeerId, config: ClientConfig, up: LinkConfig, down: LinkConfig) -> usize {
        let at = self.members.len();
        let (client, checker) = self.client(peer, config);
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(at as u64 * 2);
        self.members.push(Member {
            client,
            up: Link::new(up, seed),
            down: Link::new(down, seed + 1),
            checker,
            seats: Vec::new(),
            former_addresses: Vec::new(),
            cross: None,
            carried: Carried::default(),
        });
        at
    }

    /// Has a member begin anew with another peer on the same line, as a page does that makes a fresh PeerConnection.
    pub fn renew(&mut self, at: usize, peer: PeerId, config: ClientConfig) {
        let (client, checker) = self.client(peer, config);
        let member = &mut self.members[at];
        member.client = client;
        member.checker = checker;
        member.seats.clear();
    }

    fn client(&self, peer: PeerId, config: ClientConfig) -> (Client, EgressChecker) {
        let client = Client::new(peer, config, WALL_CLOCK);
        let name = format!("client {} of seed {}", peer.0, self.seed);
        let mut checker = EgressChecker::new(name, &client.keys, client.extension_ids());
        checker.capture_tolerance = self.capture_tolerance.unwrap_or(checker.capture_tolerance);
        (client, checker)
    }

    /// Sends a client's offer.
    pub fn offer(&mut self, at: usize) {
        let offer = Offer::parse(&self.members[at].client.offer_sdp()).expect("a good offer");
        let peer = self.members[at].client.peer;
        self.command(Command::Offer { peer, negotiation: 1, offer: Box::new(offer) });
    }

    /// Lets `who` see `whom` in a seat.
    pub fn seat(&mut self, who: usize, seat: u16, whom: Option<usize>) {
        let occupant = whom.map(|whom| self.members[whom].client.peer);
        self.command(Command::SetSeat { peer: self.members[who].client.peer, seat: SeatId(seat), occupant });
    }

    /// Says how `who` wants a seat's video.
    pub fn wish(&mut self, who: usize, seat: u16, wish: SeatWish) {
        self.command(Command::SetSeatWish { peer: self.members[who].client.peer, seat: SeatId(seat), wish });
    }

    /// Has `who` see no higher encoding in a seat than this one.
    ///
    /// # Panics
    ///
    /// If the rid is none.
    pub fn layer(&mut self, who: usize, seat: u16, rid: &str) {
        let encoding = RIDS.iter().position(|known| *known == rid).expect("a rid");
        self.height(who, seat, HEIGHTS[encoding]);
    }

    /// Wishes for pictures no higher than this.
    pub fn height(&mut self, who: usize, seat: u16, height: u16) {
        self.wish(who, seat, SeatWish { max_height: Some(height), ..SeatWish::DEFAULT });
    }

    /// Restarts a client's ICE, without SDP.
    ///
    /// # Panics
    ///
    /// If the credentials are none.
    pub fn restart_ice(&mut self, at: usize) {
        let client = &mut self.members[at].client;
        let peer = client.peer;
        let (ufrag, pwd) = client.new_credentials();
        let remote = IceParameters::new(ufrag, pwd).expect("credentials");
        self.command(Command::RestartIce { peer, remote });
    }

    /// Moves a client to another address; the old one is dead to it.
    pub fn roam(&mut self, at: usize, address: SocketAddr) {
        self.change_way(at, address.into());
    }

    /// Has a client come from elsewhere, perhaps by a connection; the old way is dead to it.
    pub fn change_way(&mut self, at: usize, address: TransportAddress) {
        let member = &mut self.members[at];
        member.former_addresses.push(std::mem::replace(&mut member.client.address, address));
    }

    /// Tells the SFU something of a connection.
    pub fn path(&mut self, address: TransportAddress, change: PathChange) {
        self.sfu.handle_input(Input::Path { address, change }, self.now);
        self.drain();
    }

    /// Gives the SFU a command now.
    pub fn command(&mut self, command: Command) {
        self.sfu.handle_input(Input::Command(command), self.now);
        self.drain();
    }

    /// Hands the SFU a datagram as if it came from the network.
    pub fn inject(&mut self, from: impl Into<TransportAddress>, mut bytes: Vec<u8>) {
        self.sfu.handle_input(Input::Datagram { from: from.into(), bytes: &mut bytes }, self.now);
        self.drain();
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = self.next_at();
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = end;
    }

    /// Lets time pass until something is so; false if it is not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !so(self) {
            let next = self.next_at();
            if next > end {
                return false;
            }
            self.now = self.now.max(next);
            self.turn();
        }
        true
    }

    /// How often the SFU's timers fire while nobody sends anything for so long.
    pub fn timer_turns(&mut self, duration: Duration) -> usize {
        let end = self.now + duration;
        let mut turns = 0;
        while let Some(at) = self.sfu.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.sfu.handle_input(Input::Timeout, self.now);
            self.drain();
            turns += 1;
        }
        self.now = end;
        turns
    }

    /// What seat `seat` of a client was shown: audio and video.
    #[must_use]
    pub fn shown(&self, who: usize, seat: usize) -> (crate::Received, crate::Received) {
        let member = &self.members[who];
        member.client.seat(&member.seats, seat)
    }

    /// The SFU's numbers of a client.
    ///
    /// # Panics
    ///
    /// If the client is none of the SFU's.
    pub fn stats(&mut self, who: usize) -> PeerStats {
        self.command(Command::Stats { peer: self.members[who].client.peer });
        match self.events.pop() {
            Some((_, Event::Stats { stats, .. })) => *stats,
            other => panic!("no stats: {other:?}"),
        }
    }

    /// When [`Self::turn`] has something to do.
    #[must_use]
    pub fn next_at(&self) -> Time {
        let links = self.members.iter().flat_map(|member| [member.up.next_at(), member.down.next_at()]);
        let links = links.flatten().map(Time::from_micros);
        let clients = self.members.iter().map(|member| member.client.next_at());
        let far = Time::from_micros(u64::MAX);
        let cross = self.members.iter().filter_map(|member| member.cross.as_ref()?.next_at());
        let signals = self.signals.iter().map(|(at, ..)| *at);
        links.chain(clients).chain(cross).chain(signals).chain(self.sfu.poll_timeout()).fold(far, Time::min)
    }

    /// Does what is due now.
    pub fn turn(&mut self) {
        let now = self.now;
        if self.sfu.poll_timeout().is_some_and(|at| at <= now) {
            self.sfu.handle_input(Input::Timeout, now);
            self.drain();
        }
        self.signal();
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            if let Some(cross) =
                member.cross.as_mut().filter(|cross| cross.next_at().is_some_and(|at| at <= now))
            {
                for datagram in cross.tick(now) {
                    member.down.send(now.as_micros(), datagram);
                }
            }
            if member.client.next_at() <= now {
                member.client.tick(now);
            }
            while let Some(datagram) = member.down.poll(now.as_micros()) {
                if let Some(cross) = member.cross.as_mut().filter(|_| CrossTraffic::is_of_it(&datagram)) {
                    cross.arrived(&datagram, now);
                    continue;
                }
                if is_aside(&datagram) {
                    self.aside.push((at, Way::Down, datagram));
                    continue;
                }
                member.carried.arrived += 1;
                member.carried.arrived_bytes += wire_bytes(&member.down, &datagram);
                member.client.handle(&datagram, now);
            }
            for datagram in std::mem::take(&mut member.client.outbox) {
                member.up.send(now.as_micros(), datagram);
            }
        }
        for at in 0..self.members.len() {
            while let Some(mut datagram) = self.members[at].up.poll(now.as_micros()) {
                if is_aside(&datagram) {
                    self.aside.push((at, Way::Up, datagram));
                    continue;
                }
                let from = self.members[at].client.address;
                self.sfu.handle_input(Input::Datagram { from, bytes: &mut datagram }, now);
                self.drain();
            }
        }
        self.establish();
    }

    /// Hands clients what the server said and has reached them by now.
    fn signal(&mut self) {
        let now = self.now;
        while let Some(at) = self.signals.iter().position(|(at, ..)| *at <= now) {
            let Some((_, said_at, peer, signal)) = self.signals.remove(at) else { return };
            if let Some(member) = self.members.iter_mut().find(|member| member.client.peer == peer) {
                member.client.signalled(&signal, said_at, now);
            }
        }
    }

    /// Sends a client a word over signaling, which takes as long as a datagram on an idle line does.
    fn say(&mut self, peer: PeerId, signal: Signal) {
        if !self.tells {
            return;
        }
        let Some(member) = self.members.iter().find(|member| member.client.peer == peer) else { return };
        let there_at = self.now + Duration::from_micros(member.down.config().delay_us);
        self.signals.push_back((there_at, self.now, peer, signal));
    }

    /// Stands in for DTLS: once a path is there, both sides get their fixed keys.
    fn establish(&mut self) {
        for at in 0..self.members.len() {
            let client = &self.members[at].client;
            if !client.ice_connected || client.connected {
                continue;
            }
            let fingerprint = offer::TEST_FINGERPRINT.parse().expect("a fingerprint");
            let event = DtlsEvent::Established { keys: client.keys.clone(), fingerprint };
            let peer = client.peer;
            self.members[at].client.connected = true;
            self.sfu.handle_input(Input::Dtls { peer, event }, self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        let now = self.now;
        while let Some(output) = self.sfu.poll_output() {
            match output {
                Output::Transmits(transmits) => {
                    for transmit in transmits {
                        let to = transmit.to;
                        let member = self.members.iter_mut().find(|member| {
                            member.client.address == to || member.former_addresses.contains(&to)
                        });
                        let Some(member) = member else {
                            self.stray.extend(transmit.packets().map(<[u8]>::to_vec));
                            continue;
                        };
                        for packet in transmit.packets() {
                            member.checker.check(packet, now);
                            if member.client.address == to {
                                let bytes = wire_bytes(&member.down, packet);
                                member.carried.sent += 1;
                                member.carried.sent_bytes += bytes;
                                if member.checker.was_audio() {
                                    member.carried.audio_bytes += bytes;
                                }
                                member.down.send(now.as_micros(), packet);
                            }
                        }
                    }
                }
                Output::Dtls { peer, message } => self.dtls.push((peer, message)),
                Output::Event(event) => {
                    match &event {
                        Event::Answer { peer, sdp, seats, .. } => {
                            if let Some(member) = self.members.iter_mut().find(|m| m.client.peer == *peer) {
                                if self.tells {
                                    member.client.answered(sdp, now);
                                }
                                member.checker.set_lines(Client::lines_of(sdp));
                                member.seats.clone_from(seats);
                            }
                        }
                        Event::Restarted { peer, local } if self.tells => {
                            if let Some(member) = self.members.iter_mut().find(|m| m.client.peer == *peer) {
                                member.client.restarted(local.ufrag.clone(), local.pwd.clone(), now);
                            }
                        }
                        Event::EncodingsWanted { peer, kind, rids } => {
                            self.say(*peer, Signal::Encodings(*kind, rids.clone()));
                        }
                        Event::CodecWanted { peer, kind, codec } => {
                            self.say(*peer, Signal::Codec(*kind, *codec));
                        }
                        Event::AudioWanted { peer, profile } => self.say(*peer, Signal::Audio(*profile)),
                        _ => {}
                    }
                    self.events.push((now, event));
                }
            }
        }
    }
}

/// Which way a datagram goes on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Up,
    /// From it.
    Down,
}

/// What a datagram begins with that is neither STUN, DTLS nor SRTP (RFC 7983 section 7).
pub const ASIDE: u8 = 0xf0;

fn is_aside(datagram: &[u8]) -> bool {
    datagram.first() == Some(&ASIDE)
}

/// Bytes a datagram takes on a line.
fn wire_bytes(link: &Link, datagram: &[u8]) -> u64 {
    datagram.len() as u64 + u64::from(link.config().overhead_bytes)
}
