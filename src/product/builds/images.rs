//! Images that the platform prepares: the base, the base with what buildpacks need (`packages`), and the build images on
//! top of those. Each is made once per recipe and remembered in `<data>/base/<key>.json`; who asks meanwhile waits for it.

mod packages;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::descriptor::Target;
use super::export::{self, Refused};
use super::lines::clean;
use super::network::{self, Network};
use super::pack::{self, Buildpack, Ingredient};
use super::{BuildFailure, BuildLog, messages};
use crate::base::config;
use crate::base::model::{ImageDigest, Limits};
use crate::machinery::image::{
    AddedLayer, BlobStore, Digest, ImageSpec, Layer, LayerWriter, Recipe, assemble, bootstrap, docker_archive, inspect,
    pull,
};
use crate::machinery::runtime::{Engine, EngineError};

pub(super) use record::{Base, Record};

/// Packages of a base that is bootstrapped.
const BASE_PACKAGES: [&str; 2] = ["ca-certificates", "tzdata"];
pub(super) struct Images {
    engine: Arc<dyn Engine>,
    blobs: BlobStore,
    config: config::Build,
    pub(super) dir: PathBuf,
    network: Network,
    pub buildpacks: Vec<Buildpack>,
    /// Build images by what is in them.
    made: Mutex<HashMap<BTreeSet<Ingredient>, ImageDigest>>,
    /// How often a new base took the place of another.
    refreshed: AtomicU64,
    /// One lock per recipe, and per image that the engine is given or rid of.
    making: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Stacks of layers that the engine was seen to have: the hash of a layer and all below it.
    known: Mutex<HashSet<[u8; 32]>>,
    /// Images that somebody made sure of in the engine, and when last.
    given: Mutex<HashMap<ImageDigest, Instant>>,
}

impl Images {
    pub fn new(
        engine: Arc<dyn Engine>,
        blobs: BlobStore,
        config: &config::Build,
        dir: PathBuf,
        network: Network,
    ) -> Self {
        Self {
            engine,
            blobs,
            config: config.clone(),
            dir,
            network,
            buildpacks: pack::embedded(),
            made: Mutex::default(),
            refreshed: AtomicU64::default(),
            making: Mutex::default(),
            known: Mutex::default(),
            given: Mutex::default(),
        }
    }

    /// The image in which apps that need `ingredients` are built.
    pub async fn build_image(
        &self,
        ingredients: &BTreeSet<Ingredient>,
        log: &dyn BuildLog,
    ) -> Result<ImageDigest, BuildFailure> {
        let made = self.made().get(ingredients).cloned();
        match made {
            Some(image) => Ok(image),
            None => {
                let refreshed = self.refreshed.load(Ordering::SeqCst);
                let image = self.make_build_image(ingredients, log).await?;
                let is_newest = self.refreshed.load(Ordering::SeqCst) == refreshed;
                // One with buildpacks of an app's own is for that app only, and quick to make again.
                if is_newest && ingredients.iter().all(|ingredient| ingredient.brought().is_none()) {
                    self.made().insert(ingredients.clone(), image.clone());
                }
                Ok(image)
            }
        }
    }

    /// Whether `build_image` would be quick.
    pub fn is_prepared(&self, ingredients: &BTreeSet<Ingredient>) -> bool {
        let Some(base) = self.known_base() else { return false };
        let brought = ingredients.iter().filter_map(Ingredient::brought);
        if !brought.into_iter().all(|layer| self.blobs.has(&layer.digest)) {
            return false;
        }
        let ingredients = &without_brought(ingredients);
        ingredients.is_empty() || self.recall(&self.recipe(&base, ingredients)).is_some()
    }

    async fn make_build_image(
        &self,
        ingredients: &BTreeSet<Ingredient>,
        log: &dyn BuildLog,
    ) -> Result<ImageDigest, BuildFailure> {
        let base = self.with(&without_brought(ingredients), log).await?;
        let layer = self.buildpack_layer().await?;
        let brought = ingredients.iter().filter_map(Ingredient::brought);
        let brought = brought.map(|layer| AddedLayer { layer, created_by: "buildpacks of others".into() });
        let blobs = self.blobs.clone();
        let spec = ImageSpec {
            base: Some(base),
            layers: std::iter::once(AddedLayer { layer, created_by: "buildpacks".into() }).chain(brought).collect(),
            env: BTreeMap::from([("HOME".into(), "/home/app".into()), ("LANG".into(), "C.UTF-8".into())]),
            user: Some("1000:1000".into()),
            working_dir: Some("/workspace".into()),
            ..Default::default()
        };
        self.blocking("the build image", move || assemble(&blobs, &spec)).await
    }

