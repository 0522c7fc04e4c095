//! Browsers that keep to the protocol (docs/protocol.md): what a page knows, what it shows, what it sends again.
//!
//! A page checks what it is told as it comes: numbers without a gap, one reply to a request, nothing of others before it
//! is let in, no line of chat twice.

use std::collections::{BTreeMap, BTreeSet};

use vestibule_domain::{BandwidthProfile, ParticipantId, SessionStatus};
use vestibule_signaling::wire::{Participant, RequestId, ServerMessage};
use vestibule_signaling::{AudioProfile, Quality};

use crate::check::{Checked, Fault, fault};

/// Somebody's device: a tab, and what it keeps over a reload.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// In sessionStorage.
    pub(crate) secret: Option<String>,
    pub(crate) page: Option<Page>,
    /// Lines it ever said, for no id to be used twice.
    pub(crate) lines_said: u32,
    pub(crate) negotiations: u32,
}

/// Where a page was told that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    In,
}

/// A request without a reply.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The fields of the message but for its id.
    pub(crate) body: String,
    /// Of a line of chat: its own id.
    pub(crate) line: Option<String>,
}

/// What a page keeps in memory.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Tells it from all other pages.
    pub(crate) number: u32,
    pub(crate) socket: Option<u64>,
    /// The server answered the `hello` of this socket.
    pub(crate) greeted: bool,
    pub(crate) hello: Option<u64>,
    pub(crate) incarnation: Option<String>,
    pub(crate) last_seq: u64,
    pub(crate) last_id: u64,
    pub(crate) waiting: BTreeMap<u64, Asked>,
    pub(crate) answered: BTreeSet<u64>,
    pub(crate) last_sent: Option<String>,
    pub(crate) view: View,
}

/// What a page shows.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) place: Option<Place>,
    pub(crate) new_device: bool,
    pub(crate) people: BTreeMap<ParticipantId, Participant>,
    pub(crate) session: Option<(SessionStatus, u64)>,
    pub(crate) queue: Option<(Option<u32>, bool, bool)>,
    pub(crate) knocks: BTreeMap<ParticipantId, String>,
    pub(crate) seats: BTreeMap<u16, Option<ParticipantId>>,
    /// Who wrote it, and their id of it.
    pub(crate) lines: Vec<(ParticipantId, String)>,
    pub(crate) recording: bool,
    pub(crate) speaker: Option<ParticipantId>,
    /// Of those whose connection was said not to be good.
    pub(crate) qualities: BTreeMap<ParticipantId, Quality>,
    /// Of the camera; none if everything is.
    pub(crate) wanted: Option<Vec<String>>,
    pub(crate) audio: AudioProfile,
    /// What their own line is used for.
    pub(crate) tier: BandwidthProfile,
}

/// What a page does about a message.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// Sends these.
    Send(Vec<String>),
    /// It was told that it is over for this device: it forgets its secret.
    Stop,
    /// Its `hello` was refused, for good or for now.
    Refused { for_good: bool },
}

impl Page {
    /// The text of a request with the next number.
    pub(crate) fn ask(&mut self, body: String, line: Option<String>) -> String {
        self.last_id += 1;
        let id = self.last_id;
        let text = text(id, &body);
        self.waiting.insert(id, Asked { body, line });
        self.last_sent = Some(text.clone());
        text
    }

    /// The text of a `hello`: every other one has a number, for the reply to name.
    pub(crate) fn hello(&mut self, body: &str) -> String {
        if self.last_id.is_multiple_of(2) {
            self.hello = None;
            return format!("{{{body}}}");
        }
        self.last_id += 1;
        self.hello = Some(self.last_id);
        text(self.last_id, body)
    }

    /// The last line that was said and not answered.
    pub(crate) fn unanswered_line(&self) -> Option<String> {
        self.waiting.values().rev().find_map(|asked| asked.line.clone())
    }

    /// Reads one message.
    pub(crate) fn read(
        &mut self,
        me: ParticipantId,
        seq: u64,
        message: &ServerMessage,
        secret: &mut Option<String>,
    ) -> Result<Reaction, Fault> {
        if !self.greeted {
            return self.greet(me, seq, message, secret);
        }
        if seq != self.last_seq + 1 {
            return fault("numbers", format!("{me}: {seq} follows {}: {message:?}", self.last_seq));
        }
        self.last_seq = seq;
        self.reply(message)?;
        self.show(me, message)
    }

