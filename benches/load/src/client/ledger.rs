//! Books on what one receiver got of one stream, by the counters in the stamps.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::client::{Loss, SourceId};
use crate::media::Stamp;

/// Which packets of each encoding were sent in a window, by their counters.
pub(super) type SentRanges = HashMap<(SourceId, u8), RangeInclusive<u64>>;

/// Counters below the highest for which is known whether they came.
const REMEMBERED: u64 = 512;

/// The books of one received SSRC: the stretch of one encoding it carries now, and the one before, whose late packets
/// may still come.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    current: Option<Stretch>,
    previous: Option<Stretch>,
    /// The last window of which something came.
    came_in: u32,
}

impl Ledger {
    /// Notes a packet as it was first sent. `newest`: its RTP packet index is the highest so far. `window` is the number
    /// of the window it was sent in, if it was in one. Returns what the books of `open` lose sight of.
    #[inline]
    pub(super) fn media(&mut self, stamp: &Stamp, newest: bool, window: Option<u32>, open: u32) -> Loss {
        let mut closed = Loss::default();
        self.came_in = window.unwrap_or(self.came_in);
        let stretch = match &mut self.current {
            Some(current) if current.is_of(stamp) => current,
            Some(_) if !newest => match &mut self.previous {
                Some(previous) if previous.is_of(stamp) => previous,
                _ => return closed,
            },
            current => {
                let ended = current.replace(Stretch::starting_with(stamp));
                if let Some(previous) = std::mem::replace(&mut self.previous, ended) {
                    closed = previous.loss(open, None);
                }
                match &mut self.current {
                    Some(current) => current,
                    None => return closed,
                }
            }
        };
        stretch.media(stamp.counter, window);
        closed
    }

    /// Notes a packet that came by retransmission.
    pub(super) fn repair(&mut self, stamp: &Stamp, window: Option<u32>) {
        self.came_in = window.unwrap_or(self.came_in);
        let stretches = [&mut self.current, &mut self.previous];
        if let Some(stretch) = stretches.into_iter().flatten().find(|stretch| stretch.is_of(stamp)) {
            stretch.repair(stamp.counter, window);
        }
    }

    /// Whether this stamp goes on with what the SSRC carries.
    #[inline]
    pub(super) fn continues(&self, stamp: &Stamp) -> bool {
        self.current.as_ref().is_some_and(|current| current.is_of(stamp))
    }

    /// Whose media the SSRC carries.
    pub(super) fn source(&self) -> Option<SourceId> {
        Some(self.current.as_ref()?.source)
    }

    /// What is in the books for this window, in which `sent` was sent.
    pub(super) fn loss(&self, window: u32, sent: &SentRanges) -> Loss {
        let mut loss = Loss::default();
        if let Some(current) = &self.current {
            // It is what the SSRC carries still: what was sent up to the end should have come.
            loss += current.loss(window, sent.get(&(current.source, current.encoding)));
        }
        if let Some(previous) = &self.previous {
            loss += previous.loss(window, None);
        }
        loss
    }

    /// Whether something sent in this window came, and no later window has begun.
    pub(super) const fn came_in(&self, window: u32) -> bool {
        self.came_in == window
    }
}

/// One encoding of one source between two switches.
#[derive(Debug)]
struct Stretch {
    source: SourceId,
    encoding: u8,
    /// The one that began it; whether those before it were sent here is not known.
    first: u64,
    highest: u64,
    came: Bits,
    repaired: Bits,
    /// The window the rest is about.
    window: u32,
    lowest_in_window: u64,
    highest_in_window: u64,
    came_in_window: u64,
    counts: Loss,
}

impl Stretch {
    fn starting_with(stamp: &Stamp) -> Self {
        Self {
            source: stamp.source,
            encoding: stamp.encoding,
            first: stamp.counter,
            highest: stamp.counter.wrapping_sub(1),
            came: Bits::default(),
            repaired: Bits::default(),
            window: 0,
            lowest_in_window: u64::MAX,
            highest_in_window: 0,
            came_in_window: 0,
            counts: Loss::default(),
        }
    }

    #[inline]
    fn is_of(&self, stamp: &Stamp) -> bool {
        self.source == stamp.source && self.encoding == stamp.encoding
    }

    #[inline]
    fn media(&mut self, counter: u64, window: Option<u32>) {
        let ahead = counter.wrapping_sub(self.highest);
        if ahead == 0 || ahead > u64::MAX / 2 {
            return self.late(counter, window);
        }
        self.advance(ahead);
        self.came.set(counter);
        self.in_window(counter, window, |stretch| stretch.came_in_window += 1);
    }

    fn late(&mut self, counter: u64, window: Option<u32>) {
        let forgotten = self.highest.wrapping_sub(counter) >= REMEMBERED;
        if !forgotten && self.came.get(counter) {
            return self.count(window, |counts| counts.duplicates += 1);
        }
        let repaired = !forgotten && self.repaired.get(counter);
        if !forgotten {
            self.came.set(counter);
        }
        self.in_window(counter, window, |stretch| {
            stretch.came_in_window += 1;
            stretch.counts.reordered += 1;
            if repaired {
                // It was not lost after all, and came twice.
                stretch.counts.recovered = stretch.counts.recovered.saturating_sub(1);
                stretch.counts.duplicates += 1;
            }
        });
    }

