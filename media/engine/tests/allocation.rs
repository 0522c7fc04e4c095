//! No allocation per packet between the socket and the core either, counted by the allocator itself. The core's own test
//! is beside the core.

#[path = "../../core/tests/counting/mod.rs"]
mod counting;

use std::net::{Ipv4Addr, SocketAddr};

use vestibule_media_engine::socket::{ReceiveBatch, ShardSocket, SocketOptions};

const ROUNDS: usize = 200;
const PACKETS: usize = 32;

#[test]
fn receiving_and_sending_allocates_nothing_per_packet() {
    for gso in [true, false] {
        let open = || {
            let options = SocketOptions { gso, ..SocketOptions::default() };
            ShardSocket::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &options).expect("a socket")
        };
        let (mut here, mut there) = (open(), open());
        let mut batch = ReceiveBatch::new();
        // Runs of equal size, and singles between them.
        let packets: Vec<Vec<u8>> =
            (0..PACKETS).map(|i| vec![i as u8; if i % 5 == 0 { 200 + i } else { 1_100 }]).collect();
        let mut round = || {
            here.send([(there.local_address(), packets.iter().map(Vec::as_slice))]);
            let mut received = 0;
            while there.receive(&mut batch) > 0 {
                received += batch.datagrams().count();
            }
            received
        };
        // Lists grow to what one turn needs.
        round();
        counting::start();
        let received: usize = (0..ROUNDS).map(|_| round()).sum();
        let allocations = counting::stop();
        assert_eq!(received, ROUNDS * PACKETS, "loopback lost datagrams");
        assert_eq!(allocations, 0, "gso {gso}");
    }
}
