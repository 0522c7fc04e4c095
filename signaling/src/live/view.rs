//! What each of those connected may know, and telling them what of it is different.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use vestibule_domain::{
    BandwidthProfile, Connection, Participant as Record, ParticipantId, ParticipantRole, ParticipantState,
    Standing,
};

use super::roster::{Changes, Roster, Seen};
use super::thread::ThreadLine;
use super::{LiveSession, Output, PEOPLE_MAX, Waits};
use crate::media::{MediaCommand, PeerId, SeatId, SeatWish};
use crate::member::{Member, MemberId};
use crate::seating;
use crate::wire::{
    ChatLine, Participant, ParticipantMedia, Policy, SeatTaken, ServerMessage, SessionState, VisitState,
};

/// Those who are in and heard from or waited for, as others' seats take them.
struct Sitters {
    people: Vec<ParticipantId>,
    screens: Vec<ParticipantId>,
    peers: BTreeMap<ParticipantId, PeerId>,
}

impl LiveSession {
    /// Tells everybody what is different since they were told last.
    pub(super) fn refresh(&mut self, now: Timestamp) {
        self.settle_silence(now);
        self.settle_contact(now);
        self.settle_gates();
        let sitters = self.sitters();
        self.grow_seats(&sitters);
        let session = Arc::new(self.session_message());
        let mut changes = Changes::to(self.current_roster());
        let provider_present = self.provider_is_present();
        let speaker = self.speaker();
        let qualities = self.qualities();
        for index in 0..self.members.len() {
            let inside = self.is_inside(&self.members[index]);
            self.tell_session(index, inside, &session);
            if inside {
                if self.members[index].told.waiting.is_some() {
                    // What was taken from them is theirs again: nothing came of it.
                    self.let_in(self.members[index].participant);
                }
                self.tell_participants(index, &mut changes);
                self.tell_recording(index);
                self.reseat(index, &sitters);
                self.tell_knocks(index);
                self.tell_speaker(index, speaker);
            } else {
                // To be told to wait is to be told that all one knew of others is past.
                let own = self.members[index].participant;
                let told = &mut self.members[index].told;
                told.participants = Roster::default();
                told.knocks.clear();
                told.seats.clear();
                told.recording = false;
                told.speaker = None;
                told.qualities.retain(|about, _| *about == own);
                self.tell_waiting(index, provider_present);
                self.empty_seats(index);
            }
            self.settle_sought(index);
            self.tell_rehearsal(index);
            self.tell_wanted(index);
            self.tell_qualities(index, &qualities);
        }
        self.tell_queue();
        self.settle_polls(now);
        self.settle_fallback(now);
    }

    pub(super) fn session_state(&self) -> SessionState {
        SessionState {
            id: self.session.id(),
            status: self.session.status(),
            version: self.session.version(),
            started_at: self.session.started_at(),
        }
    }

    /// The session's rules that matter to a client.
    pub(super) fn policy(&self) -> Policy {
        let policy = self.session.policy();
        Policy {
            grace_reconnect_seconds: policy.grace_reconnect_seconds,
            text_grace_minutes: policy.text_grace_minutes,
            recording_allowed: policy.recording_allowed,
            communication: self.session.communication(),
            audio_min_kbps: policy.fallback.audio_min_kbps,
            audio_loss_max_percent: policy.fallback.audio_loss_max_percent,
            audio_hold_ms: policy.fallback.audio_hold_ms,
        }
    }

    /// How the visit stands, for somebody who is in and may be on no socket.
    pub(super) fn visit_state(&mut self, viewer: ParticipantId) -> Option<VisitState> {
        let is_provider = self.role_of(viewer) == Some(ParticipantRole::Provider);
        let participants = self.current_roster().seen_by(viewer, is_provider).cloned().collect();
        let (session, policy) = (self.session_state(), self.policy());
        Some(VisitState { you: self.describe(viewer)?, session, participants, policy })
    }

    /// A participant as those see them who may.
    pub(super) fn describe(&self, id: ParticipantId) -> Option<Participant> {
        let record = self.session.participant(id)?;
        Some(self.describe_as(record, self.index_of_first(id).map(|index| &self.members[index])))
    }

