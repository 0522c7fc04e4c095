//! The command line and environment, and what they mean to the engine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use clap::{Parser, value_parser};

/// A self-hosted telehealth SFU. This build serves a test page that joins browser tabs to one room.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Config {
    /// Where the page and its signaling listen; port 0 picks a free one.
    #[arg(long, env = "VESTIBULE_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The address the media sockets are bound to.
    #[arg(long, env = "VESTIBULE_MEDIA_BIND", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) media_bind: IpAddr,
    /// The UDP port of the first shard, the others follow; 0 picks a free one for each.
    #[arg(long, env = "VESTIBULE_MEDIA_PORT", default_value_t = 0)]
    pub(crate) media_port: u16,
    /// An address browsers are told to reach instead of the bound one (1:1 NAT), best first; repeatable.
    #[arg(long, env = "VESTIBULE_ANNOUNCE", value_name = "IP[:PORT]", value_delimiter = ',')]
    pub(crate) announce: Vec<Announced>,
    /// Media threads; each has its own UDP port.
    #[arg(long, env = "VESTIBULE_SHARDS", default_value_t = 1, value_parser = value_parser!(u16).range(1..=256))]
    pub(crate) shards: u16,
}

/// An announced address: `203.0.113.7`, `203.0.113.7:3478`, `2001:db8::7` or `[2001:db8::7]:3478`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) ip: IpAddr,
    /// The port of the first shard as the world sees it; `None` where it is the bound one.
    pub(crate) port: Option<u16>,
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
        Config::command().debug_assert();
    }
}
