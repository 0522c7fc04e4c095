//! The thread: a tick every millisecond that does what is due and drains what has come.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::sync::oneshot;
use vestibule_media_core::sdp::IceParameters;

use super::ledger::SentRanges;
use super::socket::Batch;
use super::transport::{Context, Transport};
use super::wheel::Entry;
use super::{Connect, Keyed, PerKind, Receives, Sample, TransportId, WindowCounts};
use crate::clock;

const TICK_MICROS: u64 = 1_000;
/// Sockets told ready by one call.
const READY_MAX: usize = 1_024;

/// What a handle tells the thread.
pub(super) enum Command {
    Open(TransportId, UdpSocket, IceParameters, PerKind<u32>),
    Connect(TransportId, Box<Connect>),
    ConnectKeyed(TransportId, Box<Keyed>),
    Extend(TransportId, Receives),
    SetSending(TransportId, bool),
    Close(TransportId),
    RestartIce(TransportId, IceParameters, IceParameters),
    BeginWindow,
    EndWindow(oneshot::Sender<WindowCounts>),
    Sample(oneshot::Sender<Sample>),
}

/// Which slots are free, and how often each was used.
#[derive(Debug, Default)]
pub(super) struct Slots {
    free: Vec<u32>,
    generations: Vec<u32>,
}

impl Slots {
    pub(super) fn take(&mut self) -> TransportId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.generations.push(0);
            self.generations.len() as u32 - 1
        });
        TransportId { slot, generation: self.generations[slot as usize] }
    }

    pub(super) fn give_back(&mut self, id: TransportId) {
        self.generations[id.slot as usize] += 1;
        self.free.push(id.slot);
    }
}

/// Everything the thread has.
pub(super) struct Plane {
    cx: Context,
    epoll: Epoll,
    transports: Vec<Option<Box<Transport>>>,
    slots: Arc<Mutex<Slots>>,
    commands: Receiver<Command>,
    batch: Batch,
    due: Vec<Entry>,
    /// Who waits for the counts of a window that has ended.
    closing: Option<oneshot::Sender<WindowCounts>>,
}

