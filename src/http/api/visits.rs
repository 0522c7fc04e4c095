//! Asynchronous visits: drafts, images, submissions, amendments, answers.
//!
//! None of these takes an `Idempotency-Key`: a visit is called by an identifier its device made, an image by its bytes,
//! and each step is the same step when it comes twice.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use vestibule_domain::{
    Actor, AsyncVisit, AsyncVisitId, ContentDigest, PatientId, ProviderRef, SessionId, VISIT_IMAGES_MAX,
    VisitStatus,
};

use super::sessions::parsed;
use super::words;
use crate::app::App;
use crate::clock;
use crate::http::body::{Body, MaybeBody, Of, Params};
use crate::http::caller::{Caller, May, need};
use crate::http::page::{Listed, listed, page};
use crate::http::problem::ApiError;
use crate::http::request;
use crate::http::version::{IfMatch, etag};
use crate::images::{IMAGE_BYTES_MAX, ImageError};
use crate::store::{Beside, Part, VisitFilter, VisitImage};
use crate::visits::{About, Asked, Changed, Opened, Written};

/// Bytes of a body with a text: each character may take six, as `\u0000` does.
pub(crate) const TEXT_BODY_BYTES_MAX: usize = 160 * 1024;

/// The endpoints of this group. Their bodies may be longer than those of others.
pub(super) fn router() -> OpenApiRouter<App> {
    let images = OpenApiRouter::new()
        .routes(routes!(add_image))
        // One more, so that what is too long is told from what just fits.
        .layer(DefaultBodyLimit::max(IMAGE_BYTES_MAX + 1));
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, save))
        .routes(routes!(submit))
        .routes(routes!(amend))
        .routes(routes!(review))
        .routes(routes!(respond))
        .routes(routes!(close))
        .routes(routes!(get_image))
        .layer(DefaultBodyLimit::max(TEXT_BODY_BYTES_MAX))
        .merge(images)
}

// --- what is taken -----------------------------------------------------------------------------------------------

/// A visit as it is written so far.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Draft {
    /// The patient in the clinic's records: 1 to 128 visible ASCII characters. Never changes.
    #[schema(min_length = 1, max_length = 128)]
    patient_id: String,
    /// Whose desk it goes to: 1 to 128 visible ASCII characters. Never changes.
    #[schema(min_length = 1, max_length = 128)]
    provider_ref: String,
    /// The session it continues. Never changes.
    #[schema(value_type = Option<String>, format = Uuid)]
    session_id: Option<SessionId>,
    #[schema(max_length = 20_000)]
    text: String,
    /// The digests of images that were sent before, in their order.
    #[serde(default)]
    #[schema(schema_with = words::digests)]
    images: Vec<ContentDigest>,
}

impl Draft {
    fn parts(self) -> Result<(About, Written), ApiError> {
        let about = About {
            patient: parsed("patientId", &self.patient_id)?,
            provider: parsed("providerRef", &self.provider_ref)?,
            session: self.session_id,
        };
        Ok((about, content(self.text, self.images)?))
    }
}

/// Another content in place of the last.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Amendment {
    #[schema(max_length = 20_000)]
    text: String,
    /// The digests of images that were sent before, in their order; those of earlier revisions may be among them.
    #[serde(default)]
    #[schema(schema_with = words::digests)]
    images: Vec<ContentDigest>,
}

/// The answer to a visit.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Answer {
    #[schema(min_length = 1, max_length = 20_000)]
    text: String,
}

fn content(text: String, images: Vec<ContentDigest>) -> Result<Written, ApiError> {
    if images.len() > VISIT_IMAGES_MAX {
        let problem = format!("must have at most {VISIT_IMAGES_MAX} entries");
        return Err(ApiError::Invalid { field: "images", problem });
    }
    Ok(Written { text, images })
}

// --- what is given -----------------------------------------------------------------------------------------------

