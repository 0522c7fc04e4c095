//! A shard: one thread that owns one socket, the connections to its port, and one [`Sfu`], and turns one into the other.
//!
//! Others reach it by two bounded queues and a wake. It decides nothing about media, waits for nobody, and reads the
//! clock once a batch. A turn takes what waits in the socket, some of what is queued, the timers that are due, and then
//! sends everything at once.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vestibule_media_core::bounds::PEERS_MAX;
use vestibule_media_core::{
    Command, DtlsEvent, DtlsMessage, Event, Input, MediaGate, NtpTime, Output, PeerId, Sfu, Time, Transmits,
    WallClock,
};

use crate::counters::{ShardCounters, TurnCounters};
use crate::dtls::{AssociationKey, DtlsBusy, DtlsReply, DtlsReplySink, DtlsRequest, DtlsWorkers};
use crate::socket::{RECEIVE_BATCH, ReceiveBatch, ShardSocket};
use crate::tcp::{Frames, Reading, TcpPaths};
use crate::wake::{Ready, Waker, sleep};
use crate::{EventSink, cores};

/// Commands waiting for one shard.
pub const COMMAND_QUEUE_MAX: usize = 1_024;
/// Places behind those that only commands may take that cut somebody off: a flood of offers must not keep a person in.
pub const REVOCATION_QUEUE_MAX: usize = 1_024;
/// Replies of DTLS workers waiting for one shard.
pub const DTLS_REPLY_QUEUE_MAX: usize = 1_024;
/// Batches taken from the socket in one turn before all that waits is sent.
const BATCHES_PER_TURN: usize = 8;
/// How long a turn goes on taking datagrams.
const TURN_MAX: Duration = Duration::from_millis(1);
/// Packets waiting to leave for which the socket is looked at once more.
const LOOK_AGAIN_PACKETS: usize = 8;
/// Commands taken in one turn: an offer may cost a millisecond, and packets wait meanwhile.
const COMMANDS_PER_TURN: usize = 16;
/// Replies of DTLS workers taken in one turn.
const DTLS_REPLIES_PER_TURN: usize = 64;
/// Associations a busy DTLS worker must still be told to drop: twice as many as a shard has peers.
const FORGETS_MAX: usize = 2 * PEERS_MAX;
/// How long a busy DTLS worker is left alone.
const DTLS_RETRY_INTERVAL: Duration = Duration::from_millis(2);
/// How old published counters may be: publishing takes a lock, and a turn may be a single packet.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// The way from a shard to the DTLS workers, and the way back.
pub(crate) struct DtlsOutlet {
    pub(crate) workers: Arc<DtlsWorkers>,
    pub(crate) replies: Arc<dyn DtlsReplySink>,
}

impl DtlsOutlet {
    /// Hands a request over; never waits.
    fn send(&self, peer: PeerId, request: DtlsRequest) -> Result<(), DtlsBusy> {
        self.workers.send(AssociationKey(peer.0), request, &self.replies)
    }
}

/// The clock of one shard: [`Time::ZERO`] is when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardClock {
    start: Instant,
}

impl ShardClock {
    /// A clock that starts now, and what the wall clock says at that moment.
    #[expect(clippy::disallowed_methods, reason = "the engine is where the core's time comes from")]
    pub(crate) fn start() -> (Self, WallClock) {
        let since_unix_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Self { start: Instant::now() }, WallClock::new(NtpTime::from_unix(since_unix_epoch)))
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }
}

/// How other threads reach a shard.
#[derive(Clone)]
pub(crate) struct ShardInbox {
    commands: SyncSender<Command>,
    waiting: Arc<AtomicUsize>,
    dtls: SyncSender<(PeerId, DtlsReply)>,
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
}

/// Why a command could not be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InboxError {
    Full,
    Gone,
}

impl ShardInbox {
    /// Queues a command; the shard sees it after [`Self::wake`].
    pub(crate) fn queue(&self, command: Command) -> Result<(), InboxError> {
        let places =
            if revokes(&command) { COMMAND_QUEUE_MAX + REVOCATION_QUEUE_MAX } else { COMMAND_QUEUE_MAX };
        // Counted before it is there, so that the shard never counts below zero.
        let result = if self.waiting.fetch_add(1, Ordering::Relaxed) < places {
            self.commands.try_send(command).map_err(|error| match error {
                TrySendError::Full(_) => InboxError::Full,
                TrySendError::Disconnected(_) => InboxError::Gone,
            })
        } else {
            Err(InboxError::Full)
        };
        if result.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        result
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Asks the shard to end after it has done what is queued.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake();
    }
}

