//! Redundant audio (RFC 2198): earlier frames of a voice that go along with each, built for one subscriber from the
//! source's ring.

use crate::bounds::PACKET_BYTES_MAX;
use crate::ring::{PacketMeta, PacketRing};

/// Earlier frames that may go along.
pub(crate) const REDUNDANCY_MAX: usize = 2;
/// Bytes of the header of an earlier block, and of the last one.
const BLOCK_HEADER_BYTES: usize = 4;
const LAST_HEADER_BYTES: usize = 1;
/// 14 bits of timestamp offset, 10 bits of length.
const OFFSET_MAX: u32 = (1 << 14) - 1;
/// What comes later than this after its time is of no use: 60 ms of Opus.
const LATE_MAX: u32 = 60 * 48;
/// Of a packet, what header, extensions, block headers and tag leave.
const REDUNDANT_BYTES_MAX: usize = PACKET_BYTES_MAX - 120;
const BLOCK_BYTES_MAX: usize = (1 << 10) - 1;

/// Earlier frames, oldest first: how long before, and what.
#[derive(Clone, Copy, Default)]
pub(crate) struct Redundancy<'a> {
    blocks: [Option<(u32, &'a [u8])>; REDUNDANCY_MAX],
}

/// What a packet carries behind its codec's header.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a> {
    pub(crate) redundancy: Redundancy<'a>,
    /// Payload type of all blocks of a redundant packet.
    pub(crate) primary: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Redundancy<'a> {
    /// Up to `distance` frames before this one, as far as they are in the ring and not before `first_in`, and fit into a
    /// packet with it.
    pub(crate) fn of(
        ring: &'a PacketRing,
        first_in: u64,
        meta: &PacketMeta,
        payload_len: usize,
        distance: u8,
    ) -> Self {
        let mut blocks = [None; REDUNDANCY_MAX];
        let mut room = REDUNDANT_BYTES_MAX.saturating_sub(payload_len);
        for back in (1..=u64::from(distance)).take(REDUNDANCY_MAX) {
            let index = meta.index.checked_sub(back).filter(|index| *index >= first_in);
            let Some((earlier, payload)) = index.and_then(|index| ring.get(index)) else { continue };
            let offset = meta.timestamp.wrapping_sub(earlier.timestamp);
            let fits = payload.len() <= BLOCK_BYTES_MAX.min(room) && !payload.is_empty();
            if offset > 0 && offset <= LATE_MAX && fits {
                room -= payload.len();
                blocks[REDUNDANCY_MAX - back as usize] = Some((offset, payload));
            }
        }
        Self { blocks }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.iter().all(Option::is_none)
    }

    fn blocks(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        self.blocks.into_iter().flatten()
    }
}

impl<'a> Body<'a> {
    pub(crate) fn plain(payload: &'a [u8]) -> Self {
        Self { redundancy: Redundancy::default(), primary: 0, payload }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        let headers = if self.redundancy.is_empty() { 0 } else { LAST_HEADER_BYTES };
        let earlier: usize =
            self.redundancy.blocks().map(|(_, payload)| BLOCK_HEADER_BYTES + payload.len()).sum();
        headers + earlier + self.payload.len()
    }

    /// Writes it; `out` has room for [`Self::len`]. Gives how much that was.
    #[inline]
    pub(crate) fn write(&self, out: &mut [u8]) -> usize {
        let mut at = 0;
        if !self.redundancy.is_empty() {
            for (offset, payload) in self.redundancy.blocks() {
                // F and payload type, then timestamp offset and length.
                let rest = (offset << 10) | payload.len() as u32;
                out[at] = 0x80 | self.primary;
                out[at + 1..at + BLOCK_HEADER_BYTES].copy_from_slice(&rest.to_be_bytes()[1..]);
                at += BLOCK_HEADER_BYTES;
            }
            out[at] = self.primary;
            at += LAST_HEADER_BYTES;
            for (_, payload) in self.redundancy.blocks() {
                out[at..at + payload.len()].copy_from_slice(payload);
                at += payload.len();
            }
        }
        out[at..at + self.payload.len()].copy_from_slice(self.payload);
        at + self.payload.len()
    }
}

/// A block of a redundant payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Of what it holds.
    pub payload_type: u8,
    /// How long before the packet's own timestamp, in its clock: 0 of its own.
    pub offset: u32,
    /// What it holds.
    pub payload: &'a [u8],
}

/// Blocks one packet may have.
pub const BLOCKS_MAX: usize = 8;

/// The blocks of a redundant payload, oldest first, and how many; the last is the packet's own. `None` if it is none.
#[must_use]
pub fn parse(payload: &[u8]) -> Option<([Block<'_>; BLOCKS_MAX], usize)> {
    let mut headers = [(0_u8, 0_u32, 0_usize); BLOCKS_MAX];
    let (mut rest, mut count) = (payload, 0);
    let last = loop {
        let (&first, behind) = rest.split_first()?;
        if first & 0x80 == 0 {
            rest = behind;
            break first;
        }
        let (header, behind) = rest.split_first_chunk::<BLOCK_HEADER_BYTES>()?;
        let word = u32::from_be_bytes(*header);
        *headers.get_mut(count).filter(|_| count + 1 < BLOCKS_MAX)? =
            (first & 0x7f, (word >> 10) & OFFSET_MAX, (word & 0x3ff) as usize);
        count += 1;
        rest = behind;
    };
    let mut blocks = [Block { payload_type: last, offset: 0, payload: &[] }; BLOCKS_MAX];
    for (block, (payload_type, offset, len)) in blocks.iter_mut().zip(&headers[..count]) {
        let (payload, behind) = rest.split_at_checked(*len)?;
        *block = Block { payload_type: *payload_type, offset: *offset, payload };
        rest = behind;
    }
    blocks[count].payload = rest;
    Some((blocks, count + 1))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;

    use super::*;
    use crate::testing::check;

    #[test]
    fn what_is_written_is_read_again() {
        let redundancy = Redundancy { blocks: [Some((1_920, &[1; 60])), Some((960, &[2; 70]))] };
        let body = Body { redundancy, primary: 111, payload: &[3; 80] };
        let mut out = [0; 400];
        let len = body.write(&mut out);
        assert_eq!(len, body.len());
        let (blocks, count) = parse(&out[..len]).unwrap();
        let read: Vec<_> =
            blocks[..count].iter().map(|b| (b.payload_type, b.offset, b.payload.len())).collect();
        assert_eq!(read, [(111, 1_920, 60), (111, 960, 70), (111, 0, 80)]);
        assert_eq!(blocks[1].payload, [2; 70]);
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        check(vec(any::<u8>(), 0..64), |payload| _ = parse(&payload));
    }

    #[test]
    fn what_is_cut_off_or_too_much_is_none() {
        let redundancy = Redundancy { blocks: [None, Some((960, &[2; 70]))] };
        let mut out = [0; 400];
        let len = Body { redundancy, primary: 111, payload: &[] }.write(&mut out);
        assert!(parse(&out[..len]).is_some_and(|(blocks, count)| blocks[count - 1].payload.is_empty()));
        for len in 0..len {
            assert!(parse(&out[..len]).is_none(), "{len}");
        }
        assert!(parse(&[0xff; 200]).is_none(), "no end to the headers");
    }
}
