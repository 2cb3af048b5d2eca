//! The first bytes of a connection: the header by which a load balancer in front says who the client is (PROXY protocol, versions
//! 1 and 2, <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>), and the preface of HTTP/2 without TLS (RFC 9113 §3.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// A line of version 1 with its end.
const LONGEST_LINE: usize = 107;
/// Addresses and whatever a balancer adds to them in version 2.
const LONGEST_BLOCK: usize = 2048;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// Bytes of the header.
    pub(super) length: usize,
    /// None: the connection is the balancer's own, such as a health check.
    pub(super) client: Option<IpAddr>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol: {0}")]
pub(super) struct NotAnnounced(&'static str);

/// `None` as long as `bytes` may be the beginning of a header.
pub(super) fn announced(bytes: &[u8]) -> Option<Result<Announced, NotAnnounced>> {
    let begins = |start: &[u8]| bytes.starts_with(start) || start.starts_with(bytes);
    if begins(SIGNATURE) {
        block(bytes)
    } else if begins(b"PROXY ") {
        line(bytes)
    } else {
        Some(Err(NotAnnounced("the connection begins with something else")))
    }
}

/// Version 1.
fn line(bytes: &[u8]) -> Option<Result<Announced, NotAnnounced>> {
    let wrong = |what| Some(Err(NotAnnounced(what)));
    let Some(end) = bytes.windows(2).take(LONGEST_LINE - 1).position(|two| two == b"\r\n") else {
        return if bytes.len() < LONGEST_LINE { None } else { wrong("its line has no end") };
    };
    let length = end + 2;
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return wrong("its line is no text") };
    let words: Vec<&str> = text.split(' ').collect();
    let client = match words[..] {
        [_, "UNKNOWN", ..] => None,
        [_, family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let (Ok(from), Ok(to)) = (from.parse::<IpAddr>(), to.parse::<IpAddr>()) else {
                return wrong("an address is none");
            };
            if from.is_ipv4() != (family == "TCP4") || to.is_ipv4() != from.is_ipv4() {
                return wrong("an address is of another family");
            }
            if [from_port, to_port].iter().any(|port| port.parse::<u16>().is_err()) {
                return wrong("a port is none");
            }
            Some(from.to_canonical())
        }
        _ => return wrong("its line has other words"),
    };
    Some(Ok(Announced { length, client }))
}

/// Version 2.
fn block(bytes: &[u8]) -> Option<Result<Announced, NotAnnounced>> {
    let wrong = |what| Some(Err(NotAnnounced(what)));
    let (&[command, family, high, low], _) = bytes.get(SIGNATURE.len()..)?.split_first_chunk::<4>()?;
    let size = usize::from(u16::from_be_bytes([high, low]));
    if size > LONGEST_BLOCK {
        return wrong("it is too long");
    }
    let length = SIGNATURE.len() + 4 + size;
    let block = bytes.get(length - size..length)?;
    let client = match (command, family) {
        (0x20, _) | (0x21, 0x00) => None,
        (0x21, 0x11) => match block.first_chunk::<12>() {
            Some(&[a, b, c, d, ..]) => Some(IpAddr::from(Ipv4Addr::new(a, b, c, d))),
            None => return wrong("its addresses are cut off"),
        },
        (0x21, 0x21) => match (block.len() >= 36, block.first_chunk::<16>()) {
            (true, Some(from)) => Some(IpAddr::from(Ipv6Addr::from(*from)).to_canonical()),
            _ => return wrong("its addresses are cut off"),
        },
        (0x21, _) => return wrong("it speaks of something else than TCP"),
        _ => return wrong("its version or command is unknown"),
    };
    Some(Ok(Announced { length, client }))
}

/// Whether the client speaks HTTP/2 without having asked; `None` as long as that is open.
pub(super) fn speaks_http_2(bytes: &[u8]) -> Option<bool> {
    match bytes.len() < PREFACE.len() {
        true if PREFACE.starts_with(bytes) => None,
        _ => Some(bytes.starts_with(PREFACE)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let size = u16::try_from(block.len()).expect("a size").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &size, block].concat()
    }

    #[test]
    fn headers_say_who_the_client_is() {
        let six: Ipv6Addr = "2001:db8::7".parse().expect("an address");
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x80, 0, 0, 80];
        let with_more = [&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        let sixes = [&six.octets()[..], &six.octets(), &[0x80, 0, 0, 80]].concat();
        let mapped =
            [&Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets()[..], &six.octets(), &[0, 1, 0, 2]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 32768 80\r\n".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 32768 80\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:: anything 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &four), Some("192.0.2.7")),
            (version_2(0x21, 0x11, &with_more), Some("192.0.2.7")),
            (version_2(0x21, 0x21, &sixes), Some("2001:db8::7")),
            (version_2(0x21, 0x21, &mapped), Some("192.0.2.7")),
            (version_2(0x20, 0x11, &four), None),
            (version_2(0x21, 0x00, &[]), None),
        ] {
            let client = client.map(|text| text.parse().expect("an address"));
            let length = header.len();
            let more = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(announced(&more), Some(Ok(Announced { length, client })), "{more:?}");
            for cut in 0..length {
                assert_eq!(announced(&header[..cut]), None, "{cut} of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_that_is_clear() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXZ".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 32768\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7, 10.0.0.1 1 80\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 80\r\n".to_vec(),
            [&b"PROXY TCP4 "[..], &[0xff; 9], b"\r\n"].concat(),
            [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat(),
            version_2(0x11, 0x11, &[0; 12]),
            version_2(0x22, 0x11, &[0; 12]),
            version_2(0x21, 0x12, &[0; 12]),
            version_2(0x21, 0x11, &[0; 11]),
            version_2(0x21, 0x21, &[0; 35]),
            version_2(0x21, 0x11, &[0; 2049]),
        ] {
            assert!(matches!(announced(&bytes), Some(Err(_))), "{bytes:?}");
        }
        assert_eq!(speaks_http_2(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), Some(true));
        assert_eq!((speaks_http_2(b""), speaks_http_2(b"PRI * HTTP/2.0\r\n\r\nSM")), (None, None));
        assert_eq!((speaks_http_2(b"GET / "), speaks_http_2(b"PRI * HTTP/2.1")), (Some(false), Some(false)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_fault_and_only_as_far_as_they_go(
            start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 1.2.3.4 ", SIGNATURE]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            if let Some(Ok(found)) = announced(&bytes) {
                prop_assert!(found.length <= bytes.len());
            }
            let _ = speaks_http_2(&bytes);
        }
    }
}
