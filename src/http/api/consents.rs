//! The patient's consents: list them, attest to one on the clinic's word, withdraw one.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vestibule_domain::{Actor, Command, ConsentRecord, ConsentType, SessionId};

use super::sessions::{ask, own, parsed};
use super::words;
use crate::app::App;
use crate::consents;
use crate::http::body::{Body, Of};
use crate::http::caller::{May, need};
use crate::http::page::Listed;
use crate::http::problem::ApiError;
use crate::http::version::{IfMatch, etag};

/// A consent, or its withdrawal, as it was given.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Consent)]
pub(crate) struct Consent {
    #[serde(rename = "type")]
    #[schema(rename = "type", schema_with = words::consent_type)]
    consent_type: ConsentType,
    /// False for a withdrawal.
    granted: bool,
    /// Which text was shown.
    version: String,
    #[schema(value_type = String, format = DateTime)]
    captured_at: Timestamp,
    captured_by: CapturedBy,
}

/// From whose seat, or on whose word.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CapturedBy {
    /// `participant`: the patient's own seat; `staff`: an attestation.
    kind: &'static str,
    id: Option<String>,
}

impl From<&ConsentRecord> for Consent {
    fn from(record: &ConsentRecord) -> Self {
        let (kind, id) = match &record.captured_by {
            Actor::Participant(id) => ("participant", Some(id.to_string())),
            Actor::Staff(id) => ("staff", Some(id.as_str().to_owned())),
            Actor::System => ("system", None),
            Actor::Timer => ("timer", None),
        };
        Self {
            consent_type: record.consent_type,
            granted: record.granted,
            version: record.version.as_str().to_owned(),
            captured_at: record.captured_at,
            captured_by: CapturedBy { kind, id },
        }
    }
}

/// List the consents of a session's patient, and their withdrawals, oldest first. The last of a type is what counts.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/consents", operation_id = "listConsents", tag = "Consents",
    params(("sessionId" = String, Path, format = Uuid)),
    responses((status = 200, description = "All of them.", body = Listed<Consent>)),
    security(("apiKey" = ["consents:read"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::ConsentsRead>,
    Of(session): Of<SessionId>,
) -> Result<Json<Listed<Consent>>, ApiError> {
    let loaded = own(&app, &caller, session).await?;
    Ok(Json(Listed { items: loaded.session.consents().iter().map(Consent::from).collect(), next: None }))
}

/// What the clinic attests to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Attest {
    #[serde(rename = "type")]
    #[schema(rename = "type", schema_with = words::consent_type)]
    consent_type: ConsentType,
    /// False to withdraw: recording stops at once.
    granted: bool,
    /// Which text the patient was shown; the one in force unless given.
    #[schema(min_length = 1, max_length = 64)]
    version: Option<String>,
}

/// Attest that the patient agreed, or withdrew. The record names who attests.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/consents", operation_id = "attestConsent", tag = "Consents",
    params(("sessionId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The session's ETag you saw.")),
    request_body = Attest,
    responses((status = 200, description = "All of them, as they are now.", body = Listed<Consent>)),
    security(("apiKey" = ["consents:write"]), ("staffSession" = []))
)]
pub(crate) async fn attest(
    State(app): State<App>,
    caller: May<need::ConsentsWrite>,
    Of(session): Of<SessionId>,
    expected: IfMatch,
    Body { value, .. }: Body<Attest>,
) -> Result<Response, ApiError> {
    let Attest { consent_type, granted, version } = value;
    let version = parsed("version", version.as_deref().unwrap_or(consents::VERSION))?;
    let command = Command::CaptureConsent { consent_type, granted, version };
    let loaded = ask(&app, &caller, session, command, expected).await?;
    let items = loaded.session.consents().iter().map(Consent::from).collect();
    Ok(([etag(loaded.session.version())], Json(Listed { items, next: None })).into_response())
}
