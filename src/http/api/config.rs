//! A clinic's configuration: read it, change it. Secrets go in and never come out.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use vestibule_domain::{
    ConfigCommand, ConfigContext, ConfigField, ConfigRejection, ConfigValues, FallbackThresholds,
    PARTICIPANTS_LEAST, PublishedType, Retention, SecretChange, SecretChanges, SecretMark, SessionPolicy,
    TenantConfig, TenantId, ThresholdValues, VideoBackend, WebhookEndpoint, WebhookId,
};

use super::sessions::parsed;
use super::words;
use crate::app::App;
use crate::clock;
use crate::http::body::Body;
use crate::http::caller::{Caller, May, need};
use crate::http::problem::ApiError;
use crate::http::request;
use crate::http::version::{IfMatch, etag, fresh};
use crate::store::{Beside, ConfigCommit, SealedSecret, SecretWrite, StoreError};

/// What is read of a secret that is set; given back, it leaves the secret as it is.
const HIDDEN: &str = "****";
/// Bytes of Jitsi's secret.
const JITSI_SECRET_BYTES_MAX: usize = 512;
/// What a webhook's secret begins with, and how many random bytes follow (Standard Webhooks).
const WEBHOOK_SECRET_PREFIX: &str = "whsec_";
const WEBHOOK_SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Times a change without `If-Match` is decided anew because somebody else was faster.
const CONFLICTS_MAX: usize = 3;

/// The configuration of a clinic.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Configuration {
    max_participants: u16,
    session_grace_minutes_before: u16,
    session_grace_minutes_after: u16,
    no_show_minutes: u16,
    abandon_minutes: u16,
    grace_reconnect_seconds: u16,
    text_grace_minutes: u16,
    auto_admit_on_provider_join: bool,
    admit_interpreters_with_provider: bool,
    admit_observers_with_provider: bool,
    recording_allowed: bool,
    #[schema(schema_with = words::video_backend)]
    video_backend: VideoBackend,
    jitsi_server_url: Option<String>,
    /// `****` if it is set.
    jitsi_jwt_secret: Option<&'static str>,
    branding_logo_url: Option<String>,
    /// As `#rrggbb`.
    branding_primary_color: Option<String>,
    /// Black or white, whichever reads better on the primary colour.
    branding_text_color: Option<String>,
    fallback_thresholds: Thresholds,
    webhooks: Vec<Webhook>,
    retention: Days,
    /// Grows by one with each change.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// When a line is reduced from video to audio to text, and back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Thresholds {
    /// Below this there is no video.
    #[schema(minimum = 50, maximum = 5000)]
    video_min_kbps: u32,
    /// Bursts of this have to get through before there is again. Above `videoMinKbps`.
    #[schema(minimum = 50, maximum = 10000)]
    video_resume_kbps: u32,
    /// Where more is lost there is no video.
    #[schema(minimum = 1, maximum = 90)]
    video_loss_max_percent: u32,
    /// How long a line must be too poor for video.
    #[schema(minimum = 500, maximum = 60000)]
    video_hold_ms: u32,
    /// Below this there is no audio.
    #[schema(minimum = 6, maximum = 128)]
    audio_min_kbps: u32,
    /// Bursts of this have to get through before there is again. Above `audioMinKbps`.
    #[schema(minimum = 6, maximum = 256)]
    audio_resume_kbps: u32,
    /// Where more is lost there is no audio.
    #[schema(minimum = 1, maximum = 95)]
    audio_loss_max_percent: u32,
    /// How long a line must be too poor for audio.
    #[schema(minimum = 500, maximum = 60000)]
    audio_hold_ms: u32,
    /// Where an answer takes longer there is no video.
    #[schema(minimum = 100, maximum = 10000)]
    rtt_max_ms: u32,
    /// Nothing is tried where more is lost.
    #[schema(minimum = 0, maximum = 50)]
    resume_loss_max_percent: u32,
    /// Between two of the three bursts that are sent before there is video again.
    #[schema(minimum = 1000, maximum = 300000)]
    probe_interval_ms: u32,
    /// Between two tries; twice as long after each that failed, to sixteen times.
    #[schema(minimum = 1000, maximum = 3600000)]
    retry_after_ms: u32,
}

