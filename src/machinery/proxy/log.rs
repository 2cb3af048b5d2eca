//! The access log: one event per request when its last byte has passed, with target `hythe::access`
//! and never a header or a query.

use std::time::Instant;

use hyper::http::request::Parts;

/// Longer paths are cut.
const LONGEST_PATH: usize = 512;

/// Writes itself when dropped.
pub(super) struct Line(Option<Box<Fields>>);

struct Fields {
    started: Instant,
    request_id: String,
    host: String,
    app: String,
    method: String,
    path: String,
    /// 499 until there is an answer: the client left before.
    status: u16,
}

impl Line {
    /// Costs nothing when nobody listens to the target.
    pub(super) fn start(parts: &Parts, request_id: &str) -> Self {
        if !tracing::enabled!(target: "hythe::access", tracing::Level::INFO) {
            return Self(None);
        }
        let path = parts.uri.path();
        let end = (0..=LONGEST_PATH.min(path.len())).rev().find(|&at| path.is_char_boundary(at)).unwrap_or(0);
        Self(Some(Box::new(Fields {
            started: Instant::now(),
            request_id: request_id.to_owned(),
            host: String::new(),
            app: String::new(),
            method: parts.method.as_str().chars().take(32).collect(),
            path: path[..end].to_owned(),
            status: 499,
        })))
    }

    pub(super) fn host(&mut self, host: &str) {
        if let Some(fields) = &mut self.0 {
            fields.host = host.to_owned();
        }
    }

    pub(super) fn app(&mut self, app: &str) {
        if let Some(fields) = &mut self.0 {
            fields.app = app.to_owned();
        }
    }

    pub(super) fn status(&mut self, status: u16) {
        if let Some(fields) = &mut self.0 {
            fields.status = status;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(f) = &self.0 else { return };
        let millis = f.started.elapsed().as_secs_f64() * 1000.0;
        let Fields { request_id, host, app, method, path, status, .. } = &**f;
        let millis = (millis * 1000.0).round() / 1000.0;
        tracing::info!(
            target: "hythe::access",
            { request.id = %request_id, request.host = %host, request.app = %app, request.method = %method,
              request.path = %path, response.status = status, response.millis = millis },
            "request answered"
        );
    }
}
