//! Remembers when transport-wide sequence numbers arrived, until feedback has told the sender.

use super::symbol::{LARGE_DELTA, NOT_RECEIVED, SMALL_DELTA};
use super::{FIXED_LEN, TICK_MICROS, TICKS_PER_REFERENCE_SHIFT};
use crate::bounds::{RTCP_BYTES_MAX, TWCC_ARRIVALS, TWCC_STATUSES_PER_FEEDBACK_MAX};
use crate::rtcp::{FEEDBACK_TRANSPORT_CC, HEADER_LEN, RtcpFull, RtcpWriter, TRANSPORT_LAYER_FEEDBACK};
use crate::time::Time;

const _: () = assert!(TWCC_ARRIVALS.is_power_of_two() && TWCC_ARRIVALS <= 1 << 15);
const SLOT_MASK: usize = TWCC_ARRIVALS - 1;
/// Header, two SSRCs, fixed fields.
const CHUNKS_START: usize = HEADER_LEN + 8 + FIXED_LEN;
const CHUNK_LEN: usize = 2;
/// Chunks that one arrival and the gap before it can begin: what was open is closed by at most two, the gap is one run,
/// and the arrival opens one.
const CHUNKS_PER_ARRIVAL_MAX: usize = 4;

/// Records arrivals and writes feedback about them.
///
/// Every recorded packet is reported as received exactly once, duplicates are ignored. A packet that comes late, after
/// feedback passed over it, gets a message of its own that starts at it and ends before the next packet already
/// reported: the draft lets the base go back, and senders that were told 'not received' correct themselves. What is
/// older than the ring, or newer by more than the ring, is a sender that started anew: what was recorded is forgotten.
///
/// Empty until the first packet: a peer that only listens costs nothing.
#[derive(Clone, Debug, Default)]
pub struct TwccRecorder {
    ring: Option<Box<Ring>>,
    feedback_count: u8,
}

impl TwccRecorder {
    /// A recorder that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the packet with transport-wide sequence number `sequence` arrived at `now`.
    #[inline]
    pub fn record(&mut self, sequence: u16, now: Time) {
        // Arithmetic of time is modulo 2³² ticks of 250 µs: exactly where the 24-bit reference time wraps.
        let ticks = (now.as_micros() / TICK_MICROS) as u32;
        self.ring.get_or_insert_with(|| Box::new(Ring::starting_at(sequence))).record(sequence, ticks);
    }

    /// Whether an arrival waits to be reported.
    #[inline]
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.pending_count > 0)
    }

    /// Appends one feedback message to `writer`; call again while [`Self::has_pending`]. False if nothing was pending.
    ///
    /// `media_ssrc` must be a source the sender is really sending, or Chromium ignores the message.
    ///
    /// # Errors
    /// [`RtcpFull`] when `writer` has no room for a message about even one packet; nothing is lost.
    pub fn write_feedback(
        &mut self,
        writer: &mut RtcpWriter<'_>,
        sender_ssrc: u32,
        media_ssrc: u32,
    ) -> Result<bool, RtcpFull> {
        let Some(ring) = self.ring.as_mut() else { return Ok(false) };
        let Some(first) = ring.oldest_pending() else { return Ok(false) };
        let spare = writer.spare();
        let len = spare.len().min(RTCP_BYTES_MAX);
        let out = &mut spare[..len];
        let Some(mut message) = Message::new(out) else { return Err(RtcpFull) };
        let base = ring.base_for(first);
        let status_count = message.fill(ring, base, first)?;
        let ids = [sender_ssrc, media_ssrc];
        let len = message.finish(ids, base, status_count, self.feedback_count);
        self.feedback_count = self.feedback_count.wrapping_add(1);
        writer.commit(len);
        Ok(true)
    }
}

/// The last [`TWCC_ARRIVALS`] sequence numbers: for each whether it arrived, when, and whether that is still to be told.
#[derive(Clone, Debug)]
struct Ring {
    arrival_ticks: [u32; TWCC_ARRIVALS],
    received: Bits,
    pending: Bits,
    pending_count: u32,
    /// The highest sequence number that arrived.
    newest: u16,
    /// The first sequence number no feedback has covered.
    next: u16,
}

