//! What goes into the SFU and what comes out of it: ids, commands, events, datagrams.
//!
//! Everything here is plain data, so that an owner can queue it between threads.

use std::slice;

use crate::address::TransportAddress;
use crate::quality::{LineLook, Quality, QualityStep};
use crate::sdp::{CodecName, Fingerprint, IceParameters, Mid, Offer, Rid, SdpError};
use crate::srtp::{KeyingMaterial, SrtpProfile};
use crate::stats::PeerStats;
use crate::time::WallClock;

/// A room: the peers in it may be seated before each other. Chosen by the caller, never reused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u64);

/// A peer: one participant's PeerConnection. Chosen by the caller, never reused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A seat of one peer, in the order in which its offers named them, from 0.
///
/// A recvonly audio m-line followed by a recvonly video m-line is a seat; a recvonly video m-line with no audio
/// before it is a screen seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(pub u16);

/// What the SFU needs to know of the server it runs on.
#[derive(Clone, Debug)]
pub struct SfuConfig {
    /// The addresses peers are told to reach, best first: what the world sees, not what the socket is bound to.
    pub candidates: Vec<TransportAddress>,
    /// SHA-256 of the DTLS certificate.
    pub fingerprint: Fingerprint,
    /// The wall clock of sender reports.
    pub wall_clock: WallClock,
    /// What publishers are asked to send as long as everybody in their room decodes it.
    pub video_codec: CodecName,
}

/// One input.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram from the socket, or a packet from a connection. Its bytes are decrypted in place.
    Datagram {
        /// Where it came from.
        from: TransportAddress,
        /// The datagram.
        bytes: &'a mut [u8],
    },
    /// Something is different about the way to an address.
    Path {
        /// Which.
        address: TransportAddress,
        /// What.
        change: PathChange,
    },
    /// [`crate::Sfu::poll_timeout`] has been reached.
    Timeout,
    /// Somebody wants something.
    Command(Command),
    /// The DTLS worker has something for a peer.
    Dtls {
        /// Whose association it is.
        peer: PeerId,
        /// What happened.
        event: DtlsEvent,
    },
}

/// What the owner of a connection tells of it. Nobody tells anything of a way without connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// It takes no more for now: what was given to it last waits. Voices may still be added, video is to wait.
    Full,
    /// It takes more again.
    Free,
    /// It is gone.
    Closed,
}

/// What the DTLS association of a peer reports.
#[derive(Debug)]
pub enum DtlsEvent {
    /// A datagram for the peer.
    Transmit(Vec<u8>),
    /// The handshake is complete.
    Established {
        /// SRTP keys from the exporter (RFC 5764 section 4.2).
        keys: KeyingMaterial,
        /// SHA-256 of the certificate the peer proved to hold; the SFU compares it with the SDP.
        fingerprint: Fingerprint,
    },
    /// The handshake failed for good.
    Failed,
    /// The peer closed the association.
    Closed,
}

/// Whether media of and to a peer flows (PROTOCOL: a warm transport).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaGate {
    /// ICE and DTLS may connect; no packet of the peer is accepted or forwarded, and none reaches it.
    #[default]
    Closed,
    /// Media flows.
    Open,
}

/// How a seat's video is wanted. What the line carries decides what of it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatWish {
    /// No picture higher than this is sent, in pixels. `None`: as high as there is; 0: none at all. The lowest
    /// encoding counts as low enough for every other height.
    pub max_height: Option<u16>,
    /// Who goes first where the line does not carry everything: the higher.
    ///
    /// A screen and the active speaker count as [`SeatWish::PRIORITY_FOREMOST`] at the least.
    pub priority: u8,
}

impl SeatWish {
    /// The priority of a screen and of the active speaker.
    pub const PRIORITY_FOREMOST: u8 = 100;
    /// As high as there is, and nobody before anybody.
    pub const DEFAULT: Self = Self { max_height: None, priority: 0 };
}

