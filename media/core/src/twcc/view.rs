//! Reads a feedback message in place. Feedback is a large share of what an SFU spends, so the statuses are validated
//! once and then told without further checks on their meaning.

use super::symbol::{LARGE_DELTA, NOT_RECEIVED, SMALL_DELTA};
use super::{FIXED_LEN, TICK_MICROS};
use crate::bytes::{u16_at, u24_at};
use crate::rtcp::{RtcpError, TRANSPORT_LAYER_FEEDBACK};

const MALFORMED: RtcpError = RtcpError::Malformed { packet_type: TRANSPORT_LAYER_FEEDBACK };

/// One feedback message; all its chunks and deltas are known to be there.
#[derive(Clone, Copy, Debug)]
pub struct TwccView<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// A source of the transport the report is about.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first status.
    pub base_sequence: u16,
    /// Number of statuses.
    pub status_count: u16,
    /// The receiver's clock in units of 64 ms, 24 bits signed; wraps every twelve days.
    pub reference_time_64ms: i32,
    /// Running number of the message.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TwccView<'a> {
    /// Reads what follows the two SSRCs of a feedback message with format 15.
    pub(crate) fn parse(sender_ssrc: u32, media_ssrc: u32, control: &'a [u8]) -> Result<Self, RtcpError> {
        let (fixed, statuses) = control.split_first_chunk::<FIXED_LEN>().ok_or(RtcpError::Truncated)?;
        let status_count = u16_at(fixed, 2).ok_or(RtcpError::Truncated)?;
        let reference = u24_at(fixed, 4).ok_or(RtcpError::Truncated)?;
        let (chunks_len, deltas_len) = measure(statuses, status_count)?;
        let (chunks, deltas) = statuses.split_at_checked(chunks_len).ok_or(RtcpError::Truncated)?;
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            base_sequence: u16::from_be_bytes([fixed[0], fixed[1]]),
            status_count,
            reference_time_64ms: (reference << 8).cast_signed() >> 8,
            feedback_count: fixed[7],
            chunks,
            deltas: deltas.get(..deltas_len).ok_or(RtcpError::Truncated)?,
        })
    }

    /// Every status: the sequence number, and the arrival in microseconds after the reference time if it arrived.
    ///
    /// A hostile message of a few bytes can hold 65,535 of them; [`Self::received`] costs no more than its bytes.
    #[inline]
    #[must_use]
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            chunks: self.chunks,
            deltas: self.deltas,
            left: self.status_count,
            sequence: self.base_sequence,
            chunk: Chunk::EMPTY,
            arrival_ticks: 0,
        }
    }

    /// The packets that arrived: sequence number, and arrival in microseconds after the reference time. What lies
    /// between two of them, or between the base or the end and one of them, did not arrive.
    #[inline]
    #[must_use]
    pub fn received(&self) -> Received<'a> {
        Received { statuses: self.statuses() }
    }
}

/// How many bytes the chunks of `status_count` statuses take, and how many their deltas.
fn measure(statuses: &[u8], status_count: u16) -> Result<(usize, usize), RtcpError> {
    let mut left = status_count;
    let mut chunks_len = 0;
    let mut deltas_len = 0;
    while left > 0 {
        let chunk = Chunk::read(u16_at(statuses, chunks_len).ok_or(RtcpError::Truncated)?).clip(left);
        deltas_len += chunk.deltas_len().ok_or(MALFORMED)?;
        chunks_len += 2;
        left -= chunk.left;
    }
    Ok((chunks_len, deltas_len))
}

/// A packet status chunk in one form for all three: symbols of two bits from the top, taken one after the other, or
/// for a run the same one again and again.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    symbols: u32,
    left: u16,
    /// Bits to move on per symbol: two, or none in a run.
    step: u8,
}

impl Chunk {
    const EMPTY: Self = Self { symbols: 0, left: 0, step: 0 };

    #[inline]
    fn read(word: u16) -> Self {
        if word & 0x8000 == 0 {
            // Run length: two bits of symbol, thirteen of length.
            Self { symbols: u32::from(word & 0x6000) << 17, left: word & 0x1fff, step: 0 }
        } else if word & 0x4000 == 0 {
            // Fourteen symbols of one bit, spread to two.
            Self { symbols: spread(word & 0x3fff) << 4, left: 14, step: 2 }
        } else {
            Self { symbols: u32::from(word & 0x3fff) << 18, left: 7, step: 2 }
        }
    }

    /// Without the filler symbols after the last status of the message.
    #[inline]
    fn clip(self, left: u16) -> Self {
        Self { left: self.left.min(left), ..self }
    }

    /// Bytes of the deltas that belong to this chunk; `None` if it holds the reserved symbol.
    #[inline]
    fn deltas_len(self) -> Option<usize> {
        let symbols = if self.step == 0 {
            self.symbols
        } else {
            self.symbols & !(u32::MAX.checked_shr(u32::from(self.left) * 2).unwrap_or(0))
        };
        let large = (symbols >> 1) & 0x5555_5555;
        let small = symbols & 0x5555_5555;
        if large & small != 0 && self.left > 0 {
            return None;
        }
        let len = (small.count_ones() + 2 * large.count_ones()) as usize;
        Some(if self.step == 0 { len * usize::from(self.left) } else { len })
    }

