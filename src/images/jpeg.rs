//! JPEG (ITU-T T.81): a list of segments with the coded picture between them.

use super::{ImageError, Reader, Size, Stripped};

const KIND: &str = "JPEG";

/// SOI and the first byte of the next marker.
pub(super) const START: [u8; 3] = [0xff, 0xd8, 0xff];

/// T.81, table B.1.
mod marker {
    pub(super) const SOF0: u8 = 0xc0;
    pub(super) const SOF2: u8 = 0xc2;
    pub(super) const DHT: u8 = 0xc4;
    pub(super) const RST0: u8 = 0xd0;
    pub(super) const RST7: u8 = 0xd7;
    pub(super) const EOI: u8 = 0xd9;
    pub(super) const SOS: u8 = 0xda;
    pub(super) const DQT: u8 = 0xdb;
    pub(super) const DRI: u8 = 0xdd;
    pub(super) const APP0: u8 = 0xe0;
    pub(super) const APP1: u8 = 0xe1;
    pub(super) const APP2: u8 = 0xe2;
    pub(super) const APP14: u8 = 0xee;
    pub(super) const APP15: u8 = 0xef;
    pub(super) const COM: u8 = 0xfe;
}

const JFIF: &[u8] = b"JFIF\0";
/// Bytes of a JFIF segment without a thumbnail (JFIF 1.02).
const JFIF_BYTES: usize = 14;
const EXIF: &[u8] = b"Exif\0\0";
const ICC: &[u8] = b"ICC_PROFILE\0";
const ADOBE: &[u8] = b"Adobe";
/// Of Adobe's segment, which says what the colours are (Adobe TN 5116, section 18).
const ADOBE_BYTES: usize = 12;

/// What has been seen so far.
#[derive(Default)]
struct Walk {
    size: Option<Size>,
    scans: u32,
    /// The first Exif counts.
    exif_seen: bool,
}

/// Keeps tables, frame and scans; of the applications' segments JFIF without its thumbnail, colours (ICC, Adobe), and of
/// Exif the orientation alone. What follows the end is cut: phones put a second picture or a film there.
pub(super) fn strip(file: &[u8]) -> Result<Stripped, ImageError> {
    let mut reader = Reader::new(KIND, file);
    let mut out = Vec::with_capacity(file.len());
    let mut walk = Walk::default();
    out.extend(reader.array::<2>()?);
    loop {
        let marker = next_marker(&mut reader)?;
        if marker == marker::EOI {
            break;
        }
        let body = segment(&mut reader)?;
        walk.keep(marker, body, &mut out)?;
        if marker == marker::SOS {
            out.extend_from_slice(coded(&mut reader)?);
        }
    }
    let size = walk.size.ok_or_else(|| reader.damaged("it has no frame"))?;
    if walk.scans == 0 {
        return Err(reader.damaged("it has no scan"));
    }
    out.extend([0xff, marker::EOI]);
    Ok(Stripped { size, bytes: out })
}

/// Fill bytes before a marker are allowed (T.81, B.1.1.2).
fn next_marker(reader: &mut Reader<'_>) -> Result<u8, ImageError> {
    if reader.byte()? != 0xff {
        return Err(reader.damaged("there is something between its segments"));
    }
    loop {
        match reader.byte()? {
            0xff => {}
            code => return Ok(code),
        }
    }
}

fn segment<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ImageError> {
    let length = u16::from_be_bytes(reader.array()?);
    let body = length.checked_sub(2).ok_or_else(|| reader.damaged("a segment is shorter than its length"))?;
    reader.take(body.into())
}

/// The coded picture, up to the next marker that is none of its own.
fn coded<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ImageError> {
    let data = reader.rest;
    let mut at = 0;
    while at + 1 < data.len() {
        let stays = match (data[at], data[at + 1]) {
            // A fill byte: the marker begins at the next.
            (0xff, 0xff) => return reader.take(at),
            (0xff, 0 | marker::RST0..=marker::RST7) => 2,
            (0xff, _) => return reader.take(at),
            _ => 1,
        };
        at += stays;
    }
    Err(ImageError::Truncated { kind: KIND })
}

