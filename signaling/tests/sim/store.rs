//! The store, in memory: what is in it survives the server.

use std::collections::BTreeMap;

use jiff::Timestamp;
use vestibule_domain::{Actor, Command, Context, Event, ParticipantId, Presence, VirtualSession};
use vestibule_signaling::{Commit, CommitError, Loaded, ResumeKey, ResumeKeys, ThreadLine};

/// What somebody else wrote.
pub(crate) type Written = Vec<Event>;

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) loaded: Loaded,
    pub(crate) resume: BTreeMap<ParticipantId, ResumeKeys>,
    pub(crate) thread: Vec<ThreadLine>,
    pub(crate) down: bool,
    /// The fault of a store that does not keep what people come back with.
    pub(crate) forgets_keys: bool,
}

impl Store {
    pub(crate) fn session(&self) -> &VirtualSession {
        &self.loaded.session
    }

    pub(crate) fn write(&mut self, commit: &Commit) -> Result<(), CommitError> {
        if self.down {
            return Err(CommitError::Unavailable);
        }
        if !commit.events.is_empty() {
            if commit.before != self.loaded.session.version() {
                return Err(CommitError::Conflict(Box::new(self.loaded.clone())));
            }
            self.loaded.session = commit.after.clone();
        }
        if !self.forgets_keys {
            self.resume.extend(commit.resume.iter().cloned());
        }
        Ok(())
    }

    /// Keeps what secrets of somebody are good, if it can just now.
    pub(crate) fn keep_resume(&mut self, participant: ParticipantId, keys: ResumeKeys) {
        if !self.down && !self.forgets_keys {
            self.resume.insert(participant, keys);
        }
    }

    /// Another process decides and writes, knowing of nobody who is connected.
    pub(crate) fn rival(&mut self, now: Timestamp, command: &Command, actor: &Actor) -> Option<Written> {
        if self.down {
            return None;
        }
        let presence = Presence::after_restart(&self.loaded.session, now);
        let context = Context { now, actor, presence: &presence };
        let events = self.loaded.session.decide(command, &context).ok()?;
        self.loaded.session.commit(&events);
        Some(events)
    }

    /// Whose secret it is, by what is kept of it.
    pub(crate) fn owner_of(&self, key: &ResumeKey) -> Option<ParticipantId> {
        self.resume.iter().find(|(_, keys)| keys.accept(*key)).map(|(&participant, _)| participant)
    }
}
