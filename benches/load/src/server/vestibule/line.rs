//! A participant's socket, over all the sockets they have one after another: a task that owns it.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::media::Negotiation;
use super::signaling::{Effect, Signaling};
use super::wire::{SIGNAL, SUBPROTOCOL, Say};
use crate::server::{Admission, Net, ServerError, Socket};

/// How often the server is told what arrived; the SDK does it as often.
const PING: Duration = Duration::from_secs(10);
/// How long is waited for the reply to a farewell.
const FAREWELL: Duration = Duration::from_secs(5);

type Reply = oneshot::Sender<Result<(), ServerError>>;

/// A participant's signaling. When it is dropped, they leave.
pub(super) struct Line {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
}

#[derive(Clone, Debug, Default)]
struct Status {
    is_in: bool,
    over: Option<ServerError>,
}

enum Command {
    Admit(Reply),
    Cut,
    Resume(Reply),
    Leave { ends: bool, reply: Reply },
}

impl Line {
    /// Opens a socket with a ticket. Offer and answer follow by themselves.
    pub(super) async fn open(
        net: Net,
        ticket: String,
        admission: Admission,
        media: Negotiation,
    ) -> Result<Self, ServerError> {
        let signaling = Signaling::new(ticket, admission);
        let mut socket = net.socket(SIGNAL, Some(SUBPROTOCOL)).await?;
        socket.send(Message::text(signaling.hello())).await.map_err(|error| closed(&error))?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let (sender, status) = watch::channel(Status::default());
        let task = Task {
            net,
            socket: Some(socket),
            signaling,
            media,
            status: sender,
            waiting: Vec::new(),
            resuming: None,
        };
        tokio::spawn(task.run(receiver));
        Ok(Self { commands, status })
    }

    /// Waits until they are let in.
    pub(super) async fn let_in(&self) -> Result<(), ServerError> {
        self.until(|status| status.is_in.then_some(Ok(()))).await
    }

    /// Waits until it is over, and says why.
    pub(super) async fn over(&self) -> ServerError {
        let over = self.until(|status| status.over.clone().map(Ok)).await;
        over.unwrap_or_else(|error| error)
    }

    /// Why it is over, if it is.
    pub(super) fn failure(&self) -> Option<ServerError> {
        self.status.borrow().over.clone()
    }

    /// Lets in who waits longest.
    pub(super) async fn admit(&self) -> Result<(), ServerError> {
        self.ask(Command::Admit).await
    }

    /// The socket is gone without a word.
    pub(super) fn cut(&self) {
        // Who is gone already has no socket.
        let _ = self.commands.send(Command::Cut);
    }

    /// A fresh socket goes on where the last was cut.
    pub(super) async fn resume(&self) -> Result<(), ServerError> {
        self.ask(Command::Resume).await
    }

