//! `vestibule-load`: the command line around a run.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use tokio::sync::watch;

use vestibule_load::cast::Cast;
use vestibule_load::cli::{Cli, Command, Options, ServerKind};
use vestibule_load::client::{MediaPlane, PlaneOptions};
use vestibule_load::compare::figures::Figures;
use vestibule_load::compare::{self, CompareArguments};
use vestibule_load::floor;
use vestibule_load::measure::find;
use vestibule_load::measure::process::Process;
use vestibule_load::report::{Report, html, json, table};
use vestibule_load::run::{Run, Stop};
use vestibule_load::scenario::Scenario;
use vestibule_load::server::janus::Janus;
use vestibule_load::server::livekit::{ApiKey, LiveKit};
use vestibule_load::server::vestibule::Vestibule;
use vestibule_load::server::{Net, Server, ServerError};
use vestibule_load::transports::Transports;

/// A threshold was exceeded, or somebody did not get in.
const NOT_PASSED: u8 = 1;
/// It could not be tried.
const NOT_TRIED: u8 = 2;
/// What sockets of the media thread may keep of what came in a burst.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// File descriptors beside those of participants.
const SPARE_FDS: u64 = 64;
/// File descriptors of a participant: the signaling's, and a UDP socket for each transport, of which some servers want two.
const FDS_EACH: u64 = 3;
/// What a comparison may open, and what it hands on to the servers it starts: as much as Janus's own unit file says.
const COMPARISON_FDS: u64 = 65_536;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Some(option) = matches.subcommand_matches("compare").and_then(compare::useless_option) {
        let why = format!("--{} is of no use to 'compare'", option.replace('_', "-"));
        Cli::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    let passed = match &cli.command {
        Command::Scenario(scenario) => tried(scenario.scenario(), &cli.options).map(|report| report.passed),
        Command::Compare(arguments) => compared(arguments, &cli.options),
        Command::Floor => floor(&cli.options).map(|()| true),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_PASSED),
        Err(error) => {
            say(&format!("vestibule-load: {error}"));
            ExitCode::from(NOT_TRIED)
        }
    }
}

fn tried(scenario: Scenario, options: &Options) -> Result<Report, ServerError> {
    // Before any thread is started: they inherit it.
    if let Some(core) = options.pin {
        pin(core)?;
    }
    allow_files(files(scenario, options))?;
    let runtime = runtime()?;
    let report = runtime.block_on(play(scenario, options))?;
    let json = json::json(&report).map_err(|error| ServerError::Environment(error.to_string()))?;
    write(&table::table(&report), &json, options)?;
    if let Some(path) = &options.html {
        to_file(path, &html::html(&report))?;
    }
    report.faults.iter().for_each(|fault| say(&format!("vestibule-load: not passed: {fault}")));
    Ok(report)
}

/// Whether each server got through a round in each scenario.
fn compared(arguments: &CompareArguments, options: &Options) -> Result<bool, ServerError> {
    pin(arguments.tester_core)?;
    // Less may do: what a server cannot take shows in its row.
    let (_, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| ServerError::Environment(error.to_string()))?;
    allow_files(COMPARISON_FDS.min(hard))?;
    let compared = async { compare::compare(arguments.clone(), options.clone(), stop()).await };
    let comparison =
        runtime()?.block_on(compared).map_err(|error| ServerError::Environment(error.to_string()))?;
    let json = compare::json(&comparison).map_err(|error| ServerError::Environment(error.to_string()))?;
    write(&compare::table(&comparison), &json, options)?;
    let contestants = comparison.scenarios.iter().flat_map(|compared| &compared.contestants);
    let mut contestants = contestants.filter(|one| one.was_asked_for);
    Ok(contestants.all(|one| one.rounds.iter().any(Figures::is_whole)))
}

/// The child of a comparison: sends until it is ended.
fn floor(options: &Options) -> Result<(), ServerError> {
    let wrong = |error: &dyn std::fmt::Display| ServerError::Environment(error.to_string());
    let spec = serde_json::from_reader(std::io::stdin().lock()).map_err(|error| wrong(&error))?;
    let cast = Cast::new(options).map_err(ServerError::Environment)?;
    floor::send(&spec, &cast.library).map_err(|error| wrong(&error))?;
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime, ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| ServerError::Environment(error.to_string()))
}

