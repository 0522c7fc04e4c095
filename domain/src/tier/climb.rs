//! A try to use a line for more: bursts down, a rehearsal up, and how long nothing is tried after one that failed.

use jiff::{SignedDuration, Timestamp};

use super::{FallbackThresholds, LineLook, LineTest};
use crate::kind::BandwidthProfile;
use crate::time::after;

/// So many bursts in a row have to get through.
const TESTS: u8 = 3;
/// Between those of a voice, which is missed more than a picture, and costs little.
const VOICE_TEST_INTERVAL: SignedDuration = SignedDuration::from_secs(3);
/// What becomes of a burst is known by then, or it failed.
const TEST_PATIENCE: SignedDuration = SignedDuration::from_secs(5);
/// How long a picture is rehearsed, and of that what comes before it counts.
const REHEARSAL: SignedDuration = SignedDuration::from_secs(5);
const WARM_UP: SignedDuration = SignedDuration::from_secs(2);
/// And in so many looks in a row, at the end, it has to come as it should: one alone may be what waited in the line.
const PICTURE_LOOKS: u8 = 2;
/// How long somebody has to be heard before they are asked for anything.
const CALM: SignedDuration = SignedDuration::from_secs(3);
/// Looks in a row without anything against a try.
const CALM_LOOKS: u8 = 3;
/// Words go first on a line that is full of a voice which was given up.
const WORDS_FIRST: SignedDuration = SignedDuration::from_secs(10);
/// After a try that failed the next waits twice as long, up to so many times twice.
const DOUBLED_MAX: u32 = 4;
/// What held for so many times the wait between tries was no mistake.
const HELD: i32 = 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    Test {
        kbps: u32,
    },
    /// The line was shown to carry this.
    Reached(BandwidthProfile),
}

#[derive(Clone, Copy, Debug)]
enum Try {
    /// None is under way.
    Resting,
    /// `passed` bursts got through; the next is sent then, or one is under way.
    Testing { passed: u8, next_at: Timestamp, is_sent: bool },
    /// A picture comes that nobody is shown; so many looks in a row saw it come as it should.
    Rehearsing { since: Timestamp, comes: u8 },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    /// From where to where.
    goal: Option<(BandwidthProfile, BandwidthProfile)>,
    state: Try,
    rehearses: Option<BandwidthProfile>,
    began_at: Timestamp,
    /// Nothing is tried before.
    not_before: Timestamp,
    /// The person asks for it, whatever the line looks like.
    is_asked: bool,
    failed: u32,
    /// The last try that succeeded.
    climbed_at: Option<Timestamp>,
    heard_since: Option<Timestamp>,
    calm_looks: u8,
}

