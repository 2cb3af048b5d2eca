//! What builds need of the blob store and of the engine, and build caches that go: with their app, by hand, or because
//! they have outgrown their bound. A cache goes only while no phase of a build of its app runs.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::cache::Cache;
use super::images::Record;
use super::{BuildFailure, export, messages};
use crate::base::model::{AppId, ImageDigest};
use crate::machinery::image::Digest;
use crate::machinery::runtime::EngineError;

/// A recipe of packages that no build has asked for in so long is forgotten.
const RECIPE_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Sandboxes in which packages are installed, by the start of their recipe's key.
const PACKAGES: &str = "packages-";
const BUILD: &str = "build-";

/// What builds need to begin where the last ones ended.
#[derive(Debug, Default)]
pub struct Reached {
    /// Layers of caches.
    pub blobs: HashSet<Digest>,
    /// Bases, build images, the last image of each app.
    pub images: HashSet<ImageDigest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheCleared {
    Done,
    /// A build of the app uses it now.
    Busy,
}

impl Builder {
    /// Blocks for some reads of files. Recipes that nobody asks for any more are forgotten.
    pub fn reached(&self) -> Reached {
        let mut reached = Reached::default();
        for app in Cache::apps(&self.caches) {
            let cache = Cache::load(&self.caches, &app);
            reached.blobs.extend(cache.blobs().map(|(digest, _)| digest));
            reached.images.extend(cache.image);
        }
        reached.images.extend(self.recipes());
        reached.images.extend(self.images.made().values().cloned());
        reached
    }

    /// Images that builds begin with, the platform's own.
    pub fn bases(&self) -> Vec<ImageDigest> {
        self.recipes().into_iter().chain(self.images.made().values().cloned()).collect()
    }

    fn recipes(&self) -> Vec<ImageDigest> {
        let base = format!("{}.json", self.images.base_key());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.images.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let unused = entry.metadata().and_then(|m| m.modified()).ok();
            let unused = unused.and_then(|at| super::export::file_time().duration_since(at).ok());
            if unused.is_some_and(|since| since > RECIPE_KEPT) && entry.file_name() != base.as_str() {
                forget(&path);
                continue;
            }
            let text = std::fs::read_to_string(&path).ok();
            let record = text.and_then(|text| serde_json::from_str::<Record>(&text).ok());
            found.extend(record.map(|record| record.image().clone()));
        }
        found
    }

    /// Removes an image from the engine, unless a container uses it or somebody asked for it after `since` (none: ever):
    /// who did may not have written so down yet. Whether it went.
    pub async fn drop_image(&self, image: &ImageDigest, since: Option<Instant>) -> Result<bool, EngineError> {
        let lock = self.images.lock(image.as_str());
        // Who asks meanwhile is told what is there after this.
        let _removing = lock.lock().await;
        let given = self.images.given().get(image).copied();
        if given.is_some_and(|at| since.is_none_or(|since| at >= since)) {
            return Ok(false);
        }
        let gone = self.engine.remove_image(image).await?;
        if gone {
            self.images.given().remove(image);
            // Which layers it still has is found out anew.
            self.images.known().clear();
        }
        Ok(gone)
    }

    /// Apps that have a cache or a sandbox, and sandboxes that an installation of packages left when it was killed. What a
    /// command of a Dockerfile left so goes at once, unless its build goes on.
    pub async fn leftovers(&self) -> Result<(HashSet<AppId>, Vec<String>), BuildFailure> {
        let mut apps: HashSet<AppId> = Cache::apps(&self.caches).into_iter().collect();
        apps.extend(self.engine.recipes().await.map_err(|error| messages::engine(&error))?);
        for app in self.engine.unfinished_recipes().await.map_err(|error| messages::engine(&error))? {
            let place = self.place(&app);
            if let Ok(_place) = place.try_lock() {
                self.engine.clear_recipe(&app, false).await.map_err(|error| messages::engine(&error))?;
            }
        }
        let mut packages = Vec::new();
        for name in self.engine.sandboxes().await.map_err(|error| messages::engine(&error))? {
            if let Some(app) = name.strip_prefix(BUILD).and_then(|id| id.parse().ok()) {
                apps.insert(app);
            } else if name.starts_with(PACKAGES) {
                packages.push(name);
            }
        }
        packages.retain(|name| !self.images.is_making(name.trim_start_matches(PACKAGES)));
        Ok((apps, packages))
    }

