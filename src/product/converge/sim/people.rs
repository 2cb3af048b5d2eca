//! What people ask for, and the jobs that work it: the verbs of `deploy` and `apps` as far as they write a spec.

use std::collections::{BTreeMap, VecDeque};

use super::script::Nature;
use super::world::World;
use crate::base::clock::Timestamp;
use crate::base::model::{
    App, Check, CheckKind, Checks, Environment, EnvironmentSpec, EnvironmentState, EnvironmentStatus, Formation,
    Generation, HealthCheck, Host, Id, Manifest, Process, ProcessName, Release, ReleaseId, ReleaseKind, Scaling,
};
use crate::product::converge::desired::Desired;

/// One app with its one environment, as the store has it.
pub struct Place {
    pub number: usize,
    pub app: App,
    pub host: Host,
    pub exists: bool,
    pub environment: Environment,
    pub releases: Vec<(Release, Nature)>,
    /// Places in `releases` of those that a deployment brought live, oldest first.
    pub good: Vec<usize>,
    /// Of one app one after the other.
    pub jobs: VecDeque<Deploy>,
    /// When the runner comes to the first of them next, or its step runs out of patience.
    pub work_at: Option<i64>,
    /// Since when the spec asks for it to run.
    pub asked_since: i64,
}

/// A deployment on its way.
#[derive(Clone, Copy)]
pub struct Deploy {
    pub nature: Nature,
    pub restores: Option<usize>,
    pub release: Option<usize>,
    pub at: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Build,
    Rollout,
    After,
}

pub fn process(text: &str) -> ProcessName {
    text.parse().expect("a process name")
}

/// Ids of a history are counted, so that they are the same in each run of it.
pub fn id<T: Id>(number: usize) -> T {
    format!("{}_{number:032x}", T::PREFIX).parse().unwrap_or_else(|_| unreachable!("an id"))
}

impl Place {
    pub fn new(number: usize) -> Self {
        let app = App {
            id: id(number),
            organization_id: id(number),
            space_id: id(number),
            name: format!("app{number}").parse().expect("a name"),
            created_at: Timestamp(0),
        };
        let environment = Environment {
            id: id(number),
            app_id: app.id.clone(),
            name: "production".parse().expect("a name"),
            branch: "main".parse().expect("a branch"),
            spec: EnvironmentSpec::default(),
            generation: 1,
            status: EnvironmentStatus::default(),
            created_at: Timestamp(0),
        };
        Self {
            number,
            app,
            host: format!("app{number}.localhost").parse().expect("a host"),
            exists: true,
            environment,
            releases: Vec::new(),
            good: Vec::new(),
            jobs: VecDeque::new(),
            work_at: None,
            asked_since: 0,
        }
    }

    pub fn desired(&self) -> Desired {
        let (spec, status) = (&self.environment.spec, &self.environment.status);
        let find = |id: &ReleaseId| self.release(id).map(|(release, _)| release.clone());
        let other = status.live_release.as_ref().filter(|id| spec.release.as_ref() != Some(id));
        Desired {
            environment: self.environment.clone(),
            app: self.app.clone(),
            release: spec.release.as_ref().and_then(find),
            live: other.and_then(find),
            hosts: vec![self.host.clone()],
        }
    }

    pub fn release(&self, id: &ReleaseId) -> Option<&(Release, Nature)> {
        self.releases.iter().find(|(release, _)| release.id == *id)
    }

    fn make(&mut self, nature: Nature, kind: ReleaseKind, spec: &EnvironmentSpec) -> usize {
        let number = self.releases.len() + 1;
        let command = |word: &str| Process { command: vec![word.into()], working_dir: None };
        let release = Release {
            id: id(self.number * 10_000 + number),
            environment_id: self.environment.id.clone(),
            number: i64::try_from(number).unwrap_or(0),
            build_id: None,
            commit: None,
            image: format!("sha256:{}", "a".repeat(64)).parse().expect("a digest"),
            processes: BTreeMap::from([(process("web"), command("web")), (process("worker"), command("worker"))]),
            variables_version: 0,
            formation: spec.formation.clone(),
            hosts: Vec::new(),
            manifest: Manifest::default(),
            checks: spec.checks.clone(),
            scaling: spec.scaling.clone(),
            sizes: spec.sizes.clone(),
            mounts: spec.mounts.clone(),
            kind,
            description: String::new(),
            created_by: None,
            created_at: Timestamp(0),
            image_gone_at: None,
        };
        self.releases.push((release, nature));
        number - 1
    }

    fn is_blocked(&self) -> bool {
        let (e, status) = (&self.environment, &self.environment.status);
        status.state == EnvironmentState::Blocked
            && status.observed_generation == e.generation
            && status.live != e.spec.rollout
            && status.live_release.is_some()
    }

    /// The release that settings are of.
    fn current(&self) -> Option<usize> {
        let environment = &self.environment;
        let id = match self.is_blocked() {
            true => environment.status.live_release.as_ref(),
            false => environment.spec.release.as_ref(),
        };
        self.releases.iter().position(|(release, _)| Some(&release.id) == id)
    }

