//! A socket over a line that also carries media: messages in order, once, sent again until they are acknowledged. A small model
//! of TCP without delay (`TCP_NODELAY`): a stream of bytes, a window, a timeout that doubles, retransmission after three
//! acknowledgements of the same, and timestamps (RFC 7323), so that it is known how long an answer takes of what was sent
//! again, too; without selective acknowledgements. What opens a socket is as long as what does in a
//! browser that was there before: TCP, TLS 1.3 resumed with a hybrid key exchange, and the upgrade to WebSocket.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vestibule_media_core::time::Time;
use vestibule_sim::world::ASIDE;

const SEGMENT_BYTES: usize = 1_200;
/// IPv4, UDP of the line's own count, and what TCP, its timestamps and TLS take beyond.
const HEADER_BYTES: usize = 46;
/// What goes before each message: how long it is.
const LENGTH_BYTES: usize = 4;
/// What opens a socket, in bytes: said by who opens it, and what is answered.
const OPENING: [(usize, usize); 3] = [(6, 6), (1_800, 1_500), (700, 250)];
/// With what each of that begins; no message does.
const OPENS: u8 = 0;
/// RFC 6928: what may be under way at first; after a timeout one, and one more with each that is acknowledged.
const WINDOW: usize = 10;
/// RFC 6298: the first timeout, the most, and what it is beyond a round trip at least, as Linux has it.
const TIMEOUT_FIRST: Duration = Duration::from_secs(1);
const BEYOND_MIN: Duration = Duration::from_millis(200);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const SAME_ACKS: u32 = 3;
/// Linux, `TCP_THIN_LINEAR_TIMEOUTS`: with fewer segments than these under way the timeout does not double, so many times.
const THIN: usize = 4;
const LINEAR_TIMEOUTS_MAX: u32 = 6;

/// Names a socket for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// One end of a socket.
#[derive(Debug)]
pub struct End {
    id: SocketId,
    /// What is not acknowledged yet.
    outgoing: VecDeque<u8>,
    /// Up to which byte of all is.
    acknowledged: u32,
    under_way: VecDeque<Segment>,
    timeout: Duration,
    /// Since something was acknowledged.
    timeouts: u32,
    linear: bool,
    /// The mean, and how far it is from it in the mean.
    round_trip: Option<(Duration, Duration)>,
    retransmit_at: Option<Time>,
    same_acks: u32,
    resends_first: bool,
    window: usize,
    /// The byte that is waited for.
    expected: u32,
    early: BTreeMap<u32, Vec<u8>>,
    /// When the other end sent what came in order last, in its milliseconds.
    stamp: u32,
    /// Bytes of a message that is not whole yet.
    incoming: Vec<u8>,
    ack_due: bool,
}

#[derive(Debug)]
struct Segment {
    from: u32,
    bytes: usize,
}

impl Segment {
    const fn end(&self) -> u32 {
        self.from + self.bytes as u32
    }
}

impl End {
    /// An end that opens a socket.
    #[must_use]
    pub fn new(id: SocketId) -> Self {
        Self {
            id,
            outgoing: VecDeque::new(),
            acknowledged: 0,
            under_way: VecDeque::new(),
            timeout: TIMEOUT_FIRST,
            timeouts: 0,
            linear: false,
            round_trip: None,
            retransmit_at: None,
            same_acks: 0,
            resends_first: false,
            window: WINDOW,
            expected: 0,
            early: BTreeMap::new(),
            stamp: 0,
            incoming: Vec::new(),
            ack_due: false,
        }
    }

    /// The server's end: its timeouts do not double while little is under way (`src/http/listen.rs`).
    #[must_use]
    pub fn server(id: SocketId) -> Self {
        Self { linear: true, ..Self::new(id) }
    }

    /// Which socket a datagram belongs to.
    #[must_use]
    pub fn socket_of(datagram: &[u8]) -> Option<SocketId> {
        Some(SocketId(u32::from_be_bytes(datagram.get(1..5)?.try_into().ok()?)))
    }

    /// Puts what opens a socket behind what was sent before. False where all of that is done.
    pub fn open(&mut self, step: usize) -> bool {
        let bytes = OPENING.get(step).map(|(bytes, _)| *bytes);
        bytes.inspect(|bytes| self.send(&vec![OPENS; *bytes])).is_some()
    }

    /// Whether a message is one that opens a socket, and not one of what is said on it.
    #[must_use]
    pub fn opens(message: &[u8]) -> bool {
        message.first() == Some(&OPENS)
    }

    /// Answers what opens a socket.
    pub fn answer(&mut self, message: &[u8]) {
        let answer = OPENING.iter().find(|(bytes, _)| *bytes == message.len());
        self.send(&vec![OPENS; answer.expect("what opens a socket").1]);
    }