    #[inline]
    fn take(&mut self) -> u8 {
        let symbol = (self.symbols >> 30) as u8;
        self.symbols <<= self.step;
        self.left -= 1;
        symbol
    }

    /// Passes over the packets at the front that did not arrive, and tells how many.
    #[inline]
    fn skip_not_received(&mut self) -> u16 {
        let skipped = match (self.step, self.symbols >> 30) {
            (0, 0) => self.left,
            (0, _) => 0,
            _ => (self.symbols.leading_zeros() as u16 / 2).min(self.left),
        };
        self.symbols = self.symbols.checked_shl(u32::from(skipped) * u32::from(self.step)).unwrap_or(0);
        self.left -= skipped;
        skipped
    }
}

/// `0b…cba` to `0b…0c0b0a`.
#[inline]
fn spread(bits: u16) -> u32 {
    let mut bits = u32::from(bits);
    bits = (bits | (bits << 8)) & 0x00ff_00ff;
    bits = (bits | (bits << 4)) & 0x0f0f_0f0f;
    bits = (bits | (bits << 2)) & 0x3333_3333;
    (bits | (bits << 1)) & 0x5555_5555
}

/// Iterator over all statuses of a message.
#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    /// Statuses in `chunks`, those of `chunk` not counted.
    left: u16,
    sequence: u16,
    chunk: Chunk,
    arrival_ticks: i64,
}

impl Statuses<'_> {
    /// Makes sure that `chunk` is not empty.
    #[inline]
    fn load(&mut self) -> Option<()> {
        while self.chunk.left == 0 {
            let (&word, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunks = rest;
            self.chunk = Chunk::read(u16::from_be_bytes(word)).clip(self.left);
            self.left -= self.chunk.left;
        }
        Some(())
    }

    #[inline]
    fn arrival(&mut self, symbol: u8) -> Option<i64> {
        let delta = match symbol {
            SMALL_DELTA => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                i64::from(*delta)
            }
            LARGE_DELTA => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                i64::from(i16::from_be_bytes(*delta))
            }
            _ => return None,
        };
        self.arrival_ticks += delta;
        Some(self.arrival_ticks * TICK_MICROS as i64)
    }
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<i64>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.load()?;
        let symbol = self.chunk.take();
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        if symbol == NOT_RECEIVED {
            return Some((sequence, None));
        }
        Some((sequence, self.arrival(symbol)))
    }
}

/// Iterator over the packets of a message that arrived.
#[derive(Clone, Debug)]
pub struct Received<'a> {
    statuses: Statuses<'a>,
}

impl Iterator for Received<'_> {
    type Item = (u16, i64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let statuses = &mut self.statuses;
        while statuses.chunk.left == 0 || statuses.chunk.symbols >> 30 == 0 {
            statuses.load()?;
            let skipped = statuses.chunk.skip_not_received();
            statuses.sequence = statuses.sequence.wrapping_add(skipped);
        }
        let symbol = statuses.chunk.take();
        let sequence = statuses.sequence;
        statuses.sequence = sequence.wrapping_add(1);
        Some((sequence, statuses.arrival(symbol)?))
    }

    /// The whole walk at once, which costs a third of going step by step: most of a report is a few long runs.
    #[inline]
    fn fold<B, F>(self, init: B, mut take: F) -> B
    where
        F: FnMut(B, Self::Item) -> B,
    {
        let mut statuses = self.statuses;
        let mut so_far = init;
        while statuses.load().is_some() {
            let Chunk { symbols, left, step } = statuses.chunk;
            let run = (step == 0 && symbols >> 30 == u32::from(SMALL_DELTA))
                .then(|| statuses.deltas.split_at_checked(left.into()))
                .flatten();
            if let Some((deltas, rest)) = run {
                let Statuses { sequence, arrival_ticks, .. } = &mut statuses;
                for delta in deltas {
                    *arrival_ticks += i64::from(*delta);
                    so_far = take(so_far, (*sequence, *arrival_ticks * TICK_MICROS as i64));
                    *sequence = sequence.wrapping_add(1);
                }
                statuses.deltas = rest;
                statuses.chunk = Chunk::EMPTY;
                continue;
            }
            while statuses.chunk.left > 0 {
                let skipped = statuses.chunk.skip_not_received();
                statuses.sequence = statuses.sequence.wrapping_add(skipped);
                if statuses.chunk.left == 0 {
                    break;
                }
                let symbol = statuses.chunk.take();
                let Some(arrival) = statuses.arrival(symbol) else { return so_far };
                so_far = take(so_far, (statuses.sequence, arrival));
                statuses.sequence = statuses.sequence.wrapping_add(1);
            }
        }
        so_far
    }
}
