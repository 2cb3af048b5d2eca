//! Which addresses may be connected to on a user's behalf.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{CONNECT, OutboundError, Result};

/// Allows the public internet, and private networks where the operator says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    pub private: bool,
}

impl Guard {
    /// Where `host` leads now. One wrong address among several refuses all: which one is taken is not up to the asker.
    pub async fn resolve(self, host: &str, port: u16) -> Result<SocketAddr> {
        let unresolved = |source| OutboundError::Unresolved { host: host.to_owned(), source };
        let looked = tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, port))).await;
        let found = looked.map_err(|e| unresolved(e.into()))?.map_err(unresolved)?.collect();
        self.choose(host, found)
    }

    pub(super) fn choose(self, host: &str, found: Vec<SocketAddr>) -> Result<SocketAddr> {
        let unresolved = |source| OutboundError::Unresolved { host: host.to_owned(), source };
        if let Some(wrong) = found.iter().find(|address| !self.allows(address.ip())) {
            return Err(OutboundError::Refused { host: host.to_owned(), address: wrong.ip() });
        }
        found.first().copied().ok_or_else(|| unresolved(std::io::ErrorKind::NotFound.into()))
    }

    pub fn allows(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.allows_v4(v4),
            IpAddr::V6(v6) => self.allows_v6(v6),
        }
    }

    fn allows_v4(self, ip: Ipv4Addr) -> bool {
        let [a, b, c, _] = ip.octets();
        // RFC 6890: this network, link-local, protocol assignments, benchmarks, documentation, reserved, multicast.
        let never = a == 0
            || ip.is_link_local()
            || (a, b, c) == (192, 0, 0)
            || (a == 198 && (b == 18 || b == 19))
            || ip.is_documentation()
            || a >= 224;
        // And the shared space of carriers (RFC 6598).
        let private = ip.is_private() || ip.is_loopback() || (a == 100 && (64..128).contains(&b));
        !never && (self.private || !private)
    }

    fn allows_v6(self, ip: Ipv6Addr) -> bool {
        let s = ip.segments();
        let v4 = |high: u16, low: u16| {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Ipv4Addr::new(a, b, c, d)
        };
        // What stands for an IPv4 address is judged as that: mapped, NAT64 (RFC 6052), 6to4.
        if let Some(mapped) = ip.to_ipv4_mapped() {
            return self.allows_v4(mapped);
        }
        if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
            return self.allows_v4(v4(s[6], s[7]));
        }
        if s[0] == 0x2002 {
            return self.allows_v4(v4(s[1], s[2]));
        }
        let private = ip.is_loopback() || s[0] & 0xfe00 == 0xfc00;
        // All that is public is in 2000::/3 (RFC 4291), but for Teredo and documentation.
        let public = s[0] & 0xe000 == 0x2000 && s[..2] != [0x2001, 0] && s[..2] != [0x2001, 0xdb8];
        public || (private && self.private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_unless_the_operator_allows_more() {
        let (strict, open) = (Guard::default(), Guard { private: true });
        for text in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            let ip: IpAddr = text.parse().expect("an address");
            assert!(strict.allows(ip) && open.allows(ip), "{text}");
        }
        for text in
            ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.31.0.1", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
        {
            let ip: IpAddr = text.parse().expect("an address");
            assert!(!strict.allows(ip) && open.allows(ip), "{text}");
        }
        for text in [
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:db8::1",
        ] {
            let ip: IpAddr = text.parse().expect("an address");
            assert!(!strict.allows(ip) && !open.allows(ip), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_where_it_leads() {
        for host in ["localhost", "127.0.0.1", "0177.0.0.1", "::1"] {
            let refused = Guard::default().resolve(host, 80).await;
            assert!(
                matches!(refused, Err(OutboundError::Refused { .. } | OutboundError::Unresolved { .. })),
                "{host}: {refused:?}"
            );
        }
        assert!(Guard { private: true }.resolve("127.0.0.1", 80).await.is_ok());
    }
}
