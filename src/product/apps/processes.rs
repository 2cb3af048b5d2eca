//! Process types and their number.

use crate::base::access::{Action, Actor};
use crate::base::config::Size;
use crate::base::error::Result;
use crate::base::model::{App, Environment, ProcessName, Scaling};
use crate::product::Ctx;
use crate::state::store::releases;

/// Of one process type of one environment.
pub const MOST_REPLICAS: u32 = 100;

#[derive(Debug, Clone)]
pub struct ProcessView {
    pub name: ProcessName,
    pub command: Vec<String>,
    pub wanted: u32,
    pub ready: u32,
    /// The platform chose `wanted`, within these bounds.
    pub scaling: Option<Scaling>,
    /// What each of its replicas may use.
    pub size: Size,
}

/// Those of the release that shall be live.
pub async fn processes(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Vec<ProcessView>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let Some(id) = &environment.spec.release else { return Ok(Vec::new()) };
    let Some(release) = releases::find(&mut tx, &actor.scope(), id).await? else { return Ok(Vec::new()) };
    let runtime = &ctx.config.runtime;
    let view = |(name, process): (&ProcessName, &crate::base::model::Process)| ProcessView {
        wanted: if environment.spec.stopped { 0 } else { wanted(environment, name) },
        scaling: environment.spec.scaling.get(name).cloned(),
        ready: environment.status.ready.get(name).copied().unwrap_or(0),
        size: release.sizes.get(name).and_then(|size| runtime.size(size).cloned()).unwrap_or_else(|| runtime.usual()),
        name: name.clone(),
        command: process.command.clone(),
    };
    Ok(release.processes.iter().filter(|(name, _)| name.as_str() != "release").map(view).collect())
}

fn wanted(environment: &Environment, name: &ProcessName) -> u32 {
    let scaled = environment.status.scaled.get(name).filter(|_| environment.spec.scaling.contains_key(name));
    scaled
        .or_else(|| environment.spec.formation.get(name))
        .copied()
        .unwrap_or_else(|| u32::from(name.as_str() == "web"))
}
