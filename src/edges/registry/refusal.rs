//! Answers that refuse, in the form of the distribution specification.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::base::error::{Error, Kind};

#[derive(Debug)]
pub(super) enum Refusal {
    NameUnknown,
    ManifestUnknown,
    BlobUnknown,
    /// Of a digest.
    DigestInvalid,
    /// The range begins behind the blob's end; the blob's size.
    RangeInvalid(u64),
    Unauthorized,
    Unsupported,
    Other(Error),
}

impl Refusal {
    /// What the product said about a repository. A caller without credentials is asked for some, whatever the
    /// reason: so it does not learn what exists, and `docker pull` tries again with them.
    pub(super) fn of(error: Error, anonymous: bool) -> Self {
        match error.kind {
            Kind::Unauthenticated => Self::Unauthorized,
            Kind::NotFound | Kind::Forbidden if anonymous => Self::Unauthorized,
            Kind::NotFound | Kind::Invalid(_) => Self::NameUnknown,
            _ => Self::Other(error),
        }
    }

    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::NameUnknown => (StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry"),
            Self::ManifestUnknown => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown to this repository"),
            Self::BlobUnknown => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to this repository"),
            Self::DigestInvalid => (StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not a SHA-256 digest"),
            Self::RangeInvalid(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "no such range"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "an API token is needed as the password"),
            Self::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only"),
            Self::Other(error) => match error.kind {
                Kind::Forbidden => (StatusCode::FORBIDDEN, "DENIED", &error.public),
                Kind::LimitReached => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", &error.public),
                Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", &error.public),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", &error.public),
            },
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        if let (true, Self::Other(error)) = (status.is_server_error(), &self) {
            tracing::error!(error = %error.for_log(), "a request to the registry failed");
        }
        let body = Json(json!({ "errors": [{ "code": code, "message": message }] }));
        match self {
            Self::Unauthorized => (status, [(header::WWW_AUTHENTICATE, "Basic realm=\"hythe\"")], body).into_response(),
            Self::RangeInvalid(size) => {
                (status, [(header::CONTENT_RANGE, format!("bytes */{size}"))], body).into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

/// For failures of the blob store, which say nothing to a caller.
impl From<crate::machinery::image::ImageError> for Refusal {
    fn from(error: crate::machinery::image::ImageError) -> Self {
        Self::Other(Error::internal(error))
    }
}
