//! Whether a queue grows on the way: the slope of the one-way delay over groups of packets that were sent together
//! (draft-ietf-rmcat-gcc-02 sections 5.2 to 5.4, with the line fitted by least squares instead of a Kalman filter).

use std::collections::VecDeque;

use crate::time::Time;

/// Packets sent within this are one group: a frame leaves as a burst.
const GROUP_MICROS: u64 = 5_000;
/// Groups in the line that is fitted.
const WINDOW: usize = 20;
/// How much of the smoothed delay is what it was before.
const SMOOTHING: f64 = 0.9;
/// The slope says little before many groups have come; and it is small, so both are scaled to what a threshold of
/// milliseconds can be held against.
const GAIN: f64 = 4.0;
const GROUPS_SCALE_MAX: f64 = 60.0;
/// The threshold follows the slope: slowly down, so that a few quiet seconds do not make it nervous; quicker up, so that
/// a line with jitter, or with a loss-based flow beside us, does not starve us.
const THRESHOLD_START_MS: f64 = 12.5;
const THRESHOLD_MIN_MS: f64 = 6.0;
const THRESHOLD_MAX_MS: f64 = 600.0;
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// Beyond this above the threshold it is a spike (a handover, a sleep), which says nothing of the line's jitter.
const SPIKE_MS: f64 = 15.0;
/// For how long it has to look like overuse.
const OVERUSE_MS: f64 = 10.0;
/// A receiver that heard nothing for so long begins anew.
const PAUSE_MICROS: i64 = 3_000_000;

/// What the delay says of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// The queue neither grows nor shrinks.
    #[default]
    Normal,
    /// It grows: more is sent than gets through.
    Over,
    /// It shrinks: what waits drains.
    Under,
}

#[derive(Clone, Debug)]
pub(super) struct Trend {
    group: Option<Group>,
    before: Option<Group>,
    /// Arrival, and the smoothed delay then, both in ms since the first.
    points: VecDeque<(f64, f64)>,
    groups: f64,
    first_arrival: i64,
    delay_ms: f64,
    smoothed_ms: f64,
    slope: f64,
    threshold_ms: f64,
    over_ms: f64,
    over_count: u32,
    adapted_at: Option<i64>,
    usage: Usage,
}

/// Packets that were sent together.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: Time,
    last_sent: Time,
    first_arrival: i64,
    last_arrival: i64,
}

impl Trend {
    pub(super) fn new() -> Self {
        Self {
            group: None,
            before: None,
            points: VecDeque::with_capacity(WINDOW),
            groups: 0.0,
            first_arrival: 0,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            slope: 0.0,
            threshold_ms: THRESHOLD_START_MS,
            over_ms: 0.0,
            over_count: 0,
            adapted_at: None,
            usage: Usage::Normal,
        }
    }

    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// A packet arrived, by the receiver's clock in µs. In the order in which they were sent.
    #[inline]
    pub(super) fn arrived(&mut self, sent: Time, arrival: i64) {
        let Some(group) = &mut self.group else {
            self.group = Some(Group::of(sent, arrival));
            return;
        };
        if arrival - group.last_arrival > PAUSE_MICROS || arrival < group.last_arrival - PAUSE_MICROS {
            *self = Self { threshold_ms: self.threshold_ms, ..Self::new() };
            self.group = Some(Group::of(sent, arrival));
            return;
        }
        if sent < group.first_sent {
            // Reordered into an earlier group, whose time is over.
            return;
        }
        if group.takes(sent, arrival) {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival = group.last_arrival.max(arrival);
            return;
        }
        let ended = std::mem::replace(group, Group::of(sent, arrival));
        if let Some(before) = self.before.replace(ended) {
            self.step(before, ended);
        }
    }

    /// The line was shown to carry more than it was thought to, or less is sent now: what was fitted is of the past.
    pub(super) fn forget(&mut self) {
        self.points.clear();
        self.groups = 0.0;
        self.delay_ms = 0.0;
        self.smoothed_ms = 0.0;
        self.over_ms = 0.0;
        self.over_count = 0;
        self.usage = Usage::Normal;
    }

    fn step(&mut self, before: Group, group: Group) {
        let sent_ms = group.last_sent.micros_since(before.last_sent) as f64 / 1e3;
        let arrival_ms = (group.last_arrival - before.last_arrival) as f64 / 1e3;
        if self.points.is_empty() {
            self.first_arrival = group.last_arrival;
        }
        self.groups = (self.groups + 1.0).min(GROUPS_SCALE_MAX);
        self.delay_ms += arrival_ms - sent_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.delay_ms;
        if self.points.len() == WINDOW {
            self.points.pop_front();
        }
        let at_ms = (group.last_arrival - self.first_arrival) as f64 / 1e3;
        self.points.push_back((at_ms, self.smoothed_ms));
        let slope_before = self.slope;
        if self.points.len() == WINDOW {
            self.slope = fitted(&self.points).unwrap_or(slope_before);
            self.judge(slope_before, sent_ms, group.last_arrival);
        }
    }

