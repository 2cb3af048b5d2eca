//! One claim of one job: its steps from the first unfinished one to the end, or to the point where
//! the job is given back. Every write stands under the claim; when it is lost, nothing more is written.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{JobLog, Queue, StepContext, StepError, Work};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{Job, JobId, JobState, JobStep, StepState};
use crate::state::store;

/// A step that was started this often and never succeeded has failed.
pub(super) const ATTEMPTS: i64 = 20;
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Before a step that broke off without a shutdown is tried again.
const INTERRUPTED_DELAY: Duration = Duration::from_secs(1);

/// How a runner holds jobs.
pub(super) struct Terms {
    pub(super) holder: String,
    pub(super) lease: Duration,
    pub(super) renewal: Duration,
}

impl Terms {
    pub(super) fn until(&self, now: Timestamp) -> Timestamp {
        later(now, self.lease)
    }
}

pub(super) struct Attempt {
    queue: Queue,
    terms: Arc<Terms>,
    work: Option<Arc<dyn Work>>,
    begin: Begin,
    cx: StepContext,
}

/// Where the work goes on.
enum Begin {
    Step(usize),
    /// All is done but the end.
    End,
    /// A step failed, and what it left is to be undone. `None`: that stands in the database already.
    Failed {
        index: Option<usize>,
        reason: String,
        /// A step had begun.
        begun: bool,
    },
}

impl Begin {
    fn failed(&self, work: Option<&dyn Work>, done: usize) -> Option<&'static str> {
        match self {
            Self::Failed { begun: true, .. } => work?.steps().get(done).copied(),
            _ => None,
        }
    }
}

