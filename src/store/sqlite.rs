//! The store on SQLite: all SQL there is, and how rows become values.
//!
//! One connection writes, a few read, and none of them is the only one: a command of the operator may have the same file
//! open. So a write begins with `BEGIN IMMEDIATE`, waits a moment for its turn, and compares versions inside.

mod open;

use std::path::Path;

use jiff::Timestamp;
use sqlx::error::ErrorKind;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Row as _, Sqlite as Driver, Transaction};
use vestibule_domain::{
    Actor, ConsentRecord, Event, Participant, ParticipantId, Presence, SessionId, StaffId, StoredSession,
    TenantId, VirtualSession, published,
};

use super::outbox::cloud_event;
use super::profile::{PersonText, Profile};
use super::{Commit, Loaded, StoreError, Tenant};
use crate::ids::Ids;

/// Takes the write lock at once: a transaction that read first and wanted to write then could only fail.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    /// One connection.
    writer: SqlitePool,
    readers: SqlitePool,
    ids: Ids,
}

impl Sqlite {
    pub(super) async fn open(path: &Path, ids: Ids) -> Result<Self, StoreError> {
        let (writer, readers) = open::open(path).await?;
        Ok(Self { writer, readers, ids })
    }

    pub(super) async fn close(&self) {
        // Readers first: the last connection to go writes the log back into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Reading.
impl Sqlite {
    pub(super) async fn tenant_by_name(&self, name: &str) -> Result<Option<Tenant>, StoreError> {
        let row = sqlx::query("SELECT id, name, created_at, policy FROM tenant WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|row| read_tenant(&row)).transpose()
    }

    pub(super) async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let row = sqlx::query("SELECT id, name, created_at, policy FROM tenant WHERE id = ?1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|row| read_tenant(&row)).transpose()
    }

    pub(super) async fn load_session(&self, id: SessionId) -> Result<Option<Loaded>, StoreError> {
        // One transaction, for one snapshot of all its tables.
        let mut transaction = self.readers.begin().await.map_err(unavailable)?;
        let row = sqlx::query("SELECT * FROM virtual_session WHERE id = ?1")
            .bind(id.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let participants = rows_of(&mut transaction, PARTICIPANTS_OF, id).await?;
        let consents = rows_of(&mut transaction, CONSENTS_OF, id).await?;
        let profiles = rows_of(&mut transaction, PROFILES_OF, id).await?;
        transaction.commit().await.map_err(unavailable)?;

        let stored = StoredSession {
            participants: participants.iter().map(read_participant).collect::<Result<_, _>>()?,
            consents: consents.iter().map(read_consent).collect::<Result<_, _>>()?,
            ..read_session(&row)?
        };
        let session = VirtualSession::from_stored(stored)
            .map_err(|error| StoreError::Corrupt { what: format!("session {id}: {error}") })?;
        let profiles = profiles.iter().map(read_profile);
        let profiles = profiles.map(|profile| profile.map(|profile| (profile.participant, profile)));
        Ok(Some(Loaded { session, profiles: profiles.collect::<Result<_, _>>()? }))
    }

    pub(super) async fn due_sessions(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionId>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM virtual_session WHERE next_deadline <= ?1 ORDER BY next_deadline, id LIMIT ?2",
        )
        .bind(now.as_millisecond())
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(unavailable)?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }

    pub(super) async fn live_sessions(&self) -> Result<Vec<SessionId>, StoreError> {
        let rows =
            sqlx::query("SELECT id FROM virtual_session WHERE status IN ('waiting', 'active') ORDER BY id")
                .fetch_all(&self.readers)
                .await
                .map_err(unavailable)?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }

    pub(super) async fn latest_session(&self, tenant: TenantId) -> Result<Option<SessionId>, StoreError> {
        let row = sqlx::query(
            "SELECT id FROM virtual_session WHERE tenant = ?1 ORDER BY created_at DESC, id DESC LIMIT 1",
        )
        .bind(tenant.to_string())
        .fetch_optional(&self.readers)
        .await
        .map_err(unavailable)?;
        row.map(|row| parsed(&row, "id")).transpose()
    }
}

/// Writing.
impl Sqlite {
    pub(super) async fn insert_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let inserted =
            sqlx::query("INSERT INTO tenant (id, name, created_at, policy) VALUES (?1, ?2, ?3, ?4)")
                .bind(tenant.id.to_string())
                .bind(&tenant.name)
                .bind(tenant.created_at.as_millisecond())
                .bind(json(&*tenant.policy))
                .execute(&self.writer)
                .await;
        inserted.map_err(|error| refused(error, "the tenant", "the tenant")).map(drop)
    }

    pub(super) async fn create_session(
        &self,
        session: &VirtualSession,
        events: &[Event],
        profiles: &[Profile],
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let now = session.created_at();
        let mut transaction = self.writer.begin_with(BEGIN_WRITE).await.map_err(unavailable)?;
        // Nobody can be connected to what did not exist.
        let next_deadline = session.next_deadline(&Presence::new());
        insert_session(&mut transaction, session, next_deadline).await?;
        let change = Change { session, events, profiles, actor, now };
        self.write_change(&mut transaction, &change).await?;
        transaction.commit().await.map_err(unavailable)
    }

    pub(super) async fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let Commit { after: session, events, profiles, actor, now, .. } = *commit;
        let mut transaction = self.writer.begin_with(BEGIN_WRITE).await.map_err(unavailable)?;
        // Dropped without a commit, here or below, the transaction is rolled back.
        update_session(&mut transaction, commit).await?;
        let change = Change { session, events, profiles, actor, now };
        self.write_change(&mut transaction, &change).await?;
        transaction.commit().await.map_err(unavailable)
    }

    /// All that goes with a session's row.
    async fn write_change(
        &self,
        transaction: &mut Transaction<'_, Driver>,
        change: &Change<'_>,
    ) -> Result<(), StoreError> {
        write_participants(transaction, change.session).await?;
        write_consents(transaction, change.session).await?;
        write_profiles(transaction, change.session.id(), change.profiles).await?;
        for (ordinal, event) in change.events.iter().enumerate() {
            let ordinal = i64::try_from(ordinal).expect("a command leads to a handful of events");
            let id = self.ids.event(change.now);
            write_event(transaction, change, event, ordinal, &id.to_string()).await?;
            if let Some(published) = published(change.session, event) {
                let id = self.ids.event(change.now);
                let payload = cloud_event(&published, id, change.now);
                let row = OutboxRow { id: id.to_string(), ordinal, payload };
                write_outbox(transaction, change, published.event_type.as_str(), row).await?;
            }
        }
        Ok(())
    }
}

/// What goes with a session's row, whether it is new or changed.
#[derive(Clone, Copy)]
struct Change<'a> {
    session: &'a VirtualSession,
    events: &'a [Event],
    profiles: &'a [Profile],
    actor: &'a Actor,
    now: Timestamp,
}

