//! What forwarding needs of a payload, whatever its codec: where a stream can be entered, which frame and layer a packet is
//! of, what is rewritten of it. Here alone is known which codec has which words for it.

use crate::dependency::{self, DependencyError, Indication, Indications, References, Structure};
use crate::sdp::CodecName;
use crate::vp8::{self, CANONICAL_DESCRIPTOR_LEN, CanonicalDescriptor, Vp8Descriptor};
use crate::{av1, h264, vp9};

/// Spatial layers of one encoding that are told apart.
pub(crate) const SPATIAL_MAX: usize = 3;
/// Bytes the largest rewritten payload descriptor takes beyond what is kept of its payload.
pub(crate) const REWRITTEN_BYTES_MAX: usize = CANONICAL_DESCRIPTOR_LEN;

/// What a packet says of its place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// Nothing that is rewritten: a voice, H264, AV1 without a dependency descriptor, and what has no payload.
    None,
    Vp8(Vp8Meta),
    Vp9(Vp9Meta),
    Av1(Av1Meta),
}

/// The VP8 payload descriptor of a packet in normal form: picture id and TL0PICIDX always there and continuous, KEYIDX never. It
/// may not vanish once it was there, browsers send none, and no decoder needs it beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vp8Meta {
    pub(crate) picture_id: u16,
    pub(crate) tl0_picture_index: u8,
    pub(crate) temporal_id: u8,
    pub(crate) layer_sync: bool,
    pub(crate) non_reference: bool,
    pub(crate) start_of_partition: bool,
    pub(crate) partition_index: u8,
}

/// The VP9 payload descriptor of a packet up to its numbers, with a 15-bit picture id; the rest is kept with the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vp9Meta {
    pub(crate) flags: u8,
    pub(crate) layers: Option<u8>,
    pub(crate) tl0_picture_index: Option<u8>,
    pub(crate) picture_id: u16,
}

/// The dependency descriptor of an AV1 packet. Its bytes are kept before the payload, but for the frame number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Av1Meta {
    pub(crate) indications: Indications,
    pub(crate) references: References,
    pub(crate) frame_number: u16,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) ends_frame: bool,
    /// Bytes of it.
    pub(crate) len: u8,
}

/// How the numbers of a stretch of the outgoing stream differ from its publisher's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offsets {
    /// Of the picture id of VP8 and VP9, or the frame number of AV1.
    pub(crate) picture: u16,
    pub(crate) tl0: u8,
}

/// The last numbers of the outgoing stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) picture_id: u16,
    pub(crate) frame_number: u16,
    pub(crate) tl0: u8,
}

const PICTURE_ID_MASK: u16 = 0x7fff;

impl Vp9Meta {
    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Its frame: layers of a picture are numbered one after the other.
    pub(crate) const fn frame(&self) -> u32 {
        (self.picture_id as u32) << 2 | self.spatial() as u32
    }

    /// It refers to other pictures.
    pub(crate) const fn is_inter_picture(&self) -> bool {
        self.has(vp9::flag::INTER_PICTURE)
    }

    /// Layers above do not refer to it.
    pub(crate) const fn is_not_for_upper(&self) -> bool {
        self.has(vp9::flag::NOT_FOR_UPPER)
    }

    pub(crate) const fn spatial(&self) -> u8 {
        match self.layers {
            Some(layers) => layers >> 1 & 0x07,
            None => 0,
        }
    }

    pub(crate) const fn temporal(&self) -> u8 {
        match self.layers {
            Some(layers) => layers >> 5,
            None => 0,
        }
    }

    /// Whoever was sent less may be sent its temporal layer from here on.
    pub(crate) const fn is_switching_point(&self) -> bool {
        matches!(self.layers, Some(layers) if layers & 0x10 != 0)
    }
}

