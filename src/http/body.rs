//! What requests bring: a body of JSON, parameters behind the question mark, identifiers in the path. Whatever is not as
//! it should be is refused with a problem, and nothing that is unknown is taken for something else.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::problem::ApiError;
use crate::app::App;

/// A body of JSON, and what tells it from others.
#[derive(Debug)]
pub(crate) struct Body<T> {
    pub(crate) value: T,
    /// SHA-256 of method, path and body.
    pub(crate) hash: Vec<u8>,
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let mut hash = Sha256::new();
        hash.update(request.method().as_str());
        hash.update([0]);
        hash.update(request.uri().path());
        hash.update([0]);
        let bytes = Bytes::from_request(request, app).await.map_err(JsonRejection::from)?;
        hash.update(&bytes);
        // serde takes an array for a struct, field by field; nobody who reads the description would.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(ApiError::Malformed("the body must be a JSON object".into()));
        }
        let Json(value) = Json::from_bytes(&bytes)?;
        Ok(Self { value, hash: hash.finalize().to_vec() })
    }
}

/// A body of JSON, or none.
pub(crate) struct MaybeBody<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned> FromRequest<App> for MaybeBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes = Bytes::from_request(request, app).await.map_err(JsonRejection::from)?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json {
            return Err(ApiError::UnsupportedMediaType);
        }
        let Json(value) = Json::from_bytes(&bytes)?;
        Ok(Self(value))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let is_json = parts.next().as_deref() == Some("application/json");
    // Without any it is UTF-8 (RFC 8259, section 8.1).
    let utf8 = parts
        .filter(|part| part.starts_with("charset="))
        .all(|part| part.trim_start_matches("charset=").trim_matches('"') == "utf-8");
    let coded = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
    is_json && utf8 && !coded
}

/// Parameters behind the question mark.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, app).await;
        let Query(params) = query.map_err(|error: QueryRejection| ApiError::Malformed(error.body_text()))?;
        Ok(Self(params))
    }
}

/// Identifiers in the path. What is none is as little there as one that nobody has.
#[derive(Debug)]
pub(crate) struct Of<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Of<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let path = Path::<T>::from_request_parts(parts, app).await;
        path.map(|Path(ids)| Self(ids)).map_err(|_| ApiError::NotFound)
    }
}
