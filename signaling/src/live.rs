//! The live session: takes what sockets, engine, store and clock say, and decides what each is told.
//!
//! One change of state at a time: [`Output::Commit`] must be answered by [`LiveSession::committed`] before the next
//! input. What gives somebody something (a join, an admission) is committed first and done then; what takes something
//! away is done first, then committed, and tried again until the store has it.

mod arrive;
mod contact;
mod engine;
mod message;
mod outcome;
mod quality;
mod roster;
#[cfg(test)]
mod tests;
mod text;
mod thread;
mod tiers;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, Command, Connection, Context, Event, Ladder, ParticipantId, Presence, Rejection, Standing, Tier,
    TierReason, VirtualSession,
};

use crate::media::{MediaCommand, MediaEvent, PeerId, QualityStep};
use crate::member::{ConnectionId, Member, MemberId};
use crate::resume::{FreshSecret, ResumeKey, ResumeKeys};
use crate::wire::{ClientMessage, ErrorCode, Frame, FrameError, RequestId, ServerMessage};
use outcome::{Pending, Then};
pub use quality::EarlierStep;
use quality::Timeline;
pub(crate) use roster::Roster;
use text::Asking;
pub use text::{ReadId, TEXT_WAIT, TextAsk, TextCall, TextError, TextReply, Words};
use thread::Thread;
pub use thread::{KeepError, NewLine, THREAD_LINES_MAX, ThreadLine};

/// Times a change is decided anew because somebody else changed the session meanwhile.
const CONFLICTS_MAX: u32 = 3;
/// How soon what the store did not take is tried again.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// Seats for people in a first offer.
const PEOPLE_FIRST_MAX: u16 = 3;
/// And in any: an offer must fit in a message, and nobody looks at more.
const PEOPLE_MAX: u16 = 48;
/// Messages no client that does as it should would send; after so many its socket is closed.
pub const VIOLATIONS_MAX: u32 = 10;

/// What happens to a session.
#[derive(Debug)]
pub enum Input {
    /// Somebody said `hello`, with a ticket that was good, or a secret that may be.
    Hello {
        /// On which socket.
        connection: ConnectionId,
        /// Who.
        participant: ParticipantId,
        /// What they showed.
        entry: Entry,
        /// The secret they come back with next time.
        fresh: FreshSecret,
        /// The number of the `hello`.
        request: Option<RequestId>,
    },
    /// A socket said something after `hello`.
    Frame {
        /// Which socket.
        connection: ConnectionId,
        /// What.
        frame: Result<Frame, FrameError>,
    },
    /// A socket is gone.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// It was closed from there; if not, nothing was heard on it.
        hung_up: bool,
    },
    /// The engine reports something.
    Media(MediaEvent),
    /// The queue of the provider's desk is another.
    Queue {
        /// The patient's place in it, from 1.
        position: Option<u32>,
        /// Whether somebody sees to those who wait in it.
        attended: bool,
    },
    /// Somebody asks for a change by another way than a socket.
    Command {
        /// Names the answer.
        call: CallId,
        /// What.
        command: Command,
        /// Who asks.
        actor: Actor,
        /// The version they saw. At another one nothing is done; not given, it does not matter.
        expected: Option<u64>,
    },
    /// Somebody asks something of the thread by another way than a socket.
    Text {
        /// Names the answer.
        call: TextCall,
        /// Who.
        participant: ParticipantId,
        /// The resume secret they show.
        key: ResumeKey,
        /// What.
        ask: TextAsk,
    },
    /// The answer to [`Output::ReadThread`].
    ThreadRead {
        /// Which.
        read: ReadId,
        /// In order; none if the store does not answer.
        lines: Option<Vec<ThreadLine>>,
    },
    /// How connections were in earlier lives: what [`Output::Measured`] had kept, oldest first. Once, whenever it is read:
    /// nothing waits for it, and what was measured in this life is known already.
    Earlier(Vec<EarlierStep>),
    /// [`LiveSession::poll_timeout`] is reached.
    Timeout,
}

