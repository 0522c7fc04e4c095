//! The dependency descriptor (AV1 RTP specification 1.0, appendix A): which frames a frame needs, and for which of the
//! stream's layers it is needed itself.
//!
//! Most of it stands in templates, which come with a keyframe and hold until the next structure: without one no descriptor
//! means anything. A descriptor is passed on as it came, but for its frame number ([`write_frame_number`]).

/// Bytes of the fields every descriptor has.
pub const MANDATORY_LEN: usize = 3;
/// Layers of one kind that are told apart; a structure with more is refused.
pub const LAYERS_MAX: u8 = 4;
/// Decode targets of one structure: five bits count them.
pub const DECODE_TARGETS_MAX: usize = 32;
const TEMPLATES_MAX: usize = 64;
/// How far back a reference may be that is remembered.
const REFERENCE_MAX: u32 = 32;

/// Why a descriptor cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// It ends before its fields do.
    #[error("the dependency descriptor is cut off")]
    Truncated,
    /// No structure is known: nothing of the stream has meaning before one.
    #[error("no template structure is known yet")]
    NoStructure,
    /// A frame of a template the structure does not have.
    #[error("the structure has no such template")]
    UnknownTemplate,
    /// More templates or layers than there may be.
    #[error("the structure has too many {0}")]
    TooMany(&'static str),
}

/// What a frame is for a decode target: the indication of its place (DTI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// It is no part of it.
    NotPresent,
    /// No other frame of it needs this one.
    Discardable,
    /// Whoever can decode this frame can decode all that follow of it.
    Switch,
    /// Others of it need this one.
    Required,
}

/// The indications of one frame, two bits for each decode target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// Needed for every decode target.
    const ALL: Self = Self(u64::MAX);

    /// That for one decode target; [`DECODE_TARGETS_MAX`] and above have none.
    #[inline]
    #[must_use]
    pub const fn of(self, target: u8) -> Indication {
        if target as usize >= DECODE_TARGETS_MAX {
            return Indication::NotPresent;
        }
        match self.0 >> (2 * target) & 0x3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }
}

/// The frames a frame refers to directly: bit n is the one n + 1 before it in frame numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Those near enough.
    pub near: u32,
    /// There are some further back.
    pub far: bool,
}

impl References {
    /// It needs none: a keyframe of the lowest layer.
    pub(crate) const fn is_empty(&self) -> bool {
        self.near == 0 && !self.far
    }

    const fn add(&mut self, difference: u32) {
        if difference <= REFERENCE_MAX {
            self.near |= 1 << (difference - 1);
        } else {
            self.far = true;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: Indications,
    references: References,
}

/// A template dependency structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    id_offset: u8,
    targets: u8,
    templates: [Template; TEMPLATES_MAX],
    template_count: u8,
    /// Heights in pixels of the spatial layers, lowest first; 0 is not told.
    pub heights: [u16; LAYERS_MAX as usize],
}

/// What a descriptor says of its packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// The first packet of its frame.
    pub start: bool,
    /// The last packet of its frame.
    pub end: bool,
    /// The running number of the frame, over all layers; it wraps at 16 bits.
    pub frame_number: u16,
    /// Its spatial layer.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// For which decode targets it is needed.
    pub indications: Indications,
    /// What it needs.
    pub references: References,
    /// The decode targets that are being sent, one bit each, where it says so.
    pub active_targets: Option<u32>,
}

