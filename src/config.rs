//! The command line and the environment, and what follows from them. Reads no file and opens no socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use axum::http::Uri;
use clap::builder::RangedI64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use jiff::Timestamp;
use vestibule_domain::{PARTICIPANTS_LEAST, PARTICIPANTS_MAX, PARTICIPANTS_USUAL, SessionId};
use vestibule_media_core::sdp::CodecName;

use crate::accounts::LoginName;
use crate::data_dir::DataDir;
use crate::ice_servers::IceUrl;
use crate::rights::Right;
use crate::store::{Location, PostgresUrl};

/// A telehealth server: waiting room, admission and video visit in one binary.
#[derive(Clone, Debug, Parser)]
#[command(name = "vestibule", version, subcommand_negates_reqs = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) config: Config,
    /// Starts the server when left out.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else there is to do but to serve.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what others will and will not be able to do with this configuration, and why; changes nothing.
    Check,
    /// Make sessions, and links to them.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Look after the master keys that secrets and what is about somebody's health are sealed with.
    #[command(subcommand)]
    Keys(MasterKeysCommand),
    /// Let staff in again.
    #[command(subcommand)]
    Staff(StaffCommand),
    /// Make API keys.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// What can be done about the master keys. The server may be running meanwhile; it reads them when it starts.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MasterKeysCommand {
    /// Count what is still sealed under older keys.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a new key the current one; older ones stay, to open what is under them.
    Rotate,
}
/// What can be done about accounts at the terminal. The server may be running meanwhile.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StaffCommand {
    /// Print a one-time link by which somebody of the staff sets their password.
    Link {
        /// What they sign in with.
        #[arg(long, value_name = "NAME")]
        login: LoginName,
    },
}

/// What can be done about API keys at the terminal. The server may be running meanwhile.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make an API key and print it.
    Create(CreateKey),
}

