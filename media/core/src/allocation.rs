//! What each subscriber is sent of what it is shown, and what publishers need not send (with [`crate::allocator`], which
//! divides).
//!
//! Down at once, up only by what has been seen to get through, and after a step down not again for a while.

use std::time::Duration;

use crate::allocator::{Budget, Claim, Ladder, Offered, divide, one_at_a_time};
use crate::api::{AudioProfile, Event, SeatWish, SourceKind};
use crate::downlink::VOICES_AT_ONCE;
use crate::keys::{PeerKey, SourceKey};
use crate::red::REDUNDANCY_MAX;
use crate::sdp::{CodecName, MediaKind};
use crate::sfu::Sfu;
use crate::slot::Slot;
use crate::source::{Encoding, Layer, Source};
use crate::time::Time;
use crate::timers::Timer;

/// How often it is divided anew while nothing presses.
const INTERVAL: Duration = Duration::from_millis(200);
/// So much more than at the last division is news.
const MORE_TIMES: f64 = 1.2;
/// By how much what is sent may go over the estimate before it is too much: encoders do not keep to the bit.
const OVER_SHARE: f64 = 1.06;
/// Kept free of what is added, for the same reason.
const ADD_SHARE: f64 = 0.93;
/// By how much more than is seen to arrive may be added without a probe.
const UNPROVEN_SHARE: f64 = 1.15;
/// What has waited for the pacer as long as this is of the past: pictures begin anew.
const WAITED_MAX: Duration = Duration::from_millis(800);
/// So much more is sent than the line carries that what is shown ends at once, and its smaller picture is waited for.
const PRESSED_TIMES: u64 = 2;
/// What is asked of probes beyond what is wanted.
const WANTED_SHARE: f64 = 1.15;
/// How often somebody who wants more than they are allowed looks whether there is more.
const PROBE_LOOK: Duration = Duration::from_millis(1_000);
/// An encoding that was never seen takes so many times as much as the one below it.
const UNSEEN_TIMES: u64 = 3;
const UNSEEN_BPS: u64 = 150_000;
/// Loss from which a voice has a frame, and two frames, sent along with each.
const REDUNDANCY_LOSS: [f64; 2] = [0.02, 0.08];
/// Loss at which redundancy ends again.
const REDUNDANCY_END: f64 = 0.01;
/// A line that carries less is poor: a voice is asked to be thrifty, until the line carries the other.
const THRIFTY_BPS: u64 = 100_000;
const FULL_BPS: u64 = 160_000;
/// What a full voice takes, and what a line carries of several, each, until those that were asked to be thrifty are full again.
const FULL_VOICE_BPS: u64 = 60_000;
const FULL_AGAIN_BPS: u64 = 96_000;
/// How long a line has to be too poor for a thrifty voice until the least of one is asked for; how long that is kept up, as sooner
/// it would only be as poor again; and what a line carries on which it is not.
const LEAST_AFTER: Duration = Duration::from_millis(1_500);
const LEAST_FOR: Duration = Duration::from_secs(60);
const NOT_LEAST_BPS: u64 = 50_000;

impl Sfu {
    /// Divides a subscriber's line anew, if it is time or if too much is sent.
    pub(crate) fn reallocate(&mut self, key: PeerKey, now: Time) {
        let Some(control) = self.peers.get(key).and_then(|peer| peer.tx.control.as_ref()) else { return };
        let estimate = control.estimate_bps();
        let over = control.allocation.allocated_bps as f64 > estimate as f64 * OVER_SHARE;
        let more = estimate as f64 > control.allocation.estimate_bps as f64 * MORE_TIMES;
        if over || more || now.since(control.allocation.at) >= INTERVAL {
            self.allocate(key, now);
        }
    }

    /// Divides a subscriber's line among what it is shown.
    pub(crate) fn allocate(&mut self, key: PeerKey, now: Time) {
        let mut claims = std::mem::take(&mut self.scratch.claims);
        claims.clear();
        let voices = self.claim(key, &mut claims);
        self.settle(key, voices, &mut claims, now);
        self.scratch.claims = claims;
    }

