//! Rows only through a scope: what each of several callers sees of the same world.

use super::*;

async fn apps_seen(tx: &mut Tx, world: &World, scope: &Scope) -> Vec<&'static str> {
    let mut seen = Vec::new();
    for (label, app) in [("shop", &world.shop), ("blog", &world.blog), ("other shop", &world.other_shop)] {
        if let Some(found) = apps::find(tx, scope, &app.id).await.expect("find") {
            assert_eq!(found.id, app.id);
            seen.push(label);
        }
    }
    seen
}

async fn above_seen(tx: &mut Tx, world: &World, scope: &Scope) -> Vec<&'static str> {
    let mut seen = Vec::new();
    for (label, organization) in [("north", &world.north), ("south", &world.south)] {
        let by_name = organizations::find_by_name(tx, scope, &organization.name).await.expect("find");
        let by_id = organizations::find(tx, scope, &organization.id).await.expect("find");
        assert_eq!(by_name.is_some(), by_id.is_some());
        seen.extend(by_id.map(|_| label));
    }
    for (label, space) in [("red", &world.red), ("blue", &world.blue), ("green", &world.green)] {
        let by_id = spaces::find(tx, scope, &space.id).await.expect("find");
        let by_name = spaces::find_by_name(tx, scope, &space.organization_id, &space.name).await.expect("find");
        assert_eq!(by_name.is_some(), by_id.is_some());
        seen.extend(by_id.map(|_| label));
    }
    seen
}

#[tokio::test]
async fn a_membership_reaches_its_place_and_all_below_and_shows_what_it_lies_in() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let w = World::insert(&mut tx).await;
        let at_north = w.member(&mut tx, "norah", MembershipScope::Organization(w.north.id.clone())).await;
        let at_blue = w.member(&mut tx, "blair", MembershipScope::Space(w.blue.id.clone())).await;
        let at_shop = w.member(&mut tx, "sham", MembershipScope::App(w.shop.id.clone())).await;
        let nowhere = Scope::User(w.user(&mut tx, "norman").await.id);
        let gone = Scope::User(UserId::fresh());
        let one = Scope::App(w.blog.id.clone());
        let no_more = Scope::App(crate::base::model::AppId::fresh());
        let cases: [(&Scope, &[&str], &[&str]); 8] = [
            (&one, &["blog"], &["north", "blue"]),
            (&no_more, &[], &[]),
            (&Scope::Platform, &["shop", "blog", "other shop"], &["north", "south", "red", "blue", "green"]),
            (&at_north, &["shop", "blog"], &["north", "red", "blue"]),
            (&at_blue, &["blog"], &["north", "blue"]),
            (&at_shop, &["shop"], &["north", "red"]),
            (&nowhere, &[], &[]),
            (&gone, &[], &[]),
        ];
        for (scope, apps, above) in cases {
            assert_eq!(apps_seen(&mut tx, &w, scope).await, apps, "{scope:?}");
            assert_eq!(above_seen(&mut tx, &w, scope).await, above, "{scope:?}");
            let listed = apps::list(&mut tx, scope, None, 10).await.expect("list");
            assert_eq!(listed.len(), apps.len());
            let first = organizations::first_of_customer(&mut tx, scope, &w.customer.id).await.expect("first");
            assert_eq!(first.map(|o| o.name.to_string()), above.first().map(|n| (*n).to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_renames_or_deletes_what_they_do_not_see() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let w = World::insert(&mut tx).await;
        let south = w.member(&mut tx, "sue", MembershipScope::Organization(w.south.id.clone())).await;
        assert!(!apps::rename(&mut tx, &south, &w.shop.id, &name("mine")).await.expect("rename"));
        assert!(!apps::delete(&mut tx, &south, &w.shop.id).await.expect("delete"));
        assert!(apps::rename(&mut tx, &south, &w.other_shop.id, &name("mine")).await.expect("rename"));
        assert!(apps::delete(&mut tx, &south, &w.other_shop.id).await.expect("delete"));
        assert!(apps::find(&mut tx, &Scope::Platform, &w.other_shop.id).await.expect("find").is_none());
        assert!(apps::find(&mut tx, &Scope::Platform, &w.shop.id).await.expect("find").is_some());
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_an_app_is_seen_with_it_only() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let w = World::insert(&mut tx).await;
        let env = environment(&mut tx, &w.shop, "production").await;
        let (build, release, deployment) = super::delivery::delivered(&mut tx, &env).await;
        let inside = w.member(&mut tx, "ida", MembershipScope::Space(w.red.id.clone())).await;
        let outside = w.member(&mut tx, "otto", MembershipScope::Space(w.blue.id.clone())).await;
        for (scope, sees) in [(&Scope::Platform, true), (&inside, true), (&outside, false)] {
            let tx = &mut tx;
            assert_eq!(environments::find(tx, scope, &env.id).await.expect("find").is_some(), sees);
            let by_name = environments::find_by_name(tx, scope, &w.shop.id, &env.name).await.expect("find");
            assert_eq!(by_name.is_some(), sees);
            assert_eq!(environments::of_app(tx, scope, &w.shop.id).await.expect("list").len(), usize::from(sees));
            assert_eq!(builds::find(tx, scope, &build.id).await.expect("find").is_some(), sees);
            assert_eq!(builds::list(tx, scope, &w.shop.id, 9).await.expect("list").len(), usize::from(sees));
            assert_eq!(releases::find(tx, scope, &release.id).await.expect("find").is_some(), sees);
            assert_eq!(deployments::find(tx, scope, &deployment.id).await.expect("find").is_some(), sees);
            assert_eq!(deployments::list(tx, scope, &env.id, 9).await.expect("list").len(), usize::from(sees));
        }
    })
    .await;
}

#[tokio::test]
async fn names_are_found_in_and_across_organizations_and_pages_lose_none() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let w = World::insert(&mut tx).await;
        let (all, shop) = (Scope::Platform, name::<AppName>("shop"));
        let ids = |apps: &[App]| apps.iter().map(|a| a.id.clone()).collect::<Vec<_>>();
        let both = apps::find_by_name(&mut tx, &all, None, &shop).await.expect("find");
        assert_eq!(ids(&both), [w.shop.id.clone(), w.other_shop.id.clone()]);
        let south = apps::find_by_name(&mut tx, &all, Some(&w.south.name), &shop).await.expect("find");
        assert_eq!(ids(&south), std::slice::from_ref(&w.other_shop.id));
        let nobody = apps::find_by_name(&mut tx, &all, Some(&name("nobody")), &shop).await.expect("find");
        assert!(nobody.is_empty());

        // `-` sorts before letters and digits everywhere, whatever the locale.
        for called in ["shop-2", "shopa", "a-b", "ab"] {
            app(&mut tx, &w.red, called).await;
        }
        let (mut after, mut pages) = (None, Vec::new());
        loop {
            let page = apps::list(&mut tx, &all, after.as_ref(), 2).await.expect("list");
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            pages.push(page.iter().map(|a| a.name.to_string()).collect::<Vec<_>>());
        }
        assert_eq!(pages, [vec!["a-b", "ab"], vec!["blog", "shop", "shop"], vec!["shop-2", "shopa"]]);
    })
    .await;
}
