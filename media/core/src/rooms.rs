//! Commands about rooms, peers and seats: who may be shown to whom.

use crate::api::{
    Command, CommandError, DtlsMessage, Event, MediaGate, PeerId, RoomId, SeatId, SeatWish, SourceKind,
};
use crate::bounds::{PEERS_MAX, PEERS_PER_ROOM_MAX, ROOMS_MAX};
use crate::ice::IceAgent;
use crate::keys::{PeerKey, RoomKey, SourceKey};
use crate::peer::{Peer, Transport};
use crate::sdp::IceParameters;
use crate::sfu::{Room, Sfu};
use crate::slot::{Slot, TEMPORAL_ALL};
use crate::speakers::Speakers;
use crate::stats::{DownlinkStats, EncodingStats, PeerStats, SlotStats, SourceStats};
use crate::time::Time;
use crate::timers::Timer;

impl Sfu {
    pub(crate) fn handle_command(&mut self, command: Command, now: Time) {
        let peer = command.peer();
        let done = match command {
            Command::CreateRoom { room } => self.create_room(room),
            Command::CloseRoom { room } => self.close_room(room, now),
            Command::AddPeer { room, peer } => self.add_peer(room, peer, now),
            Command::RemovePeer { peer } => self.peer_key(peer).map(|key| self.remove_peer(key, now)),
            Command::SetMediaGate { peer, gate } => self.set_media_gate(peer, gate, now),
            Command::Offer { peer, negotiation, offer } => self.handle_offer(peer, negotiation, &offer, now),
            Command::RestartIce { peer, remote } => self.restart_ice(peer, &remote, now),
            Command::SetSeat { peer, seat, occupant } => self.set_seat(peer, seat, occupant, now),
            Command::SetSeatWish { peer, seat, wish } => self.set_seat_wish(peer, seat, wish, now),
            Command::SeekRate { peer, bps } => self.seek_rate(peer, bps, now),
            Command::NoteUplink { peer, bps } => self.note_uplink(peer, bps, now),
            Command::TestLine { peer, bps } => self.test_line(peer, bps, now),
            Command::Stats { peer } => self.send_stats(peer),
        };
        if let Err(error) = done {
            self.emit(Event::Refused { peer, error });
        }
    }

    // Rooms and peers

    fn create_room(&mut self, id: RoomId) -> Result<(), CommandError> {
        if self.room_ids.contains_key(&id) {
            return Err(CommandError::RoomExists);
        }
        if self.rooms.len() >= ROOMS_MAX {
            return Err(CommandError::Full("rooms"));
        }
        let key = self.rooms.insert(Room { id, peers: Vec::new(), speakers: Speakers::default() });
        self.room_ids.insert(id, key);
        Ok(())
    }

    fn close_room(&mut self, id: RoomId, now: Time) -> Result<(), CommandError> {
        let key = self.room_ids.remove(&id).ok_or(CommandError::UnknownRoom)?;
        for peer in self.rooms.get(key).map(|room| room.peers.clone()).unwrap_or_default() {
            self.remove_peer(peer, now);
        }
        self.rooms.remove(key);
        Ok(())
    }

    fn add_peer(&mut self, room: RoomId, id: PeerId, now: Time) -> Result<(), CommandError> {
        let room_key = *self.room_ids.get(&room).ok_or(CommandError::UnknownRoom)?;
        if self.peer_ids.contains_key(&id) {
            return Err(CommandError::PeerExists);
        }
        if self.peers.len() >= PEERS_MAX {
            return Err(CommandError::Full("peers"));
        }
        let room = self.rooms.get_mut(room_key).ok_or(CommandError::UnknownRoom)?;
        if room.peers.len() >= PEERS_PER_ROOM_MAX {
            return Err(CommandError::Full("peers in a room"));
        }
        let ice = loop {
            let ice = IceAgent::new(&mut self.rng, now);
            if !self.ufrags.contains_key(&ice.local_ufrag()) {
                break ice;
            }
        };
        let ufrag = ice.local_ufrag();
        let rtcp_ssrc = self.random_ssrc(&[]);
        let key = self.peers.insert(Peer::new(id, room_key, ice, rtcp_ssrc));
        self.peer_ids.insert(id, key);
        self.ufrags.insert(ufrag, key);
        self.rooms[room_key].peers.push(key);
        Ok(())
    }