    /// What a subscriber's slots may be sent. Gives what voices take.
    fn claim(&mut self, key: PeerKey, claims: &mut Vec<Claim>) -> Voices {
        let Self { peers, sources, rooms, .. } = self;
        let Some(peer) = peers.get_mut(key) else { return Voices::default() };
        let speaker = rooms.get(peer.room).and_then(|room| room.speakers.active());
        let mut voices = Voices::default();
        for (slot, at) in peer.slots.iter_mut().zip(0_u16..) {
            let Some(source) = slot.bound.and_then(|source| sources.get(source)) else { continue };
            if source.media == MediaKind::Audio {
                slot.target = source.best_flowing(Some(Layer::default()));
                voices.bps += slot.target.and_then(|_| source.encodings[0].total_bps()).unwrap_or(0);
                voices.count += u64::from(slot.target.is_some());
                voices.thrifty |= source.profile != AudioProfile::Full;
                voices.least |= source.profile == AudioProfile::Least;
                continue;
            }
            // Nobody's line is tried for what nobody sends.
            let Some(top) = best_wished(source, slot, peer.tx.extensions.dependency.is_some()) else {
                claims.push(Claim { slot: at, ..Claim::default() });
                continue;
            };
            let foremost = source.kind == SourceKind::Screen || speaker == Some(source.owner);
            let least = if foremost { SeatWish::PRIORITY_FOREMOST } else { 0 };
            let rank = slot.wish.priority.max(least);
            claims.push(Claim { slot: at, rank, ladder: ladder(source, top), ..Claim::default() });
        }
        voices
    }

    fn settle(&mut self, key: PeerKey, audio: Voices, claims: &mut [Claim], now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut shape = 0_u64;
        for claim in claims.iter_mut() {
            let slot = &peer.slots[claim.slot as usize];
            claim.is = slot.target.and_then(|layer| claim.ladder.place(layer, slot.temporal()));
            claim.landing = slot.landing(now);
            let rungs = claim.ladder.rungs().len() as u64;
            shape = shape.wrapping_mul(0x1_0001).wrapping_add(rungs << 32 | u64::from(claim.rank) << 16)
                ^ u64::from(claim.slot);
        }
        let Some(control) = &mut peer.tx.control else {
            divide(claims, &Budget::UNLIMITED, true);
            return self.apply(key, claims, false, now);
        };
        let estimate = control.estimate_bps();
        let is_stale = control.pacer.waited(now) > WAITED_MAX;
        let pressed = is_stale || control.allocation.allocated_bps > PRESSED_TIMES * estimate;
        if pressed {
            control.drain(now);
            peer.slots.iter_mut().for_each(Slot::begin_anew);
        }
        let is_congested = control.is_congested(now);
        // What takes the least there is does not take it twice.
        let loss = if is_congested || audio.least { 0.0 } else { control.loss_share() };
        let is_past = control.allocation.repairs_before(now);
        let repairs = if is_past { 0 } else { control.retransmitted_bps(now).min(estimate / 4) };
        let smallest =
            claims.iter().filter_map(|claim| claim.ladder.rungs().first()).map(|rung| rung.bps).min();
        let picture = smallest.map_or(0, |bps| bps + repairs);
        let redundancy = redundancy(control.redundancy, loss, audio.bps, picture, control.carried_bps(now));
        let voices = with_redundancy(audio.bps, redundancy);
        let proven = (control.proven_bps() as f64 * UNPROVEN_SHARE).min(estimate as f64) * ADD_SHARE;
        let borne = control.borne_bps();
        let too_much = control.allocation.too_much_bps(borne, now);
        let budget = Budget {
            waits: control.allocation.waits(borne, now),
            all_bps: estimate.saturating_sub(voices + repairs),
            kept_bps: ((estimate as f64 * OVER_SHARE) as u64).saturating_sub(voices + repairs),
            proven_bps: (proven as u64).min(too_much).saturating_sub(voices + repairs),
        };
        let afresh = std::mem::replace(&mut control.allocation.shape, shape) != shape;
        let is_too_much = divide(claims, &budget, afresh) && !afresh;
        one_at_a_time(claims, control.allocation.may_raise(now));
        let wanted: u64 = claims.iter().map(|claim| claim.ladder.most_bps()).sum();
        let wanted = wanted + with_redundancy(audio.bps, REDUNDANCY_MAX as u8);
        // What a thrifty voice takes does not show that the line would carry the other: that is to be tried.
        let full = FULL_BPS.max(audio.count.min(VOICES_AT_ONCE) * FULL_AGAIN_BPS);
        let tried = if audio.thrifty { wanted.max(full) } else { wanted };
        let tried = tried.max(control.allocation.sought_bps);
        let [wanted, tried] = [wanted, tried].map(|bps| (bps as f64 * WANTED_SHARE) as u64);
        control.want(tried);
        let given: u64 = claims.iter().filter_map(Claim::target).map(|rung| rung.bps).sum();
        let allocation = &mut control.allocation;
        if is_too_much && claims.iter().any(Claim::is_lowered) {
            allocation.lowered(is_congested, now);
        } else if claims.iter().any(|claim| claim.to_be > claim.is) {
            (allocation.raised_at, allocation.raised_bps) = (Some(now), given + voices);
        }
        allocation.at = now;
        allocation.estimate_bps = estimate;
        (allocation.allocated_bps, allocation.repairs_bps) = (given + voices + repairs, repairs);
        allocation.wanted_bps = wanted;
        (allocation.voices, allocation.voices_bps) = (audio.count, voices);
        allocation.least = audio.least;
        control.redundancy = redundancy;
        control.follow_window();
        if estimate < tried && peer.timers.get(Timer::Probe).is_none() && peer.is_open() {
            peer.timers.set(Timer::Probe, Some(now + PROBE_LOOK));
            self.timers.schedule(key, &mut peer.timers);
        }
        self.apply(key, claims, pressed, now);
        if pressed {
            self.pace_later(key, now);
        }
    }

