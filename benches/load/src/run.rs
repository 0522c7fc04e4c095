//! A run: rooms are made, people come, a while is waited, a window is measured, everybody leaves.

mod churn;
mod measured;
mod members;
mod series;
mod staircase;
mod storm;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::cli::Options;
use crate::clock;
use crate::measure::machine::Machine;
use crate::measure::process::{Process, Snapshot};
use crate::measure::thresholds;
use crate::report::{FORMAT, Memory, Report, ScenarioPlayed, ServerSeen};
use crate::scenario::{Plan, Presence, Room, Scenario};
use crate::server::{Admission, Server, ServerError};
use crate::transports::Transports;

use measured::Measured;
use members::Members;
use series::Series;

/// Between the end of the last participant and the look at what the server still keeps.
const SETTLE: Duration = Duration::from_secs(1);

/// What a run is made of.
pub struct Run {
    /// How it is played.
    pub options: Options,
    /// What is played.
    pub scenario: Scenario,
    /// Against what.
    pub server: Arc<dyn Server>,
    /// What plays the media.
    pub transports: Transports,
    /// The server's process, if it is known.
    pub process: Option<Process>,
    /// Bit rates of a camera's layers, for the report.
    pub video_kbps: Vec<u32>,
    /// Whether somebody wants it to end. Who ends it early gets a report of what was measured until then.
    pub stop: Stop,
}

/// Somebody's wish that it ends.
#[derive(Clone)]
pub struct Stop(pub watch::Receiver<bool>);

impl Stop {
    /// Waits for so long, or until it is to end; true if it was the time.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.wished()).await.is_err()
    }

    /// Waits until it is to end.
    pub async fn wished(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could wish it.
            std::future::pending::<()>().await;
        }
    }

    /// Whether it is.
    #[must_use]
    pub fn is_wished(&self) -> bool {
        *self.0.borrow()
    }
}

/// What the phases of a run share.
struct Stage<'a> {
    run: &'a Run,
    plan: &'a Plan,
    members: Members,
    series: Series,
    /// The server before anybody came.
    before: Option<Snapshot>,
}

impl Run {
    /// Plays the scenario. Whatever happens, everybody has left when it returns.
    ///
    /// # Errors
    ///
    /// It could not be tried; what went wrong for single participants is in the report.
    pub async fn play(&self) -> Result<Report, ServerError> {
        let plan = self.scenario.plan(self.options.video > 0);
        let mut report = self.blank(&plan);
        let started = clock::now();
        let series = Series::start(&self.transports, self.process.clone(), started, self.longest());
        let mut stage = Stage { run: self, plan: &plan, members: Members::default(), series, before: None };

        let outcome = stage.phases(&mut report).await;
        let now = self.snapshot();
        stage.leave().await;
        let Stage { members, series, before, .. } = stage;
        report.series = series.end().await;
        outcome?;

        report.joins = members.joins();
        report.join_histogram = members.histogram();
        if let (Some(before), Some(now)) = (before, now) {
            tokio::time::sleep(SETTLE).await;
            report.memory = Some(memory(before, now, self.snapshot(), self.sharers(&members)));
        }
        report.thresholds = thresholds::check(&self.options, &report);
        report.faults = thresholds::faults(&report);
        report.passed = report.faults.is_empty();
        Ok(report)
    }

    fn blank(&self, plan: &Plan) -> Report {
        let options = &self.options;
        Report {
            format: FORMAT.to_owned(),
            at: clock::wall(),
            scenario: ScenarioPlayed {
                name: self.scenario.name().to_owned(),
                title: self.scenario.title(),
                rooms: plan.rooms.len(),
                participants: plan.people(),
                srtp_profile: options.profile.iana_name().to_owned(),
                video_kbps: self.video_kbps.clone(),
                recordings: [&options.video_file, &options.audio_file]
                    .into_iter()
                    .flatten()
                    .map(|file| file.display().to_string())
                    .collect(),
                dtx: !options.no_dtx,
                transport_feedback: !options.no_twcc,
                seed: options.seed,
                ramp_per_second: options.ramp,
                warm_up_seconds: options.warm_up.as_secs_f64(),
                window_seconds: self.window().as_secs_f64(),
            },
            server: ServerSeen {
                name: self.server.name(),
                url: self.server.url(),
                pid: self.process.as_ref().map(|process| process.pid),
                program: self.process.as_ref().map(Process::name),
            },
            machine: Some(Machine::this()),
            ..Report::default()
        }
    }

    /// Among how many the server's memory is shared out: nobody knows where people come and go.
    fn sharers(&self, members: &Members) -> usize {
        if matches!(self.scenario, Scenario::Churn { .. }) { 0 } else { members.most_at_once() }
    }

    fn snapshot(&self) -> Option<Snapshot> {
        self.process.as_ref()?.snapshot().ok()
    }

    /// How long the window is.
    const fn window(&self) -> Duration {
        match self.scenario {
            Scenario::Soak { duration, .. } | Scenario::Churn { duration, .. } => duration,
            _ => self.options.window,
        }
    }

