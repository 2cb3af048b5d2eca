//! A base layer from Debian packages, made by `mmdebstrap`: the one place in Hythe that starts a process.

use super::{BlobStore, Layer, Result};

/// What a base layer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// `bookworm`
    pub suite: String,
    /// `http://…/debian`; none means mmdebstrap's own default.
    pub mirror: Option<String>,
    /// Packages beyond the essential ones and apt.
    pub include: Vec<String>,
}

/// Makes the layer; takes about 20 s. Has the user `app` (1000:1000, home /home/app, bash), /workspace and /layers owned
/// by it, and a working apt with empty lists. Equal states of the mirror give equal layers.
pub async fn bootstrap(_blobs: &BlobStore, _recipe: &Recipe) -> Result<Layer> {
    todo!()
}
