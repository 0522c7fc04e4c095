//! What one forwarded packet costs, in nanoseconds of thread CPU time, from the bare cipher to the send call.
//!
//! Every variant runs in every round, so that a noisy machine disturbs all of them alike; medians are printed. The
//! receivers are bound loopback sockets. First they have the smallest buffer and are read by nobody: the kernel's way to
//! a local socket is in the numbers, waking a receiver is not. Then a thread on another core reads them all.
//!
//! Each subscriber tells the server each 100 ms of virtual time that all of it arrived; that is not in the numbers.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

#[path = "../driver/mod.rs"]
mod driver;

mod receivers;
mod room;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use driver::cpu::{measures, median, thread_nanos};
use receivers::Receivers;
use room::Room;
use vestibule_media_core::Output;
use vestibule_media_engine::socket::{ShardSocket, SocketOptions};

const PAYLOAD_BYTES: usize = 1_100;
/// RTP header with the transport-wide number, as it leaves.
const HEADER_BYTES: usize = 20;
const TAG_BYTES: usize = 16;
const ROUNDS: usize = 15;
/// Forwarded packets per variant and round.
const PACKETS_PER_ROUND: usize = 12_800;
/// The requirement on the path without system calls.
const SEAL_RATIO_MAX: f64 = 1.9;

/// How forwarded packets leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// They do not: the outputs are drained and forgotten.
    Nothing,
    /// One system call per packet.
    SendTo,
    /// By the engine's socket, one peer after the other.
    PeerByPeer,
    /// As the engine does it: all peers at once.
    Engine,
}

struct Variant {
    name: &'static str,
    /// Packets of one frame, let in before the outputs are drained.
    burst: usize,
    sending: Sending,
}

const VARIANTS: [Variant; 9] = [
    Variant { name: "(b) rewrite + seal, frames of 1", burst: 1, sending: Sending::Nothing },
    Variant { name: "(b) rewrite + seal, frames of 4", burst: 4, sending: Sending::Nothing },
    Variant { name: "(b) rewrite + seal, frames of 16", burst: 16, sending: Sending::Nothing },
    Variant { name: "(c) + sendto", burst: 1, sending: Sending::SendTo },
    Variant { name: "(d) + the engine's send, frames of 1", burst: 1, sending: Sending::Engine },
    Variant { name: "(e) + GSO ×4, peer by peer", burst: 4, sending: Sending::PeerByPeer },
    Variant { name: "(e) + GSO ×4, the engine's send", burst: 4, sending: Sending::Engine },
    Variant { name: "(f) + GSO ×16, the engine's send", burst: 16, sending: Sending::Engine },
    Variant { name: "(f) + GSO ×16, flushed when asked", burst: 16, sending: Sending::Engine },
];

fn main() {
    if !measures() {
        return println!("to measure, run it by `cargo bench`");
    }
    println!(
        "CPU time per forwarded packet, {PAYLOAD_BYTES}-byte VP8 payloads, AES-128-GCM, one thread, loopback"
    );
    for (subscribers, are_read) in [(50, false), (200, false), (50, true)] {
        run(subscribers, are_read);
    }
}

fn run(subscribers: usize, are_read: bool) {
    let receivers = Receivers::open(subscribers, are_read);
    let mut bench = Bench::new(&receivers.addresses);
    let (mut bare, mut variants) = (Vec::new(), vec![Vec::new(); VARIANTS.len()]);
    for round in 0..=ROUNDS {
        let cost = bench.bare_seal();
        // The first round warms caches and lets buffers grow.
        if round > 0 {
            bare.push(cost);
        }
        for (at, variant) in VARIANTS.iter().enumerate() {
            let flush_when_asked = at + 1 == VARIANTS.len();
            let cost = bench.forward(variant, flush_when_asked);
            if round > 0 {
                variants[at].push(cost);
            }
        }
    }
    let bare = median(bare);
    println!(
        "{subscribers} subscribers, {}",
        if are_read { "read on another core" } else { "read by nobody" }
    );
    println!("  {:<44}{bare:>7.0} ns   1.00", "(a) bare seal");
    let mut ratios = Vec::new();
    for (variant, costs) in VARIANTS.iter().zip(variants) {
        let cost = median(costs);
        ratios.push(cost / bare);
        println!("  {:<44}{cost:>7.0} ns   {:.2}", variant.name, cost / bare);
    }
    let worst = ratios[..3].iter().copied().fold(0.0, f64::max);
    println!("  rewrite + seal ≤ {SEAL_RATIO_MAX} × bare seal: {worst:.2}\n");
}

