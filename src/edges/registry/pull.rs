//! Manifests and blobs, to who pulls.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, RANGE};
use axum::response::Response;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::range::{Wanted, wanted};
use super::refusal::Refusal;
use super::{Answer, Asked, DIGEST, Registry, unsendable};
use crate::base::access::Actor;
use crate::base::error::Error;
use crate::base::model::{App, ContentDigest, ImageDigest, PushedManifest, TagName};
use crate::machinery::image::{Digest, ImageError, OCI_MANIFEST};
use crate::product::images;

/// Where a manifest comes from.
enum Found {
    Pushed(PushedManifest),
    Released(ImageDigest),
}

impl Registry {
    pub(super) async fn manifest(&self, asked: Asked, reference: &str) -> Answer {
        let (actor, app) = self.open(&asked).await?;
        let found = match reference.contains(':') {
            true => self.manifest_by_digest(&actor, &app, reference).await?,
            false => self.manifest_by_tag(&actor, &app, reference).await?,
        };
        match found.ok_or(Refusal::ManifestUnknown)? {
            Found::Pushed(manifest) => self.send_pushed(manifest).await,
            // Clients that list what they take must list the OCI manifest, the only form that releases have.
            Found::Released(_) if !accepts(&asked.headers, OCI_MANIFEST) => Err(Refusal::ManifestUnknown),
            Found::Released(image) => self.send_released(image).await,
        }
    }

    async fn manifest_by_digest(&self, actor: &Actor, app: &App, text: &str) -> Result<Option<Found>, Refusal> {
        let digest: ContentDigest = text.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?;
        if let Some(manifest) = images::manifest(&self.ctx, actor, app, &digest).await? {
            return Ok(Some(Found::Pushed(manifest)));
        }
        let released = self.release_images(actor, app).await?;
        Ok(released.into_iter().find(|image| image.as_str() == text).map(Found::Released))
    }

    async fn manifest_by_tag(&self, actor: &Actor, app: &App, text: &str) -> Result<Option<Found>, Refusal> {
        let tag: TagName = text.parse().map_err(|_| Refusal::ManifestUnknown)?;
        let digest = match self.release_of(actor, app, &tag).await? {
            Some(release) => match self.origin(actor, app, &release).await? {
                Some(digest) => digest,
                None => return Ok(Some(Found::Released(release.image))),
            },
            None => match images::tagged(&self.ctx, actor, app, &tag).await? {
                Some(tag) => tag.digest,
                None => return Ok(None),
            },
        };
        Ok(images::manifest(&self.ctx, actor, app, &digest).await?.map(Found::Pushed))
    }

    async fn send_pushed(&self, manifest: PushedManifest) -> Answer {
        let blob = stored(&manifest.blob)?;
        let bytes = match self.blocking(move |blobs| blobs.read(&blob)).await {
            Err(ImageError::Missing(_)) => return Err(Refusal::ManifestUnknown),
            bytes => bytes?,
        };
        document(&manifest.media_type, manifest.digest.as_str(), bytes)
    }

    async fn send_released(&self, image: ImageDigest) -> Answer {
        let (this, of) = (self.clone(), image.clone());
        let content = self.blocking(move |blobs| {
            let bytes = blobs.read(&Digest::from(&of))?;
            // Who pulls asks for these next: that they are found counts as their use, and they stay for a while.
            for digest in this.named_by(&of)?.iter() {
                let _ = blobs.has(digest);
            }
            Ok(bytes)
        });
        match content.await {
            Err(ImageError::Missing(_)) => Err(Refusal::ManifestUnknown),
            bytes => document(OCI_MANIFEST, image.as_str(), bytes?),
        }
    }

    pub(super) async fn blob(&self, asked: Asked, text: &str) -> Answer {
        let (actor, app) = self.open(&asked).await?;
        let digest: ContentDigest = text.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?;
        let stored = self.find_blob(&actor, &app, &digest).await?.ok_or(Refusal::BlobUnknown)?;
        let opened = self.blocking(move |blobs| Ok((blobs.open_blob(&stored)?, blobs.size(&stored)?))).await;
        let (file, size) = match opened {
            Err(ImageError::Missing(_)) => return Err(Refusal::BlobUnknown),
            opened => opened?,
        };
        send(tokio::fs::File::from_std(file), size, &digest, wanted(asked.header(RANGE), size)).await
    }

    /// Where the content lies that the repository has under this digest: pushed, or of a release.
    pub(super) async fn find_blob(
        &self,
        actor: &Actor,
        app: &App,
        digest: &ContentDigest,
    ) -> Result<Option<Digest>, Refusal> {
        if let Some(blob) = images::blob(&self.ctx, actor, app, digest).await? {
            return stored(&blob.blob).map(Some);
        }
        let Ok(stored) = digest.as_str().parse::<Digest>() else { return Ok(None) };
        let images = self.release_images(actor, app).await?;
        Ok(self.is_named(images, stored).await?.then_some(stored))
    }

    pub(super) async fn remove_blob(&self, asked: Asked, text: &str) -> Answer {
        let (actor, app) = self.open_to_write(&asked).await?;
        let digest: ContentDigest = text.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?;
        match images::remove_blob(&self.ctx, &actor, &app, &digest).await? {
            true => Ok(accepted()),
            false => match self.find_blob(&actor, &app, &digest).await? {
                Some(_) => Err(Refusal::Denied(StatusCode::FORBIDDEN, "it is part of the image of a release".into())),
                None => Err(Refusal::BlobUnknown),
            },
        }
    }
}

pub(super) fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// Rows name blobs of the store by SHA-256.
pub(super) fn stored(blob: &ContentDigest) -> Result<Digest, Refusal> {
    blob.as_str().parse().map_err(|fault| Refusal::Other(Error::internal(fault)))
}

fn document(media_type: &str, digest: &str, bytes: Vec<u8>) -> Answer {
    let response = Response::builder()
        .header(CONTENT_TYPE, media_type)
        .header(CONTENT_LENGTH, bytes.len())
        .header(ETAG, format!("\"{digest}\""))
        .header(DIGEST, digest);
    response.body(bytes.into()).map_err(unsendable)
}

async fn send(mut file: tokio::fs::File, size: u64, digest: &ContentDigest, wanted: Wanted) -> Answer {
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
        .header(DIGEST, digest.as_str());
    if let Wanted::Part(first, last) = wanted {
        response = response.header(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
    }
    response.body(Body::from_stream(ReaderStream::with_capacity(file.take(length), 256 << 10))).map_err(unsendable)
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if accepted.peek().is_none() {
        return true;
    }
    let types = accepted.flat_map(|value| value.split(',')).map(|part| part.split(';').next().unwrap_or(part).trim());
    types.into_iter().any(|one| [kind, "application/*", "*/*"].contains(&one))
}
