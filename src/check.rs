//! `vestibule check`: what others will and will not be able to do with a configuration, and why.
//!
//! What is found out about the machine is separate from what it means, which is a function of it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::net::{IpAddr, TcpListener, ToSocketAddrs as _, UdpSocket};

use jiff::Timestamp;

use crate::config::{Config, OnOff, PublicUrl, Tls};
use crate::data_dir::DataDir;
use crate::tls::{self, Certificate};
use crate::{clock, hosts, store};

/// A certificate that is good for less than this is worth a word.
const EXPIRES_SOON_S: i64 = 14 * 24 * 3600;

/// How a SQLite file begins.
const SQLITE_HEAD: &[u8] = b"SQLite format 3\0";

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What it is about: a setting, or a thing.
    pub(crate) about: &'static str,
    pub(crate) what: String,
    /// What to do about it; empty when it is fine.
    pub(crate) fix: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Ok,
    Warning,
    Error,
}

impl Finding {
    fn ok(about: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, about, what: what.into(), fix: String::new() }
    }

    fn warning(about: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, about, what: what.into(), fix: fix.into() }
    }

    fn error(about: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Error, about, what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Ok => "ok",
            Level::Warning => "note",
            Level::Error => "WRONG",
        };
        write!(f, "{word:<6}{:<14}{}", self.about, self.what)?;
        if !self.fix.is_empty() {
            write!(f, "\n{:20}→ {}", "", self.fix)?;
        }
        Ok(())
    }
}

/// What was found out about this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The data folder is not there yet.
    pub(crate) data_is_new: bool,
    /// Why the data folder or what is in it is of no use.
    pub(crate) data: Option<String>,
    /// What the PostgreSQL server says, or why it is of no use; nothing without one.
    pub(crate) database: Option<Result<String, String>>,
    /// Why the page's address cannot be listened on.
    pub(crate) listen: Option<Busy>,
    /// Why a port of media cannot be bound, and which.
    pub(crate) media: Option<(&'static str, u16, Busy)>,
    /// The certificate that would be served, or why there is none; nothing without TLS.
    pub(crate) certificate: Option<Result<Certificate, String>>,
    /// It is made at the next start.
    pub(crate) certificate_is_new: bool,
    /// What the public host resolves to here; nothing where it is an address.
    pub(crate) resolved: Option<Result<Vec<IpAddr>, String>>,
}

/// Why an address cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Somebody has it: it may be the server that runs.
    InUse,
    /// Anything else: the server would not start.
    Other(String),
}

/// Looks at this machine and prints what it means. The exit is an error when something is wrong.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
pub(crate) async fn run(config: &Config) -> bool {
    let mut facts = look(config);
    if let Some(url) = &config.database {
        facts.database = Some(store::probe(url).await.map_err(|error| error.to_string()));
    }
    let findings = judge(config, &facts, clock::now());
    for finding in &findings {
        println!("{finding}");
    }
    findings.iter().all(|finding| finding.level < Level::Error)
}

/// Only looks: neither the folder nor anything in it is made, and a server that runs does not notice.
fn look(config: &Config) -> Facts {
    let origin = config.origin(config.listen);
    let data = DataDir::existing(&config.data).ok();
    let mut facts = Facts {
        data_is_new: data.is_none(),
        data: data.as_ref().and_then(|data| look_at_data(data).err()),
        listen: TcpListener::bind(config.listen).err().map(|error| busy(&error)),
        media: look_at_media(config),
        ..Facts::default()
    };
    match config.tls() {
        Ok(Tls::Files { cert, key }) => {
            let identity = tls::from_files(&cert, &key);
            facts.certificate =
                Some(identity.map(|identity| identity.certificate).map_err(|error| format!("{error:#}")));
        }
        Ok(Tls::SelfSigned) => {
            let (certificate, is_new) = tls::foresee(data.as_ref(), &hosts(config, &origin));
            facts.certificate = Some(Ok(certificate));
            facts.certificate_is_new = is_new;
        }
        Ok(Tls::Off) | Err(_) => {}
    }
    let host = origin.host();
    if host.parse::<IpAddr>().is_err() {
        let resolved = (host, 0).to_socket_addrs();
        facts.resolved = Some(match resolved {
            Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
            Err(error) => Err(error.to_string()),
        });
    }
    facts
}

