//! What is left of each request when its last byte has passed: counts in its app's meter, a line in the book of access
//! lines, and, for who asks for it, an event with target `hythe::access`. Never a header or a query.

use std::sync::Arc;
use std::time::Instant;

use hyper::Method;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;

use super::headers::Caller;
use super::{Access, AccessBook, Target};
use crate::base::clock::{Clock, SystemClock};

/// Longer paths are cut.
const LONGEST_PATH: usize = 512;

/// Writes itself when dropped.
pub(super) struct Line {
    started: Instant,
    request_id: HeaderValue,
    /// 499 until there is an answer: the client left before.
    status: u16,
    target: Option<Arc<Target>>,
    words: Option<Box<Words>>,
}

/// Only where a line is written.
struct Words {
    book: Option<Arc<AccessBook>>,
    traced: bool,
    host: String,
    client: HeaderValue,
    method: Method,
    path: String,
}

impl Line {
    pub(super) fn start(
        parts: &Parts,
        request_id: &HeaderValue,
        caller: &Caller,
        book: Option<&Arc<AccessBook>>,
    ) -> Self {
        let traced = tracing::enabled!(target: "hythe::access", tracing::Level::INFO);
        let words = (traced || book.is_some()).then(|| {
            let path = parts.uri.path();
            let end = (0..=LONGEST_PATH.min(path.len())).rev().find(|&at| path.is_char_boundary(at)).unwrap_or(0);
            Box::new(Words {
                book: book.cloned(),
                traced,
                host: String::new(),
                client: caller.address().clone(),
                method: parts.method.clone(),
                path: path[..end].to_owned(),
            })
        });
        Self { started: Instant::now(), request_id: request_id.clone(), status: 499, target: None, words }
    }

    pub(super) fn host(&mut self, host: &str) {
        if let Some(words) = self.words.as_mut().filter(|words| words.traced) {
            words.host = host.to_owned();
        }
    }

    /// Whose request it is. Asked for again with another target, it is that one's.
    pub(super) fn target(&mut self, target: &Arc<Target>) {
        target.meter.begin();
        if let Some(before) = self.target.replace(Arc::clone(target)) {
            before.meter.forget();
        }
    }

    pub(super) fn status(&mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if let Some(target) = &self.target {
            target.meter.end(self.status, took);
        }
        let Some(words) = self.words.take() else { return };
        if words.traced {
            self.trace(&words);
        }
        let Words { book, client, method, path, .. } = *words;
        let Some((book, target)) = book.zip(self.target.as_ref()) else { return };
        if target.meter.environment().is_empty() {
            return;
        }
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        book.write(Access {
            environment: Arc::clone(&target.meter),
            at: SystemClock.now(),
            method,
            path,
            status: self.status,
            took,
            client: text(&client),
            request_id: text(&self.request_id),
        });
    }
}

impl Line {
    fn trace(&self, words: &Words) {
        let millis = (self.started.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0;
        let Words { host, method, path, .. } = words;
        let method: String = method.as_str().chars().take(32).collect();
        let app = self.target.as_ref().map_or("", |target| target.app.as_str());
        let request_id = self.request_id.to_str().unwrap_or_default();
        tracing::info!(
            target: "hythe::access",
            { request.id = %request_id, request.host = %host, request.app = %app, request.method = %method,
              request.path = %path, response.status = self.status, response.millis = millis },
            "request answered"
        );
    }
}
