//! What the planner can say: changes, and why a rollout is given up.

use crate::base::clock::Timestamp;
use crate::base::model::{EnvironmentStatus, Generation, WorkloadId};
use crate::product::converge::observed::Tally;
use crate::product::converge::vital::Death;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make `count` replicas of this workload and generation run.
    Ensure { workload: WorkloadId, generation: Generation, count: u32 },
    /// Ask a replica its checks, until what is known of it changes.
    Probe { replica: String },
    /// Stop (with grace) all replicas of the workload below the generation.
    Retire { workload: WorkloadId, below: Generation },
    /// Stop one replica with grace.
    Stop { replica: String },
    /// Take away one replica at once: exited, or of a rollout that was given up.
    Remove { replica: String },
    /// A replica of the desired rollout is the evidence that it cannot become or stay live.
    GiveUp { replica: Option<String>, cause: Cause },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Exited {
        code: i64,
        out_of_memory: bool,
    },
    NotReady {
        millis: i64,
    },
    /// It runs and cannot stay.
    Dead(Death),
    /// In the watch window: crashed again and again.
    Loops {
        times: u32,
        seconds: i64,
    },
    /// More of its answers were faults than of the other one's.
    Worse {
        new: Tally,
        old: Tally,
        seconds: i64,
        /// Of the requests that went to it.
        percent: u8,
    },
    /// Its answers took longer than the other one's: milliseconds of one request in twenty.
    Slower {
        new: u64,
        old: u64,
        seconds: i64,
        percent: u8,
    },
    /// As a canary.
    Fell {
        code: i64,
        out_of_memory: bool,
        percent: u8,
    },
    /// A canary that nobody let go on.
    Forgotten {
        seconds: i64,
    },
    /// Somebody said so.
    Aborted,
    /// At the end of the watch window not all of it was ready.
    Unsettled {
        seconds: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub list: Vec<Change>,
    /// Ids of the replicas that shall receive traffic.
    pub routed: Vec<String>,
    /// Which of them together receive a percentage of it, and the others the rest.
    pub share: Option<Share>,
    pub status: EnvironmentStatus,
    /// Nothing is routed, and what was will be again.
    pub holds: bool,
    /// When to look again if nothing happens before.
    pub look_again_at: Option<Timestamp>,
}

/// The canary's part of the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub percent: u8,
    pub replicas: Vec<String>,
}
