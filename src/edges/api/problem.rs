//! The one place that maps errors to status codes (RFC 9110) and problem details (RFC 9457).

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::types::ProblemView;
use crate::base::error::{Error, Kind};

pub(super) type Answer<T> = Result<T, Problem>;

/// A refusal on its way out. It becomes a body only in `answer`, where the request has its id.
#[derive(Debug)]
pub(super) enum Problem {
    Refused(Error),
    /// What only HTTP can get wrong: status, name, text.
    Http(StatusCode, &'static str, String),
    /// Seconds to wait.
    TooMany(i64),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        match &self {
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Self::Refused(error) if error.kind == Kind::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(5));
            }
            Self::Refused(error) if error.kind == Kind::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(error) => status(&error.kind).0,
            Self::Http(status, ..) => *status,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    pub(super) fn view(&self, request_id: &str) -> ProblemView {
        let (name, detail) = match self {
            Self::Refused(error) => (status(&error.kind).1, error.public.clone()),
            Self::Http(_, name, detail) => (*name, detail.clone()),
            Self::TooMany(seconds) => {
                ("too-many-attempts", format!("too many wrong tokens from your address; wait {seconds} s"))
            }
        };
        let errors = match self {
            Self::Refused(Error { kind: Kind::Invalid(errors), .. }) => errors.clone(),
            _ => Default::default(),
        };
        ProblemView {
            kind: format!("urn:hythe:problem:{name}"),
            title: self.status().canonical_reason().unwrap_or_default().to_owned(),
            status: self.status().as_u16(),
            detail,
            errors,
            request_id: request_id.to_owned(),
        }
    }

    /// Worth a line in the server's log, with its causes.
    pub(super) fn cause(&self) -> Option<String> {
        match self {
            Self::Refused(error) if matches!(error.kind, Kind::Internal | Kind::Unavailable) => Some(error.for_log()),
            _ => None,
        }
    }
}

fn status(kind: &Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
        Kind::Exists => (StatusCode::CONFLICT, "exists"),
        Kind::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
        Kind::LimitReached => (StatusCode::TOO_MANY_REQUESTS, "limit-reached"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

pub(super) async fn no_such_path() -> Problem {
    Problem::Http(StatusCode::NOT_FOUND, "no-such-path", "no such path; /v1/openapi.json has them all".into())
}

pub(super) async fn no_such_method() -> Problem {
    Problem::Http(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "this path does not know this method".into())
}
