use std::collections::HashSet;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use proptest::prelude::*;
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
async fn a_failed_step_is_undone_and_the_rest_is_not_run() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let work = Script::new(|step, _| match step {
            1 => async { Err(StepError::fail("npm exited 1")) }.boxed(),
            _ => done(step),
        });
        let id = enqueue(&queue, "script", "app").await;
        let job = until_finished(runner(&queue, &work), &id).await;
        assert_eq!((job.state, job.reason.as_deref()), (JobState::Failed, Some("npm exited 1")));
        assert_eq!((work.ran(), work.undone()), (vec![0, 1], vec!["npm exited 1".to_owned()]));
        let states: Vec<_> = bench.steps(&id).await.into_iter().map(|s| (s.state, s.error)).collect();
        assert_eq!(
            states,
            [
                (StepState::Succeeded, None),
                (StepState::Failed, Some("npm exited 1".to_owned())),
                (StepState::Pending, None)
            ]
        );
        assert_eq!(log(&queue, &id).await, ["detect 1", "build 1", "undone: npm exited 1"]);
    })
    .await;
}

#[tokio::test]
async fn a_process_killed_while_it_undoes_undoes_again() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let fail = |step, _: &StepContext| match step {
            1 => async { Err(StepError::fail("no")) }.boxed(),
            _ => done(step),
        };
        let (say, mut reached) = mpsc::unbounded_channel();
        let mut before = Script::new(fail);
        Arc::get_mut(&mut before).expect("fresh").stuck = Some(say);
        let queue = bench.queue();
        let id = enqueue(&queue, "script", "app").await;
        until_killed(runner(&queue, &before), &mut reached).await;

        let (after, queue) = (Script::new(fail), bench.queue());
        let job = until_finished(runner(&queue, &after), &id).await;
        assert_eq!((job.state, job.reason.as_deref()), (JobState::Failed, Some("no")));
        assert_eq!((after.ran(), after.undone()), (vec![], vec!["no".to_owned()]), "the step is not run again");
        log(&queue, &id).await;
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_a_failure_and_the_runner_goes_on() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let work = Script::new(|step, cx| match (step, cx.job.subject.as_str()) {
            (1, "bad") => async { panic!("a bug") }.boxed(),
            _ => done(step),
        });
        let bad = enqueue(&queue, "script", "bad").await;
        let good = enqueue(&queue, "script", "good").await;
        let job = until_finished(runner(&queue, &work), &good).await;
        assert_eq!(job.state, JobState::Succeeded);
        let job = until_finished(runner(&queue, &work), &bad).await;
        assert_eq!(job.state, JobState::Failed);
        let reason = job.reason.expect("a reason");
        assert!(reason.contains("a fault of the platform") && !reason.contains("a bug"), "{reason}");
        assert!(work.undone().contains(&reason));
    })
    .await;
}

#[tokio::test]
async fn a_retry_waits_longer_each_time_and_keeps_its_subject() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let left = std::sync::atomic::AtomicI64::new(2);
        let work = Script::new(move |step, cx| match (step, cx.job.subject.as_str()) {
            (1, "app") if left.fetch_sub(1, Ordering::Relaxed) > 0 => {
                let after = Duration::from_secs(10);
                async move { Err(StepError::Retry { reason: "busy".into(), after, source: None }) }.boxed()
            }
            _ => done(step),
        });
        let first = enqueue(&queue, "script", "app").await;
        let second = enqueue(&queue, "script", "app").await;
        for (attempt, seconds) in [(1, 10), (2, 20)] {
            // Another subject is worked meanwhile; when it is through, this one has given up for now.
            let rested = async {
                loop {
                    // One look: a second one might see the next attempt begin.
                    let steps = bench.steps(&first).await;
                    if steps.get(1).is_some_and(|step| step.attempt == attempt && step.error.is_some()) {
                        break;
                    }
                    let other = enqueue(&queue, "script", "other").await;
                    queue.finished(&other).await.expect("job");
                }
            };
            tokio::select! {
                () = runner(&queue, &work).run(CancellationToken::new()) => panic!("the runner ended"),
                rested = timeout(PATIENCE, rested) => rested.expect("the step rests"),
            }
            assert_eq!(bench.steps(&first).await[1].error.as_deref(), Some("busy"));
            assert_eq!(bench.due().await, Some(bench.clock.now().plus_millis(seconds * 1000)));
            bench.clock.advance(seconds * 1000);
        }
        let job = until_finished(runner(&queue, &work), &second).await;
        assert_eq!(job.state, JobState::Succeeded);
        let of_first = queue.finished(&first).await.expect("job");
        assert_eq!(of_first.state, JobState::Succeeded, "oldest first");
        assert_eq!(bench.steps(&first).await[1].attempt, 3);
    })
    .await;
}

