//! What an engine that builds images by itself is asked, and what it says meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::BoxStream;

use super::{ByteStream, Result};
use crate::base::model::{AppId, Limits};

/// A build of a Dockerfile by the engine's own builder.
pub struct RecipeSpec {
    /// Whose it is: the result is known by it, and so is the engine's cache, which no other app's build sees.
    pub app: AppId,
    /// A tar stream of the context, the Dockerfile in it.
    pub context: ByteStream,
    /// Path in the context.
    pub dockerfile: String,
    /// Name or number of the stage; none: the last one.
    pub target: Option<String>,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipeLine {
    /// An instruction begins; the first one is 1.
    Step(usize),
    /// The one under way was done by an earlier build.
    Cached,
    /// Of what it runs; not cut at ends of lines.
    Output(Vec<u8>),
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

/// What a foreign image, one that is built upon, says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignImage {
    /// The engine's own id of it.
    pub id: String,
    /// Instructions for whoever builds upon it.
    pub on_build: Vec<String>,
    /// Keys of its labels.
    pub labels: Vec<String>,
}
