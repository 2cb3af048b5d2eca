//! Steps that fail, are tried again, panic, or take the process with them.

use super::*;

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

#[test]
fn delays_double_up_to_a_minute() {
    let seconds = |after, attempt| attempt::delay(Duration::from_secs(after), attempt).as_secs();
    assert_eq!([seconds(1, 1), seconds(1, 2), seconds(1, 6), seconds(1, 7), seconds(1, 20)], [1, 2, 32, 60, 60]);
    assert_eq!([seconds(300, 1), seconds(300, 5)], [300, 300]);
}