    fn remove_peer(&mut self, key: PeerKey, now: Time) {
        self.end_watch(key, now);
        self.stop_sources(key);
        self.forget_addresses(key);
        let Some(peer) = self.peers.get(key) else { return };
        let (id, room) = (peer.id, peer.room);
        for slot in 0..peer.slots.len() {
            self.show(key, slot as u16, None, now);
        }
        for source in self.peers.get(key).map(|peer| peer.uplink.sources.clone()).unwrap_or_default() {
            self.remove_source(source, now);
        }
        self.empty_seats_of(key, room);
        self.forget_speaker(room, key);
        if let Some(room) = self.rooms.get_mut(room) {
            room.peers.retain(|other| *other != key);
        }
        self.peer_ids.remove(&id);
        self.peers.remove(key);
        self.timers.tidy(&self.peers);
        self.emit_dtls(id, DtlsMessage::Forget);
    }

    fn empty_seats_of(&mut self, occupant: PeerKey, room: RoomKey) {
        let Some(room) = self.rooms.get(room) else { return };
        for &key in &room.peers {
            if let Some(peer) = self.peers.get_mut(key) {
                for seat in peer.seats.iter_mut().filter(|seat| seat.occupant == Some(occupant)) {
                    seat.occupant = None;
                }
            }
        }
    }

