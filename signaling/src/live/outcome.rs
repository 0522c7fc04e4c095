//! Deciding, writing, and what follows from what was written.

use jiff::Timestamp;
use vestibule_domain::{
    Actor, BandwidthProfile, Command, Connection, EndReason, Event, ParticipantId, Rejection, VirtualSession,
};

use super::arrive::{Greeting, Heard};
use super::text::Asker;
use super::{
    CONFLICTS_MAX, CallError, CallId, CloseReason, Commit, CommitError, LiveSession, Output, RETRY_AFTER,
    Retry, Takes,
};
use crate::media::MediaCommand;
use crate::member::MemberId;
use crate::resume::ResumeKeys;
use crate::wire::{ErrorCode, RequestId, ServerMessage};

/// Who waits for a change, and what for.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// A `hello`: let them in, or say why not and close.
    Welcome(Box<Greeting>),
    /// A request of a device.
    Reply { member: MemberId, request: Option<RequestId> },
    /// A call from elsewhere, and the version its caller saw.
    Answer { call: CallId, expected: Option<u64> },
    /// Nobody.
    Nothing,
}

/// What is being written.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) change: Change,
    pub(super) resume: Vec<(ParticipantId, ResumeKeys)>,
}

#[derive(Debug)]
pub(super) enum Change {
    /// A command, as decided.
    Decided {
        command: Command,
        actor: Actor,
        then: Then,
        events: Vec<Event>,
        after: Box<VirtualSession>,
        conflicts: u32,
    },
    /// The next secret of somebody who comes back.
    Resumed { greeting: Greeting, heard: Heard },
    /// A line of the thread: [`LiveSession::kept`] says how it went.
    Said { asker: Asker, late: bool },
}

impl LiveSession {
    /// Decides a command, and hands what comes of it to the store.
    pub(super) fn decide(&mut self, now: Timestamp, command: Command, actor: Actor, then: Then) {
        self.decide_again(now, command, actor, then, 0);
    }

    fn decide_again(&mut self, now: Timestamp, command: Command, actor: Actor, then: Then, conflicts: u32) {
        if let Some(current) = self.stale(&then) {
            let why = "the session has changed since".to_owned();
            return self.failed(&then, ErrorCode::Refused, why, CallError::Stale { current });
        }
        if self.replaces_by_nobody(&command, &then) {
            return self.rejected(&then, Rejection::NotConnected);
        }
        let decided = self.session.decide(&command, &Self::context(&self.presence, &actor, now));
        let events = match decided {
            Ok(events) => events,
            Err(rejection) => return self.rejected(&then, rejection),
        };
        if events.is_empty() {
            return self.settled(now, &then, &events);
        }
        // What time alone decides is nobody's to take back: who comes before it is written goes on undisturbed.
        if command != Command::Tick {
            events.iter().for_each(|event| self.cut(event));
        }
        let mut after = self.session.clone();
        after.commit(&events);
        let resume = self.resume_after(&then, &events);
        self.outputs.push_back(Output::Commit(Box::new(Commit {
            before: self.session.version(),
            after: after.clone(),
            events: events.clone(),
            resume: resume.clone(),
            actor: actor.clone(),
            at: now,
            next_deadline: after.next_deadline(&self.presence),
            call: if let Then::Answer { call, .. } = then { Some(call) } else { None },
        })));
        let after = Box::new(after);
        let change = Change::Decided { command, actor, then, events, after, conflicts };
        self.pending = Some(Pending { change, resume });
    }

    fn rejected(&mut self, then: &Then, rejection: Rejection) {
        let code = ErrorCode::Rejected(rejection.code());
        self.failed(then, code, rejection.to_string(), CallError::Rejected(rejection));
    }

