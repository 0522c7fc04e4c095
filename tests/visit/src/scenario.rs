//! Visits on lines that fail, and what became of them: when each decision was taken, what of the voices was lost, and how long
//! what was written took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use vestibule_domain::{BandwidthProfile, Communication, SessionStatus, TierReason};
use vestibule_media_core::time::Time;
use vestibule_testnet::LinkConfig;

use crate::visit::{Visit, Who};

/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the line is good before anything happens to it: they meet, and the pictures are as good as they get.
pub const BEGINS: Duration = Duration::from_secs(30);
/// Both write a line this often.
const WRITES: Duration = Duration::from_secs(5);
/// A packet of a voice is longer than a look by so much at the most.
const BEYOND_LOOK_MS: u64 = 20;
/// What is there of a voice to the ear: less than this is played in a look that is missing it.
const SILENT_MS: u64 = 1;
/// What waits for the line at the most: so long, and a few whole packets.
const QUEUE_MS: u64 = 300;
const QUEUE_BYTES_MIN: u64 = 4_500;
/// A voice takes so much of a line, with its headers.
const VOICE_BPS: u64 = 45_000;
/// Of the last ten seconds of a visit whose line is good again so much of a voice is heard at the least.
const LAST_LOOKS: usize = 100;
const LAST_HEARD_MS: u64 = 9_000;
/// A picture is there if one came within so long.
const PICTURE_GONE: Duration = Duration::from_secs(1);

/// A visit on a line that fails.
pub struct Scenario {
    /// What a table calls it.
    pub name: &'static str,
    /// Whose line it is that fails; the other one is good throughout.
    pub whose: Who,
    /// How they talk.
    pub communication: Communication,
    /// That line: from when on, up and down. It begins good.
    pub changes: Vec<(Duration, LinkConfig, LinkConfig)>,
    /// How long it takes.
    pub length: Duration,
    /// What is to be reached.
    pub aims: Vec<Aim>,
    /// Under which name it is drawn, if it is.
    pub plot: Option<&'static str>,
}

/// What a visit is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Nothing changes, and the device does not think so either.
    NothingChanges,
    /// The device never offers to write.
    Talks,
    /// No more changes than so many, of whose line it is.
    ChangesMost(usize),
    /// Their line comes to this.
    Reaches(BandwidthProfile),
    /// And never to this.
    Avoids(BandwidthProfile),
    /// No voice is missing for longer than this while a voice is to be heard and the line carries one: through the fall and the
    /// return.
    VoiceGap(Duration),
    /// What is written while the line carries anything is read after so long at the latest; of what was written before voices
    /// were given up, after that.
    TextDelay(Duration),
    /// So long after voices were given up the device offers to write at the latest.
    WritesAfter(Duration),
    /// While a line is used for writing, and carries anything, what is written is read after so long at the latest.
    Writes(Duration),
    /// Both have their pictures again so long after the line is good at the latest.
    PictureAgain(Duration),
}

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the start.
    pub at: Duration,
    /// What the line carries up and down, in bits per second; none where it carries all.
    pub carries_bps: [Option<u64>; 2],
    /// What it is used for.
    pub tier: BandwidthProfile,
    /// The device offers to write: it was told to, or by its own rule.
    pub writes: bool,
    /// Sound of the other that was played since the last look, in ms: at the provider's, at the patient's.
    pub heard_ms: [u64; 2],
    /// Whether a picture of the other is there: at the provider's, at the patient's.
    pub picture: [bool; 2],
}

/// A line somebody wrote.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Since the start.
    pub at: Duration,
    /// By whom.
    pub by: Who,
    /// How long until the other could read it; none if they never could.
    pub read_after: Option<Duration>,
}

/// A change of what the line is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Since the start.
    pub at: Duration,
    /// How long after the last change of the line.
    pub after: Duration,
    /// To what.
    pub profile: BandwidthProfile,
    /// Why.
    pub reason: TierReason,
}