    fn set_media_gate(&mut self, id: PeerId, gate: MediaGate, now: Time) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let peer = self.peer_mut(key)?;
        if peer.gate == gate {
            return Ok(());
        }
        peer.gate = gate;
        match gate {
            MediaGate::Open => {
                let room = peer.room;
                self.opened(key, now);
                self.review_codecs(room);
            }
            MediaGate::Closed => {
                self.stop_sources(key);
                // A receiver does not see how long the silence is: numbers that ran on behind the gate could leave its
                // guess of the rollover counter behind for good (RFC 3711 section 3.3.1).
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.slots.iter_mut().for_each(Slot::close_current);
                }
            }
        }
        Ok(())
    }

    fn restart_ice(&mut self, id: PeerId, remote: &IceParameters, now: Time) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let local = self.begin_restart(key, remote, now)?;
        self.emit(Event::Restarted { peer: id, local });
        Ok(())
    }

    /// Gives a peer new ICE credentials beside the ones in use.
    pub(crate) fn begin_restart(
        &mut self,
        key: PeerKey,
        remote: &IceParameters,
        now: Time,
    ) -> Result<IceParameters, CommandError> {
        let peer = self.peers.get_mut(key).ok_or(CommandError::UnknownPeer)?;
        if peer.negotiated.is_none() {
            return Err(CommandError::NoOffer);
        }
        if peer.transport == Transport::Gone {
            return Err(CommandError::Disconnected);
        }
        let retired = peer.ice.restart(remote, &mut self.rng, now);
        let (local, ufrag) = (peer.ice.local(), peer.ice.local_ufrag());
        peer.timers.set(Timer::Ice, peer.ice.next_timeout());
        self.ufrags.insert(ufrag, key);
        if let Some(retired) = retired {
            self.ufrags.remove(&retired);
        }
        self.schedule(key);
        Ok(local)
    }

    // Seats

    fn set_seat(
        &mut self,
        id: PeerId,
        seat_id: SeatId,
        occupant: Option<PeerId>,
        now: Time,
    ) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let occupant = match occupant {
            None => None,
            Some(occupant) => {
                let occupant = self.peer_key(occupant).map_err(|_| CommandError::OccupantNotInRoom)?;
                let room = self.peer_mut(key)?.room;
                if occupant == key || self.peer_mut(occupant)?.room != room {
                    return Err(CommandError::OccupantNotInRoom);
                }
                Some(occupant)
            }
        };
        let peer = self.peer_mut(key)?;
        let seat = peer.seats.get_mut(seat_id.0 as usize).ok_or(CommandError::UnknownSeat)?;
        seat.occupant = occupant;
        self.fill_seat(key, seat_id, now);
        Ok(())
    }

    /// Shows in a seat's slots what its occupant publishes now.
    pub(crate) fn fill_seat(&mut self, key: PeerKey, seat: SeatId, now: Time) {
        let Some(seat) = self.peers.get(key).and_then(|peer| peer.seats.get(seat.0 as usize)).cloned() else {
            return;
        };
        for (slot, kind) in seat.slots() {
            let source = seat.occupant.and_then(|occupant| self.source_of(occupant, kind));
            self.show(key, slot, source, now);
        }
    }

    /// Fills every seat of the room in which this peer sits, after it began to publish more.
    pub(crate) fn fill_seats_of(&mut self, occupant: PeerKey, now: Time) {
        let room = self.peers.get(occupant).and_then(|peer| self.rooms.get(peer.room));
        for key in room.map(|room| room.peers.clone()).unwrap_or_default() {
            let seats = self.peers.get(key).map_or(0, |peer| peer.seats.len());
            for seat in (0..seats).map(|seat| SeatId(seat as u16)) {
                if self.peers[key].seats[seat.0 as usize].occupant == Some(occupant) {
                    self.fill_seat(key, seat, now);
                }
            }
        }
    }

    fn source_of(&self, key: PeerKey, kind: SourceKind) -> Option<SourceKey> {
        let sources = &self.peers.get(key)?.uplink.sources;
        sources
            .iter()
            .copied()
            .find(|&source| self.sources.get(source).is_some_and(|source| source.kind == kind))
    }

    fn set_seat_wish(
        &mut self,
        id: PeerId,
        seat: SeatId,
        wish: SeatWish,
        now: Time,
    ) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let peer = self.peers.get_mut(key).ok_or(CommandError::UnknownPeer)?;
        let video =
            peer.seats.get(seat.0 as usize).and_then(|seat| seat.video).ok_or(CommandError::UnknownSeat)?;
        peer.slots[video as usize].wish = wish;
        self.allocate(key, now);
        Ok(())
    }

    // Stats

    fn send_stats(&mut self, id: PeerId) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let stats = Box::new(self.stats(key)?);
        self.emit(Event::Stats { peer: id, stats });
        Ok(())
    }

    fn stats(&self, key: PeerKey) -> Result<PeerStats, CommandError> {
        let peer = self.peers.get(key).ok_or(CommandError::UnknownPeer)?;
        let sources = peer.uplink.sources.iter().filter_map(|&source| self.sources.get(source));
        let seat_of = |slot: u16| {
            let seat =
                peer.seats.iter().position(|seat| seat.audio == Some(slot) || seat.video == Some(slot));
            seat.map(|seat| SeatId(seat as u16))
        };
        Ok(PeerStats {
            connected: peer.transport == Transport::Connected,
            profile: peer.profile,
            rtt: peer.rtt,
            validated_addresses: peer.ice.addresses().count(),
            sources: sources
                .map(|source| SourceStats {
                    kind: source.kind,
                    flowing: source.flowing,
                    subscribers: source.subscribers.len(),
                    encodings: source
                        .encodings
                        .iter()
                        .map(|encoding| EncodingStats {
                            codec: encoding.reader.codec(),
                            spatial_layers: encoding.reader.spatial_layers,
                            rid: encoding.rid,
                            ssrc: encoding.ssrc,
                            flowing: encoding.flowing(),
                            height: encoding.reader.heights.into_iter().flatten().max(),
                            rate_bps: encoding.total_bps().unwrap_or(0),
                            wanted: source.wants(encoding),
                            packets: encoding.reception.packets,
                            payload_bytes: encoding.reception.payload_bytes,
                            packets_lost: encoding
                                .highest
                                .map_or(0, |highest| encoding.reception.lost(highest)),
                            packets_recovered: encoding.reception.recovered,
                            duplicates: encoding.reception.duplicates,
                            jitter_timestamp_units: encoding.reception.jitter(),
                            ring_bytes: encoding.ring.memory_bytes(),
                        })
                        .collect(),
                })
                .collect(),
            slots: (0_u16..)
                .zip(&peer.slots)
                .map(|(i, slot)| SlotStats {
                    mid: slot.parameters.mid,
                    seat: seat_of(i),
                    ssrc: slot.parameters.ssrc,
                    codec: slot.codec(),
                    encoding: slot.bound.and_then(|source| slot.shows(source)).map(|layer| layer.encoding),
                    spatial_layer: slot
                        .bound
                        .and_then(|source| slot.shows(source))
                        .map(|layer| layer.spatial),
                    height: self.height_of(slot),
                    target: slot.target.map(|layer| layer.encoding),
                    temporal_layer: Some(slot.temporal()).filter(|temporal| *temporal != TEMPORAL_ALL),
                    packets: slot.sent.packets,
                    payload_bytes: slot.sent.payload_bytes,
                    retransmissions: slot.sent.retransmissions,
                    switches: slot.sent.switches,
                    fraction_lost: f32::from(slot.fraction_lost) / 256.0,
                })
                .collect(),
            downlink: peer.tx.control.as_deref().map(DownlinkStats::from).unwrap_or_default(),
            quality: peer.watch.quality(),
        })
    }

    /// Height of the picture a slot shows.
    pub(crate) fn height_of(&self, slot: &Slot) -> Option<u16> {
        let source = slot.bound?;
        self.sources.get(source)?.height(slot.shows(source)?)
    }

    // Helpers

    pub(crate) fn peer_key(&self, id: PeerId) -> Result<PeerKey, CommandError> {
        self.peer_ids.get(&id).copied().ok_or(CommandError::UnknownPeer)
    }

    fn peer_mut(&mut self, key: PeerKey) -> Result<&mut Peer, CommandError> {
        self.peers.get_mut(key).ok_or(CommandError::UnknownPeer)
    }
}
