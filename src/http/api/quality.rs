//! How the connections of those in a session were: for support, when somebody says afterwards that it was bad.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vestibule_domain::{ParticipantId, SessionId};
use vestibule_signaling::wire::{QualityCode, QualityLevel, QualityReason};

use super::sessions::own;
use super::words;
use crate::app::App;
use crate::http::body::{Of, Params};
use crate::http::caller::{May, need};
use crate::http::page::{Listed, listed, page};
use crate::http::problem::ApiError;
use crate::store::{KeptStep, StepKey};

/// Which steps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuality {
    /// Of this participant alone.
    #[param(value_type = Option<String>, format = Uuid)]
    participant_id: Option<ParticipantId>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of a page; 50 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// What was measured of somebody's connection over ten seconds of media, or less before it went. What was not measured is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QualityStep)]
pub(crate) struct Step {
    /// Their end.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(value_type = String, format = Uuid)]
    participant_id: ParticipantId,
    /// The worst of it.
    #[schema(schema_with = words::quality_level)]
    level: QualityLevel,
    reason: Option<Reason>,
    /// Share of packets lost on the way from them, before they were sent again.
    #[schema(minimum = 0, maximum = 100)]
    uplink_loss_percent: Option<f64>,
    /// And on the way to them.
    #[schema(minimum = 0, maximum = 100)]
    downlink_loss_percent: Option<f64>,
    /// The greatest jitter of what they sent.
    uplink_jitter_ms: Option<u32>,
    round_trip_ms: Option<u32>,
    /// What came from them.
    uplink_kbps: u32,
    /// What was sent to them.
    downlink_kbps: u32,
    /// What the way to them was thought to carry.
    downlink_estimate_kbps: Option<u32>,
    /// Height in pixels of the largest picture they were shown; 0 where all were held back.
    video_height: Option<u16>,
}

/// Why it was no better; null where it was good.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QualityReason)]
pub(crate) struct Reason {
    #[schema(schema_with = words::quality_code)]
    code: QualityCode,
    /// Percent of a loss, milliseconds of a time, kbit/s of a rate, 0 of silence.
    value: u32,
}

impl From<KeptStep> for Step {
    fn from(step: KeptStep) -> Self {
        let percent = |permille: u16| f64::from(permille) / 10.0;
        Self {
            at: step.at,
            participant_id: step.participant,
            level: step.level,
            reason: step.reason.map(|QualityReason { code, value }| Reason { code, value }),
            uplink_loss_percent: step.uplink_loss_permille.map(percent),
            downlink_loss_percent: step.downlink_loss_permille.map(percent),
            uplink_jitter_ms: step.uplink_jitter_ms,
            round_trip_ms: step.rtt_ms,
            uplink_kbps: step.uplink_kbps,
            downlink_kbps: step.downlink_kbps,
            downlink_estimate_kbps: step.downlink_estimate_kbps,
            video_height: step.video_height,
        }
    }
}

/// List how the connections of those in a session were, oldest first.
///
/// Of a session that goes on, the last minute may not be there yet. It is deleted with the session.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/quality", operation_id = "listQuality", tag = "Sessions",
    params(("sessionId" = String, Path, format = Uuid), ListQuality),
    responses((status = 200, description = "A page of ten seconds each.", body = Listed<Step>)),
    security(("apiKey" = ["sessions:read"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::SessionsRead>,
    Of(session): Of<SessionId>,
    Params(asked): Params<ListQuality>,
) -> Result<Json<Listed<Step>>, ApiError> {
    own(&app, &caller, session).await?;
    let page = page::<StepKey>(asked.cursor.as_deref(), asked.limit)?;
    let limit = page.limit;
    let found = app.store.steps(session, asked.participant_id, page).await?;
    Ok(Json(listed(found, limit, |step| step.key().to_string(), Step::from)))
}
