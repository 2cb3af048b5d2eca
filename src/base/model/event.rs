//! What happened to an app: written in the transaction that made it so, or when the converger saw it. Rows are
//! never changed, so what stands here only grows, by fields with a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    AppId, BuildId, DeploymentId, DeploymentKind, EnvironmentId, EnvironmentName, EventId, ProcessName, ProofMethod,
    TenantName, UserId,
};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    pub at: Timestamp,
    pub app_id: AppId,
    /// None is about the app as a whole.
    pub environment_id: Option<EnvironmentId>,
    pub happened: Happened,
    /// What it is about, for people: `web.1`, `v42`, a deployment's id.
    pub subject: String,
    pub actor: Option<UserId>,
    pub actor_name: Option<TenantName>,
    /// The event that brought this one about, where that is known.
    pub cause: Option<EventId>,
}

/// Kind and document of an event. Names of variables only, never values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "document")]
pub enum Happened {
    #[serde(rename = "app.created")]
    AppCreated { name: String },
    #[serde(rename = "app.renamed")]
    AppRenamed { from: String, to: String },
    #[serde(rename = "variables.changed")]
    VariablesChanged { set: Vec<String>, unset: Vec<String>, version: i64 },
    /// Process to the numbers before and after.
    #[serde(rename = "scaled")]
    Scaled { numbers: BTreeMap<String, (u32, u32)> },
    /// The platform chose another number, or none any more.
    #[serde(rename = "autoscaled")]
    Autoscaled { process: ProcessName, from: u32, to: u32 },
    #[serde(rename = "restarted")]
    Restarted {},
    #[serde(rename = "stopped")]
    Stopped {},
    #[serde(rename = "started")]
    Started {},
    #[serde(rename = "environment.created")]
    EnvironmentCreated { name: EnvironmentName },
    #[serde(rename = "environment.destroyed")]
    EnvironmentDestroyed { name: EnvironmentName },
    /// Branch or check: the names of what was changed.
    #[serde(rename = "environment.changed")]
    EnvironmentChanged { what: Vec<String> },
    #[serde(rename = "deployment.started")]
    DeploymentStarted { deployment: DeploymentId, how: DeploymentKind },
    #[serde(rename = "deployment.succeeded")]
    DeploymentSucceeded { deployment: DeploymentId, release: Option<i64> },
    #[serde(rename = "deployment.failed")]
    DeploymentFailed { deployment: DeploymentId, release: Option<i64>, reason: String },
    #[serde(rename = "deployment.superseded")]
    DeploymentSuperseded { deployment: DeploymentId, release: Option<i64> },
    /// The converger was asked for replicas of another generation.
    #[serde(rename = "rollout.started")]
    RolloutStarted { release: i64, rollout: i64 },
    #[serde(rename = "replica.ready")]
    ReplicaReady(ReplicaReady),
    #[serde(rename = "replica.exited")]
    ReplicaExited(ReplicaExited),
    /// It is replaced, as its liveness check failed as often as it may.
    #[serde(rename = "replica.failed")]
    ReplicaFailed(ReplicaFailed),
    #[serde(rename = "restart.delayed")]
    RestartDelayed { process: ProcessName, rollout: i64, crashes: u32, until: Timestamp },
    #[serde(rename = "route.published")]
    RoutePublished(Routed),
    #[serde(rename = "route.withdrawn")]
    RouteWithdrawn(Routed),
    #[serde(rename = "environment.live")]
    EnvironmentLive { rollout: i64, release: Option<i64> },
    #[serde(rename = "environment.blocked")]
    EnvironmentBlocked { rollout: i64, release: Option<i64>, reason: String },
    /// A part of the requests goes to a release that waits to be let go on.
    #[serde(rename = "canary.held")]
    CanaryHeld(CanaryHeld),
    /// By a person, or at the end of its hold.
    #[serde(rename = "canary.continued")]
    CanaryContinued { rollout: i64, release: Option<i64>, percent: u8 },
    /// It gave its part of the requests back to the live release.
    #[serde(rename = "canary.returned")]
    CanaryReturned(Returned),
    #[serde(rename = "watch.returned")]
    WatchReturned(Returned),
    /// Somebody asked that a release under way shall not become live.
    #[serde(rename = "release.aborted")]
    ReleaseAborted { rollout: i64, release: Option<i64> },
    /// Nobody asked for it: the next request brings replicas back.
    #[serde(rename = "environment.asleep")]
    EnvironmentAsleep { rollout: i64 },
    /// Claimed, not proven yet.
    #[serde(rename = "domain.added")]
    DomainAdded { domain: String },
    /// From now on requests for it come here.
    #[serde(rename = "domain.verified")]
    DomainVerified { domain: String, method: ProofMethod },
    #[serde(rename = "domain.removed")]
    DomainRemoved { domain: String },
    #[serde(rename = "certificate.added")]
    CertificateAdded { names: Vec<String>, until: Timestamp },
    #[serde(rename = "certificate.removed")]
    CertificateRemoved { names: Vec<String> },
    /// Nobody renews it but who uploaded it; or the platform tries and does not get another one.
    #[serde(rename = "certificate.expiring")]
    CertificateExpiring {
        names: Vec<String>,
        until: Timestamp,
        #[serde(default)]
        ordered: bool,
    },
    /// By an authority of the web.
    #[serde(rename = "certificate.issued")]
    CertificateIssued { names: Vec<String>, issuer: String, until: Timestamp },
    /// An order did not bring one; there will be further tries.
    #[serde(rename = "certificate.failed")]
    CertificateFailed { names: Vec<String>, reason: String },
    #[serde(rename = "environment.stopped")]
    EnvironmentStopped { rollout: i64 },
    /// Somebody ended it before its end; what became of its deployment is told of apart.
    #[serde(rename = "build.cancelled")]
    BuildCancelled { build: BuildId },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReady {
    pub process: ProcessName,
    pub ordinal: u32,
    pub rollout: i64,
    pub release: Option<i64>,
    /// From its start.
    pub millis: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFailed {
    pub process: ProcessName,
    pub ordinal: u32,
    pub rollout: i64,
    pub release: Option<i64>,
    /// What the check saw, or what it wrote; completes the sentence "it …".
    pub fault: String,
    #[serde(default)]
    pub how: Failure,
    pub ran_millis: Option<i64>,
    /// The end of its log.
    pub lines: Vec<String>,
}

/// Why a replica that ran was replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    #[default]
    Liveness,
    /// It was live and did not start in time.
    Late,
    /// It wrote more to its own file system than it may.
    Overfull,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryHeld {
    pub rollout: i64,
    pub release: Option<i64>,
    pub percent: u8,
    /// It goes on by itself, or goes back when nobody said anything.
    pub until: Timestamp,
    pub goes_on: bool,
}

/// Traffic went back to the release before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// The one that did not prove itself.
    pub rollout: i64,
    pub release: Option<i64>,
    /// First line: cause; then evidence.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaExited {
    pub process: ProcessName,
    pub ordinal: u32,
    pub rollout: i64,
    pub release: Option<i64>,
    pub code: i64,
    pub out_of_memory: bool,
    pub memory_limit: i64,
    pub ran_millis: Option<i64>,
    /// The end of its log.
    pub lines: Vec<String>,
}

/// What the route table said of an environment, or says no more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Routed {
    pub rollout: i64,
    pub hosts: Vec<String>,
    /// Engine ids of the replicas.
    pub replicas: Vec<String>,
}

