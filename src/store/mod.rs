//! What outlives the process: tenants, sessions, what happened to them, and what others are to be told of it.
//!
//! [`Store`] is the seam. Whoever uses it knows no SQL and no database; `sqlite` is the one there is, and another stands
//! beside it behind the same methods. A change of a session is one transaction or nothing: the row under its version,
//! participants, consents, events and outbox. No rule of a visit is here, and no clock: times are arguments.

mod outbox;
mod profile;
mod sqlite;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use vestibule_domain::{Actor, Event, ParticipantId, SessionId, SessionPolicy, TenantId, VirtualSession};

pub(crate) use profile::{PersonText, Profile};

use crate::ids::Ids;
use sqlite::Sqlite;

/// Everything that is kept. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    database: Sqlite,
}

/// A clinic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    /// What people call it; unique, 1 to 100 characters.
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    /// The rules of sessions to come.
    pub(crate) policy: SessionPolicy,
}

/// A session as it was last committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) session: VirtualSession,
    /// Of those who have one.
    pub(crate) profiles: BTreeMap<ParticipantId, Profile>,
}

/// One command's change of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    /// The version it was decided on. Another one in the store is a conflict.
    pub(crate) before_version: u64,
    /// The session with `events` folded in.
    pub(crate) after: &'a VirtualSession,
    /// What the command led to. None if only profiles change.
    pub(crate) events: &'a [Event],
    /// Who gave it.
    pub(crate) actor: &'a Actor,
    /// When.
    pub(crate) now: Timestamp,
    /// When time alone changes `after`, in view of who is connected: [`VirtualSession::next_deadline`].
    pub(crate) next_deadline: Option<Timestamp>,
    /// Profiles that are new or have changed.
    pub(crate) profiles: &'a [Profile],
}

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database cannot be used at all. The text is for the person who started the server.
    #[error("the database {} cannot be used: {problem}; {advice}", .path.display())]
    Open {
        path: PathBuf,
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// Somebody else changed the session since. Nothing was written.
    #[error("the session is at version {current_version} by now")]
    Conflict { current_version: u64 },
    /// What is written to, or belonged to, is not there. Nothing was written.
    #[error("{what} does not exist")]
    Missing { what: &'static str },
    /// The identifier, the name or the room is taken. Nothing was written.
    #[error("{what} exists already")]
    Exists { what: &'static str },
    /// The database does not answer, is locked, or has no room: worth another try later. Nothing was written, unless the
    /// answer to a commit was lost; the version tells.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A row is not what this program wrote, or the file is damaged.
    #[error("the database is damaged: {what}")]
    Corrupt { what: String },
}

impl Store {
    /// Opens the database at `path`, makes it if there is none, and brings its tables up to date.
    ///
    /// A new file can be read and written by its owner alone. Another process may use the file at the same time.
    pub(crate) async fn open(path: &Path, ids: Ids) -> Result<Self, StoreError> {
        Ok(Self { database: Sqlite::open(path, ids).await? })
    }

    /// Keeps a new tenant.
    pub(crate) async fn insert_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.database.insert_tenant(tenant).await
    }

    /// The tenant of that identifier.
    pub(crate) async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        self.database.tenant(id).await
    }

    /// The tenant of that name.
    pub(crate) async fn tenant_by_name(&self, name: &str) -> Result<Option<Tenant>, StoreError> {
        self.database.tenant_by_name(name).await
    }

    /// Keeps a session that was just made, with the events of its making.
    ///
    /// # Panics
    /// If it was changed since it was made.
    pub(crate) async fn create_session(
        &self,
        session: &VirtualSession,
        events: &[Event],
        profiles: &[Profile],
        actor: &Actor,
    ) -> Result<(), StoreError> {
        assert_eq!(session.version(), 1, "a session is created by the command that makes it");
        self.database.create_session(session, events, profiles, actor).await
    }

    /// Keeps one command's change.
    ///
    /// # Panics
    /// If the versions do not fit the events: such a change was not made by [`VirtualSession::commit`].
    pub(crate) async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let expected = commit.before_version + u64::from(!commit.events.is_empty());
        assert_eq!(commit.after.version(), expected, "one version a command, and none without events");
        self.database.commit(&commit).await
    }

    /// The session of that identifier.
    pub(crate) async fn load_session(&self, id: SessionId) -> Result<Option<Loaded>, StoreError> {
        self.database.load_session(id).await
    }

    /// The sessions whose time has come, the longest overdue first, `limit` at most.
    ///
    /// A session that a task owns may be among them, if it wrote its deadline down before things changed: ask the task.
    pub(crate) async fn due_sessions(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.database.due_sessions(now, limit).await
    }

    /// The sessions people are in, or were when the server stopped.
    pub(crate) async fn live_sessions(&self) -> Result<Vec<SessionId>, StoreError> {
        self.database.live_sessions().await
    }

    /// The session of `tenant` that was made last.
    pub(crate) async fn latest_session(&self, tenant: TenantId) -> Result<Option<SessionId>, StoreError> {
        self.database.latest_session(tenant).await
    }

    /// Closes the database, once what is under way is done. Every later call is refused as unavailable.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }
}