    /// Has every slot go for what it was given.
    fn apply(&mut self, key: PeerKey, claims: &[Claim], pressed: bool, now: Time) {
        for claim in claims {
            let Some(peer) = self.peers.get_mut(key) else { return };
            let slot = &mut peer.slots[claim.slot as usize];
            let Some(bound) = slot.bound else { continue };
            let before = (slot.target, slot.temporal(), slot.aspired);
            let top = claim.ladder.rungs().last().map(|rung| rung.layer);
            slot.aspire(claim.aspired.map(|rung| rung.layer), top, now);
            match claim.target() {
                Some(rung) => {
                    let lower = slot.target.is_some_and(|target| rung.layer < target);
                    if let Some(between) = claim.aspired.filter(|aspired| aspired.layer > rung.layer)
                        && claim.is_lowered()
                    {
                        slot.lands(between.layer, now);
                    }
                    // Until the smaller picture's keyframe is there the large one goes on, if the line bears the least
                    // of it.
                    let thin = lower || slot.shows(bound).is_some_and(|shown| shown > rung.layer);
                    slot.go_for(rung.layer, rung.temporal, thin);
                }
                None => slot.hold_back(),
            }
            let is_news = (slot.target, slot.temporal(), slot.aspired) != before || pressed;
            // The keyframe that was asked for may have come apart, or behind what follows it, and been of no use here.
            let waits = slot.target.is_some_and(|target| {
                let source = self.sources.get(bound);
                source.is_some_and(|source| slot.waits_for(bound, source, target.encoding))
            });
            if is_news || waits {
                self.want_keyframes_of(bound, now);
            }
            if is_news {
                self.update_wanted(bound, now);
            }
        }
    }

    /// Divides the line of everybody who shows a source.
    pub(crate) fn allocate_subscribers(&mut self, key: SourceKey, now: Time) {
        let subscribers = self.sources.get(key).map_or(0, |source| source.subscribers.len());
        for at in 0..subscribers {
            let Some(subscriber) = self.sources.get(key).and_then(|source| source.subscribers.get(at)) else {
                return;
            };
            let peer = subscriber.peer;
            self.allocate(peer, now);
        }
        self.want_keyframes_of(key, now);
    }

    // What publishers need not send

    /// Tells a publisher which sizes anybody is to be shown, by the encodings they stand for, if that has changed.
    pub(crate) fn update_wanted(&mut self, key: SourceKey, now: Time) {
        let Some(source) = self.sources.get(key).filter(|source| source.encodings.len() > 1) else { return };
        // The lowest is what everybody falls back on.
        let mut wanted = 1_u8;
        for subscriber in &source.subscribers {
            let Some(peer) = self.peers.get(subscriber.peer).filter(|peer| peer.is_open()) else { continue };
            let slot = &peer.slots[subscriber.slot as usize];
            wanted |= slot.needs(key).fold(0, |mask, layer| mask | source.sizes_for(layer));
        }
        let (owner, may_pause_at) = (source.owner, source.may_pause_at());
        let Some(source) = self.sources.get_mut(key) else { return };
        if may_pause_at.is_none_or(|at| now < at) {
            if let Some((at, peer)) = may_pause_at.zip(self.peers.get_mut(owner))
                && source.wanted & !wanted != 0
            {
                peer.timers.set_sooner(Timer::Pause, at);
                self.timers.schedule(owner, &mut peer.timers);
            }
            wanted |= source.wanted;
        }
        if source.wanted == wanted {
            return;
        }
        if wanted & !source.wanted != 0 {
            source.encodings.iter_mut().for_each(Encoding::resume);
        }
        (source.wanted, source.wanted_at) = (wanted, Some(now));
        let rids = (0..).zip(&source.encodings).filter(|(at, _)| wanted & (1 << *at) != 0);
        let rids = rids.filter_map(|(_, encoding)| encoding.rid).collect();
        let kind = source.kind;
        if let Some(peer) = self.peers.get(owner) {
            let event = Event::EncodingsWanted { peer: peer.id, kind, rids };
            self.emit(event);
        }
    }

