//! Sizes by name: what the replicas of a process type may use. Another size needs new replicas, so it is a deployment.

use std::collections::BTreeMap;

use super::activate::{self, Order};
use super::settings::{self, find, nothing_under_way, number_fault, refuse, unknown_process, write};
use super::shape::{Shape, ShapeChange};
use crate::base::access::{Action, Actor, Place};
use crate::base::config::Size;
use crate::base::error::Result;
use crate::base::model::{
    App, Deployment, DeploymentKind, Environment, Formation, Happened, Manifest, ProcessName, Release, SizeName,
};
use crate::product::{Ctx, apps};
use crate::state::store::{self, Tx};

/// What stays None stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub count: Option<u32>,
    /// Some(None): back to the usual one.
    pub size: Option<Option<SizeName>>,
}

/// The usual one first.
pub fn sizes(ctx: &Ctx, actor: &Actor) -> Result<Vec<Size>> {
    actor.may_act()?;
    let runtime = &ctx.config.runtime;
    Ok(std::iter::once(runtime.usual()).chain(runtime.sizes.iter().cloned()).collect())
}

/// Numbers and sizes together. Numbers alone are a change of settings; a size that changes is a deployment, which takes
/// the numbers along. Before the first release both are kept for it.
pub async fn set_formation(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    wanted: &BTreeMap<ProcessName, Wanted>,
) -> Result<(Environment, Option<Deployment>)> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let current = settings::good(&mut tx, &environment).await?;
    let mut faults = Vec::new();
    let mut changes = Vec::new();
    for (process, wanted) in wanted {
        if let Some(count) = wanted.count {
            let fault = number_fault(&environment, current.as_ref(), process, count);
            faults.extend(fault.map(|text| (process.to_string(), text)));
            changes.push(ShapeChange::Number { process: process.clone(), count });
        }
        let Some(size) = &wanted.size else { continue };
        let unknown = size.as_ref().and_then(|size| unknown_size(ctx, size));
        let fault = unknown.or_else(|| unknown_process(current.as_ref(), process));
        faults.extend(fault.map(|text| (process.to_string(), text)));
        if environment.spec.sizes.get(process) != size.as_ref() {
            changes.push(ShapeChange::Size { process: process.clone(), size: size.clone() });
        }
    }
    refuse(faults)?;
    if !changes.iter().any(|change| matches!(change, ShapeChange::Size { .. })) {
        drop(tx);
        let numbers: Formation = wanted.iter().filter_map(|(name, w)| Some((name.clone(), w.count?))).collect();
        return Ok((settings::scale(ctx, actor, app, &environment, &numbers).await?, None));
    }
    let description = describe(&changes);
    apply(ctx, tx, actor, app, environment, current, changes, description).await
}

/// A deployment of what runs with the changes; where nothing runs they are written for the first release.
#[allow(clippy::too_many_arguments, reason = "what a verb has at hand, passed on once")]
pub(super) async fn apply(
    ctx: &Ctx,
    mut tx: Tx,
    actor: &Actor,
    app: &App,
    environment: Environment,
    current: Option<Release>,
    changes: Vec<ShapeChange>,
    description: String,
) -> Result<(Environment, Option<Deployment>)> {
    apps::tell(&mut tx, ctx, actor, &environment, Happened::EnvironmentChanged { what: vec![description.clone()] })
        .await?;
    let Some(current) = current else {
        nothing_under_way(&mut tx, &environment).await?;
        let mut spec = environment.spec.clone();
        Shape::of_spec(&spec).changed(&changes).put_into(&mut spec);
        let environment = write(&mut tx, environment, spec).await?;
        tx.commit().await?;
        return Ok((environment, None));
    };
    let version = store::variables::latest(&mut tx, &environment.id).await?.map_or(0, |set| set.version);
    let order = Order {
        source: current.id,
        variables_version: version,
        variables_before: version,
        restores_formation: false,
        changes,
        description,
    };
    let kind = DeploymentKind::Settings;
    let deployment = activate::enqueue(ctx, &mut tx, actor, app, &environment, order, kind).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok((environment, Some(deployment)))
}

fn describe(changes: &[ShapeChange]) -> String {
    let words = changes.iter().filter_map(|change| match change {
        ShapeChange::Number { process, count } => Some(format!("{process}={count}")),
        ShapeChange::Size { process, size } => {
            Some(format!("{process}={}", size.as_ref().map_or(crate::base::config::USUAL, SizeName::as_str)))
        }
        _ => None,
    });
    format!("scale {}", words.collect::<Vec<_>>().join(" "))
}

/// Completes a sentence that begins with what has the size.
fn unknown_size(ctx: &Ctx, size: &SizeName) -> Option<String> {
    let runtime = &ctx.config.runtime;
    if runtime.size(size).is_some() {
        return None;
    }
    let names: Vec<_> = runtime.sizes.iter().map(|known| known.name.as_str()).collect();
    Some(format!(
        "cannot be {size}: there is no such size; there are {}, {}",
        crate::base::config::USUAL,
        names.join(", ")
    ))
}

/// The first size of an `app.json` that there is not.
pub(super) fn unknown_wish(ctx: &Ctx, manifest: &Manifest) -> Option<String> {
    manifest.sizes.iter().find_map(|(process, size)| {
        Some(format!("app.json: formation.{process}.size: {process} {}", unknown_size(ctx, size)?))
    })
}
