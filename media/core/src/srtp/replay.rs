//! Where the numbering of each SSRC is: the guess of the rollover counter (RFC 3711 section 3.3.1) and the
//! replay window (section 3.3.2), in a table that never grows over its bound.
//!
//! Reading never changes anything; [`StreamTable::accept`] is for packets that have authenticated.

/// Indices below the highest that are still told apart. RFC 3711 asks for 64; retransmissions over a long
/// line need more.
pub(super) const WINDOW_BITS: u64 = 1_024;
const WORDS: usize = (WINDOW_BITS / 64) as usize;

/// The streams of one direction, by SSRC.
#[derive(Debug)]
pub(super) struct StreamTable {
    capacity: usize,
    /// Kept apart from `streams`, so that a search stays in two cache lines.
    ssrcs: Vec<u32>,
    streams: Vec<Stream>,
    /// Packets accepted so far; what `last_used` is measured in.
    clock: u64,
}

#[derive(Debug)]
struct Stream {
    window: ReplayWindow,
    last_used: u64,
}

impl StreamTable {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, ssrcs: Vec::new(), streams: Vec::new(), clock: 0 }
    }

    /// Where `ssrc` is, if it is known.
    #[inline]
    pub(super) fn find(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs.iter().position(|&known| known == ssrc)
    }

    /// The most likely index of a packet with this sequence number.
    #[inline]
    pub(super) fn estimate(&self, slot: Option<usize>, sequence: u16) -> u64 {
        match slot {
            Some(slot) => self.streams[slot].window.estimate(sequence),
            None => u64::from(sequence),
        }
    }

    /// Whether this index was accepted before, or is too old to tell.
    #[inline]
    pub(super) fn is_replay(&self, slot: Option<usize>, index: u64) -> bool {
        slot.is_some_and(|slot| self.streams[slot].window.is_replay(index))
    }

    /// Notes an authenticated packet. `slot` is what [`Self::find`] said for `ssrc`.
    #[inline]
    pub(super) fn accept(&mut self, slot: Option<usize>, ssrc: u32, index: u64) {
        self.clock += 1;
        match slot {
            Some(slot) => {
                let stream = &mut self.streams[slot];
                stream.window.accept(index);
                stream.last_used = self.clock;
            }
            None => self.insert(ssrc, index),
        }
    }

    /// Number of SSRCs remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ssrcs.len()
    }

    #[cold]
    fn insert(&mut self, ssrc: u32, index: u64) {
        let stream = Stream { window: ReplayWindow::starting_at(index), last_used: self.clock };
        if self.streams.len() < self.capacity {
            self.ssrcs.push(ssrc);
            self.streams.push(stream);
        } else if let Some(slot) = self.least_worth_keeping() {
            self.ssrcs[slot] = ssrc;
            self.streams[slot] = stream;
        }
    }

    /// The longest unused stream, first among those whose rollover counter is still 0: such a stream can be
    /// read again after it was forgotten, one that wrapped cannot.
    fn least_worth_keeping(&self) -> Option<usize> {
        (0..self.streams.len()).min_by_key(|&slot| {
            let stream = &self.streams[slot];
            (stream.window.highest >> 16 > 0, stream.last_used)
        })
    }
}

/// The highest index accepted, and which of the [`WINDOW_BITS`] up to it were.
///
/// A ring of bits: index `i` has bit `i mod WINDOW_BITS`, so moving the window clears only what it passes.
#[derive(Clone, Debug)]
struct ReplayWindow {
    highest: u64,
    seen: [u64; WORDS],
}

impl ReplayWindow {
    fn starting_at(index: u64) -> Self {
        let mut window = Self { highest: index, seen: [0; WORDS] };
        window.mark(index);
        window
    }

    /// The index with this sequence number that lies nearest to the highest one (RFC 3711 section 3.3.1).
    /// There is none before 0, so near the start of a stream it is taken to lie ahead.
    #[inline]
    fn estimate(&self, sequence: u16) -> u64 {
        let offset = sequence.wrapping_sub(self.highest as u16).cast_signed();
        self.highest.checked_add_signed(i64::from(offset)).unwrap_or(u64::from(sequence))
    }

