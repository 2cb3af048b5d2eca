//! What the simulation found, each in its smallest form.

use super::counted::{loaded, sleepy};
use super::*;
use crate::base::model::{Canary, Guidance, Strategy};

fn routed(mut seen: Seen) -> Seen {
    seen.traffic = Traffic::Routed;
    seen
}

fn in_state(mut seen: Seen, state: ReplicaState) -> Seen {
    seen.replica.state = state;
    seen.replica.address = None;
    seen.standing = Standing::default();
    seen
}

#[test]
fn an_app_sleeps_though_its_worker_runs_on() {
    let mut wanted = sleepy(1, 1);
    wanted.environment.spec.formation.insert(name("worker"), 1);
    let worker = seen(&wanted, "worker", 1, 1, true);
    let changes = run(&wanted, &loaded(vec![worker], 0, i64::MAX));
    assert_eq!(changes.status.state, EnvironmentState::Asleep, "else a request would get 503 and wake nobody");
}

#[test]
fn what_was_made_and_never_started_is_asked_for_again_or_cleared_away() {
    let wanted = desired(1, 1, &[("web", 2)]);
    let half_made = in_state(seen(&wanted, "web", 1, 2, false), ReplicaState::Starting);
    let both = vec![seen(&wanted, "web", 1, 1, true), half_made.clone()];
    assert_eq!(ensures(&run(&wanted, &with(both))), [("web".to_owned(), 2)]);
    let none = desired(1, 1, &[("web", 0)]);
    let frozen = in_state(half_made.clone(), ReplicaState::Stranded);
    for left_over in [half_made, frozen] {
        let mut left_over = left_over;
        left_over.replica.workload.environment = none.environment.id.clone();
        assert_eq!(ensures(&run(&none, &with(vec![left_over]))), [("web".to_owned(), 0)]);
    }
}

#[test]
fn one_beyond_the_number_serves_until_one_within_it_does() {
    let wanted = desired(1, 1, &[("web", 1)]);
    let frozen = in_state(seen(&wanted, "web", 1, 1, false), ReplicaState::Stranded);
    let beyond = routed(seen(&wanted, "web", 1, 2, true));
    let changes = run(&wanted, &with(vec![frozen, beyond.clone()]));
    assert_eq!(changes.routed, ["web.1.2"]);
    let both = vec![seen(&wanted, "web", 1, 1, true), beyond.clone()];
    assert_eq!(run(&wanted, &with(both)).routed, ["web.1.1"]);
    let mut none = wanted.clone();
    none.environment.spec.formation.insert(name("web"), 0);
    assert!(run(&none, &with(vec![beyond])).routed.is_empty(), "nobody wants any");
}

#[test]
fn a_crash_does_not_stop_those_that_are_leaving() {
    let wanted = desired(1, 1, &[("web", 2)]);
    let mut leaving = seen(&wanted, "web", 1, 3, true);
    leaving.traffic = Traffic::Leaving { since: NOW, in_flight: 1 };
    let crashed = exited(seen(&wanted, "web", 1, 1, false), 1);
    let all = vec![crashed, routed(seen(&wanted, "web", 1, 2, true)), leaving];
    assert_eq!(ensures(&run(&wanted, &with(all.clone()))), [("web".to_owned(), 3)], "a request is inside web.3");
    let later = plan(&wanted, &with(all), NOW.plus_millis(SETTINGS.grace_millis), &SETTINGS);
    assert_eq!(ensures(&later), [("web".to_owned(), 2)]);
}

#[test]
fn after_a_restart_of_the_platform_a_rollout_has_its_time_once_more() {
    let wanted = desired(2, 1, &[]);
    let mut new = seen(&wanted, "web", 2, 1, false);
    new.replica.started_at = Some(NOW.plus_millis(-60_000));
    let mut observed = with(vec![seen(&wanted, "web", 1, 1, true), new]);
    observed.began = NOW.plus_millis(-1_000);
    assert_eq!(run(&wanted, &observed).status.state, EnvironmentState::Converging, "nobody asked it yet");
    observed.began = NOW.plus_millis(-SETTINGS.ready_millis);
    assert_eq!(run(&wanted, &observed).status.state, EnvironmentState::Blocked);
}

