//! A comparison for people, on a terminal.

use std::fmt::Write as _;

use super::figures::{Contestant, Spread};
use super::{Compared, Comparison};
use crate::report::number::{bytes, delay, rounded, short};

const HEADINGS: [&str; 9] = [
    "",
    "CPU µs/packet (min–max)",
    "packets/core-s",
    "packets/s",
    "loss %",
    "delay p50",
    "p99",
    "RSS/participant",
    "× Vestibule  × floor",
];

/// All scenarios, ending in a line break.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let mut text = String::new();
    let machine = &comparison.machine;
    let _ = writeln!(
        text,
        "{}, {}, server on core {}, tester on core {}",
        machine.cpu, machine.kernel, comparison.server_core, comparison.tester_core
    );
    for compared in &comparison.scenarios {
        text.push('\n');
        scenario(&mut text, compared);
    }
    text
}

fn scenario(text: &mut String, compared: &Compared) {
    let played = &compared.played;
    let video: Vec<_> = played.video_kbps.iter().map(u32::to_string).collect();
    let video =
        if video.is_empty() { "no video".to_owned() } else { format!("VP8 {} kbit/s", video.join(" / ")) };
    let dtx = if played.dtx { "with" } else { "without" };
    let twcc = if played.transport_feedback { "" } else { ", no transport-wide feedback" };
    let _ = writeln!(
        text,
        "{}: {} rounds of {} s, {}, {video}, Opus {dtx} DTX{twcc}",
        played.title,
        compared.rounds,
        short(played.window_seconds),
        played.srtp_profile,
    );
    let rows: Vec<[String; 9]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(compared.contestants.iter().map(row)).collect();
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let _ = write!(text, "  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    for one in &compared.contestants {
        notes(text, one);
    }
}

fn row(one: &Contestant) -> [String; 9] {
    let median =
        |figure: &dyn Fn(&super::Figures) -> Option<f64>| one.spread(figure).map(|spread| spread.median);
    let text = |value: Option<f64>, form: &dyn Fn(f64) -> String| value.map_or_else(|| "–".to_owned(), form);
    let ratio = |value: Option<f64>| text(value, &|ratio| format!("{ratio:.2}"));
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let micros = |value: Option<u64>| value.map(|value| value as f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
    let delayed = |value: f64| delay(value as u64);
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let rss = median(&|figures| figures.rss_per_participant_bytes.map(|bytes| bytes as f64));
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
    let sized = |value: f64| bytes(value as i64);
    [
        one.name.clone(),
        one.cpu_us_per_packet.map_or_else(|| "–".to_owned(), spread_text),
        text(median(&|figures| figures.packets_per_core_second), &rounded),
        text(median(&|figures| Some(figures.packets_per_second)), &rounded),
        text(median(&|figures| Some(figures.loss_percent)), &|percent| format!("{percent:.3}")),
        text(median(&|figures| micros(figures.delay_p50_us)), &delayed),
        text(median(&|figures| micros(figures.delay_p99_us)), &delayed),
        text(rss, &sized),
        format!("{:>11}  {:>7}", ratio(one.times_vestibule), ratio(one.times_floor)),
    ]
}

fn spread_text(spread: Spread) -> String {
    format!("{:.2} ({:.2}–{:.2})", spread.median, spread.min, spread.max)
}

/// What makes a line less than it seems.
fn notes(text: &mut String, one: &Contestant) {
    for failure in &one.failures {
        let _ = writeln!(text, "  ! {}: {failure}", one.name);
    }
    if let Some(share) = one.share_of_vestibule.filter(|_| !one.has_equal_load()) {
        let percent = share * 100.0;
        let _ =
            writeln!(text, "  ! {}: another load, {percent:.0} % of Vestibule's packets: no ratio", one.name);
    }
    for (index, round) in one.rounds.iter().enumerate() {
        if round.failed > 0 {
            let _ = writeln!(
                text,
                "  ! {}, round {}: {} did not get in or were lost",
                one.name,
                index + 1,
                round.failed
            );
        }
        if round.starved_streams > 0 {
            let (name, number, streams) = (&one.name, index + 1, round.starved_streams);
            let _ = writeln!(
                text,
                "  ! {name}, round {number}: nothing came of {streams} streams that should have"
            );
        }
        for reason in &round.tester_in_the_way {
            let _ =
                writeln!(text, "  ! {}, round {}: the tester was in the way: {reason}", one.name, index + 1);
        }
    }
}
