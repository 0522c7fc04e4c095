//! Rooms, who is in them, and who is seated before whom: decides what the SFU and the participants are told.
//!
//! No I/O and no clock: messages and events go in, [`Effect`]s come out in order. It never waits for the SFU; what
//! the SFU refuses comes back as an event.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use vestibule_media_core::bounds::{PEERS_MAX, PEERS_PER_ROOM_MAX, ROOMS_MAX, SEATS_PER_PEER_MAX};
use vestibule_media_core::sdp::{IceParameters, Offer, Rid};
use vestibule_media_core::{
    Command, DisconnectReason, Event, Layer, MediaGate, PeerId, RoomId, SeatId, SeatInfo, SourceKind,
};

use crate::protocol::{
    ClientMessage, ErrorCode, Participant, Request, SeatMids, SeatTaken, SeatWish, ServerMessage, Source,
};
use crate::seating::{self, Seat};
use crate::stats;

/// Bytes of a room's name.
const ROOM_NAME_BYTES_MAX: usize = 64;

/// Something to be done, in order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// For the SFU.
    Media { room: RoomId, command: Command },
    /// For a participant's socket.
    Tell { peer: PeerId, message: ServerMessage },
    /// The participant is out: its socket is closed after what it was told.
    Close { peer: PeerId },
}

/// Why nobody more can join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("a room name is 1 to {ROOM_NAME_BYTES_MAX} letters, digits, - or _")]
    RoomName,
    #[error("the room is full")]
    RoomFull,
    #[error("the server is full")]
    ServerFull,
}

/// All rooms.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: BTreeMap<RoomId, Room>,
    by_name: HashMap<String, RoomId>,
    by_peer: HashMap<PeerId, RoomId>,
    last_room: u64,
    last_peer: u64,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct Room {
    name: String,
    /// In the order of joining.
    members: Vec<Member>,
    /// How many ever joined: names are not given twice.
    joined: u32,
}

#[derive(Debug)]
struct Member {
    peer: PeerId,
    name: String,
    sources: BTreeSet<Source>,
    /// None before the first answer.
    seats: Vec<Seat<SeatId, PeerId>>,
}

impl Rooms {
    /// The next thing to be done. Drain it after every call.
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Lets somebody into the room of that name, which is opened if need be.
    pub(crate) fn join(&mut self, name: &str) -> Result<PeerId, JoinError> {
        if !is_room_name(name) {
            return Err(JoinError::RoomName);
        }
        if self.by_peer.len() >= PEERS_MAX {
            return Err(JoinError::ServerFull);
        }
        let room_id = match self.by_name.get(name) {
            Some(&room_id) => room_id,
            None => self.open(name)?,
        };
        let Some(room) = self.rooms.get_mut(&room_id) else { return Err(JoinError::ServerFull) };
        if room.members.len() >= PEERS_PER_ROOM_MAX {
            return Err(JoinError::RoomFull);
        }
        self.last_peer += 1;
        let peer = PeerId(self.last_peer);
        room.joined += 1;
        let name = format!("Guest {}", room.joined);
        room.members.push(Member { peer, name, sources: BTreeSet::new(), seats: Vec::new() });
        self.by_peer.insert(peer, room_id);
        self.media(room_id, Command::AddPeer { room: room_id, peer });
        self.media(room_id, Command::SetMediaGate { peer, gate: MediaGate::Open });
        let participants = self.participants(room_id);
        self.tell(peer, ServerMessage::Welcome { you: peer.0, participants });
        self.tell_participants(room_id, Some(peer));
        self.reseat_all(room_id);
        Ok(peer)
    }

