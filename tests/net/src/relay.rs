//! `vestibule-relay`: a bad network between real UDP sockets, for browsers and other peers that keep their own time.
//!
//! It stands between clients and one target like a NAT: each client address gets an upstream socket of its own, and a
//! [`Link`] each way. One thread owns all state; reader threads only bring datagrams and command lines to it, through
//! one bounded channel. It reads the clock, and the seed makes the chances, not the times, repeatable.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, BufRead, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use vestibule_testnet::{ConfigError, Held, LateStreams, Link, LinkConfig, LinkStats};

const USAGE: &str = "\
usage: vestibule-relay --target IP:PORT [--listen IP:PORT] [--seed N] [--up LINK] [--down LINK]

Relays UDP between its clients and the target through a seeded bad line each way. `up` is towards the target.
Listens on 127.0.0.1:0 if not told otherwise. First line on stdout: {\"listen\":\"IP:PORT\"}.

LINK is key=value pairs between commas, of: delay_ms jitter_ms reorder reorder_ms loss burst_enter burst_leave
burst_loss duplicate rate_bps (0: no limit) queue_ms queue_bytes overhead_bytes blocked (0 or 1).

Commands, one per line on stdin; each is answered by one line of JSON on stdout. The relay ends with stdin.
  up LINK, down LINK       change what is named, for the present clients and those to come
  block, unblock           let nothing through, both ways; let it through again
  rebind                   give every client a new upstream address, and forget the old ones
  late [MS SSRC ...]       hold RTP of these streams, and RTCP that they send, for so long before it goes up; no others
  stats                    what became of the datagrams so far";

/// Clients at a time; datagrams of more are dropped and counted.
const CLIENTS_MAX: usize = 64;
/// A client that neither sent nor was sent anything for so long is forgotten.
const CLIENT_IDLE: Duration = Duration::from_secs(120);
/// Datagrams and lines between the readers and the relay; when full the readers wait, and the kernel drops.
const INBOX_MAX: usize = 4_096;
/// How soon the reader of a forgotten upstream socket ends.
const READER_CHECK: Duration = Duration::from_millis(500);
/// The largest UDP payload there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

fn main() -> ExitCode {
    let result = match Options::from_args(std::env::args().skip(1)) {
        Ok(Some(options)) => run(&options).map_err(|error| error.to_string()),
        Ok(None) => {
            say(USAGE);
            Ok(())
        }
        Err(error) => Err(format!("{error}\n\n{USAGE}")),
    };
    let Err(message) = result else { return ExitCode::SUCCESS };
    let _ = writeln!(io::stderr().lock(), "vestibule-relay: {message}");
    ExitCode::FAILURE
}

/// Relays until stdin ends.
fn run(options: &Options) -> io::Result<()> {
    let socket = UdpSocket::bind(options.listen)?;
    say(&format!("{{\"listen\":\"{}\"}}", socket.local_addr()?));
    let (inbox_sender, inbox) = sync_channel(INBOX_MAX);
    read_clients(socket.try_clone()?, inbox_sender.clone());
    read_commands(inbox_sender.clone());
    Relay::new(options, socket, inbox_sender).run(&inbox)
}

/// What the command line says.
struct Options {
    listen: SocketAddr,
    target: SocketAddr,
    seed: u64,
    lines: Lines,
}

/// How both directions are now.
#[derive(Clone, Copy)]
struct Lines {
    up: LinkConfig,
    down: LinkConfig,
}

/// What the reader threads bring.
enum Incoming {
    FromClient(SocketAddr, Vec<u8>),
    FromTarget(UpstreamId, Vec<u8>),
    Command(String),
    StdinEnded,
}

/// One upstream socket; a rebound client has a new one, and what still comes for the old is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct UpstreamId(u64);

struct Relay {
    target: SocketAddr,
    seed: u64,
    lines: Lines,
    late: LateStreams,
    socket: UdpSocket,
    inbox: SyncSender<Incoming>,
    clients: HashMap<SocketAddr, Client>,
    /// Datagrams of clients that found no room.
    refused: u64,
    /// Datagrams for an upstream address that was forgotten.
    stray: u64,
    /// Datagrams that were held because their stream is late.
    held: u64,
    /// Clients so far; with the seed it seeds the links of the next one.
    clients_seen: u64,
    upstreams_seen: u64,
    /// Counts of clients forgotten since.
    gone: (LinkStats, LinkStats),
    started: Instant,
}

struct Client {
    /// What is late on its way to `up`.
    late: Held,
    up: Link,
    down: Link,
    upstream: Upstream,
    last_used_us: u64,
}

/// Dropping it ends its reader.
struct Upstream {
    id: UpstreamId,
    socket: UdpSocket,
    forgotten: Arc<AtomicBool>,
}

impl Relay {
    fn new(options: &Options, socket: UdpSocket, inbox: SyncSender<Incoming>) -> Self {
        Self {
            target: options.target,
            seed: options.seed,
            lines: options.lines,
            late: LateStreams::default(),
            socket,
            inbox,
            clients: HashMap::new(),
            refused: 0,
            stray: 0,
            held: 0,
            clients_seen: 0,
            upstreams_seen: 0,
            gone: Default::default(),
            started: clock(),
        }
    }

    fn run(mut self, inbox: &Receiver<Incoming>) -> io::Result<()> {
        loop {
            match inbox.recv_timeout(self.wait()) {
                Ok(Incoming::FromClient(from, datagram)) => self.pass_up(from, datagram)?,
                Ok(Incoming::FromTarget(upstream, datagram)) => self.pass_down(upstream, datagram),
                Ok(Incoming::Command(line)) => say(&self.command(&line)?),
                Ok(Incoming::StdinEnded) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => self.forget_idle(),
            }
            self.deliver();
        }
    }

    fn pass_up(&mut self, from: SocketAddr, datagram: Vec<u8>) -> io::Result<()> {
        let now_us = self.now_us();
        if !self.clients.contains_key(&from) {
            if self.clients.len() >= CLIENTS_MAX {
                self.forget_idle();
            }
            if self.clients.len() >= CLIENTS_MAX {
                self.refused += 1;
                return Ok(());
            }
            let client = self.new_client()?;
            self.clients.insert(from, client);
        }
        if let Some(client) = self.clients.get_mut(&from) {
            client.last_used_us = now_us;
            match self.late.late_us(&datagram) {
                0 => client.up.send(now_us, datagram),
                late_us if client.late.hold(now_us + late_us, datagram) => self.held += 1,
                _ => self.refused += 1,
            }
        }
        Ok(())
    }

    fn pass_down(&mut self, upstream: UpstreamId, datagram: Vec<u8>) {
        let now_us = self.now_us();
        match self.clients.values_mut().find(|client| client.upstream.id == upstream) {
            Some(client) => {
                client.last_used_us = now_us;
                client.down.send(now_us, datagram);
            }
            None => self.stray += 1,
        }
    }

    /// Sends on what has arrived by now. Errors of a send are the network's: the datagram is lost, as on any line.
    fn deliver(&mut self) {
        let now_us = self.now_us();
        for (address, client) in &mut self.clients {
            while let Some(datagram) = client.late.poll(now_us) {
                client.up.send(now_us, datagram);
            }
            while let Some(datagram) = client.up.poll(now_us) {
                let _ = client.upstream.socket.send(&datagram);
            }
            while let Some(datagram) = client.down.poll(now_us) {
                let _ = self.socket.send_to(&datagram, address);
            }
        }
    }

    /// How long nothing has to be delivered.
    fn wait(&self) -> Duration {
        let due_us = self
            .clients
            .values()
            .flat_map(|client| [client.late.next_at(), client.up.next_at(), client.down.next_at()]);
        match due_us.flatten().min() {
            Some(due_us) => Duration::from_micros(due_us.saturating_sub(self.now_us())).min(CLIENT_IDLE),
            None => CLIENT_IDLE,
        }
    }

    /// Carries out one line from stdin and returns the answer, a line of JSON.
    fn command(&mut self, line: &str) -> io::Result<String> {
        let (name, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let lines = self.lines;
        let text = |error: ConfigError| error.to_string();
        let changed = match name {
            "up" => lines.up.with_text(rest).map(|up| Lines { up, ..lines }).map_err(text),
            "down" => lines.down.with_text(rest).map(|down| Lines { down, ..lines }).map_err(text),
            "block" | "unblock" => Ok(lines.blocked(name == "block")),
            "rebind" => {
                self.rebind()?;
                Ok(lines)
            }
            "late" => LateStreams::from_text(rest).map(|late| {
                self.late = late;
                lines
            }),
            "stats" => return Ok(self.stats()),
            _ => return Ok(format!("{{\"error\":\"no command {}\"}}", json_text(name))),
        };
        Ok(match changed {
            Ok(lines) => {
                self.set_lines(lines);
                format!("{{\"done\":\"{name}\"}}")
            }
            Err(error) => format!("{{\"error\":\"{}\"}}", json_text(&error)),
        })
    }

    fn set_lines(&mut self, lines: Lines) {
        let now_us = self.now_us();
        self.lines = lines;
        for client in self.clients.values_mut() {
            client.up.set_config(now_us, lines.up);
            client.down.set_config(now_us, lines.down);
        }
    }

    /// What is on its way up leaves from the new address; what the target still sends to the old one is lost.
    fn rebind(&mut self) -> io::Result<()> {
        let addresses: Vec<SocketAddr> = self.clients.keys().copied().collect();
        for address in addresses {
            let upstream = self.new_upstream()?;
            if let Some(client) = self.clients.get_mut(&address) {
                client.upstream = upstream;
            }
        }
        Ok(())
    }

    fn stats(&self) -> String {
        let (mut up, mut down) = self.gone;
        for client in self.clients.values() {
            add(&mut up, &client.up.stats());
            add(&mut down, &client.down.stats());
        }
        let upstream: Vec<String> = self
            .clients
            .values()
            .filter_map(|client| client.upstream.socket.local_addr().ok())
            .map(|address| format!("\"{address}\""))
            .collect();
        format!(
            "{{\"clients\":{},\"upstream\":[{}],\"refused\":{},\"stray\":{},\"held\":{},\"up\":{},\"down\":{}}}",
            self.clients.len(),
            upstream.join(","),
            self.refused,
            self.stray,
            self.held,
            json_stats(&up),
            json_stats(&down),
        )
    }

    fn forget_idle(&mut self) {
        let now_us = self.now_us();
        let (gone_up, gone_down) = &mut self.gone;
        self.clients.retain(|_, client| {
            let keep = Duration::from_micros(now_us - client.last_used_us) < CLIENT_IDLE;
            if !keep {
                add(gone_up, &client.up.stats());
                add(gone_down, &client.down.stats());
            }
            keep
        });
    }

    fn new_client(&mut self) -> io::Result<Client> {
        let upstream = self.new_upstream()?;
        let seed = self.seed.wrapping_add(self.clients_seen.wrapping_mul(2));
        self.clients_seen += 1;
        Ok(Client {
            late: Held::default(),
            up: Link::new(self.lines.up, seed),
            down: Link::new(self.lines.down, seed.wrapping_add(1)),
            upstream,
            last_used_us: self.now_us(),
        })
    }

    fn new_upstream(&mut self) -> io::Result<Upstream> {
        let any = match self.target {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(self.target)?;
        let id = UpstreamId(self.upstreams_seen);
        self.upstreams_seen += 1;
        let forgotten = Arc::new(AtomicBool::new(false));
        read_target(id, socket.try_clone()?, Arc::clone(&forgotten), self.inbox.clone())?;
        Ok(Upstream { id, socket, forgotten })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(clock().duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.forgotten.store(true, Ordering::Relaxed);
    }
}

impl Lines {
    const fn blocked(self, blocked: bool) -> Self {
        Self { up: self.up.blocked(blocked), down: self.down.blocked(blocked) }
    }
}

impl Options {
    /// `None` when help was asked for.
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut target = None;
        let mut listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut seed = 0;
        let mut lines = Lines { up: LinkConfig::default(), down: LinkConfig::default() };
        while let Some(name) = args.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let wrong = |error: &dyn std::fmt::Display| format!("{name} {value}: {error}");
            match name.as_str() {
                "--listen" => listen = value.parse().map_err(|error| wrong(&error))?,
                "--target" => target = Some(value.parse().map_err(|error| wrong(&error))?),
                "--seed" => seed = value.parse().map_err(|error| wrong(&error))?,
                "--up" => lines.up = value.parse().map_err(|error| wrong(&error))?,
                "--down" => lines.down = value.parse().map_err(|error| wrong(&error))?,
                _ => return Err(format!("no option {name}")),
            }
        }
        let target = target.ok_or("--target is missing")?;
        Ok(Some(Self { listen, target, seed, lines }))
    }
}

fn read_clients(socket: UdpSocket, inbox: SyncSender<Incoming>) {
    thread::spawn(move || {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    if inbox.send(Incoming::FromClient(from, buffer[..len].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    });
}

fn read_target(
    id: UpstreamId,
    socket: UdpSocket,
    forgotten: Arc<AtomicBool>,
    inbox: SyncSender<Incoming>,
) -> io::Result<()> {
    socket.set_read_timeout(Some(READER_CHECK))?;
    thread::spawn(move || {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while !forgotten.load(Ordering::Relaxed) {
            match socket.recv(&mut buffer) {
                Ok(len) => {
                    if inbox.send(Incoming::FromTarget(id, buffer[..len].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    });
    Ok(())
}

fn read_commands(inbox: SyncSender<Incoming>) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && inbox.send(Incoming::Command(line)).is_err() {
                return;
            }
        }
        let _ = inbox.send(Incoming::StdinEnded);
    });
}

/// A receive may fail for what an earlier send met (ICMP), or for its timeout; the socket goes on.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

fn add(sum: &mut LinkStats, part: &LinkStats) {
    sum.sent += part.sent;
    sum.lost += part.lost;
    sum.queue_dropped += part.queue_dropped;
    sum.duplicated += part.duplicated;
    sum.reordered += part.reordered;
    sum.delivered += part.delivered;
    sum.delivered_bytes += part.delivered_bytes;
}

fn json_stats(stats: &LinkStats) -> String {
    let LinkStats { sent, lost, queue_dropped, duplicated, reordered, delivered, delivered_bytes } = stats;
    format!(
        "{{\"sent\":{sent},\"lost\":{lost},\"queueDropped\":{queue_dropped},\"duplicated\":{duplicated},\
         \"reordered\":{reordered},\"delivered\":{delivered},\"deliveredBytes\":{delivered_bytes}}}"
    )
}

/// The inside of a JSON string: what would need an escape is left out, which no valid command has.
fn json_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect()
}

/// One line on stdout; whoever listened may have gone, then the relay ends with stdin soon.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

#[expect(clippy::disallowed_methods, reason = "the relay stands between programs that keep their own time")]
fn clock() -> Instant {
    Instant::now()
}
