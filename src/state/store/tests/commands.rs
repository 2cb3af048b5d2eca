use std::collections::BTreeMap;

use super::super::commands::{self, Hold};
use super::*;
use crate::base::error::Kind;

const ALL: Scope = Scope::Platform;
const A: Hold<'static> = Hold { holder: "node_a", until: Timestamp(100) };
const B: Hold<'static> = Hold { holder: "node_b", until: Timestamp(100) };

fn command(environment: &EnvironmentId, kind: CommandKind, created: i64) -> Command {
    Command {
        id: CommandId::fresh(),
        environment_id: environment.clone(),
        release_id: None,
        kind,
        process: Process {
            command: vec!["echo".into(), "it's \"quoted\" ü".into()],
            working_dir: Some("/app".into()),
            port: None,
        },
        state: CommandState::Queued,
        exit_code: None,
        reason: None,
        deployment_id: None,
        cron_id: None,
        due_at: None,
        created_by: None,
        created_at: at(created),
        started_at: None,
        finished_at: None,
    }
}

fn cron(environment: &EnvironmentId, called: &str, due: Option<i64>) -> Cron {
    Cron {
        id: CronId::fresh(),
        environment_id: environment.clone(),
        name: called.into(),
        schedule: "0 3 * * *".into(),
        command: "bin/tidy 'x'".into(),
        timezone: "Europe/Zurich".into(),
        origin: CronOrigin::Manifest,
        next_due: due.map(at),
        created_at: at(1),
    }
}

async fn deployment(tx: &mut Tx, environment: &EnvironmentId) -> DeploymentId {
    let deployment = Deployment {
        id: DeploymentId::fresh(),
        environment_id: environment.clone(),
        job_id: JobId::fresh(),
        kind: DeploymentKind::Push,
        release_id: None,
        state: DeploymentState::Running,
        reason: None,
        created_by: None,
        created_at: at(1),
        finished_at: None,
    };
    deployments::insert(tx, &deployment).await.expect("deployment");
    deployment.id
}

#[tokio::test]
async fn a_command_is_claimed_once_and_ends_once() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let place = environment(&mut tx, &world.shop, "production").await.id;
        let (older, newer) = (command(&place, CommandKind::Detached, 10), command(&place, CommandKind::Cron, 11));
        commands::insert(&mut tx, &newer, None).await.expect("insert");
        commands::insert(&mut tx, &older, None).await.expect("insert");
        let first = commands::claim(&mut tx, A, at(20)).await.expect("claim").expect("one");
        assert_eq!((&first.id, first.state, first.started_at), (&older.id, CommandState::Running, Some(at(20))));
        assert_eq!((first.process, first.created_at), (older.process.clone(), at(10)));
        let second = commands::claim(&mut tx, B, at(21)).await.expect("claim").expect("the other");
        assert_eq!(second.id, newer.id);
        assert!(commands::claim(&mut tx, A, at(22)).await.expect("claim").is_none());
        let mine = commands::held(&mut tx, "node_a").await.expect("held");
        assert_eq!(mine.iter().map(|c| &c.id).collect::<Vec<_>>(), [&older.id]);
        assert_eq!(commands::unfinished(&mut tx, &place).await.expect("count"), 2);
        // One holder goes on, the other says nothing any more.
        commands::renew(&mut tx, Hold { until: at(300), ..A }).await.expect("renew");
        let forsaken = commands::forsaken(&mut tx, at(200)).await.expect("forsaken");
        assert_eq!(forsaken.iter().map(|c| &c.id).collect::<Vec<_>>(), [&newer.id]);
        let (state, code, why) = (CommandState::Failed, Some(3), Some("it exited with 3"));
        assert!(commands::finish(&mut tx, &older.id, state, code, why, at(30)).await.expect("finish"));
        let again = commands::finish(&mut tx, &older.id, CommandState::Succeeded, Some(0), None, at(31)).await;
        assert!(!again.expect("finish"), "it has ended");
        let found = commands::find(&mut tx, &ALL, &older.id).await.expect("find").expect("there");
        assert_eq!((found.state, found.exit_code, found.finished_at), (state, code, Some(at(30))));
        assert_eq!(found.reason.as_deref(), why);
        assert!(commands::held(&mut tx, "node_a").await.expect("held").is_empty());
    })
    .await;
}

#[tokio::test]
async fn commands_are_found_through_a_scope() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let place = environment(&mut tx, &world.shop, "production").await.id;
        let one = command(&place, CommandKind::Run, 10);
        commands::insert(&mut tx, &one, Some(A)).await.expect("insert");
        let near = world.member(&mut tx, "near", MembershipScope::App(world.shop.id.clone())).await;
        let far = world.member(&mut tx, "far", MembershipScope::App(world.blog.id.clone())).await;
        for (scope, count) in [(&ALL, 1), (&near, 1), (&far, 0)] {
            assert_eq!(commands::find(&mut tx, scope, &one.id).await.expect("find").is_some(), count == 1);
            assert_eq!(commands::list(&mut tx, scope, &place, 10).await.expect("list").len(), count);
        }
    })
    .await;
}

