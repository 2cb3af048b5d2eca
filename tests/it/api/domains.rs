//! Domains: whose they are, proven by a DNS server and a web server of the test's own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use hythe::base::config::Config;
use serde_json::{Value, json};

use super::harness::{Answer, Person, TestApi};
use crate::harness::Dns;

const AT: &str = "/v1/apps/shop/environments/production/domains";

struct World {
    api: TestApi,
    root: Person,
    dns: Dns,
    /// What the web server answers, head and body.
    file: Arc<Mutex<String>>,
}

impl World {
    /// With the app `shop` of root, which was delivered, and a web server at 127.0.0.1.
    async fn start() -> Self {
        // Only the first test of the process has to.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (dns, file) = (Dns::start(), Arc::<Mutex<String>>::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let answer = Arc::clone(&file);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.lock().expect("unpoisoned").as_bytes());
            }
        });
        let mut config = Config::default();
        config.outbound.private = true;
        config.domains.resolver = Some(dns.address);
        config.domains.check_port = port;
        let (api, root) = TestApi::start_with(config).await;
        let app = api.app(&root, "shop").await;
        api.deliver(&app).await;
        Self { api, root, dns, file }
    }

    async fn add(&self, who: &Person, at: &str, domain: &str) -> Answer {
        self.api.call("POST", at, Some(&who.token), Some(&json!({"domain": domain}))).await
    }

    async fn verify(&self, who: &Person, at: &str, domain: &str) -> Answer {
        self.api.call("POST", &format!("{at}/{domain}/verify"), Some(&who.token), None).await
    }

    async fn get(&self, path: &str) -> Value {
        self.api.call("GET", path, Some(&self.root.token), None).await.json()
    }

    fn answers(&self, head: &str, body: &str) {
        let whole = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        *self.file.lock().expect("unpoisoned") = whole;
    }
}

/// The proof of one kind in what `domains:add` answered.
fn proof(added: &Answer, method: &str) -> (String, String) {
    let json = added.json();
    let proofs = json["proofs"].as_array().cloned().unwrap_or_default();
    let found = proofs.iter().find(|proof| proof["method"] == method).unwrap_or_else(|| panic!("{}", added.text));
    let word = |key: &str| found[key].as_str().expect("a text").to_owned();
    (word("place"), word("text"))
}

#[tokio::test]
async fn a_txt_record_proves_a_domain_which_is_a_part_of_the_release() {
    let world = World::start().await;
    let added = world.add(&world.root, AT, "Müller.Example.").await;
    assert_eq!((added.status, &added.json()["state"]), (201, &json!("unverified")), "{}", added.text);
    let (place, text) = proof(&added, "dns");
    assert_eq!(place, "_hythe.xn--mller-kva.example");

    let early = world.verify(&world.root, AT, "xn--mller-kva.example").await;
    assert_eq!(early.status, 409, "{}", early.text);
    for word in ["_hythe.xn--mller-kva.example has no TXT record", &text] {
        assert!(early.text.contains(word), "{}", early.text);
    }
    world.dns.text(&place, "v=spf1 -all");
    let other = world.verify(&world.root, AT, "xn--mller-kva.example").await;
    assert!(other.status == 409 && other.text.contains("is another text"), "{}", other.text);
    world.dns.text(&place, &text);
    let verified = world.verify(&world.root, AT, "m%C3%BCller.example").await;
    assert_eq!((verified.status, &verified.json()["state"]), (200, &json!("routed")), "{}", verified.text);
    assert_eq!(verified.json()["verified_by"], "dns");

    let releases = world.get("/v1/apps/shop/environments/production/releases").await;
    assert_eq!(releases["items"][0]["description"], "domain xn--mller-kva.example added");
    assert!(releases["items"][0]["hosts"].to_string().contains("xn--mller-kva.example"), "{releases}");
    // Once more changes nothing, whether or not the record is still there.
    world.dns.forget(&place);
    assert_eq!(world.verify(&world.root, AT, "xn--mller-kva.example").await.status, 200);
    assert_eq!(world.get("/v1/apps/shop/environments/production/releases").await, releases);
    let events = world.get("/v1/apps/shop/events").await.to_string();
    assert!(events.contains("domain.added") && events.contains("domain.verified"), "{events}");

    let removed = world.api.call("DELETE", &format!("{AT}/xn--mller-kva.example"), Some(&world.root.token), None).await;
    assert_eq!(removed.status, 204, "{}", removed.text);
    let releases = world.get("/v1/apps/shop/environments/production/releases").await;
    assert!(!releases["items"][0]["hosts"].to_string().contains("xn--mller-kva.example"), "{releases}");
    assert_eq!(world.get(AT).await["items"], json!([]));
}

