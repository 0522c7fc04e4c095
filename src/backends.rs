//! Where the media of a session goes: one port for all video backends, and a room provisioned before there is a session.
//!
//! A session's row is written only after its room was provisioned; a row that cannot be written releases the room; and a
//! room that all the same has no session is found by a sweep (`sweep.rs`).

mod embedded;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{BackendRoom, SessionId, TenantId, VideoBackend};

pub(crate) use embedded::Embedded;

/// What a video backend does for us.
#[async_trait]
pub(crate) trait Port: fmt::Debug + Send + Sync {
    /// Makes a room for a session that is about to be. The same session gets the same room.
    async fn provision(
        &self,
        tenant: TenantId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<BackendRoom, BackendError>;

    /// Lets go of a room. One that is not there is fine.
    async fn release(&self, room: &BackendRoom) -> Result<(), BackendError>;

    /// The rooms that were provisioned before `then`, in the order of their names from behind `after`, `limit` at most.
    async fn rooms(
        &self,
        then: Timestamp,
        after: Option<&BackendRoom>,
        limit: usize,
    ) -> Result<Vec<BackendRoom>, BackendError>;
}

/// Why a backend made no room. There is no session then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BackendError {
    /// This server cannot use it.
    #[error("the video backend {0} is not set up on this server")]
    NotSetUp(VideoBackend),
    /// It does not answer, or refuses; worth another try.
    #[error("the video backend {0} is not available")]
    Unavailable(VideoBackend),
    /// It holds as many rooms as it may.
    #[error("the video backend {0} has no room left")]
    Full(VideoBackend),
}

/// The backends of this server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backends(BTreeMap<&'static str, Arc<dyn Port>>);

impl Backends {
    /// With this one beside those there are.
    pub(crate) fn with(mut self, backend: VideoBackend, port: Arc<dyn Port>) -> Self {
        self.0.insert(backend.as_str(), port);
        self
    }

    pub(crate) fn get(&self, backend: VideoBackend) -> Result<&dyn Port, BackendError> {
        self.0.get(backend.as_str()).map(|port| &**port).ok_or(BackendError::NotSetUp(backend))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (VideoBackend, &dyn Port)> {
        let all = VideoBackend::ALL.iter();
        all.filter_map(|backend| self.0.get(backend.as_str()).map(|port| (*backend, &**port)))
    }
}