#[test]
fn what_had_the_route_keeps_it_until_somebody_has_asked() {
    let wanted = desired(1, 1, &[]);
    let unasked = routed(seen(&wanted, "web", 1, 1, false));
    assert_eq!(run(&wanted, &with(vec![unasked])).routed, ["web.1.1"]);
    let mut blocked = desired(2, 1, &[]);
    (blocked.environment.status.state, blocked.environment.status.observed_generation) = (EnvironmentState::Blocked, 2);
    let unasked = routed(seen(&blocked, "web", 1, 1, false));
    assert_eq!(run(&blocked, &with(vec![unasked])).routed, ["web.1.1"]);
}

#[test]
fn what_serves_is_kept_up_after_a_restart_that_failed() {
    let mut wanted = desired(2, 1, &[]);
    wanted.environment.status.live_release.clone_from(&wanted.environment.spec.release);
    (wanted.environment.status.state, wanted.environment.status.observed_generation) = (EnvironmentState::Blocked, 2);
    wanted.environment.status.reason = Some("it did not become ready".into());
    let crashed = exited(seen(&wanted, "web", 1, 1, false), 1);
    let changes = run(&wanted, &with(vec![crashed.clone()]));
    let Some(Change::Ensure { generation, count: 1, .. }) = changes.list.first() else { panic!("{changes:?}") };
    assert_eq!(*generation, Generation(1));
    assert_eq!(changes.status.reason.as_deref(), Some("it did not become ready"));
    // The replicas of another release are not its to make.
    wanted.environment.status.live_release = Some(ReleaseId::fresh());
    assert!(ensures(&run(&wanted, &with(vec![crashed]))).is_empty());
}

/// Rollout 2 is live and watched, 1 stands by.
fn watched() -> (Desired, [Seen; 2]) {
    let mut wanted = desired(2, 2, &[]);
    wanted.environment.status.state = EnvironmentState::Watching;
    let until = NOW.plus_millis(30_000);
    wanted.environment.status.watch =
        Some(Watch { since: NOW, until, previous: Generation(1), previous_release: None });
    let both = [seen(&wanted, "web", 1, 1, true), seen(&wanted, "web", 2, 1, true)];
    (wanted, both)
}

#[test]
fn a_watch_that_ended_in_a_long_downtime_is_judged_when_all_were_asked() {
    let (wanted, both) = watched();
    let mut unasked = both.clone();
    unasked.iter_mut().for_each(|seen| seen.standing = Standing::default());
    let later = NOW.plus_millis(3_600_000);
    assert_eq!(plan(&wanted, &with(unasked.to_vec()), later, &SETTINGS).status.live, Generation(2));
    let asked = plan(&wanted, &with(both.to_vec()), later, &SETTINGS);
    assert_eq!((asked.status.state, asked.status.watch), (EnvironmentState::Live, None));
}

#[test]
fn a_rollout_that_answers_badly_is_not_given_up_for_one_that_does_not_answer() {
    let (wanted, mut both) = watched();
    both[1].answers = Answers { requests: 20, faults: 20, ..Answers::default() };
    assert_eq!(run(&wanted, &with(both.to_vec())).status.live, Generation(1));
    both[0].standing = Standing::default();
    let stays = run(&wanted, &with(both.to_vec()));
    assert_eq!((stays.status.live, stays.routed), (Generation(2), vec!["web.2.1".to_owned()]));
}

#[test]
fn a_watch_that_began_in_the_future_begins_anew() {
    let (wanted, both) = watched();
    let back = NOW.plus_millis(-7_200_000);
    let changes = plan(&wanted, &with(both.to_vec()), back, &SETTINGS);
    let watch = changes.status.watch.expect("a watch");
    assert_eq!((watch.since, watch.until), (back, back.plus_millis(30_000)));
}

