//! What must hold in every history, whatever happens in it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::platform::{SETTINGS, has_exited};
use super::world::World;
use crate::base::model::{EnvironmentState, EnvironmentStatus, Generation, Replica};
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
                let upstreams = table.target(&place.host).map(|t| t.upstreams.iter());
                upstreams.into_iter().flatten().map(|u| u.replica().to_owned()).collect()
            };
            let (old, new) = (ids(before), ids(&after));
            left.extend(old.iter().filter(|id| !new.contains(id)).cloned());
            let mut generations = BTreeSet::new();
            for id in &new {
                let Some(seen) = replicas.iter().find(|r| r.id == *id) else {
                    faults.push(format!("app {number}: {id} has a route and was not seen"));
                    continue;
                };
                generations.insert(seen.generation);
                if seen.workload.environment != place.environment.id {
                    faults.push(format!("app {number} leads to {id} of another app"));
                }
                let passed = platform.mind.memory.vitals.get(id).is_some_and(|v| v.standing.passed);
                // The life of Hythe before this one saw it ready.
                if !passed && !old.contains(id) || has_exited(seen) {
                    faults.push(format!("app {number}: {id} has a route and was never seen ready"));
                }
            }
            if generations.len() > 1 {
                faults.push(format!("app {number}: two rollouts serve at once: {generations:?}"));
            }
            let answers = |id: &String| self.engine.bodies.get(id).is_some_and(|b| b.answers(self.now));
            let state = after.target(&place.host).map(|t| t.state);
            let holds = new.is_empty() && matches!(state, Some(TargetState::Starting | TargetState::Asleep));
            let served = old.iter().filter(|id| answers(id)).count();
            let broke = |id: &String| {
                self.engine.bodies.get(id).is_none_or(|b| self.now - b.broke_at < JUST_NOW || b.ends.is_some())
            };
            let excused = holds || !new.is_empty() && new.iter().all(broke) || place.environment.spec.stopped;
            let spec = &place.environment.spec;
            let by_hand = place.desired().processes_with(&Default::default());
            let to_zero = spec.scaling.is_empty() && by_hand.iter().filter(|p| p.has_port).all(|p| p.count == 0);
            let none_wanted =
                to_zero || place.desired().processes().iter().filter(|p| p.has_port).all(|p| p.count == 0);
            if served > 0 && !new.iter().any(answers) && !excused && !none_wanted {
                faults.push(format!(
                    "app {number}: {old:?} served, and the table has {new:?} ({state:?}) in their place"
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
        let routed = table.target(&place.host).is_some_and(|t| t.upstreams.iter().any(|u| u.replica() == id));
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
        let able = self.engine.bodies.values().find(|b| {
            let ready = b.able_from.max(b.unready_until).max(since);
            wanted(&b.replica) && b.port && b.is_ready(self.now) && b.ends.is_none() && self.now - ready > NOTICE
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

    /// What is left to be done; nothing, when all is as it was asked for.
    pub fn open_ends(&self) -> Vec<String> {
        let mut open = Vec::new();
        let Some(platform) = &self.platform else { return vec!["Hythe is down".into()] };
        if !platform.is_idle() {
            open.push("calls to the engine are under way".to_owned());
        }
        for (number, place) in self.places.iter().enumerate() {
            let environment = &place.environment;
            let mine = self.engine.bodies.values().filter(|b| b.replica.workload.environment == environment.id);
            let mut here: Vec<_> = mine
                .map(|b| {
                    (
                        b.replica.workload.process.to_string(),
                        b.replica.generation,
                        b.replica.ordinal,
                        b.is_ready(self.now) || !b.port && b.is_running(),
                    )
                })
                .collect();
            here.sort();
            if !place.exists {
                if !here.is_empty() {
                    open.push(format!("app {number} is destroyed, and {here:?} is left of it"));
                }
                continue;
            }
            let (spec, status) = (&environment.spec, &environment.status);
            if !place.jobs.is_empty() {
                open.push(format!("app {number} has unfinished deployments"));
            }
            if status.observed_generation != environment.generation {
                open.push(format!("app {number}: the spec of generation {} was not looked at", environment.generation));
            }
            let expected = match (&spec.release, spec.stopped) {
                _ if status.state == EnvironmentState::Blocked => status.live != spec.rollout,
                (None, _) => status.state == EnvironmentState::Empty,
                (_, true) => status.state == EnvironmentState::Stopped,
                _ => matches!(status.state, EnvironmentState::Live | EnvironmentState::Asleep),
            };
            if !expected {
                open.push(format!(
                    "app {number} is {:?}, rollout {} of {}: {:?}",
                    status.state, status.live, spec.rollout, status.reason
                ));
            }
            let desired = place.desired();
            let serves = spec.release.is_some() && status.live > Generation::default();
            let mut wanted: Vec<_> = desired
                .processes()
                .into_iter()
                .filter(|_| serves)
                .flat_map(|p| (1..=p.count).map(move |n| (p.id.process.to_string(), status.live, n, true)))
                .collect();
            wanted.sort();
            // A spec that nobody puts back is kept up where it asks for what is live.
            let given_up = status.state == EnvironmentState::Blocked && desired.release_of(status.live).is_none();
            let all_live = here.iter().all(|(_, generation, _, _)| *generation == status.live);
            if here != wanted && !(given_up && all_live) {
                open.push(format!("app {number} has {here:?} and shall have {wanted:?}"));
            }
            let table = platform.table.borrow();
            let routed: BTreeSet<&str> = table
                .target(&place.host)
                .map(|t| t.upstreams.iter().map(|u| u.replica()).collect())
                .unwrap_or_default();
            let web = |b: &&super::engine::Body| b.port && b.replica.workload.environment == environment.id;
            let able: BTreeSet<&str> = self.engine.bodies.values().filter(web).map(|b| b.replica.id.as_str()).collect();
            if routed != able && !given_up {
                open.push(format!("app {number} is routed to {routed:?}, and there are {able:?}"));
            }
        }
        open
    }
}
