//! Processes that have a volume to themselves: the one before stops before the next one starts. Pure, as all of the planner.
//!
//! The order: all else of the rollout is ready → the one before leaves the route (requests wait at the proxy) → drains →
//! stops → the new one starts → ready → switch. What fails before the stop has stopped nothing; when the new one
//! fails, it goes, and the live release is started again while requests wait. Who has a volume is seen at the
//! replicas, so that a restart of the platform in the middle goes on from there.

use std::collections::BTreeSet;

use super::Planner;
use crate::base::model::{EnvironmentState, EnvironmentStatus, Generation, ReplicaState};
use crate::product::converge::desired::DesiredProcess;
use crate::product::converge::observed::Seen;

impl Planner<'_> {
    /// Nobody else has the volumes that the process must have to itself.
    pub(super) fn has_room(&self, process: &DesiredProcess, generation: Generation) -> bool {
        let same = |s: &Seen| s.replica.workload == process.id && s.replica.generation == generation;
        !self.observed.replicas.iter().any(|s| !same(s) && holds(s, process))
    }

    /// Live replicas that stand in the way of the desired rollout, once all else of it is ready.
    pub(super) fn giving_way(
        &self,
        rollout: Generation,
        status: &EnvironmentStatus,
        processes: &[DesiredProcess],
    ) -> BTreeSet<String> {
        if rollout == status.live || status.state == EnvironmentState::Blocked {
            return BTreeSet::new();
        }
        let (alone, others): (Vec<_>, Vec<_>) = processes.iter().partition(|p| !p.alone.is_empty());
        let is_ready =
            |p: &&DesiredProcess| self.of(&p.id, rollout).iter().filter(|s| s.is_ready()).count() >= p.count as usize;
        if !others.iter().all(is_ready) {
            return BTreeSet::new();
        }
        let wanted: Vec<_> = alone.into_iter().filter(|p| p.count > 0).collect();
        let stands = |s: &&Seen| s.replica.generation == status.live && wanted.iter().any(|p| holds(s, p));
        self.observed.replicas.iter().filter(stands).map(|s| s.replica.id.clone()).collect()
    }

    /// After a rollout was given up: starts again what had to stop for it.
    pub(super) fn bring_back(&mut self, live: Generation) {
        for process in self.stopped_for_others() {
            let here = self.of(&process.id, live);
            if here.iter().filter(|s| s.has_started()).count() >= process.count as usize {
                continue;
            }
            match self.back_off(&process.id) {
                0 => self.ensure(&process, live),
                wait => self.look_again_in(wait),
            }
        }
    }

    /// What serves had to stop for a rollout that failed, or slept, and is on its way back.
    pub(super) fn comes_back(&self, status: &EnvironmentStatus) -> bool {
        let slept = || {
            self.desired
                .live_processes(&status.scaled)
                .into_iter()
                .any(|p| p.has_port && p.count > 0 && self.desired.scaling().contains_key(&p.id.process))
        };
        status.state == EnvironmentState::Blocked && (self.stopped_for_others().iter().any(|p| p.has_port) || slept())
    }

    fn stopped_for_others(&self) -> Vec<DesiredProcess> {
        let live = self.desired.status().live;
        if live == Generation::default() || live == self.desired.rollout() {
            return Vec::new();
        }
        let all = self.desired.live_processes(&self.desired.status().scaled).into_iter();
        all.filter(|p| !p.alone.is_empty() && p.count > 0).collect()
    }
}

/// One that has ended has nothing any more; one that is frozen still has.
fn holds(seen: &Seen, process: &DesiredProcess) -> bool {
    let ended = matches!(seen.replica.state, ReplicaState::Exited { .. });
    !ended && seen.replica.volumes.iter().any(|id| process.alone.contains(id))
}
