//! What nobody needs any more: quarantines of pushes that never became a job or whose job has ended, repositories and
//! build caches of apps that were destroyed, data of volumes that were kept long enough. Destroying an app enqueues the job that clears it away; the sweeper finds
//! what such a job had to leave.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::intake::{PLATFORM, quarantines_in_use};
use super::purge::purge;
use super::push::null_id;
use super::volumes;
use crate::base::access::Actor;
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppId, BranchName, Id};
use crate::machinery::git::{Repositories, Repository};
use crate::product::builds::Builder;
use crate::product::{Ctx, apps};
use crate::state::jobs::{StepContext, StepError, Work};
use crate::state::store;

const CLEAR: &str = "clear";
const EVERY: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(20);

pub struct Sweeper {
    ctx: Ctx,
    repositories: Arc<Repositories>,
    builder: Arc<Builder>,
}

impl Sweeper {
    pub fn new(ctx: Ctx, repositories: Arc<Repositories>, builder: Arc<Builder>) -> Self {
        Self { ctx, repositories, builder }
    }

    /// Removes quarantines that no unfinished job needs. Only before pushes are taken: one that is just arriving has no job yet.
    pub async fn quarantines(&self) -> Result<()> {
        self.repositories.sweep().map_err(Error::internal)?;
        for (app, repository) in self.repositories()? {
            let live: HashSet<String> = quarantines_in_use(&self.ctx, &app).await?.into_iter().collect();
            let removed = repository.sweep(&live).map_err(Error::internal)?;
            if removed > 0 {
                tracing::info!(app.id = %app, removed, "removed what unfinished pushes had left");
            }
        }
        Ok(())
    }

    /// Removes what destroyed apps and volumes have left, again and again until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            if let Err(error) = self.destroyed_apps().await {
                tracing::warn!(error = error.for_log(), "what destroyed apps have left could not be removed");
            }
            if let Err(error) = purge(&self.ctx).await {
                tracing::warn!(error = error.for_log(), "old jobs and their logs could not be removed");
            }
            let pause = match volumes::purge_volumes(&self.ctx).await {
                Ok(false) => EVERY,
                // What has them is about to end, or was until a moment ago.
                Ok(true) => SOON,
                Err(error) => {
                    tracing::warn!(error = error.for_log(), "destroyed volumes could not be removed");
                    EVERY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn destroyed_apps(&self) -> Result<()> {
        for (app, _) in self.repositories()? {
            let mut tx = self.ctx.store.read().await?;
            if store::apps::find(&mut tx, &PLATFORM, &app).await?.is_some() {
                continue;
            }
            drop(tx);
            clear(&self.builder, &self.repositories, &app).await?;
        }
        Ok(())
    }

    fn repositories(&self) -> Result<Vec<(AppId, Repository)>> {
        let ids = self.repositories.ids().map_err(Error::internal)?;
        let mut all = Vec::new();
        for id in ids {
            if let (Ok(app), Some(repository)) = (id.parse(), self.repositories.find(&id).map_err(Error::internal)?) {
                all.push((app, repository));
            }
        }
        Ok(all)
    }
}

async fn clear(builder: &Builder, repositories: &Repositories, app: &AppId) -> Result<()> {
    builder.forget(app).await.map_err(|failure| Error::unavailable(failure.reason.clone(), failure))?;
    repositories.remove(app.as_str()).map_err(Error::internal)?;
    tracing::info!(app.id = %app, "removed what a destroyed app had left");
    Ok(())
}

/// Destroys the app: its rows now, what runs of it as soon as the converger sees that, its repository and its build
/// sandbox behind the work that is still under way for it.
pub async fn destroy(ctx: &Ctx, actor: &Actor, app: &App) -> Result<()> {
    let mut tx = ctx.store.begin().await?;
    apps::delete(&mut tx, actor, app).await?;
    volumes::bury(&mut tx, ctx).await?;
    ctx.queue.enqueue(&mut tx, CLEAR, app.id.as_str(), Value::String(app.id.to_string())).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    ctx.queue.notify();
    tracing::info!(app.id = %app.id, app.name = %app.name, user.id = %actor.user.id, "app destroyed");
    Ok(())
}

/// Destroys an environment with its variables, releases and hosts. What runs of it goes as soon as the converger sees
/// that, its branch behind the work that is still under way, so that another environment can start from it.
pub async fn destroy_environment(ctx: &Ctx, actor: &Actor, app: &App, name: &str) -> Result<()> {
    let mut tx = ctx.store.begin().await?;
    let environment = apps::delete_environment(&mut tx, ctx, actor, app, name).await?;
    volumes::bury(&mut tx, ctx).await?;
    let payload = Cleared::Branch { app: app.id.clone(), branch: environment.branch.clone() };
    let payload = serde_json::to_value(payload).map_err(Error::internal)?;
    ctx.queue.enqueue(&mut tx, CLEAR, app.id.as_str(), payload).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    ctx.queue.notify();
    tracing::info!(app.id = %app.id, environment.id = %environment.id, environment.name = %environment.name, user.id = %actor.user.id, "environment destroyed");
    Ok(())
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Cleared {
    App(AppId),
    Branch { app: AppId, branch: BranchName },
}

/// The job that clears a destroyed app or the branch of a destroyed environment away. Jobs of one app run one after the other, so no push is at work in what it removes.
pub struct ClearWork {
    ctx: Ctx,
    repositories: Arc<Repositories>,
    builder: Arc<Builder>,
}

impl ClearWork {
    pub fn new(ctx: Ctx, repositories: Arc<Repositories>, builder: Arc<Builder>) -> Self {
        Self { ctx, repositories, builder }
    }

    async fn forget_branch(&self, app: &AppId, branch: &BranchName) -> Result<()> {
        let environments = store::environments::of_app(&mut self.ctx.store.read().await?, &PLATFORM, app).await?;
        let found = self.repositories.find(app.as_str()).map_err(Error::internal)?;
        let Some(repository) = found.filter(|_| environments.iter().all(|e| e.branch != *branch)) else {
            return Ok(());
        };
        if let Some(tip) = repository.head_of(branch.as_str()).map_err(Error::internal)? {
            let name = format!("refs/heads/{branch}");
            repository.update_ref(&name, &tip, &null_id()).map_err(Error::internal)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Work for ClearWork {
    fn kind(&self) -> &'static str {
        CLEAR
    }

    fn steps(&self) -> &'static [&'static str] {
        &["clear"]
    }

    async fn run(&self, _: usize, cx: &StepContext) -> Result<Value, StepError> {
        match serde_json::from_value(cx.job.payload.clone()).map_err(Error::internal)? {
            Cleared::App(app) => clear(&self.builder, &self.repositories, &app).await?,
            Cleared::Branch { app, branch } => self.forget_branch(&app, &branch).await?,
        }
        self.ctx.disk.wake();
        Ok(Value::Null)
    }

    async fn failed(&self, _: &StepContext, _: &str) {}
}
