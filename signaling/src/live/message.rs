//! What a device says, and whether it may. Who waits may offer, so that their transport stands when they are let in; what is
//! said of the session and its people is for those who are in.

use std::collections::BTreeSet;

use jiff::Timestamp;
use vestibule_domain::{Actor, Command, Rejection};

use super::outcome::Then;
use super::text::Asker;
use super::{CloseReason, LiveSession, Words};
use crate::media::{MediaCommand, SeatId, SeatWish};
use crate::member::{ConnectionId, Member, REQUESTS_UNDER_WAY_MAX, Requests};
use crate::seating;
use crate::wire::{ClientMessage, ErrorCode, Frame, FrameError, RequestId, SlotWish};

impl LiveSession {
    pub(super) fn frame(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        frame: Result<Frame, FrameError>,
    ) {
        // Behind a close, sockets may still say something.
        let Some(index) = self.index_of(connection) else { return };
        let id = frame.as_ref().map_or_else(|error| error.id, |frame| frame.id);
        if let Some(id) = id {
            let heard = self.members[index].log.heard;
            if id <= heard {
                // The reply of that number is another request's, and comes or came once.
                let why = format!("`id` {} after {}: the numbers of requests grow", id.0, heard.0);
                return self.refuse(self.members[index].id, None, ErrorCode::Malformed, why);
            }
            self.members[index].log.heard = id;
        }
        self.prove(index);
        match frame {
            Ok(Frame { id, message }) => self.message(now, index, id, message),
            Err(error) => {
                let member = self.members[index].id;
                self.refuse(member, error.id, ErrorCode::Malformed, error.to_string());
            }
        }
    }

    fn message(&mut self, now: Timestamp, index: usize, request: Option<RequestId>, message: ClientMessage) {
        let member = &self.members[index];
        let (id, peer, participant) = (member.id, member.peer, member.participant);
        // Who is being taken out has no say any more, though it is not written yet.
        let has_a_say = !member.is_newcomer() && !self.is_being_taken_out(participant);
        if !has_a_say && !is_for_newcomers(&message) {
            return self.refuse_waiting(id, request);
        }
        let device = device_of(&message).map(str::to_owned);
        let command = match message {
            ClientMessage::Hello { .. } => {
                return self.refuse(id, request, ErrorCode::HelloExpected, "you said hello before".into());
            }
            ClientMessage::Offer { sdp, negotiation } => return self.offer(index, request, sdp, negotiation),
            ClientMessage::Restart { .. } if !self.members[index].answered => {
                let why = "there is nothing to restart before the first answer".into();
                return self.refuse(id, request, ErrorCode::Refused, why);
            }
            ClientMessage::Restart { ufrag, pwd } => {
                let command = MediaCommand::RestartIce { peer, ufrag, pwd };
                return self.ask(index, command, |requests| requests.restarts.push_back(request));
            }
            ClientMessage::Stats {} => {
                let command = MediaCommand::Stats(peer);
                return self.ask(index, command, |requests| requests.stats.push_back(request));
            }
            ClientMessage::Timeline { participant_id, since } => {
                return self.timeline(index, request, participant_id, since);
            }
            ClientMessage::Subscribe { slots } => return self.subscribe(index, request, slots),
            ClientMessage::Publish { kind, muted } => {
                self.members[index].set_muted(kind, muted);
                return self.done(id, request);
            }
            ClientMessage::Chat { client_id, text, attachment } => {
                return self.chat(now, index, request, Words { client_id, text, attachment });
            }
            ClientMessage::Thread { after } => return self.ask_thread(index, request, after),
            ClientMessage::Composing { on } => return self.composing(index, request, on),
            ClientMessage::Tier { want } => return self.choose_tier(now, index, request, want),
            ClientMessage::Line { uplink_kbps } => {
                let &Member { peer, transport, .. } = &self.members[index];
                if transport {
                    let bps = u64::from(uplink_kbps) * 1_000;
                    self.media(MediaCommand::NoteUplink { peer, bps });
                }
                return self.done(id, request);
            }
            ClientMessage::Ping { last_seq } => {
                self.members[index].log.forget(last_seq.unwrap_or(0));
                return self.done(id, request);
            }
            ClientMessage::Leave {} if self.members[index].is_newcomer() => {
                self.done(id, request);
                self.detach(index, CloseReason::Over);
                return self.drop_member(index);
            }
            ClientMessage::Leave {} => Command::Leave { participant },
            ClientMessage::End {} => Command::End,
            ClientMessage::Admit { participant_id, .. } => Command::Admit { participant: participant_id },
            ClientMessage::Deny { participant_id, reason, .. } => {
                Command::Deny { participant: participant_id, reason }
            }
            ClientMessage::SendBack { participant_id } => Command::SendBack { participant: participant_id },
            ClientMessage::Remove { participant_id } => Command::Remove { participant: participant_id },
            ClientMessage::Consent { consent_type, version, granted } => {
                Command::CaptureConsent { consent_type, granted, version }
            }
        };
        let Some(command) = self.of_the_device(command, device.as_deref()) else {
            let code = ErrorCode::Rejected(Rejection::NotWaiting.code());
            return self.refuse(id, request, code, "this device does not wait any more".into());
        };
        let then = Then::Reply { member: id, request };
        self.decide(now, command, Actor::Participant(participant), then);
    }

