//! Which ports a replica listens on, from its own `/proc/net/tcp` and `tcp6` (proc_pid_net(5)). Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub port: u16,
    /// On a loopback address alone.
    pub only_inside: bool,
}

const LISTEN: &str = "0A";
/// Where the engine answers names inside the replica's own network namespace.
const ENGINES_RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Both tables one after the other; lines that are no sockets are left alone. By port.
pub fn listening(tables: &str) -> Vec<Listener> {
    let mut ports: BTreeMap<u16, bool> = BTreeMap::new();
    for (address, port) in tables.lines().filter_map(socket) {
        if address == IpAddr::V4(ENGINES_RESOLVER) {
            continue;
        }
        let inside = ports.entry(port).or_insert(true);
        *inside &= address.is_loopback();
    }
    ports.into_iter().map(|(port, only_inside)| Listener { port, only_inside }).collect()
}

fn socket(line: &str) -> Option<(IpAddr, u16)> {
    let mut words = line.split_whitespace();
    let (local, state) = (words.nth(1)?, words.nth(1)?);
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|_| state == LISTEN)?;
    // Words of four bytes, each in the byte order of the machine.
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)).to_canonical(),
    };
    Some((address, port))
}

pub fn sentence(listeners: &[Listener]) -> String {
    let words = |l: &Listener| format!("{}{}", l.port, if l.only_inside { " (for itself only)" } else { "" });
    match listeners {
        [] => "It listens on no port.\n".into(),
        [one] => format!("It listens on port {}.\n", words(one)),
        many => format!("It listens on ports {}.\n", many.iter().map(words).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_are_told_from_others() {
        let tables = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000\n\
             1: 0B00007F:9C41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
             2: 0200A8C0:D431 0101A8C0:01BB 01 00000000:00000000 00:00000000 00000000  1000\n\
             sl  local_address                         remote_address                        st\n\
             0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1000\n\
             1: 00000000000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1000\n\
             cat: /proc/net/udp: No such file or directory\n";
        let seen = listening(tables);
        let expected =
            [(3000, false), (3001, true), (8080, true)].map(|(port, only_inside)| Listener { port, only_inside });
        assert_eq!(seen, expected);
        assert_eq!(sentence(&seen), "It listens on ports 3000, 3001 (for itself only), 8080 (for itself only).\n");
        assert_eq!(sentence(&listening("")), "It listens on no port.\n");
    }
}
