//! The engine of the simulation, as the real one looks from Hythe: names are unique, a container is created and then
//! started, a stop takes until the process has ended, and what was begun goes on when the caller is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use super::script::Nature;
use crate::base::clock::Timestamp;
use crate::base::model::{Generation, Replica, ReplicaState, WorkloadId, WorkloadSpec};

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Whose label it bears.
    pub owner: Owner,
    pub replica: Replica,
    pub nature: Nature,
    /// All times here are those of the world, which nobody sets.
    pub started: i64,
    /// From then on it answers.
    pub able_from: i64,
    pub broke_at: i64,
    pub sick: bool,
    pub unready_until: i64,
    /// Being stopped: ends then.
    pub ends: Option<i64>,
    pub port: bool,
}

impl Body {
    pub fn is_running(&self) -> bool {
        self.replica.state == ReplicaState::Running
    }

    /// Whether a request gets an answer.
    pub fn answers(&self, now: i64) -> bool {
        self.is_running() && self.able_from <= now && !self.sick
    }

    pub fn is_ready(&self, now: i64) -> bool {
        self.answers(now) && self.unready_until <= now
    }

    fn is_up(&self) -> bool {
        self.is_running()
    }

    pub fn name(&self) -> (WorkloadId, Generation, u32) {
        (self.replica.workload.clone(), self.replica.generation, self.replica.ordinal)
    }
}

/// The prefix that something is labelled with, if it is.
pub type Owner = Option<&'static str>;
pub const OURS: Owner = Some("hythe");

#[derive(Default)]
pub struct SimEngine {
    /// Whose each is, by its name.
    pub networks: BTreeMap<String, Owner>,
    pub volumes: BTreeMap<String, Owner>,
    /// Ours and those of others.
    pub bodies: BTreeMap<String, Body>,
    made: u64,
    pub away_until: i64,
    pub slow_until: i64,
    pub silent_until: i64,
    pub trouble_until: i64,
    /// Images that are not there, by release.
    pub missing: BTreeSet<String>,
    /// Names of those that ended by themselves or were broken, for counting restarts.
    pub fallen: BTreeSet<(WorkloadId, Generation, u32)>,
    /// World time of each start that followed on such an end.
    pub restarts: BTreeMap<(WorkloadId, Generation, u32), Vec<i64>>,
}

/// What a listing tells `ensure` to do.
pub struct Work {
    pub missing: Vec<u32>,
    pub surplus: Vec<String>,
}

impl SimEngine {
    pub fn is_away(&self, now: i64) -> bool {
        now < self.away_until
    }

    pub fn ours(&self) -> impl Iterator<Item = &Body> {
        self.bodies.values().filter(|body| body.owner == OURS)
    }

    pub fn observe(&self) -> Vec<Replica> {
        self.ours().map(|body| body.replica.clone()).collect()
    }

    pub fn work(&self, spec: &WorkloadSpec) -> Work {
        let here = self.ours().filter(|b| b.replica.workload == spec.id);
        let here: Vec<&Body> = here.filter(|b| b.replica.generation == spec.generation).collect();
        let up = |n: u32| here.iter().any(|b| b.replica.ordinal == n && b.is_up());
        Work {
            missing: (1..=spec.count).filter(|n| !up(*n)).collect(),
            surplus: here.iter().filter(|b| b.replica.ordinal > spec.count).map(|b| b.replica.id.clone()).collect(),
        }
    }

    /// Whatever stood under its name is gone.
    pub fn create(&mut self, spec: &WorkloadSpec, ordinal: u32, nature: Nature) -> String {
        let name = (spec.id.clone(), spec.generation, ordinal);
        self.bodies.retain(|_, b| b.owner != OURS || b.name() != name);
        self.networks.entry(format!("hythe-{}", spec.space)).or_insert(OURS);
        for mount in &spec.mounts {
            self.volumes.entry(format!("hythe-volume-{}", mount.id)).or_insert(OURS);
        }
        self.made += 1;
        let id = format!("{:06}", self.made);
        let replica = Replica {
            id: id.clone(),
            workload: spec.id.clone(),
            generation: spec.generation,
            release: spec.release.clone(),
            ordinal,
            state: ReplicaState::Starting,
            started_at: None,
            volumes: spec.mounts.iter().map(|mount| mount.id.clone()).collect(),
            address: None,
        };
        let body = Body {
            owner: OURS,
            replica,
            nature,
            started: 0,
            able_from: i64::MAX,
            broke_at: -1_000_000_000,
            sick: false,
            unready_until: 0,
            ends: None,
            port: spec.port.is_some(),
        };
        self.bodies.insert(id.clone(), body);
        id
    }

    /// When it exits by itself, if it will.
    pub fn start(&mut self, id: &str, now: i64, wall: Timestamp) -> Option<i64> {
        let body = self.bodies.get_mut(id).filter(|b| b.replica.state == ReplicaState::Starting)?;
        body.replica.state = ReplicaState::Running;
        body.replica.started_at = Some(wall);
        let number = id.parse::<u32>().unwrap_or(0);
        let [_, a, b, c] = number.to_be_bytes();
        body.replica.address = body.port.then(|| SocketAddr::new(Ipv4Addr::new(10, a, b, c).into(), 8080));
        body.started = now;
        let (able, exits) = match body.nature {
            Nature::Good(after) => (after, None),
            Nature::Errs => (50, None),
            Nature::Dies(after) => (100, Some(after)),
            Nature::NeverReady => (i64::MAX / 2, None),
            Nature::Crashes(after) => (i64::MAX / 2, Some(after)),
        };
        body.able_from = now.saturating_add(able);
        let name = body.name();
        if self.fallen.remove(&name) {
            self.restarts.entry(name).or_default().push(now);
        }
        exits.map(|after| now + after)
    }

    /// By itself or by somebody's hand; not for a stop of ours.
    pub fn falls(&mut self, id: &str, now: i64, wall: Timestamp, code: i64) {
        let Some(body) = self.bodies.get_mut(id).filter(|b| !matches!(b.replica.state, ReplicaState::Exited { .. }))
        else {
            return;
        };
        body.replica.state = ReplicaState::Exited { code, out_of_memory: false, at: wall };
        body.replica.address = None;
        body.broke_at = now;
        let (by_itself, name) = (code == 1, body.name());
        if by_itself {
            self.fallen.insert(name);
        }
    }

    pub fn remove(&mut self, id: &str) {
        self.bodies.remove(id);
    }
}
