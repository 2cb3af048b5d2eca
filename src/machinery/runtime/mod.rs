//! Engines: endpoints that run containers. Cut at workload level, because Swarm rolls by itself
//! and Docker does not. Everything an engine makes carries labels with id and generation, and is
//! found again by observation alone; what does not carry our labels is never touched.

mod command;
pub mod contract;
pub mod docker;
pub mod fake;
pub mod probe;
mod recipe;
pub mod tarball;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::base::clock::Timestamp;
use crate::base::model::{
    AppId, CommandId, Exit, Generation, ImageDigest, Limits, Replica, SpaceId, VolumeId, Window, WorkloadId,
    WorkloadSpec,
};

pub use command::{Attached, CommandSpec, Control, EnterSpec, SeenCommand};
pub use recipe::{
    ForeignImage, RecipeCommand, RecipeFault, RecipeLine, RecipeLines, RecipeMount, RecipeRun, RecipeSpec,
};

/// Bytes that arrive in pieces; an error ends the stream.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the engine at {endpoint} does not answer")]
    Unreachable {
        endpoint: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{operation} {subject}")]
    Refused {
        operation: &'static str,
        subject: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `load` was given an archive without a layer that the engine does not have after all: send all of them.
    #[error("the engine lacks a layer that the archive leaves out")]
    MissingLayers,
    #[error("{subject} does not exist")]
    NotFound { subject: String },
    #[error("the engine's disk is full")]
    NoSpace,
}

impl EngineError {
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoSpace)
    }
}

pub type Result<T, E = EngineError> = std::result::Result<T, E>;

#[derive(Debug, Clone)]
pub struct Facts {
    pub version: String,
    pub architecture: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Out,
    Err,
}

#[derive(Debug, Clone)]
pub struct LogLine {
    pub at: Timestamp,
    /// The same time as exactly as the engine has it, in nanoseconds. Along one channel of one replica it never falls.
    pub nanos: i64,
    pub channel: Channel,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start.
    pub cpu_nanos: u64,
    /// Without what the kernel can take back at once.
    pub memory_bytes: u64,
    /// Processes and threads that exist now.
    pub processes: u64,
}

/// Looks at replicas that are about to be removed. Bounded in time by itself.
#[async_trait]
pub trait Witness: Send + Sync {
    /// The replica has ended, or will be killed in the next moment.
    async fn last_look(&self, replica: &str);
}

/// A long-lived container for builds and one-off commands: opened once, used by many execs, paused between them.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// Stable and unique within this platform, of the grammar of `AppName`'s label plus `_`.
    pub name: String,
    pub image: ImageDigest,
    pub limits: Limits,
    /// They hold from when it is made; finding it open does not change them.
    pub variables: BTreeMap<String, String>,
    pub privileges: Privileges,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// No capability at all.
    None,
    /// What a package manager needs to unpack files of other owners (chown, setuid, dac_override, fowner). For images that
    /// the platform itself prepares, never for a tenant's code.
    Packages,
}

pub struct ExecSpec {
    pub command: Vec<String>,
    /// `uid:gid`; none means the image's user.
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// Beside those of the sandbox, and before them.
    pub variables: BTreeMap<String, String>,
    /// Fed while the output is read.
    pub stdin: Option<ByteStream>,
}

/// A running command. Dropping `output` early does not stop it; closing the sandbox does.
pub struct Exec {
    pub output: BoxStream<'static, Result<(Channel, Bytes)>>,
    /// Resolves after `output` has ended.
    pub exit: futures_util::future::BoxFuture<'static, Result<i64>>,
}

/// How a command inside a replica ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// None: it did not end in time, and may still run.
    pub code: Option<i64>,
    /// The last bytes of all that it said, at most `LONGEST_TAIL`.
    pub tail: String,
}

pub const LONGEST_TAIL: usize = 64 << 10;

#[async_trait]
pub trait Engine: Send + Sync {
    async fn probe(&self) -> Result<Facts>;

    /// Everything of ours that the engine holds now, stopped replicas included.
    async fn observe(&self) -> Result<Vec<Replica>>;

    /// Yields whenever something of ours may have changed; ends when the engine goes away.
    async fn events(&self) -> Result<BoxStream<'static, ()>>;