#[tokio::test]
async fn a_step_that_never_succeeds_fails_in_the_end() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let work = Script::new(|_, _| {
            let after = Duration::ZERO;
            async move { Err(StepError::Retry { reason: "busy".into(), after, source: None }) }.boxed()
        });
        let id = enqueue(&queue, "script", "app").await;
        let job = until_finished(runner(&queue, &work), &id).await;
        assert_eq!((job.state, job.reason.as_deref()), (JobState::Failed, Some("busy")));
        assert_eq!((work.ran().len(), work.undone().len()), (20, 1));
    })
    .await;
}

#[tokio::test]
async fn a_step_that_kills_the_process_each_time_fails_in_the_end() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let (say, mut reached) = mpsc::unbounded_channel();
        let deadly = Script::new(move |_, _| hang(&say));
        let id = enqueue(&bench.queue(), "script", "app").await;
        for _ in 0..attempt::ATTEMPTS {
            until_killed(runner(&bench.queue(), &deadly), &mut reached).await;
        }
        let job = until_finished(runner(&bench.queue(), &deadly), &id).await;
        assert_eq!(job.state, JobState::Failed);
        assert!(job.reason.expect("a reason").contains("started 20 times"));
        assert_eq!(deadly.undone().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_leaves_the_step_for_the_next_start() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let (say, mut reached) = mpsc::unbounded_channel();
        let waiting = Script::new(move |_, cx| {
            let (say, cancel) = (say.clone(), cx.cancel.clone());
            async move {
                let _ = say.send(());
                cancel.cancelled().await;
                Err(StepError::Interrupted)
            }
            .boxed()
        });
        let id = enqueue(&queue, "script", "app").await;
        let shutdown = CancellationToken::new();
        let stop = async {
            reached.recv().await.expect("the step runs");
            shutdown.cancel();
        };
        let ((), ()) = timeout(PATIENCE, async { tokio::join!(runner(&queue, &waiting).run(shutdown.clone()), stop) })
            .await
            .expect("the runner ends");
        let first = &bench.steps(&id).await[0];
        assert_eq!((first.state, first.attempt, waiting.undone().len()), (StepState::Pending, 0, 0));

        // Another machine can go on at once: nobody holds the job.
        let queue = bench.queue();
        let after = Script::new(|step, _| done(step));
        let mut elsewhere = runner(&queue, &after);
        elsewhere.node = "node_elsewhere".into();
        assert_eq!(until_finished(elsewhere, &id).await.state, JobState::Succeeded);
        assert_eq!(after.ran(), [0, 1, 2]);
    })
    .await;
}

#[tokio::test]
async fn another_machine_takes_over_when_the_lease_has_run_out_not_before() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let (say, mut reached) = mpsc::unbounded_channel();
        let dead = Script::new(move |_, _| hang(&say));
        let id = enqueue(&bench.queue(), "script", "app").await;
        until_killed(runner(&bench.queue(), &dead), &mut reached).await;

        let (queue, alive) = (bench.queue(), Script::new(|step, _| done(step)));
        let elsewhere = || {
            let mut runner = runner(&queue, &alive);
            runner.node = "node_elsewhere".into();
            runner
        };
        bench.clock.advance(29_999);
        let other = enqueue(&queue, "script", "other").await;
        until_finished(elsewhere(), &other).await;
        assert_eq!(alive.ran.lock().expect("lock").len(), 3, "only the other job was worked");
        bench.clock.advance(1);
        assert_eq!(until_finished(elsewhere(), &id).await.state, JobState::Succeeded);
        assert_eq!(alive.ran.lock().expect("lock")[3].2, 2);
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_while_a_step_runs() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let (release, released) = tokio::sync::watch::channel(false);
        let slow = Script::new(move |step, _| {
            let mut released = released.clone();
            async move {
                released.wait_for(|yes| *yes).await.expect("released");
                Ok(json!({ "of": step }))
            }
            .boxed()
        });
        let id = enqueue(&queue, "script", "app").await;
        let mut here = runner(&queue, &slow);
        here.renewal = Duration::from_millis(5);
        let (rival, rival_queue) = (Script::new(|step, _| done(step)), bench.queue());
        let mut elsewhere = runner(&rival_queue, &rival);
        elsewhere.node = "node_elsewhere".into();
        let moves = async {
            for _ in 0..10 {
                bench.clock.advance(20_000);
                let wanted = Some(bench.clock.now().plus_millis(30_000));
                while bench.due().await != wanted {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                rival_queue.notify();
            }
            release.send(true).expect("released");
            queue.finished(&id).await.expect("job")
        };
        let job = tokio::select! {
            () = here.run(CancellationToken::new()) => panic!("the runner ended"),
            () = async {
                // Only once the job is held: the rival shall not win the first claim.
                while bench.due().await.is_none() {
                    tokio::task::yield_now().await;
                }
                elsewhere.run(CancellationToken::new()).await;
            } => panic!("the rival ended"),
            job = timeout(PATIENCE, async {
                while bench.due().await.is_none() {
                    tokio::task::yield_now().await;
                }
                moves.await
            }) => job.expect("the job ends"),
        };
        assert_eq!(job.state, JobState::Succeeded);
        assert_eq!((slow.ran(), rival.ran()), (vec![0, 1, 2], vec![]));
    })
    .await;
}

