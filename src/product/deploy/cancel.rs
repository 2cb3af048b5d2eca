//! Ending a build, or the deployment of what it made, before its end. What serves is not touched: once the new release does,
//! there is nothing left to be ended here.

use std::time::Duration;

use super::messages;
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Build, Happened, Id, Job, JobState, StepState};
use crate::product::Ctx;
use crate::product::apps;
use crate::state::store::{self, Tx};

/// Steps that only begin when the release serves.
const SETTLED: [&str; 2] = ["postdeploy", "accept"];
/// How long the verb waits until what it ended is cleared away.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls off the job of a build, by id, or by `latest` of the newest that is not over; waits a moment for its end. A second
/// call, and one that comes too late, say so and change nothing.
pub async fn cancel(ctx: &Ctx, actor: &Actor, app: &App, which: &str) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let build = match which {
        "latest" => match newest_unfinished(ctx, app).await? {
            Some(build) => build,
            None => apps::build(ctx, actor, app, which).await?,
        },
        which => apps::build(ctx, actor, app, which).await?,
    };
    let id = &build.job_id;
    let mut tx = ctx.store.begin().await?;
    if !ctx.queue.call_off(&mut tx, id, &messages::cancelled_by(&actor.user.name)).await? {
        return Err(Error::conflict(over(store::jobs::find(&mut tx, id).await?.as_ref())));
    }
    let steps = store::jobs::steps(&mut tx, id).await?;
    // Dropping the transaction takes the mark back.
    if steps.iter().any(|step| SETTLED.contains(&step.name.as_str()) && step.state != StepState::Pending) {
        return Err(Error::conflict("its release serves already; to leave it: hythe rollback"));
    }
    tell(&mut tx, ctx, actor, &build).await?;
    tx.commit().await?;
    ctx.queue.end_called_off();
    let _ = tokio::time::timeout(PATIENCE, ctx.queue.finished(id)).await;
    apps::build(ctx, actor, app, build.id.as_str()).await
}

async fn newest_unfinished(ctx: &Ctx, app: &App) -> Result<Option<Build>> {
    let mut tx = ctx.store.read().await?;
    for job in store::jobs::unfinished(&mut tx, app.id.as_str()).await?.iter().rev() {
        if let Some(build) = store::builds::of_job(&mut tx, &job.id).await? {
            return Ok(Some(build));
        }
    }
    Ok(None)
}

fn over(job: Option<&Job>) -> String {
    match job {
        Some(Job { state: JobState::Queued | JobState::Running, called_off: Some(reason), .. }) => {
            format!("it is being ended already: {reason}")
        }
        Some(Job { state: JobState::Failed, reason: Some(reason), .. }) => {
            format!("it is over already: {}", reason.lines().next().unwrap_or_default())
        }
        _ => "it is over already: it succeeded".into(),
    }
}

async fn tell(tx: &mut Tx, ctx: &Ctx, actor: &Actor, build: &Build) -> Result<()> {
    let Some(deployment) = store::deployments::of_job(tx, &build.job_id).await? else { return Ok(()) };
    let environment = super::activate::environment(tx, &deployment.environment_id).await?;
    let happened = Happened::BuildCancelled { build: build.id.clone() };
    apps::tell(tx, ctx, actor, &environment, happened).await
}
