use super::super::domains;
use super::*;
use crate::base::error::Kind;

#[tokio::test]
async fn a_domain_is_claimed_by_many_and_proven_by_one() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let (shop, blog) = (
            environment(&mut tx, &world.shop, "production").await,
            environment(&mut tx, &world.blog, "production").await,
        );
        let domain = |of: &Environment, text: &str, created: i64| Domain {
            id: DomainId::fresh(),
            app_id: of.app_id.clone(),
            environment_id: of.id.clone(),
            name: name(text),
            token: "token".into(),
            proof: None,
            created_at: at(created),
        };
        let (a, b, wild) =
            (domain(&shop, "a.example", 1), domain(&blog, "a.example", 2), domain(&shop, "*.example.com", 3));
        for each in [&a, &b, &wild] {
            domains::insert(&mut tx, each).await.expect("insert");
        }
        tx.commit().await.expect("commit");
        let mut tx = store.begin().await.expect("begin");
        let again = domains::insert(&mut tx, &domain(&shop, "a.example", 4)).await.expect_err("twice");
        assert_eq!(again.kind, Kind::Exists);
        drop(tx);

        let mut tx = store.begin().await.expect("begin");
        assert!(domains::owner(&mut tx, &a.name).await.expect("owner").is_none());
        let proof = Proof { method: ProofMethod::Dns, at: at(9) };
        assert!(domains::set_proof(&mut tx, &a.id, &proof).await.expect("proof"));
        assert!(!domains::set_proof(&mut tx, &a.id, &proof).await.expect("proof"), "once");
        let proven = Domain { proof: Some(proof.clone()), ..a.clone() };
        assert_eq!(domains::owner(&mut tx, &a.name).await.expect("owner"), Some(proven.clone()));
        assert_eq!(domains::of_app(&mut tx, &world.shop.id).await.expect("of"), [proven.clone(), wild.clone()]);
        assert_eq!(domains::of_environment(&mut tx, &blog.id).await.expect("of"), std::slice::from_ref(&b));
        let organization = domains::organization(&mut tx, &a.id).await.expect("organization");
        assert_eq!(organization, Some(world.shop.organization_id.clone()));
        tx.commit().await.expect("commit");

        let mut tx = store.begin().await.expect("begin");
        let late = domains::set_proof(&mut tx, &b.id, &proof).await.expect_err("another has it");
        assert_eq!(late.kind, Kind::Exists);
        drop(tx);
        let mut tx = store.begin().await.expect("begin");
        assert!(domains::delete(&mut tx, &a.id).await.expect("delete"));
        assert!(!domains::delete(&mut tx, &a.id).await.expect("delete"));
        assert!(domains::set_proof(&mut tx, &b.id, &proof).await.expect("it is free"));
        assert!(apps::delete(&mut tx, &Scope::Platform, &world.blog.id).await.expect("delete"));
        assert!(domains::owner(&mut tx, &b.name).await.expect("owner").is_none(), "it goes with its app");
    })
    .await;
}
