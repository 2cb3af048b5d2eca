//! The calls of one life of Hythe to the engine, each in the steps that the real one takes, and what goes wrong in them:
//! refusals, lost answers, answers that come late, and what takes effect though nobody waits for it any more.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::platform::SETTINGS;
use super::script::Nature;
use super::world::{Ev, World};
use crate::base::clock::Timestamp;
use crate::base::error::Error;
use crate::base::model::{EnvironmentId, Generation, Limits, Process, Replica, WorkloadId, WorkloadSpec};
use crate::machinery::runtime::EngineError;
use crate::machinery::runtime::fake::Fault;
use crate::product::converge::apply::{Busy, Order, Outcome};
use crate::product::converge::desired::Desired;
use crate::product::converge::vital::Vital;

pub struct Call {
    pub busy: Busy,
    pub what: What,
    pub left: usize,
    pub fault: Option<Fault>,
}

pub enum What {
    Ensure(WorkloadSpec),
    Retire(WorkloadId, Generation),
    Stop(Replica),
    Remove(Replica),
    Ask { replica: Replica, vital: Vital, stop: CancellationToken, until: Timestamp },
    GiveUp(EnvironmentId, i64),
}

/// The life of whoever asks for something once more.
const LOST: u64 = u64::MAX;

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

impl World {
    pub fn carry_out(&mut self, busy: Busy, order: Order) {
        let now = self.steady();
        match &order {
            Order::Probe { .. } => {}
            Order::Ensure { generation, count, .. } => self.note(format!("  {busy:?} {generation}, {count}")),
            _ => self.note(format!("  {busy:?}")),
        }
        let what = match order {
            Order::Ensure { desired, process, generation, count } => {
                match spec(&desired, &process.id, generation, count) {
                    Some(spec) => What::Ensure(WorkloadSpec { port: process.has_port.then_some(8080), ..spec }),
                    None => return self.answer(busy, Outcome::Done),
                }
            }
            Order::Retire { workload, below } => What::Retire(workload, below),
            Order::Stop { replica } => What::Stop(replica),
            Order::Remove { replica } => What::Remove(replica),
            Order::Probe { replica, vital, stop, .. } => {
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

    pub fn step_in(&mut self, wait: i64, call: u64, step: Step) {
        self.at(self.now + wait, Ev::Step(self.epoch, call, step));
    }

    fn answer(&mut self, busy: Busy, outcome: Outcome) {
        let Some(platform) = &mut self.platform else { return };
        platform.done.push((busy, outcome));
        self.wake();
    }

    pub fn step(&mut self, number: u64, step: Step) {
        if self.now < self.engine.trouble_until && self.dice.one_in(10) {
            // Asked twice, because the first answer did not arrive.
            let again = self.now + self.dice.between(1, 3_000);
            self.at(again, Ev::Step(LOST, number, step.clone()));
        }
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
                let nature =
                    self.places.iter().find_map(|p| p.release(&spec.release)).map_or(Nature::NeverReady, |r| r.1);
                let (spec, nature) = (spec.clone(), self.cured(nature));
                let id = self.engine.create(&spec, ordinal, nature);
                self.check_one_more(&spec);
                let wait = self.latency(20, 200);
                self.step_in(wait, number, Step::Start(id));
            }
            Step::Start(id) => {
                self.start_body(&id);
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
                let Some(dies) = self.stop_body(&id) else { return self.part_done(number) };
                let wait = dies + self.latency(1, 20);
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

    /// What was asked of the engine takes effect though nobody waits for it any more.
    pub fn takes_effect(&mut self, step: Step) {
        if self.engine.is_away(self.now) || self.dice.one_in(2) {
            return;
        }
        match step {
            Step::Start(id) => self.start_body(&id),
            Step::Stop(id) => drop(self.stop_body(&id)),
            Step::Bury(id) | Step::Kill(id) => {
                self.engine.remove(&id);
                self.engine_event();
            }
            Step::Begin | Step::Create(_) | Step::Ask | Step::Done => {}
        }
    }

    fn start_body(&mut self, id: &str) {
        let wall = self.wall();
        if let Some(at) = self.engine.start(id, self.now, wall) {
            self.at(at, Ev::Exit(id.to_owned(), 1));
        }
        self.engine_event();
        self.check_alone(id);
    }

    /// How long it takes to end; none where it is not there.
    fn stop_body(&mut self, id: &str) -> Option<i64> {
        let dies = if self.dice.one_in(6) { SETTINGS.grace_millis } else { self.dice.between(1, 300) };
        let ends = self.now + dies;
        let body = self.engine.bodies.get_mut(id)?;
        if !body.is_running() {
            return Some(0);
        }
        body.ends = Some(body.ends.map_or(ends, |known| known.min(ends)));
        self.at(ends, Ev::Exit(id.to_owned(), 143));
        Some(dies)
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
                parts.extend(self.engine.ours().filter(|b| goes(&b.replica)).map(|b| Step::Stop(b.replica.id.clone())));
            }
            What::Stop(replica) => parts.push(Step::Stop(replica.id.clone())),
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

    pub fn end_call(&mut self, number: u64) {
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
            (What::Stop(replica) | What::Remove(replica), Some(error)) => {
                Outcome::Failed { workload: replica.workload, generation: replica.generation, error }
            }
        };
        self.answer(call.busy, outcome);
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
        process: Process { command: vec!["web".into()], working_dir: None, port: None },
        variables: BTreeMap::new(),
        port: None,
        limits: Limits::default(),
        mounts: release.mounts.get(&workload.process).cloned().unwrap_or_default(),
        grace_seconds: 5,
    })
}