impl Plane {
    pub(super) fn new(
        cx: Context,
        slots: Arc<Mutex<Slots>>,
        commands: Receiver<Command>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            cx,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            transports: Vec::new(),
            slots,
            commands,
            batch: Batch::new(),
            due: Vec::new(),
            closing: None,
        })
    }

    /// Runs until the last handle is gone.
    pub(super) fn run(mut self) {
        let mut tick_at = self.cx.clock.micros();
        loop {
            self.cx.clock.sleep_until(tick_at);
            self.cx.now = self.cx.clock.micros();
            // Each tick that was due counts: one long stall is many late ones.
            while tick_at <= self.cx.now {
                self.cx.tally.tick(self.cx.now - tick_at);
                tick_at += TICK_MICROS;
            }
            if !self.take_commands() {
                return;
            }
            self.timers();
            self.drain(tick_at);
            self.count_failures();
            if self.cx.tally.is_settled(self.cx.now)
                && let Some(reply) = self.closing.take()
            {
                self.close_window(reply);
            }
        }
    }

    fn take_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.command(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open(id, socket, ice, expected) => self.open(id, socket, ice, expected),
            Command::Connect(id, connect) => self.with(id, |transport, cx| transport.connect(*connect, cx)),
            Command::ConnectKeyed(id, keyed) => {
                self.with(id, |transport, cx| transport.connect_keyed(*keyed, cx));
            }
            Command::Extend(id, receives) => {
                self.with(id, |transport, _| transport.receiver.extend(&receives));
            }
            Command::SetSending(id, on) => self.with(id, |transport, cx| transport.set_sending(on, cx)),
            Command::RestartIce(id, local, remote) => {
                self.with(id, |transport, cx| transport.restart_ice(local, remote, cx));
            }
            Command::Close(id) => self.close(id),
            Command::BeginWindow => {
                if let Some(reply) = self.closing.take() {
                    self.close_window(reply);
                }
                self.cx.tally.begin_window(clock::wall_ns());
                let window = self.cx.tally.number();
                for transport in self.transports.iter_mut().flatten() {
                    transport.watch(window);
                }
            }
            Command::EndWindow(reply) => {
                self.cx.tally.end_window(clock::wall_ns());
                self.closing = Some(reply);
            }
            Command::Sample(reply) => {
                let connected =
                    self.transports.iter().flatten().filter(|transport| transport.is_connected()).count();
                // Who asked may have given up.
                let _ = reply.send(self.cx.tally.sample(clock::wall_ns(), connected));
            }
        }
    }

    fn open(&mut self, id: TransportId, socket: UdpSocket, ice: IceParameters, expected: PerKind<u32>) {
        let slot = id.slot as usize;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(id.slot));
        // Without it the transport hears nothing, finds no path, and says so.
        let _ = self.epoll.add(socket.as_fd(), event);
        if self.transports.len() <= slot {
            self.transports.resize_with(slot + 1, || None);
        }
        self.transports[slot] = Some(Box::new(Transport::new(id, socket, ice, expected)));
    }

    fn close(&mut self, id: TransportId) {
        let Some(place) = self.transports.get_mut(id.slot as usize) else { return };
        let Some(transport) = place.take_if(|transport| transport.id() == id) else { return };
        let window = self.cx.tally.number();
        for (kind, ledger) in transport.receiver.ledgers() {
            // Who left gets nothing more: what was sent after is no loss of theirs.
            self.cx.tally.closed(kind, ledger.loss(window, &SentRanges::default()));
        }
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).give_back(id);
    }

    fn with(&mut self, id: TransportId, act: impl FnOnce(&mut Transport, &mut Context)) {
        let place = self.transports.get_mut(id.slot as usize).and_then(Option::as_mut);
        if let Some(transport) = place.filter(|transport| transport.id() == id) {
            act(transport, &mut self.cx);
        }
    }

    fn timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        while self.cx.wheel.take(self.cx.now, &mut due) {
            for &(id, timer) in &due {
                self.with(id, |transport, cx| transport.timer(timer, cx));
            }
        }
        self.due = due;
    }

    /// Takes what waits at all sockets; more than fits into a tick is left for the next one.
    fn drain(&mut self, until: u64) {
        let mut ready = [EpollEvent::empty(); READY_MAX];
        loop {
            let Ok(count) = self.epoll.wait(&mut ready, EpollTimeout::ZERO) else { return };
            for event in &ready[..count] {
                let place = self.transports.get_mut(event.data() as usize).and_then(Option::as_mut);
                if let Some(transport) = place {
                    transport.drain(&mut self.batch, &mut self.cx);
                }
            }
            if count == 0 || self.cx.clock.micros() >= until {
                return;
            }
        }
    }

    fn count_failures(&mut self) {
        let failures = std::mem::take(&mut self.cx.burst.failures);
        if let Some(counts) = self.cx.tally.now() {
            counts.send_failures += failures;
        }
    }

    fn close_window(&mut self, reply: oneshot::Sender<WindowCounts>) {
        let window = self.cx.tally.number();
        let mut sent = SentRanges::default();
        let sends = self.transports.iter().flatten().flat_map(|transport| transport.sends());
        sent.extend(sends.filter_map(|send| send.sent_in(window)));
        let ledgers = self.transports.iter().flatten().flat_map(|transport| transport.receiver.ledgers());
        let losses = ledgers.map(|(kind, ledger)| (kind, ledger.loss(window, &sent)));
        let mut counts = self.cx.tally.close_window(losses);
        for transport in self.transports.iter().flatten() {
            counts.starved += transport.starved(window);
        }
        // Who asked may have given up.
        let _ = reply.send(counts);
    }
}