    fn repair(&mut self, counter: u64, window: Option<u32>) {
        let ahead = counter.wrapping_sub(self.highest);
        if ahead != 0 && ahead <= u64::MAX / 2 {
            // What was sent last was lost, and nothing has come since to tell.
            self.advance(ahead);
        } else if self.highest.wrapping_sub(counter) >= REMEMBERED {
            return;
        } else if self.came.get(counter) || self.repaired.get(counter) {
            return self.count(window, |counts| counts.duplicates += 1);
        }
        self.repaired.set(counter);
        self.in_window(counter, window, |stretch| stretch.counts.recovered += 1);
    }

    #[inline]
    fn advance(&mut self, ahead: u64) {
        for passed in 1..=ahead.min(REMEMBERED) {
            let counter =
                self.highest.wrapping_add(ahead).wrapping_sub(ahead.min(REMEMBERED)).wrapping_add(passed);
            self.came.clear(counter);
            self.repaired.clear(counter);
        }
        self.highest = self.highest.wrapping_add(ahead);
    }

    #[inline]
    fn in_window(&mut self, counter: u64, window: Option<u32>, count: impl FnOnce(&mut Self)) {
        if let Some(window) = window {
            self.enter(window);
            self.lowest_in_window = self.lowest_in_window.min(counter);
            self.highest_in_window = self.highest_in_window.max(counter);
            count(self);
        }
    }

    fn count(&mut self, window: Option<u32>, count: impl FnOnce(&mut Loss)) {
        if let Some(window) = window {
            self.enter(window);
            count(&mut self.counts);
        }
    }

    #[inline]
    fn enter(&mut self, window: u32) {
        if self.window != window {
            self.window = window;
            (self.lowest_in_window, self.highest_in_window) = (u64::MAX, 0);
            self.came_in_window = 0;
            self.counts = Loss::default();
        }
    }

    /// The first and the last that came of what was sent in a window.
    fn came(&self, window: u32) -> Option<(u64, u64)> {
        let some_came = window == self.window && self.lowest_in_window <= self.highest_in_window;
        some_came.then_some((self.lowest_in_window, self.highest_in_window))
    }

    /// `sent` is what was sent of it in the window, where it is known and all of it should have come.
    fn loss(&self, window: u32, sent: Option<&RangeInclusive<u64>>) -> Loss {
        let range = match (self.came(window), sent) {
            // Of a stretch that began within the window, what was sent before it went elsewhere.
            (Some((lowest, highest)), Some(sent)) => {
                Some(((*sent.start()).max(self.first).min(lowest), (*sent.end()).max(highest)))
            }
            (None, Some(sent)) if self.first <= *sent.end() => {
                Some(((*sent.start()).max(self.first), *sent.end()))
            }
            (came, _) => came,
        };
        let expected = range.map_or(0, |(first, last)| last - first + 1);
        let is_open = window == self.window;
        let (came, counts) = if is_open { (self.came_in_window, self.counts) } else { (0, Loss::default()) };
        Loss { expected, lost: expected - came.min(expected), ..counts }
    }
}

/// One bit for each of the [`REMEMBERED`] counters up to the highest.
#[derive(Clone, Debug, Default)]
struct Bits([u64; (REMEMBERED / 64) as usize]);

impl Bits {
    #[inline]
    const fn get(&self, counter: u64) -> bool {
        self.0[Self::word(counter)] >> (counter % 64) & 1 != 0
    }

    #[inline]
    const fn set(&mut self, counter: u64) {
        self.0[Self::word(counter)] |= 1 << (counter % 64);
    }

    #[inline]
    const fn clear(&mut self, counter: u64) {
        self.0[Self::word(counter)] &= !(1 << (counter % 64));
    }

