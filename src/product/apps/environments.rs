//! Environments of an app. `spec` is written here and by deployments, always guarded by the
//! generation that was read; the converger is woken after each write.

use super::told::tell;
use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, BranchName, Check, Environment, EnvironmentName, EnvironmentSpec, Happened, Release};
use crate::product::{Ctx, routing};
use crate::state::store::{Tx, environments as rows, releases, routes};

/// An environment with what a person asks next: which release, on which addresses.
#[derive(Debug, Clone)]
pub struct EnvironmentOverview {
    pub environment: Environment,
    /// The release that shall be live.
    pub wanted: Option<Release>,
    /// The release that receives traffic now.
    pub live: Option<Release>,
    pub urls: Vec<String>,
}

/// What stays None stays as it is.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentChange {
    pub branch: Option<BranchName>,
    /// `Some(None)` returns to the check every app has: accepts connections on `PORT`.
    pub check: Option<Option<Check>>,
    pub stopped: Option<bool>,
}

pub async fn environments(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Vec<Environment>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    rows::of_app(&mut tx, &actor.scope(), &app.id).await
}

pub async fn environment(ctx: &Ctx, actor: &Actor, app: &App, name: &str) -> Result<Environment> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    find(&mut tx, actor, app, name).await
}

pub async fn overview(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Vec<EnvironmentOverview>> {
    actor.may(Action::ViewApp, &app.into())?;
    let scope = actor.scope();
    let mut tx = ctx.store.read().await?;
    let mut all = Vec::new();
    for environment in rows::of_app(&mut tx, &scope, &app.id).await? {
        let wanted = match &environment.spec.release {
            Some(id) => releases::find(&mut tx, &scope, id).await?,
            None => None,
        };
        let live = match &environment.status.live_release {
            Some(id) => releases::find(&mut tx, &scope, id).await?,
            None => None,
        };
        let hosts = routes::of_environment(&mut tx, &environment.id).await?;
        let urls = hosts.iter().map(|route| routing::url(&ctx.config, &route.host)).collect();
        all.push(EnvironmentOverview { environment, wanted, live, urls });
    }
    Ok(all)
}

pub async fn change_environment(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    name: &str,
    change: EnvironmentChange,
) -> Result<Environment> {
    actor.may(Action::Deploy, &app.into())?;
    if let Some(Some(Check::Http { path })) = &change.check {
        check_path(path)?;
    }
    let mut tx = ctx.store.begin().await?;
    let mut environment = find(&mut tx, actor, app, name).await?;
    let (mut what, was) = (Vec::new(), environment.spec.clone());
    if let Some(branch) = change.branch.filter(|branch| *branch != environment.branch) {
        let others = rows::of_app(&mut tx, &actor.scope(), &app.id).await?;
        if let Some(other) = others.iter().find(|other| other.branch == branch) {
            return Err(Error::conflict(format!("the branch {branch} already deploys to {}", other.name)));
        }
        rows::set_branch(&mut tx, &environment.id, &branch).await?;
        what.push("branch".to_owned());
        environment.branch = branch;
    }
    let mut spec = environment.spec.clone();
    spec.check = change.check.unwrap_or(spec.check);
    spec.stopped = change.stopped.unwrap_or(spec.stopped);
    if spec.check != was.check {
        what.push("check".to_owned());
    }
    if !what.is_empty() {
        tell(&mut tx, ctx, actor, &environment, Happened::EnvironmentChanged { what }).await?;
    }
    match (was.stopped, spec.stopped) {
        (false, true) => tell(&mut tx, ctx, actor, &environment, Happened::Stopped {}).await?,
        (true, false) => tell(&mut tx, ctx, actor, &environment, Happened::Started {}).await?,
        _ => {}
    }
    let environment = write(&mut tx, environment, spec).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(environment)
}

pub(crate) async fn find(tx: &mut Tx, actor: &Actor, app: &App, name: &str) -> Result<Environment> {
    let absent = || Error::not_found("environment");
    let found = if let Ok(id) = name.parse() {
        rows::find(tx, &actor.scope(), &id).await?.filter(|environment| environment.app_id == app.id)
    } else {
        let name: EnvironmentName = name.parse().map_err(|_| absent())?;
        rows::find_by_name(tx, &actor.scope(), &app.id, &name).await?
    };
    found.ok_or_else(absent)
}

/// An unchanged spec is not written: there is nothing to converge to.
pub(super) async fn write(tx: &mut Tx, environment: Environment, spec: EnvironmentSpec) -> Result<Environment> {
    if spec == environment.spec {
        return Ok(environment);
    }
    if !rows::write_spec(tx, &environment.id, environment.generation, &spec).await? {
        return Err(Error::conflict("the environment was changed at the same moment; try again"));
    }
    Ok(Environment { spec, generation: environment.generation + 1, ..environment })
}

fn check_path(path: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"#<>\"\\^`{|}".contains(&b);
    if path.starts_with('/') && path.len() <= 500 && path.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::invalid("check", "must be a path such as /healthz, without spaces and at most 500 characters long"))
}
