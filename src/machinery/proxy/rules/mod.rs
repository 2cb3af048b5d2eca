//! What an environment's owner wants of its requests ([`Traffic`]), made ready for the path of each of them. It outlives route
//! tables, as the counts of addresses and the passwords that were found right do.

mod cors;
mod passwords;
mod rate;
mod sticky;
mod visitors;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;

use super::balance::Lot;
use super::compression::Presses;
use super::host::Asked;
use super::pages::Fault;
use super::upstream::Upstream;
use crate::base::model::{PageKind, Traffic};
use cors::Cors;
use passwords::Known;
pub use passwords::hash as hash_password;
use rate::Book;

/// A field that is set, or taken away.
type Change = (HeaderName, Option<HeaderValue>);

#[derive(Debug)]
pub struct Rules {
    traffic: Traffic,
    request_headers: Vec<Change>,
    response_headers: Vec<Change>,
    cors: Option<Cors>,
    book: Book,
    known: Known,
    presses: Presses,
    pages: BTreeMap<PageKind, Bytes>,
}

/// How many requests a replica is given at once, and how further ones wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) each: usize,
    pub(super) waiting: usize,
    pub(super) longest: Duration,
}

/// What a request gets instead of an answer of the app.
#[derive(Debug)]
pub(super) enum Refusal {
    Page(Fault),
    /// Without a body.
    Head(StatusCode, HeaderMap),
}

impl Rules {
    pub fn new(traffic: Traffic) -> Self {
        let ready = |fields: &BTreeMap<String, String>| {
            let each = fields.iter().filter_map(|(name, value)| {
                let value = if value.is_empty() { None } else { Some(HeaderValue::from_str(value).ok()?) };
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
            });
            each.collect()
        };
        Self {
            request_headers: ready(&traffic.request_headers),
            response_headers: ready(&traffic.response_headers),
            cors: Cors::new(&traffic.cors),
            book: Book::default(),
            known: Known::default(),
            presses: Presses::default(),
            pages: traffic.pages.iter().map(|(kind, page)| (*kind, page.as_str().to_owned().into())).collect(),
            traffic,
        }
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Looked at in this order: whose request it is, how many came, whether anybody is served, from where it may be sent, who sends it.
    pub(super) async fn judge(
        &self,
        parts: &Parts,
        asked: &Asked,
        client: IpAddr,
        scheme: &str,
    ) -> Result<(), Refusal> {
        let traffic = &self.traffic;
        let is_in = |networks: &[ipnet::IpNet]| networks.iter().any(|network| network.contains(&client));
        if is_in(&traffic.deny) || !(traffic.allow.is_empty() || is_in(&traffic.allow)) {
            return Err(Refusal::Page(Fault::Forbidden));
        }
        if traffic.rate.is_some_and(|rate| !self.book.admits(client, rate)) {
            return Err(Refusal::Page(Fault::TooMany));
        }
        if traffic.maintenance {
            return Err(Refusal::Page(Fault::Maintenance));
        }
        if let Some(host) = &traffic.redirect
            && host.as_str() != asked.host
        {
            return Err(redirect(parts, asked, host.as_str(), scheme));
        }
        if let Some(answer) = self.cors.as_ref().and_then(|cors| cors.preflight(parts)) {
            return Err(Refusal::Head(StatusCode::NO_CONTENT, answer));
        }
        if !traffic.users.is_empty() && !self.known.is_right(&traffic.users, &parts.headers).await {
            return Err(Refusal::Page(Fault::Unauthorized));
        }
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match (traffic.max_body_bytes, length) {
            (Some(most), Some(length)) if length > most => Err(Refusal::Page(Fault::BodyTooLarge)),
            _ => Ok(()),
        }
    }

    pub(super) fn to_upstream(&self, headers: &mut HeaderMap) {
        if !self.traffic.users.is_empty() {
            // It was meant for here, and an app that logs it would keep a password.
            headers.remove(AUTHORIZATION);
        }
        change(headers, &self.request_headers);
    }

    /// `origin` is the request's.
    pub(super) fn to_client(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        if let Some(cors) = &self.cors {
            cors.mark(headers, origin);
        }
        change(headers, &self.response_headers);
    }

    /// The replica that the browser was answered by before.
    pub(super) fn wanted(&self, headers: &HeaderMap) -> Option<u64> {
        if self.traffic.sticky { sticky::wanted(headers.get_all(COOKIE)) } else { None }
    }

    /// Whether visitors stay in their group while a canary holds.
    pub(super) fn keeps_lots(&self) -> bool {
        self.traffic.canary_cookie.is_some()
    }

    /// What the visitor drew before, or says.
    pub(super) fn lot(&self, headers: &HeaderMap) -> Option<Lot> {
        visitors::said(headers.get_all(COOKIE), self.traffic.canary_cookie.as_deref()?)
    }

    /// Has the visitor come with the same lot again.
    pub(super) fn keep(&self, headers: &mut HeaderMap, lot: Lot, scheme: &str) {
        let name = self.traffic.canary_cookie.as_deref();
        if let Some(cookie) = name.and_then(|name| visitors::cookie(name, lot, scheme)) {
            headers.append(SET_COOKIE, cookie);
        }
    }

    /// Has the browser come back to who answered it.
    pub(super) fn stick(&self, headers: &mut HeaderMap, wanted: Option<u64>, upstream: &Upstream, scheme: &str) {
        if self.traffic.sticky
            && wanted != Some(upstream.mark())
            && let Some(cookie) = sticky::cookie(upstream.mark(), scheme)
        {
            headers.append(SET_COOKIE, cookie);
        }
    }

    /// The app's own in the place of the platform's.
    pub(super) fn page(&self, fault: Fault) -> Option<Bytes> {
        self.pages.get(&fault.kind()?).cloned()
    }

    pub(super) fn bound(&self) -> Option<Bound> {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Some(Bound {
            each: number(self.traffic.in_flight?),
            waiting: number(self.traffic.queue.unwrap_or(Traffic::USUAL_QUEUE)),
            longest: Duration::from_secs(self.traffic.wait_seconds.unwrap_or(Traffic::USUAL_WAIT_SECONDS).into()),
        })
    }

    pub(super) fn compresses(&self) -> bool {
        self.traffic.compression
    }

    pub(super) fn presses(&self) -> &Presses {
        &self.presses
    }

    pub(super) fn max_body_bytes(&self) -> Option<u64> {
        self.traffic.max_body_bytes
    }

    pub(super) fn first_byte_timeout(&self) -> Option<Duration> {
        self.traffic.timeout_seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

fn change(headers: &mut HeaderMap, changes: &[Change]) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(headers.insert(name.clone(), value.clone())),
            None => drop(headers.remove(name)),
        }
    }
}

/// 308 keeps method and body (RFC 9110 §15.4.9).
fn redirect(parts: &Parts, asked: &Asked, host: &str, scheme: &str) -> Refusal {
    let port = asked.with_port.strip_prefix(&asked.host).unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = HeaderMap::new();
    match HeaderValue::from_str(&format!("{scheme}://{host}{port}{path}")) {
        Ok(location) => drop(headers.insert(hyper::header::LOCATION, location)),
        Err(_) => return Refusal::Page(Fault::Forbidden),
    }
    Refusal::Head(StatusCode::PERMANENT_REDIRECT, headers)
}
