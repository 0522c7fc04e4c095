//! The TX slab: packets of one turn, sealed in place, in one queue per peer until the owner drains them.
//!
//! One block of memory for the whole shard, reused every turn: no allocation per packet, one flush per peer.

use std::net::SocketAddr;

use crate::api::{Span, Transmit};
use crate::bounds::{TX_PACKETS_FLUSH, TX_PACKETS_MAX, TX_SLAB_BYTES_FLUSH, TX_SLAB_BYTES_MAX};

const NONE: u32 = u32::MAX;

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

#[derive(Clone, Copy, Debug)]
struct Link {
    span: Span,
    next: u32,
}

pub(crate) struct TxSlab {
    bytes: Vec<u8>,
    used: usize,
    links: Vec<Link>,
    /// Packets to an address that is nobody's selected one: answers to connectivity checks.
    direct: Vec<(SocketAddr, Span)>,
    direct_next: usize,
    batch: Vec<Span>,
}

impl TxSlab {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; TX_SLAB_BYTES_MAX],
            used: 0,
            links: Vec::with_capacity(TX_PACKETS_MAX),
            direct: Vec::with_capacity(64),
            direct_next: 0,
            batch: Vec::with_capacity(TX_PACKETS_MAX),
        }
    }

    /// Room for one packet of up to `max` bytes, or `None` when the turn's bound is reached.
    #[inline]
    pub(crate) fn begin(&mut self, max: usize) -> Option<&mut [u8]> {
        if self.links.len() + self.direct.len() >= TX_PACKETS_MAX {
            return None;
        }
        self.bytes.get_mut(self.used..self.used + max)
    }

    /// Appends the first `len` bytes of what [`Self::begin`] gave to `queue`.
    #[inline]
    pub(crate) fn commit(&mut self, queue: &mut TxQueue, len: usize) {
        let span = self.take_span(len);
        let link = self.links.len() as u32;
        self.links.push(Link { span, next: NONE });
        if queue.tail == NONE {
            queue.head = link;
        } else {
            self.links[queue.tail as usize].next = link;
        }
        queue.tail = link;
    }

    /// Sends the first `len` bytes of what [`Self::begin`] gave to `to`, whoever that is.
    pub(crate) fn commit_direct(&mut self, to: SocketAddr, len: usize) {
        let span = self.take_span(len);
        self.direct.push((to, span));
    }

    fn take_span(&mut self, len: usize) -> Span {
        let span = Span { start: self.used as u32, len: len as u32 };
        self.used += len;
        span
    }

    pub(crate) const fn wants_flush(&self) -> bool {
        self.used >= TX_SLAB_BYTES_FLUSH || self.links.len() >= TX_PACKETS_FLUSH
    }

    pub(crate) const fn has_direct(&self) -> bool {
        self.direct_next < self.direct.len()
    }

    /// The next direct packet, if one waits.
    pub(crate) fn poll_direct(&mut self) -> Option<Transmit<'_>> {
        let (to, span) = *self.direct.get(self.direct_next)?;
        self.direct_next += 1;
        self.batch.clear();
        self.batch.push(span);
        Some(Transmit { to, slab: &self.bytes, spans: &self.batch })
    }

    /// Everything in `queue`, which is empty afterwards.
    pub(crate) fn drain(&mut self, queue: &mut TxQueue, to: SocketAddr) -> Transmit<'_> {
        self.batch.clear();
        let mut at = queue.head;
        while at != NONE {
            let link = self.links[at as usize];
            self.batch.push(link.span);
            at = link.next;
        }
        *queue = TxQueue::default();
        Transmit { to, slab: &self.bytes, spans: &self.batch }
    }

    /// Starts over. Only when every queue has been drained.
    pub(crate) fn reset(&mut self) {
        self.used = 0;
        self.links.clear();
        self.direct.clear();
        self.direct_next = 0;
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
    fn interleaved_queues_drain_in_their_own_order() {
        let to: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let mut slab = TxSlab::new();
        let (mut a, mut b) = (TxQueue::default(), TxQueue::default());
        put(&mut slab, &mut a, b"a1");
        put(&mut slab, &mut b, b"b1");
        put(&mut slab, &mut a, b"a2");
        let got: Vec<_> = slab.drain(&mut a, to).packets().map(<[u8]>::to_vec).collect();
        assert_eq!(got, [b"a1".to_vec(), b"a2".to_vec()]);
        assert_eq!(slab.drain(&mut b, to).packet(0), b"b1");
        assert!(a.is_empty() && b.is_empty());
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
        slab.drain(&mut queue, "192.0.2.1:5".parse().unwrap());
        slab.reset();
        assert!(slab.begin(1_400).is_some());
    }
}
