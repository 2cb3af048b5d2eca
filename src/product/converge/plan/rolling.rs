//! Rolling: replica by replica one rollout takes the place of another, forward to the desired one or, when that one fails,
//! back to the live one. Forward a process type begins when those before it are through, those without a port first.
//!
//! Invariants: never more than one replica beyond the formation; never fewer ready ones than it asks, as far as there were
//! as many; what is routed is ready; a replica leaves the route before it stops.

use std::collections::BTreeSet;

use super::{Change, Planner};
use crate::base::model::{EnvironmentState, EnvironmentStatus, Generation, ReplicaState};
use crate::product::converge::desired::DesiredProcess;
use crate::product::converge::observed::{Seen, Traffic};

impl<'a> Planner<'a> {
    /// Replicas of several rollouts may serve together now.
    pub(super) fn mixes(&self, before: &EnvironmentStatus) -> bool {
        let spec = &self.desired.environment.spec;
        let rolls = self.is_rolling() && spec.rollout != before.live && before.live != Generation::default();
        // What has a volume to itself never serves beside another rollout.
        !spec.stopped && !self.is_exclusive() && (rolls || !before.beside.is_empty())
    }

    /// The numbers that `target` can have now beside what else is there, and whether they are all that it shall have.
    pub(super) fn in_turn(&self, processes: &[DesiredProcess], target: Generation) -> (Vec<DesiredProcess>, bool) {
        let mut all = processes.to_vec();
        // Back to what is live it goes with what answers requests first, and with nothing that has to prove itself.
        let forward = target != self.desired.status().live;
        all.sort_by_key(|process| process.has_port == forward);
        let (mut begins, mut whole) = (true, true);
        let mut spare = self.spare(processes, target);
        for process in &mut all {
            let wanted = process.count;
            let (here, others) = (self.of(&process.id, target), self.others(&process.id, target));
            let here: Vec<&Seen> = here.into_iter().filter(|s| s.runs()).collect();
            // What has replicas already keeps them, whatever is known by now of those before it.
            let highest = here.iter().map(|s| s.replica.ordinal).max().unwrap_or(0);
            let count = u32::try_from(others.len()).unwrap_or(u32::MAX);
            let has = u32::try_from(here.len()).unwrap_or(u32::MAX);
            let room = if begins { (wanted + 1).saturating_sub(count).max(1).min(has + spare) } else { 0 };
            process.count = room.max(highest).min(wanted);
            spare = spare.saturating_sub(process.count.saturating_sub(has));
            let ready = here.iter().filter(|s| s.is_ready()).count();
            whole &= process.count == wanted;
            // Where none is wanted, what was there goes at the switch.
            let through = process.count == wanted && ready >= wanted as usize && others.is_empty();
            begins &= !forward || wanted == 0 || through;
        }
        (all, whole)
    }

    /// Replicas that may be started now without more than one beyond what is wanted, or beyond what was there before.
    fn spare(&self, processes: &[DesiredProcess], target: Generation) -> u32 {
        let wanted: usize = processes.iter().map(|process| process.count as usize).sum();
        let running: Vec<_> = self.observed.replicas.iter().filter(|s| s.runs()).collect();
        let others = running.iter().filter(|s| s.replica.generation != target).count();
        u32::try_from((wanted.max(others) + 1).saturating_sub(running.len())).unwrap_or(u32::MAX)
    }

