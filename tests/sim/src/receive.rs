//! What a client makes of the packets of one m-line: repair, decoding in order, freezes and a voice's playout.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::time::Time;

use crate::playout::{Heard, Playout};
use crate::red::Red;
use crate::synthetic::{HEIGHTS, Tag};

const NACKS_AT_ONCE: usize = 200;
const NACK_TRIES: u8 = 10;
/// Decoded frames that later ones may refer to.
const DECODED_REMEMBERED: usize = 48;
/// A freeze, as libwebrtc counts it: a frame shown for longer than three times the mean, or than the mean and this.
const FREEZE_MARGIN: Duration = Duration::from_millis(150);
const FREEZE_TIMES: u32 = 3;
/// Pictures are shown as long after they were captured as the quickest of the last so many took, and a little; and where this many
/// had to be repaired in the last minute, most of a round trip more: what was repaired once is there in time then.
const QUICKEST_OF: usize = 300;
const DISPLAY_MARGIN: Duration = Duration::from_millis(10);
const REPAIRED_MIN: u32 = 3;
const REPAIRED_SPAN: Duration = Duration::from_secs(60);
const REPAIR_ROUND_TRIPS: f64 = 0.9;
/// Frames the mean is of, and how many it takes to have one.
const FREEZE_FRAMES: usize = 30;
const FREEZE_FRAMES_MIN: usize = 5;

/// What a client was shown on one m-line.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Media packets that came, repaired ones included.
    pub packets: u64,
    /// Packets that came by RTX and were missing.
    pub recovered: u64,
    /// Frames that could be decoded.
    pub frames_decoded: u64,
    /// Frames begun and not decodable when a later one was.
    pub frames_skipped: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// How pictures were coded, each time it changed.
    pub codecs: Vec<CodecName>,
    /// Publisher and size of the last frame.
    pub shows: Option<(u32, u8)>,
    /// When the last frame was decoded.
    pub last_decoded_at: Option<Time>,
    /// Longest time between two decoded frames.
    pub longest_gap: Duration,
    /// Longest time from capture to decoding.
    pub longest_delay: Duration,
    /// Packets that never came and were given up.
    pub lost: u64,
    /// PLIs sent.
    pub keyframe_requests: u64,
    /// Freezes of the picture, as libwebrtc counts them, and how long they took.
    pub freezes: u32,
    /// How long the freezes took.
    pub frozen: Duration,
    /// Height of the picture in pixels, each time it changed.
    pub heights: Vec<(Time, u16)>,
    /// What became of a voice's frames.
    pub heard: Heard,
}

/// One SSRC a client receives.
#[derive(Default)]
pub(crate) struct RxStream {
    pub(crate) stats: Received,
    first: u64,
    pub(crate) highest: Option<u64>,
    pub(crate) last_sender_report: Option<(u32, Time)>,
    missing: BTreeMap<u64, (Time, u8)>,
    frames: BTreeMap<u64, Frame>,
    decoded: VecDeque<(u32, u32, u8)>,
    decoded_up_to: Option<u64>,
    last_pli_at: Option<Time>,
    waiting_since: Option<Time>,
    shown_for: VecDeque<Duration>,
    display: Display,
    playout: Playout,
}

/// When pictures appear, after libwebrtc's jitter estimator.
#[derive(Clone, Debug, Default)]
struct Display {
    /// From capture to decoding.
    took: VecDeque<Duration>,
    repaired: u32,
    repaired_at: Time,
    round_trip: Duration,
    shown_at: Option<Time>,
}

/// Packets of a frame by part, under the sequence index of its first part.
#[derive(Clone, Debug)]
struct Frame {
    tag: Tag,
    parts: Vec<bool>,
    began_at: Time,
    /// It is the last of its picture.
    ends_picture: bool,
    is_repaired: bool,
}

