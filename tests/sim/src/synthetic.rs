//! Media that can be checked: each payload says whose it is, of which frame, and which part.

use vestibule_media_core::time::Time;

/// Bytes of a [`Tag`] in a payload.
pub const TAG_BYTES: usize = 30;
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
    /// Where a video frame stands in its temporal pattern.
    pub temporal: Temporal,
    /// Milliseconds of sound in an audio frame; zero in video.
    pub duration_ms: u8,
    /// Its spatial layer.
    pub spatial: u8,
    /// How its encoding is layered.
    pub scalability: Scalability,
    /// Spatial layers of its encoding with those that are paused: so many numbers a picture has where frames are numbered.
    pub spatial_most: u8,
    /// Pictures of the temporal base layer so far.
    pub tl0: u8,
}

/// How spatial layers come (the modes of W3C's Scalable Video Coding, without their temporal layers, which [`Temporal`] has).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalability {
    /// Spatial layers of an encoding: 1 to 3.
    pub layers: u8,
    /// Each picture of a layer refers to that of the layer below; if not, only those of keyframes do (K-SVC).
    pub is_dependent: bool,
    /// VP9 tells references picture by picture (flexible mode), and no TL0PICIDX.
    pub is_flexible: bool,
}

impl Scalability {
    /// One layer: each size is an encoding of its own.
    pub const L1: Self = Self { layers: 1, is_dependent: false, is_flexible: false };
    /// `L2` and `L3` with layers that need each other.
    pub const L2: Self = Self { layers: 2, is_dependent: true, is_flexible: false };
    /// The same with three.
    pub const L3: Self = Self { layers: 3, is_dependent: true, is_flexible: false };
    /// `L2_KEY` and `L3_KEY`, with layers that need each other in keyframes alone.
    pub const L2_KEY: Self = Self { layers: 2, is_dependent: false, is_flexible: false };
    /// The same with three.
    pub const L3_KEY: Self = Self { layers: 3, is_dependent: false, is_flexible: false };

    /// Those above.
    pub const ALL: [Self; 5] = [Self::L1, Self::L2, Self::L3, Self::L2_KEY, Self::L3_KEY];

    /// The same, in VP9's flexible mode.
    #[must_use]
    pub const fn flexible(self) -> Self {
        Self { is_flexible: true, ..self }
    }

    const fn to_byte(self) -> u8 {
        self.layers << 2 | (self.is_dependent as u8) << 1 | self.is_flexible as u8
    }

    const fn from_byte(byte: u8) -> Self {
        Self { layers: byte >> 2, is_dependent: byte & 2 != 0, is_flexible: byte & 1 != 0 }
    }
}

/// A frame's place in the pattern of its encoding's temporal layers: L1T1, L1T2 (0 1) or L1T3 (0 2 1 2). A keyframe begins
/// the pattern anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temporal {
    /// Layers of the encoding: 1 to 3.
    pub layers: u8,
    /// Place in the pattern, from 0.
    pub position: u8,
}

impl Temporal {
    /// Frames of an encoding without temporal layers.
    pub const NONE: Self = Self { layers: 1, position: 0 };

    /// The place of the frame `since_keyframe` frames after a keyframe.
    #[must_use]
    pub const fn at(layers: u8, since_keyframe: u32) -> Self {
        let period = match layers {
            3 => 4,
            2 => 2,
            _ => 1,
        };
        Self { layers, position: (since_keyframe % period) as u8 }
    }

    /// Its temporal layer.
    #[must_use]
    pub const fn id(self) -> u8 {
        match (self.layers, self.position) {
            (3, 1 | 3) => 2,
            (3, 2) | (2, 1) => 1,
            _ => 0,
        }
    }

    /// It refers to the base layer alone, and is no base frame: who was shown less may be shown its layer from here on.
    #[must_use]
    pub const fn is_layer_sync(self) -> bool {
        matches!((self.layers, self.position), (3, 1 | 2) | (2, 1))
    }

