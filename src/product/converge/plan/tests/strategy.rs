//! Canaries and rolling, in a world that carries out what was planned.

use std::collections::BTreeSet;

use super::*;
use crate::base::model::{Guidance, LONGEST_HOLD_SECONDS, Strategy};

/// v1 is live and v2 desired.
struct World {
    desired: Desired,
    replicas: Vec<Seen>,
    now: Timestamp,
    /// Replicas of these rollouts never become ready.
    sick: BTreeSet<Generation>,
    most: usize,
    /// The platform has just started: it knows what stands in the store and the engine.
    fresh: bool,
}

impl World {
    fn new(strategy: &str, formation: &[(&str, u32)]) -> Self {
        let mut desired = desired(2, 1, formation);
        desired.environment.spec.strategy = strategy.parse().expect("strategy");
        let mut live = desired.release.clone().expect("release");
        live.id = ReleaseId::fresh();
        live.number = 1;
        live.formation = desired.environment.spec.formation.clone();
        desired.environment.status.live_release = Some(live.id.clone());
        desired.live = Some(live);
        let mut replicas = Vec::new();
        for (process, count) in formation {
            for ordinal in 1..=*count {
                let mut one = seen(&desired, process, 1, ordinal, true);
                one.traffic = if *process == "web" { Traffic::Routed } else { Traffic::None };
                replicas.push(one);
            }
        }
        Self { desired, replicas, now: NOW, sick: BTreeSet::new(), most: 0, fresh: false }
    }

    fn count(&self, process: &str, generation: i64) -> usize {
        let is = |s: &&Seen| s.replica.workload.process == name(process) && s.replica.generation.0 == generation;
        self.replicas.iter().filter(is).count()
    }

    /// One look: plans, checks what must always hold, carries it out, and lets a second pass.
    fn look(&mut self) -> Changes {
        let observed = with(self.replicas.clone());
        let changes = plan(&self.desired, &observed, self.now, &SETTINGS);
        assert_eq!(plan(&self.desired, &observed, self.now, &SETTINGS), changes, "planning twice is planning once");
        self.check(&changes);
        for change in &changes.list {
            self.carry_out(change);
        }
        for seen in &mut self.replicas {
            let routed = changes.routed.contains(&seen.replica.id);
            seen.traffic = match seen.traffic {
                _ if routed => Traffic::Routed,
                Traffic::Routed => Traffic::Leaving { since: self.now, in_flight: 0 },
                other => other,
            };
        }
        let gives_up = changes.list.iter().find_map(|c| match c {
            Change::GiveUp { cause, .. } => Some(*cause),
            _ => None,
        });
        let status = &mut self.desired.environment.status;
        match gives_up {
            // As the driver does it.
            Some(cause) => {
                if let Some(watch) = status.watch.take() {
                    (status.live, status.live_release) = (watch.previous, watch.previous_release);
                }
                status.canary = None;
                if self.desired.environment.spec.strategy == Strategy::Rolling {
                    status.beside.insert(self.desired.environment.spec.rollout);
                }
                status.state = EnvironmentState::Blocked;
                status.observed_generation = self.desired.environment.generation;
                status.reason = Some(format!("{cause:?}"));
            }
            None => *status = changes.status.clone(),
        }
        self.now = self.now.plus_millis(1000);
        changes
    }

    fn check(&mut self, changes: &Changes) {
        let routed: Vec<&Seen> = self.replicas.iter().filter(|s| changes.routed.contains(&s.replica.id)).collect();
        let some = std::mem::take(&mut self.fresh) || !routed.is_empty();
        assert!(some && routed.iter().all(|s| s.is_ready()), "only ready ones, and one at least: {changes:?}");
        let generations: BTreeSet<_> = routed.iter().map(|s| s.replica.generation).collect();
        let declared = match (&changes.share, changes.status.beside.is_empty()) {
            (None, true) => 1,
            _ => 2,
        };
        assert!(generations.len() <= declared, "a mix that was not declared: {changes:?}");
        for change in &changes.list {
            if let Change::Stop { replica } | Change::Remove { replica } = change {
                assert!(!changes.routed.contains(replica), "{changes:?}");
            }
        }
        self.most = self.most.max(self.replicas.len());
    }

