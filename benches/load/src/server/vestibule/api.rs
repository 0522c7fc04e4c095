//! The API of a Vestibule server (docs/api.md), as far as rooms for a load take it.

use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pace::Pace;
use crate::clock;
use crate::server::{Net, ServerError};

/// Requests a second once it was too often: a server takes 100 of a key unless it is told otherwise, and somebody else may
/// use it too.
const REQUESTS_PER_SECOND: f64 = 80.0;
const REQUESTS_AT_ONCE: f64 = 100.0;
/// How often what was too often is tried again.
const TRIES_MAX: u32 = 20;
/// What the tester does with a key.
pub(super) const SCOPES: &str = "sessions:read,sessions:write,consents:write,config:read,config:write";

/// The API, with a key.
pub(super) struct Api {
    net: Net,
    key: String,
    pace: Pace,
}

/// Who a key belongs to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    pub(super) clinic: Clinic,
    pub(super) rights: Vec<String>,
}

/// A clinic.
#[derive(Debug, Deserialize)]
pub(super) struct Clinic {
    pub(super) name: String,
}

/// A session to be made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScheduleSession {
    pub(super) patient_id: String,
    pub(super) provider_ref: String,
    pub(super) scheduled_start: String,
    pub(super) participants: Vec<NewParticipant>,
}

/// Somebody to be invited.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewParticipant {
    pub(super) role: &'static str,
    pub(super) display_name: String,
}

/// A session that was made.
#[derive(Debug, Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) participants: Vec<Invited>,
}

/// Somebody who was invited.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Invited {
    pub(super) id: String,
    pub(super) display_name: Option<String>,
}

#[derive(Deserialize)]
struct JoinToken {
    token: String,
}

/// An error as the server says it (RFC 9457).
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) code: String,
    #[serde(default)]
    pub(super) detail: String,
    #[serde(default)]
    pub(super) field: Option<String>,
}

/// An answer that is no success.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) problem: Problem,
}

impl Api {
    pub(super) fn new(net: Net, key: String) -> Self {
        Self { net, key, pace: Pace::new(REQUESTS_PER_SECOND, REQUESTS_AT_ONCE) }
    }

    pub(super) async fn me(&self) -> Result<Me, ServerError> {
        self.must(Method::GET, "/v1/auth/me", None).await
    }

    pub(super) async fn configuration(&self) -> Result<Value, ServerError> {
        self.must(Method::GET, "/v1/config", None).await
    }

    /// Changes what stands in `changes`; the outer error is that it could not be asked.
    pub(super) async fn configure(&self, changes: &Value) -> Result<Result<(), Refusal>, ServerError> {
        Ok(self.call::<Value>(Method::PATCH, "/v1/config", Some(changes)).await?.map(|_| ()))
    }

    pub(super) async fn schedule(&self, session: &ScheduleSession) -> Result<Session, ServerError> {
        self.must(Method::POST, "/v1/sessions", Some(&json(session))).await
    }

    pub(super) async fn invite(&self, session: &str, who: &NewParticipant) -> Result<Invited, ServerError> {
        self.must(Method::POST, &format!("/v1/sessions/{session}/participants"), Some(&json(who))).await
    }

    pub(super) async fn token(&self, session: &str, participant: &str) -> Result<String, ServerError> {
        let path = format!("/v1/sessions/{session}/participants/{participant}/tokens");
        let token: JoinToken = self.must(Method::POST, &path, Some(&serde_json::json!({}))).await?;
        Ok(token.token)
    }

    pub(super) async fn attest_consent(&self, session: &str) -> Result<(), ServerError> {
        let body = serde_json::json!({"type": "telehealth", "granted": true});
        let _: Value =
            self.must(Method::POST, &format!("/v1/sessions/{session}/consents"), Some(&body)).await?;
        Ok(())
    }

    /// Calls off a session that never began. One that is over already is not told of.
    pub(super) async fn cancel(&self, session: &str) -> Result<(), ServerError> {
        let path = format!("/v1/sessions/{session}/cancel");
        let answer = self.call::<Value>(Method::POST, &path, None).await?;
        match answer {
            Err(refusal) if ![StatusCode::GONE, StatusCode::CONFLICT].contains(&refusal.status) => {
                Err(refused(&format!("POST {path}"), &refusal.problem))
            }
            _ => Ok(()),
        }
    }