    /// What receives traffic while two rollouts serve together; none where they do not. Notes which they are, keeps what
    /// is needed of them, and stops what is not.
    pub(super) fn mix(
        &mut self,
        before: &EnvironmentStatus,
        status: &mut EnvironmentStatus,
        processes: &[DesiredProcess],
    ) -> Option<Vec<String>> {
        status.beside.clear();
        // What takes over from a watched one that was rolled out goes replica by replica as well.
        let returns = self.is_rolling() && before.live != status.live && before.live == self.desired.rollout();
        if !self.mixes(before) && !returns {
            return None;
        }
        let rollout = self.desired.rollout();
        let forward = status.state != EnvironmentState::Blocked && rollout != status.live;
        let target = if forward { rollout } else { status.live };
        let of_target =
            if target == rollout { processes.to_vec() } else { self.desired.live_processes(&status.scaled) };
        let serves = |g: Generation| g == before.live || g == status.live || before.beside.contains(&g);
        let mut routed = Vec::new();
        // Nothing is on its way, and nothing more can be started before something else has gone.
        let rises = |s: &&Seen| s.replica.generation == target && s.runs() && !s.is_ready();
        let cramped = self.spare(&of_target, target) == 0 && !self.observed.replicas.iter().any(|s| rises(&s));
        let mut beside = BTreeSet::new();
        for process in &of_target {
            let here = self.of(&process.id, target);
            let ready: Vec<&Seen> =
                here.iter().copied().filter(|s| s.is_ready() && s.replica.ordinal <= process.count).collect();
            let others: Vec<&Seen> =
                self.others(&process.id, target).into_iter().filter(|s| serves(s.replica.generation)).collect();
            let (kept, dropped) = parted(others, ready.len(), process.count as usize, (status.live, forward, cramped));
            let answer = |s: &&&Seen| s.replica.address.is_some() && s.is_ready();
            routed.extend(ready.iter().chain(&kept).filter(answer).map(|s| s.replica.id.clone()));
            beside.extend(kept.iter().map(|s| s.replica.generation));
            beside.extend(here.iter().filter(|s| s.runs()).map(|s| s.replica.generation));
            self.kept.extend(kept.iter().map(|s| s.replica.id.clone()));
            for seen in dropped.into_iter().filter(|s| forward && s.replica.generation == status.live) {
                if self.is_idle(seen) {
                    self.list.push(Change::Stop { replica: seen.replica.id.clone() });
                }
            }
        }
        beside.remove(&status.live);
        status.beside = beside;
        // None is ready, as after a restart of the platform, when nobody has asked them yet: what has the route keeps it.
        if routed.is_empty() && of_target.iter().any(|p| p.has_port && p.count > 0) {
            let known = |s: &&Seen| s.replica.generation == target || serves(s.replica.generation);
            let has = |s: &&Seen| s.traffic == Traffic::Routed && s.runs() && s.replica.address.is_some();
            let all = self.observed.replicas.iter().filter(known).filter(has).filter(|s| s.standing.dead.is_none());
            routed.extend(all.map(|s| s.replica.id.clone()));
        }
        routed.sort();
        (!routed.is_empty()).then_some(routed)
    }

    /// A replica that takes the place of a lost one is one more, too, while rollouts stand side by side.
    pub(super) fn has_spare(&self, generation: Generation) -> bool {
        let alone = !self.observed.replicas.iter().any(|s| s.replica.generation != generation && s.runs());
        if alone || !self.mixes(self.desired.status()) {
            return true;
        }
        let processes = match generation == self.desired.rollout() {
            true => self.desired.processes(),
            false => self.desired.live_processes(&self.desired.status().scaled),
        };
        self.spare(&processes, generation) > 0
    }

    /// Of the same process type and of any other rollout.
    fn others(&self, workload: &crate::base::model::WorkloadId, target: Generation) -> Vec<&'a Seen> {
        let is = |s: &&Seen| s.replica.workload == *workload && s.replica.generation != target && s.runs();
        self.observed.replicas.iter().filter(is).collect()
    }
}

/// Which of the others still serve beside `ready` replicas of the target, of which there shall be `wanted`.
fn parted(
    mut others: Vec<&Seen>,
    ready: usize,
    wanted: usize,
    (live, forward, cramped): (Generation, bool, bool),
) -> (Vec<&Seen>, Vec<&Seen>) {
    // In this order they go: what is going already, what does not serve, what is not live, the highest numbers.
    others.sort_by_key(|s| {
        let goes = matches!(s.traffic, Traffic::Leaving { .. });
        (!goes, s.is_ready(), s.replica.generation == live, std::cmp::Reverse(s.replica.ordinal))
    });
    let surplus = (others.len() + ready).saturating_sub(wanted);
    // Before anything of the target has proved itself, and as long as it wants any, what is live stays whole.
    let most = if ready > 0 || cramped || wanted == 0 && !forward {
        surplus
    } else {
        others.iter().filter(|s| s.replica.generation != live).count()
    };
    let mut surplus = surplus.min(most);
    let mut serving = ready + others.iter().filter(|s| s.is_ready()).count();
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for seen in others {
        let standing = &seen.standing;
        // After a restart of the platform nobody has asked it yet.
        let asked = standing.passed || standing.fault.is_some() || matches!(seen.traffic, Traffic::Leaving { .. });
        let known = asked || seen.replica.state == ReplicaState::Starting;
        let failed = !forward && known && !seen.is_ready();
        let spare = surplus > 0 && known && (!seen.is_ready() || serving > wanted);
        if spare || failed {
            surplus = surplus.saturating_sub(1);
            serving -= usize::from(seen.is_ready());
            dropped.push(seen);
        } else {
            kept.push(seen);
        }
    }
    (kept, dropped)
}
