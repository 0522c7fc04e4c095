//! LiveKit, by its public signaling: a peer connection that publishes, and one that the server offers for what others
//! publish. Rooms come into being with the first who enters; the token says who may.
//!
//! Written from the published protocol, and tried against a mock of it alone (see docs/load.md).

mod line;
mod signal;
mod token;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::{Admission, Net, Participant, Server, ServerError};
use crate::cast::Cast;
use crate::clock;
use crate::scenario::{Person, Room};
use crate::transports::Transports;

use line::{Line, Watched};
use signal::Signal;
use token::Grant;

pub use token::ApiKey;

/// How long a token is good for: for the longest of runs.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// A LiveKit server.
pub struct LiveKit {
    net: Net,
    key: ApiKey,
    transports: Transports,
    cast: Cast,
}

/// Somebody in a room.
struct Guest {
    started: Instant,
    connected: Instant,
    watched: Watched,
    /// The task of their signaling; with it goes the socket.
    task: JoinHandle<()>,
}

impl LiveKit {
    /// The server at `net`, with a key of its configuration.
    #[must_use]
    pub const fn new(net: Net, key: ApiKey, transports: Transports, cast: Cast) -> Self {
        Self { net, key, transports, cast }
    }

    fn token(&self, person: &Person) -> String {
        let (room, identity) = (format!("load-{}", person.room), format!("person-{}", person.number));
        let grant = Grant {
            room: &room,
            identity: &identity,
            publishes: person.audio || person.video,
            expires_at: (since_1970() + TOKEN_LIFETIME).as_secs(),
        };
        token::access_token(&self.key, grant)
    }
}

#[async_trait]
impl Server for LiveKit {
    fn name(&self) -> String {
        "LiveKit".to_owned()
    }

    fn url(&self) -> String {
        self.net.url()
    }

    async fn prepare(&self, rooms: &[Room], made: &(dyn Fn() + Sync)) -> Result<(), ServerError> {
        rooms.iter().for_each(|_| made());
        Ok(())
    }

    async fn join(&self, person: &Person, _: Admission) -> Result<Box<dyn Participant>, ServerError> {
        let token = self.token(person);
        let started = clock::now();
        let signal = Signal::connect(&self.net, &token).await?;
        let (line, watched) = Line::new(signal, &self.transports, person, &self.cast)?;
        let task = tokio::spawn(line.run());
        let subscriber = watched.subscriber().await?;
        let mut connected = watched.or_failure(subscriber.until(|progress| progress.connected)).await?;
        if let Some(publisher) = &watched.publisher {
            connected =
                connected.max(watched.or_failure(publisher.until(|progress| progress.connected)).await?);
            publisher.plane().set_sending(publisher.local.id, true);
        }
        Ok(Box::new(Guest { started, connected, watched, task }))
    }

    async fn end(&self, _: &[Room]) -> Result<(), ServerError> {
        // An empty room ends by itself.
        Ok(())
    }
}

#[async_trait]
impl Participant for Guest {
    fn connected_after(&self) -> Duration {
        self.connected.saturating_duration_since(self.started)
    }

    fn started(&self) -> Instant {
        self.started
    }

    async fn first_packet(&self) -> Result<Instant, ServerError> {
        let subscriber = self.watched.subscriber().await?;
        self.watched.or_failure(subscriber.until(|progress| progress.first_packet)).await
    }

    fn failure(&self) -> Option<String> {
        self.watched.failure()
    }

    async fn admit(&self) -> Result<(), ServerError> {
        Err(ServerError::Environment("LiveKit has no waiting room".to_owned()))
    }

    fn cut(&self) -> Result<(), ServerError> {
        Err(ServerError::Environment("resuming is not spoken with LiveKit".to_owned()))
    }

    async fn resume(&self) -> Result<(), ServerError> {
        self.cut()
    }

    async fn leave(&self) {
        if let Some(publisher) = &self.watched.publisher {
            publisher.plane().set_sending(publisher.local.id, false);
        }
        // The socket closes with the task, and the server ends both peer connections.
        self.task.abort();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "a token says until when it is good")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
