//! Processes.

use std::collections::BTreeMap;

use super::Session;
use super::args::{AtFlag, AtWord};
use super::commands;
use super::delivery::follow;
use super::failure::{Failure, Result};
use super::rollouts;
use super::text::time;
use crate::edges::api::types::{
    EnvironmentChangeBody, FormationBody, FormationChanged, ProcessItem, ReplicaItem, ScalingBody, SizeView,
};

pub(super) async fn list(s: &mut Session, at: &AtWord) -> Result<()> {
    let (app, environment) = (s.app_word(&at.app)?, &at.environment.environment);
    let processes = s.client.processes(&app, environment).await?;
    show(s, &processes.items).await?;
    if s.json {
        return Ok(());
    }
    let detail = s.client.app(&app).await?;
    let found = detail.environments.into_iter().find(|e| e.name == *environment || e.id == *environment);
    if let Some((held, wanted)) = found.and_then(|e| Some((e.held?, e.wanted))) {
        s.io.out(&rollouts::text(&held, wanted.map(|release| release.number))).await?;
    }
    Ok(())
}

async fn show(s: &mut Session, processes: &[ProcessItem]) -> Result<()> {
    if s.json {
        return Ok(s.io.json(&processes).await?);
    }
    if processes.is_empty() {
        return Ok(s.io.say("nothing was deployed yet; push with: git push hythe main").await?);
    }
    for process in processes {
        let command = commands::line(&process.command);
        let scaled = process.scaling.as_ref().map_or_else(String::new, bounds);
        let (name, ready, wanted) = (&process.name, process.ready, process.wanted);
        // The usual one goes without saying.
        let size = process.size.as_ref().filter(|size| size.name != "default");
        let size = size.map_or_else(String::new, |size| format!(", {} ({})", size.name, bounds_of(size)));
        s.io.out(&format!("{name}: {ready} of {wanted} ready{scaled}{size}: {command}")).await?;
        for replica in &process.replicas {
            s.io.out(&format!("  {}", line(replica))).await?;
        }
    }
    Ok(())
}

fn bounds(scaling: &ScalingBody) -> String {
    let sleeps = if scaling.min == 0 { format!(", asleep after {} s", scaling.idle_seconds) } else { String::new() };
    let aims = [
        scaling.cpu_percent.map(|percent| format!(", processor {percent} %")),
        scaling.memory_percent.map(|percent| format!(", memory {percent} %")),
        scaling.latency_millis.map(|millis| format!(", latency {millis} ms")),
    ];
    let aims: String = aims.into_iter().flatten().collect();
    format!(" (scaled {} to {}{aims}{sleeps})", scaling.min, scaling.max)
}

fn line(replica: &ReplicaItem) -> String {
    let mut line = match replica.release {
        Some(release) => format!("{} v{release} {}", replica.name, replica.state),
        None => format!("{} {}", replica.name, replica.state),
    };
    match (replica.exit_code, replica.ready) {
        (Some(code), _) => line.push_str(&format!(" with {code}")),
        (None, true) => line.push_str(", ready"),
        (None, false) => {
            let fault = replica.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
            line.push_str(&format!(", not ready{fault}"));
        }
    }
    if replica.out_of_memory {
        line.push_str(", out of memory");
    }
    if let Some(at) = &replica.started_at {
        line.push_str(&format!(", since {}", time(at)));
    }
    line
}

pub(super) async fn scale(s: &mut Session, at: &AtFlag, numbers: &[String]) -> Result<()> {
    let mut wanted = BTreeMap::new();
    let mut with_sizes = BTreeMap::new();
    for word in numbers {
        let parts = word.split_once('=').and_then(|(name, rest)| {
            let (number, size) = rest.split_once(':').map_or((rest, None), |(number, size)| (number, Some(size)));
            Some((name, number.parse::<u32>().ok()?, size))
        });
        let (name, number, size) = parts
            .ok_or_else(|| Failure::usage(format!("\"{word}\" is not understood; write web=2 or web=2:medium")))?;
        wanted.insert(name.to_owned(), number);
        let body = FormationBody { quantity: Some(number), size: size.map(|size| Some(size.to_owned())) };
        with_sizes.insert(name.to_owned(), body);
    }
    if with_sizes.values().any(|body| body.size.is_some()) {
        let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
        let changed = s.client.set_formation(&app, environment, &with_sizes).await?;
        return told(s, &app, environment, &changed).await;
    }
    let processes = s.client.scale(&s.app_flag(&at.app)?, &at.environment.environment, &wanted).await?;
    if processes.items.is_empty() {
        return Ok(s.io.say("kept for the first release").await?);
    }
    show(s, &processes.items).await
}

/// Sizes of process types: `web=medium`.
pub(super) async fn size(s: &mut Session, at: &AtFlag, words: &[String]) -> Result<()> {
    let mut wanted = BTreeMap::new();
    for word in words {
        let (name, size) = word
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("\"{word}\" is not understood; write web=medium")))?;
        wanted.insert(name.to_owned(), FormationBody { quantity: None, size: Some(Some(size.to_owned())) });
    }
    let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
    let changed = s.client.set_formation(&app, environment, &wanted).await?;
    told(s, &app, environment, &changed).await
}

async fn told(s: &mut Session, app: &str, environment: &str, changed: &FormationChanged) -> Result<()> {
    match &changed.deployment {
        Some(deployment) => follow(s, app, environment, deployment).await,
        None if changed.processes.is_empty() => Ok(s.io.say("kept for the first release").await?),
        None => show(s, &changed.processes).await,
    }
}

pub(super) async fn sizes(s: &mut Session) -> Result<()> {
    let sizes = s.client.sizes().await?.items;
    if s.json {
        return Ok(s.io.json(&sizes).await?);
    }
    let row = |size: &SizeView| {
        let cpu = format!("{}", size.cpu_millis as f64 / 1000.0);
        vec![
            size.name.clone(),
            format!("{} MB", size.memory_bytes >> 20),
            cpu,
            size.pids.to_string(),
            format!("{} MB", size.disk_bytes >> 20),
        ]
    };
    let rows: Vec<_> = sizes.iter().map(row).collect();
    s.print(&["NAME", "MEMORY", "CPU", "PROCESSES", "DISK"], &rows).await
}

fn bounds_of(size: &SizeView) -> String {
    format!("{} MB, {} CPU", size.memory_bytes >> 20, size.cpu_millis as f64 / 1000.0)
}

pub(super) async fn autoscale(
    s: &mut Session,
    at: &AtFlag,
    process: &str,
    scaling: Option<&ScalingBody>,
) -> Result<()> {
    let app = s.app_flag(&at.app)?;
    let processes = s.client.autoscale(&app, &at.environment.environment, process, scaling).await?;
    if processes.items.is_empty() {
        return Ok(s.io.say("kept for the first release").await?);
    }
    show(s, &processes.items).await
}

pub(super) async fn restart(s: &mut Session, at: &AtWord) -> Result<()> {
    s.client.restart(&s.app_word(&at.app)?, &at.environment.environment).await?;
    Ok(s.io
        .say("new replicas take over from the old ones as soon as they are ready; watch them with: hythe ps")
        .await?)
}

pub(super) async fn stop(s: &mut Session, at: &AtWord, stopped: bool) -> Result<()> {
    let body = EnvironmentChangeBody { stopped: Some(stopped), ..EnvironmentChangeBody::default() };
    s.client.change_environment(&s.app_word(&at.app)?, &at.environment.environment, &body).await?;
    Ok(s.io.say(if stopped { "stopping" } else { "starting" }).await?)
}
