//! The scenarios: lines as patients have them.

use std::time::Duration;

use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::time::Time;
use vestibule_testnet::{BurstLoss, LinkConfig};

use super::{Aim, Participant, Scenario};
use crate::client::ClientConfig;
use crate::cross::CrossKind;

const QUEUE_MS: u64 = 300;
const QUEUE_LONG_MS: u64 = 2_000;
/// What a policer lets through at once takes a line of its rate so long.
const POLICED_MS: u64 = 100;
/// Feedback as browsers give it.
const TRANSPORT_FEEDBACK: Duration = Duration::from_millis(100);
/// How much later than a round trip a packet is asked for again.
const NACK_MARGIN: Duration = Duration::from_millis(20);
/// libwebrtc asks for a keyframe after three seconds without a frame.
const KEYFRAME_PATIENCE: Duration = Duration::from_secs(3);
const GOOD_RTT_MS: u64 = 20;
/// For how long each of a room speaks in turn, and how loud, in -dBov.
const TURN: Duration = Duration::from_secs(6);
const TURNS: u32 = 12;
const SPEAKING: u8 = 25;
const SILENT: u8 = 127;
/// What a browser's estimate leaves of the way up.
const UPLINK_USED_SHARE: f64 = 0.85;

/// It takes many frames to tell a share of a few in a hundred; they cost little.
const VOICE_LENGTH: Duration = Duration::from_secs(120);

/// From joining to full pictures, in seconds; and where the receiver estimates the line itself, by 8 % in a second from 300 kbit/s.
const FULL_QUALITY_S: u32 = 4;
const FULL_QUALITY_REMB_S: u32 = 40;

const STEADY: [Aim; 4] = [Aim::Used, Aim::ShortQueue, Aim::FewSwitches, Aim::AudioFlows];

/// How thorough a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Everything, a minute each.
    Long,
    /// What tells most, as short as it can be.
    Short,
}

/// How long something takes, in seconds, in the long form and in the short one.
#[derive(Clone, Copy)]
struct Spans {
    length: u64,
    steady_from: u64,
    fall: u64,
    rise: u64,
}

const LONG: Spans = Spans { length: 60, steady_from: 15, fall: 20, rise: 35 };
const SHORT: Spans = Spans { length: 24, steady_from: 10, fall: 8, rise: 15 };

/// The codecs beside VP8: one stream with layers, encodings without temporal layers, and layers told by a header extension.
const OTHERS: [CodecName; 3] = [CodecName::Vp9, CodecName::H264, CodecName::Av1];

/// All scenarios of a form: those of VP8, then of each other codec the same, or in the short form the few that tell most.
#[must_use]
pub fn all(form: Form) -> Vec<Scenario> {
    let mut scenarios = of_vp8(form);
    for codec in OTHERS {
        let same = of_vp8(form).into_iter().filter(|scenario| is_of_pictures(scenario, form));
        // Nothing of a packet of H264 tells its temporal layer: what is to show them shows nothing there.
        let layered = |scenario: &Scenario| scenario.name == single_encoding_name(3);
        let shows = same.filter(|scenario| codec != CodecName::H264 || !layered(scenario));
        scenarios.extend(shows.map(|scenario| in_codec(scenario, codec)));
    }
    if form == Form::Long {
        scenarios.extend(own_estimates(LONG));
    }
    scenarios
}

/// Whether a scenario tells something else of every codec.
fn is_of_pictures(scenario: &Scenario, form: Form) -> bool {
    let has_video = scenario.participants.iter().any(|participant| participant.client.camera > 0);
    let is_short = scenario.name.starts_with("1.5 Mbit/s") || scenario.name.starts_with("2 →");
    has_video && (form == Form::Long || is_short)
}

fn in_codec(mut scenario: Scenario, codec: CodecName) -> Scenario {
    scenario.name = format!("{}: {}", codec.name(), scenario.name);
    scenario.plot = None;
    scenario.codec = codec;
    if codec == CodecName::H264 {
        scenario.participants.iter_mut().for_each(|participant| participant.client.temporal_layers = 1);
    }
    scenario
}

