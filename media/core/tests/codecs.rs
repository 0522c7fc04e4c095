//! Every codec through every switch: the egress checker sits on each subscriber and fails at the first wrong packet.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use vestibule_media_core::api::{Command, Event, MediaGate};
use vestibule_media_core::sdp::CodecName;
use vestibule_sim::client::PictureIds;
use vestibule_sim::synthetic::Scalability;
use vestibule_sim::{ClientConfig, World};
use vestibule_testnet::LinkConfig;

const CODECS: [CodecName; 4] = [CodecName::Vp8, CodecName::Vp9, CodecName::H264, CodecName::Av1];

/// The layers VP9 and AV1 may come in.
fn layered() -> impl Iterator<Item = (CodecName, Scalability)> {
    let vp9 = Scalability::ALL.into_iter().flat_map(|mode| [mode, mode.flexible()]);
    vp9.map(|mode| (CodecName::Vp9, mode)).chain(Scalability::ALL.map(|mode| (CodecName::Av1, mode)))
}

/// Which of the sizes is the largest that comes.
const fn top(scalability: Scalability) -> u8 {
    if scalability.layers == 2 { 1 } else { 2 }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn publisher() -> ClientConfig {
    ClientConfig { temporal_layers: 3, ..ClientConfig::default() }
}

fn viewer(codecs: &[CodecName]) -> ClientConfig {
    ClientConfig { camera: 0, codecs: codecs.to_vec(), ..ClientConfig::default() }
}

/// One publishes in this codec, one watches over this line.
fn watched(seed: u64, codec: CodecName, line: &LinkConfig) -> World {
    watched_in(seed, codec, Scalability::L3_KEY, line)
}

/// The same, with these layers.
fn watched_in(seed: u64, codec: CodecName, scalability: Scalability, line: &LinkConfig) -> World {
    let mut world = World::preferring(seed, codec);
    world.join_over(ClientConfig { scalability, ..publisher() }, *line, *line);
    world.join_over(viewer(&CODECS), *line, *line);
    world.seat(1, 0, Some(0));
    world.run(secs(3));
    world
}

/// Somebody's seat goes to and fro between two publishers, on lines where packets overtake each other.
fn seat_flips(seed: u64, codec: CodecName) -> World {
    let line = LinkConfig::default().delay_ms(20).jitter_ms(10).reorder(0.3, 15);
    let mut world = World::preferring(seed, codec);
    (0..2).for_each(|_| _ = world.join_over(publisher(), line, line));
    world.join_over(viewer(&CODECS), line, line);
    for whom in [0, 1, 0, 1, 0, 1] {
        world.seat(2, 0, Some(whom));
        world.run(Duration::from_millis(1_100));
    }
    world
}

fn set_gate(world: &mut World, who: usize, gate: MediaGate) {
    let peer = world.members[who].client.peer;
    world.command(Command::SetMediaGate { peer, gate });
}

fn told_codecs(world: &World) -> Vec<CodecName> {
    let told = world.events.iter().filter_map(|(_, event)| match event {
        Event::CodecWanted { codec, .. } => Some(*codec),
        _ => None,
    });
    told.collect()
}

#[test]
fn each_codec_is_shown_at_its_full_size_without_a_freeze() {
    for codec in CODECS {
        let mut world = watched(1, codec, &LinkConfig::default().delay_ms(20));
        world.run(secs(5));
        let (_, video) = world.shown(1, 0);
        assert_eq!(video.shows, Some((1, 2)), "{codec:?}: {video:?}");
        assert_eq!(video.codecs, [codec]);
        assert!(video.frames_decoded > 220, "{codec:?}: {video:?}");
        assert!(video.longest_gap < Duration::from_millis(200), "{codec:?}: {video:?}");
        assert_eq!((video.lost, video.freezes), (0, 0), "{codec:?}");
    }
}

#[test]
fn any_size_can_be_shown_and_each_switch_is_seamless() {
    for codec in CODECS {
        let mut world = watched(2, codec, &LinkConfig::default().delay_ms(20));
        for (height, size) in [(180, 0), (360, 1), (720, 2), (180, 0), (720, 2), (360, 1)] {
            world.height(1, 0, height);
            world.run(secs(2));
            let (_, video) = world.shown(1, 0);
            assert_eq!(video.shows, Some((1, size)), "{codec:?} at {height}");
            assert!(video.longest_gap < Duration::from_millis(200), "{codec:?}: {video:?}");
            assert_eq!((video.lost, video.keyframe_requests), (0, 0), "{codec:?}");
        }
    }
}

#[test]
fn in_each_scalability_mode_any_size_can_be_shown_and_each_switch_is_seamless() {
    for (codec, mode) in layered() {
        let mut world = watched_in(2, codec, mode, &LinkConfig::default().delay_ms(20));
        for (height, size) in [(180, 0), (360, 1), (720, 2), (180, 0), (720, 2), (360, 1)] {
            world.height(1, 0, height);
            world.run(secs(2));
            let (_, video) = world.shown(1, 0);
            assert_eq!(video.shows, Some((1, size.min(top(mode)))), "{codec:?} {mode:?} at {height}");
            assert!(video.longest_gap < Duration::from_millis(200), "{codec:?} {mode:?}: {video:?}");
            assert_eq!((video.lost, video.keyframe_requests), (0, 0), "{codec:?} {mode:?}");
        }
    }
}

#[test]
fn layers_that_need_each_other_become_fewer_without_a_keyframe() {
    for (codec, mode) in layered().filter(|(_, mode)| mode.is_dependent) {
        let mut world = watched_in(2, codec, mode, &LinkConfig::default().delay_ms(20));
        world.run(secs(2));
        let before = world.members[0].client.keyframe_requests;
        for (height, size) in [(360, 1), (180, 0)] {
            world.height(1, 0, height);
            world.run(secs(1));
            assert_eq!(world.shown(1, 0).1.shows, Some((1, size)), "{codec:?} {mode:?}");
        }
        assert_eq!(world.members[0].client.keyframe_requests, before, "{codec:?} {mode:?}");
    }
}

#[test]
fn layers_that_need_each_other_are_sent_with_all_below_and_the_others_alone() {
    for (codec, mode) in layered().filter(|(_, mode)| mode.layers == 3) {
        let mut world = watched_in(3, codec, mode, &LinkConfig::default().delay_ms(20));
        world.run(secs(2));
        let before = world.members[1].carried.sent_bytes;
        world.run(secs(4));
        let kbps = (world.members[1].carried.sent_bytes - before) * 8 / 4 / 1_000;
        let expected = if mode.is_dependent { 2_150..2_550 } else { 1_450..1_850 };
        assert!(expected.contains(&kbps), "{codec:?} {mode:?}: {kbps} kbit/s");
    }
}

#[test]
fn of_a_stream_with_layers_the_smaller_picture_takes_less_of_the_line() {
    for codec in [CodecName::Vp9, CodecName::Av1] {
        let mut world = watched(3, codec, &LinkConfig::default().delay_ms(20));
        let mut rates = Vec::new();
        for height in [180, 360, 720] {
            world.height(1, 0, height);
            world.run(secs(1));
            let before = world.members[1].carried.sent_bytes;
            world.run(secs(4));
            rates.push((world.members[1].carried.sent_bytes - before) * 8 / 4 / 1_000);
        }
        // Layers below are not needed between keyframes, and not sent.
        assert!((180..330).contains(&rates[0]), "{codec:?}: {rates:?}");
        assert!((500..750).contains(&rates[1]), "{codec:?}: {rates:?}");
        assert!((1_450..1_850).contains(&rates[2]), "{codec:?}: {rates:?}");
    }
}

#[test]
fn temporal_layers_are_left_out_without_a_gap_and_what_was_lost_before_stays_one() {
    for codec in [CodecName::Vp8, CodecName::Vp9, CodecName::Av1] {
        for seed in 0..4 {
            let up = LinkConfig::default().delay_ms(20).loss(0.02);
            let mut world = World::preferring(seed, codec);
            // A publisher whose losses are repaired late: it is asked over a way that loses much, and a few stay missing.
            world.join_over(publisher(), up, LinkConfig::default().delay_ms(20).loss(0.3));
            // Less than the smallest picture takes at all its frames.
            let down = LinkConfig::default().delay_ms(20).rate_bps(240_000).queue_ms(300);
            world.join_over(viewer(&CODECS), LinkConfig::default().delay_ms(20), down);
            world.seat(1, 0, Some(0));
            world.run(secs(20));
            let (_, video) = world.shown(1, 0);
            assert!(world.sfu.counters().thinned > 50, "{codec:?} seed {seed}: {:?}", world.sfu.counters());
            assert!(video.frames_decoded > 100, "{codec:?} seed {seed}: {video:?}");
            // What was left out on purpose nobody misses: the loss told is that of the way up alone.
            let told = f64::from(world.stats(1).slots[1].fraction_lost);
            assert!(told < 0.15, "{codec:?} seed {seed}: {told}");
        }
    }
}

#[test]
fn temporal_layers_of_a_spatial_one_come_back_without_a_keyframe() {
    let vp8 = (CodecName::Vp8, Scalability::L1);
    for (codec, scalability) in std::iter::once(vp8).chain(layered()) {
        for seed in 1..4 {
            let mut world = World::preferring(seed, codec);
            world.join(ClientConfig { scalability, ..publisher() });
            // So long a way that the highest spatial layer is there before all of its pictures are.
            let way = LinkConfig::default().delay_ms(150);
            world.join_over(viewer(&CODECS), way, way.rate_bps(5_000_000).queue_ms(300));
            world.seat(1, 0, Some(0));
            world.run(secs(8));
            let before = world.shown(1, 0).1.frames_decoded;
            world.run(secs(4));
            let (_, video) = world.shown(1, 0);
            let frames = video.frames_decoded - before;
            let what = format!("{codec:?} {scalability:?} seed {seed}");
            assert!(frames >= 4 * 27, "{what}: {frames} pictures in four seconds, {video:?}");
        }
    }
}

#[test]
fn a_codec_changes_when_somebody_joins_who_cannot_decode_it_and_nobody_is_left_without_a_picture() {
    for preferred in [CodecName::H264, CodecName::Vp9, CodecName::Av1] {
        let mut world = watched(4, preferred, &LinkConfig::default().delay_ms(20));
        world.run(secs(1));
        assert_eq!(told_codecs(&world), [], "the answer said it");
        let late = world.join(viewer(&[CodecName::Vp8]));
        world.seat(late, 0, Some(0));
        world.run(secs(4));
        assert_eq!(told_codecs(&world), [CodecName::Vp8]);
        let (_, first) = world.shown(1, 0);
        assert_eq!(first.codecs, [preferred, CodecName::Vp8], "the seat goes on in the other codec");
        assert!(first.longest_gap < Duration::from_millis(400), "{preferred:?}: {first:?}");
        let (_, second) = world.shown(late, 0);
        assert_eq!(second.codecs, [CodecName::Vp8]);
        assert!(second.frames_decoded > 60, "{second:?}");
        assert_eq!(world.members[1].client.answers.len(), 1, "no new SDP");
    }
}

#[test]
fn who_waits_before_a_closed_gate_changes_no_codec_until_they_are_let_in() {
    let mut world = watched(5, CodecName::H264, &LinkConfig::default().delay_ms(20));
    let late = world.join(viewer(&[CodecName::Vp8]));
    set_gate(&mut world, late, MediaGate::Closed);
    world.run(secs(2));
    let before = told_codecs(&world).len();
    set_gate(&mut world, late, MediaGate::Open);
    world.run(secs(1));
    assert_eq!(told_codecs(&world).last(), Some(&CodecName::Vp8));
    assert!(before <= 1);
}

#[test]
fn av1_for_who_takes_no_dependency_descriptor_is_its_lowest_layer() {
    let mut world = World::preferring(6, CodecName::Av1);
    world.join(publisher());
    let flat = ClientConfig { receives_dependency: false, ..viewer(&[CodecName::Av1]) };
    world.join(flat);
    world.seat(1, 0, Some(0));
    world.run(secs(5));
    let (_, video) = world.shown(1, 0);
    assert_eq!(video.shows, Some((1, 0)));
    assert!(video.frames_decoded > 100, "{video:?}");
    assert_eq!(video.codecs, [CodecName::Av1]);
}

#[test]
fn a_keyframe_whose_first_packet_is_overtaken_is_where_a_higher_layer_is_entered() {
    for codec in [CodecName::Vp9, CodecName::Av1] {
        for seed in 0..12 {
            let overtaken = LinkConfig::default().delay_ms(20).jitter_ms(10).reorder(0.4, 15);
            let mut world = World::preferring(seed, codec);
            world.join_over(publisher(), overtaken, LinkConfig::default());
            world.join(viewer(&CODECS));
            world.seat(1, 0, Some(0));
            world.run(secs(4));
            for round in 0..4 {
                world.height(1, 0, 180);
                world.run(secs(1));
                world.height(1, 0, 1_080);
                world.run(secs(3));
                let (_, video) = world.shown(1, 0);
                assert_eq!(video.shows, Some((1, 2)), "{codec:?}, seed {seed}, round {round}");
            }
        }
    }
}

#[test]
fn a_keyframe_of_a_stream_with_layers_is_not_thought_to_make_it_larger() {
    for codec in [CodecName::Vp9, CodecName::Av1] {
        let mut world = watched(9, codec, &LinkConfig::default().delay_ms(20));
        world.run(secs(5));
        let wanted = |world: &mut World| world.stats(1).downlink.wanted_bps;
        let usual = wanted(&mut world);
        let mut most = 0;
        for _ in 0..4 {
            // Whoever joins has everybody get one.
            world.join(viewer(&CODECS));
            let late = world.members.len() - 1;
            world.seat(late, 0, Some(0));
            for _ in 0..40 {
                world.run(Duration::from_millis(25));
                most = most.max(wanted(&mut world));
            }
        }
        assert!(most < usual * 5 / 4, "{codec:?}: {most} of {usual} bit/s");
    }
}

/// Late packets of what was shown before, and of what is to be shown before its keyframe: the checker fails at one that is
/// sent.
#[test]
fn packets_that_come_late_across_a_switch_are_left_out_in_every_codec() {
    for codec in CODECS {
        let late: u64 = (0..6).map(|seed| seat_flips(seed, codec).sfu.counters().switch_late).sum();
        assert!(late > 0, "{codec:?}: nothing came late, so nothing was tried");
    }
}

#[test]
fn padding_opens_no_gap_in_any_codec() {
    for codec in CODECS {
        let mut world = watched(10, codec, &LinkConfig::default().delay_ms(20));
        for round in 0..60 {
            world.members[0].client.send_rtx_padding(2);
            if round % 3 == 0 {
                world.members[0].client.send_media_padding(2);
            }
            world.run(Duration::from_millis(50));
        }
        let (_, video) = world.shown(1, 0);
        assert_eq!((video.lost, video.keyframe_requests, video.frames_skipped), (0, 0, 0), "{codec:?}");
        assert!(video.longest_gap < Duration::from_millis(200), "{codec:?}: {video:?}");
        assert_eq!(world.sfu.counters().rtx_padding_in, 60, "{codec:?}: it came");
    }
}

#[test]
fn frame_numbers_picture_ids_and_sequence_numbers_wrap_unseen() {
    // Clients begin close below all of their ends.
    for codec in [CodecName::Vp8, CodecName::Vp9, CodecName::Av1] {
        let mut world = watched(7, codec, &LinkConfig::default().delay_ms(20).loss(0.02));
        world.run(secs(40));
        let (_, video) = world.shown(1, 0);
        assert!(video.frames_decoded > 1_100, "{codec:?}: {video:?}");
    }
    // Of 7 bits, and with KEYIDX.
    for (picture_ids, temporal_layers) in [(PictureIds::Narrow, 1), (PictureIds::Keyed, 3)] {
        let line = LinkConfig::default().delay_ms(20).loss(0.02);
        let mut world = World::new(7);
        world.join_over(ClientConfig { picture_ids, temporal_layers, ..publisher() }, line, line);
        world.join_over(viewer(&CODECS), line, line);
        world.seat(1, 0, Some(0));
        world.run(secs(20));
        let (_, video) = world.shown(1, 0);
        assert!(video.frames_decoded > 500, "{picture_ids:?}: {video:?}");
    }
}

#[test]
fn a_key_index_of_one_publisher_is_none_that_could_vanish_with_the_next() {
    let mut world = World::new(11);
    world.join(ClientConfig { picture_ids: PictureIds::Keyed, ..publisher() });
    world.join(publisher());
    world.join(viewer(&[CodecName::Vp8]));
    // The checker refuses any KEYIDX.
    for whom in [0, 1, 0, 1] {
        world.seat(2, 0, Some(whom));
        world.run(secs(1));
        assert_eq!(world.shown(2, 0).1.shows.map(|(peer, _)| peer), Some(whom as u32 + 1));
    }
}

#[test]
fn a_frame_cut_by_a_switch_is_not_joined_with_the_next_in_any_codec() {
    for codec in CODECS {
        let cut: u64 = (0..12).map(|seed| seat_flips(seed, codec).members[2].checker.cut_frames).sum();
        assert!(cut > 0, "{codec:?}: no frame was ever cut, so nothing was tried");
    }
}

#[test]
fn a_missing_sender_report_blocks_no_switch_in_any_codec() {
    for codec in CODECS {
        let line = LinkConfig::default().delay_ms(20);
        let mut world = World::preferring(9, codec);
        world.join_over(ClientConfig { sender_reports: false, ..publisher() }, line, line);
        world.join_over(viewer(&CODECS), line, line);
        world.seat(1, 0, Some(0));
        for (height, size) in [(720, 2), (180, 0), (360, 1)] {
            world.height(1, 0, height);
            world.run(secs(3));
            assert_eq!(world.shown(1, 0).1.shows, Some((1, size)), "{codec:?}");
        }
    }
}

#[test]
fn twenty_joiners_at_once_ask_for_one_keyframe_in_any_codec_and_none_stays_black() {
    for codec in CODECS {
        let mut world = World::preferring(10, codec);
        world.join(publisher());
        world.run(secs(3));
        let before = world.members[0].client.keyframe_requests;
        for at in 1..=20 {
            world.join(viewer(&CODECS));
            world.seat(at, 0, Some(0));
        }
        world.run(secs(3));
        // Each encoding is asked for its own.
        let asked = world.members[0].client.keyframe_requests - before;
        assert!((1..=9).contains(&asked), "{codec:?}: {asked}");
        for at in 1..=20 {
            assert!(world.shown(at, 0).1.frames_decoded > 30, "{codec:?}: {at}");
        }
    }
}

/// What may happen in a room.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Height(u16),
    /// The viewer tells that its line carries so much: too little for all pictures of a size, or for all sizes.
    Carries(u64),
    Seat(usize),
    Pause(u8),
    Resume(u8),
    /// Somebody sends in another codec.
    Codec(usize, usize),
    Padding,
    Passes(u64),
}

