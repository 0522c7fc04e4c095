//! Media that can be checked: each payload says whose it is, of which frame, and which part.

use vestibule_media_core::time::Time;

/// Bytes of a [`Tag`] in a payload.
pub const TAG_BYTES: usize = 28;
const MAGIC: u16 = 0x56e5;

/// What a synthetic payload says of itself. It follows the codec's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The publisher.
    pub peer: u32,
    /// The publisher's SSRC.
    pub ssrc: u32,
    /// Number of the frame in its encoding, from 0.
    pub frame: u32,
    /// Which packet of the frame.
    pub part: u8,
    /// Packets of the frame.
    pub parts: u8,
    /// A keyframe's.
    pub keyframe: bool,
    /// Position of the encoding, lowest first.
    pub encoding: u8,
    /// When the frame was captured.
    pub captured_at: Time,
}

impl Tag {
    /// Writes the tag and filler up to `len` bytes in all.
    pub fn write(&self, out: &mut Vec<u8>, len: usize) {
        let start = out.len();
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[self.part, self.parts, u8::from(self.keyframe), self.encoding]);
        out.extend_from_slice(&self.peer.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&self.captured_at.as_micros().to_be_bytes());
        out.resize(start + TAG_BYTES, 0);
        let filler = (self.frame as u8).wrapping_mul(31).wrapping_add(self.part);
        out.resize((start + len).max(start + TAG_BYTES), filler);
    }

    /// Reads a tag, and checks the filler behind it.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (tag, filler) = bytes.split_at_checked(TAG_BYTES)?;
        let u32_at = |at: usize| u32::from_be_bytes([tag[at], tag[at + 1], tag[at + 2], tag[at + 3]]);
        if u16::from_be_bytes([tag[0], tag[1]]) != MAGIC {
            return None;
        }
        let found = Self {
            part: tag[2],
            parts: tag[3],
            keyframe: tag[4] == 1,
            encoding: tag[5],
            peer: u32_at(6),
            ssrc: u32_at(10),
            frame: u32_at(14),
            captured_at: Time::from_micros((u64::from(u32_at(18)) << 32) | u64::from(u32_at(22))),
        };
        let expected = (found.frame as u8).wrapping_mul(31).wrapping_add(found.part);
        filler.iter().all(|byte| *byte == expected).then_some(found)
    }
}

/// Heights of the pictures of the encodings, lowest first.
pub const HEIGHTS: [u16; 3] = [180, 360, 720];

/// The first bytes of a VP8 frame (RFC 6386 section 9.1): enough to tell a keyframe and its size.
#[must_use]
pub fn vp8_frame_start(keyframe: bool, encoding: u8) -> Vec<u8> {
    if !keyframe {
        return vec![0x11, 0, 0];
    }
    let height = HEIGHTS[usize::from(encoding)];
    let ([low, high], [width_low, width_high]) = (height.to_le_bytes(), (height / 9 * 16).to_le_bytes());
    vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, width_low, width_high, low, high]
}

/// The tag of a VP8 payload behind its descriptor; `first` packets carry the frame's header before it.
#[must_use]
pub fn vp8_tag(body: &[u8]) -> Option<Tag> {
    [0, 3, 10].into_iter().find_map(|skip| Tag::read(body.get(skip..)?))
}
