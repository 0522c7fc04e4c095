//! A socket over a line that also carries media: messages in order, once, sent again until they are acknowledged. A small model
//! of TCP: a handshake, a window, a timeout that doubles, and retransmission after three acknowledgements of the same.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vestibule_media_core::time::Time;
use vestibule_sim::world::ASIDE;

const SEGMENT_BYTES: usize = 1_200;
/// IPv4, UDP of the line's own count, and what TCP and TLS take beyond.
const HEADER_BYTES: usize = 34;
/// RFC 6928: what may be under way at first; after a timeout one, and one more with each that is acknowledged.
const WINDOW: usize = 10;
/// RFC 6298: the first timeout, the least and the most.
const TIMEOUT_FIRST: Duration = Duration::from_secs(1);
const TIMEOUT_MIN: Duration = Duration::from_millis(200);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const SAME_ACKS: u32 = 3;

/// Names a socket for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// One end of a socket.
#[derive(Debug)]
pub struct End {
    id: SocketId,
    /// Sent and not acknowledged, and to be sent, in order.
    outgoing: VecDeque<Segment>,
    next_sequence: u32,
    timeout: Duration,
    round_trip: Option<Duration>,
    retransmit_at: Option<Time>,
    same_acks: u32,
    resends_first: bool,
    window: usize,
    /// The next that is waited for.
    expected: u32,
    early: BTreeMap<u32, (bool, Vec<u8>)>,
    partial: Vec<u8>,
    ack_due: bool,
}

#[derive(Debug)]
struct Segment {
    sequence: u32,
    is_last: bool,
    bytes: Vec<u8>,
    sent_at: Option<Time>,
    again: bool,
}

impl End {
    /// An end that opens a socket, or the other one of it: its first message opens it, as a handshake does.
    #[must_use]
    pub fn new(id: SocketId) -> Self {
        Self {
            id,
            outgoing: VecDeque::new(),
            next_sequence: 0,
            timeout: TIMEOUT_FIRST,
            round_trip: None,
            retransmit_at: None,
            same_acks: 0,
            resends_first: false,
            window: WINDOW,
            expected: 0,
            early: BTreeMap::new(),
            partial: Vec::new(),
            ack_due: false,
        }
    }

    /// Which socket a datagram belongs to.
    #[must_use]
    pub fn socket_of(datagram: &[u8]) -> Option<SocketId> {
        Some(SocketId(u32::from_be_bytes(datagram.get(1..5)?.try_into().ok()?)))
    }

    /// Puts a message behind those that were sent before.
    pub fn send(&mut self, message: &[u8]) {
        let mut chunks = message.chunks(SEGMENT_BYTES).peekable();
        loop {
            let bytes = chunks.next().unwrap_or_default().to_vec();
            let is_last = chunks.peek().is_none();
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            self.outgoing.push_back(Segment { sequence, is_last, bytes, sent_at: None, again: false });
            if is_last {
                return;
            }
        }
    }

