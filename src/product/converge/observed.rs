//! What the engine and the proxy show: the right side of every comparison. The engine's list is
//! the truth about replicas; what is kept here beside it (readiness, routes, crashes) can be lost
//! and is found again by looking.

use std::collections::{BTreeMap, HashMap};

use super::scale::{Load, Meter};
use crate::base::clock::Timestamp;
use crate::base::model::{EnvironmentId, Replica, ReplicaState, WorkloadId};

/// One replica as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub replica: Replica,
    /// Its check has passed and it has not exited since.
    pub ready: bool,
    pub traffic: Traffic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Never had a route, as far as this process knows.
    None,
    Routed,
    /// Out of the table since then, with this many requests still in flight.
    Leaving {
        since: Timestamp,
        in_flight: usize,
    },
}

impl Seen {
    pub fn runs(&self) -> bool {
        !matches!(self.replica.state, ReplicaState::Exited { .. })
    }
}

/// How often a workload of the live rollout has crashed lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crashes {
    pub count: u32,
    pub last: Timestamp,
}

const LONGEST_BACKOFF_MILLIS: i64 = 60_000;

impl Crashes {
    /// How long after the last crash the next restart waits: not at all, then 1 s, 2 s, 4 s … 60 s.
    pub fn pause_millis(&self) -> i64 {
        match self.count {
            0 | 1 => 0,
            n => (1000_i64 << (n - 2).min(10)).min(LONGEST_BACKOFF_MILLIS),
        }
    }
}

/// Everything observed of one environment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub replicas: Vec<Seen>,
    pub crashes: BTreeMap<WorkloadId, Crashes>,
    /// Of its web replicas together.
    pub load: Option<Load>,
}

/// What this process remembers between two looks.
#[derive(Default)]
pub struct Memory {
    pub ready: HashMap<String, Timestamp>,
    pub leaving: HashMap<String, Timestamp>,
    pub crashes: BTreeMap<WorkloadId, Crashes>,
    pub meters: HashMap<EnvironmentId, Meter>,
}

/// A workload that ran this long without a crash starts counting from zero again.
const FORGIVEN_AFTER_MILLIS: i64 = 300_000;

impl Memory {
    /// Forgets what the engine no longer holds.
    pub fn keep_only(&mut self, replicas: &[Replica]) {
        let held = |id: &String| replicas.iter().any(|r| r.id == *id);
        self.ready.retain(|id, _| held(id));
        self.leaving.retain(|id, _| held(id));
    }

    pub fn is_ready(&self, replica: &str) -> bool {
        self.ready.contains_key(replica)
    }

    pub fn crashed(&mut self, workload: &WorkloadId, at: Timestamp) {
        let crashes = self.crashes.entry(workload.clone()).or_default();
        if at.since(crashes.last) > FORGIVEN_AFTER_MILLIS {
            crashes.count = 0;
        }
        crashes.count = crashes.count.saturating_add(1);
        crashes.last = at;
    }

    /// `routed` tells how many requests a routed or leaving replica has in flight; none when it has no upstream.
    pub fn observe(
        &self,
        environment: &EnvironmentId,
        replicas: &[Replica],
        routed: impl Fn(&str) -> Option<(bool, usize)>,
    ) -> Observed {
        let seen = replicas.iter().filter(|r| r.workload.environment == *environment).map(|replica| {
            let traffic = match (routed(&replica.id), self.leaving.get(&replica.id)) {
                (Some((true, _)), _) => Traffic::Routed,
                (Some((false, in_flight)), Some(since)) => Traffic::Leaving { since: *since, in_flight },
                _ => Traffic::None,
            };
            let exited = matches!(replica.state, ReplicaState::Exited { .. });
            Seen { replica: replica.clone(), ready: !exited && self.ready.contains_key(&replica.id), traffic }
        });
        let crashes = self.crashes.iter().filter(|(id, _)| id.environment == *environment);
        let crashes = crashes.map(|(id, c)| (id.clone(), *c)).collect();
        Observed { replicas: seen.collect(), crashes, load: None }
    }
}
