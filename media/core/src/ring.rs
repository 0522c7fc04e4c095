//! The packet ring of one encoding: plaintext packets, by the publisher's extended sequence number.
//!
//! Every subscriber's retransmissions come from here; there is no copy per subscriber. It grows with the bit rate
//! until it spans [`RING_SPAN`], never past its byte bound, and answers `None` for what it no longer holds.

use crate::bounds::{RING_BYTES_MIN, RING_SPAN};
use crate::codec::Descriptor;
use crate::time::Time;

/// What is known of a packet beside its payload bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketMeta {
    /// Which packet of its ring it was, by the time it came; the ring counts.
    pub(crate) arrived: u64,
    /// Extended sequence number of the publisher's stream (ROC · 2¹⁶ + sequence).
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// First packet of a keyframe (always true for audio: any packet will do to begin with).
    pub(crate) entry_point: bool,
    /// In the words of the encoding's codec: one ring holds packets of one.
    pub(crate) descriptor: Descriptor,
    /// RFC 6464 octet, if the packet had one.
    pub(crate) audio_level: Option<u8>,
    /// 3GPP coordination of video orientation, if the packet had one.
    pub(crate) video_orientation: Option<u8>,
    /// Playout delay limits, if the packet had them.
    pub(crate) playout_delay: Option<[u8; 3]>,
}

impl PacketMeta {
    /// The same of a packet of which only the number is sent.
    pub(crate) fn emptied(&self) -> Self {
        Self { marker: false, descriptor: Descriptor::None, ..*self }
    }

    /// What of the kept bytes is the payload.
    #[inline]
    pub(crate) fn body<'a>(&self, kept: &'a [u8]) -> &'a [u8] {
        kept.get(self.descriptor.prefix_len()..).unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
struct Entry {
    meta: PacketMeta,
    /// Absolute offset of the payload: total bytes written before it.
    at: u64,
    len: u16,
    used: bool,
}

const EMPTY: Entry = Entry {
    meta: PacketMeta {
        arrived: 0,
        index: 0,
        timestamp: 0,
        marker: false,
        entry_point: false,
        descriptor: Descriptor::None,
        audio_level: None,
        video_orientation: None,
        playout_delay: None,
    },
    at: 0,
    len: 0,
    used: false,
};

pub(crate) struct PacketRing {
    entries: Vec<Entry>,
    packets_max: usize,
    bytes: Vec<u8>,
    bytes_max: usize,
    /// Total bytes written, skips at the end included.
    head: u64,
    wrapped_at: Time,
    arrivals: u64,
}

