//! Deleting what is older than it may get.

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{ContentDigest, TenantId};

use super::row::{column, natural, parsed};
use super::{Connection, Handle, Result, Row, unavailable};
use crate::blobs::Holder;
use crate::store::retention::{Kind, Purged, RetentionStore, SealedCounts};

/// Sessions that are over, the oldest first.
const SESSIONS: &str = "\
    SELECT id FROM virtual_session WHERE tenant = $1 AND ended_at < $2 AND status IN ('ended', 'cancelled', 'failed') \
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE aggregate_id = virtual_session.id AND position IS NULL) \
    ORDER BY ended_at, id LIMIT $3";
/// Visits that have a content: answered, or left lying since the last submission. What came after a purge goes, too.
const VISIT_CONTENTS: &str = "\
    SELECT id FROM async_visit WHERE tenant = $1 AND status IN ('submitted', 'under_review', 'responded', 'closed') \
    AND coalesce(closed_at, responded_at, (SELECT max(r.submitted_at) FROM async_visit_revision r \
    WHERE r.visit = async_visit.id)) < $2 AND (content_purged_at IS NULL \
    OR EXISTS (SELECT 1 FROM async_visit_part p WHERE p.visit = async_visit.id) \
    OR EXISTS (SELECT 1 FROM async_visit_image i WHERE i.visit = async_visit.id)) \
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE aggregate_id = async_visit.id AND position IS NULL) \
    ORDER BY id LIMIT $3";
const DRAFTS: &str = "\
    SELECT id FROM async_visit WHERE tenant = $1 AND status = 'draft' AND updated_at < $2 ORDER BY id LIMIT $3";
const VISITS: &str = "\
    SELECT id FROM async_visit WHERE tenant = $1 AND status IN ('responded', 'closed') \
    AND coalesce(closed_at, responded_at) < $2 \
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE aggregate_id = async_visit.id AND position IS NULL) \
    ORDER BY id LIMIT $3";
/// Images of threads by their own age: one that was sent and never shown goes, too.
const LINE_IMAGES: &str = "\
    SELECT i.session, i.digest, i.owner FROM thread_image i JOIN virtual_session s ON s.id = i.session \
    WHERE s.tenant = $1 AND i.uploaded_at < $2 AND s.status IN ('ended', 'cancelled', 'failed') \
    AND NOT EXISTS (SELECT 1 FROM thread_handover h WHERE h.session = i.session) \
    ORDER BY i.session, i.digest LIMIT $3";
const LINES: &str = "\
    SELECT t.session, t.position FROM thread_line t JOIN virtual_session s ON s.id = t.session \
    WHERE s.tenant = $1 AND t.at < $2 AND s.status IN ('ended', 'cancelled', 'failed') \
    AND NOT EXISTS (SELECT 1 FROM thread_handover h WHERE h.session = t.session) \
    ORDER BY t.session, t.position LIMIT $3";

/// Events are lines of the audit, too: of what is gone or will not change any more they go by the audit's time. Of what
/// goes on they stay whole. Identifiers begin with the time, and there is an index of them.
const EVENTS: &str = "\
    DELETE FROM event WHERE id IN (SELECT e.id FROM event e WHERE e.tenant = $1 AND e.id < $2 AND e.at < $3 AND ( \
    (e.aggregate = 'session' AND NOT EXISTS (SELECT 1 FROM virtual_session s WHERE s.id = e.aggregate_id \
    AND s.status NOT IN ('ended', 'cancelled', 'failed'))) \
    OR (e.aggregate = 'async_visit' AND NOT EXISTS (SELECT 1 FROM async_visit v WHERE v.id = e.aggregate_id \
    AND v.status NOT IN ('responded', 'closed'))) \
    OR (e.aggregate = 'config' \
    AND e.version < (SELECT c.version FROM tenant_config c WHERE c.tenant = e.tenant))) \
    ORDER BY e.id LIMIT $4)";

/// In the order in which nothing is left that refers to something gone. The events stay: they go by the audit's time.
const OF_SESSION: [&str; 10] = [
    "DELETE FROM quality_step WHERE session = $1",
    "DELETE FROM thread_handover WHERE session = $1",
    "DELETE FROM thread_image WHERE session = $1",
    "DELETE FROM thread_line WHERE session = $1",
    "DELETE FROM participant_profile WHERE session = $1",
    "DELETE FROM consent WHERE session = $1",
    "DELETE FROM resume_key WHERE session = $1",
    "DELETE FROM participant WHERE session = $1",
    "DELETE FROM outbox WHERE aggregate = 'session' AND aggregate_id = $1",
    "DELETE FROM virtual_session WHERE id = $1",
];
const OF_CONTENT: [&str; 2] =
    ["DELETE FROM async_visit_part WHERE visit = $1", "DELETE FROM async_visit_image WHERE visit = $1"];
