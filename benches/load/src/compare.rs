//! The comparison: Vestibule and others in turn, on the same core of the same machine, with the same participants, the
//! same media, the same SRTP profile and the same window; round after round, so that what changes about the machine
//! meanwhile meets all of them.

pub mod figures;
mod floor;
mod process;
mod table;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Parser, ValueEnum};
use nix::ifaddrs::getifaddrs;
use serde::Serialize;

use crate::cast::Cast;
use crate::cli::{Options, ScenarioCommand};
use crate::client::{MediaPlane, PlaneError, PlaneOptions};
use crate::measure::machine::Machine;
use crate::measure::process::Process;
use crate::report::{Report, ScenarioPlayed};
use crate::run::{Run, Stop};
use crate::scenario::Scenario;
use crate::server::janus::Janus;
use crate::server::livekit::LiveKit;
use crate::server::vestibule::Vestibule;
use crate::server::{Net, Server, ServerError};
use crate::transports::Transports;

use figures::{Contestant, Figures, set_ratios};
pub use process::ProcessError;

pub use table::table;

/// What is compared unless it is said otherwise.
const SCENARIOS: [&str; 4] = ["one-to-many 50", "audio 100", "rooms 10x4", "visits 200"];
/// What the sockets of the media thread may keep of what came in a burst.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// The name of this form of a comparison.
const FORMAT: &str = "vestibule-compare/1";

/// What `compare` takes besides the options of a run.
#[derive(Args, Clone, Debug)]
pub struct CompareArguments {
    /// What Vestibule is compared with; janus, janus-event-loops, floor, and livekit where it is installed, unless given
    #[arg(long, value_enum, value_delimiter = ',')]
    pub against: Vec<Peer>,
    /// A scenario with its number, as 'one-to-many 50'; repeatable
    #[arg(long = "scenario", value_name = "SCENARIO", value_parser = scenario, default_values = SCENARIOS)]
    pub scenarios: Vec<Scenario>,
    /// How often each server's turn comes in each scenario
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Vestibule's binary; the one beside this program unless given
    #[arg(long, value_name = "FILE")]
    pub vestibule: Option<PathBuf>,
    /// The processor the servers run on, from 0
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    pub server_core: usize,
    /// The processor the tester runs on
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    pub tester_core: usize,
    /// The address all media use; the first that is not loopback unless given
    #[arg(long, value_name = "IP")]
    pub ip: Option<Ipv4Addr>,
    /// Libraries Janus is to load before the system's, as a libsrtp on another crypto library
    #[arg(long, value_name = "DIR")]
    pub janus_libraries: Option<PathBuf>,
}

/// What Vestibule can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// The `janus` of the PATH, as packaged: a thread for each peer connection
    Janus,
    /// The same with `event_loops = 1`
    JanusEventLoops,
    /// The `livekit-server` of the PATH; never tried with a real one
    Livekit,
    /// A child process that only seals and sends the same packets
    Floor,
}

/// A finished comparison.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Names this form.
    pub format: &'static str,
    /// On what.
    pub machine: Machine,
    /// Where the servers ran.
    pub server_core: usize,
    /// Where the tester ran.
    pub tester_core: usize,
    /// Scenario by scenario.
    pub scenarios: Vec<Compared>,
}

/// One scenario of a comparison.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// What was played, with its settings.
    pub played: ScenarioPlayed,
    /// How often.
    pub rounds: u32,
    /// Vestibule first.
    pub contestants: Vec<Contestant>,
}

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Janus offers no loopback candidates.
    #[error(
        "no address but loopback, on which Janus offers no candidates; run 'make load-compare', which makes one in a \
        network namespace of its own, or name one with --ip"
    )]
    NoAddress,
    /// Recordings that cannot be used.
    #[error("{0}")]
    Cast(String),
    /// A server that does not come up.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A server that cannot be tried.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The tester's own media thread.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// Somebody did not want to wait.
    #[error("it was ended before its window was over")]
    Interrupted,
    /// What `/proc` says of the server.
    #[error("the server's process cannot be looked at: {0}")]
    Proc(std::io::Error),
}

/// Who has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Vestibule,
    Peer(Peer),
}

