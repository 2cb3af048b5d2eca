//! What people say of a held canary, in process.

use super::volumes::Stage;
use super::*;
use crate::base::error::Kind;

/// The rollout of generation 1 holds a canary, and that was said of it.
async fn held(stage: &Stage, said: Option<Guidance>) {
    let mut tx = stage.ctx().store.begin().await.expect("begin");
    let mut environment = now(&mut tx, stage).await;
    environment.spec.guidance = said;
    environment.spec.rollout = Generation(1);
    let generation = environment.generation;
    assert!(
        store::environments::write_spec(&mut tx, &environment.id, generation, &environment.spec).await.expect("spec")
    );
    let (since, until) = (Timestamp(NEW_YEAR), Timestamp(NEW_YEAR + MINUTE));
    let canary = Canary { rollout: Generation(1), step: 0, steps: 2, percent: 10, since, until, goes_on: false };
    let status = EnvironmentStatus { state: EnvironmentState::Holding, canary: Some(canary), ..environment.status };
    store::environments::write_status(&mut tx, &environment.id, &status).await.expect("status");
    tx.commit().await.expect("commit");
}

async fn now(tx: &mut store::Tx, stage: &Stage) -> Environment {
    let found = store::environments::find(tx, &Scope::Platform, &stage.environment.id).await;
    found.expect("find").expect("an environment")
}

#[tokio::test]
async fn a_canary_that_somebody_ended_is_not_let_go_on_though_it_still_holds() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store).await;
        let (app, environment) = (&stage.app, &stage.environment);
        held(&stage, Some(Guidance { rollout: Generation(1), steps: 0, aborted: true })).await;
        let refused = proceed(stage.ctx(), &stage.actor, app, environment).await.expect_err("it was ended");
        assert_eq!(refused.kind, Kind::Conflict);
        assert!(refused.public.contains("somebody ended this rollout already"), "{refused:?}");
        let mut tx = store.read().await.expect("read");
        assert!(now(&mut tx, &stage).await.spec.guidance.is_some_and(|said| said.aborted), "the word stands");
        drop(tx);
        // What was said of another rollout says nothing of this one.
        held(&stage, Some(Guidance { rollout: Generation(0), steps: 0, aborted: true })).await;
        let goes = proceed(stage.ctx(), &stage.actor, app, environment).await.expect("goes on");
        assert_eq!(goes.spec.guidance, Some(Guidance { rollout: Generation(1), steps: 1, aborted: false }));
    })
    .await;
}
