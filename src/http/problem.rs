//! Errors over HTTP as problem details (RFC 9457): one enum, one mapping.

use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use vestibule_domain::{ConfigRejection, EndReason, Rejection, TokenError, VisitRejection};
use vestibule_signaling::CallError;
use vestibule_signaling::wire::Problem;

use super::request;
use crate::accounts::{ChangeError, Crowded, LinkError, SignInError, WeakPassword};
use crate::backends::BackendError;
use crate::clock;
use crate::images::ImageError;
use crate::live::Unreachable;
use crate::rights::Right;
use crate::seal::SealError;
use crate::sessions::MakeError;
use crate::store::StoreError;
use crate::threads::ThreadError;
use crate::tickets::TooMany;
use crate::visits::{NoPlace, VisitError};

/// Seconds after which a client may try again.
const RETRY_AFTER_S: &str = "2";

/// Why a request changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    Malformed(String),
    #[error("the body is longer than this address takes")]
    TooLarge,
    #[error("the body must be application/json")]
    UnsupportedMediaType,
    #[error("the request was not all there in time")]
    Timeout,
    #[error("a signaling socket is opened by a WebSocket handshake: {0}")]
    NoHandshake(String),
    #[error("only this server's own page may connect")]
    OtherOrigin,
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address does not take this method")]
    MethodNotAllowed,
    #[error("an API key (`Authorization: Bearer`) or a signed-in member of staff is needed")]
    Unauthenticated,
    #[error("this takes the right {0}")]
    RightMissing(Right),
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("the login name or the password is wrong")]
    SignInFailed,
    #[error("there were too many wrong passwords for this name; try again in {wait_s} s")]
    SignInLocked { wait_s: u64 },
    #[error("this link is not good, or not any more")]
    LinkNotGood,
    #[error(transparent)]
    WeakPassword(#[from] WeakPassword),
    #[error("somebody has to stay who can sign in and see to the others")]
    LastAdmin,
    #[error("the account is disabled")]
    AccountDisabled,
    #[error("there are as many {what} as there may be")]
    LimitReached { what: &'static str },
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("too many requests; try again in {wait_s} s")]
    TooOften { wait_s: u64 },
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Config(#[from] ConfigRejection),
    #[error("{what} exists already")]
    Exists { what: &'static str },
    #[error("somebody else changes this all the time; try again")]
    Contended,
    #[error("what is kept cannot be read: a master key is missing, or it is damaged")]
    Unreadable,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Visit(#[from] VisitRejection),
    #[error("the visit is for another patient or provider, or goes on from another session")]
    AnotherVisit,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("this secret is not of this server, or void")]
    SecretVoid,
    #[error("you are not in")]
    NotIn,
    #[error("you were taken out")]
    TakenOut,
    #[error("you sent no such image; send it first")]
    UnknownImage,
    #[error("the server has more to do than it can")]
    Busy,
    #[error("the session is over")]
    SessionOver(Option<EndReason>),
    #[error("a consent that is needed is not on file")]
    ConsentMissing,
    #[error("the consent in force is version {in_force}")]
    ConsentOutdated { in_force: &'static str },
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("it is at version {current} by now")]
    VersionMismatch { current: u64 },
    #[error("the store does not answer; nothing was changed")]
    Unavailable,
}

impl ApiError {
    /// Status, code and title.
    const fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be understood"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too long"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The request is not JSON")
            }
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long"),
            Self::NoHandshake(_) => {
                (StatusCode::BAD_REQUEST, "no_handshake", "This is no WebSocket handshake")
            }
            Self::OtherOrigin => {
                (StatusCode::FORBIDDEN, "other_origin", "Another site's page may not connect")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This cannot be done here")
            }
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Say who you are"),
            Self::RightMissing(_) => (StatusCode::FORBIDDEN, "not_permitted", "This is not yours to ask"),
            Self::Invalid { .. } | Self::Config(ConfigRejection::Invalid { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "A value cannot be so")
            }
            Self::Config(ConfigRejection::NotPermitted) => {
                (StatusCode::FORBIDDEN, "not_permitted", "This is not yours to ask")
            }
            Self::SignInFailed => {
                (StatusCode::UNAUTHORIZED, "sign_in_failed", "The login name or the password is wrong")
            }
            Self::SignInLocked { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "sign_in_locked", "There were too many wrong passwords")
            }
            Self::LinkNotGood => (StatusCode::FORBIDDEN, "link_not_good", "The link is not good any more"),
            Self::WeakPassword(weak) => {
                (StatusCode::UNPROCESSABLE_ENTITY, weak.code(), "Another password is needed")
            }
            Self::LastAdmin => (StatusCode::CONFLICT, "last_admin", "This is the last administrator"),
            Self::AccountDisabled => (StatusCode::CONFLICT, "account_disabled", "The account is disabled"),
            Self::LimitReached { .. } => (StatusCode::CONFLICT, "limit_reached", "There are enough of them"),
            Self::Crowded(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy"),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The idempotency key belongs to another request",
            ),
            Self::TooOften { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests")
            }
            Self::Backend(BackendError::NotSetUp(_)) => {
                (StatusCode::CONFLICT, "video_backend_not_set_up", "The video backend is not set up")
            }
            Self::Backend(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "video_backend_unavailable",
                "The video backend is not available",
            ),
            Self::Exists { .. } => (StatusCode::CONFLICT, "exists", "There is one already"),
            Self::Contended => (StatusCode::CONFLICT, "contended", "Somebody else was faster"),
            Self::Unreadable => {
                (StatusCode::INTERNAL_SERVER_ERROR, "unreadable", "What is kept cannot be read")
            }
            Self::Rejected(Rejection::InvalidSchedule(_)) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_schedule", "The times make no sense")
            }
            Self::Rejected(Rejection::NoSuchParticipant(_)) => {
                (StatusCode::NOT_FOUND, "not_found", "There is nothing here")
            }
            Self::Token(error) => {
                let (status, title) = match error {
                    TokenError::Invalid => (StatusCode::UNAUTHORIZED, "The link is not valid"),
                    TokenError::Expired => (StatusCode::FORBIDDEN, "The link has expired"),
                    TokenError::Revoked => (StatusCode::FORBIDDEN, "The link is not good any more"),
                    TokenError::NotOpen { .. } => (StatusCode::FORBIDDEN, "The door is not open yet"),
                    TokenError::SessionOver => (StatusCode::GONE, "The session is over"),
                };
                (status, error.code(), title)
            }
            Self::Rejected(Rejection::NotPermitted) => {
                (StatusCode::FORBIDDEN, "not_permitted", "This is not yours to ask")
            }
            Self::Rejected(rejection @ Rejection::SessionOver) => {
                (StatusCode::GONE, rejection.code(), "The session is over")
            }
            Self::Rejected(rejection) => (StatusCode::CONFLICT, rejection.code(), "This is not possible now"),
            Self::Visit(VisitRejection::NotPermitted) => {
                (StatusCode::FORBIDDEN, "not_permitted", "This is not yours to ask")
            }
            Self::Visit(rejection @ VisitRejection::InvalidContent(_)) => {
                (StatusCode::UNPROCESSABLE_ENTITY, rejection.code(), "This content cannot be")
            }
            Self::Visit(rejection) => (StatusCode::CONFLICT, rejection.code(), "This is not possible now"),
            Self::AnotherVisit => {
                (StatusCode::CONFLICT, "another_visit", "This identifier is another visit's")
            }
            Self::Image(error) => image(error),
            Self::SecretVoid => (StatusCode::UNAUTHORIZED, "resume_invalid", "The secret is void"),
            Self::NotIn => (StatusCode::CONFLICT, "not_admitted", "Only who is in may"),
            Self::TakenOut => (StatusCode::CONFLICT, "removed", "You were taken out"),
            Self::UnknownImage => (StatusCode::CONFLICT, "unknown_image", "There is no such image"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy"),
            Self::SessionOver(_) => (StatusCode::GONE, "session_over", "The session is over"),
            Self::ConsentMissing => (StatusCode::CONFLICT, "consent_missing", "A consent is missing"),
            Self::ConsentOutdated { .. } => {
                (StatusCode::CONFLICT, "consent_outdated", "The text of the consent has changed")
            }
            Self::VersionMismatch { .. } => {
                (StatusCode::PRECONDITION_FAILED, "version_mismatch", "Somebody else has changed this")
            }
            Self::TooMany(_) | Self::NoPlace(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy")
            }
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "The server cannot do this now")
            }
        }
    }

    /// The field that is not as it should be, by its name in JSON.
    fn field(&self) -> Option<String> {
        match self {
            Self::Invalid { field, .. } => Some((*field).to_owned()),
            Self::WeakPassword(_) => Some("password".to_owned()),
            Self::Config(rejection) => rejection.field().map(|field| field.as_str().to_owned()),
            _ => None,
        }
    }

    const fn current_version(&self) -> Option<u64> {
        match self {
            Self::VersionMismatch { current } => Some(*current),
            _ => None,
        }
    }

    const fn opens_at(&self) -> Option<Timestamp> {
        match self {
            Self::Token(TokenError::NotOpen { opens_at }) => Some(*opens_at),
            _ => None,
        }
    }
}

