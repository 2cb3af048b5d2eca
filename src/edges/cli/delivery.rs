//! Builds, releases, deployments.

use futures_util::StreamExt;

use super::Session;
use super::args::{AppFlag, AppWord, AtFlag, AtWord};
use super::commands;
use super::failure::{Failure, Result};
use super::rollouts;
use super::text::time;
use crate::edges::api::types::{ChangeView, DeploymentView, DiffView, NamesView, RollbackBody};

pub(super) async fn builds(s: &mut Session, word: &AppWord) -> Result<()> {
    let builds = s.client.builds(&s.app_word(word)?).await?;
    if s.json {
        return Ok(s.io.json(&builds.items).await?);
    }
    let rows = builds.items.into_iter().map(|b| {
        let commit = b.commit.get(..10).unwrap_or(&b.commit).to_owned();
        vec![b.id, time(&b.created_at), commit, b.state, first_line(b.reason)]
    });
    let rows: Vec<_> = rows.collect();
    s.print(&["ID", "STARTED", "COMMIT", "STATE", "REASON"], &rows).await
}

/// Success is the build's own.
pub(super) async fn build_output(s: &mut Session, flag: &AppFlag, build: &str) -> Result<()> {
    let app = s.app_flag(flag)?;
    // `latest` may be another one by the time it ends.
    let id = s.client.build(&app, build).await?.id;
    follow_build(s, &app, &id).await
}

pub(super) async fn follow_build(s: &mut Session, app: &str, id: &str) -> Result<()> {
    let mut lines = s.client.build_output(app, id).await?;
    while let Some(line) = lines.next().await {
        s.io.out(&line?).await?;
    }
    let build = s.client.build(app, id).await?;
    match (build.state.as_str(), build.deployment) {
        ("failed", _) => Err(Failure::new(format!("the build failed: {}", build.reason.unwrap_or_default()))),
        (_, Some(deployment)) if deployment.state == "failed" => {
            Err(Failure::new(format!("the deployment failed: {}", deployment.reason.unwrap_or_default())))
        }
        _ => Ok(()),
    }
}

pub(super) async fn cancel(s: &mut Session, flag: &AppFlag, build: &str) -> Result<()> {
    let build = s.client.cancel_build(&s.app_flag(flag)?, build).await?;
    if s.json {
        return Ok(s.io.json(&build).await?);
    }
    let at_work = |state: &str| state == "running";
    let ends = at_work(&build.state) || build.deployment.as_ref().is_some_and(|d| at_work(&d.state));
    let text = if ends { "is being ended" } else { "cancelled" };
    Ok(s.io.say(&format!("{} {text}", build.id)).await?)
}

pub(super) async fn releases(s: &mut Session, at: &AtWord, lines: i64) -> Result<()> {
    let (app, environment) = (s.app_word(&at.app)?, &at.environment.environment);
    let releases = s.client.releases(&app, environment, lines).await?;
    if s.json {
        return Ok(s.io.json(&releases.items).await?);
    }
    if releases.items.is_empty() {
        return Ok(s.io.say("no releases yet; push with: git push hythe main").await?);
    }
    let detail = s.client.app(&app).await?;
    let found = detail.environments.into_iter().find(|e| e.name == *environment || e.id == *environment);
    let held = found.as_ref().and_then(|e| Some((e.wanted.as_ref()?.number, e.held.as_ref()?.percent)));
    let live = found.and_then(|e| e.live).map(|release| release.number);
    let rows = releases.items.into_iter().map(|r| {
        let mark = match held {
            _ if Some(r.number) == live => "live".to_owned(),
            Some((number, percent)) if number == r.number => format!("canary {percent} %"),
            _ if r.image_gone_at.is_some() => "image gone".to_owned(),
            _ => String::new(),
        };
        vec![format!("v{}", r.number), mark, time(&r.created_at), r.description]
    });
    let rows: Vec<_> = rows.collect();
    s.print(&["RELEASE", "", "MADE", "WHAT"], &rows).await
}

