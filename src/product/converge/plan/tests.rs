use std::collections::BTreeMap;

use super::*;
use crate::base::model::{
    App, AppId, Check, CheckKind, Checks, Environment, EnvironmentId, EnvironmentSpec, Formation, HealthCheck, Id,
    Manifest, OrganizationId, Process, ProcessName, Release, ReleaseId, ReleaseKind, ReplicaState, SpaceId, Watch,
};
use crate::product::converge::observed::{Answers, Crashes};
use crate::product::converge::vital::{Death, Standing};

const SETTINGS: Settings = Settings { ready_millis: 10_000, grace_millis: 30_000 };
const NOW: Timestamp = Timestamp(1_000_000);

fn name(text: &str) -> ProcessName {
    text.parse().expect("process name")
}

/// An environment whose spec asks for `rollout` while `live` is live.
fn desired(rollout: i64, live: i64, formation: &[(&str, u32)]) -> Desired {
    let environment_id = EnvironmentId::fresh();
    let app = App {
        id: AppId::fresh(),
        organization_id: OrganizationId::fresh(),
        space_id: SpaceId::fresh(),
        name: "shop".parse().expect("name"),
        created_at: NOW,
    };
    let process = |command: &str| Process { command: vec![command.into()], working_dir: None, port: None };
    let release = Release {
        id: ReleaseId::fresh(),
        environment_id: environment_id.clone(),
        number: rollout,
        build_id: None,
        commit: None,
        image: format!("sha256:{}", "a".repeat(64)).parse().expect("digest"),
        processes: BTreeMap::from([(name("web"), process("web")), (name("worker"), process("worker"))]),
        variables_version: 0,
        formation: Formation::new(),
        hosts: Vec::new(),
        manifest: Manifest::default(),
        checks: Checks::new(),
        scaling: Default::default(),
        sizes: Default::default(),
        mounts: Default::default(),
        kind: ReleaseKind::Rollout,
        description: String::new(),
        created_by: None,
        created_at: NOW,
        image_gone_at: None,
    };
    let formation: Formation = formation.iter().map(|(p, n)| (name(p), *n)).collect();
    let live_state = if live > 0 { EnvironmentState::Live } else { EnvironmentState::Empty };
    let environment = Environment {
        id: environment_id,
        app_id: app.id.clone(),
        name: "production".parse().expect("name"),
        branch: "main".parse().expect("branch"),
        spec: EnvironmentSpec {
            release: Some(release.id.clone()),
            rollout: Generation(rollout),
            formation,
            ..EnvironmentSpec::default()
        },
        generation: rollout,
        status: EnvironmentStatus {
            observed_generation: live,
            state: live_state,
            live: Generation(live),
            ..EnvironmentStatus::default()
        },
        created_at: NOW,
    };
    Desired { environment, app, release: Some(release), live: None, hosts: Vec::new() }
}

fn seen(desired: &Desired, process: &str, generation: i64, ordinal: u32, ready: bool) -> Seen {
    let port = u16::try_from(generation * 100 + i64::from(ordinal)).expect("port");
    Seen {
        replica: Replica {
            id: format!("{process}.{generation}.{ordinal}"),
            workload: WorkloadId { environment: desired.environment.id.clone(), process: name(process) },
            generation: Generation(generation),
            release: ReleaseId::fresh(),
            ordinal,
            state: ReplicaState::Running,
            started_at: Some(NOW),
            volumes: Vec::new(),
            address: (process == "web").then(|| std::net::SocketAddr::from(([127, 0, 0, 1], port))),
        },
        standing: Standing { started: ready, passed: ready, ready, ..Standing::default() },
        traffic: Traffic::None,
        answers: Answers::default(),
    }
}

fn exited(mut seen: Seen, code: i64) -> Seen {
    seen.replica.state = ReplicaState::Exited { code, out_of_memory: code == 137, at: NOW };
    seen.standing = Standing::default();
    seen
}

/// It was ready, and this check fails now as often as it may.
fn failing(mut seen: Seen, kind: CheckKind) -> Seen {
    let fault = Some((kind, "answers GET /up with 500".to_owned()));
    let dead = (kind == CheckKind::Liveness).then_some(Death::Check);
    seen.standing = Standing { started: true, passed: true, ready: false, dead, fault };
    seen
}

