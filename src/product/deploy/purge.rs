//! Jobs that ended long ago, and logs that nothing stands for any more.

use crate::base::error::Result;
use crate::base::model::{CommandId, JobId};
use crate::product::Ctx;
use crate::state::logs::LogName;
use crate::state::store;

/// For so long the output of a build, a deployment or a push can be read.
const KEPT_DAYS: i64 = 30;
const DAY_MILLIS: i64 = 86_400_000;
/// Rows of one transaction, so that it holds up nobody.
const AT_ONCE: i64 = 200;
/// A log is younger than the row it is of for a moment at most.
const YOUNG_MILLIS: i64 = 3_600_000;

/// Removes both; how many logs that were. Doing it twice is doing it once.
pub async fn purge(ctx: &Ctx) -> Result<usize> {
    let before = ctx.now().plus_millis(-KEPT_DAYS * DAY_MILLIS);
    loop {
        let mut tx = ctx.store.begin().await?;
        let removed = store::jobs::purge(&mut tx, before, AT_ONCE).await?;
        tx.commit().await?;
        if removed == 0 {
            break;
        }
        tracing::info!(removed, "jobs that ended long ago were removed");
    }
    let mut removed = 0;
    for name in ctx.logs.older_than(ctx.now().plus_millis(-YOUNG_MILLIS)).await? {
        if !stands_for_something(ctx, &name).await? {
            ctx.logs.delete(&name).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

async fn stands_for_something(ctx: &Ctx, name: &LogName) -> Result<bool> {
    let mut tx = ctx.store.read().await?;
    if let Ok(job) = name.as_str().parse::<JobId>() {
        return Ok(store::jobs::find(&mut tx, &job).await?.is_some());
    }
    match name.as_str().parse::<CommandId>() {
        Ok(command) => store::commands::exists(&mut tx, &command).await,
        // None of ours.
        Err(_) => Ok(true),
    }
}
