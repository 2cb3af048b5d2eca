//! Jobs that somebody calls off: before they began, while a step is at work, and when the process dies in between.

use super::*;

const WHY: &str = "cancelled by ann";

async fn call_off(queue: &Queue, id: &JobId) -> bool {
    let mut tx = queue.store.begin().await.expect("begin");
    let done = queue.call_off(&mut tx, id, WHY).await.expect("call off");
    tx.commit().await.expect("commit");
    queue.end_called_off();
    done
}

#[tokio::test]
async fn one_that_waits_behind_another_ends_at_once_and_the_other_goes_on() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let (say, mut reached) = mpsc::unbounded_channel();
        let work = Script::new(move |step, cx| match cx.job.payload["subject"] == "app" && step == 1 {
            true => hang(&say),
            false => done(step),
        });
        let (first, second) = (enqueue(&queue, "script", "app").await, enqueue(&queue, "script", "app").await);
        // No room for a second job: to end one that never began needs none.
        let runner = Runner::new(queue.clone(), vec![Arc::clone(&work) as Arc<dyn Work>], 1);
        let test = async {
            reached.recv().await.expect("the first runs");
            assert!(call_off(&queue, &second).await);
            let job = queue.finished(&second).await.expect("job");
            assert_eq!((job.state, job.reason.as_deref()), (JobState::Failed, Some(WHY)));
            assert_eq!((work.ran(), work.undone()), (vec![0, 1], vec![WHY.to_owned()]));
            assert!(bench.steps(&second).await.iter().all(|step| step.state == StepState::Pending));
            let mut tx = queue.store.read().await.expect("read");
            let job = store::jobs::find(&mut tx, &first).await.expect("find").expect("job");
            assert_eq!(job.state, JobState::Running);
            drop(tx);
            assert!(!call_off(&queue, &second).await, "it is over");
        };
        tokio::select! {
            () = runner.run(CancellationToken::new()) => panic!("the runner ended by itself"),
            ended = timeout(PATIENCE, test) => ended.expect("in time"),
        }
    })
    .await;
}

/// Says when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_step_at_work_is_dropped_and_undone() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let ((say, mut reached), (let_go, mut gone)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let work = Script::new(move |step, _| match step {
            1 => {
                let (reached, held) = (hang(&say), Dropped(let_go.clone()));
                async move {
                    let _held = held;
                    reached.await
                }
                .boxed()
            }
            _ => done(step),
        });
        let id = enqueue(&queue, "script", "app").await;
        let test = async {
            reached.recv().await.expect("the step runs");
            assert!(call_off(&queue, &id).await);
            assert!(!call_off(&queue, &id).await, "once is enough");
            gone.recv().await.expect("the step is dropped");
            let job = queue.finished(&id).await.expect("job");
            assert_eq!((job.state, job.reason.as_deref()), (JobState::Failed, Some(WHY)));
        };
        tokio::select! {
            () = runner(&queue, &work).run(CancellationToken::new()) => panic!("the runner ended by itself"),
            ended = timeout(PATIENCE, test) => ended.expect("in time"),
        }
        assert_eq!((work.ran(), work.undone()), (vec![0, 1], vec![WHY.to_owned()]));
        let states: Vec<_> = bench.steps(&id).await.into_iter().map(|step| step.state).collect();
        assert_eq!(states, [StepState::Succeeded, StepState::Failed, StepState::Pending]);
    })
    .await;
}

/// The mark is there and nobody has acted on it: whoever is next does.
#[tokio::test]
async fn a_process_that_dies_in_between_leaves_the_end_to_the_next() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let (say, mut reached) = mpsc::unbounded_channel();
        let before = Script::new(move |step, _| if step == 1 { hang(&say) } else { done(step) });
        let id = enqueue(&bench.queue(), "script", "app").await;
        until_killed(runner(&bench.queue(), &before), &mut reached).await;
        assert!(call_off(&bench.queue(), &id).await);

        let (queue, after) = (bench.queue(), Script::new(|step, _| done(step)));
        let job = until_finished(runner(&queue, &after), &id).await;
        assert_eq!((job.state, job.reason.as_deref()), (JobState::Failed, Some(WHY)));
        assert_eq!((after.ran(), after.undone()), (vec![], vec![WHY.to_owned()]));
        assert_eq!(bench.steps(&id).await[1].state, StepState::Failed);
    })
    .await;
}

/// A step that ends in the moment of the mark does not count as done.
#[tokio::test]
async fn no_step_is_done_behind_the_mark() {
    for_each_database(|store| async move {
        let bench = Bench::new(store);
        let queue = bench.queue();
        let marks = queue.clone();
        let work = Script::new(move |step, cx| {
            let (queue, id) = (marks.clone(), cx.job.id.clone());
            async move {
                if step == 2 {
                    let mut tx = queue.store.begin().await.expect("begin");
                    assert!(queue.call_off(&mut tx, &id, WHY).await.expect("call off"));
                    tx.commit().await.expect("commit");
                }
                Ok(json!({ "of": step }))
            }
            .boxed()
        });
        let id = enqueue(&queue, "script", "app").await;
        let job = until_finished(runner(&queue, &work), &id).await;
        assert_eq!((job.state, job.reason.as_deref(), work.undone().len()), (JobState::Failed, Some(WHY), 1));
        assert_eq!(bench.steps(&id).await[2].state, StepState::Failed);
    })
    .await;
}
