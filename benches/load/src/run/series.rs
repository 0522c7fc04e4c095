//! What happens second by second, for plots.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::measured::Taken;
use crate::client::{MediaPlane, Sample};
use crate::clock;
use crate::measure::process::{Process, Snapshot};
use crate::report::Moment;
use crate::transports::Transports;

/// A plot has no more points than this, however long the run is.
const POINTS: u32 = 1000;

/// A series that goes on until it is ended.
pub(super) struct Series {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    moments: Mutex<Vec<Moment>>,
    in_window: AtomicBool,
    /// Why we were late with people in one of the seconds since it was last asked.
    late_with_people: Mutex<Option<String>>,
}

impl Series {
    /// Looks once a second; more rarely if the run is longer than some minutes.
    pub(super) fn start(
        transports: &Transports,
        process: Option<Process>,
        started: Instant,
        longest: Duration,
    ) -> Self {
        let every = (longest / POINTS).max(Duration::from_secs(1));
        let shared = Arc::new(Shared::default());
        let task =
            tokio::spawn(look(Arc::clone(&shared), transports.plane().clone(), process, started, every));
        Self { shared, task }
    }

    /// Whether what comes now is measured.
    pub(super) fn in_window(&self, yes: bool) {
        self.shared.in_window.store(yes, Ordering::Relaxed);
    }

    /// Why we were late with people in some second since this was last asked, if we were.
    pub(super) fn late_with_people(&self) -> Option<String> {
        self.shared.late_with_people.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// For what took less than a second, or more.
    pub(super) fn note_late_with_people(&self, late: Option<String>) {
        self.shared.note_late_with_people(late);
    }

    /// All there is, once it has ended.
    pub(super) async fn end(self) -> Vec<Moment> {
        self.task.abort();
        // Aborted or not, it does not touch the moments any more.
        let _ = self.task.await;
        std::mem::take(&mut self.shared.moments.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn note_late_with_people(&self, late: Option<String>) {
        let mut place = self.late_with_people.lock().unwrap_or_else(PoisonError::into_inner);
        *place = place.take().or(late);
    }
}

async fn look(
    shared: Arc<Shared>,
    plane: MediaPlane,
    process: Option<Process>,
    started: Instant,
    every: Duration,
) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = process.as_ref().and_then(|process| process.snapshot().ok());
    interval.tick().await;
    plane.sample().await;
    let mut taken = Taken::now(&plane);
    loop {
        interval.tick().await;
        shared.note_late_with_people(taken.late_with_people(&plane));
        taken = Taken::now(&plane);
        let sample = plane.sample().await;
        let now = process.as_ref().and_then(|process| process.snapshot().ok());
        let moment = Moment {
            seconds: (clock::now().saturating_duration_since(started).as_secs_f64() * 1e3).round() / 1e3,
            in_window: shared.in_window.load(Ordering::Relaxed),
            ..moment(&sample, before, now)
        };
        before = now;
        shared.moments.lock().unwrap_or_else(PoisonError::into_inner).push(moment);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a plot has some hundred pixels")]
fn moment(sample: &Sample, before: Option<Snapshot>, now: Option<Snapshot>) -> Moment {
    let seconds = sample.duration.as_secs_f64().max(1e-6);
    let rate = |count: u64| (count as f64 / seconds).round();
    let percent = |cpu: Duration| (cpu.as_secs_f64() / seconds * 1e3).round() / 10.0;
    let (sent, received) = (sample.sent.total(), sample.received.total());
    let delay = |share| (sample.delay.count() > 0).then(|| sample.delay.quantile(share));
    Moment {
        transports: sample.connected,
        sent_per_second: rate(sent.packets),
        received_per_second: rate(received.packets),
        received_bits_per_second: rate(received.bytes * 8),
        delay_p50_us: delay(0.5),
        delay_p99_us: delay(0.99),
        server_cpu_percent: before.zip(now).map(|(before, now)| percent(now.cpu.saturating_sub(before.cpu))),
        server_rss_bytes: now.map(|now| now.rss_bytes),
        media_thread_percent: percent(sample.plane_cpu),
        ..Moment::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_by_the_second() {
        let mut sample = Sample {
            duration: Duration::from_secs(2),
            plane_cpu: Duration::from_millis(500),
            ..Sample::default()
        };
        sample.received.audio.packets = 100;
        sample.received.video.packets = 300;
        sample.received.video.bytes = 50_000;
        let at =
            |cpu| Some(Snapshot { cpu: Duration::from_millis(cpu), rss_bytes: 7, ..Snapshot::default() });
        let moment = moment(&sample, at(100), at(300));
        assert!((moment.received_per_second - 200.0).abs() < 1e-9);
        assert!((moment.received_bits_per_second - 200_000.0).abs() < 1e-9);
        assert_eq!((moment.server_cpu_percent, moment.server_rss_bytes), (Some(10.0), Some(7)));
        assert!((moment.media_thread_percent - 25.0).abs() < 1e-9);
        assert_eq!(moment.delay_p50_us, None);
    }
}
