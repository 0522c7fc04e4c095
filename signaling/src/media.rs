//! What a live session needs of a media engine, in its own words: any SFU with seats can be put behind it.

/// One participant's PeerConnection. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A seat of one peer, numbered in the order of its offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(pub u16);

/// What the engine is to do. In order; what it cannot do comes back as a [`MediaEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaCommand {
    /// Opens the session's room.
    CreateRoom,
    /// Closes it with all its peers.
    CloseRoom,
    /// Adds a peer whose gate is closed: its transport may connect, no media passes either way.
    AddPeer(PeerId),
    /// Removes a peer.
    RemovePeer(PeerId),
    /// Lets media of and to a peer pass.
    OpenGate(PeerId),
    /// Lets none pass any more.
    CloseGate(PeerId),
    /// Answers an offer.
    Offer {
        /// Whose.
        peer: PeerId,
        /// The client's number of it.
        negotiation: u32,
        /// The description.
        sdp: String,
    },
    /// New ICE credentials of a peer.
    RestartIce {
        /// Whose.
        peer: PeerId,
        /// Its `ice-ufrag`.
        ufrag: String,
        /// Its `ice-pwd`.
        pwd: String,
    },
    /// Seats a peer before another.
    SetSeat {
        /// Whose seat.
        peer: PeerId,
        /// Which.
        seat: SeatId,
        /// Who sits in it.
        occupant: Option<PeerId>,
    },
    /// Chooses the encoding a seat shows.
    SelectLayer {
        /// Whose seat.
        peer: PeerId,
        /// Which.
        seat: SeatId,
        /// The rid.
        rid: String,
    },
    /// Asks what is counted.
    Stats(PeerId),
}

impl MediaCommand {
    /// Whether a client waits for an answer, and can be told to try again. All others must be done.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self, Self::Offer { .. } | Self::RestartIce { .. } | Self::Stats(_))
    }
}

/// What the engine reports.
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// The answer to an offer.
    Answer {
        /// Whose.
        peer: PeerId,
        /// The offer's.
        negotiation: u32,
        /// The description.
        sdp: String,
        /// All seats of the peer.
        seats: Vec<SeatInfo>,
    },
    /// The offer cannot be answered; it changed nothing.
    OfferRejected {
        /// Whose.
        peer: PeerId,
        /// The offer's.
        negotiation: u32,
        /// Why, in words.
        why: String,
    },
    /// New ICE credentials of the server.
    Restarted {
        /// For whom.
        peer: PeerId,
        /// Its `ice-ufrag`.
        ufrag: String,
        /// Its `ice-pwd`.
        pwd: String,
    },
    /// The credentials of a restart are of no use.
    RestartRejected {
        /// Whose.
        peer: PeerId,
        /// Why, in words.
        why: String,
    },
    /// A restart found no path.
    RestartFailed {
        /// Whose.
        peer: PeerId,
    },
    /// The transport stands.
    Connected {
        /// Whose.
        peer: PeerId,
    },
    /// The transport is gone for good.
    Disconnected {
        /// Whose.
        peer: PeerId,
        /// Why, in words.
        why: String,
    },
    /// Nothing was heard from a peer whose transport stands for some seconds.
    Quiet {
        /// Whose.
        peer: PeerId,
    },
    /// Something is heard from it again.
    Heard {
        /// Whose.
        peer: PeerId,
    },
    /// Something a peer sends arrives, or does no more.
    Source {
        /// Whose.
        peer: PeerId,
        /// What.
        kind: SourceKind,
        /// Whether it arrives.
        flowing: bool,
    },
    /// What is counted.
    Stats {
        /// Of whom.
        peer: PeerId,
        /// Fields as in `getStats`.
        stats: serde_json::Value,
    },
    /// The engine cannot do what was asked for a peer: all that is under way for it is in vain.
    Refused {
        /// Whose.
        peer: PeerId,
        /// Why, in words.
        why: String,
    },
    /// A request of a client found no room in a queue.
    Busy(MediaCommand),
}

/// What a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// The first sendonly audio.
    Microphone,
    /// The first sendonly video.
    Camera,
    /// The second.
    Screen,
}

/// What a seat of an answered offer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatInfo {
    /// The seat.
    pub seat: SeatId,
    /// The mid of its audio; `None` for a screen seat.
    pub audio: Option<String>,
    /// The mid of its video.
    pub video: Option<String>,
}
