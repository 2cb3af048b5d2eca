//! Checks of live replicas, and the watch after a switch.

use super::*;

/// As `desired`, with a readiness and a liveness check of web.
fn watched(rollout: i64, live: i64, formation: &[(&str, u32)]) -> Desired {
    let mut wanted = desired(rollout, live, formation);
    let checks = [CheckKind::Readiness, CheckKind::Liveness].map(|kind| HealthCheck::new(kind, Check::http("/up")));
    wanted.environment.spec.checks = Checks::from([(name("web"), checks.to_vec())]);
    wanted
}

fn probes(changes: &Changes) -> Vec<String> {
    let probe = |c: &Change| match c {
        Change::Probe { replica } => Some(replica.clone()),
        _ => None,
    };
    changes.list.iter().filter_map(probe).collect()
}

#[test]
fn replicas_are_asked_on_only_where_a_check_says_so() {
    let plain = desired(1, 1, &[]);
    assert!(probes(&run(&plain, &with(vec![seen(&plain, "web", 1, 1, true)]))).is_empty());
    let wanted = watched(1, 1, &[]);
    assert_eq!(probes(&run(&wanted, &with(vec![seen(&wanted, "web", 1, 1, true)]))), ["web.1.1"]);
}

#[test]
fn a_replica_that_fails_its_readiness_leaves_the_route_and_comes_back() {
    let wanted = watched(1, 1, &[("web", 2)]);
    let unready = failing(seen(&wanted, "web", 1, 2, true), CheckKind::Readiness);
    let mut two = vec![seen(&wanted, "web", 1, 1, true), unready];
    two.iter_mut().for_each(|s| s.traffic = Traffic::Routed);
    let changes = run(&wanted, &with(two.clone()));
    assert_eq!(changes.routed, ["web.1.1"]);
    assert_eq!(changes.status.ready[&name("web")], 1);
    let reason = changes.status.reason.clone().expect("a reason");
    assert!(reason.contains("web.2") && reason.contains("500") && reason.contains("out of the route"), "{reason}");
    assert!(ensures(&changes).is_empty(), "it is not replaced");
    two[1] = seen(&wanted, "web", 1, 2, true);
    let changes = run(&wanted, &with(two));
    assert_eq!((changes.routed.len(), changes.status.reason), (2, None));
}

#[test]
fn the_last_replica_keeps_its_route_and_the_status_says_so() {
    let wanted = watched(1, 1, &[("web", 2)]);
    let both = [1, 2].map(|ordinal| failing(seen(&wanted, "web", 1, ordinal, true), CheckKind::Readiness));
    let mut two = both.to_vec();
    two[0].traffic = Traffic::Leaving { since: NOW, in_flight: 0 };
    two[1].traffic = Traffic::Routed;
    let changes = run(&wanted, &with(two.clone()));
    assert_eq!(changes.routed, ["web.1.2"]);
    let reason = changes.status.reason.expect("a reason");
    assert!(reason.contains("keeps its route"), "{reason}");
    two.iter_mut().for_each(|s| s.traffic = Traffic::None);
    assert_eq!(run(&wanted, &with(two)).routed.len(), 2, "nobody has the route: all that were ready once");
}

#[test]
fn a_replica_that_fails_its_liveness_leaves_the_route_and_is_replaced_with_growing_pauses() {
    let wanted = watched(1, 1, &[("web", 2)]);
    let mut dead = failing(seen(&wanted, "web", 1, 2, true), CheckKind::Liveness);
    dead.traffic = Traffic::Routed;
    let well = seen(&wanted, "web", 1, 1, true);
    let mut observed = with(vec![well.clone(), dead]);
    let crashes = |count| Crashes { generation: Generation(1), count, last: NOW };
    observed.crashes.insert(well.replica.workload.clone(), crashes(1));
    let changes = run(&wanted, &observed);
    assert_eq!(changes.routed, ["web.1.1"]);
    assert!(!changes.list.iter().any(|c| matches!(c, Change::Remove { .. })), "it has the route still: {changes:?}");
    assert!(changes.status.reason.is_some_and(|r| r.contains("liveness") && r.contains("GET /up with 500")));
    observed.replicas[1].traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 1 };
    let gone = Change::Remove { replica: "web.1.2".into() };
    assert!(run(&wanted, &observed).list.contains(&gone));
    observed.crashes.insert(well.replica.workload.clone(), crashes(3));
    let later = run(&wanted, &observed);
    assert!(!later.list.contains(&gone) && later.look_again_at.is_some());
    assert_eq!(ensures(&run(&wanted, &with(vec![well]))), [("web".to_owned(), 2)]);
}

