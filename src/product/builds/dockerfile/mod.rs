//! Builds by the tree's own Dockerfile. The engine's builder does the work, bounded and in the network of builds; what it
//! lacks (mounts, secrets, here-documents, modes) is done beside it, a piece of the file at a time (`stages`, `drive`).
//! What comes of it is read back, judged as an image that somebody pushed, and kept in the store like any other.
//!
//! Invariants: nothing of the file reaches the engine but what was understood here (`check`); no variable of the app does
//! but those that `app.json` names, as arguments or as secrets; the engine's cache of one app serves no other.

mod check;
mod drive;
mod follow;
mod ignore;
mod mounts;
mod parse;
mod processes;
mod reference;
mod stages;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::builder::Builder;
use super::cache::Cache;
use super::mask::Hidden;
use super::messages::{self, dockerfile as texts};
use super::{BuildFailure, BuildLog, BuildRequest, Imaged, Source, export, pushed};
use crate::base::model::{BuildWish, ImageDigest};
use crate::base::secret::Secret;
use crate::machinery::image::{ImageError, ImageFacts, inspect, take_saved, unpack};
use crate::machinery::outbound::Guard;
use crate::machinery::runtime::EngineError;

use check::{Checked, Given};
use drive::Drive;
use follow::Follower;
pub use ignore::{Ignore, LARGEST as LARGEST_IGNORE};
pub use parse::LARGEST as LARGEST_DOCKERFILE;
pub use stages::Step;

/// Where the file is looked for when nobody says.
pub const USUAL: &str = "Dockerfile";
/// What the engine is given, in place of whatever the tree has there.
pub const IN_CONTEXT: &str = ".hythe.Dockerfile";

/// What is wrong with a file, and where; line 0 is none of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub cause: String,
    pub remedy: Option<String>,
}

impl Fault {
    fn at(line: usize, cause: impl Into<String>) -> Self {
        Self { line, cause: cause.into(), remedy: None }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// What the tree has for such a build.
#[derive(Debug, Clone, Default)]
pub struct RecipeFiles {
    pub dockerfile: Vec<u8>,
    pub ignore: Vec<u8>,
    pub procfile: Option<Vec<u8>>,
}

/// A tree that is built so, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recipe {
    /// The Dockerfile's path in the tree.
    pub dockerfile: String,
    #[serde(default)]
    wish: BuildWish,
}

impl Recipe {
    pub fn new(wish: BuildWish) -> Self {
        Self { dockerfile: wish.dockerfile.clone().unwrap_or_else(|| USUAL.to_owned()), wish }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecipeBuilt {
    pub image: ImageDigest,
}

/// What the platform's configuration says beyond that of builds.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Registries at private addresses may be fetched from.
    pub private_addresses: bool,
    /// Bytes of an image, uncompressed; 0: as many as any may have.
    pub largest_image: u64,
    /// A line of the Procfile as an argument vector.
    pub shell: fn(&str) -> Vec<String>,
}

/// Makes the context of what is to be left out of it, and of files that stand in it instead of the tree's.
pub type MakeContext = Box<dyn Fn(Ignore, Vec<(String, Vec<u8>)>) -> Source + Send + Sync>;

/// Said of a detection: nothing but a Dockerfile tells what the tree is.
pub fn only_dockerfile(failure: &BuildFailure) -> bool {
    texts::is_unknown_tree(failure)
}

/// Tells the pusher which way his tree is built.
pub fn announce(log: &dyn BuildLog, recipe: &Recipe, chosen: bool) {
    log.line(&texts::taken(&recipe.dockerfile, chosen));
}

pub fn announce_passed_over(log: &dyn BuildLog) {
    log.line(&texts::passed_over(USUAL));
}

pub fn absent(path: &str) -> BuildFailure {
    texts::absent(path)
}

impl Builder {
    /// Judges the files before anything is begun.
    pub async fn recipe_detect(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        files: &RecipeFiles,
        log: Arc<dyn BuildLog>,
    ) -> Result<(), BuildFailure> {
        let checked = self.checked(request, recipe, files, "hythe/image:none")?;
        secrets(request, recipe)?;
        checked.notes.iter().for_each(|note| log.line(&texts::note(note)));
        let from_variables: Vec<_> =
            recipe.wish.args.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
        if !from_variables.is_empty() {
            log.line(&texts::note(&texts::readable(&from_variables)));
        }
        for name in recipe.wish.args.keys().filter(|name| !checked.declared.contains(name.as_str())) {
            log.line(&texts::note(&format!(
                "the build argument {name} is not used: {} has no ARG {name}",
                recipe.dockerfile
            )));
        }
        if let Some(text) = &files.procfile {
            processes::parse(text).map_err(|(line, cause)| texts::procfile(line, &cause))?;
        }
        Ok(())
    }

