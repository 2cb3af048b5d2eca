//! An address elsewhere that somebody named for the platform to send to.

use std::str::FromStr;

use super::NameError;
use crate::base::secret::Secret;

/// An address of a drain or a webhook, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundUrl {
    pub scheme: Scheme,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// `USER:PASSWORD`.
    pub credentials: Option<Secret<String>>,
    /// With the query; for HTTP.
    pub path: Secret<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 5424 messages, counted (RFC 6587) on a TCP connection.
    Syslog,
    /// The same inside TLS (RFC 5425).
    SyslogTls,
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::SyslogTls => "syslog+tls",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> Option<u16> {
        match self {
            Self::Syslog => None,
            Self::SyslogTls => Some(6514),
            Self::Http => Some(80),
            Self::Https => Some(443),
        }
    }
}

const LONGEST: usize = 2000;

impl OutboundUrl {
    /// Without credentials, path and query: tokens stand in them.
    pub fn shown(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let path = if self.path.reveal().len() > 1 { "/…" } else { "" };
        format!("{}://{host}:{}{path}", self.scheme.as_str(), self.port)
    }
}

impl FromStr for OutboundUrl {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || {
            NameError::new("must be an address such as syslog://HOST:PORT, syslog+tls://HOST:PORT or https://HOST/PATH")
        };
        let all = [Scheme::Syslog, Scheme::SyslogTls, Scheme::Http, Scheme::Https];
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let scheme = all.into_iter().find(|known| known.as_str() == scheme).ok_or_else(wrong)?;
        if text.len() > LONGEST || !rest.bytes().all(|b| b.is_ascii_graphic()) || rest.contains(['#', '\\']) {
            return Err(wrong());
        }
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let http = matches!(scheme, Scheme::Http | Scheme::Https);
        if !http && !matches!(path, "" | "/") {
            return Err(wrong());
        }
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) if http => (Some(Secret::new(credentials.to_owned())), place),
            Some(_) => return Err(wrong()),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, port.strip_prefix(':'))
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
            None => scheme.port().ok_or_else(wrong)?,
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
        if host.is_empty() || host.starts_with('-') || !host.bytes().all(plain) {
            return Err(wrong());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port, credentials, path: Secret::new(path) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_shown_without_secrets() {
        for (text, shown) in [
            ("syslog://logs.example.com:514", "syslog://logs.example.com:514"),
            ("syslog+tls://Logs.example.com", "syslog+tls://logs.example.com:6514"),
            ("https://user:pa55@example.com/in?token=pa55", "https://example.com:443/…"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://example.com?key=pa55", "https://example.com:443/…"),
        ] {
            let url: OutboundUrl = text.parse().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(url.shown(), shown);
            assert!(!format!("{url:?}").contains("pa55"), "{url:?}");
        }
        for text in [
            "",
            "example.com:514",
            "syslog://example.com",
            "syslog://example.com:514/path",
            "syslog://user@example.com:514",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://a b/",
            "https://example.com:0",
            "https://example.com:99999",
            "https://$(id)/",
            "https://-oProxyCommand=id/",
            "https://example.com/\r\nHost: x",
            "https://[::1",
            "https://evil.com\\@good.com/",
        ] {
            assert!(text.parse::<OutboundUrl>().is_err(), "{text:?}");
        }
    }
}
