//! Who is heard from. A socket that closes loses nobody: while a device is heard from on another channel, it is there.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{BandwidthProfile, Connection, ParticipantId};

use super::LiveSession;
use crate::member::{ConnectionId, Member};

impl LiveSession {
    pub(super) fn closed(&mut self, connection: ConnectionId, hung_up: bool) {
        if let Some(index) = self.index_of(connection) {
            self.members[index].connection = None;
            self.members[index].hung_up = hung_up;
        }
    }

    /// Whether a device is heard from. Who waits has no media: only their socket counts.
    pub(super) fn has_contact(&self, member: &Member) -> bool {
        member.connection.is_some() || (self.is_inside(member) && member.transport && !member.quiet)
    }

    /// Notes since when which device is not heard from, and whom of the participants that makes lost.
    pub(super) fn settle_contact(&mut self, now: Timestamp) {
        for index in 0..self.members.len() {
            let contact = self.has_contact(&self.members[index]);
            let member = &mut self.members[index];
            member.lost_since = if contact { None } else { member.lost_since.or(Some(now)) };
        }
        self.settle_asking(now);
        self.settle_https(now);
        let reached = self.members.iter().filter(|member| self.keeps_reached(member));
        let mut reached: BTreeSet<ParticipantId> = reached.map(|member| member.participant).collect();
        let asks = self.session.participants().iter().map(|participant| participant.id);
        reached.extend(asks.filter(|&id| self.asking.is_there(id) && self.is_in(id)));
        let known: Vec<ParticipantId> =
            self.session.participants().iter().map(|participant| participant.id).collect();
        for participant in known {
            self.settle_presence(participant, reached.contains(&participant), now);
        }
    }

    /// Of somebody who has just come: what is decided next is decided in view of them.
    pub(super) fn settle_contact_of(&mut self, participant: ParticipantId) {
        let mut theirs = self.members.iter().filter(|member| member.participant == participant);
        if theirs.any(|member| self.keeps_reached(member)) {
            self.presence.set(participant, Connection::Connected);
        }
    }

    fn settle_presence(&mut self, participant: ParticipantId, reached: bool, now: Timestamp) {
        let connection = self.presence.get(participant);
        if reached {
            self.presence.set(participant, Connection::Connected);
        } else if connection == Connection::Connected {
            // Not since their first device was lost: a newcomer may have been there until now.
            let by_design = self.is_away_by_design(participant);
            let lost =
                if by_design { Connection::Offline { since: now } } else { Connection::Lost { since: now } };
            self.presence.set(participant, lost);
        } else if let Connection::Lost { since } = connection
            && self.tier_of(participant) == BandwidthProfile::AsyncText
        {
            // Their line was found to carry nothing only after they were lost.
            self.presence.set(participant, Connection::Offline { since });
        }
    }

    /// Whether a device is heard from in its participant's stead. A newcomer keeps a visit open whose first device is lost;
    /// it stands for no provider, though: who is not let in yet lets nobody in.
    fn keeps_reached(&self, member: &Member) -> bool {
        (!member.is_newcomer() || !member.is_provider()) && self.has_contact(member)
    }

    /// When a device that is not heard from is forgotten, with what was kept for it. Its secret stays good.
    pub(super) fn forgotten_at(&self, member: &Member) -> Option<Timestamp> {
        let since = member.lost_since?;
        let policy = self.session.policy();
        let grace = if self.is_away_by_design(member.participant) {
            SignedDuration::from_mins(policy.text_grace_minutes.into())
        } else {
            SignedDuration::from_secs(policy.grace_reconnect_seconds.into())
        };
        Some(since.checked_add(grace).unwrap_or(Timestamp::MAX))
    }

    /// Whether somebody who is not heard from is reachable later: they are in writing, or said that they are writing.
    fn is_away_by_design(&self, participant: ParticipantId) -> bool {
        let composes = self.asking.is_composing(participant) && self.is_in(participant);
        composes || self.tier_of(participant) == BandwidthProfile::AsyncText
    }
}
