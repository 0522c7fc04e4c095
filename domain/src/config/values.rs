//! What can be configured, and within which bounds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ConfigFault;
use super::color::CssColor;
use super::url::HttpsUrl;
use crate::id::WebhookId;
use crate::kind::VideoBackend;
use crate::policy::SessionPolicy;
use crate::published::PublishedType;

/// How many webhook endpoints a tenant may have.
pub const WEBHOOKS_MAX: usize = 10;

/// The values of a configuration, checked or not. `Default` is what a tenant has that never chose.
///
/// A value absent from stored JSON is its default, so that a configuration written before a field existed still loads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigValues {
    /// The rules sessions are made under.
    pub policy: SessionPolicy,
    /// Where the media goes.
    pub video_backend: VideoBackend,
    /// The Jitsi Meet server; needed if that is the backend.
    pub jitsi_server_url: Option<HttpsUrl>,
    /// The clinic's logo, on a host the operator allows.
    pub branding_logo_url: Option<HttpsUrl>,
    /// The clinic's colour.
    pub branding_primary_color: Option<CssColor>,
    /// Who is told what happens. At most [`WEBHOOKS_MAX`], with different identifiers.
    pub webhooks: Vec<WebhookEndpoint>,
    /// How long what is kept.
    pub retention: Retention,
}

/// How long what is kept, in days. 1 to 36500 each; they do not depend on one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Sessions and visits: who, when, and how it ended.
    pub session_days: u16,
    /// What was written: chat, text and images of visits.
    pub content_days: u16,
    /// The audit trail.
    pub audit_days: u16,
    /// Recordings.
    pub recording_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { session_days: 3_650, content_days: 3_650, audit_days: 3_650, recording_days: 365 }
    }
}

impl Retention {
    /// The most days anything may be kept: a hundred years.
    pub const DAYS_MAX: u16 = 36_500;

    /// Checks `values`.
    ///
    /// # Errors
    /// The first field out of its bounds.
    pub fn new(values: Self) -> Result<Self, ConfigFault> {
        let fields = [
            ("sessionDays", values.session_days),
            ("contentDays", values.content_days),
            ("auditDays", values.audit_days),
            ("recordingDays", values.recording_days),
        ];
        for (what, days) in fields {
            bounds(what, days.into(), 1, Self::DAYS_MAX.into())?;
        }
        Ok(values)
    }
}

/// Who is told what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    /// Its identifier.
    pub id: WebhookId,
    /// Where events are sent.
    pub url: HttpsUrl,
    /// Of which types; none named is all. None twice.
    pub event_types: Vec<PublishedType>,
    /// False to send nothing for now.
    pub enabled: bool,
    /// Whether the secret its deliveries are signed with is set. Decided by the aggregate: in a command it counts for
    /// nothing.
    #[serde(default)]
    pub secret: SecretMark,
}

/// Whether a secret is set, and since when: all the domain knows of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SecretMark {
    /// None is.
    #[default]
    Absent,
    /// One is.
    Set {
        /// Since when.
        at: Timestamp,
    },
}

fn bounds(what: &'static str, value: u32, min: u32, max: u32) -> Result<(), ConfigFault> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigFault::OutOfBounds { what, value, min, max })
    }
}
