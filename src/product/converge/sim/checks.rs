//! What must hold in every history, whatever happens in it.

use std::sync::Arc;

use super::platform::{SETTINGS, has_exited};
use super::rollouts::Serving;
use super::world::World;
use crate::base::model::{EnvironmentStatus, Replica};
use crate::machinery::proxy::{RouteTable, TargetState};
use crate::product::converge::desired::Desired;

/// In which a replica that is ready must have the route, as long as Hythe and the engine are well.
const NOTICE: i64 = 12_000;
/// What broke so lately may be routed still.
const JUST_NOW: i64 = 5_000;
/// Restarts of one name within a minute: at once, then after 1, 2, 4 … 60 s; a life of Hythe begins anew.
const RESTARTS: usize = 9;

impl World {
    pub fn check_publication(&mut self, before: &Arc<RouteTable>, replicas: &[Replica]) {
        let Some(platform) = &self.platform else { return };
        let after = Arc::clone(&platform.table.borrow());
        let mut faults = Vec::new();
        let mut left = Vec::new();
        for (number, place) in self.places.iter().enumerate().filter(|(_, p)| p.exists) {
            let ids = |table: &RouteTable| -> Vec<String> {
                table.target(&place.host).map(|t| t.all().map(|u| u.replica().to_owned()).collect()).unwrap_or_default()
            };
            let (old, new) = (ids(before), ids(&after));
            left.extend(old.iter().filter(|id| !new.contains(id)).cloned());
            for id in &new {
                let Some(seen) = replicas.iter().find(|r| r.id == *id) else {
                    faults.push(format!("app {number}: {id} has a route and was not seen"));
                    continue;
                };
                if seen.workload.environment != place.environment.id {
                    faults.push(format!("app {number} leads to {id} of another app"));
                }
                let passed = platform.mind.memory.vitals.get(id).is_some_and(|v| v.standing.passed);
                // The life of Hythe before this one saw it ready.
                if !passed && !old.contains(id) || has_exited(seen) {
                    faults.push(format!("app {number}: {id} has a route and was never seen ready"));
                }
            }
            let status = platform.statuses.iter().find(|(id, ..)| *id == place.environment.id).map(|(_, s, _)| s);
            if let Some(target) = after.target(&place.host) {
                let is_new = self.boots.last().is_some_and(|at| self.now - at < JUST_NOW);
                let fault = Serving { is_new, place, status: status.unwrap_or(&place.environment.status), replicas }
                    .fault(target);
                // Nobody of what is live is ready: who served serves on until somebody is.
                let live = status.unwrap_or(&place.environment.status).live;
                let ready = |r: &Replica| r.generation == live && platform.mind.memory.is_ready(&r.id);
                let of_it = |r: &&Replica| r.workload.environment == place.environment.id && r.address.is_some();
                let stands_in = new.iter().all(|id| old.contains(id)) && !replicas.iter().filter(of_it).any(ready);
                faults.extend(fault.filter(|_| !stands_in).map(|text| format!("app {number}: {text}")));
            }
            let answers = |id: &String| self.engine.bodies.get(id).is_some_and(|b| b.answers(self.now));
            let state = after.target(&place.host).map(|t| t.state);
            // Requests wait while what has a volume to itself is started anew, or for what sleeps.
            let waits = matches!(state, Some(TargetState::Starting)) && place.is_exclusive()
                || state == Some(TargetState::Asleep);
            let holds = new.is_empty() && waits;
            let served = old.iter().filter(|id| answers(id)).count();
            let broke = |id: &String| {
                self.engine.bodies.get(id).is_none_or(|b| self.now - b.broke_at < JUST_NOW || b.ends.is_some())
            };
            // It shall end at once, whatever the one before it does at that moment.
            let off = place.environment.spec.guidance.as_ref().is_some_and(|said| said.aborted);
            let excused = holds || off || !new.is_empty() && new.iter().all(broke) || place.environment.spec.stopped;
            let spec = &place.environment.spec;
            let by_hand = place.desired().processes_with(&Default::default());
            let to_zero = spec.scaling.is_empty() && by_hand.iter().filter(|p| p.has_port).all(|p| p.count == 0);
            let none_wanted =
                to_zero || place.desired().processes().iter().filter(|p| p.has_port).all(|p| p.count == 0);
            if served > 0 && !new.iter().any(answers) && !excused && !none_wanted {
                let of_it = replicas.iter().filter(|r| r.workload.environment == place.environment.id);
                let there: Vec<_> = of_it
                    .map(|r| (&r.id, r.workload.process.as_str(), r.generation.0, r.ordinal, &r.state, answers(&r.id)))
                    .collect();
                faults.push(format!(
                    "app {number}: {old:?} served, and the table has {new:?} ({state:?}) in their place; there are {there:?}"
                ));
            }
        }
        let now = self.now;
        self.left.extend(left.into_iter().map(|id| (id, now)));
        faults.into_iter().for_each(|fault| self.broken(fault));
    }