/// An API key to be made.
#[derive(Args, Clone, Debug)]
pub(crate) struct CreateKey {
    /// The clinic's name; made if there is none of that name. Left out: the only one there is.
    #[arg(long, value_name = "NAME")]
    pub(crate) clinic: Option<String>,
    /// What the key is for.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// What it may do, as in `sessions:read,sessions:write`.
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPES")]
    pub(crate) scopes: Vec<Right>,
    /// From when it opens nothing (RFC 3339). Left out, it is good until it is revoked.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// What can be done about sessions at the terminal. The server may be running meanwhile.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Make a session and print a link for each participant.
    Create(Box<CreateSession>),
    /// Print fresh links for all participants of a session.
    Links {
        /// The id that `session create` printed.
        session: SessionId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A session to be made.
#[derive(Args, Clone, Debug)]
pub(crate) struct CreateSession {
    /// The clinic's name; made if there is none of that name. Left out: the only one there is.
    #[arg(long, value_name = "NAME")]
    pub(crate) clinic: Option<String>,
    /// A provider's name; repeatable.
    #[arg(long, required = true, value_name = "NAME")]
    pub(crate) provider: Vec<String>,
    /// The patient's name.
    #[arg(long, value_name = "NAME")]
    pub(crate) patient: String,
    /// The patient's id in the clinic's records; one is made up when left out.
    #[arg(long, value_name = "ID")]
    pub(crate) patient_id: Option<String>,
    /// The desk whose queue the patient waits in.
    #[arg(long, default_value = "desk", value_name = "REF")]
    pub(crate) desk: String,
    /// An interpreter's name; repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) interpreter: Vec<String>,
    /// An observer's name (family, trainee); repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) observer: Vec<String>,
    /// When it is to start (RFC 3339, or `now`). Left out, the links are good for 15 minutes from now.
    #[arg(long, value_parser = start_time, value_name = "TIME")]
    pub(crate) start: Option<StartTime>,
    /// When it is to end (RFC 3339).
    #[arg(long, requires = "start", value_name = "TIME")]
    pub(crate) end: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartTime {
    Now,
    At(Timestamp),
}

fn start_time(text: &str) -> Result<StartTime, jiff::Error> {
    if text == "now" { Ok(StartTime::Now) } else { text.parse().map(StartTime::At) }
}

fn participants_limit() -> RangedI64ValueParser<u16> {
    value_parser!(u16).range(i64::from(PARTICIPANTS_LEAST)..=i64::from(PARTICIPANTS_MAX))
}

/// How the server is run. Every flag has its environment variable; a flag goes before it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Config {
    /// Where the page and its signaling listen; port 0 picks a free one.
    #[arg(
        long,
        env = "VESTIBULE_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "IP:PORT",
        global = true
    )]
    pub(crate) listen: SocketAddr,
    /// The folder for the database, keys and certificate; made if missing.
    #[arg(long, env = "VESTIBULE_DATA", default_value = "data", value_name = "DIR", global = true)]
    pub(crate) data: PathBuf,
    /// A PostgreSQL database, as in `postgres://user:password@host/database`. Left out: SQLite in the data folder.
    #[arg(long, env = "VESTIBULE_DATABASE", value_name = "URL", global = true, hide_env_values = true)]
    pub(crate) database: Option<PostgresUrl>,
    /// A host that clinics' logos may come from; repeatable.
    #[arg(long, env = "VESTIBULE_LOGO_HOST", value_name = "HOST", value_delimiter = ',', global = true)]
    pub(crate) logo_host: Vec<String>,
    /// An origin besides this server's own whose pages may open a signaling socket, as in `https://portal.example.org`;
    /// repeatable.
    #[arg(long, env = "VESTIBULE_ALLOW_ORIGIN", value_name = "URL", value_delimiter = ',', global = true)]
    pub(crate) allow_origin: Vec<PublicUrl>,
    /// Requests a second that one caller of the API may make; three times as many at once.
    #[arg(long, env = "VESTIBULE_API_RATE", default_value_t = 100, value_name = "N", global = true,
        value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) api_rate: u32,
    /// The most participants that any clinic may allow in one session.
    #[arg(long, env = "VESTIBULE_PARTICIPANTS_LIMIT", default_value_t = PARTICIPANTS_USUAL, value_name = "N",
        global = true, value_parser = participants_limit())]
    pub(crate) participants_limit: u16,
    /// The address people open, as in `https://visit.example.org`; links begin with it. Left out: the listening one.
    #[arg(long, env = "VESTIBULE_PUBLIC_URL", value_name = "URL", global = true)]
    pub(crate) public_url: Option<PublicUrl>,
    /// TLS: `auto` takes the certificate files if given, else makes a certificate of its own unless only this machine
    /// can reach the server; `off` is for a reverse proxy that does TLS.
    #[arg(long, env = "VESTIBULE_TLS", default_value = "auto", value_name = "MODE", global = true)]
    pub(crate) tls: TlsMode,
    /// The certificate chain, PEM, the server's own first.
    #[arg(long, env = "VESTIBULE_TLS_CERT", requires = "tls_key", value_name = "FILE", global = true)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, env = "VESTIBULE_TLS_KEY", requires = "tls_cert", value_name = "FILE", global = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// The address the media sockets are bound to. Left out: the listening one's.
    #[arg(long, env = "VESTIBULE_MEDIA_BIND", value_name = "IP", global = true)]
    pub(crate) media_bind: Option<IpAddr>,
    /// The port of the first shard, UDP and TCP, the others follow; 0 picks a free one for each.
    #[arg(long, env = "VESTIBULE_MEDIA_PORT", default_value_t = 0, value_name = "PORT", global = true)]
    pub(crate) media_port: u16,
    /// Whether sound and picture may also come by TCP, at the same port numbers: for networks that let no UDP through.
    #[arg(long, env = "VESTIBULE_MEDIA_TCP", default_value = "on", value_name = "on|off", global = true)]
    pub(crate) media_tcp: OnOff,
    /// A STUN or TURN server that browsers are told of, as in `turn:turn.example.org:3478`; repeatable.
    #[arg(long, env = "VESTIBULE_ICE_SERVER", value_name = "URL", value_delimiter = ',', global = true)]
    pub(crate) ice_server: Vec<IceUrl>,
    /// The secret that the TURN servers share with this server (coturn: `static-auth-secret`).
    #[arg(long, env = "VESTIBULE_TURN_SECRET", value_name = "SECRET", global = true, hide_env_values = true)]
    pub(crate) turn_secret: Option<String>,
    /// An address browsers are told to reach instead of the bound one (1:1 NAT), best first; repeatable.
    #[arg(long, env = "VESTIBULE_ANNOUNCE", value_name = "IP[:PORT]", value_delimiter = ',', global = true)]
    pub(crate) announce: Vec<Announced>,
    /// Media threads; each has its own port.
    #[arg(long, env = "VESTIBULE_SHARDS", default_value_t = 1, value_name = "N", global = true,
        value_parser = value_parser!(u16).range(1..=256))]
    pub(crate) shards: u16,
    /// The video codec of visits, as long as everybody in one decodes it: vp8, vp9, h264 or av1.
    #[arg(long, env = "VESTIBULE_VIDEO_CODEC", default_value = "vp8", value_name = "CODEC", global = true)]
    pub(crate) video_codec: VideoCodec,
    /// What a monitoring shows to read `/metrics` from another machine, as a bearer token: 16 characters or more.
    #[arg(
        long,
        env = "VESTIBULE_METRICS_TOKEN",
        value_name = "TOKEN",
        global = true,
        hide_env_values = true
    )]
    pub(crate) metrics_token: Option<String>,
    /// Seed a demo clinic with an open session, and print its links.
    #[arg(long, env = "VESTIBULE_DEMO")]
    pub(crate) demo: bool,
}

