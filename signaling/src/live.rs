//! The live session: takes what sockets, engine, store and clock say, and decides what each is told.
//!
//! One change of state at a time: [`Output::Commit`] must be answered by [`LiveSession::committed`] before the next
//! input. What gives somebody something (a join, an admission) is committed first and done then; what takes something
//! away is done first, then committed, and tried again until the store has it.

mod outcome;
#[cfg(test)]
mod tests;
mod thread;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, Command, Connection, Context, Event, ParticipantId, Presence, Rejection, Standing, VirtualSession,
};

use crate::media::{MediaCommand, MediaEvent, PeerId, SeatId, SourceKind};
use crate::member::{ConnectionId, Member, REQUESTS_UNDER_WAY_MAX};
use crate::seating::{self, Seat};
use crate::wire::{
    CHAT_CHARACTERS_MAX, CLIENT_ID_CHARACTERS_MAX, ChatLine, ClientMessage, ErrorCode, Frame, FrameError,
    RequestId, SeatMids, ServerMessage, SlotWish,
};
use outcome::Then;
use thread::Thread;
pub use thread::{THREAD_LINES_MAX, ThreadLine};

/// Times a change is decided anew because somebody else changed the session meanwhile.
const CONFLICTS_MAX: u32 = 3;
/// How soon what the store did not take is tried again.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// Characters of a rid (RFC 8851).
const RID_CHARACTERS_MAX: usize = 16;
/// Seats for people in a first offer.
const PEOPLE_FIRST_MAX: u16 = 3;

/// What happens to a session.
#[derive(Debug)]
pub enum Input {
    /// Somebody said `hello`, and their ticket was good.
    Hello {
        /// On which socket.
        connection: ConnectionId,
        /// Who.
        participant: ParticipantId,
        /// The token epoch the ticket was given for.
        epoch: u32,
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
    },
    /// The engine reports something.
    Media(MediaEvent),
    /// The patient's place in the queue of the provider is another.
    Position(Option<u32>),
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
    /// [`LiveSession::poll_timeout`] is reached.
    Timeout,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Send.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// What.
        message: Box<ServerMessage>,
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
    /// Since when the patient waits for their provider; `None` when they do not.
    Queue(Option<Timestamp>),
    /// Keep a line of the thread. Those it is for were told it already: nothing has to be said of how it went.
    Said(Box<ThreadLine>),
}

/// A change of state to be written in one transaction.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The version it was decided on.
    pub before: u64,
    /// The state after it.
    pub after: VirtualSession,
    /// What happened.
    pub events: Vec<Event>,
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
}

/// One live session.
#[derive(Debug)]
pub struct LiveSession {
    session: VirtualSession,
    profiles: BTreeMap<ParticipantId, Profile>,
    presence: Presence,
    /// In the order of joining.
    members: Vec<Member>,
    /// Who waits to be let in, and whether by the bare link after having been in.
    knocking: BTreeMap<ParticipantId, bool>,
    thread: Thread,
    position: Option<u32>,
    queued: Option<Timestamp>,
    room_is_open: bool,
    peers: PeerNumbers,
    pending: Option<Pending>,
    retries: Vec<Retry>,
    /// The timers wait until then: the store did not take what they decided.
    timers_rest_until: Option<Timestamp>,
    outputs: VecDeque<Output>,
}

/// A change that is being written.
#[derive(Debug)]
struct Pending {
    command: Command,
    actor: Actor,
    then: Then,
    events: Vec<Event>,
    after: VirtualSession,
    conflicts: u32,
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

/// Gives peers numbers that no other session gives.
#[derive(Debug)]
struct PeerNumbers {
    room: u32,
    given: u32,
}

impl PeerNumbers {
    fn next(&mut self) -> PeerId {
        self.given += 1;
        PeerId(u64::from(self.room) << 32 | u64::from(self.given))
    }
}

// --- getters and polls -------------------------------------------------------------------------------------------

impl LiveSession {
    /// Takes over a session. Those who had joined are lost until they say `hello` again.
    ///
    /// `room` is a number that no other live session of this process ever has.
    #[must_use]
    pub fn new(now: Timestamp, loaded: Loaded, room: u32) -> Self {
        let Loaded { session, profiles } = loaded;
        let presence = Presence::after_restart(&session, now);
        Self {
            session,
            profiles,
            presence,
            members: Vec::new(),
            knocking: BTreeMap::new(),
            thread: Thread::default(),
            position: None,
            queued: None,
            room_is_open: false,
            peers: PeerNumbers { room, given: 0 },
            pending: None,
            retries: Vec::new(),
            timers_rest_until: None,
            outputs: VecDeque::new(),
        }
    }

