//! The peer connection on which a participant receives: Janus offers, we answer, again whenever somebody begins or
//! ceases to publish.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::RoomState;
use super::api::{Handle, HandleEvent, Jsep, Session};
use crate::client::{Connect, PerKind, PlaneError};
use crate::sdp::{self, Description};
use crate::server::ServerError;
use crate::transports::{Transport, Transports};

/// How far a subscription is.
#[derive(Clone, Default)]
pub(super) struct Progress {
    /// Once there was something to subscribe to.
    pub(super) transport: Option<Arc<Transport>>,
    /// Why it cannot go on.
    pub(super) failure: Option<ServerError>,
}

/// Subscribes to everybody in the room but `own`, now and later, until the task is aborted.
pub(super) async fn run(
    session: Session,
    transports: Transports,
    expected: PerKind<u32>,
    room: Arc<RoomState>,
    own: Option<u64>,
    progress: watch::Sender<Progress>,
) {
    let open = || transports.open(expected);
    let Err(failure) = follow(&session, &open, &room, own, &progress).await;
    progress.send_modify(|progress| progress.failure = Some(failure));
}

async fn follow(
    session: &Session,
    open: &(dyn Fn() -> Result<Transport, PlaneError> + Sync),
    room: &RoomState,
    own: Option<u64>,
    progress: &watch::Sender<Progress>,
) -> Result<std::convert::Infallible, ServerError> {
    let mut feeds = room.feeds.subscribe();
    let mut fresh = unknown(&feeds.borrow_and_update(), own, &HashSet::new());
    while fresh.is_empty() {
        feeds.changed().await.map_err(|_| room_ended())?;
        fresh = unknown(&feeds.borrow_and_update(), own, &HashSet::new());
    }

    // Not before: a handle of Janus is a thread of its own.
    let mut handle = session.attach().await?;
    let join =
        json!({ "request": "join", "ptype": "subscriber", "room": room.id, "streams": streams(&fresh) });
    let mut known: HashSet<u64> = fresh.into_iter().collect();
    let told = handle.requests.message(join, None).await?;
    let offer = told.jsep.ok_or_else(|| ServerError::Protocol("no offer to a subscriber".to_owned()))?;
    let mut connection = Connection { transport: Arc::new(open()?), is_connected: false };
    connection.answer(&handle, &offer).await?;
    progress.send_modify(|progress| progress.transport = Some(Arc::clone(&connection.transport)));

    loop {
        tokio::select! {
            changed = feeds.changed() => {
                changed.map_err(|_| room_ended())?;
                let fresh = unknown(&feeds.borrow_and_update(), own, &known);
                if fresh.is_empty() {
                    continue;
                }
                let subscribe = json!({ "request": "subscribe", "streams": streams(&fresh) });
                known.extend(fresh);
                // Without an offer, one follows as an event, once Janus is done with the last.
                if let Some(offer) = handle.requests.message(subscribe, None).await?.jsep {
                    connection.answer(&handle, &offer).await?;
                }
            }
            event = handle.events.recv() => match event {
                Some(HandleEvent::Room(told)) => if let Some(offer) = told.jsep {
                    connection.answer(&handle, &offer).await?;
                },
                Some(HandleEvent::Up) => {}
                Some(HandleEvent::HungUp { reason }) => {
                    return Err(ServerError::Closed(format!("Janus hung up a subscriber: {reason}")));
                }
                None => return Err(ServerError::Closed("Janus ended the session".to_owned())),
            },
        }
    }
}

struct Connection {
    transport: Arc<Transport>,
    is_connected: bool,
}

impl Connection {
    async fn answer(&mut self, handle: &Handle, offer: &Jsep) -> Result<(), ServerError> {
        let offer =
            Description::parse(&offer.sdp).map_err(|error| ServerError::Protocol(error.to_string()))?;
        let (plane, local) = (self.transport.plane(), &self.transport.local);
        let answer = sdp::answer(&offer, &local.ice, &plane.fingerprint(), local.address);
        if self.is_connected {
            plane.extend(local.id, offer.receives());
        } else {
            let receives = offer.receives();
            // Who answers is controlled (RFC 8445 section 6.1.1), unless the other side is ICE-lite.
            let connect =
                Connect { remote: offer.remote(), controlling: offer.ice_lite, sends: Vec::new(), receives };
            plane.connect(local.id, connect);
            self.is_connected = true;
        }
        handle.requests.message(json!({ "request": "start" }), Some(Jsep::answer(answer))).await?;
        Ok(())
    }
}

/// Who of these is neither ourselves nor known.
fn unknown(feeds: &[u64], own: Option<u64>, known: &HashSet<u64>) -> Vec<u64> {
    feeds.iter().copied().filter(|feed| Some(*feed) != own && !known.contains(feed)).collect()
}

/// All streams of these.
fn streams(feeds: &[u64]) -> Value {
    feeds.iter().map(|feed| json!({ "feed": feed })).collect()
}

fn room_ended() -> ServerError {
    ServerError::Closed("the room has ended".to_owned())
}
