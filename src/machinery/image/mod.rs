//! Container images: a content-addressed store of blobs, deterministic layers, OCI manifests and configs,
//! archives for an engine, base images from packages or from a registry.
//!
//! Invariants: what stands under a digest's name in the store has that digest, also after a crash; layers are
//! stored as uncompressed tar, so a layer's digest is its diff id; the same tree gives the same layer and the
//! same spec the same image, byte for byte, on every machine of one architecture.
//!
//! Everything but `docker_archive`, `bootstrap`, `fetch` and `pull` blocks: call it through `spawn_blocking`. Which image belongs to
//! whom, and when a blob may be removed, is not known here.

mod archive;
mod assemble;
mod batch;
mod bootstrap;
mod client;
mod cut;
mod digest;
mod document;
mod entry;
mod error;
mod fetch;
mod files;
mod layer;
mod layout;
mod packages;
mod packing;
mod pull;
mod reference;
mod rules;
mod saved;
mod settle;
mod source;
mod spool;
mod store;
mod sweep;
mod unpack;

pub use archive::{ByteStream, docker_archive};
pub use assemble::{AddedLayer, ImageFacts, ImageSpec, assemble, inspect, stacked};
pub use batch::{Allowed, Batch, Beyond, Free};
pub use bootstrap::{Recipe, bootstrap};
pub use digest::Digest;
pub use document::{
    DOCKER_LIST, DOCKER_MANIFEST, DOCKER_SCHEMA_1, Document, LARGEST_DOCUMENT, OCI_INDEX, OCI_MANIFEST, is_index,
};
pub use error::{ImageError, Result};
pub use fetch::{Route, fetch, resolve};
pub use files::{copy_file, read_files};
pub use layer::{LayerWriter, write_layer, write_slices};
pub use layout::{is_image, take_if_image, take_image};
pub use packages::{Ecosystem, LayerPackages, Package, joined_packages, layer_packages, layers_of};
pub use pull::{Login, pull};
pub use reference::Reference;
pub use rules::{LayerRules, Owner};
pub use saved::{Saved, take_saved};
pub use store::{BlobStore, BlobWriter};
pub use sweep::{Pin, StoredBlob, Swept};
pub use unpack::{Contents, content_digest, unpack};

/// One uncompressed layer in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Of the uncompressed tar: at once the blob's name and the layer's diff id.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Modification time of every entry of every layer, and creation time of every image: one second after the
/// start of 1980, the earliest that zip can hold, as Cloud Native Buildpacks use it.
pub const EPOCH_SECONDS: u64 = 315_532_801;
const EPOCH_TEXT: &str = "1980-01-01T00:00:01Z";

#[cfg(test)]
mod tests;
