//! When a session may be entered. Computed from the row at each check, so that rescheduling moves it.

use jiff::{SignedDuration, Timestamp};

use super::VirtualSession;
use crate::time::{after, minutes};

/// How long the door of a session without an end stays open after its start.
const OPEN_WITHOUT_END: SignedDuration = SignedDuration::from_hours(4);

/// When a session may be entered: from `opens_at` until just before `closes_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindow {
    /// The first moment.
    pub opens_at: Timestamp,
    /// The first moment of not any more. An unscheduled session has none: its tokens are short-lived instead.
    pub closes_at: Option<Timestamp>,
}

impl VirtualSession {
    /// When this session may be entered.
    #[must_use]
    pub fn join_window(&self) -> JoinWindow {
        let policy = self.policy();
        let Some(start) = self.scheduled_start() else {
            return JoinWindow { opens_at: self.created_at(), closes_at: None };
        };
        let closes_at = match self.scheduled_end() {
            Some(end) => after(end, minutes(policy.session_grace_minutes_after)),
            None => after(start, OPEN_WITHOUT_END),
        };
        JoinWindow {
            opens_at: after(start, -minutes(policy.session_grace_minutes_before)),
            closes_at: Some(closes_at),
        }
    }
}
