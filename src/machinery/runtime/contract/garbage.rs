//! Clauses about what is removed when nobody needs it.

use super::{Rig, sandbox, volumes::started, workload};

pub async fn an_image_goes_only_when_nothing_is_of_it(rig: &dyn Rig) {
    let engine = rig.engine();
    let image = rig.image();
    assert!(engine.images().await.expect("images").contains(&image));
    let spec = workload(rig, &["sleep", "1000"]);
    started(engine, &spec).await;
    assert!(!engine.remove_image(&image).await.expect("an answer"), "a replica runs from it");
    engine.retire(&spec.id, spec.generation.next()).await.expect("retire");
    let sandbox = sandbox(rig);
    engine.open_sandbox(&sandbox).await.expect("open");
    engine.pause_sandbox(&sandbox.name).await.expect("pause");
    assert!(!engine.remove_image(&image).await.expect("an answer"), "a sandbox sleeps on it");
    assert!(engine.has_image(&image).await.expect("an answer"));
    engine.close_sandbox(&sandbox.name).await.expect("close");
    for _ in 0..2 {
        assert!(engine.remove_image(&image).await.expect("removed, and gone is success"));
        assert!(!engine.images().await.expect("images").contains(&image));
    }
    // Its base may have gone with it.
    engine.load(rig.archive(true)).await.expect("a later one is loaded as ever");
    assert_eq!(engine.images().await.expect("images"), vec![rig.other_image()]);
}

pub async fn a_network_goes_only_when_nobody_is_in_it(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = workload(rig, &["sleep", "1000"]);
    started(engine, &spec).await;
    assert_eq!(engine.networks().await.expect("networks"), vec![spec.space.clone()]);
    assert!(!engine.remove_network(&spec.space).await.expect("an answer"), "a replica is in it");
    engine.retire(&spec.id, spec.generation.next()).await.expect("retire");
    for _ in 0..2 {
        assert!(engine.remove_network(&spec.space).await.expect("removed, and gone is success"));
        assert!(engine.networks().await.expect("networks").is_empty());
    }
    started(engine, &spec).await;
    assert_eq!(engine.networks().await.expect("networks"), vec![spec.space.clone()], "it is made again when needed");
}

pub async fn sandboxes_are_measured(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    assert!(engine.sandbox_sizes().await.expect("sizes").is_empty());
    engine.open_sandbox(&spec).await.expect("open");
    let sizes = engine.sandbox_sizes().await.expect("sizes");
    assert_eq!(sizes.keys().collect::<Vec<_>>(), [&spec.name]);
    let size = engine.sandbox_size(&spec.name).await.expect("size");
    assert!(size < 1 << 30, "{size}");
    let usage = engine.sandbox_usage(&spec.name).await.expect("usage");
    assert!((1..100).contains(&usage.processes) && usage.memory_bytes > 0, "{usage:?}");
    assert!(matches!(
        engine.sandbox_size("build-none").await,
        Err(crate::machinery::runtime::EngineError::NotFound { .. })
    ));
    assert!(matches!(
        engine.sandbox_usage("build-none").await,
        Err(crate::machinery::runtime::EngineError::NotFound { .. })
    ));
}