    fn describe_as(&self, participant: &Record, member: Option<&Member>) -> Participant {
        let id = participant.id;
        let transport = member.is_some_and(|member| member.transport);
        // Contact with a newcomer is none with who is in, whose device may be forgotten by now.
        let reached = member.is_some_and(|member| member.lost_since.is_none()) || self.asking.is_there(id);
        let connection = match self.presence.get(id) {
            Connection::Connected if !reached => Connection::Absent,
            connection => connection,
        };
        Participant {
            id,
            role: participant.role,
            name: self.name_of(id),
            state: ParticipantState::of(participant, connection, transport),
            media: member.map_or_else(ParticipantMedia::default, Member::media),
            tier: self.tier_of(id),
            tier_reason: self.tier_reason_of(id),
            lost_until: self.session.waited_for_until(id, &self.presence),
        }
    }

    /// A device as its owner sees it: a newcomer waits, though its participant is in.
    pub(super) fn describe_device(&self, index: usize) -> Option<Participant> {
        let member = &self.members[index];
        let you = self.describe(member.participant)?;
        let waits = member.is_newcomer();
        Some(if waits {
            Participant { state: ParticipantState::Waiting, media: member.media(), ..you }
        } else {
            you
        })
    }

    /// What was said while somebody was in.
    pub(super) fn chat_of(&self, participant: ParticipantId) -> Vec<ChatLine> {
        self.thread.heard_by(participant).map(|line| self.spoken(line)).collect()
    }

    /// A line as people get it.
    pub(super) fn spoken(&self, line: &ThreadLine) -> ChatLine {
        ChatLine {
            position: line.position,
            from: line.from,
            name: self.name_of(line.from),
            client_id: line.client_id.clone(),
            text: line.text.clone(),
            attachment: line.attachment.clone(),
            at: line.at,
        }
    }

    /// What a member sees, noted as told.
    pub(super) fn look(&mut self, index: usize) -> Vec<Participant> {
        let viewer = self.members[index].participant;
        let inside = self.is_inside(&self.members[index]);
        let roster = if inside { self.current_roster() } else { Roster::default() };
        let seen = roster.seen_by(viewer, self.members[index].is_provider()).cloned().collect();
        self.members[index].told.participants = roster;
        seen
    }

    /// Who is to be seen now: who is admitted by who is admitted, who waits by providers. The one of before if nothing is
    /// different.
    fn current_roster(&mut self) -> Roster {
        let firsts = self.members.iter().filter(|member| !member.is_newcomer());
        let firsts: BTreeMap<ParticipantId, &Member> =
            firsts.map(|member| (member.participant, member)).collect();
        let mut present: Vec<&Record> = self
            .session
            .participants()
            .iter()
            .filter(|record| self.presence.get(record.id) != Connection::Absent)
            .filter(|record| match record.standing {
                Standing::Admitted => true,
                // Those whose line is gone for a moment keep their place in front of the door.
                Standing::Waiting => firsts.contains_key(&record.id),
                Standing::Invited | Standing::Removed => false,
            })
            .collect();
        present.sort_by_key(|record| (record.first_joined_at, record.id));
        let seen = present.into_iter().map(|record| Seen {
            participant: self.describe_as(record, firsts.get(&record.id).copied()),
            waits: record.standing == Standing::Waiting,
        });
        let roster = Roster::new(seen.collect());
        if roster != self.roster {
            self.roster = roster;
        }
        self.roster.clone()
    }

    /// Who waits, as far as it is for this device to let them in: providers see to who waits and to others' newcomers, and
    /// everybody who is a provider to their own.
    fn knocks_for(&self, index: usize) -> BTreeMap<ParticipantId, (MemberId, bool)> {
        let viewer = &self.members[index];
        if !viewer.is_provider() || !self.is_inside(viewer) {
            return BTreeMap::new();
        }
        let waits = |member: &&Member| {
            let theirs = member.participant;
            let record = self.session.participant(theirs);
            if member.is_newcomer() {
                // One whose line is gone cannot take over; it knocks again when it is back.
                let is_there = member.connection.is_some();
                is_there && (!member.is_provider() || theirs == viewer.participant)
            } else {
                record.is_some_and(|record| record.standing == Standing::Waiting)
            }
        };
        let waiting = self.members.iter().filter(waits);
        waiting.map(|member| (member.participant, (member.device, member.new_device))).collect()
    }