impl Ring {
    fn starting_at(sequence: u16) -> Self {
        Self {
            arrival_ticks: [0; TWCC_ARRIVALS],
            received: Bits::default(),
            pending: Bits::default(),
            pending_count: 0,
            newest: sequence,
            next: sequence,
        }
    }

    #[inline]
    fn record(&mut self, sequence: u16, ticks: u32) {
        let ahead = sequence.wrapping_sub(self.newest);
        if (1..TWCC_ARRIVALS as u16).contains(&ahead) {
            let passed = slot(self.newest.wrapping_add(1));
            self.received.clear_range(passed, ahead.into());
            self.pending_count -= self.pending.clear_range(passed, ahead.into());
            self.newest = sequence;
            // What was never covered and fell out of the ring is not going to be.
            if self.age(self.next) >= TWCC_ARRIVALS as u16 && self.age(self.next) < 0x8000 {
                self.next = sequence.wrapping_sub(TWCC_ARRIVALS as u16 - 1);
            }
        } else if self.age(sequence) >= TWCC_ARRIVALS as u16 {
            self.restart(sequence);
        }
        let slot = slot(sequence);
        if !self.received.get(slot) {
            self.received.set(slot);
            self.pending.set(slot);
            self.pending_count += 1;
            self.arrival_ticks[slot] = ticks;
        }
    }

    /// How many sequence numbers back from the newest.
    #[inline]
    fn age(&self, sequence: u16) -> u16 {
        self.newest.wrapping_sub(sequence)
    }

    fn restart(&mut self, sequence: u16) {
        self.received = Bits::default();
        self.pending = Bits::default();
        self.pending_count = 0;
        self.newest = sequence;
        self.next = sequence;
    }

    fn oldest_pending(&self) -> Option<u16> {
        if self.pending_count == 0 {
            return None;
        }
        let oldest = self.newest.wrapping_sub(SLOT_MASK as u16);
        let distance = self.pending.distance_to_next(slot(oldest))?;
        Some(oldest.wrapping_add(distance as u16))
    }

    /// Where a message whose first arrival is `first` starts: at the first sequence number not covered yet, so that
    /// what was lost in between is told too, or at a late arrival itself.
    fn base_for(&self, first: u16) -> u16 {
        let gap = first.wrapping_sub(self.next);
        if gap >= 0x8000 {
            return first;
        }
        first.wrapping_sub(gap.min(TWCC_STATUSES_PER_FEEDBACK_MAX - 1))
    }

    /// The next arrival after `sequence` and how far away it is, pending or not.
    fn next_received(&self, sequence: u16) -> Option<(u16, u16)> {
        let age = self.age(sequence);
        if age == 0 || age >= 0x8000 {
            return None;
        }
        let after = sequence.wrapping_add(1);
        let distance = self.received.distance_to_next(slot(after))? as u16 + 1;
        (distance <= age).then(|| (sequence.wrapping_add(distance), distance))
    }

    fn told(&mut self, sequence: u16) {
        let slot = slot(sequence);
        self.pending.clear(slot);
        self.pending_count -= 1;
        let after = sequence.wrapping_add(1);
        if after.wrapping_sub(self.next) < 0x8000 {
            self.next = after;
        }
    }
}

#[inline]
fn slot(sequence: u16) -> usize {
    usize::from(sequence) & SLOT_MASK
}

/// One bit per slot of the ring.
#[derive(Clone, Debug)]
struct Bits([u64; TWCC_ARRIVALS / 64]);

impl Default for Bits {
    fn default() -> Self {
        Self([0; TWCC_ARRIVALS / 64])
    }
}

impl Bits {
    #[inline]
    fn get(&self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 != 0
    }

