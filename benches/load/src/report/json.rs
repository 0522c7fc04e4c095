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
