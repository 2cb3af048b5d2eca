//! The repository of each app: what people pushed to it, under which names, and for how long it stays.
//!
//! The rows say what an app has; the blob store has the content, once for all apps. A row is written when its content is on
//! the disk and taken away before the content may go, so what a row names is there. Whatever a manifest names is in the same
//! repository when the manifest comes: nobody reaches another's content by naming it.
//!
//! Releases have images of their own, which are no part of this; `deploy` makes a release of a pushed image.

mod expiry;
mod tags;

use std::collections::HashMap;

use crate::base::access::{Action, Actor, Scope};
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppId, ContentDigest, PushedBlob, PushedManifest};
use crate::product::Ctx;
use crate::state::store::{Tx, images as rows};

pub use expiry::{expire, kept};
pub use tags::{all_tags, is_number, put_tag, remove_tag, tagged, write_tag};

/// A look at a blob counts as its use, written down at most this often (ms): who looks is about to name it.
const TOUCH_EVERY: i64 = 600_000;
/// Of one repository: expiry holds what all of them name in memory.
const MOST_MANIFESTS: i64 = 5000;

/// What a manifest names and its repository does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    Blob(ContentDigest),
    Manifest(ContentDigest),
}

pub async fn blob(ctx: &Ctx, actor: &Actor, app: &App, digest: &ContentDigest) -> Result<Option<PushedBlob>> {
    actor.may(Action::ViewApp, &app.into())?;
    let found = rows::blob(&mut ctx.store.read().await?, &app.id, digest).await?;
    if found.as_ref().is_some_and(|blob| ctx.now().since(blob.used_at) > TOUCH_EVERY) {
        let mut tx = ctx.store.begin().await?;
        rows::use_blob(&mut tx, &app.id, digest, ctx.now()).await?;
        tx.commit().await?;
    }
    Ok(found)
}

/// How many bytes more may be pushed; none: any number.
pub async fn room(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Option<u64>> {
    actor.may(Action::Deploy, &app.into())?;
    left(ctx, &mut ctx.store.read().await?, &app.id).await
}

async fn left(ctx: &Ctx, tx: &mut Tx, app: &AppId) -> Result<Option<u64>> {
    let most = ctx.config.registry.app_bytes;
    if most == 0 {
        return Ok(None);
    }
    let used = u64::try_from(rows::bytes(tx, app).await?).unwrap_or_default();
    Ok(Some(most.saturating_sub(used)))
}

/// Why a push is refused that would hold more than it may.
pub fn over_quota(ctx: &Ctx) -> Error {
    Error::limit(format!(
        "the repository of this app may hold {:.1} GB (registry.app_bytes), and this is more; delete tags and manifests that \
         nobody needs",
        ctx.config.registry.app_bytes as f64 / 1e9
    ))
}

/// The content is in the blob store, under a pin that is held until this returns.
pub async fn keep_blob(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    digest: &ContentDigest,
    (blob, bytes): (ContentDigest, u64),
) -> Result<()> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    if rows::blob(&mut tx, &app.id, digest).await?.is_none()
        && left(ctx, &mut tx, &app.id).await?.is_some_and(|left| left < bytes)
    {
        return Err(over_quota(ctx));
    }
    let bytes = i64::try_from(bytes).map_err(Error::internal)?;
    let row = PushedBlob { digest: digest.clone(), blob, bytes, used_at: ctx.now() };
    rows::put_blob(&mut tx, &app.id, &row).await?;
    tx.commit().await
}

/// Takes a blob over from an app that the actor may look into: `from`, or any. `false`: none such has it.
pub async fn mount(ctx: &Ctx, actor: &Actor, app: &App, digest: &ContentDigest, from: Option<&App>) -> Result<bool> {
    actor.may(Action::Deploy, &app.into())?;
    let found = {
        let mut tx = ctx.store.read().await?;
        match from {
            Some(from) => {
                actor.may(Action::ViewApp, &from.into())?;
                rows::blob(&mut tx, &from.id, digest).await?
            }
            None => rows::blob_anywhere(&mut tx, &actor.scope(), digest).await?,
        }
    };
    let Some(found) = found else { return Ok(false) };
    let bytes = u64::try_from(found.bytes).unwrap_or_default();
    keep_blob(ctx, actor, app, digest, (found.blob, bytes)).await?;
    Ok(true)
}

