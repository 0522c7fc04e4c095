//! Deciding, writing, and what follows from what was written.

use jiff::Timestamp;
use vestibule_domain::{Actor, Command, Connection, EndReason, Event, ParticipantId, Standing};

use super::{
    CONFLICTS_MAX, CallError, CallId, CloseReason, Commit, CommitError, LiveSession, Output,
    PEOPLE_FIRST_MAX, Pending, RETRY_AFTER, Retry, Takes,
};
use crate::media::MediaCommand;
use crate::member::{ConnectionId, Member};
use crate::wire::{ErrorCode, RequestId, SeatCounts, ServerMessage};

/// Who waits for a change, and what for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// A `hello`: let them in, or say why not and close.
    Welcome { connection: ConnectionId, participant: ParticipantId, request: Option<RequestId> },
    /// A request on a socket.
    Reply { connection: ConnectionId, request: Option<RequestId> },
    /// A call from elsewhere, and the version its caller saw.
    Answer { call: CallId, expected: Option<u64> },
    /// Nobody.
    Nothing,
}

impl LiveSession {
    /// Decides a command, and hands what comes of it to the store.
    pub(super) fn decide(&mut self, now: Timestamp, command: Command, actor: Actor, then: Then) {
        self.decide_again(now, command, actor, then, 0);
    }

    fn decide_again(&mut self, now: Timestamp, command: Command, actor: Actor, then: Then, conflicts: u32) {
        if let Some(current) = self.stale(then) {
            let why = "the session has changed since".to_owned();
            return self.failed(then, ErrorCode::Refused, why, CallError::Stale { current });
        }
        let decided = self.session.decide(&command, &Self::context(&self.presence, &actor, now));
        let events = match decided {
            Ok(events) => events,
            Err(rejection) => {
                let code = ErrorCode::Rejected(rejection.code());
                let why = rejection.to_string();
                return self.failed(then, code, why, CallError::Rejected(rejection));
            }
        };
        if events.is_empty() {
            return self.settled(now, then, &events);
        }
        // What time alone decides is nobody's to take back: who comes before it is written goes on undisturbed.
        if command != Command::Tick {
            events.iter().for_each(|event| self.cut(event));
        }
        let mut after = self.session.clone();
        after.commit(&events);
        self.outputs.push_back(Output::Commit(Box::new(Commit {
            before: self.session.version(),
            after: after.clone(),
            events: events.clone(),
            actor: actor.clone(),
            at: now,
            next_deadline: after.next_deadline(&self.presence),
            call: if let Then::Answer { call, .. } = then { Some(call) } else { None },
        })));
        self.pending = Some(Pending { command, actor, then, events, after, conflicts });
    }

    /// Takes in how a commit went.
    ///
    /// # Panics
    ///
    /// If no commit was asked for.
    pub fn committed(&mut self, now: Timestamp, result: Result<(), CommitError>) {
        let Some(pending) = self.pending.take() else { panic!("no commit was asked for") };
        let Pending { command, actor, then, events, after, conflicts } = pending;
        match result {
            Ok(()) => {
                self.session = after;
                self.timers_rest_until = None;
                self.settled(now, then, &events);
            }
            Err(CommitError::Conflict(loaded)) => {
                self.reload(now, *loaded);
                if conflicts < CONFLICTS_MAX {
                    self.decide_again(now, command, actor, then, conflicts + 1);
                } else {
                    self.not_written(now, command, actor, then, &events);
                }
            }
            Err(CommitError::Unavailable) => self.not_written(now, command, actor, then, &events),
        }
        if self.pending.is_none() {
            self.refresh();
        }
    }

    /// The version of now, if the caller saw another.
    fn stale(&self, then: Then) -> Option<u64> {
        let current = self.session.version();
        match then {
            Then::Answer { expected: Some(expected), .. } if expected != current => Some(current),
            _ => None,
        }
    }

    fn not_written(&mut self, now: Timestamp, command: Command, actor: Actor, then: Then, events: &[Event]) {
        let at = now.checked_add(RETRY_AFTER).unwrap_or(Timestamp::MAX);
        if command == Command::Tick {
            self.timers_rest_until = Some(at);
        } else if let Some(takes) = events.iter().find_map(takes) {
            // It is done already, and must not be undone by a restart: whoever asked hears of it when it is written.
            self.retries.push(Retry { at, command, actor, then, takes });
        } else {
            let why = "the store does not answer; nothing was changed".to_owned();
            self.failed(then, ErrorCode::StoreUnavailable, why, CallError::Unavailable);
        }
    }

    /// Nothing came of it.
    fn failed(&mut self, then: Then, code: ErrorCode, why: String, error: CallError) {
        match then {
            Then::Welcome { connection, request, .. } => {
                self.refuse(connection, request, code, why);
                let reason = if code.is_retryable() { CloseReason::TryAgain } else { CloseReason::NotLetIn };
                self.close(connection, reason);
            }
            Then::Reply { connection, request } => self.refuse(connection, request, code, why),
            Then::Answer { call, .. } => {
                self.outputs.push_back(Output::Answered { call, result: Err(error) })
            }
            Then::Nothing => {}
        }
    }

    /// It is so: whoever asked is told, and so is everybody whom it is about.
    fn settled(&mut self, now: Timestamp, then: Then, events: &[Event]) {
        match then {
            Then::Welcome { connection, participant, request } => {
                self.welcome(connection, participant, request, events);
            }
            Then::Reply { connection, request } => self.done(connection, request),
            Then::Answer { call, .. } => {
                let result = Ok(self.session.version());
                self.outputs.push_back(Output::Answered { call, result });
            }
            Then::Nothing => {}
        }
        for event in events {
            self.follow(now, then, event);
        }
    }

