//! What destroyed apps left behind, and caches that have outgrown their bound.

use std::collections::HashSet;

use super::{Collected, Machine};
use crate::base::access::Scope;
use crate::base::error::{Error, Result};
use crate::base::model::AppId;
use crate::product::builds::{BuildFailure, CacheCleared};
use crate::product::{Ctx, insight};
use crate::state::store;

pub(super) async fn sweep(ctx: &Ctx, machine: &Machine, collected: &mut Collected) -> Result<()> {
    let (apps, packages) = machine.builder.leftovers().await.map_err(unavailable)?;
    for app in apps {
        let known = store::apps::find(&mut ctx.store.read().await?, &Scope::Platform, &app).await?.is_some();
        if !known && clear(machine, &app, None).await? {
            collected.caches += 1;
        }
    }
    for sandbox in packages {
        machine.builder.close_leftover(&sandbox).await.map_err(unavailable)?;
    }
    for (app, bytes) in machine.builder.cache_sizes().await.map_err(unavailable)? {
        if bytes > ctx.config.disk.cache_bytes && clear(machine, &app, Some(bytes)).await? {
            tracing::info!(app.id = %app, bytes, "the build cache of an app had outgrown its bound and was dropped");
            collected.caches += 1;
        }
    }
    insight::sweep_logs(ctx).await?;
    networks(ctx, machine, collected).await
}

async fn clear(machine: &Machine, app: &AppId, outgrew: Option<u64>) -> Result<bool> {
    Ok(machine.builder.clear_cache(app, outgrew).await.map_err(unavailable)? == CacheCleared::Done)
}

async fn networks(ctx: &Ctx, machine: &Machine, collected: &mut Collected) -> Result<()> {
    let refused = |error| Error::unavailable("the container engine could not be asked for its networks", error);
    let there = machine.engine.networks().await.map_err(refused)?;
    let used: HashSet<_> = store::spaces::with_apps(&mut ctx.store.read().await?).await?.into_iter().collect();
    for space in there.into_iter().filter(|space| !used.contains(space)) {
        if machine.engine.remove_network(&space).await.map_err(refused)? {
            tracing::info!(space.id = %space, "the network of a space without apps was removed");
            collected.networks += 1;
        }
    }
    Ok(())
}

fn unavailable(failure: BuildFailure) -> Error {
    Error::unavailable(failure.reason.clone(), failure)
}
