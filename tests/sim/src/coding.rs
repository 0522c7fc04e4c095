//! Payload headers of each codec as browsers write them, around payloads that are only tags; and what a payload says, read
//! back.
//!
//! Layers: VP8 and H264 send each size in an encoding of its own. VP9 and AV1 send one stream with the spatial layers of
//! [`Scalability`](crate::synthetic::Scalability).

use vestibule_media_core::dependency::{self, DependencyError, Structure};
use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::{av1, h264, vp8, vp9};

use crate::client::PictureIds;
use crate::synthetic::{HEIGHTS, Tag, vp8_frame_start, vp8_tag};

/// How a codec's pictures come.
#[must_use]
pub const fn is_layered(codec: CodecName) -> bool {
    matches!(codec, CodecName::Vp9 | CodecName::Av1)
}

/// Writes what stands before the tag. `base` counts the pictures of the temporal base layer.
pub(crate) fn write_header(out: &mut Vec<u8>, codec: CodecName, ids: PictureIds, tag: &Tag) {
    match codec {
        CodecName::Opus => {}
        CodecName::Vp8 => {
            write_vp8(out, ids, tag);
            if tag.part == 0 {
                out.extend_from_slice(&vp8_frame_start(tag.keyframe, tag.encoding));
            }
        }
        CodecName::Vp9 => write_vp9(out, tag),
        CodecName::H264 => write_h264(out, tag),
        CodecName::Av1 => write_av1(out, tag),
    }
}

/// What belongs behind the tag: a unit that counts its bytes is closed.
pub(crate) fn close(out: &mut [u8], codec: CodecName, tag: &Tag) {
    if codec == CodecName::H264 && tag.keyframe && tag.part == 0 {
        let at = h264_sets(tag).len();
        let len = (out.len() - at - 2) as u16;
        out[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }
}

/// The payload descriptor of RFC 7741 section 4.2 as the publisher writes it.
fn write_vp8(out: &mut Vec<u8>, ids: PictureIds, tag: &Tag) {
    let start = if tag.part == 0 { 0x10 } else { 0 };
    match ids {
        PictureIds::Wide | PictureIds::Keyed => {
            let [high, low] = picture_id(tag).to_be_bytes();
            let unreferenced = if tag.temporal.is_discardable() { 0x20 } else { 0 };
            let layer = tag.temporal.id() << 6 | if tag.temporal.is_layer_sync() { 0x20 } else { 0 };
            let (has_key, key) = match ids {
                // Nobody is to see it: it need not count keyframes.
                PictureIds::Keyed => (0x10, tag.frame as u8 & 0x1f),
                _ => (0, 0),
            };
            let numbers = [0xe0 | has_key, 0x80 | high, low, tag.tl0, layer | key];
            out.push(0x80 | unreferenced | start);
            out.extend_from_slice(&numbers);
        }
        PictureIds::Narrow => {
            out.extend_from_slice(&[0x80 | start, 0x80, (tag.frame as u8).wrapping_add(100) & 0x7f]);
        }
        PictureIds::Absent => out.push(start),
    }
}

const fn picture_id(tag: &Tag) -> u16 {
    (tag.frame as u16).wrapping_add(32_700) & 0x7fff
}

/// RFC 9628 section 4.2.
fn write_vp9(out: &mut Vec<u8>, tag: &Tag) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let (first, last) = (tag.part == 0, tag.part + 1 == tag.parts);
    let is_top = tag.spatial + 1 == tag.scalability.layers;
    let is_flexible = tag.scalability.is_flexible;
    let has_structure = tag.keyframe && tag.spatial == 0 && first;
    let [high, low] = picture_id(tag).to_be_bytes();
    let is_sync = tag.keyframe || tag.temporal.is_layer_sync();
    out.extend_from_slice(&[
        0xa0 | flag(!tag.keyframe, 0x40)
            | flag(is_flexible, 0x10)
            | flag(first, 0x08)
            | flag(last, 0x04)
            | flag(has_structure, 0x02)
            | flag(is_top || !tag.layers_refer(), 0x01),
        0x80 | high,
        low,
        tag.temporal.id() << 5 | flag(is_sync, 0x10) | tag.spatial << 1 | flag(tag.needs_below(), 0x01),
    ]);
    if !is_flexible {
        out.push(tag.tl0);
    } else if !tag.keyframe {
        let references: Vec<u32> = tag.temporal.references().into_iter().filter(|back| *back > 0).collect();
        for (at, back) in references.iter().enumerate() {
            out.push((*back as u8) << 1 | flag(at + 1 < references.len(), 0x01));
        }
    }
    if has_structure {
        out.push((tag.scalability.layers - 1) << 5 | 0x10);
        for height in tag.heights() {
            out.extend_from_slice(&(height / 9 * 16).to_be_bytes());
            out.extend_from_slice(&height.to_be_bytes());
        }
    }
}

