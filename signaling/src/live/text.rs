//! What is written and read of the thread, on the socket and over HTTPS where no socket can be held.
//!
//! Whoever asks over HTTPS shows the resume secret of their device, which is neither used up nor replaced by it. That they
//! ask is a sign of life: while they do they are there, in writing alone, unless a device of theirs is heard on another
//! channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{ContentDigest, EndReason, ParticipantId, ParticipantRole, SessionStatus, Standing};

use super::outcome::{Change, Pending};
use super::{KeepError, LiveSession, NewLine, Output, ThreadLine};
use crate::member::{Member, MemberId};
use crate::resume::ResumeKey;
use crate::wire::{
    CHAT_CHARACTERS_MAX, CLIENT_ID_CHARACTERS_MAX, ErrorCode, RequestId, ServerMessage, ThreadPage,
    VisitState,
};

/// How long an ask waits for news.
pub const TEXT_WAIT: SignedDuration = SignedDuration::from_secs(25);
/// How long somebody counts as there after they asked: until then they ask again, or their line is gone.
const ASKED_LIFE: SignedDuration = SignedDuration::from_secs(15);
/// Reads of older lines that wait for the store at a time.
const READS_MAX: usize = 16;

/// Names an ask by [`super::Input::Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextCall(pub u64);

/// Names a read of the thread by [`Output::ReadThread`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What somebody asks for who is on no socket.
#[derive(Clone, PartialEq, Eq)]
pub enum TextAsk {
    /// Whether they may read and write here.
    Look,
    /// How the visit stands.
    Visit,
    /// Says a line.
    Say(Words),
    /// What was said after a position; if nothing was, it waits.
    Poll {
        /// It.
        after: u64,
    },
    /// Whether the person is writing.
    Composing(bool),
}

/// A line as its writer brings it.
#[derive(Clone, PartialEq, Eq)]
pub struct Words {
    /// Their own id of it.
    pub client_id: String,
    /// What is said.
    pub text: String,
    /// The digest of an image they sent.
    pub attachment: Option<ContentDigest>,
}

/// What came of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextReply {
    /// It is so; the line is kept.
    Done,
    /// The session is over: the line is kept, and goes to the provider's desk.
    HandedOver,
    /// Lines.
    Page(ThreadPage),
    /// How it stands.
    Visit(Box<VisitState>),
}

/// Why nothing came of an ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The secret is none of theirs.
    #[error("this secret is void")]
    Void,
    /// They are not in.
    #[error("you are not in")]
    NotIn,
    /// They were taken out.
    #[error("you were taken out")]
    Removed,
    /// The session is over.
    #[error("the session is over")]
    Over(EndReason),
    /// What they ask for cannot be.
    #[error("{1}")]
    Refused(ErrorCode, String),
}

type Answer = Result<TextReply, TextError>;

/// Who asked, and is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A request on a socket.
    Member { member: MemberId, request: Option<RequestId> },
    /// An ask over HTTPS.
    Call(TextCall),
}

/// Those who ask over HTTPS.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Asks that wait for news; of one participant there is one.
    waiting: BTreeMap<ParticipantId, Waiting>,
    /// Until when who asked counts as there.
    there_until: BTreeMap<ParticipantId, Timestamp>,
    /// Those who were heard over HTTPS last, and on no other channel since.
    alone: BTreeSet<ParticipantId>,
    /// Those whose devices said that they are writing.
    composing: BTreeSet<ParticipantId>,
    reads: BTreeMap<ReadId, (Asker, ParticipantId)>,
    last_read: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    call: TextCall,
    after: u64,
    until: Timestamp,
}

impl Asking {
    /// Whether somebody comes through here alone.
    pub(super) fn is_alone(&self, participant: ParticipantId) -> bool {
        self.alone.contains(&participant)
    }

    pub(super) fn is_composing(&self, participant: ParticipantId) -> bool {
        self.composing.contains(&participant)
    }

    /// Whether somebody asked here a short time ago.
    pub(super) fn is_there(&self, participant: ParticipantId) -> bool {
        self.there_until.contains_key(&participant)
    }

    /// Somebody is not in any more.
    pub(super) fn forget(&mut self, participant: ParticipantId) {
        self.there_until.remove(&participant);
        self.alone.remove(&participant);
        self.composing.remove(&participant);
    }

