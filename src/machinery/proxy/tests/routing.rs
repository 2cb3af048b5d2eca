use super::*;

fn two(shop: &Backend, blog: &Backend, api: &Backend) -> RouteTable {
    RouteTable::new(
        Some((host("hythe.test"), api.address)),
        [
            (host("shop.test"), target(TargetState::Live, vec![shop.upstream()])),
            (host("blog.test"), target(TargetState::Live, vec![blog.upstream()])),
            (host("hythe.test"), target(TargetState::Live, vec![shop.upstream()])),
        ],
    )
}

#[tokio::test]
async fn the_host_chooses_the_app_and_only_the_host() {
    let (shop, blog, api) =
        (Backend::saying("shop").await, Backend::saying("blog").await, Backend::saying("api").await);
    let bench = Bench::start(two(&shop, &blog, &api), quick()).await;
    for (asked, app) in [
        ("shop.test", "shop"),
        ("SHOP.Test", "shop"),
        ("shop.test.", "shop"),
        ("shop.test:8080", "shop"),
        ("shop.test.:8080", "shop"),
        ("shop.test:", "shop"),
        ("blog.test", "blog"),
        ("hythe.test", "api"),
        ("HYTHE.test.:1", "api"),
    ] {
        assert_eq!(body(&bench.get(asked).await), app, "{asked}");
    }
    let path = "GET http://blog.test/x?y=http://shop.test HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
    assert_eq!(body(&bench.raw(path).await), "blog", "the authority of an absolute target wins");
    let seen = blog.last();
    assert!(seen.starts_with("GET /x?y=http://shop.test HTTP/1.1\r\n"), "{seen}");
    assert_eq!(field(&seen, "host").as_deref(), Some("blog.test"));
    assert_eq!(field(&seen, "x-forwarded-host").as_deref(), Some("blog.test"));
}

#[test]
fn a_route_cannot_take_the_host_of_the_api() {
    let address = "127.0.0.1:1".parse().expect("an address");
    let shadow = target(TargetState::Live, vec![]);
    let table = RouteTable::new(Some((host("hythe.test"), address)), [(host("hythe.test"), shadow)]);
    assert!(table.is_empty() && table.target(&host("hythe.test")).is_none());
    assert!(matches!(table.find("hythe.test"), Some(super::super::table::Entry::Api(_))));
}

#[tokio::test]
async fn hosts_that_are_none_are_refused() {
    let shop = Backend::saying("shop").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let long = "x".repeat(10_000);
    let corpus = [
        "$(id)",
        "`id`",
        "; id",
        "| id",
        "&& id",
        "'\"; id #",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
        "%2e%2e%2f",
        "<script>",
        "{{7*7}}",
        "${jndi:x}",
        "http://169.254.169.254/",
        "http://[::1]/",
        "file:///etc/passwd",
        "ext::sh -c id",
        "shop.test/",
        "shop.test#",
        "shop.test?",
        "shop.test\\",
        "shop.test, blog.test",
        "shop.test blog.test",
        "user@shop.test",
        "shop.test:80:80",
        "shop.test:99999",
        "shop.test:-1",
        "shop.test:+80",
        "shop.test:8 0",
        "shop.test..",
        ".shop.test",
        "shop..test",
        "-shop.test",
        "[::1",
        "::1",
        "[::1]x",
        "[shop.test]",
        "shop_x.test",
        "",
        " ",
        ".",
        ":80",
        &long,
    ];
    for asked in corpus {
        let answer = bench.get(asked).await;
        assert_eq!(status(&answer), 400, "{asked:?}");
        // Shown inertly or not at all.
        assert!(asked.trim().len() < 4 || !answer.contains(asked), "{asked:?}: {answer}");
    }
    for bytes in
        [&b"shop.test\0"[..], b"shop\x7f.test", "shop\u{202e}.test".as_bytes(), b"\xffshop.test", b"shop.test\x0b"]
    {
        let text = [b"GET / HTTP/1.1\r\nConnection: close\r\nHost: ", bytes, b"\r\n\r\n"].concat();
        assert_eq!(status(&bench.raw(text).await), 400, "{bytes:?}");
    }
    for asked in ["169.254.169.254", "0177.0.0.1", "[::1]", "[::1]:80", "localhost", "127.0.0.1:80"] {
        assert_eq!(status(&bench.get(asked).await), 404, "{asked}");
    }
    assert_eq!(shop.requests(), 0);
}

