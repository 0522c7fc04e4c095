//! The task that owns one live session: feeds the state machine and does what it says, in order.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout_at};
use vestibule_domain::{Actor, ParticipantId, SessionId, SessionStatus, TenantId, Tier, TierReason};
use vestibule_media_engine::EngineError;
use vestibule_signaling::wire::{ErrorCode, Frame, FrameError, RequestId, ServerMessage};
use vestibule_signaling::{
    CallError, CallId, CloseReason, Commit, CommitError, ConnectionId, EarlierStep, Entry, Input,
    LiveSession, Loaded, MediaCommand, MediaEvent, Output, Profile, QualityStep, ReadId, ResumeKey,
    ResumeKeys, TextAsk, TextCall, TextError, TextReply,
};

use super::desk::Place;
use super::thread::Keeper;
use super::{Call, Closing, Registry, Socket};
use crate::data_dir::fill_random;
use crate::store::{self, AuditEntry, Beside, KeptStep, StoreError};
use crate::{clock, resume, threads};

/// How long a session with nobody in it keeps its task. Timers of sessions without one are seen to by a sweep.
const IDLE: Duration = Duration::from_secs(60);
/// Messages after which the sockets go first: what many people hear at once must not look like many who do not read.
const MESSAGES_IN_ONE_GO: usize = 16;
/// How soon a command the engine must take is tried again when its queue is full.
const ENGINE_RETRY: Duration = Duration::from_millis(2);
/// How long a task that is done stays for what the engine tells of those it has just removed: moments, unless it is busy.
const LAST_MEASURES: Duration = Duration::from_millis(500);

/// What reaches the task.
pub(super) enum TaskInput {
    Hello {
        connection: ConnectionId,
        participant: ParticipantId,
        entry: Entry,
        request: Option<RequestId>,
        socket: Socket,
    },
    Frame {
        connection: ConnectionId,
        frame: Result<Frame, FrameError>,
    },
    Closed {
        connection: ConnectionId,
        hung_up: bool,
    },
    Command {
        call: Box<Call>,
        reply: Reply,
    },
    Text {
        participant: ParticipantId,
        key: ResumeKey,
        ask: TextAsk,
        reply: oneshot::Sender<Result<TextReply, TextError>>,
    },
}

type Reply = oneshot::Sender<Result<u64, CallError>>;

/// A call that is under way.
struct UnderWay {
    profiles: Vec<store::Profile>,
    beside: Beside,
    reply: Reply,
}

pub(super) struct Task {
    registry: Registry,
    session: SessionId,
    room: u32,
    inputs: mpsc::Receiver<TaskInput>,
    events: mpsc::Receiver<MediaEvent>,
    sockets: HashMap<ConnectionId, Socket>,
    /// Messages since the sockets had their turn.
    sent: usize,
    calls: HashMap<CallId, UnderWay>,
    /// What is asked of the thread without a socket.
    texts: HashMap<TextCall, oneshot::Sender<Result<TextReply, TextError>>>,
    last_call: u64,
    /// What came of doing what the session wanted, for it to hear once all of that is done.
    later: VecDeque<Input>,
    /// Keeps what is said in writing.
    keeper: Keeper,
}

impl Task {
    pub(super) fn new(
        registry: Registry,
        session: SessionId,
        room: u32,
        inputs: mpsc::Receiver<TaskInput>,
        events: mpsc::Receiver<MediaEvent>,
    ) -> Self {
        let (store, seal) = (registry.0.store.clone(), registry.0.seal.clone());
        Self {
            keeper: Keeper::new(session, store, seal),
            registry,
            session,
            room,
            inputs,
            events,
            sockets: HashMap::new(),
            sent: 0,
            calls: HashMap::new(),
            texts: HashMap::new(),
            last_call: 0,
            later: VecDeque::new(),
        }
    }

    /// Lives as long as the session is live.
    pub(super) async fn run(mut self) {
        let mut live = self.load().await;
        if let Some(live) = &mut live {
            let desk = (live.session().tenant(), live.session().provider_ref().clone());
            let mut place = self.registry.0.desks.join(desk, self.session);
            self.serve(live, &mut place).await;
            live.close_room();
            self.work(live, &place).await;
        }
        self.inputs.close();
        while let Some(input) = self.inputs.recv().await {
            Self::turn_away(input);
        }
        if let Some(live) = &mut live {
            self.hear_last_measures(live).await;
        }
        self.registry.0.timelines.over(self.session);
    }