    /// Goes on with what was said before, in order: [`Output::Said`] of an earlier life.
    #[must_use]
    pub fn with_thread(mut self, kept: Vec<ThreadLine>) -> Self {
        self.thread = Thread::after(kept);
        self
    }

    /// The state, as committed.
    #[must_use]
    pub const fn session(&self) -> &VirtualSession {
        &self.session
    }

    /// Whether somebody is connected.
    #[must_use]
    pub fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether the session is over and nothing is left to be written.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.session.status().is_final() && self.pending.is_none() && self.retries.is_empty()
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
        [retry, timer].into_iter().flatten().min()
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
        match input {
            Input::Hello { connection, participant, epoch, request } => {
                self.hello(now, connection, participant, epoch, request);
            }
            Input::Frame { connection, frame } => self.frame(now, connection, frame),
            Input::Closed { connection } => self.closed(now, connection),
            Input::Media(event) => self.media_event(event),
            Input::Position(position) => self.position = position,
            Input::Command { call, command, actor, expected } => {
                self.decide(now, command, actor, Then::Answer { call, expected });
            }
            Input::Timeout => self.timeout(now),
        }
        if self.pending.is_none() {
            self.refresh();
        }
    }

    /// Takes the state from the store: somebody else changed it. If they ended the session, everybody is told.
    pub fn reload(&mut self, now: Timestamp, loaded: Loaded) {
        let people: Vec<ParticipantId> = self.members.iter().map(|member| member.participant).collect();
        let before: Vec<bool> = people.iter().map(|&participant| self.is_in(participant)).collect();
        self.session = loaded.session;
        self.profiles = loaded.profiles;
        for (&participant, was_in) in people.iter().zip(before) {
            let standing = self.session.participant(participant).map(|participant| participant.standing);
            match (was_in, self.is_in(participant)) {
                _ if !matches!(standing, Some(Standing::Waiting | Standing::Admitted)) => {
                    self.let_go(participant)
                }
                (true, false) => {
                    self.knocking.insert(participant, false);
                    self.tell_of_knock(participant);
                }
                (false, true) => self.let_in(participant),
                _ => {}
            }
        }
        if let Some(reason) = self.session.end_reason() {
            self.say_goodbye_to_all(now, reason);
        }
        self.settle_gates();
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
            self.media(MediaCommand::CloseRoom);
        }
    }

    fn hello(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        participant: ParticipantId,
        epoch: u32,
        request: Option<RequestId>,
    ) {
        let current = self.session.participant(participant).map(|participant| participant.epoch);
        if current != Some(epoch) {
            self.refuse(
                connection,
                request,
                ErrorCode::TicketInvalid,
                "this ticket is of no use any more".into(),
            );
            self.close(connection, CloseReason::NotLetIn);
            return;
        }
        let actor = Actor::Participant(participant);
        let then = Then::Welcome { connection, participant, request };
        self.decide(now, Command::Join { participant }, actor, then);
    }

    fn frame(&mut self, now: Timestamp, connection: ConnectionId, frame: Result<Frame, FrameError>) {
        // Behind a close, sockets may still say something.
        let Some(index) = self.index_of(connection) else { return };
        match frame {
            Ok(Frame { id, message }) => self.message(now, index, id, message),
            Err(error) => self.refuse(connection, error.id, ErrorCode::Malformed, error.to_string()),
        }
    }

    fn message(&mut self, now: Timestamp, index: usize, request: Option<RequestId>, message: ClientMessage) {
        let member = &self.members[index];
        let (connection, peer, participant) = (member.connection, member.peer, member.participant);
        let actor = Actor::Participant(participant);
        let then = Then::Reply { connection, request };
        match message {
            ClientMessage::Hello { .. } => {
                self.refuse(connection, request, ErrorCode::HelloExpected, "you said hello before".into());
            }
            ClientMessage::Offer { sdp, negotiation } => self.offer(index, request, sdp, negotiation),
            ClientMessage::Restart { .. } if !self.members[index].answered => {
                let why = "there is nothing to restart before the first answer".into();
                self.refuse(connection, request, ErrorCode::Refused, why);
            }
            ClientMessage::Restart { ufrag, pwd } => {
                let command = MediaCommand::RestartIce { peer, ufrag, pwd };
                self.ask(index, command, |requests| requests.restarts.push_back(request));
            }
            ClientMessage::Stats {} => {
                self.ask(index, MediaCommand::Stats(peer), |requests| requests.stats.push_back(request));
            }
            ClientMessage::Subscribe { slots } => self.subscribe(index, request, slots),
            ClientMessage::Publish { kind, muted } => {
                self.members[index].set_muted(kind, muted);
                self.done(connection, request);
            }
            ClientMessage::Admit { participant_id } => {
                self.decide(now, Command::Admit { participant: participant_id }, actor, then);
            }
            ClientMessage::Deny { participant_id, reason } => {
                self.decide(now, Command::Deny { participant: participant_id, reason }, actor, then);
            }
            ClientMessage::Chat { client_id, text } => self.chat(now, index, request, client_id, text),
            ClientMessage::End {} => self.decide(now, Command::End, actor, then),
            ClientMessage::Leave {} => self.decide(now, Command::Leave { participant }, actor, then),
            ClientMessage::Ping {} => self.done(connection, request),
        }
    }

    fn closed(&mut self, now: Timestamp, connection: ConnectionId) {
        let Some(index) = self.index_of(connection) else { return };
        let participant = self.members[index].participant;
        self.drop_member(index);
        self.presence.set(participant, Connection::Lost { since: now });
    }

    fn timeout(&mut self, now: Timestamp) {
        if let Some(index) = self.retries.iter().position(|retry| retry.at <= now) {
            let Retry { command, actor, then, .. } = self.retries.remove(index);
            self.decide(now, command, actor, then);
            return;
        }
        if self.session.next_deadline(&self.presence).is_some_and(|due| due <= now) {
            self.decide(now, Command::Tick, Actor::Timer, Then::Nothing);
        }
    }

    fn offer(&mut self, index: usize, request: Option<RequestId>, sdp: String, negotiation: u32) {
        let member = &self.members[index];
        let connection = member.connection;
        if member.requests.offers.contains_key(&negotiation) {
            let why = "this negotiation is under way".into();
            return self.refuse(connection, request, ErrorCode::Refused, why);
        }
        let command = MediaCommand::Offer { peer: member.peer, negotiation, sdp };
        self.ask(index, command, |requests| {
            requests.offers.insert(negotiation, request);
        });
    }

    /// Hands a client's request to the engine, unless it has too many there already.
    fn ask(&mut self, index: usize, command: MediaCommand, note: impl FnOnce(&mut crate::member::Requests)) {
        let member = &mut self.members[index];
        let requests = &mut member.requests;
        let under_way = requests.offers.len() + requests.restarts.len() + requests.stats.len();
        note(requests);
        if under_way >= REQUESTS_UNDER_WAY_MAX {
            self.busy(&command);
        } else {
            self.media(command);
        }
    }

    fn chat(
        &mut self,
        now: Timestamp,
        index: usize,
        request: Option<RequestId>,
        client_id: String,
        text: String,
    ) {
        let Member { connection, participant, .. } = self.members[index];
        if !self.is_in(participant) {
            return self.refuse_waiting(connection, request);
        }
        let characters = text.chars().count();
        if text.trim().is_empty() || characters > CHAT_CHARACTERS_MAX {
            let why =
                format!("a line of chat has 1 to {CHAT_CHARACTERS_MAX} characters, and not only blanks");
            return self.refuse(connection, request, ErrorCode::Malformed, why);
        }
        if !(1..=CLIENT_ID_CHARACTERS_MAX).contains(&client_id.chars().count()) {
            let why = format!("`clientId` has 1 to {CLIENT_ID_CHARACTERS_MAX} characters");
            return self.refuse(connection, request, ErrorCode::Malformed, why);
        }
        let people = self.session.participants().iter().map(|participant| participant.id);
        let audience: BTreeSet<_> = people.filter(|&id| self.is_in(id)).collect();
        let kept = self.thread.say(now, participant, (client_id, text), audience);
        let line = self.spoken(&kept);
        let inside: Vec<ConnectionId> = self.members_inside().map(|member| member.connection).collect();
        for to in inside {
            self.send(to, ServerMessage::Chat { line: line.clone() });
        }
        self.done(connection, request);
        self.outputs.push_back(Output::Said(Box::new(kept)));
    }

    fn subscribe(&mut self, index: usize, request: Option<RequestId>, slots: Vec<SlotWish>) {
        let Member { connection, participant, peer, .. } = self.members[index];
        if !self.is_in(participant) {
            return self.refuse_waiting(connection, request);
        }
        if let Err(why) = self.check(index, &slots) {
            return self.refuse(connection, request, ErrorCode::Refused, why.into());
        }
        for SlotWish { seat, participant, layer } in slots {
            let seat = SeatId(seat);
            if let Some(rid) = layer {
                self.media(MediaCommand::SelectLayer { peer, seat, rid });
            }
            if let Some(occupant) = participant {
                seating::place(&mut self.members[index].seats, &seat, occupant);
            }
        }
        self.done(connection, request);
    }

    /// All wishes can be fulfilled, or none is.
    fn check(&self, index: usize, slots: &[SlotWish]) -> Result<(), &'static str> {
        let viewer = &self.members[index];
        if slots.len() > viewer.seats.len() {
            return Err("more wishes than seats");
        }
        for wish in slots {
            let seat = viewer
                .seats
                .iter()
                .find(|seat| seat.id == SeatId(wish.seat))
                .ok_or("there is no such seat")?;
            if let Some(rid) = &wish.layer {
                let is_rid = rid.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if !is_rid || !(1..=RID_CHARACTERS_MAX).contains(&rid.len()) {
                    return Err("this is no rid");
                }
            }
            let Some(Some(wanted)) = wish.participant else { continue };
            if wanted == viewer.participant {
                return Err("nobody sits in their own seats");
            }
            let wanted = self.members_inside().find(|member| member.participant == wanted);
            let wanted = wanted.ok_or("there is no such participant")?;
            if seat.screen && !wanted.shares_screen() {
                return Err("this participant shares no screen");
            }
        }
        Ok(())
    }
}

