//! A bound on what addresses that no check has validated may cost: so many datagrams a second, then silence.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use crate::bounds::{UNKNOWN_BUCKETS, UNKNOWN_DATAGRAMS_PER_SECOND};
use crate::time::Time;

/// Fixed memory: addresses share buckets by a seeded hash, so that nobody can aim at another's bucket.
pub(crate) struct UnknownLimiter {
    seed: u64,
    second: u64,
    counts: Vec<u16>,
}

impl UnknownLimiter {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, second: 0, counts: vec![0; UNKNOWN_BUCKETS] }
    }

    /// Counts a datagram of `from`; false if it is one too many.
    pub(crate) fn admit(&mut self, from: IpAddr, now: Time) -> bool {
        let second = now.as_micros() / 1_000_000;
        if second != self.second {
            self.second = second;
            self.counts.fill(0);
        }
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        from.hash(&mut hasher);
        let count = &mut self.counts[(hasher.finish() % UNKNOWN_BUCKETS as u64) as usize];
        *count = count.saturating_add(1);
        *count <= UNKNOWN_DATAGRAMS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flooder_does_not_silence_the_others() {
        let mut limiter = UnknownLimiter::new(7);
        let flooder: IpAddr = "192.0.2.66".parse().unwrap();
        let admitted = (0..100_000).filter(|_| limiter.admit(flooder, Time::from_millis(10))).count();
        assert_eq!(admitted, usize::from(UNKNOWN_DATAGRAMS_PER_SECOND));
        let others =
            (0..200_u32).filter(|i| limiter.admit(IpAddr::from(i.to_be_bytes()), Time::from_millis(20)));
        assert!(others.count() >= 198);
        assert!(limiter.admit(flooder, Time::from_millis(1_000)));
    }
}
