//! Making, renaming and destroying apps. What runs of a destroyed app is nobody's business here:
//! it is no longer desired, so the converger removes it.

use super::told::tell_of;
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{
    App, AppId, AppName, Environment, EnvironmentId, EnvironmentSpec, EnvironmentStatus, Happened, Id,
};
use crate::base::model::{Organization, TenantName};
use crate::product::{Ctx, accounts, routing};
use crate::state::store::events::Subject;
use crate::state::store::{Tx, apps, environments, organizations, routes};

pub struct NewApp {
    pub name: AppName,
    /// None is the actor's default organization.
    pub organization: Option<TenantName>,
}

pub async fn create(ctx: &Ctx, actor: &Actor, new: NewApp) -> Result<App> {
    actor.may_act_freely()?;
    let mut tx = ctx.store.begin().await?;
    let organization = match &new.organization {
        Some(name) => organizations::find_by_name(&mut tx, &actor.scope(), name)
            .await?
            .ok_or_else(|| Error::not_found("organization"))?,
        None => accounts::default_organization(&mut tx, ctx, actor).await?,
    };
    let space = accounts::default_space(&mut tx, ctx, &organization).await?;
    reloaded(&mut tx, actor).await?.may(Action::CreateApp, &Place::from(&space))?;
    let app = App {
        id: AppId::fresh(),
        organization_id: organization.id.clone(),
        space_id: space.id,
        name: new.name,
        created_at: ctx.now(),
    };
    apps::insert(&mut tx, &app).await.map_err(|e| taken(e, &app.name))?;
    let production = Environment {
        id: EnvironmentId::fresh(),
        app_id: app.id.clone(),
        name: super::PRODUCTION.parse().map_err(Error::internal)?,
        branch: "main".parse().map_err(Error::internal)?,
        spec: EnvironmentSpec::default(),
        generation: 1,
        status: EnvironmentStatus::default(),
        created_at: app.created_at,
    };
    environments::insert(&mut tx, &production).await?;
    routing::claim_for(&mut tx, ctx, &organization, &app.name, &production).await?;
    let created = Happened::AppCreated { name: app.name.to_string() };
    tell_of(&mut tx, ctx, actor, Subject::App(&app.id), app.name.to_string(), created).await?;
    tx.commit().await?;
    tracing::info!(app.id = %app.id, app.name = %app.name, user.id = %actor.user.id, "app created");
    Ok(app)
}

/// The host names that carry the old name follow; others stay.
pub async fn rename(ctx: &Ctx, actor: &Actor, app: &App, name: AppName) -> Result<App> {
    actor.may(Action::DestroyApp, &app.into())?;
    if app.name == name {
        return Ok(app.clone());
    }
    let mut tx = ctx.store.begin().await?;
    let organization = owner(&mut tx, actor, app).await?;
    if !apps::rename(&mut tx, &actor.scope(), &app.id, &name).await.map_err(|e| taken(e, &name))? {
        return Err(Error::not_found("app"));
    }
    for environment in environments::of_app(&mut tx, &actor.scope(), &app.id).await? {
        for route in routes::of_environment(&mut tx, &environment.id).await? {
            if routing::is_own(&ctx.config, &organization, &app.name, &environment, &route.host) {
                let host = routing::free_host(&mut tx, &ctx.config, &organization, &name, &environment.name).await?;
                routes::set_host(&mut tx, &route.id, &host).await?;
            }
        }
    }
    let renamed = Happened::AppRenamed { from: app.name.to_string(), to: name.to_string() };
    tell_of(&mut tx, ctx, actor, Subject::App(&app.id), name.to_string(), renamed).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    tracing::info!(app.id = %app.id, app.name = %name, user.id = %actor.user.id, "app renamed");
    Ok(App { name, ..app.clone() })
}

/// Removes the rows of the app. What is kept of it elsewhere is for `deploy::destroy`, the verb around this one.
pub async fn delete(tx: &mut Tx, actor: &Actor, app: &App) -> Result<()> {
    actor.may(Action::DestroyApp, &app.into())?;
    if apps::delete(tx, &actor.scope(), &app.id).await? { Ok(()) } else { Err(Error::not_found("app")) }
}

/// The actor with the memberships it has now: the first app of a user brings an organization, and a membership in it.
pub async fn refreshed(ctx: &Ctx, actor: &Actor) -> Result<Actor> {
    actor.may_act()?;
    reloaded(&mut ctx.store.read().await?, actor).await
}

async fn reloaded(tx: &mut Tx, actor: &Actor) -> Result<Actor> {
    if actor.bound.is_some() {
        return Ok(actor.clone());
    }
    let memberships = crate::state::store::memberships::of_user(tx, &actor.user.id).await?;
    Ok(Actor { user: actor.user.clone(), memberships, bound: None })
}

async fn owner(tx: &mut Tx, actor: &Actor, app: &App) -> Result<Organization> {
    organizations::find(tx, &actor.scope(), &app.organization_id).await?.ok_or_else(|| Error::not_found("organization"))
}

fn taken(error: Error, name: &AppName) -> Error {
    match error.kind {
        Kind::Exists => Error::exists(format!("an app with the name \"{name}\"")).because(error),
        _ => error,
    }
}
