//! Rooms of simulated browsers: what is published is shown, through every switch, loss and restart.

use std::time::Duration;

use vestibule_media_core::Census;
use vestibule_media_core::api::{Command, DisconnectReason, DtlsMessage, Event, MediaGate, SourceKind};
use vestibule_media_core::sdp::IceParameters;
use vestibule_media_core::srtp::{SrtpProfile, SrtpRole, session};
use vestibule_sim::client::PictureIds;
use vestibule_sim::{ClientConfig, World};
use vestibule_testnet::LinkConfig;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Two peers before each other, after a second of conversation.
fn conversation(seed: u64, up: &LinkConfig, down: &LinkConfig) -> World {
    let mut world = World::new(seed);
    for _ in 0..2 {
        world.join_over(ClientConfig::default(), *up, *down);
    }
    world.seat(0, 0, Some(1));
    world.seat(1, 0, Some(0));
    world.run(secs(2));
    world
}

#[test]
fn two_peers_see_and_hear_each_other() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(1, &line, &line);
    world.run(secs(8));
    for who in 0..2 {
        let (audio, video) = world.shown(who, 0);
        assert!(audio.packets > 480, "{audio:?}");
        assert!(video.frames_decoded > 280, "{video:?}");
        assert!(video.longest_gap < Duration::from_millis(200), "{video:?}");
        assert_eq!(video.shows, Some((2 - who as u32, 2)));
        assert_eq!((video.lost, video.keyframe_requests), (0, 0));
    }
    let started: Vec<_> = world
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::SourceStarted { peer, kind } => Some((peer.0, *kind)),
            _ => None,
        })
        .collect();
    for expected in [
        (1, SourceKind::Microphone),
        (1, SourceKind::Camera),
        (2, SourceKind::Microphone),
        (2, SourceKind::Camera),
    ] {
        assert_eq!(started.iter().filter(|found| **found == expected).count(), 1, "{started:?}");
    }
    let counters = world.sfu.counters();
    assert_eq!(
        counters.dropped_unbound_ssrc
            + counters.dropped_rtp_auth
            + counters.dropped_too_old
            + counters.dropped_too_early,
        0,
        "{counters:?}"
    );
}

#[test]
fn three_per_cent_loss_each_way_is_repaired_by_rtx() {
    let line = LinkConfig::default().delay_ms(20).loss(0.03);
    for seed in 0..8 {
        let mut world = conversation(seed, &line, &line);
        world.run(secs(10));
        for who in 0..2 {
            let (_, video) = world.shown(who, 0);
            assert!(video.recovered > 10, "seed {seed}: {video:?}");
            assert!(video.frames_decoded > 300, "seed {seed}: {video:?}");
            assert!(video.longest_gap < Duration::from_millis(600), "seed {seed}: {video:?}");
            assert!(world.members[who].client.retransmitted > 10);
        }
        assert!(world.sfu.counters().rtx_recovered_in > 20 && world.sfu.counters().rtx_out > 20);
    }
}

#[test]
fn a_line_that_reorders_duplicates_and_bursts_breaks_no_rule_of_the_stream() {
    let line = LinkConfig::default().delay_ms(30).jitter_ms(20).reorder(0.05, 30).duplicate(0.02).loss(0.05);
    for seed in 0..12 {
        let mut world = conversation(seed, &line, &line);
        for rid in ["q", "h", "f", "q", "f", "h"] {
            world.layer(0, 0, rid);
            world.run(secs(2));
        }
        let (_, video) = world.shown(0, 0);
        assert!(video.frames_decoded > 250, "seed {seed}: {video:?}");
        assert!(world.members[0].checker.packets > 1_000);
    }
}

#[test]
fn any_rid_can_be_selected_and_each_switch_is_seamless() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(3, &line, &line);
    for (rid, encoding) in [("q", 0), ("h", 1), ("f", 2), ("q", 0)] {
        world.layer(0, 0, rid);
        world.run(secs(2));
        let (_, video) = world.shown(0, 0);
        assert_eq!(video.shows, Some((2, encoding)));
        assert!(video.longest_gap < Duration::from_millis(150), "{video:?}");
        assert_eq!((video.lost, video.keyframe_requests), (0, 0));
    }
    assert_eq!(world.members[0].client.answers.len(), 1, "no new SDP");
}