/// What carries everything.
const PLENTY_BPS: u64 = 5_000_000;

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => prop_oneof![Just(180_u16), Just(360), Just(720)].prop_map(Happening::Height),
        4 => prop_oneof![100_000_u64..400_000, Just(700_000), Just(PLENTY_BPS)].prop_map(Happening::Carries),
        3 => (0_usize..2).prop_map(Happening::Seat),
        1 => (0_u8..3).prop_map(Happening::Pause),
        2 => (0_u8..3).prop_map(Happening::Resume),
        2 => (0_usize..2, 0_usize..4).prop_map(|(who, which)| Happening::Codec(who, which)),
        1 => Just(Happening::Padding),
        4 => (20_u64..900).prop_map(Happening::Passes),
    ]
}

/// Two publish and one watches over a line that loses, reorders and repeats, while anything happens. Gives how often temporal
/// layers were left out.
fn play(seed: u64, preferred: CodecName, modes: [Scalability; 2], happenings: &[Happening]) -> u64 {
    let line = LinkConfig::default().delay_ms(25).jitter_ms(15).reorder(0.04, 25).duplicate(0.02).loss(0.03);
    let mut world = World::preferring(seed, preferred);
    for scalability in modes {
        world.join_over(ClientConfig { scalability, ..publisher() }, line, line);
    }
    // Every other one tells itself what its line carries; it may say so at any time, and is believed.
    let transport_cc = seed.is_multiple_of(2);
    world.join_over(ClientConfig { transport_cc, ..viewer(&CODECS) }, line, line);
    world.members[2].client.remb_bps = Some(PLENTY_BPS);
    world.seat(2, 0, Some(0));
    world.run(secs(1));
    for happening in happenings {
        match *happening {
            Happening::Height(height) => world.height(2, 0, height),
            Happening::Carries(bps) => world.members[2].client.remb_bps = Some(bps),
            Happening::Seat(whom) => world.seat(2, 0, Some(whom)),
            Happening::Pause(encoding) => world.members[0].client.pause_encoding(encoding, true),
            Happening::Resume(encoding) => world.members[0].client.pause_encoding(encoding, false),
            Happening::Codec(who, which) => world.members[who].client.send_camera_in(CODECS[which]),
            Happening::Padding => world.members[0].client.send_media_padding(2),
            Happening::Passes(ms) => world.run(Duration::from_millis(ms)),
        }
        world.run(Duration::from_millis(40));
    }
    for encoding in 0..3 {
        world.members[0].client.pause_encoding(encoding, false);
    }
    world.members[2].client.remb_bps = Some(PLENTY_BPS);
    world.height(2, 0, 720);
    world.seat(2, 0, Some(0));
    world.run(secs(5));
    let before = world.shown(2, 0).1.frames_decoded;
    world.run(secs(2));
    let (_, video) = world.shown(2, 0);
    // As many as the lowest temporal layer has, on a line that loses some.
    assert!(video.frames_decoded > before + 12, "no picture in the end: {video:?}");
    assert_eq!(video.shows.map(|(peer, _)| peer), Some(1));
    world.sfu.counters().thinned
}

