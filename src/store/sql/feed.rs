//! Positions of events in the feeds of tenants.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use sqlx::QueryBuilder;
use vestibule_domain::TenantId;

use super::row::{column, natural, parsed};
use super::{Connection, Driver, Handle, Result, index, integer, lock_sequence, unavailable};
use crate::store::{FeedEvent, FeedStore};

#[async_trait]
impl FeedStore for Handle {
    async fn sequence(&self, limit: u32) -> Result<u64> {
        // Asked every second: while nothing happens, nobody is kept from writing.
        let waiting = sqlx::query("SELECT 1 AS waiting FROM outbox WHERE position IS NULL LIMIT 1")
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        if waiting.is_none() {
            return Ok(0);
        }
        self.write(move |connection| Box::pin(async move { sequence(connection, limit).await })).await
    }

    async fn feed(
        &self,
        tenant: TenantId,
        after: u64,
        types: &[&'static str],
        limit: u32,
    ) -> Result<Vec<FeedEvent>> {
        let mut select: QueryBuilder<Driver> =
            QueryBuilder::new("SELECT position, id, type, payload FROM outbox WHERE tenant = ");
        select.push_bind(tenant.to_string()).push(" AND position > ").push_bind(integer(after)?);
        if !types.is_empty() {
            let mut list = select.push(" AND type IN (").separated(", ");
            for event_type in types {
                list.push_bind(*event_type);
            }
            select.push(")");
        }
        select.push(" ORDER BY position LIMIT ").push_bind(i64::from(limit));
        let rows = select.build().fetch_all(self.readers()).await.map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(FeedEvent {
                    position: natural(row, "position")?,
                    id: parsed(row, "id")?,
                    event_type: column(row, "type")?,
                    payload: column(row, "payload")?,
                })
            })
            .collect()
    }

    async fn feed_head(&self, tenant: TenantId) -> Result<u64> {
        let row = sqlx::query("SELECT position FROM feed_head WHERE tenant = $1")
            .bind(tenant.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map_or(Ok(0), |row| natural(&row, "position"))
    }
}

async fn sequence(connection: &mut Connection, limit: u32) -> Result<u64> {
    if !lock_sequence(connection).await? {
        return Ok(0);
    }
    // What is cut off by the limit is of each aggregate the latest.
    let rows = sqlx::query(
        "SELECT id, tenant, aggregate_id, created_at FROM outbox WHERE position IS NULL \
         ORDER BY aggregate_id, version, ordinal LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(&mut *connection)
    .await
    .map_err(unavailable)?;
    let mut waiting: BTreeMap<String, VecDeque<Waiting>> = BTreeMap::new();
    for row in &rows {
        let entry = Waiting {
            id: column(row, "id")?,
            tenant: column(row, "tenant")?,
            created_at: column(row, "created_at")?,
        };
        waiting.entry(column(row, "aggregate_id")?).or_default().push_back(entry);
    }
    for (tenant, ids) in by_tenant(in_order(waiting)) {
        give_positions(connection, &tenant, &ids).await?;
    }
    Ok(rows.len() as u64)
}

/// An event without a position.
struct Waiting {
    id: String,
    tenant: String,
    created_at: i64,
}

/// By time, but of one aggregate always in the order given: clocks are set back now and then.
fn in_order(mut waiting: BTreeMap<String, VecDeque<Waiting>>) -> Vec<Waiting> {
    let mut ordered = Vec::new();
    loop {
        let next = waiting.values_mut().filter(|queue| !queue.is_empty());
        let Some(queue) = next.min_by_key(|queue| queue.front().map(|event| event.created_at)) else {
            return ordered;
        };
        ordered.extend(queue.pop_front());
    }
}

fn by_tenant(ordered: Vec<Waiting>) -> BTreeMap<String, Vec<String>> {
    let mut tenants: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in ordered {
        tenants.entry(event.tenant).or_default().push(event.id);
    }
    tenants
}

async fn give_positions(connection: &mut Connection, tenant: &str, ids: &[String]) -> Result<()> {
    let count = index(ids.len());
    let head = sqlx::query(
        "INSERT INTO feed_head (tenant, position) VALUES ($1, $2) \
         ON CONFLICT (tenant) DO UPDATE SET position = feed_head.position + $2 RETURNING position",
    )
    .bind(tenant)
    .bind(count)
    .fetch_one(&mut *connection)
    .await
    .map_err(unavailable)?;
    let first = column::<i64>(&head, "position")? - count + 1;
    for (id, position) in ids.iter().zip(first..) {
        sqlx::query("UPDATE outbox SET position = $2 WHERE id = $1")
            .bind(id)
            .bind(position)
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
    }
    Ok(())
}
