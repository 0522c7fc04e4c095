//! Somebody who is connected: one socket, at most one transport, and what they were told last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vestibule_domain::{ParticipantId, SessionStatus};

use crate::media::{PeerId, SeatId, SourceKind};
use crate::seating::Seat;
use crate::wire::{MediaState, Participant, ParticipantMedia, PublishKind, RequestId};

/// A signaling socket. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Requests of one kind a client may have under way.
pub(crate) const REQUESTS_UNDER_WAY_MAX: usize = 8;

/// Somebody connected.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) participant: ParticipantId,
    pub(crate) connection: ConnectionId,
    pub(crate) peer: PeerId,
    /// ICE and DTLS are done.
    pub(crate) transport: bool,
    /// What the engine was told of the peer's gate; a new peer's is closed.
    pub(crate) gate_is_open: bool,
    /// An offer was answered.
    pub(crate) answered: bool,
    /// None before the first answer.
    pub(crate) seats: Vec<Seat<SeatId, ParticipantId>>,
    /// Seats for people they should have.
    pub(crate) people: u16,
    flowing: BTreeSet<SourceKind>,
    muted: BTreeSet<PublishKind>,
    pub(crate) requests: Requests,
    pub(crate) told: Told,
}

/// Requests that wait for the engine's answer.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// By negotiation.
    pub(crate) offers: BTreeMap<u32, Option<RequestId>>,
    /// In order.
    pub(crate) restarts: VecDeque<Option<RequestId>>,
    /// In order.
    pub(crate) stats: VecDeque<Option<RequestId>>,
}

/// What was told last: only what is different is told again.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) participants: BTreeMap<ParticipantId, Participant>,
    pub(crate) session: Option<(SessionStatus, u64)>,
    pub(crate) waiting: Option<(Option<u32>, bool)>,
    pub(crate) seats: Vec<Seat<SeatId, ParticipantId>>,
    pub(crate) occupants: BTreeMap<SeatId, PeerId>,
    pub(crate) people: u16,
}

impl Member {
    pub(crate) fn new(
        participant: ParticipantId,
        connection: ConnectionId,
        peer: PeerId,
        people: u16,
    ) -> Self {
        Self {
            participant,
            connection,
            peer,
            transport: false,
            gate_is_open: false,
            answered: false,
            seats: Vec::new(),
            people,
            flowing: BTreeSet::new(),
            muted: BTreeSet::new(),
            requests: Requests::default(),
            told: Told { people, ..Told::default() },
        }
    }

    /// Another transport takes the place of the lost one.
    pub(crate) fn renew_transport(&mut self, peer: PeerId) {
        self.peer = peer;
        self.transport = false;
        self.gate_is_open = false;
        self.answered = false;
        self.seats.clear();
        self.flowing.clear();
        self.told.seats.clear();
        self.told.occupants.clear();
    }

    pub(crate) fn set_flowing(&mut self, kind: SourceKind, flowing: bool) {
        if flowing {
            self.flowing.insert(kind);
        } else {
            self.flowing.remove(&kind);
        }
    }

    pub(crate) fn set_muted(&mut self, kind: PublishKind, muted: bool) {
        if muted {
            self.muted.insert(kind);
        } else {
            self.muted.remove(&kind);
        }
    }

    pub(crate) fn shares_screen(&self) -> bool {
        self.flowing.contains(&SourceKind::Screen)
    }

    pub(crate) fn media(&self) -> ParticipantMedia {
        let state = |publish, source| {
            if self.muted.contains(&publish) {
                MediaState::Muted
            } else if self.flowing.contains(&source) {
                MediaState::Live
            } else {
                MediaState::Off
            }
        };
        ParticipantMedia {
            audio: state(PublishKind::Audio, SourceKind::Microphone),
            camera: state(PublishKind::Camera, SourceKind::Camera),
            screen: state(PublishKind::Screen, SourceKind::Screen),
        }
    }
}