    fn offer(&mut self, index: usize, request: Option<RequestId>, sdp: String, negotiation: u32) {
        let member = &self.members[index];
        if member.requests.offers.contains_key(&negotiation) {
            let why = "this negotiation is under way".into();
            return self.refuse(member.id, request, ErrorCode::Refused, why);
        }
        let command = MediaCommand::Offer { peer: member.peer, negotiation, sdp };
        self.ask(index, command, |requests| {
            requests.offers.insert(negotiation, request);
        });
    }

    /// Hands a client's request to the engine, unless it has too many there already.
    fn ask(&mut self, index: usize, command: MediaCommand, note: impl FnOnce(&mut Requests)) {
        let member = &mut self.members[index];
        let requests = &mut member.requests;
        let under_way = requests.count();
        note(requests);
        if under_way >= REQUESTS_UNDER_WAY_MAX {
            self.busy(&command);
        } else {
            self.media(command);
        }
    }

    fn chat(&mut self, now: Timestamp, index: usize, request: Option<RequestId>, words: Words) {
        let Member { id, participant, .. } = self.members[index];
        if !self.is_inside(&self.members[index]) {
            return self.refuse_waiting(id, request);
        }
        self.say_line(now, participant, Asker::Member { member: id, request }, words);
    }

    fn subscribe(&mut self, index: usize, request: Option<RequestId>, slots: Vec<SlotWish>) {
        let Member { id, .. } = self.members[index];
        if !self.is_inside(&self.members[index]) {
            return self.refuse_waiting(id, request);
        }
        if let Err(why) = self.check(index, &slots) {
            return self.refuse(id, request, ErrorCode::Refused, why.into());
        }
        for SlotWish { seat, participant, max_height, priority } in slots {
            let seat = SeatId(seat);
            let wishes = &mut self.members[index].wishes;
            let before = wishes.get(&seat).copied().unwrap_or_default();
            let wish = SeatWish {
                max_height: max_height.unwrap_or(before.max_height),
                priority: priority.unwrap_or(before.priority),
            };
            wishes.insert(seat, wish);
            if let Some(occupant) = participant {
                seating::place(&mut self.members[index].seats, &seat, occupant);
            }
        }
        self.done(id, request);
    }

    /// All wishes can be fulfilled, or none is.
    fn check(&self, index: usize, slots: &[SlotWish]) -> Result<(), &'static str> {
        let viewer = &self.members[index];
        if slots.len() > viewer.seats.len() {
            return Err("more wishes than seats");
        }
        let mut named = BTreeSet::new();
        for wish in slots {
            // One that is had both ways would have its publisher change what they send with every wish.
            if !named.insert(wish.seat) {
                return Err("a seat is named twice");
            }
            let seat = viewer
                .seats
                .iter()
                .find(|seat| seat.id == SeatId(wish.seat))
                .ok_or("there is no such seat")?;
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

/// The device somebody is let in on, or not.
fn device_of(message: &ClientMessage) -> Option<&str> {
    match message {
        ClientMessage::Admit { device, .. } | ClientMessage::Deny { device, .. } => device.as_deref(),
        _ => None,
    }
}

/// What a device may say that waits to take another one's place: what is about itself alone.
const fn is_for_newcomers(message: &ClientMessage) -> bool {
    matches!(
        message,
        ClientMessage::Hello { .. }
            | ClientMessage::Offer { .. }
            | ClientMessage::Restart { .. }
            | ClientMessage::Publish { .. }
            | ClientMessage::Stats {}
            | ClientMessage::Ping { .. }
            | ClientMessage::Leave {}
    )
}