/// The same fields, to be named once: what is told of them is the API's, and their bounds are the domain's.
macro_rules! thresholds {
    ($($field:ident),* $(,)?) => {
        impl From<FallbackThresholds> for Thresholds {
            fn from(thresholds: FallbackThresholds) -> Self {
                let ThresholdValues { $($field),* } = thresholds.into();
                Self { $($field),* }
            }
        }

        impl From<Thresholds> for ThresholdValues {
            fn from(Thresholds { $($field),* }: Thresholds) -> Self {
                Self { $($field),* }
            }
        }
    };
}

thresholds!(
    video_min_kbps,
    video_resume_kbps,
    video_loss_max_percent,
    video_hold_ms,
    audio_min_kbps,
    audio_resume_kbps,
    audio_loss_max_percent,
    audio_hold_ms,
    rtt_max_ms,
    resume_loss_max_percent,
    probe_interval_ms,
    retry_after_ms,
);

/// How long what is kept, in days.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Days {
    /// Sessions: who, when, and how they ended.
    #[schema(minimum = 1, maximum = 36500)]
    session_days: u16,
    /// What was written: chat, text and images of visits.
    #[schema(minimum = 1, maximum = 36500)]
    content_days: u16,
    #[schema(minimum = 1, maximum = 36500)]
    audit_days: u16,
    #[schema(minimum = 1, maximum = 36500)]
    recording_days: u16,
}

/// Who is told what happens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Webhook {
    #[schema(value_type = String, format = Uuid)]
    id: WebhookId,
    url: String,
    /// None named is all.
    #[schema(schema_with = event_types)]
    event_types: Vec<PublishedType>,
    enabled: bool,
    /// `****` if it is set.
    secret: Option<&'static str>,
}

/// What is to change. What is left out stays; null takes it away, or back to what it is unless configured (RFC 7396).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeConfiguration {
    #[serde(default, deserialize_with = "given")]
    /// At most as many as the operator of the server allows (20 unless they chose).
    #[schema(value_type = Option<u16>, minimum = 2, maximum = 1000)]
    max_participants: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 1440)]
    session_grace_minutes_before: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u16>, minimum = 0, maximum = 1440)]
    session_grace_minutes_after: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 240)]
    no_show_minutes: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 240)]
    abandon_minutes: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u16>, minimum = 5, maximum = 600)]
    grace_reconnect_seconds: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 240)]
    text_grace_minutes: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    auto_admit_on_provider_join: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    admit_interpreters_with_provider: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    admit_observers_with_provider: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    recording_allowed: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = words::video_backend_or_null)]
    video_backend: Option<Option<VideoBackend>>,
    /// HTTPS.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 2048)]
    jitsi_server_url: Option<Option<String>>,
    /// Written only. 1 to 512 bytes.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 512, write_only)]
    jitsi_jwt_secret: Option<Option<String>>,
    /// HTTPS, from a host the operator of the server allows.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 2048)]
    branding_logo_url: Option<Option<String>>,
    /// `#rgb` or `#rrggbb`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")]
    branding_primary_color: Option<Option<String>>,
    /// All of them, or null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Thresholds>)]
    fallback_thresholds: Option<Option<Thresholds>>,
    /// All there are to be. One with the `id` of one that is there replaces it, and keeps its secret unless given another.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<ChangeWebhook>>, max_items = 10)]
    webhooks: Option<Option<Vec<ChangeWebhook>>>,
    /// All of them, or null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Days>)]
    retention: Option<Option<Days>>,
}

/// A webhook to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeWebhook {
    /// Of one that is there; left out for a new one.
    #[schema(value_type = Option<String>, format = Uuid)]
    id: Option<WebhookId>,
    /// HTTPS.
    #[schema(max_length = 2048)]
    url: String,
    /// None named is all.
    #[serde(default)]
    #[schema(schema_with = event_types)]
    event_types: Vec<PublishedType>,
    #[serde(default = "yes")]
    enabled: bool,
    /// Written only: `whsec_` and 24 to 64 bytes in base64 (Standard Webhooks).
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only)]
    secret: Option<Option<String>>,
}

const fn yes() -> bool {
    true
}

fn event_types() -> Schema {
    ArrayBuilder::new().items(RefOr::T(words::event_type())).build().into()
}

/// Tells a field that is null from one that is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

