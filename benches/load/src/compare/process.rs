//! Servers as child processes of the comparison: pinned to a core, their files in a folder of their own, gone with it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::client::fresh_ice;
use crate::clock;
use crate::server::janus::config::JanusConfig;
use crate::server::livekit::ApiKey;

/// From the start of a process until it listens.
const START_DURATION_MAX: Duration = Duration::from_secs(20);
/// From the request to end until it is made to.
const STOP_DURATION_MAX: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How much of its log is shown when a server does not come up.
const LOG_TAIL_BYTES: usize = 2_000;
/// Of the tester's calls to Vestibule's API: it prepares rooms at its own pace.
const API_RATE: &str = "10000";
const KEY_SCOPES: &str = "sessions:read,sessions:write,consents:write,config:read,config:write";

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there, or its files could not be written.
    #[error("cannot start {name}: {source}")]
    Start {
        /// Which server.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ended by itself, or never listened.
    #[error("{name} {how}; the end of its log:\n{log}")]
    Dead {
        /// Which server.
        name: &'static str,
        /// What it did instead.
        how: String,
        /// Its last words.
        log: String,
    },
}

/// A folder under the system's temporary one that goes with the value.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes one; `name` is for whoever finds it.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("vestibule-load-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that runs, until dropped.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    name: &'static str,
    log: PathBuf,
    // After the child: removed once it is gone.
    _folder: TemporaryFolder,
}

impl ServerProcess {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and sees to it.
    pub(super) async fn stop(mut self) {
        // Our own child, not yet waited for: the id is still its.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let until = tokio::time::Instant::now() + STOP_DURATION_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && tokio::time::Instant::now() < until {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The floor's child on `core`: this very program, which waits at its standard input for what it is to send. The
    /// recordings it needs are named by `arguments`.
    pub(super) fn floor(core: usize, arguments: &[String]) -> Result<(Self, ChildStdin), ProcessError> {
        let name = "the floor";
        let failed = |source| ProcessError::Start { name, source };
        let folder = TemporaryFolder::new("floor").map_err(failed)?;
        let own = std::env::current_exe().map_err(failed)?;
        let mut command = pinned(core, &own);
        command.arg("floor").args(arguments);
        let mut process = Self::start(name, folder, command, Stdio::piped())?;
        let stdin =
            process.child.stdin.take().ok_or_else(|| failed(io::Error::other("no standard input")))?;
        Ok((process, stdin))
    }

    fn start(
        name: &'static str,
        folder: TemporaryFolder,
        mut command: Command,
        stdin: Stdio,
    ) -> Result<Self, ProcessError> {
        let log = folder.path().join("log");
        let start = |source| ProcessError::Start { name, source };
        let file = File::create(&log).map_err(start)?;
        command.stdin(stdin).stdout(file.try_clone().map_err(start)?).stderr(file);
        Ok(Self { child: command.spawn().map_err(start)?, name, log, _folder: folder })
    }

    async fn wait_until_listening(mut self, address: SocketAddr) -> Result<Self, ProcessError> {
        let until = tokio::time::Instant::now() + START_DURATION_MAX;
        loop {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(self);
            }
            let how = match self.child.try_wait() {
                Ok(Some(status)) => format!("ended ({status})"),
                _ if tokio::time::Instant::now() > until => format!("does not listen on {address}"),
                _ => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    continue;
                }
            };
            return Err(ProcessError::Dead { name: self.name, how, log: self.log_tail() });
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Vestibule with an empty database, and a key to its API.
#[derive(Debug)]
pub(super) struct Vestibule {
    /// The process.
    pub(super) process: ServerProcess,
    /// Where its API and signaling are.
    pub(super) address: SocketAddr,
    /// The API key.
    pub(super) key: String,
}

impl Vestibule {
    /// Starts `program` on `core`, with rooms of up to `participants_limit`; it listens, and takes media, on `ip`.
    pub(super) async fn start(
        program: &Path,
        core: usize,
        ip: Ipv4Addr,
        participants_limit: usize,
    ) -> Result<Self, ProcessError> {
        let name = "Vestibule";
        let failed = |source| ProcessError::Start { name, source };
        let folder = TemporaryFolder::new("vestibule").map_err(failed)?;
        let data = folder.path().join("data").display().to_string();
        let key = create_key(program, &data).map_err(failed)?;
        let address = SocketAddr::from((ip, free_port(ip).map_err(failed)?));
        let mut command = pinned(core, program);
        command.args(["--data", &data, "--listen", &address.to_string(), "--tls", "off"]);
        command.args(["--api-rate", API_RATE, "--participants-limit", &participants_limit.to_string()]);
        let process = ServerProcess::start(name, folder, command, Stdio::null())?;
        Ok(Self { process: process.wait_until_listening(address).await?, address, key })
    }
}

/// Makes the API key before the server starts: the data folder is all it takes.
fn create_key(program: &Path, data: &str) -> io::Result<String> {
    let output = Command::new(program)
        .args([
            "key",
            "create",
            "--data",
            data,
            "--clinic",
            "Load test",
            "--name",
            "load",
            "--scopes",
            KEY_SCOPES,
        ])
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A private Janus.
#[derive(Debug)]
pub(super) struct Janus {
    /// The process.
    pub(super) process: ServerProcess,
    /// Where its WebSocket API is.
    pub(super) api: SocketAddr,
}

impl Janus {
    /// Starts the `janus` of the PATH on `core`, as packaged or with a fixed number of event loops. `libraries` is where
    /// it looks for its libraries first.
    pub(super) async fn start(
        core: usize,
        event_loops: Option<u32>,
        libraries: Option<&Path>,
    ) -> Result<Self, ProcessError> {
        let name = "Janus";
        let failed = |source| ProcessError::Start { name, source };
        let folder = TemporaryFolder::new("janus").map_err(failed)?;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST).map_err(failed)?));
        let configuration = folder.path().join("configuration");
        JanusConfig { api, event_loops }.write(&configuration).map_err(failed)?;
        let mut command = pinned(core, Path::new("janus"));
        command
            .arg("--configs-folder")
            .arg(&configuration)
            .arg("--config")
            .arg(configuration.join("janus.jcfg"));
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let process = ServerProcess::start(name, folder, command, Stdio::null())?;
        Ok(Self { process: process.wait_until_listening(api).await?, api })
    }
}