impl Descriptor {
    #[inline]
    pub(crate) const fn temporal(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Vp8(vp8) => vp8.temporal_id,
            Self::Vp9(vp9) => vp9.temporal(),
            Self::Av1(av1) => av1.temporal,
        }
    }

    #[inline]
    pub(crate) const fn spatial(&self) -> u8 {
        match self {
            Self::None | Self::Vp8(_) => 0,
            Self::Vp9(vp9) => vp9.spatial(),
            Self::Av1(av1) => av1.spatial,
        }
    }

    /// Which frame it is of, over all layers; `None` where that is not told.
    pub(crate) const fn frame(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Vp8(vp8) => Some(vp8.picture_id as u32),
            Self::Vp9(vp9) => Some(vp9.frame()),
            Self::Av1(av1) => Some(av1.frame_number as u32),
        }
    }

    /// Whether the packet is the last of a frame of this spatial layer: the last of its picture where none above is sent.
    #[inline]
    pub(crate) const fn ends_layer(&self, spatial: u8) -> bool {
        match self {
            Self::None | Self::Vp8(_) => false,
            Self::Vp9(vp9) => vp9.has(vp9::flag::END) && vp9.spatial() == spatial,
            Self::Av1(av1) => av1.ends_frame && av1.spatial == spatial,
        }
    }

    /// How much of the kept payload goes into a header extension.
    #[inline]
    pub(crate) const fn prefix_len(&self) -> usize {
        match self {
            Self::Av1(av1) => av1.len as usize,
            _ => 0,
        }
    }

    /// The offsets by which this frame's numbers follow the last of the stream.
    pub(crate) const fn offsets_after(&self, last: &Numbers) -> Offsets {
        match self {
            Self::None => Offsets { picture: 0, tl0: 0 },
            Self::Vp8(vp8) => Offsets {
                picture: last.picture_id.wrapping_add(1).wrapping_sub(vp8.picture_id),
                tl0: last.tl0.wrapping_add(1).wrapping_sub(vp8.tl0_picture_index),
            },
            Self::Vp9(vp9) => {
                let tl0 = match vp9.tl0_picture_index {
                    Some(index) => index,
                    None => 0,
                };
                Offsets {
                    picture: last.picture_id.wrapping_add(1).wrapping_sub(vp9.picture_id),
                    tl0: last.tl0.wrapping_add(1).wrapping_sub(tl0),
                }
            }
            Self::Av1(av1) => {
                Offsets { picture: last.frame_number.wrapping_add(1).wrapping_sub(av1.frame_number), tl0: 0 }
            }
        }
    }

    /// Notes the numbers of a packet that was sent.
    #[inline]
    pub(crate) fn note_sent(&self, offsets: &Offsets, last: &mut Numbers) {
        match self {
            Self::None => {}
            Self::Vp8(vp8) => {
                let vp8 = rewrite_vp8(vp8, offsets);
                last.picture_id = vp8.picture_id;
                last.tl0 = vp8.tl0_picture_index;
            }
            Self::Vp9(vp9) => {
                last.picture_id = vp9.picture_id.wrapping_add(offsets.picture) & PICTURE_ID_MASK;
                last.tl0 = vp9.tl0_picture_index.map_or(last.tl0, |tl0| tl0.wrapping_add(offsets.tl0));
            }
            Self::Av1(av1) => last.frame_number = av1.frame_number.wrapping_add(offsets.picture),
        }
    }

    /// Writes what stands before the payload. `out` has room for [`REWRITTEN_BYTES_MAX`].
    #[inline]
    pub(crate) fn write(&self, offsets: &Offsets, out: &mut [u8]) -> usize {
        match self {
            Self::None | Self::Av1(_) => 0,
            Self::Vp8(vp8) => {
                vp8::write_canonical(out, &rewrite_vp8(vp8, offsets));
                CANONICAL_DESCRIPTOR_LEN
            }
            Self::Vp9(vp9) => {
                let id = vp9.picture_id.wrapping_add(offsets.picture) | !PICTURE_ID_MASK;
                let [high, low] = id.to_be_bytes();
                out[..3].copy_from_slice(&[vp9.flags | vp9::flag::PICTURE_ID, high, low]);
                let tl0 = vp9.tl0_picture_index.map(|tl0| tl0.wrapping_add(offsets.tl0));
                let mut len = 3;
                for octet in [vp9.layers, tl0].into_iter().flatten() {
                    out[len] = octet;
                    len += 1;
                }
                len
            }
        }
    }
}