impl Walk {
    fn keep(&mut self, marker: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), ImageError> {
        match marker {
            marker::DHT | marker::DQT | marker::DRI => write(marker, body, out),
            marker::SOF0..=marker::SOF2 => {
                self.frame(body)?;
                write(marker, body, out);
            }
            marker::SOS => {
                if self.size.is_none() {
                    return Err(damaged("a scan comes before the frame"));
                }
                self.scans += 1;
                write(marker, body, out);
            }
            marker::APP0 if body.starts_with(JFIF) => write_jfif(body, out)?,
            marker::APP1 if body.starts_with(EXIF) => self.exif(&body[EXIF.len()..], out),
            marker::APP2 if body.starts_with(ICC) => write(marker, body, out),
            marker::APP14 if body.starts_with(ADOBE) => {
                let known = body.get(..ADOBE_BYTES).ok_or_else(|| damaged("a segment is too short"))?;
                write(marker, known, out);
            }
            marker::APP0..=marker::APP15 | marker::COM => {}
            // Lossless, hierarchical, arithmetic, and what no standard names.
            _ => {
                return Err(ImageError::Unsupported {
                    kind: KIND,
                    what: "its coding is none of the common ones",
                });
            }
        }
        Ok(())
    }

    /// T.81, B.2.2.
    fn frame(&mut self, body: &[u8]) -> Result<(), ImageError> {
        let [_precision, h1, h0, w1, w0, components, ..] = *body else {
            return Err(damaged("the frame's header is too short"));
        };
        if self.size.is_some() {
            return Err(damaged("it has two frames"));
        }
        if !(1..=4).contains(&components) || body.len() != 6 + 3 * usize::from(components) {
            return Err(damaged("the frame's header has the wrong length"));
        }
        // A height of 0 would be given after the first scan (DNL); no browser shows it.
        self.size =
            Some(Size::new(u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into())?);
        Ok(())
    }

    fn exif(&mut self, tiff: &[u8], out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.exif_seen, true) {
            return;
        }
        // Exif that cannot be read is as good as none: it goes either way.
        if let Some(turned) = orientation(tiff).filter(|&orientation| orientation != UPRIGHT) {
            write(marker::APP1, &exif_of(turned), out);
        }
    }
}

fn write(marker: u8, body: &[u8], out: &mut Vec<u8>) {
    let length =
        u16::try_from(body.len() + 2).expect("a body was read with its length, or is shorter than that one");
    out.extend([0xff, marker]);
    out.extend(length.to_be_bytes());
    out.extend_from_slice(body);
}

/// A thumbnail may show what was cut from the picture.
fn write_jfif(body: &[u8], out: &mut Vec<u8>) -> Result<(), ImageError> {
    let mut known = [0; JFIF_BYTES];
    known.copy_from_slice(body.get(..JFIF_BYTES).ok_or_else(|| damaged("a segment is too short"))?);
    // Its width and height.
    known[JFIF_BYTES - 2..].fill(0);
    write(marker::APP0, &known, out);
    Ok(())
}

/// As the pixels are.
const UPRIGHT: u16 = 1;
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// The orientation in the first directory of a TIFF (TIFF 6.0, section 2; Exif 2.32, 4.6.4).
fn orientation(tiff: &[u8]) -> Option<u16> {
    let big = match tiff.get(..4)? {
        b"MM\0\x2a" => true,
        b"II\x2a\0" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(directory)?);
    let first = directory.checked_add(2)?;
    let entry = (0..entries).map_while(|index| {
        let at = first.checked_add(12 * index)?;
        Some((at, short(at)?))
    });
    let (at, _) = entry.into_iter().find(|&(_, tag)| tag == ORIENTATION)?;
    let is_one_short = short(at + 2)? == SHORT && long(at + 4)? == 1;
    short(at + 8).filter(|value| is_one_short && (1..=8).contains(value))
}

/// Exif that says the orientation and no more.
fn exif_of(orientation: u16) -> Vec<u8> {
    let mut exif = EXIF.to_vec();
    // Big-endian; the directory follows at once and has one entry.
    exif.extend(b"MM\0\x2a\0\0\0\x08\0\x01");
    exif.extend(ORIENTATION.to_be_bytes());
    exif.extend(SHORT.to_be_bytes());
    exif.extend(1_u32.to_be_bytes());
    exif.extend(orientation.to_be_bytes());
    // The value is filled up to four bytes; there is no other directory.
    exif.extend([0; 6]);
    exif
}

const fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { kind: KIND, what }
}
