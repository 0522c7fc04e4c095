//! Vestibule: a self-hosted telehealth SFU. This build serves a bare test page that joins browser tabs to one room.
//!
//! The only place that knows the command line, the HTTP server and the media engine at once; it wires them.

mod config;
mod http;
mod hub;
// Used by nothing but its tests yet.
#[cfg(test)]
mod ids;
mod protocol;
mod rooms;
mod seating;
mod signal;
mod stats;
#[cfg(test)]
mod store;

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Duration;
use tracing_subscriber::EnvFilter;
use vestibule_media_engine::{Announce, Engine, EngineConfig, EventSink, ShardAddresses};

use crate::config::Config;
use crate::hub::{Events, Hub};

/// What is logged unless `RUST_LOG` says otherwise. rtc-dtls warns of every extension a browser offers and it lacks.
const LOG_FILTER: &str = "info,rtc_dtls=error";
/// How long connections may take to end once the server stops; a socket's farewell fits in.
const GOODBYE: Duration = Duration::from_secs(4);
/// How often the media threads are looked after.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

impl EventSink for Events {
    fn event(&self, event: vestibule_media_core::Event) {
        self.push(event);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();

    let (sink, events) = Events::channel();
    let engine =
        Engine::start(&engine_config(&config), Arc::new(sink)).context("the media engine did not start")?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--listen)", config.listen))?;
    announce(listener.local_addr()?, engine.addresses());

    let (handle, hub) = Hub::new(|room, command| engine.send(room, command)).start(events, stop(&engine));
    let (stop_server, server_stops) = oneshot::channel::<()>();
    let server = axum::serve(listener, http::router(handle))
        .with_graceful_shutdown(async { drop(server_stops.await) });
    let mut server = tokio::spawn(server.into_future());

    // The hub is not spawned: a bug in it ends the process instead of leaving a server nobody can join.
    let reason = hub.await;
    tracing::info!("stopping");
    drop(stop_server);
    // A client that says half a request and no more would keep the server for ever.
    match tokio::time::timeout(GOODBYE, &mut server).await {
        Ok(ended) => ended??,
        Err(_) => server.abort(),
    }
    engine.shutdown()?;
    reason
}

fn engine_config(config: &Config) -> EngineConfig {
    EngineConfig {
        shards: config.shards.into(),
        bind: config.media_bind,
        port: config.media_port,
        announce: config.announce.iter().map(|&to| Announce { ip: to.ip, port: to.port }).collect(),
        ..EngineConfig::default()
    }
}

/// Tells the person at the terminal where to go. Programs that start the server read these lines too.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
fn announce<'a>(page: SocketAddr, media: impl Iterator<Item = &'a ShardAddresses>) {
    let mut open = page;
    match page {
        SocketAddr::V4(page) if page.ip().is_unspecified() => open.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(page) if page.ip().is_unspecified() => open.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    println!("Open http://{open}/?room=test in two browser tabs; Ctrl-C stops the server.");
    for shard in media {
        let announced: Vec<String> = shard.announced.iter().map(ToString::to_string).collect();
        println!("Media on udp {}, announced as {}.", shard.bound, announced.join(", "));
    }
}

/// Ready when the server is to end, with the error if it is for one.
async fn stop(engine: &Engine) -> anyhow::Result<()> {
    tokio::select! {
        told = told_to_stop() => told,
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
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
