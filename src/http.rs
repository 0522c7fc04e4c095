//! What is served over HTTP: the web client, the door (`/v1/join`), and the signaling socket.

mod client;
mod door;
mod problem;
mod socket;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hyper_util::rt::TokioTimer;
use tokio::time::timeout;

use crate::app::App;
use problem::ApiError;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a client may take to say the head of a request, from its connection on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take as a whole, most of it for a client to say its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The page loads nothing from elsewhere, but a clinic's logo, and talks to nobody but this server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: https:; media-src 'self' blob:; \
     object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), \
     geolocation=(), payment=(), usb=()";
/// A year, for browsers that came by TLS.
const STRICT_TRANSPORT_SECURITY: &str = "max-age=31536000";

/// The whole HTTP side.
pub(crate) fn router(app: App) -> Router {
    let api = Router::new()
        .route("/join", post(door::join))
        .route("/join/consents", post(door::consents))
        .route("/join/ticket", post(door::ticket))
        .route("/signal", get(socket::upgrade))
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(in_time));
    Router::new()
        .nest("/v1", api)
        .fallback(client::serve)
        .layer(middleware::from_fn_with_state(app.clone(), secure))
        .with_state(app)
}

/// Who says half a request and no more is cut off. Sockets are answered at once, and live on.
async fn in_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout.into_response(),
    }
}

/// What every answer says to browsers.
async fn secure(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    say(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    say(HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY);
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::REFERRER_POLICY, "no-referrer");
    say(header::CACHE_CONTROL, "no-store");
    say(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    // Browsers take it only where the certificate is one they trust (RFC 6797, section 8.1).
    if app.tls {
        say(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT_SECURITY);
    }
    response
}

/// How connections are read: a client that says nothing, or half the head of a request and no more, is cut off.
pub(crate) fn configure<A>(server: &mut axum_server::Server<std::net::SocketAddr, A>) {
    let builder = server.http_builder();
    // Nothing is sniffed: a connection that says nothing would be sniffed at for ever.
    *builder = builder.clone().http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
}
