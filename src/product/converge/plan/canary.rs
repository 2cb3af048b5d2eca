//! A canary: a part of the requests goes to the desired rollout, in steps, while the one before is live. Each step begins
//! when all of its replicas are ready, holds until people or its time let it go on, and goes back at once when the new
//! rollout does worse. After the last step all of the rollout is made ready, and then it is one switch as any other.

use super::{Cause, JUDGED_EVERY_MILLIS, Planner, Share, strategy::Staged};
use crate::base::model::{
    Canary, EnvironmentState, EnvironmentStatus, Generation, LONGEST_HOLD_SECONDS, ReplicaState, Strategy,
};
use crate::product::apps;
use crate::product::converge::desired::DesiredProcess;

impl Planner<'_> {
    /// Number and percentage of the step whose replicas shall be there now; none where all of the rollout shall.
    pub(super) fn step(&self, processes: &[DesiredProcess], status: &EnvironmentStatus) -> Option<(u32, u8)> {
        let spec = &self.desired.environment.spec;
        let Strategy::Canary { steps, .. } = spec.strategy_now() else { return None };
        let (rollout, live) = (self.desired.rollout(), status.live);
        // A restart tries nothing new.
        if self.is_exclusive() || spec.stopped || live == rollout || live == Generation::default() || self.is_restart()
        {
            return None;
        }
        let said = spec.guidance.as_ref().filter(|said| said.rollout == rollout).map_or(0, |said| said.steps);
        let step = match &status.canary {
            Some(c) if said > c.step || c.goes_on && self.now >= c.until => c.step + 1,
            Some(c) => c.step,
            None if said > 0 || !self.can_be_shared(processes, live) => return None,
            None => 0,
        };
        steps.get(step as usize).map(|percent| (step, *percent))
    }

    /// There is somebody to give a part of the requests to, and somebody to leave the others to.
    fn can_be_shared(&self, processes: &[DesiredProcess], live: Generation) -> bool {
        let answers = |s: &&super::Seen| s.replica.generation == live && s.runs() && s.replica.address.is_some();
        processes.iter().any(|p| p.has_port && p.count > 0) && self.observed.replicas.iter().any(|s| answers(&s))
    }

    /// Begins the step that is ready, compares, and says whether it holds.
    pub(super) fn hold(&mut self, staged: &Staged, ready: bool, status: &mut EnvironmentStatus) {
        if status.state == EnvironmentState::Blocked || status.live == self.desired.rollout() {
            status.canary = None;
            return;
        }
        if let Some((step, percent)) = staged.step.filter(|_| ready)
            && status.canary.as_ref().is_none_or(|c| c.step < step)
        {
            status.canary = Some(self.begun(step, percent));
        }
        let Some(canary) = status.canary.clone() else { return };
        let holds = staged.step.is_some_and(|(step, _)| step == canary.step);
        let seconds = (self.now.since(canary.since) + 999) / 1000;
        let worse = self.compared(canary.rollout, status.live, seconds, canary.percent);
        let forgotten = (holds && !canary.goes_on && self.now >= canary.until).then_some(Cause::Forgotten { seconds });
        // It may be bad; to leave the requests to one that does not answer at all would be worse still.
        let stands_ready =
            |s: &super::Seen| s.replica.generation == status.live && s.replica.address.is_some() && s.is_ready();
        let back = self.observed.replicas.iter().any(stands_ready);
        if let Some(cause) = worse.or(forgotten).filter(|_| back) {
            let of_it = |s: &&super::Seen| s.replica.generation == canary.rollout && s.replica.address.is_some();
            let replica = self.observed.replicas.iter().find(of_it).map(|s| s.replica.id.clone());
            self.give_up(replica.filter(|_| !matches!(cause, Cause::Forgotten { .. })), cause, status);
            status.canary = None;
            return;
        }
        self.look_again_in(canary.until.since(self.now).clamp(1, JUDGED_EVERY_MILLIS));
        if holds {
            status.state = EnvironmentState::Holding;
            status.reason = Some(self.held_text(&canary));
        }
    }

    fn begun(&self, step: u32, percent: u8) -> Canary {
        let strategy = self.desired.environment.spec.strategy_now();
        let steps = if let Strategy::Canary { steps, .. } = strategy { steps.len() } else { 0 };
        let hold = strategy.hold_seconds();
        Canary {
            rollout: self.desired.rollout(),
            step,
            steps: u32::try_from(steps).unwrap_or(u32::MAX),
            percent,
            since: self.now,
            until: self.now.plus_millis(i64::from(hold.unwrap_or(LONGEST_HOLD_SECONDS)) * 1000),
            goes_on: hold.is_some(),
        }
    }

    fn held_text(&self, canary: &Canary) -> String {
        let name = |release: Option<&crate::base::model::Release>, other: &str| {
            release.map_or_else(|| other.to_owned(), |r| format!("v{}", r.number))
        };
        let new = name(self.desired.release.as_ref(), "the new release");
        let old = name(self.desired.live.as_ref(), "the one before");
        let environment = &self.desired.environment.name;
        let mut at = format!("-a {}", self.desired.app.name);
        if environment.as_str() != apps::PRODUCTION {
            at.push_str(&format!(" -e {environment}"));
        }
        let then = if canary.goes_on { "goes on by itself at" } else { "goes back by itself at" };
        format!(
            "{new} is held: {} % of the requests go to it, the others to {old} (step {} of {})\n\
             Let it go on: hythe releases:continue {at}. Go back to {old}: hythe releases:abort {at}. It {then} {}.",
            canary.percent,
            canary.step + 1,
            canary.steps,
            canary.until,
        )
    }

    /// What is routed, with the ready replicas of the canary beside it.
    pub(super) fn with_canary(
        &self,
        mut routed: Vec<String>,
        status: &EnvironmentStatus,
    ) -> (Vec<String>, Option<Share>) {
        let Some(canary) = status.canary.as_ref().filter(|_| status.state != EnvironmentState::Blocked) else {
            return (routed, None);
        };
        let ready = |s: &&super::Seen| {
            s.replica.generation == canary.rollout
                && s.replica.state == ReplicaState::Running
                && s.replica.address.is_some()
                && s.is_ready()
        };
        let mut replicas: Vec<_> = self.observed.replicas.iter().filter(ready).map(|s| s.replica.id.clone()).collect();
        if replicas.is_empty() {
            return (routed, None);
        }
        replicas.sort();
        let is_ready = |id: &String| self.observed.replicas.iter().any(|s| s.replica.id == *id && s.is_ready());
        // None of the live one is ready: better all to the canary than some to nobody.
        if !routed.iter().any(is_ready) {
            return (replicas, None);
        }
        routed.extend(replicas.iter().cloned());
        routed.sort();
        (routed, Some(Share { percent: canary.percent, replicas }))
    }
}

/// An exit of a replica that was ready and had its part of the requests.
pub(super) fn as_canary(cause: Cause, status: &EnvironmentStatus) -> Cause {
    match (cause, &status.canary) {
        (Cause::Exited { code, out_of_memory }, Some(canary)) => {
            Cause::Fell { code, out_of_memory, percent: canary.percent }
        }
        (cause, _) => cause,
    }
}