/// RFC 6184: parameter sets, behind a delimiter, with the first part of a keyframe in one STAP-A; the rest in pieces.
fn write_h264(out: &mut Vec<u8>, tag: &Tag) {
    if tag.keyframe && tag.part == 0 {
        out.extend_from_slice(&h264_sets(tag));
        // A unit of supplemental information, whose length is not known yet.
        out.extend_from_slice(&[0, 0, 0x06]);
        return;
    }
    let first = tag.part == 0 || (tag.keyframe && tag.part == 1);
    let last = tag.part + 1 == tag.parts;
    let unit = if tag.keyframe { 5 } else { 1 };
    out.extend_from_slice(&[0x7c, u8::from(first) << 7 | u8::from(last) << 6 | unit]);
}

fn h264_sets(tag: &Tag) -> Vec<u8> {
    let height = u32::from(HEIGHTS[usize::from(tag.encoding)]);
    let mut sps = Bits::default();
    sps.put(0x67, 8).put(0x42, 8).put(0xc0, 8).put(31, 8);
    sps.exp_golomb(0).exp_golomb(0).exp_golomb(2).exp_golomb(1).put(0, 1);
    sps.exp_golomb((height / 9 * 16).div_ceil(16) - 1).exp_golomb(height.div_ceil(16) - 1).put(0b11, 2);
    let cropped = (height.div_ceil(16) * 16 - height) / 2;
    sps.put(u32::from(cropped > 0), 1);
    if cropped > 0 {
        sps.exp_golomb(0).exp_golomb(0).exp_golomb(0).exp_golomb(cropped);
    }
    sps.put(0b01, 2);
    let mut out = vec![0x78];
    for unit in [&[0x09, 0xf0][..], &sps.bytes(), &[0x68, 0xce, 0x3c, 0x80]] {
        out.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        out.extend_from_slice(unit);
    }
    out
}

/// The aggregation header: one element, in pieces.
fn write_av1(out: &mut Vec<u8>, tag: &Tag) {
    let (continues, goes_on) = (tag.part > 0, tag.part + 1 < tag.parts);
    let begins = tag.keyframe && tag.part == 0 && tag.spatial == 0;
    out.push(u8::from(continues) << 7 | u8::from(goes_on) << 6 | 0x10 | u8::from(begins) << 3);
}

/// Frames of all layers are counted together.
const fn frame_number(tag: &Tag) -> u16 {
    (tag.frame as u16)
        .wrapping_mul(tag.spatial_most as u16)
        .wrapping_add(tag.spatial as u16)
        .wrapping_add(65_000)
}

/// The first template id of a structure with all layers. One with fewer has ids of its own, as libwebrtc's have: what is read by
/// the structure before is known to be none of it.
const TEMPLATE_OFFSET: u32 = 60;
const TEMPLATES_MAX: u32 = 9;
const NOT_PRESENT: u32 = 0;
const DISCARDABLE: u32 = 1;
const SWITCH: u32 = 2;
const REQUIRED: u32 = 3;

