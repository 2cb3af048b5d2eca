//! An app and its environments. An environment is a convergent noun: `spec` is written by people
//! (through verbs), `status` only by the converger.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    AppId, AppName, BranchName, BuildpackRef, Canary, Check, CheckKind, Checks, EnvironmentId, EnvironmentName,
    Generation, Guidance, HealthCheck, Https,
};
use super::{Mounts, Once, OrganizationId, ProcessName, ReleaseId, SizeName, SpaceId, Strategy, Traffic, VariableName};
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// Replicas wanted per process type. A type that is missing runs one replica if it is `web`, else none.
pub type Formation = BTreeMap<ProcessName, u32>;

/// What the replicas of a process type may use, by name. A type that is missing has the configuration's usual bounds.
pub type Sizes = BTreeMap<ProcessName, SizeName>;

/// Within which bounds the platform itself chooses the number of replicas of a process type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// 0: no replica runs while there are no requests; the next one wakes the app.
    pub min: u32,
    pub max: u32,
    /// Requests that one replica shall have inside it at a time, on average.
    pub in_flight: u32,
    /// With `min` 0: how long there must have been no request.
    pub idle_seconds: u32,
    /// Share of its processor bound that a replica shall use on average; none is not looked at.
    #[serde(default)]
    pub cpu_percent: Option<u32>,
    /// Share of its memory bound that a replica shall use on average.
    #[serde(default)]
    pub memory_percent: Option<u32>,
    /// The time within which 95 of 100 requests shall be answered.
    #[serde(default)]
    pub latency_millis: Option<u32>,
}

