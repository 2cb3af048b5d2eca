//! Commands beside the replicas: what an engine is asked to run once, and the streams of what runs.
//! A command is known by its id alone, so that whoever asks again, after a crash or from another
//! process, finds the one that runs and never starts a second.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::{Channel, Result};
use crate::base::model::{
    AppName, CommandId, EnvironmentId, Exit, ImageDigest, Limits, Mount, ReleaseId, Signal, SpaceId, Window,
};
use crate::base::secret::Secret;

/// Everything an engine needs to run one command once, held to what a replica is held to.
#[derive(Debug, Clone)]
pub struct CommandSpec {
    pub id: CommandId,
    pub environment: EnvironmentId,
    pub app: AppName,
    pub space: SpaceId,
    pub release: ReleaseId,
    pub image: ImageDigest,
    /// `HYTHE_PROCESS`, such as `run.4f1c`: no name of a replica.
    pub process: String,
    pub command: Vec<String>,
    pub working_dir: Option<String>,
    pub variables: BTreeMap<String, Secret<String>>,
    pub limits: Limits,
    pub mounts: Vec<Mount>,
}

/// A further command inside a replica that runs.
#[derive(Debug, Clone)]
pub struct EnterSpec {
    pub id: CommandId,
    pub command: Vec<String>,
    /// Beside those of the replica.
    pub variables: BTreeMap<String, String>,
}

/// What the holder of a command's streams tells it beside them.
#[derive(Debug, Clone, Copy)]
pub enum Control {
    /// Of its terminal; nothing for a command without one.
    Resize(Window),
    Signal(Signal),
}

/// The streams of a command that was started with them. With a terminal, all output comes on `Channel::Out`.
pub struct Attached {
    /// Bounded: a command that does not read holds its writer up. Dropping it is the end of the input.
    pub stdin: mpsc::Sender<Bytes>,
    pub control: mpsc::Sender<Control>,
    pub output: BoxStream<'static, Result<(Channel, Bytes)>>,
    /// Resolves after `output` has ended.
    pub exit: BoxFuture<'static, Result<Exit>>,
}

/// One observed command of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCommand {
    pub id: CommandId,
    pub environment: EnvironmentId,
    pub running: bool,
}
