//! One collection, in the order that the head of this room argues for.

use std::collections::HashSet;

use super::{blobs, leftovers, records};
use crate::base::error::{Error, Result};
use crate::product::{Ctx, images};

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Whose image was given up.
    pub releases: u64,
    /// Manifests and blobs of repositories that nobody named any more.
    pub pushed: u64,
    pub blobs: u64,
    /// Of the blobs.
    pub bytes: u64,
    /// Nobody needs them either, but they were used a moment ago.
    pub young: u64,
    /// Of the engine.
    pub images: u64,
    pub networks: u64,
    /// Of builds.
    pub caches: u64,
}

impl Collected {
    pub(super) fn is_nothing(&self) -> bool {
        Self { young: 0, ..*self } == Self::default()
    }
}

/// A fault ends it; what was done is right as it is, and the next collection goes on.
pub(super) async fn collect(ctx: &Ctx) -> Result<Collected> {
    let machine = ctx.disk.machine()?;
    let _alone = ctx.disk.collecting.lock().await;
    let replicas = machine.engine.observe().await;
    let replicas = replicas.map_err(|error| Error::unavailable("the container engine does not answer", error))?;
    let running: HashSet<_> = replicas.into_iter().map(|replica| replica.release).collect();

    let mut collected = Collected { releases: records::mark(ctx, &running).await?, ..Collected::default() };
    collected.pushed = images::expire(ctx).await?;
    leftovers::sweep(ctx, machine, &mut collected).await?;
    blobs::sweep(ctx, machine, &mut collected).await?;
    if !collected.is_nothing() {
        tracing::info!(
            releases = collected.releases,
            pushed = collected.pushed,
            blobs = collected.blobs,
            bytes = collected.bytes,
            images = collected.images,
            networks = collected.networks,
            caches = collected.caches,
            "what nobody needs was removed"
        );
    }
    Ok(collected)
}
