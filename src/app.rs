//! What the HTTP side works with.

use std::sync::Arc;

use vestibule_domain::TokenKeys;

use crate::accounts::Accounts;
use crate::backends::Backends;
use crate::config::PublicUrl;
use crate::feed::Feed;
use crate::http::{Rates, Readers, Streams};
use crate::ice_servers::IceServers;
use crate::ids::Ids;
use crate::live::Registry;
use crate::seal::Seal;
use crate::store::Store;
use crate::threads::Threads;
use crate::tickets::Tickets;
use crate::visits::Visits;

/// Shared by all requests.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// The parts of [`App`].
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) ids: Ids,
    pub(crate) backends: Backends,
    /// Seals what is secret, and what is about somebody's health.
    pub(crate) seal: Seal,
    pub(crate) visits: Visits,
    /// Images of threads.
    pub(crate) threads: Threads,
    /// Told of each change that was written, so that it gets into the feed.
    pub(crate) feed: Feed,
    /// The most participants any clinic may allow in one session.
    pub(crate) participants_limit: u16,
    /// The hosts a clinic's logo may come from.
    pub(crate) logo_hosts: Vec<String>,
    pub(crate) keys: TokenKeys,
    /// What pages are told of STUN and TURN.
    pub(crate) ice_servers: IceServers,
    pub(crate) tickets: Tickets,
    /// Signs staff in.
    pub(crate) accounts: Accounts,
    pub(crate) rates: Rates,
    /// Streams of events that are open.
    pub(crate) streams: Streams,
    pub(crate) registry: Registry,
    /// Pages of this origin may open a signaling socket and speak for signed-in staff, besides those served under the name they were asked by.
    pub(crate) origin: PublicUrl,
    /// And pages of these may open a signaling socket, and nothing else.
    pub(crate) allowed_origins: Vec<PublicUrl>,
    /// Whether this server does TLS.
    pub(crate) tls: bool,
    /// Who may read what is counted.
    pub(crate) metrics_readers: Readers,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("App")
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
