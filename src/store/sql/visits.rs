//! Asynchronous visits.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::QueryBuilder;
use vestibule_domain::{
    AsyncVisit, AsyncVisitId, ContentDigest, Response, Revision, StoredVisit, TenantId, VisitEvent,
};

use super::log::{write_beside, write_log};
use super::row::{
    actor, actor_columns, column, from_json, natural, optional_json, optional_parsed, optional_time, parsed,
    small, time,
};
use super::{Connection, Driver, Handle, Result, Row, damaged, integer, refused, unavailable};
use crate::images::Size;
use crate::seal::Sealed;
use crate::store::log::{Logged, json};
use crate::store::visits::{
    AddedImage, LoadedVisit, Part, VisitCommit, VisitFilter, VisitImage, VisitPart, VisitStore,
};
use crate::store::{Beside, Page, StoreError};

#[async_trait]
impl VisitStore for Handle {
    async fn commit_visit(&self, commit: VisitCommit<'_>) -> Result<()> {
        let change = VisitChange::of(self, &commit);
        self.write(move |connection| Box::pin(async move { change.write(connection).await })).await
    }

    async fn load_visit(&self, id: AsyncVisitId) -> Result<Option<LoadedVisit>> {
        let mut transaction = self.snapshot().await?;
        let row = sqlx::query("SELECT * FROM async_visit WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let content_purged_at = optional_time(&row, "content_purged_at")?;
        let visit = with_revisions(&mut transaction, vec![read_visit(&row)?]).await?.pop();
        let parts = sqlx::query("SELECT part, key_id, sealed FROM async_visit_part WHERE visit = $1")
            .bind(id.to_string())
            .fetch_all(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let images =
            sqlx::query("SELECT * FROM async_visit_image WHERE visit = $1 ORDER BY uploaded_at, digest")
                .bind(id.to_string())
                .fetch_all(&mut *transaction)
                .await
                .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        let parts = parts.iter().map(|row| Ok((parsed(row, "part")?, sealed(row)?)));
        let (parts, images) =
            (parts.collect::<Result<_>>()?, images.iter().map(read_image).collect::<Result<_>>()?);
        Ok(visit.map(|visit| LoadedVisit { visit, parts, images, content_purged_at }))
    }

    async fn list_visits(
        &self,
        tenant: TenantId,
        filter: &VisitFilter,
        page: Page<AsyncVisitId>,
    ) -> Result<Vec<AsyncVisit>> {
        let mut transaction = self.snapshot().await?;
        let mut select = selection(tenant, filter, &page);
        let rows = select.build().fetch_all(&mut *transaction).await.map_err(unavailable)?;
        let stored = rows.iter().map(read_visit).collect::<Result<Vec<_>>>()?;
        let visits = with_revisions(&mut transaction, stored).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(visits)
    }

    async fn add_visit_image(
        &self,
        visit: AsyncVisitId,
        image: &VisitImage,
        images_max: usize,
        beside: &Beside,
    ) -> Result<AddedImage> {
        let (image, beside, audit_ids) = (image.clone(), beside.clone(), self.audit_ids(beside));
        self.write(move |connection| {
            Box::pin(async move {
                let (added, is_new) = add_image(connection, visit, &image, images_max).await?;
                if is_new {
                    write_beside(connection, audit_ids, &beside).await?;
                }
                Ok(added)
            })
        })
        .await
    }

    async fn visit_parts_not_under(&self, current: u32, limit: u32) -> Result<Vec<VisitPart>> {
        let rows = sqlx::query(
            "SELECT visit, part, key_id, sealed FROM async_visit_part WHERE key_id <> $1 ORDER BY visit, part LIMIT $2",
        )
        .bind(i64::from(current))
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(VisitPart {
                    visit: parsed(row, "visit")?,
                    part: parsed(row, "part")?,
                    sealed: sealed(row)?,
                })
            })
            .collect()
    }

    async fn reseal_visit_part(&self, part: &VisitPart, with: &Sealed) -> Result<()> {
        let (old, new) = (part.clone(), with.clone());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE async_visit_part SET key_id = $4, sealed = $5 WHERE visit = $1 AND part = $2 AND sealed = $3",
                )
                .bind(old.visit.to_string())
                .bind(old.part.to_string())
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

