//! What is left of each request when its last byte has passed: counts in its app's meter, a line in the book of access
//! lines, and, for who asks for it, an event with target `hythe::access`. Never a header or a query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Version};

use super::headers::Caller;
use super::trace::TraceId;
use super::upstream::Upstream;
use super::{Access, AccessBook, Details, Target};
use crate::base::clock::{Clock, SystemClock};
use crate::base::model::{AccessLog, Https};

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
    /// Of the answer's body, as they went to the client.
    bytes: u64,
}

/// Only where a line is written.
struct Words {
    book: Option<Arc<AccessBook>>,
    traced: bool,
    host: String,
    client: HeaderValue,
    method: Method,
    path: String,
    version: Version,
    scheme: &'static str,
    trace_id: Option<TraceId>,
    upstream: Option<Arc<Upstream>>,
    app_took: Option<Duration>,
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
            let scheme = caller.scheme();
            let (version, trace_id, upstream, app_took) = (parts.version, None, None, None);
            let end = (0..=LONGEST_PATH.min(path.len())).rev().find(|&at| path.is_char_boundary(at)).unwrap_or(0);
            Box::new(Words {
                book: book.cloned(),
                traced,
                host: String::new(),
                client: caller.address().clone(),
                method: parts.method.clone(),
                path: path[..end].to_owned(),
                version,
                scheme,
                trace_id,
                upstream,
                app_took,
            })
        });
        let started = Instant::now();
        Self { started, request_id: request_id.clone(), status: 499, target: None, words, bytes: 0 }
    }

    pub(super) fn host(&mut self, host: &str) {
        if let Some(words) = &mut self.words {
            words.host = host.to_owned();
        }
    }

    pub(super) fn trace_id(&mut self, id: TraceId) {
        if let Some(words) = &mut self.words {
            words.trace_id = Some(id);
        }
    }

    /// Who answered, and how long that took from the sending of the request to the head of the answer.
    pub(super) fn answered(&mut self, upstream: &Arc<Upstream>, took: Duration) {
        if let Some(words) = &mut self.words {
            words.upstream = Some(Arc::clone(upstream));
            words.app_took = Some(took);
        }
    }

    pub(super) fn passed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whose request it is. Asked for again with another target, it is that one's.
    pub(super) fn target(&mut self, target: &Arc<Target>) {
        target.meter.begin();
        if let Some(before) = self.target.replace(Arc::clone(target)) {
            before.meter.forget();
        }
    }

    /// As the app has it that the request is for.
    pub(super) fn https(&self) -> Https {
        self.target.as_ref().map(|target| target.https).unwrap_or_default()
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
        let Words { book, host, client, method, path, version, scheme, trace_id, upstream, app_took, .. } = *words;
        let Some((book, target)) = book.zip(self.target.as_ref()) else { return };
        if target.meter.environment().is_empty() {
            return;
        }
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let json = target.rules.as_ref().is_some_and(|rules| rules.traffic().access_log == AccessLog::Json);
        let details = json.then(|| {
            let trace_id = trace_id.map(|id| String::from_utf8_lossy(&id).into_owned()).unwrap_or_default();
            let (scheme, protocol) = (scheme.to_owned(), format!("{version:?}"));
            let replica = upstream.map(|upstream| upstream.replica().to_owned()).unwrap_or_default();
            Box::new(Details { host, scheme, protocol, bytes: self.bytes, app_took, replica, trace_id })
        });
        book.write(Access {
            environment: Arc::clone(&target.meter),
            at: SystemClock.now(),
            method,
            path,
            status: self.status,
            took,
            client: text(&client),
            request_id: text(&self.request_id),
            details,
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
