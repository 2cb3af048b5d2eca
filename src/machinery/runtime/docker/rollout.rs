//! Starting and stopping replicas. Every step can be repeated: what is found half-made is removed and made anew.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, ResourcesUlimits};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{StreamExt, stream};

use super::super::{EngineError, Result};
use super::faults::{self, gone_is_fine, refused};
use super::names;
use super::observe::Listed;
use super::{Docker, QUICK, START};
use crate::base::model::{Generation, Limits, WorkloadId, WorkloadSpec};

/// Starts and stops under way at once: the engine serializes much of them anyway.
const AT_ONCE: usize = 8;

impl Docker {
    pub(super) async fn ensure_replicas(&self, spec: &WorkloadSpec) -> Result<()> {
        let mut labels = labels_of(&spec.id);
        labels.push(format!("{}={}", names::GENERATION, spec.generation));
        let mut up = BTreeSet::new();
        let mut stale: HashMap<u32, Vec<String>> = HashMap::new();
        let mut surplus = Vec::new();
        for found in self.list_replicas(&labels).await? {
            let ordinal = found.labels.ordinal;
            if ordinal == 0 || ordinal > spec.count || (found.is_up() && up.contains(&ordinal)) {
                surplus.push(found);
            } else if found.is_up() {
                up.insert(ordinal);
            } else {
                stale.entry(ordinal).or_default().push(found.id);
            }
        }
        let missing: Vec<_> = (1..=spec.count).filter(|ordinal| !up.contains(ordinal)).collect();
        let network = if missing.is_empty() { String::new() } else { self.space_network(&spec.space).await? };
        let mut work: Vec<BoxFuture<'_, Result<()>>> = Vec::with_capacity(missing.len() + surplus.len());
        for ordinal in missing {
            work.push(self.start(spec, ordinal, &network, stale.remove(&ordinal).unwrap_or_default()).boxed());
        }
        // Left-overs of an ordinal that is up.
        for id in stale.into_values().flatten() {
            work.push(async move { self.bury(&id, false).await }.boxed());
        }
        for found in &surplus {
            work.push(self.stop(found).boxed());
        }
        all(work).await
    }

    pub(super) async fn retire_replicas(&self, id: &WorkloadId, below: Generation) -> Result<()> {
        let found = self.list_replicas(&labels_of(id)).await?;
        all(found.iter().filter(|r| r.labels.generation < below).map(|r| self.stop(r).boxed()).collect()).await
    }

    pub(super) async fn stop_replica(&self, replica: &str) -> Result<()> {
        match self.list_replicas(&[]).await?.iter().find(|listed| listed.id == replica) {
            Some(found) => self.stop(found).await,
            None => Ok(()),
        }
    }

    pub(super) async fn remove_replica(&self, replica: &str) -> Result<()> {
        match self.inspect_ours(replica).await {
            Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(found) => {
                let runs = found.state.and_then(|state| state.running).unwrap_or(false);
                self.bury(replica, runs).await
            }
        }
    }

    async fn start(&self, spec: &WorkloadSpec, ordinal: u32, network: &str, stale: Vec<String>) -> Result<()> {
        let name = names::replica(&self.0.prefix, spec, ordinal);
        for id in stale {
            self.bury(&id, false).await?;
        }
        let mut body = self.body(spec, ordinal, network);
        if let Some(host) = &mut body.host_config {
            host.mounts = self.mounts(&spec.space, &spec.mounts).await?;
        }
        let id = self.create(&name, &body, spec.image.as_str()).await?;
        if let Err(fault) = self.give_volumes(&id, &spec.mounts).await {
            let _ = self.discard(&id).await;
            return Err(fault);
        }
        let started = match self.start_container(&id, &name).await {
            // The network was removed behind our back.
            Err(EngineError::NotFound { .. }) => {
                self.forget_network(network).await;
                self.space_network(&spec.space).await?;
                self.start_container(&id, &name).await
            }
            other => other,
        };
        if started.is_err() {
            // Never started: no state worth keeping, and the fault says why.
            let _ = self.discard(&id).await;
        }
        started
    }

    /// Creates the container, or makes it anew when a half-made one of ours stands under its name.
    pub(super) async fn create(&self, name: &str, body: &ContainerCreateBody, image: &str) -> Result<String> {
        for first in [true, false] {
            let options = CreateContainerOptionsBuilder::new().name(name).build();
            let made = |api: bollard::Docker| {
                let body = body.clone();
                async move {
                    match api.create_container(Some(options), body).await {
                        Ok(made) => Ok(Ok(made.id)),
                        Err(error) if matches!(faults::status(&error), Some(404 | 409)) => Ok(Err(error)),
                        Err(error) => Err(error),
                    }
                }
            };
            match self.call("create", name, START, made).await? {
                Ok(id) => return Ok(id),
                Err(error) if faults::status(&error) == Some(404) => {
                    let missing = faults::text(&error).to_ascii_lowercase().contains("no such image");
                    let cause = if missing {
                        format!("the image {image} is not in the engine")
                    } else {
                        faults::text(&error).to_owned()
                    };
                    return Err(refused("create", name, cause));
                }
                Err(_) if first => self.discard_half_made(name).await?,
                Err(error) => return Err(self.fault("create", name, error)),
            }
        }
        unreachable!("the second attempt returns")
    }

