//! The jobs that work what people asked for: the steps of a deployment as far as they write a spec and wait.

use super::place::{Deploy, Stage, process, volume};
use super::world::World;
use crate::base::config;
use crate::base::model::{EnvironmentState, Generation, Guidance, Mounts, ReleaseKind};
use crate::product::converge::desired::patience_millis;

/// Of the step that waits, beyond what replicas have: for an engine that answers slowly.
const BEYOND_READY: i64 = 30_000;

impl World {
    pub fn enqueue(&mut self, place: usize, job: Deploy) {
        self.places[place].jobs.push_back(job);
        if self.places[place].jobs.len() == 1 {
            self.work_in(place, 1, 1_500);
        }
    }

    /// The runner comes to the head of the queue, or the time of its step is over.
    pub fn work(&mut self, place: usize) {
        let Some(job) = self.places[place].jobs.front().copied().filter(|_| self.platform.is_some()) else { return };
        match job.at {
            Stage::Build => {
                let of = &mut self.places[place];
                let mut spec = of.environment.spec.clone();
                match job.mounts {
                    Some(true) => spec.mounts = Mounts::from([(process("web"), vec![volume(of.number)])]),
                    Some(false) => spec.mounts.clear(),
                    None => {}
                }
                let made = of.make(job.nature, ReleaseKind::Rollout, &spec);
                if let Some(back) = job.restores {
                    of.releases[made].0.formation = of.releases[back].0.formation.clone();
                    of.releases[made].0.checks = of.releases[back].0.checks.clone();
                    of.releases[made].0.scaling = of.releases[back].0.scaling.clone();
                    of.releases[made].0.mounts = of.releases[back].0.mounts.clone();
                }
                let head = of.jobs.front_mut().expect("the head");
                (head.release, head.at) = (Some(made), Stage::Rollout);
                self.begin(place);
            }
            Stage::Rollout => self.deploy_failed(place, "no engine"),
            Stage::After if self.dice.one_in(15) => {
                self.deploy_failed(place, "its last step failed");
                // As `rollout::withdraw`: live already, it goes back to the last good one.
                let of = &self.places[place];
                let asked = of.environment.spec.release.clone();
                if job.release.map(|made| &of.releases[made].0.id) == asked.as_ref()
                    && let Some(good) = of.good.last().copied()
                {
                    self.ask_for(place, good, true);
                }
            }
            Stage::After => {
                self.places[place].good.extend(job.release);
                self.next_job(place);
            }
        }
    }

    /// The step that waits; again from the beginning after a crash.
    pub fn begin(&mut self, place: usize) {
        let job = self.places[place].jobs.front().copied().expect("the head");
        let made = job.release.expect("a release");
        if self.places[place].environment.spec.release.as_ref() != Some(&self.places[place].releases[made].0.id) {
            self.ask_for(place, made, job.restores.is_some() || job.mounts.is_some());
        }
        self.wait_on(place, made);
    }

    /// The patience of the step: ready, watch, and what the engine may take beyond.
    fn wait_on(&mut self, place: usize, release: usize) {
        let of = &self.places[place];
        let runtime = config::Runtime { ready_seconds: 10, grace_seconds: 5, ..config::Runtime::default() };
        let millis = patience_millis(&of.environment, &of.app, &of.releases[release].0, &runtime) + BEYOND_READY;
        self.work_in(place, millis, millis);
    }

    fn ask_for(&mut self, place: usize, release: usize, restores: bool) {
        let of = &self.places[place];
        let release = &of.releases[release].0;
        let mut spec = of.environment.spec.clone();
        spec.release = Some(release.id.clone());
        spec.rollout = Generation(of.environment.generation + 1);
        spec.mounts.clone_from(&release.mounts);
        let (rollout, steps) = (spec.rollout, u32::MAX);
        spec.guidance = restores.then_some(Guidance { rollout, steps, aborted: false });
        if restores {
            spec.formation.clone_from(&release.formation);
            spec.scaling.clone_from(&release.scaling);
            spec.checks.clone_from(&release.checks);
        }
        for (process, count) in &release.formation {
            spec.formation.entry(process.clone()).or_insert(*count);
        }
        self.write_spec(place, spec);
    }

    /// As `rollout::wait`, after each tick of the converger.
    pub fn follow(&mut self, place: usize) {
        let of = &self.places[place];
        let Some(job) = of.jobs.front().copied().filter(|job| job.at == Stage::Rollout) else { return };
        let environment = &of.environment;
        let wanted = job.release.map(|made| &of.releases[made].0.id);
        if environment.spec.release.as_ref() != wanted {
            return self.deploy_failed(place, "superseded");
        }
        if environment.status.observed_generation != environment.generation {
            return;
        }
        match environment.status.state {
            EnvironmentState::Live | EnvironmentState::Stopped | EnvironmentState::Asleep
                if environment.status.live == environment.spec.rollout =>
            {
                self.places[place].jobs.front_mut().expect("the head").at = Stage::After;
                self.work_in(place, 10, 500);
            }
            EnvironmentState::Blocked => self.deploy_failed(place, "blocked"),
            // People may take their time.
            EnvironmentState::Holding => self.wait_on(place, job.release.expect("a release")),
            _ => {}
        }
    }

    fn deploy_failed(&mut self, place: usize, why: &str) {
        self.note(format!("app {place}: deployment failed: {why}"));
        let of = &self.places[place];
        let made = of.jobs.front().and_then(|job| job.release).map(|made| of.releases[made].0.id.clone());
        let environment = &of.environment;
        // As `rollout::revert`.
        if environment.spec.release == made && environment.status.live_release != made {
            let mut spec = environment.spec.clone();
            spec.release.clone_from(&environment.status.live_release);
            spec.rollout = environment.status.live;
            if let Some((live, _)) = spec.release.as_ref().and_then(|id| of.release(id)) {
                (spec.formation, spec.checks) = (live.formation.clone(), live.checks.clone());
                spec.mounts.clone_from(&live.mounts);
                spec.scaling.clone_from(&live.scaling);
            }
            self.write_spec(place, spec);
        }
        self.next_job(place);
    }

    fn next_job(&mut self, place: usize) {
        self.places[place].jobs.pop_front();
        if !self.places[place].jobs.is_empty() {
            self.work_in(place, 1, 1_500);
        }
    }
}
