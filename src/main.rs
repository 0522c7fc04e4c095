//! Vestibule: a self-hosted telehealth server. Waiting room, admission and video visit in one binary.
//!
//! The only place that knows the command line, the HTTP server, the store and the media engine at once; it wires them.

mod accounts;
mod app;
mod backends;
mod blobs;
mod check;
mod clock;
mod config;
mod consents;
mod data_dir;
mod demo;
mod feed;
mod http;
mod ice_servers;
mod ids;
mod images;
mod keys;
mod live;
mod master_keys;
mod metrics;
mod reseal;
mod resume;
mod retention;
mod rights;
mod seal;
mod sessions;
mod store;
mod sweep;
mod tenants;
mod terminal;
#[cfg(test)]
mod testing;
mod threads;
mod tickets;
mod tls;
mod visits;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use axum_server::Handle;
use clap::Parser as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Duration;
use tracing_subscriber::EnvFilter;
use vestibule_domain::VideoBackend;
use vestibule_media_engine::{Announce, Engine, EngineConfig, ShardAddresses};

use crate::accounts::Accounts;
use crate::app::{App, Parts};
use crate::backends::{Backends, Embedded};
use crate::blobs::Blobs;
use crate::config::{Cli, Command, Config, OnOff, PublicUrl, SessionCommand, Tls};
use crate::data_dir::DataDir;
use crate::feed::Feed;
use crate::http::{Rates, Readers, Streams};
use crate::ice_servers::IceServers;
use crate::ids::Ids;
use crate::live::{EngineEvents, Registry};
use crate::sessions::Maker;
use crate::store::Store;
use crate::threads::Threads;
use crate::tickets::Tickets;
use crate::tls::Identity;
use crate::visits::Visits;

