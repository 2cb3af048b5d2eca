//! The trait, over the state in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::watch;

use super::super::{
    Attached, ByteStream, CommandSpec, Ended, Engine, EngineError, EnterSpec, Exec, ExecSpec, Facts, ForeignImage,
    LogLine, RecipeLines, RecipeRun, RecipeSpec, Result, SandboxSpec, SeenCommand, Usage, Witness,
};
use super::{FakeEngine, Files, Op, Sandbox, Stall, archive, refused, toybox};
use crate::base::clock::Timestamp;
use crate::base::model::{
    AppId, CommandId, Exit, Generation, ImageDigest, Replica, ReplicaState, SpaceId, VolumeId, Window, WorkloadId,
    WorkloadSpec,
};

const REPOSITORY: &str = "fake/image";

#[async_trait]
impl Engine for FakeEngine {
    async fn probe(&self) -> Result<Facts> {
        drop(self.enter_op(Op::Probe)?);
        Ok(Facts { version: "fake".into(), architecture: "amd64".into() })
    }

    async fn observe(&self) -> Result<Vec<Replica>> {
        Ok(self.enter_op(Op::Observe)?.replicas.values().map(|running| running.replica.clone()).collect())
    }

    async fn events(&self) -> Result<BoxStream<'static, ()>> {
        let changed = self.enter_op(Op::Events)?.changed.subscribe();
        Ok(stream::unfold(changed, |mut changed| async move { changed.changed().await.ok().map(|()| ((), changed)) })
            .boxed())
    }

    async fn ensure(&self, spec: &WorkloadSpec) -> Result<()> {
        let goes = |it: &Replica| it.ordinal > spec.count || matches!(it.state, ReplicaState::Exited { .. });
        self.witnessed(|it| it.workload == spec.id && it.generation == spec.generation && goes(it)).await;
        let now = self.clock.now();
        let mut state = self.enter_op(Op::Ensure)?;
        let mut up = BTreeSet::new();
        let before = state.replicas.len();
        state.replicas.retain(|_, running| {
            let it = &running.replica;
            if it.workload != spec.id || it.generation != spec.generation {
                return true;
            }
            let keep = it.ordinal <= spec.count && !matches!(it.state, ReplicaState::Exited { .. });
            if keep {
                up.insert(it.ordinal);
            }
            keep
        });
        let missing: Vec<_> = (1..=spec.count).filter(|ordinal| !up.contains(ordinal)).collect();
        let fault = (!missing.is_empty() && !state.images.contains(&spec.image))
            .then(|| refused("create", spec.id.to_string(), format!("the image {} is not in the engine", spec.image)));
        let started = if fault.is_none() { missing } else { Vec::new() };
        for ordinal in &started {
            state.start(spec, *ordinal, now);
        }
        if before != state.replicas.len() || !started.is_empty() {
            state.bump();
        }
        fault.map_or(Ok(()), Err)
    }

    async fn retire(&self, id: &WorkloadId, below: Generation) -> Result<()> {
        self.witnessed(|it| it.workload == *id && it.generation < below).await;
        let mut state = self.enter_op(Op::Retire)?;
        state.replicas.retain(|_, r| r.replica.workload != *id || r.replica.generation >= below);
        state.bump();
        Ok(())
    }

    async fn stop(&self, replica: &str) -> Result<()> {
        self.remove(replica).await
    }

    async fn remove(&self, replica: &str) -> Result<()> {
        self.witnessed(|it| it.id == replica).await;
        let mut state = self.enter_op(Op::Remove)?;
        state.replicas.remove(replica);
        state.bump();
        Ok(())
    }

    async fn logs(&self, replica: &str, tail: usize, follow: bool) -> Result<BoxStream<'static, Result<LogLine>>> {
        let state = self.enter_op(Op::Logs)?;
        let found = state.replicas.get(replica);
        let found = found.ok_or_else(|| EngineError::NotFound { subject: format!("replica {replica:?}") })?;
        let shown = found.lines.len().saturating_sub(tail);
        if !follow {
            return Ok(stream::iter(found.lines[shown..].to_vec()).map(Ok).boxed());
        }
        let follower =
            Follower { engine: self.clone(), replica: replica.to_owned(), shown, changed: state.changed.subscribe() };
        Ok(stream::unfold(follower, |mut f| async move { f.next().await.map(|line| (Ok(line), f)) }).boxed())
    }

    async fn output(&self, replica: &str, since: Timestamp) -> Result<BoxStream<'static, Result<LogLine>>> {
        let state = self.enter_op(Op::Output)?;
        let found = state.replicas.get(replica);
        let found = found.ok_or_else(|| EngineError::NotFound { subject: format!("replica {replica:?}") })?;
        let second = Timestamp(since.0.div_euclid(1000) * 1000);
        let shown = found.lines.iter().position(|line| line.at >= second).unwrap_or(found.lines.len());
        let follower =
            Follower { engine: self.clone(), replica: replica.to_owned(), shown, changed: state.changed.subscribe() };
        Ok(stream::unfold(follower, |mut f| async move { f.next().await.map(|line| (Ok(line), f)) }).boxed())
    }

    fn witnessed_by(&self, witness: Arc<dyn Witness>) {
        self.lock().witness = Some(witness);
    }

    async fn usage(&self, replica: &str) -> Result<Usage> {
        let state = self.enter_op(Op::Usage)?;
        match state.replicas.get(replica) {
            Some(running) if running.replica.state == ReplicaState::Running => Ok(state.usage),
            _ => Err(EngineError::NotFound { subject: format!("replica {replica:?}") }),
        }
    }

    async fn written(&self) -> Result<HashMap<String, u64>> {
        let state = self.enter_op(Op::Written)?;
        let runs = state.replicas.iter().filter(|(_, running)| running.replica.state == ReplicaState::Running);
        Ok(runs.map(|(id, _)| (id.clone(), state.written.get(id).copied().unwrap_or(0))).collect())
    }

    async fn exec_in(&self, replica: &str, command: &[String], within: Duration) -> Result<Ended> {
        let (variables, handler, files) = {
            let state = self.enter_op(Op::ExecIn)?;
            let missing = || EngineError::NotFound { subject: format!("replica {replica:?}") };
            let running = state.replicas.get(replica).ok_or_else(missing)?;
            if running.replica.state != ReplicaState::Running {
                return Err(refused("run", replica, "the replica does not run"));
            }
            let volume = running.replica.volumes.first().and_then(|id| state.volumes.get(id));
            (running.variables.clone(), state.handler.clone(), volume.cloned().unwrap_or_default())
        };
        self.stand(Op::ExecIn, Stall::Before).await;
        if command.first().is_some_and(|c| c == "sleep") {
            tokio::time::sleep(within).await;
            return Ok(Ended { code: None, tail: String::new() });
        }
        let mut spec = ExecSpec {
            command: command.to_vec(),
            user: None,
            working_dir: None,
            variables: BTreeMap::new(),
            stdin: None,
        };
        let exec = match handler.and_then(|handler| handler(replica, &mut spec, &files)) {
            Some(exec) => exec,
            None => toybox::exec(spec, &variables, files),
        };
        let output: Vec<_> = exec.output.try_collect().await?;
        let tail = output.into_iter().flat_map(|(_, bytes)| bytes).collect();
        Ok(Ended { code: Some(exec.exit.await?), tail: String::from_utf8(tail).unwrap_or_default() })
    }

    async fn run(&self, spec: &CommandSpec) -> Result<bool> {
        drop(self.enter_op(Op::Run)?);
        self.stand(Op::Run, Stall::Before).await;
        let ran = self.run_command(spec);
        self.stand(Op::Run, Stall::After).await;
        ran
    }

    async fn run_attached(&self, spec: &CommandSpec, window: Option<Window>) -> Result<Attached> {
        drop(self.enter_op(Op::Run)?);
        self.stand(Op::Run, Stall::Before).await;
        let ran = self.run_with_streams(spec, window);
        self.stand(Op::Run, Stall::After).await;
        ran
    }

    async fn enter(&self, replica: &str, spec: EnterSpec, window: Option<Window>) -> Result<Attached> {
        drop(self.enter_op(Op::Enter)?);
        self.enter_replica(replica, spec, window)
    }

    async fn commands(&self) -> Result<Vec<SeenCommand>> {
        Ok(self.enter_op(Op::Commands)?.commands.iter().map(|(id, command)| command.seen(id)).collect())
    }

    async fn command_output(&self, id: &CommandId) -> Result<BoxStream<'static, Result<LogLine>>> {
        drop(self.enter_op(Op::CommandOutput)?);
        self.output_of_command(id)
    }

    async fn command_exit(&self, id: &CommandId) -> Result<Exit> {
        drop(self.enter_op(Op::CommandExit)?);
        self.exit_of_command(id).await
    }

    async fn end_command(&self, id: &CommandId, _: u32) -> Result<()> {
        drop(self.enter_op(Op::EndCommand)?);
        self.kill_command(id);
        Ok(())
    }

    async fn volumes(&self) -> Result<Vec<VolumeId>> {
        Ok(self.enter_op(Op::Volumes)?.volumes.keys().cloned().collect())
    }

    async fn volume_sizes(&self) -> Result<BTreeMap<VolumeId, u64>> {
        let state = self.enter_op(Op::VolumeSizes)?;
        Ok(state.volumes.iter().map(|(id, files)| (id.clone(), files.bytes())).collect())
    }

    async fn remove_volume(&self, id: &VolumeId) -> Result<()> {
        let mut state = self.enter_op(Op::RemoveVolume)?;
        if state.replicas.values().any(|running| running.replica.volumes.contains(id)) {
            return Err(refused("remove volume", id.to_string(), "volume is in use"));
        }
        state.volumes.remove(id);
        Ok(())
    }

    async fn has_image(&self, image: &ImageDigest) -> Result<bool> {
        Ok(self.enter_op(Op::HasImage)?.images.contains(image))
    }

    fn image_reference(&self, image: &ImageDigest) -> String {
        format!("{REPOSITORY}:{}", &image.as_str()["sha256:".len()..])
    }

    async fn load(&self, archive: ByteStream) -> Result<()> {
        drop(self.enter_op(Op::Load)?);
        let archive = archive::read(archive).await?;
        let mut state = self.lock();
        for image in archive.images {
            if image.layers.iter().any(|(digest, came)| !came && !state.layers.contains(digest)) {
                return Err(EngineError::MissingLayers);
            }
            state.layers.extend(image.layers.into_iter().map(|(digest, _)| digest));
            let tags = image.tags.iter().filter_map(|tag| tag.strip_prefix(REPOSITORY)?.strip_prefix(':'));
            let images: Vec<ImageDigest> = tags.filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect();
            state.images.extend(images);
        }
        Ok(())
    }

    async fn open_sandbox(&self, spec: &SandboxSpec) -> Result<bool> {
        let mut state = self.enter_op(Op::OpenSandbox)?;
        named(&spec.name)?;
        if let Some(open) = state.sandboxes.get_mut(&spec.name)
            && open.spec.image == spec.image
            && open.spec.privileges == spec.privileges
            && open.spec.limits == spec.limits
        {
            open.paused = false;
            return Ok(false);
        }
        state.sandboxes.remove(&spec.name);
        if !state.images.contains(&spec.image) {
            return Err(refused("create", &spec.name, format!("the image {} is not in the engine", spec.image)));
        }
        let sandbox = Sandbox { spec: spec.clone(), files: Files::default(), paused: false };
        state.sandboxes.insert(spec.name.clone(), sandbox);
        Ok(true)
    }

    async fn put(&self, sandbox: &str, path: &str, tar: ByteStream) -> Result<()> {
        let files = self.entered(Op::Put, sandbox)?;
        files.unpack(path, tar).await
    }

    async fn get(&self, sandbox: &str, path: &str) -> Result<ByteStream> {
        Ok(in_one_piece(self.entered(Op::Get, sandbox)?.pack(path)?))
    }

    async fn exec(&self, sandbox: &str, mut spec: ExecSpec) -> Result<Exec> {
        let files = self.entered(Op::Exec, sandbox)?;
        let (handler, variables) = {
            let state = self.lock();
            let open = state.sandboxes.get(sandbox).ok_or_else(|| missing(sandbox))?;
            if open.paused {
                return Err(refused("run", sandbox, "the sandbox is paused"));
            }
            (state.handler.clone(), open.spec.variables.clone())
        };
        if let Some(exec) = handler.and_then(|handler| handler(sandbox, &mut spec, &files)) {
            return Ok(exec);
        }
        Ok(toybox::exec(spec, &variables, files))
    }

    async fn changes(&self, sandbox: &str) -> Result<ByteStream> {
        Ok(in_one_piece(self.entered(Op::Changes, sandbox)?.layer()))
    }

    async fn pause_sandbox(&self, sandbox: &str) -> Result<()> {
        let mut state = self.enter_op(Op::PauseSandbox)?;
        named(sandbox)?;
        if let Some(open) = state.sandboxes.get_mut(sandbox) {
            open.paused = true;
        }
        Ok(())
    }

    async fn close_sandbox(&self, sandbox: &str) -> Result<()> {
        let mut state = self.enter_op(Op::CloseSandbox)?;
        named(sandbox)?;
        state.sandboxes.remove(sandbox);
        Ok(())
    }

    async fn sandboxes(&self) -> Result<Vec<String>> {
        Ok(self.enter_op(Op::Sandboxes)?.sandboxes.keys().cloned().collect())
    }

    async fn sandbox_usage(&self, sandbox: &str) -> Result<Usage> {
        self.entered(Op::Usage, sandbox)?;
        Ok(self.lock().usage)
    }

    async fn sandbox_size(&self, sandbox: &str) -> Result<u64> {
        self.entered(Op::Sandboxes, sandbox)?;
        self.sandbox_sizes().await?.remove(sandbox).ok_or_else(|| missing(sandbox))
    }

    async fn sandbox_sizes(&self) -> Result<BTreeMap<String, u64>> {
        let state = self.enter_op(Op::Sandboxes)?;
        Ok(state.sandboxes.iter().map(|(name, sandbox)| (name.clone(), sandbox.files.bytes())).collect())
    }

    async fn images(&self) -> Result<Vec<ImageDigest>> {
        let mut all: Vec<_> = self.enter_op(Op::Images)?.images.iter().cloned().collect();
        all.sort();
        Ok(all)
    }

    async fn remove_image(&self, image: &ImageDigest) -> Result<bool> {
        let mut state = self.enter_op(Op::RemoveImage)?;
        if state.uses(image) {
            return Ok(false);
        }
        state.images.remove(image);
        Ok(true)
    }

    /// It builds no Dockerfiles: what a build does is for the real engine to show.
    async fn build_recipe(&self, spec: RecipeSpec) -> Result<RecipeLines> {
        Err(refused("build", spec.app.to_string(), "this engine has no builder"))
    }

    async fn run_recipe(&self, run: RecipeRun) -> Result<RecipeLines> {
        Err(refused("build", run.app.to_string(), "this engine has no builder"))
    }

    async fn read_recipe(&self, _app: &AppId, image: &str, _path: &str) -> Result<ByteStream> {
        Err(EngineError::NotFound { subject: image.to_owned() })
    }

    async fn keep_recipe(&self, app: &AppId, _image: &str) -> Result<()> {
        Err(refused("build", app.to_string(), "this engine has no builder"))
    }

    async fn clear_recipe(&self, _app: &AppId, _caches: bool) -> Result<()> {
        Ok(())
    }

    async fn unfinished_recipes(&self) -> Result<Vec<AppId>> {
        Ok(Vec::new())
    }

    async fn recipe_cache_sizes(&self) -> Result<BTreeMap<AppId, u64>> {
        Ok(BTreeMap::new())
    }

    fn recipe_labels(&self, app: &AppId) -> BTreeMap<String, String> {
        BTreeMap::from([("fake.recipe".to_owned(), app.to_string())])
    }

    async fn recipe(&self, app: &AppId) -> Result<ByteStream> {
        Err(EngineError::NotFound { subject: app.to_string() })
    }

    async fn forget_recipe(&self, _app: &AppId) -> Result<()> {
        Ok(())
    }

    async fn recipes(&self) -> Result<Vec<AppId>> {
        Ok(Vec::new())
    }

    async fn foreign_image(&self, _reference: &str) -> Result<Option<ForeignImage>> {
        Ok(None)
    }

    async fn fetch_foreign(&self, reference: &str) -> Result<()> {
        Err(refused("pull", reference, "this engine reaches no registry"))
    }

    async fn networks(&self) -> Result<Vec<SpaceId>> {
        Ok(self.enter_op(Op::Networks)?.networks.iter().cloned().collect())
    }

    async fn remove_network(&self, space: &SpaceId) -> Result<bool> {
        let mut state = self.enter_op(Op::RemoveNetwork)?;
        if state.replicas.values().any(|running| running.space == *space) {
            return Ok(false);
        }
        state.networks.remove(space);
        Ok(true)
    }

    async fn place(&self) -> Result<Option<PathBuf>> {
        Ok(self.lock().root.clone())
    }
}

