//! Recordings that are sent instead of synthetic media: read once, checked, and shared.

use std::ops::Range;
use std::path::Path;

use super::{RecordingId, ivf, ogg};
use crate::client::Kind;

/// A file above this is no test recording.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It could not be read.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is larger than half a gigabyte.
    #[error("the recording is too large")]
    TooLarge,
    /// It begins like neither IVF nor Ogg.
    #[error("the file is neither IVF nor Ogg")]
    UnknownFormat,
    /// It ends within a header, a frame or a page.
    #[error("the file is cut off at byte {0}")]
    Truncated(usize),
    /// The codec is not the one that is spoken here.
    #[error("the file does not hold {0}")]
    WrongCodec(&'static str),
    /// A field has a value it may not have.
    #[error("malformed at byte {at}: {what}")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A page's checksum does not fit.
    #[error("the page at byte {0} is damaged")]
    Checksum(usize),
    /// Nothing can be played: no frame, or no keyframe at the start.
    #[error("the file has no frame to begin with")]
    NoFrames,
}

/// Recordings, read once and shared by all who send them.
#[derive(Clone, Debug, Default)]
pub struct MediaLibrary {
    recordings: Vec<Recording>,
    seed: u64,
}

/// One recording.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) kind: Kind,
    /// All frames behind each other.
    pub(super) bytes: Vec<u8>,
    /// Never empty; video begins with a keyframe.
    pub(super) frames: Vec<RecordedFrame>,
}

#[derive(Clone, Debug)]
pub(super) struct RecordedFrame {
    pub(super) range: Range<usize>,
    pub(super) keyframe: bool,
    pub(super) micros_to_next: u32,
}

impl MediaLibrary {
    /// Nothing recorded, and made-up media that is the same for the same seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { recordings: Vec::new(), seed }
    }

    /// Of the media that is made up.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Reads a file, IVF with VP8 or Ogg with Opus.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub fn load(&mut self, path: &Path) -> Result<RecordingId, MediaError> {
        if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
            return Err(MediaError::TooLarge);
        }
        self.add(&std::fs::read(path)?)
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub fn add(&mut self, file: &[u8]) -> Result<RecordingId, MediaError> {
        let recording = match file {
            [b'D', b'K', b'I', b'F', ..] => ivf::read(file)?,
            [b'O', b'g', b'g', b'S', ..] => ogg::read(file)?,
            _ => return Err(MediaError::UnknownFormat),
        };
        let starts_well = recording.frames.first().is_some_and(|first| first.keyframe);
        if !starts_well {
            return Err(MediaError::NoFrames);
        }
        self.recordings.push(recording);
        Ok(RecordingId(self.recordings.len() as u32 - 1))
    }

    /// What a recording holds; `None` if there is none of this id.
    #[must_use]
    pub fn kind(&self, id: RecordingId) -> Option<Kind> {
        Some(self.recordings.get(id.0 as usize)?.kind)
    }

    pub(super) fn frames(&self, id: RecordingId) -> u32 {
        self.recording(id).frames.len() as u32
    }

    /// Bytes, keyframe or not, and how long it lasts in µs.
    pub(super) fn frame_info(&self, id: RecordingId, frame: u32) -> (usize, bool, u32) {
        let frame = &self.recording(id).frames[frame as usize];
        (frame.range.len(), frame.keyframe, frame.micros_to_next)
    }

    pub(super) fn frame(&self, id: RecordingId, frame: u32) -> &[u8] {
        let recording = self.recording(id);
        &recording.bytes[recording.frames[frame as usize].range.clone()]
    }

    /// The first keyframe from `frame` on, going round.
    pub(super) fn keyframe_from(&self, id: RecordingId, frame: u32) -> u32 {
        let frames = &self.recording(id).frames;
        let later = frames.iter().enumerate().skip(frame as usize).find(|(_, frame)| frame.keyframe);
        later.map_or(0, |(at, _)| at as u32)
    }

    /// A generator is only made for a recording that is there, and none is ever taken out.
    fn recording(&self, id: RecordingId) -> &Recording {
        &self.recordings[id.0 as usize]
    }
}