    pub async fn close_leftover(&self, sandbox: &str) -> Result<(), BuildFailure> {
        self.engine.close_sandbox(sandbox).await.map_err(|error| messages::engine(&error))
    }

    /// What its last build left in the store for its next one.
    pub fn cached(&self, app: &AppId) -> Vec<(Digest, u64)> {
        Cache::load(&self.caches, app).blobs().collect()
    }

    /// Bytes of each app's cache: its sandbox, layers that are for builds alone, and what its Dockerfile keeps between
    /// builds. It walks through the sandboxes.
    pub async fn cache_sizes(&self) -> Result<Vec<(AppId, u64)>, BuildFailure> {
        let sandboxes = self.engine.sandbox_sizes().await.map_err(|error| messages::engine(&error))?;
        let volumes = self.engine.recipe_cache_sizes().await.map_err(|error| messages::engine(&error))?;
        let mut apps: HashSet<AppId> = Cache::apps(&self.caches).into_iter().collect();
        apps.extend(volumes.keys().cloned());
        apps.extend(sandboxes.keys().filter_map(|name| name.strip_prefix(BUILD)?.parse().ok()));
        let size = |app: AppId| {
            let cache = Cache::load(&self.caches, &app);
            let layers: u64 = cache.layers.iter().filter(|l| !l.launch).filter_map(|l| Some(l.blob?.1)).sum();
            let sandbox = sandboxes.get(&format!("{BUILD}{app}")).copied().unwrap_or_default();
            let volumes = volumes.get(&app).copied().unwrap_or_default();
            (app, sandbox + layers + volumes)
        };
        Ok(apps.into_iter().map(size).collect())
    }

    /// Forgets the sandbox and the layers of earlier builds; the next one starts from nothing. `outgrew`: so many bytes
    /// were the reason, and the next build says so.
    pub async fn clear_cache(&self, app: &AppId, outgrew: Option<u64>) -> Result<CacheCleared, BuildFailure> {
        let place = self.place(app);
        let Ok(mut place) = place.try_lock() else { return Ok(CacheCleared::Busy) };
        place.remove(&*self.engine).await.map_err(|error| messages::engine(&error))?;
        self.engine.forget_recipe(app).await.map_err(|error| messages::engine(&error))?;
        match outgrew {
            Some(_) => Cache { dropped: outgrew, ..Cache::default() }.save(&self.caches, app),
            None => Cache::remove(&self.caches, app),
        }
        Ok(CacheCleared::Done)
    }
}

fn forget(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => tracing::info!(path = %path.display(), "a recipe that no build asks for any more was forgotten"),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %export::chain(&error), "an old recipe could not be forgotten");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::config::Build;
    use crate::machinery::image::{BlobStore, ImageSpec, assemble};
    use crate::machinery::runtime::fake::FakeEngine;

    /// A collection reads what is kept, a build ends with an image that the engine has of old, the collection goes on.
    #[tokio::test]
    async fn an_image_that_was_asked_for_since_the_horizon_stays() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(&dir.path().join("blobs")).unwrap();
        let image = assemble(&blobs, &ImageSpec::default()).unwrap();
        let engine = FakeEngine::new();
        let builder = Builder::new(Arc::new(engine.clone()), blobs, &Build::default(), dir.path());

        builder.load(&image).await.unwrap();
        let horizon = Some(Instant::now());
        builder.load(&image).await.unwrap();
        assert!(!builder.drop_image(&image, horizon).await.unwrap() && engine.images().contains(&image));
        assert!(!builder.drop_image(&image, None).await.unwrap(), "everything is young on a machine that just started");

        let horizon = Some(Instant::now());
        assert!(builder.drop_image(&image, horizon).await.unwrap() && engine.images().is_empty());
        builder.load(&image).await.unwrap();
        assert!(engine.images().contains(&image), "it is a copy");
    }
}
