//! What the engine reports, and whose request it answers.

use jiff::Timestamp;

use super::LiveSession;
use crate::media::{MediaCommand, MediaEvent, PeerId, SourceKind};
use crate::seating::Seat;
use crate::wire::{ErrorCode, SeatMids, ServerMessage};

impl LiveSession {
    pub(super) fn media_event(&mut self, now: Timestamp, event: MediaEvent) {
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
                let id = member.id;
                self.tell(id, ServerMessage::Answer { sdp, negotiation, seats, reply_to });
            }
            MediaEvent::OfferRejected { peer, negotiation, why } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                let request = member.requests.offers.remove(&negotiation).flatten();
                let id = member.id;
                self.refuse(id, request, ErrorCode::OfferRejected, why);
            }
            MediaEvent::Restarted { peer, ufrag, pwd } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                let reply_to = member.requests.restarts.pop_front().flatten();
                let id = member.id;
                self.tell(id, ServerMessage::Restarted { ufrag, pwd, reply_to });
            }
            MediaEvent::RestartRejected { peer, why } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                // It comes before the next message of the client is looked at: it is the last one's.
                let request = member.requests.restarts.pop_back().flatten();
                let id = member.id;
                self.refuse(id, request, ErrorCode::Malformed, why);
            }
            MediaEvent::RestartFailed { peer } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let id = self.members[index].id;
                let why = "the ICE restart found no path".into();
                self.refuse(id, None, ErrorCode::RestartFailed, why);
                self.reconnect_failed(now, peer);
            }
            MediaEvent::Connected { peer } => {
                if let Some(index) = self.index_of_peer(peer) {
                    self.members[index].transport = true;
                    self.members[index].was_connected = true;
                    self.members[index].quiet = false;
                }
            }
            MediaEvent::Quiet { peer } => self.set_quiet(peer, true),
            MediaEvent::Heard { peer } => self.set_quiet(peer, false),
            MediaEvent::Disconnected { peer, why } => {
                let index = self.index_of_peer(peer);
                if index.is_some_and(|index| !self.members[index].transport) {
                    self.reconnect_failed(now, peer);
                }
                self.transport_lost(peer, why);
            }
            MediaEvent::Line { peer, seen } => _ = self.line_seen(now, peer, &seen),
            MediaEvent::LineTested { peer, lost } => self.line_tested(now, peer, lost),
            MediaEvent::Refused { peer, why } => {
                if let Some(index) = self.index_of_peer(peer) {
                    self.refuse_all(index, ErrorCode::Refused, &why);
                }
            }
            MediaEvent::Source { peer, kind, flowing } => self.source(peer, kind, flowing),
            MediaEvent::EncodingsWanted { peer, kind, rids } => self.encodings_wanted(peer, kind, rids),
            MediaEvent::AudioWanted { peer, profile } => {
                if let Some(index) = self.index_of_peer(peer) {
                    self.members[index].wanted.audio = profile;
                }
            }
            MediaEvent::Speaker(speaker) => self.speaker = speaker,
            MediaEvent::Quality { peer, quality } => {
                if let Some(index) = self.index_of_peer(peer) {
                    self.members[index].quality = quality;
                }
            }
            MediaEvent::Measured { peer, step } => self.measured(now, peer, step),
            MediaEvent::Stats { peer, stats } => {
                let Some(index) = self.index_of_peer(peer) else { return };
                let member = &mut self.members[index];
                let reply_to = member.requests.stats.pop_front().flatten();
                let id = member.id;
                self.tell(id, ServerMessage::Stats { stats, reply_to });
            }
            MediaEvent::Busy(command) => self.busy(&command),
        }
    }

    fn set_quiet(&mut self, peer: PeerId, quiet: bool) {
        if let Some(index) = self.index_of_peer(peer) {
            self.members[index].quiet = quiet;
        }
    }

    /// The device stays, and gets a fresh peer: the client offers again.
    fn transport_lost(&mut self, peer: PeerId, why: String) {
        let Some(index) = self.index_of_peer(peer) else { return };
        self.refuse_all(index, ErrorCode::Busy, "the transport was lost meanwhile");
        let fresh = self.numbers.peer();
        let id = self.members[index].id;
        self.note_departed(index);
        self.members[index].renew_transport(fresh);
        self.media(MediaCommand::RemovePeer(peer));
        self.media(MediaCommand::AddPeer(fresh));
        self.tell(id, ServerMessage::Disconnected { reason: why });
    }

    /// Nothing will come of what was asked of the engine.
    fn refuse_all(&mut self, index: usize, code: ErrorCode, why: &str) {
        let member = &mut self.members[index];
        let id = member.id;
        let requests = std::mem::take(&mut member.requests);
        let asked = requests.offers.into_values().chain(requests.restarts).chain(requests.stats);
        for request in asked {
            self.refuse(id, request, code, why.to_owned());
        }
    }

    fn source(&mut self, peer: PeerId, kind: SourceKind, flowing: bool) {
        if let Some(index) = self.index_of_peer(peer) {
            self.members[index].set_flowing(kind, flowing);
        }
    }

    /// A request found no room in the engine's queue: nothing has changed.
    pub(super) fn busy(&mut self, command: &MediaCommand) {
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
            let id = self.members[index].id;
            self.refuse(id, request, ErrorCode::Busy, "the server has too much to do".into());
        }
    }
}