    /// No other frame refers to it.
    #[must_use]
    pub const fn is_discardable(self) -> bool {
        self.layers > 1 && self.id() + 1 == self.layers
    }

    /// How many frames before it are those it refers to, in their encoding; zero stands for none. A keyframe refers to none.
    #[must_use]
    pub const fn references(self) -> [u32; 2] {
        match (self.layers, self.position) {
            (3, 0) => [4, 0],
            (3, 2) | (2, 0) => [2, 0],
            (3, 3) => [1, 3],
            _ => [1, 0],
        }
    }

    /// How large its frame is, against the mean: libwebrtc gives 40, 60 and 100 % of the rate to the layers up to each of
    /// three, 60 and 100 % of two.
    #[must_use]
    pub const fn size(self) -> f64 {
        match (self.layers, self.id()) {
            (3, 0) => 1.6,
            (3, _) | (2, 1) => 0.8,
            (2, 0) => 1.2,
            _ => 1.0,
        }
    }
}

impl Tag {
    /// A frame of a voice, for tests of what takes such frames apart.
    #[cfg(test)]
    pub(crate) fn of_voice(frame: u32, duration_ms: u8) -> Self {
        Self {
            peer: 1,
            ssrc: 2,
            frame,
            part: 0,
            parts: 1,
            keyframe: false,
            encoding: 0,
            captured_at: Time::from_millis(u64::from(frame) * u64::from(duration_ms)),
            temporal: Temporal::NONE,
            duration_ms,
            spatial: 0,
            scalability: Scalability::L1,
            spatial_most: 1,
            tl0: 0,
        }
    }

    /// Which of the sizes it is of, lowest first.
    #[must_use]
    pub const fn size(&self) -> u8 {
        if self.scalability.layers > 1 { self.spatial } else { self.encoding }
    }

    /// It refers to the frame of the layer below, of the same picture.
    #[must_use]
    pub const fn needs_below(&self) -> bool {
        self.spatial > 0 && self.layers_refer()
    }

    /// Whether frames of this picture refer to the layer below.
    #[must_use]
    pub const fn layers_refer(&self) -> bool {
        self.keyframe || self.scalability.is_dependent
    }

    /// Heights of its encoding's layers, lowest first.
    #[must_use]
    pub fn heights(&self) -> &'static [u16] {
        match self.scalability.layers {
            1 => &HEIGHTS[usize::from(self.encoding)..][..1],
            layers => &HEIGHTS[..usize::from(layers)],
        }
    }

    /// The frames it refers to: how many pictures before, and in which spatial layer.
    pub fn references(&self) -> impl Iterator<Item = (u32, u8)> {
        let below = self.needs_below().then(|| (0, self.spatial - 1));
        let temporal = self.temporal.references().into_iter().filter(|back| *back > 0 && !self.keyframe);
        temporal.map(|back| (back, self.spatial)).chain(below)
    }

    /// Writes the tag and filler up to `len` bytes in all.
    pub fn write(&self, out: &mut Vec<u8>, len: usize) {
        let start = out.len();
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[self.part, self.parts, u8::from(self.keyframe), self.encoding]);
        out.extend_from_slice(&self.peer.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&self.captured_at.as_micros().to_be_bytes());
        out.extend_from_slice(&[self.temporal.layers << 4 | self.temporal.position, self.duration_ms]);
        let layers = self.spatial_most << 6 | self.scalability.to_byte() << 2 | self.spatial;
        out.extend_from_slice(&[layers, self.tl0]);
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
            temporal: Temporal { layers: tag[26] >> 4, position: tag[26] & 0xf },
            duration_ms: tag[27],
            spatial: tag[28] & 0x3,
            scalability: Scalability::from_byte(tag[28] >> 2 & 0xf),
            spatial_most: tag[28] >> 6,
            tl0: tag[29],
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
