//! Running numbers of pictures and frames, which wrap, and what held when one of them was due: what comes late is treated as it
//! would have been in time.

/// The number of a picture or frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    pub(crate) value: u32,
    /// At how many bits it wraps.
    pub(crate) bits: u8,
}

impl Number {
    pub(crate) const fn back(self, by: u32) -> Self {
        Self { value: self.value.wrapping_sub(by), ..self }
    }

    /// How far it is behind another.
    pub(crate) const fn behind(self, other: u32) -> i32 {
        let shift = 32 - self.bits as u32;
        (other.wrapping_sub(self.value) << shift).cast_signed() >> shift
    }
}

/// What holds now, and what did before each of its last changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History<T> {
    now: T,
    /// Newest first, so many of them: up to which number it held, and what.
    until: [u32; CHANGES],
    held: [T; CHANGES],
    changes: u8,
}

/// Changes that are remembered: more often than that nothing changes while a packet is late.
const CHANGES: usize = 3;
/// How far back, in numbers. They wrap.
pub(crate) const FORGOTTEN_AFTER: i32 = 256;

impl<T: Copy + PartialEq> History<T> {
    pub(crate) const fn new(now: T) -> Self {
        Self { now, until: [0; CHANGES], held: [now; CHANGES], changes: 0 }
    }

    pub(crate) const fn now(&self) -> T {
        self.now
    }

    /// What holds from a number on, the newest there is.
    pub(crate) fn set(&mut self, from: Number, value: T) {
        let known =
            self.known().take_while(|(until, _)| (0..FORGOTTEN_AFTER).contains(&from_behind(*until, from)));
        self.changes = known.count() as u8;
        if value == self.now {
            return;
        }
        let is_again = self.changes > 0 && self.until[0] == from.value;
        if !is_again {
            self.until.rotate_right(1);
            self.held.rotate_right(1);
            (self.until[0], self.held[0]) = (from.value, self.now);
            self.changes = (self.changes + 1).min(CHANGES as u8);
        }
        self.now = value;
    }

    /// What held when this number was due.
    #[inline]
    pub(crate) fn at(&self, number: Number) -> T {
        let later = self.known().take_while(|(until, _)| number.behind(*until) > 0);
        later.last().map_or(self.now, |(_, held)| held)
    }

    fn known(&self) -> impl Iterator<Item = (u32, T)> {
        self.until.into_iter().zip(self.held).take(self.changes.into())
    }
}

/// How far an earlier number is behind the newest.
const fn from_behind(earlier: u32, newest: Number) -> i32 {
    Number { value: earlier, ..newest }.behind(newest.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(value: u32) -> Number {
        Number { value: value & 0x7fff, bits: 15 }
    }

    #[test]
    fn what_comes_late_is_told_what_held_in_time_over_the_wrap() {
        let mut history = History::new(3);
        history.set(number(0x7ffe), 0);
        history.set(number(0x8002), 1);
        history.set(number(0x8002), 2);
        let held = [0x7ffd, 0x7ffe, 0x8001, 0x8002, 0x8005].map(|value| history.at(number(value)));
        assert_eq!(held, [3, 0, 0, 2, 2]);
    }

    #[test]
    fn changes_of_long_ago_are_forgotten_before_numbers_come_again() {
        let mut history = History::new(3);
        history.set(number(10), 0);
        for value in 11..0x7fff_u32 + 8 {
            history.set(number(value), 0);
        }
        assert_eq!(history.at(number(5)), 0);
    }
}
