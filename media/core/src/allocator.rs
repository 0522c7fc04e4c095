//! Who gets how much of a subscriber's line: a voice first, then a picture of everybody, then better ones by rank.
//!
//! Pure: rungs, ranks and a budget come in, one rung for each slot comes out. A rung is an encoding and how many of its
//! temporal layers are sent; they are in order from the poorest picture to the best.

use crate::bounds::ENCODINGS_MAX;
use crate::codec::SPATIAL_MAX;
use crate::slot::TEMPORAL_ALL;
use crate::source::Layer;

/// Rungs of one slot: each layer whole, with a temporal layer less, and the lowest with its base layer alone. Browsers send
/// pictures in several encodings, or several layers of one.
pub(crate) const RUNGS_MAX: usize = 3 * (ENCODINGS_MAX + SPATIAL_MAX - 1);

/// A layer and what of it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rung {
    pub(crate) layer: Layer,
    /// No temporal layer above it; [`TEMPORAL_ALL`] is all of them.
    pub(crate) temporal: u8,
    /// What it takes, in bits per second.
    pub(crate) bps: u64,
    /// Its publisher sends it now.
    pub(crate) flows: bool,
}

/// What one layer offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    pub(crate) layer: Layer,
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
    /// Adds the rungs of the next higher layer.
    pub(crate) fn add(&mut self, offered: &Offered) {
        let Offered { layer, bps, highest, flows, still } = *offered;
        let [base, lower, all] = bps;
        // Seven pictures a second are no conversation while a smaller picture is to be had.
        if highest >= 2 && (self.len == 0 || still) {
            self.push(Rung { layer, temporal: 0, bps: base, flows });
        }
        if highest >= 1 {
            self.push(Rung { layer, temporal: highest - 1, bps: lower, flows });
        }
        self.push(Rung { layer, temporal: TEMPORAL_ALL, bps: all, flows });
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

    /// The best rung that fits, whether it flows or not.
    fn best(&self, bps: u64) -> Option<Rung> {
        self.rungs().iter().rev().copied().find(|rung| rung.bps <= bps)
    }

    /// What the best of it takes.
    pub(crate) fn most_bps(&self) -> u64 {
        self.rungs().last().map_or(0, |rung| rung.bps)
    }

    /// Where a slot stands that is sent this, from the poorest; `None` where that is not to be had.
    pub(crate) fn place(&self, layer: Layer, temporal: u8) -> Option<usize> {
        let exact = |rung: &Rung| (rung.layer, rung.temporal) == (layer, temporal);
        // Layers may have come or gone since.
        let near = |rung: &Rung| rung.layer == layer && rung.temporal >= temporal;
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
    /// Where it stands on its ladder.
    pub(crate) is: Option<usize>,
    /// It may rise up to this layer though nothing is added otherwise.
    pub(crate) landing: Option<Layer>,
    /// Where it is to stand.
    pub(crate) to_be: Option<usize>,
    /// What the line would carry, if its publisher sent it.
    pub(crate) aspired: Option<Rung>,
}

/// What there is to divide, in bits per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// What the line is thought to carry.
    pub(crate) all_bps: u64,
    /// The same, with what encoders go over and under: as long as what is sent fits, it stays.
    pub(crate) kept_bps: u64,
    /// What it has been seen to carry: nothing is added beyond.
    pub(crate) proven_bps: u64,
    /// It was too much a moment ago: nothing is added.
    pub(crate) waits: bool,
}

impl Budget {
    /// Everything.
    pub(crate) const UNLIMITED: Self =
        Self { all_bps: u64::MAX, kept_bps: u64::MAX, proven_bps: u64::MAX, waits: false };
}

impl Claim {
    /// What it is to be sent.
    pub(crate) fn target(&self) -> Option<Rung> {
        self.to_be.map(|at| self.ladder.rungs()[at])
    }

    /// Whether it is lowered though its publisher goes on.
    pub(crate) fn is_lowered(&self) -> bool {
        self.is > self.to_be && self.is.is_some_and(|at| self.ladder.rungs()[at].flows)
    }

    fn bps(&self, at: Option<usize>) -> u64 {
        at.map_or(0, |at| self.ladder.rungs()[at].bps)
    }

    /// The next better rung that may be taken, and what all would take then.
    fn next(&self, total: u64, budget: &Budget) -> Option<(usize, u64)> {
        let from = self.to_be.map_or(0, |at| at + 1);
        (from..self.ladder.rungs().len()).find_map(|at| {
            let rung = self.ladder.rungs()[at];
            let total = total - self.bps(self.to_be) + rung.bps;
            let is_more = Some(at) > self.is;
            let limit = if is_more { budget.proven_bps.min(budget.all_bps) } else { budget.all_bps };
            let waits = is_more && budget.waits && self.landing.is_none_or(|landing| rung.layer > landing);
            (rung.flows && total <= limit && !waits).then_some((at, total))
        })
    }
}

