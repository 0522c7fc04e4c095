//! Getting in and coming back: by a ticket, by a resume secret, and on another device.
//!
//! The holder of the resume secret goes on, whatever happened to socket, page or server. The bare link proves less: of
//! somebody who is in it makes a newcomer, which waits until somebody who may says that it takes the place of the first.

use jiff::Timestamp;
use vestibule_domain::{Actor, Command, Event, ParticipantId, ParticipantRole, Standing};

use super::outcome::{Change, Pending, Then};
use super::{CallError, CloseReason, Commit, Entry, LiveSession, Output, PEOPLE_FIRST_MAX, Retry};
use crate::media::MediaCommand;
use crate::member::{ConnectionId, Member, Place};
use crate::resume::{FreshSecret, ResumeKey, ResumeKeys};
use crate::wire::{ErrorCode, RequestId, SeatCounts, ServerMessage};

/// A `hello`.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    pub(super) connection: ConnectionId,
    pub(super) participant: ParticipantId,
    pub(super) fresh: FreshSecret,
    pub(super) request: Option<RequestId>,
}

/// What somebody heard before they went.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    incarnation: Option<String>,
    last_seq: u64,
}

impl LiveSession {
    pub(super) fn hello(&mut self, now: Timestamp, greeting: Greeting, entry: Entry) {
        if self.is_stale(&greeting) {
            // Who reads the answer at all comes again, on a socket that is newer than all.
            let why = "a newer socket was faster".into();
            return self.turn_away(&greeting, ErrorCode::Busy, why);
        }
        match entry {
            Entry::Ticket { epoch, vouched } => self.enter(now, greeting, epoch, vouched),
            Entry::Resume { key, incarnation, last_seq } => {
                self.resume(now, greeting, key, Heard { incarnation, last_seq });
            }
        }
    }

    /// Whether a `hello` was overtaken by one on a socket that was opened later: a page that opens another one has given
    /// this one up, and must not be thrown out by what it said on it.
    fn is_stale(&self, greeting: &Greeting) -> bool {
        let theirs = self.members.iter().filter(|member| member.participant == greeting.participant);
        theirs.map(|member| member.newest).any(|newest| newest > greeting.connection)
    }

    fn enter(&mut self, now: Timestamp, greeting: Greeting, epoch: u32, vouched: bool) {
        let participant = greeting.participant;
        let current = self.session.participant(participant).map(|participant| participant.epoch);
        if current != Some(epoch) {
            let why = "this ticket is of no use any more".into();
            return self.turn_away(&greeting, ErrorCode::TicketInvalid, why);
        }
        let actor = Actor::Participant(participant);
        if self.is_seated(participant) {
            // Whoever the staff's own sign-in vouches for is who sits there. Of others than providers it says nothing. And a
            // provider who was never heard has no first device: their welcome was lost on the way.
            let is_provider = self.role_of(participant) == Some(ParticipantRole::Provider);
            let heard = self.resume.get(&participant).is_some_and(ResumeKeys::is_proven);
            if is_provider && (vouched || !heard) {
                let command = Command::ReplaceDevice { participant };
                self.decide(now, command, actor, Then::Welcome(Box::new(greeting)));
            } else {
                self.knock_on_a_new_device(&greeting);
            }
            return;
        }
        self.decide(now, Command::Join { participant }, actor, Then::Welcome(Box::new(greeting)));
    }

    /// Whether somebody is in, or was when they were lost.
    fn is_seated(&self, participant: ParticipantId) -> bool {
        self.is_admitted(participant) && !self.session.status().is_final()
    }

    fn knock_on_a_new_device(&mut self, greeting: &Greeting) {
        if let Some(index) = self.index_of_newcomer(greeting.participant) {
            self.supersede(index);
        }
        self.seat(greeting, Place::Newcomer(greeting.fresh.key), Some(greeting.fresh.secret.clone()));
    }

    fn resume(&mut self, now: Timestamp, greeting: Greeting, key: ResumeKey, heard: Heard) {
        let participant = greeting.participant;
        if let Some(index) = self.index_of_newcomer(participant)
            && self.members[index].place == Place::Newcomer(key)
        {
            return self.attach(index, &greeting, &heard, None);
        }
        if !self.resume.get(&participant).is_some_and(|keys| keys.accept(key)) {
            return self.turn_away(&greeting, ErrorCode::ResumeInvalid, "this secret is void".into());
        }
        let Some(record) = self.session.participant(participant) else {
            return self.turn_away(&greeting, ErrorCode::ResumeInvalid, "there is nobody of that id".into());
        };
        // What was decided while they were away, and they did not hear.
        let last = match (self.session.end_reason(), record.standing, record.denied) {
            (Some(reason), ..) => ServerMessage::Ended { reason },
            (None, Standing::Removed, _) => ServerMessage::Removed {},
            (None, Standing::Invited, Some(reason)) => ServerMessage::Denied { reason },
            (None, ..) if record.inside() => return self.renew(now, greeting, key, heard),
            // They left, or are invited anew: they come as anybody does.
            _ => {
                let why = "you are not in any more; come by a ticket".into();
                return self.turn_away(&greeting, ErrorCode::ResumeInvalid, why);
            }
        };
        self.say(greeting.connection, 0, last);
        self.close(greeting.connection, CloseReason::Over);
    }

