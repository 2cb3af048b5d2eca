//! What is in the images of releases, and which environments run a package.

use std::collections::BTreeSet;

use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppName, Environment, EnvironmentName, Release};
use crate::machinery::image::ImageError;
use crate::product::{Ctx, apps};
use crate::state::store;

pub use crate::machinery::image::{Ecosystem, Package};
pub use crate::product::builds::{Condition, Subject, cyclonedx, spdx};

pub struct Contents {
    pub release: Release,
    pub packages: BTreeSet<Package>,
}

/// A package in what is live.
pub struct Found {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub release: i64,
    pub package: Package,
}

const PAGE: i64 = 200;

/// Of the release with this number, or of the live one.
pub async fn contents(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    number: Option<i64>,
) -> Result<Contents> {
    actor.may(Action::ViewApp, &app.into())?;
    let release = match number {
        Some(number) => apps::release(ctx, actor, app, environment, number).await?,
        None => live(ctx, environment).await?.ok_or_else(|| {
            Error::conflict(format!("nothing is live in {} of {} yet: push first", environment.name, app.name))
        })?,
    };
    if release.image_gone_at.is_some() {
        return Err(Error::conflict(format!("the image of v{} was removed (disk.keep_images)", release.number)));
    }
    let packages = of(ctx, &release).await?;
    Ok(Contents { release, packages })
}

/// Packages for which the condition holds, in everything live that the actor can see.
pub async fn find_package(ctx: &Ctx, actor: &Actor, condition: &Condition) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = apps::list(ctx, actor, after.as_ref(), PAGE).await?;
        for app in &page {
            let environments =
                store::environments::of_app(&mut ctx.store.read().await?, &actor.scope(), &app.id).await?;
            for environment in environments {
                let Some(release) = live(ctx, &environment).await? else { continue };
                let packages = of(ctx, &release).await?;
                found.extend(packages.into_iter().filter(|package| condition.holds(package)).map(|package| Found {
                    app: app.name.clone(),
                    environment: environment.name.clone(),
                    release: release.number,
                    package,
                }));
            }
        }
        match page.last() {
            Some(last) if page.len() as i64 == PAGE => after = Some(last.name.clone()),
            _ => return Ok(found),
        }
    }
}

async fn live(ctx: &Ctx, environment: &Environment) -> Result<Option<Release>> {
    let Some(id) = &environment.status.live_release else { return Ok(None) };
    store::releases::find(&mut ctx.store.read().await?, &crate::base::access::Scope::Platform, id).await
}

async fn of(ctx: &Ctx, release: &Release) -> Result<BTreeSet<Package>> {
    let read = ctx.desk.machine()?.builder.packages(&release.image).await;
    read.map_err(|error| match error {
        ImageError::Missing(_) => {
            Error::conflict(format!("the image of v{} is not in this server's store", release.number))
        }
        other => Error::internal(other),
    })
}