/// What is logged unless `RUST_LOG` says otherwise. rtc-dtls warns of every extension a browser offers and it lacks.
const LOG_FILTER: &str = "info,rtc_dtls=error";
/// How long connections may take to end once the server stops; a socket's farewell fits in.
const GOODBYE: Duration = Duration::from_secs(4);
/// How often the media threads are looked after.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let Cli { config, command } = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match command {
        None => serve(&config).await?,
        Some(Command::Check) => {
            let fine = check::run(&config).await;
            return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Some(Command::Session(command)) => manage(&config, command).await?,
        Some(Command::Keys(command)) => master_keys::run(&config, command).await?,
        Some(Command::Staff(command)) => terminal::staff(&config, command).await?,
        Some(Command::Key(command)) => terminal::key(&config, command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes sessions and links, beside a server that may be running.
async fn manage(config: &Config, command: SessionCommand) -> anyhow::Result<()> {
    config.validate()?;
    let data = match command {
        SessionCommand::Create(_) => DataDir::open(&config.data)?,
        SessionCommand::Links { .. } => DataDir::existing(&config.data)?,
    };
    let origin = terminal::origin(config, &data)?;
    let keys = data.join_keys()?;
    let ids = Ids::system();
    let store = Store::open(&config.location(&data), ids.clone()).await?;
    let backends = Backends::default().with(VideoBackend::Embedded, Arc::new(Embedded::new(None)));
    let now = clock::now();
    let (stored, json) = match command {
        SessionCommand::Create(asked) => {
            let json = asked.json;
            let maker = Maker {
                store: &store,
                backends: &backends,
                ids: &ids,
                participants_limit: config.participants_limit,
            };
            (sessions::create_as_asked(&maker, *asked, now).await?, json)
        }
        SessionCommand::Links { session, json } => {
            let stored = store.load_session(session).await?;
            (
                stored
                    .with_context(|| format!("there is no session {session} in {}", config.data.display()))?,
                json,
            )
        }
    };
    let links = sessions::links(&stored, &keys, &origin, now)?;
    store.close().await;
    sessions::print(stored.session.id(), &links, json)
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    config.validate()?;
    let data = DataDir::open(&config.data)?;
    let lock = data.lock()?;
    let keys = data.join_keys()?;
    let seal = data.master_keys()?;
    let ids = Ids::system();
    let store = Store::open(&config.location(&data), ids.clone()).await?;

    let events = EngineEvents::default();
    let engine = Engine::start(&engine_config(config), Arc::new(events.clone()));
    let engine = Arc::new(engine.context("the media engine did not start (--media-bind, --media-port)")?);

    let listener = std::net::TcpListener::bind(config.listen)
        .with_context(|| format!("cannot listen on {} (--listen)", config.listen))?;
    listener.set_nonblocking(true)?;
    let origin = config.origin(listener.local_addr()?);
    data.note_origin(&origin)?;
    let tls = config.tls()?;
    let identity = tls::identity(&tls, &data, &hosts(config, &origin))?;

    let backends =
        Backends::default().with(VideoBackend::Embedded, Arc::new(Embedded::new(Some(Arc::clone(&engine)))));
    let feed = Feed::new();
    let registry = Registry::new((store.clone(), seal.clone()), Arc::clone(&engine), &events, feed.written());
    let mut jobs = JoinSet::new();
    jobs.spawn(sweep::run(store.clone(), registry.clone()));
    jobs.spawn(sweep::run_rooms(store.clone(), backends.clone()));
    jobs.spawn(feed.clone().run(store.clone()));
    let blobs = Blobs::local(&data, seal.clone());
    jobs.spawn(retention::run(store.clone(), blobs.clone()));
    jobs.spawn(reseal::run(store.clone(), blobs.clone(), seal.clone()));
    let visits = Visits::new(store.clone(), blobs.clone(), seal.clone(), feed.clone());
    let threads = Threads::new(store.clone(), blobs, seal.clone(), visits.clone());
    jobs.spawn(threads::run(threads.clone()));
    if config.demo {
        let now = clock::now();
        let maker = Maker {
            store: &store,
            backends: &backends,
            ids: &ids,
            participants_limit: config.participants_limit,
        };
        let stored = demo::open_session(&maker, now).await?;
        let links = sessions::links(&stored, &keys, &origin, now)?;
        invite(&links);
    }
    accounts::invite_first_admins(&store, &ids, &origin, clock::now()).await?;
    // Whoever reads that it serves may end it.
    let terminate = signal(SignalKind::terminate())?;
    announce(&origin, &tls, identity.as_ref(), engine.addresses());
    let app = App::new(Parts {
        store: store.clone(),
        ids,
        backends,
        seal,
        visits,
        threads,
        feed,
        participants_limit: config.participants_limit,
        logo_hosts: config.logo_host.iter().map(|host| host.to_ascii_lowercase()).collect(),
        keys,
        ice_servers: IceServers::new(&config.ice_server, config.turn_secret.as_deref()),
        tickets: Tickets::default(),
        accounts: Accounts::default(),
        rates: Rates::per_second(config.api_rate),
        streams: Streams::default(),
        registry: registry.clone(),
        origin,
        allowed_origins: config.allow_origin.clone(),
        tls: identity.is_some(),
        metrics_readers: Readers {
            token: config.metrics_token.clone(),
            loopback: !config.is_behind_a_proxy(),
        },
    });

    let handle = Handle::new();
    let tls = identity.map(|identity| identity.config);
    let mut server = tokio::spawn(http::serve(listener, tls, http::router(app), handle.clone()));
    let reason = tokio::select! {
        reason = stop(&engine, terminate) => reason,
        ended = &mut server => Err(anyhow!("the HTTP server has ended: {ended:?}")),
    };
    tracing::info!("stopping");
    jobs.shutdown().await;
    registry.stop();
    handle.graceful_shutdown(Some(GOODBYE));
    let ended = tokio::time::timeout(GOODBYE + Duration::from_secs(1), &mut server).await;
    if ended.is_err() {
        server.abort();
    }
    registry.write_timelines().await;
    store.close().await;
    drop(lock);
    drop(registry);
    // A session's task that still holds it lets go of it at the latest when the runtime ends, and that stops it, too.
    if let Some(engine) = Arc::into_inner(engine) {
        engine.shutdown()?;
    }
    reason
}

/// The names and addresses people may open the page by: what a certificate of our own must cover.
fn hosts(config: &Config, origin: &PublicUrl) -> Vec<String> {
    let mut hosts = vec![origin.host().to_owned()];
    if !config.listen.ip().is_unspecified() {
        hosts.push(config.listen.ip().to_string());
    }
    hosts.extend(config.announce.iter().map(|to| to.ip.to_string()));
    hosts.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    hosts
}

fn engine_config(config: &Config) -> EngineConfig {
    EngineConfig {
        shards: config.shards.into(),
        bind: config.media_bind(),
        port: config.media_port,
        tcp: config.media_tcp == OnOff::On,
        announce: config.announce.iter().map(|&to| Announce { ip: to.ip, port: to.port }).collect(),
        video_codec: config.video_codec.into(),
        ..EngineConfig::default()
    }
}

/// Prints the demo's links.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
fn invite(links: &[sessions::Link]) {
    println!("A demo visit is open. Open each link in a tab of its own:\n");
    sessions::print_lines(links);
    println!();
}

/// Tells the person at the terminal where to go. Programs that start the server read these lines too.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
fn announce<'a>(
    origin: &PublicUrl,
    tls: &Tls,
    identity: Option<&Identity>,
    media: impl Iterator<Item = &'a ShardAddresses>,
) {
    println!("Serving {origin}; Ctrl-C stops the server.");
    if *tls == Tls::SelfSigned && identity.is_some() {
        println!("The certificate is this server's own: browsers warn of it. `vestibule check` says more.");
    }
    for shard in media {
        let announced: Vec<String> = shard.announced.iter().map(ToString::to_string).collect();
        let tcp = if shard.tcp { " and tcp" } else { "" };
        println!("Media on udp {}{tcp}, announced as {}.", shard.bound, announced.join(", "));
    }
}

/// Ready when the server is to end, with the error if it is for one.
async fn stop(engine: &Engine, terminate: Signal) -> anyhow::Result<()> {
    tokio::select! {
        told = told_to_stop(terminate) => told,
        shard = shard_failed(engine) => Err(anyhow!("media thread {shard} has ended; its rooms are lost")),
    }
}

/// Ready when a media thread has ended by a bug.
async fn shard_failed(engine: &Engine) -> usize {
    let mut watch = tokio::time::interval(WATCH_INTERVAL);
    loop {
        watch.tick().await;
        if let Some(shard) = engine.failed_shard() {
            return shard;
        }
    }
}

/// Ready on Ctrl-C or SIGTERM.
async fn told_to_stop(mut terminate: Signal) -> anyhow::Result<()> {
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