    fn welcome(
        &mut self,
        connection: ConnectionId,
        participant: ParticipantId,
        request: Option<RequestId>,
        events: &[Event],
    ) {
        // They have come back since: what was still to be written of their leaving is past.
        self.retries.retain(|retry| retry.command != Command::Leave { participant });
        if let Some(index) = self.index_of_participant(participant) {
            let old = self.members[index].connection;
            self.drop_member(index);
            self.send(old, ServerMessage::Superseded {});
            self.close(old, CloseReason::Superseded);
        }
        if !std::mem::replace(&mut self.room_is_open, true) {
            self.media(MediaCommand::CreateRoom);
        }
        let peer = self.peers.next();
        self.media(MediaCommand::AddPeer(peer));
        self.presence.set(participant, Connection::Connected);
        let people = self.people_first();
        self.members.push(Member::new(participant, connection, peer, people));
        let inside = self.is_in(participant);
        if !inside {
            let returned = events.iter().any(|event| matches!(event, Event::Joined { new_device: true, .. }));
            self.knocking.insert(participant, returned);
        }
        let Some(you) = self.describe(participant) else { return };
        let participants = self.look(self.members.len() - 1);
        let chat = if inside { self.chat_of(participant) } else { Vec::new() };
        let seats = SeatCounts { people, screens: 1 };
        let session = self.session_state();
        self.send(
            connection,
            ServerMessage::Welcome { you, session, participants, seats, chat, reply_to: request },
        );
        if inside {
            self.tell_who_knocks(connection, participant);
        } else {
            self.tell_of_knock(participant);
        }
    }

    fn people_first(&self) -> u16 {
        let others =
            self.session.participants().iter().filter(|other| other.standing != Standing::Removed).count();
        u16::try_from(others.saturating_sub(1)).unwrap_or(u16::MAX).clamp(1, PEOPLE_FIRST_MAX)
    }

    /// What is taken away is taken before it is written. If it comes to nothing, [`Self::settle_gates`] gives it back.
    fn cut(&mut self, event: &Event) {
        let Some(takes) = takes(event) else { return };
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if takes == Takes::Everybody || takes == Takes::One(member.participant) {
                self.set_gate(index, false);
            }
        }
    }

    /// Opens the gates of those who are in, and closes all others.
    pub(super) fn settle_gates(&mut self) {
        for index in 0..self.members.len() {
            let open = self.is_in(self.members[index].participant);
            self.set_gate(index, open);
        }
    }

    fn set_gate(&mut self, index: usize, open: bool) {
        let member = &mut self.members[index];
        if std::mem::replace(&mut member.gate_is_open, open) != open {
            let peer = member.peer;
            self.media(if open { MediaCommand::OpenGate(peer) } else { MediaCommand::CloseGate(peer) });
        }
    }

    /// What follows from something that is written.
    fn follow(&mut self, now: Timestamp, then: Then, event: &Event) {
        match *event {
            Event::Admitted { participant, .. } => self.admitted(then, participant),
            Event::Denied { participant, reason, .. } => {
                self.presence.set(participant, Connection::Absent);
                self.say_goodbye(participant, ServerMessage::Denied { reason });
            }
            Event::SentBack { participant } => {
                self.knocking.insert(participant, false);
                self.tell_of_knock(participant);
            }
            Event::Removed { participant, .. } | Event::Left { participant, .. } => self.let_go(participant),
            Event::Ended { reason, .. } | Event::Cancelled { reason, .. } | Event::Failed { reason, .. } => {
                self.say_goodbye_to_all(now, reason);
            }
            _ => {}
        }
    }

    /// Forgets somebody who is out of the session, and closes their socket.
    pub(super) fn let_go(&mut self, participant: ParticipantId) {
        self.presence.set(participant, Connection::Absent);
        if let Some(index) = self.index_of_participant(participant) {
            let connection = self.members[index].connection;
            self.drop_member(index);
            self.close(connection, CloseReason::Over);
        }
    }

    fn admitted(&mut self, then: Then, participant: ParticipantId) {
        // A welcome says it already.
        if matches!(then, Then::Welcome { participant: welcomed, .. } if welcomed == participant) {
            return;
        }
        self.let_in(participant);
    }

    /// Tells somebody who waited that they are in.
    pub(super) fn let_in(&mut self, participant: ParticipantId) {
        self.knocking.remove(&participant);
        let Some(index) = self.index_of_participant(participant) else { return };
        // If they wait again, they are to be told so again.
        self.members[index].told.waiting = None;
        let connection = self.members[index].connection;
        let participants = self.look(index);
        let chat = self.chat_of(participant);
        self.send(connection, ServerMessage::Admitted { participants, chat });
    }

    pub(super) fn say_goodbye_to_all(&mut self, now: Timestamp, reason: EndReason) {
        while let Some(member) = self.members.first() {
            let participant = member.participant;
            self.presence.set(participant, Connection::Lost { since: now });
            self.say_goodbye(participant, ServerMessage::Ended { reason });
        }
        self.close_room();
    }

    fn say_goodbye(&mut self, participant: ParticipantId, last: ServerMessage) {
        let Some(index) = self.index_of_participant(participant) else { return };
        let connection = self.members[index].connection;
        self.drop_member(index);
        self.send(connection, last);
        self.close(connection, CloseReason::Over);
    }
}

/// Whom an event takes something from.
const fn takes(event: &Event) -> Option<Takes> {
    match *event {
        Event::Denied { participant, .. }
        | Event::SentBack { participant }
        | Event::Removed { participant, .. }
        | Event::Left { participant, .. } => Some(Takes::One(participant)),
        Event::Ended { .. } | Event::Cancelled { .. } | Event::Failed { .. } => Some(Takes::Everybody),
        _ => None,
    }
}
