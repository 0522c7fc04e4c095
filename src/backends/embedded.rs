//! The embedded SFU as a video backend.
//!
//! It makes a room's threads and sockets when somebody comes, and nothing before: what is provisioned is a name and a
//! place in the count of rooms, held in memory. A restart forgets both, and loses nothing: the name is the session's.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{BackendRoom, SessionId, TenantId, VideoBackend};
use vestibule_media_engine::Engine;

use super::{BackendError, Port};

/// Rooms that are provisioned at one time: sessions that were made and are not over.
const ROOMS_MAX: usize = 100_000;

/// The SFU in this process.
pub(crate) struct Embedded {
    /// None in a command beside the server, which makes sessions for it.
    engine: Option<Arc<Engine>>,
    rooms: Mutex<BTreeMap<BackendRoom, Timestamp>>,
}

impl Embedded {
    pub(crate) fn new(engine: Option<Arc<Engine>>) -> Self {
        Self { engine, rooms: Mutex::default() }
    }

    fn reserved(&self) -> std::sync::MutexGuard<'_, BTreeMap<BackendRoom, Timestamp>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Port for Embedded {
    async fn provision(
        &self,
        _: TenantId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<BackendRoom, BackendError> {
        if self.engine.as_ref().is_some_and(|engine| engine.failed_shard().is_some()) {
            return Err(BackendError::Unavailable(VideoBackend::Embedded));
        }
        let room = BackendRoom::parse(session.to_string()).expect("a UUID is visible ASCII, and short");
        let mut rooms = self.reserved();
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(&room) {
            return Err(BackendError::Full(VideoBackend::Embedded));
        }
        rooms.entry(room.clone()).or_insert(now);
        Ok(room)
    }

    async fn release(&self, room: &BackendRoom) -> Result<(), BackendError> {
        self.reserved().remove(room);
        Ok(())
    }

    async fn rooms(
        &self,
        then: Timestamp,
        after: Option<&BackendRoom>,
        limit: usize,
    ) -> Result<Vec<BackendRoom>, BackendError> {
        let rooms = self.reserved();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let old = rooms.range::<BackendRoom, _>((from, Bound::Unbounded)).filter(|(_, since)| **since < then);
        Ok(old.map(|(room, _)| room.clone()).take(limit).collect())
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Embedded").field("rooms", &self.reserved().len()).finish_non_exhaustive()
    }
}
