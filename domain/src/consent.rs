//! The patient's explicit consents. A record is never edited: a withdrawal is a record of its own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::id::ConsentVersion;
use crate::kind::as_str;

/// What is consented to. The two are asked for, and withdrawn, separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentType {
    /// To be seen over video at all; needed to join.
    Telehealth,
    /// To be recorded.
    Recording,
}

as_str!(ConsentType { Telehealth = "telehealth", Recording = "recording" });

/// A consent, or its withdrawal, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRecord {
    /// What to.
    pub consent_type: ConsentType,
    /// False for a withdrawal.
    pub granted: bool,
    /// Which text was shown.
    pub version: ConsentVersion,
    /// When.
    pub captured_at: Timestamp,
    /// The patient's own seat, or the member of staff who attests to it.
    pub captured_by: Actor,
}

/// The last word on `consent_type`: what counts.
pub(crate) fn latest(records: &[ConsentRecord], consent_type: ConsentType) -> Option<&ConsentRecord> {
    records.iter().rev().find(|record| record.consent_type == consent_type)
}

/// Whether the last word on `consent_type` is yes.
pub(crate) fn on_file(records: &[ConsentRecord], consent_type: ConsentType) -> bool {
    latest(records, consent_type).is_some_and(|record| record.granted)
}
