//! The addresses peers are told: what was announced, else what the socket is bound to, else the host's own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

/// Candidates told to a peer at the most; a host with more interfaces should announce the right ones.
pub const CANDIDATES_MAX: usize = 16;

/// An address the world sees in front of this server (1:1 NAT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The address.
    pub ip: IpAddr,
    /// The port of shard 0 where it differs from the bound one; shard *i* is at this port + *i*.
    pub port: Option<u16>,
}

/// The candidates of shard `shard`, whose socket is bound to `local`, best first. `host` is asked only when the
/// socket is bound to no address in particular and none was announced.
pub(crate) fn candidates(
    shard: u16,
    local: SocketAddr,
    announce: &[Announce],
    host: impl FnOnce() -> io::Result<Vec<IpAddr>>,
) -> io::Result<Vec<SocketAddr>> {
    if !announce.is_empty() {
        let port = |base: Option<u16>| base.map_or(local.port(), |base| base.saturating_add(shard));
        return Ok(announce.iter().map(|one| SocketAddr::new(one.ip, port(one.port))).collect());
    }
    if !local.ip().is_unspecified() {
        return Ok(vec![local]);
    }
    let ips = reachable(host()?, local.is_ipv6());
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, local.port())).collect())
}

/// Of the host's addresses those a peer may reach, best first; loopback only if there is no other.
fn reachable(mut ips: Vec<IpAddr>, dual_stack: bool) -> Vec<IpAddr> {
    ips.retain(|ip| match ip {
        IpAddr::V4(ip) => !ip.is_unspecified(),
        // A link-local address says nothing without its interface, and a candidate cannot name one.
        IpAddr::V6(ip) => dual_stack && !ip.is_unspecified() && !ip.is_unicast_link_local(),
    });
    if ips.iter().any(|ip| !ip.is_loopback()) {
        ips.retain(|ip| !ip.is_loopback());
    }
    if ips.is_empty() {
        ips.push(Ipv4Addr::LOCALHOST.into());
    }
    // RFC 8421 section 4 would interleave the families; with one or two of each, IPv4 first is as good.
    ips.sort_by_key(|ip| match ip {
        IpAddr::V4(ip) => (u8::from(ip.is_link_local()), 0),
        IpAddr::V6(_) => (0, 1),
    });
    let mut told = Vec::with_capacity(CANDIDATES_MAX);
    for ip in ips {
        if told.len() < CANDIDATES_MAX && !told.contains(&ip) {
            told.push(ip);
        }
    }
    told
}

/// The addresses of all interfaces that are up.
pub(crate) fn host_addresses() -> io::Result<Vec<IpAddr>> {
    let mut head: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `head` is a live place for the list's address; the list is freed below.
    if unsafe { libc::getifaddrs(&raw mut head) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut ips = Vec::new();
    let mut at = head;
    while !at.is_null() {
        // SAFETY: `at` is a node of the list `getifaddrs` made, which is alive until `freeifaddrs`.
        let node = unsafe { &*at };
        let up = libc::IFF_UP as libc::c_uint;
        if node.ifa_flags & up == up {
            ips.extend(interface_ip(node));
        }
        at = node.ifa_next;
    }
    // SAFETY: `head` came from `getifaddrs` and is freed once; nothing read from it is kept.
    unsafe { libc::freeifaddrs(head) };
    Ok(ips)
}

fn interface_ip(node: &libc::ifaddrs) -> Option<IpAddr> {
    if node.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: a non-null `ifa_addr` is a live `sockaddr`, and its family says how long and what it is.
    unsafe {
        match libc::c_int::from((*node.ifa_addr).sa_family) {
            libc::AF_INET => {
                let name = node.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                let name = node.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(name.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn on_host(local: &str, host: &[&str]) -> Vec<String> {
        let found = candidates(3, local.parse().unwrap(), &[], || Ok(ips(host))).unwrap();
        found.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn what_is_announced_is_all_that_is_told() {
        let announce = [
            Announce { ip: "203.0.113.7".parse().unwrap(), port: Some(40_000) },
            Announce { ip: "2001:db8::7".parse().unwrap(), port: None },
        ];
        let found = candidates(3, "10.0.0.1:7003".parse().unwrap(), &announce, || unreachable!()).unwrap();
        let told: Vec<_> = found.iter().map(SocketAddr::to_string).collect();
        assert_eq!(told, ["203.0.113.7:40003", "[2001:db8::7]:7003"]);
    }

    #[test]
    fn a_bound_address_is_told_as_it_is() {
        assert_eq!(on_host("127.0.0.1:7003", &["192.0.2.1"]), ["127.0.0.1:7003"]);
        assert_eq!(on_host("[2001:db8::1]:7003", &["192.0.2.1"]), ["[2001:db8::1]:7003"]);
    }

    #[test]
    fn a_wildcard_tells_the_hosts_addresses_without_loopback_and_link_local() {
        let host = ["127.0.0.1", "192.0.2.1", "169.254.3.4", "::1", "2001:db8::1", "fe80::1", "192.0.2.1"];
        assert_eq!(on_host("0.0.0.0:5", &host), ["192.0.2.1:5", "169.254.3.4:5"]);
        assert_eq!(on_host("[::]:5", &host), ["192.0.2.1:5", "[2001:db8::1]:5", "169.254.3.4:5"]);
    }

    #[test]
    fn a_host_alone_in_the_world_tells_loopback() {
        assert_eq!(on_host("0.0.0.0:5", &["127.0.0.1", "::1"]), ["127.0.0.1:5"]);
        assert_eq!(on_host("[::]:5", &["127.0.0.1", "::1", "fe80::1"]), ["127.0.0.1:5", "[::1]:5"]);
        assert_eq!(on_host("0.0.0.0:5", &[]), ["127.0.0.1:5"]);
    }

    #[test]
    fn this_host_has_addresses() {
        assert!(!host_addresses().unwrap().is_empty());
    }
}
