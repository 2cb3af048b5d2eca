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

use self::canary::as_canary;
use super::desired::{Desired, DesiredProcess, Settings};
use super::observed::{Observed, Seen, Tally, Traffic};
use super::scale;
use crate::base::clock::Timestamp;
use crate::base::model::{
    CheckKind, EnvironmentState, EnvironmentStatus, Generation, ProcessName, Replica, ReplicaState, WorkloadId,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make `count` replicas of this workload and generation run.
    Ensure { workload: WorkloadId, generation: Generation, count: u32 },
    /// Ask a replica its checks, until what is known of it changes.
    Probe { replica: String },
    /// Stop (with grace) all replicas of the workload below the generation.
    Retire { workload: WorkloadId, below: Generation },
    /// Stop one replica with grace.
    Stop { replica: String },
    /// Take away one replica at once: exited, or of a rollout that was given up.
    Remove { replica: String },
    /// A replica of the desired rollout is the evidence that it cannot become or stay live.
    GiveUp { replica: Option<String>, cause: Cause },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Exited {
        code: i64,
        out_of_memory: bool,
    },
    NotReady {
        millis: i64,
    },
    /// Its liveness check failed as often as it may.
    Dead,
    /// In the watch window: crashed again and again.
    Loops {
        times: u32,
        seconds: i64,
    },
    /// More of its answers were faults than of the other one's.
    Worse {
        new: Tally,
        old: Tally,
        seconds: i64,
        /// Of the requests that went to it.
        percent: u8,
    },
    /// Its answers took longer than the other one's: milliseconds of one request in twenty.
    Slower {
        new: u64,
        old: u64,
        seconds: i64,
        percent: u8,
    },
    /// As a canary.
    Fell {
        code: i64,
        out_of_memory: bool,
        percent: u8,
    },
    /// A canary that nobody let go on.
    Forgotten {
        seconds: i64,
    },
    /// Somebody said so.
    Aborted,
    /// At the end of the watch window not all of it was ready.
    Unsettled {
        seconds: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub list: Vec<Change>,
    /// Ids of the replicas that shall receive traffic.
    pub routed: Vec<String>,
    /// Which of them together receive a percentage of it, and the others the rest.
    pub share: Option<Share>,
    pub status: EnvironmentStatus,
    /// Nothing is routed, and what was will be again.
    pub holds: bool,
    /// When to look again if nothing happens before.
    pub look_again_at: Option<Timestamp>,
}

/// The canary's part of the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub percent: u8,
    pub replicas: Vec<String>,
}

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
            status.state = match (all_ready, &self.desired.release) {
                _ if status.state == EnvironmentState::Blocked => EnvironmentState::Blocked,
                (_, None) => EnvironmentState::Empty,
                (true, _) if stopped => EnvironmentState::Stopped,
                // What needs no request goes on meanwhile.
                (true, _) if processes.iter().any(|p| p.has_port && status.scaled.get(&p.id.process) == Some(&0)) => {
                    EnvironmentState::Asleep
                }
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
            None => self.with_canary(self.routed(status.live, &processes), &status),
        };
        self.adopt(&status);
        self.clear_away(rollout, &status, &routed, gave_up);
        let (holds, look_again_at) = (routed.is_empty() && self.comes_back(&status), self.look_again_at);
        Changes { list: std::mem::take(&mut self.list), routed, share, status, holds, look_again_at }
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
            // One that was made and never started may be what a crash left of a start, and a stranded one serves nobody: both
            // are for the engine to clear away, which for one that is about to start changes nothing.
            let idles = |s: &&Seen| matches!(s.replica.state, ReplicaState::Starting | ReplicaState::Stranded);
            let left_over = here.iter().any(idles);
            let ready = here.iter().filter(|s| s.is_ready()).count();
            let want = process.count as usize;
            all_ready &= ready >= want;
            match here.iter().find_map(|s| Some((*s, lost(s)?))) {
                Some((seen, cause)) if rollout != live => {
                    self.give_up(Some(seen.replica.id.clone()), as_canary(cause, status), status);
                    return false;
                }
                Some((seen, cause)) => {
                    let wait = self.back_off(&process.id);
                    status.reason = Some(lost_text(seen, cause, wait));
                    if wait > 0 {
                        self.look_again_in(wait);
                    } else if cause == Cause::Dead {
                        self.restart(seen);
                    } else {
                        self.replace(process, rollout);
                    }
                }
                // Surplus replicas leave the route before they stop.
                None if (running != want || left_over) && self.surplus_is_idle(process, rollout) => {
                    self.ensure(process, rollout);
                }
                None => {}
            }
            let asked = |s: &&Seen| s.replica.state == ReplicaState::Running && !s.standing.dead;
            for seen in here.iter().copied().filter(asked).filter(|s| !s.is_ready() || process.is_watched()) {
                self.list.push(Change::Probe { replica: seen.replica.id.clone() });
            }
            if rollout != live && !self.in_time(process, &here, status) {
                return false;
            }
            if rollout == live && status.reason.is_none() {
                status.reason = unready_text(&here);
            }
        }
        all_ready
    }

    /// False when a replica of a new rollout has been unready for too long.
    fn in_time(&mut self, process: &DesiredProcess, here: &[&Seen], status: &mut EnvironmentStatus) -> bool {
        let (to_start, to_be_ready) = process.patience_millis(self.settings);
        for seen in here.iter().filter(|s| !s.is_ready()) {
            let Some(started) = seen.replica.started_at else { continue };
            let millis = if seen.standing.started { to_be_ready } else { to_start };
            // After a restart of the platform it has its time once more: it may be ready, and nobody asked it yet.
            let left = millis - self.now.since(started.max(self.observed.began));
            if left <= 0 && self.is_adopted(seen) {
                self.look_again_in(SCALE_MILLIS);
                continue;
            }
            if left <= 0 {
                self.give_up(Some(seen.replica.id.clone()), Cause::NotReady { millis }, status);
                return false;
            }
            self.look_again_in(left);
        }
        true
    }

    /// Out of the route first, then out of the way: what comes after is started in its place.
    fn restart(&mut self, seen: &Seen) {
        let linger = match seen.traffic {
            Traffic::None => 0,
            Traffic::Routed => LINGER_MILLIS,
            Traffic::Leaving { since, .. } => LINGER_MILLIS - self.now.since(since),
        };
        if linger > 0 {
            self.look_again_in(linger);
        } else {
            self.list.push(Change::Remove { replica: seen.replica.id.clone() });
        }
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

    /// As `ensure`, but surplus replicas that are not idle yet are left alone.
    fn replace(&mut self, process: &DesiredProcess, generation: Generation) {
        let idle = self.surplus_is_idle(process, generation);
        let highest = self.of(&process.id, generation).iter().filter(|s| s.runs()).map(|s| s.replica.ordinal).max();
        let count = if idle { process.count } else { highest.unwrap_or(0).max(process.count) };
        if self.has_room(process, generation) {
            self.list.push(Change::Ensure { workload: process.id.clone(), generation, count });
        }
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

    fn routed(&self, live: Generation, processes: &[DesiredProcess]) -> Vec<String> {
        let surplus = |r: &Replica| {
            r.generation == self.desired.rollout()
                && processes.iter().any(|p| p.id == r.workload && r.ordinal > p.count)
        };
        let open = |s: &&Seen| {
            s.replica.generation == live
                && s.runs()
                && s.replica.address.is_some()
                && !s.standing.dead
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

    /// What serves, or stands by, beside the desired rollout: after a restart of the platform nobody has asked it yet.
    fn adopt(&mut self, status: &EnvironmentStatus) {
        let previous = status.watch.as_ref().map(|watch| watch.previous);
        for seen in &self.observed.replicas {
            let generation = seen.replica.generation;
            let is_desired = generation == self.desired.rollout() && status.state != EnvironmentState::Blocked;
            let beside = !is_desired && generation != Generation::default();
            let serves =
                generation == status.live || Some(generation) == previous || status.beside.contains(&generation);
            if beside && serves && seen.replica.state == ReplicaState::Running && !seen.standing.passed {
                self.list.push(Change::Probe { replica: seen.replica.id.clone() });
            }
        }
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
            if wanted || failed_now && replica.generation == rollout || self.kept.contains(&replica.id) {
                continue;
            }
            let stays = replica.generation == live && !self.gives_way.contains(&replica.id);
            if stays && live != Generation::default() && self.desired.release.is_some() {
                continue;
            }
            let stands_by = status.watch.as_ref().is_some_and(|w| w.previous == replica.generation);
            if stands_by && seen.runs() && replica.address.is_some() {
                continue;
            }
            if !seen.runs() {
                self.list.push(Change::Remove { replica: replica.id.clone() });
                continue;
            }
            if replica.generation > live && live != Generation::default() {
                // One that was live and watched may have requests inside.
                if !routed.contains(&replica.id) && self.is_idle(seen) {
                    self.list.push(Change::Remove { replica: replica.id.clone() });
                }
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

/// Why a replica has to be replaced, if it has.
fn lost(seen: &Seen) -> Option<Cause> {
    match seen.replica.state {
        ReplicaState::Exited { code, out_of_memory, .. } => Some(Cause::Exited { code, out_of_memory }),
        _ => seen.standing.dead.then_some(Cause::Dead),
    }
}

fn lost_text(seen: &Seen, cause: Cause, wait: i64) -> String {
    let fault = || seen.standing.fault.as_ref().map(|(_, text)| format!(": it {text}")).unwrap_or_default();
    let how = match cause {
        Cause::Exited { out_of_memory: true, .. } => "was killed: out of memory".to_owned(),
        Cause::Exited { code, .. } => format!("exited with {code}"),
        _ => format!("fails its liveness check{}", fault()),
    };
    let then = if wait > 0 { format!("restarting in {} s", (wait + 999) / 1000) } else { "restarting".to_owned() };
    format!("{} {how}; {then}", seen.replica.workload.process)
}

/// What is said of live replicas that their readiness check takes out of the route, or would.
fn unready_text(here: &[&Seen]) -> Option<String> {
    let unready = |s: &&&Seen| s.runs() && s.standing.passed && !s.is_ready() && !s.standing.dead;
    let failing: Vec<&&Seen> = here.iter().filter(unready).collect();
    let first = failing.first()?;
    let names: Vec<String> =
        failing.iter().map(|s| format!("{}.{}", s.replica.workload.process, s.replica.ordinal)).collect();
    let fault = first.standing.fault.as_ref().filter(|(kind, _)| *kind == CheckKind::Readiness);
    let fault = fault.map(|(_, text)| format!(": it {text}")).unwrap_or_default();
    let then = match (first.replica.address.is_some(), here.iter().any(|s| s.is_ready())) {
        (false, _) => "",
        (true, true) => "; out of the route until it passes",
        (true, false) => "; it keeps its route, as no other replica is ready",
    };
    Some(format!("{} fails its readiness check{fault}{then}", names.join(", ")))
}

mod canary;
mod exclusive;
mod probation;
mod rolling;
mod strategy;
#[cfg(test)]
mod tests;
