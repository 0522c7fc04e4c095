//! What the HTTP side works with.

use std::sync::Arc;

use vestibule_domain::TokenKeys;

use crate::config::PublicUrl;
use crate::live::Registry;
use crate::store::Store;
use crate::tickets::Tickets;

/// Shared by all requests.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// The parts of [`App`].
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) keys: TokenKeys,
    pub(crate) tickets: Tickets,
    pub(crate) registry: Registry,
    /// Pages of this origin may open a signaling socket, besides those served under the name they were asked by.
    pub(crate) origin: PublicUrl,
    /// Whether this server does TLS.
    pub(crate) tls: bool,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