#[test]
fn a_frame_cut_by_a_switch_is_not_joined_with_the_next() {
    let line = LinkConfig::default().delay_ms(20).jitter_ms(10).reorder(0.3, 15);
    let mut cut = 0;
    for seed in 100..110 {
        let mut world = conversation(seed, &line, &line);
        for rid in ["q", "f", "h", "f", "q", "f"] {
            world.layer(0, 0, rid);
            world.run(Duration::from_millis(700));
        }
        cut += world.members[0].checker.cut_frames;
    }
    // The checker has seen the gap behind each of them, else it would have failed.
    assert!(cut > 0, "no switch cut a frame: the test shows nothing");
}

#[test]
fn a_missing_sender_report_does_not_block_a_switch() {
    let mut world = World::new(22);
    world.join(ClientConfig::default());
    world.join(ClientConfig { sender_reports: false, ..ClientConfig::default() });
    world.seat(0, 0, Some(1));
    world.run(secs(2));
    for (rid, encoding) in [("q", 0), ("f", 2), ("h", 1)] {
        world.layer(0, 0, rid);
        world.run(secs(1));
        assert_eq!(world.shown(0, 0).1.shows, Some((2, encoding)));
    }
    assert!(world.shown(0, 0).1.longest_gap < Duration::from_millis(150));
}

#[test]
fn mid_is_sent_until_the_subscriber_has_reported_on_the_ssrc_and_no_longer() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(23, &line, &line);
    let with_mid = world.members[0].checker.packets_with_mid;
    assert!(with_mid > 0);
    let sent = world.members[0].checker.packets;
    world.run(secs(3));
    assert!(world.members[0].checker.packets > sent + 500);
    assert_eq!(world.members[0].checker.packets_with_mid, with_mid);
}

#[test]
fn a_seat_changes_its_participant_without_a_freeze_or_new_sdp() {
    let mut world = World::new(4);
    for _ in 0..3 {
        world.join(ClientConfig::default());
    }
    world.seat(0, 0, Some(1));
    world.run(secs(3));
    for whom in [2, 1, 2] {
        world.seat(0, 0, Some(whom));
        world.run(secs(2));
        let (audio, video) = world.shown(0, 0);
        assert_eq!(video.shows.map(|(peer, _)| peer), Some(whom as u32 + 1));
        assert_eq!(audio.shows.map(|(peer, _)| peer), Some(whom as u32 + 1));
        assert!(video.longest_gap < Duration::from_millis(90), "{video:?}");
    }
    assert_eq!(world.members[0].client.answers.len(), 1);
}

#[test]
fn a_seat_whose_next_participant_sends_no_video_goes_dark_at_once_and_never_shows_the_last_one_for_long() {
    let mut world = World::new(24);
    for _ in 0..3 {
        world.join(ClientConfig::default());
    }
    world.seat(0, 0, Some(1));
    world.run(secs(2));
    // Its camera never began: nothing to wait for.
    world.members[2].client.muted = true;
    world.run(secs(4));
    world.seat(0, 0, Some(2));
    let frames = world.shown(0, 0).1.frames_decoded;
    world.run(secs(1));
    assert!(world.shown(0, 0).1.frames_decoded <= frames + 2, "the last participant is still shown");
    // It flows, but its keyframe does not come through: the one before goes dark all the same.
    world.members[2].client.muted = false;
    world.run(secs(2));
    world.seat(0, 0, Some(1));
    world.members[1].up.set_config(world.now.as_micros(), LinkConfig::default().blocked(true));
    world.run(secs(1));
    let frames = world.shown(0, 0).1.frames_decoded;
    world.run(secs(1));
    assert_eq!(world.shown(0, 0).1.frames_decoded, frames);
    // Swapped again and again without end, nobody stays on screen.
    world.members[1].up.set_config(world.now.as_micros(), LinkConfig::default().delay_ms(10));
    for turn in 0..40 {
        world.seat(0, 0, Some(1 + turn % 2));
        world.run(Duration::from_millis(5));
    }
    world.run(secs(2));
    assert_eq!(world.shown(0, 0).1.shows.map(|(peer, _)| peer), Some(3));
    assert_eq!(world.sfu.census().subscriptions, 2);
}

