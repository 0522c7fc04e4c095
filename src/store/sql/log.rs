//! Events, outbox, audit and remembered answers.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::QueryBuilder;
use vestibule_domain::TenantId;

use super::row::{actor, actor_columns, column, parsed, small, time};
use super::{Connection, Driver, Handle, Result, Row, index, integer, refused, unavailable};
use crate::store::log::{Aggregate, Logged, LoggedEvent};
use crate::store::{
    AuditEntry, AuditFilter, AuditRow, Beside, IdempotencyRecord, LogStore, Page, Remembered, SecretWrite,
};

/// The lines of the log, and the events of all that has a version, with the same columns.
const AUDIT: &str = "\
    SELECT id, at, actor_kind, actor_id, action, subject_kind, subject, session, request FROM audit \
    WHERE tenant = $1 AND id > $2 AND at >= $3 AND at < $4 AND ($5 IS NULL OR session = $5) \
    AND ($6 IS NULL OR actor_id = $6) \
    UNION ALL \
    SELECT id, at, actor_kind, actor_id, aggregate || '.' || type AS action, \
    CASE WHEN participant IS NULL THEN aggregate ELSE 'participant' END AS subject_kind, \
    coalesce(participant, aggregate_id) AS subject, CASE aggregate WHEN 'session' THEN aggregate_id END AS session, request FROM event \
    WHERE tenant = $1 AND id > $2 AND at >= $3 AND at < $4 \
    AND ($5 IS NULL OR (aggregate = 'session' AND aggregate_id = $5)) AND ($6 IS NULL OR actor_id = $6) \
    ORDER BY id LIMIT $7";

#[async_trait]
impl LogStore for Handle {
    async fn note(&self, beside: Beside) -> Result<()> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| Box::pin(async move { write_beside(connection, ids, &beside).await }))
            .await
    }

    async fn audit(
        &self,
        tenant: TenantId,
        filter: &AuditFilter,
        page: Page<String>,
    ) -> Result<Vec<AuditRow>> {
        let rows = sqlx::query(AUDIT)
            .bind(tenant.to_string())
            .bind(page.after.unwrap_or_default())
            .bind(filter.from.map_or(i64::MIN, Timestamp::as_millisecond))
            .bind(filter.before.map_or(i64::MAX, Timestamp::as_millisecond))
            .bind(filter.session.map(|session| session.to_string()))
            .bind(filter.actor.as_deref())
            .bind(i64::from(page.limit))
            .fetch_all(self.readers())
            .await
            .map_err(unavailable)?;
        rows.iter().map(read_audit).collect()
    }

    async fn remembered(&self, tenant: TenantId, caller: &str, key: &str) -> Result<Option<Remembered>> {
        let row = sqlx::query(
            "SELECT request_hash, status, sealed_answer FROM idempotency \
             WHERE tenant = $1 AND caller = $2 AND idempotency_key = $3",
        )
        .bind(tenant.to_string())
        .bind(caller)
        .bind(key)
        .fetch_optional(self.readers())
        .await
        .map_err(unavailable)?;
        row.map(|row| {
            Ok(Remembered {
                request_hash: column(&row, "request_hash")?,
                status: small(&row, "status")?,
                sealed_answer: column(&row, "sealed_answer")?,
            })
        })
        .transpose()
    }
}

impl Handle {
    /// Identifiers for the lines of the audit, by their times.
    pub(super) fn audit_ids(&self, beside: &Beside) -> Vec<String> {
        beside.audit.iter().map(|entry| self.ids().event(entry.at).to_string()).collect()
    }
}

/// The events of one command, what others are told of them, and what the caller wants beside them.
pub(super) async fn write_log(
    connection: &mut Connection,
    audit_ids: Vec<String>,
    logged: &Logged,
) -> Result<()> {
    // First of all: a request that came twice at once is found out here, whatever else it would collide with.
    write_beside(connection, audit_ids, &logged.beside).await?;
    if !logged.events.is_empty() {
        write_events(connection, logged).await?;
        write_outbox(connection, logged).await?;
    }
    write_secrets(connection, logged).await
}

/// What the caller wants beside a change, or without one.
pub(super) async fn write_beside(
    connection: &mut Connection,
    audit_ids: Vec<String>,
    beside: &Beside,
) -> Result<()> {
    if let Some(record) = &beside.idempotency {
        write_idempotency(connection, record).await?;
    }
    for (id, entry) in audit_ids.iter().zip(&beside.audit) {
        write_audit(connection, id, entry, beside.request.as_deref()).await?;
    }
    Ok(())
}

