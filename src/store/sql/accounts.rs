//! Accounts of staff, their sessions and links, API keys.

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::TenantId;

use super::log::write_beside;
use super::row::{column, optional_parsed, optional_time, parsed, small, time};
use super::{Connection, Handle, Result, Row, damaged, refused, unavailable};
use crate::accounts::{ApiKeyId, Attempts, LoginName, PasswordHash, SecretHash, StaffAccountId};
use crate::store::accounts::{
    ACCOUNTS_MAX, API_KEYS_MAX, AccountChange, AccountStore, ApiKey, OneTimeLink, Outcome, PasswordChange,
    Rotation, STAFF_SESSIONS_MAX, SignIn, StaffAccount, StaffSession,
};
use crate::store::profile::PersonText;
use crate::store::{Beside, Page, StoreError};

const ACCOUNT: &str = "the account";
/// The columns of [`read_account`], of a table called `a`.
const ACCOUNT_COLUMNS: &str = "a.id, a.tenant, a.login, a.display_name, a.role, a.provider_ref, a.disabled, a.password, \
    a.failures, a.locked_until, a.created_at";

#[async_trait]
impl AccountStore for Handle {
    async fn create_account(
        &self,
        account: &StaffAccount,
        link: OneTimeLink,
        beside: Beside,
    ) -> Result<Outcome<()>> {
        let (account, ids) = (account.clone(), self.audit_ids(&beside));
        self.write(move |connection| {
            Box::pin(async move {
                lock_tenant(connection, account.tenant).await?;
                let count = "SELECT count(*) AS n FROM staff_account WHERE tenant = $1";
                if count_of(connection, count, account.tenant).await? >= i64::from(ACCOUNTS_MAX) {
                    return Ok(Outcome::TooMany);
                }
                write_beside(connection, ids, &beside).await?;
                insert_account(connection, &account).await?;
                write_link(connection, account.id, &link).await?;
                Ok(Outcome::Done(()))
            })
        })
        .await
    }

