//! Errors over HTTP as problem details (RFC 9457): one enum, one mapping.

use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use vestibule_domain::{EndReason, Rejection, TokenError};
use vestibule_signaling::CallError;
use vestibule_signaling::wire::Problem;

use crate::live::Unreachable;
use crate::store::StoreError;
use crate::tickets::TooMany;

/// Seconds after which a client may try again.
const RETRY_AFTER_S: &str = "2";

/// Why a request changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    Malformed(String),
    #[error("the body is over 16 KiB")]
    TooLarge,
    #[error("the body must be application/json")]
    UnsupportedMediaType,
    #[error("the request was not all there within ten seconds")]
    Timeout,
    #[error("a signaling socket is opened by a WebSocket handshake: {0}")]
    NoHandshake(String),
    #[error("only this server's own page may connect")]
    OtherOrigin,
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address does not take this method")]
    MethodNotAllowed,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("the session is over")]
    SessionOver(Option<EndReason>),
    #[error("a consent that is needed is not on file")]
    ConsentMissing,
    #[error("the consent in force is version {in_force}")]
    ConsentOutdated { in_force: &'static str },
    #[error(transparent)]
    TooMany(#[from] TooMany),
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
            Self::Rejected(rejection) => (StatusCode::CONFLICT, rejection.code(), "This is not possible now"),
            Self::SessionOver(_) => (StatusCode::GONE, "session_over", "The session is over"),
            Self::ConsentMissing => (StatusCode::CONFLICT, "consent_missing", "A consent is missing"),
            Self::ConsentOutdated { .. } => {
                (StatusCode::CONFLICT, "consent_outdated", "The text of the consent has changed")
            }
            Self::TooMany(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "The server cannot do this now")
            }
        }
    }

    const fn opens_at(&self) -> Option<Timestamp> {
        match self {
            Self::Token(TokenError::NotOpen { opens_at }) => Some(*opens_at),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, title) = self.kind();
        let reason = if let Self::SessionOver(reason) = self { reason } else { None };
        let problem = Problem {
            problem_type: format!("urn:vestibule:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: self.to_string(),
            opens_at: self.opens_at(),
            reason,
        };
        let json = HeaderValue::from_static("application/problem+json");
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
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
        tracing::error!(%error, "the store failed a request");
        Self::Unavailable
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
            CallError::Unavailable => Self::Unavailable,
        }
    }
}
