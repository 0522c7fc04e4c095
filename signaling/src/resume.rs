//! Resume secrets: who holds the latest of a participant, or the one before it, is the device that is in.
//!
//! A secret is replaced each time it is used, and the one before stays good until the new one is: an answer that is lost on
//! the way locks nobody out. Only hashes of them are known here, and kept.

use std::fmt;

/// The hash of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResumeKey(pub [u8; 32]);

/// The secrets of one participant that are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeKeys {
    /// The latest.
    pub current: ResumeKey,
    /// The one it was got by. Of a first one, that one itself once its holder was heard; none before: the welcome it was sent
    /// with may have been lost, and nobody may have it.
    pub previous: Option<ResumeKey>,
}

/// A secret that was never used, made by the session's owner.
#[derive(Clone, PartialEq, Eq)]
pub struct FreshSecret {
    /// For the client.
    pub secret: String,
    /// For the store.
    pub key: ResumeKey,
}

impl ResumeKeys {
    /// Of somebody who came by a ticket: nothing from before is good.
    pub(crate) const fn first(current: ResumeKey) -> Self {
        Self { current, previous: None }
    }

    /// Of somebody who was heard after they were sent it.
    pub(crate) const fn proven(current: ResumeKey) -> Self {
        Self { current, previous: Some(current) }
    }

    /// Whether anybody is known to have one.
    pub(crate) const fn is_proven(&self) -> bool {
        self.previous.is_some()
    }

    /// After one that is good was used. It stays good until `fresh` is.
    pub(crate) const fn used(key: ResumeKey, fresh: ResumeKey) -> Self {
        Self { current: fresh, previous: Some(key) }
    }

    /// Whether a secret is good.
    #[must_use]
    pub fn accept(&self, key: ResumeKey) -> bool {
        self.current == key || self.previous == Some(key)
    }
}

impl fmt::Debug for ResumeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResumeKey")
    }
}

impl fmt::Debug for FreshSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FreshSecret")
    }
}