// --- what the engine reports -------------------------------------------------------------------------------------

impl LiveSession {
    fn media_event(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Answer { peer, negotiation, sdp, seats } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                let reply_to = member.requests.offers.remove(&negotiation).flatten();
                member.answered = true;
                let taken = std::mem::take(&mut member.seats);
                let occupant = |id| taken.iter().find(|seat| seat.id == id).and_then(|seat| seat.occupant);
                member.seats = seats
                    .iter()
                    .map(|info| Seat {
                        id: info.seat,
                        screen: info.audio.is_none(),
                        occupant: occupant(info.seat),
                    })
                    .collect();
                let seats = seats
                    .into_iter()
                    .map(|info| SeatMids { seat: info.seat.0, audio: info.audio, video: info.video })
                    .collect();
                let connection = member.connection;
                self.send(connection, ServerMessage::Answer { sdp, negotiation, seats, reply_to });
            }
            MediaEvent::OfferRejected { peer, negotiation, why } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                let request = member.requests.offers.remove(&negotiation).flatten();
                let connection = member.connection;
                self.refuse(connection, request, ErrorCode::OfferRejected, why);
            }
            MediaEvent::Restarted { peer, ufrag, pwd } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                let reply_to = member.requests.restarts.pop_front().flatten();
                let connection = member.connection;
                self.send(connection, ServerMessage::Restarted { ufrag, pwd, reply_to });
            }
            MediaEvent::RestartRejected { peer, why } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                // It comes before the next message of the client is looked at: it is the last one's.
                let request = member.requests.restarts.pop_back().flatten();
                let connection = member.connection;
                self.refuse(connection, request, ErrorCode::Malformed, why);
            }
            MediaEvent::RestartFailed { peer } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let connection = self.members[index].connection;
                let why = "the ICE restart found no path".into();
                self.refuse(connection, None, ErrorCode::RestartFailed, why);
            }
            MediaEvent::Connected { peer } => {
                if let Some(index) = self.index_of_peer(peer) {
                    self.members[index].transport = true;
                }
            }
            MediaEvent::Disconnected { peer, why } => self.transport_lost(peer, why),
            MediaEvent::Refused { peer, why } => {
                if let Some(index) = self.index_of_peer(peer) {
                    self.refuse_all(index, ErrorCode::Refused, &why);
                }
            }
            MediaEvent::Source { peer, kind, flowing } => self.source(peer, kind, flowing),
            MediaEvent::Stats { peer, stats } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                let reply_to = member.requests.stats.pop_front().flatten();
                let connection = member.connection;
                self.send(connection, ServerMessage::Stats { stats, reply_to });
            }
            MediaEvent::Busy(command) => self.busy(&command),
        }
    }

    /// The socket stays, and gets a fresh peer: the client offers again.
    fn transport_lost(&mut self, peer: PeerId, why: String) {
        let Some(index) = self.index_of_peer(peer) else { return };
        self.refuse_all(index, ErrorCode::Busy, "the transport was lost meanwhile");
        let fresh = self.peers.next();
        let connection = self.members[index].connection;
        self.members[index].renew_transport(fresh);
        self.media(MediaCommand::RemovePeer(peer));
        self.media(MediaCommand::AddPeer(fresh));
        self.send(connection, ServerMessage::Disconnected { reason: why });
    }

    /// Nothing will come of what was asked of the engine.
    fn refuse_all(&mut self, index: usize, code: ErrorCode, why: &str) {
        let member = &mut self.members[index];
        let connection = member.connection;
        let requests = std::mem::take(&mut member.requests);
        let asked = requests.offers.into_values().chain(requests.restarts).chain(requests.stats);
        for request in asked {
            self.refuse(connection, request, code, why.to_owned());
        }
    }

    fn source(&mut self, peer: PeerId, kind: SourceKind, flowing: bool) {
        if let Some(index) = self.index_of_peer(peer) {
            self.members[index].set_flowing(kind, flowing);
        }
    }

    /// A request found no room in the engine's queue: nothing has changed.
    fn busy(&mut self, command: &MediaCommand) {
        let (peer, request) = match command {
            MediaCommand::Offer { peer, negotiation, .. } => {
                let index = self.index_of_peer(*peer);
                let request = index.and_then(|index| self.members[index].requests.offers.remove(negotiation));
                (*peer, request.flatten())
            }
            // The last one noted is the one that was not taken.
            MediaCommand::RestartIce { peer, .. } => {
                let index = self.index_of_peer(*peer);
                let request = index.and_then(|index| self.members[index].requests.restarts.pop_back());
                (*peer, request.flatten())
            }
            MediaCommand::Stats(peer) => {
                let index = self.index_of_peer(*peer);
                let request = index.and_then(|index| self.members[index].requests.stats.pop_back());
                (*peer, request.flatten())
            }
            _ => return,
        };
        if let Some(index) = self.index_of_peer(peer) {
            let connection = self.members[index].connection;
            self.refuse(connection, request, ErrorCode::Busy, "the server has too much to do".into());
        }
    }
}

