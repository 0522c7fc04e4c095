//! What outlives the process: tenants, sessions, what happened to them, and what others are to be told of it.
//!
//! The traits here are the seam, one for each area; whoever uses them knows no SQL and no database. `sqlite` and
//! `postgres` say how each database is connected to and how a transaction is run there; the statements, which both
//! understand, stand in `sql` and are compiled once for each. A change is one transaction or nothing: the row under its
//! version, what belongs to it, events, outbox, and what the caller wants written [`Beside`] it. No rule of a visit is
//! here, and no clock: times are arguments.

mod accounts;
mod beside;
mod filter;
mod log;
mod outbox;
mod postgres;
mod profile;
mod quality;
mod retention;
mod sqlite;
#[cfg(test)]
mod tests;
mod thread;
mod visits;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{
    Actor, BackendRoom, ConfigEvent, Event, ParticipantId, SessionId, TenantConfig, TenantId, VideoBackend,
    VirtualSession,
};
use vestibule_signaling::ResumeKeys;

pub(crate) use accounts::{
    AccountChange, AccountStore, ApiKey, OneTimeLink, Outcome, PasswordChange, Rotation, SignIn,
    StaffAccount, StaffSession,
};
pub(crate) use beside::{AuditEntry, Beside, IdempotencyRecord, Remembered, SealedSecret, SecretWrite};
pub(crate) use filter::{AuditFilter, AuditRow, FeedEvent, Page, SessionFilter};
pub(crate) use profile::{PersonText, PersonTextError, Profile};
pub(crate) use quality::{KeptStep, QualityStore, StepKey};
pub(crate) use retention::{Kind, RetentionStore, SealedCounts};
pub(crate) use thread::{Handover, Keeping, SealedLine, ThreadImage, ThreadStore};
pub(crate) use visits::{AddedImage, LoadedVisit, Part, VisitCommit, VisitFilter, VisitImage, VisitStore};

use crate::ids::Ids;

/// All areas of what is kept. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub(crate) struct Store(Arc<dyn Database>);

/// One database behind all areas.
pub(crate) trait Database:
    TenantStore
    + SessionStore
    + FeedStore
    + LogStore
    + AccountStore
    + VisitStore
    + ThreadStore
    + QualityStore
    + RetentionStore
    + Lifecycle
{
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// An SQLite file; made if there is none, readable by its owner alone.
    File(PathBuf),
    /// A PostgreSQL server, by its URL.
    Postgres(PostgresUrl),
}

/// `postgres://user:password@host/database`, with the parameters of libpq. Not shown: it has a password in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl(String);

/// A clinic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    /// What people call it; unique, 1 to 100 characters.
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
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
    /// What the command led to. None if only profiles or secrets change.
    pub(crate) events: &'a [Event],
    /// Who gave it.
    pub(crate) actor: &'a Actor,
    /// When.
    pub(crate) now: Timestamp,
    /// When time alone changes `after`, in view of who is connected: [`VirtualSession::next_deadline`].
    pub(crate) next_deadline: Option<Timestamp>,
    /// Profiles that are new or have changed.
    pub(crate) profiles: &'a [Profile],
    /// The resume secrets that are good from now on, of these. With them alone nothing of the session is different, and
    /// its version does not matter.
    pub(crate) resume: &'a [(ParticipantId, ResumeKeys)],
    /// Whether what was written in the session is to be handed on.
    pub(crate) hands_on: bool,
    /// What else goes into the transaction.
    pub(crate) beside: &'a Beside,
}

/// One command's change of a tenant's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigCommit<'a> {
    /// The version it was decided on; 0 for one that is new.
    pub(crate) before_version: u64,
    /// The configuration with `events` folded in.
    pub(crate) after: &'a TenantConfig,
    /// What the command led to.
    pub(crate) events: &'a [ConfigEvent],
    /// Who gave it.
    pub(crate) actor: &'a Actor,
    /// When.
    pub(crate) now: Timestamp,
    /// What else goes into the transaction; secrets that are set or cleared among it.
    pub(crate) beside: &'a Beside,
}

