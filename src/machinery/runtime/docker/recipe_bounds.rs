//! What the classic builder does not hold a build to: each container of it is given the rest of its bounds as it starts,
//! and looked at while it runs. One that stays at its limit of processes, or writes more than it may, ends the build.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::{RecipeFault, Result};
use super::{Docker, LONG, QUICK, names};
use crate::base::clock::{Clock, SystemClock};
use crate::base::model::{AppId, Limits};

const LOOK: Duration = Duration::from_secs(1);
/// How many looks in a row a container may be at its limit of processes.
const CROWDED: u32 = 3;
/// How often what it wrote is measured; longer where measuring takes long.
const MEASURED: Duration = Duration::from_secs(4);

impl Docker {
    /// Until the guard is dropped. What is received ends the build. `mounts`: what it writes into volumes counts as well.
    pub(super) async fn watch_recipe(
        &self,
        app: &AppId,
        limits: Limits,
        disk_bytes: u64,
        mounts: bool,
    ) -> Result<(DropGuard, mpsc::Receiver<RecipeFault>)> {
        let ours = vec![format!("{}={}", names::PREFIX, self.0.prefix), format!("{}={app}", names::RECIPE)];
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", ["start", "die"].map(str::to_owned).to_vec()),
            ("label", ours.clone()),
        ]);
        // Replayed from this moment: none starts before somebody listens.
        let now = SystemClock.now().0;
        let since = format!("{}.{:03}", now.div_euclid(1000), now.rem_euclid(1000));
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        let api = self.api()?;
        self.call("reach", "engine", QUICK, |api| async move { api.ping().await }).await?;
        let (cancel, docker) = (CancellationToken::new(), self.clone());
        let until = cancel.clone();
        let (to, broken) = mpsc::channel(1);
        let app = app.clone();
        self.0.tidying.spawn(async move {
            let mut events = api.events(Some(options)).take_until(until.cancelled_owned()).boxed();
            let (mut running, mut crowded, mut due) = (None::<String>, 0, Instant::now() + MEASURED);
            loop {
                let event = match tokio::time::timeout(LOOK, events.next()).await {
                    Ok(Some(Ok(event))) => Some(event),
                    Ok(_) => return,
                    Err(_) => None,
                };
                if let Some(event) = event {
                    let Some(id) = event.actor.and_then(|actor| actor.id) else { continue };
                    running = None;
                    if event.action.as_deref() == Some("start") {
                        docker.bound_container(&id, limits).await;
                        (running, crowded) = (Some(id), 0);
                    }
                    continue;
                }
                let Some(id) = &running else { continue };
                if let Ok(Some(usage)) = docker.counters(id).await {
                    let most = limits.pids.unsigned_abs();
                    crowded = if usage.processes >= most - most / 20 { crowded + 1 } else { 0 };
                    if crowded >= CROWDED {
                        let _ = to.send(RecipeFault::Crowded).await;
                        return;
                    }
                }
                if Instant::now() < due {
                    continue;
                }
                let began = Instant::now();
                let volumes = if mounts { docker.volumes_of_recipe(&app).await.unwrap_or_default() } else { 0 };
                if let Ok(size) = docker.written_by(&ours).await
                    && size.saturating_add(volumes) > disk_bytes
                {
                    let size = size.saturating_add(volumes);
                    let _ = to.send(RecipeFault::Outgrown(size)).await;
                    return;
                }
                due = Instant::now() + MEASURED.max(began.elapsed() * 20);
            }
        });
        Ok((cancel.drop_guard(), broken))
    }

    async fn bound_container(&self, id: &str, limits: Limits) {
        let bounds = ContainerUpdateBody {
            pids_limit: Some(limits.pids),
            memory: Some(limits.memory_bytes),
            memory_swap: Some(limits.memory_bytes),
            ..Default::default()
        };
        let bound = |api: bollard::Docker| async move { api.update_container(id, bounds).await };
        // One that has ended already needs none.
        if let Err(error) = self.call("bound", id, QUICK, bound).await {
            tracing::debug!(container = id, %error, "a container of a build was not bounded");
        }
    }

    async fn written_by(&self, labels: &[String]) -> Result<u64> {
        let filters = HashMap::from([("label", labels.to_vec())]);
        let options = ListContainersOptionsBuilder::new().size(true).filters(&filters).build();
        let list = |api: bollard::Docker| async move { api.list_containers(Some(options)).await };
        let listed = self.call("measure", "containers", LONG, list).await?;
        Ok(listed.into_iter().filter_map(|c| u64::try_from(c.size_rw.unwrap_or(0)).ok()).sum())
    }
}
