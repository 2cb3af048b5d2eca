//! The verbs of this room: detect, build and image, and what keeps their sandboxes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::admission::{self, Admission, Turn};
use super::bounds::{Bounds, LOOK};
use super::cache::{Cache, KeptLayer};
use super::export::{self, Refused};
use super::images::Images;
use super::network::Network;
use super::pack::{self, Buildpack, Ingredient};
use super::place::{AWAKE, Place};
use super::plan::{self, Look, NoChoice};
use super::result::{self, FoundLayer, Outcome};
use super::session::Request;
use super::{
    BuildFailure, BuildLog, BuildRequest, Built, BuiltLayer, Detected, Imaged, Source, assembly, environment, lines,
    messages,
};
use crate::base::config;
use crate::base::model::{AppId, ImageDigest, OrganizationId, VariableName};
use crate::machinery::image::{BlobStore, ImageError, Layer, LayerRules, inspect};
use crate::machinery::runtime::Engine;

/// Label of a buildpack's launch.toml: packages that its image needs beside those that it always has.
const RUN_PACKAGES: &str = "io.hythe.run-packages";

type Shared = Arc<tokio::sync::Mutex<Place>>;

pub struct Builder {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) blobs: BlobStore,
    pub(super) images: Images,
    pub(super) caches: PathBuf,
    pub(super) bounds: Bounds,
    memory_bytes: i64,
    admission: Arc<Admission>,
    /// One app's phases never overlap.
    places: Mutex<HashMap<AppId, Shared>>,
    timers: TaskTracker,
}

struct Silent;

impl BuildLog for Silent {
    fn line(&self, text: &str) {
        tracing::info!("{}", text.trim_start_matches("-----> "));
    }
}

impl Builder {
    pub fn new(engine: Arc<dyn Engine>, blobs: BlobStore, config: &config::Build, data_dir: &Path) -> Self {
        let network = Network::new(config, |name| std::env::var(name).ok());
        let images = Images::new(Arc::clone(&engine), blobs.clone(), config, data_dir.join("base"), network);
        Self {
            engine,
            blobs,
            images,
            caches: data_dir.join("caches"),
            bounds: Bounds {
                seconds: config.timeout_seconds,
                processes: config.processes.unsigned_abs(),
                disk_bytes: config.disk_bytes,
                output_bytes: config.output_bytes,
                reserved_bytes: 0,
                look: LOOK,
            },
            memory_bytes: config.memory_bytes,
            admission: Arc::new(Admission::new(
                config.at_once.unwrap_or_else(admission::processors),
                config.memory_bytes.unsigned_abs(),
                admission::free_memory,
            )),
            places: Mutex::default(),
            timers: TaskTracker::new(),
        }
    }

    /// Builds end when half of what the machine shall keep free is gone.
    pub fn keeping_free(mut self, reserved_bytes: u64) -> Self {
        self.bounds.reserved_bytes = reserved_bytes;
        self
    }

    /// How many builds run at a time at most.
    pub fn at_once(&self) -> usize {
        self.admission.at_once()
    }

    /// Waits until a build of the app may run; `tell` hears lines for its log meanwhile. Hold it while `detect` or `build` runs.
    pub async fn enter(&self, app: &AppId, organization: &OrganizationId, mut tell: impl FnMut(&str) + Send) -> Turn {
        self.admission.enter(app, organization, |wait| tell(&messages::waiting(wait))).await
    }

    /// Makes the base image and the generic build image if they are not there, and gives them to the engine; slow once.
    pub async fn ready(&self) -> Result<(), BuildFailure> {
        let _pin = self.blobs.pin();
        let image = self.images.build_image(&BTreeSet::new(), &Silent).await?;
        self.images.load(&image).await
    }

    /// Best effort: wakes the app's sandbox while its source is still on the way.
    pub async fn warm(&self, app: &AppId) {
        let _pin = self.blobs.pin();
        let place = self.place(app);
        let Ok(mut place) = place.try_lock() else { return };
        let ingredients = Cache::load(&self.caches, app).build_ingredients;
        if !self.images.is_prepared(&ingredients) {
            return;
        }
        let opened = match self.images.build_image(&ingredients, &Silent).await {
            Ok(image) => place.open(&*self.engine, &self.images, &image).await,
            Err(failure) => Err(failure),
        };
        match opened {
            Ok(()) => self.sleep_later(app, place.uses),
            Err(failure) => {
                tracing::info!(app.id = %app, reason = failure.reason, "a build sandbox could not be warmed")
            }
        }
    }

