//! Packets that come again.

/// What came before. A line is probed with what has arrived already, by RTX: the crate gives that out again.
#[derive(Default)]
pub(crate) struct ReplayWindow {
    highest: Option<u16>,
    /// Of the highest and those before it, from the lowest bit on.
    came: u128,
}

impl ReplayWindow {
    /// Whether a packet comes for the first time; of those that are too old to tell, none does.
    pub(crate) fn is_new(&mut self, number: u16) -> bool {
        let highest = *self.highest.get_or_insert(number);
        let ahead = number.wrapping_sub(highest);
        let age = if ahead < 1 << 15 {
            self.highest = Some(number);
            self.came = self.came.checked_shl(ahead.into()).unwrap_or(0);
            0
        } else {
            highest.wrapping_sub(number)
        };
        let bit = 1_u128.checked_shl(age.into()).unwrap_or(0);
        let is_new = bit & !self.came != 0;
        self.came |= bit;
        is_new
    }
}
