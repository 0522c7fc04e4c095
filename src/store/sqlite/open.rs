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
use tokio::time::Instant;

use super::{BEGIN_WRITE, StoreError, primary_code};

/// How long a write waits for another process's.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection, then it is refused. Longer than one other's wait for its turn.
const ACQUIRE_WAIT: Duration = Duration::from_secs(10);
/// The pause between two attempts to connect while the file is busy.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(25);
/// SQLITE_BUSY.
const BUSY: i64 = 5;
/// `PRAGMA synchronous` of FULL (<https://sqlite.org/pragma.html#pragma_synchronous>).
const SYNCHRONOUS_FULL: i64 = 2;
const READERS_MAX: u32 = 4;
/// Rows that are read ahead of who asks for them: all of a session, so that its thread and ours do not wait for each other
/// row by row.
const ROWS_AHEAD: usize = 1_024;
/// 'VEST', in the header of the file: set by the first migration.
const APPLICATION_ID: i64 = 0x5645_5354;

pub(super) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
    create_private(path).map_err(|error| file_error(path, &error))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT)
        .row_buffer_size(ROWS_AHEAD)
        // What was answered as committed survives a power cut, too.
        .synchronous(SqliteSynchronous::Full);
    let writer = connect_writer(path, options.clone().journal_mode(SqliteJournalMode::Wal)).await?;
    assert_durable(path, &writer).await?;
    migrate(path, &writer).await?;
    // Not opened read-only: in WAL mode a reader may have to make the shared-memory file. It just may not write rows.
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(ACQUIRE_WAIT)
        // There is no line that could be gone.
        .test_before_acquire(false)
        .connect_lazy_with(options.pragma("query_only", "ON"));
    Ok((writer, readers))
}

/// Of two processes that switch a new file to WAL at once SQLite refuses one on the spot, without the wait that was asked
/// for: each holds what the other needs. It says nothing when that is over, so it is tried again.
async fn connect_writer(path: &Path, options: SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
    let first_attempt = Instant::now();
    loop {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_WAIT)
            .test_before_acquire(false);
        match pool.connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) if primary_code(&error) == Some(BUSY) && first_attempt.elapsed() < BUSY_WAIT => {
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            Err(error) => return Err(database_error(path, &error)),
        }
    }
}

/// Asked for is not had: a file system without shared memory leaves WAL out, a build of SQLite may leave out more.
async fn assert_durable(path: &Path, writer: &SqlitePool) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| database_error(path, &error);
    let journal: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await.map_err(failed)?;
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await.map_err(failed)?;
    if journal == "wal" && synchronous == SYNCHRONOUS_FULL {
        return Ok(());
    }
    Err(StoreError::Open {
        place: place(path),
        problem: format!(
            "it runs with journal_mode={journal} and synchronous={synchronous}, not wal and full"
        ),
        advice: "move the data folder to a local disk",
    })
}

/// Makes the file if there is none, for its owner alone. SQLite gives its side files the same mode.
///
/// A file that is there is not even opened: closing it would take away the locks that a store of this process holds on
/// it (<https://sqlite.org/howtocorrupt.html>, 2.2).
fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            Err(io::ErrorKind::IsADirectory.into())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

async fn migrate(path: &Path, writer: &SqlitePool) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| database_error(path, &error);
    // Under the write lock as a whole: of two processes that start at once, one migrates and the other finds it done.
    let mut transaction = writer.begin_with(BEGIN_WRITE).await.map_err(failed)?;
    refuse_other_programs(path, &mut transaction).await?;
    let migrator = Migrator::with_migrations(migrations());
    migrator.run_direct(None, &mut *transaction, false).await.map_err(|error| migrate_error(path, error))?;
    transaction.commit().await.map_err(failed)
}

/// Forward only: what was released is never edited.
pub(in crate::store) fn migrations() -> Vec<Migration> {
    vec![
        migration(1, "sessions", include_str!("../../../migrations/sqlite/0001_sessions.sql")),
        migration(2, "one log", include_str!("../../../migrations/sqlite/0002_one_log.sql")),
        migration(3, "accounts", include_str!("../../../migrations/sqlite/0003_accounts.sql")),
        migration(4, "visits", include_str!("../../../migrations/sqlite/0004_visits.sql")),
        migration(5, "resume", include_str!("../../../migrations/sqlite/0005_resume.sql")),
        migration(6, "quality", include_str!("../../../migrations/sqlite/0006_quality.sql")),
        migration(7, "thread", include_str!("../../../migrations/sqlite/0007_thread.sql")),
    ]
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
        place: place(path),
        problem: "it is a database of another program".to_owned(),
        advice: "name another file",
    })
}

fn place(path: &Path) -> String {
    path.display().to_string()
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
    StoreError::Open { place: place(path), problem: error.to_string(), advice }
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
    StoreError::Open { place: place(path), problem, advice }
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
    StoreError::Open { place: place(path), problem: error.to_string(), advice }
}
