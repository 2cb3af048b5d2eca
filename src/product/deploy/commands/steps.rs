//! The commands of a deployment, as steps of its job: `scripts.predeploy` and the process type `release` before the
//! rollout, each once for each release, whatever made it; `scripts.postdeploy` after it. What fails before keeps the new
//! release from going live; what fails after is told and undoes nothing.
//!
//! A server that dies in the middle leaves the container running: the step finds it by the id in the row, waits for it
//! and tells the lines that were not told yet.

use std::time::Duration;

use serde_json::Value;

use super::desk::refused;
use super::keeper::note;
use super::work::{self, Ended};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{
    Command, CommandId, CommandKind, CommandState, DeploymentId, EnvironmentId, Id, Process, Release,
};
use crate::product::Ctx;
use crate::product::deploy::{activate, cron, messages};
use crate::state::jobs::{StepContext, StepError};
use crate::state::store;

/// What must succeed before the release receives traffic.
pub async fn before(ctx: &Ctx, deployment: &DeploymentId, cx: &StepContext) -> Result<Value, StepError> {
    let release = release(ctx, deployment).await?;
    cron::check(&release.manifest).map_err(StepError::fail)?;
    let predeploy = release.manifest.scripts.predeploy.as_deref().map(line);
    let phase = release.processes.iter().find(|(name, _)| name.as_str() == "release").map(|(_, p)| p.clone());
    for (kind, process) in [(CommandKind::Predeploy, predeploy), (CommandKind::Release, phase)] {
        let Some(process) = process else { continue };
        let ended = carry_out(ctx, deployment, &release, (kind, process), cx).await?;
        if let Some(reason) = ended.reason {
            cx.log.append(&messages::problem(&format!("The {} command failed: {reason}.", kind.word())));
            return Err(StepError::fail(format!("{} command: {reason}", kind.word())));
        }
    }
    Ok(Value::Null)
}

/// What follows a release that is live: its schedules are those of the environment from now on.
pub async fn after(ctx: &Ctx, deployment: &DeploymentId, cx: &StepContext) -> Result<Value, StepError> {
    let release = release(ctx, deployment).await?;
    cron::take_over(ctx, &release).await?;
    let Some(script) = release.manifest.scripts.postdeploy.as_deref() else { return Ok(Value::Null) };
    let wanted = (CommandKind::Postdeploy, line(script));
    match carry_out(ctx, deployment, &release, wanted, cx).await {
        Ok(Ended { reason: None, .. }) => {}
        Ok(Ended { reason: Some(reason), .. }) => {
            cx.log.append(&messages::problem(&format!("The postdeploy command failed: {reason}.")));
            cx.log.append(&messages::problem("The release is live all the same; run the command again by hand."));
        }
        Err(StepError::Fail { reason, .. }) => {
            cx.log.append(&messages::problem(&format!("The postdeploy command failed: {reason}.")));
        }
        Err(other) => return Err(other),
    }
    Ok(Value::Null)
}

/// Ends what a deployment that failed may have left running.
pub async fn end(ctx: &Ctx, deployment: &DeploymentId, reason: &str) -> Result<()> {
    let all = store::commands::of_deployment(&mut ctx.store.read().await?, deployment).await?;
    for command in all.into_iter().filter(|command| !command.state.is_final()) {
        let grace = ctx.config.runtime.grace_seconds;
        ctx.desk.machine()?.engine.end_command(&command.id, grace).await.map_err(refused)?;
        note(ctx, &command, &Ended::failed(reason), ctx.now()).await?;
    }
    Ok(())
}

fn line(text: &str) -> Process {
    Process { command: super::of_line(text), working_dir: None, port: None }
}

async fn release(ctx: &Ctx, deployment: &DeploymentId) -> Result<Release, StepError> {
    let mut tx = ctx.store.read().await?;
    let row = activate::deployment(&mut tx, deployment).await?;
    let id = row.release_id.ok_or_else(|| Error::conflict("the deployment has no release"))?;
    Ok(activate::find_release(&mut tx, &id).await?)
}

async fn carry_out(
    ctx: &Ctx,
    deployment: &DeploymentId,
    release: &Release,
    (kind, process): (CommandKind, Process),
    cx: &StepContext,
) -> Result<Ended, StepError> {
    let (command, is_new) = row(ctx, deployment, release, (kind, process)).await?;
    if command.state.is_final() {
        return Ok(Ended { exit_code: command.exit_code, reason: command.reason });
    }
    if is_new {
        let text = super::words::shown(&command.process.command);
        cx.log.append(&messages::heading(&format!("Running the {} command: {text}", kind.word()), 0));
    }
    let machine = ctx.desk.machine()?;
    machine.builder.load(&release.image).await.map_err(|failure| StepError::fail(failure.reason))?;
    let limit = Duration::from_secs(u64::from(ctx.config.runtime.command_seconds));
    let told = |text: &str| cx.log.append(&messages::body(text));
    let done = work::carry_out(ctx, machine, &command, limit, &cx.cancel, told).await;
    let ended = match done {
        Ok(Some(ended)) => ended,
        Ok(None) => return Err(StepError::Interrupted),
        Err(error) if error.kind == Kind::Unavailable => {
            let reason = error.public.clone();
            return Err(StepError::Retry { reason, after: Duration::from_secs(2), source: Some(error.into()) });
        }
        Err(error) => return Err(error.into()),
    };
    note(ctx, &command, &ended, ctx.now()).await?;
    // What is left is swept; its end is noted.
    let _ = machine.engine.end_command(&command.id, 0).await;
    Ok(ended)
}

/// The deployment's command of this kind: the one it has, or a new one. One deployment is worked by one job at a time.
async fn row(
    ctx: &Ctx,
    deployment: &DeploymentId,
    release: &Release,
    (kind, process): (CommandKind, Process),
) -> Result<(Command, bool)> {
    let mut tx = ctx.store.begin().await?;
    if let Some(found) = store::commands::of_deployment(&mut tx, deployment).await?.into_iter().find(|c| c.kind == kind)
    {
        return Ok((found, false));
    }
    let now = ctx.now();
    let environment_id: EnvironmentId = release.environment_id.clone();
    let command = Command {
        id: CommandId::fresh(),
        environment_id,
        release_id: Some(release.id.clone()),
        kind,
        process,
        state: CommandState::Running,
        exit_code: None,
        reason: None,
        deployment_id: Some(deployment.clone()),
        cron_id: None,
        due_at: None,
        created_by: release.created_by.clone(),
        created_at: now,
        started_at: Some(now),
        finished_at: None,
    };
    store::commands::insert(&mut tx, &command, None).await?;
    tx.commit().await?;
    Ok((command, true))
}