// --- small things ------------------------------------------------------------------------------------------------

impl LiveSession {
    fn context<'a>(presence: &'a Presence, actor: &'a Actor, now: Timestamp) -> Context<'a> {
        Context { now, actor, presence }
    }

    fn index_of(&self, connection: ConnectionId) -> Option<usize> {
        self.members.iter().position(|member| member.connection == connection)
    }

    fn index_of_peer(&self, peer: PeerId) -> Option<usize> {
        self.members.iter().position(|member| member.peer == peer)
    }

    fn index_of_participant(&self, participant: ParticipantId) -> Option<usize> {
        self.members.iter().position(|member| member.participant == participant)
    }

    /// Whether somebody may have media, names and chat. What was taken from them is so before it is written.
    fn is_in(&self, participant: ParticipantId) -> bool {
        let admitted = |found: &vestibule_domain::Participant| found.standing == Standing::Admitted;
        let taken = |retry: &Retry| retry.takes == Takes::Everybody || retry.takes == Takes::One(participant);
        self.session.participant(participant).is_some_and(admitted) && !self.retries.iter().any(taken)
    }

    /// What was said while somebody was in.
    fn chat_of(&self, participant: ParticipantId) -> Vec<ChatLine> {
        self.thread.heard_by(participant).map(|line| self.spoken(line)).collect()
    }

