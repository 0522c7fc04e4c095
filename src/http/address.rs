//! Where a request comes from. Behind a reverse proxy that is one address for all.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::Extensions;

/// The address of the other side of the connection, where there is one.
pub(crate) fn of(request: &Extensions) -> Option<IpAddr> {
    request.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}
