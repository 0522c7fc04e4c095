//! Bad input: dropped and counted, or refused with a typed error; no panic, no growth, no effect on others.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::api::{
    Command, CommandError, DisconnectReason, DtlsEvent, Event, Input, PeerId, RoomId, SeatId,
};
use vestibule_media_core::bounds::{
    ADDRESSES_PER_PEER_MAX, PEERS_PER_ROOM_MAX, UNKNOWN_DATAGRAMS_PER_SECOND,
};
use vestibule_media_core::rtcp::{RtcpWriter, SenderInfo};
use vestibule_media_core::rtp::HeaderWriter;
use vestibule_media_core::sdp::{Fingerprint, Offer};
use vestibule_media_core::srtp::{SrtpRole, session};
use vestibule_media_core::stun::{IntegrityKey, write_binding_request};
use vestibule_sim::world::{ROOM, WALL_CLOCK};
use vestibule_sim::{ClientConfig, World};

fn conversation(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..2 {
        world.join(ClientConfig::default());
    }
    world.seat(0, 0, Some(1));
    world.seat(1, 0, Some(0));
    world.run(Duration::from_secs(2));
    world
}

/// The others notice nothing, and nothing has grown.
fn unharmed(world: &mut World) {
    let before = world.sfu.census();
    let frames: Vec<_> = (0..2).map(|who| world.shown(who, 0).1.frames_decoded).collect();
    world.run(Duration::from_secs(2));
    for (who, before) in frames.into_iter().enumerate() {
        let (_, video) = world.shown(who, 0);
        assert!(video.frames_decoded >= before + 58, "{before} then {video:?}");
        assert!(video.longest_gap < Duration::from_millis(200), "{video:?}");
    }
    let after = world.sfu.census();
    assert_eq!(
        (after.addresses, after.ufrags, after.sources),
        (before.addresses, before.ufrags, before.sources)
    );
}

/// A small generator of noise, the same for every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[test]
fn noise_of_every_protocol_from_a_peer_and_from_strangers_harms_nobody() {
    let mut world = conversation(1);
    let peer = world.members[0].client.address;
    let stranger: SocketAddr = "198.51.100.7:5000".parse().expect("an address");
    for round in 0..6_000_u64 {
        let mut datagram = noise(round, (round % 1_500) as usize);
        if let Some(first) = datagram.first_mut() {
            // STUN, DTLS, RTP, RTCP, and what is none of them.
            *first = [0, 22, 0x80, 0x90, 0x81, 70][(round % 6) as usize];
        }
        world.inject(if round % 7 < 4 { peer } else { stranger.into() }, datagram);
    }
    let counters = *world.sfu.counters();
    assert!(counters.dropped_rtp_auth + counters.dropped_rtp_malformed > 500, "{counters:?}");
    assert!(counters.dropped_rtcp_auth > 0 && counters.dropped_stun_malformed > 400, "{counters:?}");
    assert_eq!(counters.dtls_passed, 0, "{counters:?}");
    assert!(counters.dropped_unknown_rate > 1_500 && counters.dropped_unclassified > 400);
    assert!(counters.dropped_unknown_address > 200, "{counters:?}");
    assert!(world.stray.is_empty(), "a stranger was answered");
    unharmed(&mut world);
}

#[test]
fn a_flood_of_strangers_is_bounded_per_address_and_grows_nothing() {
    let mut world = conversation(2);
    let before = world.sfu.census();
    for i in 0..50_000_u32 {
        let [_, b, c, d] = i.to_be_bytes();
        let from = SocketAddr::from(([172, b, c, d], 999));
        world.inject(from, vec![0x80; 40]);
    }
    let flooder: SocketAddr = "198.51.100.9:1".parse().expect("an address");
    let unknown = world.sfu.counters().dropped_unknown_rate;
    for _ in 0..10_000 {
        world.inject(flooder, vec![0x80; 40]);
    }
    assert!(
        world.sfu.counters().dropped_unknown_rate - unknown
            >= 10_000 - u64::from(UNKNOWN_DATAGRAMS_PER_SECOND)
    );
    assert_eq!(world.sfu.census(), before);
    unharmed(&mut world);
}

