//! What a run comes to, in a few figures, and whether that is what was aimed at.

use std::time::Duration;

use super::{Sample, Scenario, Seen};
use crate::client::{ClientConfig, Obedience};
use crate::cross::CrossKind;
use crate::playout::{Frames, REDUNDANCY_LEVELS};
use crate::synthetic::HEIGHTS;

/// The aims of the issue.
const USED_SHARE_MIN: f64 = 0.8;
const HALF_USED_SHARE_MIN: f64 = 0.5;
const QUEUE_P95_MS_MAX: f64 = 100.0;
const FALL_LOSS_MAX: f64 = 0.02;
const RISE_S_MAX: f64 = 8.0;
const SWITCHES_PER_MINUTE_MAX: f64 = 12.0;
const CONCEALED_MAX: [f64; REDUNDANCY_LEVELS] = [1.0, 0.05, 0.015];
/// Frames it takes to judge what a level of redundancy does.
const CONCEALED_FRAMES_MIN: u64 = 500;
/// Others are unaffected if they are shown full pictures for this share of the time, and their estimate keeps to this
/// share of what it was.
const OTHERS_FULL_SHARE_MIN: f64 = 0.95;
const FROZEN_SHARE_MAX: f64 = 0.2;
const FULL_KEPT_SHARE_MIN: f64 = 0.9;
const OTHERS_ESTIMATE_SHARE_MIN: f64 = 0.95;
const OBEYED_MS_MAX: f64 = 500.0;

/// Video steps that fill more of a line than this cannot be held on it.
const HELD_SHARE_MAX: f64 = 0.9;
/// Who holds the highest step there is uses this share of what it takes.
const STEP_SHARE: f64 = 0.9;
/// At full rate all but a few of the frames of a second are there.
const FULL_FRAMES_PER_SECOND: u64 = 27;
/// From the fall of a line on it may lose much for so long, and is judged for the time after.
const FALL_GRACE: Duration = Duration::from_secs(2);
const FALL_JUDGED: Duration = Duration::from_secs(6);
const SECOND: usize = 10;
/// A second in which less than this was heard is a silent one, from then on.
const HEARD_MS_MIN: u64 = 500;
const HEARD_FROM: Duration = Duration::from_secs(5);
/// A voice of 16 kbit/s in packets of 60 ms takes more on the wire, in kbit/s, and one of 8 in packets of 120 ms half of it.
const VOICE_KBPS_MIN: f64 = 20.0;

/// Bytes of a packet beside its share of a frame: IPv4, UDP, RTP with its extensions, the tag of SRTP, VP8's descriptor.
const PACKET_OVERHEAD: f64 = 28.0 + 12.0 + 12.0 + 16.0 + 6.0;
const PACKET_BYTES: f64 = 1_100.0;
const FRAMES_PER_SECOND: f64 = 1_000.0 / 33.0;

/// What a scenario is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The highest encoding at its full rate within so many seconds of joining.
    FullQuality(u32),
    /// 80 % of the line is used, or nine tenths of what steps of video that can be held on it take.
    Used,
    /// Half of the line is used: where the receiver estimates it, more is not the server's to say.
    HalfUsed,
    /// The 95th percentile of the time in the queue is 100 ms at the most.
    ShortQueue,
    /// Two seconds after the line became slower less than 2 % gets lost.
    CalmAfterFall,
    /// Eight seconds after the line became faster it is used.
    BackAfterRise,
    /// No second after the fifth is silent, but for the two in which a line falls or other traffic sets in.
    AudioFlows,
    /// What is concealed with one earlier frame along each is 5 % at the most, with two 1.5 %.
    AudioRepaired,
    /// What is sent of the voice is more than the least there is.
    VoiceKept,
    /// One switch in five seconds at the most.
    FewSwitches,
    /// The others are shown full pictures that do not freeze.
    OthersFull,
    /// The picture stands still for a fifth of the time at the most.
    PictureGoesOn,
    /// Full pictures for nine tenths of the steady state.
    FullKept,
    /// Nobody's estimate falls.
    EstimatesHold,
    /// Publishers pause what nobody watches, and begin it again, half a second after the server's word at the latest.
    Obeyed,
}

