//! The one task that owns the rooms: what sockets say and what the media engine reports meet here.
//!
//! All queues are bounded. A socket that does not read loses its place; a client that writes too fast waits.

use std::collections::HashMap;
use std::fmt::Display;

use tokio::sync::{mpsc, oneshot};
use vestibule_media_core::{Command, Event, PeerId, RoomId};

use crate::protocol::{ClientMessage, ServerMessage};
use crate::rooms::{Asked, Effect, JoinError, Rooms};

/// Messages of all sockets waiting for the hub; more, and the sockets are not read.
const INPUTS_MAX: usize = 256;
/// Events of the engine waiting for the hub; more are lost, and logged.
const EVENTS_MAX: usize = 4_096;
/// Messages waiting for one socket; more, and it is closed.
const OUTBOX_MAX: usize = 64;

/// What a socket gets to read; it ends when the participant is out.
pub(crate) type Outbox = mpsc::Receiver<ServerMessage>;

/// A socket's way to the hub.
#[derive(Clone)]
pub(crate) struct HubHandle {
    inputs: mpsc::Sender<Input>,
}

/// Somebody who joined.
pub(crate) struct Joined {
    pub(crate) peer: PeerId,
    pub(crate) outbox: Outbox,
    /// Fires when the participant is out, though the outbox may still hold messages.
    pub(crate) evicted: oneshot::Receiver<Eviction>,
}

/// Why the hub closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// It left, or its transport is gone: it may read what it was told.
    Out,
    /// It does not read.
    SlowReader,
}

/// The hub is gone: the server is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is stopping")]
pub(crate) struct Stopping;

enum Input {
    Join { room: String, reply: oneshot::Sender<Result<Joined, JoinError>> },
    Message { peer: PeerId, message: ClientMessage },
    Malformed { peer: PeerId, why: String },
    Left { peer: PeerId },
}

impl HubHandle {
    pub(crate) async fn join(&self, room: String) -> Result<Result<Joined, JoinError>, Stopping> {
        let (reply, joined) = oneshot::channel();
        self.send(Input::Join { room, reply }).await?;
        joined.await.map_err(|_| Stopping)
    }

    pub(crate) async fn message(&self, peer: PeerId, message: ClientMessage) -> Result<(), Stopping> {
        self.send(Input::Message { peer, message }).await
    }

    pub(crate) async fn malformed(&self, peer: PeerId, why: String) -> Result<(), Stopping> {
        self.send(Input::Malformed { peer, why }).await
    }

    pub(crate) async fn left(&self, peer: PeerId) -> Result<(), Stopping> {
        self.send(Input::Left { peer }).await
    }

    async fn send(&self, input: Input) -> Result<(), Stopping> {
        self.inputs.send(input).await.map_err(|_| Stopping)
    }
}

/// The engine's way to the hub. Called on media threads: it never waits.
pub(crate) struct Events(mpsc::Sender<Event>);

impl Events {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        (Self(sender), receiver)
    }

    pub(crate) fn push(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.0.try_send(event) {
            tracing::error!("an event of the media engine was lost: the hub does not keep up");
        }
    }
}

/// The task's state. `Send` hands a command to the media engine, or says why it did not take it.
pub(crate) struct Hub<Send> {
    rooms: Rooms,
    sockets: HashMap<PeerId, Socket>,
    send: Send,
}

struct Socket {
    outbox: mpsc::Sender<ServerMessage>,
    evict: oneshot::Sender<Eviction>,
}