    fn carry_out(&mut self, change: &Change) {
        match change {
            Change::Ensure { workload, generation, count } => {
                let is = |s: &Seen| s.replica.workload == *workload && s.replica.generation == *generation;
                self.replicas.retain(|s| !is(s) || s.runs() && s.replica.ordinal <= *count);
                for ordinal in 1..=*count {
                    if !self.replicas.iter().any(|s| is(s) && s.replica.ordinal == ordinal) {
                        let mut one = seen(&self.desired, workload.process.as_str(), generation.0, ordinal, false);
                        one.replica.started_at = Some(self.now);
                        self.replicas.push(one);
                    }
                }
            }
            Change::Probe { replica } => {
                for seen in self.replicas.iter_mut().filter(|s| s.replica.id == *replica) {
                    let ready = !self.sick.contains(&seen.replica.generation);
                    let fault = (!ready).then(|| (CheckKind::Startup, "refuses connections".to_owned()));
                    seen.standing = Standing { started: ready, passed: ready, ready, fault, ..Standing::default() };
                }
            }
            Change::Stop { replica } | Change::Remove { replica } => {
                self.replicas.retain(|s| s.replica.id != *replica);
            }
            Change::Retire { workload, below } => {
                self.replicas.retain(|s| s.replica.workload != *workload || s.replica.generation >= *below);
            }
            Change::GiveUp { .. } => {}
        }
    }

    /// `kill -9`, and the next start.
    fn forget(&mut self) {
        self.fresh = true;
        self.replicas.iter_mut().for_each(|s| (s.standing, s.traffic) = (Standing::default(), Traffic::None));
    }

    /// Looks until it is so.
    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        for _ in 0..100 {
            if is(self) {
                return;
            }
            self.look();
        }
        panic!("not within 100 looks: {what}: {:?}", self.desired.environment.status);
    }

    fn state(&self) -> EnvironmentState {
        self.desired.environment.status.state
    }

    fn say(&mut self, steps: u32, aborted: bool) {
        let rollout = self.desired.rollout();
        self.desired.environment.spec.guidance = Some(Guidance { rollout, steps, aborted });
        self.desired.environment.generation += 1;
    }

    /// As the deployment does after a failure.
    fn revert(&mut self) {
        let (spec, status) = (&mut self.desired.environment.spec, &self.desired.environment.status);
        (spec.release, spec.rollout) = (status.live_release.clone(), status.live);
        self.desired.release = self.desired.live.take();
        self.desired.environment.generation += 1;
    }

    fn answer(&mut self, generation: i64, answers: Answers) {
        let of_it = |s: &&mut Seen| s.replica.generation.0 == generation && s.replica.address.is_some();
        self.replicas.iter_mut().filter(of_it).take(1).for_each(|s| s.answers = answers);
    }
}

fn faults(faults: u64, requests: u64) -> Answers {
    Answers { requests, faults, ..Answers::default() }
}

#[test]
fn rolling_goes_one_by_one_and_never_below_the_formation() {
    let mut world = World::new("rolling", &[("web", 3), ("worker", 2)]);
    for _ in 0..100 {
        let changes = world.look();
        assert!(changes.routed.len() >= 3, "{changes:?}");
        assert!(world.count("web", 1) + world.count("web", 2) <= 4);
        let all = world.replicas.len();
        assert!(all <= 6, "one beyond the formation of five: {all}");
        let workers_first = world.count("web", 2) == 0 || world.count("worker", 1) == 0;
        assert!(workers_first, "the workers go first");
        if world.state() == EnvironmentState::Live && world.replicas.len() == 5 {
            break;
        }
    }
    assert_eq!((world.count("web", 2), world.count("worker", 2), world.replicas.len()), (3, 2, 5));
    assert_eq!(world.desired.status().live, Generation(2));
    let last = world.look();
    assert!(last.list.is_empty() && last.status.beside.is_empty(), "{last:?}");
}

#[test]
fn a_rolling_one_that_fails_half_way_goes_back_one_by_one() {
    let mut world = World::new("rolling", &[("web", 3)]);
    world.until("two are new", |w| w.count("web", 2) == 3);
    let place = world.replicas.iter().position(|s| s.replica.generation.0 == 2 && !s.is_ready()).expect("a third");
    world.replicas[place] = exited(world.replicas[place].clone(), 1);
    let given_up = world.look();
    assert!(matches!(given_up.list.as_slice(), [Change::GiveUp { .. }]), "{given_up:?}");
    assert!(given_up.routed.len() >= 3, "what serves goes on: {given_up:?}");
    for turn in 0..100 {
        if turn == 2 {
            world.revert();
        }
        let changes = world.look();
        assert!(changes.routed.len() >= 3 && changes.status.live == Generation(1), "{changes:?}");
        let running = world.replicas.iter().filter(|s| s.runs()).count();
        assert!(running <= 4, "{running}");
        if world.count("web", 1) == 3 && world.replicas.len() == 3 && world.state() == EnvironmentState::Live {
            break;
        }
    }
    assert_eq!((world.count("web", 1), world.replicas.len()), (3, 3));
    assert!(world.look().list.is_empty());
}

