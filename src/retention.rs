//! Deletes what is older than the tenant says it may get, once an hour and at the start.
//!
//! In batches, so that nobody waits long for the store; how much it was is one line in the audit for each kind. What
//! others have not been told yet stays until they are.

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, MissedTickBehavior, interval};
use vestibule_domain::{Actor, Retention, TenantId};

use crate::accounts::SESSION_LIFE;
use crate::blobs::{BlobError, BlobPath, Blobs};
use crate::clock;
use crate::store::{AuditEntry, Beside, Kind, Store, StoreError};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// What goes in one transaction. A session has rows in several tables, so of those fewer go at once.
const BATCH: u32 = 100;
const SESSIONS_BATCH: u32 = 10;
/// Batches of one kind and tenant at one look; the rest at the next.
const BATCHES_MAX: u32 = 1_000;
/// How long an answer is kept for a request that comes again.
const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Why the look was broken off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Lives as long as the server.
pub(crate) async fn run(store: Store, blobs: Blobs) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = clock::now();
        match purge_all(&store, &blobs, now).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "what was older than it may get was deleted"),
            Err(error) => tracing::error!(%error, "what is too old may be left; it is tried again"),
        }
        match blobs.sweep(&store, now).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "images that nothing names were deleted"),
            Err(error) => tracing::error!(%error, "images that nothing names may be left; it is tried again"),
        }
    }
}

/// One look at all tenants; how much was deleted. What fails for one tenant or kind keeps none of the others: the first
/// error is given at the end.
pub(crate) async fn purge_all(store: &Store, blobs: &Blobs, now: Timestamp) -> Result<u64, RetentionError> {
    let (mut count, mut first) = (0, None);
    for tenant in store.tenants().await? {
        let tenant = tenant.id;
        let retention = match store.config(tenant).await {
            Ok(config) => config.map_or_else(Retention::default, |config| config.values().retention),
            Err(error) => {
                tracing::error!(%tenant, %error, "how long a tenant keeps what cannot be read");
                first.get_or_insert(error.into());
                continue;
            }
        };
        for kind in Kind::ALL {
            match purge(store, blobs, (tenant, kind), before(kind, retention, now), now).await {
                Ok(purged) => count += purged,
                Err(error) => {
                    tracing::error!(%tenant, kind = kind.as_str(), %error, "not all that is too old was deleted");
                    first.get_or_insert(error);
                }
            }
        }
    }
    first.map_or(Ok(count), Err)
}

/// The time from which on things of a kind are kept.
fn before(kind: Kind, retention: Retention, now: Timestamp) -> Timestamp {
    let days = |days: u16| SignedDuration::from_hours(24 * i64::from(days));
    let age = match kind {
        Kind::Sessions => days(retention.session_days),
        // With the row its texts and images go: both times are over.
        Kind::Visits => days(retention.session_days.max(retention.content_days)),
        Kind::Threads | Kind::VisitContents | Kind::Drafts => days(retention.content_days),
        Kind::Audit => days(retention.audit_days),
        Kind::Answers => ANSWERS_KEPT,
        Kind::StaffSessions => SESSION_LIFE,
    };
    now.checked_sub(age).unwrap_or(Timestamp::MIN)
}

async fn purge(
    store: &Store,
    blobs: &Blobs,
    (tenant, kind): (TenantId, Kind),
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, RetentionError> {
    let limit = if kind == Kind::Sessions { SESSIONS_BATCH } else { BATCH };
    let mut count = 0;
    let mut result: Result<(), RetentionError> = Ok(());
    for _ in 0..BATCHES_MAX {
        let purged = match store.purge(tenant, kind, (before, now), limit).await {
            Ok(purged) => purged,
            Err(error) => {
                result = Err(error.into());
                break;
            }
        };
        if purged.count == 0 {
            break;
        }
        count += purged.count;
        let images = purged.images.into_iter();
        let paths: Vec<_> = images.map(|(holder, digest)| BlobPath { tenant, holder, digest }).collect();
        if let Err(error) = blobs.take_away(store, &paths).await {
            result = Err(error.into());
            break;
        }
    }
    // Also of what was deleted before it broke off.
    if count > 0 {
        store.note(Beside { audit: vec![line(tenant, kind, count, now)], ..Beside::default() }).await?;
    }
    result.map(|()| count)
}

fn line(tenant: TenantId, kind: Kind, count: u64, at: Timestamp) -> AuditEntry {
    AuditEntry {
        tenant,
        at,
        actor: Actor::Timer,
        action: "retention.purged".into(),
        subject_kind: kind.as_str(),
        subject: count.to_string(),
        session: None,
    }
}
