//! What people may look at of running replicas: a list and their logs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};

use super::board::Board;
use super::vital::Standing;
use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, ProcessName, Replica, ReplicaState};
use crate::machinery::runtime::{self, Engine, LogLine};
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

    async fn logs(
        &self,
        environment: &EnvironmentId,
        process: Option<ProcessName>,
        tail: usize,
        follow: bool,
    ) -> Result<BoxStream<'static, String>> {
        let wanted = Wanted { environment: environment.clone(), process };
        if follow {
            return Ok(followed(Arc::clone(&self.engine), wanted, tail));
        }
        let mut streams = Vec::new();
        for replica in self.of(environment).await?.into_iter().filter(|r| wanted.covers(r)) {
            // A replica that is gone between the two calls has no log to show.
            let Ok(lines) = self.engine.logs(&replica.id, tail, false).await else { continue };
            streams.push(labelled(&replica, lines));
        }
        // The lines stand in the order of their times, whoever wrote them.
        let mut lines: Vec<String> = futures_util::stream::iter(streams).flatten().collect().await;
        lines.sort();
        let skip = lines.len().saturating_sub(tail);
        Ok(futures_util::stream::iter(lines.into_iter().skip(skip)).boxed())
    }
}

/// Whose lines are asked for.
struct Wanted {
    environment: EnvironmentId,
    process: Option<ProcessName>,
}

impl Wanted {
    fn covers(&self, replica: &Replica) -> bool {
        replica.workload.environment == self.environment
            && self.process.as_ref().is_none_or(|p| *p == replica.workload.process)
    }
}

/// How soon a follower hears of a replica that was not there before.
const NEW_REPLICAS: Duration = Duration::from_secs(1);

/// Lines of the replicas there are and of those to come; ends when the follower does.
fn followed(engine: Arc<dyn Engine>, wanted: Wanted, tail: usize) -> BoxStream<'static, String> {
    let timer = tokio::time::interval(NEW_REPLICAS);
    let state = (engine, wanted, timer, SelectAll::new(), HashSet::new(), tail);
    futures_util::stream::unfold(state, |(engine, wanted, mut timer, mut lines, mut seen, mut tail)| async move {
        loop {
            tokio::select! {
                Some(line) = lines.next() => return Some((line, (engine, wanted, timer, lines, seen, tail))),
                _ = timer.tick() => {
                    let replicas = engine.observe().await.unwrap_or_default();
                    for replica in replicas.into_iter().filter(|r| wanted.covers(r)) {
                        if seen.insert(replica.id.clone())
                            && let Ok(more) = engine.logs(&replica.id, tail, true).await
                        {
                            lines.push(labelled(&replica, more));
                        }
                    }
                    // Replicas to come are shown from their first line.
                    tail = usize::MAX;
                }
            }
        }
    })
    .boxed()
}

fn labelled(replica: &Replica, lines: BoxStream<'static, runtime::Result<LogLine>>) -> BoxStream<'static, String> {
    let name = format!("{}.{}", replica.workload.process, replica.ordinal);
    lines.filter_map(move |line| std::future::ready(line.ok().map(|l| format!("{} {name}: {}", l.at, l.text)))).boxed()
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
