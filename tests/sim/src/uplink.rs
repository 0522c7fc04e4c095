//! What a browser thinks its way to the server carries: a small model of libwebrtc's send-side estimate. Less where a queue
//! grows, packets are lost or nobody tells; more, slowly, where neither is so, and quickly while it is very little.

use std::collections::VecDeque;
use std::time::Duration;

use vestibule_media_core::time::Time;
use vestibule_media_core::twcc::TwccView;

/// Where it begins, as libwebrtc's does, and below what it never goes.
const START_BPS: f64 = 300_000.0;
const LEAST_BPS: f64 = 30_000.0;
/// How long a queue may stand.
const QUEUE_MAX_US: i64 = 60_000;
/// The way without a queue is the shortest of so long.
const BASE_REMEMBERED: Duration = Duration::from_secs(20);
/// How often it is judged.
const STEP: Duration = Duration::from_millis(200);
/// After so long without a word about what was sent it is less by half, and again after each such time.
const UNTOLD: Duration = Duration::from_millis(700);
/// Much, and hardly any, of what is sent is lost.
const LOSES_MUCH: f64 = 0.10;
const LOSES_LITTLE: f64 = 0.02;
/// How it grows in a second: while probes find out, and then. No further than this times what arrives.
const PROBED_BPS: f64 = 300_000.0;
const GROWTH_PROBED: f64 = 2.0;
const GROWTH: f64 = 1.25;
const BEYOND_ARRIVED: f64 = 1.5;
/// Of what arrives so much is kept where a queue grows.
const BACK_OFF: f64 = 0.85;

/// The estimate of one transport.
#[derive(Debug)]
pub struct Uplink {
    estimate_bps: f64,
    sent: VecDeque<(u16, Time, usize)>,
    /// The shortest time on the way, by the clocks of both ends, of the times that count, each with its own least.
    base: VecDeque<(Time, i64)>,
    told_at: Option<Time>,
    judged_at: Time,
    arrived_bytes: usize,
    arrived: u32,
    lost: u32,
    queue_us: i64,
}

impl Default for Uplink {
    fn default() -> Self {
        Self {
            estimate_bps: START_BPS,
            sent: VecDeque::new(),
            base: VecDeque::new(),
            told_at: None,
            judged_at: Time::ZERO,
            arrived_bytes: 0,
            arrived: 0,
            lost: 0,
            queue_us: 0,
        }
    }
}

impl Uplink {
    /// In bits per second.
    #[must_use]
    pub const fn estimate_bps(&self) -> u64 {
        self.estimate_bps as u64
    }

    pub(crate) fn sent(&mut self, sequence: u16, bytes: usize, now: Time) {
        self.sent.push_back((sequence, now, bytes));
        self.told_at.get_or_insert(now);
    }

    pub(crate) fn feedback(&mut self, view: &TwccView<'_>, now: Time) {
        self.told_at = Some(now);
        let reference_us = i64::from(view.reference_time_64ms) * 64_000;
        for (sequence, after_us) in view.received() {
            while let Some(&(oldest, sent_at, bytes)) = self.sent.front() {
                let ahead = sequence.wrapping_sub(oldest).cast_signed();
                if ahead < 0 {
                    break;
                }
                self.sent.pop_front();
                if ahead > 0 {
                    self.lost += 1;
                    continue;
                }
                let way_us = reference_us + after_us - sent_at.as_micros() as i64;
                self.arrived += 1;
                self.arrived_bytes += bytes;
                self.queue_us = self.queue_us.max(way_us - self.shortest(way_us, now));
                break;
            }
        }
        if now.since(self.judged_at) >= STEP {
            self.judge(now);
        }
    }

    /// Nothing may be told of what was sent for long.
    pub(crate) fn tick(&mut self, now: Time) {
        if self.sent.is_empty() || self.told_at.is_none_or(|at| now.since(at) < UNTOLD) {
            return;
        }
        self.told_at = Some(now);
        self.sent.clear();
        self.estimate_bps = (self.estimate_bps / 2.0).max(LEAST_BPS);
    }

    fn shortest(&mut self, way_us: i64, now: Time) -> i64 {
        while self.base.back().is_some_and(|(_, kept)| *kept >= way_us) {
            self.base.pop_back();
        }
        self.base.push_back((now, way_us));
        while self.base.front().is_some_and(|(at, _)| now.since(*at) > BASE_REMEMBERED) {
            self.base.pop_front();
        }
        self.base.front().map_or(way_us, |(_, least)| *least)
    }

    fn judge(&mut self, now: Time) {
        // Of what was told too late nothing is known any more.
        if self.arrived == 0 {
            return;
        }
        let passed = now.since(std::mem::replace(&mut self.judged_at, now)).as_secs_f64().clamp(0.05, 1.0);
        let arrived_bps = self.arrived_bytes as f64 * 8.0 / passed;
        let lost = f64::from(self.lost) / f64::from((self.lost + self.arrived).max(1));
        if self.queue_us > QUEUE_MAX_US {
            self.estimate_bps = self.estimate_bps.min(arrived_bps * BACK_OFF);
        } else if lost > LOSES_MUCH {
            self.estimate_bps *= (1.0 - 0.5 * lost).powf(passed);
        } else if lost < LOSES_LITTLE {
            let (growth, most) = if self.estimate_bps < PROBED_BPS {
                (GROWTH_PROBED, PROBED_BPS)
            } else {
                (GROWTH, (arrived_bps * BEYOND_ARRIVED).max(self.estimate_bps))
            };
            self.estimate_bps = (self.estimate_bps * growth.powf(passed)).min(most);
        }
        self.estimate_bps = self.estimate_bps.max(LEAST_BPS);
        (self.arrived_bytes, self.arrived, self.lost, self.queue_us) = (0, 0, 0, 0);
    }
}
