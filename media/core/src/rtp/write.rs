//! Writes an RTP header into a packet buffer; on the path of every packet that leaves.

use super::FIXED_HEADER_LEN;
use super::extension::{PROFILE_ONE_BYTE, PROFILE_TWO_BYTE};

/// Offset of the first extension element: no CSRCs, four bytes of block header.
const ELEMENTS_START: usize = FIXED_HEADER_LEN + 4;

/// The block's length field has 16 bits and counts words of four bytes.
const ELEMENTS_END_MAX: usize = ELEMENTS_START + 0xffff * 4;

/// Writes the fixed header at once, then one extension element per call, then closes the block.
#[derive(Debug)]
pub struct HeaderWriter<'a> {
    out: &'a mut [u8],
    /// Where the next element goes; zero if there was no room for the fixed header.
    at: usize,
    two_byte: bool,
}

impl<'a> HeaderWriter<'a> {
    /// Writes the fixed header. `two_byte` chooses the two-byte form for all extension elements (RFC 8285 section 4.3),
    /// needed when an id is above 14 or a value is empty or longer than 16 bytes.
    #[inline]
    #[must_use]
    pub fn new(
        out: &'a mut [u8],
        payload_type: u8,
        marker: bool,
        sequence: u16,
        timestamp: u32,
        ssrc: u32,
        two_byte: bool,
    ) -> Self {
        let mut at = 0;
        if let Some(fixed) = out.first_chunk_mut::<FIXED_HEADER_LEN>() {
            let [s0, s1] = sequence.to_be_bytes();
            let [t0, t1, t2, t3] = timestamp.to_be_bytes();
            let [i0, i1, i2, i3] = ssrc.to_be_bytes();
            let second = (u8::from(marker) << 7) | (payload_type & 0x7f);
            *fixed = [0x80, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3];
            at = ELEMENTS_START;
        }
        Self { out, at, two_byte }
    }

    /// Adds one extension element and returns the offset of its value in the packet.
    ///
    /// `None`, and nothing is added, when the form cannot carry this id or length or there is no room.
    #[inline]
    pub fn extension(&mut self, id: u8, value: &[u8]) -> Option<usize> {
        let (prefix_len, allowed) = if self.two_byte {
            (2, id != 0 && value.len() <= 255)
        } else {
            (1, matches!(id, 1..=14) && matches!(value.len(), 1..=16))
        };
        let start = self.at + prefix_len;
        let end = start + value.len();
        // Room for the padding is part of the room for the element, so that `finish` cannot fail.
        if !allowed || self.at == 0 || end.next_multiple_of(4) > self.out.len().min(ELEMENTS_END_MAX) {
            return None;
        }
        let target = self.out.get_mut(self.at..end)?;
        if self.two_byte {
            target[0] = id;
            target[1] = value.len() as u8;
        } else {
            target[0] = (id << 4) | (value.len() - 1) as u8;
        }
        // Values of the usual lengths are stored without a call.
        match (&mut target[prefix_len..], value) {
            ([a], [x]) => *a = *x,
            ([a, b], [x, y]) => (*a, *b) = (*x, *y),
            ([a, b, c], [x, y, z]) => (*a, *b, *c) = (*x, *y, *z),
            (target, value) => target.copy_from_slice(value),
        }
        self.at = end;
        Some(start)
    }

    /// Closes the extension block, if any element was written, and returns the length of the header in bytes; zero if
    /// `out` had no room for the fixed header.
    #[inline]
    pub fn finish(self) -> usize {
        if self.at <= ELEMENTS_START {
            return if self.at == 0 { 0 } else { FIXED_HEADER_LEN };
        }
        let end = self.at.next_multiple_of(4);
        let words = (end - ELEMENTS_START) / 4;
        let Some(out) = self.out.get_mut(..end) else { return FIXED_HEADER_LEN };
        for padding in &mut out[self.at..] {
            *padding = 0;
        }
        out[0] |= 0x10;
        let profile = if self.two_byte { PROFILE_TWO_BYTE } else { PROFILE_ONE_BYTE };
        let block = (u32::from(profile) << 16) | words as u32;
        out[FIXED_HEADER_LEN..ELEMENTS_START].copy_from_slice(&block.to_be_bytes());
        end
    }
}
