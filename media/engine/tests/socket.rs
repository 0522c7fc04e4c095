//! The socket layer over loopback: what goes in on one side comes out as the same datagrams on the other.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail by panicking, as the test does")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use vestibule_media_core::bounds::DATAGRAM_BYTES_MAX;
use vestibule_media_engine::socket::{
    GSO_BYTES_MAX, GSO_SEGMENTS_MAX, RECEIVE_BATCH, ReceiveBatch, SEND_BATCH, ShardSocket, SocketOptions,
};

const LOOPBACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A socket as a shard opens it.
fn shard_socket(ip: IpAddr, gso: bool) -> ShardSocket {
    ShardSocket::open(SocketAddr::new(ip, 0), &SocketOptions { gso, ..SocketOptions::default() }).unwrap()
}

/// A plain peer. Loopback delivers during the send call, so what was sent can be read at once; the timeout only keeps
/// a failing test from hanging.
fn peer(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn read(peer: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let (len, _) = peer.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

fn assert_nothing_waits(peer: &UdpSocket) {
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.recv_from(&mut [0; 16]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    peer.set_nonblocking(false).unwrap();
}

/// A packet that differs from its neighbours.
fn packet(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number * 31 + i) as u8).collect()
}

fn send(socket: &mut ShardSocket, transmits: &[(SocketAddr, Vec<Vec<u8>>)]) {
    socket.send(transmits.iter().map(|(to, packets)| (*to, packets.iter().map(Vec::as_slice))));
}

#[test]
fn batches_arrive_in_order_with_their_source() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let sender = peer(LOOPBACK_V4);
    let total = RECEIVE_BATCH * 2 + 5;
    for number in 0..total {
        sender.send_to(&packet(number, 20 + number), socket.local_address()).unwrap();
    }
    let mut batch = ReceiveBatch::new();
    let (mut number, mut calls) = (0, 0);
    loop {
        let taken = socket.receive(&mut batch);
        calls += 1;
        for (from, bytes) in batch.datagrams() {
            assert_eq!(from, sender.local_addr().unwrap());
            assert_eq!(bytes, packet(number, 20 + number), "datagram {number}");
            number += 1;
        }
        if taken < RECEIVE_BATCH {
            break;
        }
    }
    assert_eq!((number, calls), (total, 3));
    assert_eq!(socket.counters().received_datagrams, total as u64);
    assert_eq!(socket.counters().received_batches, 3);
}

#[test]
fn an_empty_socket_gives_nothing_and_does_not_block() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let mut batch = ReceiveBatch::new();
    assert_eq!(socket.receive(&mut batch), 0);
    assert_eq!(batch.datagrams().count(), 0);
    assert_eq!(socket.counters().received_batches, 0);
}

#[test]
fn a_datagram_over_the_bound_is_dropped_and_counted_and_its_neighbours_live() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let sender = peer(LOOPBACK_V4);
    for len in [DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX + 1, 9_000, 12, 0] {
        sender.send_to(&packet(len, len), socket.local_address()).unwrap();
    }
    let mut batch = ReceiveBatch::new();
    assert_eq!(socket.receive(&mut batch), 5);
    let got: Vec<_> = batch.datagrams().map(|(_, bytes)| bytes.to_vec()).collect();
    assert_eq!(got, [packet(DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX), packet(12, 12), vec![]]);
    assert_eq!(socket.counters().received_truncated, 2);

    // The flags of one call must not stick to the next.
    sender.send_to(&packet(1, 40), socket.local_address()).unwrap();
    sender.send_to(&packet(2, 41), socket.local_address()).unwrap();
    assert_eq!(socket.receive(&mut batch), 2);
    assert_eq!(batch.datagrams().count(), 2);
}

#[test]
fn runs_of_equal_packets_leave_as_gso_and_arrive_as_the_same_datagrams() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    assert!(socket.uses_gso(), "Linux 4.18 and later know UDP_SEGMENT");
    let receiver = peer(LOOPBACK_V4);
    // A run with a shorter tail, a lone longer one, a run without tail, two that only shrink.
    let lens = [1_100, 1_100, 1_100, 700, 1_200, 300, 300, 300, 900, 100];
    let packets: Vec<_> = lens.iter().enumerate().map(|(number, len)| packet(number, *len)).collect();
    send(&mut socket, &[(receiver.local_addr().unwrap(), packets.clone())]);
    for (number, packet) in packets.iter().enumerate() {
        assert_eq!(&read(&receiver), packet, "datagram {number}");
    }
    assert_nothing_waits(&receiver);
    let counters = socket.counters();
    // [1100 1100 1100 700] [1200 300] [300 300] [900 100]
    assert_eq!((counters.gso_runs, counters.gso_datagrams, counters.send_calls), (4, 10, 1));
    assert_eq!((counters.sent_datagrams, counters.sent_bytes), (10, lens.iter().sum::<usize>() as u64));
}