async fn write_events(connection: &mut Connection, logged: &Logged) -> Result<()> {
    let version = integer(logged.version)?;
    let (actor_kind, actor_id) = actor_columns(&logged.actor);
    let request = &logged.beside.request;
    let before = events_before(connection, logged, version).await?;
    let mut insert: QueryBuilder<Driver> = QueryBuilder::new(
        "INSERT INTO event (id, tenant, aggregate, aggregate_id, version, ordinal, at, actor_kind, actor_id, type, \
         participant, payload, request) ",
    );
    insert.push_values(logged.events.iter().enumerate(), |mut row, (ordinal, event)| {
        row.push_bind(event.id.clone())
            .push_bind(logged.tenant.to_string())
            .push_bind(logged.aggregate.as_str())
            .push_bind(logged.subject.clone())
            .push_bind(version)
            .push_bind(before + index(ordinal))
            .push_bind(logged.at.as_millisecond())
            .push_bind(actor_kind)
            .push_bind(actor_id.clone())
            .push_bind(event.event_type)
            .push_bind(event.participant.clone())
            .push_bind(event.payload.clone())
            .push_bind(request.clone());
    });
    insert
        .build()
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| refused(error, "the event", "the tenant"))
}

/// How many places of a version are taken. A device makes the identifiers of visits: what went by its age may be made
/// again, and the events of the first one are still there.
async fn events_before(connection: &mut Connection, logged: &Logged, version: i64) -> Result<i64> {
    if logged.aggregate != Aggregate::AsyncVisit {
        return Ok(0);
    }
    let row = sqlx::query(
        "SELECT coalesce(max(ordinal) + 1, 0) AS before FROM event \
         WHERE aggregate_id = $1 AND aggregate = $2 AND version = $3",
    )
    .bind(&logged.subject)
    .bind(logged.aggregate.as_str())
    .bind(version)
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    column(&row, "before")
}

async fn write_outbox(connection: &mut Connection, logged: &Logged) -> Result<()> {
    let version = integer(logged.version)?;
    let told: Vec<_> = logged
        .events
        .iter()
        .enumerate()
        .filter_map(|(ordinal, LoggedEvent { published, .. })| published.as_ref().map(|told| (ordinal, told)))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    let mut insert: QueryBuilder<Driver> = QueryBuilder::new(
        "INSERT INTO outbox (id, tenant, aggregate, aggregate_id, version, ordinal, type, payload, created_at) ",
    );
    insert.push_values(told, |mut row, (ordinal, told)| {
        row.push_bind(told.id.clone())
            .push_bind(logged.tenant.to_string())
            .push_bind(logged.aggregate.as_str())
            .push_bind(logged.subject.clone())
            .push_bind(version)
            .push_bind(index(ordinal))
            .push_bind(told.event_type)
            .push_bind(told.payload.clone())
            .push_bind(logged.at.as_millisecond());
    });
    insert.build().execute(connection).await.map(drop).map_err(unavailable)
}

async fn write_secrets(connection: &mut Connection, logged: &Logged) -> Result<()> {
    for SecretWrite { name, sealed } in &logged.beside.secrets {
        let statement = match sealed {
            Some((key_id, sealed)) => sqlx::query(
                "INSERT INTO sealed_secret (tenant, name, key_id, sealed, set_at) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (tenant, name) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed, \
                 set_at = excluded.set_at",
            )
            .bind(logged.tenant.to_string())
            .bind(name.clone())
            .bind(i64::from(*key_id))
            .bind(sealed.clone())
            .bind(logged.at.as_millisecond()),
            None => sqlx::query("DELETE FROM sealed_secret WHERE tenant = $1 AND name = $2")
                .bind(logged.tenant.to_string())
                .bind(name.clone()),
        };
        statement.execute(&mut *connection).await.map_err(unavailable)?;
    }
    Ok(())
}

async fn write_audit(
    connection: &mut Connection,
    id: &str,
    entry: &AuditEntry,
    request: Option<&str>,
) -> Result<()> {
    let (actor_kind, actor_id) = actor_columns(&entry.actor);
    sqlx::query(
        "INSERT INTO audit (id, tenant, at, actor_kind, actor_id, action, subject_kind, subject, session, request) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(id)
    .bind(entry.tenant.to_string())
    .bind(entry.at.as_millisecond())
    .bind(actor_kind)
    .bind(actor_id)
    .bind(&*entry.action)
    .bind(entry.subject_kind)
    .bind(&entry.subject)
    .bind(&entry.session)
    .bind(request)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, "the line of the audit", "the tenant"))
}

async fn write_idempotency(connection: &mut Connection, record: &IdempotencyRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO idempotency (tenant, caller, idempotency_key, request_hash, status, sealed_answer, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(record.tenant.to_string())
    .bind(&record.caller)
    .bind(&record.key)
    .bind(&record.request_hash)
    .bind(i64::from(record.status))
    .bind(&record.sealed_answer)
    .bind(record.created_at.as_millisecond())
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, IdempotencyRecord::TAKEN, "the tenant"))
}

fn read_audit(row: &Row) -> Result<AuditRow> {
    Ok(AuditRow {
        id: column(row, "id")?,
        at: time(row, "at")?,
        actor: actor(row, "actor_kind", "actor_id")?,
        action: column(row, "action")?,
        subject_kind: column(row, "subject_kind")?,
        subject: parsed(row, "subject")?,
        session: column(row, "session")?,
        request: column(row, "request")?,
    })
}
