//! What an engine is asked to run, and what it is seen running.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{AppName, EnvironmentId, ImageDigest, Mount, Process, ProcessName, ReleaseId, SpaceId, VolumeId};
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// Grows with each rollout of an environment; replicas of a lower one are retired. 0 means "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub i64);

impl Generation {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One process type of one environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    pub environment: EnvironmentId,
    pub process: ProcessName,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.process)
    }
}

/// Bounds of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: i64,
    /// Thousandths of one processor.
    pub cpu_millis: i64,
    pub pids: i64,
    /// What it may write to its own file system, volumes not counted.
    pub disk_bytes: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, cpu_millis: 1000, pids: 512, disk_bytes: 2 << 30 }
    }
}

/// Everything an engine needs to run `count` equal replicas.
#[derive(Debug, Clone)]
pub struct WorkloadSpec {
    pub id: WorkloadId,
    pub generation: Generation,
    pub count: u32,
    pub app: AppName,
    pub space: SpaceId,
    pub release: ReleaseId,
    pub release_number: i64,
    /// Reference under which the image was loaded into the engine.
    pub image: ImageDigest,
    pub process: Process,
    /// `HYTHE_PROCESS` (`web.1`) is added per replica by the engine.
    pub variables: BTreeMap<String, Secret<String>>,
    /// `PORT`; none for processes that receive no traffic.
    pub port: Option<u16>,
    pub limits: Limits,
    pub mounts: Vec<Mount>,
    /// SIGTERM, this many seconds, SIGKILL.
    pub grace_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaState {
    Starting,
    /// The engine runs it; whether it is ready is for probes to say.
    Running,
    /// It lives and does no work: somebody froze it, or cut it off its network. It is replaced.
    Stranded,
    Exited {
        code: i64,
        out_of_memory: bool,
        at: Timestamp,
    },
}

/// One observed replica of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The engine's own name for it; opaque.
    pub id: String,
    pub workload: WorkloadId,
    pub generation: Generation,
    pub release: ReleaseId,
    /// 1-based place within its workload and generation: the `1` of `web.1`.
    pub ordinal: u32,
    pub state: ReplicaState,
    pub started_at: Option<Timestamp>,
    /// Those that it has mounted.
    pub volumes: Vec<VolumeId>,
    /// Where it can be reached from this machine, once it runs and has a port.
    pub address: Option<SocketAddr>,
}
