//! `GET /metrics`: for an operator's monitoring, and for nobody else. To all others there is no such address.

use std::net::IpAddr;

use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::http::{HeaderMap, Request, header};
use axum::response::{IntoResponse as _, Response};

use super::address;
use super::problem::ApiError;
use crate::app::App;
use crate::metrics::CONTENT_TYPE;

/// What proxies say of whom they ask for.
const FORWARDED: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];

/// Who may read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readers {
    /// Whoever has it.
    pub(crate) token: Option<String>,
    /// Whoever asks on this machine. Not behind a proxy on it, by which everybody does.
    pub(crate) loopback: bool,
}

impl Readers {
    fn may(&self, from: Option<IpAddr>, headers: &HeaderMap) -> bool {
        let is_direct = !FORWARDED.iter().any(|name| headers.contains_key(*name));
        let is_near = from.is_some_and(|from| from.to_canonical().is_loopback());
        (self.loopback && is_near && is_direct) || self.has_token(headers)
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, shown)) = shown.and_then(|value| value.split_once(' ')) else { return false };
        let hash = |text: &str| digest(&SHA256, text.as_bytes());
        self.token.as_ref().is_some_and(|token| {
            let same = constant_time::verify_slices_are_equal(hash(token).as_ref(), hash(shown).as_ref());
            scheme.eq_ignore_ascii_case("bearer") && same.is_ok()
        })
    }
}

pub(super) async fn read<B>(State(app): State<App>, request: Request<B>) -> Response {
    if !app.metrics_readers.may(address::of(request.extensions()), request.headers()) {
        return ApiError::NotFound.into_response();
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.registry.metrics()).into_response()
}
