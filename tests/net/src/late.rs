//! Streams of RTP that are late, while everything else of their line is not: as a picture is whose encoder is slow.

use std::collections::VecDeque;

/// Streams named at a time.
pub const LATE_SSRCS_MAX: usize = 32;
/// The longest that something is late, in milliseconds.
pub const LATE_MS_MAX: u64 = 10_000;
/// Datagrams held at a time; more are dropped.
const HELD_MAX: usize = 16_384;

/// RTP of which SSRCs is late, with the RTCP that they send, and by how much. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateStreams {
    late_us: u64,
    ssrcs: Vec<u32>,
}

/// Datagrams that are late, in the order in which they came: the rule may change under them, their order does not.
#[derive(Debug, Default)]
pub struct Held {
    /// When each goes on.
    datagrams: VecDeque<(u64, Vec<u8>)>,
}

impl LateStreams {
    /// Reads `MILLISECONDS SSRC…`; nothing at all, or no SSRC, is none. The error says what is wrong.
    ///
    /// # Errors
    ///
    /// What is no number, too much, or too many.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let late_ms: u64 = words.next().map_or(Ok(0), |word| word.parse().map_err(|_| no_number(word)))?;
        let ssrcs =
            words.map(|word| word.parse().map_err(|_| no_number(word))).collect::<Result<Vec<u32>, _>>()?;
        if late_ms > LATE_MS_MAX || ssrcs.len() > LATE_SSRCS_MAX {
            return Err(format!("at most {LATE_MS_MAX} ms and {LATE_SSRCS_MAX} streams"));
        }
        Ok(Self { late_us: late_ms * 1_000, ssrcs })
    }

    /// By how many microseconds a datagram is late: what is no RTP or RTCP of these streams is not.
    #[must_use]
    pub fn late_us(&self, datagram: &[u8]) -> u64 {
        if self.ssrcs.is_empty() || !sender_of(datagram).is_some_and(|ssrc| self.ssrcs.contains(&ssrc)) {
            return 0;
        }
        self.late_us
    }
}

impl Held {
    /// Holds a datagram until `until_us`, and until those before it have gone on. False if there are too many.
    pub fn hold(&mut self, until_us: u64, datagram: Vec<u8>) -> bool {
        let has_room = self.datagrams.len() < HELD_MAX;
        if has_room {
            self.datagrams.push_back((until_us, datagram));
        }
        has_room
    }

    /// The next one that goes on by `now_us`. Call until `None`.
    pub fn poll(&mut self, now_us: u64) -> Option<Vec<u8>> {
        if self.next_at()? > now_us {
            return None;
        }
        self.datagrams.pop_front().map(|(_, datagram)| datagram)
    }

    /// When to poll next; `None` while nothing is held.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        self.datagrams.front().map(|(until_us, _)| *until_us)
    }
}

/// Who sends a datagram of RTP or RTCP, as told apart by RFC 5761; SRTP and SRTCP leave that part in the clear.
fn sender_of(datagram: &[u8]) -> Option<u32> {
    let [first, second, ..] = *datagram else { return None };
    let is_rtp_or_rtcp = first >> 6 == 2;
    let at = if (192..=223).contains(&second) { 4 } else { 8 };
    let ssrc = datagram.get(at..at + 4)?.try_into().ok()?;
    is_rtp_or_rtcp.then(|| u32::from_be_bytes(ssrc))
}

fn no_number(word: &str) -> String {
    format!("`{word}` is no number that fits")
}
