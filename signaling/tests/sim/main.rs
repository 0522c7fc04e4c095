//! Visits under every order of events: simulated browsers, network, store and engine around the real live session with
//! the real domain, in virtual time, from a seed.
//!
//! A failure prints its seed and the shortest trace that still fails. `VESTIBULE_SIM_SEED=7` runs one seed alone;
//! `VESTIBULE_SIM_SEEDS=100000` is how many are tried.

mod check;
mod clients;
mod engine;
mod network;
mod seeds;
mod store;
mod trace;
mod world;

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use check::{Checked, Fault, fault};
use trace::{Trace, shrink};
use world::{Sabotage, Story};

const SEEDS: u64 = 2_000;
/// Runs that are spent on making a trace shorter.
const SHRINK_RUNS_MAX: usize = 4_000;
/// Seeds until a sabotage must have been noticed.
const SABOTAGE_SEEDS_MAX: u64 = 400;

#[test]
fn nobody_is_lost_and_nothing_is_told_that_should_not_be() {
    let seeds = match number("VESTIBULE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VESTIBULE_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let Err((seed, fault)) = first_failure(seeds) else { return };
    let trace = Trace::of_seed(seed);
    let (shortest, last) = minimal(&trace, &fault);
    let mut story = Story { is_told: true, ..Story::default() };
    let _ = quietly(|| world::run(&shortest, Sabotage::None, &mut story));
    panic!(
        "seed {seed} breaks \"{}\": {}\n{} of {} steps are enough:\n{shortest}  {}\n{}\n\
         again: VESTIBULE_SIM_SEED={seed} cargo test -p vestibule-signaling --test sim",
        fault.check,
        fault.what,
        shortest.steps.len(),
        trace.steps.len(),
        last.what,
        story.lines.join("\n"),
    );
}

/// A world that does wrong is caught, or the checks are worth nothing.
#[test]
fn every_sabotage_is_noticed() {
    let unnoticed = |sabotage: &Sabotage| (0..SABOTAGE_SEEDS_MAX).all(|seed| run(seed, *sabotage).is_ok());
    let missed: Vec<_> = Sabotage::ALL.into_iter().filter(unnoticed).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

/// The same seed, the same run.
#[test]
fn a_run_is_a_pure_function_of_its_seed() {
    assert_eq!(Trace::of_seed(7), Trace::of_seed(7));
    let noticed = || (0..60).map(|seed| run(seed, Sabotage::ChatLeaks)).collect::<Vec<_>>();
    assert_eq!(noticed(), noticed());
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn run(seed: u64, sabotage: Sabotage) -> Checked {
    run_trace(&Trace::of_seed(seed), sabotage)
}

/// A panic of the machine is a fault like any other.
fn run_trace(trace: &Trace, sabotage: Sabotage) -> Checked {
    quietly(|| world::run(trace, sabotage, &mut Story::default())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        fault("panic", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?"))
    })
}

/// The lowest seed that fails, of all threads.
fn first_failure(seeds: std::ops::Range<u64>) -> Result<(), (u64, Fault)> {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return None;
            }
            if let Err(fault) = run(seed, Sabotage::None) {
                stop.store(true, Ordering::Relaxed);
                return Some((seed, fault));
            }
        }
        None
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().filter_map(|thread| thread.join().expect("it catches panics")).collect()
    });
    failures.into_iter().min_by_key(|(seed, _)| *seed).map_or(Ok(()), Err)
}

fn minimal(trace: &Trace, found: &Fault) -> (Trace, Fault) {
    let mut last = found.clone();
    let shortest = shrink(trace, SHRINK_RUNS_MAX, |candidate| match run_trace(candidate, Sabotage::None) {
        Err(fault) if fault.check == found.check => {
            last = fault;
            true
        }
        _ => false,
    });
    (shortest, last)
}

thread_local! {
    /// A run is under way: what panics in it is caught, and said later.
    static RUNS: Cell<bool> = const { Cell::new(false) };
}

/// Without a word for each panic that is caught.
fn quietly<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !RUNS.get() {
                before(info);
            }
        }));
    });
    RUNS.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    RUNS.set(false);
    result
}