const fn hidden(mark: SecretMark) -> Option<&'static str> {
    match mark {
        SecretMark::Absent => None,
        SecretMark::Set { .. } => Some(HIDDEN),
    }
}

impl Configuration {
    /// A configuration as it has effect: what was chosen before the operator lowered the limit is kept, and not shown.
    fn of(config: &TenantConfig, participants_limit: u16) -> Self {
        let values = config.values();
        let policy = values.policy.clone().within(participants_limit);
        let Retention { session_days, content_days, audit_days, recording_days } = values.retention;
        let color = values.branding_primary_color.as_ref();
        Self {
            max_participants: policy.max_participants,
            session_grace_minutes_before: policy.session_grace_minutes_before,
            session_grace_minutes_after: policy.session_grace_minutes_after,
            no_show_minutes: policy.no_show_minutes,
            abandon_minutes: policy.abandon_minutes,
            grace_reconnect_seconds: policy.grace_reconnect_seconds,
            text_grace_minutes: policy.text_grace_minutes,
            auto_admit_on_provider_join: policy.auto_admit_on_provider_join,
            admit_interpreters_with_provider: policy.admit_interpreters_with_provider,
            admit_observers_with_provider: policy.admit_observers_with_provider,
            recording_allowed: policy.recording_allowed,
            video_backend: values.video_backend,
            jitsi_server_url: values.jitsi_server_url.as_ref().map(ToString::to_string),
            jitsi_jwt_secret: hidden(config.jitsi_jwt_secret()),
            branding_logo_url: values.branding_logo_url.as_ref().map(ToString::to_string),
            branding_primary_color: color.map(ToString::to_string),
            branding_text_color: color.map(|color| color.text_color().to_string()),
            fallback_thresholds: policy.fallback.into(),
            webhooks: values.webhooks.iter().map(Webhook::from).collect(),
            retention: Days { session_days, content_days, audit_days, recording_days },
            version: config.version(),
            updated_at: config.updated_at(),
        }
    }
}

impl From<&WebhookEndpoint> for Webhook {
    fn from(endpoint: &WebhookEndpoint) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.url.to_string(),
            event_types: endpoint.event_types.clone(),
            enabled: endpoint.enabled,
            secret: hidden(endpoint.secret),
        }
    }
}

/// Get the configuration.
#[utoipa::path(
    get, path = "/config", operation_id = "getConfiguration", tag = "Configuration",
    responses((status = 200, description = "It.", body = Configuration, headers(("ETag" = String, description = "Its version."))),
        (status = 304, description = "It is as you have it (`If-None-Match`).")),
    security(("apiKey" = ["config:read"]), ("staffSession" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: May<need::ConfigRead>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let config = app.store.config(caller.tenant).await?.ok_or(ApiError::NotFound)?;
    Ok(fresh(&headers, config.version(), Json(Configuration::of(&config, app.participants_limit))))
}

/// Change the configuration.
///
/// Sessions that are scheduled or running keep the rules they were made under.
#[utoipa::path(
    patch, path = "/config", operation_id = "changeConfiguration", tag = "Configuration",
    params(("If-Match" = Option<String>, Header, description = "The ETag you saw.")),
    request_body = ChangeConfiguration,
    responses((status = 200, description = "As it is now.", body = Configuration, headers(("ETag" = String, description = "Its version.")))),
    security(("apiKey" = ["config:write"]), ("staffSession" = []))
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: May<need::ConfigWrite>,
    expected: IfMatch,
    Body { value, .. }: Body<ChangeConfiguration>,
) -> Result<Response, ApiError> {
    for _ in 0..=CONFLICTS_MAX {
        let config = app.store.config(caller.tenant).await?.ok_or(ApiError::NotFound)?;
        expected.check(config.version())?;
        match try_change(&app, &caller, config, &value).await {
            // Somebody else was faster; a caller who said which version they saw hears of it.
            Err(ApiError::VersionMismatch { .. }) if expected.0.is_none() => {}
            Err(error) => return Err(error),
            Ok(config) => {
                let limit = app.participants_limit;
                return Ok(
                    ([etag(config.version())], Json(Configuration::of(&config, limit))).into_response()
                );
            }
        }
    }
    Err(ApiError::Contended)
}