    async fn account(&self, tenant: TenantId, id: StaffAccountId) -> Result<Option<StaffAccount>> {
        let statement = select_accounts("WHERE a.tenant = $1 AND a.id = $2");
        let row = sqlx::query(statement)
            .bind(tenant.to_string())
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| read_account(&row)).transpose()
    }

    async fn account_by_login(&self, login: &LoginName) -> Result<Option<StaffAccount>> {
        let row = sqlx::query(select_accounts("WHERE a.login = $1"))
            .bind(login.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| read_account(&row)).transpose()
    }

    async fn accounts(&self, tenant: TenantId, page: Page<StaffAccountId>) -> Result<Vec<StaffAccount>> {
        let rows = sqlx::query(select_accounts("WHERE a.tenant = $1 AND a.id > $2 ORDER BY a.id LIMIT $3"))
            .bind(tenant.to_string())
            .bind(page.after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(page.limit))
            .fetch_all(self.readers())
            .await
            .map_err(unavailable)?;
        rows.iter().map(read_account).collect()
    }

    async fn has_admin(&self, tenant: TenantId) -> Result<bool> {
        let row = sqlx::query(
            "SELECT count(*) AS n FROM staff_account WHERE tenant = $1 AND role = 'admin' AND disabled = FALSE \
             AND password IS NOT NULL",
        )
        .bind(tenant.to_string())
        .fetch_one(self.readers())
        .await
        .map_err(unavailable)?;
        Ok(column::<i64>(&row, "n")? > 0)
    }

    async fn change_account(
        &self,
        tenant: TenantId,
        id: StaffAccountId,
        change: AccountChange,
        beside: Beside,
    ) -> Result<Outcome<StaffAccount>> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                lock_tenant(connection, tenant).await?;
                let before = account_in(connection, tenant, id).await?;
                let after = change.applied_to(&before);
                if after == before {
                    return Ok(Outcome::Done(after));
                }
                if before.is_admin() && !after.is_admin() && is_only_admin(connection, &before).await? {
                    return Ok(Outcome::LastAdmin);
                }
                update_account(connection, &after).await?;
                if after.disabled || after.role != before.role {
                    end_sessions(connection, id).await?;
                }
                if after.disabled {
                    drop_link(connection, id).await?;
                }
                write_beside(connection, ids, &beside).await?;
                Ok(Outcome::Done(after))
            })
        })
        .await
    }

    async fn sign_in_failed(&self, id: StaffAccountId, now: Timestamp, beside: Beside) -> Result<Attempts> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                // Written first, so that of two at once the second reads what the first left.
                sqlx::query("UPDATE staff_account SET failures = failures WHERE id = $1")
                    .bind(id.to_string())
                    .execute(&mut *connection)
                    .await
                    .map_err(unavailable)?;
                let row = sqlx::query("SELECT failures, locked_until FROM staff_account WHERE id = $1")
                    .bind(id.to_string())
                    .fetch_optional(&mut *connection)
                    .await
                    .map_err(unavailable)?
                    .ok_or(StoreError::Missing { what: ACCOUNT })?;
                let before = read_attempts(&row)?;
                let after = before.failed(now);
                if after != before {
                    write_attempts(connection, id, after).await?;
                    write_beside(connection, ids, &beside).await?;
                }
                Ok(after)
            })
        })
        .await
    }

    async fn sign_in(&self, sign_in: SignIn, beside: Beside) -> Result<bool> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                let SignIn { account, password, session, sessions_since } = sign_in;
                let now = session.created_at;
                let begun = sqlx::query(
                    "UPDATE staff_account SET failures = 0, locked_until = NULL WHERE id = $1 AND password = $2 \
                     AND disabled = FALSE AND (locked_until IS NULL OR locked_until <= $3)",
                )
                .bind(account.to_string())
                .bind(password.as_str().to_owned())
                .bind(now.as_millisecond())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
                if begun.rows_affected() == 0 {
                    return Ok(false);
                }
                drop_old_sessions(connection, account, sessions_since).await?;
                insert_session(connection, account, &session).await?;
                write_beside(connection, ids, &beside).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn staff_session(&self, hash: SecretHash) -> Result<Option<(StaffSession, StaffAccount)>> {
        let statement = format!(
            "SELECT {ACCOUNT_COLUMNS}, s.created_at AS began_at, s.seen_at FROM staff_session s \
             JOIN staff_account a ON a.id = s.account WHERE s.hash = $1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(hash.as_bytes().to_vec())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| {
            let session =
                StaffSession { hash, created_at: time(&row, "began_at")?, seen_at: time(&row, "seen_at")? };
            Ok((session, read_account(&row)?))
        })
        .transpose()
    }

    async fn touch_staff_session(&self, hash: SecretHash, now: Timestamp) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE staff_session SET seen_at = $2 WHERE hash = $1 AND seen_at < $2")
                    .bind(hash.as_bytes().to_vec())
                    .bind(now.as_millisecond())
                    .execute(connection)
                    .await
                    .map(drop)
                    .map_err(unavailable)
            })
        })
        .await
    }

    async fn sign_out(&self, hash: SecretHash, beside: Beside) -> Result<()> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                let ended = sqlx::query("DELETE FROM staff_session WHERE hash = $1")
                    .bind(hash.as_bytes().to_vec())
                    .execute(&mut *connection)
                    .await
                    .map_err(unavailable)?;
                if ended.rows_affected() == 0 {
                    return Ok(());
                }
                write_beside(connection, ids, &beside).await
            })
        })
        .await
    }

    async fn sign_out_everywhere(&self, id: StaffAccountId, beside: Beside) -> Result<()> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                end_sessions(connection, id).await?;
                write_beside(connection, ids, &beside).await
            })
        })
        .await
    }

    async fn replace_link(&self, id: StaffAccountId, link: OneTimeLink, beside: Beside) -> Result<()> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                write_link(connection, id, &link).await?;
                write_beside(connection, ids, &beside).await
            })
        })
        .await
    }

    async fn link(&self, hash: SecretHash, now: Timestamp) -> Result<Option<(OneTimeLink, StaffAccount)>> {
        let statement = format!(
            "SELECT {ACCOUNT_COLUMNS}, l.created_at AS made_at, l.expires_at FROM one_time_link l \
             JOIN staff_account a ON a.id = l.account WHERE l.hash = $1 AND l.expires_at > $2 AND a.disabled = FALSE"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(hash.as_bytes().to_vec())
            .bind(now.as_millisecond())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| {
            let link = OneTimeLink {
                hash,
                created_at: time(&row, "made_at")?,
                expires_at: time(&row, "expires_at")?,
            };
            Ok((link, read_account(&row)?))
        })
        .transpose()
    }

    async fn use_link(&self, link: SecretHash, change: PasswordChange, beside: Beside) -> Result<bool> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                let now = change.session.created_at;
                let used = sqlx::query(
                    "DELETE FROM one_time_link WHERE hash = $1 AND account = $2 AND expires_at > $3",
                )
                .bind(link.as_bytes().to_vec())
                .bind(change.account.to_string())
                .bind(now.as_millisecond())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
                if used.rows_affected() == 0 {
                    return Ok(false);
                }
                let set = sqlx::query(
                    "UPDATE staff_account SET password = $2, failures = 0, locked_until = NULL \
                     WHERE id = $1 AND disabled = FALSE",
                )
                .bind(change.account.to_string())
                .bind(change.password.as_str().to_owned())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
                if set.rows_affected() == 0 {
                    return Ok(false);
                }
                leave_one_session(connection, &change).await?;
                write_beside(connection, ids, &beside).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn change_password(
        &self,
        compared_with: PasswordHash,
        change: PasswordChange,
        beside: Beside,
    ) -> Result<bool> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                let set = sqlx::query(
                    "UPDATE staff_account SET password = $3, failures = 0, locked_until = NULL \
                     WHERE id = $1 AND password = $2 AND disabled = FALSE",
                )
                .bind(change.account.to_string())
                .bind(compared_with.as_str().to_owned())
                .bind(change.password.as_str().to_owned())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
                if set.rows_affected() == 0 {
                    return Ok(false);
                }
                leave_one_session(connection, &change).await?;
                write_beside(connection, ids, &beside).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn create_api_key(&self, key: &ApiKey, beside: Beside) -> Result<Outcome<()>> {
        let (key, ids) = (key.clone(), self.audit_ids(&beside));
        self.write(move |connection| {
            Box::pin(async move {
                lock_tenant(connection, key.tenant).await?;
                let count = "SELECT count(*) AS n FROM api_key WHERE tenant = $1 AND revoked_at IS NULL";
                if count_of(connection, count, key.tenant).await? >= i64::from(API_KEYS_MAX) {
                    return Ok(Outcome::TooMany);
                }
                write_beside(connection, ids, &beside).await?;
                insert_key(connection, &key).await?;
                Ok(Outcome::Done(()))
            })
        })
        .await
    }

    async fn api_key(&self, id: ApiKeyId) -> Result<Option<ApiKey>> {
        let row = sqlx::query("SELECT * FROM api_key WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(unavailable)?;
        row.map(|row| read_key(&row)).transpose()
    }

    async fn api_keys(&self, tenant: TenantId, page: Page<ApiKeyId>) -> Result<Vec<ApiKey>> {
        let rows = sqlx::query(
            "SELECT * FROM api_key WHERE tenant = $1 AND revoked_at IS NULL AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(tenant.to_string())
        .bind(page.after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(page.limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter().map(read_key).collect()
    }

    async fn rotate_api_key(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        rotation: Rotation,
        beside: Beside,
    ) -> Result<Option<ApiKey>> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                let rotated = sqlx::query(
                    "UPDATE api_key SET former_secret = secret, former_until = $4, secret = $3 \
                     WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL RETURNING *",
                )
                .bind(tenant.to_string())
                .bind(id.to_string())
                .bind(rotation.secret.as_bytes().to_vec())
                .bind(rotation.former_until.as_millisecond())
                .fetch_optional(&mut *connection)
                .await
                .map_err(unavailable)?;
                let Some(row) = rotated else { return Ok(None) };
                write_beside(connection, ids, &beside).await?;
                read_key(&row).map(Some)
            })
        })
        .await
    }

    async fn revoke_api_key(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        now: Timestamp,
        beside: Beside,
    ) -> Result<bool> {
        let ids = self.audit_ids(&beside);
        self.write(move |connection| {
            Box::pin(async move {
                let revoked = sqlx::query(
                    "UPDATE api_key SET revoked_at = $3, former_secret = NULL, former_until = NULL \
                     WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL",
                )
                .bind(tenant.to_string())
                .bind(id.to_string())
                .bind(now.as_millisecond())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
                if revoked.rows_affected() == 1 {
                    write_beside(connection, ids, &beside).await?;
                    return Ok(true);
                }
                let there = sqlx::query("SELECT id FROM api_key WHERE tenant = $1 AND id = $2")
                    .bind(tenant.to_string())
                    .bind(id.to_string())
                    .fetch_optional(connection)
                    .await
                    .map_err(unavailable)?;
                Ok(there.is_some())
            })
        })
        .await
    }

    async fn touch_api_key(&self, id: ApiKeyId, now: Timestamp) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE api_key SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
                )
                .bind(id.to_string())
                .bind(now.as_millisecond())
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
            })
        })
        .await
    }
}

