//! A room whose one publisher of VP8 is seen by every subscriber.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::{Output, PeerId, RoomId};
use vestibule_sim::offer::ClientLine;

use crate::driver::Server;
use crate::driver::client::Client;
use crate::driver::reports::{REPORT_MS, Reports};

const ROOM: RoomId = RoomId(1);
const PUBLISHER: PeerId = PeerId(1);
/// One packet each millisecond: nine megabits per second, so that sixteen of them may leave at once.
const PACKET_MS: u64 = 1;
/// Until so much is seen to get through to everybody: probes come first, and a keyframe each second.
const WARM_UP_MS: u64 = 15_000;
const KEYFRAME_MS: u64 = 990;
const SETTLE_MS: u64 = 20;

pub(crate) struct Room {
    pub(crate) server: Server,
    publisher: Client,
    subscribers: Vec<Client>,
    pub(crate) reports: Reports,
    payload_bytes: usize,
    told_at_ms: u64,
    now_ms: u64,
}

impl Room {
    /// Connects the publisher and one subscriber at each of `addresses`, and lets them see each other until all of it gets
    /// through.
    pub(crate) fn new(addresses: &[SocketAddr], payload_bytes: usize) -> Self {
        let mut server = Server::new();
        server.open_room(ROOM);
        let address = "127.0.0.1:6999".parse().unwrap();
        let lines = [Client::microphone(PUBLISHER), Client::camera(PUBLISHER)];
        // What a publisher's feedback costs is not per forwarded packet.
        let publisher =
            Client::join(&mut server, ROOM, PUBLISHER, address, &lines).without_transport_sequence();
        let mut room = Self {
            server,
            publisher,
            subscribers: Vec::new(),
            reports: Reports::default(),
            payload_bytes,
            told_at_ms: 0,
            now_ms: 0,
        };
        for (id, address) in (2..).map(PeerId).zip(addresses) {
            let lines = [ClientLine::AudioSeat, ClientLine::VideoSeat];
            let mut client = Client::join(&mut room.server, ROOM, id, *address, &lines);
            room.server.seat(id, 0, PUBLISHER);
            // Packets need no mid any more.
            room.server.datagram(client.address, &mut client.report());
            room.reports.add(&client);
            room.subscribers.push(client);
        }
        room.drain();
        room.warm_up();
        let counters = room.server.sfu.counters();
        assert_eq!(counters.dropped_rtcp_auth + counters.dropped_rtcp_malformed, 0);
        room
    }

    fn warm_up(&mut self) {
        for ms in 0..WARM_UP_MS {
            self.publisher.keyframe_due |= ms.is_multiple_of(KEYFRAME_MS);
            if self.pass(1) {
                self.tell();
            }
            self.server.timers();
            for mut packet in self.seal_frame(1) {
                self.publish(&mut packet);
            }
            self.drain();
        }
    }

    /// One frame of `packets` packets, sealed as the publisher seals it.
    pub(crate) fn seal_frame(&mut self, packets: usize) -> Vec<Vec<u8>> {
        self.publisher.frame_of(&vec![self.payload_bytes; packets])
    }

    /// Lets one sealed packet in. It is decrypted in place, so it can be let in once.
    pub(crate) fn publish(&mut self, packet: &mut [u8]) {
        self.server.datagram(self.publisher.address, packet);
    }

    /// Lets the time pass that a frame of so many packets takes. True if it is time to [`Self::tell`].
    pub(crate) fn pass(&mut self, packets: usize) -> bool {
        let millis = packets as u64 * PACKET_MS;
        self.server.pass(Duration::from_millis(millis));
        self.now_ms += millis;
        self.now_ms - self.told_at_ms >= REPORT_MS
    }

    /// Everybody tells of what arrived; and what is due by the clock is done.
    pub(crate) fn tell(&mut self) {
        self.told_at_ms = self.now_ms;
        for (from, mut message) in self.reports.tell(&mut self.subscribers) {
            self.server.datagram(from, &mut message);
        }
        self.server.timers();
        self.drain();
    }

    /// Lets some time pass in which nothing comes.
    pub(crate) fn settle(&mut self) {
        for _ in 0..SETTLE_MS {
            self.pass(1);
            self.server.timers();
            self.drain();
        }
        self.tell();
        self.check();
    }

    /// Everybody's consent to go on.
    fn check(&mut self) {
        for client in self.subscribers.iter_mut().chain([&mut self.publisher]) {
            self.server.datagram(client.address, &mut client.check);
        }
        self.drain();
    }

    fn drain(&mut self) {
        let Self { server, reports, .. } = self;
        while let Some(output) = server.sfu.poll_output() {
            let Output::Transmits(transmits) = output else { continue };
            for transmit in transmits {
                reports.note(transmit.to.socket(), transmit.packets().last().unwrap_or_default(), server.now);
            }
        }
    }
}
