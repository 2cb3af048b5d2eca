//! Rules as people write them, one at a time: `rate=20/100`. The same words do by hand, for an environment, and in `app.json`, for
//! a release; and what was written is shown in them.

use std::fmt::{self, Display};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Rate, Traffic};

/// A rule of one value. Header fields are rules by the name of the field, beside these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    Allow,
    Deny,
    Rate,
    Body,
    Timeout,
    Sticky,
    Redirect,
    Cors,
    Compression,
    CanaryCookie,
    InFlight,
    Queue,
    Wait,
    Protocol,
    ServerTiming,
    AccessLog,
}

const NAMES: [(&str, Rule); 16] = [
    ("allow", Rule::Allow),
    ("deny", Rule::Deny),
    ("rate", Rule::Rate),
    ("body", Rule::Body),
    ("timeout", Rule::Timeout),
    ("sticky", Rule::Sticky),
    ("redirect", Rule::Redirect),
    ("cors", Rule::Cors),
    ("compression", Rule::Compression),
    ("canary-cookie", Rule::CanaryCookie),
    ("in-flight", Rule::InFlight),
    ("queue", Rule::Queue),
    ("wait", Rule::Wait),
    ("protocol", Rule::Protocol),
    ("server-timing", Rule::ServerTiming),
    ("access-log", Rule::AccessLog),
];

const REQUEST: &str = "request-header.";
const RESPONSE: &str = "response-header.";
/// Nothing of the rule.
const OFF: &str = "off";

impl Rule {
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(_, rule)| rule)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, rule)| rule == self).map_or("", |(name, _)| name))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such rule; rules are {}, request-header.NAME, response-header.NAME", all_names())]
pub struct UnknownRule;

fn all_names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, rule)| *rule).ok_or(UnknownRule)
    }
}

impl Traffic {
    /// Whether what is said can be had is for `faults` to say.
    pub fn say(&mut self, name: &str, value: &str) -> Result<(), String> {
        for (kind, fields) in [(REQUEST, &mut self.request_headers), (RESPONSE, &mut self.response_headers)] {
            if let Some(field) = name.strip_prefix(kind) {
                fields.insert(field.to_ascii_lowercase(), value.to_owned());
                return Ok(());
            }
        }
        let rule: Rule = name.parse().map_err(|error: UnknownRule| error.to_string())?;
        let is_usual = match rule {
            Rule::Sticky | Rule::Compression | Rule::ServerTiming => value == "false",
            Rule::AccessLog => value == AccessLog::Plain.as_str(),
            _ => false,
        };
        if value == OFF || is_usual {
            self.take(rule, &Self::default());
            self.without.insert(rule);
            return Ok(());
        }
        self.without.remove(&rule);
        let parts = || value.split(',').map(str::trim).filter(|part| !part.is_empty());
        match rule {
            Rule::Allow => self.allow = parts().map(network).collect::<Result<_, _>>()?,
            Rule::Deny => self.deny = parts().map(network).collect::<Result<_, _>>()?,
            Rule::Cors => self.cors = parts().map(str::to_owned).collect(),
            Rule::Rate => {
                let (per_second, burst) = value.split_once('/').unwrap_or((value, value));
                let number = |text: &str| text.parse().map_err(|_| "write PER_SECOND or PER_SECOND/BURST".to_owned());
                self.rate = Some(Rate { per_second: number(per_second)?, burst: number(burst)? });
            }
            Rule::Body => self.max_body_bytes = Some(bytes(value).ok_or("write bytes, such as 10MB")?),
            Rule::Timeout => self.timeout_seconds = Some(seconds(value)?),
            Rule::InFlight => self.in_flight = Some(value.parse().map_err(|_| "write a number of requests")?),
            Rule::Queue => self.queue = Some(value.parse().map_err(|_| "write a number of requests")?),
            Rule::Wait => self.wait_seconds = Some(seconds(value)?),
            Rule::Sticky => self.sticky = switch(value)?,
            Rule::Compression => self.compression = switch(value)?,
            Rule::ServerTiming => self.server_timing = switch(value)?,
            Rule::AccessLog => self.access_log = value.parse().map_err(|error| format!("{error}"))?,
            Rule::Protocol => self.protocol = Some(value.parse().map_err(|error| format!("{error}"))?),
            Rule::CanaryCookie => self.canary_cookie = Some(value.to_owned()),
            Rule::Redirect => self.redirect = Some(value.parse().map_err(|error| format!("{error}"))?),
        }
        Ok(())
    }

