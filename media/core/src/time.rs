//! Time as the core knows it: microseconds since its owner started, handed in with every input.

use std::ops::Add;
use std::time::Duration;

/// A point in time, in microseconds since the shard that owns the core started. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment the shard started.
    pub const ZERO: Self = Self(0);

    /// The point `micros` microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The point `millis` milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// When this is as a packet says it left, in seconds of 6.18 bits ([`crate::rtp::uri::ABS_SEND_TIME`]).
    #[must_use]
    pub const fn abs_send_time(self) -> u32 {
        const WRAPS_MICROS: u64 = 64_000_000;
        (((self.0 % WRAPS_MICROS) << 18) / 1_000_000) as u32
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds since `earlier`; zero if it is not before.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Time {
    /// The first multiple of `grid` that is not before this.
    #[must_use]
    pub fn round_up(self, grid: Duration) -> Self {
        let grid = u64::try_from(grid.as_micros()).unwrap_or(u64::MAX).max(1);
        Self(self.0.checked_next_multiple_of(grid).unwrap_or(self.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// An NTP timestamp, 32.32 fixed point seconds since 1900 (RFC 5905), as sender reports carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Seconds between the NTP era (1900) and the Unix era (1970).
    const UNIX_OFFSET_S: u64 = 2_208_988_800;

    /// The NTP timestamp of `since_unix_epoch`.
    #[must_use]
    pub const fn from_unix(since_unix_epoch: Duration) -> Self {
        let seconds = since_unix_epoch.as_secs().wrapping_add(Self::UNIX_OFFSET_S);
        let fraction = ((since_unix_epoch.subsec_nanos() as u64) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The middle 32 bits, as `LSR` of a report block carries them (RFC 3550 section 6.4.1).
    #[must_use]
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Signed microseconds from `other` to this; wraps as the era does.
    #[must_use]
    pub const fn micros_since(self, other: Self) -> i64 {
        let delta = self.0.wrapping_sub(other.0).cast_signed();
        ((delta as i128 * 1_000_000) >> 32) as i64
    }

    /// This timestamp moved by `micros` microseconds, which may be negative.
    #[must_use]
    pub const fn offset_micros(self, micros: i64) -> Self {
        let delta = ((micros as i128) << 32) / 1_000_000;
        Self(self.0.wrapping_add((delta as i64).cast_unsigned()))
    }
}

/// What the server's wall clock said at [`Time::ZERO`]; NTP times of sender reports are told by it.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    at_zero: NtpTime,
}

impl WallClock {
    /// A wall clock that showed `at_zero` when the shard started.
    #[must_use]
    pub const fn new(at_zero: NtpTime) -> Self {
        Self { at_zero }
    }

    /// The wall clock's NTP time at `now`.
    #[must_use]
    pub const fn ntp(&self, now: Time) -> NtpTime {
        self.at_zero.offset_micros(now.0.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_keeps_microseconds_over_offsets_in_both_directions() {
        let base = NtpTime::from_unix(Duration::new(1_800_000_000, 123_456_000));
        for micros in [0, 1, 999_999, 1_000_000, 86_400_000_000, -1, -5_000_000] {
            let moved = base.offset_micros(micros);
            assert!((moved.micros_since(base) - micros).abs() <= 1, "{micros}");
        }
    }

    #[test]
    fn ntp_of_unix_epoch_is_rfc_5905_offset() {
        assert_eq!(NtpTime::from_unix(Duration::ZERO).0 >> 32, 2_208_988_800);
    }
}
