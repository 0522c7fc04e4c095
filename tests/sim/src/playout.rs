//! A voice as it is heard, after NetEq: a playout delay that follows the jitter by stretching what is played, and what was not
//! there in time. A frame that is the next one and comes late is played when it comes, and all later ones as much later: what was
//! concealed is the time until then. One that is missing while a later one is there is concealed, and gone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vestibule_media_core::time::Time;

use crate::synthetic::Tag;

/// The playout delay is the 95th percentile of the jitter and one frame, from this on.
const DELAY_MIN: Duration = Duration::from_millis(60);
/// And to this: what comes later is of no use to a conversation. NetEq itself goes on to three quarters of its 200 packets.
pub(crate) const DELAY_MAX: Duration = Duration::from_millis(400);
const JITTER_PERCENTILE: usize = 95;
/// Nothing is played faster that would have come too late lately: two seconds of them.
const RECENT_PACKETS: usize = 100;
/// By how much of what is played the delay follows: one pitch period each 50 ms.
const STRETCH: u32 = 5;
/// Packets whose jitter is remembered: four seconds of frames of 20 ms.
const JITTER_PACKETS: usize = 200;

/// Earlier frames that may go along with each (RFC 2198): 0, 1 or 2.
pub const REDUNDANCY_LEVELS: usize = 3;

/// What became of the frames of a voice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Frames whose time to be played has come, and those of them that were there neither by themselves nor by
    /// redundancy; by how much redundancy was sent at that time.
    pub by_redundancy: [Frames; REDUNDANCY_LEVELS],
    /// Sound that was played, in milliseconds.
    pub played_ms: u64,
    /// Frames that only redundancy brought in time.
    pub rescued: u64,
}

/// How many frames, and how many of them had to be concealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// All.
    pub due: u64,
    /// Not there in time.
    pub concealed: u64,
}

impl Frames {
    /// Those that came after what `earlier` counts.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self { due: self.due - earlier.due, concealed: self.concealed - earlier.concealed }
    }

    /// The share that was concealed; none where nothing was due.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.due > 0).then(|| self.concealed as f64 / self.due as f64)
    }
}

impl Heard {
    /// Over all levels of redundancy.
    #[must_use]
    pub fn frames(&self) -> Frames {
        let sum = |of: fn(&Frames) -> u64| self.by_redundancy.iter().map(of).sum();
        Frames { due: sum(|frames| frames.due), concealed: sum(|frames| frames.concealed) }
    }
}

/// The playout of one m-line.
#[derive(Clone, Debug)]
pub(crate) struct Playout {
    pub(crate) heard: Heard,
    delay_max: Duration,
    stream: Option<Stream>,
}

/// The frames of one source.
#[derive(Clone, Debug)]
struct Stream {
    ssrc: u32,
    /// The frame to be played next, and when it was captured as far as is known.
    next: u32,
    next_captured_at: Time,
    duration: Duration,
    highest: u32,
    arrivals: BTreeMap<u32, Arrival>,
    /// From capture to arrival, in µs.
    transits: VecDeque<u64>,
    /// From capture to playout: as it is, and as it should be.
    delay: Duration,
    target: Duration,
    /// What comes later than so long after it was captured is of no use.
    latest: Duration,
    /// What was concealed of a frame that was waited for, and is none as long as a frame yet.
    concealed: Duration,
    redundancy: usize,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Time,
    captured_at: Time,
    duration: Duration,
    is_redundant: bool,
}

impl Default for Playout {
    fn default() -> Self {
        Self::within(DELAY_MAX)
    }
}

impl Playout {
    /// A playout of so long a delay at the most.
    pub(crate) fn within(delay_max: Duration) -> Self {
        Self { heard: Heard::default(), delay_max, stream: None }
    }

    /// Takes the frames of one packet: its own, and the earlier ones that came along.
    pub(crate) fn packet(&mut self, own: Tag, redundant: &[Tag], now: Time) {
        self.play(now);
        let duration = Duration::from_millis(u64::from(own.duration_ms));
        if self.stream.as_ref().is_none_or(|stream| stream.ssrc != own.ssrc) {
            self.stream = Some(Stream {
                ssrc: own.ssrc,
                next: own.frame,
                next_captured_at: own.captured_at,
                duration,
                highest: own.frame,
                arrivals: BTreeMap::new(),
                transits: VecDeque::new(),
                delay: Duration::ZERO,
                target: Duration::ZERO,
                latest: Duration::ZERO,
                concealed: Duration::ZERO,
                redundancy: 0,
            });
        }
        let Some(stream) = &mut self.stream else { return };
        stream.redundancy = redundant.len().min(REDUNDANCY_LEVELS - 1);
        stream.highest = stream.highest.max(own.frame);
        stream.follow(now.micros_since(own.captured_at), duration, self.delay_max);
        for (tag, is_redundant) in redundant.iter().map(|tag| (tag, true)).chain([(&own, false)]) {
            if tag.frame < stream.next {
                continue;
            }
            let arrival = Arrival {
                at: now,
                captured_at: tag.captured_at,
                duration: Duration::from_millis(u64::from(tag.duration_ms)),
                is_redundant,
            };
            stream.arrivals.entry(tag.frame).or_insert(arrival);
        }
    }

