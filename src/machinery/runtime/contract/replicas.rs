//! Clauses about replicas: how many there are, how they are reached, how they end, and what is run inside them.

use super::*;

pub async fn ensures_exactly_that_many(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = WorkloadSpec { count: 2, ..workload(rig, &["sleep", "1000"]) };
    engine.ensure(&spec).await.expect("two");
    let two = until(engine, |all| all.len() == 2 && all.iter().all(is_running)).await;
    assert_eq!(ordinals(&two), [1, 2]);
    for replica in &two {
        assert_eq!(replica.workload, spec.id);
        assert_eq!(replica.generation, spec.generation);
        assert_eq!(replica.release, spec.release);
        assert!(replica.started_at.is_some());
    }
    engine.ensure(&spec).await.expect("again");
    assert_eq!(observe(engine).await, two, "nothing to do");
    spec.count = 1;
    engine.ensure(&spec).await.expect("one");
    assert_eq!(observe(engine).await, two[..1], "the highest ordinal went");
    spec.count = 3;
    engine.ensure(&spec).await.expect("three");
    let three = until(engine, |all| all.len() == 3 && all.iter().all(is_running)).await;
    assert_eq!(three[0], two[0]);
    assert_eq!(ordinals(&three), [1, 2, 3]);
    engine.stop(&three[1].id).await.expect("stop");
    engine.stop(&three[1].id).await.expect("it is gone already");
    let two = until(engine, |all| all.len() == 2).await;
    assert_eq!(ordinals(&two), [1, 3], "that one, and no other");
    spec.count = 0;
    engine.ensure(&spec).await.expect("none");
    assert_eq!(observe(engine).await, []);
}

pub async fn replicas_are_reached_at_their_address(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &[]);
    spec.process.command = rig.listener();
    let quiet = workload(rig, &["sleep", "1000"]);
    let quiet = WorkloadSpec { port: None, id: WorkloadId { process: name("worker"), ..spec.id.clone() }, ..quiet };
    engine.ensure(&spec).await.expect("web");
    engine.ensure(&quiet).await.expect("worker");
    let both = until(engine, |all| all.len() == 2 && all.iter().all(is_running)).await;
    assert!(both.iter().all(|r| r.address.is_some() == (r.workload == spec.id)), "{both:?}");
    let address = both.iter().find_map(|r| r.address).expect("an address");
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let listening = async {
        while probe::ready(address, &Check::Tcp, Duration::from_secs(1)).await.is_err() {
            again.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("it accepts connections");
}

pub async fn variables_reach_the_process(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &["printenv", "HYTHE_PROCESS", "PORT", "SECRET"]);
    spec.variables.insert("SECRET".into(), Secret::new("s p=ä\"c$e".into()));
    engine.ensure(&spec).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    let lines: Vec<_> = engine.logs(&ended[0].id, 10, false).await.expect("logs").try_collect().await.expect("lines");
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["web.1", "8000", "s p=ä\"c$e"]);
}

pub async fn what_exited_is_seen_and_replaced(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = workload(rig, &["false"]);
    engine.ensure(&spec).await.expect("ensure");
    let first = until(engine, |all| all.iter().any(has_exited)).await;
    let ReplicaState::Exited { code, out_of_memory, at } = first[0].state else { unreachable!() };
    assert_eq!((code, out_of_memory, first[0].address), (1, false, None));
    assert!(at >= first[0].started_at.expect("it had started"), "{first:?}");
    assert_eq!(observe(engine).await, first, "it stays as it is until somebody asks");
    engine.ensure(&spec).await.expect("ensure again");
    let second = until(engine, |all| all.iter().any(has_exited)).await;
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].id, first[0].id);
}

pub async fn running_out_of_memory_is_told(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &[]);
    spec.process.command = rig.glutton();
    engine.ensure(&spec).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    assert!(matches!(ended[0].state, ReplicaState::Exited { out_of_memory: true, .. }), "{ended:?}");
}