#[tokio::test]
async fn the_host_must_be_named_exactly_once() {
    let shop = Backend::saying("shop").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    for (head, code) in [
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.0\r\n", 400),
        ("GET http://shop.test/ HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: shop.test\r\nHost: shop.test\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: shop.test\r\nHost: evil.test\r\n", 400),
        ("GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nHost: evil.test\r\n", 400),
        ("GET http://shop.test/ HTTP/1.1\r\nHost: $(id)\r\n", 400),
        ("GET http://user:secret@shop.test/ HTTP/1.1\r\nHost: shop.test\r\n", 400),
        ("GET ftp://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : shop.test\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: shop.test\r\n", 400),
        ("CONNECT shop.test:80 HTTP/1.1\r\nHost: shop.test:80\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: shop.test\r\n", 405),
        ("GET / HTTP/1.0\r\nHost: shop.test\r\n", 200),
        ("GET http://shop.test HTTP/1.1\r\nHost: other.test\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: shop.test\r\n", 200),
    ] {
        let answer = bench.raw(format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), code, "{head:?}: {answer}");
    }
    assert_eq!(shop.requests(), 3);
    assert!(shop.last().starts_with("OPTIONS * HTTP/1.1"), "{}", shop.last());
}

#[tokio::test]
async fn without_an_app_there_is_a_page_or_a_problem() {
    let nobody = nobody().await;
    let routes = |state, upstreams| target(state, upstreams);
    let table = RouteTable::new(
        None,
        [
            (host("empty.test"), routes(TargetState::Live, vec![])),
            (host("stopped.test"), routes(TargetState::Stopped, vec![Upstream::new(nobody, "r")])),
            (host("starting.test"), routes(TargetState::Starting, vec![])),
            (host("down.test"), routes(TargetState::Live, vec![Upstream::new(nobody, "r")])),
        ],
    );
    let settings = ProxySettings { hold: Duration::from_millis(20), ..quick() };
    let bench = Bench::start(table, settings).await;
    for (asked, code, slug, words) in [
        ("nobody.test", 404, "unknown-host", "No app answers"),
        ("empty.test", 503, "no-replica", "No replica"),
        ("stopped.test", 503, "app-stopped", "stopped"),
        ("starting.test", 503, "app-starting", "starting"),
        ("down.test", 502, "broken-answer", "refused the connection"),
    ] {
        let html = bench.get(asked).await;
        assert_eq!(status(&html), code, "{asked}");
        assert_eq!(field(&html, "content-type").as_deref(), Some("text/html; charset=utf-8"));
        assert_eq!(field(&html, "cache-control").as_deref(), Some("no-store"));
        let id = field(&html, "x-request-id").expect("an id");
        assert!(body(&html).contains(words) && body(&html).contains(&id) && body(&html).contains(asked), "{html}");
        assert!(!html.contains("<script") && !html.contains("127.0.0.1"), "{html}");
        let json = bench
            .raw(format!(
                "GET / HTTP/1.1\r\nHost: {asked}\r\nAccept: application/json\r\nX-Request-Id: abc-1\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(status(&json), code);
        assert_eq!(field(&json, "content-type").as_deref(), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_str(body(&json)).expect("JSON");
        assert_eq!(problem["status"], code);
        assert_eq!(problem["type"], format!("urn:hythe:problem:{slug}"));
        assert_eq!(problem["request_id"], "abc-1");
        assert!(!json.contains("127.0.0.1"), "{json}");
        let head = bench.raw(format!("HEAD / HTTP/1.1\r\nHost: {asked}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!((status(&head), body(&head)), (code, ""));
    }
}

#[tokio::test]
async fn accept_decides_between_page_and_problem() {
    let bench = Bench::shop(vec![]).await;
    for (accept, json) in [
        ("application/json", true),
        ("application/problem+json, */*", true),
        ("application/json, text/plain;q=0.9, */*;q=0.8", true),
        ("text/html;q=0.4, application/json;q=0.5", true),
        ("text/html, application/xhtml+xml, application/json;q=0.9", false),
        ("text/html, application/json", false),
        ("*/*", false),
        ("application/json;q=0", false),
        ("", false),
    ] {
        let answer = bench
            .raw(format!("GET / HTTP/1.1\r\nHost: shop.test\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"))
            .await;
        assert_eq!(field(&answer, "content-type").as_deref() == Some("application/problem+json"), json, "{accept}");
    }
}
