//! SQLite, embedded: one connection writes, a few read, and none of them is the only one, since a command of the operator
//! may have the same file open. So a write begins with `BEGIN IMMEDIATE`, waits a moment for its turn, and compares
//! versions inside.
//!
//! Writers at one time share a transaction, and so the wait for the disk (group commit). Each has a savepoint of its own
//! in it: who is refused leaves nothing, and the others do not notice.

mod open;
#[path = "sql/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "on purpose: compiled with the types of each database")]
mod sql;

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Sqlite, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::{Lifecycle, Result, StoreError};
use crate::ids::Ids;
use group::{Group, Job, Queued};
#[cfg(test)]
pub(super) use open::migrations;

mod group;

pub(super) type Driver = Sqlite;
pub(super) type Connection = sqlx::SqliteConnection;
pub(super) type Row = SqliteRow;

/// Takes the write lock at once: a transaction that read first and wanted to write then could only fail.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
/// For several statements that have to see one state; in WAL mode the first of them decides which.
const BEGIN_SNAPSHOT: &str = "BEGIN DEFERRED";
/// Writes that wait for their turn; more, and their callers wait.
const WRITES_MAX: usize = 1_024;

/// An open database.
pub(super) struct Handle {
    writes: mpsc::Sender<Queued>,
    readers: SqlitePool,
    ids: Ids,
}

impl Handle {
    pub(super) async fn open(path: &Path, ids: Ids) -> Result<Self> {
        let (writer, readers) = open::open(path).await?;
        let (writes, queue) = mpsc::channel(WRITES_MAX);
        tokio::spawn(Group::new(writer, queue).run());
        Ok(Self { writes, readers, ids })
    }

    /// Carries out `work` in a transaction, which it shares with others; answers once that is on the disk.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Connection) -> group::Working<'c, Result<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queued = Queued::Job(Box::new(Job::new(work, reply)));
        self.writes.send(queued).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// A transaction that only reads, for several statements that have to see one state.
    pub(super) async fn snapshot(&self) -> Result<Transaction<'static, Driver>> {
        self.readers.begin_with(BEGIN_SNAPSHOT).await.map_err(unavailable)
    }

    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }
}

#[async_trait]
impl Lifecycle for Handle {
    async fn close(&self) {
        // Readers first: the last connection to go writes the log back into the file.
        self.readers.close().await;
        let (done, closed) = oneshot::channel();
        if self.writes.send(Queued::Close(done)).await.is_ok() {
            // An error means that the writer is gone already.
            drop(closed.await);
        }
    }
}

impl super::Database for Handle {}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sqlite")
    }
}

/// Nothing has to keep others from giving positions at the same time: there is one writer.
pub(super) async fn lock_sequence(_: &mut Connection) -> Result<bool> {
    Ok(true)
}

fn closed() -> StoreError {
    unavailable(sqlx::Error::PoolClosed)
}

pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    // SQLITE_CORRUPT and SQLITE_NOTADB: trying again does not help.
    match primary_code(&error) {
        Some(11 | 26) => StoreError::Corrupt { what: "the file is malformed".to_owned() },
        _ => StoreError::Unavailable(error.into()),
    }
}

/// SQLite's result code. Extended ones have the primary one in the low byte (<https://sqlite.org/rescode.html>).
fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i64>().ok().map(|code| code & 0xff)
}
