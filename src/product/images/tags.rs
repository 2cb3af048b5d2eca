//! Names of pushed manifests.

use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppId, ContentDigest, PushedTag, TagName};
use crate::product::Ctx;
use crate::state::store::{Tx, images as rows};

/// Of one repository.
const MOST_TAGS: usize = 10_000;

/// `v12`: the name of a release, which nobody else may have.
pub fn is_number(tag: &TagName) -> bool {
    let digits = tag.as_str().strip_prefix('v').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

pub async fn tagged(ctx: &Ctx, actor: &Actor, app: &App, name: &TagName) -> Result<Option<PushedTag>> {
    actor.may(Action::ViewApp, &app.into())?;
    rows::tag(&mut ctx.store.read().await?, &app.id, name).await
}

/// In no order.
pub async fn all_tags(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Vec<PushedTag>> {
    actor.may(Action::ViewApp, &app.into())?;
    rows::tags(&mut ctx.store.read().await?, &app.id).await
}

pub async fn put_tag(ctx: &Ctx, actor: &Actor, app: &App, name: &TagName, digest: &ContentDigest) -> Result<()> {
    actor.may(Action::Deploy, &app.into())?;
    if is_number(name) {
        return Err(Error::forbidden(format!(
            "the tag {name} is the name of a release; push \"latest\" to deploy, or another name to store"
        )));
    }
    let mut tx = ctx.store.begin().await?;
    if rows::tag(&mut tx, &app.id, name).await?.is_none() && rows::tags(&mut tx, &app.id).await?.len() >= MOST_TAGS {
        return Err(Error::limit(format!("a repository has at most {MOST_TAGS} tags; delete some first")));
    }
    write_tag(ctx, &mut tx, &app.id, name, digest).await?;
    tx.commit().await
}

/// Part of a verb or of a job, which has asked or was asked before. NotFound when the manifest is gone.
pub async fn write_tag(ctx: &Ctx, tx: &mut Tx, app: &AppId, name: &TagName, digest: &ContentDigest) -> Result<()> {
    if !rows::use_manifest(tx, app, digest, ctx.now()).await? {
        return Err(Error::not_found("the manifest"));
    }
    rows::set_tag(tx, app, &PushedTag { name: name.clone(), digest: digest.clone(), moved_at: ctx.now() }).await
}

/// `false`: it is not there.
pub async fn remove_tag(ctx: &Ctx, actor: &Actor, app: &App, name: &TagName) -> Result<bool> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let removed = rows::delete_tag(&mut tx, &app.id, name, ctx.now()).await?;
    tx.commit().await?;
    Ok(removed)
}