/// `false`: it is not there. Manifests that name it stay.
pub async fn remove_blob(ctx: &Ctx, actor: &Actor, app: &App, digest: &ContentDigest) -> Result<bool> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let removed = rows::delete_blob(&mut tx, &app.id, digest).await?;
    tx.commit().await?;
    ctx.disk.wake();
    Ok(removed)
}

pub async fn manifest(ctx: &Ctx, actor: &Actor, app: &App, digest: &ContentDigest) -> Result<Option<PushedManifest>> {
    actor.may(Action::ViewApp, &app.into())?;
    rows::manifest(&mut ctx.store.read().await?, &app.id, digest).await
}

/// All that it names and that is not here.
pub async fn missing(ctx: &Ctx, actor: &Actor, app: &App, manifest: &PushedManifest) -> Result<Vec<Missing>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let mut missing = Vec::new();
    for digest in &manifest.facts.blobs {
        if rows::blob(&mut tx, &app.id, digest).await?.is_none() {
            missing.push(Missing::Blob(digest.clone()));
        }
    }
    for digest in &manifest.facts.manifests {
        if rows::manifest(&mut tx, &app.id, digest).await?.is_none() {
            missing.push(Missing::Manifest(digest.clone()));
        }
    }
    Ok(missing)
}

/// Its document is in the blob store, under a pin that is held until this returns. What it names counts as used now, so that
/// nothing of it expires meanwhile; something that went since is told, and nothing is written.
pub async fn put_manifest(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    manifest: &PushedManifest,
) -> Result<std::result::Result<(), Missing>> {
    actor.may(Action::Deploy, &app.into())?;
    let now = ctx.now();
    let mut tx = ctx.store.begin().await?;
    for digest in &manifest.facts.blobs {
        if !rows::use_blob(&mut tx, &app.id, digest, now).await? {
            return Ok(Err(Missing::Blob(digest.clone())));
        }
    }
    for digest in &manifest.facts.manifests {
        if !rows::use_manifest(&mut tx, &app.id, digest, now).await? {
            return Ok(Err(Missing::Manifest(digest.clone())));
        }
    }
    let bytes = u64::try_from(manifest.bytes).unwrap_or_default();
    let known = rows::manifest(&mut tx, &app.id, &manifest.digest).await?.is_some();
    if !known && rows::count_manifests(&mut tx, &app.id).await? >= MOST_MANIFESTS {
        return Err(Error::limit(format!("a repository has at most {MOST_MANIFESTS} manifests; delete some first")));
    }
    if !known && left(ctx, &mut tx, &app.id).await?.is_some_and(|left| left < bytes) {
        return Err(over_quota(ctx));
    }
    rows::put_manifest(&mut tx, &app.id, manifest).await?;
    tx.commit().await?;
    Ok(Ok(()))
}

/// Its tags go with it. `false`: it is not there.
pub async fn remove_manifest(ctx: &Ctx, actor: &Actor, app: &App, digest: &ContentDigest) -> Result<bool> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let removed = rows::delete_manifest(&mut tx, &app.id, digest).await?;
    tx.commit().await?;
    ctx.disk.wake();
    Ok(removed)
}

/// Manifests that say something of `subject`, by digest.
pub async fn referrers(ctx: &Ctx, actor: &Actor, app: &App, subject: &ContentDigest) -> Result<Vec<PushedManifest>> {
    actor.may(Action::ViewApp, &app.into())?;
    rows::referrers(&mut ctx.store.read().await?, &app.id, subject).await
}

/// For the platform's own work: all content of the repository, each digest with its name in the blob store.
pub(crate) async fn contents(ctx: &Ctx, app: &AppId) -> Result<HashMap<ContentDigest, ContentDigest>> {
    let mut tx = ctx.store.read().await?;
    let blobs = rows::blobs(&mut tx, app).await?.into_iter().map(|row| (row.digest, row.blob));
    let manifests = rows::manifests(&mut tx, app).await?.into_iter().map(|row| (row.digest, row.blob));
    Ok(blobs.chain(manifests).collect())
}

/// Used where a row is read for the platform's own work.
const PLATFORM: Scope = Scope::Platform;
