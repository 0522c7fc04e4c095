//! What a receiver that tells nothing of single packets thinks its line carries: the receiver's side of
//! draft-ietf-rmcat-gcc-02 (sections 5.2 to 5.5), with the habits of aiortc where it says nothing.

use std::collections::VecDeque;
use std::time::Duration;

use vestibule_media_core::time::Time;

/// Packets that left within this are one group, in units of the header extension; what arrived within the other as well.
const GROUP: u32 = (5 << 18) / 1_000;
const BURST: Duration = Duration::from_millis(5);
/// Units of the header extension in a millisecond.
const UNITS_PER_MS: f64 = 262.144;
/// How much arrives is of so long.
const WINDOW: Duration = Duration::from_secs(1);
/// How long nothing is said in the beginning, unless a queue grows.
const SILENT: Duration = Duration::from_secs(3);
/// Of what arrives so much is kept where a queue grows.
const DECREASE: f64 = 0.85;
/// Growth in a second where it is not known how much gets through, and the most beyond what arrives.
const GROWTH: f64 = 1.08;
const BEYOND: f64 = 1.5;
const BEYOND_BPS: f64 = 10_000.0;
/// Growth in a second near where the line was full: a packet of a frame in each response of the sender, which takes so long.
const PACKET_BITS_MAX: f64 = 9_600.0;
const FRAMES_PER_SECOND: f64 = 30.0;
const RESPONSE_S: f64 = 0.3;
const NEAR_BPS: f64 = 4_000.0;

/// The estimate of one receiver.
#[derive(Debug)]
pub(crate) struct ReceiverEstimate {
    group: Option<Group>,
    before: Option<Group>,
    filter: Filter,
    arrived: VecDeque<(Time, usize)>,
    first_at: Option<Time>,
    bps: Option<f64>,
    is_rising: bool,
    changed_at: Time,
    /// Where the line was full, on average, and how far off that was.
    full: Option<(f64, f64)>,
    near_full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: u32,
    last_sent: u32,
    arrived_at: Time,
    bytes: usize,
}

/// How the delay grows from group to group: a Kalman filter over what it does beyond what the size of groups explains.
#[derive(Debug)]
struct Filter {
    offset_ms: f64,
    offset_before_ms: f64,
    slope: f64,
    covariance: [[f64; 2]; 2],
    noise: f64,
    noise_mean: f64,
    groups: u32,
    threshold: f64,
    adapted_at: Option<Time>,
    over_ms: Option<f64>,
    over_count: u32,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Normal,
    Over,
    Under,
}

impl Default for ReceiverEstimate {
    fn default() -> Self {
        Self {
            group: None,
            before: None,
            filter: Filter::new(),
            arrived: VecDeque::new(),
            first_at: None,
            bps: None,
            is_rising: false,
            changed_at: Time::ZERO,
            full: None,
            near_full: false,
        }
    }
}

impl ReceiverEstimate {
    /// A packet arrived that left at `sent` by its header extension. True if that shows that the line is full, which is told
    /// at once.
    pub(crate) fn arrived(&mut self, sent: u32, bytes: usize, now: Time) -> bool {
        self.first_at.get_or_insert(now);
        self.arrived.push_back((now, bytes));
        while self.arrived.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.arrived.pop_front();
        }
        let was = self.filter.usage;
        self.in_groups(sent, bytes, now);
        self.filter.usage == Usage::Over && was != Usage::Over
    }

    /// What is told now, in bits per second; nothing in the beginning.
    pub(crate) fn told_bps(&mut self, now: Time) -> Option<u64> {
        let through = self.through_bps(now);
        let usage = self.filter.usage;
        if self.bps.is_none() {
            let is_known = self.first_at.is_some_and(|at| now.since(at) > SILENT);
            if !is_known && usage != Usage::Over {
                return None;
            }
        }
        let mut bps = self.bps.unwrap_or(through);
        let passed = now.since(std::mem::replace(&mut self.changed_at, now)).as_secs_f64().min(1.0);
        match usage {
            Usage::Over => {
                self.was_full_at(through);
                (bps, self.is_rising) = (DECREASE * through, false);
            }
            Usage::Under => self.is_rising = false,
            Usage::Normal if !self.is_rising => self.is_rising = true,
            Usage::Normal => {
                if self.full.is_some_and(|(mean, spread)| through > mean + 3.0 * spread) {
                    (self.full, self.near_full) = (None, false);
                }
                let grown = match self.near_full {
                    true => bps + near(bps) * passed,
                    false => bps * GROWTH.powf(passed),
                };
                bps = grown.min((BEYOND * through + BEYOND_BPS).max(bps));
            }
        }
        self.bps = Some(bps);
        Some(bps as u64)
    }

    fn through_bps(&self, now: Time) -> f64 {
        let bytes: usize = self.arrived.iter().map(|(_, bytes)| bytes).sum();
        let span = self.first_at.map_or(WINDOW, |at| now.since(at).min(WINDOW));
        bytes as f64 * 8.0 / span.as_secs_f64().max(0.001)
    }

    fn was_full_at(&mut self, through: f64) {
        let (mean, spread) = self.full.unwrap_or((through, 0.05 * through));
        let is_lower = through < mean - 3.0 * spread;
        let mean = if is_lower { through } else { 0.95 * mean + 0.05 * through };
        let spread = 0.95 * spread + 0.05 * (mean - through).abs();
        (self.full, self.near_full) = (Some((mean, spread.max(0.02 * mean))), true);
    }

    fn in_groups(&mut self, sent: u32, bytes: usize, now: Time) {
        let Some(group) = &mut self.group else {
            self.group = Some(Group { first_sent: sent, last_sent: sent, arrived_at: now, bytes });
            return;
        };
        let after = units_between(group.first_sent, sent);
        if after < 0 {
            return;
        }
        let gap_sent_ms = f64::from(units_between(group.last_sent, sent)) / UNITS_PER_MS;
        let gap = now.since(group.arrived_at);
        let is_burst = (gap.as_secs_f64() * 1e3) < gap_sent_ms && gap <= BURST;
        if is_burst || after <= GROUP.cast_signed() {
            group.last_sent = sent;
            group.arrived_at = now;
            group.bytes += bytes;
            return;
        }
        let ended =
            std::mem::replace(group, Group { first_sent: sent, last_sent: sent, arrived_at: now, bytes });
        if let Some(before) = self.before.replace(ended) {
            let sent_ms = f64::from(units_between(before.last_sent, ended.last_sent)) / UNITS_PER_MS;
            let arrival_ms = ended.arrived_at.since(before.arrived_at).as_secs_f64() * 1e3;
            self.filter.step(arrival_ms - sent_ms, sent_ms, ended.bytes as f64 - before.bytes as f64, now);
        }
    }
}

