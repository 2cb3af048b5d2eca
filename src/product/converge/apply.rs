//! Carrying changes out. Each runs as a task of its own and ends in an `Outcome` that wakes the
//! driver; nothing here decides.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::asking;
use super::desired::{Desired, DesiredProcess};
use super::evidence::Evidence;
use super::plan::Cause;
use super::questions::Questions;
use super::vital::Vital;
use crate::base::clock::Clock;
use crate::base::error::{Error, Result};
use crate::base::model::{
    CheckKind, EnvironmentId, Generation, PORT, Protocol, Release, Replica, WorkloadId, WorkloadSpec,
};
use crate::machinery::runtime::{Engine, EngineError};
use crate::product::builds::Builder;
use crate::product::{Ctx, apps};

/// What a task may be busy with; nothing is started twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Busy {
    Ensure(WorkloadId),
    Retire(WorkloadId),
    Probe(String),
    Remove(WorkloadId, String),
    GiveUp(EnvironmentId),
}

/// What a task is to do.
pub enum Order {
    Ensure { desired: Box<Desired>, process: DesiredProcess, generation: Generation, count: u32 },
    Retire { workload: WorkloadId, below: Generation },
    Stop { replica: Replica },
    Remove { replica: Replica },
    Probe { replica: Replica, protocol: Protocol, vital: Vital, stop: CancellationToken },
    GiveUp { desired: Box<Desired>, replica: Option<Replica>, cause: Cause, fault: Option<(CheckKind, String)> },
}

pub enum Outcome {
    /// What is known of a replica, whether it is news or not.
    Asked {
        replica: String,
        vital: Vital,
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
    /// For all that is measured; the clock of `ctx` may be set while something is under way.
    pub steady: Arc<dyn Clock>,
    pub engine: Arc<dyn Engine>,
    pub builder: Arc<Builder>,
    pub questions: Questions,
}

impl Hands {
    pub async fn carry_out(self, order: Order) -> Outcome {
        match order {
            Order::Ensure { desired, process, generation, count } => {
                self.ensure(*desired, process, generation, count).await
            }
            Order::Retire { workload, below } => self.retire(workload, below).await,
            Order::Stop { replica } => self.stop(replica).await,
            Order::Remove { replica } => self.remove(replica).await,
            Order::Probe { replica, protocol, vital, stop } => self.probe(replica, protocol, vital, stop).await,
            Order::GiveUp { desired, replica, cause, fault } => self.give_up(*desired, replica, cause, fault).await,
        }
    }

    async fn ensure(self, desired: Desired, process: DesiredProcess, generation: Generation, count: u32) -> Outcome {
        let Some(release) = desired.release_of(generation).cloned() else {
            return Outcome::Done;
        };
        let spec = match self.spec(&desired, &release, &process, (generation, count)).await {
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

    async fn probe(self, replica: Replica, protocol: Protocol, vital: Vital, stop: CancellationToken) -> Outcome {
        let id = replica.id.clone();
        let vital =
            asking::ask(self.questions.speaking(protocol), replica, vital, Arc::clone(&self.steady), stop).await;
        Outcome::Asked { replica: id, vital }
    }

    async fn retire(self, workload: WorkloadId, below: Generation) -> Outcome {
        match self.engine.retire(&workload, below).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed { workload, generation: below, error },
        }
    }

    async fn stop(self, replica: Replica) -> Outcome {
        match self.engine.stop(&replica.id).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed { workload: replica.workload, generation: replica.generation, error },
        }
    }

    async fn remove(self, replica: Replica) -> Outcome {
        match self.engine.remove(&replica.id).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed { workload: replica.workload, generation: replica.generation, error },
        }
    }

    async fn give_up(
        self,
        desired: Desired,
        replica: Option<Replica>,
        cause: Cause,
        fault: Option<(CheckKind, String)>,
    ) -> Outcome {
        let process = replica.as_ref().map(|r| r.workload.process.clone());
        let release = replica.as_ref().and_then(|r| desired.release_of(r.generation));
        let size = release.zip(process.as_ref()).and_then(|(release, process)| release.sizes.get(process));
        let own = release.zip(process.as_ref()).and_then(|(release, process)| release.processes.get(process));
        let evidence = Evidence {
            engine: &*self.engine,
            replica: replica.as_ref(),
            process: process.as_ref().map_or("web", |p| p.as_str()),
            cause,
            fault,
            port: own.and_then(|process| process.port).unwrap_or(PORT),
            memory_bytes: self.ctx.config.runtime.limits_of(size).memory_bytes,
        };
        let reason = evidence.gather().await;
        let environment = desired.environment;
        Outcome::GaveUp { environment: environment.id, generation: environment.generation, reason }
    }

    async fn spec(
        &self,
        desired: &Desired,
        release: &Release,
        process: &DesiredProcess,
        (generation, count): (Generation, u32),
    ) -> Result<WorkloadSpec> {
        let command = release.processes.get(&process.id.process).cloned();
        let command = command.ok_or_else(|| Error::not_found(format!("process {}", process.id.process)))?;
        let runtime = &self.ctx.config.runtime;
        Ok(WorkloadSpec {
            id: process.id.clone(),
            generation,
            count,
            app: desired.app.name.clone(),
            space: desired.app.space_id.clone(),
            release: release.id.clone(),
            release_number: release.number,
            image: release.image.clone(),
            variables: apps::process_variables(&self.ctx, &desired.app, &desired.environment, release).await?,
            port: process.has_port.then(|| command.port.unwrap_or(PORT)),
            process: command,
            limits: runtime.limits_of(release.sizes.get(&process.id.process)),
            mounts: release.mounts.get(&process.id.process).cloned().unwrap_or_default(),
            grace_seconds: runtime.grace_seconds,
        })
    }
}
