//! Making releases: immutable once written.

use super::shape::Shape;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{
    BuildId, DeploymentState, Environment, EnvironmentId, Id, ImageDigest, Manifest, Processes, Release, ReleaseId,
    ReleaseKind, UserId,
};
use crate::state::store::{self, Tx};

pub struct NewRelease {
    pub build_id: Option<BuildId>,
    pub commit: Option<String>,
    pub image: ImageDigest,
    pub processes: Processes,
    pub variables_version: i64,
    pub shape: Shape,
    pub manifest: Manifest,
    pub kind: ReleaseKind,
    pub description: String,
    pub created_by: Option<UserId>,
}

pub async fn make(tx: &mut Tx, environment: &Environment, new: NewRelease, now: Timestamp) -> Result<Release> {
    let release = draft(tx, environment, new, now).await?;
    insert(tx, &release).await?;
    Ok(release)
}

pub async fn insert(tx: &mut Tx, release: &Release) -> Result<()> {
    store::releases::insert(tx, release).await
}

/// With the next number and the hosts that the environment has now; not written yet.
pub async fn draft(tx: &mut Tx, environment: &Environment, new: NewRelease, now: Timestamp) -> Result<Release> {
    let hosts = store::routes::of_environment(tx, &environment.id).await?;
    Ok(Release {
        id: ReleaseId::fresh(),
        environment_id: environment.id.clone(),
        number: store::releases::next_number(tx, &environment.id).await?,
        build_id: new.build_id,
        commit: new.commit,
        image: new.image,
        processes: new.processes,
        variables_version: new.variables_version,
        formation: new.shape.formation,
        scaling: new.shape.scaling,
        manifest: new.manifest,
        checks: new.shape.checks,
        sizes: new.shape.sizes,
        mounts: new.shape.mounts,
        kind: new.kind,
        hosts: hosts.into_iter().map(|r| r.host).collect(),
        description: new.description,
        created_by: new.created_by,
        created_at: now,
        image_gone_at: None,
    })
}

/// The release can be deployed, and stays so until this transaction has written down what needs it. Refused in clear words
/// when its image was given up.
pub async fn hold_with_image(tx: &mut Tx, id: &ReleaseId) -> Result<()> {
    let absent = || Error::not_found("the release");
    let environment = store::releases::find(tx, &Scope::Platform, id).await?.ok_or_else(absent)?.environment_id;
    store::environments::hold(tx, &environment).await?;
    // Read again: whoever held it before may have given the image up.
    let release = store::releases::find(tx, &Scope::Platform, id).await?.ok_or_else(absent)?;
    let Some(at) = release.image_gone_at else { return Ok(()) };
    let kept = store::releases::with_image(tx, &environment).await?;
    let kept: Vec<_> = kept.iter().map(|release| format!("v{}", release.number)).take(MOST_NAMED).collect();
    let day = at.to_string().chars().take(10).collect::<String>();
    Err(Error::conflict(format!(
        "v{} cannot be deployed again: its image was removed on {day}, because only the newest are kept \
         (disk.keep_images). Still kept: {}. To have this one back, push its commit{} again",
        release.number,
        kept.join(", "),
        release.commit.as_deref().map(|commit| format!(" {}", &commit[..commit.len().min(12)])).unwrap_or_default(),
    )))
}

/// Of releases in a text.
const MOST_NAMED: usize = 20;

/// The release that the environment shall run.
pub async fn current(tx: &mut Tx, environment: &EnvironmentId) -> Result<Option<Release>> {
    let Some(found) = store::environments::find(tx, &Scope::Platform, environment).await? else { return Ok(None) };
    match found.spec.release {
        Some(id) => store::releases::find(tx, &Scope::Platform, &id).await,
        None => Ok(None),
    }
}

/// The release that is live, else the one that shall be: what a command beside the replicas runs from.
pub async fn live(tx: &mut Tx, environment: &EnvironmentId) -> Result<Option<Release>> {
    let Some(found) = store::environments::find(tx, &Scope::Platform, environment).await? else { return Ok(None) };
    match found.status.live_release.or(found.spec.release) {
        Some(id) => store::releases::find(tx, &Scope::Platform, &id).await,
        None => Ok(None),
    }
}

/// What a rollback without a number goes back to: the newest release that was live before the rollout that `release` belongs
/// to. Changes of settings since that rollout are left with it.
pub async fn last_good_before(tx: &mut Tx, release: &Release) -> Result<Option<Release>> {
    let environment = &release.environment_id;
    let good: Vec<ReleaseId> = store::deployments::list(tx, &Scope::Platform, environment, 200)
        .await?
        .into_iter()
        .filter(|d| d.state == DeploymentState::Succeeded)
        .filter_map(|d| d.release_id)
        .collect();
    let newest = store::releases::list(tx, environment, Some(release.number.saturating_add(1)), 400).await?;
    let rollout = newest.iter().position(|r| r.kind == ReleaseKind::Rollout);
    let mut older = newest.into_iter().skip(rollout.map_or(0, |at| at + 1));
    Ok(older.find(|r| r.kind == ReleaseKind::Settings || good.contains(&r.id)))
}