/// What was seen of a visit.
pub struct Seen {
    /// Each tenth of a second.
    pub samples: Vec<Sample>,
    /// Of whose line it is.
    pub changes: Vec<Change>,
    /// Of the other, whose line is good throughout.
    pub others_changes: usize,
    /// All that was written.
    pub written: Vec<Written>,
    /// What the server did about lines, and when since the start.
    pub log: Vec<(Duration, String)>,
    /// Why the visit is not what it has to be in any case: one session, each line once and in its place for both.
    pub faults: Vec<String>,
}

/// How an aim was met.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was found.
    pub text: String,
    /// Whether that will do.
    pub met: bool,
}

impl Scenario {
    /// Plays it. Same seed, same run.
    #[must_use]
    pub fn run(&self, seed: u64) -> Seen {
        let mut visit = Visit::new(seed, self.communication, good());
        let began_at = visit.world.now;
        let mut changes = self.changes.iter().peekable();
        let mut seen = Seen {
            samples: Vec::new(),
            changes: Vec::new(),
            others_changes: 0,
            written: Vec::new(),
            log: Vec::new(),
            faults: Vec::new(),
        };
        let mut played = [0, 0];
        let mut written: BTreeMap<String, (Time, Who)> = BTreeMap::new();
        while visit.world.now.since(began_at) < self.length {
            let at = visit.world.now.since(began_at);
            while let Some((_, up, down)) = changes.next_if(|(from, ..)| *from <= at) {
                visit.line(self.whose, *up, *down);
            }
            let is_time = at.as_millis().is_multiple_of(WRITES.as_millis()) && at >= WRITES * 2;
            if is_time && at + WRITES * 3 < self.length {
                for who in Who::ALL {
                    let client_id = format!("{who:?} {}", at.as_secs());
                    written.insert(client_id.clone(), (visit.world.now, who));
                    let now = visit.world.now;
                    visit.device(who).write(&client_id, now);
                }
            }
            visit.run(LOOK);
            seen.samples.push(look(&mut visit, self.whose, began_at, &mut played));
        }
        self.note_changes(&mut seen, &visit, began_at);
        seen.log = visit.log.iter().map(|(at, what)| (at.since(began_at), what.clone())).collect();
        for (client_id, (at, by)) in &written {
            let reader = &visit.devices[1 - *by as usize];
            let read = reader.thread.values().filter(|line| line.client_id == *client_id);
            let read: Vec<Time> = read.map(|line| line.at).collect();
            if read.len() != 1 {
                seen.faults.push(format!("{client_id} was read {} times", read.len()));
            }
            let read_after = read.first().map(|read| read.since(*at));
            seen.written.push(Written { at: at.since(began_at), by: *by, read_after });
        }
        seen.written.sort_by_key(|line| line.at);
        let [provider, patient] = &visit.devices[..] else { unreachable!("two people") };
        if provider.thread.keys().ne(patient.thread.keys()) {
            seen.faults.push("they do not read the same".to_owned());
        }
        for device in [provider, patient].into_iter().filter(|device| !device.errors.is_empty()) {
            seen.faults.push(format!("a device was told {:?}", device.errors));
        }
        for (end, who) in Who::ALL.into_iter().enumerate().filter(|_| self.good_again().is_some()) {
            let last = &seen.samples[seen.samples.len().saturating_sub(LAST_LOOKS)..];
            if last.iter().map(|sample| sample.heard_ms[end]).sum::<u64>() < LAST_HEARD_MS {
                seen.faults.push(format!("in the end no voice is heard at the {who:?}'s"));
            }
        }
        if visit.live.session().status() != SessionStatus::Active {
            seen.faults.push(format!("the session is {:?}", visit.live.session().status()));
        }
        seen
    }

    fn note_changes(&self, seen: &mut Seen, visit: &Visit, began_at: Time) {
        for (at, who, tier) in &visit.tiers {
            let at = at.since(began_at);
            if *who != self.whose {
                seen.others_changes += 1;
                continue;
            }
            let line_changed = self.changes.iter().map(|(from, ..)| *from).filter(|from| *from <= at).max();
            let after = at - line_changed.unwrap_or_default();
            seen.changes.push(Change { at, after, profile: tier.profile, reason: tier.reason });
        }
    }

    /// From when on the line is good for good.
    #[must_use]
    pub fn good_again(&self) -> Option<Duration> {
        self.changes.last().filter(|(_, up, down)| [*up, *down] == [good(), good()]).map(|(at, ..)| *at)
    }
}

