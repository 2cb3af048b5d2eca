//! Answers that refuse, in the form of the distribution specification ("Error codes").

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::base::error::{Error, Kind};
use crate::machinery::image::ImageError;

#[derive(Debug)]
pub(super) enum Refusal {
    NameInvalid,
    /// With a text of its own for who may make the repository.
    NameUnknown(Option<String>),
    ManifestUnknown,
    /// What is wrong with it.
    ManifestInvalid(String),
    /// What it names and the repository has not.
    ManifestBlobUnknown(String),
    TagInvalid,
    BlobUnknown,
    UploadUnknown,
    UploadInvalid(String),
    DigestInvalid(&'static str),
    /// Of a document.
    SizeInvalid(String),
    /// The range begins behind the blob's end; the blob's size.
    RangeInvalid(u64),
    /// A part of an upload that does not begin where the last one ended: where it goes on, and what is there.
    OutOfOrder {
        location: String,
        range: String,
    },
    PageInvalid,
    Unauthorized,
    /// For good: a client must not try again.
    Denied(StatusCode, String),
    Unsupported,
    Other(Error),
}

impl Refusal {
    /// What the product said.
    pub(super) fn of(error: Error) -> Self {
        match error.kind {
            Kind::Unauthenticated => Self::Unauthorized,
            Kind::NotFound | Kind::Invalid(_) => Self::NameUnknown(None),
            Kind::Forbidden => Self::Denied(StatusCode::FORBIDDEN, error.public),
            Kind::Conflict => Self::Denied(StatusCode::CONFLICT, error.public),
            // Too much is there already; who sends less may go on.
            Kind::LimitReached => Self::Denied(StatusCode::PAYLOAD_TOO_LARGE, error.public),
            _ => Self::Other(error),
        }
    }

    fn parts(&self) -> (StatusCode, &'static str, &str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const ABSENT: StatusCode = StatusCode::NOT_FOUND;
        match self {
            Self::NameInvalid => (BAD, "NAME_INVALID", "not a name of a repository"),
            Self::NameUnknown(text) => {
                let text = text.as_deref().unwrap_or("repository name not known to registry");
                (ABSENT, "NAME_UNKNOWN", text)
            }
            Self::ManifestUnknown => (ABSENT, "MANIFEST_UNKNOWN", "manifest unknown to this repository"),
            Self::ManifestInvalid(text) => (BAD, "MANIFEST_INVALID", text),
            Self::ManifestBlobUnknown(text) => (BAD, "MANIFEST_BLOB_UNKNOWN", text),
            Self::TagInvalid => (BAD, "TAG_INVALID", "not a tag"),
            Self::BlobUnknown => (ABSENT, "BLOB_UNKNOWN", "blob unknown to this repository"),
            Self::UploadUnknown => (ABSENT, "BLOB_UPLOAD_UNKNOWN", "no such upload; it may have ended or expired"),
            Self::UploadInvalid(text) => (BAD, "BLOB_UPLOAD_INVALID", text),
            Self::DigestInvalid(text) => (BAD, "DIGEST_INVALID", text),
            Self::SizeInvalid(text) => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", text),
            Self::RangeInvalid(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "no such range"),
            Self::OutOfOrder { .. } => {
                let text = "parts must come in order, each where the one before ended";
                (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", text)
            }
            Self::PageInvalid => (BAD, "PAGINATION_NUMBER_INVALID", "n must be a number"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "an API token is needed as the password"),
            Self::Denied(status, text) => (*status, "DENIED", text),
            Self::Unsupported => {
                (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry does not do that at this address")
            }
            Self::Other(error) => match error.kind {
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
            Self::OutOfOrder { location, range } => {
                (status, [(header::LOCATION, location), (header::RANGE, range)], body).into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

/// For failures of the blob store, which say nothing to a caller but that the disk is full.
impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        if error.is_disk_full() {
            return Self::disk_full();
        }
        Self::Other(Error::internal(error))
    }
}

impl Refusal {
    /// A client that is told of a failing server tries again, and shows no text of ours; one that is denied stops and shows it.
    pub(super) fn disk_full() -> Self {
        let text = "the disk of this platform is full; nothing is wrong with your image: tell the operator";
        Self::Denied(StatusCode::PAYLOAD_TOO_LARGE, text.into())
    }
}
