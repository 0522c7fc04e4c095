//! A run as a picture: rates, the queue and the height of the picture over time, one above the other.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use miniz_oxide::deflate::compress_to_vec_zlib;
use vestibule_sim::scenario::{Sample, Scenario};
use vestibule_sim::synthetic::HEIGHTS;

use crate::font;

const WIDTH: usize = 900;
const LEFT: usize = 70;
const RIGHT: usize = 20;
const TOP: usize = 60;
const GAP: usize = 44;
const PANELS: [usize; 3] = [190, 110, 90];
const BOTTOM: usize = 30;
const HEIGHT: usize = TOP + PANELS[0] + PANELS[1] + PANELS[2] + 2 * GAP + BOTTOM;
const TEXT_SCALE: usize = 2;
/// Rates are of so many samples: a second.
const RATE_SAMPLES: usize = 10;
const VALUE_STEPS: f64 = 5.0;
const TIME_STEPS: f64 = 8.0;
const HEIGHTS_UNIT: &str = "height in pixels";

/// What a PNG begins with, and how its dots are kept.
const PNG_SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
const BIT_DEPTH: u8 = 8;
const INDEXED_COLOUR: u8 = 3;
const NO_FILTER: u8 = 0;
const COMPRESSION_LEVEL: u8 = 9;

/// Colours by their place in the palette.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    White,
    Grid,
    Text,
    Capacity,
    Estimate,
    Rate,
    Queue,
    Picture,
}

const PALETTE: [[u8; 3]; 8] = [
    [255, 255, 255],
    [224, 224, 224],
    [48, 48, 48],
    [128, 128, 128],
    [214, 96, 20],
    [20, 110, 180],
    [170, 40, 90],
    [30, 130, 70],
];

/// One value over time, and how it is drawn.
struct Curve {
    name: &'static str,
    colour: Colour,
    points: Vec<(f64, f64)>,
}

/// Writes what was seen of who is watched.
///
/// # Errors
/// Those of the file.
pub(crate) fn write(path: &Path, scenario: &Scenario, samples: &[Sample]) -> io::Result<()> {
    let mut canvas = Canvas::new();
    canvas.text(LEFT, 14, &scenario.name, Colour::Text);
    let mut top = TOP;
    let panels =
        [("Mbit/s", rates(samples)), ("ms in the queue", queue(samples)), (HEIGHTS_UNIT, height(samples))];
    for ((unit, curves), tall) in panels.iter().zip(PANELS) {
        canvas.panel(top, tall, unit, curves, scenario.length);
        top += tall + GAP;
    }
    canvas.save(path)
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

/// The least of 1, 2 and 5 times a power of ten that divides `most` into so many steps at the most.
fn step(most: f64, steps: f64) -> f64 {
    let power = 10_f64.powf((most.max(1e-3) / steps).log10().floor());
    let mut candidates = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power);
    candidates.find(|step| most / step <= steps).unwrap_or(most)
}

struct Canvas {
    dots: Vec<u8>,
}

impl Canvas {
    fn new() -> Self {
        Self { dots: vec![Colour::White as u8; WIDTH * HEIGHT] }
    }

