//! How often somebody may ask: each caller has a bucket of their own, and what they ask too much is refused with the time
//! to wait, so that one client's loop is nobody else's outage. Who has not said who they are is counted by their address:
//! at the door like a caller, where passwords are looked at a tenth of that. Tickets, resume secrets and links are counted
//! there when they are wrong: whoever guesses is soon told nothing any more, and nobody else notices.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, NotUntil, Quota};

use super::problem::ApiError;

/// How many times the rate of a second may come at once.
const BURST: NonZeroU32 = NonZeroU32::new(3).unwrap();
/// Passwords and one-time links are looked at for so many times fewer requests.
const GUESSES_PART: u32 = 10;
/// Requests after which buckets that are full again are forgotten.
const SWEEP_EVERY: u32 = 4_096;

/// The buckets, by caller.
#[derive(Debug)]
pub(crate) struct Rates {
    callers: DefaultKeyedRateLimiter<String>,
    strangers: DefaultKeyedRateLimiter<IpAddr>,
    guesses: DefaultKeyedRateLimiter<IpAddr>,
    asked: AtomicU32,
}

impl Rates {
    /// So many requests a second for each.
    pub(crate) fn per_second(rate: u32) -> Self {
        Self {
            callers: DefaultKeyedRateLimiter::keyed(quota(rate)),
            strangers: DefaultKeyedRateLimiter::keyed(quota(rate)),
            guesses: DefaultKeyedRateLimiter::keyed(quota(rate / GUESSES_PART)),
            asked: AtomicU32::new(0),
        }
    }

    /// Counts one request of `caller`.
    pub(crate) fn check(&self, caller: &str) -> Result<(), ApiError> {
        self.sweep();
        self.callers.check_key(&caller.to_owned()).map_err(|refused| too_often(&refused))
    }

    /// Counts one request from an address whose owner has not said who they are.
    pub(crate) fn check_stranger(&self, address: IpAddr, guesses: bool) -> Result<(), ApiError> {
        self.sweep();
        let buckets = if guesses { &self.guesses } else { &self.strangers };
        buckets.check_key(&of_network(address)).map_err(|refused| too_often(&refused))
    }

    /// Counts a ticket, a secret or a link that was wrong. Of an address that guesses no more is said than that; what is
    /// right is never refused, or a guesser would shut out everybody behind the same proxy.
    pub(crate) fn wrong(&self, address: IpAddr) -> Result<(), ApiError> {
        self.sweep();
        self.guesses.check_key(&of_network(address)).map_err(|refused| too_often(&refused))
    }

    fn sweep(&self) {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.callers.retain_recent();
            self.strangers.retain_recent();
            self.guesses.retain_recent();
        }
    }
}

fn quota(rate: u32) -> Quota {
    let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST))
}

fn too_often(refused: &NotUntil<<DefaultClock as Clock>::Instant>) -> ApiError {
    let wait = refused.wait_time_from(DefaultClock::default().now());
    ApiError::TooOften { wait_s: wait.as_secs() + 1 }
}

/// Whoever has one IPv6 address has all of its /64.
fn of_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_is_told_nothing_any_more_and_nobody_else_notices() {
        let rates = Rates::per_second(10);
        let (guesser, neighbour, other): (IpAddr, IpAddr, IpAddr) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
            "2001:db8:0:1::1".parse().unwrap(),
        );
        assert!((0..100).any(|_| rates.wrong(guesser).is_err()));
        assert!(rates.wrong(neighbour).is_err(), "the whole network of the guesser");
        assert!(rates.wrong(other).is_ok());
    }
}
