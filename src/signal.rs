//! One WebSocket: JSON in, JSON out. It knows no rooms; the hub does.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::time::{Duration, Instant, timeout};
use vestibule_media_core::PeerId;

use crate::hub::{Eviction, HubHandle, Joined, Outbox};
use crate::protocol::ClientMessage;

/// Bytes of one message of a client.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Bytes that are read at all. Between the two bounds a message is read and refused, and the client is told why;
/// what is longer stays unread, and the connection may end with a reset.
const MESSAGE_BYTES_READ_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// Messages of one client per second, and how many it may have saved up.
const MESSAGES_PER_SECOND: f64 = 20.0;
const MESSAGES_SAVED_MAX: f64 = 60.0;
/// How long a closed socket may take to read what it was told last, and to answer the close.
const FAREWELL: Duration = Duration::from_secs(2);

/// The room asked for.
#[derive(Deserialize)]
pub(crate) struct JoinQuery {
    room: String,
}

/// `GET /signal?room=NAME`.
pub(crate) async fn upgrade(
    State(hub): State<HubHandle>,
    Query(query): Query<JoinQuery>,
    headers: HeaderMap,
    socket: WebSocketUpgrade,
) -> Response {
    if !is_same_origin(&headers) {
        return (StatusCode::FORBIDDEN, "only this server's own page may connect").into_response();
    }
    let socket = socket.max_message_size(MESSAGE_BYTES_READ_MAX).max_frame_size(MESSAGE_BYTES_READ_MAX);
    match hub.join(query.room).await {
        Ok(Ok(joined)) => {
            let peer = joined.peer;
            let failed = hub.clone();
            socket
                .on_failed_upgrade(move |_| {
                    tokio::spawn(async move { failed.left(peer).await });
                })
                .on_upgrade(move |socket| serve(socket, hub, joined))
        }
        Ok(Err(error)) => {
            socket.on_upgrade(move |socket| refuse(socket, close_code::POLICY, error.to_string()))
        }
        Err(error) => socket.on_upgrade(move |socket| refuse(socket, close_code::AWAY, error.to_string())),
    }
}

/// Closes with the reason: of a handshake that failed, browsers tell their pages nothing.
async fn refuse(socket: WebSocket, code: u16, reason: String) {
    let (mut sink, mut stream) = socket.split();
    let frame = CloseFrame { code, reason: reason.into() };
    // In vain if the other side is gone.
    let _ = timeout(FAREWELL, say_goodbye(&mut sink, &mut stream, frame)).await;
}

/// Sends the close and reads on until it is answered: data left unread makes the kernel reset the connection, and the
/// client loses the close with its reason.
async fn say_goodbye(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    frame: CloseFrame,
) {
    // The other side may be gone already.
    let _ = sink.send(Message::Close(Some(frame))).await;
    while let Some(Ok(_)) = stream.next().await {}
}

/// A page of another site must not speak for the person in front of it. Programs that are no browser send no Origin.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

async fn serve(socket: WebSocket, hub: HubHandle, joined: Joined) {
    let Joined { peer, mut outbox, mut evicted } = joined;
    let (mut sink, mut stream) = socket.split();
    let close = tokio::select! {
        biased;
        eviction = &mut evicted => Some(match eviction {
            Ok(Eviction::SlowReader) => (close_code::POLICY, "you did not read what you were sent"),
            Ok(Eviction::Out) => (close_code::NORMAL, "the call is over"),
            Err(_) => (close_code::AWAY, "the server is stopping"),
        }),
        close = read(&mut stream, &hub, peer) => close,
        () = write(&mut sink, &mut outbox) => None,
    };
    // If the hub is gone, so is the participant.
    let _ = hub.left(peer).await;
    let farewell = async {
        outbox.close();
        write(&mut sink, &mut outbox).await;
        let (code, reason) = close.unwrap_or((close_code::NORMAL, ""));
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        say_goodbye(&mut sink, &mut stream, frame).await;
    };
    let _ = timeout(FAREWELL, farewell).await;
}

/// Hands what the client says to the hub until it stops; then, the reason to close with.
async fn read(
    stream: &mut SplitStream<WebSocket>,
    hub: &HubHandle,
    peer: PeerId,
) -> Option<(u16, &'static str)> {
    let mut allowance = Allowance::new();
    while let Some(message) = stream.next().await {
        let text = match message {
            Ok(Message::Text(text)) if text.len() > MESSAGE_BYTES_MAX => {
                return Some((close_code::SIZE, "that message was too long"));
            }
            Ok(Message::Text(text)) => text,
            Ok(Message::Binary(_)) => return Some((close_code::UNSUPPORTED, "text messages only")),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(Message::Close(_)) => return None,
            Err(error) => {
                tracing::debug!(peer = peer.0, %error, "a socket failed");
                return Some((close_code::SIZE, "that message was far too long, or no WebSocket message"));
            }
        };
        if !allowance.take() {
            return Some((close_code::POLICY, "too many messages"));
        }
        let handed = match serde_json::from_str::<ClientMessage>(&text) {
            Ok(message) => hub.message(peer, message).await,
            Err(error) => hub.malformed(peer, error.to_string()).await,
        };
        if handed.is_err() {
            return Some((close_code::AWAY, "the server is stopping"));
        }
    }
    None
}

/// Sends what the hub says until it says no more, or the socket fails.
async fn write(sink: &mut SplitSink<WebSocket, Message>, outbox: &mut Outbox) {
    while let Some(message) = outbox.recv().await {
        let text = match serde_json::to_string(&message) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(%error, "a message could not be written");
                continue;
            }
        };
        if sink.send(Message::Text(text.into())).await.is_err() {
            return;
        }
    }
}

/// A token bucket.
struct Allowance {
    saved: f64,
    at: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { saved: MESSAGES_SAVED_MAX, at: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * MESSAGES_PER_SECOND;
        self.saved = (self.saved + earned).min(MESSAGES_SAVED_MAX);
        self.at = now;
        if self.saved < 1.0 {
            return false;
        }
        self.saved -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_sites_page_may_not_connect() {
        let headers = |pairs: &[(header::HeaderName, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        assert!(is_same_origin(&headers(&[(header::HOST, "a:1")])));
        assert!(is_same_origin(&headers(&[(header::HOST, "a:1"), (header::ORIGIN, "http://a:1")])));
        assert!(!is_same_origin(&headers(&[(header::HOST, "a:1"), (header::ORIGIN, "http://b:1")])));
        assert!(!is_same_origin(&headers(&[(header::HOST, "a:1"), (header::ORIGIN, "null")])));
        assert!(!is_same_origin(&headers(&[(header::ORIGIN, "http://a:1")])));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_over_the_rate_are_refused() {
        let mut allowance = Allowance::new();
        assert!((0..60).all(|_| allowance.take()));
        assert!(!allowance.take());
        tokio::time::advance(Duration::from_millis(60)).await;
        assert!(allowance.take());
        assert!(!allowance.take());
    }
}