    /// Takes in how a commit went.
    ///
    /// # Panics
    ///
    /// If no commit was asked for.
    pub fn committed(&mut self, now: Timestamp, result: Result<(), CommitError>) {
        let Some(Pending { change, resume }) = self.pending.take() else { panic!("no commit was asked for") };
        if result.is_ok() {
            self.resume.extend(resume);
        }
        match change {
            Change::Said { .. } => panic!("a line was to be kept, and no change of state"),
            Change::Resumed { greeting, heard } => self.resumed(&greeting, &heard, result.is_ok()),
            Change::Decided { command, actor, then, events, after, conflicts } => match result {
                Ok(()) => {
                    self.session = *after;
                    self.timers_rest_until = None;
                    self.settled(now, &then, &events);
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
            },
        }
        if self.pending.is_none() {
            self.refresh(now);
        }
    }

    /// The version of now, if the caller saw another.
    fn stale(&self, then: &Then) -> Option<u64> {
        let current = self.session.version();
        match *then {
            Then::Answer { expected: Some(expected), .. } if expected != current => Some(current),
            _ => None,
        }
    }

    fn not_written(&mut self, now: Timestamp, command: Command, actor: Actor, then: Then, events: &[Event]) {
        let at = now.checked_add(RETRY_AFTER).unwrap_or(Timestamp::MAX);
        if command == Command::Tick {
            self.timers_rest_until = Some(at);
        } else if let Some(takes) = events.iter().find_map(takes)
            && !self.retries.iter().any(|retry| retry.command == command)
        {
            // It is done already, and must not be undone by a restart: whoever asked hears of it when it is written. Once
            // is enough: who asks again meanwhile is told to try later.
            self.retries.push(Retry { at, command, actor, then, takes });
        } else {
            let why = "the store does not answer; nothing was changed".to_owned();
            self.failed(&then, ErrorCode::StoreUnavailable, why, CallError::Unavailable);
        }
    }

    /// Nothing came of it.
    pub(super) fn failed(&mut self, then: &Then, code: ErrorCode, why: String, error: CallError) {
        match *then {
            Then::Welcome(ref greeting) => self.turn_away(greeting, code, why),
            Then::Reply { member, request } => self.refuse(member, request, code, why),
            Then::Answer { call, .. } => {
                self.outputs.push_back(Output::Answered { call, result: Err(error) })
            }
            Then::Nothing => {}
        }
    }

    /// It is so: whoever asked is told, and so is everybody whom it is about.
    fn settled(&mut self, now: Timestamp, then: &Then, events: &[Event]) {
        match *then {
            Then::Welcome(ref greeting) => self.welcome(greeting, events),
            Then::Reply { member, request } => self.done(member, request),
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

    /// Closes the gates of those who are not in any more. None opens: what is being decided anew may take it.
    pub(super) fn close_gates(&mut self) {
        for index in 0..self.members.len() {
            if !self.is_inside(&self.members[index]) {
                self.set_gate(index, false);
            }
        }
    }

    /// Opens the gates of those who are in and have media, and closes all others.
    pub(super) fn settle_gates(&mut self) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            let participant = member.participant;
            let has_media = self.tier_of(participant) != BandwidthProfile::AsyncText;
            let open = self.is_inside(member) && (has_media || self.rehearses(participant).is_some());
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
    fn follow(&mut self, now: Timestamp, then: &Then, event: &Event) {
        match *event {
            Event::Admitted { participant, .. } if !is_welcome_of(then, participant) => {
                self.let_in(participant);
            }
            Event::DeviceReplaced { participant, .. } => {
                if !is_welcome_of(then, participant) {
                    self.replace_device(participant);
                }
                self.begin_line_anew(now, participant);
            }
            Event::DeviceRefused { participant, reason, .. } => {
                if let Some(index) = self.index_of_newcomer(participant) {
                    self.say_goodbye(index, ServerMessage::Denied { reason });
                }
            }
            Event::Denied { participant, reason, .. } => {
                self.presence.set(participant, Connection::Absent);
                if let Some(index) = self.index_of_first(participant) {
                    self.say_goodbye(index, ServerMessage::Denied { reason });
                }
            }
            Event::SentBack { participant } => {
                self.tiers.remove(&participant);
                self.asking.forget(participant);
                if let Some(index) = self.index_of_first(participant) {
                    self.members[index].new_device = false;
                }
                self.turn_away_newcomers();
            }
            Event::Removed { participant, .. } => self.let_go(participant, true),
            Event::Left { participant, .. } => {
                self.let_go(participant, false);
                self.turn_away_newcomers();
            }
            Event::Ended { reason, .. } | Event::Cancelled { reason, .. } | Event::Failed { reason, .. } => {
                self.say_goodbye_to_all(now, reason);
            }
            _ => {}
        }
    }

    /// Forgets somebody who is out of the session, and closes their socket. Of who was taken out, every device.
    pub(super) fn let_go(&mut self, participant: ParticipantId, removed: bool) {
        self.presence.set(participant, Connection::Absent);
        self.tiers.remove(&participant);
        self.asking.forget(participant);
        if removed {
            while let Some(index) = self.members.iter().position(|member| member.participant == participant) {
                self.say_goodbye(index, ServerMessage::Removed {});
            }
        } else if let Some(index) = self.index_of_first(participant) {
            self.detach(index, CloseReason::Over);
            self.drop_member(index);
        }
    }

    /// Tells somebody who waited that they are in.
    pub(super) fn let_in(&mut self, participant: ParticipantId) {
        let Some(index) = self.index_of_first(participant) else { return };
        let member = &mut self.members[index];
        let id = member.id;
        // If they wait again, they are to be told so again.
        member.told.waiting = None;
        member.new_device = false;
        let participants = self.look(index);
        let chat = self.chat_of(participant);
        self.tell(id, ServerMessage::Admitted { participants, chat });
    }

    pub(super) fn say_goodbye_to_all(&mut self, now: Timestamp, reason: EndReason) {
        while let Some(member) = self.members.first() {
            self.presence.set(member.participant, Connection::Lost { since: now });
            self.say_goodbye(0, ServerMessage::Ended { reason });
        }
        self.close_room();
    }

    fn say_goodbye(&mut self, index: usize, last: ServerMessage) {
        let id = self.members[index].id;
        self.tell(id, last);
        self.detach(index, CloseReason::Over);
        self.drop_member(index);
    }
}

/// A welcome says it already.
fn is_welcome_of(then: &Then, participant: ParticipantId) -> bool {
    matches!(then, Then::Welcome(greeting) if greeting.participant == participant)
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
