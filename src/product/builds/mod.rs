//! Source tree → detect → build → image: a lifecycle of our own for Cloud Native Buildpacks (Buildpack API 0.8 to 0.12),
//! the platform's own and those that an app brings along.
//!
//! Each app has one warm sandbox. A driver of ours runs inside it, stays there between the phases of a build and
//! between builds, and is the only thing that is talked to. Everything that comes out of the sandbox is hostile input:
//! bounded in size, parsed by type. `build` leaves all its results in the blob store, so `image` and everything after
//! it work without the sandbox. What becomes of the image is for `deploy` to say.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::model::{AppId, AppName, ChosenBuildpack, EnvironmentId, Files, ImageDigest, ProcessName, Processes};
use crate::base::secret::Secret;

mod acquire;
mod admission;
mod assembly;
mod boms;
mod bounds;
mod builder;
mod cache;
mod descriptor;
pub mod dockerfile;
mod environment;
mod export;
mod garbage;
mod images;
mod keep;
mod last;
mod launch;
mod launcher;
mod lines;
mod mask;
mod members;
mod messages;
mod network;
mod order;
mod pack;
mod patterns;
mod phases;
mod place;
mod plan;
mod pushed;
mod rebase;
mod remains;
mod result;
mod sbom;
mod seam;
mod session;
mod slices;

pub use admission::Turn;
pub use boms::BuildBom;
pub use builder::Builder;
pub use garbage::{CacheCleared, Reached};
pub use launcher::{bare, launched};
use members::Part;
use pack::Ingredient;
use plan::Demand;
pub use rebase::{BaseFacts, Changed, Rebased, Standing};
pub use sbom::{Condition, Subject, cyclonedx, spdx};

/// Writes the source tree as a tar stream, as often as it is needed; called on a thread that may block.
pub type Source = Arc<dyn Fn(&mut dyn io::Write) -> io::Result<()> + Send + Sync>;

/// What the tree, or somebody for the environment, says of its build.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// One group, in the order of building. None: whichever of the platform's own know the tree.
    pub buildpacks: Vec<ChosenBuildpack>,
    /// Variables of the build; those of the environment go before.
    pub variables: BTreeMap<String, String>,
    pub files: Files,
}

#[derive(Clone)]
pub struct BuildRequest {
    pub app: AppId,
    pub app_name: AppName,
    /// Full commit id; `SOURCE_VERSION` of the build.
    pub commit: String,
    /// Variables of the app, seen by the buildpacks.
    pub variables: BTreeMap<String, Secret<String>>,
    pub wishes: Wishes,
    /// Forget the layers of earlier builds.
    pub no_cache: bool,
    /// None: nothing is known that would tell whether it was built before.
    pub origin: Option<Origin>,
}

/// All that comes from people into a build whose buildpacks are the platform's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Names the content of the tree.
    pub tree: String,
    /// Whose variables, and their version.
    pub variables: (EnvironmentId, i64),
}

/// Where the pusher reads along. `text` is one line without git's `remote: `: headings start with `-----> `, body lines
/// with seven spaces, problems with ` !     `.
pub trait BuildLog: Send + Sync {
    fn line(&self, text: &str);
}

/// Which buildpacks take part, and what they told each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detected {
    /// Ids of the buildpacks, in the order in which they build.
    pub group: Vec<String>,
    /// The same, with all that is to be known of them.
    #[serde(default)]
    members: Vec<Part>,
    #[serde(default)]
    plan: Vec<Demand>,
    build_ingredients: BTreeSet<Ingredient>,
    run_packages: BTreeSet<Ingredient>,
    /// Of the source that was put into the sandbox; a sandbox with another mark gets the source anew.
    mark: String,
    /// A file of the tree speaks of the commit that it is built from.
    #[serde(default)]
    names_commit: bool,
}

/// What a build left in the blob store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Built {
    pub processes: Processes,
    /// What the image starts with that is not told what to start.
    #[serde(default)]
    default: Option<ProcessName>,
    /// Which buildpack each process is of, by id.
    #[serde(default)]
    origins: BTreeMap<ProcessName, String>,
    /// Lowest first; the last one is the workspace.
    layers: Vec<BuiltLayer>,
    environment: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// Of the image beneath.
    run_packages: BTreeSet<Ingredient>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct BuiltLayer {
    digest: String,
    bytes: u64,
    /// Path below `/layers`, or `workspace`.
    path: String,
    /// Of a buildpack's: its other types, and what it says of itself.
    #[serde(default)]
    build: bool,
    #[serde(default)]
    cache: bool,
    #[serde(default)]
    data: serde_json::Value,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Imaged {
    pub image: ImageDigest,
    pub processes: Processes,
    pub layers_total: usize,
    /// Layers that the app's image before this one did not have.
    pub layers_new: usize,
    /// Uncompressed size of the new layers.
    pub bytes_new: u64,
}

/// Why there is no image, as product copy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct BuildFailure {
    /// Short, for the ref's status: "build failed: npm exited 1".
    pub reason: String,
    /// For the log: cause, file, evidence, remedy; already formed as log lines.
    pub lines: Vec<String>,
    /// Nothing is wrong with the source: the same build may succeed later.
    pub temporary: bool,
}