const fn image(error: &ImageError) -> (StatusCode, &'static str, &'static str) {
    const NOT_TAKEN: &str = "This kind of image is not taken";
    const CANNOT_BE: &str = "This image cannot be taken";
    match error {
        ImageError::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "image_too_large", CANNOT_BE),
        ImageError::UnknownKind => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_an_image", NOT_TAKEN),
        ImageError::Heic => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "heic_not_taken", NOT_TAKEN),
        ImageError::Animated => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "moving_image", NOT_TAKEN),
        ImageError::Unsupported { .. } => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_image", NOT_TAKEN)
        }
        ImageError::Truncated { .. } | ImageError::Damaged { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "damaged_image", CANNOT_BE)
        }
        ImageError::Dimensions { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "image_dimensions", CANNOT_BE),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, title) = self.kind();
        let reason = if let Self::SessionOver(reason) = self { reason } else { None };
        let wait_s = match self {
            Self::TooOften { wait_s } | Self::SignInLocked { wait_s } => Some(wait_s),
            _ => None,
        };
        // Of what is not there, nothing is said: not even whether it once was, or whose it is.
        let detail = if code == "not_found" { Self::NotFound.to_string() } else { self.to_string() };
        let problem = Problem {
            problem_type: format!("urn:vestibule:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail,
            opens_at: self.opens_at(),
            reason,
            field: self.field(),
            current_version: self.current_version(),
            request_id: request::current(),
        };
        let json = HeaderValue::from_static("application/problem+json");
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
        if let Some(wait_s) = wait_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
        }
        if code == "unauthenticated" {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => Self::UnsupportedMediaType,
            JsonRejection::BytesRejection(_) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Self::TooLarge
            }
            _ => Self::Malformed(rejection.body_text()),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { current_version } => Self::VersionMismatch { current: current_version },
            StoreError::Exists { what } => Self::Exists { what },
            StoreError::Missing { .. } => Self::NotFound,
            StoreError::Open { .. } | StoreError::Unavailable(_) | StoreError::Corrupt { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed a request");
                Self::Unavailable
            }
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => Self::SignInFailed,
            SignInError::Locked { until } => {
                let wait = until.duration_since(clock::now()).as_secs();
                Self::SignInLocked { wait_s: u64::try_from(wait).unwrap_or(0) + 1 }
            }
            SignInError::Crowded(crowded) => Self::Crowded(crowded),
            SignInError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Weak(weak) => Self::WeakPassword(weak),
            ChangeError::Refused(error) => error.into(),
        }
    }
}

