//! Virtual sessions.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::QueryBuilder;
use vestibule_domain::{
    Actor, BackendRoom, ConsentRecord, Event, Participant, ParticipantId, Presence, SessionId, StoredSession,
    TenantId, VideoBackend, VirtualSession,
};
use vestibule_signaling::ResumeKeys;

use super::log::write_log;
use super::resume::{read_keys, write_keys};
use super::row::{
    actor, actor_columns, column, from_json, natural, optional_parsed, optional_time, parsed, small, time,
};
use super::thread::ask_handover;
use super::{Connection, Driver, Handle, Result, Row, damaged, index, integer, refused, unavailable};
use crate::store::log::{Logged, json};
use crate::store::profile::{PersonText, Profile};
use crate::store::{Beside, Commit, Loaded, Page, SessionFilter, SessionStore, StoreError};

#[async_trait]
impl SessionStore for Handle {
    async fn create_session(
        &self,
        session: &VirtualSession,
        events: &[Event],
        profiles: &[Profile],
        actor: &Actor,
        beside: &Beside,
    ) -> Result<()> {
        assert_eq!(session.version(), 1, "a session is created by the command that makes it");
        // Nobody can be connected to what did not exist.
        let next_deadline = session.next_deadline(&Presence::new());
        let logged = Logged::of_session(session, events, (actor, session.created_at()), beside, self.ids());
        self.write_session(Change {
            row: Written::New,
            touched: session.participants().iter().map(|participant| participant.id).collect(),
            session: session.clone(),
            profiles: profiles.to_vec(),
            resume: Vec::new(),
            next_deadline,
            hands_on_at: None,
            logged,
        })
        .await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<()> {
        let Commit { before_version, after, events, actor, now, next_deadline, .. } = commit;
        let Commit { profiles, resume, hands_on, beside, .. } = commit;
        let expected = before_version + u64::from(!events.is_empty());
        assert_eq!(after.version(), expected, "one version a command, and none without events");
        let only_secrets = events.is_empty() && profiles.is_empty() && !resume.is_empty();
        self.write_session(Change {
            row: if only_secrets { Written::Same } else { Written::Changed { before_version } },
            touched: events.iter().filter_map(Event::participant).collect(),
            session: after.clone(),
            profiles: profiles.to_vec(),
            resume: resume.to_vec(),
            next_deadline,
            hands_on_at: hands_on.then_some(now),
            logged: Logged::of_session(after, events, (actor, now), beside, self.ids()),
        })
        .await
    }

    async fn load_session(&self, id: SessionId) -> Result<Option<Loaded>> {
        // One transaction, for one snapshot of all its tables.
        let mut transaction = self.snapshot().await?;
        let row = sqlx::query("SELECT * FROM virtual_session WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let loaded = with_belongings(&mut transaction, vec![read_session(&row)?]).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(loaded.into_iter().next())
    }

    async fn resume_keys(&self, session: SessionId) -> Result<BTreeMap<ParticipantId, ResumeKeys>> {
        read_keys(self.readers(), session).await
    }

    async fn list_sessions(
        &self,
        tenant: TenantId,
        filter: &SessionFilter,
        page: Page<SessionId>,
    ) -> Result<Vec<Loaded>> {
        let mut transaction = self.snapshot().await?;
        let mut select = selection(tenant, filter, &page);
        let rows = select.build().fetch_all(&mut *transaction).await.map_err(unavailable)?;
        let stored = rows.iter().map(read_session).collect::<Result<Vec<_>>>()?;
        let loaded = with_belongings(&mut transaction, stored).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(loaded)
    }

    async fn due_sessions(&self, now: Timestamp, limit: u32) -> Result<Vec<SessionId>> {
        let rows = sqlx::query(
            "SELECT id FROM virtual_session WHERE next_deadline <= $1 ORDER BY next_deadline, id LIMIT $2",
        )
        .bind(now.as_millisecond())
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }

    async fn live_sessions(&self) -> Result<Vec<SessionId>> {
        let rows =
            sqlx::query("SELECT id FROM virtual_session WHERE status IN ('waiting', 'active') ORDER BY id")
                .fetch_all(self.readers())
                .await
                .map_err(unavailable)?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }

    async fn latest_session(&self, tenant: TenantId) -> Result<Option<SessionId>> {
        let row = sqlx::query(
            "SELECT id FROM virtual_session WHERE tenant = $1 ORDER BY created_at DESC, id DESC LIMIT 1",
        )
        .bind(tenant.to_string())
        .fetch_optional(self.readers())
        .await
        .map_err(unavailable)?;
        row.map(|row| parsed(&row, "id")).transpose()
    }

    async fn rooms_without_session(
        &self,
        backend: VideoBackend,
        rooms: &[BackendRoom],
    ) -> Result<Vec<BackendRoom>> {
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let mut select: QueryBuilder<Driver> = QueryBuilder::new(
            "SELECT room FROM virtual_session WHERE status IN ('scheduled', 'waiting', 'active') AND backend = ",
        );
        select.push_bind(backend.as_str()).push(" AND room IN (");
        let mut list = select.separated(", ");
        for room in rooms {
            list.push_bind(room.as_str().to_owned());
        }
        select.push(")");
        let rows = select.build().fetch_all(self.readers()).await.map_err(unavailable)?;
        let used = rows.iter().map(|row| parsed(row, "room")).collect::<Result<BTreeSet<BackendRoom>>>()?;
        Ok(rooms.iter().filter(|room| !used.contains(*room)).cloned().collect())
    }
}

/// A session's row and all that goes with it, whether it is new or changed.
struct Change {
    row: Written,
    session: VirtualSession,
    /// Whose records may have changed.
    touched: BTreeSet<ParticipantId>,
    profiles: Vec<Profile>,
    resume: Vec<(ParticipantId, ResumeKeys)>,
    next_deadline: Option<Timestamp>,
    /// When its thread is to be handed on.
    hands_on_at: Option<Timestamp>,
    logged: Logged,
}

/// What becomes of a session's own row.
#[derive(Clone, Copy)]
enum Written {
    New,
    Changed { before_version: u64 },
    Same,
}

impl Handle {
    async fn write_session(&self, change: Change) -> Result<()> {
        let audit_ids = self.audit_ids(&change.logged.beside);
        self.write(move |connection| {
            Box::pin(async move {
                let deadline = change.next_deadline;
                match change.row {
                    Written::New => insert_session(connection, &change.session, deadline).await?,
                    Written::Changed { before_version } => {
                        update_session(connection, &change.session, before_version, deadline).await?;
                    }
                    Written::Same => {}
                }
                if let Some(mut insert) = participants(&change.session, &change.touched) {
                    insert.build().execute(&mut *connection).await.map_err(unavailable)?;
                }
                write_consents(connection, &change).await?;
                write_profiles(connection, change.session.id(), &change.profiles).await?;
                write_keys(connection, change.session.id(), &change.resume).await?;
                if let Some(at) = change.hands_on_at {
                    ask_handover(connection, change.session.id(), at).await?;
                }
                write_log(connection, audit_ids, &change.logged).await
            })
        })
        .await
    }
}

async fn insert_session(
    connection: &mut Connection,
    session: &VirtualSession,
    next_deadline: Option<Timestamp>,
) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO virtual_session (id, tenant, patient_id, provider_ref, scheduled_start, scheduled_end, created_at, \
         communication, backend, room, recording_enabled, policy, status, end_reason, provider_first_joined_at, \
         started_at, ended_at, version, next_deadline, fallback_since, recordings, encounter) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)",
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
    .bind(session.fallback_since().map(Timestamp::as_millisecond))
    .bind(json(&session.recordings()))
    .bind(session.encounter().map(|encounter| encounter.as_str()))
    .execute(connection)
    .await;
    inserted.map_err(|error| refused(error, "the session or its room", "the tenant")).map(drop)
}

