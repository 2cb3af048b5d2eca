//! Brings what replicas write into the kept log of their environment: one task per replica, found by looking whenever
//! the converger has looked, and asked once more before the engine forgets the replica.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::replica::{Follow, streams};
use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, Replica};
use crate::machinery::runtime::{Engine, Witness};
use crate::product::Ctx;
use crate::product::converge::Handle;
use crate::state::store;

/// The safety net under the converger's ticks.
const TIMER: Duration = Duration::from_secs(5);
/// A replica waits no longer than this for its last lines to be read.
const LAST_LOOK: Duration = Duration::from_secs(3);
const SWEEP_EVERY: Duration = Duration::from_secs(600);
const EVENTS_AGE_MILLIS: i64 = 30 * 86_400_000;
/// Of one app.
const MOST_EVENTS: i64 = 5_000;

/// Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Collector(Arc<Shared>);

struct Shared {
    ctx: Ctx,
    engine: Arc<dyn Engine>,
    followed: Mutex<HashMap<String, Followed>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

struct Followed {
    environment: EnvironmentId,
    /// True when the replica has ended and all it wrote is kept.
    done: watch::Receiver<bool>,
}

impl Collector {
    /// From now on the engine lets no replica go before its lines were read.
    pub fn new(ctx: Ctx, engine: Arc<dyn Engine>) -> Self {
        let shared = Shared {
            ctx,
            engine: Arc::clone(&engine),
            followed: Mutex::default(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        };
        let collector = Self(Arc::new(shared));
        engine.witnessed_by(Arc::new(Onlooker(Arc::downgrade(&collector.0))));
        collector
    }

    pub async fn run(self, handle: Handle, shutdown: CancellationToken) {
        let mut ticks = handle.ticks();
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.mark_unchanged();
            // An engine that does not answer is the converger's to tell.
            if let Ok(replicas) = self.0.engine.observe().await {
                self.0.look(&replicas);
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = ticks.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(TIMER) => {}
                _ = sweep.tick() => {
                    if let Err(error) = self.0.sweep().await {
                        tracing::warn!(error = error.for_log(), "old logs and events could not be removed");
                    }
                }
            }
        }
        self.0.cancel.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Removes kept lines that are too old, and those of environments that are gone.
pub async fn sweep_logs(ctx: &Ctx) -> Result<()> {
    let mut tx = ctx.store.read().await?;
    let there: HashSet<_> = store::environments::all(&mut tx).await?.into_iter().map(|(e, _)| e.id).collect();
    drop(tx);
    let (logs, now) = (ctx.insight.logs.clone(), ctx.now());
    tokio::task::spawn_blocking(move || logs.sweep(&there, now)).await.map_err(Error::internal)?
}

impl Shared {
    fn look(self: &Arc<Self>, replicas: &[Replica]) {
        let mut followed = self.followed();
        let there: HashSet<&str> = replicas.iter().map(|r| r.id.as_str()).collect();
        followed.retain(|id, it| {
            // One that is gone and still read is forgotten at the next look.
            let gone = !there.contains(id.as_str()) && *it.done.borrow();
            if gone {
                for stream in streams(id) {
                    let _ = self.ctx.insight.logs.forget(&it.environment, &stream);
                }
            }
            !gone
        });
        for replica in replicas {
            self.follow(&mut followed, replica);
        }
    }

    fn follow(&self, followed: &mut HashMap<String, Followed>, replica: &Replica) -> watch::Receiver<bool> {
        if let Some(known) = followed.get(&replica.id) {
            return known.done.clone();
        }
        let (done, seen) = watch::channel(false);
        let environment = replica.workload.environment.clone();
        followed.insert(replica.id.clone(), Followed { environment, done: seen.clone() });
        let follow = Follow::new(self.ctx.clone(), Arc::clone(&self.engine), replica.clone());
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = follow.run() => drop(done.send_replace(true)),
                () = cancel.cancelled() => {}
            }
        });
        seen
    }

    async fn last_look(&self, id: &str) {
        let known = self.followed().get(id).map(|it| it.done.clone());
        let mut done = match known {
            Some(done) => done,
            // It came and went between two looks.
            None => {
                let Ok(replicas) = self.engine.observe().await else { return };
                let Some(replica) = replicas.into_iter().find(|r| r.id == id) else { return };
                self.follow(&mut self.followed(), &replica)
            }
        };
        let _ = tokio::time::timeout(LAST_LOOK, done.wait_for(|done| *done)).await;
    }

    async fn sweep(&self) -> Result<()> {
        sweep_logs(&self.ctx).await?;
        let now = self.ctx.now();
        let mut tx = self.ctx.store.begin().await?;
        let purged = store::events::purge(&mut tx, now.plus_millis(-EVENTS_AGE_MILLIS), MOST_EVENTS).await?;
        tx.commit().await?;
        if purged > 0 {
            tracing::debug!(purged, "old events removed");
        }
        Ok(())
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<String, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine outlives the collector, so it holds it only as long as it is there.
struct Onlooker(std::sync::Weak<Shared>);

#[async_trait]
impl Witness for Onlooker {
    async fn last_look(&self, replica: &str) {
        if let Some(shared) = self.0.upgrade()
            && !shared.cancel.is_cancelled()
        {
            shared.last_look(replica).await;
        }
    }
}
