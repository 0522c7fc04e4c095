//! The tester's counters are right: a relay between a sender and a receiver of the real plane does a known harm, and
//! exactly that is reported.

mod relay;

use std::time::Duration;

use relay::{Done, Fate, Rig, Seen, stream};
use vestibule_load::client::{Histogram, Kind, WindowCounts};
use vestibule_load::media::{Model, OpusModel, Vp8Model};

/// Many packets in a short time, and still within what the sender keeps for retransmission.
const VIDEO: Vp8Model = Vp8Model { rate_bps: 3_000_000, frames_per_second: 30, width: 1280, height: 720 };
const STREAMS: u32 = 8;
const PACKETS: u64 = 500;

fn videos() -> Vec<vestibule_load::client::SendStream> {
    (0..STREAMS).map(|source| stream(source, Model::Vp8(VIDEO))).collect()
}

/// Measures until every stream has sent about [`PACKETS`] packets. Where the machine stood still for so long that a socket of
/// the test ran over, once more.
fn measure(nack: bool, rule: impl Fn(&Seen) -> Fate + Send + Clone + 'static) -> (WindowCounts, Done) {
    for _ in 0..5 {
        let mut rig = Rig::new(videos(), nack, rule.clone());
        let (counts, done) = rig.measure(u64::from(STREAMS) * PACKETS);
        if done.is_whole(&counts) {
            return (counts, done);
        }
    }
    panic!("this machine never kept up with the test");
}

#[test]
fn a_relay_that_drops_one_percent_is_reported_as_one_percent() {
    let (counts, done) =
        measure(false, |seen| if seen.stamp.counter % 100 == 50 { Fate::Drop } else { Fate::Pass });
    let loss = counts.loss.video;
    // One of each hundred of each stream: of what a stream sent beyond whole hundreds, one more or none.
    assert!(done.media_dropped.abs_diff(done.media() / 100) <= u64::from(STREAMS));
    assert_eq!((loss.expected, loss.lost), (done.media(), done.media_dropped));
    assert_eq!(loss.ratio(), done.media_dropped as f64 / done.media() as f64);
    assert_eq!((loss.recovered, loss.unrecovered(), loss.duplicates), (0, done.media_dropped, 0));
    assert_eq!(counts.received.video.packets, done.media_passed);
    assert_eq!((counts.socket_drops, counts.undecryptable), (0, 0), "the tester itself lost something");
    assert!(counts.keyframes_requested > 0, "without NACK only a keyframe helps");
    assert_eq!(counts.nacks_sent, 0);
}

#[test]
fn what_comes_by_retransmission_is_lost_and_recovered() {
    let (counts, done) = measure(true, |seen| {
        if !seen.retransmission && seen.stamp.counter % 100 == 50 { Fate::Drop } else { Fate::Pass }
    });
    let loss = counts.loss.video;
    assert!(done.media_dropped > 0);
    assert_eq!((loss.expected, loss.lost), (done.media(), done.media_dropped));
    assert_eq!((loss.recovered, loss.unrecovered()), (done.media_dropped, 0));
    // Where the machine stood still a packet was asked for twice; then it came twice.
    assert_eq!(loss.recovered + loss.duplicates, done.retransmissions_passed);
    assert!(counts.nacks_sent > 0);
    assert!(counts.retransmissions_sent >= done.retransmissions_passed);
}

#[test]
fn without_a_relay_that_harms_nothing_is_lost() {
    let (counts, done) = measure(true, |_| Fate::Pass);
    let loss = counts.loss.video;
    assert_eq!((loss.expected, loss.lost), (done.media(), 0));
    assert_eq!(counts.starved.total(), 0);
    assert_eq!((loss.duplicates, loss.reordered), (0, 0));
    assert_eq!(counts.received.video.packets, done.media_passed);
    assert!(counts.transport_feedback_sent > 0);
}

#[test]
fn a_relay_that_stops_forwarding_is_reported_as_all_that_was_sent_since() {
    let (counts, done) =
        measure(false, |seen| if seen.stamp.counter >= PACKETS / 2 { Fate::Drop } else { Fate::Pass });
    let loss = counts.loss.video;
    assert!(done.media_dropped > done.media() / 3);
    assert_eq!((loss.expected, loss.lost), (done.media(), done.media_dropped));
}

#[test]
fn a_stream_of_which_nothing_comes_has_starved() {
    let silent = 1_000 + 3;
    let (counts, _) = measure(false, move |seen| if seen.ssrc == silent { Fate::Drop } else { Fate::Pass });
    assert_eq!((counts.starved.video, counts.starved.audio), (1, 0));
    assert_eq!(counts.loss.video.lost, 0, "which of them it would have been the receiver cannot know");
}

#[test]
fn order_and_repetition_are_counted_and_are_no_loss() {
    let (counts, done) = measure(false, |seen| match seen.stamp.counter % 100 {
        20 => Fate::Twice,
        60 => Fate::Overtaken,
        _ => Fate::Pass,
    });
    let loss = counts.loss.video;
    assert!(done.twice > 0 && done.overtaken > 0);
    assert_eq!((loss.duplicates, loss.reordered, loss.lost), (done.twice, done.overtaken, 0));
    assert_eq!(counts.received.video.packets, done.media_passed + done.twice, "what came twice came");
}

