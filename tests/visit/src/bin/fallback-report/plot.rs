//! A visit as a picture: the line, what it was used for, what was heard, and how long words took.

use vestibule_domain::BandwidthProfile;
use vestibule_sim::chart::{Chart, Colour, Curve, Panel};
use vestibule_visit::scenario::{Sample, Scenario, Seen};

/// More than this a line carries all that matters here, in kbit/s.
const LINE_MAX: f64 = 200.0;
/// What is heard is told of so many looks: a second.
const HEARD_LOOKS: usize = 10;

pub(crate) fn chart(scenario: &Scenario, seen: &Seen) -> Chart {
    let points = |of: &dyn Fn(&Sample) -> f64| {
        seen.samples.iter().map(|sample| (sample.at.as_secs_f64(), of(sample))).collect()
    };
    let line = points(&|sample| {
        let bps = sample.carries_bps.into_iter().flatten().min();
        bps.map_or(LINE_MAX, |bps| (bps as f64 / 1_000.0).min(LINE_MAX))
    });
    let tier = points(&|sample| match sample.tier {
        BandwidthProfile::Video => 2.0,
        BandwidthProfile::AudioOnly => 1.0,
        BandwidthProfile::AsyncText => 0.0,
    });
    let heard = |end: usize| {
        let windows = seen.samples.windows(HEARD_LOOKS);
        windows
            .map(|window| {
                let played: u64 = window.iter().map(|sample| sample.heard_ms[end]).sum();
                (window[HEARD_LOOKS - 1].at.as_secs_f64(), (played as f64 / 10.0).min(100.0))
            })
            .collect()
    };
    let words =
        seen.written.iter().filter_map(|line| Some((line.at.as_secs_f64(), line.read_after?.as_secs_f64())));
    let panel = |unit, tall, curves| Panel { unit, tall, labels: Vec::new(), every: None, curves };
    let curve = |name, colour, points| Curve { name, colour, points };
    Chart {
        title: scenario.name.to_owned(),
        length: scenario.length,
        panels: vec![
            panel("the line, kbit/s, to 200", 110, vec![curve("", Colour::Capacity, line)]),
            Panel {
                labels: vec![(0.0, "text"), (1.0, "voice"), (2.0, "video")],
                every: Some(1.0),
                ..panel("what it is used for", 80, vec![curve("", Colour::Picture, tier)])
            },
            panel(
                "% of a voice heard",
                80,
                vec![
                    curve("by the patient", Colour::Rate, heard(1)),
                    curve("by the provider", Colour::Estimate, heard(0)),
                ],
            ),
            panel("seconds until words were read", 110, vec![curve("", Colour::Queue, words.collect())]),
        ],
    }
}
