//! Colours of the clinic, and whether text on them can be read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A colour as CSS writes it in hexadecimal, without transparency. As text `#rrggbb` in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CssColor {
    red: u8,
    green: u8,
    blue: u8,
}

/// A text that is no such colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a colour in the form #rgb or #rrggbb")]
pub struct ColorError;

impl CssColor {
    /// Black.
    pub const BLACK: Self = Self { red: 0, green: 0, blue: 0 };
    /// White.
    pub const WHITE: Self = Self { red: 255, green: 255, blue: 255 };

    /// Black or white, whichever is read better on this. One of the two always has the 4.5 to 1 that WCAG 2.2 asks for
    /// in success criterion 1.4.3.
    #[must_use]
    pub fn text_color(&self) -> Self {
        if self.contrast(&Self::BLACK) >= self.contrast(&Self::WHITE) { Self::BLACK } else { Self::WHITE }
    }

    /// The contrast ratio of WCAG 2.2: from 1.0, the same, to 21.0, black on white. The same both ways.
    #[must_use]
    pub fn contrast(&self, other: &Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// The relative luminance of WCAG 2.2, 0.0 to 1.0.
    fn luminance(&self) -> f64 {
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }
}

/// One channel of sRGB as light.
fn linear(channel: u8) -> f64 {
    let value = f64::from(channel) / 255.0;
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

impl fmt::Display for CssColor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

impl fmt::Debug for CssColor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CssColor({self})")
    }
}

impl FromStr for CssColor {
    type Err = ColorError;

    fn from_str(text: &str) -> Result<Self, ColorError> {
        let digits = text.strip_prefix('#').ok_or(ColorError)?.as_bytes();
        match *digits {
            [r, g, b] => Ok(Self { red: byte(r, r)?, green: byte(g, g)?, blue: byte(b, b)? }),
            [r, s, g, h, b, c] => Ok(Self { red: byte(r, s)?, green: byte(g, h)?, blue: byte(b, c)? }),
            _ => Err(ColorError),
        }
    }
}

fn byte(high: u8, low: u8) -> Result<u8, ColorError> {
    Ok((digit(high)? << 4) | digit(low)?)
}

fn digit(byte: u8) -> Result<u8, ColorError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(ColorError),
    }
}

impl TryFrom<String> for CssColor {
    type Error = ColorError;

    fn try_from(text: String) -> Result<Self, ColorError> {
        text.parse()
    }
}

impl From<CssColor> for String {
    fn from(color: CssColor) -> Self {
        color.to_string()
    }
}
