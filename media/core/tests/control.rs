//! What each subscriber is sent over a line of their own, and what publishers and callers are told of it: simulated
//! browsers in virtual time, from fixed seeds.

use std::time::Duration;

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
use vestibule_media_core::api::{AudioProfile, Command, Event, MediaGate, SeatWish, SourceKind};
use vestibule_media_core::bounds::{PACED_OFFERS_MAX, PACED_REPAIRS_MAX, QUALITY_STEP};
use vestibule_media_core::congestion::ESTIMATE_START_BPS;
use vestibule_media_core::rtp::uri;
use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::{Quality, QualityLevel, QualityReason, QualityStep, Time};
use vestibule_sim::{ClientConfig, World};
use vestibule_testnet::LinkConfig;

const NOTHING: SeatWish = SeatWish { max_height: Some(0), ..SeatWish::DEFAULT };
const LOWEST: SeatWish = SeatWish { max_height: Some(180), ..SeatWish::DEFAULT };
const MIDDLE: SeatWish = SeatWish { max_height: Some(360), ..SeatWish::DEFAULT };
const PINNED: SeatWish = SeatWish { priority: 200, ..SeatWish::DEFAULT };
/// Levels of a voice and of none, in -dBov.
const SPEAKS: u8 = 30;
const SILENT: u8 = 127;
/// What a voice of 64 kbit/s with its headers takes at the most, and what an encoder goes over.
const SLACK: f64 = 1.15;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn line() -> LinkConfig {
    LinkConfig::default().delay_ms(10)
}

/// Who speaks and shows, and does as it is told.
fn publisher() -> ClientConfig {
    ClientConfig {
        temporal_layers: 3,
        sizes_seed: Some(1),
        obeys: true,
        transport_feedback: millis(60),
        ..ClientConfig::default()
    }
}

/// Who only watches.
fn viewer(seats: usize) -> ClientConfig {
    ClientConfig {
        microphone: false,
        camera: 0,
        seats,
        transport_feedback: millis(60),
        ..ClientConfig::default()
    }
}

/// One publisher, and one viewer behind this line, who is shown it: members 0 and 1.
fn watched(seed: u64, down: LinkConfig) -> World {
    let mut world = World::new(seed);
    world.join(publisher());
    world.join_over(viewer(1), line(), down);
    world.seat(1, 0, Some(0));
    world
}

/// The same of a publisher who sends this codec.
fn watched_in(codec: CodecName, seed: u64) -> World {
    let mut world = World::preferring(seed, codec);
    world.join(publisher());
    world.join_over(viewer(1), line(), line());
    world.seat(1, 0, Some(0));
    world
}

/// The spatial layers that come of a camera.
fn layers(world: &mut World, who: usize) -> u8 {
    let camera = world.stats(who).sources.into_iter().find(|source| source.kind == SourceKind::Camera);
    camera.expect("a camera").encodings.iter().map(|encoding| encoding.spatial_layers).max().unwrap_or(0)
}

/// The height of the last picture that a seat was shown, nothing if that is a while ago.
fn encoding(world: &World, who: usize, seat: usize) -> Option<u8> {
    let (_, video) = world.shown(who, seat);
    let is_shown = video.last_decoded_at.is_some_and(|at| world.now.since(at) < millis(500));
    video.shows.filter(|_| is_shown).map(|(_, encoding)| encoding)
}

/// What was last said of the encodings of a camera.
fn wanted(world: &World, who: usize) -> Vec<String> {
    let id = world.members[who].client.peer;
    let said = world.events.iter().rev().find_map(|(_, event)| match event {
        Event::EncodingsWanted { peer, kind: SourceKind::Camera, rids } if *peer == id => Some(rids),
        _ => None,
    });
    said.map(|rids| rids.iter().map(|rid| rid.as_str().to_owned()).collect()).unwrap_or_default()
}

