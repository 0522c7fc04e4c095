//! Janus's videoroom plugin (Janus 1.x), as its own JavaScript client uses it: a session per participant, a peer
//! connection that publishes, and one that subscribes to everybody else's streams.
//!
//! Janus has no waiting room: who comes is in. Who publishes in a room, an application tells its users itself; here
//! the tester does.

mod api;
pub mod config;
mod participant;
mod subscription;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::watch;

use super::{Admission, Net, Participant, Server, ServerError};
use crate::cast::Cast;
use crate::scenario::{Person, Room};
use crate::transports::Transports;

use api::{Handle, Session};

/// A Janus with the videoroom plugin.
pub struct Janus {
    net: Net,
    name: String,
    transports: Transports,
    cast: Cast,
    /// What makes and ends rooms; its session lives as long as this.
    keeper: Handle,
    rooms: Mutex<HashMap<u32, Arc<RoomState>>>,
}

/// What the tester knows of a room.
struct RoomState {
    /// Its number in Janus.
    id: u64,
    /// The ids of those who publish, in the order they came.
    feeds: watch::Sender<Vec<u64>>,
}

impl Janus {
    /// The Janus whose WebSocket API is at `net`. `setup` is added to its name: how it is set up.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or has no videoroom.
    pub async fn connect(
        net: Net,
        setup: &str,
        transports: Transports,
        cast: Cast,
    ) -> Result<Self, ServerError> {
        let session = Session::connect(&net).await?;
        let version = session.version().await?.unwrap_or_default();
        let name = ["Janus", version.as_str(), setup].join(" ").trim().to_owned();
        let keeper = session.attach().await?;
        Ok(Self { net, name, transports, cast, keeper, rooms: Mutex::default() })
    }

    fn room(&self, number: u32) -> Result<Arc<RoomState>, ServerError> {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms
            .get(&number)
            .cloned()
            .ok_or_else(|| ServerError::Protocol(format!("room {number} was not made")))
    }
}

#[async_trait]
impl Server for Janus {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn url(&self) -> String {
        self.net.url()
    }

    async fn prepare(&self, rooms: &[Room], made: &(dyn Fn() + Sync)) -> Result<(), ServerError> {
        for room in rooms {
            // From 1 on: Janus takes 0 for "choose one".
            let id = u64::from(room.number) + 1;
            let create = json!({
                "request": "create",
                "room": id,
                "publishers": room.people.len(),
                "permanent": false,
                "audiocodec": "opus",
                "videocodec": "vp8",
                // As many bits as come: the default is no cap either, but said here.
                "bitrate": 0,
                "notify_joining": false,
            });
            self.keeper.requests.message(create, None).await?;
            let state = RoomState { id, feeds: watch::Sender::new(Vec::new()) };
            self.rooms.lock().unwrap_or_else(PoisonError::into_inner).insert(room.number, Arc::new(state));
            made();
        }
        Ok(())
    }

    async fn join(&self, person: &Person, _: Admission) -> Result<Box<dyn Participant>, ServerError> {
        let room = self.room(person.room)?;
        let participant =
            participant::JanusParticipant::join(&self.net, &self.transports, &self.cast, room, person)
                .await?;
        Ok(Box::new(participant))
    }

    async fn end(&self, rooms: &[Room]) -> Result<(), ServerError> {
        for room in rooms {
            let state = self.rooms.lock().unwrap_or_else(PoisonError::into_inner).remove(&room.number);
            let Some(state) = state else { continue };
            self.keeper.requests.message(json!({ "request": "destroy", "room": state.id }), None).await?;
        }
        Ok(())
    }
}
