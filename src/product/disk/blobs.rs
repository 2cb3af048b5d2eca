//! The sweep of the blob store and of the engine's images.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::records::named_digests;
use super::{Collected, Machine};
use crate::base::error::{Error, Result};
use crate::base::model::ImageDigest;
use crate::machinery::image::{BlobStore, Digest, inspect};
use crate::product::builds::Reached;
use crate::product::{Ctx, images};
use crate::state::store;

pub(super) async fn sweep(ctx: &Ctx, machine: &Machine, collected: &mut Collected) -> Result<()> {
    let grace = Duration::from_secs(ctx.config.disk.grace_seconds.into());
    let horizon = machine.blobs.horizon(grace);
    let since = Instant::now().checked_sub(grace);
    let (named, kept, pushed) = {
        let mut tx = ctx.store.read().await?;
        // Jobs first: one that ends meanwhile has written its release down by then.
        let named = named_digests(&store::jobs::at_work_on(&mut tx).await?);
        let pushed = images::kept(ctx).await?;
        (named, store::releases::kept_images(&mut tx).await?, pushed)
    };
    let builder = std::sync::Arc::clone(&machine.builder);
    let builds = tokio::task::spawn_blocking(move || builder.reached()).await.map_err(Error::internal)?;
    let mut images: HashSet<ImageDigest> = kept.into_iter().map(|(_, image)| image).collect();
    images.extend(named.iter().map(|digest| digest.to_image()));
    let Reached { blobs: cached, images: of_builds } = builds;
    images.extend(of_builds);

    let (blobs, reached_images) = (machine.blobs.clone(), images.clone());
    let swept = tokio::task::spawn_blocking(move || {
        let mut reached: HashSet<Digest> = named.into_iter().chain(cached).collect();
        reached.extend(pushed.iter().filter_map(|(_, blob)| blob.as_str().parse::<Digest>().ok()));
        for image in &reached_images {
            reached.extend(parts(&blobs, image));
        }
        blobs.sweep(&reached, horizon)
    });
    let swept = swept.await.map_err(Error::internal)?.map_err(Error::internal)?;
    (collected.blobs, collected.bytes, collected.young) = (swept.blobs, swept.bytes, swept.young);

    collected.images = drop_images(machine, &images, since).await?;
    let builder = std::sync::Arc::clone(&machine.builder);
    tokio::task::spawn_blocking(move || builder.forget_packages()).await.map_err(Error::internal)?;
    Ok(())
}

/// The blobs of an image; what is named and is no image is a blob by itself.
pub(super) fn parts(blobs: &BlobStore, image: &ImageDigest) -> Vec<Digest> {
    let mut parts = vec![Digest::from(image)];
    if let Ok(facts) = inspect(blobs, image) {
        parts.push(facts.config);
        parts.extend(facts.layers.iter().map(|layer| layer.digest));
    }
    parts
}

/// Whatever is not kept, unless it was asked for after `since`: a build that ended since `kept` was read counts on its image.
async fn drop_images(machine: &Machine, kept: &HashSet<ImageDigest>, since: Option<Instant>) -> Result<u64> {
    let engine = &machine.engine;
    let refused = |error| Error::unavailable("the container engine could not be asked for its images", error);
    let mut dropped = 0;
    for image in engine.images().await.map_err(refused)? {
        if kept.contains(&image) {
            continue;
        }
        match machine.builder.drop_image(&image, since).await {
            Ok(gone) => dropped += u64::from(gone),
            // The others are no worse for it, and the next collection tries again.
            Err(error) => {
                tracing::warn!(image = %image, error = &error as &dyn std::error::Error, "an image stays in the engine");
            }
        }
    }
    Ok(dropped)
}
