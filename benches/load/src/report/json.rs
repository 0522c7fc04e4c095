//! The report for programs.

use super::Report;

/// As JSON, ending in a line break.
///
/// # Errors
///
/// A number is none (not a number, or infinite): a mistake of ours.
pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::measure::machine::Machine;
    use crate::measure::quantiles::Milliseconds;
    use crate::report::{
        Churn, Cost, Delay, Media, Memory, Moment, Reason, Staircase, Step, Storm, Tester, Threshold,
        WaitingRoom,
    };

    /// With one of everything that may be there.
    fn full() -> Report {
        let times = Some(Milliseconds::default());
        let delay = Some(Delay::default());
        let reasons = vec![Reason::default()];
        let mut report = Report {
            machine: Some(Machine { cpu: String::new(), cores: 2, kernel: String::new() }),
            media: Some(Media {
                delay_us: delay,
                delay_audio_us: delay,
                delay_frame_us: delay,
                delay_rest_us: delay,
                ..Media::default()
            }),
            cost: Some(Cost::default()),
            memory: Some(Memory::default()),
            tester: Some(Tester::default()),
            storm: Some(Storm { back_ms: times, reasons: reasons.clone(), ..Storm::default() }),
            waiting_room: Some(WaitingRoom {
                first_packet_ms: times,
                reasons: reasons.clone(),
                ..WaitingRoom::default()
            }),
            churn: Some(Churn {
                connected_ms: times,
                first_packet_ms: times,
                reasons: reasons.clone(),
                ..Churn::default()
            }),
            staircase: Some(Staircase { steps: vec![Step::default()], ..Staircase::default() }),
            series: vec![Moment::default()],
            thresholds: vec![Threshold::default()],
            ..Report::default()
        };
        report.joins.connected_ms = times;
        report.joins.first_packet_ms = times;
        report.joins.reasons = reasons;
        report
    }

    /// The path of each field, in the order in which they are written; of lists, those of the first item.
    fn paths(value: &Value, at: &str, paths: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    self::paths(value, &path, paths);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                self::paths(&items[0], &format!("{at}[]"), paths);
            }
            _ => paths.push(at.to_owned()),
        }
    }

    /// Names are for programs of others: when this fails, a name was changed that they may use. Add, and rename nothing.
    #[test]
    fn names_are_stable() {
        let value: Value = serde_json::from_str(&json(&full()).unwrap()).unwrap();
        let mut found = Vec::new();
        paths(&value, "", &mut found);
        found.sort_unstable();
        let known: Vec<_> = include_str!("json.fields").lines().collect();
        assert_eq!(found, known);
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let value: Value = serde_json::from_str(&json(&Report::default()).unwrap()).unwrap();
        assert!(value["cost"].is_null() && value["media"].is_null() && value["server"]["pid"].is_null());
    }
}
