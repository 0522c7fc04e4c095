//! What an operator's monitoring reads: everything that is counted, as text (the Prometheus exposition format, 0.0.4). No
//! participant, no session and no clinic is in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use vestibule_domain::{BandwidthProfile, ParticipantId, SessionId, Tier, TierReason};
use vestibule_media_engine::socket::SocketCounters;
use vestibule_media_engine::{Engine, ShardCounters, TcpCounters, TurnCounters};
use vestibule_signaling::wire::{QualityCode, QualityLevel};
use vestibule_signaling::{Quality, QualityStep, STEP};

/// The type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Whose step is older is not there any more: one may be late.
const PRESENT_FOR: Duration = Duration::from_secs(STEP.as_secs() * 2);
/// People whose last step is known; of more the newest are not counted by level.
const PEOPLE_MAX: usize = 100_000;

/// Why a step was no better; none where it was good.
const REASONS: [Option<QualityCode>; 1 + QualityCode::ALL.len()] = {
    let mut reasons = [None; 1 + QualityCode::ALL.len()];
    let mut index = 0;
    while index < QualityCode::ALL.len() {
        reasons[1 + index] = Some(QualityCode::ALL[index]);
        index += 1;
    }
    reasons
};

const LOSS_BUCKETS: &[f64] = &[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
const RTT_BUCKETS: &[f64] = &[0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2];
const RATE_BUCKETS: &[f64] = &[50e3, 100e3, 250e3, 500e3, 1e6, 2.5e6, 5e6, 10e6];

/// What is counted of how connections are.
#[derive(Debug)]
pub(crate) struct Measures(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    /// When the last step of somebody came, and how it was.
    people: BTreeMap<(SessionId, ParticipantId), (Instant, QualityLevel)>,
    /// By level, and of each without a reason and by it.
    steps: [[u64; REASONS.len()]; QualityLevel::ALL.len()],
    /// Changes of what a line is used for: for what from then on, and why no more.
    tiers: BTreeMap<(BandwidthProfile, TierReason), u64>,
    uplink_loss: Histogram,
    downlink_loss: Histogram,
    rtt: Histogram,
    estimate: Histogram,
}

impl Default for Measures {
    fn default() -> Self {
        Self(Mutex::new(Counted {
            people: BTreeMap::new(),
            steps: [[0; REASONS.len()]; QualityLevel::ALL.len()],
            tiers: BTreeMap::new(),
            uplink_loss: Histogram::of(LOSS_BUCKETS),
            downlink_loss: Histogram::of(LOSS_BUCKETS),
            rtt: Histogram::of(RTT_BUCKETS),
            estimate: Histogram::of(RATE_BUCKETS),
        }))
    }
}

impl Measures {
    /// Counts a step of somebody that is over now.
    pub(crate) fn observe(&self, who: (SessionId, ParticipantId), step: &QualityStep) {
        let mut counted = self.counted();
        let Quality { level, reason } = step.quality;
        counted.steps[level as usize][column(reason.map(|reason| reason.code))] += 1;
        if counted.people.len() >= PEOPLE_MAX {
            counted.forget_absent();
        }
        if counted.people.len() < PEOPLE_MAX || counted.people.contains_key(&who) {
            counted.people.insert(who, (Instant::now(), level));
        }
        let seen = |histogram: &mut Histogram, value: Option<f64>| {
            if let Some(value) = value {
                histogram.observe(value);
            }
        };
        seen(&mut counted.uplink_loss, step.uplink_loss.map(f64::from));
        seen(&mut counted.downlink_loss, step.downlink_loss.map(f64::from));
        seen(&mut counted.rtt, step.rtt.map(|rtt| rtt.as_secs_f64()));
        #[expect(clippy::cast_precision_loss, reason = "no line carries 2^53 bits a second")]
        seen(&mut counted.estimate, step.downlink_estimate_bps.map(|bps| bps as f64));
    }

    /// Somebody's line is used for something else.
    pub(crate) fn tier_changed(&self, tier: Tier) {
        *self.counted().tiers.entry((tier.profile, tier.reason)).or_default() += 1;
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        // What is counted stays usable, whatever went wrong while it was held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn forget_absent(&mut self) {
        let now = Instant::now();
        self.people.retain(|_, (at, _)| now.duration_since(*at) <= PRESENT_FOR);
    }
}

/// Where a reason is counted.
fn column(reason: Option<QualityCode>) -> usize {
    REASONS.iter().position(|known| *known == reason).unwrap_or(0)
}

/// How often values were at or below each of some bounds.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: the last is of what is above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn of(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn observe(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }
}