    /// Takes somebody out, for whatever reason; nothing happens if they are out already.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        let Some(room_id) = self.by_peer.remove(&peer) else { return };
        self.media(room_id, Command::RemovePeer { peer });
        self.effects.push_back(Effect::Close { peer });
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        room.members.retain(|member| member.peer != peer);
        if room.members.is_empty() {
            let name = std::mem::take(&mut room.name);
            self.by_name.remove(&name);
            self.rooms.remove(&room_id);
            self.media(room_id, Command::CloseRoom { room: room_id });
            return;
        }
        self.tell_participants(room_id, None);
        self.reseat_all(room_id);
    }

    /// Does what a participant asks for, or tells them why not; then nothing has changed.
    pub(crate) fn message(&mut self, peer: PeerId, message: ClientMessage) {
        let Some(&room) = self.by_peer.get(&peer) else { return };
        let request = message.request();
        match message {
            ClientMessage::Offer { sdp, negotiation } => match Offer::parse(&sdp) {
                Ok(offer) => self.media(room, Command::Offer { peer, negotiation, offer: Box::new(offer) }),
                Err(error) => self.refuse(peer, ErrorCode::OfferRejected, error.to_string(), Some(request)),
            },
            ClientMessage::Restart { ufrag, pwd } => match IceParameters::new(ufrag, pwd) {
                Ok(remote) => self.media(room, Command::RestartIce { peer, remote }),
                Err(error) => self.refuse(peer, ErrorCode::Malformed, error.to_string(), Some(request)),
            },
            ClientMessage::Subscribe { seats } => self.subscribe(room, peer, seats),
            ClientMessage::Stats {} => self.media(room, Command::Stats { peer }),
            ClientMessage::Leave {} => self.leave(peer),
        }
    }

    /// Tells a participant that what they sent was not understood.
    pub(crate) fn malformed(&mut self, peer: PeerId, why: String) {
        self.refuse(peer, ErrorCode::Malformed, why, None);
    }

    /// A command found no room in the engine. Who asked for it may try again; who cannot be let in is out.
    pub(crate) fn not_taken(&mut self, asked: Asked) {
        match asked {
            Asked::By { peer, request } => {
                self.refuse(peer, ErrorCode::Busy, "the server is busy; try again".into(), Some(request));
            }
            Asked::ToLetIn(peer) => {
                let message = "the server is busy; join again".into();
                self.tell(peer, ServerMessage::Disconnected { message });
                self.leave(peer);
            }
            Asked::ByUs => {}
        }
    }

    /// Takes in what the SFU reports.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Answer { peer, negotiation, sdp, seats } => self.answered(peer, negotiation, sdp, &seats),
            Event::OfferRejected { peer, negotiation: _, error } => {
                self.refuse(peer, ErrorCode::OfferRejected, error.to_string(), Some(Request::Offer));
            }
            Event::Restarted { peer, local } => {
                self.tell(peer, ServerMessage::Restarted { ufrag: local.ufrag, pwd: local.pwd });
            }
            Event::RestartFailed { peer } => {
                let message = "the ICE restart found no path; join again".into();
                self.refuse(peer, ErrorCode::RestartFailed, message, None);
            }
            Event::Connected { peer, profile } => tracing::info!(peer = peer.0, ?profile, "connected"),
            Event::PathChanged { peer } => tracing::info!(peer = peer.0, "path changed"),
            Event::Disconnected { peer, reason } => {
                tracing::info!(peer = peer.0, ?reason, "disconnected");
                let message = in_plain_words(reason).into();
                self.tell(peer, ServerMessage::Disconnected { message });
                self.leave(peer);
            }
            Event::SourceStarted { peer, kind } => self.source(peer, kind, true),
            Event::SourceStopped { peer, kind } => self.source(peer, kind, false),
            Event::Stats { peer, stats } => {
                self.tell(peer, ServerMessage::Stats { stats: stats::to_json(&stats) });
            }
            Event::Refused { peer, error } => {
                tracing::warn!(peer = peer.map(|peer| peer.0), %error, "the SFU refused a command");
                if let Some(peer) = peer {
                    self.refuse(peer, ErrorCode::Refused, error.to_string(), None);
                }
            }
        }
    }

    fn open(&mut self, name: &str) -> Result<RoomId, JoinError> {
        if self.rooms.len() >= ROOMS_MAX {
            return Err(JoinError::ServerFull);
        }
        self.last_room += 1;
        let room_id = RoomId(self.last_room);
        self.rooms.insert(room_id, Room { name: name.into(), members: Vec::new(), joined: 0 });
        self.by_name.insert(name.into(), room_id);
        self.media(room_id, Command::CreateRoom { room: room_id });
        Ok(room_id)
    }

    fn answered(&mut self, peer: PeerId, negotiation: u32, sdp: String, infos: &[SeatInfo]) {
        let Some(&room_id) = self.by_peer.get(&peer) else { return };
        if let Some(member) = self.member(room_id, peer) {
            let taken = std::mem::take(&mut member.seats);
            let occupant = |id| taken.iter().find(|seat| seat.id == id).and_then(|seat| seat.occupant);
            member.seats = infos
                .iter()
                .map(|info| Seat {
                    id: info.seat,
                    screen: info.audio.is_none(),
                    occupant: occupant(info.seat),
                })
                .collect();
        }
        let seats = infos
            .iter()
            .map(|info| SeatMids {
                seat: info.seat.0,
                audio: info.audio.map(|mid| mid.to_string()),
                video: info.video.map(|mid| mid.to_string()),
            })
            .collect();
        self.tell(peer, ServerMessage::Answer { sdp, negotiation, seats });
        self.refill(room_id, peer);
    }

    fn subscribe(&mut self, room_id: RoomId, peer: PeerId, wishes: Vec<SeatWish>) {
        let checked = match self.check(room_id, peer, wishes) {
            Ok(checked) => checked,
            Err(why) => {
                return self.refuse(peer, ErrorCode::Refused, why.into(), Some(Request::Subscribe));
            }
        };
        for &Wish { seat, layer, .. } in &checked {
            if let Some(layer) = layer {
                self.media(room_id, Command::SelectLayer { peer, seat, layer });
            }
        }
        self.change_seats(room_id, peer, |seats| {
            for Wish { seat, occupant, .. } in checked {
                if let Some(occupant) = occupant {
                    seating::place(seats, &seat, occupant);
                }
            }
        });
    }

    /// All wishes can be fulfilled, or none is.
    fn check(&self, room_id: RoomId, peer: PeerId, wishes: Vec<SeatWish>) -> Result<Vec<Wish>, &'static str> {
        if wishes.len() > SEATS_PER_PEER_MAX {
            return Err("too many seats in one message");
        }
        let members = self.rooms.get(&room_id).map_or(&[][..], |room| &room.members);
        let Some(member) = members.iter().find(|member| member.peer == peer) else { return Err("you left") };
        wishes
            .into_iter()
            .map(|wish| {
                let id = SeatId(wish.seat);
                let seat = member.seats.iter().find(|seat| seat.id == id).ok_or("there is no such seat")?;
                if let Some(Some(wanted)) = wish.participant {
                    let wanted = members.iter().find(|other| other.peer == PeerId(wanted));
                    let wanted = wanted.ok_or("there is no such participant")?;
                    if wanted.peer == peer {
                        return Err("nobody sits in their own seats");
                    }
                    if seat.screen && !wanted.sources.contains(&Source::Screen) {
                        return Err("this participant shares no screen");
                    }
                }
                let layer = match wish.layer {
                    Some(rid) => Some(Layer::Rid(Rid::new(rid).ok_or("this is no rid")?)),
                    None => None,
                };
                let occupant = wish.participant.map(|wanted| wanted.map(PeerId));
                Ok(Wish { seat: id, occupant, layer })
            })
            .collect()
    }

    fn source(&mut self, peer: PeerId, kind: SourceKind, started: bool) {
        let Some(&room_id) = self.by_peer.get(&peer) else { return };
        let source = match kind {
            SourceKind::Microphone => Source::Microphone,
            SourceKind::Camera => Source::Camera,
            SourceKind::Screen => Source::Screen,
        };
        let Some(member) = self.member(room_id, peer) else { return };
        let changed = if started { member.sources.insert(source) } else { member.sources.remove(&source) };
        if changed {
            self.tell_participants(room_id, None);
            self.reseat_all(room_id);
        }
    }

    fn reseat_all(&mut self, room_id: RoomId) {
        let Some(room) = self.rooms.get(&room_id) else { return };
        let peers: Vec<PeerId> = room.members.iter().map(|member| member.peer).collect();
        for peer in peers {
            self.refill(room_id, peer);
        }
    }

    fn refill(&mut self, room_id: RoomId, peer: PeerId) {
        let Some(room) = self.rooms.get(&room_id) else { return };
        let others = || room.members.iter().filter(|member| member.peer != peer);
        let people: Vec<PeerId> = others().map(|member| member.peer).collect();
        let sharing = |member: &&Member| member.sources.contains(&Source::Screen);
        let screens: Vec<PeerId> = others().filter(sharing).map(|member| member.peer).collect();
        self.change_seats(room_id, peer, |seats| {
            seating::refill(seats, false, &people);
            seating::refill(seats, true, &screens);
        });
    }

    /// Changes a viewer's seats, and tells the SFU and the viewer what is different.
    fn change_seats(
        &mut self,
        room_id: RoomId,
        peer: PeerId,
        change: impl FnOnce(&mut Vec<Seat<SeatId, PeerId>>),
    ) {
        let Some(member) = self.member(room_id, peer) else { return };
        let before = member.seats.clone();
        change(&mut member.seats);
        if member.seats == before {
            return;
        }
        let after = member.seats.clone();
        for (seat, _) in after.iter().zip(&before).filter(|(new, old)| new != old) {
            let command = Command::SetSeat { peer, seat: seat.id, occupant: seat.occupant };
            self.media(room_id, command);
        }
        let seats = after
            .iter()
            .map(|seat| SeatTaken { seat: seat.id.0, participant: seat.occupant.map(|occupant| occupant.0) });
        self.tell(peer, ServerMessage::Seats { seats: seats.collect() });
    }

    fn member(&mut self, room_id: RoomId, peer: PeerId) -> Option<&mut Member> {
        self.rooms.get_mut(&room_id)?.members.iter_mut().find(|member| member.peer == peer)
    }

    fn participants(&self, room_id: RoomId) -> Vec<Participant> {
        let members = self.rooms.get(&room_id).map_or(&[][..], |room| &room.members);
        members
            .iter()
            .map(|member| Participant {
                id: member.peer.0,
                name: member.name.clone(),
                sources: member.sources.iter().copied().collect(),
            })
            .collect()
    }

    fn tell_participants(&mut self, room_id: RoomId, except: Option<PeerId>) {
        let participants = self.participants(room_id);
        for peer in participants.iter().map(|participant| PeerId(participant.id)) {
            if Some(peer) != except {
                self.tell(peer, ServerMessage::Participants { participants: participants.clone() });
            }
        }
    }

    fn refuse(&mut self, peer: PeerId, code: ErrorCode, message: String, reply_to: Option<Request>) {
        self.tell(peer, ServerMessage::Error { code, message, reply_to });
    }

    fn tell(&mut self, peer: PeerId, message: ServerMessage) {
        self.effects.push_back(Effect::Tell { peer, message });
    }

    fn media(&mut self, room: RoomId, command: Command) {
        self.effects.push_back(Effect::Media { room, command });
    }
}