/// Why something could not be stored or read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database cannot be used at all. The text is for the person who started the server.
    #[error("the database {place} cannot be used: {problem}; {advice}")]
    Open {
        /// A path, or host and name; never a password.
        place: String,
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// Somebody else changed it since. Nothing was written.
    #[error("it is at version {current_version} by now")]
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
    Unavailable(#[source] Arc<sqlx::Error>),
    /// A row is not what this program wrote, or the file is damaged.
    #[error("the database is damaged: {what}")]
    Corrupt { what: String },
}

type Result<T> = std::result::Result<T, StoreError>;

/// Clinics and their configurations.
#[async_trait]
pub(crate) trait TenantStore {
    /// Keeps a new tenant, with its configuration at version 1.
    async fn create_tenant(&self, tenant: &Tenant, config: ConfigCommit<'_>) -> Result<()>;

    /// The tenant of that identifier.
    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>>;

    /// The tenant of that name.
    async fn tenant_by_name(&self, name: &str) -> Result<Option<Tenant>>;

    /// All tenants, by age.
    async fn tenants(&self) -> Result<Vec<Tenant>>;

    /// The configuration of a tenant.
    async fn config(&self, tenant: TenantId) -> Result<Option<TenantConfig>>;

    /// Keeps one command's change of a configuration.
    async fn commit_config(&self, commit: ConfigCommit<'_>) -> Result<()>;

    /// A secret as it is sealed, by its name.
    #[cfg_attr(not(test), expect(dead_code, reason = "what is set is read once webhooks are sent"))]
    async fn sealed_secret(&self, tenant: TenantId, name: &str) -> Result<Option<SealedSecret>>;

    /// Up to `limit` secrets that are sealed under another key than `current`, to be sealed anew.
    async fn secrets_not_under(&self, current: u32, limit: u32) -> Result<Vec<SealedSecret>>;

    /// Puts `with` in the place of `secret`, if it is still what is kept.
    async fn reseal_secret(&self, secret: &SealedSecret, with: &SealedSecret) -> Result<()>;
}

/// Virtual sessions.
#[async_trait]
pub(crate) trait SessionStore {
    /// Keeps a session that was just made, with the events of its making.
    ///
    /// # Panics
    /// If it was changed since it was made.
    async fn create_session(
        &self,
        session: &VirtualSession,
        events: &[Event],
        profiles: &[Profile],
        actor: &Actor,
        beside: &Beside,
    ) -> Result<()>;

    /// Keeps one command's change.
    ///
    /// # Panics
    /// If the versions do not fit the events: such a change was not made by [`VirtualSession::commit`].
    async fn commit(&self, commit: Commit<'_>) -> Result<()>;

    /// The session of that identifier.
    async fn load_session(&self, id: SessionId) -> Result<Option<Loaded>>;

    /// The resume secrets of a session that are good, as hashes.
    async fn resume_keys(&self, session: SessionId) -> Result<BTreeMap<ParticipantId, ResumeKeys>>;

    /// The sessions of a tenant that fit, newest first.
    async fn list_sessions(
        &self,
        tenant: TenantId,
        filter: &SessionFilter,
        page: Page<SessionId>,
    ) -> Result<Vec<Loaded>>;

    /// The sessions whose time has come, the longest overdue first, `limit` at most.
    ///
    /// A session that a task owns may be among them, if it wrote its deadline down before things changed: ask the task.
    async fn due_sessions(&self, now: Timestamp, limit: u32) -> Result<Vec<SessionId>>;

    /// The sessions people are in, or were when the server stopped.
    async fn live_sessions(&self) -> Result<Vec<SessionId>>;

    /// The session of `tenant` that was made last.
    async fn latest_session(&self, tenant: TenantId) -> Result<Option<SessionId>>;

    /// Those of `rooms` that no session has which is not over.
    async fn rooms_without_session(
        &self,
        backend: VideoBackend,
        rooms: &[BackendRoom],
    ) -> Result<Vec<BackendRoom>>;
}

/// What others are told, in an order without gaps.
#[async_trait]
pub(crate) trait FeedStore {
    /// Gives events that were committed and have none their positions in the feeds of their tenants, `limit` at most;
    /// how many it were.
    ///
    /// Only committed events are seen, so a position is never given before a smaller one can be read: a transaction that
    /// inserted early and commits late gets the later position.
    async fn sequence(&self, limit: u32) -> Result<u64>;

    /// The events of a tenant after a position, in order, `limit` at most; of those `types`, or of all if it is empty.
    async fn feed(
        &self,
        tenant: TenantId,
        after: u64,
        types: &[&'static str],
        limit: u32,
    ) -> Result<Vec<FeedEvent>>;

    /// The position of a tenant's last event; 0 if there is none.
    async fn feed_head(&self, tenant: TenantId) -> Result<u64>;
}

/// Who did what, and what was answered to whom.
#[async_trait]
pub(crate) trait LogStore {
    /// Notes what changed nothing that has a version: a link that was issued, a login.
    async fn note(&self, beside: Beside) -> Result<()>;

    /// Who did what, oldest first: what is in the log, and the events of all that has a version.
    async fn audit(
        &self,
        tenant: TenantId,
        filter: &AuditFilter,
        page: Page<String>,
    ) -> Result<Vec<AuditRow>>;

    /// What was answered to a request with this key, if it was one before.
    async fn remembered(&self, tenant: TenantId, caller: &str, key: &str) -> Result<Option<Remembered>>;
}

/// The database as a whole.
#[async_trait]
pub(crate) trait Lifecycle: fmt::Debug + Send + Sync {
    /// Closes the database, once what is under way is done. Every later call is refused as unavailable.
    async fn close(&self);
}

impl Store {
    /// Opens the database, makes its tables if there are none, and brings them up to date.
    ///
    /// Another process may use it at the same time.
    pub(crate) async fn open(location: &Location, ids: Ids) -> Result<Self> {
        Ok(Self(match location {
            Location::File(path) => Arc::new(sqlite::Handle::open(path, ids).await?),
            Location::Postgres(url) => Arc::new(postgres::Handle::open(url, ids).await?),
        }))
    }
}

/// Whether a PostgreSQL server can be used, and what it is; changes nothing there.
pub(crate) async fn probe(url: &PostgresUrl) -> Result<String> {
    postgres::probe(url).await
}

impl Deref for Store {
    type Target = dyn Database;

    fn deref(&self) -> &(dyn Database + 'static) {
        &*self.0
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl PostgresUrl {
    fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes what begins like one; whether it leads anywhere is found out by connecting.
impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;

    fn from_str(text: &str) -> std::result::Result<Self, PostgresUrlError> {
        let begins_so = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if begins_so { Ok(Self(text.to_owned())) } else { Err(PostgresUrlError) }
    }
}

/// What is none of a PostgreSQL server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected postgres://user:password@host/database")]
pub(crate) struct PostgresUrlError;

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PostgresUrl(…)")
    }
}