    /// Has the engine build it and takes the result into the store.
    pub async fn recipe_build(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        files: &RecipeFiles,
        (context, terms): (MakeContext, Terms),
        log: Arc<dyn BuildLog>,
    ) -> Result<RecipeBuilt, BuildFailure> {
        let _pin = self.blobs.pin();
        let place = self.place(&request.app);
        // One app's builds never overlap.
        let place = place.lock().await;
        let mut base = String::from("hythe/image:none");
        let mut checked = self.checked(request, recipe, files, &base)?;
        if checked.uses_base {
            let image = self.images.base(&*log).await?.image;
            self.images.load(&image).await?;
            base = self.engine.image_reference(&image);
        } else {
            // Its first part still tells the platform's own images.
            let any =
                format!("sha256:{}", "0".repeat(64)).parse().map_err(|_| messages::platform("naming an image", ""))?;
            base = self.engine.image_reference(&any);
        }
        checked = self.checked(request, recipe, files, &base)?;
        let mut triggers = false;
        for (line, full) in &checked.images {
            triggers |= self.have(&recipe.dockerfile, (*line, full), terms, &*log).await?;
        }
        let secrets = secrets(request, recipe)?;
        let hidden = Hidden::of_secrets(secrets.values().cloned()).and_of_variables(&request.variables);
        let engine = |error: EngineError| messages::engine(&error);
        self.engine.clear_recipe(&request.app, request.no_cache).await.map_err(engine)?;
        let bounds = (self.bounds, self.images.limits().memory_bytes);
        let drive = Drive {
            builder: self,
            request,
            path: &recipe.dockerfile,
            checked: &checked,
            context,
            ignore: &files.ignore,
            passed: self.passed(request, recipe, &checked)?,
            follower: Follower::new(&recipe.dockerfile, &*log, bounds, hidden),
            secrets,
            triggers,
            began: Instant::now(),
            images: vec![None; checked.stages.len()],
        };
        let made = tokio::select! {
            made = drive.carry_out() => made?,
            // Dropping what is followed ends the build.
            full = self.bounds.broken(&*self.engine, place.sandbox()) => return Err(full),
        };
        self.engine.keep_recipe(&request.app, &made).await.map_err(engine)?;
        let image = self.take_recipe(request, recipe, terms).await?;
        Ok(RecipeBuilt { image })
    }

    /// Gives the image to the engine under its own name, and tells what runs in it.
    pub async fn recipe_image(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        built: &RecipeBuilt,
        files: &RecipeFiles,
        terms: Terms,
    ) -> Result<Imaged, BuildFailure> {
        let _pin = self.blobs.pin();
        let before = Cache::load(&self.caches, &request.app).image;
        let (facts, known) = {
            let (blobs, image, before) = (self.blobs.clone(), built.image.clone(), before.clone());
            let read = tokio::task::spawn_blocking(move || {
                let known = before.and_then(|before| inspect(&blobs, &before).ok());
                Ok::<_, ImageError>((inspect(&blobs, &image)?, known))
            });
            let read = read.await.map_err(|error| messages::platform("reading the image", &error.to_string()))?;
            read.map_err(|error| messages::platform("reading the image", &export::chain(&error)))?
        };
        let processes = processes::of(&facts, files.procfile.as_deref(), terms.shell).map_err(|fault| match fault {
            processes::Unfit::Procfile(line, cause) => texts::procfile(line, &cause),
            processes::Unfit::Image(cause) => texts::unfit(&recipe.dockerfile, &cause),
        })?;
        // It was built there: nothing but a name is new to the engine.
        self.images.note(&facts.layers);
        self.images.load(&built.image).await?;
        if before.as_ref() != Some(&built.image) {
            let place = self.place(&request.app);
            let _place = place.lock().await;
            let mut cache = Cache::load(&self.caches, &request.app);
            cache.image = Some(built.image.clone());
            cache.save(&self.caches, &request.app);
        }
        Ok(imaged(built, facts, known, processes))
    }

    fn checked(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        files: &RecipeFiles,
        base: &str,
    ) -> Result<Checked, BuildFailure> {
        let told = |fault: Fault| texts::fault(&recipe.dockerfile, &fault);
        let parsed = parse::parse(&files.dockerfile).map_err(told)?;
        let arguments = arguments(request, recipe)?;
        let given = Given {
            arguments: &arguments,
            target: recipe.wish.target.as_deref(),
            labels: &self.engine.recipe_labels(&request.app),
            secrets: &recipe.wish.secrets.keys().cloned().collect::<BTreeSet<_>>(),
            base,
            platform: platform(),
        };
        check::check(&parsed, &given).map_err(told)
    }

    /// All that the file declares and somebody gives a value: nothing that it does not ask for reaches the builder.
    fn passed(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        checked: &Checked,
    ) -> Result<BTreeMap<String, String>, BuildFailure> {
        let (os, architecture) = platform().split_once('/').unwrap_or_default();
        let own = [
            ("TARGETPLATFORM", platform()),
            ("TARGETOS", os),
            ("TARGETARCH", architecture),
            ("BUILDPLATFORM", platform()),
            ("BUILDOS", os),
            ("BUILDARCH", architecture),
            ("SOURCE_VERSION", &request.commit),
            ("HYTHE_APP", request.app_name.as_str()),
        ];
        let mut passed: BTreeMap<String, String> =
            own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let network = self.images.variables();
        passed.extend(network.clone());
        passed.extend(arguments(request, recipe)?);
        passed.retain(|name, _| checked.declared.contains(name));
        // Every builder knows these, declares them itself and keeps them out of what it writes down.
        let proxies = network.into_iter().filter(|(name, _)| name.to_lowercase().ends_with("_proxy"));
        passed.extend(proxies);
        Ok(passed)
    }