    /// Keeps how the last seconds were of those who were there until the end: they are measured as their peers are removed.
    async fn hear_last_measures(&mut self, live: &mut LiveSession) {
        let end = Instant::now() + LAST_MEASURES;
        while live.awaits_measures() {
            let Ok(Some(event)) = timeout_at(end, self.events.recv()).await else { return };
            if !matches!(event, MediaEvent::Measured { .. }) {
                continue;
            }
            live.handle(clock::now(), Input::Media(event));
            while let Some(output) = live.poll_output() {
                if let Output::Measured(participant, until, step) = output {
                    self.measured(participant, until, &step);
                }
            }
        }
    }

    /// Tells who came too late, or to a session that cannot be had, to come again.
    fn turn_away(input: TaskInput) {
        match input {
            TaskInput::Hello { request, socket, .. } => {
                let code = ErrorCode::StoreUnavailable;
                let message = "the session cannot be had just now".into();
                let error =
                    ServerMessage::Error { code, message, retryable: code.is_retryable(), reply_to: request };
                // If they are gone already, nobody needs to know.
                let _ = socket.outbox.send(0, &error);
                let _ = socket.close.send(Closing::Told(CloseReason::TryAgain));
            }
            TaskInput::Command { reply, .. } => {
                let _ = reply.send(Err(CallError::Unavailable));
            }
            // Who asks sees that nothing was answered.
            TaskInput::Text { .. } | TaskInput::Frame { .. } | TaskInput::Closed { .. } => {}
        }
    }

    async fn load(&mut self) -> Option<LiveSession> {
        match self.read().await {
            Ok(live) => live,
            Err(error) => {
                tracing::error!(session = %self.session, %error, "a session could not be loaded");
                None
            }
        }
    }

    async fn read(&mut self) -> Result<Option<LiveSession>, StoreError> {
        let Some(stored) = self.registry.0.store.load_session(self.session).await? else { return Ok(None) };
        let thread = self.keeper.lines().await?;
        let keys = self.registry.0.store.resume_keys(self.session).await?;
        let live = LiveSession::new(clock::now(), to_live(stored), self.room, fresh_life());
        Ok(Some(live.with_thread(thread).with_resume(keys)))
    }