fn look(visit: &mut Visit, whose: Who, began_at: Time, played: &mut [u64; 2]) -> Sample {
    let now = visit.world.now;
    let mut heard_ms = [0; 2];
    let mut picture = [false; 2];
    for who in Who::ALL {
        let at = who as usize;
        if visit.world.members[at].seats.is_empty() {
            continue;
        }
        let (audio, video) = visit.world.shown(at, 0);
        // Of a packet that is longer than a look the rest is heard in the next.
        let fresh = audio.heard.played_ms.saturating_sub(played[at]);
        let rest = fresh.saturating_sub(LOOK.as_millis() as u64).min(BEYOND_LOOK_MS);
        heard_ms[at] = fresh - rest;
        played[at] = audio.heard.played_ms - rest;
        picture[at] = video.last_decoded_at.is_some_and(|at| now.since(at) < PICTURE_GONE);
    }
    let member = &visit.world.members[whose as usize];
    let device = &visit.devices[whose as usize];
    let carries = |config: &LinkConfig| {
        if config.blocked { Some(0) } else { config.rate_bps.map(std::num::NonZeroU64::get) }
    };
    Sample {
        at: now.since(began_at),
        carries_bps: [carries(member.up.config()), carries(member.down.config())],
        tier: visit.tier(whose).map_or(BandwidthProfile::Video, |tier| tier.profile),
        writes: device.cut_off || device.tier == BandwidthProfile::AsyncText,
        heard_ms,
        picture,
    }
}

impl Seen {
    /// The longest time without a sound at either end while the line carried one and was used for it; and how much of the voices
    /// was missing in all, at the end where more was.
    #[must_use]
    pub fn voice(&self) -> (Duration, Duration) {
        let (mut longest, mut most) = (Duration::ZERO, Duration::ZERO);
        for end in 0..2 {
            let (mut gap, mut missing) = (Duration::ZERO, Duration::ZERO);
            // Until they have met there is nothing to be heard.
            for sample in self.samples.iter().filter(|sample| sample.at > BEGINS / 2) {
                let silent = sample.heard_ms[end] < SILENT_MS;
                missing += if silent { LOOK } else { Duration::ZERO };
                let is_to_be_heard = silent && sample.tier != BandwidthProfile::AsyncText;
                gap = if is_to_be_heard { gap + LOOK } else { Duration::ZERO };
                longest = longest.max(gap);
            }
            most = most.max(missing);
        }
        (longest, most)
    }

    /// The longest time without a sound at either end while the line was used for a voice, and carried one.
    #[must_use]
    pub fn voice_gap(&self) -> Duration {
        let mut longest = Duration::ZERO;
        for end in 0..2 {
            let mut gap = Duration::ZERO;
            for sample in self.samples.iter().filter(|sample| sample.at > BEGINS / 2) {
                let carries = sample.carries_bps.iter().all(|bps| bps.is_none_or(|bps| bps >= VOICE_BPS));
                let is_to_be_heard = carries && sample.tier != BandwidthProfile::AsyncText;
                let is_missing = is_to_be_heard && sample.heard_ms[end] < SILENT_MS;
                gap = if is_missing { gap + LOOK } else { Duration::ZERO };
                longest = longest.max(gap);
            }
        }
        longest
    }

    /// The longest that anything written took while the line carried something: from the moment it did.
    #[must_use]
    pub fn text_delay(&self) -> Option<Duration> {
        let carries = |at: Duration| {
            let sample = self.samples.iter().find(|sample| sample.at > at);
            sample.is_none_or(|sample| sample.carries_bps.iter().all(|bps| bps.is_none_or(|bps| bps > 0)))
        };
        let gave_up = self.changes.iter().filter(|change| change.profile == BandwidthProfile::AsyncText);
        let gave_up: Vec<Duration> = gave_up.map(|change| change.at).collect();
        let carried = self.written.iter().filter(|line| carries(line.at)).map(|line| {
            let Some(read_after) = line.read_after else { return Duration::MAX };
            let read_at = line.at + read_after;
            let from = gave_up.iter().copied().filter(|at| (line.at..read_at).contains(at)).max();
            read_at - from.unwrap_or(line.at)
        });
        carried.max()
    }

