//! Quantiles of a few hundred times: by rank, none made up between two that were seen.

use std::time::Duration;

use serde::Serialize;

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Milliseconds {
    /// How many times there are.
    pub count: usize,
    /// Half of them are no longer.
    pub p50: f64,
    /// 95 of 100 are no longer.
    pub p95: f64,
    /// 99 of 100 are no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Milliseconds {
    /// Of these; `None` of none.
    #[must_use]
    pub fn of(times: &[Duration]) -> Option<Self> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        Some(Self {
            count: sorted.len(),
            p50: milliseconds(rank(&sorted, 50)?),
            p95: milliseconds(rank(&sorted, 95)?),
            p99: milliseconds(rank(&sorted, 99)?),
            max: milliseconds(*sorted.last()?),
        })
    }
}

/// The smallest that is not exceeded by more than the rest: the nearest rank.
fn rank(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied()
}

/// With microseconds behind the point: more is noise.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_seen() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let of = Milliseconds::of(&times).unwrap();
        assert_eq!(of, Milliseconds { count: 100, p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 });
    }

    #[test]
    fn one_is_all_of_them_and_none_is_nothing() {
        let one = Milliseconds::of(&[Duration::from_micros(1500)]).unwrap();
        assert_eq!((one.p50, one.p95, one.max), (1.5, 1.5, 1.5));
        assert_eq!(Milliseconds::of(&[]), None);
    }
}