    /// Looks at a publisher's sources for what nobody is shown.
    pub(crate) fn review_wanted(&mut self, key: PeerKey, now: Time) {
        self.review(key, |sfu, source| sfu.update_wanted(source, now));
    }

    /// Looks whether a publisher's voice is to be thrifty, as all who hear it are on poor lines, or as it is too much for one of
    /// them together with the others' voices.
    pub(crate) fn review_voices(&mut self, key: PeerKey, now: Time) {
        self.review(key, |sfu, source| sfu.review_voice(source, now));
    }

    /// Looks at each source of a publisher.
    fn review(&mut self, key: PeerKey, look: impl Fn(&mut Self, SourceKey)) {
        for at in 0..self.peers.get(key).map_or(0, |peer| peer.uplink.sources.len()) {
            let Some(&source) = self.peers.get(key).and_then(|peer| peer.uplink.sources.get(at)) else {
                return;
            };
            look(self, source);
        }
    }

    fn review_voice(&mut self, key: SourceKey, now: Time) {
        let Some(source) = self.sources.get(key).filter(|source| source.media == MediaKind::Audio) else {
            return;
        };
        let before = source.profile;
        let each_bps = if before == AudioProfile::Full { FULL_VOICE_BPS } else { FULL_AGAIN_BPS };
        let (mut carries, mut is_pressed, mut is_crowded) = (None, true, false);
        let listeners = source.subscribers.iter().filter_map(|subscriber| self.peers.get(subscriber.peer));
        for peer in listeners.filter(|peer| peer.is_open()) {
            let control = peer.tx.control.as_ref();
            carries = carries.max(Some(control.map_or(u64::MAX, |control| control.estimate_bps())));
            is_pressed &= control.is_some_and(|control| control.hardly_carries_voice(now));
            is_crowded |= control.is_some_and(|control| control.is_crowded(each_bps));
        }
        let carries = carries.unwrap_or(u64::MAX);
        let pressed = match (is_pressed, source.pressed) {
            // Of a voice that is full nothing is known yet of a thrifty one.
            _ if before == AudioProfile::Full => None,
            (true, known) => Some((known.map_or(now, |(since, _)| since), now)),
            (false, known) => known.filter(|_| before == AudioProfile::Least),
        };
        let is_least = carries < NOT_LEAST_BPS
            && pressed.is_some_and(|(since, last)| match before {
                AudioProfile::Least => now.since(last) < LEAST_FOR,
                _ => now.since(since) >= LEAST_AFTER,
            });
        let profile = match before {
            _ if is_least => AudioProfile::Least,
            _ if is_crowded => AudioProfile::Thrifty,
            AudioProfile::Full if carries >= THRIFTY_BPS => AudioProfile::Full,
            _ if carries >= FULL_BPS => AudioProfile::Full,
            _ => AudioProfile::Thrifty,
        };
        let Some(source) = self.sources.get_mut(key) else { return };
        (source.profile, source.pressed) = (profile, pressed);
        if profile == before {
            return;
        }
        if profile == AudioProfile::Least {
            let Self { peers, sources, .. } = self;
            for subscriber in sources.get(key).iter().flat_map(|source| &source.subscribers) {
                if let Some(control) =
                    peers.get_mut(subscriber.peer).and_then(|peer| peer.tx.control.as_mut())
                {
                    control.forget_loss();
                }
            }
        }
        let owner = self.sources.get(key).and_then(|source| self.peers.get(source.owner));
        if let Some(peer) = owner {
            let event = Event::AudioWanted { peer: peer.id, profile };
            self.emit(event);
        }
    }
}

