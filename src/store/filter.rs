//! What lists are asked for, and what they are made of.

use jiff::Timestamp;
use vestibule_domain::{Actor, EventId, PatientId, ProviderRef, SessionId, SessionStatus};

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page<Key> {
    /// The last entry of the page before.
    pub(crate) after: Option<Key>,
    /// Entries at most.
    pub(crate) limit: u32,
}

/// Which sessions. What is none is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionFilter {
    pub(crate) status: Option<SessionStatus>,
    pub(crate) patient: Option<PatientId>,
    pub(crate) provider: Option<ProviderRef>,
    /// Sessions that start then or later; those without a time count from their making.
    pub(crate) starts_from: Option<Timestamp>,
    /// And before then.
    pub(crate) starts_before: Option<Timestamp>,
}

/// An event of a tenant's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedEvent {
    /// From 1, without gaps.
    pub(crate) position: u64,
    pub(crate) id: EventId,
    pub(crate) event_type: String,
    /// A CloudEvent in JSON.
    pub(crate) payload: String,
}

/// Which lines of the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditFilter {
    pub(crate) from: Option<Timestamp>,
    pub(crate) before: Option<Timestamp>,
    pub(crate) session: Option<SessionId>,
    /// By the text form of the actor's identifier.
    pub(crate) actor: Option<String>,
}

/// A line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditRow {
    /// Sorts by time; where the next page begins.
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    pub(crate) actor: Actor,
    pub(crate) action: String,
    pub(crate) subject_kind: String,
    pub(crate) subject: String,
    pub(crate) session: Option<String>,
    pub(crate) request: Option<String>,
}