/// Reads a descriptor. A structure that comes with it is `structure` from then on, and nothing of one that is malformed.
///
/// # Errors
/// What is wrong with it, or that there is no structure it could be read by.
pub fn parse(bytes: &[u8], structure: &mut Option<Box<Structure>>) -> Result<Descriptor, DependencyError> {
    let mut bits = Bits { bytes, at: 0 };
    let mut found = Descriptor { start: bits.flag()?, end: bits.flag()?, ..Descriptor::default() };
    let template_id = bits.take(6)? as u8;
    found.frame_number = bits.take(16)? as u16;
    let [has_structure, has_active, custom_indications, custom_references, _custom_chains] =
        if bytes.len() > MANDATORY_LEN {
            [bits.flag()?, bits.flag()?, bits.flag()?, bits.flag()?, bits.flag()?]
        } else {
            [false; 5]
        };
    let new = if has_structure { Some(Box::new(Structure::read(&mut bits)?)) } else { None };
    let known = new.as_ref().or(structure.as_ref()).ok_or(DependencyError::NoStructure)?;
    if has_structure {
        found.active_targets = Some(u32::MAX >> (32 - u32::from(known.targets)));
    }
    if has_active {
        found.active_targets = Some(bits.take(known.targets.into())?);
    }
    let template = known.template(template_id)?;
    (found.spatial, found.temporal) = (template.spatial, template.temporal);
    found.indications = template.indications;
    found.references = template.references;
    if custom_indications {
        found.indications = bits.indications(known.targets)?;
    }
    if custom_references {
        found.references = bits.references()?;
    }
    // The chains, if there are any of its own, are the last of it; who forwards goes by references.
    if new.is_some() {
        *structure = new;
    }
    Ok(found)
}

/// What can be said of a descriptor whose structure is still on its way: it is of this frame, and may be needed by
/// everybody.
///
/// # Errors
/// [`DependencyError::Truncated`] when even that is not there.
pub fn parse_without_structure(bytes: &[u8]) -> Result<Descriptor, DependencyError> {
    let &[flags, high, low] = bytes.first_chunk().ok_or(DependencyError::Truncated)?;
    Ok(Descriptor {
        start: flags & 0x80 != 0,
        end: flags & 0x40 != 0,
        frame_number: u16::from_be_bytes([high, low]),
        indications: Indications::ALL,
        references: References { near: 0, far: true },
        ..Descriptor::default()
    })
}

/// Whether a descriptor brings a structure with it.
#[must_use]
pub fn has_structure(bytes: &[u8]) -> bool {
    bytes.get(MANDATORY_LEN).is_some_and(|flags| flags & 0x80 != 0)
}

