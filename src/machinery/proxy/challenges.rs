//! What authorities look for while certificates are ordered: texts below a well-known path (RFC 8555 §8.3), and
//! certificates shown to who speaks nothing but `acme-tls/1` (RFC 8737). Part of the route table, and there only for orders
//! under way.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response};

use super::Certificate;
use super::body::Answer;
use crate::base::model::DomainName;

const PREFIX: &str = "/.well-known/acme-challenge/";
/// Whoever proves a domain by a file is not sent elsewhere either.
const PROOF: &str = "/.well-known/hythe-verification";

#[derive(Debug, Clone, Default)]
pub struct Challenges {
    texts: HashMap<Box<str>, Box<str>>,
    names: HashMap<Box<str>, Certificate>,
}

/// One of them.
#[derive(Debug, Clone)]
pub enum Challenge {
    Text { token: String, text: String },
    Name { name: DomainName, certificate: Certificate },
}

impl Challenges {
    pub fn add(&mut self, challenge: &Challenge) {
        match challenge {
            Challenge::Text { token, text } => drop(self.texts.insert(token.as_str().into(), text.as_str().into())),
            Challenge::Name { name, certificate } => {
                self.names.insert(name.bare().into(), certificate.clone());
            }
        }
    }

    pub fn remove(&mut self, challenge: &Challenge) {
        match challenge {
            Challenge::Text { token, .. } => drop(self.texts.remove(token.as_str())),
            Challenge::Name { name, .. } => drop(self.names.remove(name.bare())),
        }
    }

    /// `name` in lower case.
    pub(super) fn certificate(&self, name: &str) -> Option<&Certificate> {
        self.names.get(name)
    }

    /// On any host: who has the token was told it by the authority.
    pub(super) fn answer(&self, parts: &Parts) -> Option<Response<Answer>> {
        if self.texts.is_empty() || !matches!(parts.method, Method::GET | Method::HEAD) {
            return None;
        }
        let text = self.texts.get(parts.uri.path().strip_prefix(PREFIX)?)?;
        let body = (parts.method == Method::GET).then(|| Bytes::copy_from_slice(text.as_bytes()));
        let mut response = Response::new(Answer::Page(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}

/// Paths that are asked for by plain HTTP on purpose.
pub(super) fn is_plain_on_purpose(path: &str) -> bool {
    path.starts_with(PREFIX) || path == PROOF
}
