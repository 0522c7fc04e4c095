//! Silence: who is connected and sends nothing authenticated is quiet, and is heard when something comes again.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::TransportAddress;
use vestibule_media_core::api::{Command, Event, MediaGate, PeerId};
use vestibule_media_core::bounds::{CONSENT_EXPIRY, QUIET_AFTER};
use vestibule_media_core::rtcp::RtcpWriter;
use vestibule_media_core::rtp::HeaderWriter;
use vestibule_media_core::srtp::{SrtpRole, SrtpSealer, session};
use vestibule_media_core::stun::{IntegrityKey, write_binding_request};
use vestibule_sim::{ClientConfig, World};
use vestibule_testnet::LinkConfig;

/// The least step of time there is.
const TICK: Duration = Duration::from_micros(1);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Sends no media: nothing but its checks and reports.
fn listener() -> ClientConfig {
    ClientConfig { microphone: false, camera: 0, ..ClientConfig::default() }
}

/// One peer, connected; what it sends itself does not arrive any more, and nothing of it is on its way.
fn cut_off(seed: u64, config: ClientConfig) -> World {
    let mut world = World::new(seed);
    world.join(config);
    world.run(secs(3));
    cut(&mut world, true);
    world.run(secs(1));
    world
}

fn cut(world: &mut World, blocked: bool) {
    let line = LinkConfig::default().delay_ms(10).blocked(blocked);
    world.members[0].up.set_config(world.now.as_micros(), line);
}

/// What a test about silence looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Connected,
    Quiet,
    Heard,
    PathChanged,
    Disconnected,
}

/// What was told of a peer, in order, and the µs at which it was.
fn told_when(world: &World, of: PeerId) -> Vec<(u64, Told)> {
    let told = world.events.iter().filter_map(|(at, event)| {
        let (peer, told) = match event {
            Event::Connected { peer, .. } => (peer, Told::Connected),
            Event::Quiet { peer } => (peer, Told::Quiet),
            Event::Heard { peer } => (peer, Told::Heard),
            Event::PathChanged { peer } => (peer, Told::PathChanged),
            Event::Disconnected { peer, .. } => (peer, Told::Disconnected),
            _ => return None,
        };
        (*peer == of).then_some((at.as_micros(), told))
    });
    told.collect()
}

fn told(world: &World) -> Vec<Told> {
    told_when(world, world.members[0].client.peer).into_iter().map(|(_, told)| told).collect()
}

/// What the first member could send, made by hand, so that a test says when.
struct Forge {
    from: TransportAddress,
    sealer: SrtpSealer,
    ufrag: String,
    pwd: String,
    sent: u16,
}

impl Forge {
    fn new(world: &World) -> Self {
        let client = &world.members[0].client;
        let answer = client.answers.last().expect("an answer");
        Self {
            from: client.address,
            sealer: session(&client.keys, SrtpRole::Client).expect("keys").0,
            ufrag: answer.ufrag.clone(),
            pwd: answer.pwd.clone(),
            sent: 0,
        }
    }

    fn check(&self, pwd: &str) -> Vec<u8> {
        let mut out = [0; 256];
        let key = IntegrityKey::new(pwd);
        let len = write_binding_request(&mut out, &[3; 12], "cl000001", &self.ufrag, true, 1, &key);
        out[..len].to_vec()
    }

    fn good_check(&self) -> Vec<u8> {
        self.check(&self.pwd)
    }

    /// Of an SSRC that belongs to nothing: it is authentic all the same.
    fn rtp(&mut self) -> Vec<u8> {
        self.sent += 1;
        let mut packet = vec![0; 120];
        let header_len = HeaderWriter::new(&mut packet, 96, true, self.sent, 1, 0x0bad_0bad, false).finish();
        let len = self.sealer.seal_rtp(&mut packet, header_len, 60, self.sent.into()).expect("sealed");
        packet.truncate(len);
        packet
    }

    fn rtcp(&mut self) -> Vec<u8> {
        let mut packet = [0; 128];
        let mut writer = RtcpWriter::new(&mut packet);
        writer.receiver_report(0x0bad_0bad, &[]).expect("room for it");
        let len = writer.len();
        let len = self.sealer.seal_rtcp(&mut packet, len).expect("sealed");
        packet[..len].to_vec()
    }
}

fn with_a_flipped_bit(mut packet: Vec<u8>) -> Vec<u8> {
    let last = packet.len() - 1;
    packet[last] ^= 1;
    packet
}

#[test]
fn a_peer_is_quiet_at_exactly_the_bound_and_heard_with_the_next_packet() {
    let mut world = cut_off(1, ClientConfig::default());
    let mut forge = Forge::new(&world);
    let packet = forge.rtp();
    world.inject(forge.from, packet);
    world.run(QUIET_AFTER - TICK);
    assert_eq!(told(&world), [Told::Connected]);
    world.run(TICK);
    assert_eq!(told(&world), [Told::Connected, Told::Quiet]);
    world.run(secs(5));
    let packet = forge.rtp();
    world.inject(forge.from, packet);
    assert_eq!(told(&world), [Told::Connected, Told::Quiet, Told::Heard]);
    // And the bound holds again from there.
    world.run(QUIET_AFTER - TICK);
    assert_eq!(told(&world).len(), 3);
    world.run(TICK);
    assert_eq!(told(&world).last(), Some(&Told::Quiet));
}