impl Happened {
    /// The word people filter by: `replica.exited`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AppCreated { .. } => "app.created",
            Self::AppRenamed { .. } => "app.renamed",
            Self::VariablesChanged { .. } => "variables.changed",
            Self::Scaled { .. } => "scaled",
            Self::Autoscaled { .. } => "autoscaled",
            Self::Restarted {} => "restarted",
            Self::Stopped {} => "stopped",
            Self::Started {} => "started",
            Self::EnvironmentCreated { .. } => "environment.created",
            Self::EnvironmentDestroyed { .. } => "environment.destroyed",
            Self::EnvironmentChanged { .. } => "environment.changed",
            Self::DeploymentStarted { .. } => "deployment.started",
            Self::DeploymentSucceeded { .. } => "deployment.succeeded",
            Self::DeploymentFailed { .. } => "deployment.failed",
            Self::DeploymentSuperseded { .. } => "deployment.superseded",
            Self::RolloutStarted { .. } => "rollout.started",
            Self::ReplicaReady(_) => "replica.ready",
            Self::ReplicaExited(_) => "replica.exited",
            Self::ReplicaFailed(_) => "replica.failed",
            Self::RestartDelayed { .. } => "restart.delayed",
            Self::RoutePublished(_) => "route.published",
            Self::RouteWithdrawn(_) => "route.withdrawn",
            Self::EnvironmentLive { .. } => "environment.live",
            Self::EnvironmentBlocked { .. } => "environment.blocked",
            Self::CanaryHeld(_) => "canary.held",
            Self::CanaryContinued { .. } => "canary.continued",
            Self::CanaryReturned(_) => "canary.returned",
            Self::WatchReturned(_) => "watch.returned",
            Self::ReleaseAborted { .. } => "release.aborted",
            Self::EnvironmentAsleep { .. } => "environment.asleep",
            Self::DomainAdded { .. } => "domain.added",
            Self::DomainVerified { .. } => "domain.verified",
            Self::DomainRemoved { .. } => "domain.removed",
            Self::CertificateAdded { .. } => "certificate.added",
            Self::CertificateRemoved { .. } => "certificate.removed",
            Self::CertificateExpiring { .. } => "certificate.expiring",
            Self::CertificateIssued { .. } => "certificate.issued",
            Self::CertificateFailed { .. } => "certificate.failed",
            Self::EnvironmentStopped { .. } => "environment.stopped",
            Self::BuildCancelled { .. } => "build.cancelled",
        }
    }

    pub const KINDS: [&'static str; 40] = [
        "app.created",
        "app.renamed",
        "variables.changed",
        "scaled",
        "autoscaled",
        "restarted",
        "stopped",
        "started",
        "environment.created",
        "environment.destroyed",
        "environment.changed",
        "deployment.started",
        "deployment.succeeded",
        "deployment.failed",
        "deployment.superseded",
        "rollout.started",
        "replica.ready",
        "replica.exited",
        "replica.failed",
        "restart.delayed",
        "route.published",
        "route.withdrawn",
        "environment.live",
        "environment.blocked",
        "canary.held",
        "canary.continued",
        "canary.returned",
        "watch.returned",
        "release.aborted",
        "environment.asleep",
        "domain.added",
        "domain.verified",
        "domain.removed",
        "certificate.added",
        "certificate.removed",
        "certificate.expiring",
        "certificate.issued",
        "certificate.failed",
        "environment.stopped",
        "build.cancelled",
    ];

    /// One line of text.
    pub fn text(&self) -> String {
        let of = |release: &Option<i64>| release.map_or_else(|| "a release".to_owned(), |n| format!("v{n}"));
        let first = |text: &str| {
            let line = text.lines().next().unwrap_or_default();
            // As git shows it; here the event says so already.
            line.strip_prefix("deploy failed: ").unwrap_or(line).to_owned()
        };
        match self {
            Self::AppCreated { name } => format!("app {name} created"),
            Self::AppRenamed { from, to } => format!("app renamed from {from} to {to}"),
            Self::VariablesChanged { set, unset, .. } => {
                let parts = [("set", set), ("unset", unset)];
                let parts = parts.iter().filter(|(_, names)| !names.is_empty());
                let parts: Vec<_> = parts.map(|(verb, names)| format!("{verb} {}", names.join(", "))).collect();
                format!("variables: {}", parts.join("; "))
            }
            Self::Scaled { numbers } => {
                let parts: Vec<_> = numbers.iter().map(|(p, (from, to))| format!("{p} from {from} to {to}")).collect();
                format!("scaled {}", parts.join(", "))
            }
            Self::Autoscaled { process, from, to } => format!("the platform scaled {process} from {from} to {to}"),
            Self::Restarted {} => "restart asked for".into(),
            Self::Stopped {} => "stop asked for".into(),
            Self::Started {} => "start asked for".into(),
            Self::EnvironmentCreated { name } => format!("environment {name} created"),
            Self::EnvironmentDestroyed { name } => format!("environment {name} destroyed"),
            Self::EnvironmentChanged { what } => format!("changed: {}", what.join(", ")),
            Self::DeploymentStarted { how, .. } => match how {
                DeploymentKind::Push => "deployment of a push started".into(),
                DeploymentKind::Variables => "deployment of new variables started".into(),
                DeploymentKind::Rollback => "rollback started".into(),
                DeploymentKind::Settings => "deployment of other sizes or mounts started".into(),
                DeploymentKind::Rebase => "rebase onto the newest base started".into(),
                #[allow(unreachable_patterns, reason = "kinds of deployment grow")]
                _ => "deployment started".into(),
            },
            Self::DeploymentSucceeded { release, .. } => format!("{} deployed", of(release)),
            Self::DeploymentFailed { release: None, reason, .. } => format!("deployment failed: {}", first(reason)),
            Self::DeploymentFailed { release, reason, .. } => {
                format!("deployment of {} failed: {}", of(release), first(reason))
            }
            Self::DeploymentSuperseded { release, .. } => {
                format!("deployment of {} overtaken by a later one", of(release))
            }
            Self::RolloutStarted { release, .. } => format!("rollout of v{release} started"),
            Self::ReplicaReady(ready) => {
                format!("{}.{} ready after {}", ready.process, ready.ordinal, seconds(ready.millis))
            }
            Self::ReplicaExited(exited) => exited.text(),
            Self::ReplicaFailed(failed) => failed.text(),
            Self::CanaryHeld(held) => {
                let then = if held.goes_on { "it goes on by itself" } else { "it waits to be let go on" };
                format!("{} % of the requests go to {}: {then}", held.percent, of(&held.release))
            }
            Self::CanaryContinued { release, percent, .. } => {
                format!("{} let go on from {percent} % of the requests", of(release))
            }
            Self::CanaryReturned(back) => {
                format!("all requests go to the release before {}: {}", of(&back.release), first(&back.reason))
            }
            Self::WatchReturned(back) => {
                format!("the release before {} is live again: {}", of(&back.release), first(&back.reason))
            }
            Self::ReleaseAborted { release, .. } => format!("end of the rollout of {} asked for", of(release)),
            Self::RestartDelayed { process, crashes, .. } => {
                format!("{process} exited {crashes} times lately: its restart waits")
            }
            Self::RoutePublished(route) => {
                format!("traffic goes to {} of {}", replicas(route.replicas.len()), route.hosts.join(", "))
            }
            Self::RouteWithdrawn(route) => format!("no replica is ready: {} answers 503", route.hosts.join(", ")),
            Self::EnvironmentLive { release, .. } => format!("{} is live", of(release)),
            Self::EnvironmentBlocked { release, reason, .. } => {
                format!("{} cannot become live: {}", of(release), first(reason))
            }
            Self::EnvironmentAsleep { .. } => "asleep: the next request wakes it".into(),
            Self::DomainAdded { domain } => format!("domain {domain} claimed"),
            Self::DomainVerified { domain, method } => format!("domain {domain} verified by {}", method.as_str()),
            Self::DomainRemoved { domain } => format!("domain {domain} removed"),
            Self::CertificateAdded { names, until } => {
                format!("certificate for {} added, good until {until}", names.join(", "))
            }
            Self::CertificateRemoved { names } => format!("certificate for {} removed", names.join(", ")),
            Self::CertificateExpiring { names, until, ordered } => {
                let what =
                    if *ordered { "no other one is to be had, see hythe certs:info" } else { "upload another one" };
                format!("the certificate for {} expires at {until}: {what}", names.join(", "))
            }
            Self::CertificateIssued { names, issuer, until } => {
                format!("certificate for {} issued by {issuer}, good until {until}", names.join(", "))
            }
            Self::CertificateFailed { names, reason } => {
                format!("no certificate for {}: {}", names.join(", "), first(reason))
            }
            Self::EnvironmentStopped { .. } => "stopped".into(),
            Self::BuildCancelled { build } => format!("end of build {build} asked for"),
        }
    }
}