#[inline]
fn rewrite_vp8(vp8: &Vp8Meta, offsets: &Offsets) -> CanonicalDescriptor {
    CanonicalDescriptor {
        non_reference: vp8.non_reference,
        start_of_partition: vp8.start_of_partition,
        partition_index: vp8.partition_index,
        picture_id: vp8.picture_id.wrapping_add(offsets.picture) & PICTURE_ID_MASK,
        tl0_picture_index: vp8.tl0_picture_index.wrapping_add(offsets.tl0),
        temporal_id: vp8.temporal_id,
        layer_sync: vp8.layer_sync,
    }
}

/// A payload, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a> {
    pub(crate) descriptor: Descriptor,
    /// A stream can be entered here, or where the parameter sets of its picture are.
    pub(crate) entry_point: bool,
    /// It holds parameter sets of H264.
    pub(crate) holds_sets: bool,
    /// Nothing can be said of it before another packet has come.
    pub(crate) is_early: bool,
    /// Kept before the body: the bytes of a dependency descriptor.
    pub(crate) prefix: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<'a> Read<'a> {
    pub(crate) const fn opaque(body: &'a [u8]) -> Self {
        Self {
            descriptor: Descriptor::None,
            entry_point: false,
            holds_sets: false,
            is_early: false,
            prefix: &[],
            body,
        }
    }
}

/// What came of the H264 picture that had parameter sets or an IDR slice last.
#[derive(Clone, Copy, Debug)]
struct H264Picture {
    timestamp: Option<u32>,
    has_sets: bool,
    has_idr: bool,
}

impl H264Picture {
    const NONE: Self = Self { timestamp: None, has_sets: false, has_idr: false };
}

/// What is to be remembered of an encoding to read its packets, and what they told of its layers.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    codec: CodecName,
    pictures: PictureNumbers,
    structure: Option<Box<Structure>>,
    h264: H264Picture,
    /// Spatial layers there are.
    pub(crate) spatial_layers: u8,
    /// The most there were: others may be paused.
    pub(crate) spatial_most: u8,
    /// Pictures between keyframes of a layer need none of the layers below (K-SVC).
    pub(crate) is_independent: bool,
    /// Heights in pixels, of the last keyframe.
    pub(crate) heights: [Option<u16>; SPATIAL_MAX],
}

impl Reader {
    pub(crate) const fn new(codec: CodecName) -> Self {
        Self {
            codec,
            pictures: PictureNumbers::NEW,
            structure: None,
            h264: H264Picture::NONE,
            spatial_layers: 1,
            spatial_most: 1,
            is_independent: false,
            heights: [None; SPATIAL_MAX],
        }
    }

    pub(crate) const fn codec(&self) -> CodecName {
        self.codec
    }

    /// The structure of an AV1 stream's layers.
    pub(crate) fn structure(&self) -> Option<&Structure> {
        self.structure.as_deref()
    }

