//! Manifests that are pushed and deleted. A push by tag is where releases come from.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION, WARNING};
use axum::response::Response;
use futures_util::StreamExt as _;
use std::io::Write as _;

use super::pull::accepted;
use super::refusal::Refusal;
use super::{Answer, Asked, DIGEST, Registry, unsendable};
use crate::base::access::Actor;
use crate::base::model::{App, ContentDigest, PushedManifest, TagName};
use crate::machinery::image::{DOCKER_SCHEMA_1, Digest, Document, LARGEST_DOCUMENT, content_digest};
use crate::product::deploy::{self, Pushed};
use crate::product::images::{self, Missing};

/// Tags that one request may name.
const MOST_TAGS: usize = 10;

impl Registry {
    pub(super) async fn put_manifest(&self, asked: Asked, body: Body, reference: &str) -> Answer {
        let (actor, app) = self.open_to_push(&asked).await?;
        let (named, tags) = names(reference, &asked)?;
        let declared = asked.header(CONTENT_TYPE).map(str::to_owned);
        let key = |tag: &TagName| format!("{} {tag}", app.id);
        if declared.as_deref().is_some_and(|kind| kind.starts_with(DOCKER_SCHEMA_1)) {
            let last = tags.first().and_then(|tag| self.last_refusal(&key(tag)));
            return Err(last.map_or_else(
                || Refusal::ManifestInvalid("manifests of the first form (schema 1) are not taken".into()),
                refused,
            ));
        }
        let bytes = read(body).await?;
        let digest = content_digest(&bytes, named.as_ref());
        if named.as_ref().is_some_and(|named| *named != digest) {
            return Err(Refusal::DigestInvalid("the manifest has another digest than its address says"));
        }
        let document = Document::read(&bytes, declared.as_deref()).map_err(Refusal::ManifestInvalid)?;

        // Held until the row is written: what a sweep would find before it is then young.
        let _pin = self.blobs.pin();
        let (expected, size) = (digest.clone(), bytes.len());
        let blob = self.blocking(move |blobs| {
            let mut writer = blobs.writer()?;
            writer.write_all(&bytes).map_err(crate::machinery::image::ImageError::Stream)?;
            writer.finish_durably(&expected)
        });
        let blob = blob.await?.ok_or(Refusal::DigestInvalid("the manifest has another digest"))?;
        let manifest = PushedManifest {
            digest,
            blob: blob.into(),
            bytes: i64::try_from(size).unwrap_or(i64::MAX),
            media_type: document.media_type,
            subject: document.subject,
            facts: document.facts,
            used_at: self.ctx.now(),
        };
        self.take_over(&actor, &app, &manifest).await?;
        images::put_manifest(&self.ctx, &actor, &app, &manifest).await?.map_err(absent)?;

        let mut warning = None;
        for tag in &tags {
            let told = self.name(&actor, &app, tag, &manifest.digest).await;
            let reason = match &told {
                Err(Refusal::Denied(_, reason)) => Some(reason.clone()),
                _ => None,
            };
            self.remember_refusal(key(tag), reason);
            warning = told?.or(warning);
        }
        self.created(&asked.name, &manifest, &tags, warning)
    }

    fn created(&self, name: &str, manifest: &PushedManifest, tags: &[TagName], warning: Option<String>) -> Answer {
        let mut response = Response::builder()
            .status(StatusCode::CREATED)
            .header(LOCATION, format!("/v2/{name}/manifests/{}", manifest.digest))
            .header(DIGEST, manifest.digest.as_str());
        if let Some(subject) = &manifest.subject {
            response = response.header("oci-subject", subject.as_str());
        }
        for tag in tags {
            response = response.header("oci-tag", tag.as_str());
        }
        if let Some(text) = warning {
            // The form that the specification gives warnings.
            response = response.header(WARNING, format!("299 - \"{}\"", text.replace(['"', '\\'], "'")));
        }
        response.body(Body::empty()).map_err(unsendable)
    }