/// A visit without what was written in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AsyncVisitSummary)]
pub(crate) struct Summary {
    /// A UUID of version 7, made on the patient's device.
    #[schema(value_type = String, format = Uuid)]
    id: AsyncVisitId,
    #[schema(schema_with = words::visit_status)]
    status: VisitStatus,
    #[schema(value_type = String)]
    patient_id: PatientId,
    #[schema(value_type = String)]
    provider_ref: ProviderRef,
    /// The session it continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    session_id: Option<SessionId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    submitted_at: Option<Timestamp>,
    /// How often it was submitted: once, and with each amendment once more.
    revision_count: usize,
    /// Who reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    review_started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    responded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    /// The Encounter it became in the clinic's records.
    #[serde(skip_serializing_if = "Option::is_none")]
    encounter_id: Option<String>,
    /// Grows by one with each change.
    version: u64,
}

impl Summary {
    fn of(visit: &AsyncVisit) -> Self {
        Self {
            id: visit.id(),
            status: visit.status(),
            patient_id: visit.patient_id().clone(),
            provider_ref: visit.provider_ref().clone(),
            session_id: visit.session(),
            created_at: visit.created_at(),
            submitted_at: visit.submitted_at(),
            revision_count: visit.revisions().len(),
            reviewer: visit.reviewer().map(|reviewer| reviewer.as_str().to_owned()),
            review_started_at: visit.review_started_at(),
            responded_at: visit.responded_at(),
            closed_at: visit.closed_at(),
            encounter_id: visit.encounter().map(|encounter| encounter.as_str().to_owned()),
            version: visit.version(),
        }
    }
}

/// A visit with all that was written in it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AsyncVisit)]
pub(crate) struct Visit {
    #[serde(flatten)]
    summary: Summary,
    /// What is written so far; null once it was submitted.
    draft: Option<Content>,
    /// What was submitted, in order; the last one counts, and all of them stay.
    revisions: Vec<Revision>,
    /// The answer; null until there is one.
    response: Option<GivenAnswer>,
    /// All images that were sent.
    images: Vec<ImageInfo>,
    /// When texts and images went, by the clinic's retention. The texts are null since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    content_purged_at: Option<Timestamp>,
}

/// A content.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AsyncVisitContent)]
struct Content {
    text: Option<String>,
    /// The digests of its images, in their order.
    #[schema(value_type = Vec<String>)]
    images: Vec<ContentDigest>,
}

/// A content as it was submitted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AsyncVisitRevision)]
struct Revision {
    /// From 1.
    number: u32,
    /// The one it stands in for.
    #[serde(skip_serializing_if = "Option::is_none")]
    supersedes: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    submitted_at: Timestamp,
    submitted_by: Option<String>,
    #[serde(flatten)]
    content: Content,
}

/// An answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AsyncVisitResponse)]
struct GivenAnswer {
    text: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    by: Option<String>,
}

/// An image.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AsyncVisitImage)]
pub(crate) struct ImageInfo {
    /// The SHA-256 of what is kept: 64 hexadecimal digits. What is called by it.
    #[schema(value_type = String)]
    digest: ContentDigest,
    /// `image/jpeg`, `image/png` or `image/webp`, by its bytes.
    media_type: &'static str,
    /// Pixels, before a turn that the image asks for.
    width: u32,
    height: u32,
    /// How many are kept: without what a camera writes beside the picture.
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    uploaded_at: Timestamp,
}

impl ImageInfo {
    fn of(image: &VisitImage) -> Self {
        Self {
            digest: image.digest,
            media_type: image.media_type.as_str(),
            width: image.size.width,
            height: image.size.height,
            bytes: image.bytes,
            uploaded_at: image.uploaded_at,
        }
    }
}

