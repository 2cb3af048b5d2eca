//! Promotion: what is live in one environment becomes a release of another, without a build and with that one's own
//! variables, numbers, checks and hosts.

use super::activate::{self, Order};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Deployment, DeploymentKind, Environment};
use crate::product::Ctx;
use crate::state::store;

pub async fn promote(ctx: &Ctx, actor: &Actor, app: &App, from: &Environment, to: &Environment) -> Result<Deployment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    if from.id == to.id {
        return Err(Error::invalid("from", format!("{} cannot be promoted to itself", from.name)));
    }
    let mut tx = ctx.store.begin().await?;
    super::guide::nothing_held(&mut tx, app).await?;
    let live = store::environments::find(&mut tx, &actor.scope(), &from.id).await?.and_then(|e| e.status.live_release);
    let live = live.ok_or_else(|| Error::conflict(format!("nothing is live in {}; push there first", from.name)))?;
    let source = activate::find_release(&mut tx, &live).await?;
    let version = store::variables::latest(&mut tx, &to.id).await?.map_or(0, |set| set.version);
    let order = Order {
        variables_version: version,
        variables_before: version,
        restores_formation: false,
        changes: Vec::new(),
        description: format!("promote v{} of {}", source.number, from.name),
        source: source.id,
    };
    let deployment = activate::enqueue(ctx, &mut tx, actor, app, to, order, DeploymentKind::Promotion).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok(deployment)
}
