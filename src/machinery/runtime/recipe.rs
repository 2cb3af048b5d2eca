//! What an engine that builds images by itself is asked, and what it says meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::BoxStream;

use super::{ByteStream, Result};
use crate::base::model::{AppId, Limits};
use crate::base::secret::Secret;

/// A build of a Dockerfile by the engine's own builder.
pub struct RecipeSpec {
    /// Whose it is: the engine's cache is known by it, which no other app's build sees.
    pub app: AppId,
    /// A tar stream of the context, the Dockerfile in it.
    pub context: ByteStream,
    /// Path in the context.
    pub dockerfile: String,
    /// They stay readable in what the engine keeps: never secrets.
    pub arguments: BTreeMap<String, String>,
    /// Of each container of the build.
    pub limits: Limits,
    /// What a command of it may write.
    pub disk_bytes: u64,
    /// Without what earlier builds left.
    pub no_cache: bool,
    /// For all of it; then it is ended.
    pub within: Duration,
}

/// One command upon an image, with what the engine's own builder cannot give it. What it changes becomes an image.
pub struct RecipeRun {
    pub app: AppId,
    /// The engine's id of the image beneath.
    pub image: String,
    pub command: RecipeCommand,
    /// What the image's history says of it.
    pub told: String,
    /// Of all that decides what comes of it: an image of an equal key upon the same image is taken in its place.
    pub key: String,
    /// For the command alone: nothing of them is in the image.
    pub variables: BTreeMap<String, String>,
    /// As those, and in no record of the engine.
    pub secrets: BTreeMap<String, Secret<String>>,
    pub mounts: Vec<RecipeMount>,
    /// With the network of builds, or with none.
    pub network: bool,
    pub limits: Limits,
    /// What it may write, into mounts too.
    pub disk_bytes: u64,
    /// Run it although one like it was run.
    pub no_cache: bool,
    pub within: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipeCommand {
    Words(Vec<String>),
    /// For the shell of the image.
    Line(String),
    /// A file that is run, with a line of its own that says by what.
    Script(String),
}

/// What a command finds at `target`, an absolute path, and what is not in the image.
pub enum RecipeMount {
    /// Kept for the app's next build under this name (a-z, 0-9); begins as what `from` has, an image's id and a path in it.
    Cache { name: String, target: String, owner: (u64, u64), mode: u32, from: Option<(String, String)> },
    /// In memory.
    Tmpfs { target: String, bytes: Option<i64> },
    /// A file or a directory of an image, which has this id. What is written there is thrown away.
    Tree { image: String, path: String, target: String },
    /// In memory, and a link to it where it is asked for elsewhere than in the usual directory.
    Secret { target: String, value: Secret<String>, owner: (u64, u64), mode: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipeLine {
    /// An instruction begins; the first one is 1.
    Step(usize),
    /// The one under way was done by an earlier build.
    Cached,
    /// Of what it runs; not cut at ends of lines.
    Output(Vec<u8>),
    /// What came of all, by the engine's id; the last one counts.
    Image(String),
}

/// Ends with `RecipeFault` where the instruction under way failed. Dropping it ends the build.
pub type RecipeLines = BoxStream<'static, Result<RecipeLine, RecipeFault>>;

#[derive(Debug, thiserror::Error)]
pub enum RecipeFault {
    /// A command of the Dockerfile ended so.
    #[error("a command ended with code {0}")]
    Exit(i64),
    /// The builder's own words on what cannot be done.
    #[error("{0}")]
    Said(String),
    #[error("it stayed at the limit of its processes")]
    Crowded,
    /// So many bytes.
    #[error("it wrote {0} bytes")]
    Outgrown(u64),
    #[error("it took too long")]
    TooLong,
    #[error(transparent)]
    Engine(#[from] super::EngineError),
}

/// What an image that is built upon says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignImage {
    /// The engine's own id of it.
    pub id: String,
    /// Instructions for whoever builds upon it.
    pub on_build: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub variables: BTreeMap<String, String>,
    pub working_dir: String,
}
