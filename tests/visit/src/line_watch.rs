//! The SDK's rules of what it sees of its line (`web-client/sdk/src/line-watch.ts`, which says why each is as it is), word for word.
//! A test holds the two against each other: what this one does with some thousand looks is kept beside the SDK, whose own test
//! expects the same of it (`line-watch.vectors.json`).

/// How often it is looked, in milliseconds: always, where a voice may end, and while what is sent is held back.
const LOOK_MS: u64 = 1_000;
const ENDING_LOOK_MS: u64 = 500;
const HOLDING_LOOK_MS: u64 = 200;
const SAID_KBPS: u64 = 500;
const NEW_MS: u64 = 10_000;
const NARROW_KBPS: u64 = 100;
const ANSWER_MS_MAX: u64 = 2_000;
/// How long the server may take to show that it is there.
pub(crate) const ASK_MS_MAX: u64 = 4_000;
const ASK_MS_MAX_POOR: u64 = 10_000;
const ENDS_SHARE: f64 = 2.0 / 3.0;
const MOMENT_MS: u64 = 500;
const STOPS_MS: u64 = 3_000;
const GIVEN_UP_MS: u64 = 2_000;
const CATCHES_UP_MS: u64 = 10_000;
const GOOD_LOOKS: u32 = 2;
const SLEPT_MS: u64 = 5_000;
const NARROW_MS: u64 = 10_000;
const LEAST_MS: u64 = 60_000;
const THRIFTY_BPS: u64 = 16_000;
const LEAST_BPS: u64 = 8_000;
const REST_AFTER_MS: u64 = 1_500;
const REST_MS: u64 = 2_000;

/// One look at a transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineLook {
    /// What the way to the server is thought to carry.
    pub(crate) uplink_kbps: Option<u64>,
    /// Packets of media that came so far.
    pub(crate) packets: u64,
    /// And packets of them that are missing.
    pub(crate) lost: u64,
    /// The share of the own voice that the server missed.
    pub(crate) voice_lost: Option<f64>,
    /// Checks of the path that were answered so far.
    pub(crate) answers: u64,
}

/// What a line is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Media.
    Media,
    /// Writing.
    Writing,
    /// Writing, while a voice or a picture is tried.
    Rehearsal,
}

/// What is known beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// In milliseconds.
    pub(crate) now: u64,
    /// What the line is used for.
    pub(crate) used_for: Use,
    /// Whether a camera is sent.
    pub(crate) sends_camera: bool,
    /// When the server was heard last on the socket.
    pub(crate) heard_at: u64,
    /// Since when the server owes an answer to what was asked of it on the socket.
    pub(crate) owed_since: Option<u64>,
}

/// What a voice takes of a line, as the clinic has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VoiceLimits {
    /// A line that carries less carries none.
    pub(crate) audio_min_kbps: u64,
    /// Nor does one that loses more of it.
    pub(crate) audio_loss_max_percent: u64,
    /// How long that has to be so.
    pub(crate) audio_hold_ms: u64,
}