#[test]
fn replayed_and_forged_media_is_dropped_by_name() {
    let mut world = conversation(3);
    let from = world.members[0].client.address;
    // The client's own keys seal a packet; then the wire plays with it.
    let (mut sealer, _) = session(&world.members[0].client.keys, SrtpRole::Client).expect("keys");
    let mut packet = vec![0; 200];
    let header_len = HeaderWriter::new(&mut packet, 96, true, 7, 1, 0x0bad_0bad, false).finish();
    let len = sealer.seal_rtp(&mut packet, header_len, 100, 7).expect("sealed");
    packet.truncate(len);
    let before = *world.sfu.counters();
    world.inject(from, packet.clone());
    assert_eq!(
        world.sfu.counters().dropped_unbound_ssrc,
        before.dropped_unbound_ssrc + 1,
        "no mid tells what it is"
    );
    world.inject(from, packet.clone());
    assert_eq!(world.sfu.counters().dropped_rtp_replay, before.dropped_rtp_replay + 1);
    for at in 0..packet.len() {
        let mut forged = packet.clone();
        forged[at] ^= 0x40;
        world.inject(from, forged);
        world.inject(from, packet[..at].to_vec());
    }
    let after = *world.sfu.counters();
    assert_eq!(after.rtp_in, before.rtp_in, "a forged packet was accepted");
    unharmed(&mut world);
}

#[test]
fn packets_of_ssrc_0_and_of_thousands_of_unbound_ssrcs_grow_no_table() {
    let mut world = conversation(4);
    let from = world.members[0].client.address;
    let (mut sealer, _) = session(&world.members[0].client.keys, SrtpRole::Client).expect("keys");
    for ssrc in 0..5_000_u32 {
        let mut packet = vec![0; 120];
        let header_len = HeaderWriter::new(&mut packet, 96, true, 1, 1, ssrc, false).finish();
        let len = sealer.seal_rtp(&mut packet, header_len, 60, 1).expect("sealed");
        packet.truncate(len);
        world.inject(from, packet);
    }
    assert!(world.sfu.counters().dropped_unbound_ssrc > 4_900);
    unharmed(&mut world);
}

#[test]
fn checks_with_a_wrong_password_or_username_are_not_answered() {
    let mut world = conversation(5);
    let answer = world.members[0].client.answers[0].clone();
    let from: SocketAddr = "203.0.113.5:77".parse().expect("an address");
    let mut out = [0; 256];
    let mut send = |world: &mut World, own: &str, theirs: &str, pwd: &str| {
        let len = write_binding_request(&mut out, &[1; 12], own, theirs, true, 1, &IntegrityKey::new(pwd));
        world.inject(from, out[..len].to_vec());
    };
    send(&mut world, "cl000001", &answer.ufrag, "notThePasswordOfTheServer");
    send(&mut world, "somebody", &answer.ufrag, &answer.pwd);
    send(&mut world, "cl000001", "noSuchOne", &answer.pwd);
    send(&mut world, "cl000001", &answer.ufrag[..4], &answer.pwd);
    assert!(world.stray.is_empty());
    assert_eq!(world.sfu.counters().dropped_stun_integrity, 1);
    assert_eq!(world.sfu.counters().dropped_stun_username, 3);
    unharmed(&mut world);
}

#[test]
fn a_peer_that_checks_from_everywhere_keeps_a_bounded_number_of_addresses() {
    let mut world = conversation(6);
    let answer = world.members[0].client.answers[0].clone();
    let mut out = [0; 256];
    for port in 1..2_000_u16 {
        let key = IntegrityKey::new(&answer.pwd);
        // Not nominating: the path in use stays what it is.
        let len = write_binding_request(&mut out, &[2; 12], "cl000001", &answer.ufrag, false, 1, &key);
        world.inject(SocketAddr::from(([203, 0, 113, (port >> 8) as u8], port)), out[..len].to_vec());
    }
    assert!(world.sfu.census().addresses <= ADDRESSES_PER_PEER_MAX + 1);
    unharmed(&mut world);
}

#[test]
fn media_before_keys_is_dropped() {
    let mut world = World::new(7);
    world.join(ClientConfig::default());
    let answer = world.members[0].client.answers[0].clone();
    let from = world.members[0].client.address;
    let mut out = [0; 256];
    let key = IntegrityKey::new(&answer.pwd);
    let len = write_binding_request(&mut out, &[2; 12], "cl000001", &answer.ufrag, true, 1, &key);
    world.inject(from, out[..len].to_vec());
    world.inject(from, vec![0x80; 60]);
    world.inject(from, vec![0x80, 200, 0, 6, 0, 0, 0, 0]);
    assert_eq!(world.sfu.counters().dropped_before_keys, 2);
}

