//! The planner: desired + observed + now → changes and the new status. Pure; the order of changes
//! is zero downtime: ensure the new rollout → all of it ready → switch the route → drain → retire.
//!
//! Invariants: what receives traffic is always replicas of one rollout; the live rollout keeps its
//! replicas until another one is ready in full; a rollout that failed stays failed until people
//! write a new spec; planning twice equals planning once.

use std::collections::BTreeMap;

use super::desired::{Desired, DesiredProcess, Settings};
use super::observed::{Observed, Seen, Traffic};
use super::scale;
use crate::base::clock::Timestamp;
use crate::base::model::{
    EnvironmentState, EnvironmentStatus, Generation, ProcessName, Replica, ReplicaState, WorkloadId,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make `count` replicas of this workload and generation run.
    Ensure { workload: WorkloadId, generation: Generation, count: u32 },
    /// Run the check of a replica until it passes.
    Probe { replica: String },
    /// Stop (with grace) all replicas of the workload below the generation.
    Retire { workload: WorkloadId, below: Generation },
    /// Take away one replica at once: exited, or of a rollout that was given up.
    Remove { replica: String },
    /// A replica of the desired rollout is the evidence that it cannot become live.
    GiveUp { replica: Option<String>, cause: Cause },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Exited { code: i64, out_of_memory: bool },
    NotReady { millis: i64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub list: Vec<Change>,
    /// Ids of the replicas that shall receive traffic.
    pub routed: Vec<String>,
    pub status: EnvironmentStatus,
    /// When to look again if nothing happens before.
    pub look_again_at: Option<Timestamp>,
}

/// After leaving the table a replica may still be handed a request that looked up the table before.
const LINGER_MILLIS: i64 = 200;
/// How often the load of an app is looked at whose replicas the platform counts.
const SCALE_MILLIS: i64 = 1_000;

pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp, settings: &Settings) -> Changes {
    let mut planner = Planner { desired, observed, now, settings, list: Vec::new(), look_again_at: None };
    planner.plan()
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    now: Timestamp,
    settings: &'a Settings,
    list: Vec<Change>,
    look_again_at: Option<Timestamp>,
}