impl Visit {
    fn of(opened: &Opened) -> Self {
        let visit = &opened.loaded.visit;
        let text = |part| opened.text(part).map(str::to_owned);
        let revisions = visit.revisions().iter().map(|revision| Revision {
            number: revision.number,
            supersedes: revision.supersedes,
            submitted_at: revision.submitted_at,
            submitted_by: who(&revision.actor),
            content: Content {
                text: text(Part::Revision(revision.number)),
                images: revision.content.images.clone(),
            },
        });
        Self {
            summary: Summary::of(visit),
            draft: visit
                .draft()
                .map(|draft| Content { text: text(Part::Draft), images: draft.images.clone() }),
            revisions: revisions.collect(),
            response: visit.response().map(|response| GivenAnswer {
                text: text(Part::Response),
                at: response.at,
                by: who(&response.actor),
            }),
            images: opened.loaded.images.iter().map(ImageInfo::of).collect(),
            content_purged_at: opened.loaded.content_purged_at,
        }
    }
}

fn who(actor: &Actor) -> Option<String> {
    match actor {
        Actor::Participant(id) => Some(id.to_string()),
        Actor::Staff(id) => Some(id.as_str().to_owned()),
        Actor::System | Actor::Timer => None,
    }
}

// --- the endpoints -----------------------------------------------------------------------------------------------

/// Which visits.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListVisits {
    #[param(schema_with = words::visit_status)]
    status: Option<VisitStatus>,
    /// Of this patient.
    patient_id: Option<String>,
    /// Of this desk.
    provider_ref: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of a page; 50 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// List asynchronous visits, newest first, without what was written in them.
#[utoipa::path(
    get, path = "/async-visits", operation_id = "listAsyncVisits", tag = "Asynchronous visits",
    params(ListVisits),
    responses((status = 200, description = "A page of them.", body = Listed<Summary>)),
    security(("apiKey" = ["visits:read"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::VisitsRead>,
    Params(asked): Params<ListVisits>,
) -> Result<Json<Listed<Summary>>, ApiError> {
    let page = page::<AsyncVisitId>(asked.cursor.as_deref(), asked.limit)?;
    let limit = page.limit;
    let filter = VisitFilter {
        status: asked.status,
        patient: asked.patient_id.map(|text| parsed("patientId", &text)).transpose()?,
        provider: asked.provider_ref.map(|text| parsed("providerRef", &text)).transpose()?,
    };
    let found = app.store.list_visits(caller.tenant, &filter, page).await?;
    Ok(Json(listed(found, limit, |visit| visit.id().to_string(), |visit| Summary::of(&visit))))
}

/// Get an asynchronous visit with all that was written in it. That it was read is in the audit.
///
/// The answer is always the whole: images come and texts go without another version.
#[utoipa::path(
    get, path = "/async-visits/{visitId}", operation_id = "getAsyncVisit", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid)),
    responses((status = 200, description = "It.", body = Visit, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["visits:read"]), ("staffSession" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: May<need::VisitsRead>,
    Of(id): Of<AsyncVisitId>,
) -> Result<Response, ApiError> {
    let opened = app.visits.read(caller.tenant, id).await?;
    note(&app, &caller, "visit.read", (id, opened.loaded.visit.session())).await?;
    Ok(([etag(opened.loaded.visit.version())], Json(Visit::of(&opened))).into_response())
}

/// Save a draft; make the visit if there is none of this identifier.
///
/// The identifier is made on the device, so that what is sent again because an answer was lost is the same visit. Of a
/// content that was submitted already nothing changes.
#[utoipa::path(
    put, path = "/async-visits/{visitId}", operation_id = "saveAsyncVisit", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid, description = "A UUID of version 7."),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    request_body = Draft,
    responses((status = 200, description = "As it is now.", body = Summary, headers(("ETag" = String, description = "Its version."))),
        (status = 201, description = "It is new.", body = Summary,
            headers(("ETag" = String, description = "Its version."), ("Location" = String, description = "Where it is.")))),
    security(("apiKey" = ["visits:write"]), ("staffSession" = []))
)]
pub(crate) async fn save(
    State(app): State<App>,
    caller: May<need::VisitsWrite>,
    Of(id): Of<AsyncVisitId>,
    expected: IfMatch,
    Body { value, .. }: Body<Draft>,
) -> Result<Response, ApiError> {
    let (about, written) = value.parts()?;
    Ok(answer(app.visits.save_draft(&asked(&caller, expected), id, &about, &written).await?))
}

