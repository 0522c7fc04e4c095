//! What time alone brings about. Every session reaches a final status by these.

use jiff::Timestamp;

use super::sides::Side;
use super::{EndReason, SessionStatus, VirtualSession};
use crate::event::Event;
use crate::kind::ParticipantRole;
use crate::presence::Presence;
use crate::time::{after, minutes, seconds};

/// A timer that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) due_at: Timestamp,
    pub(super) outcome: EndReason,
}

impl VirtualSession {
    /// The first moment at which [`Command::Tick`](crate::Command::Tick) would do something, if nothing else happens
    /// before. `None`: time alone changes nothing, because those who matter are connected, or the session is final.
    ///
    /// Depends on presence: to be asked again after each change of it.
    #[must_use]
    pub fn next_deadline(&self, presence: &Presence) -> Option<Timestamp> {
        self.next_timer(presence).map(|timer| timer.due_at)
    }

    /// The timer that runs out first; of several at once, the one that explains the others stands first.
    pub(super) fn next_timer(&self, presence: &Presence) -> Option<Timer> {
        let timers = match self.row.status {
            SessionStatus::Scheduled => [self.no_show(), None],
            SessionStatus::Waiting => [self.no_show(), self.abandoned(presence)],
            SessionStatus::Active => [self.backend_lost(presence), self.side_gone(presence)],
            SessionStatus::Ended | SessionStatus::Cancelled | SessionStatus::Failed => [None, None],
        };
        timers.into_iter().flatten().min_by_key(|timer| timer.due_at)
    }

    /// The patient or the provider was never seen. With neither seen it is the patient who did not come: providers tend
    /// to enter when their patient is there.
    fn no_show(&self) -> Option<Timer> {
        let outcome = if !self.seen(ParticipantRole::Patient) {
            EndReason::NoShowPatient
        } else if !self.seen(ParticipantRole::Provider) {
            EndReason::NoShowProvider
        } else {
            return None;
        };
        let start = self.row.scheduled_start.unwrap_or(self.row.created_at);
        Some(Timer { due_at: after(start, minutes(self.row.policy.no_show_minutes)), outcome })
    }

    /// Both were seen, and neither is there. Time before the start does not count: a visit put off to tomorrow while
    /// people wait must not be called off today. Offline is as lost here: there is no text before a visit began.
    fn abandoned(&self, presence: &Presence) -> Option<Timer> {
        if !self.seen(ParticipantRole::Patient) || !self.seen(ParticipantRole::Provider) {
            return None;
        }
        let sides = [self.patient_side(presence), self.provider_side(presence)];
        let mut alone_since = self.row.scheduled_start;
        for side in sides {
            match side {
                Side::Here => return None,
                Side::Lost { since, .. } => alone_since = alone_since.max(Some(since)),
                Side::Gone { since } => alone_since = alone_since.max(since),
            }
        }
        let alone_since = alone_since.unwrap_or(self.row.created_at);
        Some(Timer {
            due_at: after(alone_since, minutes(self.row.policy.abandon_minutes)),
            outcome: EndReason::Abandoned,
        })
    }

    fn backend_lost(&self, presence: &Presence) -> Option<Timer> {
        // A backend that was gone before the visit began gets its whole grace too.
        let since = presence.backend_lost_since().max(self.row.started_at);
        presence.backend_lost_since().and(since).map(|since| Timer {
            due_at: after(since, seconds(self.row.policy.grace_reconnect_seconds)),
            outcome: EndReason::BackendLost,
        })
    }

    /// One side of an active visit is missing, or both.
    fn side_gone(&self, presence: &Presence) -> Option<Timer> {
        let (due_at, outcome) = match (self.patient_side(presence), self.provider_side(presence)) {
            (Side::Here | Side::Gone { .. }, Side::Here) => return None,
            (Side::Lost { until, .. }, Side::Here) | (Side::Here, Side::Lost { until, .. }) => {
                (until, EndReason::ReconnectExpired)
            }
            // Within its grace the other side still counts as there: the first to run out decides.
            (Side::Lost { until: patient, .. }, Side::Lost { until: provider, .. }) => {
                (patient.min(provider), EndReason::ReconnectExpired)
            }
            (Side::Gone { .. }, Side::Lost { until, .. }) | (Side::Lost { until, .. }, Side::Gone { .. }) => {
                (until, EndReason::EveryoneLeft)
            }
            (Side::Here, Side::Gone { since }) => {
                let since = since.max(self.row.started_at).unwrap_or(self.row.created_at);
                (after(since, minutes(self.row.policy.abandon_minutes)), EndReason::ProviderLeft)
            }
            // Decided by the command that brought it about, so not met; a timer all the same rather than no end.
            (Side::Gone { since: patient }, Side::Gone { since: provider }) => {
                (patient.max(provider).unwrap_or(self.row.created_at), EndReason::EveryoneLeft)
            }
        };
        Some(Timer { due_at, outcome })
    }
}

/// The event of getting to the final status `reason` stands for.
pub(super) fn final_event(reason: EndReason, at: Timestamp) -> Event {
    match reason.status() {
        SessionStatus::Ended => Event::Ended { reason, at },
        SessionStatus::Failed => Event::Failed { reason, at },
        _ => Event::Cancelled { reason, at },
    }
}