struct OutboxRow {
    id: String,
    ordinal: i64,
    payload: String,
}

async fn insert_session(
    connection: &mut SqliteConnection,
    session: &VirtualSession,
    next_deadline: Option<Timestamp>,
) -> Result<(), StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO virtual_session (id, tenant, patient_id, provider_ref, scheduled_start, scheduled_end, created_at, \
         communication, backend, room, recording_enabled, policy, status, end_reason, provider_first_joined_at, \
         started_at, ended_at, version, next_deadline) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
    )
    .bind(session.id().to_string())
    .bind(session.tenant().to_string())
    .bind(session.patient_id().as_str())
    .bind(session.provider_ref().as_str())
    .bind(session.scheduled_start().map(Timestamp::as_millisecond))
    .bind(session.scheduled_end().map(Timestamp::as_millisecond))
    .bind(session.created_at().as_millisecond())
    .bind(session.communication().as_str())
    .bind(session.backend().as_str())
    .bind(session.room().as_str())
    .bind(session.recording_enabled())
    .bind(json(&**session.policy()))
    .bind(session.status().as_str())
    .bind(session.end_reason().map(|reason| reason.as_str()))
    .bind(session.provider_first_joined_at().map(Timestamp::as_millisecond))
    .bind(session.started_at().map(Timestamp::as_millisecond))
    .bind(session.ended_at().map(Timestamp::as_millisecond))
    .bind(integer(session.version())?)
    .bind(next_deadline.map(milliseconds_up))
    .execute(connection)
    .await;
    inserted.map_err(|error| refused(error, "the session or its room", "the tenant")).map(drop)
}

