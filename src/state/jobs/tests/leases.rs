//! Who may work on a job: leases, clocks that are set, shutdowns, and two machines at once.

use super::*;

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