    /// Makes exactly `spec.count` replicas of `spec.generation` exist and run: missing ones are started, exited and
    /// stranded ones replaced, surplus ones (highest ordinals) stopped. Replicas of other generations are left alone.
    /// A volume that it mounts and that is not there yet is made, empty, writable for the replica's user.
    async fn ensure(&self, spec: &WorkloadSpec) -> Result<()>;

    /// Stops (SIGTERM, grace, SIGKILL) and removes the replicas of `id` below `below`. Already gone is success.
    async fn retire(&self, id: &WorkloadId, below: Generation) -> Result<()>;

    /// Stops one replica (SIGTERM, grace, SIGKILL) and removes it. Already gone is success.
    async fn stop(&self, replica: &str) -> Result<()>;

    /// Removes one replica at once, without grace: one that has exited, or whose rollout was given up. Already gone is success.
    async fn remove(&self, replica: &str) -> Result<()>;

    /// The last `tail` lines, then, with `follow`, the lines to come until the replica ends.
    async fn logs(&self, replica: &str, tail: usize, follow: bool) -> Result<BoxStream<'static, Result<LogLine>>>;

    /// The lines from `since` on (earlier ones of the same second may come too), then those to come until the replica ends.
    async fn output(&self, replica: &str, since: Timestamp) -> Result<BoxStream<'static, Result<LogLine>>>;

    /// Nothing makes a replica go, with its lines, before the witness has seen it; one witness at a time.
    fn witnessed_by(&self, witness: Arc<dyn Witness>);

    /// What a running replica has used and uses.
    async fn usage(&self, replica: &str) -> Result<Usage>;

    /// Bytes that each replica of ours wrote to its own file system, volumes not counted, as far as the engine can tell. It
    /// walks through them, so who asks often asks less often the longer it takes.
    async fn written(&self) -> Result<HashMap<String, u64>>;

    /// Runs a command inside a running replica, as its user and with its variables; for checks and for a look at it.
    async fn exec_in(&self, replica: &str, command: &[String], within: Duration) -> Result<Ended>;

    /// Starts the command, unless one of its id was started before: then nothing happens and the answer is false.
    /// Nobody is at its streams; what it writes is in `command_output`. It stays until `end_command`, ended or not.
    async fn run(&self, spec: &CommandSpec) -> Result<bool>;

    /// As `run` for a command that never was, with its streams attached before its first word; with `window`, at a
    /// terminal of that size.
    async fn run_attached(&self, spec: &CommandSpec, window: Option<Window>) -> Result<Attached>;

    /// Runs a further command inside a running replica. Signals reach it as far as the replica's image has the means.
    async fn enter(&self, replica: &str, spec: EnterSpec, window: Option<Window>) -> Result<Attached>;

    /// Everything of `run` and `run_attached` that was not ended yet.
    async fn commands(&self) -> Result<Vec<SeenCommand>>;

    /// All lines from the first, then those to come until the command ends.
    async fn command_output(&self, id: &CommandId) -> Result<BoxStream<'static, Result<LogLine>>>;

    /// Waits until the command has ended by itself.
    async fn command_exit(&self, id: &CommandId) -> Result<Exit>;

    /// SIGTERM, grace, SIGKILL for what runs; then removes it. Not there is success.
    async fn end_command(&self, id: &CommandId, grace_seconds: u32) -> Result<()>;

    /// Those of ours that exist, mounted or not.
    async fn volumes(&self) -> Result<Vec<VolumeId>>;

    /// Bytes in each of ours, as far as the engine can tell. It walks through them: for people who ask, not for loops.
    async fn volume_sizes(&self) -> Result<BTreeMap<VolumeId, u64>>;

    /// Removes it with all data. Refused while a replica or a command has it; already gone is success.
    async fn remove_volume(&self, id: &VolumeId) -> Result<()>;

    async fn has_image(&self, image: &ImageDigest) -> Result<bool>;

    /// Text that a loaded archive must name the image by (its `RepoTags`).
    fn image_reference(&self, image: &ImageDigest) -> String;

    /// Loads a docker-archive. Layers that the engine has may be left out of it.
    async fn load(&self, archive: ByteStream) -> Result<()>;

    /// Opens the sandbox, or finds it open (resuming it when paused). One with another image, other privileges or limits,
    /// or dead, is replaced. Where processors are short, any replica goes before any sandbox.
    /// True when it is new, that is, when nothing put into it before is there any more.
    async fn open_sandbox(&self, spec: &SandboxSpec) -> Result<bool>;