    /// Puts the source into the app's sandbox and asks every buildpack whether it knows it.
    pub async fn detect(
        &self,
        request: &BuildRequest,
        source: Source,
        log: Arc<dyn BuildLog>,
    ) -> Result<Detected, BuildFailure> {
        let _pin = self.blobs.pin();
        let place = self.place(&request.app);
        let mut place = place.lock().await;
        if request.no_cache {
            place.close(&*self.engine).await;
            Cache::remove(&self.caches, &request.app);
        }
        let mut cache = Cache::load(&self.caches, &request.app);
        if let Some(bytes) = cache.dropped.take() {
            messages::cache_dropped(bytes).iter().for_each(|line| log.line(line));
            cache.save(&self.caches, &request.app);
        }
        let ingredients = cache.build_ingredients;
        let image = self.images.build_image(&ingredients, &*log).await?;
        place.open(&*self.engine, &self.images, &image).await?;
        let mark = uuid::Uuid::now_v7().simple().to_string();
        let looks = self.look(&mut place, request, source, &mark, &*log).await?;
        self.sleep_later(&request.app, place.uses);
        drop(place);
        let choice = plan::choose(&pack::ORDER, &looks).map_err(|fault| self.undetected(fault, &looks))?;

        let group: Vec<&Buildpack> =
            choice.group.iter().filter_map(|id| self.images.buildpacks.iter().find(|b| b.id == *id)).collect();
        let names: Vec<_> = group.iter().map(|b| b.name.as_str()).collect();
        log.line(&format!("-----> {} detected", names.join(", ")));
        let mut detected = Detected {
            group: choice.group.clone(),
            plans: choice.entries.iter().map(|(id, entries)| (id.clone(), plan::plan_text(entries))).collect(),
            build_ingredients: BTreeSet::new(),
            run_packages: BTreeSet::new(),
            mark,
        };
        for buildpack in group {
            detected.build_ingredients.extend(buildpack.ingredients());
            let entries = choice.entries.get(&buildpack.id).into_iter().flatten();
            let asked = entries.filter_map(|entry| buildpack.needs.plan.get(&entry.name));
            for needs in std::iter::once(&buildpack.needs).chain(asked) {
                let packages = |names: &[String]| names.iter().cloned().map(Ingredient::Package).collect::<Vec<_>>();
                detected.build_ingredients.extend(packages(&needs.build_packages));
                detected.run_packages.extend(packages(&needs.run_packages));
            }
        }
        Ok(detected)
    }

    /// Runs the buildpacks and puts what they made into the store. `source` is read only if the sandbox has lost it.
    pub async fn build(
        &self,
        request: &BuildRequest,
        detected: &Detected,
        source: Source,
        log: Arc<dyn BuildLog>,
    ) -> Result<Built, BuildFailure> {
        let _pin = self.blobs.pin();
        let image = self.images.build_image(&detected.build_ingredients, &*log).await?;
        let place = self.place(&request.app);
        let mut place = place.lock().await;
        let cache = Cache::load(&self.caches, &request.app);
        place.open(&*self.engine, &self.images, &image).await?;
        let mut source = Some(source);
        let (outcome, workspace) = loop {
            let restored = if place.fresh { self.restore(&place, detected, &cache).await? } else { Vec::new() };
            match self.run(&mut place, request, detected, &cache, &restored, &*log).await? {
                Some(done) => break done,
                None => {
                    let source = source.take().ok_or_else(messages::sandbox_lost)?;
                    self.look(&mut place, request, source, &detected.mark, &Silent).await?;
                }
            }
        };
        place.fresh = false;
        let kept = self.keep_layers(&place, &outcome, &cache).await?;
        let workspace = match workspace {
            Some(layer) => layer,
            None => self
                .fetch(&place, "/workspace", "workspace", "workspace")
                .await
                .map_err(|e| refused("the workspace", &e))?,
        };
        if outcome.processes.is_empty() {
            return Err(messages::no_process());
        }
        let build_ingredients = detected.build_ingredients.clone();
        Cache { build_ingredients, layers: kept.clone(), image: cache.image, dropped: None }
            .save(&self.caches, &request.app);
        self.sleep_later(&request.app, place.uses);
        drop(place);

        let launched = kept.iter().filter(|layer| layer.launch).filter_map(|layer| Some((layer, layer.blob?)));
        let mut layers: Vec<_> = launched
            .map(|(layer, (digest, bytes))| BuiltLayer { digest: digest.to_string(), bytes, path: layer.path() })
            .collect();
        layers.push(BuiltLayer {
            digest: workspace.digest.to_string(),
            bytes: workspace.size,
            path: "workspace".into(),
        });
        let mut run_packages = detected.run_packages.clone();
        run_packages.extend(self.requested_packages(detected, &outcome.labels).map(Ingredient::Package));
        Ok(Built {
            processes: outcome.processes,
            layers,
            environment: environment::launch_environment(outcome.layers.iter()),
            labels: outcome.labels,
            run_packages,
        })
    }

