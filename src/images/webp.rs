//! WebP (RFC 9649): chunks in a RIFF container.

use super::{ImageError, Reader, Size, Stripped};

const KIND: &str = "WebP";

/// Of the flags in a VP8X chunk (RFC 9649, 2.7.1).
mod flag {
    pub(super) const ANIMATION: u8 = 0x02;
    pub(super) const ALPHA: u8 = 0x10;
    pub(super) const ICC: u8 = 0x20;
}

/// What stays of a file.
#[derive(Default)]
struct Parts<'a> {
    /// VP8X: its flags and the canvas.
    extended: Option<(u8, Size)>,
    icc: Option<&'a [u8]>,
    alpha: Option<&'a [u8]>,
    picture: Option<(Coding, &'a [u8])>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Lossy,
    Lossless,
}

/// Keeps the picture, its transparency and its colours. Exif and XMP go, and with them an orientation: browsers do not
/// turn WebP by it alike. What no standard names goes too, and what follows the end.
pub(super) fn strip(file: &[u8]) -> Result<Stripped, ImageError> {
    let mut reader = Reader::new(KIND, file);
    reader.take(4)?;
    let length = u32::from_le_bytes(reader.array()?);
    // The length counts from after itself.
    let mut body = Reader::new(KIND, reader.take(usize::try_from(length).unwrap_or(usize::MAX))?);
    body.take(4)?;
    let mut parts = Parts::default();
    while !body.rest.is_empty() {
        let (name, chunk) = chunk(&mut body)?;
        parts.keep(name, chunk)?;
        if parts.extended.is_none() && parts.picture.is_some() {
            // The simple format has one chunk (2.5, 2.6).
            break;
        }
    }
    let size = parts.size()?;
    Ok(Stripped { size, bytes: parts.written(size) })
}

fn chunk<'a>(reader: &mut Reader<'a>) -> Result<([u8; 4], &'a [u8]), ImageError> {
    let name = reader.array()?;
    let length = usize::try_from(u32::from_le_bytes(reader.array()?)).unwrap_or(usize::MAX);
    let body = reader.take(length)?;
    // To an even length; programs forget it at the end.
    if length % 2 == 1 && !reader.rest.is_empty() {
        reader.take(1)?;
    }
    Ok((name, body))
}

impl<'a> Parts<'a> {
    fn keep(&mut self, name: [u8; 4], body: &'a [u8]) -> Result<(), ImageError> {
        match &name {
            b"VP8X" => {
                if self.extended.is_some() || self.picture.is_some() {
                    return Err(damaged("its header is not at the front"));
                }
                self.extended = Some(extended(body)?);
            }
            b"ANIM" | b"ANMF" => return Err(ImageError::Animated),
            b"ICCP" if self.icc.is_none() => self.icc = Some(body),
            b"ALPH" if self.alpha.is_none() => self.alpha = Some(body),
            b"VP8 " if self.picture.is_none() => self.picture = Some((Coding::Lossy, body)),
            b"VP8L" if self.picture.is_none() => self.picture = Some((Coding::Lossless, body)),
            b"ICCP" | b"ALPH" | b"VP8 " | b"VP8L" => return Err(damaged("it has a chunk twice")),
            _ => {}
        }
        Ok(())
    }

    fn size(&self) -> Result<Size, ImageError> {
        let (coding, picture) = self.picture.ok_or_else(|| damaged("it has no picture"))?;
        let size = match coding {
            Coding::Lossy => lossy(picture)?,
            Coding::Lossless => lossless(picture)?,
        };
        match self.extended {
            Some((_, canvas)) if canvas != size => Err(damaged("picture and canvas do not fit")),
            _ => Ok(size),
        }
    }

    fn written(&self, size: Size) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WEBP".to_vec();
        if let Some((flags, _)) = self.extended {
            // Alpha within a lossless picture has no chunk: there the flag is believed.
            let alpha = flags & flag::ALPHA != 0 && (self.alpha.is_some() || self.is_lossless());
            let icc = if self.icc.is_some() { flag::ICC } else { 0 };
            let mut header = [0; 10];
            header[0] = icc | if alpha { flag::ALPHA } else { 0 };
            header[4..7].copy_from_slice(&(size.width - 1).to_le_bytes()[..3]);
            header[7..10].copy_from_slice(&(size.height - 1).to_le_bytes()[..3]);
            write(*b"VP8X", &header, &mut out);
            if let Some(icc) = self.icc {
                write(*b"ICCP", icc, &mut out);
            }
            if let Some(alpha_data) = self.alpha.filter(|_| alpha && !self.is_lossless()) {
                write(*b"ALPH", alpha_data, &mut out);
            }
        }
        match self.picture {
            Some((Coding::Lossy, picture)) => write(*b"VP8 ", picture, &mut out),
            Some((Coding::Lossless, picture)) => write(*b"VP8L", picture, &mut out),
            None => {}
        }
        let length = u32::try_from(out.len() - 8).expect("a file is far below 4 GiB");
        out[4..8].copy_from_slice(&length.to_le_bytes());
        out
    }

    fn is_lossless(&self) -> bool {
        self.picture.is_some_and(|(coding, _)| coding == Coding::Lossless)
    }
}

fn write(name: [u8; 4], body: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(body.len()).expect("a chunk was read with its length");
    out.extend(name);
    out.extend(length.to_le_bytes());
    out.extend_from_slice(body);
    if body.len() % 2 == 1 {
        out.push(0);
    }
}

/// RFC 9649, 2.7.1.
fn extended(body: &[u8]) -> Result<(u8, Size), ImageError> {
    let body: &[u8; 10] = body.try_into().map_err(|_| damaged("its header has the wrong length"))?;
    let [flags, _, _, _, w0, w1, w2, h0, h1, h2] = *body;
    if flags & flag::ANIMATION != 0 {
        return Err(ImageError::Animated);
    }
    let size = Size::new(u32::from_le_bytes([w0, w1, w2, 0]) + 1, u32::from_le_bytes([h0, h1, h2, 0]) + 1)?;
    Ok((flags, size))
}

/// The head of a key frame (RFC 6386, 9.1).
fn lossy(picture: &[u8]) -> Result<Size, ImageError> {
    let [tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = *picture else {
        return Err(damaged("the picture does not begin as one"));
    };
    if tag & 1 != 0 {
        return Err(damaged("the picture is no key frame"));
    }
    // The upper two bits are a scale.
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Size::new(side(w0, w1), side(h0, h1))
}

/// RFC 9649, 3.4: a signature, 14 bits of width, 14 of height, each less one.
fn lossless(picture: &[u8]) -> Result<Size, ImageError> {
    let [0x2f, a, b, c, d, ..] = *picture else { return Err(damaged("the picture does not begin as one")) };
    let bits = u32::from_le_bytes([a, b, c, d]);
    Size::new((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1)
}

const fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { kind: KIND, what }
}