/// Whether an aim was met.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which.
    pub aim: Aim,
    /// What was found, against what was aimed at.
    pub text: String,
    /// That.
    pub met: bool,
}

/// What a run comes to. A figure that is infinite stands for something that never came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// From joining to the highest encoding at its full rate, in seconds.
    pub full_quality_s: f64,
    /// Share of the line used in steady state; none where it has no limit.
    pub used: Option<f64>,
    /// The most that steps of video take which can be held on the line, with the voices, as a share of it.
    pub possible: Option<f64>,
    /// What is sent of the voice in steady state, in kbit/s on the wire.
    pub voice_kbps: f64,
    /// 95th percentile of the time in the queue in steady state, in ms.
    pub queue_p95_ms: f64,
    /// Share of packets lost in steady state.
    pub lost: f64,
    /// The same in the two seconds after the line became slower, and in the six after them.
    pub fall_lost: Option<(f64, f64)>,
    /// From when the line became faster until it was used, in seconds.
    pub rise_s: Option<f64>,
    /// Freezes of the picture, and their seconds, over the whole run.
    pub freezes: (u32, f64),
    /// Switches of encoding per minute in steady state, of the seat with the most, and changes of the temporal layers.
    pub switches: (f64, f64),
    /// A voice's frames in steady state by redundancy.
    pub heard: [Frames; REDUNDANCY_LEVELS],
    /// Silent seconds after the fifth, but for the two in which a line falls or other traffic sets in.
    pub silent_seconds: usize,
    /// Share of the whole run in which the picture stood still.
    pub frozen: f64,
    /// Share of the steady state with full pictures.
    pub full_kept: f64,
    /// Least share of the time others were shown full pictures, and their freezes; none where nobody else watches.
    pub others_full: Option<(f64, u32)>,
    /// How far the estimate of anybody fell, as a share; none where nobody has one.
    pub estimate_kept: Option<f64>,
    /// Probes sent.
    pub probes: u64,
    /// Longest time from the server's word until an encoding was paused, and until it was resumed, in ms.
    pub obeyed_ms: (Option<f64>, Option<f64>),
}

impl Figures {
    /// What `seen` comes to.
    #[must_use]
    pub fn of(scenario: &Scenario, seen: &Seen) -> Self {
        let watched = seen.watched();
        let steady = steady(scenario, watched);
        let (first, last) = (&steady[0], &steady[steady.len() - 1]);
        let seconds = (last.at - first.at).as_secs_f64();
        let capacity = first.capacity_bps.filter(|_| scenario.changes.is_empty());
        let audio_bps = bits_per_second(last.carried.audio_bytes - first.carried.audio_bytes, seconds);
        let mut temporal = 0;
        for pair in steady.windows(2) {
            let of = |sample: &Sample| {
                sample.stats.slots.iter().map(|slot| slot.temporal_layer).collect::<Vec<_>>()
            };
            temporal += usize::from(of(&pair[0]) != of(&pair[1]));
        }
        Self {
            full_quality_s: full_quality(watched),
            used: capacity.map(|bps| {
                bits_per_second(last.carried.arrived_bytes - first.carried.arrived_bytes, seconds)
                    / bps as f64
            }),
            possible: capacity.and_then(|bps| possible(scenario, audio_bps, bps as f64)),
            voice_kbps: audio_bps / 1e3,
            queue_p95_ms: percentile(steady.iter().map(|sample| sample.queue), 95).as_secs_f64() * 1_000.0,
            lost: lost(first, last),
            fall_lost: fall_lost(scenario, watched),
            rise_s: rise(scenario, watched, audio_bps),
            freezes: watched
                .last()
                .map_or((0, 0.0), |sample| (sample.freezes.0, sample.freezes.1.as_secs_f64())),
            switches: (switches(first, last) as f64 * 60.0 / seconds, temporal as f64 * 60.0 / seconds),
            heard: std::array::from_fn(|level| {
                last.heard.by_redundancy[level].since(first.heard.by_redundancy[level])
            }),
            silent_seconds: silent_seconds(scenario, watched),
            frozen: watched
                .last()
                .map_or(0.0, |sample| sample.freezes.1.as_secs_f64() / sample.at.as_secs_f64()),
            full_kept: full_share(steady),
            others_full: others_full(scenario, seen),
            estimate_kept: estimate_kept(scenario, seen),
            probes: last.stats.downlink.probes,
            obeyed_ms: obeyed_ms(seen),
        }
    }