    /// Plays what is due. A frame counts as missing only once a later one is there, so that a pause is none.
    pub(crate) fn play(&mut self, now: Time) {
        let Self { heard, stream: Some(stream), .. } = self else { return };
        while stream.next <= stream.highest {
            let arrival = stream.arrivals.get(&stream.next).copied();
            // What is missing was captured before what is there, however long its frames were.
            let later = stream.arrivals.range(stream.next..).next().map(|(_, arrival)| arrival.captured_at);
            let guessed = later.map_or(stream.next_captured_at, |later| later.min(stream.next_captured_at));
            let captured_at = arrival.map_or(guessed, |arrival| arrival.captured_at);
            let plays_at = captured_at + stream.delay;
            if now < plays_at {
                return;
            }
            let frames = &mut heard.by_redundancy[stream.redundancy];
            frames.due += 1;
            match arrival.filter(|arrival| stream.is_played(arrival, plays_at)) {
                None => frames.concealed += 1,
                Some(arrival) => {
                    let late = arrival.at.since(plays_at);
                    let concealed = stream.waited(late, arrival.duration);
                    frames.due += concealed;
                    frames.concealed += concealed;
                    heard.played_ms += arrival.duration.as_millis() as u64;
                    heard.rescued += u64::from(arrival.is_redundant);
                    stream.stretch(arrival.duration);
                }
            }
            stream.duration = arrival.map_or(stream.duration, |arrival| arrival.duration);
            stream.next_captured_at = captured_at + stream.duration;
            stream.arrivals.remove(&stream.next);
            stream.next += 1;
        }
    }
}

impl Stream {
    /// Lets the delay follow what the last packets took.
    fn follow(&mut self, transit_us: u64, duration: Duration, delay_max: Duration) {
        self.transits.push_back(transit_us);
        if self.transits.len() > JITTER_PACKETS {
            self.transits.pop_front();
        }
        let mut sorted: Vec<u64> = self.transits.iter().copied().collect();
        sorted.sort_unstable();
        let least = sorted[0];
        let jitter = sorted[(sorted.len() * JITTER_PERCENTILE / 100).min(sorted.len() - 1)] - least;
        let wanted = (Duration::from_micros(jitter) + duration).clamp(DELAY_MIN, delay_max);
        let least = Duration::from_micros(least);
        let recent = self.transits.iter().rev().take(RECENT_PACKETS).copied().max().unwrap_or(0);
        self.target = (least + wanted).max(Duration::from_micros(recent).min(least + delay_max));
        self.latest = least + delay_max;
        if self.transits.len() == 1 {
            self.delay = self.target;
        }
    }

    /// A frame that comes late is waited for as long as none after it is there, and it is of use.
    fn is_played(&self, arrival: &Arrival, plays_at: Time) -> bool {
        let is_first = || self.arrivals.range(self.next + 1..).all(|(_, later)| later.at > plays_at);
        arrival.at <= plays_at || (arrival.at <= arrival.captured_at + self.latest && is_first())
    }

    /// Waited for a frame that came late: so many frames' time was concealed, and all later ones are played as much later.
    fn waited(&mut self, late: Duration, duration: Duration) -> u64 {
        self.delay += late;
        self.concealed += late;
        let frames = self.concealed.as_micros() / duration.as_micros().max(1);
        self.concealed -= duration * frames as u32;
        frames as u64
    }

    /// Plays a little faster, or slower, where the delay is not what it should be.
    fn stretch(&mut self, duration: Duration) {
        let most = duration / STRETCH;
        self.delay = self.target.clamp(self.delay.saturating_sub(most), self.delay + most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_MS: u64 = 20;
    const TRAVEL_MS: u64 = 50;

    /// A voice of which each packet with a number that is a multiple of `lost` does not come.
    fn voice(redundancy: u32, lost: u32) -> Heard {
        let mut playout = Playout::default();
        for frame in (2..1_000).filter(|frame| frame % lost != 0) {
            let redundant: Vec<Tag> =
                (frame - redundancy..frame).map(|frame| Tag::of_voice(frame, FRAME_MS as u8)).collect();
            let at = Time::from_millis(u64::from(frame) * FRAME_MS + TRAVEL_MS);
            playout.packet(Tag::of_voice(frame, FRAME_MS as u8), &redundant, at);
        }
        playout.heard
    }

    #[test]
    fn what_does_not_come_is_concealed_and_redundancy_comes_in_time() {
        let plain = voice(0, 5).frames();
        assert!((0.19..0.21).contains(&plain.share().expect("frames")), "{plain:?}");
        let red = voice(1, 5);
        assert!(red.frames().concealed <= 1, "{red:?}");
        assert!(red.rescued > 180 && red.by_redundancy[1].due > 900, "{red:?}");
    }

    #[test]
    fn what_comes_late_is_concealed_until_the_delay_has_followed() {
        let mut playout = Playout::default();
        for frame in 0..1_000 {
            let late = if frame >= 500 { 200 } else { 0 };
            let at = Time::from_millis(u64::from(frame) * FRAME_MS + TRAVEL_MS + late);
            playout.packet(Tag::of_voice(frame, FRAME_MS as u8), &[], at);
        }
        let concealed = playout.heard.frames().concealed;
        assert!((7..9).contains(&concealed), "160 ms more than it could wait: {concealed}");
        assert!(playout.heard.played_ms > 19_000, "{:?}", playout.heard);
    }

    #[test]
    fn what_comes_after_a_later_one_was_played_is_gone() {
        let mut playout = Playout::default();
        let at = |frame: u32| Time::from_millis(u64::from(frame) * FRAME_MS + TRAVEL_MS);
        for frame in (0..200).filter(|frame| *frame != 100) {
            playout.packet(Tag::of_voice(frame, FRAME_MS as u8), &[], at(frame));
            if frame == 105 {
                playout.packet(Tag::of_voice(100, FRAME_MS as u8), &[], at(frame));
            }
        }
        let Frames { due, concealed } = playout.heard.frames();
        assert_eq!(concealed, 1);
        assert!(due >= 190, "{due}");
    }
}
