//! The estimator on modelled lines: a sender that sends what it may, a bottleneck with a queue, and a receiver that reports
//! each 100 ms as a browser does, in virtual time and from seeds.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::num::NonZeroU64;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof};
use proptest::strategy::Strategy as _;
use proptest::test_runner::{Config, TestRunner};
use vestibule_media_core::Time;
use vestibule_media_core::congestion::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS, Estimator, Probe};
use vestibule_media_core::rtcp::{RtcpPacket, RtcpWriter, packets};
use vestibule_media_core::twcc::TwccRecorder;
use vestibule_testnet::{BurstLoss, Link, LinkConfig, QueueBound};

const SEED: u64 = 7;
const PACKET_BYTES: u64 = 1_000;
const FEEDBACK_MICROS: u64 = 100_000;
const STEP_MICROS: u64 = 1_000;
/// The receiver's clock, which is nobody else's: its reference time wraps soon.
const RECEIVER_OFFSET_MICROS: u64 = ((1 << 24) - 100) * 64_000;

/// A line with a sender and a receiver.
struct Line {
    estimator: Estimator,
    down: Link,
    up: Link,
    recorder: TwccRecorder,
    now: u64,
    sequence: u16,
    /// Bytes that may be sent now, and how much is wanted at the most.
    credit: f64,
    offered_bps: u64,
    probe: Option<(Probe, u64, u64)>,
    rtt: Duration,
    seen: Vec<Seen>,
}

/// A step of ten milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    estimate_bps: u64,
    delivered_bytes: u64,
    /// Of the last that was delivered.
    travelled_micros: u64,
    sent: u64,
    delivered: u64,
}

impl Line {
    fn new(down: LinkConfig, rtt_ms: u64, offered_bps: u64) -> Self {
        let half = rtt_ms * 1_000 / 2;
        let mut estimator = Estimator::new();
        estimator.want(offered_bps);
        Self {
            estimator,
            down: Link::new(LinkConfig { delay_us: half, ..down }, SEED),
            up: Link::new(LinkConfig { delay_us: half, ..LinkConfig::default() }, SEED + 1),
            recorder: TwccRecorder::new(),
            now: 1_000_000,
            sequence: 65_000,
            credit: 0.0,
            offered_bps,
            probe: None,
            rtt: Duration::from_millis(rtt_ms),
            seen: Vec::new(),
        }
    }

    fn change(&mut self, config: LinkConfig) {
        let delay_us = self.rtt.as_micros() as u64 / 2;
        self.down.set_config(self.now, LinkConfig { delay_us, ..config });
    }

    fn run(&mut self, seconds: u64) -> Told {
        let from = self.seen.len();
        for _ in 0..seconds * 1_000_000 / STEP_MICROS {
            self.step();
        }
        Told { seen: self.seen[from..].to_vec(), half_micros: self.rtt.as_micros() as u64 / 2 }
    }

    fn step(&mut self) {
        self.now += STEP_MICROS;
        while let Some(at) = self.down.next_at().filter(|at| *at <= self.now) {
            while let Some(packet) = self.down.poll(at) {
                self.delivered(&packet, at);
            }
        }
        while let Some(at) = self.up.next_at().filter(|at| *at <= self.now) {
            while let Some(bytes) = self.up.poll(at) {
                for packet in packets(&bytes) {
                    let RtcpPacket::TransportFeedback(view) = packet.unwrap() else {
                        panic!("feedback alone")
                    };
                    self.estimator.feedback(&view, Some(self.rtt), Time::from_micros(at));
                }
            }
        }
        if self.now.is_multiple_of(10_000) {
            let estimate_bps = self.estimator.estimate_bps();
            self.seen.push(Seen { estimate_bps, ..Seen::default() });
        }
        self.send();
        if self.now.is_multiple_of(FEEDBACK_MICROS) {
            self.report();
        }
    }

    /// Media at the estimate or at what there is, evenly; a probe at its own rate, of media and of padding.
    fn send(&mut self) {
        let rate = self.estimator.estimate_bps().min(self.offered_bps);
        self.credit = (self.credit + rate as f64 * STEP_MICROS as f64 / 8e6).min(5.0 * PACKET_BYTES as f64);
        if self.probe.is_none() {
            self.probe =
                self.estimator.probe_due(Time::from_micros(self.now)).map(|probe| (probe, self.now, 0));
        }
        if let Some((probe, since, mut bytes)) = self.probe {
            while bytes < u64::from(probe.bytes) && bytes * 8_000_000 <= probe.rate_bps * (self.now - since) {
                bytes += PACKET_BYTES;
                self.credit = (self.credit - PACKET_BYTES as f64).max(0.0);
                self.packet(probe.number);
            }
            self.probe = (bytes < u64::from(probe.bytes)).then_some((probe, since, bytes));
            return;
        }
        while self.credit >= PACKET_BYTES as f64 {
            self.credit -= PACKET_BYTES as f64;
            self.packet(0);
        }
    }