/// What somebody shows at `hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A ticket that was good: the bare link.
    Ticket {
        /// The token epoch it was given for.
        epoch: u32,
        /// Somebody of the staff signed in and took it: that is who they say.
        vouched: bool,
    },
    /// A resume secret.
    Resume {
        /// Its hash.
        key: ResumeKey,
        /// Of what they heard; none if they kept nothing of it.
        incarnation: Option<String>,
        /// The number of the last message they heard.
        last_seq: u64,
    },
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Send.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// Its number.
        seq: u64,
        /// What.
        message: Arc<ServerMessage>,
    },
    /// Close, after what was sent. The socket is forgotten here already.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// Tell the engine.
    Media(MediaCommand),
    /// Write, and say how it went by [`LiveSession::committed`] before anything else.
    Commit(Box<Commit>),
    /// The answer to [`Input::Command`].
    Answered {
        /// Which.
        call: CallId,
        /// The version the session has by it, or why nothing was done.
        result: Result<u64, CallError>,
    },
    /// The patient waits for their provider, as said; `None` when they do not.
    Queue(Option<Waits>),
    /// Keep what secrets of somebody are good. Written or not, nothing waits for it.
    KeepResume(ParticipantId, ResumeKeys),
    /// Keep a line of the thread, and say how it went by [`LiveSession::kept`] before anything else.
    Keep(Box<NewLine>),
    /// Read the lines after a position, a page of them, and say what they are by [`Input::ThreadRead`].
    ReadThread {
        /// Names the answer.
        read: ReadId,
        /// The position.
        after: u64,
    },
    /// The answer to [`Input::Text`].
    TextAnswered {
        /// Which.
        call: TextCall,
        /// What came of it.
        result: Result<TextReply, TextError>,
    },
    /// Keep what was measured of somebody's connection over a step, and when that ended, if it can be: nothing waits for it.
    Measured(ParticipantId, Timestamp, Box<QualityStep>),
    /// Somebody's line is used for something else. It is so already.
    TierChanged(ParticipantId, Tier),
}

/// A patient who waits, as the desk shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Who.
    pub participant: ParticipantId,
    /// How they are called.
    pub name: String,
    /// Since when: it is their place in the queue, and a reload does not take it from them.
    pub since: Timestamp,
    /// Whether they are there at this moment.
    pub connected: bool,
    /// They came before, and this may be another device.
    pub new_device: bool,
    /// Whether a provider is in the session already.
    pub provider_present: bool,
}

/// How much a session holds of what comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Devices, with or without a socket.
    pub members: usize,
    /// Messages kept for them.
    pub messages: usize,
    /// Requests the engine has not answered.
    pub requests: usize,
    /// Lines of chat.
    pub lines: usize,
    /// Revocations that are not written yet.
    pub retries: usize,
}

/// A change of state to be written in one transaction.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The version it was decided on.
    pub before: u64,
    /// The state after it.
    pub after: VirtualSession,
    /// What happened. If nothing did, nothing of the session is different, and only [`Self::resume`] is to be written.
    pub events: Vec<Event>,
    /// The secrets that are good from now on, of these.
    pub resume: Vec<(ParticipantId, ResumeKeys)>,
    /// Who did it.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
    /// When time alone changes `after`, in view of who is connected.
    pub next_deadline: Option<Timestamp>,
    /// The call it carries out, if it is one: what its caller wants written beside it belongs to the transaction.
    pub call: Option<CallId>,
}

/// Why a change was not written.
#[derive(Debug)]
pub enum CommitError {
    /// Somebody else wrote meanwhile; this is what is there now.
    Conflict(Box<Loaded>),
    /// The store does not answer, or could not write.
    Unavailable,
}

/// A session as it is stored.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its state.
    pub session: VirtualSession,
    /// How its participants are called.
    pub profiles: BTreeMap<ParticipantId, Profile>,
}

/// What is known of a participant beside the session's state: people's names are in no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How they are called.
    pub display_name: String,
}

/// Names a call by [`Input::Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Why a call changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The domain does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The session is not what the caller saw.
    #[error("the session is at version {current} by now")]
    Stale {
        /// What it is.
        current: u64,
    },
    /// The store did not take it; try again.
    #[error("the store does not answer")]
    Unavailable,
}

/// Why a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// They left, were not let in, or the session is over; they were told so.
    Over,
    /// The same participant came in elsewhere.
    Superseded,
    /// They may not come in; they were told why.
    NotLetIn,
    /// The server cannot let them in now; they were told.
    TryAgain,
    /// They did too much of what is not theirs to do; they were told each time.
    Violations,
}

