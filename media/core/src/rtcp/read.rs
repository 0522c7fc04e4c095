//! Reads compound RTCP packets.

use super::{
    BYE, FEEDBACK_APPLICATION, FEEDBACK_FIR, FEEDBACK_NACK, FEEDBACK_PLI, FEEDBACK_TRANSPORT_CC, HEADER_LEN,
    PAYLOAD_SPECIFIC_FEEDBACK, RECEIVER_REPORT, REPORT_BLOCK_LEN, ReportBlock, RtcpError, SENDER_INFO_LEN,
    SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TRANSPORT_LAYER_FEEDBACK,
};
use crate::bytes::{u24_at, u32_at, u64_at};
use crate::time::NtpTime;
use crate::twcc::TwccView;

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum RtcpPacket<'a> {
    /// SR (RFC 3550 section 6.4.1).
    SenderReport {
        /// Who sends it.
        ssrc: u32,
        /// What it sent.
        info: SenderInfo,
        /// What it received.
        reports: ReportBlocks<'a>,
    },
    /// RR (RFC 3550 section 6.4.2).
    ReceiverReport {
        /// Who sends it.
        ssrc: u32,
        /// What it received.
        reports: ReportBlocks<'a>,
    },
    /// SDES (RFC 3550 section 6.5); its items are not read.
    SourceDescription,
    /// BYE (RFC 3550 section 6.6); its reason is not read.
    Bye {
        /// The sources that leave.
        ssrcs: ByeSources<'a>,
    },
    /// Generic NACK (RFC 4585 section 6.2.1).
    Nack {
        /// Who asks.
        sender_ssrc: u32,
        /// The source that lacks packets.
        media_ssrc: u32,
        /// Sequence numbers of the packets that are missing.
        lost: NackList<'a>,
    },
    /// Transport-wide congestion control feedback.
    TransportFeedback(TwccView<'a>),
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli {
        /// Who asks.
        sender_ssrc: u32,
        /// The source that shall send a keyframe.
        media_ssrc: u32,
    },
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir {
        /// Who asks.
        sender_ssrc: u32,
        /// The sources that shall send a keyframe.
        entries: FirEntries<'a>,
    },
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
    Remb {
        /// Who estimates.
        sender_ssrc: u32,
        /// Bits per second over all `ssrcs`, saturated.
        bitrate_bps: u64,
        /// The sources the estimate is about.
        ssrcs: RembSources<'a>,
    },
    /// Well-formed, and of no use to this server.
    Other {
        /// The packet's type.
        packet_type: u8,
    },
}

/// The packets of one decrypted datagram, in order; ends after the first error.
#[must_use]
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// Iterator over the packets of a compound.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = Framed::split(self.rest).and_then(|framed| {
            self.rest = framed.rest;
            framed.parse()
        });
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

/// One packet cut out of a compound.
struct Framed<'a> {
    /// Report count or feedback format.
    count: u8,
    packet_type: u8,
    /// What follows the header, without padding.
    body: &'a [u8],
    /// What follows the packet.
    rest: &'a [u8],
}

impl<'a> Framed<'a> {
    fn split(compound: &'a [u8]) -> Result<Self, RtcpError> {
        let (header, after) = compound.split_first_chunk::<HEADER_LEN>().ok_or(RtcpError::Truncated)?;
        if header[0] >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        let len = usize::from(u16::from_be_bytes([header[2], header[3]])) * 4;
        let (mut body, rest) = after.split_at_checked(len).ok_or(RtcpError::Truncated)?;
        if header[0] & 0x20 != 0 {
            let padding = usize::from(*body.last().ok_or(RtcpError::Padding)?);
            if padding == 0 || padding > body.len() {
                return Err(RtcpError::Padding);
            }
            body = &body[..body.len() - padding];
        }
        Ok(Self { count: header[0] & 0x1f, packet_type: header[1], body, rest })
    }

    fn parse(&self) -> Result<RtcpPacket<'a>, RtcpError> {
        let Self { count, packet_type, body, .. } = *self;
        match packet_type {
            SENDER_REPORT => sender_report(count, body),
            RECEIVER_REPORT => {
                let (ssrc, blocks) = body.split_first_chunk().ok_or(RtcpError::Truncated)?;
                let ssrc = u32::from_be_bytes(*ssrc);
                Ok(RtcpPacket::ReceiverReport { ssrc, reports: report_blocks(count, blocks)? })
            }
            SOURCE_DESCRIPTION => Ok(RtcpPacket::SourceDescription),
            BYE => {
                let words = body.get(..usize::from(count) * 4).ok_or(RtcpError::Truncated)?;
                Ok(RtcpPacket::Bye { ssrcs: ByeSources { words } })
            }
            TRANSPORT_LAYER_FEEDBACK | PAYLOAD_SPECIFIC_FEEDBACK => feedback(count, packet_type, body),
            _ => Ok(RtcpPacket::Other { packet_type }),
        }
    }
}

fn sender_report(count: u8, body: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let (fixed, blocks) = body.split_at_checked(4 + SENDER_INFO_LEN).ok_or(RtcpError::Truncated)?;
    let word = |at| u32_at(fixed, at).ok_or(RtcpError::Truncated);
    Ok(RtcpPacket::SenderReport {
        ssrc: word(0)?,
        info: SenderInfo {
            ntp: NtpTime(u64_at(fixed, 4).ok_or(RtcpError::Truncated)?),
            rtp: word(12)?,
            packets: word(16)?,
            bytes: word(20)?,
        },
        reports: report_blocks(count, blocks)?,
    })
}