#[test]
fn a_replica_that_wrote_too_much_leaves_the_route_first_and_ends_a_rollout() {
    let mut wanted = desired(1, 1, &[("web", 2)]);
    let mut all = vec![seen(&wanted, "web", 1, 1, true), seen(&wanted, "web", 1, 2, true)];
    let death = Death::Overfull { bytes: 21 << 20, most: 20 << 20 };
    all[1].standing = Standing { dead: Some(death), ready: false, ..all[1].standing.clone() };
    all[1].traffic = Traffic::Routed;
    let routed = run(&wanted, &with(all.clone()));
    assert_eq!(routed.routed, ["web.1.1"]);
    let reason = routed.status.reason.clone().expect("a reason");
    assert!(reason.contains("web wrote 21 MB to its own file system, of at most 20 MB; restarting"), "{reason}");
    assert!(routed.list.iter().all(|change| !matches!(change, Change::Remove { .. })), "its requests end first");
    all[1].traffic = Traffic::Leaving { since: Timestamp(NOW.0 - 60_000), in_flight: 0 };
    let gone = run(&wanted, &with(all.clone()));
    assert!(gone.list.contains(&Change::Remove { replica: "web.1.2".into() }), "{gone:?}");

    wanted.environment.status = EnvironmentStatus::default();
    let given_up = run(&wanted, &with(all));
    let because = |change: &Change| matches!(change, Change::GiveUp { cause: Cause::Dead(of), .. } if *of == death);
    assert!(given_up.list.iter().any(because), "{given_up:?}");
}

#[test]
fn a_startup_check_has_its_own_patience() {
    let mut wanted = desired(2, 1, &[]);
    let slow =
        HealthCheck { attempts: 5, every_millis: 10_000, ..HealthCheck::new(CheckKind::Startup, Check::http("/")) };
    wanted.environment.spec.checks = Checks::from([(name("web"), vec![slow.clone()])]);
    let mut new = seen(&wanted, "web", 2, 1, false);
    new.replica.started_at = Some(NOW.plus_millis(-SETTINGS.ready_millis - 1));
    let old = seen(&wanted, "web", 1, 1, true);
    assert_eq!(run(&wanted, &with(vec![old.clone(), new.clone()])).status.state, EnvironmentState::Converging);
    new.replica.started_at = Some(NOW.plus_millis(-slow.budget_millis()));
    assert_eq!(run(&wanted, &with(vec![old, new])).status.state, EnvironmentState::Blocked);
}

/// v2 has just taken over from v1 and is watched for 30 s.
fn on_probation() -> (Desired, Vec<Seen>) {
    let mut wanted = desired(2, 1, &[("worker", 1)]);
    wanted.environment.spec.watch_seconds = 30;
    wanted.environment.status.live_release = Some(ReleaseId::fresh());
    let mut all = Vec::new();
    for generation in [1, 2] {
        all.extend([seen(&wanted, "web", generation, 1, true), seen(&wanted, "worker", generation, 1, true)]);
    }
    all[0].traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 0 };
    let first = run(&wanted, &with(all.clone()));
    assert_eq!((first.status.state, first.status.live), (EnvironmentState::Watching, Generation(2)));
    assert_eq!(first.routed, ["web.2.1"]);
    // What may do work twice goes at once, what answered requests stands by.
    let worker = all[1].replica.workload.clone();
    assert_eq!(first.list, [Change::Retire { workload: worker, below: Generation(2) }]);
    wanted.environment.status = first.status;
    all.remove(1);
    (wanted, all)
}

#[test]
fn a_watch_that_ends_well_retires_what_stood_by() {
    let (wanted, all) = on_probation();
    let during = run(&wanted, &with(all.clone()));
    assert!(during.list.is_empty() && during.look_again_at.is_some(), "{during:?}");
    let after = plan(&wanted, &with(all.clone()), NOW.plus_millis(30_000), &SETTINGS);
    assert_eq!((after.status.state, after.status.watch.clone()), (EnvironmentState::Live, None));
    let below = Change::Retire { workload: all[0].replica.workload.clone(), below: Generation(2) };
    assert_eq!(after.list, [below]);
}