impl FakeEngine {
    /// Those of which it is so end now, and are looked at a last time.
    async fn witnessed(&self, of: impl Fn(&Replica) -> bool) {
        let at = self.clock.now();
        let (witness, ids) = {
            let mut state = self.lock();
            let Some(witness) = state.witness.clone() else { return };
            let mut ids = Vec::new();
            for running in state.replicas.values_mut().filter(|running| of(&running.replica)) {
                if !matches!(running.replica.state, ReplicaState::Exited { .. }) {
                    running.replica.state = ReplicaState::Exited { code: 143, out_of_memory: false, at };
                }
                ids.push(running.replica.id.clone());
            }
            state.bump();
            (witness, ids)
        };
        for id in ids {
            witness.last_look(&id).await;
        }
    }

    fn entered(&self, op: Op, sandbox: &str) -> Result<Files> {
        let state = self.enter_op(op)?;
        named(sandbox)?;
        state.sandboxes.get(sandbox).map(|open| open.files.clone()).ok_or_else(|| missing(sandbox))
    }
}

fn missing(sandbox: &str) -> EngineError {
    EngineError::NotFound { subject: format!("sandbox {sandbox}") }
}

fn named(sandbox: &str) -> Result<()> {
    let well = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let well = !sandbox.is_empty() && sandbox.len() <= 80 && sandbox.bytes().all(well);
    if well { Ok(()) } else { Err(refused("name a sandbox", format!("{sandbox:?}"), "a-z, 0-9, - and _ only")) }
}

fn in_one_piece(bytes: Vec<u8>) -> ByteStream {
    stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

struct Follower {
    engine: FakeEngine,
    replica: String,
    shown: usize,
    changed: watch::Receiver<u64>,
}

impl Follower {
    /// The next line; `None` once the replica has ended or is gone, or the engine went away.
    async fn next(&mut self) -> Option<LogLine> {
        loop {
            self.changed.mark_unchanged();
            {
                let state = self.engine.lock();
                let running = state.replicas.get(&self.replica)?;
                if let Some(line) = running.lines.get(self.shown) {
                    self.shown += 1;
                    return Some(line.clone());
                }
                if matches!(running.replica.state, ReplicaState::Exited { .. }) {
                    return None;
                }
            }
            self.changed.changed().await.ok()?;
        }
    }
}