    fn packet(&mut self, probe: u16) {
        let (sequence, now) = (self.sequence, self.now);
        self.sequence = sequence.wrapping_add(1);
        self.estimator.sent(sequence, PACKET_BYTES as u16, probe, Time::from_micros(now));
        let mut payload = vec![0; PACKET_BYTES as usize];
        payload[..2].copy_from_slice(&sequence.to_be_bytes());
        payload[2..10].copy_from_slice(&now.to_be_bytes());
        self.down.send(now, payload);
        if let Some(seen) = self.seen.last_mut() {
            seen.sent += 1;
        }
    }

    fn delivered(&mut self, packet: &[u8], at: u64) {
        let sequence = u16::from_be_bytes(packet[..2].try_into().unwrap());
        let sent_at = u64::from_be_bytes(packet[2..10].try_into().unwrap());
        self.recorder.record(sequence, Time::from_micros(at + RECEIVER_OFFSET_MICROS));
        if let Some(seen) = self.seen.last_mut() {
            seen.delivered += 1;
            seen.delivered_bytes += packet.len() as u64 + 28;
            seen.travelled_micros = at - sent_at;
        }
    }

    fn report(&mut self) {
        let mut out = [0; 1_200];
        let mut writer = RtcpWriter::new(&mut out);
        while self.recorder.has_pending() && self.recorder.write_feedback(&mut writer, 1, 2) == Ok(true) {
            let len = writer.len();
            self.up.send(self.now, &out[..len]);
            writer = RtcpWriter::new(&mut out);
        }
    }
}

/// What a stretch of time brought.
struct Told {
    seen: Vec<Seen>,
    half_micros: u64,
}

impl Told {
    /// How much of a line of so many bits per second was used, headers included.
    fn used(&self, line_bps: u64) -> f64 {
        let bytes: u64 = self.seen.iter().map(|seen| seen.delivered_bytes).sum();
        bytes as f64 * 8.0 / (line_bps as f64 * self.seen.len() as f64 / 100.0)
    }

    /// The 95th percentile of the time in the queue, in ms.
    fn queue_p95_ms(&self) -> u64 {
        let travelled = self.seen.iter().map(|seen| seen.travelled_micros).filter(|micros| *micros > 0);
        let mut queued: Vec<_> =
            travelled.map(|micros| micros.saturating_sub(self.half_micros) / 1_000).collect();
        queued.sort_unstable();
        queued[queued.len() * 95 / 100]
    }

    fn lost(&self) -> f64 {
        let [sent, delivered] = [|seen: &Seen| seen.sent, |seen: &Seen| seen.delivered]
            .map(|of| self.seen.iter().map(of).sum::<u64>() as f64);
        1.0 - (delivered / sent).min(1.0)
    }

    /// After how many milliseconds the estimate was there.
    fn reached_ms(&self, bps: u64) -> Option<usize> {
        self.seen.iter().position(|seen| seen.estimate_bps >= bps).map(|at| at * 10)
    }
}

fn line(rate_bps: u64, queue_ms: u64) -> LinkConfig {
    LinkConfig {
        rate_bps: NonZeroU64::new(rate_bps),
        queue: QueueBound::Micros(queue_ms * 1_000),
        ..LinkConfig::default()
    }
}

#[test]
fn a_test_of_the_line_that_gets_through_shows_what_it_showed() {
    let mut line = Line::new(LinkConfig::default().rate_bps(2_000_000), 60, 20_000);
    line.run(5);
    let before = line.estimator.estimate_bps();
    let rate = before.max(400_000) * 2;
    let probe = line.estimator.begin_test(rate, (rate / 16) as u32, Time::from_micros(line.now));
    line.probe = Some((probe, line.now, 0));
    line.run(1);
    let after = line.estimator.estimate_bps();
    assert!(after >= rate * 8 / 10, "{before} before, {after} after a test at {rate}");
    assert!(line.estimator.end_test().is_some_and(|arrived| arrived > 3));
}

