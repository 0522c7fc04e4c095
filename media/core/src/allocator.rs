//! Who gets how much of a subscriber's line: a voice first, then a picture of everybody, then better ones by rank.
//!
//! Pure: rungs, ranks and a budget come in, one rung for each slot comes out. A rung is an encoding and how many of its
//! temporal layers are sent; they are in order from the poorest picture to the best.

use crate::bounds::ENCODINGS_MAX;
use crate::slot::TEMPORAL_ALL;

/// Rungs of one slot: each encoding whole, with a temporal layer less, and the lowest with its base layer alone.
pub(crate) const RUNGS_MAX: usize = 3 * ENCODINGS_MAX;

/// An encoding and what of it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rung {
    pub(crate) encoding: u8,
    /// No temporal layer above it; [`TEMPORAL_ALL`] is all of them.
    pub(crate) temporal: u8,
    /// What it takes, in bits per second.
    pub(crate) bps: u64,
    /// Its publisher sends it now.
    pub(crate) flows: bool,
}

/// What one encoding offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    pub(crate) encoding: u8,
    /// What the base layer, all layers but the highest, and all of them take.
    pub(crate) bps: [u64; 3],
    /// The highest temporal layer.
    pub(crate) highest: u8,
    pub(crate) flows: bool,
    /// Few pictures serve as well: a screen.
    pub(crate) still: bool,
}

/// The rungs of one slot, from the poorest to the best.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ladder {
    rungs: [Rung; RUNGS_MAX],
    len: usize,
}

impl Ladder {
    /// Adds the rungs of the next higher encoding.
    pub(crate) fn add(&mut self, offered: &Offered) {
        let Offered { encoding, bps, highest, flows, still } = *offered;
        let [base, lower, all] = bps;
        // Seven pictures a second are no conversation while a smaller picture is to be had.
        if highest >= 2 && (self.len == 0 || still) {
            self.push(Rung { encoding, temporal: 0, bps: base, flows });
        }
        if highest >= 1 {
            self.push(Rung { encoding, temporal: highest - 1, bps: lower, flows });
        }
        self.push(Rung { encoding, temporal: TEMPORAL_ALL, bps: all, flows });
    }

    fn push(&mut self, rung: Rung) {
        if let Some(place) = self.rungs.get_mut(self.len) {
            *place = rung;
            self.len += 1;
        }
    }

    pub(crate) fn rungs(&self) -> &[Rung] {
        &self.rungs[..self.len]
    }

    /// The best rung that fits, of those that flow or of all.
    fn best(&self, budget: u64, flowing: bool) -> Option<Rung> {
        self.rungs().iter().rev().copied().find(|rung| rung.bps <= budget && (rung.flows || !flowing))
    }

    fn poorest(&self) -> Option<Rung> {
        self.rungs().iter().copied().find(|rung| rung.flows)
    }

    /// What the best of it takes.
    pub(crate) fn most_bps(&self) -> u64 {
        self.rungs().last().map_or(0, |rung| rung.bps)
    }

    /// Where a slot stands that is sent this, from the poorest; `None` where that is not to be had.
    pub(crate) fn place(&self, encoding: u8, temporal: u8) -> Option<usize> {
        let exact = |rung: &Rung| (rung.encoding, rung.temporal) == (encoding, temporal);
        // Layers may have come or gone since.
        let near = |rung: &Rung| rung.encoding == encoding && rung.temporal >= temporal;
        self.rungs().iter().position(exact).or_else(|| self.rungs().iter().position(near))
    }
}

/// One slot before the allocator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Claim {
    /// Which slot of the peer.
    pub(crate) slot: u16,
    /// The higher, the sooner.
    pub(crate) rank: u8,
    pub(crate) ladder: Ladder,
    /// What it is to be sent.
    pub(crate) target: Option<Rung>,
    /// What the line would carry, if its publisher sent it.
    pub(crate) aspired: Option<Rung>,
}

