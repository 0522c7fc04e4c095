//! Janus's WebSocket API as its own JavaScript client speaks it: one session per socket, one handle per peer
//! connection, requests answered by transaction, events told apart by the handle that sends them. Of the plugins only
//! the videoroom is known here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

use crate::server::{Net, ServerError, Socket};

/// Janus ends a session that asked for nothing for 60 s; its JavaScript client asks every 25 s.
const KEEPALIVE: Duration = Duration::from_secs(25);
/// A server that takes longer to answer is as good as gone.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(20);
const PLUGIN: &str = "janus.plugin.videoroom";

/// An offer or an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Jsep {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) sdp: String,
    /// Janus takes the first rid for the highest encoding unless it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    rid_order: Option<String>,
}

impl Jsep {
    /// An offer whose rids begin with the lowest encoding.
    pub(super) fn offer(sdp: String) -> Self {
        Self { kind: "offer".into(), sdp, rid_order: Some("lmh".into()) }
    }

    pub(super) fn answer(sdp: String) -> Self {
        Self { kind: "answer".into(), sdp, rid_order: None }
    }
}

/// What the videoroom says, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RoomReply {
    /// The participant's own id, after a join.
    pub(super) id: Option<u64>,
    error_code: Option<u32>,
    error: Option<String>,
}

/// An answer, or an event that nobody asked for.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) room: RoomReply,
    pub(super) jsep: Option<Jsep>,
}

/// What a handle hears without having asked.
#[derive(Debug)]
pub(super) enum HandleEvent {
    /// ICE and DTLS are through, Janus says.
    Up,
    /// Janus gave the peer connection up.
    HungUp {
        /// Janus's own words.
        reason: String,
    },
    /// The plugin says something: of interest is a new offer.
    Room(Told),
}