impl PacketRing {
    /// A ring of at most `packets_max` (a power of two) packets and `bytes_max` bytes; it takes memory at its first packet.
    pub(crate) fn new(packets_max: usize, bytes_max: usize) -> Self {
        assert!(packets_max.is_power_of_two());
        Self {
            entries: Vec::new(),
            packets_max,
            bytes: Vec::new(),
            bytes_max,
            head: 0,
            wrapped_at: Time::ZERO,
            arrivals: 0,
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.fill(EMPTY);
    }

    /// Puts a packet in: what stands before its payload, and the payload, are copied. More than the ring's bytes is a
    /// caller's bug.
    pub(crate) fn insert(&mut self, meta: PacketMeta, prefix: &[u8], payload: &[u8], now: Time) {
        if self.entries.is_empty() {
            self.entries = vec![EMPTY; self.packets_max];
            self.bytes = vec![0; RING_BYTES_MIN.min(self.bytes_max)];
            self.wrapped_at = now;
        }
        let len = prefix.len() + payload.len();
        let at = self.make_room(len, now);
        let start = (at % self.bytes.len() as u64) as usize;
        let (before, behind) = self.bytes[start..start + len].split_at_mut(prefix.len());
        before.copy_from_slice(prefix);
        behind.copy_from_slice(payload);
        let mask = self.entries.len() as u64 - 1;
        self.arrivals += 1;
        let meta = PacketMeta { arrived: self.arrivals, ..meta };
        self.entries[(meta.index & mask) as usize] = Entry { meta, at, len: len as u16, used: true };
    }

    /// The packet of this index and its payload, if it is still there.
    #[inline]
    pub(crate) fn get(&self, index: u64) -> Option<(&PacketMeta, &[u8])> {
        let entry = self.entry(index)?;
        let start = (entry.at % self.bytes.len() as u64) as usize;
        Some((&entry.meta, &self.bytes[start..start + entry.len as usize]))
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.entry(index).is_some()
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    #[inline]
    fn entry(&self, index: u64) -> Option<&Entry> {
        let mask = (self.entries.len() as u64).wrapping_sub(1);
        let entry = self.entries.get((index & mask) as usize)?;
        let alive =
            entry.used && entry.meta.index == index && entry.at + self.bytes.len() as u64 >= self.head;
        alive.then_some(entry)
    }

    /// The absolute offset at which `len` bytes lie in one piece, with `head` moved past them.
    fn make_room(&mut self, len: usize, now: Time) -> u64 {
        let capacity = self.bytes.len();
        assert!(len <= capacity.min(RING_BYTES_MIN), "a packet never exceeds a ring");
        let start = (self.head % capacity as u64) as usize;
        let past_end = start + len > capacity;
        if past_end || (start == 0 && self.head > 0) {
            // A lap is done. Grow where it was too short, else wrap.
            let too_short = now.since(self.wrapped_at) < RING_SPAN;
            self.wrapped_at = now;
            if too_short && capacity < self.bytes_max {
                self.grow();
                return self.make_room_plain(len);
            }
            if past_end {
                self.head += (capacity - start) as u64;
            }
        }
        self.make_room_plain(len)
    }

    fn make_room_plain(&mut self, len: usize) -> u64 {
        let at = self.head;
        self.head += len as u64;
        at
    }

    /// Makes the byte ring twice as large, keeping what is alive.
    fn grow(&mut self) {
        let old_capacity = self.bytes.len();
        let mut bytes = vec![0; (old_capacity * 2).min(self.bytes_max)];
        let mut written = 0_usize;
        let mut alive: Vec<usize> = (0..self.entries.len())
            .filter(|&i| self.entries[i].used && self.entries[i].at + old_capacity as u64 >= self.head)
            .collect();
        alive.sort_by_key(|&i| self.entries[i].at);
        for entry in self.entries.iter_mut() {
            entry.used &= entry.at + old_capacity as u64 >= self.head;
        }
        for i in alive {
            let entry = &mut self.entries[i];
            let start = (entry.at % old_capacity as u64) as usize;
            let len = entry.len as usize;
            bytes[written..written + len].copy_from_slice(&self.bytes[start..start + len]);
            entry.at = written as u64;
            written += len;
        }
        self.bytes = bytes;
        self.head = written as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{VIDEO_RING_BYTES_MAX, VIDEO_RING_PACKETS};

    fn meta(index: u64) -> PacketMeta {
        PacketMeta { index, ..EMPTY.meta }
    }

    fn payload(index: u64) -> Vec<u8> {
        (0..(index * 37 % 1_200)).map(|i| (index + i) as u8).collect()
    }

    #[test]
    fn whatever_it_gives_is_what_was_put_in_at_any_growth_and_lap() {
        let mut ring = PacketRing::new(VIDEO_RING_PACKETS, VIDEO_RING_BYTES_MAX);
        for index in 0..20_000_u64 {
            ring.insert(meta(index), &[], &payload(index), Time::from_micros(index * 3_000));
            for back in [0, 1, 17, 200, 900, 1_100] {
                let Some(earlier) = index.checked_sub(back) else { continue };
                if let Some((meta, bytes)) = ring.get(earlier) {
                    assert_eq!((meta.index, bytes), (earlier, &payload(earlier)[..]));
                } else {
                    assert!(back > 300 || index < 2_000, "{earlier} gone too early at {index}");
                }
            }
        }
        assert!(ring.memory_bytes() <= VIDEO_RING_BYTES_MAX + VIDEO_RING_PACKETS * size_of::<Entry>());
    }

    #[test]
    fn a_slow_stream_keeps_a_small_ring() {
        let mut ring = PacketRing::new(VIDEO_RING_PACKETS, VIDEO_RING_BYTES_MAX);
        for index in 0..2_000_u64 {
            ring.insert(meta(index), &[], &[7; 500], Time::from_millis(index * 100));
        }
        assert_eq!(ring.bytes.len(), RING_BYTES_MIN);
        assert!(ring.contains(1_999) && ring.contains(1_980) && !ring.contains(1_900));
    }
}