    async fn serve(&mut self, live: &mut LiveSession, place: &mut Place) {
        let mut idle_since = Instant::now();
        let registry = self.registry.clone();
        let stopped = registry.stopped();
        tokio::pin!(stopped);
        // Nobody waits for it; it is given up with the session.
        let mut earlier = JoinSet::new();
        earlier.spawn(read_earlier(registry.clone(), self.session));
        let mut queue = place.look();
        live.handle(clock::now(), queue_input(queue));
        self.work(live, place).await;
        loop {
            if live.has_members() || live.session().status() != SessionStatus::Scheduled {
                idle_since = Instant::now();
            }
            let idle = idle_since + IDLE;
            let due = live.poll_timeout().map_or(idle, |due| instant_of(due).min(idle));
            tokio::select! {
                biased;
                () = &mut stopped => return,
                Some(Ok(steps)) = earlier.join_next() => live.handle(clock::now(), Input::Earlier(steps)),
                Some(event) = self.events.recv() => live.handle(clock::now(), Input::Media(event)),
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(live, input).await,
                    None => return,
                },
                () = place.changed() => {
                    let now = place.look();
                    if std::mem::replace(&mut queue, now) != now {
                        live.handle(clock::now(), queue_input(now));
                    }
                }
                () = sleep_until(due) => live.handle(clock::now(), Input::Timeout),
            }
            self.work(live, place).await;
            if self.sent > MESSAGES_IN_ONE_GO {
                self.sent = 0;
                yield_now().await;
            }
            let done = live.is_over() || Instant::now() >= idle;
            if done && !live.has_members() && self.registry.retire(self.session, &self.inputs) {
                return;
            }
        }
    }

    async fn take(&mut self, live: &mut LiveSession, input: TaskInput) {
        let input = match input {
            TaskInput::Hello { connection, participant, entry, request, socket } => {
                self.sockets.insert(connection, socket);
                if !live.knows(participant) {
                    self.reload(live).await;
                }
                let fresh = resume::fresh(self.session, participant);
                Input::Hello { connection, participant, entry, fresh, request }
            }
            TaskInput::Frame { connection, frame } => Input::Frame { connection, frame },
            TaskInput::Closed { connection, hung_up } => {
                self.sockets.remove(&connection);
                Input::Closed { connection, hung_up }
            }
            TaskInput::Command { call, reply } => {
                let Call { command, actor, expected, profiles, beside } = *call;
                self.last_call += 1;
                let call = CallId(self.last_call);
                self.calls.insert(call, UnderWay { profiles, beside, reply });
                Input::Command { call, command, actor, expected }
            }
            TaskInput::Text { participant, key, ask, reply } => {
                self.last_call += 1;
                let call = TextCall(self.last_call);
                self.texts.insert(call, reply);
                Input::Text { call, participant, key, ask }
            }
        };
        live.handle(clock::now(), input);
    }

    /// Somebody was invited by another process.
    async fn reload(&self, live: &mut LiveSession) {
        match self.registry.0.store.load_session(self.session).await {
            Ok(Some(stored)) => live.reload(clock::now(), to_live(stored)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(session = %self.session, %error, "a session could not be loaded anew")
            }
        }
    }

    /// Does everything the session wants done, and tells it what came of that.
    async fn work(&mut self, live: &mut LiveSession, place: &Place) {
        loop {
            while let Some(output) = live.poll_output() {
                self.carry_out(live, place, output).await;
            }
            let Some(input) = self.later.pop_front() else { break };
            live.handle(clock::now(), input);
        }
        self.sockets.values_mut().for_each(|socket| socket.outbox.greeted());
        place.set_facts(live.session().scheduled_start(), live.provider_is_present());
    }

    async fn carry_out(&mut self, live: &mut LiveSession, place: &Place, output: Output) {
        match output {
            Output::Send { connection, seq, message } => self.send(connection, seq, &message),
            Output::Close { connection, reason } => self.close(connection, Closing::Told(reason)),
            Output::Media(command) => self.media(command).await,
            Output::Commit(commit) => {
                let result = self.write(&commit).await;
                if result.is_ok() {
                    self.name_invited(live, &commit);
                }
                let result = self.explain(result).await;
                live.committed(clock::now(), result);
            }
            Output::Answered { call, result } => {
                if let Some(call) = self.calls.remove(&call) {
                    // Nobody waits any more: then nobody needs to know.
                    let _ = call.reply.send(result);
                }
            }
            Output::Queue(waits) => place.set_waiting(waits),
            Output::KeepResume(participant, keys) => self.keep_resume(live, participant, keys).await,
            Output::Keep(line) => {
                let kept = self.keeper.keep(*line).await;
                live.kept(clock::now(), kept);
            }
            Output::ReadThread { read, after } => self.read_thread(read, after).await,
            Output::TextAnswered { call, result } => {
                if let Some(reply) = self.texts.remove(&call) {
                    // Nobody waits any more: then nobody needs to know.
                    let _ = reply.send(result);
                }
            }
            Output::Measured(participant, until, step) => self.measured(participant, until, &step),
            Output::TierChanged(participant, tier) => {
                self.tier_changed(live.session().tenant(), participant, tier);
            }
        }
    }

    async fn read_thread(&mut self, read: ReadId, after: u64) {
        let lines = self.keeper.lines_after(after).await;
        if let Err(error) = &lines {
            tracing::error!(session = %self.session, %error, "lines of a thread cannot be read");
        }
        self.later.push_back(Input::ThreadRead { read, lines: lines.ok() });
    }

    fn measured(&self, participant: ParticipantId, until: Timestamp, step: &QualityStep) {
        let shared = &self.registry.0;
        shared.measures.observe((self.session, participant), step);
        shared.timelines.keep(self.session, KeptStep::of(until, participant, step));
    }

    fn tier_changed(&self, tenant: TenantId, participant: ParticipantId, tier: Tier) {
        let shared = &self.registry.0;
        shared.measures.tier_changed(tier);
        shared.timelines.audit(tier_audit(tenant, self.session, participant, tier));
    }

    async fn write(&self, commit: &Commit) -> Result<(), StoreError> {
        let nothing = Beside::default();
        let call = commit.call.and_then(|call| self.calls.get(&call));
        let store_commit = store::Commit {
            before_version: commit.before,
            after: &commit.after,
            events: &commit.events,
            actor: &commit.actor,
            now: commit.at,
            next_deadline: commit.next_deadline,
            profiles: call.map_or(&[], |call| &call.profiles),
            resume: &commit.resume,
            hands_on: threads::hands_on(&commit.after, &commit.events),
            beside: call.map_or(&nothing, |call| &call.beside),
        };
        self.registry.0.store.commit(store_commit).await?;
        if !commit.events.is_empty() {
            self.registry.0.news.notify_one();
        }
        Ok(())
    }

    /// Keeps what secrets of somebody are good. If it cannot be kept, nobody is worse off than before.
    async fn keep_resume(&self, live: &LiveSession, participant: ParticipantId, keys: ResumeKeys) {
        let (actor, kept, beside) =
            (Actor::Participant(participant), [(participant, keys)], Beside::default());
        let written = self.registry.0.store.commit(store::Commit {
            before_version: live.session().version(),
            after: live.session(),
            events: &[],
            actor: &actor,
            now: clock::now(),
            next_deadline: None,
            profiles: &[],
            resume: &kept,
            hands_on: false,
            beside: &beside,
        });
        if let Err(error) = written.await {
            tracing::warn!(session = %self.session, %error, "what somebody comes back with was not written");
        }
    }

    fn name_invited(&self, live: &mut LiveSession, commit: &Commit) {
        let call = commit.call.and_then(|call| self.calls.get(&call));
        for profile in call.into_iter().flat_map(|call| &call.profiles) {
            live.name(profile.participant, to_live_profile(profile));
        }
    }

    async fn explain(&self, result: Result<(), StoreError>) -> Result<(), CommitError> {
        match result {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                match self.registry.0.store.load_session(self.session).await {
                    Ok(Some(stored)) => Err(CommitError::Conflict(Box::new(to_live(stored)))),
                    _ => Err(CommitError::Unavailable),
                }
            }
            Err(error) => {
                tracing::error!(session = %self.session, %error, "a change was not written");
                Err(CommitError::Unavailable)
            }
        }
    }

    fn send(&mut self, connection: ConnectionId, seq: u64, message: &ServerMessage) {
        let Some(socket) = self.sockets.get(&connection) else { return };
        self.sent += 1;
        if socket.outbox.send(seq, message).is_err() {
            tracing::info!(connection = connection.0, "a socket does not read and is closed");
            self.close(connection, Closing::SlowReader);
            self.later.push_back(Input::Closed { connection, hung_up: false });
        }
    }

    fn close(&mut self, connection: ConnectionId, why: Closing) {
        if let Some(socket) = self.sockets.remove(&connection) {
            // An error here means that the socket's task has ended already.
            let _ = socket.close.send(why);
        }
    }

    async fn media(&mut self, command: MediaCommand) {
        let engine = &self.registry.0.engine;
        let room = vestibule_media_core::RoomId(u64::from(self.room));
        let translated = match vestibule_media_bridge::command(self.room, command.clone()) {
            Ok(translated) => translated,
            Err(instead) => return self.later.push_back(Input::Media(instead)),
        };
        if command.is_request() {
            if engine.send(room, translated).is_err() {
                self.later.push_back(Input::Media(MediaEvent::Busy(command)));
            }
            return;
        }
        // What must be done is done late rather than not at all: a revocation above all.
        loop {
            match engine.send(room, translated.clone()) {
                Ok(()) => return,
                Err(EngineError::Busy) => tokio::time::sleep(ENGINE_RETRY).await,
                Err(error) => {
                    tracing::error!(room = self.room, %error, "the media engine refused a command");
                    return;
                }
            }
        }
    }
}

