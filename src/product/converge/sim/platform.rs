//! One life of Hythe: the real `Mind` with its table, and a model of what lies around it: the loop of the driver, the
//! calls to the engine with their steps, the questions to replicas. All of it is lost in a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::world::{Ev, World};
use crate::base::clock::Timestamp;
use crate::base::config;
use crate::base::error::Error;
use crate::base::model::{
    Check, CheckKind, EnvironmentId, EnvironmentStatus, Generation, Limits, Measured, Process, Replica, ReplicaState,
    WorkloadId, WorkloadSpec,
};
use crate::machinery::proxy::{Pass, RouteTable};
use crate::machinery::runtime::EngineError;
use crate::machinery::runtime::fake::Fault;
use crate::product::converge::apply::{Busy, Order, Outcome};
use crate::product::converge::desired::{Desired, Settings};
use crate::product::converge::mind::{Mind, News, blocked, can_never_be_live};
use crate::product::converge::table::Publisher;
use crate::product::converge::vital::Vital;

pub const SETTINGS: Settings = Settings { ready_millis: 10_000, grace_millis: 5_000 };
/// The driver's timer.
const TIMER: i64 = 5_000;

pub struct Platform {
    /// How far the wall clock was set when it was started: its own goes on from there.
    pub set: i64,
    pub mind: Mind,
    pub table: watch::Receiver<Arc<RouteTable>>,
    wake: Arc<Notify>,
    look_at: Option<i64>,
    looking: bool,
    snapshot: Vec<Replica>,
    /// What the last look was at.
    pub seen: Vec<Replica>,
    statuses: Vec<(EnvironmentId, EnvironmentStatus, Desired)>,
    look_again_at: Option<Timestamp>,
    done: Vec<(Busy, Outcome)>,
    calls: BTreeMap<u64, Call>,
    /// Requests inside replicas, by number.
    pub guests: BTreeMap<u64, Guest>,
    /// Requests that wait for a replica: whose, and since when.
    pub waiting: Vec<(usize, i64)>,
}

pub struct Guest {
    pub replica: String,
    pub since: i64,
    pub pass: Pass,
}

struct Call {
    busy: Busy,
    what: What,
    left: usize,
    fault: Option<Fault>,
}

enum What {
    Ensure(WorkloadSpec),
    Retire(WorkloadId, Generation),
    Remove(Replica),
    Ask { replica: Replica, vital: Vital, stop: CancellationToken, until: Timestamp },
    GiveUp(EnvironmentId, i64),
}

/// A part of a call.
#[derive(Debug, Clone)]
pub enum Step {
    Begin,
    Create(u32),
    Start(String),
    Stop(String),
    Bury(String),
    Kill(String),
    Ask,
    Done,
}

