use std::collections::HashSet;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::base::clock::{Clock, ManualClock, Timestamp};
use crate::base::model::{Id, JobState, JobStep, StepState};
use crate::state::logs::LogEvent;
use crate::state::store::tests::for_each_database;
use crate::state::store::{self, Store};

const STEPS: &[&str] = &["detect", "build", "release"];
const PATIENCE: Duration = Duration::from_secs(60);

type Ended = std::result::Result<Value, StepError>;
type Act = dyn Fn(usize, &StepContext) -> BoxFuture<'static, Ended> + Send + Sync;

/// Work that does what a test says, and remembers what it was asked.
struct Script {
    act: Box<Act>,
    /// When set, undoing never ends, and says so here.
    stuck: Option<mpsc::UnboundedSender<()>>,
    ran: Mutex<Vec<(usize, Vec<Value>, i64)>>,
    undone: Mutex<Vec<String>>,
}

impl Script {
    fn new(act: impl Fn(usize, &StepContext) -> BoxFuture<'static, Ended> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { act: Box::new(act), stuck: None, ran: Mutex::default(), undone: Mutex::default() })
    }

    fn ran(&self) -> Vec<usize> {
        self.ran.lock().expect("lock").iter().map(|(step, ..)| *step).collect()
    }

    fn undone(&self) -> Vec<String> {
        self.undone.lock().expect("lock").clone()
    }
}

#[async_trait]
impl Work for Script {
    fn kind(&self) -> &'static str {
        "script"
    }

    fn steps(&self) -> &'static [&'static str] {
        STEPS
    }

    async fn run(&self, step: usize, cx: &StepContext) -> Ended {
        self.ran.lock().expect("lock").push((step, cx.outputs.clone(), cx.attempt));
        cx.log.append(&format!("{} {}", STEPS[step], cx.attempt));
        (self.act)(step, cx).await
    }

    async fn failed(&self, cx: &StepContext, reason: &str) {
        self.undone.lock().expect("lock").push(reason.to_owned());
        cx.log.append(&format!("undone: {reason}"));
        if let Some(stuck) = &self.stuck {
            let _ = stuck.send(());
            std::future::pending::<()>().await;
        }
    }
}

fn done(step: usize) -> BoxFuture<'static, Ended> {
    async move { Ok(json!({ "of": step })) }.boxed()
}

/// Outputs that the first `count` steps made.
fn outputs(count: usize) -> Vec<Value> {
    (0..count).map(|step| json!({ "of": step })).collect()
}

/// Says that it was reached and stays there, as a process that is about to be killed.
fn hang(reached: &mpsc::UnboundedSender<()>) -> BoxFuture<'static, Ended> {
    let _ = reached.send(());
    std::future::pending().boxed()
}

/// One machine: a data directory and a clock that the test moves.
struct Bench {
    store: Store,
    clock: ManualClock,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(store: Store) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        Self { store, clock: ManualClock::at(1_000_000), dir }
    }

    /// As a process that starts makes it.
    fn queue(&self) -> Queue {
        let logs = LogStore::open(self.dir.path()).expect("logs");
        Queue::new(self.store.clone(), Arc::new(self.clock.clone()), logs)
    }

    async fn steps(&self, id: &JobId) -> Vec<JobStep> {
        let mut tx = self.store.read().await.expect("read");
        store::jobs::steps(&mut tx, id).await.expect("steps")
    }

    async fn due(&self) -> Option<Timestamp> {
        store::jobs::next_due(&mut self.store.read().await.expect("read")).await.expect("due")
    }
}

async fn enqueue(queue: &Queue, kind: &str, subject: &str) -> JobId {
    let mut tx = queue.store.begin().await.expect("begin");
    let id = queue.enqueue(&mut tx, kind, subject, json!({ "subject": subject })).await.expect("enqueue");
    tx.commit().await.expect("commit");
    queue.notify();
    id
}

fn runner(queue: &Queue, work: &Arc<Script>) -> Runner {
    Runner::new(queue.clone(), vec![Arc::clone(work) as Arc<dyn Work>], 4)
}

/// Runs until the job ends; then the runner is dropped.
async fn until_finished(runner: Runner, id: &JobId) -> Job {
    let queue = runner.queue.clone();
    let finished = async {
        tokio::select! {
            () = runner.run(CancellationToken::new()) => panic!("the runner ended by itself"),
            job = queue.finished(id) => job.expect("job"),
        }
    };
    timeout(PATIENCE, finished).await.expect("the job ends")
}

/// Runs until a step says that it hangs; then the process is gone.
async fn until_killed(runner: Runner, reached: &mut mpsc::UnboundedReceiver<()>) {
    let killed = async {
        tokio::select! {
            () = runner.run(CancellationToken::new()) => panic!("the runner ended by itself"),
            said = reached.recv() => said.expect("a step that hangs"),
        }
    };
    timeout(PATIENCE, killed).await.expect("the step is reached");
}