#[tokio::test]
async fn a_file_proves_a_domain_only_from_the_domain_itself() {
    let world = World::start().await;
    let added = world.add(&world.root, AT, "shop.example.com").await;
    let (place, text) = proof(&added, "http");
    assert!(
        place.starts_with("http://shop.example.com:") && place.ends_with("/.well-known/hythe-verification"),
        "{place}"
    );
    let refused = |answer: Answer, word: &str| {
        assert!(answer.status == 409 && answer.text.contains(word), "{word}: {} {}", answer.status, answer.text);
    };
    refused(world.verify(&world.root, AT, "shop.example.com").await, "cannot be fetched");
    world.dns.host("shop.example.com", Ipv4Addr::LOCALHOST);
    world.answers("404 Not Found", &text);
    refused(world.verify(&world.root, AT, "shop.example.com").await, "answered 404");
    world.answers("200 OK", &format!("<p>{text}</p>"));
    refused(world.verify(&world.root, AT, "shop.example.com").await, "holds another text");
    world.answers("200 OK", &format!("{text}\n{}", "x".repeat(5000)));
    refused(world.verify(&world.root, AT, "shop.example.com").await, "cannot be fetched");
    // Who can make a server redirect has not its name.
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = elsewhere.local_addr().expect("its address").port();
    let body = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
    std::thread::spawn(move || {
        for mut stream in elsewhere.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(body.as_bytes());
        }
    });
    world.answers(&format!("302 Found\r\nLocation: http://127.0.0.1:{port}/"), "");
    refused(world.verify(&world.root, AT, "shop.example.com").await, "leads to another host");
    world.dns.forget("shop.example.com");
    world.dns.host("shop.example.com", Ipv4Addr::new(169, 254, 169, 254));
    refused(world.verify(&world.root, AT, "shop.example.com").await, "not an address of the public internet");
    world.dns.forget("shop.example.com");
    world.dns.host("shop.example.com", Ipv4Addr::LOCALHOST);
    world.answers("200 OK", &format!("something else\n  {text}\r\n"));
    let verified = world.verify(&world.root, AT, "shop.example.com").await;
    assert_eq!((verified.status, &verified.json()["verified_by"]), (200, &json!("http")), "{}", verified.text);
}

