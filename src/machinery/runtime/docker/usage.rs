//! What one replica uses, by one reading of its counters: no waiting for a second one. And what all of them wrote.

use std::collections::HashMap;

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse, ContainerSummary};
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use futures_util::StreamExt;

use super::super::{EngineError, Result, Usage};
use super::{Docker, LONG, QUICK, names};

impl Docker {
    pub(super) async fn usage_of(&self, replica: &str) -> Result<Usage> {
        let unknown = || EngineError::NotFound { subject: format!("replica {replica:?}") };
        if !names::is_container_id(replica) {
            return Err(unknown());
        }
        self.counters(replica).await?.ok_or_else(unknown)
    }

    pub(super) async fn usage_of_sandbox(&self, sandbox: &str) -> Result<Usage> {
        let name = names::sandbox(&self.0.prefix, sandbox)?;
        self.counters(&name).await?.ok_or_else(|| EngineError::NotFound { subject: format!("sandbox {sandbox:?}") })
    }

    /// None for one that does not run.
    pub(super) async fn counters(&self, container: &str) -> Result<Option<Usage>> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let read = |api: bollard::Docker| async move { api.stats(container, Some(options)).next().await.transpose() };
        let stats = self.call("read the counters of", container, QUICK, read).await?;
        Ok(stats.and_then(|stats| usage(&stats)))
    }

    pub(super) async fn written_by_all(&self) -> Result<HashMap<String, u64>> {
        let labels = vec![format!("{}={}", names::PREFIX, self.0.prefix), names::ENVIRONMENT.to_owned()];
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().size(true).filters(&filters).build();
        let list = |api: bollard::Docker| async move { api.list_containers(Some(options)).await };
        let listed = self.call("measure", "containers", LONG, list).await?;
        // Left out by the engine: nothing was written. Negative: it could not measure.
        let one = |c: ContainerSummary| Some((c.id?, u64::try_from(c.size_rw.unwrap_or(0)).ok()?));
        Ok(listed.into_iter().filter_map(one).collect())
    }
}

fn usage(stats: &ContainerStatsResponse) -> Option<Usage> {
    let cpu_nanos = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let processes = stats.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or(0);
    Some(Usage { cpu_nanos, memory_bytes: memory(stats.memory_stats.as_ref()?)?, processes })
}

/// Pages of files that were read once can be taken back (`docker stats` leaves them out as well); their name is that of
/// cgroup v1 or v2.
fn memory(stats: &ContainerMemoryStats) -> Option<u64> {
    let all = stats.stats.as_ref();
    let inactive = all.and_then(|s| s.get("total_inactive_file").or_else(|| s.get("inactive_file"))).copied();
    Some(stats.usage?.saturating_sub(inactive.unwrap_or(0)))
}
