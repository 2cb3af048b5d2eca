//! The job that makes a release out of an earlier one (other variables, or a rollback) and brings it live.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::intake::PLATFORM;
use super::releases::{self, NewRelease};
use super::shape::{Shape, ShapeChange};
use super::{attempt, commands, messages, rollout};
use crate::base::access::Actor;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Deployment, DeploymentId, DeploymentKind, DeploymentState, Environment, EnvironmentId, Id, Release, ReleaseId,
    ReleaseKind,
};
use crate::product::builds::Builder;
use crate::product::converge::Handle;
use crate::product::{Ctx, routing};
use crate::state::jobs::{StepContext, StepError, Work};
use crate::state::store::{self, Tx};

const KIND: &str = "activate";
const STEPS: [&str; 4] = ["release", "predeploy", "rollout", "postdeploy"];

/// What to make the release from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub source: ReleaseId,
    pub variables_version: i64,
    /// The version to come back to when this deployment fails; the same where the new one stays.
    pub variables_before: i64,
    /// The number of replicas, their sizes, mounts and checks and the hosts are those of the source too.
    pub restores_formation: bool,
    /// What else becomes different with it.
    #[serde(default)]
    pub changes: Vec<ShapeChange>,
    pub description: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Payload {
    environment: EnvironmentId,
    deployment: DeploymentId,
    order: Order,
}

pub async fn enqueue(
    ctx: &Ctx,
    tx: &mut Tx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    order: Order,
    kind: DeploymentKind,
) -> Result<Deployment> {
    releases::hold_with_image(tx, &order.source).await?;
    let id = DeploymentId::fresh();
    let payload = Payload { environment: environment.id.clone(), deployment: id.clone(), order };
    let payload = serde_json::to_value(payload).map_err(Error::internal)?;
    let job_id = ctx.queue.enqueue(tx, KIND, app.id.as_str(), payload).await?;
    let deployment = Deployment {
        id,
        environment_id: environment.id.clone(),
        job_id,
        kind,
        release_id: None,
        state: DeploymentState::Running,
        reason: None,
        created_by: Some(actor.user.id.clone()),
        created_at: ctx.clock.now(),
        finished_at: None,
    };
    store::deployments::insert(tx, &deployment).await?;
    Ok(deployment)
}

pub struct ActivateWork {
    ctx: Ctx,
    builder: Arc<Builder>,
    converger: Handle,
}

impl ActivateWork {
    pub fn new(ctx: Ctx, builder: Arc<Builder>, converger: Handle) -> Self {
        Self { ctx, builder, converger }
    }

    async fn release(&self, payload: &Payload, cx: &StepContext) -> Result<Value> {
        let order = &payload.order;
        let mut tx = self.ctx.store.begin().await?;
        let deployment = deployment(&mut tx, &payload.deployment).await?;
        if deployment.release_id.is_some() {
            return Ok(Value::Null);
        }
        let environment = environment(&mut tx, &payload.environment).await?;
        let source = find_release(&mut tx, &order.source).await?;
        let spec = &environment.spec;
        let shape = match order.restores_formation {
            true => Shape::of_release(&source),
            false if spec.release.is_none() => Shape::of_spec(spec).with_wishes(&source.manifest),
            false => Shape::of_spec(spec),
        };
        let shape = shape.changed(&order.changes).resolved(&mut tx, &environment.id).await?;
        let new = NewRelease {
            build_id: source.build_id,
            commit: source.commit,
            image: source.image,
            processes: source.processes,
            variables_version: order.variables_version,
            shape,
            manifest: source.manifest,
            kind: ReleaseKind::Rollout,
            description: order.description.clone(),
            created_by: deployment.created_by,
        };
        let mut release = releases::draft(&mut tx, &environment, new, self.ctx.clock.now()).await?;
        if order.restores_formation {
            let own = routing::own_hosts(&mut tx, &self.ctx.config, &environment).await?;
            let foreign = source.hosts.into_iter().filter(|host| !routing::is_below(&self.ctx.config, host));
            release.hosts = own.into_iter().chain(foreign).collect();
        }
        releases::insert(&mut tx, &release).await?;
        store::deployments::set_release(&mut tx, &deployment.id, &release.id).await?;
        tx.commit().await?;
        cx.log.append(&messages::heading(&messages::release(&release, environment.name.as_str()), 0));
        Ok(json!({ "release": release.id }))
    }

