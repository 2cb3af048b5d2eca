//! Docker Engine over its unix socket, 20.10 and later.
//!
//! Invariants: every name starts with the platform's prefix and every object carries it in the label
//! `hythe.prefix`; what lacks the label is never touched. Variables go into a container's environment and
//! nowhere else. Every call is bounded in time, except the streams that follow (events, logs, output of a
//! command). No restart policy: what runs is for the converger to say, from observation.
//!
//! Left to others: which image, how many, when to retire; bollard writes request bodies to `log` at debug
//! level, so whoever sets up logging must keep the target `bollard` at info or above.

mod changes;
mod commands;
mod disk_usage;
mod enter;
mod events;
mod exec;
mod faults;
mod garbage;
mod images;
mod kernel;
mod logs;
mod names;
mod networks;
mod observe;
mod recipe;
mod recipe_bounds;
mod recipe_furnish;
mod recipe_mounts;
mod recipe_run;
mod rollout;
mod sandbox;
mod usage;
mod volumes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio_util::task::TaskTracker;

use super::{
    Attached, ByteStream, CommandSpec, Ended, Engine, EngineError, EnterSpec, Exec, ExecSpec, Facts, ForeignImage,
    LogLine, RecipeLines, RecipeRun, RecipeSpec, Result, SandboxSpec, SeenCommand, Usage, Witness,
};
use crate::base::clock::Timestamp;
use crate::base::model::{
    AppId, CommandId, Exit, Generation, ImageDigest, Replica, SpaceId, VolumeId, Window, WorkloadId, WorkloadSpec,
};

/// One Docker Engine, as seen by one platform. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Docker(Arc<Inner>);

struct Inner {
    socket: String,
    prefix: String,
    /// Made when the socket first exists, which may be after the platform's own start.
    api: OnceLock<bollard::Docker>,
    /// Where it keeps what it has, as it said.
    root: tokio::sync::OnceCell<Option<PathBuf>>,
    /// Networks seen to exist. Also the lock that keeps two from being made under one name, which the engine allows.
    networks: tokio::sync::Mutex<HashSet<String>>,
    /// What inspection told of containers that the last observation saw: a listing lacks it.
    seen: Mutex<HashMap<String, observe::Seen>>,
    /// Containers whose end was announced: for a moment a listing still shows them running.
    died: Mutex<HashSet<String>>,
    /// Feeders of attached commands; each ends with its sender or its command.
    feeding: TaskTracker,
    witness: Mutex<Option<Arc<dyn Witness>>>,
    /// The last measurement of volumes; held while there is one under way.
    measured: tokio::sync::Mutex<Option<(Instant, BTreeMap<VolumeId, u64>)>>,
    /// Clean-ups that outlive the stream that made them necessary.
    tidying: TaskTracker,
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Docker({} as {})", self.0.socket, self.0.prefix)
    }
}

/// A listing, an inspection, a removal.
const QUICK: Duration = Duration::from_secs(30);
/// Making and starting on a machine under load.
const START: Duration = Duration::from_secs(120);
/// Moving images and file trees.
const LONG: Duration = Duration::from_secs(900);

impl Docker {
    /// Connects at first use, so that the platform can start before its engine.
    /// `prefix`: a-z, 0-9 and -, starting and ending with a letter or digit.
    pub fn connect(socket: &str, prefix: &str) -> Result<Self> {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = prefix.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        if !edge(bytes.first()) || !edge(bytes.last()) || !bytes.iter().all(inner) || bytes.len() > 40 {
            return Err(faults::refused(
                "connect as",
                format!("{prefix:?}"),
                "a prefix is 1 to 40 characters of a-z, 0-9 and -, starting and ending with a letter or digit",
            ));
        }
        Ok(Self(Arc::new(Inner {
            socket: socket.trim_start_matches("unix://").to_owned(),
            prefix: prefix.to_owned(),
            api: OnceLock::new(),
            root: tokio::sync::OnceCell::new(),
            networks: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
            died: Mutex::default(),
            feeding: TaskTracker::new(),
            witness: Mutex::default(),
            measured: tokio::sync::Mutex::default(),
            tidying: TaskTracker::new(),
        })))
    }

