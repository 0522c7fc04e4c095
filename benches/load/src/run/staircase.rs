//! More and more visits, until something gives.

use super::Stage;
use super::measured::Measured;
use crate::report::{Report, Staircase, Step};
use crate::server::{Admission, ServerError};

/// More loss than this, and the server has not kept up.
const LOSS_PERCENT_MAX: f64 = 0.1;
/// A call at which packets are later than this is not what it was.
const DELAY_P99_US_MAX: u64 = 20_000;

impl Stage<'_> {
    /// Climbs. What is in the report of media and cost is of the highest step that held.
    pub(super) async fn climb(&mut self, step: u32, report: &mut Report) -> Result<(), ServerError> {
        let mut stairs = Staircase::default();
        let plan = self.plan;
        for rooms in plan.rooms.chunks(usize::try_from(step).unwrap_or(usize::MAX)) {
            if !self.come(rooms, Admission::AtOnce).await? || !self.warm_up().await {
                "it was ended before something gave".clone_into(&mut stairs.why);
                break;
            }
            let measured = self.measure(self.run.options.window).await;
            let visits = self.members.len() / 2;
            stairs.steps.push(step_of(visits, &measured));
            let failed = self.members.failed() + self.members.broken();
            if let Some((limit, why)) = limit(&measured, failed) {
                stairs.limit = Some(limit.to_owned());
                stairs.why = why;
                if report.media.is_none() {
                    measured.into_report(report);
                }
                break;
            }
            stairs.held_visits = visits;
            measured.into_report(report);
        }
        if stairs.why.is_empty() {
            "nothing, up to the top".clone_into(&mut stairs.why);
        }
        report.staircase = Some(stairs);
        Ok(())
    }
}

fn step_of(visits: usize, measured: &Measured) -> Step {
    Step {
        visits,
        packets_per_second: measured.media.received.packets_per_second,
        loss_percent: measured.media.loss_percent,
        delay_p99_us: measured.media.delay_us.map_or(0, |delay| delay.p99),
        cpu_percent: measured.cost.map(|cost| cost.cpu_percent),
        cpu_us_per_packet: measured.cost.and_then(|cost| cost.cpu_us_per_packet),
        media_thread_percent: measured.tester.media_thread_percent,
    }
}

/// What gave, if something did. The tester's own trouble comes first: it explains the others.
fn limit(measured: &Measured, failed: usize) -> Option<(&'static str, String)> {
    if measured.tester.bottleneck {
        return Some(("tester", format!("the tester itself: {}", measured.tester.reasons.join("; "))));
    }
    // Before what is missing: nothing comes to or from who did not get in.
    if failed > 0 {
        if let Some(late) = &measured.late_with_people {
            return Some(("tester", format!("{failed} did not get in, and the tester itself: {late}")));
        }
        return Some(("joins", format!("{failed} did not get in, or not stay in")));
    }
    let starved = measured.media.starved_streams;
    if starved > 0 || measured.media.received.packets == 0 {
        return Some(("starved", format!("nothing came of {starved} streams that should have")));
    }
    let loss = measured.media.loss_percent;
    let lost =
        (loss > LOSS_PERCENT_MAX).then(|| format!("loss of {loss:.3} %, more than {LOSS_PERCENT_MAX} %"));
    let p99 = measured.media.delay_us.map_or(0, |delay| delay.p99);
    if p99 > DELAY_P99_US_MAX {
        // A queue grows before it overflows.
        let late = format!("forward delay of {} ms (p99), more than {}", p99 / 1000, DELAY_P99_US_MAX / 1000);
        return Some(("delay", [Some(late), lost].into_iter().flatten().collect::<Vec<_>>().join("; ")));
    }
    lost.map(|why| ("loss", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Delay, Media, Tester, Traffic};

    fn measured(loss_percent: f64, p99: u64, bottleneck: bool) -> Measured {
        let reasons = if bottleneck { vec!["its media thread was busy".to_owned()] } else { Vec::new() };
        Measured {
            media: Media {
                received: Traffic { packets: 1, ..Traffic::default() },
                loss_percent,
                delay_us: Some(Delay { p99, ..Delay::default() }),
                ..Media::default()
            },
            cost: None,
            tester: Tester { bottleneck, reasons, ..Tester::default() },
            late_with_people: None,
        }
    }

    #[test]
    fn what_gives_is_named() {
        let name = |measured: Measured, failed| limit(&measured, failed).map(|(name, _)| name);
        assert_eq!(name(measured(0.1, 20_000, false), 0), None);
        assert_eq!(name(measured(0.11, 0, false), 0), Some("loss"));
        assert_eq!(name(measured(0.0, 20_001, false), 0), Some("delay"));
        let both = limit(&measured(3.0, 90_000, false), 0);
        let why = "forward delay of 90 ms (p99), more than 20; loss of 3.000 %, more than 0.1 %";
        assert_eq!(both, Some(("delay", why.to_owned())));
        assert_eq!(name(measured(0.0, 0, false), 1), Some("joins"));
        assert_eq!(name(measured(5.0, 90_000, true), 3), Some("tester"));
        let late = Measured { late_with_people: Some("busy".to_owned()), ..measured(0.0, 0, false) };
        assert_eq!(limit(&late, 1).map(|(name, _)| name), Some("tester"));
        assert_eq!(name(late, 0), None, "who came late came");
        let mut starved = measured(0.0, 0, false);
        starved.media.starved_streams = 1;
        let refused = limit(&starved, 1).map(|(name, _)| name);
        assert_eq!(refused, Some("joins"), "a provider whose patient was refused hears nothing");
        assert_eq!(name(starved, 0), Some("starved"));
        let mut silent = measured(0.0, 0, false);
        silent.media.received.packets = 0;
        assert_eq!(name(silent, 0), Some("starved"), "nothing at all holds no step");
    }
}
