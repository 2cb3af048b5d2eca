//! One life of Hythe: the real `Mind` with its table, and a model of the loop of the driver around it. All of it
//! is lost in a crash, with the calls to the engine (`calls`) and the questions to replicas (`questions`).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

use super::calls::{Call, What};
use super::world::{Ev, World};
use crate::base::clock::Timestamp;
use crate::base::config;
use crate::base::model::{EnvironmentId, EnvironmentStatus, Measured, Replica, ReplicaState};
use crate::machinery::proxy::{Pass, RouteTable};
use crate::product::converge::apply::{Busy, Outcome};
use crate::product::converge::desired::{Desired, Settings};
use crate::product::converge::mind::{Mind, News, blocked, can_never_be_live};
use crate::product::converge::table::Publisher;

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
    pub statuses: Vec<(EnvironmentId, EnvironmentStatus, Desired)>,
    look_again_at: Option<Timestamp>,
    pub done: Vec<(Busy, Outcome)>,
    pub calls: BTreeMap<u64, Call>,
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
        platform.mind.weigh(&all, &replicas, &Default::default(), now);
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
        for place in &mut self.places {
            let (spec, status) = (&place.environment.spec, &place.environment.status);
            let off = spec.guidance.as_ref().is_some_and(|said| said.aborted && said.rollout == spec.rollout);
            if off && status.live != spec.rollout {
                place.called_off.insert(spec.rollout);
            }
        }
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
                let current = |p: &&super::place::Place| {
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
}

pub fn has_exited(replica: &Replica) -> bool {
    matches!(replica.state, ReplicaState::Exited { .. })
}