#[test]
fn a_rolling_one_that_never_is_ready_changes_nothing() {
    let mut world = World::new("rolling", &[("web", 2)]);
    world.sick.insert(Generation(2));
    world.until("it is given up", |w| w.state() == EnvironmentState::Blocked);
    world.until("it is cleared away", |w| w.replicas.len() == 2);
    assert_eq!(world.count("web", 1), 2);
    assert!(world.most <= 3, "{}", world.most);
}

#[test]
fn a_restart_rolls_and_a_lost_replica_of_the_old_ones_is_made_up_for_by_a_new_one() {
    let mut world = World::new("rolling", &[("web", 3)]);
    world.desired.environment.status.live_release = world.desired.environment.spec.release.clone();
    world.desired.live = None;
    world.replicas.pop();
    world.until("all are new", |w| w.count("web", 2) == 3 && w.replicas.len() == 3);
    assert!(world.most <= 4, "{}", world.most);
}

#[test]
fn a_rolling_one_that_was_watched_and_does_worse_goes_back_one_by_one() {
    let mut world = World::new("rolling", &[("web", 3)]);
    world.desired.environment.spec.watch_seconds = 60;
    world.until("it is watched", |w| w.state() == EnvironmentState::Watching);
    assert_eq!(world.count("web", 1), 1, "one stands by");
    world.answer(2, faults(50, 50));
    world.until("it is given up", |w| w.state() == EnvironmentState::Blocked);
    for _ in 0..40 {
        assert!(world.look().routed.len() >= 3);
    }
    assert_eq!((world.count("web", 1), world.count("web", 2)), (3, 0));
    assert!(world.most <= 4, "{}", world.most);
}

#[test]
fn a_canary_holds_at_each_step_until_it_is_let_go_on() {
    let mut world = World::new("canary=10,50", &[("web", 4), ("worker", 1)]);
    let early = world.look();
    assert_eq!((early.share.clone(), ensures(&early)), (None, vec![("web".to_owned(), 1)]));
    world.until("it holds", |w| w.state() == EnvironmentState::Holding);
    for _ in 0..5 {
        let held = world.look();
        let share = held.share.clone().expect("a share");
        assert_eq!((share.percent, share.replicas.as_slice()), (10, ["web.2.1".to_owned()].as_slice()));
        assert_eq!((held.routed.len(), held.status.live), (5, Generation(1)));
        assert!(held.status.reason.as_deref().is_some_and(|r| r.contains("10 %") && r.contains("releases:continue")));
        assert_eq!(world.count("worker", 2), 0, "work is not done twice");
    }
    world.say(1, false);
    let between = world.look();
    assert_eq!(between.share.clone().map(|s| s.percent), Some(10), "until all of the next step is ready");
    world.until("it holds again", |w| w.state() == EnvironmentState::Holding);
    let half = world.look();
    assert_eq!(half.share.map(|s| (s.percent, s.replicas.len())), Some((50, 2)));
    world.say(2, false);
    world.until("it is live", |w| w.state() == EnvironmentState::Live && w.replicas.len() == 5);
    let last = world.look();
    assert_eq!((last.share, last.status.canary, last.status.live), (None, None, Generation(2)));
    assert_eq!((world.count("web", 2), world.count("worker", 2)), (4, 1));
}

#[test]
fn a_canary_with_a_hold_goes_on_by_itself() {
    let mut world = World::new("canary=20", &[("web", 1)]);
    let strategy = world.desired.environment.spec.strategy.clone();
    world.desired.environment.spec.strategy = strategy.holding(Some(30)).expect("hold");
    world.until("it holds", |w| w.state() == EnvironmentState::Holding);
    let began = world.now;
    world.until("it is live", |w| w.state() == EnvironmentState::Live);
    assert!((30_000..35_000).contains(&world.now.since(began)), "{}", world.now.since(began));
}