#[test]
fn a_run_ends_at_the_segment_and_the_byte_bound() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let receiver = peer(LOOPBACK_V4);
    let to = receiver.local_addr().unwrap();
    let small: Vec<_> = (0..=GSO_SEGMENTS_MAX).map(|number| packet(number, 50)).collect();
    send(&mut socket, &[(to, small.clone())]);
    for packet in &small {
        assert_eq!(&read(&receiver), packet);
    }
    assert_eq!((socket.counters().gso_runs, socket.counters().gso_datagrams), (1, GSO_SEGMENTS_MAX as u64));

    let large: Vec<_> = (0..60).map(|number| packet(number, 1_400)).collect();
    send(&mut socket, &[(to, large.clone())]);
    for packet in &large {
        assert_eq!(&read(&receiver), packet);
    }
    let first_run = GSO_BYTES_MAX / 1_400;
    assert!(first_run < 60);
    assert_eq!(socket.counters().gso_runs, 3);
}

#[test]
fn without_gso_the_same_datagrams_arrive() {
    let mut socket = shard_socket(LOOPBACK_V4, false);
    let receiver = peer(LOOPBACK_V4);
    let packets: Vec<_> = (0..20).map(|number| packet(number, 1_100)).collect();
    send(&mut socket, &[(receiver.local_addr().unwrap(), packets.clone())]);
    for packet in &packets {
        assert_eq!(&read(&receiver), packet);
    }
    assert_eq!((socket.counters().gso_runs, socket.counters().send_calls), (0, 1));
}

#[test]
fn one_call_serves_many_addresses_and_more_than_a_batch_takes_more_calls() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let receivers: Vec<_> = (0..SEND_BATCH + 10).map(|_| peer(LOOPBACK_V4)).collect();
    let transmits: Vec<_> = receivers
        .iter()
        .enumerate()
        .map(|(number, receiver)| (receiver.local_addr().unwrap(), vec![packet(number, 200 + number)]))
        .collect();
    send(&mut socket, &transmits);
    for (number, receiver) in receivers.iter().enumerate() {
        assert_eq!(read(receiver), packet(number, 200 + number));
        assert_nothing_waits(receiver);
    }
    assert_eq!(socket.counters().send_calls, 2);
}

#[test]
fn more_iovecs_than_one_call_holds_lose_nothing() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let receivers: Vec<_> = (0..40).map(|_| peer(LOOPBACK_V4)).collect();
    let packets: Vec<_> = (0..GSO_SEGMENTS_MAX).map(|number| packet(number, 90)).collect();
    let transmits: Vec<_> =
        receivers.iter().map(|receiver| (receiver.local_addr().unwrap(), packets.clone())).collect();
    send(&mut socket, &transmits);
    for receiver in &receivers {
        for packet in &packets {
            assert_eq!(&read(receiver), packet);
        }
    }
    assert_eq!(socket.counters().sent_datagrams, 40 * GSO_SEGMENTS_MAX as u64);
}

#[test]
fn a_wildcard_v6_socket_is_dual_stack_and_shows_v4_peers_as_v4() {
    let mut socket = shard_socket(IpAddr::V6(Ipv6Addr::UNSPECIFIED), true);
    let port = socket.local_address().port();
    let peers = [peer(LOOPBACK_V4), peer(LOOPBACK_V6)];
    peers[0].send_to(b"four", SocketAddr::new(LOOPBACK_V4, port)).unwrap();
    peers[1].send_to(b"six", SocketAddr::new(LOOPBACK_V6, port)).unwrap();
    let mut batch = ReceiveBatch::new();
    assert_eq!(socket.receive(&mut batch), 2);
    let got: Vec<_> = batch.datagrams().map(|(from, bytes)| (from, bytes.to_vec())).collect();
    assert_eq!(got[0], (peers[0].local_addr().unwrap(), b"four".to_vec()));
    assert_eq!(got[1], (peers[1].local_addr().unwrap(), b"six".to_vec()));

    let back: Vec<_> = got.into_iter().map(|(from, bytes)| (from, vec![bytes; 3])).collect();
    send(&mut socket, &back);
    for (peer, (_, packets)) in peers.iter().zip(&back) {
        for packet in packets {
            assert_eq!(&read(peer), packet);
        }
    }
    assert_eq!(socket.counters().gso_runs, 2);
}

