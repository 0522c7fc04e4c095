//! The VP8 payload descriptor (RFC 7741 section 4.2): read from any sender, written in one canonical shape.
//!
//! It knows one payload at a time; continuity of picture ids is the business of whoever rewrites them.

/// Length of the descriptor [`write_canonical`] writes, in bytes.
pub const CANONICAL_DESCRIPTOR_LEN: usize = 6;

/// Why a payload is not VP8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Vp8Error {
    /// The payload ends before its descriptor does.
    #[error("VP8 payload descriptor is cut off")]
    Truncated,
}

/// A picture id as the sender wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// 7 or 15 bits.
    pub value: u16,
    /// Whether it takes 15 bits (M bit).
    pub wide: bool,
}

/// A parsed payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// S: this packet starts a partition.
    pub start_of_partition: bool,
    /// PID: which partition, 0..=7; 0 is the one with the frame header.
    pub partition_index: u8,
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// The running number of the frame.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: the running number of base-layer frames.
    pub tl0_picture_index: Option<u8>,
    /// TID, 0..=3, and Y: whether this frame depends on the base layer only.
    pub temporal: Option<(u8, bool)>,
    /// KEYIDX, 0..=31.
    pub key_index: Option<u8>,
    /// Bytes of the descriptor; the VP8 data starts here.
    pub len: usize,
}

/// What [`write_canonical`] writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CanonicalDescriptor {
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S: this packet starts a partition.
    pub start_of_partition: bool,
    /// PID, 0..=7; higher bits are cut off.
    pub partition_index: u8,
    /// 15 bits; the high bit is cut off.
    pub picture_id: u16,
    /// The running number of base-layer frames.
    pub tl0_picture_index: u8,
    /// TID, 0..=3; higher bits are cut off.
    pub temporal_id: u8,
    /// Y: this frame depends on the base layer only.
    pub layer_sync: bool,
}

const EXTENDED: u8 = 0x80;
const NON_REFERENCE: u8 = 0x20;
const START_OF_PARTITION: u8 = 0x10;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0_PICTURE_INDEX: u8 = 0x40;
const HAS_TEMPORAL: u8 = 0x20;
const HAS_KEY_INDEX: u8 = 0x10;
const WIDE_PICTURE_ID: u8 = 0x80;
const LAYER_SYNC: u8 = 0x20;
/// RFC 6386 section 9.1: frame tag, start code, width, height.
const KEYFRAME_HEADER_LEN: usize = 10;
const KEYFRAME_START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// Reads the descriptor at the start of an RTP payload.
///
/// # Errors
/// [`Vp8Error::Truncated`] when the payload, which may be empty, ends inside the descriptor.
#[inline]
pub fn parse(payload: &[u8]) -> Result<Vp8Descriptor, Vp8Error> {
    let mut at = 0;
    let mut next = || {
        let byte = payload.get(at).copied().ok_or(Vp8Error::Truncated);
        at += 1;
        byte
    };
    let first = next()?;
    let present = if first & EXTENDED != 0 { next()? } else { 0 };
    let mut picture_id = None;
    if present & HAS_PICTURE_ID != 0 {
        let high = next()?;
        let wide = high & WIDE_PICTURE_ID != 0;
        let value =
            if wide { u16::from_be_bytes([high & !WIDE_PICTURE_ID, next()?]) } else { u16::from(high) };
        picture_id = Some(PictureId { value, wide });
    }
    let tl0_picture_index = if present & HAS_TL0_PICTURE_INDEX != 0 { Some(next()?) } else { None };
    // One byte holds TID, Y and KEYIDX; T and K say which of them mean something.
    let layers = if present & (HAS_TEMPORAL | HAS_KEY_INDEX) != 0 { next()? } else { 0 };
    Ok(Vp8Descriptor {
        start_of_partition: first & START_OF_PARTITION != 0,
        partition_index: first & 0x07,
        non_reference: first & NON_REFERENCE != 0,
        picture_id,
        tl0_picture_index,
        temporal: (present & HAS_TEMPORAL != 0).then_some((layers >> 6, layers & LAYER_SYNC != 0)),
        key_index: (present & HAS_KEY_INDEX != 0).then_some(layers & 0x1f),
        len: at,
    })
}

/// Whether `payload` is the first packet of a keyframe (RFC 7741 section 4.3, P bit of the frame tag).
#[inline]
#[must_use]
pub fn is_keyframe(payload: &[u8], descriptor: &Vp8Descriptor) -> bool {
    descriptor.start_of_partition
        && descriptor.partition_index == 0
        && payload.get(descriptor.len).is_some_and(|tag| tag & 0x01 == 0)
}

