//! The estimate: what delay, loss and what was acknowledged come to, and when a probe is due.

use std::time::Duration;

use super::acknowledged::Acknowledged;
use super::contest::{Contest, THROUGH_SHARE, gets_through};
use super::history::{History, Told};
use super::loss::{LossLimit, Seen};
use super::probe::{Cluster, Probe};
use super::standing::{DRAINED, STANDS, Standing};
use super::trend::{Trend, Usage};
use crate::bounds::RTT_DEFAULT;
use crate::time::Time;
use crate::twcc::TwccView;

/// Where everybody starts: a picture, and no harm on a slow line.
pub const ESTIMATE_START_BPS: u64 = 300_000;
/// A voice of 16 kbit/s with its headers, and a little.
pub const ESTIMATE_MIN_BPS: u64 = 40_000;
/// Nobody is sent more.
pub const ESTIMATE_MAX_BPS: u64 = 50_000_000;

/// What is left of what got through when a queue grows.
const DECREASE: f64 = 0.85;
/// The same while hardly anything stands in it yet.
const DECREASE_EARLY: f64 = 0.92;
const EARLY: Duration = Duration::from_millis(40);
/// Far from where the line was last full.
const GROWTH_PER_SECOND: f64 = 0.08;
/// Near it: so much for each round trip.
const GROWTH_BYTES_PER_ROUND_TRIP: f64 = 1_200.0;
/// From a change of rate to what feedback says of it: a round trip, and the interval of feedback.
const FEEDBACK_DELAY: Duration = Duration::from_millis(100);
/// Beyond what is seen to get through nothing is known.
const ACKNOWLEDGED_SHARE_MAX: f64 = 1.5;
const ACKNOWLEDGED_SPARE_BPS: f64 = 10_000.0;
/// Who sends less than this share of what is allowed does not show that it is too much, nor that it is not.
pub(super) const LIMITED_SHARE: f64 = 0.65;
/// How much of its spread the place where the line was full takes up, and how quickly both follow.
const CAPACITY_SPREADS: f64 = 3.0;
const CAPACITY_FOLLOWS: f64 = 0.05;

/// The first probes, in terms of the start.
const START_PROBES: [u64; 2] = [3, 6];
/// Another follows one that got through nearly as fast as it was sent, at so much more.
const FURTHER: u64 = 2;
/// How often it is tried whether there is more, by somebody who wants more than they are allowed or sends less.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// On a line as slow as this a probe holds up a voice: after tries that showed no more, twice as long each time, up to so
/// many times.
const PROBE_SLOW_BPS: u64 = 150_000;
const PROBE_SLOW_DOUBLED_MAX: u32 = 2;
/// A probe that shows less beyond the estimate has shown no more.
const PROBE_GAIN: f64 = 1.1;
/// For so long beyond a round trip a queue that a probe or a keyframe has made is theirs, unless it is longer than they
/// could make it.
const SHADOW: Duration = Duration::from_millis(300);
const SHADOW_WAITS_MAX: Duration = Duration::from_millis(150);
/// And unless as much is sent as is allowed, which fills a line as well.
const SHADOW_SENT_SHARE: f64 = 0.9;
/// How long a probe takes, and the least it is made of.
const PROBE_DURATION: Duration = Duration::from_millis(15);
const PROBE_BYTES_MIN: u64 = 3_000;
/// On a slow line that would be a long time: there it is as much as it carries in this one, and five small packets.
const PROBE_DURATION_MAX: Duration = Duration::from_millis(40);
const PROBE_BYTES_LEAST: u64 = 500;
/// How long what was sent may be on its way beyond the quickest answer and the time between two messages of feedback, and
/// what may be in any case.
const WINDOW_MARGIN: Duration = Duration::from_millis(100);
const WINDOW_BYTES_MIN: u64 = 8_000;
/// No more than this is believed of the time between two messages.
const ANSWER_INTERVAL_MAX: Duration = Duration::from_millis(500);
/// The quickest answer is that of the last so many seconds, twice.
const ANSWER_SPAN: Duration = Duration::from_secs(10);
/// What waits in a line that was full has drained by then.
const DRAIN: Duration = Duration::from_secs(1);
/// Feedback of a probe that has not come by then does not come.
const PROBE_EXPIRY: Duration = Duration::from_secs(1);
/// Bits of `reference_time_64ms`.
const REFERENCE_BITS: u32 = 24;