#[test]
fn sources_that_number_their_pictures_differently_make_one_stream() {
    for picture_ids in [PictureIds::Wide, PictureIds::Keyed, PictureIds::Narrow, PictureIds::Absent] {
        for loss in [0.0, 0.05] {
            let mut world = World::new(5);
            let line = LinkConfig::default().delay_ms(20).loss(loss);
            world.join(ClientConfig::default());
            world.join_over(ClientConfig { picture_ids, ..ClientConfig::default() }, line, line);
            world.join_over(ClientConfig { camera: 1, ..ClientConfig::default() }, line, line);
            for whom in [1, 2, 1, 2] {
                world.seat(0, 0, Some(whom));
                world.run(secs(2));
            }
            let (_, video) = world.shown(0, 0);
            assert!(video.frames_decoded > 180, "{picture_ids:?}: {video:?}");
        }
    }
}

#[test]
fn audio_and_video_of_a_seat_stay_in_step_over_clocks_switches_and_slow_lines() {
    let mut world = World::new(6);
    world.join(ClientConfig::default());
    let line = LinkConfig::default().delay_ms(40).jitter_ms(60);
    for offset_us in [-3_600_000_000, 7_200_000_000] {
        world.join_over(ClientConfig { clock_offset_us: offset_us, ..ClientConfig::default() }, line, line);
    }
    for whom in [1, 2, 1] {
        world.seat(0, 0, Some(whom));
        for rid in ["f", "q", "h"] {
            world.layer(0, 0, rid);
            world.run(secs(5));
            let checker = &world.members[0].checker;
            let audio_mid = world.members[0].seats[0].audio.expect("a seat has audio");
            let video_mid = world.members[0].seats[0].video.expect("a seat has video");
            let audio = checker.capture_offset_us(audio_mid.as_str()).expect("reports were sent");
            let video = checker.capture_offset_us(video_mid.as_str()).expect("reports were sent");
            assert!((audio - video).abs() < 3_000, "lip sync off by {} µs", audio - video);
            // Both tell when it happened on the server's clock, but for the least delay of the line.
            assert!((0..110_000).contains(&audio), "{audio} µs");
        }
    }
}

#[test]
fn behind_a_closed_gate_nothing_passes_either_way() {
    let mut world = World::new(7);
    for _ in 0..2 {
        world.join(ClientConfig::default());
    }
    let waiting = world.members[1].client.peer;
    world.command(Command::SetMediaGate { peer: waiting, gate: MediaGate::Closed });
    world.seat(0, 0, Some(1));
    world.seat(1, 0, Some(0));
    world.run(secs(4));
    assert!(
        world
            .events
            .iter()
            .any(|(_, event)| matches!(event, Event::Connected { peer, .. } if *peer == waiting))
    );
    assert_eq!(world.members[1].checker.packets, 0, "a waiting peer was sent media");
    assert_eq!(world.members[0].checker.packets, 0, "media of a waiting peer was forwarded");
    assert!(world.sfu.counters().dropped_gate_closed > 100);
    // Admitted: the warm transport carries at once, rollover counters and all.
    world.command(Command::SetMediaGate { peer: waiting, gate: MediaGate::Open });
    world.run(secs(2));
    for who in 0..2 {
        let (audio, video) = world.shown(who, 0);
        assert!(audio.packets > 80 && video.frames_decoded > 45, "{who}: {audio:?} {video:?}");
    }
    world.command(Command::SetMediaGate { peer: waiting, gate: MediaGate::Closed });
    let before = (world.members[0].checker.packets, world.members[1].checker.packets);
    world.run(secs(2));
    assert_eq!((world.members[0].checker.packets, world.members[1].checker.packets), before);
}

#[test]
fn an_ice_restart_keeps_the_old_path_until_the_new_one_is_nominated() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(8, &line, &line);
    let before = world.shown(0, 0).1.frames_decoded;
    world.restart_ice(0);
    // The client goes on sending from its new network; the old one is dead to it.
    world.roam(0, "10.9.9.9:1234".parse().expect("an address"));
    world.run(secs(3));
    let (_, video) = world.shown(0, 0);
    assert!(video.frames_decoded > before + 80, "{video:?}");
    assert!(video.longest_gap < Duration::from_millis(700), "{video:?}");
    assert!(world.events.iter().any(|(_, event)| matches!(event, Event::PathChanged { .. })));
    // Both generations live side by side for a while, then the old one is forgotten.
    assert_eq!(world.sfu.census().ufrags, 3);
    world.run(secs(15));
    assert_eq!(world.sfu.census().ufrags, 2);
    assert_eq!(world.shown(0, 0).1.keyframe_requests, 0);
}

