//! What an encoding takes: a rate for each temporal layer and all below it.

use std::time::Duration;

use crate::time::Time;

/// Temporal layers a VP8 descriptor can name (RFC 7741 section 4.2: two bits).
pub(crate) const TEMPORAL_LAYERS_MAX: usize = 4;
/// How often the rates are told anew, and how much of the news counts.
const WINDOW: Duration = Duration::from_millis(500);
const FOLLOWS: f64 = 0.4;
/// A stream that was silent for so long begins anew.
const SILENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    since: Time,
    bytes: [u32; TEMPORAL_LAYERS_MAX],
    bps: [f64; TEMPORAL_LAYERS_MAX],
    highest: u8,
    is_known: bool,
}

impl Meter {
    /// A packet of `bytes` of UDP payload. True if the rates were told anew.
    #[inline]
    pub(crate) fn note(&mut self, temporal: u8, bytes: usize, now: Time) -> bool {
        let temporal = usize::from(temporal) & (TEMPORAL_LAYERS_MAX - 1);
        let passed = now.since(self.since);
        let news = passed >= WINDOW;
        if news {
            self.tell(passed, now);
        }
        self.bytes[temporal] += bytes as u32;
        news
    }

    #[cold]
    fn tell(&mut self, passed: Duration, now: Time) {
        if passed < SILENCE {
            let seconds = passed.as_secs_f64();
            for (bps, bytes) in self.bps.iter_mut().zip(&self.bytes) {
                let told = f64::from(*bytes) * 8.0 / seconds;
                *bps = if self.is_known { *bps + FOLLOWS * (told - *bps) } else { told };
            }
            self.is_known = true;
            self.highest = self.bps.iter().rposition(|bps| *bps > 1_000.0).unwrap_or(0) as u8;
        }
        (self.since, self.bytes) = (now, [0; TEMPORAL_LAYERS_MAX]);
    }

    /// The highest temporal layer there is.
    pub(crate) const fn highest(&self) -> u8 {
        self.highest
    }

    /// What this temporal layer and all below it take, in bits per second; nothing before it is known.
    pub(crate) fn bps(&self, temporal: u8) -> Option<u64> {
        let upto = (usize::from(temporal) + 1).min(TEMPORAL_LAYERS_MAX);
        self.is_known.then(|| self.bps[..upto].iter().sum::<f64>() as u64)
    }

    /// What all of it takes.
    pub(crate) fn total_bps(&self) -> Option<u64> {
        self.bps(TEMPORAL_LAYERS_MAX as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_temporal_layer_is_counted_with_those_below_it() {
        let mut meter = Meter::default();
        assert_eq!(meter.total_bps(), None);
        for step in 0..200_u64 {
            let temporal = [0, 2, 1, 2][step as usize % 4];
            meter.note(temporal, 1_000, Time::from_millis(10_000 + step * 10));
        }
        let rates: Vec<_> = (0..3).map(|temporal| meter.bps(temporal).unwrap() / 10_000).collect();
        assert_eq!(rates, [20, 40, 80]);
        assert_eq!((meter.highest(), meter.total_bps()), (2, meter.bps(2)));
    }

    #[test]
    fn a_silence_is_no_rate() {
        let mut meter = Meter::default();
        (0..200_u64).for_each(|step| _ = meter.note(0, 1_000, Time::from_millis(step * 10)));
        let before = meter.total_bps().unwrap();
        meter.note(0, 1_000, Time::from_millis(60_000));
        assert_eq!(meter.total_bps(), Some(before));
    }
}