    #[inline]
    fn set(&mut self, slot: usize) {
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    #[inline]
    fn clear(&mut self, slot: usize) {
        self.0[slot / 64] &= !(1 << (slot % 64));
    }

    /// Clears `len` bits from `start` on, going round, and tells how many were set.
    #[inline]
    fn clear_range(&mut self, start: usize, len: usize) -> u32 {
        let (mut at, mut left, mut cleared) = (start, len, 0);
        while left > 0 {
            let bit = at % 64;
            let step = left.min(64 - bit);
            let mask = (u64::MAX >> (64 - step)) << bit;
            let word = &mut self.0[(at / 64) % (TWCC_ARRIVALS / 64)];
            cleared += (*word & mask).count_ones();
            *word &= !mask;
            at += step;
            left -= step;
        }
        cleared
    }

    /// How far from `start`, going round, the next set bit is; zero if it is `start` itself.
    fn distance_to_next(&self, start: usize) -> Option<usize> {
        let words = self.0.len();
        let (first, bit) = (start / 64, start % 64);
        let head = self.0[first] >> bit;
        if head != 0 {
            return Some(head.trailing_zeros() as usize);
        }
        // The first word comes again at the end, for the bits below `start`; those above it are known to be clear.
        (1..=words).find_map(|step| {
            let word = self.0[(first + step) % words];
            (word != 0).then(|| step * 64 - bit + word.trailing_zeros() as usize)
        })
    }
}

/// A message under construction: chunks go to their place at once, deltas wait in a scratch buffer until it is known
/// where the chunks end.
struct Message<'a> {
    out: &'a mut [u8],
    chunks_end: usize,
    open: OpenChunk,
    deltas: [u8; RTCP_BYTES_MAX],
    deltas_len: usize,
    reference: u32,
}

impl<'a> Message<'a> {
    fn new(out: &'a mut [u8]) -> Option<Self> {
        (out.len() >= CHUNKS_START).then_some(Self {
            out,
            chunks_end: CHUNKS_START,
            open: OpenChunk::default(),
            deltas: [0; RTCP_BYTES_MAX],
            deltas_len: 0,
            reference: 0,
        })
    }

    /// Adds statuses from `base` on, whose first arrival is `first`, and marks them as told. Ends at the last arrival,
    /// at one that was told before, or where a bound says so. Returns the number of statuses.
    fn fill(&mut self, ring: &mut Ring, base: u16, first: u16) -> Result<u16, RtcpFull> {
        let mut previous_ticks = ring.arrival_ticks[slot(first)] & (u32::MAX << TICKS_PER_REFERENCE_SHIFT);
        self.reference = previous_ticks >> TICKS_PER_REFERENCE_SHIFT;
        let mut status_count = 0;
        let mut candidate = Some((first, first.wrapping_sub(base)));
        while let Some((sequence, lost)) = candidate {
            let slot = slot(sequence);
            let ticks = ring.arrival_ticks[slot];
            let delta = i16::try_from(ticks.wrapping_sub(previous_ticks).cast_signed());
            let total = status_count + lost + 1;
            if !ring.pending.get(slot) || total > TWCC_STATUSES_PER_FEEDBACK_MAX || !self.has_room() {
                break;
            }
            let Ok(delta) = delta else { break };
            self.push_lost(lost);
            self.push_arrival(delta);
            ring.told(sequence);
            previous_ticks = ticks;
            status_count = total;
            candidate = ring.next_received(sequence).map(|(next, distance)| (next, distance - 1));
        }
        if status_count == 0 { Err(RtcpFull) } else { Ok(status_count) }
    }

    /// Whether the worst arrival, with a gap before it, still fits.
    fn has_room(&self) -> bool {
        let len = self.chunks_end + CHUNKS_PER_ARRIVAL_MAX * CHUNK_LEN + self.deltas_len + 2;
        len.next_multiple_of(4) <= self.out.len()
    }

    fn push_lost(&mut self, mut count: u16) {
        while count > 0 {
            if self.open.is_run_of(NOT_RECEIVED) {
                // A gap is never longer than a run can tell.
                self.open.len += count;
                return;
            }
            self.push(NOT_RECEIVED);
            count -= 1;
        }
    }

    fn push_arrival(&mut self, delta: i16) {
        let bytes = delta.to_be_bytes();
        let (symbol, bytes) =
            if u8::try_from(delta).is_ok() { (SMALL_DELTA, &bytes[1..]) } else { (LARGE_DELTA, &bytes[..]) };
        self.push(symbol);
        if let Some(target) = self.deltas.get_mut(self.deltas_len..self.deltas_len + bytes.len()) {
            target.copy_from_slice(bytes);
            self.deltas_len += bytes.len();
        }
    }

    fn push(&mut self, symbol: u8) {
        while !self.open.takes(symbol) {
            self.close_chunk(false);
        }
        self.open.push(symbol);
    }

