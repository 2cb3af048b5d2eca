//! The desired rollout comes up, and is kept up: what is missing is started, what fell is started anew after a pause, and
//! one that was never live is given up at the first replica that shows it cannot be.

use super::canary::as_canary;
use super::{Cause, Change, LINGER_MILLIS, Planner, SCALE_MILLIS};
use crate::base::model::{CheckKind, EnvironmentStatus, Generation, ReplicaState, WorkloadId};
use crate::product::converge::desired::DesiredProcess;
use crate::product::converge::observed::{Seen, Traffic};
use crate::product::converge::vital::{Death, overfull_text};

impl Planner<'_> {
    /// Changes that bring the desired rollout up; true when all of it is ready.
    pub(super) fn bring_up(
        &mut self,
        rollout: Generation,
        live: Generation,
        processes: &[DesiredProcess],
        status: &mut EnvironmentStatus,
    ) -> bool {
        let mut all_ready = true;
        for process in processes {
            let here = self.of(&process.id, rollout);
            let running = here.iter().filter(|s| s.runs()).count();
            // One that was made and never started may be what a crash left of a start, and a stranded one serves nobody: both
            // are for the engine to clear away, which for one that is about to start changes nothing.
            let idles = |s: &&Seen| matches!(s.replica.state, ReplicaState::Starting | ReplicaState::Stranded);
            let left_over = here.iter().any(idles);
            let left_within = here.iter().any(|s| idles(s) && s.replica.ordinal <= process.count);
            let ready = here.iter().filter(|s| s.is_ready()).count();
            let want = process.count as usize;
            let within = here.iter().filter(|s| s.runs() && s.replica.ordinal <= process.count).count();
            all_ready &= ready >= want;
            // Nobody takes the place of one beyond the number.
            let surplus = |s: &Seen| rollout == live && s.replica.ordinal > process.count;
            let gone = here.iter().filter(|s| surplus(s) && matches!(s.replica.state, ReplicaState::Exited { .. }));
            self.list.extend(gone.map(|s| Change::Remove { replica: s.replica.id.clone() }));
            match here.iter().filter(|s| !surplus(s)).find_map(|s| Some((*s, lost(s)?))) {
                Some((seen, cause)) if rollout != live => {
                    self.give_up(Some(seen.replica.id.clone()), as_canary(cause, status), status);
                    return false;
                }
                Some((seen, cause)) => {
                    let wait = self.back_off(&process.id);
                    status.reason = Some(lost_text(seen, cause, wait));
                    if wait > 0 {
                        self.look_again_in(wait);
                    } else if matches!(cause, Cause::Dead(_)) {
                        self.restart(seen);
                    } else {
                        self.replace(process, rollout);
                    }
                }
                // Others have to go before one more can come.
                None if running < want && !left_over && !self.has_spare(rollout) => {
                    self.stop_surplus(process, rollout);
                }
                // Surplus replicas leave the route before they stop.
                None if (running != want || left_over) && self.surplus_is_idle(process, rollout) => {
                    self.ensure(process, rollout);
                }
                // One within the number is gone, or never was, or never started, and one beyond it stands in.
                None if within < want || left_within => {
                    self.replace(process, rollout);
                }
                None => {}
            }
            let asked = |s: &&Seen| s.replica.state == ReplicaState::Running && s.standing.dead.is_none();
            for seen in here.iter().copied().filter(asked).filter(|s| !s.is_ready() || process.is_watched()) {
                self.list.push(Change::Probe { replica: seen.replica.id.clone() });
            }
            if rollout != live && !self.in_time(process, &here, status) {
                return false;
            }
            if rollout == live && status.reason.is_none() {
                status.reason = unready_text(&here);
            }
        }
        all_ready
    }

    /// False when a replica of a new rollout has been unready for too long.
    fn in_time(&mut self, process: &DesiredProcess, here: &[&Seen], status: &mut EnvironmentStatus) -> bool {
        let (to_start, to_be_ready) = process.patience_millis(self.settings);
        for seen in here.iter().filter(|s| !s.is_ready()) {
            let Some(started) = seen.replica.started_at else { continue };
            let millis = if seen.standing.started { to_be_ready } else { to_start };
            // After a restart of the platform it has its time once more: it may be ready, and nobody asked it yet.
            let left = millis - self.now.since(started.max(self.observed.began));
            if left <= 0 && self.is_adopted(seen) {
                self.look_again_in(SCALE_MILLIS);
                continue;
            }
            if left <= 0 {
                self.give_up(Some(seen.replica.id.clone()), Cause::NotReady { millis }, status);
                return false;
            }
            self.look_again_in(left);
        }
        true
    }

    /// Out of the route first, then out of the way: what comes after is started in its place.
    fn restart(&mut self, seen: &Seen) {
        let linger = match seen.traffic {
            Traffic::None => 0,
            Traffic::Routed => LINGER_MILLIS,
            Traffic::Leaving { since, .. } => LINGER_MILLIS - self.now.since(since),
        };
        if linger > 0 {
            self.look_again_in(linger);
        } else {
            self.list.push(Change::Remove { replica: seen.replica.id.clone() });
        }
    }

    /// As `ensure`, but surplus replicas that are not idle yet are left alone.
    pub(super) fn replace(&mut self, process: &DesiredProcess, generation: Generation) {
        let idle = self.surplus_is_idle(process, generation);
        let highest = self.of(&process.id, generation).iter().filter(|s| s.runs()).map(|s| s.replica.ordinal).max();
        let count = if idle { process.count } else { highest.unwrap_or(0).max(process.count) };
        if !self.has_spare(generation) {
            self.stop_surplus(process, generation);
        } else if self.has_room(process, generation) {
            self.list.push(Change::Ensure { workload: process.id.clone(), generation, count });
        }
    }

    /// Those beyond the number make room for what is missing, once they are out of the route.
    fn stop_surplus(&mut self, process: &DesiredProcess, generation: Generation) {
        if generation != self.desired.status().live || !self.surplus_is_idle(process, generation) {
            return;
        }
        let beyond = self.of(&process.id, generation).into_iter();
        let beyond = beyond.filter(|s| s.runs() && s.replica.ordinal > process.count);
        self.list.extend(beyond.map(|s| Change::Stop { replica: s.replica.id.clone() }));
    }

    /// Milliseconds until the next restart of a crashed workload.
    pub(super) fn back_off(&self, workload: &WorkloadId) -> i64 {
        let Some(crashes) = self.observed.crashes.get(workload) else { return 0 };
        (crashes.pause_millis() - self.now.since(crashes.last)).max(0)
    }
}

