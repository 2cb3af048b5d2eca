//! From what a person typed to an app.

use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppId, AppName, Organization, TenantName};
use crate::product::{Ctx, routing};
use crate::state::store::{Tx, apps, environments, organizations, routes};

/// `shop`, `acme/shop` or `app_…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppRef {
    Id(AppId),
    Name { organization: Option<TenantName>, name: AppName },
}

impl AppRef {
    /// None is a text that can name no app.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(id) = text.parse() {
            return Some(Self::Id(id));
        }
        let (organization, name) = match text.split_once('/') {
            Some((organization, name)) => (Some(organization.parse().ok()?), name),
            None => (None, text),
        };
        Some(Self::Name { organization, name: name.parse().ok()? })
    }
}

pub async fn resolve(ctx: &Ctx, actor: &Actor, text: &str) -> Result<App> {
    actor.may_act()?;
    let mut tx = ctx.store.read().await?;
    find(&mut tx, actor, text).await
}

pub(crate) async fn find(tx: &mut Tx, actor: &Actor, text: &str) -> Result<App> {
    let absent = || Error::not_found("app");
    let (organization, name) = match AppRef::parse(text).ok_or_else(absent)? {
        AppRef::Id(id) => return apps::find(tx, &actor.scope(), &id).await?.ok_or_else(absent),
        AppRef::Name { organization, name } => (organization, name),
    };
    let mut found = apps::find_by_name(tx, &actor.scope(), organization.as_ref(), &name).await?;
    match found.len() {
        0 => Err(absent()),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let mut choices = Vec::new();
            for app in &found {
                let owner = organizations::find(tx, &actor.scope(), &app.organization_id).await?;
                choices.extend(owner.map(|o| format!("{}/{name}", o.name)));
            }
            Err(Error::conflict(format!("\"{name}\" could be any of {}; name the one you mean", choices.join(", "))))
        }
    }
}

/// Where the page after this one of `list` begins; none after the last one.
pub fn next(page: &[App], limit: i64) -> Option<&AppName> {
    // Namesakes are on one page, so that it may have more than `limit`.
    page.last().filter(|_| i64::try_from(page.len()).is_ok_and(|length| length >= limit)).map(|last| &last.name)
}

/// By name; `after` is the last name of the page before.
pub async fn list(ctx: &Ctx, actor: &Actor, after: Option<&AppName>, limit: i64) -> Result<Vec<App>> {
    actor.may_act()?;
    let mut tx = ctx.store.read().await?;
    apps::list(&mut tx, &actor.scope(), after, limit).await
}

/// An app with what every list of apps shows.
#[derive(Debug, Clone)]
pub struct AppOverview {
    pub app: App,
    pub organization: Organization,
    /// Where its first environment answers.
    pub url: Option<String>,
    pub git_url: String,
    pub git_http_url: String,
}

/// Of apps that were found through the actor's scope.
pub async fn describe(ctx: &Ctx, actor: &Actor, apps: &[App]) -> Result<Vec<AppOverview>> {
    let mut tx = ctx.store.read().await?;
    let mut all = Vec::with_capacity(apps.len());
    for app in apps {
        actor.may(Action::ViewApp, &app.into())?;
        let organization = organizations::find(&mut tx, &actor.scope(), &app.organization_id)
            .await?
            .ok_or_else(|| Error::not_found("organization"))?;
        let namesakes = self::apps::find_by_name(&mut tx, &actor.scope(), None, &app.name).await?.len();
        let url = match environments::of_app(&mut tx, &actor.scope(), &app.id).await?.first() {
            Some(first) => {
                routes::of_environment(&mut tx, &first.id).await?.first().map(|r| routing::url(&ctx.config, &r.host))
            }
            None => None,
        };
        let shown = Some(&organization).filter(|_| namesakes > 1);
        let (git_url, git_http_url) = routing::git_urls(&ctx.config, shown, &app.name);
        all.push(AppOverview { app: app.clone(), organization, url, git_url, git_http_url });
    }
    Ok(all)
}