impl Climb {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            goal: None,
            state: Try::Resting,
            rehearses: None,
            began_at: now,
            not_before: now,
            is_asked: false,
            failed: 0,
            climbed_at: None,
            heard_since: Some(now),
            calm_looks: 0,
        }
    }

    pub(super) const fn rehearses(&self) -> Option<BandwidthProfile> {
        self.rehearses
    }

    /// What is tried for from now on; a try for anything else ends.
    pub(super) fn aim(&mut self, goal: Option<(BandwidthProfile, BandwidthProfile)>, now: Timestamp) {
        if goal == self.goal {
            return;
        }
        self.goal = goal;
        self.is_asked &= goal.is_some();
        // What was seen so far was seen of something else.
        self.calm_looks = 0;
        self.heard_since = self.heard_since.map(|_| now);
        self.state = Try::Resting;
        self.rehearses = None;
    }

    /// The line was too poor for what it was used for.
    pub(super) fn fell(&mut self, now: Timestamp, to: BandwidthProfile, thresholds: &FallbackThresholds) {
        self.give_up(thresholds);
        self.is_asked = false;
        if to == BandwidthProfile::AsyncText && self.heard_since.is_some() {
            self.not_before = self.not_before.max(after(now, WORDS_FIRST));
        }
        let Some(at) = self.climbed_at.take() else { return };
        let retry = SignedDuration::from_millis(thresholds.retry_after_ms.into());
        let held = now.duration_since(at);
        if held < retry {
            self.fail(now, thresholds);
        } else if held >= retry * HELD {
            self.failed = 0;
        }
    }

    /// The person asks for it: what the line looks like may be of what was sent long ago.
    pub(super) fn at_once(&mut self, now: Timestamp) {
        self.not_before = self.not_before.min(now);
        self.is_asked = true;
    }

    pub(super) fn heard(&mut self, now: Timestamp, is_heard: bool, thresholds: &FallbackThresholds) {
        self.heard_since = is_heard.then_some(now);
        self.calm_looks = 0;
        if !is_heard {
            self.give_up(thresholds);
        }
    }

    /// The line is another one: nothing is known against it but how often tries failed.
    pub(super) fn moved(&mut self, now: Timestamp) {
        *self = Self {
            not_before: self.not_before,
            failed: self.failed,
            climbed_at: Some(now),
            ..Self::new(now)
        };
    }

    pub(super) fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            Try::Resting => self.starts_at(),
            Try::Testing { next_at, is_sent: false, .. } => Some(next_at),
            Try::Testing { next_at, is_sent: true, .. } => Some(after(next_at, TEST_PATIENCE)),
            Try::Rehearsing { since, .. } => Some(after(since, REHEARSAL)),
        }
    }

    /// When a try begins, if nothing else is seen. Where media flows looks have to say that it may.
    fn starts_at(&self) -> Option<Timestamp> {
        let (from, _) = self.goal?;
        let heard = after(self.heard_since?, CALM);
        let is_calm = self.is_asked || from == BandwidthProfile::AsyncText || self.calm_looks >= CALM_LOOKS;
        is_calm.then(|| heard.max(self.not_before))
    }

    pub(super) fn looked(
        &mut self,
        now: Timestamp,
        look: &LineLook,
        thresholds: &FallbackThresholds,
    ) -> Next {
        // From writing an estimate is of what was sent long ago: the bursts say what the line carries.
        let carries_already = match self.goal {
            Some((BandwidthProfile::AsyncText, _)) | None => 0,
            Some(_) => self.kbps(thresholds),
        };
        let is_calm = look.is_calm(carries_already, thresholds);
        self.calm_looks = if is_calm { self.calm_looks.saturating_add(1) } else { 0 };
        match self.state {
            Try::Resting => self.timeout(now, thresholds),
            Try::Testing { passed: 0, .. } => Next::Nothing,
            Try::Testing { .. } if !is_calm => self.over(now, false, thresholds),
            Try::Testing { .. } => Next::Nothing,
            Try::Rehearsing { since, comes } => {
                if !is_calm && now >= after(since, WARM_UP) {
                    return self.over(now, false, thresholds);
                }
                let comes = if look.carries_picture(thresholds) { comes.saturating_add(1) } else { 0 };
                self.state = Try::Rehearsing { since, comes };
                self.timeout(now, thresholds)
            }
        }
    }

    pub(super) fn tested(
        &mut self,
        now: Timestamp,
        test: &LineTest,
        thresholds: &FallbackThresholds,
    ) -> Next {
        let Try::Testing { passed, next_at, is_sent: true } = self.state else { return Next::Nothing };
        let Some((_, to)) = self.goal else { return Next::Nothing };
        if !test.is_passed(thresholds) {
            return self.over(now, false, thresholds);
        }
        let passed = passed + 1;
        if passed < TESTS {
            let interval = match to {
                BandwidthProfile::Video => SignedDuration::from_millis(thresholds.probe_interval_ms.into()),
                _ => VOICE_TEST_INTERVAL,
            };
            self.state = Try::Testing { passed, next_at: after(next_at, interval), is_sent: false };
            return Next::Nothing;
        }
        if to == BandwidthProfile::Video {
            self.state = Try::Rehearsing { since: now, comes: 0 };
            self.rehearses = Some(BandwidthProfile::Video);
            return Next::Nothing;
        }
        self.over(now, true, thresholds)
    }

    pub(super) fn timeout(&mut self, now: Timestamp, thresholds: &FallbackThresholds) -> Next {
        let Some((from, _)) = self.goal else { return Next::Nothing };
        let kbps = self.kbps(thresholds);
        match self.state {
            Try::Resting => {
                if self.starts_at().is_none_or(|at| at > now) {
                    return Next::Nothing;
                }
                self.began_at = now;
                self.is_asked = false;
                self.state = Try::Testing { passed: 0, next_at: now, is_sent: true };
                if from == BandwidthProfile::AsyncText {
                    self.rehearses = Some(BandwidthProfile::AudioOnly);
                }
                Next::Test { kbps }
            }
            Try::Testing { passed, next_at, is_sent } => {
                if is_sent && now >= after(next_at, TEST_PATIENCE) {
                    return self.over(now, false, thresholds);
                }
                if is_sent || now < next_at {
                    return Next::Nothing;
                }
                self.state = Try::Testing { passed, next_at: now, is_sent: true };
                Next::Test { kbps }
            }
            Try::Rehearsing { since, comes } if now >= after(since, REHEARSAL) => {
                self.over(now, comes >= PICTURE_LOOKS, thresholds)
            }
            Try::Rehearsing { .. } => Next::Nothing,
        }
    }

    /// What the line has to carry.
    fn kbps(&self, thresholds: &FallbackThresholds) -> u32 {
        match self.goal {
            Some((_, BandwidthProfile::Video)) => thresholds.video_resume_kbps,
            _ => thresholds.audio_resume_kbps,
        }
    }

    fn over(&mut self, now: Timestamp, is_reached: bool, thresholds: &FallbackThresholds) -> Next {
        self.state = Try::Resting;
        self.calm_looks = 0;
        self.is_asked = false;
        self.rehearses = None;
        let Some((_, to)) = self.goal.filter(|_| is_reached) else {
            self.fail(self.began_at, thresholds);
            return Next::Nothing;
        };
        self.climbed_at = Some(now);
        self.not_before = now;
        Next::Reached(to)
    }

    fn give_up(&mut self, thresholds: &FallbackThresholds) {
        if !matches!(self.state, Try::Resting) {
            self.state = Try::Resting;
            self.rehearses = None;
            self.fail(self.began_at, thresholds);
        }
    }

    /// Nothing is tried for a while from then on.
    fn fail(&mut self, from: Timestamp, thresholds: &FallbackThresholds) {
        let retry = SignedDuration::from_millis(thresholds.retry_after_ms.into());
        self.not_before = after(from, retry * 2_i32.pow(self.failed.min(DOUBLED_MAX)));
        self.failed = self.failed.saturating_add(1);
    }
}