#[derive(Debug, Deserialize)]
struct Incoming {
    janus: String,
    transaction: Option<String>,
    sender: Option<u64>,
    data: Option<Created>,
    plugindata: Option<PluginData>,
    jsep: Option<Jsep>,
    error: Option<Refusal>,
    reason: Option<String>,
    version_string: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Created {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct PluginData {
    data: RoomReply,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: u32,
    reason: String,
}

/// An answer, with what only some have.
struct Answered {
    /// Of what was created.
    id: Option<u64>,
    /// Of the server.
    version: Option<String>,
    told: Told,
}

type Answer = Result<Answered, ServerError>;

enum Command {
    Ask { request: Value, answer: oneshot::Sender<Answer> },
    Listen { handle: u64, events: mpsc::UnboundedSender<HandleEvent> },
}

/// One session over a WebSocket of its own; it ends with the last clone and the last handle.
#[derive(Clone)]
pub(super) struct Session {
    commands: mpsc::UnboundedSender<Command>,
    id: u64,
}

impl Session {
    pub(super) async fn connect(net: &Net) -> Result<Self, ServerError> {
        let socket = net.socket("/", Some("janus-protocol")).await?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let session = Arc::new(AtomicU64::new(0));
        tokio::spawn(serve(socket, inbox, session.clone()));
        let id = ask(&commands, json!({ "janus": "create" })).await?.id;
        let id = id.ok_or_else(|| incomplete("a session without an id"))?;
        session.store(id, Ordering::Relaxed);
        Ok(Self { commands, id })
    }

    /// The server's version, as it says itself.
    pub(super) async fn version(&self) -> Result<Option<String>, ServerError> {
        Ok(ask(&self.commands, json!({ "janus": "info" })).await?.version)
    }

    /// A handle of the videoroom, for one peer connection.
    pub(super) async fn attach(&self) -> Result<Handle, ServerError> {
        let request = json!({ "janus": "attach", "session_id": self.id, "plugin": PLUGIN });
        let id = ask(&self.commands, request).await?.id;
        let id = id.ok_or_else(|| incomplete("a handle without an id"))?;
        let (sender, events) = mpsc::unbounded_channel();
        // Before the first request through the handle, so no event of it is missed.
        let _ = self.commands.send(Command::Listen { handle: id, events: sender });
        Ok(Handle { requests: Requests { session: self.clone(), id }, events })
    }
}

/// One handle: its requests and its events.
pub(super) struct Handle {
    pub(super) requests: Requests,
    pub(super) events: mpsc::UnboundedReceiver<HandleEvent>,
}

/// The asking half of a handle.
#[derive(Clone)]
pub(super) struct Requests {
    session: Session,
    id: u64,
}

impl Requests {
    /// Sends a request to the videoroom and waits for what it says to it.
    pub(super) async fn message(&self, body: Value, jsep: Option<Jsep>) -> Result<Told, ServerError> {
        let mut request =
            json!({ "janus": "message", "session_id": self.session.id, "handle_id": self.id, "body": body });
        if let Some(jsep) = jsep {
            request["jsep"] = json!(jsep);
        }
        Ok(ask(&self.session.commands, request).await?.told)
    }
}

async fn ask(commands: &mpsc::UnboundedSender<Command>, request: Value) -> Answer {
    let (answer, answered) = oneshot::channel();
    commands.send(Command::Ask { request, answer }).map_err(|_| gone())?;
    tokio::time::timeout(ANSWER_DURATION_MAX, answered)
        .await
        .map_err(|_| ServerError::Late("an answer of Janus"))?
        .unwrap_or_else(|_| Err(gone()))
}

/// The life of one socket: ends when nobody holds the session any more, or when Janus ends it.
async fn serve(mut socket: Socket, mut commands: mpsc::UnboundedReceiver<Command>, session: Arc<AtomicU64>) {
    let mut desk = Desk::default();
    let mut keepalive = tokio::time::interval_at(tokio::time::Instant::now() + KEEPALIVE, KEEPALIVE);
    loop {
        let outgoing = tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Ask { request, answer }) => desk.ask(request, answer),
                Some(Command::Listen { handle, events }) => {
                    desk.listeners.insert(handle, events);
                    continue;
                }
                None => break,
            },
            _ = keepalive.tick() => {
                let (unread, _) = oneshot::channel();
                let id = session.load(Ordering::Relaxed);
                desk.ask(json!({ "janus": "keepalive", "session_id": id }), unread)
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(incoming) = serde_json::from_str(&text) {
                        desk.hear(incoming);
                    }
                    continue;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        if socket.send(Message::text(outgoing)).await.is_err() {
            return;
        }
    }
    let id = session.load(Ordering::Relaxed);
    let farewell = json!({ "janus": "destroy", "session_id": id, "transaction": "end" });
    // Nobody waits for it: a socket that ends says the same.
    let _ = socket.send(Message::text(farewell.to_string())).await;
    let _ = socket.close(None).await;
}

/// Which answers are awaited, and who listens to which handle.
#[derive(Default)]
struct Desk {
    transaction_last: u64,
    awaited: HashMap<u64, Awaited>,
    listeners: HashMap<u64, mpsc::UnboundedSender<HandleEvent>>,
}

struct Awaited {
    /// For the words of an error.
    what: String,
    /// Whether the plugin takes it first and answers later.
    is_message: bool,
    answer: oneshot::Sender<Answer>,
}

impl Desk {
    /// Notes a request; what is to be sent of it.
    fn ask(&mut self, mut request: Value, answer: oneshot::Sender<Answer>) -> String {
        self.transaction_last += 1;
        request["transaction"] = json!(self.transaction_last.to_string());
        let verb = request["janus"].as_str().unwrap_or_default();
        let is_message = verb == "message";
        let what = request["body"]["request"].as_str().unwrap_or(verb).to_owned();
        self.awaited.insert(self.transaction_last, Awaited { what, is_message, answer });
        request.to_string()
    }

    /// Hands on what Janus says.
    fn hear(&mut self, incoming: Incoming) {
        let room = incoming.plugindata.map(|plugin| plugin.data).unwrap_or_default();
        let told = Told { room, jsep: incoming.jsep };
        let id = incoming.data.map(|created| created.id);
        let asked = incoming.transaction.and_then(|transaction| transaction.parse().ok());
        let asked = asked.filter(|asked| self.awaited.contains_key(asked));
        match (incoming.janus.as_str(), asked) {
            // The plugin took the request; its own answer follows.
            ("ack", Some(asked)) if self.awaited[&asked].is_message => {}
            ("ack" | "success" | "server_info" | "error" | "event", Some(asked)) => {
                let Some(awaited) = self.awaited.remove(&asked) else { return };
                let version = incoming.version_string;
                let answer =
                    accepted(awaited.what, incoming.error, told).map(|told| Answered { id, version, told });
                // Whoever asked may have given up.
                let _ = awaited.answer.send(answer);
            }
            ("event", None) => self.tell(incoming.sender, HandleEvent::Room(told)),
            ("webrtcup", _) => self.tell(incoming.sender, HandleEvent::Up),
            ("hangup", _) => {
                let reason = incoming.reason.unwrap_or_default();
                self.tell(incoming.sender, HandleEvent::HungUp { reason });
            }
            // 'media' and 'slowlink' say what the receivers measure themselves.
            _ => {}
        }
    }

