//! What each line is used for: what is seen of it goes to its [`Ladder`], and what that decides is done. Nothing here
//! decides: that is the domain's.

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, BandwidthProfile, Command, Ladder, LineLook, LineTest, ParticipantId, Rejection, SessionStatus,
    Step, Tier, TierReason,
};

use super::outcome::Then;
use super::{LiveSession, Output, RETRY_AFTER};
use crate::media::{LineSeen, MediaCommand, PeerId, QUIET_AFTER, SeatId, SeatWish, kbps};
use crate::member::Member;
use crate::wire::{ErrorCode, RequestId, ServerMessage};

/// What is probed for beyond what a picture needs: bursts are sent where the line is thought to carry most of it.
const SOUGHT_PERCENT: u64 = 120;

impl LiveSession {
    pub(super) fn tier_of(&self, participant: ParticipantId) -> BandwidthProfile {
        self.tiers.get(&participant).map_or(BandwidthProfile::Video, |ladder| ladder.tier().profile)
    }

    /// Why somebody's line is not used for all; none where it is.
    pub(super) fn tier_reason_of(&self, participant: ParticipantId) -> Option<TierReason> {
        let tier = self.tiers.get(&participant)?.tier();
        (tier.profile != BandwidthProfile::Video).then_some(tier.reason)
    }

    fn is_in_writing(&self, participant: ParticipantId) -> bool {
        self.tier_of(participant) == BandwidthProfile::AsyncText
    }

    /// What somebody sends that only the server is to look at.
    pub(super) fn rehearses(&self, participant: ParticipantId) -> Option<BandwidthProfile> {
        self.tiers.get(&participant)?.rehearses()
    }

    /// The ladder of somebody who is in a visit that has begun.
    fn ladder(&mut self, participant: ParticipantId, now: Timestamp) -> Option<&mut Ladder> {
        if self.session.status() != SessionStatus::Active || !self.is_in(participant) {
            return None;
        }
        let (thresholds, communication) = (self.session.policy().fallback, self.session.communication());
        Some(self.tiers.entry(participant).or_insert_with(|| Ladder::new(thresholds, communication, now)))
    }

    /// The ladder that wants to know first that time has passed, and when. Of those whose line does not count now nothing is
    /// due: it could not be done.
    fn next_ladder(&self) -> Option<(Timestamp, ParticipantId)> {
        if self.session.status() != SessionStatus::Active {
            return None;
        }
        let due = self.tiers.iter().filter_map(|(&who, ladder)| Some((ladder.poll_timeout()?, who)));
        due.filter(|(_, who)| self.is_in(*who)).min()
    }

    pub(super) fn ladders_due_at(&self) -> Option<Timestamp> {
        self.next_ladder().map(|(due, _)| due)
    }

    pub(super) fn ladder_timeout(&mut self, now: Timestamp) -> bool {
        let due = self.next_ladder().filter(|(due, _)| *due <= now);
        let Some((_, participant)) = due else { return false };
        self.climbs(now, participant, |ladder| ladder.timeout(now));
        true
    }
}

// --- what is seen and asked --------------------------------------------------------------------------------------

impl LiveSession {
    /// True if something followed from it.
    pub(super) fn line_seen(&mut self, now: Timestamp, peer: PeerId, seen: &LineSeen) -> bool {
        let Some(participant) = self.whose_line(peer) else { return false };
        let Some(index) = self.index_of_peer(peer).filter(|&index| !self.members[index].quiet) else {
            // What is sent to who is not heard shows nothing of their line.
            return false;
        };
        let look = LineLook {
            downlink_kbps: seen.downlink_bps.map(kbps),
            uplink_kbps: seen.uplink_bps.map(kbps),
            downlink_loss_permille: seen.downlink_loss.map_or(0, permille),
            uplink_loss_permille: permille(seen.uplink_loss),
            rtt_ms: seen.rtt.map(|rtt| u32::try_from(rtt.as_millis()).unwrap_or(u32::MAX)),
            camera_kbps: seen.camera_bps.map(kbps).or_else(|| self.members[index].has_camera().then_some(0)),
        };
        self.climbs(now, participant, |ladder| ladder.looked(now, &look))
    }

    pub(super) fn line_tested(&mut self, now: Timestamp, peer: PeerId, lost: Option<f32>) {
        let Some(participant) = self.whose_line(peer) else { return };
        let test = LineTest { lost_permille: lost.map(permille) };
        self.climbs(now, participant, |ladder| ladder.tested(now, &test));
    }

    /// A transport could not be made, or made again.
    pub(super) fn reconnect_failed(&mut self, now: Timestamp, peer: PeerId) {
        let Some(participant) = self.whose_line(peer) else { return };
        self.climbs(now, participant, |ladder| ladder.reconnect_failed(now));
    }