const OF_VISIT: [&str; 3] = [
    "DELETE FROM async_visit_revision WHERE visit = $1",
    "DELETE FROM outbox WHERE aggregate = 'async_visit' AND aggregate_id = $1",
    "DELETE FROM async_visit WHERE id = $1",
];

#[async_trait]
impl RetentionStore for Handle {
    async fn purge(
        &self,
        tenant: TenantId,
        kind: Kind,
        (before, now): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Purged> {
        let (before, now) = (before.as_millisecond(), now.as_millisecond());
        let batch = Batch { tenant: tenant.to_string(), before, now, limit: limit.into() };
        self.write(move |connection| Box::pin(async move { batch.purge(connection, kind).await })).await
    }

    async fn sealed_not_under(&self, current: u32) -> Result<SealedCounts> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM sealed_secret WHERE key_id <> $1) AS secrets, \
             (SELECT count(*) FROM async_visit_part WHERE key_id <> $1) AS texts, \
             (SELECT count(*) FROM async_visit_image WHERE key_id <> $1) \
             + (SELECT count(*) FROM thread_image WHERE key_id <> $1) AS images, \
             (SELECT count(*) FROM thread_line WHERE key_id <> $1) AS lines",
        )
        .bind(i64::from(current))
        .fetch_one(self.readers())
        .await
        .map_err(unavailable)?;
        Ok(SealedCounts {
            secrets: natural(&row, "secrets")?,
            visit_texts: natural(&row, "texts")?,
            images: natural(&row, "images")?,
            thread_lines: natural(&row, "lines")?,
        })
    }
}

/// What of one tenant is deleted at a time.
struct Batch {
    tenant: String,
    before: i64,
    now: i64,
    limit: i64,
}

impl Batch {
    async fn purge(&self, connection: &mut Connection, kind: Kind) -> Result<Purged> {
        match kind {
            Kind::Sessions => self.sessions(connection).await,
            Kind::Threads => self.lines(connection).await,
            Kind::VisitContents => self.visits(connection, VISIT_CONTENTS, false).await,
            Kind::Drafts => self.visits(connection, DRAFTS, true).await,
            Kind::Visits => self.visits(connection, VISITS, true).await,
            Kind::Audit => self.audit(connection).await,
            Kind::Answers => self.answers(connection).await,
            Kind::StaffSessions => self.staff_sessions(connection).await,
        }
    }

    async fn sessions(&self, connection: &mut Connection) -> Result<Purged> {
        let mut purged = Purged::default();
        for row in &self.select(connection, SESSIONS).await? {
            let id: String = column(row, "id")?;
            let lock = "UPDATE virtual_session SET version = version WHERE id = $1";
            if lock_told(connection, lock, &id).await? {
                purged.images.extend(thread_images(connection, &id).await?);
                carry_out(connection, &OF_SESSION, &id).await?;
                purged.count += 1;
            }
        }
        Ok(purged)
    }

    async fn lines(&self, connection: &mut Connection) -> Result<Purged> {
        let rows = self.select(connection, LINES).await?;
        for row in &rows {
            sqlx::query("DELETE FROM thread_line WHERE session = $1 AND position = $2")
                .bind(column::<String>(row, "session")?)
                .bind(column::<i64>(row, "position")?)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
        }
        let images = self.select(connection, LINE_IMAGES).await?;
        let mut purged = Purged { count: (rows.len() + images.len()) as u64, images: Vec::new() };
        for row in &images {
            let (session, digest): (String, String) = (column(row, "session")?, column(row, "digest")?);
            sqlx::query("DELETE FROM thread_image WHERE session = $1 AND digest = $2 AND owner = $3")
                .bind(&session)
                .bind(&digest)
                .bind(column::<String>(row, "owner")?)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
            purged.images.push((Holder::Session(parsed(row, "session")?), parsed(row, "digest")?));
        }
        Ok(purged)
    }

    /// The contents of visits, or the visits as a whole.
    async fn visits(&self, connection: &mut Connection, which: &'static str, whole: bool) -> Result<Purged> {
        let mut purged = Purged::default();
        for row in &self.select(connection, which).await? {
            let id: String = column(row, "id")?;
            let lock = "UPDATE async_visit SET version = version WHERE id = $1";
            if !lock_told(connection, lock, &id).await? {
                continue;
            }
            purged.images.extend(images(connection, &id).await?);
            carry_out(connection, &OF_CONTENT, &id).await?;
            if whole {
                carry_out(connection, &OF_VISIT, &id).await?;
            } else {
                sqlx::query("UPDATE async_visit SET content_purged_at = $2 WHERE id = $1")
                    .bind(&id)
                    .bind(self.now)
                    .execute(&mut *connection)
                    .await
                    .map_err(unavailable)?;
            }
            purged.count += 1;
        }
        Ok(purged)
    }