    fn judge(&mut self, slope_before: f64, sent_ms: f64, arrival: i64) {
        let scaled = self.groups * self.slope * GAIN;
        if scaled > self.threshold_ms {
            self.over_ms += if self.over_count == 0 { sent_ms / 2.0 } else { sent_ms };
            self.over_count += 1;
            if self.over_ms > OVERUSE_MS && self.over_count > 1 && self.slope >= slope_before {
                self.over_ms = 0.0;
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_ms = 0.0;
            self.over_count = 0;
            self.usage = if scaled < -self.threshold_ms { Usage::Under } else { Usage::Normal };
        }
        self.adapt(scaled.abs(), arrival);
    }

    fn adapt(&mut self, size_ms: f64, arrival: i64) {
        let since = self.adapted_at.replace(arrival).map_or(0.0, |at| (arrival - at) as f64 / 1e3);
        if size_ms > self.threshold_ms + SPIKE_MS {
            return;
        }
        let gain = if size_ms < self.threshold_ms { THRESHOLD_DOWN } else { THRESHOLD_UP };
        self.threshold_ms += gain * (size_ms - self.threshold_ms) * since.clamp(0.0, 100.0);
        self.threshold_ms = self.threshold_ms.clamp(THRESHOLD_MIN_MS, THRESHOLD_MAX_MS);
    }
}

impl Group {
    const fn of(sent: Time, arrival: i64) -> Self {
        Self { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival }
    }

    /// Sent with it; or caught up with it on the way, so that both arrived as one burst.
    fn takes(&self, sent: Time, arrival: i64) -> bool {
        if sent.micros_since(self.first_sent) <= GROUP_MICROS {
            return true;
        }
        let (sent, gap) = (sent.micros_since(self.last_sent).cast_signed(), arrival - self.last_arrival);
        let burst = GROUP_MICROS.cast_signed();
        gap < sent && gap <= burst && arrival - self.first_arrival < 20 * burst
    }
}

/// The slope of the line through the points, by least squares; none if all lie above one another.
fn fitted(points: &VecDeque<(f64, f64)>) -> Option<f64> {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), (x, y)| {
        (over + (x - mean_x) * (y - mean_y), under + (x - mean_x) * (x - mean_x))
    });
    (under > 0.0).then(|| over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet each 10 ms, each `grows_micros` later than the one before.
    fn run(trend: &mut Trend, from: u64, packets: u64, late: &mut i64, grows_micros: i64) {
        for step in from..from + packets {
            *late += grows_micros;
            trend.arrived(Time::from_millis(step * 10), (step * 10_000).cast_signed() + 50_000 + *late);
        }
    }

    #[test]
    fn a_steady_delay_is_normal_a_growing_one_overuse_and_a_shrinking_one_underuse() {
        let (mut trend, mut late) = (Trend::new(), 0);
        run(&mut trend, 0, 100, &mut late, 0);
        assert_eq!(trend.usage(), Usage::Normal);
        run(&mut trend, 100, 40, &mut late, 1_500);
        assert_eq!(trend.usage(), Usage::Over);
        run(&mut trend, 140, 40, &mut late, 0);
        assert_eq!(trend.usage(), Usage::Normal);
        run(&mut trend, 180, 30, &mut late, -1_500);
        assert_eq!(trend.usage(), Usage::Under);
    }

    #[test]
    fn clocks_that_drift_apart_are_no_queue() {
        let (mut trend, mut late) = (Trend::new(), 0);
        // A hundred parts in a million: 1 µs each 10 ms.
        run(&mut trend, 0, 6_000, &mut late, 1);
        assert_eq!(trend.usage(), Usage::Normal);
    }

    #[test]
    fn one_spike_is_no_overuse() {
        let (mut trend, mut late) = (Trend::new(), 0);
        run(&mut trend, 0, 100, &mut late, 0);
        trend.arrived(Time::from_millis(1_000), 1_000_000 + 50_000 + 40_000);
        for step in 101..160_u64 {
            trend.arrived(Time::from_millis(step * 10), (step * 10_000).cast_signed() + 50_000);
            assert_ne!(trend.usage(), Usage::Over, "{step}");
        }
    }

    #[test]
    fn a_frame_that_left_as_a_burst_is_one_group() {
        let mut trend = Trend::new();
        // Ten packets at once each 33 ms, spread to 10 ms by a line that is half full.
        for frame in 0..200_u64 {
            for packet in 0..10 {
                let arrival = (frame * 33_000 + packet * 1_000).cast_signed();
                trend.arrived(Time::from_micros(frame * 33_000 + packet * 10), arrival);
            }
            assert_eq!(trend.usage(), Usage::Normal, "{frame}");
        }
    }

    #[test]
    fn after_a_long_silence_nothing_is_fitted_over_it() {
        let (mut trend, mut late) = (Trend::new(), 0);
        run(&mut trend, 0, 100, &mut late, 0);
        late = 700_000;
        run(&mut trend, 1_000, 100, &mut late, 0);
        assert_eq!(trend.usage(), Usage::Normal);
    }
}
