//! What can be removed: images, networks of spaces, and how much the sandboxes hold. Nothing here is forced: the engine
//! itself keeps what a container, running, paused or stopped, still needs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::errors::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, RemoveImageOptionsBuilder,
};

use super::super::Result;
use super::{Docker, LONG, QUICK, faults, names};
use crate::base::model::{ImageDigest, SpaceId};

impl Docker {
    pub(super) async fn image_digests(&self) -> Result<Vec<ImageDigest>> {
        let repository = names::image_repository(&self.0.prefix);
        let filters = HashMap::from([("reference", vec![repository.clone()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let found =
            self.call("list", "images", QUICK, |api| async move { api.list_images(Some(options)).await }).await?;
        let tags = found.into_iter().flat_map(|image| image.repo_tags);
        let digest = |tag: String| format!("sha256:{}", tag.strip_prefix(&repository)?.strip_prefix(':')?).parse().ok();
        Ok(tags.filter_map(digest).collect())
    }

    pub(super) async fn drop_image(&self, image: &ImageDigest) -> Result<bool> {
        let reference = names::image(&self.0.prefix, image);
        // Where another platform has the same image, the engine would take the name alone, used or not.
        let ours = self.list_containers(vec![format!("{}={}", names::PREFIX, self.0.prefix)]).await?;
        if ours.iter().any(|container| container.image.as_ref() == Some(&reference)) {
            return Ok(false);
        }
        let options = RemoveImageOptionsBuilder::new().force(false).noprune(true).build();
        let removed = |api: bollard::Docker| {
            let reference = reference.clone();
            async move { unless_used(api.remove_image(&reference, Some(options), None).await.map(|_| ())) }
        };
        self.call("remove image", &reference, LONG, removed).await
    }

    pub(super) async fn space_networks(&self) -> Result<Vec<SpaceId>> {
        let label = format!("{}={}", names::PREFIX, self.0.prefix);
        let filters = HashMap::from([("label", vec![label.as_str(), names::SPACE])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let found =
            self.call("list", "networks", QUICK, |api| async move { api.list_networks(Some(options)).await }).await?;
        Ok(found.into_iter().filter_map(|network| network.labels?.get(names::SPACE)?.parse().ok()).collect())
    }

    pub(super) async fn drop_network(&self, space: &SpaceId) -> Result<bool> {
        let name = names::space_network(&self.0.prefix, space);
        // Held, so that nobody takes it for there between its end and that being known.
        let mut known = self.0.networks.lock().await;
        if !self.has_network(&name).await? {
            known.remove(&name);
            return Ok(true);
        }
        let removed = |api: bollard::Docker| {
            let name = name.clone();
            async move { unless_used(api.remove_network(&name).await) }
        };
        let gone = self.call("remove network", &name, QUICK, removed).await?;
        if gone {
            known.remove(&name);
        }
        Ok(gone)
    }

    /// Of all of them, or of the one that is named.
    pub(super) async fn measure_sandboxes(&self, one: Option<&str>) -> Result<BTreeMap<String, u64>> {
        let which = one.map_or(names::SANDBOX.to_owned(), |name| format!("{}={name}", names::SANDBOX));
        let ours = vec![format!("{}={}", names::PREFIX, self.0.prefix), which];
        let filters = HashMap::from([("label", ours)]);
        let options = ListContainersOptionsBuilder::new().all(true).size(true).filters(&filters).build();
        let found =
            self.call("measure", "sandboxes", LONG, |api| async move { api.list_containers(Some(options)).await });
        let measured = found.await?.into_iter().filter_map(|container| {
            let size = container.size_rw.unwrap_or_default();
            Some((container.labels?.remove(names::SANDBOX)?, u64::try_from(size).ok()?))
        });
        Ok(measured.collect())
    }

    /// Asked once: the engine starts programs to answer. One that lies elsewhere later has lost all that it had.
    pub(super) async fn root(&self) -> Result<Option<PathBuf>> {
        let ask = || async {
            let facts = self.call("ask", "engine", QUICK, |api| async move { api.info().await }).await;
            facts.map(|facts| facts.docker_root_dir.map(PathBuf::from))
        };
        self.0.root.get_or_try_init(ask).await.cloned()
    }
}

/// Gone already is gone; one that a container needs stays: 409 for images, 403 for networks.
fn unless_used(done: Result<(), Error>) -> Result<bool, Error> {
    match done {
        Ok(()) => Ok(true),
        Err(error) => match faults::status(&error) {
            Some(404) => Ok(true),
            Some(409) => Ok(false),
            Some(403) if faults::text(&error).contains("active endpoints") => Ok(false),
            _ => Err(error),
        },
    }
}
