//! What one report of a receiver costs the server, from the datagram to the end: SRTCP opened, parsed, and all it says
//! walked through; of a transport-wide report what the estimator makes of it, each arrival matched with the time its packet
//! left, and what follows from it for the subscriber's line; for a NACK the retransmission as well.
//!
//! The packets that are told of were really sent: small ones, which never wait for feedback.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

#[path = "../driver/mod.rs"]
mod driver;

use std::hint::black_box;
use std::time::Duration;

use driver::Server;
use driver::client::Client;
use driver::cpu::{measures, median, spent};
use driver::reports::Reports;
use driver::trace::Trace;
use vestibule_media_core::rtcp::{ReportBlock, RtcpPacket, packets};
use vestibule_media_core::srtp::{self, SrtpOpener, SrtpRole};
use vestibule_media_core::{Output, PeerId, RoomId};
use vestibule_sim::offer::{ClientLine, VP8};

const ROUNDS: usize = 15;
/// Reports of each subscriber, kind and round.
const REPORTS: usize = 10;
/// Subscribers the reports come from, in turn: nobody's state stays in the first cache.
const SUBSCRIBERS: usize = 100;
/// What is asked of a transport-wide report.
const NANOS_MAX: f64 = 1_500.0;
/// From one packet to the next.
const SPACING: Duration = Duration::from_micros(400);
/// Frames of video before each round, and of the first rounds of all, until it is seen to get through.
const FRAMES: usize = 30;
const FRAMES_FIRST: usize = 300;
const FRAME_MS: u64 = 33;
/// Retransmissions that wait for the pacer have left after so many milliseconds.
const PACED_MS: u64 = 20;

/// A kind of report.
struct Kind {
    name: &'static str,
    /// Packets to each subscriber before it, and how many of 400 get lost.
    packets: usize,
    lost_of_400: u64,
    /// Packets it asks for.
    asks: u16,
    make: fn(&mut Bench, usize) -> Vec<u8>,
}

const KINDS: [Kind; 7] = [
    Kind { name: "TWCC of 20 packets", packets: 20, lost_of_400: 0, asks: 0, make: Bench::transport_report },
    Kind {
        name: "TWCC of 200 packets",
        packets: 200,
        lost_of_400: 0,
        asks: 0,
        make: Bench::transport_report,
    },
    Kind {
        name: "TWCC of 200 packets, 5 % lost",
        packets: 200,
        lost_of_400: 20,
        asks: 0,
        make: Bench::transport_report,
    },
    Kind { name: "TWCC of 20 packets, with RR", packets: 20, lost_of_400: 0, asks: 0, make: Bench::compound },
    Kind {
        name: "RR on four streams",
        packets: 0,
        lost_of_400: 0,
        asks: 0,
        make: |bench, at| bench.subscribers[at].report(),
    },
    Kind {
        name: "NACK of one packet, answered",
        packets: 0,
        lost_of_400: 0,
        asks: 1,
        make: |bench, at| bench.nack(at, 1),
    },
    Kind {
        name: "NACK of eight packets, answered",
        packets: 0,
        lost_of_400: 0,
        asks: 8,
        make: |bench, at| bench.nack(at, 8),
    },
];

fn main() {
    if !measures() {
        return println!("to measure, run it by `cargo bench`");
    }
    let mut bench = Bench::new();
    let mut costs = vec![(Vec::new(), Vec::new()); KINDS.len()];
    for round in 0..=ROUNDS {
        for (kind, costs) in KINDS.iter().zip(&mut costs) {
            let (whole, read) = bench.round(kind);
            if round > 0 {
                costs.0.push(whole);
                costs.1.push(read);
            }
        }
    }
    println!(
        "CPU time per datagram in nanoseconds, AES-128-GCM, {SUBSCRIBERS} subscribers in turn, no sockets"
    );
    println!("{:<34}{:>8}{:>16}", "", "all", "opened, read");
    for (kind, (whole, read)) in KINDS.iter().zip(costs) {
        println!("{:<34}{:>8.0}{:>16.0}", kind.name, median(whole), median(read));
    }
    println!("asked of a transport-wide report: at the most {NANOS_MAX:.0}");
}

