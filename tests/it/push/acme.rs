//! HTTPS by itself: an app that was pushed, a real authority, a platform that is killed while its order is under way, and
//! plain requests that are sent on.

use std::fs;
use std::net::Ipv4Addr;

use super::ok;
use crate::harness::{Answer, Dns, Pebble, RealServer, Repo, Settings, eventually, free_port, program, run};

const HOST: &str = "hello.apps.example.test";

/// Head and body, nothing followed.
fn ask(words: &[&str], scheme: &str, port: u16, path: &str) -> (Answer, String) {
    let place = format!("{HOST}:{port}");
    let said = run(program("curl")
        .args(["-sS", "-i", "--noproxy", "*", "--max-time", "30", "--resolve", &format!("{place}:127.0.0.1")])
        .args(words)
        .arg(format!("{scheme}://{place}{path}")));
    let text = said.out.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((&said.err, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (Answer { status, body: body.into() }, head.to_ascii_lowercase())
}

#[test]
fn an_app_is_on_https_by_itself_over_a_kill_in_the_middle_of_its_order() {
    let (dns, tls) = (Dns::start(), free_port());
    let mut settings = Settings::with("HYTHE_HTTP_TLS_LISTEN", format!("127.0.0.1:{tls}"));
    for (name, value) in [
        ("CERTS_ISSUER", "acme"),
        ("HTTP_BASE_DOMAIN", "apps.example.test"),
        ("ACME_TERMS_AGREED", "true"),
        ("ACME_CHALLENGES", "[\"http-01\"]"),
        ("ACME_RETRY_SECONDS", "1"),
    ] {
        settings.variables.insert(format!("HYTHE_{name}"), value.into());
    }
    let mut server = RealServer::prepared(settings);
    dns.host(HOST, Ipv4Addr::LOCALHOST);
    dns.host("hythe.apps.example.test", Ipv4Addr::LOCALHOST);
    let slow = [("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "2")];
    let pebble = Pebble::start((server.proxy_port, tls), dns.address, &slow);
    server.set("HYTHE_ACME_DIRECTORY", &pebble.directory);
    server.set("HYTHE_ACME_ROOT_CA", &pebble.root().display().to_string());
    server.boot();
    server.set_up();
    let repo = Repo::node(&server, "hello", "first");
    repo.push("main").accepted();

    let verb = |server: &RealServer, words: &[&str]| {
        let words = [&words[..1], &["-a", "hello"], &words[1..]].concat();
        server.cli(&server.owner, &words).expect("a verb")
    };
    eventually("the order is known to the authority", || (pebble.orders() >= 2).then_some(()));
    server.kill();
    server.boot();
    let issuer = pebble.issuer().display().to_string();
    let trusted = ["--cacert", issuer.as_str()];
    eventually("it answers over TLS", || (ask(&trusted, "https", tls, "/").0 == ok("first")).then_some(()));
    assert!(pebble.orders() <= 3, "the order that was known is gone on with:\n{}", pebble.log());
    let info = run(server.hythe(&server.owner).args(["certs:info", "hello"])).expect("certs:info");
    assert!(info.contains(&format!("{HOST}  served")) && info.contains("Pebble"), "{info}");
    let list = run(server.hythe(&server.owner).args(["certs", "hello"])).expect("certs");
    assert!(list.contains("acme") && list.contains(HOST), "{list}");

    let plain = server.proxy_port;
    let there = format!("location: https://{HOST}:{tls}/a?b=c");
    let (answer, head) = ask(&[], "http", plain, "/a?b=c");
    assert!(answer.status == 301 && head.contains(&there), "{head}");
    let (answer, head) = ask(&["-X", "POST", "-d", "x"], "http", plain, "/a?b=c");
    assert!(answer.status == 308 && head.contains(&there), "{head}");
    assert!(!ask(&trusted, "https", tls, "/").1.contains("strict-transport-security"), "off by itself");
    let said = verb(&server, &["https:set", "--redirect", "off", "--hsts", "3600"]);
    assert!(said.contains("redirect  off") && said.contains("hsts      3600 s"), "{said}");
    eventually("plain HTTP is the app's", || (ask(&[], "http", plain, "/").0 == ok("first")).then_some(()));
    let told = ask(&trusted, "https", tls, "/").1;
    assert!(told.contains("strict-transport-security: max-age=3600"), "{told}");
    assert!(!ask(&[], "http", plain, "/").1.contains("strict-transport-security"), "over TLS only");

    // What people set goes before what the tree says, until they leave it to the tree.
    repo.commit(&[("app.json", r#"{"https": {"redirect": true, "hsts_seconds": 7}}"#)]);
    repo.push("main").accepted();
    assert_eq!(ask(&[], "http", plain, "/").0, ok("first"));
    verb(&server, &["https:set", "--redirect", "auto", "--hsts", "none"]);
    eventually("as the tree has it", || {
        let told = ask(&trusted, "https", tls, "/").1.contains("max-age=7");
        (told && ask(&[], "http", plain, "/").0.status == 301).then_some(())
    });

    let data = fs::read(server.data().join("hythe.db")).unwrap_or_default();
    assert!(!data.windows(11).any(|part| part == b"PRIVATE KEY"), "keys are sealed");
}
