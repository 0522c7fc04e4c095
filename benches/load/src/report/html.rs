//! The report as a page: one file, nothing to load, no script.

use std::fmt::Write as _;

use super::plot::{self, Line};
use super::{Moment, Report, table};

/// The page.
#[must_use]
pub fn html(report: &Report) -> String {
    let title = format!("{}: {}", report.scenario.name, report.scenario.title);
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{verdict}, {at}</p>\n",
        title = escape(&title),
        verdict = if report.passed { "Passed" } else { "Not passed" },
        at = escape(&report.at),
    );
    if !report.faults.is_empty() {
        page.push_str("<ul>\n");
        report.faults.iter().for_each(|fault| _ = writeln!(page, "<li>{}</li>", escape(fault)));
        page.push_str("</ul>\n");
    }
    figures(&mut page, report);
    let mut sections = table::sections(report);
    // The first is the heading above, and how the rest was tried.
    if let Some(first) = sections.first_mut() {
        "How it was tried".clone_into(&mut first.0);
    }
    for (heading, rows) in sections {
        let _ = writeln!(page, "<h2>{}</h2>\n<dl>", escape(&heading));
        for (name, value) in rows {
            let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name.trim()), escape(&value));
        }
        page.push_str("</dl>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Text as it may stand between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn figures(page: &mut String, report: &Report) {
    let series = &report.series;
    let windows = windows(series);
    let line = |name, of: fn(&Moment) -> Option<f64>| Line {
        name,
        points: series.iter().map(|moment| (moment.seconds, of(moment))).collect(),
    };
    let packets = [
        line("received by participants", |moment| Some(moment.received_per_second)),
        line("sent by participants", |moment| Some(moment.sent_per_second)),
    ];
    figure(page, "Packets a second", &plot::lines(&packets, "", &windows));
    let delays = [
        line("p50", |moment| moment.delay_p50_us.map(milliseconds)),
        line("p99", |moment| moment.delay_p99_us.map(milliseconds)),
    ];
    figure(page, "Forward delay", &plot::lines(&delays, "ms", &windows));
    let cpu = [
        line("server", |moment| moment.server_cpu_percent),
        line("tester's media thread", |moment| Some(moment.media_thread_percent)),
    ];
    figure(page, "CPU, of one core", &plot::lines(&cpu, "%", &windows));
    if series.iter().any(|moment| moment.server_rss_bytes.is_some()) {
        let memory =
            [line("server", |moment| moment.server_rss_bytes.map(|bytes| milliseconds(bytes) / 1e3))];
        figure(page, "Memory of the server (RSS)", &plot::lines(&memory, "MB", &windows));
    }
    if !report.join_histogram.is_empty() {
        let bars = plot::bars("Joins by their time", &report.join_histogram, "ms");
        figure(page, "Joins by their time from token to connected", &bars);
    }
}

fn figure(page: &mut String, caption: &str, plot: &str) {
    let _ = writeln!(page, "<figure>\n<figcaption>{}</figcaption>\n{plot}\n</figure>", escape(caption));
}

/// The parts of the series that were measured.
fn windows(series: &[Moment]) -> Vec<(f64, f64)> {
    let mut windows: Vec<(f64, f64)> = Vec::new();
    let mut before = Moment::default();
    for moment in series {
        match windows.last_mut() {
            Some(window) if moment.in_window && before.in_window => window.1 = moment.seconds,
            _ if moment.in_window => windows.push((before.seconds, moment.seconds)),
            _ => {}
        }
        before = *moment;
    }
    windows
}

/// Thousandths.
#[expect(clippy::cast_precision_loss, reason = "a plot has some hundred pixels")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}

const STYLE: &str = "
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#57606a;--grid:#d8dee4;--window:#eef4fb;--l0:#0b62c4;--l1:#b3480a}
@media (prefers-color-scheme:dark){:root{--back:#14181d;--text:#e6e9ec;--soft:#9aa4ae;--grid:#343b43;--window:#1c2733;--l0:#66b0ff;--l1:#ffa35c}}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:44rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.05rem;margin:1.75rem 0 .25rem}
p{margin:.25rem 0}
dl{margin:0;display:grid;grid-template-columns:minmax(9rem,16rem) 1fr;gap:.15rem 1rem}
dt{color:var(--soft)}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
figure{margin:1.5rem 0}
figcaption{font-weight:600}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font-size:12px}
@media (max-width:32rem){svg text{font-size:20px}dl{grid-template-columns:1fr}dd{margin-bottom:.5rem}}
.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--grid);fill:none}
.window{fill:var(--window)}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.line.l0{stroke:var(--l0)}.line.l1{stroke:var(--l1);stroke-dasharray:6 3}
.bar{fill:var(--l0)}
.keys{display:flex;gap:1.25rem;flex-wrap:wrap;font-size:.875rem}
.key::before{content:'';display:inline-block;width:1.5em;margin-right:.4em;vertical-align:.3em;border-top:2px solid}
.key.l0::before{border-color:var(--l0)}.key.l1::before{border-color:var(--l1);border-top-style:dashed}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Joins, Reason};

    #[test]
    fn what_was_said_by_a_server_cannot_become_markup() {
        let mut report = Report::default();
        report.server.url = "http://x/\"><script>alert(1)</script>".to_owned();
        report.scenario.title = "<b>&'".to_owned();
        let reasons = vec![Reason { reason: "<img src=x onerror=alert(1)>".to_owned(), count: 1 }];
        report.joins = Joins { reasons, ..Joins::default() };
        report.faults = vec!["<script>fault</script>".to_owned()];
        let page = html(&report);
        assert!(page.contains("<p>Not passed, ") && page.contains("<li>&lt;script&gt;fault"));
        for tag in ["<script", "<img", "<b>"] {
            assert!(!page.contains(tag), "{tag}");
        }
        assert!(page.contains("&lt;b&gt;&amp;&#39;"));
    }

    #[test]
    fn each_step_has_its_window() {
        let moment =
            |second: u32, in_window| Moment { seconds: second.into(), in_window, ..Moment::default() };
        let flags = [false, true, true, false, true];
        let series: Vec<_> = (1..).zip(flags).map(|(second, in_window)| moment(second, in_window)).collect();
        assert_eq!(windows(&series), [(1.0, 3.0), (4.0, 5.0)]);
        assert!(windows(&[]).is_empty());
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let moment =
            Moment { seconds: 1.0, received_per_second: 100.0, in_window: true, ..Moment::default() };
        let page = html(&Report { series: vec![moment], ..Report::default() });
        for word in ["src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(
            page.contains("<svg")
                && page.contains("prefers-color-scheme:dark")
                && page.contains("width=device-width")
        );
    }
}