/// The estimate for one line. What each packet that is sent touches comes first.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Estimator {
    history: History,
    sent_bytes: SentRate,
    /// The first packet since the last message was sent then.
    awaited_since: Option<Time>,
    trend: Trend,
    standing: Standing,
    contest: Contest,
    loss: LossLimit,
    acknowledged: Acknowledged,
    /// What delay allows.
    delay_bps: f64,
    grown_at: Option<Time>,
    lowered_at: Option<Time>,
    capacity: Option<Capacity>,
    /// The receiver's clock, unwrapped, at the reference of the last message, in µs.
    reference: Option<(i32, i64)>,
    answers: Answers,
    burst_at: Option<Time>,
    probes: Probes,
    /// What the last probe has shown, unless the line was full since.
    shown_bps: Option<u64>,
    wanted_bps: u64,
}

/// Where the line was full.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    mean_bps: f64,
    /// Variance in terms of the mean.
    spread: f64,
}

#[derive(Clone, Debug, Default)]
struct Probes {
    next_number: u16,
    cluster: Option<Cluster>,
    /// The number of a test of the line, and how many of its packets arrived.
    test: Option<(u16, u32)>,
    /// What is to be tried next, and how far the first ones have got.
    next_bps: Option<u64>,
    started: usize,
    last_at: Option<Time>,
    /// In a row, that have shown no more.
    vain: u32,
}

/// How soon feedback tells of what was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// The quickest of this span and of the one before.
    quickest: Option<Duration>,
    before: Option<Duration>,
    span_began: Time,
    last_at: Option<Time>,
    /// Between two messages, rather more than less.
    interval: Duration,
}

/// What is sent, over the last half second.
#[derive(Clone, Copy, Debug, Default)]
struct SentRate {
    since: Time,
    bytes: u64,
    bps: f64,
}

impl Default for Estimator {
    fn default() -> Self {
        Self::new()
    }
}

impl Estimator {
    /// Nothing is known of the line.
    #[must_use]
    pub fn new() -> Self {
        Self {
            history: History::new(),
            sent_bytes: SentRate::default(),
            awaited_since: None,
            trend: Trend::new(),
            standing: Standing::default(),
            contest: Contest::default(),
            loss: LossLimit::new(),
            acknowledged: Acknowledged::default(),
            delay_bps: ESTIMATE_START_BPS as f64,
            grown_at: None,
            lowered_at: None,
            capacity: None,
            reference: None,
            answers: Answers::default(),
            burst_at: None,
            probes: Probes { next_number: 1, ..Probes::default() },
            shown_bps: None,
            wanted_bps: ESTIMATE_MAX_BPS,
        }
    }

    /// What the line carries, in bits per second of UDP payload, [`ESTIMATE_MIN_BPS`] to [`ESTIMATE_MAX_BPS`].
    #[must_use]
    pub fn estimate_bps(&self) -> u64 {
        (self.delay_bps as u64).min(self.loss.limit_bps()).clamp(ESTIMATE_MIN_BPS, ESTIMATE_MAX_BPS)
    }

