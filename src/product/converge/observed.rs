//! What the engine and the proxy show: the right side of every comparison. The engine's list is
//! the truth about replicas; what is kept here beside it (readiness, routes, crashes) can be lost
//! and is found again by looking.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::apply::Busy;
use super::scale::{Demand, Load};
use super::vital::{Death, Standing, Vital};
use crate::base::clock::Timestamp;
use crate::base::model::{EnvironmentId, Generation, LATENCY_MILLIS, Replica, ReplicaState, WorkloadId};

/// One replica as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub replica: Replica,
    /// Nothing good is known of one that has exited or is being stopped.
    pub standing: Standing,
    pub traffic: Traffic,
    pub answers: Answers,
}

/// Requests that a replica was given since it first received traffic, as far as this process knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    pub requests: u64,
    /// Answered with 500 or above, or not at all.
    pub faults: u64,
    /// Those answered, by the time until the head of the answer: below each bound of `LATENCY_MILLIS`, and above the last.
    pub latency: [u64; LATENCY_MILLIS.len() + 1],
}

/// The part of `Answers` that a share of faults is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub faults: u64,
}

impl From<Answers> for Tally {
    fn from(answers: Answers) -> Self {
        Self { requests: answers.requests, faults: answers.faults }
    }
}

impl std::ops::AddAssign for Answers {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.faults += other.faults;
        self.latency.iter_mut().zip(other.latency).for_each(|(mine, theirs)| *mine += theirs);
    }
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
    pub fn is_ready(&self) -> bool {
        self.standing.ready
    }

    /// One that was made and not started is asked for again: who made it may have died before it could start it.
    pub fn has_started(&self) -> bool {
        self.runs() && self.replica.state != ReplicaState::Starting
    }

    pub fn runs(&self) -> bool {
        !matches!(self.replica.state, ReplicaState::Exited { .. } | ReplicaState::Stranded)
    }
}

/// How often a workload of the live rollout has crashed lately, or was restarted for a failed liveness check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crashes {
    pub generation: Generation,
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
    /// When this process began to look: nobody asked before.
    pub began: Timestamp,
}

/// So that those of an environment stand together, else as they were.
pub fn by_environment(replicas: &mut [Replica]) {
    replicas.sort_by(|a, b| a.workload.environment.cmp(&b.workload.environment));
}

/// Those of the environment, of all as `by_environment` has them.
pub fn of<'a>(replicas: &'a [Replica], environment: &EnvironmentId) -> &'a [Replica] {
    let first = replicas.partition_point(|r| r.workload.environment < *environment);
    let after = replicas.partition_point(|r| r.workload.environment <= *environment);
    replicas.get(first..after).unwrap_or_default()
}

/// What this process remembers between two looks.
#[derive(Default)]
pub struct Memory {
    pub vitals: HashMap<String, Vital>,
    pub leaving: HashMap<String, Timestamp>,
    pub crashes: BTreeMap<WorkloadId, Crashes>,
    pub demands: HashMap<EnvironmentId, Demand>,
    /// When replicas started and ended, by the clock of the converger; see `restamp`.
    pub stamps: HashMap<String, Stamps>,
    /// Replicas whose stop is under way, and what stops them. What was decided since then does not save them.
    pub doomed: HashMap<String, HashSet<Busy>>,
    /// Replicas that run and cannot stay, for what no check of theirs says; nothing that they do later saves them.
    pub deaths: HashMap<String, Death>,
}

/// As the engine has it, and by the clock that is not set.
type Stamp = Option<(Timestamp, Timestamp)>;

#[derive(Default)]
pub struct Stamps {
    started: Stamp,
    ended: Stamp,
}

/// A workload that ran this long without a crash starts counting from zero again.
const FORGIVEN_AFTER_MILLIS: i64 = 300_000;

impl Memory {
    /// Forgets what the engine no longer holds.
    pub fn keep_only(&mut self, replicas: &[Replica]) {
        let ids: HashSet<&str> = replicas.iter().map(|r| r.id.as_str()).collect();
        let held = |id: &String| ids.contains(id.as_str());
        self.vitals.retain(|id, _| held(id));
        self.leaving.retain(|id, _| held(id));
        self.doomed.retain(|id, _| held(id));
        self.deaths.retain(|id, _| held(id));
        self.stamps.retain(|id, _| held(id));
    }

    /// The engine stamps with a clock that people may set, forwards and back. What matters is how long ago something was
    /// when it was first seen: that is kept, and from then on measured by `now`, which goes on evenly.
    pub fn restamp(&mut self, replica: &mut Replica, now: Timestamp, wall: Timestamp) {
        let stamps = self.stamps.entry(replica.id.clone()).or_default();
        let steady = |stamp: &mut Stamp, raw: Timestamp| {
            let known = stamp.filter(|(known, _)| *known == raw).map(|(_, steady)| steady);
            let steady = known.unwrap_or_else(|| now.plus_millis(-wall.since(raw).max(0)));
            *stamp = Some((raw, steady));
            steady
        };
        replica.started_at = replica.started_at.map(|at| steady(&mut stamps.started, at));
        if let ReplicaState::Exited { at, .. } = &mut replica.state {
            *at = steady(&mut stamps.ended, *at);
        }
    }