#[test]
fn a_stranded_replica_leaves_the_route_and_is_replaced() {
    let wanted = desired(1, 1, &[("web", 2)]);
    let mut frozen = seen(&wanted, "web", 1, 2, false);
    frozen.replica.state = ReplicaState::Stranded;
    frozen.replica.address = None;
    let changes = run(&wanted, &with(vec![seen(&wanted, "web", 1, 1, true), frozen]));
    assert_eq!(changes.routed, ["web.1.1"]);
    assert_eq!(ensures(&changes), [("web".to_owned(), 2)]);
}

fn with(replicas: Vec<Seen>) -> Observed {
    Observed { replicas, ..Observed::default() }
}

fn run(desired: &Desired, observed: &Observed) -> Changes {
    plan(desired, observed, NOW, &SETTINGS)
}

fn ensures(changes: &Changes) -> Vec<(String, u32)> {
    let ensure = |c: &Change| match c {
        Change::Ensure { workload, count, .. } => Some((workload.process.to_string(), *count)),
        _ => None,
    };
    changes.list.iter().filter_map(ensure).collect()
}

#[test]
fn a_first_rollout_starts_all_processes_that_count() {
    let wanted = desired(1, 0, &[("web", 2), ("worker", 1)]);
    let changes = run(&wanted, &with(vec![]));
    assert_eq!(ensures(&changes), [("web".to_owned(), 2), ("worker".to_owned(), 1)]);
    assert_eq!(changes.status.state, EnvironmentState::Converging);
    assert!(changes.routed.is_empty());
}

#[test]
fn the_old_rollout_serves_until_every_process_of_the_new_one_is_ready() {
    let wanted = desired(2, 1, &[("web", 1), ("worker", 1)]);
    let old = [seen(&wanted, "web", 1, 1, true), seen(&wanted, "worker", 1, 1, true)];
    let new = [seen(&wanted, "web", 2, 1, true), seen(&wanted, "worker", 2, 1, false)];
    let changes = run(&wanted, &with([old.as_slice(), &new].concat()));
    assert_eq!(changes.routed, ["web.1.1"]);
    assert_eq!(changes.status.live, Generation(1));
    assert!(!changes.list.iter().any(|c| matches!(c, Change::Retire { .. } | Change::Remove { .. })), "{changes:?}");
}

#[test]
fn the_switch_moves_all_traffic_and_retires_only_what_is_drained() {
    let wanted = desired(2, 1, &[]);
    let mut old = seen(&wanted, "web", 1, 1, true);
    let new = seen(&wanted, "web", 2, 1, true);
    old.traffic = Traffic::Routed;
    let changes = run(&wanted, &with(vec![old.clone(), new.clone()]));
    assert_eq!(changes.routed, ["web.2.1"]);
    assert_eq!((changes.status.state, changes.status.live), (EnvironmentState::Live, Generation(2)));
    assert!(changes.list.is_empty(), "{changes:?}");
    assert!(changes.look_again_at.is_some());

    old.traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 3 };
    assert!(run(&wanted, &with(vec![old.clone(), new.clone()])).list.is_empty(), "three requests are in flight");
    old.traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 0 };
    let drained = run(&wanted, &with(vec![old.clone(), new.clone()]));
    let below = Change::Retire { workload: old.replica.workload.clone(), below: Generation(2) };
    assert_eq!(drained.list, std::slice::from_ref(&below));
    old.traffic = Traffic::Leaving { since: NOW.plus_millis(-SETTINGS.grace_millis), in_flight: 3 };
    assert_eq!(run(&wanted, &with(vec![old, new])).list, [below], "the grace is over");
}

#[test]
fn a_new_rollout_that_exits_is_given_up_with_its_evidence_and_the_old_one_stays() {
    let wanted = desired(2, 1, &[]);
    let old = seen(&wanted, "web", 1, 1, true);
    let new = exited(seen(&wanted, "web", 2, 1, false), 1);
    let changes = run(&wanted, &with(vec![old, new]));
    let cause = Cause::Exited { code: 1, out_of_memory: false };
    assert_eq!(changes.list, [Change::GiveUp { replica: Some("web.2.1".into()), cause }]);
    assert_eq!(changes.routed, ["web.1.1"]);
    assert_eq!(changes.status.state, EnvironmentState::Blocked);
}

