//! Pages of the documentation that are partly written by a report.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Puts `text` between the two markers of a report in a page, in place of what was there:
/// `<!-- NAME: what follows is written by `make NAME` -->` and `<!-- NAME: end -->`.
///
/// # Errors
///
/// Those of the file, and a page without the markers.
pub fn rewrite(page: &Path, report: &str, text: &str) -> io::Result<()> {
    let begin = format!("<!-- {report}: what follows is written by `make {report}` -->");
    let end = format!("<!-- {report}: end -->");
    let before = std::fs::read_to_string(page)?;
    let missing = || io::Error::new(ErrorKind::InvalidData, format!("the page has no markers of {report}"));
    let (head, rest) = before.split_once(&begin).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(&end).ok_or_else(missing)?;
    std::fs::write(page, format!("{head}{begin}\n\n{text}\n{end}{tail}"))
}
