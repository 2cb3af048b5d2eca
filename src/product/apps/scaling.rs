//! Process types whose replicas the platform counts, within bounds that people set.

use super::environments::{find, write};
use super::processes::MOST_REPLICAS;
use super::told::tell;
use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Environment, Happened, ProcessName, Scaling};
use crate::product::Ctx;

const MOST_IN_FLIGHT: u32 = 10_000;
const LONGEST_LATENCY_MILLIS: u32 = 60_000;
/// Seven days.
const LONGEST_IDLE_SECONDS: u32 = 604_800;

/// None gives the number back to the formation.
pub async fn autoscale(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &str,
    process: &ProcessName,
    scaling: Option<Scaling>,
) -> Result<Environment> {
    actor.may(Action::Deploy, &app.into())?;
    if process.as_str() != "web" {
        let text = "receives no requests, so nothing says how many replicas it needs; set their number with ps:scale";
        return Err(Error::invalid("process", format!("{process} {text}")));
    }
    if let Some(scaling) = &scaling {
        check(scaling)?;
    }
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let alone = environment.spec.mounts.get(process).and_then(|here| here.iter().find(|mount| !mount.shared));
    if let Some(mount) = alone.filter(|_| scaling.as_ref().is_some_and(|scaling| scaling.max > 1)) {
        let text = "which one replica at a time may use; the most is 1";
        return Err(Error::invalid("max", format!("{process} has the volume {}, {text}", mount.volume)));
    }
    let mut spec = environment.spec.clone();
    match scaling {
        Some(scaling) => spec.scaling.insert(process.clone(), scaling),
        None => spec.scaling.remove(process),
    };
    let what = vec![format!("autoscaling of {process}")];
    tell(&mut tx, ctx, actor, &environment, Happened::EnvironmentChanged { what }).await?;
    let environment = write(&mut tx, environment, spec).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(environment)
}

fn check(scaling: &Scaling) -> Result<()> {
    if !(1..=MOST_REPLICAS).contains(&scaling.max) {
        return Err(Error::invalid("max", format!("must be 1 to {MOST_REPLICAS}")));
    }
    if scaling.min > scaling.max {
        return Err(Error::invalid("min", format!("must be 0 to max, which is {}", scaling.max)));
    }
    if !(1..=MOST_IN_FLIGHT).contains(&scaling.in_flight) {
        return Err(Error::invalid("in_flight", format!("must be 1 to {MOST_IN_FLIGHT}")));
    }
    if !(1..=LONGEST_IDLE_SECONDS).contains(&scaling.idle_seconds) {
        return Err(Error::invalid("idle_seconds", format!("must be 1 to {LONGEST_IDLE_SECONDS}")));
    }
    for (field, percent) in [("cpu_percent", scaling.cpu_percent), ("memory_percent", scaling.memory_percent)] {
        if percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
            return Err(Error::invalid(field, "must be 1 to 100, percent of what a replica may use"));
        }
    }
    if scaling.latency_millis.is_some_and(|millis| !(1..=LONGEST_LATENCY_MILLIS).contains(&millis)) {
        return Err(Error::invalid("latency_millis", format!("must be 1 to {LONGEST_LATENCY_MILLIS}")));
    }
    Ok(())
}
