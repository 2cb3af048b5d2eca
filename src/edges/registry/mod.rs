//! The embedded registry: OCI distribution 1.1 over the blob store, to pull from and to push to.
//!
//! A repository is an app, `<organization>/<app>` or, where that is not ambiguous, `<app>`. It has what its releases run,
//! under their numbers (`v3`), the name of their environment and, for production, `latest`; and it has what people pushed,
//! under tags of their own. A pushed tag that names an environment deploys to it, and `latest` to production: the push is
//! answered when the release serves, or with the reason why it does not. Any other tag is only stored.
//!
//! Every request asks the actor anew, and content is served only from the repository that it is in; what the caller may not
//! see answers as what does not exist. An upload is a file that nobody sees until its digest was verified.

mod caller;
mod manifests;
mod path;
mod pull;
mod range;
mod referrers;
mod refusal;
mod releases;
mod sessions;
mod tags;
mod uploads;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::response::Response;
use axum::routing::any;
use tokio_util::sync::CancellationToken;

use crate::base::error::Error;
use crate::base::model::ImageDigest;
use crate::machinery::image::{BlobStore, Digest, ImageError};
use crate::product::Ctx;

use caller::Caller;
use path::Target;
use refusal::Refusal;
use sessions::Sessions;

type Answer = Result<Response, Refusal>;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    ctx: Ctx,
    blobs: BlobStore,
    sessions: Arc<Sessions>,
    /// Config and layers of images of releases; never stale, for an image's digest is that of the document that names them.
    named: Arc<Mutex<HashMap<ImageDigest, Arc<HashSet<Digest>>>>>,
    /// Why the last push of a tag was refused, for the engines that try once more in another form.
    last_refusals: Arc<Mutex<HashMap<String, String>>>,
}

/// One request but for its body, with its path taken apart.
struct Asked {
    caller: Caller,
    method: Method,
    /// As the client names it.
    name: String,
    query: String,
    headers: HeaderMap,
}

impl Registry {
    pub fn new(ctx: Ctx, blobs: BlobStore) -> Self {
        Self { ctx, blobs, sessions: Arc::default(), named: Arc::default(), last_refusals: Arc::default() }
    }

    /// Serves `/v2/`.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
            .route("/v2", any(serve))
            .route("/v2/", any(serve))
            .route("/v2/{*path}", any(serve))
            .with_state(self.clone())
    }

    /// Forgets uploads that nobody goes on with, until told to stop.
    pub async fn keep(self, shutdown: CancellationToken) {
        let idle = std::time::Duration::from_secs(self.ctx.config.registry.session_seconds.into());
        loop {
            self.sessions.expire(idle);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(idle.min(std::time::Duration::from_secs(60))) => {}
            }
        }
    }

    async fn answer(&self, asked: Asked, body: Body, target: Target) -> Answer {
        let method = asked.method.clone();
        let reads = [Method::GET, Method::HEAD].contains(&method);
        match target {
            Target::Root if reads => self.enter(asked).await,
            Target::Tags if reads => self.tags(asked).await,
            Target::Referrers(subject) if reads => self.referrers(asked, &subject).await,
            Target::Manifest(reference) => match method {
                Method::GET | Method::HEAD => self.manifest(asked, &reference).await,
                Method::PUT => self.put_manifest(asked, body, &reference).await,
                Method::DELETE => self.remove_manifest(asked, &reference).await,
                _ => Err(Refusal::Unsupported),
            },
            Target::Blob(digest) => match method {
                Method::GET | Method::HEAD => self.blob(asked, &digest).await,
                Method::DELETE => self.remove_blob(asked, &digest).await,
                _ => Err(Refusal::Unsupported),
            },
            Target::Uploads if method == Method::POST => self.start_upload(asked, body).await,
            Target::Upload(id) => match method {
                Method::GET | Method::HEAD => self.upload_status(asked, &id).await,
                Method::PATCH => self.upload_part(asked, body, &id).await,
                Method::PUT => self.finish_upload(asked, body, &id).await,
                Method::DELETE => self.cancel_upload(asked, &id).await,
                _ => Err(Refusal::Unsupported),
            },
            Target::Root | Target::Tags | Target::Referrers(_) | Target::Uploads => Err(Refusal::Unsupported),
        }
    }

    /// Work on the blob store, which blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BlobStore) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let blobs = self.blobs.clone();
        let done = tokio::task::spawn_blocking(move || work(&blobs)).await;
        done.unwrap_or_else(|error| Err(ImageError::Stream(std::io::Error::other(error))))
    }
}

async fn serve(State(registry): State<Registry>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let caller = Caller::of(&headers);
    let (name, target) = match path::parse(uri.path()) {
        Ok(parsed) => parsed,
        // Who is not known learns nothing of what a path may look like.
        Err(refusal) => {
            caller.actor(&registry.ctx).await?;
            return Err(refusal);
        }
    };
    let query = uri.query().unwrap_or_default().to_owned();
    registry.answer(Asked { caller, method, name, query, headers }, body, target).await
}

impl Asked {
    /// The first value of a parameter of the query.
    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).into_iter().next()
    }

    fn parameters(&self, name: &str) -> Vec<String> {
        path::query(&self.query).into_iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    }

    fn header(&self, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Registry {
    fn remember_refusal(&self, key: String, reason: Option<String>) {
        /// Tags whose last refusal is remembered.
        const MOST: usize = 256;
        let mut all = self.last_refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(_) if all.len() >= MOST => all.clear(),
            _ => {}
        }
        match reason {
            Some(reason) => drop(all.insert(key, reason)),
            None => drop(all.remove(&key)),
        }
    }

    fn last_refusal(&self, key: &str) -> Option<String> {
        self.last_refusals.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

/// A header's value that this room has made.
fn unsendable(error: axum::http::Error) -> Refusal {
    Refusal::Other(Error::internal(error))
}

#[cfg(test)]
mod tests;
