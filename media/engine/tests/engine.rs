//! The engine from outside, over loopback: it starts, places, answers, wakes, refuses and stops.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail by panicking, as the test does")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vestibule_media_core::bounds::DATAGRAM_BYTES_MAX;
use vestibule_media_core::sdp::Offer;
use vestibule_media_core::stun::{self, IntegrityKey, Message};
use vestibule_media_core::{Command, CommandError, Event, PeerId, RoomId};
use vestibule_media_engine::{Announce, COMMAND_QUEUE_MAX, Engine, EngineConfig, EngineError};

/// Long enough for any machine; it only keeps a failing test from hanging.
const PATIENCE: Duration = Duration::from_secs(20);

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijklmn\r\n\
    a=fingerprint:sha-256 1D:51:F9:79:E3:AD:B7:B7:8B:D6:C4:2C:44:5E:15:01:AC:C2:F8:98:7A:02:5A:BF:3E:68:64:70:DE:74:EF:9E\r\n\
    a=setup:actpass\r\na=rtcp-mux\r\na=mid:0\r\na=sendonly\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:7 cname:a\r\n";

fn config(shards: usize) -> EngineConfig {
    EngineConfig { shards, bind: Ipv4Addr::LOCALHOST.into(), ..EngineConfig::default() }
}

/// An engine whose events can be received.
fn start(config: &EngineConfig) -> (Engine, Receiver<Event>) {
    let (sender, events) = channel();
    (Engine::start(config, sink(sender)).unwrap(), events)
}

fn sink(sender: Sender<Event>) -> Arc<impl vestibule_media_engine::EventSink> {
    Arc::new(move |event| {
        let _ = sender.send(event);
    })
}

fn address(engine: &Engine, shard: usize) -> SocketAddr {
    engine.addresses().nth(shard).unwrap().bound
}

/// Opens a room with one peer and gives the answer to its offer.
fn answer(engine: &Engine, events: &Receiver<Event>, room: RoomId, peer: PeerId) -> String {
    engine.send(room, Command::CreateRoom { room }).unwrap();
    engine.send(room, Command::AddPeer { room, peer }).unwrap();
    engine
        .send(room, Command::Offer { peer, negotiation: 9, offer: Box::new(Offer::parse(OFFER).unwrap()) })
        .unwrap();
    match events.recv_timeout(PATIENCE).unwrap() {
        Event::Answer { peer: whose, negotiation: 9, sdp, .. } if whose == peer => sdp,
        other => panic!("no answer but {other:?}"),
    }
}

fn attribute(sdp: &str, name: &str) -> String {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
}

fn candidate_ports(sdp: &str) -> Vec<u16> {
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    candidates.map(|line| line.split(' ').nth(5).unwrap().parse().unwrap()).collect()
}

/// Asks again until `done`: counters are published at the end of a turn, shortly after what they count is seen.
#[expect(clippy::disallowed_methods, reason = "a test that would hang ends by the clock")]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_command_wakes_its_shard_and_the_answer_names_its_address() {
    let (engine, events) = start(&config(1));
    let sdp = answer(&engine, &events, RoomId(1), PeerId(1));
    // By UDP, and by TCP at the same number.
    assert_eq!(candidate_ports(&sdp), [address(&engine, 0).port(); 2]);
    assert_eq!(sdp.lines().filter(|line| line.ends_with(" typ host tcptype passive")).count(), 1);
    assert_eq!(attribute(&sdp, "a=fingerprint:sha-256 "), engine.fingerprint().to_string());
    engine.shutdown().unwrap();
}

#[test]
fn without_tcp_none_is_told_of_and_nobody_listens() {
    let (engine, events) = start(&EngineConfig { tcp: false, ..config(1) });
    let sdp = answer(&engine, &events, RoomId(1), PeerId(1));
    assert_eq!(candidate_ports(&sdp), [address(&engine, 0).port()]);
    assert!(!sdp.contains(" tcp "), "{sdp}");
    let refused = std::net::TcpStream::connect(address(&engine, 0)).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
}

#[test]
fn a_port_that_is_taken_for_tcp_alone_is_named() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = listener.local_addr().unwrap();
    let result = Engine::start(&EngineConfig { port: taken.port(), ..config(1) }, Arc::new(|_| {}));
    let Err(error) = result else { panic!("started on a port in use") };
    assert_eq!(error.to_string(), format!("TCP {taken} is in use by another program"));
    drop(listener);
}