/// One live session.
#[derive(Debug)]
pub struct LiveSession {
    /// When it became live.
    began: Timestamp,
    session: VirtualSession,
    profiles: BTreeMap<ParticipantId, Profile>,
    presence: Presence,
    /// In the order of coming.
    members: Vec<Member>,
    resume: BTreeMap<ParticipantId, ResumeKeys>,
    /// What the lines are used for of those who are in, once something was seen of them.
    tiers: BTreeMap<ParticipantId, Ladder>,
    /// Whose tier changed last, and why.
    changed_last: Option<(ParticipantId, TierReason)>,
    /// What is on record of writing is not looked at before.
    fallback_rests_until: Option<Timestamp>,
    thread: Thread,
    /// Those who read and write without a socket.
    asking: Asking,
    /// Who spoke last.
    speaker: Option<PeerId>,
    /// How the connections were.
    timelines: BTreeMap<ParticipantId, Timeline>,
    /// Whose peers were removed and may be measured once more.
    departed: BTreeMap<PeerId, ParticipantId>,
    position: Option<u32>,
    desk_attended: bool,
    queued: Option<Waits>,
    /// Who was to be seen when somebody looked last.
    roster: Roster,
    room_is_open: bool,
    numbers: Numbers,
    pending: Option<Pending>,
    retries: Vec<Retry>,
    /// The timers wait until then: the store did not take what they decided.
    timers_rest_until: Option<Timestamp>,
    outputs: VecDeque<Output>,
}

/// A revocation that is done, but not written yet.
#[derive(Debug)]
struct Retry {
    at: Timestamp,
    command: Command,
    actor: Actor,
    then: Then,
    takes: Takes,
}

/// Whom a revocation takes something from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    One(ParticipantId),
    Everybody,
}

/// Gives peers numbers that no other session gives, and devices such as no other life of this session gives.
#[derive(Debug)]
struct Numbers {
    room: u32,
    life: u64,
    peers: u32,
    members: u64,
}

impl Numbers {
    fn peer(&mut self) -> PeerId {
        self.peers += 1;
        PeerId(u64::from(self.room) << 32 | u64::from(self.peers))
    }

    fn member(&mut self) -> MemberId {
        self.members += 1;
        MemberId(self.members)
    }

    fn incarnation(&self, member: MemberId) -> String {
        format!("{:x}.{}", self.life, member.0)
    }
}

// --- getters and polls -------------------------------------------------------------------------------------------

impl LiveSession {
    /// Takes over a session. Those who had joined are lost until they say `hello` again.
    ///
    /// `room` is a number that no other live session of this process ever has; `life` one that no session anywhere had.
    #[must_use]
    pub fn new(now: Timestamp, loaded: Loaded, room: u32, life: u64) -> Self {
        let Loaded { session, profiles } = loaded;
        let presence = Presence::after_restart(&session, now);
        Self {
            began: now,
            session,
            profiles,
            presence,
            members: Vec::new(),
            resume: BTreeMap::new(),
            tiers: BTreeMap::new(),
            changed_last: None,
            fallback_rests_until: None,
            thread: Thread::default(),
            asking: Asking::default(),
            speaker: None,
            timelines: BTreeMap::new(),
            departed: BTreeMap::new(),
            position: None,
            desk_attended: false,
            queued: None,
            roster: Roster::default(),
            room_is_open: false,
            numbers: Numbers { room, life, peers: 0, members: 0 },
            pending: None,
            retries: Vec::new(),
            timers_rest_until: None,
            outputs: VecDeque::new(),
        }
    }

    /// Goes on with what was said before, in order: the last of what was kept in an earlier life.
    #[must_use]
    pub fn with_thread(mut self, kept: Vec<ThreadLine>) -> Self {
        self.thread = Thread::after(kept);
        self
    }

    /// Lets those come back who hold a secret of an earlier life: [`Commit::resume`] of it, the latest of each.
    #[must_use]
    pub fn with_resume(mut self, keys: BTreeMap<ParticipantId, ResumeKeys>) -> Self {
        self.resume = keys;
        self
    }

    /// The state, as committed.
    #[must_use]
    pub const fn session(&self) -> &VirtualSession {
        &self.session
    }

    /// How much it holds.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            members: self.members.len(),
            messages: self.members.iter().map(|member| member.log.len()).sum(),
            requests: self.members.iter().map(|member| member.requests.count()).sum(),
            lines: self.thread.len(),
            retries: self.retries.len(),
        }
    }

    /// Whether anybody is connected, or waited for with all they had.
    #[must_use]
    pub fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether the session is over and nothing is left to be written.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.session.status().is_final() && self.pending.is_none() && self.retries.is_empty()
    }

    /// Whether the engine may still tell of somebody's last seconds whose peer is removed. Nothing has to wait for it.
    #[must_use]
    pub fn awaits_measures(&self) -> bool {
        !self.departed.is_empty()
    }

    /// The next thing to be done. Drain it after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let retry = self.retries.iter().map(|retry| retry.at).min();
        let timer = self.session.next_deadline(&self.presence);
        let timer = timer.map(|due| self.timers_rest_until.map_or(due, |rest| rest.max(due)));
        let forgotten = self.members.iter().filter_map(|member| self.forgotten_at(member)).min();
        let (writing, asking) = (self.fallback_due_at(), self.text_timeout());
        [retry, timer, forgotten, self.ladders_due_at(), writing, asking].into_iter().flatten().min()
    }
}

