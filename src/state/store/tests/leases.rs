use serde_json::json;

use super::*;

const A: &str = "node_a#1";
const B: &str = "node_b#1";

async fn queued(tx: &mut Tx, subject: &str, created: i64) -> JobId {
    let job = Job {
        id: JobId::fresh(),
        kind: "push".into(),
        subject: subject.into(),
        payload: json!({ "commit": "c", "quote": "'\"\u{0}" }),
        state: JobState::Queued,
        reason: None,
        called_off: None,
        created_at: at(created),
        finished_at: None,
    };
    jobs::insert(tx, &job, &["one", "two"]).await.expect("insert");
    job.id
}

async fn claim(tx: &mut Tx, holder: &str, now: i64) -> Option<JobId> {
    jobs::claim(tx, holder, at(now), at(now + 30)).await.expect("claim").map(|job| {
        assert_eq!(job.state, JobState::Running);
        job.id
    })
}

#[tokio::test]
async fn claims_are_oldest_first_and_one_per_subject() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let second = queued(&mut tx, "x", 2).await;
        let first = queued(&mut tx, "x", 1).await;
        let other = queued(&mut tx, "y", 3).await;
        assert_eq!(claim(&mut tx, A, 10).await, Some(first.clone()));
        assert_eq!(claim(&mut tx, B, 10).await, Some(other.clone()), "the next of x waits");
        assert_eq!(claim(&mut tx, A, 10).await, None);
        assert_eq!(jobs::next_due(&mut tx).await.expect("due"), Some(at(40)));

        assert!(!jobs::finish(&mut tx, &first, B, JobState::Succeeded, None, at(11)).await.expect("finish"));
        assert!(jobs::finish(&mut tx, &first, A, JobState::Failed, Some("no\0"), at(11)).await.expect("finish"));
        assert!(!jobs::finish(&mut tx, &first, A, JobState::Succeeded, None, at(12)).await.expect("finish"));
        let found = jobs::find(&mut tx, &first).await.expect("find").expect("job");
        assert_eq!(
            (found.state, found.reason.as_deref(), found.finished_at),
            (JobState::Failed, Some("no"), Some(at(11)))
        );
        assert_eq!(found.payload["quote"], "'\"\u{0}");
        assert_eq!(claim(&mut tx, A, 12).await, Some(second.clone()));
        let open: Vec<_> = jobs::unfinished(&mut tx, "x").await.expect("list").into_iter().map(|j| j.id).collect();
        assert_eq!(open, [second]);
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_given_back_or_runs_out() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let job = queued(&mut tx, "x", 1).await;
        assert_eq!(claim(&mut tx, A, 10).await, Some(job.clone()));
        assert!(jobs::renew(&mut tx, &job, A, at(60)).await.expect("renew"));
        assert!(!jobs::renew(&mut tx, &job, B, at(90)).await.expect("renew"), "not the holder");
        assert_eq!(claim(&mut tx, B, 59).await, None);
        assert_eq!(claim(&mut tx, B, 60).await, Some(job.clone()), "it ran out");
        assert!(!jobs::renew(&mut tx, &job, A, at(99)).await.expect("renew"), "lost");
        assert!(!jobs::give_back(&mut tx, &job, A, at(99)).await.expect("give back"));

        // Back-off: nobody holds it, and its subject stays taken.
        let next = queued(&mut tx, "x", 2).await;
        assert!(jobs::give_back(&mut tx, &job, B, at(100)).await.expect("give back"));
        assert_eq!(claim(&mut tx, A, 99).await, None);
        assert_eq!(claim(&mut tx, A, 100).await, Some(job.clone()));
        assert_eq!(jobs::give_back_all(&mut tx, "node_b#", "").await.expect("all"), 0);
        assert_eq!(jobs::give_back_all(&mut tx, "node_a#", A).await.expect("all"), 0, "its own stay");
        assert_eq!(jobs::give_back_all(&mut tx, "node_a#", "node_a#2").await.expect("all"), 1);
        assert_eq!(claim(&mut tx, "node_a#2", 101).await, Some(job.clone()));
        assert!(jobs::finish(&mut tx, &job, "node_a#2", JobState::Succeeded, None, at(102)).await.expect("finish"));
        assert_eq!(claim(&mut tx, A, 103).await, Some(next));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_came_late_with_an_earlier_time_does_not_run_beside_the_running_one() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let running = queued(&mut tx, "x", 5).await;
        assert_eq!(claim(&mut tx, A, 10).await, Some(running.clone()));
        let late = queued(&mut tx, "x", 4).await;
        assert_eq!(claim(&mut tx, B, 10).await, None);
        assert_eq!(claim(&mut tx, B, 50).await, Some(running.clone()), "and does not block its resumption");
        assert!(jobs::finish(&mut tx, &running, B, JobState::Succeeded, None, at(51)).await.expect("finish"));
        assert_eq!(claim(&mut tx, B, 52).await, Some(late));
    })
    .await;
}