    /// Reads a payload that is not empty. What is not of its codec is passed on as an empty packet: no gap opens for
    /// anybody.
    #[inline]
    pub(crate) fn read<'a>(
        &mut self,
        payload: &'a [u8],
        dependency: Option<&'a [u8]>,
        timestamp: u32,
    ) -> Read<'a> {
        let read = match self.codec {
            CodecName::Opus => Some(Read { entry_point: true, ..Read::opaque(payload) }),
            CodecName::Vp8 => self.read_vp8(payload, timestamp),
            CodecName::Vp9 => self.read_vp9(payload, timestamp),
            CodecName::H264 => self.read_h264(payload, timestamp),
            CodecName::Av1 => self.read_av1(payload, dependency),
        };
        read.unwrap_or(Read::opaque(&[]))
    }

    fn read_vp8<'a>(&mut self, payload: &'a [u8], timestamp: u32) -> Option<Read<'a>> {
        let found = vp8::parse(payload).ok()?;
        let entry_point = vp8::is_keyframe(payload, &found);
        if entry_point {
            self.heights[0] = vp8::keyframe_size(payload, &found).map(|(_, height)| height);
        }
        let descriptor = Descriptor::Vp8(self.pictures.normalize_vp8(&found, timestamp));
        Some(Read { descriptor, entry_point, ..Read::opaque(&payload[found.len..]) })
    }

    fn read_vp9<'a>(&mut self, payload: &'a [u8], timestamp: u32) -> Option<Read<'a>> {
        let found = vp9::parse(payload).ok()?;
        let entry_point = found.is_keyframe_start();
        let spatial = found.spatial_id();
        if usize::from(spatial) >= SPATIAL_MAX {
            return None;
        }
        if found.spatial_layers > 0 {
            self.note_sizes(found.spatial_layers, &found.heights);
        }
        self.spatial_layers = self.spatial_layers.max(spatial + 1);
        self.spatial_most = self.spatial_most.max(self.spatial_layers);
        let (picture_id, _) = self.pictures.number(found.picture_id, timestamp);
        self.pictures.newest_is(picture_id, found.tl0_picture_index.unwrap_or_default());
        let meta = Vp9Meta {
            flags: found.flags,
            layers: found.layers,
            tl0_picture_index: found.tl0_picture_index,
            picture_id,
        };
        // With the others paused the lowest says nothing of it.
        if spatial == 0 && meta.is_inter_picture() && self.spatial_layers > 1 {
            self.is_independent = meta.is_not_for_upper();
        }
        let body = &payload[found.numbers_len..];
        Some(Read { descriptor: Descriptor::Vp9(meta), entry_point, ..Read::opaque(body) })
    }

    fn read_h264<'a>(&mut self, payload: &'a [u8], timestamp: u32) -> Option<Read<'a>> {
        let found = h264::parse(payload).ok()?;
        if let Some(height) = found.height {
            self.heights[0] = Some(height);
        }
        if self.h264.timestamp != Some(timestamp) && (found.has_sps || found.starts_idr) {
            self.h264 = H264Picture { timestamp: Some(timestamp), ..H264Picture::NONE };
        }
        let picture = &mut self.h264;
        let was_whole = picture.has_sets && picture.has_idr;
        picture.has_sets |= found.has_sps;
        picture.has_idr |= found.starts_idr;
        // An IDR slice is of no use without its parameter sets, which stand before it, and they tell of no keyframe without one.
        let entry_point = !was_whole && picture.has_sets && picture.has_idr;
        Some(Read { entry_point, holds_sets: found.has_sps, ..Read::opaque(payload) })
    }

    fn read_av1<'a>(&mut self, payload: &'a [u8], dependency: Option<&'a [u8]>) -> Option<Read<'a>> {
        let found = av1::parse(payload).ok()?;
        let Some(bytes) = dependency else {
            return Some(Read { entry_point: found.starts_sequence, ..Read::opaque(payload) });
        };
        let len = u8::try_from(bytes.len()).ok()?;
        let read = match dependency::parse(bytes, &mut self.structure) {
            Ok(read) => {
                self.note_layers(bytes, &read);
                read
            }
            Err(DependencyError::NoStructure) => return Some(Read { is_early: true, ..Read::opaque(&[]) }),
            // That of the structure after this one was overtaken, or is lost and will be asked for.
            Err(DependencyError::UnknownTemplate) => dependency::parse_without_structure(bytes).ok()?,
            Err(_) => return None,
        };
        if usize::from(read.spatial) >= SPATIAL_MAX {
            return None;
        }
        let meta = Av1Meta {
            indications: read.indications,
            references: read.references,
            frame_number: read.frame_number,
            spatial: read.spatial,
            temporal: read.temporal,
            ends_frame: read.end,
            len,
        };
        let entry_point = found.starts_sequence && read.start && dependency::has_structure(bytes);
        Some(Read { descriptor: Descriptor::Av1(meta), entry_point, prefix: bytes, ..Read::opaque(payload) })
    }

    fn note_layers(&mut self, bytes: &[u8], read: &dependency::Descriptor) {
        let Some(structure) = self.structure.as_deref() else { return };
        if dependency::has_structure(bytes) {
            let (count, heights) = (structure.top_spatial() + 1, structure.heights);
            self.note_sizes(count, &heights);
        } else if (read.spatial, read.temporal) == (0, 0)
            && !read.references.is_empty()
            && self.spatial_layers > 1
        {
            // A keyframe, in however many packets, is for the layers above in each mode.
            let best = structure.target_within(u8::MAX, u8::MAX).unwrap_or(0);
            self.is_independent = read.indications.of(best) == Indication::NotPresent;
        }
    }

    /// A keyframe tells which layers there are from it on, and how high. What is paused comes back as high as it was.
    fn note_sizes(&mut self, count: u8, heights: &[u16]) {
        self.spatial_layers = count.min(SPATIAL_MAX as u8);
        self.spatial_most = self.spatial_most.max(self.spatial_layers);
        for (known, height) in self.heights.iter_mut().zip(heights).take(usize::from(self.spatial_layers)) {
            *known = Some(*height).filter(|height| *height > 0);
        }
    }
}

