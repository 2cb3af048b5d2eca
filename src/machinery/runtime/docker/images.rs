//! Images: loaded as docker-archives, known by their digest as a tag. The engine finds layers by chain id
//! and opens only the files of layers that it lacks, so an archive may leave out what it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bollard::errors::Error;
use bollard::query_parameters::{ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{ByteStream, EngineError, Result};
use super::faults::{self, gone_is_fine};
use super::{Docker, LONG, QUICK, START, names};
use crate::base::model::ImageDigest;

impl Docker {
    pub(super) async fn knows_image(&self, image: &ImageDigest) -> Result<bool> {
        let reference = names::image(&self.0.prefix, image);
        let found = self.call("inspect", &reference, QUICK, |api| {
            let reference = reference.clone();
            async move { api.inspect_image(&reference).await }
        });
        match found.await {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    pub(super) async fn load_archive(&self, archive: ByteStream) -> Result<()> {
        let (archive, broken) = watched(archive);
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let loaded = self.call("load", "image", LONG, |api| async move {
            let mut answers = api.import_image_stream(options, archive, None).boxed();
            while answers.try_next().await.map_err(missing_layer)?.is_some() {}
            Ok(())
        });
        let loaded = loaded.await;
        if let Some(fault) = broken.lock().unwrap_or_else(|e| e.into_inner()).take() {
            return Err(EngineError::Refused {
                operation: "read archive of",
                subject: "image".into(),
                source: fault.into(),
            });
        }
        match loaded {
            Err(EngineError::Refused { source, .. }) if source.to_string() == MISSING => {
                Err(EngineError::MissingLayers)
            }
            other => other,
        }
    }

    pub(super) async fn remove_image(&self, image: &str) -> Result<()> {
        let options = RemoveImageOptionsBuilder::new().force(true).noprune(true).build();
        let gone = |api: bollard::Docker| async move {
            gone_is_fine(api.remove_image(image, Some(options), None).await.map(|_| ()))
        };
        self.call("remove image", image, QUICK, gone).await
    }

    pub(super) async fn remove_all_images(&self) -> Result<()> {
        let of_ours = vec![names::image_repository(&self.0.prefix), names::changes_repository(&self.0.prefix)];
        let options = ListImagesOptionsBuilder::new().filters(&HashMap::from([("reference", of_ours)])).build();
        let found =
            self.call("list", "images", QUICK, |api| async move { api.list_images(Some(options)).await }).await?;
        let ours = format!("{}/", self.0.prefix);
        for tag in found.into_iter().flat_map(|image| image.repo_tags).filter(|tag| tag.starts_with(&ours)) {
            self.remove_image(&tag).await?;
        }
        Ok(())
    }
}

const MISSING: &str = "a layer is missing";

/// `open /var/lib/docker/tmp/docker-import-…/<layer>/layer.tar: no such file or directory`
fn missing_layer(error: Error) -> Error {
    let text = faults::text(&error);
    if text.contains("no such file") { Error::DockerStreamError { error: MISSING.into() } } else { error }
}

/// `stream`, ended by a fault when nothing comes for a while: the engine hangs.
pub(super) fn patient(stream: ByteStream) -> ByteStream {
    stream::try_unfold(stream, |mut stream| async move {
        match tokio::time::timeout(START, stream.try_next()).await {
            Ok(piece) => Ok(piece?.map(|piece| (piece, stream))),
            Err(elapsed) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)),
        }
    })
    .boxed()
}

/// `stream`, and where to look for the fault that broke it: to the client a broken body looks like a lost engine.
pub(super) fn watched(stream: ByteStream) -> (ByteStream, Arc<Mutex<Option<std::io::Error>>>) {
    let broken = Arc::new(Mutex::new(None));
    let note = broken.clone();
    let stream = stream.map_err(move |fault| {
        let text = fault.to_string();
        *note.lock().unwrap_or_else(|e| e.into_inner()) = Some(fault);
        std::io::Error::other(text)
    });
    (stream.boxed(), broken)
}
