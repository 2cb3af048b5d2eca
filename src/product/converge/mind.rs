//! All of the converger that decides, and neither waits nor reads nor writes: `driver` drives it in the product, and the
//! simulation drives the same code. What it knows from one look to the next is lost with the process, and found again by
//! looking.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_util::sync::CancellationToken;

use super::apply::{Busy, Order, Outcome};
use super::desired::{Desired, DesiredProcess, Settings, default_check};
use super::observed::{Memory, by_environment, of};
use super::plan::{self, Change, Changes};
use super::scale::{Demand, Load, by_use, used};
use super::table::{Entry, Publisher};
use super::vital::Death;
use crate::base::clock::Timestamp;
use crate::base::config;
use crate::base::model::{
    Environment, EnvironmentId, EnvironmentState, EnvironmentStatus, Generation, HealthCheck, Measured, ProcessName,
    Protocol, Replica, ReplicaState, Scaling, Strategy, WorkloadId,
};
use crate::machinery::runtime::EngineError;

/// What starts slowly where all start at once is let go on for many times what a rollout would have given it.
const LONG_OVERDUE: i64 = 5;

/// A workload that the engine refused is asked for again after this long.
const REFUSED_PAUSE_MILLIS: i64 = 5_000;

/// What is known from one look to the next, and what follows from it. Lost with the process and found again by looking.
pub(super) struct Mind {
    settings: Settings,
    /// Of each replica.
    runtime: config::Runtime,
    began: Option<Timestamp>,
    pub(super) publisher: Publisher,
    pub(super) memory: Memory,
    counted_crashes: HashSet<String>,
    refused: BTreeMap<WorkloadId, (Timestamp, String)>,
    busy: HashSet<Busy>,
    /// How many of its replicas are being removed, one by one.
    removes: HashMap<WorkloadId, u32>,
    /// Which checks each replica is being asked in which protocol, and how to end that.
    asked: HashMap<String, ((Vec<HealthCheck>, Protocol), CancellationToken)>,
    /// What is to be carried out, each as a task of its own whose end is told to `finished`.
    orders: Vec<(Busy, Order)>,
}

/// What a look came to.
pub(super) struct Decided {
    /// In the order of what was desired.
    pub(super) entries: Vec<Entry>,
    /// To be written: the place in what was desired, and the status it has now.
    pub(super) statuses: Vec<(usize, EnvironmentStatus)>,
    pub(super) look_again_at: Option<Timestamp>,
}

/// What of a task's end is for the store.
pub(super) enum News {
    Refused { workload: WorkloadId, generation: Generation, error: EngineError },
    GaveUp { environment: EnvironmentId, generation: i64, reason: String },
}

impl Mind {
    pub(super) fn new(settings: Settings, runtime: config::Runtime, publisher: Publisher) -> Self {
        Self {
            settings,
            runtime,
            began: None,
            publisher,
            memory: Memory::default(),
            counted_crashes: HashSet::new(),
            refused: BTreeMap::new(),
            busy: HashSet::new(),
            removes: HashMap::new(),
            asked: HashMap::new(),
            orders: Vec::new(),
        }
    }

    /// What was ordered since this was last asked.
    pub(super) fn orders(&mut self) -> Vec<(Busy, Order)> {
        std::mem::take(&mut self.orders)
    }

    /// The first half of a look: what is gone is forgotten, and what the planner shall not see is left out.
    /// `now` is of a clock that goes on evenly, as are all times from here on; `wall` of the one that the engine stamps with.
    pub(super) fn take_in(
        &mut self,
        all: &[Desired],
        replicas: &mut Vec<Replica>,
        (now, wall): (Timestamp, Timestamp),
    ) {
        self.memory.keep_only(replicas);
        replicas.retain(|replica| !self.memory.has_been_stopped(replica));
        replicas.iter_mut().for_each(|replica| self.memory.restamp(replica, now, wall));
        by_environment(replicas);
        let running = replicas.iter().filter(|r| r.state == ReplicaState::Running);
        let running: HashSet<&str> = running.map(|r| r.id.as_str()).collect();
        let ended = self.asked.iter().filter(|(id, _)| !running.contains(id.as_str()));
        ended.for_each(|(_, (_, stop))| stop.cancel());
        self.count_crashes(all, replicas, now);
        self.orphans(all, replicas);
    }