    /// When it ended, by the clock that goes on evenly.
    pub fn ended(&self, replica: &str) -> Option<Timestamp> {
        self.stamps.get(replica)?.ended.map(|(_, steady)| steady)
    }

    pub fn doom(&mut self, replica: &Replica, by: &Busy) {
        self.doomed.entry(replica.id.clone()).or_default().insert(by.clone());
    }

    /// That has ended: whoever is still there was not stopped by it after all.
    pub fn spare(&mut self, ended: &Busy) {
        self.doomed.retain(|_, by| !(by.remove(ended) && by.is_empty()));
    }

    /// What is left of it is for its stop to clear away: no crash, and nothing to replace.
    pub fn has_been_stopped(&self, replica: &Replica) -> bool {
        self.doomed.contains_key(&replica.id) && matches!(replica.state, ReplicaState::Exited { .. })
    }

    pub fn is_ready(&self, replica: &str) -> bool {
        self.vitals.get(replica).is_some_and(|vital| vital.standing.ready) && self.death(replica).is_none()
    }

    pub fn crashed(&mut self, replica: &Replica, at: Timestamp) {
        let crashes = self.crashes.entry(replica.workload.clone()).or_default();
        if at.since(crashes.last) > FORGIVEN_AFTER_MILLIS || crashes.generation != replica.generation {
            crashes.count = 0;
        }
        crashes.generation = replica.generation;
        crashes.count = crashes.count.saturating_add(1);
        crashes.last = at;
    }

    /// Why it has to be replaced although it runs.
    pub fn death(&self, replica: &str) -> Option<Death> {
        let other = self.deaths.get(replica).copied();
        other.or_else(|| self.vitals.get(replica).and_then(|vital| vital.standing.dead))
    }

    /// `replicas` are those of the environment; `routed` tells what the proxy knows of one that has or had a route.
    pub fn observe(
        &self,
        environment: &EnvironmentId,
        replicas: &[Replica],
        routed: impl Fn(&str) -> Option<Routed>,
    ) -> Observed {
        let seen = replicas.iter().map(|replica| {
            let routed = routed(&replica.id);
            let traffic = match (&routed, self.leaving.get(&replica.id)) {
                (Some(Routed { now: true, .. }), _) => Traffic::Routed,
                (Some(Routed { in_flight, .. }), Some(since)) => {
                    Traffic::Leaving { since: *since, in_flight: *in_flight }
                }
                _ => Traffic::None,
            };
            let exited = matches!(replica.state, ReplicaState::Exited { .. } | ReplicaState::Stranded);
            let lost = exited || self.doomed.contains_key(&replica.id);
            let vital = self.vitals.get(&replica.id).filter(|_| !lost);
            let mut standing = vital.map(|vital| vital.standing.clone()).unwrap_or_default();
            if let Some(death) = self.deaths.get(&replica.id).filter(|_| !lost) {
                (standing.dead, standing.ready) = (Some(*death), false);
            }
            Seen { replica: replica.clone(), standing, traffic, answers: routed.map(|r| r.answers).unwrap_or_default() }
        });
        let crashes = self.crashes.iter().filter(|(id, _)| id.environment == *environment);
        let crashes = crashes.map(|(id, c)| (id.clone(), *c)).collect();
        Observed { replicas: seen.collect(), crashes, ..Observed::default() }
    }
}

/// What the proxy knows of a replica.
#[derive(Debug, Clone, Copy)]
pub struct Routed {
    /// It stands in the published table.
    pub now: bool,
    pub in_flight: usize,
    pub answers: Answers,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model::{Id, ReleaseId};

    #[test]
    fn who_is_stopped_for_two_reasons_is_spared_when_both_have_ended() {
        let workload = WorkloadId { environment: EnvironmentId::fresh(), process: "web".parse().expect("name") };
        let (ensure, retire) = (Busy::Ensure(workload.clone()), Busy::Retire(workload.clone()));
        let replica = Replica {
            id: "web.2".into(),
            workload,
            generation: Generation(5),
            release: ReleaseId::fresh(),
            ordinal: 2,
            state: ReplicaState::Exited { code: 0, out_of_memory: false, at: Timestamp(1) },
            started_at: None,
            volumes: Vec::new(),
            address: None,
        };
        let mut memory = Memory::default();
        memory.doom(&replica, &ensure);
        memory.spare(&retire);
        assert!(memory.has_been_stopped(&replica), "the other one is under way still");
        memory.doom(&replica, &retire);
        memory.spare(&ensure);
        assert!(memory.has_been_stopped(&replica));
        memory.spare(&retire);
        assert!(!memory.has_been_stopped(&replica));
    }
}