pub(super) async fn release(s: &mut Session, at: &AtFlag, release: Option<&str>) -> Result<()> {
    let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
    let number = match release {
        Some(release) => release.to_owned(),
        None => {
            let detail = s.client.app(&app).await?;
            let found = detail.environments.into_iter().find(|e| e.name == *environment || e.id == *environment);
            let live = found.and_then(|e| e.live).map(|release| release.number.to_string());
            live.ok_or_else(|| Failure::usage("nothing is live; name a release, such as v1"))?
        }
    };
    let r = s.client.release(&app, environment, &number).await?;
    if s.json {
        return Ok(s.io.json(&r).await?);
    }
    s.io.out(&format!("v{}  {}  ({})", r.number, r.description, time(&r.created_at))).await?;
    let gone = r.image_gone_at.as_deref().map(|at| format!(" (removed {}: no way back to it)", time(at)));
    s.io.out(&format!("image      {}{}", r.image, gone.unwrap_or_default())).await?;
    s.io.out(&format!("commit     {}", r.commit.as_deref().unwrap_or("none"))).await?;
    s.io.out(&format!("variables  version {}", r.variables_version)).await?;
    for (name, command) in &r.processes {
        s.io.out(&format!("process    {name}: {}", commands::line(command))).await?;
    }
    for (name, count) in &r.formation {
        s.io.out(&format!("formation  {name}={count}")).await?;
    }
    for (name, bounds) in &r.scaling {
        s.io.out(&format!("autoscale  {name}: {bounds}")).await?;
    }
    for (name, check) in &r.checks {
        s.io.out(&format!("check      {name}: {check}")).await?;
    }
    for (name, size) in &r.sizes {
        s.io.out(&format!("size       {name}={size}")).await?;
    }
    for (name, path) in &r.mounts {
        s.io.out(&format!("mount      {name}: {path}")).await?;
    }
    s.io.out(&format!("hosts      {}", r.hosts.join(", "))).await?;
    Ok(())
}

pub(super) async fn diff(s: &mut Session, at: &AtFlag, from: &str, to: Option<&str>) -> Result<()> {
    let diff = s.client.diff(&s.app_flag(&at.app)?, &at.environment.environment, from, to).await?;
    if s.json {
        return Ok(s.io.json(&diff).await?);
    }
    s.io.out(&format!("v{} → v{}", diff.from, diff.to)).await?;
    if diff.same {
        return Ok(s.io.out("no difference in what runs").await?);
    }
    for line in differences(&diff) {
        s.io.out(&line).await?;
    }
    Ok(())
}

fn differences(diff: &DiffView) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    let change = |c: &ChangeView| format!("{} → {}", or_none(&c.from), or_none(&c.to));
    let mut lines = Vec::new();
    lines.extend(diff.commit.iter().map(|c| format!("commit     {}", change(c))));
    lines.extend(diff.image.iter().map(|c| format!("image      {}", change(c))));
    lines.extend(diff.processes.iter().map(|(name, c)| format!("process    {name}: {}", change(c))));
    lines.extend(names("variable", &diff.variables));
    lines.extend(diff.formation.iter().map(|(name, c)| format!("formation  {name}: {}", change(c))));
    lines.extend(diff.scaling.iter().map(|(name, c)| format!("autoscale  {name}: {}", change(c))));
    lines.extend(names("host", &diff.hosts));
    lines.extend(diff.checks.iter().map(|(name, c)| format!("check      {name}: {}", change(c))));
    lines.extend(diff.sizes.iter().map(|(name, c)| format!("size       {name}: {}", change(c))));
    lines.extend(diff.mounts.iter().map(|(name, c)| format!("mount      {name}: {}", change(c))));
    lines
}

fn names(what: &str, names: &NamesView) -> Vec<String> {
    let parts = [("added", &names.added), ("removed", &names.removed), ("changed", &names.changed)];
    parts.into_iter().flat_map(|(how, names)| names.iter().map(move |n| format!("{what:<9}  {n} {how}"))).collect()
}