/// The program of a LiveKit server.
pub(super) const LIVEKIT: &str = "livekit-server";

/// A private LiveKit. Written from its published configuration; never tried with a real one.
#[derive(Debug)]
pub(super) struct LiveKit {
    /// The process.
    pub(super) process: ServerProcess,
    /// Where its signaling is.
    pub(super) address: SocketAddr,
    /// A key of its configuration.
    pub(super) key: ApiKey,
}

impl LiveKit {
    /// Starts the `livekit-server` of the PATH on `core`; it takes media on `ip`.
    pub(super) async fn start(core: usize, ip: Ipv4Addr) -> Result<Self, ProcessError> {
        let name = "LiveKit";
        let failed = |source| ProcessError::Start { name, source };
        let folder = TemporaryFolder::new("livekit").map_err(failed)?;
        let (port, tcp_port) = (free_port(ip).map_err(failed)?, free_port(ip).map_err(failed)?);
        let key = ApiKey { name: "load".to_owned(), secret: secret() };
        let configuration = folder.path().join("livekit.json");
        // YAML, of which JSON is a part.
        let settings = serde_json::json!({
            "port": port,
            "bind_addresses": [ip],
            "rtc": {"tcp_port": tcp_port, "port_range_start": 50_000, "port_range_end": 60_000, "use_external_ip": false},
            "keys": {(&key.name): &key.secret},
            "logging": {"level": "error"},
            "room": {"auto_create": true, "max_participants": 0},
        });
        std::fs::write(&configuration, settings.to_string()).map_err(failed)?;
        let mut command = pinned(core, Path::new(LIVEKIT));
        command.arg("--config").arg(&configuration).args(["--node-ip", &ip.to_string()]);
        let process = ServerProcess::start(name, folder, command, Stdio::null())?;
        let address = SocketAddr::from((ip, port));
        Ok(Self { process: process.wait_until_listening(address).await?, address, key })
    }
}

/// More than 32 characters, as LiveKit asks for.
fn secret() -> String {
    let mut random = StdRng::seed_from_u64(clock::wall_ns() ^ u64::from(std::process::id()));
    [(); 2].map(|()| fresh_ice(&mut random).pwd).concat()
}

/// Whether a program is to be had by this name.
pub(super) fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let executable = |file: PathBuf| {
        std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path).any(|folder| executable(folder.join(program)))
}

/// `taskset` becomes the program: the process id is the server's, and all its threads are born on the core.
fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}

/// A TCP port nobody listens on just now.
fn free_port(ip: Ipv4Addr) -> io::Result<u16> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?.port())
}