    /// Removes everything that this platform made in the engine: containers, volumes with all data, networks,
    /// images.
    pub async fn remove_everything(&self) -> Result<()> {
        self.0.tidying.close();
        self.0.tidying.wait().await;
        self.0.tidying.reopen();
        self.remove_all_containers().await?;
        self.remove_all_volumes().await?;
        self.remove_all_networks().await?;
        self.drop_all_recipes().await?;
        self.remove_all_images().await
    }

    fn api(&self) -> Result<bollard::Docker> {
        if let Some(api) = self.0.api.get() {
            return Ok(api.clone());
        }
        // The version is not sent (bollard 0.21): the engine answers in its own default API.
        let api = bollard::Docker::connect_with_unix(&self.0.socket, LONG.as_secs(), bollard::API_DEFAULT_VERSION)
            .map_err(|source| self.unreachable(source))?;
        Ok(self.0.api.get_or_init(|| api).clone())
    }

    /// One bounded call. `operation` and `subject` make the sentence of a fault: "start web.1".
    async fn call<T, F>(
        &self,
        operation: &'static str,
        subject: &str,
        within: Duration,
        call: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        match tokio::time::timeout(within, call(self.api()?)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.fault(operation, subject, error)),
            Err(elapsed) => Err(self.unreachable(elapsed)),
        }
    }

    fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
        EngineError::Unreachable { endpoint: self.0.socket.clone(), source: source.into() }
    }

    fn fault(&self, operation: &'static str, subject: &str, error: bollard::errors::Error) -> EngineError {
        faults::translate(&self.0.socket, operation, subject, error)
    }
}

#[async_trait]
impl Engine for Docker {
    async fn probe(&self) -> Result<Facts> {
        let version =
            self.call("ask the version of", "engine", QUICK, |api| async move { api.version().await }).await?;
        Ok(Facts { version: version.version.unwrap_or_default(), architecture: version.arch.unwrap_or_default() })
    }

    async fn observe(&self) -> Result<Vec<Replica>> {
        self.observe_replicas().await
    }

