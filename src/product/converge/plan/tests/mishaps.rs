//! What the simulation found, each in its smallest form.

use super::counted::{loaded, sleepy};
use super::*;

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