impl Turn {
    /// Before the server has said its version.
    const fn name(self) -> &'static str {
        match self {
            Self::Vestibule => "Vestibule",
            Self::Peer(Peer::Janus) => "Janus as packaged",
            Self::Peer(Peer::JanusEventLoops) => "Janus event_loops=1",
            Self::Peer(Peer::Livekit) => "LiveKit",
            Self::Peer(Peer::Floor) => "floor: seal and send",
        }
    }
}

struct Comparing {
    arguments: CompareArguments,
    options: Options,
    ip: Ipv4Addr,
    vestibule: PathBuf,
    /// Nobody asked for LiveKit; it was there.
    found_livekit: bool,
    stop: Stop,
}

/// Compares. A server that does not get through a round is noted; the others go on.
///
/// # Errors
///
/// Nothing can be compared here.
pub async fn compare(
    mut arguments: CompareArguments,
    mut options: Options,
    stop: Stop,
) -> Result<Comparison, CompareError> {
    let mut found_livekit = false;
    if arguments.against.is_empty() {
        arguments.against = [Peer::Janus, Peer::JanusEventLoops, Peer::Floor].into();
        found_livekit = process::is_on_path(process::LIVEKIT);
        arguments.against.extend(found_livekit.then_some(Peer::Livekit));
    }
    let ip = arguments.ip.or_else(first_address).ok_or(CompareError::NoAddress)?;
    let vestibule = arguments.vestibule.clone().unwrap_or_else(beside_this_program);
    // A single encoding, so that servers that choose layers in different ways forward the same.
    options.layers = 1;
    options.pin = Some(arguments.tester_core);
    options.bind = Some(IpAddr::V4(ip));
    let comparing = Comparing { arguments, options, ip, vestibule, found_livekit, stop };
    let mut scenarios = Vec::new();
    for &scenario in &comparing.arguments.scenarios {
        if !comparing.stop.is_wished() {
            scenarios.push(comparing.scenario(scenario).await?);
        }
    }
    let CompareArguments { server_core, tester_core, .. } = comparing.arguments;
    Ok(Comparison { format: FORMAT, machine: Machine::this(), server_core, tester_core, scenarios })
}

impl Comparing {
    async fn scenario(&self, scenario: Scenario) -> Result<Compared, CompareError> {
        let peers = self.arguments.against.iter().map(|&peer| Turn::Peer(peer));
        let turns: Vec<Turn> = std::iter::once(Turn::Vestibule).chain(peers).collect();
        let mut contestants: Vec<_> =
            turns.iter().map(|turn| Contestant::new(turn.name().to_owned())).collect();
        for (turn, contestant) in turns.iter().zip(&mut contestants) {
            contestant.was_asked_for = *turn != Turn::Peer(Peer::Livekit) || !self.found_livekit;
        }
        let mut played = None;
        for round in 0..self.arguments.rounds as usize {
            // Each begins a round in its turn, so none always follows the same.
            for place in 0..turns.len() {
                let index = (place + round) % turns.len();
                if self.stop.is_wished() {
                    break;
                }
                progress(scenario, round, &contestants[index].name);
                match self.turn(turns[index], scenario).await {
                    Ok((name, report, figures)) => {
                        contestants[index].name = name;
                        contestants[index].rounds.push(figures);
                        played = played.or(report);
                    }
                    Err(error) => contestants[index].failures.push(format!("round {}: {error}", round + 1)),
                }
            }
        }
        let floor = turns.iter().position(|turn| *turn == Turn::Peer(Peer::Floor));
        set_ratios(&mut contestants, 0, floor);
        let played =
            played.unwrap_or_else(|| ScenarioPlayed { title: scenario.title(), ..ScenarioPlayed::default() });
        Ok(Compared { played, rounds: self.arguments.rounds, contestants })
    }

