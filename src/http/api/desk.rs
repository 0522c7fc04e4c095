//! The desk: who waits for a provider, as it is and whenever it is different.

use std::convert::Infallible;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};
use vestibule_domain::{ParticipantId, ProviderRef, SessionId};

use super::sessions::parsed;
use super::streams::{KEEP_ALIVE, STREAM_LIFE, Seat};
use crate::app::App;
use crate::http::body::Params;
use crate::http::caller::{Caller, May, need};
use crate::http::problem::ApiError;
use crate::live::{Seen, Waiting, Watch};
use crate::rights::Right;

/// Which desk.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchDesk {
    /// Whose; your own unless given, if your account has one.
    #[param(min_length = 1, max_length = 128)]
    provider_ref: Option<String>,
}

/// Who waits at a desk: the `data` of a `queue` event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeskQueue)]
pub(crate) struct Queue<'a> {
    #[schema(value_type = String)]
    provider_ref: &'a ProviderRef,
    /// First come first.
    waiting: Vec<InQueue<'a>>,
}

/// A patient who waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeskPatient)]
struct InQueue<'a> {
    /// From 1.
    position: u32,
    #[schema(value_type = String, format = Uuid)]
    session_id: SessionId,
    #[schema(value_type = String, format = Uuid)]
    participant_id: ParticipantId,
    /// How they are called; empty if nobody said.
    name: &'a str,
    /// Since when they wait: a page that is loaded again does not lose its place.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Whether they are there at this moment.
    connected: bool,
    /// Whether they came before and this may be another device: look twice whom you let in.
    new_device: bool,
    /// Whether a provider is in their session already.
    provider_present: bool,
    /// When the visit is due, if it has a time.
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_start: Option<Timestamp>,
}

impl<'a> Queue<'a> {
    fn of(provider_ref: &'a ProviderRef, seen: &'a Seen) -> Self {
        let waiting = (1..).zip(&seen.waiting);
        let waiting = waiting.map(|(position, Waiting { session, scheduled_start, who })| InQueue {
            position,
            session_id: *session,
            participant_id: who.participant,
            name: &who.name,
            since: who.since,
            connected: who.connected,
            new_device: who.new_device,
            provider_present: who.provider_present,
            scheduled_start: *scheduled_start,
        });
        Self { provider_ref, waiting: waiting.collect() }
    }
}

/// Watch who waits at a desk (server-sent events).
///
/// A `queue` event with everybody who waits (`DeskQueue`) comes at once, and another whenever something is different; of
/// several changes at once the last. While somebody watches who may let people in, those who wait are told so. A stream
/// ends after 15 minutes: come again, as browsers do by themselves.
#[utoipa::path(
    get, path = "/desk", operation_id = "watchDesk", tag = "Sessions",
    params(WatchDesk),
    responses((status = 200, description = "A stream.", content_type = "text/event-stream", body = String)),
    security(("apiKey" = ["sessions:read"]), ("staffSession" = []))
)]
pub(crate) async fn watch(
    State(app): State<App>,
    Params(asked): Params<WatchDesk>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut credentials, _) = request.into_parts();
    let caller = May::<need::SessionsRead>::from_request_parts(&mut credentials, &app).await?;
    let provider_ref = match asked.provider_ref {
        Some(text) => parsed("providerRef", &text)?,
        None => own_desk(&app, &caller).await?,
    };
    let seat = app.streams.take(caller.id.as_str())?;
    let reader = Reader {
        watch: app
            .registry
            .watch((caller.tenant, provider_ref.clone()), caller.may(Right::SessionsControl).is_ok()),
        app: app.clone(),
        credentials,
        provider_ref,
        ends_at: Instant::now() + STREAM_LIFE,
        begun: false,
        _seat: seat,
    };
    let events = stream::unfold(reader, Reader::next);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// The desk somebody sits at themselves.
async fn own_desk(app: &App, caller: &Caller) -> Result<ProviderRef, ApiError> {
    let account = match caller.account() {
        Some(id) => app.store.account(caller.tenant, id).await?,
        None => None,
    };
    account.and_then(|account| account.provider_ref).ok_or_else(|| ApiError::Invalid {
        field: "providerRef",
        problem: "is needed: you sit at no desk yourself".into(),
    })
}

/// Looks at a desk on and on.
struct Reader {
    app: App,
    /// What the client said of itself: looked at again before each event, so that who is signed out hears no more.
    credentials: Parts,
    provider_ref: ProviderRef,
    watch: Watch,
    ends_at: Instant,
    /// Whether they were told anything.
    begun: bool,
    _seat: Seat,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if std::mem::replace(&mut self.begun, true) {
            loop {
                let look_again = (Instant::now() + KEEP_ALIVE).min(self.ends_at);
                let changed = tokio::select! {
                    // The server stops: the client comes again.
                    () = self.app.registry.stopped() => return None,
                    changed = timeout_at(look_again, self.watch.changed()) => changed.is_ok(),
                };
                // Who is signed out attends no desk, though nothing happens at it.
                May::<need::SessionsRead>::from_request_parts(&mut self.credentials, &self.app).await.ok()?;
                if changed {
                    break;
                }
                if Instant::now() >= self.ends_at {
                    return None;
                }
            }
        }
        let seen = self.watch.look();
        let event = Event::default().event("queue").json_data(Queue::of(&self.provider_ref, &seen));
        Some((Ok(event.expect("it has string keys and nothing that fails")), self))
    }
}