/// Why a replica has to be replaced, if it has.
fn lost(seen: &Seen) -> Option<Cause> {
    match seen.replica.state {
        ReplicaState::Exited { code, out_of_memory, .. } => Some(Cause::Exited { code, out_of_memory }),
        _ => seen.standing.dead.map(Cause::Dead),
    }
}

fn lost_text(seen: &Seen, cause: Cause, wait: i64) -> String {
    let fault = || seen.standing.fault.as_ref().map(|(_, text)| format!(": it {text}")).unwrap_or_default();
    let how = match cause {
        Cause::Exited { out_of_memory: true, .. } => "was killed: out of memory".to_owned(),
        Cause::Exited { code, .. } => format!("exited with {code}"),
        Cause::Dead(Death::Overfull { bytes, most }) => overfull_text(bytes, most),
        Cause::Dead(Death::Late { millis }) => format!("was not ready within {} s{}", millis / 1000, fault()),
        _ => format!("fails its liveness check{}", fault()),
    };
    let then = if wait > 0 { format!("restarting in {} s", (wait + 999) / 1000) } else { "restarting".to_owned() };
    format!("{} {how}; {then}", seen.replica.workload.process)
}

/// What is said of live replicas that their readiness check takes out of the route, or would.
fn unready_text(here: &[&Seen]) -> Option<String> {
    let unready = |s: &&&Seen| s.runs() && s.standing.passed && !s.is_ready() && s.standing.dead.is_none();
    let failing: Vec<&&Seen> = here.iter().filter(unready).collect();
    let first = failing.first()?;
    let names: Vec<String> =
        failing.iter().map(|s| format!("{}.{}", s.replica.workload.process, s.replica.ordinal)).collect();
    let fault = first.standing.fault.as_ref().filter(|(kind, _)| *kind == CheckKind::Readiness);
    let fault = fault.map(|(_, text)| format!(": it {text}")).unwrap_or_default();
    let then = match (first.replica.address.is_some(), here.iter().any(|s| s.is_ready())) {
        (false, _) => "",
        (true, true) => "; out of the route until it passes",
        (true, false) => "; it keeps its route, as no other replica is ready",
    };
    Some(format!("{} fails its readiness check{fault}{then}", names.join(", ")))
}