impl Default for SeatWish {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How a publisher is asked to encode its voice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudioProfile {
    /// As it likes.
    #[default]
    Full,
    /// For poor lines: 16 kbit/s in frames of 60 ms, so that headers do not cost twice what the voice does.
    Thrifty,
    /// For lines that hardly carry a voice: 8 kbit/s in frames of 120 ms, the least that is still speech.
    Least,
}

/// What a caller may ask for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Opens a room.
    CreateRoom {
        /// Its id, not in use.
        room: RoomId,
    },
    /// Closes a room and removes its peers.
    CloseRoom {
        /// Its id.
        room: RoomId,
    },
    /// Adds a peer with its media gate closed.
    AddPeer {
        /// Where to.
        room: RoomId,
        /// Its id, not in use.
        peer: PeerId,
    },
    /// Removes a peer: from this turn on nothing of it is accepted or sent.
    RemovePeer {
        /// Who.
        peer: PeerId,
    },
    /// Opens or closes a peer's media gate.
    SetMediaGate {
        /// Whose.
        peer: PeerId,
        /// To what.
        gate: MediaGate,
    },
    /// An SDP offer of the peer, its first or one that extends the last; answered by [`Event::Answer`].
    ///
    /// It comes read already ([`Offer::parse`]): a hostile one costs its own sender's thread the milliseconds, not the
    /// shard's.
    Offer {
        /// Whose.
        peer: PeerId,
        /// The caller's number of this negotiation, given back with the answer.
        negotiation: u32,
        /// The offer.
        offer: Box<Offer>,
    },
    /// An ICE restart without SDP; answered by [`Event::Restarted`].
    RestartIce {
        /// Whose.
        peer: PeerId,
        /// The peer's new credentials.
        remote: IceParameters,
    },
    /// Seats a peer of the same room before another; `None` empties the seat.
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
    /// Says what a peer would be sent if its line carried it, beside what it is shown: so much is probed for. 0: nothing.
    SeekRate {
        /// Whose line.
        peer: PeerId,
        /// In bits per second of UDP payload.
        bps: u64,
    },
    /// Notes what a peer itself thinks that the way from it carries: what arrives does not tell. Forgotten after five seconds.
    NoteUplink {
        /// Whose line.
        peer: PeerId,
        /// In bits per second.
        bps: u64,
    },
    /// Sends a peer as much as this for a moment, padding where there is no media; answered by [`Event::LineTested`].
    TestLine {
        /// Whose line.
        peer: PeerId,
        /// In bits per second of UDP payload.
        bps: u64,
    },
    /// Asks for [`Event::Stats`].
    Stats {
        /// Whose.
        peer: PeerId,
    },
}

impl Command {
    /// The peer the command is about, where it is about one.
    #[must_use]
    pub const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::CreateRoom { .. } | Self::CloseRoom { .. } => None,
            Self::AddPeer { peer, .. }
            | Self::RemovePeer { peer }
            | Self::SetMediaGate { peer, .. }
            | Self::Offer { peer, .. }
            | Self::RestartIce { peer, .. }
            | Self::SetSeat { peer, .. }
            | Self::SetSeatWish { peer, .. }
            | Self::SeekRate { peer, .. }
            | Self::NoteUplink { peer, .. }
            | Self::TestLine { peer, .. }
            | Self::Stats { peer } => Some(*peer),
        }
    }
}

/// One output. Drain [`crate::Sfu::poll_output`] until it gives none.
#[derive(Debug)]
pub enum Output<'a> {
    /// Packets for the socket, all that wait.
    Transmits(Transmits<'a>),
    /// Something for the DTLS worker.
    Dtls {
        /// Whose association.
        peer: PeerId,
        /// What for it.
        message: DtlsMessage,
    },
    /// Something for the caller.
    Event(Event),
}

/// What a peer's DTLS association is to be told.
#[derive(Debug, PartialEq, Eq)]
pub enum DtlsMessage {
    /// The first flight, whole and checked: begin an association that offers exactly this profile. If there is one
    /// already, the client repeats itself: hand it the datagram.
    ClientHello {
        /// One datagram with one unfragmented ClientHello record.
        datagram: Vec<u8>,
        /// The SRTP profile to negotiate.
        profile: SrtpProfile,
    },
    /// A later datagram.
    Datagram(Vec<u8>),
    /// Drop the association; nothing more will come.
    Forget,
}