/// Submit a visit: it is on the provider's desk then.
///
/// Without a body the draft as it is. With one that content, and the visit is made if there is none: a device that was
/// offline needs no more than this. Twice is once.
#[utoipa::path(
    post, path = "/async-visits/{visitId}/submit", operation_id = "submitAsyncVisit", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid, description = "A UUID of version 7."),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    request_body = Option<Draft>,
    responses((status = 200, description = "As it is now.", body = Summary, headers(("ETag" = String, description = "Its version."))),
        (status = 201, description = "It is new.", body = Summary,
            headers(("ETag" = String, description = "Its version."), ("Location" = String, description = "Where it is.")))),
    security(("apiKey" = ["visits:write"]), ("staffSession" = []))
)]
pub(crate) async fn submit(
    State(app): State<App>,
    caller: May<need::VisitsWrite>,
    Of(id): Of<AsyncVisitId>,
    expected: IfMatch,
    MaybeBody(body): MaybeBody<Draft>,
) -> Result<Response, ApiError> {
    let parts = body.map(Draft::parts).transpose()?;
    let content = parts.as_ref().map(|(about, written)| (about, written));
    Ok(answer(app.visits.submit(&asked(&caller, expected), id, content).await?))
}

/// Amend what was submitted, until there is an answer. What was submitted before stays readable.
#[utoipa::path(
    post, path = "/async-visits/{visitId}/amend", operation_id = "amendAsyncVisit", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    request_body = Amendment,
    responses((status = 200, description = "As it is now.", body = Summary, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["visits:write"]), ("staffSession" = []))
)]
pub(crate) async fn amend(
    State(app): State<App>,
    caller: May<need::VisitsWrite>,
    Of(id): Of<AsyncVisitId>,
    expected: IfMatch,
    Body { value, .. }: Body<Amendment>,
) -> Result<Response, ApiError> {
    let written = content(value.text, value.images)?;
    Ok(answer(app.visits.amend(&asked(&caller, expected), id, &written).await?))
}

/// Begin to read a visit: others of the staff see that somebody does.
#[utoipa::path(
    post, path = "/async-visits/{visitId}/review", operation_id = "reviewAsyncVisit", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    responses((status = 200, description = "As it is now.", body = Summary, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["visits:respond"]), ("staffSession" = []))
)]
pub(crate) async fn review(
    State(app): State<App>,
    caller: May<need::VisitsRespond>,
    Of(id): Of<AsyncVisitId>,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    Ok(answer(app.visits.start_review(&asked(&caller, expected), id).await?))
}

/// Answer a visit. The answer stays as it is given, as does what it answers.
#[utoipa::path(
    post, path = "/async-visits/{visitId}/respond", operation_id = "respondToAsyncVisit", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw: give it, so that you answer what you read.")),
    request_body = Answer,
    responses((status = 200, description = "As it is now.", body = Summary, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["visits:respond"]), ("staffSession" = []))
)]
pub(crate) async fn respond(
    State(app): State<App>,
    caller: May<need::VisitsRespond>,
    Of(id): Of<AsyncVisitId>,
    expected: IfMatch,
    Body { value, .. }: Body<Answer>,
) -> Result<Response, ApiError> {
    Ok(answer(app.visits.respond(&asked(&caller, expected), id, &value.text).await?))
}

/// Put an answered visit away.
#[utoipa::path(
    post, path = "/async-visits/{visitId}/close", operation_id = "closeAsyncVisit", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    responses((status = 200, description = "As it is now.", body = Summary, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["visits:respond"]), ("staffSession" = []))
)]
pub(crate) async fn close(
    State(app): State<App>,
    caller: May<need::VisitsRespond>,
    Of(id): Of<AsyncVisitId>,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    Ok(answer(app.visits.close(&asked(&caller, expected), id).await?))
}

