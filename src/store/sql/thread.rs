//! What was said in writing in live sessions.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::QueryBuilder;
use vestibule_domain::{AsyncVisitId, ContentDigest, ParticipantId, SessionId, TenantId};

use super::row::{column, from_json, natural, optional_parsed, parsed, small, time};
use super::visits::sealed;
use super::{Connection, Driver, Handle, Result, Row, integer, refused, unavailable};
use crate::blobs::Holder;
use crate::images::Size;
use crate::seal::Sealed;
use crate::store::StoreError;
use crate::store::log::json;
use crate::store::thread::{Handover, KEPT_LINES_MAX, Keeping, SealedLine, ThreadImage, ThreadStore};

#[async_trait]
impl ThreadStore for Handle {
    async fn keep_line(&self, session: SessionId, line: &SealedLine) -> Result<Keeping> {
        let line = line.clone();
        self.write(move |connection| Box::pin(async move { keep(connection, session, &line).await })).await
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

    async fn lines_after(&self, session: SessionId, after: u64, limit: u32) -> Result<Vec<SealedLine>> {
        let rows = sqlx::query(
            "SELECT * FROM thread_line WHERE session = $1 AND position > $2 ORDER BY position LIMIT $3",
        )
        .bind(session.to_string())
        .bind(integer(after)?)
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter().map(read_line).collect()
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

    async fn add_thread_image(
        &self,
        session: SessionId,
        image: &ThreadImage,
        images_max: usize,
    ) -> Result<bool> {
        let image = image.clone();
        self.write(move |connection| {
            Box::pin(async move { add_image(connection, session, &image, images_max).await })
        })
        .await
    }

    async fn thread_images(&self, session: SessionId, digest: ContentDigest) -> Result<Vec<ThreadImage>> {
        let rows =
            sqlx::query("SELECT * FROM thread_image WHERE session = $1 AND digest = $2 ORDER BY uploaded_at")
                .bind(session.to_string())
                .bind(digest.to_string())
                .fetch_all(self.readers())
                .await
                .map_err(unavailable)?;
        rows.iter().map(read_image).collect()
    }

    async fn audience_of_image(
        &self,
        session: SessionId,
        digest: ContentDigest,
    ) -> Result<BTreeSet<ParticipantId>> {
        let rows = sqlx::query("SELECT audience FROM thread_line WHERE session = $1 AND image = $2")
            .bind(session.to_string())
            .bind(digest.to_string())
            .fetch_all(self.readers())
            .await
            .map_err(unavailable)?;
        let mut audience = BTreeSet::new();
        for row in &rows {
            audience.extend(from_json::<BTreeSet<ParticipantId>>(row, "audience")?);
        }
        Ok(audience)
    }

    async fn thread_images_not_under(
        &self,
        current: u32,
        limit: u32,
    ) -> Result<Vec<(TenantId, SessionId, ContentDigest)>> {
        let rows = sqlx::query(
            "SELECT DISTINCT s.tenant, i.session, i.digest FROM thread_image i \
             JOIN virtual_session s ON s.id = i.session WHERE i.key_id <> $1 \
             ORDER BY i.session, i.digest LIMIT $2",
        )
        .bind(i64::from(current))
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter()
            .map(|row| Ok((parsed(row, "tenant")?, parsed(row, "session")?, parsed(row, "digest")?)))
            .collect()
    }

    async fn thread_image_is_under(
        &self,
        session: SessionId,
        image: ContentDigest,
        key_id: u32,
    ) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE thread_image SET key_id = $3 WHERE session = $1 AND digest = $2")
                    .bind(session.to_string())
                    .bind(image.to_string())
                    .bind(i64::from(key_id))
                    .execute(connection)
                    .await
                    .map(drop)
                    .map_err(unavailable)
            })
        })
        .await
    }

    async fn images_named(&self, images: &[(Holder, ContentDigest)]) -> Result<Vec<(Holder, ContentDigest)>> {
        let mut named = Vec::new();
        let of_visits =
            |holder| if let Holder::Visit(visit) = holder { Some(visit.to_string()) } else { None };
        for row in self
            .named(
                "SELECT visit AS holder, digest FROM async_visit_image WHERE visit IN (",
                images,
                of_visits,
            )
            .await?
        {
            named.push((Holder::Visit(parsed(&row, "holder")?), parsed(&row, "digest")?));
        }
        let of_threads =
            |holder| if let Holder::Session(session) = holder { Some(session.to_string()) } else { None };
        for row in self
            .named(
                "SELECT session AS holder, digest FROM thread_image WHERE session IN (",
                images,
                of_threads,
            )
            .await?
        {
            named.push((Holder::Session(parsed(&row, "holder")?), parsed(&row, "digest")?));
        }
        Ok(images.iter().copied().filter(|image| named.contains(image)).collect())
    }

    async fn handovers_due(&self, now: Timestamp, limit: u32) -> Result<Vec<Handover>> {
        let rows =
            sqlx::query("SELECT * FROM thread_handover WHERE due_at <= $1 ORDER BY due_at, session LIMIT $2")
                .bind(now.as_millisecond())
                .bind(i64::from(limit))
                .fetch_all(self.readers())
                .await
                .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(Handover {
                    session: parsed(row, "session")?,
                    asked: natural(row, "asked")?,
                    attempts: small(row, "attempts")?,
                })
            })
            .collect()
    }

    async fn lines_handed_on(
        &self,
        session: SessionId,
        positions: &[u64],
        visit: AsyncVisitId,
    ) -> Result<()> {
        let positions = positions.to_vec();
        self.write(move |connection| {
            Box::pin(async move {
                for position in positions {
                    sqlx::query("UPDATE thread_line SET visit = $3 WHERE session = $1 AND position = $2")
                        .bind(session.to_string())
                        .bind(integer(position)?)
                        .bind(visit.to_string())
                        .execute(&mut *connection)
                        .await
                        .map_err(unavailable)?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn lines_of_visits(&self, session: SessionId) -> Result<Vec<(u64, AsyncVisitId)>> {
        let rows = sqlx::query(
            "SELECT position, visit FROM thread_line WHERE session = $1 AND visit IS NOT NULL ORDER BY position",
        )
        .bind(session.to_string())
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter().map(|row| Ok((natural(row, "position")?, parsed(row, "visit")?))).collect()
    }

    async fn handover_done(&self, handover: &Handover) -> Result<()> {
        let Handover { session, asked, .. } = *handover;
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM thread_handover WHERE session = $1 AND asked = $2")
                    .bind(session.to_string())
                    .bind(integer(asked)?)
                    .execute(connection)
                    .await
                    .map(drop)
                    .map_err(unavailable)
            })
        })
        .await
    }

    async fn handover_failed(&self, handover: &Handover, due_at: Timestamp) -> Result<()> {
        let session = handover.session;
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE thread_handover SET attempts = attempts + 1, due_at = $2 WHERE session = $1",
                )
                .bind(session.to_string())
                .bind(due_at.as_millisecond())
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
            })
        })
        .await
    }
}

