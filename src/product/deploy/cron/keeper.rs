//! The loop that turns due times into commands. Any number of servers may run it on one database.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::run_of;
use super::schedule::Schedule;
use crate::base::error::Result;
use crate::base::model::{Command, CommandState, Cron};
use crate::product::Ctx;
use crate::product::deploy::releases;
use crate::state::store;

/// A look at least this often: another server may have changed what is due.
const TIMER: Duration = Duration::from_secs(20);
/// A time missed by more than this is passed over.
const TOO_LATE_MILLIS: i64 = 3600 * 1000;

pub struct CronKeeper {
    ctx: Ctx,
}

impl CronKeeper {
    pub fn new(ctx: Ctx) -> Self {
        Self { ctx }
    }

    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let pause = match self.look().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(error = error.for_log(), "schedules could not be looked at");
                    TIMER
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.ctx.desk.cron_woken() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sees to all that is due; how long to wait for the next.
    pub async fn look(&self) -> Result<Duration> {
        let now = self.ctx.now();
        let mut tx = self.ctx.store.read().await?;
        let due = store::crons::due(&mut tx, now).await?;
        drop(tx);
        for cron in &due {
            self.see_to(cron).await?;
        }
        let mut tx = self.ctx.store.read().await?;
        let next = store::crons::next(&mut tx).await?;
        let millis = next.map(|at| u64::try_from(at.since(self.ctx.now())).unwrap_or(0));
        Ok(millis.map_or(TIMER, |millis| Duration::from_millis(millis.max(5)).min(TIMER)))
    }

    /// One transaction: the schedule moves on, and what was due is a command. Of several that were missed, the last.
    async fn see_to(&self, cron: &Cron) -> Result<()> {
        let (ctx, now) = (&self.ctx, self.ctx.now());
        let Some(due) = cron.next_due else { return Ok(()) };
        let schedule = Schedule::parse(&cron.schedule, &cron.timezone).ok();
        let next = schedule.as_ref().and_then(|schedule| schedule.next(now));
        let last = schedule.as_ref().and_then(|schedule| schedule.last(now)).map_or(due, |last| last.max(due));
        let mut tx = ctx.store.begin().await?;
        let stopped = is_stopped(&mut tx, cron).await?;
        if !store::crons::advance(&mut tx, &cron.id, due, next).await? {
            return Ok(());
        }
        let release = releases::live(&mut tx, &cron.environment_id).await?;
        // What is stopped runs nothing, and gathers no history of that.
        if let Some(release) = release.filter(|_| !stopped) {
            let mut command = Command { due_at: Some(last), ..run_of(cron, &release, now, None) };
            let skipped = if now.since(last) > TOO_LATE_MILLIS {
                Some("the time had passed by more than an hour when a server was there again")
            } else if store::commands::cron_is_busy(&mut tx, &cron.id).await? {
                Some("the run before it was still going on")
            } else {
                None
            };
            if let Some(reason) = skipped {
                command.state = CommandState::Skipped;
                command.reason = Some(reason.to_owned());
                command.finished_at = Some(now);
            }
            store::commands::insert(&mut tx, &command, None).await?;
        }
        tx.commit().await?;
        ctx.desk.wake();
        Ok(())
    }
}

async fn is_stopped(tx: &mut store::Tx, cron: &Cron) -> Result<bool> {
    let found = store::environments::find(tx, &crate::base::access::Scope::Platform, &cron.environment_id).await?;
    Ok(found.is_none_or(|environment| environment.spec.stopped))
}
