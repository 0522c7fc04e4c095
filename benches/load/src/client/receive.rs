//! What a transport receives: streams by SSRC, the books on them, and the feedback a browser gives.

use vestibule_media_core::rtcp::{ReportBlock, RtcpWriter};
use vestibule_media_core::rtp::{RtpHeader, rtx_original_sequence};
use vestibule_media_core::time::Time;
use vestibule_media_core::twcc::TwccRecorder;

use super::ledger::Ledger;
use super::stream::Stream;
use super::tally::{Arrival, Tally};
use super::{Kind, PerKind, Receives};
use crate::media::Stamp;

/// SSRCs one transport may receive; what is beyond is not opened.
const SSRCS_MAX: usize = 4_096;
/// Bytes of one datagram of RTCP.
pub(super) const RTCP_BYTES_MAX: usize = 1_200;

/// Writes packets of one RTCP datagram.
pub(super) type WriteRtcp<'a> = dyn FnMut(&mut RtcpWriter<'_>) + 'a;
/// Has a datagram of RTCP written, and sends it.
pub(super) type SendRtcp<'a> = dyn FnMut(&mut WriteRtcp<'_>) + 'a;

/// What a payload type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Unknown,
    Media { kind: Kind, nack: bool },
    Retransmission { kind: Kind },
}

/// The receiving side of one transport.
#[derive(Debug)]
pub(super) struct Receiver {
    receives: Receives,
    roles: Box<[Role; 128]>,
    /// Apart from the streams, so that a search stays in few cache lines.
    ssrcs: Vec<u32>,
    streams: Vec<Stream>,
    recorder: TwccRecorder,
    /// Kinds of which something has come.
    seen: PerKind<bool>,
    /// Some stream has a gap or waits for a keyframe.
    pub(super) needs_feedback: bool,
}

/// A datagram and the moment it arrived, on all clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// Its size.
    pub(super) bytes: usize,
    /// In µs since the plane's start, as the kernel saw it.
    pub(super) micros: u64,
    /// In ns since the Unix epoch.
    pub(super) wall_ns: u64,
}

impl Receiver {
    pub(super) fn new(receives: Receives) -> Self {
        let mut receiver = Self {
            receives: Receives::default(),
            roles: Box::new([Role::Unknown; 128]),
            ssrcs: Vec::new(),
            streams: Vec::new(),
            recorder: TwccRecorder::new(),
            seen: PerKind::default(),
            needs_feedback: false,
        };
        receiver.extend(&receives);
        receiver
    }

    pub(super) fn extend(&mut self, more: &Receives) {
        self.receives.merge(more);
        for codec in &self.receives.codecs {
            let set = |roles: &mut [Role; 128], payload_type: u8, role| {
                roles[usize::from(payload_type & 0x7f)] = role;
            };
            let (kind, nack) = (codec.kind, codec.nack && codec.rtx.is_some());
            set(&mut self.roles, codec.payload_type, Role::Media { kind, nack });
            if let Some(rtx) = codec.rtx {
                set(&mut self.roles, rtx, Role::Retransmission { kind });
            }
        }
    }

    /// Where the stream of a packet is, or would be; `None` if nobody here knows what to do with it.
    #[inline]
    pub(super) fn slot_of(&self, header: &RtpHeader) -> Option<usize> {
        if let Some(slot) = self.ssrcs.iter().position(|ssrc| *ssrc == header.ssrc) {
            return Some(slot);
        }
        let known = self.roles[usize::from(header.payload_type)] != Role::Unknown;
        (known && self.ssrcs.len() < SSRCS_MAX).then_some(self.ssrcs.len())
    }

    /// What a stream carries, for a packet of it that was no good.
    pub(super) fn kind_of(&self, slot: usize) -> Kind {
        self.streams.get(slot).map_or(Kind::Video, |stream| stream.kind)
    }

    /// Takes an opened packet of stream `slot`. Returns its kind if it is the first
    /// media of that kind.
    #[inline]
    pub(super) fn packet(
        &mut self,
        slot: usize,
        header: &RtpHeader,
        packet: &[u8],
        index: u64,
        at: At,
        tally: &mut Tally,
    ) -> Option<Kind> {
        if let Some(id) = self.receives.extensions.transport_cc
            && let Some((_, &[high, low])) = header.extensions(packet).find(|(found, _)| *found == id)
        {
            self.recorder.record(u16::from_be_bytes([high, low]), Time::from_micros(at.micros));
        }
        let role = self.roles[usize::from(header.payload_type)];
        let kind = match role {
            Role::Unknown => return None,
            Role::Media { kind, .. } | Role::Retransmission { kind } => kind,
        };
        if slot == self.streams.len() {
            let nack = matches!(role, Role::Media { nack: true, .. });
            self.ssrcs.push(header.ssrc);
            self.streams.push(Stream::new(header.ssrc, kind, nack, index));
        }
        let payload = &packet[header.payload(packet).ok()?];
        let stamp = Stamp::read(payload);
        match role {
            Role::Media { .. } => self.media(slot, header, index, stamp, at, tally),
            _ => self.repair(header.ssrc, payload, kind, stamp, at, tally),
        }
    }