    async fn discard_half_made(&self, name: &str) -> Result<()> {
        let found = match self.inspect(name).await {
            Err(EngineError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        let labels = found.config.and_then(|c| c.labels).unwrap_or_default();
        if labels.get(names::PREFIX) != Some(&self.0.prefix) {
            return Err(refused("create", name, "a container that is not ours has this name"));
        }
        self.discard(found.id.as_deref().unwrap_or(name)).await
    }

    pub(super) async fn start_container(&self, id: &str, name: &str) -> Result<()> {
        self.call("start", name, START, |api| async move { api.start_container(id, None).await }).await
    }

    /// Kills and removes; gone is fine.
    pub(super) async fn discard(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let gone = |api: bollard::Docker| async move { gone_is_fine(api.remove_container(id, Some(options)).await) };
        self.call("remove", id, START, gone).await
    }

    /// As `discard`, for a replica: its last lines are read before they go with it.
    async fn bury(&self, id: &str, runs: bool) -> Result<()> {
        if runs {
            let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
            let killed = |api: bollard::Docker| async move {
                // Not running any more (409) is what was wanted.
                match gone_is_fine(api.kill_container(id, Some(options)).await) {
                    Err(error) if faults::status(&error) == Some(409) => Ok(()),
                    other => other,
                }
            };
            self.call("kill", id, START, killed).await?;
        }
        let witness = self.0.witness.lock().unwrap_or_else(|e| e.into_inner()).clone();
        if let Some(witness) = witness {
            witness.last_look(id).await;
        }
        self.discard(id).await
    }

    /// SIGTERM, grace, SIGKILL, all in the engine; then removes.
    async fn stop(&self, replica: &Listed) -> Result<()> {
        if replica.is_up() {
            let grace = replica.labels.grace_seconds;
            let options = StopContainerOptionsBuilder::new().t(i32::try_from(grace).unwrap_or(i32::MAX)).build();
            let within = Duration::from_secs(u64::from(grace)) + QUICK;
            let stopped = |api: bollard::Docker| {
                let id = &replica.id;
                async move { gone_is_fine(api.stop_container(id, Some(options)).await) }
            };
            self.call("stop", &replica.id, within, stopped).await?;
        }
        self.bury(&replica.id, false).await
    }

    pub(super) async fn remove_all_containers(&self) -> Result<()> {
        let ours = self.list_containers(vec![format!("{}={}", names::PREFIX, self.0.prefix)]).await?;
        all(ours.into_iter().filter_map(|c| c.id).map(|id| async move { self.discard(&id).await }.boxed()).collect())
            .await
    }

    fn body(&self, spec: &WorkloadSpec, ordinal: u32, network: &str) -> ContainerCreateBody {
        let process = format!("{}.{ordinal}", spec.id.process);
        let mut variables: Vec<_> = spec.variables.iter().map(|(name, v)| format!("{name}={}", v.reveal())).collect();
        variables.push(format!("HYTHE_PROCESS={process}"));
        if let Some(port) = spec.port {
            variables.push(format!("PORT={port}"));
        }
        ContainerCreateBody {
            image: Some(names::image(&self.0.prefix, &spec.image)),
            // As entrypoint, so that nothing of the image comes before or after it.
            entrypoint: (!spec.process.command.is_empty()).then(|| spec.process.command.clone()),
            working_dir: spec.process.working_dir.clone(),
            env: Some(variables),
            hostname: Some(process.replace('.', "-")),
            labels: Some(names::of_replica(&self.0.prefix, spec, ordinal)),
            stop_signal: Some("SIGTERM".into()),
            host_config: Some(confined(&spec.limits, network)),
            ..Default::default()
        }
    }
}

pub(super) const CPU_PERIOD_MICROS: i64 = 100_000;

/// What every container of ours is held to.
pub(super) fn confined(limits: &Limits, network: &str) -> HostConfig {
    let no_core = ResourcesUlimits { name: Some("core".into()), soft: Some(0), hard: Some(0) };
    HostConfig {
        network_mode: Some(network.to_owned()),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges".into()]),
        memory: Some(limits.memory_bytes),
        // Equal to memory: no swap.
        memory_swap: Some(limits.memory_bytes),
        // As a share of time, which may be more than this machine has: `nano_cpus` would be refused there.
        cpu_period: Some(CPU_PERIOD_MICROS),
        cpu_quota: Some(limits.cpu_millis.saturating_mul(CPU_PERIOD_MICROS / 1000)),
        pids_limit: Some(limits.pids),
        // Open files: as the engine has them; asking for more than it may give would start nothing.
        ulimits: Some(vec![no_core]),
        // The kernel takes a replica before it takes the platform or the engine.
        oom_score_adj: Some(500),
        init: Some(true),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([("max-size".into(), "10m".into()), ("max-file".into(), "3".into())])),
        }),
        ..Default::default()
    }
}

fn labels_of(id: &WorkloadId) -> Vec<String> {
    vec![format!("{}={}", names::ENVIRONMENT, id.environment), format!("{}={}", names::PROCESS, id.process)]
}

/// Does all of it, then tells the first fault.
async fn all(work: Vec<BoxFuture<'_, Result<()>>>) -> Result<()> {
    let done: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
    done.into_iter().collect()
}
