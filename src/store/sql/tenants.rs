//! Clinics, their configurations and secrets.

use async_trait::async_trait;
use vestibule_domain::{StoredConfig, TenantConfig, TenantId};

use super::log::write_log;
use super::row::{column, from_json, natural, parsed, small, time};
use super::{Connection, Handle, Result, Row, integer, refused, unavailable};
use crate::store::log::{Logged, json};
use crate::store::{ConfigCommit, SealedSecret, StoreError, Tenant, TenantStore};

#[async_trait]
impl TenantStore for Handle {
    async fn create_tenant(&self, tenant: &Tenant, config: ConfigCommit<'_>) -> Result<()> {
        let tenant = tenant.clone();
        let change = ConfigChange::of(self, &config);
        self.write(move |connection| {
            Box::pin(async move {
                insert_tenant(connection, &tenant).await?;
                change.write(connection).await
            })
        })
        .await
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>> {
        let row = sqlx::query("SELECT id, name, created_at FROM tenant WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| read_tenant(&row)).transpose()
    }

    async fn tenant_by_name(&self, name: &str) -> Result<Option<Tenant>> {
        let row = sqlx::query("SELECT id, name, created_at FROM tenant WHERE name = $1")
            .bind(name)
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| read_tenant(&row)).transpose()
    }

    async fn tenants(&self) -> Result<Vec<Tenant>> {
        let rows = sqlx::query("SELECT id, name, created_at FROM tenant ORDER BY id")
            .fetch_all(self.readers())
            .await
            .map_err(unavailable)?;
        rows.iter().map(read_tenant).collect()
    }

    async fn config(&self, tenant: TenantId) -> Result<Option<TenantConfig>> {
        let row = sqlx::query("SELECT * FROM tenant_config WHERE tenant = $1")
            .bind(tenant.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| read_config(&row)).transpose()
    }

    async fn commit_config(&self, commit: ConfigCommit<'_>) -> Result<()> {
        let change = ConfigChange::of(self, &commit);
        self.write(move |connection| Box::pin(async move { change.write(connection).await })).await
    }

    async fn sealed_secret(&self, tenant: TenantId, name: &str) -> Result<Option<SealedSecret>> {
        let row = sqlx::query(
            "SELECT tenant, name, key_id, sealed FROM sealed_secret WHERE tenant = $1 AND name = $2",
        )
        .bind(tenant.to_string())
        .bind(name)
        .fetch_optional(self.readers())
        .await
        .map_err(unavailable)?;
        row.map(|row| read_secret(&row)).transpose()
    }

    async fn secrets_not_under(&self, current: u32, limit: u32) -> Result<Vec<SealedSecret>> {
        let rows = sqlx::query(
            "SELECT tenant, name, key_id, sealed FROM sealed_secret WHERE key_id <> $1 ORDER BY tenant, name LIMIT $2",
        )
        .bind(i64::from(current))
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter().map(read_secret).collect()
    }

    async fn reseal_secret(&self, secret: &SealedSecret, with: &SealedSecret) -> Result<()> {
        let (old, new) = (secret.clone(), with.clone());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE sealed_secret SET key_id = $4, sealed = $5 WHERE tenant = $1 AND name = $2 AND sealed = $3",
                )
                .bind(old.tenant.to_string())
                .bind(old.name)
                .bind(old.sealed)
                .bind(i64::from(new.key_id))
                .bind(new.sealed)
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
            })
        })
        .await
    }
}

/// A configuration's row and all that goes with it.
struct ConfigChange {
    before_version: u64,
    stored: StoredConfig,
    audit_ids: Vec<String>,
    logged: Logged,
}

impl ConfigChange {
    fn of(handle: &Handle, commit: &ConfigCommit<'_>) -> Self {
        let ConfigCommit { before_version, after, events, actor, now, beside } = *commit;
        let expected = before_version + u64::from(!events.is_empty());
        assert_eq!(after.version(), expected, "one version a command, and none without events");
        Self {
            before_version,
            stored: after.to_stored(),
            audit_ids: handle.audit_ids(beside),
            logged: Logged::of_config(after, events, (actor, now), beside, handle.ids()),
        }
    }

    async fn write(self, connection: &mut Connection) -> Result<()> {
        if self.before_version == 0 {
            insert_config(connection, &self.stored).await?;
        } else {
            update_config(connection, &self.stored, self.before_version).await?;
        }
        write_log(connection, self.audit_ids, &self.logged).await
    }
}

async fn insert_tenant(connection: &mut Connection, tenant: &Tenant) -> Result<()> {
    let inserted = sqlx::query("INSERT INTO tenant (id, name, created_at) VALUES ($1, $2, $3)")
        .bind(tenant.id.to_string())
        .bind(&tenant.name)
        .bind(tenant.created_at.as_millisecond())
        .execute(connection)
        .await;
    inserted.map_err(|error| refused(error, "the tenant", "the tenant")).map(drop)
}

async fn insert_config(connection: &mut Connection, config: &StoredConfig) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO tenant_config (tenant, version, config, jitsi_jwt_secret, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(config.tenant.to_string())
    .bind(integer(config.version)?)
    .bind(json(&config.values))
    .bind(json(&config.jitsi_jwt_secret))
    .bind(config.created_at.as_millisecond())
    .bind(config.updated_at.as_millisecond())
    .execute(connection)
    .await;
    inserted.map_err(|error| refused(error, "the configuration", "the tenant")).map(drop)
}

async fn update_config(
    connection: &mut Connection,
    config: &StoredConfig,
    before_version: u64,
) -> Result<()> {
    let updated = sqlx::query(
        "UPDATE tenant_config SET version = $3, config = $4, jitsi_jwt_secret = $5, updated_at = $6 \
         WHERE tenant = $1 AND version = $2",
    )
    .bind(config.tenant.to_string())
    .bind(integer(before_version)?)
    .bind(integer(config.version)?)
    .bind(json(&config.values))
    .bind(json(&config.jitsi_jwt_secret))
    .bind(config.updated_at.as_millisecond())
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query("SELECT version FROM tenant_config WHERE tenant = $1")
        .bind(config.tenant.to_string())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?
        .ok_or(StoreError::Missing { what: "the configuration" })?;
    Err(StoreError::Conflict { current_version: natural(&row, "version")? })
}

fn read_tenant(row: &Row) -> Result<Tenant> {
    Ok(Tenant { id: parsed(row, "id")?, name: column(row, "name")?, created_at: time(row, "created_at")? })
}

fn read_config(row: &Row) -> Result<TenantConfig> {
    let stored = StoredConfig {
        tenant: parsed(row, "tenant")?,
        version: natural(row, "version")?,
        values: from_json(row, "config")?,
        jitsi_jwt_secret: from_json(row, "jitsi_jwt_secret")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    };
    TenantConfig::from_stored(stored)
        .map_err(|error| StoreError::Corrupt { what: format!("the configuration of a tenant: {error}") })
}

fn read_secret(row: &Row) -> Result<SealedSecret> {
    Ok(SealedSecret {
        tenant: parsed(row, "tenant")?,
        name: column(row, "name")?,
        key_id: small(row, "key_id")?,
        sealed: column(row, "sealed")?,
    })
}