const fn revokes(command: &Command) -> bool {
    matches!(
        command,
        Command::CloseRoom { .. }
            | Command::RemovePeer { .. }
            | Command::SetMediaGate { gate: MediaGate::Closed, .. }
            | Command::SetSeat { occupant: None, .. }
    )
}

impl DtlsReplySink for ShardInbox {
    fn reply(&self, association: AssociationKey, reply: DtlsReply) -> Result<(), DtlsReply> {
        let result = match self.dtls.try_send((PeerId(association.0), reply)) {
            Err(TrySendError::Full((_, reply))) => Err(reply),
            // Without a shard nobody waits for it.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        };
        self.waker.wake();
        result
    }
}

/// The shard's own ends of what [`ShardInbox`] holds.
pub(crate) struct ShardQueues {
    commands: Receiver<Command>,
    waiting: Arc<AtomicUsize>,
    dtls: Receiver<(PeerId, DtlsReply)>,
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
}

/// The queues of one shard.
pub(crate) fn queues() -> std::io::Result<(ShardInbox, ShardQueues)> {
    let (waker, stopping) = (Arc::new(Waker::new()?), Arc::new(AtomicBool::new(false)));
    let (command_sender, commands) = sync_channel(COMMAND_QUEUE_MAX + REVOCATION_QUEUE_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let (dtls_sender, dtls) = sync_channel(DTLS_REPLY_QUEUE_MAX);
    let inbox = ShardInbox {
        commands: command_sender,
        waiting: Arc::clone(&waiting),
        dtls: dtls_sender,
        waker: Arc::clone(&waker),
        stopping: Arc::clone(&stopping),
    };
    Ok((inbox, ShardQueues { commands, waiting, dtls, waker, stopping }))
}

/// One shard, before and on its thread.
pub(crate) struct Shard {
    sfu: Sfu,
    ways: Ways,
    batch: ReceiveBatch,
    frames: Frames,
    queues: ShardQueues,
    clock: ShardClock,
    outlets: Outlets,
    /// The last turn left something in a queue.
    more_queued: bool,
    /// The last turn left something in the socket.
    more_datagrams: bool,
    turns: TurnCounters,
    published: Arc<Mutex<ShardCounters>>,
    /// Nothing was counted since.
    is_published: bool,
    published_at: Time,
}

/// The ways packets come and go.
pub(crate) struct Ways {
    pub(crate) socket: ShardSocket,
    /// None where connections are not wanted.
    pub(crate) tcp: Option<TcpPaths>,
}

/// Where outputs go that are not packets.
struct Outlets {
    dtls: DtlsOutlet,
    /// Whose associations a busy worker must still be told to drop.
    forgets: VecDeque<PeerId>,
    sink: Arc<dyn EventSink>,
}

impl Shard {
    pub(crate) fn new(
        sfu: Sfu,
        ways: Ways,
        queues: ShardQueues,
        clock: ShardClock,
        dtls: DtlsOutlet,
        sink: Arc<dyn EventSink>,
        published: Arc<Mutex<ShardCounters>>,
    ) -> Self {
        Self {
            sfu,
            ways,
            batch: ReceiveBatch::new(),
            frames: Frames::new(),
            queues,
            clock,
            outlets: Outlets { dtls, forgets: VecDeque::new(), sink },
            more_queued: false,
            more_datagrams: false,
            turns: TurnCounters::default(),
            published,
            is_published: false,
            published_at: Time::ZERO,
        }
    }

    /// Turns until it is asked to stop; then does what is queued and ends. Pins itself to core `pin` first.
    pub(crate) fn run(mut self, pin: Option<usize>) {
        if let Some(core) = pin {
            // A machine that forbids it (a container's seccomp) runs unpinned, and its counters say so.
            self.turns.pinned = u64::from(cores::pin_to(core).is_ok());
        }
        while !self.queues.stopping.load(Ordering::Acquire) {
            self.turn();
        }
        self.last_turn();
    }

    fn turn(&mut self) {
        let ready = self.wait();
        let mut now = self.clock.now();
        self.turns.turns += 1;
        if ready.socket {
            now = self.take_datagrams(now);
        }
        if ready.connections {
            self.take_connections(now);
        }
        if ready.waker {
            self.queues.waker.acknowledge();
        }
        if ready.waker || self.more_queued {
            self.take_queued(now);
        }
        if self.sfu.poll_timeout().is_some_and(|at| at <= now) {
            self.sfu.handle_input(Input::Timeout, now);
        }
        if let Some(tcp) = &mut self.ways.tcp {
            tcp.sweep(now, |address| self.sfu.is_path(address));
        }
        self.outlets.retry_forgets();
        self.drain(now);
        while self.tell_of_connections(now) {
            self.drain(now);
        }
        self.is_published = false;
        if now.since(self.published_at) >= PUBLISH_INTERVAL {
            self.publish(now);
        }
    }

    /// Sleeps until there is something to do; not at all where the socket is known to have more.
    fn wait(&mut self) -> Ready {
        if self.more_datagrams {
            let connections = self.ways.tcp.is_some();
            return Ready { socket: true, connections, waker: self.queues.waker.is_woken() };
        }
        let timeout = self.sleep_time();
        let connections = self.ways.tcp.as_ref().map(TcpPaths::as_fd);
        sleep(self.ways.socket.as_fd(), connections, &self.queues.waker, timeout).unwrap_or_else(|_| {
            // Not even ENOMEM is expected of three descriptors; look at everything and go on.
            self.turns.sleep_errors += 1;
            Ready { socket: true, connections: true, waker: true }
        })
    }

    /// How long there is nothing to do unless somebody comes; `None` is for ever.
    fn sleep_time(&self) -> Option<Duration> {
        if self.more_queued {
            return Some(Duration::ZERO);
        }
        let sweep = self.ways.tcp.as_ref().and_then(TcpPaths::next_timeout);
        let timer = [self.sfu.poll_timeout(), sweep].into_iter().flatten().min();
        let timer = timer.map(|at| at.since(self.clock.now()));
        let retry = (!self.outlets.forgets.is_empty()).then_some(DTLS_RETRY_INTERVAL);
        let publish = (!self.is_published).then_some(PUBLISH_INTERVAL);
        [timer, retry, publish].into_iter().flatten().min()
    }

    /// Takes what waits in the socket, and what came while that was handled: the packets of a frame arrive one by one,
    /// and cost the least where they leave together. Gives the time of the last look.
    fn take_datagrams(&mut self, mut now: Time) -> Time {
        self.more_datagrams = false;
        let began = now;
        for batch in 1..=BATCHES_PER_TURN {
            let taken = self.ways.socket.receive(&mut self.batch);
            for (from, bytes) in self.batch.datagrams() {
                self.sfu.handle_input(Input::Datagram { from: from.into(), bytes }, now);
                if self.sfu.wants_flush() {
                    self.turns.early_flushes += 1;
                    self.outlets.drain(&mut self.sfu, &mut self.ways, &mut self.turns, now);
                }
            }
            self.more_datagrams = taken == RECEIVE_BATCH;
            // Where little is to be sent, little time has passed, and another look would cost more than it brings.
            let look_again = self.more_datagrams || (taken > 0 && self.sfu.waiting() >= LOOK_AGAIN_PACKETS);
            if !look_again || batch == BATCHES_PER_TURN {
                break;
            }
            now = self.clock.now();
            if now.since(began) >= TURN_MAX {
                break;
            }
        }
        now
    }

    /// Takes what waits in connections, a little of each.
    fn take_connections(&mut self, now: Time) {
        if let Some(tcp) = &mut self.ways.tcp {
            tcp.poll(now);
        }
        while let Some(reading) = self.ways.tcp.as_mut().and_then(|tcp| tcp.read_next(&mut self.frames)) {
            self.take_frames(reading, now);
        }
    }

    fn take_frames(&mut self, reading: Reading, now: Time) {
        let mut packets = 0;
        let ended = loop {
            match self.frames.next() {
                // RFC 4571 section 2: nothing, to be passed over.
                Ok(Some([])) => {}
                Ok(Some(bytes)) => {
                    packets += 1;
                    self.sfu.handle_input(Input::Datagram { from: reading.from(), bytes }, now);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            if self.sfu.wants_flush() {
                self.turns.early_flushes += 1;
                self.outlets.drain(&mut self.sfu, &mut self.ways, &mut self.turns, now);
            }
        };
        let Some(tcp) = &mut self.ways.tcp else { return };
        match ended {
            Ok(()) => tcp.read_done(reading, &self.frames, packets, self.sfu.is_path(reading.from())),
            Err(_) => tcp.read_failed(reading),
        }
    }

    /// Tells the core what is different about connections. True if something was.
    fn tell_of_connections(&mut self, now: Time) -> bool {
        let mut told = false;
        while let Some((address, change)) = self.ways.tcp.as_mut().and_then(TcpPaths::next_change) {
            self.sfu.handle_input(Input::Path { address, change }, now);
            told = true;
        }
        told
    }

    fn drain(&mut self, now: Time) {
        self.outlets.drain(&mut self.sfu, &mut self.ways, &mut self.turns, now);
    }

    fn take_queued(&mut self, now: Time) {
        self.more_queued = false;
        for taken in 1..=COMMANDS_PER_TURN {
            match self.queues.commands.try_recv() {
                Ok(command) => {
                    self.queues.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.sfu.handle_input(Input::Command(command), now);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            self.turns.commands += 1;
            self.more_queued |= taken == COMMANDS_PER_TURN;
        }
        for taken in 1..=DTLS_REPLIES_PER_TURN {
            match self.queues.dtls.try_recv() {
                Ok((peer, reply)) => self.sfu.handle_input(Input::Dtls { peer, event: event_of(reply) }, now),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            self.turns.dtls_replies += 1;
            self.more_queued |= taken == DTLS_REPLIES_PER_TURN;
        }
    }

    /// What was asked before the stop is still done: a room closed just now must not be left open for its peers.
    fn last_turn(&mut self) {
        let now = self.clock.now();
        self.queues.waker.acknowledge();
        for _ in 0..=(COMMAND_QUEUE_MAX + REVOCATION_QUEUE_MAX) / COMMANDS_PER_TURN {
            self.take_queued(now);
            self.drain(now);
            if !self.more_queued {
                break;
            }
        }
        self.outlets.retry_forgets();
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = self.counters();
    }

    /// Shows the counters to whoever asks, unless somebody is just reading them: a reader must not hold up packets.
    fn publish(&mut self, now: Time) {
        let counters = self.counters();
        if let Ok(mut published) = self.published.try_lock() {
            *published = counters;
            self.is_published = true;
            self.published_at = now;
        }
    }

    fn counters(&self) -> ShardCounters {
        let tcp = self.ways.tcp.as_ref();
        ShardCounters {
            turns: self.turns,
            socket: *self.ways.socket.counters(),
            connections: tcp.map_or(0, |tcp| tcp.len() as u64),
            tcp: tcp.map(|tcp| *tcp.counters()).unwrap_or_default(),
            core: *self.sfu.counters(),
        }
    }
}

impl Ways {
    fn send(&mut self, transmits: Transmits<'_>, now: Time) {
        if let Some(tcp) = self.tcp.as_mut().filter(|tcp| tcp.len() > 0) {
            for transmit in transmits.clone().filter(|transmit| transmit.to.is_tcp()) {
                tcp.send(transmit.to.socket(), transmit.packets(), now);
            }
        }
        let datagrams = transmits.filter(|transmit| !transmit.to.is_tcp());
        self.socket.send(datagrams.map(|transmit| (transmit.to.socket(), transmit.packets())));
    }
}

impl Outlets {
    /// Takes every output of `sfu` to where it goes.
    fn drain(&mut self, sfu: &mut Sfu, ways: &mut Ways, turns: &mut TurnCounters, now: Time) {
        while let Some(output) = sfu.poll_output() {
            match output {
                Output::Transmits(transmits) => ways.send(transmits, now),
                Output::Dtls { peer, message } => self.send_dtls(peer, message, turns),
                Output::Event(event) => self.emit(event),
            }
        }
    }

    fn emit(&self, event: Event) {
        self.sink.event(event);
    }

    fn send_dtls(&mut self, peer: PeerId, message: DtlsMessage, turns: &mut TurnCounters) {
        let request = request_of(message);
        let forgets = matches!(request, DtlsRequest::Forget);
        match self.dtls.send(peer, request) {
            Ok(()) => {}
            // Nobody would send it again, and the association would stay. No message of this peer follows it.
            Err(DtlsBusy) if forgets && self.forgets.len() < FORGETS_MAX => self.forgets.push_back(peer),
            // The peer repeats its flight.
            Err(DtlsBusy) => turns.dtls_dropped += 1,
        }
    }

    fn retry_forgets(&mut self) {
        while let Some(peer) = self.forgets.front() {
            if self.dtls.send(*peer, DtlsRequest::Forget).is_err() {
                return;
            }
            self.forgets.pop_front();
        }
    }
}

fn request_of(message: DtlsMessage) -> DtlsRequest {
    match message {
        DtlsMessage::ClientHello { datagram, profile } => DtlsRequest::ClientHello { datagram, profile },
        DtlsMessage::Datagram(datagram) => DtlsRequest::Datagram(datagram),
        DtlsMessage::Forget => DtlsRequest::Forget,
    }
}

fn event_of(reply: DtlsReply) -> DtlsEvent {
    match reply {
        DtlsReply::Transmit(datagram) => DtlsEvent::Transmit(datagram),
        DtlsReply::Established { keys, fingerprint } => DtlsEvent::Established { keys, fingerprint },
        // Why is for whoever runs the server, not for the peer; the workers' counters have it.
        DtlsReply::Failed(_) => DtlsEvent::Failed,
        DtlsReply::Closed => DtlsEvent::Closed,
    }
}
