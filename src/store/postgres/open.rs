//! Connecting to the server, its tables, and what to tell a person when that fails.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, SqlSafeStr as _};

use super::{Result, StoreError};

const CONNECTIONS_MAX: u32 = 16;
/// How long a call waits for a connection, then it is refused.
const ACQUIRE_WAIT: Duration = Duration::from_secs(10);
/// A connection that was not used for longer is tried before it is.
const IDLE_TRUSTED: Duration = Duration::from_secs(3);
/// The oldest version that is tested.
const SERVER_VERSION_MIN: i32 = 15;

pub(super) async fn open(url: &str) -> Result<PgPool> {
    let (place, pool) = connect(url).await?;
    check_version(&place, &pool).await?;
    migrate(&place, &pool).await?;
    Ok(pool)
}

/// Whether the server can be used, and what it is; changes nothing.
pub(super) async fn probe(url: &str) -> Result<String> {
    let (place, pool) = connect(url).await?;
    let major = check_version(&place, &pool).await?;
    pool.close().await;
    Ok(format!("{place}, PostgreSQL {major}"))
}

/// A pool, and what to call it: never by its password.
async fn connect(url: &str) -> Result<(String, PgPool)> {
    let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Open {
        place: "of --database".to_owned(),
        problem: "the URL cannot be understood".to_owned(),
        advice: "write postgres://user:password@host/database",
    })?;
    let options = options
        .application_name("vestibule")
        // A statement that hangs holds a session's task, and with it everybody in the session.
        .options([
            ("statement_timeout", "10s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ]);
    let place = format!("{} on {}", options.get_database().unwrap_or("(default)"), options.get_host());
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_WAIT)
        // A server that was started again is noticed here, not by a caller; a connection that was just used is good.
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            Box::pin(async move {
                if usage.idle_for > IDLE_TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
        .map_err(|error| database_error(&place, &error))?;
    Ok((place, pool))
}

/// Its major version, if that is new enough.
async fn check_version(place: &str, pool: &PgPool) -> Result<i32> {
    let failed = |error: sqlx::Error| database_error(place, &error);
    let number: String =
        sqlx::query_scalar("SHOW server_version_num").fetch_one(pool).await.map_err(failed)?;
    let major = number.parse::<i32>().map_or(0, |number| number / 10_000);
    if major >= SERVER_VERSION_MIN {
        return Ok(major);
    }
    Err(StoreError::Open {
        place: place.to_owned(),
        problem: format!("it is PostgreSQL {major}"),
        advice: "PostgreSQL 15 or newer is needed",
    })
}

async fn migrate(place: &str, pool: &PgPool) -> Result<()> {
    let failed = |error: sqlx::Error| database_error(place, &error);
    let mut connection = pool.acquire().await.map_err(failed)?;
    // Of two servers that start at once, one migrates and the other finds it done.
    connection.lock().await.map_err(|error| migrate_error(place, &error))?;
    let migrator = Migrator::with_migrations(vec![
        migration(1, "sessions", include_str!("../../../migrations/postgres/0001_sessions.sql")),
        migration(3, "accounts", include_str!("../../../migrations/postgres/0003_accounts.sql")),
        migration(4, "visits", include_str!("../../../migrations/postgres/0004_visits.sql")),
        migration(5, "resume", include_str!("../../../migrations/postgres/0005_resume.sql")),
        migration(6, "quality", include_str!("../../../migrations/postgres/0006_quality.sql")),
        migration(7, "thread", include_str!("../../../migrations/postgres/0007_thread.sql")),
    ]);
    let migrated = migrator.run_direct(None, &mut *connection, false).await;
    let unlocked = connection.unlock().await;
    migrated.and(unlocked).map_err(|error| migrate_error(place, &error))
}

fn migration(version: i64, description: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

fn database_error(place: &str, error: &sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    let advice = match (&*code, error) {
        ("28P01" | "28000", _) => "look at user and password of --database, and at pg_hba.conf",
        ("3D000", _) => "make the database: createdb",
        ("42501", _) => "let this user make tables: GRANT CREATE ON SCHEMA public",
        ("53300", _) => "raise max_connections of the server",
        (_, sqlx::Error::Io(_)) => "see that the server runs and can be reached from here",
        (_, sqlx::Error::Tls(_)) => "look at sslmode and sslrootcert of --database",
        _ => "look at --database, and at the log of the database server",
    };
    let problem =
        error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    StoreError::Open { place: place.to_owned(), problem, advice }
}

fn migrate_error(place: &str, error: &MigrateError) -> StoreError {
    let advice = match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            return database_error(place, source);
        }
        MigrateError::VersionMissing(_) => "a newer version of the server wrote it: run that one",
        MigrateError::VersionMismatch(_) => "another version of the server wrote it: run that one",
        _ => "restore a backup, or name another database",
    };
    StoreError::Open { place: place.to_owned(), problem: error.to_string(), advice }
}