    /// Notes who cannot stay although it runs: who wrote more to its own file system than its size allows (bytes by replica,
    /// as they were measured last), and who is live and did not start in all the time that it has for it.
    pub(super) fn weigh(
        &mut self,
        all: &[Desired],
        replicas: &[Replica],
        written: &HashMap<String, u64>,
        now: Timestamp,
    ) {
        let began = *self.began.get_or_insert(now);
        let environments: HashMap<&EnvironmentId, &Desired> = all.iter().map(|d| (&d.environment.id, d)).collect();
        for replica in replicas.iter().filter(|r| r.state == ReplicaState::Running) {
            let Some(desired) = environments.get(&replica.workload.environment) else { continue };
            let late = self.overdue(desired, replica, began, now).map(|millis| Death::Late { millis });
            let Some(death) = self.overfull(desired, replica, written).or(late) else { continue };
            self.memory.deaths.entry(replica.id.clone()).or_insert(death);
        }
    }

    fn overfull(&self, desired: &Desired, replica: &Replica, written: &HashMap<String, u64>) -> Option<Death> {
        let bytes = written.get(&replica.id).copied()?;
        let release = desired.release_of(replica.generation)?;
        let limits = self.runtime.limits_of(release.sizes.get(&replica.workload.process));
        let most = u64::try_from(limits.disk_bytes).unwrap_or(0);
        (bytes > most).then_some(Death::Overfull { bytes, most })
    }

    /// How long a live replica had to start, if it did not within that. A life of the platform that just began asks
    /// anew, so it begins to count anew.
    fn overdue(&self, desired: &Desired, replica: &Replica, began: Timestamp, now: Timestamp) -> Option<i64> {
        let (vital, live) = (self.memory.vitals.get(&replica.id)?, desired.status().live);
        // What readiness says takes a replica out of the route and never away.
        if live != replica.generation || vital.standing.started {
            return None;
        }
        let processes = match live == desired.rollout() {
            true => desired.processes(),
            false => desired.live_processes(&desired.status().scaled),
        };
        let process = processes.iter().find(|p| p.id == replica.workload && replica.ordinal <= p.count)?;
        let millis = process.patience_millis(&self.settings).0 * LONG_OVERDUE;
        (now.since(replica.started_at?.max(began)) > millis).then_some(millis)
    }

    /// The second half: plans, orders what is not under way yet, and publishes.
    pub(super) fn decide(
        &mut self,
        all: &[Desired],
        replicas: &[Replica],
        measured: &Measured,
        now: Timestamp,
    ) -> Decided {
        let mut look_again_at: Option<Timestamp> = None;
        let mut entries = Vec::new();
        let mut statuses = Vec::new();
        for (place, desired) in all.iter().enumerate() {
            let here = of(replicas, &desired.environment.id);
            let mut observed = self.memory.observe(&desired.environment.id, here, |id| self.publisher.traffic(id));
            observed.load = self.load(desired, here, measured, now);
            observed.began = *self.began.get_or_insert(now);
            let changes = plan::plan(desired, &observed, now, &self.settings);
            look_again_at = earliest(look_again_at, changes.look_again_at);
            entries.push(Entry {
                environment: desired.environment.id.clone(),
                app: desired.app.name.to_string(),
                hosts: desired.hosts.clone(),
                routed: changes.routed.clone(),
                protocols: spoken(desired, here),
                share: changes.share.clone(),
                // Requests wait for the one that was stopped to make room for one that failed.
                state: if changes.holds { EnvironmentState::Converging } else { changes.status.state },
                traffic: desired.traffic(),
                https: desired.https(),
            });
            self.start(desired, &changes, here, now);
            let mut status = changes.status;
            let gives_up = changes.list.iter().any(|c| matches!(c, Change::GiveUp { .. }));
            if status.reason.is_none() {
                status.reason = self.refusal(&desired.environment.id);
            }
            if !gives_up && status != desired.environment.status {
                statuses.push((place, status));
            }
        }
        if let Some(left) = self.publisher.publish(&entries, replicas) {
            for replica in left {
                self.memory.leaving.insert(replica, now);
            }
        }
        Decided { entries, statuses, look_again_at }
    }

