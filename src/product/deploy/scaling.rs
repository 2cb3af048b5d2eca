//! Process types whose replicas the platform counts, within bounds that people set.

use super::settings::{find, good, refuse, settle, unknown_process};
use super::shape;
use crate::base::access::{Action, Actor, Place};
use crate::base::error::Result;
use crate::base::model::{App, Environment, Happened, ProcessName, Scaling};
use crate::product::Ctx;
use crate::product::apps::{self, MOST_REPLICAS};

const MOST_IN_FLIGHT: u32 = 10_000;
const LONGEST_LATENCY_MILLIS: u32 = 60_000;
/// Seven days.
const LONGEST_IDLE_SECONDS: u32 = 604_800;

/// None gives the number back to the formation.
pub async fn autoscale(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    process: &ProcessName,
    scaling: Option<Scaling>,
) -> Result<Environment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let current = good(&mut tx, &environment).await?;
    let mut faults: Vec<(&str, String)> = Vec::new();
    faults.extend(unknown_process(current.as_ref(), process).map(|text| ("process", format!("{process} {text}"))));
    if let Some(scaling) = &scaling {
        faults.extend(bounds_faults(scaling));
        faults.extend(aims_faults(process, scaling));
        let crowd = shape::crowd_fault(&environment.spec.mounts, process, scaling.max);
        faults.extend(crowd.map(|text| ("max", format!("{process} {text}"))));
    }
    refuse(faults.into_iter().map(|(field, text)| (field.to_owned(), text)))?;
    let mut spec = environment.spec.clone();
    let description = match &scaling {
        Some(scaling) => format!("autoscale {process} {}", scaling.words(process)),
        None => format!("autoscale {process} off"),
    };
    match scaling {
        Some(scaling) => spec.scaling.insert(process.clone(), scaling),
        None => spec.scaling.remove(process),
    };
    if spec != environment.spec {
        let what = vec![format!("autoscaling of {process}")];
        apps::tell(&mut tx, ctx, actor, &environment, Happened::EnvironmentChanged { what }).await?;
    }
    settle(ctx, tx, actor, environment, current, spec, description).await
}

fn bounds_faults(scaling: &Scaling) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, field, text: String| {
        if !holds {
            faults.push((field, text));
        }
    };
    must((1..=MOST_REPLICAS).contains(&scaling.max), "max", format!("must be 1 to {MOST_REPLICAS}"));
    must(scaling.min <= scaling.max, "min", format!("must be 0 to max, which is {}", scaling.max));
    must((1..=MOST_IN_FLIGHT).contains(&scaling.in_flight), "in_flight", format!("must be 1 to {MOST_IN_FLIGHT}"));
    let idle = format!("must be 1 to {LONGEST_IDLE_SECONDS}");
    must((1..=LONGEST_IDLE_SECONDS).contains(&scaling.idle_seconds), "idle_seconds", idle);
    for (field, percent) in [("cpu_percent", scaling.cpu_percent), ("memory_percent", scaling.memory_percent)] {
        let fits = percent.is_none_or(|percent| (1..=100).contains(&percent));
        must(fits, field, "must be 1 to 100, percent of what a replica may use".into());
    }
    let fits = scaling.latency_millis.is_none_or(|millis| (1..=LONGEST_LATENCY_MILLIS).contains(&millis));
    must(fits, "latency_millis", format!("must be 1 to {LONGEST_LATENCY_MILLIS}"));
    faults
}

/// What says nothing of a process type that receives no requests.
fn aims_faults(process: &ProcessName, scaling: &Scaling) -> Vec<(&'static str, String)> {
    if process.as_str() == "web" {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if scaling.cpu_percent.is_none() && scaling.memory_percent.is_none() {
        let text = format!(
            "{process} receives no requests, so say how much of its processor or memory a replica shall use: --cpu or --memory"
        );
        faults.push(("cpu_percent", text));
    }
    if scaling.min == 0 {
        faults.push(("min", format!("must be 1 or more: {process} receives no requests, so none would wake it")));
    }
    if scaling.latency_millis.is_some() {
        faults.push(("latency_millis", format!("{process} receives no requests, so it has no latency")));
    }
    faults
}
