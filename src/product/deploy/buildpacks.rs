//! Which buildpacks an environment is built with. They are taken by the next build: nothing that runs changes.

use super::settings::{find, refuse, write};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::Result;
use crate::base::model::{App, BuildpackRef, Environment, Happened, MOST_BUILDPACKS};
use crate::product::{Ctx, apps};

/// None leaves it to the tree: project.toml, app.json, or what knows it.
pub async fn set_buildpacks(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    buildpacks: Vec<BuildpackRef>,
) -> Result<Environment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let fault = |text: String| Some(("buildpacks".to_owned(), text));
    let twice = buildpacks.iter().enumerate().find(|(at, buildpack)| buildpacks[..*at].contains(buildpack));
    refuse(if buildpacks.len() > MOST_BUILDPACKS {
        fault(format!("there can be at most {MOST_BUILDPACKS}"))
    } else {
        twice.and_then(|(_, buildpack)| fault(format!("{buildpack} is there twice")))
    })?;
    if environment.spec.buildpacks == buildpacks {
        return Ok(environment);
    }
    let names: Vec<_> = buildpacks.iter().map(ToString::to_string).collect();
    let what =
        if names.is_empty() { "buildpacks of the tree".to_owned() } else { format!("buildpacks {}", names.join(", ")) };
    apps::tell(&mut tx, ctx, actor, &environment, Happened::EnvironmentChanged { what: vec![what] }).await?;
    let mut spec = environment.spec.clone();
    spec.buildpacks = buildpacks;
    let environment = write(&mut tx, environment, spec).await?;
    tx.commit().await?;
    Ok(environment)
}
