//! Connections over real loopback sockets, in a time of the test's own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::time::Instant;

use super::*;

/// Long enough for any machine; it only keeps a failing test from hanging.
const PATIENCE: Duration = Duration::from_secs(20);

fn open() -> (TcpPaths, SocketAddr) {
    open_at(Ipv4Addr::LOCALHOST.into())
}

fn open_at(ip: IpAddr) -> (TcpPaths, SocketAddr) {
    let paths = TcpPaths::open(SocketAddr::new(ip, 0)).unwrap();
    let address = paths.listener.local_addr().unwrap().as_socket().unwrap();
    (paths, address)
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

/// Looks again until `done`: what one side of a loopback connection did is seen by the other soon after.
#[expect(clippy::disallowed_methods, reason = "a test that would hang ends by the clock")]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// Connects, and lets the connection be taken.
fn connect(paths: &mut TcpPaths, to: SocketAddr, now: Time) -> TcpStream {
    let taken = paths.counters().accepted + paths.counters().refused;
    let stream = TcpStream::connect(to).unwrap();
    eventually("a connection is taken", || {
        paths.poll(now);
        paths.counters().accepted + paths.counters().refused > taken
    });
    stream
}

/// The same from another address of this machine.
fn connect_from(paths: &mut TcpPaths, from: Ipv4Addr, to: SocketAddr, now: Time) -> TcpStream {
    let taken = paths.counters().accepted;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    eventually("a connection is taken", || {
        paths.poll(now);
        paths.counters().accepted > taken
    });
    stream
}

fn frame(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

/// Reads what a connection brings, as a good peer's, until so many packets have come.
fn read(paths: &mut TcpPaths, now: Time, packets: usize) -> Vec<(TransportAddress, Vec<u8>)> {
    let mut frames = Frames::new();
    let mut found = Vec::new();
    eventually("packets come", || {
        paths.poll(now);
        while let Some(reading) = paths.read_next(&mut frames) {
            let before = found.len();
            while let Some(packet) = frames.next().unwrap() {
                found.push((reading.from(), packet.to_vec()));
            }
            paths.read_done(reading, &frames, (found.len() - before) as u64, true);
        }
        found.len() >= packets
    });
    found
}

/// A connection by which a good check came.
fn connect_path(paths: &mut TcpPaths, to: SocketAddr, now: Time) -> TcpStream {
    let mut stream = connect(paths, to, now);
    stream.write_all(&frame(b"check")).unwrap();
    let found = read(paths, now, 1);
    assert_eq!(found, [(TransportAddress::Tcp(stream.local_addr().unwrap()), b"check".to_vec())]);
    stream
}

fn changes(paths: &mut TcpPaths) -> Vec<PathChange> {
    std::iter::from_fn(|| paths.next_change()).map(|(_, change)| change).collect()
}

#[test]
fn packets_cut_anywhere_arrive_whole_and_from_where_they_came() {
    let (mut paths, address) = open();
    let mut stream = connect(&mut paths, address, at(1));
    let packets = [vec![1; 700], vec![2; 3], vec![3; 1_200]];
    let bytes = packets.iter().flat_map(|packet| frame(packet)).collect::<Vec<_>>();
    let mut found = Vec::new();
    for piece in bytes.chunks(703) {
        stream.write_all(piece).unwrap();
        found.extend(read(&mut paths, at(1), usize::from(found.is_empty())));
    }
    found.extend(read(&mut paths, at(1), packets.len() - found.len()));
    let from = TransportAddress::Tcp(stream.local_addr().unwrap());
    assert_eq!(found, packets.map(|packet| (from, packet)));
}

#[test]
fn a_connection_over_ipv4_to_a_dual_stack_port_counts_as_ipv4() {
    let (mut paths, address) = open_at(Ipv6Addr::UNSPECIFIED.into());
    let stream = connect_path(&mut paths, (Ipv4Addr::LOCALHOST, address.port()).into(), at(1));
    drop(stream);
    let stream = connect_path(&mut paths, (Ipv6Addr::LOCALHOST, address.port()).into(), at(1));
    drop(stream);
}

#[test]
fn what_is_no_frame_closes_its_connection() {
    let (mut paths, address) = open();
    let mut stream = connect(&mut paths, address, at(1));
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut frames = Frames::new();
    eventually("it is read", || {
        paths.poll(at(1));
        let Some(reading) = paths.read_next(&mut frames) else { return false };
        assert!(frames.next().is_err());
        paths.read_failed(reading);
        true
    });
    assert_eq!((paths.len(), paths.counters().closed_malformed), (0, 1));
    assert!(stream.read(&mut [0; 16]).map_or(true, |bytes| bytes == 0), "it is over");
}

#[test]
fn who_shows_no_good_check_in_time_is_closed_and_who_is_nobodys_way_any_more() {
    let (mut paths, address) = open();
    let _stranger = connect(&mut paths, address, at(1));
    let path = connect_path(&mut paths, address, at(1));
    paths.sweep(at(11), |_| true);
    assert_eq!(paths.len(), 2);
    paths.sweep(at(12), |_| true);
    assert_eq!((paths.len(), paths.counters().closed_strangers), (1, 1));
    assert_eq!(changes(&mut paths), [], "the core never knew of it");
    paths.sweep(at(60), |_| true);
    assert_eq!(paths.len(), 1);
    paths.sweep(at(61), |address| address != TransportAddress::Tcp(path.local_addr().unwrap()));
    assert_eq!((paths.len(), paths.counters().closed_unused), (0, 1));
    assert_eq!(paths.next_timeout(), None, "nothing is left to look after");
}

#[test]
fn of_too_many_strangers_the_oldest_gives_way_and_no_path_does() {
    let (mut paths, address) = open();
    let path = connect_path(&mut paths, address, at(1));
    let mut strangers: Vec<_> = (0..=STRANGERS_MAX).map(|_| connect(&mut paths, address, at(2))).collect();
    assert_eq!((paths.len(), paths.counters().closed_strangers), (STRANGERS_MAX + 1, 1));
    assert!(strangers[0].read(&mut [0; 16]).map_or(true, |bytes| bytes == 0), "the first is over");
    assert!(paths.tokens.contains_key(&path.local_addr().unwrap()));
}

#[test]
fn who_crowds_the_door_pushes_out_their_own() {
    let (mut paths, address) = open();
    let patient = connect_from(&mut paths, Ipv4Addr::new(127, 0, 0, 2), address, at(1));
    let _crowd: Vec<_> = (0..STRANGERS_MAX + 20).map(|_| connect(&mut paths, address, at(2))).collect();
    assert_eq!((paths.len(), paths.counters().closed_strangers), (STRANGERS_MAX, 21));
    assert!(
        paths.tokens.contains_key(&patient.local_addr().unwrap()),
        "they came first, and are still there"
    );
}

#[test]
fn one_address_has_only_so_many_connections() {
    let (mut paths, address) = open();
    let _all: Vec<_> =
        (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| connect_path(&mut paths, address, at(1))).collect();
    assert_eq!(paths.counters().refused, 0);
    let mut one_more = connect(&mut paths, address, at(1));
    assert_eq!((paths.len(), paths.counters().refused), (CONNECTIONS_PER_ADDRESS_MAX, 1));
    assert!(one_more.read(&mut [0; 16]).map_or(true, |bytes| bytes == 0), "it is over");
}

#[test]
fn addresses_of_one_ipv6_network_count_as_one() {
    let from = |ip: &str| network(SocketAddr::new(ip.parse().unwrap(), 9));
    assert_eq!(from("2001:db8:1:2::3"), from("2001:db8:1:2:ffff::4"));
    assert_ne!(from("2001:db8:1:2::3"), from("2001:db8:1:3::3"));
    assert_ne!(from("192.0.2.1"), from("192.0.2.2"));
}

#[test]
fn a_slow_reader_is_told_of_and_told_of_again_once_it_has_read_and_gets_no_half_packet() {
    let (mut paths, address) = open();
    let mut stream = connect_path(&mut paths, address, at(1));
    let to = stream.local_addr().unwrap();
    // As long as the kernel takes it, nothing waits.
    let mut sent = 0_u32;
    while changes(&mut paths).is_empty() {
        let packet = [&sent.to_be_bytes()[..], &[7; 1_000]].concat();
        paths.send(to, [&*packet], at(1));
        sent += 1;
    }
    // A voice is still taken.
    paths.send(to, [&sent.to_be_bytes()[..]], at(1));
    sent += 1;
    assert_eq!(paths.counters().dropped_buffer_full, 0);

    let mut told = Vec::new();
    stream.set_nonblocking(true).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    eventually("all of it arrives", || {
        paths.poll(at(1));
        told.extend(changes(&mut paths));
        if let Ok(read) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..read]);
        }
        bytes.len() as u64 == paths.counters().sent_bytes
    });
    assert_eq!(told, [PathChange::Free]);
    let mut rest = &bytes[..];
    for expected in 0..sent {
        let (length, after) = rest.split_first_chunk().unwrap();
        let (packet, after) = after.split_at(u16::from_be_bytes(*length).into());
        assert_eq!(packet[..4], expected.to_be_bytes(), "in order");
        rest = after;
    }
    assert!(rest.is_empty());
}

