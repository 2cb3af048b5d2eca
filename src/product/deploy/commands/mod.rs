//! Commands beside the replicas: what people run once, with their hands on it or without, and what a deployment runs
//! before and after its rollout.
//!
//! Invariants: a command has its row before it has a container, and its end is in the row before the container goes;
//! so a container without a row that asks for it is nobody's, and a row knows whether it was ever run. The streams of
//! an interactive command are one holder's: when it lets go, the command is ended with grace.

mod desk;
mod keeper;
mod steps;
mod words;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Command, CommandId, CommandKind, CommandState, Deployment, Environment, Id, Process, ProcessName, Release,
    Window,
};
use crate::machinery::runtime::EnterSpec;
use crate::product::{Ctx, apps};
use crate::state::logs::{LogEvent, LogName};
use crate::state::store;

pub use crate::machinery::runtime::Control;
pub use desk::{Desk, Piece, Session};
pub use keeper::CommandKeeper;
use keeper::LEASE_MILLIS;
pub(super) use steps::{after, before, end};
pub(super) use words::{of_foreign_line, of_line, shown};
use work::Ended;

/// Commands of an environment that run or wait at once, those of deployments apart.
const MOST_AT_ONCE: i64 = 20;
/// Last lines of a command that a deployment shows; all of them are in its output.
const SHOWN: usize = 200;
const MOST_WORDS: usize = 1000;
const LONGEST_WORD: usize = 64 << 10;

/// What a person wants to run.
#[derive(Debug, Clone, Default)]
pub struct NewCommand {
    /// As they were typed; none means a shell.
    pub words: Vec<String>,
    /// At a terminal of this size; none: streams apart.
    pub window: Option<Window>,
    /// `TERM` of whoever sits there.
    pub terminal: Option<String>,
}

/// Runs by itself; its output is kept. The keeper starts it.
pub async fn run_detached(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    new: &NewCommand,
) -> Result<Command> {
    actor.may(Action::Deploy, &app.into())?;
    check(new)?;
    let mut tx = ctx.store.begin().await?;
    let release = live(&mut tx, environment).await?;
    let process = words::typed(&new.words, &release.processes);
    let command = fresh(ctx, actor, environment, &release, CommandKind::Detached, process);
    room(&mut tx, environment).await?;
    store::commands::insert(&mut tx, &command, None).await?;
    tx.commit().await?;
    ctx.desk.wake();
    tracing::info!(command.id = %command.id, app.name = %app.name, user.id = %actor.user.id, "detached command queued");
    Ok(command)
}

/// Runs now, its streams in the caller's hands.
pub async fn open_command(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    new: &NewCommand,
) -> Result<Session> {
    actor.may(Action::Deploy, &app.into())?;
    check(new)?;
    let _opening = ctx.desk.opening()?;
    let mut tx = ctx.store.begin().await?;
    let release = live(&mut tx, environment).await?;
    let process = words::typed(&new.words, &release.processes);
    let mut command = fresh(ctx, actor, environment, &release, CommandKind::Run, process);
    command.state = CommandState::Running;
    command.started_at = Some(command.created_at);
    room(&mut tx, environment).await?;
    let place = ctx.desk.hold(&command.id);
    let until = ctx.now().plus_millis(LEASE_MILLIS);
    let hold = store::commands::Hold { holder: ctx.store.node(), until };
    store::commands::insert(&mut tx, &command, Some(hold)).await?;
    tx.commit().await?;
    let mut variables = apps::process_variables(ctx, app, environment, &release).await?;
    if let Some(terminal) = &new.terminal {
        variables.insert("TERM".into(), crate::base::secret::Secret::new(terminal.clone()));
    }
    let spec = work::spec_of(ctx, &command, app, &release, variables);
    tracing::info!(command.id = %command.id, app.name = %app.name, user.id = %actor.user.id, "command opened");
    match ctx.desk.run(place, spec, new.window).await {
        Ok(session) => Ok(session),
        Err(error) => {
            keeper::note(ctx, &command, &Ended::failed(error.public.clone()), ctx.now()).await?;
            Err(error)
        }
    }
}

/// Whether the actor may run commands of the app at all; what each verb here asks again.
pub fn may_run(actor: &Actor, app: &App) -> Result<()> {
    actor.may(Action::Deploy, &app.into())
}

/// A further command inside the running replica `replica`, such as `web.1`.
pub async fn enter(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    replica: &str,
    new: &NewCommand,
) -> Result<Session> {
    actor.may(Action::Deploy, &app.into())?;
    check(new)?;
    let absent = || Error::not_found(format!("running replica {replica}"));
    let (process, ordinal) = replica.rsplit_once('.').ok_or_else(absent)?;
    let process: ProcessName = process.parse().map_err(|_| absent())?;
    let ordinal: u32 = ordinal.parse().map_err(|_| absent())?;
    let command = words::typed(&new.words, &BTreeMap::new()).command;
    let variables = new.terminal.iter().map(|terminal| ("TERM".to_owned(), terminal.clone())).collect();
    let spec = EnterSpec { id: CommandId::fresh(), command, variables };
    let grace = Duration::from_secs(u64::from(ctx.config.runtime.grace_seconds));
    tracing::info!(command.id = %spec.id, app.name = %app.name, replica, user.id = %actor.user.id, "replica entered");
    ctx.desk.enter(environment, (&process, ordinal), spec, new.window, grace).await
}

