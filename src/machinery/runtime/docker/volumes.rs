//! Volumes of the engine that are ours: named after their id alone, with our label; never a path of the machine. One that
//! bears such a name without our label is refused, not used and not removed.
//!
//! A new volume is root's. A process that is not root could not write there, so the top directory of a volume that root
//! owns is given to the user of the first container that mounts it; what is below is never changed. What the image has
//! at that place is not copied into the volume: it would be the first release's for ever.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bollard::models::{Mount as Mounted, MountType, MountVolumeOptions, VolumeCreateRequest};
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions,
    UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::tarball::{self, Kind, Reader};
use super::super::{EngineError, Result};
use super::names::{self, Labels};
use super::{Docker, QUICK, START, disk_usage, faults};
use crate::base::model::{Mount, SpaceId, VolumeId};

/// The longest user database of an image that is searched for a name.
const LONGEST_PASSWD: u64 = 1 << 20;
/// The engine walks through all volumes to measure them.
const MEASURE: Duration = Duration::from_secs(20);
/// A measurement is given again for this long.
const MEASURED: Duration = Duration::from_secs(30);

impl Docker {
    /// What a container's configuration says of its volumes, which exist when this returns.
    pub(super) async fn mounts(&self, space: &SpaceId, mounts: &[Mount]) -> Result<Option<Vec<Mounted>>> {
        let mut all = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let name = names::volume(&self.0.prefix, &mount.id);
            self.ensure_volume(&name, space, &mount.id).await?;
            all.push(Mounted {
                typ: Some(MountType::VOLUME),
                source: Some(name),
                target: Some(mount.path.to_string()),
                volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
                ..Default::default()
            });
        }
        Ok((!all.is_empty()).then_some(all))
    }

    async fn ensure_volume(&self, name: &str, space: &SpaceId, id: &VolumeId) -> Result<()> {
        if self.has_volume(name).await? {
            return Ok(());
        }
        let labels = Labels::from([
            (names::PREFIX.into(), self.0.prefix.clone()),
            (names::VOLUME.into(), id.to_string()),
            (names::SPACE.into(), space.to_string()),
        ]);
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".into()),
            labels: Some(labels),
            ..Default::default()
        };
        self.call("create volume", name, START, |api| async move { api.create_volume(request).await }).await?;
        // Of two who make one at the same moment the engine gives both the same, whoever labelled it.
        self.has_volume(name).await.map(drop)
    }

    pub(super) async fn has_volume(&self, name: &str) -> Result<bool> {
        let found =
            self.call("look for volume", name, QUICK, |api| async move { api.inspect_volume(name).await }).await;
        match found {
            Err(EngineError::NotFound { .. }) => Ok(false),
            Err(other) => Err(other),
            Ok(volume) if volume.labels.get(names::PREFIX) == Some(&self.0.prefix) => Ok(true),
            Ok(_) => Err(faults::refused("use volume", name, "it exists and is not ours")),
        }
    }

    /// Makes the volumes of a container that was created and not started its user's to write to.
    pub(super) async fn give_volumes(&self, container: &str, mounts: &[Mount]) -> Result<()> {
        if mounts.is_empty() {
            return Ok(());
        }
        let user = self.inspect(container).await?.config.and_then(|config| config.user).unwrap_or_default();
        let Some((uid, gid)) = self.ids_of(container, &user).await?.filter(|(uid, _)| *uid != 0) else {
            return Ok(());
        };
        for mount in mounts {
            let path = mount.path.as_str();
            let top = self.top_of(container, path).await?;
            if top.is_some_and(|(owner, _)| owner == 0) {
                let mode = top.map_or(0o755, |(_, mode)| mode);
                self.give(container, path, (uid, gid), mode).await?;
            }
        }
        Ok(())
    }

    /// Owner and mode of the directory at `path`.
    async fn top_of(&self, container: &str, path: &str) -> Result<Option<(u64, u32)>> {
        let mut entries = self.read_archive(container, &format!("{path}/.")).await?;
        let first = tokio::time::timeout(QUICK, entries.next_entry()).await.map_err(|late| self.unreachable(late))?;
        let first = first.map_err(|source| EngineError::Refused {
            operation: "look at the owner of",
            subject: path.to_owned(),
            source: source.into(),
        })?;
        Ok(first.filter(|entry| entry.kind == Kind::Directory).map(|entry| (entry.uid, entry.mode)))
    }

    pub(super) async fn give(&self, container: &str, path: &str, owner: (u64, u64), mode: u32) -> Result<()> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { "/" } else { parent };
        let mut tar = Vec::new();
        tarball::append_owned(&mut tar, &format!("{name}/"), Kind::Directory, mode, owner);
        tarball::finish(&mut tar);
        let options = UploadToContainerOptionsBuilder::new().path(parent).no_overwrite_dir_non_dir("true").build();
        let body = bollard::body_full(Bytes::from(tar));
        self.call("give a volume to the user of", container, QUICK, |api| async move {
            api.upload_to_container(container, Some(options), body).await
        })
        .await
    }

    /// `user` as an image names it: `1000`, `1000:1000`, `node`, `node:node`; none is root. None: nobody of that name.
    async fn ids_of(&self, container: &str, user: &str) -> Result<Option<(u64, u64)>> {
        let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
        if name.is_empty() {
            return Ok(Some((0, 0)));
        }
        let known_group = group.and_then(|group| group.parse().ok());
        if let (Ok(uid), true) = (name.parse(), known_group.is_some() || group.is_none()) {
            return Ok(Some((uid, known_group.unwrap_or(uid))));
        }
        let mut entries = match self.read_archive(container, "/etc/passwd").await {
            Err(EngineError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let text = tokio::time::timeout(QUICK, async {
            match entries.next_entry().await {
                Ok(Some(entry)) if entry.size <= LONGEST_PASSWD => entries.whole().await.unwrap_or_default(),
                _ => Vec::new(),
            }
        });
        let text = text.await.map_err(|late| self.unreachable(late))?;
        let found = passwd(&String::from_utf8_lossy(&text), name);
        Ok(found.map(|(uid, gid)| (uid, known_group.unwrap_or(gid))))
    }

    pub(super) async fn read_archive(&self, container: &str, path: &str) -> Result<Reader> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut pieces = self.api()?.download_from_container(container, Some(options)).boxed();
        let first = self.call("read", path, QUICK, |_| pieces.try_next()).await?;
        let rest = pieces.map_err(std::io::Error::other);
        Ok(Reader::new(stream::iter(first.map(Ok)).chain(rest).boxed()))
    }

    pub(super) async fn list_volumes(&self) -> Result<Vec<VolumeId>> {
        let filters = HashMap::from([("label", vec![format!("{}={}", names::PREFIX, self.0.prefix)])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let found = self.call("list", "volumes", QUICK, |api| async move { api.list_volumes(Some(options)).await });
        let volumes = found.await?.volumes.unwrap_or_default();
        Ok(volumes.into_iter().filter_map(|v| v.labels.get(names::VOLUME)?.parse().ok()).collect())
    }

    pub(super) async fn discard_volume(&self, id: &VolumeId) -> Result<()> {
        let name = &names::volume(&self.0.prefix, id);
        if !self.has_volume(name).await? {
            return Ok(());
        }
        let gone = |api: bollard::Docker| async move {
            faults::gone_is_fine(api.remove_volume(name, None::<RemoveVolumeOptions>).await)
        };
        self.call("remove volume", name, START, gone).await
    }

    /// Bytes of each of our volumes.
    pub(super) async fn measure_volumes(&self) -> Result<BTreeMap<VolumeId, u64>> {
        // The engine measures once at a time: who comes meanwhile waits for the same numbers.
        let mut last = self.0.measured.lock().await;
        if let Some((at, sizes)) = last.as_ref().filter(|(at, _)| at.elapsed() < MEASURED) {
            tracing::debug!(age = ?at.elapsed(), "sizes of volumes are given from memory");
            return Ok(sizes.clone());
        }
        let asked = tokio::time::timeout(MEASURE, disk_usage::of_volumes(&self.0.socket));
        let found = asked.await.map_err(|late| self.unreachable(late))?.map_err(|fault| self.unreachable(fault))?;
        let start = names::volume_start(&self.0.prefix);
        let ours = |(name, bytes): (String, u64)| Some((name.strip_prefix(&start)?.parse().ok()?, bytes));
        let sizes: BTreeMap<VolumeId, u64> = found.into_iter().filter_map(ours).collect();
        *last = Some((Instant::now(), sizes.clone()));
        Ok(sizes)
    }

    pub(super) async fn remove_all_volumes(&self) -> Result<()> {
        for id in self.list_volumes().await? {
            self.discard_volume(&id).await?;
        }
        Ok(())
    }
}

/// User and group of a line of passwd(5).
fn passwd(text: &str, name: &str) -> Option<(u64, u64)> {
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (found, _, uid, gid) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (found == name).then_some(())?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name() {
        let text = "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1001::/home/node:/bin/sh\n\nbroken\n";
        assert_eq!(passwd(text, "node"), Some((1000, 1001)));
        assert_eq!(passwd(text, "nod"), None);
        assert_eq!(passwd(text, "broken"), None);
    }
}
