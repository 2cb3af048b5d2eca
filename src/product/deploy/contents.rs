//! What is in the images of releases, and which environments run a package.

use std::collections::BTreeSet;

use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppName, Environment, EnvironmentName, Release};
use crate::machinery::image::ImageError;
use crate::product::{Ctx, apps};
use crate::state::store;

pub use crate::machinery::image::{Ecosystem, Package};
pub use crate::product::builds::{BuildBom, Condition, Subject, cyclonedx, spdx};

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

/// What buildpacks said of what the app's last build was made with.
pub async fn build_boms(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Vec<BuildBom>> {
    actor.may(Action::ViewApp, &app.into())?;
    // Where nothing is built there is nothing to tell.
    let Ok(machine) = ctx.desk.machine() else { return Ok(Vec::new()) };
    let (builder, app) = (std::sync::Arc::clone(&machine.builder), app.id.clone());
    let read = tokio::task::spawn_blocking(move || builder.build_boms(&app));
    match read.await.map_err(Error::internal)? {
        Ok(found) => Ok(found),
        // A collection took the cache meanwhile.
        Err(ImageError::Missing(_)) => Ok(Vec::new()),
        Err(error) => Err(Error::internal(error)),
    }
}

/// Packages for which the condition holds, in what is live of some apps.
pub async fn find_package(ctx: &Ctx, actor: &Actor, condition: &Condition, apps: &[App]) -> Result<Vec<Found>> {
    actor.may_act()?;
    let mut found = Vec::new();
    for app in apps {
        for environment in apps::environments(ctx, actor, app).await? {
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
    Ok(found)
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
