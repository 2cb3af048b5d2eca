//! What holds for the requests of an environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::base::error::{Error, Result};
use crate::base::model::{AccessLog, DomainName, PageKind, PageText, Protocol, Rate, Rule, Traffic, network};
use crate::base::secret::Secret;
use crate::product::apps::UserChanges;

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct TrafficView {
    /// Every request is answered 503, with a page that says so.
    pub maintenance: bool,
    /// Networks that clients may come from, such as `192.0.2.0/24`; none: from everywhere.
    pub allow: Vec<String>,
    /// Networks that are refused, whatever `allow` says.
    pub deny: Vec<String>,
    /// Names of those who may come with a password; none: nobody needs one.
    pub users: Vec<String>,
    pub rate: Option<RateBody>,
    /// Longer request bodies are refused with 413.
    pub max_body_bytes: Option<u64>,
    /// How long the app may take to begin an answer; null: the server's own bound.
    pub timeout_seconds: Option<u32>,
    /// A browser stays with the replica that answered it first.
    pub sticky: bool,
    /// All other hosts of the environment are redirected to this one.
    pub redirect: Option<String>,
    /// Set in requests to the app; an empty value takes the field away.
    pub request_headers: BTreeMap<String, String>,
    /// Set in answers; an empty value takes the field away.
    pub response_headers: BTreeMap<String, String>,
    /// Origins whose pages may read answers; `*`: all, without cookies.
    pub cors: Vec<String>,
    /// Text is compressed for clients that take it so: `zstd`, `br` or `gzip`, by their `Accept-Encoding`.
    pub compression: bool,
    /// HTML that is shown where the platform answers in the app's place, by `502`, `503`, `504` or `maintenance`.
    pub pages: BTreeMap<String, String>,
    /// Name of the cookie that says, while a canary holds, in which group a visitor is: `new`, `old`, or the number that was drawn.
    pub canary_cookie: Option<String>,
    /// So many requests are inside a replica at once, WebSockets included; further ones wait for one to leave.
    pub in_flight: Option<u32>,
    /// So many wait (100 by default), further ones are answered 503.
    pub queue: Option<u32>,
    /// And so long (10 by default).
    pub wait_seconds: Option<u32>,
    /// What replicas are spoken to in: `http1`, `h2c` or `https`; null: what `app.json` of their release says, or else `http1`.
    pub protocol: Option<String>,
    /// Answers say in `Server-Timing` how long they took in the proxy and in the app.
    pub server_timing: bool,
    /// What the line of a request looks like: `plain` or `json`.
    pub access_log: String,
    /// Rules that do not hold here though `app.json` has them.
    pub without: Vec<String>,
    /// All that holds, with what `app.json` of the release says.
    pub held: Vec<HeldRule>,
}

/// As `traffic:set` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldRule {
    pub rule: String,
    pub value: String,
    /// `set`, or `app.json`.
    pub origin: String,
}

/// Requests of one client address: an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateBody {
    pub per_second: u32,
    /// So many at once.
    pub burst: u32,
}

/// What is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficChangeBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// By name: a password, or null to take the name away. Names that are not here stay.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, Option<String>>,
    /// Null: no bound.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<RateBody>)]
    pub rate: Option<Option<RateBody>>,
    /// Null: no bound.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    pub max_body_bytes: Option<Option<u64>>,
    /// Null: the server's own bound.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    pub timeout_seconds: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<bool>,
    /// Null: each host answers.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub redirect: Option<Option<String>>,
    /// By name: a value, empty to take the field away from requests, null to leave it alone. Fields that are not here stay.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_headers: BTreeMap<String, Option<String>>,
    /// As `request_headers`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub response_headers: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// By `502`, `503`, `504` or `maintenance`: HTML of at most 32 KiB, or null for the platform's own page. Those that are not here stay.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pages: BTreeMap<String, Option<String>>,
    /// Null: every request draws anew.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub canary_cookie: Option<Option<String>>,
    /// Null: no bound.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    pub in_flight: Option<Option<u32>>,
    /// Null: 100.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    pub queue: Option<Option<u32>>,
    /// Null: 10.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    pub wait_seconds: Option<Option<u32>>,
    /// By rule, in the words of `traffic:set`: true, and it does not hold though `app.json` has it; false, and that is taken back.
    /// A rule with a value here needs none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub without: BTreeMap<String, bool>,
    /// Null: what `app.json` of the release says, or else `http1`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_timing: Option<bool>,
    /// `plain` or `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<String>,
}