async fn log(queue: &Queue, id: &JobId) -> Vec<String> {
    let events = queue.logs.follow(&LogName::job(id), 0).collect::<Vec<_>>();
    let events = timeout(PATIENCE, events).await.expect("the log ended");
    let line = |event| match event {
        LogEvent::Line(line) => Some(line),
        LogEvent::End => None,
    };
    events.into_iter().filter_map(line).collect()
}

#[tokio::test]
async fn steps_run_in_order_and_hand_on_what_they_made() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let work = Script::new(|step, _| done(step));
        let id = enqueue(&queue, "script", "app").await;
        let job = until_finished(runner(&queue, &work), &id).await;
        assert_eq!((job.state, job.reason), (JobState::Succeeded, None));
        let expected: Vec<_> = (0..3).map(|step| (step, outputs(step), 1)).collect();
        assert_eq!(*work.ran.lock().expect("lock"), expected);
        assert_eq!(log(&queue, &id).await, ["detect 1", "build 1", "release 1"]);
        let steps = bench.steps(&id).await;
        assert!(steps.iter().all(|s| s.state == StepState::Succeeded && s.attempt == 1 && s.finished_at.is_some()));
        assert!(work.undone().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_process_killed_in_any_step_resumes_at_that_step_at_once() {
    for_each_database(|store| async move {
        for at in 0..STEPS.len() {
            let bench = Bench::new(store.clone());
            let (say, mut reached) = mpsc::unbounded_channel();
            let before = Script::new(move |step, _| if step == at { hang(&say) } else { done(step) });
            let queue = bench.queue();
            let id = enqueue(&queue, "script", &format!("app {at}")).await;
            until_killed(runner(&queue, &before), &mut reached).await;
            assert_eq!(before.ran(), (0..=at).collect::<Vec<_>>());

            // The clock stands still: no lease has run out.
            let (after, queue) = (Script::new(|step, _| done(step)), bench.queue());
            let job = until_finished(runner(&queue, &after), &id).await;
            assert_eq!(job.state, JobState::Succeeded);
            let expected: Vec<_> = (at..3).map(|step| (step, outputs(step), if step == at { 2 } else { 1 })).collect();
            assert_eq!(*after.ran.lock().expect("lock"), expected);
            assert_eq!(bench.steps(&id).await[at].attempt, 2);
            log(&queue, &id).await;
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_of_an_unknown_kind_or_with_other_steps_end_with_a_reason() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let work = Script::new(|step, _| done(step));
        let unknown = enqueue(&queue, "teleport", "a").await;
        let job = until_finished(runner(&queue, &work), &unknown).await;
        assert_eq!(
            (job.state, job.reason.as_deref()),
            (JobState::Failed, Some("this version of Hythe knows no jobs of the kind teleport"))
        );
        let mut tx = bench.store.begin().await.expect("begin");
        let renamed = bench.queue().enqueue(&mut tx, "script", "b", Value::Null).await.expect("enqueue");
        store::jobs::add_steps(&mut tx, &renamed, 0, &["inspect"]).await.expect("steps");
        tx.commit().await.expect("commit");
        let job = until_finished(runner(&queue, &work), &renamed).await;
        assert!(job.reason.expect("a reason").contains("changed with an upgrade"));
        assert_eq!((work.ran(), work.undone().len()), (vec![], 1));
        assert!(queue.finished(&JobId::fresh()).await.is_err_and(|e| e.is_not_found()));
    })
    .await;
}

/// Rests until the process is gone, but for jobs of the subject `brief`.
struct Waits;

#[async_trait]
impl Work for Waits {
    fn kind(&self) -> &'static str {
        "waits"
    }

    fn steps(&self) -> &'static [&'static str] {
        &["wait"]
    }

    async fn run(&self, _: usize, cx: &StepContext) -> std::result::Result<Value, StepError> {
        if cx.job.subject != "brief" {
            let _resting = cx.rest();
            cx.cancel.cancelled().await;
            return Err(StepError::Interrupted);
        }
        Ok(Value::Null)
    }

    async fn failed(&self, _: &StepContext, _: &str) {}
}

#[tokio::test]
async fn a_step_that_waits_for_people_takes_nobodys_place() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        for subject in ["held", "held as well"] {
            enqueue(&queue, "waits", subject).await;
        }
        let id = enqueue(&queue, "waits", "brief").await;
        let runner = Runner::new(queue.clone(), vec![Arc::new(Waits) as Arc<dyn Work>], 1);
        assert_eq!(until_finished(runner, &id).await.state, JobState::Succeeded);
    })
    .await;
}

mod called_off;
mod failures;
mod fates;
mod leases;