impl Scaling {
    /// Bounds and aims, for people.
    pub fn words(&self, process: &ProcessName) -> String {
        let web = process.as_str() == "web";
        let parts = [
            Some(format!("{} to {}", self.min, self.max)),
            web.then(|| format!("{} requests each", self.in_flight)),
            self.cpu_percent.map(|percent| format!("processor {percent} %")),
            self.memory_percent.map(|percent| format!("memory {percent} %")),
            self.latency_millis.map(|millis| format!("latency {millis} ms")),
            (self.min == 0).then(|| format!("asleep after {} s", self.idle_seconds)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A type that is missing has the number that the formation says.
pub type Scalings = BTreeMap<ProcessName, Scaling>;

#[derive(Debug, Clone)]
pub struct App {
    pub id: AppId,
    pub organization_id: OrganizationId,
    pub space_id: SpaceId,
    /// Unique in its organization.
    pub name: AppName,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Environment {
    pub id: EnvironmentId,
    pub app_id: AppId,
    pub name: EnvironmentName,
    /// A push to this branch deploys here.
    pub branch: BranchName,
    pub spec: EnvironmentSpec,
    /// Grows by one with every write of `spec`.
    pub generation: i64,
    pub status: EnvironmentStatus,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredSpec")]
pub struct EnvironmentSpec {
    /// The release that shall be live; none before the first deployment.
    pub release: Option<ReleaseId>,
    /// Generation of the replicas: grows when what runs inside them changes (release, restart), not with their number.
    pub rollout: Generation,
    pub formation: Formation,
    /// What people set; it takes the place of what `app.json` says, per process type and kind.
    pub checks: Checks,
    /// After the switch to a new rollout the old one is kept this long, to be brought back when the new one does worse; 0: not at all.
    pub watch_seconds: u32,
    pub stopped: bool,
    /// A process type that is here is counted by the platform and not by `formation`.
    pub scaling: Scalings,
    pub sizes: Sizes,
    pub mounts: Mounts,
    /// How the next rollout takes over from the live one.
    pub strategy: Strategy,
    /// Another strategy for one rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
    /// What people said of a rollout under way.
    pub guidance: Option<Guidance>,
    /// Which buildpacks the next builds take, whatever the tree says; none leaves it to the tree.
    pub buildpacks: Vec<BuildpackRef>,
    pub traffic: Traffic,
    /// What people set; it takes the place of what `app.json` says.
    pub https: Https,
}

/// Rows of all versions.
#[derive(Deserialize, Default)]
#[serde(default)]
struct StoredSpec {
    release: Option<ReleaseId>,
    rollout: Generation,
    formation: Formation,
    /// Before there were kinds of checks: the readiness of `web`.
    check: Option<Check>,
    checks: Checks,
    watch_seconds: u32,
    stopped: bool,
    scaling: Scalings,
    sizes: Sizes,
    mounts: Mounts,
    strategy: Strategy,
    once: Option<Once>,
    guidance: Option<Guidance>,
    buildpacks: Vec<BuildpackRef>,
    traffic: Traffic,
    https: Https,
}

impl From<StoredSpec> for EnvironmentSpec {
    fn from(stored: StoredSpec) -> Self {
        let StoredSpec { release, rollout, formation, check, mut checks, watch_seconds, stopped, scaling, .. } = stored;
        let StoredSpec { sizes, mounts, strategy, once, guidance, buildpacks, traffic, https, .. } = stored;
        if let (Some(check), Ok(web)) = (check, "web".parse()) {
            checks.entry(web).or_default().push(HealthCheck::new(CheckKind::Readiness, check));
        }
        Self {
            release,
            rollout,
            formation,
            checks,
            watch_seconds,
            stopped,
            scaling,
            sizes,
            mounts,
            strategy,
            once,
            guidance,
            buildpacks,
            traffic,
            https,
        }
    }
}

impl EnvironmentSpec {
    /// How the rollout that is asked for takes over.
    pub fn strategy_now(&self) -> &Strategy {
        let once = self.once.as_ref().filter(|once| once.rollout == self.rollout);
        once.map_or(&self.strategy, |once| &once.strategy)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentStatus {
    /// `Environment::generation` that this status answers to.
    pub observed_generation: i64,
    pub state: EnvironmentState,
    /// The rollout whose replicas receive traffic now.
    pub live: Generation,
    pub live_release: Option<ReleaseId>,
    /// Replicas that the platform chose, per process type that has a `Scaling`.
    pub scaled: BTreeMap<ProcessName, u32>,
    /// Ready replicas of the live rollout per process type.
    pub ready: BTreeMap<ProcessName, u32>,
    /// Why the desired rollout is not live, for people: cause, evidence, remedy.
    pub reason: Option<String>,
    /// The live rollout is on probation.
    pub watch: Option<Watch>,
    /// A part of the requests goes to the desired rollout, which is not live yet.
    pub canary: Option<Canary>,
    /// Rollouts of which replicas serve beside the live one's, while one replaces the other replica by replica.
    pub beside: BTreeSet<Generation>,
}

/// From the switch to a new rollout until `until` the one before can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    pub since: Timestamp,
    pub until: Timestamp,
    pub previous: Generation,
    pub previous_release: Option<ReleaseId>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentState {
    /// Nothing was ever deployed.
    #[default]
    Empty,
    /// Moving towards the spec.
    Converging,
    Live,
    /// The desired rollout receives traffic and is on probation; the one before stands by.
    Watching,
    /// A part of the requests goes to the desired rollout; it waits to be let go on. The one before is live.
    Holding,
    /// The spec cannot be reached; `reason` says why. What was live before still is.
    Blocked,
    Stopped,
    /// Live without a replica, as its scaling allows; a request wakes it.
    Asleep,
}

/// The variables of an environment at one version; a release keeps the version it was made with.
#[derive(Debug, Clone)]
pub struct VariableSet {
    pub environment_id: EnvironmentId,
    /// 0 is the empty set before the first write.
    pub version: i64,
    pub values: BTreeMap<VariableName, Secret<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_with_the_one_check_of_before_still_reads() {
        let stored = r#"{"rollout":3,"formation":{"web":2},"check":{"kind":"http","path":"/up"},"stopped":false}"#;
        let spec: EnvironmentSpec = serde_json::from_str(stored).expect("reads");
        let web: ProcessName = "web".parse().expect("name");
        assert_eq!(spec.checks[&web], [HealthCheck::new(CheckKind::Readiness, Check::http("/up"))]);
        let again: EnvironmentSpec =
            serde_json::from_str(&serde_json::to_string(&spec).expect("json")).expect("reads again");
        assert_eq!(again, spec);
        assert_eq!(serde_json::from_str::<EnvironmentSpec>("{}").expect("reads"), EnvironmentSpec::default());
    }
    #[test]
    fn a_strategy_for_once_is_for_its_rollout_alone() {
        let once = Once { rollout: Generation(4), strategy: Strategy::Rolling };
        let mut spec = EnvironmentSpec { rollout: Generation(4), once: Some(once), ..EnvironmentSpec::default() };
        assert_eq!(spec.strategy_now(), &Strategy::Rolling);
        spec.rollout = Generation(5);
        assert_eq!(spec.strategy_now(), &Strategy::BlueGreen);
    }
}
