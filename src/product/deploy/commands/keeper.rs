//! The keeper of commands that go on by themselves, and of what was left behind. It takes queued commands, attends to
//! them until they end, takes up again after a crash what it had before it, ends what nobody holds any more, and removes
//! from the engine what no row asks for. Woken by the desk and by a timer.
//!
//! Several servers may share a database: each command is taken by one, which says again and again that it is there.
//! Where that stops, the command counts as lost; it is never run a second time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::desk::Machine;
use super::work::{self, Ended};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{Command, CommandId, CommandKind, CommandState};
use crate::machinery::runtime::EngineError;
use crate::product::Ctx;
use crate::state::logs::LogName;
use crate::state::store::{self, commands::Hold};

const TIMER: Duration = Duration::from_secs(5);
/// A server that said nothing for this long has lost its commands.
pub(super) const LEASE_MILLIS: i64 = 60_000;
/// Commands attended to at once; more wait.
const AT_ONCE: usize = 64;
/// The longest that a command of a person may take: a day, as the field has it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const LONGEST_MILLIS: i64 = 24 * 3600 * 1000;
/// How long a command has to have ended already when nobody holds it any more.
const PATIENCE: Duration = Duration::from_millis(300);
/// Final commands of a kind that an environment remembers, with their output.
const REMEMBERED: i64 = 100;

