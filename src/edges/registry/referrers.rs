//! Manifests that say something of another one: signatures, lists of parts.

use axum::http::header::{CONTENT_TYPE, LINK};
use axum::response::Response;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Answer, Asked, Registry, unsendable};
use crate::base::model::{ContentDigest, PushedManifest};
use crate::machinery::image::OCI_INDEX;
use crate::product::images;

/// Of one page.
const MOST: usize = 200;

impl Registry {
    /// A subject that is not there has an empty list.
    pub(super) async fn referrers(&self, asked: Asked, subject: &str) -> Answer {
        let (actor, app) = self.open(&asked).await?;
        let subject: ContentDigest = subject.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?;
        let wanted = asked.parameter("artifactType").filter(|wanted| !wanted.is_empty());
        let last = asked.parameter("last").unwrap_or_default();
        let mut found = images::referrers(&self.ctx, &actor, &app, &subject).await?;
        found.retain(|m| wanted.is_none() || m.facts.artifact_type == wanted);
        found.retain(|m| m.digest.as_str() > last.as_str());
        let more = found.len() > MOST;
        found.truncate(MOST);
        let manifests: Vec<_> = found.iter().map(descriptor).collect();
        let body = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }).to_string();
        let mut response = Response::builder().header(CONTENT_TYPE, OCI_INDEX);
        if wanted.is_some() {
            response = response.header("oci-filters-applied", "artifactType");
        }
        if let Some(last) = found.last().filter(|_| more) {
            let filter = wanted.map(|wanted| format!("&artifactType={}", encoded(&wanted))).unwrap_or_default();
            let next = format!("</v2/{}/referrers/{subject}?last={}{filter}>; rel=\"next\"", asked.name, last.digest);
            response = response.header(LINK, next);
        }
        response.body(body.into()).map_err(unsendable)
    }
}

fn descriptor(manifest: &PushedManifest) -> Value {
    let mut descriptor = json!({
        "mediaType": manifest.media_type, "digest": manifest.digest.as_str(), "size": manifest.bytes,
    });
    if let Some(kind) = &manifest.facts.artifact_type {
        descriptor["artifactType"] = json!(kind);
    }
    if !manifest.facts.annotations.is_empty() {
        descriptor["annotations"] = json!(manifest.facts.annotations);
    }
    descriptor
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
