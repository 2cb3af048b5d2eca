//! What was delivered: releases, builds and their output. Read only; deliveries are made elsewhere.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Build, Deployment, Environment, JobId, Release};
use crate::product::Ctx;
use crate::state::logs::{LogEvent, LogName};
use crate::state::store::{builds as build_rows, deployments as deployment_rows, jobs, releases as release_rows};

/// Newest first; `before` is the lowest number of the page before.
pub async fn releases(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Release>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    release_rows::list(&mut tx, &environment.id, before, limit).await
}

pub async fn release(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment, number: i64) -> Result<Release> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    release_rows::by_number(&mut tx, &environment.id, number)
        .await?
        .ok_or_else(|| Error::not_found(format!("release v{number}")))
}

/// Newest first.
pub async fn builds(ctx: &Ctx, actor: &Actor, app: &App, limit: i64) -> Result<Vec<Build>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    build_rows::list(&mut tx, &actor.scope(), &app.id, limit).await
}

/// By id, or the newest for `latest`.
pub async fn build(ctx: &Ctx, actor: &Actor, app: &App, which: &str) -> Result<Build> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let found = if which == "latest" {
        build_rows::list(&mut tx, &actor.scope(), &app.id, 1).await?.into_iter().next()
    } else {
        match which.parse() {
            Ok(id) => build_rows::find(&mut tx, &actor.scope(), &id).await?.filter(|build| build.app_id == app.id),
            Err(_) => None,
        }
    };
    found.ok_or_else(|| Error::not_found("build"))
}

/// What deploys what a build made.
pub async fn deployment_of(ctx: &Ctx, actor: &Actor, app: &App, build: &Build) -> Result<Option<Deployment>> {
    actor.may(Action::ViewApp, &app.into())?;
    deployment_rows::of_job(&mut ctx.store.read().await?, &build.job_id).await
}

/// What stands where the log stood of a job that ended long ago.
const GONE: &str = "The output is no longer kept.";

/// The log of the job behind a build or a deployment of this app: all that the pusher saw, from line one; with `follow`
/// until the work ends.
pub async fn output(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    job: &JobId,
    follow: bool,
) -> Result<BoxStream<'static, String>> {
    actor.may(Action::ViewApp, &app.into())?;
    let name = LogName::job(job);
    if jobs::find(&mut ctx.store.read().await?, job).await?.is_none() {
        return Ok(futures_util::stream::iter([GONE.to_owned()]).boxed());
    }
    if !follow {
        let lines: Vec<String> = ctx.logs.read(&name).await?;
        return Ok(futures_util::stream::iter(lines).boxed());
    }
    let lines = ctx.logs.follow(&name, 0).filter_map(|event| async move {
        match event {
            LogEvent::Line(line) => Some(line),
            LogEvent::End => None,
        }
    });
    Ok(lines.boxed())
}
