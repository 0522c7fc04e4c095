//! The stamp: whose packet this is, the how manieth, and when it was sent.
//!
//! It is the tail of each payload: servers rewrite headers and the descriptors at the start, and none touches the tail.

use crate::client::SourceId;

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 28;
const MAGIC: [u8; 4] = *b"\xa5VsL";
const KEYFRAME: u8 = 1;
const DTX: u8 = 2;

/// What a packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose it is.
    pub source: SourceId,
    /// Which encoding.
    pub encoding: u8,
    /// Part of a keyframe.
    pub keyframe: bool,
    /// Comfort noise in a pause.
    pub dtx: bool,
    /// Which packet of its frame; 255 and all after it are told as 255.
    pub part: u8,
    /// Counts the packets of this encoding, from 0.
    pub counter: u64,
    /// When it was sent, in ns since the Unix epoch.
    pub sent_at_ns: u64,
}

impl Stamp {
    /// Writes it over the last [`STAMP_BYTES`] of `payload`; false, and nothing is written, if it is shorter.
    #[inline]
    pub fn write(&self, payload: &mut [u8]) -> bool {
        let Some(tail) = payload.last_chunk_mut::<STAMP_BYTES>() else { return false };
        let flags = if self.keyframe { KEYFRAME } else { 0 } | if self.dtx { DTX } else { 0 };
        tail[0..4].copy_from_slice(&MAGIC);
        tail[4..8].copy_from_slice(&self.source.0.to_be_bytes());
        tail[8..12].copy_from_slice(&[self.encoding, flags, self.part, 0]);
        tail[12..20].copy_from_slice(&self.counter.to_be_bytes());
        tail[20..28].copy_from_slice(&self.sent_at_ns.to_be_bytes());
        true
    }

    /// Reads it from the end of `payload`.
    #[inline]
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let tail = payload.last_chunk::<STAMP_BYTES>()?;
        let (magic, rest) = tail.split_first_chunk::<4>()?;
        let (source, rest) = rest.split_first_chunk::<4>()?;
        let (&[encoding, flags, part, _], rest) = rest.split_first_chunk::<4>()?;
        let (counter, rest) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC).then_some(Self {
            source: SourceId(u32::from_be_bytes(*source)),
            encoding,
            keyframe: flags & KEYFRAME != 0,
            dtx: flags & DTX != 0,
            part,
            counter: u64::from_be_bytes(*counter),
            sent_at_ns: u64::from_be_bytes(*rest.first_chunk()?),
        })
    }
}