impl RxStream {
    /// Packets that came, and those of the numbers between them that did not.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let expected = self.highest.map_or(0, |highest| highest - self.first + 1);
        (self.stats.packets, expected.saturating_sub(self.stats.packets))
    }

    /// A line whose voices are played with so long a delay at the most.
    pub(crate) fn playing_within(delay_max: Duration) -> Self {
        Self { playout: Playout::within(delay_max), ..Self::default() }
    }

    pub(crate) fn packet(&mut self, index: u64, content: Option<Media>, kind: Packet, now: Time) {
        match self.highest {
            None => (self.first, self.highest) = (index, Some(index)),
            Some(highest) if index > highest => {
                for missing in highest + 1..index {
                    self.missing.insert(missing, (now, 0));
                }
                self.highest = Some(index);
            }
            Some(_) => {
                let missed = self.missing.remove(&index).is_some();
                self.stats.recovered += u64::from(missed && kind == Packet::Rtx);
                if !missed {
                    return;
                }
            }
        }
        self.stats.packets += 1;
        match content {
            None => {}
            Some(Media::Picture { tag, codec, marker }) => {
                if self.stats.codecs.last() != Some(&codec) {
                    self.stats.codecs.push(codec);
                }
                self.part(index, tag, marker, kind, now);
            }
            Some(Media::Voice(red)) => {
                self.playout.packet(red.primary, &red.redundant, now);
                self.stats.heard = self.playout.heard;
                self.decoded(red.primary, now);
            }
        }
    }

    fn part(&mut self, index: u64, tag: Tag, marker: bool, kind: Packet, now: Time) {
        let first = index - u64::from(tag.part);
        if self.decoded_up_to.is_some_and(|up_to| first <= up_to) {
            return;
        }
        self.waiting_since.get_or_insert(now);
        let frame = self.frames.entry(first).or_insert_with(|| Frame {
            tag,
            parts: vec![false; usize::from(tag.parts)],
            began_at: now,
            ends_picture: false,
            is_repaired: false,
        });
        frame.ends_picture |= marker;
        frame.is_repaired |= kind == Packet::Rtx;
        frame.parts[usize::from(tag.part)] = true;
        while let Some((first, tag, ends_picture, is_repaired)) = self.next_decodable() {
            self.display.decodes(is_repaired, now);
            self.remember(tag);
            if !ends_picture && !tag.keyframe {
                // By itself it is no picture: what is missing of that is waited for as before.
                self.frames.remove(&first);
                continue;
            }
            self.stats.frames_skipped += self.frames.range(..first).count() as u64;
            self.frames = self.frames.split_off(&(first + 1));
            self.decoded_up_to = Some(first);
            // What lies before a decoded frame is no longer waited for.
            self.missing = self.missing.split_off(&first);
            self.stats.keyframes += u64::from(tag.keyframe && tag.spatial == 0);
            self.waiting_since = (!self.frames.is_empty()).then_some(now);
            if ends_picture {
                self.shown(tag, now);
                self.decoded(tag, now);
            }
        }
    }

    /// Others may refer to it from now on.
    fn remember(&mut self, tag: Tag) {
        self.decoded.push_back((tag.ssrc, tag.frame, tag.spatial));
        if self.decoded.len() > DECODED_REMEMBERED {
            self.decoded.pop_front();
        }
    }

    fn next_decodable(&self) -> Option<(u64, Tag, bool, bool)> {
        let complete = self.frames.iter().filter(|(_, frame)| frame.parts.iter().all(|part| *part));
        let whole =
            |(first, frame): (&u64, &Frame)| (*first, frame.tag, frame.ends_picture, frame.is_repaired);
        complete.map(whole).find(|(_, tag, ..)| {
            (tag.keyframe && tag.spatial == 0)
                || tag.references().all(|(back, spatial)| {
                    self.decoded.contains(&(tag.ssrc, tag.frame.wrapping_sub(back), spatial))
                })
        })
    }

    /// A picture appears: the one before was shown until now.
    fn shown(&mut self, tag: Tag, now: Time) {
        let height = HEIGHTS[usize::from(tag.size())];
        if self.stats.heights.last().is_none_or(|(_, before)| *before != height) {
            self.stats.heights.push((now, height));
        }
        let Some(shown_for) = self.display.shows(tag.captured_at, now) else { return };
        if self.shown_for.len() >= FREEZE_FRAMES_MIN {
            let mean = self.shown_for.iter().sum::<Duration>() / self.shown_for.len() as u32;
            if shown_for > (mean * FREEZE_TIMES).max(mean + FREEZE_MARGIN) {
                self.stats.freezes += 1;
                self.stats.frozen += shown_for;
            }
        }
        self.shown_for.push_back(shown_for);
        if self.shown_for.len() > FREEZE_FRAMES {
            self.shown_for.pop_front();
        }
    }

    fn decoded(&mut self, tag: Tag, now: Time) {
        if let Some(before) = self.stats.last_decoded_at {
            self.stats.longest_gap = self.stats.longest_gap.max(now.since(before));
        }
        self.stats.frames_decoded += 1;
        self.stats.last_decoded_at = Some(now);
        self.stats.longest_delay = self.stats.longest_delay.max(now.since(tag.captured_at));
        self.stats.shows = Some((tag.peer, tag.size()));
    }

    pub(crate) fn nacks(&mut self, retry: Duration, now: Time) -> Vec<u16> {
        let mut due = Vec::new();
        self.display.round_trip = retry;
        self.missing.retain(|_, (_, tries)| *tries < NACK_TRIES);
        for (index, (at, tries)) in &mut self.missing {
            if *at <= now {
                *tries += 1;
                *at = now + retry;
                due.push(*index as u16);
            }
        }
        due.truncate(NACKS_AT_ONCE);
        due
    }

    pub(crate) fn everything(&self) -> Vec<u16> {
        let Some(highest) = self.highest else { return Vec::new() };
        (highest.saturating_sub(199)..=highest).map(|index| index as u16).collect()
    }

    pub(crate) fn needs_keyframe(&mut self, patience: Duration, now: Time) -> bool {
        let stuck = self.waiting_since.is_some_and(|since| now.since(since) > patience)
            && self.frames.values().any(|frame| now.since(frame.began_at) > patience);
        let quiet = self.last_pli_at.is_none_or(|at| now.since(at) > patience);
        if stuck && quiet {
            self.last_pli_at = Some(now);
            self.stats.keyframe_requests += 1;
        }
        stuck && quiet
    }
}

