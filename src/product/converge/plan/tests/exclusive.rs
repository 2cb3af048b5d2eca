//! Processes that have a volume to themselves.

use super::*;
use crate::base::model::{Mount, Mounts, VolumeId};

fn id(n: u8) -> VolumeId {
    format!("vol_{}", n.to_string().repeat(32)).parse().expect("an id")
}

fn mounts(process: &str, shared: bool) -> Mounts {
    let path = "/data".parse().expect("a path");
    let mount = Mount { volume: "store".parse().expect("a name"), id: id(1), path, shared };
    Mounts::from([(name(process), vec![mount])])
}

/// As `desired`, where `process` has the volume in both the desired and the live release.
fn keeping(rollout: i64, live: i64, process: &str, formation: &[(&str, u32)]) -> Desired {
    let mut wanted = desired(rollout, live, formation);
    let release = wanted.release.as_mut().expect("a release");
    release.mounts = mounts(process, false);
    release.formation = wanted.environment.spec.formation.clone();
    if live > 0 && live != rollout {
        wanted.live = wanted.release.clone();
        wanted.environment.status.live_release = wanted.release.as_ref().map(|r| r.id.clone());
    }
    wanted
}

fn has(mut seen: Seen) -> Seen {
    seen.replica.volumes = vec![id(1)];
    seen
}

fn routed(mut seen: Seen) -> Seen {
    seen.traffic = Traffic::Routed;
    seen
}

fn drained(mut seen: Seen) -> Seen {
    seen.traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 0 };
    seen
}

fn blocked(mut wanted: Desired) -> Desired {
    wanted.environment.status.state = EnvironmentState::Blocked;
    wanted.environment.status.observed_generation = wanted.environment.generation;
    wanted
}

#[test]
fn the_one_before_leaves_the_route_then_stops_then_the_next_starts() {
    let wanted = keeping(2, 1, "web", &[]);
    let old = has(seen(&wanted, "web", 1, 1, true));
    let leaving = run(&wanted, &with(vec![routed(old.clone())]));
    assert!(leaving.list.is_empty() && leaving.routed.is_empty(), "{leaving:?}");
    assert_eq!(leaving.status.state, EnvironmentState::Converging, "requests wait");
    assert!(leaving.look_again_at.is_some());

    let mut busy = drained(old.clone());
    busy.traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 1 };
    assert!(run(&wanted, &with(vec![busy])).list.is_empty(), "a request is inside");

    let stops = run(&wanted, &with(vec![drained(old.clone())]));
    assert_eq!(stops.list, [Change::Retire { workload: old.replica.workload.clone(), below: Generation(2) }]);

    let starts = run(&wanted, &with(vec![]));
    assert_eq!(ensures(&starts), [("web".to_owned(), 1)]);
    let ready = run(&wanted, &with(vec![has(seen(&wanted, "web", 2, 1, true))]));
    assert_eq!((ready.status.live, ready.status.state), (Generation(2), EnvironmentState::Live));
    assert_eq!(ready.routed, ["web.2.1"]);
}

#[test]
fn nothing_stops_before_all_else_of_the_rollout_is_ready() {
    let wanted = keeping(2, 1, "worker", &[("worker", 1)]);
    let old = [routed(seen(&wanted, "web", 1, 1, true)), has(seen(&wanted, "worker", 1, 1, true))];
    let early = run(&wanted, &with([old.as_slice(), &[seen(&wanted, "web", 2, 1, false)]].concat()));
    assert!(!early.list.iter().any(|c| matches!(c, Change::Retire { .. })), "{early:?}");
    assert!(ensures(&early).is_empty(), "the worker waits for its volume: {early:?}");
    let late = run(&wanted, &with([old.as_slice(), &[seen(&wanted, "web", 2, 1, true)]].concat()));
    let worker = old[1].replica.workload.clone();
    assert!(late.list.contains(&Change::Retire { workload: worker, below: Generation(2) }), "{late:?}");
    assert_eq!(late.routed, ["web.1.1"], "web serves on meanwhile");
}

#[test]
fn one_that_was_made_and_never_started_is_asked_for_again() {
    let wanted = keeping(2, 1, "web", &[]);
    let mut made = has(seen(&wanted, "web", 2, 1, false));
    (made.replica.state, made.replica.started_at) = (ReplicaState::Starting, None);
    assert_eq!(ensures(&run(&wanted, &with(vec![made]))), [("web".to_owned(), 1)]);
}

#[test]
fn a_frozen_one_has_its_volume_still_and_one_that_ended_has_not() {
    let wanted = keeping(2, 1, "web", &[]);
    let mut frozen = has(seen(&wanted, "web", 1, 1, false));
    frozen.replica.state = ReplicaState::Stranded;
    let changes = run(&wanted, &with(vec![frozen]));
    assert!(ensures(&changes).is_empty(), "{changes:?}");
    assert!(changes.list.contains(&Change::Remove { replica: "web.1.1".into() }), "{changes:?}");
    let ended = exited(has(seen(&wanted, "web", 1, 1, false)), 0);
    assert_eq!(ensures(&run(&wanted, &with(vec![ended]))), [("web".to_owned(), 1)]);
}

