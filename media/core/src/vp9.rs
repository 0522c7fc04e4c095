//! The VP9 payload descriptor (RFC 9628 section 4.2), of both modes.
//!
//! It knows one payload at a time. What is behind the numbers of the picture (references, the scalability structure, the
//! picture itself) is passed on as it came.

/// Spatial layers a scalability structure may describe here; those above are not told apart.
pub const SPATIAL_LAYERS_MAX: usize = 3;

/// Why a payload is not VP9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Vp9Error {
    /// The payload ends before its descriptor does.
    #[error("VP9 payload descriptor is cut off")]
    Truncated,
    /// More references than the three there may be.
    #[error("VP9 payload descriptor names more than three references")]
    TooManyReferences,
}

/// A parsed payload descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// The first octet: I, P, L, F, B, E, V and Z.
    pub flags: u8,
    /// The running number of the picture, and whether it takes 15 bits.
    pub picture_id: Option<(u16, bool)>,
    /// The octet of the layer indices: TID, U, SID and D.
    pub layers: Option<u8>,
    /// TL0PICIDX: the running number of pictures of the temporal base layer. There in non-flexible mode only.
    pub tl0_picture_index: Option<u8>,
    /// Heights in pixels of the spatial layers, lowest first, where a scalability structure tells them; 0 is not told.
    pub heights: [u16; SPATIAL_LAYERS_MAX],
    /// Spatial layers of the scalability structure; 0 without one.
    pub spatial_layers: u8,
    /// Where what follows the numbers begins: references, structure, picture.
    pub numbers_len: usize,
    /// Bytes of the whole descriptor; the VP9 data starts here.
    pub len: usize,
}

/// Bits of the first octet.
pub(crate) mod flag {
    pub(crate) const PICTURE_ID: u8 = 0x80;
    pub(crate) const INTER_PICTURE: u8 = 0x40;
    pub(crate) const LAYERS: u8 = 0x20;
    pub(crate) const FLEXIBLE: u8 = 0x10;
    pub(crate) const START: u8 = 0x08;
    pub(crate) const END: u8 = 0x04;
    pub(crate) const STRUCTURE: u8 = 0x02;
    pub(crate) const NOT_FOR_UPPER: u8 = 0x01;
}

const WIDE_PICTURE_ID: u8 = 0x80;
const REFERENCES_MAX: usize = 3;

impl Vp9Descriptor {
    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The first packet of a picture that needs none before it: its lowest layer refers to no other picture.
    #[must_use]
    pub const fn is_keyframe_start(&self) -> bool {
        self.has(flag::START) && !self.has(flag::INTER_PICTURE) && self.spatial_id() == 0
    }

    /// SID: the spatial layer.
    #[must_use]
    pub const fn spatial_id(&self) -> u8 {
        match self.layers {
            Some(layers) => layers >> 1 & 0x07,
            None => 0,
        }
    }

    /// TID: the temporal layer.
    #[must_use]
    pub const fn temporal_id(&self) -> u8 {
        match self.layers {
            Some(layers) => layers >> 5,
            None => 0,
        }
    }
}

