//! Images of layers: OCI manifest and config in, facts out.

use std::collections::BTreeMap;

use super::{BlobStore, Digest, Layer, Result};
use crate::base::model::ImageDigest;

#[derive(Debug, Clone)]
pub struct AddedLayer {
    pub layer: Layer,
    /// What made it, for `docker history`; must not vary between equal builds.
    pub created_by: String,
}

/// An image to be. What is left empty or none is as the base has it.
#[derive(Debug, Clone, Default)]
pub struct ImageSpec {
    /// Its layers come first, its config is the start. In the store.
    pub base: Option<ImageDigest>,
    /// Lowest first.
    pub layers: Vec<AddedLayer>,
    /// Added to the base's, replacing equal names.
    pub env: BTreeMap<String, String>,
    /// `uid:gid` or a name.
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// Added to the base's, replacing equal keys.
    pub labels: BTreeMap<String, String>,
    /// TCP.
    pub exposed_port: Option<u16>,
    /// Replaces the base's and, as with Docker, clears its command.
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    /// GOARCH; none means the base's, without a base that of this machine.
    pub architecture: Option<String>,
}

/// What manifest and config of a stored image say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Of the config: what Docker calls the image id.
    pub config: Digest,
    /// Lowest first.
    pub layers: Vec<Layer>,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub architecture: String,
}

/// Writes config and manifest. The layers must be in the store.
pub fn assemble(_blobs: &BlobStore, _spec: &ImageSpec) -> Result<ImageDigest> {
    todo!()
}

/// Reads manifest and config; does not look at the layers.
pub fn inspect(_blobs: &BlobStore, _image: &ImageDigest) -> Result<ImageFacts> {
    todo!()
}
