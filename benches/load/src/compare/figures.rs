//! What a comparison keeps of each run, and how several runs become one line.

use serde::Serialize;

use crate::report::Report;

/// Who forwarded a share of Vestibule's packets further from 1 than this was tried with another load: its cost for a packet
/// says nothing beside ours.
const SHARE_OFF_MAX: f64 = 0.05;

/// One run against one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Packets that receivers got in a second.
    pub packets_per_second: f64,
    /// Bits of them in a second.
    pub bits_per_second: f64,
    /// The server's CPU time for each of them.
    pub cpu_us_per_packet: Option<f64>,
    /// Of one core, in percent.
    pub cpu_percent: Option<f64>,
    /// Packets the server forwards in a second of one core's time.
    pub packets_per_core_second: Option<f64>,
    /// Never arrived as first sent, in percent.
    pub loss_percent: f64,
    /// Forward delay, median.
    pub delay_p50_us: Option<u64>,
    /// Forward delay, 99th percentile.
    pub delay_p99_us: Option<u64>,
    /// What the server's memory grew by for each participant.
    pub rss_per_participant_bytes: Option<i64>,
    /// Participants who did not get in, or lost their transport.
    pub failed: usize,
    /// Sources of which a receiver got nothing.
    pub starved_streams: u64,
    /// Why the tester was in the way, if it was.
    pub tester_in_the_way: Vec<String>,
}

impl Figures {
    /// What counts of a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let media = report.media.clone().unwrap_or_default();
        let tester = report.tester.clone().unwrap_or_default();
        Self {
            packets_per_second: media.received.packets_per_second,
            bits_per_second: media.received.bits_per_second,
            cpu_us_per_packet: report.cost.and_then(|cost| cost.cpu_us_per_packet),
            cpu_percent: report.cost.map(|cost| cost.cpu_percent),
            packets_per_core_second: report.cost.and_then(|cost| cost.packets_per_core_second),
            loss_percent: media.loss_percent,
            delay_p50_us: media.delay_us.map(|delay| delay.p50),
            delay_p99_us: media.delay_us.map(|delay| delay.p99),
            rss_per_participant_bytes: report.memory.and_then(|memory| memory.rss_per_participant_bytes),
            failed: report.joins.failed + report.joins.lost_later,
            starved_streams: media.starved_streams,
            tester_in_the_way: tester.reasons,
        }
    }
}

impl Figures {
    /// Whether everybody was there and got something: else it is no round to compare.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.failed == 0 && self.starved_streams == 0
    }
}

/// Several values of the same figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// As many are below as above.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` of none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, min: sorted[0], max: sorted[sorted.len() - 1] })
    }
}

/// All rounds of one server in one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contestant {
    /// What it is, with how it is set up.
    pub name: String,
    /// Round by round.
    pub rounds: Vec<Figures>,
    /// CPU time for each forwarded packet.
    pub cpu_us_per_packet: Option<Spread>,
    /// Packets it forwarded as a share of Vestibule's, by medians. Ratios are given where it is one, within 5 %.
    pub share_of_vestibule: Option<f64>,
    /// Its CPU time for each packet in terms of Vestibule's, by medians.
    pub times_vestibule: Option<f64>,
    /// The same in terms of the floor's.
    pub times_floor: Option<f64>,
    /// Why some rounds are missing.
    pub failures: Vec<String>,
    /// It was asked for: a comparison in which it did not get through has failed.
    #[serde(skip)]
    pub was_asked_for: bool,
}

impl Contestant {
    /// One without any rounds yet.
    #[must_use]
    pub const fn new(name: String) -> Self {
        Self {
            name,
            rounds: Vec::new(),
            cpu_us_per_packet: None,
            share_of_vestibule: None,
            times_vestibule: None,
            times_floor: None,
            failures: Vec::new(),
            was_asked_for: true,
        }
    }

    /// The spread of a figure over the rounds that are whole.
    pub fn spread(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter(|round| round.is_whole()).filter_map(figure))
    }

    /// Whether it forwarded as much as Vestibule did.
    #[must_use]
    pub fn has_equal_load(&self) -> bool {
        self.share_of_vestibule.is_some_and(|share| (share - 1.0).abs() <= SHARE_OFF_MAX)
    }
}

/// Sets the spreads and ratios, once all rounds are there.
pub fn set_ratios(contestants: &mut [Contestant], vestibule: usize, floor: Option<usize>) {
    for one in contestants.iter_mut() {
        one.cpu_us_per_packet = one.spread(|figures| figures.cpu_us_per_packet);
    }
    let cost = |index: usize| contestants.get(index)?.cpu_us_per_packet.map(|spread| spread.median);
    let packets = |one: &Contestant| Some(one.spread(|figures| Some(figures.packets_per_second))?.median);
    let ours = contestants.get(vestibule).and_then(packets).filter(|packets| *packets > 0.0);
    let (vestibule, floor) = (cost(vestibule), floor.and_then(cost));
    for one in contestants.iter_mut() {
        one.share_of_vestibule = packets(one).zip(ours).map(|(packets, ours)| packets / ours);
        if !one.has_equal_load() {
            (one.times_vestibule, one.times_floor) = (None, None);
            continue;
        }
        let own = one.cpu_us_per_packet.map(|spread| spread.median);
        let times = |other: Option<f64>| Some(own? / other.filter(|cost| *cost > 0.0)?);
        one.times_vestibule = times(vestibule);
        one.times_floor = times(floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contestant(costs: &[f64]) -> Contestant {
        let mut one = Contestant::new("x".to_owned());
        one.rounds = costs
            .iter()
            .map(|&us| Figures {
                cpu_us_per_packet: Some(us),
                packets_per_second: 1_000.0,
                ..Figures::default()
            })
            .collect();
        one
    }

    #[test]
    fn who_was_tried_with_another_load_has_no_ratio() {
        let mut all = [contestant(&[2.0]), contestant(&[20.0]), contestant(&[20.0])];
        all[1].rounds[0].packets_per_second = 960.0;
        all[2].rounds[0].packets_per_second = 620.0;
        set_ratios(&mut all, 0, None);
        assert_eq!((all[1].times_vestibule, all[2].times_vestibule), (Some(10.0), None));
        assert_eq!(all[2].share_of_vestibule, Some(0.62));
    }

    #[test]
    fn a_round_in_which_somebody_got_nothing_does_not_count() {
        let mut one = contestant(&[2.0, 9.0]);
        one.rounds[1].starved_streams = 1;
        assert_eq!(one.spread(|figures| figures.cpu_us_per_packet), Spread::of([2.0]));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_of_medians_and_missing_where_there_is_nothing_to_compare_with() {
        let mut all =
            [contestant(&[2.0, 2.2, 1.8]), contestant(&[20.0, 16.0]), contestant(&[]), contestant(&[1.5])];
        set_ratios(&mut all, 0, Some(3));
        assert_eq!(all[1].times_vestibule, Some(9.0));
        assert_eq!(all[1].times_floor, Some(12.0));
        assert_eq!((all[2].times_vestibule, all[2].times_floor), (None, None));
        set_ratios(&mut all, 2, None);
        assert_eq!((all[0].times_vestibule, all[0].times_floor), (None, None));
    }
}
