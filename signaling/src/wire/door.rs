//! The bodies of `POST /v1/join` and what belongs to it (docs/protocol.md, section 2).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vestibule_domain::{
    Communication, ConsentType, EndReason, ParticipantId, ParticipantRole, SessionId, SessionStatus,
};

/// The body of `POST /v1/join` and of `POST /v1/join/ticket`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinRequest {
    /// The join token of the link.
    pub token: String,
}

/// The answer of `POST /v1/join`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct JoinReply {
    /// Whom the link is for.
    pub participant: Who,
    /// Who invites.
    pub clinic: Clinic,
    /// To what.
    pub session: SessionSummary,
    /// Consents still to be asked for.
    pub consents: Vec<ConsentForm>,
    /// As `RTCConfiguration.iceServers` (W3C WebRTC).
    pub ice_servers: Vec<IceServer>,
}

/// Whom a link is for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Who {
    /// The participant.
    #[cfg_attr(test, ts(type = "string"))]
    pub id: ParticipantId,
    /// What they are here as.
    #[cfg_attr(test, ts(type = "ParticipantRole"))]
    pub role: ParticipantRole,
    /// How they are called.
    pub name: String,
}

/// Who invites.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Clinic {
    /// The tenant's name.
    pub name: String,
    /// HTTPS.
    pub logo_url: Option<String>,
    /// CSS hex.
    pub primary_color: Option<String>,
}

/// The session a link is for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct SessionSummary {
    /// Which.
    #[cfg_attr(test, ts(type = "string"))]
    pub id: SessionId,
    /// Its status.
    #[cfg_attr(test, ts(type = "SessionStatus"))]
    pub status: SessionStatus,
    /// When it is to start.
    #[cfg_attr(test, ts(type = "string | null"))]
    pub scheduled_start: Option<Timestamp>,
    /// When it is to end.
    #[cfg_attr(test, ts(type = "string | null"))]
    pub scheduled_end: Option<Timestamp>,
    /// When the door opens.
    #[cfg_attr(test, ts(type = "string"))]
    pub opens_at: Timestamp,
    /// When it closes; never, where links are short-lived instead.
    #[cfg_attr(test, ts(type = "string | null"))]
    pub closes_at: Option<Timestamp>,
    /// Speech or sign.
    #[cfg_attr(test, ts(type = "Communication"))]
    pub communication: Communication,
}

/// A consent to be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ConsentForm {
    /// Which consent.
    #[serde(rename = "type")]
    #[cfg_attr(test, ts(rename = "type", type = "ConsentType"))]
    pub consent_type: ConsentType,
    /// The version of its text.
    pub version: String,
    /// Whether there is no visit without it.
    pub required: bool,
    /// Its heading.
    pub title: String,
    /// Its paragraphs.
    pub text: Vec<String>,
}

/// The body of `POST /v1/join/consents`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsentsRequest {
    /// The join token of the link.
    pub token: String,
    /// What the patient says to each.
    pub consents: Vec<ConsentAnswer>,
}

/// What the patient says to one consent.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct ConsentAnswer {
    /// Which consent.
    #[serde(rename = "type")]
    #[cfg_attr(test, ts(rename = "type", type = "ConsentType"))]
    pub consent_type: ConsentType,
    /// The version that was shown.
    pub version: String,
    /// Yes or no.
    pub granted: bool,
}

/// The answer of `POST /v1/join/consents`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ConsentsReply {
    /// Consents still to be asked for.
    pub consents: Vec<ConsentForm>,
}

/// The answer of `POST /v1/join/ticket`.
#[derive(Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// For `hello`, once.
    pub ticket: String,
    /// When it is of no use any more.
    #[cfg_attr(test, ts(type = "string"))]
    pub expires_at: Timestamp,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct IceServer {
    /// `stun:` or `turn:` (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub username: Option<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub credential: Option<String>,
}

/// An error over HTTP (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:vestibule:problem:` and the code.
    #[serde(rename = "type")]
    #[cfg_attr(test, ts(rename = "type"))]
    pub problem_type: String,
    /// The kind of error, in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// For programs.
    pub code: &'static str,
    /// This error, in words.
    pub detail: String,
    /// With `join_window_not_open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional, type = "string"))]
    pub opens_at: Option<Timestamp>,
    /// With `session_over`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional, type = "EndReason"))]
    pub reason: Option<EndReason>,
    /// With `invalid`: the field that cannot be so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub field: Option<String>,
    /// With `version_mismatch`: what there is by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional, type = "number"))]
    pub current_version: Option<u64>,
    /// Names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub request_id: Option<String>,
}