    /// What the delay says of the line.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self.trend.usage() {
            // The queue is somebody else's and grows as theirs does, unless what is sent does not get through.
            Usage::Over if self.contest.is_contested() && self.gets_through() => Usage::Normal,
            _ if self.standing.waits() > STANDS && !self.contest.is_contested() => Usage::Over,
            usage => usage,
        }
    }

    /// The share of packets that got lost lately, 0.0..=1.0.
    #[must_use]
    pub const fn loss_share(&self) -> f64 {
        self.loss.share()
    }

    /// Much less is sent from now on: what was lost before shows nothing of it.
    pub const fn forget_loss(&mut self) {
        self.loss.forget();
    }

    /// Much is sent at once: what it makes wait is no sign that too much is sent.
    pub const fn burst(&mut self, now: Time) {
        self.burst_at = Some(now);
    }

    /// How long what is sent now waits in the line, beyond its travel.
    #[must_use]
    pub fn stands(&self) -> Duration {
        self.standing.waits_now()
    }

    /// How long ago delay last showed that too much was sent.
    #[must_use]
    pub fn lowered_since(&self, now: Time) -> Option<Duration> {
        self.lowered_at.map(|at| now.since(at))
    }

    /// What gets through, in bits per second; nothing while too little was sent to say.
    #[must_use]
    pub fn acknowledged_bps(&self) -> Option<u64> {
        self.acknowledged.rate_bps()
    }

    /// What has been seen to get through, by a probe or by what was sent: no more than this is known. Before anything has
    /// been seen it is the estimate.
    #[must_use]
    pub fn proven_bps(&self) -> u64 {
        let seen = self.acknowledged.rate_bps().max(self.shown_bps);
        let least = if self.lowered_at.is_none() { ESTIMATE_START_BPS } else { ESTIMATE_MIN_BPS };
        seen.unwrap_or(0).max(least).min(self.estimate_bps())
    }

    /// The same, without what only a burst has shown where a policer lets those pass.
    #[must_use]
    pub fn borne_bps(&self) -> u64 {
        match self.acknowledged.rate_bps() {
            Some(bps) if self.loss.is_policed() => bps.min(self.estimate_bps()),
            _ => self.proven_bps(),
        }
    }

    /// Packets go another way from now on: what was learned is of the old one.
    pub fn path_changed(&mut self) {
        let before = self.estimate_bps();
        let wanted_bps = self.wanted_bps;
        // Numbers go on, and reports about what is on its way still come.
        let history = std::mem::replace(&mut self.history, History::new());
        let number = self.probes.next_number;
        *self = Self::new();
        (self.history, self.wanted_bps, self.probes.next_number) = (history, wanted_bps, number);
        self.delay_bps = before.min(ESTIMATE_START_BPS) as f64;
    }

    /// Bytes that are on their way.
    #[must_use]
    pub const fn in_flight_bytes(&self) -> u64 {
        self.history.in_flight_bytes()
    }

    /// How much may be on its way at this rate, in bytes: when more is, the line has become slower, or nobody answers.
    #[must_use]
    pub fn window_bytes(&self, bps: u64) -> u64 {
        let quickest = self.answers.quickest().unwrap_or(RTT_DEFAULT * 3);
        let micros = (quickest + self.answers.interval + WINDOW_MARGIN).as_micros() as u64;
        WINDOW_BYTES_MIN + bps.max(self.sent_bytes.bps as u64) * micros / 8_000_000
    }

    /// How long it takes at this rate until no more is on its way than has to be, with `margin` of it in the line's queue.
    #[must_use]
    pub fn stands_for(&self, bps: u64, margin: Duration) -> Duration {
        let Some(quickest) = self.answers.quickest() else { return Duration::ZERO };
        let on_its_way = Duration::from_secs_f64(self.in_flight_bytes() as f64 * 8.0 / bps.max(1) as f64);
        on_its_way.saturating_sub(quickest + self.answers.interval + margin)
    }

    /// When feedback came last.
    #[must_use]
    pub fn answered_at(&self) -> Option<Time> {
        self.answers.last_at
    }

    /// Since when an answer is waited for; none where everything was answered, or nothing ever was.
    #[must_use]
    pub fn unanswered_since(&self) -> Option<Time> {
        self.answers.last_at.and(self.awaited_since)
    }

    /// How much would be sent at the most if the line carried it: nothing beyond is probed for.
    pub const fn want(&mut self, bps: u64) {
        self.wanted_bps = bps;
    }

    /// A packet of `bytes` of UDP payload leaves, with this transport-wide sequence number. `probe` is the number of the
    /// probe it is part of; zero of none.
    #[inline]
    pub fn sent(&mut self, sequence: u16, bytes: u16, probe: u16, now: Time) {
        self.history.sent(sequence, bytes, probe, now);
        self.sent_bytes.sent(bytes, now);
        self.awaited_since.get_or_insert(now);
    }

    /// Feedback has come. `rtt` is the round trip, where it is known.
    pub fn feedback(&mut self, feedback: &TwccView<'_>, rtt: Option<Duration>, now: Time) {
        let reference = self.unwrapped(feedback.reference_time_64ms);
        let mut shown = None;
        let mut was_cut = false;
        let mut newest = Time::ZERO;
        let Self { history, trend, standing, loss, acknowledged, probes, .. } = self;
        feedback.received().for_each(|(sequence, after)| {
            let Some(told) = history.arrived(sequence) else { return };
            let arrival = reference + after;
            let sent = match told {
                Told::Arrived(sent) => {
                    loss.arrived();
                    if sent.probe == 0 {
                        trend.arrived(sent.at, arrival);
                    }
                    newest = newest.max(sent.at);
                    standing.arrived(arrival - sent.at.as_micros().cast_signed(), arrival);
                    sent
                }
                Told::ArrivedLate(sent) => {
                    loss.arrived_late();
                    sent
                }
            };
            was_cut |= acknowledged.arrived(arrival, sent.bytes);
            if sent.probe != 0 {
                shown = probes.arrived(sent, arrival).or(shown);
            }
        });
        self.awaited_since = None;
        self.answers.came(newest, now);
        let Self { history, loss, .. } = self;
        if feedback.status_count > 0 {
            let last = feedback.base_sequence.wrapping_add(feedback.status_count - 1);
            history.covered(feedback.base_sequence, last, |_| loss.missing());
        }
        let rtt = rtt.unwrap_or(RTT_DEFAULT);
        let seen = Seen {
            estimate_bps: self.estimate_bps(),
            sent_bps: self.sent_bytes.bps,
            through_bps: self.acknowledged.recent_bps().map(|bps| bps as f64),
            is_explained: was_cut || self.standing.waits_now().max(self.standing.waits()) > STANDS,
            rtt,
        };
        self.loss.update(&seen, now);
        self.follow_delay(rtt, now);
        if let Some(bps) = shown {
            self.probed(bps, now);
        }
    }

    /// The probe that is to be sent now, if one is; it is asked for once.
    pub fn probe_due(&mut self, now: Time) -> Option<Probe> {
        self.probes.expire(now);
        if self.probes.cluster.is_some() {
            return None;
        }
        let rate_bps = self.next_probe_bps(now)?;
        let bytes_in = |time: Duration| rate_bps * time.as_micros() as u64 / 8_000_000;
        let least = bytes_in(PROBE_DURATION_MAX).clamp(PROBE_BYTES_LEAST, PROBE_BYTES_MIN);
        let bytes = bytes_in(PROBE_DURATION).max(least);
        Some(self.probes.begin(rate_bps, bytes as u32, now))
    }

    fn next_probe_bps(&mut self, now: Time) -> Option<u64> {
        let most = self.wanted_bps.saturating_mul(FURTHER).min(ESTIMATE_MAX_BPS);
        let estimate = self.estimate_bps();
        // A probe that gets through a lossy line says nothing of how much of it would be lost.
        if self.usage() == Usage::Over || self.loss.is_high() {
            self.probes.next_bps = None;
            return None;
        }
        if estimate >= self.wanted_bps {
            // What comes next waits until more is wanted.
            return None;
        }
        if let Some(bps) = self.probes.next_bps.take() {
            // Where the estimate has come as far meanwhile, the next one goes beyond it.
            return Some(bps.max(estimate + estimate / 2).min(most));
        }
        if let Some(&times) = START_PROBES.get(self.probes.started) {
            self.probes.started += 1;
            let bps = (ESTIMATE_START_BPS * times).min(most);
            return (bps > estimate).then_some(bps);
        }
        let waited = |at: Option<Time>, time| at.is_none_or(|at| now.since(at) >= time);
        let drained = waited(self.lowered_at, DRAIN) && self.is_drained();
        // In a queue that is somebody else's a voice waits anyway.
        let slow = estimate < PROBE_SLOW_BPS && !self.contest.is_contested();
        let doubled = if slow { self.probes.vain.min(PROBE_SLOW_DOUBLED_MAX) } else { 0 };
        let interval = PROBE_INTERVAL * (1 << doubled);
        (drained && waited(self.probes.last_at, interval)).then(|| (estimate * FURTHER).min(most))
    }

    /// Begins a test of the line: what is sent as part of it is counted as it arrives, and shows what gets through as a probe
    /// does, in place of one that may run.
    pub fn begin_test(&mut self, rate_bps: u64, bytes: u32, now: Time) -> Probe {
        let probe = self.probes.begin(rate_bps, bytes, now);
        self.probes.test = Some((probe.number, 0));
        probe
    }

    /// How many packets of the test arrived so far; it is over then.
    pub const fn end_test(&mut self) -> Option<u32> {
        match self.probes.test.take() {
            Some((_, arrived)) => Some(arrived),
            None => None,
        }
    }

    /// A probe has shown that so much gets through.
    fn probed(&mut self, bps: u64, now: Time) {
        let bps = self.loss.shown(bps);
        let probe = self.probes.cluster.take().map_or(0, |cluster| cluster.probe.rate_bps);
        self.shown_bps = Some(self.shown_bps.unwrap_or(0).max(bps));
        let gained = bps as f64 > self.estimate_bps() as f64 * PROBE_GAIN;
        self.probes.vain = if gained { 0 } else { self.probes.vain.saturating_add(1) };
        if bps > self.estimate_bps() {
            self.delay_bps = bps as f64;
            self.trend.forget();
            self.grown_at = Some(now);
            if self.capacity.is_some_and(|capacity| capacity.is_below(bps as f64)) {
                self.capacity = None;
            }
        }
        if bps as f64 >= probe as f64 * THROUGH_SHARE {
            self.probes.next_bps = Some(probe * FURTHER);
        }
    }

    fn follow_delay(&mut self, rtt: Duration, now: Time) {
        let acknowledged = self.acknowledged.rate_bps().map(|bps| bps as f64);
        let recent = self.acknowledged.recent_bps().map(|bps| bps as f64).or(acknowledged);
        let response = rtt + FEEDBACK_DELAY;
        self.contest.look(self.standing.waits(), self.standing.least(), recent, self.sent_bytes.bps, now);
        let recent_burst = self.probes.last_at.max(self.burst_at);
        let shadowed = recent_burst.is_some_and(|at| now.since(at) < rtt + SHADOW)
            && self.standing.waits_now() < SHADOW_WAITS_MAX
            && self.sent_bytes.bps < self.delay_bps * SHADOW_SENT_SHARE;
        match self.usage() {
            Usage::Over if shadowed || self.sends_least(now) => self.grown_at = None,
            Usage::Over => {
                // Until what was done can be seen, it is not done again, unless twice as much is sent as gets through.
                let waited = self.lowered_at.is_none_or(|at| now.since(at) >= response);
                let far_off = recent.is_some_and(|bps| self.delay_bps > 2.0 * bps);
                if waited || far_off {
                    self.lower(recent, now);
                }
                self.grown_at = None;
            }
            // What waits drains first.
            Usage::Under => self.grown_at = None,
            Usage::Normal if !self.is_drained() => self.grown_at = None,
            Usage::Normal => self.grow(acknowledged, response, now),
        }
    }

    /// Hardly more than a voice is sent, all of which arrives, though more is allowed: to allow less would change nothing.
    fn sends_least(&self, now: Time) -> bool {
        let sent = self.sent_bytes.bps;
        let is_least = sent < self.delay_bps * LIMITED_SHARE && self.contest.is_least(sent, now);
        is_least && self.gets_through() && !self.loss.is_high()
    }

    /// As much arrives as is sent, by and large.
    #[must_use]
    pub fn gets_through(&self) -> bool {
        gets_through(self.acknowledged.recent_bps().map(|bps| bps as f64), self.sent_bytes.bps)
    }

    /// Nothing of ours waits in the line.
    fn is_drained(&self) -> bool {
        self.contest.is_contested() || self.standing.waits() <= DRAINED
    }

    fn lower(&mut self, acknowledged: Option<f64>, now: Time) {
        let through = acknowledged.unwrap_or(self.delay_bps);
        let early = self.standing.waits_now() < EARLY;
        let enough = if self.loss.is_high() {
            0.0
        } else {
            self.contest.enough_bps(through / self.sent_bytes.bps.max(1.0), now)
        };
        let lowered = (through * if early { DECREASE_EARLY } else { DECREASE }).max(enough);
        if lowered < self.delay_bps {
            self.delay_bps = lowered.max(ESTIMATE_MIN_BPS as f64);
        }
        self.capacity = Some(match self.capacity {
            Some(capacity) if !capacity.is_above(through) && !capacity.is_below(through) => {
                capacity.with(through)
            }
            _ => Capacity::at(through),
        });
        self.lowered_at = Some(now);
        self.shown_bps = None;
        self.trend.forget();
    }

    fn grow(&mut self, acknowledged: Option<f64>, response: Duration, now: Time) {
        let since =
            self.grown_at.replace(now).map_or(Duration::ZERO, |at| now.since(at)).as_secs_f64().min(1.0);
        if self.sent_bytes.bps < self.delay_bps * LIMITED_SHARE {
            // Too little is sent to say that more would get through.
            return;
        }
        let Some(acknowledged) = acknowledged else { return };
        if self.capacity.is_some_and(|capacity| capacity.is_below(acknowledged)) {
            self.capacity = None;
        }
        let mut grown = self.delay_bps * (1.0 + GROWTH_PER_SECOND * since);
        if self.capacity.is_some() {
            // On a slow line a packet for each round trip would be a leap.
            let packets = GROWTH_BYTES_PER_ROUND_TRIP * 8.0 / response.as_secs_f64() * since;
            grown = grown.min(self.delay_bps + packets);
        }
        let most = (ACKNOWLEDGED_SHARE_MAX * acknowledged + ACKNOWLEDGED_SPARE_BPS).max(self.delay_bps);
        self.delay_bps = grown.min(most).min(ESTIMATE_MAX_BPS as f64);
    }

    fn unwrapped(&mut self, reference_time_64ms: i32) -> i64 {
        let (before, micros) = *self.reference.get_or_insert((reference_time_64ms, 0));
        let shift = 32 - REFERENCE_BITS;
        let steps = (reference_time_64ms.wrapping_sub(before) << shift) >> shift;
        let micros = micros + i64::from(steps) * 64_000;
        self.reference = Some((reference_time_64ms, micros));
        micros
    }
}