    async fn rollout(&self, payload: &Payload, cx: &StepContext) -> Result<Value, StepError> {
        let release = {
            let mut tx = self.ctx.store.read().await?;
            let deployment = deployment(&mut tx, &payload.deployment).await?;
            let id = deployment.release_id.ok_or_else(|| Error::conflict("the deployment has no release"))?;
            find_release(&mut tx, &id).await?
        };
        let began = self.ctx.clock.now();
        self.builder.load(&release.image).await.map_err(|failure| StepError::fail(failure.reason))?;
        let before = rollout::live_number(&self.ctx, &payload.environment).await?;
        let takes_numbers = payload.order.restores_formation || !payload.order.changes.is_empty();
        rollout::begin(&self.ctx, &payload.environment, &release, takes_numbers, None).await?;
        let ended = rollout::wait(&self.ctx, &self.converger, &payload.environment, &release, cx).await?;
        let output = rollout::conclude(&self.ctx, ended, cx, (began, before)).await?;
        if payload.order.restores_formation {
            let mut tx = self.ctx.store.begin().await?;
            for lost in routing::restore(&mut tx, &self.ctx, &payload.environment, &release.hosts).await? {
                cx.log.append(&messages::body(&messages::host_lost(&lost)));
            }
            tx.commit().await?;
            self.ctx.wake.notify_one();
        }
        Ok(output)
    }

    async fn put_back(&self, payload: &Payload, reason: &str) -> Result<()> {
        undo(&self.ctx, &payload.environment, &payload.deployment, reason).await?;
        let order = &payload.order;
        let versions = (order.variables_version, order.variables_before);
        attempt::put_back_variables(&self.ctx, &payload.environment, versions).await
    }
}

#[async_trait]
impl Work for ActivateWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn steps(&self) -> &'static [&'static str] {
        &STEPS
    }

    async fn run(&self, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        let payload: Payload = serde_json::from_value(cx.job.payload.clone()).map_err(Error::internal)?;
        match step {
            0 => Ok(self.release(&payload, cx).await?),
            1 => commands::before(&self.ctx, &payload.deployment, cx).await,
            2 => self.rollout(&payload, cx).await,
            _ => {
                let output = commands::after(&self.ctx, &payload.deployment, cx).await?;
                finish(&self.ctx, &payload.deployment, DeploymentState::Succeeded, None).await?;
                Ok(output)
            }
        }
    }

    async fn failed(&self, cx: &StepContext, reason: &str) {
        let Ok(payload) = serde_json::from_value::<Payload>(cx.job.payload.clone()) else { return };
        if let Err(error) = self.put_back(&payload, reason).await {
            tracing::error!(job.id = %cx.job.id, error = error.for_log(), "a failed deployment could not be cleared away");
        }
        cx.log.append(&messages::problem(reason));
        cx.log.append(&messages::problem(messages::KEPT));
    }
}

/// The clean slate after a failed deployment: the spec asks for what is live, the row says why.
pub(super) async fn undo(ctx: &Ctx, environment: &EnvironmentId, id: &DeploymentId, reason: &str) -> Result<()> {
    let release = {
        let mut tx = ctx.store.read().await?;
        match store::deployments::find(&mut tx, &PLATFORM, id).await? {
            Some(Deployment { release_id: Some(release), .. }) => Some(find_release(&mut tx, &release).await?),
            _ => None,
        }
    };
    if let Some(release) = release {
        rollout::revert(ctx, environment, &release).await?;
    }
    finish(ctx, id, DeploymentState::Failed, Some(reason)).await
}

pub(super) async fn finish(ctx: &Ctx, id: &DeploymentId, state: DeploymentState, reason: Option<&str>) -> Result<()> {
    let mut tx = ctx.store.begin().await?;
    store::deployments::finish(&mut tx, id, state, reason, ctx.clock.now()).await?;
    tx.commit().await
}

pub(super) async fn deployment(tx: &mut Tx, id: &DeploymentId) -> Result<Deployment> {
    store::deployments::find(tx, &PLATFORM, id).await?.ok_or_else(|| Error::not_found("the deployment"))
}

pub(super) async fn environment(tx: &mut Tx, id: &EnvironmentId) -> Result<Environment> {
    store::environments::find(tx, &PLATFORM, id).await?.ok_or_else(|| Error::not_found("the environment"))
}

pub(super) async fn find_release(tx: &mut Tx, id: &ReleaseId) -> Result<Release> {
    store::releases::find(tx, &PLATFORM, id).await?.ok_or_else(|| Error::not_found("the release"))
}