    #[inline]
    const fn word(counter: u64) -> usize {
        (counter % REMEMBERED / 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(encoding: u8, counter: u64) -> Stamp {
        Stamp { source: SourceId(1), encoding, keyframe: false, dtx: false, part: 0, counter, sent_at_ns: 0 }
    }

    #[test]
    fn what_never_came_is_lost_and_what_was_sent_again_recovered() {
        let mut ledger = Ledger::default();
        for counter in (0..10_000).filter(|counter| counter % 100 != 50) {
            assert_eq!(ledger.media(&stamp(0, counter), true, Some(1), 1), Loss::default());
            if counter % 200 == 60 {
                ledger.repair(&stamp(0, counter - 10), Some(1));
            }
        }
        let loss = ledger.loss(1, &SentRanges::new());
        assert_eq!((loss.expected, loss.lost, loss.recovered), (10_000, 100, 50));
        assert_eq!(loss.unrecovered(), 50);
        assert!((loss.ratio() - 0.01).abs() < f64::EPSILON);
        assert_eq!(ledger.loss(2, &SentRanges::new()), Loss::default(), "of another window nothing is known");
    }

    #[test]
    fn order_and_repetition_are_told_apart_from_loss() {
        let mut ledger = Ledger::default();
        for counter in [5, 6, 9, 7, 8, 8, 10] {
            ledger.media(&stamp(0, counter), true, Some(1), 1);
        }
        ledger.repair(&stamp(0, 10), Some(1));
        let loss = ledger.loss(1, &SentRanges::new());
        assert_eq!((loss.expected, loss.lost), (6, 0));
        assert_eq!((loss.reordered, loss.duplicates), (2, 2));
    }

    #[test]
    fn a_packet_that_comes_after_its_repair_was_not_lost() {
        let mut ledger = Ledger::default();
        for counter in [1, 3] {
            ledger.media(&stamp(0, counter), true, Some(1), 1);
        }
        ledger.repair(&stamp(0, 2), Some(1));
        assert_eq!(
            (ledger.loss(1, &SentRanges::new()).lost, ledger.loss(1, &SentRanges::new()).recovered),
            (1, 1)
        );
        ledger.media(&stamp(0, 2), false, Some(1), 1);
        assert_eq!(
            (ledger.loss(1, &SentRanges::new()).lost, ledger.loss(1, &SentRanges::new()).recovered),
            (0, 0)
        );
        assert_eq!(ledger.loss(1, &SentRanges::new()).duplicates, 1);
    }

    #[test]
    fn a_switch_of_encodings_is_no_loss_and_late_packets_of_the_old_one_count() {
        let mut ledger = Ledger::default();
        for counter in [10, 12] {
            ledger.media(&stamp(0, counter), true, Some(1), 1);
        }
        for counter in [1_000, 1_001] {
            ledger.media(&stamp(1, counter), true, Some(1), 1);
        }
        assert_eq!(
            (ledger.loss(1, &SentRanges::new()).expected, ledger.loss(1, &SentRanges::new()).lost),
            (5, 1)
        );
        ledger.media(&stamp(0, 11), false, Some(1), 1);
        assert!(ledger.continues(&stamp(1, 1_002)));
        assert_eq!(
            (ledger.loss(1, &SentRanges::new()).expected, ledger.loss(1, &SentRanges::new()).lost),
            (5, 0)
        );
        // The third stretch closes the books of the first.
        let closed = ledger.media(&stamp(2, 7), true, Some(1), 1);
        assert_eq!((closed.expected, closed.reordered), (3, 1));
    }

    #[test]
    fn a_window_counts_what_was_sent_in_it() {
        let mut ledger = Ledger::default();
        ledger.media(&stamp(0, 1), true, None, 1);
        for counter in [3, 4, 6] {
            ledger.media(&stamp(0, counter), true, Some(1), 1);
        }
        ledger.media(&stamp(0, 8), true, Some(2), 1);
        assert_eq!(
            (ledger.loss(2, &SentRanges::new()).expected, ledger.loss(2, &SentRanges::new()).lost),
            (1, 0)
        );
        ledger.media(&stamp(0, 9), true, None, 1);
        assert_eq!(
            (ledger.loss(2, &SentRanges::new()).expected, ledger.loss(2, &SentRanges::new()).lost),
            (1, 0)
        );
    }

    fn sent(range: RangeInclusive<u64>) -> SentRanges {
        SentRanges::from([((SourceId(1), 0), range)])
    }

    #[test]
    fn what_was_sent_to_the_end_of_the_window_should_have_come() {
        let mut ledger = Ledger::default();
        for counter in 5..10 {
            ledger.media(&stamp(0, counter), true, Some(1), 1);
        }
        let loss = ledger.loss(1, &sent(5..=29));
        assert_eq!((loss.expected, loss.lost), (25, 20), "the stream stopped in the middle");
        let loss = ledger.loss(2, &sent(30..=59));
        assert_eq!((loss.expected, loss.lost), (30, 30), "nothing came any more");
        assert!(ledger.came_in(1) && !ledger.came_in(2));
        // Whoever comes after the window, layer by layer, takes nothing of that back.
        for encoding in 1..4 {
            ledger.media(&stamp(encoding, 40), true, None, 1);
        }
        assert!(ledger.came_in(1));
    }

    #[test]
    fn what_was_sent_from_the_beginning_of_the_window_should_have_come() {
        let mut ledger = Ledger::default();
        ledger.media(&stamp(0, 3), true, None, 1);
        ledger.media(&stamp(0, 12), true, Some(1), 1);
        assert_eq!((ledger.loss(1, &sent(10..=12)).expected, ledger.loss(1, &sent(10..=12)).lost), (3, 2));
    }

    #[test]
    fn who_was_shown_a_source_later_misses_nothing_of_before() {
        let mut ledger = Ledger::default();
        ledger.media(&stamp(0, 20), true, Some(1), 1);
        assert_eq!((ledger.loss(1, &sent(10..=20)).expected, ledger.loss(1, &sent(10..=20)).lost), (1, 0));
    }
}