fn of_vp8(form: Form) -> Vec<Scenario> {
    let spans = if form == Form::Long { LONG } else { SHORT };
    let mut scenarios = match form {
        Form::Long => {
            let mut grid = Vec::new();
            for rate_bps in [5_000_000, 1_500_000, 600_000, 300_000] {
                grid.extend([20, 100, 300].map(|rtt_ms| steady(rate_bps, rtt_ms, QUEUE_MS, spans)));
            }
            grid
        }
        Form::Short => vec![
            steady(5_000_000, 100, QUEUE_MS, spans),
            steady(1_500_000, 300, QUEUE_MS, spans),
            steady(600_000, 100, QUEUE_MS, spans),
        ],
    };
    scenarios.extend([
        Scenario { plot: Some("queue"), ..steady(600_000, 100, QUEUE_LONG_MS, spans) },
        fall_and_rise(100, spans),
        audio_alone(spans),
        audio_with_loss(1_000_000, spans),
        longer_way(spans),
        poor_uplink_loss(spans),
        poor_in_a_room(spans),
        four_in_view(2_500_000, spans),
    ]);
    if form == Form::Short {
        return scenarios;
    }
    scenarios.extend([
        fall_and_rise(20, spans),
        lossy("2 % loss", line(3_000_000, 100).loss(0.02), &STEADY, spans),
        lossy(
            "10 % loss",
            line(3_000_000, 100).loss(0.1),
            &[Aim::ShortQueue, Aim::PictureGoesOn, Aim::AudioFlows],
            spans,
        ),
        lossy("20 % loss", line(3_000_000, 100).loss(0.2), &[Aim::ShortQueue, Aim::AudioFlows], spans),
        lossy(
            "3 % loss in bursts",
            line(3_000_000, 100).burst(BurstLoss::average(0.03, 4.0)),
            &[Aim::ShortQueue, Aim::AudioFlows, Aim::FewSwitches],
            spans,
        ),
        competing("a TCP-like flow", CrossKind::Reno, spans),
        competing(
            "1 Mbit/s, 5 s on and off",
            CrossKind::Constant { rate_bps: 1_000_000, spell: Duration::from_secs(5) },
            spans,
        ),
        lossy(
            "jitter 50 ms",
            line(3_000_000, 100).jitter_ms(50),
            &[Aim::Used, Aim::FewSwitches, Aim::AudioFlows],
            spans,
        ),
        lossy("2 % reordered by 30 ms", line(3_000_000, 100).reorder(0.02, 30), &STEADY, spans),
        policed(1_500_000, spans),
        policed(600_000, spans),
        poor_way_back(spans),
        poor_uplink_rate(300_000, spans),
        single_encoding(3, spans),
        single_encoding(1, spans),
        audio_with_loss(120_000, spans),
    ]);
    scenarios
}

fn line(rate_bps: u64, rtt_ms: u64) -> LinkConfig {
    LinkConfig::default().rate_bps(rate_bps).delay_ms(rtt_ms / 2).queue_ms(QUEUE_MS)
}

/// Who publishes and watches as a browser does, over a round trip of this.
fn browser(rtt_ms: u64) -> ClientConfig {
    ClientConfig {
        temporal_layers: 3,
        obeys: true,
        transport_feedback: TRANSPORT_FEEDBACK,
        nack_retry: Duration::from_millis(rtt_ms) + NACK_MARGIN,
        keyframe_patience: KEYFRAME_PATIENCE,
        ..ClientConfig::default()
    }
}

fn on_good_line(client: ClientConfig) -> Participant {
    let line = LinkConfig::default().delay_ms(GOOD_RTT_MS / 2);
    Participant { client, up: line, down: line, withheld_from: None }
}