#[test]
fn a_new_rollout_that_is_not_ready_in_time_is_given_up() {
    let wanted = desired(2, 1, &[]);
    let mut new = seen(&wanted, "web", 2, 1, false);
    new.replica.started_at = Some(NOW.plus_millis(-SETTINGS.ready_millis));
    let changes = run(&wanted, &with(vec![seen(&wanted, "web", 1, 1, true), new]));
    assert!(matches!(changes.list.as_slice(), [Change::GiveUp { cause: Cause::NotReady { millis: 10_000 }, .. }]));
}

#[test]
fn what_was_given_up_is_cleared_away_and_not_tried_again() {
    let mut wanted = desired(2, 1, &[]);
    wanted.environment.status.state = EnvironmentState::Blocked;
    wanted.environment.status.observed_generation = 2;
    wanted.environment.status.reason = Some("web exited with 1".into());
    let replicas = vec![seen(&wanted, "web", 1, 1, true), seen(&wanted, "web", 2, 1, false)];
    let changes = run(&wanted, &with(replicas));
    assert_eq!(changes.list, [Change::Remove { replica: "web.2.1".into() }]);
    assert_eq!(changes.status.reason.as_deref(), Some("web exited with 1"));
    assert_eq!(changes.routed, ["web.1.1"]);
    assert!(run(&wanted, &with(vec![seen(&wanted, "web", 1, 1, true)])).list.is_empty());
}

#[test]
fn what_was_given_up_does_not_stick_to_what_comes_after() {
    for (rollout, state) in [(1, EnvironmentState::Live), (3, EnvironmentState::Converging)] {
        let mut wanted = desired(rollout, 1, &[]);
        wanted.environment.status.state = EnvironmentState::Blocked;
        wanted.environment.status.observed_generation = wanted.environment.generation - 1;
        wanted.environment.status.reason = Some("web exited with 1".into());
        let changes = run(&wanted, &with(vec![seen(&wanted, "web", 1, 1, true)]));
        assert_eq!((changes.status.state, changes.status.reason), (state, None), "rollout {rollout}");
    }
}

#[test]
fn a_failed_first_rollout_leaves_nothing_running() {
    let mut wanted = desired(1, 0, &[]);
    let replica = seen(&wanted, "web", 1, 1, false);
    wanted.environment.spec = EnvironmentSpec::default();
    wanted.environment.generation = 2;
    wanted.release = None;
    let changes = run(&wanted, &with(vec![replica.clone()]));
    assert_eq!(changes.list, [Change::Retire { workload: replica.replica.workload, below: Generation(2) }]);
    assert_eq!(changes.status.state, EnvironmentState::Empty);
}

#[test]
fn a_crashed_live_replica_comes_back_at_once_then_with_growing_pauses() {
    let wanted = desired(1, 1, &[("web", 2)]);
    let replicas = vec![seen(&wanted, "web", 1, 1, true), exited(seen(&wanted, "web", 1, 2, true), 137)];
    let workload = replicas[0].replica.workload.clone();
    let mut observed = with(replicas);
    for (count, restarts) in [(1, true), (2, false), (5, false)] {
        observed.crashes.insert(workload.clone(), Crashes { generation: Generation(1), count, last: NOW });
        let changes = run(&wanted, &observed);
        assert_eq!(!ensures(&changes).is_empty(), restarts, "after {count} crashes");
        assert_eq!(changes.routed, ["web.1.1"]);
        assert!(changes.status.reason.as_deref().is_some_and(|r| r.contains("out of memory")));
    }
    observed.crashes.insert(workload, Crashes { generation: Generation(1), count: 5, last: NOW.plus_millis(-8_000) });
    assert_eq!(ensures(&run(&wanted, &observed)), [("web".to_owned(), 2)]);
}

#[test]
fn surplus_replicas_leave_the_route_before_they_stop() {
    let wanted = desired(1, 1, &[("web", 1)]);
    let keeps = seen(&wanted, "web", 1, 1, true);
    let mut goes = seen(&wanted, "web", 1, 2, true);
    goes.traffic = Traffic::Routed;
    let changes = run(&wanted, &with(vec![keeps.clone(), goes.clone()]));
    assert_eq!(changes.routed, ["web.1.1"]);
    assert!(ensures(&changes).is_empty());
    goes.traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 0 };
    assert_eq!(ensures(&run(&wanted, &with(vec![keeps, goes]))), [("web".to_owned(), 1)]);
}