impl Display {
    fn decodes(&mut self, is_repaired: bool, now: Time) {
        if now.since(self.repaired_at) >= REPAIRED_SPAN {
            self.repaired = 0;
        }
        if is_repaired {
            (self.repaired, self.repaired_at) = (self.repaired + 1, now);
        }
    }

    /// How long the picture before was shown, if there was one.
    fn shows(&mut self, captured_at: Time, now: Time) -> Option<Duration> {
        self.took.push_back(now.since(captured_at));
        if self.took.len() > QUICKEST_OF {
            self.took.pop_front();
        }
        let quickest = self.took.iter().min().copied().unwrap_or_default();
        let repairs = self.repaired >= REPAIRED_MIN;
        let waits = if repairs { self.round_trip.mul_f64(REPAIR_ROUND_TRIPS) } else { Duration::ZERO };
        let at = now.max(captured_at + quickest + DISPLAY_MARGIN + waits);
        let before = self.shown_at.replace(at)?;
        Some(at.since(before))
    }
}

/// What a packet holds.
#[derive(Clone, Debug)]
pub(crate) enum Media {
    /// Part of a picture.
    Picture { tag: Tag, codec: CodecName, marker: bool },
    /// A voice's frame, with those that go along.
    Voice(Red),
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// As it was sent first.
    Plain,
    /// Again, by RTX.
    Rtx,
}