/// Width and height in pixels, if `payload` is the first packet of a keyframe and holds the whole header.
#[must_use]
pub fn keyframe_size(payload: &[u8], descriptor: &Vp8Descriptor) -> Option<(u16, u16)> {
    if !is_keyframe(payload, descriptor) {
        return None;
    }
    let header: &[u8; KEYFRAME_HEADER_LEN] = payload.get(descriptor.len..)?.first_chunk()?;
    if header[3..6] != KEYFRAME_START_CODE {
        return None;
    }
    // Little endian, unlike everything else here; the two high bits are the scaling hint.
    let width = u16::from_le_bytes([header[6], header[7]]) & 0x3fff;
    let height = u16::from_le_bytes([header[8], header[9]]) & 0x3fff;
    Some((width, height))
}

/// Writes a descriptor of [`CANONICAL_DESCRIPTOR_LEN`] bytes: 15-bit picture id, TL0PICIDX and TID always present, KEYIDX never.
///
/// Returns whether `out` had room; if not, nothing was written.
#[inline]
pub fn write_canonical(out: &mut [u8], descriptor: &CanonicalDescriptor) -> bool {
    let Some(out) = out.first_chunk_mut::<CANONICAL_DESCRIPTOR_LEN>() else { return false };
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let [picture_high, picture_low] = descriptor.picture_id.to_be_bytes();
    *out = [
        EXTENDED
            | flag(descriptor.non_reference, NON_REFERENCE)
            | flag(descriptor.start_of_partition, START_OF_PARTITION)
            | (descriptor.partition_index & 0x07),
        HAS_PICTURE_ID | HAS_TL0_PICTURE_INDEX | HAS_TEMPORAL,
        WIDE_PICTURE_ID | picture_high,
        picture_low,
        descriptor.tl0_picture_index,
        ((descriptor.temporal_id & 0x03) << 6) | flag(descriptor.layer_sync, LAYER_SYNC),
    ];
    true
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;
    use rtc_rtp::codec::vp8::Vp8Packet;
    use rtc_rtp::packetizer::Depacketizer;

    use super::*;
    use crate::testing::check;

    #[test]
    fn the_short_descriptor_is_one_byte() {
        let descriptor = parse(&[0x10, 0x00]).unwrap();
        assert!(descriptor.start_of_partition && !descriptor.non_reference);
        assert_eq!((descriptor.partition_index, descriptor.len), (0, 1));
        assert_eq!((descriptor.picture_id, descriptor.tl0_picture_index), (None, None));
        assert_eq!((descriptor.temporal, descriptor.key_index), (None, None));
    }

    #[test]
    fn the_full_descriptor_is_read() {
        let descriptor = parse(&[0xb3, 0xf0, 0x92, 0x34, 0x56, 0xb7, 0xff]).unwrap();
        assert!(descriptor.start_of_partition && descriptor.non_reference);
        assert_eq!(descriptor.partition_index, 3);
        assert_eq!(descriptor.picture_id, Some(PictureId { value: 0x1234, wide: true }));
        assert_eq!(descriptor.tl0_picture_index, Some(0x56));
        assert_eq!(descriptor.temporal, Some((2, true)));
        assert_eq!(descriptor.key_index, Some(0x17));
        assert_eq!(descriptor.len, 6);
    }

    #[test]
    fn seven_bit_picture_ids_are_read() {
        let descriptor = parse(&[0x80, 0x80, 0x7f]).unwrap();
        assert_eq!(descriptor.picture_id, Some(PictureId { value: 0x7f, wide: false }));
        assert_eq!(descriptor.len, 3);
    }

    #[test]
    fn key_index_without_temporal_id_still_takes_the_byte() {
        let descriptor = parse(&[0x80, 0x10, 0xff]).unwrap();
        assert_eq!((descriptor.temporal, descriptor.key_index), (None, Some(0x1f)));
        let descriptor = parse(&[0x80, 0x20, 0xff]).unwrap();
        assert_eq!((descriptor.temporal, descriptor.key_index), (Some((3, true)), None));
    }

    #[test]
    fn every_truncation_is_refused() {
        let full = [0x90, 0xf0, 0x92, 0x34, 0x56, 0xb7];
        for len in 0..full.len() {
            assert_eq!(parse(&full[..len]), Err(Vp8Error::Truncated), "{len} bytes");
        }
        assert_eq!(parse(&full).unwrap().len, full.len());
    }

    #[test]
    fn a_keyframe_is_known_by_its_first_packet_only() {
        let first = [0x10, 0x50, 0x2d, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x41];
        let descriptor = parse(&first).unwrap();
        assert!(is_keyframe(&first, &descriptor));
        assert_eq!(keyframe_size(&first, &descriptor), Some((640, 480)), "scaling bits are no size");
        for len in 0..first.len() {
            assert_eq!(keyframe_size(&first[..len], &descriptor), None, "{len} bytes");
        }
        let interframe = [0x10, 0x51, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01];
        assert!(!is_keyframe(&interframe, &parse(&interframe).unwrap()));
        let mut other = first;
        for descriptor_byte in [0x00, 0x11] {
            other[0] = descriptor_byte;
            assert!(!is_keyframe(&other, &parse(&other).unwrap()), "{descriptor_byte:#x}");
        }
        let mut wrong_code = first;
        wrong_code[4] = 0;
        assert_eq!(keyframe_size(&wrong_code, &parse(&wrong_code).unwrap()), None);
        assert!(!is_keyframe(&[0x10], &parse(&[0x10]).unwrap()), "no VP8 data");
    }

    #[test]
    fn the_canonical_descriptor_comes_back() {
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        let numbers = (0_u8..8, 0_u16..0x8000, any::<u8>(), 0_u8..4);
        check((flags, numbers), |((non_reference, start_of_partition, layer_sync), numbers)| {
            let (partition_index, picture_id, tl0_picture_index, temporal_id) = numbers;
            let written = CanonicalDescriptor {
                non_reference,
                start_of_partition,
                partition_index,
                picture_id,
                tl0_picture_index,
                temporal_id,
                layer_sync,
            };
            let mut out = [0; CANONICAL_DESCRIPTOR_LEN];
            assert!(write_canonical(&mut out, &written));
            let expected = Vp8Descriptor {
                start_of_partition,
                partition_index,
                non_reference,
                picture_id: Some(PictureId { value: picture_id, wide: true }),
                tl0_picture_index: Some(tl0_picture_index),
                temporal: Some((temporal_id, layer_sync)),
                key_index: None,
                len: CANONICAL_DESCRIPTOR_LEN,
            };
            assert_eq!(parse(&out), Ok(expected));
            for room in 0..CANONICAL_DESCRIPTOR_LEN {
                assert!(!write_canonical(&mut out[..room], &written));
            }
        });
    }

    #[test]
    fn values_out_of_range_do_not_spill_into_other_fields() {
        let written = CanonicalDescriptor {
            partition_index: 0xff,
            picture_id: 0xffff,
            temporal_id: 0xff,
            ..CanonicalDescriptor::default()
        };
        let mut out = [0; CANONICAL_DESCRIPTOR_LEN];
        assert!(write_canonical(&mut out, &written));
        assert_eq!(out, [0x87, 0xe0, 0xff, 0xff, 0, 0xc0]);
    }

    #[test]
    fn rtc_rtp_reads_the_same() {
        check(vec(any::<u8>(), 0..16), |payload| {
            let Ok(descriptor) = parse(&payload) else { return };
            let mut reference = Vp8Packet::default();
            // It wants at least four bytes, and data behind the descriptor.
            let Ok(data) = reference.depacketize(&payload.clone().into()) else { return };
            assert_eq!(data, payload[descriptor.len..]);
            assert_eq!(reference.s == 1, descriptor.start_of_partition);
            assert_eq!(reference.pid, descriptor.partition_index);
            assert_eq!(reference.n == 1, descriptor.non_reference);
            assert_eq!(reference.picture_id, descriptor.picture_id.map_or(0, |id| id.value));
            assert_eq!(reference.tl0_pic_idx, descriptor.tl0_picture_index.unwrap_or(0));
            assert_eq!((reference.tid, reference.y == 1), descriptor.temporal.unwrap_or((0, false)));
            assert_eq!(reference.key_idx, descriptor.key_index.unwrap_or(0));
        });
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        check(vec(any::<u8>(), 0..32), |payload| {
            if let Ok(descriptor) = parse(&payload) {
                assert!(descriptor.len <= payload.len());
                _ = keyframe_size(&payload, &descriptor);
                _ = keyframe_size(&payload[..payload.len() / 2], &descriptor);
            }
        });
    }
}
