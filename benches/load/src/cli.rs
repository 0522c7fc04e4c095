//! What can be said on the command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use vestibule_media_core::srtp::SrtpProfile;

use crate::compare::CompareArguments;
use crate::scenario::Scenario;

/// Most people in one room of `rooms`: providers, patients and interpreters all send.
const ROOM_SIZE_MAX: u32 = 200;
/// Most of anything else: what the numbers of sources can tell apart, and far more than a machine can carry.
const COUNT_MAX: u32 = 100_000;

/// Plays many participants against a telehealth or video server, and measures what a packet costs there.
#[derive(Debug, Parser)]
#[command(name = "vestibule-load", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// What is done.
    #[command(subcommand)]
    pub command: Command,
    /// How.
    #[command(flatten)]
    pub options: Options,
}

/// A scenario, or the comparison.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Vestibule and other servers in turn, on this machine, and what a packet costs each
    Compare(CompareArguments),
    /// Seals and sends what standard input says: the child of a comparison
    #[command(hide = true)]
    Floor,
    /// What is played.
    #[command(flatten)]
    Scenario(ScenarioCommand),
}

const EXIT_CODES: &str = "Exit code: 0, 1 when a threshold (--fail-…) was exceeded, somebody did not get in \
    or a stream stopped or never came (standard error says which), 2 when it could not be tried at all.";

/// The scenarios, as they are called on the command line.
#[derive(Clone, Debug, Subcommand)]
pub enum ScenarioCommand {
    /// Rooms of a provider and a patient: the load a clinic makes
    Visits {
        /// How many visits
        #[arg(value_name = "N", value_parser = count())]
        rooms: u32,
    },
    /// N rooms in which M people all send to each other, as in 10x4
    Rooms {
        /// Rooms × people in each
        #[arg(value_name = "NxM", value_parser = rooms_by_size)]
        rooms: (u32, u32),
    },
    /// One who sends audio and video to K who only receive
    OneToMany {
        /// How many receive
        #[arg(value_name = "K", value_parser = count())]
        receivers: u32,
    },
    /// One who sends audio to K who only receive
    Audio {
        /// How many receive
        #[arg(value_name = "K", value_parser = count())]
        receivers: u32,
    },
    /// Patients come and go beside calls that run
    Churn {
        /// How many come a second, and how many leave
        #[arg(long, value_name = "JOINS/s", default_value = "50/s", value_parser = rate)]
        rate: f64,
        /// For how long
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
        duration: Duration,
        /// How long each stays
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
        stay: Duration,
        /// Visits that run beside them
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = count())]
        calls: u32,
    },
    /// N visits in which nobody sends anything: what it costs to have people connected
    Idle {
        /// How many visits
        #[arg(value_name = "N", value_parser = count())]
        rooms: u32,
    },
    /// The signaling sockets of N visits are cut at once; how long until all are back
    ReconnectStorm {
        /// How many visits
        #[arg(value_name = "N", value_parser = count())]
        rooms: u32,
    },
    /// N patients wait with warm transports and are let in one by one; how long until each sees something
    WaitingRoom {
        /// How many patients
        #[arg(value_name = "N", value_parser = count())]
        patients: u32,
    },
    /// More and more visits until packets are lost (> 0.1 %), late (p99 > 20 ms), or the tester itself cannot go on
    Staircase {
        /// Visits more at each step
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = count())]
        step: u32,
        /// Where it ends in any case
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count())]
        most: u32,
    },
    /// N visits for a long time
    Soak {
        /// How many visits
        #[arg(value_name = "N", value_parser = count())]
        rooms: u32,
        /// For how long
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
        duration: Duration,
    },
}

