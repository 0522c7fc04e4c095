//! How good each connection is, from what is measured at both of its ends, once a second while media flows.

use std::time::Duration;

use crate::api::{CommandError, Event, PeerId, SourceKind};
use crate::bounds::QUALITY_STEP;
use crate::keys::PeerKey;
use crate::quality::{LineLook, Quality, QualityLevel, QualityReason, QualityStep};
use crate::sdp::MediaKind;
use crate::sfu::Sfu;
use crate::source::Source;
use crate::time::Time;

/// From when on something is fair, poor, bad.
const LOSS: [f64; 3] = [0.025, 0.08, 0.20];
const ROUND_TRIP_MS: [f64; 3] = [300.0, 600.0, 1_200.0];
const JITTER_MS: [f64; 3] = [50.0, 120.0, 300.0];
/// Below this hardly a voice gets through, in bits per second.
const RATE_BAD_BPS: u64 = 60_000;
/// Less than this share of what is wanted is fair.
const RATE_FAIR_SHARE: f64 = 0.6;
/// Below this the way from somebody carries no more than their smallest picture, and not even that.
const UPLINK_FAIR_BPS: u64 = 450_000;
const UPLINK_POOR_BPS: u64 = 150_000;
/// For so long counts what a device said of it.
const NOTED_MAX: Duration = Duration::from_secs(5);
/// How long it has to be worse, and better, before it is said.
const WORSE_AFTER: Duration = Duration::from_millis(1_900);
const BETTER_AFTER: Duration = Duration::from_millis(4_900);
/// How much of the news of one second counts.
const FOLLOWS: f64 = 0.4;
/// After so long without a look everything begins anew.
const SILENT_MAX: Duration = Duration::from_secs(QUALITY_STEP.as_secs() * 2);
/// A step that is cut short is told of from this length on.
const STEP_MIN: Duration = Duration::from_secs(2);
/// A round trip that was not measured for so long is not known.
pub(crate) const ROUND_TRIP_AGE_MAX: Duration = Duration::from_secs(10);
/// How much the number of a reason has to change, and how long what was told stands, before it is told again.
const NUMBER_TIMES: f64 = 1.33;
const NUMBER_STANDS: Duration = Duration::from_millis(4_900);
/// Fewer packets in a second say nothing of loss.
const PACKETS_MIN: u64 = 8;

/// What is known of one peer's connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    quality: Quality,
    /// The reason as it was told last, and when.
    told: (Option<QualityReason>, Time),
    /// What it seems to be instead, and since when.
    pending: Option<(QualityLevel, Time)>,
    /// At the last look.
    at: Option<Time>,
    before: Totals,
    /// What was expected and arrived when loss was told last.
    counted: (u64, u64),
    uplink_loss: f64,
    camera_bps: u64,
    /// What the peer's device thinks that the way from it carries, and when it said so.
    noted: Option<(u64, Time)>,
    step: Step,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    expected: u64,
    /// Of those, what came without being sent again.
    arrived: u64,
    uplink_bytes: u64,
    /// Of those, of the camera.
    camera_bytes: u64,
    downlink_bytes: u64,
}

/// A step so far.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    began_at: Time,
    began: Totals,
    worst: Quality,
    downlink_loss_sum: f64,
    downlink_looks: u32,
    jitter: Option<Duration>,
}

/// What one look has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    totals: Totals,
    jitter: Option<Duration>,
    rtt: Option<Duration>,
    downlink_loss: Option<f64>,
    estimate_bps: Option<u64>,
    /// The same; where that is as little as is ever thought, what gets through.
    carried_bps: Option<u64>,
    wanted_bps: u64,
    /// Of the pictures that are to be shown: the highest that is, and whether all are held back.
    height: Option<u16>,
    held_back: bool,
    /// What the way from the peer carries, as its device thinks; whether somebody wants to see the peer, and more than the smallest
    /// picture.
    uplink_bps: Option<u64>,
    is_wanted: bool,
    is_wanted_large: bool,
    quiet: bool,
}

impl Watch {
    pub(crate) const fn quality(&self) -> Quality {
        self.quality
    }

    /// It seems to be other than was told, and that is yet to be seen.
    pub(crate) const fn is_settling(&self) -> bool {
        self.pending.is_some()
    }