/// All packets that wait, by address: an iterator over what is to be sent to each.
#[derive(Clone, Debug)]
pub struct Transmits<'a> {
    pub(crate) slab: &'a [u8],
    pub(crate) links: &'a [Link],
    pub(crate) departures: slice::Iter<'a, (TransportAddress, u32)>,
}

impl<'a> Iterator for Transmits<'a> {
    type Item = Transmit<'a>;

    #[inline]
    fn next(&mut self) -> Option<Transmit<'a>> {
        let &(to, next) = self.departures.next()?;
        Some(Transmit { to, packets: Packets { slab: self.slab, links: self.links, next } })
    }
}

/// All packets that wait for one address; there is at least one.
#[derive(Clone, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub to: TransportAddress,
    packets: Packets<'a>,
}

impl<'a> Transmit<'a> {
    /// The packets, in the order in which they must leave.
    #[must_use]
    #[inline]
    pub fn packets(&self) -> Packets<'a> {
        self.packets.clone()
    }
}

/// Iterator over the packets of a [`Transmit`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    slab: &'a [u8],
    links: &'a [Link],
    next: u32,
}

/// Where a packet lies in the TX slab, and which follows it to the same address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) next: u32,
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // The end of a list is an index no link has.
        let link = self.links.get(self.next as usize)?;
        self.next = link.next;
        Some(&self.slab[link.start as usize..(link.start + link.len) as usize])
    }
}

/// What a seat of an answered offer is, so that the client knows its m-lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatInfo {
    /// The seat.
    pub seat: SeatId,
    /// The mid of its audio m-line; `None` for a screen seat.
    pub audio: Option<Mid>,
    /// The mid of its video m-line.
    pub video: Option<Mid>,
}

/// What a peer publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// The first audio m-line it sends.
    Microphone,
    /// The first video m-line it sends.
    Camera,
    /// The second video m-line it sends.
    Screen,
}

/// Why a peer's transport is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// No authenticated connectivity check for [`crate::bounds::CONSENT_EXPIRY`] (RFC 7675).
    ConsentExpired,
    /// DTLS did not complete in [`crate::bounds::CONNECT_TIMEOUT`].
    ConnectTimeout,
    /// The DTLS handshake failed.
    DtlsFailed,
    /// The peer closed DTLS.
    DtlsClosed,
    /// The certificate is not the one of the SDP (RFC 8122).
    FingerprintMismatch,
    /// The keys of the handshake are of no use.
    SrtpKeys,
}

