//! What people may look at of running replicas.

use std::sync::Arc;

use async_trait::async_trait;

use super::board::Board;
use super::vital::Standing;
use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, Replica, ReplicaState};
use crate::machinery::runtime::Engine;
use crate::product::apps::{Observatory, ReplicaView};

pub struct EngineObservatory {
    engine: Arc<dyn Engine>,
    board: Board,
}

impl EngineObservatory {
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, board: Board::default() }
    }

    /// For the converger to write on.
    pub fn board(&self) -> Board {
        self.board.clone()
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
        Ok(self.of(environment).await?.iter().map(|replica| view(replica, self.board.of(&replica.id))).collect())
    }
}

fn view(replica: &Replica, standing: Option<Standing>) -> ReplicaView {
    let standing = standing.filter(|_| replica.state == ReplicaState::Running).unwrap_or_default();
    ReplicaView {
        process: replica.workload.process.clone(),
        ordinal: replica.ordinal,
        generation: replica.generation,
        release: replica.release.clone(),
        state: replica.state.clone(),
        ready: standing.ready,
        fault: standing.fault.filter(|_| !standing.ready).map(|(kind, text)| format!("{kind}: it {text}")),
        started_at: replica.started_at,
    }
}
