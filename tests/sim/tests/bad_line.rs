//! A conversation on a bad line, in the short form of the report: what the congestion control is aimed at.

use vestibule_sim::report;
use vestibule_sim::scenario::{Figures, Form, all};

const SEED: u64 = 1;

#[test]
fn conversations_on_bad_lines_are_what_they_are_aimed_to_be() {
    let mut missed = Vec::new();
    for scenario in all(Form::Short) {
        let figures = Figures::of(&scenario, &scenario.run(SEED));
        for verdict in scenario.aims.iter().map(|aim| figures.judge(*aim)) {
            report!("{}: {}", scenario.name, verdict.text);
            if !verdict.met {
                missed.push(format!("{} from seed {SEED}: {}", scenario.name, verdict.text));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn the_same_seed_plays_the_same_conversation() {
    let mut scenario = all(Form::Short).pop().expect("scenarios");
    scenario.length = std::time::Duration::from_secs(5);
    scenario.steady_from = std::time::Duration::from_secs(2);
    let run = || Figures::of(&scenario, &scenario.run(SEED));
    assert_eq!(run(), run());
}