    /// Of what was written while nothing came through: how long after the line was there again it was read at the latest.
    #[must_use]
    pub fn text_after_cut(&self) -> Option<Duration> {
        let back = |at: Duration| {
            let mut after = self.samples.iter().filter(|sample| sample.at > at);
            let is_cut = |sample: &Sample| sample.carries_bps.contains(&Some(0));
            after.clone().next().filter(|sample| is_cut(sample))?;
            after.find(|sample| !is_cut(sample)).map(|sample| sample.at)
        };
        let late = self
            .written
            .iter()
            .filter_map(|line| Some((line.at + line.read_after?).saturating_sub(back(line.at)?)));
        late.max()
    }

    /// The longest that anything took while the line was used for writing, and carried anything: from when it was written, or
    /// voices were given up, or the line was there again, whichever was last.
    #[must_use]
    pub fn text_in_writing(&self) -> Option<Duration> {
        let carries = |sample: &&Sample| !sample.carries_bps.contains(&Some(0));
        let delays = self.written.iter().filter_map(|line| {
            let read_at = line.at + line.read_after?;
            let before = self.changes.iter().rfind(|change| change.at <= read_at)?;
            if before.profile != BandwidthProfile::AsyncText {
                return None;
            }
            let from = line.at.max(before.at);
            let on_the_way = self.samples.iter().filter(|sample| sample.at > from && sample.at <= read_at);
            let back = on_the_way.clone().rfind(|sample| !carries(sample)).map(|sample| sample.at);
            Some(read_at - back.unwrap_or(from))
        });
        delays.max()
    }

    /// How long after voices were given up the device offers to write.
    #[must_use]
    pub fn writes_after(&self) -> Option<Duration> {
        let given_up = self.changes.iter().find(|change| change.profile == BandwidthProfile::AsyncText)?.at;
        let offers = self.samples.iter().find(|sample| sample.writes && sample.at + LOOK > given_up)?;
        // By its own rule it may be earlier than the server.
        Some(offers.at.saturating_sub(given_up))
    }

    /// How long after the line was good again both saw each other.
    #[must_use]
    pub fn picture_again(&self, good_again: Duration) -> Option<Duration> {
        let lost =
            self.samples.iter().rposition(|sample| sample.at > good_again && sample.picture != [true; 2]);
        let first = lost.map_or_else(
            || self.samples.iter().find(|sample| sample.at > good_again),
            |lost| self.samples.get(lost + 1),
        );
        first.map(|sample| sample.at - good_again)
    }

    /// At any time the device offers to write.
    fn device_writes(&self) -> bool {
        self.samples.iter().any(|sample| sample.writes)
    }