#[test]
fn a_certificate_that_is_not_the_offered_one_ends_the_transport() {
    let mut world = World::new(8);
    world.join(ClientConfig::default());
    let client = &world.members[0].client;
    let (peer, keys) = (client.peer, client.keys.clone());
    let event = DtlsEvent::Established { keys, fingerprint: Fingerprint::from_sha256([9; 32]) };
    world.sfu.handle_input(Input::Dtls { peer, event }, world.now);
    world.run(Duration::from_secs(1));
    assert!(world.events.iter().any(|(_, event)| matches!(
        event,
        Event::Disconnected { reason: DisconnectReason::FingerprintMismatch, .. }
    )));
    assert_eq!(world.sfu.census().ufrags, 0);
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Connected { .. })));
}

#[test]
fn a_peer_that_never_finishes_its_handshake_is_given_up() {
    let mut world = World::new(9);
    world.join(ClientConfig::default());
    world.members[0].client.frozen = true;
    let offered = world.members[0].client.peer;
    world.run(Duration::from_secs(29));
    assert!(
        !world.events.iter().any(|(_, event)| matches!(event, Event::Disconnected { .. }))
            || world.members[0].client.connected
    );
    world.members[0].client.connected = false;
    world.command(Command::AddPeer { room: ROOM, peer: PeerId(77) });
    let offer = Offer::parse(&world.members[0].client.offer_sdp()).expect("a good offer");
    world.command(Command::Offer { peer: PeerId(77), negotiation: 1, offer: Box::new(offer) });
    world.run(Duration::from_secs(31));
    assert!(world.events.iter().any(|(_, event)| matches!(
        event,
        Event::Disconnected { peer: PeerId(77), reason: DisconnectReason::ConnectTimeout }
    )));
    assert_ne!(offered, PeerId(77));
}

#[test]
fn commands_that_make_no_sense_are_refused_and_change_nothing() {
    let mut world = conversation(10);
    let (a, b) = (world.members[0].client.peer, world.members[1].client.peer);
    let census = world.sfu.census();
    let stranger = PeerId(999);
    let elsewhere = RoomId(5);
    world.command(Command::CreateRoom { room: elsewhere });
    world.command(Command::AddPeer { room: elsewhere, peer: stranger });
    let refused = |world: &mut World, command: Command| {
        let before = world.events.len();
        world.command(command);
        match world.events.get(before) {
            Some((_, Event::Refused { error, .. })) => *error,
            other => panic!("not refused: {other:?}"),
        }
    };
    let seat = SeatId(0);
    assert_eq!(refused(&mut world, Command::CreateRoom { room: ROOM }), CommandError::RoomExists);
    assert_eq!(refused(&mut world, Command::CloseRoom { room: RoomId(6) }), CommandError::UnknownRoom);
    assert_eq!(refused(&mut world, Command::AddPeer { room: ROOM, peer: a }), CommandError::PeerExists);
    assert_eq!(
        refused(&mut world, Command::AddPeer { room: RoomId(6), peer: PeerId(5) }),
        CommandError::UnknownRoom
    );
    assert_eq!(refused(&mut world, Command::RemovePeer { peer: PeerId(5) }), CommandError::UnknownPeer);
    for occupant in [a, stranger, PeerId(5)] {
        let command = Command::SetSeat { peer: a, seat, occupant: Some(occupant) };
        assert_eq!(refused(&mut world, command), CommandError::OccupantNotInRoom);
    }
    let command = Command::SetSeat { peer: a, seat: SeatId(9), occupant: Some(b) };
    assert_eq!(refused(&mut world, command), CommandError::UnknownSeat);
    let remote =
        vestibule_media_core::sdp::IceParameters::new("abcd", "abcdefghijklmnopqrstuv").expect("credentials");
    assert_eq!(refused(&mut world, Command::RestartIce { peer: stranger, remote }), CommandError::NoOffer);
    world.command(Command::CloseRoom { room: elsewhere });
    assert_eq!(world.sfu.census().peers, census.peers);
    unharmed(&mut world);
}

#[test]
fn an_offer_that_does_not_follow_the_last_is_rejected_and_the_call_goes_on() {
    let mut world = conversation(11);
    let peer = world.members[0].client.peer;
    let other = world.members[1].client.offer_sdp();
    let fewer = World::new(12).join(ClientConfig { seats: 0, camera: 0, ..ClientConfig::default() });
    assert_eq!(fewer, 0);
    let changed = other.replace("m=audio", "m=video").replacen("opus/48000/2", "VP8/90000", 9);
    for sdp in [other.replace("a=mid:1", "a=mid:7").replace("BUNDLE 0 1", "BUNDLE 0 7"), changed] {
        let Ok(offer) = Offer::parse(&sdp) else { continue };
        world.command(Command::Offer { peer, negotiation: 2, offer: Box::new(offer) });
        assert!(matches!(world.events.last(), Some((_, Event::OfferRejected { negotiation: 2, .. }))));
    }
    assert!(world.events.iter().any(|(_, event)| matches!(event, Event::OfferRejected { .. })));
    unharmed(&mut world);
}

