//! What people asked for, read from the store: the left side of every comparison.

use std::collections::BTreeMap;

use crate::base::access::Scope;
use crate::base::config;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Check, Environment, EnvironmentStatus, Formation, Generation, Host, ProcessName, Processes, Release,
    ReleaseId, WorkloadId,
};
use crate::state::store::{self, Tx};

/// One environment with all that its planning needs.
#[derive(Debug, Clone)]
pub struct Desired {
    pub environment: Environment,
    pub app: App,
    /// The release of `spec`; none when nothing shall run.
    pub release: Option<Release>,
    pub hosts: Vec<Host>,
}

/// One process type that shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredProcess {
    pub id: WorkloadId,
    pub count: u32,
    pub check: Check,
    pub has_port: bool,
}

/// How long a process without a port must run to count as ready.
const ALIVE_MILLIS: i64 = 1000;

impl Desired {
    pub async fn all(tx: &mut Tx) -> Result<Vec<Self>> {
        let mut hosts: BTreeMap<_, Vec<Host>> = BTreeMap::new();
        for route in store::routes::all(tx).await? {
            hosts.entry(route.environment_id).or_default().push(route.host);
        }
        let mut all = Vec::new();
        for (environment, app) in store::environments::all(tx).await? {
            let release = match &environment.spec.release {
                Some(id) => Some(release(tx, id).await?),
                None => None,
            };
            let hosts = hosts.remove(&environment.id).unwrap_or_default();
            all.push(Self { environment, app, release, hosts });
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
        counts(&release.processes, &spec.formation)
            .into_iter()
            .map(|(process, count)| {
                let count = scaled.get(&process).copied().unwrap_or(count);
                let has_port = process.as_str() == "web";
                let check = match &spec.check {
                    Some(check) if has_port => check.clone(),
                    _ if has_port => Check::Tcp,
                    _ => Check::Alive { millis: ALIVE_MILLIS },
                };
                let id = WorkloadId { environment: self.environment.id.clone(), process };
                DesiredProcess { id, count: if spec.stopped { 0 } else { count }, check, has_port }
            })
            .collect()
    }
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