    fn close_chunk(&mut self, is_last: bool) {
        let word = self.open.close(is_last);
        if let Some(target) = self.out.get_mut(self.chunks_end..self.chunks_end + CHUNK_LEN) {
            target.copy_from_slice(&word.to_be_bytes());
            self.chunks_end += CHUNK_LEN;
        }
    }

    /// Writes the rest and returns the length. Zeros fill it up to a word, without the padding bit: that one belongs to
    /// the last packet of a compound only (RFC 3550 section 6.4.1), and this may not be it.
    fn finish(
        mut self,
        [sender, media]: [u32; 2],
        base: u16,
        status_count: u16,
        feedback_count: u8,
    ) -> usize {
        while self.open.len > 0 {
            self.close_chunk(true);
        }
        let deltas_end = self.chunks_end + self.deltas_len;
        let end = deltas_end.next_multiple_of(4);
        let words = (end / 4 - 1) as u16;
        let Some(out) = self.out.get_mut(..end) else { return 0 };
        out[self.chunks_end..deltas_end].copy_from_slice(&self.deltas[..self.deltas_len]);
        out[deltas_end..].fill(0);
        out[..2].copy_from_slice(&[0x80 | FEEDBACK_TRANSPORT_CC, TRANSPORT_LAYER_FEEDBACK]);
        out[2..4].copy_from_slice(&words.to_be_bytes());
        out[4..8].copy_from_slice(&sender.to_be_bytes());
        out[8..12].copy_from_slice(&media.to_be_bytes());
        out[12..14].copy_from_slice(&base.to_be_bytes());
        out[14..16].copy_from_slice(&status_count.to_be_bytes());
        let reference = (self.reference << 8) | u32::from(feedback_count);
        out[16..20].copy_from_slice(&reference.to_be_bytes());
        end
    }
}

/// The chunk that is being filled. Symbols go in as long as one of the three kinds of chunk can hold them all.
#[derive(Default)]
struct OpenChunk {
    /// Two bits each, the oldest in the lowest; only the first fourteen are kept, a longer chunk is a run.
    symbols: u32,
    len: u16,
    has_large: bool,
    is_mixed: bool,
}

impl OpenChunk {
    const RUN_MAX: u16 = 0x1fff;
    const ONE_BIT_MAX: u16 = 14;
    const TWO_BIT_MAX: u16 = 7;

    fn takes(&self, symbol: u8) -> bool {
        let fits_one_bit = self.len < Self::ONE_BIT_MAX && !self.has_large && symbol != LARGE_DELTA;
        self.len < Self::TWO_BIT_MAX
            || fits_one_bit
            || (self.len < Self::RUN_MAX && !self.is_mixed && self.at(0) == symbol)
    }

    /// Whether only a run can hold what is here, so that any number of further `symbol`s costs nothing.
    fn is_run_of(&self, symbol: u8) -> bool {
        self.len >= Self::ONE_BIT_MAX && !self.is_mixed && self.at(0) == symbol
    }

    fn push(&mut self, symbol: u8) {
        self.is_mixed |= self.len > 0 && self.at(0) != symbol;
        self.has_large |= symbol == LARGE_DELTA;
        if self.len < Self::ONE_BIT_MAX {
            self.symbols |= u32::from(symbol) << (2 * self.len);
        }
        self.len += 1;
    }

    fn at(&self, index: u16) -> u8 {
        (self.symbols >> (2 * index) & 3) as u8
    }

    /// The chunk that tells most of what is here; what it cannot tell stays open. Only the last chunk of a message may
    /// have fewer symbols than places.
    fn close(&mut self, is_last: bool) -> u16 {
        if !self.is_mixed {
            let word = (u16::from(self.at(0)) << 13) | self.len;
            *self = Self::default();
            return word;
        }
        if self.len == Self::ONE_BIT_MAX || (is_last && self.len > Self::TWO_BIT_MAX) {
            let word = (0..Self::ONE_BIT_MAX).fold(0, |word, index| (word << 1) | u16::from(self.at(index)));
            *self = Self::default();
            return 0x8000 | word;
        }
        let word = (0..Self::TWO_BIT_MAX).fold(0, |word, index| (word << 2) | u16::from(self.at(index)));
        let rest = Self { symbols: self.symbols, len: self.len, ..Self::default() };
        *self = Self::default();
        for index in Self::TWO_BIT_MAX..rest.len {
            self.push(rest.at(index));
        }
        0xc000 | word
    }
}