    /// Names the manifest, or deploys it and waits. What is to be told, if it is there and something is to be told.
    async fn name(
        &self,
        actor: &Actor,
        app: &App,
        tag: &TagName,
        digest: &ContentDigest,
    ) -> Result<Option<String>, Refusal> {
        let Some(environment) = deploy::image_target(&self.ctx, actor, app, tag).await? else {
            images::put_tag(&self.ctx, actor, app, tag, digest).await?;
            return Ok(None);
        };
        let job = deploy::deploy_image(&self.ctx, actor, app, &environment, (tag, digest)).await?;
        match deploy::image_deployed(&self.ctx, actor, app, &job).await? {
            Pushed::Live => Ok(None),
            Pushed::GoesOn(text) => Ok(Some(text)),
            Pushed::Refused(reason) => Err(refused(reason)),
        }
    }

    /// Blobs of images of releases are in the repository without having been pushed; who names them keeps them.
    async fn take_over(&self, actor: &Actor, app: &App, manifest: &PushedManifest) -> Result<(), Refusal> {
        for missing in images::missing(&self.ctx, actor, app, manifest).await? {
            let Missing::Blob(digest) = &missing else { return Err(absent(missing)) };
            let Some(stored) = self.find_blob(actor, app, digest).await? else { return Err(absent(missing)) };
            let size =
                self.blocking(move |blobs| if blobs.has(&stored) { blobs.size(&stored).map(Some) } else { Ok(None) });
            let Some(size) = size.await? else { return Err(absent(missing)) };
            images::keep_blob(&self.ctx, actor, app, digest, (Digest::into(stored), size)).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_manifest(&self, asked: Asked, reference: &str) -> Answer {
        let (actor, app) = self.open_to_write(&asked).await?;
        if reference.contains(':') {
            let digest: ContentDigest = reference.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?;
            return match images::remove_manifest(&self.ctx, &actor, &app, &digest).await? {
                true => Ok(accepted()),
                false => Err(Refusal::ManifestUnknown),
            };
        }
        let tag: TagName = reference.parse().map_err(|_| Refusal::ManifestUnknown)?;
        if self.release_of(&actor, &app, &tag).await?.is_some() {
            let text = format!("the tag {tag} follows the releases of the app; it goes with them");
            return Err(Refusal::Denied(StatusCode::FORBIDDEN, text));
        }
        match images::remove_tag(&self.ctx, &actor, &app, &tag).await? {
            true => Ok(accepted()),
            false => Err(Refusal::ManifestUnknown),
        }
    }
}

/// Digest and tags under which a manifest is put: its address, and for a digest also the query.
fn names(reference: &str, asked: &Asked) -> Result<(Option<ContentDigest>, Vec<TagName>), Refusal> {
    let digest = match reference.contains(':') {
        true => Some(reference.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?),
        false => None,
    };
    let texts = match &digest {
        Some(_) => asked.parameters("tag"),
        None => vec![reference.to_owned()],
    };
    if texts.len() > MOST_TAGS {
        return Err(Refusal::TagInvalid);
    }
    let mut tags = Vec::new();
    for text in texts {
        let tag: TagName = text.parse().map_err(|_| Refusal::TagInvalid)?;
        if images::is_number(&tag) {
            let text = format!("{tag} is the name of a release; push \"latest\" to deploy, or another tag to store it");
            return Err(Refusal::Denied(StatusCode::FORBIDDEN, text));
        }
        tags.push(tag);
    }
    Ok((digest, tags))
}

async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| Refusal::ManifestInvalid("it did not arrive as a whole".into()))?;
        if bytes.len() + part.len() > LARGEST_DOCUMENT {
            return Err(Refusal::SizeInvalid(format!("a manifest has at most {LARGEST_DOCUMENT} bytes")));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn absent(missing: Missing) -> Refusal {
    let text = match missing {
        Missing::Blob(digest) => format!("it names the blob {digest}, which this repository has not"),
        Missing::Manifest(digest) => format!("it names the manifest {digest}, which this repository has not"),
    };
    Refusal::ManifestBlobUnknown(text)
}

/// A deployment that failed: the same image would fail again.
fn refused(reason: String) -> Refusal {
    Refusal::Denied(StatusCode::UNPROCESSABLE_ENTITY, reason)
}
