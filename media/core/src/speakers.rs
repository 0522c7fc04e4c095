//! Who speaks in a room, by the levels their packets carry (RFC 6464), with hysteresis.

use std::time::Duration;

use crate::api::Event;
use crate::keys::{PeerKey, RoomKey};
use crate::sfu::Sfu;
use crate::time::Time;

/// Quieter than this is no voice, in −dBov.
const VOICE_LEVEL_MAX: u8 = 50;
/// How quickly the loudness that counts follows the levels, and how quickly it is gone in silence.
const FOLLOWS: Duration = Duration::from_millis(300);
/// How much louder than who speaks somebody has to be, and for how long.
const LOUDER_TIMES: f64 = 1.4;
const LOUDER_FOR: Duration = Duration::from_millis(600);
/// Below this nobody speaks; the loudest packet counts 1.
const LOUDNESS_MIN: f64 = 0.12;
/// How often it is decided.
const INTERVAL: Duration = Duration::from_millis(100);

/// How loud one peer was lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Voice {
    loudness: f64,
    at: Time,
}

/// Who speaks in a room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Speakers {
    active: Option<PeerKey>,
    /// Who is louder, and since when.
    challenger: Option<(PeerKey, Time)>,
    decided_at: Time,
}

impl Voice {
    /// A packet's level octet: a bit of the sender's own opinion, and −dBov.
    pub(crate) fn note(&mut self, octet: u8, now: Time) {
        let level = octet & 0x7f;
        let loudness = f64::from(VOICE_LEVEL_MAX.saturating_sub(level)) / f64::from(VOICE_LEVEL_MAX);
        let follows = now.since(self.at).as_secs_f64() / FOLLOWS.as_secs_f64();
        self.loudness += (loudness - self.loudness) * (1.0 - (-follows).exp());
        self.at = now;
    }

    /// How loud it is by now: who sends nothing is silent.
    fn loudness(&self, now: Time) -> f64 {
        if self.loudness == 0.0 {
            return 0.0;
        }
        self.loudness * (-(now.since(self.at).as_secs_f64() / FOLLOWS.as_secs_f64())).exp()
    }
}

impl Speakers {
    /// Who speaks, or spoke last.
    pub(crate) const fn active(&self) -> Option<PeerKey> {
        self.active
    }

    /// Decides anew. True if it is another one now.
    fn decide(&mut self, voices: impl Iterator<Item = (PeerKey, f64)>, now: Time) -> bool {
        self.decided_at = now;
        let mut active = 0.0;
        let mut loudest: Option<(PeerKey, f64)> = None;
        for (key, loudness) in voices {
            if Some(key) == self.active {
                active = loudness;
            } else if loudest.is_none_or(|(_, most)| loudness > most) {
                loudest = Some((key, loudness));
            }
        }
        let louder = loudest.filter(|(_, loudness)| *loudness > (active * LOUDER_TIMES).max(LOUDNESS_MIN));
        let Some((key, _)) = louder else {
            self.challenger = None;
            return false;
        };
        let since = match self.challenger {
            Some((challenger, since)) if challenger == key => since,
            _ => now,
        };
        self.challenger = Some((key, since));
        // The first voice in a silent room need not win over anybody.
        let wins = self.active.is_none() || now.since(since) >= LOUDER_FOR;
        if wins {
            (self.active, self.challenger) = (Some(key), None);
        }
        wins
    }
}

