//! A build makes an image; a deployment is one attempt to make a release live. Both are worked by jobs.

use serde::{Deserialize, Serialize};

use super::{AppId, BuildId, DeploymentId, EnvironmentId, ImageDigest, JobId, Processes, ReleaseId, UserId};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    Running,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone)]
pub struct Build {
    pub id: BuildId,
    pub app_id: AppId,
    pub job_id: JobId,
    pub commit: String,
    pub state: BuildState,
    pub image: Option<ImageDigest>,
    pub processes: Processes,
    /// Why it failed, for people.
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    Push,
    Variables,
    Rollback,
    /// Of what is live in another environment.
    Promotion,
    /// Other sizes or mounts of what runs.
    Settings,
    /// What runs on another base.
    Rebase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    Running,
    Succeeded,
    Failed,
    /// A later deployment took its place before it was live.
    Superseded,
}

impl DeploymentState {
    pub fn is_final(self) -> bool {
        self != Self::Running
    }
}

#[derive(Debug, Clone)]
pub struct Deployment {
    pub id: DeploymentId,
    pub environment_id: EnvironmentId,
    pub job_id: JobId,
    pub kind: DeploymentKind,
    /// None until the release step has made it.
    pub release_id: Option<ReleaseId>,
    pub state: DeploymentState,
    pub reason: Option<String>,
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}