#[tokio::test]
async fn who_proves_a_name_first_has_it_and_nobody_learns_who_that_is() {
    let world = World::start().await;
    let mallory = world.api.person("mallory", None).await;
    world.api.app(&mallory, "evil").await;
    let evil = "/v1/apps/evil/environments/production/domains";
    // A claim alone is in nobody's way.
    let squatted = world.add(&mallory, evil, "shop.example.com").await;
    assert_eq!(squatted.status, 201, "{}", squatted.text);
    let added = world.add(&world.root, AT, "shop.example.com").await;
    let ((place, text), (_, theirs)) = (proof(&added, "dns"), proof(&squatted, "dns"));
    assert_ne!(text, theirs);
    world.dns.text(&place, &text);
    // The owner's record proves nothing for anybody else.
    let stolen = world.verify(&mallory, evil, "shop.example.com").await;
    assert!(stolen.status == 409 && stolen.text.contains("another text"), "{}", stolen.text);
    assert_eq!(world.verify(&world.root, AT, "shop.example.com").await.status, 200);
    // And one of their own comes too late.
    world.dns.text(&place, &theirs);
    let again = world.add(&mallory, evil, "sub.example.com").await;
    assert_eq!(again.status, 201);
    let late = world.verify(&mallory, evil, "shop.example.com").await;
    assert_eq!(late.status, 409, "{}", late.text);
    assert!(late.text.contains("was verified for another app"), "{}", late.text);
    for secret in ["root", "default", "app_", &text] {
        assert!(!late.text.contains(secret), "{secret}: {}", late.text);
    }
    let removed = world.api.call("DELETE", &format!("{evil}/shop.example.com"), Some(&mallory.token), None).await;
    assert_eq!(removed.status, 204);
    assert_eq!(world.add(&mallory, evil, "SHOP.example.com").await.status, 409);
    assert_eq!(world.get(AT).await["items"][0]["state"], "routed");

    // A wildcard takes what is below it, for other organizations; one's own apps may part it.
    let wild = world.add(&world.root, AT, "*.example.com").await;
    assert_eq!(wild.json()["proofs"].as_array().map(Vec::len), Some(1), "no file proves a wildcard: {}", wild.text);
    let (place, text) = proof(&wild, "dns");
    assert_eq!(place, "_hythe.example.com");
    world.dns.text(&place, &text);
    assert_eq!(world.verify(&world.root, AT, "*.example.com").await.status, 200);
    let below = world.verify(&mallory, evil, "sub.example.com").await;
    assert!(below.status == 409 && below.text.contains("was verified for another app"), "{}", below.text);
    world.api.app(&world.root, "blog").await;
    let blog = "/v1/apps/blog/environments/production/domains";
    assert_eq!(world.add(&world.root, blog, "blog.example.com").await.status, 201);
    let own = world.add(&world.root, blog, "shop.example.com").await;
    assert!(own.status == 409 && own.text.contains("is the app shop's"), "{}", own.text);
    // Given up, it is free.
    let removed = world.api.call("DELETE", &format!("{AT}/shop.example.com"), Some(&world.root.token), None).await;
    assert_eq!(removed.status, 204);
    assert_eq!(world.add(&world.root, blog, "shop.example.com").await.status, 201);
}

#[tokio::test]
async fn of_two_at_once_one_has_the_name() {
    let world = World::start().await;
    let mallory = world.api.person("mallory", None).await;
    world.api.app(&mallory, "evil").await;
    let evil = "/v1/apps/evil/environments/production/domains";
    for (who, at) in [(&world.root, AT), (&mallory, evil)] {
        let (place, text) = proof(&world.add(who, at, "shop.example.com").await, "dns");
        world.dns.text(&place, &text);
    }
    let (a, b) = tokio::join!(
        world.verify(&world.root, AT, "shop.example.com"),
        world.verify(&mallory, evil, "shop.example.com")
    );
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} {}", a.text, b.text);
}

#[tokio::test]
async fn names_of_the_platform_and_names_that_are_none_are_refused() {
    let mut config = Config::default();
    config.http.base_domain = "apps.example.com".parse().expect("a host");
    let (api, root) = TestApi::start_with(config).await;
    api.app(&root, "shop").await;
    for (domain, word) in [
        ("hythe.apps.example.com", "belongs to the platform"),
        ("apps.example.com", "belongs to the platform"),
        ("shop.apps.example.com", "belongs to the platform"),
        ("*.example.com", "belongs to the platform"),
        ("HYTHE。apps.example.com", "belongs to the platform"),
        ("localhost", "must be the name of a domain"),
        ("a.localhost", "must be a name of the public DNS"),
        ("http://shop.example.org/", "must be the name of a domain"),
    ] {
        let answer = api.call("POST", AT, Some(&root.token), Some(&json!({"domain": domain}))).await;
        assert!(answer.status == 422 && answer.text.contains(word), "{domain}: {} {}", answer.status, answer.text);
    }
    let domains = api.call("GET", AT, Some(&root.token), None).await.json();
    assert_eq!(domains["items"], json!([]));
}
