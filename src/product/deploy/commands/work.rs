//! Carrying out a command whose streams nobody holds: start it unless it runs already, keep what it writes, wait for
//! its end. Called again after a crash it finds the same container by the command's id, so nothing runs twice; lines
//! that were kept before are not kept again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::desk::{Machine, refused};
use crate::base::access::Scope;
use crate::base::error::{Error, Result};
use crate::base::model::{App, Command, CommandState, Environment, Exit, Id, Mount, Process, Release};
use crate::base::secret::Secret;
use crate::machinery::runtime::{CommandSpec, EngineError};
use crate::product::{Ctx, apps, builds};
use crate::state::logs::LogName;
use crate::state::store;

/// Before an engine that does not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub exit_code: Option<i64>,
    /// None: with 0.
    pub reason: Option<String>,
}

impl Ended {
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self { exit_code: None, reason: Some(reason.into()) }
    }

    pub(super) fn of(exit: Exit) -> Self {
        let reason = match exit {
            Exit { out_of_memory: true, .. } => Some("it ran out of memory".to_owned()),
            Exit { code: 0, .. } => None,
            Exit { code, .. } => Some(format!("it exited with {code}")),
        };
        Self { exit_code: Some(exit.code), reason }
    }

    pub fn state(&self) -> CommandState {
        if self.reason.is_none() { CommandState::Succeeded } else { CommandState::Failed }
    }
}

/// What a container of this command is made of. None: its release or its app is no more.
pub(super) async fn spec(ctx: &Ctx, command: &Command) -> Result<Option<CommandSpec>> {
    let Some((app, environment, release)) = surroundings(ctx, command).await? else { return Ok(None) };
    let variables = apps::process_variables(ctx, &app, &environment, &release).await?;
    Ok(Some(spec_of(ctx, command, &app, &release, variables)))
}

pub(super) fn spec_of(
    ctx: &Ctx,
    command: &Command,
    app: &App,
    release: &Release,
    variables: BTreeMap<String, Secret<String>>,
) -> CommandSpec {
    let id = command.id.as_str();
    CommandSpec {
        id: command.id.clone(),
        environment: command.environment_id.clone(),
        app: app.name.clone(),
        space: app.space_id.clone(),
        release: release.id.clone(),
        image: release.image.clone(),
        process: format!("{}.{}", command.kind.word(), &id[id.len() - 4..]),
        command: builds::launched(&command.process.command, &release.processes),
        working_dir: command.process.working_dir.clone(),
        variables,
        limits: ctx.config.runtime.limits(),
        mounts: mounts(release, &command.process),
    }
}

/// The volumes of the process type that it is; what is none of the release's, and the release command, sees those of web.
fn mounts(release: &Release, process: &Process) -> Vec<Mount> {
    let known = release.processes.iter().find(|(name, known)| *known == process && name.as_str() != "release");
    let of = known.map_or("web", |(name, _)| name.as_str());
    let found = release.mounts.iter().find(|(name, _)| name.as_str() == of);
    found.map(|(_, here)| here.clone()).unwrap_or_default()
}

async fn surroundings(ctx: &Ctx, command: &Command) -> Result<Option<(App, Environment, Release)>> {
    let mut tx = ctx.store.read().await?;
    let Some(release) = &command.release_id else { return Ok(None) };
    let release = store::releases::find(&mut tx, &Scope::Platform, release).await?;
    let environment = store::environments::find(&mut tx, &Scope::Platform, &command.environment_id).await?;
    let (Some(release), Some(environment)) = (release, environment) else { return Ok(None) };
    let app = store::apps::find(&mut tx, &Scope::Platform, &environment.app_id).await?;
    Ok(app.map(|app| (app, environment, release)))
}

/// None when `cancel` came first: the command goes on, and who calls again finds it. A start that is under way is not
/// broken off by it, so that what is in the engine runs.
pub(super) async fn carry_out(
    ctx: &Ctx,
    machine: &Machine,
    command: &Command,
    limit: Duration,
    cancel: &CancellationToken,
    on_line: impl Fn(&str),
) -> Result<Option<Ended>> {
    let Some(spec) = spec(ctx, command).await? else {
        return Ok(Some(Ended::failed("what it belongs to was removed")));
    };
    let spent = command.started_at.map_or(0, |at| ctx.now().since(at)).max(0).unsigned_abs();
    let over = tokio::time::sleep(limit.saturating_sub(Duration::from_millis(spent)));
    tokio::select! {
        ended = attend(ctx, machine, &spec, cancel, on_line) => ended,
        () = over => {
            let grace = ctx.config.runtime.grace_seconds;
            machine.engine.end_command(&spec.id, grace).await.map_err(refused)?;
            Ok(Some(Ended::failed(format!("it was ended after {} s, the time that it may take", limit.as_secs()))))
        }
    }
}

/// From its start, or from wherever it is found, to its end; None as for `carry_out`.
async fn attend(
    ctx: &Ctx,
    machine: &Machine,
    spec: &CommandSpec,
    cancel: &CancellationToken,
    on_line: impl Fn(&str),
) -> Result<Option<Ended>> {
    let log = LogName::command(&spec.id);
    while !cancel.is_cancelled() {
        let mut started = machine.engine.run(spec).await;
        if started.as_ref().is_err_and(|fault| !fault.is_temporary()) {
            let Some(fetched) = cancel.run_until_cancelled(machine.fetched(spec)).await else { break };
            if fetched? {
                started = machine.engine.run(spec).await;
            }
        }
        let followed = match started {
            Ok(_) => {
                let following = follow(ctx, machine, spec, &log, &on_line);
                let Some(followed) = cancel.run_until_cancelled(following).await else { break };
                followed?
            }
            Err(fault) => Err(fault),
        };
        let ended = match followed {
            Ok(exit) => Ended::of(exit),
            Err(EngineError::NotFound { .. }) => Ended::failed("it was ended from outside"),
            Err(fault) if fault.is_temporary() => {
                cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            }
            Err(EngineError::Refused { source, .. }) => Ended::failed(format!("it could not be started: {source}")),
            Err(fault) => return Err(Error::internal(fault)),
        };
        return Ok(Some(ended));
    }
    Ok(None)
}

async fn follow(
    ctx: &Ctx,
    machine: &Machine,
    spec: &CommandSpec,
    log: &LogName,
    on_line: impl Fn(&str),
) -> Result<Result<Exit, EngineError>> {
    let kept = ctx.logs.read(log).await?.len();
    let mut lines = match machine.engine.command_output(&spec.id).await {
        Ok(lines) => lines.skip(kept),
        Err(fault) => return Ok(Err(fault)),
    };
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => {
                // A line of ours that breaks the text of one of the program's would count as two when it is read again.
                let text = line.text.replace(['\r', '\n'], " ");
                if let Err(error) = ctx.logs.append(log, text.trim_end()) {
                    tracing::warn!(command.id = %spec.id, cause = %error.for_log(), "a line of a command is lost");
                }
                on_line(text.trim_end());
            }
            Err(fault) => return Ok(Err(fault)),
        }
    }
    Ok(machine.engine.command_exit(&spec.id).await)
}