/// Newest first. What they are may hold secrets: it is for those who may run them.
pub async fn commands(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    limit: i64,
) -> Result<Vec<Command>> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.read().await?;
    store::commands::list(&mut tx, &actor.scope(), &environment.id, limit).await
}

pub async fn command(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment, id: &str) -> Result<Command> {
    actor.may(Action::Deploy, &app.into())?;
    let absent = || Error::not_found("command");
    let id = id.parse().map_err(|_| absent())?;
    let mut tx = ctx.store.read().await?;
    let found = store::commands::find(&mut tx, &actor.scope(), &id).await?;
    found.filter(|command| command.environment_id == environment.id).ok_or_else(absent)
}

/// All that it wrote, from line one; with `follow` until it ends. Of an interactive command nothing is kept.
pub async fn command_output(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    command: &Command,
    follow: bool,
) -> Result<BoxStream<'static, String>> {
    actor.may(Action::Deploy, &app.into())?;
    let name = LogName::command(&command.id);
    if !follow || command.state.is_final() || command.kind == CommandKind::Run {
        return Ok(futures_util::stream::iter(ctx.logs.read(&name).await?).boxed());
    }
    let lines = ctx.logs.follow(&name, 0).filter_map(|event| async move {
        match event {
            LogEvent::Line(line) => Some(line),
            LogEvent::End => None,
        }
    });
    Ok(lines.boxed())
}

/// What a deployment ran before and after its rollout, each with what it wrote: the deployment's output shows it as well.
pub async fn deployment_commands(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    deployment: &Deployment,
) -> Result<Vec<(Command, Vec<String>)>> {
    actor.may(Action::ViewApp, &app.into())?;
    let found = store::commands::of_deployment(&mut ctx.store.read().await?, &deployment.id).await?;
    let mut all = Vec::with_capacity(found.len());
    for command in found {
        let mut lines = ctx.logs.read(&LogName::command(&command.id)).await?;
        lines.drain(..lines.len().saturating_sub(SHOWN));
        all.push((command, lines));
    }
    Ok(all)
}

/// Asks it to end, with grace. One that has ended stays as it is.
pub async fn stop_command(ctx: &Ctx, actor: &Actor, app: &App, command: &Command) -> Result<()> {
    actor.may(Action::Deploy, &app.into())?;
    match command.state {
        CommandState::Queued => {
            keeper::note(ctx, command, &Ended::failed("it was stopped before it began"), ctx.now()).await
        }
        CommandState::Running => {
            let grace = ctx.config.runtime.grace_seconds;
            ctx.desk.machine()?.engine.end_command(&command.id, grace).await.map_err(desk::refused)
        }
        _ => Ok(()),
    }
}

async fn live(tx: &mut store::Tx, environment: &Environment) -> Result<Release> {
    let release = super::releases::live(tx, &environment.id).await?;
    release.ok_or_else(|| Error::conflict("nothing was deployed here yet, so there is nothing to run; push first"))
}

async fn room(tx: &mut store::Tx, environment: &Environment) -> Result<()> {
    if store::commands::unfinished(tx, &environment.id).await? < MOST_AT_ONCE {
        return Ok(());
    }
    Err(Error::limit(format!("{MOST_AT_ONCE} commands run here already; see them with: hythe run:list")))
}

fn fresh(
    ctx: &Ctx,
    actor: &Actor,
    environment: &Environment,
    release: &Release,
    kind: CommandKind,
    process: Process,
) -> Command {
    Command {
        id: CommandId::fresh(),
        environment_id: environment.id.clone(),
        release_id: Some(release.id.clone()),
        kind,
        process,
        state: CommandState::Queued,
        exit_code: None,
        reason: None,
        deployment_id: None,
        cron_id: None,
        due_at: None,
        created_by: Some(actor.user.id.clone()),
        created_at: ctx.now(),
        started_at: None,
        finished_at: None,
    }
}

fn check(new: &NewCommand) -> Result<()> {
    let bad = |word: &String| word.contains('\0') || word.len() > LONGEST_WORD;
    if new.words.len() > MOST_WORDS || new.words.iter().any(bad) || new.words.first().is_some_and(String::is_empty) {
        return Err(Error::invalid(
            "command",
            format!(
                "must be at most {MOST_WORDS} words of at most {LONGEST_WORD} bytes, without NUL, the first not empty"
            ),
        ));
    }
    let sane = |b: u8| b.is_ascii_alphanumeric() || b"+-._".contains(&b);
    if new.terminal.as_ref().is_some_and(|t| t.is_empty() || t.len() > 40 || !t.bytes().all(sane)) {
        return Err(Error::invalid("terminal", "must be the name of a terminal, such as xterm-256color"));
    }
    if new.window.is_some_and(|w| w.columns == 0 || w.rows == 0 || w.columns > 2000 || w.rows > 2000) {
        return Err(Error::invalid("window", "must be 1 to 2000 columns and rows"));
    }
    Ok(())
}