    /// Tells a provider who has come to wait, and who waits no more.
    fn tell_knocks(&mut self, index: usize) {
        let now = self.knocks_for(index);
        let before = std::mem::replace(&mut self.members[index].told.knocks, now.clone());
        let id = self.members[index].id;
        for participant_id in before.keys().copied().filter(|participant| !now.contains_key(participant)) {
            self.tell(id, ServerMessage::KnockOver { participant_id });
        }
        for (&participant, &(device, new_device)) in &now {
            if before.get(&participant) == Some(&(device, new_device)) {
                continue;
            }
            let newcomer = self.index_of_newcomer(participant);
            let described = match newcomer {
                Some(index) => self.describe_device(index),
                None => self.describe(participant),
            };
            let Some(participant) = described else { continue };
            let device = self.numbers.incarnation(device);
            self.tell(id, ServerMessage::Knock { participant, new_device, device });
        }
    }

    fn tell_recording(&mut self, index: usize) {
        let on = self.session.recording_enabled();
        let member = &mut self.members[index];
        if std::mem::replace(&mut member.told.recording, on) != on {
            let id = member.id;
            self.tell(id, ServerMessage::Recording { on });
        }
    }

    pub(super) fn role_of(&self, participant: ParticipantId) -> Option<ParticipantRole> {
        self.session.participant(participant).map(|participant| participant.role)
    }

    fn session_message(&self) -> ServerMessage {
        let SessionState { status, version, started_at, .. } = self.session_state();
        ServerMessage::Session { status, version, started_at }
    }

    fn tell_session(&mut self, index: usize, inside: bool, message: &Arc<ServerMessage>) {
        let now = (self.session.status(), self.session.version());
        let told = &mut self.members[index].told.session;
        // A welcome says it.
        let before = *told.get_or_insert(now);
        // The version tells of every change in there: who waits is told of the status alone.
        if before.0 != now.0 || (inside && before.1 != now.1) {
            *told = Some(now);
            let id = self.members[index].id;
            self.tell(id, Arc::clone(message));
        }
    }

    fn tell_participants(&mut self, index: usize, changes: &mut Changes) {
        let Member { id, participant, .. } = self.members[index];
        let sees_waiting = self.members[index].is_provider();
        let told = &mut self.members[index].told.participants;
        let before = std::mem::replace(told, changes.now().clone());
        for message in changes.since(&before, participant, sees_waiting) {
            self.tell(id, message);
        }
    }

    fn tell_waiting(&mut self, index: usize, provider_present: bool) {
        let member = &self.members[index];
        let is_patient = member.role == ParticipantRole::Patient;
        let position = if is_patient && !member.is_newcomer() { self.position } else { None };
        let told = (position, provider_present, self.desk_attended);
        let member = &mut self.members[index];
        if member.told.waiting.replace(told) != Some(told) {
            let id = member.id;
            let desk_attended = self.desk_attended;
            self.tell(id, ServerMessage::Waiting { position, provider_present, desk_attended });
        }
    }

    /// Whether a provider is in, and heard from.
    #[must_use]
    pub fn provider_is_present(&self) -> bool {
        let is_heard = |member: &&Member| member.is_provider() && member.lost_since.is_none();
        self.members.iter().filter(is_heard).any(|member| self.is_inside(member))
    }

    /// A patient who waits is in the queue of the desk, and stays there over a short loss of their line.
    fn tell_queue(&mut self) {
        let waits = self.waits();
        if waits != self.queued {
            self.queued.clone_from(&waits);
            self.outputs.push_back(Output::Queue(waits));
        }
    }

    fn waits(&self) -> Option<Waits> {
        let patient = self.session.patient().filter(|patient| patient.standing == Standing::Waiting)?;
        let member = &self.members[self.index_of_first(patient.id)?];
        Some(Waits {
            participant: patient.id,
            name: self.name_of(patient.id),
            since: patient.first_joined_at?,
            connected: member.lost_since.is_none(),
            new_device: member.new_device,
            provider_present: self.provider_is_present(),
        })
    }

