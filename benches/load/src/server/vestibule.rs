//! A Vestibule server, by its public protocol alone: docs/api.md to make sessions, docs/protocol.md to come in.

mod api;
mod line;
mod media;
mod pace;
mod setup;
mod signaling;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hyper::Method;
use serde::Deserialize;

use super::{Admission, Net, Participant, Server, ServerError};
use crate::cast::Cast;
use crate::clock;
use crate::scenario::{Person, Role, Room};
use crate::transports::{Progress, Transport, Transports};

use api::Api;
use line::Line;
use pace::Pace;

/// Requests a second at the door once it was too often: a server takes 100 from an address unless it is told otherwise.
const DOOR_PER_SECOND: f64 = 90.0;
const DOOR_AT_ONCE: f64 = 50.0;
/// A transport that does not connect within this is lost (docs/protocol.md, section 4); so is who is not let in.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Vestibule server, and what was made there.
pub struct Vestibule {
    net: Net,
    api: Api,
    door: Pace,
    transports: Transports,
    cast: Cast,
    made: Arc<Mutex<Made>>,
}

#[derive(Default)]
struct Made {
    /// By the number of their room.
    sessions: HashMap<u32, String>,
    /// By the number of the person.
    tokens: HashMap<u32, String>,
    is_configured: bool,
}

/// What a person of the run is at this server.
struct Guest {
    line: Line,
    transport: Transport,
    started: Instant,
    connected_after: Duration,
    role: Role,
    room: u32,
    made: Arc<Mutex<Made>>,
}

#[derive(Deserialize)]
struct Ticket {
    ticket: String,
}

impl Vestibule {
    /// The server that `net` leads to, with an API key of it.
    ///
    /// # Errors
    ///
    /// There is no key.
    pub fn new(net: Net, key: Option<&str>, transports: Transports, cast: Cast) -> Result<Self, ServerError> {
        let key = key
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .ok_or_else(|| ServerError::NoKey(api::make_a_key()))?;
        Ok(Self {
            api: Api::new(net.clone(), key.to_owned()),
            door: Pace::new(DOOR_PER_SECOND, DOOR_AT_ONCE),
            net,
            transports,
            cast,
            made: Arc::default(),
        })
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        locked(&self.made)
    }

    /// A ticket for a token, and when it was asked for.
    async fn ticket(&self, token: &str) -> Result<(Instant, String), ServerError> {
        const PATH: &str = "/v1/join/ticket";
        let body = serde_json::json!({"token": token});
        let (asked, answer) =
            api::paced(&self.net, &self.door, &Method::POST, PATH, Some(&body), None).await?;
        let ticket: Ticket =
            api::parse(PATH, &answer)?.map_err(|refusal| api::refused(PATH, &refusal.problem))?;
        Ok((asked, ticket.ticket))
    }
}

#[async_trait]
impl Server for Vestibule {
    fn name(&self) -> String {
        "Vestibule".to_owned()
    }

    fn url(&self) -> String {
        self.net.url()
    }

    async fn prepare(&self, rooms: &[Room], made: &(dyn Fn() + Sync)) -> Result<(), ServerError> {
        self.set_up(rooms, made).await
    }

    async fn join(&self, person: &Person, admission: Admission) -> Result<Box<dyn Participant>, ServerError> {
        let token = self.made().tokens.get(&person.number).cloned();
        let token =
            token.ok_or_else(|| ServerError::Environment("nobody was invited by this number".to_owned()))?;
        let (started, ticket) = self.ticket(&token).await?;
        let transport = self.transports.open(person.expected())?;
        let media = media::Negotiation::new(&transport, person, &self.cast);
        let line = Line::open(self.net.clone(), ticket, admission, media).await?;
        let waits_for_hand = admission == Admission::ByHand && person.role == Role::Patient;
        let joining = async {
            let connected = tokio::select! {
                connected = transport.until(|progress| progress.connected) => connected?,
                over = line.over() => return Err(over),
            };
            if !waits_for_hand {
                line.let_in().await?;
            }
            Ok(connected)
        };
        let connected = tokio::time::timeout(PATIENCE, joining).await;
        let connected = connected.unwrap_or_else(|_| Err(late(transport.progress())))?;
        let connected_after = connected.saturating_duration_since(started);
        let (role, room, made) = (person.role, person.room, Arc::clone(&self.made));
        Ok(Box::new(Guest { line, transport, started, connected_after, role, room, made }))
    }

    async fn end(&self, rooms: &[Room]) -> Result<(), ServerError> {
        self.call_off(rooms).await
    }
}

fn locked(made: &Mutex<Made>) -> MutexGuard<'_, Made> {
    // Nothing panics while it is held.
    made.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What it was that did not come.
fn late(progress: Progress) -> ServerError {
    ServerError::Late(if progress.connected.is_some() { "the admission" } else { "the media connection" })
}

#[async_trait]
impl Participant for Guest {
    fn connected_after(&self) -> Duration {
        self.connected_after
    }

    fn started(&self) -> Instant {
        self.started
    }

    async fn first_packet(&self) -> Result<Instant, ServerError> {
        tokio::select! {
            first = self.transport.until(|progress| progress.first_packet) => Ok(first?),
            over = self.line.over() => Err(over),
        }
    }

    fn failure(&self) -> Option<String> {
        let failed = self.transport.progress().failed.map(|failed| failed.to_string());
        failed.or_else(|| self.line.failure().map(|error| error.to_string()))
    }

    async fn admit(&self) -> Result<(), ServerError> {
        self.line.admit().await
    }

    fn cut(&self) -> Result<(), ServerError> {
        self.line.cut();
        Ok(())
    }

    async fn resume(&self) -> Result<(), ServerError> {
        self.line.resume().await
    }

    async fn leave(&self) {
        if self.role == Role::Provider && self.line.leave(true).await {
            locked(&self.made).sessions.remove(&self.room);
        } else {
            // A session that has not begun cannot be ended; it is called off later. What does not work at all is left
            // to the server's own timers.
            self.line.leave(false).await;
        }
        self.transport.close();
    }
}

/// Now, as the API takes it.
fn due_now() -> String {
    clock::wall()
}
