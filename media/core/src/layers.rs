//! Which frames of a stream with layers (VP9 SVC, AV1) one subscriber is sent: decided once for each frame, and the same for
//! all its packets, late ones too.
//!
//! Pure: it knows descriptors, and of a line only what is to be sent at most. VP8 has temporal layers alone, and is thinned
//! in the slot.

use crate::codec::{Av1Meta, Descriptor, Vp9Meta};
use crate::dependency::{Indication, Structure};
use crate::history::{History, Number};

/// The layers that are to be sent at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerLimit {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerFilter {
    sent: History<Sent>,
    /// All that is sent of the layers below since the last keyframe: who is sent less may be so at any picture.
    is_whole: bool,
    /// The picture that was decided on last, by its VP9 picture id or the number of its lowest AV1 frame. Which of its layers
    /// is the highest is decided once, with the first of its packets: the last packet of that layer is marked, and none of the
    /// layers above may follow it.
    picture: Option<u32>,
    frames: Frames,
}

/// The highest layers that are sent: at a switch, at once what can be, the rest when the stream allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    spatial: u8,
    temporal: u8,
    /// The decode target of AV1.
    target: Option<u8>,
}

impl Sent {
    const fn within(limit: LayerLimit) -> Self {
        Self { spatial: limit.spatial, temporal: limit.temporal, target: None }
    }
}

impl LayerFilter {
    /// A stream entered at a keyframe.
    pub(crate) const fn new(limit: LayerLimit) -> Self {
        Self { sent: History::new(Sent::within(limit)), is_whole: true, picture: None, frames: Frames::NONE }
    }

    /// The highest spatial layer that is sent.
    pub(crate) const fn spatial(&self) -> u8 {
        self.sent.now().spatial
    }

