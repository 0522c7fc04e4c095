//! What was said in writing: the last lines, for those who come later, and for whom each of them is.
//!
//! A line is kept before anybody is told of it, and its position is the store's: so what somebody heard is there after a
//! restart, in the same place, and what is asked for after a position is complete.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use jiff::Timestamp;
use vestibule_domain::{ContentDigest, ParticipantId};

use crate::wire::Attachment;

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
    /// What was shown.
    pub attachment: Option<Attachment>,
    /// Who was in when it was said: it is for nobody else, whenever they come in.
    pub audience: BTreeSet<ParticipantId>,
}

/// A line that is to be kept. `Debug` does not show what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct NewLine {
    /// When the server heard it.
    pub at: Timestamp,
    /// Who says it.
    pub from: ParticipantId,
    /// The writer's own id of it: of one writer it is never kept twice.
    pub client_id: String,
    /// What is said; empty of an image alone.
    pub text: String,
    /// An image that the writer sent before.
    pub image: Option<ContentDigest>,
    /// Who is in.
    pub audience: BTreeSet<ParticipantId>,
    /// It came after the session was over: what is written in it goes to the provider's desk.
    pub late: bool,
}

/// Why a line is not kept. Nobody was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepError {
    /// The store does not answer, or could not write.
    Unavailable,
    /// Its writer sent no such image.
    UnknownImage,
    /// The thread has as many lines as it may.
    Full,
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

impl fmt::Debug for NewLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NewLine").field("from", &self.from).finish_non_exhaustive()
    }
}

/// The last lines of a session.
#[derive(Debug, Default)]
pub(super) struct Thread {
    lines: VecDeque<ThreadLine>,
    /// Of the line that came last.
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

    /// Whether somebody said a line of that id already, as far as it is known here.
    pub(super) fn has(&self, from: ParticipantId, client_id: &str) -> bool {
        self.lines.iter().any(|line| line.from == from && line.client_id == client_id)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The position of the line that came last.
    pub(super) const fn last_position(&self) -> u64 {
        self.last_position
    }

    /// What was said while somebody was in.
    pub(super) fn heard_by(&self, participant: ParticipantId) -> impl Iterator<Item = &ThreadLine> {
        self.lines.iter().filter(move |line| line.audience.contains(&participant))
    }

    /// Whether all that came after a position is here still.
    pub(super) fn covers(&self, after: u64) -> bool {
        let first = self.lines.front().map_or(self.last_position + 1, |line| line.position);
        first <= after.saturating_add(1)
    }

    /// Takes in a line that was kept; false if it was here before.
    pub(super) fn push(&mut self, line: ThreadLine) -> bool {
        if line.position <= self.last_position {
            return false;
        }
        self.last_position = line.position;
        self.lines.push_back(line);
        while self.lines.len() > THREAD_LINES_MAX || self.bytes() > THREAD_BYTES_MAX {
            self.lines.pop_front();
        }
        true
    }

    fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.text.len()).sum()
    }
}
