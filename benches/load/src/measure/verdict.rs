//! Whether the tester itself was in the way: then the figures are its own, not the server's.

use std::time::Duration;

/// A thread or a processor that is busy for this share has no time left for what comes late.
const BUSY: f64 = 0.9;
/// A tick is due every millisecond. Who is so late sends bursts of half a frame of audio, and answers late. Delays are not
/// measured by ticks, and do not suffer.
const LATE: Duration = Duration::from_millis(5);

/// Who came within less says nothing of the tester: CPU time is known in steps of 10 ms.
const COMING_TOLD: Duration = Duration::from_millis(500);

/// How the tester did in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// Length of the window.
    pub window: Duration,
    /// CPU time of the thread that plays media.
    pub plane_cpu: Duration,
    /// CPU time of the whole process.
    pub process_cpu: Duration,
    /// Processors it may run on.
    pub cores: usize,
    /// How late its ticks were, the 99th percentile.
    pub late_p99: Duration,
    /// Datagrams that came and were dropped because their socket's buffer was full.
    pub socket_drops: u64,
    /// Datagrams the kernel did not take.
    pub send_failures: u64,
}

impl Own {
    /// Why the tester was the bottleneck, each reason in words; nothing if it was not.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let share = |cpu: Duration| cpu.as_secs_f64() / self.window.as_secs_f64().max(f64::MIN_POSITIVE);
        let mut reasons = Vec::new();
        let plane = share(self.plane_cpu);
        if plane > BUSY {
            reasons.push(format!("its media thread was busy for {:.0} % of the time", plane * 100.0));
        }
        let signaling = share(self.process_cpu.saturating_sub(self.plane_cpu));
        if signaling > BUSY {
            reasons.push(format!("its signaling was busy for {:.0} % of the time", signaling * 100.0));
        }
        let whole = share(self.process_cpu) / cores(self.cores);
        if whole > BUSY {
            reasons.push(format!(
                "it used {:.0} % of the {} processors it may run on",
                whole * 100.0,
                self.cores
            ));
        }
        if self.late_p99 > LATE {
            reasons.push(format!("its ticks were late by {:.1} ms (p99)", self.late_p99.as_secs_f64() * 1e3));
        }
        if self.socket_drops > 0 {
            reasons.push(format!("{} datagrams were lost in its own sockets", self.socket_drops));
        }
        if self.send_failures > 0 {
            reasons.push(format!("{} datagrams were not taken from it", self.send_failures));
        }
        reasons
    }
}

/// Why join times are the tester's own, if they are: `cpu` is what its signaling took while people came for `took`.
#[must_use]
pub fn late_to_come(took: Duration, cpu: Duration) -> Option<String> {
    let share = cpu.as_secs_f64() / took.as_secs_f64().max(f64::MIN_POSITIVE);
    let told = took >= COMING_TOLD && share > BUSY;
    told.then(|| {
        format!("its signaling was busy for {:.0} % of the time in which people came in", share * 100.0)
    })
}

fn cores(cores: usize) -> f64 {
    f64::from(u32::try_from(cores.max(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Own = Own {
        window: Duration::from_secs(10),
        plane_cpu: Duration::from_secs(5),
        process_cpu: Duration::from_secs(6),
        cores: 1,
        late_p99: Duration::from_micros(300),
        socket_drops: 0,
        send_failures: 0,
    };

    #[test]
    fn a_tester_with_time_to_spare_is_not_in_the_way() {
        assert_eq!(FINE.reasons(), Vec::<String>::new());
    }

    #[test]
    fn join_times_of_a_busy_tester_are_its_own() {
        let (took, busy) = (Duration::from_secs(2), Duration::from_millis(1_900));
        let why = "its signaling was busy for 95 % of the time in which people came in";
        assert_eq!(late_to_come(took, busy).as_deref(), Some(why));
        assert_eq!(late_to_come(took, Duration::from_millis(1_700)), None);
        assert_eq!(late_to_come(Duration::from_millis(20), Duration::from_millis(20)), None);
    }

    #[test]
    fn each_reason_is_said() {
        let busy = Own { plane_cpu: Duration::from_millis(9500), ..FINE };
        assert_eq!(busy.reasons(), ["its media thread was busy for 95 % of the time"]);
        let full = Own { process_cpu: Duration::from_millis(9800), ..FINE };
        assert_eq!(full.reasons(), ["it used 98 % of the 1 processors it may run on"]);
        assert_eq!(Own { cores: 2, ..full }.reasons(), Vec::<String>::new());
        let talking = Own {
            plane_cpu: Duration::from_secs(1),
            process_cpu: Duration::from_millis(10_400),
            cores: 2,
            ..FINE
        };
        assert_eq!(talking.reasons(), ["its signaling was busy for 94 % of the time"]);
        let late = Own { late_p99: Duration::from_millis(12), ..FINE };
        assert_eq!(late.reasons(), ["its ticks were late by 12.0 ms (p99)"]);
        let dropped = Own { socket_drops: 3, ..late };
        assert_eq!(dropped.reasons().len(), 2);
        let refused = Own { send_failures: 2, ..FINE };
        assert_eq!(refused.reasons(), ["2 datagrams were not taken from it"]);
    }
}