impl Handle {
    async fn named(
        &self,
        which: &'static str,
        images: &[(Holder, ContentDigest)],
        holder: impl Fn(Holder) -> Option<String>,
    ) -> Result<Vec<Row>> {
        let holders: BTreeSet<String> = images.iter().filter_map(|(of, _)| holder(*of)).collect();
        if holders.is_empty() {
            return Ok(Vec::new());
        }
        let mut select: QueryBuilder<Driver> = QueryBuilder::new(which);
        let mut list = select.separated(", ");
        for holder in holders {
            list.push_bind(holder);
        }
        select.push(")");
        select.build().fetch_all(self.readers()).await.map_err(unavailable)
    }
}

/// The thread of a session is to be handed on, in the transaction that makes it so.
pub(super) async fn ask_handover(
    connection: &mut Connection,
    session: SessionId,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO thread_handover (session, asked, due_at) VALUES ($1, 1, $2) \
         ON CONFLICT (session) DO UPDATE SET asked = thread_handover.asked + 1, due_at = excluded.due_at",
    )
    .bind(session.to_string())
    .bind(now.as_millisecond())
    .execute(connection)
    .await
    .map(drop)
    .map_err(unavailable)
}

async fn keep(connection: &mut Connection, session: SessionId, line: &SealedLine) -> Result<Keeping> {
    // Nothing is changed by it: it keeps the thread from being written by others.
    let there = sqlx::query("UPDATE virtual_session SET version = version WHERE id = $1")
        .bind(session.to_string())
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    if there.rows_affected() == 0 {
        return Err(StoreError::Missing { what: "the session" });
    }
    if is_kept(connection, session, line).await? {
        return Ok(Keeping::Before);
    }
    let row = sqlx::query("SELECT coalesce(max(position), 0) AS last FROM thread_line WHERE session = $1")
        .bind(session.to_string())
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    let last = natural(&row, "last")?;
    if last >= KEPT_LINES_MAX {
        return Ok(Keeping::Full);
    }
    if line.position != last + 1 {
        return Ok(Keeping::Behind { last });
    }
    insert(connection, session, line).await?;
    if line.late {
        ask_handover(connection, session, line.at).await?;
    }
    Ok(Keeping::Kept)
}