    /// Of all frames of the voice in steady state the share that was concealed.
    #[must_use]
    pub fn concealed(&self) -> Option<f64> {
        let sum = |of: fn(&Frames) -> u64| self.heard.iter().map(of).sum();
        Frames { due: sum(|frames| frames.due), concealed: sum(|frames| frames.concealed) }.share()
    }

    /// The share that was concealed while so many earlier frames went along with each; none where too few were sent to say.
    #[must_use]
    pub fn concealed_with(&self, redundancy: usize) -> Option<f64> {
        let frames = self.heard[redundancy];
        frames.share().filter(|_| frames.due >= CONCEALED_FRAMES_MIN)
    }

    /// The worse of two runs in each figure; of a voice's frames, those of both.
    #[must_use]
    pub fn worse(self, other: &Self) -> Self {
        let least = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(a.or(b), |(a, b)| Some(a.min(b)));
        let most = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(a.or(b), |(a, b)| Some(a.max(b)));
        let pair = |a: (f64, f64), b: (f64, f64)| (a.0.max(b.0), a.1.max(b.1));
        let both = |level: usize| {
            let (a, b) = (self.heard[level], other.heard[level]);
            Frames { due: a.due + b.due, concealed: a.concealed + b.concealed }
        };
        Self {
            full_quality_s: self.full_quality_s.max(other.full_quality_s),
            used: least(self.used, other.used),
            possible: least(self.possible, other.possible),
            voice_kbps: self.voice_kbps.min(other.voice_kbps),
            queue_p95_ms: self.queue_p95_ms.max(other.queue_p95_ms),
            lost: self.lost.max(other.lost),
            fall_lost: self.fall_lost.zip(other.fall_lost).map(|(a, b)| pair(a, b)),
            rise_s: most(self.rise_s, other.rise_s),
            freezes: (self.freezes.0.max(other.freezes.0), self.freezes.1.max(other.freezes.1)),
            switches: pair(self.switches, other.switches),
            heard: std::array::from_fn(both),
            silent_seconds: self.silent_seconds.max(other.silent_seconds),
            frozen: self.frozen.max(other.frozen),
            full_kept: self.full_kept.min(other.full_kept),
            others_full: self.others_full.zip(other.others_full).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1))),
            estimate_kept: least(self.estimate_kept, other.estimate_kept),
            probes: self.probes.max(other.probes),
            obeyed_ms: (most(self.obeyed_ms.0, other.obeyed_ms.0), most(self.obeyed_ms.1, other.obeyed_ms.1)),
        }
    }

    /// Whether `aim` is met.
    #[must_use]
    pub fn judge(&self, aim: Aim) -> Verdict {
        let (met, text) = match aim {
            Aim::FullQuality(most_s) => {
                let text = format!("full quality after {} s, aim {most_s}", number(self.full_quality_s));
                (self.full_quality_s <= f64::from(most_s), text)
            }
            Aim::Used => {
                let used = self.used.unwrap_or(0.0);
                let aim = self.used_aim();
                let text = format!("{:.0} % of the line used, aim {:.0}", used * 100.0, aim * 100.0);
                (used >= aim, text)
            }
            Aim::HalfUsed => {
                let used = self.used.unwrap_or(0.0);
                let text =
                    format!("{:.0} % of the line used, aim {:.0}", used * 100.0, HALF_USED_SHARE_MIN * 100.0);
                (used >= HALF_USED_SHARE_MIN, text)
            }
            Aim::ShortQueue => {
                let met = self.queue_p95_ms <= QUEUE_P95_MS_MAX;
                (met, format!("{:.0} ms in the queue, aim {QUEUE_P95_MS_MAX}", self.queue_p95_ms))
            }
            Aim::CalmAfterFall => {
                let (_, then) = self.fall_lost.unwrap_or((f64::INFINITY, f64::INFINITY));
                let text = format!(
                    "{} % lost from two seconds after the fall on, aim {:.0}",
                    number(then * 100.0),
                    FALL_LOSS_MAX * 100.0
                );
                (then < FALL_LOSS_MAX, text)
            }
            Aim::BackAfterRise => {
                let took = self.rise_s.unwrap_or(f64::INFINITY);
                (took <= RISE_S_MAX, format!("used {} s after the rise, aim {RISE_S_MAX}", number(took)))
            }
            Aim::AudioFlows => {
                (self.silent_seconds == 0, format!("{} silent seconds, aim 0", self.silent_seconds))
            }
            Aim::AudioRepaired => self.audio_repaired(),
            Aim::VoiceKept => {
                let text = format!("{:.0} kbit/s of voice, aim {VOICE_KBPS_MIN:.0}", self.voice_kbps);
                (self.voice_kbps >= VOICE_KBPS_MIN, text)
            }
            Aim::FewSwitches => {
                let met = self.switches.0 <= SWITCHES_PER_MINUTE_MAX;
                (met, format!("{:.1} switches a minute, aim {SWITCHES_PER_MINUTE_MAX}", self.switches.0))
            }
            Aim::OthersFull => {
                let (share, freezes) = self.others_full.unwrap_or((0.0, 0));
                let text = format!("others: full for {:.0} % of the time, {freezes} freezes", share * 100.0);
                (share >= OTHERS_FULL_SHARE_MIN && freezes == 0, text)
            }
            Aim::PictureGoesOn => {
                let text = format!(
                    "the picture still for {:.0} % of the time, aim {:.0}",
                    self.frozen * 100.0,
                    FROZEN_SHARE_MAX * 100.0
                );
                (self.frozen <= FROZEN_SHARE_MAX, text)
            }
            Aim::FullKept => {
                let text = format!(
                    "full pictures for {:.0} % of the time, aim {:.0}",
                    self.full_kept * 100.0,
                    FULL_KEPT_SHARE_MIN * 100.0
                );
                (self.full_kept >= FULL_KEPT_SHARE_MIN, text)
            }
            Aim::Obeyed => self.obeyed(),
            Aim::EstimatesHold => match self.estimate_kept {
                None => (false, "no estimates".to_owned()),
                Some(kept) => {
                    let text = format!("estimates fell to {:.0} %", kept * 100.0);
                    (kept >= OTHERS_ESTIMATE_SHARE_MIN, text)
                }
            },
        };
        Verdict { aim, text, met }
    }

    /// The share of the line that is to be used.
    #[must_use]
    pub fn used_aim(&self) -> f64 {
        self.possible.map_or(USED_SHARE_MIN, |possible| USED_SHARE_MIN.min(possible * STEP_SHARE))
    }

    fn obeyed(&self) -> (bool, String) {
        let (Some(paused), Some(resumed)) = self.obeyed_ms else {
            return (false, "no pause, or no end of one".to_owned());
        };
        let text = format!("paused after {paused:.0} ms, resumed after {resumed:.0}, aim {OBEYED_MS_MAX:.0}");
        (paused.max(resumed) <= OBEYED_MS_MAX, text)
    }

    fn audio_repaired(&self) -> (bool, String) {
        let judged: Vec<_> =
            (1..REDUNDANCY_LEVELS).filter_map(|level| Some((level, self.concealed_with(level)?))).collect();
        if judged.is_empty() {
            return (false, "no redundant audio".to_owned());
        }
        let met = judged.iter().all(|(level, share)| *share <= CONCEALED_MAX[*level]);
        let text: Vec<_> = judged
            .iter()
            .map(|(level, share)| {
                let aim = CONCEALED_MAX[*level] * 100.0;
                format!("RED {level}: {:.1} % concealed, aim {aim}", share * 100.0)
            })
            .collect();
        (met, text.join("; "))
    }
}

