//! What a core forwards when sockets cost nothing: datagram in, demux, SRTP open, ring, decide, rewrite, seal, outputs
//! drained, on a trace of real sizes; and where the time goes.
//!
//! Every part of every call runs in every round, so that a noisy machine disturbs all of them alike; medians are
//! printed. The parts are measured by what is left when the others are taken away: *open* is the cipher alone on the
//! same packets, *accept* what the server does with packets nobody is shown, *seal* the cipher alone on as many packets
//! of the same sizes under as many keys, *drain* the taking of the outputs; *rewrite* is the rest.
//!
//! Who is shown anything tells each 100 ms of virtual time that all of it arrived, as browsers do; without that the server
//! would rightly stop. What those messages take is no part of *all*: *feedback* is, and *both* is the sum.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

#[path = "../driver/mod.rs"]
mod driver;

mod call;

use call::{Call, Shape, Spent};
use driver::cpu::{measures, median, spent};

const ROUNDS: usize = 9;
/// Forwarded packets of one call and round, at the least.
const PACKETS_PER_ROUND: usize = 60_000;
/// Datagrams measured at a time, at the least.
const STRETCH_DATAGRAMS: usize = 120;
/// What is asked of it: forwarded packets per core and second.
const PACKETS_PER_SECOND_MIN: f64 = 1e6;

const CALLS: [Shape; 8] = [
    Shape { name: "1 → 50 video", rooms: 1, publishers: 1, observers: 50, audio: false, video: true },
    Shape { name: "1 → 100 audio", rooms: 1, publishers: 1, observers: 100, audio: true, video: false },
    Shape { name: "10 rooms × 4", rooms: 10, publishers: 4, observers: 0, audio: true, video: true },
    Shape { name: "200 visits", rooms: 200, publishers: 2, observers: 0, audio: true, video: true },
    Shape { name: "1 → 40 video", rooms: 1, publishers: 1, observers: 40, audio: false, video: true },
    Shape { name: "1 → 400 video", rooms: 1, publishers: 1, observers: 400, audio: false, video: true },
    Shape { name: "1 → 40 audio", rooms: 1, publishers: 1, observers: 40, audio: true, video: false },
    Shape { name: "1 → 400 audio", rooms: 1, publishers: 1, observers: 400, audio: true, video: false },
];

/// Nanoseconds per forwarded packet.
#[derive(Clone, Copy)]
struct Costs {
    all: f64,
    open: f64,
    accept: f64,
    seal: f64,
    drain: f64,
    feedback: f64,
}

fn main() {
    if !measures() {
        return println!("to measure, run it by `cargo bench`");
    }
    let only = std::env::var("CALL").ok();
    let shapes: Vec<_> =
        CALLS.iter().filter(|shape| only.as_ref().is_none_or(|only| shape.name.contains(only))).collect();
    let mut calls: Vec<_> = shapes.iter().map(|shape| Bench::new(shape)).collect();
    let mut costs = vec![Vec::new(); calls.len()];
    for round in 0..=ROUNDS {
        for (call, costs) in calls.iter_mut().zip(&mut costs) {
            let cost = call.round();
            // The first round warms caches and lets rings grow.
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    println!("CPU time per forwarded packet in nanoseconds, AES-128-GCM, one thread, no sockets");
    println!(
        "{:<16}{:>8}{:>10}   {:>6}{:>8}{:>9}{:>7}{:>7}{:>11}{:>7}",
        "", "all", "Mpps/core", "open", "accept", "rewrite", "seal", "drain", "feedback", "both"
    );
    let mut all = Vec::new();
    for (shape, costs) in shapes.iter().zip(costs) {
        let of = |part: fn(&Costs) -> f64| median(costs.iter().map(part).collect());
        let [total, open, accept, seal, drain, feedback] = [
            of(|c| c.all),
            of(|c| c.open),
            of(|c| c.accept),
            of(|c| c.seal),
            of(|c| c.drain),
            of(|c| c.feedback),
        ];
        let rewrite = total - open - accept - seal - drain;
        println!(
            "{:<16}{total:>8.0}{:>10.2}   {open:>6.0}{accept:>8.0}{rewrite:>9.0}{seal:>7.0}{drain:>7.0}\
             {feedback:>11.0}{:>7.0}",
            shape.name,
            1e3 / total,
            total + feedback,
        );
        all.push((shape.name, total));
    }
    let cost_of = |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, cost)| *cost);
    if let (Some(few), Some(many)) = (cost_of("1 → 40 video"), cost_of("1 → 400 video")) {
        println!("video, 400 to 40: {:.2}", many / few);
    }
    if let (Some(few), Some(many)) = (cost_of("1 → 40 audio"), cost_of("1 → 400 audio")) {
        println!("audio, 400 to 40: {:.2}", many / few);
    }
    let most = all.iter().map(|(_, cost)| 1e9 / cost).fold(f64::INFINITY, f64::min);
    println!("the least of all: {most:.0} packets/s per core, of {PACKETS_PER_SECOND_MIN:.0} asked for");
}

/// A call, and its parts apart.
struct Bench {
    whole: Call,
    /// The same publishers, and nobody who is shown anything.
    unseen: Call,
    openers: call::Openers,
    sealers: call::Sealers,
    stretches: usize,
}

impl Bench {
    fn new(shape: &Shape) -> Self {
        let whole = Call::new(shape, true);
        let (openers, sealers) = (whole.openers(), whole.sealers());
        Self {
            stretches: PACKETS_PER_ROUND.div_ceil(STRETCH_DATAGRAMS * shape.fan_out()),
            unseen: Call::new(shape, false),
            whole,
            openers,
            sealers,
        }
    }

    fn round(&mut self) -> Costs {
        let before = self.whole.counters();
        let [mut open, mut unseen, mut seal] = [0; 3];
        let mut whole = Spent::default();
        for _ in 0..self.stretches {
            // As many milliseconds as it takes for the reading of the clock not to matter.
            let mut sent = self.whole.stretch(STRETCH_DATAGRAMS);
            let mut copies = sent.clone();
            let mut others = self.unseen.stretch(STRETCH_DATAGRAMS);
            open += spent(|| self.openers.open(&mut copies));
            unseen += self.unseen.play(&mut others).packets;
            whole += self.whole.play(&mut sent);
            seal += spent(|| self.sealers.seal(&sent));
        }
        whole += self.whole.settle();
        let after = self.whole.counters();
        let forwarded = after.rtp_out - before.rtp_out;
        // Everything was forwarded, by itself: nothing was left out or held back, and nothing had to be sent again.
        assert_eq!(self.sealers.take_count(), forwarded, "{after:?}");
        assert_eq!(after.dropped_paced + after.thinned, before.dropped_paced + before.thinned, "{after:?}");
        let per_packet = |nanos: u64| nanos as f64 / forwarded as f64;
        Costs {
            all: per_packet(whole.packets),
            open: per_packet(open),
            accept: per_packet(unseen.saturating_sub(open)),
            seal: per_packet(seal),
            drain: per_packet(whole.drain),
            feedback: per_packet(whole.feedback),
        }
    }
}
