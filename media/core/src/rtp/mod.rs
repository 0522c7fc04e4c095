//! The RTP header (RFC 3550 section 5.1) with its extensions (RFC 8285): read in place, written in place.
//!
//! It knows one packet at a time: no stream, no key, no payload format. Headers stay readable while the payload is encrypted.

mod extension;
mod write;

use std::ops::Range;

pub use extension::{ExtensionIds, Extensions, uri};
pub use write::HeaderWriter;

use crate::bytes::{u16_at, u32_at};

/// Bytes of a header without CSRCs and extensions.
pub const FIXED_HEADER_LEN: usize = 12;

/// Why a packet is not RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The packet ends before its header does.
    #[error("RTP packet is cut off")]
    Truncated,
    /// The version is not 2.
    #[error("RTP version is not 2")]
    Version,
    /// The padding count is zero or larger than the payload.
    #[error("RTP padding count does not fit the payload")]
    Padding,
}

/// A parsed header. Offsets are into the packet it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// M.
    pub marker: bool,
    /// PT, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp, in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// P: the last byte of the decrypted payload counts the padding.
    pub has_padding: bool,
    /// Bytes of the header, CSRCs and extension block included.
    pub header_len: usize,
    /// Where the extension block is, if there is one.
    pub extension: Option<ExtensionBlock>,
}

/// A header extension block (RFC 3550 section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock {
    /// "Defined by profile": which form the elements have (RFC 8285).
    pub profile: u16,
    /// Offset of the first element.
    pub start: usize,
    /// Bytes of all elements, padding included; a multiple of four.
    pub len: usize,
}

impl RtpHeader {
    /// Reads the header of `packet`, whose payload may be encrypted.
    ///
    /// # Errors
    /// When the version is not 2 or the packet ends inside its header.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk().ok_or(RtpError::Truncated)?;
        if fixed[0] >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let mut header_len = FIXED_HEADER_LEN + usize::from(fixed[0] & 0x0f) * 4;
        let mut extension = None;
        if fixed[0] & 0x10 != 0 {
            let word = u32_at(packet, header_len).ok_or(RtpError::Truncated)?;
            let start = header_len + 4;
            let len = (word & 0xffff) as usize * 4;
            extension = Some(ExtensionBlock { profile: (word >> 16) as u16, start, len });
            header_len = start + len;
        }
        if header_len > packet.len() {
            return Err(RtpError::Truncated);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            has_padding: fixed[0] & 0x20 != 0,
            header_len,
            extension,
        })
    }

    /// The extension elements of `packet`, which must be the one this header was parsed from.
    #[inline]
    #[must_use]
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        match self.extension {
            Some(block) => Extensions::new(
                block.profile,
                packet.get(block.start..block.start + block.len).unwrap_or(&[]),
            ),
            None => Extensions::new(0, &[]),
        }
    }

    /// Where the payload of the decrypted packet is, padding taken off (RFC 3550 section 5.1). Empty for a padding-only packet.
    ///
    /// # Errors
    /// When `plaintext` is shorter than the header or the padding count does not fit.
    #[inline]
    pub fn payload(&self, plaintext: &[u8]) -> Result<Range<usize>, RtpError> {
        let Some(payload) = plaintext.get(self.header_len..) else { return Err(RtpError::Truncated) };
        if !self.has_padding {
            return Ok(self.header_len..plaintext.len());
        }
        let padding = usize::from(*payload.last().ok_or(RtpError::Padding)?);
        if padding == 0 || padding > payload.len() {
            return Err(RtpError::Padding);
        }
        Ok(self.header_len..plaintext.len() - padding)
    }
}

/// The original sequence number at the start of an RTX payload (RFC 4588 section 4); the rest is the original payload.
#[inline]
#[must_use]
pub fn rtx_original_sequence(payload: &[u8]) -> Option<u16> {
    u16_at(payload, 0)
}

#[cfg(test)]
mod tests;
