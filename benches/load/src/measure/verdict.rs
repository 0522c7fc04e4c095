//! Whether the tester itself was in the way: then the figures are its own, not the server's.

use std::time::Duration;

/// A thread or a processor that is busy for this share has no time left for what comes late.
const BUSY: f64 = 0.9;
/// A tick is due every millisecond. Who is so late sends bursts of half a frame of audio, and answers late. Delays are not
/// measured by ticks, and do not suffer.
const LATE: Duration = Duration::from_millis(5);

/// Less says nothing: CPU time is known in steps of 10 ms.
const LATE_TOLD: Duration = Duration::from_millis(200);

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

/// Why the tester was late with what people did for `took`, as to come in: then those times are its own. `signaling` is
/// the CPU time of all its threads but the one that plays media, `process` that of all.
#[must_use]
pub fn late_with_people(
    took: Duration,
    signaling: Duration,
    process: Duration,
    cores_count: usize,
) -> Option<String> {
    if took < LATE_TOLD {
        return None;
    }
    let share = |cpu: Duration| cpu.as_secs_f64() / took.as_secs_f64();
    let (signaling, whole) = (share(signaling), share(process) / cores(cores_count));
    let what = if signaling > BUSY {
        format!("its signaling was busy for {:.0} %", signaling * 100.0)
    } else if whole > BUSY {
        format!("it used {:.0} % of its processors", whole * 100.0)
    } else {
        return None;
    };
    Some(format!("{what} of {:.1} s in which people came", took.as_secs_f64()))
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
        let ms = Duration::from_millis;
        let why =
            |took, signaling, process, cores| late_with_people(ms(took), ms(signaling), ms(process), cores);
        let talking = "its signaling was busy for 95 % of 2.0 s in which people came";
        assert_eq!(why(2_000, 1_900, 2_300, 2).as_deref(), Some(talking));
        let full = "it used 98 % of its processors of 1.0 s in which people came";
        assert_eq!(why(1_000, 550, 980, 1).as_deref(), Some(full));
        assert_eq!(why(1_000, 550, 980, 2), None);
        assert_eq!(why(20, 20, 20, 1), None);
    }

    #[test]
    fn each_reason_is_said() {
        let busy = Own { plane_cpu: Duration::from_millis(9500), ..FINE };
        assert_eq!(busy.reasons(), ["its media thread was busy for 95 % of the time"]);
        let full = Own { process_cpu: Duration::from_millis(9800), ..FINE };
        assert_eq!(full.reasons(), ["it used 98 % of the 1 processors it may run on"]);
        assert_eq!(Own { cores: 2, ..full }.reasons(), Vec::<String>::new());
        let late = Own { late_p99: Duration::from_millis(12), ..FINE };
        assert_eq!(late.reasons(), ["its ticks were late by 12.0 ms (p99)"]);
        let dropped = Own { socket_drops: 3, ..late };
        assert_eq!(dropped.reasons().len(), 2);
        let refused = Own { send_failures: 2, ..FINE };
        assert_eq!(refused.reasons(), ["2 datagrams were not taken from it"]);
    }
}
