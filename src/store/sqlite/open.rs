//! Opening the file: its permissions, its settings, its tables; and what to tell a person when that fails.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::{BEGIN_WRITE, StoreError, primary_code};

/// How long a write waits for another process's.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection, then it is refused. Longer than one other's wait for its turn.
const ACQUIRE_WAIT: Duration = Duration::from_secs(10);
const READERS_MAX: u32 = 4;
/// 'VEST', in the header of the file: set by the first migration.
const APPLICATION_ID: i64 = 0x5645_5354;

pub(super) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
    create_private(path).map_err(|error| file_error(path, &error))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT)
        // What was answered as committed survives a power cut, too.
        .synchronous(SqliteSynchronous::Full);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_WAIT)
        .connect_with(options.clone().journal_mode(SqliteJournalMode::Wal))
        .await
        .map_err(|error| database_error(path, &error))?;
    migrate(path, &writer).await?;
    // Not opened read-only: in WAL mode a reader may have to make the shared-memory file. It just may not write rows.
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(ACQUIRE_WAIT)
        .connect_lazy_with(options.pragma("query_only", "ON"));
    Ok((writer, readers))
}

/// Makes the file if there is none, for its owner alone. SQLite gives its side files the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

async fn migrate(path: &Path, writer: &SqlitePool) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| database_error(path, &error);
    // Under the write lock as a whole: of two processes that start at once, one migrates and the other finds it done.
    let mut transaction = writer.begin_with(BEGIN_WRITE).await.map_err(failed)?;
    refuse_other_programs(path, &mut transaction).await?;
    let migrator = Migrator::with_migrations(vec![migration(
        1,
        "sessions",
        include_str!("../../../migrations/sqlite/0001_sessions.sql"),
    )]);
    migrator.run_direct(None, &mut *transaction, false).await.map_err(|error| migrate_error(path, error))?;
    transaction.commit().await.map_err(failed)
}

/// `sqlx::migrate!` would do the same, with a procedural macro and a build script for one line.
fn migration(version: i64, description: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

async fn refuse_other_programs(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| database_error(path, &error);
    let id: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        return Ok(());
    }
    Err(StoreError::Open {
        path: path.to_owned(),
        problem: "it is a database of another program".to_owned(),
        advice: "name another file",
    })
}

fn file_error(path: &Path, error: &io::Error) -> StoreError {
    let advice = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "make the folder it is to be in, or name another file"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let the user the server runs as write to the file and its folder, or name another file"
        }
        io::ErrorKind::IsADirectory => "name a file in that folder",
        _ => "name another file, or look at the disk",
    };
    StoreError::Open { path: path.to_owned(), problem: error.to_string(), advice }
}

fn database_error(path: &Path, error: &sqlx::Error) -> StoreError {
    let advice = match primary_code(error) {
        Some(5 | 6) => "another process keeps it locked: stop that one, or try again",
        Some(8 | 14) => {
            "let the user the server runs as write to the file and its folder, or name another file"
        }
        Some(11) => "the file is damaged: restore a backup",
        Some(13) => "make room on the disk",
        Some(26) => "the file is no SQLite database: move it away, or name another file",
        _ => "look at the disk, or name another file",
    };
    let problem =
        error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    StoreError::Open { path: path.to_owned(), problem, advice }
}

fn migrate_error(path: &Path, error: MigrateError) -> StoreError {
    let advice = match &error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            return database_error(path, source);
        }
        MigrateError::VersionMissing(_) => "a newer version of the server wrote it: run that one",
        MigrateError::VersionMismatch(_) => "another version of the server wrote it: run that one",
        _ => "restore a backup, or name another file",
    };
    StoreError::Open { path: path.to_owned(), problem: error.to_string(), advice }
}