    #[inline]
    fn media(
        &mut self,
        slot: usize,
        header: &RtpHeader,
        index: u64,
        stamp: Option<Stamp>,
        at: At,
        tally: &mut Tally,
    ) -> Option<Kind> {
        let stream = &mut self.streams[slot];
        let newest = stream.arrived(index, header.timestamp, at.micros);
        let kind = stream.kind;
        let Some(stamp) = stamp else {
            tally.unstamped(at.bytes);
            self.needs_feedback |= stream.needs_feedback();
            return None;
        };
        stream.shows(&stamp, newest, at.micros);
        self.needs_feedback |= stream.needs_feedback();
        tally.received(kind, at.bytes, &stamp, at.wall_ns, Arrival::Media);
        let window = tally.window_of(stamp.sent_at_ns);
        let closed = stream.ledger.media(&stamp, newest, window, tally.number());
        if closed != super::Loss::default() {
            tally.closed(kind, closed);
        }
        let first = !std::mem::replace(&mut self.seen[kind], true);
        first.then_some(kind)
    }

    fn repair(
        &mut self,
        ssrc: u32,
        payload: &[u8],
        kind: Kind,
        stamp: Option<Stamp>,
        at: At,
        tally: &mut Tally,
    ) -> Option<Kind> {
        let Some(stamp) = stamp else {
            tally.unstamped(at.bytes);
            return None;
        };
        tally.received(kind, at.bytes, &stamp, at.wall_ns, Arrival::Repair);
        let sequence = rtx_original_sequence(payload)?;
        let media_ssrc = self.receives.pairs.iter().find(|(_, rtx)| *rtx == ssrc).map(|(media, _)| *media);
        // Without a pair in the description, the stamp tells whose packet it is.
        let stream = self.streams.iter_mut().find(|stream| match media_ssrc {
            Some(media_ssrc) => stream.ssrc == media_ssrc,
            None => stream.ssrc != ssrc && stream.ledger.source() == Some(stamp.source),
        })?;
        stream.repaired(sequence);
        if stamp.keyframe && stamp.part == 0 && stream.ledger.continues(&stamp) {
            stream.shows(&stamp, false, at.micros);
        }
        stream.ledger.repair(&stamp, tally.window_of(stamp.sent_at_ns));
        None
    }

    /// The sender report of a stream arrived.
    pub(super) fn sender_report(&mut self, ssrc: u32, middle: u32, now: u64) {
        if let Some(slot) = self.ssrcs.iter().position(|known| *known == ssrc) {
            self.streams[slot].last_sender_report = Some((middle, now));
        }
    }

    /// Lets `send` write the NACKs and PLIs that are due; `own` is the SSRC we report with.
    pub(super) fn feedback(
        &mut self,
        own: u32,
        now: u64,
        rtt_micros: u64,
        tally: &mut Tally,
        send: &mut SendRtcp<'_>,
    ) {
        self.needs_feedback = false;
        let mut lost = [0; super::stream::NACKED_AT_ONCE];
        for stream in &mut self.streams {
            let count = stream.nacks(now, rtt_micros, &mut lost);
            if count > 0 {
                let (ssrc, lost) = (stream.ssrc, &lost[..count]);
                send(&mut |writer| _ = writer.nack(own, ssrc, lost));
                if let Some(counts) = tally.now() {
                    counts.nacks_sent += 1;
                }
            }
            if stream.wants_keyframe(now) {
                let ssrc = stream.ssrc;
                send(&mut |writer| _ = writer.pli(own, ssrc));
                if let Some(counts) = tally.now() {
                    counts.keyframes_requested += 1;
                }
            }
            self.needs_feedback |= stream.needs_feedback();
        }
    }

    /// Lets `send` write the transport-wide feedback that is due.
    pub(super) fn transport_feedback(&mut self, own: u32, tally: &mut Tally, send: &mut SendRtcp<'_>) {
        let media = self.streams.first().map_or(0, |stream| stream.ssrc);
        while self.recorder.has_pending() {
            let mut written = false;
            send(&mut |writer| {
                written = self.recorder.write_feedback(writer, own, media).unwrap_or(false);
            });
            if !written {
                break;
            }
            if let Some(counts) = tally.now() {
                counts.transport_feedback_sent += 1;
            }
        }
    }

    /// Report blocks about all streams something has come of since the last time.
    pub(super) fn reports(&mut self, now: u64) -> Vec<ReportBlock> {
        self.streams.iter_mut().filter_map(|stream| stream.report(now)).collect()
    }

    /// The books of all streams.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = (Kind, &Ledger)> {
        self.streams.iter().map(|stream| (stream.kind, &stream.ledger))
    }
}
