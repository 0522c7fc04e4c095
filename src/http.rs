//! What is served over HTTP: the test page, embedded in the binary, and the signaling socket.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::hub::HubHandle;
use crate::signal;

/// The page loads nothing from elsewhere and talks to nobody else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src data:; frame-ancestors 'none'; \
     base-uri 'none'; form-action 'self'";

/// The whole HTTP side.
pub(crate) fn router(hub: HubHandle) -> Router {
    const HTML: &str = "text/html; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
    macro_rules! page {
        ($name:literal, $content_type:expr) => {
            get(|| async { file($content_type, include_str!(concat!("../web-client/test-page/", $name))) })
        };
    }
    Router::new()
        .route("/", page!("index.html", HTML))
        .route("/page.css", page!("page.css", CSS))
        .route("/page.js", page!("page.js", JAVASCRIPT))
        .route("/call.js", page!("call.js", JAVASCRIPT))
        .route("/signal.js", page!("signal.js", JAVASCRIPT))
        .route("/sdp.js", page!("sdp.js", JAVASCRIPT))
        .route("/stats.js", page!("stats.js", JAVASCRIPT))
        .route("/signal", get(signal::upgrade))
        .with_state(hub)
}

fn file(content_type: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, body).into_response()
}
