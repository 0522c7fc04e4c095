//! Hashes of the secrets that the devices of live sessions come back with.

use std::collections::BTreeMap;

use sqlx::{Pool, QueryBuilder};
use vestibule_domain::{ParticipantId, SessionId};
use vestibule_signaling::{ResumeKey, ResumeKeys};

use super::row::{column, parsed};
use super::{Connection, Driver, Result, Row, damaged, refused, unavailable};

pub(super) async fn read_keys(
    readers: &Pool<Driver>,
    session: SessionId,
) -> Result<BTreeMap<ParticipantId, ResumeKeys>> {
    let rows =
        sqlx::query("SELECT participant, current_hash, previous_hash FROM resume_key WHERE session = $1")
            .bind(session.to_string())
            .fetch_all(readers)
            .await
            .map_err(unavailable)?;
    rows.iter().map(read).collect()
}

/// Puts them in the place of those that were good before.
pub(super) async fn write_keys(
    connection: &mut Connection,
    session: SessionId,
    keys: &[(ParticipantId, ResumeKeys)],
) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut insert: QueryBuilder<Driver> =
        QueryBuilder::new("INSERT INTO resume_key (session, participant, current_hash, previous_hash) ");
    insert.push_values(keys, |mut row, (participant, keys)| {
        row.push_bind(session.to_string())
            .push_bind(participant.to_string())
            .push_bind(keys.current.0.to_vec())
            .push_bind(keys.previous.map(|previous| previous.0.to_vec()));
    });
    insert.push(
        " ON CONFLICT (session, participant) DO UPDATE SET current_hash = excluded.current_hash, \
         previous_hash = excluded.previous_hash",
    );
    let written = insert.build().execute(connection).await;
    written.map_err(|error| refused(error, "the secret", "the participant")).map(drop)
}

fn read(row: &Row) -> Result<(ParticipantId, ResumeKeys)> {
    let current = key("current_hash", column(row, "current_hash")?)?;
    let previous: Option<Vec<u8>> = column(row, "previous_hash")?;
    let previous = previous.map(|bytes| key("previous_hash", bytes)).transpose()?;
    Ok((parsed(row, "participant")?, ResumeKeys { current, previous }))
}

fn key(name: &str, bytes: Vec<u8>) -> Result<ResumeKey> {
    bytes.try_into().map(ResumeKey).map_err(|_| damaged(name))
}