    fn is_rolling_out(&self) -> bool {
        self.jobs.front().is_some_and(|job| job.release.is_some())
    }
}

impl World {
    pub fn write_spec(&mut self, place: usize, spec: EnvironmentSpec) {
        let now = self.now;
        let of = &mut self.places[place];
        if (of.environment.spec.stopped, &of.environment.spec.release) != (spec.stopped, &spec.release) {
            of.asked_since = now;
        }
        of.environment.spec = spec;
        of.environment.generation += 1;
        let (generation, rollout) = (of.environment.generation, of.environment.spec.rollout);
        self.note(format!("app {place}: spec {generation}, rollout {rollout}"));
        self.wake();
    }

    /// As `deploy::settings::settle`: a change that starts no rollout.
    fn settle(&mut self, place: usize, change: impl FnOnce(&mut EnvironmentSpec)) {
        let of = &mut self.places[place];
        let mut spec = of.environment.spec.clone();
        change(&mut spec);
        if spec == of.environment.spec || of.is_rolling_out() {
            return;
        }
        if let Some(current) = of.current() {
            if of.is_blocked() {
                spec.rollout = of.environment.status.live;
            }
            let nature = of.releases[current].1;
            let made = of.make(nature, ReleaseKind::Settings, &spec);
            spec.release = Some(of.releases[made].0.id.clone());
        }
        self.write_spec(place, spec);
    }

    pub fn scale(&mut self, place: usize, web: u32, worker: u32) {
        if self.places[place].environment.spec.scaling.is_empty() {
            self.settle(place, |spec| {
                spec.formation = Formation::from([(process("web"), web), (process("worker"), worker)]);
            });
        }
    }

    pub fn autoscale(&mut self, place: usize, bounds: Option<(u32, u32)>) {
        let mut spec = self.places[place].environment.spec.clone();
        spec.scaling.clear();
        if let Some((min, max)) = bounds {
            spec.scaling.insert(
                process("web"),
                Scaling {
                    min,
                    max,
                    in_flight: 2,
                    idle_seconds: 5,
                    cpu_percent: None,
                    memory_percent: None,
                    latency_millis: None,
                },
            );
        }
        if spec != self.places[place].environment.spec {
            self.write_spec(place, spec);
        }
    }

    pub fn check(&mut self, place: usize, on: bool) {
        let check =
            |kind| HealthCheck { every_millis: 1_000, attempts: 2, ..HealthCheck::new(kind, Check::http("/up")) };
        self.settle(place, |spec| {
            spec.checks = Checks::new();
            if on {
                let both = [CheckKind::Readiness, CheckKind::Liveness].map(check);
                spec.checks.insert(process("web"), both.to_vec());
            }
        });
    }

    pub fn stop(&mut self, place: usize, stopped: bool) {
        let mut spec = self.places[place].environment.spec.clone();
        if spec.stopped != stopped {
            spec.stopped = stopped;
            self.write_spec(place, spec);
        }
    }

    pub fn watch_for(&mut self, place: usize, seconds: u32) {
        let mut spec = self.places[place].environment.spec.clone();
        if spec.watch_seconds != seconds {
            spec.watch_seconds = seconds;
            self.write_spec(place, spec);
        }
    }

    pub fn restart(&mut self, place: usize) {
        let of = &self.places[place];
        let Some(current) = of.current().filter(|_| !of.is_rolling_out()) else { return };
        let mut spec = of.environment.spec.clone();
        spec.release = Some(of.releases[current].0.id.clone());
        spec.rollout = Generation(of.environment.generation + 1);
        self.write_spec(place, spec);
    }

    pub fn push(&mut self, place: usize, nature: Nature) {
        self.enqueue(place, Deploy { nature, restores: None, release: None, at: Stage::Build });
    }

    pub fn rollback(&mut self, place: usize) {
        let good = self.places[place].good.clone();
        if !good.is_empty() {
            let back = self.dice.pick(&good);
            let nature = self.places[place].releases[back].1;
            self.enqueue(place, Deploy { nature, restores: Some(back), release: None, at: Stage::Build });
        }
    }

    pub fn destroy(&mut self, place: usize) {
        self.places[place].exists = false;
        self.places[place].jobs.clear();
        self.wake();
    }

    fn enqueue(&mut self, place: usize, job: Deploy) {
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
                let spec = of.environment.spec.clone();
                let made = of.make(job.nature, ReleaseKind::Rollout, &spec);
                if let Some(back) = job.restores {
                    of.releases[made].0.formation = of.releases[back].0.formation.clone();
                    of.releases[made].0.checks = of.releases[back].0.checks.clone();
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
            self.ask_for(place, made, job.restores.is_some());
        }
        // The patience of the step: ready, watch, and what the engine may take beyond.
        self.work_in(place, 70_000, 70_000);
    }

    fn ask_for(&mut self, place: usize, release: usize, restores: bool) {
        let of = &self.places[place];
        let release = &of.releases[release].0;
        let mut spec = of.environment.spec.clone();
        spec.release = Some(release.id.clone());
        spec.rollout = Generation(of.environment.generation + 1);
        if restores {
            spec.formation.clone_from(&release.formation);
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
