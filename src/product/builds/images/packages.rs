//! Images with Debian packages, and with what buildpacks prepare for all apps: each of both is a layer of its own, made
//! in a sandbox as root, where nothing of an app ever runs. What a buildpack prepares lies on its own packages and knows
//! no others, so that one layer serves in every image that asks for it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;

use super::{Base, Images};
use crate::base::model::ImageDigest;
use crate::machinery::image::{AddedLayer, ImageSpec, Layer, LayerRules, Owner, assemble, inspect};
use crate::machinery::runtime::{Channel, EngineError, ExecSpec, Privileges, SandboxSpec};
use crate::product::builds::lines::clean;
use crate::product::builds::pack::{Buildpack, Ingredient};
use crate::product::builds::{BuildFailure, BuildLog, export, messages};

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

/// What a sandbox is opened for.
enum Work<'a> {
    Install(Vec<&'a str>),
    Prepare(&'a Buildpack),
}

impl Images {
    /// The base with `ingredients`: also the image under an app.
    pub async fn with(
        &self,
        ingredients: &BTreeSet<Ingredient>,
        log: &dyn BuildLog,
    ) -> Result<ImageDigest, BuildFailure> {
        let base = self.base(log).await?;
        let (packages, prepared): (BTreeSet<_>, BTreeSet<_>) =
            ingredients.iter().cloned().partition(|ingredient| ingredient.package().is_some());
        if prepared.is_empty() {
            return self.installed(&base, &packages, log).await;
        }
        let key = self.recipe(&base, ingredients);
        let lock = self.lock(&key);
        let _making = lock.lock().await;
        if let Some(found) = self.recall(&key) {
            return Ok(found);
        }
        let below = self.installed(&base, &packages, log).await?;
        let mut layers = Vec::new();
        for ingredient in &prepared {
            let Ingredient::Prepared(id) = ingredient else { continue };
            let Some(buildpack) = self.buildpacks.iter().find(|b| b.id == *id) else { continue };
            let layer = self.prepared(&base, buildpack, log).await?;
            layers.push(AddedLayer { layer, created_by: format!("prepared for {}", buildpack.name) });
        }
        let spec = ImageSpec { base: Some(below), layers, ..Default::default() };
        let blobs = self.blobs.clone();
        let image = self.blocking("the build image", move || assemble(&blobs, &spec)).await?;
        self.remember(&key, &image)?;
        Ok(image)
    }

    /// As `with`, but only what is there already.
    pub fn known_with(&self, packages: &BTreeSet<Ingredient>) -> Option<ImageDigest> {
        let base = self.known_base()?;
        if packages.is_empty() { Some(base.image) } else { self.recall(&self.recipe(&base, packages)) }
    }

    /// The base with Debian packages.
    async fn installed(
        &self,
        base: &Base,
        packages: &BTreeSet<Ingredient>,
        log: &dyn BuildLog,
    ) -> Result<ImageDigest, BuildFailure> {
        let names: Vec<_> = packages.iter().filter_map(Ingredient::package).collect();
        if names.is_empty() {
            return Ok(base.image.clone());
        }
        let key = self.recipe(base, packages);
        let lock = self.lock(&key);
        let _making = lock.lock().await;
        if let Some(found) = self.recall(&key) {
            return Ok(found);
        }
        log.line(&format!("-----> Preparing the image with {} (once)", names.join(", ")));
        let layer = self.made_in_sandbox(&base.image, &key, &Work::Install(names.clone())).await?;
        self.keep(&key, &base.image, layer, format!("packages {}", names.join(" "))).await
    }

    /// The layer that a buildpack prepares.
    async fn prepared(&self, base: &Base, buildpack: &Buildpack, log: &dyn BuildLog) -> Result<Layer, BuildFailure> {
        let key = self.prepared_key(base, buildpack);
        let lock = self.lock(&key);
        let _making = lock.lock().await;
        let image = match self.recall(&key) {
            Some(found) => found,
            None => {
                let below = self.installed(base, &buildpack.ingredients_below().collect(), log).await?;
                log.line(&format!("-----> Preparing {} for all apps (once)", buildpack.name));
                let layer = self.made_in_sandbox(&below, &key, &Work::Prepare(buildpack)).await?;
                self.keep(&key, &below, layer, format!("prepared for {}", buildpack.name)).await?
            }
        };
        let blobs = self.blobs.clone();
        let facts = self.blocking("the build image", move || inspect(&blobs, &image)).await?;
        facts.layers.into_iter().next_back().ok_or_else(|| messages::platform("the build image", "it has no layers"))
    }

    async fn keep(
        &self,
        key: &str,
        below: &ImageDigest,
        layer: Layer,
        created_by: String,
    ) -> Result<ImageDigest, BuildFailure> {
        let spec = ImageSpec {
            base: Some(below.clone()),
            layers: vec![AddedLayer { layer, created_by }],
            ..Default::default()
        };
        let blobs = self.blobs.clone();
        let image = self.blocking("the image with packages", move || assemble(&blobs, &spec)).await?;
        self.remember(key, &image)?;
        Ok(image)
    }

    async fn made_in_sandbox(&self, below: &ImageDigest, key: &str, work: &Work<'_>) -> Result<Layer, BuildFailure> {
        self.load(below).await?;
        let sandbox = format!("packages-{}", &key[..12]);
        let spec = SandboxSpec {
            name: sandbox.clone(),
            image: below.clone(),
            limits: self.limits(),
            variables: BTreeMap::new(),
            privileges: Privileges::Packages,
        };
        let engine = |error: EngineError| messages::engine(&error);
        // What an interrupted attempt left is of no use.
        self.engine.close_sandbox(&sandbox).await.map_err(engine)?;
        self.engine.open_sandbox(&spec).await.map_err(engine)?;
        let made = self.make_in(&sandbox, work).await;
        let closed = self.engine.close_sandbox(&sandbox).await.map_err(engine);
        let layer = made?;
        closed?;
        Ok(layer)
    }

    async fn make_in(&self, sandbox: &str, work: &Work<'_>) -> Result<Layer, BuildFailure> {
        self.place_bundle(sandbox).await?;
        match work {
            Work::Install(packages) => self.install(sandbox, packages).await?,
            Work::Prepare(buildpack) => self.prepare(sandbox, buildpack).await?,
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

    async fn install(&self, sandbox: &str, packages: &[&str]) -> Result<(), BuildFailure> {
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
        for command in [aside.to_vec(), update.to_vec(), [install.as_slice(), packages].concat()] {
            let ran = self.run(sandbox, &command, BTreeMap::new()).await;
            let (exit, tail) = ran.map_err(|error| messages::engine(&error))?;
            if exit != 0 {
                return Err(messages::packages_failed(&packages.join(", "), exit, &tail));
            }
        }
        Ok(())
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
}