    async fn turn(
        &self,
        turn: Turn,
        scenario: Scenario,
    ) -> Result<(String, Option<ScenarioPlayed>, Figures), CompareError> {
        let core = self.arguments.server_core;
        let (plane, mut cast) = self.plane()?;
        if matches!(scenario, Scenario::Audio { .. }) {
            // Nobody's camera is on.
            cast.video_kbps.clear();
        }
        match turn {
            Turn::Vestibule => {
                let limit = scenario.plan(true).size_max();
                let server = process::Vestibule::start(&self.vestibule, core, self.ip, limit).await?;
                let net = Net::new(&format!("http://{}", server.address), None)?;
                let tried = Vestibule::new(net, Some(&server.key), plane.clone(), cast.clone())?;
                self.run(scenario, Arc::new(tried), plane, &cast, server.process).await
            }
            Turn::Peer(Peer::Janus) => self.janus(scenario, plane, cast, None).await,
            Turn::Peer(Peer::JanusEventLoops) => self.janus(scenario, plane, cast, Some(1)).await,
            Turn::Peer(Peer::Livekit) => {
                let server = process::LiveKit::start(core, self.ip).await?;
                let net = Net::new(&format!("ws://{}", server.address), None)?;
                let tried = LiveKit::new(net, server.key, plane.clone(), cast.clone());
                self.run(scenario, Arc::new(tried), plane, &cast, server.process).await
            }
            Turn::Peer(Peer::Floor) => {
                let (process, stdin) = process::ServerProcess::floor(core, &self.media())?;
                let profile = self.options.profile.srtp();
                let tried = floor::Floor::new(plane.plane().clone(), cast.clone(), profile, self.ip, stdin);
                let (name, played, mut figures) =
                    self.run(scenario, Arc::new(tried), plane, &cast, process).await?;
                // It keeps nothing for anybody.
                figures.rss_per_participant_bytes = None;
                Ok((name, played, figures))
            }
        }
    }

    /// What the media is made from, for a child that makes the same.
    fn media(&self) -> Vec<String> {
        let files = [("--video-file", &self.options.video_file), ("--audio-file", &self.options.audio_file)];
        let named = files
            .into_iter()
            .filter_map(|(name, file)| Some([name.to_owned(), file.as_ref()?.display().to_string()]));
        let seed = ["--seed".to_owned(), self.options.seed.to_string()];
        named.flatten().chain(seed).collect()
    }

    fn plane(&self) -> Result<(Transports, Cast), CompareError> {
        let cast = Cast::new(&self.options).map_err(CompareError::Cast)?;
        let (plane, events) = MediaPlane::start(PlaneOptions {
            pin: self.options.pin,
            bind: IpAddr::V4(self.ip),
            announce: IpAddr::V4(self.ip),
            profile: self.options.profile.srtp(),
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            media: Arc::clone(&cast.library),
            transport_feedback: !self.options.no_twcc,
        })?;
        Ok((Transports::new(plane, events), cast))
    }

    async fn janus(
        &self,
        scenario: Scenario,
        plane: Transports,
        cast: Cast,
        event_loops: Option<u32>,
    ) -> Result<(String, Option<ScenarioPlayed>, Figures), CompareError> {
        let libraries = self.arguments.janus_libraries.as_deref();
        let server = process::Janus::start(self.arguments.server_core, event_loops, libraries).await?;
        let setup =
            event_loops.map_or_else(|| "as packaged".to_owned(), |count| format!("event_loops={count}"));
        let net = Net::new(&format!("ws://{}", server.api), None)?;
        let tried = Janus::connect(net, &setup, plane.clone(), cast.clone()).await?;
        self.run(scenario, Arc::new(tried), plane, &cast, server.process).await
    }

    async fn run(
        &self,
        scenario: Scenario,
        server: Arc<dyn Server>,
        transports: Transports,
        cast: &Cast,
        process: process::ServerProcess,
    ) -> Result<(String, Option<ScenarioPlayed>, Figures), CompareError> {
        let run = Run {
            options: self.options.clone(),
            scenario,
            server,
            transports,
            process: Some(Process::open(process.pid()).map_err(CompareError::Proc)?),
            video_kbps: cast.video_kbps.clone(),
            stop: self.stop.clone(),
        };
        let report: Report = run.play().await?;
        process.stop().await;
        if self.stop.is_wished() {
            return Err(CompareError::Interrupted);
        }
        let figures = Figures::of(&report);
        Ok((report.server.name, Some(report.scenario), figures))
    }
}

/// Which option of a run stands on the command line though a comparison says itself what it is, or has no use for it.
#[must_use]
pub fn useless_option(matches: &ArgMatches) -> Option<&'static str> {
    const USELESS: [&str; 13] = [
        "server",
        "kind",
        "key",
        "ca",
        "pid",
        "pin",
        "bind",
        "layers",
        "html",
        "fail_loss",
        "fail_p99_ms",
        "fail_cpu_us",
        "fail_join_p95_ms",
    ];
    let given = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    USELESS.iter().find(given).copied()
}