    #[inline]
    fn is_replay(&self, index: u64) -> bool {
        if index > self.highest {
            return false;
        }
        self.highest - index >= WINDOW_BITS || self.seen[word(index)] & bit(index) != 0
    }

    #[inline]
    fn accept(&mut self, index: u64) {
        if index > self.highest {
            self.advance(index);
        }
        if self.highest - index < WINDOW_BITS {
            self.mark(index);
        }
    }

    #[inline]
    fn advance(&mut self, index: u64) {
        let step = index - self.highest;
        if step >= WINDOW_BITS {
            self.seen = [0; WORDS];
        } else {
            for passed in self.highest + 1..=index {
                self.seen[word(passed)] &= !bit(passed);
            }
        }
        self.highest = index;
    }

    #[inline]
    fn mark(&mut self, index: u64) {
        self.seen[word(index)] |= bit(index);
    }
}

#[inline]
const fn word(index: u64) -> usize {
    (index / 64) as usize % WORDS
}

#[inline]
const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_tells_new_from_seen_from_too_old() {
        let mut window = ReplayWindow::starting_at(5_000);
        assert!(window.is_replay(5_000));
        assert!(!window.is_replay(4_999));
        window.accept(4_999);
        assert!(window.is_replay(4_999));
        assert!(!window.is_replay(5_000 - WINDOW_BITS + 1));
        assert!(window.is_replay(5_000 - WINDOW_BITS));
        window.accept(5_700);
        assert!(window.is_replay(5_000));
        assert!(!window.is_replay(5_001));
        window.accept(5_700 + WINDOW_BITS);
        assert!(!window.is_replay(5_701));
        assert!(window.is_replay(5_700));
    }

    #[test]
    fn window_agrees_with_a_set_of_everything_seen() {
        use rand::rngs::StdRng;
        use rand::{RngExt, SeedableRng};
        let seed = 7;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut window = ReplayWindow::starting_at(0);
        let mut seen = std::collections::BTreeSet::from([0]);
        let mut highest = 0_u64;
        for step in 0..50_000 {
            let index = match rng.random_range(0..10) {
                0 => highest + rng.random_range(1..3_000),
                1..=4 => highest + 1,
                _ => highest.saturating_sub(rng.random_range(0..1_200)),
            };
            let expected = seen.contains(&index) || (index <= highest && highest - index >= WINDOW_BITS);
            assert_eq!(window.is_replay(index), expected, "seed {seed} step {step} index {index}");
            if !expected {
                window.accept(index);
                seen.insert(index);
                highest = highest.max(index);
            }
        }
    }

    #[test]
    fn estimate_takes_the_nearest_index() {
        let window = ReplayWindow::starting_at(0x0001_0005);
        assert_eq!(window.estimate(0xfffe), 0x0000_fffe);
        assert_eq!(window.estimate(6), 0x0001_0006);
        assert_eq!(ReplayWindow::starting_at(0x0001_fff0).estimate(3), 0x0002_0003);
        assert_eq!(ReplayWindow::starting_at(3).estimate(0xfff0), 0xfff0);
        assert_eq!(ReplayWindow::starting_at(0x7fff).estimate(0xfffe), 0xfffe);
    }

    #[test]
    fn a_full_table_forgets_the_longest_unused_and_spares_what_wrapped() {
        let mut table = StreamTable::new(3);
        table.accept(None, 1, 0x0001_0000);
        table.accept(None, 2, 10);
        table.accept(None, 3, 10);
        let two = table.find(2);
        table.accept(two, 2, 11);
        table.accept(None, 4, 10);
        assert_eq!(table.len(), 3);
        assert!(table.find(1).is_some() && table.find(2).is_some() && table.find(4).is_some());
        assert!(table.find(3).is_none());
    }
}