impl ReplicaFailed {
    pub fn text(&self) -> String {
        let after = self.ran_millis.map_or_else(String::new, |ms| format!(" after {}", seconds(ms)));
        let failed = match self.how {
            Failure::Liveness => "failed its liveness check",
            Failure::Late => "did not start in time",
            Failure::Overfull => "has no more room",
        };
        format!("{}.{} {failed}{after} and is replaced: it {}", self.process, self.ordinal, self.fault)
    }
}

impl ReplicaExited {
    pub fn text(&self) -> String {
        let who = format!("{}.{}", self.process, self.ordinal);
        let after = self.ran_millis.map_or_else(String::new, |ms| format!(" after {}", seconds(ms)));
        if self.out_of_memory {
            format!("{who} was killed{after}: out of memory (limit {} MB)", self.memory_limit >> 20)
        } else if self.code == 137 {
            format!(
                "{who} was killed{after} (SIGKILL; memory that ran out is the usual reason, the limit is {} MB)",
                self.memory_limit >> 20
            )
        } else {
            format!("{who} exited with {}{after}", self.code)
        }
    }
}

fn replicas(count: usize) -> String {
    if count == 1 { "1 replica".into() } else { format!("{count} replicas") }
}

/// A length of time as a person says it: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`.
pub fn seconds(millis: i64) -> String {
    match millis.max(0) {
        ms @ 0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms @ 10_000..120_000 => format!("{} s", ms / 1000),
        ms @ 120_000..7_200_000 => format!("{} min", ms / 60_000),
        ms @ 7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        ms => format!("{} d", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_name_it_is_stored_under() {
        let happened = [
            Happened::Restarted {},
            Happened::AppCreated { name: "a".into() },
            Happened::RouteWithdrawn(Routed::default()),
            Happened::EnvironmentStopped { rollout: 1 },
            Happened::CanaryContinued { rollout: 2, release: Some(2), percent: 10 },
            Happened::WatchReturned(Returned { rollout: 2, release: None, reason: "it crashed".into() }),
        ];
        for happened in happened {
            let stored = serde_json::to_value(&happened).expect("JSON");
            assert_eq!(stored["kind"], happened.kind());
            assert!(Happened::KINDS.contains(&happened.kind()));
            assert_eq!(serde_json::from_value::<Happened>(stored).expect("read again"), happened);
        }
    }

    #[test]
    fn times_are_said_shortly() {
        let said = [400, 12_345, 180_000, 7_300_000, 400_000_000].map(seconds);
        assert_eq!(said, ["0.4 s", "12 s", "3 min", "2 h", "4 d"]);
    }
}