/// Tells null from absent.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl TrafficView {
    /// `beneath` is what the release says.
    pub fn new(traffic: &Traffic, beneath: &Traffic) -> Self {
        let said = traffic.words();
        let rule = |origin: &str, (rule, value)| HeldRule { rule, value, origin: origin.to_owned() };
        let held =
            traffic.over(beneath).words().into_iter().filter(|(name, _)| said.iter().all(|(said, _)| said != name));
        let held = held.map(|word| rule("app.json", word)).collect::<Vec<_>>();
        Self {
            held: said.into_iter().map(|word| rule("set", word)).chain(held).collect(),
            without: traffic.without.iter().map(ToString::to_string).collect(),
            maintenance: traffic.maintenance,
            allow: traffic.allow.iter().map(ToString::to_string).collect(),
            deny: traffic.deny.iter().map(ToString::to_string).collect(),
            users: traffic.users.keys().cloned().collect(),
            rate: traffic.rate.map(|Rate { per_second, burst }| RateBody { per_second, burst }),
            max_body_bytes: traffic.max_body_bytes,
            timeout_seconds: traffic.timeout_seconds,
            sticky: traffic.sticky,
            redirect: traffic.redirect.as_ref().map(ToString::to_string),
            request_headers: traffic.request_headers.clone(),
            response_headers: traffic.response_headers.clone(),
            cors: traffic.cors.clone(),
            compression: traffic.compression,
            canary_cookie: traffic.canary_cookie.clone(),
            in_flight: traffic.in_flight,
            queue: traffic.queue,
            wait_seconds: traffic.wait_seconds,
            pages: traffic.pages.iter().map(|(kind, page)| (kind.to_string(), page.as_str().to_owned())).collect(),
            protocol: traffic.protocol.map(|protocol| protocol.to_string()),
            server_timing: traffic.server_timing,
            access_log: traffic.access_log.as_str().to_owned(),
        }
    }
}

impl TrafficChangeBody {
    /// One rule as it stands in `said`; without, it is back to what `app.json` says.
    pub fn set(&mut self, rule: Rule, said: &Traffic) {
        let list = |list: &[ipnet::IpNet]| Some(list.iter().map(ToString::to_string).collect());
        let rate = |rate: Rate| RateBody { per_second: rate.per_second, burst: rate.burst };
        match rule {
            Rule::Allow => self.allow = list(&said.allow),
            Rule::Deny => self.deny = list(&said.deny),
            Rule::Rate => self.rate = Some(said.rate.map(rate)),
            Rule::Body => self.max_body_bytes = Some(said.max_body_bytes),
            Rule::Timeout => self.timeout_seconds = Some(said.timeout_seconds),
            Rule::Sticky => self.sticky = Some(said.sticky),
            Rule::Redirect => self.redirect = Some(said.redirect.as_ref().map(ToString::to_string)),
            Rule::Cors => self.cors = Some(said.cors.clone()),
            Rule::Compression => self.compression = Some(said.compression),
            Rule::CanaryCookie => self.canary_cookie = Some(said.canary_cookie.clone()),
            Rule::InFlight => self.in_flight = Some(said.in_flight),
            Rule::Queue => self.queue = Some(said.queue),
            Rule::Wait => self.wait_seconds = Some(said.wait_seconds),
            Rule::Protocol => self.protocol = Some(said.protocol.map(|protocol| protocol.to_string())),
            Rule::ServerTiming => self.server_timing = Some(said.server_timing),
            Rule::AccessLog => self.access_log = Some(said.access_log.as_str().to_owned()),
        }
        self.without.insert(rule.to_string(), said.without.contains(&rule));
    }

