//! What people asked for, read from the store: the left side of every comparison.

use std::collections::{BTreeMap, HashMap};

use crate::base::access::Scope;
use crate::base::config;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Check, CheckKind, Checks, DomainName, Environment, EnvironmentStatus, Formation, Generation, HealthCheck,
    Https, ProcessName, Processes, Protocol, Release, ReleaseId, Rule, Scaling, Scalings, Strategy, Traffic, VolumeId,
    WorkloadId, overlaid,
};
use crate::product::builds;
use crate::state::store::{self, Tx};

/// One environment with all that its planning needs.
#[derive(Debug, Clone)]
pub struct Desired {
    pub environment: Environment,
    pub app: App,
    /// The release of `spec`; none when nothing shall run.
    pub release: Option<Release>,
    /// The release that is live, where it is another one.
    pub live: Option<Release>,
    pub hosts: Vec<DomainName>,
}

/// One process type that shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredProcess {
    pub id: WorkloadId,
    pub count: u32,
    /// At least one of startup or readiness.
    pub checks: Vec<HealthCheck>,
    pub has_port: bool,
    /// Volumes that it must have to itself: it starts when nobody else has them any more.
    pub alone: Vec<VolumeId>,
}

impl DesiredProcess {
    /// Whether a replica is asked on after it was ready once.
    pub fn is_watched(&self) -> bool {
        self.checks.iter().any(|check| check.kind != CheckKind::Startup)
    }

    /// How long a new replica may take until it has started and, from then on, until it is ready.
    pub fn patience_millis(&self, settings: &Settings) -> (i64, i64) {
        let own = self.checks.iter().filter(|c| c.kind == CheckKind::Startup && *c != &default_check(&self.id.process));
        let startup = own.map(HealthCheck::budget_millis).max().unwrap_or(0);
        let delay = self.checks.iter().map(|c| c.delay_millis).max().unwrap_or(0);
        let to_start = if startup == 0 { settings.ready_millis } else { startup };
        (to_start, startup + delay + settings.ready_millis)
    }
}

/// How long a process without a port must run to count as ready.
const ALIVE_MILLIS: i64 = 1000;

impl Desired {
    /// `known` are the releases of the look before: nothing of them that is asked here ever changes.
    pub async fn all(tx: &mut Tx, known: &mut HashMap<ReleaseId, Release>) -> Result<Vec<Self>> {
        let mut before = std::mem::take(known);
        let mut hosts: BTreeMap<_, Vec<DomainName>> = BTreeMap::new();
        for route in store::routes::all(tx).await? {
            hosts.entry(route.environment_id).or_default().push(route.host);
        }
        let mut all = Vec::new();
        for (environment, app) in store::environments::all(tx).await? {
            let (asked, lives) = (environment.spec.release.as_ref(), environment.status.live_release.as_ref());
            for id in asked.into_iter().chain(lives) {
                if !known.contains_key(id) {
                    let release = match before.remove(id) {
                        Some(release) => release,
                        None => self::release(tx, id).await?,
                    };
                    known.insert(id.clone(), release);
                }
            }
            let release = asked.and_then(|id| known.get(id)).cloned();
            let live = lives.filter(|id| asked != Some(id)).and_then(|id| known.get(id)).cloned();
            let hosts = hosts.remove(&environment.id).unwrap_or_default();
            all.push(Self { environment, app, release, live, hosts });
        }
        Ok(all)
    }

    pub fn rollout(&self) -> Generation {
        self.environment.spec.rollout
    }

    pub fn status(&self) -> &EnvironmentStatus {
        &self.environment.status
    }

    /// The process types that shall run, those with a count of 0 included.
    pub fn processes(&self) -> Vec<DesiredProcess> {
        self.processes_with(&self.environment.status.scaled)
    }

    /// `scaled`: numbers that the platform chose.
    pub fn processes_with(&self, scaled: &BTreeMap<ProcessName, u32>) -> Vec<DesiredProcess> {
        let Some(release) = &self.release else { return Vec::new() };
        let spec = &self.environment.spec;
        self.processes_of(release, (&spec.formation, &spec.scaling), &spec.checks, scaled)
    }

    /// The release of a rollout, if it is the desired one or the one that is live.
    pub fn release_of(&self, rollout: Generation) -> Option<&Release> {
        match &self.release {
            Some(release) if rollout == self.rollout() => Some(release),
            _ => self.live_release().filter(|_| rollout == self.status().live),
        }
    }

    /// What people set, and where that is silent, what the release that answers says.
    pub fn https(&self) -> Https {
        let release = self.live_release().or(self.release.as_ref());
        self.environment.spec.https.over(release.map(|release| release.manifest.https).unwrap_or_default())
    }

    /// As `https`, rule by rule.
    pub fn traffic(&self) -> Traffic {
        let (release, spec) = (self.live_release().or(self.release.as_ref()), &self.environment.spec.traffic);
        release.map_or_else(|| spec.over(&Traffic::default()), |release| spec.over(&release.manifest.traffic))
    }

    /// What a replica of the rollout speaks; None: its release is none of those that are known here.
    pub fn protocol(&self, rollout: Generation) -> Option<Protocol> {
        let traffic = &self.environment.spec.traffic;
        let set = traffic.protocol.or_else(|| traffic.without.contains(&Rule::Protocol).then(Protocol::default));
        set.or_else(|| self.release_of(rollout).map(|release| release.manifest.protocol))
    }