    fn greet(
        &mut self,
        me: ParticipantId,
        seq: u64,
        message: &ServerMessage,
        secret: &mut Option<String>,
    ) -> Result<Reaction, Fault> {
        match message {
            ServerMessage::Welcome {
                you,
                new_device,
                session,
                participants,
                chat,
                resume,
                incarnation,
                reply_to,
                ..
            } => {
                self.greeted_by(seq == 0, *reply_to, message)?;
                if you.id != me || self.incarnation.as_ref() == Some(incarnation) {
                    return fault("welcome", format!("not mine, or an incarnation twice: {message:?}"));
                }
                let place =
                    if you.state.as_str() == "waiting" || *new_device { Place::Waiting } else { Place::In };
                self.view = View {
                    place: Some(place),
                    new_device: *new_device,
                    session: Some((session.status, session.version)),
                    tier: you.tier,
                    ..View::default()
                };
                self.view.let_in(participants, chat.iter().map(|line| (line.from, &line.client_id)))?;
                self.incarnation = Some(incarnation.clone());
                self.last_seq = 0;
                if resume.is_some() {
                    secret.clone_from(resume);
                }
                Ok(Reaction::Send(self.begin_again()))
            }
            ServerMessage::Resumed { resume, heard, reply_to } => {
                self.greeted_by(seq == self.last_seq, *reply_to, message)?;
                if self.incarnation.is_none() {
                    return fault("resumed", "a page that knows no incarnation was resumed");
                }
                if heard.0 > self.last_id || self.answered.last().is_some_and(|&last| last > heard.0) {
                    return fault("heard", format!("{heard:?} of {}, {:?}", self.last_id, self.answered));
                }
                if resume.is_some() {
                    secret.clone_from(resume);
                }
                let above = self.waiting.range(heard.0 + 1..);
                Ok(Reaction::Send(above.map(|(&id, asked)| text(id, &asked.body)).collect()))
            }
            ServerMessage::Error { retryable, reply_to, .. } if reply_to.map(|id| id.0) == self.hello => {
                Ok(Reaction::Refused { for_good: !retryable })
            }
            // What was decided while it was away.
            ServerMessage::Ended { .. } | ServerMessage::Removed {} | ServerMessage::Denied { .. } => {
                Ok(Reaction::Stop)
            }
            _ => fault("greeting", format!("{message:?} before a welcome")),
        }
    }

    fn greeted_by(
        &mut self,
        numbered: bool,
        reply_to: Option<RequestId>,
        message: &ServerMessage,
    ) -> Checked {
        self.greeted = true;
        if !numbered || reply_to.map(|id| id.0) != self.hello {
            return fault("greeting", format!("{message:?} to hello {:?}", self.hello));
        }
        Ok(())
    }

    /// An incarnation begins: what was asked in the one before is forgotten, but for lines that nobody may have heard.
    fn begin_again(&mut self) -> Vec<String> {
        let before = std::mem::take(&mut self.waiting);
        self.answered.clear();
        self.last_sent = None;
        // What was asked before the first welcome belongs to the incarnation that begins.
        self.last_id = 0;
        let shown: BTreeSet<&String> = self.view.lines.iter().map(|(_, id)| id).collect();
        let lost: Vec<Asked> = before
            .into_values()
            .filter(|asked| asked.line.as_ref().is_some_and(|line| !shown.contains(line)))
            .collect();
        lost.into_iter().map(|asked| self.ask(asked.body, asked.line)).collect()
    }

    fn reply(&mut self, message: &ServerMessage) -> Checked {
        let reply_to = match message {
            ServerMessage::Answer { reply_to, .. }
            | ServerMessage::Restarted { reply_to, .. }
            | ServerMessage::Stats { reply_to, .. }
            | ServerMessage::Timeline { reply_to, .. }
            | ServerMessage::Thread { reply_to, .. }
            | ServerMessage::Done { reply_to }
            | ServerMessage::Error { reply_to, .. } => *reply_to,
            _ => None,
        };
        let Some(RequestId(id)) = reply_to else { return Ok(()) };
        let asked = self.waiting.remove(&id);
        let is_first = self.answered.insert(id);
        if asked.is_some() && is_first {
            return Ok(());
        }
        fault("replies", format!("a reply to nothing, or a second one: {message:?}"))
    }