/// Every column a command can change, if the version is still the one it was decided on.
async fn update_session(
    connection: &mut Connection,
    session: &VirtualSession,
    before_version: u64,
    next_deadline: Option<Timestamp>,
) -> Result<()> {
    let updated = sqlx::query(
        "UPDATE virtual_session SET scheduled_start = $3, scheduled_end = $4, recording_enabled = $5, status = $6, \
         end_reason = $7, provider_first_joined_at = $8, started_at = $9, ended_at = $10, version = $11, \
         next_deadline = $12, fallback_since = $13, recordings = $14, encounter = $15 \
         WHERE id = $1 AND version = $2",
    )
    .bind(session.id().to_string())
    .bind(integer(before_version)?)
    .bind(session.scheduled_start().map(Timestamp::as_millisecond))
    .bind(session.scheduled_end().map(Timestamp::as_millisecond))
    .bind(session.recording_enabled())
    .bind(session.status().as_str())
    .bind(session.end_reason().map(|reason| reason.as_str()))
    .bind(session.provider_first_joined_at().map(Timestamp::as_millisecond))
    .bind(session.started_at().map(Timestamp::as_millisecond))
    .bind(session.ended_at().map(Timestamp::as_millisecond))
    .bind(integer(session.version())?)
    .bind(next_deadline.map(milliseconds_up))
    .bind(session.fallback_since().map(Timestamp::as_millisecond))
    .bind(json(&session.recordings()))
    .bind(session.encounter().map(|encounter| encounter.as_str()))
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query("SELECT version FROM virtual_session WHERE id = $1")
        .bind(session.id().to_string())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?
        .ok_or(StoreError::Missing { what: "the session" })?;
    Err(StoreError::Conflict { current_version: natural(&row, "version")? })
}

