//! A run as a picture: rates, the queue and the height of the picture over time, one above the other.

use vestibule_sim::chart::{Chart, Colour, Curve, Panel};
use vestibule_sim::scenario::{Sample, Scenario};
use vestibule_sim::synthetic::HEIGHTS;

/// Rates are of so many samples: a second.
const RATE_SAMPLES: usize = 10;

/// What was seen of who is watched.
pub(crate) fn chart(scenario: &Scenario, samples: &[Sample]) -> Chart {
    let panel = |unit, tall, curves| Panel { unit, tall, labels: Vec::new(), every: None, curves };
    let height = panel("height in pixels", 90, height(samples));
    Chart {
        title: scenario.name.clone(),
        length: scenario.length,
        panels: vec![
            panel("Mbit/s", 190, rates(samples)),
            panel("ms in the queue", 110, queue(samples)),
            Panel { every: Some(f64::from(HEIGHTS[0])), ..height },
        ],
    }
}

fn points(samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    samples.iter().filter_map(|sample| Some((sample.at.as_secs_f64(), value(sample)?))).collect()
}

fn rates(samples: &[Sample]) -> Vec<Curve> {
    let mega = |bps: u64| bps as f64 / 1e6;
    let arrived = samples.windows(RATE_SAMPLES + 1).map(|window| {
        let bytes = window[RATE_SAMPLES].carried.arrived_bytes - window[0].carried.arrived_bytes;
        let seconds = (window[RATE_SAMPLES].at - window[0].at).as_secs_f64();
        (window[RATE_SAMPLES].at.as_secs_f64(), bytes as f64 * 8.0 / 1e6 / seconds)
    });
    vec![
        Curve {
            name: "line",
            colour: Colour::Capacity,
            points: points(samples, |sample| sample.capacity_bps.map(mega)),
        },
        Curve {
            name: "estimate",
            colour: Colour::Estimate,
            points: points(samples, |sample| sample.stats.downlink.estimate_bps.map(mega)),
        },
        Curve { name: "arrived", colour: Colour::Rate, points: arrived.collect() },
    ]
}

fn queue(samples: &[Sample]) -> Vec<Curve> {
    let points = points(samples, |sample| Some(sample.queue.as_secs_f64() * 1_000.0));
    vec![Curve { name: "", colour: Colour::Queue, points }]
}

fn height(samples: &[Sample]) -> Vec<Curve> {
    let points = points(samples, |sample| Some(f64::from(sample.height)));
    vec![Curve { name: "", colour: Colour::Picture, points }]
}
