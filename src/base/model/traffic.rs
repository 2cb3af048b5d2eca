//! What people say of an environment's requests: who may come, how many, what is added to them on their way. It holds for
//! whatever release is live, and is no part of one: a rollback opens no door. Beneath it lies what a release says of itself.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{DomainName, NameError, PageKind, PageText, Protocol};
pub use words::{Rule, UnknownRule, network};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Every request is answered 503, with a page that says so.
    pub maintenance: bool,
    /// Networks of clients; none: everybody.
    pub allow: Vec<IpNet>,
    /// Refused, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// Basic authentication (RFC 7617), if there is anybody in it.
    pub users: BTreeMap<String, PasswordHash>,
    pub rate: Option<Rate>,
    /// Longer request bodies are refused.
    pub max_body_bytes: Option<u64>,
    /// How long an app may take to begin its answer.
    pub timeout_seconds: Option<u32>,
    /// A browser stays with the replica that answered it first, as long as that is there.
    pub sticky: bool,
    /// All other hosts of the environment are redirected to this one.
    pub redirect: Option<DomainName>,
    /// Set in requests to the app; empty: taken away.
    pub request_headers: BTreeMap<String, String>,
    /// Set in answers to clients; empty: taken away.
    pub response_headers: BTreeMap<String, String>,
    /// What replicas are spoken to in, in place of what their release says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Answers say how long they took here and in the app (`Server-Timing`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub server_timing: bool,
    #[serde(skip_serializing_if = "AccessLog::is_plain")]
    pub access_log: AccessLog,
    /// Origins whose pages may read answers (Fetch standard, CORS protocol); `*`: all, without credentials.
    pub cors: Vec<String>,
    /// Answers are compressed for clients that take it so.
    pub compression: bool,
    /// Shown where the platform answers in the app's place.
    pub pages: BTreeMap<PageKind, PageText>,
    /// While a canary holds, a cookie of this name says in which group a visitor is.
    pub canary_cookie: Option<String>,
    /// So many requests are inside a replica at once, tunnels included; further ones wait for one to leave.
    pub in_flight: Option<u32>,
    /// So many wait; further ones are refused.
    pub queue: Option<u32>,
    /// And no longer than this.
    pub wait_seconds: Option<u32>,
    /// Rules that do not hold though a release brings them along.
    pub without: BTreeSet<Rule>,
}

/// What the line of a request looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLog {
    #[default]
    Plain,
    /// An object with all that is known.
    Json,
}

impl AccessLog {
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Json => "json",
        }
    }
}

impl FromStr for AccessLog {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err(NameError::new("must be plain or json")),
        }
    }
}

/// Requests of one client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// 1 to 100,000.
    pub per_second: u32,
    /// So many at once, at least `per_second`'s.
    pub burst: u32,
}

/// `pbkdf2-sha256$ROUNDS$SALT$HASH`, the last two in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

const MOST_NETWORKS: usize = 500;
const MOST_USERS: usize = 100;
const MOST_HEADERS: usize = 50;
const MOST_ORIGINS: usize = 50;
const LONGEST_VALUE: usize = 4096;
const HIGHEST_RATE: u32 = 100_000;
const LONGEST_TIMEOUT: u32 = 3600;

const MOST_IN_FLIGHT: u32 = 10_000;
const LONGEST_QUEUE: u32 = 10_000;
const LONGEST_WAIT: u32 = 300;

impl Traffic {
    pub const USUAL_QUEUE: u32 = 100;
    pub const USUAL_WAIT_SECONDS: u32 = 10;

    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// What cannot be had of it: field and reason.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, text: String| faults.push((field.to_owned(), text));
        for (field, count) in [("allow", self.allow.len()), ("deny", self.deny.len())] {
            if count > MOST_NETWORKS {
                fault(field, format!("has {count} networks, the limit is {MOST_NETWORKS}"));
            }
        }
        if self.users.len() > MOST_USERS {
            fault("users", format!("has {} names, the limit is {MOST_USERS}", self.users.len()));
        }
        for name in self.users.keys() {
            if let Some(text) = user_fault(name) {
                fault("users", format!("{name:?} {text}"));
            }
        }
        if let Some(Rate { per_second, burst }) = self.rate
            && !((1..=HIGHEST_RATE).contains(&per_second) && (1..=HIGHEST_RATE).contains(&burst))
        {
            fault("rate", format!("must be 1 to {HIGHEST_RATE} a second, and as many at once"));
        }
        if self.max_body_bytes == Some(0) {
            fault("max_body_bytes", "must be at least 1".into());
        }
        if self.timeout_seconds.is_some_and(|seconds| !(1..=LONGEST_TIMEOUT).contains(&seconds)) {
            fault("timeout_seconds", format!("must be 1 to {LONGEST_TIMEOUT}"));
        }
        for (field, said, least, most) in [
            ("in_flight", self.in_flight, 1, MOST_IN_FLIGHT),
            ("queue", self.queue, 0, LONGEST_QUEUE),
            ("wait_seconds", self.wait_seconds, 1, LONGEST_WAIT),
        ] {
            if said.is_some_and(|number| !(least..=most).contains(&number)) {
                fault(field, format!("must be {least} to {most}"));
            }
        }
        if self.canary_cookie.as_deref().is_some_and(|name| !is_cookie(name)) {
            fault(
                "canary_cookie",
                "must be 1 to 64 letters, digits, - and _, and not the platform's own hythe_replica".into(),
            );
        }
        if self.redirect.as_ref().is_some_and(|host| host.below().is_some()) {
            fault("redirect", "must be one host".into());
        }
        for (field, headers) in
            [("request_headers", &self.request_headers), ("response_headers", &self.response_headers)]
        {
            if headers.len() > MOST_HEADERS {
                fault(field, format!("has {} fields, the limit is {MOST_HEADERS}", headers.len()));
            }
            for (name, value) in headers {
                if let Some(text) = header_fault(name, value) {
                    fault(&format!("{field}.{name}"), text.into());
                }
            }
        }
        for (kind, page) in &self.pages {
            if let Some(text) = page.fault() {
                fault(&format!("pages.{kind}"), text);
            }
        }
        if self.cors.len() > MOST_ORIGINS {
            fault("cors", format!("has {} origins, the limit is {MOST_ORIGINS}", self.cors.len()));
        }
        for origin in self.cors.iter().filter(|origin| *origin != "*" && !is_origin(origin)) {
            fault("cors", format!("{origin:?} is no origin; write https://HOST or https://HOST:PORT, or *"));
        }
        faults
    }
}

