//! Images that the platform prepares: the base, the base with the Debian packages that buildpacks need, and the build
//! images on top of those. Each is made once per recipe and remembered in `<data>/base/<key>.json`; who asks meanwhile
//! waits for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use sha2::{Digest as _, Sha256};

use super::export::{self, Refused};
use super::lines::clean;
use super::network::{self, Network};
use super::pack::{self, Buildpack, Ingredient};
use super::{BuildFailure, BuildLog, messages};
use crate::base::config;
use crate::base::model::{ImageDigest, Limits};
use crate::machinery::image::{
    AddedLayer, BlobStore, Digest, ImageSpec, Layer, LayerRules, LayerWriter, Owner, Recipe, assemble, bootstrap,
    docker_archive, inspect, pull,
};
use crate::machinery::runtime::{Channel, Engine, EngineError, ExecSpec, Privileges, SandboxSpec};

/// Packages of a base that is bootstrapped.
const BASE_PACKAGES: [&str; 2] = ["ca-certificates", "tzdata"];
/// Below the root of an image with packages: what only a package manager needs, and documentation.
const LEFT_OUT: [&str; 17] = [
    "cnb",
    "layers",
    "platform",
    "workspace",
    "home",
    "etc/hythe",
    "tmp",
    "var/tmp",
    "var/cache",
    "var/log",
    "var/lib/apt/lists",
    "var/lib/dpkg/status-old",
    "run",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "root",
];
/// The packages of the base: what an image has in any case, so that layers of packages need not bring it.
const STATUS_OF_BASE: &str = "/var/lib/dpkg/status-base";
/// Lines of a package manager that are kept as evidence.
const TAIL: usize = 15;