/// One at a time changes who is in a tenant: rules that count rows hold for two at once, too.
async fn lock_tenant(connection: &mut Connection, tenant: TenantId) -> Result<()> {
    // A write that changes nothing takes the lock of the row in both databases.
    let locked = sqlx::query("UPDATE tenant SET name = name WHERE id = $1")
        .bind(tenant.to_string())
        .execute(connection)
        .await
        .map_err(unavailable)?;
    if locked.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Missing { what: "the tenant" }) }
}

async fn count_of(connection: &mut Connection, statement: &'static str, tenant: TenantId) -> Result<i64> {
    let row =
        sqlx::query(statement).bind(tenant.to_string()).fetch_one(connection).await.map_err(unavailable)?;
    column(&row, "n")
}

fn select_accounts(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {ACCOUNT_COLUMNS} FROM staff_account a {rest}"))
}

async fn account_in(
    connection: &mut Connection,
    tenant: TenantId,
    id: StaffAccountId,
) -> Result<StaffAccount> {
    let row = sqlx::query(select_accounts("WHERE a.tenant = $1 AND a.id = $2"))
        .bind(tenant.to_string())
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?
        .ok_or(StoreError::Missing { what: ACCOUNT })?;
    read_account(&row)
}

/// Whether no other administrator of the tenant could sign in.
async fn is_only_admin(connection: &mut Connection, account: &StaffAccount) -> Result<bool> {
    let row = sqlx::query(
        "SELECT count(*) AS n FROM staff_account WHERE tenant = $1 AND id <> $2 AND role = 'admin' \
         AND disabled = FALSE AND password IS NOT NULL",
    )
    .bind(account.tenant.to_string())
    .bind(account.id.to_string())
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    Ok(column::<i64>(&row, "n")? == 0)
}