struct Bench {
    room: Room,
    subscribers: usize,
    plain: UdpSocket,
    engine: ShardSocket,
    key: LessSafeKey,
}

impl Bench {
    fn new(addresses: &[SocketAddr]) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            room: Room::new(addresses, PAYLOAD_BYTES),
            subscribers: addresses.len(),
            plain: UdpSocket::bind(any).unwrap(),
            engine: ShardSocket::open(any, &SocketOptions::default()).unwrap(),
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap()),
        }
    }

    /// The cipher alone, on as many bytes and with as much associated data: one key, one buffer, all in cache.
    fn bare_seal(&self) -> f64 {
        let mut packet = vec![7; HEADER_BYTES + PAYLOAD_BYTES + TAG_BYTES];
        let start = thread_nanos();
        for number in 0..PACKETS_PER_ROUND as u64 {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&number.to_be_bytes());
            let (header, rest) = packet.split_at_mut(HEADER_BYTES);
            let (payload, tag) = rest.split_at_mut(PAYLOAD_BYTES);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload).unwrap();
            tag.copy_from_slice(sealed.as_ref());
            black_box(&mut packet);
        }
        (thread_nanos() - start) as f64 / PACKETS_PER_ROUND as f64
    }

    /// The product's path: datagram in, outputs drained and sent as the variant says.
    fn forward(&mut self, variant: &Variant, flush_when_asked: bool) -> f64 {
        let frames = PACKETS_PER_ROUND.div_ceil(variant.burst * self.subscribers);
        let mut sealed: Vec<_> = (0..frames).map(|_| self.room.seal_frame(variant.burst)).collect();
        let before = self.room.server.sfu.counters().rtp_out;
        let (mut spent, mut start) = (0, thread_nanos());
        for frame in &mut sealed {
            if self.room.pass(variant.burst) {
                spent += thread_nanos() - start;
                self.room.tell();
                start = thread_nanos();
            }
            self.room.server.timers();
            for packet in frame {
                self.room.publish(packet);
                if flush_when_asked && self.room.server.sfu.wants_flush() {
                    self.drain(variant.sending);
                }
            }
            self.drain(variant.sending);
        }
        spent += thread_nanos() - start;
        // What waits for a pacer, if anything does, leaves now.
        self.room.settle();
        let forwarded = self.room.server.sfu.counters().rtp_out - before;
        assert_eq!(
            forwarded,
            (frames * variant.burst * self.subscribers) as u64,
            "a packet was not forwarded"
        );
        spent as f64 / forwarded as f64
    }

    fn drain(&mut self, sending: Sending) {
        let Room { server, reports, .. } = &mut self.room;
        while let Some(output) = server.sfu.poll_output() {
            let Output::Transmits(transmits) = output else { continue };
            let transmits = transmits.inspect(|transmit| {
                reports.note(transmit.to.socket(), transmit.packets().last().unwrap_or_default(), server.now);
            });
            match sending {
                Sending::Nothing => {
                    black_box(
                        transmits.flat_map(|transmit| transmit.packets()).map(<[u8]>::len).sum::<usize>(),
                    );
                }
                Sending::SendTo => {
                    for transmit in transmits {
                        for packet in transmit.packets() {
                            // A full receiver is the receiver's loss, not an error of this call.
                            let _ = self.plain.send_to(packet, transmit.to.socket());
                        }
                    }
                }
                Sending::PeerByPeer => {
                    transmits
                        .for_each(|transmit| self.engine.send([(transmit.to.socket(), transmit.packets())]));
                }
                Sending::Engine => {
                    self.engine.send(transmits.map(|transmit| (transmit.to.socket(), transmit.packets())));
                }
            }
        }
    }
}
