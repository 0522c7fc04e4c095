//! The clocks: one that only goes forward for what is due, and the wall's for stamps, as the kernel uses it for arrivals.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Both clocks, read at the same moment at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_wall_ns: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the tester's one place that reads the clock")]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), start_wall_ns: wall_ns() }
    }

    /// Microseconds since the start.
    #[expect(clippy::disallowed_methods, reason = "the tester's one place that reads the clock")]
    pub(crate) fn micros(&self) -> u64 {
        self.start_micros(Instant::now())
    }

    /// The moment this many microseconds after the start.
    pub(crate) fn instant(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    /// A moment of the wall clock in microseconds since the start; zero before it.
    pub(crate) const fn micros_of_wall(&self, wall_ns: u64) -> u64 {
        wall_ns.saturating_sub(self.start_wall_ns) / 1_000
    }

    fn start_micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Sleeps until this many microseconds after the start.
    #[expect(clippy::disallowed_methods, reason = "a tick is a point in time, and nothing else to wait for")]
    pub(crate) fn sleep_until(&self, micros: u64) {
        let left = micros.saturating_sub(self.micros());
        if left > 0 {
            std::thread::sleep(Duration::from_micros(left));
        }
    }
}

/// Now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the tester's one place that reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock for people: RFC 3339 in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a session is due now, and a report says of when it is")]
pub(crate) fn wall() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| String::new(), |now| now.to_string())
}

/// Nanoseconds since the Unix epoch (`CLOCK_REALTIME`).
#[expect(clippy::disallowed_methods, reason = "the tester's one place that reads the clock")]
pub(crate) fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}