    fn start(&mut self, desired: &Desired, changes: &Changes, replicas: &[Replica], now: Timestamp) {
        let find = |id: &str| replicas.iter().find(|r| r.id == id).cloned();
        for change in changes.list.clone() {
            match change {
                Change::Ensure { workload, generation, count } => {
                    if self.refused.get(&workload).is_some_and(|(at, _)| now.since(*at) < REFUSED_PAUSE_MILLIS) {
                        continue;
                    }
                    // Its successor would be given the name of one that is not quite gone; the end of that brings us back.
                    if self.removes.contains_key(&workload) {
                        continue;
                    }
                    let of_live = generation != desired.rollout();
                    let of_it =
                        if of_live { desired.live_processes(&changes.status.scaled) } else { desired.processes() };
                    let Some(process) = of_it.into_iter().find(|p| p.id == workload) else { continue };
                    let desired = Box::new(desired.clone());
                    let order = Order::Ensure { desired, process, generation, count };
                    if self.order(Busy::Ensure(workload.clone()), order) {
                        let of_it = |r: &&Replica| r.workload == workload && r.generation == generation;
                        let surplus = replicas.iter().filter(of_it).filter(|r| r.ordinal > count);
                        surplus.for_each(|r| self.memory.doom(r, &Busy::Ensure(workload.clone())));
                    }
                }
                Change::Probe { replica } => {
                    if let Some(replica) = find(&replica) {
                        self.ask(desired, replica, now);
                    }
                }
                Change::Retire { workload, below } => {
                    let order = Order::Retire { workload: workload.clone(), below };
                    if self.order(Busy::Retire(workload.clone()), order) {
                        let goes = replicas.iter().filter(|r| r.workload == workload && r.generation < below);
                        goes.for_each(|r| self.memory.doom(r, &Busy::Retire(workload.clone())));
                    }
                }
                Change::Stop { replica } => {
                    let Some(replica) = find(&replica) else { continue };
                    let busy = Busy::Remove(replica.workload.clone(), replica.id.clone());
                    if self.order(busy.clone(), Order::Stop { replica: replica.clone() }) {
                        self.memory.doom(&replica, &busy);
                    }
                }
                Change::Remove { replica } => {
                    let Some(replica) = find(&replica) else { continue };
                    let busy = Busy::Remove(replica.workload.clone(), replica.id.clone());
                    let runs = replica.state == ReplicaState::Running;
                    if self.order(busy.clone(), Order::Remove { replica: replica.clone() }) && runs {
                        self.memory.doom(&replica, &busy);
                    }
                }
                Change::GiveUp { replica, cause } => {
                    let replica = replica.as_deref().and_then(find);
                    let vital = replica.as_ref().and_then(|r| self.memory.vitals.get(&r.id));
                    let fault = vital.and_then(|vital| vital.standing.fault.clone());
                    let busy = Busy::GiveUp(desired.environment.id.clone());
                    let desired = Box::new(desired.clone());
                    self.order(busy, Order::GiveUp { desired, replica, cause, fault });
                }
            }
        }
    }

    /// Asks the replica its checks. Where it is being asked others, that ends, and its end brings us back here.
    fn ask(&mut self, desired: &Desired, replica: Replica, now: Timestamp) {
        let processes = match replica.generation {
            generation if generation == desired.rollout() => desired.processes(),
            generation if generation == desired.status().live => desired.live_processes(&desired.status().scaled),
            _ => Vec::new(),
        };
        let wanted = processes.into_iter().find(|p| p.id == replica.workload);
        // The checks of one release say nothing of the replicas of another.
        let ours = |process: &DesiredProcess| process.checks.clone();
        let checks = wanted.as_ref().map_or_else(|| vec![default_check(&replica.workload.process)], ours);
        let protocol = desired.protocol(replica.generation).or_else(|| self.publisher.spoken(&replica.id));
        let protocol = protocol.unwrap_or_default();
        if let Some((asked, stop)) = self.asked.get(&replica.id) {
            if (asked.0.as_slice(), asked.1) != (checks.as_slice(), protocol) {
                stop.cancel();
            }
            return;
        }
        let patience = wanted.as_ref().map(|process| process.patience_millis(&self.settings).1);
        let age = replica.started_at.map_or(0, |at| now.since(at));
        let vital = self.memory.vitals.entry(replica.id.clone()).or_default();
        // Before this life of the platform it may have been ready; one that hangs now would never pass again.
        vital.had_its_time = desired.status().live == replica.generation && patience.is_some_and(|most| age > most);
        vital.follow(&checks, replica.started_at.unwrap_or(now));
        if vital.is_settled() {
            return;
        }
        let (vital, stop) = (vital.clone(), CancellationToken::new());
        self.asked.insert(replica.id.clone(), ((checks, protocol), stop.clone()));
        self.order(Busy::Probe(replica.id.clone()), Order::Probe { replica, protocol, vital, stop });
    }

