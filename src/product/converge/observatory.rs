//! What people may look at of running replicas.

use std::sync::Arc;

use async_trait::async_trait;

use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, Replica, ReplicaState};
use crate::machinery::runtime::Engine;
use crate::product::apps::{Observatory, ReplicaView};

pub struct EngineObservatory {
    engine: Arc<dyn Engine>,
}

impl EngineObservatory {
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine }
    }

    async fn of(&self, environment: &EnvironmentId) -> Result<Vec<Replica>> {
        let all = self.engine.observe().await.map_err(|e| Error::unavailable("the engine does not answer", e))?;
        let mut mine: Vec<Replica> = all.into_iter().filter(|r| r.workload.environment == *environment).collect();
        mine.sort_by_key(|r| (r.workload.process.clone(), r.generation, r.ordinal));
        Ok(mine)
    }
}

#[async_trait]
impl Observatory for EngineObservatory {
    async fn replicas(&self, environment: &EnvironmentId) -> Result<Vec<ReplicaView>> {
        Ok(self.of(environment).await?.iter().map(view).collect())
    }
}

fn view(replica: &Replica) -> ReplicaView {
    ReplicaView {
        process: replica.workload.process.clone(),
        ordinal: replica.ordinal,
        generation: replica.generation,
        release: replica.release.clone(),
        state: replica.state.clone(),
        ready: replica.state == ReplicaState::Running,
        started_at: replica.started_at,
    }
}
