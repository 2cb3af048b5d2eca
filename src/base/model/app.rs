//! An app and its environments. An environment is a convergent noun: `spec` is written by people
//! (through verbs), `status` only by the converger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    AppId, AppName, BranchName, Check, EnvironmentId, EnvironmentName, Generation, OrganizationId, ProcessName,
};
use super::{ReleaseId, SpaceId, VariableName};
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// Replicas wanted per process type. A type that is missing runs one replica if it is `web`, else none.
pub type Formation = BTreeMap<ProcessName, u32>;

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
}

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
#[serde(default)]
pub struct EnvironmentSpec {
    /// The release that shall be live; none before the first deployment.
    pub release: Option<ReleaseId>,
    /// Generation of the replicas: grows when what runs inside them changes (release, restart), not with their number.
    pub rollout: Generation,
    pub formation: Formation,
    /// The check of `web` replicas; none means: accepts connections on `PORT`.
    pub check: Option<Check>,
    pub stopped: bool,
    /// A process type that is here is counted by the platform and not by `formation`.
    pub scaling: BTreeMap<ProcessName, Scaling>,
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