#[test]
fn a_restart_that_brings_no_path_is_reported_and_the_old_path_goes_on() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(9, &line, &line);
    let peer = world.members[0].client.peer;
    let remote = IceParameters::new("nobody", "whoEverUsesThisPassword").expect("credentials");
    world.command(Command::RestartIce { peer, remote });
    world.run(secs(20));
    assert!(
        world.events.iter().any(|(_, event)| matches!(event, Event::RestartFailed { peer: p } if *p == peer))
    );
    // Checks of the old generation were all the client sent, so its path never broke.
    assert!(world.shown(0, 0).1.longest_gap < Duration::from_millis(200));
}

#[test]
fn consent_expires_without_checks_and_takes_the_peer_out_of_every_table() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(10, &line, &line);
    world.members[1].client.frozen = true;
    world.run(secs(27));
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Disconnected { .. })));
    world.run(secs(6));
    let gone = world.members[1].client.peer;
    assert!(world.events.iter().any(|(_, event)| matches!(
        event,
        Event::Disconnected { peer, reason: DisconnectReason::ConsentExpired } if *peer == gone
    )));
    assert_eq!((world.sfu.census().addresses, world.sfu.census().ufrags), (1, 1));
    let sent = world.members[1].checker.packets;
    world.members[1].client.frozen = false;
    world.run(secs(3));
    assert_eq!(world.members[1].checker.packets, sent, "a peer without consent was sent media");
}

#[test]
fn twenty_joiners_at_once_ask_for_one_keyframe_and_none_stays_black() {
    let mut world = World::new(11);
    world.join(ClientConfig::default());
    world.run(secs(3));
    for who in 1..=20 {
        world.join(ClientConfig { microphone: false, camera: 0, ..ClientConfig::default() });
        world.seat(who, 0, Some(0));
    }
    world.run(secs(1));
    for who in 1..=20 {
        let (audio, video) = world.shown(who, 0);
        assert!(video.frames_decoded > 15, "{who} is black: {video:?}");
        assert!(audio.packets > 30);
    }
    assert!(world.sfu.counters().keyframe_requests_out <= 3, "{:?}", world.sfu.counters());
    assert!(world.members[0].client.keyframe_requests <= 3);
}

#[test]
fn a_subscriber_that_loses_its_keyframe_asks_and_gets_one_within_the_throttle() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(12, &line, &line);
    for _ in 0..5 {
        world.members[0].down.set_config(world.now.as_micros(), line.loss(1.0));
        world.run(secs(3));
        world.members[0].down.set_config(world.now.as_micros(), line);
        let before = world.shown(0, 0).1.frames_decoded;
        world.run(secs(2));
        assert!(world.shown(0, 0).1.frames_decoded > before + 30, "{:?}", world.shown(0, 0).1);
    }
}

#[test]
fn a_nack_storm_stays_within_hold_off_and_budget() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(13, &line, &line);
    world.members[0].client.nack_storm = true;
    let before = *world.sfu.counters();
    world.run(secs(20));
    let after = *world.sfu.counters();
    let (sent, again) = (after.rtp_out - before.rtp_out, after.rtx_out - before.rtx_out);
    assert!(again < sent, "{again} retransmissions for {sent} packets");
    assert!(after.rtx_held_off + after.rtx_over_budget + after.dropped_nack_rate > 10_000, "{after:?}");
    assert!(world.shown(1, 0).1.longest_gap < Duration::from_millis(200), "the other peer felt it");
}

#[test]
fn padding_opens_no_gap() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(14, &line, &line);
    for round in 0..60 {
        for stream in 0..3 {
            world.members[1].client.send_rtx_padding(stream);
            if round % 3 == 0 {
                world.members[1].client.send_media_padding(stream);
            }
        }
        world.run(Duration::from_millis(50));
        if round == 30 {
            world.layer(0, 0, "q");
        }
    }
    let (_, video) = world.shown(0, 0);
    assert_eq!((video.lost, video.keyframe_requests, video.frames_skipped), (0, 0, 0));
    assert!(video.longest_gap < Duration::from_millis(150), "{video:?}");
    assert_eq!(world.sfu.counters().rtx_padding_in, 180);
}

