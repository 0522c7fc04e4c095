//! What is so of the SQLite file alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use vestibule_domain::{Command, Context, Presence};

use super::place::{beside, path};
use super::{Place, Visit, ids};
use crate::store::sqlite::migrations;
use crate::store::{AuditFilter, Beside, Commit, Location, Page, Store, StoreError};
use crate::testing::TempDir;

async fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(&Location::File(path.to_owned()), ids()).await
}

async fn refused_to_open(path: &Path) -> String {
    let refused = open(path).await.unwrap_err();
    assert!(matches!(refused, StoreError::Open { .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    text
}

#[tokio::test]
async fn a_database_that_cannot_be_used_says_which_and_what_to_do() {
    let folder = TempDir::new();
    let text = refused_to_open(&folder.path().join("missing/vestibule.db")).await;
    assert!(text.contains("make the folder"), "{text}");
    let text = refused_to_open(folder.path()).await;
    assert!(text.contains("name a file in that folder"), "{text}");

    let no_database = folder.path().join("letter.txt");
    std::fs::write(&no_database, "Dear Sir or Madam, ".repeat(200)).unwrap();
    let text = refused_to_open(&no_database).await;
    assert!(text.contains("no SQLite database"), "{text}");
    assert!(std::fs::read_to_string(&no_database).unwrap().starts_with("Dear Sir"), "and is left as it was");

    let other = folder.path().join("other.db");
    let mut connection =
        SqliteConnectOptions::new().filename(&other).create_if_missing(true).connect().await.unwrap();
    sqlx::query("CREATE TABLE bookmark (url TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let text = refused_to_open(&other).await;
    assert!(text.contains("another program"), "{text}");
}

#[tokio::test]
async fn a_folder_nothing_can_be_written_to_is_named() {
    let folder = TempDir::new();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(folder.path().join("probe"), "").is_err() {
        let text = refused_to_open(&path(&folder)).await;
        assert!(text.contains("let the user the server runs as write"), "{text}");
    } else {
        // Root may write anywhere but into procfs, which takes a file from nobody.
        refused_to_open(Path::new("/proc/vestibule.db")).await;
    }
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let folder = TempDir::new();
    open(&path(&folder)).await.unwrap().close().await;
    let mut connection = beside(&folder).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let text = refused_to_open(&path(&folder)).await;
    assert!(text.contains("newer version"), "{text}");
}

#[tokio::test]
async fn the_file_and_its_side_files_are_private_and_durable() {
    let place = Place::file();
    let visit = Visit::new(&place).await;
    let Place::File(folder) = &place else { panic!("it is a file") };
    for suffix in ["", "-wal", "-shm"] {
        let file = folder.path().join(format!("vestibule.db{suffix}"));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let mut connection = beside(folder).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, "wal");
    // `synchronous` belongs to a connection: the store looks at its own when it opens, and refuses to go on without.
    drop(visit);
}

/// What the first version wrote is there after the migrations that followed, and can be changed.
#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_with_all_that_is_in_it() {
    let folder = TempDir::new();
    let options =
        SqliteConnectOptions::new().filename(path(&folder)).create_if_missing(true).foreign_keys(true);
    let mut connection = options.connect().await.unwrap();
    let first = sqlx::migrate::Migrator::with_migrations(migrations()[..1].to_vec());
    first.run_direct(None, &mut connection, false).await.unwrap();
    sqlx::raw_sql(FIRST_VERSION).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = open(&path(&folder)).await.unwrap();
    let tenant = store.tenant_by_name("Old Clinic").await.unwrap().unwrap();
    let config = store.config(tenant.id).await.unwrap().unwrap();
    assert_eq!((config.version(), config.policy().no_show_minutes), (1, 42));
    let id = "0197d0f8-0000-7000-8000-000000000002".parse().unwrap();
    let loaded = store.load_session(id).await.unwrap().unwrap();
    assert_eq!((loaded.session.version(), loaded.session.policy().text_grace_minutes), (1, 30));
    assert!(store.resume_keys(id).await.unwrap().is_empty());
    while store.sequence(10).await.unwrap() > 0 {}
    let told = store.feed(tenant.id, 0, &[], 10).await.unwrap();
    assert_eq!(told.len(), 1, "what was not told yet is told now");
    let lines =
        store.audit(tenant.id, &AuditFilter::default(), Page { after: None, limit: 10 }).await.unwrap();
    assert_eq!(lines.iter().map(|line| &*line.action).collect::<Vec<_>>(), ["session.created"]);

    let presence = Presence::new();
    let context = Context { now: super::at(60), actor: &super::staff(), presence: &presence };
    let events = loaded.session.decide(&Command::Cancel, &context).unwrap();
    let mut after = loaded.session.clone();
    after.commit(&events);
    let commit = Commit {
        before_version: 1,
        after: &after,
        events: &events,
        actor: &super::staff(),
        now: super::at(60),
        next_deadline: None,
        profiles: &[],
        resume: &[],
        hands_on: false,
        beside: &Beside::default(),
    };
    store.commit(commit).await.unwrap();
}

/// Rows as the first version wrote them.
const FIRST_VERSION: &str = r#"
INSERT INTO tenant VALUES ('0197d0f8-0000-7000-8000-000000000001', 'Old Clinic', 1751000000000, '{"no_show_minutes":42}');
INSERT INTO virtual_session VALUES ('0197d0f8-0000-7000-8000-000000000002', '0197d0f8-0000-7000-8000-000000000001',
    'mrn-1', 'desk', NULL, NULL, 1780300800000, 'speech', 'embedded', 'room-1', 0, '{"no_show_minutes":42}', 'scheduled',
    NULL, NULL, NULL, NULL, 1, 1780303320000);
INSERT INTO session_event VALUES ('0197d0f8-0000-7000-8000-000000000003', '0197d0f8-0000-7000-8000-000000000002', 1, 0,
    1780300800000, 'system', NULL, 'created', '{"type":"created"}');
INSERT INTO outbox VALUES ('0197d0f8-0000-7000-8000-000000000004', '0197d0f8-0000-7000-8000-000000000002', 1, 0,
    'virtual_care.session.created.v1', '{}', 1780300800000);
"#;
