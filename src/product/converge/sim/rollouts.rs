//! What must hold while one rollout takes the place of another: who may have requests and how many of them, how many
//! replicas there may be, and who has a volume.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::place::Place;
use super::world::World;
use crate::base::model::{EnvironmentStatus, Generation, Replica, ReplicaState, Strategy, WorkloadSpec};
use crate::machinery::proxy::{Target, Upstream};

/// Calls that were under way when the numbers changed, or Hythe was started, have ended after this.
const UNDER_WAY: i64 = 30_000;
/// Requests that say something of a share.
const ENOUGH: u64 = 200;

/// Who serves an app, by what a look came to.
pub struct Serving<'a> {
    /// This life of Hythe has just begun, and may not know what the one before it did last.
    pub is_new: bool,
    pub place: &'a Place,
    pub status: &'a EnvironmentStatus,
    pub replicas: &'a [Replica],
}

impl Serving<'_> {
    /// Replicas of a release receive requests only while it is live, watched over by the one before, a canary with its part, or
    /// rolled out replica by replica.
    pub fn fault(&self, target: &Target) -> Option<String> {
        let (spec, before) = (&self.place.environment.spec, &self.place.environment.status);
        let usual = self.rollouts(&target.upstreams);
        let part = target.canary.as_ref().map(|canary| self.rollouts(&canary.upstreams)).unwrap_or_default();
        let mixes = mixes(self.place, self.status);
        let canary = self.status.canary.as_ref().or(before.canary.as_ref());
        let mut live = BTreeSet::from([self.status.live]);
        live.extend(before.watch.as_ref().map(|watch| watch.previous));
        if mixes {
            live.extend([spec.rollout, before.live]);
            live.extend(before.beside.iter().chain(&self.status.beside));
        }
        live.extend(self.is_new.then_some(spec.rollout));
        // None of the live one is ready: all to the canary.
        live.extend(canary.filter(|_| part.is_empty()).map(|canary| canary.rollout));
        if !usual.is_subset(&live) {
            return Some(format!("rollouts {usual:?} serve, and {live:?} may"));
        }
        if usual.len() > 1 && !mixes {
            return Some(format!("rollouts {usual:?} serve at once"));
        }
        let off = |rollout: &Generation| self.place.called_off.contains(rollout);
        if !mixes && (usual.iter().any(|rollout| off(rollout) && *rollout != before.live) || part.iter().any(off)) {
            return Some(format!("a rollout that was called off serves: {usual:?}, {part:?}"));
        }
        let share = target.canary.as_ref()?;
        let Some(canary) = canary else { return Some(format!("{part:?} have a part, and nothing is a canary")) };
        let Strategy::Canary { steps, .. } = &spec.strategy else { return Some("a canary of another strategy".into()) };
        let percent = steps.get(canary.step as usize);
        if part != BTreeSet::from([canary.rollout]) || usual != BTreeSet::from([self.status.live]) {
            return Some(format!("{part:?} have a part of the requests of {usual:?}"));
        }
        (percent != Some(&share.percent)).then(|| format!("{} % go to the canary at {canary:?}", share.percent))
    }

    fn rollouts(&self, upstreams: &[Arc<Upstream>]) -> BTreeSet<Generation> {
        let of = |u: &Arc<Upstream>| self.replicas.iter().find(|r| r.id == u.replica()).map(|r| r.generation);
        upstreams.iter().filter_map(of).collect()
    }
}

/// Replicas of two rollouts may serve together.
fn mixes(place: &Place, status: &EnvironmentStatus) -> bool {
    let (spec, before) = (&place.environment.spec, &place.environment.status);
    let rolls = spec.strategy == Strategy::Rolling && !place.is_exclusive();
    let beside = !before.beside.is_empty() || !status.beside.is_empty();
    !spec.stopped && before.live != Generation::default() && (rolls || beside)
}

impl World {
    /// One was made of `made`: while a rollout goes replica by replica, there is never more than one too many.
    pub fn check_one_more(&mut self, made: &WorkloadSpec) {
        let Some(place) = self.places.iter().find(|p| p.exists && p.environment.id == made.id.environment) else {
            return;
        };
        let (spec, status) = (&place.environment.spec, &place.environment.status);
        let goes = spec.rollout != status.live || !status.beside.is_empty();
        let since = place.numbers_since.max(place.rolls_since).max(self.boots.last().copied().unwrap_or(0));
        if !goes || !mixes(place, status) || spec.strategy != Strategy::Rolling || self.now - since < UNDER_WAY {
            return;
        }
        let desired = place.desired();
        let asked = |processes: Vec<crate::product::converge::desired::DesiredProcess>| {
            let most = |p: &crate::product::converge::desired::DesiredProcess| {
                spec.scaling.get(&p.id.process).map_or(p.count, |scaling| scaling.max)
            };
            processes.iter().map(most).sum::<u32>() as usize
        };
        let wanted = asked(desired.processes()).max(asked(desired.live_processes(&status.scaled)));
        let runs = |r: &Replica| !matches!(r.state, ReplicaState::Exited { .. } | ReplicaState::Stranded);
        let here = self.engine.ours().filter(|b| b.replica.workload.environment == made.id.environment);
        let here: Vec<&Replica> = here.map(|b| &b.replica).filter(|r| runs(r)).collect();
        let others = here.iter().filter(|r| r.generation != made.generation).count();
        // Nothing is side by side: what is beyond the number stands in for what is not there yet.
        if others > 0 && here.len() > wanted.max(others) + 1 {
            let number = place.number;
            let names: Vec<String> =
                here.iter().map(|r| format!("{} {}.{}", r.generation, r.workload.process, r.ordinal)).collect();
            self.broken(format!("app {number}: {} replicas where {wanted} are asked for: {names:?}", here.len()));
        }
    }

    /// One was started: what it has to itself nobody else has.
    pub fn check_alone(&mut self, id: &str) {
        let Some(body) = self.engine.bodies.get(id).filter(|b| b.is_running()) else { return };
        let has = |r: &Replica| r.volumes.iter().any(|volume| body.replica.volumes.contains(volume));
        let ended = |r: &Replica| matches!(r.state, ReplicaState::Exited { .. } | ReplicaState::Starting);
        let other = self.engine.ours().find(|b| b.replica.id != id && has(&b.replica) && !ended(&b.replica));
        if let Some(fault) = other.map(|other| {
            format!("{id} was started beside {}, and both have the volume to themselves", other.replica.id)
        }) {
            self.broken(fault);
        }
    }

    /// Over all of a history, the canary had the part of the requests that its steps say.
    pub fn check_shares(&mut self) {
        let shares = self.shares.clone();
        for ((place, percent), (all, given)) in shares.into_iter().filter(|(_, (all, _))| *all >= ENOUGH) {
            let (all, given, p) = (all as f64, given as f64, f64::from(percent) / 100.0);
            // Six standard deviations: not once in a hundred million histories.
            if (given - all * p).abs() > 6.0 * (all * p * (1.0 - p)).sqrt() + 1.0 {
                self.broken(format!("app {place}: of {all} requests the canary was given {given} at {percent} %"));
            }
        }
    }
}