impl Default for VoiceLimits {
    fn default() -> Self {
        Self { audio_min_kbps: 32, audio_loss_max_percent: 25, audio_hold_ms: 15_000 }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deeds {
    /// To be told to the server, in kilobits per second.
    pub(crate) say: Option<u64>,
    /// The server is to be asked for a sign of life, and its socket given up after so many milliseconds without.
    pub(crate) ask: Option<u64>,
}

struct Seen {
    moment: Moment,
    come: bool,
    answers: u64,
}

/// What is seen of a line from a device.
#[derive(Debug, Default)]
pub(crate) struct LineWatch {
    /// When media were seen to come last; 0: not yet.
    pub(crate) came_at: u64,
    voice: VoiceWatch,
    sign: SignOfLife,
    uplink: UplinkWatch,
    packets: u64,
    lost: u64,
    looked_at: u64,
}

impl LineWatch {
    /// As the clinic has it.
    pub(crate) fn limit(&mut self, limits: VoiceLimits) {
        self.voice.limits = limits;
    }

    /// Nothing of media is to be sent.
    #[must_use]
    pub(crate) fn holds(&self) -> bool {
        self.sign.holds
    }

    /// There is no voice on this line, and the server cannot be heard.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.voice.is_lost
    }

    /// Nothing of the own voice is to be sent for a moment.
    #[must_use]
    pub(crate) const fn rests(&self) -> bool {
        self.uplink.rests
    }

    /// What is to be sent of the own voice at the most, in bits per second; none: as it likes.
    #[must_use]
    pub(crate) fn voice_bps(&self) -> Option<u64> {
        self.uplink.voice_bps
    }

    /// When it is to be looked again, in milliseconds.
    #[must_use]
    pub(crate) fn next_look_ms(&self) -> u64 {
        if self.sign.holds {
            HOLDING_LOOK_MS
        } else if self.uplink.stands || self.voice.may_end(self.looked_at) {
            ENDING_LOOK_MS
        } else {
            LOOK_MS
        }
    }

    /// A fresh transport.
    pub(crate) fn begin(&mut self) {
        (self.packets, self.lost) = (0, 0);
        self.voice.begin();
        self.sign.begin();
        self.uplink.begin();
    }

    /// Looks.
    pub(crate) fn saw(&mut self, look: LineLook, moment: Moment) -> Deeds {
        let LineLook { uplink_kbps, packets, lost, voice_lost, answers } = look;
        let (more, missing) = (packets.saturating_sub(self.packets), lost.saturating_sub(self.lost));
        let seen = Seen { moment, come: more > 0, answers };
        if moment.now - self.looked_at > SLEPT_MS {
            self.voice.slept();
            self.sign.slept();
        }
        self.looked_at = moment.now;
        (self.packets, self.lost) = (packets, lost);
        let down_lost = seen.come.then(|| missing as f64 / (more + missing) as f64);
        let up_lost = voice_lost.unwrap_or(0.0).max(self.voice.share_lost_at(uplink_kbps, moment));
        self.voice.heard(down_lost, up_lost, moment);
        if seen.come {
            self.came_at = moment.now;
        }
        self.sign.heard(moment);
        self.voice.settle(&seen, self.came_at, self.sign.waits_since);
        let told = uplink_kbps.filter(|_| moment.sends_camera);
        self.uplink.saw(told, self.voice.limits, moment.now);
        self.uplink.settle(moment);
        let say = self.uplink.tells(told, self.voice.is_lost, moment.now);
        Deeds { say, ask: self.sign.asks(&seen, &self.voice) }
    }
}

#[derive(Debug, Default)]
struct VoiceWatch {
    limits: VoiceLimits,
    is_lost: bool,
    poor_since: Option<u64>,
    good_looks: u32,
    heard_again_at: Option<u64>,
}

impl VoiceWatch {
    const fn is_poor(&self) -> bool {
        self.poor_since.is_some()
    }

    const fn begin(&mut self) {
        self.is_lost = false;
        self.slept();
    }

    const fn slept(&mut self) {
        self.poor_since = None;
    }

    fn may_end(&self, now: u64) -> bool {
        self.poor_for(now) as f64 >= self.limits.audio_hold_ms as f64 * ENDS_SHARE
    }

    fn share_lost_at(&self, uplink_kbps: Option<u64>, moment: Moment) -> f64 {
        let is_short = uplink_kbps.is_some_and(|kbps| kbps < self.limits.audio_min_kbps);
        f64::from(u8::from(moment.sends_camera && is_short))
    }

    fn heard(&mut self, down_lost: Option<f64>, up_lost: f64, moment: Moment) {
        let lost_max = self.limits.audio_loss_max_percent as f64 / 100.0;
        let is_poor = up_lost > lost_max || down_lost.map_or(self.is_poor(), |lost| lost > lost_max);
        self.good_looks = if is_poor { 0 } else { self.good_looks.saturating_add(1) };
        if moment.used_for != Use::Media || self.good_looks >= GOOD_LOOKS {
            self.poor_since = None;
        } else if is_poor {
            self.poor_since.get_or_insert(moment.now);
        }
    }

    fn settle(&mut self, seen: &Seen, came_at: u64, waits_since: Option<u64>) {
        let now = seen.moment.now;
        if !self.is_lost {
            let unheard_for = now - waits_since.unwrap_or(now);
            let stops = !seen.come && now - came_at <= STOPS_MS && unheard_for >= MOMENT_MS;
            let is_over = self.poor_for(now) >= self.limits.audio_hold_ms && unheard_for >= ANSWER_MS_MAX;
            self.is_lost = (stops && self.may_end(now)) || is_over;
            self.heard_again_at = None;
            return;
        }
        if waits_since.is_none() {
            self.heard_again_at.get_or_insert(now);
        }
        let catches_up = self.heard_again_at.is_none_or(|at| now - at < CATCHES_UP_MS);
        if seen.moment.used_for != Use::Media || !catches_up {
            self.begin();
        }
    }

