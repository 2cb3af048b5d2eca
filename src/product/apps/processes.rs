//! Process types and their number.

use std::collections::BTreeMap;

use super::environments::{find, write};
use super::told::tell;
use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{App, Environment, Formation, Generation, Happened, ProcessName, Scaling};
use crate::product::Ctx;
use crate::state::store::releases;

pub(super) const MOST_REPLICAS: u32 = 100;

#[derive(Debug, Clone)]
pub struct ProcessView {
    pub name: ProcessName,
    pub command: Vec<String>,
    pub wanted: u32,
    pub ready: u32,
    /// The platform chose `wanted`, within these bounds.
    pub scaling: Option<Scaling>,
}

/// Those of the release that shall be live.
pub async fn processes(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Vec<ProcessView>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let Some(id) = &environment.spec.release else { return Ok(Vec::new()) };
    let Some(release) = releases::find(&mut tx, &actor.scope(), id).await? else { return Ok(Vec::new()) };
    let view = |(name, process): (&ProcessName, &crate::base::model::Process)| ProcessView {
        wanted: if environment.spec.stopped { 0 } else { wanted(environment, name) },
        scaling: environment.spec.scaling.get(name).cloned(),
        ready: environment.status.ready.get(name).copied().unwrap_or(0),
        name: name.clone(),
        command: process.command.clone(),
    };
    Ok(release.processes.iter().filter(|(name, _)| name.as_str() != "release").map(view).collect())
}

/// Sets the numbers given and leaves the others. Before the first release any name is taken on trust.
pub async fn scale(ctx: &Ctx, actor: &Actor, app: &App, environment: &str, numbers: &Formation) -> Result<Environment> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let known = match &environment.spec.release {
        Some(id) => releases::find(&mut tx, &actor.scope(), id).await?.map(|release| release.processes),
        None => None,
    };
    let mut faults: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, count) in numbers {
        let fault = if *count > MOST_REPLICAS {
            format!("must be 0 to {MOST_REPLICAS}")
        } else if name.as_str() == "release" {
            "runs once per release and is not scaled".into()
        } else if let Some(known) = known.as_ref().filter(|known| !known.contains_key(name)) {
            let names: Vec<_> = known.keys().map(ProcessName::as_str).filter(|n| *n != "release").collect();
            format!("is no process type of this app; it has {}", names.join(", "))
        } else if let Some(scaling) = environment.spec.scaling.get(name) {
            let (min, max) = (scaling.min, scaling.max);
            format!("is scaled by the platform, {min} to {max}; first: hythe ps:autoscale {name} --off")
        } else {
            continue;
        };
        faults.entry(name.to_string()).or_default().push(fault);
    }
    if let Some((name, texts)) = faults.first_key_value() {
        let public = format!("{name}: {}", texts.join("; "));
        return Err(Error::new(Kind::Invalid(faults), public));
    }
    let before = |name: &ProcessName| wanted(&environment, name);
    let changed = numbers.iter().filter(|(name, count)| before(name) != **count);
    let changed: BTreeMap<_, _> = changed.map(|(name, count)| (name.to_string(), (before(name), *count))).collect();
    if !changed.is_empty() {
        tell(&mut tx, ctx, actor, &environment, Happened::Scaled { numbers: changed }).await?;
    }
    let mut spec = environment.spec.clone();
    spec.formation.extend(numbers.iter().map(|(name, count)| (name.clone(), *count)));
    let environment = write(&mut tx, environment, spec).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(environment)
}

/// New replicas of the same release take over from the ones that run, without a gap.
pub async fn restart(ctx: &Ctx, actor: &Actor, app: &App, environment: &str) -> Result<Environment> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    if environment.spec.release.is_none() {
        return Err(Error::conflict("nothing was deployed here yet; push first"));
    }
    let mut spec = environment.spec.clone();
    // The number of the spec that asks for it: no rollout, given up or not, ever had it.
    spec.rollout = Generation(environment.generation + 1);
    let environment = write(&mut tx, environment, spec).await?;
    tell(&mut tx, ctx, actor, &environment, Happened::Restarted {}).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(environment)
}

fn wanted(environment: &Environment, name: &ProcessName) -> u32 {
    let scaled = environment.status.scaled.get(name).filter(|_| environment.spec.scaling.contains_key(name));
    scaled
        .or_else(|| environment.spec.formation.get(name))
        .copied()
        .unwrap_or_else(|| u32::from(name.as_str() == "web"))
}
