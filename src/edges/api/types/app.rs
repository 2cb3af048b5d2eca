//! Apps, environments, processes, variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{DeploymentView, HeldView, ReleaseView, SizeView};
use crate::base::model::{Check, CheckKind, Checks, EnvironmentState, ReplicaState, Scaling, VariableSet};
use crate::product::apps::{AppOverview, EnvironmentOverview, ProcessView, ReplicaView};
use crate::product::builds;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppBody {
    /// First label of its host name: a-z, 0-9 and -.
    pub name: String,
    /// The caller's default organization when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppView {
    pub id: String,
    pub name: String,
    pub organization: String,
    /// Where it answers; none when nothing routes to it.
    pub url: Option<String>,
    /// Where to push.
    pub git_url: String,
    /// The same over HTTP, with an API token as the password of any user.
    pub git_http_url: String,
    pub created_at: String,
}

impl From<&AppOverview> for AppView {
    fn from(overview: &AppOverview) -> Self {
        Self {
            id: overview.app.id.to_string(),
            name: overview.app.name.to_string(),
            organization: overview.organization.name.to_string(),
            url: overview.url.clone(),
            git_url: overview.git_url.clone(),
            git_http_url: overview.git_http_url.clone(),
            created_at: overview.app.created_at.to_string(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppDetail {
    #[serde(flatten)]
    pub app: AppView,
    pub environments: Vec<EnvironmentView>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentView {
    pub id: String,
    pub name: String,
    /// A push to this branch deploys here.
    pub branch: String,
    /// `empty`, `converging`, `live`, `watching`, `holding`, `blocked`, `stopped` or `asleep`.
    pub state: String,
    /// Why the wanted release is not live, when it is not.
    pub reason: Option<String>,
    /// The release that shall be live.
    pub wanted: Option<ReleaseView>,
    /// The release that receives traffic now.
    pub live: Option<ReleaseView>,
    /// Ready replicas per process type.
    pub ready: BTreeMap<String, u32>,
    /// Replicas wanted per process type, where it was set.
    pub formation: BTreeMap<String, u32>,
    /// Path that was set for the readiness of web; more is told by its checks.
    pub check: Option<String>,
    /// How long the release before is kept after the switch, to be brought back when the new one does worse.
    pub watch_seconds: u32,
    /// How a release takes over from the one before: `blue-green`, `rolling`, or a canary such as `canary=10,50`.
    #[serde(default)]
    pub strategy: String,
    /// After so long a step of a canary goes on by itself; none: when somebody says so.
    #[serde(default)]
    pub hold_seconds: Option<u32>,
    /// A canary that is under way.
    #[serde(default)]
    pub held: Option<HeldView>,
    pub stopped: bool,
    /// Plain HTTP is sent on to HTTPS; none: where a certificate answers that clients trust.
    #[serde(default)]
    pub redirect: Option<bool>,
    /// Clients are told for so long to come by TLS only; none: they are not told.
    #[serde(default)]
    pub hsts_seconds: Option<u32>,
    pub urls: Vec<String>,
}

impl From<&EnvironmentOverview> for EnvironmentView {
    fn from(overview: &EnvironmentOverview) -> Self {
        let environment = &overview.environment;
        let counts = |map: &BTreeMap<crate::base::model::ProcessName, u32>| {
            map.iter().map(|(name, count)| (name.to_string(), *count)).collect()
        };
        let wished = overview.live.as_ref().or(overview.wanted.as_ref()).map(|release| release.manifest.https);
        let https = environment.spec.https.over(wished.unwrap_or_default());
        Self {
            id: environment.id.to_string(),
            name: environment.name.to_string(),
            branch: environment.branch.to_string(),
            state: state(environment.status.state).to_owned(),
            reason: environment.status.reason.clone(),
            wanted: overview.wanted.as_ref().map(ReleaseView::from),
            live: overview.live.as_ref().map(ReleaseView::from),
            ready: counts(&environment.status.ready),
            formation: counts(&environment.spec.formation),
            check: web_path(&environment.spec.checks),
            watch_seconds: environment.spec.watch_seconds,
            strategy: environment.spec.strategy.to_string(),
            hold_seconds: environment.spec.strategy.hold_seconds(),
            held: HeldView::of(environment),
            stopped: environment.spec.stopped,
            redirect: https.redirect,
            hsts_seconds: https.hsts_seconds,
            urls: overview.urls.clone(),
        }
    }
}

fn web_path(checks: &Checks) -> Option<String> {
    let mut web = checks.iter().filter(|(process, _)| process.as_str() == "web").flat_map(|(_, checks)| checks);
    web.find_map(|check| match &check.check {
        Check::Http { path, .. } if check.kind == CheckKind::Readiness => Some(path.clone()),
        _ => None,
    })
}

fn state(state: EnvironmentState) -> &'static str {
    match state {
        EnvironmentState::Empty => "empty",
        EnvironmentState::Converging => "converging",
        EnvironmentState::Live => "live",
        EnvironmentState::Watching => "watching",
        EnvironmentState::Holding => "holding",
        EnvironmentState::Blocked => "blocked",
        EnvironmentState::Stopped => "stopped",
        EnvironmentState::Asleep => "asleep",
    }
}

/// What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentChangeBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The path that web is asked for its readiness, such as `/healthz`; null: none is set. Checks of all kinds have a place of their own.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub check: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
    /// 0 to 3600; 0: no watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_seconds: Option<u32>,
    /// `blue-green`, `rolling`, or rising percents of the requests: `canary=10,50`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// With a canary: seconds after which a step goes on by itself; left out: when somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u32>,
    /// Send plain HTTP on to HTTPS; null: as `app.json` says, or else where a certificate answers that clients trust.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    pub redirect: Option<Option<bool>>,
    /// `Strict-Transport-Security` over TLS, 0 to 63072000; 0 takes back what clients were told; null: as `app.json` says, or
    /// else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    pub hsts_seconds: Option<Option<u32>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnvironmentBody {
    /// Stands before the app's name in its host: a-z, 0-9 and -.
    pub name: String,
    /// A push to it deploys there; the branch of the same name when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcessItem {
    pub name: String,
    pub command: Vec<String>,
    pub wanted: u32,
    pub ready: u32,
    /// The platform chose `wanted`, within these bounds; none where people set it.
    #[serde(default)]
    pub scaling: Option<ScalingBody>,
    /// What each of its replicas may use.
    #[serde(default)]
    pub size: Option<SizeView>,
    pub replicas: Vec<ReplicaItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingBody {
    /// 0: no replica runs after `idle_seconds` without a request; the next one wakes the app.
    pub min: u32,
    pub max: u32,
    /// Requests that one replica shall have inside it at a time, on average.
    #[serde(default = "ScalingBody::in_flight")]
    pub in_flight: u32,
    #[serde(default = "ScalingBody::idle_seconds")]
    pub idle_seconds: u32,
    /// Share of its processor bound that a replica shall use on average, 1 to 100; not looked at when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// Share of its memory bound that a replica shall use on average, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u32>,
    /// Milliseconds within which 95 of 100 requests shall be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_millis: Option<u32>,
}

impl ScalingBody {
    pub const IN_FLIGHT: u32 = 20;
    pub const IDLE_SECONDS: u32 = 900;

    fn in_flight() -> u32 {
        Self::IN_FLIGHT
    }

    fn idle_seconds() -> u32 {
        Self::IDLE_SECONDS
    }
}

impl From<ScalingBody> for Scaling {
    fn from(body: ScalingBody) -> Self {
        let ScalingBody { min, max, in_flight, idle_seconds, cpu_percent, memory_percent, latency_millis } = body;
        Self { min, max, in_flight, idle_seconds, cpu_percent, memory_percent, latency_millis }
    }
}

impl From<&Scaling> for ScalingBody {
    fn from(scaling: &Scaling) -> Self {
        let Scaling { min, max, in_flight, idle_seconds, cpu_percent, memory_percent, latency_millis } = *scaling;
        Self { min, max, in_flight, idle_seconds, cpu_percent, memory_percent, latency_millis }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplicaItem {
    /// `web.1`
    pub name: String,
    /// Number of the release it runs.
    pub release: Option<i64>,
    /// `starting`, `running`, `stranded` (frozen or off its network) or `exited`.
    pub state: String,
    pub ready: bool,
    /// Which check it does not pass, when it runs and is not ready.
    #[serde(default)]
    pub fault: Option<String>,
    pub exit_code: Option<i64>,
    pub out_of_memory: bool,
    pub started_at: Option<String>,
}

impl ReplicaItem {
    fn new((replica, release): &(ReplicaView, Option<i64>)) -> Self {
        let (state, exit_code, out_of_memory) = match &replica.state {
            ReplicaState::Starting => ("starting", None, false),
            ReplicaState::Running => ("running", None, false),
            ReplicaState::Stranded => ("stranded", None, false),
            ReplicaState::Exited { code, out_of_memory, .. } => ("exited", Some(*code), *out_of_memory),
        };
        Self {
            name: format!("{}.{}", replica.process, replica.ordinal),
            release: *release,
            state: state.to_owned(),
            ready: replica.ready,
            fault: replica.fault.clone(),
            exit_code,
            out_of_memory,
            started_at: replica.started_at.map(|t| t.to_string()),
        }
    }
}

impl ProcessItem {
    pub fn new(process: &ProcessView, replicas: &[(ReplicaView, Option<i64>)]) -> Self {
        Self {
            name: process.name.to_string(),
            command: builds::bare(&process.command).to_vec(),
            wanted: process.wanted,
            ready: process.ready,
            scaling: process.scaling.as_ref().map(ScalingBody::from),
            size: Some(SizeView::from(&process.size)),
            replicas: replicas.iter().filter(|(r, _)| r.process == process.name).map(ReplicaItem::new).collect(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VariablesView {
    /// 0 before the first write.
    pub version: i64,
    pub values: BTreeMap<String, String>,
}

impl From<&VariableSet> for VariablesView {
    /// Reveals: the verb that gave the set has asked and logged.
    fn from(set: &VariableSet) -> Self {
        let values = set.values.iter().map(|(name, value)| (name.to_string(), value.reveal().clone())).collect();
        Self { version: set.version, values }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VariablesChanged {
    pub version: i64,
    /// Brings the new values to what runs; none when nothing runs, or nothing changed.
    pub deployment: Option<DeploymentView>,
}
