//! Virtual sessions: schedule, list, get, reschedule, cancel, end.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use vestibule_domain::{
    Command, Communication, DenyReason, EndReason, JoinWindow, PARTICIPANTS_MAX, Participant, ParticipantId,
    ParticipantRole, PatientId, ProviderRef, SessionId, SessionStatus, Standing, VideoBackend,
    VirtualSession,
};

use super::{BODY_BYTES_MAX, words};
use crate::app::App;
use crate::clock;
use crate::http::body::{Body, Of, Params};
use crate::http::caller::{Caller, May, need};
use crate::http::once::{Answer, once};
use crate::http::page::{Listed, listed, page};
use crate::http::problem::ApiError;
use crate::http::request;
use crate::http::version::{IfMatch, etag, fresh};
use crate::live::Call;
use crate::sessions::{Maker, Person, Plan};
use crate::store::{Loaded, PersonText, Profile, SessionFilter};

/// Participants one request may bring; how many fit the clinic decides, within the operator's limit.
const PEOPLE_MAX: usize = PARTICIPANTS_MAX as usize;
/// Bytes of a body that names so many.
const PLAN_BODY_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Scheduling, whose body may be longer than those of others.
pub(super) fn plans() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, schedule)).layer(DefaultBodyLimit::max(PLAN_BODY_BYTES_MAX))
}

/// A session as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    /// A UUID of version 7.
    #[schema(value_type = String, format = Uuid)]
    id: SessionId,
    #[schema(schema_with = words::session_status)]
    status: SessionStatus,
    /// How it got to its final status, once it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = words::end_reason)]
    end_reason: Option<EndReason>,
    /// The patient in the clinic's records.
    #[schema(value_type = String)]
    patient_id: PatientId,
    /// Whose desk it waits on, in the clinic's words.
    #[schema(value_type = String)]
    provider_ref: ProviderRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_start: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_end: Option<Timestamp>,
    /// When the door opens, as it is scheduled now.
    #[schema(value_type = String, format = DateTime)]
    opens_at: Timestamp,
    /// When it closes; a session without a time has no closing, its links are short-lived instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<Timestamp>,
    #[schema(schema_with = words::communication)]
    communication: Communication,
    #[schema(schema_with = words::video_backend)]
    video_backend: VideoBackend,
    recording_enabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    provider_first_joined_at: Option<Timestamp>,
    /// When the patient was first let in with a provider there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// The Encounter it became in the clinic's records.
    #[serde(skip_serializing_if = "Option::is_none")]
    encounter_id: Option<String>,
    /// Grows by one with each change.
    version: u64,
    participants: Vec<Who>,
}

/// A participant as the API shows them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Participant)]
pub(crate) struct Who {
    /// A UUID of version 7.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: ParticipantId,
    #[schema(schema_with = words::participant_role)]
    pub(crate) role: ParticipantRole,
    /// Where they may be. Whether they are reached is in no list: it changes many times a minute.
    #[schema(schema_with = words::standing)]
    pub(crate) standing: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    /// What an observer is to the patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) relationship: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) first_joined_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) joined_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) admitted_at: Option<Timestamp>,
    /// Since when they are out for a reason: left on purpose, denied, or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) left_at: Option<Timestamp>,
    /// What they were told when they were last not let in; until they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = words::deny_reason)]
    pub(crate) denied_reason: Option<DenyReason>,
}

impl Session {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let session = &loaded.session;
        let JoinWindow { opens_at, closes_at } = session.join_window();
        let participants = session.participants().iter();
        Self {
            id: session.id(),
            status: session.status(),
            end_reason: session.end_reason(),
            patient_id: session.patient_id().clone(),
            provider_ref: session.provider_ref().clone(),
            scheduled_start: session.scheduled_start(),
            scheduled_end: session.scheduled_end(),
            opens_at,
            closes_at,
            communication: session.communication(),
            video_backend: session.backend(),
            recording_enabled: session.recording_enabled(),
            created_at: session.created_at(),
            provider_first_joined_at: session.provider_first_joined_at(),
            started_at: session.started_at(),
            ended_at: session.ended_at(),
            encounter_id: session.encounter().map(|encounter| encounter.as_str().to_owned()),
            version: session.version(),
            participants: participants
                .map(|record| Who::of(record, loaded.profiles.get(&record.id)))
                .collect(),
        }
    }
}

impl Who {
    pub(crate) fn of(record: &Participant, profile: Option<&Profile>) -> Self {
        let text = |text: &PersonText| text.as_str().to_owned();
        Self {
            id: record.id,
            role: record.role,
            standing: record.standing,
            display_name: profile.map(|profile| text(&profile.display_name)),
            relationship: profile.and_then(|profile| profile.relationship.as_ref()).map(text),
            first_joined_at: record.first_joined_at,
            joined_at: record.joined_at,
            admitted_at: record.admitted_at,
            left_at: record.left_at,
            denied_reason: record.denied,
        }
    }
}