// --- inputs ------------------------------------------------------------------------------------------------------

impl LiveSession {
    /// Takes in what happens.
    ///
    /// # Panics
    ///
    /// If a commit has not been answered: inputs would be decided on a state that is about to change.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        assert!(self.pending.is_none(), "a commit is under way");
        let life_sign = sign_of_life(&input);
        let mut is_measure = matches!(input, Input::Media(MediaEvent::Measured { .. }) | Input::Earlier(_));
        match input {
            Input::Hello { connection, participant, entry, fresh, request } => {
                self.hello(now, arrive::Greeting { connection, participant, fresh, request }, entry);
            }
            Input::Frame { connection, frame } => self.frame(now, connection, frame),
            Input::Closed { connection, hung_up } => self.closed(connection, hung_up),
            // Once a second for everybody, and hardly ever news.
            Input::Media(MediaEvent::Line { peer, seen }) => is_measure = !self.line_seen(now, peer, &seen),
            Input::Media(event) => self.media_event(now, event),
            Input::Queue { position, attended } => {
                self.position = position;
                self.desk_attended = attended;
            }
            Input::Command { call, command, actor, expected } => {
                self.decide(now, command, actor, Then::Answer { call, expected });
            }
            Input::Text { call, participant, key, ask } => self.text(now, call, participant, (key, ask)),
            Input::ThreadRead { read, lines } => self.thread_read(read, lines),
            Input::Earlier(steps) => self.measured_earlier(&steps),
            Input::Timeout => self.timeout(now),
        }
        // Nobody is to be told of what was measured, nor of a sign of life, unless it was one too many.
        let is_news = !is_measure && life_sign.is_none_or(|connection| self.index_of(connection).is_none());
        if is_news && self.pending.is_none() {
            self.refresh(now);
        }
    }

    /// Takes the state from the store: somebody else changed it. If they ended the session, everybody is told.
    pub fn reload(&mut self, now: Timestamp, loaded: Loaded) {
        let people: Vec<(ParticipantId, bool)> = self
            .members
            .iter()
            .filter(|member| !member.is_newcomer())
            .map(|member| (member.participant, self.is_in(member.participant)))
            .collect();
        self.session = loaded.session;
        self.profiles = loaded.profiles;
        for (participant, was_in) in people {
            let record = self.session.participant(participant);
            let standing = record.map(|record| record.standing);
            match (was_in, self.is_in(participant)) {
                _ if !record.is_some_and(vestibule_domain::Participant::inside) => {
                    self.let_go(participant, standing == Some(Standing::Removed));
                }
                (false, true) => self.let_in(participant),
                _ => {}
            }
        }
        // Those who are out and had no device here are not waited for either.
        for record in self.session.participants().iter().filter(|record| !record.inside()) {
            self.presence.set(record.id, Connection::Absent);
        }
        if let Some(reason) = self.session.end_reason() {
            self.say_goodbye_to_all(now, reason);
        }
        self.turn_away_newcomers();
        self.close_gates();
    }

    /// Whether a participant is known here. If not, they may be new in the store.
    #[must_use]
    pub fn knows(&self, participant: ParticipantId) -> bool {
        self.session.participant(participant).is_some()
    }

    /// Somebody new is called something: their name was written with the command that invited them.
    pub fn name(&mut self, participant: ParticipantId, profile: Profile) {
        self.profiles.insert(participant, profile);
    }

    /// Ends what the session has in the engine, when its owner lets go of it.
    pub fn close_room(&mut self) {
        if std::mem::take(&mut self.room_is_open) {
            (0..self.members.len()).for_each(|index| self.note_departed(index));
            self.media(MediaCommand::CloseRoom);
        }
    }

    fn timeout(&mut self, now: Timestamp) {
        let is_due = |member: &Member| self.forgotten_at(member).is_some_and(|due| due <= now);
        if let Some(index) = self.members.iter().position(is_due) {
            self.drop_member(index);
            return;
        }
        if let Some(index) = self.retries.iter().position(|retry| retry.at <= now) {
            let Retry { command, actor, then, .. } = self.retries.remove(index);
            self.decide(now, command, actor, then);
            return;
        }
        if self.ladder_timeout(now) {
            return;
        }
        if self.session.next_deadline(&self.presence).is_some_and(|due| due <= now) {
            self.decide(now, Command::Tick, Actor::Timer, Then::Nothing);
        }
    }
}