    /// Of those who are in: since when nothing is heard of their media. Who hung up is not silent but gone, and of who never
    /// had a transport nothing is to be heard.
    pub(super) fn settle_silence(&mut self, now: Timestamp) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let had = member.was_connected && !(member.hung_up && member.connection.is_none());
            let is_silent = had && (member.quiet || !member.transport);
            let quiet = SignedDuration::try_from(QUIET_AFTER).unwrap_or(SignedDuration::MAX);
            let since = if member.quiet { now.checked_sub(quiet).unwrap_or(now) } else { now };
            let silent_since = is_silent.then(|| member.silent_since.unwrap_or(since));
            member.silent_since = silent_since;
            let (participant, is_newcomer) = (member.participant, member.is_newcomer());
            let known = self.tiers.get(&participant).is_some_and(Ladder::is_silent);
            if known != silent_since.is_some() && !is_newcomer {
                self.climbs(now, participant, |ladder| ladder.heard(now, silent_since));
            }
        }
    }

    /// Of those who are in: whether they come through over HTTPS alone.
    pub(super) fn settle_https(&mut self, now: Timestamp) {
        let people = self.session.participants().iter().map(|participant| participant.id);
        let others: Vec<(ParticipantId, bool)> = people
            .map(|id| (id, self.asking.is_alone(id)))
            .filter(|(id, is)| self.tiers.get(id).is_some_and(Ladder::is_on_https) != *is)
            .collect();
        for (participant, is) in others {
            self.climbs(now, participant, |ladder| ladder.on_https(now, is));
        }
    }

    /// Somebody is in on another device: its line is another, and what they chose stays.
    pub(super) fn begin_line_anew(&mut self, now: Timestamp, participant: ParticipantId) {
        let Some(before) = self.tiers.get(&participant).map(Ladder::tier) else { return };
        self.climbs(now, participant, |ladder| ladder.moved(now));
        // Where nothing changed the other device knows nothing of it yet.
        if self.tiers.get(&participant).map(Ladder::tier) == Some(before) {
            self.tell_tier(participant, before);
        }
    }

    /// What somebody wants of their line. Asked for anew it is tried anew.
    pub(super) fn choose_tier(
        &mut self,
        now: Timestamp,
        index: usize,
        request: Option<RequestId>,
        want: BandwidthProfile,
    ) {
        let Member { id, participant, .. } = self.members[index];
        if !self.is_inside(&self.members[index]) {
            return self.refuse_waiting(id, request);
        }
        if self.session.status() != SessionStatus::Active {
            if want == BandwidthProfile::Video {
                return self.done(id, request);
            }
            let rejection = Rejection::NotActive;
            return self.refuse(id, request, ErrorCode::Rejected(rejection.code()), rejection.to_string());
        }
        self.climbs(now, participant, |ladder| ladder.choose(now, want));
        self.done(id, request);
    }

    fn whose_line(&self, peer: PeerId) -> Option<ParticipantId> {
        let member = &self.members[self.index_of_peer(peer)?];
        self.is_inside(member).then_some(member.participant)
    }
}

// --- what follows ------------------------------------------------------------------------------------------------

impl LiveSession {
    /// Something happens to somebody's ladder, and what it decides is done. True if it decided anything.
    fn climbs(&mut self, now: Timestamp, participant: ParticipantId, what: impl FnOnce(&mut Ladder)) -> bool {
        let Some(ladder) = self.ladder(participant, now) else { return false };
        let asks = |ladder: &Ladder| (ladder.rehearses(), ladder.hardly_carries_voice());
        let before = asks(ladder);
        what(ladder);
        let mut decided = asks(ladder) != before;
        while let Some(step) = self.tiers.get_mut(&participant).and_then(Ladder::poll_step) {
            decided = true;
            self.take_step(participant, step);
        }
        decided
    }

    fn take_step(&mut self, participant: ParticipantId, step: Step) {
        match step {
            Step::Changed(tier) => {
                self.changed_last = Some((participant, tier.reason));
                self.timelines.entry(participant).or_default().note_tier(tier);
                self.outputs.push_back(Output::TierChanged(participant, tier));
                self.tell_tier(participant, tier);
            }
            Step::TestLine { kbps } => {
                // Without a transport nothing comes of it, and the ladder takes that for an answer.
                let first = self.index_of_first(participant);
                if let Some(index) = first.filter(|&index| self.members[index].transport) {
                    let peer = self.members[index].peer;
                    self.settle_gates();
                    self.media(MediaCommand::TestLine { peer, bps: u64::from(kbps) * 1_000 });
                }
            }
        }
    }

    fn tell_tier(&mut self, participant: ParticipantId, Tier { profile, reason, since }: Tier) {
        if let Some(index) = self.index_of_first(participant) {
            let id = self.members[index].id;
            self.tell(id, ServerMessage::Tier { profile, reason, since });
        }
    }