/// The dependency descriptor of a packet: templates by layer, references and a keyframe's indications its own.
pub(crate) fn dependency_descriptor(tag: &Tag) -> Vec<u8> {
    let (spatial_layers, temporal_layers) =
        (u32::from(tag.scalability.layers), u32::from(tag.temporal.layers));
    let (spatial, temporal) = (u32::from(tag.spatial), u32::from(tag.temporal.id()));
    let paused = u32::from(tag.spatial_most) - spatial_layers;
    let offset = (TEMPLATE_OFFSET + paused * TEMPLATES_MAX) % 64;
    let template = offset + spatial * temporal_layers + temporal;
    let has_structure = tag.keyframe && tag.part == 0 && tag.spatial == 0;
    let targets = || {
        (0..spatial_layers)
            .flat_map(move |spatial| (0..temporal_layers).map(move |temporal| (spatial, temporal)))
    };
    let mut bits = Bits::default();
    bits.put(u32::from(tag.part == 0), 1).put(u32::from(tag.part + 1 == tag.parts), 1);
    bits.put(template % 64, 6).put(frame_number(tag).into(), 16);
    bits.put(u32::from(has_structure), 1).put(0, 1).put(u32::from(tag.keyframe), 1).put(1, 1).put(0, 1);
    if has_structure {
        bits.put(offset, 6).put(spatial_layers * temporal_layers - 1, 5);
        for (_, temporal) in targets().skip(1) {
            bits.put(if temporal == 0 { 2 } else { 1 }, 2);
        }
        bits.put(3, 2);
        for own in targets() {
            for (target_spatial, target_temporal) in targets() {
                let indication = match own {
                    (spatial, temporal) if spatial > target_spatial || temporal > target_temporal => {
                        NOT_PRESENT
                    }
                    (spatial, _) if spatial < target_spatial => {
                        if tag.scalability.is_dependent {
                            REQUIRED
                        } else {
                            NOT_PRESENT
                        }
                    }
                    (_, 0) => SWITCH,
                    (_, temporal) if temporal == target_temporal => DISCARDABLE,
                    _ => SWITCH,
                };
                bits.put(indication, 2);
            }
        }
        for _ in targets() {
            bits.put(0, 1);
        }
        // No chains: ns(n) of 0 takes all bits but one of those n has.
        let values = spatial_layers * temporal_layers + 1;
        bits.put(0, u32::BITS - values.leading_zeros() - 1);
        bits.put(1, 1);
        for height in tag.heights() {
            bits.put(u32::from(height / 9 * 16) - 1, 16).put(u32::from(*height) - 1, 16);
        }
    }
    if tag.keyframe {
        for (target_spatial, _) in targets() {
            bits.put(
                match target_spatial.cmp(&spatial) {
                    std::cmp::Ordering::Less => NOT_PRESENT,
                    std::cmp::Ordering::Equal => SWITCH,
                    std::cmp::Ordering::Greater => REQUIRED,
                },
                2,
            );
        }
    } else {
        for back in tag.temporal.references().into_iter().filter(|back| *back > 0) {
            bits.put(1, 2).put(back * u32::from(tag.spatial_most) - 1, 4);
        }
    }
    if tag.needs_below() {
        bits.put(1, 2).put(0, 4);
    }
    bits.put(0, 2);
    bits.bytes()
}

/// Bits, one after the other.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, value: u32, bits: u32) -> &mut Self {
        self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn exp_golomb(&mut self, value: u32) -> &mut Self {
        let width = u32::BITS - (value + 1).leading_zeros();
        self.put(0, width - 1).put(value + 1, width)
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

/// What a payload says of its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) tag: Tag,
    pub(crate) codec: CodecName,
    /// Picture id, or the number of the frame.
    pub(crate) picture: Option<u16>,
    pub(crate) tl0: Option<u8>,
}

/// Reads a payload as it left for a subscriber.
///
/// # Errors
/// Says what of it was changed that may not be.
pub(crate) fn read(
    payload: &[u8],
    codec: CodecName,
    dependency: Option<&[u8]>,
    structure: &mut Option<Box<Structure>>,
) -> Result<Content, String> {
    let changed = || format!("a {} payload that was changed", codec.name());
    let (tag, picture, tl0) = match codec {
        CodecName::Opus => (Tag::read(payload).ok_or_else(changed)?, None, None),
        CodecName::Vp8 => read_vp8(payload)?,
        CodecName::Vp9 => read_vp9(payload)?,
        CodecName::H264 => {
            let found = h264::parse(payload).map_err(|error| error.to_string())?;
            let tag = h264_tag(payload).ok_or_else(changed)?;
            if found.has_sps != (tag.keyframe && tag.part == 0) {
                return Err("parameter sets where there are none, or none where they are".into());
            }
            (tag, None, None)
        }
        CodecName::Av1 => {
            let found = av1::parse(payload).map_err(|error| error.to_string())?;
            let tag = Tag::read(&payload[1..]).ok_or_else(changed)?;
            if found.starts_sequence != (tag.keyframe && tag.part == 0 && tag.spatial == 0) {
                return Err("a sequence that begins where none does".into());
            }
            let number = dependency.map(|bytes| read_dependency(bytes, &tag, structure)).transpose()?;
            (tag, number, None)
        }
    };
    Ok(Content { tag, codec, picture, tl0 })
}

type Numbered = (Tag, Option<u16>, Option<u8>);

fn read_vp8(payload: &[u8]) -> Result<Numbered, String> {
    let descriptor = vp8::parse(payload).map_err(|error| error.to_string())?;
    let picture = descriptor.picture_id.filter(|id| id.wide).ok_or("a picture id that vanished")?.value;
    let tl0 = descriptor.tl0_picture_index.ok_or("a TL0PICIDX that vanished")?;
    if descriptor.key_index.is_some() {
        return Err("a KEYIDX, which vanishes with the next who sends none".into());
    }
    let tag = vp8_tag(&payload[descriptor.len..]).ok_or("a VP8 payload that was changed")?;
    if vp8::is_keyframe(payload, &descriptor) != (tag.keyframe && tag.part == 0) {
        return Err("a keyframe that is none, or none that is one".into());
    }
    let layer = (tag.temporal.id(), tag.temporal.is_layer_sync());
    if tag.temporal.layers > 1 && descriptor.temporal != Some(layer) {
        return Err(format!("a temporal layer that was changed: {:?}, not {layer:?}", descriptor.temporal));
    }
    Ok((tag, Some(picture), Some(tl0)))
}

