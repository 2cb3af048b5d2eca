//! Which host names an environment answers on, and the addresses made of them for people.

use crate::base::access::{Action, Actor};
use crate::base::config::Config;
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppName, Environment, EnvironmentId, Host, Id, Organization, Route, RouteId};
use crate::product::Ctx;
use crate::state::store::{Tx, routes};

pub async fn of_environment(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Vec<Route>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    routes::of_environment(&mut tx, &environment.id).await
}

/// `<app>.<base domain>`, or `<app>-<organization>.<base domain>` where another organization has that one.
pub(crate) async fn claim(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &Organization,
    app: &AppName,
    environment: &EnvironmentId,
) -> Result<Route> {
    let host = free_host(tx, &ctx.config, organization, app).await?;
    let route = Route { id: RouteId::fresh(), environment_id: environment.clone(), host, created_at: ctx.now() };
    routes::insert(tx, &route).await?;
    Ok(route)
}

pub(crate) async fn free_host(
    tx: &mut Tx,
    config: &Config,
    organization: &Organization,
    app: &AppName,
) -> Result<Host> {
    let plain = host(&config.http.app_host(app))?;
    if routes::find_by_host(tx, &plain).await?.is_none() {
        return Ok(plain);
    }
    // The grammar of app names is asked once more: together the two may be a name of the platform's own.
    let long = format!("{app}-{}", organization.name);
    let taken = || Error::exists(format!("the host {plain}")).because(format!("{long} is no way out"));
    let long: AppName = long.parse().map_err(|_| taken())?;
    let other = host(&config.http.app_host(&long))?;
    if routes::find_by_host(tx, &other).await?.is_some() {
        return Err(taken());
    }
    Ok(other)
}

/// The address of a host behind the proxy.
pub fn url(config: &Config, host: &Host) -> String {
    config.http.url(host.as_str(), config.http.proxy_listen.port())
}

/// Where the app is pushed to. The organization stands in it only when `plain` would be ambiguous.
pub fn git_url(config: &Config, organization: Option<&Organization>, app: &AppName) -> String {
    let path = organization.map_or_else(|| format!("{app}.git"), |o| format!("{}/{app}.git", o.name));
    let (host, port) = (&config.git.public_host, config.git.listen.port());
    if port == 22 { format!("ssh://git@{host}/{path}") } else { format!("ssh://git@{host}:{port}/{path}") }
}

fn host(text: &str) -> Result<Host> {
    text.parse().map_err(|e| Error::invalid("name", format!("makes the host name {text}, which {e}")))
}
