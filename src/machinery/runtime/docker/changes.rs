//! What differs from a sandbox's image, as a layer: the container is committed to a temporary image, and the
//! image's last layer is picked out of the engine's export as it passes by. The base layers pass by too.
//!
//! Two formats of export: up to Docker 24 a directory per layer (`<id>/json`, `<id>/layer.tar`; the last
//! layer's `json` names the container it came from), later an OCI layout, where the blob's name is the layer's digest.

use bollard::models::ContainerConfig;
use bollard::query_parameters::CommitContainerOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;

use super::super::tarball::{Entry, Kind, Reader, without};
use super::super::{ByteStream, EngineError, Result};
use super::images::patient;
use super::{Docker, LONG, QUICK, names};

/// Digest of an empty layer (1024 zeros), which an export may show as a link to another empty layer.
const EMPTY: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
/// The longest `json` worth reading.
const LONGEST_JSON: u64 = 4 << 20;

impl Docker {
    pub(super) async fn changes_of(&self, sandbox: &str) -> Result<ByteStream> {
        let name = &names::sandbox(&self.0.prefix, sandbox)?;
        let container = self.inspect(name).await?.id.unwrap_or_default();
        let repository = names::changes_repository(&self.0.prefix);
        let temporary = Temporary { docker: self.clone(), image: Some(format!("{repository}:{sandbox}")) };
        // One that a crash left behind would stay without a name.
        self.remove_image(temporary.name()).await?;
        let options =
            CommitContainerOptionsBuilder::new().container(name).repo(&repository).tag(sandbox).pause(true).build();
        self.call("commit", name, LONG, |api| async move {
            api.commit_container(options, ContainerConfig::default()).await
        })
        .await?;
        let image = temporary.name();
        let layers = self.call("inspect", image, QUICK, |api| async move { api.inspect_image(image).await }).await?;
        let digest = layers.root_fs.and_then(|fs| fs.layers?.pop()).unwrap_or_default();
        let export = self.api()?.export_image(image).map_err(std::io::Error::other).boxed();
        let mut export = Reader::new(export);
        let found = tokio::time::timeout(LONG, seek(&mut export, &container, &digest)).await;
        match found.map_err(|elapsed| self.unreachable(elapsed))? {
            Ok(Found::Layer) => {}
            Ok(Found::Empty) => return Ok(stream::iter([Ok(Bytes::from_static(&[0; 1024]))]).boxed()),
            Err(source) => {
                return Err(EngineError::Refused { operation: "export", subject: name.clone(), source: source.into() });
            }
        }
        let layer = stream::try_unfold((export, temporary), |(mut export, temporary)| async move {
            match export.chunk().await? {
                Some(piece) => Ok(Some((piece, (export, temporary)))),
                None => {
                    drop(export);
                    temporary.remove().await;
                    Ok(None)
                }
            }
        });
        Ok(without(patient(layer.boxed()), is_of_the_engine))
    }
}

/// Where the engine mounts its init, it leaves an empty file.
fn is_of_the_engine(entry: &Entry) -> bool {
    entry.kind == Kind::File
        && entry.size == 0
        && matches!(entry.path.as_str(), "sbin/docker-init" | "usr/sbin/docker-init")
}

enum Found {
    /// The reader stands at the layer's first byte.
    Layer,
    Empty,
}

async fn seek(export: &mut Reader, container: &str, digest: &str) -> std::io::Result<Found> {
    #[derive(Deserialize)]
    struct Origin {
        #[serde(default)]
        container: String,
    }

    let blob = format!("blobs/{}", digest.replacen(':', "/", 1));
    let mut last = None;
    while let Some(entry) = export.next_entry().await? {
        let path = entry.path.trim_start_matches("./");
        if path == blob && entry.kind == Kind::File {
            return Ok(Found::Layer);
        }
        match path.split_once('/') {
            Some((directory, "json")) if entry.size <= LONGEST_JSON => {
                let directory = directory.to_owned();
                let text = export.whole().await?;
                let origin: Origin = serde_json::from_slice(&text).map_err(std::io::Error::other)?;
                if origin.container == container {
                    last = Some(directory);
                }
            }
            Some((directory, "layer.tar")) if last.as_deref() == Some(directory) => {
                if entry.kind == Kind::File {
                    return Ok(Found::Layer);
                }
                if digest == EMPTY {
                    return Ok(Found::Empty);
                }
                return Err(std::io::Error::other("the last layer is a link to another"));
            }
            _ => {}
        }
    }
    Err(std::io::Error::other(format!("the engine's export lacks the last layer {digest}")))
}

/// An image that must not stay, however its reader ends.
struct Temporary {
    docker: Docker,
    image: Option<String>,
}

impl Temporary {
    fn name(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }

    async fn remove(mut self) {
        if let Some(image) = self.image.take() {
            tidy(&self.docker, &image).await;
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(image) = self.image.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let docker = self.docker.clone();
            self.docker.0.tidying.spawn_on(async move { tidy(&docker, &image).await }, &runtime);
        }
    }
}

async fn tidy(docker: &Docker, image: &str) {
    if let Err(fault) = docker.remove_image(image).await {
        tracing::warn!(image, fault = &fault as &dyn std::error::Error, "a temporary image stays in the engine");
    }
}