/// What an existing folder holds, without touching it.
fn look_at_data(data: &DataDir) -> Result<(), String> {
    let database = data.database();
    if database.exists() {
        let named = |error: io::Error| format!("{}: {error}", database.display());
        let mut file = OpenOptions::new().read(true).append(true).open(&database).map_err(named)?;
        let mut head = Vec::new();
        file.by_ref().take(SQLITE_HEAD.len() as u64).read_to_end(&mut head).map_err(named)?;
        if !head.is_empty() && head != SQLITE_HEAD {
            return Err(format!("{} is no SQLite database", database.display()));
        }
    }
    if data.join_key().exists() {
        data.join_keys().map_err(|error| error.to_string())?;
    }
    if data.master_keys_file().exists() {
        data.master_keys().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn look_at_media(config: &Config) -> Option<(&'static str, u16, Busy)> {
    let shards = if config.media_port == 0 { 1 } else { config.shards };
    (0..shards).find_map(|shard| {
        let port = config.media_port.saturating_add(shard);
        let address = (config.media_bind(), port);
        let (transport, error) = match UdpSocket::bind(address) {
            Err(error) => ("udp", error),
            Ok(_) if config.media_tcp == OnOff::Off => return None,
            Ok(_) => ("tcp", TcpListener::bind(address).err()?),
        };
        Some((transport, port, busy(&error)))
    })
}

fn busy(error: &io::Error) -> Busy {
    match error.kind() {
        io::ErrorKind::AddrInUse => Busy::InUse,
        io::ErrorKind::AddrNotAvailable => Busy::Other("this machine has no such address".into()),
        io::ErrorKind::PermissionDenied => {
            Busy::Other("ports below 1024 need rights (root, or CAP_NET_BIND_SERVICE)".into())
        }
        _ => Busy::Other(error.to_string()),
    }
}

/// What the facts mean for those who are to use the server.
pub(crate) fn judge(config: &Config, facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = config.validate() {
        findings.push(Finding::error(error.setting, error.problem, error.fix));
        return findings;
    }
    findings.push(match &facts.data {
        None if facts.data_is_new => {
            Finding::ok("--data", format!("{} is made at the first start", config.data.display()))
        }
        None if facts.database.is_some() => {
            Finding::ok("--data", format!("keys and images are kept in {}", config.data.display()))
        }
        None => Finding::ok("--data", format!("sessions and keys are kept in {}", config.data.display())),
        Some(why) => Finding::error("--data", why, "the server will not start before this is mended"),
    });
    findings.extend(facts.database.as_ref().map(|database| match database {
        Ok(found) => Finding::ok("--database", format!("sessions are kept in {found}")),
        Err(why) => Finding::error("--database", why, "the server will not start before this is mended"),
    }));
    judge_page(config, facts, &mut findings);
    judge_tls(config, facts, now, &mut findings);
    judge_media(config, facts, &mut findings);
    findings.push(Finding::ok(
        "--participants-limit",
        format!("a clinic may allow up to {} participants in one session", config.participants_limit),
    ));
    findings
}

fn judge_page(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let origin = config.origin(config.listen);
    match &facts.listen {
        None => {}
        Some(Busy::InUse) => findings.push(Finding::warning(
            "--listen",
            format!("somebody listens on {} already; perhaps this server, which runs", config.listen),
            "if not: end that, or choose another",
        )),
        Some(Busy::Other(why)) => {
            let what = format!("the server will not start on {}: {why}", config.listen);
            findings.push(Finding::error("--listen", what, "choose an address and port of this machine"));
        }
    }
    if config.listen.ip().is_loopback() {
        let (what, fix) = if config.public_url.is_some() {
            ("only this machine reaches the page itself; others come by a reverse proxy on it", "")
        } else {
            (
                "only this machine can open the page: nobody else can join",
                "for others: --listen 0.0.0.0:443 (or this machine's address)",
            )
        };
        let level = if fix.is_empty() { Level::Ok } else { Level::Warning };
        findings.push(Finding { level, about: "--listen", what: what.into(), fix: fix.into() });
    } else if !matches!(facts.listen, Some(Busy::Other(_))) {
        findings.push(Finding::ok("--listen", format!("the page is reached at {}", config.listen)));
    }
    findings.push(Finding::ok("links", format!("links begin with {origin}/j#")));
    if config.public_url.is_none() && config.listen.ip().is_unspecified() && config.announce.is_empty() {
        findings.push(Finding::warning(
            "links",
            "links name localhost: they work on this machine alone",
            "--public-url https://the-name-people-open, or --announce with this machine's address",
        ));
    }
    match &facts.resolved {
        None => {}
        Some(Ok(ips)) => {
            let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
            findings
                .push(Finding::ok("--public-url", format!("{} is {} here", origin.host(), ips.join(", "))));
        }
        Some(Err(why)) => findings.push(Finding::warning(
            "--public-url",
            format!("this machine finds no address for {}: {why}", origin.host()),
            "make a DNS entry for it; without one nobody can open the links",
        )),
    }
}

fn judge_tls(config: &Config, facts: &Facts, now: Timestamp, findings: &mut Vec<Finding>) {
    let origin = config.origin(config.listen);
    match &facts.certificate {
        None if origin.is_https() => findings.push(Finding::ok(
            "TLS",
            "is done by what stands before this server; it must hand on WebSockets (Upgrade) and the Host",
        )),
        None if is_trustworthy(&origin) => findings.push(Finding::ok(
            "TLS",
            "off: browsers allow camera and microphone without it on localhost, and nowhere else",
        )),
        None => findings.push(Finding::error(
            "TLS",
            format!("{origin} is not https: browsers give no page there a camera or microphone"),
            "leave out --tls off, or give --tls-cert and --tls-key, or --public-url https://… behind a proxy",
        )),
        Some(Err(why)) => {
            findings.push(Finding::error("TLS", why, "the server will not start before this is mended"))
        }
        Some(Ok(certificate)) => {
            if facts.certificate_is_new {
                let what =
                    format!("a certificate for {} is made at the next start", certificate.names.join(", "));
                findings.push(Finding::ok("TLS", what));
            }
            judge_certificate(certificate, &origin, now, findings);
        }
    }
}

fn judge_certificate(
    certificate: &Certificate,
    origin: &PublicUrl,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) {
    let host = origin.host();
    let left = certificate.not_after - now.as_second();
    if left <= 0 {
        findings.push(Finding::error(
            "--tls-cert",
            "the certificate has expired: browsers refuse it",
            "renew it",
        ));
    } else if certificate.not_before > now.as_second() {
        let what = "the certificate is not valid yet: browsers refuse it";
        findings.push(Finding::error("--tls-cert", what, "look at this machine's clock"));
    } else if left < EXPIRES_SOON_S && !certificate.is_self_signed {
        let what = format!("the certificate expires in {} days", left / (24 * 3600));
        findings.push(Finding::warning("--tls-cert", what, "renew it"));
    }
    if !certificate.covers(host) {
        findings.push(Finding::error(
            "--tls-cert",
            format!(
                "the certificate is for {}, not for {host}: browsers refuse it",
                certificate.names.join(", ")
            ),
            format!("get one for {host}, or give --public-url a name it covers"),
        ));
    }
    if certificate.is_self_signed {
        findings.push(Finding::warning(
            "TLS",
            "the certificate is made by this server: every browser warns of it, and people have to click past that \
             (\"Advanced\", \"Proceed\"); then camera and microphone work",
            "for patients, get a certificate from an authority and give --tls-cert and --tls-key",
        ));
    } else if left > 0 && certificate.covers(host) {
        findings.push(Finding::ok("TLS", format!("on, with a certificate for {host}")));
    }
}

fn judge_media(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let bind = config.media_bind();
    match &facts.media {
        None => {}
        Some((transport, port, Busy::InUse)) => findings.push(Finding::warning(
            "--media-port",
            format!("somebody has {transport} {bind} port {port} already; perhaps this server, which runs"),
            "if not: end that, or choose another",
        )),
        Some((transport, port, Busy::Other(why))) => {
            let what = format!("the server will not start: {transport} {bind} port {port}: {why}");
            findings.push(Finding::error("--media-bind", what, "choose an address of this machine"));
        }
    }
    let reachable_from_elsewhere = !config.listen.ip().is_loopback() || config.public_url.is_some();
    if bind.is_loopback() {
        findings.push(if reachable_from_elsewhere {
            Finding::error(
                "--media-bind",
                "others can open the page, but sound and picture stay on this machine: their calls will not connect",
                "--media-bind with this machine's address, or 0.0.0.0 with --announce",
            )
        } else {
            Finding::warning(
                "--media-bind",
                "sound and picture stay on this machine; Firefox connects no calls over a loopback address",
                "for Firefox on this machine: --media-bind with an address of its network card",
            )
        });
        return;
    }
    if config.announce.is_empty() {
        findings.push(if bind.is_unspecified() {
            Finding::ok("--media-bind", "browsers are told all addresses of this machine's network cards")
        } else {
            Finding::ok("--media-bind", format!("browsers send sound and picture to udp {bind}"))
        });
        if is_private(bind) || bind.is_unspecified() {
            findings.push(Finding::warning(
                "--announce",
                "nothing is announced: behind a router (NAT), people outside this network will not connect",
                "--announce with the router's public address, and forward the media ports to this machine",
            ));
        }
    }
    for to in &config.announce {
        if to.ip.is_loopback() {
            let what = format!("{} is announced: only this machine reaches that", to.ip);
            findings.push(Finding::error("--announce", what, "announce the address that others reach"));
        } else if is_private(to.ip) {
            let what =
                format!("{} is a private address: people outside this network will not connect", to.ip);
            findings.push(Finding::warning(
                "--announce",
                what,
                "announce the public address, too, if they are to",
            ));
        } else {
            findings.push(Finding::ok("--announce", format!("browsers are told {}", to.ip)));
        }
    }
    findings.push(if config.media_port == 0 {
        Finding::warning(
            "--media-port",
            "another port is taken at each start: no firewall can be opened for it",
            "--media-port 3478, say, and let UDP and TCP through to it",
        )
    } else {
        let last = config.media_port + (config.shards - 1);
        let ports = if last == config.media_port {
            last.to_string()
        } else {
            format!("{}–{last}", config.media_port)
        };
        let transports = if config.media_tcp == OnOff::On { "UDP and TCP" } else { "UDP" };
        Finding::ok("--media-port", format!("a firewall must let {transports} through to {ports}"))
    });
    judge_blocked(config, findings);
}

/// Who can come whose network lets no UDP through.
fn judge_blocked(config: &Config, findings: &mut Vec<Finding>) {
    let relays = config.ice_server.iter().filter(|url| url.is_turn()).map(ToString::to_string);
    let relays: Vec<String> = relays.collect();
    findings.push(match (config.media_tcp, &*relays) {
        (OnOff::On, []) => Finding::ok("--media-tcp", "who is let through by no UDP comes by TCP"),
        (OnOff::Off, []) => Finding::warning(
            "--media-tcp",
            "who is in a network that lets no UDP through cannot take part",
            "leave out --media-tcp off, or give a TURN server (--ice-server)",
        ),
        (_, relays) => Finding::ok("--ice-server", format!("browsers are told of {}", relays.join(" and "))),
    });
}

/// Where browsers give a page a camera without TLS (W3C Secure Contexts).
fn is_trustworthy(origin: &PublicUrl) -> bool {
    let host = origin.host();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Addresses that the world does not route (RFC 1918, RFC 6598, RFC 4193, link-local).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::Cli;

    const NOW: i64 = 1_800_000_000;

    fn findings(args: &[&str], facts: &Facts) -> Vec<Finding> {
        let config = Cli::try_parse_from([&["vestibule"], args].concat()).unwrap().config;
        judge(&config, facts, Timestamp::from_second(NOW).unwrap())
    }

    fn said(findings: &[Finding], level: Level, about: &str, what: &str) -> bool {
        findings.iter().any(|finding| {
            finding.level == level && finding.about == about && finding.what.contains(what) && {
                (level == Level::Ok) == finding.fix.is_empty()
            }
        })
    }

    fn certificate(names: &[&str], days: i64, is_self_signed: bool) -> Facts {
        let certificate = Certificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            not_before: NOW - 1,
            not_after: NOW + days * 24 * 3600,
            is_self_signed,
        };
        Facts { certificate: Some(Ok(certificate)), ..Facts::default() }
    }

    #[test]
    fn a_database_server_that_cannot_be_used_is_an_error_and_its_password_is_not_shown() {
        let args = ["--database", "postgres://vestibule:hunter2@db.example/clinic"];
        let down = Facts { database: Some(Err("it is down".into())), ..Facts::default() };
        let found = findings(&args, &down);
        assert!(said(&found, Level::Error, "--database", "it is down"));
        let config = Cli::try_parse_from([&["vestibule"], &args[..]].concat()).unwrap().config;
        assert!(!format!("{config:?} {found:?}").contains("hunter2"));
        let up =
            Facts { database: Some(Ok("clinic on db.example, PostgreSQL 15".into())), ..Facts::default() };
        assert!(said(&findings(&args, &up), Level::Ok, "--database", "clinic on db.example"));
    }

    #[test]
    fn on_localhost_it_says_that_nobody_else_can_join_and_nothing_is_wrong() {
        let found = findings(&[], &Facts::default());
        assert!(found.iter().all(|finding| finding.level < Level::Error), "{found:?}");
        assert!(said(&found, Level::Warning, "--listen", "nobody else can join"));
        assert!(said(&found, Level::Warning, "--media-bind", "Firefox"));
    }

    #[test]
    fn without_tls_others_get_no_camera() {
        let found = findings(&["--listen", "192.0.2.1:8080", "--tls", "off"], &Facts::default());
        assert!(said(&found, Level::Error, "TLS", "no page there a camera"));
        let proxied =
            ["--tls", "off", "--public-url", "https://visit.example.org", "--media-bind", "192.0.2.1"];
        assert!(said(&findings(&proxied, &Facts::default()), Level::Ok, "TLS", "WebSockets"));
    }

    #[test]
    fn a_certificate_is_judged_by_its_names_and_its_time() {
        let args = ["--listen", "192.0.2.1:443", "--public-url", "https://visit.example.org"];
        assert!(said(
            &findings(&args, &certificate(&["visit.example.org"], 60, false)),
            Level::Ok,
            "TLS",
            "on"
        ));
        let other = findings(&args, &certificate(&["other.example.org"], 60, false));
        assert!(said(&other, Level::Error, "--tls-cert", "not for visit.example.org"));
        let old = findings(&args, &certificate(&["visit.example.org"], -1, false));
        assert!(said(&old, Level::Error, "--tls-cert", "expired"));
        let soon = findings(&args, &certificate(&["visit.example.org"], 3, false));
        assert!(said(&soon, Level::Warning, "--tls-cert", "expires in 3 days"));
        let own = findings(&args, &certificate(&["visit.example.org"], 300, true));
        assert!(said(&own, Level::Warning, "TLS", "every browser warns"));
    }

    #[test]
    fn media_that_stays_on_this_machine_is_wrong_when_others_can_open_the_page() {
        let found = findings(&["--listen", "192.0.2.1:443", "--media-bind", "127.0.0.1"], &Facts::default());
        assert!(said(&found, Level::Error, "--media-bind", "will not connect"));
    }

    #[test]
    fn what_is_announced_is_judged_by_who_reaches_it() {
        let args = |ip| ["--listen", "0.0.0.0:443", "--announce", ip];
        assert!(said(
            &findings(&args("127.0.0.1"), &Facts::default()),
            Level::Error,
            "--announce",
            "only this machine"
        ));
        assert!(said(
            &findings(&args("10.0.0.5"), &Facts::default()),
            Level::Warning,
            "--announce",
            "private"
        ));
        assert!(said(
            &findings(&args("203.0.113.7"), &Facts::default()),
            Level::Ok,
            "--announce",
            "203.0.113.7"
        ));
        let nothing = findings(&["--listen", "10.0.0.5:443"], &Facts::default());
        assert!(said(&nothing, Level::Warning, "--announce", "behind a router"));
        let family = findings(&["--listen", "10.0.0.5:443", "--announce", "2001:db8::1"], &Facts::default());
        assert!(said(&family, Level::Error, "--announce", "other IP version"));
    }

    #[test]
    fn who_has_no_udp_comes_by_tcp_or_by_a_relay_or_not_at_all() {
        let about =
            |more: &[&str]| findings(&[&["--listen", "203.0.113.7:443"], more].concat(), &Facts::default());
        assert!(said(&about(&[]), Level::Ok, "--media-tcp", "comes by TCP"));
        assert!(said(&about(&["--media-tcp", "off"]), Level::Warning, "--media-tcp", "cannot take part"));
        let relay = ["--media-tcp", "off", "--ice-server", "turn:turn.example.org", "--turn-secret", "s"];
        assert!(said(&about(&relay), Level::Ok, "--ice-server", "turn.example.org"));
    }

    #[test]
    fn what_the_machine_refuses_is_said() {
        let facts = Facts {
            data: Some("no rights".into()),
            listen: Some(Busy::InUse),
            media: Some(("udp", 3478, Busy::Other("no such address".into()))),
            resolved: Some(Err("no such name".into())),
            ..Facts::default()
        };
        let found = findings(&["--public-url", "https://visit.example.org"], &facts);
        assert!(said(&found, Level::Error, "--data", "no rights"));
        assert!(said(&found, Level::Warning, "--listen", "somebody listens"));
        assert!(said(&found, Level::Error, "--media-bind", "no such address"));
        assert!(said(&found, Level::Warning, "--public-url", "no such name"));
        let facts = Facts { listen: Some(Busy::Other("no such address".into())), ..Facts::default() };
        let found = findings(&["--listen", "192.0.2.10:8443"], &facts);
        assert!(said(&found, Level::Error, "--listen", "will not start"));
        assert!(!found.iter().any(|finding| finding.what.contains("the page is reached")));
    }
}
