//! `Idempotency-Key` (as in the IETF's draft of that header): a request that makes something, and comes twice because an
//! answer was lost, makes one thing and has one answer.
//!
//! The answer is kept in the transaction of what it answers, sealed, for a day. Two at once: the later one finds the key
//! taken, nothing of it is written, and it gets the answer of the first.

use std::future::Future;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::ApiError;
use super::request;
use super::version::etag;
use crate::app::App;
use crate::clock;
use crate::store::{AuditEntry, Beside, IdempotencyRecord, Remembered};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const BYTES_MAX: usize = 128;
/// Said of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer that can be given again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    status: u16,
    location: Option<String>,
    version: Option<u64>,
    /// JSON.
    body: String,
}

impl Answer {
    /// 201: something was made.
    pub(crate) fn created(location: Option<String>, version: Option<u64>, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("answers are structs of strings and numbers");
        Self { status: StatusCode::CREATED.as_u16(), location, version, body }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = (status, [json], self.body).into_response();
        let version = self.version.map(etag);
        let location = self.location.map(|location| (header::LOCATION, location));
        for (name, value) in version.into_iter().chain(location) {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// What an endpoint writes beside its change, so that its answer is kept with it.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    app: &'a App,
    caller: &'a Caller,
    key: Option<String>,
    hash: Vec<u8>,
}

impl Recorder<'_> {
    pub(crate) fn beside(&self, audit: Vec<AuditEntry>, answer: &Answer) -> Beside {
        let idempotency = self.key.as_ref().map(|key| {
            let plain = serde_json::to_vec(answer).expect("an answer is a struct of strings and numbers");
            IdempotencyRecord {
                tenant: self.caller.tenant,
                caller: self.caller.id.as_str().to_owned(),
                key: key.clone(),
                request_hash: self.hash.clone(),
                status: answer.status,
                sealed_answer: self.app.seal.seal(&self.purpose(key), &plain).bytes,
                created_at: clock::now(),
            }
        });
        Beside { request: request::current(), audit, idempotency, secrets: Vec::new() }
    }

    fn purpose(&self, key: &str) -> String {
        format!("answer/{}/{}/{key}", self.caller.tenant, self.caller.id.as_str())
    }

    async fn remembered(&self) -> Result<Option<Response>, ApiError> {
        let Some(key) = &self.key else { return Ok(None) };
        let found = self.app.store.remembered(self.caller.tenant, self.caller.id.as_str(), key).await?;
        let Some(Remembered { request_hash, sealed_answer, .. }) = found else { return Ok(None) };
        if request_hash != self.hash {
            return Err(ApiError::KeyReused);
        }
        let plain = self.app.seal.open(&self.purpose(key), &sealed_answer)?;
        let answer: Answer = serde_json::from_slice(&plain).map_err(|_| ApiError::Unavailable)?;
        let mut response = answer.into_response();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(Some(response))
    }
}

/// Carries out `work`, unless this request was answered before: then it gets that answer.
pub(crate) async fn once<'a, F, W>(
    app: &'a App,
    caller: &'a Caller,
    headers: &HeaderMap,
    hash: Vec<u8>,
    work: W,
) -> Result<Response, ApiError>
where
    W: FnOnce(std::sync::Arc<Recorder<'a>>) -> F,
    F: Future<Output = Result<Answer, ApiError>>,
{
    let recorder = std::sync::Arc::new(Recorder { app, caller, key: key(headers)?, hash });
    if let Some(response) = recorder.remembered().await? {
        return Ok(response);
    }
    match work(recorder.clone()).await {
        Ok(answer) => Ok(answer.into_response()),
        // It may have failed because the same request was faster on another way.
        Err(error) => match recorder.remembered().await? {
            Some(response) => Ok(response),
            None => Err(error),
        },
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or("");
    if (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(text.to_owned()));
    }
    Err(ApiError::Malformed(format!("`Idempotency-Key` has 1 to {BYTES_MAX} visible ASCII characters")))
}
