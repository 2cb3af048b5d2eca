//! Uploaded certificates: what is refused, in words that help, and what is kept of a key.

use hythe::base::clock::Timestamp;
use hythe::base::model::CertificateOrigin;
use hythe::machinery::certs::{Authority, Issued};
use hythe::machinery::proxy::RouteTable;
use hythe::product::routing::CertificateKeeper;
use hythe::state::store::certificates;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

use super::harness::{Answer, Person, TestApi};

const AT: &str = "/v1/apps/shop/environments/production/certs";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn authority() -> Authority {
    let made = Authority::make("Test", NOW).expect("made");
    Authority::open(&made.chain, &made.key).expect("opened")
}

async fn upload(api: &TestApi, who: &Person, chain: &str, key: &str) -> Answer {
    let body = json!({"certificate": chain, "key": key});
    api.call("POST", AT, Some(&who.token), Some(&body)).await
}

fn pair(issued: &Issued) -> (&str, &str) {
    (&issued.chain, issued.key.reveal())
}

#[tokio::test]
async fn an_upload_is_judged_by_chain_time_key_and_names() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    let authority = authority();
    let (good, other) = (
        authority.issue("shop.localhost", NOW).expect("issued"),
        authority.issue("blog.localhost", NOW).expect("issued"),
    );
    let old = authority.issue("shop.localhost", Timestamp(1_700_000_000_000)).expect("issued");
    let (chain, key) = pair(&good);
    for (chain, key, field, word) in [
        (chain, other.key.reveal().as_str(), "key", "not the one that the certificate was made for"),
        (chain, "$(id)", "key", "PEM text of a private key"),
        (key, key, "certificate", "private key beside it"),
        ("", key, "certificate", "BEGIN CERTIFICATE"),
        ("../../etc/passwd\0", key, "certificate", "BEGIN CERTIFICATE"),
        (old.chain.as_str(), old.key.reveal().as_str(), "certificate", "expired at"),
        (other.chain.as_str(), other.key.reveal().as_str(), "certificate", "answers on shop.localhost"),
        ("x".repeat(70_000).as_str(), key, "certificate", "at most 65536 bytes"),
    ] {
        let answer = upload(&api, &root, chain, key).await;
        let told = answer.json()["errors"][field].to_string();
        assert!(answer.status == 422 && told.contains(word), "{word}: {} {}", answer.status, answer.text);
        assert!(!answer.text.contains("PRIVATE KEY-"), "{}", answer.text);
    }
    let answer = upload(&api, &root, chain, key).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.json()["covers"], json!(["shop.localhost"]));
    let list = api.call("GET", AT, Some(&root.token), None).await;
    assert!(list.text.contains("shop.localhost") && !list.text.contains("PRIVATE"), "{}", list.text);
    let kept = certificates::all(&mut api.ctx.store.read().await.expect("read")).await.expect("all");
    assert_eq!(kept.len(), 1);
    let plain = good.key.reveal().as_bytes();
    assert!(!kept[0].sealed.windows(16).any(|window| plain.windows(16).any(|key| key == window)), "it is sealed");
}

/// The table as the proxy has it after one round of the keeper.
async fn served(api: &TestApi) -> usize {
    let (sender, table) = watch::channel(Arc::new(RouteTable::default()));
    CertificateKeeper::new(api.ctx.clone(), sender).look().await.expect("a round");
    table.borrow().certificates().len()
}

async fn kept(api: &TestApi, origin: CertificateOrigin) -> Vec<String> {
    let all = certificates::all(&mut api.ctx.store.read().await.expect("read")).await.expect("all");
    let of = all.into_iter().filter(|kept| kept.certificate.origin == origin);
    of.map(|kept| kept.certificate.id.to_string()).collect()
}

#[tokio::test]
async fn the_own_authority_is_made_once_and_renews_at_two_thirds_of_a_life() {
    let mut config = hythe::base::config::Config::default();
    config.certs.issuer = hythe::base::config::IssuerChoice::SelfSigned;
    let (api, root) = TestApi::start_with(config).await;
    let nothing = api.call("GET", "/v1/certs/authority", Some(&root.token), None).await;
    assert_eq!(nothing.status, 404);
    api.app(&root, "shop").await;
    assert_eq!(served(&api).await, 2, "the app and the API");
    let (authorities, first) =
        (kept(&api, CertificateOrigin::Authority).await, kept(&api, CertificateOrigin::SelfSigned).await);
    assert_eq!((authorities.len(), first.len()), (1, 2));
    assert_eq!(served(&api).await, 2);
    assert_eq!(kept(&api, CertificateOrigin::SelfSigned).await, first, "nothing to do");
    let pem = api.call("GET", "/v1/certs/authority", Some(&root.token), None).await.json();
    assert!(pem["certificate"].as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")), "{pem}");
    api.clock.advance(54 * 86_400_000);
    served(&api).await;
    assert_eq!(kept(&api, CertificateOrigin::SelfSigned).await, first, "too early");
    api.clock.advance(8 * 86_400_000);
    assert_eq!(served(&api).await, 2);
    let second = kept(&api, CertificateOrigin::SelfSigned).await;
    assert!(second.len() == 2 && second.iter().all(|id| !first.contains(id)), "{first:?} {second:?}");
    assert_eq!(kept(&api, CertificateOrigin::Authority).await, authorities);
}

#[tokio::test]
async fn an_uploaded_one_goes_first_and_warns_once_before_its_end() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    assert_eq!(served(&api).await, 0, "no issuer, no certificates");
    let issued = authority().issue("shop.localhost", NOW).expect("issued");
    let (chain, key) = pair(&issued);
    let uploaded = upload(&api, &root, chain, key).await.json();
    assert_eq!(served(&api).await, 1);
    let events = async |kind: &str| -> Vec<Value> {
        let all = api.call("GET", "/v1/apps/shop/events", Some(&root.token), None).await.json();
        let items = all["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().filter(|event| event.to_string().contains(kind)).collect()
    };
    assert_eq!(events("certificate.expiring").await.len(), 0);
    api.clock.advance(80 * 86_400_000);
    served(&api).await;
    served(&api).await;
    assert_eq!(events("certificate.expiring").await.len(), 1, "once");
    api.clock.advance(20 * 86_400_000);
    assert_eq!(served(&api).await, 0, "an expired one is not served");
    let path = format!("{AT}/{}", uploaded["id"].as_str().expect("an id"));
    assert_eq!(api.call("DELETE", &path, Some(&root.token), None).await.status, 204);
    assert_eq!(api.call("DELETE", &path, Some(&root.token), None).await.status, 404);
    assert_eq!(events("certificate.removed").await.len(), 1);
}
