//! Making releases: immutable once written.

use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{
    BuildId, DeploymentState, Environment, EnvironmentId, Id, ImageDigest, Manifest, Processes, Release, ReleaseId,
    UserId,
};
use crate::state::store::{self, Tx};

pub struct NewRelease {
    pub build_id: Option<BuildId>,
    pub commit: Option<String>,
    pub image: ImageDigest,
    pub processes: Processes,
    pub variables_version: i64,
    pub formation: crate::base::model::Formation,
    pub manifest: Manifest,
    pub description: String,
    pub created_by: Option<UserId>,
}

pub async fn make(tx: &mut Tx, environment: &Environment, new: NewRelease, now: Timestamp) -> Result<Release> {
    let hosts = store::routes::of_environment(tx, &environment.id).await?;
    let release = Release {
        id: ReleaseId::fresh(),
        environment_id: environment.id.clone(),
        number: store::releases::next_number(tx, &environment.id).await?,
        build_id: new.build_id,
        commit: new.commit,
        image: new.image,
        processes: new.processes,
        variables_version: new.variables_version,
        formation: new.formation,
        manifest: new.manifest,
        hosts: hosts.into_iter().map(|r| r.host).collect(),
        description: new.description,
        created_by: new.created_by,
        created_at: now,
    };
    store::releases::insert(tx, &release).await?;
    Ok(release)
}

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

/// The newest release below `number` whose deployment succeeded.
pub async fn last_good_before(tx: &mut Tx, environment: &EnvironmentId, number: i64) -> Result<Option<Release>> {
    let good: Vec<ReleaseId> = store::deployments::list(tx, &Scope::Platform, environment, 200)
        .await?
        .into_iter()
        .filter(|d| d.state == DeploymentState::Succeeded)
        .filter_map(|d| d.release_id)
        .collect();
    let older = store::releases::list(tx, environment, Some(number), 200).await?;
    Ok(older.into_iter().find(|r| good.contains(&r.id)))
}