    /// Doubles the seats of those who have fewer than there are others (PROTOCOL: K).
    fn grow_seats(&mut self, sitters: &Sitters) {
        let others =
            u16::try_from(sitters.people.len().saturating_sub(1)).unwrap_or(u16::MAX).min(PEOPLE_MAX);
        for member in &mut self.members {
            while member.people < others {
                member.people = (member.people * 2).min(PEOPLE_MAX);
            }
        }
    }

    /// Who may sit in others' seats, in the order of coming.
    fn sitters(&self) -> Sitters {
        let inside: Vec<&Member> = self.members_inside().collect();
        let screens = inside.iter().filter(|member| member.shares_screen());
        Sitters {
            people: inside.iter().map(|member| member.participant).collect(),
            screens: screens.map(|member| member.participant).collect(),
            peers: inside
                .iter()
                .filter(|member| self.tier_of(member.participant) != BandwidthProfile::AsyncText)
                .map(|member| (member.participant, member.peer))
                .collect(),
        }
    }

    /// Fills the seats of somebody who is in, and tells the engine and them what is different.
    fn reseat(&mut self, index: usize, sitters: &Sitters) {
        let member = &mut self.members[index];
        seating::refill(&mut member.seats, false, &sitters.people, member.participant);
        seating::refill(&mut member.seats, true, &sitters.screens, member.participant);
        // What somebody in writing rehearses is neither heard nor seen, nor do they hear or see anybody.
        let in_writing = self.tier_of(self.members[index].participant) == BandwidthProfile::AsyncText;
        let nobody = BTreeMap::new();
        self.settle_seats(index, if in_writing { &nobody } else { &sitters.peers });
        self.settle_wishes(index);
    }

    fn settle_wishes(&mut self, index: usize) {
        let member = &self.members[index];
        let wishes = member.seats.iter().map(|seat| (seat.id, self.wish_for(member, seat.id, seat.occupant)));
        let told = |seat| member.told.wishes.get(&seat).copied().unwrap_or_default();
        let changed: Vec<(SeatId, SeatWish)> = wishes.filter(|&(seat, wish)| told(seat) != wish).collect();
        let peer = member.peer;
        for (seat, wish) in changed {
            self.members[index].told.wishes.insert(seat, wish);
            self.media(MediaCommand::SetSeatWish { peer, seat, wish });
        }
    }

    fn empty_seats(&mut self, index: usize) {
        for seat in &mut self.members[index].seats {
            seat.occupant = None;
        }
        self.settle_seats(index, &BTreeMap::new());
    }

    fn settle_seats(&mut self, index: usize, peers: &BTreeMap<ParticipantId, PeerId>) {
        let member = &mut self.members[index];
        if member.seats.is_empty() && member.told.occupants.is_empty() {
            return;
        }
        let occupants: BTreeMap<SeatId, PeerId> =
            member.seats.iter().filter_map(|seat| Some((seat.id, *peers.get(&seat.occupant?)?))).collect();
        let changes: Vec<MediaCommand> = member
            .seats
            .iter()
            .filter(|seat| member.told.occupants.get(&seat.id) != occupants.get(&seat.id))
            .map(|seat| MediaCommand::SetSeat {
                peer: member.peer,
                seat: seat.id,
                occupant: occupants.get(&seat.id).copied(),
            })
            .collect();
        member.told.occupants = occupants;
        let taken = |seats: &[seating::Seat<SeatId, ParticipantId>]| -> Vec<(SeatId, Option<ParticipantId>)> {
            seats.iter().map(|seat| (seat.id, seat.occupant)).collect()
        };
        let inside = self.is_inside(&self.members[index]);
        let member = &mut self.members[index];
        let differs =
            taken(&member.seats) != taken(&member.told.seats) || member.people != member.told.people;
        let message = (differs && inside && !member.seats.is_empty()).then(|| {
            member.told.seats.clone_from(&member.seats);
            member.told.people = member.people;
            let seats = member.seats.iter();
            let seats = seats.map(|seat| SeatTaken { seat: seat.id.0, participant: seat.occupant }).collect();
            (member.id, ServerMessage::Seats { seats, people: member.people })
        });
        for change in changes {
            self.media(change);
        }
        if let Some((id, message)) = message {
            self.tell(id, message);
        }
    }
}
