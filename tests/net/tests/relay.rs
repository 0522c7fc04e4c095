//! The relay as a program: real sockets, commands on stdin, answers on stdout.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Long enough for any machine: only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// What must not arrive is waited for so long; a slow machine makes the test weaker, never wrong.
const SILENCE: Duration = Duration::from_millis(100);

struct Relay {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Relay {
    fn start(target: SocketAddr, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule-relay"))
            .args(["--target", &target.to_string()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("{\"listen\":\"").and_then(|rest| rest.strip_suffix("\"}"));
        let address = address.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Self { child, stdin, stdout, address }
    }

    fn command(&mut self, command: &str) -> String {
        writeln!(self.stdin, "{command}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Asks for the stats until they hold `text`; datagrams and commands reach the relay by different ways.
    fn stats_with(&mut self, text: &str) -> String {
        for _ in 0..100_000 {
            let stats = self.command("stats");
            if stats.contains(text) {
                return stats;
            }
        }
        panic!("the relay never said {text}");
    }

    /// Closes stdin and waits for the end the relay comes to by itself.
    fn end(self) {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_048];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

fn assert_silent(socket: &UdpSocket) {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(socket.recv(&mut [0; 2_048]).is_err());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn each_client_is_seen_from_an_address_of_its_own_and_answered_at_its_own() {
    let target = socket();
    let relay = Relay::start(target.local_addr().unwrap(), &["--up", "delay_ms=5,jitter_ms=2"]);
    let (first, second) = (socket(), socket());
    first.send_to(b"one", relay.address).unwrap();
    let (datagram, first_seen) = receive(&target);
    assert_eq!(datagram, b"one");
    second.send_to(b"two", relay.address).unwrap();
    let (datagram, second_seen) = receive(&target);
    assert_eq!(datagram, b"two");
    assert_ne!(first_seen, second_seen);
    target.send_to(b"to one", first_seen).unwrap();
    target.send_to(b"to two", second_seen).unwrap();
    assert_eq!(receive(&first), (b"to one".to_vec(), relay.address));
    assert_eq!(receive(&second), (b"to two".to_vec(), relay.address));
    relay.end();
}

#[test]
fn a_rebound_client_appears_from_a_new_address_and_the_old_one_is_dead() {
    let target = socket();
    let mut relay = Relay::start(target.local_addr().unwrap(), &[]);
    let client = socket();
    client.send_to(b"before", relay.address).unwrap();
    let (_, before) = receive(&target);
    assert_eq!(relay.command("rebind"), "{\"done\":\"rebind\"}");
    client.send_to(b"after", relay.address).unwrap();
    let (datagram, after) = receive(&target);
    assert_eq!(datagram, b"after");
    assert_ne!(before, after);
    target.send_to(b"to the old", before).unwrap();
    target.send_to(b"to the new", after).unwrap();
    assert_eq!(receive(&client).0, b"to the new");
    assert_silent(&client);
    relay.end();
}

#[test]
fn a_blocked_relay_lets_nothing_through_until_unblocked() {
    let target = socket();
    let mut relay = Relay::start(target.local_addr().unwrap(), &[]);
    let client = socket();
    client.send_to(b"open", relay.address).unwrap();
    let (_, seen) = receive(&target);
    relay.command("block");
    client.send_to(b"up", relay.address).unwrap();
    target.send_to(b"down", seen).unwrap();
    relay.stats_with("\"up\":{\"sent\":2,\"lost\":1,");
    relay.stats_with("\"down\":{\"sent\":1,\"lost\":1,");
    relay.command("unblock");
    client.send_to(b"up again", relay.address).unwrap();
    assert_eq!(receive(&target).0, b"up again");
    assert_silent(&client);
    relay.end();
}

#[test]
fn what_the_links_lose_is_what_stats_tell() {
    let target = socket();
    let mut relay = Relay::start(target.local_addr().unwrap(), &["--seed", "7"]);
    let client = socket();
    assert_eq!(relay.command("up loss=0.5"), "{\"done\":\"up\"}");
    for number in 0..100_u8 {
        client.send_to(&[number], relay.address).unwrap();
    }
    relay.stats_with("\"up\":{\"sent\":100,");
    relay.command("up loss=0");
    client.send_to(&[255], relay.address).unwrap();
    let mut arrived = 0;
    while receive(&target).0 != [255] {
        arrived += 1;
    }
    let stats = relay.command("stats");
    assert!(stats.starts_with("{\"clients\":1,\"upstream\":[\"127.0.0.1:"), "{stats}");
    let expected = format!("\"up\":{{\"sent\":101,\"lost\":{},", 100 - arrived);
    assert!(stats.contains(&expected), "{stats} has no {expected}");
    assert!((20..=80).contains(&arrived), "{arrived}");
    relay.end();
}

#[test]
fn a_wrong_command_is_answered_and_changes_nothing() {
    let target = socket();
    let mut relay = Relay::start(target.local_addr().unwrap(), &[]);
    assert_eq!(relay.command("up loss=2"), "{\"error\":\"`2` is no value for `loss`\"}");
    assert_eq!(relay.command("jump \"high\""), "{\"error\":\"no command jump\"}");
    let client = socket();
    client.send_to(b"still here", relay.address).unwrap();
    assert_eq!(receive(&target).0, b"still here");
    relay.end();
}

/// A datagram of RTP, or of RTCP, that a stream sends.
fn sent_by(ssrc: u32, rtcp: bool) -> Vec<u8> {
    let header: &[u8] = if rtcp { &[0x80, 200, 0, 6] } else { &[0x80, 96, 0, 1, 0, 0, 0, 2] };
    [header, &ssrc.to_be_bytes()].concat()
}

#[test]
fn what_a_late_stream_sends_is_overtaken_by_everything_else() {
    let target = socket();
    let mut relay = Relay::start(target.local_addr().unwrap(), &[]);
    let client = socket();
    assert_eq!(relay.command("late 200 7 4294967295"), "{\"done\":\"late\"}");
    let late = [sent_by(7, false), sent_by(7, true), sent_by(u32::MAX, false)];
    let others = [sent_by(8, false), sent_by(8, true), b"short".to_vec(), vec![0; 20]];
    for datagram in late.iter().chain(&others) {
        client.send_to(datagram, relay.address).unwrap();
    }
    let arrived: Vec<Vec<u8>> = (0..7).map(|_| receive(&target).0).collect();
    assert_eq!(arrived, [&others[..], &late[..]].concat());
    assert_eq!(relay.command("late"), "{\"done\":\"late\"}");
    client.send_to(&late[0], relay.address).unwrap();
    assert_eq!(receive(&target).0, late[0]);
    relay.end();
}

#[test]
fn a_stream_is_late_by_what_was_said() {
    let target = socket();
    let mut relay = Relay::start(target.local_addr().unwrap(), &[]);
    let client = socket();
    relay.command("late 10000 7");
    client.send_to(&sent_by(7, false), relay.address).unwrap();
    client.send_to(b"on time", relay.address).unwrap();
    assert_eq!(receive(&target).0, b"on time");
    relay.stats_with("\"held\":1,");
    assert_silent(&target);
    relay.end();
}

#[test]
fn wrong_words_about_late_streams_change_nothing() {
    let target = socket();
    let mut relay = Relay::start(target.local_addr().unwrap(), &[]);
    assert_eq!(relay.command("late soon 7"), "{\"error\":\"`soon` is no number that fits\"}");
    assert_eq!(relay.command("late 5 -1"), "{\"error\":\"`-1` is no number that fits\"}");
    assert_eq!(relay.command("late 10001 7"), "{\"error\":\"at most 10000 ms and 32 streams\"}");
    let client = socket();
    client.send_to(&sent_by(7, false), relay.address).unwrap();
    assert_eq!(receive(&target).0, sent_by(7, false));
    relay.end();
}