#[test]
fn at_the_fixpoint_there_is_nothing_to_do() {
    let mut wanted = desired(3, 3, &[("web", 2), ("worker", 1)]);
    let replicas =
        vec![seen(&wanted, "web", 3, 1, true), seen(&wanted, "web", 3, 2, true), seen(&wanted, "worker", 3, 1, true)];
    let first = run(&wanted, &with(replicas.clone()));
    assert!(first.list.is_empty());
    wanted.environment.status = first.status.clone();
    let second = run(&wanted, &with(replicas));
    assert_eq!(first, second);
}

mod aftermath;
mod counted;
mod exclusive;
mod health;
mod mishaps;
mod strategy;

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn replicas() -> impl Strategy<Value = Vec<(bool, i64, u32, u8)>> {
        proptest::collection::vec((any::<bool>(), 1..4_i64, 1..4_u32, 0..5_u8), 0..12)
    }

    proptest! {
        /// Whatever is seen: traffic goes to ready replicas of one generation, and no replica that receives traffic
        /// is taken away.
        #[test]
        fn traffic_is_safe(list in replicas(), rollout in 1..4_i64, live in 0..4_i64, count in 0..4_u32, watch in 0..3_i64) {
            let mut wanted = desired(rollout, live.min(rollout), &[("web", count)]);
            wanted.environment.spec.watch_seconds = u32::try_from(watch).unwrap_or(0);
            if watch > 0 && live > 1 && live >= rollout {
                let (since, until) = (NOW, NOW.plus_millis((watch - 1) * 1000));
                let watch = Watch { since, until, previous: Generation(live.min(rollout) - 1), previous_release: None };
                wanted.environment.status.watch = Some(watch);
            }
            let mut all: Vec<Seen> = Vec::new();
            for (web, generation, ordinal, kind) in list {
                let one = seen(&wanted, if web { "web" } else { "worker" }, generation, ordinal, kind == 0);
                if all.iter().all(|s| s.replica.id != one.replica.id) {
                    all.push(match kind {
                        1 => exited(one, 1),
                        2 => failing(one, CheckKind::Readiness),
                        3 => failing(one, CheckKind::Liveness),
                        _ => one,
                    });
                }
            }
            let changes = run(&wanted, &with(all.clone()));
            let routed: Vec<&Seen> = all.iter().filter(|s| changes.routed.contains(&s.replica.id)).collect();
            let may_serve = |s: &&&Seen| s.replica.generation == changes.status.live && s.runs() && s.standing.dead.is_none();
            prop_assert!(routed.iter().all(|s| may_serve(&s)));
            let some_are_ready = routed.iter().any(|s| s.is_ready());
            prop_assert!(routed.iter().all(|s| s.is_ready() || s.standing.passed && !some_are_ready));
            for change in &changes.list {
                match change {
                    Change::Remove { replica } => prop_assert!(!changes.routed.contains(replica)),
                    Change::Retire { workload, below } => prop_assert!(
                        routed.iter().all(|s| s.replica.workload != *workload || s.replica.generation >= *below)
                    ),
                    _ => {}
                }
            }
            prop_assert_eq!(run(&wanted, &with(all)), changes);
        }
    }
}

#[test]
#[ignore = "a measurement: cargo test --release --lib converge::plan::tests::ten_thousand -- --ignored --nocapture"]
fn ten_thousand() {
    let worlds: Vec<_> = (0..5_000)
        .map(|_| {
            let wanted = desired(2, 1, &[("web", 2), ("worker", 1)]);
            let old = [seen(&wanted, "web", 1, 1, true), seen(&wanted, "web", 1, 2, true)];
            let new = [seen(&wanted, "web", 2, 1, true), seen(&wanted, "worker", 2, 1, false)];
            let observed = with([old.as_slice(), &new].concat());
            (wanted, observed)
        })
        .collect();
    let began = std::time::Instant::now();
    let changes: usize = worlds.iter().map(|(wanted, observed)| run(wanted, observed).list.len()).sum();
    println!("10,000 workloads with 20,000 replicas: {changes} changes planned in {:?}", began.elapsed());
}
