//! The watch after a switch: the new rollout is on probation, the one before stands by. Pure, as all of the planner.

use super::{Cause, JUDGED_EVERY_MILLIS, Planner};
use crate::base::model::{EnvironmentState, EnvironmentStatus, Generation, ReplicaState, Watch, WorkloadId};
use crate::product::converge::desired::DesiredProcess;
use crate::product::converge::observed::{Answers, Seen, Traffic};
use crate::product::converge::verdict;

impl Planner<'_> {
    pub(super) fn new_watch(&self, before: &EnvironmentStatus) -> Option<Watch> {
        let spec = &self.desired.environment.spec;
        let stands_by = |s: &Seen| s.replica.generation == before.live && s.runs() && s.replica.address.is_some();
        let wanted = spec.watch_seconds > 0 && !spec.stopped && before.live != Generation::default();
        (wanted && self.observed.replicas.iter().any(stands_by)).then(|| Watch {
            since: self.now,
            until: self.now.plus_millis(i64::from(spec.watch_seconds) * 1000),
            previous: before.live,
            previous_release: before.live_release.clone(),
        })
    }

    /// Ends the watch of the live rollout, goes on with it, or brings the rollout before back.
    pub(super) fn judge(&mut self, all_ready: bool, processes: &[DesiredProcess], status: &mut EnvironmentStatus) {
        let Some(mut watched) = status.watch.clone() else { return };
        // The clock was set back between two lives of the platform: it begins anew.
        if self.now < watched.since {
            watched.until = self.now.plus_millis(watched.until.since(watched.since));
            watched.since = self.now;
            status.watch = Some(watched.clone());
        }
        if self.desired.environment.spec.stopped || status.live != self.desired.rollout() {
            status.watch = None;
            return;
        }
        let over = self.now >= watched.until;
        let seconds = (self.now.since(watched.since) + 999) / 1000;
        // Who adopts a watch after a restart knows nothing of the replicas yet.
        let bad = |s: &Seen| !s.runs() || s.standing.passed && !s.is_ready();
        let known = self.observed.replicas.iter().any(|s| s.replica.generation == status.live && bad(s));
        let unasked = |s: &Seen| s.runs() && !s.standing.passed && s.standing.fault.is_none();
        let asked = !self.observed.replicas.iter().any(|s| s.replica.generation == status.live && unasked(s));
        let long_over = asked && self.now.since(watched.until) >= self.settings.ready_millis;
        let unsettled = over && !all_ready && (known || long_over);
        if let Some((replica, cause)) = self.failing(&watched, processes, unsettled, seconds) {
            self.give_up(replica, cause, status);
            status.live = watched.previous;
            status.live_release = watched.previous_release;
            status.watch = None;
        } else if over && all_ready {
            status.watch = None;
        } else {
            status.state = EnvironmentState::Watching;
            self.look_again_in(watched.until.since(self.now).clamp(1, JUDGED_EVERY_MILLIS));
        }
    }

    fn failing(
        &self,
        watched: &Watch,
        processes: &[DesiredProcess],
        unsettled: bool,
        seconds: i64,
    ) -> Option<(Option<String>, Cause)> {
        let rollout = self.desired.rollout();
        let worst = |id: &WorkloadId| {
            let here = self.of(id, rollout);
            here.iter()
                .find(|s| !s.runs())
                .or_else(|| here.iter().find(|s| !s.is_ready()))
                .or(here.first())
                .map(|s| s.replica.id.clone())
        };
        // It does badly; to go back to what does not answer at all would be worse still.
        let stands_ready = |s: &Seen| s.replica.generation == watched.previous && s.is_ready();
        let back = self.observed.replicas.iter().any(stands_ready);
        let serves = |s: &Seen| s.replica.generation == rollout && s.runs() && s.traffic == Traffic::Routed;
        let may_go_back = back || !self.observed.replicas.iter().any(serves);
        for process in processes.iter().filter(|_| may_go_back) {
            let crashes = self.observed.crashes.get(&process.id);
            if let Some(c) = crashes.filter(|c| c.generation == rollout && verdict::loops(c)) {
                return Some((worst(&process.id), Cause::Loops { times: c.count, seconds }));
            }
        }
        let web = || processes.iter().find(|p| p.has_port).and_then(|p| worst(&p.id));
        // What would come back may not have been asked yet, as after a restart of the platform; it is in a moment.
        let unasked = |s: &Seen| {
            let of_it = s.replica.generation == watched.previous && s.replica.state == ReplicaState::Running;
            of_it && !s.standing.passed && s.standing.fault.is_none()
        };
        if self.is_called_off() && !self.observed.replicas.iter().any(unasked) {
            return Some((None, Cause::Aborted));
        }
        if let Some(cause) = self.compared(rollout, watched.previous, seconds, 100).filter(|_| back) {
            return Some((web(), cause));
        }
        let unready = || {
            processes
                .iter()
                .find(|p| self.of(&p.id, rollout).iter().filter(|s| s.is_ready()).count() < p.count as usize)
        };
        (unsettled && may_go_back).then(|| (unready().and_then(|p| worst(&p.id)), Cause::Unsettled { seconds }))
    }

    /// What the new rollout does worse than the old one, both as far as their answers are known.
    pub(super) fn compared(&self, new: Generation, old: Generation, seconds: i64, percent: u8) -> Option<Cause> {
        let (new, old) = (self.answers(new), self.answers(old));
        if verdict::is_worse(new, old) {
            return Some(Cause::Worse { new: new.into(), old: old.into(), seconds, percent });
        }
        verdict::is_slower(new, old).map(|(new, old)| Cause::Slower { new, old, seconds, percent })
    }

    fn answers(&self, generation: Generation) -> Answers {
        let mut all = Answers::default();
        self.observed.replicas.iter().filter(|s| s.replica.generation == generation).for_each(|s| all += s.answers);
        all
    }
}