/// Characters of a token for `/metrics`: nobody guesses it.
const METRICS_TOKEN_MIN: usize = 16;

/// Whether something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnOff {
    On,
    Off,
}

/// Whether the server speaks TLS itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMode {
    Auto,
    Off,
    SelfSigned,
    Files,
}

/// What `--tls` and the files come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    SelfSigned,
    Files { cert: PathBuf, key: PathBuf },
}

/// A wrong setting, by its name and with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}\n  {fix}")]
pub(crate) struct ConfigError {
    pub(crate) setting: &'static str,
    pub(crate) problem: String,
    pub(crate) fix: String,
}

impl Config {
    /// What does not go together, before anything is started.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.tls()?;
        if let Some(url) = &self.public_url
            && !url.is_https()
            && self.tls()? != Tls::Off
        {
            return Err(ConfigError {
                setting: "--public-url",
                problem: format!("links begin with {url}, but the server speaks TLS: no link would work"),
                fix: format!("write https:{}, or --tls off", url.to_string().trim_start_matches("http:")),
            });
        }
        let fits =
            |token: &String| token.len() >= METRICS_TOKEN_MIN && token.bytes().all(|b| b.is_ascii_graphic());
        if self.metrics_token.as_ref().is_some_and(|token| !fits(token)) {
            return Err(ConfigError {
                setting: "--metrics-token",
                problem: format!("it is no {METRICS_TOKEN_MIN} visible ASCII characters or more"),
                fix: "take a long random one, as `openssl rand -hex 32` makes it".into(),
            });
        }
        let last = u32::from(self.media_port) + u32::from(self.shards) - 1;
        if self.media_port != 0 && last > u32::from(u16::MAX) {
            return Err(ConfigError {
                setting: "--media-port",
                problem: format!("{} shards from port {} end beyond 65535", self.shards, self.media_port),
                fix: format!("choose at most {}", u32::from(u16::MAX) + 1 - u32::from(self.shards)),
            });
        }
        if self.media_takes_the_page_port() {
            return Err(ConfigError {
                setting: "--media-port",
                problem: format!(
                    "media takes TCP port {}, at which the page is to listen",
                    self.listen.port()
                ),
                fix: "choose another, or --media-tcp off".into(),
            });
        }
        if self.ice_server.iter().any(IceUrl::is_turn) != self.turn_secret.is_some() {
            return Err(ConfigError {
                setting: "--turn-secret",
                problem: "a TURN server and its secret go together, and one is missing".into(),
                fix: "give --ice-server turn:… and --turn-secret with coturn's `static-auth-secret`".into(),
            });
        }
        if self.turn_secret.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError {
                setting: "--turn-secret",
                problem: "it is empty".into(),
                fix: "take a long random one, as `openssl rand -hex 32` makes it, for both servers".into(),
            });
        }
        let bind = self.media_bind();
        if let Some(wrong) =
            self.announce.iter().find(|to| to.ip.is_ipv4() != bind.is_ipv4() && !is_any_v6(bind))
        {
            return Err(ConfigError {
                setting: "--announce",
                problem: format!(
                    "{} is announced, but media is bound to {bind}, of the other IP version",
                    wrong.ip
                ),
                fix: "give --media-bind an address of the same version, or :: for both".into(),
            });
        }
        if let Some(wrong) = self.announce.iter().find(|to| to.ip.is_unspecified() || to.ip.is_multicast()) {
            return Err(ConfigError {
                setting: "--announce",
                problem: format!("nobody can reach {}", wrong.ip),
                fix: "give the address that browsers reach this machine by".into(),
            });
        }
        Ok(())
    }

    pub(crate) fn tls(&self) -> Result<Tls, ConfigError> {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        match (self.tls, files) {
            (TlsMode::Auto | TlsMode::Files, Some((cert, key))) => Ok(Tls::Files { cert, key }),
            (TlsMode::Files, None) => Err(ConfigError {
                setting: "--tls",
                problem: "`files` needs the files".into(),
                fix: "give --tls-cert and --tls-key, or --tls self-signed for a trial".into(),
            }),
            (TlsMode::Off | TlsMode::SelfSigned, Some(_)) => Err(ConfigError {
                setting: "--tls",
                problem: "there are certificate files, and it says not to use them".into(),
                fix: "leave out --tls-cert and --tls-key, or --tls".into(),
            }),
            (TlsMode::Auto, None) if self.listen.ip().is_loopback() => Ok(Tls::Off),
            (TlsMode::Auto | TlsMode::SelfSigned, None) => Ok(Tls::SelfSigned),
            (TlsMode::Off, None) => Ok(Tls::Off),
        }
    }

    /// Whether people may come by a proxy, as far as the settings say: then everybody may seem to be on this machine.
    pub(crate) fn is_behind_a_proxy(&self) -> bool {
        self.listen.ip().is_loopback() && self.public_url.as_ref().is_some_and(|url| !url.is_loopback())
    }

    /// Where everything is kept.
    pub(crate) fn location(&self, data: &DataDir) -> Location {
        match &self.database {
            Some(url) => Location::Postgres(url.clone()),
            None => Location::File(data.database()),
        }
    }

    /// Media goes the way the page comes, unless told otherwise.
    pub(crate) fn media_bind(&self) -> IpAddr {
        self.media_bind.unwrap_or_else(|| self.listen.ip())
    }

    /// Whether a media thread would listen for connections where the page is to be.
    fn media_takes_the_page_port(&self) -> bool {
        let (page, bind) = (self.listen, self.media_bind());
        let ports = self.media_port..=self.media_port.saturating_add(self.shards - 1);
        let same_address = page.ip() == bind || page.ip().is_unspecified() || bind.is_unspecified();
        self.media_tcp == OnOff::On && self.media_port != 0 && ports.contains(&page.port()) && same_address
    }

    /// What links begin with, once the server is bound.
    pub(crate) fn origin(&self, bound: SocketAddr) -> PublicUrl {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let mut open = bound;
        if open.ip().is_unspecified() {
            let announced = self.announce.first().map(|to| to.ip);
            open.set_ip(announced.unwrap_or(Ipv4Addr::LOCALHOST.into()));
        }
        let scheme = if matches!(self.tls(), Ok(Tls::Off)) { "http" } else { "https" };
        PublicUrl { origin: format!("{scheme}://{open}") }
    }
}

