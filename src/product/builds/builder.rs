//! The verbs of this room: detect, build and image, and what keeps their sandboxes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::admission::{self, Admission, Turn};
use super::boms::{self, Boms};
use super::bounds::{Bounds, LOOK};
use super::cache::{Cache, KeptLayer};
use super::export::{self, Refused};
use super::images::Images;
use super::last::{self, Last};
use super::mask::Hidden;
use super::members::{self, Part, Pool};
use super::network::Network;
use super::order::{self, Slot};
use super::pack::{self, Ingredient};
use super::phases::Outcome;
use super::place::{AWAKE, Deadline, Place};
use super::plan::{self, Choice, Look, NoChoice};
use super::{
    BuildFailure, BuildLog, BuildRequest, Built, BuiltLayer, Detected, Imaged, Source, assembly, environment, launch,
    launcher, lines, messages, remains, sbom,
};
use crate::base::config;
use crate::base::model::{AppId, ImageDigest, OrganizationId, Processes};
use crate::machinery::image::{Batch, BlobStore, ImageError, Layer, LayerRules, inspect};
use crate::machinery::outbound::Guard;
use crate::machinery::runtime::Engine;

/// Label of a buildpack's launch.toml: packages that its image needs beside those that it always has.
const RUN_PACKAGES: &str = "io.hythe.run-packages";

type Shared = Arc<tokio::sync::Mutex<Place>>;

pub struct Builder {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) blobs: BlobStore,
    pub(super) images: Images,
    pub(super) caches: PathBuf,
    /// What buildpacks of others are fetched to.
    pub(super) scratch: PathBuf,
    pub(super) bounds: Bounds,
    pub(super) memory_bytes: i64,
    admission: Arc<Admission>,
    /// What buildpacks may be fetched from.
    pub(super) guard: Guard,
    /// One app's phases never overlap.
    places: Mutex<HashMap<AppId, Shared>>,
    timers: TaskTracker,
}

