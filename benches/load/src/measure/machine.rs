//! What this machine is, for whoever reads the figures later.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// A machine, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// Its processors, whichever of them this process may run on.
    pub cores: usize,
    /// The kernel's name and release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model(&text)).unwrap_or_default();
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| String::new(),
            |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
        );
        let cores = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        Self { cpu, cores: cores.and_then(|cores| usize::try_from(cores).ok()).unwrap_or(1), kernel }
    }
}

/// CPU time that all programs on this machine took so far, interrupts included; `None` where `/proc/stat` is not shown.
#[must_use]
pub fn busy() -> Option<Duration> {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten()?;
    let busy = busy_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(Duration::from_secs(1) / u32::try_from(ticks).ok()?.max(1) * u32::try_from(busy).ok()?)
}

/// The first line of `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq, softirq, and what is not ours.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6].into_iter().map(|index| fields.get(index).copied()).sum()
}

/// `model name : …` of `/proc/cpuinfo`; arm64 has none.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_not_busy() {
        assert_eq!(
            busy_ticks("cpu  100 20 30 9000 400 5 6 0 0 0\ncpu0 50 10 15 4500 200 2 3 0 0 0\n"),
            Some(161)
        );
        assert_eq!(busy_ticks("cpu  100 20\n"), None);
        assert_eq!(busy_ticks(""), None);
        assert!(busy().is_some_and(|busy| busy > Duration::ZERO));
    }

    #[test]
    fn the_model_is_named() {
        let text = "processor\t: 0\nmodel name\t: A Fast One @ 3.0GHz\nflags\t: x\nprocessor\t: 1\n";
        assert_eq!(model(text).as_deref(), Some("A Fast One @ 3.0GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