    pub(super) fn set_composing(&mut self, participant: ParticipantId, on: bool) {
        if on {
            self.composing.insert(participant);
        } else {
            self.composing.remove(&participant);
        }
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        let waiting = self.waiting.values().map(|waiting| waiting.until);
        let there = self.there_until.iter().filter(|(who, _)| !self.waiting.contains_key(who));
        waiting.chain(there.map(|(_, &until)| until)).min()
    }
}

// --- over HTTPS --------------------------------------------------------------------------------------------------

impl LiveSession {
    /// Takes in what somebody asks who is on no socket.
    pub(super) fn text(
        &mut self,
        now: Timestamp,
        call: TextCall,
        participant: ParticipantId,
        (key, ask): (ResumeKey, TextAsk),
    ) {
        if !self.resume.get(&participant).is_some_and(|keys| keys.accept(key)) {
            return self.answer(call, Err(TextError::Void));
        }
        let may = self.may_write(participant);
        let late = matches!(may, Err(TextError::Over(_))) && self.may_write_late(participant);
        match ask {
            TextAsk::Say(words) if late => return self.say_line(now, participant, Asker::Call(call), words),
            TextAsk::Look if late => return self.answer(call, Ok(TextReply::HandedOver)),
            _ => {}
        }
        if let Err(why) = may {
            return self.answer(call, Err(why));
        }
        self.note_there(participant, now);
        match ask {
            TextAsk::Look => self.answer(call, Ok(TextReply::Done)),
            TextAsk::Visit => {
                let state = self.visit_state(participant).ok_or(TextError::Void);
                self.answer(call, state.map(|state| TextReply::Visit(Box::new(state))));
            }
            TextAsk::Say(words) => self.say_line(now, participant, Asker::Call(call), words),
            TextAsk::Composing(on) => {
                self.asking.set_composing(participant, on);
                self.answer(call, Ok(TextReply::Done));
            }
            TextAsk::Poll { after } => self.poll(now, call, participant, after),
        }
    }

    /// Whether somebody may read and write in the thread.
    fn may_write(&self, participant: ParticipantId) -> Result<(), TextError> {
        let record = self.session.participant(participant).ok_or(TextError::Void)?;
        match self.session.end_reason() {
            _ if record.standing == Standing::Removed => Err(TextError::Removed),
            Some(reason) => Err(TextError::Over(reason)),
            None if self.is_in(participant) => Ok(()),
            None => Err(TextError::NotIn),
        }
    }

    /// Whether what somebody wrote before the end, and could not send, is for the provider's desk.
    fn may_write_late(&self, participant: ParticipantId) -> bool {
        let is_patient = self.role_of(participant) == Some(ParticipantRole::Patient);
        let was_in = self.session.participant(participant).is_some_and(|record| record.admitted_at.is_some());
        let was_held = matches!(self.session.status(), SessionStatus::Ended | SessionStatus::Failed);
        is_patient && was_in && was_held
    }

    fn note_there(&mut self, participant: ParticipantId, now: Timestamp) {
        let until = now.checked_add(ASKED_LIFE).unwrap_or(Timestamp::MAX);
        self.asking.there_until.insert(participant, until);
        if !self.is_on_another_channel(participant) {
            self.asking.alone.insert(participant);
        }
    }

    fn is_on_another_channel(&self, participant: ParticipantId) -> bool {
        self.members.iter().any(|member| member.participant == participant && self.has_contact(member))
    }

    fn poll(&mut self, now: Timestamp, call: TextCall, participant: ParticipantId, after: u64) {
        // A position that was never given is that of another life, or a guess.
        let after = after.min(self.thread.last_position());
        // The one before is that of a line that is gone, or of a page that asks anew.
        if let Some(before) = self.asking.waiting.remove(&participant) {
            self.answer(
                before.call,
                Ok(TextReply::Page(ThreadPage { up_to: before.after, ..ThreadPage::default() })),
            );
        }
        if !self.thread.covers(after) {
            return self.read_older(Asker::Call(call), participant, after);
        }
        let until = now.checked_add(TEXT_WAIT).unwrap_or(Timestamp::MAX);
        self.asking.waiting.insert(participant, Waiting { call, after, until });
    }

    /// When something is due here.
    pub(super) fn text_timeout(&self) -> Option<Timestamp> {
        self.asking.next_timeout()
    }