impl<'a> Planner<'a> {
    fn plan(&mut self) -> Changes {
        let rollout = self.desired.rollout();
        let before = self.desired.status();
        let scaled = self.scaled(before.live == rollout);
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
        } else {
            // A rollout given up before is not this one's fault.
            status.state = EnvironmentState::Converging;
            let all_ready = self.bring_up(rollout, before.live, &processes, &mut status);
            status.state = match (all_ready, &self.desired.release) {
                _ if status.state == EnvironmentState::Blocked => EnvironmentState::Blocked,
                (_, None) => EnvironmentState::Empty,
                (true, _) if self.desired.environment.spec.stopped => EnvironmentState::Stopped,
                (true, _) if processes.iter().all(|p| p.count == 0) && !status.scaled.is_empty() => {
                    EnvironmentState::Asleep
                }
                (true, _) => EnvironmentState::Live,
                (false, _) => EnvironmentState::Converging,
            };
            if all_ready {
                status.live = rollout;
                status.live_release.clone_from(&self.desired.environment.spec.release);
            }
        }
        status.ready = self.ready_counts(status.live, &processes);
        let routed = self.routed(status.live, &processes);
        self.clear_away(rollout, &status, &routed, gave_up);
        Changes { list: std::mem::take(&mut self.list), routed, status, look_again_at: self.look_again_at }
    }

    /// Changes that bring the desired rollout up; true when all of it is ready.
    fn bring_up(
        &mut self,
        rollout: Generation,
        live: Generation,
        processes: &[DesiredProcess],
        status: &mut EnvironmentStatus,
    ) -> bool {
        let mut all_ready = true;
        for process in processes {
            let here = self.of(&process.id, rollout);
            let running = here.iter().filter(|s| s.runs()).count();
            let ready = here.iter().filter(|s| s.ready).count();
            let want = process.count as usize;
            all_ready &= ready >= want;
            let exited = here.iter().find_map(|s| match s.replica.state {
                ReplicaState::Exited { code, out_of_memory, .. } => Some((s.replica.id.clone(), code, out_of_memory)),
                _ => None,
            });
            match exited {
                Some((replica, code, out_of_memory)) if rollout != live => {
                    self.give_up(Some(replica), Cause::Exited { code, out_of_memory }, status);
                    return false;
                }
                Some((_, code, out_of_memory)) => {
                    let wait = self.back_off(&process.id);
                    status.reason = Some(crash_text(&process.id, code, out_of_memory, wait));
                    if wait > 0 {
                        self.look_again_in(wait);
                    } else {
                        self.ensure(process, rollout);
                    }
                }
                // Surplus replicas leave the route before they stop.
                None if running != want && self.surplus_is_idle(process, rollout) => self.ensure(process, rollout),
                None => {}
            }
            for seen in here.iter().filter(|s| s.replica.state == ReplicaState::Running && !s.ready) {
                self.list.push(Change::Probe { replica: seen.replica.id.clone() });
            }
            if rollout != live && !self.in_time(&here, status) {
                return false;
            }
        }
        all_ready
    }

    /// False when a replica of a new rollout has been unready for too long.
    fn in_time(&mut self, here: &[&Seen], status: &mut EnvironmentStatus) -> bool {
        for seen in here.iter().filter(|s| !s.ready) {
            let Some(started) = seen.replica.started_at else { continue };
            let left = self.settings.ready_millis - self.now.since(started);
            if left <= 0 {
                let cause = Cause::NotReady { millis: self.settings.ready_millis };
                self.give_up(Some(seen.replica.id.clone()), cause, status);
                return false;
            }
            self.look_again_in(left);
        }
        true
    }

    fn give_up(&mut self, replica: Option<String>, cause: Cause, status: &mut EnvironmentStatus) {
        self.list.clear();
        self.list.push(Change::GiveUp { replica, cause });
        status.state = EnvironmentState::Blocked;
    }

    fn ensure(&mut self, process: &DesiredProcess, generation: Generation) {
        self.list.push(Change::Ensure { workload: process.id.clone(), generation, count: process.count });
    }

    fn surplus_is_idle(&mut self, process: &DesiredProcess, generation: Generation) -> bool {
        let all = self.of(&process.id, generation);
        all.into_iter().filter(|s| s.replica.ordinal > process.count).all(|s| self.is_idle(s))
    }

    /// Milliseconds until the next restart of a crashed workload.
    fn back_off(&self, workload: &WorkloadId) -> i64 {
        let Some(crashes) = self.observed.crashes.get(workload) else { return 0 };
        (crashes.pause_millis() - self.now.since(crashes.last)).max(0)
    }

    /// The numbers of the process types that the platform counts; looks again soon while they can change by themselves.
    fn scaled(&mut self, settled: bool) -> BTreeMap<ProcessName, u32> {
        let (spec, status) = (&self.desired.environment.spec, self.desired.status());
        let mut scaled = BTreeMap::new();
        for (process, scaling) in &spec.scaling {
            let number = match &self.observed.load {
                Some(load) => scale::count(scaling, load, settled),
                None => status.scaled.get(process).copied().unwrap_or(scaling.min.max(1)),
            };
            if number > 0 {
                self.look_again_in(SCALE_MILLIS);
            }
            scaled.insert(process.clone(), number);
        }
        scaled
    }

    fn ready_counts(&self, live: Generation, processes: &[DesiredProcess]) -> BTreeMap<ProcessName, u32> {
        let count = |p: &DesiredProcess| self.of(&p.id, live).into_iter().filter(|s| s.ready).count();
        processes.iter().map(|p| (p.id.process.clone(), u32::try_from(count(p)).unwrap_or(u32::MAX))).collect()
    }

    fn routed(&self, live: Generation, processes: &[DesiredProcess]) -> Vec<String> {
        let surplus = |r: &Replica| {
            r.generation == self.desired.rollout()
                && processes.iter().any(|p| p.id == r.workload && r.ordinal > p.count)
        };
        let mut ids: Vec<String> = self
            .observed
            .replicas
            .iter()
            .filter(|s| s.ready && s.replica.generation == live && s.replica.address.is_some())
            .filter(|s| !surplus(&s.replica) && self.desired.release.is_some())
            .map(|s| s.replica.id.clone())
            .collect();
        ids.sort();
        ids
    }

    /// Replicas of rollouts that are neither live nor wanted, once no request is on them.
    fn clear_away(&mut self, rollout: Generation, status: &EnvironmentStatus, routed: &[String], gave_up: bool) {
        let live = status.live;
        let failed_now = status.state == EnvironmentState::Blocked && !gave_up;
        let mut below: BTreeMap<WorkloadId, (Generation, bool)> = BTreeMap::new();
        let observed = self.observed;
        for seen in &observed.replicas {
            let replica = &seen.replica;
            let wanted = replica.generation == rollout && !gave_up && self.desired.release.is_some();
            // The evidence must be read before its replica goes.
            if wanted || failed_now && replica.generation == rollout {
                continue;
            }
            if replica.generation == live && live != Generation::default() && self.desired.release.is_some() {
                continue;
            }
            if !seen.runs() || replica.generation > live && live != Generation::default() {
                self.list.push(Change::Remove { replica: replica.id.clone() });
                continue;
            }
            let idle = !routed.contains(&replica.id) && self.is_idle(seen);
            let entry = below.entry(replica.workload.clone()).or_insert((Generation::default(), true));
            entry.0 = entry.0.max(replica.generation.next());
            entry.1 &= idle;
        }
        for (workload, (below, idle)) in below {
            if idle {
                self.list.push(Change::Retire { workload, below });
            }
        }
    }

    fn is_idle(&mut self, seen: &Seen) -> bool {
        match seen.traffic {
            Traffic::None => true,
            // Still in the published table: it leaves with this very plan.
            Traffic::Routed => {
                self.look_again_in(LINGER_MILLIS);
                false
            }
            Traffic::Leaving { since, in_flight } => {
                let gone = self.now.since(since);
                let bound = if in_flight == 0 { LINGER_MILLIS } else { self.settings.grace_millis };
                if gone < bound {
                    self.look_again_in(if in_flight == 0 { bound - gone } else { LINGER_MILLIS });
                }
                gone >= bound
            }
        }
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

fn crash_text(workload: &WorkloadId, code: i64, out_of_memory: bool, wait: i64) -> String {
    let how = if out_of_memory { "was killed: out of memory".to_owned() } else { format!("exited with {code}") };
    let then = if wait > 0 { format!("restarting in {} s", (wait + 999) / 1000) } else { "restarting".to_owned() };
    format!("{} {how}; {then}", workload.process)
}

#[cfg(test)]
mod tests;
