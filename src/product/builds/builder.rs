//! The verbs of this room.

use std::path::Path;
use std::sync::Arc;

use super::{BuildFailure, BuildLog, BuildRequest, Built, Detected, Imaged, Source};
use crate::base::config;
use crate::base::model::{AppId, ImageDigest};
use crate::machinery::image::BlobStore;
use crate::machinery::runtime::Engine;

pub struct Builder;

impl Builder {
    pub fn new(_engine: Arc<dyn Engine>, _blobs: BlobStore, _config: &config::Build, _data_dir: &Path) -> Self {
        todo!()
    }

    /// Makes the base image if it is not there; slow once.
    pub async fn ready(&self) -> Result<(), BuildFailure> {
        todo!()
    }

    /// Best effort: wakes the app's sandbox while its source is still on the way.
    pub async fn warm(&self, _app: &AppId) {
        todo!()
    }

    pub async fn detect(&self, _: &BuildRequest, _: Source, _: Arc<dyn BuildLog>) -> Result<Detected, BuildFailure> {
        todo!()
    }

    /// `source` is read only if the sandbox was lost since `detect`.
    pub async fn build(
        &self,
        _: &BuildRequest,
        _: &Detected,
        _source: Source,
        _: Arc<dyn BuildLog>,
    ) -> Result<Built, BuildFailure> {
        todo!()
    }

    pub async fn image(
        &self,
        _: &BuildRequest,
        _: &Detected,
        _: &Built,
        _: Arc<dyn BuildLog>,
    ) -> Result<Imaged, BuildFailure> {
        todo!()
    }

    /// Makes sure that the engine has the image.
    pub async fn load(&self, _: &ImageDigest) -> Result<(), BuildFailure> {
        todo!()
    }

    /// Removes the sandbox and the caches of an app.
    pub async fn forget(&self, _: &AppId) {
        todo!()
    }
}
