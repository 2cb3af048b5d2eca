//! Who uses how much. It walks through directories and asks the engine to measure: for people who ask.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::blobs::parts;
use super::{Machine, Room};
use crate::base::access::{Actor, Scope};
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppId, EnvironmentId, ImageDigest, VolumeId};
use crate::machinery::image::{BlobStore, Digest};
use crate::product::{Ctx, images};
use crate::state::store;

/// Bytes. What several need is counted at none of them.
#[derive(Debug, Clone)]
pub struct AppUsage {
    pub app: App,
    pub repository: u64,
    /// Images of releases that are kept.
    pub images: u64,
    /// In those images and in nobody else's.
    pub images_own: u64,
    /// Also in the base, or in images of other apps.
    pub images_shared: u64,
    pub cache: u64,
    pub logs: u64,
    pub volumes: u64,
    /// To its repository.
    pub pushed: u64,
}

/// Bytes, but for numbers.
#[derive(Debug, Clone)]
pub struct PlatformUsage {
    pub room: Option<Room>,
    pub reserved: u64,
    /// Inodes.
    pub reserved_files: u64,
    pub repositories: u64,
    pub blobs: u64,
    pub blobs_number: u64,
    /// Blobs that no release and no cache of an app needs: bases, and what is yet to be removed.
    pub blobs_other: u64,
    pub logs: u64,
    /// The database, where it lies in the data directory.
    pub database: u64,
    /// Images in the engine, with each layer counted once.
    pub engine_images: u64,
    pub engine_images_number: u64,
    pub caches: u64,
    pub volumes: u64,
}

#[derive(Debug, Clone)]
pub struct Usage {
    /// By name; those that the caller sees.
    pub apps: Vec<AppUsage>,
    /// For who runs the platform.
    pub platform: Option<PlatformUsage>,
}

/// Blobs of the repository of each app.
type Pushed = HashMap<AppId, HashSet<Digest>>;

/// What each of the images is made of, once.
struct Layers {
    sizes: HashMap<Digest, u64>,
    parts: HashMap<ImageDigest, Vec<Digest>>,
}

impl Layers {
    fn sum<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> u64 {
        let each: HashSet<_> = digests.into_iter().collect();
        each.into_iter().filter_map(|digest| self.sizes.get(digest)).sum()
    }

    fn of(&self, image: &ImageDigest) -> &[Digest] {
        self.parts.get(image).map_or(&[], Vec::as_slice)
    }
}