fn user_fault(name: &str) -> Option<&'static str> {
    let is_sound = !name.is_empty() && name.len() <= 64 && !name.contains(':') && !name.chars().any(char::is_control);
    (!is_sound).then_some("is no name: 1 to 64 characters without a colon")
}

fn is_cookie(name: &str) -> bool {
    let well = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(well) && name != "hythe_replica"
}

/// Of the length and the way of a message, and what the platform says of the client, is not for an app's settings to change.
fn header_fault(name: &str, value: &str) -> Option<&'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty()
        || name.len() > 128
        || !name.bytes().all(is_token)
        || name.bytes().any(|b| b.is_ascii_uppercase())
    {
        return Some("is no name of a header field in lower case");
    }
    if value.len() > LONGEST_VALUE || !value.bytes().all(|b| matches!(b, b' '..=b'~')) || value.trim() != value {
        return Some("must be at most 4096 printable ASCII characters, without a space at either end");
    }
    let reserved = name.starts_with("x-forwarded-")
        || matches!(
            name,
            "connection"
                | "content-length"
                | "date"
                | "expect"
                | "forwarded"
                | "host"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "x-real-ip"
                | "x-request-id"
        );
    reserved.then_some("is the platform's own to set")
}

/// Scheme, host and port as browsers write them (RFC 6454 §6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    matches!(scheme, "http" | "https")
        && host.parse::<super::Host>().is_ok()
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Traffic)) -> Vec<String> {
        let mut traffic = Traffic::default();
        change(&mut traffic);
        traffic.faults().into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn what_cannot_be_had_is_told_by_its_field() {
        let hash = || PasswordHash::new("x".into());
        let headers = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(with(|_| {}).is_empty());
        for (faults, field) in [
            (with(|t| drop(t.users.insert("a:b".into(), hash()))), "users"),
            (with(|t| drop(t.users.insert(String::new(), hash()))), "users"),
            (with(|t| t.rate = Some(Rate { per_second: 0, burst: 1 })), "rate"),
            (with(|t| t.rate = Some(Rate { per_second: 1, burst: 100_001 })), "rate"),
            (with(|t| t.max_body_bytes = Some(0)), "max_body_bytes"),
            (with(|t| t.timeout_seconds = Some(3601)), "timeout_seconds"),
            (with(|t| t.redirect = Some("*.example.com".parse().expect("a name"))), "redirect"),
            (with(|t| t.allow = vec!["10.0.0.0/8".parse().expect("a network"); 501]), "allow"),
            (with(|t| t.request_headers = headers("host", "x")), "request_headers.host"),
            (with(|t| t.request_headers = headers("x-forwarded-for", "1.2.3.4")), "request_headers.x-forwarded-for"),
            (with(|t| t.response_headers = headers("X-Up", "x")), "response_headers.X-Up"),
            (with(|t| t.response_headers = headers("x-a", "b\r\nset-cookie: c")), "response_headers.x-a"),
            (with(|t| t.response_headers = headers("transfer-encoding", "")), "response_headers.transfer-encoding"),
            (with(|t| drop(t.pages.insert(PageKind::Late, String::new().into()))), "pages.504"),
            (with(|t| t.in_flight = Some(0)), "in_flight"),
            (with(|t| t.in_flight = Some(10_001)), "in_flight"),
            (with(|t| t.queue = Some(10_001)), "queue"),
            (with(|t| t.wait_seconds = Some(0)), "wait_seconds"),
            (with(|t| t.wait_seconds = Some(301)), "wait_seconds"),
            (with(|t| t.canary_cookie = Some("a; path".into())), "canary_cookie"),
            (with(|t| t.canary_cookie = Some(String::new())), "canary_cookie"),
            (with(|t| t.canary_cookie = Some("hythe_replica".into())), "canary_cookie"),
            (with(|t| t.cors = vec!["example.com".into()]), "cors"),
            (with(|t| t.cors = vec!["https://example.com/".into()]), "cors"),
        ] {
            assert_eq!(faults, [field]);
        }
        let all = with(|t| {
            t.users.insert("ann".into(), hash());
            t.rate = Some(Rate { per_second: 10, burst: 20 });
            t.request_headers = headers("x-env", "staging");
            t.response_headers = headers("server", "");
            t.cors = vec!["https://example.com".into(), "http://localhost:3000".into(), "*".into()];
            t.redirect = Some("example.com".parse().expect("a name"));
        });
        assert!(all.is_empty(), "{all:?}");
    }
}
