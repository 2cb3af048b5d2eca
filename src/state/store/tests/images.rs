use super::super::images;
use super::*;

fn digest(seed: char) -> ContentDigest {
    name(&format!("sha256:{}", seed.to_string().repeat(64)))
}

fn blob(seed: char, used: i64) -> PushedBlob {
    PushedBlob { digest: digest(seed), blob: digest(seed), bytes: 10, used_at: at(used) }
}

fn manifest(seed: char, subject: Option<char>, used: i64) -> PushedManifest {
    let facts = ManifestFacts {
        artifact_type: Some("a/b".into()),
        annotations: std::iter::once(("k".to_owned(), "v\u{0}w".to_owned())).collect(),
        blobs: vec![digest('a')],
        manifests: Vec::new(),
    };
    PushedManifest {
        digest: digest(seed),
        blob: digest(seed),
        bytes: 5,
        media_type: "x/y".into(),
        subject: subject.map(digest),
        facts,
        used_at: at(used),
    }
}

fn tag(called: &str, seed: char, moved: i64) -> PushedTag {
    PushedTag { name: name(called), digest: digest(seed), moved_at: at(moved) }
}

#[tokio::test]
async fn tags_name_manifests_that_are_there_and_go_with_them() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let app = &world.shop.id;
        images::put_manifest(&mut tx, app, &manifest('b', None, 1)).await.expect("put");
        images::put_manifest(&mut tx, app, &manifest('c', Some('b'), 1)).await.expect("put");
        images::set_tag(&mut tx, app, &tag("Latest.1", 'b', 2)).await.expect("set");
        tx.commit().await.expect("commit");
        let mut tx = store.begin().await.expect("begin");
        images::set_tag(&mut tx, app, &tag("x", 'f', 2)).await.expect_err("no such manifest");
        drop(tx);

        let mut tx = store.begin().await.expect("begin");
        let found = images::manifest(&mut tx, app, &digest('b')).await.expect("find").expect("there");
        assert_eq!(found.facts.annotations["k"], "v\0w", "free text comes back as it was");
        assert_eq!(images::referrers(&mut tx, app, &digest('b')).await.expect("of")[0].digest, digest('c'));
        assert!(images::manifest(&mut tx, &world.blog.id, &digest('b')).await.expect("find").is_none());
        assert!(images::tag(&mut tx, app, &name("latest.1")).await.expect("find").is_none(), "case matters");
        images::set_tag(&mut tx, app, &tag("Latest.1", 'c', 7)).await.expect("moved");
        let left = images::manifest(&mut tx, app, &digest('b')).await.expect("find").expect("there");
        assert_eq!(left.used_at, at(7), "the tag named it until then");
        assert!(!images::expire_manifest(&mut tx, app, &digest('c'), at(100)).await.expect("expire"), "tagged");
        assert!(!images::expire_manifest(&mut tx, app, &digest('b'), at(7)).await.expect("expire"), "young");
        assert!(images::expire_manifest(&mut tx, app, &digest('b'), at(8)).await.expect("expire"));
        assert_eq!(images::tags(&mut tx, app).await.expect("tags").len(), 1);
        assert_eq!(images::count_manifests(&mut tx, app).await.expect("count"), 1);
        assert!(images::delete_manifest(&mut tx, app, &digest('c')).await.expect("delete"));
        assert!(images::tags(&mut tx, app).await.expect("tags").is_empty());
        assert!(!images::delete_tag(&mut tx, app, &name("Latest.1"), at(9)).await.expect("delete"));
    })
    .await;
}

#[tokio::test]
async fn blobs_are_of_an_app_and_seen_by_its_people() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let app = &world.shop.id;
        for used in [3, 4] {
            images::put_blob(&mut tx, app, &blob('a', used)).await.expect("put");
        }
        assert_eq!(images::blobs(&mut tx, app).await.expect("blobs"), [blob('a', 4)]);
        images::put_manifest(&mut tx, app, &manifest('b', None, 1)).await.expect("put");
        assert_eq!(images::bytes(&mut tx, app).await.expect("bytes"), 15);
        assert_eq!(images::bytes(&mut tx, &world.blog.id).await.expect("bytes"), 0);
        assert_eq!(images::apps(&mut tx).await.expect("apps"), std::slice::from_ref(app));
        let kept = images::kept(&mut tx).await.expect("kept");
        assert_eq!(kept.len(), 2);
        let guest = world.member(&mut tx, "guest", MembershipScope::App(world.shop.id.clone())).await;
        let outsider = world.member(&mut tx, "outsider", MembershipScope::Organization(world.south.id.clone())).await;
        for (scope, found) in [(&guest, true), (&outsider, false), (&Scope::Platform, true)] {
            let blob = images::blob_anywhere(&mut tx, scope, &digest('a')).await.expect("find");
            assert_eq!(blob.is_some(), found);
        }
        assert!(images::use_blob(&mut tx, app, &digest('a'), at(9)).await.expect("use"));
        assert!(!images::use_blob(&mut tx, &world.blog.id, &digest('a'), at(9)).await.expect("use"));
        assert!(images::use_manifest(&mut tx, app, &digest('b'), at(9)).await.expect("use"));
        assert!(!images::expire_blob(&mut tx, app, &digest('a'), at(9)).await.expect("expire"));
        assert!(images::expire_blob(&mut tx, app, &digest('a'), at(10)).await.expect("expire"));
        images::put_blob(&mut tx, app, &blob('a', 1)).await.expect("put");
        assert!(images::delete_blob(&mut tx, app, &digest('a')).await.expect("delete"));
        assert!(images::blob(&mut tx, app, &digest('a')).await.expect("find").is_none());
        images::put_blob(&mut tx, app, &blob('a', 1)).await.expect("put");
        assert!(apps::delete(&mut tx, &Scope::Platform, app).await.expect("delete"));
        assert!(images::kept(&mut tx).await.expect("kept").is_empty(), "it goes with its app");
    })
    .await;
}
