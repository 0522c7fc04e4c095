//! Who is there of the two sides without whom there is no visit, the patient and the providers.
//!
//! Lost is not left: who lost the connection is waited for, who left, was denied or was removed is not.

use jiff::{SignedDuration, Timestamp};

use super::{Participant, SessionStatus, Standing, VirtualSession};
use crate::id::ParticipantId;
use crate::kind::ParticipantRole;
use crate::presence::{Connection, Presence};
use crate::time::{after, minutes, seconds};

/// Where one side of the visit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Somebody of it is connected.
    Here,
    /// Somebody of it is only lost or offline, and nobody connected. They are waited for `until` then, if the session is
    /// active.
    Lost { since: Timestamp, until: Timestamp },
    /// Nobody of it will come back by themselves. `since` is absent if nobody ever came.
    Gone { since: Option<Timestamp> },
}

impl VirtualSession {
    pub(super) fn patient_side(&self, presence: &Presence) -> Side {
        // All patient records, not the current one alone: somebody removed was there, and is gone since.
        self.side(ParticipantRole::Patient, presence)
    }

    pub(super) fn provider_side(&self, presence: &Presence) -> Side {
        self.side(ParticipantRole::Provider, presence)
    }

    /// Whether a provider is in and connected, `joining` being one who comes at this moment.
    pub(super) fn provider_here(&self, presence: &Presence, joining: Option<ParticipantId>) -> bool {
        self.providers().any(|provider| {
            let here = provider.standing == Standing::Admitted
                && provider.left_at.is_none()
                && presence.connected(provider.id);
            here || joining == Some(provider.id)
        })
    }

    /// Whether anybody in `role` ever came.
    pub(super) fn seen(&self, role: ParticipantRole) -> bool {
        self.row.participants.iter().any(|record| record.role == role && record.first_joined_at.is_some())
    }

    fn side(&self, role: ParticipantRole, presence: &Presence) -> Side {
        let records = || self.row.participants.iter().filter(move |record| record.role == role);
        if records().any(|record| record.inside() && presence.connected(record.id)) {
            return Side::Here;
        }
        // The last one who went, by whichever way, is since when the side is without anybody.
        let last_left = records().filter_map(|record| record.left_at).max();
        let mut side = Side::Gone { since: last_left };
        for record in records().filter(|record| record.inside()) {
            let Some(lost) = self.lost_since(record, presence) else { continue };
            let gone = last_left.map_or(lost, |left| left.max(lost));
            let (mut since, mut until) = (gone, after(gone, self.grace(record, presence)));
            // Of several the last one counts: in whose absence the side is empty, and in whose time it may still return.
            if let Side::Lost { since: other_since, until: other_until } = side {
                (since, until) = (since.max(other_since), until.max(other_until));
            }
            side = Side::Lost { since, until };
        }
        side
    }

    /// Until when somebody in an active session, with whom contact is lost, is waited for.
    #[must_use]
    pub fn waited_for_until(&self, id: ParticipantId, presence: &Presence) -> Option<Timestamp> {
        let lost = matches!(presence.get(id), Connection::Lost { .. } | Connection::Offline { .. });
        if !lost || self.row.status != SessionStatus::Active {
            return None;
        }
        let record = self.participant(id).filter(|record| record.inside())?;
        let since = self.lost_since(record, presence)?;
        Some(after(since, self.grace(record, presence)))
    }

    /// How long somebody without contact is waited for.
    fn grace(&self, record: &Participant, presence: &Presence) -> SignedDuration {
        match presence.get(record.id) {
            Connection::Offline { .. } => minutes(self.row.policy.text_grace_minutes),
            Connection::Absent | Connection::Connected | Connection::Lost { .. } => {
                seconds(self.row.policy.grace_reconnect_seconds)
            }
        }
    }

    /// Since when somebody who is not connected is waited for: not longer than since they came, nor than since the visit
    /// began. Somebody let in during a short outage has the whole grace.
    fn lost_since(&self, record: &Participant, presence: &Presence) -> Option<Timestamp> {
        let since = match presence.get(record.id) {
            Connection::Lost { since } | Connection::Offline { since } => Some(since),
            Connection::Absent | Connection::Connected => None,
        };
        since.max(record.joined_at).max(self.row.started_at)
    }
}
