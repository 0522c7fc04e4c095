//! PNG (W3C, third edition): a list of chunks, each with a checksum.

use crc32fast::Hasher;

use super::{ImageError, Reader, Size, Stripped};

const KIND: &str = "PNG";

pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Whether it is a chunk beside the picture that changes how it is shown, of a length that such a chunk has (11.3): what
/// is longer has room for something else. All others go: text, times, Exif, what a program has for itself, and the
/// further pictures of an animation. An orientation goes with the Exif: in PNG hardly any program writes or reads one.
const fn is_shown_by(name: [u8; 4], length: usize) -> bool {
    match &name {
        b"iCCP" => true,
        b"cHRM" => length == 32,
        b"gAMA" | b"cICP" => length == 4,
        b"sRGB" => length == 1,
        b"pHYs" => length == 9,
        b"tRNS" => length <= 256,
        b"bKGD" => length <= 6,
        b"sBIT" => length <= 4,
        _ => false,
    }
}

struct Chunk<'a> {
    name: [u8; 4],
    body: &'a [u8],
    /// With length and checksum.
    whole: &'a [u8],
}

pub(super) fn strip(file: &[u8]) -> Result<Stripped, ImageError> {
    let mut reader = Reader::new(KIND, file);
    let mut out = Vec::with_capacity(file.len());
    out.extend_from_slice(reader.take(SIGNATURE.len())?);
    let header = chunk(&mut reader)?;
    if header.name != *b"IHDR" {
        return Err(damaged("it does not begin with a header"));
    }
    let size = size(header.body)?;
    out.extend_from_slice(header.whole);
    let mut data = Data::Before;
    loop {
        let chunk = chunk(&mut reader)?;
        data = data.then(&chunk.name)?;
        match &chunk.name {
            b"PLTE" | b"IDAT" => out.extend_from_slice(chunk.whole),
            b"IEND" if data == Data::Before => return Err(damaged("it has no picture")),
            b"IEND" if !chunk.body.is_empty() => return Err(damaged("there is something in its end")),
            b"IEND" => {
                out.extend_from_slice(chunk.whole);
                // What follows is cut.
                return Ok(Stripped { size, bytes: out });
            }
            name if is_shown_by(*name, chunk.body.len()) => out.extend_from_slice(chunk.whole),
            // Bit 5 of the first letter: without what is in it the picture cannot be shown (5.4).
            [first, ..] if first.is_ascii_uppercase() => {
                return Err(ImageError::Unsupported {
                    kind: KIND,
                    what: "it has a critical chunk of no standard",
                });
            }
            _ => {}
        }
    }
}

/// The chunks of the picture's data follow one another (5.6).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    Before,
    Within,
    After,
}

impl Data {
    fn then(self, name: &[u8; 4]) -> Result<Self, ImageError> {
        match (self, name) {
            (Self::Before | Self::Within, b"IDAT") => Ok(Self::Within),
            (Self::After, b"IDAT") => Err(damaged("its data is not in one piece")),
            (Self::Within, _) => Ok(Self::After),
            (Self::Before | Self::After, _) => Ok(self),
        }
    }
}

fn chunk<'a>(reader: &mut Reader<'a>) -> Result<Chunk<'a>, ImageError> {
    let from = reader.rest;
    let length = usize::try_from(u32::from_be_bytes(reader.array()?)).unwrap_or(usize::MAX);
    let name: [u8; 4] = reader.array()?;
    if !name.iter().all(u8::is_ascii_alphabetic) {
        return Err(damaged("a chunk has no name"));
    }
    let body = reader.take(length)?;
    let checksum = u32::from_be_bytes(reader.array()?);
    let mut hasher = Hasher::new();
    hasher.update(&name);
    hasher.update(body);
    if hasher.finalize() != checksum {
        return Err(damaged("a checksum is wrong"));
    }
    let whole = &from[..from.len() - reader.rest.len()];
    Ok(Chunk { name, body, whole })
}

/// 11.2.1.
fn size(header: &[u8]) -> Result<Size, ImageError> {
    let header: &[u8; 13] = header.try_into().map_err(|_| damaged("its header has the wrong length"))?;
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, color, compression, filter, interlace] = *header;
    let known = matches!((color, depth), (0, 1 | 2 | 4 | 8 | 16) | (3, 1 | 2 | 4 | 8) | (2 | 4 | 6, 8 | 16));
    if !known || compression != 0 || filter != 0 || interlace > 1 {
        return Err(damaged("its header says what no standard does"));
    }
    Size::new(u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]))
}

const fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { kind: KIND, what }
}
