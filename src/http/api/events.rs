//! The feed: what happened in a clinic, as CloudEvents 1.0, page by page or as it happens.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};
use vestibule_domain::{PublishedType, TenantId};

use super::streams::{KEEP_ALIVE, STREAM_LIFE, Seat};
use super::words;
use crate::app::App;
use crate::http::body::Params;
use crate::http::caller::{May, need};
use crate::http::problem::ApiError;
use crate::store::FeedEvent;

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 100;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListEvents {
    /// The position of the last one you have; 0 for the first.
    #[serde(default)]
    after: u64,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Of this type alone.
    #[serde(rename = "type")]
    #[param(rename = "type", schema_with = words::event_type)]
    event_type: Option<PublishedType>,
}

/// A page of the feed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Events {
    items: Vec<Positioned>,
    /// What to ask for next as `after`, now or later.
    next: u64,
}

/// An event and its place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Positioned {
    /// From 1, without gaps, in an order that never changes.
    position: u64,
    /// A CloudEvent 1.0: identifiers, codes and times; no name, no clinical text, no token.
    #[schema(value_type = Object)]
    event: Box<RawValue>,
}

/// List events in order.
#[utoipa::path(
    get, path = "/events", operation_id = "listEvents", tag = "Events",
    params(ListEvents),
    responses((status = 200, description = "A page of them.", body = Events)),
    security(("apiKey" = ["events:read"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::EventsRead>,
    Params(asked): Params<ListEvents>,
) -> Result<Json<Events>, ApiError> {
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Invalid { field: "limit", problem: format!("must be 1 to {LIMIT_MAX}") });
    }
    let after = position(asked.after)?;
    let types: Vec<_> = asked.event_type.iter().map(|event_type| event_type.as_str()).collect();
    let found = app.store.feed(caller.tenant, after, &types, limit).await?;
    let next = found.last().map_or(after, |event| event.position);
    let items = found.into_iter().map(|FeedEvent { position, payload, .. }| {
        let event = RawValue::from_string(payload).map_err(|_| ApiError::Unreadable)?;
        Ok(Positioned { position, event })
    });
    Ok(Json(Events { items: items.collect::<Result<_, ApiError>>()?, next }))
}

/// Where a stream begins.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamEvents {
    /// The position of the last one you have; what happens from now unless given. `Last-Event-ID` goes before it.
    after: Option<u64>,
}

/// Hear events as they happen (server-sent events).
///
/// Each has its position as `id`, its type as `event`, and a CloudEvent as `data`. A stream ends after 15 minutes: come
/// again with `Last-Event-ID`, as browsers do by themselves, and nothing is missed.
#[utoipa::path(
    get, path = "/events/stream", operation_id = "streamEvents", tag = "Events",
    params(StreamEvents, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last one you have.")),
    responses((status = 200, description = "A stream.", content_type = "text/event-stream", body = String)),
    security(("apiKey" = ["events:read"]), ("staffSession" = []))
)]
pub(crate) async fn stream(
    State(app): State<App>,
    Params(asked): Params<StreamEvents>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut credentials, _) = request.into_parts();
    let caller = May::<need::EventsRead>::from_request_parts(&mut credentials, &app).await?;
    let headers = &credentials.headers;
    let last = headers.get("last-event-id").map(|value| {
        let id = value.to_str().ok().and_then(|id| id.parse().ok());
        id.ok_or(ApiError::Malformed("`Last-Event-ID` is the `id` of an event".into()))
    });
    let after = match last.transpose()?.or(asked.after) {
        Some(after) => position(after)?,
        None => app.store.feed_head(caller.tenant).await?,
    };
    let seat = app.streams.take(caller.id.as_str())?;
    let news = app.feed.grown();
    let reader = Reader {
        app: app.clone(),
        credentials,
        tenant: caller.tenant,
        after,
        news,
        ends_at: Instant::now() + STREAM_LIFE,
        ready: Vec::new().into_iter(),
        _seat: seat,
    };
    let events = stream::unfold(reader, Reader::next);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn position(after: u64) -> Result<u64, ApiError> {
    if i64::try_from(after).is_ok() {
        return Ok(after);
    }
    Err(ApiError::Invalid { field: "after", problem: "must be the position of an event".into() })
}

/// Reads a tenant's feed on and on.
struct Reader {
    app: App,
    /// What the client said of itself: looked at again before each batch, so that a key that is revoked hears no more.
    credentials: Parts,
    tenant: TenantId,
    after: u64,
    news: watch::Receiver<u64>,
    ends_at: Instant,
    ready: std::vec::IntoIter<FeedEvent>,
    _seat: Seat,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(FeedEvent { position, event_type, payload, .. }) = self.ready.next() {
                self.after = position;
                let event = Event::default().id(position.to_string()).event(event_type).data(payload);
                return Some((Ok(event), self));
            }
            self.news.mark_unchanged();
            May::<need::EventsRead>::from_request_parts(&mut self.credentials, &self.app).await.ok()?;
            match self.app.store.feed(self.tenant, self.after, &[], LIMIT_MAX).await {
                Ok(found) if found.is_empty() => {
                    // Nothing new in time, or the server stops: the client comes again.
                    timeout_at(self.ends_at, self.news.changed()).await.ok()?.ok()?;
                }
                Ok(found) => self.ready = found.into_iter(),
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends: the store does not answer");
                    return None;
                }
            }
        }
    }
}
