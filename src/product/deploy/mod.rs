//! From a push to a running app, and the other ways a release becomes current: new variables,
//! rollback. A deployment never starts a container: it writes the desired release and waits for
//! what the converger observes.

mod activate;
mod attempt;
mod buildpacks;
mod cancel;
mod commands;
mod contents;
mod course;
mod cron;
mod diff;
mod dockerfile;
mod domains;
mod elsewhere;
mod fetched;
mod fetching;
mod follow;
mod from_bucket;
mod from_git;
mod guide;
mod image;
mod intake;
mod manifest;
pub mod messages;
mod options;
mod promote;
mod purge;
mod push;
mod rebase;
mod releases;
mod rollout;
mod scaling;
mod settings;
mod shape;
mod sizes;
mod sources;
mod sweep;
mod volumes;

use crate::base::access::{Action, Actor, Place, Scope};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Deployment, DeploymentKind, Environment, Happened, JobStep, ProcessName, Release};
use crate::product::Ctx;
use crate::product::apps::{self, VariableChanges};
pub use crate::product::builds::{BaseFacts, Changed, Standing};
use crate::state::store;

use activate::Order;

pub use activate::ActivateWork;
pub use buildpacks::set_buildpacks;
pub use cancel::cancel;
pub use commands::{
    CommandKeeper, Control, Desk, NewCommand, Piece, Session, command, command_output, commands, deployment_commands,
    enter, may_run, open_command, run_detached, stop_command,
};
pub use contents::{
    BuildBom, Condition, Contents, Ecosystem, Found, Package, Subject, build_boms, contents, cyclonedx, find_package,
    spdx,
};
pub use cron::{CronKeeper, NewCron, add_cron, cron, crons, remove_cron, run_cron};
pub use diff::{Change, Names, ReleaseDiff, check_lines, diff, mount_lines, scaling_lines};
pub use domains::{DomainState, DomainView, Publication, add_domain, domains, remove_domain, verify_domain};
pub use elsewhere::{NewSource, deploy_source};
pub use fetching::FetchWork;
pub use follow::{LogEvent, built, finished, follow};
pub use guide::{abort, proceed};
pub use image::{ImageWork, Pushed, deploy_image, image_deployed, image_target};
pub use intake::{Accepted, PushOrder, RefUpdate, accept, decide, open_for_fetch, open_for_push};
pub use options::{Course, Manner, PushOptions, Until};
pub use promote::promote;
pub use push::PushWork;
pub use rebase::{Ground, RebaseWork, base, ground, grounds, rebase, update_base};
pub use scaling::autoscale;
pub use settings::{CheckChanges, CheckOrigin, CheckView, checks, restart, scale, set_checks};
pub use sizes::{Wanted, set_formation, sizes};
pub use sources::{Sources, Upload, begin_upload, deploy_upload};
pub use sweep::{ClearWork, Sweeper, destroy, destroy_environment};
pub use volumes::{
    VolumeView, create_volume, destroy_volume, destroyed_volumes, mount_volume, purge_volumes, restore_volume,
    unmount_volume, volume, volumes,
};

