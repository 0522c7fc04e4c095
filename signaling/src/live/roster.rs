//! Who is to be seen in a session: worked out once for all who look, and shared. Each of them is told what is different from
//! what they were told last, and that is worked out once for all who were told the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vestibule_domain::ParticipantId;

use crate::wire::{Participant, ServerMessage};

/// Somebody who is to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) participant: Participant,
    /// They are not let in: for providers' eyes alone.
    pub(crate) waits: bool,
}

/// All of them, in join order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster(Option<Arc<[Seen]>>);

impl Roster {
    pub(crate) fn new(seen: Vec<Seen>) -> Self {
        Self((!seen.is_empty()).then(|| seen.into()))
    }

    /// Whether it is the very same one, which is quicker to tell than whether they are equal.
    fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(this), Some(other)) => Arc::ptr_eq(this, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Those whom one viewer sees: not themselves, and who waits only if they see to that.
    pub(crate) fn seen_by(
        &self,
        viewer: ParticipantId,
        sees_waiting: bool,
    ) -> impl Iterator<Item = &Participant> {
        self.visible(sees_waiting).filter(move |participant| participant.id != viewer)
    }

    fn visible(&self, sees_waiting: bool) -> impl Iterator<Item = &Participant> {
        let all = self.0.as_deref().unwrap_or_default().iter();
        all.filter(move |seen| sees_waiting || !seen.waits).map(|seen| &seen.participant)
    }
}

impl PartialEq for Roster {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || self.0 == other.0
    }
}

/// What is different for those who were told one roster, now that there is another: about whom, and what to say.
type Differences = Vec<(ParticipantId, Arc<ServerMessage>)>;

/// The differences from the rosters that viewers were told last.
#[derive(Debug)]
pub(super) struct Changes {
    now: Roster,
    known: Vec<(Roster, bool, Differences)>,
}

impl Changes {
    pub(super) const fn to(now: Roster) -> Self {
        Self { now, known: Vec::new() }
    }

    pub(super) const fn now(&self) -> &Roster {
        &self.now
    }

    /// What to tell a viewer who was told `before`.
    pub(super) fn since(
        &mut self,
        before: &Roster,
        viewer: ParticipantId,
        sees_waiting: bool,
    ) -> Vec<Arc<ServerMessage>> {
        if before.is(&self.now) {
            return Vec::new();
        }
        let is_it = |(known, view, _): &(Roster, bool, _)| *view == sees_waiting && known.is(before);
        let index = self.known.iter().position(is_it).unwrap_or_else(|| {
            let differences = differences(before, &self.now, sees_waiting);
            self.known.push((before.clone(), sees_waiting, differences));
            self.known.len() - 1
        });
        let others = self.known[index].2.iter().filter(|(about, _)| *about != viewer);
        others.map(|(_, message)| Arc::clone(message)).collect()
    }
}

/// First who is new or different, in join order, then who is out of sight.
fn differences(before: &Roster, now: &Roster, sees_waiting: bool) -> Differences {
    let old: BTreeMap<_, _> =
        before.visible(sees_waiting).map(|participant| (participant.id, participant)).collect();
    let new: BTreeSet<_> = now.visible(sees_waiting).map(|participant| participant.id).collect();
    let say = |participant_id, participant| {
        (participant_id, Arc::new(ServerMessage::Participant { participant_id, participant }))
    };
    let different = now
        .visible(sees_waiting)
        .filter(|participant| old.get(&participant.id) != Some(participant))
        .map(|participant| say(participant.id, Some(participant.clone())));
    let gone = old.keys().filter(|id| !new.contains(id)).map(|&id| say(id, None));
    different.chain(gone).collect()
}
