//! What is seen of running replicas. Nothing here is stored, and whoever looks cannot touch.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::base::access::{Action, Actor};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{App, Environment, EnvironmentId, Generation, ProcessName, ReleaseId, ReplicaState};
use crate::product::Ctx;
use crate::state::store::releases;

#[derive(Debug, Clone)]
pub struct ReplicaView {
    pub process: ProcessName,
    pub ordinal: u32,
    pub generation: Generation,
    pub release: ReleaseId,
    pub state: ReplicaState,
    /// Receives traffic, or would if its process had a port.
    pub ready: bool,
    /// Which check it does not pass and what that saw, when it runs and is not ready.
    pub fault: Option<String>,
    pub started_at: Option<Timestamp>,
}

#[async_trait]
pub trait Observatory: Send + Sync {
    async fn replicas(&self, environment: &EnvironmentId) -> Result<Vec<ReplicaView>>;
}

/// For contexts in which nothing runs.
pub struct NoObservatory;

#[async_trait]
impl Observatory for NoObservatory {
    async fn replicas(&self, _: &EnvironmentId) -> Result<Vec<ReplicaView>> {
        Ok(Vec::new())
    }
}

/// With the number of the release that each runs, if that is known.
pub async fn replicas(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
) -> Result<Vec<(ReplicaView, Option<i64>)>> {
    actor.may(Action::ViewApp, &app.into())?;
    let seen = ctx.observatory.replicas(&environment.id).await?;
    let mut tx = ctx.store.read().await?;
    let mut numbers = BTreeMap::new();
    for replica in &seen {
        if !numbers.contains_key(&replica.release) {
            let release = releases::find(&mut tx, &actor.scope(), &replica.release).await?;
            numbers.insert(replica.release.clone(), release.map(|release| release.number));
        }
    }
    let number = |replica: &ReplicaView| numbers.get(&replica.release).copied().flatten();
    Ok(seen.into_iter().map(|replica| (replica.clone(), number(&replica))).collect())
}
