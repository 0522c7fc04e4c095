//! What was sent, by transport-wide sequence number, until feedback tells of it.

use crate::bounds::{SENT_PACKETS_MAX, SENT_PACKETS_MIN};
use crate::time::Time;

/// One packet that left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at: Time,
    pub(super) bytes: u16,
    /// The number of the probe it is part of; zero of none.
    pub(super) probe: u16,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    /// Never sent, or told of already.
    #[default]
    Known,
    /// Nothing has been told of it.
    Open,
    /// Feedback passed over it. It may still come.
    Missing,
}

/// What feedback says of one packet, for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It arrived.
    Arrived(Sent),
    /// It arrived after all.
    ArrivedLate(Sent),
}

/// A ring that grows with what is in flight: a line that is short or slow takes a kilobyte or two.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// A power of two of places, by sequence number.
    sent: Vec<Sent>,
    /// The next sequence number.
    next: u16,
    /// The oldest sequence number that is still to be told of; nothing before the first packet.
    oldest: Option<u16>,
    in_flight_bytes: u64,
}

impl History {
    pub(super) const fn new() -> Self {
        Self { sent: Vec::new(), next: 0, oldest: None, in_flight_bytes: 0 }
    }

    /// Bytes that were sent and not told of.
    pub(super) const fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Sequence numbers are given out one after another; a jump begins anew.
    #[inline]
    pub(super) fn sent(&mut self, sequence: u16, bytes: u16, probe: u16, at: Time) {
        if self.oldest.is_none() || sequence != self.next {
            self.restart(sequence);
        }
        let oldest = self.oldest.unwrap_or(sequence);
        let open = usize::from(sequence.wrapping_sub(oldest));
        if open >= self.sent.len() {
            self.make_room(oldest, sequence);
        }
        // Nothing that is still open is there, and what is need not be looked at: it is in nobody's cache any more.
        let place = self.place(sequence);
        self.sent[place] = Sent { at, bytes, probe, fate: Fate::Open };
        self.in_flight_bytes += u64::from(bytes);
        self.next = sequence.wrapping_add(1);
    }

    /// Feedback says that this packet arrived. Nothing if that is no news, or nothing is known of it.
    #[inline]
    pub(super) fn arrived(&mut self, sequence: u16) -> Option<Told> {
        let place = self.known(sequence)?;
        let sent = self.sent[place];
        let told = match sent.fate {
            Fate::Known => return None,
            Fate::Open => Told::Arrived(sent),
            Fate::Missing => Told::ArrivedLate(sent),
        };
        self.close(place);
        Some(told)
    }

    /// A message has told of everything from `first` to `last`: what did not arrive is missing. Tells each of them once. Of
    /// what lies before, and was never told of, the message was lost, not the packets: nothing is known of them.
    pub(super) fn covered(&mut self, first: u16, last: u16, mut missing: impl FnMut(Sent)) {
        let Some(oldest) = self.oldest else { return };
        let ahead = last.wrapping_sub(oldest);
        if ahead >= self.next.wrapping_sub(oldest) {
            // Never sent, or an older message that came late.
            return;
        }
        for step in 0..=ahead {
            let sequence = oldest.wrapping_add(step);
            let place = self.place(sequence);
            if first.wrapping_sub(sequence).wrapping_sub(1) < i16::MAX.cast_unsigned() {
                self.close(place);
            } else if self.sent[place].fate == Fate::Open {
                self.in_flight_bytes -= u64::from(self.sent[place].bytes);
                self.sent[place].fate = Fate::Missing;
                missing(self.sent[place]);
            }
        }
        // The missing stay in their places for a while, to be known if they come late.
        self.oldest = Some(last.wrapping_add(1));
    }

    /// Its place, unless that is another's by now.
    fn known(&self, sequence: u16) -> Option<usize> {
        let back = usize::from(self.next.wrapping_sub(sequence).wrapping_sub(1));
        (back < self.sent.len()).then(|| self.place(sequence))
    }

    fn place(&self, sequence: u16) -> usize {
        usize::from(sequence) & (self.sent.len() - 1)
    }

    fn close(&mut self, place: usize) {
        let sent = &mut self.sent[place];
        if sent.fate == Fate::Open {
            self.in_flight_bytes -= u64::from(sent.bytes);
        }
        sent.fate = Fate::Known;
    }

