//! What one report of a receiver costs the server, from the datagram to the end: SRTCP opened, parsed, and all it says
//! walked through; for a NACK the retransmission as well.
//!
//! What the estimator makes of a transport-wide report comes on top: each arrival is matched with the time its packet left,
//! and delay, loss and rate follow.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

#[path = "../driver/mod.rs"]
mod driver;

use std::time::Duration;

use driver::Server;
use driver::client::Client;
use driver::cpu::{measures, median, spent};
use driver::trace::Trace;
use vestibule_media_core::congestion::Estimator;
use vestibule_media_core::rtcp::{ReportBlock, RtcpPacket, packets};
use vestibule_media_core::srtp::{self, SrtpOpener, SrtpRole};
use vestibule_media_core::twcc::TwccRecorder;
use vestibule_media_core::{Output, PeerId, RoomId, Time};
use vestibule_sim::offer::{ClientLine, VP8};

const ROUNDS: usize = 15;
/// Reports of each kind and round.
const REPORTS: usize = 1_000;
/// Subscribers the reports come from, in turn: nobody's state stays in the first cache.
const SUBSCRIBERS: usize = 100;
/// What is asked of a transport-wide report.
const NANOS_MAX: f64 = 1_500.0;
const PACKET_BYTES: u16 = 1_100;
const RTT: Duration = Duration::from_millis(40);
/// From one packet to the next.
const SPACING: Duration = Duration::from_micros(400);

fn main() {
    if !measures() {
        return println!("to measure, run it by `cargo bench`");
    }
    let mut bench = Bench::new();
    let kinds: [(&str, Make); 7] = [
        ("TWCC of 20 packets", |bench, at| bench.transport_report(at, 20, 0)),
        ("TWCC of 200 packets", |bench, at| bench.transport_report(at, 200, 0)),
        ("TWCC of 200 packets, 5 % lost", |bench, at| bench.transport_report(at, 200, 20)),
        ("TWCC of 20 packets, with RR", Bench::compound),
        ("RR on four streams", |bench, at| bench.subscribers[at].report()),
        ("NACK of one packet, answered", |bench, at| bench.nack(at, 1)),
        ("NACK of eight packets, answered", |bench, at| bench.nack(at, 8)),
    ];
    let mut costs = vec![(Vec::new(), Vec::new()); kinds.len()];
    for round in 0..=ROUNDS {
        for ((_, make), costs) in kinds.iter().zip(&mut costs) {
            let (whole, walk) = bench.round(*make);
            if round > 0 {
                costs.0.push(whole);
                costs.1.push(walk);
            }
        }
    }
    println!(
        "CPU time per datagram in nanoseconds, AES-128-GCM, {SUBSCRIBERS} subscribers in turn, no sockets"
    );
    println!("{:<34}{:>8}{:>14}{:>8}", "", "taken in", "+ estimate", "= all");
    for ((name, _), (whole, walk)) in kinds.iter().zip(costs) {
        let (whole, walk) = (median(whole), median(walk));
        println!("{name:<34}{whole:>8.0}{walk:>14.0}{:>8.0}", whole + walk);
    }
    println!("asked of a transport-wide report: at the most {NANOS_MAX:.0}");
}

type Make = fn(&mut Bench, usize) -> Vec<u8>;

struct Bench {
    server: Server,
    publisher: Client,
    subscribers: Vec<Client>,
    recorders: Vec<(TwccRecorder, u16)>,
    openers: Vec<SrtpOpener>,
    /// With the time the last packet was sent.
    estimators: Vec<(Estimator, Time)>,
    trace: Trace,
    /// The last sequence number sent to each subscriber on its video slot.
    last_sent: Vec<u16>,
}

impl Bench {
    fn new() -> Self {
        let mut server = Server::new();
        let room = RoomId(1);
        server.open_room(room);
        let owner = PeerId(1);
        let address = "10.1.1.1:5000".parse().unwrap();
        let lines = [Client::microphone(owner), Client::camera(owner)];
        let publisher = Client::join(&mut server, room, owner, address, &lines).without_transport_sequence();
        let subscribers: Vec<_> = (2..)
            .take(SUBSCRIBERS)
            .map(|id| {
                let address = ([10, 2, (id >> 8) as u8, id as u8], 5_000).into();
                let lines = [ClientLine::AudioSeat, ClientLine::VideoSeat];
                let client = Client::join(&mut server, room, PeerId(id), address, &lines);
                server.seat(PeerId(id), 0, owner);
                client
            })
            .collect();
        server.drop_outputs();
        let openers =
            subscribers.iter().map(|client| srtp::session(&client.keys, SrtpRole::Server).unwrap().1);
        Self {
            openers: openers.collect(),
            recorders: vec![(TwccRecorder::new(), 0); SUBSCRIBERS],
            estimators: vec![(Estimator::new(), Time::from_millis(1_000)); SUBSCRIBERS],
            last_sent: vec![0; SUBSCRIBERS],
            trace: Trace::new(99),
            server,
            publisher,
            subscribers,
        }
    }

