//! How good connections are, who speaks, and what of what people send is wanted: what the engine says of it, and telling
//! those of it who may know. It is told as it is now; to who is away, when they are back.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{BandwidthProfile, ParticipantId, Rejection, Tier};

use super::{LiveSession, Output};
use crate::media::{AudioProfile, PeerId, Quality, QualityStep, STEP, SourceKind};
use crate::member::{Member, Wanted};
use crate::wire::{
    ErrorCode, QualityCode, QualityReason, RequestId, ServerMessage, Stretch, TierChange, VideoKind,
};

/// Stretches kept of one participant; of more the oldest go.
pub(super) const STRETCHES_MAX: usize = 512;
/// Changes of a tier kept of one participant; of more the oldest go.
pub(super) const TIERS_MAX: usize = 256;
/// Removed peers whose last step may still come: a room holds no more. The engine tells none of who was hardly there, so of
/// more the oldest go.
pub(super) const DEPARTED_MAX: usize = 1_024;
/// Encodings of one source, and characters of a rid (RFC 8851), that are handed on.
const ENCODINGS_MAX: usize = 8;
/// A voice on a poor line, and on one that hardly carries it: bits per second, and milliseconds of a packet.
const THRIFTY: (u32, u8) = (16_000, 60);
const LEAST: (u32, u8) = (8_000, 120);
/// Steps that are further apart than their length by this much have a time between them in which nothing flowed.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// How somebody's connection was over a step, as it was kept in an earlier life of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierStep {
    /// Its end.
    pub until: Timestamp,
    /// Whose.
    pub participant: ParticipantId,
    /// The worst of it.
    pub quality: Quality,
}

/// How somebody's connection was: steps alike that follow one another are one stretch. And what it was used for.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    stretches: VecDeque<Stretch>,
    tiers: VecDeque<TierChange>,
}

impl Timeline {
    /// Those that end after a time, or all. The first of them may have been told before, and have grown.
    fn since(&self, since: Option<Timestamp>) -> Vec<Stretch> {
        let is_news = |stretch: &&Stretch| since.is_none_or(|since| stretch.until > since);
        self.stretches.iter().filter(is_news).copied().collect()
    }

    fn tiers_since(&self, since: Option<Timestamp>) -> Vec<TierChange> {
        let is_news = |change: &&TierChange| since.is_none_or(|since| change.since > since);
        self.tiers.iter().filter(is_news).copied().collect()
    }

    pub(super) fn note_tier(&mut self, Tier { profile, reason, since }: Tier) {
        self.tiers.push_back(TierChange { since, profile, reason });
        if self.tiers.len() > TIERS_MAX {
            self.tiers.pop_front();
        }
    }

    /// Takes in a step of the life that `began` then: before that nothing flowed, and to what ended before nothing is joined.
    fn push(&mut self, began: Timestamp, until: Timestamp, Quality { level, reason }: Quality) {
        let from = until.checked_sub(STEP).map_or(began, |from| from.max(began)).min(until);
        let code = |reason: Option<QualityReason>| reason.map(|reason| reason.code);
        if let Some(last) = self.stretches.back_mut()
            && last.until > began
            && last.level == level
            && code(last.reason) == code(reason)
            && from.duration_since(last.until) <= SLACK
        {
            last.until = until.max(last.until);
            last.reason = last.reason.zip(reason).map(|(last, new)| worse(last, new));
            return;
        }
        // After the clock was set back, or a step that came early, nothing overlaps.
        let from = self.stretches.back().map_or(from, |last| from.max(last.until).min(until));
        self.stretches.push_back(Stretch { from, until, level, reason });
        if self.stretches.len() > STRETCHES_MAX {
            self.stretches.pop_front();
        }
    }

    /// Puts what was before in front of what is known. Of more than are kept the oldest go.
    fn begin_with(&mut self, mut earlier: VecDeque<Stretch>) {
        earlier.append(&mut self.stretches);
        earlier.drain(..earlier.len().saturating_sub(STRETCHES_MAX));
        self.stretches = earlier;
    }
}

