//! What one order writes down: a build, the deployment of what it makes, and the job that works both.

use super::activate::{find_release, undo};
use super::intake::PLATFORM;
use super::options::Course;
use super::{commands, rollout};
use crate::base::error::Result;
use crate::base::model::{
    App, Build, BuildId, BuildState, Deployment, DeploymentId, DeploymentKind, DeploymentState, EnvironmentId, JobId,
    Processes, UserId,
};
use crate::product::{Ctx, apps};
use crate::state::store::{self, Tx};

/// A build that just began, by somebody, and the deployment of what it makes, as far as there is to be one.
pub(super) async fn begin(
    tx: &mut Tx,
    build: &Build,
    (id, environment): (&DeploymentId, &EnvironmentId),
    user: UserId,
    course: Course,
) -> Result<()> {
    if course != Course::Skip {
        store::builds::insert(tx, build).await?;
    }
    if course != Course::Deploy {
        return Ok(());
    }
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

/// After a failure: nothing of it runs any more, the environment runs what it ran, and both rows say why.
pub(super) async fn clear_away(
    ctx: &Ctx,
    environment: &EnvironmentId,
    (build, deployment): (&BuildId, &DeploymentId),
    reason: &str,
) -> Result<()> {
    commands::end(ctx, deployment, reason).await?;
    undo(ctx, environment, deployment, reason).await?;
    rollout::withdraw(ctx, environment, deployment).await?;
    put_back_its_variables(ctx, environment, deployment).await?;
    let mut tx = ctx.store.begin().await?;
    let built = store::builds::find(&mut tx, &PLATFORM, build).await?;
    if built.is_some_and(|built| built.state == BuildState::Running) {
        let (now, none) = (ctx.clock.now(), Processes::new());
        store::builds::finish(&mut tx, build, BuildState::Failed, None, &none, Some(reason), now).await?;
    }
    tx.commit().await
}

async fn put_back_its_variables(ctx: &Ctx, environment: &EnvironmentId, id: &DeploymentId) -> Result<()> {
    let mut tx = ctx.store.read().await?;
    let Some(before) = store::deployments::variables_before(&mut tx, id).await? else { return Ok(()) };
    let Some(release) = store::deployments::find(&mut tx, &PLATFORM, id).await?.and_then(|row| row.release_id) else {
        return Ok(());
    };
    let written = find_release(&mut tx, &release).await?.variables_version;
    drop(tx);
    put_back_variables(ctx, environment, (written, before)).await
}

/// What a deployment that failed wrote is taken back.
pub(super) async fn put_back_variables(
    ctx: &Ctx,
    environment: &EnvironmentId,
    (written, before): (i64, i64),
) -> Result<()> {
    let mut tx = ctx.store.begin().await?;
    let newest = store::variables::latest(&mut tx, environment).await?.map_or(0, |set| set.version);
    // Somebody who wrote variables since then has the last word.
    if newest != written || newest == before {
        return Ok(());
    }
    let environment = super::activate::environment(&mut tx, environment).await?;
    let Some(app) = store::apps::find(&mut tx, &PLATFORM, &environment.app_id).await? else { return Ok(()) };
    apps::restore_variables(&mut tx, ctx, &app.organization_id, &environment.id, before, None).await?;
    tx.commit().await
}
