//! `GET /v1/signal`: one WebSocket, JSON in, JSON out. It knows no sessions; the registry does.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, interval_at, timeout};
use vestibule_signaling::CloseReason;
use vestibule_signaling::wire::{
    ClientMessage, ErrorCode, Frame, MESSAGE_BYTES_MAX, Numbered, RequestId, SUBPROTOCOL, ServerMessage,
};

use super::origin::Origin;
use super::problem::ApiError;
use crate::app::App;
use crate::clock;
use crate::live::{Closing, Seated, Voice};

/// Bytes that are read at all. Between the two bounds a message is read and refused, and the client is told why;
/// what is longer stays unread, and the connection may end with a reset.
const MESSAGE_BYTES_READ_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// Messages of one client per second, and how many it may have saved up.
const MESSAGES_PER_SECOND: f64 = 20.0;
const MESSAGES_SAVED_MAX: f64 = 60.0;
/// How long a socket may take to say `hello`.
const HELLO: Duration = Duration::from_secs(5);
/// How often a socket is asked for a sign of life: every WebSocket answers a ping by itself (RFC 6455, section 5.5.2).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After this long without a sign a line is dead, though nobody closed it.
const SILENCE: Duration = Duration::from_secs(40);
/// How long a closed socket may take to read what it was told last, and to answer the close.
const FAREWELL: Duration = Duration::from_secs(2);
/// The close code after `superseded`.
const CLOSE_SUPERSEDED: u16 = 4001;