    async fn visit_images_not_under(
        &self,
        current: u32,
        limit: u32,
    ) -> Result<Vec<(TenantId, AsyncVisitId, ContentDigest)>> {
        let rows = sqlx::query(
            "SELECT v.tenant, i.visit, i.digest FROM async_visit_image i JOIN async_visit v ON v.id = i.visit \
             WHERE i.key_id <> $1 ORDER BY i.visit, i.digest LIMIT $2",
        )
        .bind(i64::from(current))
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter()
            .map(|row| Ok((parsed(row, "tenant")?, parsed(row, "visit")?, parsed(row, "digest")?)))
            .collect()
    }

    async fn visit_image_is_under(
        &self,
        visit: AsyncVisitId,
        image: ContentDigest,
        key_id: u32,
    ) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE async_visit_image SET key_id = $3 WHERE visit = $1 AND digest = $2")
                    .bind(visit.to_string())
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
}

/// A visit's row and all that goes with it.
struct VisitChange {
    before_version: u64,
    stored: StoredVisit,
    updated_at: i64,
    revisions: Vec<Revision>,
    parts: Vec<(Part, Sealed)>,
    parts_gone: Vec<Part>,
    images_gone: Vec<ContentDigest>,
    audit_ids: Vec<String>,
    logged: Logged,
}

impl VisitChange {
    fn of(handle: &Handle, commit: &VisitCommit<'_>) -> Self {
        let VisitCommit { before_version, after, events, actor, now, parts, parts_gone, images_gone, beside } =
            *commit;
        let expected = before_version + u64::from(!events.is_empty());
        assert_eq!(after.version(), expected, "one version a command, and none without events");
        let revisions = events.iter().filter_map(|event| match event {
            VisitEvent::Submitted { revision } | VisitEvent::Amended { revision } => Some(revision.clone()),
            _ => None,
        });
        Self {
            before_version,
            stored: after.to_stored(),
            updated_at: now.as_millisecond(),
            revisions: revisions.collect(),
            parts: parts.to_vec(),
            parts_gone: parts_gone.to_vec(),
            images_gone: images_gone.to_vec(),
            audit_ids: handle.audit_ids(beside),
            logged: Logged::of_visit(after, events, (actor, now), beside, handle.ids()),
        }
    }

    async fn write(self, connection: &mut Connection) -> Result<()> {
        if self.before_version == 0 {
            insert_visit(connection, &self.stored, self.updated_at).await?;
        } else {
            update_visit(connection, &self.stored, self.before_version, self.updated_at).await?;
        }
        let visit = self.stored.id;
        for revision in &self.revisions {
            insert_revision(connection, visit, revision).await?;
        }
        for (part, sealed) in &self.parts {
            write_part(connection, visit, *part, sealed).await?;
        }
        for part in &self.parts_gone {
            sqlx::query("DELETE FROM async_visit_part WHERE visit = $1 AND part = $2")
                .bind(visit.to_string())
                .bind(part.to_string())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
        }
        for image in &self.images_gone {
            sqlx::query("DELETE FROM async_visit_image WHERE visit = $1 AND digest = $2")
                .bind(visit.to_string())
                .bind(image.to_string())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
        }
        write_log(connection, self.audit_ids, &self.logged).await
    }
}

async fn insert_visit(connection: &mut Connection, visit: &StoredVisit, updated_at: i64) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO async_visit (id, tenant, patient_id, provider_ref, session, status, draft, created_at, \
         submitted_at, version, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(visit.id.to_string())
    .bind(visit.tenant.to_string())
    .bind(visit.patient_id.as_str())
    .bind(visit.provider_ref.as_str())
    .bind(visit.session.map(|session| session.to_string()))
    .bind(visit.status.as_str())
    .bind(visit.draft.as_ref().map(json))
    .bind(visit.created_at.as_millisecond())
    .bind(visit.submitted_at.map(|at| at.as_millisecond()))
    .bind(integer(visit.version)?)
    .bind(updated_at)
    .execute(connection)
    .await;
    inserted.map_err(|error| refused(error, "the visit", "the tenant")).map(drop)
}