/// Who a command was for, to tell them if it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A participant waits for what comes of it.
    By { peer: PeerId, request: Request },
    /// Without it the participant is not in the room.
    ToLetIn(PeerId),
    /// Nobody waits for it.
    ByUs,
}

impl Asked {
    pub(crate) const fn by(command: &Command) -> Self {
        match *command {
            Command::AddPeer { peer, .. } | Command::SetMediaGate { peer, .. } => Self::ToLetIn(peer),
            Command::Offer { peer, .. } => Self::By { peer, request: Request::Offer },
            Command::RestartIce { peer, .. } => Self::By { peer, request: Request::Restart },
            Command::SetSeat { peer, .. } | Command::SelectLayer { peer, .. } => {
                Self::By { peer, request: Request::Subscribe }
            }
            Command::Stats { peer } => Self::By { peer, request: Request::Stats },
            Command::CreateRoom { .. } | Command::CloseRoom { .. } | Command::RemovePeer { .. } => Self::ByUs,
        }
    }
}

/// A wish that can be fulfilled.
struct Wish {
    seat: SeatId,
    occupant: Option<Option<PeerId>>,
    layer: Option<Layer>,
}

fn is_room_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=ROOM_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

const fn in_plain_words(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::ConsentExpired => "nothing was heard from you for half a minute",
        DisconnectReason::ConnectTimeout => "your browser and the server found no way to each other",
        DisconnectReason::DtlsFailed => "the encrypted connection could not be made",
        DisconnectReason::DtlsClosed => "your browser closed the connection",
        DisconnectReason::FingerprintMismatch | DisconnectReason::SrtpKeys => {
            "the encrypted connection is not the one that was agreed on"
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_media_core::sdp::Mid;

    use super::*;

    /// Drives [`Rooms`] and sorts what comes out.
    #[derive(Default)]
    struct Harness {
        rooms: Rooms,
        told: Vec<(u64, ServerMessage)>,
        media: Vec<Command>,
        closed: Vec<u64>,
    }

    impl Harness {
        fn join(&mut self, room: &str) -> PeerId {
            let peer = self.rooms.join(room).unwrap();
            self.drain();
            peer
        }

        /// Joins with two seats for people and one for screens.
        fn join_with_seats(&mut self, room: &str) -> PeerId {
            let peer = self.join(room);
            let mid = |text: &str| Some(Mid::new(text).unwrap());
            let seats = vec![
                SeatInfo { seat: SeatId(0), audio: mid("3"), video: mid("4") },
                SeatInfo { seat: SeatId(1), audio: mid("5"), video: mid("6") },
                SeatInfo { seat: SeatId(2), audio: None, video: mid("7") },
            ];
            self.event(Event::Answer { peer, negotiation: 1, sdp: "v=0".into(), seats });
            peer
        }

        fn say(&mut self, peer: PeerId, json: &str) {
            self.rooms.message(peer, serde_json::from_str(json).unwrap());
            self.drain();
        }

        fn leave(&mut self, peer: PeerId) {
            self.rooms.leave(peer);
            self.drain();
        }

        fn event(&mut self, event: Event) {
            self.rooms.event(event);
            self.drain();
        }

        fn drain(&mut self) {
            while let Some(effect) = self.rooms.poll() {
                match effect {
                    Effect::Media { command, .. } => self.media.push(command),
                    Effect::Tell { peer, message } => self.told.push((peer.0, message)),
                    Effect::Close { peer } => self.closed.push(peer.0),
                }
            }
        }

        /// Who sits where, as the viewer was told last.
        fn seats(&self, viewer: PeerId) -> Vec<Option<u64>> {
            let last = self.told.iter().rev().find_map(|(peer, message)| match message {
                ServerMessage::Seats { seats } if *peer == viewer.0 => Some(seats),
                _ => None,
            });
            last.map_or(Vec::new(), |seats| seats.iter().map(|seat| seat.participant).collect())
        }

        /// Who sits where, as the SFU was told.
        fn seats_of_sfu(&self, viewer: PeerId) -> Vec<Option<u64>> {
            let mut seats = vec![None; 3];
            for command in &self.media {
                if let Command::SetSeat { peer, seat, occupant } = command
                    && *peer == viewer
                {
                    seats[usize::from(seat.0)] = occupant.map(|occupant| occupant.0);
                }
            }
            seats
        }

        fn errors(&self, peer: PeerId) -> Vec<(ErrorCode, Option<Request>)> {
            let errors = self.told.iter().filter(|(to, _)| *to == peer.0);
            errors
                .filter_map(|(_, message)| match message {
                    ServerMessage::Error { code, reply_to, .. } => Some((*code, *reply_to)),
                    _ => None,
                })
                .collect()
        }
    }

    #[test]
    fn others_take_seats_in_join_order_and_leavers_are_replaced_in_place() {
        let mut harness = Harness::default();
        let [a, b, c, d] = std::array::from_fn(|_| harness.join_with_seats("x"));
        assert_eq!(harness.seats(a), [Some(b.0), Some(c.0), None]);
        assert_eq!(harness.seats(d), [Some(a.0), Some(b.0), None]);
        harness.leave(b);
        assert_eq!(harness.seats(a), [Some(d.0), Some(c.0), None]);
        assert_eq!(harness.seats(d), [Some(a.0), Some(c.0), None]);
        for viewer in [a, c, d] {
            assert_eq!(harness.seats(viewer), harness.seats_of_sfu(viewer));
        }
    }

    #[test]
    fn rooms_do_not_see_each_other_and_close_when_empty() {
        let mut harness = Harness::default();
        let a = harness.join_with_seats("x");
        let b = harness.join_with_seats("y");
        assert_eq!(harness.seats(a), []);
        harness.say(b, &format!(r#"{{"type":"subscribe","seats":[{{"seat":0,"participant":{}}}]}}"#, a.0));
        assert_eq!(harness.errors(b), [(ErrorCode::Refused, Some(Request::Subscribe))]);
        harness.leave(a);
        harness.leave(a);
        harness.say(b, r#"{"type":"leave"}"#);
        assert_eq!(harness.closed, [a.0, b.0]);
        let closed =
            harness.media.iter().filter(|command| matches!(command, Command::CloseRoom { .. })).count();
        assert_eq!(closed, 2);
        assert!(harness.rooms.rooms.is_empty() && harness.rooms.by_name.is_empty());
        assert!(harness.rooms.by_peer.is_empty());
        assert!(harness.join("x") > b, "ids are never used again");
    }

    #[test]
    fn whoever_shares_sits_in_the_screen_seat_while_they_share() {
        let mut harness = Harness::default();
        let a = harness.join_with_seats("x");
        let b = harness.join_with_seats("x");
        harness.event(Event::SourceStarted { peer: b, kind: SourceKind::Screen });
        assert_eq!(harness.seats(a), [Some(b.0), None, Some(b.0)]);
        assert_eq!(harness.seats(b), [Some(a.0), None, None]);
        harness.event(Event::SourceStopped { peer: b, kind: SourceKind::Screen });
        assert_eq!(harness.seats(a), [Some(b.0), None, None]);
        harness.say(a, &format!(r#"{{"type":"subscribe","seats":[{{"seat":2,"participant":{}}}]}}"#, b.0));
        assert_eq!(harness.errors(a), [(ErrorCode::Refused, Some(Request::Subscribe))]);
    }

    #[test]
    fn a_seat_asked_for_is_given_and_the_two_swap() {
        let mut harness = Harness::default();
        let [a, b, c] = std::array::from_fn(|_| harness.join_with_seats("x"));
        harness.say(a, &format!(r#"{{"type":"subscribe","seats":[{{"seat":0,"participant":{}}}]}}"#, c.0));
        assert_eq!(harness.seats(a), [Some(c.0), Some(b.0), None]);
        assert_eq!(harness.seats_of_sfu(a), harness.seats(a));
        harness.say(a, r#"{"type":"subscribe","seats":[{"seat":0,"participant":null,"layer":"q"}]}"#);
        assert_eq!(harness.seats(a), [None, Some(b.0), None]);
        assert!(harness.media.iter().any(|command| matches!(command, Command::SelectLayer { .. })));
        assert_eq!(harness.errors(a), []);
    }

    #[test]
    fn of_wishes_that_cannot_all_be_fulfilled_none_is() {
        let mut harness = Harness::default();
        let a = harness.join_with_seats("x");
        let b = harness.join_with_seats("x");
        let media_before = harness.media.len();
        let seats_before = harness.seats(a);
        for wish in [
            r#"{"seat":9}"#.to_owned(),
            r#"{"seat":0,"participant":99}"#.to_owned(),
            r#"{"seat":0,"layer":"no rid"}"#.to_owned(),
            format!(r#"{{"seat":1,"participant":{}}}"#, a.0),
            format!(r#"{{"seat":2,"participant":{}}}"#, b.0),
        ] {
            let first = r#"{"seat":0,"participant":null,"layer":"q"}"#;
            harness.say(a, &format!(r#"{{"type":"subscribe","seats":[{first},{wish}]}}"#));
        }
        assert_eq!(harness.errors(a), [(ErrorCode::Refused, Some(Request::Subscribe)); 5]);
        assert_eq!(harness.media.len(), media_before);
        assert_eq!(harness.seats(a), seats_before);
    }

    #[test]
    fn bad_ice_credentials_do_not_reach_the_sfu() {
        let mut harness = Harness::default();
        let a = harness.join_with_seats("x");
        let media_before = harness.media.len();
        harness.say(a, r#"{"type":"restart","ufrag":"a b","pwd":"short"}"#);
        assert_eq!(harness.errors(a), [(ErrorCode::Malformed, Some(Request::Restart))]);
        assert_eq!(harness.media.len(), media_before);
    }

    #[test]
    fn a_lost_transport_takes_its_participant_out() {
        let mut harness = Harness::default();
        let a = harness.join_with_seats("x");
        let b = harness.join_with_seats("x");
        harness.event(Event::Disconnected { peer: b, reason: DisconnectReason::ConsentExpired });
        assert_eq!(harness.seats(a), [None, None, None]);
        assert_eq!(harness.closed, [b.0]);
        assert!(
            harness
                .told
                .iter()
                .any(|(to, message)| { *to == b.0 && matches!(message, ServerMessage::Disconnected { .. }) })
        );
    }

    #[test]
    fn room_names_and_numbers_are_bounded() {
        let mut harness = Harness::default();
        for name in ["", "a b", "ä", "../x", &"x".repeat(ROOM_NAME_BYTES_MAX + 1)] {
            assert_eq!(harness.rooms.join(name), Err(JoinError::RoomName), "{name:?}");
        }
        for _ in 0..PEERS_PER_ROOM_MAX {
            harness.join("x");
        }
        assert_eq!(harness.rooms.join("x"), Err(JoinError::RoomFull));
        assert!(harness.rooms.join("y").is_ok());
    }
}
