//! Plots as SVG: a few lines over time, or bars. Colours come from the page, so that they follow light and dark.

use std::fmt::Write as _;

use super::html::escape;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// About as many lines across as there is room for.
const TICKS: f64 = 5.0;

/// A line of a plot. Where `y` is nothing there is a gap.
pub(super) struct Line {
    /// What it is.
    pub(super) name: &'static str,
    /// Where it goes through.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Lines over time. `shaded` are the parts of it that were measured.
pub(super) fn lines(lines: &[Line], unit: &str, shaded: &[(f64, f64)]) -> String {
    let xs = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let ys = || lines.iter().flat_map(|line| line.points.iter().filter_map(|point| point.1));
    let frame = Frame { x_max: xs().fold(1.0, f64::max), y_max: nice(ys().fold(0.0, f64::max)) };
    let mut svg = frame.open(lines.iter().map(|line| line.name), unit);
    for &(from, to) in shaded {
        let (x, width) = (frame.x(from), frame.x(to) - frame.x(from));
        let height = HEIGHT - TOP - BOTTOM;
        let _ = write!(
            svg,
            r#"<rect class="window" x="{x:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#
        );
    }
    frame.axes(&mut svg, unit, "s");
    for (index, line) in lines.iter().enumerate() {
        let mut path = String::new();
        let mut pen = 'M';
        for &(x, y) in &line.points {
            let Some(y) = y else {
                pen = 'M';
                continue;
            };
            let _ = write!(path, "{pen}{:.1} {:.1}", frame.x(x), frame.y(y));
            pen = 'L';
        }
        let _ = write!(svg, r#"<path class="line l{index}" d="{path}"/>"#);
    }
    svg.push_str("</svg>");
    svg + &legend(lines)
}

/// Bars from zero on, each with its upper bound and its height.
pub(super) fn bars(name: &str, bars: &[(f64, f64)], x_unit: &str) -> String {
    let x_max = bars.iter().map(|bar| bar.0).fold(f64::MIN_POSITIVE, f64::max);
    let frame = Frame { x_max, y_max: nice(bars.iter().map(|bar| bar.1).fold(0.0, f64::max)) };
    let mut svg = frame.open(std::iter::once(name), "");
    frame.axes(&mut svg, "", x_unit);
    let mut from = 0.0;
    for &(to, height) in bars {
        let (x, width) = (frame.x(from), (frame.x(to) - frame.x(from) - 1.0).max(1.0));
        let y = frame.y(height);
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{:.1}"/>"#,
            HEIGHT - BOTTOM - y
        );
        from = to;
    }
    svg.push_str("</svg>");
    svg
}

struct Frame {
    x_max: f64,
    y_max: f64,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.x_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.y_max * (HEIGHT - TOP - BOTTOM)
    }

    fn open<'a>(&self, names: impl Iterator<Item = &'a str>, unit: &str) -> String {
        let names: Vec<_> = names.collect();
        let label = format!("{}, up to {} {unit}", names.join(", "), label(self.y_max));
        format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, escape(label.trim()))
    }

    fn axes(&self, svg: &mut String, y_unit: &str, x_unit: &str) {
        let step = nice(self.y_max / TICKS);
        let mut value = 0.0;
        while value <= self.y_max * 1.001 {
            let (y, right) = (self.y(value), WIDTH - RIGHT);
            let _ = write!(svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#);
            let text = format!("{} {y_unit}", label(value));
            let (x, y) = (LEFT - 6.0, y + 4.0);
            let _ = write!(svg, r#"<text class="end" x="{x}" y="{y:.1}">{}</text>"#, escape(text.trim()));
            value += step;
        }
        let step = nice(self.x_max / TICKS);
        let mut value = 0.0;
        while value <= self.x_max * 1.001 {
            let (x, y) = (self.x(value), HEIGHT - BOTTOM + 18.0);
            let text = format!("{} {x_unit}", label(value));
            let class = if x > WIDTH - 3.0 * RIGHT { "end" } else { "mid" };
            let x = if class == "end" { WIDTH - 2.0 } else { x };
            let _ = write!(svg, r#"<text class="{class}" x="{x:.1}" y="{y}">{}</text>"#, escape(text.trim()));
            value += step;
        }
    }
}

fn legend(lines: &[Line]) -> String {
    if lines.len() < 2 {
        return String::new();
    }
    let items = lines.iter().enumerate();
    let items: String = items
        .map(|(index, line)| format!(r#"<span class="key l{index}">{}</span>"#, escape(line.name)))
        .collect();
    format!(r#"<p class="keys">{items}</p>"#)
}

/// 1, 2 or 5 of a power of ten, no less than `value`.
fn nice(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&nice| nice >= value * 0.999_999)
        .unwrap_or(value)
}

/// Short: `1.2M`, `20k`, `0.5`.
fn label(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        n if n >= 1e6 => (value / 1e6, "M"),
        n if n >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.2}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers() {
        for (value, round) in
            [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (34.0, 50.0), (6_001.0, 10_000.0)]
        {
            assert!((nice(value) - round).abs() < 1e-9, "{value}");
        }
        assert_eq!(
            (label(20_000.0), label(2.5e6), label(0.5), label(0.0)),
            ("20k".into(), "2.5M".into(), "0.5".into(), "0".into())
        );
    }

    #[test]
    fn a_line_stays_within_its_frame_and_has_gaps() {
        let points = vec![(0.0, Some(10.0)), (1.0, None), (2.0, Some(0.0)), (3.0, Some(5.0))];
        let svg = lines(&[Line { name: "p50", points }], "ms", &[(1.0, 2.0)]);
        assert!(svg.contains(r#"d="M84.0 12.0M446.7 212.0L628.0 112.0""#), "{svg}");
        assert!(svg.contains(r#"class="window""#));
        assert!(lines(&[], "", &[]).ends_with("</svg>"));
    }

    #[test]
    fn a_name_cannot_break_out() {
        let svg = bars("</svg><script>", &[(1.0, 1.0)], "ms");
        assert!(!svg.contains("<script>"));
    }
}
