//! What those cost who come, go and stay without a word, on the thread that forwards packets: how long each step of a
//! join or leave keeps it from everybody else's packets, and what a thousand idle peers take of a core.
//!
//! Without sockets. A handshake is on another thread, but the keys it brings are taken in here.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

#[path = "../driver/mod.rs"]
mod driver;

use std::net::SocketAddr;
use std::time::Duration;

use driver::Server;
use driver::client::Client;
use driver::cpu::{measures, spent};
use vestibule_media_core::{Command, PeerId, RoomId};
use vestibule_sim::offer::ClientLine;

/// Peers that stay, two in each room.
const STAYING: u64 = 4_000;
/// Visits that come and go.
const VISITS: u64 = 1_000;
/// Seats of each offer.
const SEATS: usize = 3;
const IDLE: u64 = 1_000;
const IDLE_SECONDS: u64 = 30;
/// Milliseconds between two checks of an idle browser.
const CHECK_MS: u64 = 2_500;

fn main() {
    if !measures() {
        return println!("to measure, run it by `cargo bench`");
    }
    churn();
    idle();
}

fn churn() {
    let mut server = Server::new();
    for room in 1..=STAYING / 2 {
        visit(&mut server, room);
    }
    println!("CPU microseconds of one input, beside {STAYING} peers who stay, offers with {SEATS} seats");
    println!("{:<34}{:>8}{:>8}{:>8}", "", "p50", "p99", "most");
    let mut steps = vec![Vec::new(); 3];
    for room in STAYING..STAYING + VISITS {
        server.longest = Some(0);
        visit(&mut server, room);
        steps[0].push(server.longest.take().unwrap());
        let [one, other] = peers_of(room);
        let mut leave = |command| {
            spent(|| {
                server.command(command);
                server.drop_outputs();
            })
        };
        steps[1]
            .push(leave(Command::RemovePeer { peer: one }).max(leave(Command::RemovePeer { peer: other })));
        steps[2].push(leave(Command::CloseRoom { room: RoomId(room) }));
        server.pass(Duration::from_millis(20));
        server.timers();
        server.drop_outputs();
    }
    let names = ["the longest of a visit's joins", "the longest of its leaves", "the end of its room"];
    for (name, mut took) in names.into_iter().zip(steps) {
        took.sort();
        let micros = |at: usize| took[at] as f64 / 1e3;
        let last = took.len() - 1;
        println!("{name:<34}{:>8.1}{:>8.1}{:>8.1}", micros(last / 2), micros(last * 99 / 100), micros(last));
    }
}

/// Two peers who see each other.
fn visit(server: &mut Server, room: u64) {
    server.open_room(RoomId(room));
    let [one, other] = peers_of(room);
    for peer in [one, other] {
        let mut lines = vec![Client::microphone(peer), Client::camera(peer)];
        (0..SEATS).for_each(|_| lines.extend([ClientLine::AudioSeat, ClientLine::VideoSeat]));
        Client::join(server, RoomId(room), peer, address_of(peer), &lines);
    }
    server.seat(one, 0, other);
    server.seat(other, 0, one);
    server.drop_outputs();
}

const fn peers_of(room: u64) -> [PeerId; 2] {
    [PeerId(room * 2), PeerId(room * 2 + 1)]
}

fn address_of(peer: PeerId) -> SocketAddr {
    let [_, a, b, c] = (peer.0 as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 40_000))
}

fn idle() {
    let mut server = Server::new();
    server.open_room(RoomId(1));
    let lines = [ClientLine::AudioSeat, ClientLine::VideoSeat];
    let mut clients: Vec<_> = (1..=IDLE)
        .map(|id| Client::join(&mut server, RoomId(1), PeerId(id), address_of(PeerId(id)), &lines))
        .collect();
    let (mut firings, mut checks, mut nanos) = (0, 0, 0);
    for ms in 0..IDLE_SECONDS * 1_000 {
        server.pass(Duration::from_millis(1));
        firings += u64::from(server.sfu.poll_timeout().is_some_and(|at| at <= server.now));
        let due = clients.iter_mut().filter(|client| (client.peer.0 * 5 + ms).is_multiple_of(CHECK_MS));
        let due: Vec<_> = due.collect();
        checks += due.len();
        nanos += spent(|| {
            server.timers();
            for client in due {
                server.datagram(client.address, &mut client.check);
            }
            server.drop_outputs();
        });
    }
    let share = nanos as f64 / (IDLE_SECONDS * 1_000_000_000) as f64;
    println!(
        "\n{IDLE} idle peers: {:.2} % of a core, {:.0} turns by timer and {:.0} checks a second",
        share * 100.0,
        firings as f64 / IDLE_SECONDS as f64,
        checks as f64 / IDLE_SECONDS as f64
    );
}
