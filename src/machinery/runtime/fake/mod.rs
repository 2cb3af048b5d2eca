//! An engine in memory. It passes the same contract as the real ones and can be told to fail.
//!
//! Replicas run no program: `true`, `false`, `echo …` and `printenv …` print and exit, every other command
//! runs until it is stopped or killed by the test. Sandboxes keep files in memory and know the same
//! few commands (`toybox.rs`); `on_exec` answers for all others.

mod archive;
mod commands;
mod engine;
mod files;
mod stall;
mod toybox;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use files::Files;
pub use stall::Stall;

use super::{Channel, EngineError, Exec, ExecSpec, LogLine, Result, SandboxSpec, Usage, Witness};
use crate::base::clock::{Clock, SystemClock};
use crate::base::model::{
    CommandId, Generation, ImageDigest, Replica, ReplicaState, SpaceId, VolumeId, WorkloadId, WorkloadSpec,
};

/// Cheap to clone; clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    /// What runs of attached commands.
    programs: TaskTracker,
    stalls: Arc<stall::Stalls>,
}

/// The calls of the trait, for scripts and for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Probe,
    Observe,
    Events,
    Ensure,
    Retire,
    Remove,
    Run,
    Enter,
    Commands,
    CommandOutput,
    CommandExit,
    EndCommand,
    Logs,
    Output,
    Usage,
    Written,
    ExecIn,
    HasImage,
    Load,
    OpenSandbox,
    Put,
    Get,
    Exec,
    Changes,
    PauseSandbox,
    CloseSandbox,
    Sandboxes,
    Volumes,
    VolumeSizes,
    RemoveVolume,
    Images,
    RemoveImage,
    Networks,
    RemoveNetwork,
}

/// What a scripted call answers instead of doing its work.
#[derive(Debug, Clone)]
pub enum Fault {
    Unreachable,
    Refused(String),
    MissingLayers,
    NotFound(String),
    NoSpace,
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable => Self::Unreachable { endpoint: "fake".into(), source: "scripted".into() },
            Fault::Refused(cause) => {
                Self::Refused { operation: "do", subject: "as scripted".into(), source: cause.into() }
            }
            Fault::MissingLayers => Self::MissingLayers,
            Fault::NotFound(subject) => Self::NotFound { subject },
            Fault::NoSpace => Self::NoSpace,
        }
    }
}

type Place = dyn Fn(&WorkloadId, Generation, u32) -> Option<SocketAddr> + Send + Sync;
type Handler = dyn Fn(&str, &mut ExecSpec, &Files) -> Option<Exec> + Send + Sync;

struct State {
    faults: HashMap<Op, VecDeque<Fault>>,
    calls: HashMap<Op, usize>,
    images: HashSet<ImageDigest>,
    /// Digests of the layers that loaded images consist of.
    layers: HashSet<String>,
    replicas: BTreeMap<String, Running>,
    sandboxes: BTreeMap<String, Sandbox>,
    commands: BTreeMap<CommandId, commands::Commanded>,
    /// With paths as its replicas see them.
    volumes: BTreeMap<VolumeId, Files>,
    /// Spaces in which something was started.
    networks: BTreeSet<SpaceId>,
    place: Arc<Place>,
    handler: Option<Arc<Handler>>,
    held: bool,
    crashes: VecDeque<Crash>,
    made: u64,
    witness: Option<Arc<dyn Witness>>,
    usage: Usage,
    written: HashMap<String, u64>,
    root: Option<std::path::PathBuf>,
    /// Counts changes of replicas and their logs; replaced when the engine "goes away".
    changed: watch::Sender<u64>,
}

struct Running {
    replica: Replica,
    image: ImageDigest,
    space: SpaceId,
    /// What its variables were, `PORT` and `HYTHE_PROCESS` included.
    variables: BTreeMap<String, String>,
    command: Vec<String>,
    lines: Vec<LogLine>,
}

struct Sandbox {
    spec: SandboxSpec,
    files: Files,
    paused: bool,
}

