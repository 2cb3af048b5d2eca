//! Carrying changes out. Each runs as a task of its own and ends in an `Outcome` that wakes the
//! driver; nothing here decides.

use std::sync::Arc;
use std::time::Duration;

use super::desired::{Desired, DesiredProcess};
use super::evidence;
use super::plan::Cause;
use crate::base::clock::Clock;
use crate::base::error::{Error, Result};
use crate::base::model::{Check, EnvironmentId, Generation, Release, Replica, WorkloadId, WorkloadSpec};
use crate::machinery::runtime::{self, Engine, EngineError};
use crate::product::builds::Builder;
use crate::product::{Ctx, apps};

/// The port of every `web` process inside its container.
pub const PORT: u16 = 8080;

/// What a task may be busy with; nothing is started twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Busy {
    Ensure(WorkloadId),
    Retire(WorkloadId),
    Probe(String),
    Remove(String),
    GiveUp(EnvironmentId),
}

pub enum Outcome {
    Ready {
        replica: String,
    },
    Failed {
        workload: WorkloadId,
        generation: Generation,
        error: EngineError,
    },
    Unapplied {
        error: Error,
    },
    /// Words for the status: this rollout of the environment cannot become live.
    GaveUp {
        environment: EnvironmentId,
        generation: i64,
        reason: String,
    },
    Done,
}

/// What tasks hold.
#[derive(Clone)]
pub struct Hands {
    pub ctx: Ctx,
    pub engine: Arc<dyn Engine>,
    pub builder: Arc<Builder>,
}

impl Hands {
    pub async fn ensure(
        self,
        desired: Desired,
        process: DesiredProcess,
        generation: Generation,
        count: u32,
    ) -> Outcome {
        let Some(release) = desired.release.clone().filter(|_| generation == desired.rollout()) else {
            return Outcome::Done;
        };
        let spec = match self.spec(&desired, &release, &process, count).await {
            Ok(spec) => spec,
            Err(error) => return Outcome::Unapplied { error },
        };
        let mut result = self.engine.ensure(&spec).await;
        if result.is_err() && matches!(self.engine.has_image(&release.image).await, Ok(false)) {
            if let Err(failure) = self.builder.load(&release.image).await {
                let error = Error::unavailable(failure.reason.clone(), failure);
                return Outcome::Unapplied { error };
            }
            result = self.engine.ensure(&spec).await;
        }
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed { workload: spec.id, generation, error },
        }
    }

    /// Tries the check again and again for `PROBE_SPAN`; the driver asks anew. A replica that has exited meanwhile may not
    /// even refuse.
    pub async fn probe(self, replica: Replica, check: Check, clock: Arc<dyn Clock>) -> Outcome {
        if let Check::Alive { millis } = check {
            let ran = replica.started_at.map_or(0, |at| clock.now().since(at));
            let left = u64::try_from(millis - ran).unwrap_or(0);
            if left == 0 {
                return Outcome::Ready { replica: replica.id };
            }
            tokio::time::sleep(Duration::from_millis(left)).await;
            return Outcome::Done;
        }
        let Some(address) = replica.address else { return Outcome::Done };
        let until = tokio::time::Instant::now() + PROBE_SPAN;
        while tokio::time::Instant::now() < until {
            if runtime::probe::ready(address, &check, PROBE_TIMEOUT).await.is_ok() {
                return Outcome::Ready { replica: replica.id };
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        Outcome::Done
    }

    pub async fn retire(self, workload: WorkloadId, below: Generation) -> Outcome {
        match self.engine.retire(&workload, below).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed { workload, generation: below, error },
        }
    }

    pub async fn remove(self, replica: Replica) -> Outcome {
        match self.engine.remove(&replica.id).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed { workload: replica.workload, generation: replica.generation, error },
        }
    }

    pub async fn give_up(self, desired: Desired, replica: Option<Replica>, cause: Cause) -> Outcome {
        let check = desired
            .processes()
            .into_iter()
            .find(|p| replica.as_ref().is_some_and(|r| r.workload == p.id))
            .map_or(Check::Tcp, |p| p.check);
        let reason = evidence::gather(&*self.engine, replica.as_ref(), cause, &check, PORT).await;
        let environment = desired.environment;
        Outcome::GaveUp { environment: environment.id, generation: environment.generation, reason }
    }

    async fn spec(
        &self,
        desired: &Desired,
        release: &Release,
        process: &DesiredProcess,
        count: u32,
    ) -> Result<WorkloadSpec> {
        let command = release.processes.get(&process.id.process).cloned();
        let command = command.ok_or_else(|| Error::not_found(format!("process {}", process.id.process)))?;
        let runtime = &self.ctx.config.runtime;
        Ok(WorkloadSpec {
            id: process.id.clone(),
            generation: desired.rollout(),
            count,
            app: desired.app.name.clone(),
            space: desired.app.space_id.clone(),
            release: release.id.clone(),
            release_number: release.number,
            image: release.image.clone(),
            process: command,
            variables: apps::process_variables(&self.ctx, &desired.app, &desired.environment, release).await?,
            port: process.has_port.then_some(PORT),
            limits: runtime.limits(),
            grace_seconds: runtime.grace_seconds,
        })
    }
}

const PROBE_SPAN: Duration = Duration::from_secs(2);
const PROBE_PAUSE: Duration = Duration::from_millis(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