/// A figure with one decimal, or that it never came.
pub(super) fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "never".to_owned() }
}

fn steady<'a>(scenario: &Scenario, samples: &'a [Sample]) -> &'a [Sample] {
    let from = samples.iter().position(|sample| sample.at >= scenario.steady_from);
    let steady = &samples[from.expect("a steady state before the end")..];
    assert!(steady.len() > SECOND, "{} is too short", scenario.name);
    steady
}

fn bits_per_second(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / seconds
}

fn percentile(values: impl Iterator<Item = Duration>, percent: usize) -> Duration {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

/// What of the SFU's datagrams got lost between two looks. What was on its way at either of them is the error.
fn lost(first: &Sample, last: &Sample) -> f64 {
    let sent = last.carried.sent - first.carried.sent;
    let arrived = last.carried.arrived - first.carried.arrived;
    (1.0 - arrived as f64 / sent.max(1) as f64).max(0.0)
}

/// The same, exactly, where nobody else is on the line.
fn lost_on_line(samples: &[Sample], from: Duration, until: Duration) -> f64 {
    let at = |time: Duration| samples.iter().find(|sample| sample.at >= time).or(samples.last());
    let Some((first, last)) = at(from).zip(at(until)) else { return 0.0 };
    let gone = |sample: &Sample| sample.link.lost + sample.link.queue_dropped;
    (gone(last) - gone(first)) as f64 / (last.link.sent - first.link.sent).max(1) as f64
}

fn switches(first: &Sample, last: &Sample) -> usize {
    let each = first.heights.iter().zip(&last.heights).map(|(first, last)| last - first);
    each.max().unwrap_or(0)
}

fn fall_lost(scenario: &Scenario, samples: &[Sample]) -> Option<(f64, f64)> {
    let (fall, _) = scenario.changes.first()?;
    let calm = *fall + FALL_GRACE;
    Some((lost_on_line(samples, *fall, calm), lost_on_line(samples, calm, calm + FALL_JUDGED)))
}

fn rise(scenario: &Scenario, samples: &[Sample], audio_bps: f64) -> Option<f64> {
    let (at, line) = scenario.changes.get(1)?;
    let bps = line.rate_bps?.get() as f64;
    let step = possible(scenario, audio_bps, bps).map_or(1.0, |possible| possible * STEP_SHARE);
    let wanted = bps * USED_SHARE_MIN.min(step);
    let used = samples.windows(SECOND + 1).find(|window| {
        let bytes = window[SECOND].carried.arrived_bytes - window[0].carried.arrived_bytes;
        window[0].at >= *at && bytes as f64 * 8.0 >= wanted
    });
    Some(used.map_or(f64::INFINITY, |window| (window[SECOND].at - *at).as_secs_f64()))
}

fn full_quality(samples: &[Sample]) -> f64 {
    let full = samples.windows(SECOND + 1).find(|window| {
        window.iter().all(|sample| sample.height == HEIGHTS[2])
            && window[SECOND].frames - window[0].frames >= FULL_FRAMES_PER_SECOND
    });
    full.map_or(f64::INFINITY, |window| window[0].at.as_secs_f64())
}

/// What waits before a line that falls, and what is dropped until that can be known, takes most of a second of everything;
/// and so does other traffic that sets in.
fn silent_seconds(scenario: &Scenario, samples: &[Sample]) -> usize {
    let fall = scenario.changes.first().map(|(at, _)| *at);
    let falls: Vec<Duration> = fall.into_iter().chain(cross_begins(scenario)).collect();
    let is_fall = |at: Duration| falls.iter().any(|fall| (*fall..*fall + FALL_GRACE).contains(&at));
    let played = |sample: &Sample| sample.heard.played_ms;
    let from = samples.iter().position(|sample| sample.at >= HEARD_FROM).unwrap_or(samples.len());
    let seconds = samples[from..].windows(SECOND + 1).step_by(SECOND);
    let judged = seconds.filter(|window| !is_fall(window[0].at));
    judged.filter(|window| played(&window[SECOND]) - played(&window[0]) < HEARD_MS_MIN).count()
}

/// When other traffic sets in, each time.
fn cross_begins(scenario: &Scenario) -> Vec<Duration> {
    let Some((kind, from, until)) = scenario.cross else { return Vec::new() };
    let every = match kind {
        CrossKind::Reno => until,
        CrossKind::Constant { spell, .. } => spell * 2,
    };
    std::iter::successors(Some(from), |at| Some(*at + every)).take_while(|at| *at < until).collect()
}

/// The largest share of the line that video in all seats, with these voices, takes and can be held at.
fn possible(scenario: &Scenario, audio_bps: f64, capacity_bps: f64) -> Option<f64> {
    let watched = scenario.participants.len() - 1;
    let mut sums = vec![audio_bps];
    for (.., whom) in scenario.seats.iter().filter(|(who, ..)| *who == watched) {
        let publisher = &scenario.participants[*whom];
        let steps = video_steps(&publisher.client, publisher.withheld_from);
        let more = sums.iter().flat_map(|sum| steps.iter().map(move |step| sum + step));
        let more: Vec<f64> = more.filter(|sum| *sum <= capacity_bps * HELD_SHARE_MAX).collect();
        sums.extend(more);
    }
    sums.into_iter().reduce(f64::max).map(|most| (most / capacity_bps).min(1.0))
}

/// What each step of a publisher's video takes on the wire, in bits per second.
fn video_steps(client: &ClientConfig, withheld_from: Option<u8>) -> Vec<f64> {
    let layers: &[(f64, f64)] = match client.temporal_layers {
        3 => &[(0.4, 0.25), (0.6, 0.5), (1.0, 1.0)],
        2 => &[(0.6, 0.5), (1.0, 1.0)],
        _ => &[(1.0, 1.0)],
    };
    let mut steps = Vec::new();
    let sizes = withheld_from.map_or(client.camera, |from| client.camera.min(from.into()));
    for rate_bps in &client.rates_bps[..sizes] {
        for (bytes, frames) in layers {
            let frames = frames * FRAMES_PER_SECOND;
            let bytes = f64::from(*rate_bps) / 8.0 * bytes;
            let packets = (bytes / frames / PACKET_BYTES).ceil() * frames;
            steps.push((bytes + packets * PACKET_OVERHEAD) * 8.0);
        }
    }
    steps
}

fn full_share(samples: &[Sample]) -> f64 {
    let full = samples.iter().filter(|sample| sample.height == HEIGHTS[2]).count();
    full as f64 / samples.len() as f64
}

fn others_full(scenario: &Scenario, seen: &Seen) -> Option<(f64, u32)> {
    let others = seen.samples.iter().enumerate().filter(|(who, _)| {
        *who + 1 < seen.samples.len() && scenario.seats.iter().any(|(viewer, ..)| viewer == who)
    });
    let each = others.map(|(_, samples)| {
        let steady = steady(scenario, samples);
        let freezes = steady[steady.len() - 1].freezes.0 - steady[0].freezes.0;
        (full_share(steady), freezes)
    });
    each.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn estimate_kept(scenario: &Scenario, seen: &Seen) -> Option<f64> {
    let each = seen.samples.iter().filter_map(|samples| {
        let mut estimates =
            steady(scenario, samples).iter().filter_map(|sample| sample.stats.downlink.estimate_bps);
        let first = estimates.next()?;
        Some(estimates.min().unwrap_or(first) as f64 / first as f64)
    });
    each.reduce(f64::min)
}

fn obeyed_ms(seen: &Seen) -> (Option<f64>, Option<f64>) {
    let most = |times: fn(&Obedience) -> &Vec<Duration>| {
        let most = seen.obedience.iter().flat_map(times).max()?;
        Some(most.as_secs_f64() * 1_000.0)
    };
    (most(|obedience| &obedience.paused), most(|obedience| &obedience.resumed))
}
