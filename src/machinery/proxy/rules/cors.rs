//! The CORS protocol (Fetch standard §3.2): which pages of other origins may read answers. Preflights are answered here, without
//! the app.

use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<String>,
    all: bool,
}

impl Cors {
    pub(super) fn new(origins: &[String]) -> Option<Self> {
        let all = origins.iter().any(|origin| origin == "*");
        (!origins.is_empty()).then(|| Self { origins: origins.to_vec(), all })
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }

    /// The head of the answer, if the request is a preflight.
    pub(super) fn preflight(&self, parts: &Parts) -> Option<HeaderMap> {
        let origin = parts.headers.get(ORIGIN)?;
        if parts.method != Method::OPTIONS || !parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut headers = HeaderMap::new();
        self.mark(&mut headers, Some(origin));
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
            if let Some(asked) = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
        Some(headers)
    }

    /// In the place of what the app says of origins. An origin that is listed may send cookies, one that `*` stands for may not.
    pub(super) fn mark(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        // Also where the origin may not: a cache must not give one the answer of another.
        headers.append(VARY, HeaderValue::from_static("origin"));
        match origin {
            Some(origin) if self.lists(origin) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            Some(_) if self.all => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            _ => {}
        }
    }
}