/// The worse of two values of one code.
fn worse(one: QualityReason, other: QualityReason) -> QualityReason {
    let value = if matches!(one.code, QualityCode::DownlinkRate | QualityCode::UplinkRate) {
        one.value.min(other.value)
    } else {
        one.value.max(other.value)
    };
    QualityReason { value, ..one }
}

// --- what the engine says ----------------------------------------------------------------------------------------

impl LiveSession {
    pub(super) fn encodings_wanted(&mut self, peer: PeerId, kind: SourceKind, mut rids: Vec<String>) {
        let Some(kind) = video_kind(kind) else { return };
        rids.truncate(ENCODINGS_MAX);
        if let Some(index) = self.index_of_peer(peer) {
            self.members[index].wanted.encodings.insert(kind, rids);
        }
    }

    pub(super) fn measured(&mut self, now: Timestamp, peer: PeerId, step: Box<QualityStep>) {
        let departed = self.departed.remove(&peer);
        let Some(participant) = departed.or_else(|| self.measured_as(self.index_of_peer(peer)?)) else {
            return;
        };
        self.timelines.entry(participant).or_default().push(self.began, now, step.quality);
        self.outputs.push_back(Output::Measured(participant, now, step));
    }

    /// Steps of this life were kept, too, before they were read: they are here already.
    pub(super) fn measured_earlier(&mut self, steps: &[EarlierStep]) {
        let mut earlier: BTreeMap<ParticipantId, Timeline> = BTreeMap::new();
        for &EarlierStep { until, participant, quality } in steps {
            if until <= self.began {
                earlier.entry(participant).or_default().push(Timestamp::MIN, until, quality);
            }
        }
        for (participant, Timeline { stretches, .. }) in earlier {
            self.timelines.entry(participant).or_default().begin_with(stretches);
        }
    }

    /// Whose connection a device's is. A newcomer's is nobody's yet.
    fn measured_as(&self, index: usize) -> Option<ParticipantId> {
        let member = &self.members[index];
        (!member.is_newcomer()).then_some(member.participant)
    }

    /// Remembers whose a peer was that is to be removed: the engine tells of the step this cuts short only then.
    pub(super) fn note_departed(&mut self, index: usize) {
        let Member { peer, transport, .. } = self.members[index];
        let Some(participant) = self.measured_as(index).filter(|_| transport) else { return };
        self.departed.insert(peer, participant);
        if self.departed.len() > DEPARTED_MAX {
            // Numbers only grow: the first is the oldest.
            self.departed.pop_first();
        }
    }
}

// --- what people ask ---------------------------------------------------------------------------------------------

impl LiveSession {
    /// How somebody's connection was, in the stretches that end after `since`. For providers.
    pub(super) fn timeline(
        &mut self,
        index: usize,
        request: Option<RequestId>,
        participant_id: ParticipantId,
        since: Option<Timestamp>,
    ) {
        let member = &self.members[index];
        let id = member.id;
        if !self.is_inside(member) {
            return self.refuse_waiting(id, request);
        }
        let rejection = if !member.is_provider() {
            Some(Rejection::NotPermitted)
        } else if self.session.participant(participant_id).is_none() {
            Some(Rejection::NoSuchParticipant(participant_id))
        } else {
            None
        };
        if let Some(rejection) = rejection {
            let code = ErrorCode::Rejected(rejection.code());
            return self.refuse(id, request, code, rejection.to_string());
        }
        let timeline = self.timelines.get(&participant_id);
        let stretches = timeline.map_or_else(Vec::new, |timeline| timeline.since(since));
        let tiers = timeline.map_or_else(Vec::new, |timeline| timeline.tiers_since(since));
        self.tell(id, ServerMessage::Timeline { participant_id, stretches, tiers, reply_to: request });
    }
}

// --- what people are told ----------------------------------------------------------------------------------------

impl LiveSession {
    /// Who spoke last, if they are in still.
    pub(super) fn speaker(&self) -> Option<ParticipantId> {
        let member = &self.members[self.index_of_peer(self.speaker?)?];
        self.is_inside(member).then_some(member.participant)
    }

    /// Of those who are in, and whose connection is not good.
    pub(super) fn qualities(&self) -> BTreeMap<ParticipantId, Quality> {
        let worse = self.members_inside().filter(|member| member.quality != Quality::default());
        worse.map(|member| (member.participant, member.quality)).collect()
    }

