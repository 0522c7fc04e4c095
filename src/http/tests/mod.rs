//! The whole HTTP side as a client sees it, without a socket: requests go through the router, to a store in a file.

mod accounts;
mod config;
mod desk;
mod metrics;
mod quality;
mod signal;
mod thread;
mod trust;
mod visits;

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;
use vestibule_domain::{ConfigValues, PARTICIPANTS_USUAL, VideoBackend};
use vestibule_media_engine::{Engine, EngineConfig};

use crate::accounts::Accounts;
use crate::app::{App, Parts};
use crate::backends::{Backends, Embedded};
use crate::blobs::Blobs;
use crate::clock;
use crate::data_dir::DataDir;
use crate::feed::Feed;
use crate::http::{Rates, Readers, Streams};
use crate::ice_servers::IceServers;
use crate::ids::Ids;
use crate::live::{EngineEvents, Registry};
use crate::store::{Location, Store, Tenant};
use crate::tenants;
use crate::testing::TempDir;
use crate::threads::Threads;
use crate::tickets::Tickets;
use crate::visits::Visits;

/// What links begin with, and what the pages of this server have as their origin.
const ORIGIN: &str = "https://visit.example.org";
const METRICS_TOKEN: &str = "a token of the monitoring";
const BODY_BYTES_MAX: usize = 1 << 20;

/// A server with one clinic.
struct Server {
    folder: Arc<TempDir>,
    app: App,
    store: Store,
    clinic: Tenant,
    feed: Feed,
    /// Where the media engine tells what happens.
    events: EngineEvents,
    router: Router,
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// Null where there is none.
    body: Value,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum As<'a> {
    Nobody,
    /// By an API key.
    Key(&'a str),
    /// By a cookie, from a page of ours.
    Cookie(&'a str),
    /// By a cookie, from that origin.
    CookieFrom(&'a str, Option<&'a str>),
}

impl Server {
    async fn start() -> Self {
        Self::with_rate(100_000).await
    }

    /// One whose callers may ask so many times a second.
    async fn with_rate(rate: u32) -> Self {
        Self::on(Arc::new(TempDir::new()), rate, PARTICIPANTS_USUAL).await
    }

    /// The server is stopped, and another one takes over what it kept.
    async fn restart(self) -> Self {
        self.app.registry.stop();
        self.store.close().await;
        Self::on(Arc::clone(&self.folder), 100_000, PARTICIPANTS_USUAL).await
    }

    async fn on(folder: Arc<TempDir>, rate: u32, participants_limit: u16) -> Self {
        let data = DataDir::open(folder.path()).unwrap();
        let ids = Ids::system();
        let location = Location::File(folder.path().join("vestibule.db"));
        let store = Store::open(&location, ids.clone()).await.unwrap();
        let clinic =
            tenants::of_name(&store, &ids, "Clinic", ConfigValues::default(), clock::now()).await.unwrap();
        let events = EngineEvents::default();
        let config = EngineConfig { bind: Ipv4Addr::LOCALHOST.into(), ..EngineConfig::default() };
        let engine = Arc::new(Engine::start(&config, Arc::new(events.clone())).unwrap());
        let feed = Feed::new();
        let seal = data.master_keys().unwrap();
        let registry =
            Registry::new((store.clone(), seal.clone()), Arc::clone(&engine), &events, feed.written());
        let blobs = Blobs::local(&data, seal.clone());
        let visits = Visits::new(store.clone(), blobs.clone(), seal.clone(), feed.clone());
        let threads = Threads::new(store.clone(), blobs, seal.clone(), visits.clone());
        let app = App::new(Parts {
            store: store.clone(),
            ids,
            backends: Backends::default().with(VideoBackend::Embedded, Arc::new(Embedded::new(Some(engine)))),
            seal,
            visits,
            threads,
            feed: feed.clone(),
            participants_limit,
            logo_hosts: Vec::new(),
            keys: data.join_keys().unwrap(),
            ice_servers: IceServers::default(),
            tickets: Tickets::default(),
            accounts: Accounts::default(),
            rates: Rates::per_second(rate),
            streams: Streams::default(),
            registry,
            origin: ORIGIN.parse().unwrap(),
            allowed_origins: vec!["https://portal.example.org".parse().unwrap()],
            tls: false,
            metrics_readers: Readers { token: Some(METRICS_TOKEN.into()), loopback: true },
        });
        Self { folder, store, clinic, feed, events, router: super::router(app.clone()), app }
    }

    async fn ask(&self, who: As<'_>, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        match who {
            As::Nobody => {}
            As::Key(key) => request = request.header(header::AUTHORIZATION, format!("Bearer {key}")),
            As::Cookie(cookie) => {
                request = request.header(header::COOKIE, cookie).header(header::ORIGIN, ORIGIN);
            }
            As::CookieFrom(cookie, origin) => {
                request = request.header(header::COOKIE, cookie);
                if let Some(origin) = origin {
                    request = request.header(header::ORIGIN, origin);
                }
            }
        }
        let request = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(serde_json::to_vec(&body).unwrap())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), BODY_BYTES_MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status, headers, body }
    }

    async fn get(&self, who: As<'_>, path: &str) -> Answer {
        self.ask(who, Method::GET, path, None).await
    }

    async fn post(&self, who: As<'_>, path: &str, body: Value) -> Answer {
        self.ask(who, Method::POST, path, Some(body)).await
    }
}

impl Answer {
    /// The body, of an answer with this status.
    #[track_caller]
    fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// That it is this problem.
    #[track_caller]
    fn refused(self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
    }

    /// The cookie it sets, as a browser gives it back.
    #[track_caller]
    fn cookie(&self) -> String {
        let set = self.headers[header::SET_COOKIE].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }
}
