//! What somebody's line is used for: picture and voice, voice alone, or writing; decided for each by themselves, from what is
//! seen of their line both ways. Down when it has been too poor for a while, up when it was shown to carry more.
//!
//! Pure, as all of this crate: what is seen and the time come in, [`Step`]s come out. The person's own choice is a ceiling
//! that nothing seen of the line lifts.

mod climb;
mod look;
mod thresholds;
mod watch;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::kind::{BandwidthProfile, Communication, as_str};
use crate::time::after;
use climb::{Climb, Next};
pub use look::{LineLook, LineTest};
pub use thresholds::{FallbackThresholds, ThresholdFault, ThresholdValues};
use watch::Watch;

/// So many reconnects that fail within [`RECONNECTS_WITHIN`] leave writing alone.
const RECONNECTS_FAILED: usize = 2;
const RECONNECTS_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// How long the least of a voice is sent after a line was too poor for more: sooner it would only be as poor again.
const VOICE_SPARED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// Why somebody is where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TierReason {
    /// The line carries as much again.
    Recovered,
    /// They want no more.
    Chosen,
    /// They are in on another device, whose line is thought to carry everything.
    NewDevice,
    /// The way to them carries too little.
    DownlinkRate,
    /// The way from them carries too little.
    UplinkRate,
    /// Too much of what is sent to them is lost.
    DownlinkLoss,
    /// Too much of what they send is lost.
    UplinkLoss,
    /// An answer takes too long.
    RoundTrip,
    /// Nothing is heard from them.
    Silence,
    /// Their line was lost and could not be made again.
    ReconnectsFailed,
    /// Nothing but requests over HTTPS comes through from them.
    HttpsOnly,
}

as_str!(TierReason {
    Recovered = "recovered",
    Chosen = "chosen",
    NewDevice = "new_device",
    DownlinkRate = "downlink_rate",
    UplinkRate = "uplink_rate",
    DownlinkLoss = "downlink_loss",
    UplinkLoss = "uplink_loss",
    RoundTrip = "round_trip",
    Silence = "silence",
    ReconnectsFailed = "reconnects_failed",
    HttpsOnly = "https_only",
});

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// What their line is used for.
    pub profile: BandwidthProfile,
    /// Why no more.
    pub reason: TierReason,
    /// Since when it is so, for this reason.
    pub since: Timestamp,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Their line is used for this from now on.
    Changed(Tier),
    /// Send them so much for a moment, and say by [`Ladder::tested`] what became of it.
    TestLine {
        /// In kilobits per second of UDP payload.
        kbps: u32,
    },
}

/// One participant's tier.
#[derive(Clone, Debug)]
pub struct Ladder {
    thresholds: FallbackThresholds,
    communication: Communication,
    /// The most they want.
    chosen: BandwidthProfile,
    /// The most their line is thought to carry, and why no more.
    carried: BandwidthProfile,
    why: TierReason,
    tier: Tier,
    video: Watch,
    audio: Watch,
    silent_since: Option<Timestamp>,
    is_on_https: bool,
    reconnects_failed: VecDeque<Timestamp>,
    /// When it was too poor for a voice last, while it was used for one alone.
    voice_was_poor: Option<Timestamp>,
    climb: Climb,
    steps: VecDeque<Step>,
}

impl Ladder {
    /// Somebody comes, whose line is thought to carry everything.
    #[must_use]
    pub fn new(thresholds: FallbackThresholds, communication: Communication, now: Timestamp) -> Self {
        Self {
            thresholds,
            communication,
            chosen: BandwidthProfile::Video,
            carried: BandwidthProfile::Video,
            why: TierReason::Recovered,
            tier: Tier { profile: BandwidthProfile::Video, reason: TierReason::Recovered, since: now },
            video: Watch::new(thresholds.video_hold_ms),
            audio: Watch::new(thresholds.audio_hold_ms),
            silent_since: None,
            is_on_https: false,
            reconnects_failed: VecDeque::new(),
            voice_was_poor: None,
            climb: Climb::new(now),
            steps: VecDeque::new(),
        }
    }

