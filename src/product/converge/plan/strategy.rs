//! How much of the desired rollout is to be brought up now, by the environment's strategy, and how the live one is kept
//! up beside it. Pure, as all of the planner.

use super::{Cause, Change, Planner};
use crate::base::model::{
    EnvironmentState, EnvironmentStatus, Generation, Release, ReleaseKind, ReplicaState, Strategy,
};
use crate::product::converge::desired::DesiredProcess;
use crate::product::converge::observed::Seen;

/// What is to be brought up now.
pub(super) struct Staged {
    /// With the numbers of now.
    pub processes: Vec<DesiredProcess>,
    /// These are the numbers that the spec asks for: once they are ready, the rollout can be live.
    pub whole: bool,
    /// Step and percentage of the canary that these are for.
    pub step: Option<(u32, u8)>,
}

impl Planner<'_> {
    pub(super) fn staged(&self, processes: &[DesiredProcess], status: &mut EnvironmentStatus) -> Staged {
        let rollout = self.desired.rollout();
        status.canary = status.canary.take().filter(|c| c.rollout == rollout && status.live != rollout);
        if let Some(step) = self.step(processes, status) {
            let part = |p: &DesiredProcess| DesiredProcess { count: part(p, step.1), ..p.clone() };
            return Staged { processes: processes.iter().map(part).collect(), whole: false, step: Some(step) };
        }
        if self.mixes(self.desired.status()) {
            let processes = self.in_turn(processes, rollout);
            return Staged { whole: processes.1, processes: processes.0, step: None };
        }
        Staged { processes: processes.to_vec(), whole: true, step: None }
    }

    /// Somebody said that the rollout under way shall end.
    pub(super) fn is_called_off(&self) -> bool {
        let spec = &self.desired.environment.spec;
        spec.guidance.as_ref().is_some_and(|said| said.aborted && said.rollout == spec.rollout)
    }

    /// Gives a rollout up that is not live yet and was called off.
    pub(super) fn aborted(&mut self, status: &mut EnvironmentStatus) -> bool {
        let off = self.is_called_off() && status.live != self.desired.rollout();
        if off {
            self.give_up(None, Cause::Aborted, status);
        }
        off
    }

    /// Asks the replicas of the live rollout their checks, and replaces those that are lost, while another one is desired.
    pub(super) fn keep_up(&mut self, before: &EnvironmentStatus, status: &EnvironmentStatus) {
        let live = status.live;
        let gives_up = self.list.iter().any(|c| matches!(c, Change::GiveUp { .. }));
        let spec = &self.desired.environment.spec;
        // Else what was stopped is through with the desired rollout at once.
        let runs = !spec.stopped || status.state == EnvironmentState::Blocked;
        if gives_up || !runs || live == self.desired.rollout() || live == Generation::default() {
            return;
        }
        // It has just taken other settings, which the next look reads.
        if live == before.live && status.live_release != before.live_release {
            return self.look_again_in(1);
        }
        let mut processes = self.desired.live_processes(&status.scaled);
        // What has a volume to itself stops for the new one, and comes back only when that fails (`exclusive`).
        processes.retain(|process| process.alone.is_empty() || spec.stopped);
        if self.is_rolling() && status.state != EnvironmentState::Blocked {
            // The new ones take their places.
            return self.ask_on(&processes, live);
        }
        let counted = self.desired.scaling();
        for process in &mut processes {
            // What the platform counts may sleep; only what is there is replaced.
            if counted.contains_key(&process.id.process) && status.state != EnvironmentState::Blocked {
                process.count = u32::try_from(self.of(&process.id, live).len()).unwrap_or(u32::MAX).min(process.count);
            }
        }
        if self.mixes(before) {
            processes = self.in_turn(&processes, live).0;
        }
        let mut aside = status.clone();
        self.bring_up(live, live, &processes, &mut aside);
    }

    fn ask_on(&mut self, processes: &[DesiredProcess], generation: Generation) {
        for process in processes {
            let asked = |s: &&Seen| s.replica.state == ReplicaState::Running && s.standing.dead.is_none();
            let asked = self.of(&process.id, generation).into_iter().filter(asked);
            let ids = asked.filter(|s| !s.is_ready() || process.is_watched()).map(|s| s.replica.id.clone());
            self.list.extend(ids.map(|replica| Change::Probe { replica }));
        }
    }

    pub(super) fn is_rolling(&self) -> bool {
        *self.desired.environment.spec.strategy_now() == Strategy::Rolling && !self.is_exclusive()
    }

    /// A process type has a volume to itself: two rollouts never serve together.
    pub(super) fn is_exclusive(&self) -> bool {
        self.desired.processes().iter().any(|process| !process.alone.is_empty())
    }

    /// The desired rollout is the live release started anew, though its settings may have been changed since then.
    pub(super) fn is_restart(&self) -> bool {
        let (Some(new), Some(live)) = (&self.desired.release, self.desired.live_release()) else { return false };
        let same_inside = || {
            let of = |r: &Release| (r.image.clone(), r.processes.clone(), r.sizes.clone(), r.mounts.clone());
            of(new) == of(live) && new.variables_version == live.variables_version
        };
        self.desired.environment.spec.release == self.desired.status().live_release
            || new.kind == ReleaseKind::Settings && same_inside()
    }

    /// It served before, and nobody has asked it since this process looks at it.
    pub(super) fn is_adopted(&self, seen: &Seen) -> bool {
        let (status, generation) = (self.desired.status(), seen.replica.generation);
        let served =
            status.beside.contains(&generation) || status.canary.as_ref().is_some_and(|c| c.rollout == generation);
        served && !seen.standing.started && seen.standing.fault.is_none()
    }
}

/// Replicas of a process type that a canary needs: of those without a port none, as what they do would be done twice.
fn part(process: &DesiredProcess, percent: u8) -> u32 {
    if process.has_port { (process.count * u32::from(percent)).div_ceil(100).min(process.count) } else { 0 }
}
