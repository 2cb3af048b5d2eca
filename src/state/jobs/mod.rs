//! Durable work with a first and a last step that somebody waits for.
//!
//! Invariants:
//! - A job is enqueued in the transaction that made it necessary, and what a step hands on is stored
//!   before the next one begins. After a crash the job resumes at its first unfinished step with the
//!   outputs of those before it. Steps run at least once: they are idempotent.
//! - One holder has a job, by a lease that it renews; every write of the holder is guarded by it. Jobs
//!   of one subject run one after the other, oldest first; a job that waits for its next attempt keeps
//!   its subject.
//! - A job that fails, by its own word or by a panic, is undone by [`Work::failed`] before it counts as
//!   failed, also when the process died in between.
//! - Somebody may call a job off ([`Queue::call_off`]): whatever step runs is dropped where it is, and the job fails
//!   as if by its own word. Once that is written no step counts as done any more; who may, and until when, others decide.
//! - The job's log ends just before its state is final: after the end of the log, ask [`Queue::finished`].
//!
//! One runner works for one data directory: at its start it takes over at once what the process before
//! it held. Left to others: what the steps do.

mod attempt;
mod outcome;
mod queue;
mod runner;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::base::model::{Job, JobId};
use crate::state::logs::{LogName, LogStore};

pub use queue::{Queue, Resting};
pub use runner::Runner;

/// One kind of job.
#[async_trait]
pub trait Work: Send + Sync {
    fn kind(&self) -> &'static str;
    /// Shown to people as they are.
    fn steps(&self) -> &'static [&'static str];
    /// Idempotent: after a crash the step that ran is run again. It is dropped in the middle when the job is called off. Its output goes to the steps after it.
    async fn run(&self, step: usize, cx: &StepContext) -> std::result::Result<Value, StepError>;
    /// Leaves a clean slate after a failure; idempotent, may run again after a crash.
    async fn failed(&self, cx: &StepContext, reason: &str);
}

pub struct StepContext {
    pub job: Job,
    /// Of the steps before this one, in order.
    pub outputs: Vec<Value>,
    /// In [`Work::failed`]: the step that failed, or that was broken off; none of a job that had not begun.
    pub under_way: Option<&'static str>,
    /// 1 the first time. Interrupted attempts do not count, crashed ones do.
    pub attempt: i64,
    pub log: JobLog,
    /// Shutdown, or the job was taken away.
    pub cancel: CancellationToken,
    queue: Queue,
}

impl StepContext {
    /// For work that goes on as another kind does: without the outputs of the first `steps`.
    #[must_use]
    pub fn beyond(&self, steps: usize) -> Self {
        Self {
            job: self.job.clone(),
            outputs: self.outputs.iter().skip(steps).cloned().collect(),
            under_way: self.under_way,
            attempt: self.attempt,
            log: self.log.clone(),
            cancel: self.cancel.clone(),
            queue: self.queue.clone(),
        }
    }

    /// Whether the job failed for this reason because somebody called it off.
    #[must_use]
    pub fn was_called_off(&self, reason: &str) -> bool {
        self.job.called_off.as_deref() == Some(reason)
    }

    /// While this is held, the step waits for a person and another job may be worked in its place.
    #[must_use]
    pub fn rest(&self) -> Resting {
        self.queue.rest()
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub enum StepError {
    /// Another attempt may succeed. The first follows after `after`, each further one after twice the
    /// time, at most a minute (or `after`, when that is longer); the twentieth that fails is the last.
    Retry { reason: String, after: Duration, source: Option<Source> },
    /// `reason` is for people, `source` for the server's log.
    Fail { reason: String, source: Option<Source> },
    /// Shutdown: leave the step for the next start.
    Interrupted,
}

/// The log of one job.
#[derive(Clone)]
pub struct JobLog {
    logs: LogStore,
    name: LogName,
    id: JobId,
    /// What is at work, for who is told of the lines as well.
    step: Arc<Mutex<&'static str>>,
    /// A full disk is told of once per job, not once per line.
    told: Arc<AtomicBool>,
}

impl JobLog {
    fn new(logs: LogStore, id: &JobId) -> Self {
        Self { logs, name: LogName::job(id), id: id.clone(), step: Arc::default(), told: Arc::default() }
    }

    /// Appends the lines of `text`. A log that cannot be written does not stop the job.
    pub fn append(&self, text: &str) {
        if let Err(error) = self.logs.append(&self.name, text) {
            self.tell(&error);
        }
        self.logs.pass_on(&self.id, *self.step.lock().unwrap_or_else(PoisonError::into_inner), text);
    }

    fn enter(&self, step: &'static str) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn close(&self) {
        if let Err(error) = self.logs.close(&self.name) {
            self.tell(&error);
        }
    }

    fn tell(&self, error: &crate::base::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(log = ?self.name, cause = %error.for_log(), "lines of a job's log are lost");
        }
    }
}

#[cfg(test)]
mod tests;
