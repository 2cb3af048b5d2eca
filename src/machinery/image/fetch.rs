//! An image of a registry as somebody named it, for `unpack`: whatever comes is hostile input, and the addresses are not the
//! operator's choice. Every part is fetched, also where the store has content of its digest: who names a digest has not
//! shown that he may have what it is of.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use oci_spec::image::Descriptor;
use reqwest::redirect::Policy;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::assemble::digest;
use super::client::Client;
use super::pull::{ANY, Login, blocking, manifest};
use super::reference::is_safe;
use super::saved::named;
use super::{BlobStore, Contents, Digest, ImageError, Result, Saved};

/// How requests are sent, and which addresses they may have: those of registries, of what they name for tokens, of mirrors
/// that they redirect to. The client judges what names lead to.
#[derive(Clone)]
pub struct Route {
    pub http: reqwest::Client,
    pub allows: Arc<dyn Fn(&reqwest::Url) -> bool + Send + Sync>,
    /// For one layer.
    pub within: Duration,
}

impl Route {
    /// To addresses that the operator chose: all are well, as long as they are spoken to in a safe way.
    pub(super) fn of_operator(reference: &str) -> Result<Self> {
        let redirects = Policy::custom(|attempt| match attempt.previous().len() <= 5 && is_safe(attempt.url()) {
            true => attempt.follow(),
            false => attempt.stop(),
        });
        let http = reqwest::Client::builder()
            .user_agent(concat!("hythe/", env!("CARGO_PKG_VERSION")))
            .redirect(redirects)
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(Duration::from_secs(60))
            .build();
        let http = http.map_err(|error| ImageError::Registry {
            reference: reference.to_owned(),
            reason: error.to_string(),
            temporary: false,
        })?;
        Ok(Self { http, allows: Arc::new(|_| true), within: Duration::MAX })
    }
}

/// The digest of the manifest that `fetch` would take now.
pub async fn resolve(reference: &str, login: Option<Login>, route: Route) -> Result<Digest> {
    let (_, bytes) = manifest(&mut Client::by(reference, login, route)?).await?;
    Ok(Digest::of(&bytes))
}

/// Fetches `host[:port]/name[:tag][@digest]` for this machine's architecture. `most`: bytes of all layers, as they are sent.
pub async fn fetch(blobs: &BlobStore, reference: &str, login: Option<Login>, route: Route, most: u64) -> Result<Saved> {
    let within = route.within;
    let mut client = Client::by(reference, login, route)?;
    let (manifest, bytes) = manifest(&mut client).await?;
    let kept = blobs.clone();
    let stored = blocking(move || kept.put_bytes(&bytes)).await?;
    let mut contents = Contents::from([(named(&stored), stored)]);
    let config = digest(manifest.config())?;
    let bytes = client.document(&format!("blobs/{config}"), ANY, Some(&config)).await?;
    let kept = blobs.clone();
    blocking(move || kept.put_bytes(&bytes)).await?;
    contents.insert(named(&config), config);
    let all: u64 = manifest.layers().iter().map(Descriptor::size).fold(0, u64::saturating_add);
    if all > most {
        let text = format!("its layers have {all} bytes, more than an image may have here (registry.app_bytes)");
        return Err(ImageError::Unfit(text));
    }
    for descriptor in manifest.layers() {
        let packed = digest(descriptor)?;
        let response = client.get(&format!("blobs/{packed}"), ANY).await?;
        let body = response.bytes_stream().map_err(|error| io::Error::other(error.without_url()));
        let body = body.take_until(tokio::time::sleep(within));
        let body = SyncIoBridge::new(StreamReader::new(Box::pin(body)));
        let (kept, size) = (blobs.clone(), descriptor.size());
        let written = blocking(move || {
            let mut out = kept.writer()?;
            io::copy(&mut io::Read::take(body, size), &mut out).map_err(ImageError::Stream)?;
            out.finish_as(&packed)
        });
        written.await?;
        contents.insert(named(&packed), packed);
    }
    Ok(Saved { contents, manifest: named(&stored) })
}
