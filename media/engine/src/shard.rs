//! A shard: one thread that owns one socket and one [`Sfu`], and turns one into the other.
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
    Command, DtlsEvent, DtlsMessage, Event, Input, MediaGate, NtpTime, Output, PeerId, Sfu, Time, WallClock,
};

use crate::counters::{ShardCounters, TurnCounters};
use crate::dtls::{AssociationKey, DtlsBusy, DtlsReply, DtlsReplySink, DtlsRequest, DtlsWorkers};
use crate::socket::{RECEIVE_BATCH, ReceiveBatch, ShardSocket};
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
    socket: ShardSocket,
    batch: ReceiveBatch,
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
        socket: ShardSocket,
        queues: ShardQueues,
        clock: ShardClock,
        dtls: DtlsOutlet,
        sink: Arc<dyn EventSink>,
        published: Arc<Mutex<ShardCounters>>,
    ) -> Self {
        Self {
            sfu,
            socket,
            batch: ReceiveBatch::new(),
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
        if ready.waker {
            self.queues.waker.acknowledge();
        }
        if ready.waker || self.more_queued {
            self.take_queued(now);
        }
        if self.sfu.poll_timeout().is_some_and(|at| at <= now) {
            self.sfu.handle_input(Input::Timeout, now);
        }
        self.outlets.retry_forgets();
        self.outlets.drain(&mut self.sfu, &mut self.socket, &mut self.turns);
        self.is_published = false;
        if now.since(self.published_at) >= PUBLISH_INTERVAL {
            self.publish(now);
        }
    }

    /// Sleeps until there is something to do; not at all where the socket is known to have more.
    fn wait(&mut self) -> Ready {
        if self.more_datagrams {
            return Ready { socket: true, waker: self.queues.waker.is_woken() };
        }
        let timeout = self.sleep_time();
        sleep(self.socket.as_fd(), &self.queues.waker, timeout).unwrap_or_else(|_| {
            // Not even ENOMEM is expected of two descriptors; look at everything and go on.
            self.turns.sleep_errors += 1;
            Ready { socket: true, waker: true }
        })
    }

    /// How long there is nothing to do unless somebody comes; `None` is for ever.
    fn sleep_time(&self) -> Option<Duration> {
        if self.more_queued {
            return Some(Duration::ZERO);
        }
        let timer = self.sfu.poll_timeout().map(|at| at.since(self.clock.now()));
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
            let taken = self.socket.receive(&mut self.batch);
            for (from, bytes) in self.batch.datagrams() {
                self.sfu.handle_input(Input::Datagram { from, bytes }, now);
                if self.sfu.wants_flush() {
                    self.turns.early_flushes += 1;
                    self.outlets.drain(&mut self.sfu, &mut self.socket, &mut self.turns);
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
            self.outlets.drain(&mut self.sfu, &mut self.socket, &mut self.turns);
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
        ShardCounters { turns: self.turns, socket: *self.socket.counters(), core: *self.sfu.counters() }
    }
}

impl Outlets {
    /// Takes every output of `sfu` to where it goes.
    fn drain(&mut self, sfu: &mut Sfu, socket: &mut ShardSocket, turns: &mut TurnCounters) {
        while let Some(output) = sfu.poll_output() {
            match output {
                Output::Transmits(transmits) => {
                    socket.send(transmits.map(|transmit| (transmit.to, transmit.packets())));
                }
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