/// Send an image, while the content it is for is not submitted.
///
/// The body is the file: JPEG, PNG or WebP, told by its bytes and not by its name or `Content-Type`, at most 10 MiB and 100
/// megapixels. Where and when it was taken and with what is taken out before it is kept; that a JPEG is to be turned
/// stays. A content names images by the digest in the answer; those that none names when it is submitted are deleted.
#[utoipa::path(
    post, path = "/async-visits/{visitId}/images", operation_id = "addAsyncVisitImage", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid)),
    request_body(content_type = "application/octet-stream", content = String, description = "The file."),
    responses((status = 201, description = "It is there; of one that was there before the same answer.", body = ImageInfo,
        headers(("Location" = String, description = "Where it is.")))),
    security(("apiKey" = ["visits:write"]), ("staffSession" = []))
)]
pub(crate) async fn add_image(
    State(app): State<App>,
    caller: May<need::VisitsWrite>,
    Of(id): Of<AsyncVisitId>,
    request: Request,
) -> Result<Response, ApiError> {
    // So many files at once are held in memory, and no more.
    let _room = app.visits.room_for_upload(caller.tenant, &caller.id, id).await?;
    let file = Bytes::from_request(request, &app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::Image(ImageError::TooLong),
        _ => ApiError::Malformed(rejection.body_text()),
    })?;
    let image = app.visits.add_image(&asked(&caller, IfMatch(None)), id, file.into()).await?;
    let location = format!("/v1/async-visits/{id}/images/{}", image.digest);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(ImageInfo::of(&image))).into_response())
}

/// Get an image. That it was read is in the audit.
#[utoipa::path(
    get, path = "/async-visits/{visitId}/images/{sha256}", operation_id = "getAsyncVisitImage", tag = "Asynchronous visits",
    params(("visitId" = String, Path, format = Uuid), ("sha256" = String, Path, description = "Its digest.")),
    responses((status = 200, description = "The file.", content_type = "image/*", body = String)),
    security(("apiKey" = ["visits:read"]), ("staffSession" = []))
)]
pub(crate) async fn get_image(
    State(app): State<App>,
    caller: May<need::VisitsRead>,
    Of((id, digest)): Of<(AsyncVisitId, ContentDigest)>,
) -> Result<Response, ApiError> {
    let (image, bytes) = app.visits.image(caller.tenant, id, digest).await?;
    note(&app, &caller, "visit.read", (id, None)).await?;
    let name = format!("inline; filename=\"{digest}.{}\"", image.media_type.extension());
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(image.media_type.as_str())),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::try_from(name).expect("digits and an extension are a header"),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    Ok((headers, Bytes::from_owner(bytes)).into_response())
}

fn asked(caller: &Caller, expected: IfMatch) -> Asked {
    Asked {
        tenant: caller.tenant,
        actor: caller.actor(),
        now: clock::now(),
        expected: expected.0,
        beside: request::stamped(),
    }
}

/// Who read it. Without that nothing is shown.
async fn note(
    app: &App,
    caller: &Caller,
    action: &'static str,
    (visit, session): (AsyncVisitId, Option<SessionId>),
) -> Result<(), ApiError> {
    let session = session.map(|session| session.to_string());
    let audit = vec![caller.did(action, ("async_visit", visit.to_string()), session)];
    Ok(app.store.note(Beside { audit, ..request::stamped() }).await?)
}

fn answer(Changed { visit, is_new }: Changed) -> Response {
    let head = [etag(visit.version())];
    let body = Json(Summary::of(&visit));
    if is_new {
        let location = format!("/v1/async-visits/{}", visit.id());
        (StatusCode::CREATED, head, [(header::LOCATION, location)], body).into_response()
    } else {
        (head, body).into_response()
    }
}
