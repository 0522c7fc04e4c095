//! What the command line says must hold, and what follows for the exit code.

use crate::cli::Options;
use crate::report::{Report, Threshold};

/// The thresholds of the command line against what was measured.
#[must_use]
pub fn check(options: &Options, report: &Report) -> Vec<Threshold> {
    let media = report.media.as_ref();
    let delay_p99 = media.and_then(|media| media.delay_us).map(|delay| micros_as_ms(delay.p99));
    let first_packet = report.joins.first_packet_ms.map(|join| join.p95);
    let given = [
        ("--fail-loss", options.fail_loss, media.map(|media| media.loss_percent)),
        ("--fail-p99-ms", options.fail_p99_ms, delay_p99),
        ("--fail-cpu-us", options.fail_cpu_us, report.cost.and_then(|cost| cost.cpu_us_per_packet)),
        ("--fail-join-p95-ms", options.fail_join_p95_ms, first_packet),
    ];
    given.into_iter().filter_map(|(option, limit, value)| Some(threshold(option, limit?, value))).collect()
}

fn threshold(option: &str, limit: f64, value: Option<f64>) -> Threshold {
    Threshold { option: option.to_owned(), limit, value, passed: value.is_some_and(|value| value <= limit) }
}

/// Why the run is none to build on: a threshold that does not hold, somebody who did not get in or was lost. Empty: it passed.
#[must_use]
pub fn faults(report: &Report) -> Vec<String> {
    let mut faults = Vec::new();
    let mut count = |count: usize, what: &str| {
        if count > 0 {
            faults.push(format!("{count} {what}"));
        }
    };
    // A staircase is climbed until something gives: that is its result.
    if report.staircase.is_none() {
        count(report.joins.failed, "did not get in");
        count(report.joins.lost_later, "were lost again");
        let starved = report.media.as_ref().map_or(0, |media| media.starved_streams);
        // Those who were to hear or see somebody and did not are no load at all.
        count(
            usize::try_from(starved).unwrap_or(usize::MAX),
            "streams of which nothing came, or nothing more",
        );
    }
    if let Some(storm) = &report.storm {
        count(storm.cut.saturating_sub(storm.back), "sockets were cut and did not come back");
    }
    if let Some(waiting) = &report.waiting_room {
        count(
            waiting.reasons.iter().map(|reason| reason.count).sum(),
            "were not let in from the waiting room",
        );
    }
    if let Some(churn) = &report.churn {
        count(churn.failed, "who came did not get in");
        // Who found no free place made the load less than was asked for.
        count(churn.skipped, "could not come, for want of a place");
    }
    let missed = report.thresholds.iter().filter(|threshold| !threshold.passed).map(|threshold| {
        let value = threshold.value.map_or_else(|| "not measured".to_owned(), |value| value.to_string());
        format!("{} {}: {value}", threshold.option, threshold.limit)
    });
    faults.extend(missed);
    faults
}

/// Microseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a delay has far fewer digits")]
fn micros_as_ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;
    use crate::measure::quantiles::Milliseconds;
    use crate::report::{Cost, Delay, Joins, Media};

    fn options(line: &str) -> Options {
        Cli::parse_from(["vestibule-load", "visits", "1"].into_iter().chain(line.split_ascii_whitespace()))
            .options
    }

    fn report() -> Report {
        let delay_us = Some(Delay { count: 1000, p50: 80, p95: 200, p99: 900, max: 4000 });
        let first = Milliseconds { count: 2, p50: 40.0, p95: 55.5, p99: 55.5, max: 55.5 };
        Report {
            media: Some(Media { loss_percent: 0.05, delay_us, ..Media::default() }),
            cost: Some(Cost { cpu_us_per_packet: Some(3.4), ..Cost::default() }),
            joins: Joins { wanted: 2, joined: 2, first_packet_ms: Some(first), ..Joins::default() },
            ..Report::default()
        }
    }

    fn passes(line: &str, report: &Report) -> bool {
        let thresholds = check(&options(line), report);
        faults(&Report { thresholds, ..report.clone() }).is_empty()
    }

    #[test]
    fn without_thresholds_all_is_well() {
        assert_eq!(check(&options(""), &report()), []);
        assert!(passes("", &report()));
    }

    #[test]
    fn each_threshold_is_held_against_its_figure() {
        assert!(passes(
            "--fail-loss 0.05 --fail-p99-ms 0.9 --fail-cpu-us 3.4 --fail-join-p95-ms 55.5",
            &report()
        ));
        for line in ["--fail-loss 0.04", "--fail-p99-ms 0.8", "--fail-cpu-us 3.3", "--fail-join-p95-ms 55"] {
            assert!(!passes(line, &report()), "{line}");
        }
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        let unmeasured = Report { cost: None, ..report() };
        assert!(!passes("--fail-cpu-us 100", &unmeasured));
        assert!(passes("", &unmeasured));
    }

    #[test]
    fn who_did_not_get_in_fails_the_run() {
        let mut report = report();
        report.joins.failed = 1;
        assert_eq!(faults(&report), ["1 did not get in"]);
    }
}
