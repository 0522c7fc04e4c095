//! A call through the whole engine on loopback: checks, DTLS handshakes, SRTP in and out, and what is left afterwards.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail by panicking, as the test does")]

mod client;
mod slow_reader;
mod way;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use client::{Client, wait_for};
use vestibule_media_core::rtp::HeaderWriter;
use vestibule_media_core::{Command, Event, PeerId, RoomId, SeatId, SourceKind};
use vestibule_media_engine::{Engine, EngineConfig};
use vestibule_sim::offer::{ClientLine, OPUS};

const ROOM: RoomId = RoomId(1);
const MICROPHONE_SSRC: u32 = 1_001;

fn microphone_packet(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 64];
    let timestamp = u32::from(sequence) * 960;
    let len =
        HeaderWriter::new(&mut packet, OPUS, false, sequence, timestamp, MICROPHONE_SSRC, false).finish();
    packet.truncate(len);
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn what_one_peer_says_is_heard_by_another_over_real_sockets_and_handshakes() {
    call(false, false);
}

#[test]
fn a_call_goes_by_connections_as_it_does_by_datagrams_and_from_one_to_the_other() {
    for (speaker_by_tcp, listener_by_tcp) in [(true, true), (true, false), (false, true)] {
        call(speaker_by_tcp, listener_by_tcp);
    }
}

/// An engine with a room.
fn start() -> (Engine, Receiver<Event>) {
    let (sender, events) = channel();
    let sink = move |event: Event| {
        let _ = sender.send(event);
    };
    let config =
        EngineConfig { bind: Ipv4Addr::LOCALHOST.into(), dtls_workers: 2, ..EngineConfig::default() };
    let engine = Engine::start(&config, Arc::new(sink)).unwrap();
    engine.send(ROOM, Command::CreateRoom { room: ROOM }).unwrap();
    (engine, events)
}

fn call(speaker_by_tcp: bool, listener_by_tcp: bool) {
    let (engine, events) = start();
    let offer = Client::offer().with(ClientLine::Microphone { ssrc: MICROPHONE_SSRC });
    let mut speaker = Client::join(&engine, &events, ROOM, PeerId(1), offer, speaker_by_tcp);
    let offer = Client::offer().with_seats(1);
    let mut listener = Client::join(&engine, &events, ROOM, PeerId(2), offer, listener_by_tcp);
    let seat = Command::SetSeat { peer: listener.peer, seat: SeatId(0), occupant: Some(speaker.peer) };
    engine.send(ROOM, seat).unwrap();

    // The seat may be filled only after the first of these; the listener then hears the later ones.
    let mut heard = None;
    let mut sequence = 100;
    while heard.is_none() {
        assert!(sequence < 600, "nothing is heard");
        speaker.send_rtp(&microphone_packet(sequence, format!("word {sequence}").as_bytes()));
        heard = listener.receive_rtp();
        sequence += 1;
    }
    let (header, payload) = heard.unwrap();
    assert!(payload.starts_with(b"word "), "{payload:?}");
    assert_eq!(Some(header.ssrc), listener.answer.media("0").ssrc);
    wait_for(&events, |event| {
        matches!(event, Event::SourceStarted { peer: PeerId(1), kind: SourceKind::Microphone }).then_some(())
    });

    engine.send(ROOM, Command::RemovePeer { peer: speaker.peer }).unwrap();
    engine.send(ROOM, Command::CloseRoom { room: ROOM }).unwrap();
    assert_eq!(engine.dtls_counters().established, 2);
    engine.shutdown().unwrap();
}