/// A session to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScheduleSession {
    /// The patient in the clinic's records: 1 to 128 visible ASCII characters.
    #[schema(min_length = 1, max_length = 128)]
    patient_id: String,
    /// Whose desk it waits on: 1 to 128 visible ASCII characters.
    #[schema(min_length = 1, max_length = 128)]
    provider_ref: String,
    /// When it is due. Without it the session is open at once, and its links are short-lived.
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_start: Option<Timestamp>,
    /// When it should be over; needs a start, and is at most 24 hours behind it.
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_end: Option<Timestamp>,
    /// `sign`: the video is the conversation, and is never reduced to sound alone.
    #[serde(default)]
    #[schema(schema_with = words::communication)]
    communication: Communication,
    /// Who is invited from the start: at most one patient, and no more than the clinic allows.
    #[serde(default)]
    #[schema(max_items = 1000)]
    participants: Vec<NewParticipant>,
}

/// Somebody to be invited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewParticipant {
    #[schema(schema_with = words::participant_role)]
    role: ParticipantRole,
    /// How the others see them called.
    #[schema(min_length = 1, max_length = 100)]
    display_name: Option<String>,
    /// What an observer is to the patient, in plain words.
    #[schema(min_length = 1, max_length = 100)]
    relationship: Option<String>,
}

impl NewParticipant {
    pub(crate) fn person(self) -> Result<Person, ApiError> {
        if self.relationship.is_some() && self.display_name.is_none() {
            let problem = "needs a `displayName`".into();
            return Err(ApiError::Invalid { field: "relationship", problem });
        }
        Ok(Person {
            role: self.role,
            display_name: self.display_name.map(|name| text("displayName", &name)).transpose()?,
            relationship: self.relationship.map(|name| text("relationship", &name)).transpose()?,
        })
    }
}

fn text(field: &'static str, text: &str) -> Result<PersonText, ApiError> {
    PersonText::parse(text).map_err(|error| ApiError::Invalid { field, problem: error.to_string() })
}

/// A value of the domain from a field.
pub(crate) fn parsed<T>(field: &'static str, text: &str) -> Result<T, ApiError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| ApiError::Invalid { field, problem: error.to_string() })
}

/// Schedule a session.
///
/// The room is provisioned on the clinic's video backend first: if that fails, there is no session.
#[utoipa::path(
    post, path = "/sessions", operation_id = "scheduleSession", tag = "Sessions",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters; kept for a day.")),
    request_body = ScheduleSession,
    responses((status = 201, description = "It is scheduled.", body = Session,
        headers(("ETag" = String, description = "Its version."), ("Location" = String, description = "Where it is.")))),
    security(("apiKey" = ["sessions:write"]), ("staffSession" = []))
)]
pub(crate) async fn schedule(
    State(app): State<App>,
    caller: May<need::SessionsWrite>,
    headers: HeaderMap,
    Body { value, hash }: Body<ScheduleSession>,
) -> Result<Response, ApiError> {
    let plan = plan(&caller, value)?;
    let maker = Maker {
        store: &app.store,
        backends: &app.backends,
        ids: &app.ids,
        participants_limit: app.participants_limit,
    };
    let (app, caller) = (&app, &caller);
    once(app, caller, &headers, hash, |recorder| async move {
        let answer = |loaded: &Loaded| {
            let location = format!("/v1/sessions/{}", loaded.session.id());
            Answer::created(Some(location), Some(loaded.session.version()), &Session::of(loaded))
        };
        let made = maker
            .make(plan, &caller.actor(), clock::now(), |loaded| {
                Ok::<_, ApiError>(recorder.beside(Vec::new(), &answer(loaded)))
            })
            .await?;
        app.feed.tell();
        Ok(answer(&made))
    })
    .await
}

fn plan(caller: &Caller, asked: ScheduleSession) -> Result<Plan, ApiError> {
    if asked.participants.len() > PEOPLE_MAX {
        let problem = format!("must have at most {PEOPLE_MAX} entries");
        return Err(ApiError::Invalid { field: "participants", problem });
    }
    Ok(Plan {
        tenant: caller.tenant,
        patient_id: parsed("patientId", &asked.patient_id)?,
        provider_ref: parsed("providerRef", &asked.provider_ref)?,
        scheduled_start: asked.scheduled_start,
        scheduled_end: asked.scheduled_end,
        communication: asked.communication,
        people: asked.participants.into_iter().map(NewParticipant::person).collect::<Result<_, _>>()?,
    })
}

