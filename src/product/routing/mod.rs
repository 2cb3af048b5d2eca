//! Which host names an environment answers on, and the addresses made of them for people.

mod acme;
mod certificates;
mod keeper;
mod names;
mod proof;

use crate::base::access::{Action, Actor};
use crate::base::config::Config;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, AppName, DomainName, Environment, EnvironmentId, EnvironmentName, Id, Organization, Route, RouteId,
};
use crate::product::Ctx;
use crate::state::store::{Tx, domains, routes};

pub use acme::{NameState, NameView, certificate_names, order_certificates};
pub use certificates::{CertificateView, add_certificate, authority, certificates, remove_certificate};
pub use keeper::CertificateKeeper;
pub(crate) use names::{is_platforms, owner_elsewhere};
pub(crate) use proof::{file_url, prove, text};

pub async fn of_environment(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Vec<Route>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    routes::of_environment(&mut tx, &environment.id).await
}

/// The host that an environment has by itself: `<app>.<base domain>` for production, else `<environment>--<app>.<base
/// domain>`; with `<app>-<organization>` in the app's place where another organization has that one.
pub(crate) async fn claim_for(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &Organization,
    app: &AppName,
    environment: &Environment,
) -> Result<Route> {
    let host = free_host(tx, &ctx.config, organization, app, &environment.name).await?;
    let route = Route { id: RouteId::fresh(), environment_id: environment.id.clone(), host, created_at: ctx.now() };
    routes::insert(tx, &route).await?;
    Ok(route)
}

pub(crate) async fn free_host(
    tx: &mut Tx,
    config: &Config,
    organization: &Organization,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<DomainName> {
    let plain = host(&own_host(config, app, environment))?;
    if routes::find_by_host(tx, &plain).await?.is_none() {
        return Ok(plain);
    }
    // The grammar of app names is asked once more: together the two may be a name of the platform's own.
    let long = format!("{app}-{}", organization.name);
    let taken = || Error::exists(format!("the host {plain}")).because(format!("{long} is no way out"));
    let long: AppName = long.parse().map_err(|_| taken())?;
    let other = host(&own_host(config, &long, environment))?;
    if routes::find_by_host(tx, &other).await?.is_some() {
        return Err(taken());
    }
    Ok(other)
}

/// Whether the environment has the host by itself: it follows the app's name.
pub(crate) fn is_own(
    config: &Config,
    organization: &Organization,
    app: &AppName,
    environment: &Environment,
    host: &DomainName,
) -> bool {
    let long = format!("{app}-{}", organization.name).parse::<AppName>().ok();
    std::iter::once(app.clone()).chain(long).any(|app| own_host(config, &app, &environment.name) == host.as_str())
}

fn own_host(config: &Config, app: &AppName, environment: &EnvironmentName) -> String {
    match environment.as_str() {
        "production" => config.http.app_host(app),
        // No name of an app holds `--`, so the last one in a label parts the two.
        other => format!("{other}--{app}.{}", config.http.base_domain),
    }
}

/// Hosts below the base domain are the platform's to give: they follow the names of apps and environments. All others
/// are part of what a release is.
pub(crate) fn is_below(config: &Config, host: &DomainName) -> bool {
    names::is_at_or_below(host.bare(), config.http.base_domain.as_str())
}

pub(crate) async fn own_hosts(tx: &mut Tx, config: &Config, environment: &Environment) -> Result<Vec<DomainName>> {
    let routes = routes::of_environment(tx, &environment.id).await?;
    Ok(routes.into_iter().map(|r| r.host).filter(|host| is_below(config, host)).collect())
}

/// Gives the environment these hosts and no others, those of the platform aside. Returns those that are not its own any
/// more: it gave them up, and they may be another's by now.
pub(crate) async fn restore(
    tx: &mut Tx,
    ctx: &Ctx,
    environment: &EnvironmentId,
    hosts: &[DomainName],
) -> Result<Vec<DomainName>> {
    let wanted = |host: &DomainName| is_below(&ctx.config, host) || hosts.contains(host);
    for route in routes::of_environment(tx, environment).await?.iter().filter(|route| !wanted(&route.host)) {
        routes::delete(tx, &route.id).await?;
    }
    let mut lost = Vec::new();
    for host in hosts.iter().filter(|host| !is_below(&ctx.config, host)) {
        match routes::find_by_host(tx, host).await? {
            Some(route) if route.environment_id == *environment => {}
            Some(_) => lost.push(host.clone()),
            None if owns(tx, environment, host).await? => open(tx, ctx, environment, host).await?,
            None => lost.push(host.clone()),
        }
    }
    Ok(lost)
}

async fn owns(tx: &mut Tx, environment: &EnvironmentId, host: &DomainName) -> Result<bool> {
    Ok(domains::owner(tx, host).await?.is_some_and(|domain| domain.environment_id == *environment))
}

/// Exists when the host is taken.
pub(crate) async fn open(tx: &mut Tx, ctx: &Ctx, environment: &EnvironmentId, host: &DomainName) -> Result<()> {
    let (environment_id, created_at) = (environment.clone(), ctx.now());
    routes::insert(tx, &Route { id: RouteId::fresh(), environment_id, host: host.clone(), created_at }).await
}

/// The address of a host behind the proxy.
pub fn url(config: &Config, host: &DomainName) -> String {
    config.url(host.as_str())
}

/// Where the app is pushed to, over SSH and over HTTP. The organization stands in it only when the plain name would be
/// ambiguous.
pub fn git_urls(config: &Config, organization: Option<&Organization>, app: &AppName) -> (String, String) {
    let path = organization.map_or_else(|| format!("{app}.git"), |o| format!("{}/{app}.git", o.name));
    let (host, port) = (&config.git.public_host, config.git.listen.port());
    let port = if port == 22 { String::new() } else { format!(":{port}") };
    (format!("ssh://git@{host}{port}/{path}"), format!("{}/{path}", config.url(&config.http.api_host())))
}

fn host(text: &str) -> Result<DomainName> {
    text.parse().map_err(|e| Error::invalid("name", format!("makes the host name {text}, which {e}")))
}