    /// Where they are.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// The most they want.
    #[must_use]
    pub const fn chosen(&self) -> BandwidthProfile {
        self.chosen
    }

    /// Nothing is heard from them.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.silent_since.is_some()
    }

    /// Nothing but requests over HTTPS comes through from them.
    #[must_use]
    pub const fn is_on_https(&self) -> bool {
        self.is_on_https
    }

    /// What they are to send now, and nobody is to be shown: [`BandwidthProfile::AudioOnly`] a voice,
    /// [`BandwidthProfile::Video`] their lowest picture as well.
    #[must_use]
    pub const fn rehearses(&self) -> Option<BandwidthProfile> {
        self.climb.rehearses()
    }

    /// Their line hardly carries the voice it is used for: of theirs the least is to be sent that is still speech.
    #[must_use]
    pub const fn hardly_carries_voice(&self) -> bool {
        self.voice_was_poor.is_some()
    }

    /// The next thing to be done. Drain it after every call.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Ladder::timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let watches = [
            self.video.due_at().filter(|_| self.carried == BandwidthProfile::Video),
            self.audio.due_at().filter(|_| self.carried != BandwidthProfile::AsyncText),
        ];
        watches.into_iter().flatten().chain(self.climb.due_at()).min()
    }
}

// --- what happens ------------------------------------------------------------------------------------------------

impl Ladder {
    /// Their line was looked at, and they are heard: once a second while media flows.
    pub fn looked(&mut self, now: Timestamp, look: &LineLook) {
        self.follow_silence(now, None);
        self.video.looked(now, look.too_poor_for_video(&self.thresholds));
        self.audio.looked(now, look.too_poor_for_audio(&self.thresholds));
        let next = self.climb.looked(now, look, &self.thresholds);
        self.follow(now, next);
    }

    /// Nothing is heard from them since then; or they are heard.
    pub fn heard(&mut self, now: Timestamp, silent_since: Option<Timestamp>) {
        self.follow_silence(now, silent_since);
        self.settle(now);
    }

    /// Nothing but requests over HTTPS comes through from them, or something does: then their line is what it was.
    pub fn on_https(&mut self, now: Timestamp, is_on_https: bool) {
        self.is_on_https = is_on_https;
        self.settle(now);
    }

    /// They are in on another device: its line is another. What they chose stays, and how often a try failed.
    pub fn moved(&mut self, now: Timestamp) {
        (self.carried, self.why) = (BandwidthProfile::Video, TierReason::NewDevice);
        self.video = Watch::new(self.thresholds.video_hold_ms);
        self.audio = Watch::new(self.thresholds.audio_hold_ms);
        (self.silent_since, self.is_on_https) = (None, false);
        self.reconnects_failed.clear();
        self.climb.moved(now);
        self.settle(now);
    }

    /// A line that was lost could not be made again.
    pub fn reconnect_failed(&mut self, now: Timestamp) {
        self.reconnects_failed.retain(|at| now.duration_since(*at) < RECONNECTS_WITHIN);
        self.reconnects_failed.push_back(now);
        if self.reconnects_failed.len() >= RECONNECTS_FAILED {
            self.reconnects_failed.clear();
            self.fall(now, BandwidthProfile::AsyncText, TierReason::ReconnectsFailed);
        }
        self.settle(now);
    }

    /// They want this and no more. What they think their line may carry is tried at once.
    pub fn choose(&mut self, now: Timestamp, want: BandwidthProfile) {
        self.chosen = want;
        if want < self.carried {
            self.climb.at_once(now);
        }
        self.settle(now);
    }

    /// What became of [`Step::TestLine`].
    pub fn tested(&mut self, now: Timestamp, test: &LineTest) {
        let next = self.climb.tested(now, test, &self.thresholds);
        self.follow(now, next);
    }

