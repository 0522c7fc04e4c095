//! CPU time of this thread, and what is made of many measurements on a noisy machine.

/// User and system time of this thread, in nanoseconds.
pub(crate) fn thread_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live `timespec` for the kernel to fill in.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "Linux has a CPU clock per thread");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What `work` took, in nanoseconds.
pub(crate) fn spent(work: impl FnOnce()) -> u64 {
    let start = thread_nanos();
    work();
    thread_nanos() - start
}

pub(crate) fn median(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

/// Whether the program was started to measure: under `cargo test --benches` only compiling it matters.
pub(crate) fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
