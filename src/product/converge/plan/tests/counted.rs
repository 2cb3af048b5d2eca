//! Process types whose number the platform chooses.

use super::*;
use crate::base::model::Scaling;
use crate::product::converge::scale::Load;

pub(super) fn sleepy(rollout: i64, live: i64) -> Desired {
    let mut wanted = desired(rollout, live, &[("web", 1)]);
    wanted.environment.spec.scaling = BTreeMap::from([(name("web"), SCALING)]);
    wanted
}

const SCALING: Scaling = Scaling {
    min: 0,
    max: 3,
    in_flight: 10,
    idle_seconds: 60,
    cpu_percent: None,
    memory_percent: None,
    latency_millis: None,
};

pub(super) fn loaded(replicas: Vec<Seen>, in_flight: u32, idle_millis: i64) -> Observed {
    Observed { load: Some(Load { in_flight, idle_millis, ..Load::default() }), ..with(replicas) }
}

#[test]
fn an_idle_app_leaves_the_route_before_its_replica_stops_and_is_asleep() {
    let mut wanted = sleepy(1, 1);
    let mut web = seen(&wanted, "web", 1, 1, true);
    web.traffic = Traffic::Routed;
    let changes = run(&wanted, &loaded(vec![web.clone()], 0, 60_000));
    assert_eq!((changes.status.state, changes.routed.len()), (EnvironmentState::Asleep, 0));
    assert!(ensures(&changes).is_empty(), "a request may be on its way: {changes:?}");
    wanted.environment.status = changes.status;
    web.traffic = Traffic::Leaving { since: Timestamp(NOW.0 - 1000), in_flight: 0 };
    assert_eq!(ensures(&run(&wanted, &loaded(vec![web], 0, 61_000))), [("web".to_owned(), 0)]);
    let asleep = run(&wanted, &loaded(vec![], 0, i64::MAX));
    assert!(asleep.list.is_empty() && asleep.look_again_at.is_none(), "{asleep:?}");
}

#[test]
fn a_request_wakes_it_and_load_adds_replicas() {
    let mut wanted = sleepy(1, 1);
    wanted.environment.status.state = EnvironmentState::Asleep;
    let woken = run(&wanted, &loaded(vec![], 0, 0));
    assert_eq!(ensures(&woken), [("web".to_owned(), 1)]);
    assert_eq!(woken.status.state, EnvironmentState::Converging, "requests wait");
    let web = seen(&wanted, "web", 1, 1, true);
    assert_eq!(ensures(&run(&wanted, &loaded(vec![web], 25, 0))), [("web".to_owned(), 3)]);
}

#[test]
fn a_new_release_of_a_sleeping_app_has_to_prove_itself() {
    let mut wanted = sleepy(2, 1);
    wanted.environment.status.state = EnvironmentState::Asleep;
    let changes = run(&wanted, &loaded(vec![], 0, i64::MAX));
    assert_eq!(ensures(&changes), [("web".to_owned(), 1)]);
    assert_eq!(changes.status.live, Generation(1));
}

#[test]
fn who_is_counted_keeps_the_number_until_a_release_that_says_one_has_taken_over() {
    let mut wanted = desired(2, 1, &[("web", 1)]);
    let counted = BTreeMap::from([(name("web"), Scaling { min: 1, ..SCALING })]);
    let before = wanted.release.clone().map(|release| Release { id: ReleaseId::fresh(), scaling: counted, ..release });
    wanted.environment.status.live_release = before.as_ref().map(|release| release.id.clone());
    wanted.environment.status.scaled = BTreeMap::from([(name("web"), 3)]);
    wanted.live = before;
    let old: Vec<_> = (1..=3).map(|ordinal| seen(&wanted, "web", 1, ordinal, true)).collect();
    let rising = run(&wanted, &loaded([old.as_slice(), &[seen(&wanted, "web", 2, 1, false)]].concat(), 25, 0));
    assert_eq!(rising.routed.len(), 3, "{rising:?}");
    assert_eq!(rising.status.scaled[&name("web")], 3);
    assert!(
        rising.list.iter().all(|change| !matches!(change, Change::Remove { .. } | Change::Retire { .. })),
        "{rising:?}"
    );
    wanted.environment.status = rising.status;
    wanted.environment.status.live = Generation(2);
    wanted.environment.status.live_release = wanted.environment.spec.release.clone();
    wanted.live = None;
    let over = run(&wanted, &loaded(vec![seen(&wanted, "web", 2, 1, true)], 25, 0));
    assert!(over.status.scaled.is_empty() && over.status.state == EnvironmentState::Live, "{over:?}");
}