/// Gives every picture a 15-bit id, continuous over the stream, whatever the publisher sends: 15 bits, 7 bits, or none at
/// all (RFC 7741 section 4.2 and RFC 9628 section 4.2 have all of them optional).
#[derive(Clone, Copy, Debug, Default)]
struct PictureNumbers {
    /// Recent frames without an id of their own, by timestamp.
    frames: [Option<(u32, u16, u8)>; 16],
    next_frame: u8,
    newest: Option<u32>,
    last_id: Option<u16>,
    last_tl0: Option<u8>,
}

impl PictureNumbers {
    const NEW: Self = Self { frames: [None; 16], next_frame: 0, newest: None, last_id: None, last_tl0: None };

    fn normalize_vp8(&mut self, descriptor: &Vp8Descriptor, timestamp: u32) -> Vp8Meta {
        let (picture_id, counted_tl0) =
            self.number(descriptor.picture_id.map(|id| (id.value, id.wide)), timestamp);
        // Without TL0PICIDX every frame is of the base layer, so that the index counts frames.
        let tl0_picture_index = descriptor.tl0_picture_index.or(counted_tl0).unwrap_or(picture_id as u8);
        self.newest_is(picture_id, tl0_picture_index);
        let (temporal_id, layer_sync) = descriptor.temporal.unwrap_or((0, false));
        Vp8Meta {
            picture_id,
            tl0_picture_index,
            temporal_id,
            layer_sync,
            non_reference: descriptor.non_reference,
            start_of_partition: descriptor.start_of_partition,
            partition_index: descriptor.partition_index,
        }
    }

    /// The 15-bit id of a picture, and a TL0PICIDX where both are counted here.
    fn number(&mut self, id: Option<(u16, bool)>, timestamp: u32) -> (u16, Option<u8>) {
        match id {
            Some((id, true)) => (id, None),
            Some((id, false)) => (self.widen(id), None),
            None => {
                let (id, tl0) = self.count(timestamp);
                (id, Some(tl0))
            }
        }
    }

    fn newest_is(&mut self, id: u16, tl0: u8) {
        if newer(id, self.last_id) {
            (self.last_id, self.last_tl0) = (Some(id), Some(tl0));
        }
    }

    /// A 7-bit id as the 15-bit one nearest to the last.
    fn widen(&self, id: u16) -> u16 {
        let Some(last) = self.last_id else { return id };
        let delta = (id.wrapping_sub(last) & 0x7f) as i16;
        let delta = if delta >= 64 { delta - 128 } else { delta };
        last.wrapping_add_signed(delta) & 0x7fff
    }

    /// The id and TL0PICIDX of the frame with this timestamp, the next ones if it is new.
    fn count(&mut self, timestamp: u32) -> (u16, u8) {
        if let Some((_, id, tl0)) = self.frames.iter().flatten().find(|(at, ..)| *at == timestamp) {
            return (*id, *tl0);
        }
        let before = self.newest.filter(|newest| timestamp.wrapping_sub(*newest).cast_signed() < 0);
        if before.is_some() {
            // A repair so late that its picture is forgotten: whatever its number, it is of before all that are known.
            let oldest = self.frames.iter().flatten().min_by_key(|(at, ..)| timestamp.wrapping_sub(*at));
            return oldest.map_or((0, 0), |(_, id, tl0)| (id.wrapping_sub(1) & 0x7fff, tl0.wrapping_sub(1)));
        }
        self.newest = Some(timestamp);
        let id = self.last_id.map_or(0, |id| (id + 1) & 0x7fff);
        let tl0 = self.last_tl0.map_or(0, |tl0| tl0.wrapping_add(1));
        self.frames[self.next_frame as usize % self.frames.len()] = Some((timestamp, id, tl0));
        self.next_frame = self.next_frame.wrapping_add(1);
        (id, tl0)
    }
}

/// Whether a 15-bit picture id comes after the last.
fn newer(id: u16, last: Option<u16>) -> bool {
    last.is_none_or(|last| (id.wrapping_sub(last) & 0x7fff) < 0x4000)
}
