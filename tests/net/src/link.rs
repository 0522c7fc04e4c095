//! One direction of a line, in virtual time: a queue before a line of limited rate, then loss, then the flight.
//! It knows no socket and no clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU64;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::config::{LinkConfig, QueueBound};

/// Datagrams that may be in flight, and that may wait, at a time; more are dropped as if the queue were full.
pub const IN_FLIGHT_MAX: usize = 65_536;
/// A rate in bits per second times microseconds, of a byte.
const BIT_MILLIONTHS: u64 = 8_000_000;

/// One direction of a line. Times are microseconds since any start, and never run backwards (asserted).
pub struct Link {
    config: LinkConfig,
    rng: StdRng,
    stats: LinkStats,
    now_us: u64,
    /// Waiting for the line, in order; the first one is on it.
    queue: VecDeque<Vec<u8>>,
    /// Bytes of `queue` on the wire.
    queue_bytes: u64,
    /// When the first of `queue` has left; meaningless while `queue` is empty.
    head_leaves_us: u64,
    /// What a token bucket lacks, in millionths of a bit, and when that was so.
    lacking: u64,
    lacking_at_us: u64,
    flight: BinaryHeap<Reverse<InFlight>>,
    /// Tells datagrams apart that arrive in the same microsecond.
    next_order: u64,
    /// When the last datagram arrives that was not held back: none may overtake it.
    last_arrival_us: u64,
    in_burst: bool,
}

/// What became of the datagrams, counted since the link was made.
///
/// When nothing is queued or in flight, `sent + duplicated = lost + queue_dropped + delivered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams handed to [`Link::send`].
    pub sent: u64,
    /// Lost on the line: by chance, in a burst, or because it was blocked.
    pub lost: u64,
    /// Dropped because the queue was full, or the token bucket empty.
    pub queue_dropped: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Held back so that others could overtake.
    pub reordered: u64,
    /// Handed out by [`Link::poll`], copies included.
    pub delivered: u64,
    /// Payload bytes handed out.
    pub delivered_bytes: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    arrives_us: u64,
    order: u64,
    payload: Vec<u8>,
}

/// The chances of one datagram. All are drawn for every datagram, whatever the configuration: so switching one
/// impairment on or off leaves the other draws of the same seed as they were.
struct Draws {
    burst_change: f64,
    burst_loss: f64,
    loss: f64,
    jitter: f64,
    reorder: f64,
    duplicate: f64,
    copy_jitter: f64,
}