/// Every column a command can change, if the version is still the one it was decided on.
async fn update_session(connection: &mut SqliteConnection, commit: &Commit<'_>) -> Result<(), StoreError> {
    let session = commit.after;
    let updated = sqlx::query(
        "UPDATE virtual_session SET scheduled_start = ?3, scheduled_end = ?4, recording_enabled = ?5, status = ?6, \
         end_reason = ?7, provider_first_joined_at = ?8, started_at = ?9, ended_at = ?10, version = ?11, \
         next_deadline = ?12 WHERE id = ?1 AND version = ?2",
    )
    .bind(session.id().to_string())
    .bind(integer(commit.before_version)?)
    .bind(session.scheduled_start().map(Timestamp::as_millisecond))
    .bind(session.scheduled_end().map(Timestamp::as_millisecond))
    .bind(session.recording_enabled())
    .bind(session.status().as_str())
    .bind(session.end_reason().map(|reason| reason.as_str()))
    .bind(session.provider_first_joined_at().map(Timestamp::as_millisecond))
    .bind(session.started_at().map(Timestamp::as_millisecond))
    .bind(session.ended_at().map(Timestamp::as_millisecond))
    .bind(integer(session.version())?)
    .bind(commit.next_deadline.map(milliseconds_up))
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query("SELECT version FROM virtual_session WHERE id = ?1")
        .bind(session.id().to_string())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?
        .ok_or(StoreError::Missing { what: "the session" })?;
    Err(StoreError::Conflict { current_version: natural(&row, "version")? })
}

async fn write_participants(
    connection: &mut SqliteConnection,
    session: &VirtualSession,
) -> Result<(), StoreError> {
    for (position, participant) in session.participants().iter().enumerate() {
        sqlx::query(
            "INSERT INTO participant (session, id, position, role, standing, epoch, first_joined_at, joined_at, \
             admitted_at, left_at, denied) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
             ON CONFLICT (session, id) DO UPDATE SET standing = ?5, epoch = ?6, first_joined_at = ?7, joined_at = ?8, \
             admitted_at = ?9, left_at = ?10, denied = ?11",
        )
        .bind(session.id().to_string())
        .bind(participant.id.to_string())
        .bind(index(position))
        .bind(participant.role.as_str())
        .bind(participant.standing.as_str())
        .bind(participant.epoch)
        .bind(participant.first_joined_at.map(Timestamp::as_millisecond))
        .bind(participant.joined_at.map(Timestamp::as_millisecond))
        .bind(participant.admitted_at.map(Timestamp::as_millisecond))
        .bind(participant.left_at.map(Timestamp::as_millisecond))
        .bind(participant.denied.map(|reason| reason.as_str()))
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    }
    Ok(())
}