    pub async fn base(&self, log: &dyn BuildLog) -> Result<Base, BuildFailure> {
        let key = self.base_key();
        let lock = self.lock(&key);
        let _making = lock.lock().await;
        if let Some(found) = self.known_base() {
            return Ok(found);
        }
        let image = self.fresh_base(log).await?;
        self.remember_base(image)
    }

    /// A base of what its source has now.
    async fn fresh_base(&self, log: &dyn BuildLog) -> Result<ImageDigest, BuildFailure> {
        let mirror = self.config.mirror.clone();
        if self.config.base == "debian" {
            log.line(&format!("-----> Preparing the base image (Debian {}; once, about 20 s)", self.config.suite));
            let include = BASE_PACKAGES.map(str::to_owned).to_vec();
            let recipe = Recipe { suite: self.config.suite.clone(), mirror, include };
            let layer = bootstrap(&self.blobs, &recipe)
                .await
                .map_err(|error| messages::platform("making the base image", &export::chain(&error)))?;
            let spec = ImageSpec {
                layers: vec![AddedLayer { layer, created_by: format!("Debian {}", recipe.suite) }],
                ..Default::default()
            };
            let blobs = self.blobs.clone();
            self.blocking("the base image", move || assemble(&blobs, &spec)).await
        } else {
            log.line(&format!("-----> Fetching the base image {} (once)", clean(self.config.base.as_bytes())));
            pull(&self.blobs, &self.config.base, None)
                .await
                .map_err(|error| messages::platform("fetching the base image", &export::chain(&error)))
        }
    }

    /// Makes sure that the engine has the image, sending it only the layers that it lacks.
    pub async fn load(&self, image: &ImageDigest) -> Result<(), BuildFailure> {
        let lock = self.lock(image.as_str());
        let _alone = lock.lock().await;
        if !self.engine.has_image(image).await.map_err(|e| messages::engine(&e))? {
            self.send(image).await?;
        }
        self.given().insert(image.clone(), Instant::now());
        Ok(())
    }

    /// As `load`, for an image that is known to be new.
    async fn send(&self, image: &ImageDigest) -> Result<(), BuildFailure> {
        let digest = image.clone();
        let blobs = self.blobs.clone();
        let facts = self.blocking("the image", move || inspect(&blobs, &digest)).await?;
        let stacks = stacks(&facts.layers);
        let without: HashSet<Digest> = {
            let known = self.known();
            facts
                .layers
                .iter()
                .zip(&stacks)
                .take_while(|(_, stack)| known.contains(*stack))
                .map(|(l, _)| l.digest)
                .collect()
        };
        let sent = self.send_without(image, &without).await;
        let sent = match sent {
            Err(EngineError::MissingLayers) if !without.is_empty() => {
                self.known().clear();
                self.send_without(image, &HashSet::new()).await
            }
            other => other,
        };
        sent.map_err(|error| messages::engine(&error))?;
        self.known().extend(stacks);
        self.given().insert(image.clone(), Instant::now());
        Ok(())
    }

    /// The engine is seen to have the image.
    pub fn note(&self, layers: &[Layer]) {
        self.known().extend(stacks(layers));
    }

    pub fn knows(&self, layers: &[Layer]) -> bool {
        let known = self.known();
        stacks(layers).iter().all(|stack| known.contains(stack))
    }

    async fn send_without(&self, image: &ImageDigest, without: &HashSet<Digest>) -> Result<(), EngineError> {
        let archive = {
            let (blobs, image, without) = (self.blobs.clone(), image.clone(), without.clone());
            let reference = self.engine.image_reference(&image);
            tokio::task::spawn_blocking(move || docker_archive(&blobs, &image, &reference, &without)).await
        };
        let refused = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Refused {
            operation: "load",
            subject: image.to_string(),
            source,
        };
        let archive = archive.map_err(|e| refused(e.into()))?.map_err(|e| refused(e.into()))?;
        self.engine.load(archive).await
    }

    async fn buildpack_layer(&self) -> Result<Layer, BuildFailure> {
        let blobs = self.blobs.clone();
        self.blocking("the build image", move || pack::layer(&blobs, &pack::embedded())).await
    }

    /// Puts this machine's bundle of certificate authorities into a new sandbox.
    pub async fn place_bundle(&self, sandbox: &str) -> Result<(), BuildFailure> {
        let Some(path) = self.network.bundle.clone() else { return Ok(()) };
        let blobs = self.blobs.clone();
        let layer = self.blocking("the bundle of certificate authorities", move || {
            let content = std::fs::read(&path).map_err(Refused::from)?;
            let mut writer = LayerWriter::new(&blobs);
            writer.file(network::BUNDLE, 0o644, (0, 0), &content)?;
            Ok::<_, Refused>(writer.finish()?)
        });
        let layer = layer.await?;
        self.put(sandbox, &layer.digest).await
    }

