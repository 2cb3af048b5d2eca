use super::super::volumes;
use super::*;

fn volume(app: &App, environment: &Environment, called: &str, created: i64) -> Volume {
    Volume {
        id: VolumeId::fresh(),
        organization_id: app.organization_id.clone(),
        space_id: app.space_id.clone(),
        environment_id: Some(environment.id.clone()),
        name: name(called),
        shared: false,
        origin: "shop/production".into(),
        state: VolumeState::Live,
        created_at: at(created),
        destroyed_at: None,
        kept_until: None,
    }
}

fn ids(all: &[Volume]) -> Vec<&str> {
    all.iter().map(|v| v.id.as_str()).collect()
}

#[tokio::test]
async fn a_volume_is_destroyed_restored_and_purged_once() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let first = volume(&world.shop, &env, "store", 1);
        volumes::insert(&mut tx, &first).await.expect("insert");
        tx.commit().await.expect("commit");

        let mut tx = store.begin().await.expect("begin");
        let twin = volumes::insert(&mut tx, &volume(&world.shop, &env, "store", 2)).await;
        assert_eq!(twin.expect_err("the name is taken").kind, crate::base::error::Kind::Exists);
        drop(tx);

        let mut tx = store.begin().await.expect("begin");
        assert!(volumes::destroy(&mut tx, &first.id, at(10), at(20)).await.expect("destroy"));
        assert!(!volumes::destroy(&mut tx, &first.id, at(11), at(21)).await.expect("destroy"), "it was done before");
        assert_eq!(volumes::find_live(&mut tx, &env.id, &first.name).await.expect("find"), None);
        let second = volume(&world.shop, &env, "store", 3);
        volumes::insert(&mut tx, &second).await.expect("a tombstone holds no name");
        assert_eq!(volumes::count_live(&mut tx, &env.id).await.expect("count"), 1);
        let all = volumes::of_environment(&mut tx, &Scope::Platform, &env.id).await.expect("of");
        assert_eq!(ids(&all), [second.id.as_str(), first.id.as_str()]);
        assert_eq!((all[1].destroyed_at, all[1].kept_until), (Some(at(10)), Some(at(20))));
        tx.commit().await.expect("commit");

        let mut tx = store.begin().await.expect("begin");
        let place = (&world.shop.space_id, &env.id);
        let clash = volumes::restore(&mut tx, &first.id, place, &first.name, "x").await;
        assert_eq!(clash.expect_err("the name is taken").kind, crate::base::error::Kind::Exists);
        drop(tx);
        let mut tx = store.begin().await.expect("begin");
        assert!(volumes::restore(&mut tx, &first.id, place, &name("again"), "shop/x").await.expect("restore"));
        assert!(!volumes::restore(&mut tx, &first.id, place, &name("more"), "x").await.expect("restore"));
        let back = volumes::find_live(&mut tx, &env.id, &name("again")).await.expect("find").expect("live");
        assert_eq!((back.id.as_str(), back.origin.as_str(), back.kept_until), (first.id.as_str(), "shop/x", None));

        assert!(volumes::destroy(&mut tx, &first.id, at(30), at(40)).await.expect("destroy"));
        assert!(volumes::begin_purge(&mut tx, at(39)).await.expect("purge").is_empty());
        assert!(!volumes::end_purge(&mut tx, &first.id).await.expect("end"), "only what is being purged");
        for _ in 0..2 {
            assert_eq!(ids(&volumes::begin_purge(&mut tx, at(40)).await.expect("purge")), [first.id.as_str()]);
        }
        assert!(!volumes::restore(&mut tx, &first.id, place, &name("late"), "x").await.expect("restore"), "too late");
        assert!(volumes::destroyed(&mut tx, &Scope::Platform).await.expect("destroyed").is_empty());
        assert!(volumes::end_purge(&mut tx, &first.id).await.expect("end"));
        assert!(!volumes::end_purge(&mut tx, &first.id).await.expect("end"));
    })
    .await;
}

#[tokio::test]
async fn what_an_app_leaves_is_seen_by_those_above_it_only() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let (shop, blog) = (
            environment(&mut tx, &world.shop, "production").await,
            environment(&mut tx, &world.blog, "production").await,
        );
        let (here, there) = (volume(&world.shop, &shop, "store", 1), volume(&world.blog, &blog, "store", 2));
        for volume in [&here, &there] {
            volumes::insert(&mut tx, volume).await.expect("insert");
        }
        let scope = MembershipScope::Organization;
        let owner = world.member(&mut tx, "owner", scope(world.north.id.clone())).await;
        let outsider = world.member(&mut tx, "outsider", scope(world.south.id.clone())).await;
        let red = world.member(&mut tx, "red", MembershipScope::Space(world.red.id.clone())).await;
        let guest = world.member(&mut tx, "guest", MembershipScope::App(world.shop.id.clone())).await;
        assert_eq!(ids(&volumes::of_environment(&mut tx, &guest, &shop.id).await.expect("of")), [here.id.as_str()]);
        assert!(volumes::of_environment(&mut tx, &guest, &blog.id).await.expect("of").is_empty());
        assert!(volumes::of_environment(&mut tx, &outsider, &shop.id).await.expect("of").is_empty());

        assert!(volumes::destroy(&mut tx, &there.id, at(5), at(9)).await.expect("destroy"));
        assert!(apps::delete(&mut tx, &Scope::Platform, &world.shop.id).await.expect("delete"));
        assert_eq!(volumes::bury(&mut tx, at(6), at(10)).await.expect("bury"), 1);
        assert_eq!(volumes::bury(&mut tx, at(7), at(11)).await.expect("bury"), 0, "once");
        let both = [there.id.as_str(), here.id.as_str()];
        assert_eq!(ids(&volumes::destroyed(&mut tx, &owner).await.expect("destroyed")), both);
        assert_eq!(ids(&volumes::destroyed(&mut tx, &red).await.expect("destroyed")), [here.id.as_str()]);
        for scope in [&outsider, &guest] {
            assert!(volumes::destroyed(&mut tx, scope).await.expect("destroyed").is_empty());
        }
        let left = volumes::destroyed(&mut tx, &Scope::Platform).await.expect("destroyed");
        assert_eq!((left[1].environment_id.as_ref(), left[1].kept_until), (None, Some(at(10))));
    })
    .await;
}
