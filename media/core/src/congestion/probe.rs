//! Probes: a short run of packets at a rate above the estimate, and what became of it.

use super::bits_per_second;
use super::history::Sent;
use crate::time::Time;

/// Fewer packets that arrived say nothing of a rate.
const PACKETS_MIN: u32 = 3;
/// Of the bytes of a probe so much has to arrive, in eighths.
const ARRIVED_EIGHTHS_MIN: u64 = 5;
/// It is sent as fast as it was asked for by this share, else it says only that so much was sent.
const SLOWED: f64 = 0.9;
/// No more than so many halves of what was asked for are believed.
const BELIEVED_HALVES_MAX: u64 = 3;
/// Where it was slowed down the line is full at what arrived; a little less leaves room for the queue it made to drain.
const HEADROOM: f64 = 0.95;

/// A run of packets that is to be sent. It begins and ends with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What its packets are sent with; never zero.
    pub number: u16,
    /// How fast they are sent.
    pub rate_bps: u64,
    /// How much at the least, over all its packets.
    pub bytes: u32,
}

/// A probe of which feedback is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    pub(super) probe: Probe,
    pub(super) asked_at: Time,
    arrived: u32,
    arrived_bytes: u64,
    first_sent: Time,
    last_sent: Time,
    first_arrival: i64,
    last_arrival: i64,
    /// Of the first to arrive, and of the last that was sent: a rate is of what lies between two packets.
    first_arrived_bytes: u64,
    last_sent_bytes: u64,
}

impl Cluster {
    pub(super) const fn new(probe: Probe, asked_at: Time) -> Self {
        Self {
            probe,
            asked_at,
            arrived: 0,
            arrived_bytes: 0,
            first_sent: Time::ZERO,
            last_sent: Time::ZERO,
            first_arrival: 0,
            last_arrival: 0,
            first_arrived_bytes: 0,
            last_sent_bytes: 0,
        }
    }

    /// One of its packets arrived. The rate that it shows, once enough has.
    pub(super) fn arrived(&mut self, sent: Sent, arrival: i64) -> Option<u64> {
        let bytes = u64::from(sent.bytes);
        if self.arrived == 0 {
            (self.first_sent, self.last_sent) = (sent.at, sent.at);
            (self.first_arrival, self.last_arrival) = (arrival, arrival);
            (self.first_arrived_bytes, self.last_sent_bytes) = (bytes, bytes);
        }
        self.arrived += 1;
        self.arrived_bytes += bytes;
        self.first_sent = self.first_sent.min(sent.at);
        if sent.at >= self.last_sent {
            (self.last_sent, self.last_sent_bytes) = (sent.at, bytes);
        }
        if arrival < self.first_arrival {
            (self.first_arrival, self.first_arrived_bytes) = (arrival, bytes);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        let enough = u64::from(self.probe.bytes) * ARRIVED_EIGHTHS_MIN / 8;
        (self.arrived >= PACKETS_MIN && self.arrived_bytes >= enough).then(|| self.shown()).flatten()
    }

    fn shown(&self) -> Option<u64> {
        let sent = self.last_sent.micros_since(self.first_sent);
        let took = (self.last_arrival - self.first_arrival).cast_unsigned();
        if took == 0 {
            return None;
        }
        let arrived = bits_per_second(self.arrived_bytes - self.first_arrived_bytes, took);
        // Media that was due anyway may be part of it, and all of it at once: faster than it was asked for.
        let sent = match sent {
            0 => u64::MAX,
            sent => bits_per_second(self.arrived_bytes - self.last_sent_bytes, sent),
        };
        let shown = if (arrived as f64) < sent as f64 * SLOWED {
            (arrived as f64 * HEADROOM) as u64
        } else {
            // Two that travelled closer together than they were sent show nothing beyond what was sent.
            sent.min(arrived)
        };
        // And what arrives at once may have been held up and let go: not much more is believed than was asked for.
        Some(shown.min(self.probe.rate_bps * BELIEVED_HALVES_MAX / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{History, Told};
    use super::*;

    const PROBE: Probe = Probe { number: 1, rate_bps: 3_000_000, bytes: 5_000 };

    /// What eight packets of 1000 bytes show, sent and arrived so many microseconds apart.
    fn shows(sent_apart: u64, arrived_apart: i64) -> Option<u64> {
        let mut cluster = Cluster::new(PROBE, Time::ZERO);
        let mut history = History::new();
        let packets = (0..8).map(|n| {
            history.sent(n, 1_000, PROBE.number, Time::from_micros(1_000_000 + u64::from(n) * sent_apart));
            let Some(Told::Arrived(sent)) = history.arrived(n) else { panic!("it was sent") };
            cluster.arrived(sent, 5_000_000 + i64::from(n) * arrived_apart)
        });
        packets.flatten().last()
    }

    #[test]
    fn a_probe_shows_what_was_sent_or_where_that_was_slowed_down_what_arrived() {
        assert_eq!(shows(2_667, 2_667), Some(2_999_625));
        assert_eq!(shows(2_667, 4_000), Some(1_900_000));
    }

    #[test]
    fn a_probe_that_a_burst_of_media_was_shows_what_arrived() {
        assert_eq!(shows(0, 4_000), Some(1_900_000));
        assert_eq!(shows(0, 100), Some(4_500_000), "and not much more than was asked for");
        assert_eq!(shows(100, 100), Some(4_500_000), "nor where it left nearly at once");
        assert_eq!(shows(0, 0), None);
    }
}
