//! What is in images: packages by layer, each layer read once and remembered in `<data>/sbom/<digest>.json`. Losing a file
//! costs time and nothing else.

mod documents;
mod version;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::builder::Builder;
use super::export;
use crate::base::model::ImageDigest;
use crate::machinery::image::{
    BlobStore, Digest, ImageError, LayerPackages, Package, joined_packages, layer_packages, layers_of,
};

pub use documents::{Subject, cyclonedx, spdx};
pub use version::Condition;

/// Of the readers: files that another version of them wrote are made anew.
const READERS: &str = "2";

impl Builder {
    /// All packages of an image, each once, sorted. Slow the first time that a layer is asked for.
    pub async fn packages(&self, image: &ImageDigest) -> Result<BTreeSet<Package>, ImageError> {
        let (blobs, dir, image) = (self.blobs.clone(), self.packages_dir(), image.clone());
        let read = tokio::task::spawn_blocking(move || {
            let layers: Result<Vec<_>, _> =
                layers_of(&blobs, &image)?.iter().map(|layer| remembered(&blobs, &dir, layer)).collect();
            Ok(joined_packages(&layers?))
        });
        read.await.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic()))
    }

    /// Forgets what was remembered of layers that are gone.
    pub fn forget_packages(&self) {
        for entry in std::fs::read_dir(self.packages_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".json")?.rsplit('-').next());
            let layer = digest.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
            if layer.is_none_or(|layer| !self.blobs.has(&layer)) {
                // What stays is as good as nothing, and goes next time.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    pub(super) fn packages_dir(&self) -> PathBuf {
        self.caches.with_file_name("sbom")
    }
}

/// The bill of some layers, as text. Blocks.
pub(super) fn of_layers(
    blobs: &BlobStore,
    dir: &Path,
    layers: impl Iterator<Item = Digest>,
) -> Result<Vec<u8>, ImageError> {
    let found: Result<Vec<_>, _> = layers.map(|layer| remembered(blobs, dir, &layer)).collect();
    Ok(documents::bare(&joined_packages(&found?)).to_string().into_bytes())
}

pub(super) fn remembered(blobs: &BlobStore, dir: &Path, layer: &Digest) -> Result<LayerPackages, ImageError> {
    let path = dir.join(format!("{READERS}-{}.json", layer.hex()));
    if let Some(known) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        return Ok(known);
    }
    let found = layer_packages(blobs, layer)?;
    let text = serde_json::to_vec(&found).expect("plain data is JSON");
    if let Err(error) = export::write_file(&path, &text) {
        tracing::warn!(layer = %layer, %error, "what is in a layer could not be remembered");
    }
    Ok(found)
}