    pub(super) fn tell_speaker(&mut self, index: usize, speaker: Option<ParticipantId>) {
        let member = &mut self.members[index];
        if member.connection.is_some() && std::mem::replace(&mut member.told.speaker, speaker) != speaker {
            let id = member.id;
            self.tell(id, ServerMessage::Speaker { participant_id: speaker });
        }
    }

    /// Tells a publisher what is wanted. Of a line that carries no picture the voice takes as little as a voice can, too.
    pub(super) fn tell_wanted(&mut self, index: usize) {
        let member = &self.members[index];
        let ladder = self.tiers.get(&member.participant).filter(|_| self.is_inside(member));
        let carried = match ladder {
            Some(ladder) if ladder.hardly_carries_voice() => AudioProfile::Least,
            Some(ladder) if ladder.tier().profile != BandwidthProfile::Video => AudioProfile::Thrifty,
            _ => AudioProfile::Full,
        };
        let audio = member.wanted.audio.max(carried);
        let (told, asked) = (&member.told.wanted, &member.wanted);
        let is_told = told.audio == audio && told.encodings == asked.encodings && told.codecs == asked.codecs;
        if member.connection.is_none() || is_told {
            return;
        }
        let member = &mut self.members[index];
        let wanted = Wanted { audio, ..member.wanted.clone() };
        let before = std::mem::replace(&mut member.told.wanted, wanted.clone());
        let id = member.id;
        for (kind, active) in wanted.encodings {
            if before.encodings.get(&kind) != Some(&active) {
                self.tell(id, ServerMessage::Encodings { kind, active });
            }
        }
        for (kind, codec) in wanted.codecs {
            if before.codecs.get(&kind) != Some(&codec) {
                self.tell(id, ServerMessage::VideoCodec { kind, codec });
            }
        }
        if before.audio != wanted.audio {
            let (max_bitrate_bps, frame_ms) = match wanted.audio {
                AudioProfile::Full => (None, None),
                AudioProfile::Thrifty => (Some(THRIFTY.0), Some(THRIFTY.1)),
                AudioProfile::Least => (Some(LEAST.0), Some(LEAST.1)),
            };
            self.tell(id, ServerMessage::AudioEncoding { max_bitrate_bps, frame_ms });
        }
    }

    /// Tells somebody of their own connection; a provider who is in, also of those of all others who are. Of who is gone,
    /// nothing more is said.
    pub(super) fn tell_qualities(&mut self, index: usize, all: &BTreeMap<ParticipantId, Quality>) {
        let member = &self.members[index];
        // Most of the time there is nothing to say. Of who is not in, their own is not among them.
        let all_is_well =
            all.is_empty() && member.told.qualities.is_empty() && member.quality == Quality::default();
        if member.connection.is_none() || all_is_well {
            return;
        }
        let sees_all = member.is_provider() && self.is_inside(member);
        let mut now = if sees_all { all.clone() } else { BTreeMap::new() };
        if member.quality == Quality::default() {
            now.remove(&member.participant);
        } else {
            now.insert(member.participant, member.quality);
        }
        let (id, own) = (member.id, member.participant);
        let before = std::mem::replace(&mut self.members[index].told.qualities, now.clone());
        let seen = &self.members[index].told.participants;
        let better: Vec<ParticipantId> = before
            .keys()
            .copied()
            .filter(|about| !now.contains_key(about))
            .filter(|&about| about == own || seen.seen_by(own, true).any(|other| other.id == about))
            .collect();
        let worse = now.into_iter().filter(|(about, quality)| before.get(about) != Some(quality));
        let better = better.into_iter().map(|about| (about, Quality::default()));
        for (participant_id, Quality { level, reason }) in worse.chain(better) {
            self.tell(id, ServerMessage::Quality { participant_id, level, reason });
        }
    }
}

/// What of a source is seen, if it is.
pub(super) const fn video_kind(kind: SourceKind) -> Option<VideoKind> {
    match kind {
        SourceKind::Microphone => None,
        SourceKind::Camera => Some(VideoKind::Camera),
        SourceKind::Screen => Some(VideoKind::Screen),
    }
}