pub async fn lower_generations_are_retired(rig: &dyn Rig) {
    let engine = rig.engine();
    let old = workload(rig, &["sleep", "1000"]);
    let new = WorkloadSpec { generation: old.generation.next(), release: ReleaseId::fresh(), ..old.clone() };
    let other = workload(rig, &["sleep", "1000"]);
    for spec in [&old, &new, &other] {
        engine.ensure(spec).await.expect("ensure");
    }
    until(engine, |all| all.len() == 3 && all.iter().all(is_running)).await;
    for _ in 0..2 {
        engine.retire(&old.id, new.generation).await.expect("retire");
        let left = observe(engine).await;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|r| r.workload == other.id || r.generation == new.generation));
    }
}

pub async fn one_replica_is_removed_in_whatever_state(rig: &dyn Rig) {
    let engine = rig.engine();
    let runs = workload(rig, &["sleep", "1000"]);
    let ends = workload(rig, &["true"]);
    engine.ensure(&runs).await.expect("ensure");
    engine.ensure(&ends).await.expect("ensure");
    let mut left = until(engine, |all| all.iter().any(has_exited) && all.iter().any(is_running)).await;
    while let Some(replica) = left.pop() {
        engine.remove(&replica.id).await.expect("removed");
        engine.remove(&replica.id).await.expect("already gone is success");
        let seen = observe(engine).await;
        assert_eq!(seen.len(), left.len(), "only that one: {seen:?}");
    }
    engine.remove("../../etc/passwd").await.expect("what never was is gone");
}

pub async fn logs_are_read_and_followed(rig: &dyn Rig) {
    let engine = rig.engine();
    engine.ensure(&workload(rig, &["echo", "one  line"])).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    for follow in [false, true] {
        let lines = engine.logs(&ended[0].id, 10, follow).await.expect("logs");
        let lines: Vec<_> = tokio::time::timeout(PATIENCE, lines.try_collect()).await.expect("it ends").expect("lines");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.text.as_str(), line.channel), ("one  line", Channel::Out));
        assert!(line.at.0 > 0);
    }
    assert_eq!(engine.logs(&ended[0].id, 0, false).await.expect("logs").count().await, 0, "no lines asked for");
    engine.ensure(&workload(rig, &["sleep", "1000"])).await.expect("ensure");
    let all = until(engine, |all| all.iter().any(is_running)).await;
    let runs = all.iter().find(|r| is_running(r)).expect("one runs");
    let mut lines = engine.logs(&runs.id, 10, true).await.expect("logs");
    engine.retire(&runs.workload, runs.generation.next()).await.expect("retire");
    let end = tokio::time::timeout(PATIENCE, lines.next()).await.expect("following ends with the replica");
    assert!(end.is_none(), "{end:?}");
}

pub async fn commands_run_inside_a_replica(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &["sleep", "1000"]);
    spec.variables.insert("COLOUR".into(), Secret::new("blue".into()));
    engine.ensure(&spec).await.expect("ensure");
    let running = until(engine, |all| all.iter().all(is_running) && !all.is_empty()).await;
    let words = |command: &[&str]| command.iter().map(ToString::to_string).collect::<Vec<_>>();
    let run = async |command: &[&str]| engine.exec_in(&running[0].id, &words(command), PATIENCE).await.expect("exec");
    let said = run(&["printenv", "COLOUR", "HYTHE_PROCESS"]).await;
    assert_eq!((said.code, said.tail.as_str()), (Some(0), "blue\nweb.1\n"));
    assert_eq!(run(&["false"]).await.code, Some(1));
    let processes = async || engine.usage(&running[0].id).await.expect("usage").processes;
    let (short, before) = (Duration::from_millis(300), processes().await);
    let slow = engine.exec_in(&running[0].id, &words(&["sleep", "20"]), short).await.expect("exec");
    assert_eq!(slow.code, None, "it has not ended in time");
    assert_eq!(processes().await, before, "and is gone");
    let gone = engine.exec_in(&"0".repeat(64), &words(&["true"]), PATIENCE).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");
    assert!(engine.exec_in("../x", &words(&["true"]), PATIENCE).await.is_err());
}