    fn look(&mut self, look: &Look, now: Time) -> (bool, Option<QualityStep>) {
        let since = self.at.replace(now).map_or(Duration::MAX, |at| now.since(at));
        if since > SILENT_MAX {
            (self.step, self.uplink_loss, self.pending) = (Step::begin(look, now), 0.0, None);
            self.before = look.totals;
            self.counted = (look.totals.expected, look.totals.arrived);
        }
        // Of who sends little it takes several looks until there is something to be told.
        let expected = look.totals.expected.saturating_sub(self.counted.0);
        let arrived = look.totals.arrived.saturating_sub(self.counted.1);
        if expected >= PACKETS_MIN {
            let lost = expected.saturating_sub(arrived) as f64 / expected as f64;
            self.uplink_loss += FOLLOWS * (lost - self.uplink_loss);
        } else if look.totals.expected == self.before.expected {
            self.uplink_loss = 0.0;
        }
        if expected >= PACKETS_MIN || look.totals.expected == self.before.expected {
            self.counted = (look.totals.expected, look.totals.arrived);
        }
        let camera = look.totals.camera_bytes.saturating_sub(self.before.camera_bytes);
        self.camera_bps = camera * 8_000_000 / (since.as_micros() as u64).clamp(1, 10_000_000);
        self.before = look.totals;
        let changed = self.follow(look.judge(self.uplink_loss), now) || self.has_another_number(now);
        if changed {
            self.told = (self.quality.reason, now);
        }
        let step = &mut self.step;
        if self.quality.level >= step.worst.level {
            step.worst = self.quality;
        }
        step.jitter = step.jitter.max(look.jitter);
        if let Some(loss) = look.downlink_loss {
            step.downlink_loss_sum += loss;
            step.downlink_looks += 1;
        }
        let over = (now.since(step.began_at) >= QUALITY_STEP).then(|| step.told(look, now));
        if over.is_some() {
            self.step = Step::begin(look, now);
            self.step.worst = self.quality;
        }
        (changed, over)
    }

    /// What the last look has seen of the line.
    fn line(&self, look: &Look) -> LineLook {
        LineLook {
            downlink_bps: look.carried_bps,
            downlink_loss: look.downlink_loss.map(|loss| loss as f32),
            uplink_loss: self.uplink_loss as f32,
            rtt: look.rtt,
            camera_bps: Some(self.camera_bps).filter(|bps| *bps > 0),
            uplink_bps: look.uplink_bps,
        }
    }

    /// Goes with what it seems to be, once it has for a while. True if that is news.
    fn follow(&mut self, seems: Quality, now: Time) -> bool {
        if seems.level == self.quality.level {
            self.pending = None;
            // The number changes with each look; the reason is news by its kind.
            let same = match (seems.reason, self.quality.reason) {
                (Some(a), Some(b)) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
                (a, b) => a.is_none() && b.is_none(),
            };
            self.quality.reason = seems.reason;
            return !same;
        }
        let worse = seems.level > self.quality.level;
        let since = match self.pending {
            Some((level, since)) if (level > self.quality.level) == worse => since,
            _ => now,
        };
        self.pending = Some((seems.level, since));
        let patience = if worse { WORSE_AFTER } else { BETTER_AFTER };
        let urgent = matches!(seems.reason, Some(QualityReason::Silence));
        let news = urgent || now.since(since) >= patience;
        if news {
            (self.quality, self.pending) = (seems, None);
        }
        news
    }

    /// The number of the reason is well off what was told a while ago.
    fn has_another_number(&self, now: Time) -> bool {
        let (Some(is), (Some(told), at)) = (self.quality.reason, self.told) else { return false };
        let (Some(is), Some(told)) = (is.number(), told.number()) else { return false };
        let far = is > told * NUMBER_TIMES || is * NUMBER_TIMES < told;
        far && now.since(at) >= NUMBER_STANDS
    }
}

impl Step {
    fn begin(look: &Look, now: Time) -> Self {
        Self { began_at: now, began: look.totals, ..Self::default() }
    }

