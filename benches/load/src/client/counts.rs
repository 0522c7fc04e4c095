//! What a plane counts, and how it is handed over.

use std::ops::{AddAssign, Index, IndexMut};
use std::time::Duration;

use super::Kind;

/// A histogram of microseconds, three significant digits, up to a minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

/// What is longer counts as this long.
const MICROS_MAX: u64 = 60_000_000;

impl Default for Histogram {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants the library takes")]
        Self(
            hdrhistogram::Histogram::new_with_bounds(1, MICROS_MAX, 3)
                .expect("1 ≤ low, 2 × low ≤ high, digits ≤ 5"),
        )
    }
}

impl Histogram {
    /// Counts one value.
    #[inline]
    pub fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    /// Adds all values of another.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so it cannot fail.
        let _ = self.0.add(&other.0);
    }

    /// Forgets all values and keeps the memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value below or at which this share, 0.0..=1.0, of all lies, in µs; zero if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share) }
    }

    /// The smallest value in µs; zero if there are none.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.0.min()
    }

    /// The largest value in µs.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The mean in µs.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// Upper bound in µs and count of every bucket that has any, for plots.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|found| (found.value_iterated_to(), found.count_at_value()))
    }
}

/// One of each for audio and for video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind<T> {
    /// Opus.
    pub audio: T,
    /// VP8.
    pub video: T,
}

impl<T> Index<Kind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }
}

impl<T> IndexMut<Kind> for PerKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        }
    }
}

impl<T: Copy + AddAssign> PerKind<T> {
    /// Both together.
    #[must_use]
    pub fn total(&self) -> T {
        let mut total = self.audio;
        total += self.video;
        total
    }
}

impl<T: AddAssign> AddAssign for PerKind<T> {
    fn add_assign(&mut self, other: Self) {
        self.audio += other.audio;
        self.video += other.video;
    }
}

/// RTP packets, retransmissions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub packets: u64,
    /// Bytes of their UDP payloads.
    pub bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// What became of the packets that receivers were to get, told by the counters in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Packets that should have come: of what an SSRC carries at the end, all that were sent since it began to, or since the
    /// window did; of what it carried before, those up to the last that came.
    pub expected: u64,
    /// Of these, never came as they were first sent.
    pub lost: u64,
    /// Of the lost, came by RTX.
    pub recovered: u64,
    /// Came more than once, in whatever way.
    pub duplicates: u64,
    /// Came after one that was sent later.
    pub reordered: u64,
}

impl Loss {
    /// Of the lost, never came at all.
    #[must_use]
    pub const fn unrecovered(&self) -> u64 {
        self.lost.saturating_sub(self.recovered)
    }

    /// The share of the expected that was lost, 0.0..=1.0.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.lost as f64 / self.expected as f64 }
    }
}

impl AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.expected += other.expected;
        self.lost += other.lost;
        self.recovered += other.recovered;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
    }
}

/// Times from just before a packet's `send` to when the receiver's kernel had it, in µs. Retransmissions are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delays {
    /// Audio packets.
    pub audio: Histogram,
    /// First packets of video frames.
    pub frame_start: Histogram,
    /// The other packets of video frames: a server that paces holds these.
    pub frame_rest: Histogram,
}

impl Delays {
    /// All together.
    #[must_use]
    pub fn all(&self) -> Histogram {
        let mut all = self.audio.clone();
        all.add(&self.frame_start);
        all.add(&self.frame_rest);
        all
    }
}

/// What was counted between `begin_window` and `end_window`, at receivers unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowCounts {
    /// How long the window was open.
    pub duration: Duration,
    /// What the participants sent, retransmissions included.
    pub sent: PerKind<Traffic>,
    /// What came of it, retransmissions and duplicates included.
    pub received: PerKind<Traffic>,
    /// RTP without a stamp: a server's padding and probes. Not in `received`.
    pub unstamped: Traffic,
    /// What became of what was sent.
    pub loss: PerKind<Loss>,
    /// Sources of which a receiver that was there all the time got nothing, one for each receiver and source.
    pub starved: PerKind<u32>,
    /// How long it took.
    pub delays: Delays,
    /// How late the ticks of the thread were, in µs.
    pub lateness: Histogram,
    /// CPU time of the thread.
    pub plane_cpu: Duration,
    /// Datagrams our own sockets had no room for (`SO_RXQ_OVFL`): the tester's loss, not the server's.
    pub socket_drops: u64,
    /// Datagrams the kernel did not take from us.
    pub send_failures: u64,
    /// Datagrams that did not authenticate.
    pub undecryptable: u64,
    /// RTP of a payload type nobody negotiated, or of more streams than there are places.
    pub unexpected: u64,
    /// PLIs sent.
    pub keyframes_requested: u64,
    /// PLIs and FIRs received by senders.
    pub keyframe_requests_received: u64,
    /// Keyframes sent.
    pub keyframes_sent: u64,
    /// Receiver reports sent, within sender reports too.
    pub receiver_reports_sent: u64,
    /// Transport-wide feedback messages sent.
    pub transport_feedback_sent: u64,
    /// NACK messages sent.
    pub nacks_sent: u64,
    /// Retransmissions sent.
    pub retransmissions_sent: u64,
}

/// What happened since the sample before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// How long that is.
    pub duration: Duration,
    /// What the participants sent.
    pub sent: PerKind<Traffic>,
    /// What arrived.
    pub received: PerKind<Traffic>,
    /// How long it took, audio and video together.
    pub delay: Histogram,
    /// CPU time of the thread.
    pub plane_cpu: Duration,
    /// Transports that are connected now.
    pub connected: usize,
}