#[test]
fn more_faults_than_before_bring_the_old_rollout_back() {
    let (mut wanted, mut all) = on_probation();
    let before = wanted.environment.status.watch.clone().expect("a watch");
    all[0].answers = Answers { requests: 1000, faults: 1, ..Answers::default() };
    all[1].answers = Answers { requests: 20, faults: 10, ..Answers::default() };
    all[1].traffic = Traffic::Routed;
    let changes = run(&wanted, &with(all.clone()));
    assert_eq!(changes.routed, ["web.1.1"]);
    assert_eq!((changes.status.state, changes.status.live), (EnvironmentState::Blocked, Generation(1)));
    assert_eq!((changes.status.live_release.clone(), changes.status.watch.clone()), (before.previous_release, None));
    let [Change::GiveUp { replica: Some(replica), cause: Cause::Worse { new, .. } }] = changes.list.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!((replica.as_str(), new.faults), ("web.2.1", 10));
    // The evidence is read; now it goes, once no request is inside.
    wanted.environment.status = changes.status;
    let removed = Change::Remove { replica: "web.2.1".into() };
    assert!(!run(&wanted, &with(all.clone())).list.contains(&removed));
    all[1].traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 0 };
    let after = run(&wanted, &with(all));
    assert!(after.list.contains(&removed) && after.routed == ["web.1.1"], "{after:?}");
}

#[test]
fn crashes_of_the_new_rollout_bring_the_old_one_back_and_those_of_the_old_do_not() {
    let (wanted, all) = on_probation();
    let mut observed = with(all);
    let worker = observed.replicas[2].replica.workload.clone();
    for (generation, count, state) in
        [(1, 9, EnvironmentState::Watching), (2, 1, EnvironmentState::Watching), (2, 2, EnvironmentState::Blocked)]
    {
        let crashes = Crashes { generation: Generation(generation), count, last: NOW };
        observed.crashes.insert(worker.clone(), crashes);
        assert_eq!(run(&wanted, &observed).status.state, state, "{count} of {generation}");
    }
}

#[test]
fn a_watch_that_ends_unready_ends_badly_but_not_for_want_of_knowledge() {
    let (wanted, mut all) = on_probation();
    let later = NOW.plus_millis(30_000);
    all[1].standing = Standing::default();
    all[1].replica.started_at = Some(later);
    let unknown = plan(&wanted, &with(all.clone()), later, &SETTINGS);
    assert_eq!(unknown.status.state, EnvironmentState::Watching, "the platform has just started again");
    all[1] = exited(all[1].clone(), 1);
    let lost = plan(&wanted, &with(all), later, &SETTINGS);
    assert_eq!((lost.status.state, lost.routed), (EnvironmentState::Blocked, vec!["web.1.1".to_owned()]));
}

#[test]
fn another_rollout_ends_the_watch() {
    let (mut wanted, all) = on_probation();
    wanted.environment.spec.rollout = Generation(3);
    let changes = run(&wanted, &with(all));
    assert_eq!((changes.status.watch, changes.status.live), (None, Generation(2)));
    assert_eq!(changes.routed, ["web.2.1"]);
}

#[test]
fn what_serves_beside_a_rollout_is_asked_after_a_restart_of_the_platform() {
    let mut wanted = desired(2, 1, &[]);
    let unknown = [seen(&wanted, "web", 1, 1, false), seen(&wanted, "web", 2, 1, false)];
    let rolling = run(&wanted, &with(unknown.to_vec()));
    assert_eq!(probes(&rolling), ["web.2.1", "web.1.1"]);
    wanted.environment.status.state = EnvironmentState::Blocked;
    wanted.environment.status.observed_generation = 2;
    assert_eq!(probes(&run(&wanted, &with(unknown[..1].to_vec()))), ["web.1.1"]);
    let (wanted, mut all) = on_probation();
    all[0].standing = Standing::default();
    assert_eq!(probes(&run(&wanted, &with(all))), ["web.1.1"], "it may have to serve again");
}