/// Growth in a second near where the line was full.
fn near(bps: f64) -> f64 {
    let frame_bits = bps / FRAMES_PER_SECOND;
    let packet_bits = frame_bits / (frame_bits / PACKET_BITS_MAX).ceil();
    (packet_bits / RESPONSE_S).max(NEAR_BPS)
}

/// From one time of the header extension to another: it has 24 bits and wraps.
const fn units_between(from: u32, to: u32) -> i32 {
    (to.wrapping_sub(from) << 8).cast_signed() >> 8
}

impl Filter {
    const fn new() -> Self {
        Self {
            offset_ms: 0.0,
            offset_before_ms: 0.0,
            slope: 1.0 / 64.0,
            covariance: [[100.0, 0.0], [0.0, 0.1]],
            noise: 50.0,
            noise_mean: 0.0,
            groups: 0,
            threshold: 12.5,
            adapted_at: None,
            over_ms: None,
            over_count: 0,
            usage: Usage::Normal,
        }
    }

    fn step(&mut self, later_ms: f64, sent_ms: f64, bytes: f64, now: Time) {
        self.groups = (self.groups + 1).min(1_000);
        let [[a, b], [c, d]] = self.covariance;
        // What shows the other way again is believed sooner.
        let turns = match self.usage {
            Usage::Over => self.offset_ms < self.offset_before_ms,
            Usage::Under => self.offset_ms > self.offset_before_ms,
            Usage::Normal => false,
        };
        let (a, d) = (a + 1e-13, d + if turns { 11e-3 } else { 1e-3 });
        let gain = [a * bytes + b, c * bytes + d];
        let residual = later_ms - self.slope * bytes - self.offset_ms;
        if self.usage == Usage::Normal {
            let most = 3.0 * self.noise.sqrt();
            let alpha: f64 = if self.groups > 300 { 0.002 } else { 0.01 };
            let follows = 1.0 - (1.0 - alpha).powf(sent_ms * 0.03);
            let kept = residual.clamp(-most, most);
            self.noise_mean += follows * (kept - self.noise_mean);
            let off = self.noise_mean - kept;
            self.noise = ((1.0 - follows) * self.noise + follows * off * off).max(1.0);
        }
        let whole = self.noise + bytes * gain[0] + gain[1];
        let [k0, k1] = gain.map(|gain| gain / whole);
        self.covariance = [
            [a - k0 * (bytes * a + c), b - k0 * (bytes * b + d)],
            [c - k1 * (bytes * a + c), d - k1 * (bytes * b + d)],
        ];
        self.offset_before_ms = self.offset_ms;
        self.slope += k0 * residual;
        self.offset_ms += k1 * residual;
        self.judge(sent_ms, now);
    }

    fn judge(&mut self, sent_ms: f64, now: Time) {
        if self.groups < 2 {
            return;
        }
        let scaled = f64::from(self.groups.min(60)) * self.offset_ms;
        if scaled > self.threshold {
            let over = self.over_ms.map_or(sent_ms / 2.0, |over| over + sent_ms);
            self.over_ms = Some(over);
            self.over_count += 1;
            if over > 10.0 && self.over_count > 1 && self.offset_ms >= self.offset_before_ms {
                (self.over_ms, self.over_count, self.usage) = (Some(0.0), 0, Usage::Over);
            }
        } else {
            (self.over_ms, self.over_count) = (None, 0);
            self.usage = if scaled < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        let passed = now.since(self.adapted_at.replace(now).unwrap_or(now)).as_millis().min(100) as f64;
        let size = scaled.abs();
        if size <= self.threshold + 15.0 {
            let gain = if size < self.threshold { 0.039 } else { 0.0087 };
            self.threshold = (self.threshold + gain * (size - self.threshold) * passed).clamp(6.0, 600.0);
        }
    }
}
