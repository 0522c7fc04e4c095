//! The lines between browsers, server, engine and desk. What is on one line arrives in order (TCP); the lines do not know
//! of each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use vestibule_signaling::wire::ServerMessage;
use vestibule_signaling::{CloseReason, MediaEvent};

use crate::trace::{Rng, Tab};

/// What a browser sends.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Text(String),
    /// The end: nothing comes after it.
    Closed,
}

/// What the server sends.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Message { seq: u64, message: Arc<ServerMessage> },
    Closed(Option<CloseReason>),
}

/// A socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) tab: Tab,
    /// The number of the page that opened it.
    pub(crate) page: u32,
    /// Who opened it was honest: what comes back is theirs to read.
    pub(crate) honest: bool,
    pub(crate) up: VecDeque<Up>,
    pub(crate) down: VecDeque<Down>,
    /// The browser still reads it.
    pub(crate) client_reads: bool,
    /// The server still reads it.
    pub(crate) server_reads: bool,
    /// The server heard a `hello` on it, and what came of that is not known to be no.
    pub(crate) said_hello: bool,
}

/// One way of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Up(u64),
    Down(u64),
    Engine,
    Desk,
    /// Not a way: a timer that is due, which comes when the server gets to it.
    Timer,
}

/// All that is on its way.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) sockets: BTreeMap<u64, Socket>,
    pub(crate) engine: VecDeque<MediaEvent>,
    pub(crate) desk: VecDeque<(Option<u32>, bool)>,
    frozen: BTreeSet<Way>,
    last_socket: u64,
}

impl Network {
    pub(crate) fn open(&mut self, tab: Tab, page: u32, honest: bool) -> u64 {
        self.last_socket += 1;
        self.sockets.insert(
            self.last_socket,
            Socket {
                tab,
                page,
                honest,
                up: VecDeque::new(),
                down: VecDeque::new(),
                client_reads: true,
                server_reads: true,
                said_hello: false,
            },
        );
        self.last_socket
    }

    /// The browser has lost a socket, and with it the last `lost` messages on their way to the server, which hears of it
    /// when the rest has arrived.
    pub(crate) fn drop_by_client(&mut self, socket: u64, lost: usize) {
        let Some(socket) = self.sockets.get_mut(&socket) else { return };
        if !std::mem::take(&mut socket.client_reads) {
            return;
        }
        socket.down.clear();
        let kept = socket.up.len().saturating_sub(lost);
        socket.up.truncate(kept);
        socket.up.push_back(Up::Closed);
    }

    /// The server reads a socket no more; the browser hears of it behind what was sent.
    pub(crate) fn close_by_server(&mut self, socket: u64, reason: Option<CloseReason>) {
        let Some(socket) = self.sockets.get_mut(&socket) else { return };
        if std::mem::take(&mut socket.server_reads) && socket.client_reads {
            socket.down.push_back(Down::Closed(reason));
        }
    }

    pub(crate) fn send(&mut self, socket: u64, seq: u64, message: Arc<ServerMessage>) {
        let Some(socket) = self.sockets.get_mut(&socket) else { return };
        if socket.client_reads && socket.server_reads {
            socket.down.push_back(Down::Message { seq, message });
        }
    }

    /// The ways something is on, in a fixed order.
    pub(crate) fn busy_ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        for (&number, socket) in &self.sockets {
            if !socket.up.is_empty() {
                ways.push(Way::Up(number));
            }
            if !socket.down.is_empty() {
                ways.push(Way::Down(number));
            }
        }
        if !self.engine.is_empty() {
            ways.push(Way::Engine);
        }
        if !self.desk.is_empty() {
            ways.push(Way::Desk);
        }
        ways.retain(|way| !self.frozen.contains(way));
        ways
    }

    pub(crate) fn freeze(&mut self, number: u8) {
        let mut ways = vec![Way::Engine, Way::Desk];
        ways.extend(
            self.sockets.keys().rev().take(7).flat_map(|&number| [Way::Up(number), Way::Down(number)]),
        );
        self.frozen.insert(ways[usize::from(number) % ways.len()]);
    }

    pub(crate) fn thaw(&mut self) {
        self.frozen.clear();
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.busy_ways().is_empty()
    }

    /// The server is killed: what it did not read is lost, and of what it sent all but the first `kept` messages.
    pub(crate) fn server_dies(&mut self, kept: usize) {
        self.engine.clear();
        self.desk.clear();
        for socket in self.sockets.values_mut() {
            socket.up.clear();
            if std::mem::take(&mut socket.server_reads) && socket.client_reads {
                socket.down.truncate(kept);
                socket.down.push_back(Down::Closed(None));
            }
        }
    }

    /// Forgets the sockets nobody holds any more.
    pub(crate) fn sweep(&mut self) {
        self.sockets.retain(|_, socket| {
            socket.client_reads || socket.server_reads || !socket.up.is_empty() || !socket.down.is_empty()
        });
    }
}

/// How much of what is on its way arrives after a step, and in which order.
#[derive(Debug)]
pub(crate) struct Weather {
    rng: Option<Rng>,
    left: usize,
}

impl Weather {
    pub(crate) fn of(network: u32) -> Self {
        if network == 0 {
            return Self { rng: None, left: usize::MAX };
        }
        let mut rng = Rng::new(network.into());
        let left = match rng.below(10) {
            0..5 => usize::MAX,
            5..8 => rng.below(4),
            _ => 0,
        };
        Self { rng: Some(rng), left }
    }

    /// The way that delivers next.
    pub(crate) fn next(&mut self, ways: &[Way]) -> Option<Way> {
        if self.left == 0 || ways.is_empty() {
            return None;
        }
        self.left -= 1;
        match &mut self.rng {
            None => Some(ways[0]),
            Some(rng) => Some(rng.pick(ways)),
        }
    }
}
