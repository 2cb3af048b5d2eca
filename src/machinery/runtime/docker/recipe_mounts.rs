//! Volumes of builds by Dockerfiles: caches, which stay for the app's next build, and those that are there for one command.
//! Never a path of the machine. Two apps never have one in common: the app's id is in its name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{Mount, MountTmpfsOptions, MountType, MountVolumeOptions, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};

use super::super::{EngineError, Result};
use super::names::{self, Labels};
use super::{Docker, QUICK, START, disk_usage, faults};
use crate::base::model::AppId;

/// Bytes of all secrets of one command.
const SECRETS: &str = "4m";

impl Docker {
    /// The name of the app's cache; whether it was made now.
    pub(super) async fn ensure_cache(&self, app: &AppId, name: &str) -> Result<(String, bool)> {
        let volume = names::recipe_cache(&self.0.prefix, app, name);
        let new = !self.has_volume(&volume).await?;
        if new {
            self.make_volume(&volume, (names::RECIPE_CACHE, app), HashMap::new()).await?;
        }
        Ok((volume, new))
    }

    /// An empty volume for one command; `in_memory`: nothing of it is ever on a disk.
    pub(super) async fn make_scratch(&self, app: &AppId, part: &str, in_memory: bool) -> Result<String> {
        let volume = names::recipe_part(&self.0.prefix, app, part);
        let memory = [("type", "tmpfs".to_owned()), ("device", "tmpfs".to_owned()), ("o", format!("size={SECRETS}"))];
        let options = match in_memory {
            true => memory.map(|(key, value)| (key.to_owned(), value)).into(),
            false => HashMap::new(),
        };
        self.make_volume(&volume, (names::RECIPE_RUN, app), options).await?;
        Ok(volume)
    }

    async fn make_volume(
        &self,
        name: &str,
        (label, app): (&str, &AppId),
        options: HashMap<String, String>,
    ) -> Result<()> {
        let labels = Labels::from([(names::PREFIX.into(), self.0.prefix.clone()), (label.to_owned(), app.to_string())]);
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".into()),
            driver_opts: Some(options),
            labels: Some(labels),
            ..Default::default()
        };
        self.call("create volume", name, START, |api| async move { api.create_volume(request).await }).await.map(drop)
    }

    /// Containers and volumes that a command left that did not come to its end, of the app or of all; with `caches`,
    /// those too. The images and the layers stay.
    pub(super) async fn drop_remains(&self, app: Option<&AppId>, caches: bool) -> Result<()> {
        let which = |label: &str| match app {
            Some(app) => format!("{label}={app}"),
            None => label.to_owned(),
        };
        let ours = format!("{}={}", names::PREFIX, self.0.prefix);
        for container in self.list_containers(vec![ours, which(names::RECIPE_RUN)]).await? {
            self.discard(&container.id.unwrap_or_default()).await?;
        }
        let mut labels = vec![names::RECIPE_RUN];
        labels.extend(caches.then_some(names::RECIPE_CACHE));
        for label in labels {
            for (name, _) in self.labelled_volumes(which(label)).await? {
                let options = RemoveVolumeOptionsBuilder::new().force(true).build();
                let gone = |api: bollard::Docker| {
                    let name = name.clone();
                    async move { faults::gone_is_fine(api.remove_volume(&name, Some(options)).await) }
                };
                self.call("remove volume", &name, START, gone).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn list_unfinished(&self) -> Result<Vec<AppId>> {
        let ours = vec![format!("{}={}", names::PREFIX, self.0.prefix), names::RECIPE_RUN.to_owned()];
        let containers = self.list_containers(ours).await?.into_iter().filter_map(|container| container.labels);
        let volumes = self.labelled_volumes(names::RECIPE_RUN.to_owned()).await?.into_iter().map(|(_, labels)| labels);
        let of = |labels: HashMap<String, String>| labels.get(names::RECIPE_RUN)?.parse().ok();
        Ok(containers.chain(volumes).filter_map(of).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Apps that have caches, or of which something is left.
    pub(super) async fn list_caching(&self) -> Result<BTreeSet<AppId>> {
        let volumes = self.labelled_volumes(names::RECIPE_CACHE.to_owned()).await?;
        let mut apps: BTreeSet<AppId> =
            volumes.iter().filter_map(|(_, labels)| labels.get(names::RECIPE_CACHE)?.parse().ok()).collect();
        apps.extend(self.list_unfinished().await?);
        Ok(apps)
    }

    async fn labelled_volumes(&self, label: String) -> Result<Vec<(String, HashMap<String, String>)>> {
        let ours = format!("{}={}", names::PREFIX, self.0.prefix);
        let options = ListVolumesOptionsBuilder::new().filters(&HashMap::from([("label", vec![ours, label])])).build();
        let found = self.call("list", "volumes", QUICK, |api| async move { api.list_volumes(Some(options)).await });
        let volumes = found.await?.volumes.unwrap_or_default();
        Ok(volumes.into_iter().map(|volume| (volume.name, volume.labels)).collect())
    }

    pub(super) async fn measure_caches(&self) -> Result<BTreeMap<AppId, u64>> {
        let mut sizes = BTreeMap::new();
        if self.labelled_volumes(names::RECIPE_CACHE.to_owned()).await?.is_empty() {
            return Ok(sizes);
        }
        for (name, bytes) in self.sizes_of_volumes().await? {
            if let Some(app) = names::of_recipe_cache(&self.0.prefix, &name) {
                let sum: &mut u64 = sizes.entry(app).or_default();
                *sum = sum.saturating_add(bytes);
            }
        }
        Ok(sizes)
    }

    /// Bytes in all volumes that a command of the app has now.
    pub(super) async fn volumes_of_recipe(&self, app: &AppId) -> Result<u64> {
        let part = names::recipe_part(&self.0.prefix, app, "");
        let of_app = |name: &str| {
            name.starts_with(&part) || names::of_recipe_cache(&self.0.prefix, name).is_some_and(|owner| owner == *app)
        };
        Ok(self.sizes_of_volumes().await?.into_iter().filter(|(name, _)| of_app(name)).map(|(_, size)| size).sum())
    }

    async fn sizes_of_volumes(&self) -> Result<Vec<(String, u64)>> {
        let measured = tokio::time::timeout(START, disk_usage::of_volumes(&self.0.socket)).await;
        measured.map_err(|late| self.unreachable(late))?.map_err(|source| EngineError::Refused {
            operation: "measure",
            subject: "volumes".into(),
            source,
        })
    }
}

/// Without a copy of what the image has there.
pub(super) fn of_volume(volume: String, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume),
        target: Some(target.to_owned()),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

pub(super) fn of_memory(target: &str, bytes: Option<i64>) -> Mount {
    Mount {
        typ: Some(MountType::TMPFS),
        target: Some(target.to_owned()),
        tmpfs_options: Some(MountTmpfsOptions { size_bytes: bytes, ..Default::default() }),
        ..Default::default()
    }
}
