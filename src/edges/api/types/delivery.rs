//! Releases, deployments, builds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CommandView, HeldView};
use crate::base::clock::Timestamp;
use crate::base::model::{
    Build, BuildState, Deployment, DeploymentKind, DeploymentState, Environment, JobStep, Release, ReleaseKind,
    StepState,
};
use crate::product::{builds, deploy};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    pub id: String,
    /// 1, 2, 3 … in its environment; people write `v3`.
    pub number: i64,
    pub description: String,
    pub commit: Option<String>,
    pub image: String,
    pub build_id: Option<String>,
    pub variables_version: i64,
    /// Process type to its command.
    pub processes: BTreeMap<String, Vec<String>>,
    /// Replicas per process type, where it was set.
    pub formation: BTreeMap<String, u32>,
    /// Within which bounds the platform counts instead, by process type.
    #[serde(default)]
    pub scaling: BTreeMap<String, String>,
    /// By process type and kind: `web readiness`.
    pub checks: BTreeMap<String, String>,
    /// Process type to its size, where one was chosen.
    #[serde(default)]
    pub sizes: BTreeMap<String, String>,
    /// By process type and volume: the path.
    #[serde(default)]
    pub mounts: BTreeMap<String, String>,
    pub hosts: Vec<String>,
    /// `rollout`: new replicas took over, or should have; `settings`: those of the release before run on.
    pub kind: String,
    pub created_at: String,
    /// Since when its image is kept no more, so that it cannot be rolled back to; none while it can.
    #[serde(default)]
    pub image_gone_at: Option<String>,
}

impl From<&Release> for ReleaseView {
    fn from(release: &Release) -> Self {
        Self {
            id: release.id.to_string(),
            number: release.number,
            description: release.description.clone(),
            commit: release.commit.clone(),
            image: release.image.to_string(),
            build_id: release.build_id.as_ref().map(ToString::to_string),
            variables_version: release.variables_version,
            processes: release
                .processes
                .iter()
                .map(|(n, p)| (n.to_string(), builds::bare(&p.command).to_vec()))
                .collect(),
            formation: release.formation.iter().map(|(n, count)| (n.to_string(), *count)).collect(),
            scaling: deploy::scaling_lines(release),
            checks: deploy::check_lines(release),
            sizes: release.sizes.iter().map(|(n, size)| (n.to_string(), size.to_string())).collect(),
            mounts: deploy::mount_lines(release),
            hosts: release.hosts.iter().map(ToString::to_string).collect(),
            kind: match release.kind {
                ReleaseKind::Rollout => "rollout".into(),
                ReleaseKind::Settings => "settings".into(),
            },
            created_at: release.created_at.to_string(),
            image_gone_at: release.image_gone_at.as_ref().map(ToString::to_string),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackBody {
    /// The number of a release; the one before the live one when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentView {
    pub id: String,
    /// `push`, `variables`, `rollback`, `promotion`, `settings` or `rebase`.
    pub kind: String,
    /// `running`, `succeeded`, `failed` or `superseded`.
    pub state: String,
    pub release_id: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Its release is a canary now.
    #[serde(default)]
    pub held: Option<HeldView>,
    pub created_at: String,
    pub finished_at: Option<String>,
}

impl DeploymentView {
    /// With what is known of its release where it is rolled out.
    pub fn within(deployment: &Deployment, environment: &Environment) -> Self {
        let concerns = deployment.state == DeploymentState::Running
            && deployment.release_id.is_some()
            && deployment.release_id == environment.spec.release;
        Self { held: HeldView::of(environment).filter(|_| concerns), ..Self::from(deployment) }
    }
}

impl From<&Deployment> for DeploymentView {
    fn from(deployment: &Deployment) -> Self {
        let kind = match deployment.kind {
            DeploymentKind::Push => "push",
            DeploymentKind::Variables => "variables",
            DeploymentKind::Rollback => "rollback",
            DeploymentKind::Promotion => "promotion",
            DeploymentKind::Settings => "settings",
            DeploymentKind::Rebase => "rebase",
        };
        let state = match deployment.state {
            DeploymentState::Running => "running",
            DeploymentState::Succeeded => "succeeded",
            DeploymentState::Failed => "failed",
            DeploymentState::Superseded => "superseded",
        };
        Self {
            id: deployment.id.to_string(),
            kind: kind.to_owned(),
            state: state.to_owned(),
            release_id: deployment.release_id.as_ref().map(ToString::to_string),
            reason: deployment.reason.clone(),
            held: None,
            created_at: deployment.created_at.to_string(),
            finished_at: time(deployment.finished_at),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentDetail {
    #[serde(flatten)]
    pub deployment: DeploymentView,
    pub steps: Vec<StepView>,
    /// What ran before and after the rollout, with its output.
    #[serde(default)]
    pub commands: Vec<CommandView>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    pub name: String,
    /// `pending`, `running`, `succeeded` or `failed`.
    pub state: String,
    pub attempt: i64,
    pub error: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
}

impl From<&JobStep> for StepView {
    fn from(step: &JobStep) -> Self {
        let state = match step.state {
            StepState::Pending => "pending",
            StepState::Running => "running",
            StepState::Succeeded => "succeeded",
            StepState::Failed => "failed",
        };
        Self {
            name: step.name.clone(),
            state: state.to_owned(),
            attempt: step.attempt,
            error: step.error.clone(),
            started_at: time(step.started_at),
            finished_at: time(step.finished_at),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildView {
    pub id: String,
    pub commit: String,
    /// `running`, `succeeded` or `failed`.
    pub state: String,
    pub image: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    pub created_at: String,
    pub finished_at: Option<String>,
    /// What deploys the image; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<BuiltDeploymentView>,
}

/// The deployment of a build.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuiltDeploymentView {
    pub id: String,
    /// `running`, `succeeded`, `failed` or `superseded`.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
}

impl BuildView {
    pub fn with(build: &Build, deployment: Option<&Deployment>) -> Self {
        let deployment = deployment.map(|deployment| {
            let view = DeploymentView::from(deployment);
            BuiltDeploymentView { id: view.id, state: view.state, reason: view.reason }
        });
        Self { deployment, ..Self::from(build) }
    }
}

impl From<&Build> for BuildView {
    fn from(build: &Build) -> Self {
        let state = match build.state {
            BuildState::Running => "running",
            BuildState::Succeeded => "succeeded",
            BuildState::Failed => "failed",
        };
        Self {
            id: build.id.to_string(),
            commit: build.commit.clone(),
            state: state.to_owned(),
            image: build.image.as_ref().map(ToString::to_string),
            reason: build.reason.clone(),
            created_at: build.created_at.to_string(),
            finished_at: time(build.finished_at),
            deployment: None,
        }
    }
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|t| t.to_string())
}
