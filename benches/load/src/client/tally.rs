//! The running counters of a plane: those of a window, and those of a sample.

use std::time::Duration;

use super::{Kind, Loss, Sample, Traffic, WindowCounts};
use crate::clock;
use crate::media::Stamp;

/// What has been sent in a window, and does not come while nothing else of it does for so long, is lost: a queue hands out
/// what it holds without such a pause.
const QUIET_MICROS: u64 = 1_000_000;
/// How long what was sent in a window is waited for in any case.
const PATIENCE_MICROS: u64 = 10_000_000;
/// Datagrams that our own sockets drop after so long were hardly sent in it.
const PAST_MICROS: u64 = 500_000;

/// What a plane counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    window: Option<Window>,
    /// Numbers windows from 1.
    number: u32,
    sample: Sample,
    sample_began_ns: u64,
    sample_cpu: Duration,
}

#[derive(Debug)]
struct Window {
    begin_ns: u64,
    /// `u64::MAX` while it is open.
    end_ns: u64,
    /// When it was first seen to be over, and when the last came of what was sent in it, by the clock of ticks.
    over_micros: Option<u64>,
    last_came_micros: u64,
    came: bool,
    /// What our own sockets drop is none of its packets any more.
    is_past: bool,
    cpu: Duration,
    counts: WindowCounts,
}

/// How a packet was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// As it was first sent.
    Media,
    /// As a retransmission.
    Repair,
}

impl Tally {
    pub(super) fn begin_window(&mut self, now_ns: u64) {
        self.number += 1;
        let counts = WindowCounts::default();
        self.window = Some(Window {
            begin_ns: now_ns,
            end_ns: u64::MAX,
            over_micros: None,
            last_came_micros: 0,
            came: false,
            is_past: false,
            cpu: clock::thread_cpu(),
            counts,
        });
    }

    /// Nothing sent from now on counts; what is under way still does.
    pub(super) fn end_window(&mut self, now_ns: u64) {
        if let Some(window) = self.window.as_mut().filter(|window| window.end_ns == u64::MAX) {
            window.end_ns = now_ns;
            window.counts.duration = Duration::from_nanos(now_ns.saturating_sub(window.begin_ns));
            window.counts.plane_cpu = clock::thread_cpu().saturating_sub(window.cpu);
        }
    }

    /// Whether the books can be closed: nothing that was sent in the window has come for [`QUIET_MICROS`] since it is over,
    /// or [`PATIENCE_MICROS`] have passed; or there is no window. Asked in each tick.
    pub(super) fn is_settled(&mut self, now_micros: u64) -> bool {
        let Some(window) = &mut self.window else { return true };
        if window.end_ns == u64::MAX {
            return false;
        }
        let over = *window.over_micros.get_or_insert(now_micros);
        if std::mem::take(&mut window.came) {
            window.last_came_micros = now_micros;
        }
        let since = |at: u64| now_micros.saturating_sub(at);
        window.is_past = since(over) >= PAST_MICROS;
        since(over) >= PATIENCE_MICROS || since(over.max(window.last_came_micros)) >= QUIET_MICROS
    }

    /// Closes the books, `loss` being what is in the receivers'.
    pub(super) fn close_window(&mut self, loss: impl Iterator<Item = (Kind, Loss)>) -> WindowCounts {
        let Some(mut window) = self.window.take() else { return WindowCounts::default() };
        for (kind, loss) in loss {
            window.counts.loss[kind] += loss;
        }
        window.counts
    }

    /// The number of the window that is open or being closed; zero if there is none.
    #[inline]
    pub(super) fn number(&self) -> u32 {
        if self.window.is_some() { self.number } else { 0 }
    }

    /// The number of the window something was sent in.
    #[inline]
    pub(super) fn window_of(&self, sent_at_ns: u64) -> Option<u32> {
        let window = self.window.as_ref()?;
        (window.begin_ns <= sent_at_ns && sent_at_ns < window.end_ns).then_some(self.number)
    }

    /// The counts of the window while it is open, for what happens now.
    #[inline]
    pub(super) fn now(&mut self) -> Option<&mut WindowCounts> {
        let window = self.window.as_mut()?;
        (window.end_ns == u64::MAX).then_some(&mut window.counts)
    }

    /// The counts of the window until its books are closed.
    #[inline]
    fn until_closed(&mut self) -> Option<&mut WindowCounts> {
        Some(&mut self.window.as_mut()?.counts)
    }

    #[inline]
    pub(super) fn sent(&mut self, kind: Kind, bytes: usize) {
        let one = Traffic { packets: 1, bytes: bytes as u64 };
        self.sample.sent[kind] += one;
        if let Some(counts) = self.now() {
            counts.sent[kind] += one;
        }
    }

