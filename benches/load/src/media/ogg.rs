//! Reads Opus out of Ogg (RFC 3533, RFC 7845): one logical stream, its pages checked, its packets with their durations.

use super::library::{MediaError, RecordedFrame, Recording};
use super::{PAYLOAD_BYTES_MAX, STAMP_BYTES};
use crate::client::Kind;

const PAGE_HEADER_BYTES: usize = 27;
/// A page's checksum, in the page.
const CHECKSUM: std::ops::Range<usize> = 22..26;
/// The packet at the start of this page began on the page before.
const CONTINUED: u8 = 0x01;

pub(super) fn read(file: &[u8]) -> Result<Recording, MediaError> {
    let mut recording = Recording { kind: Kind::Audio, bytes: Vec::new(), frames: Vec::new() };
    let mut packet = Vec::new();
    let mut packets = 0_usize;
    let mut serial = None;
    let mut at = 0;
    while at < file.len() {
        let page = Page::read(file, at)?;
        at += page.bytes;
        if *serial.get_or_insert(page.serial) != page.serial {
            return Err(MediaError::Malformed { at, what: "more than one logical stream" });
        }
        if page.continued == packet.is_empty() {
            return Err(MediaError::Malformed { at, what: "a packet that does not go on" });
        }
        let mut body = page.body;
        for &lacing in page.lacing {
            let (piece, rest) = body.split_at(usize::from(lacing));
            packet.extend_from_slice(piece);
            body = rest;
            if lacing < 255 {
                take_packet(&mut recording, packets, &packet, at)?;
                packets += 1;
                packet.clear();
            }
        }
    }
    if packet.is_empty() { Ok(recording) } else { Err(MediaError::Truncated(file.len())) }
}

fn take_packet(recording: &mut Recording, number: usize, packet: &[u8], at: usize) -> Result<(), MediaError> {
    match number {
        0 if packet.starts_with(b"OpusHead") => return Ok(()),
        0 => return Err(MediaError::WrongCodec("Opus")),
        1 if packet.starts_with(b"OpusTags") => return Ok(()),
        1 => return Err(MediaError::Malformed { at, what: "no OpusTags after OpusHead" }),
        _ => {}
    }
    let micros_to_next =
        duration_micros(packet).ok_or(MediaError::Malformed { at, what: "an Opus packet" })?;
    if packet.len() + STAMP_BYTES > PAYLOAD_BYTES_MAX {
        return Err(MediaError::Malformed { at, what: "an Opus packet larger than a datagram" });
    }
    let from = recording.bytes.len();
    recording.bytes.extend_from_slice(packet);
    let range = from..recording.bytes.len();
    recording.frames.push(RecordedFrame { range, keyframe: true, micros_to_next });
    Ok(())
}

/// RFC 6716 section 3.1: the configuration gives a frame's duration, the code how many there are.
fn duration_micros(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = usize::from(toc >> 3);
    let frame = match config {
        0..12 => [10_000, 20_000, 40_000, 60_000][config % 4],
        12..16 => [10_000, 20_000][config % 2],
        _ => [2_500, 5_000, 10_000, 20_000][config % 4],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    let micros = frame * frames;
    (2_500..=120_000).contains(&micros).then_some(micros)
}

struct Page<'a> {
    continued: bool,
    serial: u32,
    lacing: &'a [u8],
    /// As long as the lacing says.
    body: &'a [u8],
    /// Of all of the page.
    bytes: usize,
}

impl<'a> Page<'a> {
    fn read(file: &'a [u8], at: usize) -> Result<Self, MediaError> {
        let cut = || MediaError::Truncated(file.len());
        let rest = &file[at..];
        let header = rest.get(..PAGE_HEADER_BYTES).ok_or_else(cut)?;
        if !header.starts_with(b"OggS") || header[4] != 0 {
            return Err(MediaError::Malformed { at, what: "no page begins here" });
        }
        let segments = usize::from(header[26]);
        let lacing = rest.get(PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + segments).ok_or_else(cut)?;
        let body_bytes: usize = lacing.iter().map(|lacing| usize::from(*lacing)).sum();
        let bytes = PAGE_HEADER_BYTES + segments + body_bytes;
        let page = rest.get(..bytes).ok_or_else(cut)?;
        let told = u32::from_le_bytes([header[22], header[23], header[24], header[25]]);
        if checksum(page) != told {
            return Err(MediaError::Checksum(at));
        }
        Ok(Self {
            continued: header[5] & CONTINUED != 0,
            serial: u32::from_le_bytes([header[14], header[15], header[16], header[17]]),
            lacing,
            body: &page[PAGE_HEADER_BYTES + segments..],
            bytes,
        })
    }
}

/// RFC 3533 section 6: CRC-32 with the polynomial of Ethernet, not reflected, over the page with its checksum as zero.
pub(super) fn checksum(page: &[u8]) -> u32 {
    page.iter().enumerate().fold(0, |crc: u32, (at, byte)| {
        let byte = if CHECKSUM.contains(&at) { 0 } else { *byte };
        (0..8).fold(crc ^ (u32::from(byte) << 24), |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 }
        })
    })
}
