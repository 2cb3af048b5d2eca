//! Any order of mishaps.

use proptest::prelude::*;

use super::*;

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