async fn read_earlier(registry: Registry, session: SessionId) -> Vec<EarlierStep> {
    registry.0.timelines.earlier(session).await
}

/// A change of what somebody's line is used for, in the words of the audit.
fn tier_audit(tenant: TenantId, session: SessionId, participant: ParticipantId, tier: Tier) -> AuditEntry {
    AuditEntry {
        tenant,
        at: tier.since,
        actor: match tier.reason {
            TierReason::Chosen => Actor::Participant(participant),
            _ => Actor::System,
        },
        action: format!("tier.{}.{}", tier.profile, tier.reason).into(),
        subject_kind: "participant",
        subject: participant.to_string(),
        session: Some(session.to_string()),
    }
}

/// What is stored, as a live session takes it.
fn to_live(stored: store::Loaded) -> Loaded {
    let profiles =
        stored.profiles.iter().map(|(participant, profile)| (*participant, to_live_profile(profile)));
    Loaded { profiles: profiles.collect(), session: stored.session }
}

fn to_live_profile(profile: &store::Profile) -> Profile {
    Profile { display_name: profile.display_name.as_str().to_owned() }
}

const fn queue_input((position, attended): (Option<u32>, bool)) -> Input {
    Input::Queue { position, attended }
}

/// A number that no life of any session had: what a client heard in another is not taken for this one's.
fn fresh_life() -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// Also when a bug ends the task: no gate may stay open behind it.
impl Drop for Task {
    fn drop(&mut self) {
        self.inputs.close();
        let shared = &self.registry.0;
        shared.sessions.remove_if(&self.session, |_, handle| handle.inputs.is_closed());
        shared.rooms.remove(&self.room);
        let room = vestibule_media_core::RoomId(u64::from(self.room));
        // An error says that the room is closed already, or was never opened.
        let _ = shared.engine.send(room, vestibule_media_core::Command::CloseRoom { room });
    }
}

/// The moment of the monotonic clock at which the wall clock will show `at`.
fn instant_of(at: Timestamp) -> Instant {
    let left = at.duration_since(clock::now());
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}
