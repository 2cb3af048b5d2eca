//! What one order writes down: a build, the deployment of what it makes, and the job that works both.

use super::activate::undo;
use super::intake::PLATFORM;
use super::rollout;
use crate::base::error::Result;
use crate::base::model::{
    App, Build, BuildId, BuildState, Deployment, DeploymentId, DeploymentKind, DeploymentState, EnvironmentId, JobId,
    Processes, UserId,
};
use crate::product::Ctx;
use crate::state::store::{self, Tx};

/// The deployment of a build that just began, by somebody.
pub(super) async fn begin(
    tx: &mut Tx,
    build: &Build,
    (id, environment): (&DeploymentId, &EnvironmentId),
    user: UserId,
) -> Result<()> {
    store::builds::insert(tx, build).await?;
    let deployment = Deployment {
        id: id.clone(),
        environment_id: environment.clone(),
        job_id: build.job_id.clone(),
        kind: DeploymentKind::Push,
        release_id: None,
        state: DeploymentState::Running,
        reason: None,
        created_by: Some(user),
        created_at: build.created_at,
        finished_at: None,
    };
    store::deployments::insert(tx, &deployment).await
}

/// `made_of`: a commit, or what names an image.
pub(super) fn build(ctx: &Ctx, id: &BuildId, app: &App, job: &JobId, made_of: impl ToString) -> Build {
    Build {
        id: id.clone(),
        app_id: app.id.clone(),
        job_id: job.clone(),
        commit: made_of.to_string(),
        state: BuildState::Running,
        image: None,
        processes: Processes::new(),
        reason: None,
        created_at: ctx.clock.now(),
        finished_at: None,
    }
}

/// After a failure: the environment runs what it ran, and both rows say why.
pub(super) async fn clear_away(
    ctx: &Ctx,
    environment: &EnvironmentId,
    (build, deployment): (&BuildId, &DeploymentId),
    reason: &str,
) -> Result<()> {
    undo(ctx, environment, deployment, reason).await?;
    rollout::withdraw(ctx, environment, deployment).await?;
    let mut tx = ctx.store.begin().await?;
    let built = store::builds::find(&mut tx, &PLATFORM, build).await?;
    if built.is_some_and(|built| built.state == BuildState::Running) {
        let (now, none) = (ctx.clock.now(), Processes::new());
        store::builds::finish(&mut tx, build, BuildState::Failed, None, &none, Some(reason), now).await?;
    }
    tx.commit().await
}
