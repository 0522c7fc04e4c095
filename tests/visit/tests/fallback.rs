//! Visits on lines that fail: what steps down, what is lost, and what comes back.

use vestibule_sim::report;
use vestibule_visit::scenario::all;

const SEED: u64 = 1;

#[test]
fn visits_go_on_whatever_the_line_does() {
    let mut missed = Vec::new();
    for scenario in all() {
        let seen = scenario.run(SEED);
        let changes: Vec<String> = seen.changes.iter().map(ToString::to_string).collect();
        report!("{}: {}", scenario.name, changes.join(", "));
        missed.extend(seen.faults.iter().map(|fault| format!("{}: {fault}", scenario.name)));
        for verdict in scenario.aims.iter().map(|aim| seen.judge(&scenario, *aim)) {
            report!("{}: {}", scenario.name, verdict.text);
            if !verdict.met {
                missed.push(format!("{} from seed {SEED}: {}", scenario.name, verdict.text));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
