//! Clauses about what is seen of replicas: their lines, to the last one, and what they use.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::TryStreamExt;

use super::super::{LogLine, Witness};
use super::{PATIENCE, Rig, has_exited, is_running, observe, until, workload};
use crate::base::clock::Timestamp;

pub async fn output_is_read_again_from_where_it_was_left(rig: &dyn Rig) {
    let engine = rig.engine();
    engine.ensure(&workload(rig, &["echo", "one  line"])).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    let all = engine.output(&ended[0].id, Timestamp(0)).await.expect("output");
    let all: Vec<_> = tokio::time::timeout(PATIENCE, all.try_collect()).await.expect("it ends").expect("lines");
    let [line] = &all[..] else { panic!("{all:?}") };
    assert_eq!((line.text.as_str(), line.nanos.div_euclid(1_000_000)), ("one  line", line.at.0));
    for (since, count) in [(line.at, 1), (line.at.plus_millis(5000), 0)] {
        let again = engine.output(&ended[0].id, since).await.expect("output");
        let again: Vec<_> = tokio::time::timeout(PATIENCE, again.try_collect()).await.expect("it ends").expect("lines");
        assert_eq!(again.len(), count, "{again:?}");
        assert!(again.iter().all(|l: &LogLine| l.nanos == line.nanos), "the same time for the same line");
    }
}

pub async fn a_witness_sees_the_last_lines(rig: &dyn Rig) {
    let engine = rig.engine();
    type Question = (String, tokio::sync::oneshot::Sender<()>);
    struct Asked(tokio::sync::mpsc::UnboundedSender<Question>);
    #[async_trait]
    impl Witness for Asked {
        async fn last_look(&self, replica: &str) {
            let (done, seen) = tokio::sync::oneshot::channel();
            if self.0.send((replica.to_owned(), done)).is_ok() {
                let _ = seen.await;
            }
        }
    }
    let read = Mutex::<Vec<String>>::default();
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<Question>();
    let looking = async {
        while let Some((replica, done)) = asked.recv().await {
            let lines = engine.output(&replica, Timestamp(0)).await.expect("it is still there");
            let lines: Vec<LogLine> = lines.try_collect().await.expect("it has ended");
            read.lock().expect("no panic").extend(lines.into_iter().map(|line| line.text));
            let _ = done.send(());
        }
    };
    let acting = async {
        engine.witnessed_by(Arc::new(Asked(ask)));
        let ends = workload(rig, &["echo", "famous last words"]);
        engine.ensure(&ends).await.expect("ensure");
        until(engine, |all| all.iter().any(has_exited)).await;
        // Replaced, retired, removed: each has been seen.
        engine.ensure(&ends).await.expect("ensure again");
        until(engine, |all| all.iter().any(has_exited)).await;
        engine.retire(&ends.id, ends.generation.next()).await.expect("retire");
        let runs = workload(rig, &["sleep", "1000"]);
        engine.ensure(&runs).await.expect("ensure");
        let running = until(engine, |all| all.iter().any(is_running)).await;
        engine.remove(&running[0].id).await.expect("remove");
        engine.witnessed_by(Arc::new(Nobody));
    };
    tokio::select! {
        () = async { tokio::join!(looking, acting); } => {}
        () = tokio::time::sleep(PATIENCE) => panic!("the witness was not let go"),
    }
    assert_eq!(*read.lock().expect("no panic"), ["famous last words", "famous last words"]);
    assert_eq!(observe(engine).await, []);
}

struct Nobody;

#[async_trait]
impl Witness for Nobody {
    async fn last_look(&self, _: &str) {}
}

pub async fn usage_is_read_while_it_runs(rig: &dyn Rig) {
    let engine = rig.engine();
    engine.ensure(&workload(rig, &["sleep", "1000"])).await.expect("ensure");
    let running = until(engine, |all| all.iter().any(is_running)).await;
    let usage = engine.usage(&running[0].id).await.expect("usage");
    assert!(usage.memory_bytes > 0 && usage.memory_bytes < 512 << 20, "{usage:?}");
    let later = engine.usage(&running[0].id).await.expect("usage");
    assert!(later.cpu_nanos >= usage.cpu_nanos, "{usage:?} {later:?}");
    let written = engine.written().await.expect("what was written");
    assert!(written.get(&running[0].id).is_some_and(|bytes| *bytes < 1 << 20), "{written:?}");
    engine.ensure(&workload(rig, &["true"])).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    let ended = ended.iter().find(|r| has_exited(r)).expect("one has");
    assert!(engine.usage(&ended.id).await.is_err(), "it does not run");
    assert!(engine.usage("../../etc/passwd").await.is_err());
}