#[test]
fn an_ipv4_socket_drops_what_is_for_ipv6_and_sends_the_rest() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let receiver = peer(LOOPBACK_V4);
    let transmits = [
        (SocketAddr::new(LOOPBACK_V6, 9), vec![packet(0, 100), packet(1, 100)]),
        (receiver.local_addr().unwrap(), vec![packet(2, 100)]),
    ];
    send(&mut socket, &transmits);
    assert_eq!(read(&receiver), packet(2, 100));
    assert_eq!((socket.counters().dropped_refused, socket.counters().sent_datagrams), (2, 1));
}

#[test]
fn a_refused_address_costs_only_its_own_packets() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let receiver = peer(LOOPBACK_V4);
    let to = receiver.local_addr().unwrap();
    // Port 0 is EINVAL, the broadcast address EACCES.
    let port_0 = SocketAddr::new(LOOPBACK_V4, 0);
    let broadcast = SocketAddr::new(Ipv4Addr::BROADCAST.into(), 9);
    let transmits = [
        (to, vec![packet(0, 100)]),
        (port_0, vec![packet(1, 100)]),
        (to, vec![packet(2, 100)]),
        (broadcast, vec![packet(3, 100)]),
        (to, vec![packet(4, 100)]),
    ];
    send(&mut socket, &transmits);
    for number in [0, 2, 4] {
        assert_eq!(read(&receiver), packet(number, 100));
    }
    assert_eq!((socket.counters().dropped_refused, socket.counters().sent_datagrams), (2, 3));
}

#[test]
fn a_run_refused_for_its_address_says_nothing_about_gso() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let port_0 = SocketAddr::new(LOOPBACK_V4, 0);
    for _ in 0..100 {
        send(&mut socket, &[(port_0, vec![packet(0, 100), packet(1, 100)])]);
    }
    assert!(socket.uses_gso());
    assert_eq!(socket.counters().dropped_refused, 200);
}

#[test]
fn a_kernel_that_refuses_runs_loses_none_and_is_not_asked_for_ever() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    send_without_checksums(&socket);
    let receiver = peer(LOOPBACK_V4);
    let to = receiver.local_addr().unwrap();
    for number in 0..100 {
        send(&mut socket, &[(to, vec![packet(number, 100), packet(number + 1, 100)])]);
        assert_eq!([read(&receiver), read(&receiver)], [packet(number, 100), packet(number + 1, 100)]);
    }
    assert!(!socket.uses_gso());
    let counters = socket.counters();
    assert!(counters.gso_refused > 1 && counters.gso_refused < 50, "{counters:?}");
    assert_eq!((counters.sent_datagrams, counters.gso_runs, counters.dropped_refused), (200, 0, 0));
}

/// The kernel sends no GSO run from a socket without checksums (EINVAL), yet every single datagram.
fn send_without_checksums(socket: &ShardSocket) {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one `c_int`, alive during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}

#[test]
fn a_small_send_buffer_never_blocks_and_every_packet_is_counted() {
    let options = SocketOptions { send_buffer_bytes: 4_096, ..SocketOptions::default() };
    let mut socket = ShardSocket::open(SocketAddr::new(LOOPBACK_V4, 0), &options).unwrap();
    let receiver = peer(LOOPBACK_V4);
    // One run is larger than the whole send buffer.
    let packets: Vec<_> = (0..40).map(|number| packet(number, 1_400)).collect();
    send(&mut socket, &[(receiver.local_addr().unwrap(), packets)]);
    let counters = socket.counters();
    assert_eq!(counters.sent_datagrams + counters.dropped_buffer_full, 40, "{counters:?}");
}

#[test]
fn the_buffers_that_were_got_are_told() {
    let socket = shard_socket(LOOPBACK_V4, true);
    let buffers = socket.buffers().unwrap();
    assert!(buffers.receive_bytes > 64 * 1024 && buffers.send_bytes > 64 * 1024, "{buffers:?}");
}

#[test]
fn packets_of_a_caller_that_panicked_are_never_sent() {
    let mut socket = shard_socket(LOOPBACK_V4, true);
    let receiver = peer(LOOPBACK_V4);
    let to = receiver.local_addr().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let gone = packet(0, 100);
        let transmits = [Some(to), None].into_iter();
        socket.send(transmits.map(|to| (to.expect("a bug of the caller, on purpose"), [gone.as_slice(); 3])));
    }));
    assert!(panicked.is_err());
    send(&mut socket, &[(to, vec![packet(1, 100)])]);
    assert_eq!(read(&receiver), packet(1, 100));
    assert_nothing_waits(&receiver);
}
