//! An engine in memory, with scriptable failures.

use std::net::SocketAddr;

use super::EngineError;
use crate::base::model::{Generation, ImageDigest, WorkloadId};

/// Cheap to clone; clones are the same engine.
#[derive(Clone, Default)]
pub struct FakeEngine;

/// The calls of the trait, for scripts and for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Probe,
    Observe,
    Events,
    Ensure,
    Retire,
    Remove,
    Logs,
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
    fn from(_: Fault) -> Self {
        todo!()
    }
}

impl FakeEngine {
    pub fn new() -> Self {
        Self
    }

    /// The next `times` calls of `op` fail.
    pub fn fail_next(&self, _op: Op, _times: usize, _fault: Fault) {
        todo!()
    }

    /// How often `op` was called, failed calls included.
    pub fn calls(&self, _op: Op) -> usize {
        todo!()
    }

    /// The image counts as loaded.
    pub fn add_image(&self, _image: &ImageDigest) {
        todo!()
    }

    /// The image counts as not loaded any more.
    pub fn drop_image(&self, _image: &ImageDigest) {
        todo!()
    }

    /// Where replicas with a port are reached that start from now on; the default is no address.
    pub fn serve_at(
        &self,
        _place: impl Fn(&WorkloadId, Generation, u32) -> Option<SocketAddr> + Send + Sync + 'static,
    ) {
        todo!()
    }

    /// While held, new replicas stay `Starting`; letting go makes them run.
    pub fn hold_starts(&self, _hold: bool) {
        todo!()
    }

    /// The next `times` replicas exit as soon as they start, after printing `lines`.
    pub fn crash_starts(&self, _times: usize, _code: i64, _out_of_memory: bool, _lines: &[&str]) {
        todo!()
    }

    /// Ends the replicas of `id` with this ordinal, of every generation.
    pub fn kill(&self, _id: &WorkloadId, _ordinal: u32, _code: i64, _out_of_memory: bool) {
        todo!()
    }
}
