//! Writes RTCP packets one after the other into one datagram.

use super::{
    BYE, FEEDBACK_APPLICATION, FEEDBACK_FIR, FEEDBACK_NACK, FEEDBACK_PLI, HEADER_LEN,
    PAYLOAD_SPECIFIC_FEEDBACK, RECEIVER_REPORT, REPORT_BLOCK_LEN, REPORTS_PER_PACKET_MAX, ReportBlock,
    RtcpFull, SENDER_INFO_LEN, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TRANSPORT_LAYER_FEEDBACK,
};

/// The type of a CNAME item (RFC 3550 section 6.5.1).
const ITEM_CNAME: u8 = 1;
const ITEM_BYTES_MAX: usize = 255;
const REMB_SSRCS_MAX: usize = 255;
const REMB_MANTISSA_BITS: u32 = 18;
/// Sender and media SSRC, at the start of every feedback message.
const FEEDBACK_SSRCS_LEN: usize = 8;

/// Appends packets to a datagram. Every method writes its packet whole or, when there is no room, not at all.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> RtcpWriter<'a> {
    /// A writer whose datagram may fill all of `out`.
    #[must_use]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// SR; reports above 31 follow in RRs of the same sender.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room for all of it.
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        reports: &[ReportBlock],
    ) -> Result<(), RtcpFull> {
        let (first, more) = reports.split_at(reports.len().min(REPORTS_PER_PACKET_MAX));
        let first_len = 4 + SENDER_INFO_LEN + first.len() * REPORT_BLOCK_LEN;
        self.need(HEADER_LEN + first_len + receiver_reports_len(more))?;
        let mut body = self.begin(first.len() as u8, SENDER_REPORT, first_len)?;
        body.u32(ssrc);
        body.bytes(&info.ntp.0.to_be_bytes());
        body.u32(info.rtp);
        body.u32(info.packets);
        body.u32(info.bytes);
        body.report_blocks(first);
        if more.is_empty() { Ok(()) } else { self.receiver_report(ssrc, more) }
    }

    /// RR, which may be empty; reports above 31 follow in further RRs.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room for all of it.
    pub fn receiver_report(&mut self, ssrc: u32, reports: &[ReportBlock]) -> Result<(), RtcpFull> {
        if reports.is_empty() {
            self.begin(0, RECEIVER_REPORT, 4)?.u32(ssrc);
            return Ok(());
        }
        self.need(receiver_reports_len(reports))?;
        for chunk in reports.chunks(REPORTS_PER_PACKET_MAX) {
            let mut body =
                self.begin(chunk.len() as u8, RECEIVER_REPORT, 4 + chunk.len() * REPORT_BLOCK_LEN)?;
            body.u32(ssrc);
            body.report_blocks(chunk);
        }
        Ok(())
    }

    /// SDES with one CNAME; a name above 255 bytes is cut off at a character.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room.
    pub fn cname(&mut self, ssrc: u32, cname: &str) -> Result<(), RtcpFull> {
        let name = &cname.as_bytes()[..cname.floor_char_boundary(ITEM_BYTES_MAX)];
        // At least one zero ends the chunk's items, and zeros fill it up to a word.
        let body_len = (4 + 2 + name.len() + 1).next_multiple_of(4);
        let mut body = self.begin(1, SOURCE_DESCRIPTION, body_len)?;
        body.u32(ssrc);
        body.bytes(&[ITEM_CNAME, name.len() as u8]);
        body.bytes(name);
        body.zeros();
        Ok(())
    }

    /// BYE of one source.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room.
    pub fn bye(&mut self, ssrc: u32) -> Result<(), RtcpFull> {
        self.begin(1, BYE, 4)?.u32(ssrc);
        Ok(())
    }

    /// Generic NACK for the sequence numbers `lost`, which must be in order (a wrap within them is in order) to take
    /// the least room. Writes nothing if there are none.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room for all of them.
    pub fn nack(&mut self, sender_ssrc: u32, media_ssrc: u32, lost: &[u16]) -> Result<(), RtcpFull> {
        if lost.is_empty() {
            return Ok(());
        }
        let entries_len = NackEntries { lost }.count() * 4;
        let mut body =
            self.begin(FEEDBACK_NACK, TRANSPORT_LAYER_FEEDBACK, FEEDBACK_SSRCS_LEN + entries_len)?;
        body.u32(sender_ssrc);
        body.u32(media_ssrc);
        for (packet_id, following) in (NackEntries { lost }) {
            body.u32((u32::from(packet_id) << 16) | u32::from(following));
        }
        Ok(())
    }

    /// PLI.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), RtcpFull> {
        let mut body = self.begin(FEEDBACK_PLI, PAYLOAD_SPECIFIC_FEEDBACK, FEEDBACK_SSRCS_LEN)?;
        body.u32(sender_ssrc);
        body.u32(media_ssrc);
        Ok(())
    }

    /// FIR to one source; `sequence` goes up by one with each new request to it.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room.
    pub fn fir(&mut self, sender_ssrc: u32, media_ssrc: u32, sequence: u8) -> Result<(), RtcpFull> {
        let mut body = self.begin(FEEDBACK_FIR, PAYLOAD_SPECIFIC_FEEDBACK, FEEDBACK_SSRCS_LEN + 8)?;
        body.u32(sender_ssrc);
        // RFC 5104 section 4.3.1.2: the media source is told per entry; here it is zero.
        body.u32(0);
        body.u32(media_ssrc);
        body.u32(u32::from(sequence) << 24);
        Ok(())
    }

    /// REMB of `bitrate_bps` bits per second, rounded down to 18 significant bits, over the first 255 of `ssrcs`.
    ///
    /// # Errors
    /// [`RtcpFull`] when there is no room.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32]) -> Result<(), RtcpFull> {
        let ssrcs = &ssrcs[..ssrcs.len().min(REMB_SSRCS_MAX)];
        let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(REMB_MANTISSA_BITS);
        let mantissa = (bitrate_bps >> exponent) as u32;
        let body_len = FEEDBACK_SSRCS_LEN + 8 + ssrcs.len() * 4;
        let mut body = self.begin(FEEDBACK_APPLICATION, PAYLOAD_SPECIFIC_FEEDBACK, body_len)?;
        body.u32(sender_ssrc);
        body.u32(0);
        body.bytes(b"REMB");
        body.u32(((ssrcs.len() as u32) << 24) | (exponent << REMB_MANTISSA_BITS) | mantissa);
        for ssrc in ssrcs {
            body.u32(*ssrc);
        }
        Ok(())
    }

    /// The room that is left, for a packet that is built in place and then taken over by [`Self::commit`].
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        self.out.get_mut(self.len..).unwrap_or(&mut [])
    }

    /// Takes over `len` bytes written to [`Self::spare`]; a whole number of words.
    pub(crate) fn commit(&mut self, len: usize) {
        debug_assert!(len.is_multiple_of(4) && len <= self.out.len() - self.len);
        self.len = (self.len + len).min(self.out.len());
    }

    fn need(&self, len: usize) -> Result<(), RtcpFull> {
        if len <= self.out.len() - self.len { Ok(()) } else { Err(RtcpFull) }
    }

    /// Writes a packet header and hands out the body, which has exactly `body_len` bytes, a multiple of four.
    fn begin(&mut self, count: u8, packet_type: u8, body_len: usize) -> Result<Body<'_>, RtcpFull> {
        let words = u16::try_from(body_len / 4).map_err(|_| RtcpFull)?;
        let packet = self.spare().get_mut(..HEADER_LEN + body_len).ok_or(RtcpFull)?;
        let [high, low] = words.to_be_bytes();
        packet[..HEADER_LEN].copy_from_slice(&[0x80 | count, packet_type, high, low]);
        self.len += HEADER_LEN + body_len;
        let end = self.len;
        Ok(Body { rest: &mut self.out[end - body_len..end] })
    }
}