fn is_any_v6(ip: IpAddr) -> bool {
    ip.is_ipv6() && ip.is_unspecified()
}

/// Scheme, host and port, as in the `Origin` of a browser (RFC 6454).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    origin: String,
}

impl PublicUrl {
    pub(crate) fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Host without port; an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        let authority = self.origin.split_once("://").map_or(&*self.origin, |(_, authority)| authority);
        match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or(v6),
            None => authority.split(':').next().unwrap_or(authority),
        }
    }

    /// A participant's link. The token is in the fragment: no server, proxy or log sees it.
    pub(crate) fn join_link(&self, token: &str) -> String {
        format!("{}/j#{token}", self.origin)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| PublicUrlError)?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(PublicUrlError);
        };
        if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(PublicUrlError);
        }
        // Browsers leave the usual port out.
        let usual = if scheme == "https" { 443 } else { 80 };
        let host = authority.host().to_ascii_lowercase();
        let origin = match authority.port_u16() {
            Some(port) if port != usual => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        };
        Ok(Self { origin })
    }
}

/// Why `--public-url` or `--allow-origin` was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected http(s)://host or http(s)://host:port, without a path")]
pub(crate) struct PublicUrlError;

/// An announced address: `203.0.113.7`, `203.0.113.7:3478`, `2001:db8::7` or `[2001:db8::7]:3478`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) ip: IpAddr,
    /// The port of the first shard as the world sees it; `None` where it is the bound one.
    pub(crate) port: Option<u16>,
}