    /// The change of the rules, and that of who may come by name. Whether the rules can be had is for the verb to say.
    pub fn read(self) -> Result<(impl FnOnce(&mut Traffic), UserChanges)> {
        let allow = self.allow.map(|list| networks("allow", &list)).transpose()?;
        let deny = self.deny.map(|list| networks("deny", &list)).transpose()?;
        let host = |text: String| text.parse::<DomainName>().map_err(|e| Error::invalid("redirect", format!("{e}")));
        let redirect = self.redirect.map(|host_name| host_name.map(host).transpose()).transpose()?;
        let page = |(name, text): (String, Option<String>)| match name.parse::<PageKind>() {
            Ok(kind) => Ok((kind, text.map(PageText::from))),
            Err(error) => Err(Error::invalid(&format!("pages.{name}"), format!("{error}"))),
        };
        let pages = self.pages.into_iter().map(page).collect::<Result<Vec<_>>>()?;
        let rule = |(name, except): (String, bool)| match name.parse::<Rule>() {
            Ok(rule) => Ok((rule, except)),
            Err(error) => Err(Error::invalid(&format!("without.{name}"), error.to_string())),
        };
        let without = self.without.into_iter().map(rule).collect::<Result<Vec<_>>>()?;
        let protocol = |text: String| text.parse::<Protocol>().map_err(|e| Error::invalid("protocol", format!("{e}")));
        let protocol = self.protocol.map(|said| said.map(protocol).transpose()).transpose()?;
        let form = |text: String| text.parse::<AccessLog>().map_err(|e| Error::invalid("access_log", format!("{e}")));
        let access_log = self.access_log.map(form).transpose()?;
        let users = self.users.into_iter().map(|(name, password)| (name, password.map(Secret::new))).collect();
        let change = move |traffic: &mut Traffic| {
            fn set<T>(place: &mut T, value: Option<T>) {
                if let Some(value) = value {
                    *place = value;
                }
            }
            set(&mut traffic.maintenance, self.maintenance);
            set(&mut traffic.allow, allow);
            set(&mut traffic.deny, deny);
            let rate = |rate: RateBody| Rate { per_second: rate.per_second, burst: rate.burst };
            set(&mut traffic.rate, self.rate.map(|said| said.map(rate)));
            set(&mut traffic.max_body_bytes, self.max_body_bytes);
            set(&mut traffic.timeout_seconds, self.timeout_seconds);
            set(&mut traffic.sticky, self.sticky);
            set(&mut traffic.redirect, redirect);
            set(&mut traffic.cors, self.cors);
            set(&mut traffic.compression, self.compression);
            set(&mut traffic.canary_cookie, self.canary_cookie);
            set(&mut traffic.in_flight, self.in_flight);
            set(&mut traffic.queue, self.queue);
            set(&mut traffic.wait_seconds, self.wait_seconds);
            for (rule, except) in without {
                if except {
                    traffic.without.insert(rule)
                } else {
                    traffic.without.remove(&rule)
                };
            }
            for (kind, text) in pages {
                match text {
                    Some(text) => drop(traffic.pages.insert(kind, text)),
                    None => drop(traffic.pages.remove(&kind)),
                }
            }
            set(&mut traffic.protocol, protocol);
            set(&mut traffic.server_timing, self.server_timing);
            set(&mut traffic.access_log, access_log);
            merge(&mut traffic.request_headers, self.request_headers);
            merge(&mut traffic.response_headers, self.response_headers);
        };
        Ok((change, users))
    }
}

fn merge(fields: &mut BTreeMap<String, String>, changes: BTreeMap<String, Option<String>>) {
    for (name, value) in changes {
        let name = name.to_ascii_lowercase();
        match value {
            Some(value) => drop(fields.insert(name, value)),
            None => drop(fields.remove(&name)),
        }
    }
}

fn networks(field: &str, list: &[String]) -> Result<Vec<ipnet::IpNet>> {
    list.iter().map(|text| network(text).map_err(|fault| Error::invalid(field, fault))).collect()
}