    /// Has the next secret kept, before anybody is told of it.
    fn renew(&mut self, now: Timestamp, greeting: Greeting, key: ResumeKey, heard: Heard) {
        let actor = Actor::Participant(greeting.participant);
        let resume = vec![(greeting.participant, ResumeKeys::used(key, greeting.fresh.key))];
        self.outputs.push_back(Output::Commit(Box::new(Commit {
            before: self.session.version(),
            after: self.session.clone(),
            events: Vec::new(),
            resume: resume.clone(),
            actor,
            at: now,
            next_deadline: self.session.next_deadline(&self.presence),
            call: None,
        })));
        self.pending = Some(Pending { change: Change::Resumed { greeting, heard }, resume });
    }

    /// Their next secret is kept, or the one they used stays good: they are back.
    pub(super) fn resumed(&mut self, greeting: &Greeting, heard: &Heard, kept: bool) {
        let secret = kept.then(|| greeting.fresh.secret.clone());
        match self.index_of_first(greeting.participant) {
            Some(index) => self.attach(index, greeting, heard, secret),
            None => self.seat(greeting, Place::First, secret),
        }
    }

    /// Gives a device its new socket: it goes on where it stopped, or begins anew if it does not know where that was.
    fn attach(&mut self, index: usize, greeting: &Greeting, heard: &Heard, secret: Option<String>) {
        let member = &self.members[index];
        let goes_on = heard.incarnation == Some(self.numbers.incarnation(member.id))
            && member.log.covers(heard.last_seq);
        if !goes_on {
            return self.begin_anew(index, greeting, secret);
        }
        // The one before is that of the same page, which has given it up.
        self.detach(index, CloseReason::Superseded);
        let member = &mut self.members[index];
        member.connection = Some(greeting.connection);
        member.newest = greeting.connection;
        member.violations = 0;
        member.log.forget(heard.last_seq);
        let heard_requests = member.log.heard;
        let missed: Vec<_> = member.log.after(heard.last_seq).collect();
        let resumed =
            ServerMessage::Resumed { resume: secret, heard: heard_requests, reply_to: greeting.request };
        self.say(greeting.connection, heard.last_seq, resumed);
        for (seq, message) in missed {
            self.outputs.push_back(Output::Send { connection: greeting.connection, seq, message });
        }
    }

    /// The page of before is gone, and with it what it heard. A newcomer keeps its secret, everybody their knock.
    fn begin_anew(&mut self, index: usize, greeting: &Greeting, secret: Option<String>) {
        let Member { place, new_device, device, .. } = self.members[index];
        self.supersede(index);
        self.seat(greeting, place, secret);
        if let Some(member) = self.members.last_mut() {
            (member.new_device, member.device) = (new_device, device);
        }
    }

    /// A ticket was good, and it is written: they are in, or wait.
    pub(super) fn welcome(&mut self, greeting: &Greeting, events: &[Event]) {
        let participant = greeting.participant;
        // They have come back since: what was still to be written of their leaving is past.
        let (past, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retries)
            .into_iter()
            .partition(|retry| retry.command == Command::Leave { participant });
        self.retries = rest;
        for Retry { then, .. } in past {
            let why = "they have come back before it was written".to_owned();
            self.failed(&then, ErrorCode::StoreUnavailable, why, CallError::Unavailable);
        }
        if let Some(index) = self.index_of_first(participant) {
            self.supersede(index);
        }
        self.seat(greeting, Place::First, Some(greeting.fresh.secret.clone()));
        if let Some(member) = self.members.last_mut() {
            member.new_device =
                events.iter().any(|event| matches!(event, Event::Joined { new_device: true, .. }));
        }
    }

    /// Makes a device of a socket, with a transport of its own, and tells it all it may know.
    fn seat(&mut self, greeting: &Greeting, place: Place, secret: Option<String>) {
        let Greeting { connection, participant, request, .. } = *greeting;
        let Some(role) = self.role_of(participant) else { return };
        if !std::mem::replace(&mut self.room_is_open, true) {
            self.media(MediaCommand::CreateRoom);
        }
        let peer = self.numbers.peer();
        self.media(MediaCommand::AddPeer(peer));
        let people = self.people_first();
        let id = self.numbers.member();
        self.members.push(Member::new((id, participant, role, place), connection, peer, people));
        self.settle_contact_of(participant);
        if place == Place::First {
            // What the page of before was writing is said anew, or is gone with it.
            self.asking.set_composing(participant, false);
        }
        let index = self.members.len() - 1;
        let inside = self.is_inside(&self.members[index]);
        let Some(you) = self.describe_device(index) else { return };
        let participants = self.look(index);
        let chat = if inside { self.chat_of(participant) } else { Vec::new() };
        let welcome = ServerMessage::Welcome {
            you,
            new_device: place != Place::First,
            session: self.session_state(),
            participants,
            seats: SeatCounts { people, screens: 1 },
            chat,
            policy: self.policy(),
            resume: secret,
            incarnation: self.numbers.incarnation(id),
            reply_to: request,
        };
        self.say(connection, 0, welcome);
    }