impl Link {
    /// A line that behaves as `config` says, by the chances of `seed`. Panics when a probability is not in 0..=1.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        check(&config);
        Self {
            config,
            rng: StdRng::seed_from_u64(seed),
            stats: LinkStats::default(),
            now_us: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            head_leaves_us: 0,
            lacking: 0,
            lacking_at_us: 0,
            flight: BinaryHeap::new(),
            next_order: 0,
            last_arrival_us: 0,
            in_burst: false,
        }
    }

    /// How the line behaves now.
    #[must_use]
    pub const fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub const fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Datagrams that wait for the line or are in flight.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len() + self.flight.len()
    }

    /// How long a datagram put on the line at `now_us` would wait before its own time on it begins, in microseconds.
    #[must_use]
    pub fn queue_delay_us(&self, now_us: u64) -> u64 {
        let Some(on_line) = self.queue.front() else { return 0 };
        let waiting_bytes = self.queue_bytes - self.wire_bytes(on_line.len());
        let waits_until_us = self.head_leaves_us.saturating_add(self.us_at_rate(waiting_bytes));
        waits_until_us.saturating_sub(now_us)
    }

    /// Bytes on the wire that wait for the line, what is on it included.
    #[must_use]
    pub const fn queue_bytes(&self) -> u64 {
        self.queue_bytes
    }

    /// Changes the line at `now_us`. What is in flight arrives as it would have; what waits meets the new line, and
    /// stays even if a new queue bound would have refused it. Panics when a probability is not in 0..=1.
    pub fn set_config(&mut self, now_us: u64, config: LinkConfig) {
        check(&config);
        self.advance(now_us);
        if !self.queue.is_empty() && self.config.rate_bps != config.rate_bps {
            self.head_leaves_us = self.head_leaves_after_change(&config);
        }
        self.config = config;
        self.queue_bytes = self.queue.iter().map(|waiting| self.wire_bytes(waiting.len())).sum();
        self.advance(now_us);
    }

    /// Puts a datagram on the line at `now_us`.
    pub fn send(&mut self, now_us: u64, payload: impl Into<Vec<u8>>) {
        self.advance(now_us);
        let payload = payload.into();
        self.stats.sent += 1;
        if self.queue_refuses(&payload) {
            self.stats.queue_dropped += 1;
            return;
        }
        match (self.config.rate_bps, self.config.queue) {
            (None, _) => self.leave(now_us, payload),
            (Some(rate_bps), QueueBound::Policed(_)) => {
                self.lacking = self.lacks(rate_bps) + self.wire_bytes(payload.len()) * BIT_MILLIONTHS;
                self.lacking_at_us = now_us;
                self.leave(now_us, payload);
            }
            (Some(_), _) => {
                if self.queue.is_empty() {
                    self.head_leaves_us = now_us.saturating_add(self.line_us(payload.len()));
                }
                self.queue_bytes += self.wire_bytes(payload.len());
                self.queue.push_back(payload);
            }
        }
    }

    /// The next datagram that has arrived by `now_us`, in the order of arrival. Call until `None`.
    pub fn poll(&mut self, now_us: u64) -> Option<Vec<u8>> {
        self.advance(now_us);
        if self.flight.peek()?.0.arrives_us > now_us {
            return None;
        }
        let payload = self.flight.pop()?.0.payload;
        self.stats.delivered += 1;
        self.stats.delivered_bytes += payload.len() as u64;
        Some(payload)
    }

    /// When to poll next; `None` while the line is empty. A datagram may only leave the queue then, not arrive, so
    /// that poll may give nothing: ask again.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        let leaves = (!self.queue.is_empty()).then_some(self.head_leaves_us);
        let arrives = self.flight.peek().map(|first| first.0.arrives_us);
        leaves.into_iter().chain(arrives).min()
    }

    /// Lets leave what has had its time on the line by `now_us`.
    fn advance(&mut self, now_us: u64) {
        assert!(now_us >= self.now_us, "time ran backwards: {now_us} after {}", self.now_us);
        self.now_us = now_us;
        while self.head_leaves_us <= now_us {
            let Some(payload) = self.queue.pop_front() else { break };
            self.queue_bytes -= self.wire_bytes(payload.len());
            let left_us = self.head_leaves_us;
            if let Some(next) = self.queue.front() {
                self.head_leaves_us = left_us.saturating_add(self.line_us(next.len()));
            }
            self.leave(left_us, payload);
        }
    }

    /// A datagram comes off the line at `at_us`: it is lost, or flies.
    fn leave(&mut self, at_us: u64, payload: Vec<u8>) {
        let draws = Draws::of(&mut self.rng);
        if self.is_lost(&draws) {
            self.stats.lost += 1;
            return;
        }
        let copy = (draws.duplicate < self.config.duplicate).then(|| payload.clone());
        let held = draws.reorder < self.config.reorder;
        self.stats.reordered += u64::from(held);
        self.fly(at_us, payload, draws.jitter, held);
        if let Some(copy) = copy {
            self.stats.duplicated += 1;
            self.fly(at_us, copy, draws.copy_jitter, false);
        }
    }

    fn fly(&mut self, at_us: u64, payload: Vec<u8>, jitter: f64, held: bool) {
        let jitter_us = (jitter * self.config.jitter_us as f64) as u64;
        let travelled_us = at_us.saturating_add(self.config.delay_us).saturating_add(jitter_us);
        let arrives_us = if held {
            travelled_us.saturating_add(self.config.reorder_us)
        } else {
            self.last_arrival_us = self.last_arrival_us.max(travelled_us);
            self.last_arrival_us
        };
        self.flight.push(Reverse(InFlight { arrives_us, order: self.next_order, payload }));
        self.next_order += 1;
    }

    fn is_lost(&mut self, draws: &Draws) -> bool {
        let lost_in_burst = match self.config.burst {
            None => {
                self.in_burst = false;
                false
            }
            Some(burst) => {
                let change = if self.in_burst { burst.leave } else { burst.enter };
                self.in_burst ^= draws.burst_change < change;
                self.in_burst && draws.burst_loss < burst.loss
            }
        };
        self.config.blocked || lost_in_burst || draws.loss < self.config.loss
    }

    fn queue_refuses(&self, payload: &[u8]) -> bool {
        if self.pending() >= IN_FLIGHT_MAX {
            return true;
        }
        if let (Some(rate_bps), QueueBound::Policed(bucket_bytes)) = (self.config.rate_bps, self.config.queue)
        {
            let lacks = self.lacks(rate_bps) + self.wire_bytes(payload.len()) * BIT_MILLIONTHS;
            return lacks > bucket_bytes * BIT_MILLIONTHS;
        }
        let Some(on_line) = self.queue.front() else { return false };
        let waiting_bytes = self.queue_bytes - self.wire_bytes(on_line.len());
        match self.config.queue {
            QueueBound::Policed(_) => false,
            QueueBound::Bytes(bound) => waiting_bytes + self.wire_bytes(payload.len()) > bound,
            QueueBound::Micros(bound) => {
                self.head_leaves_us - self.now_us + self.us_at_rate(waiting_bytes) > bound
            }
        }
    }

    /// What a token bucket lacks now.
    const fn lacks(&self, rate_bps: NonZeroU64) -> u64 {
        let passed_us = self.now_us - self.lacking_at_us;
        self.lacking.saturating_sub(passed_us.saturating_mul(rate_bps.get()))
    }

    /// When the datagram on the line leaves once `config` holds: what is left of it goes at the new rate.
    fn head_leaves_after_change(&self, config: &LinkConfig) -> u64 {
        let (Some(old_bps), Some(new_bps)) = (self.config.rate_bps, config.rate_bps) else {
            return self.now_us;
        };
        let left_us = u128::from(self.head_leaves_us - self.now_us);
        let left_us = (left_us * u128::from(old_bps.get())).div_ceil(u128::from(new_bps.get()));
        self.now_us.saturating_add(u64::try_from(left_us).unwrap_or(u64::MAX))
    }

    fn line_us(&self, payload_bytes: usize) -> u64 {
        self.us_at_rate(self.wire_bytes(payload_bytes))
    }

    fn us_at_rate(&self, bytes: u64) -> u64 {
        let Some(rate_bps) = self.config.rate_bps else { return 0 };
        let us = (u128::from(bytes) * 8_000_000).div_ceil(u128::from(rate_bps.get()));
        u64::try_from(us).unwrap_or(u64::MAX)
    }

    const fn wire_bytes(&self, payload_bytes: usize) -> u64 {
        payload_bytes as u64 + self.config.overhead_bytes as u64
    }
}

impl Draws {
    fn of(rng: &mut StdRng) -> Self {
        Self {
            burst_change: rng.random(),
            burst_loss: rng.random(),
            loss: rng.random(),
            jitter: rng.random(),
            reorder: rng.random(),
            duplicate: rng.random(),
            copy_jitter: rng.random(),
        }
    }
}

fn check(config: &LinkConfig) {
    for (name, value) in config.probabilities() {
        assert!((0.0..=1.0).contains(&value), "{name} = {value} is no probability");
    }
}
