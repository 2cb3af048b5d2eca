//! A measurement: whole looks at ten thousand workloads, with the real store and an engine in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Converger;
use crate::base::model::EnvironmentState;
use crate::machinery::runtime::Engine;
use crate::product::deploy::tests::{Server, crowd};
use crate::state::store::{self, Store};

const ENVIRONMENTS: usize = 5_000;

/// Resident memory of this process, in MB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096 / 1_000_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release --lib converge::crowd -- --ignored --nocapture"]
async fn ten_thousand_workloads() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(None, dir.path()).await.expect("store");
    let server = Server::at_work(store.clone()).await;
    crowd(&store, ENVIRONMENTS).await;
    let before = resident();
    let engine: Arc<dyn Engine> = Arc::new(server.engine.clone());
    let table = tokio::sync::watch::channel(Arc::default()).0;
    let converger = Converger::new(server.ctx.clone(), engine, server.builder.clone(), table, None);
    let (handle, shutdown) = (converger.handle(), CancellationToken::new());
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(converger.run(shutdown.clone()));
    loop {
        let mut tx = store.read().await.expect("read");
        let all = store::environments::all(&mut tx).await.expect("environments");
        drop(tx);
        if all.iter().all(|(e, _)| e.status.state == EnvironmentState::Live) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{} workloads started and live in {:.1?}", ENVIRONMENTS * 2, began.elapsed());
    let mut ticks = handle.ticks();
    let mut looks = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ticks.mark_unchanged();
        let began = Instant::now();
        handle.wake();
        ticks.changed().await.expect("a look");
        looks.push(began.elapsed());
    }
    looks.sort();
    println!(
        "a look at all of them, when nothing is to be done: {:.1?} ({:.1?} to {:.1?})",
        looks[10], looks[0], looks[19]
    );
    println!("resident: {before} MB before, {} MB now, engine and store of the test included", resident());
    shutdown.cancel();
    running.join_next().await.expect("it runs").expect("it ends");
}