    /// Makes the image of a build and gives it to the engine. Needs the store only, not the sandbox.
    pub async fn image(
        &self,
        request: &BuildRequest,
        detected: &Detected,
        built: &Built,
        log: Arc<dyn BuildLog>,
    ) -> Result<Imaged, BuildFailure> {
        let _pin = self.blobs.pin();
        let base = self.images.with(&built.run_packages, &*log).await?;
        let before = Cache::load(&self.caches, &request.app).image;
        if let Some(before) = &before {
            self.note_known(before).await;
        }
        let (blobs, before_, detected, built) = (self.blobs.clone(), before.clone(), detected.clone(), built.clone());
        let imaged = tokio::task::spawn_blocking(move || {
            assembly::image(&blobs, base, before_.as_ref(), &detected, &built, &pack::embedded())
        });
        let imaged: Result<Imaged, Refused> =
            imaged.await.map_err(std::io::Error::other).map_err(Refused::from).flatten();
        let imaged = imaged.map_err(|error| refused("the image", &error))?;
        self.images.load(&imaged.image).await?;

        if before.as_ref() != Some(&imaged.image) {
            let place = self.place(&request.app);
            let _place = place.lock().await;
            let mut cache = Cache::load(&self.caches, &request.app);
            cache.image = Some(imaged.image.clone());
            cache.save(&self.caches, &request.app);
        }
        Ok(imaged)
    }

    /// Makes sure that the engine has the image.
    pub async fn load(&self, image: &ImageDigest) -> Result<(), BuildFailure> {
        let _pin = self.blobs.pin();
        self.images.load(image).await
    }

    /// Removes the sandbox and the caches of an app.
    pub async fn forget(&self, app: &AppId) -> Result<(), BuildFailure> {
        let place = self.place(app);
        let mut place = place.lock().await;
        place.remove(&*self.engine).await.map_err(|error| messages::engine(&error))?;
        self.engine.forget_recipe(app).await.map_err(|error| messages::engine(&error))?;
        Cache::remove(&self.caches, app);
        self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
        Ok(())
    }

    // --- phases in the sandbox --------------------------------------------------------------------------------------

    /// Puts the source in place and gives what each buildpack said of it, by id.
    async fn look(
        &self,
        place: &mut Place,
        request: &BuildRequest,
        source: Source,
        mark: &str,
        log: &dyn BuildLog,
    ) -> Result<BTreeMap<String, Look>, BuildFailure> {
        let mut fields = fields(request);
        fields.insert("source".into(), mark.to_owned());
        let paths: Vec<_> = self.images.buildpacks.iter().map(Buildpack::path).collect();
        fields.insert("buildpacks".into(), paths.join(" "));
        let asked = Request { phase: "detect", fields, source: Some(source) };
        let answer = place.request(&*self.engine, asked, &self.bounds, log, &mut no_workspace).await?;
        let mut looks: BTreeMap<String, Look> = BTreeMap::new();
        for (name, text) in result::words(&answer) {
            if name == "fault" {
                return Err(messages::not_unpacked());
            }
            let Some((directory, what)) = name.strip_prefix("detect/").and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Some(buildpack) = self.images.buildpacks.iter().find(|b| b.directory() == directory) else { continue };
            let look = looks.entry(buildpack.id.clone()).or_default();
            match what {
                "exit" => look.exit = text.trim().parse().unwrap_or(1),
                "plan" => look.plan = text,
                "log" => look.log = text,
                _ => {}
            }
        }
        Ok(looks)
    }