pub(super) struct Silent;

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
            scratch: data_dir.join("fetched"),
            guard: Guard::default(),
            bounds: Bounds {
                seconds: config.timeout_seconds,
                processes: config.processes.unsigned_abs(),
                disk_bytes: config.disk_bytes,
                disk_files: config.disk_files,
                output_bytes: config.output_bytes,
                reserved_bytes: 0,
                reserved_files: 0,
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
    pub fn keeping_free(mut self, reserved_bytes: u64, reserved_files: u64) -> Self {
        self.bounds.reserved_bytes = reserved_bytes;
        self.bounds.reserved_files = reserved_files;
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

    /// Buildpacks are fetched from where `guard` lets one connect to; without this, from the public internet only.
    #[must_use]
    pub fn reaching(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Makes the base image and the generic build image if they are not there, and gives them to the engine; slow once.
    pub async fn ready(&self) -> Result<(), BuildFailure> {
        let _pin = self.blobs.pin();
        // Whatever a fetch that was killed left is nobody's.
        if let Err(error) = tokio::fs::remove_dir_all(&self.scratch).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.scratch.display(), %error, "what an earlier fetch left could not be removed");
        }
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
        if let Some(last) = self.unchanged(&place, request, &*log).await? {
            messages::unchanged(&request.app_name).iter().for_each(|line| log.line(line));
            return Ok(last.detected.clone());
        }
        let mut cache = Cache::load(&self.caches, &request.app);
        if let Some(bytes) = cache.dropped.take() {
            messages::cache_dropped(bytes).iter().for_each(|line| log.line(line));
            cache.save(&self.caches, &request.app);
        }
        let chosen = !request.wishes.buildpacks.is_empty();
        let (pool, groups) = match chosen {
            true => self.chosen_groups(request, &source, &cache, &*log).await?,
            false => (Pool::embedded(&self.images.buildpacks), members::own_groups(&self.images.buildpacks)),
        };
        let mut ingredients: BTreeSet<_> =
            cache.build_ingredients.into_iter().filter(|ingredient| ingredient.brought().is_none()).collect();
        ingredients.extend(pool.ingredients.iter().cloned());
        let image = self.images.build_image(&ingredients, &*log).await?;
        place.open(&*self.engine, &self.images, &image).await?;
        let mark = uuid::Uuid::now_v7().simple().to_string();
        let asked: BTreeSet<&str> = groups.iter().flatten().map(|slot| slot.key.as_str()).collect();
        let asked: Vec<Part> = asked.into_iter().filter_map(|key| pool.part(key)).collect();
        let (source, names_commit) = last::watched(source);
        let looks = self.look(&mut place, request, &asked, source, &mark, &*log).await?;
        self.sleep_later(&request.app, place.uses);
        drop(place);
        let choice = plan::choose(&groups, &looks, !chosen).map_err(|fault| {
            Hidden::of_variables(&request.variables).failure(self.undetected(fault, &looks, &asked, chosen))
        })?;

        let members: Vec<Part> = choice.group.iter().filter_map(|key| pool.part(key)).collect();
        let by = |part: &Part| looks.get(&part.path()).and_then(|look| look.by.clone());
        let known: Vec<_> = members.iter().map(|part| (part.name.as_str(), by(part))).collect();
        log.line(&messages::detected(&known));
        let names_commit = names_commit.load(std::sync::atomic::Ordering::SeqCst);
        Ok(Detected { names_commit, ..self.detected(choice, members, &pool, mark) })
    }

    /// What the chosen buildpacks come to, with the Procfile's at the end: it is this platform's contract.
    async fn chosen_groups(
        &self,
        request: &BuildRequest,
        source: &Source,
        cache: &Cache,
        log: &dyn BuildLog,
    ) -> Result<(Pool, Vec<Vec<Slot>>), BuildFailure> {
        let (pool, mut group) = self.acquire(request, source, cache, log).await?;
        group.push(order::procfile());
        let groups = order::expand(&group, &|member| pool.find(member));
        let known = || pool.ids().into_iter().collect::<Vec<_>>().join(", ");
        let groups = groups.map_err(|fault| messages::order_invalid(&fault, &known()))?;
        Ok((pool, groups))
    }

    fn detected(&self, choice: Choice, members: Vec<Part>, pool: &Pool, mark: String) -> Detected {
        let mut detected = Detected {
            group: members.iter().map(|part| part.id.clone()).collect(),
            plan: choice.plan,
            build_ingredients: pool.ingredients.clone(),
            run_packages: BTreeSet::new(),
            mark,
            names_commit: false,
            members,
        };
        for part in detected.members.iter().filter(|part| !part.foreign) {
            let Some(buildpack) = self.images.buildpacks.iter().find(|b| b.id == part.id) else { continue };
            detected.build_ingredients.extend(buildpack.ingredients());
            let path = part.path();
            let entries = plan::entries_of(&detected.plan, &path);
            let asked = entries.filter_map(|entry| buildpack.needs.plan.get(&entry.name));
            for needs in std::iter::once(&buildpack.needs).chain(asked) {
                let packages = |names: &[String]| names.iter().cloned().map(Ingredient::Package).collect::<Vec<_>>();
                detected.build_ingredients.extend(packages(&needs.build_packages));
                detected.run_packages.extend(packages(&needs.run_packages));
            }
        }
        detected
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
        let detected = &self.with_members(detected);
        let image = self.images.build_image(&detected.build_ingredients, &*log).await?;
        let place = self.place(&request.app);
        let mut place = place.lock().await;
        if let Some(last) = self.unchanged(&place, request, &*log).await? {
            return Ok(last.built.clone());
        }
        let cache = Cache::load(&self.caches, &request.app);
        place.open(&*self.engine, &self.images, &image).await?;
        let group: Vec<_> = detected.members.iter().map(Part::directory).collect();
        let deadline = self.deadline();
        let remains = self.begun(&mut place, request, detected, &image, source, &deadline).await?;
        let found = match place.fresh {
            true => {
                // The layers last: with them the directories above become the buildpacks' own.
                self.restore_boms(&place, &cache, &group).await?;
                let restored = self.restore(&place, detected, &cache).await?;
                remains::restored(&cache, &group, &restored)
            }
            false => remains.kept(&cache, &group),
        };
        let batch = Arc::new(Batch::new(&self.blobs, self.bounds.allowed()));
        let (mut outcome, workspace) = self.run(&mut place, request, detected, found, &deadline, &batch, &*log).await?;
        place.fresh = false;
        outcome.recall(&cache);
        let exported = self.export(&place, &outcome, &cache, workspace, &batch);
        let (boms, kept, workspace) =
            match tokio::time::timeout(Duration::from_secs(self.bounds.seconds), exported).await {
                Ok(exported) => exported?,
                Err(_) => return Err(messages::timed_out(self.bounds.seconds)),
            };
        if outcome.processes.is_empty() {
            return Err(messages::no_process());
        }
        let named = tokio::task::spawn_blocking(move || batch.keep()).await.map_err(std::io::Error::other);
        let named = named.map_err(Refused::from).and_then(|named| named.map_err(Refused::from));
        named.map_err(|error| refused("the image", &error))?;
        let build_boms = self.keep_build_boms(&outcome, &boms).await?;
        let cache = Cache {
            build_ingredients: detected.build_ingredients.clone(),
            layers: kept.clone(),
            stores: std::mem::take(&mut outcome.stores),
            build_boms,
            image: cache.image,
            dropped: None,
        };
        cache.save(&self.caches, &request.app);
        self.sleep_later(&request.app, place.uses);

        let built = self.built(detected, outcome, &kept, workspace, boms).await;
        let built = built.map_err(|error| refused("the image", &error))?;
        place.last = Last::of(request, detected, &built, image);
        Ok(built)
    }

    /// What a version before this one detected names the platform's own only, by id.
    fn with_members(&self, detected: &Detected) -> Detected {
        let mut detected = detected.clone();
        if detected.members.is_empty() {
            let own = |id: &String| self.images.buildpacks.iter().find(|b| b.id == *id).map(Part::of);
            detected.members = detected.group.iter().filter_map(own).collect();
        }
        detected
    }

    /// Everything of the image but the base.
    async fn built(
        &self,
        detected: &Detected,
        outcome: Outcome,
        kept: &[KeptLayer],
        workspace: Vec<Layer>,
        boms: Boms,
    ) -> Result<Built, Refused> {
        let of = |launched: &launch::Launched| {
            let mut process = launched.process.clone();
            if launched.is_shell {
                let (r#type, layers) = (&launched.r#type, &outcome.layers);
                process.command = launch::shell_command(&process.command, r#type, layers, outcome.profile);
            }
            process
        };
        let mut processes: Processes =
            outcome.processes.iter().map(|(name, launched)| (name.clone(), of(launched))).collect();
        let types: BTreeMap<_, _> =
            outcome.processes.iter().map(|(name, launched)| (name.clone(), launched.r#type.clone())).collect();
        let origins: BTreeMap<_, _> =
            outcome.processes.iter().map(|(name, launched)| (name.clone(), launched.buildpack.clone())).collect();
        let has_shell = outcome.processes.values().any(|launched| launched.is_shell);
        let profiles = if has_shell { launch::profiles(&outcome.layers, None, outcome.profile) } else { Vec::new() };
        let environment = environment::at_launch(outcome.layers.iter());
        let launched: Vec<_> = kept.iter().filter(|layer| layer.launch).map(KeptLayer::path).collect();
        let (blobs, layers, image) = (self.blobs.clone(), outcome.layers, environment.clone());
        let remembered = self.packages_dir();
        let launch = kept.iter().filter(|layer| layer.launch).filter_map(|layer| layer.blob);
        let stored: Vec<_> = launch.map(|(digest, size)| Layer { digest, size }).collect();
        let wrapped = tokio::task::spawn_blocking(move || {
            let launcher = launcher::wrap(&blobs, &layers, &image, (&types, &profiles[..]), &mut processes)?;
            let content = stored.iter().chain(&workspace).map(|layer| layer.digest);
            let bill = sbom::of_layers(&blobs, &remembered, content)?;
            let boms = boms::layer(&blobs, &boms, &launched, boms::Side::Launch { bill: &bill })?;
            Ok::<_, Refused>((launcher, processes, boms, workspace))
        });
        let (launcher, processes, boms, workspace) = wrapped.await.map_err(std::io::Error::other)??;

        let launched = kept.iter().filter(|layer| layer.launch).filter_map(|layer| Some((layer, layer.blob?)));
        let mut layers: Vec<_> = launched
            .map(|(layer, (digest, bytes))| BuiltLayer {
                digest: digest.to_string(),
                bytes,
                path: layer.path(),
                build: layer.build,
                cache: layer.cache,
                data: layer.data(),
            })
            .collect();
        let beside = [launcher.map(|layer| (layer, "launcher")), boms.map(|layer| (layer, "sbom"))];
        let beside = beside.into_iter().flatten().chain(workspace.into_iter().map(|layer| (layer, "workspace")));
        layers.extend(beside.map(|(layer, path)| BuiltLayer {
            digest: layer.digest.to_string(),
            bytes: layer.size,
            path: path.to_owned(),
            ..BuiltLayer::default()
        }));
        let mut run_packages = detected.run_packages.clone();
        run_packages.extend(self.requested_packages(detected, &outcome.labels).map(Ingredient::Package));
        let default = outcome.default;
        Ok(Built { processes, default, origins, layers, environment, labels: outcome.labels, run_packages })
    }

    /// The sandbox with this push's source, and what it has of earlier builds. What a build that did not end left of
    /// buildpacks of others is not built upon: they may have been in the middle of a layer.
    async fn begun(
        &self,
        place: &mut Place,
        request: &BuildRequest,
        detected: &Detected,
        image: &ImageDigest,
        source: Source,
        deadline: &Deadline<'_>,
    ) -> Result<remains::Remains, BuildFailure> {
        for _ in 0..3 {
            match self.begin(place, &detected.mark, deadline).await? {
                Some(found) if found.unfinished && detected.members.iter().any(|part| part.foreign) => {
                    place.close(&*self.engine).await;
                    place.open(&*self.engine, &self.images, image).await?;
                }
                Some(found) => return Ok(found),
                None => {}
            }
            let source = Source::clone(&source);
            self.look(place, request, &[], source, &detected.mark, &Silent).await?;
        }
        Err(messages::sandbox_lost())
    }

    /// Makes the image of a build and gives it to the engine. Needs the store only, not the sandbox.
    pub async fn image(
        &self,
        app: &AppId,
        detected: &Detected,
        built: &Built,
        log: Arc<dyn BuildLog>,
    ) -> Result<Imaged, BuildFailure> {
        let _pin = self.blobs.pin();
        let ground = self.ground(&built.run_packages, &*log).await?;
        let before = Cache::load(&self.caches, app).image;
        if let Some(before) = &before {
            self.note_known(before).await;
        }
        let detected = self.with_members(detected);
        let (blobs, before_, built) = (self.blobs.clone(), before.clone(), built.clone());
        let imaged =
            tokio::task::spawn_blocking(move || assembly::image(&blobs, &ground, before_.as_ref(), &detected, &built));
        let imaged: Result<Imaged, Refused> =
            imaged.await.map_err(std::io::Error::other).map_err(Refused::from).flatten();
        let imaged = imaged.map_err(|error| refused("the image", &error))?;
        self.images.load(&imaged.image).await?;

        if before.as_ref() != Some(&imaged.image) {
            let place = self.place(app);
            let _place = place.lock().await;
            let mut cache = Cache::load(&self.caches, app);
            cache.image = Some(imaged.image.clone());
            cache.save(&self.caches, app);
        }
        Ok(imaged)
    }

    /// Makes sure that the engine has the image.
    pub async fn load(&self, image: &ImageDigest) -> Result<(), BuildFailure> {
        let _pin = self.blobs.pin();
        self.images.load(image).await
    }

    /// Ends whatever runs in the sandbox of an app; what was kept of builds before goes into a new one.
    pub async fn end(&self, app: &AppId) -> Result<(), BuildFailure> {
        let place = self.place(app);
        let mut place = place.lock().await;
        place.remove(&*self.engine).await.map_err(|error| messages::engine(&error))
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

    fn requested_packages<'a>(
        &'a self,
        detected: &'a Detected,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = String> + 'a {
        let asked = labels.get(RUN_PACKAGES).map_or("", String::as_str).split_whitespace();
        asked.map(str::to_owned).filter(move |package| {
            let group = self
                .images
                .buildpacks
                .iter()
                .filter(|b| detected.members.iter().any(|part| !part.foreign && part.id == b.id));
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

    fn undetected(
        &self,
        fault: NoChoice,
        looks: &BTreeMap<String, Look>,
        asked: &[Part],
        chosen: bool,
    ) -> BuildFailure {
        let name = |key: &str| asked.iter().find(|part| part.path() == key).map_or(key.to_owned(), |p| p.name.clone());
        let said = |key: &str| {
            let log = looks.get(key).map_or("", |look| look.log.as_str());
            log.lines().map(|line| lines::clean(line.as_bytes())).collect::<Vec<_>>()
        };
        match fault {
            NoChoice::Unknown if chosen => {
                let names: Vec<_> = asked.iter().map(|part| part.name.as_str()).collect();
                messages::all_declined(&names.join(", "))
            }
            NoChoice::Unknown => {
                let mut order: Vec<&str> = Vec::new();
                for (id, _) in pack::ORDER.iter().copied().flatten() {
                    if !order.contains(id) {
                        order.push(id);
                    }
                }
                messages::unknown_tree(&self.images.buildpacks, &order)
            }
            NoChoice::Errored { key, exit } => messages::detect_errored(&name(&key), exit, &said(&key)),
            NoChoice::Declined { key } => messages::declined(&name(&key), &said(&key)),
            NoChoice::Unmet { key, cause } => messages::unmet(&name(&key), &cause),
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

/// Of what is exported together.
pub(super) fn batch_rules(batch: &Arc<Batch>, strip_prefix: &str, prefix: &str) -> LayerRules {
    LayerRules { batch: Some(Arc::clone(batch)), ..layer_rules(strip_prefix, prefix) }
}

pub(super) fn layer_rules(strip_prefix: &str, prefix: &str) -> LayerRules {
    LayerRules { strip_prefix: strip_prefix.to_owned(), prefix: prefix.to_owned(), ..Default::default() }
}

pub(super) fn refused(what: &str, error: &Refused) -> BuildFailure {
    match error {
        Refused::Image(ImageError::Beyond(bound)) => messages::beyond(what, *bound),
        error if error.is_disk_full() => messages::disk_full(),
        error => messages::export_refused(what, &export::chain(error)),
    }
}