async fn is_kept(connection: &mut Connection, session: SessionId, line: &SealedLine) -> Result<bool> {
    let known = sqlx::query(
        "SELECT position FROM thread_line WHERE session = $1 AND author = $2 AND client_hash = $3",
    )
    .bind(session.to_string())
    .bind(line.author.to_string())
    .bind(line.client_hash.clone())
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    Ok(known.is_some())
}

async fn insert(connection: &mut Connection, session: SessionId, line: &SealedLine) -> Result<()> {
    sqlx::query(
        "INSERT INTO thread_line (session, position, at, author, client_hash, image, audience, late, key_id, sealed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(session.to_string())
    .bind(integer(line.position)?)
    .bind(line.at.as_millisecond())
    .bind(line.author.to_string())
    .bind(line.client_hash.clone())
    .bind(line.image.map(|image| image.to_string()))
    .bind(json(&line.audience))
    .bind(line.late)
    .bind(i64::from(line.sealed.key_id))
    .bind(line.sealed.bytes.clone())
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, "the line", "the session"))
}

async fn add_image(
    connection: &mut Connection,
    session: SessionId,
    image: &ThreadImage,
    images_max: usize,
) -> Result<bool> {
    let there = sqlx::query("UPDATE virtual_session SET version = version WHERE id = $1")
        .bind(session.to_string())
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    if there.rows_affected() == 0 {
        return Err(StoreError::Missing { what: "the session" });
    }
    let rows = sqlx::query("SELECT digest FROM thread_image WHERE session = $1 AND owner = $2")
        .bind(session.to_string())
        .bind(image.owner.to_string())
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    let known = rows.iter().map(|row| parsed(row, "digest")).collect::<Result<Vec<ContentDigest>>>()?;
    if known.contains(&image.digest) {
        return Ok(true);
    }
    if known.len() >= images_max {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO thread_image (session, digest, owner, media_type, bytes, width, height, key_id, uploaded_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(session.to_string())
    .bind(image.digest.to_string())
    .bind(image.owner.to_string())
    .bind(image.media_type.as_str())
    .bind(integer(image.bytes)?)
    .bind(i64::from(image.size.width))
    .bind(i64::from(image.size.height))
    .bind(i64::from(image.key_id))
    .bind(image.uploaded_at.as_millisecond())
    .execute(connection)
    .await
    .map(|_| true)
    .map_err(|error| refused(error, "the image", "the session"))
}

fn read_line(row: &Row) -> Result<SealedLine> {
    Ok(SealedLine {
        position: natural(row, "position")?,
        at: time(row, "at")?,
        author: parsed(row, "author")?,
        client_hash: column(row, "client_hash")?,
        image: optional_parsed(row, "image")?,
        audience: from_json(row, "audience")?,
        late: column(row, "late")?,
        sealed: sealed(row)?,
    })
}

fn read_image(row: &Row) -> Result<ThreadImage> {
    Ok(ThreadImage {
        digest: parsed(row, "digest")?,
        owner: parsed(row, "owner")?,
        media_type: parsed(row, "media_type")?,
        bytes: natural(row, "bytes")?,
        size: Size { width: small(row, "width")?, height: small(row, "height")? },
        key_id: small(row, "key_id")?,
        uploaded_at: time(row, "uploaded_at")?,
    })
}
