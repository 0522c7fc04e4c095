//! `GET /v1/signal`: one WebSocket, JSON in, JSON out. It knows no sessions; the registry does.

use std::net::IpAddr;
use std::num::NonZeroU32;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Duration, Instant, interval_at, timeout};
use vestibule_domain::{ParticipantId, SessionId};
use vestibule_signaling::wire::{
    ClientMessage, Credentials, ErrorCode, Frame, MESSAGE_BYTES_MAX, RequestId, SUBPROTOCOL, ServerMessage,
};
use vestibule_signaling::{CloseReason, Entry};

use super::problem::ApiError;
use super::{address, origin};
use crate::app::App;
use crate::live::{Closing, Outbox, Outgoing, Seated, Voice};
use crate::{clock, resume};

/// Bytes that are read at all. Between the two bounds a message is read and refused, and the client is told why;
/// what is longer stays unread, and the connection may end with a reset.
const MESSAGE_BYTES_READ_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// What a socket holds on to while it waits, each way: most do little else, and there are many of them. What is longer gets
/// the room it takes.
const BUFFER_BYTES: usize = 4 * 1024;
/// Messages of one client per second, and how many may come at once.
const MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();
const MESSAGES_AT_ONCE: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// How long a socket may take to say `hello`.
const HELLO: Duration = Duration::from_secs(5);
/// How often a socket is asked for a sign of life: every WebSocket answers a ping by itself (RFC 6455, section 5.5.2).
const HEARTBEAT: Duration = Duration::from_secs(5);
/// After this long without a sign, three pings, a line is dead, though nobody closed it.
const SILENCE: Duration = Duration::from_secs(15);
/// How a socket is closed then.
const SILENT: Close = (close_code::AWAY, "nothing was heard from you");
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
    extensions: Extensions,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    if !origin::may_connect(&headers, &app.origin, &app.allowed_origins) {
        return Err(ApiError::OtherOrigin);
    }
    let from = address::of(&extensions);
    let socket = socket.map_err(|error| ApiError::NoHandshake(error.body_text()))?;
    Ok(socket
        .protocols([SUBPROTOCOL])
        .max_message_size(MESSAGE_BYTES_READ_MAX)
        .max_frame_size(MESSAGE_BYTES_READ_MAX)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .on_upgrade(move |socket| serve(socket, app, from)))
}

async fn serve(socket: WebSocket, app: App, from: Option<IpAddr>) {
    let speaks_our_protocol = socket.protocol().is_some_and(|protocol| protocol == SUBPROTOCOL);
    let (sink, mut stream) = socket.split();
    let mut speaker = Speaker { sink, app, from };
    let close = if speaks_our_protocol {
        let allowance = Allowance::new(DefaultClock::default());
        match Box::pin(greet(&mut speaker, &mut stream, &allowance)).await {
            Ok(seated) => converse(seated, &mut speaker, &mut stream, &allowance).await,
            Err(close) => close,
        }
    } else {
        Some((close_code::PROTOCOL, "speak the subprotocol vestibule.v1"))
    };
    // In vain if the other side is gone.
    let _ = timeout(FAREWELL, say_goodbye(speaker.sink, stream, close)).await;
}

