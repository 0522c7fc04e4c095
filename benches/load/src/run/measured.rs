//! A window: what was counted in it at the receivers, in the server's process, and in our own.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::Stage;
use crate::client::{Histogram, MediaPlane, WindowCounts};
use crate::clock;
use crate::measure::machine;
use crate::measure::process::Snapshot;
use crate::measure::verdict::{self, Own};
use crate::report::{Cost, Delay, Media, Report, Tester, Traffic};

/// A window that is open.
pub(super) struct Opened {
    at: Instant,
    own_cpu: Duration,
    machine_cpu: Option<Duration>,
    server: Option<Snapshot>,
}

/// What a window held.
pub(super) struct Measured {
    pub(super) media: Media,
    pub(super) cost: Option<Cost>,
    pub(super) tester: Tester,
    /// Why we were late with people since the window before, if we were: the times they took are our own then.
    pub(super) late_with_people: Option<String>,
}

impl Stage<'_> {
    /// What is sent from now on counts.
    pub(super) fn open_window(&self) -> Opened {
        self.series.in_window(true);
        let opened = Opened {
            at: clock::now(),
            own_cpu: own_cpu(),
            machine_cpu: machine::busy(),
            server: self.run.snapshot(),
        };
        self.run.transports.plane().begin_window();
        opened
    }

    /// What was sent until now counts.
    pub(super) async fn close_window(&self, opened: Opened) -> Measured {
        let length = clock::now().saturating_duration_since(opened.at);
        let own_cpu = own_cpu().saturating_sub(opened.own_cpu);
        let server = opened.server.zip(self.run.snapshot());
        let server_cpu = server.map_or(Duration::ZERO, |(before, now)| now.cpu.saturating_sub(before.cpu));
        let machine_cpu = opened.machine_cpu.zip(machine::busy());
        let others = machine_cpu.map(|(before, now)| now.saturating_sub(before + own_cpu + server_cpu));
        self.series.in_window(false);
        let counts = self.run.transports.plane().end_window().await;
        let media = media(&counts);
        // What came twice was forwarded once.
        let forwarded = media.received.packets.saturating_sub(media.duplicate_packets);
        let cost = server.map(|_| cost(server_cpu, length, forwarded));
        let own = Own {
            window: length,
            plane_cpu: counts.plane_cpu,
            process_cpu: own_cpu,
            cores: cores(),
            late_p99: Duration::from_micros(counts.lateness.quantile(0.99)),
            socket_drops: counts.socket_drops,
            send_failures: counts.send_failures,
        };
        let late_with_people = self.series.late_with_people();
        Measured { media, cost, tester: tester(&counts, &own, others), late_with_people }
    }
}

impl Measured {
    /// Puts it where it belongs.
    pub(super) fn into_report(self, report: &mut Report) {
        let mut tester = self.tester;
        tester.bottleneck |= self.late_with_people.is_some();
        tester.reasons.extend(self.late_with_people);
        report.media = Some(self.media);
        report.cost = self.cost;
        report.tester = Some(tester);
    }
}

/// What our threads have taken of the processors since some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    at: Instant,
    process: Duration,
    plane: Duration,
}

impl Taken {
    pub(super) fn now(plane: &MediaPlane) -> Self {
        Self { at: clock::now(), process: own_cpu(), plane: plane.cpu() }
    }

