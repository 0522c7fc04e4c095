//! LiveKit's signaling: one WebSocket, on it the messages of its `SignalRequest` and `SignalResponse` in protobuf's
//! JSON form, as text frames. Only what joining, publishing and subscribing takes is known here.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::Kind;
use crate::server::streams::Planned;
use crate::server::{Net, ServerError, Socket};

/// LiveKit tells its clients to ping this often, and gives them up after three times that.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The version of the signaling protocol: two peer connections, `pingReq`, candidates by trickle.
const PROTOCOL: u32 = 9;

/// An offer or an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Description {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) sdp: String,
}

/// Which of the two peer connections a candidate is for; protobuf leaves the first out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Target {
    #[default]
    Publisher,
    Subscriber,
}

/// A candidate, as `RTCIceCandidateInit` in JSON inside the message.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trickle {
    pub(super) candidate_init: String,
    #[serde(default)]
    pub(super) target: Target,
}

/// The part of `candidate_init` that counts.
#[derive(Debug, Deserialize)]
pub(super) struct CandidateInit {
    pub(super) candidate: String,
}

/// A track to be published.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AddTrack {
    /// The client's id of the track, as in the offer's msid.
    pub(super) cid: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: TrackType,
    pub(super) source: TrackSource,
}

impl AddTrack {
    /// Of the streams of a microphone or a camera.
    pub(super) fn new(cid: String, streams: &[Planned]) -> Self {
        let (kind, source) = match streams.first().map(Planned::kind) {
            Some(Kind::Video) => (TrackType::Video, TrackSource::Camera),
            _ => (TrackType::Audio, TrackSource::Microphone),
        };
        Self { name: cid.clone(), cid, kind, source }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum TrackType {
    Audio,
    Video,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum TrackSource {
    Camera,
    Microphone,
}

/// What the tester says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Request {
    Offer(Description),
    Answer(Description),
    AddTrack(AddTrack),
    PingReq(Ping),
    Leave(Leave),
}

#[derive(Debug, Serialize)]
pub(super) struct Ping {
    /// Milliseconds since 1970; 64-bit integers are strings in protobuf's JSON.
    timestamp: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Leave {}

/// What the server says, as far as it matters; of one message one field is there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Response {
    pub(super) offer: Option<Description>,
    pub(super) answer: Option<Description>,
    pub(super) trickle: Option<Trickle>,
    pub(super) track_published: Option<serde_json::Value>,
    pub(super) leave: Option<serde_json::Value>,
}

/// The two ends of a signaling socket; it ends when this is dropped.
pub(super) struct Signal {
    requests: mpsc::UnboundedSender<Request>,
    pub(super) responses: mpsc::UnboundedReceiver<Response>,
}

impl Signal {
    /// Joins the room of the token.
    pub(super) async fn connect(net: &Net, token: &str) -> Result<Self, ServerError> {
        let path = format!("/rtc?access_token={token}&auto_subscribe=1&protocol={PROTOCOL}");
        let socket = net.socket(&path, None).await?;
        let (requests, inbox) = mpsc::unbounded_channel();
        let (outbox, responses) = mpsc::unbounded_channel();
        tokio::spawn(serve(socket, inbox, outbox));
        Ok(Self { requests, responses })
    }

    pub(super) fn send(&self, request: Request) -> Result<(), ServerError> {
        let ended = |_| ServerError::Closed("LiveKit ended the WebSocket".to_owned());
        self.requests.send(request).map_err(ended)
    }
}

async fn serve(
    mut socket: Socket,
    mut requests: mpsc::UnboundedReceiver<Request>,
    responses: mpsc::UnboundedSender<Response>,
) {
    // The first goes at once: its text frame is what makes the server speak JSON too.
    let mut ping = tokio::time::interval(PING_INTERVAL);
    loop {
        let request = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => break,
            },
            _ = ping.tick() => Request::PingReq(ping_now()),
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(response) = serde_json::from_str(&text) {
                        let _ = responses.send(response);
                    }
                    continue;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // A join in protobuf's binary form, from a server that had not heard JSON yet, tells nothing we need.
                Some(Ok(_)) => continue,
            },
        };
        if send(&mut socket, &request).await.is_err() {
            return;
        }
    }
    let _ = send(&mut socket, &Request::Leave(Leave {})).await;
    let _ = socket.close(None).await;
}

async fn send(socket: &mut Socket, request: &Request) -> Result<(), tungstenite::Error> {
    // Nothing in it can fail: strings and enums.
    let text = serde_json::to_string(request).unwrap_or_default();
    socket.send(Message::text(text)).await
}

fn ping_now() -> Ping {
    Ping { timestamp: super::since_1970().as_millis().to_string() }
}
