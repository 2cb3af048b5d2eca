//! What every answer gets on its way out: its request id, its problem as a body, and one line in
//! the log when the fault is ours.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::problem::Problem;
use crate::base::error::Error;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // A panic of one handler is that request's fault only.
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = outcome.unwrap_or_else(|_| Problem::from(Error::internal("a handler panicked")).into_response());
    let mut response = match response.extensions().get::<Arc<Problem>>().cloned() {
        Some(problem) => {
            if let Some(cause) = problem.cause() {
                tracing::error!(request.id = %id, %method, %path, "request failed: {cause}");
            }
            written(response, &problem, &id)
        }
        None => response,
    };
    tracing::debug!(request.id = %id, %method, %path, status = response.status().as_u16(), "answered");
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("request-id", id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn written(response: Response, problem: &Problem, id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, PROBLEM);
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = serde_json::to_vec(&problem.view(id)).unwrap_or_default();
    Response::from_parts(parts, body.into())
}
