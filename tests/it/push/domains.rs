//! Domains of a running app: from the claim to requests that arrive, back with a release, over a crash, and given up.

use super::{Deployed, ok};
use crate::harness::{Answer, Dns, Settings, eventually};

fn get(app: &Deployed, host: &str) -> Answer {
    let host = format!("{host}:{}", app.server.proxy_port);
    app.server.curl(&["--resolve", &format!("{host}:127.0.0.1"), &format!("http://{host}/")])
}

/// Claims a domain and publishes its proof.
fn claim(app: &Deployed, dns: &Dns, domain: &str) {
    let said = app.verb(&["domains:add", domain]);
    let record = said.lines().find_map(|line| line.strip_prefix("TXT record  ")).unwrap_or_else(|| panic!("{said}"));
    let (name, text) = record.split_once("  ").unwrap_or_else(|| panic!("{said}"));
    dns.text(name, text);
}

#[test]
fn a_domain_is_claimed_verified_rolled_back_and_given_up() {
    let dns = Dns::start();
    let mut app = Deployed::with(Settings::with("HYTHE_DOMAINS_RESOLVER", dns.address));
    assert_eq!(get(&app, "www.example.test").status, 404);
    claim(&app, &dns, "WWW.Example.test");
    assert_eq!(get(&app, "www.example.test").status, 404, "a claim changes nothing");
    assert_eq!(app.verb(&["domains:verify", "www.example.test"]), "www.example.test  routed\n");
    eventually("the domain answers", || (get(&app, "www.example.test") == ok("first")).then_some(()));
    let diff = app.verb(&["releases:diff", "v1", "v2"]);
    assert!(diff.contains("www.example.test added"), "{diff}");

    claim(&app, &dns, "*.shop.example.test");
    let said = app.server.ssh(&app.server.owner, &["domains:verify", "-a", "hello", "'*.shop.example.test'"]);
    assert!(said.ok && said.out.contains("routed"), "{said:?}");
    eventually("all below answer", || (get(&app, "any.shop.example.test") == ok("first")).then_some(()));
    for other in ["shop.example.test", "a.b.shop.example.test", "example.test"] {
        assert_eq!(get(&app, other).status, 404, "{other}");
    }

    app.server.kill();
    app.server.boot();
    for host in ["www.example.test", "any.shop.example.test", "hello.localhost"] {
        eventually("it answers again", || (get(&app, host) == ok("first")).then_some(()));
    }

    app.verb(&["rollback", "v1"]);
    eventually("the first release had no domains", || (get(&app, "www.example.test").status == 404).then_some(()));
    let list = app.verb(&["domains"]);
    assert!(list.contains("unrouted") && !list.contains(" routed"), "{list}");
    assert_eq!(app.server.get("hello"), ok("first"), "the host of the app's name is nobody's to lose");
    app.verb(&["rollback", "v3"]);
    eventually("the domain answers again", || (get(&app, "www.example.test") == ok("first")).then_some(()));

    app.verb(&["domains:remove", "www.example.test"]);
    eventually("it was given up", || (get(&app, "www.example.test").status == 404).then_some(()));
    let said = app.server.cli(&app.server.owner, &["rollback", "v2", "-a", "hello"]);
    assert!(said.ok, "{said:?}");
    eventually("the wildcard was not part of v2", || (get(&app, "any.shop.example.test").status == 404).then_some(()));
    assert_eq!(get(&app, "www.example.test").status, 404, "no release brings back what was given up");
    assert_eq!(app.verb(&["domains:verify", "*.shop.example.test"]), "*.shop.example.test  routed\n");
    eventually("routed again", || (get(&app, "any.shop.example.test") == ok("first")).then_some(()));
}