async fn play(scenario: Scenario, options: &Options) -> Result<Report, ServerError> {
    let net = Net::new(&options.server, options.ca.as_deref())?;
    let address = net.address().await?;
    let process = process(options, address)?;
    let cast = Cast::new(options).map_err(ServerError::Environment)?;
    let (plane, events) = MediaPlane::start(PlaneOptions {
        pin: options.pin,
        // Media may be at another address than the page: a socket leaves by whatever leads there.
        bind: options.bind.unwrap_or_else(|| any(address)),
        announce: options.bind.map_or_else(|| towards(address), Ok)?,
        profile: options.profile.srtp(),
        receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        media: Arc::clone(&cast.library),
        transport_feedback: !options.no_twcc,
    })?;
    let transports = Transports::new(plane, events);
    let video_kbps =
        if matches!(scenario, Scenario::Audio { .. }) { Vec::new() } else { cast.video_kbps.clone() };
    let server: Arc<dyn Server> = match options.kind {
        ServerKind::Vestibule => {
            Arc::new(Vestibule::new(net, options.key.as_deref(), transports.clone(), cast)?)
        }
        ServerKind::Livekit => {
            let key = options.key.as_deref().and_then(|key| key.split_once(':'));
            let (name, secret) =
                key.ok_or_else(|| ServerError::NoKey("--key NAME:SECRET, of its configuration".to_owned()))?;
            let key = ApiKey { name: name.to_owned(), secret: secret.to_owned() };
            Arc::new(LiveKit::new(net, key, transports.clone(), cast))
        }
        ServerKind::Janus => Arc::new(Janus::connect(net, "", transports.clone(), cast).await?),
    };
    let run =
        Run { options: options.clone(), scenario, server, transports, process, video_kbps, stop: stop() };
    run.play().await
}

/// Ctrl-C once: everybody leaves, and what was measured is told. Twice: at once.
fn stop() -> Stop {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if sender.send_replace(true) {
                std::process::exit(130);
            }
        }
        // Without signals there is nobody to listen to; the run goes on.
        std::future::pending::<()>().await;
    });
    Stop(receiver)
}

/// The server's process: the one that was named, or whoever listens there.
fn process(options: &Options, address: SocketAddr) -> Result<Option<Process>, ServerError> {
    let found =
        match options.pid {
            Some(pid) => {
                let process = Process::open(pid);
                Some(process.map_err(|error| {
                    ServerError::Environment(format!("no process {pid} to look at: {error}"))
                })?)
            }
            None => find::listener(address).and_then(|pid| Process::open(pid).ok()),
        };
    if found.is_none() && options.fail_cpu_us.is_some() {
        let why = "--fail-cpu-us takes the server's process, which is not found on this machine: name it with --pid";
        return Err(ServerError::Environment(why.to_owned()));
    }
    Ok(found)
}

/// All addresses of ours of its family.
fn any(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// The address of ours from which one gets there.
fn towards(address: SocketAddr) -> Result<IpAddr, ServerError> {
    let local = || {
        let socket = UdpSocket::bind((any(address), 0))?;
        socket.connect(address)?;
        socket.local_addr()
    };
    let local = local().map_err(|error| ServerError::Environment(format!("no way to {address}: {error}")))?;
    Ok(local.ip())
}

fn pin(core: usize) -> Result<(), ServerError> {
    let mut cores = CpuSet::new();
    let pinned = cores.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
    pinned.map_err(|error| {
        ServerError::Environment(format!("the tester cannot be kept on processor {core}: {error}"))
    })
}

fn files(scenario: Scenario, options: &Options) -> u64 {
    let people = scenario.plan(options.video > 0).people();
    u64::try_from(people).unwrap_or(u64::MAX) * FDS_EACH + SPARE_FDS
}

/// Thousands of sockets are more than a shell allows by itself.
fn allow_files(needed: u64) -> Result<(), ServerError> {
    let wrong = |why: String| ServerError::Environment(why);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| wrong(error.to_string()))?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(wrong(format!("{needed} open files are needed and {hard} allowed: ulimit -Hn {needed}")));
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard)
        .map_err(|error| wrong(format!("ulimit -n {needed}: {error}")))
}

/// The table to standard output, and the JSON to its file; or the JSON to standard output, if that is its file.
fn write(table: &str, json: &str, options: &Options) -> Result<(), ServerError> {
    match options.json.as_deref() {
        Some(path) if path == Path::new("-") => print(json),
        Some(path) => {
            print(table);
            to_file(path, json)?;
        }
        None => print(table),
    }
    Ok(())
}

fn to_file(path: &Path, text: &str) -> Result<(), ServerError> {
    fs::write(path, text).map_err(|error| ServerError::Environment(format!("{}: {error}", path.display())))
}

#[expect(clippy::print_stdout, reason = "the report is what the program is for")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "what went wrong is told to who called")]
fn say(text: &str) {
    eprintln!("{text}");
}
