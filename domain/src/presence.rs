//! Who is connected. Facts that come and go many times a minute: kept beside a session, outside its version.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::id::ParticipantId;
use crate::session::{Standing, VirtualSession};

/// Whether somebody can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// Nothing is known of them. Of somebody who joined and did not leave it counts as lost since they joined.
    #[default]
    Absent,
    /// Reached on some channel.
    Connected,
    /// Without contact on any channel.
    Lost {
        /// The last contact.
        since: Timestamp,
    },
    /// Without contact by design: on the text tier, or composing offline, as their device said before it went. Holds an
    /// active session for the policy's `text_grace_minutes`; in all else as lost.
    Offline {
        /// The last contact.
        since: Timestamp,
    },
}

/// The connectivity of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    connections: BTreeMap<ParticipantId, Connection>,
    backend_lost_since: Option<Timestamp>,
}

impl Presence {
    /// Nobody, on a backend that works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a server knows of a session it finds in its store when it starts: whoever was in there has lost it, and has
    /// the whole grace from now; in a visit that went on in writing, that of text.
    #[must_use]
    pub fn after_restart(session: &VirtualSession, now: Timestamp) -> Self {
        let mut presence = Self::new();
        for participant in session.participants() {
            let inside = matches!(participant.standing, Standing::Waiting | Standing::Admitted);
            if inside && participant.left_at.is_none() {
                let by_design = session.fallback_since().is_some();
                let lost = if by_design {
                    Connection::Offline { since: now }
                } else {
                    Connection::Lost { since: now }
                };
                presence.set(participant.id, lost);
            }
        }
        presence
    }

    /// Notes the connection of `participant`.
    pub fn set(&mut self, participant: ParticipantId, connection: Connection) {
        match connection {
            Connection::Absent => self.connections.remove(&participant),
            known => self.connections.insert(participant, known),
        };
    }

    /// The connection of `participant`.
    #[must_use]
    pub fn get(&self, participant: ParticipantId) -> Connection {
        self.connections.get(&participant).copied().unwrap_or_default()
    }

    /// Whether `participant` is connected.
    #[must_use]
    pub fn connected(&self, participant: ParticipantId) -> bool {
        self.get(participant) == Connection::Connected
    }

    /// Whether anybody is.
    #[must_use]
    pub fn anybody_connected(&self) -> bool {
        self.connections.values().any(|connection| *connection == Connection::Connected)
    }

    /// Notes that the video backend is gone since then, or there again.
    pub fn set_backend_lost(&mut self, since: Option<Timestamp>) {
        self.backend_lost_since = since;
    }

    /// Since when the video backend is gone.
    #[must_use]
    pub fn backend_lost_since(&self) -> Option<Timestamp> {
        self.backend_lost_since
    }
}
