//! What a live session needs of a media engine, in its own words: any SFU with seats can be put behind it.

use std::time::Duration;

use crate::wire::{QualityLevel, QualityReason, VideoCodec};

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
    /// Says how a seat's video is wanted.
    SetSeatWish {
        /// Whose seat.
        peer: PeerId,
        /// Which.
        seat: SeatId,
        /// How.
        wish: SeatWish,
    },
    /// Says what would be sent beside what is shown, if the line carried it: so much is probed for. 0: nothing.
    SeekRate {
        /// Whose line.
        peer: PeerId,
        /// In bits per second.
        bps: u64,
    },
    /// Notes what a device thinks that the way from it carries.
    NoteUplink {
        /// Whose line.
        peer: PeerId,
        /// In bits per second.
        bps: u64,
    },
    /// Sends as much as this for a moment, and says what became of it.
    TestLine {
        /// Whose line.
        peer: PeerId,
        /// In bits per second.
        bps: u64,
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
    /// Of a simulcast source these encodings are wanted; until it is first said, all.
    EncodingsWanted {
        /// Who publishes.
        peer: PeerId,
        /// What.
        kind: SourceKind,
        /// Their rids, lowest first.
        rids: Vec<String>,
    },
    /// In this codec a source is wanted from now on; until it is first said, as its answer says.
    CodecWanted {
        /// Who publishes.
        peer: PeerId,
        /// What.
        kind: SourceKind,
        /// How.
        codec: VideoCodec,
    },
    /// A publisher's voice is wanted so; until it is first said, as it likes.
    AudioWanted {
        /// Who publishes.
        peer: PeerId,
        /// How.
        profile: AudioProfile,
    },
    /// Somebody else speaks now; none after the last one left.
    Speaker(Option<PeerId>),
    /// A connection is better or worse than it was, or for another reason; until it is first said, good.
    Quality {
        /// Whose.
        peer: PeerId,
        /// How good it is.
        quality: Quality,
    },
    /// A step of [`STEP`] in which media flowed is over; or a shorter one, by the removal of its peer.
    Measured {
        /// Whose.
        peer: PeerId,
        /// What was measured.
        step: Box<QualityStep>,
    },
    /// What was seen of a line in a second in which media flowed.
    Line {
        /// Whose.
        peer: PeerId,
        /// What.
        seen: LineSeen,
    },
    /// What became of [`MediaCommand::TestLine`].
    LineTested {
        /// Whose.
        peer: PeerId,
        /// The share of it that did not arrive, or too late, 0.0..=1.0; none where nobody tells.
        lost: Option<f32>,
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

/// How a seat's video is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeatWish {
    /// No picture higher than this, in pixels; `None`: as high as there is.
    pub max_height: Option<u16>,
    /// Who goes first where the line does not carry everything: the higher.
    pub priority: u8,
}

/// How a publisher is asked to encode its voice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AudioProfile {
    /// As it likes.
    #[default]
    Full,
    /// For poor lines: few bits, in long frames.
    Thrifty,
    /// For those that hardly carry a voice: as few as there are in speech.
    Least,
}

/// How good a connection is, and why it is no better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// That.
    pub level: QualityLevel,
    /// Of every level but good.
    pub reason: Option<QualityReason>,
}

/// After so long without a sign of life a peer is [`MediaEvent::Quiet`].
pub const QUIET_AFTER: Duration = Duration::from_secs(8);

/// What was seen of a line in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LineSeen {
    /// What the way to them is thought to carry, in bits per second; none where nobody tells.
    pub downlink_bps: Option<u64>,
    /// Share of packets lost on the way to them, 0.0..=1.0, before they were sent again; none where nothing was sent.
    pub downlink_loss: Option<f32>,
    /// Share of packets lost on the way from them, as above.
    pub uplink_loss: f32,
    /// Round trip, where it was measured.
    pub rtt: Option<Duration>,
    /// Received of their camera, in bits per second; none where none came.
    pub camera_bps: Option<u64>,
    /// What the way from them carries, as their device said lately ([`MediaCommand::NoteUplink`]).
    pub uplink_bps: Option<u64>,
}

/// Whole kilobits per second, as they are told.
#[must_use]
pub fn kbps(bps: u64) -> u32 {
    u32::try_from(bps / 1_000).unwrap_or(u32::MAX)
}

/// How long a step of what is measured is.
pub const STEP: Duration = Duration::from_secs(10);

/// What was measured of somebody's connection over one [`STEP`], or over what there was of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QualityStep {
    /// The worst of the step.
    pub quality: Quality,
    /// Share of packets lost on the way from them, 0.0..=1.0, before they were sent again; none where nothing was sent.
    pub uplink_loss: Option<f32>,
    /// Share of packets lost on the way to them, as above.
    pub downlink_loss: Option<f32>,
    /// The greatest jitter of what they send.
    pub uplink_jitter: Option<Duration>,
    /// Round trip, where it was measured.
    pub rtt: Option<Duration>,
    /// Received from them, in bits per second.
    pub uplink_bps: u64,
    /// Sent to them, in bits per second.
    pub downlink_bps: u64,
    /// What the way to them is thought to carry, in bits per second.
    pub downlink_estimate_bps: Option<u64>,
    /// Height in pixels of the largest picture they are shown; zero where all are held back.
    pub video_height: Option<u16>,
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