type Sink = SplitSink<WebSocket, Message>;
type Incoming = SplitStream<WebSocket>;
/// Code and reason of a close.
type Close = (u16, &'static str);

/// `GET /v1/signal`.
pub(crate) async fn upgrade(
    State(app): State<App>,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    // Programs that are no browser say none.
    if Origin::of(&headers, &app.origin) == Origin::Others {
        return Err(ApiError::OtherOrigin);
    }
    let socket = socket.map_err(|error| ApiError::NoHandshake(error.body_text()))?;
    Ok(socket
        .protocols([SUBPROTOCOL])
        .max_message_size(MESSAGE_BYTES_READ_MAX)
        .max_frame_size(MESSAGE_BYTES_READ_MAX)
        .on_upgrade(move |socket| serve(socket, app)))
}

async fn serve(socket: WebSocket, app: App) {
    let speaks_our_protocol = socket.protocol().is_some_and(|protocol| protocol == SUBPROTOCOL);
    let (sink, mut stream) = socket.split();
    let mut speaker = Speaker { sink, seq: 0 };
    let close = if speaks_our_protocol {
        let mut allowance = Allowance::new();
        match greet(&app, &mut speaker, &mut stream, &mut allowance).await {
            Ok(seated) => converse(seated, &mut speaker, &mut stream, &mut allowance).await,
            Err(close) => close,
        }
    } else {
        Some((close_code::PROTOCOL, "speak the subprotocol vestibule.v1"))
    };
    // In vain if the other side is gone.
    let _ = timeout(FAREWELL, say_goodbye(speaker.sink, stream, close)).await;
}

/// Waits for a `hello` with a good ticket; `Err` is how to close.
async fn greet(
    app: &App,
    speaker: &mut Speaker,
    stream: &mut Incoming,
    allowance: &mut Allowance,
) -> Result<Seated, Option<Close>> {
    let heard = timeout(HELLO, hear(stream, allowance)).await;
    let text = match heard {
        Err(_) => return Err(Some((close_code::POLICY, "no hello within 5 seconds"))),
        Ok(Heard::Text(text)) => text,
        Ok(Heard::End(close)) => return Err(close),
    };
    let (request, ticket) = match Frame::parse(&text) {
        Ok(Frame { id, message: ClientMessage::Hello { ticket } }) => (id, ticket),
        Ok(Frame { id, .. }) => {
            let why = "the first message is hello".into();
            return Err(refuse(speaker, id, ErrorCode::HelloExpected, why).await);
        }
        Err(error) => {
            return Err(refuse(speaker, error.id, ErrorCode::Malformed, error.to_string()).await);
        }
    };
    let Some(admission) = app.tickets.redeem(clock::now(), &ticket) else {
        let why = "this ticket is not of this server, was used before, or is older than a minute".into();
        return Err(refuse(speaker, request, ErrorCode::TicketInvalid, why).await);
    };
    let seated = app.registry.hello(admission.session, admission.participant, admission.epoch, request).await;
    match seated {
        Ok(seated) => Ok(seated),
        Err(error) => Err(refuse(speaker, request, ErrorCode::StoreUnavailable, error.to_string()).await),
    }
}

async fn refuse(
    speaker: &mut Speaker,
    reply_to: Option<RequestId>,
    code: ErrorCode,
    message: String,
) -> Option<Close> {
    let retryable = code.is_retryable();
    speaker.say(&ServerMessage::Error { code, message, retryable, reply_to }).await.ok()?;
    Some((close_code::POLICY, "not let in"))
}

/// Carries messages both ways until one side is done; then, how to close.
async fn converse(
    seated: Seated,
    speaker: &mut Speaker,
    stream: &mut Incoming,
    allowance: &mut Allowance,
) -> Option<Close> {
    let Seated { voice, mut outbox, mut closing } = seated;
    let close = tokio::select! {
        biased;
        closing = &mut closing => Some(match closing {
            Ok(Closing::Told(CloseReason::Over)) => (close_code::NORMAL, "over"),
            Ok(Closing::Told(CloseReason::Superseded)) => (CLOSE_SUPERSEDED, "joined elsewhere"),
            Ok(Closing::Told(CloseReason::NotLetIn)) => (close_code::POLICY, "not let in"),
            Ok(Closing::Told(CloseReason::TryAgain)) => (close_code::AGAIN, "try again"),
            Ok(Closing::SlowReader) => (close_code::POLICY, "you did not read what you were sent"),
            Err(_) => (close_code::AWAY, "the server is stopping"),
        }),
        close = listen(stream, allowance, &voice) => close,
        () = speak(speaker, &mut outbox) => None,
    };
    voice.gone().await;
    let last_words = async {
        outbox.close();
        speak(speaker, &mut outbox).await;
    };
    // What it does not read now, it does not get.
    let _ = timeout(FAREWELL, last_words).await;
    close
}

/// Hands what the client says to the session until it stops; then, how to close.
async fn listen(stream: &mut Incoming, allowance: &mut Allowance, voice: &Voice) -> Option<Close> {
    loop {
        let text = match hear(stream, allowance).await {
            Heard::Text(text) => text,
            Heard::End(close) => return close,
        };
        if !voice.say(Frame::parse(&text)).await {
            return Some((close_code::AWAY, "the server is stopping"));
        }
    }
}

/// What comes next on a socket.
enum Heard {
    Text(Utf8Bytes),
    /// Nothing more; how to close.
    End(Option<Close>),
}

async fn hear<S>(stream: &mut S, allowance: &mut Allowance) -> Heard
where
    S: Stream<Item = Result<Message, axum::Error>> + Unpin,
{
    loop {
        let Ok(next) = timeout(SILENCE, stream.next()).await else {
            return Heard::End(Some((close_code::AWAY, "nothing was heard from you")));
        };
        let text = match next {
            None | Some(Ok(Message::Close(_))) => return Heard::End(None),
            Some(Ok(Message::Text(text))) if text.len() > MESSAGE_BYTES_MAX => {
                return Heard::End(Some((close_code::SIZE, "that message was too long")));
            }
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => {
                return Heard::End(Some((close_code::UNSUPPORTED, "text messages only")));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                if !allowance.take() {
                    return Heard::End(Some((close_code::POLICY, "too many messages")));
                }
                continue;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a socket failed");
                return Heard::End(Some((
                    close_code::SIZE,
                    "that message was far too long, or no WebSocket message",
                )));
            }
        };
        if !allowance.take() {
            return Heard::End(Some((close_code::POLICY, "too many messages")));
        }
        return Heard::Text(text);
    }
}

/// Sends what the session says until it says no more, or the socket fails; asks for signs of life in between.
async fn speak(speaker: &mut Speaker, outbox: &mut mpsc::Receiver<ServerMessage>) {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let said = tokio::select! {
            biased;
            message = outbox.recv() => match message {
                Some(message) => speaker.say(&message).await,
                None => return,
            },
            _ = heartbeat.tick() => speaker.sink.send(Message::Ping(Bytes::new())).await,
        };
        if said.is_err() {
            return;
        }
    }
}

/// The sending half, which numbers what it sends.
struct Speaker {
    sink: Sink,
    seq: u64,
}

impl Speaker {
    async fn say(&mut self, message: &ServerMessage) -> Result<(), axum::Error> {
        self.seq += 1;
        let text = serde_json::to_string(&Numbered { seq: self.seq, message }).map_err(axum::Error::new)?;
        self.sink.send(Message::Text(text.into())).await
    }
}

/// Sends the close and reads on until it is answered: data left unread makes the kernel reset the connection, and the
/// client loses the close with its reason.
async fn say_goodbye(mut sink: Sink, mut stream: Incoming, close: Option<Close>) {
    let (code, reason) = close.unwrap_or((close_code::NORMAL, ""));
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    // The other side may be gone already.
    let _ = sink.send(Message::Close(Some(frame))).await;
    while let Some(Ok(_)) = stream.next().await {}
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

    #[tokio::test(start_paused = true)]
    async fn a_line_that_nobody_closed_is_known_to_be_dead_by_its_silence() {
        let begun = Instant::now();
        let mut silent = futures_util::stream::pending();
        let heard = hear(&mut silent, &mut Allowance::new()).await;
        assert!(matches!(heard, Heard::End(Some((close_code::AWAY, _)))));
        assert_eq!(begun.elapsed(), SILENCE);
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