    fn show(&mut self, me: ParticipantId, message: &ServerMessage) -> Result<Reaction, Fault> {
        let view = &mut self.view;
        let inside = view.place == Some(Place::In);
        let only_inside = matches!(
            message,
            ServerMessage::Participant { .. }
                | ServerMessage::Chat { .. }
                | ServerMessage::Knock { .. }
                | ServerMessage::KnockOver { .. }
                | ServerMessage::Recording { .. }
                | ServerMessage::Tier { .. }
                | ServerMessage::Speaker { .. }
                | ServerMessage::Timeline { .. }
        );
        if only_inside && !inside {
            return fault("outside", format!("read by one who waits: {message:?}"));
        }
        match message {
            ServerMessage::Welcome { .. } | ServerMessage::Resumed { .. } => {
                return fault("greeting", format!("a second one on a socket: {message:?}"));
            }
            ServerMessage::Waiting { position, provider_present, desk_attended } => {
                if inside {
                    let mut before = std::mem::take(view);
                    before.qualities.retain(|about, _| *about == me);
                    let View { session, qualities, wanted, audio, tier, .. } = before;
                    *view = View { session, qualities, wanted, audio, tier, ..View::default() };
                }
                view.place = Some(Place::Waiting);
                view.queue = Some((*position, *provider_present, *desk_attended));
            }
            ServerMessage::Admitted { participants, chat } => {
                view.place = Some(Place::In);
                view.new_device = false;
                view.queue = None;
                view.let_in(participants, chat.iter().map(|line| (line.from, &line.client_id)))?;
            }
            ServerMessage::Participant { participant_id, participant: Some(participant) } => {
                view.people.insert(*participant_id, participant.clone());
            }
            ServerMessage::Participant { participant_id, participant: None } => {
                view.qualities.remove(participant_id);
                if view.people.remove(participant_id).is_none() {
                    return fault("view", format!("{participant_id} goes out of a view they were not in"));
                }
            }
            ServerMessage::Knock { participant, device, .. } => {
                view.knocks.insert(participant.id, device.clone());
            }
            ServerMessage::KnockOver { participant_id } => {
                if view.knocks.remove(participant_id).is_none() {
                    return fault("view", format!("a knock of {participant_id} is over that never was"));
                }
            }
            ServerMessage::Seats { seats, .. } => {
                let taken = seats.iter().any(|seat| seat.participant.is_some());
                if taken && !inside {
                    return fault("outside", format!("somebody sits before one who waits: {message:?}"));
                }
                view.seats = seats.iter().map(|seat| (seat.seat, seat.participant)).collect();
            }
            ServerMessage::Session { status, version, .. } => view.session = Some((*status, *version)),
            ServerMessage::Chat { line } => view.hear((line.from, &line.client_id))?,
            ServerMessage::Recording { on } => view.recording = *on,
            ServerMessage::Disconnected { .. } => {
                view.seats.clear();
                (view.wanted, view.audio) = (None, AudioProfile::Full);
            }
            ServerMessage::Speaker { participant_id } => {
                let known = participant_id.is_none_or(|id| id == me || view.people.contains_key(&id));
                if !known {
                    return fault("view", format!("{participant_id:?} speaks and is not there"));
                }
                view.speaker = *participant_id;
            }
            ServerMessage::Quality { participant_id, level, reason } => {
                if *participant_id != me && !(inside && view.people.contains_key(participant_id)) {
                    return fault("outside", format!("not theirs to know: {message:?}"));
                }
                view.qualities.insert(*participant_id, Quality { level: *level, reason: *reason });
            }
            ServerMessage::Tier { profile, .. } => view.tier = *profile,
            ServerMessage::Encodings { active, .. } => view.wanted = Some(active.clone()),
            ServerMessage::AudioEncoding { max_bitrate_bps, .. } => {
                view.audio = match max_bitrate_bps {
                    None => AudioProfile::Full,
                    Some(8_000) => AudioProfile::Least,
                    Some(_) => AudioProfile::Thrifty,
                };
            }
            ServerMessage::Superseded {}
            | ServerMessage::Ended { .. }
            | ServerMessage::Denied { .. }
            | ServerMessage::Removed {} => {
                return Ok(Reaction::Stop);
            }
            ServerMessage::Answer { .. }
            | ServerMessage::Restarted { .. }
            | ServerMessage::Stats { .. }
            | ServerMessage::Rehearse { .. }
            | ServerMessage::VideoCodec { .. }
            | ServerMessage::Timeline { .. }
            | ServerMessage::Thread { .. }
            | ServerMessage::Done { .. }
            | ServerMessage::Error { .. } => {}
        }
        Ok(Reaction::Send(Vec::new()))
    }
}

impl View {
    fn let_in<'a>(
        &mut self,
        participants: &[Participant],
        chat: impl Iterator<Item = (ParticipantId, &'a String)>,
    ) -> Checked {
        self.people = participants.iter().map(|participant| (participant.id, participant.clone())).collect();
        self.lines.clear();
        for line in chat {
            self.hear(line)?;
        }
        let nobody = self.people.is_empty() && self.lines.is_empty();
        if self.place != Some(Place::In) && !nobody {
            return fault(
                "outside",
                format!("welcomed to wait, and told of {:?}, {:?}", self.people, self.lines),
            );
        }
        Ok(())
    }

    fn hear(&mut self, (from, client_id): (ParticipantId, &String)) -> Checked {
        if self.lines.iter().any(|(author, id)| *author == from && id == client_id) {
            return fault("chat", format!("{client_id} of {from} twice"));
        }
        self.lines.push((from, client_id.clone()));
        Ok(())
    }
}

/// A frame.
pub(crate) fn text(id: u64, body: &str) -> String {
    format!(r#"{{"id":{id},{body}}}"#)
}