async fn try_change(
    app: &App,
    caller: &Caller,
    before: TenantConfig,
    asked: &ChangeConfiguration,
) -> Result<TenantConfig, ApiError> {
    let (actor, now) = (caller.actor(), clock::now());
    let mut secrets = Secrets::new(app, caller.tenant);
    let values = asked.apply(before.values().clone(), &mut secrets)?;
    let command = ConfigCommand::Update { values: Box::new(values), secrets: secrets.changes };
    let context = ConfigContext {
        now,
        actor: &actor,
        participants_limit: app.participants_limit,
        logo_hosts: &app.logo_hosts,
    };
    let events =
        before.decide(&command, &context).map_err(|rejection| refused(rejection, app.participants_limit))?;
    if events.is_empty() {
        return Ok(before);
    }
    let mut after = before.clone();
    after.commit(&events);
    let gone = before.values().webhooks.iter().filter(|webhook| after.webhook(webhook.id).is_none());
    let gone = gone.map(|webhook| SecretWrite { name: webhook_secret(webhook.id), sealed: None });
    let beside = Beside { secrets: secrets.writes.into_iter().chain(gone).collect(), ..request::stamped() };
    let commit = ConfigCommit {
        before_version: before.version(),
        after: &after,
        events: &events,
        actor: &actor,
        now,
        beside: &beside,
    };
    app.store.commit_config(commit).await.map_err(|error: StoreError| ApiError::from(error))?;
    app.feed.tell();
    Ok(after)
}

/// A rejection for people. Of the operator's limit it says whose it is.
fn refused(rejection: ConfigRejection, participants_limit: u16) -> ApiError {
    let field = ConfigField::MaxParticipants;
    if rejection.field() != Some(field) {
        return ApiError::Config(rejection);
    }
    let problem = format!(
        "must be {PARTICIPANTS_LEAST} to {participants_limit}: more the operator of this server does not allow \
         (--participants-limit)"
    );
    ApiError::Invalid { field: field.as_str(), problem }
}

/// The name of a webhook's secret in the store.
pub(crate) fn webhook_secret(id: WebhookId) -> String {
    format!("webhook/{id}")
}

/// What a tenant's secret is sealed for.
pub(crate) fn secret_purpose(tenant: TenantId, name: &str) -> String {
    SealedSecret::purpose(tenant, name)
}

/// Secrets on their way in: what the domain is told of them, and what the store is given.
struct Secrets<'a> {
    app: &'a App,
    tenant: TenantId,
    changes: SecretChanges,
    writes: Vec<SecretWrite>,
}

impl<'a> Secrets<'a> {
    fn new(app: &'a App, tenant: TenantId) -> Self {
        Self {
            app,
            tenant,
            changes: SecretChanges { webhooks: BTreeMap::new(), ..Default::default() },
            writes: Vec::new(),
        }
    }

    /// Null clears, what is read of one keeps, anything else is a new one.
    fn take(&mut self, name: &str, secret: &Option<Option<String>>) -> SecretChange {
        match secret {
            None => SecretChange::Keep,
            Some(Some(text)) if text == HIDDEN => SecretChange::Keep,
            Some(Some(text)) => {
                let sealed = self.app.seal.seal(&secret_purpose(self.tenant, name), text.as_bytes());
                self.writes
                    .push(SecretWrite { name: name.into(), sealed: Some((sealed.key_id, sealed.bytes)) });
                SecretChange::Set
            }
            Some(None) => {
                self.writes.push(SecretWrite { name: name.into(), sealed: None });
                SecretChange::Clear
            }
        }
    }
}