    async fn events(&self) -> Result<BoxStream<'static, ()>> {
        self.watch_replicas().await
    }

    async fn ensure(&self, spec: &WorkloadSpec) -> Result<()> {
        self.ensure_replicas(spec).await
    }

    async fn retire(&self, id: &WorkloadId, below: Generation) -> Result<()> {
        self.retire_replicas(id, below).await
    }

    async fn stop(&self, replica: &str) -> Result<()> {
        self.stop_replica(replica).await
    }

    async fn remove(&self, replica: &str) -> Result<()> {
        self.remove_replica(replica).await
    }

    async fn logs(&self, replica: &str, tail: usize, follow: bool) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.replica_logs(replica, tail, follow).await
    }

    async fn output(&self, replica: &str, since: Timestamp) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.replica_output(replica, since).await
    }

    fn witnessed_by(&self, witness: Arc<dyn Witness>) {
        *self.0.witness.lock().unwrap_or_else(|e| e.into_inner()) = Some(witness);
    }

    async fn usage(&self, replica: &str) -> Result<Usage> {
        self.usage_of(replica).await
    }

    async fn written(&self) -> Result<HashMap<String, u64>> {
        self.written_by_all().await
    }

    async fn exec_in(&self, replica: &str, command: &[String], within: Duration) -> Result<Ended> {
        self.exec_replica(replica, command, within).await
    }

    async fn run(&self, spec: &CommandSpec) -> Result<bool> {
        self.run_command(spec).await
    }

    async fn run_attached(&self, spec: &CommandSpec, window: Option<Window>) -> Result<Attached> {
        self.run_with_streams(spec, window).await
    }

    async fn enter(&self, replica: &str, spec: EnterSpec, window: Option<Window>) -> Result<Attached> {
        self.enter_replica(replica, spec, window).await
    }

    async fn commands(&self) -> Result<Vec<SeenCommand>> {
        self.list_commands().await
    }

    async fn command_output(&self, id: &CommandId) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.output_of_command(id).await
    }

    async fn command_exit(&self, id: &CommandId) -> Result<Exit> {
        self.exit_of_command(id).await
    }

    async fn end_command(&self, id: &CommandId, grace_seconds: u32) -> Result<()> {
        self.stop_command(id, grace_seconds).await
    }

    async fn volumes(&self) -> Result<Vec<VolumeId>> {
        self.list_volumes().await
    }

    async fn volume_sizes(&self) -> Result<BTreeMap<VolumeId, u64>> {
        self.measure_volumes().await
    }

    async fn remove_volume(&self, id: &VolumeId) -> Result<()> {
        self.discard_volume(id).await
    }

    async fn has_image(&self, image: &ImageDigest) -> Result<bool> {
        self.knows_image(image).await
    }

    fn image_reference(&self, image: &ImageDigest) -> String {
        names::image(&self.0.prefix, image)
    }

    async fn load(&self, archive: ByteStream) -> Result<()> {
        self.load_archive(archive).await
    }

    async fn open_sandbox(&self, spec: &SandboxSpec) -> Result<bool> {
        self.open(spec).await
    }

    async fn put(&self, sandbox: &str, path: &str, tar: ByteStream) -> Result<()> {
        self.put_tree(sandbox, path, tar).await
    }

    async fn get(&self, sandbox: &str, path: &str) -> Result<ByteStream> {
        self.get_tree(sandbox, path).await
    }

    async fn exec(&self, sandbox: &str, spec: ExecSpec) -> Result<Exec> {
        self.exec_sandbox(sandbox, spec).await
    }

    async fn changes(&self, sandbox: &str) -> Result<ByteStream> {
        self.changes_of(sandbox).await
    }

    async fn pause_sandbox(&self, sandbox: &str) -> Result<()> {
        self.pause(sandbox).await
    }

    async fn close_sandbox(&self, sandbox: &str) -> Result<()> {
        self.close(sandbox).await
    }

    async fn sandboxes(&self) -> Result<Vec<String>> {
        self.sandbox_names().await
    }

    async fn sandbox_usage(&self, sandbox: &str) -> Result<Usage> {
        self.usage_of_sandbox(sandbox).await
    }

    async fn sandbox_size(&self, sandbox: &str) -> Result<u64> {
        let missing = || EngineError::NotFound { subject: format!("sandbox {sandbox:?}") };
        self.measure_sandboxes(Some(sandbox)).await?.remove(sandbox).ok_or_else(missing)
    }

    async fn sandbox_sizes(&self) -> Result<BTreeMap<String, u64>> {
        self.measure_sandboxes(None).await
    }

    async fn images(&self) -> Result<Vec<ImageDigest>> {
        self.image_digests().await
    }

    async fn remove_image(&self, image: &ImageDigest) -> Result<bool> {
        self.drop_image(image).await
    }

    async fn build_recipe(&self, spec: RecipeSpec) -> Result<RecipeLines> {
        Docker::build_recipe(self, spec).await
    }

    async fn run_recipe(&self, run: RecipeRun) -> Result<RecipeLines> {
        Docker::run_recipe(self, run).await
    }

    async fn read_recipe(&self, app: &AppId, image: &str, path: &str) -> Result<ByteStream> {
        Docker::read_recipe(self, app, image, path).await
    }

    async fn keep_recipe(&self, app: &AppId, image: &str) -> Result<()> {
        self.name_recipe(app, image).await
    }

    async fn clear_recipe(&self, app: &AppId, caches: bool) -> Result<()> {
        self.drop_remains(Some(app), caches).await
    }

    async fn unfinished_recipes(&self) -> Result<Vec<AppId>> {
        self.list_unfinished().await
    }

    async fn recipe_cache_sizes(&self) -> Result<BTreeMap<AppId, u64>> {
        self.measure_caches().await
    }

    fn recipe_labels(&self, app: &AppId) -> BTreeMap<String, String> {
        BTreeMap::from([(names::PREFIX.to_owned(), self.0.prefix.clone()), (names::RECIPE.to_owned(), app.to_string())])
    }

    async fn recipe(&self, app: &AppId) -> Result<ByteStream> {
        self.saved_recipe(app).await
    }

    async fn forget_recipe(&self, app: &AppId) -> Result<()> {
        self.drop_recipe(app).await
    }

    async fn recipes(&self) -> Result<Vec<AppId>> {
        self.list_recipes().await
    }

    async fn foreign_image(&self, reference: &str) -> Result<Option<ForeignImage>> {
        self.foreign(reference).await
    }

    async fn fetch_foreign(&self, reference: &str) -> Result<()> {
        self.pull_foreign(reference).await
    }

    async fn networks(&self) -> Result<Vec<SpaceId>> {
        self.space_networks().await
    }

    async fn remove_network(&self, space: &SpaceId) -> Result<bool> {
        self.drop_network(space).await
    }

    async fn place(&self) -> Result<Option<PathBuf>> {
        self.root().await
    }
}