    fn tell(&self, sender: Option<u64>, event: HandleEvent) {
        if let Some(listener) = sender.and_then(|sender| self.listeners.get(&sender)) {
            let _ = listener.send(event);
        }
    }
}

fn accepted(what: String, refusal: Option<Refusal>, told: Told) -> Result<Told, ServerError> {
    let (code, reason) = match (refusal, told.room.error_code) {
        (None, None) => return Ok(told),
        (Some(Refusal { code, reason }), _) => (code, reason),
        (None, Some(code)) => (code, told.room.error.unwrap_or_default()),
    };
    Err(ServerError::Refused { what, code: format!("{reason} ({code})") })
}

fn incomplete(what: &str) -> ServerError {
    ServerError::Protocol(what.to_owned())
}

fn gone() -> ServerError {
    ServerError::Closed("Janus ended the WebSocket".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked, and where its answer comes.
    fn ask(desk: &mut Desk, request: Value) -> (Value, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        (serde_json::from_str(&desk.ask(request, answer)).unwrap(), answered)
    }

    fn hear(desk: &mut Desk, incoming: Value) {
        desk.hear(serde_json::from_value(incoming).unwrap());
    }

    fn plugin(data: Value) -> Value {
        json!({ "plugin": PLUGIN, "data": data })
    }

    #[test]
    fn a_plugins_answer_follows_its_ack() {
        let mut desk = Desk::default();
        let join = json!({ "janus": "message", "body": { "request": "join" } });
        let (asked, mut answered) = ask(&mut desk, join);
        let transaction = &asked["transaction"];
        hear(&mut desk, json!({ "janus": "ack", "transaction": transaction }));
        assert!(answered.try_recv().is_err());
        hear(
            &mut desk,
            json!({ "janus": "event", "sender": 7, "transaction": transaction,
            "plugindata": plugin(json!({ "videoroom": "joined", "id": 42 })),
            "jsep": { "type": "answer", "sdp": "v=0" } }),
        );
        let told = answered.try_recv().unwrap().unwrap().told;
        assert_eq!((told.room.id, told.jsep.unwrap().sdp.as_str()), (Some(42), "v=0"));
    }

    #[test]
    fn a_keepalive_is_done_with_its_ack() {
        let mut desk = Desk::default();
        let (asked, _) = ask(&mut desk, json!({ "janus": "keepalive" }));
        hear(&mut desk, json!({ "janus": "ack", "transaction": asked["transaction"] }));
        assert!(desk.awaited.is_empty());
    }

    #[test]
    fn a_refusal_says_of_what_and_why() {
        let mut desk = Desk::default();
        let join = json!({ "janus": "message", "body": { "request": "join" } });
        let (asked, mut answered) = ask(&mut desk, join);
        hear(
            &mut desk,
            json!({ "janus": "event", "transaction": asked["transaction"],
            "plugindata": plugin(json!({ "videoroom": "event", "error_code": 428, "error": "No such feed" })) }),
        );
        let error = answered.try_recv().unwrap().err().unwrap();
        assert_eq!(error.to_string(), "join: No such feed (428)");
        let (asked, mut answered) = ask(&mut desk, json!({ "janus": "attach" }));
        hear(
            &mut desk,
            json!({ "janus": "error", "transaction": asked["transaction"],
            "error": { "code": 458, "reason": "No such session" } }),
        );
        let error = answered.try_recv().unwrap().err().unwrap();
        assert_eq!(error.to_string(), "attach: No such session (458)");
    }

    #[test]
    fn events_go_to_the_handle_that_sends_them() {
        let mut desk = Desk::default();
        let (sender, mut events) = mpsc::unbounded_channel();
        desk.listeners.insert(7, sender);
        for of in [8, 7] {
            hear(&mut desk, json!({ "janus": "webrtcup", "sender": of }));
        }
        hear(&mut desk, json!({ "janus": "slowlink", "sender": 7, "uplink": true }));
        hear(
            &mut desk,
            json!({ "janus": "event", "sender": 7, "plugindata": plugin(json!({ "videoroom": "updated" })),
            "jsep": { "type": "offer", "sdp": "v=0" } }),
        );
        hear(&mut desk, json!({ "janus": "hangup", "sender": 7, "reason": "DTLS alert" }));
        assert!(matches!(events.try_recv().unwrap(), HandleEvent::Up));
        let HandleEvent::Room(told) = events.try_recv().unwrap() else { panic!("an offer") };
        assert_eq!(told.jsep.unwrap().kind, "offer");
        assert!(
            matches!(events.try_recv().unwrap(), HandleEvent::HungUp { reason } if reason == "DTLS alert")
        );
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn an_offer_says_which_rid_is_the_lowest() {
        assert_eq!(json!(Jsep::offer("v=0".into()))["rid_order"], "lmh");
        assert_eq!(json!(Jsep::answer("v=0".into())), json!({ "type": "answer", "sdp": "v=0" }));
    }
}
