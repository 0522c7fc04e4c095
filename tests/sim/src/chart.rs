//! A run as a picture: values over time, one panel above the other.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use miniz_oxide::deflate::compress_to_vec_zlib;

use crate::font;

const WIDTH: usize = 900;
const LEFT: usize = 90;
const RIGHT: usize = 20;
const TOP: usize = 60;
const GAP: usize = 44;
const BOTTOM: usize = 30;
const TEXT_SCALE: usize = 2;
const VALUE_STEPS: f64 = 5.0;
const TIME_STEPS: f64 = 8.0;

/// What a PNG begins with, and how its dots are kept.
const PNG_SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
const BIT_DEPTH: u8 = 8;
const INDEXED_COLOUR: u8 = 3;
const NO_FILTER: u8 = 0;
const COMPRESSION_LEVEL: u8 = 9;

/// Colours by their place in the palette.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// The paper.
    White,
    /// Lines behind the curves.
    Grid,
    /// Words.
    Text,
    /// What a line carries.
    Capacity,
    /// What it is thought to carry.
    Estimate,
    /// What arrives.
    Rate,
    /// What waits.
    Queue,
    /// What is shown.
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

/// One value over time, and how it is drawn: by steps, as what was seen last stands until something else is.
pub struct Curve {
    /// What it is called beside its panel; may be empty.
    pub name: &'static str,
    /// How it is drawn.
    pub colour: Colour,
    /// Seconds from the start, and the value there.
    pub points: Vec<(f64, f64)>,
}

/// Curves over the same time with the same unit.
pub struct Panel {
    /// Of the values.
    pub unit: &'static str,
    /// Dots from its lower to its upper edge.
    pub tall: usize,
    /// What stands beside its lines: values and their names; none, and they are numbers.
    pub labels: Vec<(f64, &'static str)>,
    /// Values of the lines, where they are not as is fit.
    pub every: Option<f64>,
    /// What it shows.
    pub curves: Vec<Curve>,
}

/// Panels one above the other, over the same time.
pub struct Chart {
    /// Above them.
    pub title: String,
    /// How long the time is.
    pub length: Duration,
    /// From above.
    pub panels: Vec<Panel>,
}

impl Chart {
    /// Writes it as a PNG.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let between = GAP * self.panels.len().saturating_sub(1);
        let tall = self.panels.iter().map(|panel| panel.tall).sum::<usize>();
        let mut canvas = Canvas::new(TOP + tall + between + BOTTOM);
        canvas.text(LEFT, 14, &self.title, Colour::Text);
        let mut top = TOP;
        for panel in &self.panels {
            canvas.panel(top, panel, self.length);
            top += panel.tall + GAP;
        }
        canvas.save(path)
    }
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
    fn new(height: usize) -> Self {
        Self { dots: vec![Colour::White as u8; WIDTH * height] }
    }

    fn panel(&mut self, top: usize, panel: &Panel, length: Duration) {
        let Panel { unit, tall, labels, every, curves } = panel;
        let most = curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
        let most = most.chain(labels.iter().map(|(value, _)| *value)).fold(0.0, f64::max);
        let every = every.unwrap_or_else(|| step(most, VALUE_STEPS));
        let most = ((most / every).ceil() * every).max(every);
        let (wide, seconds) = ((WIDTH - LEFT - RIGHT) as f64, length.as_secs_f64());
        let x = |at: f64| LEFT + (at / seconds * wide) as usize;
        let y = |value: f64| top + tall - (value / most * *tall as f64) as usize;
        let mut value = 0.0;
        while value <= most * 1.001 {
            self.horizontal(LEFT, WIDTH - RIGHT, y(value), Colour::Grid);
            let name = labels.iter().find(|(at, _)| *at == value).map(|(_, name)| (*name).to_owned());
            let number = || if every < 1.0 { format!("{value:.1}") } else { format!("{value:.0}") };
            let label = name.unwrap_or_else(|| if labels.is_empty() { number() } else { String::new() });
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
        if x < WIDTH
            && let Some(dot) = self.dots.get_mut(y * WIDTH + x)
        {
            *dot = colour as u8;
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
        header.extend_from_slice(&((self.dots.len() / WIDTH) as u32).to_be_bytes());
        header.extend_from_slice(&[BIT_DEPTH, INDEXED_COLOUR, 0, 0, 0]);
        let mut lines = Vec::new();
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