#[tokio::test]
async fn a_clock_set_forward_does_not_make_a_runner_work_twice_on_what_it_has_in_hand() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let (release, released) = tokio::sync::watch::channel(false);
        let slow = Script::new(move |step, _| {
            let mut released = released.clone();
            async move {
                released.wait_for(|yes| *yes).await.expect("released");
                Ok(json!({ "of": step }))
            }
            .boxed()
        });
        let id = enqueue(&queue, "script", "app").await;
        let moves = async {
            while slow.ran().is_empty() {
                tokio::task::yield_now().await;
            }
            for _ in 0..3 {
                bench.clock.advance(3_600_000);
                queue.notify();
                // The runner has looked once its lease is of the new time.
                let wanted = Some(bench.clock.now().plus_millis(30_000));
                while bench.due().await != wanted {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            release.send(true).expect("released");
            queue.finished(&id).await.expect("job")
        };
        let job = tokio::select! {
            () = runner(&queue, &slow).run(CancellationToken::new()) => panic!("the runner ended"),
            job = timeout(PATIENCE, moves) => job.expect("the job ends"),
        };
        assert_eq!((job.state, slow.ran()), (JobState::Succeeded, vec![0, 1, 2]));
    })
    .await;
}

#[tokio::test]
async fn a_clock_set_back_does_not_make_a_job_wait_for_as_long() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let again = Script::new(|step, cx| match cx.attempt {
            1 => async { Err(StepError::Retry { reason: "busy".into(), after: Duration::from_secs(1), source: None }) }
                .boxed(),
            _ => done(step),
        });
        let id = enqueue(&queue, "script", "app").await;
        let back = async {
            while bench.due().await.is_none() || again.ran().is_empty() {
                tokio::task::yield_now().await;
            }
            bench.clock.advance(-7_200_000);
            queue.notify();
            loop {
                bench.clock.advance(1_000);
                queue.notify();
                if let Ok(job) = timeout(Duration::from_millis(50), queue.finished(&id)).await {
                    break job.expect("job");
                }
            }
        };
        let job = tokio::select! {
            () = runner(&queue, &again).run(CancellationToken::new()) => panic!("the runner ended"),
            job = timeout(PATIENCE, back) => job.expect("the job ends"),
        };
        assert_eq!(job.state, JobState::Succeeded);
        assert!(bench.clock.now() < Timestamp(1_000_000), "within minutes of the new time");
    })
    .await;
}