pub struct CommandKeeper {
    ctx: Ctx,
    machine: Machine,
    busy: Arc<Mutex<HashSet<CommandId>>>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl CommandKeeper {
    /// # Errors
    /// When the desk has no engine.
    pub fn new(ctx: Ctx) -> Result<Self> {
        let machine = ctx.desk.machine()?.clone();
        let shutdown = CancellationToken::new();
        Ok(Self { ctx, machine, busy: Arc::default(), tasks: JoinSet::new(), shutdown })
    }

    /// Keeps until told to stop. Then commands whose streams somebody held are ended, those included that are being made,
    /// for the connection ends with the server; all others go on running, and whoever keeps next finds them.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.shutdown = shutdown.clone();
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(error = error.for_log(), "the keeper of commands could not look");
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.ctx.desk.wake.notified() => {}
                Some(ended) = self.tasks.join_next() => report(ended),
                () = tokio::time::sleep(TIMER) => {}
            }
        }
        self.ctx.desk.close().await;
        if let Err(error) = self.close().await {
            tracing::warn!(error = error.for_log(), "interactive commands are left for the next start to end");
        }
        self.settle().await;
    }

    async fn close(&mut self) -> Result<()> {
        let held = store::commands::held(&mut self.ctx.store.read().await?, self.ctx.store.node()).await?;
        for command in held.into_iter().filter(|command| command.kind == CommandKind::Run) {
            if self.lock().insert(command.id.clone()) {
                let (ctx, machine) = (self.ctx.clone(), self.machine.clone());
                self.tasks.spawn(async move {
                    if let Err(error) = let_go(&ctx, &machine, &command).await {
                        tracing::warn!(command.id = %command.id, error = error.for_log(), "a command was not ended");
                    }
                });
            }
        }
        Ok(())
    }

    /// One look at all there is; the tests look by hand.
    pub async fn look(&mut self) -> Result<()> {
        let (ctx, now) = (self.ctx.clone(), self.ctx.now());
        let node = ctx.store.node();
        let hold = Hold { holder: node, until: now.plus_millis(LEASE_MILLIS) };
        let mut tx = ctx.store.begin().await?;
        store::commands::renew(&mut tx, hold).await?;
        let forsaken = store::commands::forsaken(&mut tx, now).await?;
        let left_behind = store::commands::left_behind(&mut tx).await?;
        let lost = forsaken.iter().map(|command| (command, "the server that ran it is gone"));
        let lost = lost.chain(left_behind.iter().map(|command| (command, "its deployment ended without it")));
        for (command, reason) in lost.clone() {
            let (state, reason) = (CommandState::Failed, Some(reason));
            store::commands::finish(&mut tx, &command.id, state, None, reason, now).await?;
        }
        let mut held = store::commands::held(&mut tx, node).await?;
        while held.len() < AT_ONCE
            && let Some(command) = store::commands::claim(&mut tx, hold, now).await?
        {
            held.push(command);
        }
        tx.commit().await?;
        // Whoever follows hears that no more is to come.
        for (command, _) in lost.filter(|(command, _)| command.kind != CommandKind::Run) {
            ctx.logs.close(&LogName::command(&command.id))?;
        }
        for command in held {
            self.take_up(command);
        }
        self.sweep().await
    }

    /// Waits until all that was taken up has ended.
    pub async fn settle(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            report(ended);
        }
    }

    fn take_up(&mut self, command: Command) {
        // Nobody sits at a terminal for longer than a day.
        let overdue = command.started_at.is_some_and(|at| self.ctx.now().since(at) > LONGEST_MILLIS);
        let held = self.ctx.desk.is_held(&command.id) && !overdue;
        if held || !self.lock().insert(command.id.clone()) {
            return;
        }
        let (ctx, machine) = (self.ctx.clone(), self.machine.clone());
        let (busy, cancel) = (Arc::clone(&self.busy), self.shutdown.clone());
        self.tasks.spawn(async move {
            let attended = match command.kind {
                CommandKind::Run => let_go(&ctx, &machine, &command).await,
                _ => attend(&ctx, &machine, &command, &cancel).await,
            };
            if let Err(error) = attended {
                tracing::error!(command.id = %command.id, error = error.for_log(), "a command could not be attended to");
            }
            busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&command.id);
        });
    }

    /// Removes from the engine what has no row, or a final one.
    async fn sweep(&mut self) -> Result<()> {
        let seen = match self.machine.engine.commands().await {
            Ok(seen) => seen,
            // The converger tells of it.
            Err(_) => return Ok(()),
        };
        for command in seen {
            let row = {
                let mut tx = self.ctx.store.read().await?;
                store::commands::find(&mut tx, &Scope::Platform, &command.id).await?
            };
            // The row is there before the container: without one, its app was destroyed, whoever attends to it.
            let attended = self.ctx.desk.is_held(&command.id) || self.lock().contains(&command.id);
            if row.is_some_and(|row| attended || !row.state.is_final()) {
                continue;
            }
            if let Err(error) = self.machine.engine.end_command(&command.id, 0).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(command.id = %command.id, error, "a command that nobody needs could not be removed");
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<CommandId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn attend(ctx: &Ctx, machine: &Machine, command: &Command, cancel: &CancellationToken) -> Result<()> {
    let limit = match command.kind {
        CommandKind::Detached => LONGEST,
        _ => Duration::from_secs(u64::from(ctx.config.runtime.command_seconds)),
    };
    let Some(ended) = work::carry_out(ctx, machine, command, limit, cancel, |_| ()).await? else {
        return Ok(());
    };
    conclude(ctx, machine, command, &ended).await
}

/// Whoever held its streams is gone: it is asked to end, and its end noted.
async fn let_go(ctx: &Ctx, machine: &Machine, command: &Command) -> Result<()> {
    let grace = ctx.config.runtime.grace_seconds;
    // Whether it has ended is asked with patience, not looked up: it may be just about to start.
    let ended = match tokio::time::timeout(PATIENCE, machine.engine.command_exit(&command.id)).await {
        Ok(Ok(exit)) => Ended::of(exit),
        // Or not there yet: then the next sweep finds it.
        Ok(Err(EngineError::NotFound { .. })) => Ended::failed("it was ended from outside"),
        Ok(Err(fault)) => return Err(super::desk::refused(fault)),
        Err(_) => {
            machine.engine.end_command(&command.id, grace).await.map_err(super::desk::refused)?;
            Ended::failed("whoever held its streams let go")
        }
    };
    conclude(ctx, machine, command, &ended).await
}

/// The row first: a command whose end is not noted is looked for in the engine again.
async fn conclude(ctx: &Ctx, machine: &Machine, command: &Command, ended: &Ended) -> Result<()> {
    note(ctx, command, ended, ctx.now()).await?;
    machine.engine.end_command(&command.id, 0).await.map_err(super::desk::refused)
}

pub(super) async fn note(ctx: &Ctx, command: &Command, ended: &Ended, now: Timestamp) -> Result<()> {
    if command.kind != CommandKind::Run {
        ctx.logs.close(&LogName::command(&command.id))?;
    }
    let mut tx = ctx.store.begin().await?;
    let reason = ended.reason.as_deref();
    store::commands::finish(&mut tx, &command.id, ended.state(), ended.exit_code, reason, now).await?;
    let old = store::commands::prune(&mut tx, &command.environment_id, command.kind, REMEMBERED).await?;
    tx.commit().await?;
    for id in old {
        ctx.logs.delete(&LogName::command(&id)).await?;
    }
    Ok(())
}

fn report(ended: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(fault) = ended
        && fault.is_panic()
    {
        tracing::error!(cause = %fault, "the attendance of a command broke off");
    }
}
