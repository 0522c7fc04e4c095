//! Schedule a visit and issue two links, by 50 clients at a time, over HTTP against the real server: on SQLite and on
//! PostgreSQL, beside what the disk does by itself. `make bench-api`.
//!
//! A visit takes three transactions that are waited for: the session with its events, and the audit of each link. The
//! server, its database and the clients share the machine's cores, so numbers of one machine compare with each other, and
//! with no other's.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be run says so by panicking")]
#![expect(clippy::print_stdout, reason = "its result is what it prints")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../src/testing/postgres.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod postgres;

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const CLIENTS: usize = 50;
const DURATION: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(2);
const FSYNC_DURATION: Duration = Duration::from_secs(2);
/// Times each database is measured; in turn, so that what else the machine does meets both.
const ROUNDS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let root = std::env::temp_dir().join(format!("vestibule-bench-{}", std::process::id()));
    std::fs::create_dir(&root).unwrap();
    let server = postgres::Server::start(make(root.join("postgres")), true);
    println!("clients: {CLIENTS}; a visit is POST /v1/sessions and two POST …/tokens: 3 transactions");
    println!(
        "{:<12} {:>10} {:>14} {:>12} {:>10} {:>10} {:>10}",
        "database", "visits/s", "transactions/s", "fsyncs/s", "ratio", "p50 ms", "p99 ms"
    );
    for round in 0..ROUNDS {
        for (name, url) in [("sqlite", None), ("postgresql", Some(server.database()))] {
            let folder = make(root.join(format!("{name}-{round}")));
            let fsyncs = fsyncs_per_second(&folder);
            let Measured { visits, latencies_ms } = measure(&folder, url.as_deref()).await;
            let transactions = 3.0 * visits;
            let [p50, p99] = [0.50, 0.99].map(|part| percentile(&latencies_ms, part));
            let ratio = transactions / fsyncs;
            println!(
                "{name:<12} {visits:>10.0} {transactions:>14.0} {fsyncs:>12.0} {ratio:>10.2} {p50:>10.1} {p99:>10.1}"
            );
        }
    }
    drop(server);
    std::fs::remove_dir_all(&root).unwrap();
}

fn make(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// What one writer gets from the disk that waits for each 4 kB.
fn fsyncs_per_second(folder: &Path) -> f64 {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(folder.join("fsync")).unwrap();
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < FSYNC_DURATION {
        file.write_all_at(&[7; 4096], u64::from(count % 256) * 4096).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

struct Measured {
    visits: f64,
    latencies_ms: Vec<f64>,
}

async fn measure(folder: &Path, database: Option<&str>) -> Measured {
    let mut common = vec!["--data".to_owned(), folder.join("data").display().to_string()];
    common.extend(database.iter().flat_map(|url| ["--database".to_owned(), (*url).to_owned()]));
    let key = key(&common);
    let mut server = serve(&common);
    let address = address(&mut server);
    let over = Arc::new(AtomicBool::new(false));
    let warm_at = Instant::now() + WARM_UP;
    let clients =
        (0..CLIENTS).map(|_| tokio::spawn(client(address.clone(), key.clone(), Arc::clone(&over), warm_at)));
    let clients: Vec<_> = clients.collect();
    tokio::time::sleep(WARM_UP + DURATION).await;
    over.store(true, Ordering::Relaxed);
    let mut latencies_ms = Vec::new();
    for client in clients {
        latencies_ms.extend(client.await.unwrap());
    }
    let seconds = (warm_at.elapsed()).as_secs_f64();
    // Ctrl-C, as a person would end it.
    Command::new("kill").args(["-INT", &server.id().to_string()]).status().unwrap();
    server.wait().unwrap();
    latencies_ms.sort_by(f64::total_cmp);
    Measured { visits: latencies_ms.len() as f64 / seconds, latencies_ms }
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn vestibule(common: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(common).stderr(Stdio::null());
    command
}

fn key(common: &[String]) -> String {
    let scopes = ["key", "create", "--name", "bench", "--scopes", "sessions:read,sessions:write"];
    let made = vestibule(common).args(scopes).output().unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    said.split_whitespace().find(|word| word.starts_with("vst_")).expect("it prints the key").to_owned()
}

fn serve(common: &[String]) -> Child {
    let args = ["--listen", "127.0.0.1:0", "--api-rate", "100000"];
    vestibule(common).args(args).stdout(Stdio::piped()).spawn().unwrap()
}

/// Where it listens, as it says.
fn address(server: &mut Child) -> String {
    let lines = BufReader::new(server.stdout.as_mut().unwrap()).lines();
    let line =
        lines.map_while(Result::ok).find(|line| line.starts_with("Serving ")).expect("it says where it is");
    let address = line.trim_start_matches("Serving http://").split(';').next().unwrap();
    address.to_owned()
}

/// One client: visit after visit, until it is over. How long each took.
async fn client(address: String, key: String, over: Arc<AtomicBool>, warm_at: Instant) -> Vec<f64> {
    let stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut latencies_ms = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let body = json!({
            "patientId": "mrn-1",
            "providerRef": "Practitioner/12",
            "participants": [{"role": "provider", "displayName": "Dr. A"}, {"role": "patient", "displayName": "P"}],
        });
        let session = post(&mut sender, &address, &key, "/v1/sessions", &body).await;
        let id = session["id"].as_str().unwrap();
        for participant in session["participants"].as_array().unwrap() {
            let participant = participant["id"].as_str().unwrap();
            let path = format!("/v1/sessions/{id}/participants/{participant}/tokens");
            let token = post(&mut sender, &address, &key, &path, &json!({})).await;
            assert!(token["joinUrl"].is_string(), "{token}");
        }
        if begun >= warm_at {
            latencies_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    latencies_ms
}

async fn post(
    sender: &mut SendRequest<Full<Bytes>>,
    host: &str,
    key: &str,
    path: &str,
    body: &Value,
) -> Value {
    let request = Request::post(path)
        .header("host", host)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}