fn qualities(world: &World, who: usize) -> Vec<(Time, Quality)> {
    let id = world.members[who].client.peer;
    let of = |(at, event): &(Time, Event)| match event {
        Event::Quality { peer, quality } if *peer == id => Some((*at, *quality)),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

fn steps(world: &World, who: usize) -> Vec<(Time, QualityStep)> {
    let id = world.members[who].client.peer;
    let of = |(at, event): &(Time, Event)| match event {
        Event::QualityStep { peer, step } if *peer == id => Some((*at, **step)),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

fn profiles(world: &World, who: usize) -> Vec<AudioProfile> {
    let id = world.members[who].client.peer;
    let of = |(_, event): &(Time, Event)| match event {
        Event::AudioWanted { peer, profile } if *peer == id => Some(*profile),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

/// Bits per second on the wire that a client is sent while time passes.
fn sent_bps(world: &mut World, who: usize, duration: Duration) -> f64 {
    let before = world.members[who].carried.sent_bytes;
    world.run(duration);
    (world.members[who].carried.sent_bytes - before) as f64 * 8.0 / duration.as_secs_f64()
}

/// What may be asked for at once (`bounds.rs`).
const REPAIRS_AT_ONCE: u64 = 60;

fn estimate(world: &mut World, who: usize) -> u64 {
    world.stats(who).downlink.estimate_bps.expect("a line with feedback")
}

// The receiver's own estimate, and none

#[test]
fn a_receiver_with_remb_alone_is_sent_what_it_allows() {
    const LITTLE_BPS: u64 = 250_000;
    /// A voice, of which it is not told.
    const VOICE_BPS: std::ops::RangeInclusive<u64> = 25_000..=60_000;
    const MOST_BPS: f64 = 310_000.0;
    let mut world = World::new(1);
    world.join(publisher());
    world.join(ClientConfig { transport_cc: false, ..viewer(1) });
    world.members[1].client.remb_bps = Some(LITTLE_BPS);
    world.seat(1, 0, Some(0));
    world.run(secs(5));
    assert_eq!(encoding(&world, 1, 0), Some(0));
    assert!(VOICE_BPS.contains(&(estimate(&mut world, 1) - LITTLE_BPS)), "{}", estimate(&mut world, 1));
    assert!(sent_bps(&mut world, 1, secs(5)) < MOST_BPS * SLACK);

    world.members[1].client.remb_bps = Some(3_000_000);
    world.run(secs(8));
    assert_eq!(encoding(&world, 1, 0), Some(2));

    world.members[1].client.remb_bps = Some(LITTLE_BPS);
    // It travels, and what was begun is under way.
    world.run(millis(50));
    let sent = sent_bps(&mut world, 1, millis(500));
    assert!(sent < MOST_BPS * SLACK, "{sent} after the fall");
    world.run(millis(500));
    assert_eq!(encoding(&world, 1, 0), Some(0));
    assert!(sent_bps(&mut world, 1, secs(5)) < MOST_BPS * SLACK);
    assert!(world.sfu.counters().remb_in > 15);
}

#[test]
fn who_estimates_their_line_themselves_comes_to_the_full_picture_and_is_sent_no_more_for_it_than_they_tell() {
    let mut world = World::new(11);
    world.join(publisher());
    world.join(ClientConfig { transport_cc: false, estimates: true, ..viewer(1) });
    world.seat(1, 0, Some(0));
    // What may come of one on top in any second.
    const KEYFRAME_BITS: f64 = 250_000.0;
    let mut full_after = None;
    for second in 1..=45 {
        let told = estimate(&mut world, 1).max(ESTIMATE_START_BPS);
        let sent = sent_bps(&mut world, 1, secs(1));
        let most = told.max(estimate(&mut world, 1)) as f64;
        assert!(
            sent < most * SLACK + KEYFRAME_BITS || full_after.is_some(),
            "{sent} of {most} in second {second}"
        );
        if full_after.is_none() && encoding(&world, 1, 0) == Some(2) {
            full_after = Some(second);
        }
    }
    // From 300 kbit/s by 8 % in a second, as such a receiver does.
    let full_after = full_after.expect("the full picture");
    assert!((15..=40).contains(&full_after), "{full_after} s");
    // What was wanted is there: nothing more is sent.
    let before = world.sfu.counters().probe_packets_out;
    world.run(secs(10));
    assert_eq!(world.sfu.counters().probe_packets_out, before);
}

#[test]
fn when_packets_left_is_said_to_who_estimates_the_line_by_it_and_to_nobody_else() {
    let all = [(true, true, false), (true, false, false), (false, true, true), (false, false, false)];
    for (transport_cc, remb, expected) in all {
        let mut world = World::new(12);
        world.join(publisher());
        world.join(ClientConfig { transport_cc, remb, ..viewer(1) });
        for media in &world.members[1].client.answers[0].media {
            let is_answered = media.extension_id(uri::ABS_SEND_TIME).is_some();
            assert_eq!(is_answered, expected && media.kind == "video", "{} {}", media.kind, media.mid);
        }
        // The checker reads each packet.
        world.seat(1, 0, Some(0));
        world.run(secs(3));
        assert!(world.shown(1, 0).1.frames_decoded > 50);
    }
}

#[test]
fn remb_is_answered_only_where_transport_wide_feedback_was_not_offered() {
    for (transport_cc, remb, expected) in [
        (true, true, "transport-cc"),
        (true, false, "transport-cc"),
        (false, true, "goog-remb"),
        (false, false, ""),
    ] {
        let mut world = World::new(2);
        world.join(ClientConfig { transport_cc, remb, ..publisher() });
        let media = &world.members[0].client.answers[0].media;
        for video in media.iter().filter(|media| media.kind == "video") {
            let estimates: Vec<_> = video
                .feedback
                .iter()
                .map(|(_, feedback)| feedback.as_str())
                .filter(|feedback| ["transport-cc", "goog-remb"].contains(feedback))
                .collect();
            // Of each codec the same.
            let estimates: std::collections::BTreeSet<_> = estimates.into_iter().collect();
            let estimates: Vec<_> = estimates.into_iter().collect();
            assert_eq!(estimates.join(" "), expected);
        }
    }
}

#[test]
fn who_tells_nothing_of_what_arrives_is_sent_everything_at_once() {
    let mut world = World::new(3);
    world.join(publisher());
    world.join(ClientConfig { transport_cc: false, remb: false, ..viewer(1) });
    world.run(secs(2));
    world.seat(1, 0, Some(0));
    world.run(millis(500));
    assert_eq!(encoding(&world, 1, 0), Some(2));
    for _ in 0..200 {
        world.run(millis(10));
        assert_eq!(world.stats(1).downlink.paced_packets, 0);
    }
    assert_eq!(world.stats(1).downlink.estimate_bps, None);
    assert_eq!(world.shown(1, 0).1.heights.len(), 1, "{:?}", world.shown(1, 0).1);
}

// What is wished for

#[test]
fn an_encoding_of_unknown_height_above_one_that_is_too_high_is_too_high() {
    let mut world = World::new(31);
    world.join(publisher());
    // As a browser does whose camera is small: the highest is never sent.
    world.members[0].client.pause_encoding(2, true);
    world.join(viewer(1));
    world.wish(1, 0, LOWEST);
    world.seat(1, 0, Some(0));
    world.run(secs(6));
    assert_eq!(encoding(&world, 1, 0), Some(0));
    assert_eq!(wanted(&world, 0), ["q"]);
}

#[test]
fn what_the_only_viewer_has_no_room_for_is_paused_and_comes_back_with_a_picture() {
    let mut world = watched(10, line());
    world.run(secs(12));
    assert_eq!(encoding(&world, 1, 0), Some(2));
    world.wish(1, 0, LOWEST);
    world.run(secs(3));
    assert_eq!(wanted(&world, 0), ["q"]);
    assert_eq!(encoding(&world, 1, 0), Some(0));
    let flowing = |world: &mut World| -> Vec<bool> {
        let camera = world.stats(0).sources.into_iter().find(|source| source.kind == SourceKind::Camera);
        camera.expect("a camera").encodings.iter().map(|encoding| encoding.flowing).collect()
    };
    assert_eq!(flowing(&mut world), [true, false, false]);

    world.run(secs(5));
    world.wish(1, 0, SeatWish::DEFAULT);
    let asked_at = world.now;
    let back = world.run_until(secs(10), |world| encoding(world, 1, 0) == Some(2));
    assert!(back, "never back");
    assert!(world.now.since(asked_at) <= millis(500), "{:?}", world.now.since(asked_at));
    assert!(wanted(&world, 0).contains(&"f".to_owned()));
}

#[test]
fn layers_that_the_only_viewer_has_no_room_for_are_paused_and_come_back_with_a_picture() {
    for codec in [CodecName::Vp9, CodecName::Av1] {
        let mut world = watched_in(codec, 10);
        world.run(secs(12));
        assert_eq!(encoding(&world, 1, 0), Some(2), "{codec:?}");
        world.wish(1, 0, LOWEST);
        world.run(secs(3));
        assert_eq!(wanted(&world, 0), ["q"], "{codec:?}");
        assert_eq!(encoding(&world, 1, 0), Some(0), "{codec:?}");
        assert_eq!(layers(&mut world, 0), 1, "{codec:?}");

        // Of those between as many as are watched.
        world.wish(1, 0, MIDDLE);
        world.run(secs(3));
        assert_eq!(wanted(&world, 0), ["q", "h"], "{codec:?}");
        assert_eq!((encoding(&world, 1, 0), layers(&mut world, 0)), (Some(1), 2), "{codec:?}");
        world.wish(1, 0, LOWEST);

        world.run(secs(5));
        world.wish(1, 0, SeatWish::DEFAULT);
        let asked_at = world.now;
        let back = world.run_until(secs(10), |world| encoding(world, 1, 0) == Some(2));
        assert!(back, "never back in {codec:?}");
        assert!(world.now.since(asked_at) <= millis(500), "{:?} in {codec:?}", world.now.since(asked_at));
        assert_eq!(wanted(&world, 0), ["q", "h", "f"], "{codec:?}");
    }
}

#[test]
fn a_codec_with_layers_that_begins_while_most_is_paused_comes_to_all_sizes() {
    let mut world = watched(10, line());
    world.run(secs(6));
    world.wish(1, 0, LOWEST);
    world.run(secs(3));
    assert_eq!(wanted(&world, 0), ["q"]);
    world.members[0].client.send_camera_in(CodecName::Vp9);
    world.run(secs(3));
    assert_eq!((encoding(&world, 1, 0), layers(&mut world, 0)), (Some(0), 1));
    world.wish(1, 0, MIDDLE);
    world.run(secs(5));
    assert_eq!(encoding(&world, 1, 0), Some(1));
    world.wish(1, 0, SeatWish::DEFAULT);
    world.run(secs(5));
    assert_eq!((encoding(&world, 1, 0), layers(&mut world, 0)), (Some(2), 3));
    world.wish(1, 0, LOWEST);
    world.run(secs(3));
    assert_eq!((wanted(&world, 0), layers(&mut world, 0)), (vec!["q".to_owned()], 1));
}

#[test]
fn what_nobody_is_shown_any_more_is_paused_within_half_a_second_however_soon_it_was_resumed() {
    for codec in [CodecName::Vp8, CodecName::Vp9] {
        let mut world = watched_in(codec, 13);
        world.run(secs(12));
        world.wish(1, 0, LOWEST);
        for resumed_for in [0, 40, 110, 230, 390, 870] {
            world.run(secs(3));
            assert_eq!(wanted(&world, 0), ["q"], "{codec:?}");
            world.wish(1, 0, SeatWish::DEFAULT);
            let resumes = world.run_until(millis(500), |world| wanted(world, 0).contains(&"f".to_owned()));
            assert!(resumes, "{codec:?}, to be paused after {resumed_for} ms");
            world.run(millis(resumed_for));
            world.wish(1, 0, LOWEST);
            let pauses = world.run_until(millis(500), |world| wanted(world, 0) == ["q"]);
            assert!(pauses, "{codec:?}, resumed for {resumed_for} ms");
        }
    }
}

#[test]
fn a_height_of_zero_shows_nothing_and_leaves_the_voice() {
    let mut world = watched(11, line());
    world.run(secs(5));
    world.wish(1, 0, NOTHING);
    world.run(millis(100));
    let (audio, video) = world.shown(1, 0);
    world.run(secs(5));
    let (audio_after, video_after) = world.shown(1, 0);
    assert_eq!(video_after.frames_decoded, video.frames_decoded);
    assert!(audio_after.packets - audio.packets >= 245, "{audio_after:?}");
    assert_eq!(audio_after.heard.frames().concealed, audio.heard.frames().concealed);
    assert_eq!(wanted(&world, 0), ["q"]);
    world.wish(1, 0, SeatWish::DEFAULT);
    world.run(secs(3));
    assert_eq!(encoding(&world, 1, 0), Some(2));
}

#[test]
fn each_viewer_gets_what_it_wishes_and_the_publisher_sends_what_any_of_them_does() {
    let mut world = World::new(12);
    world.join(publisher());
    for who in 1..=3 {
        world.join(viewer(1));
        world.seat(who, 0, Some(0));
    }
    world.wish(1, 0, LOWEST);
    world.wish(2, 0, MIDDLE);
    world.run(secs(15));
    let shown: Vec<_> = (1..=3).map(|who| encoding(&world, who, 0)).collect();
    assert_eq!(shown, [Some(0), Some(1), Some(2)]);

    let leaver = world.members[3].client.peer;
    world.command(Command::RemovePeer { peer: leaver });
    world.members.truncate(3);
    world.run(secs(2));
    assert_eq!(wanted(&world, 0), ["q", "h"]);
    let leaver = world.members[2].client.peer;
    world.command(Command::RemovePeer { peer: leaver });
    world.members.truncate(2);
    world.run(secs(2));
    assert_eq!(wanted(&world, 0), ["q"]);
    assert_eq!(encoding(&world, 1, 0), Some(0));
}

// Who goes first

/// Two publishers, 0 and 1, and a viewer, 2, whose line carries one large picture and one small one.
fn narrow(seed: u64, first: ClientConfig, second: ClientConfig, viewer: ClientConfig) -> World {
    const ONE_LARGE_BPS: u64 = 2_300_000;
    let mut world = World::new(seed);
    world.join(first);
    world.join(second);
    world.join_over(viewer, line(), line().rate_bps(ONE_LARGE_BPS).queue_ms(300));
    world.seat(2, 0, Some(0));
    world.seat(2, 1, Some(1));
    world
}

#[test]
fn the_pinned_camera_is_the_large_one() {
    for pinned in [0, 1] {
        let mut world = narrow(20, publisher(), publisher(), viewer(2));
        world.wish(2, pinned, PINNED);
        world.run(secs(20));
        let [pinned, other] = [pinned, 1 - pinned].map(|seat| encoding(&world, 2, usize::from(seat)));
        assert!(pinned == Some(2) && other < Some(2), "{pinned:?} {other:?}");
    }
}

#[test]
fn a_screen_goes_before_cameras() {
    let shares = ClientConfig { screen_bps: Some(1_200_000), ..publisher() };
    let mut world = narrow(21, shares, publisher(), ClientConfig { screen_seats: 1, ..viewer(2) });
    world.seat(2, 2, Some(0));
    world.run(secs(20));
    let screen = world.shown(2, 2).1.frames_decoded;
    world.run(secs(5));
    let screen = world.shown(2, 2).1.frames_decoded - screen;
    assert!(screen > 130, "{screen} frames of the screen in five seconds");
    let cameras = [0, 1].map(|seat| encoding(&world, 2, seat).expect("a picture"));
    assert!(cameras.iter().all(|encoding| *encoding < 2), "{cameras:?}");
}

#[test]
fn who_speaks_is_the_large_one() {
    for speaks in [0, 1] {
        let with = |who| ClientConfig {
            levels: vec![(Time::ZERO, if who == speaks { SPEAKS } else { SILENT })],
            ..publisher()
        };
        let mut world = narrow(22, with(0), with(1), viewer(2));
        world.run(secs(20));
        let [speaker, other] = [speaks, 1 - speaks].map(|seat| encoding(&world, 2, seat));
        assert!(speaker == Some(2) && other < Some(2), "{speaker:?} {other:?}");
    }
}

fn sized(seed: u64) -> ClientConfig {
    ClientConfig { sizes_seed: Some(seed), ..publisher() }
}

/// Until the picture of seat 1 is the large one and that of seat 0 is not.
fn swapped(world: &mut World) -> Duration {
    let at = world.now;
    let so = |world: &World| encoding(world, 2, 1) == Some(2) && encoding(world, 2, 0) < Some(2);
    assert!(world.run_until(secs(60), so), "not in a minute");
    world.now.since(at)
}

#[test]
fn another_pin_changes_who_is_large() {
    let took: Vec<_> = (20..26)
        .map(|seed| {
            let mut world = narrow(seed, sized(seed), sized(seed), viewer(2));
            world.wish(2, 0, PINNED);
            world.run(secs(20));
            world.wish(2, 0, SeatWish::DEFAULT);
            world.wish(2, 1, PINNED);
            swapped(&mut world)
        })
        .collect();
    assert!(took.iter().all(|took| *took < secs(6)), "{took:?}");
}

#[test]
fn another_speaker_changes_who_is_large() {
    let turn = Time::from_millis(20_000);
    let took: Vec<_> = (20..26)
        .map(|seed| {
            let speaks = |before, after| ClientConfig {
                levels: vec![(Time::ZERO, before), (turn, after)],
                ..sized(seed)
            };
            let mut world = narrow(seed, speaks(SPEAKS, SILENT), speaks(SILENT, SPEAKS), viewer(2));
            world.run(secs(20));
            swapped(&mut world)
        })
        .collect();
    assert!(took.iter().all(|took| *took < secs(7)), "{took:?}");
}

// Who speaks

#[test]
fn a_speaker_is_named_once_for_each_turn_and_not_for_a_cough() {
    let levels = |turns: &[(u64, u8)]| ClientConfig {
        camera: 0,
        levels: turns.iter().map(|(ms, level)| (Time::from_millis(*ms), *level)).collect(),
        ..publisher()
    };
    let mut world = World::new(30);
    // A cough in the second turn, as loud and as long as one can be.
    world.join(levels(&[(0, SPEAKS), (5_000, SILENT), (7_000, 0), (7_400, SILENT)]));
    world.join(levels(&[(0, SILENT), (5_000, SPEAKS), (10_000, SILENT)]));
    world.join(levels(&[(0, SILENT), (10_000, SPEAKS), (14_000, SILENT)]));
    world.run(secs(20));
    let named = |world: &World| -> Vec<_> {
        let of = |(at, event): &(Time, Event)| match event {
            Event::Speaker { speaker, .. } => Some((at.as_micros() / 1_000, speaker.map(|peer| peer.0))),
            _ => None,
        };
        world.events.iter().filter_map(of).collect()
    };
    let told = named(&world);
    let who: Vec<_> = told.iter().map(|(_, who)| *who).collect();
    assert_eq!(who, [Some(1), Some(2), Some(3)], "{told:?}");
    for ((at, _), turn) in told.iter().zip([0, 5_000, 10_000]) {
        assert!((turn..turn + 1_500).contains(at), "{told:?}");
    }
    let leaver = world.members[2].client.peer;
    world.command(Command::RemovePeer { peer: leaver });
    world.members.truncate(2);
    world.run(secs(5));
    assert_eq!(named(&world)[3..].iter().map(|(_, who)| *who).collect::<Vec<_>>(), [None]);
}

// How good connections are

#[test]
fn a_publisher_that_loses_is_told_so_and_its_viewers_are_not() {
    const LOST: f64 = 0.08;
    let mut world = World::new(40);
    world.join_over(publisher(), line().loss(LOST), line());
    for who in 1..=2 {
        world.join(viewer(1));
        world.seat(who, 0, Some(0));
    }
    world.run(secs(30));
    let told = qualities(&world, 0);
    assert!(!told.is_empty());
    for (_, quality) in &told {
        assert!([QualityLevel::Fair, QualityLevel::Poor].contains(&quality.level), "{told:?}");
        let Some(QualityReason::UplinkLoss(share)) = quality.reason else { panic!("{told:?}") };
        assert!((0.05..0.12).contains(&share), "{told:?}");
    }
    for who in 1..=2 {
        assert_eq!(qualities(&world, who), []);
    }
    let step = steps(&world, 0).pop().expect("steps").1;
    assert!((0.06..0.10).contains(&step.uplink_loss.expect("loss")), "{step:?}");
}

#[test]
fn a_viewer_that_loses_is_told_so() {
    const LOST: f64 = 0.10;
    let mut world = watched(41, line().loss(LOST));
    world.run(secs(30));
    let told = qualities(&world, 1);
    let losses: Vec<_> = told
        .iter()
        .filter_map(|(_, quality)| match quality.reason {
            Some(QualityReason::DownlinkLoss(share)) => Some(share),
            _ => None,
        })
        .collect();
    assert!(losses.iter().any(|share| (0.06..0.14).contains(share)), "{told:?}");
    assert_eq!(qualities(&world, 0), []);
    let step = steps(&world, 1).pop().expect("steps").1;
    assert!((0.07..0.13).contains(&step.downlink_loss.expect("loss")), "{step:?}");
}

#[test]
fn a_viewer_on_a_slow_line_is_told_what_it_carries() {
    const LINE_BPS: u64 = 200_000;
    let mut world = watched(42, line().rate_bps(LINE_BPS).queue_ms(300));
    world.run(secs(40));
    let told = qualities(&world, 1);
    let Some((_, Quality { level, reason: Some(QualityReason::DownlinkRate(bps)) })) = told.last() else {
        panic!("{told:?}")
    };
    assert!(*level >= QualityLevel::Fair && *bps <= LINE_BPS, "{told:?}");
    assert_eq!(qualities(&world, 0), []);
}

#[test]
fn a_publisher_whose_device_knows_of_a_thin_way_up_is_told_of_it_while_somebody_looks() {
    let mut world = watched(58, line());
    let peer = world.members[0].client.peer;
    let note = |world: &mut World, seconds: u64, bps: u64| {
        for _ in 0..seconds {
            world.command(Command::NoteUplink { peer, bps });
            world.run(secs(1));
        }
    };
    note(&mut world, 10, 300_000);
    let thin = Quality { level: QualityLevel::Fair, reason: Some(QualityReason::UplinkRate(300_000)) };
    assert_eq!(qualities(&world, 0).last().map(|(_, quality)| *quality), Some(thin));
    assert_eq!(qualities(&world, 1).last(), None, "it is not the viewer's line");
    let told = |world: &World| {
        world.events.iter().rev().find_map(|(_, event)| match event {
            Event::Line { peer: whose, look } if *whose == peer => Some(look.uplink_bps),
            _ => None,
        })
    };
    assert_eq!(told(&world), Some(Some(300_000)));
    world.wish(1, 0, NOTHING);
    note(&mut world, 10, 300_000);
    let good = Some(Quality::default());
    assert_eq!(qualities(&world, 0).last().map(|(_, quality)| *quality), good);
    note(&mut world, 10, 40_000);
    assert_eq!(qualities(&world, 0).last().map(|(_, quality)| *quality), good, "nobody looks");
    world.wish(1, 0, SeatWish::DEFAULT);
    world.run(secs(15));
    assert_eq!(told(&world), Some(None), "it counts for a while");
    assert_eq!(qualities(&world, 0).last().map(|(_, quality)| *quality), good, "forgotten");
}

#[test]
fn silence_is_told_at_once_and_forgiven() {
    let mut world = World::new(43);
    for who in 0..2 {
        world.join(publisher());
        if who == 1 {
            world.seat(0, 0, Some(1));
            world.seat(1, 0, Some(0));
        }
    }
    world.run(secs(15));
    assert_eq!(qualities(&world, 0), []);
    world.members[0].client.frozen = true;
    world.run(secs(12));
    let id = world.members[0].client.peer;
    let quiet = world
        .events
        .iter()
        .find_map(|(at, event)| matches!(event, Event::Quiet { peer } if *peer == id).then_some(*at));
    let quiet = quiet.expect("a silent peer");
    let told = qualities(&world, 0);
    let (at, worst) = *told.last().expect("told");
    assert_eq!((worst.level, worst.reason), (QualityLevel::Bad, Some(QualityReason::Silence)), "{told:?}");
    assert!(at.since(quiet) <= secs(1), "{:?}", at.since(quiet));
    world.members[0].client.frozen = false;
    world.run(secs(12));
    let told = qualities(&world, 0);
    assert_eq!(told.last().map(|(_, quality)| quality.level), Some(QualityLevel::Good), "{told:?}");
}

#[test]
fn a_step_tells_of_ten_seconds() {
    let mut world = watched(44, line());
    world.run(secs(45));
    let told = steps(&world, 1);
    assert!(told.len() >= 4, "{told:?}");
    for pair in told.windows(2) {
        let between = pair[1].0.since(pair[0].0);
        assert!(between >= QUALITY_STEP && between <= QUALITY_STEP + secs(1), "{between:?}");
    }
    // What it was sent in the last of them, but for the edges.
    let (at, step) = *told.last().expect("steps");
    let before = world.members[1].carried;
    world.run(QUALITY_STEP - world.now.since(at) + secs(1));
    let after = world.members[1].carried;
    assert!(after.sent > before.sent);
    assert_eq!((step.video_height, step.downlink_loss), (Some(720), Some(0.0)), "{step:?}");
    assert_eq!((step.uplink_loss, step.uplink_bps), (None, 0), "{step:?}");
    assert!((1_500_000..1_800_000).contains(&step.downlink_bps), "{step:?}");
    assert!(step.rtt.is_some_and(|rtt| rtt >= millis(20) && rtt < millis(60)), "{step:?}");
    let step = steps(&world, 0).last().expect("steps").1;
    assert_eq!(step.uplink_loss, Some(0.0), "{step:?}");
    // The encodings that are wanted, and the voice.
    assert!((1_550_000..2_300_000).contains(&step.uplink_bps), "{step:?}");
    assert_eq!(step.video_height, None, "{step:?}");
}

#[test]
fn a_voice_is_asked_to_be_thrifty_only_while_all_who_hear_it_are_on_poor_lines() {
    const POOR_BPS: u64 = 80_000;
    let poor = line().rate_bps(POOR_BPS).queue_ms(300);
    let mut world = World::new(50);
    world.join(publisher());
    for who in 1..=2 {
        world.join_over(viewer(1), line(), poor);
        world.seat(who, 0, Some(0));
    }
    world.run(secs(20));
    assert_eq!(profiles(&world, 0), [AudioProfile::Thrifty]);
    world.members[2].down.set_config(world.now.as_micros(), line());
    world.run(secs(20));
    assert_eq!(profiles(&world, 0), [AudioProfile::Thrifty, AudioProfile::Full]);

    let mut world = World::new(51);
    world.join(publisher());
    for (who, down) in [(1, poor), (2, line())] {
        world.join_over(viewer(1), line(), down);
        world.seat(who, 0, Some(0));
    }
    world.run(secs(30));
    assert_eq!(profiles(&world, 0), []);
}

#[test]
fn voices_that_are_too_much_together_for_one_who_hears_them_are_asked_to_be_thrifty() {
    let mut world = World::new(57);
    world.join(publisher());
    world.join(publisher());
    world.join_over(viewer(2), line(), line().rate_bps(100_000).queue_ms(300));
    world.join(viewer(2));
    for (seat, whom) in [(0, 0), (1, 1)] {
        world.seat(2, seat, Some(whom));
        world.seat(3, seat, Some(whom));
        world.wish(2, seat, NOTHING);
    }
    world.run(secs(20));
    for whom in 0..2 {
        assert_eq!(profiles(&world, whom), [AudioProfile::Thrifty]);
    }
    let before = world.shown(2, 0).0.heard.played_ms;
    world.run(secs(10));
    let heard = world.shown(2, 0).0.heard.played_ms - before;
    assert!(heard > 9_500, "{heard} ms of 10 s");
    world.members[2].down.set_config(world.now.as_micros(), line());
    world.run(secs(30));
    for whom in 0..2 {
        assert_eq!(profiles(&world, whom), [AudioProfile::Thrifty, AudioProfile::Full]);
    }
}

#[test]
fn a_thrifty_voice_is_full_again_on_a_good_line_though_nobody_shows_a_picture() {
    let mut world = World::new(52);
    world.join(ClientConfig { camera: 0, ..publisher() });
    world.join_over(viewer(1), line(), line().rate_bps(60_000).queue_ms(300));
    world.seat(1, 0, Some(0));
    world.run(secs(30));
    assert_eq!(profiles(&world, 0), [AudioProfile::Thrifty]);
    world.members[1].down.set_config(world.now.as_micros(), line());
    world.run(secs(30));
    assert_eq!(profiles(&world, 0), [AudioProfile::Thrifty, AudioProfile::Full]);
}

#[test]
fn who_may_not_hear_yet_keeps_no_voice_full() {
    let mut world = World::new(53);
    world.join(publisher());
    world.join_over(viewer(1), line(), line().rate_bps(80_000).queue_ms(300));
    world.join(viewer(1));
    world.seat(1, 0, Some(0));
    world.seat(2, 0, Some(0));
    world.run(secs(10));
    let peer = world.members[2].client.peer;
    world.command(Command::SetMediaGate { peer, gate: MediaGate::Closed });
    world.run(secs(20));
    assert_eq!(profiles(&world, 0), [AudioProfile::Thrifty]);
}

/// A viewer whose line hardly carries a voice from the tenth second on.
fn hardly_hears() -> World {
    let mut world = watched(54, line());
    world.run(secs(10));
    world.members[1].down.set_config(world.now.as_micros(), hardly());
    world
}

/// 24 kbit/s, with a second and a half of it in its queue.
fn hardly() -> LinkConfig {
    line().rate_bps(24_000).queue_bytes(4_500)
}

#[test]
fn of_a_voice_the_least_is_asked_for_a_line_that_hardly_carries_one() {
    let mut world = hardly_hears();
    world.run(secs(20));
    assert_eq!(profiles(&world, 0).last(), Some(&AudioProfile::Least), "{:?}", profiles(&world, 0));
    world.members[1].down.set_config(world.now.as_micros(), line());
    world.run(secs(40));
    assert_eq!(profiles(&world, 0).last(), Some(&AudioProfile::Full), "{:?}", profiles(&world, 0));
}

#[test]
fn who_joins_on_a_line_that_carries_a_thrifty_voice_is_sent_no_less() {
    for seed in 55..60 {
        let mut world = World::new(seed);
        world.join(publisher());
        world.join_over(viewer(1), line(), line().delay_ms(50).rate_bps(45_000).queue_ms(300));
        world.seat(1, 0, Some(0));
        world.run(secs(30));
        assert_eq!(profiles(&world, 0), [AudioProfile::Thrifty], "what was lost was lost of pictures");
    }
}

#[test]
fn on_a_line_that_hardly_carries_a_voice_none_stands_in_its_queue_and_none_goes_twice() {
    let mut world = hardly_hears();
    world.run(secs(15));
    let mut stood = Vec::new();
    for _ in 0..200 {
        world.run(millis(100));
        stood.push(world.members[1].down.queue_delay_us(world.now.as_micros()) / 1_000);
        assert_eq!(
            world.stats(1).downlink.audio_redundancy,
            0,
            "what is lost here is lost by too much of it"
        );
    }
    stood.sort_unstable();
    // All of the queue is a second and a half.
    assert!(stood[stood.len() * 9 / 10] < 700, "{stood:?}");
    let (audio, _) = world.shown(1, 0);
    let before = audio.heard.played_ms;
    world.run(secs(20));
    let heard = world.shown(1, 0).0.heard.played_ms - before;
    assert!(heard > 15_000, "{heard} ms of 20 s");
}

#[test]
fn who_sends_over_a_way_that_is_full_is_asked_again_for_half_of_what_comes() {
    let mut world = watched(54, line());
    world.run(secs(10));
    world.members[0].up.set_config(world.now.as_micros(), hardly());
    let before = *world.sfu.counters();
    world.run(secs(20));
    let now = world.sfu.counters();
    let came = now.rtp_in - before.rtp_in;
    let asked = now.nacked_packets_out - before.nacked_packets_out;
    assert!((1..=REPAIRS_AT_ONCE + came / 2).contains(&asked), "{asked} asked for, {came} came");
}

#[test]
fn transport_wide_feedback_takes_little_of_a_line_that_carries_little() {
    let feedback = |world: &mut World| {
        let before = world.members[1].client.transport_feedback;
        world.run(secs(10));
        world.members[1].client.transport_feedback - before
    };
    let mut world = World::new(55);
    for _ in 0..2 {
        world.join(publisher());
    }
    world.seat(1, 0, Some(0));
    world.run(secs(5));
    assert!((90..=101).contains(&feedback(&mut world)), "every 100 ms");
    world.members[1].down.set_config(world.now.as_micros(), line().rate_bps(60_000).queue_ms(300));
    world.run(secs(10));
    let on_little = feedback(&mut world);
    assert!((30..=45).contains(&on_little), "{on_little} in 10 s");
}

// Redundant audio

/// The share of a voice that a viewer had concealed, whose publisher loses on its way up.
fn concealed_share(red_distance: usize, red: bool) -> f64 {
    const LOST: f64 = 0.15;
    let mut world = World::new(60);
    world.join_over(ClientConfig { camera: 0, red_distance, ..publisher() }, line().loss(LOST), line());
    world.join(ClientConfig { red, ..viewer(1) });
    world.seat(1, 0, Some(0));
    world.run(secs(60));
    let (audio, _) = world.shown(1, 0);
    // The checker has seen that no number is there twice, and no frame behind a later one.
    assert_eq!(world.members[1].checker.redundant_blocks, 0);
    assert_eq!(world.sfu.counters().dropped_rtp_malformed + world.sfu.counters().dropped_payload_type, 0);
    let frames = audio.heard.frames();
    assert!(frames.due > 2_500, "{audio:?}");
    frames.share().expect("frames")
}

#[test]
fn redundancy_of_a_publisher_repairs_what_it_lost_and_is_opened_for_all() {
    let plain = concealed_share(0, true);
    assert!((0.12..0.18).contains(&plain), "{plain}");
    for red in [true, false] {
        let repaired = concealed_share(1, red);
        assert!(repaired < 0.04, "{repaired} of {plain}");
    }
}

#[test]
fn redundancy_towards_a_subscriber_grows_with_loss_and_ends_with_it() {
    for red in [true, false] {
        let mut world = World::new(61);
        world.join(publisher());
        world.join(ClientConfig { red, ..viewer(1) });
        world.seat(1, 0, Some(0));
        world.run(secs(10));
        assert_eq!(world.members[1].checker.redundant_blocks, 0);
        let mut most = Vec::new();
        for loss in [0.04, 0.15] {
            world.members[1].down.set_config(world.now.as_micros(), line().loss(loss));
            let distances: Vec<_> = (0..20)
                .map(|_| {
                    world.run(secs(1));
                    world.stats(1).downlink.audio_redundancy
                })
                .collect();
            most.push(distances[10..].iter().copied().max().expect("looks"));
        }
        assert!(most[0] >= 1 && most[1] == 2, "{most:?}");
        world.members[1].down.set_config(world.now.as_micros(), line());
        world.run(secs(15));
        let blocks = world.members[1].checker.redundant_blocks;
        assert_eq!(blocks > 0, red);
        assert_eq!(world.stats(1).downlink.audio_redundancy, 0);
        world.run(secs(5));
        assert_eq!(world.members[1].checker.redundant_blocks, blocks);
    }
}

#[test]
fn redundancy_that_is_none_harms_nobody() {
    const CASES: u32 = 32;
    /// Headers of blocks, and now and then the end of them.
    const MARKED: [u8; 3] = [0x80 | 111, 111, 0xff];
    let byte = prop_oneof![1 => any::<u8>(), 1 => proptest::sample::select(MARKED.to_vec())];
    let payloads = prop::collection::vec(prop::collection::vec(byte, 0..300), 1..50);
    let run = seeded(CASES).run(&payloads, |payloads| {
        let mut world = watched(62, line());
        // Nobody hears it: what it sends is no voice.
        world.join(ClientConfig { camera: 0, ..publisher() });
        world.run(secs(1));
        world.members[2].client.muted = true;
        for payload in &payloads {
            let now = world.now;
            world.members[2].client.send_redundant(payload, now);
            world.run(millis(20));
        }
        world.run(secs(2));
        let counters = world.sfu.counters();
        prop_assert_eq!(counters.dropped_rtp_auth + counters.dropped_payload_type, 0);
        prop_assert!(world.shown(1, 0).0.heard.frames().concealed == 0);
        Ok(())
    });
    run.expect("the other voice is as it was");
}

// What is not the line's

#[test]
fn feedback_that_is_lost_lowers_nothing() {
    const LOST: f64 = 0.20;
    let mut world = watched(70, line());
    world.run(secs(15));
    let before = estimate(&mut world, 1);
    world.members[1].up.set_config(world.now.as_micros(), line().loss(LOST));
    for _ in 0..20 {
        world.run(secs(1));
        let downlink = world.stats(1).downlink;
        assert!(downlink.loss_share < 0.01, "{downlink:?}");
        assert!(
            downlink.estimate_bps.is_some_and(|bps| bps as f64 > before as f64 * 0.95),
            "{before} {downlink:?}"
        );
    }
    assert_eq!(encoding(&world, 1, 0), Some(2));
}

#[test]
fn what_a_publisher_loses_lowers_nobodys_estimate() {
    const LOST: f64 = 0.10;
    let mut world = watched(71, line());
    world.run(secs(15));
    let before = estimate(&mut world, 1);
    world.members[0].up.set_config(world.now.as_micros(), line().loss(LOST));
    for _ in 0..20 {
        world.run(secs(1));
        let downlink = world.stats(1).downlink;
        assert_eq!(downlink.loss_share, 0.0);
        assert!(downlink.estimate_bps.is_some_and(|bps| bps >= before), "{before} {downlink:?}");
    }
}

#[test]
fn a_new_path_begins_with_little_and_is_soon_up_again() {
    let mut world = watched(72, line());
    world.run(secs(15));
    assert!(estimate(&mut world, 1) > 2 * ESTIMATE_START_BPS);
    world.restart_ice(1);
    world.roam(1, "10.9.9.9:1234".parse().expect("an address"));
    let changed = world.run_until(secs(5), |world| {
        world.events.iter().any(|(_, event)| matches!(event, Event::PathChanged { .. }))
    });
    assert!(changed);
    assert!(estimate(&mut world, 1) <= ESTIMATE_START_BPS);
    assert!(world.run_until(secs(8), |world| encoding(world, 1, 0) == Some(2)));
    world.run(secs(8));
    assert_eq!(encoding(&world, 1, 0), Some(2));
    assert!(estimate(&mut world, 1) > 2 * ESTIMATE_START_BPS);
}

#[test]
fn a_way_without_a_restart_begins_with_little_too() {
    let mut world = watched(72, line());
    world.run(secs(15));
    assert!(estimate(&mut world, 1) > 5 * ESTIMATE_START_BPS);
    world.roam(1, "10.9.9.9:1234".parse().expect("an address"));
    let before = world.members[1].carried.sent;
    assert!(world.run_until(secs(10), |world| world.members[1].carried.sent > before));
    assert!(estimate(&mut world, 1) <= ESTIMATE_START_BPS);
}

#[test]
fn another_port_of_a_nat_is_the_same_way() {
    let mut world = watched(73, line());
    world.run(secs(15));
    let known = estimate(&mut world, 1);
    let mut address = world.members[1].client.address.socket();
    address.set_port(address.port() + 1);
    world.roam(1, address);
    let before = world.members[1].carried.sent;
    assert!(world.run_until(secs(10), |world| world.members[1].carried.sent > before));
    assert!(estimate(&mut world, 1) >= known / 2);
}

#[test]
fn a_keyframe_that_waited_has_the_time_of_its_capture() {
    let mut world = watched(72, line());
    world.run(secs(15));
    world.members[1].down.set_config(world.now.as_micros(), line().loss(1.0));
    world.run(millis(200));
    world.roam(1, "10.9.9.9:1234".parse().expect("an address"));
    world.members[1].down.set_config(world.now.as_micros(), line());
    let before = world.members[1].checker.packets;
    // The checker has it that media time does not run away from capture time.
    world.run(secs(10));
    assert!(world.members[1].checker.packets > before + 500);
}

#[test]
fn after_an_outage_a_picture_without_a_voice_is_back() {
    for outage in [300, 1_000, 8_000] {
        let mut world = World::new(76);
        world.join(ClientConfig { microphone: false, ..publisher() });
        world.join_over(viewer(1), line(), line().rate_bps(3_000_000));
        world.seat(1, 0, Some(0));
        world.run(secs(15));
        world.members[1].down.set_config(world.now.as_micros(), line().rate_bps(3_000_000).loss(1.0));
        world.run(millis(outage));
        world.members[1].down.set_config(world.now.as_micros(), line().rate_bps(3_000_000));
        world.run(secs(8));
        assert_eq!(encoding(&world, 1, 0), Some(2), "{outage} ms");
    }
}

#[test]
fn a_way_that_became_longer_is_no_queue() {
    for (rtt_ms, more_ms) in [(20, 50), (20, 60), (100, 150), (300, 80)] {
        let down = |delay_ms| LinkConfig::default().rate_bps(5_000_000).queue_ms(300).delay_ms(delay_ms);
        let mut world = watched(74, down(rtt_ms / 2));
        world.run(secs(15));
        assert_eq!(encoding(&world, 1, 0), Some(2));
        world.members[1].down.set_config(world.now.as_micros(), down(rtt_ms / 2 + more_ms));
        let mut away = Duration::ZERO;
        for _ in 0..100 {
            world.run(millis(100));
            away += if encoding(&world, 1, 0) == Some(2) { Duration::ZERO } else { millis(100) };
        }
        assert!(away <= secs(4), "{more_ms} ms more: {away:?} without the full picture");
    }
}

#[test]
fn voices_that_took_more_than_there_was_do_not_hold_up_video_later() {
    let mut world = World::new(75);
    for at in 0..4 {
        world.join(ClientConfig { camera: usize::from(at == 0) * 3, ..publisher() });
    }
    // Somebody on a good line hears them too: none is asked to be thrifty.
    world.join(viewer(4));
    world.join_over(viewer(4), line(), line().rate_bps(45_000).queue_ms(300));
    for viewer in [4, 5] {
        (0..4).for_each(|seat| world.seat(viewer, seat, Some(usize::from(seat))));
    }
    world.run(secs(180));
    assert_eq!(encoding(&world, 5, 0), None);
    world.members[5].down.set_config(world.now.as_micros(), line());
    assert!(world.run_until(secs(10), |world| encoding(world, 5, 0).is_some()), "no picture");
}

// Who watches, and who only seems to

#[test]
fn what_only_somebody_without_media_watches_is_paused() {
    let mut world = watched(24, line());
    world.join(viewer(1));
    world.seat(2, 0, Some(0));
    world.wish(1, 0, LOWEST);
    world.run(secs(10));
    assert!(wanted(&world, 0).contains(&"f".to_owned()));
    let peer = world.members[2].client.peer;
    world.command(Command::SetMediaGate { peer, gate: MediaGate::Closed });
    world.run(secs(3));
    assert_eq!(wanted(&world, 0), ["q"]);
    world.command(Command::SetMediaGate { peer, gate: MediaGate::Open });
    world.run(millis(100));
    assert!(wanted(&world, 0).contains(&"f".to_owned()));
    world.run(secs(3));
    assert_eq!(encoding(&world, 2, 0), Some(2));
}

#[test]
fn wishes_that_change_all_the_time_do_not_keep_a_publisher_busy() {
    let mut world = watched(25, line());
    world.run(secs(10));
    let told = |world: &World| {
        world.events.iter().filter(|(_, event)| matches!(event, Event::EncodingsWanted { .. })).count()
    };
    let before = told(&world);
    for at in 0..1_000 {
        world.wish(1, 0, if at % 2 == 0 { LOWEST } else { SeatWish::DEFAULT });
        world.run(millis(5));
    }
    let told = told(&world) - before;
    assert!(told <= 5 * 8, "{told} times in five seconds");
    world.run(secs(5));
    assert_eq!(encoding(&world, 1, 0), Some(2));
}

// Bounds

#[test]
fn who_stops_telling_is_sent_no_more_video_and_holds_little() {
    let mut world = watched(80, line());
    world.run(secs(15));
    world.members[1].client.mute_feedback = true;
    world.run(secs(2));
    let (audio, video) = world.shown(1, 0);
    let asked = world.sfu.counters().keyframe_requests_out;
    for _ in 0..60 {
        world.run(secs(1));
        let downlink = world.stats(1).downlink;
        assert!(downlink.paced_packets <= PACED_OFFERS_MAX + PACED_REPAIRS_MAX, "{downlink:?}");
    }
    let (audio_after, video_after) = world.shown(1, 0);
    assert_eq!(video_after.packets, video.packets, "video went on");
    assert!(audio_after.packets - audio.packets > 60 * 48, "the voice did not");
    let asked = world.sfu.counters().keyframe_requests_out - asked;
    assert!(asked <= 2, "{asked} keyframes that everybody is sent and nobody there");
    world.members[1].client.mute_feedback = false;
    world.run(secs(15));
    assert_eq!(encoding(&world, 1, 0), Some(2), "never back");
}

#[test]
fn a_flood_of_nacks_stays_within_what_was_saved_up() {
    let mut world = watched(81, line().rate_bps(1_000_000).queue_ms(300));
    world.run(secs(15));
    world.members[1].client.nack_storm = true;
    let again = world.members[1].checker.retransmissions - world.members[1].checker.padding;
    let before = (world.members[1].checker.packets, again);
    world.run(secs(20));
    let again = world.members[1].checker.retransmissions - world.members[1].checker.padding;
    let (sent, again) = (world.members[1].checker.packets - before.0, again - before.1);
    // Half of what is sent for the first time may be sent again.
    assert!(again * 3 <= sent + 300, "{again} of {sent} packets were retransmissions");
    let counters = world.sfu.counters();
    assert!(
        counters.rtx_held_off + counters.rtx_over_budget + counters.dropped_nack_rate > 5_000,
        "{counters:?}"
    );
    let (audio, _) = world.shown(1, 0);
    assert!(audio.packets > 34 * 48, "{audio:?}");
}

#[test]
fn what_waits_for_the_pacer_has_its_bound() {
    let publisher = ClientConfig { rates_bps: [4_000_000, 8_000_000, 16_000_000], ..publisher() };
    let mut world = World::new(82);
    world.join(publisher);
    world.join_over(viewer(1), line(), line().rate_bps(300_000).queue_ms(300));
    world.seat(1, 0, Some(0));
    let mut most = 0;
    for _ in 0..1_500 {
        world.run(millis(20));
        most = most.max(world.stats(1).downlink.paced_packets);
    }
    assert!(most <= PACED_OFFERS_MAX + PACED_REPAIRS_MAX, "{most}");
    assert!(world.shown(1, 0).0.packets > 28 * 48, "{:?}", world.shown(1, 0).0);
}

/// One message of hostile feedback: what it says after the SSRCs, or all of it told as arrived at random times.
#[derive(Clone, Debug)]
enum Hostile {
    Bytes(Vec<u8>),
    Arrived { back: u16, deltas: Vec<u8>, reference: [u8; 3] },
}

impl Hostile {
    /// What follows the SSRCs, after `sent` packets were sent.
    fn body(&self, sent: u64) -> Vec<u8> {
        /// A run-length chunk of packets that arrived after a small delta.
        const ARRIVED: u16 = 0x2000;
        let mut body = match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Arrived { back, deltas, reference } => {
                let count = u16::try_from(deltas.len()).expect("short");
                let words = [(sent as u16).wrapping_sub(*back), count];
                let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                body.extend_from_slice(reference);
                body.push(0);
                body.extend_from_slice(&(ARRIVED | count).to_be_bytes());
                body.extend_from_slice(deltas);
                body
            }
        };
        body.resize(body.len().next_multiple_of(4), 0);
        body
    }
}

fn hostile() -> impl Strategy<Value = Vec<Hostile>> {
    let bytes = prop::collection::vec(any::<u8>(), 8..400).prop_map(Hostile::Bytes);
    let arrived = (0..2_000_u16, prop::collection::vec(any::<u8>(), 1..800), any::<[u8; 3]>())
        .prop_map(|(back, deltas, reference)| Hostile::Arrived { back, deltas, reference });
    prop::collection::vec(prop_oneof![1 => bytes, 3 => arrived], 1..60)
}

/// What a viewer was shown and is thought to get beside another that tells this.
fn beside(messages: &[Hostile]) -> (u64, u64, f64) {
    const MESSAGES_MAX: usize = 60;
    const HEADER: [u8; 2] = [0x80 | 15, 205];
    let mut world = watched(83, line());
    world.join(viewer(1));
    world.seat(2, 0, Some(0));
    world.run(secs(3));
    for at in 0..MESSAGES_MAX {
        if let Some(message) = messages.get(at) {
            let body = message.body(world.members[2].checker.packets);
            let words = u16::try_from(body.len() / 4 + 2).expect("short");
            let compound = [&HEADER[..], &words.to_be_bytes(), &[0; 8], &body].concat();
            world.members[2].client.send_compound(&compound);
        }
        world.run(millis(20));
    }
    world.run(secs(4));
    assert_eq!(world.sfu.counters().dropped_rtcp_auth, 0);
    assert!(world.stats(2).downlink.paced_packets <= PACED_OFFERS_MAX + PACED_REPAIRS_MAX);
    let downlink = world.stats(1).downlink;
    let estimate = downlink.estimate_bps.expect("a line with feedback");
    (world.shown(1, 0).1.frames_decoded, estimate, downlink.loss_share)
}

fn seeded(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    })
}

#[test]
fn hostile_feedback_changes_nothing_but_its_own_line() {
    const CASES: u32 = 24;
    let (honest_frames, honest_estimate, _) = beside(&[]);
    let run = seeded(CASES).run(&hostile(), |messages| {
        let (frames, estimate, loss_share) = beside(&messages);
        prop_assert!(frames + 3 >= honest_frames, "{} of {} frames", frames, honest_frames);
        prop_assert!(
            estimate * 10 >= honest_estimate * 9,
            "{} of {} bits per second",
            estimate,
            honest_estimate
        );
        prop_assert!(loss_share < f64::EPSILON, "{}", loss_share);
        Ok(())
    });
    run.expect("the other viewer's line is as it was");
}

// The gate

#[test]
fn behind_a_gate_that_closes_nothing_that_waited_leaves() {
    for closes in [0, 1] {
        let mut closed = 0;
        for seed in 90..96 {
            // Some are waited for again: what is to be repaired waits too.
            let mut world = watched(seed, line().rate_bps(1_500_000).queue_ms(300).loss(0.03));
            world.run(secs(6));
            let mut waits = false;
            for _ in 0..5_000 {
                world.run(millis(2));
                waits = world.stats(1).downlink.paced_packets > 2;
                if waits {
                    break;
                }
            }
            closed += u32::from(waits);
            let peer = world.members[closes].client.peer;
            world.command(Command::SetMediaGate { peer, gate: MediaGate::Closed });
            let packets = world.members[1].checker.packets - world.members[1].checker.padding;
            world.run(secs(2));
            let after = world.members[1].checker.packets - world.members[1].checker.padding;
            assert_eq!(after, packets, "seed {seed}, gate of {closes}");
        }
        assert!(closed > 0, "nothing ever waited: the test shows nothing");
    }
}