#[test]
fn a_layer_that_stops_gives_way_to_the_next_lower_and_comes_back() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(15, &line, &line);
    world.members[1].client.pause_encoding(2, true);
    world.run(secs(5));
    assert_eq!(world.shown(0, 0).1.shows, Some((2, 1)));
    world.members[1].client.pause_encoding(1, true);
    world.run(secs(5));
    assert_eq!(world.shown(0, 0).1.shows, Some((2, 0)));
    world.members[1].client.pause_encoding(1, false);
    world.members[1].client.pause_encoding(2, false);
    world.run(secs(3));
    assert_eq!(world.shown(0, 0).1.shows, Some((2, 2)));
    // Seen by the other layers going on, long before it is silent for good.
    assert!(world.shown(0, 0).1.longest_gap < Duration::from_millis(700), "{:?}", world.shown(0, 0).1);
}

#[test]
fn an_outage_of_all_layers_is_not_taken_for_a_layer_that_stopped() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(25, &line, &line);
    for outage_ms in [200, 450, 700, 1_200] {
        let heights = world.shown(0, 0).1.heights.len();
        world.members[1].up.set_config(world.now.as_micros(), line.blocked(true));
        world.run(Duration::from_millis(outage_ms));
        world.members[1].up.set_config(world.now.as_micros(), line);
        world.run(secs(3));
        assert_eq!(world.shown(0, 0).1.shows, Some((2, 2)));
        assert_eq!(world.shown(0, 0).1.heights.len(), heights, "{outage_ms} ms");
    }
}

#[test]
fn a_bye_of_the_layer_shown_gives_way_to_the_next_lower_and_the_layer_can_come_back() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(26, &line, &line);
    let (best, ..) =
        world.members[1].client.sent_ssrcs().find(|(.., encoding)| *encoding == 2).expect("a layer");
    world.members[1].client.pause_encoding(2, true);
    world.run(Duration::from_millis(100));
    let (mut sealer, _) = session(&world.members[1].client.keys, SrtpRole::Client).expect("keys");
    let mut bye = [0; 64];
    bye[..4].copy_from_slice(&[0x81, 203, 0, 1]);
    bye[4..8].copy_from_slice(&best.to_be_bytes());
    let len = sealer.seal_rtcp(&mut bye, 8).expect("sealed");
    let from = world.members[1].client.address;
    world.inject(from, bye[..len].to_vec());
    world.run(secs(1));
    assert_eq!(world.shown(0, 0).1.shows, Some((2, 1)));
    assert!(world.shown(0, 0).1.longest_gap < Duration::from_millis(300), "{:?}", world.shown(0, 0).1);
    world.members[1].client.pause_encoding(2, false);
    world.run(secs(2));
    assert_eq!(world.shown(0, 0).1.shows, Some((2, 2)));
    assert_eq!(world.sfu.counters().dropped_unbound_ssrc, 0);
}

#[test]
fn a_stream_that_begins_anew_is_entered_at_a_keyframe_that_was_asked_for() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(27, &line, &line);
    let before = world.shown(0, 0).1.frames_decoded;
    world.members[1].client.jump_sequence(2, 1_500);
    world.run(secs(2));
    let (_, video) = world.shown(0, 0);
    assert!(video.frames_decoded > before + 50, "{video:?}");
    assert_eq!((video.shows, video.keyframe_requests), (Some((2, 2)), 0));
    assert!(video.longest_gap < Duration::from_millis(200), "{video:?}");
}

#[test]
fn audio_that_misses_more_than_can_be_repaired_keeps_no_timer_running() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(28, &line, &line);
    world.members[1].up.set_config(world.now.as_micros(), line.blocked(true));
    world.run(secs(7));
    world.members[1].up.set_config(world.now.as_micros(), line);
    world.run(secs(5));
    let turns = world.timer_turns(secs(1));
    assert!(turns < 100, "{turns} turns in a second");
}

#[test]
fn after_minutes_behind_a_closed_gate_the_receiver_can_still_decrypt_and_decode() {
    let line = LinkConfig::default().delay_ms(20);
    for seed in 50..54 {
        let mut world = conversation(seed, &line, &line);
        let peer = world.members[0].client.peer;
        let before = world.shown(0, 0).1.frames_decoded;
        for closed in [secs(3), secs(260)] {
            world.command(Command::SetMediaGate { peer, gate: MediaGate::Closed });
            world.run(closed);
            world.command(Command::SetMediaGate { peer, gate: MediaGate::Open });
            world.run(secs(2));
        }
        // Packets that do not authenticate or jump ahead fail the checker.
        let (audio, video) = world.shown(0, 0);
        assert!(
            video.frames_decoded > before + 100 && video.keyframe_requests == 0,
            "seed {seed}: {video:?}"
        );
        assert!(audio.packets > 250, "seed {seed}: {audio:?}");
    }
}

