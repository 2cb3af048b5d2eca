use super::*;

#[tokio::test]
async fn users_keys_tokens_and_memberships() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        assert_eq!(users::count(&mut tx).await.expect("count"), 0);
        let ann = world.user(&mut tx, "ann").await;
        let bob = User { id: UserId::fresh(), name: name("bob"), enabled: false, platform_admin: true, ..ann.clone() };
        users::insert(&mut tx, &bob).await.expect("insert");
        assert_eq!(users::count(&mut tx).await.expect("count"), 2);
        let found = users::find(&mut tx, &bob.id).await.expect("find").expect("bob");
        assert_eq!(format!("{found:?}"), format!("{bob:?}"));
        let found = users::find_by_name(&mut tx, &ann.name).await.expect("find").expect("ann");
        assert_eq!(format!("{found:?}"), format!("{ann:?}"));
        assert!(users::find(&mut tx, &UserId::fresh()).await.expect("find").is_none());

        let key = |n: i64, owner: &User| SshKey {
            id: SshKeyId::fresh(),
            user_id: owner.id.clone(),
            name: format!("key {n}"),
            fingerprint: format!("SHA256:{n}"),
            public_key: format!("ssh-ed25519 {n}"),
            created_at: at(n),
        };
        for key in [key(2, &ann), key(1, &ann), key(3, &bob)] {
            ssh_keys::insert(&mut tx, &key).await.expect("key");
        }
        let (found, owner) =
            ssh_keys::find_by_fingerprint(&mut tx, "SHA256:3").await.expect("find").expect("the key of bob");
        assert_eq!((found.name.as_str(), owner.id, owner.enabled), ("key 3", bob.id.clone(), false));
        let names = |keys: Vec<SshKey>| keys.into_iter().map(|key| key.name).collect::<Vec<_>>();
        assert_eq!(names(ssh_keys::list(&mut tx, &ann.id).await.expect("list")), ["key 1", "key 2"]);
        assert!(!ssh_keys::delete(&mut tx, &ann.id, "key 3").await.expect("delete"), "not hers");
        assert!(ssh_keys::delete(&mut tx, &ann.id, "key 1").await.expect("delete"));
        assert_eq!(names(ssh_keys::list(&mut tx, &ann.id).await.expect("list")), ["key 2"]);

        let token = ApiToken {
            id: TokenId::fresh(),
            user_id: ann.id.clone(),
            name: "laptop".into(),
            created_at: at(1),
            expires_at: Some(at(9)),
            last_used_at: None,
            grant: Some(Grant { app: world.shop.id.clone(), app_name: world.shop.name.clone(), role: Role::Viewer }),
        };
        tokens::insert(&mut tx, &token, "hash").await.expect("token");
        tokens::touch(&mut tx, &token.id, at(5)).await.expect("touch");
        let (found, owner) = tokens::find_by_hash(&mut tx, "hash").await.expect("find").expect("token");
        assert_eq!(format!("{found:?}"), format!("{:?}", ApiToken { last_used_at: Some(at(5)), ..token.clone() }));
        assert_eq!(owner.id, ann.id);
        assert_eq!(tokens::list(&mut tx, &ann.id).await.expect("list").len(), 1);
        assert!(tokens::list(&mut tx, &bob.id).await.expect("list").is_empty());
        assert!(!tokens::delete(&mut tx, &bob.id, "laptop").await.expect("delete"), "not his");
        assert!(tokens::delete(&mut tx, &ann.id, "laptop").await.expect("delete"));
        assert!(tokens::find_by_hash(&mut tx, "hash").await.expect("find").is_none());

        for (place, role) in [
            (MembershipScope::Organization(world.north.id.clone()), Role::Owner),
            (MembershipScope::Space(world.green.id.clone()), Role::Developer),
            (MembershipScope::App(world.shop.id.clone()), Role::Admin),
        ] {
            let membership = Membership { id: MembershipId::fresh(), user_id: ann.id.clone(), scope: place, role };
            memberships::insert(&mut tx, &membership).await.expect("membership");
        }
        let held = memberships::of_user(&mut tx, &ann.id).await.expect("memberships");
        assert_eq!(held.iter().map(|m| m.role).collect::<Vec<_>>(), [Role::Owner, Role::Developer, Role::Admin]);
        assert_eq!(held[1].scope, MembershipScope::Space(world.green.id.clone()));
        let twice = Membership { id: MembershipId::fresh(), ..held[0].clone() };
        assert!(memberships::insert(&mut tx, &twice).await.is_err(), "one role at one place");
    })
    .await;
}

#[tokio::test]
async fn settings_and_data_keys() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        assert_eq!(settings::get(&mut tx, "a").await.expect("get"), None);
        settings::set(&mut tx, "a", "1").await.expect("set");
        settings::set(&mut tx, "a", "2").await.expect("set");
        assert_eq!(settings::get(&mut tx, "a").await.expect("get").as_deref(), Some("2"));
        assert!(settings::delete(&mut tx, "a").await.expect("delete"));
        assert!(!settings::delete(&mut tx, "a").await.expect("delete"));

        assert!(data_keys::insert(&mut tx, "org_1", &[0, 1, 255]).await.expect("insert"));
        assert!(!data_keys::insert(&mut tx, "org_1", &[9]).await.expect("insert"), "the first stays");
        assert_eq!(data_keys::find(&mut tx, "org_1").await.expect("find"), Some(vec![0, 1, 255]));
        assert_eq!(data_keys::find(&mut tx, "org_2").await.expect("find"), None);
    })
    .await;
}