/// What follows the blocks is a profile-specific extension and is not read.
fn report_blocks(count: u8, blocks: &[u8]) -> Result<ReportBlocks<'_>, RtcpError> {
    let blocks = blocks.get(..usize::from(count) * REPORT_BLOCK_LEN).ok_or(RtcpError::Truncated)?;
    Ok(ReportBlocks { blocks })
}

/// RFC 4585 section 6.1: sender, media source, then what the format says.
fn feedback(format: u8, packet_type: u8, body: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let sender_ssrc = u32_at(body, 0).ok_or(RtcpError::Truncated)?;
    let media_ssrc = u32_at(body, 4).ok_or(RtcpError::Truncated)?;
    let control = &body[8..];
    match (packet_type, format) {
        (TRANSPORT_LAYER_FEEDBACK, FEEDBACK_NACK) => {
            Ok(RtcpPacket::Nack { sender_ssrc, media_ssrc, lost: NackList::new(control) })
        }
        (TRANSPORT_LAYER_FEEDBACK, FEEDBACK_TRANSPORT_CC) => {
            Ok(RtcpPacket::TransportFeedback(TwccView::parse(sender_ssrc, media_ssrc, control)?))
        }
        (PAYLOAD_SPECIFIC_FEEDBACK, FEEDBACK_PLI) => Ok(RtcpPacket::Pli { sender_ssrc, media_ssrc }),
        (PAYLOAD_SPECIFIC_FEEDBACK, FEEDBACK_FIR) => {
            Ok(RtcpPacket::Fir { sender_ssrc, entries: FirEntries { entries: control } })
        }
        (PAYLOAD_SPECIFIC_FEEDBACK, FEEDBACK_APPLICATION) if control.starts_with(b"REMB") => {
            remb(sender_ssrc, &control[4..])
        }
        _ => Ok(RtcpPacket::Other { packet_type }),
    }
}

fn remb(sender_ssrc: u32, fields: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let (&[count, rate @ ..], ssrcs) = fields.split_first_chunk::<4>().ok_or(RtcpError::Truncated)?;
    let exponent = rate[0] >> 2;
    let mantissa = u64::from(u24_at(&rate, 0).ok_or(RtcpError::Truncated)? & 0x3_ffff);
    let fits = u32::from(exponent) <= mantissa.leading_zeros();
    // Zero has 64 leading zeros, and an exponent of 63 still shifts it to zero.
    let bitrate_bps = if fits { mantissa << exponent } else { u64::MAX };
    let words = ssrcs.get(..usize::from(count) * 4).ok_or(RtcpError::Truncated)?;
    Ok(RtcpPacket::Remb { sender_ssrc, bitrate_bps, ssrcs: RembSources { words } })
}

/// Iterator over report blocks.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    blocks: &'a [u8],
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    #[inline]
    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.blocks.split_first_chunk::<REPORT_BLOCK_LEN>()?;
        self.blocks = rest;
        let lost = u24_at(block, 5)?;
        Some(ReportBlock {
            ssrc: u32_at(block, 0)?,
            fraction_lost: block[4],
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            highest_sequence: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
            last_sender_report: u32_at(block, 16)?,
            delay_since_last_sender_report: u32_at(block, 20)?,
        })
    }
}

/// Iterator over the SSRCs of a BYE.
#[derive(Clone, Debug)]
pub struct ByeSources<'a> {
    words: &'a [u8],
}

impl Iterator for ByeSources<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        next_word(&mut self.words)
    }
}

/// Iterator over the SSRCs of a REMB.
#[derive(Clone, Debug)]
pub struct RembSources<'a> {
    words: &'a [u8],
}

impl Iterator for RembSources<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        next_word(&mut self.words)
    }
}

#[inline]
fn next_word(words: &mut &[u8]) -> Option<u32> {
    let (word, rest) = words.split_first_chunk::<4>()?;
    *words = rest;
    Some(u32::from_be_bytes(*word))
}

/// Iterator over the sequence numbers of a generic NACK, in the order they are written.
#[derive(Clone, Debug)]
pub struct NackList<'a> {
    entries: &'a [u8],
    /// The packet id of the entry being read, and which of the sixteen packets after it are still to be told.
    base: u16,
    following: u16,
}

impl<'a> NackList<'a> {
    fn new(entries: &'a [u8]) -> Self {
        Self { entries, base: 0, following: 0 }
    }
}

impl Iterator for NackList<'_> {
    type Item = u16;

    #[inline]
    fn next(&mut self) -> Option<u16> {
        if self.following != 0 {
            let bit = self.following.trailing_zeros() as u16;
            self.following &= self.following - 1;
            return Some(self.base.wrapping_add(bit + 1));
        }
        let (&[p0, p1, b0, b1], rest) = self.entries.split_first_chunk::<4>()?;
        self.entries = rest;
        self.base = u16::from_be_bytes([p0, p1]);
        self.following = u16::from_be_bytes([b0, b1]);
        Some(self.base)
    }
}

/// Iterator over the entries of a FIR: the SSRC that shall send a keyframe, and the command's sequence number.
#[derive(Clone, Debug)]
pub struct FirEntries<'a> {
    entries: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    #[inline]
    fn next(&mut self) -> Option<(u32, u8)> {
        let (entry, rest) = self.entries.split_first_chunk::<8>()?;
        self.entries = rest;
        Some((u32_at(entry, 0)?, entry[4]))
    }
}
