//! The identifier of a request: in its answer, in the audit, in log lines; so that a clinic's engineer and ours can speak
//! of the same one.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::app::App;
use crate::clock;
use crate::store::Beside;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of one that a client brings along.
const BYTES_MAX: usize = 64;

tokio::task_local! {
    static CURRENT: String;
}

/// Of the request that is being answered; none outside of one.
pub(crate) fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Nothing beside a change but the request it came by.
pub(crate) fn stamped() -> Beside {
    Beside { request: current(), ..Beside::default() }
}

/// Takes the one a client gives, if it is short visible ASCII, or makes one; and says it in the answer.
pub(crate) async fn identify(State(app): State<App>, request: Request, next: Next) -> Response {
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    let given =
        given.filter(|id| (1..=BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
    let id = given.map_or_else(|| app.ids.event(clock::now()).to_string(), str::to_owned);
    let span = tracing::info_span!("request", id = %id);
    let mut response = CURRENT.scope(id.clone(), next.run(request)).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