    /// Puts a message behind those that were sent before.
    ///
    /// # Panics
    ///
    /// If it is longer than any is.
    pub fn send(&mut self, message: &[u8]) {
        let bytes = u32::try_from(message.len()).expect("a short message");
        self.outgoing.extend(bytes.to_be_bytes());
        self.outgoing.extend(message);
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
            self.timeouts += 1;
            let is_thin = self.under_way.len() < THIN && self.timeouts <= LINEAR_TIMEOUTS_MAX;
            if !(self.linear && is_thin) {
                self.timeout = (self.timeout * 2).min(TIMEOUT_MAX);
            }
            // What was sent in pieces is sent as one now, and with it what waited.
            self.under_way.clear();
            self.window = 1;
            self.retransmit_at = None;
        }
        while self.under_way.len() < self.window {
            let from = self.under_way.back().map_or(self.acknowledged, Segment::end);
            let waiting = self.outgoing.len() - (from - self.acknowledged) as usize;
            if waiting == 0 {
                break;
            }
            let bytes = waiting.min(SEGMENT_BYTES);
            let segment = Segment { from, bytes };
            out.push(self.datagram(Some(&segment), now));
            self.under_way.push_back(segment);
            self.retransmit_at.get_or_insert(now + self.timeout);
        }
        if std::mem::take(&mut self.resends_first)
            && let Some(segment) = self.under_way.front()
        {
            out.push(self.datagram(Some(segment), now));
        }
        if std::mem::take(&mut self.ack_due) && out.is_empty() {
            out.push(self.datagram(None, now));
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
        let (acknowledged, from, has_bytes) = (number(5), number(9), datagram[13] != 0);
        self.was_acknowledged(acknowledged, has_bytes, number(18), now);
        if !has_bytes {
            return Vec::new();
        }
        if from <= self.expected {
            self.stamp = number(14);
        }
        self.ack_due = true;
        let held = self.early.entry(from).or_default();
        if held.len() < datagram.len() - HEADER_BYTES {
            *held = datagram[HEADER_BYTES..].to_vec();
        }
        while let Some(first) = self.early.first_entry().filter(|first| *first.key() <= self.expected) {
            let (from, bytes) = first.remove_entry();
            let known = (self.expected - from) as usize;
            if let Some(fresh) = bytes.get(known..) {
                self.expected += fresh.len() as u32;
                self.incoming.extend(fresh);
            }
        }
        self.whole_messages()
    }

    fn whole_messages(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some((length, rest)) = self.incoming.split_first_chunk::<LENGTH_BYTES>() {
            let bytes = u32::from_be_bytes(*length) as usize;
            let Some(message) = rest.get(..bytes) else { break };
            messages.push(message.to_vec());
            self.incoming.drain(..LENGTH_BYTES + bytes);
        }
        messages
    }

    fn was_acknowledged(&mut self, up_to: u32, with_bytes: bool, echo: u32, now: Time) {
        let fresh = up_to.saturating_sub(self.acknowledged) as usize;
        if fresh == 0 {
            // Of what comes with bytes it is said by the way (RFC 5681).
            if !self.under_way.is_empty() && !with_bytes {
                self.same_acks += 1;
                self.resends_first |= self.same_acks == SAME_ACKS;
            }
            return;
        }
        self.outgoing.drain(..fresh);
        self.acknowledged = up_to;
        while self.under_way.pop_front_if(|segment| segment.end() <= up_to).is_some() {
            self.window = (self.window + 1).min(WINDOW);
        }
        let sample = Duration::from_millis(u64::from(millis(now).wrapping_sub(echo)));
        self.round_trip = Some(self.round_trip.map_or((sample, sample / 2), |(mean, varies)| {
            ((mean * 7 + sample) / 8, (varies * 3 + mean.abs_diff(sample)) / 4)
        }));
        // One that was cut otherwise when it was sent before may be known in part.
        if let Some(first) = self.under_way.front_mut()
            && first.from < up_to
        {
            first.bytes = (first.end() - up_to) as usize;
            first.from = up_to;
        }
        (self.same_acks, self.timeouts) = (0, 0);
        let usual = self.round_trip.map(|(mean, varies)| mean + (varies * 4).max(BEYOND_MIN));
        self.timeout = usual.unwrap_or(TIMEOUT_FIRST).min(TIMEOUT_MAX);
        self.retransmit_at = (!self.under_way.is_empty()).then(|| now + self.timeout);
    }

    fn datagram(&self, segment: Option<&Segment>, now: Time) -> Vec<u8> {
        let mut out = vec![ASIDE];
        out.extend(self.id.0.to_be_bytes());
        out.extend(self.expected.to_be_bytes());
        out.extend(segment.map_or(0, |segment| segment.from).to_be_bytes());
        out.push(segment.is_some().into());
        out.extend(millis(now).to_be_bytes());
        out.extend(self.stamp.to_be_bytes());
        out.resize(HEADER_BYTES, 0);
        if let Some(segment) = segment {
            let at = (segment.from - self.acknowledged) as usize;
            out.extend(self.outgoing.range(at..at + segment.bytes));
        }
        out
    }
}

fn millis(now: Time) -> u32 {
    (now.as_micros() / 1_000) as u32
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
