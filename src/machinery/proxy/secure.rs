//! From plain HTTP to HTTPS, and what clients are told of it over TLS.

use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION, STRICT_TRANSPORT_SECURITY};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::RouteTable;
use super::body::Answer;
use super::challenges::is_plain_on_purpose;
use super::headers::X_REQUEST_ID;
use super::table::Entry;
use crate::base::model::Https;

const HSTS: HeaderName = STRICT_TRANSPORT_SECURITY;

/// Where the request of a plain connection is sent on to. `port` is that of TLS.
pub(super) fn elsewhere(table: &RouteTable, parts: &Parts, host: &str, port: u16) -> Option<Response<Answer>> {
    if is_plain_on_purpose(parts.uri.path()) {
        return None;
    }
    let Some(Entry::App(target)) = table.find(host) else { return None };
    if !target.https.redirects(table.certificates().trusted(host)) {
        return None;
    }
    let place = if port == 443 { String::new() } else { format!(":{port}") };
    let path = parts.uri.path_and_query().map_or("/", |both| both.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    let location = HeaderValue::try_from(format!("https://{host}{place}{path}")).ok()?;
    // Others than these would lose their body and become GET on the way (RFC 9110 §15.4.2).
    let keeps = matches!(parts.method, Method::GET | Method::HEAD);
    let mut response = Response::new(Answer::Page(None));
    *response.status_mut() = if keeps { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    // The certificate may be gone one day.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// Over TLS only, where it is believed (RFC 6797 §7.2). What the app says itself stands.
pub(super) fn tell(https: Https, headers: &mut HeaderMap) {
    let Some(seconds) = https.hsts_seconds else { return };
    if headers.contains_key(HSTS) {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(format!("max-age={seconds}")) {
        headers.insert(HSTS, value);
    }
}

pub(super) fn identified(mut response: Response<Answer>, id: &HeaderValue) -> Response<Answer> {
    response.headers_mut().insert(X_REQUEST_ID, id.clone());
    response
}
