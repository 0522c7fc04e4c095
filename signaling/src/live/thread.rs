//! What was said in writing: the lines that are kept for those who come later, and for whom each of them is.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use jiff::Timestamp;
use vestibule_domain::ParticipantId;

/// Lines kept for those who come later, and bytes of their text: a newcomer on a thin line gets all at once.
pub const THREAD_LINES_MAX: usize = 200;
/// The bytes of [`THREAD_LINES_MAX`].
pub(super) const THREAD_BYTES_MAX: usize = 64 * 1024;

/// A line, as it is kept. `Debug` does not show what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct ThreadLine {
    /// Its place in the thread of its session, from 1.
    pub position: u64,
    /// When the server heard it.
    pub at: Timestamp,
    /// Who said it.
    pub from: ParticipantId,
    /// The writer's own id of it.
    pub client_id: String,
    /// What was said.
    pub text: String,
    /// Who was in when it was said: it is for nobody else, whenever they come in.
    pub audience: BTreeSet<ParticipantId>,
}

impl fmt::Debug for ThreadLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, from, .. } = self;
        formatter
            .debug_struct("ThreadLine")
            .field("position", position)
            .field("from", from)
            .finish_non_exhaustive()
    }
}

/// The last lines of a session.
#[derive(Debug, Default)]
pub(super) struct Thread {
    lines: VecDeque<ThreadLine>,
    /// Of the line that came last, kept or not.
    last_position: u64,
}

impl Thread {
    /// Goes on where a thread that was kept ends.
    pub(super) fn after(kept: Vec<ThreadLine>) -> Self {
        let mut thread = Self::default();
        for line in kept {
            thread.push(line);
        }
        thread
    }

    /// A line that comes now.
    pub(super) fn say(
        &mut self,
        at: Timestamp,
        from: ParticipantId,
        (client_id, text): (String, String),
        audience: BTreeSet<ParticipantId>,
    ) -> ThreadLine {
        let line = ThreadLine { position: self.last_position + 1, at, from, client_id, text, audience };
        self.push(line.clone());
        line
    }

    /// Whether somebody said a line of that id already.
    pub(super) fn has(&self, from: ParticipantId, client_id: &str) -> bool {
        self.lines.iter().any(|line| line.from == from && line.client_id == client_id)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// What was said while somebody was in.
    pub(super) fn heard_by(&self, participant: ParticipantId) -> impl Iterator<Item = &ThreadLine> {
        self.lines.iter().filter(move |line| line.audience.contains(&participant))
    }

    fn push(&mut self, line: ThreadLine) {
        self.last_position = line.position;
        self.lines.push_back(line);
        while self.lines.len() > THREAD_LINES_MAX || self.bytes() > THREAD_BYTES_MAX {
            self.lines.pop_front();
        }
    }

    fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.text.len()).sum()
    }
}