    /// Why we were late with people since then, if we were.
    pub(super) fn late_with_people(self, plane: &MediaPlane) -> Option<String> {
        let now = Self::now(plane);
        let process = now.process.saturating_sub(self.process);
        let signaling = process.saturating_sub(now.plane.saturating_sub(self.plane));
        verdict::late_with_people(now.at.saturating_duration_since(self.at), signaling, process, cores())
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// User and system time of all our threads so far.
fn own_cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros = [usage.user_time(), usage.system_time()].map(|time| {
        let (seconds, micros) = (u64::try_from(time.tv_sec()), u64::try_from(time.tv_usec()));
        seconds.unwrap_or(0) * 1_000_000 + micros.unwrap_or(0)
    });
    Duration::from_micros(micros[0] + micros[1])
}

fn media(counts: &WindowCounts) -> Media {
    let (received, loss) = (counts.received, counts.loss.total());
    let traffic = |traffic: crate::client::Traffic| {
        let seconds = counts.duration.as_secs_f64().max(1e-6);
        Traffic {
            packets: traffic.packets,
            packets_per_second: tenths(whole(traffic.packets) / seconds),
            bits_per_second: (whole(traffic.bytes) * 8.0 / seconds).round(),
        }
    };
    Media {
        window_seconds: (counts.duration.as_secs_f64() * 1e3).round() / 1e3,
        sent: traffic(counts.sent.total()),
        received: traffic(received.total()),
        received_audio_packets: received.audio.packets,
        received_video_packets: received.video.packets,
        expected_packets: loss.expected,
        lost_packets: loss.lost,
        loss_percent: (loss.ratio() * 1e6).round() / 1e4,
        starved_streams: u64::from(counts.starved.total()),
        recovered_packets: loss.recovered,
        unrecovered_packets: loss.unrecovered(),
        duplicate_packets: loss.duplicates,
        refused_packets: counts.undecryptable + counts.unexpected,
        unstamped_packets: counts.unstamped.packets,
        reordered_packets: loss.reordered,
        delay_us: delay(&counts.delays.all()),
        delay_audio_us: delay(&counts.delays.audio),
        delay_frame_us: delay(&counts.delays.frame_start),
        delay_rest_us: delay(&counts.delays.frame_rest),
        keyframes_requested: counts.keyframes_requested,
        keyframes_sent: counts.keyframes_sent,
        receiver_reports: counts.receiver_reports_sent,
        transport_reports: counts.transport_feedback_sent,
        nacks: counts.nacks_sent,
        retransmissions: counts.retransmissions_sent,
    }
}

fn delay(histogram: &Histogram) -> Option<Delay> {
    (histogram.count() > 0).then(|| Delay {
        count: histogram.count(),
        p50: histogram.quantile(0.5),
        p95: histogram.quantile(0.95),
        p99: histogram.quantile(0.99),
        max: histogram.max(),
    })
}

fn cost(cpu: Duration, length: Duration, packets: u64) -> Cost {
    let (cpu, length) = (cpu.as_secs_f64(), length.as_secs_f64().max(1e-6));
    Cost {
        cpu_percent: tenths(cpu / length * 100.0),
        cpu_us_per_packet: (packets > 0).then(|| (cpu * 1e6 / whole(packets) * 1e3).round() / 1e3),
        packets_per_core_second: (packets > 0 && cpu > 0.0).then(|| (whole(packets) / cpu).round()),
    }
}

fn tester(counts: &WindowCounts, own: &Own, others: Option<Duration>) -> Tester {
    let percent = |cpu: Duration| tenths(cpu.as_secs_f64() / own.window.as_secs_f64().max(1e-6) * 100.0);
    let reasons = own.reasons();
    Tester {
        cpu_percent: percent(own.process_cpu),
        media_thread_percent: percent(own.plane_cpu),
        others_percent: others.map(percent),
        late_p50_us: counts.lateness.quantile(0.5),
        late_p99_us: counts.lateness.quantile(0.99),
        late_max_us: counts.lateness.max(),
        socket_drops: counts.socket_drops,
        send_failures: counts.send_failures,
        bottleneck: !reasons.is_empty(),
        reasons,
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no run counts to")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_packet_is_the_servers_time_by_what_arrived() {
        let cost = cost(Duration::from_millis(340), Duration::from_secs(10), 100_000);
        assert_eq!((cost.cpu_us_per_packet, cost.packets_per_core_second), (Some(3.4), Some(294_118.0)));
        assert!((cost.cpu_percent - 3.4).abs() < 1e-9);
        let idle = super::cost(Duration::ZERO, Duration::from_secs(10), 0);
        assert_eq!((idle.cpu_us_per_packet, idle.packets_per_core_second), (None, None));
    }

    #[test]
    fn counts_become_rates_and_percents() {
        let mut counts = WindowCounts { duration: Duration::from_secs(10), ..WindowCounts::default() };
        counts.received.audio = crate::client::Traffic { packets: 500, bytes: 50_000 };
        counts.received.video = crate::client::Traffic { packets: 1500, bytes: 1_500_000 };
        counts.loss.video =
            crate::client::Loss { expected: 2000, lost: 20, recovered: 15, duplicates: 1, reordered: 2 };
        for micros in [100, 200, 300] {
            counts.delays.audio.record(micros);
        }
        let media = media(&counts);
        assert_eq!((media.received.packets, media.lost_packets, media.unrecovered_packets), (2000, 20, 5));
        assert!((media.received.packets_per_second - 200.0).abs() < 1e-9);
        assert!((media.received.bits_per_second - 1_240_000.0).abs() < 1e-9);
        assert!((media.loss_percent - 1.0).abs() < 1e-9);
        assert_eq!(media.delay_us.map(|delay| (delay.count, delay.p50, delay.max)), Some((3, 200, 300)));
        assert_eq!(media.delay_rest_us, None);
    }

    #[test]
    fn our_own_time_goes_on() {
        assert!(own_cpu() > Duration::ZERO);
    }
}