    /// Whether it takes a keyframe until this spatial layer is the highest that is sent.
    pub(crate) const fn needs_keyframe_for(&self, spatial: u8) -> bool {
        spatial > self.spatial() || (spatial < self.spatial() && !self.is_whole)
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

    /// The frame of a packet was decided on not long ago, and is not sent.
    pub(crate) fn left_out(&self, descriptor: &Descriptor) -> bool {
        let frame = match descriptor {
            Descriptor::None | Descriptor::Vp8(_) => return false,
            Descriptor::Vp9(vp9) => vp9_frame(vp9),
            Descriptor::Av1(av1) => av1_frame(av1),
        };
        self.frames.decided(frame) == Some(false)
    }

    fn sends_vp9(&mut self, vp9: &Vp9Meta, limit: LayerLimit) -> bool {
        let (spatial, temporal) = (vp9.spatial(), vp9.temporal());
        let frame = vp9_frame(vp9);
        if let Some(sent) = self.frames.get(frame) {
            return sent;
        }
        let lowest = frame.back(spatial.into());
        let is_new = self.picture != Some(lowest.value) && self.frames.is_newer(frame);
        if is_new {
            self.picture = Some(lowest.value);
        }
        let mut layers = self.sent.at(lowest);
        if self.picture == Some(lowest.value) {
            // Whichever of its packets comes first.
            if is_new && spatial == 0 && !vp9.is_inter_picture() {
                layers = Sent::within(limit);
                self.is_whole = true;
            } else if is_new {
                layers.temporal = layers.temporal.min(limit.temporal);
                // With the lowest of its frames: that one may be marked.
                if spatial == 0 && limit.spatial < layers.spatial && self.is_whole {
                    layers.spatial = limit.spatial;
                }
            }
            // With the first of its frames: those above may need it.
            let may_rise = is_new && temporal <= limit.temporal && vp9.is_switching_point();
            if may_rise && temporal > layers.temporal {
                layers.temporal = temporal;
            }
            self.sent.set(lowest, layers);
        }
        let is_below = spatial < layers.spatial;
        let is_needless = is_below && vp9.is_inter_picture() && vp9.is_not_for_upper();
        let sent = temporal <= layers.temporal && spatial <= layers.spatial && !is_needless;
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
        let frame = av1_frame(av1);
        if let Some(sent) = self.frames.get(frame) {
            return sent;
        }
        let Some(structure) = structure else { return true };
        let wanted = structure.target_within(limit.spatial, limit.temporal);
        // Whichever of its packets comes first: only one of them says that it begins a sequence.
        let is_keyframe = is_keyframe || (av1.spatial == 0 && av1.references.is_empty());
        // Layers of one picture have numbers next to each other. One that was overtaken by the next is as it was begun.
        let lowest = frame.back(av1.spatial.into());
        let is_newer = self.frames.is_newer(frame);
        let is_new = is_newer && self.picture != Some(lowest.value);
        // Of a picture whose lower layers belong to none of the two, as they do between keyframes, nothing was sent so far.
        let begins = || {
            let is_left_out = |below: u8| self.frames.get(frame.back(below.into())) == Some(false);
            is_new || (is_newer && av1.spatial > 0 && (1..=av1.spatial).all(is_left_out))
        };
        let mut layers = self.sent.at(lowest);
        let enters = is_new && is_keyframe;
        let target = if enters {
            self.is_whole = true;
            wanted
        } else if wanted != layers.target && begins() {
            self.next_target(av1, wanted, limit, structure)
        } else {
            layers.target
        };
        if is_new {
            self.picture = Some(lowest.value);
        }
        if self.picture == Some(lowest.value) {
            if enters || target != layers.target {
                let (spatial, temporal) = target.map_or((0, 0), |target| structure.layers_of(target));
                layers = Sent { spatial, temporal, target };
            }
            self.sent.set(lowest, layers);
        }
        let is_present = |target: u8| av1.indications.of(target) != Indication::NotPresent;
        let sent = layers.target.is_none_or(is_present);
        let is_above = av1.spatial >= layers.spatial || av1.temporal > layers.temporal;
        self.is_whole &= sent || is_above;
        self.frames.note(frame, sent);
        sent
    }

    /// The decode target from this frame on, which is no keyframe and the first of its picture: what is wanted, where it may be
    /// entered here, else what is nearest to it.
    fn next_target(
        &self,
        av1: &Av1Meta,
        wanted: Option<u8>,
        limit: LayerLimit,
        structure: &Structure,
    ) -> Option<u8> {
        let may_enter = |target: Option<u8>| {
            target.is_some_and(|target| av1.indications.of(target) == Indication::Switch)
                && !av1.references.far
                && (0..32)
                    .filter(|back| av1.references.near & (1 << back) != 0)
                    .all(|back| self.frames.get(av1_frame(av1).back(back + 1)) == Some(true))
        };
        if may_enter(wanted) {
            return wanted;
        }
        let Sent { spatial: top, temporal, target } = self.sent.now();
        // Of lower layers, if all of them was sent so far, and with the lowest of the picture's frames: that one may be marked.
        let is_lower = !self.needs_keyframe_for(limit.spatial) && av1.spatial == 0;
        let spatial = if is_lower { limit.spatial } else { top };
        let near = structure.target_within(spatial, limit.temporal);
        let is_fewer = near.is_some_and(|near| structure.layers_of(near).1 <= temporal);
        // More temporal layers are entered in all layers of a picture at once, and the lowest frame cannot say so for those above,
        // which need it.
        let of_lowest = structure.target_within(spatial.min(av1.spatial), limit.temporal);
        if is_fewer || may_enter(of_lowest) { near } else { target }
    }
}

fn vp9_frame(vp9: &Vp9Meta) -> Number {
    Number { value: vp9.frame(), bits: 17 }
}

fn av1_frame(av1: &Av1Meta) -> Number {
    Number { value: av1.frame_number.into(), bits: 16 }
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
        let is_far = u32::try_from(frame.behind(self.newest?)).is_ok_and(|behind| behind >= u64::BITS);
        // Too far back to be of use.
        if is_far { Some(false) } else { self.decided(frame) }
    }