    /// False when that is under way already.
    fn order(&mut self, busy: Busy, order: Order) -> bool {
        let is_new = self.busy.insert(busy.clone());
        if is_new {
            if let Busy::Remove(workload, _) = &busy {
                *self.removes.entry(workload.clone()).or_default() += 1;
            }
            self.orders.push((busy, order));
        }
        is_new
    }

    /// A task is lost, and with it which one it was: let all of them be planned anew.
    pub(super) fn lost_count(&mut self) {
        self.busy.clear();
        self.removes.clear();
        self.memory.doomed.clear();
        self.asked.clear();
    }

    pub(super) fn finished(&mut self, busy: Busy, outcome: Outcome, now: Timestamp) -> Option<News> {
        if self.busy.remove(&busy)
            && let Busy::Remove(workload, _) = &busy
            && let Some(number) = self.removes.get_mut(workload)
        {
            *number -= 1;
            self.removes.retain(|_, number| *number > 0);
        }
        self.memory.spare(&busy);
        match outcome {
            Outcome::Done => {
                if let Busy::Ensure(workload) = &busy {
                    self.refused.remove(workload);
                }
            }
            Outcome::Asked { replica, vital } => {
                self.asked.remove(&replica);
                self.memory.vitals.insert(replica, vital);
            }
            Outcome::Failed { workload, generation, error } => {
                return Some(News::Refused { workload, generation, error });
            }
            Outcome::Unapplied { error } => {
                tracing::error!(error = error.for_log(), "a change could not be applied");
                if let Busy::Ensure(workload) = busy {
                    self.refuse(workload, error.public, now);
                }
            }
            Outcome::GaveUp { environment, generation, reason } => {
                return Some(News::GaveUp { environment, generation, reason });
            }
        }
        None
    }

    /// It is asked for again after a pause; until then people read why.
    pub(super) fn refuse(&mut self, workload: WorkloadId, cause: String, now: Timestamp) {
        self.refused.insert(workload, (now, cause));
    }

    /// What the proxy saw of an environment whose replicas the platform counts.
    fn load(&mut self, desired: &Desired, replicas: &[Replica], measured: &Measured, now: Timestamp) -> Option<Load> {
        let environment = &desired.environment;
        let scaling = desired.scaling();
        if scaling.is_empty() {
            self.memory.demands.remove(&environment.id);
            return None;
        }
        let (mut in_flight, mut entered) = (0, 0);
        for replica in replicas {
            in_flight += self.publisher.traffic(&replica.id).map_or(0, |routed| routed.in_flight);
            entered += self.publisher.entered(&replica.id);
        }
        // Until it is up, requests wait that count nowhere else.
        let waking = environment.status.state == EnvironmentState::Converging;
        let was_rung = self.publisher.was_rung(&environment.id) || waking;
        let asleep = environment.status.state == EnvironmentState::Asleep;
        let borne = scaling.iter().filter(|(process, _)| process.as_str() == "web").filter_map(|(process, scaling)| {
            Some(environment.status.scaled.get(*process)?.saturating_mul(scaling.in_flight))
        });
        let fresh = || Demand::new(asleep, borne.max().unwrap_or(0), now);
        let demand = self.memory.demands.entry(environment.id.clone()).or_insert_with(fresh);
        demand.sample(now, u32::try_from(in_flight).unwrap_or(u32::MAX), entered, was_rung);
        demand.measure(measured.at, now, || {
            let number = |(process, scaling): (&&ProcessName, &&Scaling)| {
                let size = desired.release_of(environment.status.live).and_then(|release| release.sizes.get(*process));
                let of_it = |r: &&Replica| r.workload.process == **process && r.generation == environment.status.live;
                let live = replicas.iter().filter(of_it);
                let used = used(measured, &environment.id, live, self.runtime.limits_of(size));
                ((*process).clone(), by_use(scaling, &used))
            };
            scaling.iter().map(number).collect()
        });
        Some(demand.load(now))
    }