#[test]
fn a_reader_that_has_stopped_is_let_go_and_its_buffer_is_bounded() {
    let (mut paths, address) = open();
    let stream = connect_path(&mut paths, address, at(1));
    let to = stream.local_addr().unwrap();
    while paths.counters().dropped_buffer_full == 0 {
        paths.send(to, [&[7; 1_200][..]], at(2));
    }
    let waiting = paths.connections.values().map(|connection| connection.backlog.len()).sum::<usize>();
    assert!(waiting <= backlog::BACKLOG_BYTES_MAX, "{waiting}");
    paths.sweep(at(9), |_| true);
    assert_eq!(paths.len(), 1);
    paths.sweep(at(11), |_| true);
    assert_eq!((paths.len(), paths.counters().closed_slow), (0, 1));
    assert_eq!(changes(&mut paths), [PathChange::Full, PathChange::Closed]);
    paths.send(to, [&[7; 100][..]], at(11));
    assert_eq!(paths.counters().dropped_closed, 1);
}

#[test]
fn a_connection_that_the_peer_ends_is_gone_at_once() {
    let (mut paths, address) = open();
    let stream = connect_path(&mut paths, address, at(1));
    let from = TransportAddress::Tcp(stream.local_addr().unwrap());
    drop(stream);
    let mut told = None;
    eventually("the end is seen", || {
        paths.poll(at(1));
        assert!(paths.read_next(&mut Frames::new()).is_none());
        told = paths.next_change();
        told.is_some()
    });
    assert_eq!((told, paths.len()), (Some((from, PathChange::Closed)), 0));
}
