//! The threads that DTLS associations live on. Shards hand datagrams over without waiting, and get answers
//! the same way.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use vestibule_media_core::bounds::PEERS_MAX;
use vestibule_media_core::sdp::Fingerprint;
use vestibule_media_core::srtp::{KeyingMaterial, SrtpProfile};

use super::{AssociationOutput, DtlsAcceptor, DtlsAssociation, DtlsError};

/// Datagrams waiting for one worker.
const DATAGRAMS_QUEUED_MAX: usize = 1_024;
/// Places of a worker's queue that only [`DtlsRequest::Forget`] may take, so that a flood of datagrams loses
/// none.
const FORGETS_QUEUED_MAX: usize = 4_096;
/// Associations of one worker.
const ASSOCIATIONS_MAX: usize = PEERS_MAX;
/// Answers kept for a shard whose queue is full: established, and closed right after it.
const UNSENT_MAX: usize = 2;
/// How soon such an answer is tried again.
const UNSENT_RETRY: Duration = Duration::from_millis(5);
/// How often it is tried before the shard is taken to be gone.
const UNSENT_TRIES_MAX: u32 = 2_000;
/// The longest sleep of a worker that has nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// Which association is meant. The engine makes one for each peer and never uses it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationKey(pub u64);

/// What a shard asks of a worker.
#[derive(Debug)]
pub enum DtlsRequest {
    /// A whole ClientHello; it starts the association if there is none yet.
    ClientHello {
        /// As the gate made it.
        datagram: Vec<u8>,
        /// The one profile to configure.
        profile: SrtpProfile,
    },
    /// Any later datagram; nothing happens if there is no association.
    Datagram(Vec<u8>),
    /// The peer is gone, and the association with it.
    Forget,
}

/// What a worker has for a shard.
#[derive(Debug)]
pub enum DtlsReply {
    /// A datagram for the peer.
    Transmit(Vec<u8>),
    /// The handshake is complete.
    Established {
        /// What SRTP is keyed with.
        keys: KeyingMaterial,
        /// The SHA-256 of the peer's certificate; the core compares it with the SDP.
        fingerprint: Fingerprint,
    },
    /// There will be no association.
    Failed(DtlsError),
    /// The peer has closed the association.
    Closed,
}

/// Where the answers for a shard go. It is called on the worker's thread and must not wait.
pub trait DtlsReplySink: Send + Sync {
    /// Takes an answer.
    ///
    /// # Errors
    /// Gives the answer back if there is no room for it. A datagram is then lost, as on the network;
    /// everything else is tried again.
    fn reply(&self, association: AssociationKey, reply: DtlsReply) -> Result<(), DtlsReply>;
}

/// The worker has no room for a request. A datagram may be dropped; [`DtlsRequest::Forget`] is to be tried
/// again.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the DTLS worker is busy")]
pub struct DtlsBusy;

/// What the workers have done, all together, since they started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DtlsWorkerCounters {
    /// Handshakes begun.
    pub started: u64,
    /// Handshakes completed.
    pub established: u64,
    /// Handshakes failed, timed out among them.
    pub failed: u64,
    /// Requests refused for want of room.
    pub refused: u64,
    /// Datagrams a shard had no room for.
    pub lost: u64,
    /// Associations that gave way to new ones.
    pub evicted: u64,
}