/// As JSON, ending in a line break.
///
/// # Errors
///
/// A number is none (not a number, or infinite): a mistake of ours.
pub fn json(comparison: &Comparison) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(comparison)?;
    text.push('\n');
    Ok(text)
}

fn scenario(text: &str) -> Result<Scenario, String> {
    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        scenario: ScenarioCommand,
    }
    let words = std::iter::once("scenario").chain(text.split_ascii_whitespace());
    let scenario = Line::try_parse_from(words).map_err(|error| error.to_string())?.scenario.scenario();
    match scenario {
        Scenario::Visits { .. }
        | Scenario::Rooms { .. }
        | Scenario::OneToMany { .. }
        | Scenario::Audio { .. } => Ok(scenario),
        _ => Err("only visits, rooms, one-to-many and audio mean the same at other servers".to_owned()),
    }
}

fn beside_this_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("vestibule")
}

fn first_address() -> Option<Ipv4Addr> {
    let addresses =
        getifaddrs().ok()?.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    addresses.into_iter().find(|address| !address.is_loopback())
}

/// For whoever waits: a comparison takes minutes.
#[expect(clippy::print_stderr, reason = "progress is for people")]
fn progress(scenario: Scenario, round: usize, name: &str) {
    eprintln!("{}: round {}, {name}", scenario.title(), round + 1);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_scenario_is_named_as_on_the_command_line() {
        assert_eq!(scenario("one-to-many 50"), Ok(Scenario::OneToMany { receivers: 50 }));
        assert_eq!(scenario("rooms  10x4"), Ok(Scenario::Rooms { rooms: 10, size: 4 }));
        for text in SCENARIOS {
            assert!(scenario(text).is_ok(), "{text}");
        }
        for text in ["", "rooms", "churn", "waiting-room 5", "visits 0"] {
            assert!(scenario(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_option_a_comparison_would_ignore_is_refused() {
        let useless = |line: &str| {
            let words = ["vestibule-load"].into_iter().chain(line.split(' '));
            let matches = Cli::command().get_matches_from(words);
            useless_option(matches.subcommand_matches("compare").unwrap())
        };
        assert_eq!(useless("compare --html load.html"), Some("html"));
        assert_eq!(useless("--fail-loss 1 compare"), Some("fail_loss"));
        assert_eq!(useless("compare --layers 3 --window 5s"), Some("layers"));
        assert_eq!(useless("compare --window 5s --json - --no-twcc --against floor"), None);
    }

    #[test]
    fn a_table_has_a_line_for_each_and_says_what_went_wrong() {
        let figures = Figures {
            packets_per_second: 10_000.0,
            cpu_us_per_packet: Some(2.0),
            packets_per_core_second: Some(500_000.0),
            delay_p50_us: Some(87),
            delay_p99_us: Some(1_400),
            rss_per_participant_bytes: Some(95_000),
            ..Figures::default()
        };
        let slow = Figures { cpu_us_per_packet: Some(15.0), ..figures.clone() };
        let empty = Figures { cpu_us_per_packet: Some(99.0), failed: 2, ..slow.clone() };
        let mut contestants = ["Vestibule", "Janus", "Ghost"].map(|name| Contestant::new(name.to_owned()));
        contestants[0].rounds = vec![figures.clone(), figures];
        contestants[1].rounds = vec![empty, slow];
        contestants[2].failures = vec!["round 1: not there".to_owned()];
        set_ratios(&mut contestants, 0, None);
        let comparison = Comparison {
            format: FORMAT,
            machine: Machine::this(),
            server_core: 0,
            tester_core: 1,
            scenarios: vec![Compared {
                played: ScenarioPlayed::default(),
                rounds: 2,
                contestants: contestants.into(),
            }],
        };
        let text = table(&comparison);
        let line =
            |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
        for cell in ["2.00 (2.00–2.00)", "87 µs", "1.40 ms", "95.0 kB", "1.00"] {
            assert!(line("Vestibule").contains(cell), "{text}");
        }
        assert!(line("Janus").contains("7.50"), "{text}");
        assert!(line("! Janus").contains("round 1: 2 did not get in"), "{text}");
        assert!(line("! Ghost").contains("not there"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json(&comparison).unwrap()).unwrap();
        assert_eq!(json["scenarios"][0]["contestants"][1]["timesVestibule"], 7.5);
    }
}