/// Speaks, and watches over this line.
fn watcher(down: LinkConfig) -> Participant {
    let rtt_ms = down.delay_us * 2 / 1_000;
    Participant {
        client: ClientConfig { camera: 0, ..browser(rtt_ms) },
        up: LinkConfig::default().delay_ms(rtt_ms / 2),
        down,
        withheld_from: None,
    }
}

/// One publishes, one watches.
fn pair(name: String, publisher: ClientConfig, down: LinkConfig, aims: &[Aim], spans: Spans) -> Scenario {
    Scenario {
        name,
        participants: vec![on_good_line(publisher), watcher(down)],
        seats: vec![(1, 0, 0)],
        changes: Vec::new(),
        cross: None,
        length: Duration::from_secs(spans.length),
        steady_from: Duration::from_secs(spans.steady_from),
        aims: aims.to_vec(),
        plot: None,
        codec: CodecName::Vp8,
    }
}

fn steady(rate_bps: u64, rtt_ms: u64, queue_ms: u64, spans: Spans) -> Scenario {
    let name = format!(
        "{} Mbit/s, RTT {rtt_ms} ms{}",
        rate_bps as f64 / 1e6,
        if queue_ms == QUEUE_MS { String::new() } else { format!(", queue {} s", queue_ms / 1_000) }
    );
    let carries_everything = rate_bps == 5_000_000;
    let mut aims = STEADY.to_vec();
    if carries_everything {
        aims.insert(0, Aim::FullQuality(FULL_QUALITY_S));
    }
    let mut scenario =
        pair(name, browser(GOOD_RTT_MS), line(rate_bps, rtt_ms).queue_ms(queue_ms), &aims, spans);
    scenario.plot = (carries_everything && rtt_ms == 100).then_some("join");
    scenario
}

/// Who watches tells of no packet, and estimates the line: of that little is left to the server.
fn own_estimate(mut scenario: Scenario, aims: &[Aim]) -> Scenario {
    scenario.name = format!("REMB: {}", scenario.name);
    (scenario.plot, scenario.aims) = (None, aims.to_vec());
    if let Some(watcher) = scenario.participants.last_mut() {
        (watcher.client.transport_cc, watcher.client.estimates) = (false, true);
    }
    scenario
}

fn own_estimates(spans: Spans) -> Vec<Scenario> {
    let calm = [Aim::ShortQueue, Aim::FewSwitches, Aim::AudioFlows];
    let with = |aim: Aim| [&[aim], &calm[..]].concat();
    let over = |rate_bps, aims: &[Aim]| own_estimate(steady(rate_bps, 100, QUEUE_MS, spans), aims);
    let falls = [Aim::CalmAfterFall, Aim::Obeyed, Aim::AudioFlows];
    vec![
        over(5_000_000, &with(Aim::FullQuality(FULL_QUALITY_REMB_S))),
        over(1_500_000, &with(Aim::HalfUsed)),
        over(600_000, &with(Aim::HalfUsed)),
        over(300_000, &calm),
        own_estimate(fall_and_rise(100, spans), &falls),
    ]
}

fn lossy(name: &str, down: LinkConfig, aims: &[Aim], spans: Spans) -> Scenario {
    pair(format!("3 Mbit/s, {name}"), browser(GOOD_RTT_MS), down, aims, spans)
}

fn fall_and_rise(rtt_ms: u64, spans: Spans) -> Scenario {
    let aims = [Aim::CalmAfterFall, Aim::BackAfterRise, Aim::Obeyed, Aim::AudioFlows];
    let name = format!("2 → 0.4 → 2 Mbit/s, RTT {rtt_ms} ms");
    Scenario {
        changes: vec![
            (Duration::from_secs(spans.fall), line(400_000, rtt_ms)),
            (Duration::from_secs(spans.rise), line(2_000_000, rtt_ms)),
        ],
        plot: (rtt_ms == 100).then_some("fall-and-rise"),
        ..pair(name, browser(GOOD_RTT_MS), line(2_000_000, rtt_ms), &aims, spans)
    }
}