#[test]
fn what_was_published_behind_a_closed_gate_is_never_asked_for() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(29, &line, &line);
    let peer = world.members[1].client.peer;
    let resent = world.members[1].client.retransmitted;
    for closed_ms in [100, 400, 1_000] {
        world.command(Command::SetMediaGate { peer, gate: MediaGate::Closed });
        world.run(Duration::from_millis(closed_ms));
        world.command(Command::SetMediaGate { peer, gate: MediaGate::Open });
        world.run(secs(2));
        assert_eq!(world.shown(0, 0).1.shows, Some((2, 2)));
    }
    assert_eq!(world.members[1].client.retransmitted, resent);
}

#[test]
fn nobody_behind_a_closed_gate_is_asked_for_keyframes_and_the_picture_is_back_at_once() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(31, &line, &line);
    let (viewer, publisher) = (world.members[0].client.peer, world.members[1].client.peer);
    world.command(Command::SetMediaGate { peer: publisher, gate: MediaGate::Closed });
    // A viewer who comes in meanwhile waits for a picture.
    world.command(Command::SetMediaGate { peer: viewer, gate: MediaGate::Closed });
    world.command(Command::SetMediaGate { peer: viewer, gate: MediaGate::Open });
    let asked = world.members[1].client.keyframe_requests;
    world.run(secs(12));
    assert_eq!(world.members[1].client.keyframe_requests, asked);
    let before = world.shown(0, 0).1.frames_decoded;
    world.command(Command::SetMediaGate { peer: publisher, gate: MediaGate::Open });
    world.run(secs(1));
    assert!(world.shown(0, 0).1.frames_decoded > before + 20, "{:?}", world.shown(0, 0).1);
}

#[test]
fn an_ice_restart_that_comes_up_after_its_timeout_is_complete_all_the_same() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(30, &line, &line);
    world.members[0].up.set_config(world.now.as_micros(), line.blocked(true));
    world.restart_ice(0);
    world.run(secs(17));
    let happened =
        |world: &World, what: fn(&Event) -> bool| world.events.iter().any(|(_, event)| what(event));
    assert!(happened(&world, |event| matches!(event, Event::RestartFailed { .. })));
    world.members[0].up.set_config(world.now.as_micros(), line);
    world.run(secs(20));
    assert!(happened(&world, |event| matches!(event, Event::PathChanged { .. })));
    assert_eq!(world.sfu.census().ufrags, 2, "the credentials before the restart were never retired");
}

#[test]
fn a_later_offer_adds_seats_and_changes_nothing_that_stands() {
    let mut world = World::new(16);
    for _ in 0..4 {
        world.join(ClientConfig::default());
    }
    world.seat(0, 0, Some(1));
    world.run(secs(2));
    let ssrcs = world.members[0].client.lines().iter().map(|line| line.ssrc).collect::<Vec<_>>();
    world.members[0].client.add_seats(2);
    world.offer(0);
    assert_eq!(world.members[0].client.answers.len(), 2);
    assert_eq!(world.members[0].seats.len(), 3);
    assert!(
        world.members[0].client.lines().iter().map(|line| line.ssrc).collect::<Vec<_>>().starts_with(&ssrcs)
    );
    world.seat(0, 1, Some(2));
    world.seat(0, 2, Some(3));
    world.run(secs(3));
    for seat in 0..3 {
        let (audio, video) = world.shown(0, seat);
        assert_eq!(video.shows.map(|(peer, _)| peer), Some(seat as u32 + 2));
        assert!(audio.packets > 100 && video.longest_gap < Duration::from_millis(200), "{video:?}");
    }
}

#[test]
fn every_srtp_profile_carries_a_call() {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmSha1_80] {
        let mut world = World::new(17);
        let line = LinkConfig::default().delay_ms(20).loss(0.02);
        for _ in 0..2 {
            world.join_over(ClientConfig { profile, ..ClientConfig::default() }, line, line);
        }
        world.seat(0, 0, Some(1));
        world.seat(1, 0, Some(0));
        world.run(secs(5));
        for who in 0..2 {
            assert!(world.shown(who, 0).1.frames_decoded > 120, "{profile:?} {:?}", world.shown(who, 0).1);
        }
    }
}