/// Adds those that are new. What is on file is never written again.
async fn write_consents(
    connection: &mut SqliteConnection,
    session: &VirtualSession,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT count(*) AS kept FROM consent WHERE session = ?1")
        .bind(session.id().to_string())
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    let kept = usize::try_from(natural(&row, "kept")?).unwrap_or(usize::MAX);
    for (position, consent) in session.consents().iter().enumerate().skip(kept) {
        let (kind, id) = actor_columns(&consent.captured_by);
        sqlx::query(
            "INSERT INTO consent (session, position, consent_type, granted, version, captured_at, captured_by_kind, \
             captured_by_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(session.id().to_string())
        .bind(index(position))
        .bind(consent.consent_type.as_str())
        .bind(consent.granted)
        .bind(consent.version.as_str())
        .bind(consent.captured_at.as_millisecond())
        .bind(kind)
        .bind(id)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    }
    Ok(())
}

async fn write_profiles(
    connection: &mut SqliteConnection,
    session: SessionId,
    profiles: &[Profile],
) -> Result<(), StoreError> {
    for profile in profiles {
        let written = sqlx::query(
            "INSERT INTO participant_profile (session, participant, display_name, relationship) \
             VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (session, participant) DO UPDATE SET display_name = ?3, relationship = ?4",
        )
        .bind(session.to_string())
        .bind(profile.participant.to_string())
        .bind(profile.display_name.as_str())
        .bind(profile.relationship.as_ref().map(PersonText::as_str))
        .execute(&mut *connection)
        .await;
        written.map_err(|error| refused(error, "the profile", "the participant"))?;
    }
    Ok(())
}

async fn write_event(
    connection: &mut SqliteConnection,
    change: &Change<'_>,
    event: &Event,
    ordinal: i64,
    id: &str,
) -> Result<(), StoreError> {
    let (actor_kind, actor_id) = actor_columns(change.actor);
    sqlx::query(
        "INSERT INTO session_event (id, session, version, ordinal, at, actor_kind, actor_id, type, payload) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .bind(id)
    .bind(change.session.id().to_string())
    .bind(integer(change.session.version())?)
    .bind(ordinal)
    .bind(change.now.as_millisecond())
    .bind(actor_kind)
    .bind(actor_id)
    .bind(event.type_name())
    .bind(json(event))
    .execute(connection)
    .await
    .map_err(unavailable)
    .map(drop)
}

async fn write_outbox(
    connection: &mut SqliteConnection,
    change: &Change<'_>,
    event_type: &'static str,
    row: OutboxRow,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox (id, session, version, ordinal, type, payload, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(row.id)
    .bind(change.session.id().to_string())
    .bind(integer(change.session.version())?)
    .bind(row.ordinal)
    .bind(event_type)
    .bind(row.payload)
    .bind(change.now.as_millisecond())
    .execute(connection)
    .await
    .map_err(unavailable)
    .map(drop)
}

// Rows and values.

const PARTICIPANTS_OF: &str = "SELECT * FROM participant WHERE session = ?1 ORDER BY position";
const CONSENTS_OF: &str = "SELECT * FROM consent WHERE session = ?1 ORDER BY position";
const PROFILES_OF: &str = "SELECT * FROM participant_profile WHERE session = ?1";

async fn rows_of(
    connection: &mut SqliteConnection,
    statement: &'static str,
    session: SessionId,
) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(statement).bind(session.to_string()).fetch_all(connection).await.map_err(unavailable)
}

fn read_tenant(row: &SqliteRow) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        id: parsed(row, "id")?,
        name: column(row, "name")?,
        created_at: time(row, "created_at")?,
        policy: from_json(row, "policy")?,
    })
}

/// Without participants and consents, which have tables of their own.
fn read_session(row: &SqliteRow) -> Result<StoredSession, StoreError> {
    Ok(StoredSession {
        id: parsed(row, "id")?,
        tenant: parsed(row, "tenant")?,
        patient_id: parsed(row, "patient_id")?,
        provider_ref: parsed(row, "provider_ref")?,
        scheduled_start: optional_time(row, "scheduled_start")?,
        scheduled_end: optional_time(row, "scheduled_end")?,
        created_at: time(row, "created_at")?,
        communication: parsed(row, "communication")?,
        backend: parsed(row, "backend")?,
        room: parsed(row, "room")?,
        recording_enabled: column(row, "recording_enabled")?,
        policy: from_json(row, "policy")?,
        status: parsed(row, "status")?,
        end_reason: optional_parsed(row, "end_reason")?,
        provider_first_joined_at: optional_time(row, "provider_first_joined_at")?,
        started_at: optional_time(row, "started_at")?,
        ended_at: optional_time(row, "ended_at")?,
        participants: Vec::new(),
        consents: Vec::new(),
        fallback_since: None,
        recordings: Vec::new(),
        encounter: None,
        version: natural(row, "version")?,
    })
}

fn read_participant(row: &SqliteRow) -> Result<Participant, StoreError> {
    Ok(Participant {
        id: parsed(row, "id")?,
        role: parsed(row, "role")?,
        standing: parsed(row, "standing")?,
        epoch: u32::try_from(natural(row, "epoch")?).map_err(|_| damaged("epoch"))?,
        first_joined_at: optional_time(row, "first_joined_at")?,
        joined_at: optional_time(row, "joined_at")?,
        admitted_at: optional_time(row, "admitted_at")?,
        left_at: optional_time(row, "left_at")?,
        denied: optional_parsed(row, "denied")?,
    })
}

fn read_consent(row: &SqliteRow) -> Result<ConsentRecord, StoreError> {
    Ok(ConsentRecord {
        consent_type: parsed(row, "consent_type")?,
        granted: column(row, "granted")?,
        version: parsed(row, "version")?,
        captured_at: time(row, "captured_at")?,
        captured_by: read_actor(row, "captured_by_kind", "captured_by_id")?,
    })
}

