//! One device of somebody: a socket as long as there is one, a transport, and what it was told. It outlives its socket, and
//! is forgotten when nothing was heard from it for long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use vestibule_domain::{BandwidthProfile, ParticipantId, ParticipantRole, SessionStatus};

use crate::live::Roster;
use crate::log::Log;
use crate::media::{AudioProfile, PeerId, Quality, SeatId, SeatWish, SourceKind};
use crate::resume::ResumeKey;
use crate::seating::Seat;
use crate::wire::{MediaState, ParticipantMedia, PublishKind, RequestId, VideoCodec, VideoKind};

/// A signaling socket. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Requests of one kind a client may have under way.
pub(crate) const REQUESTS_UNDER_WAY_MAX: usize = 8;

/// Names a device within its session. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberId(pub(crate) u64);

/// What a device is to its participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The one that waits or is in.
    First,
    /// Another one of somebody who is in: it waits to take the first one's place.
    Newcomer(ResumeKey),
}

/// A device.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) participant: ParticipantId,
    /// What its participant is here as; that never changes.
    pub(crate) role: ParticipantRole,
    pub(crate) place: Place,
    /// It, or somebody with the same link, came before.
    pub(crate) new_device: bool,
    /// Which it is over all pages that are loaded on it: that of its first member.
    pub(crate) device: MemberId,
    /// None while it is lost.
    pub(crate) connection: Option<ConnectionId>,
    /// The newest socket it had, whether it still has one or not.
    pub(crate) newest: ConnectionId,
    /// Since when nothing is heard from it on any channel.
    pub(crate) lost_since: Option<Timestamp>,
    /// On this socket.
    pub(crate) violations: u32,
    pub(crate) log: Log,
    pub(crate) peer: PeerId,
    /// ICE and DTLS are done.
    pub(crate) transport: bool,
    /// Nothing is heard on it.
    pub(crate) quiet: bool,
    /// It had a transport once, this one or another.
    pub(crate) was_connected: bool,
    /// Its last socket was closed from there.
    pub(crate) hung_up: bool,
    /// Since when nothing is heard of its media.
    pub(crate) silent_since: Option<Timestamp>,
    /// What the engine was told to look for in its line.
    pub(crate) sought_bps: u64,
    /// What the engine was told of the peer's gate; a new peer's is closed.
    pub(crate) gate_is_open: bool,
    /// An offer was answered.
    pub(crate) answered: bool,
    /// None before the first answer.
    pub(crate) seats: Vec<Seat<SeatId, ParticipantId>>,
    /// Seats for people they should have.
    pub(crate) people: u16,
    /// How seats are wanted, where it was said.
    pub(crate) wishes: BTreeMap<SeatId, SeatWish>,
    /// What of what it sends is wanted.
    pub(crate) wanted: Wanted,
    pub(crate) quality: Quality,
    flowing: BTreeSet<SourceKind>,
    /// A picture of theirs has come.
    showed: bool,
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

impl Requests {
    pub(crate) fn count(&self) -> usize {
        self.offers.len() + self.restarts.len() + self.stats.len()
    }
}

/// What of what a device sends is wanted. Of a fresh transport all is, until it is said anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of those kinds of which it was said.
    pub(crate) encodings: BTreeMap<VideoKind, Vec<String>>,
    pub(crate) codecs: BTreeMap<VideoKind, VideoCodec>,
    pub(crate) audio: AudioProfile,
}

/// What was told last: only what is different is told again.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) participants: Roster,
    pub(crate) session: Option<(SessionStatus, u64)>,
    pub(crate) waiting: Option<(Option<u32>, bool, bool)>,
    pub(crate) seats: Vec<Seat<SeatId, ParticipantId>>,
    pub(crate) occupants: BTreeMap<SeatId, PeerId>,
    pub(crate) wishes: BTreeMap<SeatId, SeatWish>,
    pub(crate) people: u16,
    /// Who waits, on which device, and whether it is a new one.
    pub(crate) knocks: BTreeMap<ParticipantId, (MemberId, bool)>,
    pub(crate) recording: bool,
    pub(crate) wanted: Wanted,
    pub(crate) rehearses: Option<BandwidthProfile>,
    pub(crate) speaker: Option<ParticipantId>,
    /// Of those whose connection is not good.
    pub(crate) qualities: BTreeMap<ParticipantId, Quality>,
}

impl Member {
    pub(crate) fn new(
        (id, participant, role, place): (MemberId, ParticipantId, ParticipantRole, Place),
        connection: ConnectionId,
        peer: PeerId,
        people: u16,
    ) -> Self {
        Self {
            id,
            participant,
            role,
            place,
            new_device: matches!(place, Place::Newcomer(_)),
            device: id,
            connection: Some(connection),
            newest: connection,
            lost_since: None,
            violations: 0,
            log: Log::new(),
            peer,
            transport: false,
            quiet: false,
            was_connected: false,
            hung_up: false,
            silent_since: None,
            sought_bps: 0,
            gate_is_open: false,
            answered: false,
            seats: Vec::new(),
            people,
            wishes: BTreeMap::new(),
            wanted: Wanted::default(),
            quality: Quality::default(),
            flowing: BTreeSet::new(),
            showed: false,
            muted: BTreeSet::new(),
            requests: Requests::default(),
            told: Told { people, ..Told::default() },
        }
    }

    pub(crate) const fn is_provider(&self) -> bool {
        matches!(self.role, ParticipantRole::Provider)
    }

    pub(crate) const fn is_newcomer(&self) -> bool {
        matches!(self.place, Place::Newcomer(_))
    }

    /// Another transport takes the place of the lost one.
    pub(crate) fn renew_transport(&mut self, peer: PeerId) {
        self.peer = peer;
        self.transport = false;
        self.quiet = false;
        self.sought_bps = 0;
        self.gate_is_open = false;
        self.answered = false;
        self.seats.clear();
        self.flowing.clear();
        self.wishes.clear();
        self.wanted = Wanted::default();
        self.quality = Quality::default();
        // They know that a fresh one is wanted whole.
        self.told.wanted = Wanted::default();
        self.told.seats.clear();
        self.told.occupants.clear();
        self.told.wishes.clear();
    }

    pub(crate) fn set_flowing(&mut self, kind: SourceKind, flowing: bool) {
        if flowing {
            self.showed |= kind == SourceKind::Camera;
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

    /// Whether a picture of theirs comes where their line is used for one.
    pub(crate) fn has_camera(&self) -> bool {
        self.showed && !self.muted.contains(&PublishKind::Camera)
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