    fn poor_for(&self, now: u64) -> u64 {
        now - self.poor_since.unwrap_or(now)
    }
}

#[derive(Debug, Default)]
struct SignOfLife {
    holds: bool,
    waits_since: Option<u64>,
    flowed: bool,
    answers_before: u64,
}

impl SignOfLife {
    const fn begin(&mut self) {
        (self.holds, self.flowed, self.answers_before) = (false, false, 0);
        self.slept();
    }

    const fn slept(&mut self) {
        self.waits_since = None;
    }

    fn heard(&mut self, moment: Moment) {
        self.waits_since = self.waits_since.filter(|since| moment.heard_at < *since);
    }

    fn asks(&mut self, seen: &Seen, voice: &VoiceWatch) -> Option<u64> {
        let Moment { now, used_for, .. } = seen.moment;
        if seen.come || used_for == Use::Writing {
            self.answers_before = seen.answers;
        }
        if used_for == Use::Media && seen.come && voice.is_poor() {
            self.flowed = true;
            self.holds = voice.is_lost;
            if self.waits_since.is_some() {
                return None;
            }
            self.waits_since = Some(now);
            return Some(ASK_MS_MAX_POOR);
        }
        if used_for == Use::Writing || (used_for == Use::Media && seen.come) {
            (self.flowed, self.holds, self.waits_since) = (seen.come, false, None);
            return None;
        }
        let may_ask = self.waits_since.is_none() || voice.is_poor();
        let asks = may_ask && (used_for == Use::Rehearsal || self.flowed);
        if asks {
            self.waits_since.get_or_insert(now);
            self.flowed = false;
        }
        let unanswered = self.waits_since.is_some_and(|since| now - since >= ANSWER_MS_MAX);
        let is_there = unanswered && seen.answers > self.answers_before;
        self.holds = voice.is_lost || is_there || (self.holds && used_for == Use::Rehearsal);
        asks.then_some(ASK_MS_MAX)
    }
}

#[derive(Debug, Default)]
struct UplinkWatch {
    voice_bps: Option<u64>,
    stands: bool,
    rests: bool,
    narrow_at: u64,
    least_at: u64,
    looks: u64,
    said_little: bool,
    said_lost_at: u64,
    tried_since: Option<u64>,
}

impl UplinkWatch {
    const fn begin(&mut self) {
        (self.voice_bps, self.said_little, self.tried_since) = (None, false, None);
        (self.narrow_at, self.least_at) = (0, 0);
        (self.stands, self.rests) = (false, false);
    }

    /// What the way carries is not seen where no picture is tried on it.
    fn saw(&mut self, kbps: Option<u64>, limits: VoiceLimits, now: u64) {
        if let Some(kbps) = kbps {
            if kbps < limits.audio_min_kbps {
                self.least_at = now;
            } else if kbps >= NARROW_KBPS {
                self.least_at = 0;
            }
            if kbps < NARROW_KBPS {
                self.narrow_at = now;
            }
        }
        let lately = |at: u64, ms: u64| at > 0 && now - at < ms;
        self.voice_bps = match (lately(self.least_at, LEAST_MS), lately(self.narrow_at, NARROW_MS)) {
            (true, _) => Some(LEAST_BPS),
            (false, true) => Some(THRIFTY_BPS),
            (false, false) => None,
        };
    }

    fn settle(&mut self, Moment { now, used_for, owed_since, .. }: Moment) {
        let owed_for = now - owed_since.unwrap_or(now);
        self.stands =
            self.voice_bps == Some(LEAST_BPS) && used_for == Use::Media && owed_for >= REST_AFTER_MS;
        self.rests = self.stands && ((owed_for - REST_AFTER_MS) / REST_MS).is_multiple_of(2);
    }

    fn tells(&mut self, told: Option<u64>, is_lost: bool, now: u64) -> Option<u64> {
        self.tried_since = told.map(|_| self.tried_since.unwrap_or(now));
        if is_lost {
            if now - self.said_lost_at < GIVEN_UP_MS {
                return None;
            }
            self.said_lost_at = now;
            return Some(0);
        }
        self.looks += 1;
        if !self.looks.is_multiple_of(2) {
            return None;
        }
        let is_little = told.is_some_and(|kbps| kbps < SAID_KBPS);
        let was_little = std::mem::replace(&mut self.said_little, is_little);
        let is_new = now - self.tried_since.unwrap_or(now) < NEW_MS;
        told.filter(|_| is_little || was_little || is_new)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};
    use serde_json::{Value, json};

    use super::*;

    const WALKS: u64 = 16;
    const LOOKS: u64 = 60;