    /// When [`Self::poll`] has something even if nothing comes.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.retransmit_at
    }

    /// What is to be put on the line now.
    pub fn poll(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if self.retransmit_at.is_some_and(|at| at <= now) {
            self.timeout = (self.timeout * 2).min(TIMEOUT_MAX);
            self.window = 1;
            for segment in self.outgoing.iter_mut().filter(|segment| segment.sent_at.is_some()) {
                (segment.again, segment.sent_at) = (true, None);
            }
            self.retransmit_at = Some(now + self.timeout);
        }
        let (id, expected) = (self.id, self.expected);
        for segment in self.outgoing.iter_mut().take(self.window).filter(|segment| segment.sent_at.is_none())
        {
            segment.sent_at = Some(now);
            out.push(datagram(id, expected, Some(segment)));
            self.retransmit_at.get_or_insert(now + self.timeout);
        }
        if std::mem::take(&mut self.resends_first)
            && let Some(segment) = self.outgoing.front_mut()
        {
            (segment.again, segment.sent_at) = (true, Some(now));
            out.push(datagram(id, expected, Some(segment)));
        }
        if std::mem::take(&mut self.ack_due) && out.is_empty() {
            out.push(datagram(id, expected, None));
        }
        out
    }

    /// Takes a datagram of the other end; gives the messages that are whole by it.
    ///
    /// # Panics
    ///
    /// If it is none of a socket.
    pub fn receive(&mut self, datagram: &[u8], now: Time) -> Vec<Vec<u8>> {
        let number = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().expect("four bytes"));
        let (acknowledged, sequence, kind) = (number(5), number(9), datagram[13]);
        self.acknowledged(acknowledged, now);
        let mut messages = Vec::new();
        if kind == 0 {
            return messages;
        }
        self.ack_due = true;
        if sequence >= self.expected {
            self.early.insert(sequence, (kind == 2, datagram[HEADER_BYTES..].to_vec()));
        }
        while let Some((is_last, bytes)) = self.early.remove(&self.expected) {
            self.expected += 1;
            self.partial.extend(bytes);
            if is_last {
                messages.push(std::mem::take(&mut self.partial));
            }
        }
        messages
    }

    fn acknowledged(&mut self, up_to: u32, now: Time) {
        let mut any = false;
        while let Some(segment) = self.outgoing.pop_front_if(|segment| segment.sequence < up_to) {
            any = true;
            self.window = (self.window + 1).min(WINDOW);
            if let Some(sent_at) = segment.sent_at.filter(|_| !segment.again) {
                let sample = now.since(sent_at);
                self.round_trip = Some(self.round_trip.map_or(sample, |mean| (mean * 7 + sample) / 8));
            }
        }
        let is_under_way = self.outgoing.front().is_some_and(|segment| segment.sent_at.is_some());
        if any {
            self.same_acks = 0;
            let usual = self.round_trip.map_or(TIMEOUT_FIRST, |mean| mean * 2);
            self.timeout = usual.clamp(TIMEOUT_MIN, TIMEOUT_MAX);
            self.retransmit_at = is_under_way.then(|| now + self.timeout);
        } else if is_under_way {
            self.same_acks += 1;
            if self.same_acks == SAME_ACKS {
                self.resends_first = true;
            }
        }
    }
}

fn datagram(id: SocketId, acknowledges: u32, segment: Option<&Segment>) -> Vec<u8> {
    let kind = segment.map_or(0, |segment| 1 + u8::from(segment.is_last));
    let mut out = vec![ASIDE];
    out.extend(id.0.to_be_bytes());
    out.extend(acknowledges.to_be_bytes());
    out.extend(segment.map_or(0, |segment| segment.sequence).to_be_bytes());
    out.push(kind);
    out.resize(HEADER_BYTES, 0);
    out.extend(segment.iter().flat_map(|segment| &segment.bytes));
    out
}

#[cfg(test)]
mod tests {
    use vestibule_testnet::{Link, LinkConfig};

    use super::*;

    #[test]
    fn messages_arrive_once_and_in_order_on_a_line_that_loses_and_stops() {
        for seed in 0..20 {
            let bad = LinkConfig::default().delay_ms(40).loss(0.2);
            let (mut there, mut back) = (Link::new(bad, seed), Link::new(bad, seed + 100));
            let (mut left, mut right) = (End::new(SocketId(7)), End::new(SocketId(7)));
            let sent: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n) * 100]).collect();
            let mut heard = Vec::new();
            for ms in 0..400_000 {
                let now = Time::from_millis(ms);
                if ms % 100 == 0
                    && let Some(message) = sent.get(ms as usize / 100)
                {
                    left.send(message);
                }
                let blocked = LinkConfig { blocked: (1_000..9_000).contains(&ms), ..bad };
                there.set_config(now.as_micros(), blocked);
                while let Some(datagram) = there.poll(now.as_micros()) {
                    heard.extend(right.receive(&datagram, now));
                }
                while let Some(datagram) = back.poll(now.as_micros()) {
                    assert!(left.receive(&datagram, now).is_empty());
                }
                left.poll(now).into_iter().for_each(|datagram| there.send(now.as_micros(), datagram));
                right.poll(now).into_iter().for_each(|datagram| back.send(now.as_micros(), datagram));
            }
            let shape = |messages: &[Vec<u8>]| -> Vec<_> {
                messages.iter().map(|message| (message.first().copied(), message.len())).collect()
            };
            assert_eq!(shape(&heard), shape(&sent), "seed {seed}");
        }
    }
}
