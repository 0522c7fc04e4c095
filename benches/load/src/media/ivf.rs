//! Reads IVF: a header of 32 bytes, then frames with their size and time.

use super::library::{MediaError, RecordedFrame, Recording};
use crate::client::Kind;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;
/// A VP8 frame is cut into at most this many packets of about a kilobyte.
const FRAME_BYTES_MAX: usize = 255 * 1_024;
/// Where times say nothing, and for the last frame.
const MICROS_DEFAULT: u64 = 33_333;

pub(super) fn read(file: &[u8]) -> Result<Recording, MediaError> {
    let header = file.get(..HEADER_BYTES).ok_or(MediaError::Truncated(file.len()))?;
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if u16_at(4) != 0 {
        return Err(MediaError::Malformed { at: 4, what: "the version is not 0" });
    }
    let header_bytes = usize::from(u16_at(6));
    if header_bytes < HEADER_BYTES {
        return Err(MediaError::Malformed { at: 6, what: "the header is too short" });
    }
    if &header[8..12] != b"VP80" {
        return Err(MediaError::WrongCodec("VP8"));
    }
    // Units per second are `rate / scale`.
    let (rate, scale) = (u64::from(u32_at(16)), u64::from(u32_at(20)));
    if rate == 0 || scale == 0 {
        return Err(MediaError::Malformed { at: 16, what: "the time base is zero" });
    }
    let mut recording = Recording { kind: Kind::Video, bytes: Vec::new(), frames: Vec::new() };
    let mut times = Vec::new();
    let mut at = header_bytes;
    while at < file.len() {
        let (bytes, time) = frame_header(file, at)?;
        let start = at + FRAME_HEADER_BYTES;
        let data = file.get(start..start + bytes).ok_or(MediaError::Truncated(file.len()))?;
        let from = recording.bytes.len();
        recording.bytes.extend_from_slice(data);
        // RFC 6386 section 9.1: the lowest bit of the frame tag.
        let keyframe = data.first().is_some_and(|tag| tag & 1 == 0);
        let range = from..recording.bytes.len();
        recording.frames.push(RecordedFrame { range, keyframe, micros_to_next: MICROS_DEFAULT as u32 });
        times.push(time);
        at = start + bytes;
    }
    for (frame, pair) in recording.frames.iter_mut().zip(times.windows(2)) {
        let units = u128::from(pair[1].saturating_sub(pair[0]));
        let micros = units * 1_000_000 * u128::from(scale) / u128::from(rate);
        // What is out of order, or stands still for seconds, is no rhythm to send in.
        frame.micros_to_next =
            if (1_000..=2_000_000).contains(&micros) { micros as u32 } else { MICROS_DEFAULT as u32 };
    }
    Ok(recording)
}

/// Size and time of the frame whose header is at `at`.
fn frame_header(file: &[u8], at: usize) -> Result<(usize, u64), MediaError> {
    let cut = || MediaError::Truncated(file.len());
    let header = file.get(at..at + FRAME_HEADER_BYTES).ok_or_else(cut)?;
    let (size, time) = header.split_first_chunk::<4>().ok_or_else(cut)?;
    let bytes = u32::from_le_bytes(*size) as usize;
    if bytes == 0 || bytes > FRAME_BYTES_MAX {
        return Err(MediaError::Malformed { at, what: "the size of a frame" });
    }
    Ok((bytes, u64::from_le_bytes(*time.first_chunk().ok_or_else(cut)?)))
}