    /// Whether an aim is met.
    #[must_use]
    pub fn judge(&self, scenario: &Scenario, aim: Aim) -> Verdict {
        let seconds = |time: Duration| {
            if time == Duration::MAX { "never".to_owned() } else { format!("{:.1} s", time.as_secs_f64()) }
        };
        match aim {
            Aim::NothingChanges => Verdict {
                text: format!("{} changes, for none", self.changes.len() + self.others_changes),
                met: self.changes.is_empty() && self.others_changes == 0 && !self.device_writes(),
            },
            Aim::Talks => {
                Verdict { text: "the device does not offer to write".to_owned(), met: !self.device_writes() }
            }
            Aim::ChangesMost(most) => Verdict {
                text: format!("{} changes, for {most} at most", self.changes.len()),
                met: self.changes.len() <= most && self.others_changes == 0,
            },
            Aim::Reaches(profile) => Verdict {
                text: format!("it comes to {}", profile.as_str()),
                met: self.changes.iter().any(|change| change.profile == profile),
            },
            Aim::Avoids(profile) => Verdict {
                text: format!("it never comes to {}", profile.as_str()),
                met: self.changes.iter().all(|change| change.profile != profile),
            },
            Aim::VoiceGap(most) => {
                let longest = self.voice_gap();
                let text =
                    format!("no voice missing for longer than {}, for {}", seconds(longest), seconds(most));
                Verdict { text, met: longest <= most }
            }
            Aim::TextDelay(most) => {
                let found = self.text_delay().unwrap_or(Duration::MAX);
                let text = format!("what is written is read after {}, for {}", seconds(found), seconds(most));
                Verdict { text, met: found <= most }
            }
            Aim::WritesAfter(most) => {
                let found = self.writes_after().unwrap_or(Duration::MAX);
                let text = format!(
                    "the device offers to write {} after voices were given up, for {}",
                    seconds(found),
                    seconds(most)
                );
                Verdict { text, met: found <= most }
            }
            Aim::Writes(most) => {
                let is_none = self.changes.iter().all(|change| change.profile != BandwidthProfile::AsyncText);
                let found = if is_none { Some(Duration::ZERO) } else { self.text_in_writing() };
                let found = found.unwrap_or(Duration::MAX);
                let text = format!(
                    "in writing, what is written is read after {}, for {}",
                    seconds(found),
                    seconds(most)
                );
                Verdict { text, met: found <= most }
            }
            Aim::PictureAgain(most) => {
                let good_again = scenario.good_again().expect("a line that is good at the end");
                let found = self.picture_again(good_again).unwrap_or(Duration::MAX);
                let text = format!(
                    "both pictures are back {} after the line, for {}",
                    seconds(found),
                    seconds(most)
                );
                Verdict { text, met: found <= most }
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (profile, reason) = (self.profile.as_str(), self.reason.as_str());
        write!(formatter, "{:.1} s: {profile} ({reason})", self.after.as_secs_f64())
    }
}

/// 2 Mbit/s and 60 ms there and back.
#[must_use]
pub fn good() -> LinkConfig {
    kbps(2_000)
}

fn kbps(rate: u64) -> LinkConfig {
    let bytes = (rate * QUEUE_MS / 8).max(QUEUE_BYTES_MIN);
    LinkConfig::default().delay_ms(30).rate_bps(rate * 1_000).queue_bytes(bytes)
}

fn cut() -> LinkConfig {
    LinkConfig { blocked: true, ..good() }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    use Aim::{
        Avoids, ChangesMost, NothingChanges, PictureAgain, Reaches, Talks, TextDelay, VoiceGap, Writes,
        WritesAfter,
    };
    use BandwidthProfile::{AsyncText, AudioOnly};
    let plain = |name, changes, length, aims| Scenario {
        name,
        whose: Who::Patient,
        communication: Communication::Speech,
        changes,
        length,
        aims,
        plot: None,
    };
    let poor = |name, seconds: u64, rest, up, down, aims| {
        let changes = vec![(BEGINS, up, down), (BEGINS + s(seconds), good(), good())];
        plain(name, changes, BEGINS + s(seconds + rest), aims)
    };
    let dip = |name, seconds, rest, aims| poor(name, seconds, rest, cut(), cut(), aims);
    // A weak line is used for a voice alone, and what is written is read after so many seconds.
    let by_voice = |text: u64| {
        vec![
            Talks,
            ChangesMost(2),
            Reaches(AudioOnly),
            VoiceGap(s(1)),
            TextDelay(s(text)),
            PictureAgain(s(75)),
        ]
    };
    // One that carries no voice is used for writing: what is written is read after so many seconds, and pictures are back after
    // so many.
    let in_writing = |changes: usize, text: u64, back: u64| {
        vec![
            ChangesMost(changes),
            Reaches(AsyncText),
            WritesAfter(s(4)),
            Writes(s(text)),
            PictureAgain(s(back)),
        ]
    };
    // One that carries the least of a voice is used for it, or for writing: what is written then is read after so many seconds,
    // and before after so many.
    let hardly_a_voice = |writes: u64, text: u64| {
        vec![ChangesMost(5), Reaches(AudioOnly), Writes(s(writes)), TextDelay(s(text)), PictureAgain(s(200))]
    };
    let wavers = (0..24).map(|at| {
        let line = if at % 2 == 0 { kbps(100) } else { good() };
        (BEGINS + s(8 * at), line, line)
    });
    vec![
        dip("cut for 1 s", 1, 40, vec![NothingChanges, PictureAgain(s(5))]),
        dip("cut for 5 s", 5, 40, vec![NothingChanges, PictureAgain(s(8))]),
        dip("cut for 20 s", 20, 120, in_writing(4, 3, 75)),
        dip("cut for 60 s", 60, 120, in_writing(4, 3, 75)),
        dip("cut for 300 s", 300, 120, in_writing(4, 3, 75)),
        poor("100 kbit/s both ways for 60 s", 60, 120, kbps(100), kbps(100), by_voice(10)),
        poor("100 kbit/s up alone for 60 s", 60, 120, kbps(100), good(), by_voice(10)),
        poor("100 kbit/s down alone for 60 s", 60, 120, good(), kbps(100), by_voice(3)),
        poor("20 % lost on the way up for 60 s", 60, 120, good().loss(0.2), good(), by_voice(5)),
        poor("20 % lost on the way down for 60 s", 60, 120, good(), good().loss(0.2), by_voice(3)),
        poor("the way up cut for 20 s", 20, 120, cut(), good(), in_writing(4, 3, 75)),
        poor("the way down cut for 20 s", 20, 120, good(), cut(), in_writing(4, 3, 75)),
        poor("24 kbit/s up alone for 60 s", 60, 240, kbps(24), good(), hardly_a_voice(3, 3)),
        poor("24 kbit/s down alone for 60 s", 60, 240, good(), kbps(24), hardly_a_voice(3, 4)),
        poor("24 kbit/s both ways for 90 s", 90, 240, kbps(24), kbps(24), hardly_a_voice(3, 20)),
        poor("16 kbit/s up alone for 60 s", 60, 240, kbps(16), good(), hardly_a_voice(3, 18)),
        poor("16 kbit/s down alone for 60 s", 60, 240, good(), kbps(16), hardly_a_voice(3, 12)),
        poor("16 kbit/s both ways for 90 s", 90, 240, kbps(16), kbps(16), hardly_a_voice(18, 18)),
        Scenario {
            whose: Who::Provider,
            ..poor(
                "100 kbit/s both ways for 60 s, the provider’s line",
                60,
                120,
                kbps(100),
                kbps(100),
                by_voice(5),
            )
        },
        Scenario {
            communication: Communication::Sign,
            ..poor(
                "100 kbit/s both ways for 60 s, in sign language",
                60,
                240,
                kbps(100),
                kbps(100),
                vec![
                    ChangesMost(3),
                    Avoids(AudioOnly),
                    Reaches(AsyncText),
                    WritesAfter(s(3)),
                    Writes(s(3)),
                    TextDelay(s(3)),
                    PictureAgain(s(200)),
                ],
            )
        },
        poor(
            "12 kbit/s both ways for 90 s",
            90,
            240,
            kbps(12),
            kbps(12),
            vec![
                ChangesMost(5),
                Reaches(AsyncText),
                WritesAfter(s(3)),
                Writes(s(30)),
                TextDelay(s(30)),
                PictureAgain(s(200)),
            ],
        ),
        plain(
            "100 kbit/s, and cut for 60 s",
            vec![
                (BEGINS, kbps(100), kbps(100)),
                (BEGINS + s(40), cut(), cut()),
                (BEGINS + s(100), good(), good()),
            ],
            BEGINS + s(220),
            in_writing(4, 3, 75),
        ),
        plain(
            "2 Mbit/s and 100 kbit/s in turns of 8 s",
            wavers.collect(),
            BEGINS + s(8 * 23 + 240),
            vec![Talks, ChangesMost(4), VoiceGap(s(1)), PictureAgain(s(220))],
        ),
        Scenario {
            plot: Some("staircase"),
            ..plain(
                "down to nothing in steps and up again",
                vec![
                    (s(30), kbps(100), kbps(100)),
                    (s(75), kbps(20), kbps(20)),
                    (s(120), cut(), cut()),
                    (s(165), kbps(100), kbps(100)),
                    (s(210), good(), good()),
                ],
                s(360),
                vec![
                    ChangesMost(5),
                    Reaches(AudioOnly),
                    Reaches(AsyncText),
                    VoiceGap(s(1)),
                    WritesAfter(s(4)),
                    Writes(s(12)),
                    PictureAgain(s(120)),
                ],
            )
        },
    ]
}