impl Capacity {
    const fn at(bps: f64) -> Self {
        Self { mean_bps: bps, spread: 0.4 }
    }

    fn with(self, bps: f64) -> Self {
        let mean_bps = (1.0 - CAPACITY_FOLLOWS) * self.mean_bps + CAPACITY_FOLLOWS * bps;
        let off = self.mean_bps - bps;
        let spread = (1.0 - CAPACITY_FOLLOWS) * self.spread
            + CAPACITY_FOLLOWS * off * off / mean_bps.max(1.0) / 1_000.0;
        Self { mean_bps, spread: spread.clamp(0.4, 2.5) }
    }

    fn width(self) -> f64 {
        CAPACITY_SPREADS * (self.spread * self.mean_bps * 1_000.0).sqrt()
    }

    /// What got through is more than it can be.
    fn is_below(self, bps: f64) -> bool {
        bps > self.mean_bps + self.width()
    }

    /// What got through is less.
    fn is_above(self, bps: f64) -> bool {
        bps < self.mean_bps - self.width()
    }
}

impl Probes {
    fn begin(&mut self, rate_bps: u64, bytes: u32, now: Time) -> Probe {
        let number = self.next_number;
        self.next_number = number.checked_add(1).unwrap_or(1);
        let probe = Probe { number, rate_bps, bytes };
        self.cluster = Some(Cluster::new(probe, now));
        self.last_at = Some(now);
        probe
    }