/// Which sessions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSessions {
    #[param(schema_with = words::session_status)]
    status: Option<SessionStatus>,
    /// Of this patient.
    patient_id: Option<String>,
    /// Of this desk.
    provider_ref: Option<String>,
    /// That start then or later; those without a time count from their making.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// That start before then.
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<Timestamp>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of a page; 50 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// List sessions, newest first.
#[utoipa::path(
    get, path = "/sessions", operation_id = "listSessions", tag = "Sessions",
    params(ListSessions),
    responses((status = 200, description = "A page of them.", body = Listed<Session>)),
    security(("apiKey" = ["sessions:read"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::SessionsRead>,
    Params(asked): Params<ListSessions>,
) -> Result<Json<Listed<Session>>, ApiError> {
    let page = page::<SessionId>(asked.cursor.as_deref(), asked.limit)?;
    let limit = page.limit;
    let filter = SessionFilter {
        status: asked.status,
        patient: asked.patient_id.map(|text| parsed("patientId", &text)).transpose()?,
        provider: asked.provider_ref.map(|text| parsed("providerRef", &text)).transpose()?,
        starts_from: asked.from,
        starts_before: asked.before,
    };
    let found = app.store.list_sessions(caller.tenant, &filter, page).await?;
    Ok(Json(listed(found, limit, |loaded| loaded.session.id().to_string(), |loaded| Session::of(&loaded))))
}

/// Get a session.
#[utoipa::path(
    get, path = "/sessions/{sessionId}", operation_id = "getSession", tag = "Sessions",
    params(("sessionId" = String, Path, format = Uuid)),
    responses((status = 200, description = "It.", body = Session, headers(("ETag" = String, description = "Its version."))),
        (status = 304, description = "It is as you have it (`If-None-Match`).")),
    security(("apiKey" = ["sessions:read"]), ("staffSession" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: May<need::SessionsRead>,
    Of(id): Of<SessionId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let loaded = own(&app, &caller, id).await?;
    Ok(fresh(&headers, loaded.session.version(), Json(Session::of(&loaded))))
}

/// New times. One that is left out is taken away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Reschedule {
    /// When it is due now; null for no time.
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_start: Option<Timestamp>,
    /// When it should be over; null for no end.
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_end: Option<Timestamp>,
}

/// Reschedule a session that has not begun.
///
/// Links that are out stay good: the door moves with the session.
#[utoipa::path(
    patch, path = "/sessions/{sessionId}", operation_id = "rescheduleSession", tag = "Sessions",
    params(("sessionId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    request_body = Reschedule,
    responses((status = 200, description = "As it is now.", body = Session, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["sessions:write"]), ("staffSession" = []))
)]
pub(crate) async fn reschedule(
    State(app): State<App>,
    caller: May<need::SessionsWrite>,
    Of(id): Of<SessionId>,
    expected: IfMatch,
    Body { value, .. }: Body<Reschedule>,
) -> Result<Response, ApiError> {
    let command = Command::Reschedule { start: value.scheduled_start, end: value.scheduled_end };
    carry_out(&app, &caller, id, command, expected).await
}

/// Cancel a session that has not begun.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/cancel", operation_id = "cancelSession", tag = "Sessions",
    params(("sessionId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    responses((status = 200, description = "As it is now.", body = Session, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["sessions:write"]), ("staffSession" = []))
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: May<need::SessionsWrite>,
    Of(id): Of<SessionId>,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    carry_out(&app, &caller, id, Command::Cancel, expected).await
}

/// End a session that is active: everybody in it is told, and out.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/end", operation_id = "endSession", tag = "Sessions",
    params(("sessionId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    responses((status = 200, description = "As it is now.", body = Session, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["sessions:control"]), ("staffSession" = []))
)]
pub(crate) async fn end(
    State(app): State<App>,
    caller: May<need::SessionsControl>,
    Of(id): Of<SessionId>,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    carry_out(&app, &caller, id, Command::End, expected).await
}

/// The session of that identifier, if it is the caller's; else there is none, whoever's it may be.
pub(crate) async fn own(app: &App, caller: &Caller, id: SessionId) -> Result<Loaded, ApiError> {
    let loaded = app.store.load_session(id).await?;
    loaded.filter(|loaded| loaded.session.tenant() == caller.tenant).ok_or(ApiError::NotFound)
}

/// Has a command carried out, and answers with the session as it is by it.
pub(crate) async fn carry_out(
    app: &App,
    caller: &Caller,
    id: SessionId,
    command: Command,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    let loaded = ask(app, caller, id, command, expected).await?;
    Ok(([etag(loaded.session.version())], Json(Session::of(&loaded))).into_response())
}

/// Has a command carried out by the session's own task.
pub(crate) async fn ask(
    app: &App,
    caller: &Caller,
    id: SessionId,
    command: Command,
    expected: IfMatch,
) -> Result<Loaded, ApiError> {
    own(app, caller, id).await?;
    let call =
        Call { expected: expected.0, beside: request::stamped(), ..Call::plain(command, caller.actor()) };
    app.registry.command(id, call).await??;
    own(app, caller, id).await
}

/// Whether `session` is over: then nothing more is issued for it.
pub(crate) fn not_over(session: &VirtualSession) -> Result<(), ApiError> {
    if session.status().is_final() { Err(ApiError::SessionOver(session.end_reason())) } else { Ok(()) }
}