    async fn audit(&self, connection: &mut Connection) -> Result<Purged> {
        let lines = sqlx::query(
            "DELETE FROM audit WHERE id IN \
             (SELECT id FROM audit WHERE tenant = $1 AND at < $2 ORDER BY at LIMIT $3)",
        )
        .bind(&self.tenant)
        .bind(self.before)
        .bind(self.limit)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?
        .rows_affected();
        let room = self.limit.saturating_sub_unsigned(lines);
        let events = sqlx::query(EVENTS)
            .bind(&self.tenant)
            .bind(first_id(self.before))
            .bind(self.before)
            .bind(room)
            .execute(connection)
            .await
            .map_err(unavailable)?
            .rows_affected();
        Ok(Purged { count: lines + events, images: Vec::new() })
    }

    async fn answers(&self, connection: &mut Connection) -> Result<Purged> {
        let which = "SELECT caller, idempotency_key FROM idempotency \
                     WHERE tenant = $1 AND created_at < $2 ORDER BY created_at LIMIT $3";
        let rows = self.select(connection, which).await?;
        for row in &rows {
            sqlx::query("DELETE FROM idempotency WHERE tenant = $1 AND caller = $2 AND idempotency_key = $3")
                .bind(&self.tenant)
                .bind(column::<String>(row, "caller")?)
                .bind(column::<String>(row, "idempotency_key")?)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
        }
        Ok(Purged { count: rows.len() as u64, images: Vec::new() })
    }

    async fn staff_sessions(&self, connection: &mut Connection) -> Result<Purged> {
        let which = "SELECT s.hash FROM staff_session s JOIN staff_account a ON a.id = s.account \
                     WHERE a.tenant = $1 AND s.created_at < $2 ORDER BY s.created_at LIMIT $3";
        let rows = self.select(connection, which).await?;
        for row in &rows {
            sqlx::query("DELETE FROM staff_session WHERE hash = $1")
                .bind(column::<Vec<u8>>(row, "hash")?)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
        }
        Ok(Purged { count: rows.len() as u64, images: Vec::new() })
    }

    async fn select(&self, connection: &mut Connection, which: &'static str) -> Result<Vec<Row>> {
        sqlx::query(which)
            .bind(&self.tenant)
            .bind(self.before)
            .bind(self.limit)
            .fetch_all(connection)
            .await
            .map_err(unavailable)
    }
}

/// No identifier (UUID of version 7) of a time from then on comes before it.
fn first_id(millisecond: i64) -> String {
    let time = millisecond.clamp(0, (1 << 48) - 1);
    format!("{:08x}-{:04x}", time >> 16, time & 0xffff)
}

/// Keeps a row from being changed by others, and looks once more that all that happened to it has its place in the feed:
/// what came between the list and here is seen now. False if it has not.
async fn lock_told(connection: &mut Connection, lock: &'static str, id: &str) -> Result<bool> {
    sqlx::query(lock).bind(id).execute(&mut *connection).await.map_err(unavailable)?;
    let untold =
        sqlx::query("SELECT 1 AS one FROM outbox WHERE aggregate_id = $1 AND position IS NULL LIMIT 1")
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(unavailable)?;
    Ok(untold.is_none())
}

async fn carry_out(connection: &mut Connection, deletions: &[&'static str], id: &str) -> Result<()> {
    for deletion in deletions {
        sqlx::query(*deletion).bind(id).execute(&mut *connection).await.map_err(unavailable)?;
    }
    Ok(())
}

async fn thread_images(connection: &mut Connection, session: &str) -> Result<Vec<(Holder, ContentDigest)>> {
    let rows = sqlx::query("SELECT session, digest FROM thread_image WHERE session = $1")
        .bind(session)
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(|row| Ok((Holder::Session(parsed(row, "session")?), parsed(row, "digest")?))).collect()
}

async fn images(connection: &mut Connection, visit: &str) -> Result<Vec<(Holder, ContentDigest)>> {
    let rows = sqlx::query("SELECT visit, digest FROM async_visit_image WHERE visit = $1")
        .bind(visit)
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(|row| Ok((Holder::Visit(parsed(row, "visit")?), parsed(row, "digest")?))).collect()
}
