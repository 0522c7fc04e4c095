//! The receiving side of a peer: which SSRC is which encoding, and how the publisher's clock relates to ours.

use std::time::Duration;

use crate::bounds::{REPAIRS_AT_ONCE_MAX, SSRCS_PER_PEER_MAX};
use crate::keys::SourceKey;
use crate::rtp::ExtensionIds;
use crate::time::{NtpTime, Time};
use crate::twcc::TwccRecorder;

#[derive(Default)]
pub(crate) struct Uplink {
    pub(crate) sources: Vec<SourceKey>,
    pub(crate) bindings: SsrcTable,
    pub(crate) extensions: ExtensionIds,
    pub(crate) twcc: TwccRecorder,
    /// An SSRC the publisher is sending now: feedback on any other is ignored by Chromium.
    pub(crate) twcc_media_ssrc: u32,
    pub(crate) clock: PublisherClock,
    pub(crate) repairs: RepairBudget,
}

/// What a publisher may be asked to send again: about half of what comes, and some at once after a burst of loss. A way up that
/// loses more is full, and what is sent again takes the room of what would have come: Chromium answers each request, whatever it
/// thinks that the way carries.
#[derive(Default)]
pub(crate) struct RepairBudget {
    /// In halves of a packet.
    halves: u32,
}

impl RepairBudget {
    /// A packet came.
    #[inline]
    pub(crate) fn came(&mut self) {
        self.halves = (self.halves + 1).min(REPAIRS_AT_ONCE_MAX * 2);
    }

    /// How many may be asked for.
    pub(crate) const fn room(&self) -> usize {
        self.halves as usize / 2
    }

    /// So many were.
    pub(crate) const fn asked(&mut self, packets: usize) {
        self.halves = self.halves.saturating_sub(packets as u32 * 2);
    }
}

/// What an SSRC stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) ssrc: u32,
    pub(crate) source: SourceKey,
    pub(crate) encoding: u8,
    pub(crate) rtx: bool,
}

/// The SSRCs of a publisher: few, so a list. Only authenticated packets and SDP lines make entries.
#[derive(Default)]
pub(crate) struct SsrcTable {
    entries: Vec<(Binding, Time)>,
    last: usize,
}

impl SsrcTable {
    /// What `ssrc` stands for; marks it used.
    #[inline]
    pub(crate) fn find(&mut self, ssrc: u32, now: Time) -> Option<Binding> {
        let at = match self.entries.get(self.last) {
            Some((binding, _)) if binding.ssrc == ssrc => self.last,
            _ => self.entries.iter().position(|(binding, _)| binding.ssrc == ssrc)?,
        };
        self.last = at;
        self.entries[at].1 = now;
        Some(self.entries[at].0)
    }

    /// What `ssrc` stands for.
    pub(crate) fn get(&self, ssrc: u32) -> Option<Binding> {
        self.entries.iter().find(|(binding, _)| binding.ssrc == ssrc).map(|(binding, _)| *binding)
    }

    /// Adds or replaces the entry of the binding's SSRC; the one unused for longest gives way when the table is full.
    pub(crate) fn bind(&mut self, binding: Binding, now: Time) {
        self.remove(binding.ssrc);
        if self.entries.len() >= SSRCS_PER_PEER_MAX {
            let oldest = (0..self.entries.len()).min_by_key(|&i| self.entries[i].1).unwrap_or(0);
            self.entries.swap_remove(oldest);
        }
        self.entries.push((binding, now));
    }

    pub(crate) fn remove(&mut self, ssrc: u32) {
        self.entries.retain(|(binding, _)| binding.ssrc != ssrc);
    }
}

/// A publisher's wall clock against ours, from the NTP times of its sender reports.
///
/// One per publisher, for audio and video alike: whatever the error, both are off by the same and stay in step. The
/// least difference of the last minute is taken, so that a report delayed on the way changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PublisherClock {
    /// Least difference in µs of this half minute and of the one before.
    current_us: Option<i64>,
    before_us: Option<i64>,
    half_began_at: Time,
}

/// How long a minimum is looked for before it becomes the one before.
const CLOCK_HALF: Duration = Duration::from_secs(30);
/// A report this much later than the best one tells of a stalled clock, not of a slow line.
const STALE_REPORT_US: i64 = 1_000_000;

impl PublisherClock {
    /// Takes a report in. False if its NTP time is stale and it should not be used.
    pub(crate) fn note(&mut self, theirs: NtpTime, ours: NtpTime, now: Time) -> bool {
        let difference = ours.micros_since(theirs);
        if now.since(self.half_began_at) >= CLOCK_HALF {
            self.before_us = self.current_us.take();
            self.half_began_at = now;
        }
        let best = self.offset_us();
        self.current_us = Some(self.current_us.map_or(difference, |least| least.min(difference)));
        best.is_none_or(|best| difference - best < STALE_REPORT_US)
    }

    /// The publisher's time on our clock.
    pub(crate) fn to_ours(self, theirs: NtpTime) -> Option<NtpTime> {
        self.offset_us().map(|offset| theirs.offset_micros(offset))
    }

    fn offset_us(&self) -> Option<i64> {
        [self.current_us, self.before_us].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uplink_delay_of_one_report_does_not_become_lip_sync_error() {
        let mut clock = PublisherClock::default();
        let theirs = NtpTime(77 << 32);
        let ours = theirs.offset_micros(5_000_000);
        assert!(clock.note(theirs, ours.offset_micros(20_000), Time::from_millis(0)));
        let late = theirs.offset_micros(1_000_000);
        assert!(clock.note(late, ours.offset_micros(1_000_000 + 400_000), Time::from_millis(1_400)));
        let mapped = clock.to_ours(late).expect("reports were taken in");
        assert!((mapped.micros_since(ours.offset_micros(1_000_000)) - 20_000).abs() < 3);
    }

    #[test]
    fn stale_ntp_while_muted_is_refused() {
        let mut clock = PublisherClock::default();
        let theirs = NtpTime(77 << 32);
        assert!(clock.note(theirs, theirs, Time::ZERO));
        assert!(!clock.note(
            theirs.offset_micros(10),
            theirs.offset_micros(3_000_000),
            Time::from_millis(3_000)
        ));
    }
}
