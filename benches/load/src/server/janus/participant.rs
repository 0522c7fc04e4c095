//! One participant of a room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::RoomState;
use super::api::{Handle, HandleEvent, Jsep, Session};
use super::subscription::{self, Progress};
use crate::cast::Cast;
use crate::client::{Connect, PerKind, Receives};
use crate::clock;
use crate::scenario::Person;
use crate::sdp::Description;
use crate::server::{Net, Participant, ServerError, streams};
use crate::transports::{Transport, Transports};

/// From an answer until Janus says that the connection is up.
const UP_DURATION_MAX: Duration = Duration::from_secs(10);

/// Somebody in a room.
pub(super) struct JanusParticipant {
    started: Instant,
    connected: Instant,
    room: Arc<RoomState>,
    publication: Option<Publication>,
    subscription: watch::Receiver<Progress>,
    /// The task of the subscription; with it goes the session.
    task: JoinHandle<()>,
}

struct Publication {
    feed: u64,
    transport: Transport,
    /// Keeps the handle's events from having nobody to go to.
    _handle: Handle,
}

impl JanusParticipant {
    pub(super) async fn join(
        net: &Net,
        transports: &Transports,
        cast: &Cast,
        room: Arc<RoomState>,
        person: &Person,
    ) -> Result<Self, ServerError> {
        let started = clock::now();
        let session = Session::connect(net).await?;
        let publication = if person.audio || person.video {
            Some(Publication::start(&session, transports, cast, &room, person).await?)
        } else {
            None
        };
        let own = publication.as_ref().map(|publication| publication.feed);
        let (sender, mut subscription) = watch::channel(Progress::default());
        let task = tokio::spawn(subscription::run(
            session,
            transports.clone(),
            person.expected(),
            Arc::clone(&room),
            own,
            sender,
        ));
        let connected = match &publication {
            Some(publication) => publication.transport.until(|progress| progress.connected).await?,
            // Who only receives is in when that works.
            None => until_subscribed(&mut subscription).await?.until(|progress| progress.connected).await?,
        };
        Ok(Self { started, connected, room, publication, subscription, task })
    }
}

impl Publication {
    async fn start(
        session: &Session,
        transports: &Transports,
        cast: &Cast,
        room: &RoomState,
        person: &Person,
    ) -> Result<Self, ServerError> {
        let mut handle = session.attach().await?;
        let transport = transports.open(PerKind::default())?;
        // Only what is sent has an m-line; its mid is its index.
        let sources = [streams::microphone(person, cast), streams::camera(person, cast)];
        let sources: Vec<_> = sources.into_iter().filter(|source| !source.is_empty()).collect();
        let offer = streams::publication(&transport, &sources);
        let join = json!({ "request": "joinandconfigure", "ptype": "publisher", "room": room.id });
        let told = handle.requests.message(join, Some(Jsep::offer(offer.to_sdp()))).await?;
        let protocol = |what: &str| ServerError::Protocol(what.to_owned());
        let feed = told.room.id.ok_or_else(|| protocol("a publisher without an id"))?;
        let answer = told.jsep.ok_or_else(|| protocol("no answer to a publisher"))?;
        let answer = Description::parse(&answer.sdp).map_err(|error| protocol(&error.to_string()))?;
        let mut sends = Vec::new();
        for (mid, source) in sources.iter().enumerate() {
            sends.extend(streams::agreed(source, &mid.to_string(), &answer)?);
        }
        let (plane, local) = (transport.plane(), &transport.local);
        let receives = Receives::default();
        plane.connect(local.id, Connect { remote: answer.remote(), controlling: true, sends, receives });
        transport.until(|progress| progress.connected).await?;
        until_up(&mut handle).await?;
        plane.set_sending(local.id, true);
        room.feeds.send_modify(|feeds| feeds.push(feed));
        Ok(Self { feed, transport, _handle: handle })
    }
}

/// Before that nobody can subscribe: there is no such feed, Janus says.
async fn until_up(handle: &mut Handle) -> Result<(), ServerError> {
    let up = async {
        loop {
            match handle.events.recv().await {
                Some(HandleEvent::Up) => return Ok(()),
                Some(HandleEvent::Room(_)) => {}
                Some(HandleEvent::HungUp { reason }) => {
                    return Err(ServerError::Closed(format!("Janus hung up a publisher: {reason}")));
                }
                None => return Err(ServerError::Closed("Janus ended the session".to_owned())),
            }
        }
    };
    tokio::time::timeout(UP_DURATION_MAX, up).await.unwrap_or(Err(ServerError::Late("Janus's webrtcup")))
}

async fn until_subscribed(
    subscription: &mut watch::Receiver<Progress>,
) -> Result<Arc<Transport>, ServerError> {
    loop {
        {
            let progress = subscription.borrow_and_update();
            if let Some(failure) = &progress.failure {
                return Err(failure.clone());
            }
            if let Some(transport) = &progress.transport {
                return Ok(Arc::clone(transport));
            }
        }
        if subscription.changed().await.is_err() {
            return Err(ServerError::Closed("left".to_owned()));
        }
    }
}

#[async_trait]
impl Participant for JanusParticipant {
    fn connected_after(&self) -> Duration {
        self.connected.saturating_duration_since(self.started)
    }

    fn started(&self) -> Instant {
        self.started
    }

    async fn first_packet(&self) -> Result<Instant, ServerError> {
        let transport = until_subscribed(&mut self.subscription.clone()).await?;
        Ok(transport.until(|progress| progress.first_packet).await?)
    }

    fn failure(&self) -> Option<String> {
        let subscription = self.subscription.borrow();
        let published =
            self.publication.as_ref().and_then(|publication| publication.transport.progress().failed);
        let received = subscription.transport.as_ref().and_then(|transport| transport.progress().failed);
        let failed = published.or(received).map(|failed| failed.to_string());
        failed.or_else(|| subscription.failure.as_ref().map(ToString::to_string))
    }

    async fn admit(&self) -> Result<(), ServerError> {
        Err(ServerError::Environment("Janus's videoroom has no waiting room".to_owned()))
    }

    fn cut(&self) -> Result<(), ServerError> {
        Err(ServerError::Environment(
            "Janus ends a session, with its media, when its WebSocket ends".to_owned(),
        ))
    }

    async fn resume(&self) -> Result<(), ServerError> {
        self.cut()
    }

    async fn leave(&self) {
        if let Some(publication) = &self.publication {
            self.room.feeds.send_modify(|feeds| feeds.retain(|feed| *feed != publication.feed));
            publication.transport.plane().set_sending(publication.transport.local.id, false);
        }
        // The session ends with the last that holds it, and with it both peer connections in Janus.
        self.task.abort();
    }
}

impl Drop for JanusParticipant {
    fn drop(&mut self) {
        self.task.abort();
    }
}
