//! Durable work with a first and a last step.
#![allow(unused)]

mod outcome;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::base::clock::Clock;
use crate::base::error::Result;
use crate::base::model::{Job, JobId};
use crate::state::logs::LogStore;
use crate::state::store::{Store, Tx};

/// One kind of job.
#[async_trait]
pub trait Work: Send + Sync {
    fn kind(&self) -> &'static str;
    /// Shown to people as they are.
    fn steps(&self) -> &'static [&'static str];
    /// Idempotent: after a crash the step that ran is run again.
    async fn run(&self, step: usize, cx: &StepContext) -> std::result::Result<Value, StepError>;
    /// Leaves a clean slate after a failure; idempotent, may run again after a crash.
    async fn failed(&self, cx: &StepContext, reason: &str);
}

pub struct StepContext {
    pub job: Job,
    /// Of the steps before this one, in order.
    pub outputs: Vec<Value>,
    /// 1 the first time.
    pub attempt: i64,
    pub log: JobLog,
    /// Shutdown, or the job was taken away.
    pub cancel: CancellationToken,
}

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub enum StepError {
    Retry {
        reason: String,
        after: Duration,
        source: Option<Source>,
    },
    /// `reason` is for people, `source` for the server's log.
    Fail {
        reason: String,
        source: Option<Source>,
    },
    /// Shutdown: leave the step for the next start.
    Interrupted,
}

/// The log of one job.
#[derive(Clone)]
pub struct JobLog {
    logs: LogStore,
}

impl JobLog {
    /// Appends the lines of `text`. A log that cannot be written does not stop the job.
    pub fn append(&self, text: &str) {
        todo!()
    }
}

#[derive(Clone)]
pub struct Queue {
    store: Store,
}

impl Queue {
    pub fn new(store: Store, clock: Arc<dyn Clock>, logs: LogStore) -> Self {
        todo!()
    }

    pub async fn enqueue(&self, tx: &mut Tx, kind: &str, subject: &str, payload: Value) -> Result<JobId> {
        todo!()
    }

    /// Call after the commit of the transaction that enqueued.
    pub fn notify(&self) {
        todo!()
    }

    /// Waits until the job is final.
    pub async fn finished(&self, id: &JobId) -> Result<Job> {
        todo!()
    }
}

pub struct Runner {
    queue: Queue,
}

impl Runner {
    pub fn new(queue: Queue, works: Vec<Arc<dyn Work>>, parallel: usize) -> Self {
        todo!()
    }

    pub async fn run(self, shutdown: CancellationToken) {
        todo!()
    }
}