#[test]
fn a_canary_that_nobody_lets_go_on_goes_back() {
    let mut world = World::new("canary=20", &[("web", 1)]);
    world.until("it holds", |w| w.state() == EnvironmentState::Holding);
    world.now = world.now.plus_millis(i64::from(LONGEST_HOLD_SECONDS) * 1000);
    let changes = world.look();
    assert!(matches!(changes.list[0], Change::GiveUp { cause: Cause::Forgotten { .. }, .. }), "{changes:?}");
    assert_eq!((changes.routed.as_slice(), changes.share), (["web.1.1".to_owned()].as_slice(), None));
}

#[test]
fn a_canary_that_does_worse_goes_back_at_once() {
    let slow = |class: usize| {
        let mut answers = faults(0, 200);
        answers.latency[class] = 200;
        answers
    };
    for (old, new) in [(faults(0, 500), faults(6, 30)), (slow(0), slow(8))] {
        let mut world = World::new("canary=10", &[("web", 2)]);
        world.until("it holds", |w| w.state() == EnvironmentState::Holding);
        world.answer(1, old);
        assert_eq!(world.look().status.state, EnvironmentState::Holding);
        world.answer(2, new);
        let changes = world.look();
        let percent = match changes.list.as_slice() {
            [Change::GiveUp { cause: Cause::Worse { percent, .. } | Cause::Slower { percent, .. }, .. }] => *percent,
            _ => panic!("{changes:?}"),
        };
        assert_eq!((percent, changes.routed.len(), changes.share), (10, 2, None));
        world.until("it is cleared away", |w| w.replicas.len() == 2);
        assert_eq!(world.count("web", 1), 2);
    }
}

#[test]
fn a_canary_that_exits_goes_back_at_once() {
    let mut world = World::new("canary=10", &[("web", 2)]);
    world.until("it holds", |w| w.state() == EnvironmentState::Holding);
    let place = world.replicas.iter().position(|s| s.replica.generation.0 == 2).expect("a canary");
    world.replicas[place] = exited(world.replicas[place].clone(), 3);
    let changes = world.look();
    let cause = Cause::Fell { code: 3, out_of_memory: false, percent: 10 };
    assert_eq!(changes.list, [Change::GiveUp { replica: Some("web.2.1".into()), cause }]);
}

#[test]
fn whatever_is_under_way_can_be_called_off() {
    for strategy in ["blue-green", "rolling", "canary=10"] {
        let mut world = World::new(strategy, &[("web", 3)]);
        world.until("a new one is there", |w| w.count("web", 2) > 0);
        world.look();
        if world.desired.status().live == Generation(2) {
            panic!("{strategy}: too late");
        }
        world.say(0, true);
        let changes = world.look();
        assert!(matches!(changes.list[0], Change::GiveUp { cause: Cause::Aborted, .. }), "{strategy}: {changes:?}");
        world.until("it is cleared away", |w| w.replicas.len() == 3);
        assert_eq!((world.count("web", 1), world.desired.status().live), (3, Generation(1)), "{strategy}");
    }
}

#[test]
fn what_is_watched_can_be_called_off() {
    let mut world = World::new("blue-green", &[("web", 2)]);
    world.desired.environment.spec.watch_seconds = 60;
    world.until("it is watched", |w| w.state() == EnvironmentState::Watching);
    world.say(0, true);
    let changes = world.look();
    assert!(matches!(changes.list[0], Change::GiveUp { cause: Cause::Aborted, .. }), "{changes:?}");
    assert_eq!((changes.status.live, changes.routed.len()), (Generation(1), 2));
}

#[test]
fn a_held_canary_outlives_a_restart_of_the_platform() {
    let mut world = World::new("canary=10", &[("web", 2)]);
    world.until("it holds", |w| w.state() == EnvironmentState::Holding);
    let canary = world.desired.status().canary.clone();
    // An hour later nobody knows anything but what stands in the store and the engine.
    world.now = world.now.plus_millis(3_600_000);
    world.replicas.iter_mut().for_each(|s| (s.standing, s.traffic) = (Standing::default(), Traffic::None));
    let observed = with(world.replicas.clone());
    let first = plan(&world.desired, &observed, world.now, &SETTINGS);
    assert!(!first.list.iter().any(|c| matches!(c, Change::GiveUp { .. })), "{first:?}");
    assert_eq!((first.status.state, &first.status.canary), (EnvironmentState::Holding, &canary));
    first.list.iter().for_each(|change| world.carry_out(change));
    let held = world.look();
    assert_eq!((held.share.map(|s| s.percent), held.status.canary), (Some(10), canary));
    assert_eq!(held.routed.len(), 3);
}

