use super::super::drains;
use super::*;

#[tokio::test]
async fn drains_are_seen_and_removed_through_their_app_only() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let drain = |environment_id: Option<EnvironmentId>, created: i64| Drain {
            id: DrainId::fresh(),
            app_id: world.shop.id.clone(),
            environment_id,
            shown: "syslog://logs.example.com:514".into(),
            created_at: at(created),
        };
        let (whole, one) = (drain(None, 1), drain(Some(env.id.clone()), 2));
        drains::insert(&mut tx, &whole, &[0, 255]).await.expect("insert");
        drains::insert(&mut tx, &one, &[1]).await.expect("insert");
        let outsider = world.member(&mut tx, "outsider", MembershipScope::Space(world.green.id.clone())).await;
        let viewer = world.member(&mut tx, "viewer", MembershipScope::App(world.shop.id.clone())).await;
        let ids = |all: Vec<Drain>| all.into_iter().map(|d| d.id).collect::<Vec<_>>();
        let seen = drains::of_app(&mut tx, &viewer, &world.shop.id).await.expect("of");
        assert_eq!(ids(seen), [whole.id.clone(), one.id.clone()]);
        assert!(drains::of_app(&mut tx, &outsider, &world.shop.id).await.expect("of").is_empty());
        let all = drains::all(&mut tx).await.expect("all");
        assert_eq!(all.iter().map(|(_, sealed)| sealed.clone()).collect::<Vec<_>>(), [vec![0, 255], vec![1]]);
        assert!(!drains::delete(&mut tx, &outsider, &world.shop.id, &whole.id).await.expect("delete"));
        assert!(!drains::delete(&mut tx, &viewer, &world.blog.id, &whole.id).await.expect("delete"));
        assert!(drains::delete(&mut tx, &viewer, &world.shop.id, &whole.id).await.expect("delete"));
        assert!(apps::delete(&mut tx, &Scope::Platform, &world.shop.id).await.expect("delete"));
        assert!(drains::all(&mut tx).await.expect("all").is_empty());
    })
    .await;
}
