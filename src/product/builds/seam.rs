//! Where the base of an image ends and the app begins, as the image itself says it (platform specification, "Labels"):
//! `runImage.topLayer` names the last layer of the base, and the layers above it are listed one by one, so that a layer
//! that somebody put on top later is noticed. `io.hythe.base` adds what else of the config is the app's own: with that, the
//! image on another base is the same, byte for byte, as a build there would have made it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::descriptor::Target;
use super::messages::rebase as messages;
use super::pack::Ingredient;
use crate::base::model::ImageDigest;
use crate::machinery::image::{BlobStore, Digest, ImageError, ImageFacts, inspect};

pub(super) const LIFECYCLE: &str = "io.buildpacks.lifecycle.metadata";
pub(super) const PROCESSES: &str = "io.buildpacks.build.metadata";
/// Set by this platform's builds.
pub(super) const GROUP: &str = "io.hythe.buildpacks";
const OWN: &str = "io.hythe.base";
const REBASABLE: &str = "io.buildpacks.rebasable";
const DISTRO: [&str; 2] = ["io.buildpacks.base.distro.name", "io.buildpacks.base.distro.version"];
const PLATFORM_S: [&str; 7] = [LIFECYCLE, PROCESSES, GROUP, OWN, REBASABLE, DISTRO[0], DISTRO[1]];

/// What lies beneath the layers of an app.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub image: ImageDigest,
    pub target: Target,
    /// Installed on the base.
    pub packages: BTreeSet<Ingredient>,
}

/// Of the config of an image: what it does not have from its base.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Own {
    pub packages: BTreeSet<String>,
    pub variables: BTreeSet<String>,
    pub labels: BTreeSet<String>,
    pub port: Option<u16>,
}

#[derive(Debug, Clone)]
pub(super) struct Seam {
    /// The image beneath.
    pub reference: String,
    /// How many layers are its.
    pub beneath: usize,
    pub own: Own,
    pub distro: [String; 2],
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Lifecycle {
    app: Vec<Sha>,
    sbom: Option<Sha>,
    launcher: Option<Sha>,
    buildpacks: Vec<Contributed>,
    run_image: Option<RunImage>,
}

#[derive(Deserialize)]
struct Sha {
    sha: String,
}

#[derive(Deserialize)]
struct Contributed {
    layers: BTreeMap<String, Sha>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunImage {
    top_layer: Option<String>,
    reference: String,
}

impl Seam {
    /// Or why nobody can tell where the base ends.
    pub fn read(facts: &ImageFacts) -> Result<Self, String> {
        let label = |name: &str| facts.labels.get(name).map(String::as_str).unwrap_or_default();
        if label(GROUP).is_empty() {
            return Err(messages::NOT_BUILT_HERE.to_owned());
        }
        let Ok(own) = serde_json::from_str::<Own>(label(OWN)) else { return Err(messages::NO_SEAM.to_owned()) };
        let lifecycle: Lifecycle = serde_json::from_str(label(LIFECYCLE)).unwrap_or_default();
        let listed = lifecycle.app.iter().chain(&lifecycle.sbom).chain(&lifecycle.launcher);
        let listed = listed.chain(lifecycle.buildpacks.iter().flat_map(|buildpack| buildpack.layers.values()));
        let mut listed: Vec<_> = listed.map(|layer| layer.sha.as_str()).collect();
        let Some(RunImage { top_layer: Some(top), reference }) = lifecycle.run_image else {
            return Err(messages::NO_SEAM.to_owned());
        };
        let foreign = || Err(messages::FOREIGN_LAYERS.to_owned());
        let Some(beneath) = facts.layers.len().checked_sub(listed.len()).filter(|beneath| *beneath > 0) else {
            return foreign();
        };
        let (base, above) = facts.layers.split_at(beneath);
        let mut above: Vec<_> = above.iter().map(|layer| layer.digest.to_string()).collect();
        above.sort();
        listed.sort_unstable();
        if base.last().is_none_or(|layer| layer.digest.to_string() != top) || above != listed {
            return foreign();
        }
        Ok(Self { reference, beneath, own, distro: DISTRO.map(|name| label(name).to_owned()) })
    }

    pub fn packages(&self) -> BTreeSet<Ingredient> {
        self.own.packages.iter().cloned().map(Ingredient::Package).collect()
    }
}

impl Ground {
    fn top(&self, blobs: &BlobStore) -> Result<Digest, ImageError> {
        let top = inspect(blobs, &self.image)?.layers.last().map(|layer| layer.digest);
        top.ok_or_else(|| ImageError::Document("a base without layers".into()))
    }

    /// Puts this ground into the labels of an image that lies on it. `labels` are its own, with `LIFECYCLE` among them.
    pub fn mark(&self, blobs: &BlobStore, labels: &mut BTreeMap<String, String>, own: &Own) -> Result<(), ImageError> {
        let text = labels.get(LIFECYCLE).map_or("{}", String::as_str);
        let mut lifecycle: Value = serde_json::from_str(text).map_err(|e| ImageError::Document(e.to_string()))?;
        let top = self.top(blobs)?;
        lifecycle["runImage"] = json!({ "topLayer": top.to_string(), "reference": self.image.as_str() });
        labels.insert(LIFECYCLE.into(), lifecycle.to_string());
        labels.insert(OWN.into(), json!(own).to_string());
        labels.insert(REBASABLE.into(), "true".into());
        labels.insert(DISTRO[0].into(), self.target.distro.clone());
        labels.insert(DISTRO[1].into(), self.target.distro_version.clone());
        Ok(())
    }
}

/// Of the labels of an image those that are not its base's.
pub(super) fn own_labels(facts: &ImageFacts, own: &Own) -> BTreeMap<String, String> {
    let is_own = |name: &str| own.labels.contains(name) || PLATFORM_S.contains(&name);
    facts.labels.iter().filter(|(name, _)| is_own(name)).map(|(name, text)| (name.clone(), text.clone())).collect()
}