#[test]
fn publishers_hear_of_every_packet_within_a_hundred_milliseconds() {
    let line = LinkConfig::default().delay_ms(20).loss(0.02);
    let mut world = conversation(18, &line, &line);
    world.run(secs(8));
    let client = &world.members[0].client;
    assert!(client.transport_feedback > 90, "{}", client.transport_feedback);
    assert!(client.transport_arrivals > 2_000, "{}", client.transport_arrivals);
    // Receiver reports tell of the loss the line made (2 %), on every SSRC.
    for (ssrc, ..) in client.sent_ssrcs() {
        let report = client.reports.get(&ssrc).unwrap_or_else(|| panic!("no report on {ssrc}"));
        assert!(report.highest_sequence > 65_536, "the rollover is part of the extended sequence number");
        assert!(report.last_sender_report != 0);
    }
}

#[test]
fn a_voice_that_pauses_between_words_is_neither_lost_nor_repeated() {
    let mut world = World::new(17);
    let lossy = LinkConfig::default().delay_ms(30).loss(0.05);
    let speaker = world.join(ClientConfig { camera: 0, ..ClientConfig::default() });
    let transport_feedback = Duration::from_millis(100);
    let config = ClientConfig { camera: 0, transport_feedback, ..ClientConfig::default() };
    let listener = world.join_over(config, LinkConfig::default().delay_ms(30), lossy);
    world.seat(listener, 0, Some(speaker));
    world.run(secs(5));
    // As DTX does it: a packet now and then, and a number and a time that go on (RFC 7587 section 4.1). What redundancy could
    // bring of before a pause lies further back than RFC 2198 can say.
    let before = world.shown(listener, 0).0;
    let mut sent = 0;
    for _ in 0..100 {
        world.members[speaker].client.pause_voice(true);
        world.run(Duration::from_millis(380));
        world.members[speaker].client.pause_voice(false);
        world.run(Duration::from_millis(20));
        sent += 1;
    }
    world.members[speaker].client.pause_voice(false);
    world.run(secs(3));
    let audio = world.shown(listener, 0).0;
    assert_eq!(audio.lost, before.lost, "what was lost is sent again");
    let heard = audio.packets - before.packets;
    assert!((sent..sent + 3 * 50 + 20).contains(&heard), "{heard} packets");
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Quiet { .. })));
}

#[test]
fn a_thousand_joins_and_leaves_leave_nothing_behind() {
    let mut world = World::new(19);
    world.join(ClientConfig::default());
    world.run(secs(1));
    let before = world.sfu.census();
    for _ in 0..1_000 {
        let who = world.join(ClientConfig { camera: 3, ..ClientConfig::default() });
        world.seat(who, 0, Some(0));
        world.seat(0, 0, Some(who));
        world.run(Duration::from_millis(150));
        let peer = world.members[who].client.peer;
        assert!(world.members[who].client.connected);
        world.command(Command::RemovePeer { peer });
        world.members.truncate(1);
        world.events.clear();
        world.dtls.clear();
    }
    world.run(secs(1));
    let after = world.sfu.census();
    // Superseded entries of the timer heap go when their time comes; the bound is what one second can make.
    assert!(after.timer_entries < 40, "{after:?}");
    assert_eq!(Census { timer_entries: 0, ..after }, Census { timer_entries: 0, ..before });
}

#[test]
fn closing_the_room_removes_everybody() {
    let line = LinkConfig::default().delay_ms(20);
    let mut world = conversation(20, &line, &line);
    world.command(Command::CloseRoom { room: vestibule_sim::world::ROOM });
    assert_eq!(world.sfu.census(), Census::default());
    let sent = world.sfu.counters().rtp_out;
    world.run(secs(2));
    assert_eq!(world.sfu.counters().rtp_out, sent);
    assert!(world.dtls.iter().filter(|(_, message)| *message == DtlsMessage::Forget).count() == 2);
}

#[test]
fn the_same_seed_replays_the_same_run() {
    let line = LinkConfig::default().delay_ms(30).jitter_ms(20).reorder(0.05, 30).loss(0.05);
    let run = || {
        let mut world = conversation(21, &line, &line);
        world.run(secs(3));
        (*world.sfu.counters(), format!("{:?}", world.shown(0, 0)))
    };
    assert_eq!(run(), run());
}