    /// A line as it may be for a while.
    struct Stretch {
        looks: u64,
        packets: u64,
        lost: u64,
        voice_lost: Option<f64>,
        uplink_kbps: Option<u64>,
        answers: bool,
        owed_for: Option<u64>,
        heard: bool,
        used_for: Use,
        sends_camera: bool,
    }

    impl Stretch {
        fn any(random: &mut StdRng) -> Self {
            let used_for = [Use::Media, Use::Media, Use::Media, Use::Media, Use::Writing, Use::Rehearsal];
            Self {
                looks: random.random_range(1..30),
                packets: *pick(random, &[0, 0, 12, 40, 50]),
                lost: *pick(random, &[0, 0, 2, 15, 30]),
                voice_lost: *pick(random, &[None, Some(0.0), Some(0.0), Some(0.25), Some(0.5)]),
                uplink_kbps: *pick(random, &[None, Some(20), Some(90), Some(300), Some(900)]),
                answers: random.random_bool(0.7),
                owed_for: *pick(random, &[None, Some(100), Some(2_000), Some(6_000)]),
                heard: random.random_bool(0.4),
                used_for: *pick(random, &used_for),
                sends_camera: random.random_bool(0.7),
            }
        }
    }

    fn pick<'a, T>(random: &mut StdRng, among: &'a [T]) -> &'a T {
        &among[random.random_range(0..among.len())]
    }

    const fn word(used_for: Use) -> &'static str {
        match used_for {
            Use::Media => "media",
            Use::Writing => "writing",
            Use::Rehearsal => "rehearsal",
        }
    }

    /// What one device sees of a line that is another every few looks, and what it does.
    fn walk(seed: u64) -> (Value, Vec<LineWatchState>) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut watch = LineWatch::default();
        let (mut now, mut packets, mut lost, mut answers, mut heard_at) = (1_000_000, 0, 0, 0, 999_000);
        let mut stretch = Stretch::any(&mut random);
        let (mut steps, mut states) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            if stretch.looks == 0 {
                stretch = Stretch::any(&mut random);
                if random.random_bool(0.1) {
                    watch.begin();
                    (packets, lost, answers) = (0, 0, 0);
                    steps.push(json!("begin"));
                }
            }
            stretch.looks = stretch.looks.saturating_sub(1);
            now += if random.random_bool(0.01) { 60_000 } else { watch.next_look_ms() };
            packets += stretch.packets;
            lost += stretch.lost;
            answers += u64::from(stretch.answers);
            if stretch.heard {
                heard_at = now - random.random_range(0..400);
            }
            let Stretch { voice_lost, uplink_kbps, used_for, sends_camera, owed_for, .. } = stretch;
            let look = LineLook { uplink_kbps, packets, lost, voice_lost, answers };
            let owed_since = owed_for.map(|ms| now - ms);
            let Deeds { say, ask } =
                watch.saw(look, Moment { now, used_for, sends_camera, heard_at, owed_since });
            let state =
                (watch.holds(), watch.is_lost(), watch.voice_bps(), watch.rests(), watch.next_look_ms());
            steps.push(json!([
                [uplink_kbps, packets, lost, voice_lost, answers],
                [now, word(used_for), sends_camera, heard_at, owed_since],
                [say, ask, state.0, state.1, state.2, state.3, state.4],
            ]));
            states.push(state);
        }
        (Value::from(steps), states)
    }

    type LineWatchState = (bool, bool, Option<u64>, bool, u64);

    #[test]
    fn the_sdk_does_the_same_with_the_same_looks() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web-client/sdk/src/line-watch.vectors.json");
        let (walks, states): (Vec<Value>, Vec<_>) = (0..WALKS).map(walk).unzip();
        let lines: Vec<String> = walks.iter().map(Value::to_string).collect();
        let text = format!("[\n{}\n]\n", lines.join(",\n"));
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(&path, &text).expect("a file that may be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{} is not of these rules: UPDATE_VECTORS=1 makes it anew", path.display());
        // They come to everything there is to come to.
        let all: Vec<LineWatchState> = states.into_iter().flatten().collect();
        let share =
            |of: fn(&LineWatchState) -> bool| all.iter().filter(|state| of(state)).count() * 100 / all.len();
        for (what, percent) in [
            ("held back", share(|state| state.0)),
            ("lost", share(|state| state.1)),
            ("narrow", share(|state| state.2 == Some(THRIFTY_BPS))),
            ("narrower", share(|state| state.2 == Some(LEAST_BPS))),
            ("about to end", share(|state| state.4 == ENDING_LOOK_MS)),
            ("resting", share(|state| state.3)),
        ] {
            assert!((2..98).contains(&percent), "{what} {percent} % of the time");
        }
    }
}