#[derive(Clone)]
struct Crash {
    code: i64,
    out_of_memory: bool,
    lines: Vec<String>,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeEngine {
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// `clock` stamps starts, exits and lines.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            faults: HashMap::new(),
            calls: HashMap::new(),
            images: HashSet::new(),
            layers: HashSet::new(),
            replicas: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            commands: BTreeMap::new(),
            volumes: BTreeMap::new(),
            networks: BTreeSet::new(),
            place: Arc::new(|_, _, _| None),
            handler: None,
            held: false,
            crashes: VecDeque::new(),
            made: 0,
            witness: None,
            usage: Usage { cpu_nanos: 0, memory_bytes: 1 << 20, processes: 1 },
            written: HashMap::new(),
            root: None,
            changed: watch::Sender::new(0),
        };
        let (state, programs) = (Arc::new(Mutex::new(state)), TaskTracker::new());
        Self { state, clock, programs, stalls: Arc::new(watch::Sender::new(HashMap::new())) }
    }

    /// The next `times` calls of `op` fail, after the ones told before.
    pub fn fail_next(&self, op: Op, times: usize, fault: Fault) {
        self.lock().faults.entry(op).or_default().extend(std::iter::repeat_n(fault, times));
    }

    /// How often `op` was called, failed calls included.
    pub fn calls(&self, op: Op) -> usize {
        self.lock().calls.get(&op).copied().unwrap_or_default()
    }

    /// The image counts as loaded.
    pub fn add_image(&self, image: &ImageDigest) {
        self.lock().images.insert(image.clone());
    }

    /// The image and all layers count as not loaded any more.
    pub fn drop_image(&self, image: &ImageDigest) {
        let mut state = self.lock();
        state.images.remove(image);
        state.layers.clear();
    }

    pub fn images(&self) -> HashSet<ImageDigest> {
        self.lock().images.clone()
    }

    /// Where replicas with a port are reached that start from now on; the default is no address.
    pub fn serve_at(&self, place: impl Fn(&WorkloadId, Generation, u32) -> Option<SocketAddr> + Send + Sync + 'static) {
        self.lock().place = Arc::new(place);
    }

    /// While held, new replicas stay `Starting`; letting go makes them run.
    pub fn hold_starts(&self, hold: bool) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.held = hold;
        let starting = |r: &Running| r.replica.state == ReplicaState::Starting;
        let waiting: Vec<_> = state.replicas.iter().filter(|(_, r)| starting(r)).map(|(id, _)| id.clone()).collect();
        for id in waiting.iter().filter(|_| !hold) {
            state.run(id, now);
        }
        state.bump();
    }

    /// The next `times` replicas exit as soon as they start, after printing `lines`.
    pub fn crash_starts(&self, times: usize, code: i64, out_of_memory: bool, lines: &[&str]) {
        let crash = Crash { code, out_of_memory, lines: lines.iter().map(|l| (*l).to_owned()).collect() };
        self.lock().crashes.extend(std::iter::repeat_n(crash, times));
    }

    /// Ends the replicas of `id` with this ordinal, of every generation.
    pub fn kill(&self, id: &WorkloadId, ordinal: u32, code: i64, out_of_memory: bool) {
        let at = self.clock.now();
        let mut state = self.lock();
        for running in state.replicas.values_mut() {
            let it = &mut running.replica;
            if it.workload == *id && it.ordinal == ordinal && !matches!(it.state, ReplicaState::Exited { .. }) {
                it.state = ReplicaState::Exited { code, out_of_memory, at };
                it.address = None;
            }
        }
        state.bump();
    }

    /// Adds a line to the log of one replica.
    pub fn print(&self, replica: &str, channel: Channel, text: &str) {
        let at = self.clock.now();
        let mut state = self.lock();
        if let Some(running) = state.replicas.get_mut(replica) {
            let line = stamped(&running.lines, at, channel, text.to_owned());
            running.lines.push(line);
        }
        state.bump();
    }

    /// The variables a replica was started with, `PORT` and `HYTHE_PROCESS` included.
    pub fn variables(&self, replica: &str) -> Option<BTreeMap<String, String>> {
        self.lock().replicas.get(replica).map(|running| running.variables.clone())
    }

    /// What every running replica says it uses from now on.
    /// Where it says that it keeps what it has.
    pub fn lies_at(&self, root: std::path::PathBuf) {
        self.lock().root = Some(root);
    }

    pub fn uses(&self, usage: Usage) {
        self.lock().usage = usage;
    }

    /// What the replica has written to its own file system.
    pub fn wrote(&self, replica: &str, bytes: u64) {
        self.lock().written.insert(replica.to_owned(), bytes);
    }

    /// Ends all event streams and followed logs, as a restart of the engine does.
    pub fn disconnect(&self) {
        self.lock().changed = watch::Sender::new(0);
    }

    /// Asked before the built-in commands; `None` leaves the command to them.
    pub fn on_exec(&self, handler: impl Fn(&str, &mut ExecSpec, &Files) -> Option<Exec> + Send + Sync + 'static) {
        self.lock().handler = Some(Arc::new(handler));
    }

    /// The files of an open sandbox.
    pub fn files(&self, sandbox: &str) -> Option<Files> {
        self.lock().sandboxes.get(sandbox).map(|s| s.files.clone())
    }

    pub fn is_paused(&self, sandbox: &str) -> bool {
        self.lock().sandboxes.get(sandbox).is_some_and(|s| s.paused)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Counts the call, and answers the scripted fault if there is one.
    fn enter_op(&self, op: Op) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        *state.calls.entry(op).or_default() += 1;
        match state.faults.get_mut(&op).and_then(VecDeque::pop_front) {
            Some(fault) => Err(fault.into()),
            None => Ok(state),
        }
    }
}