/// What the caller is told.
#[derive(Debug)]
pub enum Event {
    /// The answer to an offer.
    Answer {
        /// Whose.
        peer: PeerId,
        /// The negotiation of the offer.
        negotiation: u32,
        /// The answer.
        sdp: String,
        /// All seats of the peer.
        seats: Vec<SeatInfo>,
    },
    /// The offer does not follow the one before; it changed nothing.
    OfferRejected {
        /// Whose.
        peer: PeerId,
        /// The negotiation of the offer.
        negotiation: u32,
        /// Why.
        error: SdpError,
    },
    /// The server's credentials for an ICE restart.
    Restarted {
        /// Whose.
        peer: PeerId,
        /// The server's new credentials.
        local: IceParameters,
    },
    /// The new ICE credentials carry the transport now; the previous ones are on their way out.
    PathChanged {
        /// Whose.
        peer: PeerId,
    },
    /// An ICE restart brought no path in [`crate::bounds::ICE_RESTART_TIMEOUT`]: a fresh transport is needed.
    RestartFailed {
        /// Whose.
        peer: PeerId,
    },
    /// ICE and DTLS are done; SRTP keys are in place.
    Connected {
        /// Who.
        peer: PeerId,
        /// How its media is protected.
        profile: SrtpProfile,
    },
    /// Nothing authenticated came from a connected peer for [`crate::bounds::QUIET_AFTER`].
    Quiet {
        /// From whom.
        peer: PeerId,
    },
    /// Something authenticated came from a peer that was quiet.
    Heard {
        /// From whom.
        peer: PeerId,
    },
    /// The transport is gone for good; the peer stays until it is removed, silent.
    Disconnected {
        /// Whose.
        peer: PeerId,
        /// Why.
        reason: DisconnectReason,
    },
    /// The first packet of a source arrived, or the first after a stop.
    SourceStarted {
        /// Who publishes.
        peer: PeerId,
        /// What.
        kind: SourceKind,
    },
    /// No packet of a source for [`crate::bounds::SOURCE_STOPPED`].
    SourceStopped {
        /// Who published.
        peer: PeerId,
        /// What.
        kind: SourceKind,
    },
    /// Which encodings of a simulcast source anybody is to be shown; the publisher need not send the others. Until it is
    /// first said all are wanted. The lowest always is, so that there is something to fall back on at once.
    EncodingsWanted {
        /// Who publishes.
        peer: PeerId,
        /// What.
        kind: SourceKind,
        /// Their rids, lowest first.
        rids: Vec<Rid>,
    },
    /// In which codec a source is wanted from now on: one that everybody in the room decodes. Until it is first said, the one
    /// that stands first on its m-line in the answer.
    CodecWanted {
        /// Who publishes.
        peer: PeerId,
        /// What.
        kind: SourceKind,
        /// The codec.
        codec: CodecName,
    },
    /// How a publisher's voice is wanted; until it is first said, [`AudioProfile::Full`].
    AudioWanted {
        /// Who publishes.
        peer: PeerId,
        /// How.
        profile: AudioProfile,
    },
    /// Somebody else speaks now (RFC 6464, with hysteresis). Who spoke last stays until then.
    Speaker {
        /// Where.
        room: RoomId,
        /// Who; `None` after the last one left.
        speaker: Option<PeerId>,
    },
    /// A connection is better or worse than it was, or for another reason.
    Quality {
        /// Whose.
        peer: PeerId,
        /// How good it is.
        quality: Quality,
    },
    /// A step of [`crate::bounds::QUALITY_STEP`] in which media flowed is over.
    QualityStep {
        /// Whose.
        peer: PeerId,
        /// What was measured.
        step: Box<QualityStep>,
    },
    /// What was seen of a peer's line in a second in which media flowed.
    Line {
        /// Whose.
        peer: PeerId,
        /// What.
        look: LineLook,
    },
    /// What became of [`Command::TestLine`].
    LineTested {
        /// Whose.
        peer: PeerId,
        /// The share of its packets that did not arrive, or too late, 0.0..=1.0; none where nothing was sent, or nobody tells.
        lost: Option<f32>,
    },
    /// The numbers asked for.
    Stats {
        /// Whose.
        peer: PeerId,
        /// The numbers.
        stats: Box<PeerStats>,
    },
    /// A command was refused and changed nothing.
    Refused {
        /// The peer it was about, where it was about one.
        peer: Option<PeerId>,
        /// Why.
        error: CommandError,
    },
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The room's id is in use.
    #[error("the room exists already")]
    RoomExists,
    /// No such room.
    #[error("no such room")]
    UnknownRoom,
    /// The peer's id is in use.
    #[error("the peer exists already")]
    PeerExists,
    /// No such peer.
    #[error("no such peer")]
    UnknownPeer,
    /// The peer has no such seat.
    #[error("the peer has no such seat")]
    UnknownSeat,
    /// The occupant is not a peer of the same room, or is the peer itself.
    #[error("only another peer of the same room can be seated")]
    OccupantNotInRoom,
    /// The peer has not offered yet.
    #[error("the peer has made no offer yet")]
    NoOffer,
    /// The peer's transport is gone; it needs a fresh one.
    #[error("the peer's transport is gone")]
    Disconnected,
    /// A bound of [`crate::bounds`] is reached.
    #[error("the limit of {0} is reached")]
    Full(&'static str),
}