/// Every column a command can change, if the version is still the one it was decided on.
async fn update_visit(
    connection: &mut Connection,
    visit: &StoredVisit,
    before_version: u64,
    updated_at: i64,
) -> Result<()> {
    let (by_kind, by_id) = match &visit.response {
        Some(response) => {
            let (kind, id) = actor_columns(&response.actor);
            (Some(kind), id)
        }
        None => (None, None),
    };
    let updated = sqlx::query(
        "UPDATE async_visit SET status = $3, draft = $4, response_text = $5, response_by_kind = $6, \
         response_by_id = $7, encounter = $8, submitted_at = $9, review_started_at = $10, reviewer = $11, \
         responded_at = $12, closed_at = $13, version = $14, updated_at = $15 WHERE id = $1 AND version = $2",
    )
    .bind(visit.id.to_string())
    .bind(integer(before_version)?)
    .bind(visit.status.as_str())
    .bind(visit.draft.as_ref().map(json))
    .bind(visit.response.as_ref().map(|response| response.text.to_string()))
    .bind(by_kind)
    .bind(by_id)
    .bind(visit.encounter.as_ref().map(|encounter| encounter.as_str()))
    .bind(visit.submitted_at.map(|at| at.as_millisecond()))
    .bind(visit.review_started_at.map(|at| at.as_millisecond()))
    .bind(visit.reviewer.as_ref().map(|reviewer| reviewer.as_str()))
    .bind(visit.responded_at.map(|at| at.as_millisecond()))
    .bind(visit.closed_at.map(|at| at.as_millisecond()))
    .bind(integer(visit.version)?)
    .bind(updated_at)
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query("SELECT version FROM async_visit WHERE id = $1")
        .bind(visit.id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?
        .ok_or(StoreError::Missing { what: "the visit" })?;
    Err(StoreError::Conflict { current_version: natural(&row, "version")? })
}

async fn insert_revision(
    connection: &mut Connection,
    visit: AsyncVisitId,
    revision: &Revision,
) -> Result<()> {
    let (kind, id) = actor_columns(&revision.actor);
    sqlx::query(
        "INSERT INTO async_visit_revision (visit, number, content, submitted_at, actor_kind, actor_id) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(visit.to_string())
    .bind(i64::from(revision.number))
    .bind(json(&revision.content))
    .bind(revision.submitted_at.as_millisecond())
    .bind(kind)
    .bind(id)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, "the revision", "the visit"))
}

async fn write_part(
    connection: &mut Connection,
    visit: AsyncVisitId,
    part: Part,
    sealed: &Sealed,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO async_visit_part (visit, part, key_id, sealed) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (visit, part) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed",
    )
    .bind(visit.to_string())
    .bind(part.to_string())
    .bind(i64::from(sealed.key_id))
    .bind(sealed.bytes.clone())
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, "the text", "the visit"))
}

/// What became of it, and whether it was not there before.
async fn add_image(
    connection: &mut Connection,
    visit: AsyncVisitId,
    image: &VisitImage,
    images_max: usize,
) -> Result<(AddedImage, bool)> {
    // Nothing is changed by it: it keeps the row from being changed until the image is counted.
    let open = sqlx::query(
        "UPDATE async_visit SET version = version \
         WHERE id = $1 AND status IN ('draft', 'submitted', 'under_review')",
    )
    .bind(visit.to_string())
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if open.rows_affected() == 0 {
        return Ok((AddedImage::NotOpen, false));
    }
    let rows = sqlx::query("SELECT digest FROM async_visit_image WHERE visit = $1")
        .bind(visit.to_string())
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    let known = rows.iter().map(|row| parsed(row, "digest")).collect::<Result<Vec<ContentDigest>>>()?;
    let is_new = !known.contains(&image.digest);
    if is_new {
        if known.len() >= images_max {
            return Ok((AddedImage::Full, false));
        }
        insert_image(connection, visit, image).await?;
    }
    Ok((AddedImage::Added, is_new))
}

async fn insert_image(connection: &mut Connection, visit: AsyncVisitId, image: &VisitImage) -> Result<()> {
    let (kind, id) = actor_columns(&image.uploaded_by);
    sqlx::query(
        "INSERT INTO async_visit_image (visit, digest, media_type, bytes, width, height, key_id, uploaded_at, \
         uploaded_by_kind, uploaded_by_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(visit.to_string())
    .bind(image.digest.to_string())
    .bind(image.media_type.as_str())
    .bind(integer(image.bytes)?)
    .bind(i64::from(image.size.width))
    .bind(i64::from(image.size.height))
    .bind(i64::from(image.key_id))
    .bind(image.uploaded_at.as_millisecond())
    .bind(kind)
    .bind(id)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| refused(error, "the image", "the visit"))
}

