//! What each of those connected may know, and telling them what of it is different.

use std::collections::BTreeMap;

use vestibule_domain::{Connection, ParticipantId, ParticipantRole, ParticipantState, Standing};

use super::{LiveSession, Output};
use crate::media::{MediaCommand, PeerId, SeatId};
use crate::member::{ConnectionId, Member};
use crate::seating;
use crate::wire::{Participant, ParticipantMedia, SeatTaken, ServerMessage, SessionState};

impl LiveSession {
    /// Tells everybody what is different since they were told last.
    pub(super) fn refresh(&mut self) {
        self.settle_gates();
        self.grow_seats();
        for index in 0..self.members.len() {
            self.tell_session(index);
            if self.is_in(self.members[index].participant) {
                self.tell_participants(index);
                self.reseat(index);
            } else {
                self.tell_waiting(index);
                self.empty_seats(index);
            }
        }
        self.tell_queue();
    }

    pub(super) fn session_state(&self) -> SessionState {
        SessionState {
            id: self.session.id(),
            status: self.session.status(),
            version: self.session.version(),
            started_at: self.session.started_at(),
        }
    }

    /// A participant as those see them who may.
    pub(super) fn describe(&self, id: ParticipantId) -> Option<Participant> {
        let participant = self.session.participant(id)?;
        let member = self.index_of_participant(id).map(|index| &self.members[index]);
        let transport = member.is_some_and(|member| member.transport);
        Some(Participant {
            id,
            role: participant.role,
            name: self.name_of(id),
            state: ParticipantState::of(participant, self.presence.get(id), transport),
            media: member.map_or_else(ParticipantMedia::default, Member::media),
        })
    }

    /// What a member sees, noted as told.
    pub(super) fn look(&mut self, index: usize) -> Vec<Participant> {
        let seen = self.seen_by(index);
        self.members[index].told.participants =
            seen.iter().map(|participant| (participant.id, participant.clone())).collect();
        seen
    }

    /// Who is admitted sees who is admitted, providers also who waits; who waits sees nobody.
    fn seen_by(&self, index: usize) -> Vec<Participant> {
        let viewer = self.members[index].participant;
        if !self.is_in(viewer) {
            return Vec::new();
        }
        let sees_waiting = self.role_of(viewer) == Some(ParticipantRole::Provider);
        let mut seen: Vec<_> = self
            .session
            .participants()
            .iter()
            .filter(|other| other.id != viewer && self.presence.get(other.id) != Connection::Absent)
            .filter(|other| match other.standing {
                Standing::Admitted => true,
                // Nobody can be let in who is not there.
                Standing::Waiting => sees_waiting && self.presence.connected(other.id),
                Standing::Invited | Standing::Removed => false,
            })
            .collect();
        seen.sort_by_key(|other| (other.first_joined_at, other.id));
        seen.into_iter().filter_map(|other| self.describe(other.id)).collect()
    }

    /// Tells a provider who has just come in who waits already.
    pub(super) fn tell_who_knocks(&mut self, connection: ConnectionId, viewer: ParticipantId) {
        if self.role_of(viewer) != Some(ParticipantRole::Provider) {
            return;
        }
        for (id, new_device) in self.knocking.clone() {
            let Some(participant) = self.describe(id) else { continue };
            self.send(connection, ServerMessage::Knock { participant, new_device });
        }
    }

    /// Tells all providers who are in that somebody waits.
    pub(super) fn tell_of_knock(&mut self, waiting: ParticipantId) {
        let Some(participant) = self.describe(waiting) else { return };
        let new_device = self.knocking.get(&waiting).copied().unwrap_or(false);
        let providers: Vec<ConnectionId> = self
            .members_inside()
            .filter(|member| self.role_of(member.participant) == Some(ParticipantRole::Provider))
            .map(|member| member.connection)
            .collect();
        for connection in providers {
            self.send(connection, ServerMessage::Knock { participant: participant.clone(), new_device });
        }
    }

    fn role_of(&self, participant: ParticipantId) -> Option<ParticipantRole> {
        self.session.participant(participant).map(|participant| participant.role)
    }

