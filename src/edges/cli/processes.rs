//! Processes.

use std::collections::BTreeMap;

use super::Session;
use super::args::{AtFlag, AtWord};
use super::failure::{Failure, Result};
use super::rollouts;
use super::text::time;
use crate::edges::api::types::{EnvironmentChangeBody, ProcessItem, ReplicaItem, ScalingBody};

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
        let command = shlex::try_join(process.command.iter().map(String::as_str)).unwrap_or_default();
        let scaled = process.scaling.as_ref().map_or_else(String::new, bounds);
        let (name, ready, wanted) = (&process.name, process.ready, process.wanted);
        s.io.out(&format!("{name}: {ready} of {wanted} ready{scaled}: {command}")).await?;
        for replica in &process.replicas {
            s.io.out(&format!("  {}", line(replica))).await?;
        }
    }
    Ok(())
}

fn bounds(scaling: &ScalingBody) -> String {
    let sleeps = if scaling.min == 0 { format!(", asleep after {} s", scaling.idle_seconds) } else { String::new() };
    format!(" (scaled {} to {}{sleeps})", scaling.min, scaling.max)
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
    for word in numbers {
        let number = word.split_once('=').and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let (name, number) =
            number.ok_or_else(|| Failure::usage(format!("\"{word}\" is not understood; write web=2")))?;
        wanted.insert(name.to_owned(), number);
    }
    let processes = s.client.scale(&s.app_flag(&at.app)?, &at.environment.environment, &wanted).await?;
    if processes.items.is_empty() {
        return Ok(s.io.say("kept for the first release").await?);
    }
    show(s, &processes.items).await
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