    /// One rule as another has it.
    pub fn take(&mut self, rule: Rule, from: &Self) {
        match rule {
            Rule::Allow => self.allow.clone_from(&from.allow),
            Rule::Deny => self.deny.clone_from(&from.deny),
            Rule::Rate => self.rate = from.rate,
            Rule::Body => self.max_body_bytes = from.max_body_bytes,
            Rule::Timeout => self.timeout_seconds = from.timeout_seconds,
            Rule::Sticky => self.sticky = from.sticky,
            Rule::Redirect => self.redirect.clone_from(&from.redirect),
            Rule::Cors => self.cors.clone_from(&from.cors),
            Rule::Compression => self.compression = from.compression,
            Rule::CanaryCookie => self.canary_cookie.clone_from(&from.canary_cookie),
            Rule::InFlight => self.in_flight = from.in_flight,
            Rule::Queue => self.queue = from.queue,
            Rule::Wait => self.wait_seconds = from.wait_seconds,
            Rule::Protocol => self.protocol = from.protocol,
            Rule::ServerTiming => self.server_timing = from.server_timing,
            Rule::AccessLog => self.access_log = from.access_log,
        }
    }

    pub fn has(&self, rule: Rule) -> bool {
        let mut one = Self::default();
        one.take(rule, self);
        !one.is_plain()
    }

    /// What is said here goes before what `below` says, rule by rule and field by field.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let mut whole = self.clone();
        whole.without.clear();
        if below.is_plain() {
            return whole;
        }
        for rule in Rule::all().filter(|rule| !self.without.contains(rule) && !self.has(*rule)) {
            whole.take(rule, below);
        }
        for (fields, below) in [
            (&mut whole.request_headers, &below.request_headers),
            (&mut whole.response_headers, &below.response_headers),
        ] {
            for (name, value) in below {
                fields.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        whole
    }

    /// All that is said, in the words that say it, where there are such.
    pub fn words(&self) -> Vec<(String, String)> {
        let mut words = Vec::new();
        let mut word = |name: &str, value: String| words.push((name.to_owned(), value));
        let on = || "on".to_owned();
        if self.maintenance {
            word("maintenance", on());
        }
        if !self.users.is_empty() {
            word("users", join(self.users.keys()));
        }
        for (name, rule) in NAMES {
            if self.without.contains(&rule) {
                word(name, OFF.to_owned());
                continue;
            }
            let value = match rule {
                Rule::Allow => Some(join(&self.allow)).filter(|list| !list.is_empty()),
                Rule::Deny => Some(join(&self.deny)).filter(|list| !list.is_empty()),
                Rule::Cors => Some(join(&self.cors)).filter(|list| !list.is_empty()),
                Rule::Rate => self.rate.map(|rate| format!("{}/{}", rate.per_second, rate.burst)),
                Rule::Body => self.max_body_bytes.map(|bytes| bytes.to_string()),
                Rule::Timeout => self.timeout_seconds.map(|seconds| seconds.to_string()),
                Rule::Sticky => self.sticky.then(on),
                Rule::Compression => self.compression.then(on),
                Rule::CanaryCookie => self.canary_cookie.clone(),
                Rule::InFlight => self.in_flight.map(|number| number.to_string()),
                Rule::Queue => self.queue.map(|number| number.to_string()),
                Rule::Wait => self.wait_seconds.map(|seconds| seconds.to_string()),
                Rule::Redirect => self.redirect.as_ref().map(ToString::to_string),
                Rule::Protocol => self.protocol.map(|protocol| protocol.to_string()),
                Rule::ServerTiming => self.server_timing.then(on),
                Rule::AccessLog => (!self.access_log.is_plain()).then(|| self.access_log.as_str().to_owned()),
            };
            value.into_iter().for_each(|value| word(name, value));
        }
        for (kind, fields) in [(REQUEST, &self.request_headers), (RESPONSE, &self.response_headers)] {
            fields.iter().for_each(|(name, value)| word(&format!("{kind}{name}"), value.clone()));
        }
        self.pages
            .iter()
            .for_each(|(kind, page)| word(&format!("page {kind}"), format!("{} bytes", page.as_str().len())));
        words
    }
}

/// A network, or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    net.map_err(|_| format!("{text:?} is no network; write 192.0.2.0/24 or one address"))
}