/// A command that printed `output` and ended with `code`; for handlers of `on_exec`.
pub fn ended(output: Vec<(Channel, Bytes)>, code: i64) -> Exec {
    Exec { output: stream::iter(output.into_iter().map(Ok)).boxed(), exit: std::future::ready(Ok(code)).boxed() }
}

fn refused(operation: &'static str, subject: impl Into<String>, cause: impl Into<String>) -> EngineError {
    EngineError::Refused { operation, subject: subject.into(), source: cause.into().into() }
}

/// No two lines of a replica have the same time, whatever the clock says.
fn stamped(before: &[LogLine], at: crate::base::clock::Timestamp, channel: Channel, text: String) -> LogLine {
    let last = before.last().map_or(0, |line| line.nanos);
    LogLine { at, nanos: (at.0 * 1_000_000).max(last + 1), channel, text }
}

impl State {
    fn bump(&mut self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Whether anything that exists is of the image.
    fn uses(&self, image: &ImageDigest) -> bool {
        self.replicas.values().any(|running| running.image == *image)
            || self.sandboxes.values().any(|sandbox| sandbox.spec.image == *image)
            || self.commands.values().any(|command| command.image == *image)
    }

    fn start(&mut self, spec: &WorkloadSpec, ordinal: u32, now: crate::base::clock::Timestamp) {
        self.made += 1;
        let id = format!("{:064x}", self.made);
        let replica = Replica {
            id: id.clone(),
            workload: spec.id.clone(),
            generation: spec.generation,
            release: spec.release.clone(),
            ordinal,
            state: ReplicaState::Starting,
            started_at: None,
            volumes: spec.mounts.iter().map(|mount| mount.id.clone()).collect(),
            address: spec.port.and_then(|_| (self.place)(&spec.id, spec.generation, ordinal)),
        };
        let mut variables: BTreeMap<_, _> =
            spec.variables.iter().map(|(name, value)| (name.clone(), value.reveal().clone())).collect();
        variables.insert("HYTHE_PROCESS".into(), format!("{}.{ordinal}", spec.id.process));
        if let Some(port) = spec.port {
            variables.insert("PORT".into(), port.to_string());
        }
        for mount in &spec.mounts {
            self.volumes.entry(mount.id.clone()).or_default();
        }
        self.networks.insert(spec.space.clone());
        let (command, image, space) = (spec.process.command.clone(), spec.image.clone(), spec.space.clone());
        self.replicas.insert(id.clone(), Running { replica, image, space, variables, command, lines: Vec::new() });
        if !self.held {
            self.run(&id, now);
        }
    }

    fn run(&mut self, id: &str, now: crate::base::clock::Timestamp) {
        let crash = self.crashes.pop_front();
        let Some(running) = self.replicas.get_mut(id) else { return };
        running.replica.started_at = Some(now);
        running.replica.state = ReplicaState::Running;
        let crash = crash.or_else(|| {
            let (lines, code) = toybox::replica(&running.command, &running.variables)?;
            Some(Crash { code, out_of_memory: false, lines })
        });
        if let Some(Crash { code, out_of_memory, lines }) = crash {
            for text in lines {
                let line = stamped(&running.lines, now, Channel::Out, text);
                running.lines.push(line);
            }
            running.replica.state = ReplicaState::Exited { code, out_of_memory, at: now };
            running.replica.address = None;
        }
    }
}

#[cfg(test)]
mod tests;
