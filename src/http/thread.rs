//! `/v1/thread`: what is said in writing, for who has no socket (docs/protocol.md, section 5). By the resume secret of a
//! device that is in; by the session's own task, as on a socket.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use vestibule_domain::{ContentDigest, ParticipantId, SessionId};
use vestibule_signaling::wire::{
    Attachment, ErrorCode, LineOutcome, LineState, ThreadPage, ThreadReply, ThreadRequest, VisitState,
};
use vestibule_signaling::{ResumeKey, TextAsk, TextError, TextReply, Words};

use super::address;
use super::body::{Body, Of, Params};
use super::problem::ApiError;
use crate::app::App;
use crate::images::ImageError;
use crate::{clock, resume};

/// Lines of one request.
const LINES_MAX: usize = 20;
/// Bytes of its body: each character may take six, as `\u0000` does.
pub(super) const BODY_BYTES_MAX: usize = 128 * 1024;

/// Who asks, by the secret of their device.
pub(crate) struct Writer {
    session: SessionId,
    participant: ParticipantId,
    key: ResumeKey,
    from: Option<std::net::IpAddr>,
}

impl FromRequestParts<App> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let from = address::of(&parts.extensions);
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = given.and_then(|text| text.split_once(' '));
        let secret = secret.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let shown = secret.and_then(|(_, secret)| resume::parse(secret).ok());
        let Some(shown) = shown else { return Err(void(app, from)) };
        let writer = Self { session: shown.session, participant: shown.participant, key: shown.key, from };
        // Before the session is looked for: a wrong one wakes none.
        match app.registry.may_resume(writer.session, writer.participant, writer.key).await {
            Ok(true) => {}
            Ok(false) => return Err(void(app, from)),
            Err(error) => return Err(error.into()),
        }
        app.rates.check(&writer.participant.to_string())?;
        Ok(writer)
    }
}

/// Counts a secret that is wrong; of who guesses no more is said than that.
fn void(app: &App, from: Option<std::net::IpAddr>) -> ApiError {
    match from.map(|from| app.rates.wrong(from)) {
        Some(Err(too_often)) => too_often,
        _ => ApiError::SecretVoid,
    }
}

impl Writer {
    async fn ask(&self, app: &App, ask: TextAsk) -> Result<TextReply, ApiError> {
        let answer = app.registry.text(self.session, (self.participant, self.key), ask).await?;
        answer.map_err(|error| match error {
            TextError::Void => void(app, self.from),
            other => other.into(),
        })
    }
}

/// Where to read on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    #[serde(default)]
    after: u64,
}

/// `GET /v1/thread?after=N`: what was said after a position, now or when there is something.
pub(crate) async fn poll(
    State(app): State<App>,
    writer: Writer,
    Params(After { after }): Params<After>,
) -> Result<Json<ThreadPage>, ApiError> {
    match writer.ask(&app, TextAsk::Poll { after }).await? {
        TextReply::Page(page) => Ok(Json(page)),
        _ => Ok(Json(ThreadPage::default())),
    }
}

/// `GET /v1/thread/visit`: how the visit stands.
pub(crate) async fn visit(State(app): State<App>, writer: Writer) -> Result<Json<VisitState>, ApiError> {
    match writer.ask(&app, TextAsk::Visit).await? {
        TextReply::Visit(state) => Ok(Json(*state)),
        _ => Err(ApiError::SecretVoid),
    }
}

/// `POST /v1/thread`: says lines, in their order.
pub(crate) async fn say(
    State(app): State<App>,
    writer: Writer,
    Body { value: ThreadRequest { lines, composing }, .. }: Body<ThreadRequest>,
) -> Result<Json<ThreadReply>, ApiError> {
    if lines.len() > LINES_MAX {
        return Err(ApiError::Malformed(format!("`lines` has at most {LINES_MAX} entries")));
    }
    let mut outcomes = Vec::new();
    for line in lines {
        let client_id = line.client_id.clone();
        let words = Words { client_id: line.client_id, text: line.text, attachment: line.attachment };
        let answer =
            app.registry.text(writer.session, (writer.participant, writer.key), TextAsk::Say(words)).await;
        let (state, code) = match answer {
            Ok(Ok(TextReply::HandedOver)) => (LineState::HandedOver, None),
            Ok(Ok(_)) => (LineState::Said, None),
            // About this line alone: those after it may be said all the same.
            Ok(Err(TextError::Refused(code, _))) if !code.is_retryable() => (LineState::Refused, Some(code)),
            // The rest is to be sent again, and what was said is known.
            _ if !outcomes.is_empty() => break,
            Ok(Err(TextError::Void)) => return Err(void(&app, writer.from)),
            Ok(Err(error)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
        };
        outcomes.push(LineOutcome { client_id, state, code });
    }
    if let Some(on) = composing {
        writer.ask(&app, TextAsk::Composing(on)).await?;
    }
    Ok(Json(ThreadReply { lines: outcomes }))
}

/// `POST /v1/thread/images`: sends an image, for a line to come.
pub(crate) async fn add_image(
    State(app): State<App>,
    writer: Writer,
    request: Request,
) -> Result<(StatusCode, Json<Attachment>), ApiError> {
    writer.ask(&app, TextAsk::Look).await?;
    // So many files at once are held in memory, and no more.
    let _room = app.threads.room_for_upload(writer.participant).await?;
    let file = Bytes::from_request(request, &app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::Image(ImageError::TooLong),
        _ => ApiError::Malformed(rejection.body_text()),
    })?;
    let image = app.threads.add_image(writer.session, writer.participant, file.into(), clock::now()).await?;
    Ok((StatusCode::CREATED, Json(image)))
}

/// `GET /v1/thread/images/{sha256}`: an image of a line that one may read.
pub(crate) async fn image(
    State(app): State<App>,
    writer: Writer,
    Of(digest): Of<ContentDigest>,
) -> Result<Response, ApiError> {
    if writer.ask(&app, TextAsk::Look).await? != TextReply::Done {
        // It is over; what was written is on the desk.
        return Err(ApiError::SessionOver(None));
    }
    let shown = app.threads.image(writer.session, writer.participant, digest).await?;
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(shown.media_type.as_str())),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    Ok((headers, Bytes::from_owner(shown.bytes)).into_response())
}

impl From<TextError> for ApiError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Void => Self::SecretVoid,
            TextError::NotIn => Self::NotIn,
            TextError::Removed => Self::TakenOut,
            TextError::Over(reason) => Self::SessionOver(Some(reason)),
            TextError::Refused(ErrorCode::Malformed, why) => Self::Malformed(why),
            TextError::Refused(ErrorCode::UnknownImage, _) => Self::UnknownImage,
            TextError::Refused(ErrorCode::Busy, _) => Self::Busy,
            TextError::Refused(ErrorCode::Rejected(_), _) => Self::LimitReached { what: "lines" },
            TextError::Refused(..) => Self::Unavailable,
        }
    }
}
