//! Images from a registry: the pull side of the OCI distribution protocol, as a client.
//!
//! Everything is checked against the digests that the manifest names, layers also against their diff ids. Addresses are
//! the operator's choice (base images), so private ones are allowed; for those of others there is `fetch`.

use std::io::{self, Read};

use futures_util::TryStreamExt as _;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use sha2::{Digest as _, Sha256};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::assemble::{digest, host_architecture, parse, write};
use super::client::Client;
use super::packing::Packing;
use super::{BlobStore, Digest, ImageError, Layer, Result, Route};
use crate::base::model::ImageDigest;
use crate::base::secret::Secret;

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
pub(super) const ANY: &str = "*/*";
/// Uncompressed bytes of one layer.
const LAYER_LIMIT: u64 = 16 << 30;
/// More than any engine stacks.
const MAX_LAYERS: usize = 127;

/// User and password, or user and token, of a registry.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub secret: Secret<String>,
}

/// Fetches `host[:port]/name[:tag][@digest]` for this machine's architecture. Layers are stored uncompressed, so the digest
/// that comes back is not the registry's. Plain http is spoken with loopback addresses only.
pub async fn pull(blobs: &BlobStore, reference: &str, login: Option<Login>) -> Result<ImageDigest> {
    let mut client = Client::by(reference, login, Route::of_operator(reference)?)?;
    let (manifest, _) = manifest(&mut client).await?;
    let config = digest(manifest.config())?;
    let config_bytes = client.document(&format!("blobs/{config}"), ANY, Some(&config)).await?;
    let image: ImageConfiguration = parse(&config, &config_bytes)?;
    let diff_ids = image.rootfs().diff_ids().clone();
    if diff_ids.len() != manifest.layers().len() || diff_ids.len() > MAX_LAYERS {
        return Err(client.failed("manifest and config disagree about the layers, or there are too many", false));
    }
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (descriptor, diff_id) in manifest.layers().iter().zip(&diff_ids) {
        let diff_id = diff_id.parse().map_err(|_| client.failed(format!("{diff_id:?} is no digest"), false))?;
        layers.push(layer(blobs, &mut client, descriptor, diff_id).await?);
    }
    let blobs = blobs.clone();
    blocking(move || write(&blobs, image, &layers)).await
}

/// The manifest itself, or the one for this machine of an index; and its text.
pub(super) async fn manifest(client: &mut Client) -> Result<(ImageManifest, Vec<u8>)> {
    let wanted = client.reference().digest;
    let path = wanted.map_or_else(|| client.reference().tag.clone(), |digest| digest.to_string());
    let bytes = client.document(&format!("manifests/{path}"), MANIFESTS, wanted.as_ref()).await?;
    let found = Digest::of(&bytes);
    let Ok(index) = parse::<ImageIndex>(&found, &bytes) else { return Ok((parse(&found, &bytes)?, bytes)) };
    let fits = |descriptor: &&Descriptor| {
        let platform = descriptor.platform().as_ref();
        platform.is_some_and(|p| p.os().to_string() == "linux" && p.architecture().to_string() == host_architecture())
    };
    let descriptor = index.manifests().iter().find(fits);
    let reason = || client.failed(format!("there is none for linux on {}", host_architecture()), false);
    let chosen = digest(descriptor.ok_or_else(reason)?)?;
    let bytes = client.document(&format!("manifests/{chosen}"), MANIFESTS, Some(&chosen)).await?;
    Ok((parse(&chosen, &bytes)?, bytes))
}

/// Stores one layer uncompressed; one that is there is not fetched.
async fn layer(blobs: &BlobStore, client: &mut Client, descriptor: &Descriptor, diff_id: Digest) -> Result<Layer> {
    if let Ok(size) = blobs.size(&diff_id) {
        return Ok(Layer { digest: diff_id, size });
    }
    let media_type = descriptor.media_type().to_string();
    let packing = Packing::of(&media_type)
        .ok_or_else(|| client.failed(format!("layers of type {media_type} are not supported"), false))?;
    let packed = digest(descriptor)?;
    let response = client.get(&format!("blobs/{packed}"), ANY).await?;
    let body = response.bytes_stream().map_err(|error| io::Error::other(error.without_url()));
    let body = SyncIoBridge::new(StreamReader::new(Box::pin(body)));
    let (blobs, length) = (blobs.clone(), descriptor.size());
    let size = blocking(move || {
        let mut hashed = Hashed { inner: body.take(length), hasher: Sha256::new() };
        let mut out = blobs.writer()?;
        let buffered = io::BufReader::with_capacity(64 << 10, &mut hashed);
        let unpacked = packing.reader(buffered).and_then(|bytes| io::copy(&mut bytes.take(LAYER_LIMIT), &mut out));
        unpacked.map_err(ImageError::Stream)?;
        io::copy(&mut hashed, &mut io::sink()).map_err(ImageError::Stream)?;
        let found = Digest::from_hasher(hashed.hasher);
        if found != packed {
            let reason = format!("what the registry sent has digest {found}");
            return Err(ImageError::Invalid { digest: packed, reason });
        }
        out.finish_as(&diff_id)
    });
    Ok(Layer { digest: diff_id, size: size.await? })
}

struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ImageError::Stream(io::Error::other(error))))
}
