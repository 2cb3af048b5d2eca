//! From an image as it was pushed, with layers packed or not and perhaps of several architectures, to one as this store
//! keeps them: of this machine's architecture, layers uncompressed and named by their content.
//!
//! All of it is hostile input. Every digest that the documents state is checked; a layer is looked through entry by entry
//! before an engine is given it: no absolute path, none that leaves the tree, no device.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::assemble::{host_architecture, parse, write};
use super::entry::clean;
use super::packing::Packing;
use super::source::Source;
use super::{BlobStore, BlobWriter, Digest, ImageError, Layer, Result};
use crate::base::model::{ContentDigest, ImageDigest};

/// Indexes within indexes.
const DEEPEST: usize = 4;
/// Documents that are looked at on the way to one that fits.
const MOST_DOCUMENTS: usize = 64;
const MOST_LAYERS: usize = 127;
const MOST_ENTRIES: u64 = 2_000_000;

/// Content of one repository: each digest with the name that its content has in the store.
pub type Contents = HashMap<ContentDigest, Digest>;

/// The image of `manifest`, an image or an index. `limit`: bytes of all layers, uncompressed.
pub fn unpack(blobs: &BlobStore, contents: &Contents, manifest: &ContentDigest, limit: u64) -> Result<ImageDigest> {
    let mut looks = MOST_DOCUMENTS;
    let found = choose(blobs, contents, manifest, DEEPEST, &mut looks)?;
    let found = found.ok_or_else(|| unfit(format!("it has no image for linux on {}", host_architecture())))?;
    let config = stored(contents, found.config())?;
    let mut image: ImageConfiguration = parse(&config, &blobs.read(&config)?)
        .map_err(|_| unfit("its config is no image's config; what is no image can be stored, but not run"))?;
    if image.os().to_string() != "linux" || image.architecture().to_string() != host_architecture() {
        let (own, here) = (format!("{} on {}", image.os(), image.architecture()), host_architecture());
        return Err(unfit(format!("it is for {own}, and this server is linux on {here}")));
    }
    let diff_ids = image.rootfs().diff_ids().clone();
    if diff_ids.len() != found.layers().len() || diff_ids.len() > MOST_LAYERS {
        return Err(unfit("its manifest and its config disagree about the layers, or there are too many"));
    }
    let mut left = limit;
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (descriptor, diff_id) in found.layers().iter().zip(&diff_ids) {
        let diff_id: Digest = diff_id.parse().map_err(|_| unfit(format!("{diff_id:?} is no SHA-256 digest")))?;
        let layer = unpack_layer(blobs, &stored(contents, descriptor)?, descriptor, diff_id, left)?;
        left = left.saturating_sub(layer.size);
        layers.push(layer);
    }
    // An anonymous volume of the image would be one that nobody knows and nobody removes.
    if let Some(mut config) = image.config().clone() {
        config.set_volumes(None);
        // A container has its image's labels: one of ours there would pass for what the platform said of it.
        let labels = config.labels().clone().map(|all| all.into_iter().filter(|(key, _)| !is_ours(key)).collect());
        config.set_labels(labels);
        image.set_config(Some(config));
    }
    write(blobs, image, &layers)
}

/// Keys by which engines tell what the platform made.
fn is_ours(label: &str) -> bool {
    label.starts_with("hythe.")
}