pub async fn usage(ctx: &Ctx, actor: &Actor) -> Result<Usage> {
    actor.may_act()?;
    let machine = ctx.disk.machine()?;
    let mut tx = ctx.store.read().await?;
    let apps = store::apps::list(&mut tx, &actor.scope(), None, i64::MAX).await?;
    let mut environments: HashMap<AppId, Vec<EnvironmentId>> = HashMap::new();
    let mut volumes: HashMap<AppId, Vec<VolumeId>> = HashMap::new();
    for app in &apps {
        for environment in store::environments::of_app(&mut tx, &actor.scope(), &app.id).await? {
            let mounted = store::volumes::of_environment(&mut tx, &actor.scope(), &environment.id).await?;
            volumes.entry(app.id.clone()).or_default().extend(mounted.into_iter().map(|volume| volume.id));
            environments.entry(app.id.clone()).or_default().push(environment.id);
        }
    }
    let kept = store::releases::kept_images(&mut tx).await?;
    drop(tx);
    let pushed = images::kept(ctx).await?.into_iter();
    let pushed = pushed.filter_map(|(app, blob)| Some((app, blob.as_str().parse::<Digest>().ok()?)));
    let mut pushed_to = Pushed::new();
    for (app, blob) in pushed {
        pushed_to.entry(app).or_default().insert(blob);
    }

    let unasked = |error| Error::unavailable("the container engine could not be asked what it holds", error);
    let in_engine = machine.engine.images().await.map_err(unasked)?;
    let measured = machine.engine.volume_sizes().await.map_err(unasked)?;
    let caches = machine.builder.cache_sizes().await;
    let caches: BTreeMap<_, _> =
        caches.map_err(|failure| Error::unavailable(failure.reason.clone(), failure))?.into_iter().collect();
    let room = machine.room().await;

    let (machine, config) = (machine.clone(), ctx.config.clone());
    let sees_all = actor.scope() == Scope::Platform;
    let measure = move || -> Result<Usage> {
        let layers = look(&machine.blobs, kept.iter().map(|(_, image)| image).chain(&in_engine))?;
        let users = users(&machine, &layers, (&kept, &pushed_to), &caches);
        let of_app = |app: App| {
            let of_releases: Vec<_> = kept.iter().filter(|(id, _)| *id == app.id).map(|(_, image)| image).collect();
            let digests: HashSet<_> = of_releases.iter().flat_map(|image| layers.of(image)).collect();
            let (own, shared): (Vec<&Digest>, Vec<&Digest>) =
                digests.into_iter().partition(|digest| users.get(digest).is_none_or(|n| *n < 2));
            let of_environments = environments.get(&app.id).into_iter().flatten();
            let of_volumes = volumes.get(&app.id).into_iter().flatten();
            AppUsage {
                repository: tree(&machine.dir.join("repos").join(format!("{}.git", app.id))),
                images: of_releases.len() as u64,
                images_own: layers.sum(own),
                images_shared: layers.sum(shared),
                cache: caches.get(&app.id).copied().unwrap_or_default(),
                logs: of_environments.map(|id| tree(&machine.dir.join("app-logs").join(id.to_string()))).sum(),
                volumes: of_volumes.filter_map(|id| measured.get(id)).sum(),
                pushed: layers.sum(pushed_to.get(&app.id).into_iter().flatten()),
                app,
            }
        };
        let apps: Vec<_> = apps.into_iter().map(of_app).collect();
        let platform = sees_all.then(|| {
            let needed: HashSet<_> = users.keys().collect();
            let database = ["hythe.db", "hythe.db-wal", "hythe.db-shm"].map(|name| tree(&machine.dir.join(name)));
            PlatformUsage {
                room,
                reserved: config.disk.reserved_bytes,
                reserved_files: config.disk.reserved_files,
                repositories: tree(&machine.dir.join("repos")),
                blobs: layers.sizes.values().sum(),
                blobs_number: layers.sizes.len() as u64,
                blobs_other: layers.sizes.iter().filter(|(digest, _)| !needed.contains(digest)).map(|(_, n)| n).sum(),
                logs: tree(&machine.dir.join("app-logs")) + tree(&machine.dir.join("logs")),
                database: database.iter().sum(),
                engine_images: layers.sum(in_engine.iter().flat_map(|image| layers.of(image))),
                engine_images_number: in_engine.len() as u64,
                caches: caches.values().sum(),
                volumes: measured.values().sum(),
            }
        });
        Ok(Usage { apps, platform })
    };
    tokio::task::spawn_blocking(measure).await.map_err(Error::internal)?
}

fn look<'a>(blobs: &BlobStore, images: impl Iterator<Item = &'a ImageDigest>) -> Result<Layers> {
    let stored = blobs.list().map_err(Error::internal)?;
    let sizes = stored.into_iter().map(|blob| (blob.digest, blob.bytes)).collect();
    let each: HashSet<&ImageDigest> = images.collect();
    let parts = each.into_iter().map(|image| (image.clone(), parts(blobs, image))).collect();
    Ok(Layers { sizes, parts })
}

/// How many need each blob: apps by their releases, repositories and caches, and the bases as one more.
fn users(
    machine: &Machine,
    layers: &Layers,
    (kept, pushed): (&[(AppId, ImageDigest)], &Pushed),
    caches: &BTreeMap<AppId, u64>,
) -> HashMap<Digest, usize> {
    let mut by_app: HashMap<&AppId, HashSet<Digest>> = HashMap::new();
    for (app, image) in kept {
        by_app.entry(app).or_default().extend(layers.of(image));
    }
    for (app, blobs) in pushed {
        by_app.entry(app).or_default().extend(blobs);
    }
    for app in caches.keys() {
        by_app.entry(app).or_default().extend(machine.builder.cached(app).into_iter().map(|(digest, _)| digest));
    }
    let mut users = HashMap::new();
    by_app.values().flatten().for_each(|digest| *users.entry(*digest).or_default() += 1);
    let bases: HashSet<Digest> =
        machine.builder.bases().iter().flat_map(|image| parts(&machine.blobs, image)).collect();
    bases.iter().for_each(|digest| {
        users.entry(*digest).and_modify(|n| *n += 1);
    });
    users
}

/// Bytes that a file, or a directory with all below it, takes; what cannot be read counts as nothing.
fn tree(path: &Path) -> u64 {
    let mut sum = 0;
    let mut left: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        // st_blocks is in units of 512 bytes (stat(2)).
        sum += metadata.blocks() * 512;
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    sum
}
