use super::*;
use crate::base::model::{Rate, Traffic};

pub(super) async fn ruled(upstreams: Vec<Arc<Upstream>>, change: impl FnOnce(&mut Traffic)) -> Bench {
    let mut traffic = Traffic::default();
    change(&mut traffic);
    assert!(traffic.faults().is_empty(), "{:?}", traffic.faults());
    let rules = Some(Arc::new(Rules::new(traffic)));
    let target = Arc::new(Target { rules, ..plain(TargetState::Live, upstreams) });
    let routes = ["shop.test", "www.shop.test"].map(|name| (host(name), Arc::clone(&target)));
    Bench::start(RouteTable::new(None, routes), quick()).await
}

pub(super) fn asking(head: &str) -> String {
    format!("GET /a?b=c HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{head}\r\n")
}

#[tokio::test]
async fn who_may_not_come_gets_a_page_and_the_app_hears_nothing() {
    let shop = Backend::saying("ok").await;
    let local = || vec![host("127.0.0.0/8")];
    for (change, code) in [
        (Box::new(|t: &mut Traffic| t.deny = vec![host("127.0.0.1/32")]) as Box<dyn FnOnce(&mut Traffic)>, 403),
        (Box::new(|t: &mut Traffic| t.allow = vec![host("192.0.2.0/24"), host("2001:db8::/32")]), 403),
        (Box::new(move |t: &mut Traffic| (t.allow, t.deny) = (local(), local())), 403),
        (Box::new(|t: &mut Traffic| t.maintenance = true), 503),
        (Box::new(|t: &mut Traffic| drop(t.users.insert("ann".into(), hash_password("pass:word")))), 401),
        (Box::new(|t: &mut Traffic| t.max_body_bytes = Some(1)), 413),
    ] {
        let bench = ruled(vec![shop.upstream()], change).await;
        let answer = bench.raw(format!("{}{}", asking("Content-Length: 2\r\n"), "ab")).await;
        assert_eq!(status(&answer), code, "{answer}");
        assert!(field(&answer, "x-request-id").is_some());
        assert_eq!(field(&answer, "www-authenticate").is_some(), code == 401);
        assert_eq!(field(&answer, "retry-after").is_some(), code == 503);
    }
    assert_eq!(shop.requests(), 0);
    let bench = ruled(vec![shop.upstream()], |t| t.allow = vec![host("127.0.0.1/32")]).await;
    assert_eq!(status(&bench.raw(asking("")).await), 200);
}

#[tokio::test]
async fn who_has_a_password_comes_in_and_the_app_does_not_see_it() {
    let shop = Backend::saying("ok").await;
    let change = |t: &mut Traffic| drop(t.users.insert("ann".into(), hash_password("pass:word")));
    let bench = ruled(vec![shop.upstream()], change).await;
    for _ in 0..2 {
        // ann:pass:word
        assert_eq!(status(&bench.raw(asking("Authorization: Basic YW5uOnBhc3M6d29yZA==\r\n")).await), 200);
        assert_eq!(field(&shop.last(), "authorization"), None);
    }
    assert_eq!(status(&bench.raw(asking("Authorization: Basic YW5uOnBhc3M=\r\n")).await), 401);
    let open = Bench::shop(vec![shop.upstream()]).await;
    open.raw(asking("Authorization: Bearer x\r\n")).await;
    assert_eq!(field(&shop.last(), "authorization").as_deref(), Some("Bearer x"), "without users it is the app's own");
}

#[tokio::test]
async fn a_client_that_asks_too_often_waits() {
    let shop = Backend::saying("ok").await;
    let bench = ruled(vec![shop.upstream()], |t| t.rate = Some(Rate { per_second: 1, burst: 3 })).await;
    let mut codes = Vec::new();
    for _ in 0..6 {
        let answer = bench.raw(asking("")).await;
        codes.push(status(&answer));
        assert_eq!(field(&answer, "retry-after").is_some(), status(&answer) == 429, "{answer}");
    }
    assert_eq!(codes[..3], [200, 200, 200]);
    assert!(codes[3..].contains(&429), "{codes:?}");
}