    /// What was decided, where that is remembered.
    fn decided(&self, frame: Number) -> Option<bool> {
        let behind = u32::try_from(frame.behind(self.newest?)).ok().filter(|behind| *behind < u64::BITS)?;
        (self.decided >> behind & 1 == 1).then_some(self.sent >> behind & 1 == 1)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vp9::flag;

    /// A VP9 frame: picture, layers; whether it refers to other pictures, whether layers above need it, whether it is a
    /// switching point.
    fn vp9(
        picture: u16,
        [spatial, temporal]: [u8; 2],
        inter: bool,
        for_upper: bool,
        switch: bool,
    ) -> Descriptor {
        let set = |set: bool, bit: u8| if set { bit } else { 0 };
        Descriptor::Vp9(Vp9Meta {
            flags: flag::LAYERS | set(inter, flag::INTER_PICTURE) | set(!for_upper, flag::NOT_FOR_UPPER),
            layers: Some(temporal << 5 | set(switch, 0x10) | spatial << 1),
            tl0_picture_index: Some(0),
            picture_id: picture & 0x7fff,
        })
    }

    const fn limit(spatial: u8, temporal: u8) -> LayerLimit {
        LayerLimit { spatial, temporal }
    }

    /// Which of three layers of a picture are sent.
    fn picture(
        filter: &mut LayerFilter,
        picture: u16,
        inter: bool,
        for_upper: bool,
        limit: LayerLimit,
    ) -> Vec<u8> {
        let sent = |spatial: &u8| {
            filter.sends(
                &vp9(picture, [*spatial, 0], inter, for_upper && *spatial < 2, false),
                false,
                limit,
                None,
            )
        };
        (0..3).filter(sent).collect()
    }

    #[test]
    fn of_layers_that_need_each_other_all_below_are_sent_and_fewer_at_any_picture() {
        let mut filter = LayerFilter::new(limit(2, 9));
        assert_eq!(picture(&mut filter, 1, false, true, limit(2, 9)), [0, 1, 2]);
        assert_eq!(picture(&mut filter, 2, true, true, limit(2, 9)), [0, 1, 2]);
        assert!(!filter.needs_keyframe_for(0) && filter.needs_keyframe_for(3));
        assert_eq!(picture(&mut filter, 3, true, true, limit(0, 9)), [0]);
        assert!(filter.needs_keyframe_for(2), "the layers above were left out");
        assert_eq!(picture(&mut filter, 4, true, true, limit(2, 9)), [0]);
        assert_eq!(picture(&mut filter, 5, false, true, limit(2, 9)), [0, 1, 2], "a keyframe");
    }

    #[test]
    fn what_is_wanted_between_the_layers_of_a_picture_waits_for_the_next() {
        let mut filter = LayerFilter::new(limit(0, 9));
        assert!(filter.sends(&vp9(1, [0, 0], false, true, false), false, limit(0, 9), None));
        // Whether the end of the lowest layer was seen or is overtaken: it is marked.
        assert!(!filter.sends(&vp9(1, [1, 0], false, true, false), false, limit(1, 9), None));
        assert_eq!(filter.spatial(), 0);
        assert_eq!(picture(&mut filter, 2, false, true, limit(1, 9)), [0, 1]);
    }

    #[test]
    fn of_layers_that_need_each_other_in_keyframes_alone_one_is_sent_between_them() {
        let mut filter = LayerFilter::new(limit(2, 9));
        assert_eq!(picture(&mut filter, 0x7fff, false, true, limit(2, 9)), [0, 1, 2]);
        assert_eq!(
            picture(&mut filter, 0x8000, true, false, limit(2, 9)),
            [2],
            "over the wrap of picture ids"
        );
        assert!(filter.needs_keyframe_for(1), "what is below was not sent");
        assert_eq!(picture(&mut filter, 0x8001, true, false, limit(1, 9)), [2]);
        assert_eq!(picture(&mut filter, 0x8002, false, true, limit(1, 9)), [0, 1]);
        assert_eq!(picture(&mut filter, 0x8003, true, false, limit(1, 9)), [1]);
    }

    #[test]
    fn a_temporal_layer_ends_at_once_and_is_entered_at_a_switching_point() {
        let mut filter = LayerFilter::new(limit(0, 2));
        let mut sends = |picture, temporal, switch, max| {
            filter.sends(&vp9(picture, [0, temporal], picture > 1, false, switch), false, limit(0, max), None)
        };
        assert!(sends(1, 0, true, 2) && sends(2, 2, true, 2));
        assert!(!sends(3, 1, true, 0) && !sends(4, 2, false, 0) && sends(5, 0, false, 0));
        assert!(!sends(6, 2, false, 2), "it may refer to what was left out");
        assert!(sends(7, 1, true, 2) && !sends(8, 2, false, 2));
        assert!(sends(9, 0, false, 2) && sends(10, 2, true, 2));
    }

    #[test]
    fn a_temporal_layer_is_not_entered_between_the_layers_of_a_picture() {
        let mut filter = LayerFilter::new(limit(1, 0));
        let mut sends = |picture, layers, max| {
            filter.sends(&vp9(picture, layers, picture > 1, true, true), false, limit(1, max), None)
        };
        assert!(sends(1, [0, 0], 0) && sends(1, [1, 0], 0));
        assert!(!sends(2, [0, 2], 0) && !sends(2, [1, 2], 2), "it needs the frame below");
        assert!(sends(3, [0, 1], 2) && sends(3, [1, 1], 2));
    }

    #[test]
    fn what_was_decided_of_a_frame_holds_for_its_late_packets() {
        let mut filter = LayerFilter::new(limit(0, 2));
        let frame = |picture, temporal| vp9(picture, [0, temporal], picture > 1, false, true);
        assert!(filter.sends(&frame(1, 0), false, limit(0, 2), None));
        assert!(filter.sends(&frame(2, 2), false, limit(0, 2), None));
        assert!(!filter.sends(&frame(4, 2), false, limit(0, 0), None));
        assert!(filter.sends(&frame(5, 0), false, limit(0, 2), None));
        assert!(filter.sends(&frame(2, 2), false, limit(0, 0), None), "begun, and sent to its end");
        assert!(!filter.sends(&frame(4, 2), false, limit(0, 2), None), "left out as a whole");
        assert!(filter.sends(&frame(40, 0), false, limit(0, 2), None));
        assert!(!filter.sends(&frame(3, 0), false, limit(0, 2), None), "too far back to be of use");
    }
}