/// Rollout 2 is on its way replica by replica, and `live` is live.
fn rolled(formation: &[(&str, u32)]) -> Desired {
    let mut wanted = desired(2, 1, formation);
    wanted.environment.spec.strategy = Strategy::Rolling;
    let release = wanted.release.clone().expect("release");
    wanted.environment.status.live_release = Some(ReleaseId::fresh());
    wanted.live =
        Some(Release { id: ReleaseId::fresh(), formation: wanted.environment.spec.formation.clone(), ..release });
    wanted
}

#[test]
fn what_serves_together_keeps_the_route_until_somebody_has_asked() {
    let mut wanted = rolled(&[("web", 2)]);
    wanted.environment.status.beside = [Generation(2)].into();
    let unasked = vec![routed(seen(&wanted, "web", 1, 1, false)), routed(seen(&wanted, "web", 2, 1, false))];
    assert_eq!(run(&wanted, &with(unasked)).routed, ["web.1.1", "web.2.1"]);
    // All that was live is gone, and all that serves is of the other rollout.
    let other = vec![routed(seen(&wanted, "web", 2, 1, false))];
    assert_eq!(run(&wanted, &with(other)).routed, ["web.2.1"]);
}

#[test]
fn three_rollouts_side_by_side_make_room_for_the_last_one() {
    let mut wanted = rolled(&[("web", 3), ("worker", 2)]);
    wanted.environment.spec.rollout = Generation(3);
    wanted.environment.status.beside = [Generation(2), Generation(3)].into();
    let web = [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(g, n)| routed(seen(&wanted, "web", g, n, true)));
    let workers = [(2, 1), (3, 1)].map(|(g, n)| seen(&wanted, "worker", g, n, true));
    let all: Vec<Seen> = web.into_iter().chain(workers).collect();
    let changes = run(&wanted, &with(all));
    assert_eq!(
        changes.routed,
        ["web.1.1", "web.1.2", "web.2.1"],
        "one more than is asked for: of what is not live it goes"
    );
}

#[test]
fn what_was_rolled_out_with_none_leaves_none_of_the_one_before() {
    let wanted = {
        let mut wanted = rolled(&[("web", 0)]);
        wanted.live.as_mut().expect("live").formation.insert(name("web"), 1);
        wanted
    };
    let old = routed(seen(&wanted, "web", 1, 1, true));
    let changes = run(&wanted, &with(vec![old]));
    assert_eq!((changes.status.live, changes.routed.as_slice()), (Generation(2), [].as_slice()));
    assert!(changes.status.beside.is_empty(), "{changes:?}");
}

#[test]
fn a_canary_that_answers_badly_is_not_given_up_for_one_that_does_not_answer() {
    let mut wanted = rolled(&[]);
    wanted.environment.spec.strategy = "canary=50".parse().expect("strategy");
    wanted.environment.status.canary = Some(Canary {
        rollout: Generation(2),
        step: 0,
        steps: 1,
        percent: 50,
        since: NOW,
        until: NOW.plus_millis(60_000),
        goes_on: true,
    });
    let mut canary = routed(seen(&wanted, "web", 2, 1, true));
    canary.answers = Answers { requests: 20, faults: 20, ..Answers::default() };
    let old = routed(seen(&wanted, "web", 1, 1, true));
    let both = run(&wanted, &with(vec![old.clone(), canary.clone()]));
    assert_eq!(both.status.state, EnvironmentState::Blocked);
    let alone = run(&wanted, &with(vec![exited(old, 137), canary]));
    assert_eq!((alone.status.state, alone.routed), (EnvironmentState::Holding, vec!["web.2.1".to_owned()]));
}

#[test]
fn one_beyond_the_number_that_stands_in_is_not_stopped() {
    let wanted = desired(1, 1, &[("web", 1)]);
    let frozen = in_state(seen(&wanted, "web", 1, 1, false), ReplicaState::Stranded);
    let mut beyond = seen(&wanted, "web", 1, 2, true);
    beyond.traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 0 };
    let changes = run(&wanted, &with(vec![frozen, beyond]));
    assert_eq!(
        (changes.routed.as_slice(), ensures(&changes)),
        (["web.1.2".to_owned()].as_slice(), vec![("web".to_owned(), 2)])
    );
}