    /// Within which bounds the platform counts: as is desired, and, where that is silent, as what is live has it.
    pub fn scaling(&self) -> BTreeMap<&ProcessName, &Scaling> {
        let live = self.live.iter().flat_map(|release| &release.scaling);
        live.chain(&self.environment.spec.scaling).collect()
    }

    /// Those of the rollout that is live while the desired one is another, as its own release has them.
    pub fn live_processes(&self, scaled: &BTreeMap<ProcessName, u32>) -> Vec<DesiredProcess> {
        match self.live_release() {
            Some(release) => {
                self.processes_of(release, (&release.formation, &release.scaling), &release.checks, scaled)
            }
            None => Vec::new(),
        }
    }

    /// A restart is another rollout of the same release.
    pub fn live_release(&self) -> Option<&Release> {
        let same = self.status().live_release == self.environment.spec.release;
        self.live.as_ref().or(self.release.as_ref().filter(|_| same))
    }

    fn processes_of(
        &self,
        release: &Release,
        (formation, bounds): (&Formation, &Scalings),
        checks: &Checks,
        scaled: &BTreeMap<ProcessName, u32>,
    ) -> Vec<DesiredProcess> {
        let stopped = self.environment.spec.stopped;
        let mut checks = overlaid(&release.manifest.healthchecks, checks);
        counts(&release.processes, formation)
            .into_iter()
            .map(|(process, count)| {
                let alone: Vec<_> = alone(release, &process);
                let chosen = scaled.get(&process).filter(|_| bounds.contains_key(&process));
                let count = chosen.copied().unwrap_or(count);
                // Verbs refuse more; two would harm what both write to.
                let count = if alone.is_empty() { count } else { count.min(1) };
                let mut checks = checks.remove(&process).unwrap_or_default();
                if checks.iter().all(|check| check.kind == CheckKind::Liveness) {
                    checks.push(default_check(&process));
                }
                checks.iter_mut().for_each(|check| launched(check, release));
                let has_port = process.as_str() == "web";
                let id = WorkloadId { environment: self.environment.id.clone(), process };
                DesiredProcess { id, count: if stopped { 0 } else { count }, checks, has_port, alone }
            })
            .collect()
    }
}

/// What a check runs has the environment of what it looks at.
fn launched(check: &mut HealthCheck, release: &Release) {
    if let Check::Command { command } = &mut check.check {
        *command = builds::launched(command, &release.processes);
    }
}

fn alone(release: &Release, process: &ProcessName) -> Vec<VolumeId> {
    let here = release.mounts.get(process).into_iter().flatten();
    here.filter(|mount| !mount.shared).map(|mount| mount.id.clone()).collect()
}

/// The gate of a process type that nobody said anything of.
pub fn default_check(process: &ProcessName) -> HealthCheck {
    let check = if process.as_str() == "web" { Check::Tcp } else { Check::Alive { millis: ALIVE_MILLIS } };
    HealthCheck::new(CheckKind::Startup, check)
}

/// Upper bound of the time from the writing of a release as desired to the end of its rollout, its watch included.
pub fn patience_millis(environment: &Environment, app: &App, release: &Release, runtime: &config::Runtime) -> i64 {
    let (environment, app, release) = (environment.clone(), app.clone(), Some(release.clone()));
    let desired = Desired { environment, app, release, live: None, hosts: Vec::new() };
    let spec = &desired.environment.spec;
    let settings = Settings::from(runtime);
    let processes = desired.processes();
    let ready = processes.iter().map(|p| p.patience_millis(&settings).1).max().unwrap_or(0).max(settings.ready_millis);
    let turns = match spec.strategy_now() {
        Strategy::BlueGreen => 1,
        // One after the other, and each has to make room for the next.
        Strategy::Rolling => processes.iter().map(|p| i64::from(p.count)).sum::<i64>().max(1),
        // How long a step holds is counted by nobody who waits for the rollout.
        Strategy::Canary { .. } => 1,
    };
    // The one before drains and stops first, and then the new one starts.
    let makes_room = turns > 1 || processes.iter().any(|p| !p.alone.is_empty());
    let room = if makes_room { settings.grace_millis * 2 } else { 0 };
    turns * (ready + room) + i64::from(spec.watch_seconds) * 1000
}

/// Replicas per process type: what the formation says, else one `web` and none of the others.
/// `release` is a command of the deployment and never scaled.
pub fn counts(processes: &Processes, formation: &Formation) -> BTreeMap<ProcessName, u32> {
    processes
        .keys()
        .filter(|name| name.as_str() != "release")
        .map(|name| (name.clone(), formation.get(name).copied().unwrap_or(u32::from(name.as_str() == "web"))))
        .collect()
}

async fn release(tx: &mut Tx, id: &ReleaseId) -> Result<Release> {
    store::releases::find(tx, &Scope::Platform, id).await?.ok_or_else(|| Error::not_found(format!("release {id}")))
}

/// Bounds that the planner needs.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub ready_millis: i64,
    pub grace_millis: i64,
}

impl From<&config::Runtime> for Settings {
    fn from(runtime: &config::Runtime) -> Self {
        Self {
            ready_millis: i64::from(runtime.ready_seconds) * 1000,
            grace_millis: i64::from(runtime.grace_seconds) * 1000,
        }
    }
}