    /// One build; none if the source is not the one in the sandbox. With the workspace as a layer, if it was small enough
    /// to come with the answer.
    async fn run(
        &self,
        place: &mut Place,
        request: &BuildRequest,
        detected: &Detected,
        cache: &Cache,
        restored: &[&KeptLayer],
        log: &dyn BuildLog,
    ) -> Result<Option<(Outcome, Option<Layer>)>, BuildFailure> {
        let group: Vec<&Buildpack> =
            detected.group.iter().filter_map(|id| self.images.buildpacks.iter().find(|b| b.id == *id)).collect();
        let mut fields = fields(request);
        fields.insert("source".into(), detected.mark.clone());
        fields.insert("group".into(), group.iter().map(|b| b.path()).collect::<Vec<_>>().join(" "));
        let plans = group.iter().map(|b| (b.directory(), detected.plans.get(&b.id).cloned().unwrap_or_default()));
        fields.extend(plans.map(|(directory, plan)| (format!("plan.{directory}"), plan)));
        // Layers that are not kept for later builds are made anew (buildpack specification, "Layer types").
        let dropped: Vec<_> = cache.layers.iter().filter(|layer| !layer.cache).map(KeptLayer::path).collect();
        fields.insert("drop".into(), dropped.join(" "));
        fields.extend(restored.iter().map(|layer| (format!("restore.{}", layer.path()), layer.metadata.clone())));

        let mut writer: Option<JoinHandle<Result<Layer, ImageError>>> = None;
        let answer = {
            let mut sink = || {
                let (to, started) = export::start_layer(&self.blobs, layer_rules("workspace", "workspace"));
                writer = Some(started);
                to
            };
            let asked = Request { phase: "build", fields, source: None };
            place.request(&*self.engine, asked, &self.bounds, log, &mut sink).await?
        };
        let words = result::words(&answer);
        let word = |name: &str| words.iter().find(|(word, _)| word == name).map(|(_, text)| text.as_str());
        if word("fault").is_some() {
            return Ok(None);
        }
        if let Some(failed) = word("failed") {
            let (directory, exit) = failed.split_once(' ').unwrap_or((failed, "1"));
            let name = group.iter().find(|b| b.directory() == directory).map_or("buildpack", |b| b.name.as_str());
            let report = messages::Report::parse(word("failure").unwrap_or(""));
            let exit = exit.parse().unwrap_or(1);
            return Err(messages::buildpack_failed(name, exit, &report, self.memory_bytes));
        }
        let workspace = match writer {
            Some(writer) => Some(export::finish_layer(writer).await.map_err(|error| refused("the workspace", &error))?),
            None => None,
        };
        let directories: Vec<_> = group.iter().map(|b| b.directory()).collect();
        Ok(Some((result::read(&directories, &words)?, workspace)))
    }