    /// Leaves, or ends the session for all; false if the server does not take it.
    pub(super) async fn leave(&self, ends: bool) -> bool {
        matches!(
            tokio::time::timeout(FAREWELL, self.ask(|reply| Command::Leave { ends, reply })).await,
            Ok(Ok(()))
        )
    }

    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), ServerError> {
        let (reply, answer) = oneshot::channel();
        let gone = || self.failure().unwrap_or_else(|| ServerError::Closed("it was left".to_owned()));
        self.commands.send(command(reply)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn until<T>(
        &self,
        what: impl Fn(&Status) -> Option<Result<T, ServerError>>,
    ) -> Result<T, ServerError> {
        let mut status = self.status.clone();
        loop {
            let now = status.borrow_and_update().clone();
            if let Some(found) = what(&now) {
                return found;
            }
            if let Some(over) = now.over {
                return Err(over);
            }
            if status.changed().await.is_err() {
                return Err(ServerError::Closed("it was left".to_owned()));
            }
        }
    }
}

struct Task {
    net: Net,
    socket: Option<Socket>,
    signaling: Signaling,
    media: Negotiation,
    status: watch::Sender<Status>,
    /// Who waits for the reply to which request.
    waiting: Vec<(u64, Reply)>,
    resuming: Option<Reply>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut pings = tokio::time::interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.tick().await;
        loop {
            let going = tokio::select! {
                frame = next(&mut self.socket) => self.frame(frame).await,
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => {
                        self.farewell().await;
                        return;
                    }
                },
                _ = pings.tick() => {
                    let ping = self.socket.is_some().then(|| self.signaling.ping());
                    self.send(ping).await
                }
            };
            if let Err(error) = going {
                self.end(&error);
                // Those who still ask are told that it is over, until nobody does.
                self.refuse_all(&mut commands, &error).await;
                return;
            }
        }
    }

    async fn frame(&mut self, frame: Option<Result<Message, ServerError>>) -> Result<(), ServerError> {
        match frame {
            Some(Ok(Message::Text(text))) => {
                for effect in self.signaling.hear(&text) {
                    self.follow(effect).await?;
                }
                Ok(())
            }
            Some(Ok(Message::Close(frame))) => Err(ServerError::Closed(close_words(frame.as_ref()))),
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error),
            None => Err(ServerError::Closed("without a word".to_owned())),
        }
    }

    async fn follow(&mut self, effect: Effect) -> Result<(), ServerError> {
        match effect {
            Effect::Send(text) => self.send(Some(text)).await,
            Effect::Offer(seats) => {
                let Some((sdp, negotiation)) = self.media.offer(seats) else { return Ok(()) };
                let (_, text) = self.signaling.ask(Say::Offer { sdp, negotiation });
                self.send(Some(text)).await
            }
            Effect::Answered(sdp) => {
                let is_first = self.media.answered(&sdp)?;
                if is_first {
                    for kind in self.media.publishes().into_iter().flatten() {
                        let (_, text) = self.signaling.ask(Say::Publish { kind, muted: false });
                        self.send(Some(text)).await?;
                    }
                }
                Ok(())
            }
            Effect::LetIn => {
                self.media.set_sending();
                self.status.send_modify(|status| status.is_in = true);
                Ok(())
            }
            Effect::Resumed => {
                if let Some(reply) = self.resuming.take() {
                    let _ = reply.send(Ok(()));
                }
                Ok(())
            }
            Effect::Replied { id, result } => {
                if let Some(index) = self.waiting.iter().position(|(asked, _)| *asked == id) {
                    let _ = self.waiting.swap_remove(index).1.send(result);
                }
                Ok(())
            }
            Effect::Over(error) => Err(error),
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), ServerError> {
        match command {
            Command::Admit(reply) => match self.signaling.admit() {
                Some((id, text)) => {
                    self.waiting.push((id, reply));
                    self.send(Some(text)).await
                }
                None => {
                    let _ = reply.send(Err(ServerError::Environment("nobody knocks".to_owned())));
                    Ok(())
                }
            },
            Command::Cut => {
                self.socket = None;
                Ok(())
            }
            Command::Resume(reply) => match self.net.socket(SIGNAL, Some(SUBPROTOCOL)).await {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.resuming = Some(reply);
                    let hello = self.signaling.hello();
                    self.send(Some(hello)).await
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                    Ok(())
                }
            },
            Command::Leave { ends, reply } => {
                let (id, text) = self.signaling.ask(if ends { Say::End } else { Say::Leave });
                self.waiting.push((id, reply));
                self.send(Some(text)).await
            }
        }
    }

    /// Sends, if there is a socket; without one it is said again once there is.
    async fn send(&mut self, text: Option<String>) -> Result<(), ServerError> {
        let (Some(socket), Some(text)) = (&mut self.socket, text) else { return Ok(()) };
        socket.send(Message::text(text)).await.map_err(|error| closed(&error))
    }

    /// Nobody asks any more: they leave, as well as it goes.
    async fn farewell(mut self) {
        let (_, text) = self.signaling.ask(Say::Leave);
        let leaving = async {
            self.send(Some(text)).await?;
            while let Some(Ok(message)) = next(&mut self.socket).await {
                if message.is_close() {
                    break;
                }
            }
            Ok::<_, ServerError>(())
        };
        let _ = tokio::time::timeout(FAREWELL, leaving).await;
    }

    fn end(&mut self, error: &ServerError) {
        self.socket = None;
        self.status.send_modify(|status| status.over = Some(error.clone()));
        let waiting = self.waiting.drain(..).map(|(_, reply)| reply).chain(self.resuming.take());
        for reply in waiting {
            let _ = reply.send(Err(error.clone()));
        }
    }

    async fn refuse_all(&self, commands: &mut mpsc::UnboundedReceiver<Command>, error: &ServerError) {
        while let Some(command) = commands.recv().await {
            let (Command::Admit(reply) | Command::Resume(reply) | Command::Leave { reply, .. }) = command
            else {
                continue;
            };
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// The next frame; never, while there is no socket.
async fn next(socket: &mut Option<Socket>) -> Option<Result<Message, ServerError>> {
    match socket {
        Some(socket) => socket.next().await.map(|frame| frame.map_err(|error| closed(&error))),
        None => std::future::pending().await,
    }
}

fn closed(error: &tokio_tungstenite::tungstenite::Error) -> ServerError {
    ServerError::Closed(error.to_string())
}

fn close_words(frame: Option<&CloseFrame>) -> String {
    frame.map_or_else(
        || "without a code".to_owned(),
        |frame| format!("{} {}", u16::from(frame.code), frame.reason),
    )
}