/// What a subscriber's voices take.
#[derive(Clone, Copy, Default)]
struct Voices {
    bps: u64,
    count: u64,
    /// One of them at least was asked to take little.
    thrifty: bool,
    /// Or the least there is.
    least: bool,
}

/// The best layer of a source that a slot's viewer wishes for, decodes and can be told the layers of. Nobody's line is tried
/// for what nobody sends.
fn best_wished(source: &Source, slot: &Slot, has_dependency: bool) -> Option<Layer> {
    let top = source.highest_within(slot.wish.max_height).filter(|_| source.flowing)?;
    let codec = |layer: Layer| source.encodings[layer.encoding as usize].reader.codec();
    let mut flowing = source.layers().filter(|layer| source.layer(*layer).flowing);
    if flowing.any(|layer| slot.parameters.formats.get(codec(layer)).is_none()) {
        return None;
    }
    // Without its descriptor nobody can tell AV1's spatial layers apart; temporal ones need not be.
    let is_flat = codec(top) == CodecName::Av1 && !has_dependency;
    Some(if is_flat { Layer { spatial: 0, ..top } } else { top })
}

/// The rungs of a source up to the layer `top`.
fn ladder(source: &Source, top: Layer) -> Ladder {
    let mut ladder = Ladder::default();
    let still = source.kind == SourceKind::Screen;
    let mut below = UNSEEN_BPS / UNSEEN_TIMES;
    // Where nothing up to it flows what flows above it will do: somebody sends one encoding only.
    let flows = |layer: &Layer| source.layer(*layer).flowing;
    let top = match source.layers().take_while(|layer| *layer <= top).any(|layer| flows(&layer)) {
        true => top,
        false => source.best_flowing(Some(top)).unwrap_or(top),
    };
    // What the layers below of the same encoding take, where they go along.
    let mut along = [0; 3];
    for layer in source.layers().take_while(|layer| *layer <= top) {
        let meter = &source.layer(layer).meter;
        let all = meter.total_bps().unwrap_or(below * UNSEEN_TIMES);
        let highest = meter.highest();
        let upto = |temporal| meter.bps(temporal).unwrap_or(all);
        if layer.spatial == 0 || source.encodings[layer.encoding as usize].reader.is_independent {
            along = [0; 3];
        }
        let bps = [upto(0) + along[0], upto(highest.saturating_sub(1)) + along[1], all + along[2]];
        ladder.add(&Offered { layer, bps, highest, flows: flows(&layer), still });
        along = bps;
        below = all;
    }
    ladder
}

/// What voices take with so many earlier frames along: headers are there once.
const fn with_redundancy(audio_bps: u64, distance: u8) -> u64 {
    audio_bps + audio_bps * distance as u64 * 2 / 3
}

/// Earlier frames that go along with a voice: the more is lost, as far as there is room for them. The second one gives way to
/// the smallest picture.
fn redundancy(before: u8, loss_share: f64, audio_bps: u64, picture_bps: u64, carried_bps: u64) -> u8 {
    let [one, two] = REDUNDANCY_LOSS;
    let wanted = match before {
        _ if loss_share >= two => 2,
        0 if loss_share < one => 0,
        _ if loss_share < REDUNDANCY_END => 0,
        // It ends where hardly anything is lost any more, not between two looks.
        before => before.max(1),
    };
    let fits = |distance: u8, beside_bps: u64| {
        (with_redundancy(audio_bps, distance) + beside_bps) as f64 <= carried_bps as f64 * ADD_SHARE
    };
    match (0..=wanted).rev().find(|distance| fits(*distance, 0)).unwrap_or(0) {
        2 if !fits(2, picture_bps) && fits(1, picture_bps) => 1,
        most => most,
    }
}

#[cfg(test)]
mod tests {
    use super::redundancy;

    #[test]
    fn a_second_frame_along_with_a_voice_gives_way_to_the_smallest_picture() {
        let of = |estimate_bps| redundancy(1, 0.2, 50_000, 100_000, estimate_bps);
        assert_eq!(of(400_000), 2, "there is room for all");
        assert_eq!(of(230_000), 1, "the picture has the room of the second frame");
        assert_eq!(of(150_000), 2, "there is none for a picture");
        assert_eq!(of(100_000), 1, "nor for two frames");
        assert_eq!(redundancy(0, 0.2, 50_000, 0, 150_000), 2, "nobody is to be shown any");
    }
}
