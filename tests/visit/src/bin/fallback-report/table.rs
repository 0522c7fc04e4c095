//! The report as text: a table of figures, and one of aims.

use std::fmt::{self, Write};
use std::time::Duration;

use vestibule_visit::scenario::{Scenario, Seen, Verdict};

/// What the runs of one scenario came to.
pub(crate) struct Row {
    name: &'static str,
    /// Of the first run.
    decisions: Vec<String>,
    /// The worst of all: the longest time without a voice that was to be heard, and in all.
    voice: (Duration, Duration),
    writes_after: Option<Duration>,
    text_in_writing: Option<Duration>,
    text_delay: Option<Duration>,
    text_after_cut: Option<Duration>,
    picture_again: Option<Duration>,
    verdicts: Vec<Verdict>,
}

impl Row {
    pub(crate) fn of(scenario: &Scenario, first_seed: u64, runs: &[Seen]) -> Self {
        let worst = |of: &dyn Fn(&Seen) -> Option<Duration>| runs.iter().filter_map(of).max();
        let again =
            |seen: &Seen| scenario.good_again().map(|at| seen.picture_again(at).unwrap_or(Duration::MAX));
        let voice = |of: fn((Duration, Duration)) -> Duration| runs.iter().map(|seen| of(seen.voice())).max();
        let verdicts = scenario.aims.iter().map(|aim| {
            let missed = (first_seed..).zip(runs).find_map(|(seed, seen)| {
                let verdict = seen.judge(scenario, *aim);
                let text = format!("{} (seed {seed})", verdict.text);
                (!verdict.met).then_some(Verdict { text, ..verdict })
            });
            missed.unwrap_or_else(|| runs[0].judge(scenario, *aim))
        });
        let faults = runs.iter().flat_map(|seen| &seen.faults);
        let faults = faults.map(|fault| Verdict { text: fault.clone(), met: false });
        let whole = Verdict {
            text: "one session; every line was read once, and in the same place by both".to_owned(),
            met: runs.iter().all(|seen| seen.faults.is_empty()),
        };
        Self {
            name: scenario.name,
            decisions: runs[0].changes.iter().map(ToString::to_string).collect(),
            voice: (voice(|it| it.0).unwrap_or_default(), voice(|it| it.1).unwrap_or_default()),
            writes_after: worst(&Seen::writes_after),
            text_in_writing: worst(&Seen::text_in_writing),
            text_delay: worst(&Seen::text_delay),
            text_after_cut: worst(&Seen::text_after_cut),
            picture_again: worst(&again),
            verdicts: verdicts.chain([whole]).chain(faults).collect(),
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.met)
    }
}

/// Both tables, in Markdown.
pub(crate) fn write(rows: &[Row], seeds: u64) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let runs = if seeds == 1 { "one run".to_owned() } else { format!("{seeds} runs from different seeds") };
    writeln!(
        out,
        "The decisions are those of the first run, each with the time since the line changed last; the other figures are the \
         worst of {runs}, in seconds. What was found of an aim is of the first run that missed it, or of the first.\n"
    )?;
    out.push_str(
        "| Line | What it was used for | No voice for, at a time (in all) | Writing offered after voices were given up \
         | Words read in writing | Words read while the line carries any (after a cut) | Both pictures back after the line |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let decisions =
            if row.decisions.is_empty() { "video throughout".to_owned() } else { row.decisions.join("<br>") };
        let Row { voice: (longest, missing), .. } = row;
        writeln!(
            out,
            "| {} | {decisions} | {} ({}) | {} | {} | {} ({}) | {} |",
            row.name,
            seconds(Some(*longest)),
            seconds(Some(*missing)),
            seconds(row.writes_after),
            seconds(row.text_in_writing),
            seconds(row.text_delay),
            seconds(row.text_after_cut),
            seconds(row.picture_again),
        )?;
    }
    out.push_str("\n| Line | Found | Met |\n|---|---|---|\n");
    for row in rows {
        for verdict in &row.verdicts {
            let met = if verdict.met { "yes" } else { "**no**" };
            writeln!(out, "| {} | {} | {met} |", row.name, verdict.text)?;
        }
    }
    Ok(out)
}

fn seconds(time: Option<Duration>) -> String {
    match time {
        None => "–".to_owned(),
        Some(Duration::MAX) => "never".to_owned(),
        Some(time) => format!("{:.1}", time.as_secs_f64()),
    }
}
