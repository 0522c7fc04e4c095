//! One received SSRC: its numbering, its gaps and who fills them, and whether its video can go on.

use vestibule_media_core::rtcp::ReportBlock;

use super::Kind;
use super::ledger::Ledger;
use crate::media::Stamp;

/// A gap is asked for after this: what comes a little late needs no help.
const NACK_DELAY_MICROS: u64 = 10_000;
/// Nor is it asked for more often than this, however short the path.
const NACK_RETRY_MICROS_MIN: u64 = 20_000;
const NACK_TRIES_MAX: u8 = 10;
/// Sequence numbers of one NACK message.
pub(super) const NACKED_AT_ONCE: usize = 128;
/// A longer gap is no loss but a stream that began anew.
const GAP_MAX: u64 = 1_000;
/// How long video may go without its keyframe before one is asked for, and how often.
const KEYFRAME_PATIENCE_MICROS: u64 = 200_000;
const KEYFRAME_RETRY_MICROS: u64 = 500_000;

/// A packet that did not come.
#[derive(Clone, Copy, Debug)]
struct Missing {
    index: u64,
    ask_at: u64,
    tries: u8,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    pub(super) kind: Kind,
    nack: bool,
    pub(super) ledger: Ledger,
    /// RTP packet indices.
    base: u64,
    highest: u64,
    came: u64,
    missing: Vec<Missing>,
    /// Video only: since when it lacks the keyframe to go on from.
    waiting_since: Option<u64>,
    asked_at: Option<u64>,
    /// What the last report said: expected and came.
    reported: (u64, u64),
    /// RFC 3550 appendix A.8, in units of the media clock, times 16.
    jitter: u32,
    transit: Option<u32>,
    pub(super) last_sender_report: Option<(u32, u64)>,
}

impl Stream {
    pub(super) fn new(ssrc: u32, kind: Kind, nack: bool, index: u64) -> Self {
        Self {
            ssrc,
            kind,
            nack,
            ledger: Ledger::default(),
            base: index,
            highest: index.wrapping_sub(1),
            came: 0,
            missing: Vec::new(),
            waiting_since: None,
            asked_at: None,
            reported: (0, 0),
            jitter: 0,
            transit: None,
            last_sender_report: None,
        }
    }

    /// Notes a packet's number and time; whether it is the newest so far.
    #[inline]
    pub(super) fn arrived(&mut self, index: u64, timestamp: u32, now: u64) -> bool {
        self.came += 1;
        self.note_jitter(timestamp, now);
        let ahead = index.wrapping_sub(self.highest);
        if ahead == 0 || ahead > u64::MAX / 2 {
            self.missing.retain(|missing| missing.index != index);
            return false;
        }
        if ahead > GAP_MAX {
            self.missing.clear();
        } else if self.kind == Kind::Video {
            let gap = 1..ahead;
            self.missing.extend(gap.map(|step| Missing {
                index: self.highest.wrapping_add(step),
                ask_at: now + NACK_DELAY_MICROS,
                tries: 0,
            }));
        }
        self.highest = index;
        true
    }

    #[inline]
    fn note_jitter(&mut self, timestamp: u32, now: u64) {
        let per_milli = match self.kind {
            Kind::Audio => 48,
            Kind::Video => 90,
        };
        let transit = ((now * per_milli / 1_000) as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            self.jitter = self.jitter.saturating_add(difference) - ((self.jitter + 8) >> 4);
        }
    }

    /// A retransmission of packet `sequence` came.
    pub(super) fn repaired(&mut self, sequence: u16) {
        self.missing.retain(|missing| missing.index as u16 != sequence);
    }

    /// Notes what a packet of video shows, before it goes into the books.
    #[inline]
    pub(super) fn shows(&mut self, stamp: &Stamp, newest: bool, now: u64) {
        if self.kind == Kind::Audio {
            return;
        }
        if stamp.keyframe && stamp.part == 0 {
            self.waiting_since = None;
        } else if newest && !self.ledger.continues(stamp) {
            self.waiting_since.get_or_insert(now);
        }
    }

    #[inline]
    pub(super) fn needs_feedback(&self) -> bool {
        !self.missing.is_empty() || self.waiting_since.is_some()
    }

    /// The sequence numbers to ask for now, and how many they are. What was asked for too often is given up, and where
    /// there is no NACK what does not come by itself.
    pub(super) fn nacks(&mut self, now: u64, rtt_micros: u64, out: &mut [u16; NACKED_AT_ONCE]) -> usize {
        let before = self.missing.len();
        let tries_max = if self.nack { NACK_TRIES_MAX } else { 0 };
        self.missing.retain(|missing| missing.tries < tries_max || now < missing.ask_at);
        if self.missing.len() < before {
            // Patience ended with the tries.
            self.waiting_since.get_or_insert(now.saturating_sub(KEYFRAME_PATIENCE_MICROS));
        }
        let retry = rtt_micros.max(NACK_RETRY_MICROS_MIN);
        let due = self.missing.iter_mut().filter(|missing| missing.ask_at <= now && self.nack);
        let mut count = 0;
        for (missing, out) in due.zip(out) {
            missing.tries += 1;
            missing.ask_at = now + retry;
            *out = missing.index as u16;
            count += 1;
        }
        count
    }

    /// Whether to ask for a keyframe now.
    pub(super) fn wants_keyframe(&mut self, now: u64) -> bool {
        let waits = self.waiting_since.is_some_and(|since| now >= since + KEYFRAME_PATIENCE_MICROS);
        let may = self.asked_at.is_none_or(|at| now >= at + KEYFRAME_RETRY_MICROS);
        if waits && may {
            self.asked_at = Some(now);
        }
        waits && may
    }

    /// The report block about this stream; `None` for retransmissions, and if nothing came since the last.
    pub(super) fn report(&mut self, now: u64) -> Option<ReportBlock> {
        let expected = self.highest.wrapping_sub(self.base).wrapping_add(1);
        let (expected_before, came_before) = std::mem::replace(&mut self.reported, (expected, self.came));
        let came = self.came - came_before;
        if came == 0 {
            return None;
        }
        let expected_since = expected.saturating_sub(expected_before);
        let lost_since = expected_since.saturating_sub(came);
        let fraction_lost = (lost_since * 256).checked_div(expected_since).unwrap_or(0).min(255) as u8;
        let (last_sender_report, told_at) = self.last_sender_report.unwrap_or((0, now));
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: expected.saturating_sub(self.came).min(0x7f_ffff) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter >> 4,
            last_sender_report,
            delay_since_last_sender_report: ((now - told_at.min(now)) * 65_536 / 1_000_000) as u32,
        })
    }
}
