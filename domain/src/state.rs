//! Where a participant is, as people see it: what they may, what they did, and whether they are reached, in one word.

use serde::{Deserialize, Serialize};

use crate::kind::as_str;
use crate::presence::Connection;
use crate::session::{Participant, Standing};

/// Where a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantState {
    /// May come.
    Invited,
    /// Waits to be let in.
    Waiting,
    /// In; media may flow.
    Admitted,
    /// In; media flows.
    Active,
    /// Came, and has lost the connection.
    Lost,
    /// Left on purpose.
    Left,
    /// Taken out.
    Removed,
}

as_str!(ParticipantState {
    Invited = "invited",
    Waiting = "waiting",
    Admitted = "admitted",
    Active = "active",
    Lost = "lost",
    Left = "left",
    Removed = "removed",
});

impl ParticipantState {
    /// Of a record and what is known of its connection and its media.
    #[must_use]
    pub fn of(participant: &Participant, connection: Connection, media_connected: bool) -> Self {
        match participant.standing {
            Standing::Removed => Self::Removed,
            Standing::Invited => Self::Invited,
            _ if participant.left_at.is_some() => Self::Left,
            _ if connection != Connection::Connected => Self::Lost,
            Standing::Waiting => Self::Waiting,
            Standing::Admitted if media_connected => Self::Active,
            Standing::Admitted => Self::Admitted,
        }
    }
}