    /// A request that has to work.
    async fn must<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ServerError> {
        let what = format!("{method} {path}");
        self.call(method, path, body).await?.map_err(|refusal| match refusal.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => key_refused(&refusal.problem.detail),
            _ => refused(&what, &refusal.problem),
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Result<T, Refusal>, ServerError> {
        let authorization = format!("Bearer {}", self.key);
        let (_, answer) = paced(&self.net, &self.pace, &method, path, body, Some(&authorization)).await?;
        parse(path, &answer)
    }
}

/// How an API key is made; said where there is none.
pub(super) fn make_a_key() -> String {
    format!("vestibule --data DIR key create --clinic 'Load test' --name load --scopes {SCOPES}")
}

pub(super) fn key_refused(why: &str) -> ServerError {
    ServerError::KeyRefused { why: why.to_owned(), how: make_a_key() }
}

pub(super) fn refused(what: &str, problem: &Problem) -> ServerError {
    let code = if problem.detail.is_empty() {
        problem.code.clone()
    } else {
        format!("{} ({})", problem.detail, problem.code)
    };
    ServerError::Refused { what: what.to_owned(), code }
}

/// Asks when it is its turn, and asks again for as long as the server says that it was too often or that it is busy.
/// With the answer comes when it was asked first.
pub(super) async fn paced(
    net: &Net,
    pace: &Pace,
    method: &Method,
    path: &str,
    body: Option<&Value>,
    authorization: Option<&str>,
) -> Result<(Instant, Response<Bytes>), ServerError> {
    let mut tries = 0;
    pace.turn().await;
    let asked = clock::now();
    loop {
        let mut request = Request::builder().method(method.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(body).map_err(|error| ServerError::Environment(error.to_string()))?;
        let answer = net.request(path, request).await?;
        tries += 1;
        let again =
            [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status());
        if !again || tries == TRIES_MAX {
            return Ok((asked, answer));
        }
        let time = retry_after(&answer);
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            pace.hold(time).await;
            pace.turn().await;
        } else {
            tokio::time::sleep(time).await;
        }
    }
}

fn retry_after(answer: &Response<Bytes>) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1).clamp(1, 60))
}

/// What an answer holds, or the problem it describes.
pub(super) fn parse<T: DeserializeOwned>(
    path: &str,
    answer: &Response<Bytes>,
) -> Result<Result<T, Refusal>, ServerError> {
    let status = answer.status();
    if status.is_success() {
        let body = serde_json::from_slice(answer.body());
        return body.map(Ok).map_err(|error| ServerError::Protocol(format!("{path}: {error}")));
    }
    let problem = serde_json::from_slice(answer.body()).unwrap_or_else(|_| Problem {
        code: format!("status {}", status.as_u16()),
        detail: String::new(),
        field: None,
    });
    Ok(Err(Refusal { status, problem }))
}

fn json(body: &impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Response<Bytes> {
        Response::builder()
            .status(status)
            .header(RETRY_AFTER, "7")
            .body(Bytes::from_static(body.as_bytes()))
            .unwrap()
    }

    #[test]
    fn a_session_is_asked_for_as_the_api_has_it() {
        let session = ScheduleSession {
            patient_id: "load-1".to_owned(),
            provider_ref: "load/1".to_owned(),
            scheduled_start: "2026-11-25T09:45:00Z".to_owned(),
            participants: vec![NewParticipant { role: "provider", display_name: "P 1".to_owned() }],
        };
        let body = serde_json::json!({"patientId": "load-1", "providerRef": "load/1", "scheduledStart": "2026-11-25T09:45:00Z",
            "participants": [{"role": "provider", "displayName": "P 1"}]});
        assert_eq!(json(&session), body);
    }

    #[test]
    fn an_error_keeps_its_code() {
        let problem = answer(
            422,
            r#"{"type":"urn:x","title":"T","status":422,"code":"invalid","detail":"at most 20","field":"maxParticipants"}"#,
        );
        let Ok(Err(refusal)) = parse::<Value>("/v1/config", &problem) else { panic!("it is one") };
        assert_eq!(
            (refusal.problem.code.as_str(), refusal.problem.field.as_deref()),
            ("invalid", Some("maxParticipants"))
        );
        let Ok(Err(refusal)) = parse::<Value>("/", &answer(502, "<html>")) else { panic!("it is one") };
        assert_eq!(refusal.problem.code, "status 502");
    }

    #[test]
    fn how_long_to_wait_is_the_servers_word() {
        assert_eq!(retry_after(&answer(429, "")), Duration::from_secs(7));
    }
}