/// Divides `budget_bps`. Claims come in any order and leave by rank, equals in the order of their slots.
pub(crate) fn divide(claims: &mut [Claim], budget_bps: u64) {
    claims.sort_unstable_by_key(|claim| (std::cmp::Reverse(claim.rank), claim.slot));
    let mut left = budget_bps;
    for claim in claims.iter_mut() {
        claim.target = claim.ladder.poorest().filter(|rung| rung.bps <= left);
        left -= claim.target.map_or(0, |rung| rung.bps);
    }
    for claim in claims.iter_mut() {
        let own = left + claim.target.map_or(0, |rung| rung.bps);
        claim.target = claim.ladder.best(own, true);
        claim.aspired = claim.ladder.best(own, false);
        left = own - claim.target.map_or(0, |rung| rung.bps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulcast(flowing: usize) -> Ladder {
        let mut ladder = Ladder::default();
        for (encoding, all) in [150_000, 500_000, 1_500_000].into_iter().enumerate() {
            let bps = [all * 4 / 10, all * 6 / 10, all];
            let flows = encoding < flowing;
            ladder.add(&Offered { encoding: encoding as u8, bps, highest: 2, flows, still: false });
        }
        ladder
    }

    fn divided(ranks: &[u8], budget_bps: u64) -> Vec<(u16, Option<(u8, u8)>)> {
        let mut claims: Vec<_> = (0..)
            .zip(ranks)
            .map(|(slot, &rank)| Claim { slot, rank, ladder: simulcast(3), ..Claim::default() })
            .collect();
        divide(&mut claims, budget_bps);
        let spent: u64 = claims.iter().filter_map(|claim| claim.target).map(|rung| rung.bps).sum();
        assert!(spent <= budget_bps);
        claims.iter().map(|c| (c.slot, c.target.map(|rung| (rung.encoding, rung.temporal)))).collect()
    }

    #[test]
    fn pictures_become_fewer_before_they_become_smaller() {
        let steps: Vec<_> = [1_500_000, 1_499_000, 900_000, 890_000, 400_000, 299_000, 100_000, 80_000, 59_000]
            .map(|budget| divided(&[0], budget)[0].1)
            .into();
        let all = TEMPORAL_ALL;
        let expected = [
            Some((2, all)),
            Some((2, 1)),
            Some((2, 1)),
            Some((1, all)),
            Some((1, 1)),
            Some((0, all)),
            Some((0, 1)),
            Some((0, 0)),
            None,
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn everybody_has_a_picture_before_the_first_in_rank_has_a_better_one() {
        let got = divided(&[0, 100, 0], 60_000 * 3 + 440_000);
        assert_eq!(got, [(1, Some((1, TEMPORAL_ALL))), (0, Some((0, 0))), (2, Some((0, 0)))]);
        let got = divided(&[0, 100, 0], 130_000);
        assert_eq!(got, [(1, Some((0, 0))), (0, Some((0, 0))), (2, None)]);
    }

    #[test]
    fn what_does_not_flow_is_aspired_to_and_takes_nothing() {
        let mut claims = [Claim { ladder: simulcast(2), ..Claim::default() }];
        divide(&mut claims, 5_000_000);
        assert_eq!(claims[0].target.map(|rung| rung.encoding), Some(1));
        assert_eq!(claims[0].aspired.map(|rung| rung.encoding), Some(2));
        divide(&mut claims, 600_000);
        assert_eq!(claims[0].aspired.map(|rung| rung.encoding), Some(1));
    }

    #[test]
    fn a_single_encoding_is_all_or_nothing() {
        let mut ladder = Ladder::default();
        ladder.add(&Offered { encoding: 0, bps: [700_000; 3], highest: 0, flows: true, still: false });
        let mut claims = [Claim { ladder, ..Claim::default() }];
        divide(&mut claims, 600_000);
        assert_eq!(claims[0].target, None);
        divide(&mut claims, 700_000);
        assert_eq!(claims[0].target.map(|rung| rung.bps), Some(700_000));
    }
}