#[test]
fn a_check_over_the_socket_is_answered_with_the_address_it_came_from() {
    for bind in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()]
    {
        let (engine, events) = start(&EngineConfig { bind, ..config(1) });
        let sdp = answer(&engine, &events, RoomId(1), PeerId(1));
        let (ufrag, password) = (attribute(&sdp, "a=ice-ufrag:"), attribute(&sdp, "a=ice-pwd:"));
        // The wildcard socket is asked over IPv4: it must see the client as such.
        let ip = if bind.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { bind };
        let client = UdpSocket::bind((ip, 0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let key = IntegrityKey::new(&password);
        let mut bytes = [0; 512];
        let len = stun::write_binding_request(&mut bytes, &[3; 12], "abcd", &ufrag, true, 1, &key);
        client.send_to(&bytes[..len], (ip, address(&engine, 0).port())).unwrap();
        let (len, _) = client.recv_from(&mut bytes).unwrap();
        let Ok(Message::Response(response)) = stun::parse(&bytes[..len]) else { panic!("no response") };
        assert_eq!(response.mapped_address, Some(client.local_addr().unwrap()), "bound to {bind}");
        assert_eq!((response.success, response.transaction_id), (true, [3; 12]));
        eventually("the counters are published", || {
            let counters = engine.counters()[0];
            counters.core.stun_answered == 1 && counters.socket.sent_datagrams == 1
        });
        engine.shutdown().unwrap();
    }
}

#[test]
fn datagrams_over_the_bound_are_dropped_and_counted() {
    let (engine, _events) = start(&config(1));
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.send_to(&[0x80; DATAGRAM_BYTES_MAX + 1], address(&engine, 0)).unwrap();
    client.send_to(&[0x80; DATAGRAM_BYTES_MAX], address(&engine, 0)).unwrap();
    eventually("both are counted", || engine.counters()[0].socket.received_datagrams == 2);
    let counters = engine.counters()[0];
    assert_eq!((counters.socket.received_truncated, counters.core.datagrams_in), (1, 1));
}

#[test]
fn rooms_spread_over_shards_and_every_shard_answers_with_its_own_port() {
    let (engine, events) = start(&config(3));
    let mut ports = BTreeSet::new();
    for id in 1..=3 {
        ports.extend(candidate_ports(&answer(&engine, &events, RoomId(id), PeerId(id))));
    }
    let bound: BTreeSet<_> = engine.addresses().map(|shard| shard.bound.port()).collect();
    assert_eq!(ports, bound);
    assert_eq!(ports.len(), 3);
}

#[test]
fn an_announced_address_is_all_that_peers_are_told() {
    let announce = vec![Announce { ip: "203.0.113.9".parse().unwrap(), port: Some(50_000) }];
    let (engine, events) = start(&EngineConfig { announce, ..config(2) });
    let ports: BTreeSet<_> = (1..=2)
        .flat_map(|id| {
            let sdp = answer(&engine, &events, RoomId(id), PeerId(id));
            assert!(!sdp.contains(" 127.0.0.1 "), "{sdp}");
            assert!(sdp.contains(" 203.0.113.9 "), "{sdp}");
            candidate_ports(&sdp)
        })
        .collect();
    assert_eq!(ports, BTreeSet::from([50_000, 50_001]));
}

#[test]
fn a_full_queue_is_busy_and_takes_again_once_the_shard_got_to_it() {
    let (entered_sender, entered) = channel();
    let (release_sender, release) = channel();
    let (gate, room) = (Mutex::new(Some(release)), RoomId(1));
    // The first event holds the shard's thread until the test lets it go.
    let sink = move |_: Event| {
        if let Some(release) = gate.lock().unwrap().take() {
            entered_sender.send(()).unwrap();
            let _: Result<(), _> = release.recv();
        }
    };
    let engine = Engine::start(&config(1), Arc::new(sink)).unwrap();
    engine.send(room, Command::CreateRoom { room }).unwrap();
    engine.send(room, Command::Stats { peer: PeerId(404) }).unwrap();
    entered.recv_timeout(PATIENCE).unwrap();

    for _ in 0..COMMAND_QUEUE_MAX {
        engine.send(room, Command::Stats { peer: PeerId(404) }).unwrap();
    }
    assert!(matches!(engine.send(room, Command::Stats { peer: PeerId(404) }), Err(EngineError::Busy)));
    // What was refused changed nothing: the room can still be created.
    let other = RoomId(2);
    assert!(matches!(engine.send(other, Command::CreateRoom { room: other }), Err(EngineError::Busy)));

    // Cutting somebody off still is.
    engine.send(room, Command::RemovePeer { peer: PeerId(404) }).unwrap();

    release_sender.send(()).unwrap();
    eventually("the queue is taken", || engine.send(other, Command::CreateRoom { room: other }).is_ok());
    engine.shutdown().unwrap();
}

#[test]
fn commands_for_rooms_that_are_not_there_are_refused_at_once() {
    let (engine, events) = start(&config(1));
    let (room, other) = (RoomId(1), RoomId(2));
    let unknown = |result| assert!(matches!(result, Err(EngineError::UnknownRoom)), "{result:?}");
    unknown(engine.send(room, Command::CloseRoom { room }));
    engine.send(room, Command::CreateRoom { room }).unwrap();
    assert!(matches!(engine.send(room, Command::CreateRoom { room }), Err(EngineError::RoomExists)));
    let mismatch = engine.send(room, Command::AddPeer { room: other, peer: PeerId(1) });
    assert!(
        matches!(mismatch, Err(EngineError::RoomMismatch { named, sent }) if (named, sent) == (other, room))
    );
    // What only the core can know comes back as an event.
    engine.send(room, Command::Stats { peer: PeerId(5) }).unwrap();
    let Event::Refused { peer, error } = events.recv_timeout(PATIENCE).unwrap() else {
        panic!("not refused")
    };
    assert_eq!((peer, error), (Some(PeerId(5)), CommandError::UnknownPeer));
    engine.send(room, Command::CloseRoom { room }).unwrap();
    unknown(engine.send(room, Command::CloseRoom { room }));
}

#[test]
fn shutdown_does_what_was_asked_before_and_gives_the_ports_back() {
    let (engine, events) = start(&config(2));
    let addresses: Vec<_> = engine.addresses().map(|shard| shard.bound).collect();
    engine.send(RoomId(1), Command::CreateRoom { room: RoomId(1) }).unwrap();
    for peer in 0..500 {
        engine.send(RoomId(1), Command::Stats { peer: PeerId(peer) }).unwrap();
    }
    engine.shutdown().unwrap();
    // The sender went with the shards, so this ends.
    assert_eq!(events.iter().count(), 500);
    for address in addresses {
        UdpSocket::bind(address).unwrap();
    }
}

#[test]
fn an_engine_that_is_dropped_stops_as_well() {
    let (engine, events) = start(&config(1));
    let bound = address(&engine, 0);
    drop(engine);
    assert_eq!(events.iter().count(), 0);
    UdpSocket::bind(bound).unwrap();
}

#[test]
fn a_pinned_shard_says_so() {
    let (engine, _events) = start(&EngineConfig { pin_cores: true, ..config(1) });
    engine.send(RoomId(1), Command::CreateRoom { room: RoomId(1) }).unwrap();
    eventually("it is pinned", || engine.counters()[0].turns.pinned == 1);
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left_running() {
    // Two neighbouring ports of which the second is taken.
    let (first, second) = std::iter::repeat_with(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .find_map(|first| {
            let port = first.local_addr().unwrap().port();
            let second = UdpSocket::bind((Ipv4Addr::LOCALHOST, port.checked_add(1)?)).ok()?;
            Some((first, second))
        })
        .unwrap();
    let taken = second.local_addr().unwrap();
    let port = first.local_addr().unwrap().port();
    drop(first);
    let result = Engine::start(&EngineConfig { port, ..config(2) }, Arc::new(|_| {}));
    let Err(error) = result else { panic!("started on a port in use") };
    assert!(matches!(error, EngineError::AddressInUse { transport: "UDP", address } if address == taken));
    assert_eq!(error.to_string(), format!("UDP {taken} is in use by another program"));
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_its_reason() {
    let refused =
        |config: &EngineConfig| Engine::start(config, Arc::new(|_| {})).err().map(|error| error.to_string());
    assert_eq!(refused(&config(0)).unwrap(), "0 shards do not fit on UDP ports from 0 on");
    let high = EngineConfig { port: 65_535, ..config(2) };
    assert_eq!(refused(&high).unwrap(), "2 shards do not fit on UDP ports from 65535 on");
    let announce = |ip: &str, port| vec![Announce { ip: ip.parse().unwrap(), port }];
    let wildcard = EngineConfig { announce: announce("0.0.0.0", None), ..config(1) };
    assert_eq!(refused(&wildcard).unwrap(), "cannot announce 0.0.0.0: not an address a peer can reach");
    let high = EngineConfig { announce: announce("203.0.113.9", Some(65_535)), ..config(2) };
    assert_eq!(refused(&high).unwrap(), "2 shards do not fit on UDP ports from 65535 on");
}

#[test]
fn a_shard_that_fails_is_told_and_does_not_take_the_others_along() {
    let bad = |event: Event| {
        assert!(!matches!(event, Event::Refused { peer: Some(PeerId(666)), .. }), "a bug, on purpose");
    };
    let engine = Engine::start(&config(2), Arc::new(bad)).unwrap();
    let rooms = [RoomId(1), RoomId(2)];
    for room in rooms {
        engine.send(room, Command::CreateRoom { room }).unwrap();
    }
    assert_eq!(engine.failed_shard(), None);
    engine.send(rooms[0], Command::Stats { peer: PeerId(666) }).unwrap();
    eventually("the shard has ended", || engine.failed_shard() == Some(0));
    let result = engine.send(rooms[0], Command::Stats { peer: PeerId(1) });
    assert!(matches!(result, Err(EngineError::ShardFailed { shard: 0 })));
    engine.send(rooms[1], Command::Stats { peer: PeerId(1) }).unwrap();
    assert!(matches!(engine.shutdown(), Err(EngineError::ShardFailed { shard: 0 })));
}