    /// About how long all of it takes at the most, for how often is sampled.
    fn longest(&self) -> Duration {
        self.window() + self.options.warm_up
    }

    /// A bar for people; there is none where standard error is no terminal.
    fn bar(&self, length: u64, what: &'static str) -> ProgressBar {
        let bar = ProgressBar::new(length).with_message(what);
        let style = ProgressStyle::with_template("{msg:<28} [{bar:32}] {pos}/{len} {elapsed}");
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
    }
}

impl Stage<'_> {
    async fn phases(&mut self, report: &mut Report) -> Result<(), ServerError> {
        match self.run.scenario {
            Scenario::Staircase { step, .. } => return self.climb(step, report).await,
            Scenario::WaitingRoom { .. } => {
                if self.come(&self.plan.rooms, Admission::ByHand).await? {
                    report.waiting_room = Some(self.let_in_one_by_one().await);
                }
            }
            _ => {
                self.come(&self.plan.rooms, Admission::AtOnce).await?;
            }
        }
        if self.run.stop.is_wished() || !self.warm_up().await {
            return Ok(());
        }
        let measured = match self.run.scenario {
            Scenario::Churn { joins_per_second, stay, duration, .. } => {
                let (measured, churn) = self.churn(joins_per_second, stay, duration).await;
                report.churn = Some(churn);
                measured
            }
            Scenario::ReconnectStorm { .. } => {
                let (measured, storm) = self.storm().await;
                report.storm = Some(storm);
                measured
            }
            _ => self.measure(self.run.window()).await,
        };
        measured.into_report(report);
        Ok(())
    }

    /// Makes these rooms, and lets those come who are there from the beginning; true if it was not ended meanwhile.
    async fn come(&mut self, rooms: &[Room], admission: Admission) -> Result<bool, ServerError> {
        let server = &self.run.server;
        let bar = self.run.bar(rooms.len() as u64, "making rooms");
        let made = || bar.inc(1);
        tokio::select! {
            made = server.prepare(rooms, &made) => made?,
            () = self.run.stop.wished() => return Ok(false),
        }
        bar.finish_and_clear();
        self.before = self.before.or_else(|| self.run.snapshot());
        let people: Vec<_> = rooms
            .iter()
            .flat_map(|room| &room.people)
            .filter(|person| person.presence == Presence::Stays)
            .collect();
        let bar = self.run.bar(people.len() as u64, "coming in");
        self.members.ramp(self.run, &people, admission, &bar).await;
        bar.finish_and_clear();
        Ok(!self.run.stop.is_wished())
    }

    /// Estimates settle and layers rise; true if it was not ended meanwhile.
    async fn warm_up(&self) -> bool {
        self.wait(self.run.options.warm_up, "warming up").await
    }

    async fn wait(&self, time: Duration, what: &'static str) -> bool {
        let bar = self.run.bar(time.as_secs().max(1), what);
        let ticks = bar.clone();
        let ticking = tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_secs(1));
            interval.tick().await;
            loop {
                interval.tick().await;
                ticks.inc(1);
            }
        });
        let whole = self.run.stop.sleep(time).await;
        ticking.abort();
        bar.finish_and_clear();
        whole
    }

    /// A window in which nothing happens but media.
    async fn measure(&self, window: Duration) -> Measured {
        let opened = self.open_window();
        self.wait(window, "measuring").await;
        self.close_window(opened).await
    }

    /// Everybody leaves, and the rooms end.
    async fn leave(&mut self) {
        let bar = self.run.bar(self.members.len() as u64, "leaving");
        self.members.leave(&bar).await;
        bar.finish_and_clear();
        if let Err(error) = self.run.server.end(&self.plan.rooms).await {
            self.members.note(error.to_string());
        }
    }
}

fn memory(before: Snapshot, now: Snapshot, after: Option<Snapshot>, people: usize) -> Memory {
    let grown = i64::try_from(now.rss_bytes).unwrap_or(i64::MAX)
        - i64::try_from(before.rss_bytes).unwrap_or(i64::MAX);
    let people = i64::try_from(people).ok().filter(|people| *people > 0);
    Memory {
        rss_before_bytes: before.rss_bytes,
        rss_bytes: now.rss_bytes,
        rss_per_participant_bytes: people.map(|people| grown / people),
        rss_after_bytes: after.map(|after| after.rss_bytes),
        fds_before: before.fds,
        fds: now.fds,
        fds_after: after.and_then(|after| after.fds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_among_those_who_were_in() {
        let before = Snapshot { rss_bytes: 20_000_000, fds: Some(20), ..Snapshot::default() };
        let now = Snapshot { rss_bytes: 24_000_000, fds: Some(60), ..Snapshot::default() };
        let memory = memory(before, now, None, 40);
        assert_eq!(memory.rss_per_participant_bytes, Some(100_000));
        assert_eq!((memory.fds_before, memory.fds, memory.fds_after), (Some(20), Some(60), None));
        assert_eq!(super::memory(now, before, None, 0).rss_per_participant_bytes, None);
    }
}