    /// Unpacks a tar stream below `path`, which must exist. Owners and modes are those of the archive.
    async fn put(&self, sandbox: &str, path: &str, tar: ByteStream) -> Result<()>;

    /// `path` and all below it as a tar stream whose names start with the last part of `path`.
    async fn get(&self, sandbox: &str, path: &str) -> Result<ByteStream>;

    async fn exec(&self, sandbox: &str, spec: ExecSpec) -> Result<Exec>;

    /// All that differs from the sandbox's image, as one layer (OCI image layer with whiteouts), uncompressed. One reader
    /// of one sandbox at a time.
    async fn changes(&self, sandbox: &str) -> Result<ByteStream>;

    /// Freezes it: no processor time until it is opened again. Not open is success.
    async fn pause_sandbox(&self, sandbox: &str) -> Result<()>;

    /// Kills and removes it with all in it. Not open is success.
    async fn close_sandbox(&self, sandbox: &str) -> Result<()>;

    /// What a sandbox that is open has used and uses.
    async fn sandbox_usage(&self, sandbox: &str) -> Result<Usage>;

    /// Bytes that it holds beside its image. It walks through them.
    async fn sandbox_size(&self, sandbox: &str) -> Result<u64>;

    /// Names of the sandboxes that exist.
    async fn sandboxes(&self) -> Result<Vec<String>>;

    /// Bytes that each sandbox holds beside its image. It walks through them: for people who ask and for rare loops.
    async fn sandbox_sizes(&self) -> Result<BTreeMap<String, u64>>;

    /// Those of ours that it has.
    async fn images(&self) -> Result<Vec<ImageDigest>>;

    /// `false`: something that exists, running or not, is of it, and it stays. Already gone is success.
    async fn remove_image(&self, image: &ImageDigest) -> Result<bool>;

    /// Builds a Dockerfile, or a part of one. Bounded in time by itself.
    async fn build_recipe(&self, spec: RecipeSpec) -> Result<RecipeLines>;

    /// Runs one command of a Dockerfile. Nothing of it but its image and its caches is there when the lines end.
    async fn run_recipe(&self, run: RecipeRun) -> Result<RecipeLines>;

    /// What a path of an image that a build made, or builds upon, holds: as a tar stream whose names begin with the path's
    /// last part.
    async fn read_recipe(&self, app: &AppId, image: &str, path: &str) -> Result<ByteStream>;

    /// An image that was built is the app's result, in place of the last one.
    async fn keep_recipe(&self, app: &AppId, image: &str) -> Result<()>;

    /// Removes what a command of the app's builds left that did not come to its end; with `caches`, those too.
    async fn clear_recipe(&self, app: &AppId, caches: bool) -> Result<()>;

    /// Apps of which there is something that `clear_recipe` removes, caches not counted.
    async fn unfinished_recipes(&self) -> Result<Vec<AppId>>;

    /// Bytes that each app's caches hold, as far as the engine can tell. It walks through them.
    async fn recipe_cache_sizes(&self) -> Result<BTreeMap<AppId, u64>>;

    /// What each stage of a Dockerfile must be labelled with, so that what a build leaves is found again.
    fn recipe_labels(&self, app: &AppId) -> BTreeMap<String, String>;

    /// The app's last result as a docker-archive, all layers in it.
    async fn recipe(&self, app: &AppId) -> Result<ByteStream>;

    /// Removes it, with all that builds of it left. Not there is success.
    async fn forget_recipe(&self, app: &AppId) -> Result<()>;

    /// Apps that have one, or caches of one.
    async fn recipes(&self) -> Result<Vec<AppId>>;

    /// An image that is not ours, by its full name (`host/name:tag` or `host/name@digest`), or one that a build made, by its
    /// id, if the engine has it.
    async fn foreign_image(&self, reference: &str) -> Result<Option<ForeignImage>>;

    /// Has the engine fetch one from its registry.
    async fn fetch_foreign(&self, reference: &str) -> Result<()>;

    /// Spaces that have a network.
    async fn networks(&self) -> Result<Vec<SpaceId>>;

    /// `false`: something is in it, and it stays. It is made again when a replica of the space starts.
    async fn remove_network(&self, space: &SpaceId) -> Result<bool>;

    /// The directory in which it keeps what it has, if it is on this machine.
    async fn place(&self) -> Result<Option<PathBuf>>;
}
