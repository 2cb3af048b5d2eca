//! How a history has to end: all is as it was asked for, and nothing is left beside it.

use std::collections::BTreeSet;

use super::engine::Body;
use super::world::World;
use crate::base::model::{EnvironmentState, Generation};

impl World {
    /// What is left to be done; nothing, when all is as it was asked for.
    pub fn open_ends(&self) -> Vec<String> {
        let mut open = Vec::new();
        let Some(platform) = &self.platform else { return vec!["Hythe is down".into()] };
        if !platform.is_idle() {
            open.push("calls to the engine are under way".to_owned());
        }
        for (number, place) in self.places.iter().enumerate() {
            let environment = &place.environment;
            let mine = self.engine.ours().filter(|b| b.replica.workload.environment == environment.id);
            // Who fell ill is noticed where somebody asks.
            let desired = place.desired();
            let asked = |b: &Body| {
                let of_it = desired.processes().into_iter().find(|p| p.id == b.replica.workload);
                of_it.is_none_or(|process| process.is_watched())
            };
            let mut here: Vec<_> = mine
                .map(|b| {
                    (
                        b.replica.workload.process.to_string(),
                        b.replica.generation,
                        b.replica.ordinal,
                        b.is_ready(self.now) || b.is_running() && (!b.port || b.sick && !asked(b)),
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
            if place.called_off.contains(&status.live) {
                open.push(format!("app {number}: rollout {} is live, and was called off", status.live));
            }
            if status.canary.is_some() || !status.beside.is_empty() || status.watch.is_some() {
                open.push(format!("app {number}: rollouts are still side by side: {status:?}"));
            }
            let desired = place.desired();
            let serves = spec.release.is_some() && status.live > Generation::default();
            // What goes on where a rollout was given up has its own numbers.
            let stands_back = status.state == EnvironmentState::Blocked && status.live != spec.rollout;
            let processes = if stands_back { desired.live_processes(&status.scaled) } else { desired.processes() };
            let mut wanted: Vec<_> = processes
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
            let routed: BTreeSet<&str> =
                table.target(&place.host).map(|t| t.all().map(|u| u.replica()).collect()).unwrap_or_default();
            let web = |b: &&Body| b.port && b.replica.workload.environment == environment.id;
            let able: BTreeSet<&str> = self.engine.ours().filter(web).map(|b| b.replica.id.as_str()).collect();
            if routed != able && !given_up {
                open.push(format!("app {number} is routed to {routed:?}, and there are {able:?}"));
            }
        }
        open
    }
}
