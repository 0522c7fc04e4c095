//! Finds the process that listens on a port of this machine, as `ss -ltnp` does.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The process that listens on `address`, if it is on this machine and we may see it.
#[must_use]
pub fn listener(address: SocketAddr) -> Option<u32> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, address))
        .collect();
    let processes = fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| inodes.iter().any(|inode| holds(*pid, *inode)))
}

/// The inodes of sockets that listen there: on the address itself, or on all.
fn listening(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let line = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let (ip, port) = (hex_address(ip)?, u16::from_str_radix(port, 16).ok()?);
        let is_there = port == address.port() && (ip == address.ip() || ip.is_unspecified());
        (*state == LISTEN && is_there).then(|| inode.parse().ok())?
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Addresses are written as words in the byte order of the machine.
fn hex_address(text: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(text)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(text.get(index * 8..index * 8 + 8)?)?);
            }
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

fn holds(pid: u32, inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.to_str() == Some(&name))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41001 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41002 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D1A2 01 00000000:00000000 00:00000000 00000000     0        0 41003 1 0 20 4 30 10 -1
   3: 0200007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41004 1 0 100 0 0 10 0
   4: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41005 1 0 100 0 0 10 0
";

    #[test]
    fn who_listens_on_the_address_or_on_all() {
        assert_eq!(listening(TABLE, "127.0.0.1:8080".parse().unwrap()), [41001, 41002]);
        assert!(listening(TABLE, "127.0.0.1:8082".parse().unwrap()).is_empty());
        assert!(listening("", "127.0.0.1:8080".parse().unwrap()).is_empty());
    }

    #[test]
    fn ipv6_is_four_words() {
        assert_eq!(hex_address("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(hex_address("0000000000000000FFFF00000100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(hex_address("7F"), None);
    }

    #[test]
    fn we_find_ourselves() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener(socket.local_addr().unwrap()), Some(std::process::id()));
    }
}