/// Gives the frame of a descriptor another number. Without effect on what is too short to be one.
#[inline]
pub fn write_frame_number(bytes: &mut [u8], frame_number: u16) {
    if let Some(place) = bytes.get_mut(1..MANDATORY_LEN) {
        place.copy_from_slice(&frame_number.to_be_bytes());
    }
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Result<Self, DependencyError> {
        let mut structure = Self {
            id_offset: bits.take(6)? as u8,
            targets: bits.take(5)? as u8 + 1,
            templates: [Template::default(); TEMPLATES_MAX],
            template_count: 0,
            heights: [0; LAYERS_MAX as usize],
        };
        structure.read_layers(bits)?;
        let targets = structure.targets;
        for template in structure.templates_mut() {
            template.indications = bits.indications(targets)?;
        }
        for template in structure.templates_mut() {
            while bits.flag()? {
                template.references.add(bits.take(4)? + 1);
            }
        }
        structure.skip_chains(bits)?;
        if bits.flag()? {
            for spatial in 0..=structure.top_spatial() {
                bits.take(16)?;
                // A height of 65,536 is none a picture has.
                structure.heights[usize::from(spatial)] = (bits.take(16)? as u16).saturating_add(1);
            }
        }
        Ok(structure)
    }

    fn read_layers(&mut self, bits: &mut Bits<'_>) -> Result<(), DependencyError> {
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            let place = self.templates.get_mut(usize::from(self.template_count));
            let place = place.ok_or(DependencyError::TooMany("templates"))?;
            *place = Template { spatial, temporal, ..Template::default() };
            self.template_count += 1;
            match bits.take(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => return Ok(()),
            }
            if spatial >= LAYERS_MAX || temporal >= LAYERS_MAX {
                return Err(DependencyError::TooMany("layers"));
            }
        }
    }

    /// Chains protect decode targets; whoever forwards every frame of a target forwards its chain.
    fn skip_chains(&self, bits: &mut Bits<'_>) -> Result<(), DependencyError> {
        let chains = bits.non_symmetric(u32::from(self.targets) + 1)?;
        if chains == 0 {
            return Ok(());
        }
        for _ in 0..self.targets {
            bits.non_symmetric(chains)?;
        }
        for _ in 0..u32::from(self.template_count) * chains {
            bits.take(4)?;
        }
        Ok(())
    }

    fn templates(&self) -> &[Template] {
        &self.templates[..usize::from(self.template_count)]
    }

    fn templates_mut(&mut self) -> &mut [Template] {
        &mut self.templates[..usize::from(self.template_count)]
    }

    fn template(&self, id: u8) -> Result<&Template, DependencyError> {
        let index = (id + 64 - self.id_offset) % 64;
        self.templates().get(usize::from(index)).ok_or(DependencyError::UnknownTemplate)
    }

    /// Decode targets there are.
    #[must_use]
    pub const fn targets(&self) -> u8 {
        self.targets
    }

    /// The highest spatial layer.
    #[must_use]
    pub fn top_spatial(&self) -> u8 {
        self.templates().iter().map(|template| template.spatial).max().unwrap_or(0)
    }

    /// The highest spatial and temporal layer of a decode target.
    #[must_use]
    pub fn layers_of(&self, target: u8) -> (u8, u8) {
        let of_target = |template: &&Template| template.indications.of(target) != Indication::NotPresent;
        self.templates().iter().filter(of_target).fold((0, 0), |(spatial, temporal), template| {
            (spatial.max(template.spatial), temporal.max(template.temporal))
        })
    }

    /// The best decode target with no layer above these.
    #[must_use]
    pub fn target_within(&self, spatial: u8, temporal: u8) -> Option<u8> {
        (0..self.targets)
            .map(|target| (self.layers_of(target), target))
            .filter(|((s, t), _)| *s <= spatial && *t <= temporal)
            .max_by_key(|((s, t), target)| (*s, *t, std::cmp::Reverse(*target)))
            .map(|(_, target)| target)
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Result<bool, DependencyError> {
        let byte = self.bytes.get(self.at / 8).ok_or(DependencyError::Truncated)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    fn take(&mut self, bits: u32) -> Result<u32, DependencyError> {
        (0..bits).try_fold(0, |value, _| Ok(value << 1 | u32::from(self.flag()?)))
    }

    /// ns(n) of the AV1 bitstream specification, section 4.10.7.
    fn non_symmetric(&mut self, values: u32) -> Result<u32, DependencyError> {
        let width = u32::BITS - values.leading_zeros();
        let short = (1 << width) - values;
        let value = self.take(width - 1)?;
        if value < short { Ok(value) } else { Ok((value << 1) - short + u32::from(self.flag()?)) }
    }

    fn indications(&mut self, targets: u8) -> Result<Indications, DependencyError> {
        let mut all = 0;
        for target in 0..targets {
            all |= u64::from(self.take(2)?) << (2 * target);
        }
        Ok(Indications(all))
    }

    /// frame_fdiffs(): in four, eight or twelve bits each, until a size of zero.
    fn references(&mut self) -> Result<References, DependencyError> {
        let mut references = References::default();
        loop {
            match self.take(2)? {
                0 => return Ok(references),
                size => references.add(self.take(4 * size)? + 1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;

    use super::*;
    use crate::testing::check;

    /// Bits written one after the other, for descriptors made by hand.
    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn put(&mut self, value: u32, bits: u32) -> &mut Self {
            self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
            };
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// L2T1: two decode targets, templates of a keyframe and of later frames for each layer, two chains.
    fn with_structure(frame_number: u32) -> Vec<u8> {
        let mut w = Writer::default();
        w.put(0b11, 2).put(60, 6).put(frame_number, 16).put(0b10000, 5);
        w.put(60, 6).put(1, 5);
        w.put(0, 2).put(2, 2).put(0, 2).put(3, 2);
        for indications in [[2, 2], [2, 3], [0, 2], [0, 2]] {
            w.put(indications[0], 2).put(indications[1], 2);
        }
        w.put(0, 1); // the keyframe
        w.put(1, 1).put(1, 4).put(0, 1); // two back
        w.put(1, 1).put(0, 4).put(0, 1); // the layer below
        w.put(1, 1).put(0, 4).put(1, 1).put(1, 4).put(0, 1);
        w.put(0b11, 2); // two chains: ns(3) of 2
        w.put(0, 1).put(1, 1);
        for _ in 0..8 {
            w.put(1, 4);
        }
        w.put(1, 1).put(639, 16).put(359, 16).put(1_279, 16).put(719, 16);
        w.bytes()
    }

    fn structure() -> Option<Box<Structure>> {
        let mut structure = None;
        parse(&with_structure(7), &mut structure).unwrap();
        structure
    }

    #[test]
    fn nothing_is_read_before_a_structure_is_there() {
        let mut none = None;
        assert_eq!(parse(&[0xc0, 0, 1], &mut none), Err(DependencyError::NoStructure));
        assert!(none.is_none());
    }

    #[test]
    fn a_structure_holds_for_what_follows() {
        let bytes = with_structure(7);
        assert!(has_structure(&bytes) && !has_structure(&bytes[..3]));
        let mut known = None;
        let key = parse(&bytes, &mut known).unwrap();
        assert!(key.start && key.end);
        assert_eq!((key.frame_number, key.spatial, key.temporal), (7, 0, 0));
        assert_eq!((key.references, key.active_targets), (References::default(), Some(0b11)));
        let structure = known.as_ref().unwrap();
        assert_eq!((structure.targets(), structure.top_spatial()), (2, 1));
        assert_eq!(structure.heights, [360, 720, 0, 0]);
        assert_eq!([structure.layers_of(0), structure.layers_of(1)], [(0, 0), (1, 0)]);
        assert_eq!([0, 1, 3].map(|s| structure.target_within(s, 9)), [Some(0), Some(1), Some(1)]);

        // Template ids wrap at 64: the fourth is 63.
        let upper = parse(&[0x80 | 63, 0xff, 0xff], &mut known).unwrap();
        assert_eq!((upper.frame_number, upper.spatial, upper.end), (0xffff, 1, false));
        assert_eq!(upper.references, References { near: 0b11, far: false });
        let [low, high] = [0, 1].map(|target| upper.indications.of(target));
        assert_eq!((low, high), (Indication::NotPresent, Indication::Switch));
        assert_eq!(parse(&[0x80, 0, 0], &mut known), Err(DependencyError::UnknownTemplate));
    }

    #[test]
    fn what_a_frame_says_of_itself_goes_before_its_template() {
        let mut w = Writer::default();
        w.put(0b11, 2).put(61, 6).put(9, 16).put(0b01110, 5).put(0b01, 2);
        w.put(1, 2).put(3, 2);
        w.put(1, 2).put(4, 4).put(3, 2).put(200, 12).put(0, 2);
        let mut known = structure();
        let found = parse(&w.bytes(), &mut known).unwrap();
        assert_eq!(found.active_targets, Some(1));
        let [low, high] = [0, 1].map(|target| found.indications.of(target));
        assert_eq!((low, high), (Indication::Discardable, Indication::Required));
        assert_eq!(found.references, References { near: 1 << 4, far: true });
    }

    #[test]
    fn every_truncation_is_refused_and_changes_nothing() {
        let bytes = with_structure(7);
        for len in 0..bytes.len() - 1 {
            let mut known = None;
            let error = parse(&bytes[..len], &mut known).unwrap_err();
            assert!(matches!(error, DependencyError::Truncated | DependencyError::NoStructure), "{len}");
            assert!(known.is_none(), "{len} bytes");
        }
    }

    #[test]
    fn a_frame_number_is_written_in_its_place() {
        let mut bytes = with_structure(7);
        write_frame_number(&mut bytes, 0xfffe);
        assert_eq!(parse(&bytes, &mut None).unwrap().frame_number, 0xfffe);
        write_frame_number(&mut [0; 2], 1);
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        check((vec(any::<u8>(), 0..96), vec(any::<u8>(), 0..16)), |(first, second)| {
            let mut known = structure();
            for bytes in [first, second] {
                _ = parse(&bytes, &mut known);
                if let Some(structure) = &known {
                    assert!(structure.top_spatial() < LAYERS_MAX);
                    (0..40).for_each(|target| _ = structure.layers_of(target));
                    _ = structure.target_within(3, 3);
                }
            }
        });
    }
}