/// What a transaction of the holder writes.
enum Record<'a> {
    /// The step is done and the next one begins.
    Next { index: usize, output: &'a Value },
    /// The step is done and the job rests until somebody claims it.
    Rest { index: usize, output: &'a Value },
    /// The step is done and the job with it.
    Last { index: usize, output: &'a Value },
    /// The step will be run again.
    Wait { index: usize, error: Option<&'a str>, until: Timestamp, interrupted: bool },
    /// The step failed; the job has still to be undone.
    Failed { index: usize, reason: &'a str },
    /// The job is over.
    End { state: JobState, reason: Option<&'a str> },
}

/// The claim is lost, or cannot be upheld: whoever claims the job next goes on.
struct Lost;

/// What became of a record.
enum Done {
    Written,
    CalledOff(String),
}

impl Attempt {
    pub(super) fn new(
        queue: &Queue,
        terms: &Arc<Terms>,
        work: Option<Arc<dyn Work>>,
        job: Job,
        mut steps: Vec<JobStep>,
        cancel: CancellationToken,
    ) -> Self {
        let begin = begin(work.as_deref(), &job, &steps);
        let (done, attempt) = match begin {
            Begin::Step(index) => (index, steps[index].attempt + 1),
            _ => (steps.iter().take_while(|s| s.state == StepState::Succeeded).count(), 1),
        };
        steps.truncate(done);
        let log = JobLog::new(queue.logs.clone(), &job.id);
        let outputs = steps.into_iter().map(|step| step.output).collect();
        let under_way = begin.failed(work.as_deref(), done);
        let cx = StepContext { job, outputs, under_way, attempt, log, cancel, queue: queue.clone() };
        Self { queue: queue.clone(), terms: Arc::clone(terms), work, begin, cx }
    }

    pub(super) fn job(&self) -> &JobId {
        &self.cx.job.id
    }

    /// The step that [`Attempt::run`] begins with, if it begins with one.
    pub(super) fn starts(&self) -> Option<usize> {
        match self.begin {
            Begin::Step(index) => Some(index),
            _ => None,
        }
    }

    pub(super) async fn run(self: Box<Self>) {
        let mut this = *self;
        if this.work_off().await.is_err() {
            tracing::warn!(job.id = %this.cx.job.id, job.kind = %this.cx.job.kind, "lost a job to another holder");
        }
        this.cx.cancel.cancel();
        this.queue.ended.send_replace(());
    }

    async fn work_off(&mut self) -> Result<(), Lost> {
        let begin = std::mem::replace(&mut self.begin, Begin::End);
        let failure = match (begin, self.work.clone()) {
            (Begin::Step(first), Some(work)) => match self.steps(work.as_ref(), first).await? {
                None => return Ok(()),
                Some(failure) => failure,
            },
            (Begin::Failed { index, reason, .. }, _) => (index, reason),
            (Begin::End | Begin::Step(_), _) => {
                self.cx.log.close();
                return self.record(Record::End { state: JobState::Succeeded, reason: None }).await.map(drop);
            }
        };
        self.undo(failure).await
    }

    /// None when the job is over or rests; else the step that failed, and why.
    async fn steps(&mut self, work: &dyn Work, first: usize) -> Result<Option<(Option<usize>, String)>, Lost> {
        let count = work.steps().len();
        for index in first..count {
            self.cx.log.enter(work.steps()[index]);
            let run = AssertUnwindSafe(work.run(index, &self.cx)).catch_unwind();
            let ended = tokio::select! {
                ended = self.held(run) => ended?,
                reason = self.called_off() => return Ok(Some(self.broken_off(index, reason))),
            };
            let ended = ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
            let stopping = self.cx.cancel.is_cancelled();
            match ended {
                Ok(output) => {
                    let last = index + 1 == count;
                    let record = match (last, stopping) {
                        (true, _) => Record::Last { index, output: &output },
                        (false, true) => Record::Rest { index, output: &output },
                        (false, false) => Record::Next { index, output: &output },
                    };
                    if last {
                        self.cx.log.close();
                    }
                    if let Done::CalledOff(reason) = self.record(record).await? {
                        return Ok(Some(self.broken_off(index, reason)));
                    }
                    self.queue.stepped.send_replace(());
                    if last || stopping {
                        return Ok(None);
                    }
                    self.cx.outputs.push(output);
                    self.cx.attempt = 1;
                }
                Err(StepError::Interrupted) => {
                    let delay = if stopping { Duration::ZERO } else { INTERRUPTED_DELAY };
                    let until = later(self.queue.clock.now(), delay);
                    self.record(Record::Wait { index, error: None, until, interrupted: true }).await?;
                    return Ok(None);
                }
                Err(StepError::Retry { reason, after, source }) if self.cx.attempt < ATTEMPTS => {
                    let delay = delay(after, self.cx.attempt);
                    self.tell(work.steps()[index], &reason, source, Some(delay));
                    let until = later(self.queue.clock.now(), delay);
                    self.record(Record::Wait { index, error: Some(&reason), until, interrupted: false }).await?;
                    return Ok(None);
                }
                Err(StepError::Retry { reason, source, .. } | StepError::Fail { reason, source }) => {
                    self.tell(work.steps()[index], &reason, source, None);
                    return Ok(Some((Some(index), reason)));
                }
            }
        }
        Ok(None)
    }

    /// Somebody called the job off while this step was at work.
    fn broken_off(&mut self, index: usize, reason: String) -> (Option<usize>, String) {
        self.cx.job.called_off = Some(reason.clone());
        (Some(index), reason)
    }

    /// Ends when the job is called off, with the reason.
    async fn called_off(&self) -> String {
        let mut news = self.queue.called_off.subscribe();
        loop {
            let job = async { store::jobs::find(&mut self.queue.store.read().await?, self.job()).await };
            match job.await {
                Ok(Some(Job { called_off: Some(reason), .. })) => return reason,
                Ok(_) => {}
                Err(error) => tracing::warn!(job.id = %self.job(), cause = %error.for_log(), "cannot look at a job"),
            }
            // Another process may have written it.
            let _ = timeout(self.terms.renewal, news.changed()).await;
        }
    }

    /// The failure is stored before it is undone, so that a crash in between does not run the step again.
    async fn undo(&mut self, (index, reason): (Option<usize>, String)) -> Result<(), Lost> {
        if let Some(index) = index {
            self.cx.under_way = self.work.as_ref().and_then(|work| work.steps().get(index).copied());
            self.record(Record::Failed { index, reason: &reason }).await?;
        }
        if let Some(work) = &self.work {
            let undone = self.held(AssertUnwindSafe(work.failed(&self.cx, &reason)).catch_unwind()).await?;
            if let Err(panic) = undone {
                let panic = text(panic.as_ref());
                tracing::error!(job.id = %self.cx.job.id, job.kind = %self.cx.job.kind, panic, "undoing a job panicked");
            }
        }
        self.cx.log.close();
        self.record(Record::End { state: JobState::Failed, reason: Some(&reason) }).await.map(drop)
    }

    /// `work` while the lease holds. The renewals run beside it, not between: work may hold the very
    /// connection that a renewal needs.
    async fn held<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        tokio::select! {
            done = work => Ok(done),
            () = self.renew() => Err(Lost),
        }
    }

    /// Ends when the lease is lost.
    async fn renew(&self) {
        let clock = &self.queue.clock;
        let mut until = self.terms.until(clock.now());
        loop {
            sleep(self.terms.renewal).await;
            let now = clock.now();
            let renewed = async {
                let mut tx = self.queue.store.begin().await?;
                let held = store::jobs::renew(&mut tx, self.job(), &self.terms.holder, self.terms.until(now)).await?;
                tx.commit().await?;
                Ok::<_, crate::base::Error>(held)
            };
            match renewed.await {
                Ok(true) => until = self.terms.until(now),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(job.id = %self.job(), cause = %error.for_log(), "cannot renew the lease of a job");
                    if clock.now() >= until {
                        return;
                    }
                }
            }
        }
    }

    /// Writes, and tries again for as long as the lease may hold.
    async fn record(&self, record: Record<'_>) -> Result<Done, Lost> {
        let until = self.terms.until(self.queue.clock.now());
        let mut pause = Duration::from_millis(50);
        loop {
            match self.write(&record).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => return Err(Lost),
                Err(error) => {
                    tracing::error!(job.id = %self.job(), cause = %error.for_log(), "cannot store the state of a job");
                    if self.queue.clock.now() >= until {
                        return Err(Lost);
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    /// One transaction, so that a step costs one. None: the claim is lost; then nothing was written, nor where a step would
    /// be done of a job that was called off.
    async fn write(&self, record: &Record<'_>) -> Result<Option<Done>> {
        use store::jobs;
        let (id, holder, now) = (self.job(), self.terms.holder.as_str(), self.queue.clock.now());
        let mut tx = self.queue.store.begin().await?;
        let held = match record {
            Record::Next { .. } | Record::Failed { .. } => {
                jobs::renew(&mut tx, id, holder, self.terms.until(now)).await?
            }
            Record::Rest { .. } => jobs::give_back(&mut tx, id, holder, now).await?,
            Record::Wait { until, .. } => jobs::give_back(&mut tx, id, holder, *until).await?,
            Record::Last { .. } => jobs::finish(&mut tx, id, holder, JobState::Succeeded, None, now).await?,
            Record::End { state, reason } => jobs::finish(&mut tx, id, holder, *state, *reason, now).await?,
        };
        if !held {
            return Ok(None);
        }
        if matches!(record, Record::Next { .. } | Record::Rest { .. } | Record::Last { .. })
            && let Some(reason) = jobs::find(&mut tx, id).await?.and_then(|job| job.called_off)
        {
            return Ok(Some(Done::CalledOff(reason)));
        }
        match record {
            Record::Next { index, output } | Record::Rest { index, output } | Record::Last { index, output } => {
                jobs::step_finished(&mut tx, id, *index, StepState::Succeeded, output, None, now).await?;
            }
            Record::Failed { index, reason } => {
                jobs::step_finished(&mut tx, id, *index, StepState::Failed, &Value::Null, Some(reason), now).await?;
            }
            Record::Wait { index, error, interrupted, .. } => {
                jobs::step_waits(&mut tx, id, *index, *error, *interrupted).await?;
            }
            Record::End { .. } => {}
        }
        if let Record::Next { index, .. } = record {
            jobs::step_started(&mut tx, id, index + 1, now).await?;
        }
        tx.commit().await?;
        Ok(Some(Done::Written))
    }

    fn tell(&self, step: &str, reason: &str, source: Option<super::Source>, again: Option<Duration>) {
        let job = &self.cx.job;
        let cause = source.map(|source| source.to_string()).unwrap_or_default();
        match again {
            Some(delay) => {
                tracing::info!(job.id = %job.id, job.kind, step, reason, cause, ?delay, "a step will be tried again");
            }
            None => tracing::warn!(job.id = %job.id, job.kind, step, reason, cause, "a step failed"),
        }
    }
}

fn begin(work: Option<&dyn Work>, job: &Job, steps: &[JobStep]) -> Begin {
    let Some(work) = work else {
        let reason = format!("this version of Hythe knows no jobs of the kind {}", job.kind);
        return Begin::Failed { index: None, reason, begun: false };
    };
    let names = work.steps();
    if steps.len() != names.len() || steps.iter().zip(names).any(|(step, name)| step.name != *name) {
        let reason = "its steps changed with an upgrade of Hythe while it ran; start it again".to_owned();
        return Begin::Failed { index: None, reason, begun: false };
    }
    let Some((index, step)) = steps.iter().enumerate().find(|(_, step)| step.state != StepState::Succeeded) else {
        return Begin::End;
    };
    if step.state == StepState::Failed {
        let reason = step.error.clone().unwrap_or_else(|| format!("the step {} failed", step.name));
        return Begin::Failed { index: None, reason, begun: true };
    }
    if let Some(reason) = job.called_off.clone() {
        let begun = job.state == JobState::Running;
        return Begin::Failed { index: begun.then_some(index), reason, begun };
    }
    if step.attempt >= ATTEMPTS {
        let reason = format!("the step {} was started {} times and never ended", step.name, step.attempt);
        return Begin::Failed { index: Some(index), reason, begun: true };
    }
    Begin::Step(index)
}

pub(super) fn delay(after: Duration, attempt: i64) -> Duration {
    let doubled = u32::try_from(attempt - 1).ok().and_then(|n| after.checked_mul(1u32.checked_shl(n)?));
    doubled.unwrap_or(LONGEST_DELAY).min(LONGEST_DELAY.max(after))
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

fn panicked(panic: &(dyn Any + Send)) -> StepError {
    StepError::Fail {
        reason: "a fault of the platform; the log of the server has the cause".to_owned(),
        source: Some(format!("panic: {}", text(panic)).into()),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}
