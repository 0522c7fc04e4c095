//! One run, a line for each tenth of a second: to see why a figure is what it is.

use std::fmt::{self, Write as _};

use vestibule_sim::scenario::Scenario;

/// Plays a scenario, and says what was seen of the one who is watched.
pub(crate) fn write(scenario: &Scenario, seed: u64) -> Result<String, fmt::Error> {
    let seen = scenario.run(seed);
    let mut text = format!("{}, seed {seed}\n", scenario.name);
    writeln!(
        text,
        "s\tcarries\testimate\tarrives\tgiven\twanted\tpaced\tqueue ms\tlost %\tlost\tprobes\tRED\theard ms\tframes\tseats"
    )?;
    let (mut lost_before, mut heard_before, mut frames_before) = (0, 0, 0);
    for sample in seen.watched() {
        let down = &sample.stats.downlink;
        let kbps = |bps: Option<u64>| bps.map_or_else(|| "-".to_owned(), |bps| (bps / 1_000).to_string());
        let lost = sample.carried.sent.saturating_sub(sample.carried.arrived);
        write!(
            text,
            "{:.1}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.1}\t{}\t{}\t{}\t{}\t{}\t",
            sample.at.as_secs_f64(),
            kbps(sample.capacity_bps),
            kbps(down.estimate_bps),
            kbps(down.acknowledged_bps),
            down.allocated_bps / 1_000,
            down.wanted_bps / 1_000,
            down.paced_packets,
            sample.queue.as_millis(),
            down.loss_share * 100.0,
            lost.saturating_sub(lost_before),
            down.probes,
            down.audio_redundancy,
            sample.heard.played_ms - heard_before,
            sample.frames - frames_before,
        )?;
        (lost_before, heard_before, frames_before) = (lost, sample.heard.played_ms, sample.frames);
        for slot in sample.stats.slots.iter().filter(|slot| slot.height.is_some() || slot.target.is_some()) {
            let number = |of: Option<u8>| of.map_or_else(|| "-".to_owned(), |of| of.to_string());
            let (shown, target) = (number(slot.encoding), number(slot.target));
            write!(text, "{shown}→{target}t{} ", number(slot.temporal_layer))?;
        }
        text.push('\n');
    }
    Ok(text)
}