    /// Notes who is not heard from here any more, and who is heard on another channel.
    pub(super) fn settle_asking(&mut self, now: Timestamp) {
        let waits: BTreeSet<ParticipantId> = self.asking.waiting.keys().copied().collect();
        self.asking.there_until.retain(|who, until| waits.contains(who) || *until > now);
        let here: Vec<ParticipantId> = self.asking.alone.iter().copied().collect();
        for participant in here {
            if self.is_on_another_channel(participant) {
                self.asking.alone.remove(&participant);
            }
        }
    }

    /// Answers those whose asks have waited enough: there is news, it is over for them, or for now.
    pub(super) fn settle_polls(&mut self, now: Timestamp) {
        let waiting: Vec<(ParticipantId, Waiting)> =
            self.asking.waiting.iter().map(|(&participant, &waiting)| (participant, waiting)).collect();
        for (participant, Waiting { call, after, until }) in waiting {
            let answer = match self.may_write(participant) {
                Err(why) => Err(why),
                Ok(()) => {
                    let page = self.page_of(participant, after);
                    if page.lines.is_empty() && until > now {
                        continue;
                    }
                    Ok(TextReply::Page(page))
                }
            };
            self.asking.waiting.remove(&participant);
            if answer.is_ok() {
                let until = now.checked_add(ASKED_LIFE).unwrap_or(Timestamp::MAX);
                self.asking.there_until.insert(participant, until);
            }
            self.answer(call, answer);
        }
    }

    fn answer(&mut self, call: TextCall, result: Answer) {
        self.outputs.push_back(Output::TextAnswered { call, result });
    }
}

// --- saying and reading, whoever asks ------------------------------------------------------------------------------

impl LiveSession {
    /// Has a line kept; those who are in are told of it when it is.
    pub(super) fn say_line(&mut self, now: Timestamp, from: ParticipantId, asker: Asker, words: Words) {
        if let Err(why) = check(&words) {
            return self.not_said(asker, ErrorCode::Malformed, why);
        }
        let late = self.session.status().is_final();
        let Words { client_id, text, attachment } = words;
        // Said again by who did not hear that it was said.
        if self.thread.has(from, &client_id) {
            return self.said(asker, late);
        }
        let people = self.session.participants().iter().map(|participant| participant.id);
        let mut audience: BTreeSet<_> = people.filter(|&id| !late && self.is_in(id)).collect();
        audience.insert(from);
        let line = NewLine { at: now, from, client_id, text, image: attachment, audience, late };
        self.outputs.push_back(Output::Keep(Box::new(line)));
        self.pending = Some(Pending { change: Change::Said { asker, late }, resume: Vec::new() });
    }

    /// Takes in how [`Output::Keep`] went: the lines that are new here, in order, the one it was about among them. None are
    /// if it was kept before and those who are in heard of it then.
    ///
    /// # Panics
    ///
    /// If no line was to be kept.
    pub fn kept(&mut self, now: Timestamp, result: Result<Vec<ThreadLine>, KeepError>) {
        let Some(Pending { change: Change::Said { asker, late }, .. }) = self.pending.take() else {
            panic!("no line was to be kept")
        };
        match result {
            Ok(lines) => {
                lines.into_iter().for_each(|line| self.spread(line));
                self.said(asker, late);
            }
            Err(KeepError::Unavailable) => {
                let why = "the store does not answer; the line is not said".into();
                self.not_said(asker, ErrorCode::StoreUnavailable, why);
            }
            Err(KeepError::UnknownImage) => {
                self.not_said(asker, ErrorCode::UnknownImage, "send the image first".into());
            }
            Err(KeepError::Full) => {
                let why = "the thread has as many lines as it may".into();
                self.not_said(asker, ErrorCode::Rejected("limit_reached"), why);
            }
        }
        self.refresh(now);
    }

    /// Tells everybody who is in and whom a line is for.
    fn spread(&mut self, line: ThreadLine) {
        if !self.thread.push(line.clone()) {
            return;
        }
        let message = Arc::new(ServerMessage::Chat { line: self.spoken(&line) });
        let readers: Vec<MemberId> = self
            .members_inside()
            .filter(|member| line.audience.contains(&member.participant))
            .map(|member| member.id)
            .collect();
        for reader in readers {
            self.tell(reader, Arc::clone(&message));
        }
    }

    fn said(&mut self, asker: Asker, late: bool) {
        match asker {
            Asker::Member { member, request } => self.done(member, request),
            Asker::Call(call) => {
                self.answer(call, Ok(if late { TextReply::HandedOver } else { TextReply::Done }));
            }
        }
    }

