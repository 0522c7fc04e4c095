//! Packets in a stream of bytes: each behind its length in two bytes (RFC 4571 section 2).

use vestibule_media_core::bounds::DATAGRAM_BYTES_MAX;

/// Bytes of the length before a packet.
pub(super) const LENGTH_BYTES: usize = 2;
/// Bytes taken from one connection at a time.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// What is left of a read at the most: one packet less its last byte.
pub(super) const REST_BYTES_MAX: usize = LENGTH_BYTES + DATAGRAM_BYTES_MAX;

/// The packet that comes next is longer than any this server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameTooLong;

/// What was read of one connection, packet by packet. Made once, used for every read.
#[derive(Debug)]
pub(crate) struct Frames {
    bytes: Box<[u8]>,
    at: usize,
    filled: usize,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; REST_BYTES_MAX + READ_BYTES].into(), at: 0, filled: 0 }
    }

    /// Begins with what the last read of the same connection left, and gives the place for what follows.
    pub(super) fn begin(&mut self, rest: &[u8]) -> &mut [u8] {
        self.at = 0;
        self.filled = rest.len();
        self.bytes[..rest.len()].copy_from_slice(rest);
        &mut self.bytes[rest.len()..rest.len() + READ_BYTES]
    }

    /// So many bytes were read.
    pub(super) const fn read(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// The next whole packet.
    pub(crate) fn next(&mut self) -> Result<Option<&mut [u8]>, FrameTooLong> {
        let Some((length, rest)) = self.bytes[self.at..self.filled].split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > DATAGRAM_BYTES_MAX {
            return Err(FrameTooLong);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.at + LENGTH_BYTES;
        self.at = start + length;
        Ok(Some(&mut self.bytes[start..start + length]))
    }

    /// What is no whole packet yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..self.filled]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    /// Feeds a stream in pieces of this size.
    fn read(stream: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, FrameTooLong> {
        let (mut frames, mut rest, mut found) = (Frames::new(), Vec::new(), Vec::new());
        for piece in stream.chunks(piece) {
            frames.begin(&rest)[..piece.len()].copy_from_slice(piece);
            frames.read(piece.len());
            while let Some(packet) = frames.next()? {
                found.push(packet.to_vec());
            }
            rest = frames.rest().to_vec();
            assert!(rest.len() < REST_BYTES_MAX, "{}", rest.len());
        }
        Ok(found)
    }

    #[test]
    fn packets_come_out_as_they_went_in_however_the_stream_is_cut() {
        let packets = [vec![1; 1_200], vec![], vec![2], vec![3; DATAGRAM_BYTES_MAX], vec![4; 90]];
        let stream = packets.iter().flat_map(|packet| frame(packet)).collect::<Vec<_>>();
        for piece in [1, 2, 3, 7, 1_000, READ_BYTES] {
            assert_eq!(read(&stream, piece).unwrap(), packets, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_length_over_the_bound_is_an_error_before_any_of_it_is_kept() {
        let long = ((DATAGRAM_BYTES_MAX + 1) as u16).to_be_bytes();
        assert_eq!(read(&long, 1), Err(FrameTooLong));
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n", 64), Err(FrameTooLong));
    }
}
