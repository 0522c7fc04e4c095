//! What was said in writing in live sessions, sealed.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{ParticipantId, SessionId};

use super::Result;
use crate::seal::Sealed;

/// Lines kept of one session; of more the oldest go.
pub(crate) const KEPT_LINES_MAX: u64 = 10_000;

/// The threads of live sessions.
#[async_trait]
pub(crate) trait ThreadStore {
    /// Keeps lines of one session. Those that are there already stay as they are.
    async fn keep_lines(&self, session: SessionId, lines: &[SealedLine]) -> Result<()>;

    /// The last lines of a session, in order, `limit` at most.
    async fn last_lines(&self, session: SessionId, limit: u32) -> Result<Vec<SealedLine>>;

    /// Up to `limit` lines that are sealed under another key than `current`, to be sealed anew.
    async fn lines_not_under(&self, current: u32, limit: u32) -> Result<Vec<(SessionId, SealedLine)>>;

    /// Puts `with` in the place of what is sealed in a line, if that is still what is kept.
    async fn reseal_line(&self, session: SessionId, line: &SealedLine, with: &Sealed) -> Result<()>;
}

/// A line as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedLine {
    /// Its place in the thread of its session, from 1.
    pub(crate) position: u64,
    pub(crate) at: Timestamp,
    pub(crate) author: ParticipantId,
    /// Who was in when it was said.
    pub(crate) audience: BTreeSet<ParticipantId>,
    /// What was said, and the writer's own id of it.
    pub(crate) sealed: Sealed,
}

impl SealedLine {
    /// What the line of that place is sealed for: in another's place it does not open.
    pub(crate) fn purpose(session: SessionId, position: u64) -> String {
        format!("session/{session}/thread/{position}")
    }
}