    /// One kind of report from all subscribers in turn: the server's cost, and that of the walk.
    fn round(&mut self, make: Make) -> (f64, f64) {
        // What NACKs ask for was sent shortly before, and retransmissions are paid for by what is sent.
        for _ in 0..30 {
            self.server.pass(Duration::from_millis(33));
            for mut packet in self.publisher.frame() {
                self.server.datagram(self.publisher.address, &mut packet);
            }
            self.note_sent();
        }
        let mut reports: Vec<_> =
            (0..REPORTS).map(|number| (number % SUBSCRIBERS, make(self, number % SUBSCRIBERS))).collect();
        let copies = reports.clone();
        let before = *self.server.sfu.counters();
        let whole = spent(|| {
            for (at, report) in &mut reports {
                self.server.datagram(self.subscribers[*at].address, report);
                self.server.drop_outputs();
            }
        });
        let after = *self.server.sfu.counters();
        assert_eq!(after.rtcp_in - before.rtcp_in, REPORTS as u64);
        assert_eq!(after.dropped_rtcp_malformed, 0);
        let asked = after.rtx_out + after.rtx_missing + after.rtx_held_off + after.rtx_over_budget;
        assert_eq!(asked, after.rtx_out, "{after:?}");
        let opened: Vec<_> = copies
            .into_iter()
            .map(|(at, mut report)| {
                let len = self.openers[at].open_rtcp(&mut report).unwrap();
                report.truncate(len);
                (at, report)
            })
            .collect();
        let walk = spent(|| {
            for (at, report) in &opened {
                for packet in packets(report) {
                    if let Ok(RtcpPacket::TransportFeedback(view)) = packet {
                        let (estimator, now) = &mut self.estimators[*at];
                        estimator.feedback(&view, Some(RTT), *now);
                    }
                }
            }
        });
        (whole as f64 / REPORTS as f64, walk as f64 / REPORTS as f64)
    }

    /// Remembers up to where each subscriber's video has come, from what is sent to it.
    fn note_sent(&mut self) {
        let Self { server, subscribers, last_sent, .. } = self;
        while let Some(output) = server.sfu.poll_output() {
            let Output::Transmits(transmits) = output else { continue };
            for transmit in transmits {
                let of = |client: &Client| client.address == transmit.to;
                let Some(at) = subscribers.iter().position(of) else { continue };
                for packet in transmit.packets().filter(|packet| packet[1] & 0x7f == VP8) {
                    last_sent[at] = u16::from_be_bytes([packet[2], packet[3]]);
                }
            }
        }
    }

    /// A report on the next `count` packets, so many of 400 missing, as a receiver writes it.
    fn transport_report(&mut self, at: usize, count: u16, lost_of_400: u64) -> Vec<u8> {
        self.fill_recorder(at, count, lost_of_400);
        let recorder = &mut self.recorders[at].0;
        self.subscribers[at].rtcp(|writer| assert!(recorder.write_feedback(writer, 1, 2).unwrap()))
    }

    fn fill_recorder(&mut self, at: usize, count: u16, lost_of_400: u64) {
        let (recorder, next) = &mut self.recorders[at];
        let (estimator, sent_at) = &mut self.estimators[at];
        for _ in 0..count {
            *sent_at = *sent_at + SPACING;
            estimator.sent(*next, PACKET_BYTES, 0, *sent_at);
            let lost = self.trace.below(400) < lost_of_400;
            if !lost {
                recorder.record(*next, *sent_at + RTT / 2 + Duration::from_micros(self.trace.below(300)));
            }
            *next = next.wrapping_add(1);
        }
    }

    fn compound(&mut self, at: usize) -> Vec<u8> {
        self.fill_recorder(at, 20, 0);
        let recorder = &mut self.recorders[at].0;
        let ssrcs: Vec<_> = self.subscribers[at].slots().map(|(ssrc, _)| ssrc).collect();
        let block = |ssrc| ReportBlock { ssrc, ..ReportBlock::default() };
        let blocks: Vec<_> = ssrcs.into_iter().map(block).collect();
        self.subscribers[at].rtcp(|writer| {
            writer.receiver_report(1, &blocks).unwrap();
            assert!(recorder.write_feedback(writer, 1, 2).unwrap());
        })
    }

    /// A NACK of `count` packets sent a while ago; others each time.
    fn nack(&mut self, at: usize, count: u16) -> Vec<u8> {
        let last = self.last_sent[at];
        self.last_sent[at] = last.wrapping_sub(count);
        let lost: Vec<_> = (0..count).map(|back| last.wrapping_sub(count - 1 - back)).collect();
        let (ssrc, _) = self.subscribers[at].slots().last().unwrap();
        self.subscribers[at].rtcp(|writer| writer.nack(1, ssrc, &lost).unwrap())
    }
}
