//! A stretch of a slot's outgoing stream, and how a packet of it is written: header, extensions, descriptor, payload, seal.

use crate::bounds::{DATAGRAM_BYTES_MAX, PACKET_BYTES_MAX};
use crate::codec::{Descriptor, Offsets, REWRITTEN_BYTES_MAX};
use crate::dependency;
use crate::downlink::{Downlink, Egress};
use crate::keys::SourceKey;
use crate::red::Body;
use crate::ring::PacketMeta;
use crate::rtp::{ExtensionIds, HeaderWriter};
use crate::sdp::{CodecName, Mid};
use crate::time::Time;

/// A stretch of the outgoing stream that maps to one encoding of one source by constant offsets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) source: SourceKey,
    pub(super) encoding: u8,
    pub(super) generation: u32,
    pub(super) first_in: u64,
    pub(super) first_out: u64,
    pub(super) timestamp_offset: u32,
    pub(super) offsets: Offsets,
    pub(super) codec: CodecName,
    /// The highest spatial layer that is sent: the last packet of its frame ends the picture.
    pub(super) top: u8,
}

/// The identity under which a packet leaves.
#[derive(Clone, Copy)]
pub(super) struct Stamp<'a> {
    pub(super) payload_type: u8,
    pub(super) ssrc: u32,
    pub(super) index: u64,
    pub(super) mid: Option<&'a Mid>,
    pub(super) original_sequence: Option<u16>,
}

impl Segment {
    /// The outgoing number of a packet of the stretch.
    #[inline]
    pub(super) const fn out_of(&self, index: u64) -> u64 {
        index - self.first_in + self.first_out
    }

    /// Whether both are of the same stream.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.source, self.encoding, self.generation) == (other.source, other.encoding, other.generation)
    }

    /// Whether the packet is the last of its picture, as far as that is sent.
    #[inline]
    pub(super) const fn marks(&self, meta: &PacketMeta) -> bool {
        meta.marker || meta.descriptor.ends_layer(self.top)
    }
}

/// Bytes of the longest value in a header extension of the one-byte form (RFC 8285 section 4.2).
const ONE_BYTE_VALUE_MAX: usize = 16;
/// A header with all its extensions, a descriptor and the numbers of a retransmission fit into any datagram.
const _: () = assert!(DATAGRAM_BYTES_MAX > PACKET_BYTES_MAX + REWRITTEN_BYTES_MAX);

/// Writes, seals and queues one packet. Gives its length, or `None` if it was dropped and counted.
#[inline]
pub(super) fn write_packet(
    segment: &Segment,
    stamp: &Stamp<'_>,
    meta: &PacketMeta,
    prefix: &[u8],
    body: &Body<'_>,
    egress: &mut Egress<'_>,
) -> Option<usize> {
    let Some(out) = egress.slab.begin(DATAGRAM_BYTES_MAX) else {
        egress.counters.dropped_tx_full += 1;
        return None;
    };
    let Downlink { queue, sealer, extensions: ids, two_byte_extensions, transport_sequence, .. } =
        &mut *egress.tx;
    let sealer = sealer.as_mut()?;
    let dependency = ids.dependency.filter(|_| !prefix.is_empty());
    let is_long = dependency.is_some() && prefix.len() > ONE_BYTE_VALUE_MAX;
    let mut header = HeaderWriter::new(
        out,
        stamp.payload_type,
        segment.marks(meta),
        stamp.index as u16,
        meta.timestamp.wrapping_add(segment.timestamp_offset),
        stamp.ssrc,
        *two_byte_extensions || is_long,
    );
    let is_voice = segment.codec == CodecName::Opus;
    write_line_extensions(&mut header, ids, *transport_sequence, is_voice, egress.now);
    if let (Some(id), Some(mid)) = (ids.mid, stamp.mid) {
        header.extension(id, mid.as_bytes());
    }
    if let (Some(id), Some(level)) = (ids.audio_level, meta.audio_level) {
        header.extension(id, &[level]);
    }
    if let (Some(id), Some(orientation)) = (ids.video_orientation, meta.video_orientation) {
        header.extension(id, &[orientation]);
    }
    if let (Some(id), Some(delay)) = (ids.playout_delay, meta.playout_delay) {
        header.extension(id, &delay);
    }
    let dependency_at = dependency.and_then(|id| header.extension(id, prefix));
    let header_len = header.finish();
    if let (Some(at), Descriptor::Av1(av1)) = (dependency_at, &meta.descriptor) {
        let number = av1.frame_number.wrapping_add(segment.offsets.picture);
        dependency::write_frame_number(&mut out[at..], number);
    }
    let mut len = header_len;
    if let Some(sequence) = stamp.original_sequence {
        out[len..len + 2].copy_from_slice(&sequence.to_be_bytes());
        len += 2;
    }
    len += meta.descriptor.write(&segment.offsets, &mut out[len..]);
    if len + body.len() + sealer.rtp_overhead() > PACKET_BYTES_MAX {
        egress.counters.dropped_oversized += 1;
        return None;
    }
    len += body.write(&mut out[len..]);
    let Ok(sealed) = sealer.seal_rtp(out, header_len, len, stamp.index) else {
        egress.counters.dropped_seal += 1;
        return None;
    };
    egress.slab.commit(queue, sealed);
    egress.tx.sent(sealed, egress.now);
    Some(sealed)
}

/// By what a receiver tells what its line carries: the number of each packet, or for its own estimate when one of a picture
/// left, as such are negotiated of pictures alone.
#[inline]
fn write_line_extensions(
    header: &mut HeaderWriter<'_>,
    ids: &ExtensionIds,
    sequence: u16,
    is_voice: bool,
    now: Time,
) {
    if let Some(id) = ids.transport_cc {
        header.extension(id, &sequence.to_be_bytes());
    }
    if let Some(id) = ids.abs_send_time.filter(|_| !is_voice) {
        let [_, time @ ..] = now.abs_send_time().to_be_bytes();
        header.extension(id, &time);
    }
}

/// Writes, seals and queues a packet that holds only padding.
pub(super) fn write_padding(
    stamp: &Stamp<'_>,
    timestamp: u32,
    padding: u8,
    egress: &mut Egress<'_>,
) -> Option<usize> {
    let Some(out) = egress.slab.begin(DATAGRAM_BYTES_MAX) else {
        egress.counters.dropped_tx_full += 1;
        return None;
    };
    let Downlink { queue, sealer, extensions: ids, two_byte_extensions, transport_sequence, .. } =
        &mut *egress.tx;
    let sealer = sealer.as_mut()?;
    let (payload_type, index) = (stamp.payload_type, stamp.index as u16);
    let mut header =
        HeaderWriter::new(out, payload_type, false, index, timestamp, stamp.ssrc, *two_byte_extensions);
    write_line_extensions(&mut header, ids, *transport_sequence, false, egress.now);
    if let (Some(id), Some(mid)) = (ids.mid, stamp.mid) {
        header.extension(id, mid.as_bytes());
    }
    let header_len = header.finish();
    let len = header_len + usize::from(padding);
    out[0] |= 0x20;
    out[header_len..len].fill(0);
    out[len - 1] = padding;
    let Ok(sealed) = sealer.seal_rtp(out, header_len, len, stamp.index) else {
        egress.counters.dropped_seal += 1;
        return None;
    };
    egress.slab.commit(queue, sealed);
    egress.tx.sent(sealed, egress.now);
    Some(sealed)
}
