//! What people ask for: the verbs of `deploy` and `apps` as far as they write a spec, and refuse to.

use super::place::{Deploy, process};
use super::script::{Nature, Way};
use super::world::World;
use crate::base::model::{
    Check, CheckKind, Checks, EnvironmentSpec, EnvironmentState, Formation, Generation, Guidance, HealthCheck,
    ReleaseKind, Scaling, Strategy,
};

impl World {
    pub fn write_spec(&mut self, place: usize, spec: EnvironmentSpec) {
        let now = self.now;
        let of = &mut self.places[place];
        if (of.environment.spec.stopped, &of.environment.spec.release) != (spec.stopped, &spec.release) {
            of.asked_since = now;
        }
        if (&of.environment.spec.formation, &of.environment.spec.scaling) != (&spec.formation, &spec.scaling) {
            of.numbers_since = now;
        }
        // What the rollout before this one has under way is not called back.
        let (old, live) = (&of.environment.spec, of.environment.status.live);
        if old.strategy != spec.strategy || old.rollout != spec.rollout && old.rollout != live {
            of.rolls_since = now;
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
        let of = &self.places[place].environment.spec;
        if of.scaling.is_empty() && (of.mounts.is_empty() || web < 2) {
            self.settle(place, |spec| {
                spec.formation = Formation::from([(process("web"), web), (process("worker"), worker)]);
            });
        }
    }

    /// As `deploy::scaling::autoscale`.
    pub fn autoscale(&mut self, place: usize, bounds: Option<(u32, u32)>) {
        self.settle(place, |spec| {
            spec.scaling.clear();
            if let Some((min, max)) = bounds {
                let max = if spec.mounts.is_empty() { max.max(min) } else { 1 };
                let scaling = Scaling {
                    min: min.min(max),
                    max,
                    in_flight: 2,
                    idle_seconds: 5,
                    cpu_percent: None,
                    memory_percent: None,
                    latency_millis: None,
                };
                spec.scaling.insert(process("web"), scaling);
            }
        });
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
        let is_held = self.places[place].environment.status.canary.is_some();
        if spec.stopped != stopped && !(stopped && is_held) {
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

    pub fn take_over(&mut self, place: usize, way: Way) {
        let of = &self.places[place];
        let strategy = match way {
            Way::BlueGreen => Strategy::BlueGreen,
            Way::Rolling => Strategy::Rolling,
            Way::Canary(steps, hold_seconds) => Strategy::Canary { steps: steps.to_vec(), hold_seconds },
        };
        if !of.is_rolling_out() && of.environment.spec.strategy != strategy {
            let spec = EnvironmentSpec { strategy, ..of.environment.spec.clone() };
            self.write_spec(place, spec);
        }
    }

    /// As `deploy::guide::proceed`.
    pub fn proceed(&mut self, place: usize) {
        let (spec, status) = (&self.places[place].environment.spec, &self.places[place].environment.status);
        let off = spec.guidance.as_ref().is_some_and(|said| said.aborted && said.rollout == spec.rollout);
        let held = status.state == EnvironmentState::Holding && !off;
        let canary = status.canary.as_ref().filter(|canary| held && canary.rollout == spec.rollout);
        if let Some(said) = canary.map(|c| Guidance { rollout: c.rollout, steps: c.step + 1, aborted: false }) {
            let spec = EnvironmentSpec { guidance: Some(said), ..spec.clone() };
            self.write_spec(place, spec);
        }
    }

    /// As `deploy::guide::abort`.
    pub fn abort(&mut self, place: usize) {
        let environment = &self.places[place].environment;
        let (spec, status) = (&environment.spec, &environment.status);
        let comes = status.live != spec.rollout && spec.release.is_some();
        let given_up =
            status.state == EnvironmentState::Blocked && status.observed_generation == environment.generation;
        if given_up || !(comes || status.watch.is_some()) {
            return;
        }
        let rollout = spec.rollout;
        let steps = spec.guidance.as_ref().filter(|said| said.rollout == rollout).map_or(0, |said| said.steps);
        let guidance = Some(Guidance { rollout, steps, aborted: true });
        let spec = EnvironmentSpec { guidance, ..spec.clone() };
        self.write_spec(place, spec);
        self.note(format!("app {place}: rollout {rollout} is called off"));
    }

    pub fn mount(&mut self, place: usize, on: bool) {
        let spec = &self.places[place].environment.spec;
        let web = process("web");
        let most = spec.scaling.get(&web).map(|s| s.max).or(spec.formation.get(&web).copied()).unwrap_or(1);
        if spec.release.is_some() && on == spec.mounts.is_empty() && !(on && most > 1) {
            let of = &self.places[place];
            let nature = of.current().map_or(Nature::Good(100), |current| of.releases[current].1);
            self.deploy(place, Deploy { mounts: Some(on), ..Deploy::of(nature) });
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
        self.deploy(place, Deploy::of(nature));
    }

    pub fn rollback(&mut self, place: usize) {
        let good = self.places[place].good.clone();
        if !good.is_empty() {
            let back = self.dice.pick(&good);
            let nature = self.places[place].releases[back].1;
            self.deploy(place, Deploy { restores: Some(back), ..Deploy::of(nature) });
        }
    }

    pub fn destroy(&mut self, place: usize) {
        self.places[place].exists = false;
        self.places[place].jobs.clear();
        self.wake();
    }

    /// Behind a canary that holds nothing waits.
    fn deploy(&mut self, place: usize, job: Deploy) {
        if self.places[place].environment.status.canary.is_none() {
            self.enqueue(place, job);
        }
    }
}