pub(super) struct Images {
    engine: Arc<dyn Engine>,
    blobs: BlobStore,
    config: config::Build,
    pub(super) dir: PathBuf,
    network: Network,
    pub buildpacks: Vec<Buildpack>,
    /// Build images by what is in them.
    made: Mutex<HashMap<BTreeSet<Ingredient>, ImageDigest>>,
    /// One lock per recipe.
    making: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Stacks of layers that the engine was seen to have: the hash of a layer and all below it.
    known: Mutex<HashSet<[u8; 32]>>,
    /// Images that the engine was given or seen to have, and when.
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
                let image = self.make_build_image(ingredients, log).await?;
                self.made().insert(ingredients.clone(), image.clone());
                Ok(image)
            }
        }
    }

    /// Whether `build_image` would be quick.
    pub fn is_prepared(&self, ingredients: &BTreeSet<Ingredient>) -> bool {
        let Some(base) = self.recall(&self.base_key()) else { return false };
        ingredients.is_empty() || self.recall(&self.recipe(&base, ingredients)).is_some()
    }

    async fn make_build_image(
        &self,
        ingredients: &BTreeSet<Ingredient>,
        log: &dyn BuildLog,
    ) -> Result<ImageDigest, BuildFailure> {
        let base = self.with(ingredients, log).await?;
        let layer = self.buildpack_layer().await?;
        let blobs = self.blobs.clone();
        let spec = ImageSpec {
            base: Some(base),
            layers: vec![AddedLayer { layer, created_by: "buildpacks".into() }],
            env: BTreeMap::from([("HOME".into(), "/home/app".into()), ("LANG".into(), "C.UTF-8".into())]),
            user: Some("1000:1000".into()),
            working_dir: Some("/workspace".into()),
            ..Default::default()
        };
        self.blocking("the build image", move || assemble(&blobs, &spec)).await
    }

    /// The base with `ingredients`: also the image under an app.
    pub async fn with(
        &self,
        ingredients: &BTreeSet<Ingredient>,
        log: &dyn BuildLog,
    ) -> Result<ImageDigest, BuildFailure> {
        let base = self.base(log).await?;
        if ingredients.is_empty() {
            return Ok(base);
        }
        let names = self.names(ingredients);
        let key = self.recipe(&base, ingredients);
        let lock = self.lock(&key);
        let _making = lock.lock().await;
        if let Some(found) = self.recall(&key) {
            return Ok(found);
        }
        log.line(&format!("-----> Preparing the image with {} (once)", names.join(", ")));
        let layer = self.install(&base, &key, ingredients).await?;
        let spec = ImageSpec {
            base: Some(base),
            layers: vec![AddedLayer { layer, created_by: format!("packages {}", names.join(" ")) }],
            ..Default::default()
        };
        let blobs = self.blobs.clone();
        let image = self.blocking("the image with packages", move || assemble(&blobs, &spec)).await?;
        self.remember(&key, &image)?;
        Ok(image)
    }

    pub async fn base(&self, log: &dyn BuildLog) -> Result<ImageDigest, BuildFailure> {
        let bootstrapped = self.config.base == "debian";
        let mirror = self.config.mirror.clone();
        let key = self.base_key();
        let lock = self.lock(&key);
        let _making = lock.lock().await;
        if let Some(found) = self.recall(&key) {
            return Ok(found);
        }
        let image = if bootstrapped {
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
            self.blocking("the base image", move || assemble(&blobs, &spec)).await?
        } else {
            log.line(&format!("-----> Fetching the base image {} (once)", clean(self.config.base.as_bytes())));
            pull(&self.blobs, &self.config.base, None)
                .await
                .map_err(|error| messages::platform("fetching the base image", &export::chain(&error)))?
        };
        self.remember(&key, &image)?;
        Ok(image)
    }

    /// Makes sure that the engine has the image, sending it only the layers that it lacks.
    pub async fn load(&self, image: &ImageDigest) -> Result<(), BuildFailure> {
        if !self.engine.has_image(image).await.map_err(|e| messages::engine(&e))? {
            self.send(image).await?;
        }
        self.given().insert(image.clone(), Instant::now());
        Ok(())
    }

    /// As `load`, for an image that is known to be new.
    pub async fn send(&self, image: &ImageDigest) -> Result<(), BuildFailure> {
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

    /// Variables for every command in a sandbox.
    pub fn variables(&self) -> BTreeMap<String, String> {
        self.network.variables.clone()
    }

    pub fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.config.memory_bytes,
            cpu_millis: self.config.cpu_millis,
            pids: 4096,
            ..Limits::default()
        }
    }

    /// For people: what an image is prepared with.
    fn names(&self, ingredients: &BTreeSet<Ingredient>) -> Vec<String> {
        let name = |ingredient: &Ingredient| match ingredient {
            Ingredient::Package(name) => name.clone(),
            Ingredient::Prepared(id) => {
                let buildpack = self.buildpacks.iter().find(|b| b.id == *id);
                buildpack.map_or_else(|| id.clone(), |b| b.name.clone())
            }
        };
        ingredients.iter().map(name).collect()
    }

    // --- packages ---------------------------------------------------------------------------------------------------

    async fn install(
        &self,
        base: &ImageDigest,
        key: &str,
        ingredients: &BTreeSet<Ingredient>,
    ) -> Result<Layer, BuildFailure> {
        self.load(base).await?;
        let sandbox = format!("packages-{}", &key[..12]);
        let spec = SandboxSpec {
            name: sandbox.clone(),
            image: base.clone(),
            limits: self.limits(),
            variables: BTreeMap::new(),
            privileges: Privileges::Packages,
        };
        let engine = |error: EngineError| messages::engine(&error);
        // What an interrupted attempt left is of no use.
        self.engine.close_sandbox(&sandbox).await.map_err(engine)?;
        self.engine.open_sandbox(&spec).await.map_err(engine)?;
        let installed = self.install_in(&sandbox, ingredients).await;
        let closed = self.engine.close_sandbox(&sandbox).await.map_err(engine);
        let layer = installed?;
        closed?;
        Ok(layer)
    }

    async fn install_in(&self, sandbox: &str, ingredients: &BTreeSet<Ingredient>) -> Result<Layer, BuildFailure> {
        self.place_bundle(sandbox).await?;
        let packages: Vec<_> = ingredients.iter().filter_map(Ingredient::package).collect();
        let aside = ["cp", "/var/lib/dpkg/status", STATUS_OF_BASE];
        let update = ["apt-get", "-q", "-o", "Acquire::Retries=2", "update"];
        let install = [
            "apt-get",
            "-q",
            "-y",
            "--no-install-recommends",
            "-o",
            "Dpkg::Options::=--force-unsafe-io",
            "-o",
            "Acquire::Retries=2",
            "install",
            "--",
        ];
        let mut commands = vec![aside.to_vec()];
        if !packages.is_empty() {
            commands.extend([update.to_vec(), [install.as_slice(), &packages].concat()]);
        }
        for command in commands {
            let ran = self.run(sandbox, &command, BTreeMap::new()).await;
            let (exit, tail) = ran.map_err(|error| messages::engine(&error))?;
            if exit != 0 {
                return Err(messages::packages_failed(&packages.join(", "), exit, &tail));
            }
        }
        for ingredient in ingredients {
            if let Ingredient::Prepared(id) = ingredient
                && let Some(buildpack) = self.buildpacks.iter().find(|b| b.id == *id)
            {
                self.prepare(sandbox, buildpack).await?;
            }
        }
        let changes = self.engine.changes(sandbox).await.map_err(|error| messages::engine(&error))?;
        let rules = LayerRules {
            owner: Owner::Kept,
            whiteouts: true,
            exclude: LEFT_OUT.map(str::to_owned).to_vec(),
            ..Default::default()
        };
        export::layer(&self.blobs, changes, rules)
            .await
            .map_err(|error| messages::platform("storing packages", &export::chain(&error)))
    }

    async fn prepare(&self, sandbox: &str, buildpack: &Buildpack) -> Result<(), BuildFailure> {
        let layer = self.buildpack_layer().await?;
        self.put(sandbox, &layer.digest).await?;
        let at = format!("/cnb/buildpacks/{}", buildpack.path());
        let variables = BTreeMap::from([("CNB_BUILDPACK_DIR".to_owned(), at.clone())]);
        let ran = self.run(sandbox, &[&format!("{at}/bin/prepare")], variables).await;
        let (exit, tail) = ran.map_err(|error| messages::engine(&error))?;
        if exit == 0 { Ok(()) } else { Err(messages::packages_failed(&buildpack.name, exit, &tail)) }
    }

    async fn buildpack_layer(&self) -> Result<Layer, BuildFailure> {
        let blobs = self.blobs.clone();
        self.blocking("the build image", move || pack::layer(&blobs, &pack::embedded())).await
    }

    /// Exit code and the last lines.
    async fn run(
        &self,
        sandbox: &str,
        command: &[&str],
        mut variables: BTreeMap<String, String>,
    ) -> Result<(i64, Vec<String>), EngineError> {
        variables.extend(self.variables());
        variables.insert("DEBIAN_FRONTEND".into(), "noninteractive".into());
        variables.insert("LC_ALL".into(), "C.UTF-8".into());
        let spec = ExecSpec {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            user: Some("0:0".into()),
            working_dir: Some("/".into()),
            variables,
            stdin: None,
        };
        let mut exec = self.engine.exec(sandbox, spec).await?;
        let mut said = Vec::new();
        while let Some(part) = exec.output.next().await {
            let (Channel::Out | Channel::Err, bytes) = part?;
            said.extend_from_slice(&bytes);
            let surplus = said.len().saturating_sub(16 << 10);
            said.drain(..surplus);
        }
        let exit = exec.exit.await?;
        let lines: Vec<_> = said.split(|&b| b == b'\n').map(clean).filter(|line| !line.is_empty()).collect();
        Ok((exit, lines[lines.len().saturating_sub(TAIL)..].to_vec()))
    }

    // --- memory -----------------------------------------------------------------------------------------------------

    fn recipe(&self, base: &ImageDigest, ingredients: &BTreeSet<Ingredient>) -> String {
        let words = ingredients.iter().map(|ingredient| match ingredient {
            Ingredient::Package(name) => name.clone(),
            Ingredient::Prepared(id) => {
                let content = self.buildpacks.iter().find(|b| b.id == *id).map(Buildpack::content_hash);
                format!("{id} {}", content.unwrap_or_default())
            }
        });
        let words: Vec<_> = ["packages 2".to_owned(), base.to_string()].into_iter().chain(words).collect();
        key(&words.iter().map(String::as_str).collect::<Vec<_>>())
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

    fn lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(making.entry(key.to_owned()).or_default())
    }

    pub(super) fn given(&self) -> std::sync::MutexGuard<'_, HashMap<ImageDigest, Instant>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image of a recipe, if all of it is still in the store.
    fn recall(&self, key: &str) -> Option<ImageDigest> {
        let path = self.dir.join(format!("{key}.json"));
        let image: ImageDigest = serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()?;
        let facts = inspect(&self.blobs, &image).ok()?;
        let whole = facts.layers.iter().all(|layer| self.blobs.has(&layer.digest));
        // Its time is its last use.
        let noted = std::fs::File::open(&path).and_then(|file| file.set_modified(export::file_time()));
        if let Err(error) = noted {
            tracing::debug!(path = %path.display(), %error, "the use of a recipe could not be noted");
        }
        whole.then_some(image)
    }

    fn remember(&self, key: &str, image: &ImageDigest) -> Result<(), BuildFailure> {
        let text = serde_json::to_string(image).expect("a digest is a JSON text");
        export::write_file(&self.dir.join(format!("{key}.json")), text.as_bytes())
            .map_err(|error| messages::platform("storing a recipe", &error.to_string()))
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

fn key(words: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for word in words {
        hasher.update(word.as_bytes());
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}