/// Writes those records that may have changed.
fn participants(session: &VirtualSession, touched: &BTreeSet<ParticipantId>) -> Option<QueryBuilder<Driver>> {
    let records = session.participants().iter().enumerate();
    let mut records = records.filter(|(_, record)| touched.contains(&record.id)).peekable();
    records.peek()?;
    let mut insert: QueryBuilder<Driver> = QueryBuilder::new(
        "INSERT INTO participant (session, id, position, role, standing, epoch, first_joined_at, joined_at, \
         admitted_at, left_at, denied) ",
    );
    insert.push_values(records, |mut row, (position, participant)| {
        row.push_bind(session.id().to_string())
            .push_bind(participant.id.to_string())
            .push_bind(index(position))
            .push_bind(participant.role.as_str())
            .push_bind(participant.standing.as_str())
            .push_bind(i64::from(participant.epoch))
            .push_bind(participant.first_joined_at.map(Timestamp::as_millisecond))
            .push_bind(participant.joined_at.map(Timestamp::as_millisecond))
            .push_bind(participant.admitted_at.map(Timestamp::as_millisecond))
            .push_bind(participant.left_at.map(Timestamp::as_millisecond))
            .push_bind(participant.denied.map(|reason| reason.as_str()));
    });
    insert.push(
        " ON CONFLICT (session, id) DO UPDATE SET standing = excluded.standing, epoch = excluded.epoch, \
         first_joined_at = excluded.first_joined_at, joined_at = excluded.joined_at, \
         admitted_at = excluded.admitted_at, left_at = excluded.left_at, denied = excluded.denied",
    );
    Some(insert)
}