#[tokio::test]
async fn a_holder_that_lost_its_job_stops_and_writes_nothing() {
    for_each_database(|store| async move {
        struct Dropped(mpsc::UnboundedSender<&'static str>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send("dropped");
            }
        }
        let bench = Bench::new(store);
        let queue = bench.queue();
        let (say, mut said) = mpsc::unbounded_channel();
        let work = Script::new(move |_, _| {
            let dropped = Dropped(say.clone());
            let _ = say.send("runs");
            async move {
                let _dropped = dropped;
                std::future::pending().await
            }
            .boxed()
        });
        let id = enqueue(&queue, "script", "app").await;
        let mut here = runner(&queue, &work);
        here.renewal = Duration::from_millis(5);
        let stolen = async {
            assert_eq!(said.recv().await, Some("runs"));
            bench.clock.advance(60_000);
            let mut tx = bench.store.begin().await.expect("begin");
            // Renewal may have come first, so that the lease still holds: the thief takes it anyhow.
            store::jobs::give_back_all(&mut tx, "", "").await.expect("give back");
            let now = bench.clock.now();
            let claimed = store::jobs::claim(&mut tx, "thief#1", now, now.plus_millis(30_000)).await.expect("claim");
            assert_eq!(claimed.map(|job| job.id), Some(id.clone()));
            tx.commit().await.expect("commit");
            assert_eq!(said.recv().await, Some("dropped"));
        };
        tokio::select! {
            () = here.run(CancellationToken::new()) => panic!("the runner ended"),
            stolen = timeout(PATIENCE, stolen) => stolen.expect("the step is dropped"),
        }
        assert_eq!((work.ran(), work.undone()), (vec![0], vec![]));
        let mut tx = bench.store.begin().await.expect("begin");
        assert!(store::jobs::renew(&mut tx, &id, "thief#1", Timestamp(i64::MAX)).await.expect("renew"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_runners_share_the_work_and_never_a_subject() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let busy = Arc::new(Mutex::new(HashSet::new()));
        let order = Arc::new(Mutex::new(Vec::new()));
        let work = {
            let (busy, order) = (Arc::clone(&busy), Arc::clone(&order));
            Script::new(move |step, cx| {
                let (busy, order) = (Arc::clone(&busy), Arc::clone(&order));
                let (id, subject) = (cx.job.id.clone(), cx.job.subject.clone());
                async move {
                    assert!(busy.lock().expect("lock").insert(subject.clone()), "{subject} runs twice");
                    tokio::task::yield_now().await;
                    busy.lock().expect("lock").remove(&subject);
                    if step == 0 {
                        order.lock().expect("lock").push((subject, id));
                    }
                    done(step).await
                }
                .boxed()
            })
        };
        let queues = [bench.queue(), bench.queue()];
        let mut ids = Vec::new();
        for n in 0..24 {
            ids.push(enqueue(&queues[n % 2], "script", ["x", "y", "z"][n % 3]).await);
        }
        let mut runners = tokio::task::JoinSet::new();
        for (n, queue) in queues.iter().enumerate() {
            let mut runner = Runner::new(queue.clone(), vec![Arc::clone(&work) as Arc<dyn Work>], 2);
            runner.node = format!("node_{n}");
            runners.spawn(runner.run(CancellationToken::new()));
        }
        for id in &ids {
            let job = timeout(PATIENCE, queues[0].finished(id)).await.expect("it ends").expect("job");
            assert_eq!((job.state, job.reason), (JobState::Succeeded, None));
        }
        for (n, subject) in ["x", "y", "z"].iter().enumerate() {
            let seen: Vec<_> =
                order.lock().expect("lock").iter().filter(|(s, _)| s == subject).map(|(_, id)| id.clone()).collect();
            let enqueued: Vec<_> = ids.iter().skip(n).step_by(3).cloned().collect();
            assert_eq!(seen, enqueued, "oldest first within {subject}");
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

#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    Retry,
    Interrupt,
    Killed,
}

async fn survives(fates: Vec<Fate>) {
    let dir = tempfile::tempdir().expect("directory");
    let bench = Bench::new(Store::open(None, dir.path()).await.expect("store"));
    let (say, mut reached) = mpsc::unbounded_channel();
    let mut left = fates.into_iter();
    let next = Arc::new(Mutex::new(move || left.next()));
    let work = Script::new(move |step, _| {
        let fate = (*next.lock().expect("lock"))();
        match fate.unwrap_or(Fate::Done) {
            Fate::Done => done(step),
            Fate::Retry => {
                async { Err(StepError::Retry { reason: "later".into(), after: Duration::ZERO, source: None }) }.boxed()
            }
            Fate::Interrupt => async { Err(StepError::Interrupted) }.boxed(),
            Fate::Killed => hang(&say),
        }
    });
    let id = enqueue(&bench.queue(), "script", "app").await;
    let job = loop {
        let queue = bench.queue();
        tokio::select! {
            () = runner(&queue, &work).run(CancellationToken::new()) => panic!("the runner ended"),
            _ = reached.recv() => {}
            job = queue.finished(&id) => break job.expect("job"),
            // An interrupted step is tried again a second later.
            () = async { loop { tokio::time::sleep(Duration::from_millis(5)).await; bench.clock.advance(1000); queue.notify(); } } => {}
        }
    };
    assert_eq!(job.state, JobState::Succeeded);
    let ran = work.ran.lock().expect("lock");
    assert!(ran.is_sorted_by_key(|(step, ..)| *step), "no step before the ones before it: {ran:?}");
    assert!(ran.iter().all(|(step, given, _)| *given == outputs(*step)), "{ran:?}");
    assert_eq!(ran.last().map(|(step, ..)| *step), Some(2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Whatever befalls its attempts, a job runs its steps in order, each with the outputs before it.
    #[test]
    fn any_mishaps_only_delay(fates in prop::collection::vec(
        prop_oneof![Just(Fate::Done), Just(Fate::Retry), Just(Fate::Interrupt), Just(Fate::Killed)], 0..12))
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async { timeout(PATIENCE, survives(fates)).await.expect("the job ends") });
    }
}

#[test]
fn delays_double_up_to_a_minute() {
    let seconds = |after, attempt| attempt::delay(Duration::from_secs(after), attempt).as_secs();
    assert_eq!([seconds(1, 1), seconds(1, 2), seconds(1, 6), seconds(1, 7), seconds(1, 20)], [1, 2, 32, 60, 60]);
    assert_eq!([seconds(300, 1), seconds(300, 5)], [300, 300]);
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
