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

use crate::base::model::{Id, JobState, StepState};
use crate::state::logs::LogName;
use crate::state::store;
#[derive(Clone)]
pub struct JobLog {
    logs: LogStore,
    name: LogName,
}
impl JobLog {
    pub fn append(&self, text: &str) {
        let _ = self.logs.append(&self.name, text);
    }
}
#[derive(Clone)]
pub struct Queue {
    store: Store,
    clock: Arc<dyn Clock>,
    logs: LogStore,
    wake: Arc<tokio::sync::Notify>,
    done: Arc<tokio::sync::watch::Sender<u64>>,
}
impl Queue {
    pub fn new(store: Store, clock: Arc<dyn Clock>, logs: LogStore) -> Self {
        Self { store, clock, logs, wake: Arc::default(), done: Arc::new(tokio::sync::watch::Sender::new(0)) }
    }
    pub async fn enqueue(&self, tx: &mut Tx, kind: &str, subject: &str, payload: Value) -> Result<JobId> {
        let job = Job {
            id: JobId::fresh(),
            kind: kind.into(),
            subject: subject.into(),
            payload,
            state: JobState::Queued,
            reason: None,
            created_at: self.clock.now(),
            finished_at: None,
        };
        store::jobs::insert(tx, &job, &[]).await?;
        Ok(job.id)
    }
    pub fn notify(&self) {
        self.wake.notify_one();
    }
    pub async fn finished(&self, id: &JobId) -> Result<Job> {
        let mut rx = self.done.subscribe();
        loop {
            let job = store::jobs::find(&mut self.store.read().await?, id).await?.expect("job");
            if job.state.is_final() {
                return Ok(job);
            }
            let _ = rx.changed().await;
        }
    }
}
pub struct Runner {
    queue: Queue,
    works: Vec<Arc<dyn Work>>,
}
impl Runner {
    pub fn new(queue: Queue, works: Vec<Arc<dyn Work>>, _parallel: usize) -> Self {
        Self { queue, works }
    }
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            tokio::select! { () = shutdown.cancelled() => return, () = self.queue.wake.notified() => {}, () = tokio::time::sleep(Duration::from_secs(2)) => {} }
            loop {
                match self.one(&shutdown).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(e) => {
                        tracing::error!("runner: {}", e.for_log());
                        break;
                    }
                }
            }
        }
    }
    async fn one(&self, shutdown: &CancellationToken) -> Result<bool> {
        let q = &self.queue;
        let now = q.clock.now();
        let mut tx = q.store.begin().await?;
        let Some(job) = store::jobs::claim(&mut tx, "me", now, now.plus_millis(3_600_000)).await? else {
            return Ok(false);
        };
        let work = self.works.iter().find(|w| w.kind() == job.kind).expect("kind").clone();
        store::jobs::add_steps(&mut tx, &job.id, 0, work.steps()).await?;
        tx.commit().await?;
        let name = LogName::job(&job.id);
        let mut cx = StepContext {
            job: job.clone(),
            outputs: vec![],
            attempt: 1,
            log: JobLog { logs: q.logs.clone(), name: name.clone() },
            cancel: shutdown.clone(),
        };
        let mut failed = None;
        for i in 0..work.steps().len() {
            let mut tx = q.store.begin().await?;
            store::jobs::step_started(&mut tx, &job.id, i, q.clock.now()).await?;
            tx.commit().await?;
            let out = work.run(i, &cx).await;
            let mut tx = q.store.begin().await?;
            match out {
                Ok(v) => {
                    store::jobs::step_finished(&mut tx, &job.id, i, StepState::Succeeded, &v, None, q.clock.now())
                        .await?;
                    cx.outputs.push(v);
                }
                Err(e) => {
                    let (r, s) = match e {
                        StepError::Fail { reason, source } | StepError::Retry { reason, source, .. } => {
                            (reason, source)
                        }
                        StepError::Interrupted => return Ok(false),
                    };
                    tracing::error!("step {i}: {r} {s:?}");
                    store::jobs::step_finished(
                        &mut tx,
                        &job.id,
                        i,
                        StepState::Failed,
                        &Value::Null,
                        Some(&r),
                        q.clock.now(),
                    )
                    .await?;
                    failed = Some(r);
                }
            }
            tx.commit().await?;
            if failed.is_some() {
                break;
            }
        }
        if let Some(r) = &failed {
            work.failed(&cx, r).await;
        }
        let mut tx = q.store.begin().await?;
        store::jobs::finish(
            &mut tx,
            &job.id,
            "me",
            if failed.is_some() { JobState::Failed } else { JobState::Succeeded },
            failed.as_deref(),
            q.clock.now(),
        )
        .await?;
        tx.commit().await?;
        q.logs.close(&name)?;
        q.done.send_modify(|t| *t += 1);
        Ok(true)
    }
}