impl Sfu {
    /// A packet of a voice came with its level.
    pub(crate) fn note_voice(&mut self, key: PeerKey, octet: u8, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.voice.note(octet, now);
        let Some(room) = self.rooms.get_mut(peer.room) else { return };
        if now.since(room.speakers.decided_at) < INTERVAL {
            return;
        }
        let voices = room.peers.iter().filter_map(|key| {
            let peer = self.peers.get(*key).filter(|peer| peer.is_open())?;
            Some((*key, peer.voice.loudness(now)))
        });
        if !room.speakers.decide(voices, now) {
            return;
        }
        let id = room.id;
        let speaker = room.speakers.active().and_then(|key| self.peers.get(key)).map(|peer| peer.id);
        self.emit(Event::Speaker { room: id, speaker });
        // Whoever speaks goes first on everybody's line.
        let others =
            self.peers.get(key).and_then(|peer| self.rooms.get(peer.room)).map_or(0, |r| r.peers.len());
        for at in 0..others {
            let room = self.peers.get(key).and_then(|peer| self.rooms.get(peer.room));
            let Some(&other) = room.and_then(|room| room.peers.get(at)) else { return };
            self.allocate(other, now);
        }
    }

    /// A peer leaves its room.
    pub(crate) fn forget_speaker(&mut self, room: RoomKey, key: PeerKey) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        room.speakers.challenger = room.speakers.challenger.filter(|(challenger, _)| *challenger != key);
        if room.speakers.active == Some(key) {
            room.speakers.active = None;
            let id = room.id;
            self.emit(Event::Speaker { room: id, speaker: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    struct Talk {
        keys: Vec<PeerKey>,
        voices: Vec<Voice>,
        speakers: Speakers,
        now: Time,
        changes: Vec<(u64, usize)>,
    }

    impl Talk {
        fn new(people: usize) -> Self {
            let mut map: SlotMap<PeerKey, ()> = SlotMap::with_key();
            Self {
                keys: (0..people).map(|_| map.insert(())).collect(),
                voices: vec![Voice::default(); people],
                speakers: Speakers::default(),
                now: Time::from_millis(1_000),
                changes: Vec::new(),
            }
        }

        /// Everybody at these levels (−dBov), for so long.
        fn hear(&mut self, levels: &[u8], millis: u64) {
            for _ in 0..millis / 20 {
                self.now = self.now + Duration::from_millis(20);
                for (voice, level) in self.voices.iter_mut().zip(levels).filter(|(_, level)| **level < 127) {
                    voice.note(*level, self.now);
                }
                if self.now.since(self.speakers.decided_at) >= INTERVAL {
                    let voices: Vec<_> =
                        self.keys.iter().zip(&self.voices).map(|(k, v)| (*k, v.loudness(self.now))).collect();
                    if self.speakers.decide(voices.into_iter(), self.now) {
                        let who = self.keys.iter().position(|key| Some(*key) == self.speakers.active);
                        self.changes.push((self.now.as_micros() / 1_000 - 1_000, who.unwrap()));
                    }
                }
            }
        }
    }

    #[test]
    fn who_begins_to_speak_is_known_soon_and_a_cough_changes_nothing() {
        let mut talk = Talk::new(3);
        talk.hear(&[20, 80, 127], 2_000);
        assert_eq!(talk.changes.len(), 1);
        assert!(talk.changes[0].0 <= 300 && talk.changes[0].1 == 0, "{:?}", talk.changes);
        // A cough of a fifth of a second, loud.
        talk.hear(&[20, 80, 2], 200);
        talk.hear(&[20, 80, 127], 2_000);
        assert_eq!(talk.changes.len(), 1);
        // Another takes over.
        talk.hear(&[80, 20, 127], 2_000);
        assert_eq!(talk.changes.len(), 2);
        let (at, who) = talk.changes[1];
        assert!(who == 1 && (4_200 + 600..4_200 + 1_300).contains(&at), "{at}");
    }

    #[test]
    fn two_who_speak_at_once_do_not_take_turns_and_silence_keeps_the_last() {
        let mut talk = Talk::new(2);
        talk.hear(&[25, 90], 1_000);
        for _ in 0..20 {
            talk.hear(&[22, 28], 300);
            talk.hear(&[28, 22], 300);
        }
        talk.hear(&[127, 127], 10_000);
        talk.hear(&[70, 60], 10_000);
        assert_eq!(talk.changes.len(), 1, "{:?}", talk.changes);
    }
}
