//! A peer: one participant's transport, what it publishes and what it is shown.

use std::time::Duration;

use crate::api::{MediaGate, PeerId, SeatId, SeatInfo, SourceKind};
use crate::bounds::RTT_DEFAULT;
use crate::downlink::Downlink;
use crate::dtls_gate::DtlsGate;
use crate::ice::IceAgent;
use crate::keys::{PeerKey, RoomKey};
use crate::sdp::Terms;
use crate::slot::Slot;
use crate::speakers::Voice;
use crate::srtp::{SrtpOpener, SrtpProfile};
use crate::time::Time;
use crate::timers::Timers;
use crate::uplink::Uplink;
use crate::watch::{ROUND_TRIP_AGE_MAX, Watch};

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) room: RoomKey,
    pub(crate) gate: MediaGate,
    pub(crate) transport: Transport,
    pub(crate) ice: IceAgent,
    pub(crate) dtls: DtlsGate,
    pub(crate) profile: Option<SrtpProfile>,
    pub(crate) opener: Option<Box<SrtpOpener>>,
    pub(crate) tx: Downlink,
    pub(crate) uplink: Uplink,
    pub(crate) slots: Vec<Slot>,
    pub(crate) slot_of_ssrc: SlotSsrcs,
    pub(crate) seats: Vec<Seat>,
    pub(crate) negotiated: Option<Box<Negotiated>>,
    /// The SSRC under which this server reports and asks.
    pub(crate) rtcp_ssrc: u32,
    pub(crate) rtt: Option<Duration>,
    pub(crate) rtt_at: Time,
    pub(crate) watch: Watch,
    pub(crate) voice: Voice,
    pub(crate) fir_sequence: u8,
    /// Sequence numbers taken from NACKs in the second that began then.
    pub(crate) nacked: (Time, u32),
    /// When something authenticated last came: a check, RTP or RTCP.
    pub(crate) heard_at: Time,
    /// That was so long ago that the caller has been told.
    pub(crate) quiet: bool,
    pub(crate) timers: Timers,
}

/// Where the transport stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    New,
    Connecting,
    Connected,
    Gone,
}

/// Which slot an SSRC of ours belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotSsrc {
    pub(crate) slot: u16,
    pub(crate) rtx: bool,
}

/// Our SSRCs of one peer, in order: a search in few cache lines, and nobody's choice but ours.
#[derive(Default)]
pub(crate) struct SlotSsrcs(Vec<(u32, SlotSsrc)>);

impl SlotSsrcs {
    pub(crate) fn get(&self, ssrc: u32) -> Option<SlotSsrc> {
        let at = self.0.binary_search_by_key(&ssrc, |(known, _)| *known).ok()?;
        Some(self.0[at].1)
    }

    /// `ssrc` is not there yet.
    pub(crate) fn insert(&mut self, ssrc: u32, slot: SlotSsrc) {
        let at = self.0.partition_point(|(known, _)| *known < ssrc);
        self.0.insert(at, (ssrc, slot));
    }

    pub(crate) fn ssrcs(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(ssrc, _)| *ssrc)
    }
}

/// What the last offer settled.
pub(crate) struct Negotiated {
    pub(crate) terms: Terms,
    pub(crate) session_id: u64,
    pub(crate) version: u64,
    /// What each m-line is, in order.
    pub(crate) lines: Vec<Line>,
}

/// What an m-line is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// The peer publishes here.
    pub(crate) source: bool,
    /// The peer is shown somebody here.
    pub(crate) slot: Option<u16>,
}

/// One audio and one video slot that always show the same participant, or one video slot that shows its screen.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) audio: Option<u16>,
    pub(crate) video: Option<u16>,
    pub(crate) screen: bool,
    pub(crate) occupant: Option<PeerKey>,
}

impl Peer {
    pub(crate) fn new(id: PeerId, room: RoomKey, ice: IceAgent, rtcp_ssrc: u32) -> Self {
        Self {
            id,
            room,
            gate: MediaGate::Closed,
            transport: Transport::New,
            ice,
            dtls: DtlsGate::default(),
            profile: None,
            opener: None,
            tx: Downlink::new(),
            uplink: Uplink::default(),
            slots: Vec::new(),
            slot_of_ssrc: SlotSsrcs::default(),
            seats: Vec::new(),
            negotiated: None,
            rtcp_ssrc,
            rtt: None,
            rtt_at: Time::ZERO,
            watch: Watch::default(),
            voice: Voice::default(),
            fir_sequence: 0,
            nacked: (Time::ZERO, 0),
            heard_at: Time::ZERO,
            quiet: false,
            timers: Timers::default(),
        }
    }

    /// Whether it is let in, whatever becomes of its line.
    pub(crate) fn is_admitted(&self) -> bool {
        self.gate == MediaGate::Open && self.transport != Transport::Gone
    }

    /// Whether media may flow to and from this peer now.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.gate == MediaGate::Open && self.transport == Transport::Connected && !self.tx.cut_off
    }

    /// Notes that something authenticated came. True if the peer was quiet, which is to be told then.
    #[inline]
    #[must_use]
    pub(crate) const fn note_heard(&mut self, now: Time) -> bool {
        self.heard_at = now;
        self.quiet
    }

    /// The round trip, if it was measured lately.
    pub(crate) fn round_trip(&self, now: Time) -> Option<Duration> {
        self.rtt.filter(|_| now.since(self.rtt_at) < ROUND_TRIP_AGE_MAX)
    }

    /// The round trip as it was measured last, or a guess.
    pub(crate) fn rtt_or_default(&self) -> Duration {
        self.rtt.unwrap_or(RTT_DEFAULT)
    }

    pub(crate) fn seat_infos(&self) -> Vec<SeatInfo> {
        let mid = |slot: Option<u16>| slot.map(|slot| self.slots[slot as usize].parameters.mid);
        (0_u16..)
            .zip(&self.seats)
            .map(|(i, seat)| SeatInfo { seat: SeatId(i), audio: mid(seat.audio), video: mid(seat.video) })
            .collect()
    }
}

impl Seat {
    /// The slots of the seat, with what of its occupant each shows.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u16, SourceKind)> {
        let video_kind = if self.screen { SourceKind::Screen } else { SourceKind::Camera };
        let audio = self.audio.map(|slot| (slot, SourceKind::Microphone));
        let video = self.video.map(|slot| (slot, video_kind));
        [audio, video].into_iter().flatten()
    }
}
