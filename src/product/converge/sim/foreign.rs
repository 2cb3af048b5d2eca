//! What stands in the engine and is not ours: things of people without any label of ours, and those of another Hythe, which
//! may bear the same ids beside its own prefix. Nothing that the planner or what carries it out does may touch them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::engine::{Body, OURS, Owner, SimEngine};
use super::place::{Place, id, process};
use super::script::Nature;
use super::world::World;
use crate::base::clock::Timestamp;
use crate::base::model::{Generation, Replica, ReplicaState, WorkloadId};

const OTHER: Owner = Some("other");

/// All of it, as it was put there.
pub struct Foreign {
    bodies: BTreeMap<String, Body>,
    networks: BTreeMap<String, Owner>,
    volumes: BTreeMap<String, Owner>,
}

impl Foreign {
    pub fn of(engine: &SimEngine) -> Self {
        Self {
            bodies: theirs(&engine.bodies, |body| body.owner).map(|(id, body)| (id.clone(), body.clone())).collect(),
            networks: theirs(&engine.networks, |owner| *owner).map(|(name, owner)| (name.clone(), *owner)).collect(),
            volumes: theirs(&engine.volumes, |owner| *owner).map(|(name, owner)| (name.clone(), *owner)).collect(),
        }
    }

    fn is_as_in(&self, engine: &SimEngine) -> bool {
        self.bodies.iter().eq(theirs(&engine.bodies, |body| body.owner))
            && self.networks.iter().eq(theirs(&engine.networks, |owner| *owner))
            && self.volumes.iter().eq(theirs(&engine.volumes, |owner| *owner))
    }
}

fn theirs<T>(all: &BTreeMap<String, T>, owner: impl Fn(&T) -> Owner) -> impl Iterator<Item = (&String, &T)> {
    all.iter().filter(move |(_, one)| owner(one) != OURS)
}

/// Beside each app a replica of the same name of another Hythe, running, exited and frozen; and what people made.
pub fn settle_in(engine: &mut SimEngine, places: &[Place]) {
    let mut put = |owner: Owner, workload: WorkloadId, generation: i64, state: ReplicaState| {
        let number = u8::try_from(engine.bodies.len()).unwrap_or(0);
        let name = format!("foreign-{number}");
        let replica = Replica {
            id: name.clone(),
            workload,
            generation: Generation(generation),
            release: id(usize::from(number)),
            ordinal: 1,
            state,
            started_at: Some(Timestamp(0)),
            volumes: vec![id(0)],
            address: Some(SocketAddr::new(Ipv4Addr::new(172, 16, 0, number).into(), 8080)),
        };
        let body = Body {
            owner,
            replica,
            nature: Nature::Good(0),
            started: 0,
            able_from: 0,
            broke_at: -1_000_000_000,
            sick: false,
            unready_until: 0,
            ends: None,
            port: true,
        };
        engine.bodies.insert(name, body);
    };
    let of = |environment, word: &str| WorkloadId { environment, process: process(word) };
    for place in places {
        let environment = &place.environment.id;
        put(OTHER, of(environment.clone(), "web"), 2, ReplicaState::Running);
        put(OTHER, of(environment.clone(), "worker"), 1, ReplicaState::Stranded);
        let exited = ReplicaState::Exited { code: 1, out_of_memory: false, at: Timestamp(0) };
        put(None, of(environment.clone(), "web"), 3, exited);
    }
    // Of an app that we never heard of.
    put(OTHER, of(id(9_999), "web"), 1, ReplicaState::Running);
    put(None, of(id(9_998), "web"), 1, ReplicaState::Running);
    for (name, owner) in [("bridge", None), ("other-build", OTHER), ("other-space", OTHER)] {
        engine.networks.insert(name.into(), owner);
    }
    for (name, owner) in [("pgdata", None), ("hythe-volume-store", None), ("other-volume-store", OTHER)] {
        engine.volumes.insert(name.into(), owner);
    }
}

impl World {
    pub fn check_foreign(&mut self) {
        if !self.foreign.is_as_in(&self.engine) {
            self.broken("something in the engine that is not ours was touched".into());
        }
    }
}
