//! Which frames of a stream with layers (VP9 SVC, AV1) one subscriber is sent: decided once for each frame, and the same for
//! all its packets, late ones too.
//!
//! Pure: it knows descriptors, and of a line only what is to be sent at most. VP8 has temporal layers alone, and is thinned
//! in the slot.

use crate::codec::{Av1Meta, Descriptor, Vp9Meta};
use crate::dependency::{Indication, Structure};

/// The layers that are to be sent at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerLimit {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerFilter {
    /// The highest layers that are sent: at a switch, at once what can be, the rest when the stream allows it.
    spatial: u8,
    temporal: u8,
    /// The decode target of AV1 that is sent.
    target: Option<u8>,
    /// All that is sent of the layers below since the last keyframe: who is sent less may be so at any picture.
    is_whole: bool,
    /// The VP9 picture that was decided on last.
    picture: Option<u16>,
    frames: Frames,
}

impl LayerFilter {
    /// A stream entered at a keyframe.
    pub(crate) const fn new(limit: LayerLimit) -> Self {
        Self {
            spatial: limit.spatial,
            temporal: limit.temporal,
            target: None,
            is_whole: true,
            picture: None,
            frames: Frames::NONE,
        }
    }

    /// The highest spatial layer that is sent.
    pub(crate) const fn spatial(&self) -> u8 {
        self.spatial
    }

    /// Whether it takes a keyframe until this spatial layer is the highest that is sent.
    pub(crate) const fn needs_keyframe_for(&self, spatial: u8) -> bool {
        spatial > self.spatial || (spatial < self.spatial && !self.is_whole)
    }

    /// Whether the frame of a packet is sent.
    #[inline]
    pub(crate) fn sends(
        &mut self,
        descriptor: &Descriptor,
        is_keyframe: bool,
        limit: LayerLimit,
        structure: Option<&Structure>,
    ) -> bool {
        match descriptor {
            Descriptor::None | Descriptor::Vp8(_) => true,
            Descriptor::Vp9(vp9) => self.sends_vp9(vp9, limit),
            Descriptor::Av1(av1) => self.sends_av1(av1, is_keyframe, limit, structure),
        }
    }

    fn sends_vp9(&mut self, vp9: &Vp9Meta, limit: LayerLimit) -> bool {
        let (spatial, temporal) = (vp9.spatial(), vp9.temporal());
        let frame = Number { value: u32::from(vp9.picture_id) << 2 | u32::from(spatial), bits: 17 };
        if let Some(sent) = self.frames.get(frame) {
            return sent;
        }
        let is_new = self.picture != Some(vp9.picture_id) && self.frames.is_newer(frame);
        // Whichever of its packets comes first.
        if is_new && spatial == 0 && !vp9.is_inter_picture() {
            *self = Self { frames: self.frames, ..Self::new(limit) };
        } else if is_new {
            self.temporal = self.temporal.min(limit.temporal);
            if limit.spatial < self.spatial && self.is_whole {
                self.spatial = limit.spatial;
            }
        }
        if is_new {
            self.picture = Some(vp9.picture_id);
        }
        if temporal > self.temporal && temporal <= limit.temporal && vp9.is_switching_point() {
            self.temporal = temporal;
        }
        let below = Number { value: frame.value.wrapping_sub(1), ..frame };
        if spatial == self.spatial + 1
            && spatial <= limit.spatial
            && !vp9.is_inter_picture()
            && self.frames.get(below) == Some(true)
        {
            // Drawn from the layer below alone: from here on the one above is complete.
            self.spatial = spatial;
        }
        let is_below = spatial < self.spatial;
        let is_needless = is_below && vp9.is_inter_picture() && vp9.is_not_for_upper();
        let sent = temporal <= self.temporal && spatial <= self.spatial && !is_needless;
        self.is_whole &= !is_needless;
        self.frames.note(frame, sent);
        sent
    }

    fn sends_av1(
        &mut self,
        av1: &Av1Meta,
        is_keyframe: bool,
        limit: LayerLimit,
        structure: Option<&Structure>,
    ) -> bool {
        let frame = Number { value: av1.frame_number.into(), bits: 16 };
        if let Some(sent) = self.frames.get(frame) {
            return sent;
        }
        let Some(structure) = structure else { return true };
        let wanted = structure.target_within(limit.spatial, limit.temporal);
        let may_switch = || {
            wanted.is_some_and(|wanted| av1.indications.of(wanted) == Indication::Switch)
                && !av1.references.far
                && (0..32)
                    .filter(|back| av1.references.near & (1 << back) != 0)
                    .all(|back| self.frames.get(frame.back(back + 1)) == Some(true))
        };
        if is_keyframe || (wanted != self.target && may_switch()) {
            self.is_whole |= is_keyframe;
            self.target = wanted;
            let (spatial, temporal) = wanted.map_or((0, 0), |wanted| structure.layers_of(wanted));
            (self.spatial, self.temporal) = (spatial, temporal);
        }
        let is_present = |target: u8| av1.indications.of(target) != Indication::NotPresent;
        let sent = self.target.is_none_or(is_present);
        self.is_whole &= sent || av1.spatial >= self.spatial;
        self.frames.note(frame, sent);
        sent
    }
}

/// The number of a frame, which wraps at so many bits.
#[derive(Clone, Copy, Debug)]
struct Number {
    value: u32,
    bits: u8,
}

impl Number {
    const fn back(self, by: u32) -> Self {
        Self { value: self.value.wrapping_sub(by), ..self }
    }

    /// How far it is behind another.
    const fn behind(self, other: u32) -> i32 {
        let shift = 32 - self.bits as u32;
        (other.wrapping_sub(self.value) << shift).cast_signed() >> shift
    }
}

/// What was decided of the last frames.
#[derive(Clone, Copy, Debug)]
struct Frames {
    newest: Option<u32>,
    /// Bit n is the frame n before the newest.
    decided: u64,
    sent: u64,
}

impl Frames {
    const NONE: Self = Self { newest: None, decided: 0, sent: 0 };

    fn is_newer(&self, frame: Number) -> bool {
        self.newest.is_none_or(|newest| frame.behind(newest) < 0)
    }

    /// Whether a frame was sent; `None` before that is decided. What is too far back was not.
    fn get(&self, frame: Number) -> Option<bool> {
        let behind = frame.behind(self.newest?);
        match u32::try_from(behind) {
            Err(_) => None,
            Ok(behind) if behind >= u64::BITS => Some(false),
            Ok(behind) => (self.decided >> behind & 1 == 1).then_some(self.sent >> behind & 1 == 1),
        }
    }

    fn note(&mut self, frame: Number, sent: bool) {
        let behind = self.newest.map_or(i32::MIN, |newest| frame.behind(newest));
        if behind < 0 {
            let by = behind.unsigned_abs();
            let shifted = |bits: u64| bits.checked_shl(by).unwrap_or(0);
            (self.decided, self.sent) = (shifted(self.decided), shifted(self.sent));
            self.newest = Some(frame.value);
        }
        let bit = 1 << behind.max(0);
        self.decided |= bit;
        self.sent |= if sent { bit } else { 0 };
    }
}