    fn refusal(&self, environment: &EnvironmentId) -> Option<String> {
        self.refused.iter().find(|(id, _)| id.environment == *environment).map(|(_, (_, text))| text.clone())
    }

    /// Each exit of a replica of a live rollout counts once, and each that has to be restarted.
    fn count_crashes(&mut self, all: &[Desired], replicas: &[Replica], now: Timestamp) {
        let live: HashMap<&EnvironmentId, Generation> =
            all.iter().map(|d| (&d.environment.id, d.environment.status.live)).collect();
        for replica in replicas {
            let of_live = live.get(&replica.workload.environment) == Some(&replica.generation);
            let at = match replica.state {
                ReplicaState::Exited { at, .. } => at,
                _ if self.memory.death(&replica.id).is_some() => now,
                _ => continue,
            };
            if of_live && self.counted_crashes.insert(replica.id.clone()) {
                self.memory.crashed(replica, at);
                let (environment, workload) = (&replica.workload.environment, &replica.workload);
                match replica.state {
                    ReplicaState::Exited { code, out_of_memory, .. } => tracing::warn!(
                        environment.id = %environment, process = %workload.process,
                        ordinal = replica.ordinal, code, out_of_memory, "a replica exited"
                    ),
                    _ => tracing::warn!(
                        environment.id = %environment, process = %workload.process,
                        ordinal = replica.ordinal, death = ?self.memory.death(&replica.id), "a replica that runs is replaced"
                    ),
                }
            }
        }
        let ids: HashSet<&str> = replicas.iter().map(|r| r.id.as_str()).collect();
        self.counted_crashes.retain(|id| ids.contains(id.as_str()));
    }

    /// Replicas of environments that are no more.
    fn orphans(&mut self, all: &[Desired], replicas: &[Replica]) {
        let known: HashSet<&EnvironmentId> = all.iter().map(|d| &d.environment.id).collect();
        self.memory.demands.retain(|id, _| known.contains(id));
        for replica in replicas.iter().filter(|r| !known.contains(&r.workload.environment)) {
            let workload = replica.workload.clone();
            self.order(Busy::Retire(workload.clone()), Order::Retire { workload, below: Generation(i64::MAX) });
        }
    }
}

/// What each replica speaks whose release is known.
fn spoken(desired: &Desired, replicas: &[Replica]) -> BTreeMap<String, Protocol> {
    let of = |replica: &Replica| Some((replica.id.clone(), desired.protocol(replica.generation)?));
    replicas.iter().filter_map(of).collect()
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Of a refused rollout: nothing of it serves, and another attempt would end as this one.
pub(super) fn can_never_be_live(environment: &Environment, rollout: Generation) -> bool {
    environment.spec.rollout == rollout && environment.status.live != rollout
}

/// The status of an environment whose desired rollout was given up.
pub(super) fn blocked(environment: &Environment, reason: String) -> EnvironmentStatus {
    let mut status = environment.status.clone();
    // It was live and is not any more: the one that stood by serves again.
    if let Some(watch) = status.watch.take().filter(|_| status.live == environment.spec.rollout) {
        status.live = watch.previous;
        status.live_release = watch.previous_release;
    }
    status.canary = None;
    // Replica by replica, as it came.
    if *environment.spec.strategy_now() == Strategy::Rolling && status.live != Generation::default() {
        status.beside.insert(environment.spec.rollout);
        status.beside.remove(&status.live);
    }
    status.state = EnvironmentState::Blocked;
    status.observed_generation = environment.generation;
    status.reason = Some(reason);
    status
}