impl<Send, Error> Hub<Send>
where
    Send: FnMut(RoomId, Command) -> Result<(), Error>,
    Error: Display,
{
    pub(crate) fn new(send: Send) -> Self {
        Self { rooms: Rooms::default(), sockets: HashMap::new(), send }
    }

    /// The handle for sockets, and the task. The task ends with `stop`, and closes all sockets.
    pub(crate) fn start<Reason>(
        mut self,
        mut events: mpsc::Receiver<Event>,
        stop: impl Future<Output = Reason>,
    ) -> (HubHandle, impl Future<Output = Reason>) {
        let (inputs, mut queue) = mpsc::channel(INPUTS_MAX);
        let task = async move {
            let mut stop = std::pin::pin!(stop);
            loop {
                tokio::select! {
                    biased;
                    reason = &mut stop => return reason,
                    Some(event) = events.recv() => self.rooms.event(event),
                    Some(input) = queue.recv() => self.input(input),
                }
                self.work();
            }
        };
        (HubHandle { inputs }, task)
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Join { room, reply } => self.join(&room, reply),
            Input::Message { peer, message } => self.rooms.message(peer, message),
            Input::Malformed { peer, why } => self.rooms.malformed(peer, why),
            Input::Left { peer } => self.rooms.leave(peer),
        }
    }

    fn join(&mut self, room: &str, reply: oneshot::Sender<Result<Joined, JoinError>>) {
        let peer = match self.rooms.join(room) {
            Ok(peer) => peer,
            Err(error) => {
                // Nobody is waiting any more: then nobody needs to know.
                let _ = reply.send(Err(error));
                return;
            }
        };
        let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
        let (evict, evicted) = oneshot::channel();
        self.sockets.insert(peer, Socket { outbox, evict });
        if reply.send(Ok(Joined { peer, outbox: messages, evicted })).is_err() {
            self.rooms.leave(peer);
        }
    }

    fn work(&mut self) {
        while let Some(effect) = self.rooms.poll() {
            match effect {
                Effect::Media { room, command } => {
                    let asked = Asked::by(&command);
                    if let Err(error) = (self.send)(room, command) {
                        tracing::warn!(room = room.0, %error, "the media engine did not take a command");
                        self.rooms.not_taken(asked);
                    }
                }
                Effect::Tell { peer, message } => self.tell(peer, message),
                Effect::Close { peer } => self.close(peer, Eviction::Out),
            }
        }
    }

    fn tell(&mut self, peer: PeerId, message: ServerMessage) {
        let Some(socket) = self.sockets.get(&peer) else { return };
        match socket.outbox.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::info!(peer = peer.0, "a socket does not read and is closed");
                self.close(peer, Eviction::SlowReader);
                self.rooms.leave(peer);
            }
            // The socket is gone; its own task says so.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    fn close(&mut self, peer: PeerId, why: Eviction) {
        if let Some(socket) = self.sockets.remove(&peer) {
            // An error here means that the socket's task has ended already.
            let _ = socket.evict.send(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::protocol::ErrorCode;

    fn start<T>(stop: impl Future<Output = T>) -> (HubHandle, Events, impl Future<Output = T>) {
        let (events, queue) = Events::channel();
        let (handle, task) = Hub::new(|_, _| Ok::<_, Infallible>(())).start(queue, stop);
        (handle, events, task)
    }

    #[tokio::test]
    async fn a_socket_that_does_not_read_is_closed_and_the_others_go_on() {
        let (hub, _events, task) = start(std::future::pending::<()>());
        tokio::spawn(task);
        let slow = hub.join("x".into()).await.unwrap().unwrap();
        let mut reader = hub.join("x".into()).await.unwrap().unwrap();
        for _ in 0..OUTBOX_MAX {
            hub.malformed(slow.peer, "nonsense".into()).await.unwrap();
        }
        assert_eq!(slow.evicted.await, Ok(Eviction::SlowReader));
        assert!(matches!(reader.outbox.recv().await, Some(ServerMessage::Welcome { .. })));
        let Some(ServerMessage::Participants { participants }) = reader.outbox.recv().await else {
            panic!("the others are told");
        };
        assert_eq!(participants.len(), 1);
        hub.malformed(reader.peer, "nonsense".into()).await.unwrap();
        let answer = reader.outbox.recv().await;
        assert!(matches!(answer, Some(ServerMessage::Error { code: ErrorCode::Malformed, .. })));
    }

    #[tokio::test]
    async fn when_the_hub_stops_sockets_are_let_go() {
        let (stop, stopping) = oneshot::channel::<()>();
        let (hub, _events, task) = start(async { drop(stopping.await) });
        let task = tokio::spawn(task);
        let joined = hub.join("x".into()).await.unwrap().unwrap();
        drop(stop);
        task.await.unwrap();
        assert!(joined.evicted.await.is_err());
        assert_eq!(hub.join("x".into()).await.err(), Some(Stopping));
    }
}
