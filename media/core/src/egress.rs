//! The TX slab: packets of one turn, sealed in place, in one queue per peer until the owner drains them.
//!
//! One block of memory for the whole shard, reused every turn: no allocation per packet, one flush for all peers.

use crate::address::TransportAddress;
use crate::api::{Link, Transmits};
use crate::bounds::{TX_PACKETS_FLUSH, TX_PACKETS_MAX, TX_SLAB_BYTES_FLUSH, TX_SLAB_BYTES_MAX};

/// No link: the end of a queue.
pub(crate) const NONE: u32 = u32::MAX;

/// A peer's packets in the slab: a list through [`TxSlab::links`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxQueue {
    head: u32,
    tail: u32,
}

impl Default for TxQueue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl TxQueue {
    pub(crate) const fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

pub(crate) struct TxSlab {
    bytes: Vec<u8>,
    used: usize,
    links: Vec<Link>,
    /// What leaves, by address: the first link of each. Answers to connectivity checks from the start, for they go to
    /// an address that is nobody's selected one; the queues of peers when the slab is drained.
    departures: Vec<(TransportAddress, u32)>,
    is_drained: bool,
}

impl TxSlab {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; TX_SLAB_BYTES_MAX],
            used: 0,
            links: Vec::with_capacity(TX_PACKETS_MAX),
            departures: Vec::with_capacity(64),
            is_drained: false,
        }
    }

    /// Room for one packet of up to `max` bytes, or `None` when the turn's bound is reached.
    #[inline]
    pub(crate) fn begin(&mut self, max: usize) -> Option<&mut [u8]> {
        if self.links.len() >= TX_PACKETS_MAX {
            return None;
        }
        self.bytes.get_mut(self.used..self.used + max)
    }

    /// Appends the first `len` bytes of what [`Self::begin`] gave to `queue`.
    #[inline]
    pub(crate) fn commit(&mut self, queue: &mut TxQueue, len: usize) {
        let link = self.link(len);
        if queue.tail == NONE {
            queue.head = link;
        } else {
            self.links[queue.tail as usize].next = link;
        }
        queue.tail = link;
    }

    /// Sends the first `len` bytes of what [`Self::begin`] gave to `to`, whoever that is.
    pub(crate) fn commit_direct(&mut self, to: TransportAddress, len: usize) {
        let link = self.link(len);
        self.departures.push((to, link));
    }

    #[inline]
    fn link(&mut self, len: usize) -> u32 {
        let link = self.links.len() as u32;
        self.links.push(Link { start: self.used as u32, len: len as u32, next: NONE });
        self.used += len;
        link
    }

    pub(crate) const fn wants_flush(&self) -> bool {
        self.used >= TX_SLAB_BYTES_FLUSH || self.links.len() >= TX_PACKETS_FLUSH
    }

    /// How many packets there are.
    pub(crate) const fn len(&self) -> usize {
        self.links.len()
    }

    /// Lets everything in `queue` leave for `to`; the queue is empty afterwards.
    #[inline]
    pub(crate) fn depart(&mut self, queue: &mut TxQueue, to: TransportAddress) {
        self.departures.push((to, queue.head));
        *queue = TxQueue::default();
    }

    /// Whether [`Self::drain`] has something to give that it has not given yet.
    pub(crate) const fn has_departures(&self) -> bool {
        !self.is_drained && !self.departures.is_empty()
    }

    /// All that leaves. It stays until [`Self::reset`], and is given once.
    pub(crate) fn drain(&mut self) -> Transmits<'_> {
        self.is_drained = true;
        Transmits { slab: &self.bytes, links: &self.links, departures: self.departures.iter() }
    }

    /// Starts over. Only when every queue has departed.
    pub(crate) fn reset(&mut self) {
        self.used = 0;
        self.links.clear();
        self.departures.clear();
        self.is_drained = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(slab: &mut TxSlab, queue: &mut TxQueue, bytes: &[u8]) {
        slab.begin(bytes.len()).unwrap().copy_from_slice(bytes);
        slab.commit(queue, bytes.len());
    }

    #[test]
    fn interleaved_queues_leave_in_their_own_order_and_once() {
        let [one, two, three] = [1, 2, 3].map(|host| TransportAddress::Udp(([192, 0, 2, host], 5).into()));
        let mut slab = TxSlab::new();
        let (mut a, mut b) = (TxQueue::default(), TxQueue::default());
        put(&mut slab, &mut a, b"a1");
        put(&mut slab, &mut b, b"b1");
        put(&mut slab, &mut a, b"a2");
        slab.begin(2).unwrap().copy_from_slice(b"c1");
        slab.commit_direct(three, 2);
        slab.depart(&mut a, one);
        slab.depart(&mut b, two);
        assert!(a.is_empty() && b.is_empty() && slab.has_departures());
        let packets = |transmit: crate::api::Transmit<'_>| {
            (transmit.to, transmit.packets().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let got: Vec<_> = slab.drain().map(packets).collect();
        let expected = [
            (three, vec![b"c1".to_vec()]),
            (one, vec![b"a1".to_vec(), b"a2".to_vec()]),
            (two, vec![b"b1".to_vec()]),
        ];
        assert_eq!(got, expected);
        assert!(!slab.has_departures());
    }

    #[test]
    fn a_full_slab_refuses_and_a_reset_one_takes_again() {
        let mut slab = TxSlab::new();
        let mut queue = TxQueue::default();
        let mut taken = 0;
        while slab.begin(1_400).is_some() {
            slab.commit(&mut queue, 1_400);
            taken += 1;
        }
        assert_eq!(taken, TX_SLAB_BYTES_MAX / 1_400);
        assert!(slab.wants_flush());
        slab.depart(&mut queue, TransportAddress::Udp(([192, 0, 2, 1], 5).into()));
        slab.reset();
        assert!(slab.begin(1_400).is_some());
    }
}
