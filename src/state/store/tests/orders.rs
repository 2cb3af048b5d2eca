use super::super::orders::{self, Choice, Draft};
use super::*;
use crate::base::error::Kind;

#[tokio::test]
async fn an_order_is_one_for_a_name_goes_on_where_it_was_and_goes_with_its_environment() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let shop = environment(&mut tx, &world.shop, "production").await;
        let order = |of: Option<&Environment>, text: &str, next: i64| CertificateOrder {
            id: OrderId::fresh(),
            environment_id: of.map(|of| of.id.clone()),
            name: name(text),
            directory: None,
            url: None,
            attempts: 0,
            error: None,
            failed_at: None,
            next_at: at(next),
            created_at: at(1),
        };
        let (own, of_shop) = (order(None, "*.apps.example", 5), order(Some(&shop), "a.example", 2));
        for each in [&own, &of_shop] {
            orders::insert(&mut tx, each).await.expect("insert");
        }
        tx.commit().await.expect("commit");
        let mut tx = store.begin().await.expect("begin");
        let again = orders::insert(&mut tx, &order(Some(&shop), "a.example", 9)).await.expect_err("one for a name");
        assert_eq!(again.kind, Kind::Exists);
        drop(tx);

        let mut tx = store.begin().await.expect("begin");
        assert_eq!(orders::all(&mut tx).await.expect("all"), [of_shop.clone(), own.clone()]);
        assert_eq!(orders::draft(&mut tx, &of_shop.id).await.expect("draft"), None);
        let draft =
            Draft { directory: "https://ca/".into(), url: Some("https://ca/1".into()), sealed: vec![0, 1, 255] };
        assert!(orders::keep(&mut tx, &of_shop.id, &draft).await.expect("keep"));
        assert_eq!(orders::draft(&mut tx, &of_shop.id).await.expect("draft"), Some(draft.clone()));
        let failed = CertificateOrder {
            attempts: 3,
            error: Some("no\0 answer".into()),
            failed_at: Some(at(7)),
            next_at: at(90),
            ..of_shop.clone()
        };
        assert!(orders::fail(&mut tx, &failed, true).await.expect("fail"));
        assert_eq!(orders::draft(&mut tx, &of_shop.id).await.expect("draft"), Some(draft), "it may be gone on with");
        assert!(orders::fail(&mut tx, &failed, false).await.expect("fail"));
        assert_eq!(orders::draft(&mut tx, &of_shop.id).await.expect("draft"), None);
        orders::hurry(&mut tx, &shop.id, Some(&name("b.example")), at(8)).await.expect("hurry");
        let found = orders::of_name(&mut tx, &of_shop.name).await.expect("find").expect("there");
        assert_eq!((found.attempts, found.error.as_deref(), found.next_at), (3, Some("no answer"), at(90)));
        orders::hurry(&mut tx, &shop.id, None, at(8)).await.expect("hurry");
        assert_eq!(orders::of_name(&mut tx, &of_shop.name).await.expect("find").expect("there").next_at, at(8));

        orders::choose(&mut tx, &shop.id, Some(&of_shop.name), false).await.expect("choose");
        orders::choose(&mut tx, &shop.id, Some(&of_shop.name), true).await.expect("choose");
        let said =
            |name: Option<&DomainName>, ordered| Choice { environment: shop.id.clone(), name: name.cloned(), ordered };
        assert_eq!(orders::choices(&mut tx).await.expect("choices"), [said(Some(&of_shop.name), true)]);
        orders::choose(&mut tx, &shop.id, None, false).await.expect("choose");
        assert_eq!(orders::choices(&mut tx).await.expect("choices"), [said(None, false)], "all goes for each");

        orders::insert_account(&mut tx, "https://ca/", &[7], at(1)).await.expect("account");
        orders::register(&mut tx, "https://ca/", Some("https://ca/acct/1")).await.expect("registered");
        let account = orders::account(&mut tx, "https://ca/").await.expect("find").expect("there");
        assert_eq!((account.sealed, account.url.as_deref()), (vec![7], Some("https://ca/acct/1")));
        assert!(orders::account(&mut tx, "https://other/").await.expect("find").is_none());

        assert!(apps::delete(&mut tx, &Scope::Platform, &world.shop.id).await.expect("delete"));
        assert!(orders::choices(&mut tx).await.expect("choices").is_empty());
        assert_eq!(orders::all(&mut tx).await.expect("all"), std::slice::from_ref(&own));
        assert!(
            !orders::keep(&mut tx, &of_shop.id, &Draft { directory: "x".into(), url: None, sealed: vec![] })
                .await
                .expect("keep")
        );
        assert!(orders::delete(&mut tx, &own.id).await.expect("delete"));
        tx.commit().await.expect("commit");
    })
    .await;
}