#[tokio::test]
async fn steps_keep_output_attempts_and_times() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let job = queued(&mut tx, "x", 1).await;
        jobs::add_steps(&mut tx, &job, 2, &["three"]).await.expect("add");
        jobs::step_started(&mut tx, &job, 0, at(10)).await.expect("start");
        jobs::step_waits(&mut tx, &job, 0, Some("later"), false).await.expect("wait");
        jobs::step_started(&mut tx, &job, 0, at(20)).await.expect("start");
        jobs::step_waits(&mut tx, &job, 0, None, true).await.expect("interrupt");
        jobs::step_started(&mut tx, &job, 0, at(30)).await.expect("start");
        let output = json!({ "image": "sha256:…" });
        let done = StepState::Succeeded;
        jobs::step_finished(&mut tx, &job, 0, done, &output, None, at(31)).await.expect("finish");
        jobs::step_started(&mut tx, &job, 1, at(32)).await.expect("start");
        let bad = StepState::Failed;
        jobs::step_finished(&mut tx, &job, 1, bad, &json!(null), Some("no"), at(33)).await.expect("finish");
        let steps = jobs::steps(&mut tx, &job).await.expect("steps");
        let names: Vec<_> = steps.iter().map(|s| (s.name.as_str(), s.state, s.attempt)).collect();
        assert_eq!(names, [("one", done, 2), ("two", bad, 1), ("three", StepState::Pending, 0)]);
        assert_eq!(
            (&steps[0].output, steps[0].started_at, steps[0].finished_at),
            (&output, Some(at(30)), Some(at(31)))
        );
        assert_eq!((steps[1].error.as_deref(), steps[2].started_at), (Some("no"), None));
    })
    .await;
}

/// However claims, renewals and ends of several holders meet, no subject is worked twice at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn holders_that_race_never_share_a_job_or_a_subject() {
    for_each_database(|store| async move {
        const JOBS: usize = 40;
        let mut tx = store.begin().await.expect("begin");
        for n in 0..JOBS {
            queued(&mut tx, ["x", "y", "z"][n % 3], i64::try_from(n).expect("small")).await;
        }
        tx.commit().await.expect("commit");
        let busy = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
        let mut holders = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (store, busy, holder) = (store.clone(), Arc::clone(&busy), format!("node_{n}#1"));
            holders.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let mut tx = store.begin().await.expect("begin");
                    let claimed = jobs::claim(&mut tx, &holder, at(100), at(200)).await.expect("claim");
                    tx.commit().await.expect("commit");
                    let Some(job) = claimed else {
                        let mut tx = store.read().await.expect("read");
                        let mut left = 0;
                        for subject in ["x", "y", "z"] {
                            left += jobs::unfinished(&mut tx, subject).await.expect("list").len();
                        }
                        if left == 0 {
                            return done;
                        }
                        tokio::task::yield_now().await;
                        continue;
                    };
                    assert!(busy.lock().expect("lock").insert(job.subject.clone()), "{} is taken twice", job.subject);
                    tokio::task::yield_now().await;
                    assert!(busy.lock().expect("lock").remove(&job.subject));
                    let mut tx = store.begin().await.expect("begin");
                    assert!(
                        jobs::finish(&mut tx, &job.id, &holder, JobState::Succeeded, None, at(101)).await.expect("ok")
                    );
                    tx.commit().await.expect("commit");
                    done.push(job.id);
                }
            });
        }
        let mut done = Vec::new();
        while let Some(of_one) = holders.join_next().await {
            done.extend(of_one.expect("a holder"));
        }
        done.sort();
        done.dedup();
        assert_eq!(done.len(), JOBS);
    })
    .await;
}