struct Bench {
    server: Server,
    publisher: Client,
    subscribers: Vec<Client>,
    reports: Reports,
    openers: Vec<SrtpOpener>,
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
        let mut reports = Reports::default();
        subscribers.iter().for_each(|client| reports.add(client));
        let mut bench = Self {
            openers: openers.collect(),
            reports,
            last_sent: vec![0; SUBSCRIBERS],
            trace: Trace::new(99),
            server,
            publisher,
            subscribers,
        };
        bench.show(FRAMES_FIRST);
        bench
    }

    /// Frames of video, and what arrived of them told at once: what NACKs ask for was sent shortly before, and
    /// retransmissions are paid for by what is sent.
    fn show(&mut self, frames: usize) {
        self.check();
        for frame in 0..frames {
            self.publisher.keyframe_due |= frame.is_multiple_of(FRAMES);
            for mut packet in self.publisher.frame() {
                self.server.datagram(self.publisher.address, &mut packet);
            }
            self.pass_millis(FRAME_MS);
            self.tell();
        }
    }

    /// Everybody's consent to go on.
    fn check(&mut self) {
        for client in self.subscribers.iter_mut().chain([&mut self.publisher]) {
            self.server.datagram(client.address, &mut client.check);
        }
        self.note_sent();
    }

    /// Everybody tells of what arrived.
    fn tell(&mut self) {
        for (from, mut message) in self.reports.tell(&mut self.subscribers) {
            self.server.datagram(from, &mut message);
        }
        self.note_sent();
    }

    fn pass_millis(&mut self, millis: u64) {
        for _ in 0..millis {
            self.note_sent();
            self.server.pass(Duration::from_millis(1));
            self.server.timers();
        }
        self.note_sent();
    }

    /// Small packets to everybody; so many of 400 get lost.
    fn speak(&mut self, packets: usize, lost_of_400: u64) {
        for _ in 0..packets {
            self.server.pass(SPACING);
            let mut packet = self.publisher.speech();
            self.server.datagram(self.publisher.address, &mut packet);
            self.note_sent();
        }
        let Self { reports, trace, .. } = self;
        reports.arrive(|| trace.below(400) < lost_of_400);
    }

    /// One kind of report from all subscribers in turn: the server's cost, and that of opening and reading alone.
    fn round(&mut self, kind: &Kind) -> (f64, f64) {
        self.show(FRAMES);
        let before = *self.server.sfu.counters();
        let (mut whole, mut read) = (0, 0);
        for _ in 0..REPORTS {
            self.speak(kind.packets, kind.lost_of_400);
            let mut reports: Vec<_> = (0..SUBSCRIBERS).map(|at| (kind.make)(self, at)).collect();
            let mut copies = reports.clone();
            whole += spent(|| {
                for (report, client) in reports.iter_mut().zip(&self.subscribers) {
                    self.server.datagram(client.address, report);
                }
                self.note_sent();
            });
            if kind.asks > 0 {
                whole += spent(|| self.pass_millis(PACED_MS));
                self.tell();
            }
            read += spent(|| {
                for (report, opener) in copies.iter_mut().zip(&mut self.openers) {
                    let len = opener.open_rtcp(report).unwrap();
                    black_box(packets(&report[..len]).map(|packet| told(&packet.unwrap())).sum::<usize>());
                }
            });
        }
        let after = *self.server.sfu.counters();
        let count = REPORTS * SUBSCRIBERS;
        assert_eq!((after.dropped_rtcp_malformed, after.dropped_rtcp_auth), (0, 0));
        let asked = u64::from(kind.asks) * count as u64;
        assert_eq!(after.rtx_out - before.rtx_out, asked, "{after:?}");
        (whole as f64 / count as f64, read as f64 / count as f64)
    }

    /// Remembers up to where each subscriber's video has come, from what is sent to it.
    fn note_sent(&mut self) {
        let Self { server, subscribers, last_sent, reports, .. } = self;
        while let Some(output) = server.sfu.poll_output() {
            let Output::Transmits(transmits) = output else { continue };
            for transmit in transmits {
                let mut last: &[u8] = &[];
                for packet in transmit.packets() {
                    last = packet;
                    if packet[1] & 0x7f == VP8
                        && let Some(at) =
                            subscribers.iter().position(|client| client.address == transmit.to.socket())
                    {
                        last_sent[at] = u16::from_be_bytes([packet[2], packet[3]]);
                    }
                }
                reports.note(transmit.to.socket(), last, server.now);
            }
        }
    }

    /// A report on all that was sent since the last one, as a receiver writes it.
    fn transport_report(&mut self, at: usize) -> Vec<u8> {
        let Self { reports, subscribers, .. } = self;
        reports.message(at, &mut subscribers[at]).expect("something was sent")
    }

    fn compound(&mut self, at: usize) -> Vec<u8> {
        let Self { reports, subscribers, .. } = self;
        let recorder = reports.recorder(at);
        let ssrcs: Vec<_> = subscribers[at].slots().map(|(ssrc, _)| ssrc).collect();
        let block = |ssrc| ReportBlock { ssrc, ..ReportBlock::default() };
        let blocks: Vec<_> = ssrcs.into_iter().map(block).collect();
        subscribers[at].rtcp(|writer| {
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

/// How much one packet of RTCP tells.
fn told(packet: &RtcpPacket<'_>) -> usize {
    match packet {
        RtcpPacket::TransportFeedback(view) => view.received().count(),
        RtcpPacket::ReceiverReport { reports, .. } => reports.clone().count(),
        RtcpPacket::Nack { lost, .. } => lost.clone().count(),
        _ => 0,
    }
}
