use super::super::events::{self, NewEvent, Of, Subject};
use super::*;

const ALL: Scope = Scope::Platform;

fn new<'a>(of: Subject<'a>, millis: i64, once: Option<&str>) -> NewEvent<'a> {
    NewEvent {
        at: at(millis),
        of,
        happened: Happened::VariablesChanged { set: vec!["A".into()], unset: vec![], version: millis },
        subject: "pro\0duction".into(),
        actor: None,
        cause: None,
        once: once.map(str::to_owned),
    }
}

#[tokio::test]
async fn events_are_told_once_with_their_cause_and_seen_by_who_may() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let staging = environment(&mut tx, &world.shop, "staging").await;
        let blog = environment(&mut tx, &world.blog, "production").await;
        let ann = world.user(&mut tx, "ann").await;
        let of = Subject::Environment(&env.id);
        let first = NewEvent { actor: Some(&ann.id), ..new(of, 1, Some("a")) };
        assert!(events::insert(&mut tx, &first).await.expect("insert"));
        assert!(!events::insert(&mut tx, &first).await.expect("told before"));
        let second = NewEvent { cause: Some("a".into()), ..new(of, 2, None) };
        assert!(events::insert(&mut tx, &second).await.expect("insert"));
        assert!(events::insert(&mut tx, &second).await.expect("insert"), "without a name as often as told");
        assert!(events::insert(&mut tx, &new(Subject::App(&world.shop.id), 3, None)).await.expect("insert"));
        assert!(events::insert(&mut tx, &new(Subject::Environment(&staging.id), 4, None)).await.expect("insert"));
        assert!(events::insert(&mut tx, &new(Subject::Environment(&blog.id), 5, None)).await.expect("insert"));
        let nowhere = EnvironmentId::fresh();
        assert!(!events::insert(&mut tx, &new(Subject::Environment(&nowhere), 6, None)).await.expect("gone"));

        let times = |all: &[Event]| all.iter().map(|e| e.at.0).collect::<Vec<_>>();
        let shop = Of { app: Some(world.shop.id.clone()), environment: None };
        let production = Of { environment: Some(env.id.clone()), ..shop.clone() };
        let all = events::since(&mut tx, &ALL, &shop, None, 10).await.expect("since");
        assert_eq!(times(&all), [1, 2, 2, 3, 4]);
        assert_eq!(times(&events::since(&mut tx, &ALL, &production, None, 10).await.expect("since")), [1, 2, 2, 3]);
        assert_eq!(times(&events::since(&mut tx, &ALL, &shop, Some(&all[2].id), 1).await.expect("since")), [3]);
        assert_eq!(times(&events::newest(&mut tx, &ALL, &shop, None, 2).await.expect("newest")), [4, 3]);
        let page = events::newest(&mut tx, &ALL, &shop, Some(&all[3].id), 10).await.expect("newest");
        assert_eq!(times(&page), [2, 2, 1]);
        assert_eq!(all[0].actor_name, Some(ann.name.clone()));
        assert_eq!((&all[1].cause, &all[0].cause), (&Some(all[0].id.clone()), &None));
        assert_eq!((all[0].subject.as_str(), all[0].happened.kind()), ("production", "variables.changed"));
        assert_eq!(all[3].environment_id, None);

        let viewer = world.member(&mut tx, "viewer", MembershipScope::App(world.shop.id.clone())).await;
        let outsider = world.member(&mut tx, "outsider", MembershipScope::Space(world.green.id.clone())).await;
        let anything = Of::default();
        assert_eq!(events::newest(&mut tx, &viewer, &anything, None, 10).await.expect("newest").len(), 5);
        assert_eq!(events::newest(&mut tx, &ALL, &anything, None, 10).await.expect("newest").len(), 6);
        for of in [&anything, &shop, &production] {
            assert!(events::newest(&mut tx, &outsider, of, None, 10).await.expect("newest").is_empty());
            assert!(events::since(&mut tx, &outsider, of, None, 10).await.expect("since").is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn events_are_purged_by_age_and_number_and_go_with_their_app() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let blog = environment(&mut tx, &world.blog, "production").await;
        for millis in 1..=10 {
            events::insert(&mut tx, &new(Subject::Environment(&env.id), millis, None)).await.expect("insert");
        }
        events::insert(&mut tx, &new(Subject::Environment(&blog.id), 2, None)).await.expect("insert");
        assert_eq!(events::purge(&mut tx, at(3), 5).await.expect("purge"), 6);
        let left = events::since(&mut tx, &ALL, &Of::default(), None, 20).await.expect("since");
        assert_eq!(left.iter().map(|e| e.at.0).collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
        assert!(apps::delete(&mut tx, &ALL, &world.shop.id).await.expect("delete"));
        assert!(events::since(&mut tx, &ALL, &Of::default(), None, 20).await.expect("since").is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_last_word_about_each_route_is_found() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let blog = environment(&mut tx, &world.blog, "production").await;
        let route = |rollout: i64| Routed { rollout, ..Routed::default() };
        for (of, happened) in [
            (&env.id, Happened::RoutePublished(route(1))),
            (&blog.id, Happened::RoutePublished(route(2))),
            (&env.id, Happened::RouteWithdrawn(route(3))),
            (&env.id, Happened::Restarted {}),
        ] {
            let event = NewEvent { happened, ..new(Subject::Environment(of), 1, None) };
            assert!(events::insert(&mut tx, &event).await.expect("insert"));
        }
        let mut last = events::last_routes(&mut tx).await.expect("last");
        last.sort_by_key(|event| event.environment_id == Some(blog.id.clone()));
        let last: Vec<_> = last.into_iter().map(|event| event.happened).collect();
        assert_eq!(last, [Happened::RouteWithdrawn(route(3)), Happened::RoutePublished(route(2))]);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_tells_its_beginning_and_its_end() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let deployment = Deployment {
            id: DeploymentId::fresh(),
            environment_id: env.id.clone(),
            job_id: JobId::fresh(),
            kind: DeploymentKind::Push,
            release_id: None,
            state: DeploymentState::Running,
            reason: None,
            created_by: None,
            created_at: at(1),
            finished_at: None,
        };
        deployments::insert(&mut tx, &deployment).await.expect("insert");
        let (failed, why) = (DeploymentState::Failed, Some("build failed: npm exited 1\nmore"));
        for _ in 0..2 {
            deployments::finish(&mut tx, &deployment.id, failed, why, at(2)).await.expect("finish");
        }
        let told = events::since(&mut tx, &ALL, &Of::default(), None, 9).await.expect("since");
        let texts: Vec<_> = told.iter().map(|e| e.happened.text()).collect();
        assert_eq!(texts, ["deployment of a push started", "deployment failed: build failed: npm exited 1"]);
        assert_eq!(told[1].cause, Some(told[0].id.clone()));
    })
    .await;
}
