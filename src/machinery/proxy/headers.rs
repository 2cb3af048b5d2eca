//! What passes between client and upstream: hop-by-hop fields end here (RFC 9110 §7.6.1), what a
//! client claims about its own address ends here, and what is known of it is added.

use std::net::IpAddr;
use std::time::Duration;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Uri, Version};

use super::host::Asked;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every request of one client connection has in common.
pub(super) struct Caller {
    address: HeaderValue,
    port: HeaderValue,
    scheme: &'static str,
}

impl Caller {
    pub(super) fn address(&self) -> &HeaderValue {
        &self.address
    }

    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub(super) fn new(address: IpAddr, port: u16, scheme: &'static str) -> Self {
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address: value(address.to_string()), port: port.into(), scheme }
    }
}

/// The id of the request, set in `headers`: the client's, if it is harmless in logs and pages, else a new one.
pub(super) fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    match headers.entry(X_REQUEST_ID) {
        Entry::Occupied(mut given) if given.iter().count() > 1 || !is_sane(given.get().as_bytes()) => {
            let id = new_id();
            given.insert(id.clone());
            id
        }
        Entry::Occupied(given) => given.get().clone(),
        Entry::Vacant(place) => place.insert(new_id()).clone(),
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn new_id() -> HeaderValue {
    let mut text = [0; 32];
    // 16 bytes become 32 digits, always.
    let _ = hex::encode_to_slice(rand::random::<u128>().to_be_bytes(), &mut text);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
}

/// Framing that could be read in two ways. hyper has refused or repaired the rest: with both
/// `Content-Length` and `Transfer-Encoding` the length is dropped and the connection ends after the answer.
pub(super) fn has_clear_framing(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().eq_ignore_ascii_case(b"chunked") && !headers.contains_key(CONTENT_LENGTH),
        _ => false,
    }
}

/// The protocol that the client wants to go on with. HTTP/2 over clear text is none that passes: it would
/// carry requests that nobody here has looked at.
pub(super) fn upgrade(parts: &Parts) -> Option<HeaderValue> {
    let wanted = parts.headers.get(UPGRADE)?;
    let is_h2c = wanted.as_bytes().split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"h2c"));
    let named = tokens(&parts.headers).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    (parts.version == Version::HTTP_11 && named && !is_h2c).then(|| wanted.clone())
}

/// Makes the head of a client's request that of the request to the upstream.
pub(super) fn to_upstream(
    parts: &mut Parts,
    asked: &Asked,
    caller: &Caller,
    upgrade: Option<&HeaderValue>,
    has_body: bool,
) {
    let headers = &mut parts.headers;
    let takes_trailers = headers
        .get_all(TE)
        .iter()
        .any(|te| te.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers")));
    end_hop(headers);
    join_cookies(headers);
    // Answered by the server side of this proxy as soon as the upstream takes the body.
    headers.remove(EXPECT);
    remove_claims(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    // Without it hyper would send a GET with a body of unknown length without the body.
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Ok(host) = HeaderValue::from_str(&asked.with_port) {
        headers.insert(X_FORWARDED_HOST, host.clone());
        headers.insert(HOST, host);
    }
    headers.insert(X_FORWARDED_FOR, caller.address.clone());
    headers.insert(X_FORWARDED_PORT, caller.port.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(caller.scheme));
    parts.version = Version::HTTP_11;
    if parts.uri.authority().is_some() {
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
}

/// Makes the head of an upstream's answer that of the answer to the client.
pub(super) fn to_client(headers: &mut HeaderMap, request_id: &HeaderValue, switches: bool) {
    let protocol = if switches { headers.remove(UPGRADE) } else { None };
    end_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if !headers.contains_key(X_REQUEST_ID) {
        headers.insert(X_REQUEST_ID, request_id.clone());
    }
}

/// `Server-Timing` (W3C): how long the request was here, and how long its app took to begin the answer. What the app tells itself stays.
pub(super) fn tell_times(headers: &mut HeaderMap, proxy: Duration, app: Duration) {
    let millis = |took: Duration| took.as_secs_f64() * 1000.0;
    let text = format!("proxy;dur={:.1}, app;dur={:.1}", millis(proxy), millis(app));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append(SERVER_TIMING, value);
    }
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(CONNECTION).iter().flat_map(|field| field.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

fn end_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let usual = |token: &&[u8]| !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close");
        let named: Vec<HeaderName> =
            tokens(headers).filter(usual).filter_map(|token| HeaderName::from_bytes(token).ok()).collect();
        named.iter().for_each(|name| drop(headers.remove(name)));
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE]
    {
        headers.remove(name);
    }
}

/// HTTP/2 may send them in pieces, HTTP/1.1 has one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() < 2 {
        return;
    }
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    claims.iter().for_each(|name| drop(headers.remove(name)));
}

/// Gateway interfaces read `_` as `-`: with an underscore a field could pose as one of ours or as framing.
fn is_claim(name: &str) -> bool {
    let claims_address = |name: &str| {
        name.starts_with("x-forwarded-")
            || matches!(
                name,
                "forwarded"
                    | "x-real-ip"
                    | "client-ip"
                    | "x-client-ip"
                    | "true-client-ip"
                    | "x-cluster-client-ip"
                    | "proxy"
            )
    };
    if !name.contains('_') {
        return claims_address(name);
    }
    let plain = name.replace('_', "-");
    claims_address(&plain)
        || matches!(plain.as_str(), "content-length" | "transfer-encoding" | "x-request-id" | "proxy-authorization")
}