fn competing(name: &str, kind: CrossKind, spans: Spans) -> Scenario {
    let until = Duration::from_secs(spans.length);
    Scenario {
        cross: Some((kind, Duration::from_secs(spans.steady_from), until)),
        plot: (kind == CrossKind::Reno).then_some("competing"),
        ..pair(
            format!("2 Mbit/s beside {name}"),
            browser(GOOD_RTT_MS),
            line(2_000_000, 100),
            &[Aim::PictureGoesOn, Aim::AudioFlows],
            spans,
        )
    }
}

/// Nothing waits, and what goes over the rate is lost.
fn policed(rate_bps: u64, spans: Spans) -> Scenario {
    let down = line(rate_bps, 100).policed_bytes(rate_bps / 8 * POLICED_MS / 1_000);
    let aims = [Aim::Used, Aim::FewSwitches, Aim::PictureGoesOn, Aim::AudioFlows];
    pair(format!("{} Mbit/s, policed", rate_bps as f64 / 1e6), browser(GOOD_RTT_MS), down, &aims, spans)
}

/// What the watcher tells of the line comes late, or not at all.
fn poor_way_back(spans: Spans) -> Scenario {
    let down = line(1_500_000, 100);
    let mut scenario = lossy("", down, &STEADY, spans);
    "1.5 Mbit/s, the way back loses 10 %, jitter 50 ms".clone_into(&mut scenario.name);
    if let Some(watcher) = scenario.participants.last_mut() {
        watcher.up = watcher.up.loss(0.1).jitter_ms(50);
    }
    scenario
}

/// Another route, or the tunnel of a VPN: nothing waits, but everything takes longer from then on.
fn longer_way(spans: Spans) -> Scenario {
    const LONGER_MS: u64 = 60;
    let aims = [Aim::FullKept, Aim::FewSwitches, Aim::AudioFlows];
    let name = format!("5 Mbit/s, the way {LONGER_MS} ms longer");
    Scenario {
        changes: vec![(Duration::from_secs(spans.fall), line(5_000_000, GOOD_RTT_MS + 2 * LONGER_MS))],
        ..pair(name, browser(GOOD_RTT_MS), line(5_000_000, GOOD_RTT_MS), &aims, spans)
    }
}

fn single_encoding(temporal_layers: u8, spans: Spans) -> Scenario {
    let publisher =
        ClientConfig { camera: 1, rates_bps: [700_000; 3], temporal_layers, ..browser(GOOD_RTT_MS) };
    let aims: &[Aim] = if temporal_layers == 1 { &[Aim::ShortQueue, Aim::AudioFlows] } else { &STEADY };
    pair(single_encoding_name(temporal_layers), publisher, line(600_000, 100), aims, spans)
}

fn single_encoding_name(temporal_layers: u8) -> String {
    let layers = if temporal_layers == 1 { "no temporal layers" } else { "temporal layers" };
    format!("700 kbit/s, {layers}, on 600")
}

fn audio_alone(spans: Spans) -> Scenario {
    let aims = [Aim::AudioFlows, Aim::VoiceKept];
    pair("45 kbit/s, video wanted".to_owned(), browser(GOOD_RTT_MS), line(45_000, 100), &aims, spans)
}

fn audio_with_loss(rate_bps: u64, spans: Spans) -> Scenario {
    let publisher = ClientConfig { camera: 0, ..browser(GOOD_RTT_MS) };
    let name = format!("a voice on {} kbit/s, 20 % loss", rate_bps / 1_000);
    let aims = [Aim::AudioRepaired, Aim::AudioFlows];
    let mut scenario = pair(name, publisher, line(rate_bps, 100).loss(0.2), &aims, spans);
    scenario.length = VOICE_LENGTH;
    scenario
}

