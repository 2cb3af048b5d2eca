//! Releases whose image is given up.

use std::collections::HashSet;

use serde_json::Value;

use super::retention::beyond;
use crate::base::access::Scope;
use crate::base::error::Result;
use crate::base::model::{Environment, EnvironmentId, ReleaseId};
use crate::machinery::image::Digest;
use crate::product::{Ctx, deploy};
use crate::state::store::{self, Tx};

/// Marks what no environment keeps; how many releases that were. `running`: releases of replicas that were just seen.
pub(super) async fn mark(ctx: &Ctx, running: &HashSet<ReleaseId>) -> Result<u64> {
    let all = store::environments::all(&mut ctx.store.read().await?).await?;
    let mut marked = 0;
    for (environment, _) in all {
        let mut tx = ctx.store.begin().await?;
        let given_up = mark_environment(ctx, &mut tx, &environment.id, running).await?;
        if given_up > 0 {
            tx.commit().await?;
            marked += given_up;
            tracing::info!(environment.id = %environment.id, releases = given_up, "images of old releases are given up");
        }
    }
    Ok(marked)
}

async fn mark_environment(ctx: &Ctx, tx: &mut Tx, id: &EnvironmentId, running: &HashSet<ReleaseId>) -> Result<u64> {
    if !store::environments::hold(tx, id).await? {
        return Ok(0);
    }
    // Everything is read now that nobody can order a deployment from here.
    let Some(environment) = store::environments::find(tx, &Scope::Platform, id).await? else { return Ok(0) };
    let mut needed = running.clone();
    needed.extend(named_releases(&store::jobs::at_work_on(tx).await?));
    needed.extend(store::releases::under_way(tx, id).await?);
    needed.extend(of(&environment));
    needed.extend(deploy::last_good(tx, &environment).await?.map(|release| release.id));
    let releases = store::releases::with_image(tx, id).await?;
    let mut marked = 0;
    for release in beyond(&releases, &needed, ctx.config.disk.keep_images as usize) {
        marked += u64::from(store::releases::give_up_image(tx, &release.id, ctx.now()).await?);
    }
    Ok(marked)
}

/// What the environment runs, shall run, or may go back to by itself.
fn of(environment: &Environment) -> impl Iterator<Item = ReleaseId> {
    let status = &environment.status;
    let previous = status.watch.as_ref().and_then(|watch| watch.previous_release.clone());
    [environment.spec.release.clone(), status.live_release.clone(), previous].into_iter().flatten()
}

/// Whatever reads as the id of a release in what jobs were given and have made.
fn named_releases(documents: &[Value]) -> HashSet<ReleaseId> {
    let mut found = HashSet::new();
    documents.iter().for_each(|document| texts(document, &mut |text| found.extend(text.parse::<ReleaseId>())));
    found
}

/// The same for digests, of images and of blobs.
pub(super) fn named_digests(documents: &[Value]) -> HashSet<Digest> {
    let mut found = HashSet::new();
    documents.iter().for_each(|document| texts(document, &mut |text| found.extend(text.parse::<Digest>())));
    found
}

fn texts(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, each)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            each(key);
            texts(value, each);
        }),
        _ => {}
    }
}
