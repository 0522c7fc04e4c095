//! Other traffic on a client's line: a TCP-like flow that fills what it finds, or one of a constant rate that comes and goes.

use std::collections::VecDeque;
use std::time::Duration;

use vestibule_media_core::time::Time;

/// The first byte of every datagram of it: of no protocol the SFU or a browser knows (RFC 7983).
const MARK: u8 = 0xff;
const DATAGRAM_BYTES: usize = 1_200;
/// TCP Reno: the window at the start, the least, and how many later arrivals make a loss (RFC 5681).
const WINDOW_START: f64 = 10.0;
const WINDOW_MIN: f64 = 2.0;
const LATER_ARRIVALS: u64 = 3;
const RETRANSMISSION_TIMEOUT: Duration = Duration::from_secs(1);

/// What the other traffic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossKind {
    /// Sends as TCP Reno does, without end of data.
    Reno,
    /// So many bits per second, on for as long and then off for as long.
    Constant {
        /// While it is on, headers not counted.
        rate_bps: u64,
        /// How long it is on, and how long off.
        spell: Duration,
    },
}

/// Other traffic on the way to a client, from one time to another.
#[derive(Clone, Debug)]
pub struct CrossTraffic {
    kind: CrossKind,
    from: Time,
    until: Time,
    /// From the end of the line back to its sender.
    return_delay: Duration,
    next: u64,
    next_at: Time,
    window: f64,
    threshold: f64,
    in_flight: VecDeque<u64>,
    acknowledgements: VecDeque<(Time, u64)>,
    /// Losses of what was sent before this are of a loss that was answered already.
    recovered_at: u64,
    heard_at: Time,
    /// Bytes that arrived.
    pub delivered_bytes: u64,
}

impl CrossTraffic {
    /// Traffic from `from` to `until`; what arrives is acknowledged `return_delay` later.
    #[must_use]
    pub const fn new(kind: CrossKind, from: Time, until: Time, return_delay: Duration) -> Self {
        Self {
            kind,
            from,
            until,
            return_delay,
            next: 0,
            next_at: from,
            window: WINDOW_START,
            threshold: f64::MAX,
            in_flight: VecDeque::new(),
            acknowledgements: VecDeque::new(),
            recovered_at: 0,
            heard_at: from,
            delivered_bytes: 0,
        }
    }

    /// Whether a datagram is of such traffic.
    #[must_use]
    pub fn is_of_it(datagram: &[u8]) -> bool {
        datagram.first() == Some(&MARK)
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        if self.next_at >= self.until {
            return None;
        }
        let acknowledged = self.acknowledgements.front().map(|(at, _)| *at);
        [Some(self.next_at), acknowledged].into_iter().flatten().min()
    }

    /// One of its datagrams came out of the line.
    pub fn arrived(&mut self, datagram: &[u8], now: Time) {
        self.delivered_bytes += datagram.len() as u64;
        let number =
            datagram.get(1..).and_then(|rest| rest.first_chunk()).map_or(0, |n| u64::from_be_bytes(*n));
        self.acknowledgements.push_back((now + self.return_delay, number));
    }

    /// What it sends now.
    pub fn tick(&mut self, now: Time) -> Vec<Vec<u8>> {
        if now < self.from || now >= self.until {
            return Vec::new();
        }
        while self.acknowledgements.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, number)) = self.acknowledgements.pop_front() {
                self.acknowledged(number, now);
            }
        }
        match self.kind {
            CrossKind::Constant { rate_bps, spell } => self.constant(rate_bps, spell, now),
            CrossKind::Reno => self.reno(now),
        }
    }

    fn constant(&mut self, rate_bps: u64, spell: Duration, now: Time) -> Vec<Vec<u8>> {
        let interval = Duration::from_micros(DATAGRAM_BYTES as u64 * 8_000_000 / rate_bps.max(1));
        let mut out = Vec::new();
        while self.next_at <= now {
            let spells = self.next_at.since(self.from).as_micros() / spell.as_micros().max(1);
            if spells.is_multiple_of(2) {
                out.push(self.datagram());
            }
            self.next_at = self.next_at + interval;
        }
        out
    }

    fn reno(&mut self, now: Time) -> Vec<Vec<u8>> {
        if now.since(self.heard_at) >= RETRANSMISSION_TIMEOUT {
            self.threshold = (self.window / 2.0).max(WINDOW_MIN);
            self.window = WINDOW_MIN;
            self.in_flight.clear();
            self.heard_at = now;
        }
        let mut out = Vec::new();
        while (self.in_flight.len() as f64) < self.window {
            self.in_flight.push_back(self.next);
            out.push(self.datagram());
        }
        self.next_at = self.heard_at + RETRANSMISSION_TIMEOUT;
        out
    }

    fn acknowledged(&mut self, number: u64, now: Time) {
        if self.kind != CrossKind::Reno {
            return;
        }
        self.heard_at = now;
        let Ok(at) = self.in_flight.binary_search(&number) else { return };
        self.in_flight.remove(at);
        if self.window < self.threshold {
            self.window += 1.0;
        } else {
            self.window += 1.0 / self.window;
        }
        while let Some(&oldest) = self.in_flight.front().filter(|oldest| **oldest + LATER_ARRIVALS <= number)
        {
            self.in_flight.pop_front();
            if oldest >= self.recovered_at {
                self.window = (self.window / 2.0).max(WINDOW_MIN);
                self.threshold = self.window;
                self.recovered_at = self.next;
            }
        }
    }

    fn datagram(&mut self) -> Vec<u8> {
        let mut datagram = vec![0; DATAGRAM_BYTES];
        datagram[0] = MARK;
        datagram[1..9].copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        datagram
    }
}

#[cfg(test)]
mod tests {
    use vestibule_testnet::{Link, LinkConfig};

    use super::*;

    fn used(kind: CrossKind, rate_bps: u64) -> f64 {
        const SECONDS: u64 = 20;
        let mut link = Link::new(LinkConfig::default().delay_ms(20).rate_bps(rate_bps).queue_ms(100), 3);
        let mut traffic = CrossTraffic::new(
            kind,
            Time::ZERO,
            Time::from_millis(SECONDS * 1_000),
            Duration::from_millis(20),
        );
        for ms in 0..SECONDS * 1_000 {
            let now = Time::from_millis(ms);
            while let Some(datagram) = link.poll(now.as_micros()) {
                assert!(CrossTraffic::is_of_it(&datagram));
                traffic.arrived(&datagram, now);
            }
            if traffic.next_at().is_some_and(|at| at <= now) {
                for datagram in traffic.tick(now) {
                    link.send(now.as_micros(), datagram);
                }
            }
        }
        traffic.delivered_bytes as f64 * 8.0 / (rate_bps * SECONDS) as f64
    }

    #[test]
    fn a_tcp_like_flow_fills_the_line_and_a_constant_one_takes_its_share_of_it() {
        let reno = used(CrossKind::Reno, 2_000_000);
        assert!((0.85..1.0).contains(&reno), "{reno}");
        let constant = CrossKind::Constant { rate_bps: 1_000_000, spell: Duration::from_secs(2) };
        let constant = used(constant, 2_000_000);
        assert!((0.2..0.3).contains(&constant), "{constant}");
    }
}