/// One publishes over a poor line, four watch over good ones.
fn one_to_four(name: String, publisher: Participant, aims: &[Aim], spans: Spans) -> Scenario {
    const WATCHERS: usize = 4;
    let mut scenario = pair(name, publisher.client.clone(), line(5_000_000, 50), aims, spans);
    scenario.participants = vec![publisher];
    scenario.participants.extend((0..WATCHERS).map(|_| watcher(line(5_000_000, 50))));
    scenario.seats = (1..=WATCHERS).map(|who| (who, 0, 0)).collect();
    scenario
}

fn poor_uplink_loss(spans: Spans) -> Scenario {
    let mut publisher = on_good_line(browser(GOOD_RTT_MS));
    publisher.up = publisher.up.delay_ms(50).loss(0.2);
    let name = "a publisher loses 20 %, four watch".to_owned();
    one_to_four(name, publisher, &[Aim::EstimatesHold, Aim::AudioFlows], spans)
}

fn poor_uplink_rate(rate_bps: u64, spans: Spans) -> Scenario {
    let mut publisher = on_good_line(browser(GOOD_RTT_MS));
    publisher.up = line(rate_bps, 100);
    let mut sum_bps = 0.0;
    for (encoding, rate) in (0..).zip(publisher.client.rates_bps) {
        sum_bps += f64::from(rate);
        if sum_bps > rate_bps as f64 * UPLINK_USED_SHARE {
            publisher.withheld_from.get_or_insert(encoding);
        }
    }
    let name = format!("a publisher has {} kbit/s, four watch", rate_bps / 1_000);
    one_to_four(name, publisher, &[Aim::EstimatesHold, Aim::AudioFlows], spans)
}

/// Four see each other and speak in turn; the line of one is poor.
fn poor_in_a_room(spans: Spans) -> Scenario {
    const ROOM: usize = 4;
    let aims = [Aim::OthersFull, Aim::Used, Aim::ShortQueue, Aim::FewSwitches, Aim::AudioFlows];
    let mut scenario = pair(
        "a room of four, one on 0.6 Mbit/s".to_owned(),
        browser(GOOD_RTT_MS),
        line(600_000, 100),
        &aims,
        spans,
    );
    scenario.participants = (0..ROOM)
        .map(|who| {
            let rtt_ms = if who + 1 == ROOM { 100 } else { GOOD_RTT_MS };
            let levels = (0..TURNS).map(|turn| {
                let level = if turn as usize % ROOM == who { SPEAKING } else { SILENT };
                (Time::ZERO + TURN * turn, level)
            });
            let client = ClientConfig { seats: ROOM - 1, levels: levels.collect(), ..browser(rtt_ms) };
            let mut participant = on_good_line(client);
            if who + 1 == ROOM {
                participant.up = LinkConfig::default().delay_ms(rtt_ms / 2);
                participant.down = line(600_000, rtt_ms);
            } else {
                participant.down = line(10_000_000, rtt_ms);
            }
            participant
        })
        .collect();
    scenario.seats = Vec::new();
    for who in 0..ROOM {
        let others = (0..ROOM).filter(|whom| *whom != who);
        scenario.seats.extend((0..).zip(others).map(|(seat, whom)| (who, seat, whom)));
    }
    scenario
}

/// Four publish, one sees them all: so many steps of video that hardly any line falls between two.
fn four_in_view(rate_bps: u64, spans: Spans) -> Scenario {
    const IN_VIEW: usize = 4;
    let name = format!("four in view on {} Mbit/s, RTT 100 ms", rate_bps as f64 / 1e6);
    let mut scenario = pair(name, browser(GOOD_RTT_MS), line(rate_bps, 100), &STEADY, spans);
    let mut watcher = watcher(line(rate_bps, 100));
    watcher.client.seats = IN_VIEW;
    scenario.participants = vec![on_good_line(browser(GOOD_RTT_MS)); IN_VIEW];
    scenario.participants.push(watcher);
    scenario.seats = (0..IN_VIEW).map(|whom| (IN_VIEW, whom as u16, whom)).collect();
    scenario
}
