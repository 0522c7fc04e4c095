//! The report for people, on a terminal.

use std::fmt::Write as _;

use super::number::{bit_rate, bytes, delay, grouped, rounded, short};
use super::{Delay, Media, Reason, Report};
use crate::measure::quantiles::Milliseconds;

/// The whole report, ending in a line break.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    for (heading, rows) in sections(report) {
        let _ = writeln!(text, "{heading}");
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:<width$}  {value}", width = NAME_WIDTH);
        }
    }
    text
}

const NAME_WIDTH: usize = 27;
/// What else runs on a machine that is quiet, of one core.
const OTHERS_PERCENT_TOLD: f64 = 10.0;

/// A heading, and rows of a name and a value.
pub(super) type Section = (String, Vec<(&'static str, String)>);

/// What there is to say, for this form and the page.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let mut sections = vec![head(report), joins(report)];
    sections.extend(report.media.as_ref().map(media));
    sections.extend(cost(report));
    sections.extend([storm(report), waiting_room(report), churn(report)].into_iter().flatten());
    sections.extend(staircase(report));
    sections.extend(tester(report));
    sections.extend(thresholds(report));
    sections
}

fn head(report: &Report) -> Section {
    let played = &report.scenario;
    let mut rows = vec![("server", format!("{} at {}", report.server.name, report.server.url))];
    if let Some(pid) = report.server.pid {
        let program = report.server.program.as_deref().unwrap_or("?");
        rows.push(("server process", format!("{pid} ({program})")));
    }
    if let Some(machine) = &report.machine {
        rows.push(("machine", format!("{}, {} cores, {}", machine.cpu, machine.cores, machine.kernel)));
    }
    let layers: Vec<_> = played.video_kbps.iter().map(u32::to_string).collect();
    let dtx = if played.dtx { "Opus with DTX" } else { "Opus without DTX" };
    let mut media = vec![dtx.to_owned()];
    if !layers.is_empty() {
        media.push(format!("VP8 {} kbit/s", layers.join(" / ")));
    }
    media.extend(played.recordings.iter().cloned());
    media.extend([played.srtp_profile.clone(), format!("seed {}", played.seed)]);
    if !played.transport_feedback {
        media.push("no transport-wide feedback".to_owned());
    }
    rows.push(("media", media.join(", ")));
    (format!("{}: {}", played.name, played.title), rows)
}

fn joins(report: &Report) -> Section {
    let joins = &report.joins;
    let mut rows = vec![("participants in", format!("{} of {}", joins.joined, joins.wanted))];
    rows.extend(joins.connected_ms.map(|times| ("token → connected", times_text(times))));
    rows.extend(joins.first_packet_ms.map(|times| ("token → first packet", times_text(times))));
    if joins.lost_later > 0 {
        rows.push(("transports lost later", grouped(joins.lost_later as u64)));
    }
    rows.extend(reasons(&joins.reasons));
    ("Joining".to_owned(), rows)
}

fn media(media: &Media) -> Section {
    let packets = &media.received;
    let mut rows = vec![
        (
            "forwarded",
            format!(
                "{} packets/s, {}",
                rounded(packets.packets_per_second),
                bit_rate(packets.bits_per_second)
            ),
        ),
        (
            "packets received",
            format!(
                "{} ({} audio, {} video)",
                grouped(packets.packets),
                grouped(media.received_audio_packets),
                grouped(media.received_video_packets)
            ),
        ),
        ("sent by participants", format!("{} packets/s", rounded(media.sent.packets_per_second))),
        (
            "lost",
            format!(
                "{:.3} % ({} of {}; {} repaired, {} not)",
                media.loss_percent,
                grouped(media.lost_packets),
                grouped(media.expected_packets),
                grouped(media.recovered_packets),
                grouped(media.unrecovered_packets)
            ),
        ),
    ];
    if media.starved_streams > 0 {
        let streams = grouped(media.starved_streams);
        rows.push(("starved", format!("{streams} streams of which somebody got nothing")));
    }
    if media.refused_packets > 0 {
        rows.push(("not understood", format!("{} packets", grouped(media.refused_packets))));
    }
    if media.unstamped_packets > 0 {
        rows.push(("padding and probes", format!("{} packets", grouped(media.unstamped_packets))));
    }
    let delays = [
        ("forward delay", media.delay_us),
        ("  audio", media.delay_audio_us),
        ("  first packet of a frame", media.delay_frame_us),
        ("  its rest, pacer hold incl.", media.delay_rest_us),
    ];
    rows.extend(delays.into_iter().filter_map(|(name, delay)| Some((name, delay_text(delay?)))));
    rows.push((
        "feedback sent",
        format!(
            "{} RR, {} TWCC, {} NACK, {} PLI",
            grouped(media.receiver_reports),
            grouped(media.transport_reports),
            grouped(media.nacks),
            grouped(media.keyframes_requested)
        ),
    ));
    (format!("Media, in {} s", short(media.window_seconds)), rows)
}

fn cost(report: &Report) -> Option<Section> {
    let mut rows = Vec::new();
    if let Some(cost) = report.cost {
        rows.push(("CPU", format!("{} % of a core", short(cost.cpu_percent))));
        rows.extend(cost.cpu_us_per_packet.map(|us| ("CPU for a forwarded packet", format!("{us:.2} µs"))));
        rows.extend(cost.packets_per_core_second.map(|rate| ("packets in a core-second", rounded(rate))));
    }
    if let Some(memory) = report.memory {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (before, now) = (signed(memory.rss_before_bytes), signed(memory.rss_bytes));
        let after = memory.rss_after_bytes.map(|after| format!(", {} after", bytes(signed(after))));
        rows.push((
            "memory (RSS)",
            format!("{} before, {}{}", bytes(before), bytes(now), after.unwrap_or_default()),
        ));
        rows.extend(memory.rss_per_participant_bytes.map(|each| ("  for each participant", bytes(each))));
        if let (Some(before), Some(now)) = (memory.fds_before, memory.fds) {
            let after = memory.fds_after.map(|after| format!(", {after} after")).unwrap_or_default();
            rows.push(("file descriptors", format!("{before} before, {now}{after}")));
        }
    }
    if report.server.pid.is_none() {
        rows.push(("CPU and memory", "not measured: the server's process is not known (--pid)".to_owned()));
    }
    (!rows.is_empty()).then(|| ("Server".to_owned(), rows))
}

fn storm(report: &Report) -> Option<Section> {
    let storm = report.storm.as_ref()?;
    let mut rows = vec![("sockets back", format!("{} of {} that were cut", storm.back, storm.cut))];
    rows.extend(storm.back_ms.map(|times| ("cut → back", times_text(times))));
    rows.extend(storm.all_back_ms.map(|ms| ("until all were back", format!("{} ms", short(ms)))));
    rows.extend(reasons(&storm.reasons));
    Some(("Reconnecting, all at once".to_owned(), rows))
}

fn waiting_room(report: &Report) -> Option<Section> {
    let waiting = report.waiting_room.as_ref()?;
    let mut rows = vec![("patients let in", waiting.admitted.to_string())];
    rows.extend(waiting.first_packet_ms.map(|times| ("admit → first packet", times_text(times))));
    rows.extend(reasons(&waiting.reasons));
    Some(("Waiting room".to_owned(), rows))
}

fn churn(report: &Report) -> Option<Section> {
    let churn = report.churn.as_ref()?;
    let mut rows = vec![
        (
            "joins",
            format!("{} ({} a second), {} left", churn.joined, short(churn.joins_per_second), churn.left),
        ),
        ("failed, skipped", format!("{}, {}", churn.failed, churn.skipped)),
    ];
    rows.extend(churn.connected_ms.map(|times| ("token → connected", times_text(times))));
    rows.extend(churn.first_packet_ms.map(|times| ("token → first packet", times_text(times))));
    rows.extend(reasons(&churn.reasons));
    Some(("Coming and going".to_owned(), rows))
}

fn staircase(report: &Report) -> Option<Section> {
    let stairs = report.staircase.as_ref()?;
    let mut rows =
        vec![("visits that held", stairs.held_visits.to_string()), ("what gave", stairs.why.clone())];
    rows.extend(stairs.steps.iter().map(|step| {
        let cpu = step.cpu_percent.map(|cpu| format!(", server {} %", short(cpu))).unwrap_or_default();
        let each = step.cpu_us_per_packet.map(|us| format!(" ({us:.2} µs/packet)")).unwrap_or_default();
        let value = format!(
            "{} visits: {} packets/s, loss {:.3} %, p99 {}{cpu}{each}, tester {} %",
            step.visits,
            rounded(step.packets_per_second),
            step.loss_percent,
            delay(step.delay_p99_us),
            short(step.media_thread_percent)
        );
        ("step", value)
    }));
    Some(("Staircase".to_owned(), rows))
}

fn tester(report: &Report) -> Option<Section> {
    let tester = report.tester.as_ref()?;
    let verdict = if tester.bottleneck {
        format!("yes, so these are its figures, not the server's: {}", tester.reasons.join("; "))
    } else {
        "no".to_owned()
    };
    let mut rows = vec![
        (
            "CPU",
            format!(
                "{} % of a core, its media thread {} %",
                short(tester.cpu_percent),
                short(tester.media_thread_percent)
            ),
        ),
        ("late by", format!("{} p99, {} max", delay(tester.late_p99_us), delay(tester.late_max_us))),
        ("was it the bottleneck", verdict),
    ];
    rows.extend(tester.others_percent.filter(|percent| *percent > OTHERS_PERCENT_TOLD).map(|percent| {
        ("other programs", format!("used {} % of a core meanwhile: delays are theirs, too", short(percent)))
    }));
    Some(("Tester".to_owned(), rows))
}

fn thresholds(report: &Report) -> Option<Section> {
    let rows: Vec<_> = report
        .thresholds
        .iter()
        .map(|one| {
            let value = one.value.map_or_else(|| "not measured".to_owned(), short);
            let word = if one.passed { "met" } else { "EXCEEDED" };
            ("threshold", format!("{} {}: {value}, {word}", one.option, one.limit))
        })
        .collect();
    (!rows.is_empty()).then(|| ("Thresholds".to_owned(), rows))
}

fn reasons(reasons: &[Reason]) -> impl Iterator<Item = (&'static str, String)> {
    reasons.iter().map(|one| ("failed", format!("{} × {}", one.count, one.reason)))
}

fn times_text(times: Milliseconds) -> String {
    let Milliseconds { p50, p95, max, .. } = times;
    format!("{} ms p50, {} ms p95, {} ms max", short(p50), short(p95), short(max))
}

fn delay_text(times: Delay) -> String {
    let Delay { p50, p95, p99, max, .. } = times;
    format!("{} p50, {} p95, {} p99, {} max", delay(p50), delay(p95), delay(p99), delay(max))
}