/// Waits for a `hello` with a good ticket or a resume secret that may be one; `Err` is how to close.
async fn greet(
    speaker: &mut Speaker,
    stream: &mut Incoming,
    allowance: &Allowance,
) -> Result<Seated, Option<Close>> {
    let heard = timeout(HELLO, hear(stream, allowance)).await;
    let text = match heard {
        Err(_) => return Err(Some((close_code::POLICY, "no hello within 5 seconds"))),
        Ok(Heard::Text(text)) => text,
        Ok(Heard::End(close)) => return Err(close),
    };
    let (request, message) = match Frame::parse(&text) {
        Ok(Frame { id, message: message @ ClientMessage::Hello { .. } }) => (id, message),
        Ok(Frame { id, .. }) => {
            let why = Refusal(ErrorCode::HelloExpected, "the first message is hello".into());
            return Err(refuse(speaker, id, why).await);
        }
        Err(error) => {
            let why = Refusal(ErrorCode::Malformed, error.to_string());
            return Err(refuse(speaker, error.id, why).await);
        }
    };
    let app = speaker.app.clone();
    let entered = match whom(&app, message).await {
        Ok(Whom { session, participant, entry }) => {
            let seated = app.registry.hello(session, participant, entry, request).await;
            seated.map_err(|error| Refusal(ErrorCode::StoreUnavailable, error.to_string()))
        }
        Err(refusal) => Err(refusal),
    };
    match entered {
        Ok(seated) => Ok(seated),
        Err(refusal) => Err(refuse(speaker, request, refusal).await),
    }
}

/// Who comes, and what they showed.
struct Whom {
    session: SessionId,
    participant: ParticipantId,
    entry: Entry,
}

/// Why somebody is not even brought to a session.
struct Refusal(ErrorCode, String);

async fn whom(app: &App, hello: ClientMessage) -> Result<Whom, Refusal> {
    let credentials = hello.credentials().ok_or_else(|| {
        Refusal(ErrorCode::Malformed, "hello has a ticket, or a resume secret and what was heard".into())
    })?;
    match credentials {
        Credentials::Ticket(ticket) => {
            let admission = app.tickets.redeem(clock::now(), &ticket).ok_or_else(|| {
                let why = "this ticket is not of this server, was used before, or is older than a minute";
                Refusal(ErrorCode::TicketInvalid, why.into())
            })?;
            let entry = Entry::Ticket { epoch: admission.epoch, vouched: admission.vouched };
            Ok(Whom { session: admission.session, participant: admission.participant, entry })
        }
        Credentials::Resume { secret, incarnation, last_seq } => {
            let void = || {
                let why = "this secret is not of this server, or void; come by a ticket";
                Refusal(ErrorCode::ResumeInvalid, why.into())
            };
            let shown = resume::parse(&secret).map_err(|_| void())?;
            let (session, participant, key) = (shown.session, shown.participant, shown.key);
            match app.registry.may_resume(session, participant, key).await {
                Ok(true) => {
                    Ok(Whom { session, participant, entry: Entry::Resume { key, incarnation, last_seq } })
                }
                Ok(false) => Err(void()),
                Err(error) => {
                    tracing::error!(%error, "a resume secret could not be looked at");
                    let why = "the server cannot look at that now".into();
                    Err(Refusal(ErrorCode::StoreUnavailable, why))
                }
            }
        }
    }
}

async fn refuse(
    speaker: &mut Speaker,
    reply_to: Option<RequestId>,
    Refusal(code, message): Refusal,
) -> Option<Close> {
    let retryable = code.is_retryable();
    let error = ServerMessage::Error { code, message, retryable, reply_to };
    // Nothing is numbered before a welcome.
    speaker.say(Outgoing::new(0, &error)).await.ok()?;
    Some(if retryable { (close_code::AGAIN, "try again") } else { (close_code::POLICY, "not let in") })
}

/// Carries messages both ways until one side is done; then, how to close.
async fn converse(
    seated: Seated,
    speaker: &mut Speaker,
    stream: &mut Incoming,
    allowance: &Allowance,
) -> Option<Close> {
    let Seated { voice, mut outbox, mut closing } = seated;
    let close = tokio::select! {
        biased;
        closing = &mut closing => Some(match closing {
            Ok(Closing::Told(CloseReason::Over)) => (close_code::NORMAL, "over"),
            Ok(Closing::Told(CloseReason::Superseded)) => (CLOSE_SUPERSEDED, "joined elsewhere"),
            Ok(Closing::Told(CloseReason::NotLetIn)) => (close_code::POLICY, "not let in"),
            Ok(Closing::Told(CloseReason::TryAgain)) => (close_code::AGAIN, "try again"),
            Ok(Closing::Told(CloseReason::Violations)) => (close_code::POLICY, "too many violations"),
            Ok(Closing::SlowReader) => (close_code::POLICY, "you did not read what you were sent"),
            Err(_) => (close_code::AWAY, "the server is stopping"),
        }),
        close = listen(stream, allowance, &voice) => close,
        () = speak(speaker, &mut outbox) => None,
    };
    voice.gone(close != Some(SILENT)).await;
    let last_words = async {
        outbox.close();
        speak(speaker, &mut outbox).await;
    };
    // What it does not read now, it does not get.
    let _ = timeout(FAREWELL, last_words).await;
    close
}

