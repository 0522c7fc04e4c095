//! What is served over HTTP: the web client, the door (`/v1/join`), and the signaling socket.

mod address;
mod api;
mod body;
mod caller;
mod client;
mod cookie;
mod door;
mod listen;
mod metrics;
mod once;
mod origin;
mod page;
mod problem;
mod rates;
mod request;
mod socket;
#[cfg(test)]
mod tests;
mod thread;
mod version;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::time::timeout;

use crate::app::App;
use crate::images::IMAGE_BYTES_MAX;
pub(crate) use api::Streams;
pub(crate) use listen::serve;
pub(crate) use metrics::Readers;
use problem::ApiError;
pub(crate) use rates::Rates;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a request may take as a whole, most of it for a client to say its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// And one that sends an image, perhaps from where a call is not possible.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(180);

/// The page loads nothing from elsewhere, but a clinic's logo, and talks to nobody but this server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob: https:; media-src 'self' blob:; \
     object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), \
     geolocation=(), payment=(), usb=()";
/// A year, for browsers that came by TLS.
const STRICT_TRANSPORT_SECURITY: &str = "max-age=31536000";

/// The whole HTTP side.
pub(crate) fn router(app: App) -> Router {
    let (endpoints, document) = api::routes();
    let api = endpoints
        .route("/join", post(door::join))
        .route("/join/consents", post(door::consents))
        .route("/join/ticket", post(door::ticket))
        .route("/signal", get(socket::upgrade))
        .merge(thread())
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(app.clone(), not_too_often));
    Router::new()
        .nest("/v1", api)
        .merge(api::description(&document))
        .route("/metrics", get(metrics::read::<Body>))
        .fallback(client::serve)
        .layer(middleware::from_fn_with_state(app.clone(), request::identify))
        .layer(middleware::from_fn_with_state(app.clone(), secure))
        .with_state(app)
}

/// What is written, for who has no socket.
fn thread() -> Router<App> {
    let lines = get(thread::poll).post(thread::say).layer(DefaultBodyLimit::max(thread::BODY_BYTES_MAX));
    // One more, so that what is too long is told from what just fits.
    let images = post(thread::add_image).layer(DefaultBodyLimit::max(IMAGE_BYTES_MAX + 1));
    Router::new()
        .route("/thread", lines)
        .route("/thread/visit", get(thread::visit))
        .route("/thread/images", images)
        .route("/thread/images/{digest}", get(thread::image))
}

/// Who says half a request and no more is cut off. Only the reading is timed: what is being carried out is not broken off,
/// so nobody is told that nothing happened when something did.
async fn in_time(request: Request, next: Next) -> Response {
    // Images are read as they come, and by who may send them; see there.
    let is_upload = request.method() == Method::POST && request.uri().path().ends_with("/images");
    if is_upload {
        return match timeout(UPLOAD_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => ApiError::Timeout.into_response(),
        };
    }
    let (parts, body) = request.into_parts();
    match timeout(REQUEST_TIMEOUT, to_bytes(body, api::BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        // Too long, or broken off: then nobody reads the answer.
        Ok(Err(_)) => ApiError::TooLarge.into_response(),
        Err(_) => ApiError::Timeout.into_response(),
    }
}

/// Bounds what comes from one address without saying who it is, and what is guessed there.
async fn not_too_often(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches("/v1");
    let guesses = ["/auth/sign-in", "/auth/link", "/auth/setup"].contains(&path);
    if let Some(from) = address::of(request.extensions()) {
        let at_the_door = path.starts_with("/join");
        let counted = if guesses || at_the_door { app.rates.check_stranger(from, guesses) } else { Ok(()) };
        if let Err(error) = counted {
            return error.into_response();
        }
    }
    next.run(request).await
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