    /// Makes directories of a sandbox, there or not, the app's.
    pub async fn own(&self, sandbox: &str, directories: Vec<String>) -> Result<(), BuildFailure> {
        let blobs = self.blobs.clone();
        let layer = self.blocking("a build sandbox", move || {
            let mut writer = LayerWriter::new(&blobs);
            for path in &directories {
                writer.directory(path, 0o755, pack::OWNER)?;
            }
            writer.finish()
        });
        let layer = layer.await?;
        self.put(sandbox, &layer.digest).await
    }

    /// Unpacks a stored layer at the root of a sandbox.
    pub async fn put(&self, sandbox: &str, layer: &Digest) -> Result<(), BuildFailure> {
        let tar = export::stream(&self.blobs, layer)
            .map_err(|e| messages::platform("reading a layer", &export::chain(&e)))?;
        self.engine.put(sandbox, "/", tar).await.map_err(|error| messages::engine(&error))
    }

    /// What is built for: what the base image says of itself, else the suite.
    pub fn target(&self) -> Target {
        let mut here = Target::debian(&self.config.suite);
        if self.config.base == "debian" {
            return here;
        }
        let facts = self.known_base().and_then(|base| inspect(&self.blobs, &base.image).ok());
        let labels = facts.map(|facts| facts.labels).unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().filter(|value| !value.contains(char::is_whitespace));
        here.stack = label("io.buildpacks.stack.id").unwrap_or(here.stack);
        here.distro = label("io.buildpacks.base.distro.name").unwrap_or(here.distro);
        here.distro_version = label("io.buildpacks.base.distro.version").unwrap_or(here.distro_version);
        here
    }

    /// Variables for every command in a sandbox.
    pub fn variables(&self) -> BTreeMap<String, String> {
        self.network.variables.clone()
    }

    pub fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.config.memory_bytes,
            cpu_millis: self.config.cpu_millis,
            pids: self.config.processes,
            ..Limits::default()
        }
    }

    // --- memory -----------------------------------------------------------------------------------------------------

    fn recipe(&self, base: &Base, ingredients: &BTreeSet<Ingredient>) -> String {
        let words = ingredients.iter().map(|ingredient| match ingredient {
            Ingredient::Package(name) => name.clone(),
            Ingredient::Prepared(id) => {
                let content = self.buildpacks.iter().find(|b| b.id == *id).map(Buildpack::content_hash);
                format!("{id} {}", content.unwrap_or_default())
            }
            Ingredient::Brought { digest, .. } => digest.clone(),
        });
        let start = ["packages 3".to_owned(), base.image.to_string()].into_iter().chain(base.edition());
        let words: Vec<_> = start.chain(words).collect();
        key(&words)
    }

    /// What a buildpack prepares does not depend on what else an image has.
    fn prepared_key(&self, base: &Base, buildpack: &Buildpack) -> String {
        let words = ["prepared 1".to_owned(), base.image.to_string(), buildpack.id.clone(), buildpack.content_hash()];
        key(&words.into_iter().chain(buildpack.needs.build_packages.iter().cloned()).collect::<Vec<_>>())
    }

    pub(super) fn base_key(&self) -> String {
        if self.config.base == "debian" {
            let mirror = self.config.mirror.as_deref().unwrap_or("");
            key(&["debian", &self.config.suite, mirror, &BASE_PACKAGES.join(" ")])
        } else {
            key(&["image", &self.config.base])
        }
    }

    pub(super) fn made(&self) -> std::sync::MutexGuard<'_, HashMap<BTreeSet<Ingredient>, ImageDigest>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a recipe whose key starts so is being made now.
    pub(super) fn is_making(&self, start: &str) -> bool {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.iter().any(|(key, lock)| key.starts_with(start) && lock.try_lock().is_err())
    }

    pub(super) fn lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(making.entry(key.to_owned()).or_default())
    }

    pub(super) fn given(&self) -> std::sync::MutexGuard<'_, HashMap<ImageDigest, Instant>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn blocking<T, E>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, BuildFailure>
    where
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(messages::platform(what, &export::chain(&error))),
            Err(error) => Err(messages::platform(what, &error.to_string())),
        }
    }
}

fn without_brought(ingredients: &BTreeSet<Ingredient>) -> BTreeSet<Ingredient> {
    ingredients.iter().filter(|ingredient| ingredient.brought().is_none()).cloned().collect()
}

fn stacks(layers: &[Layer]) -> Vec<[u8; 32]> {
    let mut below = [0; 32];
    layers
        .iter()
        .map(|layer| {
            below = Sha256::new_with_prefix(below).chain_update(layer.digest.hex()).finalize().into();
            below
        })
        .collect()
}

fn key<T: AsRef<str>>(words: &[T]) -> String {
    let mut hasher = Sha256::new();
    for word in words {
        hasher.update(word.as_ref().as_bytes());
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}
