//! Versions over HTTP: `ETag` on what has one, `If-Match` on what changes it, `If-None-Match` on what is asked for again
//! (RFC 9110, section 13).

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

use super::problem::ApiError;

/// The version a caller wants to change; none if they do not care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl IfMatch {
    /// Whether it is that one.
    pub(crate) fn check(self, current: u64) -> Result<(), ApiError> {
        match self.0 {
            Some(expected) if expected != current => Err(ApiError::VersionMismatch { current }),
            _ => Ok(()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or("").trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version = read(text).ok_or_else(|| {
            ApiError::Malformed(
                "`If-Match` takes the ETag of an answer, as in \"3\", and no more than one".into(),
            )
        })?;
        Ok(Self(Some(version)))
    }
}

/// What an answer says of its version.
pub(crate) fn etag(version: u64) -> (HeaderName, String) {
    (ETAG, format!("\"{version}\""))
}

/// An answer, or that the caller has it already.
pub(crate) fn fresh(headers: &HeaderMap, version: u64, answer: impl IntoResponse) -> Response {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_it = |one: &str| one == "*" || read(one.trim_start_matches("W/")) == Some(version);
    let has_it = known.split(',').map(str::trim).any(is_it);
    if has_it {
        return (StatusCode::NOT_MODIFIED, [etag(version)]).into_response();
    }
    ([etag(version)], answer).into_response()
}

fn read(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('"')?.strip_suffix('"')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_digits_between_quotation_marks() {
        assert_eq!(read("\"12\""), Some(12));
        for wrong in ["12", "\"\"", "\"-1\"", "\"+1\"", "\"1", "W/\"1\"", "\"99999999999999999999\""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
