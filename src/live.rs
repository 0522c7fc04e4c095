//! The sessions that are live: one task owns each, and this is how sockets, the API and the engine reach it.

mod desk;
mod outbox;
mod task;
mod thread;
mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use vestibule_domain::{Actor, Command, ParticipantId, SessionId};
use vestibule_media_core::Event;
use vestibule_media_engine::{Engine, EventSink};
use vestibule_signaling::wire::{Frame, FrameError, RequestId};
use vestibule_signaling::{
    CallError, CloseReason, ConnectionId, Entry, ResumeKey, TextAsk, TextError, TextReply,
};

use crate::metrics;
use crate::metrics::Measures;
use crate::seal::Seal;
use crate::store::{Beside, Profile, Store, StoreError};
use desk::Desks;
pub(crate) use desk::{Desk, Seen, Waiting, Watch};
pub(crate) use outbox::{Outbox, Outgoing};
use task::{Task, TaskInput};
pub(crate) use thread::{Keeper, described};
use timeline::Timelines;

/// Inputs of sockets and calls waiting for a session's task; more, and they wait.
const INPUTS_MAX: usize = 256;
/// Events of the engine waiting for a session's task; more are lost, and logged.
const EVENTS_MAX: usize = 1_024;

/// The live sessions.
#[derive(Clone)]
pub(crate) struct Registry(Arc<Shared>);

struct Shared {
    store: Store,
    /// Seals what is said in writing.
    seal: Seal,
    engine: Arc<Engine>,
    /// Keep how the connections were.
    timelines: Timelines,
    /// What of that is counted over all.
    measures: Measures,
    sessions: DashMap<SessionId, Handle>,
    /// By the number a session gives its room and peers.
    rooms: Arc<Rooms>,
    desks: Desks,
    last_room: AtomicU32,
    last_connection: AtomicU64,
    stopping: watch::Sender<bool>,
    /// Told of each change that was written: others may have to be told of it.
    news: Arc<Notify>,
}

/// Where events of the engine go: a session's room number is the upper half of its peers' ids.
type Rooms = DashMap<u32, mpsc::Sender<vestibule_signaling::MediaEvent>>;

/// The way to one session's task.
#[derive(Clone)]
struct Handle {
    inputs: mpsc::Sender<TaskInput>,
}

/// A socket that has been let in to a session's task.
pub(crate) struct Seated {
    pub(crate) voice: Voice,
    pub(crate) outbox: Outbox,
    /// Fires when the session is done with the socket, though the outbox may still hold messages.
    pub(crate) closing: oneshot::Receiver<Closing>,
}

/// A socket's way to its session's task.
pub(crate) struct Voice {
    connection: ConnectionId,
    handle: Handle,
}

/// Why a session is done with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It was told all.
    Told(CloseReason),
    /// It does not read.
    SlowReader,
}

/// What somebody asks for who is on no socket.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) actor: Actor,
    /// The version they saw; at another one nothing is done.
    pub(crate) expected: Option<u64>,
    /// How those are called whom the command invites.
    pub(crate) profiles: Vec<Profile>,
    /// What is written with the change, and not without it.
    pub(crate) beside: Beside,
}

impl Call {
    /// A command and nothing beside it.
    pub(crate) fn plain(command: Command, actor: Actor) -> Self {
        Self { command, actor, expected: None, profiles: Vec::new(), beside: Beside::default() }
    }
}

/// The session's task cannot be had: the store does not answer, there is no such session, or the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session cannot be reached")]
pub(crate) struct Unreachable;

impl Registry {
    /// Nothing is live yet. `events` is where the engine's events go; `news` is told of each change.
    pub(crate) fn new(
        (store, seal): (Store, Seal),
        engine: Arc<Engine>,
        events: &EngineEvents,
        news: Arc<Notify>,
    ) -> Self {
        Self(Arc::new(Shared {
            timelines: Timelines::start(store.clone()),
            measures: Measures::default(),
            store,
            seal,
            engine,
            sessions: DashMap::new(),
            rooms: events.rooms(),
            desks: Desks::default(),
            last_room: AtomicU32::new(0),
            last_connection: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            news,
        }))
    }

    /// Lets all sockets go: the server stops.
    pub(crate) fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Ready when [`Self::stop`] is called.
    pub(crate) async fn stopped(&self) {
        // An error would mean that the registry is gone, which is the same.
        let _ = self.0.stopping.subscribe().wait_for(|&stopping| stopping).await;
    }

    /// Ready when what was measured so far is written, or cannot be.
    pub(crate) async fn write_timelines(&self) {
        self.0.timelines.write().await;
    }

    /// What an operator's monitoring is to see.
    pub(crate) fn metrics(&self) -> String {
        let shared = &self.0;
        let sessions = shared.sessions.len();
        metrics::text(&shared.engine, sessions, shared.timelines.lost(), &shared.measures)
    }

    /// Who waits at a desk, from now on. `attends`: whoever looks may let people in, and those who wait are told so.
    pub(crate) fn watch(&self, desk: Desk, attends: bool) -> Watch {
        self.0.desks.watch(desk, attends)
    }

    /// Whether a resume secret may be good. A session that is live says so itself: it may know more than the store. No other
    /// is woken for one that is wrong.
    pub(crate) async fn may_resume(
        &self,
        session: SessionId,
        participant: ParticipantId,
        key: ResumeKey,
    ) -> Result<bool, StoreError> {
        if self.0.sessions.contains_key(&session) {
            return Ok(true);
        }
        let keys = self.0.store.resume_keys(session).await?;
        Ok(keys.get(&participant).is_some_and(|keys| keys.accept(key)))
    }