impl From<LinkError> for ApiError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotGood => Self::LinkNotGood,
            LinkError::Weak(weak) => Self::WeakPassword(weak),
            LinkError::Crowded(crowded) => Self::Crowded(crowded),
            LinkError::Store(error) => error.into(),
        }
    }
}

impl From<MakeError> for ApiError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::NoTenant => Self::NotFound,
            MakeError::Backend(error) => Self::Backend(error),
            MakeError::Rejected(rejection) => Self::Rejected(rejection),
            MakeError::Store(error) => error.into(),
        }
    }
}

impl From<VisitError> for ApiError {
    fn from(error: VisitError) -> Self {
        let invalid = |field, error: &VisitError| Self::Invalid { field, problem: error.to_string() };
        match error {
            VisitError::NotFound => Self::NotFound,
            VisitError::VersionMismatch { current } => Self::VersionMismatch { current },
            VisitError::Rejected(rejection) => Self::Visit(rejection),
            VisitError::TextTooLong | VisitError::Empty => invalid("text", &error),
            VisitError::UnknownImage(_) => invalid("images", &error),
            VisitError::UnknownSession(_) => invalid("sessionId", &error),
            VisitError::Other => Self::AnotherVisit,
            VisitError::Image(error) => Self::Image(error),
            VisitError::Busy(error) => error.into(),
            VisitError::Store(error) => error.into(),
            VisitError::Seal(error) => error.into(),
            VisitError::Blob(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an image could not be had or kept"
                );
                Self::Unavailable
            }
        }
    }
}

impl From<ThreadError> for ApiError {
    fn from(error: ThreadError) -> Self {
        match error {
            ThreadError::NotFound => Self::NotFound,
            ThreadError::Full => Self::LimitReached { what: "images" },
            ThreadError::Image(error) => Self::Image(error),
            ThreadError::Busy(error) => error.into(),
            ThreadError::Store(error) => error.into(),
            ThreadError::Seal(error) => error.into(),
            ThreadError::Blob(error) => VisitError::Blob(error).into(),
            ThreadError::Visit(error) => error.into(),
        }
    }
}

impl From<SealError> for ApiError {
    fn from(error: SealError) -> Self {
        tracing::error!(%error, "what is sealed could not be opened");
        Self::Unreadable
    }
}

impl From<Unreachable> for ApiError {
    fn from(_: Unreachable) -> Self {
        Self::Unavailable
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Rejected(rejection) => Self::Rejected(rejection),
            CallError::Stale { current } => Self::VersionMismatch { current },
            CallError::Unavailable => Self::Unavailable,
        }
    }
}
