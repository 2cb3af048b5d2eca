//! What nobody needs any more: quarantines of pushes that never became a job or whose job has ended, repositories and
//! build caches of apps that were destroyed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::intake::{PLATFORM, quarantines_in_use};
use crate::base::error::{Error, Result};
use crate::base::model::AppId;
use crate::machinery::git::{Repositories, Repository};
use crate::product::Ctx;
use crate::product::builds::Builder;
use crate::state::store;

const EVERY: Duration = Duration::from_secs(600);

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

    /// Removes what destroyed apps have left, again and again until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            if let Err(error) = self.destroyed_apps().await {
                tracing::warn!(error = error.for_log(), "what destroyed apps have left could not be removed");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
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
            self.builder.forget(&app).await;
            self.repositories.remove(&app.to_string()).map_err(Error::internal)?;
            tracing::info!(app.id = %app, "removed what a destroyed app had left");
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