fn selection(tenant: TenantId, filter: &VisitFilter, page: &Page<AsyncVisitId>) -> QueryBuilder<Driver> {
    let mut select: QueryBuilder<Driver> = QueryBuilder::new("SELECT * FROM async_visit WHERE tenant = ");
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
    if let Some(after) = page.after {
        select.push(" AND id < ").push_bind(after.to_string());
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.limit));
    select
}

/// Visits with their revisions, which have a table of their own.
async fn with_revisions(connection: &mut Connection, stored: Vec<StoredVisit>) -> Result<Vec<AsyncVisit>> {
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let mut select: QueryBuilder<Driver> =
        QueryBuilder::new("SELECT * FROM async_visit_revision WHERE visit IN (");
    let mut list = select.separated(", ");
    for visit in &stored {
        list.push_bind(visit.id.to_string());
    }
    select.push(") ORDER BY number");
    let mut revisions: BTreeMap<AsyncVisitId, Vec<Revision>> = BTreeMap::new();
    for row in &select.build().fetch_all(connection).await.map_err(unavailable)? {
        revisions.entry(parsed(row, "visit")?).or_default().push(read_revision(row)?);
    }
    let visits = stored.into_iter().map(|stored| {
        let id = stored.id;
        let stored = StoredVisit { revisions: revisions.remove(&id).unwrap_or_default(), ..stored };
        AsyncVisit::from_stored(stored)
            .map_err(|error| StoreError::Corrupt { what: format!("visit {id}: {error}") })
    });
    visits.collect()
}

/// Without revisions, which have a table of their own.
fn read_visit(row: &Row) -> Result<StoredVisit> {
    let responded_at = optional_time(row, "responded_at")?;
    let response = match (optional_parsed(row, "response_text")?, responded_at) {
        (Some(text), Some(at)) => {
            Some(Response { text, at, actor: actor(row, "response_by_kind", "response_by_id")? })
        }
        (None, None) => None,
        _ => return Err(damaged("responded_at")),
    };
    Ok(StoredVisit {
        id: parsed(row, "id")?,
        tenant: parsed(row, "tenant")?,
        patient_id: parsed(row, "patient_id")?,
        provider_ref: parsed(row, "provider_ref")?,
        session: optional_parsed(row, "session")?,
        status: parsed(row, "status")?,
        draft: optional_json(row, "draft")?,
        revisions: Vec::new(),
        response,
        encounter: optional_parsed(row, "encounter")?,
        created_at: time(row, "created_at")?,
        submitted_at: optional_time(row, "submitted_at")?,
        review_started_at: optional_time(row, "review_started_at")?,
        reviewer: optional_parsed(row, "reviewer")?,
        responded_at,
        closed_at: optional_time(row, "closed_at")?,
        version: natural(row, "version")?,
    })
}

fn read_revision(row: &Row) -> Result<Revision> {
    let number: u32 = small(row, "number")?;
    Ok(Revision {
        number,
        supersedes: number.checked_sub(1).filter(|before| *before > 0),
        content: from_json(row, "content")?,
        submitted_at: time(row, "submitted_at")?,
        actor: actor(row, "actor_kind", "actor_id")?,
    })
}

fn read_image(row: &Row) -> Result<VisitImage> {
    Ok(VisitImage {
        digest: parsed(row, "digest")?,
        media_type: parsed(row, "media_type")?,
        bytes: natural(row, "bytes")?,
        size: Size { width: small(row, "width")?, height: small(row, "height")? },
        key_id: small(row, "key_id")?,
        uploaded_at: time(row, "uploaded_at")?,
        uploaded_by: actor(row, "uploaded_by_kind", "uploaded_by_id")?,
    })
}

/// The columns `key_id` and `sealed`.
pub(super) fn sealed(row: &Row) -> Result<Sealed> {
    Ok(Sealed { key_id: small(row, "key_id")?, bytes: column(row, "sealed")? })
}
