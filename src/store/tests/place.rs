//! Where a story's database is, and a look at it from beside the store.

use std::path::PathBuf;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::store::{Location, PostgresUrl};
use crate::testing::TempDir;
use crate::testing::postgres::Server;

/// A database of its own for each story.
pub(super) enum Place {
    File(TempDir),
    Postgres(PostgresUrl),
}

impl Place {
    pub(super) fn file() -> Self {
        Self::File(TempDir::new())
    }

    pub(super) async fn postgres() -> Self {
        // Starting a server takes a while, and others want to go on.
        let url = tokio::task::spawn_blocking(|| Server::shared(|| TempDir::new().keep()).database())
            .await
            .unwrap();
        Self::Postgres(url.parse().unwrap())
    }

    pub(super) fn location(&self) -> Location {
        match self {
            Self::File(folder) => Location::File(path(folder)),
            Self::Postgres(url) => Location::Postgres(url.clone()),
        }
    }

    /// What a statement answers that asks for one column of text.
    pub(super) async fn texts(&self, statement: &str) -> Vec<String> {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::File(folder) => {
                let mut connection = beside(folder).await;
                let texts = sqlx::query_scalar(statement).fetch_all(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                texts
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
                let texts = sqlx::query_scalar(statement).fetch_all(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                texts
            }
        }
    }

    pub(super) async fn count(&self, table: &str) -> usize {
        self.texts(&format!("SELECT CAST(count(*) AS TEXT) FROM {table}")).await[0].parse().unwrap()
    }

    pub(super) async fn execute(&self, statement: &str) -> Result<(), sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::File(folder) => {
                let mut connection = beside(folder).await;
                let done = sqlx::raw_sql(statement).execute(&mut connection).await.map(drop);
                connection.close().await.unwrap();
                done
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
                let done = sqlx::raw_sql(statement).execute(&mut connection).await.map(drop);
                connection.close().await.unwrap();
                done
            }
        }
    }

    /// Has every new row of a table fail, as a disk does that is full.
    pub(super) async fn break_inserts(&self, table: &str) {
        let statement = match self {
            Self::File(_) => format!(
                "CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END"
            ),
            Self::Postgres(_) => format!(
                "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the disk is gone'; END $$; \
                 CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION break()"
            ),
        };
        self.execute(&statement).await.unwrap();
    }

    pub(super) async fn mend_inserts(&self, table: &str) {
        let statement = match self {
            Self::File(_) => "DROP TRIGGER broken".to_owned(),
            Self::Postgres(_) => format!("DROP TRIGGER broken ON {table}"),
        };
        self.execute(&statement).await.unwrap();
    }
}

pub(super) fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("vestibule.db")
}

/// A connection beside the store's, as another process has.
pub(super) async fn beside(folder: &TempDir) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path(folder)).connect().await.unwrap()
}
