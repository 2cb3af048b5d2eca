//! Environments of an app. `spec` is written here and by deployments, always guarded by the
//! generation that was read; the converger is woken after each write.

use super::told::{tell, tell_of};
use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, BranchName, Environment, EnvironmentId, EnvironmentName, EnvironmentSpec, EnvironmentStatus, Happened, Id,
    Release, Strategy,
};
use crate::product::{Ctx, routing};
use crate::state::store::events::Subject;
use crate::state::store::{Tx, deployments, environments as rows, organizations, releases, routes};

/// The environment that every app has from the start.
pub const PRODUCTION: &str = "production";

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
    pub stopped: Option<bool>,
    /// Length of the watch window; 0 ends it with the switch.
    pub watch_seconds: Option<u32>,
    /// With its hold.
    pub strategy: Option<Strategy>,
    /// Some(None): back to what `app.json` says.
    pub redirect: Option<Option<bool>>,
    pub hsts_seconds: Option<Option<u32>>,
}

/// The longest watch: a push waits for its end.
const LONGEST_WATCH: u32 = 3600;
const MOST_ENVIRONMENTS: usize = 50;

pub struct NewEnvironment {
    pub name: EnvironmentName,
    /// None is the branch of the same name.
    pub branch: Option<BranchName>,
}

/// Empty, with variables, numbers and a host of its own.
pub async fn create_environment(ctx: &Ctx, actor: &Actor, app: &App, new: NewEnvironment) -> Result<Environment> {
    actor.may(Action::Deploy, &app.into())?;
    let branch = match new.branch {
        Some(branch) => branch,
        None => new.name.as_str().parse().map_err(|e| Error::invalid("branch", format!("{e}")))?,
    };
    let mut tx = ctx.store.begin().await?;
    let others = rows::of_app(&mut tx, &actor.scope(), &app.id).await?;
    if others.len() >= MOST_ENVIRONMENTS {
        return Err(Error::limit(format!("an app has at most {MOST_ENVIRONMENTS} environments")));
    }
    if others.iter().any(|other| other.name == new.name) {
        return Err(Error::exists(format!("the environment {}", new.name)));
    }
    free_branch(&others, &branch)?;
    let environment = Environment {
        id: EnvironmentId::fresh(),
        app_id: app.id.clone(),
        name: new.name,
        branch,
        spec: EnvironmentSpec::default(),
        generation: 1,
        status: EnvironmentStatus::default(),
        created_at: ctx.now(),
    };
    rows::insert(&mut tx, &environment).await?;
    let organization = organizations::find(&mut tx, &actor.scope(), &app.organization_id).await?;
    let organization = organization.ok_or_else(|| Error::not_found("organization"))?;
    routing::claim_for(&mut tx, ctx, &organization, &app.name, &environment).await?;
    let happened = Happened::EnvironmentCreated { name: environment.name.clone() };
    tell(&mut tx, ctx, actor, &environment, happened).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    tracing::info!(app.id = %app.id, environment.id = %environment.id, environment.name = %environment.name, user.id = %actor.user.id, "environment created");
    Ok(environment)
}

/// Removes its rows. What is kept of it elsewhere is for `deploy::destroy_environment`, the verb around this one.
pub async fn delete_environment(tx: &mut Tx, ctx: &Ctx, actor: &Actor, app: &App, name: &str) -> Result<Environment> {
    actor.may(Action::DestroyApp, &app.into())?;
    let environment = find(tx, actor, app, name).await?;
    if environment.name.as_str() == PRODUCTION {
        return Err(Error::conflict("production goes with its app: hythe apps:destroy"));
    }
    if !rows::delete(tx, &actor.scope(), &environment.id).await? {
        return Err(Error::not_found("environment"));
    }
    // Of the app: the environment's own go with it.
    let happened = Happened::EnvironmentDestroyed { name: environment.name.clone() };
    tell_of(tx, ctx, actor, Subject::App(&app.id), environment.name.to_string(), happened).await?;
    Ok(environment)
}

fn free_branch(others: &[Environment], branch: &BranchName) -> Result<()> {
    match others.iter().find(|other| other.branch == *branch) {
        Some(other) => Err(Error::conflict(format!("the branch {branch} already deploys to {}", other.name))),
        None => Ok(()),
    }
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
    if change.watch_seconds.is_some_and(|seconds| seconds > LONGEST_WATCH) {
        return Err(Error::invalid("watch_seconds", format!("must be 0 to {LONGEST_WATCH}")));
    }
    let mut tx = ctx.store.begin().await?;
    let mut environment = find(&mut tx, actor, app, name).await?;
    let (mut what, was) = (Vec::new(), environment.spec.clone());
    if let Some(branch) = change.branch.filter(|branch| *branch != environment.branch) {
        let others = rows::of_app(&mut tx, &actor.scope(), &app.id).await?;
        free_branch(&others, &branch)?;
        rows::set_branch(&mut tx, &environment.id, &branch).await?;
        what.push("branch".to_owned());
        environment.branch = branch;
    }
    if change.stopped == Some(true) && environment.status.canary.is_some() {
        let text = "a canary is held here; first: hythe releases:continue, or hythe releases:abort";
        return Err(Error::conflict(text));
    }
    let mut spec = environment.spec.clone();
    if let Some(strategy) = change.strategy.filter(|strategy| *strategy != spec.strategy) {
        if deployments::rolling_out(&mut tx, &environment.id).await?.is_some() {
            let text = "a release is being rolled out; change the strategy when that has ended (hythe deployments)";
            return Err(Error::conflict(text));
        }
        what.push("strategy".to_owned());
        spec.strategy = strategy;
    }
    spec.watch_seconds = change.watch_seconds.unwrap_or(spec.watch_seconds);
    spec.stopped = change.stopped.unwrap_or(spec.stopped);
    spec.https.redirect = change.redirect.unwrap_or(spec.https.redirect);
    spec.https.hsts_seconds = change.hsts_seconds.unwrap_or(spec.https.hsts_seconds);
    if let Some(text) = spec.https.fault() {
        return Err(Error::invalid("hsts_seconds", text));
    }
    if spec.https != was.https {
        what.push("https".to_owned());
    }
    if spec.watch_seconds != was.watch_seconds {
        what.push("watch".to_owned());
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
