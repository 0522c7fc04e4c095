//! PostgreSQL 15 or newer: a pool of connections, each write a transaction of its own. The server does the group commit.

mod open;
#[path = "sql/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "on purpose: compiled with the types of each database")]
mod sql;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Postgres, Transaction};

use super::{Lifecycle, PostgresUrl, Result, StoreError};
use crate::ids::Ids;

pub(super) type Driver = Postgres;
pub(super) type Connection = sqlx::PgConnection;
pub(super) type Row = PgRow;

type Working<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// For several statements that have to see one state.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Any number that no other lock of this program has: 'VESTFEED'.
const SEQUENCE_LOCK: i64 = 0x5645_5354_4645_4544;

/// An open database.
pub(super) struct Handle {
    pool: PgPool,
    ids: Ids,
}

impl Handle {
    pub(super) async fn open(url: &PostgresUrl, ids: Ids) -> Result<Self> {
        Ok(Self { pool: open::open(url.as_str()).await?, ids })
    }

    /// Carries out `work` in a transaction; answers once that is on the disk.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Connection) -> Working<'c, Result<T>> + Send + 'static,
    {
        // Dropped without a commit, the transaction is rolled back.
        let mut transaction = self.pool.begin().await.map_err(unavailable)?;
        let done = work(&mut transaction).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(done)
    }

    /// A transaction that only reads, for several statements that have to see one state.
    pub(super) async fn snapshot(&self) -> Result<Transaction<'static, Driver>> {
        self.pool.begin_with(BEGIN_SNAPSHOT).await.map_err(unavailable)
    }

    pub(super) fn readers(&self) -> &PgPool {
        &self.pool
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }
}

/// Whether the server can be used, and what it is.
pub(super) async fn probe(url: &PostgresUrl) -> Result<String> {
    open::probe(url.as_str()).await
}

#[async_trait]
impl Lifecycle for Handle {
    async fn close(&self) {
        self.pool.close().await;
    }
}

impl super::Database for Handle {}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Postgres")
    }
}

/// One at a time gives positions, of all servers on the database; false while another does. Ends with the transaction.
pub(super) async fn lock_sequence(connection: &mut Connection) -> Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(SEQUENCE_LOCK)
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    // Classes XX (internal error: damaged pages, indexes) and 58P02 would not go away by trying again, but a person has
    // to look at the server for them all the same; to a caller they are an outage.
    StoreError::Unavailable(error.into())
}