impl ScenarioCommand {
    /// The scenario it asks for.
    #[must_use]
    pub const fn scenario(&self) -> Scenario {
        match *self {
            Self::Visits { rooms } => Scenario::Visits { rooms },
            Self::Rooms { rooms: (rooms, size) } => Scenario::Rooms { rooms, size },
            Self::OneToMany { receivers } => Scenario::OneToMany { receivers },
            Self::Audio { receivers } => Scenario::Audio { receivers },
            Self::Churn { rate, duration, stay, calls } => {
                Scenario::Churn { calls, joins_per_second: rate, stay, duration }
            }
            Self::Idle { rooms } => Scenario::Idle { rooms },
            Self::ReconnectStorm { rooms } => Scenario::ReconnectStorm { rooms },
            Self::WaitingRoom { patients } => Scenario::WaitingRoom { patients },
            Self::Staircase { step, most } => Scenario::Staircase { step, rooms_max: most },
            Self::Soak { rooms, duration } => Scenario::Soak { rooms, duration },
        }
    }
}

/// The SRTP profile that is offered, and so the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// `AEAD_AES_128_GCM` (RFC 7714)
    Gcm128,
    /// `AEAD_AES_256_GCM` (RFC 7714)
    Gcm256,
    /// `AES128_CM_HMAC_SHA1_80` (RFC 3711)
    Cm80,
}

impl Profile {
    /// The name it has in the registry of DTLS-SRTP protection profiles.
    #[must_use]
    pub const fn iana_name(self) -> &'static str {
        match self {
            Self::Gcm128 => "SRTP_AEAD_AES_128_GCM",
            Self::Gcm256 => "SRTP_AEAD_AES_256_GCM",
            Self::Cm80 => "SRTP_AES128_CM_HMAC_SHA1_80",
        }
    }
}

impl Profile {
    /// As the media plane takes it.
    #[must_use]
    pub const fn srtp(self) -> SrtpProfile {
        match self {
            Self::Gcm128 => SrtpProfile::AeadAes128Gcm,
            Self::Gcm256 => SrtpProfile::AeadAes256Gcm,
            Self::Cm80 => SrtpProfile::Aes128CmSha1_80,
        }
    }
}

/// What servers are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServerKind {
    /// Vestibule, by its API and its signaling
    Vestibule,
    /// Janus's videoroom, by its WebSocket API: --server ws://127.0.0.1:8188
    Janus,
    /// LiveKit, by its signaling, with --key NAME:SECRET; never tried against a real one
    Livekit,
}

/// Options of all scenarios.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The server
    #[arg(global = true, long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// What kind of server it is
    #[arg(global = true, long, value_enum, default_value_t = ServerKind::Vestibule)]
    pub kind: ServerKind,
    /// An API key with the scopes sessions:read, sessions:write, consents:write, config:read and config:write
    #[arg(global = true, long, env = "VESTIBULE_LOAD_KEY", hide_env_values = true, value_name = "KEY")]
    pub key: Option<String>,
    /// Certificate (PEM) to trust besides the public ones, as a server's own
    #[arg(global = true, long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The server's process, for its CPU and memory; found by its port on this machine unless given
    #[arg(global = true, long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Keep the tester on this processor (from 0)
    #[arg(global = true, long, value_name = "CORE")]
    pub pin: Option<usize>,
    /// Address for the participants' UDP sockets; whichever of the page's family leads to the server's unless given
    #[arg(global = true, long, value_name = "IP")]
    pub bind: Option<IpAddr>,
    /// How many come in a second at the beginning
    #[arg(global = true, long, value_name = "JOINS/s", default_value = "20", value_parser = rate)]
    pub ramp: f64,
    /// Time between the last who came and the window
    #[arg(global = true, long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub warm_up: Duration,
    /// Time in which is measured
    #[arg(global = true, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub window: Duration,
    /// Bit rate of the camera's highest layer; 0 for no video
    #[arg(global = true, long, value_name = "KBIT/s", default_value_t = 1500)]
    pub video: u32,
    /// Layers of simulcast
    #[arg(global = true, long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(1..=3))]
    pub layers: u8,
    /// Receivers send no transport-wide feedback: what is left is the cost without it
    #[arg(global = true, long)]
    pub no_twcc: bool,
    /// Constant speech: no pauses, so no comfort noise
    #[arg(global = true, long)]
    pub no_dtx: bool,
    /// Video from this IVF file (VP8) in place of what is made up; a single layer
    #[arg(global = true, long, value_name = "IVF")]
    pub video_file: Option<PathBuf>,
    /// Audio from this Ogg file (Opus) in place of what is made up
    #[arg(global = true, long, value_name = "OGG")]
    pub audio_file: Option<PathBuf>,
    /// SRTP profile; the only one that is offered
    #[arg(global = true, long, value_enum, default_value_t = Profile::Gcm128)]
    pub profile: Profile,
    /// Makes the same media again
    #[arg(global = true, long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON; - for standard output, in place of the table
    #[arg(global = true, long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a page with plots
    #[arg(global = true, long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Exit with 1 above this loss
    #[arg(global = true, long, value_name = "PERCENT")]
    pub fail_loss: Option<f64>,
    /// Exit with 1 above this forward delay (99th percentile)
    #[arg(global = true, long, value_name = "MS")]
    pub fail_p99_ms: Option<f64>,
    /// Exit with 1 above this much of the server's CPU per packet it forwarded
    #[arg(global = true, long, value_name = "MICROSECONDS")]
    pub fail_cpu_us: Option<f64>,
    /// Exit with 1 above this time from token to first packet (95th percentile)
    #[arg(global = true, long, value_name = "MS")]
    pub fail_join_p95_ms: Option<f64>,
}

