//! The report as text: a table of figures, and one of aims.

use std::fmt::{self, Write};

use vestibule_sim::scenario::{Figures, Verdict};

/// What the runs of one scenario came to.
pub(crate) struct Row {
    pub(crate) name: String,
    /// The worst of all runs in each figure.
    pub(crate) worst: Figures,
    pub(crate) verdicts: Vec<Verdict>,
}

/// Both tables, in Markdown.
pub(crate) fn write(rows: &[Row], seeds: u64) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let runs = if seeds == 1 { "one run".to_owned() } else { format!("{seeds} runs from different seeds") };
    writeln!(out, "Each figure is the worst of {runs}; what was concealed is of all frames.\n")?;
    out.push_str(
        "| Line | full quality after, s | used (possible), % | queue p95, ms | lost, % | lost after the fall: 2 s, then, % \
         | used after the rise, s | freezes (s) | switches a minute: encoding, temporal | concealed, % (RED 1, RED 2) |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        figures(&mut out, &row.name, &row.worst)?;
    }
    out.push_str("\n| Line | Found | Met |\n|---|---|---|\n");
    for row in rows {
        for verdict in &row.verdicts {
            let met = if verdict.met { "yes" } else { "**no**" };
            writeln!(out, "| {} | {} | {met} |", row.name, verdict.text)?;
        }
    }
    let obeyed =
        |of: fn(&Figures) -> Option<f64>| rows.iter().filter_map(|row| of(&row.worst)).reduce(f64::max);
    if let Some(ms) = obeyed(|figures| figures.obeyed_ms.0) {
        writeln!(
            out,
            "\nPublishers paused what nobody watched {ms:.0} ms after the server's word at the latest."
        )?;
    }
    if let Some(ms) = obeyed(|figures| figures.obeyed_ms.1) {
        writeln!(out, "\nThey resumed it with a keyframe {ms:.0} ms after the word at the latest.")?;
    }
    let missed = rows.iter().flat_map(|row| &row.verdicts).filter(|verdict| !verdict.met).count();
    let all = rows.iter().map(|row| row.verdicts.len()).sum::<usize>();
    writeln!(out, "\n{} of {all} aims are met.", all - missed)?;
    Ok(out)
}

fn figures(out: &mut String, name: &str, worst: &Figures) -> fmt::Result {
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let used = worst.used.map(|used| {
        let possible = worst.possible.map(|possible| format!(" ({:.0})", possible * 100.0));
        format!("{:.0}{}", used * 100.0, possible.unwrap_or_default())
    });
    let fall = worst.fall_lost.map(|(soon, then)| format!("{}, {}", percent(soon), percent(then)));
    let seconds = |value: f64| if value.is_finite() { format!("{value:.1}") } else { "never".to_owned() };
    let level = |redundancy| or_none(worst.concealed_with(redundancy).map(percent));
    writeln!(
        out,
        "| {name} | {} | {} | {:.0} | {} | {} | {} | {} ({:.1}) | {:.1}, {:.1} | {} ({}, {}) |",
        seconds(worst.full_quality_s),
        or_none(used),
        worst.queue_p95_ms,
        percent(worst.lost),
        or_none(fall),
        or_none(worst.rise_s.map(seconds)),
        worst.freezes.0,
        worst.freezes.1,
        worst.switches.0,
        worst.switches.1,
        or_none(worst.concealed().map(percent)),
        level(1),
        level(2),
    )
}
