//! What waits to leave in one connection: whole packets, never half of one.

use std::io;
use std::time::Duration;

use socket2::Socket;
use vestibule_media_core::Time;

use super::frames::LENGTH_BYTES;

/// Bytes that may wait in one connection. Video is told to wait long before ([`FULL_BYTES`]), so what comes up to here is
/// what was on its way in that turn.
pub(super) const BACKLOG_BYTES_MAX: usize = 512 * 1024;
/// Of those, what only short packets may take, which voices and reports are: a burst of video must not push a voice out.
const RESERVED_BYTES: usize = 64 * 1024;
/// Packets up to this length may take the reserve.
const SHORT_PACKET_BYTES: usize = 400;
/// From so many bytes on video has to wait.
pub(super) const FULL_BYTES: usize = 16 * 1024;
/// Down to so many it has to.
pub(super) const FREE_BYTES: usize = 4 * 1024;
/// Room that is kept while nothing waits.
const KEPT_BYTES: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    /// How much of it has left.
    sent: usize,
    /// How much has left of all there ever was.
    left: u64,
    /// How far that was to come, and since when it has been waited for.
    mark: (u64, Time),
}

impl Backlog {
    pub(super) const fn new(now: Time) -> Self {
        Self { bytes: Vec::new(), sent: 0, left: 0, mark: (0, now) }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Appends a packet. False if there is no room for it.
    pub(super) fn push(&mut self, packet: &[u8]) -> bool {
        let reserved = if packet.len() <= SHORT_PACKET_BYTES { 0 } else { RESERVED_BYTES };
        let Some(length) = u16::try_from(packet.len())
            .ok()
            .filter(|_| self.len() + LENGTH_BYTES + packet.len() + reserved <= BACKLOG_BYTES_MAX)
        else {
            return false;
        };
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(packet);
        true
    }

    /// How long something has waited, at the least.
    pub(super) fn waited(&self, now: Time) -> Duration {
        if self.len() == 0 { Duration::ZERO } else { now.since(self.mark.1) }
    }

    /// Gives the kernel what it takes now.
    pub(super) fn flush(&mut self, stream: &Socket, now: Time) -> io::Result<()> {
        while self.len() > 0 {
            match stream.send_with_flags(&self.bytes[self.sent..], libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) {
                Ok(sent) => {
                    self.sent += sent;
                    self.left += sent as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.left >= self.mark.0 || self.len() == 0 {
            self.mark = (self.left + self.len() as u64, now);
        }
        self.tidy();
        Ok(())
    }

    fn tidy(&mut self) {
        if self.len() == 0 {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.sent = 0;
        } else if self.sent >= FULL_BYTES {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_still_fits_where_no_video_does_and_neither_goes_over_the_bound() {
        let mut backlog = Backlog::new(Time::ZERO);
        while backlog.push(&[1; 1_200]) {}
        let video = backlog.len();
        assert!(
            (BACKLOG_BYTES_MAX - RESERVED_BYTES - 1_202..=BACKLOG_BYTES_MAX - RESERVED_BYTES)
                .contains(&video)
        );
        let mut voices = 0;
        while backlog.push(&[2; 160]) {
            voices += 1;
        }
        assert!(voices >= RESERVED_BYTES / 162, "{voices}");
        assert!(backlog.len() <= BACKLOG_BYTES_MAX);
        assert!(!backlog.push(&[3; 70_000]), "no length of two bytes says that");
    }
}