    fn tell_session(&mut self, index: usize) {
        let now = (self.session.status(), self.session.version());
        let inside = self.is_in(self.members[index].participant);
        let member = &mut self.members[index];
        let before = member.told.session.replace(now);
        let Some(before) = before else { return };
        // The version tells of every change in there: who waits is told of the status alone.
        if before.0 != now.0 || (inside && before.1 != now.1) {
            let connection = member.connection;
            let SessionState { status, version, started_at, .. } = self.session_state();
            self.send(connection, ServerMessage::Session { status, version, started_at });
        }
    }

    fn tell_participants(&mut self, index: usize) {
        let before = std::mem::take(&mut self.members[index].told.participants);
        let seen = self.look(index);
        let connection = self.members[index].connection;
        for participant in &seen {
            if before.get(&participant.id) != Some(participant) {
                let participant_id = participant.id;
                let participant = Some(participant.clone());
                self.send(connection, ServerMessage::Participant { participant_id, participant });
            }
        }
        for participant_id in before.into_keys() {
            if !seen.iter().any(|participant| participant.id == participant_id) {
                self.send(connection, ServerMessage::Participant { participant_id, participant: None });
            }
        }
    }

    fn tell_waiting(&mut self, index: usize) {
        let provider_present = self
            .members_inside()
            .any(|member| self.role_of(member.participant) == Some(ParticipantRole::Provider));
        let participant = self.members[index].participant;
        let is_patient = self.role_of(participant) == Some(ParticipantRole::Patient);
        let position = if is_patient { self.position } else { None };
        let member = &mut self.members[index];
        if member.told.waiting != Some((position, provider_present)) {
            member.told.waiting = Some((position, provider_present));
            let connection = member.connection;
            self.send(connection, ServerMessage::Waiting { position, provider_present });
        }
    }

    /// A patient who waits and has seen a provider's desk is in its queue.
    fn tell_queue(&mut self) {
        let waiting = self.session.patient().filter(|patient| {
            patient.standing == Standing::Waiting && self.presence.get(patient.id) == Connection::Connected
        });
        let since = waiting.and_then(|patient| patient.first_joined_at);
        if since != self.queued {
            self.queued = since;
            self.outputs.push_back(Output::Queue(since));
        }
    }

    /// Doubles the seats of those who have fewer than there are others (PROTOCOL: K).
    fn grow_seats(&mut self) {
        let others = u16::try_from(self.members_inside().count().saturating_sub(1)).unwrap_or(u16::MAX);
        for member in &mut self.members {
            while member.people < others {
                member.people *= 2;
            }
        }
    }

    /// Fills the seats of somebody who is in, and tells the engine and them what is different.
    fn reseat(&mut self, index: usize) {
        let viewer = self.members[index].participant;
        let others = || self.members_inside().filter(|member| member.participant != viewer);
        let people: Vec<ParticipantId> = others().map(|member| member.participant).collect();
        let screens: Vec<ParticipantId> =
            others().filter(|member| member.shares_screen()).map(|member| member.participant).collect();
        let peers: BTreeMap<ParticipantId, PeerId> =
            others().map(|member| (member.participant, member.peer)).collect();
        let seats = &mut self.members[index].seats;
        seating::refill(seats, false, &people);
        seating::refill(seats, true, &screens);
        self.settle_seats(index, &peers);
    }

    fn empty_seats(&mut self, index: usize) {
        for seat in &mut self.members[index].seats {
            seat.occupant = None;
        }
        self.settle_seats(index, &BTreeMap::new());
    }

    fn settle_seats(&mut self, index: usize, peers: &BTreeMap<ParticipantId, PeerId>) {
        let member = &mut self.members[index];
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
        let inside = self.is_in(self.members[index].participant);
        let member = &mut self.members[index];
        let differs =
            taken(&member.seats) != taken(&member.told.seats) || member.people != member.told.people;
        let message = (differs && inside && !member.seats.is_empty()).then(|| {
            member.told.seats.clone_from(&member.seats);
            member.told.people = member.people;
            let seats = member.seats.iter();
            let seats = seats.map(|seat| SeatTaken { seat: seat.id.0, participant: seat.occupant }).collect();
            (member.connection, ServerMessage::Seats { seats, people: member.people })
        });
        for change in changes {
            self.media(change);
        }
        if let Some((connection, message)) = message {
            self.send(connection, message);
        }
    }
}