fn read_vp9(payload: &[u8]) -> Result<Numbered, String> {
    let descriptor = vp9::parse(payload).map_err(|error| error.to_string())?;
    let tag = Tag::read(&payload[descriptor.len..]).ok_or("a VP9 payload that was changed")?;
    let (picture, _) = descriptor.picture_id.filter(|(_, wide)| *wide).ok_or("a picture id that vanished")?;
    let tl0 = descriptor.tl0_picture_index;
    if tl0.is_none() != tag.scalability.is_flexible {
        return Err("a TL0PICIDX that vanished, or one in flexible mode".into());
    }
    let found = (descriptor.spatial_id(), descriptor.temporal_id(), descriptor.is_keyframe_start());
    let expected = (tag.spatial, tag.temporal.id(), tag.keyframe && tag.part == 0 && tag.spatial == 0);
    if found != expected {
        return Err(format!("layers that were changed: {found:?}, not {expected:?}"));
    }
    Ok((tag, Some(picture), tl0))
}

fn h264_tag(payload: &[u8]) -> Option<Tag> {
    if payload[0] & 0x1f == 28 {
        return Tag::read(payload.get(2..)?);
    }
    let mut rest = payload.get(1..)?;
    loop {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let (unit, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
        if after.is_empty() {
            return Tag::read(unit.get(1..)?);
        }
        rest = after;
    }
}

fn read_dependency(bytes: &[u8], tag: &Tag, structure: &mut Option<Box<Structure>>) -> Result<u16, String> {
    let found = match dependency::parse(bytes, structure) {
        // Its structure was lost or overtaken on the way to the server.
        Err(DependencyError::UnknownTemplate) => {
            let number = dependency::parse_without_structure(bytes).map(|found| found.frame_number);
            return number.map_err(|error| error.to_string());
        }
        found => found.map_err(|error| error.to_string())?,
    };
    let told = (found.spatial, found.temporal, found.start, found.end);
    let expected = (tag.spatial, tag.temporal.id(), tag.part == 0, tag.part + 1 == tag.parts);
    if told != expected {
        return Err(format!("a dependency descriptor that was changed: {told:?}, not {expected:?}"));
    }
    Ok(found.frame_number)
}

#[cfg(test)]
mod tests {
    use vestibule_media_core::time::Time;

    use super::*;
    use crate::synthetic::{Scalability, Temporal};

    /// What is written of nine pictures is read back.
    fn comes_back(codec: CodecName, scalability: Scalability) {
        let mut structure = None;
        for frame in 0..9 {
            for (spatial, part) in
                (0..scalability.layers).flat_map(|spatial| (0..3).map(move |part| (spatial, part)))
            {
                let tag = Tag {
                    part,
                    parts: 3,
                    keyframe: frame == 0,
                    encoding: 2,
                    spatial,
                    scalability,
                    spatial_most: scalability.layers,
                    temporal: Temporal::at(if codec == CodecName::H264 { 1 } else { 3 }, frame),
                    captured_at: Time::from_millis(33),
                    tl0: 7,
                    ..Tag::of_voice(frame, 0)
                };
                let mut payload = Vec::new();
                write_header(&mut payload, codec, PictureIds::Wide, &tag);
                tag.write(&mut payload, 200);
                close(&mut payload, codec, &tag);
                let dependency = (codec == CodecName::Av1).then(|| dependency_descriptor(&tag));
                let content = read(&payload, codec, dependency.as_deref(), &mut structure).unwrap();
                assert_eq!(content.tag, tag, "{codec:?}");
                if codec == CodecName::H264 && tag.keyframe && part == 0 {
                    assert_eq!(h264::parse(&payload).unwrap().height, Some(720));
                }
            }
        }
        let heights = structure.map(|structure| structure.heights);
        let expected = match scalability.layers {
            1 => [720, 0, 0, 0],
            2 => [180, 360, 0, 0],
            _ => [180, 360, 720, 0],
        };
        assert_eq!(heights, (codec == CodecName::Av1).then_some(expected));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for codec in [CodecName::Vp8, CodecName::H264] {
            comes_back(codec, Scalability::L1);
        }
        for codec in [CodecName::Vp9, CodecName::Av1] {
            for scalability in Scalability::ALL {
                comes_back(codec, scalability);
                comes_back(codec, scalability.flexible());
            }
        }
    }
}
