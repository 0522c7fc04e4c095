//! Timers: an enum and an array of deadlines per peer, a heap per shard. An idle peer costs nothing per turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slotmap::SlotMap;

use crate::keys::PeerKey;
use crate::time::Time;

/// What a peer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// DTLS must be done by then.
    Connect,
    /// Consent, restart and old credentials (the agent knows which).
    Ice,
    /// NACKs and keyframe requests to the publisher.
    Repair,
    /// Transport-wide feedback to the publisher.
    Feedback,
    /// Sender and receiver reports, and a look at what stopped.
    Report,
    /// What waits for the pacer, and packets of a probe.
    Pace,
    /// Whether a probe is due.
    Probe,
    /// What became of a test of the line is known.
    Test,
    /// What nobody is shown of what the peer sends may be paused by now.
    Pause,
    /// The peer may have gone quiet; it is set again when it finds that something came meanwhile.
    Quiet,
}

impl Timer {
    pub(crate) const ALL: [Self; 10] = [
        Self::Connect,
        Self::Ice,
        Self::Repair,
        Self::Feedback,
        Self::Report,
        Self::Pace,
        Self::Probe,
        Self::Test,
        Self::Pause,
        Self::Quiet,
    ];
}

/// The deadlines of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    deadlines: [Option<Time>; Timer::ALL.len()],
    /// The heap's entry for this peer that counts.
    scheduled: Option<Time>,
}

impl Timers {
    pub(crate) const fn get(&self, timer: Timer) -> Option<Time> {
        self.deadlines[timer as usize]
    }

    pub(crate) const fn set(&mut self, timer: Timer, at: Option<Time>) {
        self.deadlines[timer as usize] = at;
    }

    /// Sets a timer that runs already only if this is sooner.
    pub(crate) fn set_sooner(&mut self, timer: Timer, at: Time) {
        let deadline = &mut self.deadlines[timer as usize];
        *deadline = Some(deadline.map_or(at, |before| before.min(at)));
    }

    /// True if the timer is due; it no longer runs then.
    pub(crate) fn take_due(&mut self, timer: Timer, now: Time) -> bool {
        let due = self.deadlines[timer as usize].is_some_and(|at| at <= now);
        if due {
            self.deadlines[timer as usize] = None;
        }
        due
    }

    fn next(&self) -> Option<Time> {
        self.deadlines.iter().flatten().min().copied()
    }
}

/// Entries for each peer at which the heap is tidied: the one that counts, and stale ones.
const ENTRIES_PER_PEER_MAX: usize = 4;

/// Whose timer comes next.
#[derive(Default)]
pub(crate) struct TimerHeap {
    heap: BinaryHeap<Reverse<(Time, PeerKey)>>,
}

impl TimerHeap {
    /// Follows a change of a peer's timers.
    pub(crate) fn schedule(&mut self, key: PeerKey, timers: &mut Timers) {
        let Some(next) = timers.next() else { return };
        if timers.scheduled.is_none_or(|at| next < at) {
            timers.scheduled = Some(next);
            self.heap.push(Reverse((next, key)));
        }
    }

    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next peer whose entry is due; the entry is gone then. It may be stale: ask [`Self::is_current`].
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Time, PeerKey)> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Whether a popped entry is the one that counts; the peer has none in the heap then.
    pub(crate) fn is_current(at: Time, timers: &mut Timers) -> bool {
        let current = timers.scheduled == Some(at);
        if current {
            timers.scheduled = None;
        }
        current
    }

    /// Drops what is left of peers that are gone, once it is much beside what is there: to go through all entries at
    /// each leave would take longer the more peers stay.
    pub(crate) fn tidy<T>(&mut self, peers: &SlotMap<PeerKey, T>) {
        if self.heap.len() > ENTRIES_PER_PEER_MAX * peers.len() {
            self.heap.retain(|Reverse((_, key))| peers.contains_key(*key));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}