#[test]
fn a_room_takes_no_more_than_its_bound() {
    let mut world = World::new(13);
    for id in 0..PEERS_PER_ROOM_MAX as u64 {
        world.command(Command::AddPeer { room: ROOM, peer: PeerId(1_000 + id) });
    }
    assert!(world.events.is_empty());
    world.command(Command::AddPeer { room: ROOM, peer: PeerId(1) });
    assert!(matches!(world.events.last(), Some((_, Event::Refused { error: CommandError::Full(_), .. }))));
    assert_eq!(world.sfu.census().peers, PEERS_PER_ROOM_MAX);
}

#[test]
fn events_of_dtls_for_a_peer_that_is_gone_are_counted_and_forgotten() {
    let mut world = conversation(14);
    let event = DtlsEvent::Transmit(vec![22; 100]);
    world.sfu.handle_input(Input::Dtls { peer: PeerId(4_711), event }, world.now);
    assert_eq!(world.sfu.counters().stale_peer, 1);
    unharmed(&mut world);
}

/// RTCP of a client's own making, under its own keys.
fn inject_rtcp(world: &mut World, who: usize, write: impl FnOnce(&mut RtcpWriter<'_>)) {
    let (mut sealer, _) = session(&world.members[who].client.keys, SrtpRole::Client).expect("keys");
    let mut packet = [0; 1_400];
    let mut writer = RtcpWriter::new(&mut packet);
    write(&mut writer);
    let len = writer.len();
    let len = sealer.seal_rtcp(&mut packet, len).expect("sealed");
    let from = world.members[who].client.address;
    let before = world.sfu.counters().rtcp_in;
    world.inject(from, packet[..len].to_vec());
    assert_eq!(world.sfu.counters().rtcp_in, before + 1, "the SFU did not read it");
}

#[test]
fn a_keyframe_request_for_audio_keeps_no_timer_running() {
    let mut world = conversation(40);
    let audio =
        world.members[0].client.lines().iter().find(|line| !line.video).expect("an audio m-line").ssrc;
    inject_rtcp(&mut world, 0, |writer| writer.pli(0x4242, audio).expect("room"));
    let requests = world.sfu.counters().keyframe_requests_out;
    let turns = world.timer_turns(Duration::from_secs(1));
    assert!(turns < 100, "{turns} turns in a second");
    assert_eq!(world.sfu.counters().keyframe_requests_out, requests);
}

#[test]
fn a_sender_report_from_years_ahead_costs_nobody_anything() {
    let mut world = conversation(41);
    world.layer(0, 0, "q");
    world.run(Duration::from_secs(1));
    let (best, ..) =
        world.members[1].client.sent_ssrcs().find(|(.., encoding)| *encoding == 2).expect("a layer");
    let ntp = WALL_CLOCK.offset_micros(8 * 365 * 86_400 * 1_000_000);
    let report = SenderInfo { ntp, rtp: 1, packets: 1, bytes: 1 };
    // Under an SSRC whose RTCP has not begun, else it would be a replay.
    inject_rtcp(&mut world, 1, |writer| {
        writer.receiver_report(0x4343, &[]).expect("room");
        writer.sender_report(best, &report, &[]).expect("room");
    });
    world.layer(0, 0, "f");
    world.run(Duration::from_secs(1));
    assert_eq!(world.shown(0, 0).1.shows, Some((2, 2)));
    unharmed(&mut world);
}

#[test]
fn an_address_in_use_is_not_given_to_another_peers_checks() {
    let mut world = conversation(42);
    let answer = world.members[0].client.answers[0].clone();
    let victim = world.members[1].client.address;
    for _ in 0..20 {
        let mut check = [0; 256];
        let key = IntegrityKey::new(&answer.pwd);
        let len = write_binding_request(&mut check, &[9; 12], "cl000001", &answer.ufrag, true, 1, &key);
        world.inject(victim, check[..len].to_vec());
        world.run(Duration::from_millis(50));
    }
    assert_eq!(world.sfu.counters().dropped_address_held, 20);
    unharmed(&mut world);
}
