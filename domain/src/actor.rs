//! Who asked for a change.

use serde::{Deserialize, Serialize};

use crate::id::{ParticipantId, StaffId};

/// Who asked for a change. Kept with every event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Actor {
    /// Somebody in the session, from their own seat.
    Participant(ParticipantId),
    /// The clinic's staff, from outside.
    Staff(StaffId),
    /// The server, on behalf of nobody: an import, an operator's command.
    System,
    /// Time that has passed.
    Timer,
}
