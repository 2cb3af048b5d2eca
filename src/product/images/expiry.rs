//! What nobody names any more goes, after a while. Tags are the roots: what they name stays, with all that it names and all
//! that says something of it (signatures, lists of parts). So does what was pushed or lost its tag a short while ago,
//! because its pusher is about to name it, and what says something of that.
//!
//! Whoever names something notes its use in the same transaction, and what is removed here is removed only if it was not
//! used since: so nothing is taken from under a manifest that is just coming.

use std::collections::{HashMap, HashSet};

use super::PLATFORM;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{AppId, ContentDigest, PushedManifest};
use crate::product::Ctx;
use crate::state::store::{self, images as rows};

/// How many manifests and blobs of all repositories went.
pub async fn expire(ctx: &Ctx) -> Result<u64> {
    let mut gone = 0;
    let apps = rows::apps(&mut ctx.store.read().await?).await?;
    for app in apps {
        let expired = expire_app(ctx, &app).await?;
        if expired > 0 {
            tracing::info!(app.id = %app, expired, "pushed content that nobody names was forgotten");
        }
        gone += expired;
    }
    Ok(gone)
}

async fn expire_app(ctx: &Ctx, app: &AppId) -> Result<u64> {
    let config = &ctx.config.registry;
    let before = |seconds: u32| ctx.now().plus_millis(-i64::from(seconds) * 1000);
    let (untagged, loose) = (before(config.untagged_seconds), before(config.loose_seconds));
    let mut tx = ctx.store.begin().await?;
    if store::apps::find(&mut tx, &PLATFORM, app).await?.is_none() {
        return Ok(0);
    }
    let manifests = rows::manifests(&mut tx, app).await?;
    let tags = rows::tags(&mut tx, app).await?;
    let roots = tags.into_iter().map(|tag| tag.digest).collect();
    let kept = reached(&manifests, roots, untagged);
    let (kept, old): (Vec<_>, Vec<_>) = manifests.into_iter().partition(|m| kept.contains(&m.digest));
    let mut gone = 0;
    for manifest in old {
        gone += u64::from(rows::expire_manifest(&mut tx, app, &manifest.digest, untagged).await?);
    }
    let named: HashSet<_> = kept.iter().flat_map(|manifest| &manifest.facts.blobs).collect();
    for blob in rows::blobs(&mut tx, app).await? {
        if !named.contains(&blob.digest) {
            gone += u64::from(rows::expire_blob(&mut tx, app, &blob.digest, loose).await?);
        }
    }
    if gone > 0 {
        tx.commit().await?;
    }
    Ok(gone)
}

/// Without recursion: how deep indexes name each other is their pusher's choice.
fn reached(manifests: &[PushedManifest], tagged: Vec<ContentDigest>, young_since: Timestamp) -> HashSet<ContentDigest> {
    let by_digest: HashMap<_, _> = manifests.iter().map(|manifest| (&manifest.digest, manifest)).collect();
    let mut about: HashMap<&ContentDigest, Vec<&ContentDigest>> = HashMap::new();
    for manifest in manifests {
        if let Some(subject) = &manifest.subject {
            about.entry(subject).or_default().push(&manifest.digest);
        }
    }
    let young = manifests.iter().filter(|manifest| manifest.used_at >= young_since);
    let mut next: Vec<ContentDigest> = tagged;
    next.extend(young.map(|manifest| manifest.digest.clone()));
    let mut reached = HashSet::new();
    while let Some(digest) = next.pop() {
        let Some(manifest) = by_digest.get(&digest) else { continue };
        if reached.insert(digest.clone()) {
            next.extend(manifest.facts.manifests.iter().cloned());
            next.extend(about.get(&digest).into_iter().flatten().copied().cloned());
        }
    }
    reached
}

/// Content of the blob store that some repository has, with the app that it is of.
pub async fn kept(ctx: &Ctx) -> Result<Vec<(AppId, ContentDigest)>> {
    rows::kept(&mut ctx.store.read().await?).await
}