    /// Makes sure that the engine has an image, and that it asks for nothing that the Dockerfile may not. Whether it asks for
    /// anything at all.
    async fn have(
        &self,
        path: &str,
        (line, full): (usize, &reference::Full),
        terms: Terms,
        log: &dyn BuildLog,
    ) -> Result<bool, BuildFailure> {
        let reference = &full.text;
        let engine = |error: EngineError| messages::engine(&error);
        let mut found = self.engine.foreign_image(reference).await.map_err(engine)?;
        if found.is_none() {
            let missing = |cause: &str| texts::no_base(path, line, reference, cause);
            if full.host != reference::DEFAULT {
                let allowed = Guard { private: terms.private_addresses }.resolve(&full.host, full.port).await;
                allowed.map_err(|error| missing(&export::chain(&error)))?;
            }
            log.line(&format!("       fetching {reference}"));
            match self.engine.fetch_foreign(reference).await {
                Ok(()) => found = self.engine.foreign_image(reference).await.map_err(engine)?,
                Err(error @ (EngineError::NoSpace | EngineError::Unreachable { .. })) => return Err(engine(error)),
                Err(EngineError::Refused { source, .. }) => return Err(missing(&source.to_string())),
                Err(error) => return Err(missing(&error.to_string())),
            }
        }
        let Some(image) = found else { return Err(texts::no_base(path, line, reference, "it is not there")) };
        if image.labels.keys().any(|label| label.starts_with("hythe.")) {
            return Err(texts::fault(path, &Fault::at(line, format!("{reference} is an image of the platform's own"))));
        }
        for instruction in &image.on_build {
            check::check_on_build(instruction).map_err(|fault| {
                texts::fault(
                    path,
                    &Fault { line, cause: format!("{reference}: {}", fault.cause), remedy: fault.remedy },
                )
            })?;
        }
        Ok(!image.on_build.is_empty())
    }

    async fn take_recipe(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        terms: Terms,
    ) -> Result<ImageDigest, BuildFailure> {
        let archive = self.engine.recipe(&request.app).await.map_err(|error| messages::engine(&error))?;
        let (feed, reader) = export::readable(archive);
        let blobs = self.blobs.clone();
        let most = if terms.largest_image == 0 { pushed::LARGEST } else { terms.largest_image };
        let taken = tokio::task::spawn_blocking(move || {
            let saved = take_saved(&blobs, reader, most, true)?;
            unpack(&blobs, &saved.contents, &saved.manifest, most)
        });
        feed.await;
        let taken = taken.await.unwrap_or_else(|error| Err(ImageError::Stream(std::io::Error::other(error))));
        taken.map_err(|error| match &error {
            ImageError::Unfit(cause) => texts::unfit(&recipe.dockerfile, cause),
            error if error.is_disk_full() => messages::disk_full(),
            error => messages::platform("reading the image back", &export::chain(error)),
        })
    }
}

fn imaged(
    built: &RecipeBuilt,
    facts: ImageFacts,
    before: Option<ImageFacts>,
    processes: crate::base::model::Processes,
) -> Imaged {
    let known: HashSet<_> = before.iter().flat_map(|facts| &facts.layers).map(|layer| layer.digest).collect();
    let new: Vec<_> = facts.layers.iter().filter(|layer| !known.contains(&layer.digest)).collect();
    Imaged {
        image: built.image.clone(),
        processes,
        layers_total: facts.layers.len(),
        layers_new: new.len(),
        bytes_new: new.iter().map(|layer| layer.size).sum(),
    }
}

/// Values of what `app.json` names: its own, or those of the app's variables.
fn arguments(request: &BuildRequest, recipe: &Recipe) -> Result<BTreeMap<String, String>, BuildFailure> {
    let value = |(name, value): (&crate::base::model::VariableName, &Option<String>)| match value {
        Some(value) => Ok((name.to_string(), value.clone())),
        None => match request.variables.get(name.as_str()) {
            Some(value) => Ok((name.to_string(), value.reveal().clone())),
            None => Err(texts::no_variable(name.as_str())),
        },
    };
    recipe.wish.args.iter().map(value).collect()
}

/// Values of the secrets that `app.json` names, by the names that the Dockerfile has for them.
fn secrets(request: &BuildRequest, recipe: &Recipe) -> Result<BTreeMap<String, Secret<String>>, BuildFailure> {
    let value = |(id, variable): (&String, &crate::base::model::VariableName)| {
        let value = request.variables.get(variable.as_str());
        value.map(|value| (id.clone(), value.clone())).ok_or_else(|| texts::no_secret(id, variable.as_str()))
    };
    recipe.wish.secrets.iter().map(value).collect()
}

fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "linux/arm64",
        _ => "linux/amd64",
    }
}