    /// Tells a device what it is to send that nobody is shown; of a fresh page nothing is, until it is told.
    pub(super) fn tell_rehearsal(&mut self, index: usize) {
        let member = &self.members[index];
        let profile = self.rehearses(member.participant).filter(|_| self.is_inside(member));
        let member = &mut self.members[index];
        if member.connection.is_some() && std::mem::replace(&mut member.told.rehearses, profile) != profile {
            let id = member.id;
            self.tell(id, ServerMessage::Rehearse { profile });
        }
    }

    /// A visit in which somebody goes on in writing is on record as one, and one in which nobody does is not.
    pub(super) fn settle_fallback(&mut self, now: Timestamp) {
        let is_active = self.session.status() == SessionStatus::Active && self.pending.is_none();
        if !is_active || self.fallback_rests_until.is_some_and(|until| now < until) {
            return;
        }
        let command = match (self.writer(), self.session.fallback_since()) {
            (Some(participant), None) => Command::InitiateFallback { participant },
            (None, Some(_)) => {
                let Some(participant) = self.who_came_back() else { return };
                Command::EndFallback { participant }
            }
            _ => return self.fallback_rests_until = None,
        };
        // Who chose it themselves, did it.
        let chosen =
            self.changed_last.filter(|(_, reason)| *reason == TierReason::Chosen).map(|(who, _)| who);
        let actor = match (&command, chosen) {
            (Command::InitiateFallback { participant } | Command::EndFallback { participant }, Some(who))
                if who == *participant =>
            {
                Actor::Participant(who)
            }
            _ => Actor::System,
        };
        // If it cannot be written, it is a moment later.
        self.fallback_rests_until = Some(now.checked_add(RETRY_AFTER).unwrap_or(Timestamp::MAX));
        self.decide(now, command, actor, Then::Nothing);
    }

    /// Somebody who goes on in writing.
    fn writer(&self) -> Option<ParticipantId> {
        let mut people = self.session.participants().iter().map(|participant| participant.id);
        people.find(|&who| self.is_in_writing(who) && self.is_in(who))
    }

    /// Somebody who is in, and not in writing. After a restart nobody knows who was: who has not returned may be still, and of
    /// who has they are first to be heard.
    fn who_came_back(&self) -> Option<ParticipantId> {
        let people = self.session.participants().iter().map(|participant| participant.id);
        let inside: Vec<_> = people.filter(|&who| self.is_in(who)).collect();
        let is_known = |who| self.tiers.contains_key(who) || self.index_of_first(*who).is_some();
        if !inside.iter().all(is_known) {
            return None;
        }
        let back = self.changed_last.map(|(participant, _)| participant).filter(|who| inside.contains(who));
        back.or_else(|| {
            let all_are_heard = self.members_inside().all(|member| member.transport && !member.quiet);
            self.members_inside().next().filter(|_| all_are_heard).map(|member| member.participant)
        })
    }

    /// When what could not be written is tried again.
    pub(super) fn fallback_due_at(&self) -> Option<Timestamp> {
        let until = self.fallback_rests_until.filter(|_| self.session.status() == SessionStatus::Active)?;
        let writes = self.writer().is_some();
        let differs = writes != self.session.fallback_since().is_some();
        (differs && (writes || self.who_came_back().is_some())).then_some(until)
    }

    /// How a seat is wanted, in view of both lines: where one of them is not used for pictures, none.
    pub(super) fn wish_for(
        &self,
        viewer: &Member,
        seat: SeatId,
        occupant: Option<ParticipantId>,
    ) -> SeatWish {
        let asked = viewer.wishes.get(&seat).copied().unwrap_or_default();
        let carries = |participant| self.tier_of(participant) == BandwidthProfile::Video;
        if carries(viewer.participant) && occupant.is_none_or(carries) {
            asked
        } else {
            SeatWish { max_height: Some(0), ..asked }
        }
    }

    /// Has the engine look whether a line carries a picture that it is not sent.
    pub(super) fn settle_sought(&mut self, index: usize) {
        let member = &self.members[index];
        let is_sought = self.is_inside(member)
            && member.transport
            && self.tier_of(member.participant) == BandwidthProfile::AudioOnly
            && self.tiers.get(&member.participant).is_some_and(|it| it.chosen() == BandwidthProfile::Video);
        let kbps = u64::from(self.session.policy().fallback.video_resume_kbps);
        let bps = if is_sought { kbps * 10 * SOUGHT_PERCENT } else { 0 };
        let member = &mut self.members[index];
        if std::mem::replace(&mut member.sought_bps, bps) != bps {
            let peer = member.peer;
            self.media(MediaCommand::SeekRate { peer, bps });
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1000")]
fn permille(share: f32) -> u16 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as u16
}
