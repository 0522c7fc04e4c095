//! A process as `/proc` shows it (proc(5)): CPU time of all its threads, memory, file descriptors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// A process that is looked at. It may be anybody's, as long as `/proc` shows it to us.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    folder: PathBuf,
    tick: Duration,
}

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// User and system time of all its threads so far, those that ended too. In steps of the kernel's tick (10 ms).
    pub cpu: Duration,
    /// Resident set, in bytes.
    pub rss_bytes: u64,
    /// Open file descriptors; nothing where we may not look.
    pub fds: Option<u64>,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    ///
    /// There is none, or `/proc` does not show it.
    pub fn open(pid: u32) -> io::Result<Self> {
        let process = Self { pid, folder: PathBuf::from(format!("/proc/{pid}")), tick: tick()? };
        process.snapshot()?;
        Ok(process)
    }

    /// What it is now.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn snapshot(&self) -> io::Result<Snapshot> {
        let stat = Stat::read(&self.folder)?;
        let status = fs::read_to_string(self.folder.join("status"))?;
        let rss_kibibytes = status_kibibytes(&status, "VmRSS").ok_or_else(|| unreadable("status"))?;
        let fds = fs::read_dir(self.folder.join("fd")).ok().map(|entries| entries.count() as u64);
        Ok(Snapshot { cpu: stat.cpu(self.tick), rss_bytes: rss_kibibytes * 1024, fds })
    }

    /// The name of its program.
    #[must_use]
    pub fn name(&self) -> String {
        fs::read_to_string(self.folder.join("comm")).map(|name| name.trim().to_owned()).unwrap_or_default()
    }
}

/// User and system time of one of our own threads so far, in steps of the kernel's tick (10 ms).
///
/// # Errors
///
/// It has ended, or `/proc` is not there.
pub fn thread_cpu(thread: Pid) -> io::Result<Duration> {
    Ok(Stat::read(Path::new(&format!("/proc/self/task/{thread}")))?.cpu(tick()?))
}

fn tick() -> io::Result<Duration> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(100);
    Ok(Duration::from_secs(1) / ticks.max(1))
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} is not as proc(5) says"))
}

/// Of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    utime: u64,
    stime: u64,
}

impl Stat {
    fn read(folder: &Path) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(folder.join("stat"))?).ok_or_else(|| unreadable("stat"))
    }

    fn cpu(&self, tick: Duration) -> Duration {
        tick * u32::try_from(self.utime + self.stime).unwrap_or(u32::MAX)
    }

    /// The name of the program stands in brackets and may have blanks and brackets in it; fields count from behind it.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind) = text.rsplit_once(')')?;
        // `behind` begins with the third field, the state.
        let mut fields = behind.split_ascii_whitespace().skip(11);
        let (utime, stime) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { utime, stime })
    }
}

/// A line `VmRSS:     1234 kB` of `/proc/PID/status`.
fn status_kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_move_the_fields() {
        let stat = "4711 (tokio) worker (7)) S 1 4711 4711 0 -1 4194560 2345 0 12 0 381 129 0 0 20 0 6 0 8431 \
            123456789 5120 18446744073709551615 1 1 0 0 0 0 0 4096 17642 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";
        assert_eq!(Stat::parse(stat), Some(Stat { utime: 381, stime: 129 }));
        assert_eq!(Stat::parse("4711 (short) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn memory_is_in_kibibytes() {
        let status = "Name:\tvestibule\nVmPeak:\t  999 kB\nVmRSS:\t   18432 kB\nThreads:\t6\n";
        assert_eq!(status_kibibytes(status, "VmRSS"), Some(18_432));
        assert_eq!(status_kibibytes(status, "VmSwap"), None);
        assert_eq!(status_kibibytes("VmRSS:\tmuch\n", "VmRSS"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let snapshot = Process::open(std::process::id()).unwrap().snapshot().unwrap();
        assert!(snapshot.rss_bytes > 100_000);
        assert!(snapshot.fds.unwrap() >= 3);
        assert!(thread_cpu(nix::unistd::gettid()).is_ok());
        // Ids end below this (`/proc/sys/kernel/pid_max` is at most 2^22).
        assert!(Process::open(1 << 22).is_err());
    }
}
