//! Deleting what is older than it may get. Each call is one transaction and takes a batch; what others have not been told
//! yet is not deleted, nor what it is about.

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{ContentDigest, TenantId};

use super::Result;
use crate::blobs::Holder;

/// What goes by its age.
#[async_trait]
pub(crate) trait RetentionStore {
    /// Deletes up to `limit` of a tenant that are of before the first time; it is the second. What it was.
    ///
    /// Only those that [`Kind`] says are over. Blobs of images are the caller's to take away.
    async fn purge(
        &self,
        tenant: TenantId,
        kind: Kind,
        (before, now): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Purged>;

    /// How much is sealed under another key than `current`.
    async fn sealed_not_under(&self, current: u32) -> Result<SealedCounts>;
}

/// What is deleted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sessions that are over, with all that belongs to them but their events, which are in the audit.
    Sessions,
    /// Lines and images of the threads of sessions that are over.
    Threads,
    /// Texts and images of visits that are answered, or that nobody answered since they were submitted last.
    VisitContents,
    /// Visits that were never submitted, with all that belongs to them but their events.
    Drafts,
    /// Visits that are answered, with all that belongs to them but their events.
    Visits,
    /// Lines of the audit, and events of what will not change any more, or not from that version.
    Audit,
    /// Answers that are kept for requests that come again.
    Answers,
    /// Sessions of staff whose time is over.
    StaffSessions,
}

impl Kind {
    /// All, in an order in which none has to wait for a later one.
    pub(crate) const ALL: [Self; 8] = [
        Self::Threads,
        Self::VisitContents,
        Self::Drafts,
        Self::Sessions,
        Self::Visits,
        Self::Audit,
        Self::Answers,
        Self::StaffSessions,
    ];

    /// As in the audit.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "session",
            Self::Threads => "thread_line",
            Self::VisitContents => "async_visit_content",
            Self::Drafts => "async_visit_draft",
            Self::Visits => "async_visit",
            Self::Audit => "audit",
            Self::Answers => "idempotency",
            Self::StaffSessions => "staff_session",
        }
    }
}

/// What was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    pub(crate) count: u64,
    /// The images among it: no row names them any more.
    pub(crate) images: Vec<(Holder, ContentDigest)>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SealedCounts {
    pub(crate) secrets: u64,
    pub(crate) visit_texts: u64,
    pub(crate) images: u64,
    pub(crate) thread_lines: u64,
}

impl SealedCounts {
    pub(crate) const fn total(self) -> u64 {
        self.secrets + self.visit_texts + self.images + self.thread_lines
    }
}
