//! API keys: made, rotated, revoked. A key is shown when it is made or rotated, and never again.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::staff::ListPage;
use super::words;
use crate::accounts::ApiKeyId;
use crate::app::App;
use crate::clock;
use crate::http::body::{Body, Of, Params};
use crate::http::caller::{Caller, May, need};
use crate::http::once::{Answer, once};
use crate::http::page::{Listed, listed, page};
use crate::http::problem::ApiError;
use crate::http::request;
use crate::keys::{self, GRACE_MINUTES_MAX, NewKey};
use crate::rights::Right;
use crate::store::{self, AuditEntry, Beside, Outcome, PersonText};

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKey {
    /// A UUID of version 7.
    #[schema(format = Uuid)]
    id: String,
    name: String,
    /// What the key begins with: to tell it from others.
    prefix: String,
    #[schema(schema_with = words::scopes)]
    scopes: Vec<String>,
    /// `user:` or `key:` and an identifier, or `system` for one made at the terminal.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// From when it opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// To within a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// Until when the secret before the last rotation stays good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    former_secret_until: Option<Timestamp>,
}

impl ApiKey {
    fn of(key: &store::ApiKey) -> Self {
        let now = clock::now();
        Self {
            id: key.id.to_string(),
            name: key.name.as_str().to_owned(),
            prefix: keys::prefix(key.id),
            scopes: key.scopes.clone(),
            created_by: key.created_by.clone(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            former_secret_until: key.former.map(|(_, until)| until).filter(|until| *until > now),
        }
    }
}

/// A key with its secret, shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewApiKey {
    #[serde(flatten)]
    details: ApiKey,
    /// Goes into `Authorization: Bearer`.
    key: String,
}