async fn insert_account(connection: &mut Connection, account: &StaffAccount) -> Result<()> {
    sqlx::query(
        "INSERT INTO staff_account (id, tenant, login, display_name, role, provider_ref, disabled, password, failures, \
         locked_until, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(account.id.to_string())
    .bind(account.tenant.to_string())
    .bind(account.login.as_str().to_owned())
    .bind(account.display_name.as_str().to_owned())
    .bind(account.role.as_str())
    .bind(account.provider_ref.as_ref().map(|desk| desk.as_str().to_owned()))
    .bind(account.disabled)
    .bind(account.password.as_ref().map(|password| password.as_str().to_owned()))
    .bind(i64::from(account.attempts.failures))
    .bind(account.attempts.locked_until.map(Timestamp::as_millisecond))
    .bind(account.created_at.as_millisecond())
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, ACCOUNT, "the tenant"))
}

async fn update_account(connection: &mut Connection, account: &StaffAccount) -> Result<()> {
    sqlx::query(
        "UPDATE staff_account SET display_name = $2, role = $3, provider_ref = $4, disabled = $5 WHERE id = $1",
    )
    .bind(account.id.to_string())
    .bind(account.display_name.as_str().to_owned())
    .bind(account.role.as_str())
    .bind(account.provider_ref.as_ref().map(|desk| desk.as_str().to_owned()))
    .bind(account.disabled)
    .execute(connection)
    .await
    .map(drop)
    .map_err(unavailable)
}

async fn write_attempts(connection: &mut Connection, id: StaffAccountId, attempts: Attempts) -> Result<()> {
    sqlx::query("UPDATE staff_account SET failures = $2, locked_until = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(i64::from(attempts.failures))
        .bind(attempts.locked_until.map(Timestamp::as_millisecond))
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

async fn write_link(connection: &mut Connection, id: StaffAccountId, link: &OneTimeLink) -> Result<()> {
    sqlx::query(
        "INSERT INTO one_time_link (account, hash, created_at, expires_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (account) DO UPDATE SET hash = excluded.hash, created_at = excluded.created_at, \
         expires_at = excluded.expires_at",
    )
    .bind(id.to_string())
    .bind(link.hash.as_bytes().to_vec())
    .bind(link.created_at.as_millisecond())
    .bind(link.expires_at.as_millisecond())
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, "the link", ACCOUNT))
}

