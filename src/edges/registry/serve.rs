//! The handlers: caller, question to `Access`, blob.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, LINK, RANGE,
};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::credentials::Caller;
use super::range::{Wanted, wanted};
use super::refusal::Refusal;
use super::{Access, Credentials};
use crate::base::error::Error;
use crate::base::model::ImageDigest;
use crate::machinery::image::{BlobStore, Digest, ImageError, inspect};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// Images whose blobs are remembered.
const REMEMBERED: usize = 1024;

#[derive(Clone)]
pub(super) struct Registry {
    blobs: BlobStore,
    access: Arc<dyn Access>,
    /// Config and layers of images; never stale, for an image's digest is that of the document that names them.
    named: Arc<Mutex<HashMap<ImageDigest, Arc<HashSet<Digest>>>>>,
}

#[derive(Deserialize)]
pub(super) struct Page {
    n: Option<usize>,
    last: Option<String>,
}

pub(super) async fn enter(State(registry): State<Registry>, Caller(caller): Caller) -> Result<Response, Refusal> {
    let entered = registry.access.enter(caller.as_ref()).await;
    entered.map_err(|error| Refusal::of(error, caller.is_none()))?;
    Ok(([(API_VERSION, "registry/2.0")], Json(json!({}))).into_response())
}

pub(super) async fn tags(
    State(registry): State<Registry>,
    Caller(caller): Caller,
    Path((org, app)): Path<(String, String)>,
    Query(page): Query<Page>,
) -> Result<Response, Refusal> {
    let tags = registry.tags(caller.as_ref(), &org, &app).await?;
    let mut names: Vec<String> = tags.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    if let Some(last) = page.last {
        names.retain(|name| *name > last);
    }
    let more = page.n.is_some_and(|n| n < names.len());
    names.truncate(page.n.unwrap_or(usize::MAX));
    let next = match (names.last(), page.n) {
        (Some(last), Some(n)) if more => Some(format!("</v2/{org}/{app}/tags/list?n={n}&last={last}>; rel=\"next\"")),
        _ => None,
    };
    let body = Json(json!({ "name": format!("{org}/{app}"), "tags": names }));
    Ok(match next {
        Some(link) => ([(LINK, link)], body).into_response(),
        None => body.into_response(),
    })
}

