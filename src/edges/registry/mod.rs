//! The embedded registry: the pull side of OCI distribution 1.1 over the blob store.
//!
//! A repository is `<organization>/<app>`, its tags are release numbers (`v3`) and `latest`. Who may see what is asked of
//! `Access` on every request; a blob is served only if an image that the caller may see names it. What the caller may not
//! see answers as what does not exist. Nothing can be pushed.

mod access;
mod credentials;
mod range;
mod refusal;
mod serve;

use std::sync::Arc;

use async_trait::async_trait;
use axum::routing::get;

use crate::base::Result;
use crate::base::model::ImageDigest;
use crate::base::secret::Secret;
use crate::machinery::image::BlobStore;

use refusal::Refusal;

pub use access::ImageAccess;

/// What a request carries: Basic user and password, or a Bearer token with an empty user.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub user: String,
    pub secret: Secret<String>,
}

/// One name of an image in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub image: ImageDigest,
}

/// The registry's questions to the product. Wrong or missing credentials are `Unauthenticated`; a repository that is not
/// there or not visible is `NotFound`.
#[async_trait]
pub trait Access: Send + Sync {
    /// Whether the credentials are good at all (`docker login`).
    async fn enter(&self, credentials: Option<&Credentials>) -> Result<()>;

    /// All tags of the repository, newest release first.
    async fn tags(&self, credentials: Option<&Credentials>, org: &str, app: &str) -> Result<Vec<Tag>>;

    /// Images whose blobs may be fetched: those of all tags, and those that lost theirs a moment ago, so that a pull under way
    /// ends as it began.
    async fn images(&self, credentials: Option<&Credentials>, org: &str, app: &str) -> Result<Vec<ImageDigest>> {
        Ok(self.tags(credentials, org, app).await?.into_iter().map(|tag| tag.image).collect())
    }

    /// The image of one tag, or the one with this digest if a release of the app has it. `None`: the repository is
    /// visible but has no such image.
    async fn image(
        &self,
        credentials: Option<&Credentials>,
        org: &str,
        app: &str,
        reference: &str,
    ) -> Result<Option<ImageDigest>> {
        let tags = self.tags(credentials, org, app).await?;
        Ok(tags.into_iter().find(|t| t.name == reference || t.image.as_str() == reference).map(|t| t.image))
    }
}

/// Serves `/v2/`.
pub fn router(blobs: BlobStore, access: Arc<dyn Access>) -> axum::Router {
    let repositories = axum::Router::new()
        .route("/{org}/{app}/tags/list", get(serve::tags))
        .route("/{org}/{app}/manifests/{reference}", get(serve::manifest))
        .route("/{org}/{app}/blobs/{digest}", get(serve::blob))
        .fallback(serve::unknown);
    axum::Router::new()
        .route("/v2/", get(serve::enter))
        .nest("/v2", repositories.route("/", get(serve::enter)))
        .method_not_allowed_fallback(|| async { Refusal::Unsupported })
        .with_state(serve::Registry::new(blobs, access))
}

#[cfg(test)]
mod tests;