    fn people_first(&self) -> u16 {
        let others =
            self.session.participants().iter().filter(|other| other.standing != Standing::Removed).count();
        u16::try_from(others.saturating_sub(1)).unwrap_or(u16::MAX).clamp(1, PEOPLE_FIRST_MAX)
    }

    /// Another device has the place of this one.
    fn supersede(&mut self, index: usize) {
        let member = &self.members[index];
        if let Some(connection) = member.connection {
            let seq = member.log.last_seq() + 1;
            self.say(connection, seq, ServerMessage::Superseded {});
            self.detach(index, CloseReason::Superseded);
        }
        self.drop_member(index);
    }

    /// The newcomer takes the place of the first.
    pub(super) fn replace_device(&mut self, participant: ParticipantId) {
        let Some(newcomer) = self.index_of_newcomer(participant).map(|index| self.members[index].id) else {
            return;
        };
        if let Some(first) = self.index_of_first(participant) {
            self.supersede(first);
        }
        if let Some(index) = self.index_of_member(newcomer) {
            self.members[index].place = Place::First;
            self.let_in(participant);
        }
    }

    /// Newcomers of those who are not in any more have nobody's place to take: they come again, and are then as anybody.
    pub(super) fn turn_away_newcomers(&mut self) {
        let seated: Vec<bool> =
            self.members.iter().map(|member| self.is_seated(member.participant)).collect();
        for index in (0..self.members.len()).rev() {
            if self.members[index].is_newcomer() && !seated[index] {
                self.detach(index, CloseReason::TryAgain);
                self.drop_member(index);
            }
        }
    }

    /// What it is to let in, or not, whoever knocked on a device; none if another one waits by now, or none does. Without a
    /// device it is about who waits: what is asked twice must not let in another one the second time.
    pub(super) fn of_the_device(&self, command: Command, device: Option<&str>) -> Option<Command> {
        let (Command::Admit { participant } | Command::Deny { participant, .. }) = command else {
            return Some(command);
        };
        let Some(device) = device else { return Some(command) };
        let is_it = |index: &usize| self.numbers.incarnation(self.members[*index].device) == device;
        if self.index_of_newcomer(participant).filter(is_it).is_some() {
            return Some(match command {
                Command::Deny { reason, .. } => Command::RefuseDevice { participant, reason },
                _ => Command::ReplaceDevice { participant },
            });
        }
        self.index_of_first(participant).filter(is_it).map(|_| command)
    }

    /// Whether a newcomer was to take over whose own line is gone: the first device would be cut off for nobody.
    pub(super) fn replaces_by_nobody(&self, command: &Command, then: &Then) -> bool {
        let Command::ReplaceDevice { participant } = *command else { return false };
        let newcomer = self.index_of_newcomer(participant).map(|index| &self.members[index]);
        let there = newcomer.is_some_and(|newcomer| newcomer.connection.is_some());
        // A vouched one comes with this very command.
        !there && !matches!(then, Then::Welcome(_))
    }

    /// The secrets that are good once `events` are written.
    pub(super) fn resume_after(&self, then: &Then, events: &[Event]) -> Vec<(ParticipantId, ResumeKeys)> {
        if let Then::Welcome(greeting) = then {
            return vec![(greeting.participant, ResumeKeys::first(greeting.fresh.key))];
        }
        let replaced = events.iter().filter_map(|event| match event {
            Event::DeviceReplaced { participant, .. } => Some(*participant),
            _ => None,
        });
        let keys = replaced.filter_map(|participant| {
            let index = self.index_of_newcomer(participant)?;
            let Place::Newcomer(key) = self.members[index].place else { return None };
            Some((participant, ResumeKeys::proven(key)))
        });
        keys.collect()
    }

    /// A device is heard after it was sent its first secret: it has it.
    pub(super) fn prove(&mut self, index: usize) {
        let member = &self.members[index];
        let participant = member.participant;
        let Some(keys) = self.resume.get(&participant).filter(|_| !member.is_newcomer()) else { return };
        if !keys.is_proven() {
            let keys = ResumeKeys::proven(keys.current);
            self.resume.insert(participant, keys);
            self.outputs.push_back(Output::KeepResume(participant, keys));
        }
    }

    /// Somebody at the door is told why not, and let go.
    pub(super) fn turn_away(&mut self, greeting: &Greeting, code: ErrorCode, message: String) {
        let retryable = code.is_retryable();
        let error = ServerMessage::Error { code, message, retryable, reply_to: greeting.request };
        self.say(greeting.connection, 0, error);
        let reason = if retryable { CloseReason::TryAgain } else { CloseReason::NotLetIn };
        self.close(greeting.connection, reason);
    }
}