pub(super) async fn manifest(
    State(registry): State<Registry>,
    Caller(caller): Caller,
    Path((org, app, reference)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let image = registry.access.image(caller.as_ref(), &org, &app, &reference).await;
    let image = image.map_err(|error| Refusal::of(error, caller.is_none()))?.ok_or(Refusal::ManifestUnknown)?;
    if !accepts_manifest(&headers) {
        return Err(Refusal::ManifestUnknown);
    }
    let this = registry.clone();
    let content = registry.blocking(move |blobs| {
        let bytes = blobs.read(&Digest::from(&image))?;
        // Who pulls asks for these next: that they are found counts as their use, and they stay for a while.
        for digest in this.named_by(&image)?.iter() {
            let _ = blobs.has(digest);
        }
        Ok((image, bytes))
    });
    let content = content.await;
    match content {
        Ok((image, bytes)) => {
            let headers = [(CONTENT_TYPE, MANIFEST.to_owned()), (ETAG, format!("\"{image}\"")), (DIGEST, image.into())];
            Ok((headers, bytes).into_response())
        }
        Err(ImageError::Missing(_)) => Err(Refusal::ManifestUnknown),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn blob(
    State(registry): State<Registry>,
    Caller(caller): Caller,
    Path((org, app, digest)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let images = registry.access.images(caller.as_ref(), &org, &app).await;
    let images = images.map_err(|error| Refusal::of(error, caller.is_none()))?;
    let digest: Digest = digest.parse().map_err(|_| Refusal::DigestInvalid)?;
    if !registry.is_named(images, digest).await? {
        return Err(Refusal::BlobUnknown);
    }
    let opened = registry.blocking(move |blobs| Ok((blobs.open_blob(&digest)?, blobs.size(&digest)?))).await;
    let (file, size) = match opened {
        Err(ImageError::Missing(_)) => return Err(Refusal::BlobUnknown),
        opened => opened?,
    };
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    send(tokio::fs::File::from_std(file), size, digest, wanted(range, size)).await
}

/// All that is no repository's: a client that writes is told so.
pub(super) async fn unknown(method: Method) -> Refusal {
    if [Method::GET, Method::HEAD].contains(&method) { Refusal::NameUnknown } else { Refusal::Unsupported }
}

async fn send(mut file: tokio::fs::File, size: u64, digest: Digest, wanted: Wanted) -> Result<Response, Refusal> {
    let (status, first, length) = match wanted {
        Wanted::All => (StatusCode::OK, 0, size),
        Wanted::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Nothing => return Err(Refusal::RangeInvalid(size)),
    };
    file.seek(std::io::SeekFrom::Start(first)).await.map_err(|error| Refusal::Other(Error::internal(error)))?;
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, length)
        .header(ACCEPT_RANGES, "bytes")
        .header(ETAG, format!("\"{digest}\""))
        .header(DIGEST, digest.to_string());
    if let Wanted::Part(first, last) = wanted {
        response = response.header(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), 256 << 10));
    response.body(body).map_err(|error| Refusal::Other(Error::internal(error)))
}

/// Clients that list what they take must list the OCI manifest, the only form there is here.
fn accepts_manifest(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if accepted.peek().is_none() {
        return true;
    }
    let types = accepted.flat_map(|value| value.split(',')).map(|part| part.split(';').next().unwrap_or(part).trim());
    types.into_iter().any(|kind| [MANIFEST, "application/*", "*/*"].contains(&kind))
}

impl Registry {
    pub(super) fn new(blobs: BlobStore, access: Arc<dyn Access>) -> Self {
        Self { blobs, access, named: Arc::default() }
    }

    async fn tags(
        &self,
        caller: Option<&Credentials>,
        org: &str,
        app: &str,
    ) -> Result<Vec<(String, ImageDigest)>, Refusal> {
        let tags = self.access.tags(caller, org, app).await;
        let tags = tags.map_err(|error| Refusal::of(error, caller.is_none()))?;
        Ok(tags.into_iter().map(|tag| (tag.name, tag.image)).collect())
    }

    /// Whether one of the images has the blob as manifest, config or layer.
    async fn is_named(&self, images: Vec<ImageDigest>, blob: Digest) -> Result<bool, Refusal> {
        let this = self.clone();
        let found = self.blocking(move |_| {
            for image in images {
                if Digest::from(&image) == blob || this.named_by(&image)?.contains(&blob) {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        Ok(found.await?)
    }

    fn named_by(&self, image: &ImageDigest) -> Result<Arc<HashSet<Digest>>, ImageError> {
        if let Some(known) = self.named.lock().unwrap_or_else(PoisonError::into_inner).get(image) {
            return Ok(known.clone());
        }
        let blobs: HashSet<Digest> = match inspect(&self.blobs, image) {
            Ok(facts) => facts.layers.iter().map(|layer| layer.digest).chain([facts.config]).collect(),
            // a release whose image was cleaned up hides no other
            Err(ImageError::Missing(_)) => return Ok(Arc::default()),
            Err(error) => return Err(error),
        };
        let blobs = Arc::new(blobs);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() >= REMEMBERED {
            named.clear();
        }
        named.insert(image.clone(), blobs.clone());
        Ok(blobs)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BlobStore) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let blobs = self.blobs.clone();
        let done = tokio::task::spawn_blocking(move || work(&blobs)).await;
        done.unwrap_or_else(|error| Err(ImageError::Stream(std::io::Error::other(error))))
    }
}