/// Of what is to be added leaves only the first: the line is to show that it bears it before there is more.
pub(crate) fn one_at_a_time(claims: &mut [Claim], may_raise: bool) {
    let mut may_raise = may_raise;
    for claim in claims.iter_mut().filter(|claim| claim.to_be > claim.is) {
        // A first picture is small, and nobody waits for one.
        let is_first = claim.is.is_none() && claim.to_be == Some(0);
        if !is_first && !std::mem::take(&mut may_raise) {
            claim.to_be =
                claim.is.or_else(|| claim.ladder.rungs().first().filter(|rung| rung.flows).map(|_| 0));
        }
    }
}

/// Divides a line. What is sent stays as long as it fits, unless it is to be divided `afresh`; then everybody gets a
/// picture before anybody gets a better one, and of equal rank whoever has the poorest gets a better one first. Nor does it
/// stay where somebody has a better picture than somebody before them who could have one.
///
/// Claims come in any order and leave by rank, equals in the order of their slots. True if what was sent was too much.
pub(crate) fn divide(claims: &mut [Claim], budget: &Budget, afresh: bool) -> bool {
    claims.sort_unstable_by_key(|claim| (std::cmp::Reverse(claim.rank), claim.slot));
    let kept = |claim: &Claim| claim.is.filter(|at| claim.ladder.rungs()[*at].flows);
    let mut total: u64 = claims.iter().map(|claim| claim.bps(kept(claim))).sum();
    let is_outranked = |claim: &Claim| {
        let could_rise =
            claim.ladder.rungs().iter().skip(claim.is.map_or(0, |at| at + 1)).any(|rung| rung.flows);
        could_rise && claims.iter().any(|other| other.rank < claim.rank && other.is > claim.is)
    };
    let is_too_much = total > budget.kept_bps;
    let stays = !afresh && !is_too_much && !claims.iter().any(is_outranked);
    for claim in claims.iter_mut() {
        claim.to_be = if stays { kept(claim) } else { None };
    }
    if !stays {
        total = 0;
    }
    for claim in claims.iter_mut().filter(|claim| claim.to_be.is_none()) {
        if let Some((at, then)) = claim.next(total, budget) {
            (claim.to_be, total) = (Some(at), then);
        }
    }
    for equals in claims.chunk_by_mut(|a, b| a.rank == b.rank) {
        loop {
            let next = equals
                .iter()
                .enumerate()
                .filter(|(_, claim)| claim.to_be.is_some())
                .filter_map(|(who, claim)| Some((claim.to_be, who, claim.next(total, budget)?)))
                .min_by_key(|(at, who, _)| (*at, *who));
            let Some((_, who, (at, then))) = next else { break };
            (equals[who].to_be, total) = (Some(at), then);
        }
    }
    let left = budget.all_bps.saturating_sub(total);
    for at in 0..claims.len() {
        // What those behind hold beyond their poorest picture is theirs until somebody before them can use it.
        let rank = claims[at].rank;
        let yields = |claim: &Claim| claim.bps(claim.to_be).saturating_sub(claim.bps(claim.to_be.map(|_| 0)));
        let behind: u64 = claims[at..].iter().filter(|claim| claim.rank < rank).map(yields).sum();
        let claim = &mut claims[at];
        claim.aspired = claim.ladder.best(left + behind + claim.bps(claim.to_be));
    }
    is_too_much
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulcast(flowing: usize) -> Ladder {
        let mut ladder = Ladder::default();
        for (encoding, all) in [150_000, 500_000, 1_500_000].into_iter().enumerate() {
            let bps = [all * 4 / 10, all * 6 / 10, all];
            let flows = encoding < flowing;
            let layer = of(encoding as u8);
            ladder.add(&Offered { layer, bps, highest: 2, flows, still: false });
        }
        ladder
    }

    const fn of(encoding: u8) -> Layer {
        Layer { encoding, spatial: 0 }
    }

    const fn carries(bps: u64) -> Budget {
        Budget { all_bps: bps, kept_bps: bps, proven_bps: bps, waits: false }
    }

    fn claims(ranks: &[u8]) -> Vec<Claim> {
        let claim =
            |(slot, rank): (u16, &u8)| Claim { slot, rank: *rank, ladder: simulcast(3), ..Claim::default() };
        (0..).zip(ranks).map(claim).collect()
    }

    fn seen(claims: &[Claim]) -> Vec<(u16, Option<(u8, u8)>)> {
        claims.iter().map(|c| (c.slot, c.target().map(|rung| (rung.layer.encoding, rung.temporal)))).collect()
    }

    fn divided(ranks: &[u8], bps: u64) -> Vec<(u16, Option<(u8, u8)>)> {
        let mut claims = claims(ranks);
        divide(&mut claims, &carries(bps), true);
        let spent: u64 = claims.iter().filter_map(Claim::target).map(|rung| rung.bps).sum();
        assert!(spent <= bps);
        seen(&claims)
    }

    #[test]
    fn pictures_become_fewer_before_they_become_smaller() {
        let steps: Vec<_> =
            [1_500_000, 1_499_000, 900_000, 890_000, 400_000, 299_000, 100_000, 80_000, 59_000]
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
    fn equals_are_shown_alike() {
        let got = divided(&[0, 0, 0, 0], 2_400_000);
        let encodings: Vec<_> = got.iter().map(|(_, at)| at.unwrap().0).collect();
        assert_eq!(encodings, [2, 1, 1, 1], "what is left is the first one's");
        let got = divided(&[0, 0, 0, 0], 2_000_000);
        assert!(got.iter().all(|(_, at)| *at == Some((1, TEMPORAL_ALL))), "{got:?}");
    }

    #[test]
    fn what_fits_stays_and_what_was_too_much_is_not_tried_again_at_once() {
        let mut claims = claims(&[0, 0]);
        claims[0].is = claims[0].ladder.place(of(2), TEMPORAL_ALL);
        claims[1].is = claims[1].ladder.place(of(0), TEMPORAL_ALL);
        let budget = Budget { all_bps: 1_700_000, kept_bps: 1_800_000, proven_bps: 1_700_000, waits: false };
        divide(&mut claims, &budget, false);
        assert_eq!(seen(&claims), [(0, Some((2, TEMPORAL_ALL))), (1, Some((0, TEMPORAL_ALL)))]);
        divide(&mut claims, &budget, true);
        assert_eq!(seen(&claims), [(0, Some((2, 1))), (1, Some((1, TEMPORAL_ALL)))]);
        let waits = Budget { waits: true, ..budget };
        divide(&mut claims, &waits, true);
        assert_eq!(seen(&claims), [(0, Some((2, TEMPORAL_ALL))), (1, Some((0, TEMPORAL_ALL)))]);
        claims[1].landing = Some(of(1));
        divide(&mut claims, &waits, true);
        assert_eq!(seen(&claims), [(0, Some((2, 1))), (1, Some((1, TEMPORAL_ALL)))]);
    }

    #[test]
    fn who_comes_first_by_now_takes_what_those_behind_hold() {
        let mut claims = claims(&[0, 100]);
        claims[0].is = claims[0].ladder.place(of(2), TEMPORAL_ALL);
        claims[1].ladder = simulcast(1);
        claims[1].is = claims[1].ladder.place(of(0), TEMPORAL_ALL);
        divide(&mut claims, &carries(1_700_000), false);
        assert_eq!(seen(&claims)[1], (0, Some((2, TEMPORAL_ALL))), "it stays while nobody can use it");
        assert_eq!(claims[0].aspired.map(|rung| rung.layer.encoding), Some(2), "and is aspired to");
        claims[0].ladder = simulcast(3);
        assert!(!divide(&mut claims, &carries(1_700_000), false), "the line has nothing to do with it");
        assert_eq!(seen(&claims), [(1, Some((2, TEMPORAL_ALL))), (0, Some((0, TEMPORAL_ALL)))]);
    }

    #[test]
    fn nothing_is_added_beyond_what_was_seen_to_get_through() {
        let mut claims = claims(&[0]);
        claims[0].is = claims[0].ladder.place(of(1), TEMPORAL_ALL);
        divide(&mut claims, &Budget { proven_bps: 800_000, ..carries(1_600_000) }, false);
        assert_eq!(seen(&claims), [(0, Some((1, TEMPORAL_ALL)))]);
        divide(&mut claims, &carries(1_600_000), false);
        assert_eq!(seen(&claims), [(0, Some((2, TEMPORAL_ALL)))]);
    }

    #[test]
    fn what_does_not_flow_is_aspired_to_and_takes_nothing() {
        let mut claims = [Claim { ladder: simulcast(2), ..Claim::default() }];
        divide(&mut claims, &carries(5_000_000), true);
        assert_eq!(claims[0].target().map(|rung| rung.layer.encoding), Some(1));
        assert_eq!(claims[0].aspired.map(|rung| rung.layer.encoding), Some(2));
        divide(&mut claims, &carries(600_000), true);
        assert_eq!(claims[0].aspired.map(|rung| rung.layer.encoding), Some(1));
    }

    #[test]
    fn a_single_encoding_is_all_or_nothing() {
        let mut ladder = Ladder::default();
        ladder.add(&Offered { layer: of(0), bps: [700_000; 3], highest: 0, flows: true, still: false });
        let mut claims = [Claim { ladder, ..Claim::default() }];
        divide(&mut claims, &carries(600_000), true);
        assert_eq!(claims[0].target(), None);
        divide(&mut claims, &carries(700_000), true);
        assert_eq!(claims[0].target().map(|rung| rung.bps), Some(700_000));
    }
}