fn read_profile(row: &SqliteRow) -> Result<Profile, StoreError> {
    let text = |name: &'static str, text: String| PersonText::parse(&text).map_err(|_| damaged(name));
    Ok(Profile {
        participant: parsed(row, "participant")?,
        display_name: text("display_name", column(row, "display_name")?)?,
        relationship: column::<Option<String>>(row, "relationship")?
            .map(|found| text("relationship", found))
            .transpose()?,
    })
}

fn actor_columns(actor: &Actor) -> (&'static str, Option<String>) {
    match actor {
        Actor::Participant(id) => ("participant", Some(id.to_string())),
        Actor::Staff(id) => ("staff", Some(id.as_str().to_owned())),
        Actor::System => ("system", None),
        Actor::Timer => ("timer", None),
    }
}

fn read_actor(row: &SqliteRow, kind: &'static str, id: &'static str) -> Result<Actor, StoreError> {
    match column::<String>(row, kind)?.as_str() {
        "participant" => Ok(Actor::Participant(parsed::<ParticipantId>(row, id)?)),
        "staff" => Ok(Actor::Staff(parsed::<StaffId>(row, id)?)),
        "system" => Ok(Actor::System),
        "timer" => Ok(Actor::Timer),
        _ => Err(damaged(kind)),
    }
}

fn column<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Driver> + sqlx::Type<Driver>,
{
    row.try_get(name).map_err(|_| damaged(name))
}

fn parsed<T: std::str::FromStr>(row: &SqliteRow, name: &'static str) -> Result<T, StoreError> {
    column::<String>(row, name)?.parse().map_err(|_| damaged(name))
}

fn optional_parsed<T: std::str::FromStr>(
    row: &SqliteRow,
    name: &'static str,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = column(row, name)?;
    text.map(|text| text.parse().map_err(|_| damaged(name))).transpose()
}

fn optional_time(row: &SqliteRow, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
    let milliseconds: Option<i64> = column(row, name)?;
    milliseconds.map(|value| Timestamp::from_millisecond(value).map_err(|_| damaged(name))).transpose()
}

fn time(row: &SqliteRow, name: &'static str) -> Result<Timestamp, StoreError> {
    optional_time(row, name)?.ok_or_else(|| damaged(name))
}

fn natural(row: &SqliteRow, name: &'static str) -> Result<u64, StoreError> {
    u64::try_from(column::<i64>(row, name)?).map_err(|_| damaged(name))
}

fn from_json<T: serde::de::DeserializeOwned>(row: &SqliteRow, name: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(&column::<String>(row, name)?).map_err(|_| damaged(name))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("the domain's values have string keys and nothing that fails")
}

fn integer(version: u64) -> Result<i64, StoreError> {
    i64::try_from(version).map_err(|_| damaged("version"))
}

fn index(position: usize) -> i64 {
    i64::try_from(position).expect("the lists of a session are short")
}

/// Rounded up: a session that is due must be so for the domain too, or it would be asked again and again in between.
fn milliseconds_up(at: Timestamp) -> i64 {
    let below = at.as_millisecond();
    let exact = Timestamp::from_millisecond(below).is_ok_and(|whole| whole >= at);
    if exact { below } else { below.saturating_add(1) }
}

// Errors.

/// Names the column, never what is in it: it may be about a person.
fn damaged(column: &'static str) -> StoreError {
    StoreError::Corrupt { what: format!("the column {column} has a value it cannot have") }
}

fn unavailable(error: sqlx::Error) -> StoreError {
    // SQLITE_CORRUPT and SQLITE_NOTADB: trying again does not help.
    match primary_code(&error) {
        Some(11 | 26) => StoreError::Corrupt { what: "the file is malformed".to_owned() },
        _ => StoreError::Unavailable(error),
    }
}

/// SQLite's result code. Extended ones have the primary one in the low byte (<https://sqlite.org/rescode.html>).
fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i64>().ok().map(|code| code & 0xff)
}

/// What an insert was refused for: `taken` is there already, or `owner` is not.
fn refused(error: sqlx::Error, taken: &'static str, owner: &'static str) -> StoreError {
    match error.as_database_error().map(|error| error.kind()) {
        Some(ErrorKind::UniqueViolation) => StoreError::Exists { what: taken },
        Some(ErrorKind::ForeignKeyViolation) => StoreError::Missing { what: owner },
        _ => unavailable(error),
    }
}