/// Rollout 2 is a restart of what is live, and the number of `web` was set to 2 while it ran.
fn restarted() -> Desired {
    let mut wanted = rolled(&[("web", 2)]);
    let live = wanted.live.as_mut().expect("live");
    live.formation.insert(name("web"), 1);
    wanted.environment.status.live_release = Some(live.id.clone());
    wanted.release.as_mut().expect("release").kind = ReleaseKind::Settings;
    wanted
}

#[test]
fn settings_that_were_changed_while_a_restart_ran_hold_though_it_failed() {
    let mut wanted = restarted();
    (wanted.environment.status.state, wanted.environment.status.observed_generation) = (EnvironmentState::Blocked, 2);
    wanted.environment.status.reason = Some("it did not become ready".into());
    let one = routed(seen(&wanted, "web", 1, 1, true));
    let status = run(&wanted, &with(vec![one.clone()])).status;
    assert_eq!(status.live_release, wanted.environment.spec.release);
    assert_eq!((status.live, status.reason.as_deref()), (Generation(1), Some("it did not become ready")));
    wanted.live = None;
    wanted.release.as_mut().expect("release").formation.insert(name("web"), 2);
    wanted.environment.status = status;
    let changes = run(&wanted, &with(vec![one]));
    assert_eq!(ensures(&changes), [("web".to_owned(), 2)], "of the live rollout: {changes:?}");
    assert_eq!(
        run(&wanted, &with(vec![])).status.state,
        EnvironmentState::Blocked,
        "why the restart failed is still said"
    );
}

#[test]
fn a_restart_is_no_canary_though_settings_were_changed_meanwhile() {
    let mut wanted = restarted();
    wanted.environment.spec.strategy = "canary=50".parse().expect("strategy");
    let both = vec![routed(seen(&wanted, "web", 1, 1, true)), seen(&wanted, "web", 2, 1, true)];
    let changes = run(&wanted, &with(both.clone()));
    assert_eq!((changes.status.canary, changes.share), (None, None));
    wanted.release.as_mut().expect("release").kind = ReleaseKind::Rollout;
    assert!(run(&wanted, &with(both)).status.canary.is_some(), "another release is");
}

fn gave_up(mut wanted: Desired) -> Desired {
    (wanted.environment.status.state, wanted.environment.status.observed_generation) = (EnvironmentState::Blocked, 2);
    wanted
}

#[test]
fn what_is_live_leaves_those_beyond_its_number_though_another_rollout_was_given_up() {
    let mut wanted = gave_up(restarted());
    wanted.environment.status.live_release.clone_from(&wanted.environment.spec.release);
    wanted.live = None;
    wanted.release.as_mut().expect("release").formation.insert(name("web"), 1);
    let both = [1, 2].map(|n| routed(seen(&wanted, "web", 1, n, true)));
    assert_eq!(run(&wanted, &with(both.to_vec())).routed, ["web.1.1"]);
    let mut leaves = both.to_vec();
    leaves[1].traffic = Traffic::Leaving { since: NOW.plus_millis(-LINGER_MILLIS), in_flight: 0 };
    assert_eq!(ensures(&run(&wanted, &with(leaves))), [("web".to_owned(), 1)]);
}

#[test]
fn what_was_stopped_stops_though_a_restart_was_called_off() {
    let mut wanted = gave_up(desired(2, 1, &[]));
    wanted.environment.status.live_release.clone_from(&wanted.environment.spec.release);
    wanted.environment.spec.stopped = true;
    let one = seen(&wanted, "web", 1, 1, true);
    let changes = run(&wanted, &with(vec![routed(one.clone())]));
    assert!(changes.routed.is_empty(), "{changes:?}");
    assert_eq!(ensures(&run(&wanted, &with(vec![one]))), [("web".to_owned(), 0)]);
}

#[test]
fn what_slept_when_its_restart_failed_is_woken() {
    let mut wanted = gave_up(desired(2, 1, &[]));
    wanted.environment.status.live_release.clone_from(&wanted.environment.spec.release);
    wanted.environment.spec.scaling.clone_from(&sleepy(1, 1).environment.spec.scaling);
    let changes = run(&wanted, &loaded(vec![], 0, i64::MAX));
    assert_eq!(ensures(&changes), [("web".to_owned(), 1)]);
    assert!(changes.holds, "requests wait for it");
}