/// Plays so many times. Gives how often temporal layers were left out in all of them.
fn play_often(cases: u32, preferred: CodecName, modes: [Scalability; 2]) -> u64 {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { cases };
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5eed),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let strategy = (0_u64..1_000_000, prop::collection::vec(happening(), 1..40));
    let thinned = Cell::new(0);
    let outcome = TestRunner::new(config).run(&strategy, |(seed, happenings)| {
        thinned.set(thinned.get() + play(seed, preferred, modes, &happenings));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{preferred:?} {modes:?}: {failure}");
    }
    thinned.get()
}

#[test]
fn any_interleaving_of_switches_over_any_line_is_one_stream_in_every_codec() {
    for preferred in CODECS {
        let thinned = play_often(8, preferred, [Scalability::L3_KEY; 2]);
        assert!(thinned > 0, "{preferred:?}: no temporal layer was left out, so nothing was tried");
    }
}

#[test]
fn pictures_of_av1_that_overtake_its_structure_are_asked_for_again() {
    let happenings = [
        Happening::Resume(0),
        Happening::Carries(PLENTY_BPS),
        Happening::Seat(0),
        Happening::Codec(0, 3),
        Happening::Passes(39),
    ];
    for seed in [84_838, 84_839] {
        _ = play(seed, CodecName::H264, [Scalability::L3_KEY; 2], &happenings);
    }
}

#[test]
fn any_interleaving_of_switches_over_any_line_is_one_stream_in_every_scalability_mode() {
    for (codec, mode) in layered() {
        let other = Scalability { is_dependent: !mode.is_dependent, ..mode };
        let thinned = play_often(3, codec, [mode, other]);
        assert!(thinned > 0, "{codec:?} {mode:?}: no temporal layer was left out, so nothing was tried");
    }
}
