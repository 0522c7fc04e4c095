//! The bodies of `/v1/thread` (docs/protocol.md, section 5).

use serde::{Deserialize, Serialize};
use vestibule_domain::ContentDigest;

use super::server::ErrorCode;

/// The body of `POST /v1/thread`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThreadRequest {
    /// Said in this order. `clientId` as in `chat`.
    #[serde(default)]
    pub lines: Vec<LineWords>,
    /// As the message `composing`.
    #[serde(default)]
    #[cfg_attr(test, ts(optional))]
    pub composing: Option<bool>,
}

/// A line to be said.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineWords {
    /// As in `chat`.
    pub client_id: String,
    /// As in `chat`.
    #[serde(default)]
    #[cfg_attr(test, ts(optional, as = "Option<String>"))]
    pub text: String,
    /// As in `chat`.
    #[serde(default)]
    #[cfg_attr(test, ts(optional, type = "string"))]
    pub attachment: Option<ContentDigest>,
}

/// The answer of `POST /v1/thread`. Lines that are not in it are to be sent again.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ThreadReply {
    /// In order.
    pub lines: Vec<LineOutcome>,
}

/// What became of a line.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct LineOutcome {
    /// Which.
    pub client_id: String,
    /// What.
    pub state: LineState,
    /// Why it is refused: an `error.code` of the socket.
    pub code: Option<ErrorCode>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum LineState {
    /// It is kept, now or since before.
    Said,
    /// The session is over: it is kept, and goes to the provider's desk.
    HandedOver,
    /// It cannot be said.
    Refused,
}
