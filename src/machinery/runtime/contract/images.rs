//! Clauses about images: what is loaded, what is missing, what is broken.

use super::*;

pub async fn a_missing_image_is_refused_and_leaves_nothing(rig: &dyn Rig) {
    let engine = rig.engine();
    assert!(!engine.has_image(&rig.other_image()).await.expect("has"));
    let spec = WorkloadSpec { image: rig.other_image(), ..workload(rig, &["true"]) };
    let fault = engine.ensure(&spec).await.expect_err("no image");
    let EngineError::Refused { source, .. } = &fault else { panic!("{fault:?}") };
    assert!(source.to_string().contains("is not in the engine"), "{source}");
    assert!(!fault.is_temporary());
    assert_eq!(observe(engine).await, []);
    let spec = SandboxSpec { image: rig.other_image(), ..sandbox(rig) };
    assert!(matches!(engine.open_sandbox(&spec).await, Err(EngineError::Refused { .. })));
    assert_eq!(engine.sandboxes().await.expect("list"), Vec::<String>::new());
}

pub async fn images_are_loaded_without_known_layers(rig: &dyn Rig) {
    let engine = rig.engine();
    assert!(engine.has_image(&rig.image()).await.expect("has"));
    let missing = engine.load(rig.archive_with_a_gap()).await;
    assert!(matches!(missing, Err(EngineError::MissingLayers)), "{missing:?}");
    assert!(!engine.has_image(&rig.other_image()).await.expect("has"));
    for whole in [false, false, true] {
        engine.load(rig.archive(whole)).await.expect("load");
        assert!(engine.has_image(&rig.other_image()).await.expect("has"));
    }
    let spec = WorkloadSpec { image: rig.other_image(), ..workload(rig, &["true"]) };
    engine.ensure(&spec).await.expect("it runs");
    until(engine, |all| all.iter().any(has_exited)).await;
}

pub async fn a_broken_archive_is_refused(rig: &dyn Rig) {
    let engine = rig.engine();
    let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err(std::io::Error::other("disk gone"))]).boxed();
    let fault = engine.load(broken).await.expect_err("broken");
    let EngineError::Refused { source, .. } = &fault else { panic!("{fault:?}") };
    assert!(source.to_string().contains("disk gone"), "{source}");
    let garbage = stream::iter([Ok(Bytes::from_static(&[7; 2048]))]).boxed();
    assert!(matches!(engine.load(garbage).await, Err(EngineError::Refused { .. })));
}