    /// A line as people get it.
    fn spoken(&self, line: &ThreadLine) -> ChatLine {
        ChatLine {
            from: line.from,
            name: self.name_of(line.from),
            client_id: line.client_id.clone(),
            text: line.text.clone(),
            at: line.at,
        }
    }

    fn members_inside(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| self.is_in(member.participant))
    }

    fn name_of(&self, participant: ParticipantId) -> String {
        self.profiles.get(&participant).map_or_else(String::new, |profile| profile.display_name.clone())
    }

    /// Forgets a member and its peer.
    fn drop_member(&mut self, index: usize) {
        let member = self.members.remove(index);
        self.knocking.remove(&member.participant);
        self.media(MediaCommand::RemovePeer(member.peer));
    }

    fn refuse_waiting(&mut self, connection: ConnectionId, request: Option<RequestId>) {
        self.refuse(connection, request, ErrorCode::NotAdmitted, "you are not let in yet".into());
    }

    fn refuse(
        &mut self,
        connection: ConnectionId,
        reply_to: Option<RequestId>,
        code: ErrorCode,
        message: String,
    ) {
        let retryable = code.is_retryable();
        self.send(connection, ServerMessage::Error { code, message, retryable, reply_to });
    }

    fn done(&mut self, connection: ConnectionId, reply_to: Option<RequestId>) {
        self.send(connection, ServerMessage::Done { reply_to });
    }

    fn send(&mut self, connection: ConnectionId, message: ServerMessage) {
        self.outputs.push_back(Output::Send { connection, message: Box::new(message) });
    }

    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.outputs.push_back(Output::Close { connection, reason });
    }

    fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }
}