    fn panel(&mut self, top: usize, tall: usize, unit: &str, curves: &[Curve], length: Duration) {
        let most = curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value).fold(0.0, f64::max);
        let every = if unit == HEIGHTS_UNIT { f64::from(HEIGHTS[0]) } else { step(most, VALUE_STEPS) };
        let most = ((most / every).ceil() * every).max(every);
        let (wide, seconds) = ((WIDTH - LEFT - RIGHT) as f64, length.as_secs_f64());
        let x = |at: f64| LEFT + (at / seconds * wide) as usize;
        let y = |value: f64| top + tall - (value / most * tall as f64) as usize;
        let mut value = 0.0;
        while value <= most * 1.001 {
            self.horizontal(LEFT, WIDTH - RIGHT, y(value), Colour::Grid);
            let label = if every < 1.0 { format!("{value:.1}") } else { format!("{value:.0}") };
            let start = LEFT.saturating_sub(8 + text_width(&label));
            self.text(start, y(value).saturating_sub(7), &label, Colour::Text);
            value += every;
        }
        let every = step(seconds, TIME_STEPS);
        let mut at = 0.0;
        while at <= seconds {
            self.vertical(x(at), top, top + tall, Colour::Grid);
            let label = format!("{at:.0}{}", if at == 0.0 { " s" } else { "" });
            self.text(x(at).min(WIDTH - RIGHT - text_width(&label)), top + tall + 4, &label, Colour::Text);
            at += every;
        }
        let mut right = self.text(LEFT, top - 18, unit, Colour::Text);
        for curve in curves {
            right = self.text(right + 24, top - 18, curve.name, curve.colour);
            for pair in curve.points.windows(2) {
                let [(from, before), (to, after)] = [pair[0], pair[1]];
                self.horizontal_thick(x(from), x(to), y(before), curve.colour);
                let (low, high) = (y(before).min(y(after)), y(before).max(y(after)));
                self.vertical(x(to), low, high, curve.colour);
            }
        }
    }

    fn dot(&mut self, x: usize, y: usize, colour: Colour) {
        if x < WIDTH && y < HEIGHT {
            self.dots[y * WIDTH + x] = colour as u8;
        }
    }

    fn horizontal(&mut self, from: usize, to: usize, y: usize, colour: Colour) {
        for x in from..=to {
            self.dot(x, y, colour);
        }
    }

    fn horizontal_thick(&mut self, from: usize, to: usize, y: usize, colour: Colour) {
        self.horizontal(from, to, y, colour);
        self.horizontal(from, to, y.saturating_sub(1), colour);
    }

    fn vertical(&mut self, x: usize, from: usize, to: usize, colour: Colour) {
        for y in from..=to {
            self.dot(x, y, colour);
        }
    }

    /// Writes text with its upper left corner there; gives where it ends.
    fn text(&mut self, left: usize, top: usize, text: &str, colour: Colour) -> usize {
        let mut x = left;
        for letter in text.chars() {
            for (row, bits) in font::glyph(letter).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| bits & (0x10 >> column) != 0) {
                    for dot in 0..TEXT_SCALE * TEXT_SCALE {
                        let (right, down) = (dot % TEXT_SCALE, dot / TEXT_SCALE);
                        self.dot(x + column * TEXT_SCALE + right, top + row * TEXT_SCALE + down, colour);
                    }
                }
            }
            x += (font::WIDTH + 1) * TEXT_SCALE;
        }
        x
    }

    /// A PNG of one byte of palette for each dot.
    fn save(&self, path: &Path) -> io::Result<()> {
        let mut header = Vec::new();
        header.extend_from_slice(&(WIDTH as u32).to_be_bytes());
        header.extend_from_slice(&(HEIGHT as u32).to_be_bytes());
        header.extend_from_slice(&[BIT_DEPTH, INDEXED_COLOUR, 0, 0, 0]);
        let mut lines = Vec::with_capacity((WIDTH + 1) * HEIGHT);
        for line in self.dots.chunks(WIDTH) {
            lines.push(NO_FILTER);
            lines.extend_from_slice(line);
        }
        let mut out = PNG_SIGNATURE.to_vec();
        chunk(&mut out, *b"IHDR", &header);
        chunk(&mut out, *b"PLTE", &PALETTE.concat());
        chunk(&mut out, *b"IDAT", &compress_to_vec_zlib(&lines, COMPRESSION_LEVEL));
        chunk(&mut out, *b"IEND", &[]);
        fs::write(path, out)
    }
}

/// A chunk of a PNG: its length, its name, what is in it, and the sum of both.
fn chunk(out: &mut Vec<u8>, name: [u8; 4], content: &[u8]) {
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    let start = out.len();
    out.extend_from_slice(&name);
    out.extend_from_slice(content);
    let sum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&sum.to_be_bytes());
}

fn text_width(text: &str) -> usize {
    text.chars().count() * (font::WIDTH + 1) * TEXT_SCALE
}
