//! Ways that are connections: one that takes no more, and one that is gone.

use std::time::Duration;

use vestibule_media_core::api::{Event, PathChange};
use vestibule_media_core::bounds::CONSENT_EXPIRY;
use vestibule_media_core::stun::{IntegrityKey, write_binding_request};
use vestibule_media_core::{DisconnectReason, TransportAddress};
use vestibule_sim::{ClientConfig, World};
use vestibule_testnet::LinkConfig;

const PUBLISHER: usize = 0;
const VIEWER: usize = 1;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn line() -> LinkConfig {
    LinkConfig::default().delay_ms(10)
}

fn tcp(port: u16) -> TransportAddress {
    TransportAddress::Tcp(([10, 9, 9, 9], port).into())
}

/// Somebody who speaks and shows, and somebody who is shown it by a connection, in full for a while.
fn watched(seed: u64, tells_what_arrives: bool) -> World {
    let mut world = World::new(seed);
    world.join(ClientConfig::default());
    let viewer = ClientConfig {
        microphone: false,
        camera: 0,
        seats: 1,
        transport_feedback: millis(60),
        transport_cc: tells_what_arrives,
        remb: tells_what_arrives,
        ..ClientConfig::default()
    };
    world.join_over(viewer, line(), line());
    world.seat(VIEWER, 0, Some(PUBLISHER));
    world.change_way(VIEWER, tcp(5_000));
    world.run(millis(15_000));
    assert!(is_shown(&world), "nothing is shown by the connection");
    world
}

fn is_shown(world: &World) -> bool {
    let (_, video) = world.shown(VIEWER, 0);
    video.last_decoded_at.is_some_and(|at| world.now.since(at) < millis(200))
}

/// Packets of a voice and frames of a picture that the viewer has had.
fn seen(world: &World) -> (u64, u64) {
    let (audio, video) = world.shown(VIEWER, 0);
    (audio.packets, video.frames_decoded)
}

/// What a while of a full connection brings: voices, and of video nothing but what was on its way.
fn runs_full(world: &mut World, duration: Duration) {
    world.path(tcp(5_000), PathChange::Full);
    world.run(millis(50));
    let before = seen(world);
    world.run(duration);
    let after = seen(world);
    let voices = duration.as_millis() as u64 / 20;
    assert!(after.0 - before.0 >= voices - 2, "{before:?} {after:?}");
    assert_eq!(after.1, before.1, "a picture came");
}

#[test]
fn a_connection_that_takes_no_more_carries_voices_and_then_the_picture_goes_on() {
    let mut world = watched(81, true);
    let (_, before) = world.shown(VIEWER, 0);
    runs_full(&mut world, millis(300));
    world.path(tcp(5_000), PathChange::Free);
    world.run(millis(2_000));
    // The checker has seen to it that no frame was cut.
    let (_, after) = world.shown(VIEWER, 0);
    assert!(is_shown(&world));
    assert_eq!((after.frames_skipped, after.keyframes), (before.frames_skipped, before.keyframes));
    assert_eq!(world.sfu.counters().paths_full, 1);
}

#[test]
fn what_has_waited_too_long_is_left_out_and_the_picture_begins_anew() {
    for tells_what_arrives in [true, false] {
        let mut world = watched(82, tells_what_arrives);
        let (_, before) = world.shown(VIEWER, 0);
        runs_full(&mut world, millis(5_000));
        world.path(tcp(5_000), PathChange::Free);
        world.run(millis(3_000));
        let (_, after) = world.shown(VIEWER, 0);
        assert!(is_shown(&world), "feedback: {tells_what_arrives}");
        assert!(after.keyframes > before.keyframes);
    }
}

#[test]
fn a_connection_that_closes_leaves_the_path_that_was_checked_before() {
    let mut world = watched(83, true);
    let client = &world.members[VIEWER].client;
    let answer = client.answers.last().expect("an answer");
    let by_udp = TransportAddress::Udp(([10, 9, 9, 9], 6_000).into());
    // Not nominated: it is there, and not in use.
    let mut check = [0; 256];
    let key = IntegrityKey::new(&answer.pwd);
    let remote = format!("cl{:06}", client.peer.0);
    let len = write_binding_request(&mut check, &[5; 12], &remote, &answer.ufrag, false, 1, &key);
    world.inject(by_udp, check[..len].to_vec());
    assert_eq!(world.sfu.counters().dropped_stun_username, 0, "the check is good");

    // No further check comes, which would nominate it.
    world.members[VIEWER].up.set_config(world.now.as_micros(), line().loss(1.0));
    world.change_way(VIEWER, by_udp);
    // What was on its way.
    world.run(millis(50));
    let stands = seen(&world);
    world.run(millis(200));
    assert_eq!(seen(&world), stands, "what is sent goes by the connection");
    world.path(tcp(5_000), PathChange::Closed);
    assert!(!world.sfu.is_path(tcp(5_000)));
    world.run(millis(300));
    assert!(seen(&world).0 > stands.0 + 10, "no voice comes by the other path");
    world.members[VIEWER].up.set_config(world.now.as_micros(), line());
    let back = world.run_until(millis(5_000), |world| seen(world).1 > stands.1 + 30);
    assert!(back, "no picture comes by the other path");
}

#[test]
fn without_another_path_nothing_is_sent_until_there_is_one_again() {
    let mut world = watched(84, true);
    let sent = world.sfu.counters().rtp_out;
    world.path(tcp(5_000), PathChange::Closed);
    world.change_way(VIEWER, tcp(5_001));
    world.members[VIEWER].up.set_config(world.now.as_micros(), line().loss(1.0));
    world.run(millis(5_000));
    assert_eq!(world.sfu.counters().rtp_out, sent, "made for nobody");
    world.members[VIEWER].up.set_config(world.now.as_micros(), line());
    let before = seen(&world);
    let back = world.run_until(millis(8_000), |world| {
        let now = seen(world);
        now.0 > before.0 + 50 && now.1 > before.1 + 20
    });
    assert!(back, "nothing came by the new connection");
}

#[test]
fn who_does_not_come_back_is_gone_when_consent_has_expired() {
    let mut world = watched(85, true);
    world.path(tcp(5_000), PathChange::Closed);
    world.members[VIEWER].up.set_config(world.now.as_micros(), line().loss(1.0));
    let gone = world.run_until(CONSENT_EXPIRY + millis(1_000), |world| {
        world.events.iter().any(|(_, event)| {
            matches!(event, Event::Disconnected { reason: DisconnectReason::ConsentExpired, .. })
        })
    });
    assert!(gone);
    assert_eq!(world.sfu.census().addresses, 1);
}

#[test]
fn what_is_told_of_a_connection_that_is_nobodys_changes_nothing() {
    let mut world = watched(86, true);
    for change in [PathChange::Full, PathChange::Free, PathChange::Closed] {
        world.path(tcp(9), change);
        // The same address by another transport is another way.
        world.path(TransportAddress::Udp(tcp(5_000).socket()), change);
    }
    world.run(millis(500));
    assert!(is_shown(&world));
    assert_eq!(world.sfu.counters().paths_full, 0);
}