pub(super) async fn rollback(s: &mut Session, at: &AtFlag, release: Option<&str>) -> Result<()> {
    let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
    let number = release.map(|text| text.strip_prefix('v').unwrap_or(text).parse()).transpose();
    let number = number.map_err(|_| Failure::usage("write the release as v41"))?;
    let deployment = s.client.rollback(&app, environment, &RollbackBody { release: number }).await?;
    follow(s, &app, environment, &deployment).await
}

/// Until the deployment ends; its success is the verb's.
pub(super) async fn follow(s: &mut Session, app: &str, environment: &str, deployment: &DeploymentView) -> Result<()> {
    let mut lines = s.client.deployment_output(app, environment, &deployment.id).await?;
    while let Some(line) = lines.next().await {
        s.io.say(&line?).await?;
    }
    let ended = s.client.deployment(app, environment, &deployment.id).await?.deployment;
    if s.json {
        s.io.json(&ended).await?;
    }
    match ended.state.as_str() {
        "succeeded" => Ok(()),
        "superseded" => Ok(s.io.say("a later deployment took over").await?),
        state => Err(Failure::new(format!("the deployment is {state}: {}", ended.reason.unwrap_or_default()))),
    }
}

pub(super) async fn deployments(s: &mut Session, at: &AtWord) -> Result<()> {
    let all = s.client.deployments(&s.app_word(&at.app)?, &at.environment.environment).await?;
    if s.json {
        return Ok(s.io.json(&all.items).await?);
    }
    let rows: Vec<_> = all
        .items
        .into_iter()
        .map(|d| vec![d.id.clone(), time(&d.created_at), d.kind.clone(), state(&d), first_line(d.reason)])
        .collect();
    s.print(&["ID", "STARTED", "KIND", "STATE", "REASON"], &rows).await
}

pub(super) async fn deployment(s: &mut Session, at: &AtFlag, id: &str) -> Result<()> {
    let detail = s.client.deployment(&s.app_flag(&at.app)?, &at.environment.environment, id).await?;
    if s.json {
        return Ok(s.io.json(&detail).await?);
    }
    let d = &detail.deployment;
    s.io.out(&format!("{}  {}  {}  ({})", d.id, d.kind, state(d), time(&d.created_at))).await?;
    let when = |at: &Option<String>| at.as_deref().map(time).unwrap_or_default();
    let rows = detail.steps.iter().map(|step| {
        let attempt = if step.attempt > 1 { format!("attempt {}", step.attempt) } else { String::new() };
        vec![step.name.clone(), step.state.clone(), when(&step.started_at), when(&step.finished_at), attempt]
    });
    let rows: Vec<_> = rows.collect();
    s.print(&["STEP", "STATE", "STARTED", "FINISHED", ""], &rows).await?;
    if let Some(held) = &d.held {
        s.io.out(&format!("       {}", rollouts::text(held, None))).await?;
    }
    for command in &detail.commands {
        let took = command.duration.map(|millis| format!(" in {:.1}s", millis as f64 / 1000.0)).unwrap_or_default();
        let (ended, line) = (commands::ended(command), commands::line(&command.command));
        s.io.out(&format!("-----> {} command {ended}{took}: {line}", command.kind)).await?;
        for line in &command.output {
            s.io.out(&format!("       {line}")).await?;
        }
    }
    for line in d.reason.iter().flat_map(|reason| reason.lines()) {
        s.io.out(&format!(" !     {line}")).await?;
    }
    Ok(())
}

/// `running`, and what it waits for.
fn state(d: &DeploymentView) -> String {
    match &d.held {
        Some(held) if held.waits => format!("{}, held at {} %", d.state, held.percent),
        Some(held) => format!("{}, canary at {} %", d.state, held.percent),
        None => d.state.clone(),
    }
}

fn first_line(text: Option<String>) -> String {
    text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}
