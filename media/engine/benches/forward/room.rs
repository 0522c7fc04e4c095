//! A room whose one publisher of VP8 is seen by every subscriber.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::{PeerId, RoomId};
use vestibule_sim::offer::ClientLine;

use crate::driver::Server;
use crate::driver::client::Client;

const ROOM: RoomId = RoomId(1);
const PUBLISHER: PeerId = PeerId(1);

pub(crate) struct Room {
    pub(crate) server: Server,
    publisher: Client,
    payload_bytes: usize,
}

impl Room {
    /// Connects the publisher and one subscriber at each of `addresses`, and sends a keyframe through.
    pub(crate) fn new(addresses: &[SocketAddr], payload_bytes: usize) -> Self {
        let mut server = Server::new();
        server.open_room(ROOM);
        let address = "127.0.0.1:6999".parse().unwrap();
        let lines = [Client::microphone(PUBLISHER), Client::camera(PUBLISHER)];
        // What a publisher's feedback costs is not per forwarded packet.
        let publisher =
            Client::join(&mut server, ROOM, PUBLISHER, address, &lines).without_transport_sequence();
        let mut room = Self { server, publisher, payload_bytes };
        for (id, address) in (2..).map(PeerId).zip(addresses) {
            let lines = [ClientLine::AudioSeat, ClientLine::VideoSeat];
            let mut client = Client::join(&mut room.server, ROOM, id, *address, &lines);
            room.server.seat(id, 0, PUBLISHER);
            // Packets need no mid any more.
            room.server.datagram(client.address, &mut client.report());
        }
        for mut packet in room.seal_frame(2) {
            room.publish(&mut packet);
        }
        room.server.drop_outputs();
        let counters = room.server.sfu.counters();
        assert_eq!(counters.dropped_rtcp_auth + counters.dropped_rtcp_malformed, 0);
        assert_eq!(counters.rtp_out, 2 * addresses.len() as u64);
        room
    }

    /// One frame of `packets` packets, sealed as the publisher seals it; the first frame is a keyframe.
    pub(crate) fn seal_frame(&mut self, packets: usize) -> Vec<Vec<u8>> {
        self.publisher.frame_of(&vec![self.payload_bytes; packets])
    }

    /// Lets one sealed packet in. It is decrypted in place, so it can be let in once.
    pub(crate) fn publish(&mut self, packet: &mut [u8]) {
        self.server.pass(Duration::from_micros(10));
        self.server.datagram(self.publisher.address, packet);
    }
}
