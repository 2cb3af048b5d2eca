//! Clauses about volumes.

use std::time::Duration;

use super::{Rig, is_running, until, workload};
use crate::base::model::{Id, Mount, Replica, VolumeId, WorkloadSpec};
use crate::machinery::runtime::{Engine, EngineError};

const PATIENCE: Duration = Duration::from_secs(60);

/// A fresh one, at `path`.
pub fn mount(path: &str) -> Mount {
    Mount {
        volume: "store".parse().expect("a name"),
        id: VolumeId::fresh(),
        path: path.parse().expect("a path"),
        shared: false,
    }
}

/// The one replica of the spec, once it runs.
pub async fn started(engine: &dyn Engine, spec: &WorkloadSpec) -> Replica {
    engine.ensure(spec).await.expect("ensure");
    let mine = |r: &&Replica| r.workload == spec.id && r.generation == spec.generation && is_running(r);
    let all = until(engine, |all| all.iter().any(|r| mine(&r))).await;
    all.iter().find(mine).expect("it runs").clone()
}

async fn code(engine: &dyn Engine, replica: &Replica, words: &[&str]) -> Option<i64> {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    engine.exec_in(&replica.id, &words, PATIENCE).await.expect("exec").code
}

pub async fn a_volume_outlives_its_replicas(rig: &dyn Rig) {
    let engine = rig.engine();
    let first = WorkloadSpec { mounts: vec![mount("/data")], ..workload(rig, &["sleep", "1000"]) };
    let replica = started(engine, &first).await;
    assert_eq!(code(engine, &replica, &["touch", "/data/kept"]).await, Some(0), "its user may write there");
    assert_eq!(engine.volumes().await.expect("volumes"), [first.mounts[0].id.clone()]);
    engine.retire(&first.id, first.generation.next()).await.expect("retire");
    let next = WorkloadSpec { generation: first.generation.next(), ..first.clone() };
    let replica = started(engine, &next).await;
    assert_eq!(code(engine, &replica, &["cat", "/data/kept"]).await, Some(0), "what was written is there");
    engine.remove(&replica.id).await.expect("removed at once");
    assert_eq!(engine.volumes().await.expect("volumes"), [first.mounts[0].id.clone()], "a replica takes no data along");
    let sizes = engine.volume_sizes().await.expect("sizes");
    assert!(sizes.contains_key(&first.mounts[0].id), "{sizes:?}");
}

pub async fn a_volume_is_removed_only_when_nobody_has_it(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = WorkloadSpec { mounts: vec![mount("/data")], ..workload(rig, &["sleep", "1000"]) };
    let id = &spec.mounts[0].id;
    let replica = started(engine, &spec).await;
    code(engine, &replica, &["touch", "/data/kept"]).await;
    let held = engine.remove_volume(id).await;
    assert!(matches!(held, Err(EngineError::Refused { .. })), "{held:?}");
    assert_eq!(code(engine, &replica, &["cat", "/data/kept"]).await, Some(0));
    engine.retire(&spec.id, spec.generation.next()).await.expect("retire");
    for _ in 0..2 {
        engine.remove_volume(id).await.expect("removed, and gone is success");
        assert!(engine.volumes().await.expect("volumes").is_empty());
    }
    let replica = started(engine, &spec).await;
    assert_eq!(code(engine, &replica, &["cat", "/data/kept"]).await, Some(1), "a new one is empty");
}

pub async fn a_replica_has_the_volumes_of_its_spec_and_no_others(rig: &dyn Rig) {
    let engine = rig.engine();
    let two = vec![mount("/data"), mount("/var/cache/app")];
    let with = WorkloadSpec { mounts: two.clone(), ..workload(rig, &["sleep", "1000"]) };
    let without = workload(rig, &["sleep", "1000"]);
    let (with, without) = (started(engine, &with).await, started(engine, &without).await);
    assert_eq!(with.volumes, [two[0].id.clone(), two[1].id.clone()]);
    assert!(without.volumes.is_empty());
    assert_eq!(code(engine, &with, &["touch", "/data/mine"]).await, Some(0));
    assert_eq!(code(engine, &without, &["cat", "/data/mine"]).await, Some(1));
}
