//! A PostgreSQL server of the tests' own, from the system's package, in a temporary folder, reached by a socket alone.
//!
//! It runs as an ordinary user, as PostgreSQL asks for, and ends with the process that started it, however that ends: a
//! shell between them waits for the end of its standard input.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where distributions keep the server's programs, which are on nobody's PATH.
const PACKAGE_FOLDER: &str = "/usr/lib/postgresql";
const START_WAIT: Duration = Duration::from_secs(60);

/// Starts the server, and ends it with us: on the end of input at once (SIGQUIT would leave shared memory behind).
const KEEPER: &str = r#"
"$0/postgres" -D "$1/data" -k "$1" -c listen_addresses= -c fsync="$2" -c max_connections=200 >"$1/log" 2>&1 &
server=$!
read -r _
kill -INT $server
wait $server
rm -rf "$1"
"#;

/// A running server.
pub(crate) struct Server {
    root: PathBuf,
    programs: PathBuf,
    keeper: Child,
}

impl Server {
    /// The server that the tests of this process share. It does not wait for the disk.
    pub(crate) fn shared(root: impl FnOnce() -> PathBuf) -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(root(), false))
    }

    /// A server of one's own, in an empty folder that goes with it.
    pub(crate) fn start(root: PathBuf, fsync: bool) -> Self {
        let programs = programs();
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&root).status().unwrap();
            assert!(owned.success(), "the package makes a user postgres");
        }
        let made = as_user(&programs.join("initdb"))
            .args([
                "--auth=trust",
                "--no-sync",
                "--username=vestibule",
                "--encoding=UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(root.join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let keeper = keeper(&programs, &root, fsync);
        let server = Self { root, programs, keeper };
        server.wait();
        server
    }

    /// The URL of a new, empty database.
    pub(crate) fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        let root = self.root.to_str().expect("the folder of a test has an ordinary name").replace('/', "%2F");
        format!("postgres://vestibule@{root}/{database}")
    }

    /// Ends the server with no word of warning, as a power cut does, and starts it again.
    pub(crate) fn crash(&mut self) {
        let pid = std::fs::read_to_string(self.root.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        // The keeper has lost its server; it must not take the folder away.
        self.keeper.kill().unwrap();
        self.keeper.wait().unwrap();
        let gone = Instant::now();
        // The other processes of the server notice, and go; a new one refuses to start before.
        loop {
            self.keeper = keeper(&self.programs, &self.root, true);
            if self.answers_within(Duration::from_secs(5)) {
                return;
            }
            self.keeper.kill().unwrap();
            self.keeper.wait().unwrap();
            assert!(gone.elapsed() < START_WAIT, "the server does not come back");
        }
    }

    fn wait(&self) {
        let log = || std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
        assert!(self.answers_within(START_WAIT), "the server does not start: {}", log());
    }

    fn answers_within(&self, wait: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < wait {
            let ready =
                Command::new(self.programs.join("pg_isready")).arg("-q").arg("-h").arg(&self.root).status();
            if ready.unwrap().success() {
                return true;
            }
            // Another process is waited for: there is no event of it to wait for instead.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        false
    }

    fn sql(&self, database: &str, statement: &str) {
        let done = Command::new(self.programs.join("psql"))
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "vestibule", "-d", database, "-c", statement, "-h"])
            .arg(&self.root)
            .output()
            .unwrap();
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Of those that are not shared; the shared one goes with the process.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // In vain is fine: it ends by itself.
        let _ = self.keeper.wait();
    }
}

fn keeper(programs: &Path, root: &Path, fsync: bool) -> Child {
    as_user(Path::new("/bin/sh"))
        .args(["-c", KEEPER])
        .arg(programs)
        .arg(root)
        .arg(if fsync { "on" } else { "off" })
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// PostgreSQL does not run as root; its package brings a user for it.
fn as_user(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command.current_dir("/");
        command
    } else {
        Command::new(program)
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The newest version that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(PACKAGE_FOLDER).into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.expect("PostgreSQL is installed: scripts/setup.sh test").path().join("bin")
}