#[tokio::test]
async fn other_hosts_are_redirected_with_path_and_method() {
    let shop = Backend::saying("ok").await;
    let bench = ruled(vec![shop.upstream()], |t| t.redirect = Some(host("shop.test"))).await;
    let answer = bench
        .raw("POST /a?b=c HTTP/1.1\r\nHost: www.shop.test:8080\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!((status(&answer), field(&answer, "location").as_deref()), (308, Some("http://shop.test:8080/a?b=c")));
    assert_eq!(status(&bench.raw(asking("")).await), 200);
    assert_eq!(shop.requests(), 1);
}

#[tokio::test]
async fn fields_are_set_and_taken_away_on_both_ways() {
    let shop =
        Backend::answering("HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-Up: old\r\nContent-Length: 2\r\n\r\nok").await;
    let bench = ruled(vec![shop.upstream()], |t| {
        let fields = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        t.request_headers = fields(&[("x-env", "staging"), ("cookie", "")]);
        t.response_headers = fields(&[("server", ""), ("x-up", "new"), ("x-frame-options", "DENY")]);
    })
    .await;
    let answer = bench.raw(asking("X-Env: forged\r\nCookie: a=1\r\n")).await;
    assert_eq!(field(&shop.last(), "x-env").as_deref(), Some("staging"));
    assert_eq!(field(&shop.last(), "cookie"), None);
    let said = ["server", "x-up", "x-frame-options"].map(|name| field(&answer, name));
    assert_eq!(said, [None, Some("new".into()), Some("DENY".into())], "{answer}");
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_and_preflights_are_answered_here() {
    let shop = Backend::answering(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: accept\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let cors = |list: &[&str]| list.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>();
    let bench = ruled(vec![shop.upstream()], |t| t.cors = cors(&["https://a.test"])).await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\n\r\n"
        )
    };
    let answer = bench.raw(preflight("https://a.test")).await;
    assert_eq!(
        (status(&answer), field(&answer, "access-control-allow-origin").as_deref()),
        (204, Some("https://a.test"))
    );
    assert_eq!(field(&answer, "access-control-allow-headers").as_deref(), Some("x-a"));
    assert_eq!(field(&answer, "access-control-allow-credentials").as_deref(), Some("true"));
    let answer = bench.raw(preflight("https://evil.test")).await;
    assert_eq!((status(&answer), field(&answer, "access-control-allow-origin")), (204, None), "{answer}");
    assert_eq!(shop.requests(), 0);
    for (origin, allowed) in [("https://a.test", true), ("https://evil.test", false), ("https://a.test.evil", false)] {
        let answer = bench.raw(asking(&format!("Origin: {origin}\r\n"))).await;
        assert_eq!(field(&answer, "access-control-allow-origin").as_deref(), allowed.then_some(origin), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("vary: origin") && answer.contains("accept"), "{answer}");
    }
    let open = ruled(vec![shop.upstream()], |t| t.cors = cors(&["*"])).await;
    let answer = open.raw(asking("Origin: https://any.test\r\n")).await;
    assert_eq!(field(&answer, "access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(field(&answer, "access-control-allow-credentials"), None);
    // A plain OPTIONS is the app's.
    open.raw("OPTIONS / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await;
    assert!(shop.last().starts_with("OPTIONS"));
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_where_it_is_too_long() {
    let shop = Backend::saying("ok").await;
    let upstream = shop.upstream();
    let bench = ruled(vec![Arc::clone(&upstream)], |t| t.max_body_bytes = Some(10)).await;
    let chunked = |body: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"
        )
    };
    assert_eq!(status(&bench.raw(chunked("5\r\nabcde\r\n5\r\nabcde\r\n")).await), 200);
    let answer = bench.raw(chunked("5\r\nabcde\r\n6\r\nabcdef\r\n")).await;
    assert_eq!(status(&answer), 413, "{answer}");
    until(|| upstream.in_flight() == 0).await;
    assert_eq!((shop.requests(), upstream.failures()), (1, 0));
}

#[tokio::test]
async fn a_browser_stays_with_its_replica_as_long_as_that_is_there() {
    let backends = [Backend::saying("one").await, Backend::saying("two").await, Backend::saying("three").await];
    let upstreams: Vec<_> =
        backends.iter().enumerate().map(|(n, b)| Upstream::new(b.address, format!("replica-{n}"))).collect();
    let bench = ruled(upstreams.clone(), |t| t.sticky = true).await;
    let first = bench.raw(asking("")).await;
    let cookie = field(&first, "set-cookie").expect("a cookie");
    let pair = cookie.split(';').next().expect("a pair").to_owned();
    assert!(!cookie.contains("replica-") && cookie.contains("HttpOnly"), "{cookie}");
    for _ in 0..20 {
        let answer = bench.raw(asking(&format!("Cookie: a=1; {pair}\r\n"))).await;
        assert_eq!((body(&answer), field(&answer, "set-cookie")), (body(&first), None), "{answer}");
    }
    let at = backends.iter().position(|b| b.requests() >= 20).expect("one of them");
    upstreams[at].retire();
    let moved = bench.raw(asking(&format!("Cookie: {pair}\r\n"))).await;
    assert_eq!(status(&moved), 200);
    assert!(body(&moved) != body(&first) && field(&moved, "set-cookie").is_some_and(|new| !new.starts_with(&pair)));
}

#[tokio::test]
async fn an_app_may_take_its_own_time() {
    let shop = Backend::start(|mut stream, _| async move {
        request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let bench = ruled(vec![shop.upstream()], |t| t.timeout_seconds = Some(1)).await;
    assert_eq!(status(&bench.raw(asking("")).await), 504);
}

#[test]
fn rules_come_back_with_the_saved_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("routes.json");
    let mut traffic = Traffic { deny: vec![host("192.0.2.0/24")], ..Traffic::default() };
    traffic.users.insert("ann".into(), hash_password("pass:word"));
    let rules = Some(Arc::new(Rules::new(traffic.clone())));
    let ruled = Target { rules, ..plain(TargetState::Live, vec![]) };
    save(&RouteTable::new(None, [(host("shop.test"), Arc::new(ruled))]), &path).expect("saved");
    let table = load(&path).expect("it reads").expect("a table");
    let target = table.target(&host("shop.test")).expect("a route");
    assert_eq!(target.rules.as_ref().map(|rules| rules.traffic()), Some(&traffic));
}

#[tokio::test]
async fn an_app_has_pages_of_its_own_where_the_platform_answers_for_it() {
    use crate::base::model::PageKind::{self, Broken, Late, Maintenance, Unavailable};
    let own = |kind: PageKind| format!("<h1>own {kind}</h1>");
    let rules = |t: &mut Traffic| PageKind::ALL.iter().for_each(|kind| drop(t.pages.insert(*kind, own(*kind).into())));
    let silent = Backend::start(|mut stream, _| async move {
        request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let rude = Backend::start(|mut stream, _| async move { drop(request(&mut stream).await) }).await;
    let retired = rude.upstream();
    retired.retire();
    for (upstream, maintenance, code, kind) in [
        (rude.upstream(), false, 502, Broken),
        (retired, false, 503, Unavailable),
        (silent.upstream(), false, 504, Late),
        (rude.upstream(), true, 503, Maintenance),
    ] {
        let bench = ruled(vec![upstream], |t| {
            rules(t);
            (t.maintenance, t.timeout_seconds) = (maintenance, Some(1));
        })
        .await;
        let answer = bench.raw(asking("Accept: text/html\r\n")).await;
        assert_eq!((status(&answer), body(&answer)), (code, own(kind).as_str()), "{answer}");
        assert_eq!(field(&answer, "content-type").as_deref(), Some("text/html; charset=utf-8"));
        assert_eq!(field(&answer, "x-content-type-options").as_deref(), Some("nosniff"));
        assert_eq!(field(&answer, "cache-control").as_deref(), Some("no-store"));
        assert!(field(&answer, "content-security-policy").is_some_and(|p| p.starts_with("default-src 'none'")));
        assert_eq!(field(&answer, "retry-after").is_some(), code == 503, "{answer}");
        // Who asks for JSON is a program.
        let answer = bench.raw(asking("Accept: application/json\r\n")).await;
        assert_eq!(field(&answer, "content-type").as_deref(), Some("application/problem+json"));
        assert!(body(&answer).contains(&format!("\"status\":{code}")), "{answer}");
        let head = bench.raw(asking("").replace("GET", "HEAD")).await;
        assert_eq!((body(&head), field(&head, "content-length")), ("", Some(own(kind).len().to_string())));
    }
    // The others stay the platform's.
    let bench = ruled(vec![rude.upstream()], |t| {
        rules(t);
        t.deny = vec![host("127.0.0.1/32")];
    })
    .await;
    let answer = bench.raw(asking("")).await;
    assert_eq!((status(&answer), body(&answer).contains("own")), (403, false), "{answer}");
}