    /// Puts the cached layers of the group back into a fresh sandbox; gives those that are there.
    async fn restore<'c>(
        &self,
        place: &Place,
        detected: &Detected,
        cache: &'c Cache,
    ) -> Result<Vec<&'c KeptLayer>, BuildFailure> {
        let mut restored = Vec::new();
        for layer in &cache.layers {
            let of_group = detected.group.iter().any(|id| id.replace('/', "_") == layer.buildpack);
            let Some((digest, _)) = layer.blob.filter(|(digest, _)| of_group && layer.cache && self.blobs.has(digest))
            else {
                continue;
            };
            self.images.put(place.sandbox(), &digest).await?;
            restored.push(layer);
        }
        // The directories above a layer came with it as the image has them; here the buildpacks must write into them.
        let above = detected.group.iter().map(|id| format!("layers/{}", id.replace('/', "_")));
        self.images.own(place.sandbox(), std::iter::once("layers".to_owned()).chain(above).collect()).await?;
        Ok(restored)
    }

    // --- layers -----------------------------------------------------------------------------------------------------

    /// What is remembered of each layer, with a blob for those that go into the image or come back into a fresh sandbox.
    /// Those whose content is as it was at their last export are not read.
    async fn keep_layers(
        &self,
        place: &Place,
        outcome: &Outcome,
        cache: &Cache,
    ) -> Result<Vec<KeptLayer>, BuildFailure> {
        let mut kept = Vec::new();
        for layer in outcome.layers.iter().filter(|layer| layer.launch || layer.build || layer.cache) {
            let before = cache.layer(&layer.path());
            let known = before.and_then(|before| before.blob).filter(|(digest, _)| self.blobs.has(digest));
            let is_as_before =
                layer.fingerprint.is_some() && before.is_some_and(|b| b.fingerprint == layer.fingerprint);
            let blob = match known {
                // A layer for launch without content is the one of the last image (buildpack specification).
                known if layer.launch && !layer.has_directory => known,
                Some(known) if layer.launch && is_as_before => Some(known),
                _ if layer.launch => Some(self.fetch_layer(place, layer).await?),
                // No fingerprint is made of it: it is taken to change only together with what it says of itself.
                Some(known) if before.is_some_and(|before| before.metadata == layer.metadata) => Some(known),
                // That build was slow anyway. Without the blob, a build in a fresh sandbox is slower.
                _ if layer.cache && layer.has_directory => self.fetch_layer(place, layer).await.ok(),
                _ => None,
            };
            kept.push(KeptLayer {
                buildpack: layer.buildpack.clone(),
                name: layer.name.clone(),
                launch: layer.launch,
                cache: layer.cache,
                metadata: layer.metadata.clone(),
                fingerprint: layer.fingerprint.clone(),
                blob,
            });
        }
        Ok(kept)
    }

    async fn fetch_layer(
        &self,
        place: &Place,
        layer: &FoundLayer,
    ) -> Result<(crate::machinery::image::Digest, u64), BuildFailure> {
        let path = format!("layers/{}", layer.path());
        let fetched = self.fetch(place, &format!("/{path}"), &layer.name, &path).await;
        let fetched = fetched.map_err(|error| refused(&format!("the layer {}", layer.path()), &error))?;
        Ok((fetched.digest, fetched.size))
    }

    async fn fetch(&self, place: &Place, path: &str, strip: &str, prefix: &str) -> Result<Layer, Refused> {
        let tar = self.engine.get(place.sandbox(), path).await.map_err(std::io::Error::other)?;
        export::layer(&self.blobs, tar, layer_rules(strip, prefix)).await
    }

    fn requested_packages<'a>(
        &'a self,
        detected: &'a Detected,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = String> + 'a {
        let asked = labels.get(RUN_PACKAGES).map_or("", String::as_str).split_whitespace();
        asked.map(str::to_owned).filter(move |package| {
            let group = self.images.buildpacks.iter().filter(|b| detected.group.contains(&b.id));
            group.flat_map(|b| &b.needs.run_packages_on_request).any(|allowed| allowed == package)
        })
    }

    // --- the rest ---------------------------------------------------------------------------------------------------

    /// After a restart of this process, the app's last image tells which layers the engine has.
    async fn note_known(&self, image: &ImageDigest) {
        let (blobs, digest) = (self.blobs.clone(), image.clone());
        if let Ok(Ok(facts)) = tokio::task::spawn_blocking(move || inspect(&blobs, &digest)).await
            && !self.images.knows(&facts.layers)
            && matches!(self.engine.has_image(image).await, Ok(true))
        {
            self.images.note(&facts.layers);
        }
    }

    fn undetected(&self, fault: NoChoice, looks: &BTreeMap<String, Look>) -> BuildFailure {
        let name =
            |id: &str| self.images.buildpacks.iter().find(|b| b.id == id).map_or(id.to_owned(), |b| b.name.clone());
        match fault {
            NoChoice::Unknown => {
                let mut order: Vec<&str> = Vec::new();
                for (id, _) in pack::ORDER.iter().copied().flatten() {
                    if !order.contains(id) {
                        order.push(id);
                    }
                }
                messages::unknown_tree(&self.images.buildpacks, &order)
            }
            NoChoice::Errored { id, exit } => {
                let log = looks.get(&id).map_or("", |look| look.log.as_str());
                let said: Vec<_> = log.lines().map(|line| lines::clean(line.as_bytes())).collect();
                messages::detect_errored(&name(&id), exit, &said)
            }
            NoChoice::Unmet { id, cause } => messages::unmet(&name(&id), &cause),
        }
    }

    pub(super) fn place(&self, app: &AppId) -> Shared {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(tokio::sync::Mutex::new(Place::new(app)));
        Arc::clone(places.entry(app.clone()).or_insert_with(fresh))
    }

    /// Freezes the sandbox when this use of it is still the last one after a while.
    fn sleep_later(&self, app: &AppId, uses: u64) {
        let place = self.place(app);
        let engine = Arc::clone(&self.engine);
        self.timers.spawn(async move {
            tokio::time::sleep(AWAKE).await;
            let mut place = place.lock().await;
            if place.uses == uses {
                place.sleep(&*engine).await;
            }
        });
    }
}

fn layer_rules(strip_prefix: &str, prefix: &str) -> LayerRules {
    LayerRules { strip_prefix: strip_prefix.to_owned(), prefix: prefix.to_owned(), ..Default::default() }
}

fn no_workspace() -> tokio::sync::mpsc::Sender<std::io::Result<bytes::Bytes>> {
    tokio::sync::mpsc::channel(1).0
}

fn refused(what: &str, error: &Refused) -> BuildFailure {
    if error.is_disk_full() { messages::disk_full() } else { messages::export_refused(what, &export::chain(error)) }
}

/// What every phase gets: the app's variables and the commit.
fn fields(request: &BuildRequest) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::from([("commit".to_owned(), request.commit.clone())]);
    for (name, value) in &request.variables {
        if name.parse::<VariableName>().is_ok() {
            fields.insert(format!("env.{name}"), value.reveal().clone());
        }
    }
    fields
}