#[tokio::test]
async fn a_deployment_has_one_command_of_a_kind_and_keeps_it() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let place = environment(&mut tx, &world.shop, "production").await.id;
        let deployment = deployment(&mut tx, &place).await;
        let of = |kind, created| Command {
            deployment_id: Some(deployment.clone()),
            state: CommandState::Running,
            ..command(&place, kind, created)
        };
        commands::insert(&mut tx, &of(CommandKind::Release, 12), None).await.expect("insert");
        commands::insert(&mut tx, &of(CommandKind::Predeploy, 11), None).await.expect("insert");
        let ran = commands::of_deployment(&mut tx, &deployment).await.expect("commands");
        assert_eq!(ran.iter().map(|c| c.kind).collect::<Vec<_>>(), [CommandKind::Predeploy, CommandKind::Release]);
        assert_eq!(commands::unfinished(&mut tx, &place).await.expect("count"), 0, "those of deployments apart");
        assert!(commands::left_behind(&mut tx).await.expect("left").is_empty());
        deployments::finish(&mut tx, &deployment, DeploymentState::Failed, None, at(20)).await.expect("finish");
        assert_eq!(commands::left_behind(&mut tx).await.expect("left").len(), 2);
        for command in ran {
            commands::finish(&mut tx, &command.id, CommandState::Succeeded, Some(0), None, at(21)).await.expect("end");
        }
        assert!(commands::left_behind(&mut tx).await.expect("left").is_empty());
        let gone = commands::prune(&mut tx, &place, CommandKind::Release, 0).await.expect("prune");
        assert!(gone.is_empty(), "they stay with the deployment: {gone:?}");
        tx.commit().await.expect("commit");
        let mut tx = store.begin().await.expect("begin");
        let twice = commands::insert(&mut tx, &of(CommandKind::Release, 13), None).await.expect_err("one has it");
        assert_eq!(twice.kind, Kind::Exists);
    })
    .await;
}

#[tokio::test]
async fn the_newest_final_commands_of_a_kind_are_kept() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let place = environment(&mut tx, &world.shop, "production").await.id;
        let mut made = BTreeMap::new();
        for created in 1..=5 {
            let one = command(&place, CommandKind::Detached, created);
            commands::insert(&mut tx, &one, None).await.expect("insert");
            if created != 2 {
                commands::finish(&mut tx, &one.id, CommandState::Succeeded, Some(0), None, at(9)).await.expect("end");
            }
            made.insert(created, one.id);
        }
        commands::insert(&mut tx, &command(&place, CommandKind::Cron, 1), None).await.expect("insert");
        let mut gone = commands::prune(&mut tx, &place, CommandKind::Detached, 2).await.expect("prune");
        gone.sort();
        assert_eq!(gone, [made[&1].clone(), made[&3].clone()], "the oldest, and none that has not ended");
        assert_eq!(commands::list(&mut tx, &ALL, &place, 10).await.expect("list").len(), 4);
        assert_eq!(commands::list(&mut tx, &ALL, &place, 1).await.expect("list")[0].id, made[&5], "newest first");
    })
    .await;
}

#[tokio::test]
async fn a_time_that_is_due_is_seen_to_once() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let place = environment(&mut tx, &world.shop, "production").await.id;
        let (late, soon, never) = (cron(&place, "b", Some(10)), cron(&place, "a", Some(50)), cron(&place, "c", None));
        assert_eq!(crons::next(&mut tx).await.expect("next"), None);
        for one in [&late, &soon, &never] {
            crons::insert(&mut tx, one).await.expect("insert");
        }
        assert_eq!(crons::of_environment(&mut tx, &place).await.expect("list"), [soon.clone(), late.clone(), never]);
        assert_eq!(crons::next(&mut tx).await.expect("next"), Some(at(10)));
        assert_eq!(crons::due(&mut tx, at(10)).await.expect("due"), std::slice::from_ref(&late));
        assert!(crons::advance(&mut tx, &late.id, at(10), Some(at(60))).await.expect("advance"));
        assert!(!crons::advance(&mut tx, &late.id, at(10), Some(at(60))).await.expect("advance"), "another was first");
        let run =
            Command { cron_id: Some(late.id.clone()), due_at: Some(at(10)), ..command(&place, CommandKind::Cron, 11) };
        commands::insert(&mut tx, &run, None).await.expect("insert");
        assert!(commands::cron_is_busy(&mut tx, &late.id).await.expect("busy"));
        assert!(!commands::cron_is_busy(&mut tx, &soon.id).await.expect("busy"));
        let runs = commands::of_cron(&mut tx, &late.id, 5).await.expect("runs");
        assert_eq!((runs.len(), runs[0].due_at), (1, Some(at(10))));
        let changed = Cron { schedule: "@daily".into(), next_due: Some(at(70)), ..late.clone() };
        crons::update(&mut tx, &changed).await.expect("update");
        assert_eq!(crons::by_name(&mut tx, &place, "b").await.expect("find"), Some(changed));
        tx.commit().await.expect("commit");
        let mut tx = store.begin().await.expect("begin");
        let twice = Command { id: CommandId::fresh(), ..run.clone() };
        assert_eq!(commands::insert(&mut tx, &twice, None).await.expect_err("one has it").kind, Kind::Exists);
        drop(tx);
        let mut tx = store.begin().await.expect("begin");
        let taken = crons::insert(&mut tx, &cron(&place, "b", None)).await.expect_err("the name is taken");
        assert_eq!(taken.kind, Kind::Exists);
        drop(tx);
        let mut tx = store.begin().await.expect("begin");
        crons::delete(&mut tx, &late.id).await.expect("delete");
        let kept = commands::find(&mut tx, &ALL, &run.id).await.expect("find").expect("its runs stay");
        assert_eq!(kept.cron_id, None);
    })
    .await;
}
