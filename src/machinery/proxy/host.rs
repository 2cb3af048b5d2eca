//! Which host a request is for (RFC 9110 §7.2, RFC 9112 §3.2). Everything that two parsers could
//! read differently is refused.

use std::borrow::Cow;

use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::{Uri, Version};

/// A host as the client asked for it, proven to hold only the characters of a host and a port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Lower case, without port and trailing dot: a key of the route table.
    pub(super) host: String,
    /// As it goes on to the app: `host` and the port, if one was given.
    pub(super) with_port: String,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum HostFault {
    Missing,
    Several,
    Invalid,
}

impl HostFault {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Missing => "The request names no host.",
            Self::Several => "The request names its host more than once.",
            Self::Invalid => "The request's host is not a host name.",
        }
    }
}

/// The authority of an absolute-form target wins over the `Host` field, which must be there and sound anyway.
pub(super) fn asked(parts: &Parts) -> Result<Asked, HostFault> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => Some(parse(field.to_str().map_err(|_| HostFault::Invalid)?)?),
        (Some(_), Some(_)) => return Err(HostFault::Several),
        (None, _) => None,
    };
    match (authority(&parts.uri)?, field) {
        // In HTTP/2 the two must be the same, and `Host` may be missing (RFC 9113 §8.3.1).
        (Some(asked), Some(field)) if parts.version == Version::HTTP_2 && field.host != asked.host => {
            Err(HostFault::Several)
        }
        (Some(asked), Some(_)) => Ok(asked),
        (Some(asked), None) if parts.version != Version::HTTP_11 => Ok(asked),
        (None, Some(asked)) => Ok(asked),
        _ => Err(HostFault::Missing),
    }
}

fn authority(uri: &Uri) -> Result<Option<Asked>, HostFault> {
    match (uri.scheme_str(), uri.authority()) {
        (None, None) => Ok(None),
        (Some("http" | "https"), Some(authority)) => parse(authority.as_str()).map(Some),
        _ => Err(HostFault::Invalid),
    }
}

fn parse(text: &str) -> Result<Asked, HostFault> {
    let (host, port) = match text.rsplit_once(':') {
        // A colon inside the brackets of an IPv6 address parts no port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if !is_host(host) && !is_bracketed(host) {
        return Err(HostFault::Invalid);
    }
    let host = lower(host);
    let with_port = match port {
        None | Some("") => host.clone().into_owned(),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok() => {
            format!("{host}:{port}")
        }
        Some(_) => return Err(HostFault::Invalid),
    };
    Ok(Asked { host: host.into_owned(), with_port })
}

/// The grammar of `base::model::Host`, letters in either case.
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes.len() <= 63
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// No route has an address for a host, but asking for one is no fault of form.
fn is_bracketed(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}