impl Platform {
    pub fn new(saved: Arc<RouteTable>, set: i64) -> Self {
        let (sender, table) = watch::channel(saved);
        let wake = Arc::new(Notify::new());
        let publisher = Publisher::new(sender, None, Arc::clone(&wake));
        Self {
            set,
            mind: Mind::new(SETTINGS, config::Runtime::default(), publisher),
            table,
            wake,
            look_at: None,
            looking: false,
            snapshot: Vec::new(),
            seen: Vec::new(),
            statuses: Vec::new(),
            look_again_at: None,
            done: Vec::new(),
            calls: BTreeMap::new(),
            guests: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    fn was_woken(&self) -> bool {
        self.wake.notified().now_or_never().is_some()
    }

    pub fn is_idle(&self) -> bool {
        self.calls.values().all(|call| matches!(call.what, What::Ask { .. }))
    }
}

impl World {
    /// As a signal to the driver: it looks as soon as it can.
    pub fn wake(&mut self) {
        let at = self.now + 1;
        self.look_by(at);
    }

    fn look_by(&mut self, at: i64) {
        let epoch = self.epoch;
        let Some(platform) = &mut self.platform else { return };
        if platform.looking {
            // Noticed when this look has ended.
            platform.wake.notify_one();
        } else if platform.look_at.is_none_or(|known| at < known) {
            platform.look_at = Some(at);
            self.at(at, Ev::LookBegin(epoch, at));
        }
    }

    pub fn look_begin(&mut self, at: i64) {
        let Some(platform) = self.platform.as_mut().filter(|p| !p.looking && p.look_at == Some(at)) else { return };
        platform.look_at = None;
        platform.was_woken();
        let (done, mut told) = (std::mem::take(&mut platform.done), false);
        for (busy, outcome) in done {
            told |= self.finished(busy, outcome);
        }
        if told {
            self.tick();
        }
        if self.engine.is_away(self.now) {
            return self.look_by(self.now + 1_000);
        }
        let snapshot = self.engine.observe();
        let wait = self.latency(1, 30);
        let Some(platform) = &mut self.platform else { return };
        (platform.looking, platform.snapshot) = (true, snapshot);
        // What came meanwhile is for the look after this one.
        if platform.look_at.take().is_some() {
            platform.wake.notify_one();
        }
        self.at(self.now + wait, Ev::LookDecide(self.epoch));
    }

    pub fn look_decide(&mut self) {
        let all: Vec<Desired> = self.places.iter().filter(|p| p.exists).map(|p| p.desired()).collect();
        let (now, wall) = (self.steady(), self.wall());
        let Some(platform) = &mut self.platform else { return };
        let before = Arc::clone(&platform.table.borrow());
        let mut replicas = std::mem::take(&mut platform.snapshot);
        platform.mind.take_in(&all, &mut replicas, (now, wall));
        let decided = platform.mind.decide(&all, &replicas, &Measured::default(), now);
        let orders = platform.mind.orders();
        platform.look_again_at = decided.look_again_at;
        platform.statuses = decided
            .statuses
            .into_iter()
            .map(|(n, status)| (all[n].environment.id.clone(), status, all[n].clone()))
            .collect();
        platform.seen = replicas.clone();
        self.looks += 1;
        self.check_publication(&before, &replicas);
        for (busy, order) in orders {
            self.carry_out(busy, order);
        }
        self.end_questions();
        self.serve_waiting();
        let wait = self.latency(0, 8);
        self.at(self.now + wait, Ev::LookWrite(self.epoch));
    }

    pub fn look_write(&mut self) {
        let Some(platform) = &mut self.platform else { return };
        platform.looking = false;
        let again = platform.look_again_at;
        let statuses = std::mem::take(&mut platform.statuses);
        for (id, status, desired) in statuses {
            self.check_status(&status, &desired);
            self.write_status(&id, status);
        }
        self.tick();
        let pause = again.map_or(TIMER, |at| at.since(self.steady()).clamp(1, TIMER));
        let Some(platform) = &self.platform else { return };
        let soon = platform.was_woken() || !platform.done.is_empty();
        self.look_by(self.now + if soon { 1 } else { pause });
    }

    fn write_status(&mut self, id: &EnvironmentId, status: EnvironmentStatus) {
        let Some(place) = self.places.iter().position(|p| p.exists && p.environment.id == *id) else { return };
        let before = &self.places[place].environment.status;
        if (before.state, before.live) != (status.state, status.live) {
            self.note(format!(
                "app {place}: {:?}, live {}, ready {:?}{}",
                status.state,
                status.live,
                status.ready.values().collect::<Vec<_>>(),
                status.reason.as_ref().map(|r| format!(" ({})", r.lines().next().unwrap_or(""))).unwrap_or_default()
            ));
        }
        self.places[place].environment.status = status;
    }

    /// What waits for the converger hears of it.
    fn tick(&mut self) {
        for place in 0..self.places.len() {
            if self.places[place].exists {
                self.follow(place);
            }
        }
    }

    /// As `Converger::finished`: what of it is for the store. True when a status was written.
    fn finished(&mut self, busy: Busy, outcome: Outcome) -> bool {
        let now = self.steady();
        let Some(platform) = &mut self.platform else { return false };
        let (id, reason) = match platform.mind.finished(busy, outcome, now) {
            None => return false,
            Some(News::GaveUp { environment, generation, reason }) => {
                let current = |p: &&super::people::Place| {
                    p.exists && p.environment.id == environment && p.environment.generation == generation
                };
                match self.places.iter().find(current) {
                    Some(_) => (environment, reason),
                    None => return false,
                }
            }
            Some(News::Refused { workload, generation, error }) => {
                let found = self.places.iter().find(|p| p.exists && p.environment.id == workload.environment);
                if error.is_temporary() || !found.is_some_and(|p| can_never_be_live(&p.environment, generation)) {
                    platform.mind.refuse(workload, error.to_string(), now);
                    return false;
                }
                (workload.environment, error.to_string())
            }
        };
        let place = self.places.iter().find(|p| p.environment.id == id).expect("found above");
        let status = blocked(&place.environment, reason);
        self.write_status(&id, status);
        true
    }

    fn carry_out(&mut self, busy: Busy, order: Order) {
        let now = self.steady();
        let what = match order {
            Order::Ensure { desired, process, generation, count } => {
                match spec(&desired, &process.id, generation, count) {
                    Some(spec) => What::Ensure(WorkloadSpec { port: process.has_port.then_some(8080), ..spec }),
                    None => return self.answer(busy, Outcome::Done),
                }
            }
            Order::Retire { workload, below } => What::Retire(workload, below),
            // Stops are of a rolling rollout, which no script has.
            Order::Stop { replica } | Order::Remove { replica } => What::Remove(replica),
            Order::Probe { replica, vital, stop } => {
                let span = if vital.standing.passed { 30_000 } else { 2_000 };
                What::Ask { replica, vital, stop, until: now.plus_millis(span) }
            }
            Order::GiveUp { desired, .. } => {
                What::GiveUp(desired.environment.id.clone(), desired.environment.generation)
            }
        };
        self.calls += 1;
        let (number, asks) = (self.calls, matches!(what, What::Ask { .. }));
        let Some(platform) = &mut self.platform else { return };
        platform.calls.insert(number, Call { busy, what, left: 0, fault: None });
        if asks {
            self.next_question(number);
        } else {
            let wait = self.latency(1, 20);
            self.step_in(wait, number, Step::Begin);
        }
    }

    fn step_in(&mut self, wait: i64, call: u64, step: Step) {
        self.at(self.now + wait, Ev::Step(self.epoch, call, step));
    }

    fn answer(&mut self, busy: Busy, outcome: Outcome) {
        let Some(platform) = &mut self.platform else { return };
        platform.done.push((busy, outcome));
        self.wake();
    }

    pub fn step(&mut self, number: u64, step: Step) {
        let Some(call) = self.platform.as_mut().and_then(|p| p.calls.get_mut(&number)) else { return };
        let away = self.engine.is_away(self.now);
        let in_trouble = self.now < self.engine.trouble_until;
        if away && !matches!(step, Step::Ask | Step::Done) && !matches!(call.what, What::GiveUp(..)) {
            call.fault = Some(Fault::Unreachable);
            return self.part_done(number);
        }
        match step {
            Step::Begin => self.begin_call(number, in_trouble),
            Step::Create(ordinal) => {
                let What::Ensure(spec) = &call.what else { return };
                let nature = self
                    .places
                    .iter()
                    .find_map(|p| p.release(&spec.release))
                    .map_or(super::script::Nature::NeverReady, |r| r.1);
                let (spec, nature) = (spec.clone(), self.cured(nature));
                let id = self.engine.create(&spec, ordinal, nature);
                let wait = self.latency(20, 200);
                self.step_in(wait, number, Step::Start(id));
            }
            Step::Start(id) => {
                let wall = self.wall();
                let exits = self.engine.start(&id, self.now, wall);
                if let Some(at) = exits {
                    self.at(at, Ev::Exit(id.clone(), 1));
                }
                self.engine_event();
                self.check_restarts();
                if in_trouble && self.dice.one_in(8) {
                    // The answer was lost, and whatever did not start is discarded.
                    if let Some(call) = self.platform.as_mut().and_then(|p| p.calls.get_mut(&number)) {
                        call.fault = Some(Fault::Unreachable);
                    }
                    self.check_stop(&id);
                    self.engine.remove(&id);
                }
                self.part_done(number);
            }
            Step::Stop(id) => {
                self.check_stop(&id);
                let dies = if self.dice.one_in(6) { SETTINGS.grace_millis } else { self.dice.between(1, 300) };
                let ends = self.now + dies;
                let Some(body) = self.engine.bodies.get_mut(&id) else { return self.part_done(number) };
                let wait = match body.is_running() {
                    true => {
                        body.ends = Some(body.ends.map_or(ends, |known| known.min(ends)));
                        self.at(ends, Ev::Exit(id.clone(), 143));
                        dies + self.latency(1, 20)
                    }
                    false => self.latency(1, 20),
                };
                self.step_in(wait, number, Step::Bury(id));
            }
            Step::Bury(id) => {
                self.engine.remove(&id);
                self.engine_event();
                self.part_done(number);
            }
            Step::Kill(id) => {
                self.check_stop(&id);
                self.engine.remove(&id);
                self.engine_event();
                self.part_done(number);
            }
            Step::Ask => self.ask(number),
            Step::Done => self.end_call(number),
        }
    }

    fn begin_call(&mut self, number: u64, in_trouble: bool) {
        let now = self.now;
        let Some(call) = self.platform.as_mut().and_then(|p| p.calls.get_mut(&number)) else { return };
        let mut parts: Vec<Step> = Vec::new();
        match &call.what {
            What::Ensure(spec) => {
                let work = self.engine.work(spec);
                if !work.missing.is_empty() && self.engine.missing.remove(&spec.release.to_string()) {
                    // Loaded again from the store of blobs, and then asked once more.
                    return self.at(now + 500, Ev::Step(self.epoch, number, Step::Begin));
                }
                if in_trouble && !work.missing.is_empty() && self.dice.one_in(6) {
                    let refused = Fault::Refused("scripted".into());
                    call.fault = Some(self.dice.pick(&[&refused, &Fault::NoSpace, &Fault::Unreachable]).clone());
                } else {
                    parts.extend(work.missing.into_iter().map(Step::Create));
                    parts.extend(work.surplus.into_iter().map(Step::Stop));
                }
            }
            What::Retire(workload, below) => {
                let goes = |r: &Replica| r.workload == *workload && r.generation < *below;
                parts.extend(
                    self.engine.bodies.values().filter(|b| goes(&b.replica)).map(|b| Step::Stop(b.replica.id.clone())),
                );
            }
            What::Remove(replica) => parts.push(Step::Kill(replica.id.clone())),
            What::Ask { .. } => {}
            What::GiveUp(..) => {
                let wait = self.dice.between(20, 500);
                return self.step_in(wait, number, Step::Done);
            }
        }
        call.left = parts.len().max(1);
        if parts.is_empty() {
            return self.part_done(number);
        }
        for part in parts {
            let wait = self.latency(5, 60);
            self.step_in(wait, number, part);
        }
    }

    fn part_done(&mut self, number: u64) {
        let in_trouble = self.now < self.engine.trouble_until;
        let late = if in_trouble && self.dice.one_in(5) { self.dice.between(100, 10_000) } else { self.latency(1, 20) };
        let Some(call) = self.platform.as_mut().and_then(|p| p.calls.get_mut(&number)) else { return };
        call.left = call.left.saturating_sub(1);
        if call.left == 0 {
            self.step_in(late, number, Step::Done);
        }
    }

    fn end_call(&mut self, number: u64) {
        let Some(call) = self.platform.as_mut().and_then(|p| p.calls.remove(&number)) else { return };
        let fault: Option<EngineError> = call.fault.map(Into::into);
        let outcome = match (call.what, fault) {
            (What::GiveUp(environment, generation), _) => {
                Outcome::GaveUp { environment, generation, reason: "it did not become ready".into() }
            }
            (What::Ask { replica, vital, .. }, _) => Outcome::Asked { replica: replica.id, vital },
            (_, None) => Outcome::Done,
            (What::Ensure(_), Some(error @ EngineError::NoSpace)) if self.dice.one_in(2) => {
                Outcome::Unapplied { error: Error::unavailable("the image could not be loaded", error) }
            }
            (What::Ensure(spec), Some(error)) => {
                Outcome::Failed { workload: spec.id, generation: spec.generation, error }
            }
            (What::Retire(workload, generation), Some(error)) => Outcome::Failed { workload, generation, error },
            (What::Remove(replica), Some(error)) => {
                Outcome::Failed { workload: replica.workload, generation: replica.generation, error }
            }
        };
        self.answer(call.busy, outcome);
    }

    /// As `asking::ask`, whose loop this is.
    fn next_question(&mut self, number: u64) {
        let now = self.steady();
        let Some(call) = self.platform.as_ref().and_then(|p| p.calls.get(&number)) else { return };
        let What::Ask { vital, until, stop, .. } = &call.what else { return };
        match vital.next_due().filter(|_| !vital.is_settled() && !stop.is_cancelled()) {
            Some(due) => {
                let wait = due.min(*until).since(now).max(0) + 1;
                self.step_in(wait, number, Step::Ask);
            }
            None => self.end_call(number),
        }
    }

    fn ask(&mut self, number: u64) {
        let (now, world_now) = (self.steady(), self.now);
        let Some(call) = self.platform.as_mut().and_then(|p| p.calls.get_mut(&number)) else { return };
        let What::Ask { replica, vital, until, .. } = &mut call.what else { return };
        let body = self.engine.bodies.get(&replica.id);
        let before = vital.standing.clone();
        for (index, check) in vital.due(now) {
            let answer = match (&check.check, body) {
                (Check::Alive { millis }, _) => replica.started_at.is_some_and(|at| now.since(at) >= *millis),
                (_, None) => false,
                (Check::Tcp, Some(body)) => body.answers(world_now),
                (_, Some(body)) if check.kind == CheckKind::Readiness => body.is_ready(world_now),
                (_, Some(body)) => body.answers(world_now),
            };
            vital.answered(index, if answer { Ok(()) } else { Err("does not answer".into()) }, now);
        }
        let flags = |v: &crate::product::converge::vital::Standing| (v.started, v.passed, v.ready, v.dead);
        if flags(&before) != flags(&vital.standing) || now >= *until {
            self.end_call(number);
        } else {
            self.next_question(number);
        }
    }

    /// Those that were told to stop.
    fn end_questions(&mut self) {
        let Some(platform) = &self.platform else { return };
        let stopped = |call: &Call| matches!(&call.what, What::Ask { stop, .. } if stop.is_cancelled());
        let ended: Vec<u64> = platform.calls.iter().filter(|(_, c)| stopped(c)).map(|(n, _)| *n).collect();
        for number in ended {
            self.end_call(number);
        }
    }
}

fn spec(desired: &Desired, workload: &WorkloadId, generation: Generation, count: u32) -> Option<WorkloadSpec> {
    let release = desired.release_of(generation)?;
    Some(WorkloadSpec {
        id: workload.clone(),
        generation,
        count,
        app: desired.app.name.clone(),
        space: desired.app.space_id.clone(),
        release: release.id.clone(),
        release_number: release.number,
        image: release.image.clone(),
        process: Process { command: vec!["web".into()], working_dir: None },
        variables: BTreeMap::new(),
        port: None,
        limits: Limits::default(),
        mounts: Vec::new(),
        grace_seconds: 5,
    })
}

pub fn has_exited(replica: &Replica) -> bool {
    matches!(replica.state, ReplicaState::Exited { .. })
}