    fn told(&self, look: &Look, now: Time) -> QualityStep {
        let micros = now.micros_since(self.began_at).max(1);
        let bps = |now: u64, then: u64| now.saturating_sub(then) * 8_000_000 / micros;
        let expected = look.totals.expected.saturating_sub(self.began.expected);
        let lost = expected.saturating_sub(look.totals.arrived.saturating_sub(self.began.arrived));
        QualityStep {
            quality: self.worst,
            uplink_loss: (expected > 0).then(|| (lost as f64 / expected as f64) as f32),
            downlink_loss: (self.downlink_looks > 0)
                .then(|| (self.downlink_loss_sum / f64::from(self.downlink_looks)) as f32),
            uplink_jitter: self.jitter,
            rtt: look.rtt,
            uplink_bps: bps(look.totals.uplink_bytes, self.began.uplink_bytes),
            downlink_bps: bps(look.totals.downlink_bytes, self.began.downlink_bytes),
            downlink_estimate_bps: look.estimate_bps,
            video_height: look.height.or(look.held_back.then_some(0)),
        }
    }
}

impl Look {
    /// The worst of all there is to say.
    fn judge(&self, uplink_loss: f64) -> Quality {
        if self.quiet {
            return Quality { level: QualityLevel::Bad, reason: Some(QualityReason::Silence) };
        }
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let downlink_loss = self.downlink_loss.unwrap_or(0.0);
        let rtt = self.rtt.unwrap_or_default();
        let jitter = self.jitter.unwrap_or_default();
        let judged = [
            (grade(uplink_loss, LOSS), QualityReason::UplinkLoss(uplink_loss as f32)),
            (grade(downlink_loss, LOSS), QualityReason::DownlinkLoss(downlink_loss as f32)),
            (self.rate(), QualityReason::DownlinkRate(self.estimate_bps.unwrap_or(0))),
            (self.uplink_rate(), QualityReason::UplinkRate(self.uplink_bps.unwrap_or(0))),
            (grade(millis(rtt), ROUND_TRIP_MS), QualityReason::RoundTrip(rtt)),
            (grade(millis(jitter), JITTER_MS), QualityReason::UplinkJitter(jitter)),
        ];
        let mut worst = Quality::default();
        for (level, reason) in judged {
            if level > worst.level {
                worst = Quality { level, reason: Some(reason) };
            }
        }
        worst
    }

    fn rate(&self) -> QualityLevel {
        let Some(estimate) = self.estimate_bps else { return QualityLevel::Good };
        if estimate < RATE_BAD_BPS && self.wanted_bps > estimate {
            QualityLevel::Bad
        } else if self.held_back {
            QualityLevel::Poor
        } else if (estimate as f64) < self.wanted_bps as f64 * RATE_FAIR_SHARE {
            QualityLevel::Fair
        } else {
            QualityLevel::Good
        }
    }

    fn uplink_rate(&self) -> QualityLevel {
        match self.uplink_bps {
            Some(bps) if self.is_wanted && bps < RATE_BAD_BPS => QualityLevel::Bad,
            Some(bps) if self.is_wanted && bps < UPLINK_POOR_BPS => QualityLevel::Poor,
            Some(bps) if self.is_wanted_large && bps < UPLINK_FAIR_BPS => QualityLevel::Fair,
            _ => QualityLevel::Good,
        }
    }
}

fn grade(value: f64, [fair, poor, bad]: [f64; 3]) -> QualityLevel {
    match value {
        _ if value >= bad => QualityLevel::Bad,
        _ if value >= poor => QualityLevel::Poor,
        _ if value >= fair => QualityLevel::Fair,
        _ => QualityLevel::Good,
    }
}