async fn drop_link(connection: &mut Connection, id: StaffAccountId) -> Result<()> {
    let dropped = sqlx::query("DELETE FROM one_time_link WHERE account = $1").bind(id.to_string());
    dropped.execute(connection).await.map(drop).map_err(unavailable)
}

async fn insert_session(
    connection: &mut Connection,
    id: StaffAccountId,
    session: &StaffSession,
) -> Result<()> {
    sqlx::query("INSERT INTO staff_session (hash, account, created_at, seen_at) VALUES ($1, $2, $3, $4)")
        .bind(session.hash.as_bytes().to_vec())
        .bind(id.to_string())
        .bind(session.created_at.as_millisecond())
        .bind(session.seen_at.as_millisecond())
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| refused(error, "the session", ACCOUNT))
}

async fn end_sessions(connection: &mut Connection, id: StaffAccountId) -> Result<()> {
    let ended = sqlx::query("DELETE FROM staff_session WHERE account = $1").bind(id.to_string());
    ended.execute(connection).await.map(drop).map_err(unavailable)
}

/// Everybody's sessions that are over, and of this account those that are one too many.
async fn drop_old_sessions(connection: &mut Connection, id: StaffAccountId, since: Timestamp) -> Result<()> {
    sqlx::query("DELETE FROM staff_session WHERE created_at < $1")
        .bind(since.as_millisecond())
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    sqlx::query(
        "DELETE FROM staff_session WHERE hash IN (SELECT hash FROM staff_session WHERE account = $1 \
         ORDER BY created_at DESC, hash LIMIT 1000 OFFSET $2)",
    )
    .bind(id.to_string())
    .bind(i64::from(STAFF_SESSIONS_MAX) - 1)
    .execute(connection)
    .await
    .map(drop)
    .map_err(unavailable)
}

async fn leave_one_session(connection: &mut Connection, change: &PasswordChange) -> Result<()> {
    drop_old_sessions(connection, change.account, change.sessions_since).await?;
    end_sessions(connection, change.account).await?;
    insert_session(connection, change.account, &change.session).await
}

async fn insert_key(connection: &mut Connection, key: &ApiKey) -> Result<()> {
    sqlx::query(
        "INSERT INTO api_key (id, tenant, name, scopes, secret, created_by, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key.id.to_string())
    .bind(key.tenant.to_string())
    .bind(key.name.as_str().to_owned())
    .bind(key.scopes.join(" "))
    .bind(key.secret.as_bytes().to_vec())
    .bind(key.created_by.clone())
    .bind(key.created_at.as_millisecond())
    .bind(key.expires_at.map(Timestamp::as_millisecond))
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, "the key", "the tenant"))
}

fn read_account(row: &Row) -> Result<StaffAccount> {
    Ok(StaffAccount {
        id: parsed(row, "id")?,
        tenant: parsed(row, "tenant")?,
        login: parsed(row, "login")?,
        display_name: person_text(row, "display_name")?,
        role: parsed(row, "role")?,
        provider_ref: optional_parsed(row, "provider_ref")?,
        disabled: column(row, "disabled")?,
        password: column::<Option<String>>(row, "password")?.map(PasswordHash::from_stored),
        attempts: read_attempts(row)?,
        created_at: time(row, "created_at")?,
    })
}

fn read_attempts(row: &Row) -> Result<Attempts> {
    Ok(Attempts { failures: small(row, "failures")?, locked_until: optional_time(row, "locked_until")? })
}

fn read_key(row: &Row) -> Result<ApiKey> {
    let former: Option<Vec<u8>> = column(row, "former_secret")?;
    let former = former.map(|bytes| secret_hash(bytes, "former_secret")).transpose()?;
    Ok(ApiKey {
        id: parsed(row, "id")?,
        tenant: parsed(row, "tenant")?,
        name: person_text(row, "name")?,
        scopes: column::<String>(row, "scopes")?.split_whitespace().map(str::to_owned).collect(),
        secret: secret_hash(column(row, "secret")?, "secret")?,
        former: former.zip(optional_time(row, "former_until")?),
        created_by: column(row, "created_by")?,
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
    })
}

fn person_text(row: &Row, name: &'static str) -> Result<PersonText> {
    PersonText::parse(&column::<String>(row, name)?).map_err(|_| damaged(name))
}

fn secret_hash(bytes: Vec<u8>, name: &'static str) -> Result<SecretHash> {
    bytes.try_into().map(SecretHash::from_bytes).map_err(|_| damaged(name))
}