/// The new version of the variables and, where the environment has a release, the deployment of one that has them.
pub async fn set_variables(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    changes: &VariableChanges,
) -> Result<(i64, Option<Deployment>)> {
    actor.may(Action::WriteVariables, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    guide::nothing_held(&mut tx, app).await?;
    let before = store::variables::latest(&mut tx, &environment.id).await?.map_or(0, |set| set.version);
    let by = Some(&actor.user.id);
    let version = apps::write_variables(&mut tx, ctx, &app.organization_id, &environment.id, changes, by).await?;
    if version != before {
        apps::tell(&mut tx, ctx, actor, environment, changed(changes, version)).await?;
    }
    let current = releases::current(&mut tx, &environment.id).await?;
    let deployment = match current.filter(|_| version != before) {
        Some(release) => {
            let order = Order {
                source: release.id,
                variables_version: version,
                variables_before: version,
                restores_formation: false,
                changes: Vec::new(),
                description: describe(changes),
            };
            Some(activate::enqueue(ctx, &mut tx, actor, app, environment, order, DeploymentKind::Variables).await?)
        }
        None => None,
    };
    tx.commit().await?;
    ctx.queue.notify();
    Ok((version, deployment))
}

/// Names, never values.
fn changed(changes: &VariableChanges, version: i64) -> Happened {
    let names = |given: bool| {
        changes.iter().filter(|(_, value)| value.is_some() == given).map(|(name, _)| name.to_string()).collect()
    };
    Happened::VariablesChanged { set: names(true), unset: names(false), version }
}

/// Names, never values.
fn describe(changes: &VariableChanges) -> String {
    let names = |set: bool| -> Vec<&str> {
        changes.iter().filter(|(_, value)| value.is_some() == set).map(|(name, _)| name.as_str()).collect()
    };
    let parts = [("set", names(true)), ("unset", names(false))];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    parts.map(|(verb, names)| format!("{verb} {}", names.join(", "))).collect::<Vec<_>>().join("; ")
}

/// Makes the whole state of release `number` current again, as a new release; none means the last one before the
/// current that was live.
pub async fn rollback(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    number: Option<i64>,
) -> Result<Deployment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    guide::nothing_held(&mut tx, app).await?;
    let target = rollback_target(&mut tx, environment, number).await?;
    let before = store::variables::latest(&mut tx, &environment.id).await?.map_or(0, |set| set.version);
    // The next push starts from what was gone back to, not from what was left.
    let (organization, by) = (&app.organization_id, Some(&actor.user.id));
    let version =
        apps::restore_variables(&mut tx, ctx, organization, &environment.id, target.variables_version, by).await?;
    let deployment = activate::enqueue(
        ctx,
        &mut tx,
        actor,
        app,
        environment,
        Order {
            variables_version: version,
            variables_before: before,
            description: format!("rollback to v{}", target.number),
            source: target.id,
            restores_formation: true,
            changes: Vec::new(),
        },
        DeploymentKind::Rollback,
    )
    .await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok(deployment)
}

/// What a rollback without a number would go back to.
pub async fn last_good(tx: &mut store::Tx, environment: &Environment) -> Result<Option<Release>> {
    match &environment.spec.release {
        Some(id) => match store::releases::find(tx, &Scope::Platform, id).await? {
            Some(current) => releases::last_good_before(tx, &current).await,
            None => Ok(None),
        },
        None => Ok(None),
    }
}

async fn rollback_target(tx: &mut store::Tx, environment: &Environment, number: Option<i64>) -> Result<Release> {
    if let Some(number) = number {
        let found = store::releases::by_number(tx, &environment.id, number).await?;
        return found.ok_or_else(|| Error::not_found(format!("release v{number}")));
    }
    let current = match &environment.spec.release {
        Some(id) => store::releases::find(tx, &Scope::Platform, id).await?,
        None => None,
    };
    let current =
        current.ok_or_else(|| Error::conflict("nothing was deployed yet, so there is nothing to go back to"))?;
    releases::last_good_before(tx, &current).await?.ok_or_else(|| {
        Error::conflict(format!("v{} is of the first rollout that ran; there is none to go back to", current.number))
    })
}

/// The newest deployments of the environment.
pub async fn deployments(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    limit: i64,
) -> Result<Vec<Deployment>> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let mut tx = ctx.store.read().await?;
    store::deployments::list(&mut tx, &actor.scope(), &environment.id, limit).await
}

/// One deployment with its steps; an id of another environment is not found.
pub async fn deployment(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    id: &str,
) -> Result<(Deployment, Vec<JobStep>)> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let absent = || Error::not_found("deployment");
    let mut tx = ctx.store.read().await?;
    let id = id.parse().map_err(|_| absent())?;
    let found = store::deployments::find(&mut tx, &actor.scope(), &id).await?;
    let found = found.filter(|d| d.environment_id == environment.id).ok_or_else(absent)?;
    let steps = store::jobs::steps(&mut tx, &found.job_id).await?;
    Ok((found, steps))
}

/// The process types that a release runs, with their counts.
pub fn formation_text(counts: &std::collections::BTreeMap<ProcessName, u32>) -> String {
    let parts: Vec<String> = counts.iter().filter(|(_, n)| **n > 0).map(|(p, n)| format!("{p} ×{n}")).collect();
    if parts.is_empty() { "no process".into() } else { parts.join(", ") }
}

#[cfg(test)]
pub(in crate::product) mod tests;
