//! push → build → release → rollout.

use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Deployment, Environment, JobStep};
use crate::product::Ctx;
use crate::product::apps::VariableChanges;
use crate::state::store::{deployments as rows, jobs};

/// Newest first.
pub async fn deployments(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    limit: i64,
) -> Result<Vec<Deployment>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    rows::list(&mut tx, &actor.scope(), &environment.id, limit).await
}

pub async fn deployment(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    id: &str,
) -> Result<(Deployment, Vec<JobStep>)> {
    actor.may(Action::ViewApp, &app.into())?;
    let absent = || Error::not_found("deployment");
    let mut tx = ctx.store.read().await?;
    let id = id.parse().map_err(|_| absent())?;
    let found = rows::find(&mut tx, &actor.scope(), &id).await?.filter(|d| d.environment_id == environment.id);
    let found = found.ok_or_else(absent)?;
    let steps = jobs::steps(&mut tx, &found.job_id).await?;
    Ok((found, steps))
}

/// The new version, and the deployment that brings it to what runs, if anything does.
pub async fn set_variables(
    _ctx: &Ctx,
    _actor: &Actor,
    _app: &App,
    _environment: &Environment,
    _changes: &VariableChanges,
) -> Result<(i64, Option<Deployment>)> {
    todo!()
}

/// None is the release before the one that is live.
pub async fn rollback(
    _ctx: &Ctx,
    _actor: &Actor,
    _app: &App,
    _environment: &Environment,
    _number: Option<i64>,
) -> Result<Deployment> {
    todo!()
}