    fn arrived(&mut self, sent: super::history::Sent, arrival: i64) -> Option<u64> {
        if let Some((_, arrived)) = self.test.as_mut().filter(|(number, _)| *number == sent.probe) {
            *arrived += 1;
        }
        let cluster = self.cluster.as_mut().filter(|cluster| cluster.probe.number == sent.probe)?;
        cluster.arrived(sent, arrival)
    }

    fn expire(&mut self, now: Time) {
        self.cluster = self.cluster.filter(|cluster| now.since(cluster.asked_at) < PROBE_EXPIRY);
    }
}

impl Answers {
    /// Feedback came; the newest packet it tells of was sent then.
    fn came(&mut self, newest: Time, now: Time) {
        if let Some(last) = self.last_at.replace(now) {
            let interval = now.since(last).min(ANSWER_INTERVAL_MAX);
            self.interval = interval.max(self.interval - (self.interval.saturating_sub(interval)) / 8);
        }
        if newest == Time::ZERO {
            return;
        }
        if now.since(self.span_began) >= ANSWER_SPAN {
            (self.before, self.quickest, self.span_began) = (self.quickest, None, now);
        }
        let answer = now.since(newest);
        self.quickest = Some(self.quickest.map_or(answer, |quickest| quickest.min(answer)));
    }

    fn quickest(&self) -> Option<Duration> {
        [self.quickest, self.before].into_iter().flatten().min()
    }
}

impl SentRate {
    #[inline]
    fn sent(&mut self, bytes: u16, now: Time) {
        let micros = now.micros_since(self.since);
        if micros >= 500_000 {
            // After a silence nothing was sent in it.
            self.bps = (self.bytes * 8_000_000) as f64 / micros as f64;
            (self.since, self.bytes) = (now, 0);
        }
        self.bytes += u64::from(bytes);
    }
}