/// Depth first, in the order of the index; none if nothing below fits this machine.
fn choose(
    blobs: &BlobStore,
    contents: &Contents,
    manifest: &ContentDigest,
    depth: usize,
    looks: &mut usize,
) -> Result<Option<ImageManifest>> {
    *looks = looks.checked_sub(1).ok_or_else(|| unfit("its index names too many others"))?;
    let digest = *contents.get(manifest).ok_or_else(|| unfit(format!("{manifest} is not in this repository")))?;
    let bytes = blobs.read(&digest)?;
    let Ok(index) = parse::<ImageIndex>(&digest, &bytes) else {
        let read = parse::<ImageManifest>(&digest, &bytes);
        return read.map(Some).map_err(|error| unfit(format!("its manifest cannot be read: {error}")));
    };
    if depth == 0 {
        return Err(unfit(format!("its indexes are nested more than {DEEPEST} deep")));
    }
    for descriptor in index.manifests() {
        let fits = match descriptor.platform() {
            Some(p) => p.os().to_string() == "linux" && p.architecture().to_string() == host_architecture(),
            None => super::document::is_index(descriptor.media_type().as_ref()),
        };
        let Ok(below) = descriptor.digest().to_string().parse::<ContentDigest>() else { continue };
        if fits && let Some(found) = choose(blobs, contents, &below, depth - 1, looks)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn stored(contents: &Contents, descriptor: &Descriptor) -> Result<Digest> {
    let name = descriptor.digest().to_string();
    let found = name.parse::<ContentDigest>().ok().and_then(|digest| contents.get(&digest).copied());
    found.ok_or_else(|| unfit(format!("{name} is not in this repository")))
}

fn unpack_layer(
    blobs: &BlobStore,
    packed: &Digest,
    descriptor: &Descriptor,
    diff_id: Digest,
    limit: u64,
) -> Result<Layer> {
    let media_type = descriptor.media_type().to_string();
    let packing = Packing::of(&media_type)
        .ok_or_else(|| unfit(format!("a layer has the type {media_type:?}, which is no file system")))?;
    let too_large = || unfit("its layers have more bytes than an image may have here (registry.app_bytes)");
    // Also where the store has it: who names a digest has not shown its content, which may be another's.
    let mut out = Unpacked::new(blobs, &diff_id)?;
    let file = BufReader::with_capacity(256 << 10, blobs.open_blob(packed)?);
    let mut input = packing.reader(file).map_err(ImageError::Stream)?;
    let copied = io::copy(&mut (&mut input).take(limit.saturating_add(1)), &mut out);
    let size = copied.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => ImageError::Stream(error),
        _ => unfit(format!("layer {packed} cannot be unpacked: {error}")),
    })?;
    if size > limit {
        return Err(too_large());
    }
    if !out.is(&diff_id)? {
        return Err(unfit(format!("layer {packed} unpacks to something else than its config says")));
    }
    look_through(blobs, &diff_id)?;
    Ok(Layer { digest: diff_id, size })
}

/// What a layer unpacks to: written if the store has not got it, and hashed in any case.
enum Unpacked {
    New(BlobWriter),
    Known(Sha256),
}

impl Unpacked {
    fn new(blobs: &BlobStore, diff_id: &Digest) -> Result<Self> {
        Ok(if blobs.has(diff_id) { Self::Known(Sha256::new()) } else { Self::New(blobs.writer()?) })
    }

    /// Whether it is what it should be; then the store has it.
    fn is(self, diff_id: &Digest) -> Result<bool> {
        match self {
            Self::Known(hasher) => Ok(Digest::from_hasher(hasher) == *diff_id),
            Self::New(writer) => match writer.finish_as(diff_id) {
                Err(ImageError::Invalid { .. }) => Ok(false),
                other => other.map(|_| true),
            },
        }
    }
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::New(writer) => writer.write(bytes),
            Self::Known(hasher) => {
                hasher.update(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every entry stays in the tree and is of a kind that an image may hold.
fn look_through(blobs: &BlobStore, layer: &Digest) -> Result<()> {
    let mut source = Source::new(BufReader::with_capacity(256 << 10, blobs.open_blob(layer)?));
    let mut entries = 0;
    let refused = |error: ImageError| match error {
        ImageError::Entry { path, reason } => unfit(format!("{path:?} in layer {layer} {reason}")),
        ImageError::Stream(error) => unfit(format!("layer {layer} is no tar archive: {error}")),
        other => other,
    };
    while let Some(entry) = source.next().map_err(refused)? {
        entries += 1;
        if entries > MOST_ENTRIES {
            return Err(unfit(format!("layer {layer} has more than {MOST_ENTRIES} entries")));
        }
        // Tools write "./etc", and some "/etc": engines take both as below the root.
        let relative = |path: &[u8]| path.iter().skip_while(|b| **b == b'/').copied().collect::<Vec<u8>>();
        clean(&relative(&entry.path)).map_err(refused)?;
        match entry.kind {
            EntryType::Link => drop(clean(&relative(&entry.link)).map_err(refused)?),
            EntryType::Char | EntryType::Block => {
                return Err(refused(ImageError::entry(&entry.path, "is a device")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// SHA-512 of stored content.
pub(super) fn sha512(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = sha2::Sha512::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(format!("sha512:{}", hex::encode(hasher.finalize()))),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// As its pusher names it.
pub fn content_digest(bytes: &[u8], like: Option<&ContentDigest>) -> ContentDigest {
    let text = match like.is_some_and(ContentDigest::is_sha512) {
        true => format!("sha512:{}", hex::encode(sha2::Sha512::digest(bytes))),
        false => format!("sha256:{}", hex::encode(Sha256::digest(bytes))),
    };
    text.parse().unwrap_or_else(|_| unreachable!("a digest's text has the grammar of one"))
}

fn unfit(reason: impl Into<String>) -> ImageError {
    ImageError::Unfit(reason.into())
}

#[cfg(test)]
mod tests;
