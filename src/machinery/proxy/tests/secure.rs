use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::base::model::Https;
use crate::base::secret::Secret;

fn certificate(name: &str) -> Certificate {
    let key = KeyPair::generate().expect("a key");
    let made = CertificateParams::new(vec![name.to_owned()]).expect("a name").self_signed(&key).expect("signed");
    Certificate::from_pem(&made.pem(), &Secret::new(key.serialize_pem())).expect("it serves")
}

struct Plain {
    bench: Bench,
    backend: Backend,
}

impl Plain {
    /// `shop.test` has a trusted certificate, `own.test` one that is not, `bare.test` none.
    async fn start(https: Https, tls_port: Option<u16>) -> Self {
        let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let target = Arc::new(Target { https, ..plain(TargetState::Live, vec![backend.upstream()]) });
        let routes = ["shop.test", "own.test", "bare.test"].map(|name| (host(name), Arc::clone(&target)));
        let certificates =
            [(host("shop.test"), certificate("shop.test")), (host("own.test"), certificate("own.test").untrusted())];
        let table = RouteTable::new(None, routes).with(Arc::new(Certificates::new(certificates)));
        let bench = Bench::start(table, ProxySettings { tls_port, ..quick() }).await;
        Self { bench, backend }
    }

    async fn ask(&self, method: &str, host: &str, target: &str) -> String {
        let text =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.bench.raw(text).await.to_ascii_lowercase()
    }
}

#[tokio::test]
async fn plain_requests_are_sent_on_with_path_and_query_where_a_trusted_certificate_answers() {
    let plain = Plain::start(Https::default(), Some(443)).await;
    let get = plain.ask("GET", "Shop.test:8080", "/a%20b/c?x=1&y=%2f").await;
    assert!(get.starts_with("http/1.1 301"), "{get}");
    assert!(get.contains("\r\nlocation: https://shop.test/a%20b/c?x=1&y=%2f\r\n"), "{get}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let said = plain.ask(method, "shop.test", "/form?x").await;
        assert!(said.starts_with("http/1.1 308"), "{method}: {said}");
        assert!(said.contains("location: https://shop.test/form?x\r\n"), "{said}");
    }
    assert!(
        plain.ask("GET", "shop.test", "http://shop.test/whole?q").await.contains("location: https://shop.test/whole?q")
    );
    assert!(plain.ask("GET", "shop.test", "//evil.test/").await.contains("location: https://shop.test//evil.test/"));
    assert_eq!(plain.backend.seen.lock().expect("no panic").len(), 0, "none of them was the app's to see");
    for (host, path) in [
        ("own.test", "/"),
        ("bare.test", "/"),
        ("shop.test", "/.well-known/acme-challenge/unknown"),
        ("shop.test", "/.well-known/hythe-verification"),
    ] {
        let said = plain.ask("GET", host, path).await;
        assert!(said.starts_with("http/1.1 200") && !said.contains("strict-transport"), "{host}{path}: {said}");
    }
}

#[tokio::test]
async fn people_turn_it_on_and_off_and_without_tls_it_is_nowhere() {
    let on = Https { redirect: Some(true), hsts_seconds: Some(60) };
    let plain = Plain::start(on, Some(8443)).await;
    for host in ["shop.test", "own.test"] {
        let said = plain.ask("GET", host, "/").await;
        assert!(said.contains(&format!("location: https://{host}:8443/\r\n")), "{said}");
        assert!(!said.contains("strict-transport"), "over TLS only: {said}");
    }
    assert!(plain.ask("GET", "bare.test", "/").await.starts_with("http/1.1 200"), "nothing answers there");
    let off = Plain::start(Https { redirect: Some(false), ..on }, Some(443)).await;
    assert!(off.ask("GET", "shop.test", "/").await.starts_with("http/1.1 200"));
    let no_tls = Plain::start(on, None).await;
    assert!(no_tls.ask("GET", "shop.test", "/").await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_challenge_is_answered_on_any_host_before_every_route_and_only_while_it_is_there() {
    let plain = Plain::start(Https::default(), Some(443)).await;
    let challenge = Challenge::Text { token: "tok-1_A".into(), text: "tok-1_A.thumb".into() };
    let show = |change: fn(&mut Challenges, &Challenge)| {
        plain.bench.table.send_modify(|table| {
            let mut all = Challenges::clone(table.challenges());
            change(&mut all, &challenge);
            *table = Arc::new(table.showing(Arc::new(all)));
        });
    };
    show(Challenges::add);
    for host in ["shop.test", "nobody.test", "bare.test"] {
        let said = plain
            .bench
            .raw(format!(
                "GET /.well-known/acme-challenge/tok-1_A HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("\r\n\r\ntok-1_A.thumb"), "{host}: {said}");
    }
    for path in ["tok-1_A/", "tok-1_a", "", "../acme-challenge/tok-1_A", "tok-2"] {
        let said = plain.ask("GET", "nobody.test", &format!("/.well-known/acme-challenge/{path}")).await;
        assert!(said.starts_with("http/1.1 404"), "{path}: {said}");
    }
    let post = plain.ask("POST", "nobody.test", "/.well-known/acme-challenge/tok-1_A").await;
    assert!(post.starts_with("http/1.1 404"), "{post}");
    // A table of whoever knows the routes leaves it there.
    plain.bench.table.send_modify(|table| *table = Arc::new(RouteTable::new(None, []).keeping(table)));
    let kept = plain.ask("GET", "shop.test", "/.well-known/acme-challenge/tok-1_A").await;
    assert!(kept.ends_with("tok-1_a.thumb"), "{kept}");
    show(Challenges::remove);
    let gone = plain.ask("GET", "nobody.test", "/.well-known/acme-challenge/tok-1_A").await;
    assert!(gone.starts_with("http/1.1 404"), "{gone}");
}