    /// Brings somebody with a good ticket, or with a resume secret, to their session.
    pub(crate) async fn hello(
        &self,
        session: SessionId,
        participant: ParticipantId,
        entry: Entry,
        request: Option<RequestId>,
    ) -> Result<Seated, Unreachable> {
        let connection = ConnectionId(self.0.last_connection.fetch_add(1, Ordering::Relaxed) + 1);
        let (outbox, messages) = outbox::outbox();
        let (close, closing) = oneshot::channel();
        let socket = Socket { outbox, close };
        let input = TaskInput::Hello { connection, participant, entry, request, socket };
        let handle = self.send(session, input).await?;
        Ok(Seated { voice: Voice { connection, handle }, outbox: messages, closing })
    }

    /// Has a command decided and written, by the session's own task; the version the session has by it.
    pub(crate) async fn command(
        &self,
        session: SessionId,
        call: Call,
    ) -> Result<Result<u64, CallError>, Unreachable> {
        let (reply, answer) = oneshot::channel();
        self.send(session, TaskInput::Command { call: Box::new(call), reply }).await?;
        answer.await.map_err(|_| Unreachable)
    }

    /// Asks something of a session's thread, for who is on no socket.
    pub(crate) async fn text(
        &self,
        session: SessionId,
        (participant, key): (ParticipantId, ResumeKey),
        ask: TextAsk,
    ) -> Result<Result<TextReply, TextError>, Unreachable> {
        let (reply, answer) = oneshot::channel();
        self.send(session, TaskInput::Text { participant, key, ask, reply }).await?;
        answer.await.map_err(|_| Unreachable)
    }

    /// Sees to it that a session has a task, for its timers.
    pub(crate) fn wake(&self, session: SessionId) {
        drop(self.handle(session));
    }

    async fn send(&self, session: SessionId, mut input: TaskInput) -> Result<Handle, Unreachable> {
        // A task that has just ended is found dead once; a second time the server is stopping.
        for _ in 0..2 {
            let handle = self.handle(session);
            match handle.inputs.send(input).await {
                Ok(()) => return Ok(handle),
                Err(mpsc::error::SendError(back)) => input = back,
            }
            self.0.sessions.remove_if(&session, |_, found| found.inputs.is_closed());
        }
        Err(Unreachable)
    }

    fn handle(&self, session: SessionId) -> Handle {
        self.0.sessions.entry(session).or_insert_with(|| self.spawn(session)).clone()
    }

    fn spawn(&self, session: SessionId) -> Handle {
        let room = self.0.last_room.fetch_add(1, Ordering::Relaxed) + 1;
        let (inputs, queue) = mpsc::channel(INPUTS_MAX);
        let (events, engine_events) = mpsc::channel(EVENTS_MAX);
        self.0.rooms.insert(room, events);
        let task = Task::new(self.clone(), session, room, queue, engine_events);
        tokio::spawn(task.run());
        Handle { inputs }
    }

    /// Takes a session out, unless somebody is on the way to it.
    fn retire(&self, session: SessionId, queue: &mpsc::Receiver<TaskInput>) -> bool {
        self.0.sessions.remove_if(&session, |_, _| queue.is_empty()).is_some()
    }
}

impl Voice {
    /// Hands on what the socket said; false when the session is done with it.
    pub(crate) async fn say(&self, frame: Result<Frame, FrameError>) -> bool {
        let input = TaskInput::Frame { connection: self.connection, frame };
        self.handle.inputs.send(input).await.is_ok()
    }

    /// Says that the socket is gone: closed from there, or nothing was heard on it.
    pub(crate) async fn gone(&self, hung_up: bool) {
        // A session that has ended does not need to know.
        let _ = self.handle.inputs.send(TaskInput::Closed { connection: self.connection, hung_up }).await;
    }
}

/// A session's way to one socket.
pub(crate) struct Socket {
    outbox: outbox::Sender,
    close: oneshot::Sender<Closing>,
}

/// Hands the engine's events to the sessions they are about.
#[derive(Clone, Default)]
pub(crate) struct EngineEvents(Arc<Rooms>);

impl EngineEvents {
    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        Arc::clone(&self.0)
    }
}

impl EventSink for EngineEvents {
    fn event(&self, event: Event) {
        hand_over(&self.0, event);
    }
}

/// What whoever runs the server reads of transports.
fn log(event: &Event) {
    match event {
        Event::PathChanged { peer } => tracing::info!(peer = peer.0, "path changed"),
        Event::Connected { peer, profile } => tracing::info!(peer = peer.0, ?profile, "connected"),
        Event::Disconnected { peer, reason } => tracing::info!(peer = peer.0, ?reason, "disconnected"),
        Event::Refused { peer, error } => {
            tracing::warn!(peer = peer.map(|peer| peer.0), %error, "the SFU refused a command");
        }
        _ => {}
    }
}

/// Where the engine's events are handed over. Called on media threads: it never waits.
pub(crate) fn hand_over(rooms: &Rooms, event: Event) {
    log(&event);
    let Some((room, event)) = vestibule_media_bridge::translate(event) else { return };
    let Some(task) = rooms.get(&room) else { return };
    if let Err(mpsc::error::TrySendError::Full(_)) = task.try_send(event) {
        tracing::error!(room, "an event of the media engine was lost: the session does not keep up");
    }
}