/// All of it.
pub(crate) fn text(engine: &Engine, sessions: usize, lost_steps: u64, measures: &Measures) -> String {
    let mut page = Page(String::new());
    let shards = engine.counters();
    for (part, of) in PARTS {
        for (index, name) in names(*of).into_iter().enumerate() {
            let name = format!("vestibule_{part}_{name}_total");
            page.head(&name, "counter", "Of one media thread.");
            for (shard, counters) in shards.iter().enumerate() {
                let (_, value) = of(counters)[index];
                page.line(&name, &format!("shard=\"{shard}\""), value);
            }
        }
    }
    page.head("vestibule_turn_pinned", "gauge", "1 if a media thread is pinned to a core.");
    for (shard, counters) in shards.iter().enumerate() {
        page.line("vestibule_turn_pinned", &format!("shard=\"{shard}\""), counters.turns.pinned);
    }
    page.head("vestibule_tcp_connections", "gauge", "Connections of peers to a media thread.");
    for (shard, counters) in shards.iter().enumerate() {
        page.line("vestibule_tcp_connections", &format!("shard=\"{shard}\""), counters.connections);
    }
    let dtls = engine.dtls_counters();
    for (name, value) in [
        ("started", dtls.started),
        ("established", dtls.established),
        ("failed", dtls.failed),
        ("refused", dtls.refused),
        ("lost", dtls.lost),
        ("evicted", dtls.evicted),
    ] {
        page.one(&format!("vestibule_dtls_{name}_total"), "counter", "Of DTLS handshakes.", value);
    }
    page.one("vestibule_sessions_live", "gauge", "Sessions that are held in memory.", sessions as u64);
    let lost = "Steps of measured quality that are not kept.";
    page.one("vestibule_quality_steps_lost_total", "counter", lost, lost_steps);
    let mut counted = measures.counted();
    counted.forget_absent();
    page.quality(&counted);
    page.0
}

/// Counters by name.
type Read = fn(&ShardCounters) -> Vec<(&'static str, u64)>;

const PARTS: &[(&str, Read)] = &[("core", core), ("socket", socket), ("tcp", tcp), ("turn", turn)];

fn names(read: Read) -> Vec<&'static str> {
    read(&ShardCounters::default()).into_iter().map(|(name, _)| name).collect()
}

fn core(counters: &ShardCounters) -> Vec<(&'static str, u64)> {
    counters.core.iter().collect()
}

/// Names what a struct counts, all of it.
macro_rules! named {
    ($of:expr, $type:path { $($field:ident),* $(,)? }) => {{
        let $type { $($field),* } = $of;
        vec![$((stringify!($field), $field)),*]
    }};
}

fn socket(counters: &ShardCounters) -> Vec<(&'static str, u64)> {
    named!(
        counters.socket,
        SocketCounters {
            received_datagrams,
            received_bytes,
            received_batches,
            received_truncated,
            receive_errors,
            sent_datagrams,
            sent_bytes,
            send_calls,
            gso_runs,
            gso_datagrams,
            gso_refused,
            dropped_buffer_full,
            dropped_refused,
        }
    )
}

fn tcp(counters: &ShardCounters) -> Vec<(&'static str, u64)> {
    named!(
        counters.tcp,
        TcpCounters {
            accepted,
            refused,
            closed_strangers,
            closed_malformed,
            closed_slow,
            closed_unused,
            closed_by_peer,
            received_packets,
            received_bytes,
            sent_packets,
            sent_bytes,
            dropped_buffer_full,
            dropped_closed,
        }
    )
}

