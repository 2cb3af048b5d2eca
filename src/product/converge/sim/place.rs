//! What the store has of an app: its spec and its status, its releases, the deployments in its queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::script::Nature;
use crate::base::clock::Timestamp;
use crate::base::model::{
    App, DomainName, Environment, EnvironmentSpec, EnvironmentState, EnvironmentStatus, Generation, Id, Manifest,
    Mount, Process, ProcessName, Release, ReleaseId, ReleaseKind,
};
use crate::product::converge::desired::Desired;

/// One app with its one environment, as the store has it.
pub struct Place {
    pub number: usize,
    pub app: App,
    pub host: DomainName,
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
    /// When the numbers of replicas were last changed by anybody.
    pub numbers_since: i64,
    /// When another way of taking over was last asked for, or another rollout before the one under way was live.
    pub rolls_since: i64,
    /// Rollouts that somebody ended, and that were not live when the converger read so.
    pub called_off: BTreeSet<Generation>,
}

/// A deployment on its way.
#[derive(Clone, Copy)]
pub struct Deploy {
    pub nature: Nature,
    pub restores: Option<usize>,
    pub release: Option<usize>,
    /// The volume of `web` comes or goes with it.
    pub mounts: Option<bool>,
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
            numbers_since: 0,
            rolls_since: 0,
            called_off: BTreeSet::new(),
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

    /// The volume is `web`'s alone, in the spec or in what is live.
    pub fn is_exclusive(&self) -> bool {
        let desired = self.desired();
        let live = desired.live_processes(&BTreeMap::new());
        desired.processes().iter().chain(&live).any(|process| !process.alone.is_empty())
    }

    pub fn release(&self, id: &ReleaseId) -> Option<&(Release, Nature)> {
        self.releases.iter().find(|(release, _)| release.id == *id)
    }

    pub fn make(&mut self, nature: Nature, kind: ReleaseKind, spec: &EnvironmentSpec) -> usize {
        let number = self.releases.len() + 1;
        let command = |word: &str| Process { command: vec![word.into()], working_dir: None, port: None };
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

    pub fn is_blocked(&self) -> bool {
        let (e, status) = (&self.environment, &self.environment.status);
        status.state == EnvironmentState::Blocked
            && status.observed_generation == e.generation
            && status.live != e.spec.rollout
            && status.live_release.is_some()
    }

    /// The release that settings are of.
    pub fn current(&self) -> Option<usize> {
        let environment = &self.environment;
        let id = match self.is_blocked() {
            true => environment.status.live_release.as_ref(),
            false => environment.spec.release.as_ref(),
        };
        self.releases.iter().position(|(release, _)| Some(&release.id) == id)
    }

    pub fn is_rolling_out(&self) -> bool {
        self.jobs.front().is_some_and(|job| job.release.is_some())
    }
}

/// The volume of an app, which its `web` has to itself.
pub fn volume(number: usize) -> Mount {
    Mount {
        volume: "store".parse().expect("a name"),
        id: id(number),
        path: "/data".parse().expect("a path"),
        shared: false,
    }
}

impl Deploy {
    pub fn of(nature: Nature) -> Self {
        Self { nature, restores: None, release: None, mounts: None, at: Stage::Build }
    }
}
