//! What the simulation found after a rollout was given up or the platform had ended in the middle, each in its smallest form.

use super::*;
use crate::base::model::Strategy;

fn routed(mut seen: Seen) -> Seen {
    seen.traffic = Traffic::Routed;
    seen
}

fn unasked(mut seen: Seen) -> Seen {
    seen.standing = Standing::default();
    seen
}

/// Rollout 1 is live, 3 was asked for and then 1 again; one of 3 has the route, and of 1 only a worker runs.
#[test]
fn who_was_to_take_over_serves_on_until_what_is_live_is_there_whether_it_was_asked_or_not() {
    let back = desired(1, 1, &[]);
    let other = routed(seen(&back, "web", 3, 1, true));
    for other in [other.clone(), unasked(other)] {
        let changes = run(&back, &with(vec![other.clone()]));
        assert_eq!(changes.routed, ["web.3.1"]);
        assert!(!changes.list.iter().any(|c| matches!(c, Change::Remove { replica } if *replica == other.replica.id)));
        let both = run(&back, &with(vec![other, seen(&back, "web", 1, 1, true)]));
        assert_eq!(both.routed, ["web.1.1"], "it is there");
    }
}

#[test]
fn a_rollout_that_is_given_up_serves_on_while_nothing_live_runs() {
    let mut wanted = desired(2, 1, &[("web", 2)]);
    wanted.environment.status.observed_generation = 2;
    let serves = routed(seen(&wanted, "web", 2, 1, true));
    let fell = exited(seen(&wanted, "web", 2, 2, false), 1);
    let changes = run(&wanted, &with(vec![serves.clone(), fell.clone()]));
    assert_eq!(changes.status.state, EnvironmentState::Blocked);
    assert_eq!(changes.routed, ["web.2.1"], "better it than nobody");
    wanted.environment.status = changes.status;
    let after = run(&wanted, &with(vec![serves.clone()]));
    assert_eq!(after.routed, ["web.2.1"]);
    assert!(after.list.iter().all(|c| !matches!(c, Change::Remove { .. } | Change::Stop { .. })), "{after:?}");
    let there = run(&wanted, &with(vec![serves, seen(&wanted, "web", 1, 1, true)]));
    assert_eq!(there.routed, ["web.1.1"]);
}

/// Replica by replica back to 1: of three one is gone, and two of 2 are on their way out.
#[test]
fn on_the_way_back_a_lost_replica_is_replaced_when_there_is_room_for_it() {
    let mut back = desired(1, 1, &[("web", 3)]);
    back.environment.spec.strategy = Strategy::Rolling;
    back.environment.status.beside.insert(Generation(2));
    let live = [seen(&back, "web", 1, 1, true), seen(&back, "web", 1, 3, true)];
    let out = [seen(&back, "web", 2, 1, false), seen(&back, "web", 2, 2, false)];
    let crowded = run(&back, &with([live.as_slice(), &out].concat()));
    assert!(ensures(&crowded).is_empty(), "it would be one too many: {crowded:?}");
    let roomy = run(&back, &with([live.as_slice(), &out[..1]].concat()));
    assert_eq!(ensures(&roomy), [("web".to_owned(), 3)]);
}

#[test]
fn one_that_stands_in_for_a_frozen_one_does_not_keep_it_from_being_replaced() {
    let mut wanted = desired(2, 1, &[("web", 1)]);
    wanted.environment.spec.strategy = Strategy::Rolling;
    wanted.environment.status.live_release.clone_from(&wanted.environment.spec.release);
    (wanted.environment.status.state, wanted.environment.status.observed_generation) = (EnvironmentState::Blocked, 2);
    let mut release = wanted.release.clone().expect("release");
    release.formation = wanted.environment.spec.formation.clone();
    wanted.release = Some(release);
    let mut frozen = seen(&wanted, "web", 1, 1, false);
    (frozen.replica.state, frozen.replica.address) = (ReplicaState::Stranded, None);
    let beyond = [routed(seen(&wanted, "web", 1, 2, true)), routed(seen(&wanted, "web", 1, 3, true))];
    let changes = run(&wanted, &with([beyond.as_slice(), &[frozen]].concat()));
    assert_eq!(ensures(&changes), [("web".to_owned(), 3)], "web.1 anew, and nobody who serves is stopped");
}

/// While a restart ran, somebody lowered the number; then the restart was given up.
#[test]
fn what_takes_other_settings_after_a_restart_that_failed_is_not_brought_to_the_old_numbers_first() {
    let mut wanted = desired(2, 1, &[("web", 1)]);
    let mut before = wanted.release.clone().expect("release");
    before.id = ReleaseId::fresh();
    before.formation.insert(name("web"), 2);
    wanted.environment.status.live_release = Some(before.id.clone());
    wanted.live = Some(before);
    wanted.release.as_mut().expect("release").kind = ReleaseKind::Settings;
    (wanted.environment.status.state, wanted.environment.status.observed_generation) = (EnvironmentState::Blocked, 2);
    let changes = run(&wanted, &with(vec![routed(seen(&wanted, "web", 1, 1, true))]));
    assert_eq!(changes.status.live_release, wanted.environment.spec.release);
    assert!(ensures(&changes).is_empty() && changes.look_again_at.is_some(), "{changes:?}");
}

/// The platform ended while web.1 was being made, and then one was enough: web.2 serves in its place.
#[test]
fn one_that_stands_in_does_not_keep_one_that_never_started_from_being_started() {
    let scaled_down = desired(1, 1, &[("web", 1)]);
    let mut made = seen(&scaled_down, "web", 1, 1, false);
    (made.replica.state, made.replica.address) = (ReplicaState::Starting, None);
    let stands_in = routed(seen(&scaled_down, "web", 1, 2, true));
    let changes = run(&scaled_down, &with(vec![made, stands_in.clone()]));
    assert_eq!(ensures(&changes), [("web".to_owned(), 2)], "and who serves is not stopped for it");
    assert_eq!(changes.routed, [stands_in.replica.id]);
}

/// A rolling restart was called off, and then three were enough. Five run, one of them of the restart, and web.3 is gone.
#[test]
fn on_the_way_back_those_beyond_the_number_make_room_for_one_within_it() {
    let mut back = desired(1, 1, &[("web", 3)]);
    back.environment.spec.strategy = Strategy::Rolling;
    back.environment.status.beside.insert(Generation(2));
    let [first, second] = [1, 2].map(|ordinal| routed(seen(&back, "web", 1, ordinal, true)));
    let beyond = [4, 5].map(|ordinal| seen(&back, "web", 1, ordinal, true));
    let restarted = routed(seen(&back, "web", 2, 1, true));
    let gone = exited(seen(&back, "web", 1, 3, false), 137);
    let all = [vec![first, second, restarted, gone], beyond.to_vec()].concat();
    let changes = run(&back, &with(all));
    let stopped: Vec<_> = changes.list.iter().filter(|c| matches!(c, Change::Stop { .. })).collect();
    assert_eq!(stopped.len(), 2, "{changes:?}");
    assert!(beyond.iter().all(|s| stopped.contains(&&Change::Stop { replica: s.replica.id.clone() })), "{changes:?}");
    assert_eq!(changes.routed, ["web.1.1", "web.1.2", "web.2.1"]);
}