/// Whether a histogram lies between two measurements of the same packets, each a bound of it from one side.
fn lies_between(histogram: &Histogram, mut at_least: Vec<u64>, mut at_most: Vec<u64>) {
    at_least.sort_unstable();
    at_most.sort_unstable();
    let count = at_least.len();
    assert_eq!(histogram.count(), count as u64);
    for share in [0.5, 0.95, 0.99, 1.0] {
        let rank = ((share * count as f64).ceil() as usize).clamp(1, count) - 1;
        let (low, high) = (at_least[rank] / 1_000, at_most[rank] / 1_000);
        let told = histogram.quantile(share);
        // Three significant digits, upwards.
        let high = high + high / 500 + 1;
        assert!((low..=high).contains(&told), "p{share}: {told} µs is not within {low} to {high}");
    }
}

#[test]
fn ten_milliseconds_more_are_reported_as_ten_milliseconds() {
    let held = Duration::from_millis(10);
    let (counts, done) = measure(false, move |_| Fate::Held(held));
    assert!(done.at_least.iter().all(|time| *time >= held.as_nanos() as u64));
    let all = counts.delays.all();
    assert!(all.min() >= 10_000, "{} µs", all.min());
    lies_between(&all, done.at_least, done.at_most);

    let (direct, done) = measure(false, |_| Fate::Pass);
    lies_between(&direct.delays.all(), done.at_least, done.at_most);
    // The best of thousands of packets met no other work of the machine.
    let added = all.min().saturating_sub(direct.delays.all().min());
    assert!((9_000..15_000).contains(&added), "{added} µs");
    assert!(direct.delays.frame_start.count() > 0 && direct.delays.frame_rest.count() > 0);
    assert_eq!(direct.delays.audio.count(), 0);
}

#[test]
fn what_comes_seven_hundred_milliseconds_late_is_late_and_not_lost() {
    let (counts, done) = measure(false, |_| Fate::Held(Duration::from_millis(700)));
    let loss = counts.loss.video;
    assert_eq!((loss.expected, loss.lost), (done.media(), 0));
    assert_eq!(counts.received.video.packets, done.media_passed);
    // Three significant digits.
    assert!(counts.delays.all().min() >= 699_000);
}

/// A frame takes about four packets, a keyframe thirty.
const SLOW_VIDEO: Vp8Model = Vp8Model { rate_bps: 1_000_000, ..VIDEO };

#[test]
fn a_keyframe_comes_one_frame_after_a_pli_at_the_latest() {
    let mut rig = Rig::new(vec![stream(1, Model::Vp8(SLOW_VIDEO))], true, |seen| {
        if seen.stamp.counter % 100 == 80 { Fate::PassAndAsk } else { Fate::Pass }
    });
    let (counts, done) = rig.measure(750);
    let frames: Vec<&Seen> =
        done.seen.iter().filter(|seen| !seen.retransmission && seen.stamp.part == 0).collect();
    assert!(frames[0].stamp.keyframe);
    let mut answered = 0;
    for asked in &done.asked {
        // The request may have crossed one frame.
        let mut later = frames.iter().filter(|frame| frame.stamp.sent_at_ns > *asked);
        let (Some(first), Some(second)) = (later.next(), later.next()) else { continue };
        assert!(first.stamp.keyframe || second.stamp.keyframe, "asked at {asked}");
        answered += 1;
    }
    assert!(answered >= 5, "{answered}");
    assert!(counts.keyframe_requests_received >= answered && counts.keyframes_sent > answered);
}

#[test]
fn a_receiver_without_its_keyframe_asks_for_one() {
    let mut is_first = true;
    let mut rig = Rig::new(vec![stream(1, Model::Vp8(SLOW_VIDEO))], true, move |seen| {
        is_first &= seen.stamp.keyframe;
        if is_first { Fate::Drop } else { Fate::Pass }
    });
    let (counts, done) = rig.measure(300);
    assert!(done.media_dropped > 0);
    assert!(counts.keyframes_requested >= 1);
    assert!(counts.keyframes_sent >= 2, "{}", counts.keyframes_sent);
    assert_eq!(counts.loss.video.lost, 0, "what came before the first that arrived is not known of");
}

#[test]
fn comfort_noise_is_told_from_speech_and_audio_from_video() {
    let streams = (0..20).map(|source| stream(source, Model::Opus(OpusModel { dtx: true }))).collect();
    let mut rig = Rig::new(streams, true, |_| Fate::Pass);
    let (counts, done) = rig.measure(1_500);
    let noise = done.seen.iter().filter(|seen| seen.stamp.dtx).count();
    assert!(noise > 0 && noise < done.seen.len() / 2, "{noise} of {}", done.seen.len());
    assert_eq!(counts.received[Kind::Audio].packets, done.media_passed);
    assert_eq!(counts.received[Kind::Video].packets, 0);
    assert_eq!(counts.loss.audio.lost, 0);
    assert_eq!(counts.delays.audio.count(), done.media_passed);
    assert_eq!(counts.sent.audio.packets, counts.received.audio.packets);
}