#[test]
fn who_connects_and_sends_nothing_more_is_quiet_after_the_bound() {
    let mut world = World::new(2);
    world.join(listener());
    assert!(world.run_until(secs(5), |world| !told(world).is_empty()));
    let connected_at = world.now;
    world.members[0].client.frozen = true;
    world.run(secs(20));
    let peer = world.members[0].client.peer;
    let quiet_at = (connected_at + QUIET_AFTER).as_micros();
    let told = told_when(&world, peer);
    assert_eq!(told[0], (connected_at.as_micros(), Told::Connected));
    // What was on its way when it fell silent still came.
    assert!(matches!(told[1], (at, Told::Quiet) if (quiet_at..quiet_at + 50_000).contains(&at)), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn audio_alone_keeps_a_peer_heard_and_so_do_reports_and_checks() {
    type Send = fn(&mut Forge) -> Vec<u8>;
    let all: [(&str, Send); 3] =
        [("audio", Forge::rtp), ("reports", Forge::rtcp), ("checks", |forge| forge.good_check())];
    for (name, send) in all {
        for gate in [MediaGate::Open, MediaGate::Closed] {
            let mut world = cut_off(3, listener());
            let mut forge = Forge::new(&world);
            let peer = world.members[0].client.peer;
            world.command(Command::SetMediaGate { peer, gate });
            for _ in 0..3 {
                let packet = send(&mut forge);
                world.inject(forge.from, packet);
                world.run(QUIET_AFTER - TICK);
            }
            assert_eq!(told(&world), [Told::Connected], "{name}, gate {gate:?}");
            world.run(TICK);
            assert_eq!(told(&world), [Told::Connected, Told::Quiet], "{name}, gate {gate:?}");
        }
    }
}

#[test]
fn who_sends_no_media_and_goes_on_checking_is_never_quiet() {
    let mut world = World::new(4);
    world.join(listener());
    world.run(secs(300));
    assert_eq!(told(&world), [Told::Connected]);
}

#[test]
fn who_is_connected_and_idle_wakes_nobody() {
    let mut world = World::new(9);
    for _ in 0..20 {
        world.join(listener());
    }
    world.run(secs(5));
    // Reports have nothing to tell, so what is left is one look at each for silence.
    let turns = world.timer_turns(secs(7));
    assert!(turns <= 20, "{turns} turns by timer");
}

#[test]
fn forged_replayed_and_foreign_packets_are_no_sign_of_life() {
    let mut world = cut_off(5, ClientConfig::default());
    let mut forge = Forge::new(&world);
    let (seen, seen_report) = (forge.rtp(), forge.rtcp());
    let elsewhere: SocketAddr = "203.0.113.5:77".parse().expect("an address");
    world.inject(forge.from, seen_report.clone());
    world.inject(forge.from, seen.clone());
    let until = world.now + QUIET_AFTER + secs(10);
    while world.now < until {
        let (rtp, rtcp) = (forge.rtp(), forge.rtcp());
        // Whole and authentic, from where nobody was validated; then not authentic; then authentic and not new.
        world.inject(elsewhere, rtp.clone());
        world.inject(forge.from, with_a_flipped_bit(rtp));
        world.inject(forge.from, with_a_flipped_bit(rtcp));
        world.inject(forge.from, forge.check("notThePasswordOfTheServer"));
        world.inject(forge.from, seen.clone());
        world.inject(forge.from, seen_report.clone());
        world.inject(forge.from, vec![22; 60]);
        world.inject(forge.from, vec![0x80; 9]);
        world.run(secs(1));
    }
    assert_eq!(told(&world), [Told::Connected, Told::Quiet]);
    let counters = world.sfu.counters();
    assert!(counters.dropped_rtp_replay > 10 && counters.dropped_rtp_auth > 10, "{counters:?}");
    assert!(counters.dropped_rtcp_auth > 20 && counters.dropped_stun_integrity > 10, "{counters:?}");
}

#[test]
fn an_ice_restart_within_silence_is_heard_before_its_path_is_in_use() {
    let mut world = cut_off(6, ClientConfig::default());
    world.run(QUIET_AFTER);
    assert_eq!(told(&world), [Told::Connected, Told::Quiet]);
    // The network is another one; asking for the restart, by way of signaling, is no sign on this path.
    world.restart_ice(0);
    world.roam(0, "10.9.9.9:1234".parse().expect("an address"));
    world.run(secs(2));
    assert_eq!(told(&world), [Told::Connected, Told::Quiet]);
    cut(&mut world, false);
    world.run(secs(30));
    assert_eq!(told(&world), [Told::Connected, Told::Quiet, Told::Heard, Told::PathChanged]);
}

#[test]
fn consent_expires_within_silence_and_nothing_is_told_after_the_end() {
    let mut world = cut_off(7, ClientConfig::default());
    world.run(CONSENT_EXPIRY);
    assert_eq!(told(&world), [Told::Connected, Told::Quiet, Told::Disconnected]);
    let mut forge = Forge::new(&world);
    for packet in [forge.good_check(), forge.rtp(), forge.rtcp()] {
        world.inject(forge.from, packet);
    }
    cut(&mut world, false);
    world.run(secs(60));
    assert_eq!(told(&world), [Told::Connected, Told::Quiet, Told::Disconnected]);
}

#[test]
fn a_peer_removed_while_it_is_quiet_leaves_nothing_behind() {
    let mut world = cut_off(8, ClientConfig::default());
    world.run(QUIET_AFTER);
    let peer = world.members[0].client.peer;
    world.command(Command::RemovePeer { peer });
    assert_eq!((world.sfu.census().peers, world.sfu.census().timer_entries), (0, 0));
    world.run(secs(60));
    assert_eq!(told(&world), [Told::Connected, Told::Quiet]);
}

#[test]
fn on_lines_that_come_and_go_the_events_are_in_order() {
    let mut heard_again = 0;
    for seed in 0..40 {
        let mut world = World::new(seed);
        let line = LinkConfig::default().delay_ms(10).blocked(seed % 2 == 0);
        world.join_over(ClientConfig::default(), line, LinkConfig::default().delay_ms(10));
        // Long enough for silence, and too short for the handshake to be given up.
        world.run(secs(12));
        let mut state = seed;
        for _ in 0..20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            cut(&mut world, state >> 63 == 0);
            world.run(Duration::from_millis((state >> 33) % 14_000));
        }
        cut(&mut world, true);
        world.run(CONSENT_EXPIRY + secs(1));
        heard_again += check_order(seed, &world);
    }
    assert!(heard_again > 40, "{heard_again} silences ended: the test shows little");
}

/// Quiet and heard by turns, between `Connected` and `Disconnected`. How often a silence ended.
fn check_order(seed: u64, world: &World) -> usize {
    let told = told_when(world, world.members[0].client.peer);
    let (mut is_connected, mut is_quiet) = (false, false);
    for (_, event) in &told {
        match event {
            Told::Connected => is_connected = true,
            Told::Disconnected => is_connected = false,
            Told::Quiet => {
                assert!(is_connected && !is_quiet, "seed {seed}: {told:?}");
                is_quiet = true;
            }
            Told::Heard => {
                assert!(is_connected && is_quiet, "seed {seed}: {told:?}");
                is_quiet = false;
            }
            Told::PathChanged => {}
        }
    }
    assert!(matches!(told.last(), Some((_, Told::Disconnected))), "seed {seed}: {told:?}");
    told.iter().filter(|(_, event)| *event == Told::Heard).count()
}

#[test]
fn a_round_trip_says_nothing_of_the_line_before_a_silence() {
    let mut world = World::new(5);
    let speaker = world.join(ClientConfig { camera: 0, ..ClientConfig::default() });
    let slow = LinkConfig::default().delay_ms(900);
    let quick = LinkConfig::default().delay_ms(10);
    let listener = world.join_over(ClientConfig { camera: 0, ..ClientConfig::default() }, quick, slow);
    world.seat(listener, 0, Some(speaker));
    world.run(Duration::from_secs(20));
    let before = world.stats(listener).rtt.expect("reports were answered");
    assert!(before > Duration::from_millis(800), "{before:?}");

    world.members[speaker].client.muted = true;
    world.run(Duration::from_secs(30));
    let now = world.now.as_micros();
    world.members[listener].down.set_config(now, quick);
    world.run(Duration::from_secs(10));
    // What the listener reports is still of a sender report that took 900 ms.
    let silent = world.stats(listener).rtt.expect("the last one");
    assert!(silent <= before, "{silent:?} after {before:?}");
    world.members[speaker].client.muted = false;
    world.run(Duration::from_secs(3));
    let after = world.stats(listener).rtt.expect("reports are answered again");
    assert!(after < Duration::from_millis(100), "{after:?}");
}

#[test]
fn where_nothing_of_what_is_sent_is_answered_all_of_it_counts_as_lost() {
    let mut world = World::new(31);
    let speaker = world.join(ClientConfig::default());
    let transport_feedback = Duration::from_millis(100);
    let listener = world.join(ClientConfig { camera: 0, transport_feedback, ..ClientConfig::default() });
    world.seat(listener, 0, Some(speaker));
    world.run(secs(8));
    let lost = |world: &World| {
        let mut looks = world.events.iter().filter_map(|(_, event)| match event {
            Event::Line { peer, look } if *peer == world.members[listener].client.peer => look.downlink_loss,
            _ => None,
        });
        looks.next_back()
    };
    assert!(lost(&world).is_some_and(|share| share < 0.05), "{:?}", lost(&world));
    // What they send still comes; nothing comes to them.
    let now = world.now.as_micros();
    world.members[listener].down.set_config(now, LinkConfig::default().delay_ms(10).blocked(true));
    world.run(secs(4));
    assert_eq!(lost(&world), Some(1.0));
    assert!(!told(&world).contains(&Told::Quiet));
}
