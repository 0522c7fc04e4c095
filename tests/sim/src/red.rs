//! Redundant audio (RFC 2198), read as strictly as a receiver that trusts nobody.

use crate::synthetic::Tag;

/// Bytes of the header of a redundant block, and of the primary's.
const BLOCK_HEADER: usize = 4;
const PRIMARY_HEADER: usize = 1;
/// F: another block header follows.
const FOLLOWS: u8 = 0x80;
const SAMPLES_PER_MS: u64 = 48;

/// The blocks of one packet.
#[derive(Clone, Debug)]
pub(crate) struct Red {
    /// The packet's own frame.
    pub(crate) primary: Tag,
    /// Earlier frames, oldest first.
    pub(crate) redundant: Vec<Tag>,
}

impl Red {
    /// Reads the payload of a packet whose blocks must all be of `payload_type`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn read(payload: &[u8], payload_type: u8) -> Result<Self, &'static str> {
        let mut headers = Vec::new();
        let mut at = 0;
        loop {
            let first = *payload.get(at).ok_or("block headers that are cut off")?;
            if first & !FOLLOWS != payload_type {
                return Err("a block that is not of the voice's codec");
            }
            if first & FOLLOWS == 0 {
                at += PRIMARY_HEADER;
                break;
            }
            let header = payload.get(at..at + BLOCK_HEADER).ok_or("block headers that are cut off")?;
            let offset = u16::from_be_bytes([header[1], header[2]]) >> 2;
            let len = usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x3ff);
            headers.push((offset, len));
            at += BLOCK_HEADER;
        }
        let mut blocks = Vec::new();
        for (offset, len) in headers {
            let block = payload.get(at..at + len).ok_or("a block longer than the packet")?;
            blocks.push((offset, Tag::read(block).ok_or("a redundant block that was changed")?));
            at += len;
        }
        let primary = Tag::read(&payload[at..]).ok_or("a primary block that was changed")?;
        for (offset, tag) in &blocks {
            let before_us = primary.captured_at.micros_since(tag.captured_at);
            if *offset == 0 || u64::from(*offset) != before_us * SAMPLES_PER_MS / 1_000 {
                return Err("a timestamp offset that is not the block's");
            }
            if (tag.ssrc, tag.peer) != (primary.ssrc, primary.peer) {
                return Err("a redundant block of somebody else");
            }
        }
        if !blocks.is_sorted_by(|(_, a), (_, b)| a.frame < b.frame) {
            return Err("redundant blocks that are not in order");
        }
        Ok(Self { primary, redundant: blocks.into_iter().map(|(_, tag)| tag).collect() })
    }
}

/// The payload of a packet with these frames, each with its timestamp, oldest first; the last is the packet's own.
pub(crate) fn payload(frames: &[(u32, &[u8])], payload_type: u8) -> Vec<u8> {
    let Some(((timestamp, own), earlier)) = frames.split_last() else { return Vec::new() };
    let mut out = Vec::new();
    for (at, frame) in earlier {
        let word = timestamp.wrapping_sub(*at) << 10 | frame.len() as u32;
        out.push(FOLLOWS | payload_type);
        out.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    out.push(payload_type);
    earlier.iter().for_each(|(_, frame)| out.extend_from_slice(frame));
    out.extend_from_slice(own);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::TAG_BYTES;

    fn packet(offsets: &[(u32, u16)], primary: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for (_, offset) in offsets {
            let word = u32::from(*offset) << 10 | TAG_BYTES as u32;
            out.push(FOLLOWS | 111);
            out.extend_from_slice(&word.to_be_bytes()[1..]);
        }
        out.push(111);
        for frame in offsets.iter().map(|(frame, _)| *frame).chain([primary]) {
            Tag::of_voice(frame, 20).write(&mut out, TAG_BYTES);
        }
        out
    }

    #[test]
    fn two_earlier_frames_are_read_and_what_is_wrong_is_told() {
        let red = Red::read(&packet(&[(3, 1_920), (4, 960)], 5), 111).expect("well-formed");
        assert_eq!((red.primary.frame, red.redundant.len(), red.redundant[0].frame), (5, 2, 3));
        assert!(Red::read(&packet(&[], 5), 111).is_ok());
        for (wrong, payload_type) in [
            (packet(&[(4, 961)], 5), 111),
            (packet(&[(4, 960), (3, 1_920)], 5), 111),
            (packet(&[(4, 960)], 5), 63),
            (packet(&[(4, 960)], 5)[..20].to_vec(), 111),
            (Vec::new(), 111),
        ] {
            assert!(Red::read(&wrong, payload_type).is_err());
        }
    }
}
