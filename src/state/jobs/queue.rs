//! The queue as its users see it: enqueue, wake the runner, wait for an end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::base::clock::Clock;
use crate::base::error::{Error, Result};
use crate::base::model::{Id, Job, JobId, JobState, JobStep, StepState};
use crate::state::logs::LogStore;
use crate::state::store::{self, Store, Tx};

/// How long news from another process can take: those of this one are signalled.
pub(super) const RECHECK: Duration = Duration::from_secs(2);

/// Cheap to clone; clones share their signals.
#[derive(Clone)]
pub struct Queue {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) logs: LogStore,
    /// Something was enqueued, or can be tried again.
    pub(super) enqueued: Arc<watch::Sender<()>>,
    /// Some job ended.
    pub(super) ended: Arc<watch::Sender<()>>,
    /// Some step ended.
    pub(super) stepped: Arc<watch::Sender<()>>,
    /// Some job was called off.
    pub(super) called_off: Arc<watch::Sender<()>>,
    /// Jobs at work that only wait for people: they take nobody's place.
    pub(super) resting: Arc<AtomicUsize>,
    kinds: Arc<RwLock<HashMap<&'static str, &'static [&'static str]>>>,
}

/// A step waits for a person, until dropped.
pub struct Resting(Arc<AtomicUsize>);

impl Drop for Resting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Queue {
    pub fn new(store: Store, clock: Arc<dyn Clock>, logs: LogStore) -> Self {
        Self {
            store,
            clock,
            logs,
            enqueued: Arc::new(watch::Sender::new(())),
            ended: Arc::new(watch::Sender::new(())),
            stepped: Arc::new(watch::Sender::new(())),
            called_off: Arc::new(watch::Sender::new(())),
            resting: Arc::default(),
            kinds: Arc::default(),
        }
    }

    /// Adds a job to the transaction that made it necessary; call [`Queue::notify`] after its commit.
    pub async fn enqueue(&self, tx: &mut Tx, kind: &str, subject: &str, payload: Value) -> Result<JobId> {
        let job = Job {
            id: JobId::fresh(),
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            payload,
            state: JobState::Queued,
            reason: None,
            called_off: None,
            created_at: self.clock.now(),
            finished_at: None,
        };
        // Of a kind that no runner here has told of, the runner adds the steps.
        let steps = self.kinds.read().unwrap_or_else(PoisonError::into_inner).get(kind).copied().unwrap_or_default();
        store::jobs::insert(tx, &job, steps).await?;
        Ok(job.id)
    }

    pub(super) fn rest(&self) -> Resting {
        self.resting.fetch_add(1, Ordering::SeqCst);
        self.notify();
        Resting(Arc::clone(&self.resting))
    }

    /// Call after the commit of the transaction that enqueued.
    pub fn notify(&self) {
        self.enqueued.send_replace(());
    }

    /// In a transaction; call [`Queue::end_called_off`] after its commit. `false`: the job is over, or was called off before.
    pub async fn call_off(&self, tx: &mut Tx, id: &JobId, reason: &str) -> Result<bool> {
        store::jobs::call_off(tx, id, reason).await
    }

    pub fn end_called_off(&self) {
        self.called_off.send_replace(());
        self.notify();
    }

    /// Waits until the step has succeeded, or the job is final.
    pub async fn passed(&self, id: &JobId, step: &str) -> Result<()> {
        let mut news = self.stepped.subscribe();
        loop {
            let mut tx = self.store.read().await?;
            let job = store::jobs::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("the job"))?;
            let steps = store::jobs::steps(&mut tx, id).await?;
            drop(tx);
            let passed = |of: &JobStep| of.name == step && of.state == StepState::Succeeded;
            if job.state.is_final() || steps.iter().any(passed) {
                return Ok(());
            }
            let _ = timeout(RECHECK, news.changed()).await;
        }
    }

    /// Waits until the job is final.
    pub async fn finished(&self, id: &JobId) -> Result<Job> {
        let mut news = self.ended.subscribe();
        loop {
            let job = store::jobs::find(&mut self.store.read().await?, id).await?;
            let job = job.ok_or_else(|| Error::not_found("the job"))?;
            if job.state.is_final() {
                return Ok(job);
            }
            let _ = timeout(RECHECK, news.changed()).await;
        }
    }

    pub(super) fn learn(&self, kind: &'static str, steps: &'static [&'static str]) {
        self.kinds.write().unwrap_or_else(PoisonError::into_inner).insert(kind, steps);
    }
}