impl ChangeConfiguration {
    fn apply(&self, mut values: ConfigValues, secrets: &mut Secrets<'_>) -> Result<ConfigValues, ApiError> {
        let usual = ConfigValues::default();
        values.policy = self.policy(values.policy, secrets.app.participants_limit)?;
        values.video_backend = settled(self.video_backend, values.video_backend, usual.video_backend);
        set(&mut values.jitsi_server_url, "jitsiServerUrl", &self.jitsi_server_url)?;
        set(&mut values.branding_logo_url, "brandingLogoUrl", &self.branding_logo_url)?;
        set(&mut values.branding_primary_color, "brandingPrimaryColor", &self.branding_primary_color)?;
        let retention = self.retention.map(|asked| {
            asked.map(|asked| Retention {
                session_days: asked.session_days,
                content_days: asked.content_days,
                audit_days: asked.audit_days,
                recording_days: asked.recording_days,
            })
        });
        values.retention = settled(retention, values.retention, usual.retention);
        if let Some(Some(secret)) = &self.jitsi_jwt_secret
            && !(1..=JITSI_SECRET_BYTES_MAX).contains(&secret.len())
        {
            let problem = format!("must have 1 to {JITSI_SECRET_BYTES_MAX} bytes");
            return Err(ApiError::Invalid { field: "jitsiJwtSecret", problem });
        }
        secrets.changes.jitsi_jwt_secret = secrets.take("jitsi_jwt_secret", &self.jitsi_jwt_secret);
        if let Some(asked) = &self.webhooks {
            let before = std::mem::take(&mut values.webhooks);
            let asked = asked.as_deref().unwrap_or_default();
            values.webhooks =
                asked.iter().map(|asked| asked.endpoint(&before, secrets)).collect::<Result<_, _>>()?;
        }
        Ok(values)
    }

    fn policy(&self, policy: SessionPolicy, participants_limit: u16) -> Result<SessionPolicy, ApiError> {
        let mut values = policy.into_values();
        let usual = SessionPolicy::default().within(participants_limit).into_values();
        macro_rules! set {
            ($($field:ident),*) => { $(values.$field = settled(self.$field, values.$field, usual.$field);)* };
        }
        set!(
            max_participants,
            session_grace_minutes_before,
            session_grace_minutes_after,
            no_show_minutes,
            abandon_minutes,
            grace_reconnect_seconds,
            text_grace_minutes,
            auto_admit_on_provider_join,
            admit_interpreters_with_provider,
            admit_observers_with_provider,
            recording_allowed
        );
        let checked = |asked: Thresholds| FallbackThresholds::new(asked.into());
        let fallback = self.fallback_thresholds.map(|asked| asked.map(checked).transpose()).transpose();
        let fallback = fallback.map_err(|fault| refused(fault.into(), participants_limit))?;
        values.fallback = settled(fallback, values.fallback, usual.fallback);
        SessionPolicy::new(values).map_err(|error| refused(error.into(), participants_limit))
    }
}

impl ChangeWebhook {
    fn endpoint(
        &self,
        before: &[WebhookEndpoint],
        secrets: &mut Secrets<'_>,
    ) -> Result<WebhookEndpoint, ApiError> {
        if let Some(Some(secret)) = &self.secret
            && secret != HIDDEN
            && !is_webhook_secret(secret)
        {
            let problem = "a `secret` is `whsec_` and 24 to 64 bytes in base64".into();
            return Err(ApiError::Invalid { field: "webhooks", problem });
        }
        let known = self.id.and_then(|id| before.iter().find(|webhook| webhook.id == id));
        let id = match (self.id, known) {
            (Some(id), Some(_)) => id,
            (Some(_), None) => {
                let problem = "an `id` must be of one that is there".into();
                return Err(ApiError::Invalid { field: "webhooks", problem });
            }
            (None, _) => secrets.app.ids.webhook(clock::now()),
        };
        let change = secrets.take(&webhook_secret(id), &self.secret);
        secrets.changes.webhooks.insert(id, change);
        Ok(WebhookEndpoint {
            id,
            url: parsed("webhooks", &self.url)?,
            event_types: self.event_types.clone(),
            enabled: self.enabled,
            secret: known.map_or(SecretMark::Absent, |webhook| webhook.secret),
        })
    }
}

fn is_webhook_secret(text: &str) -> bool {
    let bytes =
        text.strip_prefix(WEBHOOK_SECRET_PREFIX).and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    bytes.is_some_and(|bytes| WEBHOOK_SECRET_BYTES.contains(&bytes.len()))
}

/// A value as it is to be: as it is now where nothing is said, as usual for null.
fn settled<T>(asked: Option<Option<T>>, now: T, usual: T) -> T {
    match asked {
        None => now,
        Some(None) => usual,
        Some(Some(value)) => value,
    }
}

/// A field that may be left out, null, or a text to be parsed.
fn set<T>(field: &mut Option<T>, name: &'static str, asked: &Option<Option<String>>) -> Result<(), ApiError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    if let Some(asked) = asked {
        *field = asked.as_deref().map(|text| parsed(name, text)).transpose()?;
    }
    Ok(())
}
