//! Claims jobs and works as many at a time as it may.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Terms};
use super::queue::RECHECK;
use super::{Queue, Work};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{Job, JobId, JobStep, StepState};
use crate::state::store::{self, Tx};

/// How long a job stays with a holder that no longer says anything.
const LEASE: Duration = Duration::from_secs(30);
/// How long a shutdown waits for steps to notice it.
const GRACE: Duration = Duration::from_secs(10);
/// Between what is written of a job's end and the end of who worked on it.
const LET_GO: Duration = Duration::from_millis(5);
/// Before the database is asked again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Which jobs this runner works on now. Its own clock may be set forward, and the leases of these look as if they had run out.
type InHand = Arc<Mutex<HashSet<JobId>>>;

/// One of them, until dropped.
struct Held(InHand, JobId);

impl Held {
    /// None when it is in hand already.
    fn take(all: &InHand, id: &JobId) -> Option<Self> {
        let is_new = all.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        is_new.then(|| Self(Arc::clone(all), id.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

pub struct Runner {
    pub(super) queue: Queue,
    works: HashMap<&'static str, Arc<dyn Work>>,
    parallel: usize,
    /// What all processes of this data directory are called, one after the other.
    pub(super) node: String,
    pub(super) lease: Duration,
    pub(super) renewal: Duration,
    in_hand: InHand,
}

impl Runner {
    /// `parallel` jobs at a time, of different subjects.
    pub fn new(queue: Queue, works: Vec<Arc<dyn Work>>, parallel: usize) -> Self {
        for work in &works {
            queue.learn(work.kind(), work.steps());
        }
        Self {
            works: works.into_iter().map(|work| (work.kind(), work)).collect(),
            parallel: parallel.max(1),
            node: queue.store.node().to_owned(),
            lease: LEASE,
            renewal: LEASE / 3,
            in_hand: InHand::default(),
            queue,
        }
    }

    /// Works until `shutdown`. Steps that do not end within ten seconds of it are dropped, and run
    /// again at the next start; so is everything when this future is dropped.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        let prefix = format!("{}#", self.node);
        let terms = Arc::new(Terms {
            holder: format!("{prefix}{}", uuid::Uuid::now_v7().simple()),
            lease: self.lease,
            renewal: self.renewal,
        });
        let mut news = self.queue.enqueued.subscribe();
        let mut taken_over = false;
        while !shutdown.is_cancelled() {
            if !taken_over {
                taken_over = self.take_over(&prefix, &terms.holder).await;
            }
            // Before the claims: what comes during them is not missed.
            news.mark_unchanged();
            let wait = self.fill(&mut tasks, &terms, &shutdown).await;
            let room = self.has_room(&tasks);
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = tasks.join_next() => report(ended),
                Ok(()) = news.changed() => {}
                () = sleep(wait), if room => {}
            }
        }
        let drained = async {
            while let Some(ended) = tasks.join_next().await {
                report(ended);
            }
        };
        if timeout(GRACE, drained).await.is_err() {
            tasks.shutdown().await;
        }
        self.take_over(&prefix, "").await;
    }

    fn has_room(&self, tasks: &JoinSet<()>) -> bool {
        tasks.len().saturating_sub(self.queue.resting.load(Ordering::SeqCst)) < self.parallel
    }

    /// Claims until there is no more or no room; how long to wait then.
    async fn fill(&self, tasks: &mut JoinSet<()>, terms: &Arc<Terms>, shutdown: &CancellationToken) -> Duration {
        let mut called_off = true;
        while called_off || self.has_room(tasks) {
            // To end what never began takes nobody's place.
            match self.claim(terms, shutdown, called_off).await {
                Ok(Claimed::Nothing { .. }) if called_off => called_off = false,
                Ok(Claimed::Job(attempt, held)) => {
                    tasks.spawn(async move {
                        attempt.run().await;
                        drop(held);
                    });
                }
                Ok(Claimed::InHand) => {}
                Ok(Claimed::Nothing { due }) => return due,
                Err(error) => {
                    tracing::error!(cause = %error.for_log(), "cannot look for jobs");
                    return PAUSE;
                }
            }
        }
        RECHECK
    }

    /// One transaction: the claim, and the start of the step where the work goes on.
    async fn claim(&self, terms: &Arc<Terms>, shutdown: &CancellationToken, called_off: bool) -> Result<Claimed> {
        let now = self.queue.clock.now();
        let mut tx = self.queue.store.begin().await?;
        let claimed = match called_off {
            true => store::jobs::claim_called_off(&mut tx, &terms.holder, now, terms.until(now)).await?,
            false => store::jobs::claim(&mut tx, &terms.holder, now, terms.until(now)).await?,
        };
        let Some(job) = claimed else {
            let due = store::jobs::next_due(&mut tx).await?.map_or(RECHECK, |due| until(now, due));
            return Ok(Claimed::Nothing { due });
        };
        let Some(held) = Held::take(&self.in_hand, &job.id) else {
            drop(tx);
            let mut tx = self.queue.store.begin().await?;
            let is_ours = store::jobs::renew(&mut tx, &job.id, &terms.holder, terms.until(now)).await?;
            tx.commit().await?;
            // Else it was given back this moment, and whoever had it is about to let go.
            return Ok(if is_ours { Claimed::InHand } else { Claimed::Nothing { due: LET_GO } });
        };
        let work = self.works.get(job.kind.as_str()).cloned();
        let mut steps = store::jobs::steps(&mut tx, &job.id).await?;
        if let Some(work) = &work {
            complete(&mut tx, &job, work.steps(), &mut steps).await?;
        }
        let attempt = Attempt::new(&self.queue, terms, work, job, steps, shutdown.child_token());
        if let Some(step) = attempt.starts() {
            store::jobs::step_started(&mut tx, attempt.job(), step, now).await?;
        }
        tx.commit().await?;
        Ok(Claimed::Job(Box::new(attempt), held))
    }

    /// What this directory's processes hold, other than `holder`, is free at once: they are gone.
    async fn take_over(&self, prefix: &str, holder: &str) -> bool {
        let given = async {
            let mut tx = self.queue.store.begin().await?;
            let count = store::jobs::give_back_all(&mut tx, prefix, holder).await?;
            tx.commit().await?;
            Ok::<_, crate::base::Error>(count)
        };
        match given.await {
            Ok(0) => true,
            Ok(count) => {
                tracing::info!(jobs = count, "unfinished jobs of an ended process are free to resume");
                true
            }
            Err(error) => {
                tracing::error!(cause = %error.for_log(), "cannot free the jobs of an ended process");
                false
            }
        }
    }
}

enum Claimed {
    Job(Box<Attempt>, Held),
    /// Its lease only looked as if it had run out.
    InHand,
    Nothing {
        due: Duration,
    },
}

/// Adds the steps that were not known when the job was enqueued.
async fn complete(tx: &mut Tx, job: &Job, names: &[&str], steps: &mut Vec<JobStep>) -> Result<()> {
    let missing = names.get(steps.len()..).unwrap_or_default();
    store::jobs::add_steps(tx, &job.id, steps.len(), missing).await?;
    steps.extend(missing.iter().map(|name| JobStep {
        name: (*name).to_owned(),
        state: StepState::Pending,
        attempt: 0,
        output: serde_json::Value::Null,
        error: None,
        started_at: None,
        finished_at: None,
    }));
    Ok(())
}

/// At least a little, so that a clock that stands still does not make a loop.
fn until(now: Timestamp, due: Timestamp) -> Duration {
    Duration::from_millis(due.since(now).max(5).unsigned_abs()).min(RECHECK)
}

fn report(ended: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(fault) = ended
        && fault.is_panic()
    {
        tracing::error!(cause = %fault, "the work on a job broke off; its lease will run out");
    }
}