    /// [`Ladder::poll_timeout`] is reached.
    pub fn timeout(&mut self, now: Timestamp) {
        let next = self.climb.timeout(now, &self.thresholds);
        self.follow(now, next);
    }
}

// --- what follows ------------------------------------------------------------------------------------------------

impl Ladder {
    fn follow_silence(&mut self, now: Timestamp, silent_since: Option<Timestamp>) {
        match (self.silent_since, silent_since) {
            (None, Some(since)) => {
                self.video.silent(since);
                self.audio.silent(since);
            }
            (Some(_), None) => {
                self.video.heard();
                self.audio.heard();
            }
            _ => return,
        }
        self.silent_since = silent_since;
        self.climb.heard(now, silent_since.is_none(), &self.thresholds);
    }

    fn follow(&mut self, now: Timestamp, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Test { kbps } => self.steps.push_back(Step::TestLine { kbps }),
            Next::Reached(profile) => {
                (self.carried, self.why) = (profile, TierReason::Recovered);
                self.video.forget();
                self.audio.forget();
            }
        }
        self.settle(now);
    }

    /// Falls where that is due, says what changed, and tries to climb where that makes sense.
    fn settle(&mut self, now: Timestamp) {
        if let Some(reason) = self.audio.over(now) {
            self.fall(now, BandwidthProfile::AsyncText, reason);
        } else if let Some(reason) = self.video.over(now) {
            let below = match self.communication {
                Communication::Speech => BandwidthProfile::AudioOnly,
                // The picture is the conversation.
                Communication::Sign => BandwidthProfile::AsyncText,
            };
            self.fall(now, below, reason);
        }
        let (profile, reason) = self.settled();
        if profile != self.tier.profile {
            self.tier = Tier { profile, reason, since: now };
            self.steps.push_back(Step::Changed(self.tier));
        } else if reason != self.tier.reason && profile != BandwidthProfile::Video {
            // The same for another reason, from now on: what people read follows.
            (self.tier.reason, self.tier.since) = (reason, now);
            self.steps.push_back(Step::Changed(self.tier));
        }
        self.voice_was_poor = match (self.tier.profile, self.audio.is_seen_poor()) {
            (BandwidthProfile::AudioOnly, true) => Some(now),
            (BandwidthProfile::AudioOnly, false) => {
                self.voice_was_poor.filter(|at| after(*at, VOICE_SPARED_FOR) > now)
            }
            _ => None,
        };
        self.climb.aim(self.goal(), now);
    }

    /// The least of what is carried, wanted, and comes through at all, and why no more.
    fn settled(&self) -> (BandwidthProfile, TierReason) {
        let reached = self.carried.max(self.chosen);
        if self.is_on_https && reached != BandwidthProfile::AsyncText {
            (BandwidthProfile::AsyncText, TierReason::HttpsOnly)
        } else if self.chosen != BandwidthProfile::Video && self.chosen >= self.carried {
            // Also where the line carries no more just now: nothing more is tried than they want.
            (reached, TierReason::Chosen)
        } else {
            (reached, self.why)
        }
    }

    fn fall(&mut self, now: Timestamp, to: BandwidthProfile, reason: TierReason) {
        if to > self.carried {
            (self.carried, self.why) = (to, reason);
            self.climb.fell(now, to, &self.thresholds);
        }
    }

    /// From where to where their line may be tried.
    fn goal(&self) -> Option<(BandwidthProfile, BandwidthProfile)> {
        let above = match (self.carried, self.communication) {
            (BandwidthProfile::Video, _) => return None,
            (BandwidthProfile::AsyncText, Communication::Speech) => BandwidthProfile::AudioOnly,
            (BandwidthProfile::AsyncText, Communication::Sign) | (BandwidthProfile::AudioOnly, _) => {
                BandwidthProfile::Video
            }
        };
        (above >= self.chosen).then_some((self.carried, above))
    }
}