    fn restart(&mut self, sequence: u16) {
        self.sent.clear();
        self.sent.resize(SENT_PACKETS_MIN, Sent::default());
        self.in_flight_bytes = 0;
        self.oldest = Some(sequence);
        self.next = sequence;
    }

    fn make_room(&mut self, oldest: u16, sequence: u16) {
        let places = self.sent.len();
        if places < SENT_PACKETS_MAX {
            let before = std::mem::replace(&mut self.sent, vec![Sent::default(); places * 2]);
            for step in 0..places {
                let sequence = oldest.wrapping_add(step as u16);
                let place = self.place(sequence);
                self.sent[place] = before[usize::from(sequence) & (places - 1)];
            }
        } else {
            // Nobody tells of anything: the oldest, in whose place this one goes, is given up.
            self.close(self.place(sequence));
            self.oldest = Some(sequence.wrapping_sub(places as u16 - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(first: u16, count: u16) -> History {
        let mut history = History::new();
        for step in 0..count {
            history.sent(first.wrapping_add(step), 100, 0, Time::from_millis(u64::from(step)));
        }
        history
    }

    #[test]
    fn each_packet_is_told_of_once_over_the_wrap() {
        let first = 65_500;
        let mut history = filled(first, 200);
        assert_eq!(history.in_flight_bytes(), 20_000);
        for step in (0..100).filter(|step| step % 10 != 3) {
            let told = history.arrived(first.wrapping_add(step));
            assert!(
                matches!(told, Some(Told::Arrived(sent)) if sent.at == Time::from_millis(u64::from(step)))
            );
            assert_eq!(history.arrived(first.wrapping_add(step)), None, "told twice");
        }
        let mut missing = Vec::new();
        history.covered(first, first.wrapping_add(99), |sent| missing.push(sent.at.as_micros() / 1_000));
        assert_eq!(missing, [3, 13, 23, 33, 43, 53, 63, 73, 83, 93]);
        history.covered(first, first.wrapping_add(99), |_| panic!("told again"));
        assert_eq!(history.in_flight_bytes(), 10_000);
        assert!(matches!(history.arrived(first.wrapping_add(13)), Some(Told::ArrivedLate(_))));
        assert_eq!(history.in_flight_bytes(), 10_000);
    }

    #[test]
    fn what_nobody_tells_of_stays_within_its_bound() {
        let mut history = History::new();
        for sequence in 0..20_000_u32 {
            history.sent(sequence as u16, 1_200, 0, Time::ZERO);
        }
        assert_eq!(history.sent.len(), SENT_PACKETS_MAX);
        assert_eq!(history.in_flight_bytes(), 1_200 * SENT_PACKETS_MAX as u64);
        assert_eq!(history.arrived(20_000 - 1 - SENT_PACKETS_MAX as u16), None);
        assert!(history.arrived(20_000 - SENT_PACKETS_MAX as u16).is_some());
    }

    #[test]
    fn feedback_about_what_was_never_sent_is_nothing() {
        let mut history = filled(10, 5);
        for sequence in [0, 9, 15, 40_000] {
            assert_eq!(history.arrived(sequence), None, "{sequence}");
        }
        history.covered(10, 15, |_| panic!("not sent"));
        assert_eq!(history.in_flight_bytes(), 500);
        assert_eq!(History::new().arrived(0), None);
    }

    #[test]
    fn a_message_that_was_lost_makes_no_packet_lost() {
        let mut history = filled(65_530, 30);
        let mut missing = Vec::new();
        // The message on the first twenty was lost; of the others every second arrived.
        let from = 65_530_u16.wrapping_add(20);
        (0..10).step_by(2).for_each(|step| _ = history.arrived(from.wrapping_add(step)));
        history.covered(from, from.wrapping_add(9), |sent| missing.push(sent.at.as_micros() / 1_000));
        assert_eq!(missing, [21, 23, 25, 27, 29]);
        assert_eq!(history.in_flight_bytes(), 0);
    }

    #[test]
    fn a_jump_in_the_numbers_begins_anew() {
        let mut history = filled(10, 5);
        history.sent(1_000, 70, 0, Time::ZERO);
        assert_eq!(history.arrived(12), None);
        assert_eq!(history.in_flight_bytes(), 70);
    }
}