    fn not_said(&mut self, asker: Asker, code: ErrorCode, why: String) {
        match asker {
            Asker::Member { member, request } => self.refuse(member, request, code, why),
            Asker::Call(call) => self.answer(call, Err(TextError::Refused(code, why))),
        }
    }

    /// A device that is in asks for what was said after a position.
    pub(super) fn ask_thread(&mut self, index: usize, request: Option<RequestId>, after: u64) {
        let Member { id: member, participant, .. } = self.members[index];
        if !self.is_inside(&self.members[index]) {
            return self.refuse_waiting(member, request);
        }
        let after = after.min(self.thread.last_position());
        if !self.thread.covers(after) {
            return self.read_older(Asker::Member { member, request }, participant, after);
        }
        let page = self.page_of(participant, after);
        self.tell(member, ServerMessage::Thread { page, reply_to: request });
    }

    /// What is here of what somebody may read after a position.
    fn page_of(&self, participant: ParticipantId, after: u64) -> ThreadPage {
        let lines = self.thread.heard_by(participant).filter(|line| line.position > after);
        let lines = lines.map(|line| self.spoken(line)).collect();
        ThreadPage { lines, up_to: self.thread.last_position(), more: false }
    }

    fn read_older(&mut self, asker: Asker, participant: ParticipantId, after: u64) {
        if self.asking.reads.len() >= READS_MAX {
            return self.not_said(asker, ErrorCode::Busy, "too much is being read".into());
        }
        self.asking.last_read += 1;
        let read = ReadId(self.asking.last_read);
        self.asking.reads.insert(read, (asker, participant));
        self.outputs.push_back(Output::ReadThread { read, after });
    }

    /// What the store has after a position: a page of it, in order; none if it does not answer.
    pub(super) fn thread_read(&mut self, read: ReadId, lines: Option<Vec<ThreadLine>>) {
        let Some((asker, participant)) = self.asking.reads.remove(&read) else { return };
        if let Err(why) = self.may_write(participant) {
            return match asker {
                Asker::Member { member, request } => self.refuse_waiting(member, request),
                Asker::Call(call) => self.answer(call, Err(why)),
            };
        }
        let Some(lines) = lines else {
            let why = "the store does not answer".into();
            return self.not_said(asker, ErrorCode::StoreUnavailable, why);
        };
        let up_to = lines.last().map_or(self.thread.last_position(), |line| line.position);
        let theirs = lines.iter().filter(|line| line.audience.contains(&participant));
        let lines = theirs.map(|line| self.spoken(line)).collect();
        let page = ThreadPage { lines, up_to, more: up_to < self.thread.last_position() };
        match asker {
            Asker::Member { member, request } => {
                self.tell(member, ServerMessage::Thread { page, reply_to: request });
            }
            Asker::Call(call) => self.answer(call, Ok(TextReply::Page(page))),
        }
    }

    /// A device says whether its person is writing.
    pub(super) fn composing(&mut self, index: usize, request: Option<RequestId>, on: bool) {
        let Member { id, participant, .. } = self.members[index];
        if !self.is_inside(&self.members[index]) {
            return self.refuse_waiting(id, request);
        }
        self.asking.set_composing(participant, on);
        self.done(id, request);
    }
}

fn check(words: &Words) -> Result<(), String> {
    let characters = words.text.chars().count();
    let says_nothing = words.text.trim().is_empty() && words.attachment.is_none();
    if says_nothing || characters > CHAT_CHARACTERS_MAX {
        return Err(format!("a line of chat has 1 to {CHAT_CHARACTERS_MAX} characters, and not only blanks"));
    }
    if !(1..=CLIENT_ID_CHARACTERS_MAX).contains(&words.client_id.chars().count()) {
        return Err(format!("`clientId` has 1 to {CLIENT_ID_CHARACTERS_MAX} characters"));
    }
    Ok(())
}

impl std::fmt::Debug for Words {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Words(…)")
    }
}

impl std::fmt::Debug for TextAsk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Look => formatter.write_str("Look"),
            Self::Visit => formatter.write_str("Visit"),
            Self::Say(words) => write!(formatter, "Say({words:?})"),
            Self::Poll { after } => write!(formatter, "Poll({after})"),
            Self::Composing(on) => write!(formatter, "Composing({on})"),
        }
    }
}