#[test]
fn one_that_is_being_started_does_not_take_those_that_stand_by_with_it() {
    let (wanted, both) = watched();
    let mut rises = in_state(seen(&wanted, "web", 1, 2, false), ReplicaState::Starting);
    rises.replica.started_at = None;
    let mut stands_by = both[0].clone();
    stands_by.traffic = Traffic::Leaving { since: NOW, in_flight: 1 };
    let changes = run(&wanted, &with(vec![stands_by, rises, both[1].clone()]));
    let retires = |c: &Change| matches!(c, Change::Retire { .. } | Change::Remove { .. } | Change::Stop { .. });
    assert!(!changes.list.iter().any(retires), "{changes:?}");
}

#[test]
fn a_watch_that_was_called_off_in_a_downtime_ends_when_the_one_before_was_asked() {
    let (mut wanted, both) = watched();
    wanted.environment.spec.guidance = Some(Guidance { rollout: Generation(2), steps: 0, aborted: true });
    let mut unasked = both.clone();
    unasked[0].standing = Standing::default();
    unasked[1] = routed(unasked[1].clone());
    assert_eq!(run(&wanted, &with(unasked.to_vec())).routed, ["web.2.1"]);
    assert_eq!(run(&wanted, &with(both.to_vec())).status.live, Generation(1));
}

#[test]
fn what_has_the_route_keeps_it_though_nobody_wrote_that_it_is_live() {
    let wanted = desired(2, 1, &[]);
    let new = routed(seen(&wanted, "web", 2, 1, false));
    let old = seen(&wanted, "web", 1, 1, false);
    assert_eq!(run(&wanted, &with(vec![old.clone(), new.clone()])).routed, ["web.2.1"]);
    assert_eq!(run(&wanted, &with(vec![routed(old), new])).routed, ["web.1.1"], "of two it is the live one's");
}

#[test]
fn a_rollout_that_goes_replica_by_replica_does_not_stand_still() {
    // The number was changed meanwhile, and what is live has more than one too many.
    let mut wanted = rolled(&[("web", 3), ("worker", 2)]);
    wanted.environment.status.beside = [Generation(2)].into();
    let web = (1..=5).map(|n| routed(seen(&wanted, "web", 1, n, true)));
    let all: Vec<Seen> =
        web.chain([seen(&wanted, "worker", 1, 2, true), seen(&wanted, "worker", 2, 1, true)]).collect();
    assert_eq!(run(&wanted, &with(all)).routed.len(), 3);
    // None of the workers is wanted any more: they go at the switch, and nothing waits for that.
    let wanted = rolled(&[("web", 1), ("worker", 0)]);
    let both = vec![routed(seen(&wanted, "web", 1, 1, true)), seen(&wanted, "worker", 1, 1, true)];
    assert_eq!(ensures(&run(&wanted, &with(both))), [("web".to_owned(), 1)]);
    // What was made and never started is neither waited for nor kept.
    let wanted = rolled(&[("web", 1)]);
    let half_made = in_state(seen(&wanted, "web", 1, 1, false), ReplicaState::Starting);
    let changes = run(&wanted, &with(vec![half_made, routed(seen(&wanted, "web", 2, 1, true))]));
    assert_eq!((changes.status.live, changes.status.beside.len()), (Generation(2), 0));
}

#[test]
fn a_lost_replica_waits_for_room_while_rollouts_stand_side_by_side() {
    let mut wanted = rolled(&[("web", 3), ("worker", 1)]);
    // Back from rollout 2, of which two are left.
    wanted.environment.spec.rollout = Generation(1);
    wanted.environment.status.beside = [Generation(2)].into();
    let web = vec![
        exited(seen(&wanted, "web", 1, 1, false), 137),
        routed(seen(&wanted, "web", 1, 2, true)),
        routed(seen(&wanted, "web", 1, 3, true)),
        seen(&wanted, "web", 2, 1, false),
        seen(&wanted, "web", 2, 2, false),
        seen(&wanted, "worker", 2, 1, true),
    ];
    assert!(!ensures(&run(&wanted, &with(web.clone()))).contains(&("web".to_owned(), 3)));
    let gone: Vec<Seen> = web.into_iter().filter(|s| s.replica.id != "web.2.1" && s.replica.id != "web.2.2").collect();
    assert!(ensures(&run(&wanted, &with(gone))).contains(&("web".to_owned(), 3)));
}