/// Reads the descriptor at the start of an RTP payload.
///
/// # Errors
/// What is wrong with it; the payload may be empty.
#[inline]
pub fn parse(payload: &[u8]) -> Result<Vp9Descriptor, Vp9Error> {
    let mut reader = Reader { bytes: payload, at: 0 };
    let mut found = Vp9Descriptor { flags: reader.next()?, ..Vp9Descriptor::default() };
    if found.has(flag::PICTURE_ID) {
        let high = reader.next()?;
        let wide = high & WIDE_PICTURE_ID != 0;
        let value = match wide {
            true => u16::from_be_bytes([high & !WIDE_PICTURE_ID, reader.next()?]),
            false => u16::from(high),
        };
        found.picture_id = Some((value, wide));
    }
    if found.has(flag::LAYERS) {
        found.layers = Some(reader.next()?);
        if !found.has(flag::FLEXIBLE) {
            found.tl0_picture_index = Some(reader.next()?);
        }
    }
    found.numbers_len = reader.at;
    if found.has(flag::FLEXIBLE) && found.has(flag::INTER_PICTURE) {
        reader.skip_references()?;
    }
    if found.has(flag::STRUCTURE) {
        reader.structure(&mut found)?;
    }
    found.len = reader.at;
    Ok(found)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    #[inline]
    fn next(&mut self) -> Result<u8, Vp9Error> {
        let byte = self.bytes.get(self.at).copied().ok_or(Vp9Error::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// P_DIFF, N: another follows.
    fn skip_references(&mut self) -> Result<(), Vp9Error> {
        for _ in 0..REFERENCES_MAX {
            if self.next()? & 0x01 == 0 {
                return Ok(());
            }
        }
        Err(Vp9Error::TooManyReferences)
    }

    /// The scalability structure: N_S, Y and G, the sizes, and the pictures of a group.
    fn structure(&mut self, found: &mut Vp9Descriptor) -> Result<(), Vp9Error> {
        let first = self.next()?;
        found.spatial_layers = (first >> 5) + 1;
        if first & 0x10 != 0 {
            for layer in 0..usize::from(found.spatial_layers) {
                let [_, _, high, low] = [self.next()?, self.next()?, self.next()?, self.next()?];
                if let Some(height) = found.heights.get_mut(layer) {
                    *height = u16::from_be_bytes([high, low]);
                }
            }
        }
        if first & 0x08 != 0 {
            for _ in 0..self.next()? {
                for _ in 0..self.next()? >> 2 & 0x03 {
                    self.next()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;

    use super::*;
    use crate::testing::check;

    #[test]
    fn a_keyframe_with_its_structure_is_read() {
        let payload = [
            0xaa, 0x92, 0x34, 0x00, 0x07, // I, L, B, V; picture id; layers; TL0PICIDX
            0x58, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x05, 0x00, 0x02,
            0xd0, // three layers, sizes
            0x02, 0x14, 0x01, 0x28, 0x01, 0x02, 0xff, // two pictures, of one and of two references
        ];
        let mut two = payload;
        two[18] = 2;
        let descriptor = parse(&two).unwrap();
        assert!(descriptor.is_keyframe_start());
        assert_eq!(descriptor.picture_id, Some((0x1234, true)));
        assert_eq!((descriptor.tl0_picture_index, descriptor.numbers_len), (Some(7), 5));
        assert_eq!((descriptor.spatial_layers, descriptor.heights), (3, [180, 360, 720]));
        assert_eq!(descriptor.len, payload.len() - 1);
    }

    #[test]
    fn flexible_mode_has_references_and_no_tl0picidx() {
        // I, P, L, F, B, E; 7-bit id; T 1 U 1 S 2 D 1; two references.
        let descriptor = parse(&[0xfc, 0x11, 0x35, 0x03, 0x04, 0xff]).unwrap();
        assert_eq!(descriptor.picture_id, Some((0x11, false)));
        assert_eq!((descriptor.temporal_id(), descriptor.spatial_id()), (1, 2));
        assert_eq!((descriptor.tl0_picture_index, descriptor.numbers_len, descriptor.len), (None, 3, 5));
        assert!(!descriptor.is_keyframe_start());
        assert_eq!(parse(&[0xfc, 0x11, 0x35, 3, 3, 3, 2]), Err(Vp9Error::TooManyReferences));
    }

    #[test]
    fn every_truncation_is_refused() {
        let full = [0xea, 0x92, 0x34, 0x00, 0x07, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 0x01, 0x04, 0x01];
        assert_eq!(parse(&full).unwrap().len, full.len());
        for len in 0..full.len() {
            assert_eq!(parse(&full[..len]), Err(Vp9Error::Truncated), "{len} bytes");
        }
    }

    #[test]
    fn the_upper_layers_of_a_keyframe_are_none() {
        assert!(parse(&[0x08]).unwrap().is_keyframe_start(), "without layers");
        assert!(!parse(&[0x28, 0x02, 0x00]).unwrap().is_keyframe_start(), "its second layer");
        assert!(!parse(&[0x20, 0x00, 0x00]).unwrap().is_keyframe_start(), "not its first packet");
        assert!(!parse(&[0x68, 0x00, 0x00]).unwrap().is_keyframe_start(), "predicted from another picture");
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        check(vec(any::<u8>(), 0..64), |payload| {
            if let Ok(descriptor) = parse(&payload) {
                assert!(descriptor.numbers_len <= descriptor.len && descriptor.len <= payload.len());
            }
        });
    }
}
