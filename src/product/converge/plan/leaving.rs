//! What stays beside the desired rollout, and what goes: never a replica with the route, nor one that requests may be in.

use std::collections::BTreeMap;

use super::{Change, LINGER_MILLIS, Planner};
use crate::base::model::{EnvironmentState, EnvironmentStatus, Generation, ReplicaState, WorkloadId};
use crate::product::converge::desired::DesiredProcess;
use crate::product::converge::observed::{Seen, Traffic};

impl Planner<'_> {
    /// What serves, or stands by, beside the desired rollout: after a restart of the platform nobody has asked it yet.
    pub(super) fn adopt(&mut self, status: &EnvironmentStatus) {
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
    pub(super) fn clear_away(
        &mut self,
        rollout: Generation,
        status: &EnvironmentStatus,
        routed: &[String],
        gave_up: bool,
    ) {
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
            // One that is being started stands by soon.
            let serves = |s: &Seen| {
                let same = s.replica.workload == replica.workload && s.replica.generation == replica.generation;
                same && s.replica.address.is_some()
            };
            if stands_by && seen.runs() && observed.replicas.iter().any(serves) {
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
            // To retire all below it would take those that stand by along.
            if status.watch.as_ref().is_some_and(|watch| watch.previous < replica.generation) {
                if idle {
                    self.list.push(Change::Stop { replica: replica.id.clone() });
                }
                continue;
            }
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

    pub(super) fn surplus_is_idle(&mut self, process: &DesiredProcess, generation: Generation) -> bool {
        let all = self.of(&process.id, generation);
        // It is routed as long as none within the number can be.
        let within = |s: &&Seen| s.replica.ordinal <= process.count;
        let stands_in = |s: &&Seen| !within(s) && s.replica.address.is_some() && s.standing.passed;
        let able = |s: &Seen| s.is_ready() && s.runs();
        if process.count > 0
            && !all.iter().copied().filter(within).any(able)
            && all.iter().copied().any(|s| stands_in(&s))
        {
            return false;
        }
        all.into_iter().filter(|s| s.replica.ordinal > process.count).all(|s| self.is_idle(s))
    }

    pub(super) fn is_idle(&mut self, seen: &Seen) -> bool {
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
}