/// How pictures are to be coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VideoCodec {
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl From<VideoCodec> for CodecName {
    fn from(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::Vp8 => Self::Vp8,
            VideoCodec::Vp9 => Self::Vp9,
            VideoCodec::H264 => Self::H264,
            VideoCodec::Av1 => Self::Av1,
        }
    }
}

impl FromStr for Announced {
    type Err = AnnouncedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_| AnnouncedError::Syntax)?;
        if address.port() == 0 {
            return Err(AnnouncedError::PortZero);
        }
        Ok(Self { ip: address.ip(), port: Some(address.port()) })
    }
}

/// Why an announced address was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnnouncedError {
    #[error("expected an IP address, or an IP address and a port; IPv6 with a port goes in brackets")]
    Syntax,
    #[error("port 0 cannot be announced")]
    PortZero,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Config {
        Cli::try_parse_from([&["vestibule"], args].concat()).unwrap().config
    }

    fn wrong(args: &[&str]) -> String {
        config(args).validate().unwrap_err().to_string()
    }

    #[test]
    fn an_announced_address_may_carry_a_port() {
        let cases = [
            ("203.0.113.7", "203.0.113.7", None),
            ("203.0.113.7:3478", "203.0.113.7", Some(3478)),
            ("2001:db8::7", "2001:db8::7", None),
            ("[2001:db8::7]:3478", "2001:db8::7", Some(3478)),
        ];
        for (text, ip, port) in cases {
            assert_eq!(text.parse(), Ok(Announced { ip: ip.parse().unwrap(), port }), "{text}");
        }
        assert_eq!("example.org:1".parse::<Announced>(), Err(AnnouncedError::Syntax));
        assert_eq!("203.0.113.7:0".parse::<Announced>(), Err(AnnouncedError::PortZero));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn tls_is_on_as_soon_as_others_can_reach_the_server() {
        assert_eq!(config(&[]).tls(), Ok(Tls::Off));
        assert_eq!(config(&["--listen", "0.0.0.0:8080"]).tls(), Ok(Tls::SelfSigned));
        assert_eq!(config(&["--listen", "192.0.2.1:443", "--tls", "off"]).tls(), Ok(Tls::Off));
        let files = Tls::Files { cert: "c.pem".into(), key: "k.pem".into() };
        assert_eq!(config(&["--tls-cert", "c.pem", "--tls-key", "k.pem"]).tls(), Ok(files));
    }

    #[test]
    fn a_wrong_configuration_names_the_setting_and_the_fix() {
        assert!(wrong(&["--tls", "files"]).starts_with("--tls: `files` needs the files\n  give --tls-cert"));
        assert!(wrong(&["--tls", "off", "--tls-cert", "c", "--tls-key", "k"]).starts_with("--tls: "));
        assert!(wrong(&["--media-port", "65535", "--shards", "2"]).contains("choose at most 65534"));
        assert!(wrong(&["--announce", "2001:db8::1"]).contains("--media-bind"));
        let both = ["--listen", "0.0.0.0:8443", "--media-port", "8442", "--shards", "2"];
        assert!(wrong(&both).starts_with("--media-port: media takes TCP port 8443"));
        assert_eq!(config(&[&both[..], &["--media-tcp", "off"]].concat()).validate(), Ok(()));
        assert_eq!(config(&["--media-port", "8080", "--media-bind", "192.0.2.1"]).validate(), Ok(()));
        assert!(wrong(&["--ice-server", "turn:a"]).starts_with("--turn-secret: "));
        assert!(wrong(&["--ice-server", "stun:a", "--turn-secret", "s"]).starts_with("--turn-secret: "));
        assert!(wrong(&["--ice-server", "turn:a", "--turn-secret", ""]).contains("empty"));
        assert_eq!(config(&["--ice-server", "stun:a,turn:b", "--turn-secret", "s"]).validate(), Ok(()));
        assert!(
            wrong(&["--listen", "192.0.2.1:1", "--public-url", "http://a.example"])
                .contains("write https://a.example")
        );
        assert!(wrong(&["--announce", "0.0.0.0"]).starts_with("--announce: nobody can reach"));
        let parse =
            |args: &[&str]| Cli::try_parse_from([&["vestibule"], args].concat()).unwrap_err().to_string();
        assert!(parse(&["--listen", "localhost"]).contains("--listen"));
        assert!(parse(&["--tls-cert", "c.pem"]).contains("--tls-key"));
        assert!(parse(&["--public-url", "visit.example.org"]).contains("--public-url"));
        assert!(parse(&["--shards", "0"]).contains("--shards"));
        for limit in ["1", "1001", "many"] {
            assert!(parse(&["--participants-limit", limit]).contains("--participants-limit"), "{limit}");
        }
        assert!(parse(&["--allow-origin", "portal.example.org"]).contains("--allow-origin"));
        assert!(parse(&["--allow-origin", "https://portal.example.org/page"]).contains("--allow-origin"));
        assert!(parse(&["--allow-origin", "*"]).contains("--allow-origin"));
    }

    #[test]
    fn other_origins_are_allowed_one_by_one() {
        assert_eq!(config(&[]).allow_origin, []);
        let allowed = config(&["--allow-origin", "https://A.example:443", "--allow-origin", "http://b:1"]);
        let texts: Vec<String> = allowed.allow_origin.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["https://a.example", "http://b:1"]);
    }

    #[test]
    fn links_begin_with_the_public_address() {
        let bound = "192.0.2.1:8443".parse().unwrap();
        assert_eq!(
            config(&[]).origin("127.0.0.1:8080".parse().unwrap()).to_string(),
            "http://127.0.0.1:8080"
        );
        assert_eq!(
            config(&["--listen", "192.0.2.1:8443"]).origin(bound).to_string(),
            "https://192.0.2.1:8443"
        );
        let any = config(&["--listen", "0.0.0.0:8443", "--announce", "203.0.113.7"]);
        assert_eq!(any.origin("0.0.0.0:8443".parse().unwrap()).to_string(), "https://203.0.113.7:8443");
        let named = config(&["--public-url", "https://Visit.example.org:443/"]).origin(bound);
        assert_eq!(named.join_link("x"), "https://visit.example.org/j#x");
        assert_eq!(named.host(), "visit.example.org");
        let v6: PublicUrl = "http://[2001:db8::7]:8080".parse().unwrap();
        assert_eq!(v6.host(), "2001:db8::7");
        for wrong in ["https://a/b", "ftp://a", "https://u@a", "a", "https://a?x=1"] {
            assert_eq!(wrong.parse::<PublicUrl>(), Err(PublicUrlError), "{wrong}");
        }
    }
}