/// The worker threads.
#[derive(Debug)]
pub struct DtlsWorkers {
    queues: Vec<Queue>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Queue {
    jobs: SyncSender<Job>,
    depth: Arc<AtomicUsize>,
}

struct Job {
    key: AssociationKey,
    request: DtlsRequest,
    sink: Arc<dyn DtlsReplySink>,
}

#[derive(Debug, Default)]
struct Counters {
    started: AtomicU64,
    established: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    evicted: AtomicU64,
}

impl DtlsWorkers {
    /// Starts `threads` workers, one at least.
    ///
    /// # Errors
    /// What the operating system says if it gives no thread.
    pub fn start(threads: usize, acceptor: &Arc<dyn DtlsAcceptor>) -> std::io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let mut workers = Self { queues: Vec::new(), threads: Vec::new(), counters: Arc::clone(&counters) };
        for number in 0..threads.max(1) {
            let (jobs, queue) = sync_channel(DATAGRAMS_QUEUED_MAX + FORGETS_QUEUED_MAX);
            let depth = Arc::new(AtomicUsize::new(0));
            let worker = Worker::new(Arc::clone(acceptor), Arc::clone(&counters));
            let seen = Arc::clone(&depth);
            let thread = std::thread::Builder::new()
                .name(format!("dtls-{number}"))
                .spawn(move || run(worker, &queue, &seen))?;
            workers.queues.push(Queue { jobs, depth });
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Hands a request over without waiting. The answers go to `sink`, the same for all requests of a key.
    ///
    /// # Errors
    /// [`DtlsBusy`] if the worker's queue is full.
    pub fn send(
        &self,
        key: AssociationKey,
        request: DtlsRequest,
        sink: &Arc<dyn DtlsReplySink>,
    ) -> Result<(), DtlsBusy> {
        let queue = &self.queues[(key.0 % self.queues.len() as u64) as usize];
        let places = match request {
            DtlsRequest::Forget => DATAGRAMS_QUEUED_MAX + FORGETS_QUEUED_MAX,
            DtlsRequest::ClientHello { .. } | DtlsRequest::Datagram(_) => DATAGRAMS_QUEUED_MAX,
        };
        // Counted before it is sent, so that the worker never counts below zero.
        if queue.depth.fetch_add(1, Ordering::Relaxed) < places {
            match queue.jobs.try_send(Job { key, request, sink: Arc::clone(sink) }) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        queue.depth.fetch_sub(1, Ordering::Relaxed);
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        Err(DtlsBusy)
    }

    /// What the workers have done so far.
    #[must_use]
    pub fn counters(&self) -> DtlsWorkerCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { started, established, failed, refused, lost, evicted } = &*self.counters;
        DtlsWorkerCounters {
            started: read(started),
            established: read(established),
            failed: read(failed),
            refused: read(refused),
            lost: read(lost),
            evicted: read(evicted),
        }
    }

    /// Ends the threads once they have done what is queued, and waits for them.
    pub fn shutdown(self) {
        drop(self.queues);
        for thread in self.threads {
            // A worker that panicked has told so already, and has nothing to hand over.
            let _ = thread.join();
        }
    }
}

/// A worker's thread: until all senders are gone.
fn run(mut worker: Worker, queue: &Receiver<Job>, depth: &AtomicUsize) {
    loop {
        let wait = worker.next_deadline().map_or(IDLE, |at| at.saturating_duration_since(now()));
        match queue.recv_timeout(wait.min(IDLE)) {
            Ok(job) => {
                depth.fetch_sub(1, Ordering::Relaxed);
                worker.handle(job, now());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        worker.handle_timeouts(now());
    }
}

#[expect(clippy::disallowed_methods, reason = "the worker's loop is where its clock is read")]
fn now() -> Instant {
    Instant::now()
}

/// The associations of one thread; it reads no clock itself.
struct Worker {
    acceptor: Arc<dyn DtlsAcceptor>,
    counters: Arc<Counters>,
    associations: HashMap<AssociationKey, Entry>,
    deadlines: BTreeSet<(Instant, AssociationKey)>,
}

struct Entry {
    /// `None` once it is over and only its last answer is still to be taken.
    association: Option<Box<dyn DtlsAssociation>>,
    sink: Arc<dyn DtlsReplySink>,
    /// Where the entry stands in the deadlines.
    deadline: Option<Instant>,
    established: Option<Instant>,
    unsent: VecDeque<DtlsReply>,
    unsent_tries: u32,
}

impl Worker {
    fn new(acceptor: Arc<dyn DtlsAcceptor>, counters: Arc<Counters>) -> Self {
        Self { acceptor, counters, associations: HashMap::new(), deadlines: BTreeSet::new() }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    fn handle(&mut self, job: Job, now: Instant) {
        let Job { key, request, sink } = job;
        match request {
            DtlsRequest::ClientHello { datagram, profile } => {
                if !self.associations.contains_key(&key) {
                    self.start(key, profile, sink, now);
                }
                self.give(key, &datagram, now);
            }
            DtlsRequest::Datagram(datagram) => self.give(key, &datagram, now),
            DtlsRequest::Forget => self.forget(key),
        }
    }

    fn handle_timeouts(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            let Some(entry) = self.associations.get_mut(&key) else { continue };
            entry.deadline = None;
            if let Some(association) = &mut entry.association {
                association.handle_timeout(now);
            }
            self.settle(key, now);
        }
    }

    fn start(
        &mut self,
        key: AssociationKey,
        profile: SrtpProfile,
        sink: Arc<dyn DtlsReplySink>,
        now: Instant,
    ) {
        self.counters.started.fetch_add(1, Ordering::Relaxed);
        let accepted = match self.make_room() {
            true => self.acceptor.accept(profile, now),
            false => Err(DtlsError::TooManyAssociations),
        };
        match accepted {
            Ok(association) => {
                self.associations.insert(key, Entry::new(association, sink));
            }
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                // Lost if the shard has no room: its own timeout tells it the same.
                let _ = sink.reply(key, DtlsReply::Failed(error));
            }
        }
    }

    /// A complete handshake gives way, the oldest first: all it is kept for is to repeat its last flight, and
    /// to hear that the peer closed it.
    fn make_room(&mut self) -> bool {
        if self.associations.len() < ASSOCIATIONS_MAX {
            return true;
        }
        let complete = |(key, entry): (&AssociationKey, &Entry)| entry.established.map(|at| (at, *key));
        let Some((_, oldest)) = self.associations.iter().filter_map(complete).min() else { return false };
        self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        self.forget(oldest);
        true
    }

    fn give(&mut self, key: AssociationKey, datagram: &[u8], now: Instant) {
        if let Some(association) =
            self.associations.get_mut(&key).and_then(|entry| entry.association.as_mut())
        {
            association.handle_datagram(datagram, now);
            self.settle(key, now);
        }
    }

    fn forget(&mut self, key: AssociationKey) {
        if let Some(entry) = self.associations.remove(&key)
            && let Some(at) = entry.deadline
        {
            self.deadlines.remove(&(at, key));
        }
    }

    /// Hands the answers of an association on and puts its deadline right, or removes it.
    fn settle(&mut self, key: AssociationKey, now: Instant) {
        let Some(entry) = self.associations.get_mut(&key) else { return };
        entry.answer(key, now, &self.counters);
        if entry.is_over() {
            self.forget(key);
            return;
        }
        let deadline = entry.next_deadline(now);
        if deadline != entry.deadline {
            if let Some(at) = entry.deadline {
                self.deadlines.remove(&(at, key));
            }
            entry.deadline = deadline;
            self.deadlines.extend(deadline.map(|at| (at, key)));
        }
    }
}

impl Entry {
    fn new(association: Box<dyn DtlsAssociation>, sink: Arc<dyn DtlsReplySink>) -> Self {
        Self {
            association: Some(association),
            sink,
            deadline: None,
            established: None,
            unsent: VecDeque::new(),
            unsent_tries: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.unsent_tries > UNSENT_TRIES_MAX || (self.association.is_none() && self.unsent.is_empty())
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let retry = (!self.unsent.is_empty()).then(|| now + UNSENT_RETRY);
        let due = self.association.as_ref().and_then(|association| association.deadline());
        [retry, due].into_iter().flatten().min()
    }

    fn answer(&mut self, key: AssociationKey, now: Instant, counters: &Counters) {
        self.try_unsent(key);
        while let Some(output) = self.association.as_mut().and_then(|association| association.poll()) {
            match output {
                AssociationOutput::Transmit(datagram) => {
                    if self.sink.reply(key, DtlsReply::Transmit(datagram)).is_err() {
                        counters.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                AssociationOutput::Established { keys, fingerprint } => {
                    counters.established.fetch_add(1, Ordering::Relaxed);
                    self.established = Some(now);
                    self.answer_surely(key, DtlsReply::Established { keys, fingerprint });
                }
                AssociationOutput::Failed(error) => {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    self.association = None;
                    self.answer_surely(key, DtlsReply::Failed(error));
                }
                AssociationOutput::Closed => {
                    self.association = None;
                    self.answer_surely(key, DtlsReply::Closed);
                }
            }
        }
    }

    fn try_unsent(&mut self, key: AssociationKey) {
        while let Some(reply) = self.unsent.pop_front() {
            if let Err(reply) = self.sink.reply(key, reply) {
                self.unsent_tries += 1;
                self.unsent.push_front(reply);
                return;
            }
        }
    }

    /// Keeps an answer that there is no room for. Answers stay in order.
    fn answer_surely(&mut self, key: AssociationKey, reply: DtlsReply) {
        let refused = match self.unsent.is_empty() {
            true => self.sink.reply(key, reply).err(),
            false => Some(reply),
        };
        if let Some(reply) = refused
            && self.unsent.len() < UNSENT_MAX
        {
            self.unsent.push_back(reply);
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