    /// A stamped packet of `bytes` arrived at `at_ns`.
    #[inline]
    pub(super) fn received(&mut self, kind: Kind, bytes: usize, stamp: &Stamp, at_ns: u64, how: Arrival) {
        let one = Traffic { packets: 1, bytes: bytes as u64 };
        let micros = at_ns.saturating_sub(stamp.sent_at_ns) / 1_000;
        self.sample.received[kind] += one;
        if how == Arrival::Media {
            self.sample.delay.record(micros);
        }
        let inside = self.window_of(stamp.sent_at_ns).is_some();
        let Some(window) = self.window.as_mut().filter(|_| inside) else { return };
        window.came = true;
        let counts = &mut window.counts;
        counts.received[kind] += one;
        if how == Arrival::Media {
            match (kind, stamp.part) {
                (Kind::Audio, _) => counts.delays.audio.record(micros),
                (Kind::Video, 0) => counts.delays.frame_start.record(micros),
                (Kind::Video, _) => counts.delays.frame_rest.record(micros),
            }
        }
    }

    /// The very same datagram of `bytes` came again. When it was sent nobody can tell any more.
    pub(super) fn replayed(&mut self, kind: Kind, bytes: usize) {
        let one = Traffic { packets: 1, bytes: bytes as u64 };
        self.sample.received[kind] += one;
        if let Some(counts) = self.now() {
            counts.received[kind] += one;
            counts.loss[kind].duplicates += 1;
        }
    }

    /// What was in books that are gone.
    pub(super) fn closed(&mut self, kind: Kind, loss: Loss) {
        if let Some(counts) = self.until_closed() {
            counts.loss[kind] += loss;
        }
    }

    pub(super) fn unstamped(&mut self, bytes: usize) {
        if let Some(counts) = self.now() {
            counts.unstamped += Traffic { packets: 1, bytes: bytes as u64 };
        }
    }

    pub(super) fn undecryptable(&mut self) {
        if let Some(counts) = self.now() {
            counts.undecryptable += 1;
        }
    }

    pub(super) fn unexpected(&mut self) {
        if let Some(counts) = self.now() {
            counts.unexpected += 1;
        }
    }

    /// Our own sockets had no room. What a window's last packets tell of still counts.
    pub(super) fn socket_drops(&mut self, count: u64) {
        if let Some(window) = self.window.as_mut().filter(|window| !window.is_past) {
            window.counts.socket_drops += count;
        }
    }

    pub(super) fn tick(&mut self, late_micros: u64) {
        if let Some(counts) = self.now() {
            counts.lateness.record(late_micros);
        }
    }

    pub(super) fn sample(&mut self, now_ns: u64, connected: usize) -> Sample {
        let cpu = clock::thread_cpu();
        let mut sample = std::mem::take(&mut self.sample);
        let began_ns = std::mem::replace(&mut self.sample_began_ns, now_ns);
        if began_ns != 0 {
            sample.duration = Duration::from_nanos(now_ns.saturating_sub(began_ns));
            sample.plane_cpu = cpu.saturating_sub(self.sample_cpu);
        }
        self.sample_cpu = cpu;
        sample.connected = connected;
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_window_nothing_is_waited_for() {
        assert!(Tally::default().is_settled(0));
    }

    #[test]
    fn books_stay_open_while_something_comes_and_ten_seconds_at_the_most() {
        let stamp = |at| Stamp {
            source: crate::client::SourceId(1),
            encoding: 0,
            keyframe: false,
            dtx: false,
            part: 0,
            counter: 0,
            sent_at_ns: at,
        };
        let mut tally = Tally::default();
        tally.begin_window(1_000);
        assert!(!tally.is_settled(0), "it goes on");
        tally.end_window(2_000);
        assert!(!tally.is_settled(500_000));
        tally.socket_drops(1);
        assert!(!tally.is_settled(1_400_000));
        tally.socket_drops(5);
        tally.received(Kind::Audio, 100, &stamp(1_500), 9_000, Arrival::Media);
        assert!(!tally.is_settled(1_400_000) && !tally.is_settled(2_300_000));
        tally.received(Kind::Audio, 100, &stamp(2_500), 9_000, Arrival::Media);
        assert!(tally.is_settled(2_400_000), "what was sent later does not count");
        tally.received(Kind::Audio, 100, &stamp(1_500), 9_000, Arrival::Media);
        assert!(tally.is_settled(10_500_000));
        let counts = tally.close_window(std::iter::empty());
        assert_eq!((counts.received.audio.packets, counts.socket_drops), (2, 1));
    }
}