/// List the keys that are not revoked, by age.
#[utoipa::path(
    get, path = "/api-keys", operation_id = "listApiKeys", tag = "API keys",
    params(ListPage),
    responses((status = 200, description = "A page of them.", body = Listed<ApiKey>)),
    security(("apiKey" = ["keys:manage"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::KeysManage>,
    Params(ListPage { cursor, limit }): Params<ListPage>,
) -> Result<Json<Listed<ApiKey>>, ApiError> {
    let page = page::<ApiKeyId>(cursor.as_deref(), limit)?;
    let limit = page.limit;
    let found = app.store.api_keys(caller.tenant, page).await?;
    Ok(Json(listed(found, limit, |key| key.id.to_string(), |key| ApiKey::of(&key))))
}

/// A key to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateApiKey {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it may do: at least one, and none the caller does not have.
    #[schema(schema_with = words::scopes)]
    scopes: Vec<String>,
    /// From when it opens nothing. Without it, it is good until it is revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Make a key. The answer has its secret, this once.
#[utoipa::path(
    post, path = "/api-keys", operation_id = "createApiKey", tag = "API keys",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters; kept for a day.")),
    request_body = CreateApiKey,
    responses((status = 201, description = "The key.", body = NewApiKey)),
    security(("apiKey" = ["keys:manage"]), ("staffSession" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: May<need::KeysManage>,
    headers: HeaderMap,
    Body { value, hash }: Body<CreateApiKey>,
) -> Result<Response, ApiError> {
    let new = planned(&caller, &value)?;
    let (app, caller) = (&app, &caller);
    once(app, caller, &headers, hash, |recorder| async move {
        let (text, key) = keys::fresh(new, &app.ids, clock::now());
        let answer = NewApiKey { details: ApiKey::of(&key), key: text.reveal() };
        let answer = Answer::created(None, None, &answer);
        let beside = recorder.beside(vec![audit(caller, "api_key.created", key.id)], &answer);
        match app.store.create_api_key(&key, beside).await? {
            Outcome::Done(()) => Ok(answer),
            Outcome::TooMany | Outcome::LastAdmin => Err(ApiError::LimitReached { what: "API keys" }),
        }
    })
    .await
}

fn planned(caller: &Caller, asked: &CreateApiKey) -> Result<NewKey, ApiError> {
    let invalid = |field, problem: &str| ApiError::Invalid { field, problem: problem.to_owned() };
    let mut scopes = BTreeSet::new();
    for word in &asked.scopes {
        let right: Right = word.parse().map_err(|_| invalid("scopes", "has a word that is no scope"))?;
        caller.may(right)?;
        scopes.insert(right);
    }
    if scopes.is_empty() {
        return Err(invalid("scopes", "must have at least one"));
    }
    if asked.expires_at.is_some_and(|at| at <= clock::now()) {
        return Err(invalid("expiresAt", "must be to come"));
    }
    // A key that ends makes none that outlives it.
    if caller.until.is_some_and(|until| asked.expires_at.is_none_or(|at| at > until)) {
        return Err(invalid("expiresAt", "must not be after the end of the key that asks"));
    }
    Ok(NewKey {
        tenant: caller.tenant,
        name: PersonText::parse(&asked.name).map_err(|error| invalid("name", &error.to_string()))?,
        scopes,
        expires_at: asked.expires_at,
        created_by: Some(caller.id.clone()),
    })
}

/// Another secret for a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RotateApiKey {
    /// For how long the secret of now stays good beside the new one; 0 unless given.
    #[serde(default)]
    #[schema(maximum = 1440)]
    grace_minutes: u16,
}

/// Rotate a key: the same key with another secret, which the answer has, this once.
#[utoipa::path(
    post, path = "/api-keys/{keyId}/rotate", operation_id = "rotateApiKey", tag = "API keys",
    params(("keyId" = String, Path, format = Uuid)),
    request_body = RotateApiKey,
    responses((status = 200, description = "The key.", body = NewApiKey)),
    security(("apiKey" = ["keys:manage"]), ("staffSession" = []))
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: May<need::KeysManage>,
    Of(id): Of<String>,
    Body { value, .. }: Body<RotateApiKey>,
) -> Result<Json<NewApiKey>, ApiError> {
    if value.grace_minutes > GRACE_MINUTES_MAX {
        let problem = format!("must be 0 to {GRACE_MINUTES_MAX}");
        return Err(ApiError::Invalid { field: "graceMinutes", problem });
    }
    let id: ApiKeyId = id.parse().map_err(|_| ApiError::NotFound)?;
    // Whoever gets the new secret has all the key may do.
    let key =
        app.store.api_key(id).await?.filter(|key| key.tenant == caller.tenant).ok_or(ApiError::NotFound)?;
    for right in keys::rights(&key, false) {
        caller.may(right)?;
    }
    let (text, rotation) = keys::rotation(id, value.grace_minutes, clock::now());
    let beside = beside(&caller, "api_key.rotated", id);
    let rotated = app.store.rotate_api_key(caller.tenant, id, rotation, beside).await?;
    let rotated = rotated.ok_or(ApiError::NotFound)?;
    Ok(Json(NewApiKey { details: ApiKey::of(&rotated), key: text.reveal() }))
}

/// Revoke a key: it opens nothing from now on.
#[utoipa::path(
    delete, path = "/api-keys/{keyId}", operation_id = "revokeApiKey", tag = "API keys",
    params(("keyId" = String, Path, format = Uuid)),
    responses((status = 204, description = "It is revoked.")),
    security(("apiKey" = ["keys:manage"]), ("staffSession" = []))
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: May<need::KeysManage>,
    Of(id): Of<String>,
) -> Result<StatusCode, ApiError> {
    let id: ApiKeyId = id.parse().map_err(|_| ApiError::NotFound)?;
    let there = app
        .store
        .revoke_api_key(caller.tenant, id, clock::now(), beside(&caller, "api_key.revoked", id))
        .await?;
    if there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NotFound) }
}

fn beside(caller: &Caller, action: &'static str, id: ApiKeyId) -> Beside {
    Beside { request: request::current(), audit: vec![audit(caller, action, id)], ..Beside::default() }
}

fn audit(caller: &Caller, action: &'static str, id: ApiKeyId) -> AuditEntry {
    caller.did(action, ("api_key", id.to_string()), None)
}