#[test]
fn a_steady_bottleneck_is_used_and_its_queue_stays_short() {
    let mut wrong = Vec::new();
    for rate_bps in [5_000_000, 1_500_000, 600_000, 300_000] {
        for rtt_ms in [20, 100, 300] {
            for queue_ms in [300, 2_000] {
                let mut line = Line::new(line(rate_bps, queue_ms), rtt_ms, 20_000_000);
                let start = line.run(10);
                let told = line.run(50);
                let (used, queued) = (told.used(rate_bps), told.queue_p95_ms());
                let row = format!(
                    "{} kbit/s, rtt {rtt_ms} ms, queue {queue_ms} ms: used {used:.2}, queued {queued} ms, lost {:.4}; in the first \
                     10 s {:.2}, {} ms",
                    rate_bps / 1_000,
                    told.lost(),
                    start.used(rate_bps),
                    start.queue_p95_ms(),
                );
                println_for_failures(&row);
                if used < 0.8 || queued > 100 {
                    wrong.push(row);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn five_megabits_carry_all_layers_within_four_seconds() {
    for rtt_ms in [20, 100, 300] {
        let mut line = Line::new(line(5_000_000, 300), rtt_ms, 2_200_000);
        let told = line.run(10);
        let reached = told.reached_ms(2_200_000);
        assert!(reached.is_some_and(|ms| ms <= 4_000), "rtt {rtt_ms} ms: {reached:?}");
    }
}

#[test]
fn after_a_fall_little_is_lost_within_two_seconds_and_after_a_rise_it_is_used_within_eight() {
    for rtt_ms in [20, 100] {
        let mut this = Line::new(line(2_000_000, 300), rtt_ms, 2_500_000);
        this.run(15);
        this.change(line(400_000, 300));
        this.run(2);
        let low = this.run(10);
        assert!(low.lost() < 0.02, "rtt {rtt_ms} ms: {} lost", low.lost());
        assert!(low.used(400_000) > 0.7, "rtt {rtt_ms} ms: {}", low.used(400_000));
        this.change(line(2_000_000, 300));
        let rising = this.run(8);
        assert!(rising.reached_ms(1_600_000).is_some(), "rtt {rtt_ms} ms: {:?}", rising.seen.last());
        let risen = this.run(10);
        assert!(risen.used(2_000_000) > 0.8, "rtt {rtt_ms} ms: {}", risen.used(2_000_000));
    }
}

#[test]
fn who_sends_little_keeps_the_estimate_and_probes_for_no_more_than_is_wanted() {
    let mut line = Line::new(line(3_000_000, 300), 50, 100_000);
    line.estimator.want(1_000_000);
    line.run(10);
    let told = line.run(60);
    assert!(told.seen.iter().all(|seen| seen.estimate_bps >= 1_000_000), "an idle stream drags nothing down");
    assert!(
        told.used(3_000_000) < 0.05,
        "what is allowed is enough, so nothing is probed for: {}",
        told.used(3_000_000)
    );
}

#[test]
fn jitter_and_reordering_are_no_queue() {
    let jitter = LinkConfig { jitter_us: 50_000, ..line(3_000_000, 300) };
    let mut jittery = Line::new(jitter, 100, 1_500_000);
    jittery.run(10);
    let told = jittery.run(30);
    assert!(told.used(1_500_000) > 0.8, "jitter: {}", told.used(1_500_000));
    let reorder = LinkConfig { reorder: 0.02, reorder_us: 30_000, ..line(3_000_000, 300) };
    let mut reordering = Line::new(reorder, 100, 1_500_000);
    reordering.run(10);
    let told = reordering.run(30);
    assert!(told.used(1_500_000) > 0.9, "reordering: {}", told.used(1_500_000));
}

#[test]
fn loss_by_chance_costs_little_up_to_a_fifth_and_of_more_than_a_third_comes_down_to_the_least() {
    let lossy = |loss| LinkConfig { loss, ..line(3_000_000, 300) };
    let mut little = Line::new(lossy(0.02), 50, 1_500_000);
    little.run(10);
    let told = little.run(30);
    assert!(told.used(1_500_000) > 0.85, "two percent: {}", told.used(1_500_000));
    let burst = LinkConfig { burst: Some(BurstLoss::average(0.03, 4.0)), ..line(3_000_000, 300) };
    let mut bursts = Line::new(burst, 50, 1_500_000);
    bursts.run(10);
    assert!(bursts.run(30).used(1_500_000) > 0.7);
    let mut much = Line::new(lossy(0.2), 50, 1_500_000);
    much.run(10);
    let told = much.run(30);
    assert!(
        told.used(1_500_000) > 0.6,
        "a fifth, which sending less does not mend: {}",
        told.used(1_500_000)
    );
    let mut hopeless = Line::new(lossy(0.5), 50, 1_500_000);
    hopeless.run(30);
    let told = hopeless.run(10);
    let most = told.seen.iter().map(|seen| seen.estimate_bps).max().unwrap();
    assert!(most < 300_000, "half lost lowers it to a voice and a little: {most}");
    assert!(told.used(3_000_000) > 0.005, "and a voice still flows: {}", told.used(3_000_000));
}

#[test]
fn what_a_policer_drops_is_not_sent_for_long_though_every_probe_gets_through_and_it_is_found_when_it_is_gone()
{
    let policed = LinkConfig { queue: QueueBound::Policed(20_000), ..line(1_500_000, 0) };
    let mut this = Line::new(policed, 50, 3_000_000);
    for s in 0..25 {
        let t = this.run(1);
        let d = format!("{:?}", this.estimator);
        let i = d.find("LossLimit").unwrap();
        println!("{s} est {} lost {:.2} {}", this.estimator.estimate_bps(), t.lost(), &d[i..i + 420]);
    }
    let told = this.run(60);
    assert!(told.used(1_500_000) > 0.8, "{}", told.used(1_500_000));
    assert!(told.lost() < 0.12, "{}", told.lost());
    this.change(line(6_000_000, 300));
    this.run(15);
    let told = this.run(10);
    assert!(told.used(3_000_000) > 0.9, "{}", told.used(3_000_000));
}

#[test]
fn a_line_that_was_cut_is_not_taken_for_a_policed_one() {
    for cut_ms in [150, 1_000, 5_000] {
        let good = line(3_000_000, 300);
        let mut this = Line::new(good, 50, 1_500_000);
        this.run(10);
        this.change(good.blocked(true));
        (0..cut_ms * 1_000 / STEP_MICROS).for_each(|_| this.step());
        this.change(good);
        let told = this.run(8);
        let back = told.reached_ms(1_500_000).expect("as much as before");
        assert!(back < 1_500, "after {back} ms, where it was cut for {cut_ms}");
        assert!(told.seen.last().is_some_and(|seen| seen.estimate_bps >= 1_500_000));
    }
}

#[test]
fn a_little_more_than_the_line_carries_makes_no_standing_queue() {
    let mut this = Line::new(line(600_000, 2_000), 50, 700_000);
    this.run(10);
    let told = this.run(40);
    assert!(told.queue_p95_ms() <= 100, "{} ms", told.queue_p95_ms());
    assert!(told.used(600_000) > 0.8, "{}", told.used(600_000));
    assert!(told.lost() < 0.01, "{}", told.lost());
}

#[test]
fn whatever_is_reported_the_estimate_stays_within_its_bounds() {
    let arrivals =
        vec((any::<u16>(), prop_oneof![0..2_000_000_u64, any::<u32>().prop_map(u64::from)]), 1..60);
    let turns = vec((0..80_u16, any::<bool>(), arrivals), 1..30);
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&turns, |turns| {
        let mut estimator = Estimator::new();
        let (mut sequence, mut now) = (65_400_u16, 0);
        for (sent, near, arrivals) in turns {
            for _ in 0..sent {
                now += 3_000;
                let probe =
                    estimator.probe_due(Time::from_micros(now)).map_or(sequence % 3, |probe| probe.number);
                estimator.sent(sequence, 1_000, probe, Time::from_micros(now));
                sequence = sequence.wrapping_add(1);
            }
            let mut recorder = TwccRecorder::new();
            for (number, at) in arrivals {
                let number = if near { sequence.wrapping_sub(number % 100) } else { number };
                recorder.record(number, Time::from_micros(at));
            }
            let mut out = [0; 1_200];
            let mut writer = RtcpWriter::new(&mut out);
            let _ = recorder.write_feedback(&mut writer, 1, 2);
            let len = writer.len();
            for packet in packets(&out[..len]) {
                if let Ok(RtcpPacket::TransportFeedback(view)) = packet {
                    estimator.feedback(&view, None, Time::from_micros(now));
                }
            }
            let estimate = estimator.estimate_bps();
            assert!((ESTIMATE_MIN_BPS..=ESTIMATE_MAX_BPS).contains(&estimate), "{estimate}");
            assert!((0.0..=1.0).contains(&estimator.loss_share()));
        }
        Ok(())
    });
    outcome.unwrap();
}

/// Shown when the test fails, or by `--nocapture`.
#[expect(clippy::print_stdout, reason = "the table of a test")]
fn println_for_failures(row: &str) {
    println!("{row}");
}
