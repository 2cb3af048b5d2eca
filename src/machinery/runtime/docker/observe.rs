//! What runs, by one listing. A listing lacks the exact start and how a process ended: that is inspected
//! once per container and state, and remembered as long as the container is seen.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerSummary, ContainerSummaryStateEnum as State};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{EngineError, Result};
use super::names::{self, Labelled};
use super::{Docker, QUICK, kernel};
use crate::base::clock::Timestamp;
use crate::base::model::{Replica, ReplicaState};

/// 128 + SIGKILL.
const KILLED: i64 = 137;

#[derive(Clone)]
pub(super) struct Seen {
    exited: bool,
    started_at: Option<Timestamp>,
    state: ReplicaState,
}

/// One of our containers as the listing shows it.
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) labels: Labelled,
    pub(super) state: State,
    ip: Option<IpAddr>,
}

impl Listed {
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::RUNNING | State::STOPPING) && !self.is_stranded()
    }

    /// Frozen, or off its network: nothing reaches it.
    fn is_stranded(&self) -> bool {
        self.state == State::PAUSED || (self.state == State::RUNNING && self.ip.is_none())
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::EXITED | State::DEAD)
    }

    fn address(&self) -> Option<SocketAddr> {
        self.is_up().then_some(())?;
        Some(SocketAddr::new(self.ip?, self.labels.port?))
    }
}

impl Docker {
    pub(super) async fn observe_replicas(&self) -> Result<Vec<Replica>> {
        let listed = self.list_replicas(&[]).await?;
        let before = std::mem::take(&mut *self.0.seen.lock().unwrap_or_else(|e| e.into_inner()));
        let looked = stream::iter(listed)
            .map(|container| {
                let known = before.get(&container.id).filter(|seen| seen.exited == container.has_ended()).cloned();
                async move {
                    let seen = match known {
                        Some(seen) => Some(seen),
                        None if container.is_up() || container.is_stranded() || container.has_ended() => {
                            self.inspect_replica(&container).await?
                        }
                        None => Some(Seen { exited: false, started_at: None, state: ReplicaState::Starting }),
                    };
                    Ok::<_, EngineError>(seen.map(|seen| (container, seen)))
                }
            })
            .buffered(16)
            .try_collect::<Vec<_>>()
            .await?;
        let mut after = HashMap::with_capacity(looked.len());
        let mut replicas = Vec::with_capacity(looked.len());
        for (container, seen) in looked.into_iter().flatten() {
            let address = container.address().filter(|_| seen.state == ReplicaState::Running);
            let is_stranded = container.is_stranded() && seen.state == ReplicaState::Running;
            if seen.state != ReplicaState::Starting {
                after.insert(container.id.clone(), seen.clone());
            }
            replicas.push(Replica {
                id: container.id,
                workload: container.labels.workload,
                generation: container.labels.generation,
                release: container.labels.release,
                ordinal: container.labels.ordinal,
                state: if is_stranded { ReplicaState::Stranded } else { seen.state },
                started_at: seen.started_at,
                volumes: container.labels.volumes,
                address,
            });
        }
        *self.0.seen.lock().unwrap_or_else(|e| e.into_inner()) = after;
        Ok(replicas)
    }

    /// Our replicas in every state but "being removed"; `labels` narrow them (`key=value`).
    pub(super) async fn list_replicas(&self, labels: &[String]) -> Result<Vec<Listed>> {
        let mut wanted = vec![format!("{}={}", names::PREFIX, self.0.prefix), names::ENVIRONMENT.to_owned()];
        wanted.extend_from_slice(labels);
        let found = self.list_containers(wanted).await?;
        let mut listed: Vec<_> = found.into_iter().filter_map(|container| self.listed(container)).collect();
        let mut died = self.0.died.lock().unwrap_or_else(|e| e.into_inner());
        for container in &mut listed {
            if container.has_ended() {
                died.remove(&container.id);
            } else if died.contains(&container.id) {
                container.state = State::EXITED;
            }
        }
        Ok(listed)
    }

    pub(super) async fn list_containers(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>> {
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        self.call("list", "containers", QUICK, |api| async move { api.list_containers(Some(options)).await }).await
    }

    fn listed(&self, container: ContainerSummary) -> Option<Listed> {
        let state = container.state.filter(|state| *state != State::REMOVING)?;
        let labels = names::read(&container.labels?)?;
        let network = names::space_network(&self.0.prefix, &labels.space);
        let networks = container.network_settings.and_then(|n| n.networks).unwrap_or_default();
        let ip = networks.get(&network).and_then(|n| n.ip_address.as_deref()).and_then(|ip| ip.parse().ok());
        Some(Listed { id: container.id?, labels, state, ip })
    }

    /// `None` when it vanished since the listing.
    async fn inspect_replica(&self, container: &Listed) -> Result<Option<Seen>> {
        match self.inspect(&container.id).await {
            Ok(found) => Ok(self.with_kernel(&container.id, found.state).await.map(|state| {
                let started_at = time(state.started_at);
                let ended = state.running == Some(false) && state.paused != Some(true);
                let seen = if ended {
                    ReplicaState::Exited {
                        code: state.exit_code.unwrap_or(-1),
                        out_of_memory: state.oom_killed.unwrap_or(false),
                        // Two clocks in the engine: the end of a short life can be stamped before its start.
                        at: time(state.finished_at).max(started_at).unwrap_or_default(),
                    }
                } else {
                    ReplicaState::Running
                };
                Seen { exited: ended, started_at, state: seen }
            })),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// A kill that the engine gives no reason for is looked up where the reason is certain.
    async fn with_kernel(&self, id: &str, state: Option<ContainerState>) -> Option<ContainerState> {
        let mut state = state?;
        if state.running == Some(false) && state.exit_code == Some(KILLED) && state.oom_killed != Some(true) {
            let id = id.to_owned();
            let told = tokio::task::spawn_blocking(move || kernel::ran_out_of_memory(&id)).await;
            state.oom_killed = Some(told.unwrap_or(false));
        }
        Some(state)
    }

    pub(super) async fn inspect(&self, container: &str) -> Result<ContainerInspectResponse> {
        self.call("inspect", container, QUICK, |api| async move { api.inspect_container(container, None).await }).await
    }

    /// The replica with this engine id, if it is one of ours.
    pub(super) async fn inspect_ours(&self, replica: &str) -> Result<ContainerInspectResponse> {
        let unknown = || EngineError::NotFound { subject: format!("replica {replica:?}") };
        if !names::is_container_id(replica) {
            return Err(unknown());
        }
        let found = self.inspect(replica).await?;
        let labels = found.config.as_ref().and_then(|c| c.labels.as_ref());
        let ours = labels.is_some_and(|l| l.get(names::PREFIX) == Some(&self.0.prefix) && names::read(l).is_some());
        if ours { Ok(found) } else { Err(unknown()) }
    }
}

/// RFC 3339 with nanoseconds; the year 1 stands for "never".
fn time(text: Option<String>) -> Option<Timestamp> {
    let time: jiff::Timestamp = text?.parse().ok()?;
    (time.as_millisecond() > 0).then(|| Timestamp(time.as_millisecond()))
}
