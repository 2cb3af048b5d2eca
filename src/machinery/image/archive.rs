//! The form in which an engine takes an image: Docker's archive.

use std::collections::HashSet;
use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::assemble::inspect;
use super::entry::{Entry, Kind};
use super::source::padding;
use super::{BlobStore, Digest, ImageError, Layer, Result};
use crate::base::model::ImageDigest;

/// The type that `Engine::load` and `Engine::put` take.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// A tar of `manifest.json`, the config and the layers, with `reference` as the image's name (`name:tag`).
///
/// Layers in `without` are left out of the tar though named in the manifest: an engine that has a layer in the same place
/// above the same lower layers does not open its file. One that lacks it says "no such file"; then send all.
/// Opens the layers before it returns, and reads them as the stream is read: removing them meanwhile does no harm.
pub fn docker_archive(
    blobs: &BlobStore,
    image: &ImageDigest,
    reference: &str,
    without: &HashSet<Digest>,
) -> Result<ByteStream> {
    let facts = inspect(blobs, image)?;
    let config = format!("{}.json", facts.config.hex());
    let names: Vec<String> = facts.layers.iter().map(|layer| format!("{}.tar", layer.digest.hex())).collect();
    let manifest = json!([{ "Config": config, "RepoTags": [reference], "Layers": names }]).to_string().into_bytes();

    let mut parts =
        vec![Part::document("manifest.json", manifest), Part::document(&config, blobs.read(&facts.config)?)];
    let mut sent = HashSet::new();
    for (layer, name) in facts.layers.iter().zip(&names) {
        if !without.contains(&layer.digest) && sent.insert(layer.digest) {
            parts.push(Part::Bytes(head(name, layer.size)));
            parts.push(Part::file(blobs.open_blob(&layer.digest)?, layer)?);
            parts.push(Part::zeros(padding(layer.size)));
        }
    }
    parts.push(Part::zeros(1024));
    Ok(stream::iter(parts).flat_map(Part::stream).boxed())
}

enum Part {
    Bytes(Vec<u8>),
    File(std::fs::File),
}

impl Part {
    fn document(name: &str, mut content: Vec<u8>) -> Self {
        let size = content.len() as u64;
        content.resize((size + padding(size)) as usize, 0);
        Self::Bytes([head(name, size), content].concat())
    }

    fn file(file: std::fs::File, layer: &Layer) -> Result<Self> {
        let found = file.metadata().map_err(ImageError::Stream)?.len();
        if found != layer.size {
            let reason = format!("it has {found} bytes instead of {}", layer.size);
            return Err(ImageError::Invalid { digest: layer.digest, reason });
        }
        Ok(Self::File(file))
    }

    fn zeros(count: u64) -> Self {
        Self::Bytes(vec![0; count as usize])
    }

    fn stream(self) -> ByteStream {
        match self {
            Self::Bytes(bytes) => stream::once(async { Ok(Bytes::from(bytes)) }).boxed(),
            Self::File(file) => ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10).boxed(),
        }
    }
}

fn head(name: &str, size: u64) -> Vec<u8> {
    let path = name.as_bytes().to_vec();
    Entry { path, kind: Kind::File(size), mode: 0o644, uid: 0, gid: 0, attributes: Vec::new() }.head()
}