#[test]
fn what_failed_goes_and_the_live_release_comes_back() {
    let wanted = keeping(2, 1, "web", &[]);
    let failed = exited(has(seen(&wanted, "web", 2, 1, false)), 7);
    let given_up = run(&wanted, &with(vec![failed]));
    assert!(matches!(given_up.list[..], [Change::GiveUp { .. }]), "{given_up:?}");
    assert!(given_up.holds, "requests wait for the way back");

    let wanted = blocked(wanted);
    let still_there = run(&wanted, &with(vec![has(seen(&wanted, "web", 2, 1, false))]));
    assert_eq!(still_there.list, [Change::Remove { replica: "web.2.1".into() }], "never both at once");
    let free = run(&wanted, &with(vec![]));
    let (workload, generation) = (has(seen(&wanted, "web", 1, 1, true)).replica.workload, Generation(1));
    assert_eq!(free.list, [Change::Ensure { workload: workload.clone(), generation, count: 1 }]);
    assert!(free.holds);
    let back = run(&wanted, &with(vec![has(seen(&wanted, "web", 1, 1, true))]));
    assert_eq!((back.routed.as_slice(), back.holds), (["web.1.1".to_owned()].as_slice(), false));
    assert!(back.list.is_empty(), "{back:?}");

    let mut again = with(vec![]);
    again.crashes.insert(workload, Crashes { generation: Generation(1), count: 4, last: NOW });
    let waits = run(&wanted, &again);
    assert!(waits.list.is_empty() && waits.look_again_at.is_some(), "a crash loop is not fed: {waits:?}");
}

#[test]
fn a_shared_volume_is_no_reason_to_stop() {
    let mut wanted = keeping(2, 1, "web", &[("web", 2)]);
    wanted.release.as_mut().expect("a release").mounts = mounts("web", true);
    let changes = run(&wanted, &with(vec![routed(has(seen(&wanted, "web", 1, 1, true)))]));
    assert_eq!(ensures(&changes), [("web".to_owned(), 2)]);
    assert_eq!(changes.routed, ["web.1.1"]);
}

#[test]
fn a_volume_that_moved_to_another_process_is_waited_for_too() {
    let mut wanted = keeping(2, 1, "web", &[("worker", 1)]);
    wanted.environment.spec.formation.insert(name("worker"), 0);
    let old = has(seen(&wanted, "worker", 1, 1, true));
    let changes = run(&wanted, &with(vec![old.clone()]));
    assert_eq!(changes.list, [Change::Retire { workload: old.replica.workload, below: Generation(2) }]);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is seen: no replica is started while another one has its volume, and planning twice is planning once.
        #[test]
        fn a_volume_has_one_replica(
            list in proptest::collection::vec((any::<bool>(), 1..4_i64, 0..5_u8, 0..3_u8), 0..8),
            rollout in 1..4_i64, live in 0..4_i64, is_blocked in any::<bool>(), web in any::<bool>(),
        ) {
            let process = if web { "web" } else { "worker" };
            let mut wanted = keeping(rollout, live.min(rollout), process, &[("worker", 1)]);
            if is_blocked && live < rollout {
                wanted = blocked(wanted);
            }
            let mut all: Vec<Seen> = Vec::new();
            for (is_web, generation, kind, traffic) in list {
                let one = seen(&wanted, if is_web { "web" } else { "worker" }, generation, 1, kind == 0);
                if all.iter().any(|s| s.replica.id == one.replica.id) {
                    continue;
                }
                let one = if is_web == web { has(one) } else { one };
                let one = match traffic { 0 => one, 1 => routed(one), _ => drained(one) };
                all.push(match kind {
                    1 => exited(one, 1),
                    2 => failing(one, CheckKind::Readiness),
                    3 => failing(one, CheckKind::Liveness),
                    _ => one,
                });
            }
            let observed = with(all.clone());
            let changes = run(&wanted, &observed);
            for change in &changes.list {
                let Change::Ensure { workload, generation, count } = change else { continue };
                if workload.process != name(process) || *count == 0 {
                    continue;
                }
                prop_assert!(*count == 1);
                let other = |s: &&Seen| {
                    let ended = matches!(s.replica.state, ReplicaState::Exited { .. });
                    !ended && !s.replica.volumes.is_empty() && s.replica.generation != *generation
                };
                prop_assert!(!all.iter().any(|s| other(&s)), "{:?} beside {:?}", change, all);
            }
            prop_assert_eq!(run(&wanted, &observed), changes);
        }
    }
}
