//! The planner: desired + observed + now → changes and the new status. Pure; the order of changes
//! is zero downtime: ensure the new rollout → all of it ready → switch the route → drain → retire.
//!
//! Invariants: what receives traffic is always replicas of one rollout, but for the declared mixes: a canary with its
//! part of the requests, and a rolling one (`EnvironmentStatus::beside`); but for the latter, the live rollout keeps its
//! replicas until another one is ready in full, and those with a port until that one's watch is over; the
//! last replica that served is not taken out of the route for a failing readiness check; a rollout that
//! failed stays failed until people write a new spec; what has a volume to itself never runs beside another that has it
//! (`exclusive`); planning twice equals planning once.

use std::collections::{BTreeMap, BTreeSet};

pub use self::change::{Cause, Change, Changes, Share};
use super::desired::{Desired, DesiredProcess, Settings};
use super::observed::{Observed, Seen, Traffic};
use super::scale;
use crate::base::clock::Timestamp;
use crate::base::model::{EnvironmentState, EnvironmentStatus, Generation, ProcessName, Replica, WorkloadId};

/// After leaving the table a replica may still be handed a request that looked up the table before.
const LINGER_MILLIS: i64 = 200;
/// How often the load of an app is looked at whose replicas the platform counts.
const SCALE_MILLIS: i64 = 1_000;
/// How often a rollout that is watched is judged when nothing else happens.
const JUDGED_EVERY_MILLIS: i64 = 1_000;

pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp, settings: &Settings) -> Changes {
    let (list, kept, gives_way) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut planner = Planner { desired, observed, now, settings, list, kept, gives_way, look_again_at: None };
    planner.plan()
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    now: Timestamp,
    settings: &'a Settings,
    list: Vec<Change>,
    /// Replicas that are still needed beside those of the live and the desired rollout.
    kept: BTreeSet<String>,
    look_again_at: Option<Timestamp>,
    /// Ids of live replicas that stop so that others can have their volumes.
    gives_way: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    fn plan(&mut self) -> Changes {
        let rollout = self.desired.rollout();
        let before = self.desired.status();
        let scaled = self.scaled(before.live == rollout && before.watch.is_none());
        let processes = self.desired.processes_with(&scaled);
        let gave_up = before.state == EnvironmentState::Blocked
            && before.observed_generation == self.desired.environment.generation
            && before.live != rollout;

        let mut status = before.clone();
        status.observed_generation = self.desired.environment.generation;
        status.reason = None;
        status.scaled = scaled;

        if gave_up {
            status.reason.clone_from(&before.reason);
            // What is blocked does not sleep: nobody would wake it.
            status.scaled.values_mut().for_each(|number| *number = (*number).max(1));
            let asked = &self.desired.environment.spec.release;
            // A restart failed, and settings were changed while it ran: what goes on running takes them.
            if self.is_restart() && status.live_release != *asked {
                status.live_release.clone_from(asked);
                self.look_again_in(1);
            }
            self.bring_back(before.live);
        } else {
            // A rollout given up before is not this one's fault.
            status.state = EnvironmentState::Converging;
            status.watch = before.watch.clone().filter(|_| before.live == rollout);
            let staged = self.staged(&processes, &mut status);
            let stage_ready =
                !self.aborted(&mut status) && self.bring_up(rollout, before.live, &staged.processes, &mut status);
            let all_ready = stage_ready && staged.whole;
            let stopped = self.desired.environment.spec.stopped;
            let sleeps = processes.iter().any(|p| p.has_port && status.scaled.get(&p.id.process) == Some(&0));
            status.state = match (all_ready, &self.desired.release) {
                _ if status.state == EnvironmentState::Blocked => EnvironmentState::Blocked,
                (_, None) => EnvironmentState::Empty,
                (true, _) if stopped => EnvironmentState::Stopped,
                // What needs no request goes on meanwhile, or is started anew.
                (ready, _) if (ready || rollout == before.live) && sleeps && !stopped => EnvironmentState::Asleep,
                (true, _) => EnvironmentState::Live,
                (false, _) => EnvironmentState::Converging,
            };
            if all_ready && rollout != before.live {
                status.watch = self.new_watch(before);
                status.live = rollout;
            }
            if status.live == rollout {
                status.live_release.clone_from(&self.desired.environment.spec.release);
            }
            self.judge(all_ready, &processes, &mut status);
            self.hold(&staged, stage_ready, &mut status);
        }
        self.keep_up(before, &status);
        let mixed = self.mix(before, &mut status, &processes);
        status.ready = self.ready_counts(&status, &processes);
        self.gives_way = self.giving_way(rollout, &status, &processes);
        let (routed, share) = match mixed {
            Some(mixed) => (mixed, None),
            None => self.with_canary(self.routed(status.live, &processes, &status.scaled), &status),
        };
        let routed = if routed.is_empty() { self.left_routed(&processes) } else { routed };
        self.adopt(&status);
        self.clear_away(rollout, &status, &routed, gave_up);
        self.spare_the_routed(&routed);
        let (holds, look_again_at) = (routed.is_empty() && self.comes_back(&status), self.look_again_at);
        Changes { list: std::mem::take(&mut self.list), routed, share, status, holds, look_again_at }
    }

    fn give_up(&mut self, replica: Option<String>, cause: Cause, status: &mut EnvironmentStatus) {
        self.list.clear();
        self.list.push(Change::GiveUp { replica, cause });
        status.state = EnvironmentState::Blocked;
    }

    fn ensure(&mut self, process: &DesiredProcess, generation: Generation) {
        if self.has_room(process, generation) {
            self.list.push(Change::Ensure { workload: process.id.clone(), generation, count: process.count });
        }
    }

    /// The numbers of the process types that the platform counts; looks again soon while they can change by themselves.
    fn scaled(&mut self, settled: bool) -> BTreeMap<ProcessName, u32> {
        let status = self.desired.status();
        let mut scaled = BTreeMap::new();
        for (process, scaling) in self.desired.scaling() {
            let before = status.scaled.get(process).copied();
            let number = match &self.observed.load {
                Some(load) => scale::count(process, scaling, load, before, settled),
                None => before.unwrap_or(scaling.min.max(1)),
            };
            if number > 0 {
                self.look_again_in(SCALE_MILLIS);
            }
            scaled.insert(process.clone(), number);
        }
        scaled
    }

    fn ready_counts(&self, status: &EnvironmentStatus, processes: &[DesiredProcess]) -> BTreeMap<ProcessName, u32> {
        let serves = |s: &&Seen| s.replica.generation == status.live || status.beside.contains(&s.replica.generation);
        let count = |p: &DesiredProcess| {
            let of_it = self.observed.replicas.iter().filter(|s| s.replica.workload == p.id);
            of_it.filter(serves).filter(|s| s.is_ready()).count()
        };
        processes.iter().map(|p| (p.id.process.clone(), u32::try_from(count(p)).unwrap_or(u32::MAX))).collect()
    }

    /// Where nothing that is live can be routed: what has the route and is of the desired rollout, since the life of the platform
    /// before this one may have ended between its table and its word that this is live; else whoever has it, the ready ones first.
    fn left_routed(&self, processes: &[DesiredProcess]) -> Vec<String> {
        let wanted = processes.iter().any(|p| p.has_port && p.count > 0);
        if !wanted || self.is_called_off() || self.is_exclusive() {
            return Vec::new();
        }
        let has = |s: &&Seen| {
            let answers = s.runs() && s.replica.address.is_some() && s.standing.dead.is_none();
            answers && s.traffic == Traffic::Routed
        };
        let all = || self.observed.replicas.iter().filter(has);
        let ids = |of: &mut dyn Iterator<Item = &Seen>| of.map(|s| s.replica.id.clone()).collect::<Vec<_>>();
        let desired = ids(&mut all().filter(|s| s.replica.generation == self.desired.rollout()));
        if !desired.is_empty() {
            return desired;
        }
        // One that was to take over and shall not any more: better that one than none, until what is live is there. After a
        // restart of the platform nobody has asked it yet.
        let ready = ids(&mut all().filter(|s| s.is_ready()));
        if ready.is_empty() { ids(&mut all()) } else { ready }
    }

    /// What this plan routes it does not stop, whatever was decided before it was known that nobody else can be routed.
    fn spare_the_routed(&mut self, routed: &[String]) {
        let kept: Vec<&Replica> =
            self.observed.replicas.iter().map(|s| &s.replica).filter(|r| routed.contains(&r.id)).collect();
        self.list.retain_mut(|change| match change {
            Change::Ensure { workload, generation, count } => {
                let of_it = kept.iter().filter(|r| r.workload == *workload && r.generation == *generation);
                *count = of_it.map(|r| r.ordinal).max().unwrap_or(0).max(*count);
                true
            }
            Change::Retire { workload, below } => {
                !kept.iter().any(|r| r.workload == *workload && r.generation < *below)
            }
            Change::Stop { replica } | Change::Remove { replica } => !routed.contains(replica),
            Change::Probe { .. } | Change::GiveUp { .. } => true,
        });
    }

    fn routed(
        &self,
        live: Generation,
        processes: &[DesiredProcess],
        scaled: &BTreeMap<ProcessName, u32>,
    ) -> Vec<String> {
        let own;
        // What is live beside the desired rollout has its own numbers.
        let processes = if live != self.desired.rollout() && live == self.desired.status().live {
            own = self.desired.live_processes(scaled);
            &own
        } else {
            processes
        };
        let counted = live == self.desired.rollout() || live == self.desired.status().live;
        let surplus = |r: &Replica| counted && processes.iter().any(|p| p.id == r.workload && r.ordinal > p.count);
        let open = |s: &&Seen| {
            s.replica.generation == live
                && s.runs()
                && s.replica.address.is_some()
                && s.standing.dead.is_none()
                && !self.gives_way.contains(&s.replica.id)
                && self.desired.release.is_some()
        };
        let mut open: Vec<&Seen> = self.observed.replicas.iter().filter(open).collect();
        // Those beyond the number go once others serve in their place.
        let (within, beyond): (Vec<&Seen>, Vec<&Seen>) = open.iter().partition(|s| !surplus(&s.replica));
        let none_wanted = |s: &&Seen| processes.iter().any(|p| p.id == s.replica.workload && p.count == 0);
        if within.iter().any(|s| s.is_ready()) || beyond.iter().any(none_wanted) {
            open = within;
        }
        let mut routed: Vec<&&Seen> = open.iter().filter(|s| s.is_ready()).collect();
        // None is ready: those that still have the route keep it (after a restart of the platform nobody has asked them
        // yet), else those that were ready once.
        if routed.is_empty() {
            routed = open.iter().filter(|s| s.traffic == Traffic::Routed).collect();
        }
        if routed.is_empty() {
            routed = open.iter().filter(|s| s.standing.passed).collect();
        }
        let mut ids: Vec<String> = routed.into_iter().map(|s| s.replica.id.clone()).collect();
        ids.sort();
        ids
    }

    fn of(&self, workload: &WorkloadId, generation: Generation) -> Vec<&'a Seen> {
        let is = |r: &Replica| r.workload == *workload && r.generation == generation;
        self.observed.replicas.iter().filter(|s| is(&s.replica)).collect()
    }

    fn look_again_in(&mut self, millis: i64) {
        let at = self.now.plus_millis(millis.max(1));
        self.look_again_at = Some(self.look_again_at.map_or(at, |known| known.min(at)));
    }
}

mod canary;
mod change;
mod exclusive;
mod leaving;
mod probation;
mod rising;
mod rolling;
mod strategy;
#[cfg(test)]
mod tests;