    /// A replica is about to be stopped by Hythe.
    pub fn check_stop(&mut self, id: &str) {
        let (Some(platform), Some(body)) = (&self.platform, self.engine.bodies.get(id)) else { return };
        if !body.answers(self.now) || body.ends.is_some() {
            return;
        }
        let Some(place) =
            self.places.iter().find(|p| p.exists && p.environment.id == body.replica.workload.environment)
        else {
            return;
        };
        let table = platform.table.borrow();
        let routed = table.target(&place.host).is_some_and(|t| t.all().any(|u| u.replica() == id));
        let inside = platform.guests.values().filter(|g| g.replica == id).map(|g| self.now - g.since).max();
        let left = self.left.get(id).map_or(i64::MAX, |at| self.now - at);
        drop(table);
        if routed {
            self.broken(format!("{id} is stopped while it has the route"));
        } else if let Some(longest) = inside.filter(|_| left < SETTINGS.grace_millis) {
            self.broken(format!(
                "{id} is stopped {left} ms after it left the route, with a request inside for {longest} ms"
            ));
        }
    }

    /// A request was not answered.
    pub fn check_unserved(&mut self, place: usize, how: &str) {
        if !self.shall_serve(place) {
            return;
        }
        let of = &self.places[place];
        let (spec, status) = (&of.environment.spec, &of.environment.status);
        let counts = of.desired().processes();
        let since = self.well_since().max(of.asked_since);
        let wanted = |r: &Replica| {
            r.workload.environment == of.environment.id
                && r.generation == status.live
                && (spec.rollout != status.live || counts.iter().any(|p| p.id == r.workload && r.ordinal <= p.count))
        };
        let able = self.engine.ours().find(|b| {
            let ready = b.able_from.max(b.unready_until).max(since);
            let left = self.left.get(&b.replica.id).is_some_and(|at| self.now - at < NOTICE);
            wanted(&b.replica)
                && !left
                && b.port
                && b.is_ready(self.now)
                && b.ends.is_none()
                && self.now - ready > NOTICE
        });
        if let Some(able) = able {
            let fault =
                format!("app {place}: a request failed ({how}) though {} was ready all the time", able.replica.id);
            self.broken(fault);
        }
    }

    pub fn check_status(&mut self, status: &EnvironmentStatus, desired: &Desired) {
        let before = desired.status();
        let previous = before.watch.as_ref().map(|watch| watch.previous);
        if status.live != before.live && status.live != desired.rollout() && Some(status.live) != previous {
            self.broken(format!("rollout {} became live; {} was asked for", status.live, desired.rollout()));
        }
        let off = self.places.iter().find(|p| p.environment.id == desired.environment.id);
        if status.live != before.live && off.is_some_and(|place| place.called_off.contains(&status.live)) {
            self.broken(format!("rollout {} became live, and was called off", status.live));
        }
        let Some(platform) = &self.platform else { return };
        if status.live != before.live && status.live == desired.rollout() {
            let ready = |process| {
                let of = |r: &&Replica| r.workload == process && r.generation == status.live;
                platform.seen.iter().filter(of).filter(|r| platform.mind.memory.is_ready(&r.id)).count()
            };
            let short =
                desired.processes_with(&status.scaled).into_iter().find(|p| ready(p.id.clone()) < p.count as usize);
            if let Some(short) = short {
                self.broken(format!("rollout {} became live, and {} is not ready in full", status.live, short.id));
            }
        }
    }

    pub fn check_restarts(&mut self) {
        let now = self.now;
        let lives = self.boots.iter().filter(|at| now - **at < 60_000).count();
        let most = RESTARTS * (lives + 1);
        let faults: Vec<String> = self
            .engine
            .restarts
            .iter_mut()
            .filter_map(|((workload, generation, ordinal), starts)| {
                starts.retain(|at| now - *at < 60_000);
                let text =
                    format!("{workload} {generation} {ordinal} was restarted {} times in a minute", starts.len());
                (starts.len() > most).then_some(text)
            })
            .collect();
        faults.into_iter().for_each(|fault| self.broken(fault));
    }
}