/// `30`, or `30s`.
fn seconds(value: &str) -> Result<u32, &'static str> {
    value.strip_suffix('s').unwrap_or(value).parse().map_err(|_| "write seconds")
}

/// `off` has been seen to.
fn switch(value: &str) -> Result<bool, String> {
    if matches!(value, "on" | "true") { Ok(true) } else { Err("write on or off".into()) }
}

/// `10MB` are 10,000,000, `10MiB` 10,485,760.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn join(list: impl IntoIterator<Item = impl Display>) -> String {
    list.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[(&str, &str)]) -> Traffic {
        let mut traffic = Traffic::default();
        words.iter().for_each(|(name, value)| traffic.say(name, value).unwrap_or_else(|e| panic!("{name}: {e}")));
        traffic
    }

    const ALL: [(&str, &str); 18] = [
        ("allow", "10.0.0.0/8,192.0.2.1/32"),
        ("deny", "192.0.2.0/24"),
        ("rate", "10/20"),
        ("body", "10000000"),
        ("timeout", "5"),
        ("sticky", "on"),
        ("redirect", "example.com"),
        ("cors", "https://example.com"),
        ("compression", "on"),
        ("canary-cookie", "beta"),
        ("in-flight", "20"),
        ("queue", "0"),
        ("wait", "30"),
        ("protocol", "h2c"),
        ("server-timing", "on"),
        ("access-log", "json"),
        ("request-header.x-env", "a=b"),
        ("response-header.server", ""),
    ];

    #[test]
    fn what_is_shown_can_be_said() {
        let all = said(&ALL);
        assert_eq!(all.words(), ALL.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(all.faults().is_empty());
        assert!(Rule::all().all(|rule| all.has(rule) && rule.to_string().parse() == Ok(rule)));
        let loose = said(&[("allow", "10.0.0.0/8, 192.0.2.1,"), ("body", "10MB"), ("rate", "7"), ("wait", "30s")]);
        assert_eq!((loose.allow == all.allow, loose.max_body_bytes), (true, all.max_body_bytes));
        assert_eq!(loose.wait_seconds, all.wait_seconds);
        assert_eq!(loose.rate, Some(Rate { per_second: 7, burst: 7 }));
        for (name, value) in [
            ("rate", "x"),
            ("rate", "1/"),
            ("body", "10XB"),
            ("timeout", "-1"),
            ("wait", "s"),
            ("in-flight", "many"),
            ("queue", "-1"),
            ("sticky", "maybe"),
            ("protocol", "h3"),
            ("access-log", "xml"),
            ("allow", "10.0.0.0/33"),
            ("redirect", "a b"),
            ("allowed", "x"),
            ("request-headers", "x"),
        ] {
            assert!(Traffic::default().say(name, value).is_err(), "{name}={value}");
        }
        assert_eq!((bytes("1KiB"), bytes("99999999999GB"), bytes("")), (Some(1024), None, None));
    }

    #[test]
    fn what_people_say_goes_before_what_a_release_says() {
        let (all, none) = (said(&ALL), Traffic::default());
        assert_eq!((none.over(&all) == all, all.over(&none) == all), (true, true));
        for rule in Rule::all() {
            let name = rule.to_string();
            let off = said(&[(name.as_str(), "off")]);
            assert_eq!((off.words(), off.has(rule)), (vec![(name.clone(), "off".to_owned())], false));
            let left = off.over(&all);
            assert!(!left.has(rule), "{name} does not hold");
            assert_eq!(left.words().len(), ALL.len() - 1, "and all others do");
        }
        let own = said(&[("rate", "1/2"), ("request-header.x-env", "mine"), ("response-header.x-a", "b")]);
        let whole = own.over(&all);
        assert_eq!((whole.rate, whole.timeout_seconds), (own.rate, all.timeout_seconds));
        assert_eq!(whole.request_headers["x-env"], "mine");
        assert_eq!(whole.response_headers.keys().collect::<Vec<_>>(), ["server", "x-a"]);
        // Saying it again ends the exception.
        let mut again = said(&[("sticky", "off")]);
        again.say("sticky", "on").expect("a rule");
        assert!(again.without.is_empty() && again.sticky);
    }
}