fn turn(counters: &ShardCounters) -> Vec<(&'static str, u64)> {
    let mut counted = named!(
        counters.turns,
        TurnCounters { turns, early_flushes, commands, dtls_replies, dtls_dropped, sleep_errors, pinned }
    );
    // It does not only grow.
    counted.retain(|(name, _)| *name != "pinned");
    counted
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    fn quality(&mut self, counted: &Counted) {
        let (name, steps) = ("vestibule_participants", "vestibule_quality_steps_total");
        self.head(name, "gauge", "People whose media flows, by how good their connection is.");
        for level in QualityLevel::ALL {
            let count = counted.people.values().filter(|(_, theirs)| *theirs == level).count();
            self.line(name, &format!("level=\"{}\"", level.as_str()), count);
        }
        let help =
            "Ten seconds of one person, or their last, by how good the connection was and why no better.";
        self.head(steps, "counter", help);
        for (level, by_reason) in QualityLevel::ALL.into_iter().zip(counted.steps) {
            for (reason, count) in REASONS.into_iter().zip(by_reason) {
                // What is good has no reason, and all else has one: nothing else is told, unless it was so.
                if count == 0 && (level == QualityLevel::Good) != reason.is_none() {
                    continue;
                }
                let (level, reason) = (level.as_str(), reason.map_or("none", QualityCode::as_str));
                self.line(steps, &format!("level=\"{level}\",reason=\"{reason}\""), count);
            }
        }
        let changes = "vestibule_tier_changes_total";
        self.head(
            changes,
            "counter",
            "Changes of what a line is used for: for what from then on, and why no more.",
        );
        for ((profile, reason), count) in &counted.tiers {
            self.line(changes, &format!("profile=\"{profile}\",reason=\"{reason}\""), count);
        }
        for (name, help, histogram) in [
            (
                "uplink_loss_ratio",
                "Share lost on the way from a person, in ten seconds.",
                &counted.uplink_loss,
            ),
            (
                "downlink_loss_ratio",
                "Share lost on the way to a person, in ten seconds.",
                &counted.downlink_loss,
            ),
            ("round_trip_seconds", "To a person and back.", &counted.rtt),
            ("downlink_estimate_bps", "What the way to a person is thought to carry.", &counted.estimate),
        ] {
            self.histogram(&format!("vestibule_{name}"), help, histogram);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (bound, more) in histogram.bounds.iter().zip(&histogram.counts) {
            count += more;
            self.line(&bucket, &format!("le=\"{bound}\""), count);
        }
        count += histogram.counts.last().copied().unwrap_or(0);
        self.line(&bucket, "le=\"+Inf\"", count);
        self.line(&format!("{name}_sum"), "", histogram.sum);
        self.line(&format!("{name}_count"), "", count);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use vestibule_signaling::wire::QualityReason;

    use super::*;

    fn who(number: u8) -> (SessionId, ParticipantId) {
        let at = Timestamp::UNIX_EPOCH;
        (SessionId::new(at, [1; 10]), ParticipantId::new(at, [number; 10]))
    }

    fn step(level: QualityLevel) -> QualityStep {
        QualityStep {
            quality: Quality { level, reason: None },
            uplink_loss: Some(0.02),
            rtt: Some(Duration::from_secs(9)),
            ..QualityStep::default()
        }
    }

    fn poor(code: QualityCode) -> QualityStep {
        let reason = Some(QualityReason { code, value: 8 });
        QualityStep { quality: Quality { level: QualityLevel::Poor, reason }, ..QualityStep::default() }
    }

    /// What is told of the steps.
    fn steps(measures: &Measures) -> Vec<String> {
        let text = quality(measures);
        let steps = text.lines().filter_map(|line| line.strip_prefix("vestibule_quality_steps_total"));
        steps.map(str::to_owned).collect()
    }

    fn quality(measures: &Measures) -> String {
        let mut counted = measures.counted();
        counted.forget_absent();
        let mut page = Page(String::new());
        page.quality(&counted);
        page.0
    }

    #[tokio::test(start_paused = true)]
    async fn people_are_counted_by_their_last_step_while_they_are_there() {
        let measures = Measures::default();
        measures.observe(who(1), &step(QualityLevel::Good));
        measures.observe(who(1), &step(QualityLevel::Poor));
        measures.observe(who(2), &step(QualityLevel::Poor));
        let text = quality(&measures);
        for line in [
            "vestibule_participants{level=\"good\"} 0",
            "vestibule_participants{level=\"poor\"} 2",
            "vestibule_quality_steps_total{level=\"good\",reason=\"none\"} 1",
            "vestibule_uplink_loss_ratio_bucket{le=\"0.01\"} 0",
            "vestibule_uplink_loss_ratio_bucket{le=\"0.02\"} 3",
            "vestibule_uplink_loss_ratio_bucket{le=\"+Inf\"} 3",
            "vestibule_round_trip_seconds_bucket{le=\"3.2\"} 0",
            "vestibule_round_trip_seconds_sum 27",
            "vestibule_round_trip_seconds_count 3",
            "vestibule_downlink_estimate_bps_count 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        tokio::time::advance(PRESENT_FOR + Duration::from_secs(1)).await;
        assert!(quality(&measures).contains("vestibule_participants{level=\"poor\"} 0"));
    }

    #[tokio::test(start_paused = true)]
    async fn steps_are_counted_by_level_and_reason_in_a_set_of_labels_that_does_not_grow() {
        let measures = Measures::default();
        let at_first = steps(&measures);
        assert_eq!(at_first.len(), 1 + 3 * QualityCode::ALL.len(), "{at_first:?}");
        assert!(at_first.iter().all(|line| line.ends_with(" 0")), "{at_first:?}");
        for (number, code) in (1..).zip(QualityCode::ALL) {
            for _ in 0..number {
                measures.observe(who(number), &poor(code));
            }
        }
        measures.observe(who(9), &step(QualityLevel::Good));
        let counted = steps(&measures);
        assert_eq!(counted.len(), at_first.len());
        for line in [
            "{level=\"good\",reason=\"none\"} 1",
            "{level=\"poor\",reason=\"uplink_loss\"} 1",
            "{level=\"poor\",reason=\"downlink_loss\"} 2",
            "{level=\"poor\",reason=\"round_trip\"} 3",
            "{level=\"poor\",reason=\"uplink_jitter\"} 4",
            "{level=\"poor\",reason=\"downlink_rate\"} 5",
            "{level=\"poor\",reason=\"uplink_rate\"} 6",
            "{level=\"poor\",reason=\"silence\"} 7",
            "{level=\"bad\",reason=\"silence\"} 0",
        ] {
            assert!(counted.iter().any(|found| found == line), "{line} is not in {counted:?}");
        }
    }
}