fn receiver_reports_len(reports: &[ReportBlock]) -> usize {
    reports.len().div_ceil(REPORTS_PER_PACKET_MAX) * (HEADER_LEN + 4) + reports.len() * REPORT_BLOCK_LEN
}

/// The body of one packet, filled from the front; what would not fit is a bug of the length computed before it.
struct Body<'a> {
    rest: &'a mut [u8],
}

impl Body<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        let (target, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        target.copy_from_slice(bytes);
        self.rest = rest;
    }

    #[inline]
    fn u32(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn zeros(&mut self) {
        self.rest.fill(0);
    }

    fn report_blocks(&mut self, blocks: &[ReportBlock]) {
        for block in blocks {
            // RFC 3550 section 6.4.1: 24 bits signed, clamped, not wrapped.
            let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
            self.u32(block.ssrc);
            self.u32((u32::from(block.fraction_lost) << 24) | lost);
            self.u32(block.highest_sequence);
            self.u32(block.jitter);
            self.u32(block.last_sender_report);
            self.u32(block.delay_since_last_sender_report);
        }
    }
}

/// Packs sequence numbers into (packet id, bit mask of the sixteen that follow it) (RFC 4585 section 6.2.1).
struct NackEntries<'a> {
    lost: &'a [u16],
}

impl Iterator for NackEntries<'_> {
    type Item = (u16, u16);

    fn next(&mut self) -> Option<(u16, u16)> {
        let (&packet_id, rest) = self.lost.split_first()?;
        self.lost = rest;
        let mut following = 0;
        while let Some((&sequence, rest)) = self.lost.split_first() {
            match sequence.wrapping_sub(packet_id) {
                0 => {}
                distance @ 1..=16 => following |= 1 << (distance - 1),
                _ => break,
            }
            self.lost = rest;
        }
        Some((packet_id, following))
    }
}