/// Hands what the client says to the session until it stops; then, how to close.
async fn listen(stream: &mut Incoming, allowance: &Allowance, voice: &Voice) -> Option<Close> {
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

async fn hear<S>(stream: &mut S, allowance: &Allowance) -> Heard
where
    S: Stream<Item = Result<Message, axum::Error>> + Unpin,
{
    loop {
        let Ok(next) = timeout(SILENCE, stream.next()).await else {
            return Heard::End(Some(SILENT));
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
async fn speak(speaker: &mut Speaker, outbox: &mut Outbox) {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let said = tokio::select! {
            biased;
            message = outbox.recv() => match message {
                Some(message) => speaker.say_all(message, outbox).await,
                None => return,
            },
            _ = heartbeat.tick() => speaker.sink.send(Message::Ping(Bytes::new())).await,
        };
        if said.is_err() {
            return;
        }
    }
}

/// The sending half, which counts whom it tells that what they showed is wrong.
struct Speaker {
    sink: Sink,
    app: App,
    from: Option<IpAddr>,
}

impl Speaker {
    /// Says a message, and those that wait behind it, in one go.
    async fn say_all(&mut self, first: Outgoing, outbox: &mut Outbox) -> Result<(), axum::Error> {
        let mut next = Some(first);
        while let Some(message) = next {
            self.feed(message).await?;
            next = outbox.try_recv();
        }
        self.sink.flush().await
    }

    async fn say(&mut self, message: Outgoing) -> Result<(), axum::Error> {
        self.feed(message).await?;
        self.sink.flush().await
    }

    async fn feed(&mut self, message: Outgoing) -> Result<(), axum::Error> {
        let wrong = self.from.filter(|_| message.refuses_credentials);
        let message = match wrong.map(|from| self.app.rates.wrong(from)) {
            Some(Err(error)) => {
                let (code, message) = (ErrorCode::Busy, error.to_string());
                Outgoing::new(0, &ServerMessage::Error { code, message, retryable: true, reply_to: None })
            }
            _ => message,
        };
        self.sink.feed(Message::Text(message.text.into())).await
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

/// How much a client may still say.
struct Allowance<C: Clock = DefaultClock>(
    RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
);

impl<C: Clock> Allowance<C> {
    fn new(clock: C) -> Self {
        let quota = Quota::per_second(MESSAGES_PER_SECOND).allow_burst(MESSAGES_AT_ONCE);
        Self(RateLimiter::direct_with_clock(quota, clock))
    }

    fn take(&self) -> bool {
        self.0.check().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_that_nobody_closed_is_known_to_be_dead_by_its_silence() {
        let begun = Instant::now();
        let mut silent = futures_util::stream::pending();
        let heard = hear(&mut silent, &Allowance::new(DefaultClock::default())).await;
        assert!(matches!(heard, Heard::End(Some((close_code::AWAY, _)))));
        assert_eq!(begun.elapsed(), SILENCE);
    }

    #[test]
    fn messages_over_the_rate_are_refused() {
        let clock = FakeRelativeClock::default();
        let allowance = Allowance::new(clock.clone());
        assert!((0..60).all(|_| allowance.take()));
        assert!(!allowance.take());
        clock.advance(Duration::from_millis(60));
        assert!(allowance.take());
        assert!(!allowance.take());
    }
}