/// The socket of a message that says that somebody is there, and nothing else.
fn sign_of_life(input: &Input) -> Option<ConnectionId> {
    match input {
        Input::Frame { connection, frame: Ok(Frame { message: ClientMessage::Ping { .. }, .. }) } => {
            Some(*connection)
        }
        _ => None,
    }
}

// --- small things ------------------------------------------------------------------------------------------------

impl LiveSession {
    fn context<'a>(presence: &'a Presence, actor: &'a Actor, now: Timestamp) -> Context<'a> {
        Context { now, actor, presence }
    }

    fn index_of(&self, connection: ConnectionId) -> Option<usize> {
        self.members.iter().position(|member| member.connection == Some(connection))
    }

    fn index_of_member(&self, id: MemberId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }

    fn index_of_peer(&self, peer: PeerId) -> Option<usize> {
        self.members.iter().position(|member| member.peer == peer)
    }

    /// Of somebody's device that waits or is in.
    fn index_of_first(&self, participant: ParticipantId) -> Option<usize> {
        self.members.iter().position(|member| member.participant == participant && !member.is_newcomer())
    }

    fn index_of_newcomer(&self, participant: ParticipantId) -> Option<usize> {
        self.members.iter().position(|member| member.participant == participant && member.is_newcomer())
    }

    /// Whether somebody may have media, names and chat. What was taken from them is so before it is written.
    fn is_in(&self, participant: ParticipantId) -> bool {
        self.is_admitted(participant) && !self.is_being_taken_out(participant)
    }

    /// Whether somebody was let in and has not gone since, as it is written; lost or not.
    fn is_admitted(&self, participant: ParticipantId) -> bool {
        let record = self.session.participant(participant);
        record.is_some_and(|record| record.standing == Standing::Admitted && record.inside())
    }

    /// Whether something was taken from somebody that is not written yet.
    fn is_being_taken_out(&self, participant: ParticipantId) -> bool {
        let taken = |retry: &Retry| retry.takes == Takes::Everybody || retry.takes == Takes::One(participant);
        self.retries.iter().any(taken)
    }

    /// Whether a device is that of somebody who is in, and no newcomer.
    fn is_inside(&self, member: &Member) -> bool {
        !member.is_newcomer() && self.is_in(member.participant)
    }

    fn members_inside(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| self.is_inside(member))
    }

    fn name_of(&self, participant: ParticipantId) -> String {
        self.profiles.get(&participant).map_or_else(String::new, |profile| profile.display_name.clone())
    }

    /// Forgets a device and its peer.
    fn drop_member(&mut self, index: usize) {
        self.note_departed(index);
        let member = self.members.remove(index);
        self.media(MediaCommand::RemovePeer(member.peer));
    }

    fn refuse_waiting(&mut self, member: MemberId, request: Option<RequestId>) {
        self.refuse(member, request, ErrorCode::NotAdmitted, "you are not let in yet".into());
    }

    /// Tells a device that nothing came of what it asked. Who goes on asking what is not theirs is cut off.
    fn refuse(&mut self, member: MemberId, reply_to: Option<RequestId>, code: ErrorCode, message: String) {
        let retryable = code.is_retryable();
        self.tell(member, ServerMessage::Error { code, message, retryable, reply_to });
        let Some(index) = self.index_of_member(member).filter(|_| code.is_violation()) else { return };
        self.members[index].violations += 1;
        if self.members[index].violations >= VIOLATIONS_MAX {
            self.detach(index, CloseReason::Violations);
        }
    }

    fn done(&mut self, member: MemberId, reply_to: Option<RequestId>) {
        self.tell(member, ServerMessage::Done { reply_to });
    }

    /// Tells a device something, now or when it comes back.
    fn tell(&mut self, member: MemberId, message: impl Into<Arc<ServerMessage>>) {
        let Some(index) = self.index_of_member(member) else { return };
        let member = &mut self.members[index];
        let (seq, message) = member.log.push(message);
        if let Some(connection) = member.connection {
            self.outputs.push_back(Output::Send { connection, seq, message });
        }
    }

    /// Says something on a socket that is no device's, or beside what is numbered.
    fn say(&mut self, connection: ConnectionId, seq: u64, message: ServerMessage) {
        self.outputs.push_back(Output::Send { connection, seq, message: Arc::new(message) });
    }

    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.outputs.push_back(Output::Close { connection, reason });
    }

    /// Closes a device's socket, if it has one; the device stays.
    fn detach(&mut self, index: usize, reason: CloseReason) {
        if let Some(connection) = self.members[index].connection.take() {
            self.close(connection, reason);
        }
    }

    fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }
}