/// Adds those that are new: each event that captured one is the last in the list. What is on file is never written again.
async fn write_consents(connection: &mut Connection, change: &Change) -> Result<()> {
    let captured = change.logged.events.iter().filter(|event| event.event_type == "consent_captured").count();
    let consents = change.session.consents();
    for (position, consent) in consents.iter().enumerate().skip(consents.len().saturating_sub(captured)) {
        let (kind, id) = actor_columns(&consent.captured_by);
        sqlx::query(
            "INSERT INTO consent (session, position, consent_type, granted, version, captured_at, captured_by_kind, \
             captured_by_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(change.session.id().to_string())
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

async fn write_profiles(connection: &mut Connection, session: SessionId, profiles: &[Profile]) -> Result<()> {
    if profiles.is_empty() {
        return Ok(());
    }
    let mut insert: QueryBuilder<Driver> = QueryBuilder::new(
        "INSERT INTO participant_profile (session, participant, display_name, relationship) ",
    );
    insert.push_values(profiles, |mut row, profile| {
        row.push_bind(session.to_string())
            .push_bind(profile.participant.to_string())
            .push_bind(profile.display_name.as_str().to_owned())
            .push_bind(profile.relationship.as_ref().map(|text| text.as_str().to_owned()));
    });
    insert.push(
        " ON CONFLICT (session, participant) DO UPDATE SET display_name = excluded.display_name, \
         relationship = excluded.relationship",
    );
    let written = insert.build().execute(connection).await;
    written.map_err(|error| refused(error, "the profile", "the participant")).map(drop)
}

/// The rows of a page. A start that is none counts as the time of making.
fn selection(tenant: TenantId, filter: &SessionFilter, page: &Page<SessionId>) -> QueryBuilder<Driver> {
    let mut select: QueryBuilder<Driver> = QueryBuilder::new("SELECT * FROM virtual_session WHERE tenant = ");
    select.push_bind(tenant.to_string());
    if let Some(status) = filter.status {
        select.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(patient) = &filter.patient {
        select.push(" AND patient_id = ").push_bind(patient.as_str().to_owned());
    }
    if let Some(provider) = &filter.provider {
        select.push(" AND provider_ref = ").push_bind(provider.as_str().to_owned());
    }
    if let Some(from) = filter.starts_from {
        select.push(" AND coalesce(scheduled_start, created_at) >= ").push_bind(milliseconds_up(from));
    }
    if let Some(before) = filter.starts_before {
        select.push(" AND coalesce(scheduled_start, created_at) < ").push_bind(milliseconds_up(before));
    }
    if let Some(after) = page.after {
        select.push(" AND id < ").push_bind(after.to_string());
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.limit));
    select
}

/// Sessions with what is in tables of their own: participants, consents, names.
async fn with_belongings(connection: &mut Connection, stored: Vec<StoredSession>) -> Result<Vec<Loaded>> {
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = stored.iter().map(|session| session.id.to_string()).collect();
    let mut participants: BTreeMap<SessionId, Vec<Participant>> = BTreeMap::new();
    for row in &rows_of(connection, "participant", " ORDER BY position", &ids).await? {
        participants.entry(parsed(row, "session")?).or_default().push(read_participant(row)?);
    }
    let mut consents: BTreeMap<SessionId, Vec<ConsentRecord>> = BTreeMap::new();
    for row in &rows_of(connection, "consent", " ORDER BY position", &ids).await? {
        consents.entry(parsed(row, "session")?).or_default().push(read_consent(row)?);
    }
    let mut profiles: BTreeMap<SessionId, BTreeMap<ParticipantId, Profile>> = BTreeMap::new();
    for row in &rows_of(connection, "participant_profile", "", &ids).await? {
        let profile = read_profile(row)?;
        profiles.entry(parsed(row, "session")?).or_default().insert(profile.participant, profile);
    }
    let loaded = stored.into_iter().map(|stored| {
        let id = stored.id;
        let stored = StoredSession {
            participants: participants.remove(&id).unwrap_or_default(),
            consents: consents.remove(&id).unwrap_or_default(),
            ..stored
        };
        let session = VirtualSession::from_stored(stored)
            .map_err(|error| StoreError::Corrupt { what: format!("session {id}: {error}") })?;
        Ok(Loaded { session, profiles: profiles.remove(&id).unwrap_or_default() })
    });
    loaded.collect()
}

async fn rows_of(
    connection: &mut Connection,
    table: &'static str,
    order: &'static str,
    sessions: &[String],
) -> Result<Vec<Row>> {
    let mut select: QueryBuilder<Driver> = QueryBuilder::new("SELECT * FROM ");
    select.push(table).push(" WHERE session IN (");
    let mut list = select.separated(", ");
    for session in sessions {
        list.push_bind(session.clone());
    }
    select.push(")").push(order);
    select.build().fetch_all(connection).await.map_err(unavailable)
}

/// Without participants and consents, which have tables of their own.
fn read_session(row: &Row) -> Result<StoredSession> {
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
        fallback_since: optional_time(row, "fallback_since")?,
        recordings: from_json(row, "recordings")?,
        encounter: optional_parsed(row, "encounter")?,
        participants: Vec::new(),
        consents: Vec::new(),
        version: natural(row, "version")?,
    })
}

fn read_participant(row: &Row) -> Result<Participant> {
    Ok(Participant {
        id: parsed(row, "id")?,
        role: parsed(row, "role")?,
        standing: parsed(row, "standing")?,
        epoch: small(row, "epoch")?,
        first_joined_at: optional_time(row, "first_joined_at")?,
        joined_at: optional_time(row, "joined_at")?,
        admitted_at: optional_time(row, "admitted_at")?,
        left_at: optional_time(row, "left_at")?,
        denied: optional_parsed(row, "denied")?,
    })
}

fn read_consent(row: &Row) -> Result<ConsentRecord> {
    Ok(ConsentRecord {
        consent_type: parsed(row, "consent_type")?,
        granted: column(row, "granted")?,
        version: parsed(row, "version")?,
        captured_at: time(row, "captured_at")?,
        captured_by: actor(row, "captured_by_kind", "captured_by_id")?,
    })
}

fn read_profile(row: &Row) -> Result<Profile> {
    let text = |name: &'static str, text: String| PersonText::parse(&text).map_err(|_| damaged(name));
    Ok(Profile {
        participant: parsed(row, "participant")?,
        display_name: text("display_name", column(row, "display_name")?)?,
        relationship: column::<Option<String>>(row, "relationship")?
            .map(|found| text("relationship", found))
            .transpose()?,
    })
}

/// Rounded up: a session that is due must be so for the domain too, or it would be asked again and again in between.
fn milliseconds_up(at: Timestamp) -> i64 {
    let below = at.as_millisecond();
    let exact = Timestamp::from_millisecond(below).is_ok_and(|whole| whole >= at);
    if exact { below } else { below.saturating_add(1) }
}