#[test]
fn what_serves_beside_a_canary_is_kept_up() {
    let mut world = World::new("canary=10", &[("web", 2)]);
    world.until("it holds", |w| w.state() == EnvironmentState::Holding);
    let place = world.replicas.iter().position(|s| s.replica.id == "web.1.2").expect("web.2");
    world.replicas[place] = exited(world.replicas[place].clone(), 1);
    let changes = world.look();
    let again = |c: &Change| matches!(c, Change::Ensure { generation: Generation(1), count: 2, .. });
    assert!(changes.list.iter().any(again), "{changes:?}");
    world.look();
    assert_eq!(world.look().routed.len(), 3);
    assert_eq!(world.state(), EnvironmentState::Holding);
}

#[test]
fn a_way_back_and_a_restart_are_no_canary() {
    let mut world = World::new("canary=10", &[("web", 2)]);
    world.say(u32::MAX, false);
    world.until("it is live", |w| w.state() == EnvironmentState::Live);
    assert!(world.desired.status().canary.is_none());
    let mut world = World::new("canary=10", &[("web", 2)]);
    world.desired.environment.status.live_release = world.desired.environment.spec.release.clone();
    let changes = world.look();
    assert_eq!(ensures(&changes), [("web".to_owned(), 2)]);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever happens to the new rollout, and whatever people say of it: as many ready replicas as the formation asks
        /// receive requests at every moment, and in the end either rollout is there in full and nothing is left of the other.
        #[test]
        fn nothing_that_happens_to_a_new_rollout_is_felt(
            strategy in 0..4_usize, count in 1..5_u32, watch in 0..2_u32, turns in proptest::collection::vec(0..9_u8, 0..40),
        ) {
            let strategy = ["blue-green", "rolling", "canary=10", "canary=25,75"][strategy];
            let mut world = World::new(strategy, &[("web", count), ("worker", 1)]);
            let wanted = count as usize;
            world.desired.environment.spec.watch_seconds = watch * 20;
            let (mut reverted, mut hurt) = (false, 0);
            for turn in turns {
                let status = world.desired.status().clone();
                let comes = status.live == Generation(1) && status.state != EnvironmentState::Blocked && !reverted;
                let of_new = world.replicas.iter().position(|s| s.replica.generation.0 == 2 && s.runs());
                // One that had taken the place of an old one is missed until that one is back.
                if comes && turn < 2 && of_new.is_some_and(|place| world.replicas[place].is_ready()) {
                    hurt = 1;
                }
                match (turn, of_new) {
                    (0, Some(place)) if comes => world.replicas[place] = exited(world.replicas[place].clone(), 1),
                    (1, Some(place)) if comes => {
                        world.replicas[place] = failing(world.replicas[place].clone(), CheckKind::Liveness);
                    }
                    (2, _) if status.canary.is_some() => world.say(status.canary.map_or(0, |c| c.step + 1), false),
                    (3, _) if comes => world.say(0, true),
                    (4, _) => world.answer(2, faults(30, 30)),
                    (6, _) => world.forget(),
                    _ => {}
                }
                let lost = world.replicas.iter().any(|s| s.replica.generation.0 == 2 && s.is_ready() != s.standing.started);
                let lost = lost || world.fresh;
                let changes = world.look();
                prop_assert!(lost || changes.routed.len() + hurt >= wanted, "{strategy}: {changes:?}");
                let running = world.replicas.iter().filter(|s| s.runs()).count();
                prop_assert!(strategy != "rolling" || running <= wanted + 2, "{running} of {wanted} and a worker");
                if turn == 5 && world.state() == EnvironmentState::Blocked && !reverted {
                    world.revert();
                    reverted = true;
                }
            }
            if world.state() == EnvironmentState::Blocked && !reverted {
                world.revert();
            }
            for _ in 0..60 {
                if world.desired.status().canary.is_some() {
                    world.say(9, false);
                }
                world.look();
            }
            let live = world.desired.status().live.0;
            prop_assert_eq!((world.count("web", live), world.count("worker", live)), (wanted, 1));
            prop_assert_eq!(world.replicas.len(), wanted + 1, "{:?}", world.desired.status());
            prop_assert!(world.look().list.is_empty());
        }
    }
}
