//! Images that patients send: what kind they are, how large, and without what a camera writes beside the picture.
//!
//! Bytes come in, an [`Image`] goes out. The kind is told by the bytes, walked from the first to the last; a name or a
//! header counts for nothing. What is written out again is what a decoder needs to show the picture, taken from a list of
//! what stays: a place, a serial number, a comment or a smaller copy that shows more than the picture is on no such list.
//! The pixels are not decoded: that is the browser's business, in its sandbox.
//!
//! Of our own, because what goes and what stays is the point: crates that take files apart keep what they do not know.

mod jpeg;
mod png;
#[cfg(test)]
mod tests;
mod webp;

use vestibule_domain::ContentDigest;

/// Bytes of one image as it is sent.
pub(crate) const IMAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Pixels of a side.
pub(crate) const SIDE_PIXELS_MAX: u32 = 16_384;
/// Pixels of a whole image: what a browser may have to decode at once.
pub(crate) const PIXELS_MAX: u64 = 100_000_000;

/// The kinds that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    Jpeg,
    Png,
    Webp,
}

impl MediaType {
    /// As in `Content-Type`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    /// As at the end of a file's name.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }
}

/// A text that names no kind that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no media type of an image that is taken")]
pub(crate) struct UnknownMediaType;

impl std::str::FromStr for MediaType {
    type Err = UnknownMediaType;

    fn from_str(text: &str) -> Result<Self, UnknownMediaType> {
        [Self::Jpeg, Self::Png, Self::Webp]
            .into_iter()
            .find(|media_type| media_type.as_str() == text)
            .ok_or(UnknownMediaType)
    }
}

/// An image as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) media_type: MediaType,
    pub(crate) size: Size,
    /// The file, stripped.
    pub(crate) bytes: Vec<u8>,
    /// Of `bytes`: what the image is called.
    pub(crate) digest: ContentDigest,
}

/// In pixels, as the file says: an orientation is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Why bytes are not taken as an image. Names what is wrong, never what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("the image has over {} MiB", IMAGE_BYTES_MAX / 1024 / 1024)]
    TooLong,
    #[error("this is neither JPEG nor PNG nor WebP")]
    UnknownKind,
    #[error("HEIC and AVIF are not taken: not every browser shows them; send it as JPEG")]
    Heic,
    #[error("a moving image is not taken")]
    Animated,
    #[error("{kind} of a form that browsers do not show: {what}")]
    Unsupported { kind: &'static str, what: &'static str },
    #[error("the {kind} ends too early")]
    Truncated { kind: &'static str },
    #[error("the {kind} is damaged: {what}")]
    Damaged { kind: &'static str, what: &'static str },
    #[error("{width} x {height} pixels; a side has 1 to {SIDE_PIXELS_MAX}, an image {PIXELS_MAX} at most")]
    Dimensions { width: u32, height: u32 },
}

impl Image {
    /// Takes the bytes of a file.
    ///
    /// Of what is written out the outcome is the same again: an image that was fetched and sent once more has the digest
    /// it had.
    pub(crate) fn take(file: &[u8]) -> Result<Self, ImageError> {
        if file.len() > IMAGE_BYTES_MAX {
            return Err(ImageError::TooLong);
        }
        let media_type = kind(file)?;
        let Stripped { size, bytes } = match media_type {
            MediaType::Jpeg => jpeg::strip(file)?,
            MediaType::Png => png::strip(file)?,
            MediaType::Webp => webp::strip(file)?,
        };
        let digest = ContentDigest::of(&bytes);
        Ok(Self { media_type, size, bytes, digest })
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { media_type, size, bytes, digest } = self;
        write!(formatter, "Image({media_type:?}, {size:?}, {} bytes, {digest:?})", bytes.len())
    }
}

/// What is left of a file.
struct Stripped {
    size: Size,
    bytes: Vec<u8>,
}

/// By the first bytes; that the rest fits is seen by walking it.
fn kind(file: &[u8]) -> Result<MediaType, ImageError> {
    if file.starts_with(&jpeg::START) {
        Ok(MediaType::Jpeg)
    } else if file.starts_with(&png::SIGNATURE) {
        Ok(MediaType::Png)
    } else if file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP") {
        Ok(MediaType::Webp)
    } else if is_heic(file) {
        Err(ImageError::Heic)
    } else {
        Err(ImageError::UnknownKind)
    }
}

/// A file of ISO/IEC 14496-12 with a brand of still images (ISO/IEC 23008-12, Annex B and E; AVIF).
fn is_heic(file: &[u8]) -> bool {
    const BRANDS: [&[u8; 4]; 12] = [
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"avif",
        b"avis",
    ];
    let brand = file.get(8..12);
    file.get(4..8) == Some(b"ftyp") && BRANDS.iter().any(|known| brand == Some(&known[..]))
}

impl Size {
    /// Checks the bounds.
    fn new(width: u32, height: u32) -> Result<Self, ImageError> {
        let side = 1..=SIDE_PIXELS_MAX;
        let fits = side.contains(&width) && side.contains(&height);
        if fits && u64::from(width) * u64::from(height) <= PIXELS_MAX {
            Ok(Self { width, height })
        } else {
            Err(ImageError::Dimensions { width, height })
        }
    }
}

/// Reads a file from front to back.
struct Reader<'a> {
    kind: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    const fn new(kind: &'static str, rest: &'a [u8]) -> Self {
        Self { kind, rest }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ImageError> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(ImageError::Truncated { kind: self.kind })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or(ImageError::Truncated { kind: self.kind })?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, ImageError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn damaged(&self, what: &'static str) -> ImageError {
        ImageError::Damaged { kind: self.kind, what }
    }
}