impl Sfu {
    /// What a peer's device thinks that the way from it carries.
    pub(crate) fn note_uplink(&mut self, id: PeerId, bps: u64, now: Time) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let peer = self.peers.get_mut(key).ok_or(CommandError::UnknownPeer)?;
        peer.watch.noted = Some((bps, now));
        Ok(())
    }

    /// Looks at a peer's connection, and tells what is new.
    pub(crate) fn watch(&mut self, key: PeerKey, now: Time) {
        let Some(look) = self.look(key, now) else { return };
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (changed, step) = peer.watch.look(&look, now);
        let (id, quality) = (peer.id, peer.watch.quality);
        let line = peer.is_open().then(|| peer.watch.line(&look));
        if let Some(look) = line {
            self.emit(Event::Line { peer: id, look });
        }
        if changed {
            self.emit(Event::Quality { peer: id, quality });
        }
        if let Some(step) = step {
            self.emit(Event::QualityStep { peer: id, step: Box::new(step) });
        }
    }

    /// Tells of the step that a peer's leaving cuts short.
    pub(crate) fn end_watch(&mut self, key: PeerKey, now: Time) {
        let (Some(look), Some(peer)) = (self.look(key, now), self.peers.get(key)) else { return };
        let step = peer.watch.step;
        // Of who was silent for long there is no step: it would be a mean over all of the silence.
        let is_watched = peer.watch.at.is_some_and(|at| now.since(at) <= SILENT_MAX);
        if is_watched && now.since(step.began_at) >= STEP_MIN {
            let event = Event::QualityStep { peer: peer.id, step: Box::new(step.told(&look, now)) };
            self.emit(event);
        }
    }

    /// Somebody is to be shown it.
    fn is_wanted(&self, source: &Source) -> bool {
        source.subscribers.iter().any(|subscriber| {
            let viewer = self.peers.get(subscriber.peer).filter(|viewer| viewer.is_open());
            viewer.is_some_and(|viewer| viewer.slots[subscriber.slot as usize].wish.max_height != Some(0))
        })
    }

    fn look(&self, key: PeerKey, now: Time) -> Option<Look> {
        let peer = self.peers.get(key)?;
        let rtt = peer.round_trip(now);
        let mut look = Look { rtt, quiet: peer.quiet, ..Look::default() };
        let noted = peer.watch.noted.filter(|(_, at)| now.since(*at) <= NOTED_MAX);
        look.uplink_bps = noted.map(|(bps, _)| bps);
        look.totals.downlink_bytes = peer.tx.sent_bytes;
        for source in peer.uplink.sources.iter().filter_map(|source| self.sources.get(*source)) {
            if look.uplink_bps.is_some() && source.kind == SourceKind::Camera && source.flowing {
                look.is_wanted |= self.is_wanted(source);
                look.is_wanted_large |= source.wanted > 1;
            }
            for encoding in &source.encodings {
                let Some(highest) = encoding.highest else { continue };
                let reception = &encoding.reception;
                look.totals.expected += reception.expected(highest);
                look.totals.arrived += reception.packets - reception.recovered;
                look.totals.uplink_bytes += reception.payload_bytes;
                if source.kind == SourceKind::Camera {
                    look.totals.camera_bytes += reception.payload_bytes;
                }
                if source.media == MediaKind::Audio && encoding.flowing() {
                    let micros =
                        u64::from(reception.jitter()) * 1_000_000 / u64::from(source.clock_rate.max(1));
                    look.jitter = look.jitter.max(Some(Duration::from_micros(micros)));
                }
            }
        }
        if let Some(control) = &peer.tx.control {
            look.estimate_bps = Some(control.estimate_bps());
            look.carried_bps = Some(control.carried_bps(now));
            look.wanted_bps = control.allocation.wanted_bps;
            look.downlink_loss = peer
                .tx
                .sent_since_report
                .then(|| if control.is_unanswered(now) { 1.0 } else { control.loss_share() });
        }
        let shown = peer.slots.iter().filter(|slot| {
            let source = slot.bound.and_then(|source| self.sources.get(source));
            slot.wish.max_height != Some(0)
                && source.is_some_and(|source| source.flowing && source.media == MediaKind::Video)
        });
        let (mut any, mut carried) = (false, false);
        for slot in shown {
            any = true;
            carried |= slot.target.is_some();
            look.height = look.height.max(self.height_of(slot));
        }
        look.held_back = any && !carried;
        Some(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(watch: &mut Watch, from_s: u64, seconds: u64, look: impl Fn(&mut Look)) -> Vec<(u64, Quality)> {
        let mut news = Vec::new();
        for second in from_s..from_s + seconds {
            let mut seen = Look { totals: watch.before, estimate_bps: Some(3_000_000), ..Look::default() };
            seen.totals.expected += 100;
            seen.totals.arrived += 100;
            look(&mut seen);
            if watch.look(&seen, Time::from_millis(second * 1_000)).0 {
                news.push((second, watch.quality()));
            }
        }
        news
    }

    #[test]
    fn an_uplink_that_loses_is_named_with_its_share_and_forgiven_after_a_while() {
        let mut watch = Watch::default();
        assert!(looks(&mut watch, 0, 30, |_| {}).is_empty());
        let news = looks(&mut watch, 30, 20, |look| look.totals.arrived -= 10);
        let (_, quality) = *news.last().unwrap();
        assert_eq!(quality.level, QualityLevel::Poor);
        assert!(
            matches!(quality.reason, Some(QualityReason::UplinkLoss(share)) if (0.08..0.11).contains(&share))
        );
        assert!(news.len() <= 2 && news[0].0 <= 34, "{news:?}");
        let news = looks(&mut watch, 50, 30, |_| {});
        assert_eq!(news.last().unwrap().1, Quality::default());
    }

    #[test]
    fn a_number_that_has_become_another_is_told_again_now_and_then() {
        let mut watch = Watch::default();
        looks(&mut watch, 0, 20, |look| look.totals.arrived -= 9);
        let told = watch.quality();
        assert!(looks(&mut watch, 20, 20, |look| look.totals.arrived -= 9).is_empty());
        let news = looks(&mut watch, 40, 20, |look| look.totals.arrived -= 17);
        let (_, quality) = *news.last().unwrap();
        assert_eq!(quality.level, told.level);
        assert!(
            matches!(quality.reason, Some(QualityReason::UplinkLoss(share)) if share > 0.13),
            "{quality:?}"
        );
        assert!(news.len() <= 2, "{news:?}");
    }

    #[test]
    fn of_who_sends_little_loss_is_seen_and_forgiven_too() {
        let mut watch = Watch::default();
        let few = |look: &mut Look, lost: u64| {
            look.totals.expected -= 97;
            look.totals.arrived -= 97 + lost;
        };
        looks(&mut watch, 0, 30, |look| few(look, 1));
        assert!(watch.uplink_loss > 0.25, "{}", watch.uplink_loss);
        looks(&mut watch, 30, 30, |look| few(look, 0));
        assert!(watch.uplink_loss < 0.04, "{}", watch.uplink_loss);
    }

    #[test]
    fn a_way_up_that_carries_less_than_others_want_to_see_is_named_with_what_it_carries() {
        let level = |bps: u64, is_wanted_large: bool| {
            let mut watch = Watch::default();
            looks(&mut watch, 0, 10, |look| {
                (look.uplink_bps, look.is_wanted, look.is_wanted_large) = (Some(bps), true, is_wanted_large);
            });
            let quality = watch.quality();
            assert!(quality.reason.is_none_or(|reason| reason == QualityReason::UplinkRate(bps)));
            quality.level
        };
        assert_eq!(level(300_000, true), QualityLevel::Fair);
        assert_eq!(level(300_000, false), QualityLevel::Good, "for a small picture it is enough");
        assert_eq!(level(100_000, false), QualityLevel::Poor);
        assert_eq!(level(40_000, true), QualityLevel::Bad);
        assert_eq!(level(900_000, true), QualityLevel::Good);
    }

    #[test]
    fn one_bad_second_is_no_news() {
        let mut watch = Watch::default();
        looks(&mut watch, 0, 5, |_| {});
        let mut news = looks(&mut watch, 5, 1, |look| look.rtt = Some(Duration::from_secs(2)));
        news.extend(looks(&mut watch, 6, 20, |_| {}));
        assert!(news.is_empty(), "{news:?}");
    }

    #[test]
    fn silence_is_told_at_once() {
        let mut watch = Watch::default();
        looks(&mut watch, 0, 5, |_| {});
        let news = looks(&mut watch, 5, 1, |look| look.quiet = true);
        assert_eq!(news[0].1.reason, Some(QualityReason::Silence));
    }

    #[test]
    fn a_step_tells_what_was_measured_in_it() {
        let mut watch = Watch::default();
        let mut totals = Totals::default();
        let mut steps = Vec::new();
        for second in 0..=20 {
            totals.expected += 50;
            totals.arrived += 45;
            totals.uplink_bytes += 12_500;
            let look = Look { totals, downlink_loss: Some(0.02), height: Some(360), ..Look::default() };
            steps.extend(watch.look(&look, Time::from_millis(second * 1_000)).1);
        }
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[1].uplink_bps, steps[1].video_height), (100_000, Some(360)));
        assert!((steps[1].uplink_loss.unwrap() - 0.1).abs() < 1e-6);
        assert!((steps[1].downlink_loss.unwrap() - 0.02).abs() < 1e-6);
        assert_eq!(steps[1].quality.level, QualityLevel::Poor);
    }
}