fn count() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX))
}

/// `10x4`, `10×4`.
fn rooms_by_size(text: &str) -> Result<(u32, u32), String> {
    let (rooms, size) = text.split_once(['x', 'X', '×']).ok_or("as in 10x4: rooms × people in each")?;
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| format!("{text:?} is no number"));
    let (rooms, size) = (number(rooms)?, number(size)?);
    if !(1..=COUNT_MAX).contains(&rooms) {
        return Err(format!("1 to {COUNT_MAX} rooms"));
    }
    if !(2..=ROOM_SIZE_MAX).contains(&size) {
        return Err(format!("2 to {ROOM_SIZE_MAX} people in a room"));
    }
    Ok((rooms, size))
}

/// `90`, `90s`, `5m`, `2h`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no time, as 90s, 5m or 2h"))?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        other => return Err(format!("{other:?} is no unit of time; ms, s, m or h")),
    };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text:?} is no time"))?;
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(7 * 24 * 3600));
    if duration < least || duration > most { Err("1ms to 168h".to_owned()) } else { Ok(duration) }
}

/// `50`, `50/s`.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    let rate: f64 = number.parse().map_err(|_| format!("{text:?} is no rate, as 50/s"))?;
    if (0.01..=10_000.0).contains(&rate) { Ok(rate) } else { Err("0.01 to 10000 a second".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn scenario(cli: &Cli) -> Scenario {
        let Command::Scenario(command) = &cli.command else { panic!("a scenario") };
        command.scenario()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_the_scenario_or_behind_it() {
        for line in [
            "--window 2 visits 3 --json -",
            "visits 3 --window 2s --json=-",
            "--json - --window 2000ms visits 3",
        ] {
            let cli = Cli::parse_from(["vestibule-load"].into_iter().chain(line.split(' ')));
            assert_eq!(scenario(&cli), Scenario::Visits { rooms: 3 });
            assert_eq!(cli.options.window, Duration::from_secs(2));
            assert_eq!(cli.options.json.as_deref().and_then(|path| path.to_str()), Some("-"));
        }
    }

    #[test]
    fn rooms_are_written_with_either_sign() {
        for text in ["10x4", "10×4", "10X4"] {
            assert_eq!(rooms_by_size(text), Ok((10, 4)));
        }
        for text in ["10", "x4", "0x4", "10x1", "10x4x2", "-1x4"] {
            assert!(rooms_by_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_rates_have_units() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        for text in ["", "0", "-1s", "5 days", "1e99h", "s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!((rate("50/s"), rate("0.5")), (Ok(50.0), Ok(0.5)));
        for text in ["0", "-1", "fast", "50/m", "nan"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_scenario_has_all_its_settings() {
        let cli = Cli::parse_from("vestibule-load churn --rate 10/s --duration 1m --calls 5".split(' '));
        let (stay, duration) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(scenario(&cli), Scenario::Churn { calls: 5, joins_per_second: 10.0, stay, duration });
    }
}
