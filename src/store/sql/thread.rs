//! What was said in writing in live sessions.

use async_trait::async_trait;
use sqlx::QueryBuilder;
use vestibule_domain::SessionId;

use super::row::{from_json, natural, parsed, time};
use super::visits::sealed;
use super::{Connection, Driver, Handle, Result, Row, integer, refused, unavailable};
use crate::seal::Sealed;
use crate::store::log::json;
use crate::store::thread::{KEPT_LINES_MAX, SealedLine, ThreadStore};

#[async_trait]
impl ThreadStore for Handle {
    async fn keep_lines(&self, session: SessionId, lines: &[SealedLine]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let lines = lines.to_vec();
        self.write(move |connection| Box::pin(async move { keep(connection, session, &lines).await })).await
    }

    async fn last_lines(&self, session: SessionId, limit: u32) -> Result<Vec<SealedLine>> {
        let rows =
            sqlx::query("SELECT * FROM thread_line WHERE session = $1 ORDER BY position DESC LIMIT $2")
                .bind(session.to_string())
                .bind(i64::from(limit))
                .fetch_all(self.readers())
                .await
                .map_err(unavailable)?;
        rows.iter().rev().map(read_line).collect()
    }

    async fn lines_not_under(&self, current: u32, limit: u32) -> Result<Vec<(SessionId, SealedLine)>> {
        let rows =
            sqlx::query("SELECT * FROM thread_line WHERE key_id <> $1 ORDER BY session, position LIMIT $2")
                .bind(i64::from(current))
                .bind(i64::from(limit))
                .fetch_all(self.readers())
                .await
                .map_err(unavailable)?;
        rows.iter().map(|row| Ok((parsed(row, "session")?, read_line(row)?))).collect()
    }

    async fn reseal_line(&self, session: SessionId, line: &SealedLine, with: &Sealed) -> Result<()> {
        let (old, new) = (line.clone(), with.clone());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE thread_line SET key_id = $4, sealed = $5 WHERE session = $1 AND position = $2 AND sealed = $3",
                )
                .bind(session.to_string())
                .bind(integer(old.position)?)
                .bind(old.sealed.bytes)
                .bind(i64::from(new.key_id))
                .bind(new.bytes)
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
            })
        })
        .await
    }
}

async fn keep(connection: &mut Connection, session: SessionId, lines: &[SealedLine]) -> Result<()> {
    let mut last = 0;
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        last = last.max(line.position);
        rows.push((integer(line.position)?, line));
    }
    let mut insert: QueryBuilder<Driver> = QueryBuilder::new(
        "INSERT INTO thread_line (session, position, at, author, audience, key_id, sealed) ",
    );
    insert.push_values(rows, |mut row, (position, line)| {
        row.push_bind(session.to_string())
            .push_bind(position)
            .push_bind(line.at.as_millisecond())
            .push_bind(line.author.to_string())
            .push_bind(json(&line.audience))
            .push_bind(i64::from(line.sealed.key_id))
            .push_bind(line.sealed.bytes.clone());
    });
    // The answer to a commit was lost, and it was written all the same.
    insert.push(" ON CONFLICT (session, position) DO NOTHING");
    let written = insert.build().execute(&mut *connection).await;
    written.map_err(|error| refused(error, "the line", "the session"))?;
    sqlx::query("DELETE FROM thread_line WHERE session = $1 AND position <= $2")
        .bind(session.to_string())
        .bind(integer(last.saturating_sub(KEPT_LINES_MAX))?)
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

fn read_line(row: &Row) -> Result<SealedLine> {
    Ok(SealedLine {
        position: natural(row, "position")?,
        at: time(row, "at")?,
        author: parsed(row, "author")?,
        audience: from_json(row, "audience")?,
        sealed: sealed(row)?,
    })
}