#[test]
fn one_beyond_the_number_that_ended_is_cleared_away_and_not_replaced() {
    let wanted = desired(1, 1, &[("web", 1)]);
    let all = vec![seen(&wanted, "web", 1, 1, true), exited(seen(&wanted, "web", 1, 2, true), 137)];
    let changes = run(&wanted, &with(all));
    assert!(changes.list.contains(&Change::Remove { replica: "web.1.2".into() }), "{changes:?}");
    assert!(ensures(&changes).is_empty() && changes.status.reason.is_none(), "{changes:?}");
}

#[test]
fn one_that_is_missing_within_the_number_is_started_though_the_number_is_right() {
    let wanted = desired(1, 1, &[("web", 2)]);
    let all = vec![seen(&wanted, "web", 1, 2, true), seen(&wanted, "web", 1, 3, true)];
    assert_eq!(ensures(&run(&wanted, &with(all))), [("web".to_owned(), 2)]);
}

#[test]
fn a_watch_does_not_go_back_to_what_nobody_has_asked_yet() {
    let (wanted, both) = watched();
    let [mut before, new] = both.clone();
    before.standing = Standing::default();
    let lost = exited(seen(&wanted, "worker", 2, 1, true), 1);
    let mut wanted = wanted;
    wanted.environment.spec.formation.insert(name("worker"), 1);
    let later = NOW.plus_millis(31_000);
    let unasked = plan(&wanted, &with(vec![before, routed(new.clone()), lost.clone()]), later, &SETTINGS);
    assert_eq!((unasked.status.live, unasked.routed.as_slice()), (Generation(2), ["web.2.1".to_owned()].as_slice()));
    let asked = plan(&wanted, &with(vec![both[0].clone(), routed(new), lost]), later, &SETTINGS);
    assert_eq!(asked.status.live, Generation(1), "{asked:?}");
}

#[test]
fn an_app_sleeps_though_its_worker_is_started_anew() {
    let mut wanted = sleepy(1, 1);
    wanted.environment.spec.formation.insert(name("worker"), 1);
    let worker = exited(seen(&wanted, "worker", 1, 1, true), 1);
    assert_eq!(run(&wanted, &loaded(vec![worker], 0, i64::MAX)).status.state, EnvironmentState::Asleep);
}

#[test]
fn what_served_and_shall_not_any_more_serves_on_until_what_is_live_is_there() {
    let wanted = desired(1, 1, &[]);
    let dead = exited(seen(&wanted, "web", 1, 1, true), 137);
    let other = routed(seen(&wanted, "web", 2, 1, true));
    let changes = run(&wanted, &with(vec![dead, other]));
    assert_eq!(changes.routed, ["web.2.1"]);
    assert!(!changes.list.contains(&Change::Remove { replica: "web.2.1".into() }), "{changes:?}");
    assert_eq!(ensures(&changes), [("web".to_owned(), 1)]);
}

#[test]
fn a_replica_of_a_rollout_that_goes_does_not_take_those_that_stand_by_with_it() {
    let (mut wanted, both) = watched();
    let watch = wanted.environment.status.watch.as_mut().expect("a watch");
    watch.previous = Generation(1);
    (wanted.environment.spec.rollout, wanted.environment.status.live) = (Generation(3), Generation(3));
    let live = seen(&wanted, "web", 3, 1, true);
    let changes = run(&wanted, &with(vec![both[0].clone(), both[1].clone(), live]));
    assert!(changes.list.contains(&Change::Stop { replica: "web.2.1".into() }), "{changes:?}");
    assert!(changes.list.iter().all(|change| !matches!(change, Change::Retire { .. })), "{changes:?}");
}
